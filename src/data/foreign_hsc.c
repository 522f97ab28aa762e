/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The Multimodal Universe's hsc: five bands g, r, i, z, y of 0.168 arcsec, in counts of zero point 27, resampled as
 * survey files are, by area or Lanczos-3. Source: its scripts/hsc, build_parent_sample.py; HSC SSP PDR3 (Aihara et al.
 * 2022, PASJ 74, 247): coadds have FLUXMAG0 = 10^(0.4 x 27).
 */
#include <math.h>
#include <string.h>

#include "foreign.h"

/* Scale and unit of hsc: the scale is in its own column; the unit is that of the survey's coadds. */
static syz_status find_scale(syz_foreign *o)
{
  syz_status st = SYZ_OK;
  float scale[FOREIGN_BLOCK * 5];
  o->scale_arcsec = 0.168;
  o->factor = pow(10, 0.4 * (22.5 - 27));
  if (!syz_h5_has(o->f, "image_scale") || !o->n) return SYZ_OK;
  SYZ_TRY(set_expect(o->f, "image_scale", NULL, &o->n, o->image_name, 1, &o->bands));
  for (int64_t first = 0; first < o->n; first += FOREIGN_BLOCK) {
    int64_t rows = o->n - first < FOREIGN_BLOCK ? o->n - first : FOREIGN_BLOCK;
    SYZ_TRY(syz_h5_read(o->f, "image_scale", SYZ_H5_F32, first, rows, scale));
    if (!first) o->scale_arcsec = (double)scale[0];
    for (int64_t i = 0; i < rows * o->bands; i++)
      SYZ_REQUIRE(scale[i] > 0.01f && scale[i] < 10 && fabs((double)scale[i] / o->scale_arcsec - 1) < 1e-3,
                  SYZ_ERR_DATA, "%s: image_scale, row %lld: %g arcsec, %g in the first row", syz_h5_path(o->f),
                  (long long)(first + i / o->bands), (double)scale[i], o->scale_arcsec);
  }
cleanup:
  return st;
}

/* Stamps on our grid: the object is at the centre of both, North up. 0 outside the input. */
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

static syz_status read_rows(syz_foreign *o, const set_part *part, int64_t row, int64_t n, float *image, float *flux,
                            float *ivar)
{
  syz_status st = SYZ_OK;
  (void)part, (void)flux, (void)ivar;
  SYZ_TRY(syz_h5_read(o->f, o->image_name, SYZ_H5_F32, row, n, o->pixels));
  SYZ_TRY(resample_images(o, n, image));
cleanup:
  return st;
}

static bool recognise(syz_h5 *f)
{
  int64_t shape[8];
  return foreign_has_images(f, "image_array", shape) && shape[1] == 5;
}

static syz_status open_file(syz_foreign *o)
{
  syz_status st = SYZ_OK;
  SYZ_TRY(foreign_open_images(o, "image_array", true));
  SYZ_TRY(find_scale(o));
  SYZ_TRY(foreign_list_columns(o));
cleanup:
  return st;
}

const foreign_format foreign_mmu_hsc = {.name = "Multimodal Universe hsc images",
                                        .recognise = recognise,
                                        .open = open_file,
                                        .read = read_rows,
                                        .has_image = true};
