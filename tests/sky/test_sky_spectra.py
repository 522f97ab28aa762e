# SPDX-License-Identifier: BSD-3-Clause
"""Real spectra against NumPy and astropy: the DESI arm join, per-exposure coaddition, SDSS resampling, redshifts."""
import glob
import os
import sys

import numpy as np
from astropy.io import fits

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import DATA, below, check_quietly as check, finish, need_data
from sky_reference import GRID, S, refused, spectra

need_data()


def join(hdus, row, flux=None, ivar=None):
    """coadd_cameras (src/sky/README.md "Joining the arms"), from scratch: scatter by wavelength, then weigh."""
    w_sum, f_sum, copies, seen = np.zeros(S), np.zeros(S), np.zeros(S), np.zeros(S, int)
    for arm in "BRZ":
        i = np.rint((hdus[arm + "_WAVELENGTH"].data - 3600) / 0.8).astype(int)
        f = np.asarray(hdus[arm + "_FLUX"].data[row] if flux is None else flux[arm], np.float64)
        v = np.asarray(hdus[arm + "_IVAR"].data[row] if ivar is None else ivar[arm], np.float64)
        np.add.at(w_sum, i, v)
        np.add.at(f_sum, i, v * f)
        np.add.at(seen, i, 1)
        copies[i] = f
    weighed = np.divide(f_sum, w_sum, out=np.zeros(S), where=w_sum > 0)
    return np.where(seen > 1, weighed, copies), w_sum, seen


worst = 0.0
shared = 0
for path in sorted(glob.glob(os.path.join(DATA, "desi", "**", "coadd-*.fits"), recursive=True)):
    kind, table, flux, ivar = spectra(path)
    check(kind == "DESI coadd", f"{path}: {kind}")
    with fits.open(path) as h:
        check([int(t[0]) for t in table] == list(h["FIBERMAP"].data["TARGETID"]), path + ": TARGETID")
        for row in range(len(flux)):
            f, v, seen = join(h, row)
            shared += int((seen > 1).sum())
            scale = np.maximum(np.abs(f), 1e-3)
            worst = max(worst, np.max(np.abs(flux[row] - f) / scale), np.max(np.abs(ivar[row] - v) / np.maximum(v, 1e-3)))
check(shared > 9 * 177 - 1, f"{shared} shared pixels")
below(worst, 6.1e-8, "DESI arm join against NumPy, relative (float32 rounding is 6.0e-8)")

# Per-exposure files: one object a target, masked pixels left out.
path = os.path.join(DATA, "desi/tile169/spectra-5-169-thru20210419.fits")
kind, table, flux, ivar = spectra(path)
check(kind == "DESI spectra" and len(table) == 5, kind)
with fits.open(path) as h:
    worst = 0.0
    for row in range(5):
        f, v, _ = join(h, row)
        worst = max(worst, np.max(np.abs(flux[row] - f)), np.max(np.abs(ivar[row] - v)))
    below(worst, 1e-5, "single exposures are joined unchanged")
    masks = [h[a + "_MASK"].data for a in "BRZ"]
    check([t[6] for t in table] == ["SKY", "TGT", "SKY", "SKY", "TGT"], str([t[6] for t in table]))

