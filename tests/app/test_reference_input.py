# SPDX-License-Identifier: BSD-3-Clause
"""inputs/reference.yaml is what the program says of its keys, and the program reads it back with nothing changed; so it does all inputs."""
import difflib
import os
import sys

import yaml

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import BINARY, SOURCE as ROOT, check, finish, launch


done = launch(None, f"{ROOT}/tools/make-reference", BINARY)
made = done.stdout
check(done.returncode == 0, f"tools/make-reference: exit code {done.returncode} {done.stderr}")
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
    run = launch(None, BINARY, "bench", f"{ROOT}/inputs/{name}", "--dry-run")
    check(run.returncode == 0, f"inputs/{name} is read: exit code {run.returncode} {run.stderr.strip()}")
finish()
