# SPDX-License-Identifier: BSD-3-Clause
"""
The ingest command on files in the many forms in which surveys and archives deliver them: the same objects whatever the form, what is converted is counted, what
cannot be is refused by name; each on 1, 2 and 3 ranks with the same bytes of shards.
"""
import csv
import gzip
import lzma
import os
import shutil
import sys

import h5py
import numpy as np
from astropy.io import fits

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import DATA, check_quietly as check, finish
from ingest_common import folder, ingest, load, rejected, same, shards
from ingest_made import DEC, RA, desi, fluxes, image, on_ranks, table, wcs_cards

IDS = 39633300968442591 + np.arange(4)


def counts(text):
    """The table at the end of a run: {line: number}."""
    return {line.strip().rsplit(None, 1)[0]: int(line.split()[-1]) for line in text.splitlines() if line.startswith("  ") and line.split()[-1].isdigit()}


def cutout(path, planes, scale=0.262, size=160, **cards):
    """As the viewer writes it: no BUNIT."""
    hdu = fits.PrimaryHDU(np.squeeze(np.stack(planes)).astype("f4"))
    hdu.header.update({**wcs_cards(size, scale), "SURVEY": "LegacySurvey", "VERSION": "DR9", "IMAGEW": size, "IMAGEH": size, **cards})
    os.makedirs(os.path.dirname(path), exist_ok=True)
    hdu.writeto(path)
    return path


def light(scale, size):
    """A round galaxy of 1 nanomaggy, 4 arcsec FWHM, as values per pixel of 0.262 arcsec on a grid of another scale: what interpolation keeps."""
    y, x = np.mgrid[:size, :size]
    r2 = ((x - (size - 1) / 2) ** 2 + (y - (size - 1) / 2) ** 2) * scale**2
    sigma2 = (4 / 2.3548) ** 2
    return 0.262**2 / (2 * np.pi * sigma2) * np.exp(-0.5 * r2 / sigma2)


def viewer_scales():
    """Cutouts at other scales hold fluxes per pixel of the layer's own scale: recognised by their header, converted, counted."""
    planes = dict(BANDS="grz", BAND0="g", BAND1="r", BAND2="z")
    for scale, size in ((0.131, 320), (0.524, 80), (0.262, 160)):
        one = light(scale, size)
        f = cutout(f"{folder}/viewer/{scale}.fits", [10 * one, 20 * one, 30 * one], scale, size, **planes)
        out, text = ingest(f"viewer-{scale}", 2, images=[f], centres="true")
        check(np.allclose(fluxes(out), [10, 20, 30], rtol=3e-3), f"{scale}: {fluxes(out)}")
        check(counts(text).get("viewer cutouts at other pixel scales, fluxes converted", 0) == (scale != 0.262), text)
    with fits.open(f) as h:
        check((load(out)["image"][0] == h[0].data[:, 4:156, 4:156]).all(), "at the own scale its pixels as they are")
    f = f"{folder}/viewer/0.524.fits"
    out, text = ingest("viewer-own", 2, images=[f], centres="true", value_per_pixel_arcsec=0.524)
    check(np.allclose(fluxes(out), [2.5, 5, 7.5], rtol=3e-3), f"values stated to be per own pixel: {fluxes(out)}")
    # The unit stated changes nothing about the pixel; an SDSS layer's own pixel is SDSS'; a file with BUNIT is no viewer's.
    out, _ = ingest("viewer-unit", 2, images=[f], centres="true", unit="nanomaggy")
    check(np.allclose(fluxes(out), [10, 20, 30], rtol=3e-3), f"with ingest.unit: {fluxes(out)}")
    one = light(0.524, 80)
    cutout(folder + "/viewer-sdss/c.fits", [one, one, one], 0.524, 80, **{**planes, "SURVEY": "SDSS"})
    cutout(folder + "/viewer-bunit/c.fits", [one, one, one], 0.524, 80, BUNIT="nanomaggy", **planes)
    for name, factor in (("viewer-sdss", (0.262 / 0.396) ** 2), ("viewer-bunit", (0.262 / 0.524) ** 2)):
        out, text = ingest(name + "-run", 2, images=[f"{folder}/{name}"], centres="true")
        check(np.allclose(fluxes(out), factor, rtol=3e-3), f"{name}: {fluxes(out)}")


