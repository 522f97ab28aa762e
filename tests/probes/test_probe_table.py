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


def probe(task, ranks, out, *keys, expect=0, file="embedding.h5"):
    sets = [f"output.dir={folder}/{out}", f"probe.embeddings={folder}/{file}", "compute.precision=float32", *keys]
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


def biweight(u):
    """Integral of (15/16) (1 - u^2)^2 up to u."""
    u = np.clip(u, -1, 1)
    return (8 + 15 * u - 10 * u**3 + 3 * u**5) / 16


def check_posterior(f, posterior, ok):
    """What predictions.h5 and probe.json say of one source, from its draws in NumPy; all labels are linear."""
    folder = f["posterior"][posterior["source"]]
    samples = folder["samples"][:][ok].astype(np.float64)
    n, draws, labels = samples.shape
    check(labels == len(posterior["labels"]) and draws == posterior["draws"], f"draws {samples.shape}")
    for k, said in enumerate(posterior["labels"]):
        name = "_".join(said["label"].split("/"))
        part, y, x = folder[name], f["label"][name][:][ok], np.sort(samples[:, :, k], 1)
        deviation, what = x.std(1, ddof=1), f"{posterior['source']}, {name}: "
        close = lambda got, expected, scale, text: below(np.abs((got - expected) / scale).max(), 2e-5, what + text)  # the draws in the file are float32
        q = part["quantiles"][:][ok]
        close(q, np.quantile(x, [0.05, 0.16, 0.5, 0.84, 0.95], axis=1).T, deviation[:, None], "quantiles")
        close(part["mean"][:][ok], x.mean(1), deviation, "mean")
        close(part["deviation"][:][ok], deviation, deviation, "deviation")
        for dataset, share in (("shortest_68", 0.6827), ("shortest_95", 0.9545)):
            inside = int(np.ceil(share * draws))
            width = np.min(x[:, inside - 1:] - x[:, :draws - inside + 1], axis=1)
            close(np.diff(part[dataset][:][ok], axis=1)[:, 0], width, deviation, dataset)
        mode = part["joint_mode"][:][ok]
        below(np.abs(samples[:, :, k] - mode[:, None]).min(1).max(), 2e-6 * np.abs(mode).max(), what + "the joint mode is one of the draws")
        # CRPS: mean |X - y| - half the mean |X - X'| of pairs without replacement.
        pairs = (x * (2 * np.arange(draws) - draws + 1)).sum(1) / (draws * (draws - 1))
        crps = np.abs(x - y[:, None]).mean(1) - pairs
        close(part["crps"][:][ok], crps, deviation, "CRPS")
        below(abs(said["crps"] - crps.mean()) / crps.mean(), 2e-5, what + "mean CRPS")
        below(abs(said["crps_expected"] - pairs.mean()) / pairs.mean(), 2e-5, what + "expected CRPS")
        # Densities: a biweight kernel around each draw, mean of each cell; CDE loss by trapezoids and the nearest middle.
        edge, grid, pdf, inside = part["edge"][:], part["grid"][:], part["pdf"][:][ok].astype(np.float64), part["inside"][:][ok]
        check(len(grid) == said["grid"]["cells"] == 200 and np.allclose(grid, (edge[1:] + edge[:-1]) / 2, rtol=0, atol=1e-12) and np.allclose(edge[[0, -1]], [said["grid"]["low"], said["grid"]["high"]], rtol=1e-14, atol=0), what + "grid")
        step = edge[1] - edge[0]
        below(np.abs(pdf.sum(1) * step - 1).max(), 1e-5, what + "densities have the integral 1")
        below(np.abs(step * (pdf[:, 1:] + pdf[:, :-1]).sum(1) / 2 - 1).max(), 1e-3, what + "and by trapezoids between the middles")
        reach = np.sqrt(7) * 0.5 * np.minimum(deviation, np.subtract(*np.quantile(x, [0.75, 0.25], axis=1)) / 1.349) * draws**-0.2
        expected, met = np.empty_like(pdf), np.empty(n)
        for i in range(n):
            mass = np.diff(biweight((edge[:, None] - x[i]) / reach[i]), axis=0) / draws  # [cell, draw]
            total = mass.sum()
            expected[i] = mass.sum(1) / total / step
            cell = np.searchsorted(edge, x[i], "right") - 1
            there = (cell >= 0) & (cell < 200)
            others = (mass.sum(1)[cell[there]] - mass[cell[there], np.flatnonzero(there)]) * draws / (draws - 1)
            met[i] = others.sum() / draws / total / step
            if i == 0:
                below(abs(inside[0] - total), 1e-6, what + "probability inside of the grid")
        scale = pdf.max(1, keepdims=True)
        below((np.abs(pdf - expected) / scale).max(), 1e-3, what + "densities")
        check((np.abs(pdf - 1.01 * expected) / scale).max() > 5e-3, what + "a fault of 1 % would be found")
        square = step * ((pdf[:, 1:] ** 2 + pdf[:, :-1] ** 2) / 2).sum(1)
        cde = square - 2 * pdf[np.arange(n), np.abs(grid - y[:, None]).argmin(1)]
        below(np.abs(part["cde_loss"][:][ok] - cde).max() / np.abs(cde).max(), 1e-5, what + "CDE loss")
        below(abs(said["cde_loss"] - cde.mean()) / abs(cde.mean()), 1e-5, what + "mean CDE loss")
        below(abs(said["cde_loss_expected"] - (square - 2 * met).mean()) / met.mean(), 1e-3, what + "expected CDE loss")
        below(abs(said["cde_loss_error"] / ((cde - square + 2 * met).std(ddof=1) / np.sqrt(n)) - 1), 1e-3, what + "error of the CDE loss")
        below(abs(said["nll"] + part["log_density"][:][ok].mean()), 1e-12, what + "NLL is the mean of the label's own densities")
        # Conformal intervals: medians and widths as they should be, and what they hold.
        ends = part["conformal"][:][ok].reshape(n, 3, 2)
        for a, row in enumerate(said["conformal"]):
            half = row["factor"] * (q[:, 3] - q[:, 1]) / 2
            below(np.abs(ends[:, a] - np.stack([q[:, 2] - half, q[:, 2] + half], 1)).max(), 1e-10, what + f"conformal interval {row['level']}")
            held = ((ends[:, a, 0] <= y) & (y <= ends[:, a, 1])).mean()
            below(abs(held - row["covered"]), 1e-12, what + f"coverage of conformal intervals of {row['level']}")
            error = np.sqrt(row["level"] * (1 - row["level"]) * (1 / n + 1 / posterior["validation"]))
            below(abs(row["error"] - error), 1e-12, what + "its error")
            below(abs(held - row["level"]), 3.5 * error, what + f"conformal intervals of {row['level']} hold {held:.3f}")


