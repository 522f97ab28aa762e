# SPDX-License-Identifier: BSD-3-Clause
"""
The ingest command on what folders and files of real surveys hold besides what is asked for: small inputs made here in the releases' own forms,
each on 1, 2 and 3 ranks with the same bytes of shards.
"""
import os
import sys

import h5py
import numpy as np
from astropy.io import fits

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import BINARY, check_quietly as check, finish, launch
from ingest_common import folder, ingest, load, rejected, same, shards
from ingest_made import DEC, RA, TRACTOR_ID, desi, fluxes, image, on_ranks, picture, table, tractor, wcs_cards


def other_kinds_and_bands():
    """A coadd folder as released: other bands, WISE, weights, masks, lists of CCDs are passed over; named outright they are errors."""
    brick = folder + "/released/150/1501p022"
    for band, flux in (("g", 10), ("r", 20), ("z", 30), ("i", 25)):
        image(f"{brick}/legacysurvey-1501p022-image-{band}.fits", flux, FILTER=band + " DECam SDSS c0001 4720.0 1520.0", EXTNAME="IMAGE_" + band)
        image(f"{brick}/legacysurvey-1501p022-invvar-{band}.fits", 1, FILTER=band, IMTYPE="invvar")
    wise = image(f"{brick}/legacysurvey-1501p022-image-W1.fits", 40, FILTER="W1", EXTNAME="IMAGE_W1", BUNIT="vega nanomaggy", CTYPE1=None)
    image(f"{brick}/blobs-1501p022.fits", 1, BUNIT=None, FILTER=None)
    table(f"{brick}/legacysurvey-1501p022-ccds.fits", ra=("D", [RA, RA]), dec=("D", [DEC, DEC]), ccdname=("3A", ["S1", "S2"]))
    table(f"{brick}/depth-summary.fits", depthlo=("E", [1.0]))
    tractor(f"{brick}/tractor-1501p022.fits")
    out, text = on_ranks("released", 0, "files of other kinds or bands in folders, passed over", images=[folder + "/released"], catalogues=[folder + "/released"])
    d = load(out)
    check(list(d["object_id"]) == [TRACTOR_ID] and d["has_image"].all() and np.allclose(fluxes(out), [10, 20, 30], rtol=1e-3), f"{d['object_id']} {fluxes(out)}")
    check(rejected(out) == [], str(rejected(out)))
    # By name, for images: 4 invvar, blobs, ccds, tractor; for catalogues: blobs, ccds. Opened, for images: i, W1 and the table; for catalogues: 5 images,
    # 4 invvar and the table without positions.
    line = [t for t in text.splitlines() if "passed over" in t][0]
    check(line.split()[-1] == str(7 + 2 + 3 + 10), line)
    ingest("named", 2, 3, "no image in g, r or z", images=[wise], catalogues=[brick + "/tractor-1501p022.fits"])
    ingest("named-table", 2, 3, "no table with numeric columns", images=[folder + "/released"], catalogues=[brick + "/depth-summary.fits"])
    os.makedirs(folder + "/only-i")
    os.rename(f"{brick}/legacysurvey-1501p022-image-i.fits", folder + "/only-i/image-i.fits")
    ingest("only-i", 2, 3, "ingest.images: none of its 1 files holds an image in g, r or z", images=[folder + "/only-i"], catalogues=[brick])


