# SPDX-License-Identifier: BSD-3-Clause
"""The performance model of tools/predict: what a training step does (operations, bytes, messages) and how long a machine takes for it.

A step of the slowest rank is the sum of what is below; only the traffic between nodes runs beside the backward pass.

  compute     n objects' operations at a share of the core's matrix-product limit, and a pass over the weights at the memory's rate
  imbalance   the largest of all ranks against the mean: uneven shares, stochastic depth, masks
  loss        prototypes (DINO), similarities (InfoNCE), and their sums over ranks
  sums        gradients added within the node, through memory, by the computing core
  exposed     traffic of gradients between nodes that the backward pass does not hide
  optimiser   norm and AdamW on this rank's share
  weights     new weights to the other nodes, packing, the teacher's moving average
  io          a read-ahead thread's time on the same core, and checkpoints

Rates come from `syzygy bench` (Rates), the machine from inputs/networks/*.yaml (Machine), operations from the formulas of src/model/config.c,
src/model/crops.c and src/train/dino_plan.c, which tests/app/test_predict.py holds against the program. Units: seconds, bytes, operations (one multiply-add
is two), GB = 1e9 bytes, GiB = 2^30.
"""
import dataclasses
import fractions
import math
import statistics

from predictor.rates import BYTES
from predictor.work import (BUCKET, GIB, PIXELS, PROCESS, again_share, backbone_parameters, crops_flops, crops_of, dino_flops, model_flops, number_in,
                            pooling_parameters, projection_flops, prototype_flops, read_yaml, rows_of, tokens_of, work_of)

# ------------------------------------------------------------------- machine


@dataclasses.dataclass
class Machine:
    """A file of inputs/networks. Rates are what programs reach, not what data sheets add up; each file says where its numbers are from."""

    name: str
    nodes: int
    cores: int
    memory_gib: float
    gflops_per_core: float  # attainable in the compute type with all cores busy; 0: as measured by bench
    memory_gb_per_s: float  # of a node
    core_gb_per_s: float  # of one core alone; 0: as measured
    latency_us: float
    overhead_us: float  # of a core, for each message sent or received
    link_gb_per_s: float
    links: int
    efficiency: float  # of the link, for large messages
    topology: str  # fat-tree, dragonfly, none
    leaf_nodes: int  # nodes of one leaf switch (fat tree) or of one group (dragonfly)
    taper: float  # injection bandwidth of a leaf or group over its bandwidth to the rest; 1: full bisection
    hop_us: float  # of a switch
    storage_gb_per_s: float  # of the file system, for all nodes together
    jitter: float  # standard deviation of a rank's step, relative
    power_w: float  # of a node under load
    price: float  # of a node hour, in the currency of the file

    def bandwidth_out(self, n):
        """Bytes per second that a node exchanges with all n - 1 others at once, each pair the same amount."""
        rate = self.link_gb_per_s * self.links * self.efficiency * 1e9
        if self.topology == "none" or n <= self.leaf_nodes:
            return rate
        outside = (n - self.leaf_nodes) / (n - 1)  # share of its partners that are elsewhere
        return rate / max(1.0, outside * self.taper)

    def latency(self, n):
        """Seconds of a small message between two of n nodes, on average over pairs far apart."""
        if n <= 1:
            return 0.0
        hops = 1 if n <= self.leaf_nodes else 3 if self.topology == "dragonfly" else 3 if n <= self.leaf_nodes ** 2 else 5
        return (self.latency_us + hops * self.hop_us) * 1e-6


TOPOLOGIES = ("fat-tree", "dragonfly", "none")
MAY_BE_ZERO = ("gflops_per_core", "core_gb_per_s", "latency_us", "overhead_us", "hop_us", "jitter", "power_w", "price")


def read_machine(path, **changes):
    given = {name.rpartition(".")[2]: v for name, v in read_yaml(path).items()}
    given.update({k: v for k, v in changes.items() if v is not None})
    fields = {f.name for f in dataclasses.fields(Machine)}
    if unknown := sorted(set(given) - fields):
        raise SystemExit(f"predict: {path}: unknown key {unknown[0]}")
    if missing := sorted(fields - set(given)):
        raise SystemExit(f"predict: {path}: {missing[0]} is missing")
    if given["topology"] not in TOPOLOGIES:
        raise SystemExit(f"predict: {path}: topology: {given['topology']!r}, expected {', '.join(TOPOLOGIES)}")
    for field in dataclasses.fields(Machine):
        if field.type is not str:
            given[field.name] = number_in(path, field.name, given[field.name], 0, field.name not in MAY_BE_ZERO, field.type is int)
    return Machine(**given)


