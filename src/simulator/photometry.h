/* SPDX-License-Identifier: BSD-3-Clause */
/** Inside of the simulator: filters of DECam, and spectra to magnitudes. */
#pragma once

#include <stdint.h>

/** Throughput of DECam g, r, z (band 0 .. 2) with atmosphere, 0 .. 1; 0 outside 3600 .. 10990 Angstrom. Source:
 * decam.h. */
double syz_filter_response(int band, double wave_A);
/**
 * Weights that turn a spectrum into a band's flux: nanomaggy = sum of weight[i] flux[i], flux in 1e-17
 * erg/s/cm2/Angstrom on the grid first_A + step_A i, i < n, which should cover the band. Photon counting, AB. See
 * photometry.c.
 */
void syz_photometry_weights(int band, double first_A, double step_A, int64_t n, double *weight);
/** That sum in float64, in an order fixed by n. */
double syz_photometry_flux(const double *weight, const float *flux, int64_t n);
/** 22.5 - 2.5 log10(flux); NaN for flux <= 0. */
double syz_magnitude(double nanomaggy);
