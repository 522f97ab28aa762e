# SPDX-License-Identifier: BSD-3-Clause
"""kill -9 of training, embedding and ingest at any moment: the run goes on and gives the bytes of one that nobody disturbed."""
import glob
import json
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time

from .harness import ENVIRONMENT

RANKS = 3
GONE_S = 30  # for the ranks that are left after a kill
LAUNCHER = "launcher"
MOST_ALONE = 0.02  # share of the kills after which the launcher may stay alone
MARK = "SYZYGY_ATTACKED"  # in the environment of what a run starts
LIMIT_S = 600  # for a whole run, which takes seconds: on machines that others use too
MODEL = """
model:
  image: {dim: 32, depth: 2, heads: 2, patch: 24, size: 144, tokens: dinov2, layerscale: 0.1}
  spectrum: {dim: 32, depth: 2, heads: 2, section: 200, overlap: 100, max_tokens: 100}
  embedding: {dim: 32, heads: 4, dropout: 0.1}
compute: {precision: float32}
"""


class Victim:
    """A command, the files that must come out the same, and places of its writing where a build with injected failures can be told to kill a rank."""

    def __init__(self, name, arguments, folder, results, places):
        self.name, self.arguments, self.folder, self.results, self.places = name, arguments, folder, results, places

    def outcome(self):
        return self.results(self.folder)


def content(*patterns):
    """The bytes of the files that match; file names as keys."""

    def read(folder):
        return {os.path.relpath(p, folder): open(p, "rb").read() for pattern in patterns for p in sorted(glob.glob(os.path.join(folder, pattern)))}

    return read


def training_outcome(folder):
    """The model's bytes, and every number of every step but speeds."""
    with open(f"{folder}/metrics.jsonl") as f:
        steps = [{k: v for k, v in json.loads(line).items() if not k.endswith("_s")} for line in f]
    left = [n for n in os.listdir(f"{folder}/checkpoints") if not n.startswith("step-")]
    return {**content("model.h5")(folder), "metrics": steps, "half-written": left}


def start(program, victim, fault=None):
    command = ["mpirun", "--timeout", str(LIMIT_S), "-n", str(RANKS), program] + victim.arguments + ["--set", f"output.dir={victim.folder}"]
    environment = {**os.environ, **ENVIRONMENT, MARK: victim.folder, **({"SYZ_FAULT": fault} if fault else {})}
    with open(victim.folder + ".log", "a") as log:
        return subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)


def finish(program, victim):
    """Run to the end; the exit code."""
    return start(program, victim).wait()


def command_lines():
    """{process: its command line}"""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            found[int(pid)] = open(f"/proc/{pid}/cmdline", "rb").read().decode(errors="replace").split("\0")
        except OSError:
            continue
    return found


def ranks_of(folder):
    """Processes that write into the folder, the launcher left out."""
    return [pid for pid, line in command_lines().items() if f"output.dir={folder}" in line and os.path.basename(line[0]) != "mpirun"]


def started_for(folder):
    """Processes of the run and their children, whatever they call themselves; the launcher left out."""
    mark, found = f"{MARK}={folder}".encode(), []
    for pid, line in command_lines().items():
        try:
            if mark in open(f"/proc/{pid}/environ", "rb").read().split(b"\0") and os.path.basename(line[0]) != "mpirun":
                found.append(pid)
        except OSError:
            continue
    return found


def pids_below(work):
    """Launchers, ranks and their children of every run below the folder."""
    launched = [pid for pid, line in command_lines().items() if any(word.startswith(f"output.dir={work}/") for word in line)]
    return {*launched, *(pid for folder in os.listdir(work) for pid in started_for(os.path.join(work, folder)))}


