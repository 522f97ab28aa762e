/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * SDSS, BOSS, eBOSS and SDSS-V spectra: spec files (one object: COADD table, specobj or spAll row in HDU 2) and spPlate
 * files (one plate: images of rows, plugmap, with redshifts in the spZbest file beside it). Pixels are log-linear in
 * vacuum wavelength; they are resampled onto the common grid. Source: data.sdss.org/datamodel, files spec, spPlate,
 * spZbest; column names are in upper or lower case.
 */
#include "spectra.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum { SDSS_PIXELS_MAX = 100000 };

static void set_wave(syz_spectra *s, const double *loglam, bool is_air)
{
  for (int64_t i = 0; i < s->pixels; i++) {
    double w = pow(10, loglam[i]);
    s->wave_A[i] = is_air ? syz_air_to_vacuum(w) : w;
  }
}

/* Air wavelengths: VACUUM = F in the header, or by the input. */
static bool is_in_air(const syz_spectra *s)
{
  bool vacuum = true;
  if (syz_fits_key_bool(s->file, 0, "VACUUM", &vacuum) && !vacuum) return true;
  return s->options.is_air;
}

static void set_type(syz_spectrum_info *o, const char *objtype)
{
  /* SKY; in SDSS-V also sky_boss, ops_sky_boss and the like. */
  bool is_sky =
      !strncasecmp(objtype, "sky", 3) || !strncasecmp(objtype, "ops_sky", 7) || (o->zwarn >= 0 && (o->zwarn & 1));
  snprintf(o->objtype, sizeof o->objtype, "%s", is_sky ? "SKY" : "TGT");
}

static int64_t whole(double v) { return isfinite(v) && fabs(v) < 9e15 ? (int64_t)v : -1; }

static syz_status identify(const syz_spectra *s, int64_t plate, int64_t mjd, int64_t fiber, int64_t *id)
{
  syz_status st = SYZ_OK;
  SYZ_REQUIRE(plate >= 0 && plate < 1000000 && mjd > 0 && mjd < 100000 && fiber >= 0 && fiber < 10000, SYZ_ERR_DATA,
              "%s: plate %lld, MJD %lld, fibre %lld do not identify a spectrum", syz_fits_path(s->file),
              (long long)plate, (long long)mjd, (long long)fiber);
  *id = syz_sdss_id(plate, mjd, fiber);
cleanup:
  return st;
}

/*
 * SDSS-V has fields in place of plates and robots in place of plugged fibres: a target is identified by CATALOGID or,
 * across versions of that catalogue, by SDSS_ID, a spectrum by FIELD, MJD and CATALOGID. So repeats of a target have
 * one identifier. Sky fibres without a catalogue entry are identified by their index in the field. Source: SDSS-V data
 * model, files spec-FIELD-MJD-CATALOGID and spAll.
 */
static bool identify_by_field(syz_fits *f, int table, int64_t mjd, int64_t *id)
{
  static const char *const target[] = {"CATALOGID", "SDSS_ID", "SDSSID"};
  int64_t field = -1, index = -1;
  if (!spectra_whole(f, table, 0, "FIELD", &field) && !syz_fits_key_int(f, 0, "FIELDID", &field)) return false;
  for (size_t k = 0; k < sizeof target / sizeof *target; k++)
    if (spectra_whole(f, table, 0, target[k], id) && *id > 0) return true;
  if (!spectra_whole(f, table, 0, "TARGET_INDEX", &index) || field < 0 || field >= 1000000 || index < 0 ||
      index >= 10000 || mjd <= 0 || mjd >= 100000)
    return false;
  *id = syz_sdss_id(field, mjd, index);
  return true;
}

/* The first of these columns that has a number. */
static double first_number(syz_fits *f, int table, const char *const *name)
{
  double v = (double)NAN;
  for (; *name && isnan(v); name++) v = spectra_number(f, table, 0, *name);
  return v;
}

bool sdss_spec_recognise(const syz_fits *f)
{
  return syz_fits_count(f) > 1 && syz_fits_get(f, 1)->kind == SYZ_FITS_TABLE &&
         syz_fits_field_find(f, 1, "loglam") >= 0;
}

