/* SPDX-License-Identifier: BSD-3-Clause */
/** Label tables in FITS, CSV and ECSV files. */
#include "table.h"

#include <stdlib.h>
#include <string.h>

static bool is_number_of_hdu(const char *part)
{
  return *part && strspn(part, "0123456789") == strlen(part) && strlen(part) < 6;
}

static syz_status choose_hdu(syz_label_table *t, const char *part)
{
  syz_status st = SYZ_OK;
  const int n = syz_fits_count(t->fits);
  t->hdu = -1;
  if (*part) {
    t->hdu = syz_fits_find(t->fits, part);
    if (t->hdu < 0 && is_number_of_hdu(part)) t->hdu = atoi(part);
    SYZ_REQUIRE(t->hdu >= 0 && t->hdu < n, SYZ_ERR_DATA, "%s: no HDU '%s' among its %d", t->path, part, n);
  }
  for (int h = 1; h < n && t->hdu < 0; h++)
    if (syz_fits_get(t->fits, h)->kind == SYZ_FITS_TABLE) t->hdu = h;
  SYZ_REQUIRE(t->hdu >= 0, SYZ_ERR_DATA, "%s: no table in it", t->path);
  SYZ_REQUIRE(syz_fits_get(t->fits, t->hdu)->kind == SYZ_FITS_TABLE, SYZ_ERR_DATA, "%s: HDU '%s' is no table", t->path,
              part);
cleanup:
  return st;
}

static char kind_of(const syz_fits_field *f)
{
  if (f->repeat < 1) return '?';
  switch (f->type) {
  case 'L':
    return 'b';
  case 'B':
  case 'I':
  case 'J':
  case 'K':
    return 'i';
  case 'E':
  case 'D':
    return 'f';
  case 'A':
    return 's';
  default:
    return '?';
  }
}

static syz_status fits_open(syz_label_table *t, const char *part, bool verify)
{
  syz_status st = SYZ_OK;
  SYZ_TRY(syz_fits_open(t->path, verify, &t->fits));
  SYZ_TRY(choose_hdu(t, part));
  const syz_fits_hdu *h = syz_fits_get(t->fits, t->hdu);
  t->rows = h->rows;
  for (int i = 0; i < h->columns; i++) {
    const syz_fits_field *f = syz_fits_field_get(t->fits, t->hdu, i);
    SYZ_TRY(labels_add_column(t, f->name, f->unit, kind_of(f), f->type == 'A' ? 1 : f->repeat));
  }
cleanup:
  return st;
}

static void fits_close(syz_label_table *t) { syz_fits_close(&t->fits); }

static syz_status fits_numbers(syz_label_table *t, int column, int64_t item, int64_t first, int64_t n, double *out)
{
  return syz_fits_column_f64(t->fits, t->hdu, column, item, first, n, out);
}

static syz_status fits_wholes(syz_label_table *t, int column, int64_t item, int64_t first, int64_t n, int64_t *out)
{
  return syz_fits_column_i64(t->fits, t->hdu, column, item, first, n, out);
}

static syz_status fits_texts(syz_label_table *t, int column, int64_t item, int64_t first, int64_t n, size_t room,
                             char *out)
{
  syz_status st = SYZ_OK;
  (void)item;
  for (int64_t i = 0; i < n; i++)
    SYZ_TRY(syz_fits_column_text(t->fits, t->hdu, column, first + i, out + (size_t)i * room, room));
cleanup:
  return st;
}

const labels_format labels_fits = {fits_open, fits_close, fits_numbers, fits_wholes, fits_texts};
