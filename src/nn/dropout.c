/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Counter-based dropout: no mask is stored, because forward and backward passes draw the same one.
 *
 * Element d of row r takes word d % 4 of block (layer << 24) + d / 4 of the stream (seed, DROPOUT, step, sample[r]) and
 * is kept when that word is at least p 2^32: one Philox block serves four elements. Widths up to 2^26, layers up to
 * 255.
 */
#include <math.h>

#include "syzygy/nn.h"

enum { LAYER_SHIFT = 24, LAYERS = 256 };

void syz_dropout(float *x, float p, uint64_t seed, uint64_t step, const int64_t *sample, uint32_t layer, int64_t rows,
                 int64_t width)
{
  const double start = syz_profile_begin();
  SYZ_ASSERT(p >= 0.0f && p < 1.0f && layer < LAYERS && width <= (int64_t)4 << LAYER_SHIFT);
  if (p == 0.0f) return;
  uint32_t threshold = (uint32_t)ldexp((double)p, 32);
  float scale = (float)(1.0 / (1.0 - (double)p));
  for (int64_t r = 0; r < rows; r++) {
    syz_random stream = syz_random_make(seed, SYZ_RANDOM_DROPOUT, step, (uint64_t)sample[r]);
    float *xr = x + r * width;
    for (int64_t d = 0; d < width; d += 4) {
      uint32_t word[4];
      syz_random_block(&stream, (layer << LAYER_SHIFT) + (uint32_t)(d / 4), word);
      int64_t count = width - d < 4 ? width - d : 4;
      for (int64_t j = 0; j < count; j++) xr[d + j] = word[j] >= threshold ? xr[d + j] * scale : 0.0f;
    }
  }
  syz_profile_end(start, SYZ_PROFILE_ELEMENTWISE, "dropout", width, 0, (double)(rows * width),
                  8.0 * (double)(rows * width));
}
