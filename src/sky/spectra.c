/* SPDX-License-Identifier: BSD-3-Clause */
/** Files of spectra behind one interface, joining redshifts to them, and the cuts. */
#include "spectra.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

const char *syz_spectra_kind_text(syz_spectra_kind kind) {
  switch (kind) {
    case SYZ_SPECTRA_DESI_COADD: return "DESI coadd";
    case SYZ_SPECTRA_DESI_EXPOSURES: return "DESI spectra";
    case SYZ_SPECTRA_SDSS_SPEC: return "SDSS spec";
    default: return "SDSS spPlate";
  }
}

double spectra_number(syz_fits *f, int hdu, int64_t row, const char *name) {
  double v = (double)NAN;
  int column = syz_fits_field_find(f, hdu, name);
  if (column < 0 || !strchr("LBIJKED", syz_fits_field_get(f, hdu, column)->type) || syz_fits_field_get(f, hdu, column)->repeat < 1) return v;
  if (syz_fits_column_f64(f, hdu, column, 0, row, 1, &v) != SYZ_OK) return (double)NAN;
  return v;
}

void spectra_text(syz_fits *f, int hdu, int64_t row, const char *name, char *text, size_t room) {
  int column = syz_fits_field_find(f, hdu, name);
  text[0] = '\0';
  if (column >= 0 && syz_fits_field_get(f, hdu, column)->type == 'A' && syz_fits_field_get(f, hdu, column)->repeat > 0)
    if (syz_fits_column_text(f, hdu, column, row, text, room) != SYZ_OK) text[0] = '\0';
}

bool spectra_whole(syz_fits *f, int hdu, int64_t row, const char *name, int64_t *value)
{
  int column = syz_fits_field_find(f, hdu, name);
  return column >= 0 && strchr("BIJK", syz_fits_field_get(f, hdu, column)->type) && syz_fits_field_get(f, hdu, column)->repeat == 1 &&
         syz_fits_column_i64(f, hdu, column, 0, row, 1, value) == SYZ_OK;
}

/* The number that a unit begins with, as a power of ten where it is written so: 1E-17, 1.0e-17, 10**-17, 10^(-17), 10-17. NaN without one. */
static double leading_number(const char *unit, const char **rest)
{
  char *end;
  while (*unit == ' ') unit++;
  double value = strtod(unit, &end);
  *rest = end;
  if (end == unit) return (double)NAN;
  if (value != 10) return value;
  const char *p = end;
  if (!strncmp(p, "**", 2))
    p += 2;
  else if (*p == '^')
    p++;
  bool is_enclosed = *p == '(';
  p += is_enclosed;
  long power = strtol(p, &end, 10);
  if (end == p || (is_enclosed && *end != ')')) return value;
  *rest = end + is_enclosed;
  return pow(10, (double)power);
}

syz_status spectra_check_unit(const syz_fits *f, int hdu) {
  syz_status st = SYZ_OK;
  char unit[72];
  const char *rest;
  if (!syz_fits_key_text(f, hdu, "BUNIT", unit, sizeof unit) || !unit[0]) return SYZ_OK;
  double factor = leading_number(unit, &rest);
  /* Whatever way erg/s/cm2/Angstrom is written; a flux per frequency is another thing. */
  bool is_known = fabs(factor / 1e-17 - 1) < 1e-6 && !strstr(rest, "Hz") && !strstr(rest, "hz") && !strstr(rest, "Jy");
  SYZ_REQUIRE(is_known, SYZ_ERR_DATA, "%s: BUNIT '%s', fluxes in 1e-17 erg/s/cm2/Angstrom are needed", syz_fits_path(f), unit);
cleanup:
  return st;
}

static bool ends_with(const char *text, const char *end) {
  size_t n = strlen(text), m = strlen(end);
  return n > m && !strcmp(text + n - m, end);
}

