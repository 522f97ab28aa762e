# SPDX-License-Identifier: BSD-3-Clause
"""What the tests of probe, analyse and the judge share: simulated shards with segment maps, an image tower, its features by PyTorch."""
import glob

import h5py
import numpy as np
import torch

from embed_common import run
import syzygy_torch as ref


def simulate(folder, objects):
    """One shard of `objects` simulated galaxies; returns its path and its arrays."""
    run(2, "simulate", {"simulate.objects": objects, "output.dir": f"{folder}/sim", "simulate.shard_objects": objects})
    path = glob.glob(f"{folder}/sim/shards/*.h5")[0]
    with h5py.File(path) as f:
        data = {name: f[name][...] for name in ("image", "segment", "object_id")}
        data["label"] = {name: f["label"][name][...] for name in f["label"]}
    return path, data


def image_tower(path, dim=24, tokens="dinov2"):
    """A model file with an image backbone alone, as a converted DINOv2 checkpoint."""
    config = ref.small_config(tokens=tokens, image_dim=dim)
    model = ref.random_model(config, seed=3)
    ref.write_model_file(path, config, {k: v for k, v in model.state_dict().items() if k.startswith("image_encoder.backbone.")})
    return config, model


@torch.no_grad()
def features(model, config, image):
    """Normed tokens [N, T, D] of raw stamps."""
    out = [model.image_encoder.backbone(ref.prepare_images(torch.as_tensor(image[i:i + 32]), config)) for i in range(0, len(image), 32)]
    return torch.cat(out).numpy().astype(np.float64)


def chosen(n, wanted):
    """Which of n objects are taken: even steps."""
    count = min(n, wanted)
    return np.array([(2 * i + 1) * n // (2 * count) for i in range(count)])
