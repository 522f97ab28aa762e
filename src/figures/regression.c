/* SPDX-License-Identifier: BSD-3-Clause */
/* Figures of predicted numbers. Those of photometric redshifts are functions of sorted errors, so that a bootstrap
 * sorts once and then only counts (bootstrap_sorted.c). */
#include <math.h>

#include "sorted.h"

double syz_r_squared(const float *y, const float *prediction, int64_t n)
{
  double mean = 0, residual = 0, total = 0;
  for (int64_t i = 0; i < n; i++) mean += (double)y[i];
  mean /= (double)n;
  for (int64_t i = 0; i < n; i++) {
    residual += ((double)y[i] - (double)prediction[i]) * ((double)y[i] - (double)prediction[i]);
    total += ((double)y[i] - mean) * ((double)y[i] - mean);
  }
  return n >= 2 && total > 0 ? 1 - residual / total : (double)NAN;
}

double syz_r_squared_f64(int64_t n, const double *y, const double *prediction)
{
  double mean = 0, residual = 0, total = 0;
  if (n < 2 || figures_are_constant(n, y)) return NAN; /* the rounded mean of equal numbers need not be their value */
  for (int64_t i = 0; i < n; i++) mean += y[i];
  mean /= (double)n;
  for (int64_t i = 0; i < n; i++) {
    residual += (y[i] - prediction[i]) * (y[i] - prediction[i]);
    total += (y[i] - mean) * (y[i] - mean);
  }
  return total > 0 ? 1 - residual / total : (double)NAN;
}

void figures_photoz_errors(int64_t n, const double *z, const double *prediction, double *e)
{
  for (int64_t i = 0; i < n; i++) e[i] = (prediction[i] - z[i]) / (1 + z[i]);
}

/* Median distance of sorted numbers from their median: from there the two sides are merged outwards. */
static double median_distance(int64_t n, const double *e, double median)
{
  int64_t above = 0, last = n / 2;
  while (above < n && e[above] <= median) above++;
  int64_t below = above - 1;
  double distance = 0, before = 0;
  for (int64_t i = 0; i <= last; i++) {
    before = distance;
    if (above >= n || (below >= 0 && median - e[below] <= e[above] - median)) {
      distance = median - e[below--];
    } else {
      distance = e[above++] - median;
    }
  }
  return n % 2 ? distance : (before + distance) / 2;
}

static double share_beyond(int64_t n, const double *e, double limit)
{
  int64_t beyond = 0;
  for (int64_t i = 0; i < n; i++) beyond += fabs(e[i]) > limit;
  return (double)beyond / (double)n;
}

void figures_photoz_of_sorted(int64_t n, const double *e, syz_photoz_figures *out)
{
  double sum = 0;
  for (int64_t i = 0; i < n; i++) sum += e[i];
  *out = (syz_photoz_figures){.n = n, .bias_mean = sum / (double)n, .bias_median = (e[(n - 1) / 2] + e[n / 2]) / 2};
  out->sigma_nmad = 1.4826 * median_distance(n, e, out->bias_median);
  out->sigma_iqr = (figures_quantile(n, e, 0.75) - figures_quantile(n, e, 0.25)) / 1.349;
  out->eta = share_beyond(n, e, 0.15);
  out->lsst_outliers = share_beyond(n, e, fmax(0.06, 3 * out->sigma_iqr));
}

static void score_errors(int64_t n, double *e, syz_photoz_figures *out)
{
  *out = (syz_photoz_figures){n, NAN, NAN, NAN, NAN, NAN, NAN};
  if (n < 2 || !figures_are_finite(n, e)) return;
  figures_sort(n, e);
  figures_photoz_of_sorted(n, e, out);
}

syz_status syz_photoz_score(int64_t n, const double *z, const double *prediction, syz_photoz_figures *out)
{
  syz_status st = SYZ_OK;
  double *e = NULL;
  SYZ_ALLOC(e, "errors of redshifts", n);
  figures_photoz_errors(n, z, prediction, e);
  score_errors(n, e, out);
cleanup:
  syz_free(&e);
  return st;
}

syz_status syz_photoz_bins(int64_t n, const double *z, const double *prediction, const double *by, int bins,
                           const double *edge, syz_photoz_figures *out)
{
  syz_status st = SYZ_OK;
  double *e = NULL;
  SYZ_ALLOC(e, "errors of redshifts", n);
  for (int b = 0; b < bins; b++) {
    int64_t found = 0;
    for (int64_t i = 0; i < n; i++) {
      if (syz_bin_of(by[i], bins, edge) == b) figures_photoz_errors(1, z + i, prediction + i, e + found++);
    }
    score_errors(found, e, out + b);
  }
cleanup:
  syz_free(&e);
  return st;
}
