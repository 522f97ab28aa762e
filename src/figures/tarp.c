/* SPDX-License-Identifier: BSD-3-Clause */
/* TARP: Lemos et al. 2023. References by the truths of objects with similar predictions: a reference must not depend on
 * the object's own truth, but on x, or the test cannot see a posterior that ignores x. */
#include <math.h>

#include "sorted.h"
#include "syzygy/numbers.h"

bool syz_tarp_scales(int64_t n, int64_t d, const double *truth, double *scale)
{
  bool is_varied = false;
  for (int64_t l = 0; l < d; l++) scale[l] = 0;
  for (int64_t l = 0; l < d; l++) {
    double least = INFINITY, most = -INFINITY;
    for (int64_t i = 0; i < n; i++) {
      const double y = truth[i * d + l];
      if (!isfinite(y)) goto none;
      least = fmin(least, y);
      most = fmax(most, y);
    }
    scale[l] = most > least ? 1 / (most - least) : 0;
    is_varied = is_varied || most > least;
  }
  return is_varied;
none:
  for (int64_t l = 0; l < d; l++) scale[l] = 0;
  return false;
}

static double squared_distance(int64_t d, const double *a, const double *b, const double *scale)
{
  double sum = 0;
  for (int64_t l = 0; l < d; l++) {
    const double off = (a[l] - b[l]) * scale[l];
    sum += off * off;
  }
  return sum;
}

/* The k nearest so far, nearest first. */
typedef struct nearest {
  int64_t k, n;
  double *distance;
  int64_t *object;
} nearest;

static void offer(nearest *b, double distance, int64_t object)
{
  if (b->n == b->k && !(distance < b->distance[b->k - 1])) return;
  int64_t at = b->n < b->k ? b->n++ : b->k - 1;
  for (; at > 0 && distance < b->distance[at - 1]; at--) {
    b->distance[at] = b->distance[at - 1];
    b->object[at] = b->object[at - 1];
  }
  b->distance[at] = distance;
  b->object[at] = object;
}

static int64_t draw_similar(int64_t n, int64_t d, const double *prediction, const double *scale, int64_t i,
                            const syz_random *random, nearest *best)
{
  best->n = 0;
  for (int64_t j = 0; j < n; j++) {
    if (j != i) offer(best, squared_distance(d, prediction + i * d, prediction + j * d, scale), j);
  }
  return best->object[syz_random_below(random, 0, (uint64_t)best->n)];
}

syz_status syz_tarp_references(int64_t n, int64_t d, const double *truth, const double *prediction, int64_t k,
                               uint64_t seed, const int64_t *id, double *reference)
{
  syz_status st = SYZ_OK;
  double *scale = NULL;
  nearest best = {.k = k};
  for (int64_t i = 0; i < n * d; i++) reference[i] = NAN;
  SYZ_ALLOC(scale, "scales of labels", d);
  if (n < 2 || k < 1 || !syz_tarp_scales(n, d, truth, scale) || !figures_are_finite(n * d, prediction)) goto cleanup;
  SYZ_ALLOC(best.distance, "distances of similar predictions", k);
  SYZ_ALLOC(best.object, "similar predictions", k);
  for (int64_t i = 0; i < n; i++) {
    const syz_random random = syz_random_make(seed, SYZ_RANDOM_REFERENCE, 0, (uint64_t)(id ? id[i] : i));
    const int64_t other = draw_similar(n, d, prediction, scale, i, &random, &best);
    for (int64_t l = 0; l < d; l++) reference[i * d + l] = truth[other * d + l];
  }
cleanup:
  syz_free(&scale);
  syz_free(&best.distance);
  syz_free(&best.object);
  return st;
}

void syz_tarp_shares(int64_t n, int64_t m, int64_t d, const double *scale, const double *truth, const double *draw,
                     const double *reference, double *f)
{
  bool is_varied = m >= 1;
  double largest = 0;
  for (int64_t l = 0; l < d; l++) largest = fmax(largest, scale[l]);
  is_varied = is_varied && largest > 0;
  for (int64_t i = 0; i < n; i++) {
    const double limit = squared_distance(d, truth + i * d, reference + i * d, scale);
    int64_t nearer = 0;
    bool is_known = is_varied && !isnan(limit);
    for (int64_t j = 0; is_known && j < m; j++) {
      const double distance = squared_distance(d, draw + (i * m + j) * d, reference + i * d, scale);
      is_known = !isnan(distance);
      nearer += distance < limit;
    }
    f[i] = is_known ? (double)nearer / (double)m : (double)NAN;
  }
}

void syz_tarp_curve(int64_t n, const double *f, int levels, const double *level, double *expected)
{
  const bool is_known = n >= 2 && figures_are_numbers(n, f);
  for (int l = 0; l < levels; l++) {
    int64_t below = 0;
    for (int64_t i = 0; is_known && i < n; i++) below += f[i] < level[l];
    expected[l] = is_known ? (double)below / (double)n : (double)NAN;
  }
}
