# SPDX-License-Identifier: BSD-3-Clause
"""probe outliers: strange objects put into a mixture of Gaussians are found; distances against scikit-learn, ranks against SciPy, ratings by their formula in NumPy; 1, 2 and 3 ranks; bad ratings."""
import csv
import json
import os
import subprocess
import sys

import h5py
import numpy as np
from scipy.stats import rankdata, spearmanr
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import BINARY, above, below, check, finish, launch, scratch
from embed_common import write_embedding

folder = scratch()
rng = np.random.default_rng(26)
N, E, STRANGE, K = 900, 16, 18, 5
basis = rng.normal(size=(4, E))
latent = rng.normal(size=(N, 4)) + 4 * rng.integers(0, 2, (N, 1))
strange = np.zeros(N, bool)
strange[rng.choice(N, STRANGE, replace=False)] = True
latent[strange] = rng.normal(size=(STRANGE, 4)) * 9 - 6
image = (latent @ basis + 0.3 * rng.normal(size=(N, E)) + 2).astype(np.float32)
spectrum = (latent @ rng.normal(size=(4, E)) + 0.3 * rng.normal(size=(N, E))).astype(np.float32)
object_id = 39627788403084375 + rng.permutation(N)
object_id[7], image[7] = object_id[640], image[640]  # an object twice: no neighbour of itself
ra, dec = rng.uniform(0, 40, N), rng.uniform(-10, 10, N)
image[3, 2] = np.nan  # without an image, with a spectrum
spectrum[4] = 0
has = np.ones(N, bool)
write_embedding(f"{folder}/embedding.h5", object_id, image, spectrum, has, has, mag=np.arange(N))
with h5py.File(f"{folder}/embedding.h5", "a") as f:
    f["ra"], f["dec"] = ra, dec


def probe(ranks, out, *keys, expect=0, sources="[image, spectrum]"):
    sets = [f"output.dir={folder}/{out}", f"probe.embeddings={folder}/embedding.h5", "compute.precision=float32", f"probe.sources={sources}",
            f"probe.outlier_neighbours={K}", "probe.outlier_components=4", "probe.members=2", "probe.epochs=5", *keys]
    done = launch(ranks, BINARY, "probe", "outliers", *(word for item in sets for word in ("--set", item)), stderr=subprocess.STDOUT, timeout=120)
    check(done.returncode == expect, f"{out} on {ranks} ranks ends with {done.returncode}, {expect} expected" + ("" if done.returncode == expect else f": {done.stdout[-900:]}"))
    return done.stdout


def catalogue(out):
    """{name: values}, in the order of the ranking, and the row of the input of each."""
    found = {}
    with h5py.File(f"{folder}/{out}/outliers.h5") as f:
        f.visititems(lambda name, item: found.__setitem__(name, item[...]) if isinstance(item, h5py.Dataset) else None)
        check(f.attrs["syzygy_format"] in ("outliers", b"outliers") and f["ra"].attrs["units"] in ("deg", b"deg"), f"{out}: format and units")
    place = {(a, b): i for i, (a, b) in enumerate(zip(object_id, ra))}
    return found, np.array([place[a, b] for a, b in zip(found["object_id"], found["ra"])])


def of_rows(found, row, name):
    x = np.full(N, np.nan)
    x[row] = found[name]
    return x


def table(out, name):
    with open(f"{folder}/{out}/{name}", newline="") as f:
        return list(csv.DictReader(f))


probe(1, "r1")
found, row = catalogue("r1")
check(len(row) == N and len(set(row)) == N, "every object that has an image or a spectrum is listed once")
check((np.diff(found["score"]) <= 0).all(), "the strangest first")
with open(f"{folder}/r1/probe.json") as f:
    result = json.load(f)["outliers"]
usable = {"image": np.isfinite(image).all(1), "spectrum": (spectrum != 0).any(1)}
cell = [((int(np.floor(10 * a)) << 32) ^ int(np.floor(10 * (d + 90)))) for a, d in zip(ra, dec)]


def splitmix(x):
    m = (1 << 64) - 1
    x = (x + 0x9E3779B97F4A7C15) & m
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & m
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & m
    return x ^ (x >> 31)


