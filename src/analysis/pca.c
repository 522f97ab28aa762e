/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Principal components of rows distributed over ranks.
 *
 * With fewer columns than rows the covariance of the columns is summed over blocks of rows and then over ranks, and its
 * eigenvectors are the directions. With more columns than rows (pixels of some thousand images) the products of all
 * pairs of centred rows are formed instead, which have the same eigenvalues: with u an eigenvector of X X^T, X^T u has
 * the direction of the component. Each rank in turn sends its blocks of rows to all others, and of the two
 * mirrored places of a pair of blocks in the symmetric matrix only one is computed, chosen by parity, so that the work
 * is halved and evenly divided.
 *
 * Rows are converted to float64 and centred before products are formed, so that large means cost no precision.
 */
#include <float.h>
#include <math.h>
#include <string.h>

#include "lapack.h"
#include "rows.h"
#include "scalapack.h"

typedef struct fit {
  syz_comm *comm;
  const syz_rows *rows;
  const syz_pca_options *options;
  int64_t total, side, wanted; /* rows of all ranks; order of the eigenproblem */
  int64_t block;
  float *raw;     /* [block, width] */
  double *x, *y;  /* [block, width] */
  double *tile;   /* [block, block] */
  double *mean;   /* [width] */
  double *matrix; /* [side, side] */
  double *value;  /* [wanted] */
  double *vector; /* [wanted, side] */
  int64_t *begin; /* [ranks + 1] first row of each rank */
} fit;

static void fit_free(fit *f)
{
  syz_free(&f->raw);
  syz_free(&f->x);
  syz_free(&f->y);
  syz_free(&f->tile);
  syz_free(&f->mean);
  syz_free(&f->matrix);
  syz_free(&f->value);
  syz_free(&f->vector);
  syz_free(&f->begin);
}

static syz_status fit_allocate(fit *f)
{
  syz_status st = SYZ_OK;
  const int64_t width = f->rows->width;
  f->block = rows_block(width);
  SYZ_ALLOC(f->raw, "rows", f->block * width);
  SYZ_ALLOC(f->x, "centred rows", f->block * width);
  SYZ_ALLOC(f->mean, "mean", width);
  SYZ_ALLOC(f->begin, "shares of rows", syz_comm_size(f->comm) + 1);
cleanup:
  return st;
}

static syz_status fit_allocate_matrix(fit *f)
{
  syz_status st = SYZ_OK;
  const int64_t width = f->rows->width;
  f->side = f->total < width ? f->total : width;
  f->wanted = f->options->components < f->side ? f->options->components : f->side;
  if (f->total < width) {
    SYZ_ALLOC(f->y, "centred rows",
              f->block * (width > f->wanted ? width : f->wanted)); /* also [wanted, block] of the vectors */
    SYZ_ALLOC(f->tile, "products", f->block * f->block);
  }
  SYZ_ALLOC(f->matrix, "covariance", f->side * f->side);
  SYZ_ALLOC(f->value, "variances", f->wanted);
  SYZ_ALLOC(f->vector, "components", f->wanted * f->side);
cleanup:
  return st;
}

/* ---------------------------------------------------------- the matrix */

static void covariance(fit *f)
{
  const int64_t width = f->rows->width;
  for (int64_t at = 0; at < f->rows->n; at += f->block) {
    const int64_t n = f->rows->n - at < f->block ? f->rows->n - at : f->block;
    rows_read_centred(f->rows, at, n, f->mean, NULL, f->raw, f->x);
    la_syrk(n, width, f->x, f->matrix);
  }
  syz_allreduce_f64(f->comm, f->matrix, (size_t)(width * width), SYZ_SUM);
  la_mirror(width, f->matrix);
}

/* The number of a rank's first block, counting the blocks of all ranks before it. */
static int64_t first_block(const fit *f, int rank)
{
  int64_t n = 0;
  for (int r = 0; r < rank; r++) n += (f->begin[r + 1] - f->begin[r] + f->block - 1) / f->block;
  return n;
}

/* Products of this rank's rows with block `number`, rows from .. from + m - 1 of all, which every rank has in y. */
static void products_with(fit *f, int64_t number, int64_t from, int64_t m)
{
  const int64_t width = f->rows->width, own = f->begin[syz_comm_rank(f->comm)];
  int64_t mine = first_block(f, syz_comm_rank(f->comm));
  for (int64_t at = 0; at < f->rows->n; at += f->block, mine++) {
    const int64_t n = f->rows->n - at < f->block ? f->rows->n - at : f->block;
    if (mine != number && ((mine + number) % 2 == 0) != (mine > number)) continue; /* filled in at the mirrored place */
    rows_read_centred(f->rows, at, n, f->mean, NULL, f->raw, f->x);
    la_gemm(false, true, n, m, width, f->x, f->y, 0, f->tile);
    for (int64_t i = 0; i < n; i++)
      for (int64_t j = 0; j < m; j++)
        if (mine != number || i >= j) f->matrix[(own + at + i) * f->side + from + j] = f->tile[i * m + j];
  }
}

