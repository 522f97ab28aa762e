# SPDX-License-Identifier: BSD-3-Clause
"""Damaged FITS files through `ingest` and `info`."""
import bz2
import csv
import gzip
import os
import re
import shutil
import tempfile

import numpy as np

from . import fits_seeds
from .harness import Attack, in_batches

BLOCK, CARD = 2880, 80
NUMBERS = ["0", "-1", "1", "2", "7", "255", "65536", "2147483647", "2147483648", "-2147483649", "9223372036854775807",
           "99999999999999999999", "1e300", "-1e-300", "NaN", "T", "'text'", "", "0x10", "1.5", "12345"]
WORDS = [0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFF0000, 0x7F800000, 0x7FC00000, 0x00010000]
SPECTRUM = "sound-coadd.fits"  # goes with every run, so that no role is empty


# ------------------------------------------------------------------ damage


def headers(data):
    """Offsets of the cards of all headers, as far as they can be followed."""
    return [at for at in range(0, len(data) - CARD, CARD) if re.match(rb"[A-Z0-9_-]{1,8} *=", data[at:at + 10]) and data[at + 8:at + 9] == b"="]


def flip(rng, data):
    for _ in range(int(rng.integers(1, 5))):
        data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
    return data


def flip_header(rng, data):
    cards = headers(data) or [0]
    for _ in range(int(rng.integers(1, 5))):
        at = min(cards[int(rng.integers(len(cards)))] + int(rng.integers(CARD)), len(data) - 1)
        data[at] = int(rng.integers(256)) if rng.integers(2) else data[at] ^ 1 << int(rng.integers(8))
    return data


def edit_card(rng, data):
    """Another value for one to three keywords."""
    cards = headers(data)
    for _ in range(int(rng.integers(1, 4)) if cards else 0):
        at = cards[int(rng.integers(len(cards)))]
        data[at + 10:at + CARD] = NUMBERS[int(rng.integers(len(NUMBERS)))].rjust(20).encode().ljust(CARD - 10)[:CARD - 10]
    return data


def near_card(rng, data):
    """A number of a header a little larger or smaller."""
    cards = [at for at in headers(data) if re.match(rb" *-?\d+ *(/|$)", data[at + 10:at + CARD])]
    if cards:
        at = cards[int(rng.integers(len(cards)))]
        value = int(re.match(rb" *(-?\d+)", data[at + 10:at + CARD])[1]) + int(rng.choice([-1, 1, 8, -8, 1000]))
        data[at + 10:at + 30] = str(value).rjust(20)[:20].encode()
    return data


def shuffle_cards(rng, data):
    cards = headers(data)
    if len(cards) > 1:
        a, b = (cards[int(i)] for i in rng.integers(len(cards), size=2))
        first, second = bytes(data[a:a + CARD]), bytes(data[b:b + CARD])
        data[a:a + CARD] = second
        if rng.integers(2):
            data[b:b + CARD] = first
    return data


