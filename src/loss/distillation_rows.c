/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The operations on a tile of logits between two matrix products: plain loops that the compiler turns into vectors
 * (this file is compiled with fused multiply-adds), in two versions, AVX2 and AVX-512, chosen when the program starts.
 * Both give the same bits.
 *
 * Exponentials have base 2; log2(e) is part of the temperature's factor.
 */
#include "distillation_rows.h"

#include <math.h>

#include "power_of_two.h"

#ifdef __x86_64__
#define CLONES __attribute__((target_clones("default", "arch=x86-64-v4")))
#else
#define CLONES
#endif

CLONES static float scale_row(float *x, float scale, int64_t n)
{
  float top = -INFINITY;
#pragma omp simd reduction(max : top)
  for (int64_t k = 0; k < n; k++) {
    x[k] *= scale;
    top = x[k] > top ? x[k] : top;
  }
  return top;
}

CLONES static float shift_row(float *x, const float *offset, float scale, int64_t n)
{
  float top = -INFINITY;
#pragma omp simd reduction(max : top)
  for (int64_t k = 0; k < n; k++) {
    x[k] = (x[k] - offset[k]) * scale;
    top = x[k] > top ? x[k] : top;
  }
  return top;
}

float distillation_scale_row(float *x, const float *offset, float scale, int64_t n)
{
  return offset ? shift_row(x, offset, scale, n) : scale_row(x, scale, n);
}

/* Sums go into 16 partial sums and from there into one, in the same order for vectors of any length. */
enum { LANES = 16 };

static inline float sum_of(const float part[LANES])
{
  float half[LANES / 2];
  for (int i = 0; i < 8; i++) half[i] = part[i] + part[i + 8];
  for (int i = 0; i < 4; i++) half[i] += half[i + 4];
  return (half[0] + half[2]) + (half[1] + half[3]);
}

CLONES static float sum_row(const float *x, float top, int64_t n)
{
  float part[LANES] = {0};
  int64_t k = 0;
  for (; k + LANES <= n; k += LANES)
    for (int i = 0; i < LANES; i++) part[i] += power_of_two(x[k + i] - top);
  for (; k < n; k++) part[k % LANES] += power_of_two(x[k] - top);
  return sum_of(part);
}

float distillation_sum_row(const float *x, float top, int64_t n) { return sum_row(x, top, n); }

static inline float exp_one(float *x, float top, float factor)
{
  const float t = *x - top, p = factor * power_of_two(t);
  *x = p;
  return p * t;
}

CLONES static float exp_row(float *x, float top, float factor, int64_t n)
{
  float part[LANES] = {0};
  int64_t k = 0;
  for (; k + LANES <= n; k += LANES)
    for (int i = 0; i < LANES; i++) part[i] += exp_one(x + k + i, top, factor);
  for (; k < n; k++) part[k % LANES] += exp_one(x + k, top, factor);
  return sum_of(part);
}

float distillation_exp_row(float *x, float top, float factor, int64_t n) { return exp_row(x, top, factor, n); }

CLONES static float dot_row(const float *a, const float *b, int64_t n)
{
  float part[LANES] = {0};
  int64_t k = 0;
  for (; k + LANES <= n; k += LANES)
    for (int i = 0; i < LANES; i++) part[i] += a[k + i] * b[k + i];
  for (; k < n; k++) part[k % LANES] += a[k] * b[k];
  return sum_of(part);
}

float distillation_dot_row(const float *a, const float *b, int64_t n) { return dot_row(a, b, n); }

CLONES static void add_row(float *restrict y, float factor, const float *restrict x, int64_t n)
{
  for (int64_t k = 0; k < n; k++) y[k] += factor * x[k];
}

void distillation_add_row(float *y, float factor, const float *x, int64_t n) { add_row(y, factor, x, n); }

CLONES static void top_columns(float *restrict top, const float *restrict x, float scale, float shift, int64_t n)
{
  for (int64_t k = 0; k < n; k++) {
    const float t = x[k] * scale + shift;
    top[k] = t > top[k] ? t : top[k];
  }
}

void distillation_top_columns(float *top, const float *x, float scale, float shift, int64_t n)
{
  top_columns(top, x, scale, shift, n);
}

CLONES static void sum_columns(double *restrict sum, const float *restrict x, float scale, float shift,
                               const float *restrict top, int64_t n)
{
#pragma omp simd
  for (int64_t k = 0; k < n; k++) sum[k] += (double)power_of_two(x[k] * scale + shift - top[k]);
}

void distillation_sum_columns(double *sum, const float *x, float scale, float shift, const float *top, int64_t n)
{
  sum_columns(sum, x, scale, shift, top, n);
}

CLONES static void add_columns(double *restrict sum, const float *restrict x, int64_t n)
{
  for (int64_t k = 0; k < n; k++) sum[k] += (double)x[k];
}

void distillation_add_columns(double *sum, const float *x, int64_t n) { add_columns(sum, x, n); }
