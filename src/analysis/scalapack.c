/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Eigenvectors and singular vectors by ScaLAPACK.
 *
 * The matrix is distributed in square blocks over a grid of all ranks that is as square as their number allows. Every
 * rank has the whole matrix anyway (it is a sum over ranks), so distributing is a local copy, and the few wanted
 * vectors are gathered by a sum of arrays with zeros in other ranks' places: exact, since each number has one owner.
 */
#include "scalapack.h"

#include <limits.h>
#include <math.h>
#include <string.h>

#include "scalapack_grid.h"

void pdsyevd_(const char *jobz, const char *uplo, const int *n, double *a, const int *ia, const int *ja,
              const int *desca, double *w, double *z, const int *iz, const int *jz, const int *descz, double *work,
              const int *lwork, int *iwork, const int *liwork, int *info, size_t, size_t);
void pdgesvd_(const char *jobu, const char *jobvt, const int *m, const int *n, double *a, const int *ia, const int *ja,
              const int *desca, double *s, double *u, const int *iu, const int *ju, const int *descu, double *vt,
              const int *ivt, const int *jvt, const int *descvt, double *work, const int *lwork, int *info, size_t,
              size_t);

typedef struct eigen {
  scalapack_grid grid;
  int n;
  scalapack_matrix a, z;
  double *w, *work;
  int *iwork;
} eigen;

/* A's blocks [m, n] from the whole. */
static void deal_out(const scalapack_grid *g, const double *whole, int64_t n, scalapack_matrix *a)
{
  for (int j = 0; j < a->own_columns; j++)
    for (int i = 0; i < a->own_rows; i++)
      a->x[i + (int64_t)j * a->ld] = whole[scalapack_row(g, a, i) * n + scalapack_column(g, a, j)];
}

static syz_status make_eigen(eigen *e, const double *a)
{
  syz_status st = SYZ_OK;
  const int block = scalapack_block(&e->grid, e->n);
  SYZ_TRY(scalapack_matrix_make(&e->grid, e->n, e->n, block, "distributed matrix", &e->a));
  SYZ_TRY(scalapack_matrix_make(&e->grid, e->n, e->n, block, "distributed eigenvectors", &e->z));
  SYZ_ALLOC(e->w, "eigenvalues", e->n);
  deal_out(&e->grid, a, e->n, &e->a);
cleanup:
  return st;
}

/*
 * Quirk: pdsyevd asks for too little workspace where the block is large beside n / ranks, and then returns wrong
 * vectors with info 0 (ScaLAPACK 2.2.1: pdormtr is given less than it needs). What it lacks is added here, and the
 * caller checks residuals.
 */
static syz_status make_workspace(eigen *e, int *lwork, int *liwork)
{
  syz_status st = SYZ_OK;
  const int one = 1, query = -1;
  int info = 0, isize = 0;
  double size = 0;
  pdsyevd_("V", "U", &e->n, e->a.x, &one, &one, e->a.descriptor, e->w, e->z.x, &one, &one, e->z.descriptor, &size,
           &query, &isize, &query, &info, 1, 1);
  SYZ_REQUIRE(info == 0, SYZ_ERR_NUMERIC, "pdsyevd refuses a matrix of %d rows (info %d)", e->n, info);
  const int64_t half = (e->a.block - 1) / 2, part = e->a.own_rows + e->a.own_columns;
  const int64_t more = 3 * (int64_t)e->n + e->a.block * ((half > part ? half : part) + e->a.block);
  SYZ_REQUIRE((int64_t)size + more <= INT_MAX, SYZ_ERR_MEMORY,
              "an eigenproblem of %d rows is too large for these ranks", e->n);
  *lwork = (int)((int64_t)size + more);
  *liwork = isize > 0 ? isize : 1;
  SYZ_ALLOC(e->work, "eigenproblem", *lwork);
  SYZ_ALLOC(e->iwork, "eigenproblem", *liwork);
cleanup:
  return st;
}

