/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * What is in a file of a data set: own shards and AstroCLIP's HDF5, told apart by their datasets. Every shape, type and
 * row count is checked here, once, so that reading can rely on them.
 */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "syzygy/h5.h"
#include "shardset.h"

static const int64_t image_shape[] = {SYZ_BANDS, SYZ_IMAGE_SIZE, SYZ_IMAGE_SIZE},
                     spectrum_shape[] = {SYZ_SPECTRUM_PIXELS, 1};
static const int64_t image_xyb[] = {SYZ_IMAGE_SIZE, SYZ_IMAGE_SIZE, SYZ_BANDS};

static void shape_text(char text[160], int64_t rows, int n, const int64_t *shape)
{
  int at = rows < 0 ? snprintf(text, 160, "(N") : snprintf(text, 160, "(%lld", (long long)rows);
  for (int i = 0; i < n && at < 140; i++) at += snprintf(text + at, (size_t)(160 - at), ", %lld", (long long)shape[i]);
  snprintf(text + at, (size_t)(160 - at), ")");
}

/* Dataset `name` holds numbers, `kinds` says which ('f' or "iub" ...), as [rows, shape...]; *rows < 0: not known yet,
 * then it is set. */
static syz_status expect(syz_h5 *f, const char *name, const char *kinds, int64_t *rows, const char *rows_of,
                         int n_shape, const int64_t *shape)
{
  syz_status st = SYZ_OK;
  int ndim, bits;
  int64_t found[8];
  char kind, found_text[160], want_text[160];
  SYZ_TRY(syz_h5_shape(f, name, &ndim, found));
  bool is_right = ndim == n_shape + 1;
  for (int i = 0; is_right && i < n_shape; i++) is_right = found[i + 1] == shape[i];
  if (!is_right) {
    shape_text(found_text, ndim ? found[0] : 0, ndim ? ndim - 1 : 0, found + 1);
    shape_text(want_text, -1, n_shape, shape);
    SYZ_REQUIRE(false, SYZ_ERR_DATA, "%s: dataset %s has shape %s, %s is wanted", syz_h5_path(f), name, found_text,
                want_text);
  }
  SYZ_TRY(syz_h5_class(f, name, &kind, &bits));
  SYZ_REQUIRE(strchr(kinds, kind), SYZ_ERR_DATA, "%s: dataset %s holds %s of %d bits, %s are wanted", syz_h5_path(f),
              name,
              kind == 'f'   ? "floats"
              : kind == 's' ? "text"
              : kind == '?' ? "records"
                            : "whole numbers",
              bits, strchr(kinds, 'f') ? "numbers" : "whole numbers");
  if (*rows < 0) *rows = found[0];
  SYZ_REQUIRE(found[0] == *rows, SYZ_ERR_DATA, "%s: dataset %s has %lld rows, %s has %lld", syz_h5_path(f), name,
              (long long)found[0], rows_of, (long long)*rows);
cleanup:
  return st;
}

static void name_in(char text[64], const set_part *p, const char *name) { snprintf(text, 64, "%s%s", p->group, name); }

/* The published split: in each group the first int(0.8 n) rows train, the rest test (src/sky/README.md "HDF5 files of
 * others"). */
static void split_rows(set_part *p, syz_split split)
{
  int64_t train = (int64_t)(0.8 * (double)p->rows);
  p->first = split == SYZ_SPLIT_TEST ? train : 0;
  p->used = split == SYZ_SPLIT_ALL ? p->rows : split == SYZ_SPLIT_TRAIN ? train : p->rows - train;
}

typedef struct label_list {
  set_scan *scan;
  syz_h5 *f;
  int64_t rows;
} label_list;

static syz_status keep_label(void *context, const char *name)
{
  syz_status st = SYZ_OK;
  label_list *l = context;
  char full[SYZ_LABEL_NAME + 8];
  SYZ_REQUIRE(strlen(name) < SYZ_LABEL_NAME && !strchr(name, '/'), SYZ_ERR_DATA,
              "%s: label/%.80s is not a usable label name", syz_h5_path(l->f), name);
  SYZ_REQUIRE(l->scan->labels < SYZ_LABELS_MAX, SYZ_ERR_DATA, "%s: more than %d labels", syz_h5_path(l->f),
              SYZ_LABELS_MAX);
  snprintf(full, sizeof full, "label/%s", name);
  SYZ_TRY(expect(l->f, full, "fiub", &l->rows, "object_id", 0, NULL));
  snprintf(l->scan->label[l->scan->labels++], SYZ_LABEL_NAME, "%s", name);
cleanup:
  return st;
}

