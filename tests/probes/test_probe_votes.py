# SPDX-License-Identifier: BSD-3-Clause
"""probe classify: votes of Galaxy Zoo by a Dirichlet-multinomial against SciPy's fit of the same; its figures against NumPy and scikit-learn; 1, 2 and 3 ranks; bad votes."""
import json
import os
import subprocess
import sys

import h5py
import numpy as np
from scipy.optimize import minimize
from scipy.special import digamma, expit, gammaln
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import BINARY, above, below, check, finish, launch, scratch
from embed_common import write_embedding

QUESTIONS = {  # name: answers, and the answer after which it is asked
    "smooth-or-featured": (["smooth", "featured-or-disk", "artifact"], None),
    "disk-edge-on": (["yes", "no"], ("smooth-or-featured", 1)),
    "has-spiral-arms": (["yes", "no"], ("disk-edge-on", 1)),
    "bar": (["strong", "weak", "no"], ("disk-edge-on", 1)),
    "bulge-size": (["dominant", "large", "moderate", "small", "none"], ("disk-edge-on", 1)),
    "how-rounded": (["round", "in-between", "cigar-shaped"], ("smooth-or-featured", 0)),
    "edge-on-bulge": (["boxy", "none", "rounded"], ("disk-edge-on", 0)),
    "spiral-winding": (["tight", "medium", "loose"], ("has-spiral-arms", 0)),
    "spiral-arm-count": (["1", "2", "3", "4", "more-than-4", "cant-tell"], ("has-spiral-arms", 0)),
    "merging": (["none", "minor-disturbance", "major-disturbance", "merger"], None),
}
folder = scratch()
rng = np.random.default_rng(9)
N, E, NAMES = 700, 5, list(QUESTIONS)
begin = np.concatenate([[0], np.cumsum([len(a) for a, _ in QUESTIONS.values()])])
latent = rng.normal(size=(N, E))
image = (latent + 0.1 * rng.normal(size=(N, E)) + 1).astype(np.float32)
object_id = 1000 + rng.permutation(N)
ra, dec = rng.uniform(0, 40, N), rng.uniform(-10, 10, N)
image[3] = 0
has = np.ones(N, bool)
write_embedding(f"{folder}/embedding.h5", object_id, image, None, has, None)
with h5py.File(f"{folder}/embedding.h5", "a") as f:
    f["ra"], f["dec"] = ra, dec
lean = np.full(begin[-1], -2.0)
lean[[1, 4, 5]] = 2  # most are featured, seen from above, with spiral arms
truth = 1 + 100 * expit(1.2 * latent @ rng.normal(size=(E, begin[-1])) + lean)
votes = np.zeros((N, begin[-1]))
for q, (name, (answers, after)) in enumerate(QUESTIONS.items()):
    for i in range(N):
        asked = rng.integers(30, 90) if after is None else int(votes[i, begin[NAMES.index(after[0])] + after[1]])
        votes[i, begin[q]:begin[q + 1]] = rng.multinomial(asked, rng.dirichlet(truth[i, begin[q]:begin[q + 1]]))
votes[20] = 0  # in the table without a vote; the last ten are not in it
votes[-10:] = 0


def write_table(path, change=lambda columns: None):
    columns = {"object_id": [str(i) for i in object_id[:-10]]}
    for q, name in enumerate(NAMES):
        for a, answer in enumerate(QUESTIONS[name][0]):
            column = votes[:-10, begin[q] + a]
            asked = votes[:-10, begin[q]:begin[q + 1]].sum(1) > 0
            columns[f"{name}_{answer}"] = [str(int(v)) if ok else "" for v, ok in zip(column, asked)]
            columns[f"{name}_{answer}_fraction"] = ["0.5"] * len(column)
    change(columns)
    with open(path, "w") as f:
        f.write(",".join(columns) + "\n" + "".join(",".join(row) + "\n" for row in zip(*columns.values())))


write_table(f"{folder}/votes.csv")


