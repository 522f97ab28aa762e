/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Canonical correlation (Hotelling 1936) the way of Bjoerck & Golub (1973): columns centred and standardised, X = Qx Rx
 * and Y = Qy Ry, and the singular values of Qx^T Qy are the correlations. Covariances are never formed, so correlations
 * keep all digits, and columns that depend on one another are left out by the pivots of the QR. Of the weights that
 * give the same variates there are then many; those of least norm are taken, which do not depend on the choice of
 * pivots.
 *
 * The rows become Q in place. Operations for n rows and p columns: 4 n p^2 a side (5 when columns depend on one
 * another), and 2 n p q for the product.
 */
#include "cca.h"

#include <math.h>
#include <string.h>

#include "lapack.h"
#include "rows.h"
#include "scalapack.h"

typedef struct fit {
  syz_comm *comm;
  const syz_rows *rows[2];
  const syz_cca_options *options;
  syz_cca *result;
  cca_side side[2];
  double *scale[2];       /* [width] 1 / deviation */
  double *product;        /* [rank 0, rank 1] */
  double *value, *map[2]; /* [pairs]; [pairs, rank of the side] left and right singular vectors */
} fit;

static void fit_free(fit *f)
{
  for (int s = 0; s < 2; s++) {
    syz_free(&f->side[s].q);
    syz_free(&f->side[s].r);
    syz_free(&f->scale[s]);
    syz_free(&f->map[s]);
  }
  syz_free(&f->product);
  syz_free(&f->value);
}

/* ------------------------------------------------------------- the two sides */

static syz_status allocate_side(fit *f, int s)
{
  syz_status st = SYZ_OK;
  const int64_t width = f->rows[s]->width;
  cca_side *d = &f->side[s];
  *d = (cca_side){.n = f->rows[s]->n, .width = width};
  f->result->width[s] = width;
  SYZ_ALLOC(f->result->mean[s], "mean", width);
  SYZ_ALLOC(f->scale[s], "deviation", width);
  SYZ_ALLOC(d->q, "rows", d->n * width + 1);
  SYZ_ALLOC(d->r, "triangle", width * width);
cleanup:
  return st;
}

static syz_status load(fit *f, int s)
{
  syz_status st = SYZ_OK;
  const syz_rows *rows = f->rows[s];
  const int64_t block = rows_block(rows->width);
  float *raw = NULL;
  SYZ_ALLOC(raw, "rows", block * rows->width);
  for (int64_t at = 0; at < rows->n; at += block) {
    const int64_t n = rows->n - at < block ? rows->n - at : block;
    rows_read_centred(rows, at, n, f->result->mean[s], f->scale[s], raw, f->side[s].q + at * rows->width);
  }
cleanup:
  syz_free(&raw);
  return st;
}

static syz_status decompose(fit *f, int s)
{
  syz_status st = SYZ_OK;
  cca_side *d = &f->side[s];
  SYZ_TRY_ALL(f->comm, allocate_side(f, s));
  SYZ_TRY(syz_column_moments(f->comm, f->rows[s], f->result->mean[s], f->scale[s], &f->result->rows));
  for (int64_t e = 0; e < d->width; e++) f->scale[s][e] = 1 / f->scale[s][e];
  SYZ_TRY_ALL(f->comm, load(f, s));
  SYZ_TRY(syz_tall_qr(f->comm, d->n, d->width, d->q, f->options->tolerance, true, &d->rank, d->r));
  f->result->rank[s] = d->rank;
cleanup:
  return st;
}

/* The largest component of Q^T Q z - z for random signs z: what went wrong in Q would show here. */
static syz_status check_orthonormal(fit *f, const cca_side *d, double *worst)
{
  syz_status st = SYZ_OK;
  const syz_random random = syz_random_make(0, SYZ_RANDOM_TEST, 0, 0);
  double *z = syz_alloc("check", (size_t)(2 * d->rank + d->n + 1), sizeof *z), *back = z + d->rank, *y = back + d->rank;
  SYZ_TRY_ALL(f->comm, z ? SYZ_OK : SYZ_ERR_MEMORY);
  for (int64_t e = 0; e < d->rank; e++) z[e] = syz_random_u32(&random, (uint32_t)e) & 1 ? 1 : -1;
  la_product(false, false, d->n, 1, d->rank, 1, d->q, d->width, z, 1, 0, y, 1);
  la_product(true, false, d->rank, 1, d->n, 1, d->q, d->width, y, 1, 0, back, 1);
  if (d->n == 0) memset(back, 0, (size_t)d->rank * sizeof *back);
  syz_allreduce_f64(f->comm, back, (size_t)d->rank, SYZ_SUM);
  for (int64_t e = 0; e < d->rank; e++)
    if (!(fabs(back[e] - z[e]) <= *worst)) *worst = fabs(back[e] - z[e]);
  SYZ_REQUIRE(*worst < 1e-10, SYZ_ERR_NUMERIC, "canonical correlation: Q is not orthonormal, by %.3g", *worst);
cleanup:
  syz_free(&z);
  return st;
}

