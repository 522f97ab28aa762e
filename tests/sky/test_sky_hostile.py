# SPDX-License-Identifier: BSD-3-Clause
"""FITS files that ask for more than they hold, and what is no file: refused in a moment and in little memory, or read in parts."""
import bz2
import gzip
import os
import shutil
import sys
import tempfile

import numpy as np
from astropy.io import fits

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import DATA, SOURCE, below, check_quietly as check, finish
from sky_reference import DRIVER, good

sys.path.insert(0, os.path.join(SOURCE, "tools"))
from attacker.harness import Run  # noqa: E402

folder = tempfile.mkdtemp(prefix="syzygy-hostile-")
CARD, BLOCK = 80, 2880


def at(name):
    return os.path.join(folder, name)


def measured(*arguments):
    return Run([os.path.abspath(DRIVER)] + [str(a) for a in arguments], 100)


def refused(label, words, *arguments, most_s=1.0, most_mb=256.0):
    run = measured(*arguments)
    check(run.code == 3 and all(w in run.text for w in words), f"{label}: exit code {run.code}, expected 3 with {words}: {run.text[-500:]}")
    below(run.cpu_s, most_s, f"{label}: seconds of processor time")
    below(run.peak_mb, most_mb, f"{label}: MB")


def header(*cards):
    return b"".join(c.encode().ljust(CARD) for c in cards + ("END",)).ljust(BLOCK)


