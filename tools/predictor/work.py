# SPDX-License-Identifier: BSD-3-Clause
"""What a training step is: keys of the program, operations, parameters, bytes and messages of one object and of one step.

Formulas are those of src/model/config.c, src/model/crops.c, src/train/dino_plan.c and src/nn/block.c; tests/app/test_predict.py holds them against the
program. Units: operations (one multiply-add is two), bytes, GiB = 2^30.
"""
import dataclasses
import math
import os
import re
import subprocess

import yaml

PIXELS = 7781  # of a spectrum
STAMP = 152  # pixels of an image's side, three bands
BUCKET = 4 << 20  # gradient elements that travel together: src/train/gradients.c
COMMANDS = ("pretrain-image", "pretrain-spectrum", "align")
GIB = float(1 << 30)
PROCESS = 0.06 * GIB  # program, libraries, buffers of MPI and HDF5

# ---------------------------------------------------------------------- keys


def flatten(tree, prefix=""):
    out = {}
    for name, value in (tree or {}).items():
        path = f"{prefix}{name}"
        out.update(flatten(value, path + ".") if isinstance(value, dict) else {path: value})
    return out


def number(value):
    """YAML 1.1 reads 1e-5 as text; so do we not."""
    if isinstance(value, str):
        for kind in (int, float):
            try:
                return kind(value)
            except ValueError:
                pass
        return {"true": True, "false": False}.get(value, value.strip('"'))
    return value


def read_yaml(path):
    """{dotted name: value} of a file; one that is no such thing ends the program with its name."""
    try:
        with open(path) as f:
            tree = yaml.safe_load(f)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as e:
        raise SystemExit(f"predict: {path}: {' '.join(str(e).split())}")
    if not isinstance(tree, dict):
        raise SystemExit(f"predict: {path}: expected names with values")
    return {name: number(value) for name, value in flatten(tree).items()}


def number_in(path, name, value, least, is_open=False, is_whole=False):
    """value, a number of at least `least` (is_open: more than it)."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or (is_whole and value != int(value)):
        raise SystemExit(f"predict: {path}: {name}: {value!r} is not a {'whole ' if is_whole else ''}number")
    if value < least or (is_open and value == least):
        raise SystemExit(f"predict: {path}: {name}: {value!r}, expected {'more than' if is_open else 'at least'} {least}")
    return int(value) if is_whole else value


def defaults(binary, command):
    """Every key of a command at its default, from --help: the program's own table."""
    text = subprocess.run([binary, command, "--help"], check=True, stdout=subprocess.PIPE, text=True, env=mpi_environment()).stdout
    return {m.group(1): number(m.group(2)) for m in re.finditer(r"^  ([a-z_]+(?:\.[a-z0-9_]+)*): (.*)$", text, re.M)}


def read_keys(binary, command, path=None, sets=()):
    keys = defaults(binary, command)
    given = read_yaml(path) if path else {}
    for text in sets:
        name, _, value = text.partition("=")
        given[name] = yaml.safe_load(value)
    for name, value in given.items():
        if name not in keys:
            raise SystemExit(f"predict: {path or '--set'}: {command} has no key {name}")
        keys[name] = number(value)
    return keys