# Several exposures of one target: made by stacking the same file with other TARGETIDs.
made = os.path.join(os.environ.get("TMPDIR", "/tmp"), f"syzygy-exposures-{os.getpid()}.fits")
with fits.open(path) as h:
    rng = np.random.default_rng(3)
    n = 5
    out = fits.HDUList([fits.PrimaryHDU()])
    t = h["FIBERMAP"].copy()
    t.data["TARGETID"] = [11, 22, 11, 11, 22]
    t.data["FIBERSTATUS"] = [0, 0, 0, 7, 0]
    out.append(t)
    arms = {}
    for a in "BRZ":
        m = h[a + "_WAVELENGTH"].data.size
        arms[a] = (rng.normal(2, 1, (n, m)).astype("f4"), rng.uniform(0, 2, (n, m)).astype("f4"), (rng.uniform(size=(n, m)) < 0.1).astype("u4"))
        out.append(fits.ImageHDU(h[a + "_WAVELENGTH"].data, name=a + "_WAVELENGTH"))
        for k, name in enumerate(("FLUX", "IVAR", "MASK")):
            out.append(fits.ImageHDU(arms[a][k], name=f"{a}_{name}"))
    out.writeto(made, overwrite=True, checksum=True)
    _, table, flux, ivar = spectra(made)
    check([t[0] for t in table] == ["11", "22"], "grouped by TARGETID")
    worst = 0.0
    for obj, rows in enumerate(([0, 2], [1, 4])):
        f, v = {}, {}
        for a in "BRZ":
            w = np.where(arms[a][2][rows] == 0, arms[a][1][rows], 0).astype(np.float64)
            v[a] = w.sum(0)
            f[a] = np.divide((w * arms[a][0][rows]).sum(0), v[a], out=np.zeros(v[a].size), where=v[a] > 0)
        ff, vv, _ = join(h, 0, f, v)
        worst = max(worst, np.max(np.abs(flux[obj] - ff) / (1 + np.abs(ff))), np.max(np.abs(ivar[obj] - vv) / (1 + vv)))
    below(worst, 2e-7, "exposures coadded per target, the bad fibre and masked pixels left out")
    _, table, flux, _ = spectra(made, "exposures")
    check(len(table) == 5, "exposures kept")

    # Grids and shapes that do not fit.
    def broken(change, text):
        with fits.open(made) as b:
            b = fits.HDUList([x.copy() for x in b])
            change(b)
            b.writeto(made + ".x", overwrite=True, checksum=True)
        refused(text, "spectra", made + ".x")
        os.unlink(made + ".x")

    def shift(b):
        b["R_WAVELENGTH"].data = b["R_WAVELENGTH"].data + 0.0002

    def drop(name):
        def f(b):
            del b[name]
        return f

    def rows(b):
        b["Z_FLUX"].data = b["Z_FLUX"].data[:4]

    def unit(b):
        b["B_FLUX"].header["BUNIT"] = "Jy"

    def log(b):
        b["B_WAVELENGTH"].data = np.geomspace(3600, 5800, 2751)

    broken(shift, "not aligned")
    broken(log, "not aligned")
    broken(drop("R_IVAR"), "R_IVAR is missing")
    broken(drop("FIBERMAP"), "no table FIBERMAP")
    broken(rows, "Z_FLUX]: shape (4, 2881)")
    broken(unit, "BUNIT 'Jy'")
    # A camera that the whole file lacks: nothing where no other reaches, the rest as it was.
    for a in ("WAVELENGTH", "FLUX", "IVAR", "MASK"):
        del out["Z_" + a]
    out.writeto(made + ".x", overwrite=True, checksum=True)
    _, _, some_flux, some_ivar = spectra(made + ".x", "exposures")
    check((some_flux[:, 5026:] == 0).all() and (some_ivar[:, 5026:] == 0).all() and np.array_equal(some_flux[:, :4900], flux[:, :4900], equal_nan=True), "without Z")
    os.unlink(made + ".x")
os.unlink(made)

# Redshifts equal to the files'.
rr = os.path.join(DATA, "desi/tile80613/redrock-4-80613-thru20210324.fits")
_, table, _, _ = spectra(os.path.join(DATA, "desi/tile80613/coadd-4-80613-thru20210324.fits"), "redshift=" + rr)
z = fits.getdata(rr, "REDSHIFTS")
check(float(table[0][3]) == z["Z"][0] and int(table[0][4]) == z["ZWARN"][0] and table[0][7] == "GALAXY", str(table))
check(abs(float(table[0][8]) - z["DELTACHI2"][0]) < 1e-5 * z["DELTACHI2"][0], "a column of the redrock file")


# ------------------------------------------------------------------ SDSS
def resample(lam, f, v):
    """The same definition by another way: cumulative integrals interpolated at the pixel edges."""
    e = np.empty(lam.size + 1)
    e[1:-1] = np.sqrt(lam[1:] * lam[:-1])
    e[0], e[-1] = lam[0] ** 2 / e[1], lam[-1] ** 2 / e[-2]
    width = np.diff(e)
    ok = (v > 0) & np.isfinite(f)
    edges = np.append(GRID - 0.4, GRID[-1] + 0.4)

    def integral(y):
        c = np.concatenate([[0], np.cumsum(y * width)])
        return np.diff(np.interp(edges, e, c))

    good_length = integral(ok * 1.0)
    fg = integral(np.where(ok, f, 0))
    vg = integral(np.where(ok, width / np.where(ok, v, 1), 0))
    al, fa = integral(np.ones_like(f)), integral(f)
    use = good_length >= 0.4 - 1e-9
    flux = np.where(use, fg / np.maximum(good_length, 1e-30), np.where(al > 1e-9, fa / np.maximum(al, 1e-30), 0))
    ivar = np.where(use, good_length ** 2 / np.where(vg > 0, vg, 1), 0)
    return flux, ivar, e, width, ok, good_length


