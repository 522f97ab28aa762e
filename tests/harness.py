# SPDX-License-Identifier: BSD-3-Clause
"""
What every Python test shares: where things are, how ranks are started, one way to check and one way to end. A test begins with

    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    from harness import check, finish

and ends with finish(), or the exit code is 1. A check that failed makes it 1, however the script ends. Importing this file also lets a test import the
helpers of every room (tests/<room>/*.py) and the references in tests/reference.
"""
import atexit
import glob
import os
import shutil
import subprocess
import sys
import tempfile

import numpy as np

SOURCE = os.environ.get("SYZYGY_SOURCE", os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("SYZYGY_BUILD", os.path.join(SOURCE, "build"))
BINARY = os.environ.get("SYZYGY_BINARY", os.path.join(BUILD, "syzygy"))
DATA = os.path.realpath(os.environ.get("SYZYGY_SKY_DATA", os.path.join(SOURCE, "..", "shared", "data")))
SKIPPED = 77  # the exit code by which CTest knows a skipped test
# More ranks than cores, bound to none of them; a rank that waits leaves its core to others.
RANKS_ENV = dict(OMP_NUM_THREADS="1", OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", OMPI_MCA_rmaps_base_oversubscribe="1",
                 OMPI_MCA_hwloc_base_binding_policy="none", OMPI_MCA_mpi_yield_when_idle="1")
sys.path += sorted(p for p in glob.glob(os.path.join(SOURCE, "tests", "*")) if os.path.isdir(p) and p not in sys.path)

_checks = _failures = 0
_has_ended = False


def driver(name):
    """A C program of tests/ that a script runs."""
    return os.path.join(BUILD, "tests", name)


def environment(**more):
    return {**os.environ, **RANKS_ENV, **more}


def mpirun(ranks, *command, timeout=60):
    """The command on that many ranks, ended after `timeout` seconds. With ranks=None it runs without mpirun."""
    words = [str(word) for word in command]
    return words if ranks is None else ["mpirun", "--timeout", str(timeout), "-n", str(ranks), *words]


def launch(ranks, *command, timeout=60, cwd=None, stderr=subprocess.PIPE, **more):
    """Run it; `more` is added to the environment. Returns returncode, stdout and stderr (stderr=subprocess.STDOUT puts all into stdout)."""
    return subprocess.run(mpirun(ranks, *command, timeout=timeout), env=environment(**more), cwd=cwd, stdout=subprocess.PIPE, stderr=stderr, text=True,
                          errors="replace", timeout=timeout + 30)


def check_quietly(ok, text):
    """Count a check and print a failure. For checks by the hundred, and for texts that say what is wrong."""
    global _checks, _failures
    _checks += 1
    if not ok:
        _failures += 1
        print("FAIL  " + text, flush=True)
    return bool(ok)


def check(ok, text):
    """Count a check and print it, good or bad. The text says value, expectation and tolerance."""
    if ok:
        print("ok    " + text, flush=True)
    return check_quietly(ok, text)


def below(value, limit, text):
    """Check value <= limit. NaN fails."""
    return check(bool(np.isfinite(value) and value <= limit), f"{text}: {value:.9g}, at most {limit:.9g}")


def above(value, limit, text):
    """Check value >= limit. NaN fails."""
    return check(bool(np.isfinite(value) and value >= limit), f"{text}: {value:.9g}, at least {limit:.9g}")


def failed():
    """How many checks have failed so far."""
    return _failures


def skip(reason):
    """End a test that this machine cannot run."""
    global _has_ended
    _has_ended = True
    print(f"skipped: {reason}", flush=True)
    sys.exit(SKIPPED)


def need_data():
    if not os.path.isdir(DATA):
        skip(f"no real survey files at {DATA} (environment SYZYGY_SKY_DATA)")


def finish():
    """Print the counts and end the test: exit code 1 when a check failed or none was made."""
    global _has_ended
    _has_ended = True
    print(f"{_checks} checks, {_failures} failed", flush=True)
    sys.exit(1 if _failures or not _checks else 0)


def scratch():
    """A temporary folder that goes when the test ends."""
    folder = tempfile.mkdtemp(prefix="syzygy-test-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


class Work:
    """A temporary folder of a `with` block."""

    def __enter__(self):
        self.path = tempfile.mkdtemp(prefix="syzygy-test-")
        return self.path

    def __exit__(self, *_):
        shutil.rmtree(self.path, ignore_errors=True)


@atexit.register  # runs last, because it is registered first
def _fail():
    if not _has_ended:
        print("FAIL  the test ended before finish()")
    if _failures or not _has_ended:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)