def without(path, arm, to):
    """The same file without the HDUs of an arm, or with its ivar and flux 0."""
    with fits.open(path) as h:
        lacking = fits.HDUList([x for x in h if not x.name.startswith(arm + "_")])
        os.makedirs(to + "-lacking")
        lacking.writeto(to + "-lacking/" + os.path.basename(path), checksum=True)
        h[arm + "_FLUX"].data[:] = 0
        h[arm + "_IVAR"].data[:] = 0
        os.makedirs(to + "-masked")
        h.writeto(to + "-masked/" + os.path.basename(path), checksum=True)


def missing_camera():
    """A camera that a whole file lacks is the same as one whose ivar is 0; ingest.min_coverage decides."""
    f = desi(folder + "/arms/coadd-7-1.fits", IDS[:2], [5, 6])
    for arm, covered in (("Z", (7620 - 3600) / 0.8 + 1), ("R", 7781 - (7520 - 5800) / 0.8 + 1)):
        without(f, arm, f"{folder}/arm-{arm}")
        runs = {}
        for how in ("lacking", "masked"):
            for share, n in ((covered / 7781 - 1e-3, 2), (covered / 7781 + 1e-3, 0)):
                runs[how, n], text = ingest(f"arm-{arm}-{how}-{n}", 2, 0 if n else 3, "" if n else "nothing usable", spectra=[f"{folder}/arm-{arm}-{how}"], min_coverage=share)
                check(counts(text).get("of files that lack a camera (ivar 0 there)", 0) == (2 if how == "lacking" else 0), text)
                check(counts(text).get("spectra cut: too few good pixels", 0) == 2 - n, text)
        d, m = load(runs["lacking", 2]), load(runs["masked", 2])
        for name in ("spectrum", "spectrum_ivar", "object_id"):
            good = d["spectrum_ivar"] > 0 if name == "spectrum" else np.ones(d[name].shape, bool)
            check((d[name] == m[name])[good].all(), f"{arm}, {name}: missing as masked")
        check(abs((d["spectrum_ivar"] > 0).mean() * 7781 - covered) <= 2 and (d["spectrum"][d["spectrum_ivar"] == 0] == 0).all(), f"{arm}: {(d['spectrum_ivar'] > 0).mean() * 7781}")