static void free_eigen(eigen *e)
{
  syz_free(&e->a.x);
  syz_free(&e->z.x);
  syz_free(&e->w);
  syz_free(&e->work);
  syz_free(&e->iwork);
  scalapack_grid_close(&e->grid);
}

syz_status scalapack_eigen(syz_comm *c, int64_t n, const double *a, int64_t wanted, double *value, double *vector)
{
  syz_status st = SYZ_OK;
  eigen e = {.grid = {.handle = -1, .context = -1}, .n = (int)n};
  const int one = 1;
  int lwork = 0, liwork = 0, info = 0;
  SYZ_REQUIRE(n <= INT_MAX, SYZ_ERR_INTERNAL, "an eigenproblem of %lld rows", (long long)n);
  scalapack_grid_open(c, &e.grid);
  SYZ_TRY_ALL(c, make_eigen(&e, a));
  SYZ_TRY_ALL(c, make_workspace(&e, &lwork, &liwork));
  pdsyevd_("V", "U", &e.n, e.a.x, &one, &one, e.a.descriptor, e.w, e.z.x, &one, &one, e.z.descriptor, e.work, &lwork,
           e.iwork, &liwork, &info, 1, 1);
  SYZ_TRY_ALL(c, info == 0 ? SYZ_OK
                           : syz_error_set(SYZ_ERR_NUMERIC, __FILE__, __LINE__,
                                           "pdsyevd did not converge on a matrix of %d rows (info %d)", e.n, info));
  memset(vector, 0, (size_t)(wanted * n) * sizeof *vector);
  for (int j = 0; j < e.z.own_columns; j++) {
    const int64_t place = n - 1 - scalapack_column(&e.grid, &e.z, j); /* ascending there, descending here */
    for (int i = 0; place < wanted && i < e.z.own_rows; i++)
      vector[place * n + scalapack_row(&e.grid, &e.z, i)] = e.z.x[i + (int64_t)j * e.z.ld];
  }
  syz_allreduce_f64(c, vector, (size_t)(wanted * n), SYZ_SUM);
  for (int64_t i = 0; i < wanted; i++) value[i] = e.w[n - 1 - i];
  syz_bcast(c, value, (size_t)wanted * sizeof *value, 0); /* computed by each rank: let the bits be one */
cleanup:
  free_eigen(&e);
  return st;
}

/* ------------------------------------------------------------ singular values */

typedef struct singular {
  scalapack_grid grid;
  int m, n, k;
  scalapack_matrix a, u, vt;
  double *s, *work;
} singular;

static syz_status make_singular(singular *g, const double *a)
{
  syz_status st = SYZ_OK;
  const int block = scalapack_block(&g->grid, g->k);
  SYZ_TRY(scalapack_matrix_make(&g->grid, g->m, g->n, block, "distributed matrix", &g->a));
  SYZ_TRY(scalapack_matrix_make(&g->grid, g->m, g->k, block, "distributed singular vectors", &g->u));
  SYZ_TRY(scalapack_matrix_make(&g->grid, g->k, g->n, block, "distributed singular vectors", &g->vt));
  SYZ_ALLOC(g->s, "singular values", g->k);
  deal_out(&g->grid, a, g->n, &g->a);
cleanup:
  return st;
}

static void run_singular(singular *g, double *work, int lwork, int *info)
{
  const int one = 1;
  pdgesvd_("V", "V", &g->m, &g->n, g->a.x, &one, &one, g->a.descriptor, g->s, g->u.x, &one, &one, g->u.descriptor,
           g->vt.x, &one, &one, g->vt.descriptor, work, &lwork, info, 1, 1);
}

