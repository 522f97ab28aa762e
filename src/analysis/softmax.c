/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Softmax regression by L-BFGS. The problem is convex, so its limit does not depend on the path.
 *
 * Parameters are those of the classes that have rows: weights [C, D] of the standardised features, then biases [C]. A
 * class without rows would drive its bias to minus infinity, so its bias is set to that at the end.
 *
 * With a small penalty, correlated features make L-BFGS slow: thousands of steps for columns of an embedding. Where
 * many penalties are tried, its steps are therefore divided by the second derivative at the shares of the classes, p (1
 * - p) X^T X / n + l2 of each class, in the basis of the eigenvectors of X^T X, which serve every class.
 */
#include <math.h>
#include <string.h>

#include "lapack.h"
#include "minimise.h"
#include "rows.h"

enum { WIDEST = 4096 /* columns whose products are decomposed on one rank: 128 MiB, a minute */ };

typedef struct fit {
  syz_comm *comm;
  const syz_rows *rows;
  const int8_t *label;
  const syz_softmax_options *options;
  int classes;                    /* that have rows */
  int place[SYZ_CLASSES_MAX];     /* of a class among them, -1 */
  int name[SYZ_CLASSES_MAX];      /* and back */
  double factor[SYZ_CLASSES_MAX]; /* of a row's loss in the mean */
  int64_t block, size;            /* parameters */
  float *raw;                     /* [block, D] */
  double *x, *logit;              /* [block, D], [block, C] */
  double *mean, *scale;           /* [D] */
  double *vector, *value;         /* [D, D], [D] of X^T X / n, largest first; NULL: steps are not divided */
  double *rotated;                /* [C, D] scratch */
  double share[SYZ_CLASSES_MAX];  /* p (1 - p) of a class */
  minimiser steps;
} fit;

static void fit_free(fit *f)
{
  double **all[] = {&f->x, &f->logit, &f->mean, &f->scale, &f->vector, &f->value, &f->rotated};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) syz_free(all[i]);
  minimiser_free(&f->steps);
  syz_free(&f->raw);
}

static syz_status fit_allocate(fit *f)
{
  syz_status st = SYZ_OK;
  const int64_t width = f->rows->width;
  f->block = rows_block(width);
  f->size = f->classes * (width + 1);
  SYZ_ALLOC(f->raw, "rows", f->block * width);
  SYZ_ALLOC(f->x, "standardised rows", f->block * width);
  SYZ_ALLOC(f->logit, "logits", f->block * f->classes);
  SYZ_ALLOC(f->mean, "mean", width);
  SYZ_ALLOC(f->scale, "deviation", width);
  SYZ_TRY(minimiser_make(f->size, &f->steps));
cleanup:
  return st;
}

/* Which classes have rows, and what a row of each counts. */
static syz_status count_classes(fit *f)
{
  syz_status st = SYZ_OK;
  const int all = f->options->classes;
  int64_t count[SYZ_CLASSES_MAX + 1] = {0}; /* the last one counts labels that are not a class */
  double total = 0;
  SYZ_ASSERT(all >= 1 && all <= SYZ_CLASSES_MAX);
  for (int64_t i = 0; i < f->rows->n; i++) {
    if (f->label[i] < -1 || f->label[i] >= all)
      count[SYZ_CLASSES_MAX]++;
    else if (f->label[i] >= 0)
      count[f->label[i]]++;
  }
  syz_allreduce_i64(f->comm, count, SYZ_CLASSES_MAX + 1, SYZ_SUM);
  SYZ_REQUIRE(count[SYZ_CLASSES_MAX] == 0, SYZ_ERR_INPUT, "softmax regression: %lld labels are none of the %d classes",
              (long long)count[SYZ_CLASSES_MAX], all);
  for (int k = 0; k < all; k++) {
    f->place[k] = count[k] ? f->classes : -1;
    if (!count[k]) continue;
    f->factor[f->classes] = f->options->class_weight ? f->options->class_weight[k] : 1;
    total += f->factor[f->classes] * (double)count[k];
    f->name[f->classes++] = k;
  }
  SYZ_REQUIRE(f->classes > 0 && total > 0, SYZ_ERR_INPUT, "softmax regression: no row has a class of weight");
  for (int k = 0; k < f->classes; k++) {
    f->factor[k] /= total;
    const double p = f->factor[k] * (double)count[f->name[k]];
    f->share[k] = fmax(p * (1 - p), 1e-3);
  }
cleanup:
  return st;
}

