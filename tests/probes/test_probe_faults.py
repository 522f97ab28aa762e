# SPDX-License-Identifier: BSD-3-Clause
"""
Bad input of the probes on 2 ranks: what is left out and counted, what is refused and how, and that nothing that was there before is lost.

All files have more rows than a tile of a rank's share, and what is wrong lies in the last rows, which rank 1 alone reads.
"""
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy as np
from astropy.table import Table

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import BINARY, check, finish, launch, scratch
from embed_common import write_embedding

folder = scratch()
rng = np.random.default_rng(5)
TILE = 768  # rows of a tile: rank 0 holds the first one
N, E = TILE + 200, 6
LAST = slice(TILE, N)
z = rng.uniform(0.01, 0.6, N)
image = (np.stack([z, z**2, np.sin(9 * z)], 1) @ rng.normal(size=(3, E)) + 0.05 * rng.normal(size=(N, E)) + 1).astype(np.float32)
spectrum = (image[:, ::-1] + 0.05 * rng.normal(size=(N, E))).astype(np.float32)
object_id = 39627788403084375 + rng.permutation(N)
is_test = np.arange(N) % 4 == 3
# What rank 1 alone sees.
image[N - 1], image[N - 2, 2], image[N - 5, 0] = 0, np.nan, np.inf
spectrum[N - 6] = 0
unusable = np.zeros(N, bool)
unusable[[N - 1, N - 2, N - 5, N - 6]] = True
holed = z.copy()
holed[[N - 9, N - 10]], holed[[N - 11, N - 12, N - 13]] = np.nan, np.inf
bounded = z / 0.6
bounded[[N - 14, N - 18, N - 17]] = [-0.2, 1.5, 1.0]  # in training, in training, in test
partly = z.copy()
partly[N - 17] = np.nan  # a test object outside of one domain that lacks another label
odd_one = np.where(z > 0.3, 1.0, 0.0)
odd_one[N - 14], odd_one[np.flatnonzero(is_test & ~unusable)[-1]], odd_one[N - 20] = 2, 3, 17  # one member in training; only in test; cut
CUT = np.ones(N)
CUT[N - 20], odd_one[N - 22], CUT[N - 22] = 0, -1, 0
labels = dict(redshift=z, holed=holed, constant=np.ones(N), sparse=np.where(np.arange(N) > N - 19, z, np.nan), bounded=bounded, partly=partly, odd=odd_one, keep=CUT,
              is_high=z > 0.3, side=is_test, level=np.where(is_test, z, 3.0))


def write(name, rows=slice(None), digest=None, **more):
    write_embedding(f"{folder}/{name}.h5", object_id[rows], image[rows], spectrum[rows], **{k: v[rows] for k, v in labels.items()}, **more)
    if digest:
        with h5py.File(f"{folder}/{name}.h5", "a") as f:
            f.attrs["model_digest"] = digest


write("all")
write("train", slice(0, TILE + 100), digest="abc")
write("shared", slice(TILE + 60, N), digest="abc")  # 40 objects of it are in the other one
write("stranger", slice(TILE + 100, N), digest="xyz")
write_embedding(f"{folder}/narrow.h5", object_id[LAST], image[LAST, :4], spectrum[LAST], redshift=z[LAST])
twins = np.repeat(np.arange(12), 2)  # 12 objects, two rows each: ten folds of them are not all filled
few = np.concatenate([twins, np.arange(60, 72)])
write_embedding(f"{folder}/few.h5", object_id[few], image[few] + 0.001 * rng.normal(size=(len(few), E)), redshift=z[few], side=np.arange(len(few)) >= 24)
as_text = np.array([str(int(1000 * v)) for v in z])
table = Table({"TARGETID": object_id, "as_text": as_text, "bad_text": np.where(np.arange(N) == N - 3, "much", as_text)})
table["as_text"].unit = "km"
table.write(f"{folder}/text.fits")
twice = np.concatenate([np.arange(N - 50), [N - 60, N - 61]])  # 50 are not in it, and two stand there twice
value = z[twice].copy()
value[-1] += 0.1  # one of them with another value
Table({"TARGETID": object_id[twice], "value": value}).write(f"{folder}/twice.fits")
Table({"TARGETID": object_id + 10**15, "value": z}).write(f"{folder}/strangers.fits")
write("odd")
write("rounded")
with h5py.File(f"{folder}/odd.h5", "a") as f, h5py.File(f"{folder}/rounded.h5", "a") as g:
    f["label/text"], f["label/two"] = [str(k) for k in range(N)], np.zeros((N, 2))
    del g["object_id"]
    g["object_id"] = object_id.astype(np.float64)
