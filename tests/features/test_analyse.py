# SPDX-License-Identifier: BSD-3-Clause
"""analyse patches: features by PyTorch, components by NumPy; maps, colours and pictures; 1, 2, 3 and 4 ranks, LAPACK and ScaLAPACK."""
import glob
import os
import sys

import h5py
import numpy as np
from PIL import Image
import torch

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import check_quietly as check, finish, scratch
from embed_common import run
from probe_common import chosen, features, image_tower, simulate
import syzygy_torch as ref

folder = scratch()
N, BATCH, K = 40, 25, 6
path, data = simulate(folder, N)
rows = chosen(N, BATCH)
for tokens in ("dinov2", "patches"):
    config, model = image_tower(f"{folder}/{tokens}.h5", tokens=tokens)
    x = features(model, config, data["image"][rows])[:, -144:].reshape(-1, config["image"]["dim"])
    mean = x.mean(0)
    _, s, v = np.linalg.svd(x - mean, full_matrices=False)
    v = v[:K] * np.sign(v[np.arange(K), np.abs(v[:K]).argmax(1)])[:, None]
    ratio = s**2 / (s**2).sum()
    y = ((x - mean) @ v.T).reshape(BATCH, 12, 12, K)
    low, high = np.percentile(y[..., :3].reshape(-1, 3), [2, 98], axis=0)
    colour = np.clip((y[..., :3] - low) / (high - low), 0, 1) * 255
    keys = {"data.path": path, "model.file": f"{folder}/{tokens}.h5", "compute.precision": "float32", "analyse.objects": BATCH, "analyse.components": K, "analyse.pictures": 4}
    first = None
    for ranks, solver in [(1, 1536), (2, 1536), (3, 1536), (4, 1536), (1, 1), (2, 1), (3, 1), (4, 1)] if tokens == "dinov2" else [(2, 1536)]:
        out = f"{folder}/{tokens}-{ranks}-{solver}"
        run(ranks, "analyse", {**keys, "analyse.scalapack_from": solver, "output.dir": out}, arguments=["patches"] if ranks == 2 else [])
        with h5py.File(f"{out}/patches.h5") as f:
            check(f.attrs["syzygy_format"] == "patches" and all(w in f[k].attrs for k in f for w in ("units", "description", "checksum")), "attributes")
            got = {k: f[k][...] for k in f}
        what = f"{tokens}, {ranks} ranks, {'LAPACK' if solver > 1 else 'ScaLAPACK'}"
        check((got["object_id"] == data["object_id"][rows]).all(), f"{what}: objects")
        check(np.abs(got["variance_ratio"] / ratio[:K] - 1).max() < 1e-4, f"{what}: variances {got['variance_ratio']}, {ratio[:K]} expected")
        # A direction is known as well as the features are (1e-6) beside the gap to the next variance.
        check(np.abs(got["direction"] - v).max() < 1e-3, f"{what}: directions differ by {np.abs(got['direction'] - v).max()}")
        check(np.abs(got["projection"] - y).max() < 2e-3 * np.abs(y).max(), f"{what}: maps differ by {np.abs(got['projection'] - y).max()}")
        check(np.abs(got["colour"] - colour).max() < 1.5, f"{what}: colours differ by {np.abs(got['colour'] - colour).max()}")
        if first is None:
            first = got
        check(np.abs(got["direction"] - first["direction"]).max() < 1e-6 and np.abs(got["projection"] - first["projection"]).max() < 1e-5, f"{what}: differs from 1 rank")
        pictures = sorted(glob.glob(f"{out}/patches-*.png"))
        check([os.path.basename(p) for p in pictures] == [f"patches-{i:05d}-{data['object_id'][rows[i]]}.png" for i in range(4)], f"{what}: four pictures: {pictures}")
        panels = np.asarray(Image.open(pictures[2]))
        check(panels.shape == (288, 584, 3), f"{what}: picture {panels.shape}")
        planes = ref.prepare_images(torch.as_tensor(data["image"][rows[2:3]]), config)[0].numpy()
        image = np.repeat(np.repeat(planes[:, ::-1].transpose(1, 2, 0) * 255, 2, 0), 2, 1)
        check(np.abs(panels[:, :288] - image).max() < 0.52, f"{what}: the image, north up")
        check((panels[:, 296:] == np.repeat(np.repeat(got["colour"][2][::-1], 24, 0), 24, 1)).all(), f"{what}: the map, north up")
text = run(2, "analyse", {"data.path": path, "output.dir": f"{folder}/bad"}, expect=2)
check("model.file" in text and not os.path.exists(f"{folder}/bad"), "a model is asked for")
run(2, "analyse", {**keys, "output.dir": f"{folder}/bad"}, arguments=["waves"], expect=2)
# The damaged shard: refused by name, on all ranks.
with h5py.File(path, "r+") as f:
    f["image"][rows[-1], 0, 70, 70] = np.nan
text = run(3, "analyse", {**keys, "output.dir": f"{folder}/bad", "data.verify": "never"}, expect=3)
check(str(data["object_id"][rows[-1]]) in text, "the object is named")
finish()
