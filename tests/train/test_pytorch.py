# SPDX-License-Identifier: BSD-3-Clause
"""Six steps of full fine-tuning (and of the heads alone) in float32 against PyTorch's autograd and AdamW, on several rank counts, towers
together and apart: losses within 1e-5 relative, gradient norms, learning rates, the learned temperature and the final weights."""
import math
import sys

from common import *

import syzygy_torch as ref
import torch

torch.set_num_threads(1)
STEPS, BATCH = 6, 10
which, ranks = sys.argv[1], [int(n) for n in sys.argv[2:]]
CASES = {
    "full": dict(freeze_backbones=False, learn_logit_scale=False, tokens="dinov2", clip_grad_norm=1.0),
    "patches": dict(freeze_backbones=False, learn_logit_scale=True, tokens="patches", clip_grad_norm=0.0),
    "heads": dict(freeze_backbones=True, learn_logit_scale=False, tokens="patches", clip_grad_norm=0.3),
}
case = CASES[which]
OPTIONS = dict(lr=2e-3, lr_min=1e-5, warmup_steps=2, weight_decay=0.05, clip_grad_norm=case["clip_grad_norm"],
               learn_logit_scale=case["learn_logit_scale"], freeze_backbones=case["freeze_backbones"])


def reference(image, flux, config, **changed):
    model = ref.random_model(config, seed=3)
    history = ref.train(model, image, flux, STEPS, BATCH, **dict(OPTIONS, **changed))
    return model.state_dict(), history


def worst(mine, history, key):
    return max(abs(m[key] - h[key]) / abs(h[key]) for m, h in zip(mine, history))


with Work() as work:
    image, flux = write_shards(f"{work}/shards", 25, 2)
    config = ref.small_config(tokens=case["tokens"], embedding=32 if which == "full" else 48)
    before = {k: v.clone() for k, v in ref.random_model(config, seed=3).state_dict().items()}
    ref.write_model_file(f"{work}/start.h5", config, before)
    with open(f"{work}/input.yaml", "w") as f:
        f.write(f"""
data: {{path: [{work}/shards], split: all, shuffle: false}}
model: {{file: {work}/start.h5}}
compute: {{precision: float32}}
train: {{steps: {STEPS}, global_batch: {BATCH}, lr: 2.0e-3, lr_min: 1.0e-5, warmup_steps: 2, weight_decay: 0.05, validate_objects: 0,
  clip_grad_norm: {case["clip_grad_norm"]}, freeze_backbones: {str(case["freeze_backbones"]).lower()},
  learn_logit_scale: {str(case["learn_logit_scale"]).lower()}}}
""")
    after, history = reference(image, flux, config)
    _, spoilt = reference(image, flux, config, lr=OPTIONS["lr"] * 1.01, lr_min=OPTIONS["lr_min"] * 1.01)
    moved = math.sqrt(sum(float(((after[k] - before[k]).double() ** 2).sum()) for k in after))
    print("losses", [round(h["loss"], 6) for h in history], flush=True)
    for n in ranks:
        for towers in ["together"] + (["apart"] if n > 1 else []):
            name = f"{towers}-{n}"
            code, text = run(n, arguments(work, name, parallel__towers=towers))
            check(code == 0, f"{n} ranks {towers} end with {code}")
            if code:
                print(text)
                continue
            mine = metrics(f"{work}/{name}")
            check(len(mine) == STEPS, f"{len(mine)} steps")
            difference = worst(mine, history, "loss")
            check(difference < 1e-5, f"{which}, {n} ranks {towers}: losses differ by {difference:.1e} relative (1e-5)")
            difference = worst(mine, history, "grad_norm")
            check(difference < 1e-3, f"{which}, {n} ranks {towers}: gradient norms differ by {difference:.1e} relative (1e-3)")
            check(all(abs(m["lr"] - h["lr"]) <= 1e-12 for m, h in zip(mine, history)), "the same learning rates")
            if case["learn_logit_scale"]:
                difference = max(abs(m["log_logit_scale"] - math.log(h["scale"])) for m, h in zip(mine, history))
                check(difference < 1e-5, f"the learned logarithm of the scale differs by {difference:.1e} (1e-5)")
            with h5py.File(f"{work}/{name}/model.h5") as f:
                names = set()
                f["parameter"].visititems(lambda k, v: names.add(k) if isinstance(v, h5py.Dataset) else None)
                check(names == set(after), f"{len(names)} parameters under the published names")
                off = math.sqrt(sum(float(((torch.as_tensor(f["parameter/" + k][()]) - after[k]).double() ** 2).sum()) for k in after))
                still = all((f["parameter/" + k][()] == before[k].numpy()).all() for k in after if (after[k] == before[k]).all())
            check(off / moved < 0.02, f"{which}, {n} ranks {towers}: weights are off by {off / moved:.1e} of the way they went (2e-2)")
            check(still, "parameters that PyTorch leaves alone are the same bits")
    check(worst(spoilt, history, "loss") > 1e-4, f"the tolerance sees a learning rate 1 % larger ({worst(spoilt, history, 'loss'):.1e})")
finish()
