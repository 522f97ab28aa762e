# SPDX-License-Identifier: BSD-3-Clause
"""A training run one of whose ranks no longer goes on: found within `run.hang_limit` and ten seconds, reported with rank, host, phase, time and place on
standard error and in log.txt, all ranks gone, exit code 7; the same command then goes on, and ends with the numbers of a run that nobody disturbed.

What only stalls is left alone: ranks that are stopped for less than the limit, the whole job for more, and processes that take the cores.

test_hang.py [N [SEED [S]]]: N hangs, a quarter of them by a SIGSTOP from outside at a random moment (default: 3, each of another kind); S seconds of stalls."""
import random
import re
import sys

from common import *

KINDS = ["stop", "spin", "outside", "sleep"]
# Places of one rank (0) and of all.
PLACES = [("h5_write", [0, 1, 2]), ("checkpoint_rename", [0]), ("checkpoint_written", [0, 1, 2]), ("loader_read", [0, 1, 2])]
RANKS, LIMIT = 3, 2.0
count = int(sys.argv[1]) if len(sys.argv) > 1 else 3
rng = random.Random(int(sys.argv[2]) if len(sys.argv) > 2 else 20240601)
seconds = float(sys.argv[3]) if len(sys.argv) > 3 else 5


def ranks_of(p):
    return [int(x) for x in subprocess.run(["ps", "-o", "pid=", "--ppid", str(p.pid)], stdout=subprocess.PIPE, text=True).stdout.split()]


def hang(k, work, folder):
    """Seconds from the hang to the end of mpirun, exit code, what was said, the rank that is to be named (None: not known)."""
    kind = KINDS[k % len(KINDS)]
    place, ranks = rng.choice(PLACES)
    rank = rng.choice(ranks)
    visit = rng.randint(2, 12) if place in ("h5_write", "loader_read") else 1
    log = f"{work}/log"
    open(log, "w").close()
    env = None if kind == "outside" else {"SYZ_FAULT": f"{place}:{rank}:{visit}:{kind}"}
    before = len(metrics(folder)) if os.path.exists(f"{folder}/metrics.jsonl") else 0
    p = start(RANKS, arguments(work, os.path.basename(folder), run__hang_limit=LIMIT), env=env, log=log)
    pids, end = [], time.time() + 30
    if kind == "outside":
        while time.time() < end and p.poll() is None and (not os.path.exists(f"{folder}/metrics.jsonl") or len(metrics(folder)) <= before):
            time.sleep(0.02)
        time.sleep(rng.uniform(0, 0.2))
        pids = ranks_of(p)
        rank = None
        if pids:
            os.kill(rng.choice(pids), signal.SIGSTOP)
    begun = last = time.time()
    size = 0
    while p.poll() is None and time.time() < begun + 60:  # the last step that was written tells when the hang began
        pids = ranks_of(p) or pids
        now = os.path.getsize(f"{folder}/metrics.jsonl") if os.path.exists(f"{folder}/metrics.jsonl") else 0
        if now != size:
            size, last = now, time.time()
        time.sleep(0.05)
    took = time.time() - (begun if kind == "outside" else max(last, begun))
    code = p.wait(30)
    left = [pid for pid in pids if os.path.exists(f"/proc/{pid}") and "syzygy" in open(f"/proc/{pid}/cmdline").read()]
    return took, code, open(log).read(), rank, kind, f"{place}:{rank}:{visit}", left


def stalls(work, folder):
    """A run under stalls for `seconds`; how many of each kind."""
    p = start(RANKS, arguments(work, folder, run__hang_limit=LIMIT, train__steps=10000000), timeout=int(seconds) + 100, log=f"{work}/log")
    end = time.time() + 30
    while time.time() < end and not os.path.exists(f"{work}/{folder}/metrics.jsonl"):
        time.sleep(0.02)
    hogs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2 * (os.cpu_count() or 1))]
    pids, done = ranks_of(p), {"one rank": 0, "all ranks": 0}
    end = time.time() + seconds
    while time.time() < end and p.poll() is None:
        is_all = rng.random() < 0.3
        held = pids if is_all else [rng.choice(pids)]
        for pid in held:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(rng.uniform(1.2, 2) * LIMIT if is_all else rng.uniform(0.1, 0.7) * LIMIT)
        for pid in held:
            os.kill(pid, signal.SIGCONT)
        done["all ranks" if is_all else "one rank"] += 1
        time.sleep(rng.uniform(0, 1))
    for h in hogs:
        h.kill()
        h.wait()
    p.send_signal(signal.SIGUSR1)
    code = p.wait(60)
    check(code == 75, f"{seconds:.0f} s of stalls {done} beside programs that take every core: goes on, and stops when asked to ({code}, 75)")
    if code != 75:
        print(open(f"{work}/log").read())


with Work() as work:
    write_shards(f"{work}/shards", 20)
    write_input(work, f"""
data: {{path: [{work}/shards], split: all}}
train: {{steps: {60 + 25 * count}, global_batch: 6, lr: 5.0e-4, warmup_steps: 5, validate_objects: 0, freeze_backbones: false}}
output: {{checkpoint_interval_steps: 3}}
""")
    folder = f"{work}/hung"
    codes, slowest, missed = {}, 0.0, 0
    for k in range(count):
        took, code, text, rank, kind, where, left = hang(k, work, folder)
        codes[code] = codes.get(code, 0) + 1
        slowest = max(slowest, took)
        named = re.findall(r"^rank (\d+) on \S+ \(process \d+\), phase \"[^\"]+\": no progress since 20\S+Z, \d+ s ago", text, re.M)
        right = code == 7 and len(named) == 1 and (rank is None or int(named[0]) == rank) and "where it is:" in text and not left
        right = right and ("stopped by a signal" in text) == (kind in ("stop", "outside")) and "error: hang" in open(f"{folder}/log.txt").read()
        missed += not right
        if not right:
            print(f"hang {k}: {kind} at {where}: code {code}, named {named}, left {left}, {took:.1f} s\n{text}", flush=True)
    check(codes == {7: count} and missed == 0, f"{count} hangs: exit codes and how often {codes}, {count - missed} named rightly")
    check(slowest < LIMIT + 10, f"the slowest took {slowest:.1f} s ({LIMIT + 10})")
    code, text = run(RANKS, arguments(work, "hung"), timeout=100 + 20 * count)
    check(code == 0, f"the same command goes on to its end: {code}")
    code, text = run(RANKS, arguments(work, "whole"), timeout=100 + 20 * count)
    check(code == 0 and numbers(folder) == numbers(f"{work}/whole"), "with the bits of a run that nobody disturbed")
    open(f"{work}/log", "w").close()
    stalls(work, "stalled")
finish()