is_test = np.array([(splitmix(c) >> 11) / 2.0**53 < 0.2 for c in cell])
is_test[640] = is_test[7]
score, scaled = {}, {}
train = np.flatnonzero(~is_test & usable["image"] & usable["spectrum"])
for source, x in (("image", image), ("spectrum", spectrum)):
    ok = usable[source]
    told = next(s for s in result["sources"] if s["source"] == source)
    check(told["n"] == ok.sum() and told["components"] == 4, f"{source}: {told['n']} objects, {told['components']} components")
    surprise, distance = of_rows(found, row, f"{source}/neg_log_density"), of_rows(found, row, f"{source}/neighbour_distance")
    check((np.isfinite(surprise) == ok).all() and (np.isfinite(distance) == ok).all(), f"{source}: scores of exactly the objects that have it")
    for name, value in (("density", surprise), ("distance", distance)):
        above(roc_auc_score(strange[ok], value[ok]), 0.97, f"{source}, {name}: AUC of the strange ones")
    # Distances: the object itself and its copy are no neighbours.
    z = np.zeros((N, E), np.float32)
    z[ok] = StandardScaler().fit(x[train].astype(np.float64)).transform(x[ok].astype(np.float64))
    scaled[source] = z.astype(np.float64)
    at = np.flatnonzero(ok)
    d, j = NearestNeighbors(n_neighbors=K + 2, algorithm="brute").fit(scaled[source][at]).kneighbors(scaled[source][at])
    want = np.array([np.mean([a for a, b in zip(dd, jj) if object_id[at[b]] != object_id[i]][:K]) for i, dd, jj in zip(at, d, j)])
    below(np.abs(distance[at] / want - 1).max(), 1e-5, f"{source}: mean distance to {K} neighbours against scikit-learn")
    # Ranks.
    ranks = {name: rankdata(-value[ok]) for name, value in (("neg_log_density", surprise), ("neighbour_distance", distance))}
    combined = rankdata(sum(ranks.values()))
    for name, want in (("neg_log_density_rank", ranks["neg_log_density"]), ("neighbour_distance_rank", ranks["neighbour_distance"]), ("combined_rank", combined)):
        below(np.abs(of_rows(found, row, f"{source}/{name}")[ok] - want).max(), 0, f"{source}: {name} against SciPy")
    score[source] = np.full(N, np.nan)
    score[source][ok] = 5 * (1 - (combined - 1) / (ok.sum() - 1))
    below(np.nanmax(np.abs(of_rows(found, row, f"{source}/score") - score[source])), 1e-12, f"{source}: score from the combined rank")
    below(abs(told["rank_correlation"] - spearmanr(surprise[ok], distance[ok])[0]), 1e-12, f"{source}: agreement of the scores against SciPy")
below(np.abs(of_rows(found, row, "score") - np.nanmean([score["image"], score["spectrum"]], 0)).max(), 1e-12, "score of an object is the mean over its sources")
listed = table("r1", "outliers.csv")
check([int(r["object_id"]) for r in listed] == found["object_id"][:100].tolist(), "outliers.csv has the first 100 rows")
below(max(abs(float(r["image_neighbour_distance"] or "nan") / a - 1) for r, a in zip(listed, found["image/neighbour_distance"]) if np.isfinite(a)), 1e-8, "outliers.csv: numbers")

# The loop: a person fills in some of the list, and adds a few.
asked = table("r1", "ratings_next.csv")
check([int(r["object_id"]) for r in asked] == found["object_id"][:20].tolist() and not any(r["rating"] for r in asked), "the first ones to rate are the strangest")
given = {int(r["object_id"]): float(k % 6) for k, r in enumerate(asked[:12])}
given.update({int(object_id[i]): 0.0 for i in (20, 30, 40)})
given[int(object_id[640])] = 2.5
with open(f"{folder}/ratings.csv", "w") as f:
    f.write("object_id,ra,rating\n" + f"{object_id[20]},1,4.5\n")  # corrected below
    f.write("".join(f"{r['object_id']},{r['ra']},\n" for r in asked[12:]) + "".join(f"{i},,{u}\n" for i, u in given.items()) + "12345,,3\n")
