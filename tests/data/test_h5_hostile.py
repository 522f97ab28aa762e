#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""
HDF5 files that must not harm a run: files that lead to other files, files on which the library crashes, files on a slow file system.
Each case runs the program as a user does.
"""
import lzma
import os
import shutil
import subprocess
import sys
import tempfile
import time

import h5py
import numpy as np

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import BINARY, BUILD, DATA, SOURCE, check_quietly as check, driver, failed, finish, launch

sys.path.insert(0, os.path.join(SOURCE, "tools"))
from attacker import hdf5 as hdf5_damage

DUMP = driver("objects_driver")
here = tempfile.mkdtemp(prefix="syzygy-hostile-")
rng = np.random.default_rng(3)


def run(*args, ranks=1, code=0, has=(), lacks=(), environment=None):
    """The command on so many ranks."""
    r = launch(ranks if ranks > 1 else None, BINARY, *args, cwd=here, **(environment or {}))
    out = r.stdout + r.stderr
    check(r.returncode == code, f"{args} on {ranks}: code {r.returncode}, expected {code}\n{out[-1500:]}")
    for t in has:
        check(t in out, f"{args} on {ranks}: lacks {t!r}\n{out[-1500:]}")
    for t in lacks:
        check(t not in out, f"{args} on {ranks}: has {t!r}\n{out[-1500:]}")
    return out


def ingest(name, path, *args, **keys):
    out = os.path.join(here, "out-" + name)
    shutil.rmtree(out, ignore_errors=True)
    run("ingest", "--set", f"ingest.hdf5=[{path}]", "--set", f"output.dir={out}", *args, **keys)
    return out


def spectra(out):
    path = next(os.path.join(out, "shards", n) for n in sorted(os.listdir(os.path.join(out, "shards"))) if n.endswith(".h5"))
    with h5py.File(path) as f:
        return f["object_id"][()], f["spectrum"][()]


# ------------------------------------------------- files that lead to other files

flux = rng.normal(1, 0.1, (3, 7781)).astype("f4")


def survey_file(path, **how):
    """A Multimodal Universe file whose fluxes are what `how` says: one of data, link, soft, external, view."""
    with h5py.File(path, "w") as f:
        f["object_id"] = np.array([b"11", b"12", b"13"])
        f["spectrum_ivar"], f["Z"] = np.ones((3, 7781), "f4"), np.array([0.1, 0.2, 0.3])
        if "data" in how:
            f["spectrum_flux"] = how["data"]
        if "link" in how:
            f["spectrum_flux"] = h5py.ExternalLink(how["link"], "/spectrum_flux")
        if "soft" in how:
            f["aside"] = h5py.ExternalLink(how["soft"], "/spectrum_flux")
            f["spectrum_flux"] = h5py.SoftLink("/aside")
        if "external" in how:
            f.create_dataset("spectrum_flux", (3, 7781), "<f4", external=[(how["external"], 0, h5py.h5f.UNLIMITED)])
        if "view" in how:
            layout = h5py.VirtualLayout((3, 7781), "f4")
            for i, source in enumerate(how["view"]):
                layout[i] = h5py.VirtualSource(source, "spectrum_flux" if source != "." else "own", shape=(3, 7781))[i]
            if "." in how["view"]:
                # In chunks of 45 MiB: the view itself does not say what memory its sources take.
                f.create_dataset("own", data=flux, maxshape=(None, 7781), chunks=(1500, 7781), compression="gzip", shuffle=True)
            f.create_virtual_dataset("spectrum_flux", layout)
    return path


def test_links():
    os.makedirs(f"{here}/survey/parts")
    os.makedirs(f"{here}/elsewhere")
    want = spectra(ingest("plain", survey_file(f"{here}/survey/plain.h5", data=flux)))
    check(want[1].shape == (3, 7781) and np.array_equal(want[1], flux), "the plain file gives its fluxes")
    for place in ("survey/parts", "elsewhere"):
        survey_file(f"{here}/{place}/flux.h5", data=flux)
        flux.tofile(f"{here}/{place}/flux.raw")
    root = ("--set", f"io.link_root={here}/survey")
    cases = {
        "link": (dict(link="parts/flux.h5"), dict(link=f"{here}/elsewhere/flux.h5"), dict(link="../elsewhere/flux.h5")),
        "soft": (dict(soft="parts/flux.h5"), dict(soft=f"{here}/elsewhere/flux.h5")),
        "external": (dict(external="parts/flux.raw"), dict(external=f"{here}/elsewhere/flux.raw"), dict(external="/etc/passwd")),
        "view": (dict(view=["parts/flux.h5"] * 3), dict(view=[f"{here}/elsewhere/flux.h5"] * 3), dict(view=["parts/flux.h5", "parts/missing.h5", "parts/flux.h5"])),
    }
    for name, (below, *outside) in cases.items():
        path = survey_file(f"{here}/survey/{name}.h5", **below)
        what = next(iter(below.values()))
        target = what if isinstance(what, str) else what[0]
        ingest(name, path, code=3, has=[f"{name}.h5", target, "io.link_root allows none"])
        got = spectra(ingest(name, path, *root))
        check(np.array_equal(got[0], want[0]) and np.array_equal(got[1], want[1]), f"{name}: below io.link_root the same as the plain file")
        for i, how in enumerate(outside):
            path = survey_file(f"{here}/survey/{name}-{i}.h5", **how)
            ingest(name, path, *root, code=3, has=[f"{name}-{i}.h5", "no file below io.link_root"])
    # Nothing leaves the file: read without the key.
    got = spectra(ingest("own-view", survey_file(f"{here}/survey/own-view.h5", view=["."] * 3)))
    check(np.array_equal(got[1], want[1]), "a view of the file itself is read")
    # A link beside what is wanted, on 3 ranks, in a shard: named as well.
    subprocess.run([DUMP, "fixture", f"{here}/set", "3", "6", "3"], check=True, timeout=60)
    with h5py.File(f"{here}/set/shard-0001.h5", "r+") as f:
        f["label/other"] = h5py.ExternalLink("/etc/hostname.h5", "/z")
    for ranks in (1, 3):
        run("info", "set", ranks=ranks, code=3, has=["set/shard-0001.h5: label/other is a link to /z in the file /etc/hostname.h5", "1 good, 1 not"])
    # A symbolic link of the file system below the root that leads out of it.
    os.symlink(f"{here}/elsewhere", f"{here}/survey/way-out")
    ingest("symlink", survey_file(f"{here}/survey/symlink.h5", link="way-out/flux.h5"), *root, code=3, has=["way-out/flux.h5", "no file below io.link_root"])
    run("ingest", "--set", f"ingest.hdf5=[{here}/survey/plain.h5]", "--set", "io.link_root=/no/such/folder", code=2, has=["io.link_root", "/no/such/folder"])


# --------------------------------------------------------------------------- time


def test_slow():
    """A file system on which opening alone takes longer than the reader's patience of 1 s, which is of processor time."""
    slow = {"LD_PRELOAD": f"{BUILD}/tests/libslow_file.so", "SLOW_FILE_MS": "400", "SLOW_FILE_READS": "6"}
    began = time.time()
    run("info", "set/shard-0000.h5", code=0, has=["10 checksums hold, 0 damaged"], environment=slow)
    check(time.time() - began > 2.4, "the reads were slow")


