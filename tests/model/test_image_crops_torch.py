# SPDX-License-Identifier: BSD-3-Clause
"""The image tower on crops and the projection heads against PyTorch in float64 (tests/reference/syzygy_dino.py): crops of three sizes, positions kept,
shrunk and grown, masks, registers, stochastic depth with the crops that the program keeps, one to three layers of a head, shared and separate.

Rows and bottlenecks: float32 to 1e-5 of the largest. Gradients of every parameter: float32 to 1e-5 of the parameter's largest; one per cent on any of them
is tried and must be seen. bfloat16 (8 bits): cosines.
"""
import os
import sys
import tempfile

import h5py
import numpy as np
import torch

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import SKIPPED, above, below, check, finish
import drive

import syzygy_dino as dino
import syzygy_torch as ref

torch.set_num_threads(1)


class Job:
    """One call: crops of several sizes, rows asked for, gradients given."""

    def __init__(self, folder, config, seed, groups, rate=0.0, ibot=False, first=0):
        self.config, self.rate, self.ibot, self.groups = config, rate, ibot, groups
        self.prefix, self.path = os.path.join(folder, "job"), os.path.join(folder, "model.h5")
        self.network = dino.random_network(config, seed)
        dino.write_model_file(self.path, self.network)
        rng = np.random.default_rng(seed)
        patch, registers = config["image"]["patch"], config["image"]["registers"]
        self.planes = [rng.normal(size=(n, 3, size, size)).astype(np.float32) for size, n, _ in groups]
        self.masks, self.rows = [], []
        for g, (size, n, is_masked) in enumerate(groups):
            patches = (size // patch) ** 2
            mask = (rng.random((n, patches)) < 0.4).astype(np.uint8) if is_masked else None
            if is_masked:
                mask[0] = 0  # half of the crops are not masked in training
            self.masks.append(mask)
            for c in range(n):
                tokens = [0] + ([1 + registers + p for p in np.flatnonzero(mask[c])] if is_masked else [])
                self.rows += [(g, c, t) for t in tokens]
        d, k = config["image"]["dim"], config["dino"]["bottleneck"]
        self.drows = rng.normal(size=(len(self.rows), d)).astype(np.float32)
        self.dz = rng.normal(size=(len(self.rows), k)).astype(np.float32)
        with open(self.prefix + "-job.txt", "w") as f:
            print(int(ibot), 1, 11, 5, rate, len(groups), file=f)
            for (size, n, is_masked) in groups:
                print(size, n, first, int(is_masked), file=f)
            print(len(self.rows), file=f)
            for row in self.rows:
                print(*row, file=f)
        for g, planes in enumerate(self.planes):
            planes.tofile(f"{self.prefix}-planes-{g}.bin")
            if self.masks[g] is not None:
                self.masks[g].tofile(f"{self.prefix}-mask-{g}.bin")
        self.drows.tofile(self.prefix + "-drows.bin")
        self.dz.tofile(self.prefix + "-dz.bin")

    def run(self, precision="float32"):
        drive.run(["crops_driver", self.path, precision, self.prefix])
        n = len(self.rows)
        self.kept = [np.fromfile(f"{self.prefix}-kept-{g}.bin", np.uint8).reshape(self.config["image"]["depth"], 2, -1) for g in range(len(self.groups))]
        gradients = {}
        with h5py.File(self.prefix + "-gradients.h5", "r") as f:
            f["parameter"].visititems(lambda name, item: gradients.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
        return np.fromfile(self.prefix + "-rows.bin", np.float32).reshape(n, -1), np.fromfile(self.prefix + "-z.bin", np.float32).reshape(n, -1), gradients

    def reference(self):
        """After run(): the same in float64, stochastic depth with the crops that the program kept."""
        network = self.network.double()
        network.zero_grad()
        out = []
        for g, planes in enumerate(self.planes):
            mask = None if self.masks[g] is None else torch.as_tensor(self.masks[g])
            kept = torch.as_tensor(self.kept[g]) if self.rate > 0 else None
            out.append(network.backbone(torch.as_tensor(planes).double(), mask, kept, self.rate))
        rows = torch.stack([out[g][c, t] for g, c, t in self.rows])
        z = (network.ibot_head if self.ibot else network.dino_head).bottleneck(rows)
        ((rows * torch.as_tensor(self.drows)).sum() + (z * torch.as_tensor(self.dz)).sum()).backward()
        gradients = {name: None if p.grad is None else p.grad.numpy() for name, p in network.named_parameters()}
        return rows.detach().numpy(), z.detach().numpy(), gradients


def worst_of(found, wanted):
    """Largest deviation, each relative to the parameter's largest; where; smallest when each is one per cent off; those that should have none."""
    worst, where, spoiled, unwanted = 0.0, "", np.inf, []
    for name, theirs in wanted.items():
        mine = found[name].astype(np.float64)
        if theirs is None:
            if mine.any():
                unwanted.append(name)
            continue
        scale = np.abs(theirs).max()
        if name.endswith("qkv.bias"):  # keys: zero but for rounding
            third = len(mine) // 3
            mine[third : 2 * third] = theirs[third : 2 * third]
        error = np.abs(mine - theirs).max() / scale
        if not error <= worst:
            worst, where = error, name
        spoiled = min(spoiled, np.abs(1.01 * mine - theirs).max() / scale)
    return worst, where, spoiled, unwanted


def one(label, config, groups, **options):
    with tempfile.TemporaryDirectory() as folder:
        job = Job(folder, config, **options, groups=groups)
        rows, z, gradients = job.run()
        wanted_rows, wanted_z, wanted = job.reference()
        below(np.abs(rows - wanted_rows).max() / np.abs(wanted_rows).max(), 1e-5, f"{label}: rows")
        below(np.abs(z - wanted_z).max() / np.abs(wanted_z).max(), 1e-5, f"{label}: bottlenecks")
        worst, where, spoiled, unwanted = worst_of(gradients, wanted)
        below(worst, 1e-5, f"{label}: gradients (worst: {where})")
        above(spoiled, 5e-3, f"{label}: with one per cent on any parameter")
        check(not unwanted, f"{label}: no gradient where there is none {unwanted}")
        if job.rate > 0:
            share = [1 - np.mean(k) for k in job.kept]
            check(all(abs(s - job.rate) < 1 / k.shape[-1] for s, k in zip(share, job.kept)), f"{label}: left out {[round(s, 3) for s in share]}")
        try:
            rows, z, gradients = job.run("bfloat16")
        except drive.BadRun as bad:
            if bad.code != SKIPPED:
                raise
            drive.say_skipped(label)
            return
        # 8 bits: measured lowest 0.99995 of rows, 0.99987 of bottlenecks, 0.99988 of gradients.
        above(ref.cosines(rows, wanted_rows).min(), 0.9995, f"{label} bfloat16: rows, cosine")
        above(ref.cosines(z, wanted_z).min(), 0.999, f"{label} bfloat16: bottlenecks, cosine")
        cosines = {n: ref.cosines(gradients[n].reshape(1, -1), g.reshape(1, -1))[0] for n, g in wanted.items() if g is not None}
        lowest = min(cosines, key=cosines.get)
        above(cosines[lowest], 0.998, f"{label} bfloat16: gradient cosine (lowest: {lowest})")


def image(**keys):
    return dict(dict(dim=32, depth=3, heads=4, size=48, patch=12, layerscale=0.5), **keys)


def head(**keys):
    return dict(dict(layers=3, hidden=40, bottleneck=16, prototypes=50), **keys)


# 48 pixels: the grid of the positions; 24: 2 x 2 of 4 x 4; 72: 6 x 6.
one("one size, masks", dino.make_config(image(), head()), [(48, 5, True)], seed=1)
one("three sizes, masks, registers", dino.make_config(image(registers=3), head(layers=2)), [(48, 4, True), (24, 7, False), (72, 2, True)], seed=2)
one("stochastic depth", dino.make_config(image(layerscale=0.3), head()), [(48, 8, True), (24, 13, False)], seed=3, rate=0.3)
one("stochastic depth, no LayerScale, separate head", dino.make_config(image(layerscale=0.0, registers=1, dim=36), head(layers=1, ibot_head="separate")),
    [(36, 6, True), (24, 9, False)], seed=4, rate=0.5, ibot=True, first=7)
finish()