syz_status syz_spectra_open(const char *path, const syz_spectra_options *options, syz_spectra **out) {
  syz_status st = SYZ_OK;
  syz_spectra *s = NULL;
  *out = NULL;
  SYZ_ALLOC(s, "spectra file", 1);
  s->options = *options;
  s->table = -1;
  SYZ_TRY(syz_fits_open(path, options->verify, &s->file));
  syz_fits *f = s->file;
  /* A FIBERMAP alone is no sign: fiberassign, cframe and zbest files have one too. */
  bool has_arms = false;
  for (int h = 0; h < syz_fits_count(f) && !has_arms; h++) {
    const char *name = syz_fits_get(f, h)->name;
    has_arms = ends_with(name, "_WAVELENGTH") || (ends_with(name, "_FLUX") && syz_fits_find(f, "FIBERMAP") >= 0);
  }
  bool is_spec = syz_fits_count(f) > 1 && syz_fits_get(f, 1)->kind == SYZ_FITS_TABLE && syz_fits_field_find(f, 1, "loglam") >= 0;
  double coeff;
  if (has_arms && syz_fits_find(f, "REDSHIFTS") < 0) {
    SYZ_TRY(desi_open(s));
  } else if (is_spec) {
    s->kind = SYZ_SPECTRA_SDSS_SPEC;
    SYZ_TRY(sdss_spec_open(s));
  } else if (syz_fits_get(f, 0)->naxis == 2 && syz_fits_key_real(f, 0, "COEFF0", &coeff)) {
    s->kind = SYZ_SPECTRA_SDSS_PLATE;
    SYZ_TRY(sdss_plate_open(s));
  } else {
    SYZ_REQUIRE(false, SYZ_ERR_DATA, "%s: no spectra in it (neither DESI arms, nor an SDSS COADD table, nor an spPlate image)", path);
  }
  *out = s;
  s = NULL;
cleanup:
  syz_spectra_close(&s);
  return st;
}

void syz_spectra_close(syz_spectra **spectra) {
  syz_spectra *s = *spectra;
  if (!s) return;
  for (int a = 0; a < DESI_ARMS; a++) syz_free(&s->arm[a].wave_A);
  syz_fits_close(&s->file);
  syz_fits_close(&s->redshift_file);
  syz_free(&s->info);
  syz_free(&s->row);
  syz_free(&s->row_start);
  syz_free(&s->redshift_row);
  syz_free(&s->wave_A);
  syz_free(&s->flux_row);
  syz_free(&s->ivar_row);
  syz_free(spectra);
}

syz_spectra_kind syz_spectra_get_kind(const syz_spectra *s) { return s->kind; }
int64_t syz_spectra_count(const syz_spectra *s) { return s->n; }
bool syz_spectra_lacks_camera(const syz_spectra *s) { return s->lacks_camera; }
const syz_spectrum_info *syz_spectra_info(const syz_spectra *s, int64_t i) { return &s->info[i]; }

syz_status syz_spectra_read(syz_spectra *s, int64_t i, float *flux, float *ivar) {
  syz_status st = SYZ_OK;
  SYZ_REQUIRE(i >= 0 && i < s->n, SYZ_ERR_INTERNAL, "%s: spectrum %lld of %lld", syz_fits_path(s->file), (long long)i, (long long)s->n);
  if (s->kind == SYZ_SPECTRA_DESI_COADD || s->kind == SYZ_SPECTRA_DESI_EXPOSURES)
    SYZ_TRY(desi_read(s, i, flux, ivar));
  else
    SYZ_TRY(sdss_read(s, i, flux, ivar));
cleanup:
  return st;
}

double syz_spectra_column(syz_spectra *s, int64_t i, const char *name) {
  double v = (double)NAN;
  if (!strcasecmp(name, "redshift")) return s->info[i].redshift;
  if (s->table >= 0) v = spectra_number(s->file, s->table, s->row[s->row_start[i]], name);
  if (isnan(v) && s->redshift_file && s->redshift_row[i] >= 0)
    v = spectra_number(s->redshift_file, s->redshift_table, s->redshift_row[i], name);
  if (isnan(v) && !strcasecmp(name, "zwarn") && s->info[i].zwarn >= 0) v = (double)s->info[i].zwarn;
  return v;
}

void syz_spectra_search(const syz_spectra *s, const char *name, syz_column_search *search) {
  search->has = search->has || !strcasecmp(name, "redshift") || !strcasecmp(name, "zwarn");
  if (s->table >= 0) syz_fits_search(s->file, s->table, name, true, search);
  if (s->redshift_file) syz_fits_search(s->redshift_file, s->redshift_table, name, true, search);
}

/* -------------------------------------------------------------- redshifts */

