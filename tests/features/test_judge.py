# SPDX-License-Identifier: BSD-3-Clause
"""The judge of pretrain-image: neighbours of class tokens (PyTorch) and of principal components of pixels (scikit-learn), as validation.jsonl tells them."""
import json
import os
import sys

import h5py
import numpy as np
from sklearn.decomposition import PCA
from sklearn.metrics import balanced_accuracy_score, r2_score
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.preprocessing import StandardScaler
import torch

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import check_quietly as check, finish, scratch
from embed_common import run
from probe_common import chosen, features, image_tower, simulate
import syzygy_torch as ref

folder = scratch()
N, TRAIN, TEST, K, COMPONENTS = 200, 130, 30, 16, 10
path, data = simulate(folder, N)
border = N * 8 // 10
train, test = chosen(border, TRAIN), border + chosen(N - border, TEST)
rows = np.concatenate([train, test])
config, model = image_tower(f"{folder}/start.h5")
label = data["label"]
morphology = np.where(label["is_merger"] > 0.5, 3, np.where(label["n_arms"] > 0, 2, np.where(label["bulge_fraction"] > 0.5, 0, 1)))


def figures(x):
    """What neighbours in features x [rows] know of the held-out objects."""
    scaler = StandardScaler().fit(x[:TRAIN])
    z = scaler.transform(x)
    out = {}
    for name in ("redshift", "log_mstar"):
        model = KNeighborsRegressor(K, weights="distance").fit(z[:TRAIN], label[name][train].astype(np.float64))
        out[f"{name}_r2"] = r2_score(label[name][test], model.predict(z[TRAIN:]))
    said = KNeighborsClassifier(K, weights="distance").fit(z[:TRAIN], morphology[train]).predict(z[TRAIN:])
    out["morphology_accuracy"] = (said == morphology[test]).mean()
    out["morphology_balanced_accuracy"] = balanced_accuracy_score(morphology[test], said)
    return out


def compare(line, who, want, what):
    for name, value in want.items():
        near = 1e-4 if name.endswith("_r2") else 1e-9
        got = line[f"{who}_{name}"]
        check(abs(got - value) < near, f"{what}: {who}_{name} is {got}, {value} expected")


keys = {"data.path": path, "model.file": f"{folder}/start.h5", "compute.precision": "float32", "train.steps": 2, "train.global_batch": 4, "train.validate_interval": 1,
        "train.lr": 1e-3, "validate.train_objects": TRAIN, "validate.test_objects": TEST, "validate.neighbours": K, "validate.regress": "[redshift,log_mstar]",
        "validate.pixel_components": COMPONENTS, "validate.batch": 7, "dino.local_crops": 2, "dino.momentum": 0.5, "model.dino.prototypes": 64, "model.dino.hidden": 32,
        "model.dino.bottleneck": 16}
planes = ref.prepare_images(torch.as_tensor(data["image"][rows]), config).numpy().reshape(len(rows), -1).astype(np.float64)
pca = PCA(COMPONENTS, svd_solver="full").fit(planes[:TRAIN])
want_pixels = figures(pca.transform(planes))
want_start = figures(features(model, config, data["image"][rows])[:, 0])
first = None
for ranks in (1, 2, 3, 4):
    out = f"{folder}/run-{ranks}"
    text = run(ranks, "pretrain-image", {**keys, "output.dir": out})
    lines = [json.loads(line) for line in open(f"{out}/validation.jsonl")]
    check([line["step"] for line in lines] == [1, 2], f"two validations: {lines}")
    last = lines[-1]
    if first is None:
        first = lines
        compare(last, "pixels", want_pixels, "pixels")
        compare(last, "start", want_start, "before training")
        # The teacher as the run left it.
        with h5py.File(f"{out}/model.h5") as f:
            state = {k: torch.from_numpy(f["parameter"][k][...]) for k in model.state_dict() if k.startswith("image_encoder.backbone.")}
        model.load_state_dict(state, strict=False)
        want = figures(features(model, config, data["image"][rows])[:, 0])
        compare(last, "knn", want, "after training")
        check(abs(want["redshift_r2"] - want_start["redshift_r2"]) > 1e-4, "training changed something")
        check(abs(last["knn_error"] - (1 - (last["knn_redshift_r2"] + last["knn_log_mstar_r2"]) / 2)) < 1e-12, "figure of the best model")
        check("before training: redshift R2" in text and "components of the pixels" in text, "the baselines are told")
        print({k: round(v, 4) for k, v in last.items()})
    else:
        for a, b in zip(first, lines):
            check(all(abs(a[k] - b[k]) < 1e-5 or ("morphology" in k and abs(a[k] - b[k]) < 0.05) for k in a), f"{ranks} ranks: {b} against {a}")

