# SPDX-License-Identifier: BSD-3-Clause
"""Failures of `pretrain-image`: the right exit code on all ranks, a message that names what failed, nothing half-written, the last good checkpoint good;
contradictions in the input are refused before anything is written. Where a run begins: from the seed, from a model file, student and
teacher each from its own; and `align` begins from what it leaves.

    test_pretrain_image_faults.py injected|input|start|memory

memory: what is planned for the published model and recipe is right within 10 %.
"""
import re
import sys

from pretrain_image_common import *


def clean(folder):
    """Leftovers: temporary names, checkpoints without a manifest."""
    found = []
    for top, folders, files in os.walk(folder):
        found += [f"{top}/{n}" for n in files if n.endswith(".tmp")]
        found += [f"{top}/{n}" for n in folders if n.startswith("tmp-step")]
        found += [f"{top}/{n}" for n in folders if n.startswith("step-") and not os.path.exists(f"{top}/{n}/manifest.json")]
    return found


def injected(work):
    """On one rank of three: a bad object, no memory, a NaN in a token, a write that fails. The run goes on afterwards, to the same end."""
    code, text = run(3, arguments(work, "whole"))
    check(code == 0, f"an undisturbed run ends with {code}")
    whole = numbers(f"{work}/whole")
    cases = [("loader_read:1:9", 3, "injected"), ("alloc:2:120", 8, "no memory"), ("dino_token:1:10", 6, "step 9"), ("h5_write:2:14", 4, "injected"),
             ("checkpoint_manifest:0:2", 4, "injected")]
    for k, (fault, expected, said) in enumerate(cases):
        started = time.time()
        keys = dict(run__verify_every=0) if expected == 6 else {}  # verified, a NaN that comes once is mended: below
        code, text = run(3, arguments(work, f"run{k}", **keys), env={"SYZ_FAULT": fault})
        rank = fault.split(":")[1]
        check(code == expected and said in text, f"{fault}: exit code {code} ({expected}), says \"{said}\"")
        if code != expected:
            print(text)
        if expected != 6:
            check(f"rank {rank}" in text or rank == "0", f"{fault}: names rank {rank}")
        check(time.time() - started < 30 and not os.path.exists(f"{work}/run{k}/model.h5"), f"{fault}: soon, and without a model.h5")
        if fault.startswith("dino_token"):
            check(re.search(r"class token of object 390000000000000\d\d is not finite", text), "a NaN: the object is named")
            kept = sorted(os.listdir(f"{work}/run{k}/checkpoints"))
            check(kept == ["step-00000004", "step-00000008"] and len(metrics(f"{work}/run{k}")) == 9, f"a NaN: checkpoints of the steps before it: {kept}")
        code, text = run(3, arguments(work, f"run{k}"))
        check(code == 0 and numbers(f"{work}/run{k}") == whole, f"{fault}: the run goes on and ends as if nothing had happened ({code})")
        if code:
            print(text)
        check(clean(f"{work}/run{k}") == [], f"{fault}: nothing is left behind: {clean(f'{work}/run{k}')}")
    code, text = run(3, arguments(work, "mended"), env={"SYZ_FAULT": "dino_token:1:10"})
    check(code == 0 and "loss nan" in text and "rank 1 on" in text and numbers(f"{work}/mended") == whole,
          f"a NaN that comes once is not there when the step is computed again: {code}")
    if code:
        print(text)


