# SPDX-License-Identifier: BSD-3-Clause
"""Every C file is in the project's format (.clang-format), and what is not is noticed."""
import os
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import SOURCE, check, finish, skip

FORMATTER = shutil.which("clang-format-14")  # other versions format some lines otherwise
if not FORMATTER:
    skip("clang-format-14 is not installed")


def complaints(*arguments, text=None):
    done = subprocess.run([FORMATTER, "--dry-run", f"--style=file:{SOURCE}/.clang-format", *arguments], input=text, capture_output=True, text=True, timeout=100)
    return sorted({line.split(":")[0] for line in done.stderr.splitlines() if "code should be clang-formatted" in line})


files = sorted(os.path.join(top, name) for room in ("src", "include", "tests") for top, _, names in os.walk(f"{SOURCE}/{room}")
               for name in names if name.endswith((".c", ".h")))
wrong = complaints(*files)
check(len(files) > 400 and not wrong, f"{len(files)} files, of another format: {[os.path.relpath(p, SOURCE) for p in wrong]} (clang-format-14 -i mends them)")
check(complaints("--assume-filename=planted.c", text="int f(int a){ return a; }\n"), "a brace in another style is noticed")
check(not complaints("--assume-filename=planted.c", text="int f(int a) { return a; }\n"), "the project's own style is not")
finish()
