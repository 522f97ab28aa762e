# SPDX-License-Identifier: BSD-3-Clause
"""Stopped and continued: the same metrics bit for bit on the same ranks, within 1e-5 on others; by SIGUSR1 to mpirun, by a STOP file, by the
time limit; twice in one run; a finished run says so; a changed input is refused by name; bad checkpoints are skipped, none is exit code 5."""
import glob
import io
import random
import sys

from common import *

STEPS = 60
MODES = {"heads": dict(train__freeze_backbones="true"), "full": dict(train__freeze_backbones="false")}


def wait_for_steps(folder, n, limit=30):
    end = time.time() + limit
    while time.time() < end:
        try:
            if len(metrics(folder)) >= n:
                return True
        except (OSError, ValueError):
            pass
        time.sleep(0.005)
    return False


def stop_at_random(work, name, ranks, rng, **keys):
    """Start, send SIGUSR1 to mpirun at a random step, return the code."""
    p = start(ranks, arguments(work, name, **keys), log=f"{work}/log")
    reached = wait_for_steps(f"{work}/{name}", rng.randint(1, STEPS // 2))
    p.send_signal(signal.SIGUSR1)
    return p.wait() if reached else -1


def same(work, name, reference, text):
    check(numbers(f"{work}/{name}") == reference, f"{text}: every loss, rate and norm has the same bits")
    check([m[0] for m in numbers(f"{work}/{name}")] == list(range(STEPS)), f"{text}: each step stands there once")


rng = random.Random(int(os.environ.get("SYZYGY_TEST_SEED", "20240601")))
with Work() as work:
    write_shards(f"{work}/shards", 40)
    write_input(work, f"""
data: {{path: [{work}/shards], split: train}}
train: {{steps: {STEPS}, global_batch: 12, lr: 5.0e-4, warmup_steps: 5, validate_interval: 20, micro_batch: 3, learn_logit_scale: true}}
output: {{checkpoint_interval_steps: 7}}
""")
    which = sys.argv[1]
    for mode, keys in MODES.items():
        if which != mode:
            continue
        code, text = run(2, arguments(work, f"{mode}-whole", **keys))
        check(code == 0, f"{mode}: uninterrupted run ends with {code}")
        if code:
            print(text)
            continue
        whole = numbers(f"{work}/{mode}-whole")
        name = f"{mode}-usr1"
        codes = []
        for _ in range(2):
            codes.append(stop_at_random(work, name, 2, rng, **keys))
        code, text = run(2, arguments(work, name, **keys))
        check(code == 0 and set(codes) <= {75, 0} and 75 in codes, f"{mode}: SIGUSR1 to mpirun gives {codes}, then {code}")
        check("continuing from step" in text or 0 in codes, f"{mode}: says that it goes on")
        same(work, name, whole, f"{mode}, stopped by SIGUSR1 and continued")
        kept = sorted(os.listdir(f"{work}/{name}/checkpoints"))
        check(len(kept) == 2 and kept[-1] == f"step-{STEPS:08d}", f"{mode}: two checkpoints are kept: {kept}")
        with h5py.File(f"{work}/{name}/model.h5") as a, h5py.File(f"{work}/{mode}-whole/model.h5") as b:
            names = list(b["parameter"])
            check(names and all((a["parameter"][k][()] == b["parameter"][k][()]).all() for k in names), f"{mode}: model.h5 has the same weights")
        with open(f"{work}/{name}/validation.jsonl") as a, open(f"{work}/{mode}-whole/validation.jsonl") as b:
            check(a.read() == b.read(), f"{mode}: the same validations")
        before = open(f"{work}/{name}/metrics.jsonl").read()
        code, text = run(2, arguments(work, name, **keys))
        check(code == 0 and "is done" in text and open(f"{work}/{name}/metrics.jsonl").read() == before, f"{mode}: a finished run says so ({code})")
        # Continued on other rank counts and another layout of the towers.
        name = f"{mode}-ranks"
        for ranks, towers in [(2, "together"), (3, "apart"), (1, "together")]:
            p = start(ranks, arguments(work, name, parallel__towers=towers, **keys), log=f"{work}/log")
            wait_for_steps(f"{work}/{name}", {2: 10, 3: 25, 1: 40}[ranks])
            p.send_signal(signal.SIGUSR1)
            code = p.wait()
            check(code in (75, 0), f"{mode}: {ranks} ranks {towers} end with {code}")
        code, text = run(3, arguments(work, name, **keys))
        check(code == 0, f"{mode}: finished on 3 ranks with {code}")
        difference = relative(numbers(f"{work}/{name}"), whole)
        check(difference < 1e-5, f"{mode}: on 2, 3, 1, 3 ranks in turn the losses differ by {difference:.1e} (1e-5)")

    if which != "stop":
        finish()
    keys = MODES["heads"]
    # A STOP file, and the time limit.
    name = "stop"
    p = start(2, arguments(work, name, train__steps=100000, **keys), log=f"{work}/log")
    wait_for_steps(f"{work}/{name}", 5)
    open(f"{work}/{name}/STOP", "w").close()
    code = p.wait()
    check(code == 75, f"a STOP file ends with {code}")
    check(not os.path.exists(f"{work}/{name}/STOP"), "the STOP file is gone")
    done = len(metrics(f"{work}/{name}"))
    code, text = run(2, arguments(work, name, train__steps=100000, train__time_limit_s=3, **keys))
    check(code == 75 and "time limit" in text and len(metrics(f"{work}/{name}")) > done, f"the time limit ends with {code}")

    # Stopped while the tokens of frozen towers are computed: what is there is kept, and the next run needs only the rest.
    name = "tokens"
    os.makedirs(f"{work}/{name}")
    open(f"{work}/{name}/STOP", "w").close()
    code, text = run(2, arguments(work, name, **keys))
    check(code == 75 and "while tokens were computed" in text, f"stopped while tokens are computed: {code}")
    check("stopped (STOP file)" in text and "(null)" not in text and "stopped after step" not in text, "and says why, once")
    code, text = run(3, arguments(work, name, **keys))
    check(code == 0 and len(metrics(f"{work}/{name}")) == STEPS, f"and continued: {code}")
    shutil.rmtree(f"{work}/{name}/checkpoints")
    code, text = run(1, arguments(work, name, **keys))
    check(code == 0 and "tokens (" not in text, f"finished tokens are not computed again: {code}")

    # A changed input.
    name = "changed"
    code, text = run(2, arguments(work, name, **keys))
    check(code == 0, f"a run ends with {code}")
    shutil.copy2(f"{work}/{name}/model.h5", f"{work}/first.h5")
    resolved = open(f"{work}/{name}/input.yaml").read()
    for key, value in [("seed", 1), ("train.global_batch", 13), ("data.shuffle", "false"), ("model.spectrum.depth", 1), ("data.split", "all")]:
        code, text = run(1, arguments(work, name, train__steps=80, **keys, **{key.replace(".", "__"): value}))
        # With another split the data differ too, and whichever is found first is named.
        check(code == 2 and (key in text.replace("digest of data.path", key)), f"{key}={value} on continuing ends with {code}")
        check(open(f"{work}/{name}/input.yaml").read() == resolved, f"{key}={value}: input.yaml is still that of the run")
    code, text = run(1, arguments(work, name, train__steps=STEPS + 4, train__lr=1e-4, **keys))
    check(code == 0 and "train.lr is" in text and len(metrics(f"{work}/{name}")) == STEPS + 4, f"another rate is warned of: {code}")
    # Killed between the last checkpoint and model.h5: the model there is of the run before it was prolonged.
    longer = open(f"{work}/{name}/model.h5", "rb").read()
    shutil.copy2(f"{work}/first.h5", f"{work}/{name}/model.h5")
    code, text = run(2, arguments(work, name, train__steps=STEPS + 4, train__lr=1e-4, **keys))
    with h5py.File(f"{work}/{name}/model.h5") as a, h5py.File(io.BytesIO(longer)) as b:
        check(code == 0 and all((a["parameter"][k][()] == b["parameter"][k][()]).all() for k in b["parameter"]), f"an older model.h5 is replaced: {code}")

    # Bad checkpoints: the newest is skipped with a reason, and with no good one the run does not begin anew.
    newest, older = sorted(glob.glob(f"{work}/{name}/checkpoints/step-*"))[::-1]
    state = f"{newest}/state.h5"
    data = bytearray(open(state, "rb").read())
    data[len(data) // 2] ^= 1
    open(state, "wb").write(data)
    os.remove(f"{work}/{name}/model.h5")
    code, text = run(2, arguments(work, name, train__steps=STEPS + 4, train__lr=1e-4, **keys))
    check(code == 0 and "skipping a bad checkpoint" in text and "state.h5" in text and "checksum" in text, f"a flipped bit is skipped by name: {code}")
    for folder in glob.glob(f"{work}/{name}/checkpoints/step-*"):
        with open(f"{folder}/state.h5", "r+b") as f:
            f.truncate(1000)
    code, text = run(2, arguments(work, name, train__steps=STEPS + 8, **keys))
    check(code == 5 and "none of 2 checkpoints" in text, f"no good checkpoint ends with {code}")
    shutil.rmtree(f"{work}/{name}/checkpoints")
    os.makedirs(f"{work}/{name}/checkpoints/step-00000007")
    code, text = run(2, arguments(work, name, train__steps=10, train__warmup_steps=0, **keys))
    check(code == 0 and "did not finish" in text and len(metrics(f"{work}/{name}")) == 10, f"a half-written one is removed and does not count: {code}")
finish()
