# SPDX-License-Identifier: BSD-3-Clause
"""FITS written here and read back by astropy, and damaged files read here: an error with file and reason, never a crash or a hang."""
import gzip
import os
import shutil
import subprocess
import sys
import tempfile

import numpy as np
from astropy.io import fits

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import below, check_quietly as check, finish
from sky_reference import good, refused, run

HAS_FITSVERIFY = shutil.which("fitsverify") is not None
if not HAS_FITSVERIFY:
    print("SKIPPED: fitsverify is not installed (tools/install-deps --tests): files are checked by astropy alone")


def verified(path):
    if not HAS_FITSVERIFY:
        return
    said = subprocess.run(["fitsverify", "-q", path], capture_output=True, text=True)
    check(said.returncode == 0, f"{path}: fitsverify: {said.stdout}{said.stderr}")


folder = tempfile.mkdtemp(prefix="syzygy-fits-")
try:
    # ------------------------------------------------------------- written here
    f = folder + "/all.fits"
    good("write", f)
    check(os.listdir(folder) == ["all.fits"], "nothing but the file is left")
    verified(f)
    import warnings
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # astropy warns of wrong CHECKSUM and DATASUM
        with fits.open(f, checksum=True) as h:
            names = [x.name for x in h]
            check(names == ["PRIMARY", "PLAIN", "DITHER", "RICE", "GZIP", "MASK", "MASKRICE", "TABLE"], str(names))
            check(all("CHECKSUM" in fits.getheader(f, i, disable_image_compression=True) for i in range(len(h))), "every HDU has a CHECKSUM")
            p = h[0].header
            check(p["SURVEY"] == "it's a test" and p["PI"] == np.pi and p["LONG"].endswith("in the next"), "keywords")
            plain = h["PLAIN"].data
            check(plain.shape == (230, 310) and plain.dtype.kind == "f" and abs(plain.std() - 0.96) < 0.02, "plain image")
            check((plain.ravel()[::13] == 0).all() and (h["DITHER"].data.ravel()[::13] == 0).all(), "zeros stay exact under SUBTRACTIVE_DITHER_2")
            check((h["GZIP"].data == plain).all(), "GZIP is lossless")
            below(np.abs(h["DITHER"].data - plain).max(), 0.5 / 16 * 1.3, "dithered Rice: half a quantum of 1/16 sigma")
            below(np.abs(h["RICE"].data - plain).max(), 0.5 / 16 * 1.3, "plain Rice")
            below(abs((h["DITHER"].data - plain).mean()), 3e-4, "dithering has no bias")
            i = np.arange(230 * 310, dtype=np.int64).reshape(230, 310)
            check((h["MASK"].data == i * 1000 - 12345).all() and (h["MASKRICE"].data == i * 1000 - 12345).all(), "integer masks are exact")
            from astropy.wcs import WCS
            sky = WCS(h["PLAIN"].header).all_pix2world([[100.5, 99.5]], 0)[0]
            check(np.allclose(sky, [150.1, 2.2], atol=1e-9) and abs(h["DITHER"].header["CD2_2"] * 3600 - 0.262) < 1e-12, "TAN keywords")
            t = h["TABLE"].data
            r = np.arange(1000)
            check((t["TARGETID"] == 39627788403084375 + r).all() and t["TARGETID"].dtype.itemsize == 8, "64-bit identifiers")
            check((t["RA"] == 359.999999 - r / 3.0).all() and (t["SMALL"] == r - 500).all() and (t["FLAG"] == (r % 3 == 0)).all(), "columns")
            check(list(t["NAME"][:3]) == ["n0", "n1", "n2"] and t["VECTOR"].shape == (1000, 7) and t["VECTOR"][3, 2] == 3.5, "text and vectors")
            check(h["TABLE"].header["TUNIT2"] == "deg" and h["TABLE"].header["TDIM6"] == "(7)", "units and TDIM")
    # And read back here: the tiles by cfitsio in the child.
    for hdu in range(1, 7):
        got = np.frombuffer(good("image", f, hdu), np.float64)
        with fits.open(f) as h:
            check(np.allclose(got, np.asarray(h[hdu].data, float).ravel(), rtol=0, atol=1e-6), f"HDU {hdu} read back")

    # One table by many handles.
    for rows, parts in ((1, 1), (10, 3), (1001, 4), (0, 2)):
        t = folder + f"/table-{rows}.fits"
        good("table", t, rows, parts)
        verified(t)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with fits.open(t, checksum=True) as h:
                d = h["EMBEDDING"].data
                r = np.arange(rows)
                check((d["TARGETID"] == r * 1000003).all() and (d["RA"] == r / 7).all() and (d["ODD"][:, 0] == r % 256).all() and
                      (d["SPECTRUM_EMBEDDING"] == (r[:, None] * 5 + np.arange(5))).all(), f"{rows} rows by {parts} handles")
                check("CHECKSUM" in h[1].header and h[1].header["TFORM4"] == "5E", "header")

    # ------------------------------------------------------------- damaged
    refused("empty", "list", "/dev/null" if False else (open(folder + "/empty.fits", "wb").close() or folder + "/empty.fits"))
    refused("cannot be opened", "list", folder + "/none.fits")
    refused("not a file", "list", folder)
    rng = np.random.default_rng(5)
    open(folder + "/random.fits", "wb").write(rng.bytes(100000))
    refused("not a FITS file", "list", folder + "/random.fits")
    whole = open(f, "rb").read()

    def attempt(data, name="x.fits"):
        path = os.path.join(folder, name)
        open(path, "wb").write(data)
        code, _, message = run("list", path)
        ok = code in (0, 3) and (code == 0 or (name in message and len(message) > len(path)))
        check(ok, f"{name}: exit code {code}: {message}")
        return code, message

    # Cut anywhere inside an HDU.
    with fits.open(f) as h:
        spans = [(x._header_offset, x._data_offset, x._data_size) for x in h]
    for cut in (100, 2881, 5000, spans[1][1] + 10, spans[-1][1] + 100, len(whole) - 2880):
        code, message = attempt(whole[:cut], "cut.fits")
        check(code == 3, f"cut at {cut}: {message}")
    attempt(gzip.compress(whole), "packed.fits.gz")
    code, message = attempt(gzip.compress(whole)[:-4000], "cut.fits.gz")
    check(code == 3 and "cut short" in message, message)
    code, message = attempt(gzip.compress(b"SIMPLE  =" + b"\0" * 50_000_000), "bomb.fits.gz")
    check(code == 3, message)

    # One wrong keyword each: what cfitsio would divide by, or allocate.
    def edit(key, card, count=1, note=""):
        k = key.encode().ljust(8)
        at = whole.find(k + b"=")
        check(at > 0, key)
        data = whole[:at] + (k + b"= " + card.encode().rjust(20)).ljust(80) + whole[at + 80:]
        code, message = attempt(data, f"edit-{key}.fits")
        check(code == 3, f"{key} = {card}: accepted")
        return message

    for key, card in (("ZTILE1", "0"), ("ZTILE2", "-1"), ("ZVAL1", "0"), ("ZVAL2", "77"), ("ZNAXIS1", "999999999999"), ("ZNAXIS1", "1"), ("ZNAXIS", "1000"),
                      ("ZBITPIX", "12"), ("BITPIX", "7"), ("NAXIS", "-3"), ("NAXIS1", "999999999999"), ("NAXIS2", "-5"), ("TFIELDS", "1000"),
                      ("PCOUNT", "9999999999"), ("ZCMPTYPE", "'NONE'"), ("TFORM1", "'1QQ'")):
        edit(key, card)

    # Bits flipped at random, in the tiles and everywhere; with the checksums left in, most are found by them, without by the checks.
    bare = whole.replace(b"CHECKSUM=", b"XHECKSUM=").replace(b"DATASUM =", b"XATASUM =")
    crashes = accepted = 0
    start = spans[2][0]
    for trial in range(150):
        source = bytearray(bare if trial % 2 else whole)
        for _ in range(int(rng.integers(1, 5))):
            at = int(rng.integers(start, spans[5][0])) if trial % 3 else int(rng.integers(0, len(source)))
            source[at] ^= 1 << int(rng.integers(0, 8))
        code, message = attempt(bytes(source), "flip.fits")
        accepted += code == 0
        if trial % 2 == 0 and code == 0:
            # Only flips inside padding that no sum covers could pass: there are none, padding is summed.
            check(False, f"trial {trial}: a flipped bit passed the checksums")
    print(f"150 flipped files: {accepted} readable without checksums, no crash")

    # A decoder that dies or lies: tiles of random bytes of the right length.
    noise = bytearray(bare)
    a, b = spans[2][1] + 3 * 20, spans[2][1] + spans[2][2]
    for trial in range(20):
        noise[a + 200:b] = rng.bytes(b - a - 200)
        attempt(bytes(noise), "noise.fits")
finally:
    shutil.rmtree(folder)
finish()
