# SPDX-License-Identifier: BSD-3-Clause
"""
What ingest makes of several copies of a source, of several rows of a redshift catalogue, and of sources without identifiers, and whether spectra find
their images whichever ranks hold them: each on 1, 2 and 3 ranks with the same bytes of shards.
"""
import json
import os
import shutil
import sys

import numpy as np
from astropy.io import fits

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import BINARY, DATA, check_quietly as check, finish, launch
from ingest_common import folder, ingest, load
from ingest_made import desi, image, on_ranks, table

ARCSEC = 1 / 3600


def packed(release, brick, objid):
    return objid + (brick << 22) + (release << 42)


def counts(text):
    return {line.strip().rsplit(None, 1)[0]: line.split()[-1] for line in text.splitlines() if line.startswith("  ")}


def pictures(where, places):
    """Images of 300 x 300 pixels in g, r, z around each place; their folder."""
    for number, (ra, dec) in enumerate(places):
        for band in "grz":
            image(f"{where}/place-{number}-image-{band}.fits", 10 * (number + 1), size=300, FILTER=band, CRVAL1=ra, CRVAL2=dec)
    return where


def tractor_rows(path, rows):
    """rows: (release, brick, objid, primary, ra, dec)"""
    release, brick, objid, primary, ra, dec = zip(*rows)
    return table(path, release=("I", release), brickid=("J", brick), objid=("J", objid), brick_primary=("L", primary), ra=("D", ra), dec=("D", dec))


def copies():
    """Northern and southern bricks, neighbouring bricks, catalogues of one place: one object a source, or all when asked for."""
    # Both imagings at Dec 32.5 in the north cap, in the south cap, and at Dec 31; the north alone at Dec 31; catalogues without identifiers.
    places = [(150.1, 32.5), (10.0, 33.0), (160.0, 31.0), (170.0, 31.0), (180.0, 0.0)]
    images = pictures(folder + "/overlap/images", places)
    north, south = [], []
    for number, (ra, dec) in enumerate(places[:4]):
        north += [(9011, 1000 + number, 7, True, ra, dec), (9011, 1000 + number, 8, False, ra + 4 * ARCSEC, dec)]
        # Its centre of the source lies elsewhere, and it has another that the north has not: the side decides for all of a brick.
        south += [(9010, 1000 + number, 7, True, ra, dec + 3 * ARCSEC), (9010, 1000 + number, 9, True, ra, dec - 6 * ARCSEC)]
    tractor_rows(folder + "/overlap/north/tractor-1.fits", north)
    tractor_rows(folder + "/overlap/south/tractor-1.fits", south[:6])
    ra, dec = places[4]
    # Two neighbours of one file stay; of the second file one row is the first's copy and one, 1.4 arcsec off, is not; the third file's lies at the second's
    # copy, beyond the radius of the one that stays.
    one = table(folder + "/overlap/place/a.fits", ra=("D", [ra, ra]), dec=("D", [dec, dec + 0.6 * ARCSEC]))
    two = table(folder + "/overlap/place/b.fits", ra=("D", [ra, ra]), dec=("D", [dec - 0.9 * ARCSEC, dec + 2 * ARCSEC]))
    three = table(folder + "/overlap/place/c.fits", ra=("D", [ra]), dec=("D", [dec - 1.7 * ARCSEC]))
    keys = dict(images=[images], catalogues=[folder + "/overlap/north", folder + "/overlap/south", one, two, three])
    out, text = on_ranks("overlap", **keys)
    d = load(out)
    want = [packed(9011, 1000, 7), packed(9011, 1003, 7), packed(9010, 1001, 7), packed(9010, 1001, 9), packed(9010, 1002, 7), packed(9010, 1002, 9)]
    check(sorted(d["object_id"][d["dec"] > 20]) == sorted(want), f"{d['object_id']}")
    offset = sorted(np.round((d["dec"][d["dec"] < 20] - dec) / ARCSEC, 3))
    check(offset == [0, 0.6, 2], f"one place in three catalogues: {offset}")
    # Left out: rows 8 of four northern bricks; S, S of the first, N of the second and third brick, the copy in b and that in c.
    check(counts(text).get("catalogue rows that are not primary in their brick") == "4", text)
    check(counts(text).get("image positions of a source seen before, left out") == "6", text)
    out, _ = ingest("overlap-keep", 2, duplicates="keep", **keys)
    check(len(load(out)["object_id"]) == 8 + 6 + 5, f"all copies: {len(load(out)['object_id'])}")
    out, _ = ingest("overlap-radius", 2, duplicate_radius_arcsec=0, **keys)
    check(len(load(out)["object_id"]) == len(want) + 5, "positions are not compared")
    # A southern source 0.2 arcsec from a spectrum, the northern one 2.8: the spectrum gets no image of the side that the surveys leave out.
    spectrum = desi(folder + "/overlap/spectra/coadd-main-dark-1.fits", [39633300968442591], [1], ra=[150.1], dec=[32.5 + 2.8 * ARCSEC])
    out, _ = on_ranks("overlap-spectrum", spectra=[spectrum], images=[images], catalogues=[folder + "/overlap/north", folder + "/overlap/south"], keep="spectra")
    check(list(load(out)["has_image"]) == [0], "matched to a copy that is left out")


