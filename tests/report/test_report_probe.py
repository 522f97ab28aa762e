# SPDX-License-Identifier: BSD-3-Clause
"""The report's section on labels from embeddings: the table's values are those of probe.json, drawings and matrices those of predictions.h5; it stands
beside the section of probe dense, is found from the model's folder, and a damaged or foreign probe.json is a sentence in a page that is made all the same."""
import csv
import json
import os
import re
import shutil
import subprocess
import sys

import h5py
import numpy as np

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import BINARY, check_quietly as check, finish, launch, scratch
from embed_common import write_embedding

folder = scratch()
rng = np.random.default_rng(3)
N, E = 900, 12
z, mass = rng.uniform(0.01, 0.6, N), rng.normal(10, 0.6, N)
latent = np.stack([np.sin(5 * z), np.cos(5 * z), mass - 10], 1)
image, spectrum = ((latent @ rng.normal(size=(3, E)) + noise * rng.normal(size=(N, E))).astype(np.float32) for noise in (0.3, 0.1))
mass[::50] = np.nan
os.mkdir(f"{folder}/embed")
os.mkdir(f"{folder}/model")
with open(f"{folder}/model/metrics.jsonl", "w") as f:
    f.writelines(json.dumps({"step": s, "loss": 5 - s / 100}) + "\n" for s in range(100))
has = np.ones(N, bool)
write_embedding(f"{folder}/embed/embedding.h5", 1000 + np.arange(N), image, spectrum, has, has, redshift=z, log_mstar=mass, is_high=z > 0.4, kind=np.digitize(z, [0.2, 0.4]),
                mag_r=22 - np.nan_to_num(mass, nan=10) + 8 + z)
with h5py.File(f"{folder}/embed/embedding.h5", "a") as f:
    f["ra"], f["dec"] = rng.uniform(0, 40, N), rng.uniform(-10, 10, N)
    f["label/log_mstar"].attrs["units"] = "log10(solMass)"
    f.attrs["model_file"], f.attrs["model_digest"] = f"{folder}/model/model.h5", "0123456789abcdef"


def run(*words, **sets):
    done = launch(1, BINARY, *words, *(w for k, v in sets.items() for w in ("--set", f"{k.replace('__', '.')}={v}")), stderr=subprocess.STDOUT)
    check(done.returncode == 0, f"{words[:2]} ends with {done.returncode}: {done.stdout[-800:]}")
    return done.stdout


def page(where):
    run("report", where)
    return open(f"{where}/report.html", encoding="utf-8").read()


def plain(html):
    text = re.sub(r"<[^>]*>", " ", html)
    for a, b in (("&nbsp;", " "), ("&lt;", "<"), ("&gt;", ">"), ("&#39;", "'"), ("&quot;", '"'), ("&amp;", "&")):
        text = text.replace(a, b)
    return re.sub(r"\s+", " ", text)


def section(html):
    found = re.search(r'<h2 id="embeddings">.*?(?=<h2)', html, re.S)
    check(found, "the section is there")
    return found.group(0) if found else ""


def cell(figure, error="error", digits=4):
    return f"{figure['value']:.{digits}f} ± {figure[error]:.{digits}f}"


FORMULA = "log_mstar < 10 && redshift > 0"  # has signs that mean something in HTML
run("probe", "table", output__dir=f"{folder}/run", probe__embeddings=f"[{folder}/embed]", compute__precision="float32", probe__labels="[redshift, log_mstar, mag_r]",
    probe__classes=f'[is_high, kind, "{FORMULA}"]', probe__methods="[knn, linear, flow, few-label]", probe__penalty="[1e-3, 1]", probe__members=2, probe__epochs=3, probe__draws=60,
    probe__bootstrap=60, probe__repeats=3, probe__sizes="[10, 50, 200]")
result = json.load(open(f"{folder}/run/probe.json"))
file = h5py.File(f"{folder}/run/predictions.h5")
html = page(f"{folder}/run")
body = section(html)
text = plain(body)
check('href="#embeddings"' in html and 'id="dense"' not in html, "a link to the section, and no section of linear heads on patches")
check("Loss" in html and f"{folder}/embed/embedding.h5" in html, "the embeddings that the probe names lead to the training of their model")
check(not re.search(r'="[^"]*\b(nan|inf)\b[^"]*"', body, re.I), "no NaN in drawings")
check(FORMULA not in body and FORMULA in text, "formulas are text, not markup")
check(f"{result['split']['train']} objects to train, {result['split']['test']} to test" in text and result["split"]["digest"] in text, "both sides of the split and its digest")

