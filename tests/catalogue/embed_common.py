# SPDX-License-Identifier: BSD-3-Clause
"""Helpers of the tests of embed, search and report: scratch folders, runs of the binary, shards and embedding files as h5py writes them."""
import atexit
import os
import shutil
import subprocess
import sys
import tempfile

import h5py
import numpy as np

SOURCE = os.environ.get("SYZYGY_SOURCE", os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
BINARY = os.environ.get("SYZYGY_BINARY", os.path.join(SOURCE, "build", "syzygy"))
sys.path.insert(0, os.path.join(SOURCE, "tests", "reference"))

failures = []
checks = 0


def check(condition, what):
    global checks
    checks += 1
    if not condition:
        failures.append(what)
        print("FAILED:", what, flush=True)


def result():
    print(f"{checks} checks, {len(failures)} failed")
    sys.exit(1 if failures or not checks else 0)


def scratch():
    folder = tempfile.mkdtemp(prefix="syzygy-test-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def command(ranks, *arguments):
    return ["mpirun", "--oversubscribe", "--bind-to", "none", "--mca", "mpi_yield_when_idle", "1", "--timeout", "60", "-n", str(ranks), BINARY, *map(str, arguments)]


def environment(**more):
    settings = {"OMP_NUM_THREADS": "1", "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    return {**os.environ, **settings, **more}


def run(ranks, name, keys=None, arguments=(), expect=0, **more):
    """Run a command; keys become --set. Returns what it printed; checks the exit code."""
    sets = [item for key, value in (keys or {}).items() for item in ("--set", f"{key}={value}")]
    done = subprocess.run(command(ranks, name, *arguments, *sets), env=environment(**more), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=90)
    text = done.stdout.decode(errors="replace")
    check(done.returncode == expect, f"{name} {keys} on {ranks} ranks: exit code {done.returncode}, expected {expect}\n{text[-1500:]}")
    return text


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
