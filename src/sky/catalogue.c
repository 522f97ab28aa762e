/* SPDX-License-Identifier: BSD-3-Clause */
/** Tables of positions: the first BINTABLE of a FITS file that has RA and Dec under a usual name, in any case
 * (README.md "Catalogues"). */
#include "syzygy/sky.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct syz_catalogue {
  syz_fits *file;
  int hdu, ra, dec;
  int id[3]; /**< one column, or RELEASE, BRICKID, OBJID */
  enum { IDS_NONE, IDS_WHOLE, IDS_TEXT, IDS_PACKED } ids;
};

static const char *const RA_NAMES[] = {"ra",          "target_ra", "radeg",    "raj2000", "ra_j2000",
                                       "alpha_j2000", "ra_deg",    "_raj2000", "ra_icrs", "plug_ra"};
static const char *const DEC_NAMES[] = {"dec",         "target_dec", "dedeg",    "dej2000", "dec_j2000",
                                        "delta_j2000", "dec_deg",    "_dej2000", "de_icrs", "plug_dec"};

static bool is_number(const syz_fits *f, int hdu, int column)
{
  return column >= 0 && strchr("BIJKED", syz_fits_field_get(f, hdu, column)->type) &&
         syz_fits_field_get(f, hdu, column)->repeat == 1;
}

static bool is_packed(syz_catalogue *c)
{
  static const char *const part[3] = {"release", "brickid", "objid"};
  for (int k = 0; k < 3; k++) {
    c->id[k] = syz_fits_field_find(c->file, c->hdu, part[k]);
    if (c->id[k] < 0 || !strchr("BIJK", syz_fits_field_get(c->file, c->hdu, c->id[k])->type)) return false;
  }
  return true;
}

/* Identifiers exceed 2^53, so a column of floats has lost digits already. */
static syz_status use_id_column(syz_catalogue *c, int column)
{
  syz_status st = SYZ_OK;
  const syz_fits_field *f = syz_fits_field_get(c->file, c->hdu, column);
  SYZ_REQUIRE(f->type == 'A' || (strchr("BIJK", f->type) && f->repeat == 1), SYZ_ERR_DATA,
              "%s: column %s of type %c cannot hold identifiers: whole numbers or their text are needed (ingest.id "
              "states another column, or none)",
              syz_fits_path(c->file), f->name, f->type);
  c->ids = f->type == 'A' ? IDS_TEXT : IDS_WHOLE;
  c->id[0] = column;
cleanup:
  return st;
}

/*
 * The identifier is the stated column, or the first of: TARGETID; RELEASE, BRICKID and OBJID together; LS_ID (Legacy
 * Surveys at the Data Lab); OBJECT_ID; OBJID of more than 32 bits (SDSS: a shorter one numbers objects within a brick).
 * No other column is used as an identifier: "id" usually numbers rows.
 */
static syz_status find_ids(syz_catalogue *c, const char *stated)
{
  static const char *const name[] = {"targetid", "", "ls_id", "object_id", "objid"};
  syz_status st = SYZ_OK;
  if (!strcasecmp(stated, "none")) return SYZ_OK;
  if (stated[0]) {
    syz_column_search nearest = SYZ_COLUMN_SEARCH;
    int column = syz_fits_field_find(c->file, c->hdu, stated);
    syz_fits_search(c->file, c->hdu, stated, false, &nearest);
    SYZ_REQUIRE(column >= 0, SYZ_ERR_DATA, "%s: no column '%s' (ingest.id); the nearest is '%s'",
                syz_fits_path(c->file), stated, nearest.nearest);
    return use_id_column(c, column);
  }
  for (size_t k = 0; k < sizeof name / sizeof *name; k++) {
    if (!name[k][0]) {
      if (!is_packed(c)) continue;
      c->ids = IDS_PACKED;
      return SYZ_OK;
    }
    int column = syz_fits_field_find(c->file, c->hdu, name[k]);
    if (column < 0 || (!strcmp(name[k], "objid") && strchr("BIJ", syz_fits_field_get(c->file, c->hdu, column)->type)))
      continue;
    return use_id_column(c, column);
  }
cleanup:
  return st;
}

