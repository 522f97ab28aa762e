# SPDX-License-Identifier: BSD-3-Clause
"""What tools/scaling makes of its rows: scaling.csv, scaling.png and scaling.txt with the verdict. A row is one repeat of one point, a JSON file."""
import csv
import glob
import json
import math
import os
import platform
import statistics
import time

COLUMNS = ("mode", "nodes", "ranks", "threads", "cores", "repeat", "objects", "steps", "seconds", "rate", "efficiency", "compute_s", "communication_s", "io_s",
           "imbalance_s", "other_s", "peak_gib", "loss", "loss_difference", "limit_before", "limit_after", "exit_code", "host", "started")
PARTS = (("compute_s", "compute", "#4c72b0"), ("imbalance_s", "imbalance", "#dd8452"), ("communication_s", "communication", "#c44e52"), ("io_s", "I/O", "#55a868"),
         ("other_s", "other", "#b0b0b0"))
LEAST_STEPS, LEAST_REPEATS = 10, 3


def path_of(folder, name):
    return os.path.join(folder, "rows", f"{name}.json")


def write_row(folder, name, row):
    """Complete or not at all: other jobs of the study may be reading."""
    path = path_of(folder, name)
    with open(path + ".tmp", "w") as f:
        json.dump(row, f)
    os.replace(path + ".tmp", path)


def read_row(folder, name):
    with open(path_of(folder, name)) as f:
        return json.load(f)


def is_done(folder, name):
    """Whether there is a row that did not fail: failures are tried again."""
    try:
        return read_row(folder, name)["exit_code"] == 0
    except (OSError, ValueError, KeyError):
        return False


def point_of(row):
    return row["mode"], row["nodes"], row["ranks"], row["threads"]


def told(point):
    return "{} {} nodes x {} ranks x {} threads".format(*point)


def by(rows, key):
    found = {}
    for row in rows:
        found.setdefault(key(row), []).append(row)
    return found


def compare_losses(rows):
    """loss_difference: largest relative difference of the first steps' losses from those of the smallest point with the same batch."""
    for same in by([r for r in rows if "losses" in r], lambda r: r["batch"]).values():
        first = min(same, key=lambda r: (r["cores"], r["ranks"], r["repeat"]))["losses"]
        for row in same:
            differences = [abs(x - y) / max(abs(y), 1e-12) for x, y in zip(row["losses"], first)]
            row["loss_difference"] = math.inf if any(math.isnan(d) for d in differences) else max(differences)


def add_efficiency(rows):
    """Rate per core over that of the smallest point of the mode (median of its repeats)."""
    for mode, of_mode in by(rows, lambda r: r["mode"]).items():
        smallest = min((r["cores"], r["ranks"]) for r in of_mode)
        base = statistics.median(r["rate"] / r["cores"] for r in of_mode if (r["cores"], r["ranks"]) == smallest)
        for row in of_mode:
            row["efficiency"] = row["rate"] / row["cores"] / base


def loss_bound(study, bounds):
    if bounds["loss"] is not None:
        return bounds["loss"]
    return 1e-5 if study["precision"] == "float32" else 1e-2


def reasons(study, rows, bounds):
    """Why the study is INVALID; empty: it is not."""
    found = []
    points = by(rows, point_of)
    if not rows:
        return ["there are no rows"]
    for row in rows:
        if row["exit_code"] != 0:
            found.append(f"{told(point_of(row))}, repeat {row['repeat']}, failed with exit code {row['exit_code']} ({row.get('reason', '')})")
    if any(row["oversubscribed"] for row in rows):
        found.append("more ranks x threads than cores")
    if study["is_training"] and study["steps"] < LEAST_STEPS:
        found.append(f"{study['steps']} steps counted, at least {LEAST_STEPS} are needed")
    if study["repeats"] < LEAST_REPEATS:
        found.append(f"{study['repeats']} repeats, at least {LEAST_REPEATS} are needed")
    for point, of_point in points.items():
        good = [r for r in of_point if r["exit_code"] == 0]
        if len(of_point) < study["repeats"]:
            found.append(f"{told(point)}: {len(of_point)} of {study['repeats']} repeats are there")
        if len(good) > 1:
            rates = [r["rate"] for r in good]
            spread = (max(rates) - min(rates)) / statistics.median(rates)
            if spread > bounds["spread"]:
                found.append(f"{told(point)}: rates of the repeats spread by {100 * spread:.1f} % (bound {100 * bounds['spread']:g} %)")
        short = [r for r in good if r["seconds"] < bounds["seconds"]]
        if short:
            found.append(f"{told(point)}: measured for {min(r['seconds'] for r in short):.2f} s, at least {bounds['seconds']:g} s are needed")
        difference = max((r.get("loss_difference", 0) for r in good), default=0)
        if not difference <= loss_bound(study, bounds):
            found.append(f"{told(point)}: losses differ by {difference:.2g} relative from another layout's (bound {loss_bound(study, bounds):g})")
    for row in rows:
        limits = row.get("limit_before", 0), row.get("limit_after", 0)
        if min(limits) <= 0:
            found.append("the limit of matrix products was not measured before and after" + (" (interrupted?)" if limits[0] > 0 else ""))
            break
    for limits in {(r["limit_before"], r["limit_after"]) for r in rows if r.get("limit_before", 0) > 0 and r.get("limit_after", 0) > 0}:
        drift = abs(limits[1] / limits[0] - 1)
        if drift > bounds["drift"]:
            found.append(f"the limit of matrix products went from {limits[0]:.0f} to {limits[1]:.0f} GFLOP/s per core, {100 * drift:.1f} % (bound {100 * bounds['drift']:g} %)")
    hosts = {r["host"] for r in rows if r["nodes"] == 1}
    if len(hosts) > 1:
        found.append(f"points of one node ran on different machines: {', '.join(sorted(hosts))}")
    return found


