/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * DESI coadd and per-exposure spectra files: HDUs by name, in any order (src/sky/README.md "DESI spectra"). Exposures
 * of one target are summed arm by arm with inverse-variance weights, without masked pixels, before the arms are joined,
 * as desispec.coaddition.coadd does (without its cosmic-ray rejection); exposures with a bad fibre are not used unless
 * all are bad.
 */
#include "spectra.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static int64_t text_length(const char *t) { return (int64_t)strlen(t); }

/* An arm is any prefix X with an HDU X_WAVELENGTH: B, R, Z, or one camera-coadded BRZ. */
static syz_status find_arms(syz_spectra *s, int64_t rows)
{
  syz_status st = SYZ_OK;
  const char *path = syz_fits_path(s->file);
  char name[80];
  for (int h = 0; h < syz_fits_count(s->file); h++) {
    const syz_fits_hdu *hdu = syz_fits_get(s->file, h);
    int64_t length = text_length(hdu->name) - text_length("_WAVELENGTH");
    if (length < 1 || length > 6 || strcmp(hdu->name + length, "_WAVELENGTH") != 0) continue;
    SYZ_REQUIRE(s->n_arms < DESI_ARMS, SYZ_ERR_DATA, "%s: more than %d arms", path, (int)DESI_ARMS);
    desi_arm *a = &s->arm[s->n_arms];
    memcpy(a->letter, hdu->name, (size_t)length);
    a->letter[length] = '\0';
    snprintf(name, sizeof name, "%s_FLUX", a->letter);
    a->flux = syz_fits_find(s->file, name);
    snprintf(name, sizeof name, "%s_IVAR", a->letter);
    a->ivar = syz_fits_find(s->file, name);
    snprintf(name, sizeof name, "%s_MASK", a->letter);
    a->mask = syz_fits_find(s->file, name);
    SYZ_REQUIRE(a->flux >= 0, SYZ_ERR_DATA, "%s: HDU %s_FLUX is missing", path, a->letter);
    SYZ_REQUIRE(a->ivar >= 0, SYZ_ERR_DATA, "%s: HDU %s_IVAR is missing", path, a->letter);
    a->n = hdu->pixels;
    SYZ_REQUIRE(a->n >= 1 && a->n <= SYZ_SPECTRUM_PIXELS && hdu->naxis == 1, SYZ_ERR_DATA,
                "%s[%s]: %lld wavelengths in %d axes, 1 to %d in one are allowed", path, hdu->name, (long long)a->n,
                hdu->naxis, (int)SYZ_SPECTRUM_PIXELS);
    const int part[3] = {a->flux, a->ivar, a->mask};
    for (int k = 0; k < 3; k++) {
      if (part[k] < 0) continue;
      const syz_fits_hdu *p = syz_fits_get(s->file, part[k]);
      SYZ_REQUIRE(p->kind == SYZ_FITS_IMAGE || p->kind == SYZ_FITS_COMPRESSED, SYZ_ERR_DATA, "%s[%s]: not an image",
                  path, p->name);
      SYZ_REQUIRE(p->naxis == 2 && p->shape[0] == rows && p->shape[1] == a->n, SYZ_ERR_DATA,
                  "%s[%s]: shape (%lld, %lld) in %d axes, FIBERMAP and %s_WAVELENGTH require (%lld, %lld)", path,
                  p->name, (long long)p->shape[0], (long long)p->shape[1], p->naxis, a->letter, (long long)rows,
                  (long long)a->n);
    }
    SYZ_TRY(spectra_check_unit(s->file, a->flux));
    SYZ_ALLOC(a->wave_A, "wavelengths", a->n);
    s->n_arms++;
    SYZ_TRY(syz_fits_read_f64(s->file, h, 0, a->n, a->wave_A));
  }
  SYZ_REQUIRE(s->n_arms, SYZ_ERR_DATA, "%s: no HDU *_WAVELENGTH", path);
cleanup:
  return st;
}

/* The grid is checked before any object is counted: joining spectra with ivar 1 finds errors of the grid, and pixels
 * that no arm covers. */
static syz_status check_grid(syz_spectra *s)
{
  syz_status st = SYZ_OK;
  syz_arm arm[DESI_ARMS];
  float *one = NULL, *flux = NULL, *ivar = NULL;
  SYZ_ALLOC(one, "grid check", SYZ_SPECTRUM_PIXELS);
  SYZ_ALLOC(flux, "grid check", SYZ_SPECTRUM_PIXELS);
  SYZ_ALLOC(ivar, "grid check", SYZ_SPECTRUM_PIXELS);
  for (int a = 0; a < s->n_arms; a++) arm[a] = (syz_arm){s->arm[a].n, s->arm[a].wave_A, one, one};
  for (int64_t p = 0; p < SYZ_SPECTRUM_PIXELS; p++) one[p] = 1;
  SYZ_TRY(syz_spectrum_join(s->n_arms, arm, syz_fits_path(s->file), flux, ivar));
  for (int64_t p = 0; p < SYZ_SPECTRUM_PIXELS; p++) s->lacks_camera = s->lacks_camera || ivar[p] == 0;
cleanup:
  syz_free(&one);
  syz_free(&flux);
  syz_free(&ivar);
  return st;
}

