# SPDX-License-Identifier: BSD-3-Clause
"""tools/predict: its counts are the program's, its arithmetic is right by hand, its traffic is SimGrid's, and it moves the right way.

    test_predict.py      everything but the simulations
    test_predict.py smpi bucket traffic and overlap on simulated fat trees of 16 and 64 nodes

Nothing is timed. Counts of operations and of parameters must be equal to the program's to rounding; memory within 10 % of the program's own plans (see
PLAN); simulated traffic within 0.7 %, which a planted 1 % exceeds.
"""
import dataclasses
import json
import math
import os
import re
import subprocess
import sys

import numpy as np

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import BINARY, SOURCE as ROOT, Work, check, finish  # noqa: E402
from common import run  # noqa: E402

sys.path.insert(0, f"{ROOT}/tools")
from predictor import model, rates as rate, work  # noqa: E402

NETWORKS = f"{ROOT}/inputs/networks"
SMALL = ["model.image.dim=64", "model.image.depth=3", "model.image.heads=4", "model.dino.hidden=96", "model.dino.bottleneck=32", "model.dino.prototypes=640"]
SPECTRUM = ["model.spectrum.dim=64", "model.spectrum.depth=2", "model.spectrum.heads=4", "model.spectrum.section=100", "model.spectrum.overlap=50"]


def near(a, b, bound, text):
    check(abs(a / b - 1) <= bound, f"{text}: {a:.6g}, expected {b:.6g} within {100 * bound:g} %")


def equal(a, b, text):
    near(a, b, 1e-9, text)


def keys(command, *sets):
    return work.read_keys(BINARY, command, None, sets)


# ------------------------------------------------------- counts of the program