# The table: every row of probe.json in the right row and column, the best and the tied marked.
SOURCES = {"image": "image embedding", "spectrum": "spectrum embedding"}
METHODS = {"knn": "nearest neighbours", "linear": "linear head", "flow": "flow"}
tables = {}
for part in re.findall(r"<table>.*?</table>", body, re.S):
    caption = re.search(r"<caption><b>(.*?)</b>", part, re.S)
    rows = [[plain(c).strip() for c in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.S)] for row in re.findall(r"<tr>.*?</tr>", part, re.S)]
    if caption:
        tables.setdefault(plain(caption.group(1)).strip(), []).append(rows)
unit = {row["name"]: row["name"] + (f" ({row['unit']})" if row["unit"] else "") for row in result["labels"]}
check(unit["log_mstar"] == "log_mstar (log10(solMass))", "the unit of the label")
for r in result["results"]:
    rows = tables[unit[r["label"]]][0]
    at = next(row for row in rows if row[0] == SOURCES[r["source"]])[rows[0].index(METHODS[r["method"]])]
    figure = next(iter(r["figures"].values()))
    check(at.startswith(cell(figure)), f"{r['label']}, {r['source']}, {r['method']}: {cell(figure)} in {at!r}")
    check(("best" in at) == r["is_best"] and ("tied" in at) == r["is_tied_with_best"], f"{r['label']}, {r['source']}, {r['method']}: best or tied")
    check(at.endswith(f"{r['chosen']}; n {r['n']}"), f"what was chosen, and n: {at!r}")
    if len(r["figures"]) > 1:
        line = f"{SOURCES[r['source']]}, {METHODS[r['method']]} " + " ".join(cell(f) for f in r["figures"].values())
        check(line in text, f"all figures of {r['label']}: {line}")
check(body.count('class="badge">best<') == len(result["labels"]) == sum(r["is_best"] for r in result["results"]), "one best row of each label")
check("R²" in text and "σ (NMAD) of Δz/(1+z)" in text and "R2" not in text and "sigma_NMAD" not in text, "names of figures, not keys")


# Drawings. Points are linear in the values: fit the axes and hold all points against them.
def drawing(title):
    found = re.search(rf'<svg viewBox="0 0 560 300" role="img" aria-label="Chart: {re.escape(title)}.*?</svg>', body, re.S)
    check(found, f"drawing {title}")
    return found.group(0) if found else ""


def path(svg, style):
    d = re.search(rf'<path class="{style}" d="([^"]*)"', svg)
    return np.array([(float(x), float(y)) for x, y in re.findall(r"[ML]([0-9.]+) ([0-9.]+)", d.group(1))]) if d else np.zeros((0, 2))


def linear(drawn, value, what):
    fits = len(drawn) == len(value) and len(value) > 1
    if fits:
        fit = np.polyfit(value, drawn, 1)
        fits = np.abs(np.polyval(fit, value) - drawn).max() < 0.11
    check(fits, f"{what}: {len(drawn)} points drawn, {len(value)} expected, where they belong")


def judged(label, best):
    rows = [file[f"prediction/{r['source']}/{r['method']}/{label}"][:] for r in result["results"] if r["label"] == label]
    truth = file[f"label/{label}"][:]
    said = file[f"prediction/{best['source']}/{best['method']}/{label}"][:]
    use = np.isfinite(truth) & np.isfinite(rows).all(0)
    return truth[use], said[use], use


