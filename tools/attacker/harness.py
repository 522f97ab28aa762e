# SPDX-License-Identifier: BSD-3-Clause
"""What the attacks by damaged files share: a measured run of the program, and the search for the file that made a run fail."""
import json
import os
import shutil
import signal
import subprocess
import tempfile

SLOW_S, MEMORY_MB = 5.0, 256.0  # a file may take this much more than the sound ones
BATCH = 250  # files of a run, at most
TURNS = 5  # batches, at least: so many attacks take turns
PATIENCE_S = 60.0  # of wall time for a run of many files, beyond what they should take; once more tenfold, for machines that others use too
ENVIRONMENT = dict(OMP_NUM_THREADS="1", OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", OMPI_MCA_rmaps_base_oversubscribe="1",
                   OMPI_MCA_hwloc_base_binding_policy="none", OMPI_MCA_mpi_yield_when_idle="1")


# A small process between: the kernel's peak of memory of a process begins with that of the one that started it.
BETWEEN = """
import json, os, sys
pid = os.fork()
if not pid:
    try: os.execv(sys.argv[2], sys.argv[2:])
    finally: os._exit(127)
_, status, use = os.wait4(pid, 0)
os.write(int(sys.argv[1]), json.dumps([status, use.ru_utime + use.ru_stime, use.ru_maxrss / 1024]).encode())
"""


class Run:
    """A run of a command: `code` (negative: the signal that ended it), `text`, `cpu_s` and `peak_mb` with all its children, `late` when it was stopped."""

    def __init__(self, command, limit_s):
        reading, writing = os.pipe()
        with tempfile.TemporaryFile() as out, open(reading, "rb") as result:
            p = subprocess.Popen(["/usr/bin/python3", "-S", "-E", "-c", BETWEEN, str(writing)] + command, env={**os.environ, **ENVIRONMENT},
                                 pass_fds=[writing], stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, start_new_session=True)
            os.close(writing)
            self.late = False
            try:
                p.wait(limit_s)
            except subprocess.TimeoutExpired:
                self.late = True
                os.killpg(p.pid, signal.SIGKILL)
                p.wait()
            status, self.cpu_s, self.peak_mb = json.loads(result.read() or b"[9, 0, 0]")
            out.seek(0)
            self.text = out.read().decode(errors="replace")
        self.code = os.waitstatus_to_exitcode(status)


class Attack:
    """Batches of damaged files through one command.

    command(paths, scratch) gives the arguments; complaint(run, paths, scratch) says what is wrong with how it ended, None if nothing.
    measure(paths) with sound files first: what they take is allowed, and SLOW_S and MEMORY_MB more."""

    def __init__(self, name, command, complaint, keep):
        self.name, self.command, self.complaint, self.keep = name, command, complaint, keep
        self.clean_cpu_s, self.clean_mb, self.clean_files, self.failed = 0.0, 0.0, 1, 0

    def once(self, paths):
        """The run, and what is wrong with how it ended. One that is late gets a second chance: another job may have had the machine."""
        for patience_s in (PATIENCE_S, 10 * PATIENCE_S):
            scratch = tempfile.mkdtemp(prefix="syzygy-attack-")
            try:
                run = Run(self.command(paths, scratch), patience_s + 3 * self.clean_cpu_s * (1 + len(paths) / self.clean_files))
                if not run.late:
                    return run, self.complaint(run, paths, scratch)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
        return run, None

    def measure(self, paths):
        """What sound files take; they must pass."""
        run, wrong = self.once(paths)
        if wrong or run.late or run.code:
            raise RuntimeError(f"{self.name}: sound files are refused (exit code {run.code}): {wrong or run.text[-2000:]}")
        self.clean_cpu_s, self.clean_mb, self.clean_files = run.cpu_s, run.peak_mb, len(paths)

    def verdict(self, run, wrong, n):
        allowed_s = self.clean_cpu_s * (1 + 2 * n / self.clean_files) + SLOW_S
        if run.late:
            return f"no end after {10 * PATIENCE_S:.0f} s, also when tried again"
        if wrong:
            return wrong
        if run.cpu_s > allowed_s:
            return f"{run.cpu_s:.1f} s of processor time, {allowed_s:.1f} s are allowed"
        if run.peak_mb > self.clean_mb + MEMORY_MB:
            return f"{run.peak_mb:.0f} MB, sound files take {self.clean_mb:.0f} MB"
        return None

    def attack(self, paths):
        """Run over all; on a failure over the halves, until single files are found. They are kept."""
        run, wrong = self.once(paths)
        found = self.verdict(run, wrong, len(paths))
        if not found:
            return
        if len(paths) > 1:
            before = self.failed
            for part in (paths[: len(paths) // 2], paths[len(paths) // 2:]):
                self.attack(part)
            if self.failed > before:
                return
            found += " (together only: each half is in order)"
        self.failed += 1
        os.makedirs(self.keep, exist_ok=True)
        for path in paths:
            shutil.copy(path, self.keep)
        said = os.path.join(self.keep, os.path.basename(paths[0]) + ".txt")
        with open(said, "w") as f:
            f.write(f"{self.name}: {found}\nexit code {run.code}\n{run.text}")
        print(f"FAILED {self.name}: {', '.join(os.path.basename(p) for p in paths[:5])}: {found}", flush=True)


def in_batches(attacks, count, make):
    """Damaged files 0 .. count - 1, a batch after another: make(index, batch) writes one and gives its path, attacks(batch) is the attack that takes
    it."""
    taken = {}
    size = max(1, min(BATCH, -(-count // TURNS)))
    for batch, first in enumerate(range(0, count, size)):
        attack = attacks(batch)
        taken[attack.name] = attack
        paths = [make(index, batch) for index in range(first, min(first + size, count))]
        attack.attack(paths)
        for path in paths:
            os.remove(path)
        if batch % 40 == 39:
            print(f"  {first + size} files, {sum(a.failed for a in taken.values())} failed", flush=True)
    names = {attacks(turn).name for turn in range(TURNS)}
    if count >= TURNS and names - set(taken):
        raise RuntimeError(f"no damaged file reached {', '.join(sorted(names - set(taken)))}")
