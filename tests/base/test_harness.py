# SPDX-License-Identifier: BSD-3-Clause
"""tests/harness.py and tools/check say so when something fails: a failed check however the script ends, a test that checks nothing, a name that
matches no test."""
import os
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import SOURCE, check, finish, launch, scratch

folder = scratch()


def script(lines):
    """Exit code and text of a test of these lines."""
    path = f"{folder}/script.py"
    with open(path, "w") as f:
        f.write(f"import sys\nsys.path.insert(0, {SOURCE + '/tests'!r})\nfrom harness import *\n{lines}\n")
    done = launch(None, sys.executable, path, stderr=subprocess.STDOUT)
    return done.returncode, done.stdout


# Planted: each of these scripts must end with this code and print this.
for code, lines, words in (
    (0, "check(True, 'good')\nfinish()", "ok    good\n1 checks, 0 failed\n"),
    (0, "check_quietly(True, 'good')\nfinish()", "1 checks, 0 failed\n"),
    (1, "check(True, 'good')\ncheck(False, 'bad')\nfinish()", "ok    good\nFAIL  bad\n2 checks, 1 failed\n"),
    (1, "check_quietly(False, 'bad')\nfinish()", "FAIL  bad\n1 checks, 1 failed\n"),
    (1, "check(False, 'bad')", "FAIL  bad\nFAIL  the test ended before finish()\n"),
    (1, "check(False, 'bad')\nsys.exit(0)", "FAIL  bad\nFAIL  the test ended before finish()\n"),
    (1, "check(False, 'bad')\nskip('no disk')", "FAIL  bad\nskipped: no disk\n"),
    (1, "finish()", "0 checks, 0 failed\n"),
    (1, "check(True, 'good')", "ok    good\nFAIL  the test ended before finish()\n"),
    (1, "check(True, 'good')\nsys.exit(0)", "ok    good\nFAIL  the test ended before finish()\n"),
    (77, "skip('no disk')", "skipped: no disk\n"),
    (0, "below(1.0, 1.0, 'difference')\nabove(2.0, 1.0, 'cosine')\nfinish()", "ok    difference: 1, at most 1\nok    cosine: 2, at least 1\n2 checks, 0 failed\n"),
    (1, "below(float('nan'), 1.0, 'difference')\nabove(float('nan'), 1.0, 'cosine')\nfinish()", "2 checks, 2 failed\n"),
    (1, "below(1.01, 1.0, 'difference')\nfinish()", "FAIL  difference: 1.01, at most 1\n1 checks, 1 failed\n"),
    (1, "above(0.99, 1.0, 'cosine')\nfinish()", "FAIL  cosine: 0.99, at least 1\n1 checks, 1 failed\n"),
    (0, "check(os.path.isdir(scratch()), 'a folder')\nprint(failed())\nfinish()", "ok    a folder\n0\n1 checks, 0 failed\n"),
):
    found, text = script(lines)
    check(found == code and text.endswith(words), f"{lines!r}: exit code {found}, expected {code}; {text!r}")

# tools/check over a tree with two tests that need no build; nothing is installed.
tree = f"{folder}/tree"
for path in ("tools", "programs", "build-check", "build-debug"):
    os.makedirs(f"{tree}/{path}")
shutil.copy(f"{SOURCE}/tools/check", f"{tree}/tools/check")
for path in ("tools/install-deps", "programs/cmake"):
    with open(f"{tree}/{path}", "w") as f:
        f.write("#!/bin/sh\n")
    os.chmod(f"{tree}/{path}", 0o755)
for path, program in (("build-check", "true"), ("build-debug", "false")):  # the last test fails under the sanitizers alone
    with open(f"{tree}/{path}/CTestTestfile.cmake", "w") as f:
        f.write(f'add_test(test_good "/bin/true")\nadd_test(test_bad "/bin/false")\nadd_test(test_unsound "/bin/{program}")\n'
                "set_tests_properties(test_good test_unsound PROPERTIES LABELS unit)\n")
for code, arguments in ((0, ("-R", "test_good")), (8, ("-R", "test_bad")), (8, ("-R", "test_unsound")), (2, ("-R", "test_neither"))):
    done = launch(None, f"{tree}/tools/check", *arguments, stderr=subprocess.STDOUT, PATH=f"{tree}/programs:{os.environ['PATH']}")
    check(done.returncode == code, f"tools/check {' '.join(arguments)}: exit code {done.returncode}, expected {code}")
    check(("no test matches: -R test_neither" in done.stdout) == (code == 2), f"it says whether a test matches: {done.stdout[-200:]!r}")
finish()