for label in ("redshift", "log_mstar", "mag_r"):
    best = next(r for r in result["results"] if r["label"] == label and r["is_best"])
    truth, said, use = judged(label, best)
    check(len(truth) == best["n"], f"{label}: objects of the figure")
    low, high = np.quantile(said, [0.01, 0.99])
    near = (said >= 2 * low - high) & (said <= 2 * high - low)
    svg = drawing(f"{label}: {SOURCES[best['source']]}, {METHODS[best['method']]}, predicted {label}")
    points = path(svg, "points k0")
    linear(points[:, 0], truth[near], f"{label}: predicted against true, across")
    linear(points[:, 1], said[near], f"{label}: predicted against true, up")
    medians = path(svg, "curve k1")
    parts = [np.argsort(truth, kind="stable")[len(truth) * k // len(medians) : len(truth) * (k + 1) // len(medians)] for k in range(max(len(medians), 1))]
    scale = np.polyfit(said[near], points[:, 1], 1)
    check(len(medians) >= 8 and np.abs(np.polyval(scale, [np.median(said[k]) for k in parts]) - medians[:, 1]).max() < 0.2, f"{label}: the running median")
    for by in ("redshift", "mag_r"):
        points = path(drawing(f"Residuals of {label} by {by}"), "points k0")
        residual = said - truth
        low, high = np.quantile(residual, [0.01, 0.99])
        near = (residual >= 2 * low - high) & (residual <= 2 * high - low)
        linear(points[:, 0], file[f"label/{by}"][:][use][near], f"residuals of {label} by {by}, across")
        linear(points[:, 1], residual[near], f"residuals of {label} by {by}, up")
for label, classes in (("is_high", 2), ("kind", 3)):
    best = next(r for r in result["results"] if r["label"] == label and r["is_best"])
    truth, said, _ = judged(label, best)
    shown = np.array([[int(c.split()[0]) for c in row[1:]] for row in tables[label][1][1:]])
    wanted = np.zeros((classes, classes), int)
    np.add.at(wanted, (truth.astype(int), said.astype(int)), 1)
    check((shown == wanted).all() and abs(np.trace(shown) / shown.sum() - best["figures"]["accuracy"]["value"]) < 1e-12, f"confusion of {label}: {shown.tolist()}")

# Posteriors: likelihood, PIT with what is expected, coverage, TARP with its band, warnings in words.
for q in result["posteriors"]:
    source = SOURCES[q["source"]]
    check(f"{source} {q['nll_joint']:.4f} ± {q['nll_joint_error']:.4f} {q['nll_per_label']:.4f} {q['nll_joint_label_units']:.4f}" in text, f"{source}: negative log likelihoods")
    check(q["warnings"] and all(w in text for w in q["warnings"]), f"{source}: {len(q['warnings'])} warnings")
    for label in q["labels"]:
        pit = label["pit"]
        svg = drawing(f"PIT of {label['label']}, {source}")
        expected = path(svg, "curve k1 dashed")
        bars = re.findall(r"M[0-9.]+ ([0-9.]+)V([0-9.]+)H", re.search(r'class="histogram f0" d="([^"]*)"', svg).group(1))
        up = np.array([float(a) - float(b) for a, b in bars])
        base = float(bars[0][0])
        linear(np.r_[up, base - expected[:, 1]], np.r_[pit["count"], pit["expected"]], f"PIT of {label['label']}, {source}: counts and expectation")
        area = path(svg, "area f1")[:, 1]
        linear(base - area, np.r_[np.subtract(pit["expected"], pit["error"]), np.add(pit["expected"], pit["error"])[::-1]], f"PIT of {label['label']}, {source}: errors")
        check(f"{100 * label['covered'][9]:.1f} % {100 * label['covered'][17]:.1f} %" in text, "coverage at 50 and 90 %")
    svg = drawing(f"Coverage, {source}")
    for curve, style in [(q["density_covered"], "curve k3"), *((label["covered"], f"curve k{k}") for k, label in enumerate(q["labels"]))]:
        linear(path(svg, style)[:, 1], curve, f"coverage, {source}, {style}")
    svg = drawing(f"TARP, all labels together, {source}")
    linear(path(svg, "curve k0")[:, 1], q["tarp"], f"TARP, {source}")
    t, e = np.array(q["tarp"]), 1.96 * np.array(q["tarp_error"])
    linear(path(svg, "area f0")[:, 1], np.r_[np.maximum(t - e, 0), np.minimum(t + e, 1)[::-1]], f"TARP, {source}: band")

# Few labels: curves with bars on a logarithmic axis, and their table.
for name, kind in (("balanced", "linear head, as many of the class as of the others"), ("natural", "linear head, objects as they come")):
    svg = drawing(f"is_high from few labels: {kind}")
    dots = np.array([(float(x), float(y)) for x, y in re.findall(r'class="f0" r="4" cx="([0-9.]+)" cy="([0-9.]+)"', svg)])
    rows = [r for f in result["few_labels"] if (f["label"], f["source"]) == ("is_high", "image") for r in f["curve"] if r["draws_of"] == name and r["auc"]["value"] is not None]
    linear(dots[:, 0], np.log10([r["labels"] for r in rows]), f"few labels, {name}: sizes by their logarithm")
    linear(dots[:, 1], [r["auc"]["value"] for r in rows], f"few labels, {name}: AUC")
    bars = np.array([(float(a), float(b)) for a, b in re.findall(r"M[0-9.]+ ([0-9.]+)V([0-9.]+)m", re.search(r'<path class="curve k0" d="(M[0-9.]+ [0-9.]+V[^"]*)"', svg).group(1))])
    scale = np.polyfit([r["auc"]["value"] for r in rows], dots[:, 1], 1)[0]
    check(np.abs((bars[:, 0] - bars[:, 1]) + 2 * scale * np.array([r["auc"]["deviation"] for r in rows])).max() < 0.2, f"few labels, {name}: bars are the deviations")
    for r in rows:
        line = f"is_high, image embedding; {kind} {r['labels']} " + " ".join(cell(r[f], "deviation", 3) for f in ("auc", "average_precision", "completeness"))
        check(line in text, f"few labels in the table: {line}")

# From the model's side: the page of another run with these embeddings finds the probe beside a dense one, and shows both.
dense = {"task": "dense", "model_file": f"{folder}/model/model.h5", "models": [{"weights": "trained", "patches": {"mean_iou": 0.456}}]}
os.mkdir(f"{folder}/dense")
json.dump(dense, open(f"{folder}/dense/probe.json", "w"))
html = page(f"{folder}/model")
check('id="dense"' in html and "0.456" in html and plain(section(html)) == text, "both probes on the page of their model")

# Files that do not say what they should: a sentence each, and a page.
good = json.dumps(result)
changed = {"a part of it": good[: len(good) // 2], "a list": "[1, 2]", "of no results": json.dumps({"task": "embeddings", "results": 3}),
           "another task": json.dumps({"task": "something"})}
for name, content in changed.items():
    open(f"{folder}/run/probe.json", "w").write(content)
    html = page(f"{folder}/run")
    check("probe.json cannot be read as the result of a probe of embeddings" in html and html.count('class="missing"') >= 1 and 'id="dense"' not in html, f"probe.json is {name}: it is said")
odd = json.loads(good)
odd["labels"] += [7, {"name": ["x"], "classes": 1e300}, {"name": "many", "classes": 1000}, {"name": "of no rows"}]
odd["results"] += [None, {"label": "many", "is_best": True}, {"label": "redshift", "source": "../<b>", "method": 5, "figures": [1, {"value": 1e300, "error": "x"}]}]
odd["posteriors"] += [3, {"source": "x" * 5000, "level": [1] * 500, "tarp": "no", "labels": [{"pit": {"count": [None, 1e300], "expected": [1, 2], "error": [-1, {}]}}], "warnings": [1]}]
odd["few_labels"] += [{"label": "is_high", "curve": [{"draws_of": "balanced", "labels": -5, "auc": {"value": 0.5}}, 4]}]
json.dump(odd, open(f"{folder}/run/probe.json", "w"))
html = page(f"{folder}/run")
check("<b>" + "&quot;" not in html and "../<b>" not in html and "many has 1000 classes" in html and "of no rows" not in plain(section(html)) and not re.search(r' d="[^"]*(nan|inf)', html, re.I), "odd values from elsewhere")
open(f"{folder}/run/probe.json", "w").write(good)
file.close()
raw = open(f"{folder}/run/predictions.h5", "rb").read()
open(f"{folder}/run/predictions.h5", "wb").write(raw[: len(raw) // 3])
html = page(f"{folder}/run")
check("predictions.h5 cannot be read: there are no pictures" in html and "Joint posteriors" in html and "points k0" not in html, "damaged predictions: the table is there all the same")
shutil.copy(f"{folder}/embed/embedding.h5", f"{folder}/run/predictions.h5")
html = page(f"{folder}/run")
check("predictions.h5 has no predictions of redshift by its best row" in html, "predictions of something else")

# Many objects are drawn as their density: a cell for each place where there are some, most opaque where most are.
os.mkdir(f"{folder}/many")
many = rng.normal(0.3, 0.05, 20000)
said = many + 0.02 * rng.normal(size=many.size)
said[:3] = 50, 1e308, -1e308
with h5py.File(f"{folder}/many/predictions.h5", "w") as f:
    f["object_id"], f["label/redshift"], f["prediction/image/knn/redshift"] = np.arange(many.size), many, said
row = {"label": "redshift", "source": "image", "method": "knn", "is_best": True, "figures": {"R2": {"value": 0.8, "error": 0.01}}}
json.dump({"task": "embeddings", "labels": [{"name": "redshift"}], "results": [row]}, open(f"{folder}/many/probe.json", "w"))
body = section(page(f"{folder}/many"))
svg = drawing("redshift: image embedding, nearest neighbours, predicted redshift")
check("20000 objects; 3 far outliers are not drawn" in plain(body) and len(svg) < 60000, f"a drawing of {len(svg)} bytes")
cells = [(float(x), float(y), float(o)) for o, d in re.findall(r'<path class="f0" opacity="([0-9.]+)" d="([^"]*)"', svg) for x, y in re.findall(r"M([0-9.]+) ([0-9.]+)h", d)]
x, y = many[3:], said[3:]
low, high = min(x.min(), y.min()), max(x.max(), y.max())
pad = 0.05 * (high - low)
count, _, _ = np.histogram2d(y, x, (44, 68), ((low - pad if low < 0 or low > 0.4 * (high + pad) else 0, high + pad), (x.min(), x.max())))
check(abs(len(cells) - (count > 0).sum()) < 0.02 * len(cells), f"{len(cells)} cells, {(count > 0).sum()} expected")
densest = max(cells, key=lambda c: c[2])
check(densest[2] == 1 and abs((densest[0] - 70) / 476 * (x.max() - x.min()) + x.min() - 0.3) < 0.1, f"the densest cell is in the middle: {densest}")

# Names that are too long for a part of a dataset's name are found all the same.
LONG = "redshift" + " + 0 * redshift" * 9
deep = f"{folder}/{'d' * 120}"
shutil.copytree(f"{folder}/embed", deep)
run("probe", "knn", output__dir=f"{folder}/long", probe__embeddings=f"[{folder}/embed]", probe__sources=f"[{deep}/embedding.h5:image]", probe__labels=f'["{LONG}"]', probe__bootstrap=20)
body = section(page(f"{folder}/long"))
check("has no predictions of" not in body and drawing(LONG[:60]).count("points k0"), "predictions of a long formula from a file with a long name are drawn")

# Strange objects and votes alone: nothing is said of predictions of labels that nobody asked for.
run("probe", "outliers", output__dir=f"{folder}/strange", probe__embeddings=f"[{folder}/embed]", probe__members=2, probe__epochs=2, probe__outlier_components=3)
text = plain(section(page(f"{folder}/strange")))
told = json.load(open(f"{folder}/strange/probe.json"))["outliers"]
with open(f"{folder}/strange/outliers.csv") as f:
    listed = list(csv.DictReader(f))
check("predictions.h5" not in text and "bootstrap" not in text and f"{told['n']} objects are ranked" in text and f"{folder}/strange/outliers.csv" in text, "outliers: how many, and where")
for s in told["sources"]:
    check(f"{SOURCES[s['source']]} {s['n']} {s['rank_correlation']:.3f}" in text, f"agreement of both scores of {s['source']}")
check("rank object score " + " ".join(f"{k + 1} {row['object_id']} {row['score']}" for k, row in enumerate(listed[:10])) in text and listed[10]["object_id"] not in text.split("rank object score")[1], "ten objects")
rows = open(f"{folder}/strange/outliers.csv").read().split("\n")
for content, good in (("\n".join([rows[0], "<b>1,2,3,<i>4,5", "7", rows[1][:5]]), True), ("", False), ("object,score\n1,2\n", False)):
    open(f"{folder}/strange/outliers.csv", "w").write(content)
    body = section(page(f"{folder}/strange"))
    check("<b>1" not in body and "<i>4" not in body and ("&lt;b&gt;1" in body) == good and ("cannot be read as a list" in body) != good, f"outliers.csv is {content[-20:]!r}")
os.remove(f"{folder}/strange/outliers.csv")
check("cannot be read as a list of strange objects" in page(f"{folder}/strange"), "without outliers.csv")

ANSWERS = {"smooth-or-featured": "smooth featured-or-disk artifact", "disk-edge-on": "yes no", "has-spiral-arms": "yes no", "bar": "strong weak no", "bulge-size": "dominant large moderate small none",
           "how-rounded": "round in-between cigar-shaped", "edge-on-bulge": "boxy none rounded", "spiral-winding": "tight medium loose", "spiral-arm-count": "1 2 3 4 more-than-4 cant-tell",
           "merging": "none minor-disturbance major-disturbance merger"}
names = [f"{q}_{a}" for q, answers in ANSWERS.items() for a in answers.split()]
np.savetxt(f"{folder}/votes.csv", np.c_[1000 + np.arange(N), rng.integers(5, 40, (N, len(names)))], "%d", ",", header=",".join(["object_id", *names]), comments="")
run("probe", "classify", output__dir=f"{folder}/votes", probe__embeddings=f"[{folder}/embed]", probe__sources="image", probe__table=f"{folder}/votes.csv", probe__penalty=1, probe__bootstrap=20)
text = plain(section(page(f"{folder}/votes")))
told = json.load(open(f"{folder}/votes/probe.json"))["votes"][0]
check("predictions.h5" not in text and "tied" not in text, "votes alone: nothing of predictions of labels")
for q in [*told["questions"], {"question": "mean (NLL: sum)", **told}]:
    line = f"{q['question']} " + " ".join(cell(q[f], digits=3) for f in ("mean_deviation", "nll", "accuracy", "weighted_f1"))
    check(line in text, f"votes: {line}")
finish()
