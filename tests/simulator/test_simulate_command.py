# SPDX-License-Identifier: BSD-3-Clause
"""`syzygy simulate` as a user runs it: the same bytes on 1, 2 and 3 ranks, survey files that astropy reads back as the same sky, restart, errors."""
import glob
import os
import re
import shutil
import sys
import tempfile
import time

import h5py
import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import BINARY, DATA, check, finish, launch


def simulate(ranks, folder, *keys, expect=0, seed=31):
    command = [BINARY, "simulate"]
    for key in (f"seed={seed}", f"output.dir={folder}", *keys):
        command += ["--set", key]
    run = launch(ranks, *command, timeout=120)
    text = run.stdout + run.stderr
    if run.returncode != expect:
        print(text)
    check(run.returncode == expect, f"{ranks} ranks, {' '.join(keys)}: exit code {run.returncode} (expected {expect})")
    return text


def datasets(folder):
    """{file/dataset: (bytes, checksum)} of all shards."""
    found = {}
    for path in sorted(glob.glob(os.path.join(folder, "shards", "*.h5"))):
        with h5py.File(path, "r") as f:
            def visit(name, item):
                if isinstance(item, h5py.Dataset):
                    found[os.path.basename(path) + "/" + name] = (item[()].tobytes(), item.attrs["checksum"])
            f.visititems(visit)
    return found


def test_ranks(root):
    keys = ("simulate.objects=70", "simulate.shard_objects=20")
    text = simulate(1, f"{root}/n1", *keys)
    one = datasets(f"{root}/n1")
    print("        " + re.search(r"70 objects in .*", text).group())
    names = {name.split("/", 1)[1] for name in one}
    check(len(one) == 4 * len(names) and {"image", "spectrum", "spectrum_ivar", "segment", "object_id", "ra", "dec", "label/redshift", "label/log_mstar"} <= names,
          f"{len(names)} datasets in each of 4 shards")
    for ranks in (2, 3):
        simulate(ranks, f"{root}/n{ranks}", *keys)
        other = datasets(f"{root}/n{ranks}")
        check(one.keys() == other.keys() and all(one[k] == other[k] for k in one), f"every dataset of {ranks} ranks has the bytes and the checksum of 1 rank's")
    simulate(1, f"{root}/seed", "simulate.objects=20", "simulate.shard_objects=20", "simulate.segments=false", seed=32)
    other = datasets(f"{root}/seed")
    key = "simulated-00000.h5/image"
    check(other[key][0] != one[key][0] and "simulated-00000.h5/segment" not in other, "another seed gives another sky; segment maps can be left out")
    # The number of objects and the size of shards do not change an object.
    simulate(2, f"{root}/small", "simulate.objects=25", "simulate.shard_objects=7")
    with h5py.File(f"{root}/n1/shards/simulated-00001.h5") as a, h5py.File(f"{root}/small/shards/simulated-00003.h5") as b:
        check(a["object_id"][3] == b["object_id"][2] and np.array_equal(a["image"][3], b["image"][2]) and np.array_equal(a["spectrum"][3], b["spectrum"][2]),
              "object 23 is the same in shards of 20 and of 7")
        check(len(np.unique(a["object_id"][:])) == 20 and np.isfinite(a["image"][:]).all() and (a["spectrum_ivar"][:] >= 0).all(), "pixels are finite, identifiers differ")
        maps = a["segment"][:]
        check(maps.max() <= 7 and np.isin(maps[:, 70:82, 70:82], (1, 2, 3, 4)).mean() > 0.3, "segment maps show the galaxy in the middle")


