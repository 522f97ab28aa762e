# SPDX-License-Identifier: BSD-3-Clause
"""Masked spectrum modelling against PyTorch: pieces (with bad pixels left out, against NumPy), predictions, and the gradient of every parameter of the
backbone and its head for the masked loss. float32 1e-5 of each parameter's largest gradient, and a fault of one per cent would be seen; bfloat16 by
cosine."""
import os
import sys
import tempfile

import h5py
import numpy as np
import torch

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import SKIPPED, above, below, check, finish
import drive

import syzygy_torch as ref

torch.set_num_threads(1)


def random_rows(tokens, n, seed, runs=3, width=5):
    """Masked tokens of n spectra, runs of them, the first token among those of spectrum 0."""
    rng = np.random.default_rng(seed)
    rows = []
    for b in range(n):
        for r in range(runs):
            start = 0 if b == r == 0 else rng.integers(r * tokens // runs, (r + 1) * tokens // runs - width)
            rows += [b * tokens + t for t in range(start, start + width)]
    return np.array(sorted(set(rows)), np.int64)


def numpy_pieces(flux, good, config):
    """Mean and deviation over good pixels in float64; bad pixels are zero in the pieces."""
    section, step = config["spectrum"]["section"], config["spectrum"]["section"] - config["spectrum"]["overlap"]
    out = []
    for x, g in zip(flux.astype(np.float64), good.astype(bool)):
        mean, deviation = x[g].mean(), max(x[g].std(ddof=1), 0.2)
        y = np.where(g, (x - mean) / deviation, 0)
        tokens = [np.r_[(mean - 2) / 2, (deviation - 2) / 8, np.zeros(section)]]
        tokens += [np.r_[0, 0, y[s : s + section]] for s in range(0, len(x) - section + 1, step)]
        out.append(tokens)
    return np.array(out)


def drive_one(folder, path, precision, flux, rows, slope, good=None):
    prefix = os.path.join(folder, "x")
    flux.tofile(prefix + "-flux.bin")
    rows.tofile(prefix + "-rows.bin")
    np.ascontiguousarray(slope, np.float32).tofile(prefix + "-slope.bin")
    if good is not None:
        good.astype(np.uint8).tofile(prefix + "-good.bin")
    drive.run(["masked_driver", path, precision, len(flux), len(rows), 0 if good is None else 1, prefix])
    gradients = {}
    with h5py.File(prefix + "-gradients.h5") as f:
        f["parameter"].visititems(lambda name, item: gradients.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return np.fromfile(prefix + "-pieces.bin", np.float32), np.fromfile(prefix + "-prediction.bin", np.float32).reshape(slope.shape), gradients


def forward(backbone, pieces, rows):
    """Predictions for the masked rows, pieces [N, T, section + 2]."""
    seen = pieces.reshape(-1, pieces.shape[-1]).clone()
    seen[rows] = 0
    x = backbone.data_embed(seen.reshape(pieces.shape)) + backbone.position_embed.weight[: pieces.shape[1]]
    for block in backbone.blocks:
        x = block(x)
    return backbone.head(backbone.final_layernorm(x)).reshape(-1, pieces.shape[-1])[rows]


def one(folder, label, config, seed, with_bad):
    model = ref.random_model(config, seed).spectrum_encoder.backbone
    path = os.path.join(folder, f"{label}.h5")
    state = {"spectrum_encoder.backbone." + k: v for k, v in model.state_dict().items()}
    ref.write_model_file(path, config, state)
    n = 3
    flux = ref.random_flux(n, seed + 1)
    good = None
    if with_bad:
        good = np.random.default_rng(seed).random(flux.shape) > 0.1
        flux[~good] = 1e3  # would show at once
        wanted = numpy_pieces(flux, good, config)
        pieces = torch.as_tensor(wanted.astype(np.float32))
    else:
        pieces = model.preprocess(torch.as_tensor(flux))
    tokens, width = pieces.shape[1:]
    rows = random_rows(tokens, n, seed + 2)
    target = pieces.reshape(-1, width)[rows]
    prediction = forward(model, pieces, rows)
    changed = target != 0
    loss = ((prediction - target)[changed] ** 2).mean()
    loss.backward()
    slope = (2 * (prediction - target) * changed / changed.sum()).detach().numpy()
    theirs = {"spectrum_encoder.backbone." + k: p.grad.numpy().astype(np.float64) for k, p in model.named_parameters()}

    found_pieces, found, gradients = drive_one(folder, path, "float32", flux, rows, slope, good)
    below(np.abs(found_pieces.reshape(pieces.shape) - pieces.numpy()).max() / np.abs(pieces.numpy()).max(), 1e-6, f"{label} pieces")
    mine = ((found.astype(np.float64) - target.numpy())[changed.numpy()] ** 2).mean()
    below(abs(mine - float(loss)) / float(loss), 1e-5, f"{label} loss, relative")
    below(np.abs(found - prediction.detach().numpy()).max() / np.abs(prediction.detach().numpy()).max(), 1e-5, f"{label} prediction, relative")
    check(set(gradients) == set(theirs), f"{label}: the backbone's parameters and no others")
    worst = max((np.abs(gradients[k] - g).max() / np.abs(g).max(), k) for k, g in theirs.items())
    spoiled = min(np.abs(1.01 * gradients[k] - g).max() / np.abs(g).max() for k, g in theirs.items())
    below(worst[0], 1e-5, f"{label} gradient (worst: {worst[1]})")
    above(spoiled, 5e-3, f"{label} gradient with one per cent on any parameter")
    try:
        _, rough, gradients = drive_one(folder, path, "bfloat16", flux, rows, slope, good)
    except drive.BadRun as bad:
        if bad.code == SKIPPED:
            drive.say_skipped(label)
            return
        raise
    above(ref.cosines(rough, prediction.detach().numpy()).min(), 0.995, f"{label} bfloat16 prediction cosine")
    lowest = min((ref.cosines(gradients[k].reshape(1, -1), g.reshape(1, -1))[0], k) for k, g in theirs.items())
    above(lowest[0], 0.998, f"{label} bfloat16 gradient cosine (lowest: {lowest[1]})")


with tempfile.TemporaryDirectory() as folder:
    one(folder, "plain", ref.small_config(), 10, False)
    one(folder, "bad pixels", ref.small_config(spectrum_dim=30, depth=3, section=150, overlap=30), 20, True)
finish()
