# SPDX-License-Identifier: BSD-3-Clause
"""Whole runs of `pretrain-spectrum`, the laws:
  ranks CASE N...  the losses of 20 steps on so many ranks agree with one rank's to 1e-5 relative in float32, the first loss bit for bit;
  resume           stopped and continued: the same bits on the same ranks, 1e-5 on others;
  faults           a failure on one rank, and numbers that are not finite, end all ranks with the right code; checkpoints stay good;
  refuse           contradictions are refused by name before anything is written;
  memory           the memory planned for a step at full size is right within 10 %."""
import random
import re
import sys

from masked_common import *

which = sys.argv[1]
CASES = {
    "plain": {},
    "passes": dict(train__micro_batch=2),
    "ivar": dict(masked__ivar_weighted="true", masked__bad_pixels="hidden", train__micro_batch=3),
}


def ranks(work, case, counts):
    code, text = run(1, command_line(work, "one", **CASES[case]))
    check(code == 0, f"1 rank ends with {code}")
    if code:
        print(text)
        return
    one = figures(f"{work}/one")
    check([m[0] for m in one] == list(range(20)), "each step stands there once")
    for n in counts:
        code, text = run(n, command_line(work, f"r{n}", **CASES[case]))
        check(code == 0, f"{n} ranks end with {code}")
        if code:
            print(text)
            continue
        many = figures(f"{work}/r{n}")
        difference = relative(many, one)
        check(len(many) == 20 and difference < 1e-5, f"{case}, {n} ranks: losses differ by {difference:.2e} relative (1e-5)")
        check(many[0][1] == one[0][1] and [m[2] for m in many] == [m[2] for m in one], f"{case}, {n} ranks: first loss and masked numbers, same bits")
        a, b = metrics(f"{work}/r{n}", "validation.jsonl"), metrics(f"{work}/one", "validation.jsonl")
        worst = max(abs(x[k] - y[k]) / abs(y[k]) for x, y in zip(a, b) for k in y if y[k])
        check(len(a) == len(b) == 2 and worst < 1e-5, f"{case}, {n} ranks: validations differ by {worst:.2e} (1e-5)")
    code, _ = run(1, command_line(work, "other", seed=7, **CASES[case]))
    check(code == 0 and relative(figures(f"{work}/other"), one) > 1e-4, "another seed is another run")
    if case == "plain":  # what one pass gives, several give
        code, _ = run(1, command_line(work, "passes", train__micro_batch=1))
        passes = figures(f"{work}/passes")
        check(code == 0 and passes[0][1] == one[0][1], "one spectrum a pass: the first loss has the same bits")
        check(abs(passes[0][4] / one[0][4] - 1) < 1e-6, f"and the gradient's norm differs by {abs(passes[0][4] / one[0][4] - 1):.1e} (1e-6)")
        check(relative(passes, one) < 1e-5, f"and 20 losses by {relative(passes, one):.1e} (1e-5)")


def resume(work):
    rng = random.Random(int(os.environ.get("SYZYGY_TEST_SEED", "20240601")))
    keys = dict(train__steps=60, train__micro_batch=2, output__checkpoint_interval_steps=7)
    code, text = run(2, command_line(work, "whole", **keys))
    check(code == 0, f"uninterrupted run ends with {code}")
    if code:
        print(text)
        return
    whole, codes = figures(f"{work}/whole"), []
    for name, plan in [("same", [2, 2, 2]), ("ranks", [2, 3, 1])]:
        for n in plan[:-1]:
            p = start(n, command_line(work, name, **keys), log=f"{work}/log")
            end = time.time() + 30
            wanted = rng.randint(1, 25) + (25 if n == 3 else 0)
            while time.time() < end and p.poll() is None:
                try:
                    if len(metrics(f"{work}/{name}")) >= wanted:
                        break
                except (OSError, ValueError):
                    pass
                time.sleep(0.003)
            p.send_signal(signal.SIGUSR1)
            codes.append(p.wait())
        code, text = run(plan[-1], command_line(work, name, **keys))
        check(code == 0, f"{name}: the continued run ends with {code}")
    check(set(codes) <= {75, 0} and 75 in codes, f"SIGUSR1 gives {codes}")
    check(figures(f"{work}/same") == whole, "continued on the same ranks: every loss, rate and norm has the same bits")
    with open(f"{work}/same/validation.jsonl") as a, open(f"{work}/whole/validation.jsonl") as b:
        check(a.read() == b.read(), "and every validation")
    with h5py.File(f"{work}/same/model.h5") as a, h5py.File(f"{work}/whole/model.h5") as b:
        names = []
        b["parameter"].visititems(lambda k, v: names.append(k) if isinstance(v, h5py.Dataset) else None)
        check(names and all((a["parameter"][k][()] == b["parameter"][k][()]).all() for k in names), f"and all {len(names)} parameters")
    with h5py.File(f"{work}/same/reconstruction.h5") as a, h5py.File(f"{work}/whole/reconstruction.h5") as b:
        check(all(np.array_equal(a[k][()], b[k][()], equal_nan=a[k].dtype.kind == "f") for k in b), "and reconstruction.h5")
    difference = relative(figures(f"{work}/ranks"), whole)
    check(difference < 1e-5, f"on 2, 3, 1 ranks in turn the losses differ by {difference:.1e} (1e-5)")
    code, text = run(1, command_line(work, "same", masked__runs=3, **keys))
    check(code == 2 and "masked.runs" in text, f"another mask on continuing is refused by name: {code}")