syz_status syz_catalogue_open(const char *path, bool verify, const char *ra_column, const char *dec_column,
                              const char *id_column, syz_catalogue **out)
{
  syz_status st = SYZ_OK;
  syz_catalogue *c = NULL;
  bool has_table = false;
  *out = NULL;
  SYZ_ALLOC(c, "catalogue", 1);
  SYZ_TRY(syz_fits_open(path, verify, &c->file));
  c->hdu = -1;
  for (int h = 1; h < syz_fits_count(c->file) && c->hdu < 0; h++) {
    if (syz_fits_get(c->file, h)->kind != SYZ_FITS_TABLE) continue;
    has_table = true;
    c->ra = c->dec = -1;
    if (ra_column && ra_column[0]) {
      c->ra = syz_fits_field_find(c->file, h, ra_column);
      c->dec = syz_fits_field_find(c->file, h, dec_column);
    } else {
      for (size_t k = 0; k < sizeof RA_NAMES / sizeof *RA_NAMES; k++) {
        c->ra = syz_fits_field_find(c->file, h, RA_NAMES[k]);
        c->dec = syz_fits_field_find(c->file, h, DEC_NAMES[k]);
        if (is_number(c->file, h, c->ra) && is_number(c->file, h, c->dec)) break;
        c->ra = c->dec = -1;
      }
    }
    if (is_number(c->file, h, c->ra) && is_number(c->file, h, c->dec)) c->hdu = h;
  }
  SYZ_REQUIRE(has_table, SYZ_ERR_DATA, "%s: no table in it", path);
  SYZ_REQUIRE(c->hdu >= 0, SYZ_ERR_DATA,
              "%s: no table with numeric columns %s and %s (ingest.ra and ingest.dec name other columns)", path,
              ra_column && ra_column[0] ? ra_column : "RA", ra_column && ra_column[0] ? dec_column : "DEC");
  SYZ_TRY(find_ids(c, id_column ? id_column : ""));
  *out = c;
  c = NULL;
cleanup:
  syz_catalogue_close(&c);
  return st;
}

void syz_catalogue_close(syz_catalogue **catalogue)
{
  if (!*catalogue) return;
  syz_fits_close(&(*catalogue)->file);
  syz_free(catalogue);
}

void syz_catalogue_release(syz_catalogue *c) { syz_fits_release(c->file); }
int64_t syz_catalogue_count(const syz_catalogue *c) { return syz_fits_get(c->file, c->hdu)->rows; }

static syz_status read_text_ids(syz_catalogue *c, int64_t first, int64_t n, int64_t *object_id)
{
  syz_status st = SYZ_OK;
  char text[40], *end;
  for (int64_t i = 0; i < n; i++) {
    SYZ_TRY(syz_fits_column_text(c->file, c->hdu, c->id[0], first + i, text, sizeof text));
    errno = 0;
    object_id[i] = text[0] ? strtoll(text, &end, 10) : -1;
    SYZ_REQUIRE(
        !text[0] || (!*end && !errno), SYZ_ERR_DATA,
        "%s: column %s, row %lld: '%s' is not a whole number of 64 bits (ingest.id states another column, or none)",
        syz_fits_path(c->file), syz_fits_field_get(c->file, c->hdu, c->id[0])->name, (long long)(first + i), text);
  }
cleanup:
  return st;
}

syz_status syz_catalogue_read(syz_catalogue *c, int64_t first, int64_t n, double *ra, double *dec, int64_t *object_id)
{
  syz_status st = SYZ_OK;
  int64_t *part = NULL;
  if (ra) SYZ_TRY(syz_fits_column_f64(c->file, c->hdu, c->ra, 0, first, n, ra));
  if (dec) SYZ_TRY(syz_fits_column_f64(c->file, c->hdu, c->dec, 0, first, n, dec));
  if (ra && dec)
    for (int64_t i = 0; i < n; i++)
      if (!(ra[i] >= -360 && ra[i] <= 720 && fabs(dec[i]) <= 90)) ra[i] = dec[i] = (double)NAN;
  if (!object_id) return SYZ_OK;
  if (c->ids == IDS_WHOLE) {
    SYZ_TRY(syz_fits_column_i64(c->file, c->hdu, c->id[0], 0, first, n, object_id));
  } else if (c->ids == IDS_TEXT) {
    SYZ_TRY(read_text_ids(c, first, n, object_id));
  } else if (c->ids == IDS_PACKED) {
    SYZ_ALLOC(part, "identifiers", 3 * n + 1);
    for (int k = 0; k < 3; k++) SYZ_TRY(syz_fits_column_i64(c->file, c->hdu, c->id[k], 0, first, n, part + k * n));
    for (int64_t i = 0; i < n; i++) object_id[i] = syz_targetid(part[i], part[n + i], part[2 * n + i]);
  } else {
    for (int64_t i = 0; i < n; i++) object_id[i] = -1;
  }
cleanup:
  syz_free(&part);
  return st;
}

syz_status syz_catalogue_column(syz_catalogue *c, const char *name, int64_t first, int64_t n, double *value, bool *has)
{
  syz_status st = SYZ_OK;
  int column = syz_fits_field_find(c->file, c->hdu, name);
  *has = column >= 0 && strchr("LBIJKED", syz_fits_field_get(c->file, c->hdu, column)->type) &&
         syz_fits_field_get(c->file, c->hdu, column)->repeat == 1;
  if (*has)
    SYZ_TRY(syz_fits_column_f64(c->file, c->hdu, column, 0, first, n, value));
  else
    for (int64_t i = 0; i < n; i++) value[i] = (double)NAN;
cleanup:
  return st;
}

void syz_catalogue_search(const syz_catalogue *c, const char *name, syz_column_search *search)
{
  syz_fits_search(c->file, c->hdu, name, false, search);
}
