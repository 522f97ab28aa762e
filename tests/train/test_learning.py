# SPDX-License-Identifier: BSD-3-Clause
"""It learns: on objects whose image and spectrum share two numbers, a tiny model from random weights brings the loss of held-out objects
below log(batch) and finds a held-out spectrum from its image far more often than chance; with frozen random towers the heads alone get better."""
import math

from common import *

with Work() as work:
    write_shards(f"{work}/shards", 400, 2, seed=4)
    write_input(work, f"""
data: {{path: [{work}/shards], split: train}}
train: {{steps: 240, global_batch: 32, lr: 2.0e-3, warmup_steps: 20, validate_interval: 80, clip_grad_norm: 1.0}}
""")
    for name, freeze in [("full", "false"), ("heads", "true")]:
        code, text = run(2, arguments(work, name, train__freeze_backbones=freeze, model__embedding__dropout=0.0), timeout=100)
        check(code == 0, f"{name}: exit code {code}")
        if code:
            print(text)
            continue
        loss = [m["loss"] for m in metrics(f"{work}/{name}")]
        valid = metrics(f"{work}/{name}", "validation.jsonl")
        recall = [v["recall_at_10_image_to_spectrum"] for v in valid]
        print(name, "loss", loss[0], loss[-1], "validation", [v["loss"] for v in valid], "recall@10", recall)
        chance = 10 / valid[-1]["objects"]
        check(valid[-1]["objects"] == 64, f"{valid[-1]['objects']} held-out objects")
        # The heads of random towers learn 320 objects by heart before long: there the training loss and the early retrieval count.
        value, factor = (valid[-1]["loss"], 2.5) if name == "full" else (loss[-1], 1.5)
        check(value < math.log(32) - 0.5, f"{name}: loss {value:.3f}, below log(32) - 0.5")
        check(recall[-1] > factor * chance, f"{name}: recall@10 {recall[-1]:.2f}, chance {chance:.2f}, asked {factor} x")
        best = min(valid, key=lambda v: v["loss"])
        with h5py.File(f"{work}/{name}/model-best.h5") as f, h5py.File(f"{work}/{name}/model.h5") as g:
            same = all((f["parameter"][k][()] == g["parameter"][k][()]).all() for k in g["parameter"])
        check(same == (best["step"] == 240), f"model-best.h5 is the model of step {best['step']}")
finish()
