# SPDX-License-Identifier: BSD-3-Clause
"""clang-tidy finds nothing in the program (.clang-tidy says what it looks for, and why not for more), and finds what is planted."""
import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import BUILD, SOURCE, Work, check, finish, skip

TIDY = shutil.which("clang-tidy-14")
if not TIDY:
    skip("clang-tidy-14 is not installed")


def complaints(files, *arguments):
    """Lines of what it finds. gcc's warnings are errors already; clang's own are left out."""
    done = subprocess.run([TIDY, "--quiet", f"--config-file={SOURCE}/.clang-tidy", "--extra-arg=-w", *files, *arguments], capture_output=True, text=True, timeout=200)
    lines = [line for line in done.stdout.splitlines() if ": error: " in line or ": warning: " in line]
    return lines or ([] if done.returncode == 0 else [f"exit code {done.returncode}: {done.stderr[-500:]}"])


with open(f"{BUILD}/compile_commands.json") as f:
    files = sorted({entry["file"] for entry in json.load(f) if entry["file"].startswith(f"{SOURCE}/src/")})
shares = [files[k::16] for k in range(16)]
with ThreadPoolExecutor(2) as pool:
    found = sum(pool.map(lambda share: complaints(share, "-p", BUILD), shares), [])
check(len(files) > 250 and not found, f"{len(files)} files, of which it says {found}")
with Work() as work:
    for text, what in [('#include <string.h>\nint f(const char *a) { if (strcmp(a, "b")) return 1; return 0; }\n', "suspicious-string-compare"),
                       ("void f(int *p, int n) { for (int i = 0; i < n; i++); { *p = n; } }\n", "suspicious-semicolon")]:
        with open(f"{work}/planted.c", "w") as f:
            f.write(text)
        said = complaints([f"{work}/planted.c"], "--", "-std=c11")
        check(any(what in line for line in said), f"what is planted is found: {what}: {said}")
finish()
