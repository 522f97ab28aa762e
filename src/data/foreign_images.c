/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Images on our pixels in HDF5: ssl-legacysurvey, and the Multimodal Universe's ssl_legacysurvey and legacysurvey.
 *
 * - ssl-legacysurvey: `inds` repeats, so objects are known by RELEASE, BRICKID, OBJID; a column of another length than
 * the images is not used.
 * - legacysurvey: image_mask True = clean, four bands g, r, i, z of 160 x 160 pixels, identifiers as text without the
 * release.
 */
#include <stdio.h>
#include <string.h>

#include "foreign.h"

bool foreign_has_images(syz_h5 *f, const char *name, int64_t shape[8])
{
  int ndim;
  return syz_h5_has(f, name) && syz_h5_shape(f, name, &ndim, shape) == SYZ_OK && ndim == 4;
}

static syz_status find_bands(syz_foreign *o)
{
  syz_status st = SYZ_OK;
  char *text = NULL;
  const char letter[] = "grz";
  for (int b = 0; b < SYZ_BANDS; b++) o->band[b] = b;
  if (o->bands >= 4) o->band[2] = 3; /* g, r, i, z, and y of hsc */
  SYZ_REQUIRE(o->bands >= 3 && o->bands <= 5, SYZ_ERR_DATA,
              "%s: dataset %s has %lld bands; supported are g, r, z or g, r, i, z or g, r, i, z, y", syz_h5_path(o->f),
              o->image_name, (long long)o->bands);
  if (!syz_h5_has(o->f, "image_band") || o->n == 0) goto cleanup;
  SYZ_TRY(set_expect(o->f, "image_band", NULL, &o->n, o->image_name, 1, &o->bands));
  text = syz_alloc("band names", (size_t)(FOREIGN_BLOCK * o->bands), 16);
  SYZ_REQUIRE(text, SYZ_ERR_MEMORY, "no memory for band names");
  for (int64_t first = 0; first < o->n; first += FOREIGN_BLOCK) { /* every row names its own bands */
    int64_t rows = o->n - first < FOREIGN_BLOCK ? o->n - first : FOREIGN_BLOCK;
    SYZ_TRY(syz_h5_read_strings(o->f, "image_band", first, rows, 16, text));
    for (int b = 0; b < SYZ_BANDS; b++)
      for (int64_t r = 0; r < rows; r++) {
        int at = -1;
        for (int64_t k = 0; k < o->bands; k++) {
          const char *name = text + (r * o->bands + k) * 16;
          size_t length = strlen(name);
          if (length && name[length - 1] == letter[b] && (length == 1 || name[length - 2] == '-')) at = (int)k;
        }
        SYZ_REQUIRE(at >= 0, SYZ_ERR_DATA, "%s: image_band, row %lld: no band %c", syz_h5_path(o->f),
                    (long long)(first + r), letter[b]);
        if (first + r == 0) o->band[b] = at;
        SYZ_REQUIRE(at == o->band[b], SYZ_ERR_DATA,
                    "%s: image_band, row %lld: the bands are in another order than before", syz_h5_path(o->f),
                    (long long)(first + r));
      }
  }
cleanup:
  syz_free(&text);
  return st;
}

syz_status foreign_open_images(syz_foreign *o, const char *name, bool is_resampled)
{
  syz_status st = SYZ_OK;
  int ndim;
  int64_t shape[8];
  SYZ_TRY(syz_h5_shape(o->f, name, &ndim, shape));
  SYZ_REQUIRE(ndim == 4 && shape[2] == shape[3] && shape[2] >= (is_resampled ? 8 : SYZ_IMAGE_SIZE) &&
                  shape[2] <= FOREIGN_SIZE_MAX && (is_resampled || (shape[2] - SYZ_IMAGE_SIZE) % 2 == 0),
              SYZ_ERR_DATA,
              "%s: dataset %s has %d axes, the last two of %lld x %lld; (n, band, y, x) with an even number of pixels "
              "from 152 up is wanted",
              syz_h5_path(o->f), name, ndim, ndim > 1 ? (long long)shape[ndim - 2] : 0LL,
              ndim ? (long long)shape[ndim - 1] : 0LL);
  snprintf(o->image_name, sizeof o->image_name, "%s", name);
  o->n = shape[0];
  o->bands = shape[1];
  o->size = shape[2];
  SYZ_TRY(find_bands(o));
  o->pixels_room = (size_t)(FOREIGN_BLOCK * o->bands * o->size * o->size);
  o->mask_room = (size_t)(FOREIGN_BLOCK * o->size * o->size);
cleanup:
  return st;
}

