# SPDX-License-Identifier: BSD-3-Clause
"""The performance model of tools/predict: what a training step does (operations, bytes, messages) and how long a machine takes for it.

A step of the slowest rank is the sum of the parts below; only the traffic between nodes overlaps with the backward pass.

  compute     n objects' operations at a share of the core's matrix-product limit, and a pass over the weights at the memory's rate
  imbalance   the largest of all ranks against the mean: uneven shares, stochastic depth, masks
  loss        prototypes (DINO), similarities (InfoNCE), and their sums over ranks
  sums        gradients added within the node, through memory, by the computing core
  exposed     traffic of gradients between nodes that the backward pass does not hide
  optimiser   norm and AdamW on this rank's share
  weights     new weights to the other nodes, packing, the teacher's moving average
  io          a read-ahead thread's time on the same core, and checkpoints

Rates come from `syzygy bench` (Rates), the machine from inputs/networks/*.yaml (Machine), the work and memory of a step from the plan.json of the program's
dry run (Plan). Units: seconds, bytes, operations (one multiply-add is two), GB = 1e9 bytes, GiB = 2^30.
"""
import dataclasses
import fractions
import math
import statistics

from predictor.plan import GIB, WIDTH, Refused, number_in, read_yaml
from predictor.rates import BYTES

# ------------------------------------------------------------------- machine


@dataclasses.dataclass
class Machine:
    """A file of inputs/networks. Rates are those that programs reach, not data-sheet values; each file gives the sources of its numbers."""

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
        outside = (n - self.leaf_nodes) / (n - 1)  # share of its partners in other leaves
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


# ---------------------------------------------------------------------- step


@dataclasses.dataclass(frozen=True)
class Layout:
    nodes: int
    ranks_per_node: int
    threads: int
    tensor: int = 1
    recompute: int = 0  # train.recompute; 0: as in the input
    reduction: str = "float32"  # type in which gradients travel between nodes
    oversubscribed: float = 1.0  # ranks x threads over cores, if larger than 1

    @property
    def ranks(self):
        return self.nodes * self.ranks_per_node


def largest(n):
    """Expected largest of n draws of a standard normal distribution (Blom 1958)."""
    return statistics.NormalDist().inv_cdf((n - 0.375) / (n + 0.25)) if n > 1 else 0.0


def drop_spread(share):
    """(standard deviation over ranks of their operations by stochastic depth, relative to the mean of the whole step; how many ranks differ).

    A branch keeps floor((i + 1) q + u) - floor(i q + u) of crop i, u drawn for each branch and group (src/model/crops.c): a rank with c crops in a row
    keeps floor(c q) or one more, the latter with the probability frac(c q); the branches are independent. There is no spread where c q is
    whole, and ranks whose first crops differ by a multiple of its denominator always do the same."""
    drop, variance, kinds = share.tree["stochastic_depth"], 0.0, 1
    for group in drop["groups"]:
        kept = fractions.Fraction(drop["kept"]).limit_denominator(1000) * int(group["crops"]) * share.objects
        f = float(kept - math.floor(kept))
        variance += drop["branches"] * f * (1 - f) * group["operations"] ** 2
        kinds = math.lcm(kinds, kept.denominator)
    return math.sqrt(variance) / (share.objects * share.useful), kinds


def mask_spread(share):
    """The same by masked patches: a part of the crops has a mask, of a ratio that is even between its limits."""
    masks = share.tree["masks"]
    p, low, high = masks["probability"], masks["ratio_min"], masks["ratio_max"]
    second = p * (low * low + low * high + high * high) / 3
    one = math.sqrt(max(second - (p * (low + high) / 2) ** 2, 0.0)) * masks["patches"]  # patches of one crop
    return one * math.sqrt(share.objects * masks["crops"]) * masks["operations"] / (share.objects * share.useful)


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
    """An all-gather of `size` bytes in all over all ranks: a ring, as MPI libraries use for long ones; each rank copies all of it."""
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
    """Traffic that outlasts the backward pass: bucket i is ready after its share of it (and is noticed `lag` later), the link carries one at a time."""
    done = 0.0
    for i in range(buckets):
        done = max(done, backward * (i + 1) / buckets + lag) + each
    return max(0.0, done - backward)


