# SPDX-License-Identifier: BSD-3-Clause
"""Helpers of the tests of embed, search and report: runs of the binary, shards and embedding files as h5py writes them."""
import os
import subprocess
import sys

import h5py
import numpy as np

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import BINARY, check_quietly as check, launch, mpirun

def command(ranks, *arguments):
    return mpirun(ranks, BINARY, *arguments)


def run(ranks, name, keys=None, arguments=(), expect=0, **more):
    """Run a command; keys become --set. Returns what it printed; checks the exit code."""
    sets = [item for key, value in (keys or {}).items() for item in ("--set", f"{key}={value}")]
    done = launch(ranks, BINARY, name, *arguments, *sets, stderr=subprocess.STDOUT, **more)
    check(done.returncode == expect, f"{name} {keys} on {ranks} ranks: exit code {done.returncode}, expected {expect}\n{done.stdout[-1500:]}")
    return done.stdout


def write_shard(path, image, flux, object_id, has_image=None, has_spectrum=None, **labels):
    """A shard as src/data/README.md "Shards" says, without checksums."""
    n = len(object_id)
    rng = np.random.default_rng(n)
    with h5py.File(path, "w") as f:
        f.attrs["syzygy_format"] = "shard"
        f.attrs["format_version"] = 1
        f["image"] = image
        f["spectrum"] = flux
        f["spectrum_ivar"] = np.ones_like(flux)
        f["object_id"] = np.asarray(object_id, np.int64)
        f["ra"] = rng.uniform(0, 360, n)
        f["dec"] = rng.uniform(-90, 90, n)
        f["has_image"] = np.ones(n, np.uint8) if has_image is None else has_image.astype(np.uint8)
        f["has_spectrum"] = np.ones(n, np.uint8) if has_spectrum is None else has_spectrum.astype(np.uint8)
        for name, value in labels.items():
            f["label/" + name] = np.asarray(value, np.float32)


def write_embedding(path, object_id, image=None, spectrum=None, has_image=None, has_spectrum=None, **labels):
    """An embedding file as another program might write it."""
    with h5py.File(path, "w") as f:
        f["object_id"] = np.asarray(object_id, np.int64)
        for name, x, has in (("image", image, has_image), ("spectrum", spectrum, has_spectrum)):
            if x is not None:
                f[name + "_embedding"] = np.asarray(x, np.float32)
                if has is not None:
                    f["has_" + name] = has.astype(np.uint8)
        for name, value in labels.items():
            f["label/" + name] = np.asarray(value, np.float32)


def read_datasets(path):
    """{name: array} of all datasets."""
    out = {}
    with h5py.File(path, "r") as f:
        f.visititems(lambda name, item: out.__setitem__(name, item[...]) if isinstance(item, h5py.Dataset) else None)
    return out


def same_bits(a, b):
    return a.keys() == b.keys() and all(a[k].dtype == b[k].dtype and a[k].tobytes() == b[k].tobytes() for k in a)
