# SPDX-License-Identifier: BSD-3-Clause
"""The model's traffic between nodes against SimGrid's: replays of time-independent traces on fat trees (libsimgrid-dev; smpirun -replay).

A simulated host is a node and its traffic that of all its ranks together. The replay has the messages of a step between nodes: a bucket of gradients, where every
node sends each other its slice at once (src/train/gradients.c); several buckets one after another with the backward pass's computation between
them; the all-gather of embeddings; small all-reduces. SimGrid shares the bandwidth of every link of the tree among the flows that cross it, with the
tree's own static routes; the model knows only the injection rate, the taper and a latency. The ratio of the two is the model's error.

Measured on trees of 16 to 256 nodes, taper 1 and 2: buckets sent to all at once, and the pipeline of eight beside computation, agree within 0.4 %: the
routes of such a tree spread this traffic evenly, so that only the rate out of a leaf matters. Where messages are short (bfloat16 on 256 nodes) the
simulator adds the receiver's time for each of them after the last, which the model books as the core's ("sums"); with it they agree within 2 %. A
million flows at once take hours to simulate, so 1024 nodes exchange pair by pair, for which the model adds a route's latency for each partner; within
10 %: ten times as long, which is why the program sends to all at once. Collectives of the losses agree within a factor of 1.7: there the model does
not follow the library's choice of algorithm, nor need it: they are a few per cent of a step.
"""
import dataclasses
import re
import resource
import subprocess
import tempfile

from predictor import model

# Nodes of a tree: levels; nodes of a leaf switch and switches below at each higher level; links upwards; parallel links. Leaves have 16 nodes.
TREES = {16: "1;16;1;1", 64: "2;16,4;1,{up};1,1", 256: "2;16,16;1,{up};1,1", 1024: "3;16,8,8;1,{up},{up2};1,1,1"}
BUCKET = 4 << 20  # elements of the message that is divided: a gradient bucket for up to 256 ranks (buckets of plan.json)
MEMORY = 6 << 30  # address space of a simulation, bytes: a few algorithms allocate real buffers
EAGER = 65536  # the simulator's smpi/send-is-detached-thresh: shorter messages cost the receiver overhead_us after their arrival
SPEED = 100e9  # operations per second of a simulated host


def platform(path, machine, nodes, taper):
    up = max(1, round(16 / taper))
    tree = TREES[nodes].format(up=up, up2=max(1, round(up / 2)))
    # A route of h hops crosses two links more than switches; the end points' latency is on their links.
    rate = machine.link_gb_per_s * machine.links * 1e9
    with open(path, "w") as f:
        f.write('<?xml version="1.0"?><!DOCTYPE platform SYSTEM "https://simgrid.org/simgrid.dtd"><platform version="4.1"><cluster id="c" '
                f'topology="FAT_TREE" topo_parameters="{tree}" prefix="n" suffix="" radical="0-{nodes - 1}" speed="{SPEED:.0f}f" bw="{rate:.0f}Bps" '
                f'lat="{machine.latency_us / 2 * 1000:.0f}ns" loopback_bw="50GBps" loopback_lat="0.1us"/></platform>')


def replay(folder, machine, nodes, taper, lines, alltoall="basic_linear", allreduce="ompi"):
    """Simulated seconds of a trace. lines(rank): the actions of one rank."""
    platform(f"{folder}/tree.xml", machine, nodes, taper)
    with open(f"{folder}/hosts", "w") as f:
        f.writelines(f"n{i}\n" for i in range(nodes))
    with open(f"{folder}/list", "w") as names:
        for r in range(nodes):
            with open(f"{folder}/t{r}", "w") as f:
                f.write("".join(f"{r} {line}\n" for line in ["init", *lines(r), "finalize"]))
            names.write(f"{folder}/t{r}\n")
    # The shortest all-reduces end in a crash of the simulator's own selector on 256 ranks: doubling by name does not.
    command = ["smpirun", "-np", str(nodes), "-platform", f"{folder}/tree.xml", "-hostfile", f"{folder}/hosts", f"--cfg=smpi/host-speed:{SPEED:.0f}f",
               "--cfg=smpi/coll-selector:ompi", f"--cfg=smpi/alltoall:{alltoall}", f"--cfg=smpi/allreduce:{allreduce}",
               "--cfg=contexts/stack-size:512", "--cfg=network/crosstraffic:no",
               f"--cfg=smpi/bw-factor:0:{machine.efficiency}", "--cfg=smpi/lat-factor:0:1.0", f"--cfg=smpi/os:0:{machine.overhead_us * 1e-6}:0",
               f"--cfg=smpi/or:0:{machine.overhead_us * 1e-6}:0", "--log=replay.thresh:critical", "--log=root.fmt:%m%n", "-replay", f"{folder}/list"]
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600,
                          preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY)))
    found = re.search(r"Simulation time ([0-9.eE+-]+)", done.stdout)
    if done.returncode or not found:
        raise RuntimeError(f"smpirun failed with {done.returncode}: {done.stdout[-600:]}")
    return float(found.group(1))