def probe(ranks, out, *keys, expect=0, table="votes.csv"):
    sets = [f"output.dir={folder}/{out}", f"probe.embeddings={folder}/embedding.h5", "probe.sources=image", f"probe.table={folder}/{table}" if table else "probe.table=",
            "probe.penalty=[0.01, 30]", "probe.bootstrap=100", "probe.softmax_iterations=2000", *keys]
    done = launch(ranks, BINARY, "probe", "classify", *(word for item in sets for word in ("--set", item)), stderr=subprocess.STDOUT, timeout=120)
    check(done.returncode == expect, f"{out} on {ranks} ranks ends with {done.returncode}, {expect} expected" + ("" if done.returncode == expect else f": {done.stdout[-900:]}"))
    return done.stdout


def result(out):
    with open(f"{folder}/{out}/probe.json") as f:
        return json.load(f)


def splitmix(x):
    m = (1 << 64) - 1
    x = (x + 0x9E3779B97F4A7C15) & m
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & m
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & m
    return x ^ (x >> 31)


def loss_of(k, raw):
    """-ln P of each object and question, and the gradient of their sum."""
    s = expit(raw)
    alpha, loss, gradient = 1 + 100 * s, np.zeros((len(raw), len(NAMES))), np.zeros_like(raw)
    for q, (a, b) in enumerate(zip(begin[:-1], begin[1:])):
        n, total = k[:, a:b].sum(1), alpha[:, a:b].sum(1)
        loss[:, q] = -(gammaln(n + 1) - gammaln(k[:, a:b] + 1).sum(1) + gammaln(total) - gammaln(total + n) + (gammaln(alpha[:, a:b] + k[:, a:b]) - gammaln(alpha[:, a:b])).sum(1))
        gradient[:, a:b] = (digamma(total + n) - digamma(total))[:, None] - digamma(alpha[:, a:b] + k[:, a:b]) + digamma(alpha[:, a:b])
    return loss, gradient * 100 * s * (1 - s)


text = probe(1, "r1")
told = result("r1")["votes"][0]
cell = [((int(np.floor(10 * a)) << 32) ^ int(np.floor(10 * (d + 90)))) for a, d in zip(ra, dec)]
is_test = np.array([(splitmix(c) >> 11) / 2.0**53 < 0.2 for c in cell])
usable, voted = (image != 0).any(1), votes.sum(1) > 0
train, test = np.flatnonzero(~is_test & usable & voted), np.flatnonzero(is_test & usable)
check(told["train"] == len(train) and told["test"] == voted[test].sum(), f"objects with a vote: {told['train']} to train, {told['test']} to test")
check(told["has_converged"] and told["penalty"] == 0.01, f"the penalty {told['penalty']} of the held-out fold, converged after {told['iterations']} iterations")
# The fit.
mean, deviation = image[train].astype(np.float64).mean(0), image[train].astype(np.float64).std(0)
z = (image.astype(np.float64) - mean) / deviation


def whole(theta):
    w, b = theta[:begin[-1] * E].reshape(-1, E), theta[begin[-1] * E:]
    loss, g = loss_of(votes[train], z[train] @ w.T + b)
    return loss.sum() / len(train) + told["penalty"] / 2 * (w**2).sum(), np.concatenate([(g.T @ z[train] / len(train) + told["penalty"] * w).ravel(), g.sum(0) / len(train)])


