# SPDX-License-Identifier: BSD-3-Clause
"""A repeated command finds nothing to do only where every byte is what it was: results with a wrong bit, empty files and changed pixels of the same
size and time are made again, and then are the same bytes as those of a clean run; nothing is written through a symbolic link."""
import glob
import os
import shutil
import sys

import h5py
import numpy as np
from astropy.io import fits

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import check_quietly as check, finish, scratch
from embed_common import run, write_shard

folder = scratch()


def read(path):
    return open(path, "rb").read()


def keep_time(path, change):
    """Change a file so that its size and times stay."""
    about = os.stat(path)
    change(path)
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    check(os.stat(path).st_size == about.st_size and os.stat(path).st_mtime_ns == about.st_mtime_ns, f"{path}: size and time are kept")


def flip(path, at):
    data = bytearray(read(path))
    data[at] ^= 4
    open(path, "wb").write(data)


def flip_text(path, text):
    flip(path, read(path).index(text) + 1)


def embed():
    import syzygy_torch as ref

    n = 90
    image, flux = ref.random_images(n, 1), ref.random_flux(n, 2)
    write_shard(f"{folder}/data.h5", image, flux, np.arange(n) + 10**15)
    config = ref.small_config(depth=1)
    ref.write_model_file(f"{folder}/model.h5", config, ref.random_model(config, seed=1).state_dict())
    out = f"{folder}/out"
    keys = {"data.path": f"{folder}/data.h5", "model.file": f"{folder}/model.h5", "output.dir": out, "compute.precision": "float32"}
    h5, table = f"{out}/embedding.h5", f"{out}/embedding.fits"

    def again(ranks, *said, lacks=(), code=0, **more):
        text = run(ranks, "embed", {**keys, **more}, expect=code)
        check(all(t in text for t in said) and not any(t in text for t in lacks), f"embed again on {ranks} ranks says {said}, not {lacks}:\n{text[-1500:]}")

    again(2)
    right, right_table = read(h5), read(table)
    first = h5py.File(h5)["spectrum_embedding"][()]
    for ranks in (1, 2, 3):
        again(ranks, "nothing to do")
    row = first[37].tobytes()
    other = f"{folder}/other"  # of the same model and data; a run that was stopped between its two files leaves such a table
    again(2, **{"output.dir": other, "compute.precision": "bfloat16", "compute.engine": "reference"})  # the one that rounds on every processor
    damages = [("a bit of an embedding", h5, lambda p: flip(p, read(p).index(row) + 9), "dataset spectrum_embedding is damaged"),
               ("a bit of a text", h5, lambda p: flip_text(p, b"float32"), "the checksum of its attributes"),
               ("a bit of the input", h5, lambda p: flip_text(p, b"calibration_objects"), "the checksum of its attributes"),
               ("an empty file", h5, lambda p: os.truncate(p, 0), "embedding.h5"),
               ("an empty table", table, lambda p: os.truncate(p, 0), "written again from embedding.h5"),
               ("a bit of the table", table, lambda p: flip(p, len(right_table) - 9000), "written again from embedding.h5"),
               ("a table of another precision", table, lambda p: shutil.copyfile(f"{other}/embedding.fits", p), "written again from embedding.h5"),
               ("a bit of its header", table, lambda p: flip(p, read(p).index(b"MODELDIG") + 12), "written again from embedding.h5")]
    for k, (what, path, damage, said) in enumerate(damages):
        damage(path)
        again(1 + k % 3, said, lacks=["nothing to do"])
        check(read(h5) == right and read(table) == right_table, f"{what}: made again, the same bytes")
        check(sorted(n for n in os.listdir(out) if n.startswith("embedding")) == ["embedding.fits", "embedding.h5"], f"{what}: nothing is left over")
    again(1, "nothing to do")

    # Changed pixels: no checksum tells, only the bytes.
    def brighter(path):
        with h5py.File(path, "r+") as f:
            f["spectrum"][5] = f["spectrum"][5] * 2

    keep_time(f"{folder}/data.h5", brighter)
    again(3, lacks=["nothing to do"])
    second = h5py.File(h5)["spectrum_embedding"][()]
    check(not np.array_equal(first[5], second[5]) and np.array_equal(np.delete(first, 5, 0), np.delete(second, 5, 0)), "changed pixels are embedded anew")
    again(2, "nothing to do")

    # Shards with checksums: pixels that differ from them are refused, also where they are not compared by default.
    run(1, "simulate", {"simulate.objects": 6, "simulate.shard_objects": 3, "output.dir": f"{folder}/made", "simulate.segments": "false"})
    made = {"data.path": f"{folder}/made/shards", "output.dir": f"{folder}/embedded"}
    again(2, **made)
    again(3, "nothing to do", **made)
    keep_time(f"{folder}/made/shards/simulated-00001.h5", brighter_one)
    again(2, "simulated-00001.h5: dataset spectrum is damaged", lacks=["nothing to do"], code=3, **made)
    flip_text(f"{folder}/made/shards/simulated-00000.h5", b"simulate:\n")
    again(1, "simulated-00000.h5 is damaged: the checksum of its attributes", code=3, **made)

    # Links.
    open(f"{folder}/victim", "w").write("precious")
    for name in ("embedding.h5", "embedding.fits", "embedding.h5.tmp", "embedding.fits.tmp", "embedding.part"):
        to = f"{folder}/link-{name}"
        os.makedirs(to)
        os.symlink(f"{folder}/victim" if "part" not in name else f"{folder}/made", f"{to}/{name}")
        again(2, f"{name} is a symbolic link", code=4, **{"output.dir": to})
        check(read(f"{folder}/victim") == b"precious" and sorted(os.listdir(f"{folder}/made")) == [".lock", "input.yaml", "log.txt", "shards", "timing.json"],
              f"{name} as a link: what it points to is intact: {os.listdir(folder + '/made')}")


