# SPDX-License-Identifier: BSD-3-Clause
"""Observed spectra and images (SYZYGY_SKY_DATA), ingested, embedded and searched like any data set, on 1 and 3 ranks."""
import glob
import json
import os
import sys

import numpy as np

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import DATA, check_quietly as check, finish, scratch, skip
from embed_common import read_datasets, run, same_bits
import syzygy_torch as ref

if not os.path.isdir(DATA + "/sdss"):
    skip(f"no survey files in {DATA} (SYZYGY_SKY_DATA)")

folder = scratch()
spectra = ",".join(f"{DATA}/{sub}" for sub in ("desi", "sdss/spec-lite", "sdss/spec-full", "sdss/quasars"))
run(2, "ingest", {"ingest.spectra": f"[{spectra}]", "output.dir": f"{folder}/spectra"})
run(2, "ingest", {"ingest.images": f"[{DATA}/legacy/cutouts,{DATA}/legacy/cutouts-resampled]", "ingest.centres": "true", "ingest.missing_band": "zero", "ingest.edge": "zero",
                  "data.bad_objects": "skip", "output.dir": f"{folder}/images"})
data = f"[{folder}/images/shards,{folder}/spectra/shards]"
parts = [read_datasets(path) for sub in ("images", "spectra") for path in sorted(glob.glob(f"{folder}/{sub}/shards/*.h5"))]
truth = {name: np.concatenate([p[name] for p in parts]) for name in ("object_id", "image", "spectrum", "has_image", "has_spectrum")}
n_image, n_spectrum = int(truth["has_image"].sum()), int(truth["has_spectrum"].sum())
print(f"{n_image} images, {n_spectrum} spectra")
check(n_image >= 5 and n_spectrum == 63, "the usable files, each object once")

config = ref.small_config(tokens="dinov2")
ref.write_model_file(f"{folder}/model.h5", config, ref.random_model(config, seed=4).state_dict())
z = dict(zip(("image", "spectrum"), ref.embed(ref.load_model(f"{folder}/model.h5"), truth["image"], truth["spectrum"])))

results = {}
for ranks in (1, 3):
    out, found = f"{folder}/embed-{ranks}", f"{folder}/search-{ranks}"
    run(ranks, "embed", {"data.path": data, "model.file": f"{folder}/model.h5", "compute.precision": "float32", "output.dir": out})
    run(ranks, "search", {"search.index": out, "search.k": 5, "output.dir": found})
    results[ranks] = {name: read_datasets(f"{found}/{name}") for name in sorted(os.listdir(found)) if name.endswith(".h5")}
    got = results[ranks]["embedding"] = read_datasets(f"{out}/embedding.h5")
    check((got["object_id"] == truth["object_id"]).all(), "order")
    for m in ("image", "spectrum"):
        has = truth["has_" + m].astype(bool)
        x = got[m + "_embedding"]
        check(np.isnan(x[~has]).all() and ref.cosines(x[has], z[m][has]).min() >= 0.99999, f"{m} embeddings on {ranks} ranks: {ref.cosines(x[has], z[m][has]).min()}")
for name in results[1]:
    check(same_bits(results[1][name], results[3][name]), f"{name}: 1 and 3 ranks give the same bits")
check(len(results[1]) == 5, f"{list(results[1])}")

# Neighbours by hand: within each modality an object is its own nearest one (TARGETID 39633300968442591 is there twice: coadd and exposures).
for m, n in (("image", n_image), ("spectrum", n_spectrum)):
    near, has = results[1][f"neighbours-{m}-{m}.h5"], truth["has_" + m].astype(bool)
    check((near["neighbour_id"][has, 0] == truth["object_id"][has]).all() and np.abs(near["similarity"][has, 0] - 1).max() < 1e-5, f"{m}: own nearest neighbour")
    check((near["neighbour_id"][~has] == -1).all(), f"{m}: none without {m}")
cross = results[1]["neighbours-image-spectrum.h5"]
unit = {m: z[m].astype(np.float64) / np.linalg.norm(z[m].astype(np.float64), axis=1, keepdims=True) for m in z}
rows, columns = np.flatnonzero(truth["has_image"]), np.flatnonzero(truth["has_spectrum"])
best = np.sort(unit["image"][rows] @ unit["spectrum"][columns].T, axis=1)[:, ::-1][:, :5]
check(np.abs(cross["similarity"][rows] - best).max() < 1e-5, "image to spectrum: the largest cosines")
figures = json.load(open(f"{folder}/search-3/retrieval.json"))
check(all(d.get("pairs", 0) == 0 for d in figures["directions"]), "no observed object has both: no figures are made up")
run(1, "report", {"report.run": f"{folder}/search-3", "output.dir": f"{folder}/page"})
check("no pairs" in open(f"{folder}/page/report.html").read(), "and the page says so")
finish()
