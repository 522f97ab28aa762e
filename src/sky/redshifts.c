/* SPDX-License-Identifier: BSD-3-Clause */
/** Redshift tables: redrock files and redshift catalogues, by TARGETID (README.md "Redshifts"). */
#include "syzygy/sky.h"

#include <stdlib.h>
#include <string.h>

typedef struct entry {
  syz_redshift z;
  int64_t row;
} entry;

static int compare(const void *a, const void *b) {
  const entry *x = a, *y = b;
  if (x->z.object_id != y->z.object_id) return x->z.object_id < y->z.object_id ? -1 : 1;
  if ((x->z.zwarn != 0) != (y->z.zwarn != 0)) return x->z.zwarn == 0 ? -1 : 1;
  return x->row < y->row ? -1 : 1;
}

syz_status syz_redshifts_read(const char *path, bool verify, int64_t *n, syz_redshift **out) {
  syz_status st = SYZ_OK;
  syz_fits *f = NULL;
  entry *all = NULL;
  int64_t *whole = NULL;
  double *real = NULL;
  syz_redshift *kept = NULL;
  int hdu = -1;
  *n = 0;
  *out = NULL;
  SYZ_TRY(syz_fits_open(path, verify, &f));
  for (int h = 1; h < syz_fits_count(f) && hdu < 0; h++)
    if (syz_fits_get(f, h)->kind == SYZ_FITS_TABLE && syz_fits_field_find(f, h, "TARGETID") >= 0 && syz_fits_field_find(f, h, "Z") >= 0) hdu = h;
  SYZ_REQUIRE(hdu >= 0, SYZ_ERR_DATA, "%s: no table with the columns TARGETID and Z", path);
  int64_t rows = syz_fits_get(f, hdu)->rows;
  SYZ_ALLOC(all, "redshifts", rows + 1);
  SYZ_ALLOC(whole, "redshifts", rows + 1);
  SYZ_ALLOC(real, "redshifts", rows + 1);
  SYZ_TRY(syz_fits_column_i64(f, hdu, syz_fits_field_find(f, hdu, "TARGETID"), 0, 0, rows, whole));
  SYZ_TRY(syz_fits_column_f64(f, hdu, syz_fits_field_find(f, hdu, "Z"), 0, 0, rows, real));
  for (int64_t i = 0; i < rows; i++) {
    all[i].z.object_id = whole[i];
    all[i].z.redshift = real[i];
    all[i].z.zwarn = -1;
    all[i].row = i;
  }
  int column = syz_fits_field_find(f, hdu, "ZWARN");
  if (column >= 0) {
    SYZ_TRY(syz_fits_column_i64(f, hdu, column, 0, 0, rows, whole));
    for (int64_t i = 0; i < rows; i++) all[i].z.zwarn = whole[i];
  }
  column = syz_fits_field_find(f, hdu, "SPECTYPE");
  if (column >= 0)
    for (int64_t i = 0; i < rows; i++) SYZ_TRY(syz_fits_column_text(f, hdu, column, i, all[i].z.spectype, sizeof all[i].z.spectype));
  qsort(all, (size_t)rows, sizeof *all, compare);
  SYZ_ALLOC(kept, "redshifts", rows + 1);
  for (int64_t i = 0; i < rows; i++)
    if (i == 0 || all[i].z.object_id != all[i - 1].z.object_id) kept[(*n)++] = all[i].z;
  *out = kept;
  kept = NULL;
cleanup:
  syz_fits_close(&f);
  syz_free(&all);
  syz_free(&whole);
  syz_free(&real);
  syz_free(&kept);
  return st;
}