text = probe(1, "rated", f"probe.ratings={folder}/ratings.csv")
check("1 of 18 ratings are for objects that are not scored here: 12345" in text, "a rating for an unknown object is told")
found2, row2 = catalogue("rated")
own = np.array([given.get(int(i), np.nan) for i in object_id])
rated = np.isfinite(own)
final, near, said, mean_near = {}, {}, {}, {}
for source in ("image", "spectrum"):
    ok, z = usable[source], scaled[source]
    index = np.flatnonzero(ok & rated)
    d, j = NearestNeighbors(n_neighbors=5, algorithm="brute").fit(z[index]).kneighbors(z)
    with np.errstate(divide="ignore", invalid="ignore"):
        u = (own[index][j] / d).sum(1) / (1 / d).sum(1)
    near[source] = np.where(ok, np.where(rated, 0, d[:, 0]), np.nan)
    said[source] = np.where(ok, np.where(rated, own, u), np.nan)
    mean_near[source] = np.nanmean(near[source])
    final[source] = score[source] * np.tanh(np.exp(near[source] / mean_near[source]) - 1 + np.arctanh(0.1 + 0.85 * said[source] / 5))
    for name, want in (("rated_distance", near[source]), ("predicted_rating", said[source]), ("rated_score", final[source])):
        got = of_rows(found2, row2, f"{source}/{name}")
        check((np.isnan(got) == np.isnan(want)).all(), f"{source}: {name} where it should be")
        below(np.nanmax(np.abs(got - want)), 1e-5, f"{source}: {name} against NumPy")
below(np.abs(of_rows(found2, row2, "score") - np.nanmean([final["image"], final["spectrum"]], 0)).max(), 1e-5, "score with the ratings")
check((np.diff(found2["score"]) <= 0).all() and (np.isfinite(of_rows(found2, row2, "rating")) == rated).all(), "ranking with the ratings")
# The next ones: each counts as rated from then on.
taken, want = rated.copy(), []
now = {source: near[source].copy() for source in near}
for _ in range(20):
    value = np.nanmean([score[s] * np.tanh(np.exp(now[s] / mean_near[s]) - 1 + np.arctanh(0.1 + 0.85 * said[s] / 5)) for s in now], 0)
    best = int(np.argmax(np.where(taken, -1, value)))
    want.append(object_id[best])
    taken |= object_id == object_id[best]
    for source in now:
        if usable[source][best]:
            x = scaled[source]
            now[source] = np.fmin(now[source], np.where(usable[source], np.linalg.norm(x - x[best], axis=1), np.nan))
again = table("rated", "ratings_next.csv")
check([int(r["object_id"]) for r in again[:20]] == want, "the next ones to rate against NumPy")
check({int(r["object_id"]): float(r["rating"]) for r in again[20:]} == {**given, 12345: 3.0}, "and the ratings so far below them")
with open(f"{folder}/rated/ratings_next.csv") as f:  # some more by the person, and on it goes
    filled = f.read().replace(",\n", ",1\n", 7)
with open(f"{folder}/more.csv", "w") as f:
    f.write(filled)

# The same bits on any number of ranks.
for ranks in (2, 3):
    probe(ranks, f"r{ranks}", f"probe.ratings={folder}/ratings.csv")
    other, _ = catalogue(f"r{ranks}")
    check(other.keys() == found2.keys() and all(other[k].tobytes() == found2[k].tobytes() for k in other), f"{ranks} ranks: the same bits")
    for name in ("outliers.csv", "ratings_next.csv"):
        with open(f"{folder}/r{ranks}/{name}") as a, open(f"{folder}/rated/{name}") as b:
            check(a.read() == b.read(), f"{ranks} ranks: the same {name}")

probe(2, "loop", f"probe.ratings={folder}/more.csv", sources="image")
with open(f"{folder}/loop/probe.json") as f:
    told = json.load(f)["outliers"]["ratings"]
check(told["rows"] == len(given) + 2 + 7 and told["unknown"] == 1, f"the list of a run, filled in, is the next input: {told['rows']} ratings, {told['unknown']} unknown")

# Bad ratings.
for text, status, word in (("object_id,rating\n1,3\n2,4\n", 3, "none of the 2 rated objects"), (f"object_id,rating\n{object_id[0]},5.5\n", 3, "by 5.5"),
                           (f"object_id,rating\n{object_id[0]},good\n", 3, "good"),
                           (f"object_id,ratings\n{object_id[0]},1\n", 3, "ratings"), (f"object_id,rating\n{object_id[0]},\n", 3, "has a rating"),
                           (f"object_id,rating\n{object_id[3]},2\n", 3, "none of the 1 rated")):
    with open(f"{folder}/bad.csv", "w") as f:
        f.write(text)
    said_so = probe(2, "bad", f"probe.ratings={folder}/bad.csv", expect=status, sources="image")
    check(word in said_so, f"{text!r}: the message says {word}" + ("" if word in said_so else f": {said_so[-400:]}"))
    check(not os.path.exists(f"{folder}/bad/outliers.h5"), "nothing is written")
check("none.csv" in probe(2, "bad", "probe.ratings=none.csv", expect=3), "a file that is not there is named")
finish()
