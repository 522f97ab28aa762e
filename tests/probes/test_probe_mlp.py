# SPDX-License-Identifier: BSD-3-Clause
"""probe mlp: what networks learn that a line cannot; the same bits on any number of ranks; the published protocol; unknown labels; photometry; divergence and bad input."""
import json
import os
import subprocess
import sys

import h5py
import numpy as np
from sklearn.metrics import r2_score
from sklearn.neural_network import MLPRegressor
from sklearn.preprocessing import StandardScaler

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import BINARY, above, check, check_quietly, finish, launch, scratch
from embed_common import write_embedding

folder = scratch()
rng = np.random.default_rng(5)
N, E = 1100, 12
latent = rng.uniform(-1, 1, (N, 3))
z = 0.3 + 0.2 * latent[:, 0] * latent[:, 1] + 0.05 * latent[:, 2]  # a product: linear heads see little of it
mass = 10 + np.abs(latent[:, 2])
kind = (latent[:, 0] * latent[:, 2] > 0).astype(np.float32) + 2 * (latent[:, 1] > 0.6)
image = (latent @ rng.normal(size=(3, E)) + 0.02 * rng.normal(size=(N, E)) + 1).astype(np.float32)
spectrum = (latent @ rng.normal(size=(3, E)) + 0.1 * rng.normal(size=(N, E))).astype(np.float32)
redshift, log_mstar = z.astype(np.float32), mass.astype(np.float32)
log_mstar[::4] = np.nan
object_id = 39627788403084375 + rng.permutation(N)
has = np.ones(N, bool)
magnitudes = {f"mag_{band}": (20 + latent @ rng.normal(size=3)).astype(np.float32) for band in "grz"}
write_embedding(f"{folder}/embedding.h5", object_id, image, spectrum, has, has, redshift=redshift, log_mstar=log_mstar, kind=kind, **magnitudes)
with h5py.File(f"{folder}/embedding.h5", "a") as f:
    for name, value in (("ra", rng.uniform(0, 40, N)), ("dec", rng.uniform(-10, 10, N))):
        if name in f:
            del f[name]
        f[name] = value


def probe(ranks, out, *keys, expect=0, task="mlp", **more):
    sets = [f"output.dir={folder}/{out}", f"probe.embeddings={folder}/embedding.h5", "compute.precision=float32", "probe.bootstrap=50", "probe.labels=[redshift, log_mstar]",
            "probe.classes=kind", *keys]
    done = launch(ranks, BINARY, "probe", task, *(word for item in sets for word in ("--set", item)), stderr=subprocess.STDOUT, timeout=60, **more)
    check(done.returncode == expect, f"probe {task} on {ranks} ranks ends with {done.returncode}, {expect} expected" + ("" if done.returncode == expect else f": {done.stdout[-900:]}"))
    return done.stdout


def results(out):
    with open(f"{folder}/{out}/probe.json") as f:
        result = json.load(f)
    said = {}
    with h5py.File(f"{folder}/{out}/predictions.h5") as f:
        said["object_id"] = f["object_id"][:]
        f["prediction"].visititems(lambda name, item: said.update({name: item[:]}) if isinstance(item, h5py.Dataset) else None)
    check_quietly(len(result["results"]) == len(said) - 1, f"{out}: each row of the table has its predictions")
    return result, {(r["label"], r["source"], r["method"]): r for r in result["results"]}, said


def value(rows, label, source, method="mlp"):
    return next(iter(rows[label, source, method]["figures"].values()))["value"]


SOUND = ["probe.sources=[image, photometry]", "probe.members=3", "probe.mlp_epochs=40", "probe.mlp_rate=3e-3", "probe.mlp_hidden=[48, 40]"]
probe(1, "r1", *SOUND, "probe.methods=[linear, mlp]", task="table")
result, rows, said = results("r1")
check(result["protocol"] == "sound", "probe.json names the protocol")
for label in ("redshift", "log_mstar"):
    above(value(rows, label, "image"), value(rows, label, "image", "linear") + 0.3, f"{label}: a network knows more than a line")
above(value(rows, "kind", "image"), 0.85, "classes from images, accuracy")
above(value(rows, "redshift", "photometry"), 0.8, "redshift from magnitudes")
check(all(np.isfinite(x).all() for x in said.values()), "every test object has a prediction")
check(rows["redshift", "image", "mlp"]["chosen"].startswith("48-40, 3 member(s), best of epochs "), f"what was trained: {rows['redshift', 'image', 'mlp']['chosen']}")
# An independent network on the same sides is as good, within what seeds make.
test = np.isin(object_id, said["object_id"])
place = {int(i): k for k, i in enumerate(said["object_id"])}
scaler = StandardScaler().fit(image[~test])
other = MLPRegressor((48, 40), learning_rate_init=3e-3, batch_size=64, early_stopping=True, validation_fraction=0.2, max_iter=60, random_state=1)
other.fit(scaler.transform(image[~test]), (redshift[~test] - 0.3) / 0.1)
theirs = r2_score((redshift[test] - 0.3) / 0.1, other.predict(scaler.transform(image[test])))
above(value(rows, "redshift", "image"), theirs - 0.05, f"redshift: R2 against scikit-learn's network, {theirs:.3f}, less 0.05")
mine = said["image/mlp/redshift"][[place[int(i)] for i in object_id[test]]]
check(abs(r2_score(redshift[test], mine) - value(rows, "redshift", "image")) < 1e-10, "R2 is that of the predictions")

PUBLISHED = ["probe.sources=[image, spectrum]", "probe.protocol=astroclip"]
probe(1, "a1", *PUBLISHED)
result, rows, published = results("a1")
check(result["protocol"] == "astroclip", "probe.json names the protocol")
for key, sizes in (("redshift", "image"), "32"), (("redshift", "spectrum"), "64-64"), (("log_mstar", "image"), "64-64"), (("kind", "image"), "256-256-256"):
    check(rows[(*key, "mlp")]["chosen"] == f"{sizes}, as published", f"{key}: {rows[(*key, 'mlp')]['chosen']}")
above(value(rows, "kind", "spectrum"), 0.6, "published classifier, accuracy")

for ranks in (2, 4):
    probe(ranks, f"r{ranks}", *SOUND)
    other = results(f"r{ranks}")[2]
    check(all((other[name] == x).all() for name, x in said.items() if "linear" not in name), f"{ranks} ranks: the same bits")
probe(3, "a3", *PUBLISHED)
check(all((results("a3")[2][name] == x).all() for name, x in published.items()), "3 ranks, as published: the same bits")

text = probe(2, "bad", *SOUND, expect=6, SYZ_FAULT="perceptron_loss:1:40")
check("member 1 is not finite" in text and "learning rate" in text, f"a network that diverges: {text[-300:]}")
for keys, status, word in ((["probe.mlp_hidden=[64, 0]"], 2, "probe.mlp_hidden"), (["probe.mlp_hidden=[2.5]"], 2, "whole number")):
    text = probe(1, "bad", *keys, expect=status)
    check(word in text, f"{keys}: the message says {word}" + ("" if word in text else f": {text[-300:]}"))
check(not os.path.exists(f"{folder}/bad/probe.json"), "nothing is written")
finish()
