/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Positions learned on one grid of patches, read on another: bicubic as in PyTorch's interpolate with scale_factor = (to + 0.1) / from,
 * which is what DINOv2 does for crops of another size (interpolate_pos_encoding; the 0.1 guards against a floor of to - epsilon and, as the scale
 * is used for the coordinates too, shifts them a little: Quirk, kept for the sake of published weights).
 *
 * Pixel i of the new grid lies at (i + 0.5) from / (to + 0.1) - 0.5 of the old one; Keys' kernel with a = -0.75; indices are clamped at the rim.
 */
#include <math.h>

#include "syzygy/model.h"

static void keys_weights(double t, double weight[4])
{
  const double a = -0.75;
  double x = 1 + t;
  weight[0] = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a;
  weight[1] = ((a + 2) * t - (a + 3)) * t * t + 1;
  x = 1 - t;
  weight[2] = ((a + 2) * x - (a + 3)) * x * x + 1;
  x = 2 - t;
  weight[3] = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a;
}

static int64_t clamp(int64_t i, int64_t n) { return i < 0 ? 0 : i >= n ? n - 1 : i; }

void syz_positions_interpolate(float *out, int64_t to, const float *in, int64_t from, int64_t dim)
{
  const double scale = (double)from / ((double)to + 0.1);
  for (int64_t y = 0; y < to; y++)
    for (int64_t x = 0; x < to; x++) {
      double at_y = ((double)y + 0.5) * scale - 0.5, at_x = ((double)x + 0.5) * scale - 0.5, wy[4], wx[4];
      int64_t y0 = (int64_t)floor(at_y), x0 = (int64_t)floor(at_x);
      keys_weights(at_y - (double)y0, wy);
      keys_weights(at_x - (double)x0, wx);
      for (int64_t d = 0; d < dim; d++) {
        double sum = 0;
        for (int64_t j = 0; j < 4; j++)
          for (int64_t i = 0; i < 4; i++) sum += wy[j] * wx[i] * in[(clamp(y0 - 1 + j, from) * from + clamp(x0 - 1 + i, from)) * dim + d];
        out[(y * to + x) * dim + d] = (float)sum;
      }
    }
}
