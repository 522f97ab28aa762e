# SPDX-License-Identifier: BSD-3-Clause
"""Tall QR, canonical correlations, held-out ones, shuffled partners, InfoNCE and uniformity against SciPy and NumPy; on 1, 2, 3 and 4 ranks, LAPACK and ScaLAPACK."""
import subprocess
import sys
import os

import numpy as np
import scipy.linalg

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import check_quietly as check, driver, finish, launch, scratch

RANKS = (1, 2, 3, 4)
rng = np.random.default_rng(8)
folder = scratch()


def run(ranks, task, x, y, option=0, scalapack_from=100000, **files):
    for name, value in {"x.f32": x.astype(np.float32), "y.f32": y.astype(np.float32), **files}.items():
        np.ascontiguousarray(value).tofile(f"{folder}/{name.replace('__', '.')}")
    done = launch(ranks, driver("cca_driver"), task, folder, len(x), x.shape[1], y.shape[1], option, scalapack_from, stderr=subprocess.STDOUT)
    check(done.returncode == 0, f"{task} on {ranks} ranks: {done.stdout[-1500:]}")
    check("illegal value" not in done.stdout, f"{task} on {ranks} ranks: a library complains: {done.stdout[-500:]}")


def numbers(name):
    return np.fromfile(f"{folder}/{name}")


def two_views(n, p, q, shared):
    """Float32 numbers of two sides with so many latent dimensions in common, on large means and unequal scales."""
    z = rng.normal(size=(n, shared))
    x = z @ rng.normal(size=(shared, p)) + rng.normal(size=(n, p)) * 2 + 50
    y = z @ rng.normal(size=(shared, q)) + rng.normal(size=(n, q)) * 2
    return (x * rng.uniform(0.01, 9, p)).astype(np.float32), (y * rng.uniform(0.5, 3, q)).astype(np.float32)


def centred(x):
    x = x.astype(np.float64)
    return x - x.mean(0)


def correlations(x, y):
    """By the generalised eigenproblem [0 Sxy; Syx 0] w = rho [Sxx 0; 0 Syy] w."""
    x, y = centred(x), centred(y)
    x, y = x / x.std(0), y / y.std(0)
    p, q = x.shape[1], y.shape[1]
    a, b = np.zeros((p + q, p + q)), np.zeros((p + q, p + q))
    a[:p, p:] = x.T @ y
    a[p:, :p] = y.T @ x
    b[:p, :p], b[p:, p:] = x.T @ x, y.T @ y
    return scipy.linalg.eigh(a, b, eigvals_only=True)[::-1][:min(p, q)]


def read_fit(x, y, permutations):
    data = numbers("cca.f64")
    p, q = x.shape[1], y.shape[1]
    rank, (pairs, threshold, departure) = data[:2].astype(int), data[2:5]
    pairs = int(pairs)
    at = np.cumsum([5, pairs, pairs * p, pairs * q, permutations])
    check(len(data) == at[-1], f"{len(data)} numbers, {at[-1]} expected")
    v = np.fromfile(f"{folder}/variates.f32", np.float32).astype(np.float64)
    v = v[:len(x) * pairs].reshape(len(x), pairs), v[len(x) * pairs:].reshape(len(x), pairs)
    return rank, data[at[0]:at[1]], (data[at[1]:at[2]].reshape(pairs, p), data[at[2]:at[3]].reshape(pairs, q)), v, data[at[3]:], threshold, departure


