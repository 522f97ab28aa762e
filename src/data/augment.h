/* SPDX-License-Identifier: BSD-3-Clause */
/** Inside of room data: the augmentation that the loader applies. */
#pragma once

#include "syzygy/data.h"

/** image [3, size, size] nanomaggy, in place: quarter turns, flips, then noise. Not collective, cannot fail. */
void syz_augment_image(const syz_augment *a, uint64_t seed, int64_t step, int64_t place, int64_t size, float *image);
/** flux [7781] in place, ivar [7781] (NULL: no noise can be added). Pixels with ivar 0 get no noise. Runs of pixels are
 * masked last. */
void syz_augment_spectrum(const syz_augment *a, uint64_t seed, int64_t step, int64_t place, float *flux,
                          const float *ivar);
