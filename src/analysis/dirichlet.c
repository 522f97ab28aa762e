/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Votes of volunteers as votes (Walmsley et al. 2022, arXiv:2102.08414): a Dirichlet-multinomial distribution for each
 * question, whose concentrations alpha = 1 + 100 sigmoid(raw) are what a linear head says.
 *
 *   -ln P = -[ln n! - sum ln k! + ln G(A) - ln G(A + n) + sum (ln G(alpha + k) - ln G(alpha))],  A = sum alpha, n = sum
 * k
 */
#include <math.h>
#include <string.h>

#include "lapack.h"
#include "minimise.h"
#include "rows.h"

static const double LEAST = 1, SPAN = 100; /* of a concentration */
enum { FEW_VOTES = 64 };                   /* a product of so many factors below 13,000 fits a double */

/* psi(x) for x >= 1: upwards by psi(x) = psi(x + 1) - 1/x, then the asymptotic series, whose next term is below 1e-16
 * from 10 on. */
static double digamma(double x)
{
  double below = 0;
  for (; x < 10; x++) below += 1 / x;
  const double q = 1 / (x * x);
  const double series =
      q * (1.0 / 12 - q * (1.0 / 120 - q * (1.0 / 252 - q * (1.0 / 240 - q * (1.0 / 132 - q * (691.0 / 32760))))));
  return log(x) - 0.5 / x - series - below;
}

/* ln G(x + k) - ln G(x), and its derivative by x. */
static double rise(double x, double k, double *slope)
{
  if (k > FEW_VOTES) {
    *slope = digamma(x + k) - digamma(x);
    return lgamma(x + k) - lgamma(x);
  }
  double product = 1, sum = 0;
  for (double i = 0; i < k; i++) {
    product *= x + i;
    sum += 1 / (x + i);
  }
  *slope = sum;
  return log(product);
}

void syz_dirichlet_concentrations(int answers, const double *raw, double *alpha)
{
  for (int a = 0; a < answers; a++) alpha[a] = LEAST + SPAN / (1 + exp(-raw[a]));
}

/* One question of some answers. */
static double question_loss(int answers, const float *votes, const double *raw, double *gradient)
{
  double alpha[SYZ_ANSWERS], n = 0, total = 0, loss = 0, of_total, slope;
  for (int a = 0; a < answers; a++) n += (double)votes[a];
  if (gradient) memset(gradient, 0, (size_t)answers * sizeof *gradient);
  if (!(n > 0)) return 0;
  syz_dirichlet_concentrations(answers, raw, alpha);
  for (int a = 0; a < answers; a++) total += alpha[a];
  loss = rise(total, n, &of_total) - lgamma(n + 1);
  for (int a = 0; a < answers; a++) {
    const double k = (double)votes[a], s = (alpha[a] - LEAST) / SPAN;
    loss += lgamma(k + 1) - rise(alpha[a], k, &slope);
    if (gradient) gradient[a] = (of_total - slope) * SPAN * s * (1 - s);
  }
  return loss;
}

double syz_dirichlet_loss(int questions, const int *begin, const float *votes, const double *raw, double *each,
                          double *gradient)
{
  double sum = 0;
  for (int q = 0; q < questions; q++) {
    const int at = begin[q];
    const double loss = question_loss(begin[q + 1] - at, votes + at, raw + at, gradient ? gradient + at : NULL);
    if (each) each[q] = loss;
    sum += loss;
  }
  return sum;
}

/* ------------------------------------------------------------ fit */

typedef struct fit {
  syz_comm *comm;
  const syz_rows *rows;
  const float *votes;
  const syz_dirichlet_options *options;
  int answers;
  int64_t block, count; /* count: rows of all ranks with a vote */
  float *raw;           /* [block, D] */
  double *x, *said;     /* [block, D], [block, answers] */
  double *mean, *scale; /* [D] */
  minimiser steps;
} fit;

static void fit_free(fit *f)
{
  syz_free(&f->raw);
  syz_free(&f->x);
  syz_free(&f->said);
  syz_free(&f->mean);
  syz_free(&f->scale);
  minimiser_free(&f->steps);
}

