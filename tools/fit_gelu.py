#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Makes the polynomials of src/nn/rowwise.h: normal distribution function and GELU's derivative as 1/2 + u P(2 u^2 / c^2 - 1).

Least maximum error on |u| <= c by Lawson's iteration (weighted least squares in Chebyshev polynomials, weights multiplied by the error),
then rounded to float32 monomial coefficients and checked as float32 fused multiply-adds would compute them."""
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


u = np.linspace(-12, 12, 2400001).astype(np.float32)
for name, function, cut, degree in (("syz_cdf_term", cdf, 5.3, 14), ("syz_slope_term", slope, 5.6, 15)):
    p = fit(function, cut, degree)
    error = np.abs(evaluate(p, cut, u) - function(u.astype(np.float64)))
    print(f"{name}: worst error {error.max():.2e}, times u {(error * np.abs(u)).max():.2e}, 2 / cut^2 = {np.float32(2 / cut ** 2)}")
    print(", ".join(f"{c:.9g}f" for c in p))
