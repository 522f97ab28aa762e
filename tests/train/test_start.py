# SPDX-License-Identifier: BSD-3-Clause
"""Where a run begins: from the seed, from a model file, from two files of one tower each: the same weights give the same first loss, whatever
file they came from and however the towers are laid out; the file's configuration rules, and a contradiction is refused by name. The example
inputs are understood."""
import re

from common import *

ROOT = os.environ.get("SYZYGY_SOURCE", ".")
with Work() as work:
    write_shards(f"{work}/shards", 30)
    write_input(work, f"""
data: {{path: [{work}/shards], split: all}}
train: {{steps: 3, global_batch: 8, lr: 1.0e-3, warmup_steps: 1, validate_objects: 0, freeze_backbones: false}}
""")
    code, text = run(1, arguments(work, "first", train__steps=20))
    check(code == 0, f"a run from the seed ends with {code}")
    with h5py.File(f"{work}/first/model.h5") as f:
        for tower in ("image", "spectrum"):
            with h5py.File(f"{work}/{tower}.h5", "w") as g:
                for k, v in f.attrs.items():
                    if k != "checksum":  # of the attributes: not that of what is written here
                        g.attrs[k] = v
                for k, v in f["parameter"].items():
                    if k.startswith(tower):
                        g["parameter/" + k] = v[()]
    # An input without a model section: the files bring their own.
    with open(f"{work}/bare.yaml", "w") as f:
        f.write(f"""
data: {{path: [{work}/shards], split: all}}
compute: {{precision: float32}}
train: {{steps: 3, global_batch: 8, lr: 1.0e-3, warmup_steps: 1, validate_objects: 0, freeze_backbones: false}}
""")

    def bare(name, **keys):
        return ["align", f"{work}/bare.yaml"] + arguments(work, name, **keys)[2:]

    whole = dict(model__file=f"{work}/first/model.h5")
    parts = dict(model__image_file=f"{work}/image.h5", model__spectrum_file=f"{work}/spectrum.h5")
    first = {}
    for name, ranks, keys in [("whole", 1, whole), ("parts", 1, parts), ("whole-apart", 3, dict(whole, parallel__towers="apart")),
                              ("parts-apart", 3, dict(parts, parallel__towers="apart")), ("seed", 1, None)]:
        code, text = run(ranks, bare(name, **keys) if keys else arguments(work, name))
        check(code == 0, f"{name}: exit code {code}")
        if code:
            print(text)
            continue
        first[name] = metrics(f"{work}/{name}")[0]["loss"]
        with open(f"{work}/{name}/input.yaml") as f:
            check("section: 200" in f.read(), f"{name}: the resolved input has the model's configuration")
    check(len({first[k] for k in ("whole", "parts", "whole-apart", "parts-apart")}) == 1 and first["seed"] != first["whole"],
          f"first losses: {first}")
    code, text = run(1, bare("contradiction", model__spectrum__depth=3, **whole))
    check(code == 2 and "model.spectrum.depth" in text and "model.h5" in text, f"a contradiction to the file: {code}")
    code, text = run(1, bare("dropout", model__embedding__dropout=0.5, **whole))
    check(code == 0 and metrics(f"{work}/dropout")[0]["loss"] != first["whole"], f"another dropout is allowed, and acts: {code}")
    code, text = run(1, bare("both", **whole, **parts))
    check(code == 2 and "model.image_file" in text, f"a whole model and its parts: {code}")
    code, text = run(1, bare("swapped", model__image_file=f"{work}/spectrum.h5"))
    check(code == 3 and "image" in text and "spectrum.h5" in text, f"a file of the wrong tower: {code}")
    code, text = run(1, ["align", f"{ROOT}/inputs/align.yaml", "--dry-run", "--set", f"data.path={work}/shards", "--set", "model.image_file=",
                         "--set", "model.spectrum_file=", "--set", "train.global_batch=8", "--set", f"output.dir={work}/dry"])
    check(code == 0 and "370" in text, f"inputs/align.yaml is understood: {code}")
    if code:
        print(text)
    # A run that ends within its warm-up, and the defaults that follow other keys: the same in the plan, in the resolved input and in the run.
    code, text = run(1, arguments(work, "warm", train__warmup_steps=10))
    check(code == 0 and all(abs(m["lr"] - 1e-4 * m["step"]) < 1e-12 for m in metrics(f"{work}/warm")), f"a warm-up longer than the run: {code}")
    with open(f"{work}/follow.yaml", "w") as f:
        f.write(f"data: {{path: [{work}/shards], split: all}}\ntrain: {{steps: 20, global_batch: 8, lr: 1.0e-3, freeze_backbones: false}}\n{MODEL}")
    code, text = run(1, ["align", f"{work}/follow.yaml", "--dry-run", "--set", f"output.dir={work}/follow"])
    check(code == 0 and re.search(r"^  warmup_steps: 2$", text, re.M) and abs(float(re.search(r"^  lr_min: (\S+)$", text, re.M)[1]) - 2e-6) < 1e-15,
          f"a plan shows what would be used: {code}")
    code, text = run(1, ["align", f"{work}/follow.yaml", "--set", f"output.dir={work}/follow"])
    check(code == 0 and abs(metrics(f"{work}/follow")[1]["lr"] - 5e-4) < 1e-15, f"and a run uses it: {code}")
    code, text = run(2, ["align", f"{ROOT}/inputs/align-small.yaml", "--set", f"data.path={work}/shards", "--set", "train.global_batch=8", "--set",
                         "train.steps=3", "--set", "train.warmup_steps=0", "--set", f"output.dir={work}/small"])
    check(code == 0, f"inputs/align-small.yaml runs: {code}")
    if code:
        print(text)
finish()
