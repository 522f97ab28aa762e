#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""How fast a whole DINOv2 step of `syzygy pretrain-image` is beside the same step in PyTorch, on one core, in the same run.

    tools/bench-pretrain.py [--binary build/syzygy] [--batch 8] [--torch-batch 4] [--repeats 3] [--size full|small] [--depth N] [--only syzygy|torch]

Both do the same work for an image: teacher on the global crops, student on all crops, prototypes, DINO, iBOT and KoLeo losses with moving centres, all
gradients, clipping, AdamW, moving average. syzygy's step is that of `syzygy bench` (bench.parts: pretrain), which also measures this core's limit of
matrix products and counts useful operations; PyTorch's is tests/reference/syzygy_dino.py under bfloat16 autocast with the arrangement of the published
code: one batch a crop size, one call of the head, fused parameter groups, multi-tensor optimiser and average. Neither reads images in its step: crops are
noise. Prints seconds per image, the share of the limit and the ratio; nothing is asserted. Needs python3-torch; full size needs 12.2 GiB for syzygy
(it prints its plan first) and about 9 GiB for PyTorch with their batches.
"""
import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
SIZES = {
    "full": dict(image=dict(dim=1024, depth=24, heads=16, patch=12, size=144), dino=dict(hidden=2048, bottleneck=256, prototypes=65536), gib=13),
    "small": dict(image=dict(dim=192, depth=4, heads=3, patch=12, size=144), dino=dict(hidden=512, bottleneck=128, prototypes=4096), gib=1),
}
CROPS = dict(global_size=144, global_crops=2, local_size=60, local_crops=8)


def available_gib():
    with open("/proc/meminfo") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("MemAvailable")) / 2**20


def run_syzygy(a, folder):
    """bench.json of a run of the program on one rank with one thread."""
    size = SIZES[a.size]
    sets = {"bench.parts": "pretrain", "bench.batch": a.batch, "bench.repeats": a.repeats, "output.dir": folder, "compute.threads": 1,
            **{f"model.image.{k}": v for k, v in size["image"].items()}, **{f"model.dino.{k}": v for k, v in size["dino"].items()}}
    command = [a.binary, "bench"] + [w for k, v in sets.items() for w in ("--set", f"{k}={v}")]
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1", "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"})
    with open(os.path.join(folder, "bench.json")) as f:
        return json.load(f)


# ----------------------------------------------------------------- PyTorch


def masks(torch, crops, side):
    """Half of the crops with a block of 30 % of the patches: the mean of the program's masks."""
    mask = torch.zeros(crops, side, side, dtype=torch.bool)
    n = round(0.3 * side * side)
    for c in range(0, crops, 2):
        mask[c].view(-1)[:n] = True
    return mask.view(crops, -1)


