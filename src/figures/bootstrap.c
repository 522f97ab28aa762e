/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Errors by bootstrap. Two objects of a draw come from one block of four random words, 64 bits each, so that no object
 * is favoured by more than n/2^64.
 *
 * Three ways, each O(n) a draw: figures of sums add up their terms as the objects are drawn; figures that need an order
 * are computed on objects sorted once, with how often each was drawn; all others get the objects' numbers.
 */
#include <math.h>
#include <string.h>

#include "sorted.h"
#include "syzygy/numbers.h"

/* Objects 2 pair and 2 pair + 1 of a draw. */
static void two_objects(const syz_random *random, int64_t pair, int64_t n, int64_t object[2])
{
  uint32_t w[4];
  syz_random_block(random, (uint32_t)pair, w);
  for (int k = 0; k < 2; k++) {
    const uint64_t bits = (uint64_t)w[2 * k] << 32 | w[2 * k + 1];
    object[k] = (int64_t)((unsigned __int128)bits * (uint64_t)n >> 64);
  }
}

void syz_bootstrap_draw(uint64_t seed, int64_t t, int64_t n, int64_t *index, int32_t *count)
{
  const syz_random random = syz_random_make(seed, SYZ_RANDOM_BOOTSTRAP, (uint64_t)t, 0);
  if (count) memset(count, 0, (size_t)n * sizeof *count);
  for (int64_t i = 0; i < n; i += 2) {
    int64_t object[2];
    two_objects(&random, i / 2, n, object);
    for (int k = 0; k < 2 && i + k < n; k++) {
      if (index) index[i + k] = object[k];
      if (count) count[object[k]]++;
    }
  }
}

syz_status syz_bootstrap_run(const syz_bootstrap *b, int64_t n, int figures, syz_redraw_figures f, void *context,
                             double *value, double *drawn)
{
  syz_status st = SYZ_OK;
  int64_t *index = NULL;
  int32_t *count = NULL;
  SYZ_ASSERT(figures <= SYZ_BOOTSTRAP_MAX);
  SYZ_ALLOC(index, "objects of a bootstrap draw", n);
  SYZ_ALLOC(count, "counts of a bootstrap draw", n);
  const syz_redraw r = {n, index, count};
  for (int64_t i = 0; i < n; i++) {
    index[i] = i;
    count[i] = 1;
  }
  SYZ_TRY(f(context, &r, value));
  for (int64_t t = 0; t < b->draws; t++) {
    double figure[SYZ_BOOTSTRAP_MAX];
    syz_bootstrap_draw(b->seed, b->first + t, n, index, count);
    SYZ_TRY(f(context, &r, figure));
    for (int k = 0; k < figures; k++) drawn[k * b->draws + t] = figure[k];
  }
cleanup:
  syz_free(&index);
  syz_free(&count);
  return st;
}

static void sums_of_draw(const syz_random *random, int64_t n, int sums, const double *term, double *sum)
{
  for (int64_t i = 0; i < n; i += 2) {
    int64_t object[2];
    two_objects(random, i / 2, n, object);
    for (int k = 0; k < 2 && i + k < n; k++) {
      for (int s = 0; s < sums; s++) sum[s] += term[object[k] * sums + s];
    }
  }
}

/* A figure as a function of sums of columns over n objects. */
typedef double (*sum_figure)(int64_t n, const double *sum);

enum { SUMS_MAX = 3 };

/* value of all objects as they are, and drawn [draws], from columns term [n, sums]. */
static void run_sums(const syz_bootstrap *b, int64_t n, int sums, const double *term, sum_figure f, double *value,
                     double *drawn)
{
  double sum[SUMS_MAX] = {0};
  for (int64_t i = 0; i < n; i++) {
    for (int s = 0; s < sums; s++) sum[s] += term[i * sums + s];
  }
  *value = f(n, sum);
  for (int64_t t = 0; t < b->draws; t++) {
    const syz_random random = syz_random_make(b->seed, SYZ_RANDOM_BOOTSTRAP, (uint64_t)(b->first + t), 0);
    memset(sum, 0, sizeof sum);
    sums_of_draw(&random, n, sums, term, sum);
    drawn[t] = f(n, sum);
  }
}

