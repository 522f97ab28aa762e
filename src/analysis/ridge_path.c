/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Ridge regression with the penalty chosen by cross-validation, in one pass over the rows.
 *
 * Everything that a fit needs of the rows is their number, the sums of features and targets, and the sums of their
 * products. These sums are formed fold by fold in one pass (the work of one product X^T X). The training sums of a fold
 * are the sums of all folds less its own; features are standardised by the moments of the training rows, which the same
 * sums give. One eigendecomposition of the correlations V L V^T then solves every penalty a for every target:
 * w = V (L + a)^-1 V^T b, where b are the correlations with the targets. Squared errors on the fold follow from its own
 * sums, so the rows are not read a second time.
 *
 * Sums are taken of rows less the mean of all rows, in float64. What the subtraction of sums loses are the digits of
 * (mean of a fold - mean of all)^2 against the variance, which is nothing. Directions whose eigenvalue is rounding
 * alone (below 1e-12 of the largest) get no weight, so that features that repeat each other are harmless without any
 * penalty too.
 *
 * Targets with missing values are fitted on the rows that they have: targets with the same missing rows share a pass.
 */
#include <math.h>
#include <string.h>

#include "lapack.h"
#include "rows.h"

static const double NEGLIGIBLE = 1e-12; /* eigenvalue of a direction that is rounding alone, of the largest one */

/* Sums of the rows of one fold; one array of doubles, so that all folds travel in one reduction. */
typedef struct sums {
  double *products; /* [D, D] of features, lower triangle until mirrored */
  double *cross;    /* [targets, D] */
  double *feature;  /* [D] */
  double *target;   /* [targets] */
  double *square;   /* [targets] of squared targets */
  double *rows;     /* [1] */
} sums;

typedef struct path {
  syz_comm *comm;
  const syz_rows *rows;
  const syz_ridge_options *options;
  const uint8_t *fold;
  const float *target;                                 /* [n, all targets] */
  int all_targets, targets, column[SYZ_RIDGE_TARGETS]; /* those of this pass */
  int64_t width, block, n_sums;
  float *raw;                     /* [D] */
  double *mean;                   /* [D] of the rows of this pass */
  double *x, *y;                  /* [folds, block, D], [folds, block, targets]: rows that wait for their product */
  int64_t *waiting;               /* [folds] */
  double *all;                    /* [folds, n_sums] */
  double *train;                  /* [n_sums] */
  double *vector, *value, *scale; /* [D, D], [D], [D] */
  double *b, *w, *turned;         /* [targets, D] */
  double *error;                  /* [folds, targets, alphas] squared errors of the fold's rows */
} path;

static void path_free(path *p)
{
  double **all[] = {&p->mean,  &p->x,     &p->y, &p->all, &p->train,  &p->vector,
                    &p->value, &p->scale, &p->b, &p->w,   &p->turned, &p->error};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) syz_free(all[i]);
  syz_free(&p->raw);
  syz_free(&p->waiting);
}

static syz_status path_allocate(path *p)
{
  syz_status st = SYZ_OK;
  const int64_t d = p->width, folds = p->options->folds, t = p->targets;
  p->block = rows_block(d);
  p->n_sums = d * (d + t + 1) + 2 * t + 1;
  SYZ_ALLOC(p->raw, "row", d);
  SYZ_ALLOC(p->mean, "mean", d);
  SYZ_ALLOC(p->x, "rows of the folds", folds * p->block * d);
  SYZ_ALLOC(p->y, "targets of the folds", folds * p->block * t);
  SYZ_ALLOC(p->waiting, "folds", folds);
  SYZ_ALLOC(p->all, "sums of the folds", folds * p->n_sums);
  SYZ_ALLOC(p->train, "training sums", p->n_sums);
  SYZ_ALLOC(p->vector, "eigenvectors", d * d);
  SYZ_ALLOC(p->value, "eigenvalues", d);
  SYZ_ALLOC(p->scale, "deviations", d);
  SYZ_ALLOC(p->b, "correlations", t * d);
  SYZ_ALLOC(p->w, "weights", t * d);
  SYZ_ALLOC(p->turned, "weights", t * d);
  SYZ_ALLOC(p->error, "squared errors", folds * t * p->options->n_alphas);
cleanup:
  return st;
}