write_embedding(f"{folder}/same.h5", np.concatenate([np.full(24, 7), np.arange(100, 110)]), image[:34], redshift=z[:34], side=np.arange(34) >= 24)  # one object to train
Table({"TARGETID": object_id.astype(np.float64), "value": z}).write(f"{folder}/float.fits")
for brick in range(2):  # one catalogue in two files
    Table({"TARGETID": object_id[brick::2], "value": z[brick::2]}).write(f"{folder}/brick-{brick}.fits")
QUICK = ["compute.precision=float32", "probe.bootstrap=20", "probe.members=1", "probe.epochs=1", "probe.mlp_epochs=2", "probe.draws=50", "probe.penalty=[1e-3, 1]"]
GREAT = "1e38 * (1 + redshift) ** 9"
COLUMN = ["probe.split=column", "probe.split_column=side"]


def probe(task, out, *keys, expect=0, name="all", **more):
    sets = {word.split("=", 1)[0]: word for word in [f"output.dir={folder}/{out}", f"probe.embeddings={folder}/{name}.h5", *QUICK, *keys]}.values()  # the last counts
    done = launch(2, BINARY, "probe", task, *(word for item in sets for word in ("--set", item)), stderr=subprocess.STDOUT, timeout=90, **more)
    check(done.returncode == expect, f"probe {task} {[k for k in keys][:3]}: exit code {done.returncode}, {expect} expected" + ("" if done.returncode == expect else f": {done.stdout[-1500:]}"))
    return done.stdout


def result(out):
    with open(f"{folder}/{out}/probe.json") as f:
        return json.load(f)


def bytes_of(out):
    return [open(f"{folder}/{out}/{name}", "rb").read() for name in ("probe.json", "predictions.h5")]


def left_out():
    """Labels and embeddings with holes: all methods on what remains; more neighbours than objects; a joint posterior with domains."""
    text = probe("table", "left", *COLUMN, "probe.sources=[both, image]", "probe.labels=[bounded, holed, partly, constant, sparse, level, redshift]",
                 "probe.classes=odd", "probe.cut=keep == 1", "probe.k=[5, 1000000]", "probe.fractions=bounded")
    got = result("left")
    kept = CUT == 1
    train, test = (~is_test & kept & ~unusable), (is_test & kept & ~unusable)
    split = got["split"]
    check((split["train"], split["test"], split["without_features"], split["cut"]) == (train.sum(), test.sum(), 4, 2), f"objects without features and cut ones are counted: {split}")
    check({s["name"]: s["missing"] for s in got["sources"]} == {"both": 4, "image": 3}, f"of both, one half of zeros is enough: {got['sources']}")
    for name, why in (("constant", "all are equal"), ("sparse", "14 training and 4 test"), ("level", "all are equal in training")):
        check(any(f"{name} is left out" in line and (why in line or name == "sparse") for line in text.splitlines()), f"{name} is left out")
    found = {k["name"]: k for k in got["labels"]}
    check("constant" not in found and "sparse" not in found and "level" not in found, "labels that say nothing are not in the table")
    check(found["holed"]["missing"] == 2 and found["holed"]["infinite"] == 3, f"NaN and infinite labels are counted: {found['holed']}")
    check(found["odd"]["classes"] == 4, f"classes of objects that are cut do not count: {found['odd']}")
    odd = {r["method"]: r for r in got["results"] if r["label"] == "odd"}
    check(set(odd) == {"knn", "linear", "mlp"} and all(0.5 < r["figures"]["accuracy"]["value"] < 1 for r in odd.values()), "a class of one member and one of the test side alone do no harm")
    known = [r for r in got["results"] if r["label"] == "redshift"]
    check(len(known) == 8 and all(r["figures"]["R2"]["value"] is not None for r in known), "R2 of all methods")
    for p in got["posteriors"]:
        whole = np.isfinite(holed) & np.isfinite(partly)
        inside = (bounded > 0) & (bounded < 1)
        check(p["n"] == (test & whole).sum() and p["outside"] == (train & whole & ~inside).sum() == 2 and p["test_outside"] == (test & whole & ~inside).sum(),
              f"{p['source']}: labels outside of a domain are counted: {p['outside']}, {p['test_outside']} of {p['n']}")
        check(p["train"] + p["validation"] == (train & whole & inside).sum() and p["nll_joint"] is not None and p["nll_joint_error"] is not None, "and do not train")


