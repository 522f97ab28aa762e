/* SPDX-License-Identifier: BSD-3-Clause */
/** Band and unit of an image by its header, for images.c; private to this room. */
#pragma once

#include "syzygy/sky.h"

enum { IMAGE_BAND_UNKNOWN = -1, IMAGE_BAND_OTHER = -2, IMAGE_BAND_ERROR = -3 };

/** The last part of a path. */
const char *image_base_name(const char *path);

/**
 * The band of a plane by, in this order, FILTERX, BAND and FILTER of its HDU, the viewer's BANDS or BAND0, EXTNAME
 * (IMAGE_g), the same keywords of the primary header if the HDU has none of them, the survey's form of the file name,
 * and last any single letter in the file name. All but the last must agree. If they do not, or none names a band:
 * IMAGE_BAND_ERROR with the error set.
 */
int image_band(const syz_fits *f, int hdu);
/** One letter per plane: by BANDS, else by BAND0, BAND1 ..., where '?' stands for bands of more letters. "" when
 * neither fits the planes. */
void image_bands_of_cube(const syz_fits *f, int hdu, int64_t planes, char bands[72]);

/** The meaning of a pixel value. */
typedef struct image_unit {
  double factor;       /**< converts a value to nanomaggy */
  double value_arcsec; /**< side of the pixel that values refer to, if it differs from the file's own; 0: the file's own
                          pixels */
  bool has_sky;        /**< instrumental units: the sky is not subtracted */
} image_unit;
/** SYZ_ERR_DATA with a clear reason when there is none. */
syz_status image_unit_of_hdu(const syz_fits *f, int hdu, const syz_images_options *options, image_unit *unit);