/* Which rows make up which object: one each, or grouped by TARGETID in order of first appearance. */
static syz_status group_rows(syz_spectra *s, int64_t rows, const int64_t *id, bool is_grouped)
{
  syz_status st = SYZ_OK;
  int64_t *group = NULL, *size = NULL, *slot = NULL;
  SYZ_ALLOC(s->row, "FIBERMAP rows", rows + 1);
  SYZ_ALLOC(s->row_start, "FIBERMAP rows", rows + 1);
  SYZ_ALLOC(group, "FIBERMAP rows", rows + 1);
  SYZ_ALLOC(size, "FIBERMAP rows", rows + 1);
  /* Open addressing by TARGETID. */
  int64_t slots = 16;
  while (slots < 2 * rows) slots *= 2;
  SYZ_ALLOC(slot, "FIBERMAP rows", slots);
  s->n = 0;
  for (int64_t r = 0; r < rows; r++) {
    int64_t g = -1;
    if (is_grouped) {
      uint64_t at = syz_checksum(&id[r], sizeof id[r], 0) & (uint64_t)(slots - 1);
      while (slot[at] && id[slot[at] - 1] != id[r]) at = (at + 1) & (uint64_t)(slots - 1);
      if (slot[at])
        g = group[slot[at] - 1];
      else
        slot[at] = r + 1;
    }
    if (g < 0) g = s->n++;
    group[r] = g;
    size[g]++;
  }
  for (int64_t g = 0, at = 0; g < s->n; g++) {
    s->row_start[g] = at;
    at += size[g];
    size[g] = 0;
  }
  s->row_start[s->n] = rows;
  for (int64_t r = 0; r < rows; r++) s->row[s->row_start[group[r]] + size[group[r]]++] = r;
cleanup:
  syz_free(&slot);
  syz_free(&group);
  syz_free(&size);
  return st;
}

/* A FIBERMAP alone is not enough: fiberassign, cframe and zbest files have one too. */
bool desi_recognise(const syz_fits *f)
{
  bool has_arms = false;
  for (int h = 0; h < syz_fits_count(f) && !has_arms; h++) {
    const char *name = syz_fits_get(f, h)->name;
    has_arms = spectra_ends_with(name, "_WAVELENGTH") ||
               (spectra_ends_with(name, "_FLUX") && syz_fits_find(f, "FIBERMAP") >= 0);
  }
  return has_arms && syz_fits_find(f, "REDSHIFTS") < 0;
}

syz_status desi_open(syz_spectra *s)
{
  syz_status st = SYZ_OK;
  syz_fits *f = s->file;
  int64_t *id = NULL;
  s->table = syz_fits_find(f, "FIBERMAP");
  SYZ_REQUIRE(s->table >= 0 && syz_fits_get(f, s->table)->kind == SYZ_FITS_TABLE, SYZ_ERR_DATA, "%s: no table FIBERMAP",
              syz_fits_path(f));
  SYZ_TRY(syz_fits_require(f, s->table, "TARGETID"));
  int64_t rows = syz_fits_get(f, s->table)->rows;
  SYZ_ALLOC(id, "TARGETID", rows + 1);
  SYZ_TRY(syz_fits_column_i64(f, s->table, syz_fits_field_find(f, s->table, "TARGETID"), 0, 0, rows, id));
  SYZ_TRY(find_arms(s, rows));
  SYZ_TRY(check_grid(s));
  /* A per-exposure file has FIBERSTATUS and EXPID where a coadd has COADD_ columns and EXP_FIBERMAP. */
  bool is_exposures = syz_fits_field_find(f, s->table, "EXPID") >= 0 && syz_fits_find(f, "EXP_FIBERMAP") < 0 &&
                      syz_fits_field_find(f, s->table, "COADD_FIBERSTATUS") < 0;
  if (is_exposures) s->kind = "DESI spectra";
  SYZ_TRY(group_rows(s, rows, id, is_exposures && !s->options.keeps_exposures));
  SYZ_ALLOC(s->info, "spectrum table", s->n + 1);
  const char *status_name =
      syz_fits_field_find(f, s->table, "COADD_FIBERSTATUS") >= 0 ? "COADD_FIBERSTATUS" : "FIBERSTATUS";
  for (int64_t i = 0; i < s->n; i++) {
    syz_spectrum_info *o = &s->info[i];
    int64_t r = s->row[s->row_start[i]];
    o->object_id = id[r];
    o->ra = spectra_number(f, s->table, r, "TARGET_RA");
    o->dec = spectra_number(f, s->table, r, "TARGET_DEC");
    o->redshift = (double)NAN;
    o->zwarn = -1;
    o->fiberstatus = -1;
    o->exposures = (int)(s->row_start[i + 1] - s->row_start[i]);
    for (int64_t k = s->row_start[i]; k < s->row_start[i + 1]; k++) {
      double status = spectra_number(f, s->table, s->row[k], status_name);
      if (fabs(status) < 9e15) o->fiberstatus = o->fiberstatus < 0 ? (int64_t)status : o->fiberstatus & (int64_t)status;
    }
    spectra_text(f, s->table, r, "OBJTYPE", o->objtype, sizeof o->objtype);
    if (!o->objtype[0] || syz_targetid_is_sky(o->object_id))
      snprintf(o->objtype, sizeof o->objtype, "%s", syz_targetid_is_sky(o->object_id) ? "SKY" : "TGT");
  }
  SYZ_ALLOC(s->flux_row, "arm", SYZ_SPECTRUM_PIXELS);
  SYZ_ALLOC(s->ivar_row, "arm", SYZ_SPECTRUM_PIXELS);
cleanup:
  syz_free(&id);
  return st;
}

