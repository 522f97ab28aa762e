/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Pixels of other people's HDF5 files in syzygy's grids and units.
 *
 * What is on another grid is resampled as in survey files: spectra of the Multimodal Universe's sdss (log-linear
 * wavelengths, rows of different length padded with wavelength -1) as SDSS' own, images of its hsc (0.168 arcsec,
 * counts of zero point 27) by area or Lanczos-3. Source: its scripts/sdss and scripts/hsc, build_parent_sample.py; HSC
 * SSP PDR3 (Aihara et al. 2022, PASJ 74, 247): coadds have FLUXMAG0 = 10^(0.4 x 27).
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "foreign.h"

static const double wave_tolerance_A = 0.01; /* float32 at 9824 A resolves 0.001 */

static syz_status read_astroclip(syz_foreign *o, int part, int64_t row, int64_t n, float *image, float *flux,
                                 float *ivar)
{
  syz_status st = SYZ_OK;
  char name[32];
  float *xyb = NULL;
  if (image) {
    SYZ_ALLOC(xyb, "image of another axis order", SET_IMAGE);
    snprintf(name, sizeof name, "%simages", o->part[part].group);
    for (int64_t i = 0; i < n; i++) {
      SYZ_TRY(syz_h5_read(o->f, name, SYZ_H5_F32, row + i, 1, xyb));
      syz_transpose_xyb(xyb, image + i * SET_IMAGE);
    }
  }
  snprintf(name, sizeof name, "%sspectra", o->part[part].group);
  if (flux) SYZ_TRY(syz_h5_read(o->f, name, SYZ_H5_F32, row, n, flux));
  for (int64_t i = 0; ivar && i < n * SYZ_SPECTRUM_PIXELS; i++) ivar[i] = 1.0f;
cleanup:
  syz_free(&xyb);
  return st;
}

/* Stamps on our grid: object in the middle of both, North up. Where the input does not reach, 0. */
static syz_status resample_images(syz_foreign *o, int64_t n, float *image)
{
  syz_status st = SYZ_OK;
  syz_wcs *from = NULL, *to = NULL;
  const double reach = (double)o->size / 2 * o->scale_arcsec / SYZ_PIXEL_ARCSEC, middle = (SYZ_IMAGE_SIZE - 1) / 2.0;
  SYZ_TRY(syz_wcs_create_tan(0, 0, (double)(o->size - 1) / 2, (double)(o->size - 1) / 2, o->scale_arcsec, &from));
  SYZ_TRY(syz_wcs_create_tan(0, 0, middle, middle, SYZ_PIXEL_ARCSEC, &to));
  for (int64_t i = 0; i < n; i++)
    for (int64_t b = 0; b < SYZ_BANDS; b++) {
      float *plane = image + i * SET_IMAGE + b * SET_PLANE;
      SYZ_TRY(syz_resample(o->pixels + (i * o->bands + o->band[b]) * o->size * o->size, o->size, o->size, 0, 0, from,
                           to, SYZ_IMAGE_SIZE, SYZ_RESAMPLE_AUTO, o->factor, plane));
      for (int64_t y = 0; y < SYZ_IMAGE_SIZE; y++)
        for (int64_t x = 0; x < SYZ_IMAGE_SIZE; x++)
          if (fmax(fabs((double)x - middle), fabs((double)y - middle)) + 0.5 > reach &&
              isnan(plane[y * SYZ_IMAGE_SIZE + x]))
            plane[y * SYZ_IMAGE_SIZE + x] = 0;
    }
cleanup:
  syz_wcs_destroy(&from);
  syz_wcs_destroy(&to);
  return st;
}

double syz_foreign_coverage(const syz_foreign *o)
{
  if (o->scale_arcsec <= 0) return 1;
  double side = (double)o->size * o->scale_arcsec / (SYZ_IMAGE_SIZE * SYZ_PIXEL_ARCSEC);
  return side < 1 ? side * side : 1;
}

