# SPDX-License-Identifier: BSD-3-Clause
"""
Celestial frames of image headers against astropy: FK4 of B1950 converted over the whole sky, what cannot be converted refused by name; images centred on a pole.
"""
import os
import sys
import tempfile

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import below, check_quietly as check, finish
from sky_reference import good, refused

kept = tempfile.TemporaryDirectory()
folder = kept.name


def image(name, ra, dec, scale=0.262, size=(200, 160), angle=0.0, **cards):
    """A TAN image with its reference off the middle; returns the path."""
    hdu = fits.PrimaryHDU(np.ones(size[::-1], "f4"))
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    hdu.header.update(dict(CTYPE1="RA---TAN", CTYPE2="DEC--TAN", CRVAL1=ra, CRVAL2=dec, CRPIX1=90.0, CRPIX2=75.0, CD1_1=-scale / 3600 * c, CD1_2=scale / 3600 * s,
                           CD2_1=scale / 3600 * s, CD2_2=scale / 3600 * c, BUNIT="nanomaggy", FILTER="r", **cards))
    path = os.path.join(folder, name + ".fits")
    hdu.writeto(path, overwrite=True)
    return path


def to_sky(path, x, y):
    return np.frombuffer(good("wcs", path, 0, "sky", data=np.stack([x, y], 1).astype("f8").tobytes())).reshape(-1, 2)


def to_pixel(path, ra, dec):
    return np.frombuffer(good("wcs", path, 0, "pixel", data=np.stack([ra, dec], 1).astype("f8").tobytes())).reshape(-1, 2)


rng = np.random.default_rng(4)
x, y = rng.uniform(0, 199, 300), rng.uniform(0, 159, 300)
worst = back = away = 0
places = [(0.001, 0.0), (150.1, 2.2), (266.4, -28.9), (83.6, 89.9), (10.0, -89.99), (0.0, 90.0), (200.0, -90.0)] + list(zip(rng.uniform(0, 360, 12), np.degrees(np.arcsin(rng.uniform(-1, 1, 12)))))
for k, (ra, dec) in enumerate(places):
    # RADESYS and EQUINOX; each alone as the standard's defaults have it; and the old names.
    cards = [dict(RADESYS="FK4", EQUINOX=1950.0), dict(RADESYS="FK4"), dict(EQUINOX=1950.0), dict(EPOCH=1950.0), dict(RADECSYS="FK4", EPOCH=1950.0)][k % 5]
    path = image(f"fk4-{k}", ra, dec, angle=30 * k, **cards)
    with fits.open(path) as h:
        b = WCS(h[0].header).wcs_pix2world(np.stack([x, y], 1), 0)
    want = SkyCoord(b[:, 0], b[:, 1], unit="deg", frame="fk4", equinox="B1950").icrs
    got = to_sky(path, x, y)
    worst = max(worst, want.separation(SkyCoord(got[:, 0], got[:, 1], unit="deg")).mas.max())
    away = max(away, SkyCoord(b[:, 0], b[:, 1], unit="deg").separation(want).deg.min())
    pixel = to_pixel(path, got[:, 0], got[:, 1])
    back = max(back, np.abs(pixel - np.stack([x, y], 1)).max())
# ERFA's and astropy's conversions differ by 1.4 mas at most (other E-term constants and proper motions of FK4's rotation): 0.005 pixels of 0.262 arcsec.
below(worst, 2, "FK4 to ICRS against astropy, mas")
below(back, 2e-4, "to the sky and back, pixels")
check(away > 0.6, f"the frames are {away} degrees apart")
planes = good("images", image("north", 150.1, 2.2, RADESYS="FK4")).decode().split("\n")[1].split()
check(planes[4] == "0", "North of B1950 is not ours: never copied unturned")

# FK5 of J2000 is ICRS to 32 mas, and counts as that; so does EQUINOX = 2000 without RADESYS, as in the Legacy Surveys' own files.
plain = to_sky(image("plain", 150.1, 2.2), x, y)
for k, cards in enumerate([dict(RADESYS="ICRS"), dict(RADESYS="FK5", EQUINOX=2000.0), dict(EQUINOX=2000.0), dict(EPOCH=2000.0), dict(RADESYS="ICRS", EPOCH=1950.0)]):
    check((to_sky(image(f"icrs-{k}", 150.1, 2.2, **cards), x, y) == plain).all(), str(cards))
below(SkyCoord(plain[:, 0], plain[:, 1], unit="deg", frame="fk5").icrs.separation(SkyCoord(plain[:, 0], plain[:, 1], unit="deg")).mas.max(), 32, "FK5 of J2000 taken as ICRS, mas")
for k, (text, cards) in enumerate([("equinox J1975 cannot be converted", dict(RADESYS="FK5", EQUINOX=1975.0)), ("equinox J2014.3 cannot be converted", dict(EQUINOX=2014.3)),
                                   ("FK4 of equinox B1975 cannot be converted", dict(EQUINOX=1975.0)), ("FK4 of equinox B2000 cannot be converted", dict(RADESYS="FK4", EQUINOX=2000.0)),
                                   ("RADESYS 'FK4-NO-E' cannot be converted", dict(RADESYS="FK4-NO-E")), ("RADESYS 'GAPPT' cannot be converted", dict(RADESYS="GAPPT"))]):
    refused(text, "images", image(f"refused-{k}", 150.1, 2.2, **cards))

# Images centred exactly on a pole: their pixels have their size, and a cutout conserves flux.
for dec in (90.0, -90.0):
    for scale in (0.262, 0.5):
        size = 401
        v, u = np.mgrid[:size, :size]
        one = np.exp(-0.5 * ((u - 200) ** 2 + (v - 200) ** 2) * (scale / 2.5) ** 2)
        hdu = fits.PrimaryHDU((100 * one / one.sum()).astype("f4"))
        hdu.header.update(dict(CTYPE1="RA---TAN", CTYPE2="DEC--TAN", CRVAL1=120.0, CRVAL2=dec, CRPIX1=201.0, CRPIX2=201.0, CD1_1=-scale / 3600, CD1_2=0.0, CD2_1=0.0, CD2_2=scale / 3600,
                               BUNIT="nanomaggy", FILTER="g"))
        path = os.path.join(folder, f"pole{dec}{scale}.fits")
        hdu.writeto(path)
        line = good("images", path).decode().split("\n")[1].split()
        check(float(line[6]) == dec, f"centre at Dec {line[6]}")
        below(abs(float(line[3]) / scale - 1), 1e-8, f"pole {dec}: pixels of {scale} arcsec")
        out = np.frombuffer(good("cutout", path), np.float32).reshape(152, 152).astype(float)
        below(abs(out.sum() / 100 - 1), 1e-3, f"pole {dec}, {scale} arcsec: flux of the cutout")
        centre = [(out * a).sum() / out.sum() for a in np.mgrid[:152, :152]]
        below(max(abs(c - 75.5) for c in centre), 0.51, "the galaxy in the middle, to half a pixel where pixels are copied")
finish()
