# SPDX-License-Identifier: BSD-3-Clause
"""Predicted against measured on this machine: rates from one rank on one core, runs on 1, 2 and 4 ranks with other batches and commands.

Calibration runs `syzygy bench` on one rank that is pinned to one core, so that reading and augmenting use a part of that core, as they do when all cores
work; the sum of gradients is measured on two ranks. Everything else is predicted: other numbers of ranks (4 on 2 cores: half a core each), other
batches, and whole training runs instead of `bench`. A step's time is the shortest of a run's steps and of `--repeats` runs: others may be using the
machine. Takes about three minutes.
"""
import dataclasses
import json
import os
import shutil
import subprocess
import tempfile

from predictor import model, plan, rates as rate

BOUND = 0.15  # largest accepted deviation of the model
SIZES = {
    "image": {"dim": 256, "depth": 4, "heads": 4, "patch": 12, "size": 144, "tokens": "dinov2"},
    "spectrum": {"dim": 256, "depth": 4, "heads": 4, "section": 60, "overlap": 30},
    "embedding": {"dim": 256},
    "dino": {"hidden": 1024, "bottleneck": 128, "prototypes": 4096},
}
STEPS = 30
# command, keys beside the sizes, global batches
RUNS = [("pretrain-image", {}, (8, 16)), ("pretrain-spectrum", {"train.micro_batch": 16, "masked.run_tokens": 20}, (16, 32)), ("align", {"train.freeze_backbones": False}, (8, 16))]


def size_sets(command):
    parts = {"pretrain-image": ("image", "dino"), "pretrain-spectrum": ("spectrum",), "align": ("image", "spectrum", "embedding"), "bench": tuple(SIZES)}[command]
    return [f"model.{p}.{name}={value}" for p in parts for name, value in SIZES[p].items() if (command, name) != ("pretrain-image", "tokens")]


def run(binary, command, sets, ranks, core=None):
    env = {**plan.mpi_environment(), "OMPI_MCA_rmaps_base_oversubscribe": "1", "OMPI_MCA_hwloc_base_binding_policy": "none", "OMPI_MCA_mpi_yield_when_idle": "1"}
    words = ["mpirun", "--timeout", "300", "-n", str(ranks), binary, command] + [w for s in sets for w in ("--set", s)]
    if core is not None:
        words = ["taskset", "-c", str(core), *words]
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env)
    if done.returncode:
        raise SystemExit(f"predict: {' '.join(words)} ended with {done.returncode}:\n{done.stdout[-2000:]}")


def calibrate(binary, folder, repeats):
    benches = []
    plans = [(1, b, "pretrain" if b == 2 else "product,towers,optimiser,pretrain") for b in (2, 8)] + [(2, 8, "allreduce")]
    for ranks, batch, parts in plans:
        out = f"{folder}/bench-{ranks}-{batch}"
        sets = [f"bench.parts={parts}", f"bench.batch={batch}", f"bench.repeats={4 * repeats}", "bench.limit_s=0.5", f"output.dir={out}", *size_sets("bench")]
        run(binary, "bench", sets, ranks, 0 if ranks == 1 else None)
        with open(f"{out}/bench.json") as f:
            benches.append(json.load(f))
    return rate.rates_of(benches)


def measure(binary, command, sets, folder, ranks, repeats, cores):
    """Seconds of the shortest step."""
    best = float("inf")
    for _ in range(repeats):
        shutil.rmtree(f"{folder}/run", ignore_errors=True)
        run(binary, command, [*sets, f"output.dir={folder}/run"], ranks, 0 if ranks < cores else None)
        with open(f"{folder}/run/metrics.jsonl") as f:
            steps = [json.loads(line) for line in f]
        batch = next(int(s.partition("=")[2]) for s in sets if s.startswith("train.global_batch"))
        best = min([best] + [batch / m["samples_per_s"] for m in steps[2:]])
    return best


def main(a):
    cores = len(os.sched_getaffinity(0))
    machine = dataclasses.replace(model.read_machine(os.path.join(os.path.dirname(__file__), "..", "..", "inputs", "networks", "single-node.yaml")), cores=cores)
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        run(a.binary, "simulate", ["simulate.objects=64", f"output.dir={folder}"], 1)
        rates = calibrate(a.binary, folder, a.repeats)
        print(f"one core: limit {rates.limit / 1e9:.0f} GFLOP/s; in steps of long batches " + ", ".join(f"{n} {100 * v:.0f} %" for n, v in rates.share.items())
              + f"; updates {rates.bandwidth['update'] / 1e9:.0f} GB/s, sums {rates.bandwidth['sum'] / 1e9:.1f} GB/s")
        print(f"{'command':18} {'ranks':>5} {'batch':>6} {'predicted':>11} {'measured':>11} {'ratio':>7}")
        for command, own, batches in RUNS:
            for batch in batches:
                for ranks in (1, 2, 4):
                    sets = [f"train.steps={STEPS}", f"train.global_batch={batch}", "train.validate_interval=0", "output.checkpoint_interval_s=0", "data.verify=never",
                            "train.validate_objects=0" if command != "pretrain-image" else "validate.train_objects=0", f"data.path={folder}/shards",
                            *[f"{n}={str(v).lower()}" for n, v in own.items()], *size_sets(command)]
                    layout = model.Layout(1, ranks, 1, oversubscribed=max(1.0, ranks / cores))
                    predicted = model.predict(plan.Plans(command, a.binary, None, sets), layout, machine, rates).seconds
                    measured = measure(a.binary, command, sets, folder, ranks, a.repeats, cores)
                    is_near = abs(predicted / measured - 1) <= BOUND
                    failed += not is_near
                    print(f"{command:18} {ranks:5} {batch:6} {predicted:9.4f} s {measured:9.4f} s {predicted / measured:7.2f}{'' if is_near else '  *'}", flush=True)
    print(f"all within {100 * BOUND:.0f} %" if not failed else f"{failed} beyond {100 * BOUND:.0f} %")
    return 1 if failed else 0
