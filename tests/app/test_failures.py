# SPDX-License-Identifier: BSD-3-Clause
"""
What cannot be used, on 3 ranks: each command ends within 30 s with the right exit code and one error line that names file, object and reason, and
leaves nothing half-written under a final name. Groups (argument): pixels (align and embed on damaged shards), inputs (keys, models), files (ingest,
simulate, search, info, report on damaged files), disk (full disks, folders in use).
"""
import os
import re
import shutil
import subprocess
import sys
import time
import warnings

import h5py
import numpy as np
from astropy.io import fits

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import BINARY, check_quietly as check, environment, finish, launch, scratch
from embed_common import command, read_datasets, same_bits, write_embedding, write_shard

import syzygy_torch as ref

RANKS, LIMIT_S = 3, 30
OBJECT = 39627788403084375
folder = scratch()
rng = np.random.default_rng(5)


def sets(keys):
    """Lists become flow lists."""
    return [item for k, v in keys.items() for item in ("--set", f"{k.replace('__', '.')}={'[' + ', '.join(map(str, v)) + ']' if isinstance(v, (list, tuple)) else v}")]


def half_written(out):
    """Leftovers, and files under a final name that cannot be read to their end. Log, input and lock are the run's own."""
    found = []
    for top, _, names in os.walk(out):
        for name in names:
            path = f"{top}/{name}"
            if name.endswith(".tmp"):
                found.append(path)
            try:
                if name.endswith(".h5"):
                    read_datasets(path)
                elif name.endswith((".fits", ".fits.fz")):
                    with warnings.catch_warnings(record=True) as said:
                        warnings.simplefilter("always")
                        with fits.open(path, checksum=True, memmap=False) as f:
                            for hdu in f:
                                hdu.data
                    found += [f"{path}: {w.message}" for w in said if "failed" in str(w.message) or "truncated" in str(w.message)]
            except Exception as reason:  # whatever h5py or astropy thinks of it
                found.append(f"{path}: {reason}")
    return found


def run(name, keys, code, says=(), arguments=(), leaves=(), out=None):
    """
    Run on RANKS ranks. A failure must print one error line, with the rank at most once, that holds every text of `says`; `leaves`: names that may be
    in the output folder afterwards besides input.yaml, log.txt, .lock and what embed goes on from.
    """
    out = out or f"{folder}/out"
    if name not in ("info",):
        keys = {"output.dir": out, **keys}
    start = time.time()
    done = launch(RANKS, BINARY, name, *arguments, *sets(keys), stderr=subprocess.STDOUT)
    took, text = time.time() - start, done.stdout
    what = f"{name} {list(arguments)} {keys}"
    check(done.returncode == code, f"{what}: exit code {done.returncode}, expected {code}\n{text[-1500:]}")
    check(took < LIMIT_S, f"{what}: took {took:.1f} s")
    errors = [line for line in text.splitlines() if re.match(r"(rank \d+: )?error: ", line)]
    if code not in (0, 75):
        check(len(errors) == 1, f"{what}: {len(errors)} error lines\n{text[-1500:]}")
        line = errors[0] if errors else ""
        check(len(re.findall(r"\brank \d+:", line)) <= 1, f"{what}: names the rank more than once: {line}")
        for said in says:
            check(said in line, f"{what}: the error does not say '{said}': {line}")
    else:
        check(not errors, f"{what}: {errors}")
        for said in says:
            check(said in text, f"{what}: does not say '{said}'\n{text[-1500:]}")
    if os.path.isdir(out):
        check(half_written(out) == [], f"{what}: half-written: {half_written(out)}")
        if code not in (0, 75):
            left = [n for n in os.listdir(out) if n not in ("input.yaml", "log.txt", ".lock", "embedding.part", *leaves)]
            left = [n for n in left if not os.path.isdir(f"{out}/{n}") or any(files for _, _, files in os.walk(f"{out}/{n}"))]
            check(left == [], f"{what}: leaves {left}")
        if not leaves and out == f"{folder}/out":
            shutil.rmtree(out)
    return text


def copy(path, name, change=None):
    """A copy, changed by h5py; its path."""
    to = f"{folder}/{name}"
    os.makedirs(os.path.dirname(to), exist_ok=True)
    shutil.copy(path, to)
    if change:
        with h5py.File(to, "r+") as f:
            change(f)
            f.attrs.pop("checksum", None)  # of the attributes: the change is on purpose
    return to


