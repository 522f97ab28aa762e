/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The layout of AstroCLIP's HDF5: groups 0 .. 9, each a part with images of the axes (x, y, band), spectra, targetids
 * and perhaps redshifts. Its spectra have no ivar, its objects no position (src/sky/README.md "HDF5 files of others").
 */
#include <stdio.h>

#include "set_layout.h"

enum { GROUPS = 10 };

static const char IMAGES[] = "images", SPECTRA[] = "spectra", TARGETIDS[] = "targetids", REDSHIFTS[] = "redshifts";

static const int64_t image_xyb[] = {SYZ_IMAGE_SIZE, SYZ_IMAGE_SIZE, SYZ_BANDS},
                     spectrum_shape[] = {SYZ_SPECTRUM_PIXELS, 1};

static syz_status scan(syz_h5 *f, set_scan *out)
{
  syz_status st = SYZ_OK;
  char name[SET_NAME], rows_of[SET_NAME];
  bool has_redshift = false;
  for (int g = 0; g < GROUPS; g++) {
    set_part *p = &out->part[out->parts];
    snprintf(p->group, sizeof p->group, "%d/", g);
    set_dataset(rows_of, p, TARGETIDS);
    if (!syz_h5_has(f, rows_of)) {
      set_dataset(name, p, IMAGES);
      SYZ_REQUIRE(!syz_h5_has(f, name), SYZ_ERR_DATA, "%s: group %d has images but no targetids", syz_h5_path(f), g);
      *p = (set_part){0};
      continue;
    }
    out->parts++;
    p->has_image = p->has_flux = 1;
    p->rows = -1;
    SYZ_TRY(set_expect(f, rows_of, "iu", &p->rows, "", 0, NULL));
    set_dataset(name, p, IMAGES);
    SYZ_TRY(set_expect(f, name, "f", &p->rows, rows_of, 3, image_xyb));
    p->image_at = syz_h5_offset(f, name, SYZ_H5_F32);
    set_dataset(name, p, SPECTRA);
    int ndim;
    int64_t shape[8];
    SYZ_TRY(syz_h5_shape(f, name, &ndim, shape));
    SYZ_TRY(set_expect(f, name, "f", &p->rows, rows_of, ndim == 2 ? 1 : 2, spectrum_shape));
    p->flux_at = syz_h5_offset(f, name, SYZ_H5_F32);
    p->ivar_at = -1;
    set_dataset(name, p, REDSHIFTS);
    if (syz_h5_has(f, name)) {
      SYZ_TRY(set_expect(f, name, "fiub", &p->rows, rows_of, 0, NULL));
      has_redshift = true;
    }
  }
  if (has_redshift) snprintf(out->label[out->labels++], SYZ_LABEL_NAME, "redshift");
cleanup:
  return st;
}

static bool recognise(syz_h5 *f)
{
  char name[32];
  for (int g = 0; g < GROUPS; g++) {
    snprintf(name, sizeof name, "%d/%s", g, IMAGES);
    if (syz_h5_has(f, name)) return true;
  }
  return false;
}

/* (x, y, band) to (band, y, x). */
static void reorder(const float *restrict xyb, float *restrict image)
{
  for (int y = 0; y < SYZ_IMAGE_SIZE; y++)
    for (int x = 0; x < SYZ_IMAGE_SIZE; x++) {
      const float *p = xyb + ((int64_t)x * SYZ_IMAGE_SIZE + y) * SYZ_BANDS;
      for (int b = 0; b < SYZ_BANDS; b++) image[b * SET_PLANE + y * SYZ_IMAGE_SIZE + x] = p[b];
    }
}

const set_layout set_astroclip = {.recognise = recognise,
                                  .scan = scan,
                                  .object_id = TARGETIDS,
                                  .image = IMAGES,
                                  .flux = SPECTRA,
                                  .only_label = REDSHIFTS,
                                  .lacks_sums = true,
                                  .is_published = true,
                                  .reorder = reorder};
