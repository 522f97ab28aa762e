#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""
Label tables, formulas, joins and splits against astropy and NumPy, on 1 and 2 ranks. The tables are written by astropy.table as FITS, CSV, ECSV and HDF5
(compound), and by h5py with a dataset for each column. All commands of a number of ranks run in one call of labels_driver.c.
"""
import ctypes
import ctypes.util
import gzip
import os
import shutil
import sys
import warnings

import astropy.units as u
import h5py
import numpy as np
from astropy.coordinates import SkyCoord, search_around_sky
from astropy.io import fits
from astropy.table import MaskedColumn, Table, join

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import DATA, check, check_quietly, driver, finish, launch, scratch

warnings.simplefilter("ignore")
np.seterr(all="ignore")
FAULTS = len(sys.argv) > 1 and sys.argv[1] == "ON"
here = scratch()
rng = np.random.default_rng(12)
asked, answers = [], {}


def place(name):
    return os.path.join(here, name)


def put(name, array):
    np.ascontiguousarray(array).tofile(place(name))
    return place(name)


def ask(*words):
    """A command for the driver; what it answers is `answers[number]`, on each number of ranks."""
    asked.append("\t".join(str(w) for w in words))
    return len(asked) - 1


def got(name, dtype=np.float64):
    return np.fromfile(place(name), dtype)


def same(a, b):
    return a.shape == b.shape and bool(np.all((a == b) | (np.isnan(a) & np.isnan(b))))


# ---------------------------------------------------------------- the tables

N = 17000  # more than a block of rows
ids = np.sort(rng.choice(1 << 40, N, replace=False)).astype(np.int64) + (1 << 55)
rng.shuffle(ids)
table = Table()
table["TARGETID"] = ids
table["ra"] = rng.uniform(0, 360, N)
table["dec"] = np.degrees(np.arcsin(rng.uniform(-1, 1, N)))
table["ra"].unit = "deg"
table["Z_HP"] = (rng.integers(1, 64, N) / 64).astype(np.float32)  # also as text without rounding
table["Z_HP"][::97] = np.nan
table["AVG_SFR"] = MaskedColumn(rng.normal(3, 2, N), mask=rng.random(N) < 0.1, unit="solMass / yr")
table["LOG_MSTAR"] = rng.normal(10, 1, N)
table["zwarn"] = MaskedColumn(rng.integers(0, 3, N).astype(np.int32), mask=rng.random(N) < 0.05)
table["flag"] = rng.random(N) < 0.5
table["iauname"] = [f"J{i:06d}+x y" for i in range(N)]
table["id_text"] = [str(i) for i in ids]
table["smooth-or-featured_total-votes"] = rng.integers(0, 60, N)
table["side"] = np.where(rng.random(N) < 0.3, "test", "train")
table["float_id"] = ids.astype(np.float64)
table["small_id"] = np.arange(N) * 1.0
table["constant"] = np.full(N, 3.0)
vectors = table.copy()
vectors["mcmc"] = rng.normal(size=(N, 4, 2))
vectors["u64"] = ids.astype(np.uint64)

vectors.write(place("t.fits"), overwrite=True)
table.write(place("t.csv"), overwrite=True)
with open(place("t.csv"), "rb") as a, gzip.open(place("t.csv.gz"), "wb") as b:
    shutil.copyfileobj(a, b)
table.write(place("t.ecsv"), overwrite=True)
table.write(place("comma.ecsv"), delimiter=",", overwrite=True)
vectors.write(place("t.h5"), path="catalogue", serialize_meta=True, compression=True, overwrite=True)
with h5py.File(place("columns.h5"), "w") as f:
    for name in vectors.colnames:
        column = vectors[name]
        if np.ma.isMaskedArray(column):
            f[name + ".mask"] = np.asarray(column.mask)
            column = column.filled(0)
        f[name] = np.asarray(column, dtype="S24") if column.dtype.kind == "U" else np.asarray(column)
    f["AVG_SFR"].attrs["units"] = "solMass / yr"
    f["other length"] = np.arange(7)
    f["group/deeper"] = np.arange(N) * 0.5
FORMATS = {"t.fits": "", "t.csv": "", "t.csv.gz": "", "t.ecsv": "", "comma.ecsv": "", "t.h5": "", "columns.h5": ""}


def values(name):
    """A column as float64, NaN where it is masked."""
    column = vectors[name]
    return np.ma.filled(np.ma.asarray(column, dtype=np.float64), np.nan) if np.ma.isMaskedArray(column) else np.asarray(column, dtype=np.float64)


# ----------------------------------------------------------------- formulas


def log(x):
    return np.where(x > 0, np.log(np.where(x > 0, x, 1)), np.nan)


def known(*columns):
    return ~np.any([np.isnan(c) for c in columns], axis=0)


z, sfr, mass, zwarn, votes = (values(n) for n in ("Z_HP", "AVG_SFR", "LOG_MSTAR", "zwarn", "smooth-or-featured_total-votes"))
FORMULAS = {
    "Z_HP": z,
    "z_hp": z,
    "log10(AVG_SFR) - LOG_MSTAR": log(sfr) / np.log(10) - mass,
    "ln(avg_sfr)": log(sfr),
    "asinh(LOG_MSTAR) * -Z_HP ** 2": np.arcsinh(mass) * -(z**2),
    "Z_HP < 0.5 && zwarn == 0": np.where((z >= 0.5) | (zwarn != 0) & known(zwarn), 0.0, np.where(known(z, zwarn), 1.0, np.nan)),
    "smooth-or-featured_total-votes >= 3 || !flag": ((votes >= 3) | ~np.asarray(table["flag"])).astype(float),
    "max(Z_HP, 0.5, LOG_MSTAR / 20)": np.where(known(z), np.fmax(np.fmax(z, 0.5), mass / 20), np.nan),
    "min(abs(AVG_SFR), pow(2, 1.5)) + sqrt(exp(Z_HP))": np.minimum(np.abs(sfr), 2**1.5) + np.sqrt(np.exp(z)),
    "1 / zwarn": 1 / zwarn,
    "constant": values("constant"),
}
for name, part in FORMATS.items():
    for k, (formula, want) in enumerate(FORMULAS.items()):
        out = f"{name}-{k}.f64"

        def judge(answer, ranks, name=name, formula=formula, want=want, out=out):
            found = got(out)
            good = found.shape == want.shape and np.array_equal(np.isnan(found), np.isnan(want))
            finite = np.isfinite(want)
            good = good and np.array_equal(found[~finite & ~np.isnan(want)], want[~finite & ~np.isnan(want)])
            # sums and powers of numbers near 10 that may cancel: a few units in the last place of 10
            worst = float(np.max(np.abs(found[finite] - want[finite]) / (1 + np.abs(want[finite])))) if good else np.inf
            check_quietly(worst < 1e-14, f"{name}, {ranks} ranks: {formula}: worst difference {worst:.3g}, at most 1e-14")
            counts = [int(n) for n in answer[1:]]
            wanted = [N, -1, -1, int(np.isinf(want).sum()), int(finite.sum()), int(np.ptp(want[finite]) == 0)]
            check_quietly(counts[0] == N and counts[1] + counts[2] == int(np.isnan(want).sum()) and counts[3:] == wanted[3:],
                          f"{name}, {ranks} ranks: {formula}: counts {counts}, expected {wanted}")
            if formula == "ln(avg_sfr)":
                check_quietly(counts[1] == int(np.isnan(sfr).sum()) and counts[2] == int((sfr <= 0).sum()),
                              f"{name}: {counts[1]} missing, {counts[2]} undefined; expected {np.isnan(sfr).sum()}, {(sfr <= 0).sum()}")

        if k < 3 or name in ("t.fits", "t.h5"):
            answers[ask("evaluate", place(name), part, formula, place(out))] = judge

# ------------------------------------------------------------------ columns

UNITS = {"t.fits": "solMass yr-1", "t.ecsv": "solMass / yr", "comma.ecsv": "solMass / yr", "columns.h5": "solMass / yr"}
listed = {}
for name, part in FORMATS.items():
    has_vectors = name in ("t.fits", "t.h5", "columns.h5")
    out = name.replace(".", "_")

    def judge_columns(answer, ranks, name=name, has_vectors=has_vectors):
        columns = {row[1]: row[2:] for row in listed[ranks, name]}
        want = set((vectors if has_vectors else table).colnames)
        check(answer[1] == str(N) and want <= set(columns), f"{name}, {ranks} ranks: {len(columns)} columns of {answer[1]} rows")
        if name in UNITS:
            check_quietly(columns["AVG_SFR"][0] == UNITS[name], f"{name}: unit {columns['AVG_SFR'][0]!r}, expected {UNITS[name]!r}")
        kinds = "".join(columns[c][1] for c in ("TARGETID", "Z_HP", "flag", "iauname", "zwarn"))
        check_quietly(kinds == "ifbsi", f"{name}: kinds {kinds}")
        if has_vectors:
            check_quietly(columns["mcmc"][1:] == ["f", "8"], f"{name}: mcmc {columns['mcmc']}")

    answers[ask("columns", place(name), part)] = judge_columns
    for column in ("TARGETID", "id_text") + (("u64",) if has_vectors else ()):
        def judge_ids(answer, ranks, name=name, column=column, out=out):
            check_quietly(np.array_equal(got(f"{out}-{column}.i64", np.int64), ids), f"{name}, {ranks} ranks: identifiers of {column} differ")

        answers[ask("ids", place(name), part, column, 0, place(f"{out}-{column}.i64"))] = judge_ids

    def judge_small(answer, ranks, name=name, out=out):
        check_quietly(np.array_equal(got(f"{out}-small.i64", np.int64), np.arange(N)), f"{name}: float identifiers below 2^53 differ")

    answers[ask("ids", place(name), part, "small_id", 0, place(f"{out}-small.i64"))] = judge_small
    answers[ask("ids", place(name), part, "float_id", 0, place("x"))] = (3, "holds identifiers as floats, which lose digits beyond 2^53: row 0")

    def judge_masked(answer, ranks, name=name, out=out):
        want = np.where(np.isnan(zwarn), -1, np.nan_to_num(zwarn)).astype(np.int64)
        check_quietly(np.array_equal(got(f"{out}-zwarn.i64", np.int64), want), f"{name}: masked identifiers are not -1")

    answers[ask("ids", place(name), part, "zwarn", 0, place(f"{out}-zwarn.i64"))] = judge_masked

    def judge_texts(answer, ranks, name=name, out=out):
        found = got(f"{out}.txt", np.uint8).reshape(N, 24).tobytes()
        texts = [found[24 * i:24 * i + 24].rstrip(b"\0").decode() for i in range(N)]
        check_quietly(texts == list(table["iauname"]), f"{name}, {ranks} ranks: texts differ, {texts[:2]}")

    answers[ask("texts", place(name), part, "IAUNAME", 0, place(f"{out}.txt"))] = judge_texts

    def judge_sides(answer, ranks, name=name, out=out):
        check_quietly(np.array_equal(got(f"{out}.u8", np.uint8), np.where(table["side"] == "test", 2, 1)), f"{name}: sides differ")

    answers[ask("sides", place(name), part, "side", 0, place(f"{out}.u8"))] = judge_sides
    if has_vectors:
        def judge_item(answer, ranks, name=name, out=out):
            check_quietly(same(got(f"{out}-item.f64"), vectors["mcmc"][:, 2, 1].data), f"{name}: item 5 of mcmc differs")

        answers[ask("numbers", place(name), part, "mcmc", 5, place(f"{out}-item.f64"))] = judge_item
        answers[ask("evaluate", place(name), part, "mcmc[5]", place(f"{out}-item.f64"))] = judge_item
        answers[ask("evaluate", place(name), part, "mcmc + 1", place("x"))] = (3, "column mcmc has 8 items in a row: say which, from mcmc[0] on")
        answers[ask("numbers", place(name), part, "mcmc", 8, place("x"))] = (3, "column mcmc has 8 items; number 8 is asked for")
answers[ask("numbers", place("columns.h5"), "", "group/deeper", 0, place("deeper.f64"))] = lambda a, r: check_quietly(
    same(got("deeper.f64"), np.arange(N) * 0.5), "a dataset in a group differs")
answers[ask("numbers", place("columns.h5"), "group", "deeper", 0, place("deeper.f64"))] = lambda a, r: check_quietly(
    same(got("deeper.f64"), np.arange(N) * 0.5), "a group of datasets differs")

# Records as other programs write them: texts of variable length, big-endian numbers, a blank and a solidus in a name, chunks.
odd = np.zeros(500, dtype=[("TARGETID", ">i8"), ("name", h5py.string_dtype()), ("a b/c", ">f8", (3,)), ("on", "?"), ("half", "f2")])
odd["TARGETID"], odd["name"], odd["a b/c"] = ids[:500], [f"é{i}" * (1 + i % 3) for i in range(500)], rng.normal(size=(500, 3))
odd["on"], odd["half"] = np.arange(500) % 3 == 0, np.arange(500) / 8
with h5py.File(place("odd.h5"), "w") as f:
    f.create_dataset("group/records", data=odd, chunks=(77,), compression="lzf")
    f["beside"] = np.arange(3)


def judge_odd(answer, ranks):
    want = odd["a b/c"][:, 2] + odd["on"] * odd["half"]
    check(same(got("odd.f64"), want) and np.array_equal(got("odd.i64", np.int64), ids[:500]), f"records of other programs on {ranks} ranks")
    texts = [t.rstrip(b"\0").decode() for t in got("odd.txt", "S24")]
    check_quietly(texts == [t.decode() if isinstance(t, bytes) else t for t in odd["name"]], f"texts of variable length: {texts[:3]}")


ask_odd = [ask("ids", place("odd.h5"), "", "", 0, place("odd.i64")), ask("texts", place("odd.h5"), "group/records", "name", 0, place("odd.txt"))]
answers.update((k, lambda a, r: None) for k in ask_odd)
answers[ask("evaluate", place("odd.h5"), "", "'a b/c'[2] + on * half", place("odd.f64"))] = judge_odd

# -------------------------------------------------------------------- joins

small = Table({"TARGETID": np.array([5, 7, 7, 9, 9, 11, 13, 13, -1], np.int64), "v": [1, 2, 2, 3, 4, 5, np.nan, np.nan, 6.0]})
small.write(place("small.fits"))
objects = Table({"TARGETID": np.array([7, 9, 13, 100, 5, 7, -1, 200, 11], np.int64), "at": np.arange(9)})
put("small.ids", objects["TARGETID"])


def judge_small_join(answer, ranks):
    rows = got("small.rows", np.int64)
    check(answer[1:5] == ["5", "1", "3", "2"], f"join by identifier on {ranks} ranks: {answer[5]}")
    check_quietly(list(rows) == [1, -1, 6, -1, 0, 1, -1, -1, 5], f"rows {rows}")
    check_quietly("unmatched (100, -1, 200)" in answer[5], answer[5])


answers[ask("join", place("small.fits"), "", "v", place("small.rows"), place("small.ids"))] = judge_small_join
many = Table({"TARGETID": np.concatenate([rng.choice(ids, 4000, replace=False), rng.integers(1, 1000, 1000)])})
many["at"] = np.arange(len(many))
put("many.ids", many["TARGETID"])
joined = join(many, table[["TARGETID", "Z_HP"]], keys="TARGETID")


def judge_many(answer, ranks, name):
    rows = got("many.rows", np.int64)
    check(int(answer[1]) == len(joined) and int(answer[3]) == len(many) - len(joined),
          f"{name}, {ranks} ranks: {answer[1]} matched, astropy's join has {len(joined)}")
    good = rows >= 0
    check_quietly(np.array_equal(ids[rows[good]], many["TARGETID"][good]) and np.array_equal(np.sort(joined["at"]), np.flatnonzero(good)),
                  f"{name}: other rows than astropy's")


for name in ("t.h5", "t.ecsv"):
    answers[ask("join", place(name), "", "Z_HP", place("many.rows"), place("many.ids"))] = lambda a, r, name=name: judge_many(a, r, name)

# Positions: a dense field, so that several rows lie within the radius.
M = 3000
field = Table({"RA": 10 + rng.uniform(0, 1.2, M), "DEC": 85 + rng.uniform(0, 0.05, M), "v": rng.normal(size=M)})
field["RA"][:30], field["DEC"][:30] = np.nan, np.nan
field[100] = field[99]  # one row twice
field.write(place("field.fits"))
at = rng.integers(0, M, 1500)
object_ra, object_dec = np.asarray(field["RA"])[at] + rng.normal(0, 2e-4, 1500), np.asarray(field["DEC"])[at] + rng.normal(0, 2e-5, 1500)
object_ra[:200] += 300
put("field.ids", np.arange(1500)), put("field.ra", object_ra), put("field.dec", object_dec)


def nearest(ra, dec, row_ra, row_dec, radius, value):
    """Matched row, -1 or -2 (ambiguous) by astropy."""
    good, row_good = np.isfinite(ra), np.isfinite(row_ra)
    o, t = SkyCoord(ra[good], dec[good], unit="deg"), SkyCoord(row_ra[row_good], row_dec[row_good], unit="deg")
    i, k, distance, _ = search_around_sky(o, t, radius * u.arcsec)
    i, k = np.flatnonzero(good)[i], np.flatnonzero(row_good)[k]
    rows = np.full(len(ra), -1)
    for obj in np.unique(i):
        near = k[i == obj]
        best = near[np.lexsort((near, distance[i == obj].deg))[0]]
        is_one = all(row_ra[m] == row_ra[best] and row_dec[m] == row_dec[best] and (value[m] == value[best]) for m in near)
        rows[obj] = min(near) if is_one and len(near) > 1 else best if is_one else -2
    return rows


def judge_places(answer, ranks, name, want, out):
    rows = got(out, np.int64)
    counts = [int((want >= 0).sum()), int((want == -2).sum()), int((want == -1).sum())]
    check([int(n) for n in answer[1:4]] == counts and np.array_equal(rows, np.maximum(want, -1)),
          f"{name}, {ranks} ranks: matched, ambiguous, unmatched {answer[1:4]}, astropy's {counts}")


want_field = nearest(object_ra, object_dec, np.asarray(field["RA"]), np.asarray(field["DEC"]), 1.0, np.asarray(field["v"]))
answers[ask("join", place("field.fits"), "", "v", place("field.rows"), place("field.ids"), place("field.ra"), place("field.dec"), 1.0)] = (
    lambda a, r: judge_places(a, r, "join by position", want_field, "field.rows"))

# ------------------------------------------------------------------- splits


def splitmix64(x):
    x = np.asarray(x, np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ x >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ x >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return x ^ x >> np.uint64(31)


def hashed(key, share, seed):
    if seed:
        key = key ^ splitmix64(seed)
    return (splitmix64(key) >> np.uint64(11)).astype(np.float64) / 2.0**53 < share


def numpy_sides(rule, share, seed, border, id_, ra, dec, given):
    has = (np.abs(ra) <= 360) & (np.abs(dec) <= 90) & ~((ra == 0) & (dec == 0))
    number = np.arange(len(ra))
    if rule == 0:
        ra10, dec10 = np.floor(10 * np.mod(np.where(has, ra, 0), 360)), np.floor(10 * (np.where(has, dec, 0) + 90))
        key = np.where(has, ra10.astype(np.uint64) << np.uint64(32) ^ dec10.astype(np.uint64), np.where(id_ > 0, id_, number).astype(np.uint64))
    else:
        key = number.astype(np.uint64)
    side = given.copy() if rule >= 2 else np.where(hashed(key, share, seed), 2, 1).astype(np.uint8)
    moved = shared = 0
    groups = {}
    for i in np.flatnonzero(id_ > 0):
        groups.setdefault(id_[i], []).append(i)
    groups = [np.array(g) for g in groups.values() if len(g) > 1]
    for g in groups:
        if rule < 2:
            moved += int((side[g] != side[g[0]]).sum())
            side[g] = side[g[0]]
        elif (side[g] == 1).any():
            shared += int((side[g] == 2).sum())
            side[g] = np.where(side[g] == 2, 3, side[g])
    dropped = 0
    if border:
        train, test = np.flatnonzero((side == 1) & has), np.flatnonzero((side == 2) & has)
        i, *_ = search_around_sky(SkyCoord(ra[test], dec[test], unit="deg"), SkyCoord(ra[train], dec[train], unit="deg"), border * u.arcsec)
        before = int((side == 3).sum())
        side[test[np.unique(i)]] = 3
        for g in groups:
            if (side[g] == 3).any():
                side[g] = np.where(side[g] == 2, 3, side[g])
        dropped = int((side == 3).sum()) - before
    return side, [int((side == 1).sum()), int((side == 2).sum()), int((side == 0).sum()), dropped, shared, moved, int((~has).sum())]


K = 6000
line = rng.random(K) < 0.5  # half of them within arcseconds of a border between cells
sky_ra = np.where(line, np.round(rng.uniform(-180, 180, K), 1) + rng.normal(0, 3e-4, K), rng.uniform(-180, 360, K))
sky_dec = np.where(line, 12 + rng.uniform(0, 0.05, K), np.degrees(np.arcsin(rng.uniform(-1, 1, K))))
sky_id = rng.integers(1, 8 * K, K)
sky_id[:200] = 0
sky_id[200:400] = -rng.integers(1, 9, 200)
sky_ra[500:520] = np.nan
sky_ra[520:540], sky_dec[520:540] = 0, 0
sky_ra[540:560] = 720.0
sky_dec[560] = 90.0
given = rng.integers(0, 3, K).astype(np.uint8)
put("sky.ids", sky_id), put("sky.ra", sky_ra), put("sky.dec", sky_dec), put("sky.given", given)  # for what is refused
digests = {}
xxh = ctypes.util.find_library("xxhash") or "libxxhash.so.0"
try:
    xxh3 = ctypes.CDLL(xxh).XXH3_64bits_withSeed
    xxh3.restype, xxh3.argtypes = ctypes.c_uint64, [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint64]
except (OSError, AttributeError):
    xxh3 = None


def judge_split(answer, ranks, want, out, what, sky_id):
    side, counts = want
    found = got(out, np.uint8)
    check([int(n) for n in answer[1:8]] == counts, f"split by {what} on {ranks} ranks: {answer[1:8]}, expected {counts}")
    check_quietly(np.array_equal(found, side), f"split by {what}: {int((found != side).sum())} sides differ")
    check_quietly(digests.setdefault(what, answer[8]) == answer[8], f"split by {what}: another digest on {ranks} ranks")
    if xxh3:
        pairs = np.column_stack([sky_id, found.astype(np.int64)]).astype(np.int64)
        sum_ = sum(xxh3(row.tobytes(), 16, 1) for row in pairs) % (1 << 64)
        check_quietly(int(answer[8]) == sum_, f"split by {what}: digest {answer[8]}, expected {sum_}")


def ask_split(rule, share, seed, border, id_, ra, dec, given_, where=""):
    want = numpy_sides(rule, share, seed, border, id_, ra, dec, given_)
    what = f"{('sky', 'rows', 'file', 'column')[rule]}, share {share}, seed {seed}, border {border}{where}"
    out = f"sides-{rule}-{seed}-{border}"
    files = [put(f"{out}{end}", array) for end, array in ((".ids", id_), (".ra", ra), (".dec", dec), (".given", given_))]
    answers[ask("split", rule, share, seed, border, *files, place(out))] = lambda a, r: judge_split(a, r, want, out, what, id_)


for rule, share, seed, border in ((0, 0.2, 0, 2.0), (0, 0.5, 77, 5.0), (0, 0.2, 0, 0.0), (1, 0.3, 0, 2.0), (1, 0.3, 5, 0.0), (2, 0.2, 0, 2.0), (3, 0.2, 0, 0.0)):
    ask_split(rule, share, seed, border, sky_id, sky_ra, sky_dec, given)
# So dense that a border of 1 % more would drop other objects.
ask_split(1, 0.3, 3, 0.5, np.arange(1, K + 1), 10 + rng.uniform(0, 85 / 3600, K), rng.uniform(0, 85 / 3600, K), given, ", a dense field")
both = hashed(np.arange(100, dtype=np.uint64), 0.5, 0) != hashed(np.arange(100, dtype=np.uint64), 0.5, 1)
check(0 < both.sum() < 100, "the reference's seed matters")

# ---------------------------------------------------------------- bad input


def refused(text, *words, code=3):
    answers[ask(*words)] = (code, text)


with open(place("bad.csv"), "w") as f:
    f.write("objid,id,z,side,z_text,half\n1,12345678901234567890123,0.1,test,0.1,1.5\n2,5,nan,neither,, 2.5\n3,x,0.3,train,abc,3.5\n")
Table({"TARGETID": np.array([1, 2]), "z": [1.0, 2.0]}).write(place("two.h5"), path="a")
Table({"TARGETID": np.array([1, 2]), "z": [1.0, 2.0]}).write(place("two.h5"), path="b", append=True)
Table({"id": np.array([1, 1 << 63], np.uint64)}).write(place("unsigned.h5"), path="a")
Table({"id": np.array([1, 1 << 63], np.uint64)}).write(place("unsigned.fits"))
fits.HDUList([fits.PrimaryHDU(np.zeros((3, 3)))]).writeto(place("image.fits"))
with open(place("t.fits"), "rb") as f:
    whole = f.read()
open(place("cut.fits"), "wb").write(whole[:len(whole) // 2])
with open(place("t.h5"), "rb") as f:
    whole = f.read()
open(place("cut.h5"), "wb").write(whole[:len(whole) // 2])
damaged = bytearray(whole)
for k in rng.integers(0, len(damaged), 3000):
    damaged[k] ^= 255
open(place("damaged.h5"), "wb").write(damaged)
os.mkfifo(place("fifo.csv"))
refused("no_such.csv", "columns", place("no_such.csv"), "")
refused("not a FITS file", "columns", place("sky.ids"), "")
refused("cut short", "columns", place("cut.fits"), "")
refused("cut.h5", "columns", place("cut.h5"), "")
refused("fifo.csv", "columns", place("fifo.csv"), "")
refused("no table in it", "columns", place("image.fits"), "")
refused("no HDU 'nothing'", "columns", place("t.fits"), "nothing")
refused("HDU '0' is no table", "columns", place("t.fits"), "0")
refused("2 tables, of which one must be named: a, b", "columns", place("two.h5"), "")
refused("no dataset or group 'c'", "columns", place("two.h5"), "c")
refused("no column 'Z_HPP'; the nearest is 'Z_HP'", "numbers", place("t.fits"), "", "Z_HPP", 0, place("x"))
refused("no column 'TARGETIDS'; the nearest is 'TARGETID'", "ids", place("t.h5"), "", "TARGETIDS", 0, place("x"))
refused("character 7: no column 'AVG_SRF'; the nearest is 'AVG_SFR'", "evaluate", place("t.h5"), "", "log10(AVG_SRF)", place("x"))
refused("character 9: an operator is wanted", "evaluate", place("t.h5"), "", "Z_HP > 1)", place("x"), code=2)
refused("column iauname, row 0: 'J000000+x y' is not a number", "evaluate", place("t.h5"), "", "iauname", place("x"))
refused("row 0: '12345678901234567890123' is not a whole number of 64 bits", "ids", place("bad.csv"), "", "id", 0, place("x"))
refused("row 0: 1.5 is not a whole number, so it is no identifier", "ids", place("bad.csv"), "", "half", 0, place("x"))
refused("column side, row 1: 'neither' is no side", "sides", place("bad.csv"), "", "side", 0, place("x"))
refused("column z_text, row 2: 'abc' is not a number", "numbers", place("bad.csv"), "", "z_text", 0, place("x"))
refused("column objid, row 1: '2' is no side", "sides", place("bad.csv"), "", "objid", 0, place("x"))
refused("column objid is not text", "texts", place("bad.csv"), "", "objid", 0, place("x"))
refused("unsigned.h5", "ids", place("unsigned.h5"), "", "id", 0, place("x"))
refused("more than 64 bits with a sign can hold", "ids", place("unsigned.fits"), "", "id", 0, place("x"))
put("none.ids", np.array([1001, 1002, 1003, 1004]))
refused("none of 4 objects is joined to the table's 9 rows by identifier, 0 for rows that contradict each other; objects have 1001, 1002, 1003, ...; "
        "the table has 5, 7, 7, ...", "join", place("small.fits"), "", "v", place("x"), place("none.ids"))
put("twice.ids", np.array([9]))
refused("none of 1 objects is joined to the table's 9 rows by identifier, 1 for rows", "join", place("small.fits"), "", "v", place("x"), place("twice.ids"))
put("far.ra", np.full(4, 200.0)), put("far.dec", np.full(4, 86.0))
refused("the nearest two are apart by", "join", place("field.fits"), "", "v", place("x"), place("none.ids"), place("far.ra"), place("far.dec"), 1)
refused("within 0 arcsec: more than 0", "join", place("field.fits"), "", "v", place("x"), place("none.ids"), place("far.ra"), place("far.dec"), 0, code=2)
everywhere = [place("sky.ids"), place("sky.ra"), place("sky.dec")]
refused("more than 0 and less than 1 is wanted", "split", 0, 1.0, 0, 2, *everywhere, place("sky.given"), place("x"), code=2)
refused("0 to 3600 is wanted", "split", 0, 0.2, 0, "nan", *everywhere, place("sky.given"), place("x"), code=2)
put("train.given", np.ones(K, np.uint8))
refused(f"the split of {K} objects has {K} to train and 0 to test", "split", 2, 0.2, 0, 2, *everywhere, place("train.given"), place("x"))
put("common.ids", np.array([1, 2, 1, 2])), put("common.ra", np.arange(4.0)), put("common.dec", np.ones(4))
put("common.given", np.array([1, 1, 2, 2], np.uint8))
refused("2 of test are dropped because training has the same objects", "split", 2, 0.2, 0, 2, place("common.ids"), place("common.ra"), place("common.dec"),
        place("common.given"), place("x"))
answers[ask("columns", place("damaged.h5"), "")] = None  # anything but an end without a word

# --------------------------------------------------------------- real tables

if os.path.isdir(DATA):
    spectra = []
    for folder in ("sdss/spec-lite", "sdss/spec-full", "sdss/quasars"):
        for name in sorted(os.listdir(os.path.join(DATA, folder))):
            try:
                header = fits.getheader(os.path.join(DATA, folder, name), 0)
                spectra.append((header["PLUG_RA"], header["PLUG_DEC"], header["PLATEID"] * 1000000000 + header["MJD"] * 10000 + header["FIBERID"]))
            except (OSError, KeyError, TypeError):
                pass
    spectra.append((135.2130, 1.1612, 10))  # the cutout of RESOLVE rs0010
    real_ra, real_dec, real_id = (np.array(c) for c in zip(*spectra))
    put("real.ra", real_ra.astype(float)), put("real.dec", real_dec.astype(float)), put("real.ids", real_id.astype(np.int64))
    for name, formula, ra, dec, value in (("panoptes.csv", "smooth-or-featured_smooth_fraction", "ra", "dec", None),
                                          ("gordon_joint_catalog_no_cuts_second.fits", "z", "ra", "dec", None),
                                          ("RESOLVE_bpt1_filter.fits", "logmstar - log10(cz)", "radeg", "dedeg", None)):
        path = os.path.join(DATA, "labels", name)
        real = Table.read(path, format="ascii.fast_csv" if name[0] == "p" else "fits")
        column = np.asarray(real["logmstar"] - np.log10(real["cz"])) if name[0] == "R" else np.ma.filled(np.ma.asarray(real[formula], dtype=float), np.nan)
        row_ra, row_dec = (np.ma.filled(np.ma.asarray(real[c], dtype=float), np.nan) for c in (ra, dec))
        want = nearest(real_ra, real_dec, row_ra, row_dec, 2.0, column)
        print(f"      {name}: {len(real)} rows, {int((want >= 0).sum())} of {len(real_ra)} real spectra and cutouts have one")
        command = ("join", path, "", formula, place(name + ".rows"), place("real.ids"), place("real.ra"), place("real.dec"), 2.0)
        if (want >= 0).any():
            answers[ask(*command)] = lambda a, r, name=name, want=want: judge_places(a, r, name, want, name + ".rows")
        else:
            refused("none of", *command)

        def judge_real(answer, ranks, name=name, column=column):
            found = got(name + ".f64")
            check_quietly(np.allclose(found, column, rtol=1e-14, atol=0, equal_nan=True), f"{name}: {formula} differs")

        answers[ask("evaluate", path, "", formula, place(name + ".f64"))] = judge_real
    resolve = Table.read(os.path.join(DATA, "labels/RESOLVE_bpt1_filter.fits"))
    row = nearest(np.array([135.2130]), np.array([1.1612]), np.asarray(resolve["radeg"]), np.asarray(resolve["dedeg"]), 2.0, np.asarray(resolve["cz"]))[0]
    check(row >= 0 and abs(resolve["cz"][row] - 5633.4) < 0.1, "the reference finds rs0010 at cz 5633.4 km/s")
else:
    print(f"      no real tables at {DATA}")

# ------------------------------------------------------------------ running

open(place("script"), "w").write("\n".join(asked) + "\n")
for ranks in (1, 2):
    done = launch(ranks, driver("labels_driver"), place("script"), timeout=100)
    lines = [line.split("\t") for line in done.stdout.split("\n") if line]
    replies = []
    pending = []
    for words in lines:
        if words[0] == "column":
            pending.append(words)
            continue
        if pending and len(replies) < len(asked) and asked[len(replies)].startswith("columns"):
            listed[ranks, os.path.basename(asked[len(replies)].split("\t")[1])] = pending
        pending = []
        replies.append(words)
    if not check(done.returncode == 0 and len(replies) == len(asked), f"{ranks} ranks: {len(replies)} of {len(asked)} commands are answered"):
        print(done.stdout[-2000:] + done.stderr[-3000:])
    for number, words in enumerate(replies):
        wanted = answers[number]
        if wanted is None:
            continue
        if isinstance(wanted, tuple):
            check_quietly(words[0] == str(wanted[0]) and wanted[1] in "\t".join(words), f"{ranks} ranks: {asked[number]}: {words}, expected {wanted}")
        elif check_quietly(words[0] == "ok", f"{ranks} ranks: {asked[number]}: {words}"):
            wanted(words, ranks)

# --------------------------------------------- a failure that one rank sees

if FAULTS:
    plain = [line for line, wanted in zip(asked, answers.values()) if callable(wanted)]
    field_join, one_split, formula = (next(line for line in plain if line.startswith(word)) for word in ("join\t" + place("field"), "split", "evaluate"))
    failures = 0
    for line, visit in ((field_join, 9), (one_split, 6), (formula, 6), (formula, 9)):
        open(place("one"), "w").write(line + "\n")
        done = launch(2, driver("labels_driver"), place("one"), timeout=30, SYZ_FAULT=f"alloc:1:{visit}")
        failures += done.stdout.startswith("8\trank 1: ")
        check(done.returncode == 0, f"no memory on rank 1, visit {visit}: {done.stdout.strip()[:80]}")
    check(failures >= 3, f"{failures} of 4 failures of rank 1 reached both ranks")
finish()
