/* SPDX-License-Identifier: BSD-3-Clause */
/* Order, ranks, quantiles, bins: what other figures stand on. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sorted.h"

typedef struct place {
  double x;
  int64_t i;
} place;

static int by_value(double x, double y)
{
  if (isnan(x) || isnan(y)) return isnan(x) - isnan(y);
  return x < y ? -1 : x > y;
}

static int ascending(const void *a, const void *b) { return by_value(*(const double *)a, *(const double *)b); }

static int by_place(const void *a, const void *b)
{
  const place *p = a, *q = b;
  const int by_x = by_value(p->x, q->x);
  return by_x ? by_x : p->i < q->i ? -1 : p->i > q->i;
}

void figures_sort(int64_t n, double *x)
{
  if (n > 1) qsort(x, (size_t)n, sizeof *x, ascending);
}

bool figures_are_numbers(int64_t n, const double *x)
{
  for (int64_t i = 0; i < n; i++) {
    if (isnan(x[i])) return false;
  }
  return true;
}

bool figures_are_finite(int64_t n, const double *x)
{
  for (int64_t i = 0; i < n; i++) {
    if (!isfinite(x[i])) return false;
  }
  return true;
}

bool figures_are_constant(int64_t n, const double *x)
{
  for (int64_t i = 1; i < n; i++) {
    if (x[i] != x[0]) return false;
  }
  return true;
}

int64_t syz_known(int64_t n, int arrays, const double *const *x, int64_t *index)
{
  int64_t known = 0;
  for (int64_t i = 0; i < n; i++) {
    bool is_known = true;
    for (int a = 0; a < arrays; a++) is_known = is_known && isfinite(x[a][i]);
    if (is_known) index[known++] = i;
  }
  return known;
}

int syz_bin_of(double x, int bins, const double *edge)
{
  for (int b = 0; b < bins; b++) {
    if (x >= edge[b] && (x < edge[b + 1] || (b == bins - 1 && x == edge[bins]))) return b;
  }
  return -1;
}

syz_status syz_order(int64_t n, const double *x, int64_t *order)
{
  syz_status st = SYZ_OK;
  place *p = NULL;
  SYZ_ALLOC(p, "places of sorted numbers", n);
  for (int64_t i = 0; i < n; i++) p[i] = (place){x[i], i};
  if (n > 1) qsort(p, (size_t)n, sizeof *p, by_place);
  for (int64_t i = 0; i < n; i++) order[i] = p[i].i;
cleanup:
  syz_free(&p);
  return st;
}

syz_status syz_ranks(int64_t n, const double *x, double *rank)
{
  syz_status st = SYZ_OK;
  int64_t *order = NULL;
  SYZ_ALLOC(order, "order of ranks", n);
  SYZ_TRY(syz_order(n, x, order));
  const bool is_ranked = figures_are_numbers(n, x);
  for (int64_t first = 0, end; first < n; first = end) {
    for (end = first + 1; end < n && x[order[end]] == x[order[first]]; end++) {
    }
    const double mean = ((double)first + 1 + (double)end) / 2; /* of first + 1 .. end */
    for (int64_t i = first; i < end; i++) rank[order[i]] = is_ranked ? mean : (double)NAN;
  }
cleanup:
  syz_free(&order);
  return st;
}

double figures_quantile(int64_t n, const double *sorted, double level)
{
  const double at = fmin(fmax(level, 0), 1) * (double)(n - 1), below = floor(at), share = at - below;
  const double a = sorted[(int64_t)below], b = sorted[(int64_t)ceil(at)];
  return share > 0 ? a + share * (b - a) : a;
}

syz_status syz_quantiles(int64_t n, const double *x, int levels, const double *level, double *out)
{
  syz_status st = SYZ_OK;
  double *sorted = NULL;
  for (int q = 0; q < levels; q++) out[q] = NAN;
  if (n < 1 || !figures_are_numbers(n, x)) return SYZ_OK;
  SYZ_ALLOC(sorted, "sorted numbers", n);
  memcpy(sorted, x, (size_t)n * sizeof *x);
  figures_sort(n, sorted);
  for (int q = 0; q < levels; q++) {
    if (!isnan(level[q])) out[q] = figures_quantile(n, sorted, level[q]);
  }
cleanup:
  syz_free(&sorted);
  return st;
}

static double pearson(int64_t n, const double *a, const double *b)
{
  const double mean = ((double)n + 1) / 2; /* of ranks, ties or not */
  double aa = 0, bb = 0, ab = 0;
  for (int64_t i = 0; i < n; i++) {
    aa += (a[i] - mean) * (a[i] - mean);
    bb += (b[i] - mean) * (b[i] - mean);
    ab += (a[i] - mean) * (b[i] - mean);
  }
  return aa > 0 && bb > 0 ? ab / sqrt(aa * bb) : (double)NAN;
}

syz_status syz_spearman(int64_t n, const double *a, const double *b, double *out)
{
  syz_status st = SYZ_OK;
  double *rank = NULL;
  *out = NAN;
  if (n < 2) return SYZ_OK;
  SYZ_ALLOC(rank, "ranks of two scores", 2 * n);
  SYZ_TRY(syz_ranks(n, a, rank));
  SYZ_TRY(syz_ranks(n, b, rank + n));
  *out = pearson(n, rank, rank + n);
cleanup:
  syz_free(&rank);
  return st;
}
