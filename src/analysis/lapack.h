/* SPDX-License-Identifier: BSD-3-Clause */
/** Inside of room analysis: dense float64 linear algebra on one rank. The only user of BLAS and LAPACK beside
 * ScaLAPACK. Not collective. */
#pragma once

#include "syzygy/base.h"

/** C [m, n] = op(A) op(B) + beta C, dense, row-major; op: transposed (A stored [k, m], B stored [n, k]) or not. */
void la_gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, const double *a, const double *b,
             double beta, double *c);
/** Lower triangle of C [n, n] += X^T X with X [rows, n]; the upper triangle is not touched. */
void la_syrk(int64_t rows, int64_t n, const double *x, double *c);
/** Copy the lower triangle to the upper one. */
void la_mirror(int64_t n, double *c);
/**
 * The `wanted` largest eigenvalues, descending, and their vectors [wanted, n] of a symmetric matrix A [n, n], whose
 * content is destroyed (dsyevr). SYZ_ERR_NUMERIC, SYZ_ERR_MEMORY.
 */
syz_status la_eigen(int64_t n, double *a, int64_t wanted, double *value, double *vector);
/** Solve A x = b for `columns` right sides, b [columns, n] overwritten by x; A [n, n] positive definite, destroyed
 * (dposv). SYZ_ERR_NUMERIC when it is not. */
syz_status la_solve(int64_t n, double *a, int64_t columns, double *b);
