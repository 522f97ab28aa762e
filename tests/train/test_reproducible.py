# SPDX-License-Identifier: BSD-3-Clause
"""`reproducible: true`: every number of metrics.jsonl and validation.jsonl, and every bit of the model, is the same on 1, 2, 4 and 8 ranks, also when the
run was stopped and went on with another number of ranks. Without it they are not, which shows that the comparison sees the order of a sum.

    test_reproducible.py CASE float32|bfloat16        `refuse`: what cannot be reproducible
"""
import sys

import pretrain_image_common as dino
from common import *

STEPS, BATCH = 7, 16
LEAVES = "reproducible: true\nreproducible_leaves: 8\n"
TRAIN = f"steps: {STEPS}, global_batch: {BATCH}, lr: 1.0e-3, warmup_steps: 2, clip_grad_norm: 0.5"
SPECTRUM = """
model:
  spectrum: {dim: 24, depth: 2, heads: 3, section: 200, overlap: 100, max_tokens: 80}
masked: {runs: 4, run_tokens: 9}
"""
# Command, input, and what sets runs apart from one another; the passes are such that a leaf has several, with a rest, or one.
CASES = {
    "align": ("align", MODEL.replace("compute: {precision: float32}\n", "") + "data: {path: [SHARDS]}\ntrain: {TRAIN, validate_objects: 16}\n",
              dict(train__freeze_backbones="false", train__learn_logit_scale="true", reproducible_leaves=2, RANKS=(2,), train__micro_batch=3)),
    "full": ("align", MODEL.replace("compute: {precision: float32}\n", "") + "data: {path: [SHARDS]}\ntrain: {TRAIN, validate_objects: 16}\n",
             dict(train__freeze_backbones="false")),
    "heads": ("align", MODEL.replace("compute: {precision: float32}\n", "") + "data: {path: [SHARDS]}\ntrain: {TRAIN, validate_objects: 16}\n",
              dict(train__token_cache="memory", train__micro_batch=1)),
    "spectrum": ("pretrain-spectrum", SPECTRUM + "data: {path: [SHARDS]}\ntrain: {TRAIN, validate_objects: 8}\n", dict(train__micro_batch=1)),
}
for name, keys in dino.CASES.items():
    settings = ", ".join(f"{k}: {v}" for k, v in dino.DINO.items())
    CASES[f"image-{name}"] = ("pretrain-image", dino.INPUT.replace("compute: {precision: float32}\n", "") + f"data: {{path: [SHARDS]}}\ntrain: {{TRAIN}}\ndino: {{{settings}}}\n",
                              dict(keys, **({"train__micro_batch": 1} if name == "sinkhorn" else {})))


def go(work, output, ranks, **keys):
    sets = ["--set", f"output.dir={work}/{output}"]
    for k, v in keys.items():
        sets += ["--set", f"{k.replace('__', '.')}={v}"]
    return run(ranks, [command_name, f"{work}/input.yaml"] + sets, timeout=100)


def numbers(folder):
    """Every value but the clock's."""
    return [[{k: v for k, v in m.items() if k not in ("samples_per_s", "wait_s")} for m in metrics(folder, name)] for name in ("metrics.jsonl", "validation.jsonl")
            if os.path.exists(f"{folder}/{name}")]


def same_model(a, b):
    a, b = dino.weights(a), dino.weights(b)
    return a.keys() == b.keys() and all(a[k].tobytes() == b[k].tobytes() for k in a)


def refuse():
    """Numbers that do not fit are told, with those that do, before anything is written."""
    cases = [
        (1, dict(train__global_batch=20), "use a batch of 16 or 24"),
        (1, dict(reproducible_leaves=6, train__global_batch=24), "reproducible_leaves = 6 is not a power of two"),
        (3, {}, "3 ranks share the batch, which has reproducible_leaves = 8"),
        (4, dict(reproducible_leaves=2), "4 ranks share the batch, which has reproducible_leaves = 2"),
        (1, dict(loss__ring_pairs=8), "loss.ring_pairs = 8 must be at least train.global_batch = 16"),
        (2, dict(parallel__tensor=2, train__freeze_backbones="false"), "parallel.tensor must be 1"),
        (5, dict(parallel__towers="apart"), "3 ranks share the batch"),
    ]
    for n, changes, message in cases:
        code, said = go(work, "refused", n, **dict(keys, **changes))
        check(code == 2 and message in " ".join(said.split()), f"{changes} on {n} ranks: {code}, {message}")
        if code != 2:
            print(said)
        check(not os.path.exists(f"{work}/refused"), "nothing was written")


