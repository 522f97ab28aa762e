# SPDX-License-Identifier: BSD-3-Clause
"""search against NumPy and scikit-learn: neighbours with order, ranks of pairs, regression; any rank count; odd and unusable input."""
import json
import os
import sys

import h5py
import numpy as np
from sklearn.neighbors import KNeighborsRegressor
from sklearn.preprocessing import StandardScaler

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import check_quietly as check, finish, scratch
from embed_common import read_datasets, run, same_bits, write_embedding

folder = scratch()
rng = np.random.default_rng(3)
N, E = 1700, 48  # three tiles of 768, the last one not full


def make(n, seed):
    """Two noisy views of the same latent galaxies, with a label in them."""
    r = np.random.default_rng(seed)
    z = r.uniform(0, 1, n)
    latent = np.concatenate([np.sin(6 * z[:, None] + np.arange(8)), r.normal(size=(n, E - 8)) * 0.5], 1)
    return z, (latent + r.normal(size=(n, E)) * 0.9) * r.uniform(0.2, 9, (n, 1)) + 0.2, (latent + r.normal(size=(n, E)) * 0.9) * 3


z, image, spectrum = make(N, 1)
object_id = 39627788403084375 + rng.permutation(N)
has_image, has_spectrum = rng.random(N) > 0.03, rng.random(N) > 0.05
image[~has_image] = np.nan
image = image.astype(np.float32)
spectrum = spectrum.astype(np.float32)
spectrum[17] = np.inf  # present by its flag, and yet unusable
spectrum[18] = 0
redshift = np.where(rng.random(N) < 0.1, np.nan, z).astype(np.float32)
# Two files make one table; the second one has no label.
half = 900
write_embedding(f"{folder}/a.h5", object_id[:half], image[:half], spectrum[:half], has_image[:half], has_spectrum[:half], redshift=redshift[:half])
write_embedding(f"{folder}/b.h5", object_id[half:], image[half:], spectrum[half:], has_image[half:], has_spectrum[half:])
redshift[half:] = np.nan
usable = {"image": has_image.copy(), "spectrum": has_spectrum & (np.arange(N) != 17) & (np.arange(N) != 18)}
table = {"image": image, "spectrum": spectrum}


def unit(x, ok):
    y = np.zeros(x.shape)
    y[ok] = x[ok].astype(np.float64) / np.linalg.norm(x[ok].astype(np.float64), axis=1, keepdims=True)
    return y


def expected(q, i, own_left_out=False, rows=slice(None)):
    """Scores [Q, N] in float64: -inf for what is not in the index, NaN rows for queries that cannot be asked."""
    s = unit(table[q], usable[q])[rows] @ unit(table[i], usable[i]).T
    s[:, ~usable[i]] = -np.inf
    if own_left_out:
        s[object_id[rows][:, None] == object_id[None, :]] = -np.inf
    s[~usable[q][rows]] = np.nan
    return s


def compare_neighbours(path, s, ids, k, what):
    got = read_datasets(path)
    check(got["query_id"].dtype == np.int64 and (got["query_id"] == ids).all(), f"{what}: query_id")
    check(got["neighbour_id"].dtype == np.int64 and got["similarity"].dtype == np.float32 and got["neighbour_id"].shape == (len(ids), k), f"{what}: shapes")
    asked = np.isfinite(s).any(1)
    order = np.argsort(-np.where(np.isfinite(s), s, -np.inf), axis=1, kind="stable")[:, :k]
    best = np.take_along_axis(s, order, 1)
    n = min(k, np.isfinite(s[asked]).sum(1).min())
    row, similarity = got["neighbour_row"][asked, :n], got["similarity"][asked, :n]
    mine = np.take_along_axis(s[asked], row, 1)
    check(np.abs(mine - similarity).max() < 1e-7, f"{what}: similarity is the cosine")
    differs = row != order[asked, :n]
    check((np.abs(mine - best[asked, :n])[differs] < 1e-14).all(), f"{what}: {differs.sum()} of {differs.size} places differ from the full sort")
    check((np.diff(similarity, axis=1) <= 0).all(), f"{what}: best first")
    check((got["neighbour_id"][asked, :n] == object_id[row]).all(), f"{what}: ids belong to rows")
    check((got["neighbour_id"][~asked] == -1).all() and np.isnan(got["similarity"][~asked]).all(), f"{what}: nothing for queries without embedding")
    return got


