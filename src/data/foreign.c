/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Other people's HDF5 files of galaxies, row by row in syzygy's terms: the table of formats, and the code that all of
 * them share. Facts and traps: src/sky/README.md "HDF5 files of others".
 */
#include "foreign.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Tried in this order; a format may rely on those before it having refused the file. */
static const foreign_format *const FORMATS[] = {
    &foreign_astroclip, &foreign_mmu_sdss,   &foreign_mmu_desi, &foreign_mmu_hsc,
    &foreign_mmu_ssl,   &foreign_mmu_legacy, &foreign_ssl,
};

syz_status syz_foreign_open(const char *path, syz_foreign **out)
{
  syz_status st = SYZ_OK;
  syz_foreign *o = NULL;
  *out = NULL;
  SYZ_ALLOC(o, "survey file", 1);
  SYZ_TRY(syz_h5_open(NULL, path, &o->f));
  for (size_t k = 0; k < sizeof FORMATS / sizeof *FORMATS && !o->format; k++)
    if (FORMATS[k]->recognise(o->f)) o->format = FORMATS[k];
  SYZ_REQUIRE(o->format, SYZ_ERR_DATA,
              "%s: HDF5, but neither AstroCLIP's (0 .. 9/images), ssl-legacysurvey's (images) nor the Multimodal "
              "Universe's (image_array, spectrum_flux)",
              path);
  SYZ_TRY(o->format->open(o));
  if (!o->parts) o->part[o->parts++].rows = o->n;
  if (o->pixels_room) SYZ_ALLOC(o->pixels, "pixels as stored", o->pixels_room);
  if (o->mask_room) SYZ_ALLOC(o->mask, "mask as stored", o->mask_room);
  SYZ_ALLOC(o->label_name, "label names", o->labels + 1);
  for (int i = 0; i < o->labels; i++) o->label_name[i] = o->label[i].name;
  *out = o;
  o = NULL;
cleanup:
  syz_foreign_close(&o);
  return st;
}

void syz_foreign_close(syz_foreign **foreign)
{
  syz_foreign *o = *foreign;
  if (!o) return;
  syz_h5_close(&o->f);
  syz_free(&o->label);
  syz_free(&o->label_name);
  syz_free(&o->pixels);
  syz_free(&o->mask);
  syz_free(foreign);
}

const char *syz_foreign_kind(const syz_foreign *o) { return o->format->name; }
bool syz_foreign_is_primary(const syz_foreign *o) { return o->format->is_primary; }
int64_t syz_foreign_size(const syz_foreign *o) { return o->n; }

double syz_foreign_coverage(const syz_foreign *o)
{
  if (o->scale_arcsec <= 0) return 1;
  double side = (double)o->size * o->scale_arcsec / (SYZ_IMAGE_SIZE * SYZ_PIXEL_ARCSEC);
  return side < 1 ? side * side : 1;
}

int syz_foreign_labels(const syz_foreign *o, const char *const **name)
{
  *name = o->label_name;
  return o->labels;
}

/* ---------------------------------------------------------------- reading */

/* SYZ_ERR_INTERNAL unless rows first .. first + n - 1 are in the file. */
static syz_status check_range(const syz_foreign *o, int64_t first, int64_t n)
{
  syz_status st = SYZ_OK;
  SYZ_REQUIRE(first >= 0 && n >= 0 && first <= o->n && n <= o->n - first, SYZ_ERR_INTERNAL,
              "%s: rows %lld .. %lld of %lld", syz_h5_path(o->f), (long long)first, (long long)(first + n),
              (long long)o->n);
cleanup:
  return st;
}

/* The part and row of object `at`; returns how many rows from there, at most `most`, one call of a format can read. */
static int64_t stretch(const syz_foreign *o, int64_t at, int64_t most, const set_part **part, int64_t *row)
{
  int p = 0;
  while (p + 1 < o->parts && at >= o->part[p].raw + o->part[p].rows) p++;
  *part = &o->part[p];
  *row = at - o->part[p].raw;
  int64_t left = o->part[p].rows - *row;
  if (most > FOREIGN_BLOCK) most = FOREIGN_BLOCK;
  return left < most ? left : most;
}

