/* SPDX-License-Identifier: BSD-3-Clause */
/** Inside of room sky: what its files share of bands, places and coordinate systems. */
#pragma once

#include "syzygy/sky.h"

/** Index in "grz", or -1. */
int syz_band_index(char band);
/** Galactic latitude in degrees of an ICRS position, within a few milliarcsec. */
double syz_galactic_latitude(double ra, double dec);
/** A WCS from header cards. FK4 of B1950 is converted, FK5 of J2000 is used as ICRS. SYZ_ERR_DATA with a clear reason
 * when there is no celestial WCS, or it is of another frame or equinox; `what` names file and HDU in messages. */
syz_status syz_wcs_create(const char *cards, int n_cards, const char *what, syz_wcs **out);
/** Whether it is a TAN with North up, East left and this scale at its reference point, each matrix element within 1e-3
 * of the scale. */
bool syz_wcs_is_aligned(const syz_wcs *w, double pixel_arcsec);