best = minimize(whole, np.zeros(begin[-1] * (E + 1)), jac=True, method="L-BFGS-B", options=dict(maxiter=20000, maxfun=50000, ftol=1e-15, gtol=1e-7)).x
raw = z[test] @ best[:begin[-1] * E].reshape(-1, E).T + best[begin[-1] * E:]
alpha, each = 1 + 100 * expit(raw), loss_of(votes[test], raw)[0]
share, relevance, mean_of = {}, {}, {"accuracy": [], "weighted_f1": []}
with h5py.File(f"{folder}/r1/predictions.h5") as f:
    check((f["object_id"][:] == object_id[test]).all(), "the test objects")
    for q, name in enumerate(NAMES):
        a, b = begin[q], begin[q + 1]
        share[name] = f[f"votes/image/{name}/share"][:]
        below(np.abs(share[name] - alpha[:, a:b] / alpha[:, a:b].sum(1, keepdims=True)).max(), 1e-4, f"{name}: expected shares against SciPy's fit")
        after = QUESTIONS[name][1]
        relevance[name] = np.ones(len(test)) if after is None else relevance[after[0]] * share[after[0]][:, after[1]]
        below(np.abs(f[f"votes/image/{name}/relevance"][:] - relevance[name]).max(), 1e-12, f"{name}: relevance up the tree")
        check((f[f"label/votes/{name}"][:] == votes[test, a:b]).all(), f"{name}: votes as given")
        # Figures from the shares.
        k, n = votes[test, a:b], votes[test, a:b].sum(1)
        real = np.divide(k, n[:, None], out=np.zeros_like(k), where=n[:, None] > 0)
        of = told["questions"][q]
        check(of["question"] == name and of["answers"] == QUESTIONS[name][0], f"{name}: answers")
        published, relevant = n > 34, (n > 0) & (n >= 0.5 * votes[test, :3].sum(1))
        confident = relevant & (real.max(1) > 0.8)
        y, said = real.argmax(1), share[name].argmax(1)
        check([of[m]["n"] for m in ("accuracy", "confident_accuracy", "mean_deviation", "nll")] == [published.sum(), confident.sum(), relevant.sum(), (n > 0).sum()],
              f"{name}: {published.sum()} objects with more than 34 votes, {relevant.sum()} relevant, {confident.sum()} confident")
        if published.any():
            mean_of["accuracy"].append(accuracy_score(y[published], said[published]))
            mean_of["weighted_f1"].append(f1_score(y[published], said[published], average="weighted", zero_division=0))
            below(abs(of["accuracy"]["value"] - mean_of["accuracy"][-1]), 1e-12, f"{name}: accuracy")
            below(abs(of["weighted_f1"]["value"] - mean_of["weighted_f1"][-1]), 1e-12, f"{name}: weighted F1")
            check((np.array(of["confusion"]).reshape(b - a, -1) == confusion_matrix(y[published], said[published], labels=range(b - a))).all(), f"{name}: confusion")
        else:
            check(of["accuracy"]["value"] is None, f"{name}: no accuracy without objects")
        if confident.any():
            below(abs(of["confident_accuracy"]["value"] - (y == said)[confident].mean()), 1e-12, f"{name}: accuracy where volunteers are confident")
        if relevant.any():
            below(abs(of["mean_deviation"]["value"] - np.abs(real - share[name])[relevant].mean()), 1e-12, f"{name}: mean deviation of shares")
        below(abs(of["nll"]["value"] / each[n > 0, q].mean() - 1), 1e-4, f"{name}: NLL against SciPy's fit")
for m, values in mean_of.items():
    below(abs(told[m]["value"] - np.mean(values)), 1e-12, f"{m}: mean over {len(values)} questions")
    check(0 < told[m]["error"] < 0.1, f"{m}: error {told[m]['error']}")
below(abs(told["nll"]["value"] / each.sum(1)[voted[test]].mean() - 1), 1e-4, "NLL of all questions")
above(told["accuracy"]["value"], 0.6, "and it has learned something: accuracy")

for ranks in (2, 3):
    probe(ranks, f"r{ranks}")
    other = result(f"r{ranks}")["votes"][0]
    worst = max(abs(a[m]["value"] - b[m]["value"]) for a, b in zip(told["questions"], other["questions"]) for m in ("accuracy", "mean_deviation", "nll") if a[m]["value"] is not None)
    below(worst, 1e-4, f"{ranks} ranks: figures")


def without(columns):
    del columns["bar_weak"], columns["merging_none"]


def set_first(value):
    def change(columns):
        columns["bar_weak"][0] = value
    return change


def none(columns):
    for name in columns:
        if name != "object_id":
            columns[name] = ["" for _ in columns[name]]


for change, status, word in ((without, 3, "2 of 34 columns are missing: bar_weak (the nearest is"), (set_first("-1"), 3, "bar_weak"), (set_first("2.5"), 3, "no count of votes"), (none, 3, "0 training and 0 test objects have any")):
    write_table(f"{folder}/bad.csv", change)
    said = probe(2, "bad", expect=status, table="bad.csv")
    check(word in said, f"the message says {word}" + ("" if word in said else f": {said[-400:]}"))
said = probe(2, "bad", expect=3, table=None)
check("smooth-or-featured_smooth" in said, f"without a table the first column is named: {said[-300:]}")
finish()
