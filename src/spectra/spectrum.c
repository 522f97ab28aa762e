/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Spectra onto the common grid: joining DESI's arms, which already have its wavelengths, and resampling all others. The
 * formulas and what they conserve are in spectra.h; both sum in float64.
 */
#include "spectra.h"

#include <math.h>
#include <stdio.h>

enum { S = SYZ_SPECTRUM_PIXELS };
static const double ALIGNED_A = 1e-4; /* desispec.coaddition.coadd_cameras */

syz_status syz_spectrum_join(int n_arms, const syz_arm *arm, const char *what, float *flux, float *ivar)
{
  syz_status st = SYZ_OK;
  enum { ARMS = 8 };
  int order[ARMS];
  double mean[ARMS];
  double *sum_flux = NULL, *sum_ivar = NULL;
  uint8_t *covered = NULL;
  SYZ_REQUIRE(n_arms >= 1 && n_arms <= ARMS, SYZ_ERR_DATA, "%s: %d arms", what, n_arms);
  SYZ_ALLOC(sum_flux, "arm join", S);
  SYZ_ALLOC(sum_ivar, "arm join", S);
  SYZ_ALLOC(covered, "arm join", S);
  for (int a = 0; a < n_arms; a++) {
    SYZ_REQUIRE(arm[a].n >= 1 && arm[a].n <= S, SYZ_ERR_DATA, "%s: an arm of %lld pixels, the common grid has %d", what,
                (long long)arm[a].n, (int)S);
    mean[a] = 0;
    for (int64_t i = 0; i < arm[a].n; i++) mean[a] += arm[a].wave_A[i] / (double)arm[a].n;
    SYZ_REQUIRE(isfinite(mean[a]), SYZ_ERR_DATA, "%s: wavelengths are not finite", what);
    int at = a;
    for (; at > 0 && mean[order[at - 1]] > mean[a]; at--) order[at] = order[at - 1];
    order[at] = a;
  }
  for (int k = 0; k < n_arms; k++) {
    const syz_arm *m = &arm[order[k]];
    double start = floor((m->wave_A[0] - SYZ_WAVE_FIRST_A) / SYZ_WAVE_STEP_A + 0.5);
    SYZ_REQUIRE(start >= 0 && start + (double)m->n <= S, SYZ_ERR_DATA,
                "%s: wavelength grids not aligned: an arm from %.4f A, %lld pixels, lies outside 3600 to 9824 A", what,
                m->wave_A[0], (long long)m->n);
    int64_t first = (int64_t)start;
    for (int64_t i = 0; i < m->n; i++) {
      int64_t j = first + i;
      SYZ_REQUIRE(fabs(m->wave_A[i] - syz_wave_grid(j)) <= ALIGNED_A, SYZ_ERR_DATA,
                  "%s: wavelength grids not aligned: pixel %lld at %.5f A, the common grid (3600 + 0.8 i) has %.5f A",
                  what, (long long)i, m->wave_A[i], syz_wave_grid(j));
      double w = (double)m->ivar[i],
             weighted = w > 0 ? w * (double)m->flux[i] : 0; /* without weight nothing counts, not even a NaN */
      if (covered[j] == 0) {
        flux[j] = m->flux[i];
        ivar[j] = m->ivar[i];
        sum_flux[j] = weighted;
      } else {
        if (covered[j] == 1) sum_ivar[j] = (double)ivar[j];
        sum_flux[j] += weighted;
        sum_ivar[j] += w;
        flux[j] = sum_ivar[j] > 0 ? (float)(sum_flux[j] / sum_ivar[j]) : 0.0f;
        ivar[j] = (float)sum_ivar[j];
        covered[j] = 1;
      }
      covered[j]++;
    }
  }
  for (int64_t j = 0; j < S; j++)
    if (!covered[j]) flux[j] = ivar[j] = 0;
cleanup:
  syz_free(&sum_flux);
  syz_free(&sum_ivar);
  syz_free(&covered);
  return st;
}