def qr():
    for rows, width, rank in [(5000, 33, 33), (6000, 70, 41), (40, 64, 40), (900, 16, 16), (7, 3, 2), (1300, 1, 1)]:
        x = rng.normal(size=(rows, width)) * 10.0 ** -np.arange(width).clip(0, 3)
        if rank < min(rows, width):  # whole numbers, so that sums of columns are exact in float32
            x = np.round(x * 1024)
            x[:, rank:] = x[:, :rank] @ rng.integers(-2, 3, (rank, width - rank))
        x = x.astype(np.float32).astype(np.float64)
        order = rng.permutation(width)
        x = x[:, order]
        first = None
        for ranks in RANKS if rows in (6000, 40) else (1, 3):
            run(ranks, "qr", x, x)
            q = np.concatenate([numbers(f"q-{r}.f64").reshape(-1, rank) for r in range(ranks)])
            r = numbers("qr.f64").reshape(-1, width)
            what = f"QR of {rows} x {width} of rank {rank}, {ranks} ranks"
            check(q.shape == (rows, rank) and r.shape == (rank, width), f"{what}: shapes {q.shape}, {r.shape}")
            check(np.abs(q.T @ q - np.eye(rank)).max() < 1e-12, f"{what}: |Q^T Q - 1| = {np.abs(q.T @ q - np.eye(rank)).max()}")
            check(np.abs(q @ r - x).max() < 1e-12 * np.abs(x).max(), f"{what}: Q R differs by {np.abs(q @ r - x).max()}")
            if first is None:
                first = q @ (q.T @ x[:, 0])
            check(np.abs(q @ (q.T @ x[:, 0]) - first).max() < 1e-11 * np.abs(x).max(), f"{what}: another space than on 1 rank")
    check(np.abs(1.01 * q.T @ q - np.eye(rank)).max() > 1e-12, "one per cent would be seen")


def same_up_to_gaps(rho):
    """Pairs whose correlation stands apart from its neighbours: their variates are known."""
    gap = np.minimum(np.diff(rho, prepend=rho[0] + 1) * -1, np.diff(rho, append=rho[-1] - 1) * -1)
    return gap > 1e-3


def fit():
    for n, p, q, shared in [(3000, 40, 25, 6), (700, 20, 50, 3)]:
        x, y = two_views(n, p, q, shared)
        half = rng.integers(0, 2, n).astype(np.uint8)
        want = correlations(x, y)
        for case in ("full", "deficient"):
            if case == "deficient":  # columns that say nothing new, and constant ones, on both sides
                x = np.concatenate([x, x[:, 3:5], np.full((n, 1), 7, np.float32), x[:, :1] * 4], 1)
                y = np.concatenate([np.zeros((n, 2), np.float32), y, y[:, ::-1]], 1)
            first = None
            for ranks in RANKS if case == "deficient" and n == 3000 else (1, 3):
                for scalapack_from in (100000, 1)[:1 + (case == "full")]:
                    run(ranks, "fit", x, y, 60, scalapack_from, half__u8=half)
                    rank, rho, weight, variate, shuffled, threshold, departure = read_fit(x, y, 60)
                    what = f"CCA of {n} x ({x.shape[1]} + {y.shape[1]}), {case}, {ranks} ranks, {'LAPACK' if scalapack_from > 1 else 'ScaLAPACK'}"
                    check(list(rank) == [p, q], f"{what}: ranks {rank}")
                    check(np.abs(rho - want).max() < 1e-8, f"{what}: correlations differ by {np.abs(rho - want).max()}")
                    check(departure < 1e-12, f"{what}: Q departs from orthonormal by {departure}")
                    u, v = centred(x) @ weight[0].T, centred(y) @ weight[1].T
                    check(np.abs(u.T @ u / (n - 1) - np.eye(len(rho))).max() < 1e-9 and np.abs(v.T @ v / (n - 1) - np.eye(len(rho))).max() < 1e-9, f"{what}: variates are not of unit variance")
                    check(np.abs(u.T @ v / (n - 1) - np.diag(want)).max() < 1e-8, f"{what}: variates correlate otherwise")
                    check(np.abs(variate[0] - u).max() < 1e-4 and np.abs(variate[1] - v).max() < 1e-4, f"{what}: projections")
                    check((weight[0][np.arange(len(rho)), np.abs(weight[0]).argmax(1)] > 0).all() if case == "full" else True, f"{what}: signs")
                    check(abs(threshold - np.quantile(shuffled, 0.99)) < 1e-14, f"{what}: quantile")
                    held = numbers("held.f64")
                    expected = held_out(x[:, :p], y[:, :q] if case == "full" else y[:, 2:q + 2], half)
                    check(np.abs(held[3:] - expected)[:shared].max() < 1e-8, f"{what}: held-out correlations {held[3:3 + shared]}, {expected[:shared]} expected")
                    check(held[1] == shared, f"{what}: {held[1]} shared dimensions, {shared} expected")
                    check((rho > threshold).sum() <= shared + 1 and rho[0] > threshold, f"{what}: threshold {threshold}")
                    if first is None:
                        first = rho, shuffled, weight, held
                    apart = same_up_to_gaps(rho)
                    check(np.abs(rho - first[0]).max() < 1e-12 and np.abs(shuffled - first[1]).max() < 1e-12, f"{what}: differs from 1 rank")
                    check(all(np.abs(w - f)[apart].max() < 1e-8 * np.abs(f).max() for w, f in zip(weight, first[2])), f"{what}: weights differ from 1 rank")
                    check(np.abs(held[3:] - first[3][3:])[:shared].max() < 1e-10, f"{what}: held-out ones differ from 1 rank")
        # By chance: the same law as NumPy's permutations.
        mine = np.array([correlations(x[:, :p], rng.permutation(y[:, 2:q + 2]))[0] for _ in range(60)])
        check(abs(mine.mean() - shuffled.mean()) < 5 * mine.std() / np.sqrt(30), f"shuffled partners: mean {shuffled.mean()}, {mine.mean()} expected")
        check(len(np.unique(shuffled)) == 60, "permutations differ")
        check(np.abs(rho * 1.01 - want).max() > 1e-8, "one per cent would be seen")


