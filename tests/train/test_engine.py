# SPDX-License-Identifier: BSD-3-Clause
"""The engine of a run: it stands in the log, the checkpoint and the model file; a continued run takes the same one, or says that bits will differ; without
leave for tiles a run does without, and says so once."""
import sys

from common import *


def isa(work):
    text = run(1, arguments(work, "dry") + ["--dry-run"])[1]
    return text.split("instruction set ")[1].split()[0]


def train(work, name, steps, env=None, ranks=1, **keys):
    code, text = run(ranks, arguments(work, name, train__steps=steps, compute__precision="bfloat16", **keys), env=env)
    check(code == 0, f"{name}, {steps} steps, {keys}: ends with {code}")
    if code:
        print(text)
    return text


def engine(work, name, step):
    with open(f"{work}/{name}/checkpoints/step-{step:08d}/manifest.json") as f:
        return json.load(f)["engine"]


def differs(text):
    return [line for line in text.splitlines() if "will differ in their last bits" in line]


with Work() as work:
    write_shards(f"{work}/shards", 20)
    write_input(work, f"data: {{path: [{work}/shards], split: all}}\ntrain: {{global_batch: 4, warmup_steps: 1, validate_objects: 0}}\n")
    has = isa(work)
    print(f"this processor: {has}")

    text = train(work, "a", 2)
    first = engine(work, "a", 2)
    check(first in text, f"the log names the engine: {first}")
    with h5py.File(f"{work}/a/model.h5") as f:
        named = f.attrs["engine"]
        check((named.decode() if isinstance(named, bytes) else named) == first, "so does the model file")
    check(not differs(text), "a new run has nothing to differ from")
    text = train(work, "a", 4)
    check(engine(work, "a", 4) == first and not differs(text), "a continued run has the same engine")
    text = train(work, "a", 6, compute__engine="reference")
    check(len(differs(text)) == 1 and first in differs(text)[0] and "the input overrides" in differs(text)[0], f"another engine by name is told of: {differs(text)}")
    text = train(work, "a", 8)
    check(len(differs(text)) == 1 and "reference loop" in differs(text)[0], "and so is the way back")

    if has in ("avx512_bf16", "amx"):
        text = train(work, "b", 2, compute__instructions="avx512")
        lesser = engine(work, "b", 2)
        check(lesser == "own kernels avx512 widened" and "bfloat16" in text, f"bfloat16 without its instructions: {lesser}")
        check("multiplied in float32" in text, "which is said")
        text = train(work, "b", 4)
        check(engine(work, "b", 4) == lesser and not differs(text), "the lesser engine stays when the run goes on")
    else:
        print("SKIPPED: no lesser engine for bfloat16 on this processor")
    if has == "amx" and sys.argv[1] == "ON":
        refused = {"SYZ_FAULT": "tiles:0:1"}
        text = train(work, "a", 10, env=refused)
        check(text.count("does not allow their use") == 1, "refused tiles are told of once")
        train(work, "c", 2)
        text = train(work, "c", 4, env=refused)
        check("own kernels amx" == engine(work, "c", 2) and len(differs(text)) == 1 and "rules out" in differs(text)[0],
              f"a run that had tiles goes on without: {differs(text)}")
        text = train(work, "d", 2, env={"SYZ_FAULT": "tiles:1:1"}, ranks=2)
        check(engine(work, "d", 2) != "own kernels amx", f"one rank without tiles: all take {engine(work, 'd', 2)}")
    else:
        print("SKIPPED: refused tiles: no AMX here, or a build without injected failures")
finish()