def mpi_environment(threads=1):
    return {**os.environ, "OMP_NUM_THREADS": str(threads), "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}


# The part `pretrain` of bench is the published recipe, whatever the model's size: src/bench/pretrain.c.
DINO_PUBLISHED = {
    "model.image.tokens": "dinov2", "dino.global_size": 144, "dino.global_crops": 2, "dino.local_size": 60, "dino.local_crops": 8, "dino.mask_probability": 0.5,
    "dino.mask_ratio_min": 0.1, "dino.mask_ratio_max": 0.5, "dino.centring": "mean", "dino.sinkhorn_iterations": 3,
}

# ---------------------------------------------------------------- operations


def block_flops(tokens, dim):
    """One transformer block on one sequence: qkv 3, proj 1, fc1 4, fc2 4 products of D x D; scores and weighted sum."""
    return 2 * tokens * 12 * dim * dim + 4 * tokens * tokens * dim


def tokens_of(k, tower):
    if tower == "image":
        side = k["model.image.size"] // k["model.image.patch"]
        return side * side + (1 + k["model.image.registers"] if k["model.image.tokens"] == "dinov2" else 0)
    section = k["model.spectrum.section"]
    return (PIXELS - section) // (section - k["model.spectrum.overlap"]) + 2


def pooling_flops(k, tower):
    d, e = k[f"model.{tower}.dim"], k["model.embedding.dim"]
    return 4 * tokens_of(k, tower) * d * k["model.embedding.heads"] + 2 * (d * e + e * e + 8 * e * e)


def model_flops(k, tower):
    """syz_model_flops: forward pass of a tower with its pooling head, for one object."""
    t, d = tokens_of(k, tower), k[f"model.{tower}.dim"]
    width = 3 * k["model.image.patch"] ** 2 if tower == "image" else k["model.spectrum.section"] + 2
    return 2 * t * width * d + k[f"model.{tower}.depth"] * block_flops(t, d) + pooling_flops(k, tower)


def crops_flops(k, size):
    """syz_crops_flops: forward pass of the image tower on one crop."""
    p, d = k["model.image.patch"], k["model.image.dim"]
    patches = (size // p) ** 2
    return 2 * patches * 3 * p * p * d + k["model.image.depth"] * block_flops(patches + 1 + k["model.image.registers"], d)


@dataclasses.dataclass
class Crops:
    """What a DINO step has for one object."""

    globals_: int
    locals_: int
    masked: float  # mean masked patches
    patches: int  # of a global crop
    local_patches: int

    @property
    def student_rows(self):
        return self.globals_ + self.locals_ + self.masked

    @property
    def teacher_rows(self):
        return self.globals_ + self.masked


def crops_of(k):
    p, g, l = k["model.image.patch"], k["dino.global_crops"], k["dino.local_crops"]
    patches = (k["dino.global_size"] // p) ** 2
    masked = g * k["dino.mask_probability"] * 0.5 * (k["dino.mask_ratio_min"] + k["dino.mask_ratio_max"]) * patches
    return Crops(g, l, masked, patches, (k["dino.local_size"] // p) ** 2)


def prototype_flops(k):
    """Of one row against all prototypes, once."""
    return 2 * k["model.dino.prototypes"] * k["model.dino.bottleneck"]


def projection_flops(k):
    """The projection head's MLP for one row."""
    widths = [k["model.image.dim"]] + [k["model.dino.hidden"]] * (k["model.dino.layers"] - 1) + [k["model.dino.bottleneck"]]
    return sum(2 * a * b for a, b in zip(widths, widths[1:]))


def dino_flops(k):
    """syz_dino_flops: useful operations of a whole DINOv2 step for one image. A backward pass is twice a forward pass; the patch embedding has no
    gradient by pixels; stochastic depth drops all of a block but nothing of the embedding."""
    c, kept = crops_of(k), 1 - k["dino.drop_rate"]
    patch = 2 * 3 * k["model.image.patch"] ** 2 * k["model.image.dim"]
    whole = crops_flops(k, k["dino.global_size"])
    on_global = whole - patch * c.patches
    on_local = crops_flops(k, k["dino.local_size"]) - patch * c.local_patches if c.locals_ else 0
    embedding = patch * (c.globals_ * c.patches + c.locals_ * c.local_patches)
    backbones = 3 * kept * (c.globals_ * on_global + c.locals_ * on_local) + 2 * embedding + c.globals_ * whole
    return backbones + (prototype_flops(k) + projection_flops(k)) * (3 * c.student_rows + c.teacher_rows)


def masked_flops(k):
    """A whole step of masked modelling for one spectrum: the input has no gradient."""
    t, d, width = tokens_of(k, "spectrum"), k["model.spectrum.dim"], k["model.spectrum.section"] + 2
    hidden = k["masked.runs"] * k["masked.run_tokens"]
    return 2 * 2 * t * width * d + 3 * (k["model.spectrum.depth"] * block_flops(t, d) + 2 * hidden * d * width)


# ---------------------------------------------------------------- parameters


def backbone_parameters(k, tower):
    d, depth = k[f"model.{tower}.dim"], k[f"model.{tower}.depth"]
    block = 12 * d * d + 13 * d  # four products with biases, two norms
    if tower == "image":
        patches = (k["model.image.size"] // k["model.image.patch"]) ** 2
        if k["model.image.layerscale"] > 0:
            block += 2 * d
        return depth * block + (3 * k["model.image.patch"] ** 2 + 1) * d + (3 + patches + k["model.image.registers"] + 2) * d
    width = k["model.spectrum.section"] + 2
    return depth * block + (width + 1) * d + k["model.spectrum.max_tokens"] * d + 2 * d + (d + 1) * width


def unused_parameters(k, tower):
    """Of a backbone, those that `align` has no gradient of: tokens and positions of the published form, the head of masked modelling."""
    d = k[f"model.{tower}.dim"]
    if tower == "image":
        patches = (k["model.image.size"] // k["model.image.patch"]) ** 2
        return (3 + patches) * d if k["model.image.tokens"] == "patches" else d
    return (d + 1) * (k["model.spectrum.section"] + 2)


def pooling_parameters(k, tower):
    d, e = k[f"model.{tower}.dim"], k["model.embedding.dim"]
    keys = 3 * e * e if d == e else e * e + 2 * e * d
    return e + keys + 3 * e + e * e + e + 2 * e + 8 * e * e + 5 * e


def projection_parameters(k):
    widths = [k["model.image.dim"]] + [k["model.dino.hidden"]] * (k["model.dino.layers"] - 1) + [k["model.dino.bottleneck"]]
    mlp = sum((a + 1) * b for a, b in zip(widths, widths[1:]))
    heads = 2 if k["model.dino.ibot_head"] == "separate" else 1
    return heads * (mlp + k["model.dino.prototypes"] * (k["model.dino.bottleneck"] + 1))


# ---------------------------------------------------------------------- work


@dataclasses.dataclass
class Work:
    """A step as the machine sees it. Everything `object_` is of one object, everything else of a whole step on one rank."""

    command: str
    keys: dict
    batch: int
    object_flops: float  # as the program counts: useful operations
    compute_flops: float  # of one object, all that is done in the towers (with passes that are run again)
    loss_flops: float  # done for one object in the loss, at the loss's own rate
    gather_flops: float  # float32 operations for one object that grow with the global batch
    weights: float  # elements of one copy of the networks that run
    trained: float
    teacher: float  # elements of a teacher, or 0
    prototypes: float  # elements
    backward_share: float  # of compute_flops, while which gradients can travel
    object_bytes: float  # read from the file system
    sums: list  # (bytes, count): all-reduces of the losses per step
    gathers: list  # (bytes in all, count): all-gathers
    tower: str  # whose rates apply: "dino", "image", "spectrum", "both"
    chunks: int = 1


def passes_of(k, share, preset):
    """In how many passes a rank's objects run (train.micro_batch)."""
    most = k.get("train.micro_batch") or preset
    return math.ceil(share / most) if share and most else 1


def again_share(k, tower):
    """Of a tower's blocks, those that run again in the backward pass (train.recompute)."""
    depth = k[f"model.{tower}.depth"]
    return min(k.get("train.recompute") or 0, depth) / depth


def work_of(command, k, share=None):
    """share: objects of the largest rank, which decides in how many passes its step runs."""
    batch = k["train.global_batch"]
    image_bytes, spectrum_bytes = 3 * STAMP * STAMP * 4, PIXELS * 4
    small = (64, 3)
    if command == "pretrain-image":
        c = crops_of(k)
        backbone, head = backbone_parameters(k, "image"), projection_parameters(k)
        prototypes = k["model.dino.prototypes"] * k["model.dino.bottleneck"] * (2 if k["model.dino.ibot_head"] == "separate" else 1)
        useful = dino_flops(k)
        proto = prototype_flops(k)
        compute = useful - proto * (3 * c.student_rows + c.teacher_rows)
        kept = (1 - k["dino.drop_rate"]) * (c.globals_ * crops_flops(k, k["dino.global_size"]) + c.locals_ * crops_flops(k, k["dino.local_size"]))
        chunks = passes_of(k, share, None)
        more = kept * max(again_share(k, "image"), 1 - 1 / chunks)
        sets = 2
        sums = [small, (sets * 8 * (k["model.dino.bottleneck"] + 1), 1), (sets * 8 * k["model.dino.prototypes"], 1)]
        if k["dino.centring"] == "sinkhorn":
            tiles = math.ceil(k["model.dino.prototypes"] / 512)
            sums += [(sets * 512 * 4, tiles * k["dino.sinkhorn_iterations"]), (sets * 512 * 8, tiles * k["dino.sinkhorn_iterations"])]
        t_passes = 3 + (k["dino.sinkhorn_iterations"] - 1 if k["dino.centring"] == "sinkhorn" else 0)
        return Work(command, k, batch, useful, compute + more, proto * (t_passes * c.teacher_rows + 4 * c.student_rows),
                    c.globals_ * 2 * 2 * batch * k["model.image.dim"], backbone + head, backbone + head, backbone + head, prototypes,
                    (2 * kept + more) / (compute + more) / chunks, image_bytes, sums, [(4 * batch * k["model.image.dim"], c.globals_)], "dino", chunks)
    if command == "pretrain-spectrum":
        p, useful = backbone_parameters(k, "spectrum"), masked_flops(k)
        chunks = passes_of(k, share, 16)
        more = again_share(k, "spectrum") * k["model.spectrum.depth"] * block_flops(tokens_of(k, "spectrum"), k["model.spectrum.dim"])
        return Work(command, k, batch, useful, useful + more, 0, 0, p, p, 0, 0, (2 / 3 * useful + more) / (useful + more) / chunks, spectrum_bytes,
                    [small, (16 * batch, 1), (8 * batch, 1)], [], "spectrum", chunks)
    heads = sum(pooling_flops(k, t) for t in ("image", "spectrum"))
    towers = sum(model_flops(k, t) for t in ("image", "spectrum"))
    backbones = sum(backbone_parameters(k, t) for t in ("image", "spectrum"))
    pools = sum(pooling_parameters(k, t) for t in ("image", "spectrum"))
    unused = sum(unused_parameters(k, t) for t in ("image", "spectrum"))
    e = k["model.embedding.dim"]
    frozen, cached = k["train.freeze_backbones"], k["train.freeze_backbones"] and k["train.token_cache"] != "none"
    chunks = passes_of(k, share, 256 if cached else 32)
    useful = 3 * heads + (0 if cached else towers - heads) if frozen else 3 * towers
    more = (heads if frozen else towers) * (1 - 1 / chunks)
    if not frozen:
        more = max(more, sum(again_share(k, t) * model_flops(k, t) for t in ("image", "spectrum")))
    read = sum(2 * tokens_of(k, t) * k[f"model.{t}.dim"] for t in ("image", "spectrum")) if cached else image_bytes + spectrum_bytes
    backward = 2 * (heads if frozen else towers)
    return Work(command, k, batch, useful, useful + more, 0, 12 * batch * e, pools if cached else backbones + pools, pools if frozen else backbones + pools - unused,
                0, 0, backward / (useful + more) / chunks, read, [small], [(4 * batch * e, 2), (16 * batch, 2), (8 * batch, 1)], "both", chunks)


def rows_of(command, k, share):
    """[(tower, rows that its blocks compute for `share` objects)]."""
    if command == "pretrain-image":
        c = crops_of(k)
        return [("image", share * (1 - k["dino.drop_rate"]) * (c.globals_ * (c.patches + 1) + c.locals_ * (c.local_patches + 1)))]
    if command == "pretrain-spectrum":
        return [("spectrum", share * tokens_of(k, "spectrum"))]
    return [] if k["train.freeze_backbones"] else [(t, share * tokens_of(k, t)) for t in ("image", "spectrum")]


# ------------------------------------------------------ published runs


@dataclasses.dataclass
class Published:
    """A run whose machine and time are known: what share of its machine's peak its operations are."""

    name: str
    flops: float  # in all
    device_hours: float
    peak: float  # operations per second of a device, bfloat16 or float16, dense
    source: str

    @property
    def share(self):
        return self.flops / (self.device_hours * 3600 * self.peak)


A100 = 312e12  # NVIDIA A100 data sheet, dense


def published_runs(k, run_hours=46):
    """k: keys of the published image pretraining."""
    giant = {**k, "model.image.dim": 1536, "model.image.depth": 40, "model.image.patch": 14, "model.image.size": 224, "model.dino.prototypes": 131072,
             "model.dino.bottleneck": 384, "model.dino.ibot_head": "separate", "dino.global_size": 224, "dino.local_size": 98, "dino.drop_rate": 0.4}
    return [
        Published("AstroDINO, ViT-L/12, 250,000 x 1440", 250000 * 1440 * dino_flops(k), 20 * run_hours, A100,
                  "20 A100 by astroclip/astrodino/training.sh of PolymathicAI/AstroCLIP"),
        Published("DINOv2, ViT-g/14, 625,000 x 3072", 625000 * 3072 * dino_flops(giant), 22000, A100,
                  "22,000 A100 hours by MODEL_CARD.md, recipe of configs/train/vitg14.yaml of facebookresearch/dinov2, batch and steps of arXiv:2304.07193"),
    ]