try:
    # ------------------------------------------------------- what is no file
    os.mkfifo(at("fifo.fits"))
    refused("FIFO", ["fifo.fits", "a FIFO"], "list", at("fifo.fits"))
    refused("device", ["/dev/zero", "a device"], "list", "/dev/zero")

    # ------------------------------------------------- packed files that grow
    image = header("SIMPLE  =                    T", "BITPIX  =                  -32", "NAXIS   =                    2", "NAXIS1  =                20000",
                   "NAXIS2  =                21500")
    packer = bz2.BZ2Compressor()
    with open(at("bomb.fits.bz2"), "wb") as f:
        f.write(packer.compress(image))
        for _ in range(20):
            f.write(packer.compress(bytes(4_000_000)))
        f.write(packer.flush())
    check(os.path.getsize(at("bomb.fits.bz2")) < 4000, "80 MB, and 1.7 GB by the header, in a few bytes")
    refused("bzip2, as its header says", ["bomb.fits.bz2", "unpack it first"], "list", at("bomb.fits.bz2"))
    with open(at("long.fits.gz"), "wb") as f:
        f.write(gzip.compress(image[:-BLOCK // 2] + bytes(150_000_000), 9))
    refused("gzip of a header without end", ["long.fits.gz"], "list", at("long.fits.gz"))
    small = header("SIMPLE  =                    T", "BITPIX  =                    8", "NAXIS   =                    0")
    with open(at("tail.fits.bz2"), "wb") as f:
        f.write(bz2.compress(small + bytes(150_000_000)))
    refused("bzip2 of a file with a tail", ["tail.fits.bz2", "unpack it first"], "list", at("tail.fits.bz2"), most_s=3)
    # What packs well and is sound: within 64 MiB, and beyond it up to 100 : 1.
    zeros = fits.PrimaryHDU(np.zeros((4000, 4000), "f4"))
    zeros.writeto(at("zeros.fits"))
    with open(at("zeros.fits.gz"), "wb") as f:
        f.write(gzip.compress(open(at("zeros.fits"), "rb").read(), 1))
    good("list", at("zeros.fits.gz"))
    rng = np.random.default_rng(3)
    sparse = np.zeros((4300, 4300), "f4")
    sparse[rng.integers(0, 4300, 400_000), rng.integers(0, 4300, 400_000)] = rng.normal(size=400_000)
    fits.PrimaryHDU(sparse).writeto(at("sparse.fits"))
    with open(at("sparse.fits.gz"), "wb") as f:
        f.write(gzip.compress(open(at("sparse.fits"), "rb").read(), 1))
    check(20 < os.path.getsize(at("sparse.fits")) / os.path.getsize(at("sparse.fits.gz")) < 100, "74 MB of zeros and noise")
    check(np.array_equal(np.frombuffer(good("image", at("sparse.fits.gz"), 0), np.float64), sparse.ravel().astype(float)), "a sound file is unpacked")

    # --------------------------------------------------------- damaged tiles
    noise = rng.normal(size=(180, 180)).astype("f4")
    for kind in ("GZIP_1", "GZIP_2"):
        path = at(f"{kind}.fits")
        fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(noise, compression_type=kind, quantize_level=0)]).writeto(path)
        with fits.open(path, disable_image_compression=True) as h:
            first = h[1]._data_offset
        data = bytearray(open(path, "rb").read())
        count = int.from_bytes(data[first:first + 4], "big")
        data[first:first + 4] = (count // 2).to_bytes(4, "big")  # the first tile's data end in the middle
        open(path, "wb").write(data)
        refused(f"{kind} tile without end", [path, "tile 1"], "list", path)
        refused(f"{kind} tile without end, read row by row", [path], "rows", path, 1)
    given = os.path.join(DATA, "cases", "gzip2-tile-no-end.fits")
    if os.path.exists(given):
        refused("the tile of cases/", [given], "list", given)
    # A tile that holds more than its pixels: 1 MB of gzip for 180.
    path = at("inflated.fits")
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(noise, compression_type="GZIP_1", quantize_level=0)]).writeto(path)
    with fits.open(path, disable_image_compression=True) as h:
        first, rows = h[1]._data_offset, h[1].header["NAXIS1"] * h[1].header["NAXIS2"]
    data = bytearray(open(path, "rb").read())
    bomb = gzip.compress(bytes(80_000_000), 9)[:100_000]
    data[first:first + 4] = (len(bomb)).to_bytes(4, "big")
    data[first + rows:first + rows + len(bomb)] = bomb
    open(path, "wb").write(data)
    refused("a tile that unpacks to more than it has pixels", [path, "tile 1"], "list", path)

    # ------------------------------------------- images larger than is needed
    def tiled(path, width, height, tile):
        """Rice tiles of zeros for an image of any size, all of them the same bytes."""
        seed = fits.CompImageHDU(np.zeros(tile, "i2"), compression_type="RICE_1", tile_size=tile[::-1])
        fits.HDUList([fits.PrimaryHDU(), seed]).writeto(at("seed.fits"), overwrite=True)
        with fits.open(at("seed.fits"), disable_image_compression=True) as h:
            head, start = h[1].header.copy(), h[1]._data_offset
            place = h[1].header["NAXIS1"] * h[1].header["NAXIS2"]
            raw = open(at("seed.fits"), "rb").read()[start:]
            row, heap = raw[:h[1].header["NAXIS1"]], raw[place:place + h[1].header["PCOUNT"]]
        tiles = -(-width // tile[1]) * -(-height // tile[0])
        head["NAXIS2"], head["ZNAXIS1"], head["ZNAXIS2"], head["PCOUNT"] = tiles, width, height, len(heap)
        head["FILTER"], head["BUNIT"], head["CTYPE1"], head["CTYPE2"] = "r", "nanomaggy", "RA---TAN", "DEC--TAN"
        for key, value in (("CRVAL1", 150.0), ("CRVAL2", 2.0), ("CRPIX1", width / 2), ("CRPIX2", height / 2), ("CD1_1", -0.262 / 3600), ("CD1_2", 0.0),
                           ("CD2_1", 0.0), ("CD2_2", 0.262 / 3600)):
            head[key] = value
        body = row * tiles + heap
        with open(path, "wb") as f:
            f.write(open(at("seed.fits"), "rb").read()[:BLOCK])
            f.write(head.tostring().encode())
            f.write(body + bytes(-len(body) % BLOCK))

    tiled(at("huge.fits.fz"), 23500, 23500, (500, 500))  # 552 million pixels
    check(os.path.getsize(at("huge.fits.fz")) < 60_000, "a small file")
    run = measured("cutout", at("huge.fits.fz"))
    check(run.code == 0, f"a stamp of an image of 2.2 GB: {run.text[-500:]}")
    below(run.cpu_s, 1.0, "a stamp of an image of 2.2 GB: seconds of processor time")
    below(run.peak_mb, 256, "a stamp of an image of 2.2 GB: MB")
    tiled(at("onetile.fits.fz"), 100, 100, (100, 100))
    data = bytearray(open(at("onetile.fits.fz"), "rb").read())
    for key in (b"ZNAXIS1 ", b"ZNAXIS2 ", b"ZTILE1  ", b"ZTILE2  "):
        place = data.find(key + b"=")
        data[place + 10:place + 30] = b"16000".rjust(20)
    open(at("onetile.fits.fz"), "wb").write(data)
    refused("one tile of 256 million pixels", ["onetile.fits.fz", "a tile of"], "cutout", at("onetile.fits.fz"))

    # --------------------------- parts of large images are what the whole has
    big = rng.normal(size=(4300, 4200)).astype("f4")
    whole = fits.Header()
    for key, value in (("CTYPE1", "RA---TAN"), ("CTYPE2", "DEC--TAN"), ("CRVAL1", 150.0), ("CRVAL2", 2.0), ("CRPIX1", 2100.5), ("CRPIX2", 2150.5), ("CD1_1", -0.262 / 3600),
                       ("CD1_2", 0.0), ("CD2_1", 0.0), ("CD2_2", 0.262 / 3600), ("BUNIT", "nanomaggy"), ("FILTER", "r")):
        whole[key] = value
    fits.PrimaryHDU(big, whole).writeto(at("big.fits"))
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(big, whole, compression_type="GZIP_1", quantize_level=0, tile_size=(700, 300))]).writeto(at("big.fits.fz"))
    from astropy.wcs import WCS
    sky = WCS(whole)
    for x, y in ((2100, 2150), (100, 4200), (4120, 90), (1000, 1020)):
        ra, dec = sky.all_pix2world([[x, y]], 0)[0]
        stamps = [np.frombuffer(good("cutout", path, f"ra={ra:.12f}", f"dec={dec:.12f}"), "f4").reshape(152, 152) for path in (at("big.fits"), at("big.fits.fz"))]
        # The stamp's middle is at 75.5: either neighbour is the nearest pixel.
        found = []
        for dy in (0, 1):
            for dx in (0, 1):
                part = np.full((152, 152), np.nan, "f4")
                ys, xs = np.arange(y - 76 + dy, y + 76 + dy), np.arange(x - 76 + dx, x + 76 + dx)
                inside = np.ix_((ys >= 0) & (ys < 4300), (xs >= 0) & (xs < 4200))
                part[inside] = big[np.ix_(ys[(ys >= 0) & (ys < 4300)], xs[(xs >= 0) & (xs < 4200)])]
                found.append(all(np.array_equal(s, part, equal_nan=True) for s in stamps))
        check(any(found), f"pixels copied at ({x}, {y}), plain and in tiles")
        # Resampled to another scale: the same as from a part of the image with its own reference pixel.
        x0, y0 = max(x - 400, 0), max(y - 400, 0)
        part = big[y0:y + 400, x0:x + 400]
        cut = whole.copy()
        cut["CRPIX1"], cut["CRPIX2"] = whole["CRPIX1"] - x0, whole["CRPIX2"] - y0
        fits.PrimaryHDU(part, cut).writeto(at("part.fits"), overwrite=True)
        for how in ("lanczos", "area"):
            options = (f"ra={ra:.12f}", f"dec={dec:.12f}", "size=152", "arcsec=0.4", f"how={how}")
            a, b, c = (np.frombuffer(good("cutout", p, *options), "f4") for p in (at("big.fits"), at("big.fits.fz"), at("part.fits")))
            check(np.array_equal(a, b, equal_nan=True), f"{how} at ({x}, {y}): plain and tiles give the same bits")
            check(np.array_equal(np.isnan(a), np.isnan(c)), f"{how} at ({x}, {y}): the same pixels have a value")
            below(np.nanmax(np.abs(a - c)), 2e-5, f"{how} at ({x}, {y}): a window against a part of the file")
    below(measured("cutout", at("big.fits.fz")).peak_mb, 180, "a stamp of an image of 72 MB in tiles, of 44 MB packed: MB")
finally:
    shutil.rmtree(folder)
finish()