def text_tables():
    """ASCII tables and CSV give what a binary table gives; also under other names and packings."""
    n, big = 3, 2**53 + 1 + np.arange(3)
    for band in "grz":
        image(f"{folder}/sky/image-{band}.fits", 10, size=400, FILTER=band)
    ra, dec, z, mass = RA + np.arange(n) * 1e-3, np.full(n, DEC), [0.25, np.nan, 1.5], [11.5, 10.25, np.nan]
    place = folder + "/tables"
    table(place + "/binary/c.fits", TARGETID=("K", big), RA=("D", ra), DEC=("D", dec), z_spec=("D", z), mass=("D", mass), is_disk=("L", [True, False, True]), name=("8A", list("abc")))
    os.makedirs(place + "/ascii")
    cells = [[str(big[i]), f"{ra[i]:.13E}", f"{dec[i]:.9f}", "" if np.isnan(z[i]) else f"{z[i]:.4f}", "-" if np.isnan(mass[i]) else f"{mass[i] * 100:.0f}", "TFT"[i], "abc"[i]] for i in range(n)]
    ascii_table(place + "/ascii/c.fits", cells, ["TARGETID", "RA", "DEC", "z_spec", "mass", "is_disk", "name"], ["I20", "E24.13", "F16.9", "F10.4", "F8.2", "A3", "A4"], null={4: "-"})
    for kind in ("plain", "odd"):
        os.makedirs(f"{place}/csv-{kind}")
    rows = [[str(big[i]), repr(float(ra[i])), repr(float(dec[i])), "" if np.isnan(z[i]) else repr(z[i]), "nan" if np.isnan(mass[i]) else repr(mass[i]), str(i != 1), "a,\"b\"\nc"] for i in range(n)]
    with open(place + "/csv-plain/c.csv", "w", newline="") as f:
        csv.writer(f).writerows([["targetid", "ra", "dec", "Z_SPEC", "mass", "is_disk", "name"]] + rows)
    with open(place + "/csv-odd/c.csv", "wb") as f:  # another order, comments, blank lines, quotation marks, blanks, UTF-8's mark, no end of line
        lines = ["# a comment, with commas", "", '"name", "mass",Z_SPEC ,dec,ra,TargetID,is_disk'] + ["  , %s , %s,%s,\"%s\",%s,%s" % (r[4] if r[4] != "nan" else "", r[3], r[2], r[1], r[0], r[5].lower()) for r in rows]
        f.write(b"\xef\xbb\xbf" + "\r\n".join(lines + ["#"] + [""]).rstrip().encode())
    keys = dict(images=[folder + "/sky"], redshift_column="z_spec", labels=["mass"])
    binary, _ = ingest("table-binary", 2, catalogues=[place + "/binary"], **keys)
    d = load(binary)
    check(list(d["object_id"]) == list(big) and np.array_equal(d["label/redshift"], np.array(z, "f4"), equal_nan=True), str(d["object_id"]))
    for kind in ("csv-plain", "csv-odd", "ascii"):
        out, _ = ingest("table-" + kind, 3, catalogues=[f"{place}/{kind}"], **keys)
        same(binary, out)
    # Astropy's own ASCII tables; packed files of every name.
    t = fits.TableHDU.from_columns([fits.Column("TARGETID", "I20", array=big), fits.Column("RA", "D25.17", array=ra), fits.Column("DEC", "D25.17", array=dec),
                                    fits.Column("z_spec", "F10.4", array=[0.25, -99, 1.5]), fits.Column("mass", "F10.4", array=[11.5, 10.25, -99])])
    os.makedirs(place + "/astropy")
    fits.HDUList([fits.PrimaryHDU(), t]).writeto(place + "/astropy/c.fts", checksum=True)
    out, _ = ingest("table-astropy", 2, catalogues=[place + "/astropy"], **keys)
    same(binary, out)
    pack(place + "/astropy/c.fts", place + "/packed-1/c.fit.xz")
    pack(place + "/csv-plain/c.csv", place + "/packed-2/c.csv.gz")
    shutil.copytree(folder + "/sky", folder + "/sky-packed")
    for band, end in (("g", ".fits.xz"), ("r", ".fts"), ("z", ".fit")):
        f = f"{folder}/sky-packed/image-{band}.fits"
        pack(f, f[:-5] + end)
        os.unlink(f)
    for k in (1, 2):
        out, _ = ingest(f"table-packed-{k}", k, catalogues=[f"{place}/packed-{k}"], **{**keys, "images": [folder + "/sky-packed"]})
        same(binary, out)
    # What is wrong is named with its place.
    broken = lzma.compress(open(place + "/astropy/c.fts", "rb").read())
    wrong = {"ragged.csv": (b"ra,dec\n1,2\n3\n", "line 3 has 1 cells, the first line names 2 columns"), "open.csv": (b'ra,dec\n1,"2\n', "line 2: a quotation mark is not closed"),
             "binary.csv": (b"ra,dec\n1,\0\n", "a zero byte"), "empty.csv": (b"\n#\n", "no line that names columns"), "names.csv": (b"x,y\n1,2\n", "no table with numeric columns RA and DEC"),
             "float.csv": (b"targetid,ra,dec\n3.9633e16,1,2\n", "column targetid of type D cannot hold identifiers"), "cut.fits.xz": (broken[:-40], "xz data cut short"),
             "flipped.fits.xz": (broken[:200] + bytes([broken[200] ^ 4]) + broken[201:], "xz data damaged"),
             "number.fits": (ascii_bytes([["1x.5", "2.0"]], ["RA", "DEC"], ["F8.3", "F8.3"]), "column RA, row 0: '    1x.5' is not a number"),
             "column.fits": (ascii_bytes([["1.5", "2.0"]], ["RA", "DEC"], ["F8.3", "F8.3"], width=12), "do not fit into rows of 12 characters"),
             "format.fits": (ascii_bytes([["1.5", "2.0"]], ["RA", "DEC"], ["F8.3", "Q8"]), "TFORM2 is not a format")}
    os.makedirs(place + "/wrong")
    for name, (data, _) in wrong.items():
        with open(f"{place}/wrong/{name}", "wb") as f:
            f.write(data)
    out, _ = on_ranks("wrong", images=[folder + "/sky"], catalogues=[place + "/astropy/c.fts"] + [f"{place}/wrong/{name}" for name in wrong], data__bad_objects="skip")
    reasons = {r[0]: r[3] for r in rejected(out)}
    check(set(reasons) == set(wrong), f"{sorted(reasons)} {sorted(wrong)}")
    for name, (_, text) in wrong.items():
        check(text in reasons.get(name, ""), f"{name}: '{text}' is not in '{reasons.get(name)}'")