def redshift_rows(path, rows):
    """rows: (TARGETID, Z, ZWARN, ZCAT_PRIMARY, DELTACHI2)"""
    ids, z, zwarn, primary, chi2 = zip(*rows)
    return table(path, TARGETID=("K", ids), Z=("D", z), ZWARN=("K", zwarn), SPECTYPE=("6A", ["GALAXY"] * len(z)), ZCAT_PRIMARY=("L", primary), DELTACHI2=("D", chi2))


def redshift_catalogues():
    """Of several rows the primary one counts, then ZWARN 0, then the larger DELTACHI2; flag, labels and cuts are the catalogue's."""
    ids = [39633300968442591 + k for k in range(4)]
    spectra = desi(folder + "/zcat/coadd-main-dark-1.fits", ids, [1, 2, 3, 4])
    first = redshift_rows(folder + "/zcat/zall-pix-a.fits", [(ids[0], 0.1, 0, False, 100), (ids[1], 0.2, 4, False, 100), (ids[0], 0.9, 4, True, 5), (ids[2], 0.3, 0, False, 10),
                                                             (5, 7, 0, True, 9)])
    second = redshift_rows(folder + "/zcat/zall-pix-b.fits", [(ids[2], 0.35, 0, False, 20), (ids[1], 0.25, 0, False, 10), (ids[0], 0.8, 4, False, 50)])
    keys = dict(spectra=[spectra], redshifts=[first, second], labels=["DELTACHI2", "TARGET_DEC"])
    out, _ = on_ranks("zcat", **keys)
    d = load(out)
    check(list(d["object_id"]) == ids and np.array_equal(d["label/redshift"], np.array([0.9, 0.25, 0.35, np.nan], "f4"), equal_nan=True), f"{d['label/redshift']}")
    check(np.array_equal(d["label/DELTACHI2"], np.array([5, 10, 20, np.nan], "f4"), equal_nan=True), f"{d['label/DELTACHI2']}")
    check(list(d["label/TARGET_DEC"]) == [5] * 4, "a label of the spectra's own file")
    out, text = on_ranks("zcat-primary", primary="ZCAT_PRIMARY", **keys)
    check(list(load(out)["object_id"]) == ids[:1] and counts(text).get("spectra cut: primary flag") == "3", f"{load(out)['object_id']} {text}")
    out, _ = ingest("zcat-zwarn", 2, zwarn_bits=4, **keys)
    check(list(load(out)["object_id"]) == ids[1:], "ZWARN of the row that counts")
    ingest("zcat-misspelt", 2, 3, "ingest.primary: no file has a numeric column 'ZCAT_PRIMRY'; the nearest is 'ZCAT_PRIMARY' in " + first, primary="ZCAT_PRIMRY", **keys)
    ingest("zcat-label", 2, 3, "ingest.labels: no file has a numeric column 'DELTACHI'; the nearest is 'DELTACHI2' in " + first, **{**keys, "labels": ["DELTACHI"]})
    ingest("zcat-other", 2, 3, "no table with the columns TARGETID and Z", **{**keys, "redshifts": [first, spectra]})