static sums at(const path *p, double *all)
{
  sums s = {.products = all};
  s.cross = s.products + p->width * p->width;
  s.feature = s.cross + p->targets * p->width;
  s.target = s.feature + p->width;
  s.square = s.target + p->targets;
  s.rows = s.square + p->targets;
  return s;
}

/* ------------------------------------------------------------ one pass over the rows */

/* Whether a row takes part: the targets of a pass are known in the same rows, so the first one speaks for all. */
static bool is_used(const path *p, int64_t i)
{
  return p->fold[i] < p->options->folds && !isnan(p->target[i * p->all_targets + p->column[0]]);
}

static syz_status means(path *p)
{
  syz_status st = SYZ_OK;
  double rows = 0;
  for (int64_t i = 0; i < p->rows->n; i++) {
    if (!is_used(p, i)) continue;
    p->rows->read(p->rows->context, i, 1, p->raw);
    for (int64_t e = 0; e < p->width; e++) p->mean[e] += (double)p->raw[e];
    rows++;
  }
  syz_allreduce_f64(p->comm, p->mean, (size_t)p->width, SYZ_SUM);
  syz_allreduce_f64(p->comm, &rows, 1, SYZ_SUM);
  SYZ_REQUIRE(rows >= 2 * p->options->folds, SYZ_ERR_INPUT,
              "ridge regression with %d folds needs at least %d rows with a target: there are %.0f", p->options->folds,
              2 * p->options->folds, rows);
  for (int64_t e = 0; e < p->width; e++) {
    p->mean[e] /= rows;
    SYZ_REQUIRE(isfinite(p->mean[e]), SYZ_ERR_NUMERIC, "ridge regression: column %lld of the features is not finite",
                (long long)e);
  }
cleanup:
  return st;
}

/* The products of the rows that wait in a fold. */
static void flush(path *p, int k)
{
  sums s = at(p, p->all + k * p->n_sums);
  const double *x = p->x + k * p->block * p->width, *y = p->y + k * p->block * p->targets;
  const int64_t n = p->waiting[k];
  la_syrk(n, p->width, x, s.products);
  la_gemm(true, false, p->targets, p->width, n, y, x, 1, s.cross);
  for (int64_t i = 0; i < n; i++) {
    for (int64_t e = 0; e < p->width; e++) s.feature[e] += x[i * p->width + e];
    for (int t = 0; t < p->targets; t++) {
      s.target[t] += y[i * p->targets + t];
      s.square[t] += y[i * p->targets + t] * y[i * p->targets + t];
    }
  }
  *s.rows += (double)n;
  p->waiting[k] = 0;
}

static void add_rows(path *p)
{
  for (int64_t i = 0; i < p->rows->n; i++) {
    if (!is_used(p, i)) continue;
    const int k = p->fold[i];
    const int64_t place = k * p->block + p->waiting[k]++;
    rows_read_centred(p->rows, i, 1, p->mean, NULL, p->raw, p->x + place * p->width);
    for (int t = 0; t < p->targets; t++)
      p->y[place * p->targets + t] = (double)p->target[i * p->all_targets + p->column[t]];
    if (p->waiting[k] == p->block) flush(p, k);
  }
  for (int k = 0; k < p->options->folds; k++) flush(p, k);
  syz_allreduce_f64(p->comm, p->all, (size_t)(p->options->folds * p->n_sums), SYZ_SUM);
  for (int k = 0; k < p->options->folds; k++) la_mirror(p->width, p->all + k * p->n_sums);
}

/* ------------------------------------------------------------ fits from sums */

/* Training sums: all folds but `without` (-1: all). */
static void add_folds(path *p, int without)
{
  memset(p->train, 0, (size_t)p->n_sums * sizeof *p->train);
  for (int k = 0; k < p->options->folds; k++)
    for (int64_t i = 0; k != without && i < p->n_sums; i++) p->train[i] += p->all[k * p->n_sums + i];
}