def tree_machine(machine, nodes, taper):
    """The same machine with the leaves of the simulated tree."""
    return dataclasses.replace(machine, topology="fat-tree", leaf_nodes=16, taper=taper, nodes=nodes)


@dataclasses.dataclass
class Case:
    name: str
    predicted: float
    lines: object
    alltoall: str = "basic_linear"
    allreduce: str = "ompi"


def cases(machine, nodes, taper):
    """The cases compared on a tree: predicted seconds and the trace."""
    m = tree_machine(machine, nodes, taper)
    layout = model.Layout(nodes, 1, 1)
    out = []
    if nodes > 256:
        each = BUCKET * 4 // nodes
        return [Case(f"bucket, pair by pair: {each} B a pair", pairwise_seconds(m, layout, BUCKET * 4), lambda r: [f"alltoall {each} {each}"], "pair")]
    for name, elements in (("bucket, float32", 4), ("bucket, bfloat16", 2)):
        each = BUCKET * elements // nodes
        core = (nodes - 1) * m.overhead_us * 1e-6 if each < EAGER else 0.0
        out.append(Case(f"{name}: {each} B a pair", model.exchange_seconds(m, layout, BUCKET * elements) + core, lambda r, b=each: [f"alltoall {b} {b}"]))
    if nodes <= 64:
        # Eight buckets that become ready during a backward pass of which the wire takes 70 %: exposed time by the pipeline's formula.
        each, n = model.exchange_seconds(m, layout, BUCKET * 4), 8
        pause = each / 0.7
        out.append(Case("8 buckets beside computation", n * pause + model.exposed_seconds(n, n * pause, each, 0.0), lambda r: overlapped(r, nodes, n, pause)))
    rows = 1440 * 1024 * 4
    out.append(Case("all-gather of 5.9 MB", model.gather(m, layout, rows, 1e15), lambda r: [f"allgather {rows // nodes} {rows // nodes}"]))
    for size in (64, 8 * 2 * 65536):
        out.append(Case(f"all-reduce of {size} B", model.small_sum(m, layout, size, 1e15), lambda r, s=size: [f"allreduce {s} 0"], allreduce="rdb" if size < 1000 else "ompi"))
    return out


def pairwise_seconds(machine, layout, slice_bytes):
    """The exchange with one partner after the other: the route's latency (two links a level) is paid for each."""
    levels = 1 + TREES[layout.nodes].split(";")[1].count(",")
    return (layout.nodes - 1) * (2 * levels * machine.latency_us / 2 + machine.overhead_us) * 1e-6 + model.exchange_seconds(
        dataclasses.replace(machine, overhead_us=0.0), layout, slice_bytes)


def overlapped(rank, nodes, buckets, pause):
    """Isend and irecv of each bucket while the next computation runs; waits for all at the end."""
    each = BUCKET * 4 // nodes
    lines = []
    for _ in range(buckets):
        lines.append(f"compute {pause * SPEED:.0f}")
        for d in range(1, nodes):
            lines += [f"irecv {(rank - d) % nodes} 0 {each}", f"isend {(rank + d) % nodes} 0 {each}"]
    return [*lines, "waitall"]


def compare(machine, nodes, taper):
    """[(name, predicted, simulated)]."""
    rows = []
    for case in cases(machine, nodes, taper):
        with tempfile.TemporaryDirectory() as folder:
            rows.append((case.name, case.predicted, replay(folder, machine, nodes, taper, case.lines, case.alltoall, case.allreduce)))
    return rows


def main(a):
    machine = model.read_machine(a.machine)
    print(f"{machine.name}: links {machine.link_gb_per_s:g} GB/s, latency {machine.latency_us:g} us; leaves of 16 nodes")
    print(f"{'nodes':>6} {'taper':>6} {'traffic':34} {'predicted':>12} {'simulated':>12} {'ratio':>7}")
    worst = 0.0
    for nodes in a.nodes or (64, 256, 1024):
        for taper in (1.0, 2.0):
            for name, predicted, simulated in compare(machine, nodes, taper):
                print(f"{nodes:6} {taper:6g} {name:34} {1e3 * predicted:10.4f} ms {1e3 * simulated:10.4f} ms {predicted / simulated:7.2f}", flush=True)
                if name.startswith("bucket, "):
                    worst = max(worst, abs(predicted / simulated - 1))
    print(f"buckets of gradients: predicted within {100 * worst:.0f} % of the simulation")
    return 0
