# SPDX-License-Identifier: BSD-3-Clause
"""probe dense: truth a patch by NumPy, features by PyTorch, heads by scikit-learn; on 1, 2, 3 and 4 ranks; pictures; what is refused."""
import glob
import json
import os
import sys

import h5py
import numpy as np
from PIL import Image
from scipy.optimize import minimize
from sklearn.linear_model import Ridge
from sklearn.metrics import jaccard_score, r2_score
from sklearn.preprocessing import StandardScaler
import torch

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import check_quietly as check, finish, scratch
from embed_common import run, write_shard
from probe_common import chosen, features, image_tower, simulate
import syzygy_torch as ref

NAMES = ["background", "bulge", "disk", "bar", "arms", "companion", "neighbour", "artefact"]
folder = scratch()
N, TRAIN, TEST, L2, RIDGE = 160, 100, 30, 1e-3, 1e-3
path, data = simulate(folder, N)
border = N * 8 // 10
config, model = image_tower(f"{folder}/model.h5")
pick = [chosen(border, TRAIN), border + chosen(N - border, TEST)]


def truth(rows):
    """Class and numbers of each patch."""
    pixel = data["segment"][rows][:, 4:148, 4:148]
    blocks = pixel.reshape(len(rows), 12, 12, 12, 12).transpose(0, 1, 3, 2, 4).reshape(-1, 144)
    label = np.array([np.bincount(b, minlength=8).argmax() for b in blocks])
    red = data["image"][rows][:, 1, 4:148, 4:148].astype(np.float64)
    mean = red.reshape(len(rows), 12, 12, 12, 12).mean((2, 4))
    bright = np.arcsinh(mean / data["label"]["noise_r"][rows][:, None, None].astype(np.float64))
    centre = (np.arange(12) - 5.5) * 12
    distance = np.hypot(centre[:, None], centre[None])[None] * 0.262 / data["label"]["half_light_radius"][rows][:, None, None].astype(np.float64)
    return pixel, label, np.stack([bright, distance, np.log1p(distance)], -1).reshape(-1, 3)


def fit_softmax(z, label, weight, l2):
    """The same objective by SciPy; weights of the classes that are there."""
    names = np.unique(label)
    onehot = (label[:, None] == names).astype(float)
    w = weight[label] / weight[label].sum()

    def loss(theta):
        t = theta.reshape(len(names), -1)
        logit = z @ t[:, :-1].T + t[:, -1]
        logit -= logit.max(1, keepdims=True)
        log_p = logit - np.log(np.exp(logit).sum(1, keepdims=True))
        d = w[:, None] * (np.exp(log_p) - onehot)
        gradient = np.concatenate([d.T @ z + l2 * t[:, :-1], d.sum(0)[:, None]], 1)
        return -(w[:, None] * onehot * log_p).sum() + l2 / 2 * (t[:, :-1] ** 2).sum(), gradient.ravel()

    best = minimize(loss, np.zeros(len(names) * (z.shape[1] + 1)), jac=True, method="L-BFGS-B", options={"maxiter": 5000, "maxfun": 10000, "ftol": 1e-15, "gtol": 1e-8, "maxcor": 30})
    return names, best.x.reshape(len(names), -1)


token = [features(model, config, data["image"][rows])[:, 1:].reshape(-1, config["image"]["dim"]) for rows in pick]
pixel, label, number = zip(*(truth(rows) for rows in pick))
scaler = StandardScaler().fit(token[0])
z = [scaler.transform(t) for t in token]


def expected(weight):
    names, t = fit_softmax(z[0], label[0], weight, L2)
    logit = z[1] @ t[:, :-1].T + t[:, -1]
    grid = torch.as_tensor(logit.reshape(len(pick[1]), 12, 12, -1)).permute(0, 3, 1, 2)
    fine = torch.nn.functional.interpolate(grid, size=(144, 144), mode="bilinear", align_corners=False).argmax(1).numpy()
    return names[logit.argmax(1)], names[fine]


want_class, want_pixel = expected(np.ones(8))
ridge = Ridge(alpha=RIDGE * len(z[0]), solver="cholesky").fit(z[0], number[0])
want_number = ridge.predict(z[1])
keys = {"data.path": path, "model.file": f"{folder}/model.h5", "compute.precision": "float32", "probe.train_objects": TRAIN, "probe.test_objects": TEST, "probe.l2": L2,
        "probe.ridge": RIDGE, "probe.tolerance": 1e-8, "probe.iterations": 5000, "probe.pictures": 3, "probe.compare_untrained": "false"}
with open(f"{folder}/dense.yaml", "w") as f:
    f.write("probe: {batch: 5}\n")