/* Eigendecomposition of the correlations of the training rows, and b turned into its axes. */
static syz_status decompose(path *p)
{
  syz_status st = SYZ_OK;
  const sums s = at(p, p->train);
  const int64_t d = p->width;
  const double n = *s.rows;
  double *a = s.products;
  SYZ_REQUIRE(n >= 2, SYZ_ERR_INPUT, "ridge regression: all rows with a target are in one fold");
  for (int64_t i = 0; i < d; i++) {
    const double variance = a[i * d + i] / n - (s.feature[i] / n) * (s.feature[i] / n);
    p->scale[i] = variance > 1e-20 * p->mean[i] * p->mean[i] && variance > 0 ? 1 / sqrt(variance) : 1;
  }
  for (int64_t i = 0; i < d; i++)
    for (int64_t j = 0; j < d; j++)
      a[i * d + j] = p->scale[i] * p->scale[j] * (a[i * d + j] / n - s.feature[i] / n * (s.feature[j] / n));
  for (int t = 0; t < p->targets; t++)
    for (int64_t i = 0; i < d; i++)
      p->b[t * d + i] = p->scale[i] * (s.cross[t * d + i] / n - s.target[t] / n * (s.feature[i] / n));
  SYZ_TRY(la_eigen(d, a, d, p->value, p->vector));
  la_gemm(false, true, p->targets, d, d, p->b, p->vector, 0, p->turned);
cleanup:
  return st;
}

/* Weights of the features less p->mean (not standardised) of every target for one penalty, in p->w. */
static void solve(path *p, double alpha)
{
  const int64_t d = p->width;
  for (int t = 0; t < p->targets; t++)
    for (int64_t i = 0; i < d; i++)
      p->b[t * d + i] = p->value[i] > NEGLIGIBLE * p->value[0] ? p->turned[t * d + i] / (p->value[i] + alpha) : 0;
  la_gemm(false, false, p->targets, d, d, p->b, p->vector, 0, p->w);
  for (int t = 0; t < p->targets; t++)
    for (int64_t i = 0; i < d; i++) p->w[t * d + i] *= p->scale[i];
}

static double dot(int64_t n, const double *x, const double *y)
{
  double sum = 0;
  for (int64_t i = 0; i < n; i++) sum += x[i] * y[i];
  return sum;
}

/* Bias of a target for features less p->mean: the line goes through the means of the training rows. */
static double bias_of(const path *p, int t)
{
  const sums s = at(p, p->train);
  return (s.target[t] - dot(p->width, p->w + t * p->width, s.feature)) / *s.rows;
}

/* Squared error of the fold's rows: sum (y - w x - b)^2 from its sums. */
static void find_error(path *p, int k, int a)
{
  const sums s = at(p, p->all + k * p->n_sums);
  const int64_t d = p->width;
  la_gemm(false, false, p->targets, d, d, p->w, s.products, 0, p->b);
  for (int t = 0; t < p->targets; t++) {
    const double *w = p->w + t * d, b = bias_of(p, t);
    p->error[(k * p->targets + t) * p->options->n_alphas + a] =
        s.square[t] - 2 * dot(d, w, s.cross + t * d) + dot(d, w, p->b + t * d) -
        2 * b * (s.target[t] - dot(d, w, s.feature)) + *s.rows * b * b;
  }
}

/* Folds are dealt to the ranks. */
static syz_status cross_validate(path *p)
{
  syz_status st = SYZ_OK;
  const int size = syz_comm_size(p->comm), rank = syz_comm_rank(p->comm);
  for (int k = 0; st == SYZ_OK && k < p->options->folds; k++) {
    if (k % size != rank) continue;
    add_folds(p, k);
    st = decompose(p);
    for (int a = 0; st == SYZ_OK && a < p->options->n_alphas; a++) {
      solve(p, p->options->alpha[a]);
      find_error(p, k, a);
    }
  }
  SYZ_TRY_ALL(p->comm, st);
  syz_allreduce_f64(p->comm, p->error, (size_t)p->options->folds * (size_t)p->targets * (size_t)p->options->n_alphas,
                    SYZ_SUM);
cleanup:
  return st;
}