# -------------------------------------------------------------------- memory


def block_bytes(k, tower, act=2):
    """Kept by a block for the backward pass, per row: src/nn/block.c, saved_plan."""
    d = k[f"model.{tower}.dim"]
    scaled = tower == "image" and k["model.image.layerscale"] > 0
    return act * d * (1 + 3 + 1 + 1 + 4 + 4 + (2 if scaled else 0)) + 8 * d + 16 + 4 * k[f"model.{tower}.heads"]


def kept_bytes(k, tower, act, rows):
    """Of all blocks of a tower; those that run again keep their input alone, and one of them at a time everything."""
    again, depth = again_share(k, tower), k[f"model.{tower}.depth"]
    whole = block_bytes(k, tower, act) * rows
    return depth * ((1 - again) * whole + again * 4 * k[f"model.{tower}.dim"] * rows) + (whole if again else 0)


def memory_of(command, k, share, layout):
    """(bytes of a rank, bytes that a node's ranks share): weights lie once per node, everything else is a rank's own. What --dry-run says in detail
    (plan.ranks), as a formula, within 10 % of it: tests/app/test_predict.py."""
    act = 2 if k["compute.precision"] == "bfloat16" else 4
    w = work_of(command, k, share)
    chunk = math.ceil(share / w.chunks)
    towers = {"pretrain-image": ("image",), "pretrain-spectrum": ("spectrum",), "align": ("image", "spectrum")}[command]
    own = PROCESS + 8 * w.trained / layout.ranks
    if layout.nodes > 1:
        own += 8 * 4 * BUCKET / layout.ranks_per_node  # slices on their way
    if command == "pretrain-image":
        c = crops_of(k)
        d, hidden = k["model.image.dim"], k["model.dino.hidden"]
        rows = c.globals_ * (c.patches + 1) + c.locals_ * (c.local_patches + 1)
        per = kept_bytes(k, "image", act, (1 - k["dino.drop_rate"]) * rows)
        per += rows * d * (12 + 7 * act)  # streams and their gradients, a block's scratch
        per += c.globals_ * (c.patches + 1) * d * (8 + 10 * act)  # the teacher's
        rows = c.student_rows + c.teacher_rows
        per += rows * (hidden * (k["model.dino.layers"] - 1) * 2 * act + 8 * d + 12 * k["model.dino.bottleneck"] + 4 * 512)
        read = 3 * 4 * 3 * (c.globals_ * k["dino.global_size"] ** 2 + c.locals_ * k["dino.local_size"] ** 2)  # three batches of crops
        own += 4 * w.trained + 3 * act * w.weights  # gradients; packed: student in two directions, teacher in one
        own += chunk * per + share * read + 2 * 4 * w.batch * d * c.globals_
        if k.get("validate.train_objects", 1):
            own += act * backbone_parameters(k, "image") + 32 * c.patches * d * 7 * act
        return own, 4 * (w.weights + w.teacher)
    if command == "pretrain-spectrum":
        rows, d = tokens_of(k, "spectrum"), k["model.spectrum.dim"]
        own += 4 * w.trained * (2 if w.chunks > 1 else 1) + 2 * act * w.weights / layout.tensor
        return own + chunk * (kept_bytes(k, "spectrum", act, rows) + 2 * act * rows * d) + (6 * share + 2 * chunk) * 4 * PIXELS, 4 * w.trained
    weights = sum(backbone_parameters(k, t) + pooling_parameters(k, t) for t in towers)
    own += 4 * weights + 2 * (6 * share + 2 * w.batch) * 4 * k["model.embedding.dim"]
    frozen, cached = k["train.freeze_backbones"], k["train.token_cache"] != "none"
    tower, tokens = [], 0.0
    for t in towers:
        rows, d, packed = tokens_of(k, t), k[f"model.{t}.dim"], act * backbone_parameters(k, t)
        scratch = rows * d * (8 + 9 * act)
        tokens += share * rows * d * act if frozen else 0
        if frozen:
            tower.append(packed + (8 if cached else chunk) * scratch)
        else:
            own += 2 * packed / layout.tensor + chunk * (kept_bytes(k, t, act, rows) + scratch)
    if frozen:  # tokens are computed one tower at a time, before the steps; without a cache both towers run in every step
        own += max(max(tower), 2 * tokens) if cached else sum(tower) + tokens
    return own, 4 * weights


# ---------------------------------------------------------------------- step


