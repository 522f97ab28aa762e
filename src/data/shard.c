/* SPDX-License-Identifier: BSD-3-Clause */
/** Writing shards: one rank writes a whole shard, its blocks of objects in any order. Layout: README.md "Shards".
 */
#include <stdio.h>
#include <string.h>

#include "syzygy/data.h"
#include "syzygy/h5.h"

enum { IMAGE = SYZ_BANDS * SYZ_IMAGE_SIZE * SYZ_IMAGE_SIZE, SEGMENT = SYZ_IMAGE_SIZE * SYZ_IMAGE_SIZE, BLOCK = 512 };

struct syz_shard_writer {
  syz_h5 *file;
  int64_t n;
  int n_labels;
  bool has_segment;
  char (*label)[SYZ_LABEL_NAME + 8]; /* "label/<name>" */
  float *zeros;                      /* one image, or one spectrum */
  union {                            /* one column for a block of objects */
    int64_t i64[BLOCK];
    double f64[BLOCK];
    float f32[BLOCK];
    uint8_t u8[BLOCK];
  } * column;
};

static syz_status declare(syz_shard_writer *w, const char *const *label, const char *const *label_units)
{
  syz_status st = SYZ_OK;
  syz_h5 *f = w->file;
  const int64_t image[] = {SYZ_BANDS, SYZ_IMAGE_SIZE, SYZ_IMAGE_SIZE}, spectrum[] = {SYZ_SPECTRUM_PIXELS};
  const char *flux = "10**-17 erg/(s cm2 Angstrom)";
  SYZ_TRY(syz_h5_dataset(f, "object_id", SYZ_H5_I64, w->n, 0, NULL, "",
                         "identifier of the object, DESI TARGETID where it has one"));
  SYZ_TRY(syz_h5_dataset(f, "ra", SYZ_H5_F64, w->n, 0, NULL, "deg", "right ascension, ICRS"));
  SYZ_TRY(syz_h5_dataset(f, "dec", SYZ_H5_F64, w->n, 0, NULL, "deg", "declination, ICRS"));
  SYZ_TRY(syz_h5_dataset(f, "has_image", SYZ_H5_U8, w->n, 0, NULL, "", "1 where the object has an image"));
  SYZ_TRY(syz_h5_dataset(f, "has_spectrum", SYZ_H5_U8, w->n, 0, NULL, "", "1 where the object has a spectrum"));
  for (int i = 0; i < w->n_labels; i++) {
    SYZ_REQUIRE(*label[i] && strlen(label[i]) < SYZ_LABEL_NAME && !strchr(label[i], '/'), SYZ_ERR_INPUT,
                "%s: \"%s\" is not a usable label name", syz_h5_path(f), label[i]);
    snprintf(w->label[i], sizeof w->label[i], "label/%s", label[i]);
    SYZ_TRY(syz_h5_dataset(f, w->label[i], SYZ_H5_F32, w->n, 0, NULL, label_units ? label_units[i] : "",
                           "label, NaN where unknown"));
  }
  if (w->has_segment)
    SYZ_TRY(syz_h5_dataset(f, "segment", SYZ_H5_U8, w->n, 2, image + 1, "",
                           "which component a pixel belongs to, 0 = sky; axes (y, x)"));
  SYZ_TRY(syz_h5_dataset(f, "image", SYZ_H5_F32, w->n, 3, image, "nanomaggy",
                         "g, r, z; axes (band, y, x); 0.262 arcsec a pixel, North up, East left"));
  SYZ_TRY(syz_h5_dataset(f, "spectrum", SYZ_H5_F32, w->n, 1, spectrum, flux,
                         "flux density at 3600 + 0.8 i Angstrom, vacuum"));
  SYZ_TRY(syz_h5_dataset(f, "spectrum_ivar", SYZ_H5_F32, w->n, 1, spectrum, "10**+34 (s2 cm4 Angstrom2)/erg2",
                         "inverse variance of spectrum, 0 = masked"));
cleanup:
  return st;
}

