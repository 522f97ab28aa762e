/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Finds the layout and contents of a data set's file from its datasets. Every shape, type and row count is checked
 * here, once, so that reading can rely on them.
 */
#include <string.h>
#include <sys/stat.h>

#include "set_layout.h"

syz_status syz_shardset_scan(const char *path, int number, set_scan *out)
{
  syz_status st = SYZ_OK;
  syz_h5 *f = NULL;
  char *format = NULL;
  struct stat file;
  out->parts = out->labels = 0;
  out->digest = 0;
  memset(out->part, 0, sizeof out->part);
  SYZ_TRY(syz_h5_open(NULL, path, &f));
  SYZ_REQUIRE(stat(path, &file) == 0, SYZ_ERR_DATA, "%s: the file no longer exists", path);
  out->bytes = (int64_t)file.st_size;
  SYZ_TRY(syz_h5_read_text(f, "", "syzygy_format", &format));
  SYZ_REQUIRE(!format || strcmp(format, "shard") == 0, SYZ_ERR_DATA, "%s: a file of format \"%.40s\", not a shard",
              path, format);
  out->lacks_seal = syz_h5_lacks_seal(f);
  const int layout = set_layout_find(f);
  SYZ_REQUIRE(layout >= 0, SYZ_ERR_DATA,
              "%s: neither a shard (object_id with image or spectrum) nor AstroCLIP's HDF5 (groups 0 .. 9); other "
              "survey files: see ingest",
              path);
  out->lacks_sums = set_layout_get(layout)->lacks_sums;
  SYZ_TRY(set_layout_get(layout)->scan(f, out));
  for (int i = 0; i < out->parts; i++) {
    out->part[i].file = number;
    out->part[i].layout = (uint8_t)layout;
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
  char name[SET_NAME];
  set_dataset(name, p, set_layout_of(p)->object_id);
  bool has_image = p->has_image && p->has_image_column, has_spectrum = p->has_flux && p->has_spectrum_column;
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