@dataclasses.dataclass(frozen=True)
class Layout:
    nodes: int
    ranks_per_node: int
    threads: int
    tensor: int = 1
    recompute: int = 0  # train.recompute
    reduction: str = "float32"  # type in which gradients travel between nodes
    towers: str = "together"
    oversubscribed: float = 1.0  # ranks x threads over cores, where more run than there are

    @property
    def ranks(self):
        return self.nodes * self.ranks_per_node


def largest(n):
    """Expected largest of n draws of a standard normal distribution (Blom 1958)."""
    return statistics.NormalDist().inv_cdf((n - 0.375) / (n + 0.25)) if n > 1 else 0.0


def drop_spread(k, share):
    """(standard deviation over ranks of their operations by stochastic depth, relative to the mean of the whole step; how many ranks differ).

    A branch keeps floor((i + 1) q + u) - floor(i q + u) of crop i, u drawn for each branch and group (src/model/crops.c): a rank with c crops in a row
    keeps floor(c q) or one more, the latter with the probability frac(c q); 2 x depth branches are independent. There is no spread where c q is
    whole, and ranks whose first crops differ by a multiple of its denominator always do the same."""
    q, c = 1 - k["dino.drop_rate"], crops_of(k)
    branches = 2 * k["model.image.depth"]
    variance, kinds = 0.0, 1
    for count, size in ((c.globals_, k["dino.global_size"]), (c.locals_, k["dino.local_size"])):
        kept = fractions.Fraction(q).limit_denominator(1000) * count * share
        f = float(kept - math.floor(kept))
        one = 3 * crops_flops(k, size) / branches  # of a crop in one branch, forward and backward
        variance += branches * f * (1 - f) * one * one
        kinds = math.lcm(kinds, kept.denominator)
    return math.sqrt(variance) / (share * dino_flops(k)), kinds


def mask_spread(k, share):
    """The same by masked patches: half of the crops have a mask, of a ratio that is even between its limits."""
    c, p = crops_of(k), k["dino.mask_probability"]
    low, high = k["dino.mask_ratio_min"], k["dino.mask_ratio_max"]
    second = p * (low * low + low * high + high * high) / 3
    one = math.sqrt(max(second - (p * (low + high) / 2) ** 2, 0.0)) * c.patches  # patches of one crop
    row = 7 * prototype_flops(k) + 4 * projection_flops(k)
    return one * math.sqrt(share * c.globals_) * row / (share * dino_flops(k))


def small_sum(machine, layout, size, bandwidth):
    """An all-reduce of a few bytes to a few MB over all ranks: doubling in the node, doubling (short) or halving and doubling (long) between nodes."""
    local = 0.5e-6 * math.ceil(math.log2(layout.ranks_per_node)) * 2 if layout.ranks_per_node > 1 else 0.0
    local += 2 * size / bandwidth if layout.ranks_per_node > 1 else 0.0
    if layout.nodes == 1:
        return local
    steps = math.ceil(math.log2(layout.nodes))
    one = machine.latency(layout.nodes) + 2 * machine.overhead_us * 1e-6
    rate = machine.bandwidth_out(layout.nodes)
    short = steps * (one + size / rate)
    long = 2 * steps * one + 2 * size / rate * (layout.nodes - 1) / layout.nodes
    return local + min(short, long)


def gather(machine, layout, size, bandwidth):
    """An all-gather of `size` bytes in all over all ranks: a ring, as MPI libraries take for long ones; each rank copies all of it."""
    t = size / bandwidth if layout.ranks > 1 else 0.0
    if layout.nodes > 1:
        one = machine.latency(machine.leaf_nodes) + 2 * machine.overhead_us * 1e-6  # most neighbours are near
        t += (layout.ranks - 1) * one + size * (layout.nodes - 1) / layout.nodes / (machine.link_gb_per_s * machine.links * machine.efficiency * 1e9)
    return t


def exchange_seconds(machine, layout, slice_bytes):
    """Every rank sends a part of `slice_bytes` to its counterpart on each other node and receives as much: one bucket, all ranks of the node at once."""
    n = layout.nodes
    if n == 1:
        return 0.0
    wire = slice_bytes * layout.ranks_per_node * (n - 1) / n / machine.bandwidth_out(n)
    return max(wire, (n - 1) * machine.overhead_us * 1e-6) + machine.latency(n)


def exposed_seconds(buckets, backward, each, lag):
    """Traffic that outlasts the backward pass: bucket i is ready after its share of it (and is noticed `lag` later), the wire takes one at a time."""
    done = 0.0
    for i in range(buckets):
        done = max(done, backward * (i + 1) / buckets + lag) + each
    return max(0.0, done - backward)