/* Loss with its penalty at theta; gradient [size], followed by the loss without the penalty. Collective. */
static double evaluate(void *context, const double *theta, double *gradient)
{
  fit *f = context;
  const int64_t width = f->rows->width, c = f->classes;
  const double *bias = theta + c * width;
  double penalty = 0;
  memset(gradient, 0, (size_t)(f->size + 1) * sizeof *gradient);
  for (int64_t at = 0; at < f->rows->n; at += f->block) {
    const int64_t n = f->rows->n - at < f->block ? f->rows->n - at : f->block;
    rows_read_centred(f->rows, at, n, f->mean, f->scale, f->raw, f->x);
    la_gemm(false, true, n, c, width, f->x, theta, 0, f->logit);
    for (int64_t i = 0; i < n; i++) {
      double *z = f->logit + i * c, largest = -INFINITY, sum = 0;
      const int k = f->label[at + i] >= 0 ? f->place[f->label[at + i]] : -1;
      for (int64_t j = 0; j < c; j++) largest = fmax(largest, z[j] += bias[j]);
      const double own = k >= 0 ? z[k] : 0;
      for (int64_t j = 0; j < c; j++) sum += z[j] = exp(z[j] - largest);
      if (k >= 0) gradient[f->size] += f->factor[k] * (largest + log(sum) - own);
      for (int64_t j = 0; j < c; j++) {
        z[j] = k >= 0 ? f->factor[k] * (z[j] / sum - (j == k)) : 0;
        gradient[c * width + j] += z[j];
      }
    }
    la_gemm(true, false, c, width, n, f->logit, f->x, 1, gradient);
  }
  syz_allreduce_f64(f->comm, gradient, (size_t)f->size + 1, SYZ_SUM);
  for (int64_t e = 0; e < c * width; e++) {
    penalty += 0.5 * f->options->l2 * theta[e] * theta[e];
    gradient[e] += f->options->l2 * theta[e];
  }
  return gradient[f->size] + penalty;
}

/* d [size] divided by the second derivative at the shares of the classes. */
static void divide_by_curvature(void *context, double *d)
{
  const fit *f = context;
  const int64_t width = f->rows->width, c = f->classes;
  la_gemm(false, true, c, width, width, d, f->vector, 0, f->rotated);
  for (int64_t k = 0; k < c; k++) {
    for (int64_t e = 0; e < width; e++) f->rotated[k * width + e] /= f->share[k] * f->value[e] + f->options->l2;
    d[c * width + k] /= f->share[k];
  }
  la_gemm(false, false, c, width, width, f->rotated, f->vector, 0, d);
}

/* Eigenvectors of X^T X / n of the standardised rows, computed on one rank, so that all have the same bits. */
static syz_status find_curvature(fit *f)
{
  syz_status st = SYZ_OK;
  const int64_t width = f->rows->width;
  double *gram = NULL, rows = (double)f->rows->n;
  SYZ_TRY_ALL(f->comm, (gram = syz_alloc("products of features", (size_t)(width * width), sizeof *gram)) != NULL &&
                               (f->vector = syz_alloc("their directions", (size_t)(width * width), sizeof *gram)) &&
                               (f->value = syz_alloc("their variances", (size_t)width, sizeof *gram)) &&
                               (f->rotated = syz_alloc("directions", (size_t)(f->classes * width), sizeof *gram))
                           ? SYZ_OK
                           : SYZ_ERR_MEMORY);
  for (int64_t at = 0; at < f->rows->n; at += f->block) {
    const int64_t n = f->rows->n - at < f->block ? f->rows->n - at : f->block;
    rows_read_centred(f->rows, at, n, f->mean, f->scale, f->raw, f->x);
    la_syrk(n, width, f->x, gram);
  }
  syz_allreduce_f64(f->comm, gram, (size_t)(width * width), SYZ_SUM);
  syz_allreduce_f64(f->comm, &rows, 1, SYZ_SUM);
  for (int64_t i = 0; i < width * width; i++) gram[i] /= rows;
  la_mirror(width, gram);
  SYZ_TRY_ALL(f->comm, syz_comm_rank(f->comm) == 0 ? la_eigen(width, gram, width, f->value, f->vector) : SYZ_OK);
  syz_bcast(f->comm, f->vector, (size_t)(width * width) * sizeof *f->vector, 0);
  syz_bcast(f->comm, f->value, (size_t)width * sizeof *f->value, 0);
  for (int64_t e = 0; e < width; e++) f->value[e] = fmax(f->value[e], 1e-9 * f->value[0]); /* rounding; l2 may be 0 */
  f->steps.precondition = divide_by_curvature;
cleanup:
  syz_free(&gram);
  return st;
}

