# SPDX-License-Identifier: BSD-3-Clause
"""analyse cca, mutual-information, health and pca against NumPy, SciPy and scikit-learn: halves, labels, partners, angles; 1, 2 and 3 ranks; unusable objects and input."""
import json
import os
import sys

import h5py
import numpy as np
from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsRegressor
from sklearn.preprocessing import StandardScaler

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import check_quietly as check, finish, scratch
from embed_common import run, write_embedding

SEED, HALF = 77, 26  # the purpose of halves in include/syzygy/numbers.h
folder = scratch()
rng = np.random.default_rng(4)


def half_of(identifier):
    """The first word of Philox4x32-10 (Salmon et al. 2011) for (seed, purpose, step 0, identifier); its lowest bit."""
    counter = [0, 0, identifier & 0xFFFFFFFF, (identifier >> 32) | (HALF << 24)]
    key = [SEED & 0xFFFFFFFF, SEED >> 32]
    for _ in range(10):
        a, b = 0xD2511F53 * counter[0], 0xCD9E8D57 * counter[2]
        counter = [(b >> 32) ^ counter[1] ^ key[0], b & 0xFFFFFFFF, (a >> 32) ^ counter[3] ^ key[1], a & 0xFFFFFFFF]
        key = [(key[0] + 0x9E3779B9) & 0xFFFFFFFF, (key[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return counter[0] & 1


# Two views of four latent dimensions, equally wide; unusable objects in the second file, which the last rank reads.
N, E, SHARED = 2000, 14, 4
z = rng.normal(size=(N, SHARED)) * [1.5, 1.2, 1, 0.9]
image = z @ rng.normal(size=(SHARED, E)) + rng.normal(size=(N, E)) + 0.4
spectrum = z @ rng.normal(size=(SHARED, E)) + rng.normal(size=(N, E)) * 0.8
image, spectrum = image.astype(np.float32), spectrum.astype(np.float32)
image[1990, 3], spectrum[1991], spectrum[1992], image[1993] = np.nan, np.inf, 0, 0
spectrum[30] = spectrum[40] = spectrum[50]
has_image = np.ones(N, bool)
has_image[1994:1997] = False
object_id = 2**40 - 5000 + rng.permutation(N)  # larger ones are folded into the seed by a checksum
redshift = (0.3 + 0.05 * z[:, 0] + 0.02 * z[:, 1] ** 2).astype(np.float32)
redshift[::7] = np.nan
usable = has_image & np.isfinite(image).all(1) & np.isfinite(spectrum).all(1) & (image != 0).any(1) & (spectrum != 0).any(1)
cut = 1300
write_embedding(f"{folder}/a.h5", object_id[:cut], image[:cut], spectrum[:cut], redshift=redshift[:cut])
write_embedding(f"{folder}/b.h5", object_id[cut:], image[cut:], spectrum[cut:], has_image[cut:], redshift=redshift[cut:])
# Before alignment: other widths, dependent columns, another order, not all objects.
order = rng.permutation(N)[:1900]
old_image = (image[order].astype(np.float64) @ rng.normal(size=(E, 9))).astype(np.float32)
old_image = np.concatenate([old_image, old_image[:, :2] * 2], 1)
old_spectrum = (z[order] @ rng.normal(size=(SHARED, 12)) + rng.normal(size=(1900, 12))).astype(np.float32)
write_embedding(f"{folder}/old.h5", object_id[order], old_image, old_spectrum, redshift=redshift[order])
both = {"analyse.embeddings": f"[{folder}/a.h5,{folder}/b.h5]", "seed": SEED}
keys = {**both, "analyse.before": f"[{folder}/old.h5]", "analyse.permutations": 20, "analyse.dimensions": 8, "analyse.neighbours": 10, "analyse.labels": "[redshift,mass]"}


def weights(x, y):
    """Means, weights of unit variance and correlations of CCA, largest weight of x positive."""
    x, y = x.astype(np.float64), y.astype(np.float64)
    mx, my = x.mean(0), y.mean(0)
    (qx, rx), (qy, ry) = np.linalg.qr((x - mx) / x.std(0)), np.linalg.qr((y - my) / y.std(0))
    u, s, vt = np.linalg.svd(qx.T @ qy, full_matrices=False)
    wx, wy = [np.linalg.solve(r, v) * np.sqrt(len(x) - 1) / w.std(0)[:, None] for r, v, w in ((rx, u, x), (ry, vt.T, y))]
    sign = np.sign(wx[np.abs(wx).argmax(0), np.arange(wx.shape[1])])
    return mx, my, wx * sign, wy * sign, s


def correlate(u, v):
    return np.array([np.corrcoef(u[:, k], v[:, k])[0, 1] for k in range(u.shape[1])])


half = np.array([half_of(int(i)) for i in object_id])
x, y, h = image[usable].astype(np.float64), spectrum[usable].astype(np.float64), half[usable]
fits = [weights(x[h == k], y[h == k]) for k in (0, 1)]
held = np.mean([correlate((x[h != k] - f[0]) @ f[2], (y[h != k] - f[1]) @ f[3]) for k, f in enumerate(fits)], 0)


def expected_r2(coordinates, value):
    known = np.isfinite(value)
    train, test = (h == 0) & known, (h == 1) & known
    scale = StandardScaler().fit(coordinates[h == 0])
    model = KNeighborsRegressor(10, weights="distance", algorithm="brute")
    # Neighbours without the label are passed over: search among all training rows, then weigh those that have it.
    model.fit(scale.transform(coordinates[h == 0]), np.zeros((h == 0).sum()))
    distance, which = model.kneighbors(scale.transform(coordinates[test]))
    of = value[h == 0][which]
    w = np.where(np.isfinite(of), 1 / np.maximum(distance, 1e-12), 0)
    p = (w * np.nan_to_num(of)).sum(1) / w.sum(1)
    t = value[test]
    ok = np.isfinite(p)
    return 1 - ((t - p)[ok] ** 2).sum() / ((t[ok] - t[ok].mean()) ** 2).sum()


def expected_recall(u, v):
    u, v = (w / np.linalg.norm(w, axis=1, keepdims=True) for w in (u, v))
    s = u @ v.T
    return (s.argmax(1) == np.arange(len(s))).mean()


first = None
for ranks in (1, 2, 3):
    out = f"{folder}/cca-{ranks}"
    text = run(ranks, "analyse", {**keys, "output.dir": out}, arguments=["cca"])
    got = json.load(open(f"{out}/cca.json"))
    now, before = got["spaces"]
    what = f"cca on {ranks} ranks"
    check(now["objects"] == usable.sum() and now["rows"] == N, f"{what}: {now['objects']} objects, {usable.sum()} expected")
    check(now["left_out"] == {"image": {"missing_or_not_finite": 4, "zero": 1}, "spectrum": {"missing_or_not_finite": 1, "zero": 1}}, f"{what}: left out {now['left_out']}")
    check("1993 of 2000 objects" in text and "4 dimensions are shared" in text, f"{what}: told")
    if first is None:
        first = got
        check(np.abs(now["correlation"] - weights(x, y)[4]).max() < 1e-8, f"{what}: correlations")
        check(np.abs(np.array(now["held_out"]["correlation"]) - held).max() < 1e-8, f"{what}: held out {now['held_out']['correlation']}, {held} expected")
        check(abs(now["held_out"]["correlation"][0] * 1.01 - held[0]) > 1e-8, "one per cent would be seen")
        check(now["held_out"]["shared"] == SHARED == now["permutation"]["shared"] and len(now["permutation"]["largest"]) == 20, f"{what}: shared dimensions")
        check(before["ranks"] == [9, 12] and before["widths"] == [11, 12], f"{what}: ranks before {before['ranks']}")
        u, v = (x - fits[0][0]) @ fits[0][2], (y - fits[0][1]) @ fits[0][3]
        series = now["series"]
        check(series["r"] == [1, 2, 4, 8] and [l["label"] for l in series["labels"]] == ["redshift"], f"{what}: series {series['r']}")
        label = redshift[usable].astype(np.float64)
        pca = [PCA(8).fit(w[h == 0]).transform(w) for w in (x, y)]
        for k, r in enumerate(series["r"]):
            for name, c in (("canonical image", u), ("canonical spectrum", v), ("principal image", pca[0]), ("principal spectrum", pca[1])):
                value, want = series["labels"][0]["r2"][name][k], expected_r2(c[:, :r], label)
                check(abs(value - want) < 2e-4, f"{what}: R2 of {name}, r {r}: {value}, {want} expected")
            w = np.sqrt(np.maximum(held[:r], 0))
            for d, (a, b) in enumerate(((u, v), (v, u))):
                value, want = series["partners"][d]["variates"][k]["recall"]["1"], expected_recall(a[h == 1][:, :r] * w, b[h == 1][:, :r] * w)
                check(abs(value - want) <= 1.5 / (h == 1).sum(), f"{what}: recall by {r} variates {value}, {want} expected")
        check(abs(series["partners"][0]["embeddings"][0]["recall"]["1"] - expected_recall(x[h == 1], y[h == 1])) <= 1.5 / (h == 1).sum(), f"{what}: recall by embeddings")
        # Angles: aligned columns against the first variates before, found in half 0, judged in half 1.
        place = {o: i for i, o in enumerate(object_id[order]) if np.isfinite(old_image[i]).all() and np.isfinite(old_spectrum[i]).all() and old_image[i].any()}
        rows = np.array([i for i in np.flatnonzero(usable) if object_id[i] in place])
        there = np.array([place[object_id[i]] for i in rows])
        ok = np.array(sorted(place.values()))
        oh = half[order]
        old = weights(old_image[ok][oh[ok] == 0][:, :9], old_spectrum[ok][oh[ok] == 0])
        shared = before["held_out"]["shared"]
        for side, (columns, variates) in enumerate(((image, (old_image[:, :9] - old[0]) @ old[2]), (spectrum, (old_spectrum - old[1]) @ old[3]))):
            a, b, k = columns[rows].astype(np.float64), variates[there][:, :shared], half[rows]
            f = weights(a[k == 0], b[k == 0])
            want = correlate((a[k == 1] - f[0]) @ f[2], (b[k == 1] - f[1]) @ f[3])
            check(got["angles"][side]["objects"] == len(rows) and np.abs(np.array(got["angles"][side]["cosine"]) - want).max() < 1e-5, f"{what}: cosines {got['angles'][side]}, {want} expected")
        with h5py.File(f"{out}/cca.h5") as f:
            check(f.attrs["syzygy_format"] == "cca" and f.attrs["first_source"] == "image", "attributes of cca.h5")
            names = []
            f.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
            check(all(w in f[k].attrs for k in names for w in ("units", "description", "checksum")) and "before/second/weight" in names, f"datasets of cca.h5: {names}")
            m = weights(x, y)
            check(np.abs(f["first/weight"][:SHARED] - m[2].T[:SHARED]).max() < 1e-7 and np.abs(f["second/weight"][:SHARED] - m[3].T[:SHARED]).max() < 1e-7, "weights of cca.h5")

    def same(a, b, path=""):
        if isinstance(a, dict):
            return all(same(a[k], b[k], f"{path}.{k}") for k in a) and a.keys() == b.keys()
        if isinstance(a, list):
            return len(a) == len(b) and all(same(p, q, path) for p, q in zip(a, b))
        is_number = [isinstance(w, (int, float)) for w in (a, b)]
        ok = abs(a - b) <= 1e-5 if all(is_number) else a == b
        return check(ok, f"{what}: {path} is {a}, {b} on 1 rank")
    check(same(got, first), f"{what}: differs from 1 rank")
    check(np.abs(np.array(now["correlation"]) - first["spaces"][0]["correlation"]).max() < 1e-12, f"{what}: correlations differ from 1 rank")

unit = [w / np.linalg.norm(w, axis=1, keepdims=True) for w in (x, y)]
variance = [np.linalg.eigvalsh(np.cov(w.T)) for w in (x, y)]
entropy = [np.exp(-(v / v.sum() * np.log(v / v.sum())).sum()) for v in variance]
for ranks in (1, 3):
    out = f"{folder}/other-{ranks}"
    run(ranks, "analyse", {**both, "output.dir": out, "analyse.draws": 4, "analyse.draw_objects": 256}, arguments=["health"])
    got = json.load(open(f"{out}/health.json"))["spaces"][0]
    check(np.allclose([c["effective_rank"] for c in got["columns"]], entropy, rtol=1e-9), f"effective rank on {ranks} ranks: {got['columns']}, {entropy} expected")
    check([c["duplicates"] for c in got["columns"]] == [0, 2], f"duplicates on {ranks} ranks: {got['columns']}")
    check(abs(got["alignment"] - ((unit[0] - unit[1]) ** 2).sum(1).mean()) < 1e-10 and abs(got["modality_gap"] - np.linalg.norm(unit[0].mean(0) - unit[1].mean(0))) < 1e-10, f"alignment and gap on {ranks} ranks")
    for c, w in zip(got["columns"], unit):
        want = np.log(np.exp(4 * (w @ w.T - 1))[~np.eye(len(w), dtype=bool)].mean())
        check(abs(c["uniformity"] - want) < 6 * c["uniformity_error"] and c["uniformity_error"] < 0.1, f"uniformity {c}, {want} expected")
    run(ranks, "analyse", {**both, "output.dir": out, "analyse.draw_objects": 128, "analyse.logit_scale": 5}, arguments=["mutual-information"])
    got = json.load(open(f"{out}/information.json"))["spaces"][0]
    want = -0.5 * np.log(1 - held[:SHARED] ** 2).sum()
    check(abs(got["gaussian"]["nats"] - want) < 1e-7 and abs(got["gaussian"]["bits"] - want / np.log(2)) < 1e-7, f"information {got['gaussian']}, {want} expected")
    curve = got["infonce"]["curve"]
    check([p["n"] for p in curve] == [2, 4, 8, 16, 32, 64, 128] and all(p["bound_nats"] < p["ln_n"] and p["error"] > 0 for p in curve), f"curve {curve}")
    run(ranks, "analyse", {**both, "output.dir": out, "analyse.components": 5}, arguments=["pca"])
    with h5py.File(f"{out}/pca.h5") as f:
        for name, w in (("first", x), ("second", y)):
            p = PCA(5).fit(w)
            c = p.components_ * np.sign(p.components_[np.arange(5), np.abs(p.components_).argmax(1)])[:, None]
            check(np.allclose(f[f"{name}/variance"], p.explained_variance_, rtol=1e-6) and np.abs(f[f"{name}/direction"] - c).max() < 1e-6, f"pca of {name} on {ranks} ranks")
            check(np.abs(f[f"{name}/component"] - (w - w.mean(0)) @ c.T).max() < 1e-4 and (f["object_id"][...] == object_id[usable]).all(), f"components of {name}")

# What can't be done is refused on all ranks, with the name of what is wrong.
few = {"analyse.embeddings": f"[{folder}/few.h5]", "output.dir": f"{folder}/bad"}
write_embedding(f"{folder}/few.h5", np.arange(28), image[:28], spectrum[:28])
text = run(2, "analyse", few, arguments=["cca"], expect=2)
check("28 rows are too few for 14 and 14" in text, f"too few objects: {text[-300:]}")
write_embedding(f"{folder}/few.h5", np.arange(50), image[:50], spectrum[:50])
text = run(2, "analyse", {**few, "analyse.permutations": 0}, arguments=["cca"])
check("no held-out correlations" in text and json.load(open(f"{folder}/bad/cca.json"))["spaces"][0]["held_out"] is None, "halves are too small")
text = run(2, "analyse", {**few, "analyse.sources": "image,photometry"}, arguments=["health"], expect=3)
check("has no photometry" in text, f"a column that is not there: {text[-300:]}")
text = run(2, "analyse", {**few, "analyse.sources": "image"}, arguments=["health"], expect=2)
check("two columns are wanted" in text, "one column")
write_embedding(f"{folder}/other.h5", np.arange(5000, 7000), image + 1, np.nan_to_num(spectrum) + 1)
text = run(2, "analyse", {**both, "analyse.before": f"[{folder}/other.h5]", "analyse.permutations": 0, "output.dir": f"{folder}/bad"}, arguments=["cca"], expect=3)
check("no object in common" in text, "other objects")
write_embedding(f"{folder}/none.h5", np.arange(9), image[:9] * np.nan, spectrum[:9])
text = run(2, "analyse", {**few, "analyse.embeddings": f"[{folder}/none.h5]"}, arguments=["cca"], expect=3)
check("0 objects have both" in text, "nothing usable")
run(2, "analyse", {**both, "output.dir": f"{folder}/dry"}, arguments=["cca", "--dry-run"])
check(not os.path.exists(f"{folder}/dry"), "a dry run writes nothing")
text = run(2, "analyse", {**both, "output.dir": f"{folder}/bad"}, arguments=["cca"], expect=3, SYZ_FAULT="h5_read:1:30")
check("rank 1" in text, f"a read that fails on one rank: {text[-300:]}")
finish()
