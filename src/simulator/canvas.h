/* SPDX-License-Identifier: BSD-3-Clause */
/** Drawing on the simulator's canvas; private to this room. Positions are stamp pixels (pixel centres at whole
 * numbers); the canvas extends MARGIN pixels beyond the stamp. */
#pragma once

#include "simulator.h"

enum { STAMP = SYZ_IMAGE_SIZE, MARGIN = 24, CANVAS = STAMP + 2 * MARGIN };

/** An ellipse: centre, major radius in pixels, axis ratio, position angle (radians from +y towards -x: North through
 * East). */
typedef struct sim_ellipse {
  double x, y, radius, q, angle;
} sim_ellipse;

/** Adds a Sersic profile of half-light radius `radius` and total flux `flux`, cut smoothly at 8 radii. */
void sim_draw_sersic(float *canvas, const sim_ellipse *e, double n, double flux);
/** Adds a Ferrers bar (index 2, flux 1) in the plane of the disk e: length and axis ratio there, angle from the line of
 * nodes. */
void sim_draw_bar(float *canvas, const sim_ellipse *e, double length, double q, double angle);
/** Adds `arms` logarithmic spirals of pitch (radians) under an exponential of scale length e->radius, flux 1, cut at 6
 * scale lengths. */
void sim_draw_arms(float *canvas, const sim_ellipse *e, int arms, double pitch, double phase, double power);
/** Adds a tidal tail: Gaussians along a spiral that leaves the centre at `angle`, growing wider and fainter. */
void sim_draw_tail(float *canvas, double x, double y, double length, double angle, double pitch, double width,
                   double flux);
/** Adds a point source to three bands (a Gaussian of half a pixel, integrated over pixels: widens the seeing by 2 %).
 */
void sim_draw_star(float *const canvas[SYZ_BANDS], double x, double y, const double flux[SYZ_BANDS]);
/** Adds a small exponential galaxy of half-light radius re pixels to three bands. */
void sim_draw_small_galaxy(float *const canvas[SYZ_BANDS], double x, double y, double re, double q, double angle,
                           const double flux[SYZ_BANDS]);