static void products(fit *f)
{
  const int64_t width = f->rows->width, n = f->side;
  int64_t number = 0;
  for (int r = 0; r < syz_comm_size(f->comm); r++) {
    const int64_t count = f->begin[r + 1] - f->begin[r];
    for (int64_t at = 0; at < count; at += f->block, number++) {
      const int64_t m = count - at < f->block ? count - at : f->block;
      if (syz_comm_rank(f->comm) == r) rows_read_centred(f->rows, at, m, f->mean, NULL, f->raw, f->y);
      syz_bcast(f->comm, f->y, (size_t)(m * width) * sizeof *f->y, r);
      products_with(f, number, f->begin[r] + at, m);
    }
  }
  syz_allreduce_f64(f->comm, f->matrix, (size_t)(n * n), SYZ_SUM);
  for (int64_t i = 0; i < n; i++)
    for (int64_t j = 0; j < i; j++)
      f->matrix[i * n + j] = f->matrix[j * n + i] = f->matrix[i * n + j] + f->matrix[j * n + i]; /* one of them is 0 */
}

/* ------------------------------------------------------- its eigenvectors */

/* Check |A v - value v| for this rank's part of the vectors, because the library may fail without an error. */
static syz_status check_residuals(const fit *f, double trace)
{
  syz_status st = SYZ_OK;
  const int64_t n = f->side;
  for (int64_t k = syz_comm_rank(f->comm); k < f->wanted; k += syz_comm_size(f->comm)) {
    const double *v = f->vector + k * n;
    double worst = 0;
    for (int64_t i = 0; i < n; i++) {
      double sum = -f->value[k] * v[i];
      for (int64_t j = 0; j < n; j++) sum += f->matrix[i * n + j] * v[j];
      if (!(fabs(sum) <= worst) && !isnan(worst)) worst = fabs(sum); /* a NaN stays, and is refused below */
    }
    SYZ_REQUIRE(worst <= 1e-9 * trace, SYZ_ERR_NUMERIC,
                "principal component %lld of %lld is not an eigenvector: residual %.3g of %.3g", (long long)k,
                (long long)n, worst, trace);
  }
cleanup:
  return st;
}

static syz_status solve_here(fit *f)
{
  syz_status st = SYZ_OK;
  const size_t n = (size_t)(f->side * f->side);
  double *copy = NULL;
  SYZ_ALLOC(copy, "covariance", n);
  memcpy(copy, f->matrix, n * sizeof *copy);
  SYZ_TRY(la_eigen(f->side, copy, f->wanted, f->value, f->vector));
cleanup:
  syz_free(&copy);
  return st;
}

static syz_status solve(fit *f, double trace)
{
  syz_status st = SYZ_OK;
  syz_comm *c = f->comm;
  if (f->side >= f->options->scalapack_from) {
    SYZ_TRY(scalapack_eigen(c, f->side, f->matrix, f->wanted, f->value, f->vector));
  } else {
    SYZ_TRY_ALL(c, syz_comm_rank(c) == 0 ? solve_here(f) : SYZ_OK);
    syz_bcast(c, f->value, (size_t)f->wanted * sizeof *f->value, 0);
    syz_bcast(c, f->vector, (size_t)(f->wanted * f->side) * sizeof *f->vector, 0);
  }
  SYZ_TRY_ALL(c, check_residuals(f, trace));
cleanup:
  return st;
}

/* ------------------------------------------------------------ directions */

/* From eigenvectors of the rows' products to directions: X^T u over all ranks. */
static void combine_rows(const fit *f, int64_t found, double *direction)
{
  const int64_t width = f->rows->width, own = f->begin[syz_comm_rank(f->comm)];
  memset(direction, 0, (size_t)(found * width) * sizeof *direction);
  for (int64_t at = 0; at < f->rows->n; at += f->block) {
    const int64_t n = f->rows->n - at < f->block ? f->rows->n - at : f->block;
    rows_read_centred(f->rows, at, n, f->mean, NULL, f->raw, f->x);
    for (int64_t k = 0; k < found; k++) /* the vectors as [found, n] */
      memcpy(f->y + k * n, f->vector + k * f->side + own + at, (size_t)n * sizeof *f->y);
    la_gemm(false, false, found, width, n, f->y, f->x, 1, direction);
  }
  syz_allreduce_f64(f->comm, direction, (size_t)(found * width), SYZ_SUM);
}

/* Length 1, and the largest component positive; of nearly equal ones the first decides, so that rounding does not. */
static void settle(double *direction, int64_t width)
{
  double sum = 0, largest = 0;
  for (int64_t e = 0; e < width; e++) {
    sum += direction[e] * direction[e];
    largest = fmax(largest, fabs(direction[e]));
  }
  int64_t first = 0;
  while (fabs(direction[first]) < (1 - 1e-6) * largest) first++;
  const double scale = (direction[first] < 0 ? -1 : 1) / sqrt(sum);
  for (int64_t e = 0; e < width; e++) direction[e] *= scale;
}