def bands():
    """The band by FILTERX, BAND, FILTER, EXTNAME and file name, in this order; contradictions are named."""
    north = folder + "/north/legacysurvey-1501p022-image-"
    image(north + "g.fits", 11, FILTER="g", FILTERX="g", EXTNAME="IMAGE_g")
    image(north + "r.fits", 22, FILTER="bokr", FILTERX="r", EXTNAME="IMAGE_r")
    image(north + "z.fits", 33, FILTER="zd DECam k1038", FILTERX="z", EXTNAME="IMAGE_z")
    tractor(folder + "/positions/tractor-1501p022.fits")
    keys = dict(catalogues=[folder + "/positions"])
    out, _ = on_ranks("north", images=[folder + "/north"], **keys)
    check(list(load(out)["object_id"]) == [TRACTOR_ID] and np.allclose(fluxes(out), [11, 22, 33], rtol=1e-3), str(fluxes(out)))
    # Each source alone, in files whose names say nothing; the primary header serves an HDU that is silent.
    alone = [("bok", dict(FILTER="bokg"), {}), ("mosaic", {}, dict(FILTER="rd DECam k1038")), ("extname", dict(EXTNAME="IMAGE_z"), {})]
    for name, cards, primary in alone:
        image(f"{folder}/alone/{name}.fits", 5, primary=primary, **cards)
    out, _ = ingest("alone", 2, images=[folder + "/alone"], **keys)
    check(np.allclose(fluxes(out), 5, rtol=1e-3), str(fluxes(out)))
    # A filter that nobody knows leaves the word to the file name.
    for b in "grz":
        image(f"{folder}/letter/pointing_{b}_7.fits", 5, FILTER="clear")
    out, _ = ingest("letter", 2, images=[folder + "/letter"], **keys)
    check(np.allclose(fluxes(out), 5, rtol=1e-3), str(fluxes(out)))
    for name, text, cards in (("FILTERX 'r' and EXTNAME 'IMAGE_g'", "a.fits", dict(FILTERX="r", EXTNAME="IMAGE_g")), ("BAND 'g' and FILTER 'bokr'", "b.fits", dict(BAND="g", FILTER="bokr")),
                              ("FILTER 'z' and file name 'x-image-g.fits'", "x-image-g.fits", dict(FILTER="z")), ("not understood: FILTER clear", "c.fits", dict(FILTER="clear"))):
        ingest("band-" + text, 2, 3, name, images=[image(f"{folder}/contradiction/{text}", 5, **cards)], **keys)


def zbest(path, ids, z):
    hdu = fits.BinTableHDU.from_columns([fits.Column("TARGETID", "K", array=ids), fits.Column("Z", "D", array=z), fits.Column("ZWARN", "K", array=np.zeros(len(z))),
                                         fits.Column("SPECTYPE", "6A", array=["GALAXY"] * len(z))], name="ZBEST")
    fibermap = fits.BinTableHDU.from_columns([fits.Column("TARGETID", "K", array=ids)], name="FIBERMAP")
    fits.HDUList([fits.PrimaryHDU(), hdu, fibermap]).writeto(path, overwrite=True)


def desi_siblings():
    """A healpix folder with coadd-, spectra-, zbest- and files that are no spectra: each target once, from the coadd, with its redshift."""
    ids = 39633300968442591 + np.arange(3)
    group, other = folder + "/healpix/98/9877", folder + "/healpix/98/9878"
    desi(group + "/coadd-main-bright-9877.fits", ids[:2], [5, 6])
    spectra = desi(group + "/spectra-main-bright-9877.fits.gz", ids[[0, 1, 0]], [1, 6, 3], exposures=True)
    zbest(group + "/zbest-main-bright-9877.fits", ids[:2], [0.25, 0.5])
    siblings = ("cframe-b0-00012345.fits", "fiberassign-001000.fits.gz", "emline-main-bright-9877.fits", "unheard-of.fits")
    for name in siblings:
        fibermap = fits.BinTableHDU.from_columns([fits.Column("TARGETID", "K", array=ids)], name="FIBERMAP")
        fits.HDUList([fits.PrimaryHDU(), fibermap, fits.ImageHDU(np.ones((3, 4), "f4"), name="FLUX")]).writeto(group + "/" + name)
    desi(other + "/spectra-main-bright-9878.fits", ids[[1, 2]], [7, 8], exposures=True)  # a group without a coadd, and a target of the first again
    out, text = on_ranks("siblings", spectra=[folder + "/healpix"])
    d = load(out)
    check(list(d["object_id"]) == list(ids) and np.allclose(d["spectrum"].mean(axis=1), [5, 6, 8]), f"{d['object_id']} {d['spectrum'].mean(axis=1)}")
    check(list(d["label/redshift"][:2]) == [0.25, 0.5] and np.isnan(d["label/redshift"][2]) and rejected(out) == [], str(d["label/redshift"]))
    counts = {line.strip().rsplit(None, 1)[0]: line.split()[-1] for line in text.splitlines() if line.startswith("  ")}
    check(counts.get("files of other kinds or bands in folders, passed over") == "5", text)  # three and zbest- by name, the unheard-of opened
    check(counts.get("spectra- or coadd- files, the group's other one taken") == "1" and counts.get("spectra of an identifier seen before, left out") == "1", text)
    # Exposures one by one come from spectra-, and those of a file are not repeats of each other.
    out, _ = on_ranks("exposures", spectra=[group], exposures="keep")
    check(list(load(out)["object_id"]) == list(ids[[0, 1, 0]]), "three exposures")
    # Everything, when asked for; and files named outright are taken.
    out, _ = ingest("repeats", 2, spectra=[group + "/coadd-main-bright-9877.fits", spectra], duplicates="keep")
    check(sorted(load(out)["object_id"]) == sorted(ids[[0, 1, 0, 1]]), "duplicates: keep")
    ingest("named-sibling", 2, 3, "no spectra in it", spectra=[group + "/coadd-main-bright-9877.fits", group + "/fiberassign-001000.fits.gz"])