def base_names():
    """Files of one name in several folders: other identifiers for other sources, wherever the folders lie; what cannot be told apart is refused."""
    def cube(path, ra, dec):
        image(path, 10, FILTER="r", CRVAL1=ra, CRVAL2=dec)

    root = folder + "/names"
    cube(root + "/one/cutout.fits", 20, 5)
    cube(root + "/two/cutout.fits", 30, 5)
    cube(root + "/three/other.fits", 40, 5)
    keys = dict(centres="true", missing_band="zero")
    out, _ = on_ranks("names", images=[root], **keys)
    ids = dict(zip(load(out)["ra"].round(3), load(out)["object_id"]))
    check(sorted(ids) == [20, 30, 40] and len(set(ids.values())) == 3, str(ids))
    alone = {place: int(load(ingest("names-" + name, 1, images=[f"{root}/{name}"], **keys)[0])["object_id"][0]) for place, name in ((20, "one"), (30, "two"), (40, "three"))}
    check(alone[20] == alone[30] and alone[40] == ids[40] and ids[20] != alone[20] != ids[30], f"alone {alone}, together {ids}")
    shutil.move(root, folder + "/moved")
    out, _ = ingest("names-moved", 2, images=[folder + "/moved"], **keys)
    check(dict(zip(load(out)["ra"].round(3), load(out)["object_id"])) == ids, "the same where the folder lies elsewhere")
    # Catalogues: the same row at the same place in two files of one name cannot be told apart; identifiers that files give twice for two places.
    images = pictures(folder + "/pair", [(50, 5)])
    for sub, offset in (("one", 0), ("two", 0), ("three", 5 * ARCSEC)):
        table(f"{folder}/pair-{sub}/plain.fits", ra=("D", [50]), dec=("D", [5 + offset]))
        table(f"{folder}/pair-{sub}/given.fits", objid=("K", [2**40 + 1]), ra=("D", [50]), dec=("D", [5 + offset]))
    both = dict(images=[images], catalogues=[folder + "/pair-one/plain.fits", folder + "/pair-two/plain.fits"])
    check(len(load(ingest("pair", 2, **both)[0])["object_id"]) == 1, "copies are dropped")
    for n in (1, 2, 3):
        ingest(f"pair-keep-{n}", n, 3, f"belongs to two sources: {folder}/pair-one/plain.fits row 0 and {folder}/pair-two/plain.fits row 0", duplicates="keep", **both)
        ingest(f"given-{n}", n, 3, f"object_id {2**40 + 1} belongs to two sources", images=[images], catalogues=[folder + "/pair-one/given.fits", folder + "/pair-three/given.fits"])
    out, _ = ingest("given-keep", 2, images=[images], catalogues=[folder + "/pair-one/given.fits", folder + "/pair-three/given.fits"], duplicates="keep")
    check(list(load(out)["object_id"]) == [2**40 + 1] * 2, "kept when asked for")
    out, _ = ingest("given-none", 2, images=[images], catalogues=[folder + "/pair-one/given.fits", folder + "/pair-three/given.fits"], id="none")
    check(len(set(load(out)["object_id"])) == 2, "identifiers of their own")


def vectors(ra, dec):
    a, d = np.radians(ra), np.radians(dec)
    return np.stack([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)], -1)


def separations(ra, dec, other_ra, other_dec):
    """Between all pairs, in arcsec."""
    chord = np.linalg.norm(vectors(ra, dec)[:, None] - vectors(other_ra, other_dec)[None], axis=-1)
    return 2 * np.degrees(np.arcsin(chord / 2)) * 3600