# ---------------------------------------------------------- lengths that are not so


def peak_mib(*args, code, has, limit_kib=None):
    """Largest memory of the command and its children; with a limit as `ulimit -v` sets it."""
    between = ("import os, resource, subprocess, sys\n"
               "if sys.argv[1] != '0': resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]) << 10, int(sys.argv[1]) << 10))\n"
               "r = subprocess.run(sys.argv[2:], capture_output=True, text=True)\n"
               "print(r.stdout + r.stderr, r.returncode, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024, sep='\\n')")
    command = ["/usr/bin/python3", "-S", "-E", "-c", between, str(limit_kib or 0), BINARY, *args]
    r = subprocess.run(command, capture_output=True, text=True, timeout=90, cwd=here)
    *out, status, peak = r.stdout.rstrip().split("\n")
    out = "\n".join(out)
    check(int(status) == code and all(t in out for t in has), f"{args}: code {status}, expected {code} and {has}\n{out[-1500:]}")
    return int(peak)


def claim(path, where, length, claimed):
    """In the file at `path`, the text of so many bytes says that it has `claimed`; `where` follows its length in the reference: its place in a heap."""
    with open(path, "rb") as f:
        content = f.read()
    old = length.to_bytes(4, "little") + where
    check(content.count(old) >= 1, f"{path}: the reference is there")
    with open(path, "wb") as f:
        f.write(content.replace(old, claimed.to_bytes(4, "little") + where))


def heap_of(path, text):
    """Address of the global heap collection that holds the text, as references say it."""
    with open(path, "rb") as f:
        content = f.read()
    return content.rindex(b"GCOL", 0, content.index(text)).to_bytes(8, "little")


