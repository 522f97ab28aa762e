# SPDX-License-Identifier: BSD-3-Clause
"""Real images against astropy: pixels of every compression, WCS positions, cutouts, flux conservation, refusals."""
import glob
import os
import sys

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import DATA, below, check_quietly as check, finish, need_data
from sky_reference import good, refused, run

need_data()


def path(name):
    return os.path.join(DATA, name)


# ------------------------------------------------------------- pixels and columns
brick = path("legacy/brick-0959p805/legacysurvey-0959p805-image-g.fits.fz")
for name, hdu in (("legacy/brick-0959p805/legacysurvey-0959p805-image-g.fits.fz", 1), ("legacy/brick-0959p805/legacysurvey-0959p805-invvar-g.fits.fz", 1),
                  ("legacy/brick-0959p805/legacysurvey-0959p805-nexp-g.fits.fz", 1), ("hcompress/g.fits", 1),
                  ("legacy/ccd/c4d_150416_232655_ooi_z_v1-S13.fits.fz", 1), ("legacy/ccd/c4d_150416_232655_ood_z_v1-S13.fits.fz", 1),
                  ("sdss/frames/frame-r-005112-4-0345.fits.bz2", 0), ("legacy/cutouts/example_a.fits", 0), ("desi/tile169/spectra-5-169-thru20210419.fits", 6)):
    with fits.open(path(name)) as h:
        want = np.asarray(h[hdu].data, np.float64).ravel()
    got = np.frombuffer(good("image", path(name), hdu), np.float64)
    same = got.size == want.size and (np.isfinite(got) == np.isfinite(want)).all()
    check(same, f"{name}[{hdu}]: shape and NaN")
    if same:
        ok = np.isfinite(want)
        # Quantised pixels: both readers use the header's dither seed and scale; float32 rounding is left.
        below(np.max(np.abs(got - want)[ok]) / np.max(np.abs(want[ok])), 1e-6, f"{name}[{hdu}] against astropy")
mask = np.frombuffer(good("image", path("desi/tile169/coadd-5-169-thru20210419.fits"), "B_MASK", "u32"), np.uint32)
check((mask == fits.getdata(path("desi/tile169/coadd-5-169-thru20210419.fits"), "B_MASK").ravel()).all(), "uint32 mask through BZERO")
for name, column in (("legacy/brick-0959p805/survey-bricks-dr6.fits.gz", "ra"), ("legacy/catalogues/tractor-3301m002.fits", "FLUX_R"),
                     ("legacy/catalogues/sweep-310m005-320p000.fits", "flux_z")):
    t = fits.getdata(path(name), 1)
    want = np.asarray(t[[c for c in t.columns.names if c.lower() == column.lower()][0]], np.float64)
    check((np.frombuffer(good("column", path(name), 1, column), np.float64) == want).all(), f"{name}: {column}")
ids = np.frombuffer(good("column", path("desi/tile169/coadd-5-169-thru20210419.fits"), 1, "TARGETID", "i64"), np.int64)
check((ids == fits.getdata(path("desi/tile169/coadd-5-169-thru20210419.fits"), 1)["TARGETID"]).all(), "TARGETID in 64 bits")
refused("missing columns no_such, nor_this", "column", path("legacy/catalogues/tractor-3301m002.fits"), 1, "RA,no_such,nor_this")

# ------------------------------------------------------------------ WCS
worst = {}
for name, hdu in [(brick, 1), (path("legacy/ccd/c4d_141206_043719_ooi_z_a1-S10.fits"), 1), (path("legacy/ccd/c4d_141223_020302_ooi_g_a1-S10.fits"), 1),
                  (path("legacy/ccd/c4d_150416_232655_ooi_z_v1-S13.fits.fz"), 1), (path("legacy/cutouts/example_a.fits"), 0),
                  (path("legacy/cutouts/cutout_59.1067_-30.4848.fits"), 1)] + [(f, 0) for f in sorted(glob.glob(path("sdss/frames/frame-*")))]:
    with fits.open(name) as h:
        w = WCS(h[hdu].header).celestial
        shape = h[hdu].shape[-2:]
    rng = np.random.default_rng(1)
    xy = rng.uniform(0, 1, (500, 2)) * [shape[1], shape[0]]
    sky = w.all_pix2world(xy, 0)
    got = np.frombuffer(good("wcs", name, hdu, "pixel", data=sky.astype("<f8").tobytes()), np.float64).reshape(-1, 2)
    back = np.frombuffer(good("wcs", name, hdu, "sky", data=xy.astype("<f8").tobytes()), np.float64).reshape(-1, 2)
    d = np.abs(back - sky) * [np.cos(np.radians(sky[:, 1])).mean(), 1] * 3600
    kind = fits.getheader(name, hdu)["CTYPE1"][-3:]
    worst[kind] = max(worst.get(kind, 0), np.max(np.abs(got - xy)))
    below(d.max(), 1e-4, f"{os.path.basename(name)}: sky positions, arcsec")
