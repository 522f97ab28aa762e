# SPDX-License-Identifier: BSD-3-Clause
"""The program's description of a training step: plan.json of its dry run. Files of names and values.

A plan has operations, parameters, bytes and messages for every share of the global batch that a rank can have, for one parallel.tensor and one
train.recompute (src/app/plan_file.c). Only values that depend on the number of ranks are computed here. Units: operations of one object in a step (one
multiply-add is two), bytes, GiB = 2^30.
"""
import dataclasses
import functools
import json
import math
import os
import subprocess
import tempfile

import yaml

COMMANDS = ("pretrain-image", "pretrain-spectrum", "align")
TOWERS = ("dino", "image", "spectrum")  # rates of networks; the others are of losses
FILES = ("model.file", "model.image_file", "model.spectrum_file", "model.teacher_file")
GIB = float(1 << 30)
WIDTH = {"float32": 4, "bfloat16": 2}  # bytes of a gradient on its way

# ---------------------------------------------------------------------- files


def flatten(tree, prefix=""):
    out = {}
    for name, value in (tree or {}).items():
        path = f"{prefix}{name}"
        out.update(flatten(value, path + ".") if isinstance(value, dict) else {path: value})
    return out


def number(value):
    """Unlike YAML 1.1, reads 1e-5 as a number and not as text."""
    if isinstance(value, str):
        for kind in (int, float):
            try:
                return kind(value)
            except ValueError:
                pass
        return {"true": True, "false": False}.get(value, value.strip('"'))
    return value


def read_yaml(path):
    """{dotted name: value} of a file; any other file ends the program with a message that names it."""
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


# ----------------------------------------------------------------------- plan


class Refused(ValueError):
    """There is no plan for a layout."""


@dataclasses.dataclass
class Share:
    """The work and memory of a rank with so many objects in a step. Operations are per object."""

    tree: dict

    @property
    def objects(self):
        return self.tree["objects_per_rank"]

    @functools.cached_property
    def useful(self):
        """Operations that stated speeds count."""
        return sum(o["forward"] + o["backward"] for o in self.tree["operations"] if not o["grows_with_batch"])

    @functools.cached_property
    def done(self):
        """{rate: operations, with those that run again}."""
        sums = {}
        for o in self.tree["operations"]:
            sums[o["rate"]] = sums.get(o["rate"], 0.0) + o["forward"] + o["backward"] + o["again"]
        return sums

    @functools.cached_property
    def towers(self):
        """{rate: (operations, weights that are read)} of the networks."""
        return {rate: (flops, self.tree["weights"].get(rate, 0)) for rate, flops in self.done.items() if rate in TOWERS}

    @property
    def compute(self):
        return sum(flops for flops, _ in self.towers.values())

    @property
    def weights(self):
        return sum(elements for _, elements in self.towers.values())

    def calls(self, kind):
        """[(bytes, count)] of sums or gathers."""
        return [(c["bytes"], c["count"]) for c in self.tree["calls"] if c["kind"] == kind]

    def bytes(self, of):
        return sum(m["bytes"] for m in self.tree["memory"] if m["of"] == of)


class Plan:
    """A plan.json."""

    def __init__(self, tree, path):
        if tree.get("syzygy_format") != "plan" or tree.get("format_version") != 1:
            raise SystemExit(f"predict: {path}: not a plan of format version 1")
        if tree["plan"]["ranks"] != tree["ranks"]:
            raise SystemExit(f"predict: {path} is for one of two separate towers (parallel.towers=apart), which cannot be predicted")
        self.tree, self.path = tree, path
        self.command, self.batch, self.steps = tree["command"], tree["global_batch"], tree["steps"]
        self.tensor, self.recompute, self.reduction = tree["tensor"], tree["recompute"], tree["reduction"]
        self.checkpoint_interval_s = tree["checkpoint_interval_s"]
        self.shares = {s["objects_per_rank"]: Share(s) for s in tree["shares"]}

    def share(self, ranks):
        """Of the rank with the most objects."""
        objects = math.ceil(self.batch / ranks)
        if objects not in self.shares:
            raise Refused(f"{self.path} has no plan for {objects} objects per rank")
        return self.shares[objects]

    def any_share(self):
        """Any share, for values that do not depend on it: useful operations, parameters."""
        if not self.shares:
            raise SystemExit(f"predict: {self.path}: no share of the batch can be planned")
        return next(iter(self.shares.values()))

    def bucket(self, ranks):
        """Gradient elements that travel together."""
        return next((b["elements"] for b in self.tree["buckets"] if ranks <= b["most_ranks"]), self.tree["buckets"][-1]["elements"])

    def memory(self, layout):
        """(bytes of a rank, bytes that a node's ranks share). Shares were planned for other numbers of ranks."""
        share = self.share(layout.ranks)
        fewer = share.tree["ranks"] / layout.ranks
        slices = share.tree["slice_bytes"] * fewer * self.bucket(layout.ranks) / self.bucket(share.tree["ranks"])
        slices *= (layout.nodes - 1) * WIDTH[layout.reduction] / WIDTH[self.reduction]
        return share.bytes("rank") + share.bytes("all ranks") * fewer + slices, share.bytes("node")


def read_plan(path):
    try:
        with open(path) as f:
            return Plan(json.load(f), path)
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, KeyError, AttributeError, TypeError) as e:
        raise SystemExit(f"predict: {path}: not a plan: {e}")


