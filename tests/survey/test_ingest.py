# SPDX-License-Identifier: BSD-3-Clause
"""
The ingest command on real survey files (SYZYGY_SKY_DATA) and on made ones, on 1 and 3 ranks: shards equal to the byte, labels
equal to the files', the right things cut and refused for the right reason, and the right exit code for whatever is wrong.
"""
import bz2
import glob
import gzip
import itertools
import os
import shutil
import sys

import h5py
import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import BINARY, DATA, check_quietly as check, finish, launch, need_data
from ingest_common import coadd, folder, ingest, load, rejected, same, shards
from ingest_made import DEC, RA, desi, image, table, wcs_cards


def real():
    spectra = [DATA + "/desi", DATA + "/sdss/spec-lite", DATA + "/sdss/spec-full", DATA + "/sdss/quasars", DATA + "/sdss/sky-fibres"]
    runs = [ingest(f"spectra-{n}", n, spectra=spectra, labels=["DELTACHI2", "FLUX_R", "plate"], shard_objects=7)[0] for n in (1, 3)]
    same(*runs)
    d = load(runs[0])
    # 9 DESI objects are left: 1 of tile 169 (3 sky fibres, 1 bad fibre), from its coadd and not again from spectra-, 1 of tile 80613, 7 with minimal
    # fibermaps. All 54 SDSS spectra but none of the 8 sky fibres.
    check(len(d["object_id"]) == 63 and d["has_spectrum"].all() and not d["has_image"].any(), f"{len(d['object_id'])} objects")
    check((d["object_id"] == 39633300968442591).sum() == 1, "tile 169 once, though coadd and exposures are there")
    check(rejected(runs[0]) == [], str(rejected(runs[0])))
    want, plates, classes = {}, {}, {}
    for sub in ("spec-lite", "spec-full", "quasars"):
        for path in glob.glob(f"{DATA}/sdss/{sub}/*.fits"):
            t = fits.getdata(path, 2)
            c = {n.upper(): n for n in t.columns.names}
            identifier = int(t[c["PLATE"]][0]) * 10**9 + int(t[c["MJD"]][0]) * 10**4 + int(t[c["FIBERID"]][0])
            want[identifier], plates[identifier] = np.float32(t[c["Z"]][0]), float(t[c["PLATE"]][0])
    z = fits.getdata(DATA + "/desi/tile80613/redrock-4-80613-thru20210324.fits", "REDSHIFTS")
    want[int(z["TARGETID"][0])] = np.float32(z["Z"][0])
    got = {int(i): v for i, v in zip(d["object_id"], d["label/redshift"])}
    check(len(want) == 55 and all(got[k] == v for k, v in want.items()), "redshift labels equal to the files'")
    check(all(np.isnan(v) for k, v in got.items() if k not in want), "unknown redshifts are NaN")
    i = list(d["object_id"]).index(39633345008634465)
    check(d["label/DELTACHI2"][i] == np.float32(z["DELTACHI2"][0]), "label from redrock")
    f = fits.getdata(DATA + "/desi/tile80613/coadd-4-80613-thru20210324.fits", "FIBERMAP")
    check(d["label/FLUX_R"][i] == np.float32(f["FLUX_R"][0]) and d["ra"][i] == f["TARGET_RA"][0], "label and position from FIBERMAP")
    check(all(d["label/plate"][list(d["object_id"]).index(k)] == v for k, v in plates.items()), "label from specobj, any case")
    check(np.isnan(d["ra"][list(d["object_id"]).index(39632936152072660)]), "no position in a fibermap of one column: NaN")

    both = sorted(glob.glob(DATA + "/desi/tile169/*-5-169-*.fits*"))
    for duplicates, n in (("drop", 1), ("keep", 2)):
        out, _ = ingest("duplicates-" + duplicates, 3, spectra=[p for p in both if "/coadd-" in p or "/spectra-" in p], duplicates=duplicates)
        check(len(load(out)["object_id"]) == n, f"{duplicates}: {n} of two spectra of a target in files named outright")

    # Cuts.
    out, text = ingest("galaxies", 2, spectra=[DATA + "/sdss/spec-lite", DATA + "/sdss/sky-fibres"], spectype=["GALAXY"], zwarn_bits=4294967295)
    n = sum(1 for p in glob.glob(DATA + "/sdss/spec-lite/*.fits") for t in [fits.getdata(p, 2)] for c in [{n.upper(): n for n in t.columns.names}]
            if t[c["CLASS"]][0].strip() == "GALAXY" and t[c["ZWARNING"]][0] == 0)
    check(len(load(out)["object_id"]) == n, f"{n} clean galaxies")
    out, _ = ingest("skies", 1, spectra=[DATA + "/sdss/sky-fibres"], objtype=["SKY"], zwarn_bits=0)
    check(len(load(out)["object_id"]) == 8, "sky fibres when asked for")
    ingest("nothing", 3, 3, "nothing usable", spectra=[DATA + "/sdss/sky-fibres"])

    # Everything with images: by the files' centres. What is refused and why.
    keys = dict(images=[DATA + "/legacy", DATA + "/sdss/frames", DATA + "/hcompress"], centres="true", zero_points=DATA + "/legacy/ccd/survey-ccds-1.fits.gz",
                missing_band="zero", edge="zero", shard_objects=4)
    runs = [ingest(f"images-{n}", n, data__bad_objects="skip", **keys)[0] for n in (1, 3)]
    same(*runs)
    expected = [("c4d_150416_232655_ooi_z_v1-S13.fits.fz", "has no row for this image and CCD 'S13'"), ("example_incomplete.fits", "cut short"),
                ("Z.fits", "the band is named neither"), ("g.fits", "no WCS"), ("r.fits", "no WCS")]
    got = rejected(runs[1])
    check([g[0] for g in got] == [e[0] for e in expected] and all(e[1] in g[3] for g, e in zip(got, expected)), str(got))
    d = load(runs[0])
    # The CCD trio, three cubes and HDU sets, three resampled cubes, the frames' common centre and the stamps' (wrong) one; the brick is empty there.
    check(len(d["object_id"]) == 9 and d["has_image"].all() and len(set(d["object_id"])) == 9, str(d["object_id"]))
    check(np.isfinite(d["image"]).all() and (np.abs(d["image"]).max(axis=(1, 2, 3)) > 0).all(), "images finite, none empty")
    with fits.open(DATA + "/legacy/cutouts/example_a.fits") as h:
        cube, w = h[0].data, WCS(h[0].header).celestial
    k = int(np.argmin(np.hypot(d["ra"] - h[0].header["CRVAL1"], d["dec"] - h[0].header["CRVAL2"])))
    check((d["image"][k] == cube[:, 179:331, 179:331]).all() or (d["image"][k] == cube[:, 178:330, 178:330]).all(), "a native cube's own pixels, g r z")
    ingest("refuse", 3, 3, "has no row for this image", **keys)
    ingest("no-zero", 2, 3, "instrumental units (adu)", images=[DATA + "/legacy/ccd/c4d_141206_043719_ooi_z_a1-S10.fits"], centres="true")
    ingest("one-band", 2, 3, "nothing usable", images=[DATA + "/legacy/brick-0959p805"], centres="true")

    # A catalogue under other column names: RESOLVE's galaxy in the cutout made for it.
    out, _ = ingest("resolve", 2, images=[DATA + "/legacy/cutouts/cutout_135.2130_1.1612.fits"], catalogues=[DATA + "/labels/RESOLVE_bpt1_filter.fits"],
                    labels=["cz", "logmstar"], keep="images")
    d = load(out)
    check(len(d["object_id"]) == 1 and abs(d["label/cz"][0] - 5633.4) < 0.1 and abs(d["label/logmstar"][0] - 8.89) < 0.01, str(d))
    check(abs(d["ra"][0] - 135.213) < 1e-3 and d["image"][0].sum() > 0, "RESOLVE rs0010")

    # Spectra and images of the same galaxies: SDSS frames at positions of a catalogue, matched on the sky.
    os.makedirs(folder + "/frames")
    for b in "grz":  # unpacked once here rather than by every run below; the runs above read them packed
        with bz2.open(f"{DATA}/sdss/frames/frame-{b}-005112-4-0345.fits.bz2") as packed, open(f"{folder}/frames/frame-{b}-005112-4-0345.fits", "wb") as plain:
            shutil.copyfileobj(packed, plain)
    with fits.open(folder + "/frames/frame-r-005112-4-0345.fits") as h:
        w = WCS(h[0].header)
    sky = w.all_pix2world([[1907, 947], [400, 700], [3, 3], [5000, 5000]], 0)
    spec = glob.glob(DATA + "/sdss/spec-lite/spec-0266-51630-0367.fits")[0]
    with fits.open(spec) as h:
        names = {c.lower(): c for c in h[2].columns.names}
        for c in ("plug_ra", "plug_dec"):
            h[2].data[names[c]] = sky[0][int(c == "plug_dec")] + 1e-4
        h.writeto(folder + "/moved.fits")
    t = fits.BinTableHDU.from_columns([fits.Column("RELEASE", "I", array=[9010] * 4), fits.Column("BrickID", "J", array=[7] * 4), fits.Column("objid", "J", array=[1, 2, 3, 4]),
                                       fits.Column("Ra", "D", array=sky[:, 0]), fits.Column("DEC", "D", array=sky[:, 1]), fits.Column("flux_r", "E", array=[1, 2, 3, 4])])
    t.writeto(folder + "/catalogue.fits")
    runs = [ingest(f"pairs-{n}", n, spectra=[folder + "/moved.fits"], images=[folder + "/frames"], catalogues=[folder + "/catalogue.fits"], labels=["flux_r"],
                   data__bad_objects="skip")[0] for n in (1, 3)]
    same(*runs)
    d = load(runs[0])
    packed = [i + (7 << 22) + (9010 << 42) for i in (2,)]
    check(list(d["object_id"]) == [266516300367] + packed and list(d["has_image"]) == [1, 1] and list(d["has_spectrum"]) == [1, 0], str(d["object_id"]))
    check(list(d["label/flux_r"]) == [1, 2] and d["label/redshift"][0] == np.float32(0.06182272) and np.isnan(d["label/redshift"][1]), "labels of both sides")
    # The galaxy of the stamps in the middle, with their flux.
    v, u = np.mgrid[0:152, 0:152]
    core = np.hypot(u - 75.5, v - 75.5) * 0.262 < 8
    for b, (y, x) in enumerate(((960, 1907), (947, 1907), (955, 1907))):
        stamp = fits.getdata(f"{DATA}/sdss/frames/galaxy_stamp_{'grz'[b]}.fits", 0).T
        yy, xx = np.mgrid[0:78, 0:78]
        native = stamp[np.hypot(yy - 39, xx - 39) * 0.396 < 8].sum(dtype=float)
        check(abs(d["image"][0, b][core].sum(dtype=float) / native - 1) < 0.01, f"band {'grz'[b]}: flux of the stamp")
    out, _ = ingest("paired", 2, spectra=[folder + "/moved.fits"], images=[folder + "/frames"], catalogues=[folder + "/catalogue.fits"], keep="paired",
                    data__bad_objects="skip")
    check(list(load(out)["object_id"]) == [266516300367], "keep: paired")


