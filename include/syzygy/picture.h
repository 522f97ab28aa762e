/* SPDX-License-Identifier: BSD-3-Clause */
/** picture: canvases and PNG files, for reports, probes and analyses: north up, east left. Rank-local. */
#pragma once

#include "syzygy/base.h"

/** PNG bytes [*n] (syz_free) of rgb [height, width, 3], row 0 on top. SYZ_ERR_MEMORY. */
syz_status syz_png_encode(const unsigned char *rgb, int width, int height, unsigned char **png, size_t *n);
/** Colour-mapped planes [3, side, side] (red, green, blue in 0 .. 1, row 0 at the bottom) -> rgb [side, side, 3], row 0
 * on top. */
void syz_planes_to_rgb(const float *planes, int side, unsigned char *rgb);

/** A canvas, at first uniformly of the given grey. */
typedef struct syz_picture {
  int width, height;
  unsigned char *rgb; /**< [height, width, 3], row 0 on top */
} syz_picture;
syz_status syz_picture_create(int width, int height, unsigned char grey, syz_picture *out);
void syz_picture_free(syz_picture *p);
/** Paint rgb [side, side, 3] with its first pixel at (left, top), each pixel as `scale` x `scale`; parts outside the
 * canvas are cut off.
 */
void syz_picture_paint(syz_picture *p, int left, int top, int scale, int side, const unsigned char *rgb);
/** Write a PNG file, complete or not at all. SYZ_ERR_WRITE, SYZ_ERR_MEMORY. */
syz_status syz_picture_write(const syz_picture *p, const char *path);

/** The colour of a value 0 .. 1, from dark violet through green to yellow with uniform steps of lightness (a fit to
 * matplotlib's viridis); NaN is grey. */
void syz_shade(double value, unsigned char rgb[3]);
