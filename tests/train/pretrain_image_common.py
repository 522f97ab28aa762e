# SPDX-License-Identifier: BSD-3-Clause
"""What the tests of whole runs of `pretrain-image` share: the smallest model, its cases, its numbers."""
from common import *

INPUT = """
model:
  image: {dim: 32, depth: 2, heads: 2, patch: 12, size: 72, layerscale: 0.3}
  dino: {hidden: 48, bottleneck: 16, prototypes: 700}
compute: {precision: float32}
"""
DINO = dict(global_size=72, local_size=36, local_crops=3, drop_rate=0.3, teacher_warmup_steps=10, freeze_last_layer_steps=3, momentum=0.95)
# Both centrings, shared and separate heads, registers, other counts of crops.
CASES = {
    "mean": dict(dino__centring="mean", model__dino__ibot_head="shared"),
    "sinkhorn": dict(dino__centring="sinkhorn", model__dino__ibot_head="separate", model__image__registers=2),
    "crops": dict(dino__centring="mean", model__dino__ibot_head="separate", dino__global_crops=3, dino__local_crops=0),
}
TERMS = ("loss", "dino_global", "dino_local", "ibot", "koleo")


def write_pretrain_input(work, train, data="split: all", output="checkpoint_interval_steps: 0"):
    dino = ", ".join(f"{k}: {v}" for k, v in DINO.items())
    with open(f"{work}/input.yaml", "w") as f:
        f.write(f"{INPUT}\ndata: {{path: [{work}/shards], {data}}}\ntrain: {{{train}}}\ndino: {{{dino}}}\noutput: {{{output}}}\n")


def arguments(work, output, **keys):
    """`pretrain-image` on the work folder's input.yaml and shards; keys with two underscores for the dot."""
    sets = ["--set", f"output.dir={work}/{output}"]
    for k, v in keys.items():
        sets += ["--set", f"{k.replace('__', '.')}={v}"]
    return ["pretrain-image", f"{work}/input.yaml"] + sets


def numbers(folder):
    """What must not depend on chance: every value of every step but the clock's."""
    return [{k: v for k, v in m.items() if k not in ("samples_per_s", "wait_s")} for m in metrics(folder)]


def difference(a, b, keys=TERMS):
    """Largest relative difference of two runs' numbers."""
    return max(abs(x[k] - y[k]) / max(abs(y[k]), 1e-3) for x, y in zip(a, b) for k in keys)


def weights(path):
    with h5py.File(path) as f:
        found = {}
        f["parameter"].visititems(lambda name, d: found.update({name: d[()]}) if isinstance(d, h5py.Dataset) else None)
        return found


def same_weights(a, b):
    a, b = weights(a), weights(b)
    return a.keys() == b.keys() and all((a[k] == b[k]).all() for k in a)