/* As for eigenvectors, more than it asks for. */
static syz_status make_singular_workspace(singular *g, int *lwork)
{
  syz_status st = SYZ_OK;
  int info = 0;
  double size = 0;
  run_singular(g, &size, -1, &info);
  SYZ_REQUIRE(info == 0, SYZ_ERR_NUMERIC, "pdgesvd refuses a matrix of %d x %d (info %d)", g->m, g->n, info);
  const int64_t part = g->a.own_rows + g->a.own_columns + g->a.block;
  const int64_t more = 6 * ((int64_t)g->m + g->n) + 2 * g->a.block * part;
  SYZ_REQUIRE((int64_t)size + more <= INT_MAX, SYZ_ERR_MEMORY, "a matrix of %d x %d is too large for these ranks", g->m,
              g->n);
  *lwork = (int)((int64_t)size + more);
  SYZ_ALLOC(g->work, "singular values", *lwork);
cleanup:
  return st;
}

/* |A v - s u| of this rank's part of the vectors. */
static syz_status check_singular(syz_comm *c, const singular *g, const double *a, const double *left,
                                 const double *right)
{
  syz_status st = SYZ_OK;
  for (int64_t k = syz_comm_rank(c); k < g->k; k += syz_comm_size(c))
    for (int64_t i = 0; i < g->m; i++) {
      double sum = -g->s[k] * left[k * g->m + i];
      for (int64_t j = 0; j < g->n; j++) sum += a[i * g->n + j] * right[k * g->n + j];
      SYZ_REQUIRE(fabs(sum) <= 1e-9 * g->s[0], SYZ_ERR_NUMERIC,
                  "vectors %lld of %d are no singular vectors: residual %.3g of %.3g", (long long)k, g->k, sum,
                  g->s[0]);
    }
cleanup:
  return st;
}

syz_status scalapack_singular(syz_comm *c, int64_t m, int64_t n, const double *a, double *value, double *left,
                              double *right)
{
  syz_status st = SYZ_OK;
  singular g = {.grid = {.handle = -1, .context = -1}, .m = (int)m, .n = (int)n, .k = (int)(m < n ? m : n)};
  int lwork = 0, info = 0;
  SYZ_REQUIRE(m <= INT_MAX && n <= INT_MAX, SYZ_ERR_INTERNAL, "singular values of %lld rows", (long long)m);
  scalapack_grid_open(c, &g.grid);
  SYZ_TRY_ALL(c, make_singular(&g, a));
  SYZ_TRY_ALL(c, make_singular_workspace(&g, &lwork));
  run_singular(&g, g.work, lwork, &info);
  SYZ_TRY_ALL(c, info == 0
                     ? SYZ_OK
                     : syz_error_set(SYZ_ERR_NUMERIC, __FILE__, __LINE__,
                                     "pdgesvd did not converge on a matrix of %d x %d (info %d)", g.m, g.n, info));
  memset(left, 0, (size_t)(g.k * m) * sizeof *left);
  memset(right, 0, (size_t)(g.k * n) * sizeof *right);
  for (int j = 0; j < g.u.own_columns; j++)
    for (int i = 0; i < g.u.own_rows; i++)
      left[scalapack_column(&g.grid, &g.u, j) * m + scalapack_row(&g.grid, &g.u, i)] = g.u.x[i + (int64_t)j * g.u.ld];
  for (int j = 0; j < g.vt.own_columns; j++)
    for (int i = 0; i < g.vt.own_rows; i++)
      right[scalapack_row(&g.grid, &g.vt, i) * n + scalapack_column(&g.grid, &g.vt, j)] =
          g.vt.x[i + (int64_t)j * g.vt.ld];
  syz_allreduce_f64(c, left, (size_t)(g.k * m), SYZ_SUM);
  syz_allreduce_f64(c, right, (size_t)(g.k * n), SYZ_SUM);
  syz_bcast(c, g.s, (size_t)g.k * sizeof *g.s, 0);
  memcpy(value, g.s, (size_t)g.k * sizeof *value);
  SYZ_TRY_ALL(c, check_singular(c, &g, a, left, right));
cleanup:
  syz_free(&g.a.x);
  syz_free(&g.u.x);
  syz_free(&g.vt.x);
  syz_free(&g.s);
  syz_free(&g.work);
  scalapack_grid_close(&g.grid);
  return st;
}
