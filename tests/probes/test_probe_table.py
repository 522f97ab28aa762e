# SPDX-License-Identifier: BSD-3-Clause
"""probe knn, linear, flow and table on embedding files: split, folds, heads and figures against NumPy and scikit-learn; 1, 2, 3 and 4 ranks; bad input."""
import json
import os
import subprocess
import sys

import h5py
import numpy as np
from astropy.io import fits
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import f1_score, r2_score
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import BINARY, below, check, finish, launch, scratch
from embed_common import write_embedding

folder = scratch()
rng = np.random.default_rng(12)
N, E = 1200, 20
z, mass = rng.uniform(0.01, 0.6, N), rng.normal(10, 0.6, N)
mass += 2 * z  # the two are correlated given any embedding
latent = np.stack([np.sin(5 * z), np.cos(5 * z), mass], 1)
image = (latent @ rng.normal(size=(3, E)) + 0.3 * rng.normal(size=(N, E)) + 1).astype(np.float32)
spectrum = (latent @ rng.normal(size=(3, E)) + 0.05 * rng.normal(size=(N, E))).astype(np.float32)
object_id = 39627788403084375 + rng.permutation(N)
object_id[7] = object_id[900]  # one object twice
ra, dec = rng.uniform(0, 40, N) % 360, rng.uniform(-10, 10, N)
ra[11], dec[11] = ra[10], dec[10] + 0.5 / 3600
redshift, log_mstar = z.astype(np.float32), mass.astype(np.float32)
log_mstar[::17] = np.nan
is_high = (mass > 10.8).astype(np.float32)
has = np.ones(N, bool)
spectrum[5] = 0
image[6, 3] = np.nan
write_embedding(f"{folder}/embedding.h5", object_id, image, spectrum, has, has, redshift=redshift, log_mstar=log_mstar, is_high=is_high, mag_r=(20 - mass + 10).astype(np.float32),
                constant=np.ones(N, np.float32), sparse=np.where(np.arange(N) < 9, z, np.nan).astype(np.float32))
with h5py.File(f"{folder}/embedding.h5", "a") as f:
    for name, value in (("ra", ra), ("dec", dec)):
        if name in f:
            del f[name]
        f[name] = value


def probe(task, ranks, out, *keys, expect=0):
    sets = [f"output.dir={folder}/{out}", f"probe.embeddings={folder}/embedding.h5", "compute.precision=float32", *keys]
    done = launch(ranks, BINARY, "probe", task, *(word for item in sets for word in ("--set", item)), stderr=subprocess.STDOUT, timeout=120)
    check(done.returncode == expect, f"probe {task} on {ranks} ranks ends with {done.returncode}, {expect} expected" + ("" if done.returncode == expect else f": {done.stdout[-900:]}"))
    return done.stdout


def rows(out):
    with open(f"{folder}/{out}/probe.json") as f:
        result = json.load(f)
    return result, {(r["label"], r["source"], r["method"]): r for r in result["results"]}


def splitmix(x):
    m = (1 << 64) - 1
    x = (x + 0x9E3779B97F4A7C15) & m
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & m
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & m
    return x ^ (x >> 31)