def compare_retrieval(entry, s, ids, what):
    where = {o: j for j, o in enumerate(object_id)}
    partner = np.array([where.get(o, -1) for o in ids])
    ok = (partner >= 0) & np.isfinite(s).any(1)
    ok[ok] &= np.isfinite(s[ok, partner[ok]])
    own = s[ok, partner[ok]]
    rank = 1 + (s[ok] > own[:, None] + 1e-7).sum(1)
    check(entry["pairs"] == ok.sum() and entry["candidates"] == np.isfinite(s[ok][0]).sum(), f"{what}: {entry['pairs']} pairs, {ok.sum()} expected")
    for k in (1, 5, 10, 50):
        check(abs(entry["recall"][str(k)] - (rank <= k).mean()) <= 1.5 / ok.sum(), f"{what}: recall@{k} {entry['recall'][str(k)]}, {(rank <= k).mean()} expected")
        check(abs(entry["chance"][str(k)] - k / entry["candidates"]) < 1e-12, f"{what}: chance")
    check(abs(entry["median_rank"] - np.median(rank)) <= 0.5, f"{what}: median rank {entry['median_rank']}, {np.median(rank)} expected")
    check(0.1 < entry["recall"]["10"] < 0.95, f"{what}: neither trivial nor hopeless: {entry['recall']}")


index = f"[{folder}/a.h5,{folder}/b.h5]"
first = None
for ranks in (1, 2, 3, 4):
    out = f"{folder}/all-{ranks}"
    text = run(ranks, "search", {"search.index": index, "search.k": 12, "output.dir": out})
    files = {f: read_datasets(f"{out}/{f}") for f in sorted(os.listdir(out)) if f.startswith("neighbours")}
    figures = json.load(open(f"{out}/retrieval.json"))
    check(len(files) == 4, f"four directions: {list(files)}")
    if first is None:
        first, first_figures = files, figures
        for q in ("image", "spectrum"):
            for i in ("image", "spectrum"):
                compare_neighbours(f"{out}/neighbours-{q}-{i}.h5", expected(q, i), object_id, 12, f"{q} to {i}")
        for entry in figures["directions"]:
            if entry["query"] != entry["index"]:
                compare_retrieval(entry, expected(entry["query"], entry["index"]), object_id, f"{entry['query']} to {entry['index']}")
        with h5py.File(f"{out}/neighbours-image-spectrum.h5") as f:
            check(f.attrs["syzygy_format"] == "neighbours" and f.attrs["query_modality"] == "image" and f.attrs["index_modality"] == "spectrum", "root attributes")
            check(all(w in f[k].attrs for k in f for w in ("units", "description", "checksum")), "each dataset has units, description, checksum")
        check("recall@1" in text and "median rank" in text and "by chance" in text, "the table is printed")
        # Regression by neighbours: scikit-learn, the same split.
        for entry in figures["regression"]:
            m = entry["embedding"]
            ok = {"image": has_image, "spectrum": has_spectrum}[m] & np.isfinite(table[m]).all(1) & np.isfinite(redshift)  # an embedding of zeros is one
            test = ok & (np.arange(N) % 5 == 4)
            train = ok & ~test
            scaler = StandardScaler().fit(table[m][train].astype(np.float64))
            model = KNeighborsRegressor(n_neighbors=64, weights="distance").fit(scaler.transform(table[m][train].astype(np.float64)), redshift[train])
            r2 = model.score(scaler.transform(table[m][test].astype(np.float64)), redshift[test].astype(np.float64))
            print(f"redshift from {m}: R2 {entry['r2']:.6f}, scikit-learn {r2:.6f}")
            check(entry["train"] == train.sum() and entry["test"] == test.sum() and abs(entry["r2"] - r2) < 1e-5, f"R2 of {m}: {entry} against {r2}")
        check(len(figures["regression"]) == 2, "both modalities are regressed")
    else:
        check(all(same_bits(first[f], files[f]) for f in first), f"{ranks} ranks: the same bits as 1 rank")
        check(figures == first_figures, f"{ranks} ranks: the same figures as 1 rank")

# Other instructions, another type of first products: the same bits.
for name, keys in (("float32", {"compute.precision": "float32"}), ("avx2", {"compute.instructions": "avx2"}), ("threads", {"compute.threads": 2})):
    run(2, "search", {"search.index": index, "search.k": 12, "output.dir": f"{folder}/{name}", **keys})
    check(all(same_bits(first[f], read_datasets(f"{folder}/{name}/{f}")) for f in first), f"{name}: the same bits")
    check(json.load(open(f"{folder}/{name}/retrieval.json")) == first_figures, f"{name}: the same figures")

