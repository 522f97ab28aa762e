/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Simple stellar populations on a rest-frame grid; private to this room. See stellar.c for the physics.
 */
#pragma once

#include "syzygy/base.h"

/** Rest-frame grid, uniform in ln(wavelength): 2200 .. 11200 Angstrom (vacuum), 30 km/s per pixel. */
enum { SYZ_STELLAR_PIXELS = 16275, SYZ_STELLAR_AGES = 16, SYZ_STELLAR_METALS = 5 };
#define SYZ_STELLAR_FIRST_A 2200.0
#define SYZ_STELLAR_STEP 1.0e-4

typedef struct syz_stellar {
  double wave_A[SYZ_STELLAR_PIXELS];         /**< pixel centres */
  double age_gyr[SYZ_STELLAR_AGES];          /**< ages of the populations */
  double age_edge_gyr[SYZ_STELLAR_AGES + 1]; /**< borders of their age bins, from 0 */
  double surviving[SYZ_STELLAR_AGES];        /**< mass in stars and remnants per unit formed mass */
  double log_z[SYZ_STELLAR_METALS];          /**< log10 of metallicity in solar units, increasing */
  float calzetti[SYZ_STELLAR_PIXELS];        /**< k(wavelength) = A / E(B-V) */
  float *luminosity;                         /**< [METALS, AGES, PIXELS] Lsun/Angstrom per solar mass formed; owned */
} syz_stellar;

/** Compute the populations (about 0.1 s). SYZ_ERR_MEMORY. */
syz_status syz_stellar_create(syz_stellar **out);
void syz_stellar_destroy(syz_stellar **s);

/**
 * Sum of populations: out[i] = sum over ages of weight[a] * L(a, log_z)[i], linear between metallicities, clamped at
 * the ends. weight [AGES]: solar masses formed in each age bin. out [PIXELS] Lsun/Angstrom.
 */
void syz_stellar_mix(const syz_stellar *s, const double *weight, double log_z, float *out);

/** Calzetti et al. 2000 (ApJ 533, 682) k(wavelength), R_V = 4.05, for 0.12 to 2.2 micron. */
double syz_calzetti(double wave_A);