worst_f = worst_v = flux_error = variance_error = 0.0
count = 0
zs = {}
for path in sorted(glob.glob(os.path.join(DATA, "sdss", "spec-*", "*.fits")) + glob.glob(os.path.join(DATA, "sdss", "quasars", "*.fits")) +
                   glob.glob(os.path.join(DATA, "sdss", "sky-fibres", "*.fits"))):
    kind, table, flux, ivar = spectra(path)
    check(kind == "SDSS spec" and len(table) == 1, f"{path}: {kind}")
    with fits.open(path) as h:
        name = {c.lower(): c for c in h[1].columns.names}
        lam = 10 ** np.asarray(h[1].data[name["loglam"]], np.float64)
        f = np.asarray(h[1].data[name["flux"]], np.float64)
        v = np.asarray(h[1].data[name["ivar"]], np.float64)
        zname = {c.upper(): c for c in h[2].columns.names}
        check(float(table[0][3]) == float(h[2].data[zname["Z"]][0]), path + ": redshift")
        check(int(table[0][4]) == int(h[2].data[zname["ZWARNING"]][0]), path + ": ZWARNING")
        check(table[0][7] == str(h[2].data[zname["CLASS"]][0]).strip(), path + ": CLASS")
        check(int(table[0][0]) == h[2].data[zname["PLATE"]][0] * 10**9 + h[2].data[zname["MJD"]][0] * 10**4 + h[2].data[zname["FIBERID"]][0], path)
        check(abs(float(table[0][1]) - float(h[0].header["PLUG_RA"])) < 1e-5, path + ": RA")
        check((table[0][6] == "SKY") == ("sky-fibres" in path), path + ": object type " + table[0][6])
    rf, rv, e, width, ok, length = resample(lam, f, v)
    edge = np.abs(length - 0.4) < 1e-6  # coverage at the threshold to rounding: either answer is right
    worst_f = max(worst_f, np.max(np.abs(flux[0] - rf)[~edge] / np.maximum(np.abs(rf[~edge]), 1e-2)))
    worst_v = max(worst_v, np.max(np.abs(ivar[0] - rv)[~edge] / np.maximum(rv[~edge], 1e-2)))
    # Conservation over stretches of about 50 A in which every pixel is good, between edges of target pixels. The source integrals are of the
    # source's own pixels, the target's of what the reader gave.
    cum_f = np.concatenate([[0], np.cumsum(np.where(ok, f, 0) * width)])
    cum_v = np.concatenate([[0], np.cumsum(np.where(ok, width ** 2 / np.where(ok, v, 1), 0))])
    cum_b = np.concatenate([[0], np.cumsum((~ok) * width)])
    for j in range(0, S - 64, 64):
        lo, hi = GRID[j] - 0.4, GRID[j + 63] + 0.4
        if lo < e[0] or hi > e[-1] or np.interp(hi, e, cum_b) - np.interp(lo, e, cum_b) > 0:
            continue
        want = np.interp(hi, e, cum_f) - np.interp(lo, e, cum_f)
        want_v = np.interp(hi, e, cum_v) - np.interp(lo, e, cum_v)
        got, got_v = 0.8 * flux[0, j:j + 64].astype(float).sum(), (0.64 / ivar[0, j:j + 64].astype(float)).sum()
        size = 0.8 * np.abs(flux[0, j:j + 64]).astype(float).sum()
        flux_error = max(flux_error, abs(got - want) / size)
        variance_error = max(variance_error, abs(got_v - want_v) / want_v)
        count += 1
check(count > 3000, f"{count} stretches")
below(worst_f, 2e-6, "SDSS flux against an independent computation, relative")
below(worst_v, 2e-6, "SDSS ivar against an independent computation, relative")
below(flux_error, 1e-3, f"SDSS flux conserved over {count} stretches of 51 A")
below(variance_error, 1e-3, "SDSS variance of the integral conserved over the same stretches")