first = None
for ranks in (1, 2, 3, 4):
    out = f"{folder}/probe-{ranks}"
    text = run(ranks, "probe", {**keys, "output.dir": out}, arguments=["dense", f"{folder}/dense.yaml"])
    figures = json.load(open(f"{out}/probe.json"))
    m = figures["models"][0]
    with h5py.File(f"{out}/dense.h5") as f:
        check(f.attrs["syzygy_format"] == "dense" and all(w in f[k].attrs for k in f for w in ("units", "description", "checksum")), "attributes of dense.h5")
        got = {k: f[k][...] for k in f}
    if first is None:
        first, first_m = got, m
        check(m["fit"]["has_converged"] and len(figures["models"]) == 1 and m["weights"] == "trained", f"converged: {m['fit']}")
        check((got["object_id"] == data["object_id"][pick[1]]).all(), "held-out objects, in order")
        check((got["class_true"].ravel() == label[1]).all(), "true classes")
        check(np.allclose(got["target_true"].reshape(-1, 3), number[1], rtol=2e-5, atol=2e-5), f"true numbers differ by {np.abs(got['target_true'].reshape(-1, 3) - number[1]).max()}")
        wrong = (got["class_predicted"].ravel() != want_class).mean()
        check(wrong < 1e-3, f"{wrong:.2%} of the predicted classes differ from SciPy's")
        difference = np.abs(got["target_predicted"].reshape(-1, 3) - want_number).max(0) / number[1].std(0)
        check((difference < 1e-3).all(), f"predicted numbers differ by {difference} deviations")
        for t, name in enumerate(("surface_brightness", "distance", "log_distance")):
            r2 = r2_score(number[1][:, t], want_number[:, t])
            check(abs(m["r2"][name] - r2) < 1e-4, f"R2 of {name}: {m['r2'][name]}, {r2} expected")
        for what, y, p in (("patches", label[1], want_class), ("pixels", pixel[1].ravel(), want_pixel.ravel())):
            there = np.union1d(y, p)
            iou = jaccard_score(y, p, average=None, labels=there)
            for k, v in zip(there, iou):
                check(abs(m[what]["iou"][NAMES[k]] - v) < 5e-3, f"IoU of {what}, {NAMES[k]}: {m[what]['iou'][NAMES[k]]}, {v} expected")
            check(abs(m[what]["mean_iou"] - iou.mean()) < 2e-3 and abs(m[what]["accuracy"] - (y == p).mean()) < 1e-3, f"{what}: {m[what]['mean_iou']}, {iou.mean()} expected")
            check(all(m[what]["iou"][NAMES[k]] is None for k in range(8) if k not in there), "a class that is nowhere has no figure")
        print(f"mean IoU {m['patches']['mean_iou']:.4f}, R2 {m['r2']}, {m['fit']['iterations']} iterations")
        # Pictures: the image, then segments in their colours, north up.
        pictures = sorted(glob.glob(f"{out}/dense-*.png"))
        check([os.path.basename(p) for p in pictures] == [f"dense-{i:05d}-{data['object_id'][pick[1][i]]}.png" for i in range(3)], f"three pictures: {pictures}")
        panels = np.asarray(Image.open(pictures[1]))
        check(panels.shape == (144, 5 * 150 - 6, 3), f"a picture of five panels: {panels.shape}")
        planes = ref.prepare_images(torch.as_tensor(data["image"][pick[1][1:2]]), config)[0].numpy()
        check(np.abs(panels[:, :144] - planes[:, ::-1].transpose(1, 2, 0) * 255).max() < 0.52, "the image")
        colours = np.array([[int(figures["colours"][n][i:i + 2], 16) for i in (1, 3, 5)] for n in NAMES])
        check((panels[:, 150:294] == colours[pixel[1][1][::-1]]).all(), "true segments")
        check((panels[:, 300:444] != colours[want_pixel[1][::-1]]).any(2).mean() < 3e-3, "predicted segments")
    else:
        check((got["class_predicted"] != first["class_predicted"]).mean() < 1e-4 and np.allclose(got["target_predicted"], first["target_predicted"], rtol=1e-5, atol=1e-5),
              f"{ranks} ranks: predictions differ from 1 rank")
        check(abs(m["patches"]["mean_iou"] - first_m["patches"]["mean_iou"]) < 1e-5 and abs(m["fit"]["loss"] / first_m["fit"]["loss"] - 1) < 1e-5,
              f"{ranks} ranks: {m['patches']['mean_iou']} against {first_m['patches']['mean_iou']}")
        check(all(abs(m["r2"][k] - first_m["r2"][k]) < 1e-6 for k in m["r2"]), f"{ranks} ranks: other R2")