def outside_in_test():
    long = "bounded" + " + 0 * redshift" * 5  # longer than the name that a flow has room for
    probe("flow", "outside", *COLUMN, f"probe.labels=[{long}, redshift]", "probe.sources=image", f"probe.fractions={long}")
    p = result("outside")["posteriors"][0]
    check(p["test_outside"] == 1 and p["outside"] == 2, f"a test object outside of the domain: {p['test_outside']}, {p['outside']}")
    check(p["nll_joint"] is not None and p["nll_joint_error"] is not None, "the NLL is that of the others")
    with h5py.File(f"{folder}/outside/predictions.h5") as f:
        density, ids = f["posterior/image/log_density"][:], f["object_id"][:]
    check(density[ids == object_id[N - 17]][0] == -np.inf and np.isfinite(density).sum() == p["n"] - 1, "its density is 0")
    below = abs(density[np.isfinite(density)].mean() + p["nll_joint"])
    check(below < 1e-12, f"NLL against the densities: {below}")


def few_objects():
    """Fewer objects than neighbours, than labels of a draw; folds that are empty; more folds than objects."""
    keys = [*COLUMN, "probe.sources=image"]
    probe("table", "few", *keys, "probe.methods=[knn, linear]", "probe.k=[1, 3, 500]", "probe.folds=10", name="few")
    check(all(np.isfinite(r["figures"]["R2"]["value"]) for r in result("few")["results"]), "empty folds and k beyond the objects do no harm")
    text = probe("knn", "few2", *keys, "probe.folds=32", expect=3, name="few")
    check("redshift is left out: 24 training" in text and "wanted: 64" in text, "more folds than the label has objects: left out, with numbers")
    probe("few-label", "few3", *COLUMN, "probe.sources=image", "probe.classes=is_high", "probe.sizes=[10, 1000000000]", "probe.repeats=3")
    sizes = {(r["draws_of"], r["labels"]): r["draws"] for r in result("few3")["few_labels"][0]["curve"]}
    check(sizes["balanced", 10] == 3 and sizes["balanced", 10**9] == sizes["natural", 10**9] == 0, f"sizes beyond the objects have no draws: {sizes}")


def tables():
    probe("knn", "text", *COLUMN, "probe.sources=image", f"probe.table={folder}/text.fits", "probe.labels=[as_text, as_text + 1]")
    check([k["unit"] for k in result("text")["labels"]] == ["km", ""], f"a column has its unit, a formula of it has none: {result('text')['labels']}")
    check(all(r["figures"]["R2"]["value"] > 0.5 for r in result("text")["results"]), "whole numbers stored as text are numbers")
    text = probe("knn", "twice", *COLUMN, "probe.sources=image", f"probe.table={folder}/twice.fits", "probe.labels=value")
    told = [line for line in text.splitlines() if "twice.fits: " in line]
    check(f"{N - 51}" in told[0] and "50" in told[0], f"the join is told: {told}")
    label = result("twice")["labels"][0]
    check(label["missing"] == 51, f"50 objects are not in the table, and for one it has two values: {label['missing']} are missing")
    with h5py.File(f"{folder}/twice/predictions.h5") as f:
        ids, said = f["object_id"][:], f["label/value"][:]
    probe("knn", "bricks", *COLUMN, "probe.sources=image", f"probe.table=[{folder}/brick-0.fits, {folder}/strangers.fits, {folder}/brick-1.fits]", "probe.labels=value")
    check(result("bricks")["labels"][0]["missing"] == 0, "several tables are one, and one of them without any of the objects does no harm")
    check(np.isnan(said[ids == object_id[N - 61]]).all() and (ids == object_id[N - 61]).sum() == is_test[N - 61], "the object with two values has none")