def input_(work):
    refused = [
        (dict(dino__global_size=70), "dino.global_size = 70 is not a multiple of model.image.patch = 12"),
        (dict(dino__local_size=40), "dino.local_size = 40 is not a multiple"),
        (dict(dino__global_crops=1, dino__local_crops=0), "there is nothing to compare"),
        (dict(dino__mask_ratio_min=0.6), "dino.mask_ratio_min = 0.6 must not be above dino.mask_ratio_max"),
        (dict(dino__drop_rate=1), "dino.drop_rate"),
        (dict(dino__centring="median"), "mean|sinkhorn"),
        (dict(dino__dino_weight=0, dino__ibot_weight=0, dino__koleo_weight=0), "one must be positive"),
        (dict(dino__momentun=0.9), "dino.momentum"),
        (dict(model__image__tokens="patches"), "dinov2"),
        (dict(train__lr=1e-4, train__lr_min=1e-3), "train.lr_min"),
        (dict(augment__blur_first=1.5), "augment.blur_first"),
    ]
    for keys, said in refused:
        for dry in (False, True):
            code, text = run(2, arguments(work, "refused", **keys) + ["--dry-run"] * dry)
            check(code == 2 and said in text, f"{keys}{' in a dry run' * dry}: exit code {code}, says \"{said}\"")
            if code != 2 or said not in text:
                print(text)
    check(not os.path.exists(f"{work}/refused"), "and nothing was written")
    # Objects without an image are left out aloud; without any there is nothing to do.
    image, flux = objects(12)
    has = np.ones(12, np.uint8)
    has[::3] = 0
    for name, flags in (("some", has), ("none", has * 0)):
        os.makedirs(f"{work}/{name}")
        write_shard(f"{work}/{name}/a.h5", image, flux, has_image=flags)
    code, text = run(2, arguments(work, "run-some", data__path=f"{work}/some"))
    check(code == 0 and "4 objects have no image" in text, f"objects without an image: {code}")
    code, text = run(2, arguments(work, "run-none", data__path=f"{work}/none"))
    check(code == 3 and "nothing to learn from" in text, f"no object with an image: {code}")
    # More ranks than objects in a batch; a batch larger than the data set; masks and drops switched off.
    code, text = run(4, arguments(work, "few", train__global_batch=2, train__steps=3))
    check(code == 0 and len(metrics(f"{work}/few")) == 3, f"more ranks than objects in a batch: {code}")
    code, text = run(2, arguments(work, "many", train__global_batch=40, train__steps=2))
    check(code == 0 and "is more than the 24 objects" in text, f"a batch larger than the data set: {code}")
    code, text = run(2, arguments(work, "plain", dino__mask_probability=0, dino__drop_rate=0, dino__koleo_weight=0, train__steps=3))
    check(code == 0 and all(m["ibot"] == 0 for m in metrics(f"{work}/plain")), f"without masks there is no ibot: {code}")
    # The plan: defaults of this command, those that follow other keys, memory; nothing else is written.
    with open(f"{work}/bare.yaml", "w") as f:
        f.write(f"data: {{path: [{work}/shards], split: all}}\ntrain: {{global_batch: 64, steps: 5000}}\naugment: {{preset: intended, noise_global: 0.3}}\n"
                "model: {image: {dim: 32, depth: 1, heads: 2}}\n")
    code, text = run(1, ["pretrain-image", f"{work}/bare.yaml", "--dry-run", "--set", f"output.dir={work}/dry"])
    shown = {k: re.search(rf"^  {k}: (\S+)$", text, re.M)[1] for k in ("lr", "warmup_steps", "weight_decay", "weight_decay_end", "clip_grad_norm", "blur_first",
                                                                   "noise_global", "blur_global", "teacher_warmup_steps", "freeze_last_layer_steps", "flips")}
    expected = dict(lr=2e-4 * (64 / 1024) ** 0.5, warmup_steps=500, weight_decay=0.001, weight_decay_end=0.01, clip_grad_norm=3, blur_first=1, noise_global=0.3,
                    blur_global=0.1, teacher_warmup_steps=5000, freeze_last_layer_steps=500)
    check(code == 0 and shown.pop("flips") == "true" and {k: float(v) for k, v in shown.items()} == expected, f"the plan shows what would be used: {shown}")
    check("GiB per rank" in text and "tokens: dinov2" in text and os.listdir(f"{work}/dry") == ["plan.json"], "and what it needs, and writes nothing but plan.json")