syz_status sdss_spec_open(syz_spectra *s)
{
  syz_status st = SYZ_OK;
  syz_fits *f = s->file;
  double *loglam = NULL;
  char text[24];
  SYZ_TRY(syz_fits_require(f, 1, "flux,loglam,ivar"));
  SYZ_TRY(spectra_check_unit(f, 0));
  s->pixels = syz_fits_get(f, 1)->rows;
  SYZ_REQUIRE(s->pixels >= 2 && s->pixels <= SDSS_PIXELS_MAX, SYZ_ERR_DATA, "%s: %lld pixels", syz_fits_path(f),
              (long long)s->pixels);
  SYZ_ALLOC(s->wave_A, "wavelengths", s->pixels);
  SYZ_ALLOC(loglam, "wavelengths", s->pixels);
  SYZ_TRY(syz_fits_column_f64(f, 1, syz_fits_field_find(f, 1, "loglam"), 0, 0, s->pixels, loglam));
  for (int64_t i = 0; i < s->pixels; i++)
    SYZ_REQUIRE(loglam[i] > 2 && loglam[i] < 6, SYZ_ERR_DATA, "%s: loglam of pixel %lld is %g", syz_fits_path(f),
                (long long)i, loglam[i]);
  set_wave(s, loglam, is_in_air(s));
  s->n = 1;
  SYZ_ALLOC(s->info, "spectrum table", 1);
  SYZ_ALLOC(s->row, "spectrum table", 1);
  SYZ_ALLOC(s->row_start, "spectrum table", 2);
  s->row_start[1] = 1;
  syz_spectrum_info *o = s->info;
  o->ra = o->dec = o->redshift = (double)NAN;
  o->zwarn = o->fiberstatus = -1;
  o->exposures = 1;
  s->table = -1;
  int64_t plate = -1, mjd = -1, fiber = -1;
  if (syz_fits_count(f) > 2 && syz_fits_get(f, 2)->kind == SYZ_FITS_TABLE && syz_fits_get(f, 2)->rows == 1 &&
      syz_fits_field_find(f, 2, "Z") >= 0) {
    s->table = 2;
    plate = whole(spectra_number(f, 2, 0, "PLATE"));
    mjd = whole(spectra_number(f, 2, 0, "MJD"));
    fiber = whole(spectra_number(f, 2, 0, "FIBERID"));
    o->redshift = spectra_number(f, 2, 0, "Z");
    o->zwarn = whole(spectra_number(f, 2, 0, "ZWARNING"));
    spectra_text(f, 2, 0, "CLASS", o->spectype, sizeof o->spectype);
    static const char *const ra[] = {"PLUG_RA", "RA", "FIBER_RA", "RACAT", NULL}, *const dec[] = {"PLUG_DEC", "DEC",
                                                                                                  "FIBER_DEC", "DECCAT",
                                                                                                  NULL};
    o->ra = first_number(f, 2, ra);
    o->dec = first_number(f, 2, dec);
  }
  /* The header is used for files without HDU 2: there the PLUG_ keywords are the fibre's position, and RA, DEC the
   * telescope's. */
  if (plate < 0 && !syz_fits_key_int(f, 0, "PLATEID", &plate)) plate = -1;
  if (mjd < 0 && !syz_fits_key_int(f, 0, "MJD", &mjd)) mjd = -1;
  if (fiber < 0 && !syz_fits_key_int(f, 0, "FIBERID", &fiber)) fiber = -1;
  if (isnan(o->ra)) syz_fits_key_real(f, 0, "PLUG_RA", &o->ra);
  if (isnan(o->dec)) syz_fits_key_real(f, 0, "PLUG_DEC", &o->dec);
  bool is_identified = plate < 0 && s->table >= 0 && identify_by_field(f, s->table, mjd, &o->object_id);
  if (!is_identified) SYZ_TRY(identify(s, plate, mjd, fiber, &o->object_id));
  text[0] = '\0';
  if (s->table >= 0) spectra_text(f, s->table, 0, "OBJTYPE", text, sizeof text);
  set_type(o, text);
cleanup:
  syz_free(&loglam);
  return st;
}

bool sdss_plate_recognise(const syz_fits *f)
{
  double coeff;
  return syz_fits_get(f, 0)->naxis == 2 && syz_fits_key_real(f, 0, "COEFF0", &coeff);
}

