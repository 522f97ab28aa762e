# SPDX-License-Identifier: BSD-3-Clause
"""tools/scaling on the smallest runs: what it measures against the runs' own files, its verdict against planted faults, and that it goes on where it
was interrupted."""
import copy
import csv
import glob
import json
import os
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import BINARY, SOURCE, Work, check, environment, finish
from common import command, metrics, write_input, write_shards

sys.path.insert(0, os.path.join(SOURCE, "tools"))
import scaling_result

LOOSE = ["--spread", "100", "--drift", "100", "--least-seconds", "0"]  # this machine may be busy
BATCH, STEPS, WARMUP = 6, 10, 2


def arguments(folder, *words, binary=BINARY):
    return [sys.executable, f"{SOURCE}/tools/scaling", *words, "--output", folder, "--binary", binary, "--launcher", "mpirun --oversubscribe --bind-to none -n {total}"]


def study(folder, *words, **more):
    """Exit code and text."""
    done = subprocess.run(arguments(folder, *words, **more), env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300)
    return done.returncode, done.stdout


def rows_of(folder):
    with open(f"{folder}/scaling.csv") as f:
        return list(csv.DictReader(f))


def last_line(text):
    return text.strip().split("\n")[-1]


def measures(check, work, words):
    """A whole study: its rows against the files of the runs."""
    code, text = study(f"{work}/a", *words, *LOOSE)
    check(code == 0 and last_line(text) == "VALID", f"a study of training on 1 and 2 ranks ends with {code}: {last_line(text)}")
    check(open(f"{work}/a/scaling.txt").read().strip() == text[text.index("=") :].strip(), "its text file is what it prints")
    check(open(f"{work}/a/scaling.png", "rb").read(8) == b"\x89PNG\r\n\x1a\n", "there is a picture")
    rows = rows_of(f"{work}/a")
    check(len(rows) == 12 and tuple(rows[0]) == scaling_result.COLUMNS, f"{len(rows)} rows (12) with the columns of a study")
    worst = {"rate": 0, "efficiency": 0}
    rate, sums = {}, []
    for row in rows:
        name = f"{row['mode']}-n{row['nodes']}-r{row['ranks']}-t{row['threads']}-{row['repeat']}"
        batch = BATCH * (int(row["ranks"]) if row["mode"] == "weak" else 1)
        counted = metrics(f"{work}/a/runs/{name}")[WARMUP:]
        seconds = sum(batch / m["samples_per_s"] for m in counted)
        check(len(counted) == STEPS == int(row["steps"]) and int(row["objects"]) == batch * STEPS, f"{name}: {row['steps']} steps, {row['objects']} objects")
        rate[name] = batch * STEPS / seconds
        worst["rate"] = max(worst["rate"], abs(float(row["rate"]) / rate[name] - 1))
        parts = sum(float(row[k]) for k, _, _ in scaling_result.PARTS)
        sums.append(parts / (seconds / STEPS))
        timing = json.load(open(f"{work}/a/runs/{name}/timing.json"))
        phases = {p["phase"]: p for p in timing["phases"]}
        check(phases["forward"]["count"] == STEPS and "set-up" not in phases, f"{name}: phases are of the {phases['forward']['count']} steps after the warm-up")
        if row["ranks"] == "1":
            compute = sum(p["mean_s"] - p["mpi_s"] for k, p in phases.items() if k not in ("data", "checkpoint", "validation"))
            check(abs(float(row["compute_s"]) * STEPS / compute - 1) < 1e-4 and float(row["imbalance_s"]) == 0, f"{name}: compute {row['compute_s']}")
        else:
            check(float(row["communication_s"]) > 0, f"{name}: communication {row['communication_s']}")
    for mode in ("strong", "weak"):
        base = sorted(rate[f"{mode}-n1-r1-t1-{k}"] for k in range(3))[1]
        for row in rows:
            if row["mode"] == mode:
                expected = rate[f"{mode}-n1-r{row['ranks']}-t1-{row['repeat']}"] / int(row["cores"]) / base
                worst["efficiency"] = max(worst["efficiency"], abs(float(row["efficiency"]) / expected - 1))
    check(worst["rate"] < 1e-9 and worst["efficiency"] < 1e-9, f"rates and efficiencies are those of metrics.jsonl to {worst['rate']:.1e}, {worst['efficiency']:.1e}")
    # The parts are means over ranks, the time is rank 0's: a busy machine that stops another rank between steps tears them apart.
    middle = sorted(sums)[len(sums) // 2]
    check(abs(middle - 1) < 0.01, f"the parts add up to a step's time, in the middle of all rows to {100 * abs(middle - 1):.2f} % (worst {100 * max(abs(x - 1) for x in sums):.1f} %)")
    strong = [r for r in rows if r["mode"] == "strong"]
    check(0 < max(float(r["loss_difference"]) for r in strong) < 1e-5, f"losses on 1 and 2 ranks differ by {max(float(r['loss_difference']) for r in strong):.1e}")


def goes_on(check, work, words):
    """The finished study, of which one row is lost; interrupted, failed and foreign ones."""
    before = {p: os.stat(p).st_mtime_ns for p in glob.glob(f"{work}/a/rows/*")}
    os.remove(f"{work}/a/rows/strong-n1-r2-t1-1.json")
    code, text = study(f"{work}/a", *words, *LOOSE)
    same = sum(before[p] == os.stat(p).st_mtime_ns for p in glob.glob(f"{work}/a/rows/*"))
    check(code == 0 and "1/1 strong" in text and same == 11, f"a lost row is measured again, {same} others (11) are left alone")
    code, text = study(f"{work}/a", *words[:-1], str(STEPS + 1), *LOOSE)
    check(code == 2 and "steps was 10, is 11" in text, f"another study in the same folder is refused: {last_line(text)}")

    fails = f"{work}/fails"
    with open(fails, "w") as f:
        # From the third row on one program of the study stays, in a process group of its own and deaf to the launcher.
        f.write(f'#!/bin/bash\n[ "$(ls {work}/b/rows 2>/dev/null | wc -l)" -ge 3 ] && [ ! -e {work}/stays ] && {{ set -m; sleep 300 >/dev/null 2>&1 & echo $! >{work}/stays; }}\n')
        f.write(f'[ "${{OMPI_COMM_WORLD_SIZE:-1}}" = 2 ] && [ "$1" = align ] && {{ echo "error: planted"; exit 6; }}\nexec {os.path.abspath(BINARY)} "$@"\n')
    os.chmod(fails, 0o755)
    short = ["align", f"{work}/input.yaml", "--ranks", "1,2", "--repeats", "3", "--warmup", "1", "--steps", "10"]
    p = subprocess.Popen(arguments(f"{work}/b", *short, *LOOSE, binary=fails), env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.time() + 60
    while time.time() < end and len(glob.glob(f"{work}/b/rows/*.json")) < 3:
        time.sleep(0.05)
    while time.time() < end and not os.path.exists(f"{work}/stays"):
        time.sleep(0.05)
    p.send_signal(signal.SIGTERM)
    time.sleep(1)
    p.send_signal(signal.SIGTERM)  # a second signal changes nothing
    check(p.wait(60) == 130, "an interrupted study ends with 130")
    left = subprocess.run(["pgrep", "-f", f"{work}/b/runs"], stdout=subprocess.PIPE, text=True).stdout.split()
    check(not left, f"and leaves no run behind: {left}")
    with open(f"{work}/stays") as f:
        stays = f.read().strip()
    state = subprocess.run(["ps", "-o", "stat=", "-p", stays], stdout=subprocess.PIPE, text=True).stdout.strip()
    check(stays.isdigit() and state[:1] in ("", "Z"), f"nor a program that one of its ranks started: {stays} {state}")
    code, text = scaling_report(f"{work}/b")
    check(code == 1 and "of 3 repeats are there" in last_line(text), f"and is not valid: {last_line(text)[:150]}")
    code, text = study(f"{work}/b", *short, *LOOSE, binary=fails)
    check(code == 1 and last_line(text).startswith("INVALID: ") and "2 ranks x 1 threads, repeat 0, failed with exit code 6 (error: planted)" in last_line(text),
          f"runs that fail: {last_line(text)[:150]}")
    check(len(rows_of(f"{work}/b")) == 6, "have rows of their own")
    code, text = study(f"{work}/b", *short, *LOOSE)
    check("3/3 strong" in text and "4/4" not in text, "what failed is run again, and nothing else")
    check(code == 0 and last_line(text) == "VALID", f"then the verdict is {last_line(text)}")


def scaling_report(folder):
    done = subprocess.run([sys.executable, f"{SOURCE}/tools/scaling", "--report", folder, *LOOSE], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
    return done.returncode, done.stdout


def verdicts(check):
    """Each fault, planted in rows that are valid, is the one reason."""
    bounds = dict(spread=0.05, drift=0.05, loss=None, seconds=1.0)
    settings = dict(repeats=3, steps=30, precision="float32", is_training=True)
    rows = [dict(mode="strong", nodes=1, ranks=r, threads=1, cores=r, repeat=k, exit_code=0, oversubscribed=False, rate=100.0 * r + k, seconds=2.0, batch=8, host="a",
                 losses=[4.0, 3.0, 2.0 + 1e-6 * r], limit_before=500.0, limit_after=505.0) for r in (1, 2) for k in range(3)]

    def verdict(change=lambda rows: None, **other):
        mine = copy.deepcopy(rows)
        change(mine)
        scaling_result.compare_losses([r for r in mine if r["exit_code"] == 0])
        return scaling_result.reasons({**settings, **other}, mine, bounds)

    def put(key, value, which=4):
        return lambda rows: rows[which].update({key: value})

    def drifts(factor):
        return lambda rows: [r.update(limit_after=r["limit_before"] * factor) for r in rows]

    check(verdict() == [], "rows without a fault are valid")
    for what, found, expected in (
        ("a failed run", verdict(put("exit_code", 7)), "failed with exit code 7"),
        ("a slow repeat", verdict(put("rate", 190.0)), "spread by 6.0 %"),
        ("a loss that is off by 1 %", verdict(put("losses", [4.0, 3.03, 2.0])), "losses differ by 0.01 "),
        ("a loss that is off by 2e-5", verdict(put("losses", [4.0, 3.00006, 2.0])), "losses differ by 2e-05 "),
        ("a loss that is no number", verdict(put("losses", [4.0, float("nan"), 2.0])), "losses differ by inf"),
        ("more threads than cores", verdict(put("oversubscribed", True)), "more ranks x threads than cores"),
        ("few steps", verdict(steps=9), "9 steps counted"),
        ("few repeats", verdict(lambda rows: [rows.pop(5), rows.pop(2)], repeats=2), "2 repeats, at least 3"),
        ("a missing repeat", verdict(lambda rows: rows.pop()), "2 of 3 repeats are there"),
        ("a short run", verdict(put("seconds", 0.5)), "measured for 0.50 s"),
        ("a machine that became slower", verdict(drifts(0.94)), "500 to 470 GFLOP/s per core, 6.0 %"),
        ("no limit", verdict(put("limit_after", 0)), "limit of matrix products was not measured"),
        ("another machine", verdict(put("host", "b")), "different machines: a, b"),
    ):
        check(len(found) == 1 and expected in found[0], f"{what}: {found}")
    check(verdict(put("rate", 193.0), ) == [] and verdict(drifts(0.96)) == [], "what is within the bounds is valid")
    check(verdict(put("losses", [4.0, 3.0001, 2.0]), precision="bfloat16") == [], "losses of bfloat16 have a bound of their own")


def other_commands(check, work):
    """Objects of embed and simulate: the same, or growing with the cores; files of embed are taken from the front."""
    sets = ["--set", "train.steps=2", "--set", f"output.dir={work}/model"]
    subprocess.run(command(1, ["align", f"{work}/input.yaml", *sets]), env=environment(), check=True, stdout=subprocess.DEVNULL)
    cases = (("embed", "both", {"strong": 20, "weak": 20}, [f"model.file={work}/model/model.h5", f"data.path=[{work}/shards]"]), ("simulate", "weak", {"weak": 8}, ["simulate.objects=4"]))
    for name, mode, expected, given in cases:
        code, text = study(f"{work}/{name}", name, *(w for g in given for w in ("--set", g)), "--ranks", "1,2", "--mode", mode, "--repeats", "1", *LOOSE)
        check(code == 1 and last_line(text) == "INVALID: 1 repeats, at least 3 are needed", f"{name}: {last_line(text)}")
        rows = rows_of(f"{work}/{name}")
        two = {r["mode"]: int(r["objects"]) for r in rows if r["ranks"] == "2"}
        check(two == expected, f"{name}: objects on 2 ranks {two}, expected {expected}")
        one = [int(r["objects"]) for r in rows if r["ranks"] == "1" and r["mode"] == "weak"]
        check(one == [two["weak"] // 2], f"{name}: half as many on one rank: {one}")
        parts = [sum(float(r[k]) for k, _, _ in scaling_result.PARTS) / float(r["seconds"]) for r in rows]
        check(all(0.9 < p < 1.05 for p in parts), f"{name}: parts over seconds {[round(p, 3) for p in parts]}")
        check(not glob.glob(f"{work}/{name}/runs/**/*.h5", recursive=True), f"{name}: what the runs wrote is gone")


def mistakes(check, work):
    align = ["align", f"{work}/input.yaml"]
    for words, expected in (([*align, "--ranks", "1,4096"], "4096 ranks of a node: more than its"), ([*align, "--ranks", "1,1"], "expected different whole numbers"),
                            (["bench"], "bench has no strong mode"), (["ingest", "--mode", "weak"], "ingest has no weak mode"),
                            ([*align, "--set", "train.stepps=3"], "stepps"), ([*align, "--repeats", "0"], "--repeats 0: at least 1")):
        code, text = study(f"{work}/mistake", *words)
        check(code == 2 and expected in text, f"{' '.join(words[2:] or words)}: {code}, {last_line(text)[-120:]}")
    check(not glob.glob(f"{work}/mistake/rows/*"), "nothing was run")


with Work() as work_folder:
    write_shards(f"{work_folder}/shards", 20)
    write_input(work_folder, f"""
data: {{path: [{work_folder}/shards], split: all}}
train: {{freeze_backbones: false, global_batch: {BATCH}, lr: 5.0e-4, warmup_steps: 5}}
""")
    both = ["align", f"{work_folder}/input.yaml", "--ranks", "1,2", "--mode", "both", "--warmup", str(WARMUP), "--steps", str(STEPS)]
    verdicts(check)
    mistakes(check, work_folder)
    measures(check, work_folder, both)
    goes_on(check, work_folder, both)
    other_commands(check, work_folder)
finish()
