/* SPDX-License-Identifier: BSD-3-Clause */
/** One interface to all files of spectra, the join with redshifts, and the cuts. */
#include "spectra.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

/* The formats, in the order in which they are tried on a file. */
static const spectra_format FORMATS[] = {
    {"DESI coadd", desi_recognise, desi_open, desi_read},
    {"SDSS spec", sdss_spec_recognise, sdss_spec_open, sdss_spec_read},
    {"SDSS spPlate", sdss_plate_recognise, sdss_plate_open, sdss_plate_read},
};

syz_status syz_spectra_open(const char *path, const syz_spectra_options *options, syz_spectra **out)
{
  syz_status st = SYZ_OK;
  syz_spectra *s = NULL;
  *out = NULL;
  SYZ_ALLOC(s, "spectra file", 1);
  s->options = *options;
  s->table = -1;
  SYZ_TRY(syz_fits_open(path, options->verify, &s->file));
  for (size_t k = 0; k < sizeof FORMATS / sizeof *FORMATS && !s->format; k++)
    if (FORMATS[k].recognise(s->file)) s->format = &FORMATS[k];
  SYZ_REQUIRE(s->format, SYZ_ERR_DATA,
              "%s: no spectra in it (neither DESI arms, nor an SDSS COADD table, nor an spPlate image)", path);
  s->kind = s->format->name;
  SYZ_TRY(s->format->open(s));
  *out = s;
  s = NULL;
cleanup:
  syz_spectra_close(&s);
  return st;
}

void syz_spectra_close(syz_spectra **spectra)
{
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

const char *syz_spectra_kind(const syz_spectra *s) { return s->kind; }
int64_t syz_spectra_count(const syz_spectra *s) { return s->n; }
bool syz_spectra_lacks_camera(const syz_spectra *s) { return s->lacks_camera; }
const syz_spectrum_info *syz_spectra_info(const syz_spectra *s, int64_t i) { return &s->info[i]; }

syz_status syz_spectra_read(syz_spectra *s, int64_t i, float *flux, float *ivar)
{
  syz_status st = SYZ_OK;
  SYZ_REQUIRE(i >= 0 && i < s->n, SYZ_ERR_INTERNAL, "%s: spectrum %lld of %lld", syz_fits_path(s->file), (long long)i,
              (long long)s->n);
  SYZ_REQUIRE(!syz_fault("spectrum_read"), SYZ_ERR_MEMORY, "%s: injected failure", syz_fits_path(s->file));
  SYZ_TRY(s->format->read(s, i, flux, ivar));
cleanup:
  return st;
}

double syz_spectra_column(syz_spectra *s, int64_t i, const char *name)
{
  double v = (double)NAN;
  if (!strcasecmp(name, "redshift")) return s->info[i].redshift;
  if (s->table >= 0) v = spectra_number(s->file, s->table, s->row[s->row_start[i]], name);
  if (isnan(v) && s->redshift_file && s->redshift_row[i] >= 0)
    v = spectra_number(s->redshift_file, s->redshift_table, s->redshift_row[i], name);
  if (isnan(v) && !strcasecmp(name, "zwarn") && s->info[i].zwarn >= 0) v = (double)s->info[i].zwarn;
  return v;
}

void syz_spectra_search(const syz_spectra *s, const char *name, syz_column_search *search)
{
  search->has = search->has || !strcasecmp(name, "redshift") || !strcasecmp(name, "zwarn");
  if (s->table >= 0) syz_fits_search(s->file, s->table, name, true, search);
  if (s->redshift_file) syz_fits_search(s->redshift_file, s->redshift_table, name, true, search);
}

/* -------------------------------------------------------------- redshifts */

bool syz_spectra_redrock_path(const char *path, char *redrock, size_t room)
{
  static const char *const stem[] = {"coadd-", "spectra-"}, *const sibling[] = {"redrock-", "zbest-"},
                           *const packed[] = {"", ".gz", ".bz2", ".xz"};
  const char *name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
  int own_packing = 0;
  for (int p = 1; p < 4; p++)
    if (spectra_ends_with(name, packed[p])) own_packing = p;
  size_t end = strlen(name) - strlen(packed[own_packing]);
  for (int k = 0; k < 16;
       k++) { /* redrock- before zbest-, for each stem, packed as the file itself or else in any way */
    const char *own = stem[k / 4 % 2];
    size_t length = strlen(own);
    if (strncmp(name, own, length) != 0) continue;
    int n = snprintf(redrock, room, "%.*s%s%.*s%s", (int)(name - path), path, sibling[k / 8], (int)(end - length),
                     name + length, packed[(own_packing + k) % 4]);
    if (n < 0 || (size_t)n >= room) return false;
    if (access(redrock, R_OK) == 0) return true;
  }
  return false;
}

static bool is_redshift_below(const void *row, const void *id)
{
  return ((const syz_redshift *)row)->object_id < *(const int64_t *)id;
}

syz_status syz_spectra_join_redshifts(syz_spectra *s, const char *path, int64_t *joined)
{
  syz_status st = SYZ_OK;
  syz_redshift *z = NULL;
  int64_t n = 0, *row = NULL;
  *joined = 0;
  SYZ_TRY(syz_redshifts_read(path, s->options.verify, "", &n, &z));
  SYZ_ALLOC(row, "redshift rows", s->n + 1);
  for (int64_t i = 0; i < s->n; i++) {
    const int64_t k = syz_lower_bound(&s->info[i].object_id, z, n, sizeof *z, is_redshift_below);
    row[i] = -1;
    if (k == n || z[k].object_id != s->info[i].object_id) continue;
    s->info[i].redshift = z[k].redshift;
    s->info[i].zwarn = z[k].zwarn;
    snprintf(s->info[i].spectype, sizeof s->info[i].spectype, "%s", z[k].spectype);
    row[i] = z[k].row;
    ++*joined;
  }
  /* The file stays open for other columns, unless an earlier one is already open. */
  if (!s->redshift_file && *joined) {
    SYZ_TRY(syz_fits_open(path, s->options.verify, &s->redshift_file));
    s->redshift_table = -1;
    for (int h = 1; h < syz_fits_count(s->redshift_file) && s->redshift_table < 0; h++)
      if (syz_fits_get(s->redshift_file, h)->kind == SYZ_FITS_TABLE &&
          syz_fits_field_find(s->redshift_file, h, "TARGETID") >= 0 &&
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

const char *syz_cut_text(syz_cut cut)
{
  static const char *const text[] = {"kept",          "object type", "fibre status", "ZWARN",
                                     "spectral type", "no redshift", "primary flag", "too few good pixels"};
  return cut >= 0 && cut < SYZ_CUT_COUNT ? text[cut] : "?";
}

static bool is_listed(const char *list, const char *word)
{
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

syz_cut syz_spectra_check(const syz_spectrum_info *o, const syz_spectra_cuts *c, double primary)
{
  if (c->objtype[0] && !is_listed(c->objtype, o->objtype)) return SYZ_CUT_OBJTYPE;
  if (c->fiberstatus && o->fiberstatus > 0) return SYZ_CUT_FIBERSTATUS;
  if (o->zwarn >= 0 && (o->zwarn & c->zwarn_bits)) return SYZ_CUT_ZWARN;
  if (c->spectype[0] && !is_listed(c->spectype, o->spectype)) return SYZ_CUT_SPECTYPE;
  if (c->needs_redshift && !isfinite(o->redshift)) return SYZ_CUT_REDSHIFT;
  if (c->primary[0] && !(primary != 0 && isfinite(primary))) return SYZ_CUT_PRIMARY;
  return SYZ_CUT_NONE;
}
