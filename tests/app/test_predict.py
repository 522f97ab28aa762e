# SPDX-License-Identifier: BSD-3-Clause
"""tools/predict and the plan.json it reads: a step's operations are those counted here product by product, a plan for a share of the batch is the plan
for any ranks that have it, its arithmetic is right by hand, its traffic is SimGrid's, and it moves the right way.

    test_predict.py      everything but the simulations
    test_predict.py smpi bucket traffic and overlap on simulated fat trees of 16 and 64 nodes

Nothing is timed. Operations and parameters must be equal to rounding, memory within 1 %; simulated traffic within 0.7 %, which a planted 1 % exceeds.
"""
import dataclasses
import json
import math
import os
import subprocess
import sys

import numpy as np

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import BINARY, SOURCE as ROOT, Work, check, finish  # noqa: E402
from common import run  # noqa: E402

sys.path.insert(0, f"{ROOT}/tools")
from predictor import model, plan, rates as rate, smpi  # noqa: E402

NETWORKS = f"{ROOT}/inputs/networks"
IMAGE = ["model.image.dim=64", "model.image.depth=3", "model.image.heads=4"]
SMALL = [*IMAGE, "model.dino.hidden=96", "model.dino.bottleneck=32", "model.dino.prototypes=640"]
SPECTRUM = ["model.spectrum.dim=64", "model.spectrum.depth=2", "model.spectrum.heads=4", "model.spectrum.section=100", "model.spectrum.overlap=50"]
MASKED = [*SPECTRUM, "masked.run_tokens=20"]


def near(a, b, bound, text):
    check(abs(a / b - 1) <= bound, f"{text}: {a:.6g}, expected {b:.6g} within {100 * bound:g} %")


def equal(a, b, text):
    near(a, b, 1e-9, text)


def plans(command, *sets):
    return plan.Plans(command, BINARY, None, sets)


# ------------------------------------------------------------------- operations