/* --------------------------------------------------------- singular values */

static syz_status allocate_product(fit *f)
{
  syz_status st = SYZ_OK;
  const int64_t p = f->side[0].rank, q = f->side[1].rank, pairs = f->result->pairs;
  SYZ_ALLOC(f->product, "product", p * q);
  SYZ_ALLOC(f->value, "correlations", pairs);
  SYZ_ALLOC(f->map[0], "singular vectors", p * pairs);
  SYZ_ALLOC(f->map[1], "singular vectors", q * pairs);
  SYZ_ALLOC(f->result->correlation, "correlations", pairs);
  for (int s = 0; s < 2; s++) SYZ_ALLOC(f->result->weight[s], "weights", pairs * f->side[s].width);
  if (f->options->permutations) SYZ_ALLOC(f->result->shuffled, "permutations", f->options->permutations);
cleanup:
  return st;
}

static void multiply(fit *f)
{
  const cca_side *x = &f->side[0], *y = &f->side[1];
  la_product(true, false, x->rank, y->rank, x->n, 1, x->q, x->width, y->q, y->width, 0, f->product, y->rank);
  if (x->n == 0) memset(f->product, 0, (size_t)(x->rank * y->rank) * sizeof *f->product);
  syz_allreduce_f64(f->comm, f->product, (size_t)(x->rank * y->rank), SYZ_SUM);
}

/* Left vectors come as columns and are wanted as rows. */
static syz_status singular_values_here(fit *f)
{
  syz_status st = SYZ_OK;
  const int64_t p = f->side[0].rank, pairs = f->result->pairs;
  double *u = NULL;
  SYZ_ALLOC(u, "singular vectors", p * pairs);
  SYZ_TRY(la_svd(p, f->side[1].rank, f->product, f->value, u, f->map[1]));
  for (int64_t k = 0; k < pairs; k++)
    for (int64_t e = 0; e < p; e++) f->map[0][k * p + e] = u[e * pairs + k];
cleanup:
  syz_free(&u);
  return st;
}

static syz_status singular_values(fit *f)
{
  syz_status st = SYZ_OK;
  syz_comm *c = f->comm;
  const int64_t p = f->side[0].rank, q = f->side[1].rank, pairs = f->result->pairs;
  if (p >= f->options->scalapack_from || q >= f->options->scalapack_from) {
    SYZ_TRY(scalapack_singular(c, p, q, f->product, f->value, f->map[0], f->map[1]));
  } else {
    SYZ_TRY_ALL(c, syz_comm_rank(c) == 0 ? singular_values_here(f) : SYZ_OK);
    syz_bcast(c, f->value, (size_t)pairs * sizeof *f->value, 0);
    syz_bcast(c, f->map[0], (size_t)(pairs * p) * sizeof *f->value, 0);
    syz_bcast(c, f->map[1], (size_t)(pairs * q) * sizeof *f->value, 0);
  }
cleanup:
  return st;
}

/* Weights of raw features from singular vectors, in units of which a variate has variance 1. */
static syz_status make_weights(fit *f, int s)
{
  syz_status st = SYZ_OK;
  const int64_t width = f->side[s].width, pairs = f->result->pairs;
  double *weight = f->result->weight[s];
  const double unit = sqrt((double)(f->result->rows - 1));
  SYZ_TRY(la_least_norm(f->side[s].rank, width, f->side[s].r, pairs, f->map[s], weight));
  for (int64_t k = 0; k < pairs; k++)
    for (int64_t e = 0; e < width; e++) weight[k * width + e] *= unit * f->scale[s][e];
cleanup:
  return st;
}

/* The component of largest size of side 0 is positive; side 1 follows, since their correlation is. */
static void settle_signs(syz_cca *a)
{
  for (int64_t k = 0; k < a->pairs; k++) {
    const double *w = a->weight[0] + k * a->width[0];
    int64_t largest = 0;
    for (int64_t e = 1; e < a->width[0]; e++)
      if (fabs(w[e]) > fabs(w[largest]) * (1 + 1e-9)) largest = e;
    if (w[largest] >= 0) continue;
    for (int s = 0; s < 2; s++)
      for (int64_t e = 0; e < a->width[s]; e++) a->weight[s][k * a->width[s] + e] *= -1;
  }
}

