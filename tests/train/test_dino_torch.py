# SPDX-License-Identifier: BSD-3-Clause
"""Three full steps of `pretrain-image` in float32 against PyTorch's autograd and AdamW in float64, on several rank counts, from the crops, masks and kept
crops that the program draws (dino_driver): every loss term, gradient norms, learning rates, schedules, and the final weights of student and teacher.

    test_dino_torch.py CASE RANKS...        `shared`, `separate` or `plain`, see CASES
"""
import math
import sys

from common import *

import syzygy_dino as dino
import torch

torch.set_num_threads(1)
STEPS, BATCH, OBJECTS, SEED = 3, 7, 17, 41
which, ranks = sys.argv[1], [int(n) for n in sys.argv[2:]]
# Every part of the method is on in one case or the other; values are far from the published ones where that makes a fault show.
CASES = {
    "shared": dict(  # moving centres, one head, crops of the size of the table of positions, nothing dropped, last layer frozen in the first step
        image=dict(dim=32, depth=3, heads=4, patch=12, size=72, layerscale=0.5), dino=dict(layers=3, hidden=40, bottleneck=16, prototypes=1500),
        crops=dict(global_size=72, global_crops=2, local_size=36, local_crops=3), drop_rate=0.0,
        options=dict(centring="mean", freeze_last_layer_steps=1, clip_grad_norm=0.3, layer_decay=0.8, momentum=0.9, dino_weight=1.0, ibot_weight=1.0)),
    "separate": dict(  # Sinkhorn-Knopp, two heads, registers, all positions interpolated, stochastic depth, weights of terms, a converted checkpoint, passes with a rest
        micro_batch=2,
        image=dict(dim=32, depth=3, heads=4, patch=12, size=60, layerscale=0.5, registers=2), dino=dict(layers=2, hidden=40, bottleneck=16, prototypes=50, ibot_head="separate"),
        crops=dict(global_size=72, global_crops=2, local_size=48, local_crops=4), drop_rate=0.3,
        options=dict(centring="sinkhorn", freeze_last_layer_steps=0, clip_grad_norm=0.3, layer_decay=0.9, momentum=0.95, dino_weight=0.8, ibot_weight=1.3)),
    "plain": dict(  # what is left out: no local crops, no LayerScale, no hidden layer in the head, no clipping; three global crops, every one masked
        image=dict(dim=24, depth=2, heads=3, patch=12, size=48, layerscale=0.0), dino=dict(layers=1, bottleneck=16, prototypes=90),
        crops=dict(global_size=60, global_crops=3, local_size=24, local_crops=0, mask_probability=1.0), drop_rate=0.0,
        options=dict(centring="mean", freeze_last_layer_steps=2, clip_grad_norm=0.0, layer_decay=1.0, momentum=0.9, dino_weight=1.0, ibot_weight=1.0)),
}
case = CASES[which]
OPTIONS = dino.options(steps=STEPS, warmup_steps=0, lr=2e-3, lr_min=1e-4, weight_decay=6.0, weight_decay_end=10.0, koleo_weight=0.4, drop_rate=case["drop_rate"],
                       teacher_temperature_start=0.05, teacher_temperature=0.08, teacher_warmup_steps=2, momentum_end=1.0, **case["options"])
TERMS = ("loss", "dino_global", "dino_local", "ibot", "koleo")
GUARDS = ("target_entropy", "mean_target_entropy", "target_entropy_patch", "mean_target_entropy_patch", "embedding_spread")
NORMS = ("grad_norm", "grad_norm_backbone", "grad_norm_dino_head") + (("grad_norm_ibot_head",) if which == "separate" else ())
SCHEDULES = ("lr", "weight_decay", "momentum", "teacher_temperature")
# Measured: terms within 4e-7, norms within 4e-6, weights within 3e-5; the smallest fault below is one of 7e-5 in the terms.
LOSS_LIMIT, WEIGHT_LIMIT = 1e-5, 5e-4


def start(config):
    """Student and teacher, which differ."""
    return dino.random_network(config, 3), dino.random_network(config, 4)