static double mean_figure(int64_t n, const double *sum) { return n >= 2 ? *sum / (double)n : (double)NAN; }

void syz_bootstrap_mean(const syz_bootstrap *b, int64_t n, const double *x, double *value, double *drawn)
{
  run_sums(b, n, 1, x, mean_figure, value, drawn);
}

/* Of the sums of y - mean, (y - mean)^2, (y - p)^2. A draw whose objects are all equal leaves rounding in place of 0.
 */
static double r_squared_figure(int64_t n, const double *sum)
{
  const double total = sum[1] - sum[0] * sum[0] / (double)n;
  return n >= 2 && total > 1e-13 * sum[1] ? 1 - sum[2] / total : (double)NAN;
}

syz_status syz_bootstrap_r_squared(const syz_bootstrap *b, int64_t n, const double *y, const double *prediction,
                                   double *value, double *drawn)
{
  syz_status st = SYZ_OK;
  double *term = NULL, mean = 0;
  const bool is_constant = figures_are_constant(n, y);
  SYZ_ALLOC(term, "terms of R squared", 3 * n);
  for (int64_t i = 0; i < n; i++) mean += y[i] / (double)n;
  for (int64_t i = 0; i < n; i++) {
    const double from_mean = is_constant ? 0 : y[i] - mean, residual = y[i] - prediction[i];
    term[3 * i] = from_mean;
    term[3 * i + 1] = from_mean * from_mean;
    term[3 * i + 2] = residual * residual;
  }
  run_sums(b, n, 3, term, r_squared_figure, value, drawn);
cleanup:
  syz_free(&term);
  return st;
}

/* NaN last; returns how many are not. */
static int64_t sorted_numbers(int64_t n, double *x)
{
  int64_t known = 0;
  figures_sort(n, x);
  while (known < n && !isnan(x[known])) known++;
  return known;
}

syz_status syz_bootstrap_estimate(double value, int64_t draws, const double *drawn, syz_estimate *out)
{
  syz_status st = SYZ_OK;
  double *x = NULL, square = 0;
  *out = (syz_estimate){value, NAN, NAN, NAN, NAN, 0};
  SYZ_ALLOC(x, "figures of draws", draws);
  memcpy(x, drawn, (size_t)draws * sizeof *x);
  const int64_t n = out->draws = sorted_numbers(draws, x);
  if (n < 2) goto cleanup;
  double sum = 0;
  for (int64_t t = 0; t < n; t++) sum += x[t];
  out->mean = sum / (double)n;
  for (int64_t t = 0; t < n; t++) square += (x[t] - out->mean) * (x[t] - out->mean);
  out->deviation = sqrt(square / ((double)n - 1));
  out->low = figures_quantile(n, x, 0.025);
  out->high = figures_quantile(n, x, 0.975);
cleanup:
  syz_free(&x);
  return st;
}

/* Share of the differences that have not the sign of `value`. */
static double share_of_flips(double value, int64_t draws, const double *difference)
{
  int64_t twice = 0, known = 0;
  for (int64_t t = 0; t < draws; t++) {
    if (isnan(difference[t])) continue;
    known++;
    twice += (difference[t] * value < 0) + (difference[t] * value <= 0);
  }
  if (!known || isnan(value)) return NAN;
  return value == 0 ? 0.5 : (double)twice / 2 / (double)known;
}

syz_status syz_bootstrap_difference(double a, double b, int64_t draws, const double *drawn_a, const double *drawn_b,
                                    syz_estimate *out, double *flips)
{
  syz_status st = SYZ_OK;
  double *x = NULL;
  SYZ_ALLOC(x, "differences of draws", draws);
  for (int64_t t = 0; t < draws; t++) x[t] = drawn_a[t] - drawn_b[t];
  if (flips) *flips = share_of_flips(a - b, draws, x);
  SYZ_TRY(syz_bootstrap_estimate(a - b, draws, x, out));
cleanup:
  syz_free(&x);
  return st;
}