def products_of_block(rows, d, heads, sequences, tokens):
    """Every product of a block written out: (m, n, k)."""
    out = [(rows, 3 * d, d), (rows, d, d), (rows, 4 * d, d), (rows, d, 4 * d)]
    for _ in range(sequences * heads):
        out += [(tokens, tokens, d // heads), (tokens, d // heads, tokens)]
    return out


def flops(products):
    return sum(2 * m * n * k for m, n, k in products)


def test_operations(folder):
    k = keys("pretrain-image", *SMALL)
    d, t = 64, (144 // 12) ** 2 + 1
    equal(work.crops_flops(k, 144), flops([(144, d, 432)] + 3 * products_of_block(t, d, 4, 1, t)), "operations of a crop, product by product")
    # bench counts by syz_dino_flops.
    sets = ["bench.parts=pretrain", "bench.batch=2", "bench.repeats=1", "bench.limit_s=0.1", f"output.dir={folder}/bench", *SMALL]
    code, text = run(1, ["bench"] + [w for s in sets for w in ("--set", s)], timeout=120)
    check(code == 0, f"bench ends with {code}" + (text[-600:] if code else ""))
    with open(f"{folder}/bench/bench.json") as f:
        bench = json.load(f)
    for row in (r for r in bench["rows"] if r["part"] == "pretrain"):
        equal(work.dino_flops({**k, "dino.drop_rate": row["drop_rate"]}), row["flops_per_object"], f"operations of a step, drop {row['drop_rate']:g}")
    # The same file as a source of rates.
    r = rate.rates_of([(bench, work.read_keys(BINARY, "bench", f"{folder}/bench/input.yaml"))])
    check(0 < r.share["dino"] and r.limit == bench["limit_gflops"] * 1e9, "bench.json is a source of rates")
    k = keys("pretrain-spectrum", *SPECTRUM)
    t, hidden = (7781 - 100) // 50 + 2, 300
    one = 2 * products_of_block(t, d, 4, 1, t) + [(hidden, 102, d)]
    equal(work.masked_flops(k), 3 * flops(one) + 2 * flops([(t, d, 102)]), "operations of masked modelling, product by product")


PLAN = [  # command, keys, nodes and ranks per node
    ("pretrain-image", ["train.global_batch=32", "compute.precision=bfloat16"], 2, 2),
    ("pretrain-image", ["train.global_batch=64", "train.recompute=1024"], 1, 4),
    ("pretrain-spectrum", ["train.global_batch=64"], 1, 2),
    ("align", ["train.global_batch=64", "train.freeze_backbones=false"], 2, 2),
    ("align", ["train.global_batch=256"], 2, 4),
]
SIZES = {"image": ["model.image.dim=384", "model.image.depth=6", "model.image.heads=6"], "spectrum": ["model.spectrum.dim=384", "model.spectrum.depth=4"]}


def dry_run(folder, command, sets, layout):
    own = [*sets, f"data.path={folder}/shards", f"output.dir={folder}/run", f"plan.ranks={layout.ranks}", f"plan.ranks_per_node={layout.ranks_per_node}"]
    code, text = run(1, [command, "--dry-run"] + [w for s in own for w in ("--set", s)], timeout=60)
    if code:
        print(text[-800:])
    return {m.group(1).strip(): float(m.group(2)) for m in re.finditer(r"^  (\S.*?)  +([\d.]+)(?: .*)?$", text, re.M)}, text


def test_parameters_and_memory(folder):
    code, _ = run(1, ["simulate", "--set", "simulate.objects=8", "--set", f"output.dir={folder}"])
    check(code == 0, "objects for dry runs")
    for command, sets, nodes, ranks in PLAN:
        sizes = SIZES["image"] * (command != "pretrain-spectrum") + SIZES["spectrum"] * (command != "pretrain-image")
        sets = sets + sizes
        layout, k = model.Layout(nodes, ranks, 1), keys(command, *sets)
        items, text = dry_run(folder, command, sets, layout)
        found = re.search(r"([\d.]+) M parameters, ([\d.]+) M of them trained", text)
        own, shared = model.memory_of(command, k, math.ceil(k["train.global_batch"] / layout.ranks), layout)
        told = shared / 4 / (2 if command == "pretrain-image" else 1)
        check(found and abs(float(found.group(1)) - told / 1e6) < 0.06, f"{command}: {told / 1e6:.2f} M parameters, the program says {found and found.group(1)}")
        trained = work.work_of(command, k).trained / 1e6
        check(found and abs(float(found.group(2)) - trained) < 0.06, f"{command}: {trained:.2f} M trained, the program says {found and found.group(2)}")
        # Weights may be listed with a rank or with its node; the rest is a rank's own.
        plan = sum(v for name, v in items.items() if "weights" not in name.replace("packed weights", "packed") and not re.match(r"a (rank|node)", name))
        near(own / model.GIB, plan, 0.10, f"{command}, {nodes} x {ranks} ranks: GiB of a rank beside weights")


# --------------------------------------------------------------- by hand


def toy():
    """Numbers that make arithmetic easy: 100 GFLOP/s per core at half of it, memory at 10 GB/s per core and 40 per node."""
    rates = rate.Rates(100e9, 50e9, {n: 0.5 for n in ("dino", "image", "spectrum", "loss")}, {n: 1e-9 for n in ("dino", "image", "spectrum", "loss")},
                       {n: 10e9 for n in ("update", "optimiser", "teacher", "packing", "sum")}, serial=0.0)
    machine = model.Machine("toy", 64, 8, 64, 0, 40, 0, 1.0, 0.0, 10, 1, 1.0, "fat-tree", 4, 2.0, 0.5, 1e9, 0.0, 100, 1)
    return machine, rates


def test_by_hand():
    machine, rates = toy()
    k = keys("pretrain-spectrum", *SPECTRUM, "train.global_batch=16", "output.checkpoint_interval_s=0")
    w = work.work_of("pretrain-spectrum", k)
    one = model.step("pretrain-spectrum", k, model.Layout(1, 1, 1), machine, rates)
    equal(one["compute"], 16 * w.object_flops / 50e9 + 1e-9 * w.weights, "one core: operations over half the limit, and a pass over the weights")
    equal(one["optimiser"], 32 * w.trained / 10e9, "one core: 32 bytes a weight in the optimiser")
    check(one["sums"] == one["exposed"] == one["loss"] == 0, "one rank sums nothing")
    four = model.step("pretrain-spectrum", k, model.Layout(1, 4, 2), machine, rates)
    equal(four["compute"], 4 * w.object_flops / 100e9 + 1e-9 * w.weights, "four ranks of two threads: each has a fourth of the node's memory bandwidth, one core's")
    equal(four["sums"], 4 * w.trained / 10e9, "within a node each rank reads 4 bytes per weight")
    equal(four["optimiser"], 32 * w.trained / 4 / 10e9, "a fourth of the optimiser each")
    three = model.step("pretrain-spectrum", k, model.Layout(1, 3, 1), machine, rates)
    equal(three["compute"] + three["imbalance"], 6 * w.object_flops / 50e9 + 1e-9 * w.weights, "16 objects on three ranks: the slowest has 6")
    half = model.step("pretrain-spectrum", k, model.Layout(1, 16, 1, oversubscribed=2.0), machine, rates)
    equal(half["compute"], w.object_flops / 25e9 + 1e-9 * w.weights * 4, "16 ranks on 8 cores: half a core each, a sixteenth of the memory's 40 GB/s")
    # Between nodes.
    equal(machine.bandwidth_out(4), 10e9, "within a leaf: the link")
    equal(machine.bandwidth_out(8), 10e9 / (4 / 7 * 2), "two leaves at half bandwidth: 4 of 7 partners are outside")
    equal(machine.latency(8), 2.5e-6, "three switches")
    equal(model.exchange_seconds(machine, model.Layout(8, 2, 4), 7e6), 2 * 7e6 * 7 / 8 / machine.bandwidth_out(8) + 2.5e-6, "a bucket's slices of two ranks per node")
    slow = dataclasses.replace(machine, overhead_us=1000.0)
    equal(model.exchange_seconds(slow, model.Layout(8, 2, 4), 7e3), 7e-3 + 2.5e-6, "many small messages: their number counts")
    equal(model.exposed_seconds(4, 8.0, 1.0, 0.0), 1.0, "a fast wire: the last bucket is exposed")
    equal(model.exposed_seconds(4, 8.0, 3.0, 0.0), 6.0, "a slow wire: 2 + 4 x 3 - 8")
    equal(model.exposed_seconds(4, 8.0, 1.0, 0.5), 1.5, "and the time until it is noticed")
    equal(model.gather(machine, model.Layout(2, 2, 1), 1e6, 1e9), 1e-3 + 3 * 1.5e-6 + 0.5e6 / 10e9, "an all-gather around a ring")
    equal(model.Layout(4, 2, 1).ranks, 8, "ranks of a layout")
    near(model.largest(1000), 3.2414, 1e-2, "largest of a thousand normal draws")


def kept(q, u, count, ranks):
    """Crops that each rank keeps in a branch: src/model/crops.c, kept_before."""
    return np.diff(np.floor(np.arange(ranks + 1) * count * q + u + 1e-9))


def test_spread():
    """Stochastic depth as the program draws it, against the formula of its spread over ranks and of the slowest of them."""
    k = keys("pretrain-image")
    rng = np.random.default_rng(1)
    ranks, draws = 60, 300
    for share in (1, 2, 3, 5):
        sums = np.zeros((draws, ranks))
        for count, size in ((2, 144), (8, 60)):
            one = 3 * work.crops_flops(k, size) / (2 * k["model.image.depth"])
            for branch in range(2 * k["model.image.depth"]):
                sums += one * np.array([kept(1 - k["dino.drop_rate"], u, share * count, ranks) for u in rng.random(draws)])
        sums /= share * work.dino_flops(k)
        predicted, kinds = model.drop_spread(k, share)
        if share == 5:
            check(predicted == 0 and np.ptp(sums, axis=1).max() < 1e-9, "5 images per rank: 0.7 of their crops are whole numbers, all ranks do the same work")
            continue
        near(math.sqrt(np.mean(np.var(sums, axis=1))), predicted, 0.06, f"{share} images per rank: spread of operations over ranks")
        check(len(set(np.round(sums[0], 12))) <= kinds == 5, f"{share} images per rank: no more than {kinds} different ranks")
        near(np.mean(np.max(sums, axis=1) - np.mean(sums, axis=1)), predicted * model.largest(kinds), 0.15, f"{share} images per rank: the slowest over the mean")


def test_rates():
    """Planted rates are found again."""
    k = {**keys("bench", "model.image.depth=4"), "bench.batch": 1}
    benches = []
    for batch, threads in ((1, 1), (4, 1), (8, 1), (8, 2)):
        rows = []
        for drop in (0.0, 0.3):
            dino = {**rate.DINO_PUBLISHED, **k, "dino.drop_rate": drop, "train.global_batch": batch, "model.image.tokens": "dinov2"}
            w = work.work_of("pretrain-image", dino)
            towers = (batch * w.compute_flops / (0.9 * 500e9) + 5e-10 * w.weights) * (1 + 0.04 * (threads - 1)) / threads
            s = {"teacher": 0.2 * towers, "forward": 0.3 * towers, "backward": 0.5 * towers, "loss": batch * w.loss_flops / (0.7 * 500e9) + 3e-9 * w.prototypes,
                 "optimiser": 32 * w.trained / 40e9, "teacher follows": 12 * w.trained / 30e9, "packing": 16 * w.trained / 20e9}
            rows.append({"part": "pretrain", "what": "", "drop_rate": drop, "global_batch": batch, "seconds_a_step": s, "s_per_object": sum(s.values()) / batch})
        benches.append(({"rows": rows, "ranks": 1, "threads": threads, "limit_gflops": 500 * threads}, {**k, "bench.batch": batch}))
    sums = [{"part": "allreduce", "what": what, "bytes": 1 << 24, "seconds": seconds} for what, seconds in (("MPI_Allreduce", 1e-4), ("float32, 1 node", 2e-3), ("float32, 2 nodes", 1e-3))]
    benches.append(({"rows": sums, "ranks": 4, "threads": 1, "limit_gflops": 500}, {**k, "bench.batch": 1}))
    r = rate.rates_of(benches)
    for found, planted, name in ((r.bandwidth["sum"], (1 << 24) / 2e-3, "the program's own sums in one node"), (r.share["dino"], 0.9, "share of the limit"), (r.pass_s["dino"], 5e-10, "seconds a weight"), (r.share["loss"], 0.7, "share in the loss"),
                                 (r.bandwidth["optimiser"], 40e9, "optimiser"), (r.bandwidth["packing"], 20e9, "packing"), (r.serial, 0.04, "serial share")):
        near(found, planted, 1e-6, f"rates: {name}")


def test_directions():
    machine = model.read_machine(f"{NETWORKS}/fat-tree.yaml")
    rates = rate.read_rates(f"{NETWORKS}/rates-zen5.yaml")
    k = work.read_keys(BINARY, "pretrain-image", f"{ROOT}/inputs/pretrain-image.yaml")

    def seconds(layout=model.Layout(16, 16, 16), **changes):
        return model.predict("pretrain-image", k, layout, dataclasses.replace(machine, **changes), rates).seconds

    base = seconds()
    for name, better in (("link_gb_per_s", 100), ("links", 2), ("latency_us", 0.1), ("overhead_us", 0.01), ("memory_gb_per_s", 2000), ("gflops_per_core", 500),
                         ("jitter", 0.0), ("taper", 1.0)):
        check(seconds(**{name: better}) <= base, f"a better {name} is not slower")
    check(seconds(gflops_per_core=500) < base and seconds(jitter=0.0) < base and seconds(memory_gb_per_s=2000) < base, "and faster where it counts")
    check(seconds(model.Layout(16, 16, 16, reduction="bfloat16")) < base, "half the bytes are sooner there")
    nodes = [model.best_layout("pretrain-image", k, machine, rates, n) for n in (1, 2, 5, 10, 30, 90)]
    check(all(a.seconds > b.seconds for a, b in zip(nodes, nodes[1:])), "more nodes, shorter steps (counts that divide the batch)")
    check(all(a.of_limit > b.of_limit for a, b in zip(nodes, nodes[1:])), "and each less used")
    a = model.predict("pretrain-image", k, model.Layout(2, 16, 16), machine, rates)
    b = model.predict("pretrain-image", k, model.Layout(2, 16, 16, recompute=1024), machine, rates)
    check(b.memory < 0.6 * a.memory and a.seconds < b.seconds < 1.4 * a.seconds, "recomputation: less memory, up to a third more time")
    found = model.nodes_for("pretrain-image", k, machine, rates, 46)
    check(found and model.hours(k, found.seconds) <= 46, f"46 hours: {found and found.layout.nodes} nodes")
    slower = model.nodes_for("pretrain-image", k, machine, rates, 92)
    check(slower.layout.nodes < found.layout.nodes, "twice the time, fewer nodes")
    for run_ in work.published_runs(k):
        check(0.2 < run_.share < 0.5, f"{run_.name}: {100 * run_.share:.0f} % of its GPUs' peak, which is where such runs are")


def test_command(folder):
    def tool(*arguments):
        return subprocess.run(["/usr/bin/python3", f"{ROOT}/tools/predict", "--binary", BINARY, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    for command in work.COMMANDS:
        done = tool(command, f"{ROOT}/inputs/{command}.yaml", "--nodes", "1,2,4", "--picture", f"{folder}/{command}.png")
        check(done.returncode == 0 and "efficiency" in done.stdout and os.path.getsize(f"{folder}/{command}.png") > 5000, f"{command}: a table and a picture")
        if done.returncode:
            print(done.stdout[-800:])
    done = tool("align", f"{ROOT}/inputs/align.yaml", "--machine", f"{NETWORKS}/dragonfly.yaml", "--layout", "8:16:12", "--set", "train.freeze_backbones=false")
    check(done.returncode == 0 and "8 x 16 x 12" in done.stdout, "one layout on the dragonfly")
    done = tool("align", "--set", "train.nonsense=1")
    check(done.returncode != 0 and "train.nonsense" in done.stdout, "an unknown key is refused by name")
    done = tool("align", "--machine-set", "wings=2", "--nodes", "1")
    check(done.returncode != 0 and "wings" in done.stdout, "so is an unknown number of the machine")
    with open(f"{NETWORKS}/fat-tree.yaml") as f:
        machine = f.read()
    for name, (text, told) in {"word": (machine.replace("cores: 256", "cores: many"), "'many' is not a whole number"),
                               "zero": (machine.replace("cores: 256", "cores: 0"), "expected more than 0"),
                               "negative": (machine.replace("link_gb_per_s: 50", "link_gb_per_s: -5"), "link_gb_per_s: -5"),
                               "half": (machine.replace("leaf_nodes: 42", "leaf_nodes: 1.5"), "leaf_nodes: 1.5"),
                               "torus": (machine.replace("topology: fat-tree", "topology: torus"), "expected fat-tree, dragonfly"),
                               "list": ("- 1\n", "expected names with values"), "broken": ("a: [", "flow node")}.items():
        path = f"{folder}/{name}.yaml"
        with open(path, "w") as f:
            f.write(text)
        done = tool("align", "--machine", path, "--nodes", "1")
        check(done.returncode == 1 and f"predict: {path}: " in done.stdout and told in done.stdout and "Traceback" not in done.stdout,
              f"a machine's file with a fault ({name}) is refused by name")
    done = tool("align", "--machine", f"{folder}/none.yaml", "--nodes", "1")
    check(done.returncode == 1 and "none.yaml" in done.stdout and "Traceback" not in done.stdout, "and so is one that is not there")
    done = tool("align", "--bench", f"{folder}/torus.yaml", "--nodes", "1")
    check(done.returncode == 1 and "unknown key" in done.stdout, "and one that holds no rates")
    done = tool("align", "--layout", "1:400:2")
    check(done.returncode != 0 and "do not fit" in done.stdout, "and a layout that the node has no cores for")


# ------------------------------------------------------------------- SMPI


def test_smpi():
    from predictor import smpi

    machine = model.read_machine(f"{NETWORKS}/fat-tree.yaml")
    for nodes, taper in ((16, 1.0), (64, 1.0), (64, 2.0)):
        for name, predicted, simulated in smpi.compare(machine, nodes, taper):
            bound = 0.007 if name.startswith(("bucket", "8 buckets")) else 0.6
            near(predicted, simulated, bound, f"{nodes} nodes, taper {taper:g}, {name}")
            if bound < 0.01:
                check(abs(1.015 * predicted / simulated - 1) > bound, "  the gate has teeth")


def main():
    if sys.argv[1:] == ["smpi"]:
        test_smpi()
        return
    with Work() as folder:
        test_by_hand()
        test_spread()
        test_rates()
        test_directions()
        test_operations(folder)
        test_parameters_and_memory(folder)
        test_command(folder)


if __name__ == "__main__":
    main()
    finish()
