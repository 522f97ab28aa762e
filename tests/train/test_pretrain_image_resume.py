# SPDX-License-Identifier: BSD-3-Clause
"""`pretrain-image` stopped and continued: every number of every step bit for bit on the same ranks, 1e-5 on others; by SIGUSR1 to mpirun and, with a
build that has injected faults, by kill -9 while a checkpoint is written. Student and teacher end with the same weights. A finished run says
so, a changed input is refused by name, a damaged checkpoint is skipped.

    test_pretrain_image_resume.py CASE
"""
import glob
import random
import sys

from pretrain_image_common import *

STEPS, RANKS = 40, 2
which = sys.argv[1]
keys = CASES[which]
rng = random.Random(int(os.environ.get("SYZYGY_TEST_SEED", "20240601")))


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


def stop(work, name, ranks, step):
    p = start(ranks, arguments(work, name, **keys), log=f"{work}/log")
    reached = wait_for_steps(f"{work}/{name}", step)
    p.send_signal(signal.SIGUSR1)
    return p.wait() if reached else -1


def equal(work, name, whole, text):
    check(numbers(f"{work}/{name}") == whole, f"{text}: every number of every step has the same bits, each step once")
    for file in ("model.h5", "model-student.h5"):
        check(same_weights(f"{work}/{name}/{file}", f"{work}/whole/{file}"), f"{text}: {file} has the same weights")


with Work() as work:
    write_shards(f"{work}/shards", 30, 2)
    write_pretrain_input(work, f"steps: {STEPS}, global_batch: 5, lr: 5.0e-4, warmup_steps: 4", output="checkpoint_interval_steps: 6")
    code, text = run(RANKS, arguments(work, "whole", **keys))
    check(code == 0, f"uninterrupted run ends with {code}")
    if code:
        print(text)
        sys.exit(1)
    whole = numbers(f"{work}/whole")
    check(not same_weights(f"{work}/whole/model.h5", f"{work}/whole/model-student.h5"), "student and teacher differ")

    codes = [stop(work, "usr1", RANKS, rng.randint(1, STEPS // 2)) for _ in range(2)]
    code, text = run(RANKS, arguments(work, "usr1", **keys))
    check(code == 0 and set(codes) <= {75, 0} and 75 in codes, f"SIGUSR1 to mpirun gives {codes}, then {code}")
    equal(work, "usr1", whole, "stopped by SIGUSR1 and continued")
    code, text = run(RANKS, arguments(work, "usr1", **keys))
    check(code == 0 and "is done" in text, f"a finished run says so: {code}")

    for ranks, step in [(2, 8), (3, 18), (1, 28)]:
        code = stop(work, "ranks", ranks, step)
        check(code in (75, 0), f"{ranks} ranks end with {code}")
    code, text = run(4, arguments(work, "ranks", **keys))
    # KoLeo is a mean of logarithms of both signs: where it crosses zero (0.009 of terms of size 1 here) only the absolute difference means something.
    turns = numbers(f"{work}/ranks")
    worst = difference(turns, whole, [k for k in TERMS if k != "koleo"])
    koleo = max(abs(a["koleo"] - b["koleo"]) for a, b in zip(turns, whole))
    early = difference(turns[:20], whole[:20])
    check(code == 0 and len(turns) == STEPS and worst < 2e-6, f"on 2, 3, 1 and 4 ranks in turn the terms differ by {worst:.1e} (2e-6)")
    check(koleo < 2e-6 and early < 1e-5, f"KoLeo by {koleo:.1e} (2e-6), all terms of the first 20 steps by {early:.1e} (1e-5)")

    if subprocess.run(["grep", "-q", "SYZ_FAULTS:BOOL=ON", f"{os.environ.get('SYZYGY_BUILD', '.')}/CMakeCache.txt"]).returncode == 0:
        for fault in ("checkpoint_written:1:1", "checkpoint_manifest:0:2", "h5_write:1:9"):
            code, text = run(RANKS, arguments(work, "killed", **keys), env={"SYZ_FAULT": fault + ":kill"})
            check(code == 137, f"kill -9 at {fault}: mpirun ends with {code}")
        code, text = run(RANKS, arguments(work, "killed", **keys))
        check(code == 0, f"after three kills the run goes on to its end: {code}")
        equal(work, "killed", whole, "killed and continued")
        check([n for n in os.listdir(f"{work}/killed/checkpoints") if not n.startswith("step-")] == [], "nothing half-written is left")

    # What must not change is refused by name, and the folder stays as it was.
    resolved = open(f"{work}/usr1/input.yaml").read()
    changed = [("seed", 1), ("train.global_batch", 6), ("dino.local_crops", 2), ("model.dino.prototypes", 701)]
    changed.append(("dino.centring", "mean" if which == "sinkhorn" else "sinkhorn"))
    for key, value in changed:
        other = dict(keys, train__steps=STEPS + 4, **{key.replace(".", "__"): value}) if key.replace(".", "__") not in keys else \
            dict(keys, train__steps=STEPS + 4) | {key.replace(".", "__"): value}
        code, text = run(1, arguments(work, "usr1", **other))
        check(code == 2 and key in text, f"{key}={value} on continuing ends with {code}")
    check(open(f"{work}/usr1/input.yaml").read() == resolved, "input.yaml is still that of the run")

    # A flipped bit in the newest checkpoint: skipped by name, and the older one gives the same end.
    newest = sorted(glob.glob(f"{work}/usr1/checkpoints/step-*"))[-1]
    data = bytearray(open(f"{newest}/state.h5", "rb").read())
    data[len(data) // 2] ^= 1
    open(f"{newest}/state.h5", "wb").write(data)
    for file in ("model.h5", "model-student.h5"):
        os.remove(f"{work}/usr1/{file}")
    code, text = run(RANKS, arguments(work, "usr1", **keys))
    check(code == 0 and "skipping a bad checkpoint" in text, f"a flipped bit is skipped by name: {code}")
    equal(work, "usr1", whole, "from the older checkpoint")
finish()