# Air wavelengths: shifted as the index of refraction asks (1.33 A at 4861, Ciddor 1996).
path = os.path.join(DATA, "sdss/spec-lite/spec-0266-51630-0367.fits")
_, _, vacuum, _ = spectra(path)
_, _, air, _ = spectra(path, "air")
with fits.open(path) as h:
    lam = 10 ** np.asarray(h[1].data["loglam"], np.float64)
    f, v = np.asarray(h[1].data["flux"], np.float64), np.asarray(h[1].data["ivar"], np.float64)
sigma2 = (1e4 / lam) ** 2
for _ in range(3):  # Ciddor (1996) gives air from vacuum: inverted by iteration, independently of the closed form in the code
    n = 1 + 0.05792105 / (238.0185 - sigma2) + 0.00167917 / (57.362 - sigma2)
    sigma2 = (1e4 / (lam * n)) ** 2
rf, rv, *_ = resample(lam * n, f, v)
below(np.median(np.abs(air[0] - rf)[1000:6000]) / np.median(np.abs(rf[1000:6000])), 1e-4,
      "air to vacuum against Ciddor inverted, median relative flux difference")
check(np.median(np.abs(air[0] - vacuum[0])[1000:6000]) / np.median(np.abs(rf[1000:6000])) > 2e-3, "air and vacuum differ")

# spPlate with its spZbest, made from real spectra.
folder = os.path.join(os.environ.get("TMPDIR", "/tmp"), f"syzygy-plate-{os.getpid()}")
os.makedirs(folder, exist_ok=True)
rng = np.random.default_rng(4)
n, m = 3, 4000
flux_in, ivar_in = rng.normal(3, 1, (n, m)).astype("f4"), rng.uniform(0.1, 2, (n, m)).astype("f4")
ivar_in[1, 500:600] = 0
primary = fits.PrimaryHDU(flux_in)
primary.header.update({"COEFF0": 3.56, "COEFF1": 1e-4, "PLATEID": 7339, "MJD": 56799, "BUNIT": "1E-17 erg/cm^2/s/Ang"})
plug = fits.BinTableHDU.from_columns([fits.Column("FIBERID", "J", array=[1, 2, 3]), fits.Column("RA", "D", array=[10.5, 11, 12]),
                                      fits.Column("DEC", "D", array=[1, 2, 3]), fits.Column("OBJTYPE", "16A", array=["GALAXY", "SKY", "QSO"])])
fits.HDUList([primary, fits.ImageHDU(ivar_in), fits.ImageHDU(np.zeros((n, m), "i4")), fits.ImageHDU(np.zeros((n, m), "i4")),
              fits.ImageHDU(np.zeros((n, m), "f4")), plug, fits.ImageHDU(np.zeros((n, m), "f4"))]).writeto(
    folder + "/spPlate-7339-56799.fits", overwrite=True, checksum=True)
zb = fits.BinTableHDU.from_columns([fits.Column("FIBERID", "J", array=[3, 1, 2]), fits.Column("Z", "E", array=[2.5, 0.1, 0.0]),
                                    fits.Column("ZWARNING", "J", array=[4, 0, 1]), fits.Column("CLASS", "6A", array=["QSO", "GALAXY", "STAR"])])
fits.HDUList([fits.PrimaryHDU(), zb]).writeto(folder + "/spZbest-7339-56799.fits", overwrite=True)
kind, table, flux, ivar = spectra(folder + "/spPlate-7339-56799.fits")
check(kind == "SDSS spPlate" and [t[0] for t in table] == ["7339567990001", "7339567990002", "7339567990003"], str(table))
check([t[7] for t in table] == ["GALAXY", "STAR", "QSO"] and [t[6] for t in table] == ["TGT", "SKY", "TGT"], str(table))
check(abs(float(table[2][3]) - 2.5) < 1e-6 and float(table[0][1]) == 10.5, str(table))
worst = 0.0
for i in range(n):
    rf, rv, *_ = resample(10 ** (3.56 + 1e-4 * np.arange(m)), flux_in[i].astype(float), ivar_in[i].astype(float))
    worst = max(worst, np.max(np.abs(flux[i] - rf)), np.max(np.abs(ivar[i] - rv)))
below(worst, 2e-5, "spPlate rows against the independent computation")
for name in os.listdir(folder):
    os.unlink(os.path.join(folder, name))
os.rmdir(folder)

# Files that are not spectra say so.
refused("no spectra in it", "spectra", os.path.join(DATA, "legacy/catalogues/tractor-3301m002.fits"))
refused("no spectra in it", "spectra", rr)
refused("no spectra in it", "spectra", os.path.join(DATA, "labels/panoptes.csv"))
finish()