void syz_linear_head_destroy(syz_linear_head **hp)
{
  syz_linear_head *h = *hp;
  if (!h) return;
  syz_free(&h->weight);
  syz_free(&h->bias);
  syz_free(hp);
}

void syz_linear_head_apply(const syz_linear_head *h, int64_t n, const float *x, float *y)
{
  enum { LANES = 8 };
  const int64_t width = h->width, whole = width / LANES * LANES;
  for (int64_t i = 0; i < n; i++)
    for (int64_t k = 0; k < h->outputs; k++) {
      const double *w = h->weight + k * width;
      double lane[LANES] = {0}, sum = h->bias[k];
      for (int64_t e = 0; e < whole; e += LANES)
        for (int l = 0; l < LANES; l++) lane[l] += (double)x[i * width + e + l] * w[e + l];
      for (int64_t e = whole; e < width; e++) sum += (double)x[i * width + e] * w[e];
      for (int l = 0; l < LANES; l++) sum += lane[l];
      y[i * h->outputs + k] = (float)sum;
    }
}

syz_linear_head *linear_head_make(int64_t outputs, int64_t width)
{
  syz_linear_head *h = syz_alloc("linear head", 1, sizeof *h);
  if (!h) return NULL;
  h->outputs = outputs;
  h->width = width;
  h->weight = syz_alloc("linear head", (size_t)(outputs * width), sizeof *h->weight);
  h->bias = syz_alloc("linear head", (size_t)outputs, sizeof *h->bias);
  if (!h->weight || !h->bias) syz_linear_head_destroy(&h);
  return h;
}

/* Parameters of standardised features at which a head of the features as they are gives its logits. A class that the
 * head never saw keeps zeros. */
static void begin_at(fit *f, const syz_linear_head *start)
{
  const int64_t width = f->rows->width;
  for (int k = 0; k < f->classes; k++) {
    const int name = f->name[k];
    double *w = f->steps.theta + k * width, *bias = f->steps.theta + f->classes * width + k;
    if (!isfinite(start->bias[name])) continue;
    *bias = start->bias[name];
    for (int64_t e = 0; e < width; e++) {
      w[e] = start->weight[name * width + e] / f->scale[e];
      *bias += start->weight[name * width + e] * f->mean[e];
    }
  }
}

syz_status syz_softmax_fit(syz_comm *c, const syz_rows *rows, const int8_t *label, const syz_softmax_options *options,
                           syz_linear_head **out, syz_softmax_result *result)
{
  return softmax_fit_from(c, rows, label, options, NULL, false, out, result);
}

syz_status softmax_fit_from(syz_comm *c, const syz_rows *rows, const int8_t *label, const syz_softmax_options *options,
                            const syz_linear_head *start, bool is_correlated, syz_linear_head **out,
                            syz_softmax_result *result)
{
  syz_status st = SYZ_OK;
  fit f = {.comm = c, .rows = rows, .label = label, .options = options};
  syz_linear_head *h = NULL;
  const int64_t width = rows->width;
  *out = NULL;
  syz_blis_choose_kernels();
  SYZ_TRY(count_classes(&f));
  SYZ_TRY_ALL(c, fit_allocate(&f));
  h = linear_head_make(options->classes, width);
  SYZ_TRY_ALL(c, h ? SYZ_OK : SYZ_ERR_MEMORY);
  SYZ_TRY(syz_column_moments(c, rows, f.mean, f.scale, NULL));
  for (int64_t e = 0; e < width; e++) {
    f.mean[e] = options->is_as_it_is ? 0 : f.mean[e];
    f.scale[e] = options->is_as_it_is ? 1 : 1 / f.scale[e];
  }
  if (is_correlated && width <= WIDEST) SYZ_TRY(find_curvature(&f));
  if (start) begin_at(&f, start);
  const minimum found = minimise(&f.steps, evaluate, &f, options->iterations, options->tolerance);
  *result = (syz_softmax_result){.loss = found.loss,
                                 .gradient = found.gradient,
                                 .iterations = found.iterations,
                                 .has_converged = found.has_converged};
  for (int k = 0; k < options->classes; k++) h->bias[k] = -INFINITY;
  for (int k = 0; k < f.classes; k++) {
    const int name = f.name[k];
    h->bias[name] = f.steps.theta[f.classes * width + k];
    for (int64_t e = 0; e < width; e++) {
      h->weight[name * width + e] = f.steps.theta[k * width + e] * f.scale[e];
      h->bias[name] -= h->weight[name * width + e] * f.mean[e];
    }
  }
  *out = h;
  h = NULL;
cleanup:
  syz_linear_head_destroy(&h);
  fit_free(&f);
  return st;
}
