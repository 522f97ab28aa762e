# SPDX-License-Identifier: BSD-3-Clause
"""Damaged HDF5 files through `info` and `ingest`."""
import csv
import os
import re
import shutil
import struct
import tempfile

import numpy as np

from . import hdf5_seeds
from .harness import BATCH, Attack, in_batches

# Structures of the format by their signatures: where a file is described.
MARKS = re.compile(rb"OHDR|OCHK|FRHP|FHDB|FHIB|BTHD|BTLF|BTIN|TREE|SNOD|HEAP|GCOL|FADB|FAHD|EAHD|EAIB|EADB|FSHD|FSSE|SMTB|\x89HDF")
NUMBERS = [0, 1, 2, 7, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 32, (1 << 40) - 1, 1 << 62, (1 << 63) - 1, (1 << 64) - 1]


# ----------------------------------------------------------------- checksums


def lookup3(data):
    """Bob Jenkins' lookup3 hash (public domain), with which HDF5 closes its structures."""
    def turn(x, k):
        return ((x << k) | (x >> (32 - k))) & 0xFFFFFFFF

    n = len(data)
    a = b = c = (0xDEADBEEF + n) & 0xFFFFFFFF
    at = 0
    while n - at > 12:
        x, y, z = struct.unpack_from("<III", data, at)
        a, b, c = (a + x) & 0xFFFFFFFF, (b + y) & 0xFFFFFFFF, (c + z) & 0xFFFFFFFF
        for k, (first, second, third) in zip((4, 6, 8, 16, 19, 4), ("acb", "bac", "cba") * 2):
            v = {"a": a, "b": b, "c": c}
            v[first] = ((v[first] - v[second]) & 0xFFFFFFFF) ^ turn(v[second], k)
            v[second] = (v[second] + v[third]) & 0xFFFFFFFF
            a, b, c = v["a"], v["b"], v["c"]
        at += 12
    if n == at:
        return c
    x, y, z = struct.unpack("<III", bytes(data[at:]).ljust(12, b"\0"))
    a, b, c = (a + x) & 0xFFFFFFFF, (b + y) & 0xFFFFFFFF, (c + z) & 0xFFFFFFFF
    for first, second, k in (("c", "b", 14), ("a", "c", 11), ("b", "a", 25), ("c", "b", 16), ("a", "c", 4), ("b", "a", 14), ("c", "b", 24)):
        v = {"a": a, "b": b, "c": c}
        v[first] = ((v[first] ^ v[second]) - turn(v[second], k)) & 0xFFFFFFFF
        a, b, c = v["a"], v["b"], v["c"]
    return c


def span(data, at):
    """Bytes before the checksum of the structure that begins there; 0 where it has none or a size that is not known here."""
    mark = bytes(data[at:at + 4])
    if mark == b"\x89HDF":
        return 44 if data[at + 8:at + 9] in (b"\2", b"\3") else 0
    if mark == b"OHDR" and len(data) > at + 40 and data[at + 4] == 2:
        flags = data[at + 5]
        body = at + 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
        wide = 1 << (flags & 3)
        return body + wide + int.from_bytes(data[body:body + wide], "little") - at
    return {b"BTHD": 34, b"FRHP": 142, b"FAHD": 24, b"EAHD": 68}.get(mark, 0)


def close(data, at):
    """Let the checksum of a structure hold again, so that the damage is read and not only noticed."""
    n = span(data, at)
    if 0 < n < 1 << 16 and at + n + 4 <= len(data):
        data[at + n:at + n + 4] = struct.pack("<I", lookup3(data[at:at + n]))


# ------------------------------------------------------------------ damage


class Wounded:
    """A file under damage, with the places of its structures."""

    def __init__(self, rng, data):
        self.rng, self.data = rng, bytearray(data)
        self.marks = [m.start() for m in MARKS.finditer(data)]
        self.touched = set()

    def some(self, n):
        return int(self.rng.integers(n))

    def place(self):
        """Mostly in a structure, near its beginning."""
        if not self.marks or self.some(8) == 0:
            return self.some(len(self.data))
        mark = self.marks[self.some(len(self.marks))]
        self.touched.add(mark)
        return min(mark + self.some(int(self.rng.choice([16, 64, 512]))), len(self.data) - 1)

    def put(self, at, raw):
        raw = raw[:max(len(self.data) - at, 0)]
        self.data[at:at + len(raw)] = raw


def flip(w):
    for _ in range(1 + w.some(4)):
        w.data[w.place()] ^= 1 << w.some(8)


def byte(w):
    for _ in range(1 + w.some(4)):
        w.data[w.place()] = int(w.rng.choice([0, 0xFF, w.some(256)]))


def number(w):
    for _ in range(1 + w.some(2)):
        wide = int(w.rng.choice([1, 2, 4, 8]))
        w.put(w.place(), (NUMBERS[w.some(len(NUMBERS))] & ((1 << 8 * wide) - 1)).to_bytes(wide, "little"))


def near(w):
    """A number a little larger or smaller."""
    at, wide = w.place(), int(w.rng.choice([1, 2, 4, 8]))
    value = int.from_bytes(w.data[at:at + wide], "little") + int(w.rng.choice([-8, -1, 1, 8, 256]))
    w.put(at, (value & ((1 << 8 * wide) - 1)).to_bytes(wide, "little"))