# ------------------------------------------------------------------- dry runs


def mpi_environment(threads=1):
    return {**os.environ, "OMP_NUM_THREADS": str(threads), "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}


def run(binary, *words):
    try:
        return subprocess.run([binary, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=mpi_environment())
    except OSError as e:
        raise SystemExit(f"predict: {binary}: {e.strerror} (--binary names the program)")


@functools.cache
def scratch(binary):
    """A folder with a few simulated objects, for all dry runs."""
    folder = tempfile.TemporaryDirectory()
    done = run(binary, "simulate", "--set", "simulate.objects=8", "--set", f"output.dir={folder.name}")
    if done.returncode:
        raise SystemExit(f"predict: simulate ended with {done.returncode}:\n{done.stdout[-2000:]}")
    return folder


class Plans:
    """The plans of one run: files that are given, or dry runs of the program, one for each parallel.tensor and train.recompute that is asked for.

    Dry runs are of a few simulated objects, without the model files that are not here, and by the engine that has bfloat16 on every processor: what
    is planned is not a run on this machine."""

    def __init__(self, command, binary=None, path=None, sets=(), files=()):
        self.command, self.binary, self.path, self.sets = command, binary, path, list(sets)
        self.found = {}
        for file in files:
            plan = read_plan(file)
            if plan.command != command:
                raise SystemExit(f"predict: {file} is a plan of {plan.command}, not of {command}")
            first = next(iter(self.found.values()), plan)
            if (plan.batch, plan.steps, plan.reduction) != (first.batch, first.steps, first.reduction):
                raise SystemExit(f"predict: {file} is of another run than {files[0]}: global batch, steps or reduction differ")
            self.found[plan.tensor, plan.recompute] = plan
        self.base = next(iter(self.found.values())) if files else self.of(1, 0)

    def of(self, tensor, recompute):
        """recompute 0: as the input says. Refused when the program cannot plan for it."""
        key = (tensor, recompute)
        if key not in self.found:
            if not self.binary:
                given = [p for (t, _), p in self.found.items() if t == tensor]
                if given and not recompute:
                    return given[0]
                raise Refused(f"none of the given plans has parallel.tensor={tensor} and train.recompute={recompute}")
            try:
                self.found[key] = self.dry_run(tensor, recompute)
            except Refused as e:
                self.found[key] = e
                if key == (1, 0):
                    raise SystemExit(f"predict: {e}")
        if isinstance(self.found[key], Refused):
            raise self.found[key]
        return self.found[key]

    def choices(self, tensors):
        """Tensor groups and recomputation that may be tried."""
        if not self.binary:
            return dict(tensors=tuple(sorted({t for t, _ in self.found})), recomputes=tuple(sorted({r for _, r in self.found})))
        return dict(tensors=tensors or (1, 2, 4), recomputes=(self.base.recompute,) if self.base.recompute else (0, 1024))

    def dry_run(self, tensor, recompute):
        folder = scratch(self.binary).name
        path = f"{folder}/run/plan.json"
        own = {"data.path": f"{folder}/shards", "output.dir": os.path.dirname(path), "parallel.tensor": tensor}
        if recompute:
            own["train.recompute"] = recompute
        given = {name for name, _, _ in (s.partition("=") for s in self.sets)}
        if "compute.engine" not in given:
            own["compute.engine"] = "reference"
        in_file = read_yaml(self.path) if self.path else {}
        own.update({name: "" for name in FILES if in_file.get(name) and name not in given and not os.path.exists(in_file[name])})
        sets = [s for s in self.sets if s.partition("=")[0] not in own] + [f"{name}={value}" for name, value in own.items()]
        if os.path.exists(path):
            os.remove(path)
        done = run(self.binary, self.command, *([self.path] if self.path else []), "--dry-run", *[w for s in sets for w in ("--set", s)])
        if not os.path.exists(path):
            said = [line.partition("error: ")[2] for line in done.stdout.splitlines() if "error: " in line]
            raise Refused(said[0] if said else f"{self.command} --dry-run ended with {done.returncode}:\n{done.stdout[-2000:]}")
        return read_plan(path)


# ------------------------------------------------------------ published runs


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
# ViT-g/14 on 224 and 98 pixels: patches of 9 make the same tokens of 144 and 63. Their embedding differs by less than 0.1 % of a step.
GIANT = ["model.image.dim=1536", "model.image.depth=40", "model.image.heads=24", "model.image.patch=9", "model.image.size=144", "model.dino.prototypes=131072",
         "model.dino.bottleneck=384", "model.dino.ibot_head=separate", "dino.global_size=144", "dino.local_size=63", "dino.drop_rate=0.4"]


def published_runs(binary, path, run_hours=46):
    """path: the input of the published image pretraining."""

    def flops(*sets):
        return Plans("pretrain-image", binary, path, sets).base.any_share().useful

    return [
        Published("AstroDINO, ViT-L/12, 250,000 x 1440", 250000 * 1440 * flops(), 20 * run_hours, A100,
                  "20 A100 by astroclip/astrodino/training.sh of PolymathicAI/AstroCLIP"),
        Published("DINOv2, ViT-g/14, 625,000 x 3072", 625000 * 3072 * flops(*GIANT), 22000, A100,
                  "22,000 A100 hours by MODEL_CARD.md, recipe of configs/train/vitg14.yaml of facebookresearch/dinov2, batch and steps of arXiv:2304.07193"),
    ]
