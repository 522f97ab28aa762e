# SPDX-License-Identifier: BSD-3-Clause
"""Signals at any moment, and starts with too little memory: SIGUSR1 and SIGTERM to ranks that have just begun never end a run without its checkpoint;
a second signal ends it at once, before the step that is under way; commands that save nothing end at the first; every limit on memory (ulimit -v)
ends with a message and an exit code of the list."""
import re
import resource

from common import *


def ranks_of(p):
    found = []
    for pid in subprocess.run(["ps", "-o", "pid=", "--ppid", str(p.pid)], stdout=subprocess.PIPE, text=True).stdout.split():
        try:
            if os.path.basename(os.readlink(f"/proc/{pid}/exe")) == os.path.basename(BINARY):
                found.append(int(pid))
        except OSError:
            pass
    return found


def wait_for(condition, limit=30):
    end = time.time() + limit
    while time.time() < end and not condition():
        time.sleep(0.002)


def is_training(folder):
    return os.path.exists(f"{folder}/metrics.jsonl") and os.path.getsize(f"{folder}/metrics.jsonl") > 0


def has_handlers(pid):
    """Whether the program has taken SIGUSR1 and SIGTERM over."""
    try:
        caught = re.search(r"SigCgt:\s*(\w+)", open(f"/proc/{pid}/status").read())
    except OSError:
        return True
    bits = 1 << (signal.SIGUSR1 - 1) | 1 << (signal.SIGTERM - 1)
    return int(caught.group(1), 16) & bits == bits


def early(work, number, delay, k):
    """
    Exit code of a rank that gets a signal at once (delay 0) or later: None, as soon as its handlers stand; otherwise kept back by who started it
    until then, as jobs/run.sbatch does.
    """
    keep = lambda: signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGTERM})
    p = subprocess.Popen([BINARY] + arguments(work, f"early{k}", train__steps=100000), env=environment(), stdout=subprocess.DEVNULL,
                         stderr=subprocess.DEVNULL, preexec_fn=None if delay is None else keep)
    if delay is None:
        wait_for(lambda: has_handlers(p.pid))
    else:
        time.sleep(delay)
    p.send_signal(number)
    try:
        return p.wait(30)
    except subprocess.TimeoutExpired:
        p.kill()
        return "goes on"


with Work() as work:
    write_shards(f"{work}/shards", 20)
    write_input(work, f"""
data: {{path: [{work}/shards], split: all}}
train: {{steps: 100000, global_batch: 6, lr: 5.0e-4, warmup_steps: 5, validate_objects: 0, freeze_backbones: true}}
""")
    codes = {}
    for k, delay in enumerate([None, None, 0, 0.01, 0.03, 0.1, 0.3]):
        number = signal.SIGUSR1 if k % 2 else signal.SIGTERM
        codes[(delay, number.name)] = early(work, number, delay, k)
    check(all(c == 75 for c in codes.values()), f"signals in the first moments: {codes}")

    # A second signal does not wait for the step under way: rank 1 is stopped, so no step ends.
    p = start(2, arguments(work, "second"), log=f"{work}/log")
    wait_for(lambda: is_training(f"{work}/second"))
    stopped = ranks_of(p)[1]
    os.kill(stopped, signal.SIGSTOP)
    p.send_signal(signal.SIGUSR1)
    time.sleep(0.5)
    p.send_signal(signal.SIGUSR1)  # together with the first
    time.sleep(2)
    check(p.poll() is None, "signals within two seconds are one")
    begun = time.time()
    p.send_signal(signal.SIGUSR1)
    code = p.wait(30)
    check(code == 75 and time.time() - begun < 5, f"a second signal ends a run that hangs with {code} (75) after {time.time() - begun:.1f} s")
    check("second signal" in open(f"{work}/log").read(), "and says so")
    code, text = run(2, arguments(work, "second", train__steps=3))
    check(code == 0, f"the same command then goes on: {code}")

    # Commands that save nothing on the way.
    for number in (signal.SIGUSR1, signal.SIGTERM):
        p = subprocess.Popen([BINARY, "bench", "--set", "bench.limit_s=60", "--set", f"output.dir={work}/bench{number}", "--set", "model.image.dim=64", "--set",
                              "model.image.heads=1"], env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        wait_for(lambda: os.path.exists(f"{work}/bench{number}/log.txt"))
        time.sleep(0.3)
        begun = time.time()
        p.send_signal(number)
        said = p.communicate(timeout=30)[1]
        check(p.returncode == 75 and "nothing to save" in said and time.time() - begun < 2, f"bench ends at {number.name} with {p.returncode} (75)")

    # Limits on addresses, from what no program starts with to plenty.
    codes, silent = {}, []
    for mib in (150, 250, 400, 600, 625, 650, 675, 700, 800, 2000):
        limit = lambda: resource.setrlimit(resource.RLIMIT_AS, (mib << 20, mib << 20))
        done = subprocess.run([BINARY] + arguments(work, f"limit{mib}", train__steps=1), env=environment(), preexec_fn=limit,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", timeout=60)
        codes[mib] = done.returncode
        if done.returncode != 0 and "memory" not in done.stdout:
            silent.append(mib)
            print(mib, done.returncode, done.stdout)
    check(set(codes.values()) <= {0, 8} and codes[250] == 8 and codes[2000] == 0 and not silent, f"exit codes by MiB of addresses: {codes}")
finish()
