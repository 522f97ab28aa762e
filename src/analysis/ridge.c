/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Ridge regression through the normal equations of standardised features: with features of mean 0 and deviation 1 the
 * products are well scaled, and in float64 what the squaring of the condition loses does not matter beside the ridge.
 * Rows that are left out may shift the mean a little, so the sums are centred by the rows that are used.
 */
#include <math.h>
#include <string.h>

#include "lapack.h"
#include "rows.h"

typedef struct fit {
  int64_t block, width;
  int targets;
  float *raw;           /* [block, D] */
  double *x, *y;        /* [block, D], [block, targets] */
  double *mean, *scale; /* [D] */
  /* Sums over rows and ranks, one array: [D, D] of products, [targets, D] with the targets, [D] of features, [targets]
   * of targets, rows. */
  double *sums, *products, *cross, *feature, *target, *used;
  int64_t n_sums;
} fit;

static void fit_free(fit *f)
{
  double **all[] = {&f->x, &f->y, &f->mean, &f->scale, &f->sums};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) syz_free(all[i]);
  syz_free(&f->raw);
}

static syz_status fit_allocate(fit *f)
{
  syz_status st = SYZ_OK;
  f->block = rows_block(f->width);
  f->n_sums = f->width * (f->width + f->targets + 1) + f->targets + 1;
  SYZ_ALLOC(f->raw, "rows", f->block * f->width);
  SYZ_ALLOC(f->x, "standardised rows", f->block * f->width);
  SYZ_ALLOC(f->y, "targets", f->block * f->targets);
  SYZ_ALLOC(f->mean, "mean", f->width);
  SYZ_ALLOC(f->scale, "deviation", f->width);
  SYZ_ALLOC(f->sums, "normal equations", f->n_sums);
  f->products = f->sums;
  f->cross = f->products + f->width * f->width;
  f->feature = f->cross + f->targets * f->width;
  f->target = f->feature + f->width;
  f->used = f->target + f->targets;
cleanup:
  return st;
}

static bool is_known(const float *target, int targets)
{
  for (int t = 0; t < targets; t++)
    if (isnan(target[t])) return false;
  return true;
}

static void add_rows(fit *f, const syz_rows *rows, int64_t at, int64_t n, const float *target)
{
  int64_t used = 0;
  rows_read_centred(rows, at, n, f->mean, f->scale, f->raw, f->x);
  for (int64_t i = 0; i < n; i++) {
    const float *y = target + (at + i) * f->targets;
    if (!is_known(y, f->targets)) continue;
    memmove(f->x + used * f->width, f->x + i * f->width, (size_t)f->width * sizeof *f->x);
    for (int64_t e = 0; e < f->width; e++) f->feature[e] += f->x[used * f->width + e];
    for (int t = 0; t < f->targets; t++) f->target[t] += f->y[used * f->targets + t] = (double)y[t];
    used++;
  }
  la_syrk(used, f->width, f->x, f->products);
  la_gemm(true, false, f->targets, f->width, used, f->y, f->x, 1, f->cross);
  *f->used += (double)used;
}

/* Solutions [targets, D] in f->cross. The same numbers on each rank, and so the same solution. */
static syz_status solve(fit *f, double alpha)
{
  syz_status st = SYZ_OK;
  const int64_t d = f->width;
  const double n = *f->used;
  SYZ_REQUIRE(n >= 2, SYZ_ERR_INPUT, "ridge regression needs at least 2 rows with all targets: there are %.0f", n);
  la_mirror(d, f->products);
  for (int64_t i = 0; i < d; i++) {
    for (int64_t j = 0; j < d; j++) f->products[i * d + j] -= f->feature[i] * f->feature[j] / n;
    f->products[i * d + i] += alpha * n;
    for (int t = 0; t < f->targets; t++) f->cross[t * d + i] -= f->target[t] * f->feature[i] / n;
  }
  SYZ_TRY(la_solve(d, f->products, f->targets, f->cross));
cleanup:
  return st;
}

syz_status syz_ridge_fit(syz_comm *c, const syz_rows *rows, int targets, const float *target, double alpha,
                         syz_linear_head **out)
{
  syz_status st = SYZ_OK;
  fit f = {.width = rows->width, .targets = targets};
  syz_linear_head *h = NULL;
  *out = NULL;
  syz_blis_choose_kernels();
  SYZ_TRY_ALL(c, fit_allocate(&f));
  h = linear_head_make(targets, rows->width);
  SYZ_TRY_ALL(c, h ? SYZ_OK : SYZ_ERR_MEMORY);
  SYZ_TRY(syz_column_moments(c, rows, f.mean, f.scale, NULL));
  for (int64_t e = 0; e < f.width; e++) f.scale[e] = 1 / f.scale[e];
  for (int64_t at = 0; at < rows->n; at += f.block)
    add_rows(&f, rows, at, rows->n - at < f.block ? rows->n - at : f.block, target);
  syz_allreduce_f64(c, f.sums, (size_t)f.n_sums, SYZ_SUM);
  SYZ_TRY_ALL(c, syz_comm_rank(c) == 0 ? solve(&f, alpha) : SYZ_OK);
  syz_bcast(c, f.cross, (size_t)(targets * f.width) * sizeof *f.cross, 0);
  for (int t = 0; t < targets; t++) {
    h->bias[t] = f.target[t] / *f.used;
    for (int64_t e = 0; e < f.width; e++) {
      const double w = f.cross[t * f.width + e];
      h->weight[t * f.width + e] = w * f.scale[e];
      h->bias[t] -= w * (f.feature[e] / *f.used + f.scale[e] * f.mean[e]);
    }
  }
  *out = h;
  h = NULL;
cleanup:
  syz_linear_head_destroy(&h);
  fit_free(&f);
  return st;
}

void syz_r_squared_over_ranks(syz_comm *c, int64_t n, int targets, const float *y, const float *prediction, double *out)
{
  for (int t = 0; t < targets; t++) {
    double sum[2] = {0}, square[2] = {0};
    for (int64_t i = 0; i < n; i++) {
      if (isnan(y[i * targets + t])) continue;
      sum[0] += (double)y[i * targets + t];
      sum[1] += 1;
    }
    syz_allreduce_f64(c, sum, 2, SYZ_SUM);
    for (int64_t i = 0; i < n; i++) {
      if (isnan(y[i * targets + t])) continue;
      const double from_mean = (double)y[i * targets + t] - sum[0] / sum[1],
                   residual = (double)y[i * targets + t] - (double)prediction[i * targets + t];
      square[0] += residual * residual;
      square[1] += from_mean * from_mean;
    }
    syz_allreduce_f64(c, square, 2, SYZ_SUM);
    out[t] = sum[1] >= 2 && square[1] > 0 ? 1 - square[0] / square[1] : (double)NAN;
  }
}
