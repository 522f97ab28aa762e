#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Files of AstroCLIP, ssl-legacysurvey and the Multimodal Universe as h5py writes them, against what syzygy reads from them; and shards of
syzygy against what h5py reads from them. The arrays are random and have no symmetry, so that a wrong axis order cannot pass."""
import ctypes
import os
import shutil
import subprocess
import sys
import tempfile

import h5py
import numpy as np

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import check_quietly as check, driver, finish

DUMP = driver("objects_driver")
OBJECT = np.dtype([("id", "<i8"), ("ra", "<f8"), ("dec", "<f8"), ("has_image", "u1"), ("has_spectrum", "u1"), ("pad", "V6")])
rng = np.random.default_rng(11)
here = tempfile.mkdtemp(prefix="syzygy-survey-")
GRID = 3600 + 0.8 * np.arange(7781)


def dump(mode, path):
    out = tempfile.mkdtemp(dir=here)
    r = subprocess.run([DUMP, mode, path, out], capture_output=True, text=True, timeout=60)
    return r, out


def load(out, what, dtype, shape):
    return np.fromfile(os.path.join(out, what), dtype).reshape(shape)


def ok_dump(mode, path):
    r, out = dump(mode, path)
    check(r.returncode == 0, f"{mode} {path}: {r.returncode} {r.stderr}")
    return r, out


def refused(path, code, *texts, mode="foreign"):
    r, _ = dump(mode, path)
    check(r.returncode == code, f"{path}: code {r.returncode}, expected {code}: {r.stderr}")
    for t in texts + (os.path.basename(path),):
        check(t in r.stderr, f"{path}: message {r.stderr!r} lacks {t!r}")


def astroclip(path, sizes, **how):
    truth = []
    with h5py.File(path, "w") as f:
        for g, n in sizes.items():
            cube = rng.normal(size=(n, 3, 152, 152)).astype("f4")  # (band, y, x)
            flux = rng.normal(size=(n, 7781, 1)).astype("f4")
            z = rng.random(n)
            ids = rng.integers(2**53, 2**62, n)
            f.create_dataset(f"{g}/images", data=np.ascontiguousarray(cube.transpose(0, 3, 2, 1)), **how)
            f.create_dataset(f"{g}/spectra", data=flux, **how)
            f[f"{g}/redshifts"] = z
            f[f"{g}/targetids"] = ids
            truth.append((cube, flux[..., 0], z, ids))
    return [np.concatenate(x) for x in zip(*truth)]


def test_astroclip():
    for name, how in (("contiguous", {}), ("chunked", dict(chunks=True, compression="gzip", compression_opts=1))):
        path = os.path.join(here, f"astroclip-{name}.h5")
        cube, flux, z, ids = astroclip(path, {"0": 5, "1": 3, "9": 2}, **how)
        for mode in ("foreign", "set"):
            r, out = ok_dump(mode, path)
            o = load(out, "object", OBJECT, -1)
            check(len(o) == 10 and (o["id"] == ids).all(), f"{path} {mode}: identifiers")
            check(np.isnan(o["ra"]).all() and o["has_image"].all() and o["has_spectrum"].all(), f"{path} {mode}: positions, flags")
            check((load(out, "image", "<f4", (10, 3, 152, 152)) == cube).all(), f"{path} {mode}: images")
            check((load(out, "flux", "<f4", (10, 7781)) == flux).all(), f"{path} {mode}: spectra")
            check((load(out, "ivar", "<f4", (10, 7781)) == 1).all(), f"{path} {mode}: ivar")
            check((load(out, "label-redshift", "<f4", 10) == z.astype("f4")).all(), f"{path} {mode}: redshifts")
    # float64 pixels and big-endian numbers are converted, not reinterpreted
    path = os.path.join(here, "astroclip-types.h5")
    cube, flux, z, ids = astroclip(path, {"3": 2})
    with h5py.File(path, "a") as f:
        for k, t in (("images", ">f4"), ("spectra", "<f8"), ("targetids", ">i8"), ("redshifts", ">f4")):
            data = f["3/" + k][...]
            del f["3/" + k]
            f.create_dataset("3/" + k, data=data.astype(t), dtype=t)
    r, out = ok_dump("set", path)
    check((load(out, "object", OBJECT, -1)["id"] == ids).all() and (load(out, "image", "<f4", (2, 3, 152, 152)) == cube).all(), "big-endian")
    check((load(out, "flux", "<f4", (2, 7781)) == flux).all(), "float64 spectra")
    # wrong ones
    for bad, text in ((dict(k="spectra", v=np.zeros((2, 7780, 1), "f4")), "7780"), (dict(k="images", v=np.zeros((2, 3, 152, 152), "f4")), "152"),
                      (dict(k="redshifts", v=np.zeros(3)), "redshifts has 3 rows"), (dict(k="targetids", v=np.zeros(2)), "floats")):
        shutil.copy(path, os.path.join(here, "astroclip-bad.h5"))
        with h5py.File(os.path.join(here, "astroclip-bad.h5"), "a") as f:
            del f["3/" + bad["k"]]
            f["3/" + bad["k"]] = bad["v"]
        for mode in ("foreign", "set"):
            refused(os.path.join(here, "astroclip-bad.h5"), 3, text, mode=mode)


def test_ssl():
    path = os.path.join(here, "images_npix152_000000000_000000020.h5")
    n = 20
    images = rng.normal(size=(n, 3, 152, 152)).astype("f4")
    brickid, objid = rng.integers(1, 662175, n), rng.integers(0, 20000, n)
    z = rng.random(n).astype("f4")
    z[3] = -99
    fluxes = rng.random((n, 3)).astype("f4")
    with h5py.File(path, "w") as f:
        f["images"] = images
        f["release"], f["brickid"], f["objid"] = np.full(n, 9011, "i2"), brickid.astype("i4"), objid.astype("i4")
        f["inds"] = np.zeros(n, "i8")  # repeats, as in the south
        f["ra"], f["dec"] = rng.random(n) * 360, rng.random(n) * 90
        f["z_spec"], f["flux"], f["ebv"] = z, fluxes, rng.random(n).astype("f4")
        f["z_phot_mean"] = rng.random(n - 1)  # short field: left out
        ra = f["ra"][...]
    r, out = ok_dump("foreign", path)
    check("ssl-legacysurvey" in r.stdout, "ssl: kind")
    labels = [x[7:] for x in r.stdout.splitlines() if x.startswith("label: ")]
    check(labels == ["redshift", "brickid", "ebv", "flux_g", "flux_r", "flux_z", "objid", "release", "z_spec"], f"ssl: labels {labels}")
    o = load(out, "object", OBJECT, -1)
    check((o["id"] == (9011 << 42 | brickid << 22 | objid)).all(), "ssl: identifiers")
    check(39633463543857774 == 9011 << 42 | 635727 << 22 | 622, "packing example of src/sky/README.md")
    check((o["ra"] == ra).all() and o["has_image"].all() and not o["has_spectrum"].any(), "ssl: positions, flags")
    check((load(out, "image", "<f4", images.shape) == images).all(), "ssl: images")
    check(not load(out, "flux", "<f4", -1).any() and not load(out, "ivar", "<f4", -1).any(), "ssl: no spectra")
    got = load(out, "label-redshift", "<f4", n)
    check(np.isnan(got[3]) and (np.delete(got, 3) == np.delete(z, 3)).all(), "ssl: -99 is unknown")
    check((load(out, "label-flux_r", "<f4", n) == fluxes[:, 1]).all(), "ssl: flux_r")
    with h5py.File(path, "a") as f:
        del f["objid"]
        f["objid"] = np.full(n, 1 << 22)
    refused(path, 3, "objid", "4194304")
    with h5py.File(path, "a") as f:
        del f["objid"], f["inds"]
        f["inds"] = np.arange(n) + 0.0
    refused(path, 3, "floats")
    with h5py.File(path, "a") as f:
        del f["inds"]
    refused(path, 3, "no identifiers")


def test_mmu_desi():
    n = 37
    for compression in (None, "gzip", "lzf"):
        path = os.path.join(here, f"mmu-desi-{compression}.hdf5")
        flux = rng.normal(size=(n, 7781)).astype("f4")
        ivar = rng.random((n, 7781)).astype("f4") + 0.1
        mask = rng.random((n, 7781)) < 0.1
        flux[mask & (rng.random((n, 7781)) < 0.5)] = np.nan
        ids = rng.integers(2**54, 2**60, n)
        how = {} if compression is None else dict(compression=compression, chunks=True, shuffle=compression == "gzip", maxshape=(None, 7781))
        with h5py.File(path, "w") as f:
            f.create_dataset("spectrum_flux", data=flux, **how)
            f.create_dataset("spectrum_ivar", data=ivar, **how)
            f.create_dataset("spectrum_lambda", data=np.tile(GRID, (n, 1)).astype("f4"), **how)
            f.create_dataset("spectrum_mask", data=mask, **how)
            f["object_id"], f["TARGETID"] = ids, ids
            f["ra"], f["dec"], f["Z"], f["ZWARN"] = rng.random(n), rng.random(n), rng.random(n), np.zeros(n, "i8")
            f["healpix"], f["HEALPIX"] = np.zeros(n, "i8"), np.zeros(n, "i8")
            z = f["Z"][...]
        r, out = ok_dump("foreign", path)
        check("desi" in r.stdout, "mmu desi: kind")
        o = load(out, "object", OBJECT, -1)
        check((o["id"] == ids).all() and not o["has_image"].any() and o["has_spectrum"].all(), f"{path}: identifiers, flags")
        check((load(out, "ivar", "<f4", (n, 7781)) == np.where(mask, 0, ivar)).all(), f"{path}: True = bad")
        check((load(out, "flux", "<f4", (n, 7781)) == np.where(mask & np.isnan(flux), 0, flux)).all(), f"{path}: flux")
        check((load(out, "label-redshift", "<f4", n) == z.astype("f4")).all(), f"{path}: redshift")
        check(not load(out, "image", "<f4", -1).any(), f"{path}: no images")
    with h5py.File(path, "a") as f:
        f["spectrum_lambda"][20, 7000] += 0.5
    refused(path, 3, "spectrum_lambda, row 20: pixel 7000")
    with h5py.File(path, "a") as f:
        del f["spectrum_ivar"]
        f["spectrum_ivar"] = np.ones((n - 1, 7781), "f4")
    refused(path, 3, "spectrum_ivar has 36 rows")


def test_mmu_legacy():
    n = 21
    path = os.path.join(here, "mmu-legacy.hdf5")
    cube = rng.normal(size=(n, 4, 160, 160)).astype("f4")
    clean = rng.random((n, 160, 160)) < 0.7
    names = np.array([f"{1000 + i:04d}p222-{i * 7}" for i in range(n)], "S")
    with h5py.File(path, "w") as f:
        how = dict(compression="lzf", chunks=True)
        f.create_dataset("image_array", data=cube, maxshape=(None, 4, 160, 160), **how)
        f.create_dataset("image_mask", data=clean, **how)
        f["image_band"] = np.tile(np.array([b"des-g", b"des-r", b"des-i", b"des-z"]), (n, 1))
        f["object_id"] = names
        f["ra"], f["dec"] = rng.random(n).astype("f4"), rng.random(n).astype("f4")
        f.create_dataset("FLUX_G", data=rng.random(n).astype("f4"), **how)
        fluxes = f["FLUX_G"][...]
    r, out = ok_dump("foreign", path)
    check("legacysurvey" in r.stdout, "mmu legacy: kind")
    check((load(out, "image", "<f4", (n, 3, 152, 152)) == cube[:, [0, 1, 3], 4:156, 4:156]).all(), "mmu legacy: central 152 of g, r, z")
    check((load(out, "clean", "u1", (n, 152, 152)) == clean[:, 4:156, 4:156]).all(), "mmu legacy: True = clean")
    o = load(out, "object", OBJECT, -1)
    check(len(set(o["id"])) == n and (o["id"] > 0).all(), "mmu legacy: identifiers from text are different and positive")
    check((load(out, "label-FLUX_G", "<f4", n) == fluxes).all(), "mmu legacy: lzf column")
    ids = o["id"].copy()
    with h5py.File(path, "a") as f:  # bands in another order, and variable-length texts: the same objects
        del f["image_band"], f["object_id"], f["image_array"]
        f["image_array"] = cube[:, [3, 1, 2, 0]]
        f.create_dataset("image_band", data=np.tile(np.array(["des-z", "des-r", "des-i", "des-g"], object), (n, 1)), dtype=h5py.string_dtype())
        f.create_dataset("object_id", data=[x.decode() for x in names], dtype=h5py.string_dtype())
    r, out = ok_dump("foreign", path)
    check((load(out, "image", "<f4", (n, 3, 152, 152)) == cube[:, [0, 1, 3], 4:156, 4:156]).all(), "mmu legacy: bands by name")
    check((load(out, "object", OBJECT, -1)["id"] == ids).all(), "mmu legacy: the same text gives the same identifier")
    with h5py.File(path, "a") as f:
        f["image_band"][5, 0] = "des-y"
    refused(path, 3, "row 5: no band z")
    with h5py.File(path, "a") as f:
        del f["image_array"], f["image_band"]
        f["image_array"] = np.zeros((n, 4, 151, 151), "f4")
    refused(path, 3, "151 x 151")


def test_mmu_ssl():
    n = 4
    path = os.path.join(here, "mmu-ssl.hdf5")
    images = rng.normal(size=(n, 3, 152, 152)).astype("f4")
    with h5py.File(path, "w") as f:
        f["image_array"] = images
        f["image_band"] = np.tile(np.array([b"des-g", b"des-r", b"des-z"]), (n, 1))
        f["object_id"] = np.array([b"17", b"39627788403084375", b"-4", b"9"])
        f["z_spec"] = np.array([0.1, -99, 0.3, 0.4])
    r, out = ok_dump("foreign", path)
    check("ssl_legacysurvey" in r.stdout, "mmu ssl: kind")
    check((load(out, "object", OBJECT, -1)["id"] == [17, 39627788403084375, -4, 9]).all(), "mmu ssl: numbers as text")
    check((load(out, "image", "<f4", images.shape) == images).all(), "mmu ssl: images")
    check(np.isnan(load(out, "label-redshift", "<f4", n)[1]), "mmu ssl: z_spec")


def test_strange():
    path = os.path.join(here, "strange.h5")
    with h5py.File(path, "w") as f:
        f["x"] = np.zeros(3)
    refused(path, 3, "neither AstroCLIP's")
    with h5py.File(path, "w") as f:  # claims 3e15 bytes, holds none
        f.create_dataset("images", shape=(10**10, 3, 152, 152), dtype="f4", chunks=(1, 3, 152, 152))
        f["objid"] = np.zeros(3)
    refused(path, 3)
    with h5py.File(path, "w") as f:
        f.create_dataset("object_id", shape=(10**9,), dtype="i8")  # declared, never written
        f["image"] = np.zeros((1, 3, 152, 152), "f4")
    refused(path, 3, "never written", mode="set")
    with open(path, "wb") as f:
        f.write(b"SIMPLE  =                    T" + b" " * 4000)
    refused(path, 3, "a FITS file where HDF5 is read")
    with open(path, "wb") as f:
        f.write(b"neither HDF5 nor FITS" * 200)
    refused(path, 3, "not a readable HDF5 file")


def test_shard():
    """A shard through h5py: names, shapes, types, attributes, and the checksum formed with another xxhash binding."""
    folder = os.path.join(here, "fixture")
    subprocess.run([DUMP, "fixture", folder, "5", "7", "4"], check=True, timeout=60)
    xxh = ctypes.CDLL("libxxhash.so.0").XXH3_64bits_withSeed
    xxh.restype, xxh.argtypes = ctypes.c_uint64, [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint64]
    want = {"image": ("<f4", (3, 152, 152), "nanomaggy"), "spectrum": ("<f4", (7781,), "10**-17 erg/(s cm2 Angstrom)"),
            "spectrum_ivar": ("<f4", (7781,), None), "object_id": ("<i8", (), ""), "ra": ("<f8", (), "deg"), "dec": ("<f8", (), "deg"),
            "has_image": ("u1", (), ""), "has_spectrum": ("u1", (), ""), "label/redshift": ("<f4", (), ""), "label/colour": ("<f4", (), "")}
    with h5py.File(os.path.join(folder, "shard-0000.h5"), "r") as f:
        check(f.attrs["syzygy_format"] == "shard" and f.attrs["format_version"] == 1, "shard: format")
        check("created_by" in f.attrs and "input" in f.attrs, "shard: provenance")
        names = []
        f.visititems(lambda n, x: names.append(n) if isinstance(x, h5py.Dataset) else None)
        check(sorted(names) == sorted(want), f"shard: datasets {names}")
        for name, (dtype, shape, unit) in want.items():
            d = f[name]
            check(d.dtype == np.dtype(dtype) and d.shape == (4,) + shape, f"shard: {name} is {d.dtype} {d.shape}")
            check(d.attrs["description"] != "" and (unit is None or d.attrs["units"] == unit), f"shard: {name} attributes")
            rows = d[...]
            total = sum(xxh(rows[i].tobytes(), rows[i].nbytes, i + 1) for i in range(4)) % 2**64
            check(d.attrs["checksum"].decode() == f"{total:016x}", f"shard: checksum of {name}")
        check((f["object_id"][...] == 39000000000000000 + np.arange(4)).all(), "shard: identifiers")
        image = f["image"][...]
    r, out = ok_dump("set", folder)
    check((load(out, "image", "<f4", (7, 3, 152, 152))[:4] == image).all(), "shard: images")
    # what h5py users make of it: no format attribute, only one modality, chunked, float64 labels
    path = os.path.join(here, "by-h5py.h5")
    with h5py.File(path, "w") as f:
        f["object_id"] = np.arange(3)
        f.create_dataset("spectrum", data=rng.normal(size=(3, 7781)), chunks=(1, 7781), compression="lzf")
        f["label/z"] = rng.random(3)
        flux, z = f["spectrum"][...].astype("f4"), f["label/z"][...].astype("f4")
    r, out = ok_dump("set", path)
    o = load(out, "object", OBJECT, -1)
    check(not o["has_image"].any() and o["has_spectrum"].all() and np.isnan(o["dec"]).all(), "h5py shard: flags")
    check((load(out, "flux", "<f4", (3, 7781)) == flux).all() and (load(out, "label-z", "<f4", 3) == z).all(), "h5py shard: values")


try:
    for name, test in list(globals().items()):
        if name.startswith("test_"):
            test()
finally:
    shutil.rmtree(here)
finish()