# One direction by name; the own object left out; a query set of its own; one query.
run(2, "search", {"search.index": index, "search.index_modality": "spectrum", "search.query_modality": "spectrum", "search.k": 5, "search.exclude_self": "true",
                  "output.dir": f"{folder}/one"})
compare_neighbours(f"{folder}/one/neighbours.h5", expected("spectrum", "spectrum", own_left_out=True), object_id, 5, "own object left out")
write_embedding(f"{folder}/query.h5", object_id[40:41], image[40:41], spectrum[40:41])
run(3, "search", {"search.index": index, "search.query": f"{folder}/query.h5", "search.index_modality": "spectrum", "search.query_modality": "image", "search.k": 3,
                  "output.dir": f"{folder}/single"})
compare_neighbours(f"{folder}/single/neighbours.h5", expected("image", "spectrum", rows=slice(40, 41)), object_id[40:41], 3, "one query")
check(json.load(open(f"{folder}/single/retrieval.json"))["directions"][0]["pairs"] == 1, "one pair")

# More neighbours than entries: the rest is marked. Nobody in common: said, and no figures. Only images.
write_embedding(f"{folder}/few.h5", [5, 6, 7], image[30:33])
os.mkdir(f"{folder}/only")
write_embedding(f"{folder}/only/embedding.h5", np.arange(40) + 900, image[100:140])
text = run(2, "search", {"search.index": f"{folder}/few.h5", "search.query": f"{folder}/only", "search.k": 7, "output.dir": f"{folder}/few"})
got = read_datasets(f"{folder}/few/neighbours-image-image.h5")
ok = np.isfinite(image[100:140]).all(1)
check((got["neighbour_id"][ok, 3:] == -1).all() and np.isnan(got["similarity"][ok, 3:]).all() and np.isfinite(got["similarity"][ok, :3]).all(), "k larger than the index")
check(sorted(got["neighbour_id"][ok][0, :3]) == [5, 6, 7], "all entries are found")
write_embedding(f"{folder}/strangers.h5", np.arange(50), image[:50], spectrum[:50])
text = run(2, "search", {"search.index": index, "search.query": f"{folder}/strangers.h5", "output.dir": f"{folder}/strangers"})
check("no query object is in the index" in text, "nobody in common is said")
check(all(d.get("recall", {}).get("1") is None for d in json.load(open(f"{folder}/strangers/retrieval.json"))["directions"]), "and has no figures")

# What cannot be used: the code, and what the message names.
write_embedding(f"{folder}/narrow.h5", np.arange(50), image[:50, :20])
with h5py.File(f"{folder}/torn.h5", "w") as f:
    f["object_id"] = np.arange(50)
    f["image_embedding"] = image[:49]
for name, dataset in (("flag", "has_image"), ("label", "label/redshift")):
    with h5py.File(f"{folder}/{name}.h5", "w") as f:
        f["object_id"] = np.arange(50)
        f["image_embedding"] = image[100:150]
        f[dataset] = np.ones((50, 400), np.uint8)  # one number a row is wanted
with h5py.File(f"{folder}/format.h5", "w") as f:
    f.attrs["syzygy_format"] = "shard"
    f["object_id"] = np.arange(5)
open(f"{folder}/empty.h5", "w").close()
with open(f"{folder}/random.h5", "wb") as f:
    f.write(rng.bytes(50000))
with open(f"{folder}/a.h5", "rb") as f:
    head = f.read()
with open(f"{folder}/cut.h5", "wb") as f:
    f.write(head[: len(head) // 2])
cases = [
    (3, {"search.index": f"{folder}/{name}.h5"}, f"{name}.h5") for name in ("torn", "flag", "label", "format", "empty", "random", "cut", "absent")
] + [
    (3, {"search.index": index, "search.query": f"{folder}/narrow.h5"}, "narrow.h5"),
    (3, {"search.index": f"[{folder}/a.h5,{folder}/narrow.h5]"}, "narrow.h5"),
    (3, {"search.index": f"{folder}/only", "search.index_modality": "spectrum"}, "spectrum_embedding"),
    (2, {"search.index": index, "search.k": 0}, "search.k"),
    (2, {"search.index": index, "search.index_modality": "sound"}, "search.index_modality"),
    (2, {"search.indx": index}, "search.index"),
]
for code, keys, name in cases:
    text = run(3, "search", {**keys, "output.dir": f"{folder}/bad"}, expect=code)
    check(name in text, f"the message names {name}: {text[-400:]}")
    check(not os.path.exists(f"{folder}/bad") or not any(f.startswith("neighbours") for f in os.listdir(f"{folder}/bad")), "nothing is written")
finish()