check(set(worst) == {"TAN", "TPV"}, str(worst))
for kind, value in worst.items():
    below(value, 0.01, f"{kind}: pixel positions against astropy.wcs")

# ----------------------------------------------------- cutouts without resampling
with fits.open(brick) as h:
    pixels, w = h[1].data, WCS(h[1].header)
for x, y in ((500.3, 400.8), (80.2, 300.49), (1000.51, 76.2)):
    ra, dec = w.all_pix2world([[x, y]], 0)[0]
    out = np.frombuffer(good("cutout", brick, f"ra={ra:.15g}", f"dec={dec:.15g}"), np.float32).reshape(152, 152)
    x0, y0 = int(np.floor(x - 75.5 + 0.5)), int(np.floor(y - 75.5 + 0.5))
    check(np.allclose(out, pixels[y0:y0 + 152, x0:x0 + 152], rtol=0, atol=1e-6), f"brick cutout at {x}, {y} is the brick's own pixels")
    check(abs(x - x0 - 75.5) <= 0.5 and abs(y - y0 - 75.5) <= 0.5, "galaxy within half a pixel of the middle")
out = np.frombuffer(good("cutout", brick, *(f"{k}={v:.15g}" for k, v in zip(("ra", "dec"), w.all_pix2world([[10, 900]], 0)[0]))), np.float32).reshape(152, 152)
check(np.isnan(out[:, :65]).all() and np.isfinite(out[:, 67:]).all(), "outside the brick is NaN")


def tpv(h, xy):
    """TPV from its definition (fits.gsfc.nasa.gov/registry/tpvwcs), as astropy's answer comes from the same wcslib as ours."""
    u, v = (np.array([[h["CD1_1"], h["CD1_2"]], [h["CD2_1"], h["CD2_2"]]]) @ (xy + 1 - [h["CRPIX1"], h["CRPIX2"]]).T)

    def side(axis, x, y):
        r = np.hypot(x, y)
        terms = [1, x, y, r, x * x, x * y, y * y, x ** 3, x * x * y, x * y * y, y ** 3]
        return sum(h.get(f"PV{axis}_{k}", 0.0) * t for k, t in enumerate(terms))

    xi, eta = np.radians(side(1, u, v)), np.radians(side(2, v, u))
    a, d = np.radians(h["CRVAL1"]), np.radians(h["CRVAL2"])
    den = np.cos(d) - eta * np.sin(d)
    return np.degrees(np.column_stack([a + np.arctan2(xi, den), np.arctan2(np.sin(d) + eta * np.cos(d), np.hypot(xi, den))]))


ccd = path("legacy/ccd/c4d_141224_033245_ooi_r_a1-S10.fits")
xy = np.random.default_rng(2).uniform(0, 200, (300, 2))
sky = tpv(fits.getheader(ccd, 1), xy)
got = np.frombuffer(good("wcs", ccd, 1, "pixel", data=sky.astype("<f8").tobytes()), np.float64).reshape(-1, 2)
below(np.max(np.abs(got - xy)), 0.01, "TPV pixel positions against its polynomial")

# -------------------------------------------- SDSS frames: stamps made by others
# 78 x 78 native pixels of one galaxy cut from each frame, with x and y exchanged and a header copied from the whole frame, so that their place
# is known by their content: exactly frame[y + j, x + i] = stamp[i, j]. Ours are cut from each frame by its own WCS.
starts = {"g": (921, 1868), "r": (908, 1868), "z": (916, 1868)}
centre, flux = {}, {}
for b, (y0, x0) in starts.items():
    name = path(f"sdss/frames/frame-{b}-005112-4-0345.fits.bz2")
    with fits.open(name) as h:
        w = WCS(h[0].header)
    stamp = fits.getdata(path(f"sdss/frames/galaxy_stamp_{b}.fits"), 0).T
    centre[b] = (w, name, stamp)
    ra, dec = w.all_pix2world([[x0 + 38.5, y0 + 38.5]], 0)[0]
    out = np.frombuffer(good("cutout", name, f"ra={ra:.15g}", f"dec={dec:.15g}", "size=78", "arcsec=0"), np.float32).reshape(78, 78)
    below(np.max(np.abs(out - stamp)), 0.0, f"SDSS stamp {b}: native cutout against the stamp made by others, nanomaggy")