# Class weights: balanced as scikit-learn does it, and by number.
counts = np.bincount(label[0], minlength=8)
balanced = np.where(counts > 0, counts.sum() / ((counts > 0).sum() * np.maximum(counts, 1)), 0)
for given, weight in (("balanced", balanced), ("[1,2,2,0,2,2,3,1]", np.array([1, 2, 2, 0, 2, 2, 3, 1.0]))):
    run(2, "probe", {**keys, "output.dir": f"{folder}/weighted", "probe.class_weights": given, "probe.pictures": 0})
    with h5py.File(f"{folder}/weighted/dense.h5") as f:
        got = f["class_predicted"][...].ravel()
    if (weight[counts > 0] > 0).all():
        want = expected(weight)[0]
        check((got != want).mean() < 2e-3 and (want != want_class).mean() > 0.01, f"{given}: {(got != want).mean():.2%} differ")
    else:
        check(3 not in got, "a class of weight 0 is not found")

# Trained against untrained; untrained alone is the same; without a file the model's section says what the net is.
run(2, "probe", {**keys, "output.dir": f"{folder}/both", "probe.compare_untrained": "true"})
both = json.load(open(f"{folder}/both/probe.json"))["models"]
run(3, "probe", {**keys, "output.dir": f"{folder}/untrained", "probe.model": "untrained"})
alone = json.load(open(f"{folder}/untrained/probe.json"))["models"]
check([m["weights"] for m in both] == ["trained", "untrained"] and both[0]["patches"]["mean_iou"] == json.load(open(f"{folder}/probe-2/probe.json"))["models"][0]["patches"]["mean_iou"],
      "both, and the trained one as before")
check(abs(both[1]["patches"]["mean_iou"] - alone[0]["patches"]["mean_iou"]) < 1e-5 and both[1]["r2"] != both[0]["r2"], "the untrained one is the same alone")
own = {k: v for k, v in keys.items() if k != "model.file"}
own.update({f"model.image.{k}": config["image"][k] for k in ("dim", "depth", "heads", "patch", "size", "tokens", "layerscale")})
run(2, "probe", {**own, "output.dir": f"{folder}/section", "probe.model": "untrained"})
section = json.load(open(f"{folder}/section/probe.json"))["models"]
check(abs(section[0]["patches"]["mean_iou"] - alone[0]["patches"]["mean_iou"]) < 1e-5, "by the model: section")

# bfloat16, a spectrum beside it, registers: runs, and comes out near.
run(2, "probe", {**keys, "output.dir": f"{folder}/bf16", "compute.precision": "bfloat16"})
near = json.load(open(f"{folder}/bf16/probe.json"))["models"][0]
check(abs(near["patches"]["mean_iou"] - first_m["patches"]["mean_iou"]) < 0.03, "bfloat16 comes out near")

# What cannot be: the code, and what is named.
image, flux = ref.random_images(20, 1), ref.random_flux(20, 2)
write_shard(f"{folder}/plain.h5", image, flux, np.arange(20))
full = ref.small_config()
ref.write_model_file(f"{folder}/spectrum.h5", full, {k: v for k, v in ref.random_model(full, 1).state_dict().items() if k.startswith("spectrum")})
for code, change, name in [
    (2, {"model.file": ""}, "model.file"), (3, {"model.file": f"{folder}/spectrum.h5"}, "no image tower"), (3, {"data.path": f"{folder}/plain.h5"}, "no segment maps"),
    (2, {"probe.class_weights": "[1,2]"}, "probe.class_weights"), (2, {"probe.class_weights": "[1,2,x,1,1,1,1,1]"}, "of disk"), (2, {"data.path": "[]"}, "data.path"),
    (2, {"probe.task": "dance"}, "probe.task"), (3, {"model.file": f"{folder}/absent.h5"}, "absent.h5"),
]:
    text = run(3, "probe", {**keys, **change, "output.dir": f"{folder}/bad"}, expect=code)
    check(name in text, f"the message names {name}: {text[-400:]}")
    check(not os.path.exists(f"{folder}/bad/probe.json"), "nothing is written")
# An object that cannot be read on one rank ends all of them.
text = run(3, "probe", {**keys, "output.dir": f"{folder}/bad"}, expect=3, SYZ_FAULT="loader_read:2:9")
check("rank 2" in text and "object 39627" in text and not os.path.exists(f"{folder}/bad/probe.json"), f"the rank and the object are named: {text[-400:]}")
text = run(2, "probe", {**keys, "output.dir": f"{folder}/bad"}, arguments=["waves"], expect=2)
check("probe.task" in text and "dense" in text, "an unknown task is named")
text = run(1, "probe", {**keys, "output.dir": f"{folder}/dry"}, arguments=["dense", "--dry-run"])
check(not os.path.exists(f"{folder}/dry"), "a dry run writes nothing")
finish()
