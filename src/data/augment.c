/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Augmentation in physical units. Every draw has its own random stream (seed, purpose, step, place), so a sample is
 * augmented in the same way on any rank or thread.
 */
#include <math.h>

#include "augment.h"
#include "syzygy/numbers.h"

enum { PIECE = 1024, PIECES_MAX = 4096, DRAW_TURN = 0, DRAW_FLIP_X = 1, DRAW_FLIP_Y = 2 };

bool syz_augment_is_on(const syz_augment *a)
{
  return a->flips || a->quarter_turns || a->image_noise > 0 || a->spectrum_noise > 0 ||
         (a->mask_runs > 0 && a->mask_run_pixels > 0);
}

/* One counter-clockwise quarter turn of an image whose rows run downwards: out[y][x] = in[x][size - 1 - y]. */
static void quarter_turn(float *p, int64_t size)
{
  for (int64_t y = 0; y < size / 2; y++)
    for (int64_t x = y; x < size - 1 - y; x++) {
      float *a = &p[y * size + x], *b = &p[x * size + size - 1 - y];
      float *c = &p[(size - 1 - y) * size + size - 1 - x], *d = &p[(size - 1 - x) * size + y];
      float keep = *a;
      *a = *b;
      *b = *c;
      *c = *d;
      *d = keep;
    }
}

static void flip_x(float *p, int64_t size)
{
  for (int64_t y = 0; y < size; y++)
    for (int64_t x = 0; x < size / 2; x++) {
      float keep = p[y * size + x];
      p[y * size + x] = p[y * size + size - 1 - x];
      p[y * size + size - 1 - x] = keep;
    }
}

static void flip_y(float *p, int64_t size)
{
  for (int64_t y = 0; y < size / 2; y++)
    for (int64_t x = 0; x < size; x++) {
      float keep = p[y * size + x];
      p[y * size + x] = p[(size - 1 - y) * size + x];
      p[(size - 1 - y) * size + x] = keep;
    }
}

/* Add normal noise to n values, piece by piece from separate streams, so that no buffer of n values is needed. */
static void add_noise(uint64_t seed, syz_random_purpose purpose, int64_t step, int64_t place, double sigma,
                      const float *ivar, int64_t n, float *x)
{
  float normal[PIECE];
  for (int64_t at = 0, piece = 0; at < n; at += PIECE, piece++) {
    int64_t some = n - at < PIECE ? n - at : PIECE;
    syz_random r = syz_random_make(seed, purpose, (uint64_t)step, (uint64_t)(place * PIECES_MAX + piece));
    syz_random_fill_normal(&r, normal, (size_t)some);
    if (!ivar)
      for (int64_t i = 0; i < some; i++) x[at + i] += (float)sigma * normal[i];
    else
      for (int64_t i = 0; i < some; i++)
        if (ivar[at + i] > 0.0f) x[at + i] += (float)sigma * normal[i] / sqrtf(ivar[at + i]);
  }
}

void syz_augment_image(const syz_augment *a, uint64_t seed, int64_t step, int64_t place, int64_t size, float *image)
{
  syz_random r = syz_random_make(seed, SYZ_RANDOM_FLIP, (uint64_t)step, (uint64_t)place);
  int64_t plane = size * size;
  uint64_t turns = a->quarter_turns ? syz_random_below(&r, DRAW_TURN, 4) : 0;
  bool x = a->flips && syz_random_below(&r, DRAW_FLIP_X, 2), y = a->flips && syz_random_below(&r, DRAW_FLIP_Y, 2);
  for (int b = 0; b < SYZ_BANDS; b++) {
    for (uint64_t t = 0; t < turns; t++) quarter_turn(image + b * plane, size);
    if (x) flip_x(image + b * plane, size);
    if (y) flip_y(image + b * plane, size);
  }
  if (a->image_noise > 0)
    add_noise(seed, SYZ_RANDOM_IMAGE_NOISE, step, place, a->image_noise, NULL, SYZ_BANDS * plane, image);
}

void syz_augment_spectrum(const syz_augment *a, uint64_t seed, int64_t step, int64_t place, float *flux,
                          const float *ivar)
{
  if (a->spectrum_noise > 0 && ivar)
    add_noise(seed, SYZ_RANDOM_SPECTRUM_NOISE, step, place, a->spectrum_noise, ivar, SYZ_SPECTRUM_PIXELS, flux);
  if (a->mask_runs <= 0 || a->mask_run_pixels <= 0) return;
  syz_random r = syz_random_make(seed, SYZ_RANDOM_SPECTRUM_MASK, (uint64_t)step, (uint64_t)place);
  int64_t length = a->mask_run_pixels < SYZ_SPECTRUM_PIXELS ? a->mask_run_pixels : SYZ_SPECTRUM_PIXELS;
  for (int k = 0; k < a->mask_runs; k++) {
    int64_t start = (int64_t)syz_random_below(&r, (uint32_t)k, (uint64_t)(SYZ_SPECTRUM_PIXELS - length + 1));
    for (int64_t i = start; i < start + length; i++) flux[i] = 0.0f;
  }
}