def files():
    nameless, again = object_id.copy(), np.concatenate([object_id[[N - 40]], object_id])
    nameless[[N - 30, N - 31]] = 0, -5  # no identifiers: they join with nothing
    other = np.concatenate([np.zeros((1, E)), spectrum])  # the first row of an object means nothing, the second one does
    again[[N - 29, N - 30]] = 0, -5
    write_embedding(f"{folder}/nameless.h5", nameless, image, redshift=z, side=is_test)
    write_embedding(f"{folder}/other.h5", again, None, other)
    probe("linear", "nameless", *COLUMN, f"probe.sources=[image, {folder}/other.h5]", "probe.labels=[redshift, ln(redshift)]", name="nameless")
    missing = [s["missing"] for s in result("nameless")["sources"]]
    check(missing == [3, 3], f"identifiers that are 0 or negative join with nothing, and rows of zeros are passed over: {missing}")
    probe("linear", "shared", "probe.split=file", f"probe.test_embeddings={folder}/shared.h5", "probe.sources=image", f"probe.labels=[redshift, {GREAT}]", name="train")
    split = result("shared")["split"]
    check(split["dropped_in_both"] == 40 and split["test"] == N - TILE - 100 - 3, f"objects of both files do not test: {split}")
    great = result("shared")["results"][1]
    check(great["label"] == GREAT and great["figures"]["R2"]["value"] is not None, f"numbers that float32 cannot hold are no labels: {great}")


def refused():
    cases = [("knn", [f"probe.table={folder}/strangers.fits", "probe.labels=value"], 3, "none of"),
             ("knn", [f"probe.table={folder}/float.fits", "probe.labels=value"], 3, "2^53"),
             ("knn", [f"probe.table=[{folder}/brick-0.fits, {folder}/float.fits]", "probe.labels=value"], 3, "2^53"),
             ("knn", [f"probe.table={folder}/text.fits", "probe.labels=bad_text"], 3, "much"),
             ("knn", [f"probe.embeddings=[{folder}/all.h5, {folder}/narrow.h5]"], 3, "4 wide"),
             ("knn", [f"probe.embeddings=[{folder}/train.h5, {folder}/stranger.h5]"], 3, "model xyz"),
             ("knn", ["probe.labels=[redshift, redshift]"], 2, "twice"), ("knn", ["probe.labels=is_high", "probe.classes=is_high"], 2, "twice"),
             ("knn", ["probe.labels=[redshift/holed, redshift_holed]"], 2, "same name"),
             ("flow", ["probe.positive=redshifd"], 2, "probe.positive"), ("flow", ["probe.positive=redshift", "probe.fractions=redshift"], 2, "one of them"),
             ("few-label", [], 2, "probe.classes"), ("flow", ["probe.labels=[" + ", ".join(f"{k} * redshift" for k in range(1, 12)) + "]"], 2, "at most 10"),
             ("knn", ["probe.embeddings="], 3, "embedding.h5"),
             ("knn", [f"probe.embeddings={folder}/odd.h5", "probe.labels=text"], 3, "does not hold numbers"),
             ("knn", [f"probe.embeddings={folder}/odd.h5", "probe.labels=two"], 3, "2 axes"),
             ("knn", [f"probe.embeddings={folder}/rounded.h5"], 3, "lose digits"),
             ("linear", [f"probe.embeddings={folder}/same.h5", *COLUMN], 2, "in one fold")]

    def one(k):
        task, keys, status, word = cases[k]
        text = probe(task, f"no{k}", "probe.sources=image", *keys, expect=status)
        check(word in text and "labels: probe." not in text, f"the message says {word}" + ("" if word in text else f": {text[-900:]}"))
        check(not os.path.exists(f"{folder}/no{k}/probe.json"), "nothing is written")

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(one, range(len(cases))))


def failures():
    """A rank that fails ends all of them, and the earlier result is whole."""
    keys = [*COLUMN, "probe.sources=image", "probe.labels=[redshift, holed]"]
    probe("table", "kept", *keys, "probe.methods=[linear, flow]")
    before = bytes_of("kept")
    for fault, status, task, more in (("flow_loss:1:2", 6, "flow", ["probe.members=2"]), ("alloc:1:400", 8, "table", []), ("h5_write:0:3", 4, "linear", []),
                                      ("publish:0:3", 4, "linear", []), ("h5_read:1:4", 3, "linear", [])):
        text = probe(task, "kept", *keys, *more, expect=status, SYZ_FAULT=fault)
        check(bytes_of("kept") == before, f"{fault}: the earlier probe.json and predictions.h5 are as they were")
        left = [name for name in os.listdir(f"{folder}/kept") if name.endswith((".new", ".tmp"))]
        check(not left, f"{fault}: nothing is left half written: {left}")


for work in (left_out, outside_in_test, few_objects, tables, files, refused, failures):
    work()
finish()
