/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * QR with and without pivots, singular values and solutions of least norm of small matrices, by LAPACK's Fortran names.
 * The QR decomposition of a row-major matrix is the LQ decomposition of the column-major one that lies in the same
 * memory; only pivoting needs a copy the other way round.
 */
#include <limits.h>
#include <math.h>
#include <string.h>

#include "lapack.h"

void dgelqf_(const int *m, const int *n, double *a, const int *lda, double *tau, double *work, const int *lwork,
             int *info);
void dorglq_(const int *m, const int *n, const int *k, double *a, const int *lda, const double *tau, double *work,
             const int *lwork, int *info);
void dgeqp3_(const int *m, const int *n, double *a, const int *lda, int *pivot, double *tau, double *work,
             const int *lwork, int *info);
void dgeqrf_(const int *m, const int *n, double *a, const int *lda, double *tau, double *work, const int *lwork,
             int *info);
void dorgqr_(const int *m, const int *n, const int *k, double *a, const int *lda, const double *tau, double *work,
             const int *lwork, int *info);
void dgesdd_(const char *jobz, const int *m, const int *n, double *a, const int *lda, double *s, double *u,
             const int *ldu, double *vt, const int *ldvt, double *work, const int *lwork, int *iwork, int *info,
             size_t);
void dtrsm_(const char *side, const char *uplo, const char *trans, const char *diagonal, const int *m, const int *n,
            const double *alpha, const double *a, const int *lda, double *b, const int *ldb, size_t, size_t, size_t,
            size_t);

enum { WORK_A_ROW = 64 /* doubles of workspace a row or column: LAPACK's blocks are of 32 */ };

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

static syz_status check_sizes(int64_t m, int64_t n)
{
  syz_status st = SYZ_OK;
  SYZ_REQUIRE(m >= 0 && n >= 0 && m <= INT_MAX / (2 * WORK_A_ROW) && n <= INT_MAX / (2 * WORK_A_ROW), SYZ_ERR_INTERNAL,
              "a matrix of %lld x %lld is too large for LAPACK", (long long)m, (long long)n);
cleanup:
  return st;
}

syz_status la_qr(int64_t m, int64_t n, const double *a, int64_t lda, double *q, int64_t ldq, double *r)
{
  syz_status st = SYZ_OK;
  const int64_t k = least(m, n);
  double *copy = NULL, *tau = NULL, *work = NULL;
  SYZ_TRY(check_sizes(m, n));
  if (k == 0) return SYZ_OK;
  const int rows = (int)n, columns = (int)m, vectors = (int)k, lwork = WORK_A_ROW * (int)(m + n);
  int info = 0;
  syz_pulse();
  SYZ_ALLOC(copy, "QR", m * n);
  SYZ_ALLOC(tau, "QR", k);
  SYZ_ALLOC(work, "QR", lwork);
  for (int64_t i = 0; i < m; i++) memcpy(copy + i * n, a + i * lda, (size_t)n * sizeof *copy);
  dgelqf_(&rows, &columns, copy, &rows, tau, work, &lwork, &info);
  SYZ_REQUIRE(info == 0, SYZ_ERR_INTERNAL, "dgelqf: info %d", info);
  for (int64_t i = 0; i < k; i++)
    for (int64_t j = 0; j < n; j++) r[i * n + j] = j < i ? 0 : copy[i * n + j];
  dorglq_(&vectors, &columns, &vectors, copy, &rows, tau, work, &lwork, &info);
  SYZ_REQUIRE(info == 0, SYZ_ERR_INTERNAL, "dorglq: info %d", info);
  for (int64_t i = 0; i < m; i++) memcpy(q + i * ldq, copy + i * n, (size_t)k * sizeof *q);
cleanup:
  syz_free(&copy);
  syz_free(&tau);
  syz_free(&work);
  return st;
}

/* r [rank, n] row-major from LAPACK's column-major triangle [m, n], its columns where they were before pivoting. */
static void restore_columns(int64_t m, int64_t n, int64_t rank, const double *a, const int *pivot, double *r)
{
  memset(r, 0, (size_t)(rank * n) * sizeof *r);
  for (int64_t j = 0; j < n; j++)
    for (int64_t i = 0; i < rank && i <= j; i++) r[i * n + pivot[j] - 1] = a[i + j * m];
}