def products_of_block(rows, d, heads, sequences, tokens):
    """Every product of a block written out: (m, n, k)."""
    out = [(rows, 3 * d, d), (rows, d, d), (rows, 4 * d, d), (rows, d, 4 * d)]
    for _ in range(sequences * heads):
        out += [(tokens, tokens, d // heads), (tokens, d // heads, tokens)]
    return out


def products_of_pooling(tokens, d, e, heads):
    """A learned query a head, whose scores and sums are of the tokens; then value, output and MLP of the one pooled vector."""
    return [(heads, tokens, d), (heads, d, tokens), (1, e, d), (1, e, e), (1, 4 * e, e), (1, e, 4 * e)]


def flops(products):
    return sum(2 * m * n * k for m, n, k in products)


def again(share):
    return sum(o["again"] for o in share.tree["operations"] if o["rate"] in plan.TOWERS)


def test_operations_of_image(folder):
    """A step of 2 crops of 144 and 8 of 60 pixels, 0.3 of whose blocks' work is dropped; half of the global crops have 30 % of 144 patches masked."""
    d, masked = 64, 2 * 0.5 * 0.3 * 144
    blocks = [flops(3 * products_of_block(t, d, 4, 1, t)) for t in (145, 26)]
    patches = [flops([(n, d, 432)]) for n in (144, 25)]
    student, teacher = 10 + masked, 2 + masked
    mlp, prototypes = flops([(1, 96, d), (1, 96, 96), (1, 32, 96)]), flops([(1, 640, 32)])
    kept = {drop: (1 - drop) * (2 * blocks[0] + 8 * blocks[1]) for drop in (0.0, 0.3)}
    embedded = 2 * patches[0] + 8 * patches[1]
    own = {drop: 2 * embedded + 3 * kept[drop] + 2 * (patches[0] + blocks[0]) + (mlp + prototypes) * (3 * student + teacher) for drop in kept}
    small = plans("pretrain-image", *SMALL, "train.global_batch=32")
    share = small.base.share(4)
    equal(share.useful, own[0.3], "image: useful operations, product by product")
    equal(share.compute, own[0.3] - prototypes * (3 * student + teacher), "  without the prototypes")
    equal(share.done["loss"], prototypes * (3 * teacher + 4 * student), "  prototypes: three passes over the teacher's rows, four over the student's")
    equal(share.done["float32"], 2 * flops([(1, 32, d)]), "  KoLeo: cosines with the batch, of two crops")
    passes = plans("pretrain-image", *SMALL, "train.global_batch=32", "train.micro_batch=2").base.share(4)
    equal(passes.tree["passes"], 4, "  8 objects in passes of 2")
    forward = embedded + kept[0.3] + mlp * student
    equal(again(passes), 0.75 * forward, "  all but the last of 4 passes run forward again")
    equal(again(plans("pretrain-image", *SMALL, "train.global_batch=32", "train.micro_batch=2", "train.recompute=1").base.share(4)), 0.75 * forward + kept[0.3] / 3,
          "  and one of 3 blocks once more")
    sinkhorn = plans("pretrain-image", *SMALL, "train.global_batch=32", "dino.centring=sinkhorn").base.share(4)
    equal(sinkhorn.done["loss"], prototypes * (5 * teacher + 4 * student), "  Sinkhorn-Knopp: a pass for each of three iterations, and two")
    # bench counts by the same plan.
    sets = ["bench.parts=pretrain,towers", "bench.batch=2", "bench.repeats=1", "bench.limit_s=0.1", f"output.dir={folder}/bench", *SMALL, *SPECTRUM]
    code, text = run(1, ["bench"] + [w for s in sets for w in ("--set", s)], timeout=120)
    check(code == 0, f"bench ends with {code}" + (text[-600:] if code else ""))
    with open(f"{folder}/bench/bench.json") as f:
        bench = json.load(f)
    rows = [r for r in bench["rows"] if r["part"] == "pretrain"]
    for row in rows:
        equal(row["flops_per_object"], own[row["drop_rate"]], f"bench: operations of a step, drop {row['drop_rate']:g}")
    check(len(rows) == 2, "bench has a step without and with stochastic depth")
    # The same file as a source of rates.
    r = rate.rates_of([bench])
    check(0 < r.share["dino"] and 0 < r.share["image"] and r.limit == bench["limit_gflops"] * 1e9, "bench.json is a source of rates")


def test_operations_of_spectrum():
    d, t, hidden = 64, (7781 - 100) // 50 + 2, 120
    blocks = flops(2 * products_of_block(t, d, 4, 1, t))
    one = plans("pretrain-spectrum", *MASKED).base.any_share()
    equal(one.useful, 3 * blocks + 3 * flops([(hidden, 102, d)]) + 2 * flops([(t, d, 102)]), "spectrum: useful operations, product by product")
    check(again(one) == 0, "  and none again")
    equal(again(plans("pretrain-spectrum", *MASKED, "train.recompute=1").base.any_share()), blocks / 2, "  with one of two blocks recomputed")


def test_operations_of_align():
    e, batch = 64, 32
    sets = [*IMAGE, *SPECTRUM, f"model.embedding.dim={e}", "model.embedding.heads=4", f"train.global_batch={batch}"]
    t = {"image": 144, "spectrum": (7781 - 100) // 50 + 2}
    embedded = flops([(144, 64, 432)]) + flops([(t["spectrum"], 64, 102)])
    blocks = flops(3 * products_of_block(144, 64, 4, 1, 144)) + flops(2 * products_of_block(t["spectrum"], 64, 4, 1, t["spectrum"]))
    heads = sum(flops(products_of_pooling(n, 64, e, 4)) for n in t.values())
    frozen = plans("align", *sets).base.share(4)
    equal(frozen.useful, 3 * heads, "align: heads on tokens from the cache, product by product")
    equal(frozen.done["float32"], 6 * flops([(1, batch, e)]), "  a product with the batch of each side forward, two backward")
    equal(plans("align", *sets, "train.token_cache=none").base.share(4).useful, embedded + blocks + 3 * heads, "  frozen towers run forward")
    whole = plans("align", *sets, "train.freeze_backbones=false", "train.micro_batch=2", "train.recompute=1024").base.share(4)
    equal(whole.useful, 2 * embedded + 3 * (blocks + heads), "  towers that train: what enters them has no gradient")
    equal(again(whole), 0.75 * (embedded + blocks + heads) + blocks, "  8 objects in 4 passes, all blocks recomputed")
    ring = plans("align", *sets, "loss.ring_pairs=8").base.share(4)
    equal(ring.done["loss"], 4 * flops([(1, batch, e)]), "  around the ring of ranks: a third less than held by all")


# ---------------------------------------------------------- parameters and memory

PLAN = [  # command, keys, nodes and ranks per node
    ("pretrain-image", ["train.global_batch=32", "compute.precision=bfloat16"], 2, 2),
    ("pretrain-image", ["train.global_batch=64", "train.recompute=1024"], 1, 4),
    ("pretrain-spectrum", ["train.global_batch=64"], 1, 3),
    ("align", ["train.global_batch=64", "train.freeze_backbones=false", "parallel.reduction=bfloat16"], 2, 2),
    ("align", ["train.global_batch=256"], 3, 4),
    ("align", ["train.global_batch=32768", "train.freeze_backbones=false"], 60, 5),
]
SIZES = {"image": ["model.image.dim=384", "model.image.depth=6", "model.image.heads=6"], "spectrum": ["model.spectrum.dim=384", "model.spectrum.depth=4"]}


def test_parameters_and_memory():
    for command, sets, nodes, ranks in PLAN:
        sizes = SIZES["image"] * (command != "pretrain-spectrum") + SIZES["spectrum"] * (command != "pretrain-image")
        reduction = "bfloat16" if "parallel.reduction=bfloat16" in sets else "float32"
        layout = model.Layout(nodes, ranks, 1, reduction=reduction)
        planned = plans(command, *sets, *sizes, f"plan.ranks={layout.ranks}", f"plan.ranks_per_node={ranks}", f"parallel.ranks_per_node={ranks}")
        base = planned.base
        parts = {p["part"]: p for p in base.tree["parameters"]}
        for part, expected in (("image_backbone", image_parameters(384, 6)), ("spectrum_backbone", spectrum_parameters(384, 4))):
            check(part not in parts or parts[part]["elements"] == expected, f"{command}: {part} has {expected} parameters")
        equal(base.share(layout.ranks).tree["trained"], sum(p["trained"] for p in parts.values()), f"{command}: trained are those of all parts")
        text = f"{command}, {nodes} x {ranks} ranks"
        own, shared = base.memory(layout)
        # The dry run is of one node alone: what travels between nodes is planned for the ranks of one.
        told = base.tree["rank_bytes"] - sum(m["bytes"] for m in base.tree["plan"]["memory"] if m["item"] == "gradients between nodes")
        between = {m["item"]: m["bytes"] for m in base.tree["plan"]["memory"]}.get("gradients between nodes", 0)
        near(own, told + between, 0.01, f"{text}: bytes of a rank beside weights, from the plan of its share")
        near(ranks * own + shared, base.tree["node_bytes"], 0.01, f"{text}: bytes of a node")
        check((between > 0) == (nodes > 1), f"{text}: gradients travel between nodes, where there are some")


def block_parameters(d):
    return 12 * d * d + 13 * d  # four products with biases, two norms


def image_parameters(d, depth):
    """With LayerScale; class token, mask token, positions of 144 patches and the class token, last norm."""
    return depth * (block_parameters(d) + 2 * d) + 433 * d + (2 + 145 + 2) * d


def spectrum_parameters(d, depth):
    """Sections of 22 numbers in and out, 800 positions, last norm."""
    return depth * block_parameters(d) + 23 * d + 800 * d + 2 * d + 22 * (d + 1)


# --------------------------------------------------------------- by hand


def toy():
    """Numbers that make arithmetic easy: 100 GFLOP/s per core at half of it, memory at 10 GB/s per core and 40 per node."""
    rates = rate.Rates(100e9, 50e9, {n: 0.5 for n in ("dino", "image", "spectrum", "loss")}, {n: 1e-9 for n in ("dino", "image", "spectrum", "loss")},
                       {n: 10e9 for n in ("update", "optimiser", "teacher", "packing", "sum")}, serial=0.0)
    machine = model.Machine("toy", 64, 8, 64, 0, 40, 0, 1.0, 0.0, 10, 1, 1.0, "fat-tree", 4, 2.0, 0.5, 1e9, 0.0, 100, 1)
    return machine, rates


def test_by_hand():
    machine, rates = toy()
    run_ = plans("pretrain-spectrum", *MASKED, "train.global_batch=16", "output.checkpoint_interval_s=0").base
    w = run_.any_share()
    trained = w.tree["trained"]
    one = model.step(run_, model.Layout(1, 1, 1), machine, rates)
    equal(one["compute"], 16 * w.useful / 50e9 + 1e-9 * w.weights, "one core: operations over half the limit, and a pass over the weights")
    equal(one["optimiser"], 32 * trained / 10e9, "one core: 32 bytes a weight in the optimiser")
    check(one["sums"] == one["exposed"] == one["loss"] == 0, "one rank sums nothing")
    four = model.step(run_, model.Layout(1, 4, 2), machine, rates)
    equal(four["compute"], 4 * w.useful / 100e9 + 1e-9 * w.weights, "four ranks of two threads: each has a fourth of the node's memory bandwidth, one core's")
    equal(four["sums"], 4 * trained / 10e9, "within a node each rank reads 4 bytes per weight")
    equal(four["optimiser"], 32 * trained / 4 / 10e9, "a fourth of the optimiser each")
    three = model.step(run_, model.Layout(1, 3, 1), machine, rates)
    equal(three["compute"] + three["imbalance"], 6 * w.useful / 50e9 + 1e-9 * w.weights, "16 objects on three ranks: the slowest has 6")
    half = model.step(run_, model.Layout(1, 16, 1, oversubscribed=2.0), machine, rates)
    equal(half["compute"], w.useful / 25e9 + 1e-9 * w.weights * 4, "16 ranks on 8 cores: half a core each, a sixteenth of the memory's 40 GB/s")
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
    run_ = plans("pretrain-image", "train.global_batch=1440").base
    rng = np.random.default_rng(1)
    ranks, draws = 60, 300
    for share in (1, 2, 3, 5):
        planned = run_.share(1440 // share)
        drop, sums = planned.tree["stochastic_depth"], np.zeros((draws, ranks))
        for group in drop["groups"]:
            for branch in range(drop["branches"]):
                sums += group["operations"] * np.array([kept(drop["kept"], u, share * group["crops"], ranks) for u in rng.random(draws)])
        sums /= share * planned.useful
        predicted, kinds = model.drop_spread(planned)
        if share == 5:
            check(predicted == 0 and np.ptp(sums, axis=1).max() < 1e-9, "5 images per rank: 0.7 of their crops are whole numbers, all ranks do the same work")
            continue
        near(math.sqrt(np.mean(np.var(sums, axis=1))), predicted, 0.06, f"{share} images per rank: spread of operations over ranks")
        check(len(set(np.round(sums[0], 12))) <= kinds == 5, f"{share} images per rank: no more than {kinds} different ranks")
        near(np.mean(np.max(sums, axis=1) - np.mean(sums, axis=1)), predicted * model.largest(kinds), 0.15, f"{share} images per rank: the slowest over the mean")


def test_rates():
    """Planted rates are found again."""
    benches = []
    dino = {drop: plans("pretrain-image", "model.image.depth=4", "train.global_batch=8", f"dino.drop_rate={drop}").base for drop in (0.0, 0.3)}
    for batch, threads in ((1, 1), (4, 1), (8, 1), (8, 2)):
        rows = []
        for drop, run_ in dino.items():
            w = run_.share(8 // batch)
            trained, teacher, prototypes = w.tree["trained"], w.tree["teacher"], w.tree["weights"]["loss"]
            towers = (batch * w.compute / (0.9 * 500e9) + 5e-10 * w.weights) * (1 + 0.04 * (threads - 1)) / threads
            s = {"teacher": 0.2 * towers, "forward": 0.3 * towers, "backward": 0.5 * towers, "loss": batch * w.done["loss"] / (0.7 * 500e9) + 3e-9 * prototypes,
                 "optimiser": 32 * trained / 40e9, "teacher follows": 12 * teacher / 30e9, "packing": 16 * w.weights / 20e9}
            rows.append({"part": "pretrain", "what": "", "drop_rate": drop, "global_batch": batch, "seconds_a_step": s, "s_per_object": sum(s.values()) / batch,
                         "plan": w.tree})
        rows.append({"part": "spectrum", "what": "forward + backward", "objects_per_rank": batch, "flops_per_object": 2e11, "parameters": 5e7,
                     "gflops_per_rank": batch * 200 / (batch * 2e11 / (0.8 * 500e9) + 2e-9 * 5e7)})
        benches.append({"rows": rows, "ranks": 1, "threads": threads, "limit_gflops": 500 * threads})
    sums = [{"part": "allreduce", "what": what, "bytes": 1 << 24, "seconds": seconds} for what, seconds in (("MPI_Allreduce", 1e-4), ("float32, 1 node", 2e-3), ("float32, 2 nodes", 1e-3))]
    benches.append({"rows": sums, "ranks": 4, "threads": 1, "limit_gflops": 500})
    r = rate.rates_of(benches)
    for found, planted, name in ((r.bandwidth["sum"], (1 << 24) / 2e-3, "the program's own sums in one node"), (r.share["dino"], 0.9, "share of the limit"),
                                 (r.pass_s["dino"], 5e-10, "seconds a weight"), (r.share["loss"], 0.7, "share in the loss"), (r.share["spectrum"], 0.8, "share in a tower"),
                                 (r.pass_s["spectrum"], 2e-9, "seconds a weight of a tower"), (r.bandwidth["optimiser"], 40e9, "optimiser"),
                                 (r.bandwidth["packing"], 20e9, "packing"), (r.serial, 0.04, "serial share")):
        near(found, planted, 1e-6, f"rates: {name}")


def test_directions():
    machine = model.read_machine(f"{NETWORKS}/fat-tree.yaml")
    rates = rate.read_rates(f"{NETWORKS}/rates-zen5.yaml")
    image = plan.Plans("pretrain-image", BINARY, f"{ROOT}/inputs/pretrain-image.yaml")

    check(image.base.bucket(1) == image.base.bucket(256) == smpi.BUCKET < image.base.bucket(257), "gradients travel in the messages that are simulated, up to 256 ranks")

    def seconds(layout=model.Layout(16, 16, 16), **changes):
        return model.predict(image, layout, dataclasses.replace(machine, **changes), rates).seconds

    base = seconds()
    for name, better in (("link_gb_per_s", 100), ("links", 2), ("latency_us", 0.1), ("overhead_us", 0.01), ("memory_gb_per_s", 2000), ("gflops_per_core", 500),
                         ("jitter", 0.0), ("taper", 1.0)):
        check(seconds(**{name: better}) <= base, f"a better {name} is not slower")
    check(seconds(gflops_per_core=500) < base and seconds(jitter=0.0) < base and seconds(memory_gb_per_s=2000) < base, "and faster where it counts")
    check(seconds(model.Layout(16, 16, 16, reduction="bfloat16")) < base, "half the bytes are sooner there")
    nodes = [model.best_layout(image, machine, rates, n) for n in (1, 2, 5, 10, 30, 90)]
    check(all(a.seconds > b.seconds for a, b in zip(nodes, nodes[1:])), "more nodes, shorter steps (counts that divide the batch)")
    check(all(a.of_limit > b.of_limit for a, b in zip(nodes, nodes[1:])), "and each less used")
    a = model.predict(image, model.Layout(2, 16, 16), machine, rates)
    b = model.predict(image, model.Layout(2, 16, 16, recompute=1024), machine, rates)
    check(b.memory < 0.6 * a.memory and a.seconds < b.seconds < 1.4 * a.seconds, "recomputation: less memory, up to a third more time")
    found = model.nodes_for(image, machine, rates, 46)
    check(found and model.hours(image.base, found.seconds) <= 46, f"46 hours: {found and found.layout.nodes} nodes")
    slower = model.nodes_for(image, machine, rates, 92)
    check(slower.layout.nodes < found.layout.nodes, "twice the time, fewer nodes")
    for run_ in plan.published_runs(BINARY, f"{ROOT}/inputs/pretrain-image.yaml"):
        check(0.2 < run_.share < 0.5, f"{run_.name}: {100 * run_.share:.0f} % of its GPUs' peak, which is where such runs are")


def test_command(folder):
    def tool(*arguments):
        return subprocess.run(["/usr/bin/python3", f"{ROOT}/tools/predict", "--binary", BINARY, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    for command in plan.COMMANDS:
        done = tool(command, f"{ROOT}/inputs/{command}.yaml", "--nodes", "1,2,4", "--tensor", "1,2", "--picture", f"{folder}/{command}.png")
        check(done.returncode == 0 and "efficiency" in done.stdout and os.path.getsize(f"{folder}/{command}.png") > 5000, f"{command}: a table and a picture")
        if done.returncode:
            print(done.stdout[-800:])
    done = tool("align", f"{ROOT}/inputs/align.yaml", "--machine", f"{NETWORKS}/dragonfly.yaml", "--layout", "8:16:12", "--set", "train.freeze_backbones=false")
    check(done.returncode == 0 and "8 x 16 x 12" in done.stdout, "one layout on the dragonfly")
    own = plan.Plans("align", BINARY, f"{ROOT}/inputs/align.yaml")
    with open(f"{folder}/plan.json", "w") as f:
        json.dump(own.base.tree, f)
    here, there = (tool("align", *words, "--nodes", "1,2", "--tensor", "1") for words in ((f"{ROOT}/inputs/align.yaml",), (f"{folder}/plan.json", "--binary", "none")))
    check(here.returncode == there.returncode == 0 and here.stdout == there.stdout, "a plan.json says the same without the program")
    done = tool("pretrain-image", f"{folder}/plan.json")
    check(done.returncode == 1 and "a plan of align" in done.stdout, "and is refused for another command")
    done = tool("align", f"{folder}/plan.json", "--set", "train.steps=3")
    check(done.returncode == 1 and "--set" in done.stdout, "or with other keys")
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
        test_operations_of_image(folder)
        test_operations_of_spectrum()
        test_operations_of_align()
        test_parameters_and_memory()
        test_command(folder)


if __name__ == "__main__":
    main()
    finish()
