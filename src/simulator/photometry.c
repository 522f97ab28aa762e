/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Synthetic photometry: fluxes of a spectrum through the DECam filters.
 *
 * A photon-counting detector measures f = integral F R w dw / integral G R w dw, with F the flux density, G that of the
 * AB standard (3631 Jy at every frequency), R the throughput and w the wavelength (Bessell & Murphy 2012, PASP 124,
 * 140). On a fixed grid that is one weight per pixel, so a flux is one dot product. Fluxes are linear in spectra, so
 * those of components add up exactly.
 */
#include <math.h>

#include "decam.h"
#include "photometry.h"
#include "syzygy/simulator.h"

double syz_filter_response(int band, double wave_A)
{
  double u = (wave_A - DECAM_FIRST_A) / DECAM_STEP_A;
  if (band < 0 || band >= SYZ_BANDS || !(u >= 0.0) || u >= DECAM_SAMPLES - 1) return 0.0;
  int i = (int)u;
  double f = u - i;
  return 1.0e-5 * ((1.0 - f) * DECAM_RESPONSE[band][i] + f * DECAM_RESPONSE[band][i + 1]);
}

void syz_photometry_weights(int band, double first_A, double step_A, int64_t n, double *weight)
{
  /* 3631 Jy in 1e-17 erg/s/cm2/A is 3631e-23 c / w^2 * 1e17, c = 2.99792458e18 A/s; 1e9 nanomaggies are the standard's
   * flux. */
  const double standard = 3631.0e-23 * 2.99792458e18 * 1.0e17;
  double sum = 0.0;
  for (int64_t i = 0; i < n; i++) {
    double w = first_A + step_A * (double)i, r = syz_filter_response(band, w);
    weight[i] = r * w;
    sum += r * standard / w;
  }
  for (int64_t i = 0; i < n; i++) weight[i] *= sum > 0.0 ? 1.0e9 / sum : 0.0;
}

double syz_photometry_flux(const double *weight, const float *flux, int64_t n)
{
  /* Four partial sums: the order of additions is fixed by n alone. */
  double s[4] = {0.0, 0.0, 0.0, 0.0};
  int64_t i = 0;
  for (; i + 4 <= n; i += 4)
    for (int k = 0; k < 4; k++) s[k] += weight[i + k] * flux[i + k];
  for (; i < n; i++) s[0] += weight[i] * flux[i];
  return (s[0] + s[1]) + (s[2] + s[3]);
}

double syz_magnitude(double nanomaggy) { return nanomaggy > 0.0 ? 22.5 - 2.5 * log10(nanomaggy) : (double)NAN; }
