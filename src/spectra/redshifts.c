/* SPDX-License-Identifier: BSD-3-Clause */
/** Redshift tables: redrock files and redshift catalogues, by TARGETID (src/sky/README.md "Redshifts"), and the choice
 * among an object's rows. */
#include "spectra.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct syz_zcatalogue {
  syz_fits *file;
  int hdu, id, z, zwarn, spectype, deltachi2, fiberstatus; /**< columns, -1 = none */
  int primary[2];                                          /**< primary if any of them is true */
};

static const int NONE = -1;

static bool is_numeric(const syz_fits *f, int hdu, int column)
{
  return column >= 0 && strchr("LBIJKED", syz_fits_field_get(f, hdu, column)->type) &&
         syz_fits_field_get(f, hdu, column)->repeat == 1;
}

static int numeric_column(const syz_zcatalogue *c, const char *name)
{
  int column = syz_fits_field_find(c->file, c->hdu, name);
  return is_numeric(c->file, c->hdu, column) ? column : NONE;
}

/* The flag named in the input alone; else that of the whole production; else those of the main survey and of survey
 * validation, each of which has its own primary row per object. */
static void find_primary(syz_zcatalogue *c, const char *stated)
{
  c->primary[0] = numeric_column(c, stated[0] ? stated : "ZCAT_PRIMARY");
  c->primary[1] = NONE;
  if (stated[0] || c->primary[0] != NONE) return;
  c->primary[0] = numeric_column(c, "MAIN_PRIMARY");
  c->primary[1] = numeric_column(c, "SV_PRIMARY");
}

syz_status syz_zcatalogue_open(const char *path, bool verify, const char *primary, syz_zcatalogue **out)
{
  syz_status st = SYZ_OK;
  syz_zcatalogue *c = NULL;
  *out = NULL;
  SYZ_ALLOC(c, "redshift catalogue", 1);
  SYZ_TRY(syz_fits_open(path, verify, &c->file));
  c->hdu = -1;
  for (int h = 1; h < syz_fits_count(c->file) && c->hdu < 0; h++)
    if (syz_fits_get(c->file, h)->kind == SYZ_FITS_TABLE && syz_fits_field_find(c->file, h, "TARGETID") >= 0 &&
        syz_fits_field_find(c->file, h, "Z") >= 0)
      c->hdu = h;
  SYZ_REQUIRE(c->hdu >= 0, SYZ_ERR_DATA, "%s: no table with the columns TARGETID and Z", path);
  c->id = syz_fits_field_find(c->file, c->hdu, "TARGETID");
  c->z = syz_fits_field_find(c->file, c->hdu, "Z");
  c->zwarn = syz_fits_field_find(c->file, c->hdu, "ZWARN");
  c->spectype = syz_fits_field_find(c->file, c->hdu, "SPECTYPE");
  c->deltachi2 = numeric_column(c, "DELTACHI2");
  c->fiberstatus = numeric_column(c, "COADD_FIBERSTATUS");
  find_primary(c, primary);
  *out = c;
  c = NULL;
cleanup:
  syz_zcatalogue_close(&c);
  return st;
}

void syz_zcatalogue_close(syz_zcatalogue **catalogue)
{
  if (!*catalogue) return;
  syz_fits_close(&(*catalogue)->file);
  syz_free(catalogue);
}

void syz_zcatalogue_release(syz_zcatalogue *c) { syz_fits_release(c->file); }
int64_t syz_zcatalogue_count(const syz_zcatalogue *c) { return syz_fits_get(c->file, c->hdu)->rows; }

static syz_status read_primary(syz_zcatalogue *c, int64_t first, int64_t n, double *value, syz_redshift *row)
{
  syz_status st = SYZ_OK;
  for (int64_t i = 0; i < n; i++) row[i].primary = (double)NAN;
  for (int k = 0; k < 2; k++) {
    if (c->primary[k] == NONE) continue;
    SYZ_TRY(syz_fits_column_f64(c->file, c->hdu, c->primary[k], 0, first, n, value));
    for (int64_t i = 0; i < n; i++)
      if (!isnan(value[i]) && !(row[i].primary > 0)) row[i].primary = value[i] != 0;
  }
cleanup:
  return st;
}