def reference(config, inputs, **changed):
    student, teacher = start(config)
    student.double(), teacher.double()
    history = dino.train(student, teacher, inputs, dict(OPTIONS, **changed))
    return student.state_dict(), teacher.state_dict(), history


def write_start(work, config):
    """The two model files: written directly, or through a checkpoint as DINOv2 saves it and tools/convert-checkpoint."""
    student, teacher = start(config)
    if which != "separate":
        dino.write_model_file(f"{work}/student.h5", student)
        dino.write_model_file(f"{work}/teacher.h5", teacher)
        return
    state = {f"{branch}.{k.replace('image_encoder.', '')}": v for branch, network in (("student", student), ("teacher", teacher)) for k, v in network.state_dict().items()}
    torch.save({"model": state, "iteration": 9}, f"{work}/training.pth")
    for branch in ("student", "teacher"):
        subprocess.run([os.path.join(SOURCE, "tools", "convert-checkpoint"), "to-model", f"{work}/training.pth", f"{work}/{branch}.h5", "--branch", branch, "--set",
                        "image.heads=4", "--set", f"image.layerscale={case['image']['layerscale']}"], check=True, stdout=subprocess.DEVNULL)


def draw_inputs(work):
    names = dict(case["crops"], seed=SEED, steps=STEPS, batch=BATCH, shuffle=0, patch=case["image"]["patch"], depth=case["image"]["depth"], drop_rate=case["drop_rate"],
                 blur_first=0.2, blur_global=0.9, blur_local=0.5, noise_first=0.1, noise_global=0.8, noise_local=0.4)
    done = launch(None, driver("dino_driver"), f"{work}/inputs.h5", f"{work}/shards", *[f"{k}={v}" for k, v in names.items()], stderr=subprocess.STDOUT)
    if done.returncode:
        print(done.stdout)
        sys.exit(1)
    return dino.read_inputs(f"{work}/inputs.h5")


def flow(keys):
    return "{" + ", ".join(f"{k}: {v}" for k, v in keys.items()) + "}"


def write_run_input(work):
    o, c = OPTIONS, case["crops"]
    with open(f"{work}/input.yaml", "w") as f:
        f.write(f"""
seed: {SEED}
data: {{path: [{work}/shards], split: all, shuffle: false}}
model: {{file: {work}/student.h5, teacher_file: {work}/teacher.h5}}
compute: {{precision: float32}}
train: {{steps: {o["steps"]}, global_batch: {BATCH}, micro_batch: {case.get("micro_batch", 0)}, lr: {o["lr"]}, lr_min: {o["lr_min"]}, warmup_steps: 0, weight_decay: {o["weight_decay"]},
  weight_decay_end: {o["weight_decay_end"]}, beta1: {o["beta1"]}, beta2: {o["beta2"]}, clip_grad_norm: {o["clip_grad_norm"]}}}
augment: {{flips: true, quarter_turns: true, blur_first: 0.2, blur_global: 0.9, blur_local: 0.5, noise_first: 0.1, noise_global: 0.8, noise_local: 0.4}}
dino: {flow(dict(c, drop_rate=o["drop_rate"], dino_weight=o["dino_weight"], ibot_weight=o["ibot_weight"], koleo_weight=o["koleo_weight"], centring=o["centring"],
                 sinkhorn_iterations=o["sinkhorn_iterations"], centre_momentum=o["centre_momentum"], student_temperature=o["student_temperature"],
                 teacher_temperature_start=o["teacher_temperature_start"], teacher_temperature=o["teacher_temperature"],
                 teacher_warmup_steps=o["teacher_warmup_steps"], momentum=o["momentum"], momentum_end=o["momentum_end"], layer_decay=o["layer_decay"],
                 patch_lr_factor=o["patch_lr_factor"], freeze_last_layer_steps=o["freeze_last_layer_steps"]))}
""")


def worst(mine, history, keys):
    """Largest relative difference of any of the keys in any step."""
    return max(abs(m[k] - h[k]) / abs(h[k]) for m, h in zip(mine, history) for k in keys)