# Labels that are not there: refused when they were asked for, left out otherwise; no labels at all: no judge, and the run goes on.
text = run(2, "pretrain-image", {**keys, "output.dir": f"{folder}/bad", "validate.classify": "[votes]"}, expect=2)
check("validate.classify" in text and "votes" in text, f"the label is named: {text[-300:]}")
text = run(2, "pretrain-image", {**keys, "output.dir": f"{folder}/fraction", "validate.classify": "[bulge_fraction]"}, expect=2)
check("whole numbers" in text, "classes are whole numbers")
text = run(2, "pretrain-image", {**keys, "output.dir": f"{folder}/many", "validate.regress": "[redshift,log_mstar,log_sfr,age_gyr,log_z,ebv]"}, expect=2)
check("name fewer labels" in text, "not more figures than there is room for")
for bad in ({"validate.classify": "[votes]"}, {"validate.regress": "[redshift,log_mstar,log_sfr,age_gyr,log_z,ebv]"}):
    text = run(2, "pretrain-image", {**keys, "output.dir": f"{folder}/early", **bad}, arguments=["--dry-run"], expect=2)
    text = run(2, "pretrain-image", {**keys, "output.dir": f"{folder}/early", **bad}, expect=2)
    check(not os.path.exists(f"{folder}/early"), f"{bad}: refused in a dry run too, and before anything is written")
with h5py.File(path) as f:
    plain = {k: f[k][...] for k in ("image", "spectrum", "spectrum_ivar", "object_id", "ra", "dec", "has_image", "has_spectrum")}
with h5py.File(f"{folder}/plain.h5", "w") as f:
    f.attrs["syzygy_format"] = "shard"
    for k, v in plain.items():
        f[k] = v
bare = {k: v for k, v in keys.items() if k != "validate.regress"}
text = run(2, "pretrain-image", {**bare, "data.path": f"{folder}/plain.h5", "output.dir": f"{folder}/bare"})
check("no validation by neighbours" in text and "left out" in text, "a data set without labels is said")
# A label that is there but known nowhere: refused when it was asked for, left out otherwise; the other figure still chooses the best model.
with h5py.File(f"{folder}/unknown.h5", "w") as f:
    f.attrs["syzygy_format"] = "shard"
    for k, v in plain.items():
        f[k] = v
    f["label/redshift"] = np.full(N, np.nan, np.float32)
    f["label/morphology"] = (np.arange(N) % 3).astype(np.float32)
text = run(2, "pretrain-image", {**bare, "data.path": f"{folder}/unknown.h5", "output.dir": f"{folder}/unknown"})
line = json.loads(open(f"{folder}/unknown/validation.jsonl").readline())
check("label/redshift is unknown" in text and "knn_redshift_r2" not in line and 0 < line["knn_error"] < 1, f"a label that is known nowhere is left out: {line}")
check(os.path.exists(f"{folder}/unknown/model-best.h5"), "and the best model is kept all the same")
text = run(2, "pretrain-image", {**bare, "data.path": f"{folder}/unknown.h5", "output.dir": f"{folder}/bad", "validate.regress": "[redshift]"}, expect=2)
check("validate.regress: label/redshift is unknown" in text, f"or refused: {text[-300:]}")
finish()
