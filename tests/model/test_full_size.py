# SPDX-License-Identifier: BSD-3-Clause
"""The published sizes once (ViT-L/12 and the 6-layer spectrum transformer, 371 M parameters with heads), four objects, both token modes, both
precisions, against PyTorch. The model file takes 1.4 GB of the temporary folder; skipped where there is no room for it or for the model in memory."""
import os
import shutil
import sys
import tempfile

import h5py
import torch
import yaml

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import SKIPPED, above, finish, skip
import drive
from drive import Case

import syzygy_torch as ref

torch.set_num_threads(1)
OBJECTS = 4
LIMITS = {"float32": (0.99999, 0.9999), "bfloat16": (0.999, 0.97)}
available = int(next(line for line in open("/proc/meminfo") if line.startswith("MemAvailable")).split()[1]) * 1024
if shutil.disk_usage(tempfile.gettempdir()).free < 3e9 or available < 6e9:
    skip("needs 3 GB of temporary space and 6 GB of memory")

with tempfile.TemporaryDirectory() as folder:
    config = ref.make_config()
    model = ref.random_model(config, 1)
    path = os.path.join(folder, "model.h5")
    ref.write_model_file(path, config, model.state_dict())
    above(sum(p.numel() for p in model.parameters()) / 1e6, 340, "parameters, millions")
    planes = ref.prepare_images(ref.random_images(OBJECTS, 2), config)
    flux = torch.as_tensor(ref.random_flux(OBJECTS, 3))
    case = Case(path, planes.numpy(), flux.numpy())
    for tokens in ("patches", "dinov2"):
        config["image"]["tokens"] = model.image_encoder.backbone.config["tokens"] = tokens
        with torch.no_grad():
            wanted = {"image": model.image_encoder(planes).numpy()}
            if tokens == "patches":
                wanted["spectrum"] = model.spectrum_encoder(flux).numpy()
        with h5py.File(path, "a") as f:
            f.attrs["model_config"] = yaml.safe_dump({"model": config})
            if tokens == "dinov2":  # the spectrum tower has been seen
                for name in [name for name in f["parameter"] if name.startswith("spectrum_encoder")]:
                    del f["parameter"][name]
        for precision, (plain, centred) in LIMITS.items():
            try:
                found = case.forward(precision=precision, towers=tuple(wanted))
            except drive.BadRun as bad:
                if bad.code != SKIPPED:
                    raise
                drive.say_skipped(f"{tokens} {precision}")
                continue
            for tower in wanted:
                above(ref.cosines(found[tower], wanted[tower]).min(), plain, f"{tokens} {precision} {tower} cosine")
                above(ref.cosines(found[tower], wanted[tower], True).min(), centred, f"{tokens} {precision} {tower} cosine about the mean")
finish()