def compare(work, one, other, what):
    files = [f for f in ("model.h5", "model-student.h5") if os.path.exists(f"{work}/{one}/{f}")]
    check(len(files) > 0 and len(metrics(f"{work}/{one}")) == STEPS, f"{what}: whole runs")
    check(numbers(f"{work}/{one}") == numbers(f"{work}/{other}"), f"{what}: metrics and validation have the same bits")
    for f in files:
        check(same_model(f"{work}/{one}/{f}", f"{work}/{other}/{f}"), f"{what}: {f} has the same bits")


which, precision = sys.argv[1], sys.argv[2]
command_name, text, keys = CASES["full" if which == "refuse" else which]
keys = dict(keys, compute__precision=precision)
ranks = keys.pop("RANKS", (2, 4, 8))
with Work() as work:
    write_shards(f"{work}/shards", 40, 3)
    with open(f"{work}/input.yaml", "w") as f:
        f.write(LEAVES + text.replace("SHARDS", f"{work}/shards").replace("TRAIN", TRAIN))
    if which == "refuse":
        refuse()
        finish()
    code, said = go(work, "one", 1, **keys)
    check(code == 0, f"1 rank ends with {code}")
    if code:
        print(said)
        sys.exit(1)
    for n in ranks:
        code, said = go(work, f"many{n}", n, **keys)
        check(code == 0, f"{n} ranks end with {code}")
        if code:
            print(said)
            continue
        compare(work, "one", f"many{n}", f"{which}, {precision}, {n} ranks")
    for n in (3, 4) if which == "full" else ():
        code, said = go(work, f"apart{n}", n, **dict(keys, parallel__towers="apart"))
        check(code == 0, f"{n} ranks apart end with {code}")
        compare(work, "one", f"apart{n}", f"{which}, {precision}, towers apart on {n} ranks")
    # Stopped after 3 steps on 2 ranks, on with 1 and with 4.
    for n in (1, ranks[-1]):
        code, said = go(work, f"half{n}", 2, **dict(keys, output__checkpoint_interval_steps=3, train__validate_interval=0))
        for entry in os.listdir(f"{work}/half{n}/checkpoints"):
            if entry != "step-00000003":
                shutil.rmtree(f"{work}/half{n}/checkpoints/{entry}")
        for entry in ("validation.jsonl", "model.h5", "model-best.h5"):
            if os.path.exists(f"{work}/half{n}/{entry}"):
                os.remove(f"{work}/half{n}/{entry}")
        code, said = go(work, f"half{n}", n, **keys)
        check(code == 0 and "3" in said, f"{n} ranks go on: {code}")
        if code:
            print(said)
        compare(work, "one", f"half{n}", f"{which}, {precision}, 2 and then {n} ranks")
    # The comparison has teeth: without the fixed order, and with other leaves, some bit differs.
    go(work, "free1", 1, reproducible="false", **keys)
    go(work, "free2", 2, reproducible="false", **keys)
    check(numbers(f"{work}/free1") != numbers(f"{work}/free2"), "without reproducible 1 and 2 ranks differ in some bit")
    go(work, "leaves", 1, **dict(keys, reproducible_leaves=4))
    check(numbers(f"{work}/leaves") != numbers(f"{work}/one"), "other leaves are another run")
    difference = dino.difference(metrics(f"{work}/leaves"), metrics(f"{work}/one"), ["loss"])
    limit = 1e-5 if precision == "float32" else 3e-3
    check(difference < limit, f"by {difference:.1e} ({limit:.0e}) in the loss")
finish()