def crowds():
    """Spectra and three catalogues in crowds at a pole, across RA = 0, on borders of cells and far apart, against all pairs in numpy."""
    rng = np.random.default_rng(3)
    n = 48
    centre = [(0, 90), (0.00001, 10.25), (359.99999, -30), (123.4, -89.9999), (200, 45.5), (77.25, 0)]
    ra = np.array([centre[k % 6][0] for k in range(n)], float)
    dec = np.array([centre[k % 6][1] for k in range(n)], float)

    def scattered(arcsec):
        """Near the spectra, at up to some arcsec to each side."""
        d = np.clip(dec + rng.uniform(-arcsec, arcsec, n) * ARCSEC, -90, 90)
        return (ra + rng.uniform(-arcsec, arcsec, n) * ARCSEC / np.maximum(np.cos(np.radians(d)), 1e-6)) % 360, d

    ra, dec = scattered(20)
    ids = [39633300968442591 + k for k in range(n)]
    spectra = desi(folder + "/crowd/coadd-main-dark-1.fits", ids, np.arange(1, n + 1), ra=ra, dec=dec)
    files, where, number = [], [], 0
    for k, reach in enumerate((2.5, 1.5, 3)):
        r, d = scattered(reach)
        files.append(table(f"{folder}/crowd/c{k}.fits", ra=("D", r), dec=("D", d), number=("D", np.arange(n) + number), targetid=("K", rng.permutation(ids))))
        where += [(a, b, k) for a, b in zip(r, d)]
        number += n
    c_ra, c_dec, c_file = (np.array(x) for x in zip(*where))
    gives_way = (separations(c_ra, c_dec, c_ra, c_dec) <= 1) & (c_file[None, :] < c_file[:, None])
    is_copy = gives_way.any(axis=1)
    to_spectra = separations(ra, dec, c_ra, c_dec)
    is_looked_at = to_spectra.min(axis=0) <= 0.9 + 1  # the radii of matches and copies: what is farther from every spectrum is forgotten at once
    told = (gives_way & is_looked_at[None, :]).any(axis=1) & is_looked_at
    to_spectra[:, is_copy] = 1e9
    nearest = to_spectra.argmin(axis=1)
    want = np.where(to_spectra[np.arange(n), nearest] <= 0.9, nearest, np.nan)
    check(is_copy.sum() > 5 and np.isnan(want).sum() > 2 and np.isfinite(want).sum() > 20, f"{is_copy.sum()} copies, {np.isfinite(want).sum()} matches")
    keys = dict(spectra=[spectra], catalogues=files, labels=["number"], keep="spectra", match_radius_arcsec=0.9)
    out, text = on_ranks("crowd", **keys)
    check(np.array_equal(load(out)["label/number"], want.astype("f4"), equal_nan=True), f"{load(out)['label/number']} is not {want}")
    check(counts(text).get("image positions of a source seen before, left out") == str(told.sum()), text)
    # By identifier: the first by file and row, copies left out here too (their identifiers are others').
    given = [dict(zip(fits.getdata(path)["targetid"], range(k * n, (k + 1) * n))) for k, path in enumerate(files)]
    first = [next((g[i] for g in given if not is_copy[g[i]]), np.nan) for i in ids]
    out, _ = on_ranks("crowd-id", match="id", **keys)
    check(np.array_equal(load(out)["label/number"], np.array(first, "f4"), equal_nan=True), f"{load(out)['label/number']} is not {first}")


def made_survey():
    """The part of bench that matches made catalogues: every spectrum gets its row, on any number of ranks, and nothing is left behind."""
    for n in (1, 3):
        out = f"{folder}/bench-{n}"
        p = launch(n, BINARY, "bench", "--set", "bench.parts=match", "--set", "bench.limit_s=0.1", "--set", "bench.catalogue_rows=150000", "--set",
                   "bench.spectra=3000", "--set", "output.dir=" + out, timeout=150)
        if check(p.returncode == 0 and "of 3000 spectra with their own row" in p.stdout, p.stdout + p.stderr):
            with open(out + "/bench.json") as f:
                rows = [r for r in json.load(f)["rows"] if r["part"] == "match"]
            check(rows[0]["rows"] == 150000 and rows[0]["resident_bytes_per_rank"] > 0, str(rows))
        check(not [x for x in os.listdir(out) if x.endswith(".fits")], "the made catalogues are removed")


def cases():
    """The small inputs that once failed, where they are."""
    where = DATA + "/cases"
    if not os.path.isdir(where):
        print(f"not compared: no {where}")
        return
    overlap = where + "/05-overlap-duplicates"
    out, _ = on_ranks("case-05", images=[overlap], catalogues=[overlap])
    check(list(load(out)["object_id"]) == [packed(9011, 1000, 7)], str(load(out)["object_id"]))
    keys = dict(spectra=[where + "/06-zcatalog-primary/coadd-main-bright-1.fits.gz"], redshifts=[where + "/06-zcatalog-primary/zall-pix-iron.fits"])
    out, _ = on_ranks("case-06", labels=["DELTACHI2"], primary="ZCAT_PRIMARY", **keys)
    d = load(out)
    check(list(d["object_id"]) == [39633300968442591, 39633300968442592] and list(d["label/redshift"]) == [np.float32(0.9), np.float32(0.2)] and
          list(d["label/DELTACHI2"]) == [44, 22], str(d))


copies()
redshift_catalogues()
base_names()
crowds()
made_survey()
cases()
finish()