static double quantile_99(int64_t n, const double *value)
{
  const double at = 0.99 * (double)(n - 1), below = floor(at);
  double low = NAN, high = NAN;
  for (int64_t i = 0; i < n; i++) { /* few numbers: count how many are smaller */
    int64_t smaller = 0;
    for (int64_t j = 0; j < n; j++) smaller += value[j] < value[i] || (value[j] == value[i] && j < i);
    if (smaller == (int64_t)below) low = value[i];
    if (smaller == (int64_t)below + 1) high = value[i];
  }
  return at > below ? low + (at - below) * (high - low) : low;
}

static syz_status check_counts(const fit *f)
{
  syz_status st = SYZ_OK;
  const int64_t n = f->result->rows;
  for (int s = 0; s < 2; s++)
    SYZ_REQUIRE(f->side[s].rank > 0, SYZ_ERR_INPUT, "canonical correlation: all rows of side %d are the same", s + 1);
  SYZ_REQUIRE(n > f->side[0].rank + f->side[1].rank, SYZ_ERR_INPUT,
              "canonical correlation: %lld rows are too few for %lld and %lld independent columns: correlations of 1 "
              "are forced unless there are more rows than both together; take more rows or fewer columns",
              (long long)n, (long long)f->side[0].rank, (long long)f->side[1].rank);
cleanup:
  return st;
}

static syz_status fit_all(fit *f)
{
  syz_status st = SYZ_OK;
  syz_cca *a = f->result;
  for (int s = 0; s < 2; s++) SYZ_TRY(decompose(f, s));
  SYZ_TRY(check_counts(f)); /* the same on all ranks */
  for (int s = 0; s < 2; s++) SYZ_TRY(check_orthonormal(f, &f->side[s], &a->departure));
  a->pairs = a->rank[0] < a->rank[1] ? a->rank[0] : a->rank[1];
  SYZ_TRY_ALL(f->comm, allocate_product(f));
  multiply(f);
  SYZ_TRY(singular_values(f));
  for (int64_t k = 0; k < a->pairs; k++) a->correlation[k] = fmin(f->value[k], 1);
  for (int s = 0; s < 2; s++) SYZ_TRY_ALL(f->comm, make_weights(f, s));
  settle_signs(a);
  if (f->options->permutations) {
    a->permutations = f->options->permutations;
    SYZ_TRY(cca_shuffle(f->comm, f->side, f->options, a->shuffled));
    a->threshold = quantile_99(a->permutations, a->shuffled);
  }
cleanup:
  return st;
}

syz_status syz_cca_fit(syz_comm *c, const syz_rows *x, const syz_rows *y, const syz_cca_options *options, syz_cca **out)
{
  syz_status st = SYZ_OK;
  fit f = {.comm = c, .rows = {x, y}, .options = options};
  *out = NULL;
  f.result = syz_alloc("canonical correlation", 1, sizeof *f.result);
  SYZ_TRY_ALL(c, f.result ? SYZ_OK : SYZ_ERR_MEMORY);
  SYZ_ASSERT(x->n == y->n);
  f.result->threshold = NAN;
  SYZ_TRY(fit_all(&f));
  *out = f.result;
  f.result = NULL;
cleanup:
  fit_free(&f);
  syz_cca_destroy(&f.result);
  return st;
}

void syz_cca_destroy(syz_cca **ap)
{
  syz_cca *a = *ap;
  if (!a) return;
  for (int s = 0; s < 2; s++) {
    syz_free(&a->mean[s]);
    syz_free(&a->weight[s]);
  }
  syz_free(&a->correlation);
  syz_free(&a->shuffled);
  syz_free(ap);
}

/* ------------------------------------------------------------- its variates */

void cca_variates(const syz_cca *a, int side, int64_t n, const float *x, double *centred, double *y)
{
  const int64_t width = a->width[side];
  for (int64_t i = 0; i < n; i++)
    for (int64_t e = 0; e < width; e++) centred[i * width + e] = (double)x[i * width + e] - a->mean[side][e];
  la_gemm(false, true, n, a->pairs, width, centred, a->weight[side], 0, y);
}

void syz_cca_project(const syz_cca *a, int side, int64_t count, int64_t n, const float *x, float *y)
{
  const syz_pca lines = {.width = a->width[side],
                         .components = count,
                         .mean = a->mean[side],
                         .direction = a->weight[side]}; /* the same sums */
  syz_pca_project(&lines, n, x, y);
}
