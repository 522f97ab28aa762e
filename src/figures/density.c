/* SPDX-License-Identifier: BSD-3-Clause */
/* Scores of whole posteriors: CRPS, CDE loss, likelihood, conformal intervals; and whether their means are what the
 * posteriors themselves expect. If y is a draw of the posterior, the mean of |X - y| is that of |X - X'|, and the mean
 * of f(y) is the integral of f^2. */
#include <math.h>
#include <string.h>

#include "sorted.h"

/* Mean |X - X'| of two different draws: sum over i < j of x_j - x_i of sorted numbers. They are taken from their
 * median: the weights add up to 0, so that changes nothing but the rounding. */
static double mean_pair(int64_t m, const double *x)
{
  double sum = 0;
  for (int64_t j = 0; j < m; j++) sum += (2 * (double)j - (double)m + 1) * (x[j] - x[m / 2]);
  return 2 * sum / ((double)m * ((double)m - 1));
}

syz_status syz_crps_of_draws(int64_t n, const double *y, syz_draws draw, double *crps, double *expected)
{
  syz_status st = SYZ_OK;
  double *x = NULL;
  const int64_t m = draw.m;
  SYZ_ALLOC(x, "sorted draws", m);
  for (int64_t i = 0; i < n; i++) {
    double near = 0, half = NAN;
    for (int64_t j = 0; j < m; j++) x[j] = draw.at[(i * m + j) * draw.stride];
    if (m >= 2 && figures_are_numbers(m, x)) {
      figures_sort(m, x);
      half = mean_pair(m, x) / 2;
    }
    for (int64_t j = 0; j < m; j++) near += fabs(x[j] - y[i]);
    crps[i] = near / (double)m - half;
    if (expected) expected[i] = half;
  }
cleanup:
  syz_free(&x);
  return st;
}

/* The grid point nearest to y, of two the lower. */
static int64_t nearest_point(int64_t points, const double *grid, double y)
{
  int64_t low = 0, high = points - 1;
  while (high - low > 1) {
    const int64_t middle = low + (high - low) / 2;
    *(grid[middle] <= y ? &low : &high) = middle;
  }
  return fabs(y - grid[low]) <= fabs(y - grid[high]) ? low : high;
}

void syz_cde_loss(int64_t n, int64_t points, const double *grid, const double *density, const double *y,
                  const double *at_truth, double *loss, double *expected)
{
  SYZ_ASSERT(points >= 2);
  for (int64_t i = 0; i < n; i++) {
    const double *f = density + i * points;
    double square = 0;
    for (int64_t p = 1; p < points; p++) square += (grid[p] - grid[p - 1]) * (f[p] * f[p] + f[p - 1] * f[p - 1]) / 2;
    const double there = isnan(y[i]) ? (double)NAN : at_truth ? at_truth[i] : f[nearest_point(points, grid, y[i])];
    loss[i] = square - 2 * there;
    if (expected) expected[i] = -square;
  }
}

/* Deviation of the mean of x - y [n >= 2]; y may be NULL. */
static double error_of_mean(int64_t n, const double *x, const double *y, double mean)
{
  double square = 0;
  for (int64_t i = 0; i < n; i++) {
    const double off = x[i] - (y ? y[i] : 0) - mean;
    square += off * off;
  }
  return sqrt(square / ((double)n - 1) / (double)n);
}

static double mean_of(int64_t n, const double *x)
{
  double sum = 0;
  for (int64_t i = 0; i < n; i++) sum += x[i];
  return n >= 2 ? sum / (double)n : (double)NAN;
}

void syz_nll(int64_t n, const double *log_density, int d, const double *sigma, syz_nll_figures *out)
{
  const double mean = -mean_of(n, log_density);
  double scale = 0;
  for (int l = 0; sigma && l < d; l++) scale += log(sigma[l]);
  *out = (syz_nll_figures){n, mean, mean + scale, mean / d, NAN};
  if (n >= 2) out->error = error_of_mean(n, log_density, NULL, -mean);
}

syz_self_check syz_check_mean(int64_t n, const double *value, const double *expected)
{
  syz_self_check c = {mean_of(n, value), mean_of(n, expected), NAN};
  if (n >= 2) c.error = error_of_mean(n, value, expected, c.value - c.expected);
  return c;
}

syz_status syz_conformal_quantile(int64_t n, const double *score, double alpha, double *out)
{
  syz_status st = SYZ_OK;
  double *sorted = NULL;
  /* 0.9 x 30 must not become the 28th by its rounding. */
  const double place = fmax(ceil((1 - alpha) * ((double)n + 1) - 1e-9), 1);
  *out = figures_are_numbers(n, score) && !isnan(alpha) ? INFINITY : (double)NAN;
  if (isnan(*out) || place > (double)n) return SYZ_OK;
  SYZ_ALLOC(sorted, "sorted scores", n);
  memcpy(sorted, score, (size_t)n * sizeof *score);
  figures_sort(n, sorted);
  *out = sorted[(int64_t)place - 1];
cleanup:
  syz_free(&sorted);
  return st;
}
