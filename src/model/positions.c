/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Positions learned on one grid of patches, read on another: bicubic as in PyTorch's interpolate with scale_factor =
 * (to + 0.1) / from, which is what DINOv2 does for crops of another size (interpolate_pos_encoding; the 0.1 guards
 * against a floor of to - epsilon; the scale is used for the coordinates too, so they shift a little, which is kept
 * because published weights were trained so).
 *
 * On the same grid the published code returns the positions themselves, without that shift.
 *
 * Pixel i of the new grid lies at (i + 0.5) from / (to + 0.1) - 0.5 of the old one; Keys' kernel with a = -0.75;
 * indices are clamped at the rim.
 */
#include <math.h>
#include <string.h>

#include "positions.h"

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

/* The four places of the old grid, with their weights, that make one place of the new grid along an axis. */
typedef struct taps {
  int64_t at[4];
  double weight[4];
} taps;

static taps taps_of(int64_t i, int64_t to, int64_t from)
{
  taps t;
  const double at = ((double)i + 0.5) * ((double)from / ((double)to + 0.1)) - 0.5;
  const int64_t first = (int64_t)floor(at);
  keys_weights(at - (double)first, t.weight);
  for (int64_t k = 0; k < 4; k++) t.at[k] = clamp(first - 1 + k, from);
  return t;
}

void syz_positions_interpolate(float *out, int64_t to, const float *in, int64_t from, int64_t dim)
{
  if (to == from) {
    memcpy(out, in, (size_t)(to * to * dim) * sizeof *out);
    return;
  }
  for (int64_t y = 0; y < to; y++)
    for (int64_t x = 0; x < to; x++) {
      const taps ty = taps_of(y, to, from), tx = taps_of(x, to, from);
      for (int64_t d = 0; d < dim; d++) {
        double sum = 0;
        for (int j = 0; j < 4; j++)
          for (int i = 0; i < 4; i++) sum += ty.weight[j] * tx.weight[i] * in[(ty.at[j] * from + tx.at[i]) * dim + d];
        out[(y * to + x) * dim + d] = (float)sum;
      }
    }
}

void syz_positions_interpolate_backward(float *din, int64_t from, const float *dout, int64_t to, int64_t dim)
{
  if (to == from) {
    for (int64_t i = 0; i < to * to * dim; i++) din[i] += dout[i];
    return;
  }
  for (int64_t y = 0; y < to; y++)
    for (int64_t x = 0; x < to; x++) {
      const taps ty = taps_of(y, to, from), tx = taps_of(x, to, from);
      const float *d_here = dout + (y * to + x) * dim;
      for (int j = 0; j < 4; j++)
        for (int i = 0; i < 4; i++) {
          const float weight = (float)(ty.weight[j] * tx.weight[i]);
          float *d_there = din + (ty.at[j] * from + tx.at[i]) * dim;
          for (int64_t d = 0; d < dim; d++) d_there[d] += weight * d_here[d];
        }
    }
}
