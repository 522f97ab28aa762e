#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""The info command: what each kind of file is, whether it is intact, exit codes and messages, on one and three ranks."""
import os
import shutil
import subprocess
import sys
import tempfile

import h5py
import numpy as np
from astropy.io import fits

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import BINARY, check_quietly as check, driver, finish, launch

DUMP = driver("objects_driver")
here = tempfile.mkdtemp(prefix="syzygy-info-")


def info(*args, ranks=1, code=0, has=(), lacks=()):
    r = launch(ranks if ranks > 1 else None, BINARY, "info", *args, cwd=here)
    out = r.stdout + r.stderr
    check(r.returncode == code, f"info {args} on {ranks}: code {r.returncode}, expected {code}\n{out}")
    for t in has:
        check(t in out, f"info {args} on {ranks}: lacks {t!r}\n{out}")
    for t in lacks:
        check(t not in out, f"info {args} on {ranks}: has {t!r}\n{out}")
    return out


try:
    subprocess.run([DUMP, "fixture", os.path.join(here, "set"), "3", "6", "3"], check=True, timeout=60)
    good = info("set/shard-0000.h5", has=["syzygy shard", "syzygy tests", "3, 3 with image, 3 with spectrum", "3 x 3 x 152 x 152", "nanomaggy",
                                          "10 checksums hold, 0 damaged, 0 without", "label/redshift", "3 known"], lacks=["DAMAGED"])
    three = info("set/shard-0000.h5", ranks=3)
    check(three == good, "the same words on three ranks\n" + three)
    info("set", has=["shard-0000.h5", "shard-0001.h5", "2 good, 0 not"])

    shutil.copytree(os.path.join(here, "set"), os.path.join(here, "bad"))
    with h5py.File(os.path.join(here, "bad", "shard-0000.h5"), "r+") as f:  # one bit of one pixel
        pixel = f["spectrum"][1, 7000:7001].view("u4") ^ 1
        f["spectrum"][1, 7000:7001] = pixel.view("f4")
    for ranks in (1, 3):
        info("bad", ranks=ranks, code=3, has=["bad/shard-0000.h5: dataset spectrum is damaged", "9 checksums hold, 1 damaged", "1 good, 1 not"])
    info("bad/shard-0000.h5", "--set", "info.verify=false", has=["not checked"], lacks=["DAMAGED"])
    with open(os.path.join(here, "bad", "shard-0001.h5"), "r+b") as f:
        f.truncate(200000)
    info("bad/shard-0001.h5", ranks=3, code=3, has=["bad/shard-0001.h5", "truncated file"])

    with h5py.File(os.path.join(here, "model.h5"), "w") as f:  # attributes of both kinds of strings
        f.attrs["syzygy_format"] = "model"
        f.attrs["model_config"] = np.bytes_("model:\n  image: {dim: 64}\n")
        f["parameter/x.weight"] = np.zeros((3, 4), "f4")
    info("model.h5", has=["syzygy model", "image: {dim: 64}", "parameter/x.weight", "3 x 4", "0 checksums hold, 0 damaged, 1 without"])
    with h5py.File(os.path.join(here, "clip.h5"), "w") as f:
        f["7/images"], f["7/spectra"] = np.ones((2, 152, 152, 3), "f4"), np.ones((2, 7781, 1), "f4")
        f["7/targetids"], f["7/redshifts"] = np.array([39627788403084375, 5]), np.zeros(2)
    info("clip.h5", ranks=3, has=["AstroCLIP pairs", "39627788403084375", "redshift"])
    with h5py.File(os.path.join(here, "other.h5"), "w") as f:
        f["x"] = 1
    info("other.h5", code=3, has=["other.h5: HDF5, but neither"])

    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns([fits.Column("TARGETID", "K", array=np.arange(4))], name="REDSHIFTS")]).writeto(
        os.path.join(here, "redrock.fits"), checksum=True)
    info("redrock.fits", has=["FITS, DESI redshifts", "4 rows, 1 columns", "2 with checksums that hold"])
    with open(os.path.join(here, "redrock.fits"), "r+b") as f:
        f.seek(-2880 + 7, 2)
        f.write(b"\x01")
    info("redrock.fits", code=3, has=["redrock.fits", "REDSHIFTS"])

    for name, content in (("empty", b""), ("text.txt", b"hello\n"), ("random.h5", os.urandom(4000))):
        with open(os.path.join(here, name), "wb") as f:
            f.write(content)
    info("empty", "text.txt", "random.h5", ranks=3, code=3, has=["empty: NOT USABLE", "text.txt: NOT USABLE", "random.h5: NOT USABLE", "0 good, 3 not"])
    info("nowhere.h5", code=3, has=["nowhere.h5", "no such file"])
    info(code=2, has=["name at least one file"])
    info("clip.h5", "nowhere.h5", "model.h5", code=3, has=["AstroCLIP", "no such file", "syzygy model", "2 good, 1 not"])
finally:
    shutil.rmtree(here)
finish()