/* Checksums of the datasets make the digest; without them the size and the identifiers have to do. */
static syz_status add_checksum(void *context, const char *name)
{
  syz_status st = SYZ_OK;
  label_list *l = context;
  char *text = NULL;
  SYZ_TRY(syz_h5_read_text(l->f, name, "checksum", &text));
  l->scan->digest = syz_checksum(name, strlen(name), l->scan->digest);
  if (text)
    l->scan->digest = syz_checksum(text, strlen(text), l->scan->digest);
  else
    l->scan->lacks_sums = true;
cleanup:
  syz_free(&text);
  return st;
}

static syz_status scan_shard(syz_h5 *f, set_scan *out)
{
  syz_status st = SYZ_OK;
  set_part *p = &out->part[0];
  label_list list = {out, f, -1};
  out->parts = 1;
  p->rows = -1;
  SYZ_TRY(expect(f, "object_id", "iu", &p->rows, "", 0, NULL));
  p->has_image = syz_h5_has(f, "image");
  p->has_flux = syz_h5_has(f, "spectrum");
  p->has_ivar = p->has_flux && syz_h5_has(f, "spectrum_ivar");
  p->has_segment = syz_h5_has(f, "segment");
  if (p->has_image) SYZ_TRY(expect(f, "image", "f", &p->rows, "object_id", 3, image_shape));
  if (p->has_flux) SYZ_TRY(expect(f, "spectrum", "f", &p->rows, "object_id", 1, spectrum_shape));
  if (p->has_ivar) SYZ_TRY(expect(f, "spectrum_ivar", "f", &p->rows, "object_id", 1, spectrum_shape));
  if (p->has_segment) SYZ_TRY(expect(f, "segment", "iub", &p->rows, "object_id", 2, image_shape + 1));
  p->has_position = syz_h5_has(f, "ra") && syz_h5_has(f, "dec");
  if (p->has_position) {
    SYZ_TRY(expect(f, "ra", "f", &p->rows, "object_id", 0, NULL));
    SYZ_TRY(expect(f, "dec", "f", &p->rows, "object_id", 0, NULL));
  }
  if (syz_h5_has(f, "has_image")) SYZ_TRY(expect(f, "has_image", "iub", &p->rows, "object_id", 0, NULL));
  if (syz_h5_has(f, "has_spectrum")) SYZ_TRY(expect(f, "has_spectrum", "iub", &p->rows, "object_id", 0, NULL));
  list.rows = p->rows;
  SYZ_TRY(syz_h5_visit(f, "label", keep_label, &list));
  SYZ_TRY(syz_h5_visit(f, "", add_checksum, &list));
  p->image_at = p->has_image ? syz_h5_offset(f, "image", SYZ_H5_F32) : -1;
  p->flux_at = p->has_flux ? syz_h5_offset(f, "spectrum", SYZ_H5_F32) : -1;
  p->ivar_at = p->has_ivar ? syz_h5_offset(f, "spectrum_ivar", SYZ_H5_F32) : -1;
cleanup:
  return st;
}

static syz_status scan_astroclip(syz_h5 *f, set_scan *out)
{
  syz_status st = SYZ_OK;
  char name[64], rows_of[64];
  bool has_redshift = false;
  for (int g = 0; g < 10; g++) {
    set_part *p = &out->part[out->parts];
    snprintf(p->group, sizeof p->group, "%d/", g);
    name_in(rows_of, p, "targetids");
    if (!syz_h5_has(f, rows_of)) {
      name_in(name, p, "images");
      SYZ_REQUIRE(!syz_h5_has(f, name), SYZ_ERR_DATA, "%s: group %d has images but no targetids", syz_h5_path(f), g);
      *p = (set_part){0};
      continue;
    }
    out->parts++;
    p->is_astroclip = p->has_image = p->has_flux = 1;
    p->rows = -1;
    SYZ_TRY(expect(f, rows_of, "iu", &p->rows, "", 0, NULL));
    name_in(name, p, "images");
    SYZ_TRY(expect(f, name, "f", &p->rows, rows_of, 3, image_xyb));
    p->image_at = syz_h5_offset(f, name, SYZ_H5_F32);
    name_in(name, p, "spectra");
    int ndim;
    int64_t shape[8];
    SYZ_TRY(syz_h5_shape(f, name, &ndim, shape));
    SYZ_TRY(expect(f, name, "f", &p->rows, rows_of, ndim == 2 ? 1 : 2, spectrum_shape));
    p->flux_at = syz_h5_offset(f, name, SYZ_H5_F32);
    p->ivar_at = -1;
    name_in(name, p, "redshifts");
    if (syz_h5_has(f, name)) {
      SYZ_TRY(expect(f, name, "fiub", &p->rows, rows_of, 0, NULL));
      has_redshift = true;
    }
  }
  if (has_redshift) snprintf(out->label[out->labels++], SYZ_LABEL_NAME, "redshift");
cleanup:
  return st;
}

