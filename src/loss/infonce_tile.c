/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The operations on a tile of cosines between two matrix products: plain loops that the compiler turns into vectors
 * (this file is compiled with fused multiply-adds), in two versions, AVX2 and AVX-512, chosen when the program starts.
 * Both give the same bits.
 *
 * Each row and each column is scaled by its own largest logit, against overflow and against underflow of a row far from
 * all others at a large scale; so each logit costs two exponentials. A sum of at most 256 terms is float32 in fixed
 * order (16 partial sums along a row, one per column); these sums are joined in float64.
 */
#include "infonce_tile.h"

#include <math.h>

#include "power_of_two.h"

#ifdef __x86_64__
#define CLONES __attribute__((target_clones("default", "arch=x86-64-v4")))
#else
#define CLONES
#endif

enum { LANES = 16 };

static inline float larger(float a, float b) { return b > a ? b : a; }

static inline float sum_of(const float part[LANES])
{
  float half[LANES / 2];
  for (int i = 0; i < 8; i++) half[i] = part[i] + part[i + 8];
  for (int i = 0; i < 4; i++) half[i] += half[i + 4];
  return (half[0] + half[2]) + (half[1] + half[3]);
}

/* The largest cosine of a row, and of each column so far. */
CLONES static float row_tops(const float *restrict c, int64_t n, float *restrict column)
{
  float top = -INFINITY;
#pragma omp simd reduction(max : top)
  for (int64_t j = 0; j < n; j++) {
    top = larger(top, c[j]);
    column[j] = larger(column[j], c[j]);
  }
  return top;
}

CLONES static float row_sums(const float *restrict c, int64_t n, float scale, float top,
                             const float *restrict column_top, float *restrict column_sum)
{
  float part[LANES] = {0};
  int64_t j = 0;
  for (; j + LANES <= n; j += LANES)
    for (int i = 0; i < LANES; i++) {
      part[i] += power_of_two(c[j + i] * scale - top);
      column_sum[j + i] += power_of_two(c[j + i] * scale - column_top[j + i]);
    }
  for (; j < n; j++) {
    part[j % LANES] += power_of_two(c[j] * scale - top);
    column_sum[j] += power_of_two(c[j] * scale - column_top[j]);
  }
  return sum_of(part);
}

void infonce_tile_sums(const float *c, int64_t ld, int64_t rows, int64_t n, float scale, float *row_top, float *row_sum,
                       float *column_top, float *column_sum)
{
  for (int64_t j = 0; j < n; j++) column_top[j] = -INFINITY, column_sum[j] = 0;
  for (int64_t r = 0; r < rows; r++) row_top[r] = scale * row_tops(c + r * ld, n, column_top);
  for (int64_t j = 0; j < n; j++) column_top[j] *= scale;
  for (int64_t r = 0; r < rows; r++) row_sum[r] = row_sums(c + r * ld, n, scale, row_top[r], column_top, column_sum);
}

CLONES void infonce_join(float *restrict top, double *restrict sum, const float *restrict more_top,
                         const float *restrict more_sum, int64_t n)
{
#pragma omp simd
  for (int64_t i = 0; i < n; i++) {
    const float now = larger(top[i], more_top[i]);
    sum[i] =
        sum[i] * (double)power_of_two(top[i] - now) + (double)more_sum[i] * (double)power_of_two(more_top[i] - now);
    top[i] = now;
  }
}

static inline float weight(float c, float scale, float row_top, float row_factor, float column_top, float column_factor)
{
  return row_factor * power_of_two(c * scale - row_top) + column_factor * power_of_two(c * scale - column_top);
}

float infonce_weight(float c, float scale, float row_top, float row_factor, float column_top, float column_factor)
{
  return weight(c, scale, row_top, row_factor, column_top, column_factor);
}

CLONES static void weights_f32(const float *restrict c, int64_t n, float scale, float row_top, float row_factor,
                               const float *restrict column_top, const float *restrict column_factor, float *restrict w)
{
  for (int64_t j = 0; j < n; j++) w[j] = weight(c[j], scale, row_top, row_factor, column_top[j], column_factor[j]);
}

CLONES static void weights_bf16(const float *restrict c, int64_t n, float scale, float row_top, float row_factor,
                                const float *restrict column_top, const float *restrict column_factor,
                                syz_bf16 *restrict w)
{
  for (int64_t j = 0; j < n; j++)
    w[j] = syz_bf16_from_f32(weight(c[j], scale, row_top, row_factor, column_top[j], column_factor[j]));
}

void infonce_tile_weights(syz_dtype type, const float *c, int64_t ld, int64_t rows, int64_t n, float scale,
                          const float *row_top, const float *row_factor, const float *column_top,
                          const float *column_factor, void *w, int64_t ldw)
{
  for (int64_t r = 0; r < rows; r++)
    if (type == SYZ_BF16)
      weights_bf16(c + r * ld, n, scale, row_top[r], row_factor[r], column_top, column_factor, (syz_bf16 *)w + r * ldw);
    else
      weights_f32(c + r * ld, n, scale, row_top[r], row_factor[r], column_top, column_factor, (float *)w + r * ldw);
}

CLONES static void add_row_f32(float *restrict y, float a, const float *restrict x, int64_t n)
{
  for (int64_t i = 0; i < n; i++) y[i] += a * x[i];
}

CLONES static void add_row_bf16(float *restrict y, float a, const syz_bf16 *restrict x, int64_t n)
{
  for (int64_t i = 0; i < n; i++) y[i] += a * syz_bf16_to_f32(x[i]);
}

void infonce_add_row(syz_dtype type, float *y, float a, const void *x, int64_t n)
{
  if (type == SYZ_BF16)
    add_row_bf16(y, a, x, n);
  else
    add_row_f32(y, a, x, n);
}
