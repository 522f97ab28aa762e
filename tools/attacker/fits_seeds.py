# SPDX-License-Identifier: BSD-3-Clause
"""Small sound FITS files of every kind that `ingest` reads, as {name: (role, bytes)}: what is damaged."""
import bz2
import glob
import gzip
import io
import os
import warnings

import numpy as np
from astropy.io import fits

LARGEST = 400_000  # bytes of a real file that is taken along


def squeeze(content):
    return gzip.compress(content, mtime=0)  # the same bytes at any time


def packed(hdus, **options):
    out = io.BytesIO()
    fits.HDUList(hdus).writeto(out, **options)
    return out.getvalue()


def coadd(rng, compression=None):
    """DESI: two targets, three arms; the masks in gzip tiles as DESI has them."""
    n = 2
    column = fits.Column
    hdus = [fits.PrimaryHDU(), fits.BinTableHDU.from_columns([
        column("TARGETID", "K", array=39627788403084375 + np.arange(n)), column("TARGET_RA", "D", array=150 + np.arange(n) / 100),
        column("TARGET_DEC", "D", array=np.full(n, 2.0)), column("OBJTYPE", "3A", array=["TGT"] * n), column("COADD_FIBERSTATUS", "J", array=np.zeros(n))],
        name="FIBERMAP")]
    for arm, first, pixels in (("B", 3600, 2751), ("R", 5760, 2326), ("Z", 7520, 2881)):
        flux = rng.normal(3, 1, (n, pixels)).astype("f4")
        hdus += [fits.ImageHDU(np.round(first + 0.8 * np.arange(pixels), 1), name=arm + "_WAVELENGTH")]
        make = (lambda data, name: fits.CompImageHDU(data, name=name, compression_type=compression)) if compression else fits.ImageHDU
        hdus += [make(flux, name=arm + "_FLUX"), make(np.ones((n, pixels), "f4"), name=arm + "_IVAR"),
                 fits.CompImageHDU(rng.integers(0, 2, (n, pixels)).astype("i4"), name=arm + "_MASK", compression_type="GZIP_1")]
    return packed(hdus, checksum=True)


def sdss(rng):
    n = 3800
    column = fits.Column
    table = fits.BinTableHDU.from_columns([
        column("flux", "E", array=rng.normal(3, 1, n)), column("loglam", "E", array=3.58 + 1e-4 * np.arange(n)), column("ivar", "E", array=np.ones(n)),
        column("and_mask", "J", array=np.zeros(n, int))], name="COADD")
    about = fits.BinTableHDU.from_columns([
        column("PLATE", "J", array=[266]), column("MJD", "J", array=[51630]), column("FIBERID", "J", array=[7]), column("Z", "E", array=[0.1]),
        column("ZWARNING", "J", array=[0]), column("CLASS", "6A", array=["GALAXY"]), column("PLUG_RA", "D", array=[150.0]), column("PLUG_DEC", "D", array=[2.0])],
        name="SPECOBJ")
    return packed([fits.PrimaryHDU(), table, about])


def sky(header, size, scale=0.262):
    header.update({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 150.0, "CRVAL2": 2.0, "CRPIX1": size / 2, "CRPIX2": size / 2, "CD1_1": -scale / 3600,
                   "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": scale / 3600, "BUNIT": "nanomaggy"})
    return header


def brick(rng, size=180, band="r", scale=0.262, **compression):
    data = rng.normal(0, 1, (size, size)).astype("f4")
    data[::7] = 0
    header = sky(fits.Header(), size, scale)
    header["FILTER"] = band
    return packed([fits.PrimaryHDU(), fits.CompImageHDU(data, header, name="IMAGE", **compression)])


def cutout(rng, size=160):
    header = sky(fits.Header(), size)
    header["BANDS"] = "grz"
    return packed([fits.PrimaryHDU(rng.normal(0, 1, (3, size, size)).astype("f4"), header)])


