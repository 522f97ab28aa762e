# SPDX-License-Identifier: BSD-3-Clause
"""Speeds of cores as measured by `syzygy bench`: shares of the limit, and seconds per weight."""
import dataclasses
import statistics

import numpy as np
import yaml

from predictor.plan import Share, number_in, read_yaml


@dataclasses.dataclass
class Rates:
    """Measurements of `syzygy bench`: the machine's limit and the share that each part reaches."""

    limit: float  # operations per second of a core in the compute type
    limit_f32: float
    share: dict  # of the limit in long batches: {"dino": .., "image": .., "spectrum": .., "loss": ..}
    pass_s: dict  # seconds per weight and step that do not depend on the batch: reading weights, adding to gradients
    bandwidth: dict  # bytes/s of a core: "update", "optimiser", "teacher", "packing", "sum"
    serial: float = 0.01  # share of the step that does not scale with threads (Amdahl)
    loader_s: float = 0.0  # seconds of a core that reading and augmenting one object takes
    loop_s: float = 0.0  # other seconds per step: metrics, schedules, waking up


# Bytes that a step moves for each weight, by the code; the bandwidths below refer to them.
BYTES = {
    "optimiser": 32,  # norm 4; AdamW reads weight, two moments and gradient, writes the first three
    "teacher": 12,  # reads both networks' weights, writes one
    "packing": 16,  # reads float32 of both networks, writes bfloat16 in the directions that are used
    "sum": 4,  # each rank reads its slice of every rank's gradients
    "weights": 14,  # passes over packed weights forward and backward, gradients read and written
}


def fit_share(points):
    """Least squares, relative, of t = x / share + y a over points (x flops/limit, y elements, t seconds), share and a positive."""
    x = np.array([[p[0] / p[2], p[1] / p[2]] for p in points])
    if len({round(p[0], 9) for p in points}) > 1:
        (b, a), *_ = np.linalg.lstsq(x, np.ones(len(points)), rcond=None)
        if a >= 0 and b > 0:
            return float(1 / b), float(a)
    # One size, or noise larger than the second term.
    b = float(x[:, 0] @ np.ones(len(points)) / (x[:, 0] @ x[:, 0]))
    return 1 / b, 0.0


def rates_of(benches):
    """benches: bench.json files, read, all of one machine. Several batch sizes separate the time per batch from the time per object."""
    limit = max(b["limit_gflops"] / b["threads"] for b in benches) * 1e9
    limit_f32, bandwidth, points, phases, single = limit / 2, {}, {}, {}, []
    for bench in benches:
        one = bench["threads"] == 1
        for row in bench["rows"]:
            part, what = row["part"], row["what"]
            if part == "product" and what == "float32":
                limit_f32 = row["gflops_per_rank"] * 1e9 / bench["threads"]
            if part == "optimiser" and "update_gbytes_per_s" in row:
                bandwidth["update"] = row["update_gbytes_per_s"] * 1e9 / bench["threads"]
            # The program's own sums in one node; other rows are sums in two levels, and MPI's for comparison.
            if part == "allreduce" and what == "float32, 1 node" and row["bytes"] >= 1 << 20 and bench["ranks"] > 1:
                bandwidth["sum"] = max(bandwidth.get("sum", 0), row["bytes"] / row["seconds"])
            if part in ("image tower", "spectrum") and what == "forward + backward" and one:
                flops = row["objects_per_rank"] * row["flops_per_object"]
                points.setdefault("image" if part == "image tower" else "spectrum", []).append(
                    (flops / limit, row["parameters"], flops / (row["gflops_per_rank"] * 1e9)))
            if part == "pretrain":
                w, s = Share(row["plan"]), row["seconds_a_step"]
                n, trained, teacher = row["global_batch"] / bench["ranks"], w.tree["trained"], w.tree["teacher"]
                towers = s["teacher"] + s["forward"] + s["backward"]
                step = row["s_per_object"] * row["global_batch"]
                scale = min(1.0, step / sum(s.values()))  # phases are means over steps, the step is the best
                if one:
                    points.setdefault("dino", []).append((n * w.compute / limit, w.weights, towers * scale))
                    points.setdefault("loss", []).append((n * w.done["loss"] / limit, w.tree["weights"]["loss"], s["loss"] * scale))
                    phases.setdefault("optimiser", []).append(BYTES["optimiser"] * trained / bench["ranks"] / s["optimiser"] / scale)
                    phases.setdefault("teacher", []).append(BYTES["teacher"] * teacher / s["teacher follows"] / scale)
                    phases.setdefault("packing", []).append(BYTES["packing"] * w.weights / s["packing"] / scale)
                single.append((row["drop_rate"], bench["threads"], w.compute * n, towers * scale, w.weights))
    update = bandwidth.setdefault("update", max(max(v) for v in phases.values()) if phases else 20e9)
    for name in ("optimiser", "teacher", "packing"):
        bandwidth[name] = max(phases.get(name, [update]))
    bandwidth.setdefault("sum", update / 2)
    share, pass_s = {}, {}
    for kind, p in points.items():
        share[kind], pass_s[kind] = fit_share(p)
    if not share:
        raise SystemExit("predict: no measured rates: give --bench a bench.json with the parts towers or pretrain")
    for kind, like in (("dino", "image"), ("image", "dino"), ("spectrum", "image"), ("loss", "dino")):
        share.setdefault(kind, share.get(like, next(iter(share.values()))))
        pass_s.setdefault(kind, BYTES["weights"] / update)
    r = Rates(limit, limit_f32, share, pass_s, bandwidth)
    r.serial = serial_of(single, r)
    return r


def serial_of(single, r):
    """From runs with several threads: t(p) = t(1) (1 + s (p - 1)) / p."""
    found = []
    for _, threads, flops, seconds, elements in single:
        if threads > 1:
            alone = flops / (r.limit * r.share["dino"]) + r.pass_s["dino"] * elements
            found.append((seconds * threads / alone - 1) / (threads - 1))
    return max(0.0, statistics.median(found)) if found else 0.01


def save_rates(rates, path, comment):
    with open(path, "w") as f:
        f.write("".join(f"# {line}\n" for line in comment))
        yaml.safe_dump(dataclasses.asdict(rates), f, sort_keys=False)


KINDS = {"share": ("dino", "image", "spectrum", "loss"), "pass_s": ("dino", "image", "spectrum", "loss"),
         "bandwidth": ("update", "optimiser", "teacher", "packing", "sum")}


def read_rates(path):
    given = read_yaml(path)
    single = [f.name for f in dataclasses.fields(Rates) if f.name not in KINDS]
    wanted = single + [f"{name}.{kind}" for name, kinds in KINDS.items() for kind in kinds]
    if unknown := sorted(set(given) - set(wanted)):
        raise SystemExit(f"predict: {path}: unknown key {unknown[0]}")
    if missing := [name for name in wanted if name not in given]:
        raise SystemExit(f"predict: {path}: {missing[0]} is missing")
    for name in wanted:
        given[name] = number_in(path, name, given[name], 0, is_open=name.startswith(("limit", "share", "bandwidth")))
    return Rates(**{name: given[name] for name in single}, **{name: {kind: given[f"{name}.{kind}"] for kind in kinds} for name, kinds in KINDS.items()})