# One sky position in all three frames, each by its own WCS: windows like theirs to a pixel (they rounded), the galaxy in the same place of ours.
w, name, _ = centre["r"]
ra, dec = w.all_pix2world([[starts["r"][1] + 38.5, starts["r"][0] + 38.5]], 0)[0]
v, u = np.mgrid[0:152, 0:152]
light = {}
for b in "grz":
    w, name, stamp = centre[b]
    x, y = w.all_world2pix([[ra, dec]], 0)[0]
    check(abs(x - 38.5 - starts[b][1]) < 1.2 and abs(y - 38.5 - starts[b][0]) < 1.2, f"{b}: their window and our WCS agree to a pixel")
    out = np.frombuffer(good("cutout", name, f"ra={ra:.15g}", f"dec={dec:.15g}"), np.float32).reshape(152, 152).astype(float)
    check(np.isfinite(out).all(), f"{b}: fully covered")
    yy, xx = np.mgrid[0:78, 0:78]
    r_native = np.hypot(xx - (x - starts[b][1]), yy - (y - starts[b][0])) * 0.396
    r_ours = np.hypot(u - 75.5, v - 75.5) * 0.262
    native, ours = stamp[r_native < 10].sum(dtype=float), out[r_ours < 10].sum()
    below(abs(ours / native - 1), 0.01, f"{b}: flux within 10 arcsec of the 0.262-arcsec cutout against the stamp")
    core = np.where(r_ours < 3, out, 0)
    light[b] = np.array([(core * u).sum(), (core * v).sum()]) / core.sum()
below(max(np.abs(light[b] - light["r"]).max() for b in "gz"), 0.35, "bands registered: centroids within 3 arcsec of the middle, pixels")

# ----------------------------------- resampling: flux, the viewer's cutouts, rotation
for how in ("lanczos", "area"):
    # A smooth galaxy of known flux on a rotated, offset, TAN grid of several scales. Exact truth: the same profile on the wanted grid.
    for scale in (0.396, 0.2, 0.11):
        if (how, scale) in (("lanczos", 0.11), ("area", 0.396)):
            continue  # Lanczos would skip pixels there, area sums would show the input's pixels
        n = int(60 / scale)
        t = np.radians(33.0)
        h = fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 359.9999, "CRVAL2": 62.0, "CRPIX1": n / 2 + 3.2, "CRPIX2": n / 2 - 2.7,
                         "CD1_1": -scale / 3600 * np.cos(t), "CD1_2": scale / 3600 * np.sin(t), "CD2_1": scale / 3600 * np.sin(t),
                         "CD2_2": scale / 3600 * np.cos(t), "BUNIT": "nanomaggy", "FILTER": "r"})
        w = WCS(h)
        gy, gx = np.mgrid[0:n, 0:n]
        a, d = w.all_pix2world(gx.ravel(), gy.ravel(), 0)

        def profile(a, d, area):
            x = -((a - 359.9999 + 180) % 360 - 180) * np.cos(np.radians(d)) * 3600 - 1.0
            y = (d - 62.0) * 3600 + 0.5
            return 100 * area * np.exp(-0.5 * (x * x + (y / 0.7) ** 2) / 2.5 ** 2) / (2 * np.pi * 2.5 ** 2 * 0.7)

        made = os.path.join(os.environ.get("TMPDIR", "/tmp"), f"syzygy-resample-{os.getpid()}.fits")
        fits.PrimaryHDU(profile(a, d, scale ** 2).reshape(n, n).astype("f4"), h).writeto(made, overwrite=True)
        out = np.frombuffer(good("cutout", made, "ra=359.9999", "dec=62.0", "how=" + how), np.float32).reshape(152, 152).astype(float)
        below(abs(out[np.isfinite(out)].sum() / 100 - 1), 1e-3, f"{how} from {scale} arcsec: total flux")
        wt = WCS(naxis=2)
        wt.wcs.ctype, wt.wcs.crval, wt.wcs.crpix = ["RA---TAN", "DEC--TAN"], [359.9999, 62.0], [76.5, 76.5]
        wt.wcs.cd = np.diag([-0.262 / 3600, 0.262 / 3600])
        a, d = wt.all_pix2world(u.ravel(), v.ravel(), 0)
        want = profile(a, d, 0.262 ** 2).reshape(152, 152)
        ok = np.isfinite(out)
        # Area sums see the profile averaged over a pixel, and again over the input's: curvature sigma^2/24 of both; Lanczos interpolates.
        # Normalised Lanczos-3 reproduces a slope to 1 % of a pixel: 0.01 x 0.6 / 4.4 pixels of sigma in both axes at 0.396 arcsec.
        below(np.max(np.abs(out - want)[ok]) / want.max(), 5e-3, f"{how} from {scale} arcsec: shape")
        os.unlink(made)