bool syz_spectra_redrock_path(const char *path, char *redrock, size_t room) {
  static const char *const stem[] = {"coadd-", "spectra-"}, *const sibling[] = {"redrock-", "zbest-"}, *const packed[] = {"", ".gz", ".bz2", ".xz"};
  const char *name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
  int own_packing = 0;
  for (int p = 1; p < 4; p++)
    if (ends_with(name, packed[p])) own_packing = p;
  size_t end = strlen(name) - strlen(packed[own_packing]);
  for (int k = 0; k < 16; k++) { /* redrock- before zbest-, for each stem, packed as the file itself or else in whatever way */
    const char *own = stem[k / 4 % 2];
    size_t length = strlen(own);
    if (strncmp(name, own, length) != 0) continue;
    int n = snprintf(redrock, room, "%.*s%s%.*s%s", (int)(name - path), path, sibling[k / 8], (int)(end - length), name + length,
                     packed[(own_packing + k) % 4]);
    if (n < 0 || (size_t)n >= room) return false;
    if (access(redrock, R_OK) == 0) return true;
  }
  return false;
}

syz_status syz_spectra_join_redshifts(syz_spectra *s, const char *path, int64_t *joined) {
  syz_status st = SYZ_OK;
  syz_redshift *z = NULL;
  int64_t n = 0, *row = NULL;
  *joined = 0;
  SYZ_TRY(syz_redshifts_read(path, s->options.verify, "", &n, &z));
  SYZ_ALLOC(row, "redshift rows", s->n + 1);
  for (int64_t i = 0; i < s->n; i++) {
    int64_t low = 0, high = n;
    while (low < high) {
      int64_t middle = low + (high - low) / 2;
      if (z[middle].object_id < s->info[i].object_id)
        low = middle + 1;
      else
        high = middle;
    }
    row[i] = -1;
    if (low == n || z[low].object_id != s->info[i].object_id) continue;
    s->info[i].redshift = z[low].redshift;
    s->info[i].zwarn = z[low].zwarn;
    snprintf(s->info[i].spectype, sizeof s->info[i].spectype, "%s", z[low].spectype);
    row[i] = z[low].row;
    ++*joined;
  }
  /* The file stays open for other columns, unless an earlier one does already. */
  if (!s->redshift_file && *joined) {
    SYZ_TRY(syz_fits_open(path, s->options.verify, &s->redshift_file));
    s->redshift_table = -1;
    for (int h = 1; h < syz_fits_count(s->redshift_file) && s->redshift_table < 0; h++)
      if (syz_fits_get(s->redshift_file, h)->kind == SYZ_FITS_TABLE && syz_fits_field_find(s->redshift_file, h, "TARGETID") >= 0 &&
          syz_fits_field_find(s->redshift_file, h, "Z") >= 0)
        s->redshift_table = h;
    SYZ_REQUIRE(s->redshift_table >= 0, SYZ_ERR_DATA, "%s: no table with TARGETID and Z", path);
    s->redshift_row = row;
    row = NULL;
  }
cleanup:
  syz_free(&z);
  syz_free(&row);
  return st;
}

/* ------------------------------------------------------------------- cuts */

const char *syz_cut_text(syz_cut cut) {
  static const char *const text[] = {"kept",         "object type",     "fibre status",   "ZWARN",
                                     "spectral type", "no redshift",    "primary flag",   "too few good pixels"};
  return cut >= 0 && cut < SYZ_CUT_COUNT ? text[cut] : "?";
}

static bool is_listed(const char *list, const char *word) {
  size_t n = strlen(word);
  for (const char *p = list; *p;) {
    while (*p == ' ' || *p == ',') p++;
    size_t length = strcspn(p, ",");
    size_t trimmed = length;
    while (trimmed && p[trimmed - 1] == ' ') trimmed--;
    if (trimmed == n && n && !strncasecmp(p, word, n)) return true;
    p += length;
  }
  return false;
}

syz_cut syz_spectra_check(const syz_spectrum_info *o, const syz_spectra_cuts *c, double primary) {
  if (c->objtype[0] && !is_listed(c->objtype, o->objtype)) return SYZ_CUT_OBJTYPE;
  if (c->fiberstatus && o->fiberstatus > 0) return SYZ_CUT_FIBERSTATUS;
  if (o->zwarn >= 0 && (o->zwarn & c->zwarn_bits)) return SYZ_CUT_ZWARN;
  if (c->spectype[0] && !is_listed(c->spectype, o->spectype)) return SYZ_CUT_SPECTYPE;
  if (c->needs_redshift && !isfinite(o->redshift)) return SYZ_CUT_REDSHIFT;
  if (c->primary[0] && !(primary != 0 && isfinite(primary))) return SYZ_CUT_PRIMARY;
  return SYZ_CUT_NONE;
}
