/* SPDX-License-Identifier: BSD-3-Clause */
/** LayerScale's gradient, and the residual gradient's way into the branch, in one pass. */
#include "rowwise.h"

enum { SUM_ROWS = 64, STRIPE = 256 };

SYZ_CLONES static void scale_row(float *restrict v, const float *restrict dx, const float *restrict scale, int64_t n) {
  for (int64_t i = 0; i < n; i++) v[i] = dx[i] * scale[i];
}

SYZ_CLONES static void add_products(float *restrict sum, const float *restrict dx, const float *restrict branch, int64_t n) {
  for (int64_t i = 0; i < n; i++) sum[i] += dx[i] * branch[i];
}

void syz_layerscale_backward(syz_dtype type, void *dy, float *dscale, const float *dx, const void *branch, const float *scale,
                             int64_t rows, int64_t width) {
  const size_t size = syz_dtype_size(type);
  /* Column stripes go to threads, blocks of rows are added in order: the sums do not depend on the thread count. */
#pragma omp parallel for schedule(static)
  for (int64_t first = 0; first < width; first += STRIPE) {
    const int64_t n = width - first < STRIPE ? width - first : STRIPE;
    float v[STRIPE], block[STRIPE];
    for (int64_t r0 = 0; r0 < rows; r0 += SUM_ROWS) {
      for (int64_t i = 0; i < n; i++) block[i] = 0;
      for (int64_t r = r0; r < rows && r < r0 + SUM_ROWS; r++) {
        const int64_t at = r * width + first;
        if (dscale) {
          syz_convert_to_f32(type, v, (const char *)branch + (size_t)at * size, n);
          add_products(block, dx + at, v, n);
        }
        if (scale) scale_row(v, dx + at, scale + first, n);
        syz_convert_to_act(type, (char *)dy + (size_t)at * size, scale ? v : dx + at, n);
      }
      if (dscale) syz_row_add(dscale + first, block, n);
    }
  }
}