def cut(rng, data):
    at = int(rng.integers(len(data)))
    return data[:at // BLOCK * BLOCK + int(rng.integers(-2, 3))] if rng.integers(2) else data[:at]


def insert(rng, data):
    at, n = int(rng.integers(len(data))), int(rng.choice([1, 4, 80, BLOCK]))
    if rng.integers(2):
        at = at // BLOCK * BLOCK
    return data[:at] + (bytearray(n) if rng.integers(2) else bytearray(rng.bytes(n))) + data[at:]


def remove(rng, data):
    at, n = int(rng.integers(len(data))), int(rng.choice([1, 80, BLOCK]))
    return data[:at] + data[at + n:]


def words(rng, data):
    """Places and counts in tables, tile headers: four bytes with an extreme number."""
    for _ in range(int(rng.integers(1, 9))):
        at = int(rng.integers(max(len(data) // 4, 1))) * 4
        data[at:at + 4] = WORDS[int(rng.integers(len(WORDS)))].to_bytes(4, "big")[:len(data) - at]
    return data


def noise(rng, data):
    """A stretch of random bytes after the first header."""
    at = int(rng.integers(min(BLOCK, len(data) - 1), len(data)))
    n = int(min(len(data) - at, 2 ** rng.integers(2, 15)))
    data[at:at + n] = rng.bytes(n)
    return data


def graft(rng, data, other):
    """The tail of another file."""
    a, b = int(rng.integers(len(data) // BLOCK + 1)) * BLOCK, int(rng.integers(len(other) // BLOCK + 1)) * BLOCK
    return data[:a] + bytearray(other[b:])


def claim(rng, data):
    """An image that is far larger than its tiles: a bomb where one asks for all of it."""
    for key, value in ((b"ZNAXIS1 ", 3000000), (b"ZNAXIS2 ", 3000000), (b"ZTILE1  ", 23000), (b"ZTILE2  ", 23000), (b"NAXIS1  ", 2000000000)):
        for match in re.finditer(re.escape(key) + b"=", bytes(data)):
            if rng.integers(2):
                data[match.start() + 10:match.start() + 30] = str(value // int(rng.integers(1, 1000))).rjust(20).encode()
    return data


DAMAGES = [flip, flip, flip_header, flip_header, edit_card, edit_card, near_card, shuffle_cards, cut, insert, remove, words, words, noise, claim]


def bomb(rng):
    """Much out of little: what a header announces, or only zeros."""
    size = int(rng.choice([3_000_000, 200_000_000]))
    cards = ("SIMPLE  = T", "BITPIX  = -32", "NAXIS   = 2", "NAXIS1  = 10000", f"NAXIS2  = {size // 40000}", "END")
    header = b"".join(c.encode().ljust(CARD) for c in cards).ljust(BLOCK)
    content = header + bytes(size) if rng.integers(2) else bytes(size)
    return (fits_seeds.squeeze(content), ".gz") if rng.integers(2) else (bz2.compress(content), ".bz2")


def place(content, index):
    """Each image at a place of its own on the sky: otherwise one of a batch would serve for all."""
    ra = f"{(index % 3400) * 0.1 + 5:20.6f}".encode()
    return re.sub(rb"CRVAL1  = {1,20}[-+0-9.E]+ *(?=[ /])", lambda m: (b"CRVAL1  = " + ra).ljust(len(m[0]))[:max(len(m[0]), 30)], content, count=1)


def pack_of(name):
    return {"gz": (fits_seeds.squeeze, gzip.decompress), "bz2": (bz2.compress, bz2.decompress)}.get(name.rsplit(".", 1)[-1], (bytes, bytes))


def damaged(seed, index, seeds):
    """(name, role, bytes) of damaged file number `index`: a function of seed and index alone."""
    rng = np.random.default_rng([seed, index])
    names = list(seeds)
    name = names[int(rng.integers(len(names)))]
    role, content = seeds[name][:2]
    if index % 500 == 499:
        content, end = bomb(rng)
        return f"{index:06d}-bomb.fits{end}", ["spectra", "images", "catalogues"][int(rng.integers(3))], content
    pack, unpack = pack_of(name)
    data = bytearray(place(bytes(unpack(content)), index))
    hits_packed = pack is not bytes and rng.integers(2)
    if hits_packed:
        data = bytearray(pack(bytes(data)))
    for _ in range(1 if rng.integers(4) else 2):
        if rng.integers(20) == 0:
            data = graft(rng, data, seeds[names[int(rng.integers(len(names)))]][1])
        elif data:
            before = bytes(data)
            data = DAMAGES[int(rng.integers(len(DAMAGES)))](rng, data)
            if data == before:  # nothing of what was to be changed is in it
                data = flip(rng, data)
    if pack is not bytes and not hits_packed:
        data = pack(bytes(data))
    first, _, end = name.partition(".")
    return f"{first}-{index:06d}.{end}", role, bytes(data)


# --------------------------------------------------------------------- runs

ROLES = ("spectra", "redshifts", "images", "catalogues")


def role_of(path):
    return os.path.basename(os.path.dirname(path))


def ingest_command(program, sound, verify):
    def command(paths, scratch):
        sets = {"output.dir": scratch + "/out", "data.bad_objects": "skip", "ingest.centres": "true", "ingest.duplicates": "keep",
                "ingest.verify_checksums": verify}
        for role in ROLES:
            folder = f"{scratch}/{role}"
            os.makedirs(folder)
            for path in paths:
                if role_of(path) == role:
                    os.link(path, f"{folder}/{os.path.basename(path)}")
            given = ([folder] if os.listdir(folder) else []) + ([sound] if role == "spectra" else [])
            if given:
                sets["ingest." + role] = "[" + ", ".join(given) + "]"
        return [program, "ingest"] + [item for key, value in sets.items() for item in ("--set", f"{key}={value}")]

    return command


def names_some(text, paths):
    return any(os.path.basename(p) in text for p in paths)


def ingest_complaint(counts):
    def complaint(run, paths, scratch):
        if run.code == 3 and names_some(run.text, paths):
            counts["refused at once"] = counts.get("refused at once", 0) + len(paths)
            return None
        if run.code != 0:
            return f"exit code {run.code}" + ("" if run.code != 3 else ", no file is named")
        try:
            with open(scratch + "/out/rejected.csv", newline="", encoding="utf-8") as f:
                rows = list(csv.DictReader(f))
        except (OSError, UnicodeDecodeError) as error:
            return f"rejected.csv cannot be read: {error}"
        known = {os.path.basename(p) for p in paths}
        for row in rows:
            if os.path.basename(row["file"]) not in known or len(row["reason"]) < 10:
                return f"a refusal without its file or reason: {row}"
        refused = {row["file"] for row in rows}
        counts["refused"] = counts.get("refused", 0) + len(refused)
        counts["read or passed over"] = counts.get("read or passed over", 0) + len(paths) - len(refused)
        return None

    return complaint


def info_complaint(counts):
    def complaint(run, paths, scratch):
        if run.code not in (0, 3):
            return f"exit code {run.code}"
        missing = [p for p in paths if os.path.basename(p) not in run.text]
        if missing:
            return f"{os.path.basename(missing[0])} is not mentioned"
        counts["looked at by info"] = counts.get("looked at by info", 0) + len(paths)
        return None

    return complaint


def run(syzygy, count, seed, keep_folder):
    seeds, counts = fits_seeds.make(seed), {"damaged files": count, "refused": 0, "read or passed over": 0}
    work = tempfile.mkdtemp(prefix="syzygy-attack-")
    try:
        def write(name, role, content):
            os.makedirs(f"{work}/{role}", exist_ok=True)
            with open(f"{work}/{role}/{name}", "wb") as f:
                f.write(content)
            return f"{work}/{role}/{name}"

        sound = f"{work}/{SPECTRUM}"
        with open(sound, "wb") as f:
            f.write(seeds["coadd-a.fits"][1])
        warm = {}  # of sound files; not counted
        attacks = [Attack("ingest", ingest_command(syzygy, sound, "false"), ingest_complaint(warm), keep_folder),
                   Attack("ingest with checksums", ingest_command(syzygy, sound, "true"), ingest_complaint(warm), keep_folder),
                   Attack("info", lambda paths, scratch: [syzygy, "info"] + paths, info_complaint(warm), keep_folder)]
        clean = [write(name, role, content) for name, (role, content, is_real) in seeds.items() if not is_real]
        for attack in attacks:
            attack.measure(clean)
        attacks[0].complaint = attacks[1].complaint = ingest_complaint(counts)
        attacks[2].complaint = info_complaint(counts)
        in_batches(lambda batch: attacks[(0, 0, 0, 1, 2)[batch % 5]], count, lambda index, _: write(*damaged(seed, index, seeds)))
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return {**counts, "failed": sum(a.failed for a in attacks)}