# The viewer's resampled cutouts do not conserve flux: known by their header, so that the surface brightness comes out right (2.1 mag at 0.10 arcsec if forgotten).
for name in ("b", "c", "d"):
    f = path(f"legacy/cutouts-resampled/example_{name}.fits")
    with fits.open(f) as h:
        data, scale = h[0].data[1].astype(float), h[0].header["CD2_2"] * 3600
    n = data.shape[-1]
    half = int(0.262 * 152 / 2 / scale)
    c = n // 2
    size = min(half, c - 2)
    inner = data[c - size:c + size, c - size:c + size].sum() * (scale / 0.262) ** 2
    recognised = good("cutout", f, "plane=1")
    check(recognised == good("cutout", f, "plane=1", "per=0.262"), f"example_{name}: recognised by its header as if it were stated")
    out = np.frombuffer(recognised, np.float32).reshape(152, 152).astype(float)
    k = int(round(size * scale / 0.262))
    mine = np.nansum(out[76 - k:76 + k, 76 - k:76 + k])
    below(abs(mine / inner - 1), 0.03, f"example_{name} at {scale:.3f} arcsec: flux with the pixel-area factor")
    plain = np.frombuffer(good("cutout", f, "plane=1", f"per={scale:.17g}"), np.float32).astype(float)
    below(abs(np.nansum(plain) / np.nansum(out) * (scale / 0.262) ** 2 - 1), 1e-5, "without it, larger by the ratio of the areas")

# CCD sections: instrumental units and zero points. The same sky in the brick's bands must have plausible fluxes; the factor is checked itself.
zero = path("legacy/ccd/survey-ccds-1.fits.gz")
t = fits.getdata(zero, 1)
row = [i for i, x in enumerate(t["image_filename"]) if "_ooi_r_" in x][0]
lines = good("images", ccd, "zero=" + zero).decode().split("\n")[1].split()
below(abs(float(lines[7]) / (10 ** (0.4 * (22.5 - float(t["ccdzpt"][row]))) / float(t["exptime"][row])) - 1), 1e-6, "CCD zero point")
check(lines[0] == "1" and abs(float(lines[3]) / 0.263 - 1) < 0.005 and lines[4] == "0", str(lines))
out = np.frombuffer(good("cutout", ccd, "zero=" + zero), np.float32)
check(np.isfinite(out).mean() > 0.99 and abs(np.median(out)) < 0.05, "CCD cutout covered, sky subtracted")

# ---------------------------------------------------------------- refusals
refused("no WCS", "images", path("hcompress/g.fits"), "unit=nanomaggy")
refused("no WCS", "images", path("legacy/cutouts/copsf_59.1067_-30.4848.fits"))
refused("instrumental units (adu)", "images", ccd)
refused("has no row for this image", "images", path("legacy/ccd/c4d_150416_232655_ooi_z_v1-S13.fits.fz"), "zero=" + zero)
refused("cut short", "images", path("legacy/cutouts-resampled/example_incomplete.fits"))
refused("no image in it", "images", path("legacy/catalogues/tractor-3301m002.fits"))
planes = good("images", path("legacy/cutouts/cutout_59.1067_-30.4848.fits")).decode().split("\n")
check(planes[0] == "3" and [p[0] for p in planes[1:4]] == ["0", "1", "2"] and all(p.split()[4] == "1" for p in planes[1:4]), str(planes))
planes = good("images", path("legacy/cutouts/cutout_135.2130_1.1612.fits")).decode().split("\n")
check(planes[0] == "3" and planes[1].split()[4] == "0" and abs(float(planes[1].split()[3]) - 0.27) < 1e-6, str(planes))
below(abs(float(planes[1].split()[7]) / (0.27 / 0.262) ** 2 - 1), 1e-6, "the viewer's old default of 0.27 arcsec is another scale, too")

# ------------------------------------------------------- memory that is not there
if "ON" in sys.argv:
    cube = path("legacy/cutouts/cutout_59.1067_-30.4848.fits")
    whole, codes = good("images", cube), []
    while len(codes) < 500 and codes[-5:] != [0] * 5:  # each allocation in turn, until there are no more
        code, out, message = run("images", cube, environment={"SYZ_FAULT": f"alloc:0:{len(codes) + 1}"})
        check(code == 8 or (code == 0 and out == whole), f"without memory for allocation {len(codes) + 1}: exit code {code}, {out}: {message}")
        codes.append(code)
    check(len(codes) > 10 and set(codes[:-5]) == {8} and codes[-5:] == [0] * 5, f"every allocation of an image file fails in turn: {codes}")
else:
    print("without injected failures memory that is not there is not tested")
finish()
