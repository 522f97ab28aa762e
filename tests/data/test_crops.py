#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Crops against NumPy and SciPy: the blur, the cut with its symmetry, the colours, and the distribution of every draw. Each gate is shown to see a
fault of one per cent."""
import os
import shutil
import subprocess
import sys
import tempfile

import h5py
import numpy as np
from scipy import stats
from scipy.ndimage import gaussian_filter

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import check_quietly as check, driver, finish

DRIVER = driver("augment_driver")
S = 152
PSF = [(0.2109966, 1.0807153, 1.3153171), (0.3008485, 1.2394326, 0.9164757), (0.3471172, 1.1928363, 0.8233702)]
NOISE = [(0.2264926, -0.0006735, 0.0037602), (0.2431146, -0.0023663, 0.0067417), (0.1334844, -0.0143416, 0.0260779)]
rng = np.random.default_rng(17)
here = tempfile.mkdtemp(prefix="syzygy-crops-")
CHANCE = 1e-5  # p below which a law is refused: some hundred laws are tested with fixed seeds


def tool(*words):
    out = os.path.join(here, "out")
    subprocess.run([DRIVER, *map(str, words), out], check=True, timeout=100)
    return out


def save(x):
    path = os.path.join(here, "image")
    x.astype("<f4").tofile(path)
    return path


def stamp():
    """Noise, a gradient and a few stars, one of them at a corner and one on an edge: no symmetry."""
    x = rng.normal(0, 0.02, (3, S, S)) + np.linspace(0, 0.05, S)
    for b in range(3):
        for y, k in [(0, 0), (75, 151), (77, 71), (140, 20)]:
            x[b, y, k] += 3 + b
    return x.astype("f4")


def blur():
    image = stamp()[1]
    path, worst, least_faulty = save(image), 0, 1
    for top, left, size, sigma in [(0, 0, 152, 1.0), (0, 0, 60, 2.7), (92, 92, 60, 2.7), (92, 0, 60, 1.9), (40, 50, 60, 0.6), (8, 3, 144, 1.3),
                                   (0, 8, 144, 4.0), (46, 46, 60, 17.0), (0, 0, 152, 30.0), (60, 60, 1, 3.0), (151, 0, 1, 8.0), (20, 30, 33, 0.1)]:
        got = np.fromfile(tool("blur", path, top, left, size, sigma), "<f4").reshape(size, size)

        def wanted(s):
            return gaussian_filter(image.astype("f8"), s, mode="reflect")[top : top + size, left : left + size]

        scale = np.abs(wanted(sigma)).max()
        error = np.abs(got - wanted(sigma)).max() / scale
        worst = max(worst, error)
        if sigma >= 0.6:  # at sigma 0.1 the kernel is one pixel
            least_faulty = min(least_faulty, np.abs(got - wanted(1.01 * sigma)).max() / scale)
        check(error < 2e-6, f"blur {top} {left} {size} {sigma}: {error:.2g} of the largest value from SciPy's, at most 2e-6")
    print(f"blur: within {worst:.2g} of SciPy; sigma 1 % off is {least_faulty:.2g} away")
    check(least_faulty > 1e-5, "blur: a sigma that is 1 % off is not seen")


def colours(x):
    g, r, z = x.astype("f8")
    s = np.stack([2.2 * z + 0.03, 3.4 * r + 0.03, 6.0 * g + 0.03])
    i = np.maximum(s, 0).mean(0)
    return np.clip(s * (np.arcsinh(20 * i) / np.sqrt(20)) / np.where(i == 0, 1e-6, i), 0, 1)


def made(image, seed, group, crop, size, n):
    kind = np.dtype([("draw", "<f8", 11), ("cut", "<f4", (3, size, size)), ("noisy", "<f4", (3, size, size)), ("planes", "<f4", (3, size, size))])
    return np.fromfile(tool("make", save(image), seed, group, crop, size, n), kind)


def pipeline():
    """The whole way of a crop from its draws, in float64."""
    image = stamp()
    worst_cut = worst_planes = 0
    seen = set()
    for group, crop, size, n in [(0, 0, 144, 12), (0, 1, 144, 20), (1, 7, 60, 120), (1, 0, 7, 60), (1, 2, 152, 4)]:
        for row in made(image, 4, group, crop, size, n):
            top, left, turns, flip_x, flip_y = row["draw"][:5].astype(int)
            seen.add((turns, flip_x, flip_y))
            for b in range(3):
                sigma = row["draw"][5 + b]
                x = gaussian_filter(image[b].astype("f8"), sigma, mode="reflect") if sigma > 0 else image[b]
                x = np.rot90(x[top : top + size, left : left + size], turns)
                x = x[:, ::-1] if flip_x else x
                x = x[::-1] if flip_y else x
                if sigma == 0:
                    check(np.array_equal(x, row["cut"][b]), f"group {group}: a crop without blur is not a permutation of the stamp's pixels")
                worst_cut = max(worst_cut, np.abs(x - row["cut"][b]).max() / np.abs(x).max())
                if row["draw"][8 + b] == 0:
                    check(np.array_equal(row["cut"][b], row["noisy"][b]), "noise without a level")
            worst_planes = max(worst_planes, np.abs(colours(row["noisy"]) - row["planes"]).max())
    print(f"crops: within {worst_cut:.2g}; colour planes within {worst_planes:.2g}; {len(seen)} of 16 symmetry draws seen")
    check(len(seen) == 16, "not all symmetries were drawn")
    check(worst_cut < 2e-6, f"crops: {worst_cut:.2g} from NumPy, at most 2e-6")
    check(worst_planes < 2e-6, f"planes: {worst_planes:.2g} from NumPy, at most 2e-6")


def astroclip():
    """The published data file, whose axes are (x, y, band), contiguous (read by the loader's thread) and compressed (left to the main thread)."""
    size, n = 100, 6
    cube = rng.normal(0.02, 0.05, (n, 3, S, S)).astype("f4")
    kind = np.dtype([("number", "<i8"), ("draw", "<f8", 11), ("planes", "<f4", (3, size, size))])
    for name, how in (("contiguous", {}), ("compressed", dict(chunks=True, compression="gzip", compression_opts=1))):
        path = os.path.join(here, f"{name}.h5")
        with h5py.File(path, "w") as f:
            for g, rows in ((0, slice(0, 4)), (3, slice(4, n))):
                f.create_dataset(f"{g}/images", data=np.ascontiguousarray(cube[rows].transpose(0, 3, 2, 1)), **how)
                f[f"{g}/spectra"] = np.ones((len(cube[rows]), 7781, 1), "f4")
                f[f"{g}/redshifts"] = np.zeros(len(cube[rows]))
                f[f"{g}/targetids"] = np.arange(len(cube[rows]))
        out = np.fromfile(tool("set", path, 3, size, 0, 0), kind)
        check(sorted(out["number"]) == list(range(n)), f"{name}: every object once")
        for row in out:
            top, left, turns, flip_x, flip_y = row["draw"][:5].astype(int)
            x = np.rot90(cube[row["number"], :, top : top + size, left : left + size], turns, (1, 2))
            x = x[:, :, ::-1] if flip_x else x
            x = x[:, ::-1] if flip_y else x
            check(np.abs(colours(x) - row["planes"]).max() < 2e-6, f"{name}: object {row['number']}: crop differs")


def noise():
    """Noise over its drawn level is standard normal, independent between bands, crops and places."""
    rows = made(stamp(), 8, 0, 0, 144, 60)
    added = rows["noisy"].astype("f8") - rows["cut"]
    level = rows["draw"][:, 8:11]
    unit = [added[i, b] / level[i, b] for i in range(len(rows)) for b in range(3) if level[i, b] > 0.001]
    x = np.concatenate([u.ravel() for u in unit])
    error = abs(x.std() - 1)
    print(f"noise: {len(unit)} of {level.size} bands; standard deviation {x.std():.5f} of the level, mean {x.mean():.2g}")
    limit = 5 / np.sqrt(2 * len(x))
    check(0.35 * level.size < len(unit) < 0.65 * level.size, "noise is applied where the wanted level is larger: half of the bands")
    check(error < limit < 0.01 - limit, f"noise: standard deviation {x.std():.5f} of the level, wanted 1 within {limit:.2g}")
    check(abs(x.mean()) < 5 / np.sqrt(len(x)), "noise has a mean")
    check(stats.kstest(x[::7], "norm").pvalue > CHANCE, "noise is not normal")
    between = np.array([np.mean(unit[i] * unit[j]) for i in range(len(unit)) for j in range(i)])
    check(np.abs(between).max() < 5.5 / 144, f"noise of two bands is correlated: {np.abs(between).max():.3g}")
    lags = [np.mean(u[:, 1:] * u[:, :-1]) for u in unit] + [np.mean(u[1:] * u[:-1]) for u in unit]
    check(np.abs(lags).max() < 5 / 143, "noise of neighbouring pixels is correlated")


def quadrature_law(shape, loc, scale):
    """The exact distribution of sqrt(wanted^2 - true^2) where wanted is larger: an integral over the true level."""
    node, weight = np.polynomial.hermite_e.hermegauss(120)
    true = np.exp(np.log(scale) + shape * node) + loc
    law = stats.lognorm(s=shape, loc=loc, scale=scale)
    grid = np.linspace(0, 1, 4000) ** 2 * (loc + scale * np.exp(8 * shape))
    cdf = sum(w * law.cdf(np.sqrt(t * t + grid * grid)) for t, w in zip(true, weight)) / weight.sum()
    start = cdf[0]  # one half: the wanted level is not larger
    return lambda x: np.interp(x, grid, (cdf - start) / (1 - start))


def draws():
    n = 1_000_000

    def drawn(group, crop, blur, noise, count=n):
        return np.fromfile(tool("draws", 23, group, crop, blur, noise, count), "<f8").reshape(-1, 11)

    x = drawn(1, 3, 1, 1)
    sees = 0
    for k, (fits, what) in enumerate([(PSF, "blur"), (NOISE, "noise")]):
        for b, (shape, loc, scale) in enumerate(fits):
            sigma = x[:, 5 + 3 * k + b]
            share = np.mean(sigma > 0)
            check(abs(share - 0.5) < 2.5 / np.sqrt(n), f"{what} {b}: wanted above true in {share:.4f} of the draws")
            used = sigma[sigma > 0]
            p = stats.kstest(used, quadrature_law(shape, loc, scale)).pvalue
            off = stats.kstest(used, quadrature_law(1.01 * shape, loc, scale)).pvalue
            sees += off < CHANCE
            check(p > CHANCE, f"{what} {b}: levels are not those of the fit (p = {p:.2g})")
    print(f"levels: {sees} of 6 laws with a shape 1 % off would be refused")
    check(sees == 6, "the test of levels does not see 1 %")
    levels = x[:, 5:]
    correlation = np.corrcoef(np.where(levels > 0, levels, 0).T) - np.eye(6)
    check(np.abs(correlation).max() < 5 / np.sqrt(n), f"levels of bands are correlated: {np.abs(correlation).max():.3g}")

    # Where and how: uniform places, eight symmetries, and nothing depends on anything else.
    def uniform(counts, what):
        p = stats.chisquare(counts).pvalue
        check(p > CHANCE, f"{what} is not uniform (p = {p:.2g})")

    uniform(np.bincount(x[:, 0].astype(int), minlength=93), "row")
    uniform(np.bincount(x[:, 1].astype(int), minlength=93), "column")
    check(x[:, :2].max() == 92, "places of a local crop end at 92")
    uniform(np.bincount((x[:, 2] * 4 + x[:, 3] * 2 + x[:, 4]).astype(int), minlength=16), "symmetry")
    correlation = np.corrcoef(x[:, :5].T) - np.eye(5)
    check(np.abs(correlation).max() < 5 / np.sqrt(n), "draws of place and symmetry are correlated")

    # Probabilities, one at a time; crops differ from each other.
    few = 40_000
    tables = {}
    for group, crop in [(0, 0), (0, 1), (0, 2), (1, 0), (1, 5)]:
        for blur, noise in [(0, 0.9), (0.5, 0), (0.9, 0.1)]:
            t = tables[group, crop] = drawn(group, crop, blur, noise, few)
            for wanted, first in [(blur, 5), (noise, 8)]:
                some = np.mean((t[:, first : first + 3] > 0).any(1))
                expected = wanted * (1 - 1 / 8)
                tolerance = 5 * np.sqrt(expected * (1 - expected) / few)
                check(abs(some - expected) <= tolerance, f"group {group} crop {crop}: probability {wanted}: {some:.4f}, expected {expected:.4f}")
    check(tables[0, 0][:, 0].max() == 8, "places of a global crop end at 8")
    keys = list(tables)
    for i, a in enumerate(keys):
        for b in keys[:i]:
            if a[0] == b[0]:
                same = np.mean(tables[a][:, 0] == tables[b][:, 0])
                expected = 1 / (93 if a[0] else 9)
                check(abs(same - expected) < 5 * np.sqrt(expected / few), f"crops {a} and {b} are cut at the same rows in {same:.3f} of the objects")


try:
    blur()
    pipeline()
    astroclip()
    noise()
    draws()
finally:
    shutil.rmtree(here)
finish()
