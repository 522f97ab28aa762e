/* SPDX-License-Identifier: BSD-3-Clause */
/** The Multimodal Universe's desi: spectra on our grid, spectrum_mask True = bad. */
#include <math.h>

#include "foreign.h"

static const double wave_tolerance_A = 0.01; /* float32 at 9824 A resolves 0.001 */

static syz_status check_wavelengths(syz_foreign *o, int64_t row, int64_t n)
{
  syz_status st = SYZ_OK;
  SYZ_TRY(syz_h5_read(o->f, "spectrum_lambda", SYZ_H5_F32, row, n, o->pixels));
  for (int64_t i = 0; i < n; i++)
    for (int64_t k = 0; k < SYZ_SPECTRUM_PIXELS; k++) {
      double wave_A = o->pixels[i * SYZ_SPECTRUM_PIXELS + k];
      SYZ_REQUIRE(fabs(wave_A - syz_wave_grid(k)) <= wave_tolerance_A, SYZ_ERR_DATA,
                  "%s: spectrum_lambda, row %lld: pixel %lld is at %.4f Angstrom, the grid says %.1f",
                  syz_h5_path(o->f), (long long)(row + i), (long long)k, wave_A, syz_wave_grid(k));
    }
cleanup:
  return st;
}

static syz_status read_rows(syz_foreign *o, const set_part *part, int64_t row, int64_t n, float *image, float *flux,
                            float *ivar)
{
  syz_status st = SYZ_OK;
  (void)part, (void)image;
  int64_t pixels = n * SYZ_SPECTRUM_PIXELS;
  float *weight = ivar ? ivar : o->pixels; /* the flux needs the mask, too */
  if (o->has_lambda) SYZ_TRY(check_wavelengths(o, row, n));
  if (o->has_ivar) SYZ_TRY(syz_h5_read(o->f, "spectrum_ivar", SYZ_H5_F32, row, n, weight));
  for (int64_t i = 0; i < pixels; i++) {
    if (!o->has_ivar)
      weight[i] = 1.0f;
    else if (!(weight[i] > 0) || isinf(weight[i]))
      weight[i] = 0.0f; /* as in FITS files */
  }
  if (o->has_mask) {
    SYZ_TRY(syz_h5_read(o->f, "spectrum_mask", SYZ_H5_I32, row, n, o->mask));
    for (int64_t i = 0; i < pixels; i++)
      if (o->mask[i]) weight[i] = 0.0f; /* True = bad */
  }
  if (!flux) goto cleanup;
  SYZ_TRY(syz_h5_read(o->f, "spectrum_flux", SYZ_H5_F32, row, n, flux));
  for (int64_t i = 0; i < pixels; i++)
    if (weight[i] == 0.0f && !isfinite(flux[i])) flux[i] = 0.0f;
cleanup:
  return st;
}

static bool recognise(syz_h5 *f) { return syz_h5_has(f, "spectrum_flux"); }

static syz_status open_file(syz_foreign *o)
{
  syz_status st = SYZ_OK;
  int ndim;
  int64_t shape[8];
  SYZ_TRY(syz_h5_shape(o->f, "spectrum_flux", &ndim, shape));
  o->n = ndim ? shape[0] : 0;
  SYZ_TRY(foreign_open_spectra(o, SYZ_SPECTRUM_PIXELS));
cleanup:
  return st;
}

const foreign_format foreign_mmu_desi = {.name = "Multimodal Universe desi spectra",
                                         .recognise = recognise,
                                         .open = open_file,
                                         .read = read_rows,
                                         .has_spectrum = true,
                                         .is_sky_by_id = true};