/* Cut the centre out of the stored images. */
static syz_status read_rows(syz_foreign *o, const set_part *part, int64_t row, int64_t n, float *image, float *flux,
                            float *ivar)
{
  syz_status st = SYZ_OK;
  int64_t edge = (o->size - SYZ_IMAGE_SIZE) / 2;
  (void)part, (void)flux, (void)ivar;
  SYZ_TRY(syz_h5_read(o->f, o->image_name, SYZ_H5_F32, row, n, o->pixels));
  for (int64_t i = 0; i < n; i++)
    for (int64_t b = 0; b < SYZ_BANDS; b++)
      for (int64_t y = 0; y < SYZ_IMAGE_SIZE; y++)
        memcpy(image + i * SET_IMAGE + b * SET_PLANE + y * SYZ_IMAGE_SIZE,
               o->pixels + (((i * o->bands + o->band[b]) * o->size) + y + edge) * o->size + edge,
               SYZ_IMAGE_SIZE * sizeof *image);
cleanup:
  return st;
}

syz_status foreign_read_clean(syz_foreign *o, int64_t first, int64_t n, uint8_t *clean)
{
  syz_status st = SYZ_OK;
  int64_t some, edge = (o->size - SYZ_IMAGE_SIZE) / 2;
  for (int64_t done = 0; done < n; done += some) {
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

/* ---------------------------------------------------------------- formats */

/* Images of our size and bands, and columns. */
static syz_status open_plain(syz_foreign *o, const char *images)
{
  syz_status st = SYZ_OK;
  SYZ_TRY(foreign_open_images(o, images, false));
  SYZ_TRY(foreign_list_columns(o));
cleanup:
  return st;
}

static bool recognise_ssl(syz_h5 *f)
{
  int64_t shape[8];
  return foreign_has_images(f, "images", shape);
}

static syz_status open_ssl(syz_foreign *o) { return open_plain(o, "images"); }

static bool recognise_mmu_ssl(syz_h5 *f)
{
  int64_t shape[8];
  return foreign_has_images(f, "image_array", shape) && shape[1] == SYZ_BANDS && shape[2] == SYZ_IMAGE_SIZE;
}

static syz_status open_mmu_ssl(syz_foreign *o) { return open_plain(o, "image_array"); }

static bool recognise_mmu_legacy(syz_h5 *f)
{
  int64_t shape[8];
  return foreign_has_images(f, "image_array", shape);
}

static syz_status open_mmu_legacy(syz_foreign *o)
{
  syz_status st = SYZ_OK;
  SYZ_TRY(foreign_open_images(o, "image_array", false));
  if (syz_h5_has(o->f, "image_mask")) {
    const int64_t shape[2] = {o->size, o->size};
    SYZ_TRY(set_expect(o->f, "image_mask", NULL, &o->n, o->image_name, 2, shape));
    o->has_clean = true;
  }
  SYZ_TRY(foreign_list_columns(o));
cleanup:
  return st;
}

const foreign_format foreign_ssl = {.name = "ssl-legacysurvey images",
                                    .recognise = recognise_ssl,
                                    .open = open_ssl,
                                    .read = read_rows,
                                    .has_image = true};
const foreign_format foreign_mmu_ssl = {.name = "Multimodal Universe ssl_legacysurvey images",
                                        .recognise = recognise_mmu_ssl,
                                        .open = open_mmu_ssl,
                                        .read = read_rows,
                                        .has_image = true};
const foreign_format foreign_mmu_legacy = {.name = "Multimodal Universe legacysurvey images",
                                           .recognise = recognise_mmu_legacy,
                                           .open = open_mmu_legacy,
                                           .read = read_rows,
                                           .has_image = true};