def summary(rows):
    """A line a point: medians of the repeats that did not fail."""
    lines = []
    for point, of_point in sorted(by(rows, point_of).items()):
        good = [r for r in of_point if r["exit_code"] == 0]
        if not good:
            continue
        line = {k: statistics.median(r[k] for r in good) for k in ("rate", "efficiency", "seconds", "peak_gib", *(p[0] for p in PARTS))}
        rates = [r["rate"] for r in good]
        line.update(zip(("mode", "nodes", "ranks", "threads"), point), cores=good[0]["cores"], repeats=len(good), spread=(max(rates) - min(rates)) / line["rate"],
                    objects=good[0]["objects"], loss=good[0].get("loss"), loss_difference=max((r.get("loss_difference", 0) for r in good), default=0))
        lines.append(line)
    return lines


def processor():
    try:
        with open("/proc/cpuinfo") as f:
            return next(line.split(":", 1)[1].strip() for line in f if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()


def write_text(path, study, rows, lines, bounds, why):
    rule = "=" * 120
    out = [rule, "syzygy scaling study", rule]
    limits = [x for r in rows for x in (r.get("limit_before", 0), r.get("limit_after", 0)) if x > 0]
    facts = (("version", study["version"]), ("machine", f"{', '.join(sorted({r['host'] for r in rows}))}; {processor()}; {os.cpu_count()} processors here; {platform.release()}"),
             ("limit", f"{min(limits):.0f} to {max(limits):.0f} GFLOP/s per core, matrix products while all cores are busy" if limits else "not measured"),
             ("command", f"{study['command']} {study['input']}"), ("set", " ".join(f"{k}={v}" for k, v in study["set"].items()) or "-"),
             ("input digest", study["input_digest"]), ("precision", study["precision"]),
             ("work", f"strong: a batch of {study['batch']}; weak: {study['batch']} x cores / {study['smallest']}" if study["is_training"] else "objects as below"),
             ("steps", f"{study['steps']} after {study['warmup']} of warm-up" if study["is_training"] else "whole runs after a first that does not count"),
             ("repeats", f"{study['repeats']}; below are medians, spread is (largest - smallest) / median"),
             ("bounds", f"spread {100 * bounds['spread']:g} %, limit {100 * bounds['drift']:g} %, losses of the first 20 steps {loss_bound(study, bounds):g}, "
                        f"measured {bounds['seconds']:g} s, {LEAST_STEPS} steps, {LEAST_REPEATS} repeats"),
             ("written", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())))
    out += [f"{name:14}: {value}" for name, value in facts]
    unit = "s/step" if study["is_training"] else "s/run"
    out += [rule, f"{'mode':7}{'nodes':>6}{'ranks':>6}{'thr.':>5}{'cores':>6}{'objects':>9}{'objects/s':>11}{'spread':>8}{'effic.':>8}"
                  f"{unit:>10}{'compute':>9}{'imbal.':>8}{'comm.':>8}{'I/O':>8}{'other':>8}{'GiB/rank':>9}", "-" * 120]
    for x in lines:
        total = sum(x[p[0]] for p in PARTS)
        shares = "".join(f"{100 * x[k] / total if total else 0:>{width - 2}.1f} %" for k, width in (("compute_s", 9), ("imbalance_s", 8), ("communication_s", 8), ("io_s", 8), ("other_s", 8)))
        out.append(f"{x['mode']:7}{x['nodes']:6}{x['ranks']:6}{x['threads']:5}{x['cores']:6}{x['objects']:9}{x['rate']:11.4g}{100 * x['spread']:6.1f} %{100 * x['efficiency']:6.1f} %"
                   f"{total:10.4g}{shares}{x['peak_gib']:9.2f}")
    if study["is_training"] and lines:
        out.append(f"losses of the first steps agree between layouts of the same batch to {max(x['loss_difference'] for x in lines):.2g} relative")
    out += [rule] + [f"INVALID: {'; '.join(why)}" if why else "VALID"]
    with open(path, "w") as f:
        f.write("\n".join(out) + "\n")
    return out