# The split, written down again from its definition.
cell = [((int(np.floor(10 * (a % 360))) << 32) ^ int(np.floor(10 * (d + 90)))) for a, d in zip(ra, dec)]
is_test = np.array([(splitmix(c) >> 11) / 2.0**53 < 0.2 for c in cell])
is_test[900] = is_test[7]  # copies follow the first one
usable = np.isfinite(image).all(1) & np.isfinite(spectrum).all(1) & (spectrum != 0).any(1)
LABELS = ["probe.labels=[redshift, log_mstar, constant, sparse, \"2 * log_mstar + ln(redshift)\"]", "probe.classes=is_high"]
OPTIONS = [*LABELS, "probe.k=[8, 32]", "probe.penalty=[1e-4, 1e-2, 1]", "probe.members=3", "probe.epochs=6", "probe.draws=200", "probe.samples=200", "probe.bootstrap=200"]
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
        check_posterior(f, posterior, ok)
check(table["redshift", "spectrum", "linear"]["figures"]["R2"]["value"] > table["redshift", "image", "linear"]["figures"]["R2"]["value"], "the cleaner source knows more")
best = [r for r in result["results"] if r["label"] == "redshift" and r["is_best"]]
check(len(best) == 1 and best[0]["figures"]["R2"]["value"] == max(r["figures"]["R2"]["value"] for r in result["results"] if r["label"] == "redshift"), "one best row")

with fits.open(f"{folder}/r1/predictions.fits", checksum=True) as hdus, h5py.File(f"{folder}/r1/predictions.h5") as f:
    data = hdus["PREDICTIONS"].data
    check((data["OBJECT_ID"] == f["object_id"][:]).all() and np.array_equal(data["linear_image_redshift"], f["prediction/image/linear/redshift"][:], equal_nan=True)
          and np.array_equal(data["quantiles_spectrum_redshift"], f["posterior/spectrum/redshift/quantiles"][:], equal_nan=True), "astropy reads the same from predictions.fits")
    for source in ("image", "spectrum"):
        for label in ("redshift", "log_mstar"):
            part = f[f"posterior/{source}/{label}"]
            for column in ("quantiles", "mean", "deviation", "mode", "joint_mode", "shortest_68", "shortest_95", "conformal"):
                check(np.array_equal(data[f"{column}_{source}_{label}"], part[column][:], equal_nan=True), f"astropy reads {column} of {label} from {source}")
            check(np.array_equal(hdus["PDF"].data[f"pdf_{source}_{label}"], part["pdf"][:], equal_nan=True) and np.array_equal(hdus["PDF_GRID"].data[f"pdf_{source}_{label}"][0], part["grid"][:])
                  and (hdus["PDF"].data["OBJECT_ID"] == f["object_id"][:]).all(), f"astropy reads densities of {label} from {source}")

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
    with h5py.File(f"{folder}/r1/predictions.h5") as f, h5py.File(f"{folder}/r{ranks}/predictions.h5") as g:
        names = []
        f["posterior"].visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        differs = [name for name in names if not np.array_equal(f["posterior"][name][:], g["posterior"][name][:], equal_nan=True)]
        check(len(names) > 60 and not differs, f"{ranks} ranks: the same bits in {len(names)} datasets of posteriors, but for {differs}")