def stale_sums():
    """A subset whose writer kept the sums of the whole: refused with the key that reads it."""
    path = desi(folder + "/whole/coadd-main-dark-1.fits", 39633300968442591 + np.arange(3), [1, 2, 3])
    with fits.open(path) as h:
        old = [(x.header["CHECKSUM"], x.header["DATASUM"]) for x in h]
        rows = [x if "WAVELENGTH" in x.name or x.data is None else type(x)(x.data[:1], x.header) for x in h]
        for x, (checksum, datasum) in zip(rows, old):
            x.header["CHECKSUM"], x.header["DATASUM"] = checksum, datasum
        os.makedirs(folder + "/subset")
        fits.HDUList(rows).writeto(folder + "/subset/coadd-main-dark-1.fits")
    ingest("stale", 2, 3, "ingest.verify_checksums: false", spectra=[folder + "/subset"])
    out, _ = on_ranks("stale-read", spectra=[folder + "/subset"], verify_checksums="false")
    check(list(load(out)["object_id"]) == [39633300968442591] and np.allclose(load(out)["spectrum"], 1), "the subset's spectrum")


def embed_without_shards():
    """Survey files given to embed, as files, packed, or as a folder: the message says what makes shards of them."""
    path = desi(folder + "/direct/coadd-main-dark-2.fits", [39633300968442591], [1])
    packed = desi(folder + "/direct/coadd-main-dark-2.fits.gz", [39633300968442591], [1])
    for given in (path, packed, folder + "/direct"):
        p = launch(2, BINARY, "embed", "--set", "data.path=" + given, "--set", "model.file=none.h5", "--set", "output.dir=" + folder + "/embed")
        check(p.returncode == 3 and "`syzygy ingest` makes shards" in p.stderr + p.stdout, f"{given}: {p.returncode} {p.stdout + p.stderr}")


def misspelt():
    """A column that no file has is an error with the nearest one and its file; one that some lack is counted."""
    ids = 39633300968442591 + np.arange(2)
    spectra = desi(folder + "/columns/coadd-main-dark-3.fits", ids, [1, 2])
    position = (("D", [RA]), ("D", [DEC]))
    first = table(folder + "/columns/cat-1.fits", ra=position[0], dec=position[1], z_spec=("E", [0.5]), flux_r=("E", [3]), note=("4A", ["text"]))
    second = table(folder + "/columns/cat-2.fits", ra=("D", [RA + 1]), dec=position[1])
    keys = dict(spectra=[spectra], catalogues=[second, first], keep="spectra")
    for name, nearest, given in (("zspec", "'z_spec' in " + first, dict(redshift_column="zspec")), ("fluxr", "'flux_r' in " + first, dict(labels=["flux_r", "fluxr"])),
                                 ("TARGETDEC", "'TARGET_DEC' in " + spectra, dict(primary="TARGETDEC")), ("note", "'z_spec'", dict(labels=["note"]))):
        key = "ingest." + list(given)[0]
        text = f"{key}: no file has a numeric column '{name}'" + ("; the nearest is " + nearest if name != "note" else "")
        ingest("misspelt-" + name, 3, 3, text, **keys, **given)
    ingest("type", 2, 3, "no file states the type of its spectra", spectype=["GALAXY"], **keys)
    zbest(folder + "/columns/zbest-main-dark-3.fits", ids, [0.25, 0.5])
    ingest("types", 2, 3, "ingest.spectype: no spectrum has the type 'GALAXI'; the nearest is 'GALAXY'", spectype=["QSO", "GALAXI"], **keys)
    ingest("objects", 2, 3, "ingest.objtype: no spectrum has the type 'TARGET'", objtype=["TARGET"], **keys)
    out, text = on_ranks("columns", labels=["flux_r", "TARGET_DEC"], redshift_column="z_spec", spectype=["GALAXY"], primary="TARGET_DEC", **keys)
    counts = {line.strip().rsplit(None, 1)[0]: line.split()[-1] for line in text.splitlines() if line.startswith("  ")}
    check(counts.get("catalogues without the column flux_r") == "1" and counts.get("catalogues without the column z_spec") == "1", text)
    check(list(load(out)["label/TARGET_DEC"]) == [5, 5] and list(load(out)["label/redshift"]) == [0.25, 0.5], "labels of spectra")


