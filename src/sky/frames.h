/* SPDX-License-Identifier: BSD-3-Clause */
/** The celestial frame of a header's positions, and its conversion to ICRS; private to this room. */
#pragma once

#include "syzygy/sky.h"

typedef enum sky_frame { FRAME_ICRS, FRAME_FK4 } sky_frame;

/**
 * The frame by RADESYS ("" = absent) and equinox (NaN = absent). FK5 of J2000 is read as ICRS. SYZ_ERR_DATA, with
 * `what` in front, for frames and equinoxes that cannot be converted.
 */
syz_status sky_frame_find(const char *radesys, double equinox, const char *what, sky_frame *frame);
/** Degrees, in place; NaN stays NaN. */
void sky_frame_to_icrs(sky_frame frame, double *ra, double *dec);
void sky_frame_from_icrs(sky_frame frame, double *ra, double *dec);