# Grids that the input asks for: none, or 31 cells of a density that the flow itself knows, against the draws.
ONE = ["probe.labels=redshift", "probe.sources=image", "probe.positive=redshift", "probe.members=2", "probe.epochs=6", "probe.bootstrap=20"]
probe("flow", 2, "none", *ONE, "probe.grid=0", "probe.draws=50")
with h5py.File(f"{folder}/none/predictions.h5") as f, fits.open(f"{folder}/none/predictions.fits") as hdus:
    check("pdf" not in f["posterior/image/redshift"] and "samples" not in f["posterior/image"] and len(hdus) == 2, "no densities and no draws where none are wanted")
probe("flow", 2, "known", *ONE, "probe.grid=31", "probe.draws=2000", "probe.samples=2000")
with h5py.File(f"{folder}/known/predictions.h5") as f:
    part, samples = f["posterior/image/redshift"], f["posterior/image/samples"][:]
    ok, edge, pdf = np.isfinite(samples[:, 0, 0]), part["edge"][:], part["pdf"][:]
    check(pdf.shape[1] == 31 and edge[0] >= 0 and (pdf[ok] >= 0).all(), "31 cells, none of them below 0")
    cumulative = np.cumsum(pdf[ok] * np.diff(edge), 1)[:, :-1] * part["inside"][:][ok][:, None]
    drawn = np.stack([((s[:, 0, None] > edge[0]) & (s[:, 0, None] <= edge[1:-1])).mean(0) for s in samples[ok]])
    below(np.abs(cumulative - drawn).max(), 2.4 / np.sqrt(2000), "the flow's own distribution function against that of the draws")
    below(np.abs((cumulative - drawn).mean(0)).max(), 2e-3, "and in the mean over objects")

# The factors of conformal intervals from the scores of the validation objects. After one epoch the flow depends on training objects alone, so that
# validation objects that are made test objects, half by half, show their own quantiles.
def is_validation(name, seed):
    """Philox4x32-10 as in src/numbers/random.c: purpose 23, step 1, first uniform number."""
    c, k0, k1 = [0, 1, name, 23 << 24], seed & 0xFFFFFFFF, seed >> 32
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(p1 >> 32) ^ c[1] ^ k0, p1 & 0xFFFFFFFF, (p0 >> 32) ^ c[3] ^ k1, p0 & 0xFFFFFFFF]
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return ((c[0] << 32 | c[1]) >> 11) / 2.0**53 < 0.2


M, SEED = 600, 77
small_id, y = np.arange(1, M + 1), {"redshift": redshift[:M].astype(np.float64), "log_mstar": mass[:M].astype(np.float32).astype(np.float64)}
valid = np.array([is_validation(int(i), SEED) for i in small_id]) & (small_id % 4 != 0)
side = np.where(small_id % 4 == 0, 1.0, 0.0)
halves = [np.where(small_id % 4 == 0, np.nan, np.where(valid & (small_id % 2 == odd), 1.0, 0.0)) for odd in (0, 1)]
write_embedding(f"{folder}/small.h5", small_id, np.nan_to_num(image[:M]), image[:M], has[:M], has[:M], side=side, half0=halves[0], half1=halves[1], **{k: v.astype(np.float32) for k, v in y.items()})
for column in ("side", "half0", "half1"):
    probe("flow", 2, column, "probe.labels=[redshift, log_mstar]", "probe.positive=redshift", "probe.sources=image", "probe.split=column",
          f"probe.split_column={column}", "probe.epochs=1", "probe.members=2", "probe.draws=200", "probe.bootstrap=20", f"seed={SEED}", file="small.h5")
with open(f"{folder}/side/probe.json") as f:
    posterior = json.load(f)["posteriors"][0]
check(posterior["validation"] == valid.sum(), f"{valid.sum()} validation objects")
for k, label in enumerate(("redshift", "log_mstar")):
    g, score = np.log if label == "redshift" else np.asarray, []
    for half in ("half0", "half1"):
        with h5py.File(f"{folder}/{half}/predictions.h5") as f:
            q = g(f[f"posterior/image/{label}/quantiles"][:])
            score += list(np.abs(g(f[f"label/{label}"][:]) - q[:, 2]) / ((q[:, 3] - q[:, 1]) / 2))
    score = np.sort(score)
    check(len(score) == valid.sum(), f"scores of all validation objects: {len(score)}")
    with h5py.File(f"{folder}/side/predictions.h5") as f:
        q, ends = g(f[f"posterior/image/{label}/quantiles"][:]), f[f"posterior/image/{label}/conformal"][:].reshape(-1, 3, 2)
    for a, row in enumerate(posterior["labels"][k]["conformal"]):
        factor = score[int(np.ceil(row["level"] * (len(score) + 1) - 1e-9)) - 1]
        below(abs(row["factor"] / factor - 1), 1e-10, f"{label}: factor of the conformal interval of {row['level']}")
        half_width = factor * (q[:, 3] - q[:, 1]) / 2
        below(np.abs(g(ends[:, a]) - np.stack([q[:, 2] - half_width, q[:, 2] + half_width], 1)).max(), 1e-10, f"{label}: interval of {row['level']}")

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