static bool is_astroclip(syz_h5 *f)
{
  char name[32];
  for (int g = 0; g < 10; g++) {
    snprintf(name, sizeof name, "%d/images", g);
    if (syz_h5_has(f, name)) return true;
  }
  return false;
}

syz_status syz_shardset_scan(const char *path, int number, syz_split split, set_scan *out)
{
  syz_status st = SYZ_OK;
  syz_h5 *f = NULL;
  char *format = NULL;
  struct stat file;
  out->parts = out->labels = 0;
  out->digest = 0;
  memset(out->part, 0, sizeof out->part);
  SYZ_TRY(syz_h5_open(NULL, path, &f));
  SYZ_REQUIRE(stat(path, &file) == 0, SYZ_ERR_DATA, "%s: no such file any more", path);
  out->bytes = (int64_t)file.st_size;
  SYZ_TRY(syz_h5_read_text(f, "", "syzygy_format", &format));
  SYZ_REQUIRE(!format || strcmp(format, "shard") == 0, SYZ_ERR_DATA, "%s: a file of format \"%.40s\", not a shard",
              path, format);
  out->lacks_seal = syz_h5_lacks_seal(f);
  out->lacks_sums = is_astroclip(f);
  if (is_astroclip(f)) {
    SYZ_TRY(scan_astroclip(f, out));
  } else {
    SYZ_REQUIRE(syz_h5_has(f, "object_id") && (syz_h5_has(f, "image") || syz_h5_has(f, "spectrum")), SYZ_ERR_DATA,
                "%s: neither a shard (object_id with image or spectrum) nor AstroCLIP's HDF5 (groups 0 .. 9); other "
                "survey files: see ingest",
                path);
    SYZ_TRY(scan_shard(f, out));
  }
  for (int i = 0; i < out->parts; i++) {
    out->part[i].file = number;
    split_rows(&out->part[i], split);
  }
cleanup:
  syz_free(&format);
  syz_h5_close(&f);
  return st;
}

syz_status syz_shardset_read_table(syz_h5 *f, const set_part *p, int64_t first, int64_t n, syz_object *object)
{
  enum { SOME = 1024 };
  syz_status st = SYZ_OK;
  union {
    int64_t i64[SOME];
    double f64[SOME];
    uint8_t u8[SOME];
  } column;
  char name[64];
  name_in(name, p, p->is_astroclip ? "targetids" : "object_id");
  bool has_image = !p->is_astroclip && p->has_image && syz_h5_has(f, "has_image");
  bool has_spectrum = !p->is_astroclip && p->has_flux && syz_h5_has(f, "has_spectrum");
  const union {
    uint64_t bits;
    double value;
  } nan = {UINT64_C(0x7ff8000000000000)};
  for (int64_t done = 0; done < n; done += SOME) {
    int64_t some = n - done < SOME ? n - done : SOME;
    syz_object *o = object + done;
    SYZ_TRY(syz_h5_read(f, name, SYZ_H5_I64, first + done, some, column.i64));
    for (int64_t i = 0; i < some; i++)
      o[i] = (syz_object){.object_id = column.i64[i],
                          .ra = nan.value,
                          .dec = nan.value,
                          .has_image = p->has_image,
                          .has_spectrum = p->has_flux};
    if (p->has_position) {
      SYZ_TRY(syz_h5_read(f, "ra", SYZ_H5_F64, first + done, some, column.f64));
      for (int64_t i = 0; i < some; i++) o[i].ra = column.f64[i];
      SYZ_TRY(syz_h5_read(f, "dec", SYZ_H5_F64, first + done, some, column.f64));
      for (int64_t i = 0; i < some; i++) o[i].dec = column.f64[i];
    }
    if (has_image) SYZ_TRY(syz_h5_read(f, "has_image", SYZ_H5_U8, first + done, some, column.u8));
    for (int64_t i = 0; has_image && i < some; i++) o[i].has_image = column.u8[i] != 0;
    if (has_spectrum) SYZ_TRY(syz_h5_read(f, "has_spectrum", SYZ_H5_U8, first + done, some, column.u8));
    for (int64_t i = 0; has_spectrum && i < some; i++) o[i].has_spectrum = column.u8[i] != 0;
  }
cleanup:
  return st;
}
