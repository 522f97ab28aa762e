# SPDX-License-Identifier: BSD-3-Clause
"""inputs/reference.yaml is what the program says of its keys, and the program reads it back with nothing changed; so it does all inputs."""
import difflib
import os
import re
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

# Help: a usage line, an example, required keys before a command's own and shared ones. What is called required is refused by name when missing.
help_text = launch(None, BINARY, "help", "embed").stdout
parts = re.split(r"^(required keys|keys of embed alone|keys shared with other commands):$", help_text, flags=re.M)
found = {title: re.findall(r"^  ([\w.]+): ", body, re.M) for title, body in zip(parts[1::2], parts[2::2])}
check(list(found) == ["required keys", "keys of embed alone", "keys shared with other commands"] and found["required keys"] == ["data.path", "model.file"], f"groups of keys: {list(found)}")
check(all(key.startswith("embed.") for key in found["keys of embed alone"]), "embed's own keys")
check("usage: " in parts[0] and "example: mpirun" in parts[0] and "1 to 65,536" in help_text and max(map(len, help_text.splitlines()[6:])) <= 106, "usage, example, numbers, width")
check(help_text == launch(None, BINARY, "embed", "--help").stdout, "help COMMAND and COMMAND --help are the same")
for command, given, missing in (("embed", "model.file=none.h5", "data.path"), ("align", None, "data.path")):
    run = launch(None, BINARY, command, "--dry-run", *(["--set", given] if given else []))
    check(run.returncode == 2 and missing + ":" in run.stdout + run.stderr, f"{command} without {missing}: exit code {run.returncode}")
run = launch(None, BINARY, "help")
check(run.returncode == 0 and "version" in run.stdout, "help lists commands")
check(launch(None, BINARY, "version").stdout == launch(None, BINARY, "--version").stdout != "", "version and --version")
run = launch(None, BINARY, "algin")
check(run.returncode == 2 and 'the nearest one is "align"' in run.stderr + run.stdout, "a misspelled command")

for name in sorted(name for name in os.listdir(f"{ROOT}/inputs") if name.endswith(".yaml")):
    run = launch(None, BINARY, "bench", f"{ROOT}/inputs/{name}", "--dry-run")
    check(run.returncode == 0, f"inputs/{name} is read: exit code {run.returncode} {run.stderr.strip()}")
finish()
