# SPDX-License-Identifier: BSD-3-Clause
"""kill -9 of a rank while a checkpoint is written, again and again in one run folder: every time all ranks are gone within 30 s, the run can
go on, and when it has ended its metrics are those of a run that nobody disturbed, bit for bit.

test_kill.py N [SEED]: N kills; half by the rank itself at a chosen place of the writing (needs a build with -DSYZ_FAULTS=ON), half by a
signal from outside at a random moment near one."""
import random
import sys

from common import *

check = Checks()
kills = int(sys.argv[1])
rng = random.Random(int(sys.argv[2]) if len(sys.argv) > 2 else 20240601)
RANKS = 3
# Places of one rank (0) and of all; a checkpoint visits h5_write six times in this configuration.
PLACES = [("checkpoint_rename", [0]), ("checkpoint_manifest", [0]), ("checkpoint_prune", [0]), ("checkpoint_written", range(RANKS)),
          ("h5_create", [0]), ("h5_write", range(RANKS)), ("h5_publish", range(RANKS))]


def processes(folder):
    """Processes whose command line has the folder, mpirun itself left out."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            line = open(f"/proc/{pid}/cmdline", "rb").read().decode(errors="replace")
        except OSError:
            continue
        if folder in line and "syzygy" in line.split("\0")[0] and "mpirun" not in line.split("\0")[0]:
            found.append(int(pid))
    return found


def is_writing(folder):
    try:
        return any(n.startswith("tmp-step") for n in os.listdir(f"{folder}/checkpoints"))
    except OSError:
        return False


with Work() as work:
    write_shards(f"{work}/shards", 20)
    write_input(work, f"""
data: {{path: [{work}/shards], split: all}}
train: {{steps: {60 + 15 * kills}, global_batch: 5, lr: 5.0e-4, warmup_steps: 5, validate_objects: 0, freeze_backbones: true}}
output: {{checkpoint_interval_steps: 3}}
""")
    code, text = run(RANKS, arguments(work, "whole"), timeout=100)
    check(code == 0, f"undisturbed run ends with {code}")
    whole = numbers(f"{work}/whole")
    folder = f"{work}/killed"
    took, codes, longest = 0, {}, 0
    for k in range(kills):
        env = None
        if k % 2 == 0:
            place, ranks = rng.choice(PLACES)
            visit = rng.randint(2, 20) if place == "h5_write" else rng.randint(1, 3)
            env = {"SYZ_FAULT": f"{place}:{rng.choice(list(ranks))}:{visit}:kill"}
        p = start(RANKS, arguments(work, "killed"), env=env, log=f"{work}/log")
        if k % 2:
            end = time.time() + 20
            for wanted in (False, True):  # first what the last kill left has to go
                while time.time() < end and p.poll() is None and is_writing(folder) != wanted:
                    time.sleep(0.001)
            time.sleep(rng.uniform(0, 0.03))
            ranks = processes(folder)
            if ranks:
                try:
                    os.kill(rng.choice(ranks), signal.SIGKILL)
                except ProcessLookupError:
                    pass
        killed = time.time()
        try:
            code = p.wait(40)
        except subprocess.TimeoutExpired:
            p.kill()
            code = "hung"
        while processes(folder) and time.time() - killed < 30:
            time.sleep(0.02)
        longest = max(longest, time.time() - killed)
        codes[code] = codes.get(code, 0) + 1
        if processes(folder):
            check(False, f"kill {k}: ranks are still there after 30 s")
    check(set(codes) <= {0, 137} and codes.get(137, 0) >= 0.9 * kills - 1, f"{kills} kills: exit codes of mpirun and how often: {codes}")
    check(longest < 30, f"all ranks are gone within {longest:.1f} s (30)")
    code, text = run(RANKS, arguments(work, "killed"), timeout=100)
    check(code == 0, f"after {kills} kills the run goes on to its end: {code}")
    if code:
        print(text)
    check(numbers(folder) == whole, "every loss, rate and norm has the same bits, each step once")
    left = [n for n in os.listdir(f"{folder}/checkpoints") if not n.startswith("step-")]
    check(left == [], f"nothing half-written is left: {left}")
sys.exit(check.result())