def viewer():
    """The viewer's cutouts, which have no BUNIT: one file a band by BANDS or BAND0, cubes by BANDS or BAND0, BAND1, BAND2."""
    def cutout(path, planes, **cards):
        hdu = fits.PrimaryHDU(np.squeeze(np.stack([picture(p) for p in planes])))
        hdu.header.update({**wcs_cards(160), "SURVEY": "LegacySurvey", "IMAGEW": 160.0, "IMAGETYP": "IMAGE", **cards})
        os.makedirs(os.path.dirname(path), exist_ok=True)
        hdu.writeto(path)

    for band, flux, cards in (("g", 10, dict(BANDS="g", BAND0="g")), ("r", 20, dict(BAND0="r")), ("z", 30, dict(BANDS="z")), ("i", 40, dict(BANDS="i", BAND0="i"))):
        cutout(f"{folder}/viewer/{band}/cutout_150.1000_2.2000.fits", [flux], **cards)
    out, text = on_ranks("viewer", images=[folder + "/viewer"], centres="true")
    check(len(load(out)["object_id"]) == 1 and np.allclose(fluxes(out), [10, 20, 30], rtol=1e-3), str(fluxes(out)))
    cutout(folder + "/cube-bands.fits", [10, 20, 25, 30], BANDS="griz", BAND0="g", BAND1="r", BAND2="i", BAND3="z")
    cutout(folder + "/cube-band0.fits", [30, 20, 10, 5], BAND0="z", BAND1="r", BAND2="g", BAND3="W1")
    for name in ("cube-bands", "cube-band0"):
        out, _ = ingest(name, 2, images=[f"{folder}/{name}.fits"], centres="true")
        check(np.allclose(fluxes(out), [10, 20, 30], rtol=1e-3), f"{name}: {fluxes(out)}")


def identifiers():
    """Identifiers of other catalogues are kept to the last bit; what cannot hold them is refused with the column's name."""
    for band, flux in (("g", 10), ("r", 20), ("z", 30)):
        image(f"{folder}/ids/image-{band}.fits", flux, FILTER=band)
    big, position = 1237651752927494314, dict(ra=("D", [RA]), dec=("D", [DEC]))

    def run(name, code=0, text="", ranks=2, columns=None, **keys):
        path = table(f"{folder}/ids-{name}/c.fits", **columns, **position)
        return ingest(f"ids-run-{name}-{ranks}", ranks, code, text, images=[folder + "/ids"], catalogues=[path], **keys)[0]

    unsigned = dict(bzero=2**63)
    for name, columns, keys, want in (("objid", dict(objID=("K", [big])), {}, big), ("lsid", dict(LS_ID=("K", [big])), {}, big), ("text", dict(objid=("20A", [str(big)])), {}, big),
                                      ("named", dict(targetid=("K", [5]), gaia=("K", [big])), dict(id="gaia"), big),
                                      ("unsigned", dict(specobjid=("K", np.array([2**63 - 1], "u8"), unsigned)), dict(id="specObjID"), 2**63 - 1)):
        out = run(name, columns=columns, **keys)
        check(list(load(out)["object_id"]) == [want], f"{name}: {load(out)['object_id']}")
    kept = [run("objid", ranks=n, columns=dict(objID=("K", [big]))) for n in (1, 2, 3)]
    same(kept[0], kept[1])
    same(kept[0], kept[2])
    made = [list(load(run(name, columns=columns, **keys))["object_id"]) for name, columns, keys in
            (("short", dict(objid=("J", [7])), {}), ("none", dict(TARGETID=("D", [3.9e16])), dict(id="none")))]
    check(made[0] == made[1] and made[0][0] not in (7, -1), f"made of name and row: {made}")
    for name, columns, keys, text in (("float", dict(TARGETID=("D", [3.9633301e16])), {}, "column TARGETID of type D cannot hold identifiers"),
                                      ("words", dict(objid=("4A", ["NGC1"])), {}, "'NGC1' is not a whole number"), ("absent", dict(objID=("K", [big])), dict(id="objd"), "the nearest is 'objID'"),
                                      ("wraps", dict(TARGETID=("K", np.array([2**63 + 5], "u8"), unsigned)), {}, f"column TARGETID, row 0: {2**63 + 5} is more than")):
        run(name, 3, text, columns=columns, **keys)