def distance(a, b):
    """Between two networks, the keys' biases left out: attention does not depend on them, so their gradient is rounding, which AdamW makes a full step of."""
    total = 0.0
    for name in b:
        difference = torch.as_tensor(a[name]).double() - torch.as_tensor(b[name]).double()
        if name.endswith("attn.qkv.bias"):
            difference.view(3, -1)[1] = 0
        total += float((difference**2).sum())
    return math.sqrt(total)


with Work() as work:
    write_shards(f"{work}/shards", OBJECTS, 2)
    config = dino.make_config(case["image"], case["dino"])
    write_start(work, config)
    write_run_input(work)
    inputs = draw_inputs(work)
    shown = [key for key in TERMS if key != "dino_local" or case["crops"]["local_crops"]]
    check(all((step["index"] == (np.arange(BATCH) + s * BATCH) % OBJECTS).all() for s, step in enumerate(inputs)), "objects in order")
    before = [network.state_dict() for network in start(config)]
    *after, history = reference(config, inputs)
    print("terms", {k: [round(h[k], 5) for h in history] for k in TERMS + ("grad_norm_backbone", "grad_norm_dino_head")}, flush=True)
    check(all(h[k] > OPTIONS["clip_grad_norm"] for h in history for k in NORMS), "clipping is active in every group and step, where it is on")
    for n in ranks:
        code, text = run(n, ["pretrain-image", f"{work}/input.yaml", "--set", f"output.dir={work}/run-{n}"], timeout=100)
        check(code == 0, f"{n} ranks end with {code}")
        if code:
            print(text)
            continue
        mine = metrics(f"{work}/run-{n}")
        check(len(mine) == STEPS, f"{len(mine)} steps")
        for keys, limit in ((shown, LOSS_LIMIT), (GUARDS, 1e-5), (NORMS, 1e-4), (SCHEDULES, 1e-12)):
            difference = worst(mine, history, keys)
            check(difference < limit, f"{which}, {n} ranks: {', '.join(keys)} differ by {difference:.1e} relative ({limit:.0e})")
        for name, file, i in (("student", "model-student.h5", 0), ("teacher", "model.h5", 1)):
            found, went = dino.load_network(f"{work}/run-{n}/{file}").state_dict(), distance(before[i], after[i])
            check(set(found) == set(after[i]), f"{name}: {len(found)} parameters under the published names")
            off = distance(found, after[i])
            check(off < WEIGHT_LIMIT * went, f"{which}, {n} ranks: weights of the {name} are off by {off / went:.1e} of the way they went ({WEIGHT_LIMIT:.0e})")
            check(bool((found["dino_head.last_layer.weight_g"] == 1).all()), f"{name}: gains of 1")
    # Whether a fault of 1 % would have been seen, in a term or in the weights; clipping is seen by its absence, because AdamW does not mind a factor.
    faults = {key: OPTIONS[key] * (0.99 if key in ("momentum", "beta1") else 1.01)
              for key in ("lr", "weight_decay", "beta1", "layer_decay", "patch_lr_factor", "momentum", "koleo_weight", "dino_weight", "ibot_weight", "student_temperature",
                          "teacher_temperature", "teacher_temperature_start")}
    faults.update(clip_grad_norm=0.0 if OPTIONS["clip_grad_norm"] else 0.3, **({"centre_momentum": 0.909} if OPTIONS["centring"] == "mean" else {"sinkhorn_iterations": 2}))
    for key, value in faults.items():
        *wrong, wrong_history = reference(config, inputs, **{key: value})
        in_terms = worst(wrong_history, history, shown)
        in_weights = max(distance(w, a) / distance(b, a) for w, a, b in zip(wrong, after, before))
        check(in_terms > 2 * LOSS_LIMIT or in_weights > 2 * WEIGHT_LIMIT, f"{key} = {value:.4g} for {OPTIONS[key]:.4g} would show: terms {in_terms:.1e}, weights {in_weights:.1e}")
finish()