def address(w):
    """Lead to another structure, or to the same one: circles, wrong kinds."""
    if w.marks:
        w.put(w.place(), w.marks[w.some(len(w.marks))].to_bytes(8, "little"))


def exchange(w):
    a, b, n = w.place(), w.place(), int(w.rng.choice([1, 4, 8, 24, 128]))
    first, second = bytes(w.data[a:a + n]), bytes(w.data[b:b + n])
    w.put(a, second)
    w.put(b, first)


def noise(w):
    w.put(w.place(), w.rng.bytes(int(2 ** w.rng.integers(2, 10))))


def zeros(w):
    w.put(w.place(), bytes(int(2 ** w.rng.integers(2, 12))))


def insert(w):
    at = w.place()
    w.data[at:at] = w.rng.bytes(int(w.rng.choice([1, 8, 512])))


def remove(w):
    at = w.place()
    del w.data[at:at + int(w.rng.choice([1, 8, 512]))]


def cut(w):
    del w.data[w.some(len(w.data)):]


def lengthen(w):
    w.data += bytes(1 << w.some(16))


KINDS = [flip, flip, byte, byte, number, number, near, near, address, exchange, noise, zeros, insert, remove, cut, lengthen]


def damaged(seed, index, seeds):
    """(name, whether a survey file, bytes) of damaged file number `index`: a function of seed and index alone."""
    rng = np.random.default_rng([seed, index, 5])
    names = list(seeds)
    name = names[int(rng.integers(len(names)))]
    w = Wounded(rng, seeds[name][1])
    for _ in range(1 if rng.integers(3) else 2):
        if w.data:
            KINDS[int(rng.integers(len(KINDS)))](w)
    if rng.integers(4):
        for mark in w.touched:
            close(w.data, mark)
    return f"{name[:-3]}-{index:06d}.h5", seeds[name][0], bytes(w.data)


# --------------------------------------------------------------------- runs


def info_complaint(counts):
    """`info` names every file, as good or with a reason."""

    def complaint(run, paths, scratch):
        if run.code not in (0, 3):
            return f"exit code {run.code}"
        missing = [p for p in paths if p not in run.text]
        if missing:
            return f"{os.path.basename(missing[0])} is not mentioned"
        found = re.search(r"(\d+) good, (\d+) not", run.text)
        if len(paths) > 1 and not found:
            return "no count at the end"
        good, bad = (int(found[1]), int(found[2])) if found else (int(run.code == 0), int(run.code != 0))
        if good + bad != len(paths):
            return f"{good} good and {bad} not, of {len(paths)}"
        counts["good to info"] = counts.get("good to info", 0) + good
        counts["refused by info"] = counts.get("refused by info", 0) + bad
        return None

    return complaint


def ingest_complaint(counts):
    """`ingest` passes over what it cannot read, and lists it with a reason."""

    def complaint(run, paths, scratch):
        if run.code == 3 and any(os.path.basename(p) in run.text for p in paths):
            counts["refused by ingest"] = counts.get("refused by ingest", 0) + len(paths) # not one of them can be used
            return None
        if run.code != 0:
            return f"exit code {run.code}" + ("" if run.code != 3 else ", no file is named")
        with open(scratch + "/out/rejected.csv", newline="", errors="replace") as f:
            rows = list(csv.DictReader(f))
        known = {os.path.basename(p) for p in paths}
        for row in rows:
            if os.path.basename(row["file"]) not in known or len(row["reason"]) < 10:
                return f"a refusal without its file or reason: {row}"
        refused = len({row["file"] for row in rows})
        counts["refused by ingest"] = counts.get("refused by ingest", 0) + refused
        counts["good to ingest"] = counts.get("good to ingest", 0) + len(paths) - refused
        return None

    return complaint


def ingest_command(program):
    def command(paths, scratch):
        os.makedirs(f"{scratch}/given")
        for path in paths:
            os.link(path, f"{scratch}/given/{os.path.basename(path)}")
        sets = {"output.dir": scratch + "/out", "ingest.hdf5": f"[{scratch}/given]", "data.bad_objects": "skip", "ingest.duplicates": "keep"}
        return [program, "ingest"] + [item for key, value in sets.items() for item in ("--set", f"{key}={value}")]

    return command


def run(syzygy, count, seed, keep_folder):
    """Three of four files go through `info`, the other ones, survey files, through `ingest`."""
    seeds, counts = hdf5_seeds.make(syzygy, seed), {"damaged files": count}
    survey = {name: s for name, s in seeds.items() if s[0]}
    work = tempfile.mkdtemp(prefix="syzygy-attack-")
    try:
        def write(name, content):
            with open(f"{work}/{name}", "wb") as f:
                f.write(content)
            return f"{work}/{name}"

        attacks = [Attack("info", lambda paths, scratch: [syzygy, "info"] + paths, info_complaint({}), keep_folder),
                   Attack("ingest", ingest_command(syzygy), ingest_complaint({}), keep_folder)]
        clean = [write(name, s[1]) for name, s in seeds.items()]
        attacks[0].measure(clean)
        attacks[1].measure([p for p in clean if os.path.basename(p) in survey])
        attacks[0].complaint, attacks[1].complaint = info_complaint(counts), ingest_complaint(counts)

        def make(index, batch):
            name, _, content = damaged(seed, index, survey if batch % 4 == 3 else seeds)
            return write(name, content)

        in_batches(lambda batch: attacks[batch % 4 == 3], count, make)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return {**counts, "failed": sum(a.failed for a in attacks)}
