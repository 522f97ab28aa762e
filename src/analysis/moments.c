/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Mean and deviation that do not depend on how rows are divided, or standardised features would differ in the last bit
 * between numbers of ranks: they are summed as whole multiples of a fixed unit, and such sums do not depend on their
 * order.
 */
#include <math.h>
#include <string.h>

#include "syzygy/analysis.h"

typedef struct rows {
  syz_comm *comm;
  int64_t n, width, count; /* count: rows that count, of all ranks */
  const float *x;
  const uint8_t *role;
  int64_t *sum; /* [E] */
} rows;

/* Means of x, or of (x - mean)^2, as whole multiples of a unit that leaves no overflow; `largest` bounds what is
 * summed. */
static void exact_means(const rows *s, const double *mean, double largest, double *out)
{
  int exponent;
  frexp(largest * (double)s->count, &exponent);
  const double unit = ldexp(1, exponent - 61);
  memset(s->sum, 0, (size_t)s->width * sizeof *s->sum);
  for (int64_t i = 0; i < s->n; i++) {
    if (s->role[i] != SYZ_ROLE_TRAIN) continue;
    for (int64_t e = 0; e < s->width; e++) {
      double v = (double)s->x[i * s->width + e];
      if (mean) v = (v - mean[e]) * (v - mean[e]);
      s->sum[e] += llrint(v / unit);
    }
  }
  syz_allreduce_i64(s->comm, s->sum, (size_t)s->width, SYZ_SUM);
  for (int64_t e = 0; e < s->width; e++) out[e] = (double)s->sum[e] * unit / (double)s->count;
}

syz_status syz_exact_moments(syz_comm *c, int64_t n, int64_t width, const float *x, const uint8_t *role, double *mean,
                             double *deviation)
{
  syz_status st = SYZ_OK;
  rows s = {.comm = c, .n = n, .width = width, .x = x, .role = role};
  double largest = 0;
  s.sum = syz_alloc("sums", (size_t)width, sizeof *s.sum);
  SYZ_TRY_ALL(c, s.sum ? SYZ_OK : SYZ_ERR_MEMORY);
  for (int64_t i = 0; i < n; i++) {
    s.count += role[i] == SYZ_ROLE_TRAIN;
    for (int64_t e = 0; role[i] == SYZ_ROLE_TRAIN && e < width; e++)
      largest = fmax(largest, fabs((double)x[i * width + e]));
  }
  syz_allreduce_i64(c, &s.count, 1, SYZ_SUM);
  syz_allreduce_f64(c, &largest, 1, SYZ_MAX);
  SYZ_REQUIRE(s.count > 0, SYZ_ERR_INPUT, "there are no training rows to standardise features by");
  if (largest == 0) largest = 1;
  exact_means(&s, NULL, largest, mean);
  exact_means(&s, mean, 4 * largest * largest, deviation);
  for (int64_t e = 0; e < width; e++) deviation[e] = deviation[e] > 0 ? sqrt(deviation[e]) : 1.0;
cleanup:
  syz_free(&s.sum);
  return st;
}
