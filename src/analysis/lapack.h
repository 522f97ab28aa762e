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

/* Products and solves on parts of matrices: row-major, ld* elements from one row to the next. */

/** C [m, n] = alpha op(A) op(B) + beta C; op as above. */
void la_product(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, double alpha, const double *a,
                int64_t lda, const double *b, int64_t ldb, double beta, double *c, int64_t ldc);
/** B [m, n] = alpha op(T) B with the upper triangle T [m, m]; what lies below its diagonal is not read (dtrmm). */
void la_upper_left(bool transpose, int64_t m, int64_t n, double alpha, const double *t, int64_t ldt, double *b,
                   int64_t ldb);
/** B [m, n] = alpha B T with the upper triangle T [n, n]. */
void la_upper_right(int64_t m, int64_t n, double alpha, const double *t, int64_t ldt, double *b, int64_t ldb);

/* Decompositions of small dense matrices, by LAPACK. SYZ_ERR_MEMORY, SYZ_ERR_NUMERIC. */

/** A [m, n] = Q R by Householder: q [m, k] with k = min(m, n), which may be A itself where m <= n with ldq = lda; r
 * [k, n] dense with zeros below the diagonal. */
syz_status la_qr(int64_t m, int64_t n, const double *a, int64_t lda, double *q, int64_t ldq, double *r);
/**
 * Rank-revealing: A [m, n] = Q R with pivoted columns (dgeqp3); *rank: leading pivots above tolerance times the first
 * one. q [m, rank] dense; r [rank, n] with its columns in A's order, so that it is no triangle. Room: min(m, n) columns
 * and rows.
 */
syz_status la_qr_pivoted(int64_t m, int64_t n, const double *a, double tolerance, int64_t *rank, double *q, double *r);
/** A [m, n] = U S V^T (dgesdd): s [k] descending, u [m, k], vt [k, n], k = min(m, n). u and vt NULL: values alone. A is
 * destroyed. */
syz_status la_svd(int64_t m, int64_t n, double *a, double *s, double *u, double *vt);
/** x [columns, n], each row the solution of least norm of R x = a, a [columns, k]: R [k, n] of full rank k <= n; both
 * are destroyed. */
syz_status la_least_norm(int64_t k, int64_t n, double *r, int64_t columns, double *a, double *x);
