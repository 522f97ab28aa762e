# SPDX-License-Identifier: BSD-3-Clause
"""
src/data/README.md says what is in our files. Here a small survey goes through all commands that write some, and each dataset, root attribute,
manifest key and byte of a token cache is compared with the document: nothing is there that it does not name, and what its tables of shards,
embeddings and neighbours name is there. Checksums are formed as it says, and its example runs.
"""
import ctypes
import ctypes.util
import glob
import json
import os
import re
import shutil
import struct
import sys
import tempfile

import h5py
import numpy as np

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import BINARY, SOURCE as ROOT, check_quietly as check, failed, finish, launch

DOCUMENT = open(f"{ROOT}/src/data/README.md").read()
NAMED = set(re.findall(r"`([^`\s]+)`", DOCUMENT))
INPUT = """
model:
  image: {dim: 32, depth: 1, heads: 2, patch: 24, size: 144, tokens: dinov2, layerscale: 0.1}
  spectrum: {dim: 32, depth: 1, heads: 2, section: 200, overlap: 100, max_tokens: 100}
  embedding: {dim: 32, heads: 4, dropout: 0.0}
  dino: {layers: 2, hidden: 32, bottleneck: 16, prototypes: 64}
"""
library = ctypes.CDLL(ctypes.util.find_library("xxhash") or "libxxhash.so.0")
library.XXH3_64bits_withSeed.restype = ctypes.c_uint64
library.XXH3_64bits_withSeed.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint64]


def hashed(data, seed=0):
    return library.XXH3_64bits_withSeed(data, len(data), seed)


def run(command, name, *settings, yaml=None):
    arguments = [BINARY, *command.split()] + ([yaml] if yaml else [])
    for s in (f"output.dir={folder}/{name}", *settings):
        arguments += ["--set", s]
    done = launch(None, *arguments, timeout=120)
    check(done.returncode == 0, f"{command}: exit code {done.returncode}\n{(done.stdout + done.stderr)[-1500:]}")


def section(title):
    return re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", DOCUMENT, re.M | re.S).group(1)


def first_cells(title):
    """Names in the first column of the tables of a section."""
    return {n for line in section(title).split("\n") if line.startswith("| `") for n in re.findall(r"`([^`]+)`", line.split("|")[1])}


def general(name):
    """As the document writes it: label/redshift is label/<name>."""
    group, slash, rest = name.partition("/")
    if group == "prediction":
        return "prediction/<source>/<method>/<label>"
    if group == "posterior":
        return "posterior/<source>/<label>/" + rest.split("/")[2] if rest.count("/") == 2 else "posterior/<source>/" + rest.split("/")[1]
    return {"label": "label/<name>", "parameter": "parameter/<name>", "array": "array/<name>"}.get(group, f"{group}/<part>") if slash else name


def datasets(f):
    found = {}
    f.visititems(lambda n, d: found.update({n: d}) if isinstance(d, h5py.Dataset) else None)
    return found


def unnamed(f):
    """Datasets and root attributes that the document does not name."""
    parts = [n.split("/")[1] for n in datasets(f) if n.split("/")[0] in ("weight", "moment1", "moment2", "array")]
    return {n for n in [*map(general, datasets(f)), *f.attrs, *parts] if n not in NAMED}


def hdf5_file(path, kind):
    with h5py.File(path) as f:
        about = (f.attrs["syzygy_format"], f.attrs["format_version"], f.attrs["created_by"][:7])
        check(about == (kind, 1, "syzygy "), f"{path}: root attributes {about}")
        check("seed:" in f.attrs["input"], f"{path}: input")
        check(not unnamed(f), f"{path}: the document does not name {unnamed(f)}")
        for name, d in datasets(f).items():
            check(set(d.attrs) == {"units", "description", "checksum"}, f"{path}: attributes of {name}: {set(d.attrs)}")
            rows = np.ascontiguousarray(d[()])
            total = sum(hashed(r.tobytes(), i + 1) for i, r in enumerate(rows)) % 2**64
            check(f"{total:016x}" == d.attrs["checksum"].decode(), f"{path}: checksum of {name}")
        return {general(n): (d.dtype, d.shape, d.attrs["units"]) for n, d in datasets(f).items()}


