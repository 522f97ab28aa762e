/* SPDX-License-Identifier: BSD-3-Clause */
/* Sentences about figures of calibration that are off by more than 3 of their errors. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#include "syzygy/figures.h"

static const double most_errors = 3, least_p = 0.0027; /* 3 errors of a normal distribution, on two sides */
static const char *const narrow = "too narrow, or off their place", *const wide = "too wide";

__attribute__((format(printf, 2, 3))) static void add(syz_warnings *w, const char *format, ...)
{
  va_list arguments;
  if (w->n == SYZ_WARNINGS_MAX) return;
  va_start(arguments, format);
  vsnprintf(w->text[w->n++], SYZ_WARNING_TEXT, format, arguments);
  va_end(arguments);
}

/* NaN is off. */
static bool is_off(double value, double expected, double error)
{
  return !(fabs(value - expected) <= most_errors * error);
}

static void unknown(const syz_calibration *c, const char *what, syz_warnings *w)
{
  add(w, "%s: %s cannot be computed: fewer than 2 objects, or values that are not numbers.", c->name, what);
}

static int worst_bin(const syz_pit_figures *f)
{
  int worst = 0;
  for (int b = 1; b < SYZ_PIT_BINS; b++) {
    if (fabs((double)f->count[b] - f->expected[b]) > fabs((double)f->count[worst] - f->expected[worst])) worst = b;
  }
  return worst;
}

static void warn_of_pit(const syz_calibration *c, syz_warnings *w)
{
  const syz_pit_figures *f = c->pit;
  const double error = 1 / sqrt(12 * (double)f->n);
  if (isnan(f->ks)) {
    unknown(c, "the PIT", w);
    return;
  }
  if (is_off(f->mean, 0.5, error))
    add(w, "%s: the mean PIT is %.4f, not 0.5 +- %.4f: the posteriors lie too %s.", c->name, f->mean, error,
        f->mean > 0.5 ? "low" : "high");
  if (!(f->ks_p >= least_p))
    add(w, "%s: the PIT is not uniform: Kolmogorov-Smirnov D = %.4f, p = %.2g.", c->name, f->ks, f->ks_p);
  if (!(f->cvm_p >= least_p))
    add(w, "%s: the PIT is not uniform: Cramer-von Mises statistic %.4f, p = %.2g.", c->name, f->cvm, f->cvm_p);
  if (f->chi2 > f->freedom + most_errors * sqrt(2.0 * f->freedom)) {
    const int b = worst_bin(f);
    add(w, "%s: the histogram of the PIT is not flat: chi^2 = %.1f, not %d +- %.1f; %.2f to %.2f has %lld, not %.1f.",
        c->name, f->chi2, f->freedom, sqrt(2.0 * f->freedom), (double)b / SYZ_PIT_BINS, (b + 1.0) / SYZ_PIT_BINS,
        (long long)f->count[b], f->expected[b]);
  }
  if (is_off(f->outside, f->outside_expected, f->outside_error))
    add(w, "%s: %.2f %% of the PIT lie outside of 0.0001 to 0.9999, not %.2f +- %.2f %%: truths in the far tails%s.",
        c->name, 100 * f->outside, 100 * f->outside_expected, 100 * f->outside_error,
        f->outside > f->outside_expected ? "" : " are missing");
}

typedef struct curve {
  const char *what;
  const double *value, *error; /* error: may be NULL */
  bool is_tarp;
} curve;

/* Posteriors that are too narrow have too many shares near 1 (and, when references are far away, near 0), so that it is
 * the upper half of TARP's curve that tells. */
static double upper_half(const syz_calibration *c, const double *value)
{
  double sum = 0;
  for (int l = 0; l < c->levels; l++) {
    if (c->level[l] >= 0.5) sum += value[l] - c->level[l];
  }
  return sum;
}

static double error_at(const syz_calibration *c, const curve *k, int l)
{
  const double a = c->level[l], counting = sqrt(a * (1 - a) / (double)c->n);
  return k->error && k->error[l] > counting ? k->error[l] : counting;
}

static void warn_of_curve(const syz_calibration *c, const curve *k, syz_warnings *w)
{
  double most = 0;
  int worst = -1;
  for (int l = 0; k->value && l < c->levels; l++) {
    const double error = error_at(c, k, l), off = fabs(k->value[l] - c->level[l]);
    if (isnan(k->value[l]) || c->n < 2) {
      unknown(c, k->what, w);
      return;
    }
    const double errors = error > 0 ? off / error : off > 0 ? INFINITY : 0;
    if (errors > most_errors && errors > most) {
      most = errors;
      worst = l;
    }
  }
  if (worst < 0) return;
  const double value = k->value[worst], level = c->level[worst];
  const bool is_wide = k->is_tarp ? upper_half(c, k->value) > 0 : value > level;
  add(w, "%s: %s at %.0f %% is %.1f %%, off by %.1f times its error of %.2f %%: the posteriors are %s.", c->name,
      k->what, 100 * level, 100 * value, most, 100 * error_at(c, k, worst), is_wide ? wide : narrow);
}

static void warn_of_mean(const syz_calibration *c, const char *what, const syz_self_check *f, syz_warnings *w)
{
  if (!f) return;
  if (isnan(f->value) || isnan(f->expected) || isnan(f->error)) {
    unknown(c, what, w);
  } else if (is_off(f->value, f->expected, f->error)) {
    add(w, "%s: %s is %.4g, and the posteriors themselves expect %.4g +- %.2g: they are %s.", c->name, what, f->value,
        f->expected, f->error, f->value > f->expected ? narrow : wide);
  }
}

void syz_calibration_warn(const syz_calibration *c, syz_warnings *out)
{
  const curve curves[] = {
      {"the coverage of central intervals", c->central, NULL, false},
      {"the coverage of highest-density regions", c->density, NULL, false},
      {"TARP's expected coverage", c->tarp, c->tarp_error, true},
  };
  *out = (syz_warnings){0};
  if (c->pit) warn_of_pit(c, out);
  for (size_t k = 0; k < sizeof curves / sizeof *curves; k++) warn_of_curve(c, curves + k, out);
  warn_of_mean(c, "the mean CRPS", c->crps, out);
  warn_of_mean(c, "the CDE loss", c->cde, out);
  warn_of_mean(c, "the mean of -log q", c->nll, out);
}