static syz_status fit_allocate(fit *f)
{
  syz_status st = SYZ_OK;
  const int64_t width = f->rows->width;
  f->block = rows_block(width);
  SYZ_ALLOC(f->raw, "rows", f->block * width);
  SYZ_ALLOC(f->x, "standardised rows", f->block * width);
  SYZ_ALLOC(f->said, "concentrations", f->block * f->answers);
  SYZ_ALLOC(f->mean, "mean", width);
  SYZ_ALLOC(f->scale, "deviation", width);
  SYZ_TRY(minimiser_make(f->answers * (width + 1), &f->steps));
cleanup:
  return st;
}

static syz_status count_rows(fit *f)
{
  syz_status st = SYZ_OK;
  for (int64_t i = 0; i < f->rows->n; i++) {
    double n = 0;
    for (int a = 0; a < f->answers; a++) n += (double)f->votes[i * f->answers + a];
    f->count += n > 0;
  }
  syz_allreduce_i64(f->comm, &f->count, 1, SYZ_SUM);
  SYZ_REQUIRE(f->count > 0, SYZ_ERR_INPUT, "votes: no row has any");
cleanup:
  return st;
}

/* Weights [answers, D] of the standardised features, then biases. Collective. */
static double evaluate(void *context, const double *theta, double *gradient)
{
  fit *f = context;
  const int64_t width = f->rows->width, c = f->answers, size = f->steps.size;
  const double *bias = theta + c * width;
  double penalty = 0, one[SYZ_ANSWERS];
  memset(gradient, 0, (size_t)(size + 1) * sizeof *gradient);
  for (int64_t at = 0; at < f->rows->n; at += f->block) {
    const int64_t n = f->rows->n - at < f->block ? f->rows->n - at : f->block;
    rows_read_centred(f->rows, at, n, f->mean, f->scale, f->raw, f->x);
    la_gemm(false, true, n, c, width, f->x, theta, 0, f->said);
    for (int64_t i = 0; i < n; i++) {
      double *z = f->said + i * c;
      for (int64_t j = 0; j < c; j++) z[j] += bias[j];
      gradient[size] +=
          syz_dirichlet_loss(f->options->questions, f->options->begin, f->votes + (at + i) * c, z, NULL, one);
      for (int64_t j = 0; j < c; j++) gradient[c * width + j] += z[j] = one[j];
    }
    la_gemm(true, false, c, width, n, f->said, f->x, 1, gradient);
  }
  syz_allreduce_f64(f->comm, gradient, (size_t)size + 1, SYZ_SUM);
  for (int64_t e = 0; e <= size; e++) gradient[e] /= (double)f->count;
  for (int64_t e = 0; e < c * width; e++) {
    penalty += 0.5 * f->options->l2 * theta[e] * theta[e];
    gradient[e] += f->options->l2 * theta[e];
  }
  return gradient[size] + penalty;
}

syz_status syz_dirichlet_fit(syz_comm *c, const syz_rows *rows, const float *votes,
                             const syz_dirichlet_options *options, syz_linear_head **out, syz_dirichlet_result *result)
{
  syz_status st = SYZ_OK;
  const int64_t width = rows->width;
  fit f = {.comm = c, .rows = rows, .votes = votes, .options = options, .answers = options->begin[options->questions]};
  syz_linear_head *h = NULL;
  *out = NULL;
  SYZ_ASSERT(options->questions >= 1 && options->questions <= SYZ_QUESTIONS && f.answers <= SYZ_ANSWERS);
  syz_blis_choose_kernels();
  SYZ_TRY(count_rows(&f));
  SYZ_TRY_ALL(c, fit_allocate(&f));
  h = linear_head_make(f.answers, width);
  SYZ_TRY_ALL(c, h ? SYZ_OK : SYZ_ERR_MEMORY);
  SYZ_TRY(syz_column_moments(c, rows, f.mean, f.scale, NULL));
  for (int64_t e = 0; e < width; e++) f.scale[e] = 1 / f.scale[e];
  const minimum found = minimise(&f.steps, evaluate, &f, options->iterations, options->tolerance);
  *result = (syz_dirichlet_result){found.loss, found.gradient, found.iterations, f.count, found.has_converged};
  for (int64_t k = 0; k < f.answers; k++) {
    h->bias[k] = f.steps.theta[f.answers * width + k];
    for (int64_t e = 0; e < width; e++) {
      h->weight[k * width + e] = f.steps.theta[k * width + e] * f.scale[e];
      h->bias[k] -= h->weight[k * width + e] * f.mean[e];
    }
  }
  *out = h;
  h = NULL;
cleanup:
  syz_linear_head_destroy(&h);
  fit_free(&f);
  return st;
}