/* One row of one arm, with masked and invalid pixels at ivar 0. */
static syz_status read_row(syz_spectra *s, const desi_arm *a, int64_t row, uint32_t mask_bits, float *flux, float *ivar)
{
  syz_status st = SYZ_OK;
  uint32_t *mask = NULL;
  SYZ_TRY(syz_fits_read_f32(s->file, a->flux, row * a->n, a->n, flux));
  SYZ_TRY(syz_fits_read_f32(s->file, a->ivar, row * a->n, a->n, ivar));
  if (mask_bits && a->mask >= 0) {
    SYZ_ALLOC(mask, "mask", a->n);
    SYZ_TRY(syz_fits_read_u32(s->file, a->mask, row * a->n, a->n, mask));
    for (int64_t p = 0; p < a->n; p++)
      if (mask[p] & mask_bits) ivar[p] = 0;
  }
  for (int64_t p = 0; p < a->n; p++)
    if (!(ivar[p] > 0) || isinf(ivar[p])) ivar[p] = 0;
cleanup:
  syz_free(&mask);
  return st;
}

syz_status desi_read(syz_spectra *s, int64_t i, float *flux, float *ivar)
{
  syz_status st = SYZ_OK;
  float *all = NULL;
  double *sum = NULL;
  syz_arm arm[DESI_ARMS];
  char what[256];
  int64_t total = 0, first = s->row_start[i], last = s->row_start[i + 1];
  for (int a = 0; a < s->n_arms; a++) total += s->arm[a].n;
  SYZ_ALLOC(all, "arms", 2 * total);
  SYZ_ALLOC(sum, "arms", 2 * SYZ_SPECTRUM_PIXELS);
  float *at = all;
  for (int a = 0; a < s->n_arms; a++) {
    const desi_arm *m = &s->arm[a];
    float *f = at, *v = at + m->n;
    at += 2 * m->n;
    arm[a] = (syz_arm){m->n, m->wave_A, f, v};
    if (last - first == 1) {
      SYZ_TRY(read_row(s, m, s->row[first], s->options.mask_bits, f, v));
      continue;
    }
    double *sum_flux = sum, *sum_ivar = sum + SYZ_SPECTRUM_PIXELS;
    memset(sum, 0, 2 * SYZ_SPECTRUM_PIXELS * sizeof *sum);
    for (int64_t k = first; k < last; k++) {
      double status = spectra_number(s->file, s->table, s->row[k], "FIBERSTATUS");
      if (isfinite(status) && status != 0 && s->info[i].fiberstatus == 0) continue; /* others of this target are good */
      SYZ_TRY(read_row(s, m, s->row[k], ~(uint32_t)0, s->flux_row, s->ivar_row));
      for (int64_t p = 0; p < m->n; p++) {
        if (s->ivar_row[p] > 0) sum_flux[p] += (double)s->ivar_row[p] * (double)s->flux_row[p];
        sum_ivar[p] += (double)s->ivar_row[p];
      }
    }
    for (int64_t p = 0; p < m->n; p++) {
      f[p] = sum_ivar[p] > 0 ? (float)(sum_flux[p] / sum_ivar[p]) : 0.0f;
      v[p] = (float)sum_ivar[p];
    }
  }
  snprintf(what, sizeof what, "%.180s: object %lld", syz_fits_path(s->file), (long long)s->info[i].object_id);
  SYZ_TRY(syz_spectrum_join(s->n_arms, arm, what, flux, ivar));
cleanup:
  syz_free(&all);
  syz_free(&sum);
  return st;
}