def end(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def strike(rng, launcher, folder):
    """One rank; now and then all of them, or the launcher, whose end takes the ranks along."""
    how, ranks = rng.random(), ranks_of(folder)
    if not ranks:
        return False
    if how < 0.7:
        end(rng.choice(ranks))
    elif how < 0.85:
        for pid in ranks:
            end(pid)
    else:
        end(launcher.pid)
    return True


def kill_once(rng, program, victim, typical_s, has_faults):
    """Start and kill. True when a rank was killed before the end, LAUNCHER when the launcher then stayed without any process of the run, None when the
    run ended before, or the reason of a failure as text."""
    fault = None
    if has_faults and rng.random() < 0.4:
        place, ranks, visits = rng.choice(victim.places)
        fault = f"{place}:{rng.choice(ranks)}:{rng.randint(1, visits)}:kill"
    p = start(program, victim, fault)
    is_struck = False
    if not fault:
        moment = time.time() + rng.uniform(0.1, 0.95) * typical_s
        while time.time() < moment and p.poll() is None:
            time.sleep(0.002)
        is_struck = p.poll() is None and strike(rng, p, victim.folder)
    struck = time.time()
    limit = GONE_S if is_struck else LIMIT_S + GONE_S
    while (p.poll() is None or ranks_of(victim.folder)) and time.time() - struck < limit:
        time.sleep(0.02)
    left = ranks_of(victim.folder)
    if p.poll() is None or left:
        others = set(started_for(victim.folder)) - set(left)
        for pid in [*left, *others, p.pid]:
            end(pid)
        p.wait()
        if left or others:
            return f"{len(left)} ranks and {len(others)} of their children were still there {limit} s after the {'kill' if is_struck else 'start'}"
        return LAUNCHER if is_struck or fault else f"the launcher stayed for {limit} s, and nobody was killed"
    if p.returncode == 0:
        return None
    if p.returncode in (-9, 137) or is_struck:
        return True
    return f"exit code {p.returncode}"


def kills_on_request(program, victim):
    """Whether the program was built with -DSYZ_FAULTS=ON."""
    shutil.rmtree(victim.folder, ignore_errors=True)
    return start(program, victim, "h5_create:0:1:kill").wait() == 137


def training(work, steps):
    with open(f"{work}/align.yaml", "w") as f:
        f.write(MODEL + f"""
data: {{path: [{work}/shards], split: all}}
train: {{steps: {steps}, global_batch: 5, lr: 5.0e-4, warmup_steps: 5, validate_objects: 0, freeze_backbones: true}}
output: {{checkpoint_interval_steps: 3}}
""")
    # A checkpoint visits h5_write six times in this configuration.
    places = [("checkpoint_rename", [0], 3), ("checkpoint_manifest", [0], 3), ("checkpoint_prune", [0], 3), ("checkpoint_written", range(RANKS), 3),
              ("h5_create", [0], 3), ("h5_write", range(RANKS), 20), ("h5_publish", range(RANKS), 3)]
    return Victim("training", ["align", f"{work}/align.yaml"], f"{work}/run-training", training_outcome, places)


def embedding(work):
    places = [("h5_create", [0], 1), ("h5_write", range(RANKS), 3), ("h5_publish", range(RANKS), 1), ("publish", [0], 2)]
    return Victim("embedding", ["embed", "--set", f"data.path={work}/shards", "--set", f"model.file={work}/model.h5", "--set", "compute.precision=float32"],
                  f"{work}/run-embedding", content("embedding.h5", "embedding.fits"), places)


def ingesting(work):
    places = [("h5_create", range(RANKS), 2), ("h5_write", range(RANKS), 6), ("h5_publish", range(RANKS), 2), ("publish", range(RANKS), 2)]
    arguments = ["ingest", "--set", f"ingest.spectra={work}/survey", "--set", f"ingest.images={work}/survey", "--set", f"ingest.catalogues={work}/survey",
                 "--set", "ingest.shard_objects=20"]
    return Victim("ingest", arguments, f"{work}/run-ingest", content("shards/*", "rejected.csv"), places)


def must(code, what, log):
    if code:
        raise RuntimeError(f"{what}: exit code {code}\n{open(log).read()[-3000:]}")


def make_input(program, work, objects):
    """Shards, and a small survey, by the simulator."""
    for output, more in (("shards", ["--set", "simulate.shard_objects=50"]), ("survey", [])):
        arguments = ["simulate", "--set", f"simulate.objects={objects}", "--set", f"simulate.output={output}"] + more
        victim = Victim("simulate", arguments, f"{work}/made-{output}", None, [])
        must(finish(program, victim), "simulate", victim.folder + ".log")
        os.rename(f"{work}/made-{output}/{output}", f"{work}/{output}")


def run(syzygy, count, seed, keep_folder):
    """`count` kills, dealt to the three commands in turn; a life of one to three kills each, then the end is compared."""
    rng, work = random.Random(seed), tempfile.mkdtemp(prefix="syzygy-kills-")
    counts = {"kills": 0, "lives": 0, "ended before the kill": 0, "launcher stayed alone": 0}
    failed = 0
    try:
        make_input(syzygy, work, 100)
        victims, whole, typical_s = [training(work, 60), embedding(work), ingesting(work)], {}, {}
        for victim in victims:
            began = time.time()
            must(finish(syzygy, victim), victim.name, victim.folder + ".log")
            typical_s[victim.name], whole[victim.name] = time.time() - began, victim.outcome()
            if victim.name == "training":
                shutil.copy(f"{victim.folder}/model.h5", f"{work}/model.h5")
            if not whole[victim.name]:
                raise RuntimeError(f"{victim.name}: no results to compare")
        has_faults = kills_on_request(syzygy, victims[0])
        turn = 0
        while counts["kills"] < count:
            victim = victims[turn % len(victims)]
            turn += 1
            shutil.rmtree(victim.folder, ignore_errors=True)
            wrong = None
            for _ in range(min(rng.randint(1, 3), count - counts["kills"])):
                what = kill_once(rng, syzygy, victim, typical_s[victim.name], has_faults)
                if what in (True, LAUNCHER):
                    counts["kills"] += 1
                    counts["launcher stayed alone"] += what is LAUNCHER
                elif what is None:
                    counts["ended before the kill"] += 1
                else:
                    wrong = what
                    break
            counts["lives"] += 1
            if not wrong:
                code = finish(syzygy, victim)
                if code:
                    wrong = f"the run did not go on: exit code {code}"
                elif victim.outcome() != whole[victim.name]:
                    after = victim.outcome()
                    before = whole[victim.name]
                    other = [name for name in sorted(set(after) | set(before)) if after.get(name) != before.get(name)]
                    wrong = "not the bytes of an undisturbed run: " + ", ".join(other)
            if wrong:
                failed += 1
                os.makedirs(keep_folder, exist_ok=True)
                kept = os.path.join(keep_folder, f"{victim.name}-{turn}")
                shutil.rmtree(kept, ignore_errors=True)
                if os.path.isdir(victim.folder):
                    shutil.copytree(victim.folder, kept)
                shutil.copy(victim.folder + ".log", kept + ".log")
                print(f"FAILED kills: {victim.name}, life {turn}: {wrong}", flush=True)
    finally:
        if counts["launcher stayed alone"] > max(1, MOST_ALONE * counts["kills"]):
            failed += 1
            print(f"FAILED kills: the launcher stayed in {counts['launcher stayed alone']} of {counts['kills']}, more than {MOST_ALONE:.0%}", flush=True)
        for pid in pids_below(work):  # there are some only when the attack itself was ended
            end(pid)
        shutil.rmtree(work, ignore_errors=True)
    return {**counts, "failed": failed}
