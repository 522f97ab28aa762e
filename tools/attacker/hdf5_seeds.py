# SPDX-License-Identifier: BSD-3-Clause
"""Small sound HDF5 files of every kind that the program reads, as {name: (is_survey_file, bytes)}: what is damaged."""
import os
import subprocess
import tempfile

import h5py
import numpy as np

from .harness import ENVIRONMENT

MODEL = """
model:
  image: {dim: 16, depth: 1, heads: 2, patch: 24, size: 144, tokens: dinov2, layerscale: 0.1}
  spectrum: {dim: 16, depth: 1, heads: 2, section: 200, overlap: 100, max_tokens: 100}
  embedding: {dim: 16, heads: 2, dropout: 0.1}
compute: {precision: float32}
"""


def content(path):
    with open(path, "rb") as f:
        return f.read()


# ------------------------------------------------------------ by the program


def own_files(program, work):
    """Shards with and without compression, one with many labels, a model, a checkpoint, embeddings, neighbours."""

    def call(command, name, *arguments, **keys):
        sets = [item for key, value in {**keys, "output.dir": f"{work}/{name}"}.items() for item in ("--set", f"{key.replace('__', '.')}={value}")]
        p = subprocess.run([program, command, *arguments, *sets], env={**os.environ, **ENVIRONMENT}, capture_output=True, text=True, timeout=300)
        if p.returncode:
            raise RuntimeError(f"{command}: exit code {p.returncode}\n{p.stdout[-2000:]}{p.stderr[-2000:]}")

    def first(folder):
        return next(os.path.join(top, n) for top, _, names in sorted(os.walk(f"{work}/{folder}")) for n in sorted(names) if n.endswith(".h5"))

    call("simulate", "plain", simulate__objects=2)
    call("simulate", "packed", simulate__objects=3, io__compression="deflate")
    call("simulate", "eight", simulate__objects=8)
    files = {"shard.h5": content(first("plain")), "shard-deflate.h5": content(first("packed"))}
    with h5py.File(first("plain"), "r+", libver=("v108", "v108")) as f:
        for i in range(30):
            f[f"label/number_{i:02d}"] = np.arange(2, dtype="f4")
        del f.attrs["checksum"]  # what the file says of itself has changed on purpose
    files["shard-labels.h5"] = content(first("plain"))
    shards = os.path.dirname(first("eight"))
    with open(f"{work}/align.yaml", "w") as f:
        f.write(MODEL + f"data: {{path: [{shards}], split: all}}\n"
                "train: {steps: 2, global_batch: 4, warmup_steps: 1, validate_objects: 0, freeze_backbones: false}\noutput: {checkpoint_interval_steps: 1}\n")
    call("align", "align", f"{work}/align.yaml")
    call("embed", "embed", data__path=shards, model__file=f"{work}/align/model.h5", compute__precision="float32")
    files["model.h5"] = content(f"{work}/align/model.h5")
    files["checkpoint.h5"] = content(first("align/checkpoints"))
    files["embedding.h5"] = content(f"{work}/embed/embedding.h5")
    return files


# --------------------------------------------------------------------- by h5py


def survey_files(work, seed):
    """AstroCLIP's and the Multimodal Universe's files, of the oldest and the newest format."""
    rng, files = np.random.default_rng(seed), {}
    for version in ("earliest", "latest"):
        path = f"{work}/made.h5"
        with h5py.File(path, "w", libver=version) as f:
            f["0/images"], f["0/spectra"] = rng.normal(size=(2, 152, 152, 3)).astype("f4"), rng.normal(size=(2, 7781, 1)).astype("f4")
            f["0/targetids"], f["0/redshifts"] = np.arange(2), rng.random(2)
            f["1/images"], f["1/spectra"] = h5py.SoftLink("/0/images"), h5py.SoftLink("/0/spectra")
            f["1/targetids"] = np.arange(2, 4).astype(">i8")
        files[f"astroclip-{version}.h5"] = content(path)
        with h5py.File(path, "w", libver=version) as f:
            f.create_dataset("spectrum_flux", data=rng.normal(size=(3, 7781)).astype("f4"), compression="gzip", shuffle=True, chunks=(1, 7781))
            f.create_dataset("spectrum_ivar", data=np.ones((3, 7781), "f4"), compression="lzf", chunks=(2, 500))
            f["spectrum_mask"], f["object_id"], f["Z"] = np.zeros((3, 7781), bool), np.array([b"a", b"b", b"c"]), rng.random(3)
            f.create_dataset("name", data=["x", "yy", "z"], dtype=h5py.string_dtype())
            f.create_dataset("FLUX_R", data=np.arange(3, dtype=">f8"), fletcher32=True, chunks=(2,))
            f.create_dataset("MAG", data=np.arange(3, dtype="i4"), scaleoffset=4, chunks=(3,), maxshape=(None,))
            f["record"] = np.zeros(3, [("a", "f4"), ("b", "i2", 3)])
            f.attrs["note"] = "hello"
            group = f.create_group("many")
            for i in range(40):
                group[f"dataset_{i}"] = np.arange(i)
                group.attrs[f"attribute_{i}"] = "x" * i
        files[f"mmu-desi-{version}.h5"] = content(path)
        with h5py.File(path, "w", libver=version) as f:
            f.create_dataset("image_array", data=rng.normal(size=(2, 4, 160, 160)).astype("f4"), compression="gzip", chunks=(1, 4, 80, 160))
            f["image_mask"] = np.ones((2, 160, 160), bool)
            f["image_band"] = np.array([[b"des-g", b"des-r", b"des-i", b"des-z"]] * 2)
            f["object_id"], f["EBV"] = np.array([b"1", b"2"]), rng.random(2).astype("f2")
        files[f"mmu-legacy-{version}.h5"] = content(path)
    return files


def make(program, seed):
    with tempfile.TemporaryDirectory(prefix="syzygy-attack-") as work:
        own = {name: (False, data) for name, data in own_files(program, work).items()}
        return {**own, **{name: (True, data) for name, data in survey_files(work, seed).items()}}