# The split, written down again from its definition.
cell = [((int(np.floor(10 * (a % 360))) << 32) ^ int(np.floor(10 * (d + 90)))) for a, d in zip(ra, dec)]
is_test = np.array([(splitmix(c) >> 11) / 2.0**53 < 0.2 for c in cell])
is_test[900] = is_test[7]  # copies follow the first one
usable = np.isfinite(image).all(1) & np.isfinite(spectrum).all(1) & (spectrum != 0).any(1)
LABELS = ["probe.labels=[redshift, log_mstar, constant, sparse, \"2 * log_mstar + ln(redshift)\"]", "probe.classes=is_high"]
OPTIONS = [*LABELS, "probe.k=[8, 32]", "probe.penalty=[1e-4, 1e-2, 1]", "probe.members=3", "probe.epochs=6", "probe.draws=200", "probe.bootstrap=200"]
text = probe("table", 1, "r1", *OPTIONS)
check("constant is left out" in text and "sparse is left out" in text, "labels that say nothing are left out, and that is said")
result, table = rows("r1")
with h5py.File(f"{folder}/r1/predictions.h5") as f:
    predicted_id = f["object_id"][:]
    test = np.flatnonzero(is_test & usable)
    check((predicted_id == object_id[test]).all(), "the test objects are those of the split by its definition")
    train = np.flatnonzero(~is_test & usable)
    check(result["split"]["train"] == len(train) and result["split"]["test"] == len(test), f"counts of train and test: {result['split']}")
    for source, x in (("image", image), ("spectrum", spectrum)):
        for label, y in (("redshift", redshift), ("log_mstar", log_mstar)):
            known = np.isfinite(f[f"prediction/{source}/flow/{label}"][:])  # a label's rows are judged on objects that all of them predict
            # Ridge with the penalty that was chosen.
            row = table[label, source, "linear"]
            alpha = float(row["chosen"].split()[1])
            use = train[np.isfinite(y[train])]
            head = make_pipeline(StandardScaler(), Ridge(alpha=alpha * len(use))).fit(x[use].astype(np.float64), y[use].astype(np.float64))
            said = head.predict(x[test].astype(np.float64))
            got = f[f"prediction/{source}/linear/{label}"][:]
            below(np.abs(got - said).max() / y[use].std(), 1e-5, f"linear, {label} from {source}: predictions against scikit-learn")
            below(abs(row["figures"]["R2"]["value"] - r2_score(y[test][known], got[known])), 1e-10, f"linear, {label} from {source}: R2 against scikit-learn")
            # Neighbours, with the k that was chosen; NaN labels are passed over, so without them.
            row = table[label, source, "knn"]
            if label == "redshift":
                scaler = StandardScaler().fit(x[train].astype(np.float64))
                k = int(row["chosen"].split()[1])
                said = KNeighborsRegressor(k, weights="distance").fit(scaler.transform(x[train]), y[train].astype(np.float64)).predict(scaler.transform(x[test]))
                got = f[f"prediction/{source}/knn/{label}"][:]
                below(np.abs(got - said).max(), 1e-4, f"knn, {label} from {source}: predictions against scikit-learn")
            error = row["figures"]["R2"]["error"]
            check(0 < error < 0.2, f"{label} from {source}: bootstrap error {error}")
        row = table["is_high", source, "linear"]
        alpha = float(row["chosen"].split()[1])
        head = make_pipeline(StandardScaler(), LogisticRegression(C=1 / (alpha * len(train)), max_iter=5000, tol=1e-8)).fit(x[train].astype(np.float64), is_high[train])
        said = head.predict(x[test].astype(np.float64))
        got = f[f"prediction/{source}/linear/is_high"][:]
        check((said == got).mean() > 0.995, f"linear, is_high from {source}: {(said != got).sum()} classes differ from scikit-learn's")
        below(abs(row["figures"]["weighted F1"]["value"] - f1_score(is_high[test], got, average="weighted")), 1e-10, f"is_high from {source}: weighted F1")
    # Posteriors: the joint one knows the correlation, quantiles are in order, PIT is what the draws say.
    for posterior in result["posteriors"]:
        q = f[f"posterior/{posterior['source']}/redshift/quantiles"][:]
        ok = np.isfinite(q[:, 0])
        check(ok.sum() == posterior["n"] and (np.diff(q[ok], axis=1) >= 0).all(), f"{posterior['source']}: quantiles of {ok.sum()} objects are in order")
        density = f[f"posterior/{posterior['source']}/log_density"][:]
        below(abs(-density[ok].mean() - posterior["nll_joint"]), 1e-12, f"{posterior['source']}: NLL is the mean of the densities")
check(table["redshift", "spectrum", "linear"]["figures"]["R2"]["value"] > table["redshift", "image", "linear"]["figures"]["R2"]["value"], "the cleaner source knows more")
best = [r for r in result["results"] if r["label"] == "redshift" and r["is_best"]]
check(len(best) == 1 and best[0]["figures"]["R2"]["value"] == max(r["figures"]["R2"]["value"] for r in result["results"] if r["label"] == "redshift"), "one best row")

