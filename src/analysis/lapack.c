/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * BLAS and LAPACK by their Fortran names. A row-major matrix is the column-major transpose, so C = A B becomes C^T =
 * B^T A^T, and the lower triangle of ours is their upper one. CHARACTER arguments carry hidden lengths at the end
 * (gfortran's ABI); a BLAS written in C ignores them.
 */
#include "lapack.h"

#include <limits.h>

void dgemm_(const char *ta, const char *tb, const int *m, const int *n, const int *k, const double *alpha,
            const double *a, const int *lda, const double *b, const int *ldb, const double *beta, double *c,
            const int *ldc, size_t, size_t);
void dsyrk_(const char *uplo, const char *trans, const int *n, const int *k, const double *alpha, const double *a,
            const int *lda, const double *beta, double *c, const int *ldc, size_t, size_t);
void dsyevr_(const char *jobz, const char *range, const char *uplo, const int *n, double *a, const int *lda,
             const double *vl, const double *vu, const int *il, const int *iu, const double *abstol, int *m, double *w,
             double *z, const int *ldz, int *isuppz, double *work, const int *lwork, int *iwork, const int *liwork,
             int *info, size_t, size_t, size_t);
void dposv_(const char *uplo, const int *n, const int *nrhs, double *a, const int *lda, double *b, const int *ldb,
            int *info, size_t);

void dtrmm_(const char *side, const char *uplo, const char *trans, const char *diagonal, const int *m, const int *n,
            const double *alpha, const double *a, const int *lda, double *b, const int *ldb, size_t, size_t, size_t,
            size_t);

/* Sizes come from widths and blocks of rows that the callers bound; a matrix with a side beyond int would not fit into
 * memory. */
static int as_int(int64_t n)
{
  SYZ_ASSERT(n >= 0 && n <= INT_MAX);
  return (int)n;
}

static int leading(int64_t n) { return n > 0 ? as_int(n) : 1; }

void la_gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, const double *a, const double *b,
             double beta, double *c)
{
  const int rows = as_int(n), columns = as_int(m), inner = as_int(k);
  const int ldb = leading(transpose_b ? k : n), lda = leading(transpose_a ? m : k), ldc = leading(n);
  const double one = 1;
  syz_pulse();
  if (m > 0 && n > 0)
    dgemm_(transpose_b ? "T" : "N", transpose_a ? "T" : "N", &rows, &columns, &inner, &one, b, &ldb, a, &lda, &beta, c,
           &ldc, 1, 1);
}

void la_syrk(int64_t rows, int64_t n, const double *x, double *c)
{
  const int order = as_int(n), inner = as_int(rows), ld = leading(n);
  const double one = 1;
  syz_pulse();
  if (n > 0 && rows > 0) dsyrk_("U", "N", &order, &inner, &one, x, &ld, &one, c, &ld, 1, 1);
}

void la_mirror(int64_t n, double *c)
{
  for (int64_t i = 0; i < n; i++)
    for (int64_t j = i + 1; j < n; j++) c[i * n + j] = c[j * n + i];
}

syz_status la_eigen(int64_t n, double *a, int64_t wanted, double *value, double *vector)
{
  syz_status st = SYZ_OK;
  const int order = as_int(n), first = as_int(n - wanted + 1), query = -1;
  const double none = 0;
  double *w = NULL, *z = NULL, *work = NULL, size;
  int *support = NULL, *iwork = NULL, isize, found = 0, info = 0;
  SYZ_ALLOC(w, "eigenvalues", n);
  SYZ_ALLOC(z, "eigenvectors", n * wanted);
  SYZ_ALLOC(support, "eigenvectors", 2 * n);
  dsyevr_("V", "I", "U", &order, a, &order, &none, &none, &first, &order, &none, &found, w, z, &order, support, &size,
          &query, &isize, &query, &info, 1, 1, 1);
  SYZ_REQUIRE(info == 0, SYZ_ERR_NUMERIC, "dsyevr refuses a matrix of %lld rows (info %d)", (long long)n, info);
  const int lwork = as_int((int64_t)size), liwork = isize;
  SYZ_ALLOC(work, "eigenproblem", lwork);
  SYZ_ALLOC(iwork, "eigenproblem", liwork);
  dsyevr_("V", "I", "U", &order, a, &order, &none, &none, &first, &order, &none, &found, w, z, &order, support, work,
          &lwork, iwork, &liwork, &info, 1, 1, 1);
  SYZ_REQUIRE(info == 0 && found == wanted, SYZ_ERR_NUMERIC,
              "dsyevr found %d of %lld eigenvectors of a matrix of %lld rows (info %d)", found, (long long)wanted,
              (long long)n, info);
  for (int64_t i = 0; i < wanted; i++) { /* LAPACK sorts ascending, we descending */
    value[i] = w[wanted - 1 - i];
    for (int64_t e = 0; e < n; e++) vector[i * n + e] = z[(wanted - 1 - i) * n + e];
  }
cleanup:
  syz_free(&w);
  syz_free(&z);
  syz_free(&support);
  syz_free(&work);
  syz_free(&iwork);
  return st;
}

syz_status la_solve(int64_t n, double *a, int64_t columns, double *b)
{
  syz_status st = SYZ_OK;
  const int order = as_int(n), sides = as_int(columns);
  int info = 0;
  dposv_("U", &order, &sides, a, &order, b, &order, &info, 1);
  SYZ_REQUIRE(info == 0, SYZ_ERR_NUMERIC,
              "the normal equations of %lld unknowns are singular at number %d: a larger ridge makes them regular",
              (long long)n, info);
cleanup:
  return st;
}

void la_product(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, double alpha, const double *a,
                int64_t lda, const double *b, int64_t ldb, double beta, double *c, int64_t ldc)
{
  const int rows = as_int(n), columns = as_int(m), inner = as_int(k);
  const int step_a = leading(lda), step_b = leading(ldb), step_c = leading(ldc);
  syz_pulse();
  if (m > 0 && n > 0)
    dgemm_(transpose_b ? "T" : "N", transpose_a ? "T" : "N", &rows, &columns, &inner, &alpha, b, &step_b, a, &step_a,
           &beta, c, &step_c, 1, 1);
}

void la_upper_left(bool transpose, int64_t m, int64_t n, double alpha, const double *t, int64_t ldt, double *b,
                   int64_t ldb)
{
  const int rows = as_int(n), columns = as_int(m), step_t = leading(ldt), step_b = leading(ldb);
  syz_pulse();
  if (m > 0 && n > 0)
    dtrmm_("R", "L", transpose ? "T" : "N", "N", &rows, &columns, &alpha, t, &step_t, b, &step_b, 1, 1, 1, 1);
}

void la_upper_right(int64_t m, int64_t n, double alpha, const double *t, int64_t ldt, double *b, int64_t ldb)
{
  const int rows = as_int(n), columns = as_int(m), step_t = leading(ldt), step_b = leading(ldb);
  syz_pulse();
  if (m > 0 && n > 0) dtrmm_("L", "L", "N", "N", &rows, &columns, &alpha, t, &step_t, b, &step_b, 1, 1, 1, 1);
}