def card(key, value):
    return f"{key:8s}= {value:>20s}".ljust(80) if value[0] != "'" else f"{key:8s}= {value}".ljust(80)


def ascii_bytes(cells, names, formats, null=None, width=None):
    """An ASCII table from the standard's own words, without astropy."""
    widths = [int("".join(c for c in f[1:].split(".")[0])) for f in formats]
    starts = np.cumsum([1] + [w + 1 for w in widths[:-1]])
    row = width or int(starts[-1] + widths[-1] - 1)
    cards = [card("XTENSION", "'TABLE   '"), card("BITPIX", "8"), card("NAXIS", "2"), card("NAXIS1", str(row)), card("NAXIS2", str(len(cells))), card("PCOUNT", "0"), card("GCOUNT", "1"),
             card("TFIELDS", str(len(names)))]
    for i, (name, form) in enumerate(zip(names, formats)):
        cards += [card(f"TTYPE{i + 1}", f"'{name:8s}'"), card(f"TFORM{i + 1}", f"'{form:8s}'"), card(f"TBCOL{i + 1}", str(starts[i]))]
        if null and i in null:
            cards.append(card(f"TNULL{i + 1}", f"'{null[i]:8s}'"))
    text = "".join(" ".join(c.rjust(w) for c, w in zip(r, widths)).ljust(row)[:row] for r in cells)
    block = lambda t: t.ljust((len(t) + 2879) // 2880 * 2880)
    return (block(card("SIMPLE", "T") + card("BITPIX", "8") + card("NAXIS", "0") + card("EXTEND", "T") + "END") + block("".join(cards) + "END") + block(text)).encode()


def ascii_table(path, *args, **more):
    with open(path, "wb") as f:
        f.write(ascii_bytes(*args, **more))


def pack(source, to):
    os.makedirs(os.path.dirname(to), exist_ok=True)
    data = open(source, "rb").read()
    with open(to, "wb") as f:
        f.write(lzma.compress(data) if to.endswith(".xz") else gzip.compress(data) if to.endswith(".gz") else data)


def sdss_rows(n, seed=0):
    """Flux, ivar, log wavelength of n made spectra, as SDSS keeps them."""
    rng = np.random.default_rng(seed)
    loglam = (3.5523 + 1e-4 * np.arange(4648)).astype("f4")
    return rng.normal(3, 1, (n, len(loglam))).astype("f4"), rng.uniform(0.5, 2, (n, len(loglam))).astype("f4"), loglam


def spec(path, flux, ivar, loglam, unit="1E-17 erg/cm^2/s/Ang", **columns):
    """An SDSS spec file with this row in HDU 2."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    first = fits.PrimaryHDU()
    first.header["BUNIT"] = unit
    coadd = fits.BinTableHDU.from_columns([fits.Column("FLUX", "E", array=flux), fits.Column("LOGLAM", "E", array=loglam), fits.Column("IVAR", "E", array=ivar),
                                           fits.Column("AND_MASK", "J", array=np.zeros(len(flux)))], name="COADD")
    row = fits.BinTableHDU.from_columns([fits.Column(k, f, array=[v]) for k, (f, v) in columns.items()], name="SPALL")
    fits.HDUList([first, coadd, row]).writeto(path, overwrite=True)
    return path


def sdss_five():
    """SDSS-V spec files by CATALOGID or SDSS_ID; sky fibres are cut; the unit in every way of writing it."""
    flux, ivar, loglam = sdss_rows(4)
    common = dict(FIELD=("K", 15000), MJD=("K", 59146), CLASS=("6A", "GALAXY"), Z=("E", 0.25), ZWARNING=("K", 0))
    catalogid = 27021597844912345  # above 2^53
    place = folder + "/sdss-v"
    spec(place + f"/spec-015000-59146-{catalogid}.fits", flux[0], ivar[0], loglam, CATALOGID=("K", catalogid), SDSS_ID=("K", 56790281), OBJTYPE=("16A", "science"), PLUG_RA=("D", 10.5), PLUG_DEC=("D", 2.5),
         unit="1.0E-17 erg/s/cm^2/Ang", **common)
    spec(place + "/spec-015000-59146-56790282.fits", flux[1], ivar[1], loglam, CATALOGID=("K", -999), SDSS_ID=("K", 56790282), OBJTYPE=("16A", "science"), RACAT=("D", 10.6), DECCAT=("D", 2.6),
         unit="10^(-17) erg/s/cm2/Angstrom", **common)
    spec(place + "/spec-015000-59146-0012.fits", flux[2], ivar[2], loglam, TARGET_INDEX=("K", 12), OBJTYPE=("16A", "science"), FIBER_RA=("D", 10.7), FIBER_DEC=("D", 2.7), unit="10-17 erg s-1 cm-2 A-1",
         **common)
    spec(place + "/spec-015000-59146-0013.fits", flux[3], ivar[3], loglam, CATALOGID=("K", 5), OBJTYPE=("16A", "ops_sky_boss"), PLUG_RA=("D", 10.8), PLUG_DEC=("D", 2.8), **common)
    out, text = on_ranks("sdss-v", spectra=[place], spectype=["GALAXY"])
    d = load(out)
    want = {catalogid: (10.5, 2.5), 56790282: (10.6, 2.6), 15000 * 10**9 + 59146 * 10**4 + 12: (10.7, 2.7)}
    got = {int(i): (r, e) for i, r, e in zip(d["object_id"], d["ra"], d["dec"])}
    check(got == want and (d["label/redshift"] == 0.25).all() and counts(text).get("spectra cut: object type") == 1, f"{got} {text}")
    units = ("1E-16 erg/s/cm2/A", "erg/s/cm2/A", "1E-17 erg/s/cm2/Hz", "10**17 erg/s/cm2/A", "nanomaggy")
    for k, unit in enumerate(units):
        spec(f"{folder}/sdss-wrong/spec-{k}.fits", flux[0], ivar[0], loglam, CATALOGID=("K", 5), unit=unit, **common)
    spec(folder + "/sdss-wrong/spec-9.fits", flux[0], ivar[0], loglam, **common)
    out, _ = ingest("sdss-wrong", 2, 3, "nothing usable", spectra=[folder + "/sdss-wrong"], data__bad_objects="skip")
    reasons = [r[3] for r in rejected(out)]
    check(len(reasons) == 6 and all(f"BUNIT '{u}', fluxes in 1e-17" in r for u, r in zip(units, reasons)) and "do not identify a spectrum" in reasons[5], str(reasons))
    return d


def hdf5(path, **columns):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with h5py.File(path, "w") as f:
        for k, v in columns.items():
            f.create_dataset(k, data=v)
    return path


def universe(five):
    """The Multimodal Universe: cuts on its columns; sdss as SDSS' own files; hsc resampled, in nanomaggies."""
    n = 6
    wave = np.tile((3600 + 0.8 * np.arange(7781)).astype("f4"), (n, 1))
    flux = np.ones((n, 7781), "f4") * np.arange(1, n + 1)[:, None].astype("f4")
    ivar = np.ones_like(flux)
    ivar[0, :10] = -1  # as in FITS files: no weight
    ivar[0, 10] = np.inf
    columns = dict(object_id=IDS[0] + np.arange(n), ra=np.arange(n) + 0.5, dec=np.zeros(n), spectrum_flux=flux, spectrum_ivar=ivar, spectrum_lambda=wave, Z=np.full(n, 0.2),
                   ZWARN=np.array([0, 4, 512, 0, 0, 0]), SPECTYPE=np.array([b"GALAXY", b"GALAXY", b"STAR", b"QSO", b"GALAXY", b"GALAXY"]), OBJTYPE=np.array([b"TGT", b"TGT", b"TGT", b"TGT", b"SKY", b"TGT"]),
                   COADD_FIBERSTATUS=np.array([0, 0, 0, 0, 0, 8]), MAIN_PRIMARY=np.array([True, True, True, False, True, True]))
    f = hdf5(folder + "/mmu/desi/001-of-001.hdf5", **columns)
    for name, keys, want in (("default", {}, [0, 1, 3]), ("zwarn", dict(zwarn_bits=4294967295), [0, 3]), ("type", dict(spectype=["GALAXY"]), [0, 1]), ("sky", dict(objtype=["SKY"]), [4]),
                             ("fibre", dict(fiberstatus="false"), [0, 1, 3, 5]), ("primary", dict(primary="main_primary"), [0, 1])):
        out, _ = ingest("mmu-" + name, 2, hdf5=[folder + "/mmu/desi"], **keys)
        check(list(load(out)["object_id"] - IDS[0]) == want, f"{name}: {load(out)['object_id'] - IDS[0]}")
    d = load(out)
    check((d["spectrum_ivar"][0, :11] == 0).all() and (d["spectrum_ivar"] >= 0).all(), "negative and infinite ivar are 0")
    ingest("mmu-misspelt", 2, 3, "ingest.primary: no file has a numeric column 'PRIMARY'; the nearest is 'MAIN_PRIMARY'", hdf5=[f], primary="PRIMARY")
    # sdss: the spectra of the files above, padded to a common length.
    flux, ivar, loglam = sdss_rows(4)
    lam = np.tile((10 ** loglam.astype("f8")).astype("f4"), (3, 1))
    pad = lambda a, value: np.pad(a[:3], ((0, 0), (0, 100)), constant_values=value)
    mask = pad(np.zeros((3, 4648), bool), True)
    mask[1, 100:200] = True
    bad = ivar.copy()
    bad[2, 2000] = np.inf
    f = hdf5(folder + "/mmu/sdss/001-of-001.hdf5", object_id=np.array([b"   299489677444933632", b"299489677444933633", b"9223372036854775809"]), ra=[10.5, 10.6, 10.7], dec=[2.5, 2.6, 2.7],
             spectrum_flux=pad(flux, 7), spectrum_ivar=pad(bad, 0), spectrum_lambda=pad(lam, -1), spectrum_mask=mask, Z=[0.25] * 3, ZWARNING=[0, 0, 1 << 7], CLASS=np.array([b"GALAXY"] * 3))
    out, text = on_ranks("mmu-sdss", hdf5=[folder + "/mmu/sdss"], spectype=["GALAXY"], zwarn_bits=1)
    d = load(out)
    check(list(d["object_id"][:2]) == [299489677444933632, 299489677444933633] and d["object_id"][2] > 0 and (d["label/redshift"] == 0.25).all(), str(d["object_id"]))
    own = {int(round((r - 10.5) * 10)): k for k, r in enumerate(five["ra"])}
    # Wavelengths rounded to float32 (up to 2.4e-4 Angstrom at 6000) move some flux across pixels: 3e-4 of differences of some sigma.
    for k, name, good in ((0, "spectrum", slice(None)), (0, "spectrum_ivar", slice(None)), (1, "spectrum", slice(1000, None))):
        a, b = d[name][k][good], five[name][own[k]][good]
        check(np.abs(a - b).max() < 5e-3, f"sdss row {k}, {name}: {np.abs(a - b).max()}")
    masked = (five["spectrum_ivar"][own[1]] > 0) & (d["spectrum_ivar"][1] == 0)
    w = np.flatnonzero(masked) * 0.8 + 3600
    check(len(w) > 50 and abs(w.min() - lam[1, 100]) < 2 and abs(w.max() - lam[1, 199]) < 2, f"masked from {w.min()} to {w.max()}")
    with h5py.File(f, "r+") as h:
        h["spectrum_flux"][0, 1000] = np.nan
    out, _ = ingest("mmu-sdss-bad", 2, hdf5=[f], data__bad_objects="skip")
    check([(r[1], r[3][:44]) for r in rejected(out)] == [("0", "flux is not finite in 1 pixels with ivar > 0")], str(rejected(out)))
    # hsc: five bands of 0.168 arcsec, counts of zero point 27; smaller than the stamp.
    y, x = np.mgrid[:160, :160]
    one = np.exp(-0.5 * ((x - 79.5) ** 2 + (y - 79.5) ** 2) / 49)
    one /= one.sum()
    counts_of = np.array([100, 200, 250, 300, 350])
    f = hdf5(folder + "/mmu/hsc/001-of-001.hdf5", object_id=np.array([42, 43]), ra=[150.0, 150.1], dec=[2.0, 2.1], image_array=np.stack([one * c for c in counts_of])[None].repeat(2, 0).astype("f4"),
             image_band=np.array([[b"hsc-g", b"hsc-r", b"hsc-i", b"hsc-z", b"hsc-y"]] * 2), image_scale=np.full((2, 5), 0.168, "f4"), a_g=[0.1, 0.2])
    with h5py.File(f, "r+") as h:
        h["a_g"].attrs["units"] = "mag"
    out, _ = on_ranks("mmu-hsc", hdf5=[folder + "/mmu/hsc"], edge="zero", labels=["a_g"])
    d = load(out)
    with h5py.File(shards(out)[0]) as h:
        check(h["label/a_g"].attrs["units"] in ("mag", b"mag"), "the unit of an HDF5 column is kept")
    want = counts_of[[0, 1, 3]] * 10**-1.8
    check(list(d["object_id"]) == [42, 43] and np.allclose(d["image"].sum(axis=(2, 3), dtype=float), want, rtol=1e-3), f"{d['image'].sum(axis=(2, 3))} {want}")
    v, u = np.mgrid[:152, :152]
    centre = [(d["image"][0, 1] * a).sum() / d["image"][0, 1].sum() for a in (u, v)]
    check(np.allclose(centre, 75.5, atol=0.01) and (d["image"][0, :, :20] == 0).all(), f"the galaxy in the middle: {centre}")
    ingest("mmu-hsc-skip", 2, 3, "images of HDF5 files smaller than the stamp (ingest.edge)", hdf5=[f])
    ingest("mmu-hsc-refuse", 2, 3, "object 42 (row 0): the image covers 46 % of the stamp", hdf5=[f], edge="refuse")


def mosaic_names():
    """MzLS: k4m_..._ooi_zd_v2; its ood and oow beside it are passed over."""
    image(folder + "/mosaic/k4m_160211_050013_ooi_zd_v2.fits", 30, FILTER="clear")
    image(folder + "/mosaic/ksb_160211_070206_ooi_g_v1.fits", 10)
    image(folder + "/mosaic/ksb_160211_070209_ooi_r_v1.fits", 20)
    image(folder + "/mosaic/k4m_160211_050013_ood_zd_v2.fits", 1)
    image(folder + "/mosaic/c4d_160211_050013_ooi_i_v1.fits", 1)
    out, _ = ingest("mosaic", 2, images=[folder + "/mosaic"], centres="true")
    check(len(load(out)["object_id"]) == 1 and np.allclose(fluxes(out), [10, 20, 30], rtol=1e-3), str(fluxes(out)))
    f = image(folder + "/mosaic-wrong/k4m_160211_050013_ooi_zd_v2.fits", 30, FILTER="g")
    ingest("mosaic-wrong", 1, 3, "name different bands", images=[f], centres="true")


def links():
    """A folder or file met again through a link counts once, a loop of links ends; a name with a comma stands in quotation marks."""
    real = folder + "/tree/a"
    desi(real + "/coadd-x.fits", IDS[:2], [1, 2])
    os.symlink(real, folder + "/tree/b")
    os.symlink("coadd-x.fits", real + "/coadd-y.fits")
    os.symlink(folder + "/tree", real + "/up")
    out, text = on_ranks("links", spectra=[folder + "/tree"], duplicates="keep")
    check(list(load(out)["object_id"]) == list(IDS[:2]) and counts(text)["files"] == 1 and counts(text)["links to files or folders met before, passed over"] == 3, text)
    desi(folder + "/a,b/coadd-z,1.fits", IDS[2:], [3, 4])
    for name, given, ids in (("one", f'"{folder}/a,b/coadd-z,1.fits"', IDS[2:]), ("two", f"{real}/coadd-x.fits, '{folder}/a,b'", IDS)):
        out, _ = ingest("comma-" + name, 2, spectra=[given])
        check(sorted(load(out)["object_id"]) == list(ids), str(load(out)["object_id"]))
    ingest("comma-bare", 2, 3, "put a name with a comma in quotation marks", spectra=[f"{folder}/a,b"])


def absurd():
    """Values that no light has make an object bad where they count, and are nothing where they are masked."""
    f = desi(folder + "/absurd/coadd-1.fits", IDS, [1, 2, 3, 4])
    with fits.open(f) as h:
        h["B_FLUX"].data[1, 5] = 1e30
        h["R_IVAR"].data[2, 700] = 1e20
        h["Z_FLUX"].data[3, 900] = -1e30
        h["Z_IVAR"].data[3, 900] = 0
        h.writeto(f, overwrite=True, checksum=True)
    ingest("absurd-refuse", 2, 3, f"object {IDS[1]} (row 1): flux or ivar is beyond 1e+12 in 1 pixels with ivar > 0 (first at 3604.0 A)", spectra=[f])
    out, _ = ingest("absurd", 3, spectra=[f], data__bad_objects="skip")
    d = load(out)
    check(list(d["object_id"]) == [IDS[0], IDS[3]] and [r[1] for r in rejected(out)] == ["1", "2"] and np.abs(d["spectrum"]).max() < 10, str(rejected(out)))
    for band in "grz":
        image(f"{folder}/absurd-sky/image-{band}.fits", 10, FILTER=band)
    with fits.open(folder + "/absurd-sky/image-r.fits", mode="update") as h:
        h[1].data[80, 90] = -1e30
    cat = table(folder + "/absurd-cat.fits", ra=("D", [RA]), dec=("D", [DEC]))
    ingest("absurd-image", 2, 3, "object", images=[folder + "/absurd-sky"], catalogues=[cat], edge="refuse")
    out, _ = ingest("absurd-zero", 2, images=[folder + "/absurd-sky"], catalogues=[cat], edge="zero")
    check(np.allclose(fluxes(out)[[0, 2]], 10, rtol=1e-3) and (load(out)["image"] >= 0).all(), str(fluxes(out)))


def cases():
    """Inputs that once failed, with their right results."""
    place = DATA + "/cases/"
    if not os.path.isdir(place):
        print("no", place, "- its cases are not tried")
        return
    for name in ("0.524",):
        out, _ = on_ranks("case-07-" + name, images=[f"{place}07-viewer-pixscale/cutout-{name}.fits.gz"], centres="true")
        check(np.allclose(fluxes(out), 100.2, rtol=5e-3), f"{name}: {fluxes(out)}")
    out, _ = on_ranks("case-10", spectra=[place + "10-sdss-v"])
    d = load(out)
    check(list(d["object_id"]) == [27021597844912345] and d["label/redshift"][0] == np.float32(0.2) and (d["ra"][0], d["dec"][0]) == (10.5, 2.5), str(d["object_id"]))
    out, _ = on_ranks("case-11", spectra=[place + "11-missing-arm"])
    d = load(out)
    check(len(d["object_id"]) == 2 and (d["spectrum_ivar"][:, 5026:] == 0).all() and (d["spectrum_ivar"][:, :5026] > 0).all(), "ivar 0 in the missing arm")
    ingest("case-11-cut", 2, 3, "nothing usable", spectra=[place + "11-missing-arm"], min_coverage=0.9)
    keys = dict(images=[place + "12-catalogue-ids/c.fits.gz"])
    out, _ = on_ranks("case-12", catalogues=[place + "12-catalogue-ids/cat-asciitable.fits"], **keys)
    check(len(load(out)["object_id"]) == 1 and load(out)["has_image"].all(), "an ASCII table")
    out, _ = on_ranks("case-17-zwarn", hdf5=[place + "17-mmu-cuts"], zwarn_bits=4294967295)
    check(list(load(out)["object_id"]) == [39633300968442591], "one kept")
    out, _ = on_ranks("case-17-type", hdf5=[place + "17-mmu-cuts"], spectype=["GALAXY"])
    check(list(load(out)["object_id"]) == [39633300968442591, 39633300968442592], "two kept")


viewer_scales()
missing_camera()
text_tables()
universe(sdss_five())
mosaic_names()
links()
absurd()
cases()
finish()
