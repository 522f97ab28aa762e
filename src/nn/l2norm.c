/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * L2 normalisation of rows, as torch.nn.functional.normalize: y = x / max(|x|, eps).
 *
 * Backward, with n = |x|: where n >= eps, y = x / n and dx = (dy - y (y . dy)) / n, the part of dy perpendicular to y;
 * where the norm is clamped, y = x / eps is linear and dx = dy / eps. Sums over a row are float64, results float32.
 */
#include <math.h>

#include "syzygy/nn.h"

void syz_l2norm_forward(float *y, float *norm, const float *x, float eps, int64_t rows, int64_t width)
{
  for (int64_t r = 0; r < rows; r++) {
    const float *xr = x + r * width;
    float *yr = y + r * width;
    norm[r] = (float)sqrt(syz_sum_of_squares(xr, width, 1));
    float inverse = 1.0f / fmaxf(norm[r], eps);
    /* A NaN in the row must stay a NaN: fmaxf would drop it. */
    if (isnan(norm[r])) inverse = norm[r];
    for (int64_t d = 0; d < width; d++) yr[d] = xr[d] * inverse;
  }
}

void syz_l2norm_backward(float *dx, const float *dy, const float *y, const float *norm, float eps, int64_t rows,
                         int64_t width)
{
  for (int64_t r = 0; r < rows; r++) {
    const float *dyr = dy + r * width, *yr = y + r * width;
    float *dxr = dx + r * width;
    if (norm[r] < eps) {
      for (int64_t d = 0; d < width; d++) dxr[d] = dyr[d] / eps;
      continue;
    }
    double along = 0.0;
    for (int64_t d = 0; d < width; d++) along += (double)yr[d] * (double)dyr[d];
    float a = (float)along, inverse = 1.0f / norm[r];
    for (int64_t d = 0; d < width; d++) dxr[d] = (dyr[d] - yr[d] * a) * inverse;
  }
}