def test_restart(root):
    folder, keys = f"{root}/restart", ("simulate.objects=40", "simulate.shard_objects=10")
    simulate(2, folder, *keys)
    before = datasets(folder)
    os.remove(f"{folder}/shards/simulated-00002.h5")
    kept = os.stat(f"{folder}/shards/simulated-00001.h5").st_mtime_ns
    text = simulate(3, folder, *keys)
    check("3 of 4 existed already" in text and os.stat(f"{folder}/shards/simulated-00001.h5").st_mtime_ns == kept, "a second run makes the missing shard only")
    check(datasets(folder) == before, "and the result is the same")
    os.truncate(f"{folder}/shards/simulated-00000.h5", 5000)
    simulate(1, folder, *keys)
    check(datasets(folder) == before, "a damaged shard is made again")
    text = simulate(2, folder, "simulate.objects=20", "simulate.shard_objects=10", expect=4)
    check("simulated-00002.h5 is left over" in text, "shards of a larger run are not mixed in")
    os.makedirs(f"{root}/stop")
    open(f"{root}/stop/STOP", "w").close()
    text = simulate(2, f"{root}/stop", *keys, expect=75)
    if os.path.exists(f"{root}/stop/STOP"):
        os.remove(f"{root}/stop/STOP")
    simulate(2, f"{root}/stop", *keys)
    check(datasets(f"{root}/stop") == before, "stopped by a STOP file and continued: the same result")


def test_survey(root):
    """541 objects: one brick full, one with 12."""
    n = 541
    simulate(1, f"{root}/shards", f"simulate.objects={n}", f"simulate.shard_objects={n}")
    begin = time.time()
    simulate(2, f"{root}/survey", f"simulate.objects={n}", "simulate.output=survey")
    print(f"        {n} objects as two bricks in {time.time() - begin:.1f} s on 2 ranks")
    folder = f"{root}/survey/survey"
    with h5py.File(f"{root}/shards/shards/simulated-00000.h5") as f:
        shard = {k: f[k][()] for k in ("object_id", "ra", "dec", "image", "spectrum", "spectrum_ivar")}
        label = {k: v[()] for k, v in f["label"].items()}
    row_of = {t: i for i, t in enumerate(shard["object_id"])}
    tables = sorted(glob.glob(f"{folder}/legacy/tractor/*/tractor-*.fits"))
    check(len(tables) == 2, "two Tractor tables")
    worst_position = worst_pixel = worst_flux = 0.0
    invvar_error = []
    seen = 0
    for path in tables:
        t = fits.getdata(path, 1)
        brick = t["brickname"][0]
        assert all(name == name.lower() for name in t.names)
        rows = np.array([row_of[(int(r) << 42) | (int(b) << 22) | int(o)] for r, b, o in zip(t["release"], t["brickid"], t["objid"])])
        seen += len(rows)
        check(np.array_equal(t["ra"], shard["ra"][rows]) and np.array_equal(t["dec"], shard["dec"][rows]), f"brick {brick}: positions as in the shard")
        for k, band in enumerate("grz"):
            worst_flux = max(worst_flux, np.abs(22.5 - 2.5 * np.log10(t[f"flux_{band}"]) - label[f"mag_{band}"][rows]).max())
            base = f"{folder}/legacy/coadd/{brick[:3]}/{brick}/legacysurvey-{brick}"
            with fits.open(f"{base}-image-{band}.fits.fz") as f, fits.open(f"{base}-invvar-{band}.fits.fz") as g:
                check(f[1].name == f"IMAGE_{band}" and f[1].shape == (3600, 3600) and f[1].header["BUNIT"] == "nanomaggy", f"brick {brick} {band}: name, shape and unit")
                pixels, invvar, wcs = f[1].data, g[1].data, WCS(f[1].header)
            with fits.open(f"{base}-image-{band}.fits.fz", disable_image_compression=True) as f:
                check(f[1].header["ZCMPTYPE"] in ("RICE_1", "RICE_ONE") and f[1].header["ZQUANTIZ"] == "SUBTRACTIVE_DITHER_2", f"brick {brick} {band}: Rice, SUBTRACTIVE_DITHER_2")
            x, y = wcs.all_world2pix(t["ra"], t["dec"], 0)
            worst_position = max(worst_position, np.abs(x - t["bx"]).max(), np.abs(y - t["by"]).max())
            for i, r in enumerate(rows):
                x0, y0 = int(np.rint(x[i] - 75.5)), int(np.rint(y[i] - 75.5))
                cut = pixels[y0:y0 + 152, x0:x0 + 152]
                noise = label[f"noise_{band}"][r]
                worst_pixel = max(worst_pixel, np.abs(cut - shard["image"][r, k]).max() / noise)
                invvar_error.append(np.abs(invvar[y0 + 76, x0 + 76] * noise**2 - 1))
            check(invvar[:40].max() == 0 and (pixels[:40] == 0).all(), f"brick {brick} {band}: no data beyond the stamps")
    check(seen == n, f"{seen} catalogue rows")
    print(f"        positions by astropy's WCS against Tractor's bx, by: {worst_position:.1e} pixels; cutouts against shards: {worst_pixel:.2f} of the noise; "
          f"invvar median {np.median(invvar_error):.1e}, worst {max(invvar_error):.2f}; magnitudes {worst_flux:.1e}")
    check(worst_position < 2e-4, "positions (gate 2e-4 pixels: bx and by are float32)")
    check(worst_pixel < 0.6, "cutouts equal the simulated stamps to the quantisation (gate 0.6 of the noise: a step is a fraction of the noise of its tile)")
    check(np.median(invvar_error) < 0.01 and max(invvar_error) < 0.3 and worst_flux < 1e-5, "inverse variances (median 1 %; Rice quantises by what a tile holds) and fluxes")
    test_desi(folder, shard, label, row_of)
    return folder