syz_status sdss_plate_open(syz_spectra *s)
{
  syz_status st = SYZ_OK;
  syz_fits *f = s->file;
  double *loglam = NULL, coeff0 = 0, coeff1 = 0;
  int64_t plate = -1, mjd = -1;
  char text[24], zbest[1024];
  const char *path = syz_fits_path(f);
  SYZ_REQUIRE(syz_fits_key_real(f, 0, "COEFF0", &coeff0) && syz_fits_key_real(f, 0, "COEFF1", &coeff1) && coeff0 > 2 &&
                  coeff0 < 6 && coeff1 > 0 && coeff1 < 0.01,
              SYZ_ERR_DATA, "%s: COEFF0 %g, COEFF1 %g do not give log-linear wavelengths", path, coeff0, coeff1);
  SYZ_TRY(spectra_check_unit(f, 0));
  SYZ_REQUIRE(syz_fits_count(f) >= 6, SYZ_ERR_DATA, "%s: %d HDUs, an spPlate file has at least 6", path,
              syz_fits_count(f));
  const syz_fits_hdu *image = syz_fits_get(f, 0), *ivar = syz_fits_get(f, 1), *map = syz_fits_get(f, 5);
  SYZ_REQUIRE(image->naxis == 2 && ivar->naxis == 2 && image->shape[0] == ivar->shape[0] &&
                  image->shape[1] == ivar->shape[1],
              SYZ_ERR_DATA, "%s: flux and ivar have different shapes", path);
  s->n = image->shape[0];
  s->pixels = image->shape[1];
  SYZ_REQUIRE(s->pixels >= 2 && s->pixels <= SDSS_PIXELS_MAX && coeff0 + coeff1 * (double)s->pixels < 6, SYZ_ERR_DATA,
              "%s: %lld pixels", path, (long long)s->pixels);
  SYZ_REQUIRE(map->kind == SYZ_FITS_TABLE && map->rows == s->n, SYZ_ERR_DATA, "%s[HDU 5]: not a plugmap of %lld rows",
              path, (long long)s->n);
  SYZ_TRY(syz_fits_require(f, 5, "FIBERID"));
  s->table = 5;
  SYZ_REQUIRE(syz_fits_key_int(f, 0, "PLATEID", &plate) && syz_fits_key_int(f, 0, "MJD", &mjd), SYZ_ERR_DATA,
              "%s: PLATEID or MJD is missing", path);
  SYZ_ALLOC(s->wave_A, "wavelengths", s->pixels);
  SYZ_ALLOC(loglam, "wavelengths", s->pixels);
  for (int64_t i = 0; i < s->pixels; i++) loglam[i] = coeff0 + coeff1 * (double)i;
  set_wave(s, loglam, is_in_air(s));
  SYZ_ALLOC(s->info, "spectrum table", s->n + 1);
  SYZ_ALLOC(s->row, "spectrum table", s->n + 1);
  SYZ_ALLOC(s->row_start, "spectrum table", s->n + 1);

  /* spPlate-PPPP-MMMMM.fits -> spZbest-PPPP-MMMMM.fits: rows by FIBERID. */
  const char *name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
  if (!strncmp(name, "spPlate", 7) && strlen(path) < sizeof zbest) {
    snprintf(zbest, sizeof zbest, "%.*sspZbest%s", (int)(name - path), path, name + 7);
    if (access(zbest, R_OK) == 0) {
      SYZ_TRY(syz_fits_open(zbest, s->options.verify, &s->redshift_file));
      s->redshift_table = 1;
      SYZ_REQUIRE(syz_fits_count(s->redshift_file) > 1 && syz_fits_get(s->redshift_file, 1)->kind == SYZ_FITS_TABLE,
                  SYZ_ERR_DATA, "%s: HDU 1 is not a table", zbest);
      SYZ_TRY(syz_fits_require(s->redshift_file, 1, "FIBERID,Z,ZWARNING,CLASS"));
      SYZ_ALLOC(s->redshift_row, "redshift rows", s->n + 1);
    }
  }
  for (int64_t i = 0; i < s->n; i++) {
    syz_spectrum_info *o = &s->info[i];
    s->row[i] = i;
    s->row_start[i + 1] = i + 1;
    int64_t fiber = whole(spectra_number(f, 5, i, "FIBERID"));
    SYZ_TRY(identify(s, plate, mjd, fiber, &o->object_id));
    o->ra = spectra_number(f, 5, i, "RA");
    o->dec = spectra_number(f, 5, i, "DEC");
    o->redshift = (double)NAN;
    o->zwarn = o->fiberstatus = -1;
    o->exposures = 1;
    if (s->redshift_file) {
      s->redshift_row[i] = -1;
      int64_t rows = syz_fits_get(s->redshift_file, 1)->rows;
      for (int64_t k = 0; k < rows; k++) {
        int64_t r = (i + k) % rows; /* rows are usually in the same order */
        if (whole(spectra_number(s->redshift_file, 1, r, "FIBERID")) != fiber) continue;
        s->redshift_row[i] = r;
        o->redshift = spectra_number(s->redshift_file, 1, r, "Z");
        o->zwarn = whole(spectra_number(s->redshift_file, 1, r, "ZWARNING"));
        spectra_text(s->redshift_file, 1, r, "CLASS", o->spectype, sizeof o->spectype);
        break;
      }
    }
    spectra_text(f, 5, i, "OBJTYPE", text, sizeof text);
    set_type(o, text);
  }
cleanup:
  syz_free(&loglam);
  return st;
}

