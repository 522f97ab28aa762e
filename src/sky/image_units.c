/* SPDX-License-Identifier: BSD-3-Clause */
/** The meaning of an image's pixel values: the unit by BUNIT, MAGZERO or a table of zero points, and the pixel area
 * that a value refers to. */
#include "images.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* Zero point of a CCD image from a survey-ccds table: by file name and CCD name. */
static syz_status zero_point(const syz_fits *f, int hdu, const syz_images_options *options, double *factor)
{
  syz_status st = SYZ_OK;
  syz_fits *t = NULL;
  char name[256], ccd[72], want_ccd[72] = "", where[256];
  const char *own = image_base_name(syz_fits_path(f));
  SYZ_TRY(syz_fits_open(options->zero_points, options->verify, &t));
  SYZ_REQUIRE(syz_fits_count(t) > 1 && syz_fits_get(t, 1)->kind == SYZ_FITS_TABLE, SYZ_ERR_DATA,
              "%s: HDU 1 is not a table", options->zero_points);
  SYZ_TRY(syz_fits_require(t, 1, "image_filename,ccdname,ccdzpt,exptime"));
  snprintf(want_ccd, sizeof want_ccd, "%s", syz_fits_get(f, hdu)->name);
  for (int64_t r = 0; r < syz_fits_get(t, 1)->rows; r++) {
    double zpt = (double)NAN, exptime = (double)NAN;
    SYZ_TRY(syz_fits_column_text(t, 1, syz_fits_field_find(t, 1, "image_filename"), r, name, sizeof name));
    SYZ_TRY(syz_fits_column_text(t, 1, syz_fits_field_find(t, 1, "ccdname"), r, ccd, sizeof ccd));
    const char *a = image_base_name(name);
    size_t n = strcspn(a, "."); /* with or without .fz and .gz */
    if (n != strcspn(own, ".") || strncmp(a, own, n) != 0 || strcasecmp(ccd, want_ccd) != 0) continue;
    SYZ_TRY(syz_fits_column_f64(t, 1, syz_fits_field_find(t, 1, "ccdzpt"), 0, r, 1, &zpt));
    SYZ_TRY(syz_fits_column_f64(t, 1, syz_fits_field_find(t, 1, "exptime"), 0, r, 1, &exptime));
    SYZ_REQUIRE(zpt > 10 && zpt < 40 && exptime > 0 && exptime < 1e6, SYZ_ERR_DATA,
                "%s: row %lld: ccdzpt %g, exptime %g", options->zero_points, (long long)r, zpt, exptime);
    /* ccdzpt is the AB magnitude of 1 ADU/s (legacypipe survey.py); 22.5 that of a nanomaggy. */
    *factor = pow(10, 0.4 * (22.5 - zpt)) / exptime;
    goto cleanup;
  }
  SYZ_REQUIRE(false, SYZ_ERR_DATA, "%s: instrumental units, and %s has no row for this image and CCD '%s'",
              syz_fits_where(f, hdu, where), options->zero_points, want_ccd);
cleanup:
  syz_fits_close(&t);
  return st;
}

/*
 * The Legacy Survey viewer writes no BUNIT; its cutouts are recognised by their other keywords. Cutouts at another
 * scale were interpolated, so a value is still the flux per pixel of the layer's own scale: 0.262 arcsec, 0.396 in SDSS
 * layers. Source: legacysurvey/imagine, map/views.py (write_cutout, pixscale).
 */
static double viewer_pixel_arcsec(const syz_fits *f, int hdu)
{
  int64_t whole;
  double width;
  char text[72];
  if (!syz_fits_key_int(f, hdu, "IMAGEW", &whole) && !syz_fits_key_real(f, hdu, "IMAGEW", &width)) return 0;
  if (!syz_fits_key_text(f, hdu, "BANDS", text, sizeof text) && !syz_fits_key_text(f, hdu, "BAND", text, sizeof text) &&
      !syz_fits_key_text(f, hdu, "BAND0", text, sizeof text))
    return 0;
  bool is_sdss = (syz_fits_key_text(f, hdu, "SURVEY", text, sizeof text) ||
                  syz_fits_key_text(f, 0, "SURVEY", text, sizeof text)) &&
                 !strncasecmp(text, "SDSS", 4);
  return is_sdss ? 0.396 : SYZ_PIXEL_ARCSEC;
}

syz_status image_unit_of_hdu(const syz_fits *f, int hdu, const syz_images_options *options, image_unit *u)
{
  syz_status st = SYZ_OK;
  char unit[72] = "", where[256];
  double zero = 0;
  *u = (image_unit){.factor = 1};
  bool has_zero = syz_fits_key_real(f, hdu, "MAGZERO", &zero) || syz_fits_key_real(f, 0, "MAGZERO", &zero);
  if (!syz_fits_key_text(f, hdu, "BUNIT", unit, sizeof unit) || !unit[0])
    syz_fits_key_text(f, 0, "BUNIT", unit, sizeof unit);
  double viewer_arcsec = !unit[0] && !has_zero ? viewer_pixel_arcsec(f, hdu) : 0;
  u->value_arcsec = options->value_per_pixel_arcsec > 0 ? options->value_per_pixel_arcsec : viewer_arcsec;
  if (!strcmp(options->unit, "nanomaggy")) return SYZ_OK;
  if (!strcmp(options->unit, "magzero")) {
    SYZ_REQUIRE(has_zero && zero > 0 && zero < 60, SYZ_ERR_DATA, "%s: no MAGZERO", syz_fits_where(f, hdu, where));
    u->factor = pow(10, 0.4 * (22.5 - zero));
    return SYZ_OK;
  }
  if (!strncasecmp(unit, "nanomagg", 8) || !strcasecmp(unit, "nmgy")) return SYZ_OK;
  if (!strncasecmp(unit, "magg", 4)) {
    u->factor = 1e9;
    return SYZ_OK;
  }
  bool is_instrumental = !strcasecmp(unit, "adu") || !strncasecmp(unit, "count", 5) ||
                         !strncasecmp(unit, "electron", 8) || !strcasecmp(unit, "dn");
  if (is_instrumental) {
    SYZ_REQUIRE(options->zero_points[0], SYZ_ERR_DATA,
                "%s: instrumental units (%s): give the survey-ccds table with zero points (ingest.zero_points), or "
                "ingest.unit: magzero",
                syz_fits_where(f, hdu, where), unit);
    u->has_sky = true;
    SYZ_TRY(zero_point(f, hdu, options, &u->factor));
    return SYZ_OK;
  }
  SYZ_REQUIRE(!unit[0], SYZ_ERR_DATA, "%s: BUNIT '%s' is not known; nanomaggy is needed", syz_fits_where(f, hdu, where),
              unit);
  if (has_zero && zero > 0 && zero < 60) {
    u->factor = pow(10, 0.4 * (22.5 - zero));
    return SYZ_OK;
  }
  SYZ_REQUIRE(viewer_arcsec > 0, SYZ_ERR_DATA, "%s: no unit (neither BUNIT nor MAGZERO): give it with ingest.unit",
              syz_fits_where(f, hdu, where));
cleanup:
  return st;
}