def test_lengths():
    marks = {"attribute": b"A" * 54321, "dataset": b"D" * 43210}
    for what, text in marks.items():
        path = f"{here}/long-{what}.h5"
        with h5py.File(path, "w") as f:
            f["object_id"] = np.array([11, 12, 13])
            f["spectrum_flux"], f["spectrum_ivar"], f["Z"] = flux, np.ones((3, 7781), "f4"), np.array([0.1, 0.2, 0.3])
            if what == "attribute":
                f.attrs.create("syzygy_format", text.decode(), dtype=h5py.string_dtype())
            else:
                del f["object_id"]
                f.create_dataset("object_id", data=[text.decode(), "12", "13"], dtype=h5py.string_dtype())
        claim(path, heap_of(path, text), len(text), 220 << 20)
        command = ("info", path) if what == "attribute" else ("ingest", "--set", f"ingest.hdf5=[{path}]", "--set", f"output.dir={here}/out-long")
        sound = peak_mib("info", "set/shard-0000.h5", code=0, has=[])
        for limit_kib in (None, 4 << 20):
            peak = peak_mib(*command, code=3, has=[os.path.basename(path), "MiB of memory"], limit_kib=limit_kib)
            check(peak < sound + 150, f"{what}: {peak} MiB, a sound file takes {sound}")


def test_node_size():
    """A tree of links, ten of a group in the latest format, whose nodes claim 256 MiB each: the library makes room for one before it reads it."""
    path = f"{here}/nodes.h5"
    with h5py.File(path, "w", libver="latest") as f:
        for i in range(12):
            f[f"number_{i:02d}"] = np.arange(3)
    with open(path, "rb") as f:
        content = bytearray(f.read())
    tree = content.index(b"BTHD")
    check(content[tree + 6:tree + 10] == (512).to_bytes(4, "little"), "the tree's nodes have 512 bytes")
    content[tree + 6:tree + 10] = (512 + (256 << 20)).to_bytes(4, "little")
    hdf5_damage.close(content, tree)
    with open(path, "wb") as f:
        f.write(content)
    peak, sound = peak_mib("info", path, code=3, has=["nodes.h5", "MiB of memory"]), peak_mib("info", "set/shard-0000.h5", code=0, has=[])
    check(peak < sound + 150, f"nodes: {peak} MiB, a sound file takes {sound}")


def test_chunk_size():
    """One chunk of 1.5 GiB, unpacked: it would be unpacked for every object that is read. What is stored is refused before it is looked at."""
    path, rows = f"{here}/chunk.h5", (3 << 29) // (7781 * 4)
    with h5py.File(path, "w") as f:
        f["object_id"], f["Z"] = np.arange(rows) + 1, np.full(rows, 0.1)
        f.create_dataset("spectrum_ivar", shape=(rows, 7781), dtype="f4", chunks=(16, 7781), compression="gzip")
        d = f.create_dataset("spectrum_flux", shape=(rows, 7781), dtype="f4", chunks=(rows, 7781), compression="gzip")
        d.id.write_direct_chunk((0, 0), rng.bytes(2 << 20))
    command = ("ingest", "--set", f"ingest.hdf5=[{path}]", "--set", f"output.dir={here}/out-chunk")
    peak = peak_mib(*command, code=3, has=["chunk.h5", "is stored in chunks of 1536 MiB, at most 1024 are unpacked at a time", "h5repack"])
    check(peak < peak_mib("info", "set/shard-0000.h5", code=0, has=[]) + 150, f"a large chunk: {peak} MiB")


# ------------------------------------------------------------------------ crashes


def test_crashes():
    packed = os.path.join(DATA, "cases", "damaged-one-bit.h5.xz")
    if not os.path.exists(packed):
        print("no", packed, ": that case is left out")
        return
    with lzma.open(packed) as f, open(f"{here}/one-bit.h5", "wb") as to:
        to.write(f.read())
    for ranks in (1, 2, 3):
        run("info", "one-bit.h5", ranks=ranks, code=3, has=["one-bit.h5"])
        run("embed", "--set", "data.path=one-bit.h5", "--set", "model.file=set/shard-0000.h5", ranks=ranks, code=3, has=[".h5"])
    # Many files in a row by one process: what the library leaves behind of one must not touch the next.
    subprocess.run([DUMP, "fixture", f"{here}/row", "5", "40", "2"], check=True, timeout=60)
    for i in range(0, 20, 2):
        shutil.copy(f"{here}/one-bit.h5", f"{here}/row/bad-{i:02d}.h5")
    for ranks in (1, 3):
        out = run("info", "row", ranks=ranks, code=3, has=["20 good, 10 not"])
        check(all(f"row/bad-{i:02d}.h5" in out for i in range(0, 20, 2)), "each bad file is named\n" + out[-2000:])


try:
    for test in (test_links, test_slow, test_lengths, test_node_size, test_chunk_size, test_crashes):
        before = failed()
        test()
        if failed() > before:
            print(test.__name__, "failed")
finally:
    shutil.rmtree(here, ignore_errors=True)
finish()