def damaged(path, stem, extra=()):
    """(path, what the message must say): truncated, empty, random, header overwritten."""
    with open(path, "rb") as f:
        whole = f.read()
    out = []
    for name, content in (("cut", whole[: len(whole) * 2 // 3]), ("empty", b""), ("random", rng.bytes(30000)), ("short", whole[:100]), *extra):
        to = f"{folder}/{stem}-{name}.h5"
        with open(to, "wb") as f:
            f.write(content)
        out.append((to, f"{stem}-{name}.h5"))
    return out


def flip(path, dataset, element, bit=0):
    """One bit of one element of a contiguous dataset, behind HDF5's back."""
    with h5py.File(path, "r") as f:
        d = f[dataset]
        at = d.id.get_offset() + element * d.dtype.itemsize
    with open(path, "r+b") as f:
        f.seek(at + bit // 8)
        byte = f.read(1)[0]
        f.seek(at + bit // 8)
        f.write(bytes([byte ^ (1 << bit % 8)]))


def replace(name, value):
    """For copy(): a dataset anew, without a checksum."""

    def change(f):
        del f[name]
        if value is not None:
            f[name] = value

    return change


def put(name, place, value):
    def change(f):
        f[name][place] = value

    return change


def make_model():
    config = ref.small_config()
    ref.write_model_file(f"{folder}/model.h5", config, ref.random_model(config, seed=1).state_dict())
    return f"{folder}/model.h5"


def simulate_shards():
    """18 objects in 3 shards, with checksums."""
    run("simulate", {"simulate.objects": 18, "simulate.shard_objects": 6, "simulate.segments": "false"}, 0, out=f"{folder}/sim")
    return [f"{folder}/sim/shards/simulated-{k:05d}.h5" for k in range(3)]


ALIGN_INPUT = """
model:
  image: {dim: 32, depth: 2, heads: 2, patch: 24, size: 144, tokens: dinov2, layerscale: 0.1}
  spectrum: {dim: 32, depth: 2, heads: 2, section: 200, overlap: 100, max_tokens: 100}
  embedding: {dim: 32, heads: 4, dropout: 0.0}
train: {steps: 2, global_batch: 4, warmup_steps: 0}
data: {split: all}
compute: {precision: float32}
"""


def pixels():
    model, shards = make_model(), simulate_shards()
    with open(f"{folder}/align.yaml", "w") as f:
        f.write(ALIGN_INPUT)

    def both(path, code, says, **more):
        for name, keys, arguments in (("embed", {"model.file": model, "compute.precision": "float32"}, ()), ("align", {}, (f"{folder}/align.yaml",))):
            run(name, {**keys, "data.path": path, **more}, code, says, arguments)

    def embed(path, code, says, **more):
        run("embed", {"model.file": model, "compute.precision": "float32", "data.path": path, **more}, code, says)

    with h5py.File(shards[1], "r") as f:
        ids = f["object_id"][:]
        at_flux = int(f["spectrum"].id.get_offset())
    # One bit of one pixel, which stays a good number: only the checksum knows.
    for dataset in ("image", "spectrum", "spectrum_ivar", "label/redshift", "object_id"):
        bad = copy(shards[1], f"flip/{dataset.replace('/', '-')}.h5")
        flip(bad, dataset, 3 if dataset != "image" else 3 * 152 * 152 * 3 + 500)
        says = (os.path.basename(bad), f"dataset {dataset} ", "checksum")
        (both if dataset == "image" else embed)([shards[0], bad, shards[2]], 3, says)
    bad = f"{folder}/flip/image.h5"
    both([shards[0], bad], 0, (), data__verify="never")
    both([shards[0], bad], 3, ("image.h5", "dataset image"), data__verify="always", data__bad_objects="skip")
    # A bad object in a shard with checksums: the object is named, and left out where that is asked for.
    for dataset, value, reason in (("image", np.nan, "NaN"), ("spectrum", 0, "zero"), ("spectrum", np.inf, "infinite"), ("spectrum_ivar", -1, "negative")):
        bad = copy(shards[1], "bad.h5", put(dataset, 2 if value == 0 else (2, ..., 7), value))
        for verify in ("auto", "never") if dataset != "spectrum_ivar" else ("auto",):  # embed itself has no use for inverse variances
            embed([shards[0], bad], 3, ("bad.h5", str(ids[2]), "row 2", reason), data__verify=verify)
    bad = copy(shards[1], "bad.h5", put("image", 4, 0))
    both([shards[0], bad], 3, ("bad.h5", str(ids[4]), "row 4", "zero"))
    both([shards[0], bad], 0, ("left out", "bad.h5", str(ids[4]), "differs from its checksums"), data__bad_objects="skip")
    # Files that are no shards any more.
    for path, name in damaged(shards[1], "shard"):
        embed([shards[0], path], 3, (name,))
    image, flux = ref.random_images(6, 1), ref.random_flux(6, 2)
    write_shard(f"{folder}/plain.h5", image, flux, OBJECT + np.arange(6), redshift=np.zeros(6))
    plain = f"{folder}/plain.h5"
    for name, change, says in (
        ("shape", replace("image", image[:, :, :100]), "dataset image has shape (6, 3, 100, 152)"),
        ("grid", replace("spectrum", flux[:, :7000]), "dataset spectrum has shape (6, 7000)"),
        ("rows", replace("spectrum", flux[:5]), "dataset spectrum has 5 rows"),
        ("label", replace("label/redshift", np.zeros(9)), "label/redshift has 9 rows"),
        ("text", replace("image", np.full((6, 3, 152, 152), b"x")), "dataset image holds text"),
        ("missing", replace("object_id", None), "object_id"),
        ("nothing", lambda f: [f.__delitem__(k) for k in ("image", "spectrum")], "neither a shard"),
    ):
        embed(copy(plain, f"{name}-wrong.h5", change), 3, (f"{name}-wrong.h5", says))
    # Any bit of the file's structure: refused by name, or nothing that is used has changed.
    embed(shards[1], 0, ())
    run("embed", {"model.file": model, "compute.precision": "float32", "data.path": shards[1]}, 0, out=f"{folder}/good")
    good = read_datasets(f"{folder}/good/embedding.h5")
    for trial in range(8):
        bad = copy(shards[1], f"structure-{trial}.h5")
        with open(bad, "r+b") as f:
            at = int(rng.integers(0, min(at_flux, 4000)))
            f.seek(at)
            byte = f.read(1)[0]
            f.seek(at)
            f.write(bytes([byte ^ (1 << int(rng.integers(8)))]))
        out = f"{folder}/structure"
        done = launch(RANKS, BINARY, "embed", *sets({"model.file": model, "compute.precision": "float32", "data.path": bad, "output.dir": out}),
                      stderr=subprocess.STDOUT)
        text = done.stdout
        if done.returncode == 0:
            check(same_bits(good, read_datasets(f"{out}/embedding.h5")), f"a flipped bit at byte {at} went unnoticed")
        else:
            check(done.returncode == 3 and f"structure-{trial}.h5" in text, f"a flipped bit at byte {at}: exit code {done.returncode}\n{text[-800:]}")
        shutil.rmtree(out, ignore_errors=True)


def inputs():
    model = make_model()
    image, flux = ref.random_images(6, 1), ref.random_flux(6, 2)
    write_shard(f"{folder}/plain.h5", image, flux, OBJECT + np.arange(6))
    good = {"embed": {"model.file": model, "data.path": f"{folder}/plain.h5"}, "search": {"search.index": f"{folder}/none"}, "simulate": {}, "ingest": {},
            "report": {}, "info": {}}
    typos = {"embed": ("embed.bach", "embed.batch"), "search": ("search.idnex", "search.index"), "simulate": ("simulate.object", "simulate.objects"),
             "ingest": ("ingest.spectrum", "ingest.spectra"), "report": ("report.rnu", "report.run"), "info": ("info.verfy", "info.verify")}
    for name, (typo, near) in typos.items():
        run(name, {**good[name], typo: 1}, 2, (typo, near))
        section, key = typo.split(".")
        with open(f"{folder}/typo.yaml", "w") as f:
            f.write(f"seed: 3\n{section}:\n  {key}: 1\n")
        run(name, good[name], 2, ("typo.yaml", "3", near), (f"{folder}/typo.yaml",))
        with open(f"{folder}/twice.yaml", "w") as f:
            f.write("seed: 3\noutput: {dir: x}\nseed: 4\n")
        run(name, good[name], 2, ("twice.yaml", "3", "seed"), (f"{folder}/twice.yaml",))
        run(name, good[name], 2, ("absent.yaml",), (f"{folder}/absent.yaml",))
    run("embed", {**good["embed"], "data.verify": "sometimes"}, 2, ("data.verify", "sometimes", "always"))
    run("simulate", {"simulate.objects": "many"}, 2, ("simulate.objects", "many"))
    run("simulate", {"simulate.objects": -4}, 2, ("simulate.objects", "-4"))
    run("embed", {**good["embed"], "data.path": f"{folder}/nowhere"}, 3, ("nowhere",))
    run("search", {"search.index": f"{folder}/nowhere.h5"}, 3, ("search.index", "nowhere.h5"))
    run("report", {}, 2, ("nowhere",), (f"{folder}/nowhere",))
    # Model files.
    with h5py.File(model, "r") as f:
        names = []
        f["parameter"].visititems(lambda n, d: names.append("parameter/" + n) if isinstance(d, h5py.Dataset) else None)
        name = next(n for n in names if "image" in n and f[n].ndim == 2)
        weights = f[name][:]
    cases = damaged(model, "model") + [
        (copy(model, "model-shape.h5", replace(name, weights[:-1])), name.split("/", 1)[1]),
        (copy(model, "model-nan.h5", put(name, (1, 2), np.nan)), name.split("/", 1)[1]),
        (copy(model, "model-missing.h5", replace(name, None)), name.split("/", 1)[1]),
        (f"{folder}/absent-model.h5", "absent-model.h5"),
        (f"{folder}/plain.h5", "plain.h5"),
    ]
    for path, said in cases:
        run("embed", {**good["embed"], "model.file": path}, 3, (os.path.basename(path), said))


def files():
    model, shards = make_model(), simulate_shards()
    # Embedding files of embed: checksums are compared by search.
    run("embed", {"model.file": model, "data.path": shards, "compute.precision": "float32"}, 0, out=f"{folder}/embed")
    embedding = f"{folder}/embed/embedding.h5"
    for dataset in ("image_embedding", "spectrum_embedding", "object_id"):
        bad = copy(embedding, f"flip-{dataset}.h5")
        flip(bad, dataset, 5, 1)
        run("search", {"search.index": bad, "search.k": 3}, 3, ("search.index", os.path.basename(bad), f"dataset {dataset} ", "checksum"))
        run("search", {"search.index": embedding, "search.query": bad, "search.k": 3}, 3, ("search.query", os.path.basename(bad), f"dataset {dataset} "))
        run("info", {}, 3, (), (bad,))
    z = rng.normal(size=(20, 8)).astype("f4")
    write_embedding(f"{folder}/plain.h5", OBJECT + np.arange(20), z, z)
    for name, change, says in (
        ("axes", replace("image_embedding", z[:, 0]), "image_embedding"),
        ("rows", replace("spectrum_embedding", z[:7]), "spectrum_embedding"),
        ("missing", replace("object_id", None), "object_id"),
        ("text", replace("image_embedding", np.full((20, 8), b"x")), "image_embedding"),
        ("neither", lambda f: [f.__delitem__(k) for k in ("image_embedding", "spectrum_embedding")], "neither"),
    ):
        run("search", {"search.index": copy(f"{folder}/plain.h5", f"{name}-wrong.h5", change)}, 3, (f"{name}-wrong.h5", says))
    for path, name in damaged(embedding, "embedding")[:1]:
        run("search", {"search.index": path}, 3, ("search.index", name))
        run("info", {}, 3, (), (path,))
        run("report", {"report.embedding": path, "data.path": shards[0]}, 3, (name,), (f"{folder}/embed",))
    write_neighbours = {"search.index": embedding, "search.k": 3, "search.query_modality": "image", "search.index_modality": "spectrum"}
    run("search", write_neighbours, 0, out=f"{folder}/search")
    for path, name in damaged(f"{folder}/search/neighbours.h5", "neighbours")[:2]:
        run("report", {"report.neighbours": path, "report.embedding": embedding, "data.path": shards[0]}, 3, (name,), (f"{folder}/embed",))
    # simulate's one file: the emulator.
    for path, name in damaged(embedding, "emulator")[:3]:
        run("simulate", {"simulate.objects": 5, "simulate.emulator": path}, 3, (name,))
    # ingest: HDF5 sets of others, and DESI files that differ from what they should be.
    n = 6
    images, flux = rng.normal(0, 1, (n, 152, 152, 3)).astype("f4"), rng.normal(2, 1, (n, 7781, 1)).astype("f4")
    with h5py.File(f"{folder}/clip.h5", "w") as f:
        f["0/images"], f["0/spectra"], f["0/redshifts"], f["0/targetids"] = images, flux, np.linspace(0.1, 0.6, n), OBJECT + np.arange(n)
    clip = f"{folder}/clip.h5"
    for path, name in damaged(clip, "clip"):
        run("ingest", {"ingest.hdf5": path}, 3, (name,), leaves=("rejected.csv", "shards"), out=f"{folder}/in-{name}")
    for name, change, says in (
        ("shape", replace("0/images", images[:, :100]), "0/images"),
        ("rows", replace("0/spectra", flux[:4]), "0/spectra"),
        ("ids", replace("0/targetids", None), "targetids"),
    ):
        run("ingest", {"ingest.hdf5": copy(clip, f"{name}-clip.h5", change)}, 3, (f"{name}-clip.h5", says))
    for name, change, reason in (("nan", put("0/images", (3, 5, 5, 1), np.nan), "finite"), ("zero", put("0/spectra", 3, 0), "zero")):
        path = copy(clip, f"{name}-clip.h5", change)
        run("ingest", {"ingest.hdf5": path}, 3, (f"{name}-clip.h5", str(OBJECT + 3), reason))
        out = f"{folder}/skip-{name}"
        run("ingest", {"ingest.hdf5": path, "data.bad_objects": "skip"}, 0, out=out)
        with open(f"{out}/rejected.csv") as f:
            listed = f.read()
        check(f"{name}-clip.h5" in listed and str(OBJECT + 3) in listed and reason in listed and listed.count("\n") == 2, f"skipped and listed: {listed}")
    with h5py.File(f"{folder}/grid.h5", "w") as f:
        f["spectrum_flux"], f["spectrum_ivar"], f["spectrum_mask"] = np.ones((3, 7781), "f4"), np.ones((3, 7781), "f4"), np.zeros((3, 7781), bool)
        f["spectrum_lambda"] = np.tile(3500 + 0.8 * np.arange(7781), (3, 1)).astype("f4")
        f["object_id"], f["Z"] = np.array([b"1", b"2", b"3"]), np.zeros(3)
    run("ingest", {"ingest.hdf5": f"{folder}/grid.h5"}, 3, ("grid.h5", "spectrum_lambda"))
    for name, text in (("missing", "Z_FLUX"), ("grid", "5760.3"), ("rows", "B_IVAR"), ("short", "R_FLUX")):
        path = f"{folder}/coadd-{name}.fits"
        coadd(path, name)
        run("ingest", {"ingest.spectra": path}, 3, (f"coadd-{name}.fits", text))


def coadd(path, fault):
    """A small DESI coadd with one fault."""
    n, out = 3, [fits.PrimaryHDU()]
    out.append(fits.BinTableHDU.from_columns([fits.Column("TARGETID", "K", array=OBJECT + np.arange(n)), fits.Column("TARGET_RA", "D", array=np.arange(n) + 10.0),
                                              fits.Column("TARGET_DEC", "D", array=np.zeros(n))], name="FIBERMAP"))
    for arm, first, count in (("B", 3600, 2751), ("R", 5760, 2326), ("Z", 7520, 2881)):
        wave = np.round(first + 0.8 * np.arange(count), 1)
        flux, ivar = rng.normal(3, 1, (n, count)).astype("f4"), np.ones((n, count), "f4")
        if fault == "grid" and arm == "R":
            wave = wave + 0.3
        if fault == "rows" and arm == "B":
            ivar = ivar[:2]
        if fault == "short" and arm == "R":
            flux = flux[:, :-1]
        out += [fits.ImageHDU(wave, name=arm + "_WAVELENGTH")]
        if not (fault == "missing" and arm == "Z"):
            out += [fits.ImageHDU(flux, name=arm + "_FLUX")]
        out += [fits.ImageHDU(ivar, name=arm + "_IVAR")]
    fits.HDUList(out).writeto(path)


class Disk:
    """A small tmpfs; `is_there` is false when none can be mounted."""

    def __init__(self, name, size):
        self.path = f"{folder}/{name}"
        os.makedirs(self.path)
        self.is_there = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "syzygy-test", self.path], stderr=subprocess.DEVNULL).returncode == 0

    def grow(self, size):
        subprocess.run(["mount", "-o", f"remount,size={size}", self.path], check=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.is_there:
            subprocess.run(["umount", self.path], check=False)


def disk():
    n = 20
    with h5py.File(f"{folder}/clip.h5", "w") as f:
        f["0/images"], f["0/spectra"] = rng.normal(0, 1, (n, 152, 152, 3)).astype("f4"), rng.normal(2, 1, (n, 7781, 1)).astype("f4")
        f["0/targetids"] = OBJECT + np.arange(n)
    z = rng.normal(size=(2000, 16)).astype("f4")
    write_embedding(f"{folder}/embedding.h5", OBJECT + np.arange(2000), z, z + rng.normal(size=z.shape) * 0.3)
    search = {"search.index": f"{folder}/embedding.h5", "search.k": 50}
    ingest = {"ingest.hdf5": f"{folder}/clip.h5", "ingest.shard_objects": 4}
    cases = [
        ("simulate", "3m", "64m", {"simulate.objects": 18, "simulate.shard_objects": 3}, ("shards",)),
        ("simulate", "2m", "200m", {"simulate.objects": 20, "simulate.output": "survey"}, ("survey",)),
        ("ingest", "3m", "64m", ingest, ("shards", "rejected.csv")),
        ("search", "800k", "64m", search, ()),
        ("search", "3m", "64m", search, ("neighbours-image-image.h5",)),
    ]
    for k, (name, small, large, keys, leaves) in enumerate(cases):
        with Disk(f"disk-{k}", small) as place:
            if not place.is_there:
                print("SKIPPED: full disks: cannot mount a small tmpfs (not root?)", flush=True)
                break
            leaves = (*leaves, "neighbours-image-spectrum.h5", "neighbours-spectrum-image.h5", "neighbours-spectrum-spectrum.h5") if len(leaves) and name == "search" else leaves
            run(name, keys, 4, (f"disk-{k}/", "space"), leaves=leaves, out=place.path)
            place.grow(large)
            run(name, keys, 0, out=place.path)
            run(name, keys, 0, out=f"{folder}/whole-{k}")
            mine, whole = contents(place.path), contents(f"{folder}/whole-{k}")
            check(mine == whole and len(whole) > 0, f"{name} on {small}, then {large}: the same files as with space from the start: {sorted(mine)} {sorted(whole)}")
    # A folder in use.
    used = f"{folder}/used"
    holder = subprocess.Popen(command(1, "simulate", *sets({"output.dir": used, "simulate.objects": 100000, "simulate.shard_objects": 2})), env=environment(),
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        limit = time.time() + 20
        while time.time() < limit and not os.path.exists(f"{used}/shards"):
            time.sleep(0.02)
        model = make_model()
        write_shard(f"{folder}/data.h5", ref.random_images(4, 1), ref.random_flux(4, 2), OBJECT + np.arange(4))
        for name, keys in (("simulate", {"simulate.objects": 5}), ("ingest", ingest), ("search", search), ("embed", {"model.file": model, "data.path": f"{folder}/data.h5"})):
            before = open(f"{used}/input.yaml").read()
            done = launch(RANKS, BINARY, name, *sets({"output.dir": used, **keys}), stderr=subprocess.STDOUT)
            text = done.stdout
            check(done.returncode == 4 and "used" in text and "in use by another run" in text, f"{name} in a folder in use: {done.returncode}\n{text[-800:]}")
            check(text.count("error: ") == 1, f"{name}: one error line\n{text[-800:]}")
            check(open(f"{used}/input.yaml").read() == before, f"{name}: the input of the run that holds the folder is left alone")
            check(sorted(n for n in os.listdir(used) if n not in ("input.yaml", "log.txt", ".lock")) == ["shards"], f"{name}: wrote nothing: {os.listdir(used)}")
    finally:
        open(f"{used}/STOP", "w").close()
        code = holder.wait(timeout=60)
    check(code == 75, f"the run that held the folder goes on undisturbed until it is stopped: {code}")


def contents(out):
    """Everything but the run's own notes: {relative name: checksum of what is in it}."""
    found = {}
    for top, _, names in os.walk(out):
        for name in names:
            path = f"{top}/{name}"
            if name.endswith(".h5"):
                found[os.path.relpath(path, out)] = {k: v.tobytes() for k, v in read_datasets(path).items()}
            elif name.endswith((".fits", ".fits.fz")):
                with fits.open(path, memmap=False, do_not_scale_image_data=True) as f:
                    found[os.path.relpath(path, out)] = [h.data.tobytes() if h.data is not None else b"" for h in f]
    return found


{"pixels": pixels, "inputs": inputs, "files": files, "disk": disk}[sys.argv[1]]()
finish()