syz_status syz_foreign_objects(syz_foreign *o, int64_t first, int64_t n, syz_object *object)
{
  syz_status st = SYZ_OK;
  const set_part *part;
  int64_t row, some;
  SYZ_TRY(check_range(o, first, n));
  for (int64_t done = 0; done < n; done += some) {
    some = stretch(o, first + done, n - done, &part, &row);
    SYZ_TRY(foreign_read_objects(o, part, row, some, object + done));
  }
cleanup:
  return st;
}

syz_status syz_foreign_info(syz_foreign *o, int64_t first, int64_t n, syz_spectrum_info *info)
{
  syz_status st = SYZ_OK;
  SYZ_TRY(check_range(o, first, n));
  for (int64_t done = 0, some; done < n; done += some) {
    some = n - done < FOREIGN_BLOCK ? n - done : FOREIGN_BLOCK;
    SYZ_TRY(foreign_read_cuts(o, first + done, some, info + done));
  }
cleanup:
  return st;
}

syz_status syz_foreign_read(syz_foreign *o, int64_t first, int64_t n, float *image, float *flux, float *ivar)
{
  syz_status st = SYZ_OK;
  const bool has_image = o->format->has_image, has_spectrum = o->format->has_spectrum;
  const set_part *part;
  int64_t row, some;
  SYZ_TRY(check_range(o, first, n));
  if (image && !has_image) memset(image, 0, (size_t)n * SET_IMAGE * sizeof *image);
  if (flux && !has_spectrum) memset(flux, 0, (size_t)n * SYZ_SPECTRUM_PIXELS * sizeof *flux);
  if (ivar && !has_spectrum) memset(ivar, 0, (size_t)n * SYZ_SPECTRUM_PIXELS * sizeof *ivar);
  if (!has_image) image = NULL;
  if (!has_spectrum) flux = ivar = NULL;
  if (!image && !flux && !ivar) goto cleanup;
  for (int64_t done = 0; done < n; done += some) {
    some = stretch(o, first + done, n - done, &part, &row);
    SYZ_TRY(o->format->read(o, part, row, some, image ? image + done * SET_IMAGE : NULL,
                            flux ? flux + done * SYZ_SPECTRUM_PIXELS : NULL,
                            ivar ? ivar + done * SYZ_SPECTRUM_PIXELS : NULL));
  }
cleanup:
  return st;
}

syz_status syz_foreign_read_clean(syz_foreign *o, int64_t first, int64_t n, uint8_t *clean)
{
  syz_status st = SYZ_OK;
  SYZ_TRY(check_range(o, first, n));
  memset(clean, 1, (size_t)n * SET_PLANE);
  if (o->has_clean) SYZ_TRY(foreign_read_clean(o, first, n, clean));
cleanup:
  return st;
}

/* ------------------------------------------------------------------ labels */

syz_status syz_foreign_label_unit(syz_foreign *o, const char *name, size_t room, char *unit)
{
  syz_status st = SYZ_OK;
  const foreign_label *l = foreign_find_label(o, name);
  char dataset[SET_NAME], *text = NULL;
  unit[0] = '\0';
  if (!l) return syz_error_pass(SYZ_ERR_INPUT, __FILE__, __LINE__);
  set_dataset(dataset, &o->part[0], l->dataset);
  SYZ_TRY(syz_h5_read_text(o->f, dataset, "units", &text));
  if (text) snprintf(unit, room, "%s", text);
cleanup:
  syz_free(&text);
  return st;
}

syz_status syz_foreign_read_label(syz_foreign *o, const char *name, int64_t first, int64_t n, float *value)
{
  syz_status st = SYZ_OK;
  const foreign_label *l = foreign_find_label(o, name);
  const set_part *part;
  int64_t row, some;
  if (!l) return syz_error_pass(SYZ_ERR_INPUT, __FILE__, __LINE__);
  SYZ_TRY(check_range(o, first, n));
  for (int64_t done = 0; done < n; done += some) {
    some = stretch(o, first + done, n - done, &part, &row);
    SYZ_TRY(foreign_read_label(o, l, part, row, some, value + done));
  }
  for (int64_t i = 0; !strcmp(name, "redshift") && i < n; i++)
    if (value[i] < -90.0f) value[i] = NAN; /* -99: not known */
cleanup:
  return st;
}
