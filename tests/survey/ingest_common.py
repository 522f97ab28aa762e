# SPDX-License-Identifier: BSD-3-Clause
"""What the tests of ingest share: running it, reading its shards, comparing two data sets to the byte, and made DESI coadds."""
import csv
import glob
import os
import sys
import warnings

import h5py
import numpy as np
from astropy.io import fits

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import BINARY, check_quietly as check, launch, scratch

warnings.filterwarnings("ignore")
folder = scratch()


def ingest(name, ranks, code=0, text="", environment=None, **keys):
    """Run with ingest.<key> or data__<key>; returns output folder and text."""
    out = os.path.join(folder, name)
    command = [BINARY, "ingest", "--set", "output.dir=" + out]
    for k, v in keys.items():
        v = "[" + ", ".join(v) + "]" if isinstance(v, (list, tuple)) else str(v)
        command += ["--set", ("data." + k[6:] if k.startswith("data__") else "ingest." + k) + "=" + v]
    p = launch(ranks, *command, timeout=170, **(environment or {}))
    message = p.stdout + p.stderr
    check(p.returncode == code and text in message, f"{name} on {ranks} ranks: exit code {p.returncode}, expected {code} with '{text}':\n{message[-1500:]}")
    return out, message


def shards(out):
    return sorted(glob.glob(out + "/shards/*.h5"))


def load(out):
    """All shards as one dict of arrays."""
    parts = {}
    for path in shards(out):
        with h5py.File(path) as f:
            check(f.attrs["syzygy_format"] in ("shard", b"shard"), path)
            f.visititems(lambda n, d: parts.setdefault(n, []).append(d[()]) if isinstance(d, h5py.Dataset) else None)
    return {k: np.concatenate(v) for k, v in parts.items()}


def same(a, b):
    """Whether two data sets hold the same objects in the same shards, to the byte."""
    fa, fb = shards(a), shards(b)
    if not check([os.path.basename(x) for x in fa] == [os.path.basename(x) for x in fb] and fa, f"{fa} {fb}"):
        return
    for x, y in zip(fa, fb):
        with h5py.File(x) as p, h5py.File(y) as q:
            names = []
            p.visititems(lambda n, d: names.append(n) if isinstance(d, h5py.Dataset) else None)
            for n in names:
                check(n in q and p[n].dtype == q[n].dtype and p[n][()].tobytes() == q[n][()].tobytes(), f"{x} and {y} differ in {n}")


def rejected(out):
    with open(out + "/rejected.csv") as f:
        return [(os.path.basename(r["file"]), r["row"], r["object_id"], r["reason"]) for r in csv.DictReader(f)]


def coadd(path, n, bad=(), zero=(), seed=0):
    rng = np.random.default_rng(seed)
    out = [fits.PrimaryHDU()]
    ids = 39627788403084375 + 100 * seed + np.arange(n)
    out.append(fits.BinTableHDU.from_columns([fits.Column("TARGETID", "K", array=ids), fits.Column("TARGET_RA", "D", array=150 + seed + np.arange(n) / 100),
                                              fits.Column("TARGET_DEC", "D", array=np.full(n, 2.0)), fits.Column("OBJTYPE", "3A", array=["TGT"] * n),
                                              fits.Column("COADD_FIBERSTATUS", "J", array=np.zeros(n))], name="FIBERMAP"))
    for arm, first, pixels in (("B", 3600, 2751), ("R", 5760, 2326), ("Z", 7520, 2881)):
        flux = rng.normal(3, 1, (n, pixels)).astype("f4")
        for b in bad:
            flux[b, 5] = np.nan
        for z in zero:
            flux[z] = 0
        out += [fits.ImageHDU(np.round(first + 0.8 * np.arange(pixels), 1), name=arm + "_WAVELENGTH"), fits.ImageHDU(flux, name=arm + "_FLUX"),
                fits.ImageHDU(np.ones((n, pixels), "f4"), name=arm + "_IVAR")]
    fits.HDUList(out).writeto(path, overwrite=True, checksum=True)
    return ids