/* Gram-Schmidt from the largest variance down: directions that came through the products of rows lose orthogonality as
 * their variance gets small. */
static void orthogonalise(double *direction, int64_t n, int64_t width)
{
  for (int64_t k = 0; k < n; k++)
    for (int64_t j = 0; j < k; j++) {
      double *a = direction + k * width, sum = 0;
      const double *b = direction + j * width;
      for (int64_t e = 0; e < width; e++) sum += a[e] * b[e];
      for (int64_t e = 0; e < width; e++) a[e] -= sum * b[e];
      if (j == k - 1) settle(a, width);
    }
}

/* How many eigenvalues are larger than rounding errors. */
static int64_t count_found(const fit *f)
{
  int64_t found = 0;
  while (found < f->wanted && f->value[found] > 4 * DBL_EPSILON * (double)f->side * f->value[0]) found++;
  return found;
}

static syz_status allocate_result(const fit *f, int64_t found, syz_pca *p)
{
  syz_status st = SYZ_OK;
  SYZ_ALLOC(p->mean, "mean", f->rows->width);
  SYZ_ALLOC(p->variance, "variances", found + 1);
  SYZ_ALLOC(p->direction, "directions", found * f->rows->width + 1);
cleanup:
  return st;
}

static syz_status make_result(fit *f, double trace, syz_pca **out)
{
  syz_status st = SYZ_OK;
  const int64_t width = f->rows->width, found = count_found(f);
  syz_pca *p = syz_alloc("principal components", 1, sizeof *p);
  SYZ_TRY_ALL(f->comm, p ? allocate_result(f, found, p) : SYZ_ERR_MEMORY);
  p->rows = f->total;
  p->width = width;
  p->components = found;
  p->total_variance = trace / (double)(f->total - 1);
  memcpy(p->mean, f->mean, (size_t)width * sizeof *p->mean);
  for (int64_t k = 0; k < found; k++) p->variance[k] = f->value[k] / (double)(f->total - 1);
  if (f->total < width)
    combine_rows(f, found, p->direction);
  else
    memcpy(p->direction, f->vector, (size_t)(found * width) * sizeof *p->direction);
  for (int64_t k = 0; k < found; k++) settle(p->direction + k * width, width);
  if (f->total < width) orthogonalise(p->direction, found, width);
  *out = p;
  p = NULL;
cleanup:
  syz_pca_destroy(&p);
  return st;
}

syz_status syz_pca_fit(syz_comm *c, const syz_rows *rows, const syz_pca_options *options, syz_pca **out)
{
  syz_status st = SYZ_OK;
  fit f = {.comm = c, .rows = rows, .options = options};
  double trace = 0;
  *out = NULL;
  syz_blis_choose_kernels();
  SYZ_TRY_ALL(c, fit_allocate(&f));
  SYZ_TRY(rows_means(c, rows, 2, "principal components", f.mean, &f.total));
  syz_allgather(c, &rows->n, f.begin + 1, sizeof *f.begin);
  for (int r = 0; r < syz_comm_size(c); r++) f.begin[r + 1] += f.begin[r];
  SYZ_TRY_ALL(c, fit_allocate_matrix(&f));
  if (f.total < rows->width)
    products(&f);
  else
    covariance(&f);
  for (int64_t i = 0; i < f.side; i++) trace += f.matrix[i * f.side + i];
  SYZ_TRY(solve(&f, trace));
  SYZ_TRY(make_result(&f, trace, out));
cleanup:
  fit_free(&f);
  return st;
}

void syz_pca_destroy(syz_pca **pp)
{
  syz_pca *p = *pp;
  if (!p) return;
  syz_free(&p->mean);
  syz_free(&p->variance);
  syz_free(&p->direction);
  syz_free(pp);
}

void syz_pca_project(const syz_pca *p, int64_t n, const float *x, float *y)
{
  enum { LANES = 8 }; /* sums side by side, in an order that is the same everywhere */
  const int64_t width = p->width, whole = width / LANES * LANES;
  for (int64_t i = 0; i < n; i++)
    for (int64_t k = 0; k < p->components; k++) {
      const double *d = p->direction + k * width;
      double lane[LANES] = {0}, sum = 0;
      for (int64_t e = 0; e < whole; e += LANES)
        for (int l = 0; l < LANES; l++) lane[l] += ((double)x[i * width + e + l] - p->mean[e + l]) * d[e + l];
      for (int64_t e = whole; e < width; e++) sum += ((double)x[i * width + e] - p->mean[e]) * d[e];
      for (int l = 0; l < LANES; l++) sum += lane[l];
      y[i * p->components + k] = (float)sum;
    }
}
