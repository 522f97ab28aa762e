/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Labels to standardised numbers and back, with the logarithm of the derivative. Bounded labels (a redshift, a
 * fraction) go through a logarithm or a logit, so that the flow gives no probability to what cannot be.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "internal.h"

/* g(y) and ln g'(y); NaN outside of the domain. */
static double transform(const syz_flow_label *l, double y, double *log_slope)
{
  *log_slope = 0;
  if (!isfinite(y)) return NAN;
  if (l->transform == SYZ_FLOW_LOG) {
    if (!(y > l->low)) return NAN;
    *log_slope = -log(y - l->low);
    return -*log_slope;
  }
  if (l->transform == SYZ_FLOW_LOGIT) {
    if (!(y > l->low && y < l->high)) return NAN;
    const double below = y - l->low, above = l->high - y;
    *log_slope = log(l->high - l->low) - log(below) - log(above);
    return log(below / above);
  }
  return y;
}

double flow_log_slope(const syz_flow_label *label, double y)
{
  double log_slope;
  transform(label, y, &log_slope);
  return log_slope - log(label->scale);
}

static double undo(const syz_flow_label *l, double g)
{
  if (l->transform == SYZ_FLOW_LOG) return l->low + exp(g);
  if (l->transform == SYZ_FLOW_LOGIT) return l->low + (l->high - l->low) / (1 + exp(-g));
  return g;
}

static syz_status outside(const syz_flow_label *l, double y, int64_t row)
{
  char domain[128] = "a finite number";
  if (l->transform == SYZ_FLOW_LOG) snprintf(domain, sizeof domain, "above %g", l->low);
  if (l->transform == SYZ_FLOW_LOGIT) snprintf(domain, sizeof domain, "between %g and %g", l->low, l->high);
  return syz_error_set(SYZ_ERR_DATA, __FILE__, __LINE__,
                       "label %s: row %lld has the value %.9g, which is not %s; leave such rows out, or choose another "
                       "transform or other bounds",
                       l->name, (long long)row, y, domain);
}

static syz_status check_label(const syz_flow_label *l)
{
  syz_status st = SYZ_OK;
  SYZ_REQUIRE(l->transform != SYZ_FLOW_LOG || isfinite(l->low), SYZ_ERR_INPUT,
              "label %s: a logarithm needs a finite lower bound, not %g", l->name, l->low);
  SYZ_REQUIRE(l->transform != SYZ_FLOW_LOGIT || (isfinite(l->low) && isfinite(l->high) && l->low < l->high),
              SYZ_ERR_INPUT, "label %s: a logit needs a lower bound below the upper one, not %g and %g", l->name,
              l->low, l->high);
cleanup:
  return st;
}

syz_status syz_flow_labels_apply(const syz_flow_label *label, int labels, int64_t n, const double *y, double *s,
                                 double *jacobian, uint8_t *ok, int64_t *left_out)
{
  if (left_out) *left_out = 0;
  for (int64_t i = 0; i < n; i++) {
    double sum = 0;
    bool is_good = true;
    for (int d = 0; d < labels; d++) {
      double log_slope;
      const double value = y[i * labels + d], g = transform(&label[d], value, &log_slope);
      if (isnan(g) && !ok) return outside(&label[d], value, i);
      if (isnan(g)) is_good = false;
      s[i * labels + d] = (g - label[d].mean) / label[d].scale;
      sum += log_slope - log(label[d].scale);
    }
    if (!is_good) memset(s + i * labels, 0, (size_t)labels * sizeof *s);
    if (jacobian) jacobian[i] = is_good ? sum : 0;
    if (ok) ok[i] = is_good;
    if (left_out) *left_out += !is_good;
  }
  return SYZ_OK;
}

void syz_flow_labels_undo(const syz_flow_label *label, int labels, int64_t n, const double *s, double *y)
{
  for (int64_t i = 0; i < n; i++)
    for (int d = 0; d < labels; d++)
      y[i * labels + d] = undo(&label[d], s[i * labels + d] * label[d].scale + label[d].mean);
}

/* Mean and deviation of s [n, D], column d, of good rows, in two passes. */
static int64_t moments(int labels, int64_t n, const double *s, const uint8_t *ok, int d, int ddof, double *mean,
                       double *scale)
{
  int64_t count = 0;
  double sum = 0, square = 0;
  for (int64_t i = 0; i < n; i++)
    if (ok[i]) {
      sum += s[i * labels + d];
      count++;
    }
  *mean = count ? sum / (double)count : 0;
  for (int64_t i = 0; i < n; i++)
    if (ok[i]) square += (s[i * labels + d] - *mean) * (s[i * labels + d] - *mean);
  *scale = count > ddof ? sqrt(square / (double)(count - ddof)) : 0;
  return count;
}

syz_status syz_flow_labels_fit(syz_flow_label *label, int labels, int64_t n, const double *y, int ddof, uint8_t *ok,
                               int64_t *left_out)
{
  syz_status st = SYZ_OK;
  double *s = NULL;
  uint8_t *good = NULL;
  SYZ_REQUIRE(labels >= 1 && labels <= SYZ_FLOW_LABELS, SYZ_ERR_INPUT, "a flow takes 1 to %d labels, not %d",
              SYZ_FLOW_LABELS, labels);
  SYZ_ALLOC(s, "labels", n * labels + 1);
  SYZ_ALLOC(good, "labels", n + 1);
  memset(good, 1, (size_t)n);
  for (int d = 0; d < labels; d++) {
    SYZ_TRY(check_label(&label[d]));
    label[d].mean = 0;
    label[d].scale = 1;
  }
  SYZ_TRY(syz_flow_labels_apply(label, labels, n, y, s, NULL, ok ? good : NULL, left_out));
  for (int d = 0; d < labels; d++) {
    const int64_t count = moments(labels, n, s, good, d, ddof, &label[d].mean, &label[d].scale);
    SYZ_REQUIRE(count >= 2, SYZ_ERR_DATA, "label %s: %lld of %lld training rows have a value; two are the least",
                label[d].name, (long long)count, (long long)n);
    SYZ_REQUIRE(label[d].scale > 1e-12 * fabs(label[d].mean) && isfinite(label[d].scale), SYZ_ERR_DATA,
                "label %s is constant (%g after its transform) in all %lld training rows; leave it out", label[d].name,
                label[d].mean, (long long)count);
  }
  if (ok) memcpy(ok, good, (size_t)n);
cleanup:
  syz_free(&s);
  syz_free(&good);
  return st;
}