def made():
    os.makedirs(folder + "/desi")
    ids = [coadd(f"{folder}/desi/coadd-sv3-bright-{k}.fits", 5, seed=k) for k in range(4)]
    # Bad objects: refused by name, or skipped and listed.
    bad_ids = coadd(f"{folder}/desi/coadd-sv3-bright-9.fits", 5, bad=[1], zero=[3], seed=9)
    for n in (1, 3):
        ingest(f"bad-{n}", n, 3, f"object {bad_ids[1]} (row 1): flux is not finite in 3 pixels", spectra=[folder + "/desi"])
        check(not shards(f"{folder}/bad-{n}"), "nothing written")
        out, _ = ingest(f"skip-{n}", n, spectra=[folder + "/desi"], data__bad_objects="skip", shard_objects=6)
    same(f"{folder}/skip-1", f"{folder}/skip-3")
    check(len(load(out)["object_id"]) == 23 and [(r[1], r[2]) for r in rejected(out)] == [("1", str(bad_ids[1])), ("3", str(bad_ids[3]))], str(rejected(out)))
    check("zero in every good pixel" in rejected(out)[1][3], str(rejected(out)))
    # Restart: complete shards stay, a missing one and a changed one are made again, one too many goes.
    before = {p: os.stat(p).st_mtime_ns for p in shards(out)}
    lost, kept = shards(out)[1], shards(out)[0]
    os.unlink(lost)
    shutil.copy(kept, out + "/shards/shard-00004.h5")
    shutil.copy(kept, out + "/shards/shard-00007.h5")  # after a gap, as an interrupted run leaves it
    _, text = ingest("skip-3", 2, 0, "some existed already", spectra=[folder + "/desi"], data__bad_objects="skip", shard_objects=6)
    check(os.stat(kept).st_mtime_ns == before[kept] and len(shards(out)) == 4, "kept, and the one too many is gone")
    same(f"{folder}/skip-1", out)
    _, text = ingest("skip-3", 2, spectra=[folder + "/desi"], data__bad_objects="skip", shard_objects=6, labels=["TARGET_DEC"])
    check("already" not in text and "label/TARGET_DEC" in load(out), "other labels: made again")
    # Stopped before the first shard, and gone on with.
    os.makedirs(folder + "/stopped")
    open(folder + "/stopped/STOP", "w").close()
    ingest("stopped", 2, 75, spectra=[folder + "/desi"], data__bad_objects="skip", shard_objects=6)
    if os.path.exists(folder + "/stopped/STOP"):
        os.unlink(folder + "/stopped/STOP")
    out, _ = ingest("stopped", 2, spectra=[folder + "/desi"], data__bad_objects="skip", shard_objects=6)
    same(f"{folder}/skip-1", out)

    # Redshifts from catalogues, the good row of several.
    z = fits.BinTableHDU.from_columns([fits.Column("TARGETID", "K", array=[ids[0][0], ids[0][0], ids[1][2], 5]), fits.Column("Z", "D", array=[9.0, 0.25, 0.5, 7]),
                                       fits.Column("ZWARN", "K", array=[4, 0, 0, 0]), fits.Column("SPECTYPE", "6A", array=["STAR", "GALAXY", "QSO", "QSO"])], name="ZCATALOG")
    z.writeto(folder + "/zcat.fits")
    out, _ = ingest("zcat", 3, spectra=[folder + "/desi"], data__bad_objects="skip", redshifts=[folder + "/zcat.fits"], needs_redshift="true")
    d = load(out)
    check(list(d["object_id"]) == [ids[0][0], ids[1][2]] and list(d["label/redshift"]) == [0.25, 0.5], str(d["label/redshift"]))
    ingest("primary", 2, 3, "ingest.primary: no file has a numeric column 'SV_PRIMARY'", spectra=[folder + "/desi/coadd-sv3-bright-0.fits"], primary="SV_PRIMARY")
    ingest("primary-2", 2, spectra=[folder + "/desi/coadd-sv3-bright-0.fits"], primary="TARGET_DEC")
    # Damaged files: truncated, a flipped bit found by the checksum, another grid, a missing HDU.
    whole = open(f"{folder}/desi/coadd-sv3-bright-0.fits", "rb").read()
    for name, data, text in (("cut", whole[:len(whole) // 2], "cut short"), ("flip", whole[:60000] + bytes([whole[60000] ^ 1]) + whole[60001:], "DATASUM"),
                             ("empty", b"", "the file is empty"), ("noise", np.random.default_rng(1).bytes(20000), "not a FITS file")):
        path = f"{folder}/{name}.fits"
        open(path, "wb").write(data)
        ingest("damaged-" + name, 3, 3, f"{name}.fits", spectra=[folder + "/desi/coadd-sv3-bright-1.fits", path])
        out, _ = ingest("around-" + name, 2, spectra=[folder + "/desi/coadd-sv3-bright-1.fits", path], data__bad_objects="skip")
        check(list(load(out)["object_id"]) == list(ids[1]) and any(r[0] == f"{name}.fits" and text in r[3] for r in rejected(out)), f"{name}: {rejected(out)}")
    ingest("twice", 2, 2, "given twice", spectra=[f"{folder}/cut.fits", f"{folder}/cut.fits"])
    ingest("none", 2, 2, "nothing to ingest")
    ingest("absent", 3, 3, "No such file", spectra=[folder + "/no-such-folder"])
    ingest("key", 2, 2, "ingest.spectype", spectyp="[GALAXY]")

    # AstroCLIP's own file: (x, y, band) images, spectra, 64-bit identifiers.
    rng = np.random.default_rng(7)
    images = rng.normal(0, 1, (6, 152, 152, 3)).astype("f4")
    spectra = rng.normal(2, 1, (6, 7781, 1)).astype("f4")
    tid = 39627788403084375 + np.arange(6)
    with h5py.File(folder + "/astroclip.h5", "w") as f:
        for g, rows in (("0", slice(0, 4)), ("1", slice(4, 6))):
            f[g + "/images"], f[g + "/spectra"], f[g + "/redshifts"], f[g + "/targetids"] = images[rows], spectra[rows], np.linspace(0.1, 0.6, 6)[rows].astype("f4"), tid[rows]
    runs = [ingest(f"astroclip-{n}", n, hdf5=[folder + "/astroclip.h5"], shard_objects=4)[0] for n in (1, 3)]
    same(*runs)
    d = load(runs[0])
    check((d["object_id"] == tid).all() and d["has_image"].all() and d["has_spectrum"].all(), "AstroCLIP objects")
    check((d["image"] == images.transpose(0, 3, 2, 1)).all() and (d["spectrum"] == spectra[:, :, 0]).all(), "axes turned round")
    check(np.allclose(d["label/redshift"], np.linspace(0.1, 0.6, 6)), "redshifts")
    # An HDF5 set of images joined to DESI spectra by identifier: ssl-legacysurvey.
    target = [int(x) for x in ids[0][:3]]
    with h5py.File(folder + "/images_npix152_000000000_000000003.h5", "w") as f:
        f["images"] = rng.normal(0, 1, (3, 3, 152, 152)).astype("f4")
        f["ra"], f["dec"] = 150 + np.array([0.0, 0.01, 50.0]), np.full(3, 2.00001)
        f["release"], f["brickid"], f["objid"] = [t >> 42 & 0xffff for t in target], [t >> 22 & 0xfffff for t in target], [t & 0x3fffff for t in target]
        f["z_spec"] = np.array([0.3, 0.4, 0.5], "f4")
        ssl = f["images"][()]
    for how, pairs in (("id", 3), ("sky", 2)):
        out, _ = ingest("ssl-" + how, 2, spectra=[folder + "/desi/coadd-sv3-bright-0.fits"], hdf5=[folder + "/images_npix152_000000000_000000003.h5"], match=how,
                        keep="paired", labels=["z_spec"])
        d = load(out)
        check(list(d["object_id"]) == target[:pairs] and (d["image"] == ssl[:pairs]).all() and np.allclose(d["label/z_spec"], [0.3, 0.4, 0.5][:pairs]), f"ssl by {how}")


def far_tile():
    """A tile that is damaged far from the first object: the file is noted once, and gives no object its band, also not those that it served before."""
    wide, high, row = 4300, 4100, 3950  # more than 16 million pixels: tiles are unpacked as they are needed
    places = {5: DEC, 6: DEC + (row - 100) * 0.262 / 3600}
    for band, k in itertools.product("gz", places):
        image(f"{folder}/far/image-{k}-{band}.fits", 10, FILTER=band, CRVAL2=places[k])
    hdu = fits.CompImageHDU(np.full((high, wide), 0.5, "f4"), compression_type="GZIP_1", quantize_level=0.0)
    hdu.header.update({**wcs_cards(wide), "CRPIX2": 100.0, "BUNIT": "nanomaggy", "FILTER": "r"})
    path = folder + "/far/image-r.fits.fz"
    hdu.writeto(path)
    with fits.open(path, disable_image_compression=True) as h:
        at, header = h[1].fileinfo()["datLoc"], h[1].header
    with open(path, "r+b") as f:
        f.seek(at + (row - 1) * header["NAXIS1"])
        n, offset = np.frombuffer(f.read(8), ">i4")
        f.seek(at + header.get("THEAP", header["NAXIS1"] * header["NAXIS2"]) + offset)
        f.write(b"\x55" * n)
    cat = table(folder + "/far-cat.fits", ra=("D", [RA, RA]), dec=("D", list(places.values())), objid=("K", list(places)))
    out, _ = ingest("far-run", 2, images=[folder + "/far"], catalogues=[cat], missing_band="zero", data__bad_objects="skip")
    lit = (load(out)["image"] > 0).any(axis=(2, 3)).tolist()
    check(lit == [[True, False, True]] * 2 and [r[0] for r in rejected(out)] == ["image-r.fits.fz"], f"bands with light {lit}, {rejected(out)}")


def faults():
    """What is the machine's fault is not the file's: ingest ends with 8, also where bad files are to be skipped. Each file is opened by the scan, for
    the offers and for the cutouts that are tried, and once more for the shards."""
    desi(folder + "/faults/spectra/coadd-a.fits", [11, 12], [3.0, 4.0], ra=[RA, RA + 1e-3], dec=[DEC, DEC])
    for band in "grz":
        with open(image(f"{folder}/faults/images/image-{band}.fits", 10, size=200, FILTER=band), "rb") as f, gzip.open(f.name + ".gz", "wb") as to:
            to.write(f.read())
        os.unlink(f.name)
    keys = dict(spectra=[folder + "/faults/spectra"], images=[folder + "/faults/images"], match="sky", keep="paired", data__bad_objects="skip")
    whole, _ = ingest("faults-none", 2, **keys)
    check(len(load(whole)["object_id"]) == 2 and rejected(whole) == [], "two objects")
    places = [(None, f"image_open:0:{n}") for n in (2, 5, 8, 11)] + [(None, "spectrum_read:0:1"), (None, "image_cutout:0:2")]
    for ranks, fault in places + [(2, "image_open:1:2")]:
        out, _ = ingest("faults-" + fault.replace(":", "-"), ranks, 8, "injected failure", environment={"SYZ_FAULT": fault}, **keys)
        check(not shards(out) and not (os.path.exists(out + "/rejected.csv") and rejected(out)), f"{fault}: nothing is written, no file is blamed")


def simulated():
    """A simulated survey's files give the objects that the simulator writes directly; bricks keep pixels to 1/16 of the noise."""
    for output in ("survey", "shards"):
        p = launch(2, BINARY, "simulate", "--set", f"output.dir={folder}/sim-{output}", "--set", "simulate.objects=40", "--set", "simulate.output=" + output,
                   timeout=170)
        check(p.returncode == 0, p.stdout + p.stderr)
    survey = folder + "/sim-survey/survey"
    runs = [ingest(f"sim-{n}", n, spectra=[survey + "/desi"], images=[survey + "/legacy/coadd"], catalogues=[survey + "/legacy/tractor"], keep="paired",
                   data__bad_objects="skip", shard_objects=15)[0] for n in (1, 3)]
    same(*runs)
    d, want = load(runs[0]), load(folder + "/sim-shards")
    order, place = np.argsort(d["object_id"]), np.argsort(want["object_id"])
    if not check((d["object_id"][order] == want["object_id"][place]).all(), "every simulated object is ingested"):
        return
    for name in ("spectrum", "spectrum_ivar", "label/redshift"):
        check((d[name][order] == want[name][place]).all(), name + " equal to the simulator's")
    error = np.abs(d["image"][order] - want["image"][place]).max(axis=(2, 3))
    noise = np.stack([want["label/noise_" + b][place] for b in "grz"], 1)
    check((error < 0.2 * noise).all(), f"images equal but for quantisation (1/16 of a tile's scatter): {(error / noise).max():.3f} of the noise")
    # A brick with a damaged tile: caught by its checksum, and without one by the decoder in its child.
    brick = glob.glob(survey + "/legacy/coadd/*/*/*-image-r.fits.fz")[0]
    whole = open(brick, "rb").read()
    for name, data in (("sum", whole), ("decoder", whole.replace(b"CHECKSUM=", b"XHECKSUM=").replace(b"DATASUM =", b"XATASUM ="))):
        with open(brick, "wb") as f:
            at = len(data) // 2
            f.write(data[:at] + bytes(x ^ 0x55 for x in data[at:at + 400]) + data[at + 400:])
        keys = dict(spectra=[survey + "/desi"], images=[survey + "/legacy/coadd"], catalogues=[survey + "/legacy/tractor"])
        ingest("tile-refused-" + name, 3, 3, "-image-r.fits.fz", **keys)
        out, _ = ingest("tile-skipped-" + name, 3, data__bad_objects="skip", **keys)
        d = load(out)
        check(len(d["object_id"]) >= 40 and d["has_spectrum"].sum() == 40 and not d["has_image"].any(), f"spectra kept without images: {d['has_image'].sum()}")
        check(any("-image-r" in r[0] and ("DATASUM" in r[3] or "CHECKSUM" in r[3] if name == "sum" else "tiles" in r[3]) for r in rejected(out)), str(rejected(out)))


if len(sys.argv) > 1 and sys.argv[1] == "made":
    made()
    far_tile()
    if "ON" in sys.argv:
        faults()
    simulated()
else:
    need_data()
    real()
finish()
