/* SPDX-License-Identifier: BSD-3-Clause */
/** Inside of room data: the steps in which a crop is made. */
#pragma once

#include "syzygy/data.h"

enum { BLUR_RADIUS_MAX = SYZ_IMAGE_SIZE };

/** How one crop is made from the stamp; sigma 0: no blur or noise. */
typedef struct crop_draw {
  int64_t top, left; /**< first row and column in the stamp */
  uint64_t turns;    /**< counter-clockwise quarter turns, then the flips */
  bool flips_x, flips_y;
  double blur[SYZ_BANDS];  /**< pixels */
  double noise[SYZ_BANDS]; /**< nanomaggy */
} crop_draw;

/** Floats of scratch that syz_crop_make needs. */
size_t syz_crop_scratch(const syz_crops_augment *a);
/** image [3,152,152] nanomaggy -> planes [3, size, size] of crop `crop` (below 4096) of group `group`. Not collective,
 * cannot fail. The blur sees the stamp around the crop and mirrors only the stamp's own edge: a crop is cut out of a
 * blurred stamp (the published code cuts first). */
void syz_crop_make(const syz_crops_augment *a, uint64_t seed, int64_t step, int64_t place, int group, int64_t crop,
                   const float *image, float *planes, float *scratch);

/** Whether sizes fit the stamp, counts fit the numbers of streams, and probabilities are between 0 and 1. */
bool syz_crops_are_sound(const syz_crops_augment *a);
/** Draw a crop: position, symmetry, and the sigmas that take the true level to the wanted one. */
void syz_crop_draw(const syz_crops_augment *a, uint64_t seed, int64_t step, int64_t place, int group, int64_t crop,
                   crop_draw *out);
/** image [3,152,152] -> cut [3, size, size] nanomaggy: blurred, cut, turned, without noise. scratch [size * size]. */
void syz_crop_cut(const crop_draw *draw, int64_t size, const float *image, float *cut, float *scratch);
/** cut [3, size, size] += noise of the drawn sigmas. */
void syz_crop_add_noise(const crop_draw *draw, uint64_t seed, int64_t step, int64_t place, int group, int64_t crop,
                        int64_t size, float *cut);

/**
 * Rows top .. top + size - 1 and columns left .. left + size - 1 of an image [152,152] convolved with a Gaussian, ->
 * out [size, size].
 *
 * As scipy.ndimage.gaussian_filter(image, sigma, mode="reflect")[top:top+size, left:left+size]: weights exp(-k^2 / 2
 * sigma^2) up to k = floor(4 sigma + 1/2), normalised; beyond the image its mirror image (the edge pixel twice). sigma
 * > 0, radius at most BLUR_RADIUS_MAX.
 */
void syz_blur_cut(const float *image, int64_t top, int64_t left, int64_t size, double sigma, float *out);