/* The fit on all folds with each target's penalty, on rank 0. */
static syz_status fit_all(path *p, const int *chosen, syz_linear_head *h)
{
  syz_status st = SYZ_OK;
  add_folds(p, -1);
  SYZ_TRY(decompose(p));
  for (int t = 0; t < p->targets; t++) {
    const int column = p->column[t];
    solve(p, p->options->alpha[chosen[column]]);
    const double *w = p->w + t * p->width;
    memcpy(h->weight + column * p->width, w, (size_t)p->width * sizeof *w);
    h->bias[column] = bias_of(p, t) - dot(p->width, w, p->mean);
  }
cleanup:
  return st;
}

static syz_status fit_pass(path *p, syz_linear_head *h, syz_ridge_result *result)
{
  syz_status st = SYZ_OK;
  const int n = p->options->n_alphas;
  SYZ_TRY_ALL(p->comm, path_allocate(p));
  SYZ_TRY(means(p));
  add_rows(p);
  SYZ_TRY(cross_validate(p));
  double rows = 0;
  for (int k = 0; k < p->options->folds; k++) rows += *at(p, p->all + k * p->n_sums).rows;
  for (int t = 0; t < p->targets; t++) {
    const int column = p->column[t];
    result->rows[column] = (int64_t)rows;
    for (int a = 0; a < n; a++) {
      double sum = 0;
      for (int k = 0; k < p->options->folds; k++) sum += p->error[(k * p->targets + t) * n + a];
      result->error[column * n + a] = sum / rows;
      if (result->error[column * n + a] < result->error[column * n + result->chosen[column]])
        result->chosen[column] = a;
    }
  }
  SYZ_TRY_ALL(p->comm, syz_comm_rank(p->comm) == 0 ? fit_all(p, result->chosen, h) : SYZ_OK);
cleanup:
  path_free(p);
  return st;
}

/* ------------------------------------------------------------ targets */

/* A number that is the same for targets that miss the same rows, whatever the ranks: sums of random words of the rows.
 */
static void missing_rows(syz_comm *c, int64_t n, int targets, const float *target, uint64_t *sum)
{
  const int64_t first = syz_exscan_i64(c, n);
  for (int t = 0; t < targets; t++) {
    sum[t] = 0;
    for (int64_t i = 0; i < n; i++) {
      const int64_t row = first + i;
      if (isnan(target[i * targets + t])) sum[t] += syz_checksum(&row, sizeof row, 1);
    }
  }
  syz_allreduce_u64(c, sum, (size_t)targets, SYZ_SUM);
}

syz_status syz_ridge_path_fit(syz_comm *c, const syz_rows *rows, const uint8_t *fold, int targets, const float *target,
                              const syz_ridge_options *options, syz_linear_head **out, syz_ridge_result *result)
{
  syz_status st = SYZ_OK;
  uint64_t missing[SYZ_RIDGE_TARGETS];
  bool is_done[SYZ_RIDGE_TARGETS] = {false};
  SYZ_ASSERT(targets >= 1 && targets <= SYZ_RIDGE_TARGETS && options->folds >= 2 && options->folds <= SYZ_FOLDS);
  *out = NULL;
  syz_blis_choose_kernels();
  syz_linear_head *h = linear_head_make(targets, rows->width);
  SYZ_TRY_ALL(c, h ? SYZ_OK : SYZ_ERR_MEMORY);
  missing_rows(c, rows->n, targets, target, missing);
  memset(result->chosen, 0, (size_t)targets * sizeof *result->chosen);
  for (int t = 0; t < targets; t++) {
    path p = {.comm = c,
              .rows = rows,
              .options = options,
              .fold = fold,
              .target = target,
              .all_targets = targets,
              .width = rows->width};
    if (is_done[t]) continue;
    for (int u = t; u < targets; u++) {
      if (missing[u] != missing[t]) continue;
      p.column[p.targets++] = u;
      is_done[u] = true;
    }
    SYZ_TRY(fit_pass(&p, h, result));
  }
  syz_bcast(c, h->weight, (size_t)(targets * rows->width) * sizeof *h->weight, 0);
  syz_bcast(c, h->bias, (size_t)targets * sizeof *h->bias, 0);
  *out = h;
  h = NULL;
cleanup:
  syz_linear_head_destroy(&h);
  return st;
}