def test_desi(folder, shard, label, row_of):
    for path in sorted(glob.glob(f"{folder}/desi/tiles/*/*/*/coadd-*.fits")):
        with fits.open(path, checksum=True) as f, fits.open(path.replace("coadd-", "redrock-"), checksum=True) as g:
            ids = f["FIBERMAP"].data["TARGETID"]
            rows = np.array([row_of[t] for t in ids])
            check(set("FIBERMAP EXP_FIBERMAP B_WAVELENGTH R_FLUX Z_IVAR B_MASK R_RESOLUTION".split()) <= {h.name for h in f}, "the HDUs of a coadd")
            check(np.array_equal(g["REDSHIFTS"].data["TARGETID"], ids) and np.array_equal(g["REDSHIFTS"].data["Z"].astype("f4"), label["redshift"][rows])
                  and (g["REDSHIFTS"].data["ZWARN"] == 0).all() and set(g["REDSHIFTS"].data["SPECTYPE"]) == {"GALAXY"}, "redshifts of the redrock file are the truth's")
            top, bottom, once = np.zeros((len(ids), 7781)), np.zeros((len(ids), 7781)), np.zeros((len(ids), 7781), "f4")
            count = np.zeros(7781, int)
            for arm, (first, pixels) in zip("BRZ", ((0, 2751), (2700, 2326), (4900, 2881))):
                wave, flux, ivar = f[f"{arm}_WAVELENGTH"].data, f[f"{arm}_FLUX"].data, f[f"{arm}_IVAR"].data
                here = slice(first, first + pixels)
                assert np.allclose(wave, 3600 + 0.8 * np.arange(first, first + pixels), atol=1e-6) and flux.shape == (len(ids), pixels)
                check(np.array_equal(f[f"{arm}_MASK"].data == 0, ivar > 0), f"arm {arm}: masked where and only where ivar is 0")
                resolution = f[f"{arm}_RESOLUTION"].data
                check(resolution.shape == (len(ids), 11, pixels) and abs(resolution[0, :, 99].sum() - 1) < 1e-4, f"arm {arm}: resolution sums to 1")
                top[:, here] += ivar.astype("f8") * flux
                bottom[:, here] += ivar
                once[:, here] = flux
                count[here] += 1
            joined = np.where(bottom > 0, top / np.where(bottom > 0, bottom, 1), 0)
            single = count == 1
            check(np.array_equal(once[:, single], shard["spectrum"][rows][:, single]), "spectra are the shard's, bit for bit, where arms do not overlap")
            good = bottom > 0
            worst = (np.abs(joined - shard["spectrum"][rows])[good] * np.sqrt(bottom[good])).max()
            check(worst < 1e-4 and np.allclose(bottom, shard["spectrum_ivar"][rows], rtol=1e-6), f"and join to the shard's where they do: {worst:.1e} sigma")


