/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Gaussian blur of a part of an image, one row at a time: first along the columns into a line that stays in the L1
 * cache, then along that line. Neighbours at equal distance are added first, so that a mirrored image gives exactly the
 * mirrored result.
 */
#include <math.h>

#include "crops.h"

enum { S = SYZ_IMAGE_SIZE };

/* out[x] = w[0] middle[x] + sum over k of w[k] (before_k[x] + after_k[x]) needs three loads and a store per term when k
 * is the outer loop; here two distances k share them. */
static void add_pairs(float *restrict to, const float *restrict a, const float *restrict b, float w,
                      const float *restrict c, const float *restrict d, float v, int64_t n)
{
  for (int64_t x = 0; x < n; x++) to[x] += w * (a[x] + b[x]) + v * (c[x] + d[x]);
}

static void add_pair(float *restrict to, const float *a, const float *b, float w, int64_t n)
{
  for (int64_t x = 0; x < n; x++) to[x] += w * (a[x] + b[x]);
}

static int64_t mirrored(int64_t i) { return i < 0 ? -1 - i : i >= S ? 2 * S - 1 - i : i; }

void syz_blur_cut(const float *image, int64_t top, int64_t left, int64_t size, double sigma, float *out)
{
  float weight[BLUR_RADIUS_MAX + 1], line[S + 2 * BLUR_RADIUS_MAX];
  SYZ_ASSERT(sigma > 0 && sigma * 4 < BLUR_RADIUS_MAX && size >= 1 && top >= 0 && left >= 0 && top + size <= S &&
             left + size <= S);
  int64_t radius = (int64_t)(4 * sigma + 0.5);
  double sum = 0;
  for (int64_t k = radius; k >= 0; k--) sum += (k ? 2 : 1) * exp(-0.5 * (double)(k * k) / (sigma * sigma));
  for (int64_t k = 0; k <= radius; k++) weight[k] = (float)(exp(-0.5 * (double)(k * k) / (sigma * sigma)) / sum);

  /* line[i] is column left - radius + i; those inside the image are filtered, the others mirror them. */
  const int64_t width = size + 2 * radius, first = left > radius ? 0 : radius - left;
  const int64_t last = left + size + radius < S ? width : radius - left + S, n = last - first;
  for (int64_t y = top; y < top + size; y++) {
    const float *from = image + left - radius + first;
    float *to = line + first;
    for (int64_t x = 0; x < n; x++) to[x] = weight[0] * from[y * S + x];
    int64_t k = 1;
    for (; k < radius; k += 2)
      add_pairs(to, from + mirrored(y - k) * S, from + mirrored(y + k) * S, weight[k], from + mirrored(y - k - 1) * S,
                from + mirrored(y + k + 1) * S, weight[k + 1], n);
    if (k == radius) add_pair(to, from + mirrored(y - k) * S, from + mirrored(y + k) * S, weight[k], n);
    for (int64_t i = 0; i < first; i++) line[i] = line[2 * first - 1 - i];
    for (int64_t i = last; i < width; i++) line[i] = line[2 * last - 1 - i];

    float *row = out + (y - top) * size;
    const float *middle = line + radius;
    for (int64_t x = 0; x < size; x++) row[x] = weight[0] * middle[x];
    for (k = 1; k < radius; k += 2)
      add_pairs(row, middle - k, middle + k, weight[k], middle - k - 1, middle + k + 1, weight[k + 1], size);
    if (k == radius) add_pair(row, middle - k, middle + k, weight[k], size);
  }
}
