# SPDX-License-Identifier: BSD-3-Clause
"""What the tests of whole training runs share: small shards written with h5py, the smallest model, running the program, its metrics."""
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import h5py
import numpy as np

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import *

MODEL = """
model:
  image: {dim: 32, depth: 2, heads: 2, patch: 24, size: 144, tokens: dinov2, layerscale: 0.1}
  spectrum: {dim: 32, depth: 2, heads: 2, section: 200, overlap: 100, max_tokens: 100}
  embedding: {dim: 32, heads: 4, dropout: 0.1}
compute: {precision: float32}
"""


def objects(n, seed=1):
    """Images and spectra of n objects that share two numbers (a brightness and a place of a line), with noise."""
    rng = np.random.default_rng(seed)
    a, z = rng.uniform(0.2, 2.0, n), rng.uniform(0.0, 1.0, n)
    y, x = np.mgrid[0:152, 0:152] - 75.5
    image = np.empty((n, 3, 152, 152), np.float32)
    wave = np.arange(7781)
    flux = np.empty((n, 7781), np.float32)
    for i in range(n):
        r2 = x**2 + (y * (1 + z[i])) ** 2
        for b in range(3):
            image[i, b] = a[i] * (1 + b * z[i]) * np.exp(-r2 / (2 * (6 + 20 * z[i]) ** 2)) / 5
        flux[i] = 5 * a[i] * (1 + z[i] * wave / 7781) + 30 * np.exp(-(((wave - 1000 - 5000 * z[i]) / 60) ** 2))
    image += rng.normal(0, 0.01, image.shape).astype(np.float32)
    flux += rng.normal(0, 1.0, flux.shape).astype(np.float32)
    return image, flux


def write_shard(path, image, flux, first=0, has_image=None, has_spectrum=None):
    n = len(image)
    with h5py.File(path, "w") as f:
        f.attrs["syzygy_format"] = "shard"
        f.attrs["format_version"] = 1
        f.attrs["created_by"] = "test"
        f["image"] = image
        f["spectrum"] = flux
        f["spectrum_ivar"] = np.ones_like(flux)
        f["object_id"] = 39000000000000000 + first + np.arange(n, dtype=np.int64)
        f["ra"] = np.linspace(0, 1, n)
        f["dec"] = np.linspace(0, 1, n)
        f["has_image"] = np.ones(n, np.uint8) if has_image is None else has_image
        f["has_spectrum"] = np.ones(n, np.uint8) if has_spectrum is None else has_spectrum
        f["label/redshift"] = np.zeros(n, np.float32)


def write_shards(folder, n, shards=2, seed=1):
    os.makedirs(folder, exist_ok=True)
    image, flux = objects(n, seed)
    for k in range(shards):
        part = slice(k * n // shards, (k + 1) * n // shards)
        write_shard(f"{folder}/shard-{k}.h5", image[part], flux[part], part.start)
    return image, flux


def command(ranks, arguments, timeout=60):
    return mpirun(ranks, BINARY, *arguments, timeout=timeout)


def start(ranks, arguments, timeout=60, env=None, log=None):
    out = open(log, "a") if log else subprocess.DEVNULL
    return subprocess.Popen(command(ranks, arguments, timeout), env=environment(**(env or {})), stdout=out, stderr=subprocess.STDOUT)


def run(ranks, arguments, timeout=60, env=None):
    """Exit code and text."""
    done = launch(ranks, BINARY, *arguments, timeout=timeout, stderr=subprocess.STDOUT, **(env or {}))
    return done.returncode, done.stdout


def metrics(folder, name="metrics.jsonl"):
    with open(f"{folder}/{name}") as f:
        return [json.loads(line) for line in f]


def numbers(folder):
    """What must not depend on chance: one tuple per step."""
    return [(m["step"], m["loss"], m["image_to_spectrum"], m["spectrum_to_image"], m["lr"], m["grad_norm"]) for m in metrics(folder)]


def arguments(work, output, **keys):
    """`align` on the work folder's input.yaml and shards; keys with two underscores for the dot."""
    sets = ["--set", f"output.dir={work}/{output}"]
    for k, v in keys.items():
        sets += ["--set", f"{k.replace('__', '.')}={v}"]
    return ["align", f"{work}/input.yaml"] + sets


def write_input(work, text):
    with open(f"{work}/input.yaml", "w") as f:
        f.write(MODEL + text)


def relative(a, b):
    """Largest relative difference of the losses of two runs."""
    return max(abs(x[1] - y[1]) / abs(y[1]) for x, y in zip(a, b))