def draw(path, study, lines):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    modes = [m for m in ("strong", "weak") if any(x["mode"] == m for x in lines)]
    fig, axes = plt.subplots(len(modes), 3, figsize=(15, 4.2 * len(modes)), squeeze=False)
    for row, mode in zip(axes, modes):
        of_mode = [x for x in lines if x["mode"] == mode]
        cores = sorted({x["cores"] for x in of_mode})
        base = min(of_mode, key=lambda x: (x["cores"], x["ranks"]))
        row[0].plot(cores, [base["rate"] * c / base["cores"] for c in cores], "k--", lw=1, label="ideal")
        row[1].axhline(1, color="k", ls="--", lw=1)
        for threads, curve in sorted(by(of_mode, lambda x: x["threads"]).items()):
            curve.sort(key=lambda x: x["cores"])
            x = [c["cores"] for c in curve]
            row[0].errorbar(x, [c["rate"] for c in curve], [c["rate"] * c["spread"] / 2 for c in curve], marker="o", capsize=3, label=f"{threads} threads per rank")
            row[1].plot(x, [c["efficiency"] for c in curve], marker="o")
        for axis, label in ((row[0], "objects / s"), (row[1], "efficiency")):
            axis.set(xscale="log", xlabel="cores", ylabel=label, title=f"{mode} scaling: {label}")
            axis.set_xticks(cores, [str(c) for c in cores], minor=False)
            axis.minorticks_off()
            axis.grid(alpha=0.3)
        row[0].set_yscale("log")
        row[0].legend()
        row[1].set_ylim(0, max(1.1, 1.05 * max(x["efficiency"] for x in of_mode)))
        of_mode.sort(key=lambda x: (x["cores"], x["ranks"]))
        low = [0.0] * len(of_mode)
        for key, name, colour in PARTS:
            height = [x[key] for x in of_mode]
            row[2].bar(range(len(of_mode)), height, bottom=low, label=name, color=colour)
            low = [a + b for a, b in zip(low, height)]
        row[2].set_xticks(range(len(of_mode)), [f"{x['nodes'] * x['ranks']} x {x['threads']}" for x in of_mode], rotation=45 if len(of_mode) > 8 else 0)
        row[2].set(xlabel="ranks x threads", ylabel="s / step" if study["is_training"] else "s / run", title=f"{mode} scaling: where the time goes")
        row[2].legend()
    fig.suptitle(f"syzygy {study['command']}, {study['precision']}: {study['version']}")
    fig.tight_layout()
    fig.savefig(path, dpi=110)


def write(folder, bounds):
    """All rows of the folder to scaling.csv, .png and .txt, and the text to the terminal; 0 when VALID, 1 when not."""
    with open(os.path.join(folder, "study.json")) as f:
        study = json.load(f)
    rows = []
    for path in sorted(glob.glob(path_of(folder, "*"))):
        with open(path) as f:
            rows.append(json.load(f))
    good = [r for r in rows if r["exit_code"] == 0]
    compare_losses(good)
    if good:
        add_efficiency(good)
    with open(os.path.join(folder, "scaling.csv"), "w", newline="") as f:
        table = csv.DictWriter(f, COLUMNS, restval="", extrasaction="ignore", lineterminator="\n")
        table.writeheader()
        table.writerows(sorted(rows, key=lambda r: (point_of(r), r["repeat"])))
    lines = summary(good)
    why = reasons(study, rows, bounds)
    if lines:
        draw(os.path.join(folder, "scaling.png"), study, lines)
    print("\n".join(write_text(os.path.join(folder, "scaling.txt"), study, rows, lines, bounds, why)))
    return 1 if why else 0