syz_status syz_zcatalogue_read(syz_zcatalogue *c, int64_t first, int64_t n, syz_redshift *row)
{
  syz_status st = SYZ_OK;
  int64_t *whole = NULL;
  double *real = NULL;
  SYZ_ALLOC(whole, "redshifts", n + 1);
  SYZ_ALLOC(real, "redshifts", n + 1);
  memset(row, 0, (size_t)n * sizeof *row);
  SYZ_TRY(syz_fits_column_i64(c->file, c->hdu, c->id, 0, first, n, whole));
  SYZ_TRY(syz_fits_column_f64(c->file, c->hdu, c->z, 0, first, n, real));
  for (int64_t i = 0; i < n; i++) {
    row[i].object_id = whole[i];
    row[i].redshift = real[i];
    row[i].zwarn = row[i].fiberstatus = -1;
    row[i].deltachi2 = (double)NAN;
    row[i].row = first + i;
  }
  if (c->zwarn >= 0) {
    SYZ_TRY(syz_fits_column_i64(c->file, c->hdu, c->zwarn, 0, first, n, whole));
    for (int64_t i = 0; i < n; i++) row[i].zwarn = whole[i];
  }
  if (c->fiberstatus >= 0) {
    SYZ_TRY(syz_fits_column_f64(c->file, c->hdu, c->fiberstatus, 0, first, n, real));
    for (int64_t i = 0; i < n; i++)
      if (fabs(real[i]) < 9e15) row[i].fiberstatus = (int64_t)real[i];
  }
  if (c->deltachi2 >= 0) {
    SYZ_TRY(syz_fits_column_f64(c->file, c->hdu, c->deltachi2, 0, first, n, real));
    for (int64_t i = 0; i < n; i++) row[i].deltachi2 = real[i];
  }
  SYZ_TRY(read_primary(c, first, n, real, row));
  if (c->spectype >= 0)
    for (int64_t i = 0; i < n; i++)
      SYZ_TRY(syz_fits_column_text(c->file, c->hdu, c->spectype, first + i, row[i].spectype, sizeof row[i].spectype));
cleanup:
  syz_free(&whole);
  syz_free(&real);
  return st;
}

syz_status syz_zcatalogue_column(syz_zcatalogue *c, const char *name, int64_t first, int64_t n, double *value)
{
  syz_status st = SYZ_OK;
  int column = numeric_column(c, name);
  if (column != NONE)
    SYZ_TRY(syz_fits_column_f64(c->file, c->hdu, column, 0, first, n, value));
  else
    for (int64_t i = 0; i < n; i++) value[i] = (double)NAN;
cleanup:
  return st;
}

void syz_zcatalogue_search(const syz_zcatalogue *c, const char *name, syz_column_search *search)
{
  syz_fits_search(c->file, c->hdu, name, false, search);
}

int syz_redshift_compare(const syz_redshift *a, const syz_redshift *b)
{
  bool primary_a = a->primary > 0, primary_b = b->primary > 0;
  if (primary_a != primary_b) return primary_a ? -1 : 1;
  if ((a->zwarn != 0) != (b->zwarn != 0)) return a->zwarn == 0 ? -1 : 1;
  if (isnan(a->deltachi2) != isnan(b->deltachi2)) return isnan(b->deltachi2) ? -1 : 1;
  if (a->deltachi2 > b->deltachi2 || a->deltachi2 < b->deltachi2) return a->deltachi2 > b->deltachi2 ? -1 : 1;
  return 0;
}

static int compare(const void *a, const void *b)
{
  const syz_redshift *x = a, *y = b;
  if (x->object_id != y->object_id) return x->object_id < y->object_id ? -1 : 1;
  int better = syz_redshift_compare(x, y);
  return better ? better : (x->row > y->row) - (x->row < y->row);
}

syz_status syz_redshifts_read(const char *path, bool verify, const char *primary, int64_t *n, syz_redshift **out)
{
  syz_status st = SYZ_OK;
  syz_zcatalogue *c = NULL;
  syz_redshift *all = NULL;
  *n = 0;
  *out = NULL;
  SYZ_TRY(syz_zcatalogue_open(path, verify, primary, &c));
  int64_t rows = syz_zcatalogue_count(c);
  SYZ_ALLOC(all, "redshifts", rows + 1);
  SYZ_TRY(syz_zcatalogue_read(c, 0, rows, all));
  qsort(all, (size_t)rows, sizeof *all, compare);
  for (int64_t i = 0; i < rows; i++)
    if (*n == 0 || all[i].object_id != all[*n - 1].object_id) all[(*n)++] = all[i];
  *out = all;
  all = NULL;
cleanup:
  syz_zcatalogue_close(&c);
  syz_free(&all);
  return st;
}
