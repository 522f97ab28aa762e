#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Makes the polynomials of src/nn/rowwise.h and the table of src/nn/gelu_table.h (printed; --table: that file's text alone).

Polynomials: normal distribution function and GELU's derivative as 1/2 + u P(2 u^2 / c^2 - 1). Least maximum error on |u| <= c by Lawson's iteration
(weighted least squares in Chebyshev polynomials, weights multiplied by the error), then rounded to float32 monomial coefficients and checked as float32
fused multiply-adds would compute them.
Table: the difference of both functions from 1, for u >= 0, as a cubic in each of 32 intervals of 1/6, through the four Chebyshev points of the interval."""
import sys

import numpy as np
from numpy.polynomial import chebyshev
from scipy.special import erf


def fit(function, cut, degree):
    u = np.cos(np.linspace(0, np.pi / 2, 6001))[:-1] * cut
    u = u[u > 1e-4]
    y = function(u) - 0.5
    a = chebyshev.chebvander(2 * u * u / cut ** 2 - 1, degree) * u[:, None]
    w = np.full(len(u), 1 / len(u))
    for _ in range(300):
        c = np.linalg.lstsq(a * np.sqrt(w)[:, None], y * np.sqrt(w), rcond=None)[0]
        w *= np.abs(a @ c - y) + 1e-18
        w /= w.sum()
    return chebyshev.cheb2poly(c).astype(np.float32)


def evaluate(p, cut, u):
    x = np.clip(u, -cut, cut).astype(np.float32)
    t = (x.astype(np.float64) * x * np.float32(2 / cut ** 2) - 1).astype(np.float32)
    r = np.full_like(t, p[-1])
    for k in p[-2::-1]:
        r = (r.astype(np.float64) * t + np.float64(k)).astype(np.float32)
    y = (x.astype(np.float64) * r + 0.5).astype(np.float32)
    return np.where(u > cut, 1, np.where(u < -cut, 0, y))


def cdf(u):
    return 0.5 * (1 + erf(u / np.sqrt(2)))


def slope(u):
    return cdf(u) + u * np.exp(-u * u / 2) / np.sqrt(2 * np.pi)


PER_UNIT, INTERVALS = 6, 32


def cubics(function):
    """[4][32] float32: coefficients of r^0 .. r^3, r = 6 u - interval."""
    r = 0.5 + 0.5 * np.cos(np.pi * (np.arange(4) + 0.5) / 4)
    return np.array([np.linalg.solve(np.vander(r, 4, increasing=True), function((i + r) / PER_UNIT)) for i in range(INTERVALS)]).T.astype(np.float32)


def evaluate_table(c, u):
    t = np.minimum(np.float32(INTERVALS - 2e-6), np.abs(u) * np.float32(PER_UNIT)).astype(np.float32)
    i = t.astype(np.int64)
    r = (t - i).astype(np.float32)
    y = c[3][i]
    for k in (2, 1, 0):
        y = (y.astype(np.float64) * r + c[k][i]).astype(np.float32)
    return y


u = np.linspace(-12, 12, 2400001).astype(np.float32)
tables = [("cdf_missing", cubics(lambda t: (1 - cdf(t)) / PER_UNIT)), ("slope_missing", cubics(lambda t: 1 - slope(t)))]
if "--table" in sys.argv:
    print("""/* SPDX-License-Identifier: BSD-3-Clause */
/** The differences of the normal distribution function (divided by 6) and of GELU's derivative from 1 at u >= 0: coefficients of r^0 .. r^3 in 32 intervals of 1/6,
 * r = 6 u - interval. Made by tools/fit_gelu.py --table. Absolute error of u Phi(u) below 4.8e-7, of the derivative below 1.4e-6, in float32.
 */
#pragma once

/* clang-format off */""")
    for name, c in tables:
        rows = ",\n".join("  {" + ",\n   ".join(", ".join(f"{x:.9g}f" if x else "0.0f" for x in row[k:k + 8]) for k in range(0, INTERVALS, 8)) + "}" for row in c)
        print(f"static const float syz_gelu_{name}[4][{INTERVALS}] = {{\n{rows}}};")
    sys.exit()
for name, c in tables:
    y = evaluate_table(c, u)
    t = np.minimum(np.float32(INTERVALS - 2e-6), np.abs(u) * np.float32(PER_UNIT))
    mine, true = (np.maximum(u, 0) - t * y, u * cdf(u.astype(np.float64))) if name == "cdf_missing" else (np.where(u > 0, 1 - y, y), slope(u.astype(np.float64)))
    print(f"{name}: worst error {np.abs(mine - true).max():.2e}")
for name, function, cut, degree in (("syz_cdf_term", cdf, 5.3, 14), ("syz_slope_term", slope, 5.6, 15)):
    p = fit(function, cut, degree)
    error = np.abs(evaluate(p, cut, u) - function(u.astype(np.float64)))
    print(f"{name}: worst error {error.max():.2e}, times u {(error * np.abs(u)).max():.2e}, 2 / cut^2 = {np.float32(2 / cut ** 2)}")
    print(", ".join(f"{c:.9g}f" for c in p))