syz_status syz_spectrum_resample(int64_t n, const double *wave_A, const double *flux_in, const double *ivar_in,
                                 const char *what, float *flux, float *ivar)
{
  syz_status st = SYZ_OK;
  double *edge = NULL, *f = NULL, *v = NULL, *good = NULL, *all_f = NULL, *all = NULL;
  SYZ_REQUIRE(n >= 2, SYZ_ERR_DATA, "%s: a spectrum needs at least 2 pixels, this one has %lld", what, (long long)n);
  SYZ_ALLOC(edge, "resampling", n + 1);
  SYZ_ALLOC(f, "resampling", S);
  SYZ_ALLOC(v, "resampling", S);
  SYZ_ALLOC(good, "resampling", S);
  SYZ_ALLOC(all_f, "resampling", S);
  SYZ_ALLOC(all, "resampling", S);
  for (int64_t i = 0; i < n; i++)
    SYZ_REQUIRE(wave_A[i] > 0 && wave_A[i] < 1e7 && (i == 0 || wave_A[i] > wave_A[i - 1]), SYZ_ERR_DATA,
                "%s: wavelengths do not increase (pixel %lld at %.4f A)", what, (long long)i, wave_A[i]);
  for (int64_t i = 1; i < n; i++) edge[i] = sqrt(wave_A[i - 1] * wave_A[i]); /* half-way in log wavelength */
  edge[0] = wave_A[0] * wave_A[0] / edge[1];
  edge[n] = wave_A[n - 1] * wave_A[n - 1] / edge[n - 1];
  double half = SYZ_WAVE_STEP_A / 2;
  SYZ_REQUIRE(edge[n] > SYZ_WAVE_FIRST_A && edge[0] < syz_wave_grid(S - 1), SYZ_ERR_DATA,
              "%s: %.1f to %.1f A does not overlap the common grid (3600 to 9824 A)", what, edge[0], edge[n]);
  for (int64_t i = 0; i < n; i++) {
    double width = edge[i + 1] - edge[i];
    double from = (edge[i] - SYZ_WAVE_FIRST_A + half) / SYZ_WAVE_STEP_A,
           to = (edge[i + 1] - SYZ_WAVE_FIRST_A + half) / SYZ_WAVE_STEP_A;
    if (to <= 0 || from >= S) continue;
    int64_t j0 = from > 0 ? (int64_t)from : 0, j1 = to < S ? (int64_t)to : S - 1;
    bool is_good = isfinite(flux_in[i]) && isfinite(ivar_in[i]) && ivar_in[i] > 0;
    for (int64_t j = j0; j <= j1; j++) {
      double low = syz_wave_grid(j) - half, high = syz_wave_grid(j) + half;
      double o = fmin(high, edge[i + 1]) - fmax(low, edge[i]);
      if (o <= 0) continue;
      if (is_good) {
        good[j] += o;
        f[j] += o * flux_in[i];
        v[j] += o * width / ivar_in[i];
      }
      if (isfinite(flux_in[i])) {
        all[j] += o;
        all_f[j] += o * flux_in[i];
      }
    }
  }
  for (int64_t j = 0; j < S; j++) {
    bool is_good = good[j] >= SYZ_WAVE_STEP_A / 2;
    flux[j] = is_good ? (float)(f[j] / good[j]) : all[j] > 0 ? (float)(all_f[j] / all[j]) : 0.0f;
    ivar[j] = is_good ? (float)(good[j] * good[j] / v[j]) : 0.0f; /* 1 / (v / (0.64 c^2)), c = good / 0.8 */
  }
cleanup:
  syz_free(&edge);
  syz_free(&f);
  syz_free(&v);
  syz_free(&good);
  syz_free(&all_f);
  syz_free(&all);
  return st;
}

double syz_air_to_vacuum(double air_A)
{
  if (air_A < 2000) return air_A;
  double s = 1e4 / air_A, s2 = s * s;
  /* N. Piskunov's inverse of Morton (2000) as the VALD database documents it; agrees with Ciddor (1996) to 1e-3 A in
   * the optical. */
  double n =
      1 + 0.00008336624212083 + 0.02408926869968 / (130.1065924522 - s2) + 0.0001599740894897 / (38.92568793293 - s2);
  return air_A * n;
}

const char *syz_spectrum_fault(const float *flux, const float *ivar, double *good_fraction, char reason[160])
{
  int64_t good = 0, broken = 0, absurd = 0, first = -1;
  bool is_zero = true;
  for (int64_t j = 0; j < S; j++) {
    if (ivar[j] > 0) {
      good++;
      is_zero = is_zero && flux[j] == 0;
    }
    bool is_broken = ivar[j] > 0 && !isfinite(flux[j]);
    bool is_absurd = ivar[j] > 0 && !is_broken && (fabsf(flux[j]) > SYZ_VALUE_MAX || ivar[j] > SYZ_VALUE_MAX);
    if ((is_broken || is_absurd) && first < 0) first = j;
    broken += is_broken;
    absurd += is_absurd;
  }
  *good_fraction = (double)good / S;
  if (broken) {
    snprintf(reason, 160, "flux is not finite in %lld pixels with ivar > 0 (first at %.1f A)", (long long)broken,
             syz_wave_grid(first));
    return reason;
  }
  if (absurd) {
    snprintf(reason, 160, "flux or ivar is beyond %g in %lld pixels with ivar > 0 (first at %.1f A)",
             (double)SYZ_VALUE_MAX, (long long)absurd, syz_wave_grid(first));
    return reason;
  }
  if (good && is_zero) return "flux is zero in every good pixel";
  return NULL;
}