def step(command, k, layout, machine, rates):
    """Seconds of a step by part, and what goes with them."""
    cores = layout.ranks_per_node * layout.threads
    if cores > machine.cores * layout.oversubscribed + 1e-9:
        raise ValueError(f"{layout.ranks_per_node} ranks x {layout.threads} threads do not fit on {machine.cores} cores")
    batch = k["train.global_batch"]
    group = layout.tensor
    share = math.ceil(batch / layout.ranks)
    mean = batch / layout.ranks
    w = work_of(command, k, share)
    speed = machine.gflops_per_core * 1e9 / rates.limit if machine.gflops_per_core else 1.0
    speed /= layout.oversubscribed
    core_bw = machine.core_gb_per_s * 1e9 if machine.core_gb_per_s else rates.bandwidth["update"]
    core_bw /= layout.oversubscribed
    of_rank = min(core_bw * layout.threads, machine.memory_gb_per_s * 1e9 / layout.ranks_per_node)
    # What a core alone takes for the passes over weights, on this machine's memory with all ranks at it.
    slower = rates.bandwidth["update"] / of_rank

    def memory(name, elements):
        return BYTES[name] * elements / (of_rank * min(1.5, rates.bandwidth[name] / rates.bandwidth["update"]))

    def compute(n):
        kinds = [(w.tower, n * w.compute_flops, w.weights)]
        if w.tower == "both":
            whole = sum(model_flops(k, t) for t in ("image", "spectrum"))
            kinds = [(t, n * w.compute_flops * model_flops(k, t) / whole, w.weights * model_flops(k, t) / whole) for t in ("image", "spectrum")]
        eff = 1 / (1 + rates.serial * (layout.threads - 1))
        return sum(f / (rates.limit * speed * rates.share[kind] * layout.threads * eff) + rates.pass_s[kind] * e / group * slower for kind, f, e in kinds)

    s = {}
    s["compute"] = compute(mean)
    # A tensor group shares its members' rows, so their spread averages out; shares that differ by one object remain.
    s["imbalance"] = compute(share) - compute(mean)
    spread = machine.jitter**2
    if command == "pretrain-image":
        drop, kinds = drop_spread(k, share)
        s["imbalance"] += s["compute"] * largest(min(kinds, layout.ranks // group)) * drop / math.sqrt(group)
        spread += mask_spread(k, share) ** 2 / group
    s["imbalance"] += s["compute"] * largest(layout.ranks) * math.sqrt(spread)
    eff = 1 / (1 + rates.serial * (layout.threads - 1))
    s["loss"] = share * w.loss_flops / (rates.limit * speed * rates.share["loss"] * layout.threads * eff) + rates.pass_s["loss"] * w.prototypes * slower
    s["loss"] += share * w.gather_flops / (0.8 * rates.limit_f32 * speed * layout.threads * eff)
    if layout.ranks > 1:
        s["loss"] += sum(count * small_sum(machine, layout, size, of_rank) for size, count in w.sums)
        s["loss"] += sum(count * gather(machine, layout, size, of_rank) for size, count in w.gathers)
    if group > 1:
        # src/nn/block_tensor.c: (t - 1) / t R D (6 act + 16) bytes a block each way, R the group's rows; written once and read once through memory.
        act = 2 if k["compute.precision"] == "bfloat16" else 4
        moved = sum((group - 1) * rows * k[f"model.{t}.dim"] * (6 * act + 16) * k[f"model.{t}.depth"] for t, rows in rows_of(command, k, share))
        calls = sum(8 * k[f"model.{t}.depth"] for t, _ in rows_of(command, k, share))
        s["tensor"] = 2 * moved / of_rank + calls * 2e-6 * math.log2(group)
    backward = s["compute"] * w.backward_share
    width = 2 if layout.reduction == "bfloat16" else 4
    buckets = max(1, math.ceil(w.trained / BUCKET))
    bucket = w.trained / buckets
    per_slice = bucket / layout.ranks_per_node
    sum_rate = of_rank * min(1.0, rates.bandwidth["sum"] / rates.bandwidth["update"])
    s["sums"] = 4 * w.trained / sum_rate if layout.ranks_per_node > 1 else 0.0
    s["sums"] += 2 * (layout.nodes - 1) * machine.overhead_us * 1e-6 * buckets
    each = exchange_seconds(machine, layout, per_slice * width)
    depth = max(k.get("model.image.depth", 1), k.get("model.spectrum.depth", 1))
    s["exposed"] = exposed_seconds(buckets, backward, each, backward / (4 * depth)) if layout.nodes > 1 else 0.0
    s["optimiser"] = memory("optimiser", w.trained / layout.ranks)
    s["weights"] = buckets * exchange_seconds(machine, layout, per_slice * 4)
    s["weights"] += memory("packing", w.weights / group) * (1 if w.teacher else 0.5)
    if w.teacher:
        s["weights"] += memory("teacher", w.teacher / layout.ranks_per_node)
    # The reading thread has no core of its own where all are busy; reading itself is hidden unless the file system is too slow.
    s["io"] = rates.loader_s * share / layout.threads * layout.oversubscribed / (speed * layout.oversubscribed)
    s["io"] += rates.loop_s * layout.oversubscribed
    busy = sum(s.values())
    s["io"] += max(0.0, batch * w.object_bytes / (machine.storage_gb_per_s * 1e9) - busy)
    state = 4 * w.weights + 8 * w.trained + 4 * w.teacher
    interval = k.get("output.checkpoint_interval_s") or 0
    saving = state / (machine.storage_gb_per_s * 1e9)
    s["io"] += busy * saving / interval if interval else 0.0
    return s

@dataclasses.dataclass
class Answer:
    layout: Layout
    parts: dict
    seconds: float
    memory: float  # bytes of a node
    rate: float  # objects per second
    of_limit: float  # useful operations over what the cores' matrix products could do
    efficiency: float = float("nan")  # of the rate of the smallest number of nodes, per node


def with_layout(k, layout):
    """The keys under which the program runs in this layout."""
    return {**k, "train.recompute": layout.recompute} if layout.recompute else k


def predict(command, k, layout, machine, rates):
    k = with_layout(k, layout)
    parts = step(command, k, layout, machine, rates)
    t = sum(parts.values())
    share = math.ceil(k["train.global_batch"] / layout.ranks)
    limit = (machine.gflops_per_core * 1e9 or rates.limit) * layout.nodes * layout.ranks_per_node * layout.threads / layout.oversubscribed
    useful = work_of(command, k).object_flops * k["train.global_batch"]
    own, shared = memory_of(command, k, share, layout)
    return Answer(layout, parts, t, layout.ranks_per_node * own + shared, k["train.global_batch"] / t, useful / t / limit)


def divisors(n):
    return [d for d in range(1, n + 1) if n % d == 0]


def layouts(machine, k, nodes, tensors=(1,), reductions=("float32",), recomputes=(0,), least_ranks=1):
    """All of a node's cores are used; the global batch has at least one object for each rank."""
    for ranks in divisors(machine.cores):
        if nodes * ranks > k["train.global_batch"] or ranks < least_ranks:
            continue
        for t in tensors:
            for reduction in reductions:
                for recompute in recomputes:
                    if ranks % t == 0:
                        yield Layout(nodes, ranks, machine.cores // ranks, t, recompute, reduction)


def best_layout(command, k, machine, rates, nodes, **choices):
    """The fastest layout that fits into the nodes' memory; None where none does. Among equals (1 %) the one with fewer ranks."""
    answers = [predict(command, k, layout, machine, rates) for layout in layouts(machine, k, nodes, **choices)]
    answers = [a for a in answers if a.memory <= 0.92 * machine.memory_gib * GIB]
    if not answers:
        return None
    least = min(a.seconds for a in answers)
    return min((a for a in answers if a.seconds <= 1.01 * least), key=lambda a: (a.layout.recompute, a.layout.tensor, a.layout.ranks_per_node))


def search(command, k, machine, rates, counts, **choices):
    """The best layout of each number of nodes; efficiency: of the rate a node has in the first that is possible."""
    answers = [a for n in counts if (a := best_layout(command, k, machine, rates, n, **choices))]
    for a in answers:
        a.efficiency = a.rate / a.layout.nodes / (answers[0].rate / answers[0].layout.nodes)
    return answers


def hours(k, seconds):
    return k["train.steps"] * seconds / 3600


def nodes_for(command, k, machine, rates, limit_hours, **choices):
    """The least number of nodes whose best layout ends within the hours; None when no number does. Time is not monotonic in nodes (a batch of 1440 is
    uneven on most), so every number is tried, in growing steps where there are many."""
    n = 1
    while n <= min(machine.nodes, k["train.global_batch"]):
        a = best_layout(command, k, machine, rates, n, **choices)
        if a and hours(k, a.seconds) <= limit_hours:
            return a
        n += max(1, n // 100)
    return None