def units(out):
    """Of the labels in the shards, which all say the same."""
    of_shards = []
    for path in shards(out):
        with h5py.File(path) as f:
            of_shards.append({name: d.attrs["units"].decode() if isinstance(d.attrs["units"], bytes) else d.attrs["units"] for name, d in f["label"].items()})
    check(of_shards and all(u == of_shards[0] for u in of_shards), f"units of shards: {of_shards}")
    return of_shards[0]


def numbers_for_none():
    """TNULL and the numbers that surveys write for none become NaN in redshifts and labels, from catalogues and from DESI's own tables."""
    n, none = 6, -32768
    for band in "grz":
        image(f"{folder}/none/image-{band}.fits", 10, size=400, FILTER=band)
    cat = table(folder + "/none-cat/c.fits", objid=("K", np.arange(n) + 5), ra=("D", RA + np.arange(n) * 1e-3), dec=("D", np.full(n, DEC)), z_spec=("E", [-99, -1, 9999, 0.5, -9.999, 0]),
                mass=("E", [-99, -999, -9999, 9999, -1, 11], dict(unit="dex(solMass)")), count=("I", [none, 2, 3, 4, 5, 6], dict(null=none)))
    keys = dict(images=[folder + "/none"], catalogues=[cat], redshift_column="z_spec", labels=["mass", "count"])
    out, text = on_ranks("none", **keys)
    d = load(out)
    nan = np.nan
    for label, want in (("redshift", [nan, nan, nan, 0.5, nan, 0]), ("mass", [nan, nan, nan, 9999, -1, 11]), ("count", [nan, 2, 3, 4, 5, 6])):
        check(np.array_equal(d["label/" + label], np.array(want, "f4"), equal_nan=True), f"{label}: {d['label/' + label]}")
    check([t.split()[-1] for t in text.splitlines() if "stand for none" in t] == ["7"], text)
    check(units(out) == {"redshift": "", "mass": "dex(solMass)", "count": ""}, f"units: {units(out)}")
    other = table(folder + "/none-cat/other.fits", objid=("K", [1]), ra=("D", [10]), dec=("D", [10]), mass=("E", [1], dict(unit="solMass")), count=("I", [1], dict(unit="ct")))
    ingest("units-1", 2, **keys)  # shards of an earlier run, with the unit: they are made again
    for ranks in (1, 3):
        out, text = ingest(f"units-{ranks}", ranks, **{**keys, "catalogues": [cat, other]})
        check(units(out) == {"redshift": "", "mass": "", "count": "ct"} and f"label mass: {cat} says that its unit is 'dex(solMass)', {other} says 'solMass'" in text, text)
    out, _ = ingest("none-stated", 2, no_value=["11", "-1"], no_redshift=["0.5"], **keys)
    d = load(out)
    check(np.isnan(d["label/mass"]).sum() == 2 and np.isnan(d["label/redshift"]).sum() == 1 and d["label/redshift"][0] == -99, str(d["label/redshift"]))
    ids = 39633300968442591 + np.arange(2)
    desi(folder + "/none-desi/coadd-main-dark-4.fits", ids, [1, 2])
    zbest(folder + "/none-desi/zbest-main-dark-4.fits", ids, [-1, 0.5])
    out, _ = ingest("none-desi", 2, spectra=[folder + "/none-desi"], needs_redshift="true")
    check(list(load(out)["object_id"]) == [ids[1]], "a redshift of -1 is none")
    ingest("none-text", 2, 2, "ingest.no_value: 'nan?' is not a number", no_value=["nan?"], **keys)


other_kinds_and_bands()
bands()
desi_siblings()
stale_sums()
embed_without_shards()
misspelt()
viewer()
identifiers()
numbers_for_none()
finish()
