/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Layer normalisation, forward and backward (Ba, Kiros & Hinton 2016, arXiv:1607.06450).
 *
 * Mean and variance are two passes over a row in cache: the one-pass form loses digits when the mean is large. Sums
 * within a row run in LANES partial float32 sums that are then added in a fixed order: vector code with the same bits
 * on every processor. Gain and bias gradients are summed over fixed blocks of rows and added in block order, whatever
 * the thread count.
 */
#include <math.h>
#include <omp.h>
#include <string.h>

#include "rowwise.h"

enum {
  LANES = 64,      /* partial sums of a row: four vectors of 16, enough to hide the latency of an addition */
  BLOCK_ROWS = 64, /* rows whose gain and bias gradients are summed together */
  STRIPE = 256,    /* columns of those partial sums kept at a time */
};

/** 16 numbers at any address. Written out, because the compiler's vectorisation of the loops over LANES took four times
 * as long. */
typedef float vec __attribute__((vector_size(64), aligned(4), may_alias));
typedef float half __attribute__((vector_size(32)));
enum { VECTORS = LANES / 16 };

#define LOAD(x) (*(const vec *)(x))

static inline __attribute__((always_inline)) float add_up(const vec part[VECTORS])
{
  const vec all = (part[0] + part[1]) + (part[2] + part[3]);
  half low, high;
  memcpy(&low, &all, sizeof low);
  memcpy(&high, (const char *)&all + sizeof low, sizeof high);
  const half h = low + high;
  const float a = h[0] + h[4], b = h[1] + h[5], c = h[2] + h[6], d = h[3] + h[7];
  return (a + c) + (b + d);
}

/** Mean and 1 / sqrt(variance + eps) of one row. */
SYZ_CLONES static void statistics(const float *x, int64_t width, float eps, float *mean, float *rstd)
{
  vec part[VECTORS] = {{0}};
  float rest = 0;
  const int64_t whole = width - width % LANES;
  for (int64_t i = 0; i < whole; i += LANES)
    for (int v = 0; v < VECTORS; v++) part[v] += LOAD(x + i + 16 * v);
  for (int64_t i = whole; i < width; i++) rest += x[i];
  const float mu = (add_up(part) + rest) / (float)width;
  for (int v = 0; v < VECTORS; v++) part[v] = (vec){0};
  rest = 0;
  for (int64_t i = 0; i < whole; i += LANES)
    for (int v = 0; v < VECTORS; v++) {
      const vec d = LOAD(x + i + 16 * v) - mu;
      part[v] += d * d;
    }
  for (int64_t i = whole; i < width; i++) rest += (x[i] - mu) * (x[i] - mu);
  *mean = mu;
  *rstd = 1.0f / sqrtf((add_up(part) + rest) / (float)width + eps);
}

SYZ_CLONES static void normalise_f32(float *y, const float *x, float mu, float rs, const float *gain, const float *bias,
                                     int64_t n)
{
#pragma omp simd
  for (int64_t i = 0; i < n; i++) y[i] = (x[i] - mu) * rs * gain[i] + bias[i];
}

SYZ_CLONES static void normalise_bf16(syz_bf16 *restrict y, const float *restrict x, float mu, float rs,
                                      const float *restrict gain, const float *restrict bias, int64_t n)
{
  for (int64_t i = 0; i < n; i++) y[i] = syz_bf16_from_f32((x[i] - mu) * rs * gain[i] + bias[i]);
}

void syz_layernorm_forward_at(syz_dtype type_y, void *y, float *mean, float *rstd, float *copy, const float *x,
                              const int64_t *at, const float *gain, const float *bias, float eps, int64_t rows,
                              int64_t width, int64_t stride)
{
  const double start = syz_profile_begin();
#pragma omp parallel for schedule(static) if (rows > BLOCK_ROWS)
  for (int64_t r = 0; r < rows; r++) {
    const float *from = x + (at ? at[r] : r) * width;
    float mu, rs;
    statistics(from, width, eps, &mu, &rs);
    if (type_y == SYZ_F32)
      normalise_f32((float *)y + r * stride, from, mu, rs, gain, bias, width);
    else
      normalise_bf16((syz_bf16 *)y + r * stride, from, mu, rs, gain, bias, width);
    if (mean) mean[r] = mu;
    if (rstd) rstd[r] = rs;
    if (copy) memcpy(copy + r * width, from, (size_t)width * sizeof *copy);
  }
  syz_profile_end(start, SYZ_PROFILE_NORM, "norm forward", width, 0, 8.0 * (double)(rows * width),
                  (double)(rows * width) *
                      (double)(sizeof(float) + syz_dtype_size(type_y) + (copy ? sizeof(float) : 0)));
}

void syz_layernorm_forward(syz_dtype type_y, void *y, float *mean, float *rstd, const float *x, const float *gain,
                           const float *bias, float eps, int64_t rows, int64_t width)
{
  syz_layernorm_forward_at(type_y, y, mean, rstd, NULL, x, NULL, gain, bias, eps, rows, width, width);
}

/* With g = dy gain and h = (x - mean) rstd: dx = rstd (g - average(g) - h average(g h)). */

