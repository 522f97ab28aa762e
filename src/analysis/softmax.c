/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Softmax regression by L-BFGS. The problem is convex, so its limit does not depend on the path.
 *
 * Parameters are those of the classes that have rows: weights [C, D] of the standardised features, then biases [C]. A
 * class without rows would drive its bias to minus infinity, so its bias is set to that at the end.
 */
#include <math.h>
#include <string.h>

#include "lapack.h"
#include "minimise.h"
#include "rows.h"

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
  minimiser steps;
} fit;

static void fit_free(fit *f)
{
  double **all[] = {&f->x, &f->logit, &f->mean, &f->scale};
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
  for (int k = 0; k < f->classes; k++) f->factor[k] /= total;
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

syz_status syz_softmax_fit(syz_comm *c, const syz_rows *rows, const int8_t *label, const syz_softmax_options *options,
                           syz_linear_head **out, syz_softmax_result *result)
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
