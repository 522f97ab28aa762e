/* SPDX-License-Identifier: BSD-3-Clause */
/** The gradient of LayerScale and the gradient that enters the branch, in one pass. */
#include "rowwise.h"

enum { SUM_ROWS = 64, STRIPE = 256 };

SYZ_CLONES static void scale_row(float *restrict v, const float *restrict dx, const float *restrict scale, int64_t n)
{
  for (int64_t i = 0; i < n; i++) v[i] = dx[i] * scale[i];
}

SYZ_CLONES static void add_products(float *restrict sum, const float *restrict dx, const float *restrict branch,
                                    int64_t n)
{
  for (int64_t i = 0; i < n; i++) sum[i] += dx[i] * branch[i];
}

SYZ_CLONES static void add_scaled(float *restrict sum, const float *restrict block, float factor, int64_t n)
{
  for (int64_t i = 0; i < n; i++) sum[i] += factor * block[i];
}

void syz_layerscale_backward_at(syz_dtype type, void *dy, float *dscale, float factor, const float *dx,
                                const int64_t *at_row, const void *branch, const float *scale, int64_t rows,
                                int64_t width, int64_t stride)
{
  const size_t size = syz_dtype_size(type);
  const double start = syz_profile_begin();
  /* Column stripes go to threads, blocks of rows are added in order: the sums do not depend on the thread count. A
   * thread finishes all its stripes of a block before the next block, so that it reads memory in order. */
#pragma omp parallel
  for (int64_t r0 = 0; r0 < rows; r0 += SUM_ROWS) {
    const int64_t r1 = rows < r0 + SUM_ROWS ? rows : r0 + SUM_ROWS;
#pragma omp for schedule(static) nowait
    for (int64_t first = 0; first < width; first += STRIPE) {
      const int64_t n = width - first < STRIPE ? width - first : STRIPE;
      float v[STRIPE], block[STRIPE] = {0};
      for (int64_t r = r0; r < r1; r++) {
        const float *d = dx + (at_row ? at_row[r] : r) * width + first;
        if (dscale) {
          syz_convert_to_f32(type, v, (const char *)branch + (size_t)(r * width + first) * size, n);
          add_products(block, d, v, n);
        }
        if (scale) scale_row(v, d, scale + first, n);
        syz_convert_to_act(type, (char *)dy + (size_t)(r * stride + first) * size, scale ? v : d, n);
      }
      if (dscale) add_scaled(dscale + first, block, factor, n);
    }
  }
  syz_profile_end(start, SYZ_PROFILE_ELEMENTWISE, "layerscale backward", width, 0,
                  (dscale ? 3.0 : 1.0) * (double)(rows * width),
                  (double)(rows * width) * (double)(sizeof(float) + (dscale ? 2 : 1) * size));
}

void syz_layerscale_backward(syz_dtype type, void *dy, float *dscale, const float *dx, const void *branch,
                             const float *scale, int64_t rows, int64_t width)
{
  syz_layerscale_backward_at(type, dy, dscale, 1.0f, dx, NULL, branch, scale, rows, width, width);
}
