/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Mean and deviation that do not depend on how rows are divided, or standardised features would differ in the last bit
 * between numbers of ranks: they are summed as whole multiples of a fixed unit, and such sums do not depend on their
 * order.
 */
#include <math.h>
#include <string.h>

#include "syzygy/analysis.h"

static const double LIKE = 0x1p-16; /* of the largest number of all columns */

typedef struct rows {
  syz_comm *comm;
  int64_t n, width, count; /* count: rows that count, of all ranks */
  const float *x;
  const uint8_t *role;
  int64_t *sum;         /* [E] */
  double *bound, *unit; /* [E] */
} rows;

/* A unit in which a sum of `count` numbers up to `largest` does not overflow. */
static double unit_of(const rows *s, double largest)
{
  int exponent;
  frexp(largest * (double)s->count, &exponent);
  return ldexp(1, exponent - 61);
}

/* Largest |x| of each column, to bound[E]. Columns of like size share a bound, so that their sums have one unit; one
 * that is smaller by far has its own, or its deviation would be lost in the unit of the others. */
static void find_bounds(const rows *s)
{
  double largest = 0;
  for (int64_t i = 0; i < s->n; i++)
    for (int64_t e = 0; s->role[i] == SYZ_ROLE_TRAIN && e < s->width; e++)
      s->bound[e] = fmax(s->bound[e], fabs((double)s->x[i * s->width + e]));
  syz_allreduce_f64(s->comm, s->bound, (size_t)s->width, SYZ_MAX);
  for (int64_t e = 0; e < s->width; e++) largest = fmax(largest, s->bound[e]);
  if (largest == 0) largest = 1;
  for (int64_t e = 0; e < s->width; e++)
    if (!(s->bound[e] > 0 && s->bound[e] < LIKE * largest)) s->bound[e] = largest;
}

/* Means of x, or of (x - mean)^2, as whole multiples of each column's unit. */
static void exact_means(const rows *s, const double *mean, double *out)
{
  for (int64_t e = 0; e < s->width; e++) s->unit[e] = unit_of(s, mean ? 4 * s->bound[e] * s->bound[e] : s->bound[e]);
  memset(s->sum, 0, (size_t)s->width * sizeof *s->sum);
  for (int64_t i = 0; i < s->n; i++) {
    if (s->role[i] != SYZ_ROLE_TRAIN) continue;
    for (int64_t e = 0; e < s->width; e++) {
      double v = (double)s->x[i * s->width + e];
      if (mean) v = (v - mean[e]) * (v - mean[e]);
      s->sum[e] += llrint(v / s->unit[e]);
    }
  }
  syz_allreduce_i64(s->comm, s->sum, (size_t)s->width, SYZ_SUM);
  for (int64_t e = 0; e < s->width; e++) out[e] = (double)s->sum[e] * s->unit[e] / (double)s->count;
}

syz_status syz_exact_moments(syz_comm *c, int64_t n, int64_t width, const float *x, const uint8_t *role, double *mean,
                             double *deviation)
{
  syz_status st = SYZ_OK;
  rows s = {.comm = c, .n = n, .width = width, .x = x, .role = role};
  s.sum = syz_alloc("sums", (size_t)width, sizeof *s.sum);
  s.bound = syz_alloc("bounds", (size_t)width, sizeof *s.bound);
  s.unit = syz_alloc("units", (size_t)width, sizeof *s.unit);
  SYZ_TRY_ALL(c, s.sum && s.bound && s.unit ? SYZ_OK : SYZ_ERR_MEMORY);
  for (int64_t i = 0; i < n; i++) s.count += role[i] == SYZ_ROLE_TRAIN;
  syz_allreduce_i64(c, &s.count, 1, SYZ_SUM);
  SYZ_REQUIRE(s.count > 0, SYZ_ERR_INPUT, "there are no training rows to standardise features by");
  find_bounds(&s);
  exact_means(&s, NULL, mean);
  exact_means(&s, mean, deviation);
  for (int64_t e = 0; e < width; e++) deviation[e] = deviation[e] > 0 ? sqrt(deviation[e]) : 1.0;
cleanup:
  syz_free(&s.sum);
  syz_free(&s.bound);
  syz_free(&s.unit);
  return st;
}