def step(plan, layout, machine, rates):
    """Seconds of a step by part, and figures derived from them."""
    cores = layout.ranks_per_node * layout.threads
    if cores > machine.cores * layout.oversubscribed + 1e-9:
        raise ValueError(f"{layout.ranks_per_node} ranks x {layout.threads} threads do not fit on {machine.cores} cores")
    group, mean = layout.tensor, plan.batch / layout.ranks
    w = plan.share(layout.ranks)
    share, trained, teacher = w.objects, w.tree["trained"], w.tree["teacher"]
    speed = machine.gflops_per_core * 1e9 / rates.limit if machine.gflops_per_core else 1.0
    speed /= layout.oversubscribed
    core_bw = machine.core_gb_per_s * 1e9 if machine.core_gb_per_s else rates.bandwidth["update"]
    core_bw /= layout.oversubscribed
    of_rank = min(core_bw * layout.threads, machine.memory_gb_per_s * 1e9 / layout.ranks_per_node)
    # The time of one core for the passes over weights, with all ranks using this machine's memory.
    slower = rates.bandwidth["update"] / of_rank

    def memory(name, elements):
        return BYTES[name] * elements / (of_rank * min(1.5, rates.bandwidth[name] / rates.bandwidth["update"]))

    def compute(n):
        eff = 1 / (1 + rates.serial * (layout.threads - 1))
        return sum(n * f / (rates.limit * speed * rates.share[kind] * layout.threads * eff) + rates.pass_s[kind] * e / group * slower
                   for kind, (f, e) in w.towers.items())

    s = {}
    s["compute"] = compute(mean)
    # A tensor group shares its members' rows, so their spread averages out; shares that differ by one object remain.
    s["imbalance"] = compute(share) - compute(mean)
    spread = machine.jitter**2
    if "stochastic_depth" in w.tree:
        drop, kinds = drop_spread(w)
        s["imbalance"] += s["compute"] * largest(min(kinds, layout.ranks // group)) * drop / math.sqrt(group)
        spread += mask_spread(w) ** 2 / group
    s["imbalance"] += s["compute"] * largest(layout.ranks) * math.sqrt(spread)
    eff = 1 / (1 + rates.serial * (layout.threads - 1))
    s["loss"] = share * w.done.get("loss", 0) / (rates.limit * speed * rates.share["loss"] * layout.threads * eff)
    s["loss"] += rates.pass_s["loss"] * w.tree["weights"].get("loss", 0) * slower
    s["loss"] += share * w.done.get("float32", 0) / (0.8 * rates.limit_f32 * speed * layout.threads * eff)
    if layout.ranks > 1:
        s["loss"] += sum(count * small_sum(machine, layout, size, of_rank) for size, count in w.calls("sum"))
        s["loss"] += sum(count * gather(machine, layout, size, of_rank) for size, count in w.calls("gather"))
    if group > 1:  # written once and read once through memory
        s["tensor"] = 2 * share * w.tree["group_bytes"] / of_rank + w.tree["group_calls"] * 2e-6 * math.log2(group)
    backward = s["compute"] * w.tree["operations_beside_gradients"] / w.compute
    buckets = max(1, math.ceil(trained / plan.bucket(layout.ranks)))
    per_slice = trained / buckets / layout.ranks_per_node
    sum_rate = of_rank * min(1.0, rates.bandwidth["sum"] / rates.bandwidth["update"])
    s["sums"] = 4 * trained / sum_rate if layout.ranks_per_node > 1 else 0.0
    s["sums"] += 2 * (layout.nodes - 1) * machine.overhead_us * 1e-6 * buckets
    each = exchange_seconds(machine, layout, per_slice * WIDTH[layout.reduction])
    lag = backward / (4 * max(1, w.tree["depth"]))
    s["exposed"] = exposed_seconds(buckets, backward, each, lag) if layout.nodes > 1 else 0.0
    s["optimiser"] = memory("optimiser", trained / layout.ranks)
    s["weights"] = buckets * exchange_seconds(machine, layout, per_slice * 4)
    s["weights"] += memory("packing", w.weights / group) * (1 if teacher else 0.5)
    if teacher:
        s["weights"] += memory("teacher", teacher / layout.ranks_per_node)
    # The reading thread has no core of its own where all are busy; reading itself is hidden unless the file system is too slow.
    s["io"] = rates.loader_s * share / layout.threads * layout.oversubscribed / (speed * layout.oversubscribed)
    s["io"] += rates.loop_s * layout.oversubscribed
    busy = sum(s.values())
    s["io"] += max(0.0, plan.batch * w.tree["file_bytes"] / (machine.storage_gb_per_s * 1e9) - busy)
    saving = (4 * w.weights + 8 * trained + 4 * teacher) / (machine.storage_gb_per_s * 1e9)
    s["io"] += busy * saving / plan.checkpoint_interval_s if plan.checkpoint_interval_s else 0.0
    return s


@dataclasses.dataclass
class Answer:
    layout: Layout
    parts: dict
    seconds: float
    memory: float  # bytes of a node
    rate: float  # objects per second
    of_limit: float  # useful operations over the limit of the cores' matrix products
    efficiency: float = float("nan")  # of the rate of the smallest number of nodes, per node


def predict(plans, layout, machine, rates):
    plan = plans.of(layout.tensor, layout.recompute)
    parts = step(plan, layout, machine, rates)
    t = sum(parts.values())
    limit = (machine.gflops_per_core * 1e9 or rates.limit) * layout.nodes * layout.ranks_per_node * layout.threads / layout.oversubscribed
    own, shared = plan.memory(layout)
    useful = plan.share(layout.ranks).useful * plan.batch
    return Answer(layout, parts, t, layout.ranks_per_node * own + shared, plan.batch / t, useful / t / limit)


def divisors(n):
    return [d for d in range(1, n + 1) if n % d == 0]


def layouts(machine, batch, nodes, tensors=(1,), reductions=("float32",), recomputes=(0,), least_ranks=1):
    """All of a node's cores are used; the global batch has at least one object for each rank."""
    for ranks in divisors(machine.cores):
        if nodes * ranks > batch or ranks < least_ranks:
            continue
        for t in tensors:
            for reduction in reductions:
                for recompute in recomputes:
                    if ranks % t == 0:
                        yield Layout(nodes, ranks, machine.cores // ranks, t, recompute, reduction)


def best_layout(plans, machine, rates, nodes, **choices):
    """The fastest layout that fits into the nodes' memory; None where none does. Among equals (1 %) the one with fewer ranks."""
    answers = []
    for layout in layouts(machine, plans.base.batch, nodes, **choices):
        try:
            answers.append(predict(plans, layout, machine, rates))
        except Refused:
            pass
    answers = [a for a in answers if a.memory <= 0.92 * machine.memory_gib * GIB]
    if not answers:
        return None
    least = min(a.seconds for a in answers)
    return min((a for a in answers if a.seconds <= 1.01 * least), key=lambda a: (a.layout.recompute, a.layout.tensor, a.layout.ranks_per_node))


def search(plans, machine, rates, counts, **choices):
    """The best layout of each number of nodes; efficiency: of the rate a node has in the first that is possible."""
    answers = [a for n in counts if (a := best_layout(plans, machine, rates, n, **choices))]
    for a in answers:
        a.efficiency = a.rate / a.layout.nodes / (answers[0].rate / answers[0].layout.nodes)
    return answers


def hours(plan, seconds):
    return plan.steps * seconds / 3600


def nodes_for(plans, machine, rates, limit_hours, **choices):
    """The least number of nodes whose best layout ends within the hours; None when no number does. Time is not monotonic in nodes (a batch of 1440 is
    uneven on most), so every number is tried, in growing steps where there are many."""
    n = 1
    while n <= min(machine.nodes, plans.base.batch):
        a = best_layout(plans, machine, rates, n, **choices)
        if a and hours(plans.base, a.seconds) <= limit_hours:
            return a
        n += max(1, n // 100)
    return None