def start_(work):
    code, text = run(2, arguments(work, "first"))
    check(code == 0, f"a run from the seed ends with {code}")
    code, text = run(1, ["info", f"{work}/first/model.h5"])
    check(code == 0 and "dino" in text, f"info knows its model.h5: {code}")
    student, teacher = f"{work}/first/model-student.h5", f"{work}/first/model.h5"
    with open(f"{work}/bare.yaml", "w") as f:
        f.write(f"""
data: {{path: [{work}/shards], split: all}}
compute: {{precision: float32}}
dino: {{global_size: 72, local_size: 36, local_crops: 3}}
train: {{steps: 2, global_batch: 4, lr: 1.0e-3, warmup_steps: 1}}
""")

    def bare(name, **keys):
        return ["pretrain-image", f"{work}/bare.yaml"] + arguments(work, name, **keys)[2:]

    # Step 0 has rate 0, so with a teacher that does not move one step leaves both as they began.
    code, text = run(1, bare("both", model__file=student, model__teacher_file=teacher, train__steps=1, dino__momentum=1))
    check(code == 0 and same_weights(f"{work}/both/model.h5", teacher) and same_weights(f"{work}/both/model-student.h5", student),
          f"student and teacher begin each from its own file: {code}")
    if code:
        print(text)
    code, text = run(3, bare("one", model__file=student, train__steps=1, dino__momentum=1))
    check(code == 0 and same_weights(f"{work}/one/model.h5", student), f"one file: both begin from it, on 3 ranks too: {code}")
    with open(f"{work}/one/input.yaml") as f:
        check("prototypes: 700" in f.read(), "the file's configuration rules")
    code, text = run(1, bare("contradiction", model__file=student, model__dino__prototypes=701))
    check(code == 2 and "model.dino.prototypes" in text, f"a contradiction to the file: {code}")
    # Another size of the table of positions: it is interpolated.
    code, text = run(1, bare("size", model__file=student, model__image__size=144, train__steps=1))
    check(code == 0 and weights(f"{work}/size/model.h5")["image_encoder.backbone.pos_embed"].shape == (1, 145, 32), f"a larger table of positions: {code}")
    # Into align, and from its model back again: the backbone without the pooling head.
    with open(f"{work}/align.yaml", "w") as f:
        f.write(f"""
data: {{path: [{work}/shards], split: all}}
compute: {{precision: float32}}
model: {{spectrum: {{dim: 32, depth: 1, heads: 2, section: 200, overlap: 100, max_tokens: 100}}, embedding: {{dim: 32, heads: 4}}}}
train: {{steps: 1, global_batch: 6, warmup_steps: 1, freeze_backbones: false, validate_objects: 0}}
""")
    code, text = run(1, ["align", f"{work}/align.yaml", "--set", f"model.image_file={teacher}", "--set", f"output.dir={work}/aligned"])
    check(code == 0, f"align begins from the teacher: {code}")
    if code:
        print(text)
    mine, theirs = weights(teacher), weights(f"{work}/aligned/model.h5")
    check(all((theirs[k] == v).all() for k, v in mine.items() if k.startswith("image_encoder.backbone")), "with its backbone, bit for bit")
    check(not any(k.startswith("dino_head") for k in theirs), "without its projection head")
    code, text = run(1, ["align", f"{work}/align.yaml", "--set", f"model.image_file={teacher}", "--set", "model.image.tokens=patches", "--set", f"output.dir={work}/quirk"])
    check(code == 0, f"align may feed it patches alone, as AstroCLIP was published: {code}")
    code, text = run(1, bare("back", model__file=f"{work}/aligned/model.h5", train__steps=1, model__dino__prototypes=300, dino__momentum=1))
    check(code == 0 and "no projection head" in text, f"and back: {code}")
    if code:
        print(text)
    back = weights(f"{work}/back/model.h5")
    check(all((back[k] == v).all() for k, v in mine.items() if k.startswith("image_encoder.backbone")), "the same backbone")


def memory(work):
    """Two steps of two images a rank, bfloat16, the published model and recipe; with the judge, on few objects."""
    with open(f"{work}/published.yaml", "w") as f:
        f.write(f"data: {{path: [{work}/shards]}}\ntrain: {{global_batch: 2, steps: 2}}\noutput: {{checkpoint_interval_s: 0}}\n")
    code, text = run(1, ["pretrain-image", f"{work}/published.yaml", "--set", f"output.dir={work}/published"], timeout=380)
    if code == 8:
        skip(f"not enough memory here\n{text}")
    found = re.search(r"planned\), ([0-9.]+) GiB per node \(([0-9.]+) GiB planned\)", text)
    check(code == 0 and found, f"ends with {code}")
    if not found:
        print(text)
        return
    used, planned = float(found[1]), float(found[2])
    check(abs(planned / used - 1) < 0.1, f"{used} GiB in memory, {planned} GiB planned: within 10 %")


with Work() as work:
    write_shards(f"{work}/shards", 24)
    write_pretrain_input(work, "steps: 12, global_batch: 5, lr: 1.0e-3, warmup_steps: 2", output="checkpoint_interval_steps: 4")
    {"injected": injected, "input": input_, "start": start_, "memory": memory}[sys.argv[1]](work)
finish()