syz_status la_qr_pivoted(int64_t m, int64_t n, const double *a, double tolerance, int64_t *rank, double *q, double *r)
{
  syz_status st = SYZ_OK;
  const int64_t k = least(m, n);
  double *copy = NULL, *tau = NULL, *work = NULL;
  int *pivot = NULL;
  *rank = 0;
  SYZ_TRY(check_sizes(m, n));
  if (k == 0) return SYZ_OK;
  const int rows = (int)m, columns = (int)n, lwork = WORK_A_ROW * (int)(m + n);
  int info = 0;
  syz_pulse();
  SYZ_ALLOC(copy, "pivoted QR", m * n);
  SYZ_ALLOC(tau, "pivoted QR", k);
  SYZ_ALLOC(work, "pivoted QR", lwork);
  SYZ_ALLOC(pivot, "pivoted QR", n);
  for (int64_t i = 0; i < m; i++)
    for (int64_t j = 0; j < n; j++) copy[i + j * m] = a[i * n + j];
  dgeqp3_(&rows, &columns, copy, &rows, pivot, tau, work, &lwork, &info);
  SYZ_REQUIRE(info == 0, SYZ_ERR_INTERNAL, "dgeqp3: info %d", info);
  const double largest = fabs(copy[0]);
  while (*rank < k && fabs(copy[*rank + *rank * m]) > tolerance * largest) ++*rank;
  restore_columns(m, n, *rank, copy, pivot, r);
  const int found = (int)*rank;
  if (found) dorgqr_(&rows, &found, &found, copy, &rows, tau, work, &lwork, &info);
  SYZ_REQUIRE(info == 0, SYZ_ERR_INTERNAL, "dorgqr: info %d", info);
  for (int64_t i = 0; i < m; i++)
    for (int64_t j = 0; j < *rank; j++) q[i * *rank + j] = copy[i + j * m];
cleanup:
  syz_free(&copy);
  syz_free(&tau);
  syz_free(&work);
  syz_free(&pivot);
  return st;
}

syz_status la_svd(int64_t m, int64_t n, double *a, double *s, double *u, double *vt)
{
  syz_status st = SYZ_OK;
  const int64_t k = least(m, n);
  double *work = NULL, size = 0;
  int *iwork = NULL;
  SYZ_TRY(check_sizes(m, n));
  if (k == 0) return SYZ_OK;
  const int rows = (int)n, columns = (int)m, values = (int)k, query = -1;
  const char *what = u ? "S" : "N";
  int info = 0;
  syz_pulse();
  SYZ_ALLOC(iwork, "singular values", 8 * k);
  dgesdd_(what, &rows, &columns, a, &rows, s, vt, &rows, u, &values, &size, &query, iwork, &info, 1);
  SYZ_REQUIRE(info == 0 && size < INT_MAX, SYZ_ERR_NUMERIC, "dgesdd refuses a matrix of %lld x %lld (info %d)",
              (long long)m, (long long)n, info);
  const int lwork = (int)size;
  SYZ_ALLOC(work, "singular values", lwork);
  dgesdd_(what, &rows, &columns, a, &rows, s, vt, &rows, u, &values, work, &lwork, iwork, &info, 1);
  SYZ_REQUIRE(info == 0, SYZ_ERR_NUMERIC, "dgesdd did not converge on a matrix of %lld x %lld (info %d)", (long long)m,
              (long long)n, info);
cleanup:
  syz_free(&work);
  syz_free(&iwork);
  return st;
}

/* R^T = Z L with Z orthonormal [n, k] and L an upper triangle: x = Z L^-T a. In memory R is R^T to LAPACK, and the rows
 * of `a` are columns. */
syz_status la_least_norm(int64_t k, int64_t n, double *r, int64_t columns, double *a, double *x)
{
  syz_status st = SYZ_OK;
  double *triangle = NULL, *tau = NULL, *work = NULL;
  SYZ_TRY(check_sizes(k, n));
  SYZ_REQUIRE(k <= n, SYZ_ERR_INTERNAL, "%lld equations of %lld unknowns", (long long)k, (long long)n);
  if (k == 0 || columns == 0) return SYZ_OK;
  const int rows = (int)n, order = (int)k, sides = (int)columns, lwork = WORK_A_ROW * (int)(k + n);
  const double one = 1;
  int info = 0;
  SYZ_ALLOC(triangle, "weights", k * k);
  SYZ_ALLOC(tau, "weights", k);
  SYZ_ALLOC(work, "weights", lwork);
  dgeqrf_(&rows, &order, r, &rows, tau, work, &lwork, &info);
  SYZ_REQUIRE(info == 0, SYZ_ERR_INTERNAL, "dgeqrf: info %d", info);
  for (int64_t j = 0; j < k; j++) memcpy(triangle + j * k, r + j * n, (size_t)(j + 1) * sizeof *r);
  dorgqr_(&rows, &order, &order, r, &rows, tau, work, &lwork, &info);
  SYZ_REQUIRE(info == 0, SYZ_ERR_INTERNAL, "dorgqr: info %d", info);
  dtrsm_("L", "U", "T", "N", &order, &sides, &one, triangle, &order, a, &order, 1, 1, 1, 1);
  la_gemm(false, false, columns, n, k, a, r, 0, x);
cleanup:
  syz_free(&triangle);
  syz_free(&tau);
  syz_free(&work);
  return st;
}
