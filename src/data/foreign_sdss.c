/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The Multimodal Universe's sdss: log-linear wavelengths of its own, rows of different length padded with wavelength
 * -1, spectrum_mask True = bad, identifiers as text; resampled as SDSS' own files. Source: its scripts/sdss,
 * build_parent_sample.py.
 */
#include <math.h>
#include <stdio.h>

#include "foreign.h"

/* A row of sdss has float32 vacuum wavelengths; after its own pixels it is padded with wavelength -1. A pixel with a
 * variance but no value makes the object bad, as in SDSS' own files: it goes onto the grid unchanged, and the caller
 * refuses it. */
static syz_status resample_row(syz_foreign *o, int64_t row, const float *in_flux, const float *in_ivar,
                               const float *in_wave, double *work, float *flux, float *ivar)
{
  syz_status st = SYZ_OK;
  double *wave_A = work, *f = work + o->wave_pixels, *v = work + 2 * o->wave_pixels;
  char what[256];
  int64_t m = 0;
  for (; m < o->wave_pixels && in_wave[m] > 0; m++) {
    wave_A[m] = (double)in_wave[m];
    f[m] = (double)in_flux[m];
    v[m] = o->has_mask && o->mask[m] ? 0 : (double)in_ivar[m];
  }
  snprintf(what, sizeof what, "%.200s: spectrum_lambda, row %lld", syz_h5_path(o->f), (long long)row);
  SYZ_TRY(syz_spectrum_resample(m, wave_A, f, v, what, flux, ivar));
  for (int64_t i = 0; i < m; i++) {
    double at = (wave_A[i] - SYZ_WAVE_FIRST_A) / SYZ_WAVE_STEP_A + 0.5;
    if (isfinite(f[i]) || !(v[i] > 0) || !(at >= 0 && at < SYZ_SPECTRUM_PIXELS)) continue;
    flux[(int64_t)at] = (float)f[i];
    ivar[(int64_t)at] = (float)v[i];
  }
cleanup:
  return st;
}

static syz_status read_rows(syz_foreign *o, const set_part *part, int64_t row, int64_t n, float *image, float *flux,
                            float *ivar)
{
  syz_status st = SYZ_OK;
  double *work = NULL;
  float *stored = NULL, *unwanted = NULL;
  (void)part, (void)image;
  SYZ_ALLOC(work, "spectrum of another grid", 3 * o->wave_pixels);
  SYZ_ALLOC(stored, "spectrum of another grid", 3 * o->wave_pixels);
  SYZ_ALLOC(unwanted, "spectrum of another grid", 2 * SYZ_SPECTRUM_PIXELS);
  for (int64_t i = 0; i < n; i++) {
    float *to_flux = flux ? flux + i * SYZ_SPECTRUM_PIXELS : unwanted,
          *to_ivar = ivar ? ivar + i * SYZ_SPECTRUM_PIXELS : unwanted + SYZ_SPECTRUM_PIXELS;
    float *in_ivar = stored + o->wave_pixels, *in_wave = stored + 2 * o->wave_pixels;
    SYZ_TRY(syz_h5_read(o->f, "spectrum_flux", SYZ_H5_F32, row + i, 1, stored));
    SYZ_TRY(syz_h5_read(o->f, "spectrum_lambda", SYZ_H5_F32, row + i, 1, in_wave));
    for (int64_t p = 0; p < o->wave_pixels; p++) in_ivar[p] = 1;
    if (o->has_ivar) SYZ_TRY(syz_h5_read(o->f, "spectrum_ivar", SYZ_H5_F32, row + i, 1, in_ivar));
    if (o->has_mask) SYZ_TRY(syz_h5_read(o->f, "spectrum_mask", SYZ_H5_I32, row + i, 1, o->mask));
    SYZ_TRY(resample_row(o, row + i, stored, in_ivar, in_wave, work, to_flux, to_ivar));
  }
cleanup:
  syz_free(&work);
  syz_free(&stored);
  syz_free(&unwanted);
  return st;
}

static bool recognise(syz_h5 *f)
{
  int ndim;
  int64_t shape[8];
  return syz_h5_has(f, "spectrum_flux") && syz_h5_shape(f, "spectrum_flux", &ndim, shape) == SYZ_OK && ndim == 2 &&
         shape[1] != SYZ_SPECTRUM_PIXELS && syz_h5_has(f, "spectrum_lambda");
}

static syz_status open_file(syz_foreign *o)
{
  syz_status st = SYZ_OK;
  int ndim;
  int64_t shape[8];
  SYZ_TRY(syz_h5_shape(o->f, "spectrum_flux", &ndim, shape));
  SYZ_REQUIRE(ndim == 2 && shape[1] >= 2 && shape[1] <= 100000, SYZ_ERR_DATA,
              "%s: dataset spectrum_flux has %d axes and %lld pixels", syz_h5_path(o->f), ndim,
              ndim > 1 ? (long long)shape[1] : 0LL);
  o->n = shape[0];
  o->wave_pixels = shape[1];
  SYZ_TRY(foreign_open_spectra(o, o->wave_pixels));
cleanup:
  return st;
}

const foreign_format foreign_mmu_sdss = {.name = "Multimodal Universe sdss spectra",
                                         .recognise = recognise,
                                         .open = open_file,
                                         .read = read_rows,
                                         .has_spectrum = true};