def held_out(x, y, half):
    out = []
    for k in range(2):
        a, b = half == k, half != k
        mx, my = x[a].astype(np.float64).mean(0), y[a].astype(np.float64).mean(0)
        qx, rx = np.linalg.qr(x[a] - mx)
        qy, ry = np.linalg.qr(y[a] - my)
        u, _, vt = np.linalg.svd(qx.T @ qy, full_matrices=False)
        s, t = (x[b] - mx) @ np.linalg.solve(rx, u), (y[b] - my) @ np.linalg.solve(ry, vt.T)
        out.append([np.corrcoef(s[:, i], t[:, i])[0, 1] for i in range(s.shape[1])])
    return np.mean(out, 0)


def draws():
    n, width = 400, 12
    x, y = two_views(n, width, width, 4)
    x, y = x - x.mean(0), y - y.mean(0)
    unit = [(v.astype(np.float64) / np.linalg.norm(v.astype(np.float64), axis=1, keepdims=True)) for v in (x, y)]
    s = 7.5 * unit[0] @ unit[1].T
    log_sum = lambda a, axis: np.log(np.exp(a - a.max(axis, keepdims=True)).sum(axis)) + a.max(axis)
    want = np.log(n) - (log_sum(s, 1) - np.diag(s) + log_sum(s, 0) - np.diag(s)).mean() / 2
    away = ~np.eye(n, dtype=bool)
    uniform = [np.log(np.exp(-2 * ((v[:, None] - v[None]) ** 2).sum(2))[away].mean()) for v in unit]
    first = {}
    for ranks in RANKS:
        run(ranks, "draws", x, y, n)  # all of them: every draw is the same
        got = numbers("draws.f64")
        check(np.abs(got[::2] - [want, *uniform]).max() < 1e-10, f"InfoNCE and uniformity on {ranks} ranks: {got}, {want}, {uniform} expected")
        check(np.abs(got[1::2]).max() < 1e-10, f"draws of everything do not differ: {got}")
        run(ranks, "draws", x, y, 64)
        got = numbers("draws.f64")
        first.setdefault("part", got)
        check((got == first["part"]).all(), f"draws on {ranks} ranks differ from those of 1")
        check((got[1::2] > 0).all() and got[0] < np.log(64), f"draws have errors and stay below saturation: {got}")
    check(abs(want * 1.01 - got[0]) > 1e-10, "one per cent would be seen")


def refusals():
    x, y = two_views(300, 9, 5, 2)
    for ranks in RANKS:
        run(ranks, "refusals", x, y)


for task in sys.argv[1:] or ["qr", "fit", "draws", "refusals"]:
    {"qr": qr, "fit": fit, "draws": draws, "refusals": refusals}[task]()
finish()