with fits.open(f"{folder}/r1/predictions.fits", checksum=True) as hdus, h5py.File(f"{folder}/r1/predictions.h5") as f:
    data = hdus["PREDICTIONS"].data
    check((data["OBJECT_ID"] == f["object_id"][:]).all() and np.array_equal(data["linear_image_redshift"], f["prediction/image/linear/redshift"][:], equal_nan=True)
          and np.array_equal(data["quantiles_spectrum_redshift"], f["posterior/spectrum/redshift/quantiles"][:], equal_nan=True), "astropy reads the same from predictions.fits")

# Of a long column name the source is cut and the label stays; names differ by more than capitals; comments have both in full.
LONG = "log_mstar + redshift / 2 + 3 * mag_r - 19"
deep = f"{folder}/{'deep' * 20}.h5"
os.link(f"{folder}/embedding.h5", deep)
probe("linear", 1, "names", f"probe.labels=[\"1e0 * redshift\", \"1E0 * redshift\", \"{LONG}\"]", f"probe.sources=[\"{deep}:image\"]", "probe.penalty=[1]", "probe.bootstrap=20")
with fits.open(f"{folder}/names/predictions.fits", checksum=True) as hdus, h5py.File(f"{folder}/names/predictions.h5") as f:
    header, names = hdus["PREDICTIONS"].header, hdus["PREDICTIONS"].columns.names
    found = {header[f"TCOMM{i + 1}"]: name for i, name in enumerate(names)}
    name = found[f"predicted value of {LONG} from {deep}:image by linear"]
    check(name.startswith("linear_") and name.endswith("_log_mstar_redshift_2_3_mag_r_19") and 60 < len(name) <= 64, f"the label is whole, the source is not: {name}")
    check(len({n.lower() for n in names}) == len(names) and found["true value of 1e0 * redshift"] == "1e0_redshift" and found["true value of 1E0 * redshift"].startswith("1E0_redshift_"), f"names that differ: {names}")

# The same on any number of ranks.
for ranks in (2, 3, 4):
    probe("table", ranks, f"r{ranks}", *OPTIONS)
    other, others = rows(f"r{ranks}")
    check(other["split"] == result["split"], f"{ranks} ranks: the same split and digest")
    worst = max(abs(r["figures"][k]["value"] - others[key]["figures"][k]["value"]) for key, r in table.items() for k in r["figures"])
    below(worst, 1e-6, f"{ranks} ranks: figures")
    for a, b in zip(result["posteriors"], other["posteriors"]):
        check(a == b, f"{ranks} ranks: the same bits of posteriors from {a['source']}")

# Bad input, seen by one command each.
cases = [(["probe.labels=redshifd"], 3, "redshift"), (["probe.labels=\"log10(\""], 2, "probe.labels"), (["probe.sources=nothing.h5"], 3, "nothing.h5"),
         (["probe.labels=constant"], 3, "no label"), (["probe.k=[0]"], 2, "probe.k"), (["probe.k=2.5"], 2, "whole number"), (["probe.split=file"], 2, "probe.test_embeddings"),
         (["probe.split=column"], 2, "probe.split_column"), (["probe.labels=log_mstar", "probe.classes=redshift"], 3, "classes are the whole numbers"), (["probe.cut=redshift > 5"], 3, "cut leaves out"),
         (["probe.sources=[image, image]"], 2, "twice"), (["probe.table=none.csv"], 3, "none.csv"), (["probe.sources=photometry", "probe.photometry=mag_q"], 3, "mag_r")]
for keys, status, word in cases:
    said = probe("knn", 2, "bad", *keys, expect=status)
    check(word in said, f"{keys}: the message says {word}" + ("" if word in said else f": {said[-400:]}"))
    check(not os.path.exists(f"{folder}/bad/probe.json"), f"{keys}: nothing is written")
finish()
