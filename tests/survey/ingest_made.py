# SPDX-License-Identifier: BSD-3-Clause
"""Small survey files made for the tests of ingest, in the releases' own forms, and runs on 1, 2 and 3 ranks that must give the same bytes of shards."""
import os

import numpy as np
from astropy.io import fits

from ingest_common import ingest, load, same

RA, DEC = 150.1, 2.2


def on_ranks(name, code=0, text="", **keys):
    """On 1, 2 and 3 ranks: the same exit code and words, the same shards; returns the last run's folder and text."""
    runs = [ingest(f"{name}-{n}", n, code, text, **keys) for n in (1, 2, 3)]
    if code == 0:
        same(runs[0][0], runs[1][0])
        same(runs[0][0], runs[2][0])
    return runs[2]


def wcs_cards(size, scale=0.262):
    return dict(CTYPE1="RA---TAN", CTYPE2="DEC--TAN", CRVAL1=RA, CRVAL2=DEC, CRPIX1=(size + 1) / 2, CRPIX2=(size + 1) / 2, CD1_1=-scale / 3600, CD1_2=0.0,
                CD2_1=0.0, CD2_2=scale / 3600)


def picture(flux, size=160):
    """A round galaxy of that total flux in the middle."""
    y, x = np.mgrid[:size, :size]
    light = np.exp(-0.5 * np.hypot(x - (size - 1) / 2, y - (size - 1) / 2) ** 2 / 16)
    return (flux * light / light.sum()).astype("f4")


def image(path, flux, size=160, primary=None, scale=0.262, **cards):
    """An image extension as in the Legacy Surveys' coadds; cards=None leaves a keyword out."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    hdu = fits.ImageHDU(picture(flux, size))
    for k, v in {**wcs_cards(size, scale), "BUNIT": "nanomaggy", "IMTYPE": "image", **cards}.items():
        if v is not None:
            hdu.header[k] = v
    first = fits.PrimaryHDU()
    first.header.update(primary or {})
    fits.HDUList([first, hdu]).writeto(path, overwrite=True)
    return path


def table(path, **columns):
    """A binary table; a column is (format, values) or (format, values, further keywords of astropy's Column)."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    fits.BinTableHDU.from_columns([fits.Column(n, c[0], array=np.asarray(c[1]), **(c[2] if len(c) > 2 else {})) for n, c in columns.items()]).writeto(path, overwrite=True)
    return path


def tractor(path):
    return table(path, release=("I", [9010]), brickid=("J", [1000]), objid=("J", [7]), ra=("D", [RA]), dec=("D", [DEC]), flux_r=("E", [1.5]))


TRACTOR_ID = 7 + (1000 << 22) + (9010 << 42)


def fluxes(out):
    return load(out)["image"][0].sum(axis=(1, 2), dtype=float)


def desi(path, ids, values, exposures=False, ra=None, dec=None):
    """Flux and ivar constant by row; exposures makes it a spectra- file, one row an exposure."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    n = len(ids)
    columns = [fits.Column("TARGETID", "K", array=ids), fits.Column("TARGET_RA", "D", array=10 + np.arange(n) / 100 if ra is None else ra),
               fits.Column("TARGET_DEC", "D", array=np.full(n, 5.0) if dec is None else dec),
               fits.Column("OBJTYPE", "3A", array=["TGT"] * n), fits.Column("FIBERSTATUS" if exposures else "COADD_FIBERSTATUS", "J", array=np.zeros(n))]
    if exposures:
        columns.append(fits.Column("EXPID", "J", array=np.arange(n)))
    hdus = [fits.PrimaryHDU(), fits.BinTableHDU.from_columns(columns, name="FIBERMAP")]
    for arm, first, pixels in (("B", 3600, 2751), ("R", 5760, 2326), ("Z", 7520, 2881)):
        flux = np.repeat(np.asarray(values, "f4")[:, None], pixels, 1)
        hdus += [fits.ImageHDU(np.round(first + 0.8 * np.arange(pixels), 1), name=arm + "_WAVELENGTH"), fits.ImageHDU(flux, name=arm + "_FLUX"),
                 fits.ImageHDU(np.ones_like(flux), name=arm + "_IVAR")]
    fits.HDUList(hdus).writeto(path, overwrite=True, checksum=True)
    return path