def test_ingest(root):
    """The delivered files through `ingest` are the simulated shard again."""
    command = [BINARY, "ingest"]
    survey = f"{root}/survey/survey"
    for key in (f"output.dir={root}/ingest", f"ingest.spectra={survey}/desi", f"ingest.images={survey}/legacy/coadd", f"ingest.catalogues={survey}/legacy/tractor"):
        command += ["--set", key]
    run = launch(2, *command, timeout=120)
    check(run.returncode == 0, "ingest reads the survey")
    if run.returncode:
        print(run.stdout + run.stderr)
        return
    with h5py.File(f"{root}/shards/shards/simulated-00000.h5") as a, h5py.File(sorted(glob.glob(f"{root}/ingest/shards/*.h5"))[0]) as b:
        row_of = {t: i for i, t in enumerate(a["object_id"][:])}
        rows = np.array([row_of[t] for t in b["object_id"][:]])
        check(len(rows) == len(row_of) and (b["has_image"][:] == 1).all() and (b["has_spectrum"][:] == 1).all(), f"{len(rows)} pairs, none lost")
        noise = np.stack([a[f"label/noise_{x}"][:][rows] for x in "grz"], 1)[:, :, None, None]
        differ = np.abs(a["image"][:][rows] - b["image"][:]) / noise
        print(f"        cutouts after ingest: {differ.max():.2f} of the noise at most, {np.sqrt((differ**2).mean()):.3f} rms")
        check(differ.max() < 0.6, "cutouts after ingest equal the stamps to the quantisation (gate 0.6 of the noise)")
        flux, ivar = a["spectrum"][:][rows], a["spectrum_ivar"][:][rows]
        check(np.allclose(b["spectrum"][:], flux, rtol=2e-6, atol=1e-5) and np.allclose(b["spectrum_ivar"][:], ivar, rtol=2e-6), "spectra after ingest equal the simulated ones to float rounding")
        check(np.array_equal(b["label/redshift"][:], a["label/redshift"][:][rows]) and np.array_equal(b["ra"][:], a["ra"][:][rows]), "redshifts and positions are the truth's")


def test_errors(root):
    text = simulate(2, f"{root}/e", "simulate.redshift_min=0.5", "simulate.redshift_max=0.1", expect=2)
    check("0.5 to 0.1" in text and not os.path.exists(f"{root}/e"), "a contradiction is refused before anything is written")
    bad = f"{root}/bad.h5"
    with h5py.File(bad, "w") as f:
        f["bin0/W0"] = np.zeros((7, 5), "f4")
    text = simulate(3, f"{root}/e", "simulate.objects=5", f"simulate.emulator={bad}", expect=3)
    check("bin0/W0" in text and bad in text, "an emulator of the wrong shape is refused by name")
    simulate(2, f"{root}/e", "simulate.objects=5", f"simulate.emulator={root}/none.h5", expect=3)


def test_emulator(root):
    path = os.path.join(DATA, "templates", "provabgs", "provabgs_nmf_emulator.h5")
    if not os.path.exists(path):
        print(f"        skipped: no emulator at {path}")
        return
    text = simulate(2, f"{root}/emulator", "simulate.objects=60", "simulate.shard_objects=20", f"simulate.emulator={path}")
    print("        " + re.search(r"60 objects in .*", text).group())
    with h5py.File(f"{root}/emulator/shards/simulated-00000.h5") as f:
        check(np.isfinite(f["image"][:]).all() and np.isfinite(f["spectrum"][:]).all() and (np.abs(f["label/mag_r"][:] - 18) < 5).all(), "galaxies with the emulator's starlight")


def main():
    root = tempfile.mkdtemp(prefix="syzygy-simulate-")
    try:
        test_ranks(root)
        test_restart(root)
        test_survey(root)
        test_ingest(root)
        test_errors(root)
        test_emulator(root)
    finally:
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    main()
    finish()
