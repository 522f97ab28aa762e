/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * From an object's pixels to the rows of the first product: patches of an image, sections of a spectrum.
 *
 * The published patch embedding is a convolution whose stride is its kernel: one product over gathered patches, each in
 * the order (plane, row, column) of the weight. Objects are independent of one another, so the threads share them out.
 */
#include <math.h>

#include "model_impl.h"

static inline void store(syz_dtype act, void *out, int64_t at, float x)
{
  if (act == SYZ_F32)
    ((float *)out)[at] = x;
  else
    ((syz_bf16 *)out)[at] = syz_bf16_from_f32(x);
}

void image_pieces(int64_t size, int64_t patch, syz_dtype act, int64_t batch, const float *planes, void *pieces,
                  int threads)
{
  const int64_t side = size / patch, width = 3 * patch * patch;
  const double start = syz_profile_begin();
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
  for (int64_t row = 0; row < batch * side; row++) {
    int64_t b = row / side, py = row % side;
    for (int64_t px = 0; px < side; px++)
      for (int64_t c = 0; c < 3; c++)
        for (int64_t y = 0; y < patch; y++) {
          const float *in = planes + ((b * 3 + c) * size + py * patch + y) * size + px * patch;
          int64_t at = (row * side + px) * width + (c * patch + y) * patch;
          for (int64_t x = 0; x < patch; x++) store(act, pieces, at + x, in[x]);
        }
  }
  syz_profile_end(start, SYZ_PROFILE_ELEMENTWISE, "patches", patch, 0, 0,
                  (double)(batch * side * side * width) * (double)(sizeof(float) + syz_dtype_size(act)));
}

/*
 * Mean and standard deviation over all (good) pixels in float64 (n - 1); the deviation is floored at 0.2 (README.md
 * "Spectrum tower"). A token is two zeros and its section; the one in front carries (mean - 2) / 2 and (deviation - 2)
 * / 8. Without a good pixel: mean 0, deviation 0.2.
 */
static double one_spectrum(const syz_spectrum_config *c, syz_dtype act, int64_t tokens, const float *flux,
                           const uint8_t *good, void *pieces, int64_t at)
{
  const int64_t width = c->section + 2, step = c->section - c->overlap;
  double sum = 0, squares = 0;
  int64_t n = 0;
  for (int64_t i = 0; i < SYZ_TOWER_PIXELS; i++) {
    if (good && !good[i]) continue;
    sum += flux[i];
    n++;
  }
  double mean = n > 0 ? sum / (double)n : 0;
  for (int64_t i = 0; i < SYZ_TOWER_PIXELS; i++)
    if (!good || good[i]) squares += (flux[i] - mean) * (flux[i] - mean);
  double deviation = fmax(n > 1 ? sqrt(squares / (double)(n - 1)) : 0, 0.2);

  for (int64_t j = 0; j < width; j++) store(act, pieces, at + j, 0.0f);
  store(act, pieces, at, (float)((mean - 2) / 2));
  store(act, pieces, at + 1, (float)((deviation - 2) / 8));
  const float centre = (float)mean, scale = (float)(1 / deviation);
  for (int64_t t = 1; t < tokens; t++) {
    const int64_t first = (t - 1) * step, row = at + t * width;
    store(act, pieces, row, 0.0f);
    store(act, pieces, row + 1, 0.0f);
    for (int64_t j = 0; j < c->section; j++)
      store(act, pieces, row + 2 + j, good && !good[first + j] ? 0.0f : (flux[first + j] - centre) * scale);
  }
  return deviation;
}

void spectrum_pieces(const syz_model_config *config, syz_dtype act, int64_t batch, const float *flux, void *pieces,
                     int threads)
{
  const int64_t tokens = syz_model_tokens(config, SYZ_SPECTRUM), width = config->spectrum.section + 2;
  const double start = syz_profile_begin();
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
  for (int64_t b = 0; b < batch; b++)
    one_spectrum(&config->spectrum, act, tokens, flux + b * SYZ_TOWER_PIXELS, NULL, pieces, b * tokens * width);
  syz_profile_end(start, SYZ_PROFILE_ELEMENTWISE, "sections", width, 0, 0,
                  (double)batch * ((double)(SYZ_TOWER_PIXELS * (int64_t)sizeof(float)) +
                                   (double)(tokens * width) * (double)syz_dtype_size(act)));
}

void syz_masked_pieces(const syz_model_config *config, const float *flux, const uint8_t *good, float *piece,
                       float *deviation)
{
  const double found =
      one_spectrum(&config->spectrum, SYZ_F32, syz_model_tokens(config, SYZ_SPECTRUM), flux, good, piece, 0);
  if (deviation) *deviation = (float)found;
}