static syz_status read_images(syz_foreign *o, int64_t row, int64_t n, float *image)
{
  syz_status st = SYZ_OK;
  int64_t edge = (o->size - SYZ_IMAGE_SIZE) / 2;
  SYZ_TRY(syz_h5_read(o->f, o->image_name, SYZ_H5_F32, row, n, o->pixels));
  if (o->scale_arcsec > 0) return resample_images(o, n, image);
  for (int64_t i = 0; i < n; i++)
    for (int64_t b = 0; b < SYZ_BANDS; b++)
      for (int64_t y = 0; y < SYZ_IMAGE_SIZE; y++)
        memcpy(image + i * SET_IMAGE + b * SET_PLANE + y * SYZ_IMAGE_SIZE,
               o->pixels + (((i * o->bands + o->band[b]) * o->size) + y + edge) * o->size + edge,
               SYZ_IMAGE_SIZE * sizeof *image);
cleanup:
  return st;
}

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

static syz_status read_spectra(syz_foreign *o, int64_t row, int64_t n, float *flux, float *ivar)
{
  syz_status st = SYZ_OK;
  int64_t pixels = n * SYZ_SPECTRUM_PIXELS;
  float *weight = ivar ? ivar : o->pixels; /* what is masked is needed for the flux, too */
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

/* A row of sdss: wavelengths of float32, in vacuum; behind its own pixels it is padded with wavelength -1. A pixel that
 * claims a variance but has no value makes the object bad, as in SDSS' own files: it is put on the grid as it is, for
 * the caller to refuse. */
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

static syz_status read_other_grid(syz_foreign *o, int64_t row, int64_t n, float *flux, float *ivar)
{
  syz_status st = SYZ_OK;
  double *work = NULL;
  float *stored = NULL, *unwanted = NULL;
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

syz_status syz_foreign_read(syz_foreign *o, int64_t first, int64_t n, float *image, float *flux, float *ivar)
{
  syz_status st = SYZ_OK;
  int part;
  int64_t row, some;
  SYZ_TRY(foreign_check_range(o, first, n));
  for (int64_t done = 0; done < n; done += some) {
    some = foreign_stretch(o, first + done, n - done < FOREIGN_BLOCK ? n - done : FOREIGN_BLOCK, &part, &row);
    float *to_image = image ? image + done * SET_IMAGE : NULL;
    float *to_flux = flux ? flux + done * SYZ_SPECTRUM_PIXELS : NULL,
          *to_ivar = ivar ? ivar + done * SYZ_SPECTRUM_PIXELS : NULL;
    if (o->kind == SYZ_FOREIGN_ASTROCLIP) {
      SYZ_TRY(read_astroclip(o, part, row, some, to_image, to_flux, to_ivar));
    } else if (foreign_has_spectra(o)) {
      if (to_image) memset(to_image, 0, (size_t)some * SET_IMAGE * sizeof *image);
      if ((flux || ivar) && o->wave_pixels)
        SYZ_TRY(read_other_grid(o, row, some, to_flux, to_ivar));
      else if (flux || ivar)
        SYZ_TRY(read_spectra(o, row, some, to_flux, to_ivar));
    } else {
      if (to_image) SYZ_TRY(read_images(o, row, some, to_image));
      if (to_flux) memset(to_flux, 0, (size_t)some * SYZ_SPECTRUM_PIXELS * sizeof *flux);
      if (to_ivar) memset(to_ivar, 0, (size_t)some * SYZ_SPECTRUM_PIXELS * sizeof *ivar);
    }
  }
cleanup:
  return st;
}

syz_status syz_foreign_read_clean(syz_foreign *o, int64_t first, int64_t n, uint8_t *clean)
{
  syz_status st = SYZ_OK;
  int64_t some, edge = (o->size - SYZ_IMAGE_SIZE) / 2;
  SYZ_TRY(foreign_check_range(o, first, n));
  memset(clean, 1, (size_t)n * SET_PLANE);
  for (int64_t done = 0; o->has_clean && done < n; done += some) {
    some = n - done < FOREIGN_BLOCK ? n - done : FOREIGN_BLOCK;
    SYZ_TRY(syz_h5_read(o->f, "image_mask", SYZ_H5_I32, first + done, some, o->mask)); /* True = clean */
    for (int64_t i = 0; i < some; i++)
      for (int64_t y = 0; y < SYZ_IMAGE_SIZE; y++)
        for (int64_t x = 0; x < SYZ_IMAGE_SIZE; x++)
          clean[(done + i) * SET_PLANE + y * SYZ_IMAGE_SIZE + x] =
              o->mask[(i * o->size + y + edge) * o->size + x + edge] != 0;
  }
cleanup:
  return st;
}