class TorchStep:
    def __init__(self, a, drop_rate):
        import torch

        sys.path.insert(0, os.path.join(HERE, "..", "tests", "reference"))
        import syzygy_dino as dino

        torch.set_num_threads(1)
        # Weight normalisation as the published code has it: one kernel.
        dino.LastLayer.forward = lambda layer, z: torch.nn.functional.linear(z, torch._weight_norm(layer.weight_v, layer.weight_g, 0))
        self.torch, self.dino, size = torch, dino, SIZES[a.size]
        self.config = dino.make_config(size["image"], size["dino"])
        self.options = dino.options(drop_rate=drop_rate)
        self.student, self.teacher = dino.published_network(self.config, 1), dino.published_network(self.config, 1)
        self.teacher.requires_grad_(False)
        self.trained = [p for named in self.student.groups().values() for p in named.values()]
        self.average = [(t, s) for t, s in zip(self.teacher.parameters(), self.student.parameters()) if s.requires_grad]
        fused = {}
        depth = len(self.student.backbone.blocks)
        for group, named in self.student.groups().items():
            for name, p in named.items():
                fused.setdefault(dino.rule(group, name, depth, self.options), []).append(p)
        self.optimiser = torch.optim.AdamW([dict(params=p, lr=1e-4 * r[0], weight_decay=0.01 * r[1]) for r, p in fused.items()], foreach=True)
        b, c = a.torch_batch, CROPS
        self.planes = torch.rand(b * c["global_crops"], 3, c["global_size"], c["global_size"])
        self.local = torch.rand(b * c["local_crops"], 3, c["local_size"], c["local_size"])
        self.mask = masks(torch, len(self.planes), c["global_size"] // self.config["image"]["patch"])
        self.batch, self.centres = b, [torch.zeros(self.config["dino"]["prototypes"]) for _ in range(2)]

    def kept(self, crops):
        """A random subset of floor(n (1 - rate)) crops for every branch of every block, as published."""
        torch, rate = self.torch, self.options["drop_rate"]
        if rate == 0:
            return None
        n, depth = max(int(crops * (1 - rate)), 1), len(self.student.backbone.blocks)
        out = torch.zeros(depth, 2, crops, dtype=torch.bool)
        for block in out:
            for branch in block:
                branch[torch.randperm(crops)[:n]] = True
        return out

    def targets(self, i, logits):
        torch = self.torch
        target = torch.softmax((logits - self.centres[i]) / 0.05, dim=-1)
        self.centres[i].mul_(0.9).add_(logits.mean(0), alpha=0.1)
        return target

    def __call__(self):
        torch, dino, b, rate = self.torch, self.dino, self.batch, self.options["drop_rate"]
        self.optimiser.zero_grad(set_to_none=True)
        n, m = len(self.planes), len(self.local)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            with torch.no_grad():
                x = self.teacher.backbone(self.planes)
                logits = self.teacher.dino_head(torch.cat([x[:, 0], x[:, 1:][self.mask]])).float()
                target, patch_target = self.targets(0, logits[:n]).view(b, -1, logits.shape[1]), self.targets(1, logits[n:])
                del x, logits
            x = self.student.backbone(self.planes, self.mask, self.kept(n), rate)
            y = self.student.backbone(self.local, None, self.kept(m), rate)
            logits = self.student.dino_head(torch.cat([x[:, 0], y[:, 0], x[:, 1:][self.mask]])).float()
        tokens = x[:, 0].float().view(b, -1, x.shape[-1])
        large, small, patches = logits.split([n, m, len(logits) - n - m])
        first, second = dino.dino_losses(large.view(b, -1, logits.shape[1]), small.view(b, -1, logits.shape[1]), target, 0.1)
        loss = first + second + dino.ibot_loss(patches, patch_target, self.mask, 0.1) + 0.1 * sum(dino.koleo_loss(t) for t in tokens.unbind(1))
        loss.backward()
        for named in self.student.groups().values():
            torch.nn.utils.clip_grad_norm_([p for p in named.values() if p.grad is not None], 3.0)
        self.optimiser.step()
        with torch.no_grad():
            torch._foreach_mul_([t for t, _ in self.average], 0.994)
            torch._foreach_add_([t for t, _ in self.average], [s for _, s in self.average], alpha=0.006)
        return float(loss)


def run_torch(a, drop_rate):
    """Seconds per image, best and median, and the peak memory of this process."""
    step = TorchStep(a, drop_rate)
    step()
    seconds = []
    for _ in range(a.repeats):
        start = time.perf_counter()
        step()
        seconds.append((time.perf_counter() - start) / a.torch_batch)
    return dict(drop_rate=drop_rate, best=min(seconds), median=statistics.median(seconds), peak_gib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)


def torch_process(a, drop_rate):
    """In a process of its own, so that memory is freed and its peak is its own."""
    arguments = [sys.executable, os.path.abspath(__file__), "--torch-drop-rate", str(drop_rate), "--size", a.size, "--depth", str(a.depth), "--torch-batch",
                 str(a.torch_batch), "--repeats", str(a.repeats)]
    done = subprocess.run(arguments, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    return json.loads(done.stdout)


# ------------------------------------------------------------------- tables


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, preset in (("batch", 8), ("torch-batch", 4), ("repeats", 3)):
        parser.add_argument(f"--{name}", type=int, default=preset)
    parser.add_argument("--size", choices=SIZES, default="full")
    parser.add_argument("--depth", type=int, default=0, help="another number of blocks, for a quick look at full width")
    parser.add_argument("--only", choices=("syzygy", "torch"))
    parser.add_argument("--binary", default=os.path.join(HERE, "..", "build", "syzygy"))
    parser.add_argument("--torch-drop-rate", type=float, help=argparse.SUPPRESS)
    a = parser.parse_args()
    size = SIZES[a.size]
    if a.depth > 0:
        size["gib"] *= max(a.depth / size["image"]["depth"], 0.3)
        size["image"]["depth"] = a.depth
    if a.torch_drop_rate is not None:
        print(json.dumps(run_torch(a, a.torch_drop_rate)))
        return
    if available_gib() < size["gib"]:
        sys.exit(f"bench-pretrain: {available_gib():.1f} GiB of memory are free, about {size['gib']:.0f} GiB are needed; --size small takes little")
    mine = {}
    if a.only != "torch":
        with tempfile.TemporaryDirectory() as folder:
            result = run_syzygy(a, folder)
        limit = result["limit_gflops"]
        mine = {row["drop_rate"]: row for row in result["rows"] if row["part"] == "pretrain"}
    theirs = {} if a.only == "syzygy" else {rate: torch_process(a, rate) for rate in (sorted(mine) or (0.0, 0.3))}
    print(f"\n{'':30}{'s per image':>12}{'median':>9}{'of the limit':>14}{'peak GiB':>10}")
    for rate in sorted(mine or theirs):
        label = f"drop {rate:g}"
        if mine:
            m = mine[rate]
            row(f"{label}: syzygy, batch {a.batch}", m["s_per_object"], m["s_per_object_median"], m["fraction_of_limit"], m["peak_bytes"] / 2**30)
        if theirs:
            t = theirs[rate]
            row(f"{label}: PyTorch, batch {a.torch_batch}", t["best"], t["median"], mine[rate]["flops_per_object"] / t["best"] / 1e9 / limit if mine else None, t["peak_gib"])
        if mine and theirs:
            print(f"{label + ': ratio':30}{theirs[rate]['best'] / mine[rate]['s_per_object']:>9.2f} x{theirs[rate]['median'] / mine[rate]['s_per_object_median']:>7.2f} x")


def row(label, best, median, share, gib):
    print(f"{label:30}{best:>12.3f}{median:>9.3f}" + (f"{100 * share:>12.1f} %" if share else " " * 14) + f"{gib:>10.2f}")


if __name__ == "__main__":
    main()
