#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""How fast both towers are beside PyTorch, forward and with the backward pass, on one core, in the same run.

    tools/bench-towers.py [--binary build/syzygy] [--batch 8] [--repeats 3] [--rounds 3] [--depths 24 6] [--profile]

syzygy's figures are those of `syzygy bench` (bench.parts: product,towers,optimiser), which also measures this core's limit of matrix products.
PyTorch's are those of tests/reference/syzygy_torch.py with the published sizes and names under bfloat16 autocast, without dropout: the same useful
operations. The two take turns, --rounds times, and the best of each counts, because a core of a shared machine may run at a third of its speed for
seconds. Prints the share of the limit and the ratio, and with --profile where syzygy's time goes, layer by layer; nothing is asserted. Needs
python3-torch and 8 GiB.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
WORK = [("image tower", "forward"), ("image tower", "forward + backward"), ("spectrum", "forward"), ("spectrum", "forward + backward")]
INT8 = [("image tower", "forward int8"), ("spectrum", "forward int8")]


def run_syzygy(a, folder):
    sets = {"bench.parts": "product,towers,optimiser", "bench.batch": a.batch, "bench.repeats": a.repeats, "output.dir": folder, "compute.threads": 1}
    if a.depths:
        sets["model.image.depth"], sets["model.spectrum.depth"] = a.depths
    command = [a.binary, "bench"] + (["--profile"] if a.profile else []) + [w for k, v in sets.items() for w in ("--set", f"{k}={v}")]
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1", "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"})
    with open(os.path.join(folder, "bench.json")) as f:
        return json.load(f)


def time_torch(a):
    """Seconds of the best of the repeats, by tower and work. In a process of its own, whose memory ends with it."""
    import torch

    sys.path.insert(0, os.path.join(HERE, "..", "tests", "reference"))
    import syzygy_torch as reference

    torch.set_num_threads(1)
    torch.manual_seed(1)
    # As autocast does on other devices: norms in float32.
    norm = torch.nn.functional.layer_norm
    torch.nn.LayerNorm.forward = lambda m, x: norm(x.float(), m.normalized_shape, m.weight, m.bias, m.eps)
    depths = dict(image=dict(depth=a.depths[0]), spectrum=dict(depth=a.depths[1])) if a.depths else {}
    config = reference.make_config(embedding=dict(dropout=0.0), **depths)
    inputs = {"image tower": torch.rand(a.batch, 3, config["image"]["size"], config["image"]["size"]), "spectrum": torch.randn(a.batch, reference.PIXELS)}
    seconds = {}
    for name, x in inputs.items():
        model = reference.Model(config)
        tower = model.image_encoder if name == "image tower" else model.spectrum_encoder

        def forward():
            with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
                tower(x)

        def both():
            tower.zero_grad(set_to_none=True)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                y = tower(x)
            y.float().sum().backward()

        for work, run in (("forward", forward), ("forward + backward", both)):
            run()
            best = float("inf")
            for _ in range(a.repeats):
                start = time.perf_counter()
                run()
                best = min(best, time.perf_counter() - start)
            seconds[f"{name}, {work}"] = best
    return seconds


def run_torch(a):
    arguments = [sys.executable, os.path.abspath(__file__), "--torch", "--batch", str(a.batch), "--repeats", str(a.repeats)]
    if a.depths:
        arguments += ["--depths", *map(str, a.depths)]
    done = subprocess.run(arguments, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    return json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, preset in (("batch", 8), ("repeats", 3), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=preset)
    parser.add_argument("--depths", type=int, nargs=2, metavar=("IMAGE", "SPECTRUM"), help="layers of the towers: fewer, where no second is quiet")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--binary", default=os.path.join(HERE, "..", "build", "syzygy"))
    parser.add_argument("--torch", action="store_true", help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.torch:
        print(json.dumps(time_torch(a)))
        return
    mine, theirs, limit = {}, {}, 0
    for _ in range(a.rounds):
        with tempfile.TemporaryDirectory() as folder:
            result = run_syzygy(a, folder)
        limit = max(limit, result["limit_gflops"])
        for part, what in WORK + INT8:
            row = next((r for r in result["rows"] if (r["part"], r["what"]) == (part, what)), None)
            if row and (not mine.get((part, what)) or row["gflops_per_rank"] > mine[part, what]["gflops_per_rank"]):
                mine[part, what] = row
        for name, seconds in run_torch(a).items():
            theirs[name] = min(seconds, theirs.get(name, seconds))
    print(f"\n{'of the limit, ' + format(limit, '.0f') + ' GFLOP/s':34}{'syzygy':>9}{'PyTorch':>9}{'ratio':>8}")
    for part, what in WORK:
        rate = mine[part, what]["gflops_per_rank"]
        other = rate * a.batch / mine[part, what]["objects_per_s"] / theirs[f"{part}, {what}"]
        print(f"{part + ', ' + what:34}{100 * rate / limit:>7.1f} %{100 * other / limit:>7.1f} %{rate / other:>6.2f} x")
    for part, what in INT8:
        if (part, what) in mine:
            print(f"{part + ', ' + what:34}{100 * mine[part, what]['gflops_per_rank'] / limit:>7.1f} %{'':>9}"
                  f"{mine[part, what]['gflops_per_rank'] / mine[part, 'forward']['gflops_per_rank']:>6.2f} x its bfloat16")


if __name__ == "__main__":
    main()