def scaled(rng, size=160):
    """16-bit integers with BSCALE, BZERO and BLANK."""
    hdu = fits.PrimaryHDU(rng.normal(0, 1, (size, size)).astype("f4"), sky(fits.Header(), size, 0.396))
    hdu.scale("int16", bscale=0.001, bzero=1.0)
    hdu.header["BLANK"], hdu.header["BAND"] = -32768, "g"
    return packed([hdu])


def tractor(rng, n=200):
    column = fits.Column
    return packed([fits.PrimaryHDU(), fits.BinTableHDU.from_columns([
        column("release", "J", array=np.full(n, 9010)), column("brickid", "J", array=np.full(n, 330500)), column("objid", "J", array=np.arange(n)),
        column("ra", "D", array=150 + rng.uniform(0, 0.2, n)), column("dec", "D", array=2 + rng.uniform(0, 0.2, n)), column("type", "3A", array=["EXP"] * n),
        column("flux_r", "E", array=rng.uniform(1, 9, n)), column("brick_primary", "L", array=np.ones(n, bool)), column("mask", "12X", array=np.zeros((n, 12), bool)),
        column("counts", "PJ()", array=np.array([np.arange(i % 4) for i in range(n)], dtype=object))])])


def redrock(n=2):
    column = fits.Column
    return packed([fits.PrimaryHDU(), fits.BinTableHDU.from_columns([
        column("TARGETID", "K", array=39627788403084375 + np.arange(n)), column("Z", "D", array=[0.1, 0.2]), column("ZWARN", "K", array=[0, 4]),
        column("SPECTYPE", "6A", array=["GALAXY", "QSO"])], name="REDSHIFTS")])


def real(folder):
    """Small files as surveys delivered them, where they are at hand."""
    roles = {"desi": "spectra", "sdss/spec-lite": "spectra", "legacy/cutouts": "images", "legacy/catalogues": "catalogues", "cases": "images"}
    out = {}
    for part, role in roles.items():
        paths = [p for p in sorted(glob.glob(os.path.join(folder, part, "**", "*.fits*"), recursive=True)) if os.path.getsize(p) <= LARGEST]
        for path in paths[:4]:
            name = os.path.basename(path)
            with open(path, "rb") as f:
                out[name] = ("redshifts" if name.startswith(("redrock", "zbest")) else role, f.read())
    return out


def make(seed):
    """{name: (role, bytes, is_real)}; names say the kind to `ingest` as a survey's would."""
    rng = np.random.default_rng(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain = {
            "coadd-a.fits": ("spectra", coadd(rng)), "coadd-b.fits": ("spectra", coadd(rng, "RICE_1")), "spec-0266-51630-0007.fits": ("spectra", sdss(rng)),
            "brick-rice.fits.fz": ("images", brick(rng, compression_type="RICE_1", quantize_method=2, tile_size=(100, 100))),
            "brick-gzip1.fits.fz": ("images", brick(rng, compression_type="GZIP_1")),
            "brick-gzip2.fits.fz": ("images", brick(rng, compression_type="GZIP_2", quantize_level=0)),
            "brick-hcompress.fits.fz": ("images", brick(rng, compression_type="HCOMPRESS_1", tile_size=(180, 60))),
            "brick-coarse.fits.fz": ("images", brick(rng, scale=0.5, compression_type="RICE_1", tile_size=(180, 1))),
            "cutout.fits": ("images", cutout(rng)), "scaled.fits": ("images", scaled(rng)), "tractor-a.fits": ("catalogues", tractor(rng)),
            "redrock-a.fits": ("redshifts", redrock()),
        }
    for name, source, pack in (("spec-packed.fits.gz", "spec-0266-51630-0007.fits", squeeze), ("scaled-packed.fits.bz2", "scaled.fits", bz2.compress),
                               ("tractor-packed.fits.gz", "tractor-a.fits", squeeze)):
        plain[name] = (plain[source][0], pack(plain[source][1]))
    made = {name: (role, content, False) for name, (role, content) in plain.items()}
    survey_files = os.environ.get("SYZYGY_SKY_DATA")
    if survey_files:
        made.update({name: (role, content, True) for name, (role, content) in real(survey_files).items()})
    return made