def brighter_one(path):
    with h5py.File(path, "r+") as f:
        f["spectrum"][1] = f["spectrum"][1] * 2


def simulate():
    keys = {"simulate.objects": 7, "simulate.shard_objects": 3, "output.dir": f"{folder}/sim"}
    run(2, "simulate", keys)
    shards = sorted(glob.glob(f"{folder}/sim/shards/*.h5"))
    right = [read(p) for p in shards]
    check(len(shards) == 3 and "3 of 3 existed already" in run(3, "simulate", keys), "repeated: kept")
    keep_time(shards[1], brighter_one)
    flip_text(shards[2], b"nanomaggy")
    text = run(3, "simulate", keys)
    check("2 of an earlier run were damaged" in text and "1 of 3 existed already" in text, f"two damaged shards are made again:\n{text[-900:]}")
    check([read(p) for p in shards] == right, "damaged shards: the same bytes")
    # Files of a survey.
    keys = {"simulate.objects": 2, "simulate.output": "survey", "output.dir": f"{folder}/survey"}
    run(1, "simulate", keys)
    files = {p: read(p) for p in glob.glob(f"{folder}/survey/survey/**/*.fits*", recursive=True)}
    check(len(files) >= 10 and "1 of 1 existed already" in run(1, "simulate", keys), f"a brick is kept: {len(files)} files")
    victim = next(p for p in files if "tractor" in p)
    keep_time(victim, lambda p: flip(p, len(files[victim]) - 3000))
    check("1 of an earlier run were damaged" in run(1, "simulate", keys), "a brick with a damaged table is made again")
    check(read(victim) == files[victim], "its table is what it was")  # images have the time of their checksums in a comment
    check("1 of 1 existed already" in run(1, "simulate", keys), "and is kept again")
    os.makedirs(f"{folder}/linked")
    os.symlink(f"{folder}/sim", f"{folder}/linked/shards")
    text = run(2, "simulate", {**keys, "simulate.output": "shards", "output.dir": f"{folder}/linked"}, expect=4)
    check("linked/shards is a symbolic link" in text, "shards as a link is refused")


def ingest():
    import ingest_common as common

    path = f"{folder}/coadd-0-1-thru20240101.fits"
    common.folder = folder
    ids = common.coadd(path, 6)
    keys = {"ingest.spectra": path, "ingest.shard_objects": 2, "output.dir": f"{folder}/in"}
    run(2, "ingest", keys)
    shards = sorted(glob.glob(f"{folder}/in/shards/*.h5"))
    right = [read(p) for p in shards]
    times = [os.stat(p).st_mtime_ns for p in shards]
    check(len(shards) == 3 and "some existed already" in run(3, "ingest", keys), "repeated: kept")
    os.utime(path)
    run(1, "ingest", keys)
    check([os.stat(p).st_mtime_ns for p in shards] == times, "a file that was only touched changes nothing")
    keep_time(shards[0], brighter_one)
    flip_text(shards[1], b"ingest:\n")
    os.truncate(shards[2], 5000)
    text = run(2, "ingest", keys)
    check("3 shards of an earlier run were damaged" in text and [read(p) for p in shards] == right, f"damaged shards are written again:\n{text[-900:]}")

    def brighter(p):
        with fits.open(p) as f:
            f["B_FLUX"].data[3] *= 2
            f.writeto(p, overwrite=True, checksum=True)

    keep_time(path, brighter)
    text = run(3, "ingest", keys)
    now = [h5py.File(p)["spectrum"][()] for p in shards]
    check("damaged" not in text and not np.array_equal(now[1][1], h5_of(right[1])[1]) and np.array_equal(now[0], h5_of(right[0])), "changed pixels of the same size and time are read anew")
    check(ids[0] == 39627788403084375, "made by the common helper")
    os.makedirs(f"{folder}/tied")
    os.symlink(f"{folder}/in", f"{folder}/tied/shards")
    text = run(2, "ingest", {**keys, "output.dir": f"{folder}/tied"}, expect=4)
    check("tied/shards is a symbolic link" in text, "shards as a link is refused")


def h5_of(data):
    open(f"{folder}/copy.h5", "wb").write(data)
    with h5py.File(f"{folder}/copy.h5") as f:
        return f["spectrum"][()]


{"embed": embed, "simulate": simulate, "ingest": ingest}[sys.argv[1]]()
finish()