def faults(work):
    cases = [("loader_read:1:7", 3, "injected"), ("h5_create:0:2", 4, "injected"), ("h5_write:0:9", 4, "injected"), ("alloc:2:80", 8, "no memory")]
    for k, (fault, expected, said) in enumerate(cases):
        code, text = run(3, command_line(work, f"f{k}"), env={"SYZ_FAULT": fault})
        check(code == expected and said in text, f"{fault}: exit code {code} ({expected})")
        left = [f for top, _, files in os.walk(f"{work}/f{k}") for f in files if f.endswith(".tmp")]
        check(not left, f"{fault}: nothing half-written {left}")
        code, text = run(3, command_line(work, f"f{k}"))
        check(code == 0 and len(metrics(f"{work}/f{k}")) == 20, f"{fault}: the run goes on to its end afterwards ({code})")
        if code:
            print(text)
    check(figures(f"{work}/f0") == figures(f"{work}/f1"), "after different failures the runs are equal bit for bit")


def numeric(work):
    """Weights so large that products overflow: step and objects are named, and no model is written."""
    code, _ = run(2, command_line(work, "good", train__steps=2))
    check(code == 0, f"a short run ends with {code}")
    shutil.copy2(f"{work}/good/model.h5", f"{work}/huge.h5")
    with h5py.File(f"{work}/huge.h5", "r+") as f:
        f["parameter/spectrum_encoder.backbone.head.weight"][...] = 1e38
        del f["parameter/spectrum_encoder.backbone.head.weight"].attrs["checksum"]
        del f.attrs["checksum"]
    code, text = run(2, command_line(work, "huge", model__file=f"{work}/huge.h5"))
    check(code == 6 and "step 0" in text and "reconstruction of object 39" in text, f"an overflow ends with {code} and names step and objects")
    if code != 6:
        print(text)
    check(not os.path.exists(f"{work}/huge/model.h5") and not os.path.exists(f"{work}/huge/model-best.h5"), "and leaves no model")


def refuse(work):
    def refused(keys, said, expected=2):
        code, text = run(1, command_line(work, "refused", **keys))
        check(code == expected and said in text and not os.path.exists(f"{work}/refused/metrics.jsonl"), f"{keys}: exit code {code} ({expected}), says {said!r}")
        if code != expected or said not in text:
            print(text)
        shutil.rmtree(f"{work}/refused", ignore_errors=True)

    refused(dict(masked__run_tokens=19), "masked.run_tokens = 19")
    refused(dict(masked__runs=0), "masked.runs")
    refused(dict(masked__bad_pixels="maybe"), "masked.bad_pixels")
    refused(dict(model__spectrum__section=190), "max_tokens")
    refused(dict(masked__width=3), "masked.")
    refused(dict(train__lr_min=1), "train.lr_min")
    code, _ = run(1, command_line(work, "base", train__steps=2))
    check(code == 0, f"a short run ends with {code}")
    refused(dict(model__file=f"{work}/base/model.h5", model__spectrum__dim=48), "model.spectrum.dim")
    refused(dict(model__file=f"{work}/shards/shard-0.h5"), "shard-0.h5", 3)
    # AstroCLIP's own file holds no inverse variances.
    with h5py.File(f"{work}/astroclip.h5", "w") as f:
        for g in range(10):
            f[f"{g}/images"] = np.full((4, 152, 152, 3), 0.1, np.float32)
            f[f"{g}/spectra"] = np.random.default_rng(g).normal(3, 1, (4, PIXELS, 1)).astype(np.float32)
            f[f"{g}/redshifts"] = np.full(4, 0.1)
            f[f"{g}/targetids"] = np.arange(4) + 4 * g
    data = dict(data__path=f"{work}/astroclip.h5", train__steps=2)
    refused(dict(data, masked__ivar_weighted="true"), "masked.ivar_weighted")
    code, text = run(2, command_line(work, "astroclip", masked__bad_pixels="hidden", **data))
    check(code == 0 and "no pixel is known to be bad" in text, f"hidden bad pixels without inverse variances: a warning ({code})")
    code, text = run(1, command_line(work, "dry") + ["--dry-run"])
    check(code == 0 and "needs about" in text and os.listdir(f"{work}/dry") == ["plan.json"], f"a dry run tells the plan and writes nothing else ({code})")
    # From a file: the trained tower goes on from where it was.
    code, text = run(1, command_line(work, "again", model__file=f"{work}/base/model.h5", train__steps=1))
    check(code == 0 and "begins from" in text, f"a run begins from a model file ({code})")
    here = [metrics(f"{work}/{name}")[0]["loss"] for name in ("base", "again")]
    check(here[0] != here[1], f"with its weights ({here})")


def memory(work):
    """Two steps of the published tower, 4 spectra in passes of 2, on one rank and two."""
    sizes = dict(train__global_batch=4, train__micro_batch=2, train__steps=2, train__validate_objects=2, compute__precision="bfloat16")
    for n in (1, 2):
        code, text = run(n, command_line(work, f"m{n}", **sizes), timeout=200)
        found = re.search(r"planned\), ([0-9.]+) GiB per node \(([0-9.]+) GiB planned\)", text)
        check(code == 0 and found, f"{n} ranks end with {code}")
        if not found:
            print(text)
            continue
        used, planned = float(found[1]), float(found[2])
        check(abs(planned / used - 1) < 0.1, f"{n} ranks: {used} GiB in memory together, {planned} GiB planned: within 10 %")


with Work() as work:
    write_spectra(f"{work}/shards", 30, 3)
    published = which == "memory"
    input_file(work, f"""
data: {{path: [{work}/shards]}}
train: {{steps: 20, global_batch: 11, lr: 1.0e-3, warmup_steps: 4, validate_interval: 10}}
""", model="" if published else TINY)
    if which == "ranks":
        ranks(work, sys.argv[2], [int(n) for n in sys.argv[3:]])
    else:
        {"resume": resume, "faults": faults, "numeric": numeric, "refuse": refuse, "memory": memory}[which](work)
finish()