SYZ_CLONES static void backward_sums(const float *dy, const float *x, float mu, float rs, const float *gain,
                                     int64_t width, float *mean_g, float *mean_gh)
{
  vec part[VECTORS] = {{0}}, part_h[VECTORS] = {{0}};
  float rest = 0, rest_h = 0;
  const int64_t whole = width - width % LANES;
  for (int64_t i = 0; i < whole; i += LANES)
    for (int v = 0; v < VECTORS; v++) {
      const int64_t at = i + 16 * v;
      const vec g = LOAD(dy + at) * LOAD(gain + at), h = (LOAD(x + at) - mu) * rs;
      part[v] += g;
      part_h[v] += g * h;
    }
  for (int64_t i = whole; i < width; i++) {
    const float g = dy[i] * gain[i], h = (x[i] - mu) * rs;
    rest += g;
    rest_h += g * h;
  }
  *mean_g = (add_up(part) + rest) / (float)width;
  *mean_gh = (add_up(part_h) + rest_h) / (float)width;
}

SYZ_CLONES static void backward_row(float *restrict dx, bool is_added, const float *restrict dy,
                                    const float *restrict x, float mu, float rs, const float *restrict gain,
                                    float mean_g, float mean_gh, int64_t n)
{
  if (is_added)
    for (int64_t i = 0; i < n; i++) dx[i] += rs * (dy[i] * gain[i] - mean_g - (x[i] - mu) * rs * mean_gh);
  else
    for (int64_t i = 0; i < n; i++) dx[i] = rs * (dy[i] * gain[i] - mean_g - (x[i] - mu) * rs * mean_gh);
}

SYZ_CLONES static void add_column_terms(float *restrict dgain, float *restrict dbias, const float *restrict dy,
                                        const float *restrict x, float mu, float rs, int64_t n)
{
  for (int64_t i = 0; i < n; i++) {
    dgain[i] += dy[i] * ((x[i] - mu) * rs);
    dbias[i] += dy[i];
  }
}

/** dgain, dbias of columns [first, first + n) from rows [first_row, rows): block sums of rows, added in block order. */
static void backward_columns(float *dgain, float *dbias, syz_dtype type_dy, const void *dy, const float *x,
                             const float *mean, const float *rstd, int64_t first_row, int64_t rows, int64_t width,
                             int64_t stride, int64_t first, int64_t n)
{
  float block_gain[STRIPE], block_bias[STRIPE], wide[STRIPE];
  for (int64_t r0 = first_row; r0 < rows; r0 += BLOCK_ROWS) {
    for (int64_t i = 0; i < n; i++) block_gain[i] = block_bias[i] = 0;
    for (int64_t r = r0; r < rows && r < r0 + BLOCK_ROWS; r++) {
      const int64_t at = r * stride + first;
      const float *d = type_dy == SYZ_F32 ? (const float *)dy + at : wide;
      if (type_dy == SYZ_BF16) syz_convert_to_f32(SYZ_BF16, wide, (const syz_bf16 *)dy + at, n);
      add_column_terms(block_gain, block_bias, d, x + r * width + first, mean[r], rstd[r], n);
    }
    syz_row_add(dgain + first, block_gain, n);
    syz_row_add(dbias + first, block_bias, n);
  }
}

void syz_layernorm_backward_at(float *dx, const int64_t *at, bool is_added, float *dgain, float *dbias,
                               syz_dtype type_dy, const void *dy, const float *x, const float *mean, const float *rstd,
                               const float *gain, int64_t rows, int64_t width, int64_t stride)
{
  SYZ_ASSERT(type_dy == SYZ_F32 || width <= SYZ_NORM_WIDTH);
  const double start = syz_profile_begin();
#pragma omp parallel if (rows > BLOCK_ROWS)
  {
    /* The column pass of a few rows directly follows their row pass, so that it finds them in L2. Both passes only read
     * what they share, so no thread waits. The blocks of the column sums are the same for any thread count. */
    const int64_t part = BLOCK_ROWS * (int64_t)omp_get_num_threads();
    for (int64_t first = 0; first < rows; first += part) {
      const int64_t last = rows < first + part ? rows : first + part;
#pragma omp for schedule(static) nowait
      for (int64_t r = first; r < last; r++) {
        float wide[SYZ_NORM_WIDTH], mean_g, mean_gh;
        const float *d = (const float *)dy + r * stride;
        if (type_dy == SYZ_BF16) {
          syz_convert_to_f32(SYZ_BF16, wide, (const syz_bf16 *)dy + r * stride, width);
          d = wide;
        }
        backward_sums(d, x + r * width, mean[r], rstd[r], gain, width, &mean_g, &mean_gh);
        backward_row(dx + (at ? at[r] : r) * width, is_added, d, x + r * width, mean[r], rstd[r], gain, mean_g, mean_gh,
                     width);
      }
#pragma omp for schedule(static) nowait
      for (int64_t c = 0; c < width; c += STRIPE)
        backward_columns(dgain, dbias, type_dy, dy, x, mean, rstd, first, last, width, stride, c,
                         width - c < STRIPE ? width - c : STRIPE);
    }
  }
  syz_profile_end(start, SYZ_PROFILE_NORM, "norm backward", width, 0, 16.0 * (double)(rows * width),
                  (double)(rows * width) * (double)(sizeof(float) * (is_added ? 3 : 2) + syz_dtype_size(type_dy)));
}

void syz_layernorm_backward(float *dx, bool is_added, float *dgain, float *dbias, syz_dtype type_dy, const void *dy,
                            const float *x, const float *mean, const float *rstd, const float *gain, int64_t rows,
                            int64_t width)
{
  syz_layernorm_backward_at(dx, NULL, is_added, dgain, dbias, type_dy, dy, x, mean, rstd, gain, rows, width, width);
}
