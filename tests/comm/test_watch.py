# SPDX-License-Identifier: BSD-3-Clause
"""The watchdog on real ranks (watch_driver.c): hangs of every kind are found within the limit and ten seconds, the report names the rank, and the job
ends with 7; what only looks like a hang is left alone. Also with every rank a node of its own, so that nodes look after one another."""
import concurrent.futures
import ctypes
import os
import re
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import harness
from harness import check, driver, environment, mpirun

FAULTS = len(sys.argv) > 1 and sys.argv[1] == "ON"
LIMIT = 1.0


def start(ranks, case, limit=LIMIT, nodes=False, **more):
    if nodes:
        more["SYZ_FAULT"] = "shared:0:1"  # no memory is shared: each rank is a node of its own
    return subprocess.Popen(mpirun(ranks, driver("watch_driver"), limit, case), env=environment(**more), stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True)


def finish(p):
    out, err = p.communicate(timeout=70)
    return p.returncode, out + err


def processes(parent):
    """Ranks that this mpirun started."""
    return [int(p) for p in subprocess.run(["ps", "-o", "pid=", "--ppid", str(parent)], stdout=subprocess.PIPE, text=True).stdout.split()]


def wait_for_ranks(p, n):
    end = time.time() + 20
    while time.time() < end and len(processes(p.pid)) < n:
        time.sleep(0.02)
    time.sleep(0.7)  # MPI begins
    return processes(p.pid)


def found(ranks, case, stuck, *words, nodes=False, **more):
    code, text = finish(start(ranks, case, nodes=nodes, **more))
    took = time.time() - float(re.search(r"begun ([\d.]+)", text).group(1))
    name = f"{case} on {ranks} ranks{' that are nodes' if nodes else ''}"
    said = [text.count("error: hang: ") == 1 or nodes and text.count("error: hang: ") >= 1,
            re.search(rf"rank {stuck}\b.*(no progress since 20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ|others)", text) or re.search(rf"\(rank {stuck}\)", text),
            all(w in text for w in words)]
    named = set(map(int, re.findall(r"^rank (\d+) on ", text, re.M)))
    said.append(named <= {stuck})
    check(code == 7 and all(said) and took < LIMIT + 10, f"{name}: found after {took:.1f} s with code {code}, stuck: {sorted(named)} ({stuck})")
    if not (code == 7 and all(said)):
        print(said, text)


def left_alone(ranks, case, nodes=False, **more):
    code, text = finish(start(ranks, case, nodes=nodes, **more))
    check(code == 0 and "hang" not in text, f"{case} on {ranks} ranks{' that are nodes' if nodes else ''}: left alone, code {code}")
    if code:
        print(text)


def all_wait(ranks, nodes=False):
    code, text = finish(start(ranks, "deadlock", nodes=nodes))
    good = code == 7 and "all ranks wait for one another" in text and "MPI_Waitall" in text
    check(good, f"deadlock on {ranks} ranks{' that are nodes' if nodes else ''}: found with code {code}")
    if not good:
        print(text)


def without_secret():
    """A kernel that gives no random numbers: each node listens to nobody, and looks after itself with more patience."""
    found(2, "spin", 1, nodes=True, WATCH_NO_RANDOM="1")
    left_alone(3, "work", nodes=True, WATCH_NO_RANDOM="1")
    code, text = finish(start(3, "deadlock", nodes=True, WATCH_NO_RANDOM="1"))  # messages would tell that all wait for one another
    check(code == 7 and "not all nodes can be heard" in text and "for one another" not in text, f"deadlock on 3 nodes without a secret: found by each alone, code {code}")


def stopped_for_a_while():
    """All ranks of the job, for three limits, and mpirun with them."""
    p = start(3, "idle")
    ranks = wait_for_ranks(p, 3)
    for pid in ranks + [p.pid]:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(3 * LIMIT)
    for pid in ranks + [p.pid]:
        os.kill(pid, signal.SIGCONT)
    code, text = finish(p)
    check(code == 0 and len(ranks) == 3, f"the whole job stopped for three limits: goes on, code {code}")
    if code:
        print(text)


def traced_for_a_while():
    """Every thread of a rank held as a debugger does."""
    ATTACH, DETACH = 16, 17
    c = ctypes.CDLL(None, use_errno=True)
    c.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    p = start(2, "idle")
    pid = wait_for_ranks(p, 2)[-1]
    held = []
    for thread in map(int, os.listdir(f"/proc/{pid}/task")):
        if c.ptrace(ATTACH, thread, None, None) == 0:
            os.waitpid(thread, 0x40000000)  # __WALL
            held.append(thread)
    state = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[0]
    time.sleep(3 * LIMIT)
    alive = p.poll() is None
    for thread in held:
        c.ptrace(DETACH, thread, None, None)
    code, text = finish(p)
    if not held:
        print("tracing is not allowed here: not tried")
        return
    check(state == "t" and alive and code == 0, f"a rank held by a debugger for three limits: left alone, code {code}")
    if code:
        print(text)


cases = [lambda: found(3, "spin", 1, "trial", "compute", "wait for others in MPI_Barrier"), lambda: found(1, "spin", 0, "trial"),
         lambda: found(2, "stop", 1, "stopped by a signal", "raise"), lambda: found(3, "wait", 1, "pthread_mutex_lock"), lambda: found(3, "library-spin", 1),
         lambda: found(2, "library-stop", 1, "stopped by a signal"), lambda: found(2, "long", 1), lambda: all_wait(2), lambda: left_alone(2, "work"),
         lambda: left_alone(2, "read"), lambda: left_alone(2, "kernel"), lambda: left_alone(2, "grow"), lambda: left_alone(3, "library")]
if FAULTS:
    cases += [lambda: found(3, "stop", 1, "no sign of life from", nodes=True), lambda: found(2, "spin", 1, nodes=True), lambda: all_wait(3, nodes=True),
              lambda: left_alone(3, "work", nodes=True), without_secret]
with concurrent.futures.ThreadPoolExecutor(4) as pool:  # mostly waiting
    for done in [pool.submit(c) for c in cases]:
        done.result()
stopped_for_a_while()
traced_for_a_while()
harness.finish()