/* Flux and inverse variance of the pixels of the only spectrum, those with a masked bit at ivar 0. */
static syz_status spec_pixels(syz_spectra *s, double *in, double *in_ivar)
{
  syz_status st = SYZ_OK;
  syz_fits *f = s->file;
  int64_t *mask = NULL, n = s->pixels;
  SYZ_TRY(syz_fits_column_f64(f, 1, syz_fits_field_find(f, 1, "flux"), 0, 0, n, in));
  SYZ_TRY(syz_fits_column_f64(f, 1, syz_fits_field_find(f, 1, "ivar"), 0, 0, n, in_ivar));
  int column = syz_fits_field_find(f, 1, "and_mask");
  if (s->options.mask_bits && column >= 0) {
    SYZ_ALLOC(mask, "SDSS mask", n);
    SYZ_TRY(syz_fits_column_i64(f, 1, column, 0, 0, n, mask));
    for (int64_t p = 0; p < n; p++)
      if ((uint32_t)mask[p] & s->options.mask_bits) in_ivar[p] = 0;
  }
cleanup:
  syz_free(&mask);
  return st;
}

/* The same for spectrum i of a plate. */
static syz_status plate_pixels(syz_spectra *s, int64_t i, double *in, double *in_ivar)
{
  syz_status st = SYZ_OK;
  syz_fits *f = s->file;
  uint32_t *mask = NULL;
  const int64_t n = s->pixels;
  SYZ_TRY(syz_fits_read_f64(f, 0, i * n, n, in));
  SYZ_TRY(syz_fits_read_f64(f, 1, i * n, n, in_ivar));
  if (s->options.mask_bits && syz_fits_get(f, 2)->pixels == s->n * n) {
    SYZ_ALLOC(mask, "SDSS mask", n);
    SYZ_TRY(syz_fits_read_u32(f, 2, i * n, n, mask));
    for (int64_t p = 0; p < n; p++)
      if (mask[p] & s->options.mask_bits) in_ivar[p] = 0;
  }
cleanup:
  syz_free(&mask);
  return st;
}

static syz_status read_spectrum(syz_spectra *s, bool is_plate, int64_t i, float *flux, float *ivar)
{
  syz_status st = SYZ_OK;
  double *in = NULL, *in_ivar = NULL;
  char what[256];
  int64_t n = s->pixels;
  SYZ_ALLOC(in, "SDSS spectrum", n);
  SYZ_ALLOC(in_ivar, "SDSS spectrum", n);
  SYZ_TRY(is_plate ? plate_pixels(s, i, in, in_ivar) : spec_pixels(s, in, in_ivar));
  snprintf(what, sizeof what, "%.180s: object %lld", syz_fits_path(s->file), (long long)s->info[i].object_id);
  /* A pixel with an inverse variance but without a value makes the whole object bad, so this is an error and not a
   * masked pixel. */
  for (int64_t p = 0; p < n; p++)
    SYZ_REQUIRE(isfinite(in[p]) || !(in_ivar[p] > 0), SYZ_ERR_DATA, "%s: flux is not finite at %.1f A where ivar > 0",
                what, s->wave_A[p]);
  SYZ_TRY(syz_spectrum_resample(n, s->wave_A, in, in_ivar, what, flux, ivar));
cleanup:
  syz_free(&in);
  syz_free(&in_ivar);
  return st;
}

syz_status sdss_spec_read(syz_spectra *s, int64_t i, float *flux, float *ivar)
{
  return read_spectrum(s, false, i, flux, ivar);
}
syz_status sdss_plate_read(syz_spectra *s, int64_t i, float *flux, float *ivar)
{
  return read_spectrum(s, true, i, flux, ivar);
}
