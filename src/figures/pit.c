/* SPDX-License-Identifier: BSD-3-Clause */
/* Where the truths lie within their posteriors: probability integral transforms, credibilities, coverage. */
#include <math.h>
#include <string.h>

#include "sorted.h"

static const double edge = 1e-4; /* "outside": within this of 0 or 1 */

void syz_pit_of_draws(int64_t n, const double *y, syz_draws draw, double *pit)
{
  for (int64_t i = 0; i < n; i++) {
    int64_t twice = 0; /* the draws below, and half of those equal */
    bool is_known = draw.m >= 1 && !isnan(y[i]);
    for (int64_t j = 0; j < draw.m; j++) {
      const double x = draw.at[(i * draw.m + j) * draw.stride];
      is_known = is_known && !isnan(x);
      twice += (x < y[i]) + (x <= y[i]);
    }
    pit[i] = is_known ? (double)twice / 2 / (double)draw.m : (double)NAN;
  }
}

void syz_density_credibility(int64_t n, int64_t m, const double *log_truth, const double *log_draw, double *out)
{
  for (int64_t i = 0; i < n; i++) {
    int64_t twice = 0;
    bool is_known = m >= 1 && !isnan(log_truth[i]);
    for (int64_t j = 0; j < m; j++) {
      const double x = log_draw[i * m + j];
      is_known = is_known && !isnan(x);
      twice += (x > log_truth[i]) + (x >= log_truth[i]);
    }
    out[i] = is_known ? (double)twice / 2 / (double)m : (double)NAN;
  }
}

void syz_central_credibility(int64_t n, const double *pit, double *out)
{
  for (int64_t i = 0; i < n; i++) out[i] = fabs(2 * pit[i] - 1);
}

static bool is_outside(double pit) { return pit < edge || pit > 1 - edge; }

static int bin_of(double pit)
{
  const int b = (int)(pit * SYZ_PIT_BINS);
  return b < SYZ_PIT_BINS ? b : SYZ_PIT_BINS - 1;
}

/* Shares of calibrated posteriors in each bin and outside: from m draws each of 0/m, 1/m .. m/m is as likely. */
static void calibrated_shares(int64_t m, double share[SYZ_PIT_BINS], double *outside)
{
  for (int b = 0; b < SYZ_PIT_BINS; b++) share[b] = m < 1 ? 1.0 / SYZ_PIT_BINS : 0;
  *outside = m < 1 ? 2 * edge : 0;
  for (int64_t j = 0; m >= 1 && j <= m; j++) {
    const double pit = (double)j / (double)m, each = 1 / ((double)m + 1);
    share[bin_of(pit)] += each;
    if (is_outside(pit)) *outside += each;
  }
}

static void distances(int64_t n, const double *sorted, syz_pit_figures *f)
{
  const double N = (double)n;
  f->ks = 0;
  f->cvm = 1 / (12 * N);
  for (int64_t i = 0; i < n; i++) {
    const double off = sorted[i] - ((double)i + 0.5) / N;
    f->ks = fmax(f->ks, fmax(sorted[i] - (double)i / N, ((double)i + 1) / N - sorted[i]));
    f->cvm += off * off;
  }
  f->ks_p = syz_ks_probability(n, f->ks);
  f->cvm_p = syz_cvm_probability(n, f->cvm);
}

static void histogram(int64_t n, const double *pit, int64_t m, syz_pit_figures *f)
{
  const double N = (double)n;
  double sum = 0, outside = 0, share[SYZ_PIT_BINS];
  for (int64_t i = 0; i < n; i++) {
    f->count[bin_of(pit[i])]++;
    sum += pit[i];
    outside += is_outside(pit[i]);
  }
  calibrated_shares(m, share, &f->outside_expected);
  f->mean = sum / N;
  f->outside = outside / N;
  f->outside_error = sqrt(f->outside_expected * (1 - f->outside_expected) / N);
  f->chi2 = 0;
  f->freedom = -1;
  for (int b = 0; b < SYZ_PIT_BINS; b++) {
    const double off = (double)f->count[b] - N * share[b];
    f->expected[b] = N * share[b];
    f->error[b] = sqrt(N * share[b] * (1 - share[b]));
    if (share[b] > 0) {
      f->chi2 += off * off / f->expected[b];
      f->freedom++;
    }
  }
}

syz_status syz_pit_score(int64_t n, const double *pit, int64_t m, syz_pit_figures *out)
{
  syz_status st = SYZ_OK;
  double *sorted = NULL;
  bool is_known = n >= 2;
  *out = (syz_pit_figures){
      .n = n, .mean = NAN, .ks = NAN, .ks_p = NAN, .cvm = NAN, .cvm_p = NAN, .chi2 = NAN, .outside = NAN};
  out->outside_expected = out->outside_error = NAN;
  for (int b = 0; b < SYZ_PIT_BINS; b++) out->expected[b] = out->error[b] = NAN;
  for (int64_t i = 0; is_known && i < n; i++) is_known = pit[i] >= 0 && pit[i] <= 1;
  if (!is_known) return SYZ_OK;
  SYZ_ALLOC(sorted, "sorted integral transforms", n);
  memcpy(sorted, pit, (size_t)n * sizeof *pit);
  figures_sort(n, sorted);
  distances(n, sorted, out);
  histogram(n, pit, m, out);
cleanup:
  syz_free(&sorted);
  return st;
}

void syz_coverage(int64_t n, const double *credibility, int levels, const double *level, double *covered, double *error)
{
  const bool is_known = n >= 2 && figures_are_numbers(n, credibility);
  for (int l = 0; l < levels; l++) {
    int64_t inside = 0;
    for (int64_t i = 0; is_known && i < n; i++) inside += credibility[i] <= level[l];
    covered[l] = is_known ? (double)inside / (double)n : (double)NAN;
    error[l] = is_known ? sqrt(level[l] * (1 - level[l]) / (double)n) : (double)NAN;
  }
}