def compare(found, title, optional=()):
    check(set(found) - set(optional) <= first_cells(title), f"{title}: not in the table: {set(found) - first_cells(title)}")
    check(first_cells(title) - set(optional) <= set(found), f"{title}: not in the file: {first_cells(title) - set(found)}")


def shards():
    path = f"{folder}/sim/shards/simulated-00000.h5"
    found = hdf5_file(path, "shard")
    compare(found, "Shards")
    check(found["image"] == (np.float32, (OBJECTS, 3, 152, 152), "nanomaggy") and found["spectrum"][1] == (OBJECTS, 7781), "shapes of a shard")
    check(all(f"| {unit} |" in section("Shards") for _, _, unit in (found["spectrum"], found["spectrum_ivar"], found["ra"])), "units of a shard")
    copy = f"{folder}/planted.h5"
    shutil.copy(path, copy)
    with h5py.File(copy, "a") as f:
        f["nobody_named_this"] = np.zeros(OBJECTS)
    with h5py.File(copy) as f:
        check(unnamed(f) == {"nobody_named_this"}, "a dataset that is not in the document is seen")


def checkpoint(run_folder, objective, arrays):
    step = sorted(glob.glob(f"{run_folder}/checkpoints/step-*"))[-1]
    found = hdf5_file(f"{step}/state.h5", "checkpoint")
    check({n for n in found if not n.startswith("array/")} <= {"step", "progress", "scalar", "weight/<part>", "moment1/<part>", "moment2/<part>"},
          f"{step}: {set(found)}")
    with h5py.File(f"{step}/state.h5") as f:
        check({n for n in f.get("array", {})} == arrays, f"{step}: arrays {list(f.get('array', {}))}")
        check(f["weight/" + list(f["weight"])[0]].shape[1:] == (16,), "rows of 16")
        check(all(line[0] in "!~" and "=" in line for line in f.attrs["facts"].splitlines()), "facts")
    text = open(f"{step}/manifest.json").read()
    manifest = json.loads(text)
    check(manifest["objective"] == objective and f"`{objective}`" in section("Checkpoints"), f"objective {manifest['objective']}")
    check(all(f"`{k}`" in section("Checkpoints") for k in [*manifest, *manifest["files"][0]]), f"keys of {step}/manifest.json")
    data = open(f"{step}/state.h5", "rb").read()
    blocks = sum(hashed(data[at : at + 2**20], at // 2**20 + 1) for at in range(0, len(data), 2**20)) % 2**64
    check(manifest["files"] == [{"name": "state.h5", "bytes": len(data), "xxh3_blocks": f"{blocks:016x}"}], "files of the manifest")
    before = text[: text.index('  "manifest_xxh3"')]
    check(manifest["manifest_xxh3"] == f"{hashed(before.encode()):016x}", "seal of the manifest")


def token_cache(path, objects):
    data = open(path, "rb").read()
    magic, key, rows, row_bytes, sealed = struct.unpack("=8sQqQQ", data[:40])
    check(magic == b"SYZTOK01" and rows == objects and sealed == hashed(data[:32]) and key != 0, f"{path}: header")
    tags = np.frombuffer(data, np.uint64, rows, 4096)
    first = -(-(4096 + 8 * rows) // 4096) * 4096
    check(len(data) == first + rows * row_bytes, f"{path}: size")
    for i in range(rows):
        row = data[first + i * row_bytes : first + (i + 1) * row_bytes]
        check(tags[i] == (hashed(row, i + 1) or 1), f"{path}: tag of row {i}")


OBJECTS = 20
folder = tempfile.mkdtemp(prefix="syzygy-documented-")
try:
    with open(f"{folder}/model.yaml", "w") as f:
        f.write(INPUT)
    model = f"{folder}/model.yaml"
    data = f"data.path={folder}/sim/shards"
    few = ("train.steps=2", "train.global_batch=4", "train.validate_interval=0", data)
    run("simulate", "sim", f"simulate.objects={OBJECTS}")
    run("align", "align", "train.learn_logit_scale=true", "train.validate_objects=4", *few, yaml=model)
    run("embed", "embed", f"model.file={folder}/align/model.h5", data)
    run("search", "search", f"search.index={folder}/embed/embedding.h5", "search.k=3")
    run("analyse pca", "pca", f"analyse.embeddings={folder}/embed/embedding.h5")
    run("pretrain-spectrum", "spectrum", "masked.run_tokens=3", "train.validate_objects=4", *few, yaml=model)
    run("pretrain-image", "image", "dino.local_size=72", *few, yaml=model)
    run("probe dense", "probe", f"model.file={folder}/image/model.h5", "probe.train_objects=8", "probe.test_objects=4", "probe.pictures=0",
        "probe.iterations=5", "probe.compare_untrained=false", data)
    random = np.random.default_rng(5)
    with h5py.File(f"{folder}/many.h5", "w") as f:
        f["object_id"], f["label/redshift"] = np.arange(1, 201), random.uniform(0, 0.5, 200)
        f["image_embedding"] = random.normal(size=(200, 8))
    run("probe table", "known", f"probe.embeddings={folder}/many.h5", "probe.sources=image", "probe.labels=redshift", "probe.split=rows", "probe.classes=redshift > 0.2",
        "probe.methods=[knn, linear, flow, few-label]", "probe.members=1", "probe.epochs=2", "probe.draws=20", "probe.bootstrap=10", "probe.repeats=2", "probe.sizes=4")
    run("analyse patches", "patches", f"model.file={folder}/image/model.h5", data)
    if not failed():
        shards()
        for name in ("align", "spectrum", "image"):
            hdf5_file(f"{folder}/{name}/model.h5", "model")
        hdf5_file(f"{folder}/image/model-student.h5", "model")
        checkpoint(f"{folder}/align", "align", set())
        checkpoint(f"{folder}/spectrum", "masked", set())
        checkpoint(f"{folder}/image", "pretrain-image", {"teacher", "centre", "centre_patch"})
        compare(hdf5_file(f"{folder}/embed/embedding.h5", "embedding"), "Embeddings")
        for path in glob.glob(f"{folder}/search/neighbours-*.h5"):
            compare(hdf5_file(path, "neighbours"), "Neighbours")
        hdf5_file(f"{folder}/spectrum/reconstruction.h5", "reconstruction")
        hdf5_file(f"{folder}/probe/dense.h5", "dense")
        hdf5_file(f"{folder}/patches/patches.h5", "patches")
        hdf5_file(f"{folder}/pca/pca.h5", "pca")
        compare(hdf5_file(f"{folder}/known/predictions.h5", "predictions"), "Predictions", {"posterior/<source>/samples"})
        known = json.load(open(f"{folder}/known/probe.json"))
        keys = {*known, *(k for v in known.values() for part in (v if isinstance(v, list) else [v]) if isinstance(part, dict) for k in part)}
        check(not keys - NAMED - {"created_by"}, f"probe.json: the document does not name {keys - NAMED}")
        for tower in ("image", "spectrum"):
            token_cache(f"{folder}/align/cache/{tower}-train.tokens", int(0.8 * OBJECTS))
        lines = [json.loads(line) for line in open(f"{folder}/align/metrics.jsonl")]
        check([line["step"] for line in lines] == [0, 1], "metrics.jsonl")
        left = {n for n in os.listdir(f"{folder}/align") if n not in NAMED and n not in ("cache", "checkpoints")}
        check(not left, f"the document does not name {left} of the run folder")
        example = re.search(r"```python\n(import h5py.*?)```", DOCUMENT, re.S).group(1)
        os.chdir(f"{folder}/embed")
        exec(example)
finally:
    shutil.rmtree(folder, ignore_errors=True)
finish()