syz_status syz_shard_writer_create(const char *path, int64_t n, int n_labels, const char *const *label,
                                   const char *const *label_units, bool has_segment, const char *created_by,
                                   const char *input_yaml, syz_shard_writer **out)
{
  syz_status st = SYZ_OK;
  syz_shard_writer *w = NULL;
  *out = NULL;
  SYZ_REQUIRE(n >= 0 && n_labels >= 0 && n_labels <= SYZ_LABELS_MAX, SYZ_ERR_INTERNAL,
              "%s: %lld objects, %d labels (at most %d)", path, (long long)n, n_labels, SYZ_LABELS_MAX);
  SYZ_ALLOC(w, "shard writer", 1);
  w->n = n;
  w->n_labels = n_labels;
  w->has_segment = has_segment;
  SYZ_ALLOC(w->label, "label names", n_labels + 1);
  SYZ_ALLOC(w->zeros, "shard zeros", IMAGE);
  SYZ_ALLOC(w->column, "shard column", 1);
  SYZ_TRY(syz_h5_create(NULL, path, "shard", created_by, input_yaml, &w->file));
  SYZ_TRY(declare(w, label, label_units));
  *out = w;
  w = NULL;
cleanup:
  syz_shard_writer_discard(&w);
  return st;
}

/* n rows of floats, or zeros. */
static syz_status put_pixels(syz_shard_writer *w, const char *name, int64_t first, int64_t n, const float *x)
{
  syz_status st = SYZ_OK;
  if (x) return syz_h5_write_rows(w->file, name, first, n, x);
  for (int64_t i = 0; i < n; i++) SYZ_TRY(syz_h5_write_rows(w->file, name, first + i, 1, w->zeros));
cleanup:
  return st;
}

static syz_status put_columns(syz_shard_writer *w, int64_t first, int64_t n, const syz_object *object,
                              const float *labels)
{
  syz_status st = SYZ_OK;
  for (int64_t i = 0; i < n; i++) w->column->i64[i] = object[i].object_id;
  SYZ_TRY(syz_h5_write_rows(w->file, "object_id", first, n, w->column));
  for (int64_t i = 0; i < n; i++) w->column->f64[i] = object[i].ra;
  SYZ_TRY(syz_h5_write_rows(w->file, "ra", first, n, w->column));
  for (int64_t i = 0; i < n; i++) w->column->f64[i] = object[i].dec;
  SYZ_TRY(syz_h5_write_rows(w->file, "dec", first, n, w->column));
  for (int64_t i = 0; i < n; i++) w->column->u8[i] = object[i].has_image != 0;
  SYZ_TRY(syz_h5_write_rows(w->file, "has_image", first, n, w->column));
  for (int64_t i = 0; i < n; i++) w->column->u8[i] = object[i].has_spectrum != 0;
  SYZ_TRY(syz_h5_write_rows(w->file, "has_spectrum", first, n, w->column));
  for (int k = 0; k < w->n_labels; k++) {
    const union {
      uint32_t bits;
      float value;
    } nan = {0x7fc00000u};
    for (int64_t i = 0; i < n; i++) w->column->f32[i] = labels ? labels[i * w->n_labels + k] : nan.value;
    SYZ_TRY(syz_h5_write_rows(w->file, w->label[k], first, n, w->column));
  }
cleanup:
  return st;
}

syz_status syz_shard_writer_put(syz_shard_writer *w, int64_t first, int64_t n, const syz_object *object,
                                const float *image, const float *flux, const float *ivar, const float *labels,
                                const uint8_t *segment)
{
  syz_status st = SYZ_OK;
  SYZ_TRY(put_pixels(w, "image", first, n, image));
  SYZ_TRY(put_pixels(w, "spectrum", first, n, flux));
  SYZ_TRY(put_pixels(w, "spectrum_ivar", first, n, ivar));
  for (int64_t i = 0; w->has_segment && !segment && i < n; i++)
    SYZ_TRY(syz_h5_write_rows(w->file, "segment", first + i, 1, w->zeros));
  if (w->has_segment && segment) SYZ_TRY(syz_h5_write_rows(w->file, "segment", first, n, segment));
  for (int64_t i = 0; i < n; i += BLOCK) {
    int64_t some = n - i < BLOCK ? n - i : BLOCK;
    SYZ_TRY(put_columns(w, first + i, some, object + i, labels ? labels + i * w->n_labels : NULL));
  }
cleanup:
  return st;
}

static void free_writer(syz_shard_writer **writer)
{
  syz_shard_writer *w = *writer;
  syz_free(&w->label);
  syz_free(&w->zeros);
  syz_free(&w->column);
  syz_free(writer);
}

syz_status syz_shard_writer_publish(syz_shard_writer **writer)
{
  syz_status st = syz_h5_publish(&(*writer)->file);
  free_writer(writer);
  return st == SYZ_OK ? st : syz_error_pass(st, __FILE__, __LINE__);
}

void syz_shard_writer_discard(syz_shard_writer **writer)
{
  if (!*writer) return;
  syz_h5_close(&(*writer)->file);
  free_writer(writer);
}
