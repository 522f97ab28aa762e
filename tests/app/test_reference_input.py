# SPDX-License-Identifier: BSD-3-Clause
"""inputs/reference.yaml is what the program says of its keys, and the program reads it back with nothing changed; so it does all inputs."""
import difflib
import os
import subprocess
import sys

import yaml

BINARY, ROOT = os.environ["SYZYGY_BINARY"], os.environ["SYZYGY_SOURCE"]
ENV = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", OMP_NUM_THREADS="1")
failures = 0


def check(ok, what):
    global failures
    print(("ok    " if ok else "FAIL  ") + what)
    failures += not ok


made = subprocess.run([f"{ROOT}/tools/make-reference", BINARY], capture_output=True, text=True, check=True, env=ENV).stdout
kept = open(f"{ROOT}/inputs/reference.yaml").read()
diff = list(difflib.unified_diff(kept.splitlines(), made.splitlines(), "inputs/reference.yaml", "tools/make-reference build/syzygy", lineterm=""))
print("\n".join(diff[:40]))
check(not diff, "inputs/reference.yaml is up to date")


def leaves(node, prefix=""):
    for name, value in node.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name


keys = list(leaves(yaml.safe_load(kept)))
check(len(keys) > 100, f"{len(keys)} keys")

for name in sorted(name for name in os.listdir(f"{ROOT}/inputs") if name.endswith(".yaml")):
    run = subprocess.run([BINARY, "bench", f"{ROOT}/inputs/{name}", "--dry-run"], capture_output=True, text=True, env=ENV)
    check(run.returncode == 0, f"inputs/{name} is read: exit code {run.returncode} {run.stderr.strip()}")
sys.exit(failures > 0)
