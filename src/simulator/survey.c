/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One brick of the simulated sky in the files of the real surveys, so that `ingest` can be tested from end to end.
 *
 *   legacy/coadd/<AAA>/<brick>/legacysurvey-<brick>-{image,invvar}-{g,r,z}.fits.fz   3600 x 3600, Rice, pixels in HDU 1
 *   legacy/tractor/<AAA>/tractor-<brick>.fits
 *   desi/tiles/cumulative/<brickid>/20260101/{coadd,redrock}-0-<brickid>-thru20260101.fits   one tile per brick
 *   truth/truth-<brick>.fits                                                                 every label, row by row
 *
 * Stamps are adjacent in the brick, 23 per row, so a cutout around a catalogue position is the simulated stamp; between
 * and beyond them invvar is 0. Formats: src/sky/README.md "DESI spectra", "Legacy Surveys images".
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "simulator.h"
#include "syzygy/files.h"

enum { STAMP_PIXELS = SYZ_IMAGE_SIZE * SYZ_IMAGE_SIZE, DIAGONALS = 11, NIGHT = 20260101 };

typedef struct brick {
  int64_t n;
  syz_sim_object *object; /* [n] */
  float *image;           /* [n, 3, 152, 152] */
  float *flux, *ivar;     /* [n, 7958] */
  const char *folder;
  syz_survey_files *files; /* collects the names of written files; NULL: not wanted */
} brick;

static void brick_free(brick *b)
{
  syz_free(&b->object);
  syz_free(&b->image);
  syz_free(&b->flux);
  syz_free(&b->ivar);
}

static syz_status brick_make(syz_simulator *s, int64_t first, int64_t n, const char *folder, brick *b)
{
  syz_status st = SYZ_OK;
  *b = (brick){.n = n, .folder = folder};
  SYZ_ALLOC(b->object, "brick objects", n);
  SYZ_ALLOC(b->image, "brick stamps", n * SYZ_BANDS * STAMP_PIXELS);
  SYZ_ALLOC(b->flux, "brick spectra", n * SYZ_ARM_PIXELS);
  SYZ_ALLOC(b->ivar, "brick spectra", n * SYZ_ARM_PIXELS);
  for (int64_t i = 0; i < n; i++) {
    syz_sim_object *o = &b->object[i];
    o->image = b->image + i * SYZ_BANDS * STAMP_PIXELS;
    o->arm_flux = b->flux + i * SYZ_ARM_PIXELS;
    o->arm_ivar = b->ivar + i * SYZ_ARM_PIXELS;
    syz_simulator_make(s, first + i, o);
  }
cleanup:
  return st;
}

/* Makes "<folder>/<middle>" and puts "<folder>/<middle>/<name>" into path. */
static syz_status make_path(const brick *b, char *path, size_t room, const char *middle, const char *name)
{
  syz_status st = SYZ_OK;
  const char *folder = b->folder;
  int used = snprintf(path, room, "%s/%s", folder, middle);
  SYZ_REQUIRE(used > 0 && (size_t)used + strlen(name) + 2 < room, SYZ_ERR_WRITE, "%s: folder name too long", folder);
  if (b->files) {
    SYZ_ASSERT(b->files->n < (int)(sizeof b->files->name / sizeof *b->files->name));
    char *kept = b->files->name[b->files->n++];
    SYZ_REQUIRE(snprintf(kept, sizeof *b->files->name, "%s/%s", middle, name) < (int)sizeof *b->files->name,
                SYZ_ERR_WRITE, "%s: name too long", name);
  }
  SYZ_TRY(syz_make_own_folder(folder, middle));
  snprintf(path + used, room - (size_t)used, "/%s", name);
cleanup:
  return st;
}

/* ---------------------------------------------------------------- images */

static syz_status write_image(const brick *b, int band, bool is_invvar, float *pixels)
{
  syz_status st = SYZ_OK;
  const syz_sim_object *first = &b->object[0];
  const int64_t shape[2] = {SYZ_BRICK_SIZE, SYZ_BRICK_SIZE};
  const char letter[2] = {"grz"[band], 0}, *kind = is_invvar ? "invvar" : "image";
  char path[4096], middle[64], name[96], extname[16];
  syz_fits_card cards[32];
  syz_fits_out *out = NULL;
  memset(pixels, 0, sizeof(float) * SYZ_BRICK_SIZE * SYZ_BRICK_SIZE);
  for (int64_t i = 0; i < b->n; i++) {
    const syz_sim_object *o = &b->object[i];
    const float *in = b->image + (i * SYZ_BANDS + band) * STAMP_PIXELS;
    float sigma = o->label[SYZ_SIM_noise_g + band], invvar = 1.0f / (sigma * sigma);
    for (int y = 0; y < SYZ_IMAGE_SIZE; y++) {
      float *row = pixels + (size_t)(o->brick_y + y) * SYZ_BRICK_SIZE + o->brick_x;
      for (int x = 0; x < SYZ_IMAGE_SIZE; x++) row[x] = is_invvar ? invvar : in[y * SYZ_IMAGE_SIZE + x];
    }
  }
  snprintf(middle, sizeof middle, "legacy/coadd/%.3s/%s", first->brick_name, first->brick_name);
  snprintf(name, sizeof name, "legacysurvey-%s-%s-%s.fits.fz", first->brick_name, kind, letter);
  snprintf(extname, sizeof extname, "%s_%s", is_invvar ? "INVVAR" : "IMAGE", letter);
  SYZ_TRY(make_path(b, path, sizeof path, middle, name));
  int n = syz_wcs_tan_cards(first->brick_ra, first->brick_dec, 0.5 * (SYZ_BRICK_SIZE - 1), 0.5 * (SYZ_BRICK_SIZE - 1),
                            SYZ_PIXEL_ARCSEC, cards);
  cards[n++] =
      SYZ_CARD_TEXT("BUNIT", is_invvar ? "1/nanomaggy^2" : "nanomaggy", "AB mag = 22.5 - 2.5*log10(nanomaggy)");
  cards[n++] = SYZ_CARD_REAL("MAGZERO", 22.5, "magnitude zero point");
  cards[n++] = SYZ_CARD_TEXT("FILTER", letter, "band of this image");
  cards[n++] = SYZ_CARD_TEXT("BRICKNAM", first->brick_name, "brick");
  cards[n++] = SYZ_CARD_INT("BRICKID", first->brick_id, "brick number");
  cards[n++] = SYZ_CARD_TEXT("IMTYPE", kind, "product");
  cards[n++] = SYZ_CARD_TEXT("SURVEY", "SIMULATED", "not an observation");
  SYZ_TRY(syz_fits_create(path, &out));
  SYZ_TRY(syz_fits_out_image(out, extname, -32, 2, shape, pixels, is_invvar ? SYZ_FITS_RICE : SYZ_FITS_RICE_DITHER,
                             cards, n));
  SYZ_TRY(syz_fits_out_finish(&out));
cleanup:
  syz_fits_out_destroy(&out);
  return st;
}

/* ---------------------------------------------------------------- tables */

/* Columns of one table, filled from the objects: at most COLUMN_BYTES per item, all arrays in one block. */
enum { COLUMNS_MAX = 64, TEXT_MAX = 20 };
typedef struct table {
  syz_fits_column column[COLUMNS_MAX];
  void *data[COLUMNS_MAX];
  int n;
  int64_t rows;
} table;

static void table_free(table *t)
{
  for (int i = 0; i < t->n; i++) syz_free(&t->data[i]);
  t->n = 0;
}

/* Adds a column; returns its array, NULL without memory. */
static void *add_column(table *t, const char *name, char type, int64_t repeat, const char *unit)
{
  size_t size = type == 'D' || type == 'K' ? 8 : type == 'E' || type == 'J' ? 4 : type == 'I' ? 2 : 1;
  SYZ_ASSERT(t->n < COLUMNS_MAX);
  void *data = syz_alloc("survey column", (size_t)(t->rows * repeat), size);
  t->column[t->n] = (syz_fits_column){name, type, repeat, unit, NULL, data};
  t->data[t->n] = data;
  if (data) t->n++;
  return data;
}

#define COLUMN(type, variable, t, name, letter, repeat, unit)                                                          \
  type *variable = add_column((t), (name), (letter), (repeat), (unit));                                                \
  if (!variable) {                                                                                                     \
    st = syz_error_pass(SYZ_ERR_MEMORY, __FILE__, __LINE__);                                                           \
    goto cleanup;                                                                                                      \
  }

static syz_status add_constant(table *t, const char *name, char type, double value, const char *unit)
{
  syz_status st = SYZ_OK;
  COLUMN(void, data, t, name, type, 1, unit)
  for (int64_t i = 0; i < t->rows; i++) {
    if (type == 'D')
      ((double *)data)[i] = value;
    else if (type == 'E')
      ((float *)data)[i] = (float)value;
    else if (type == 'K')
      ((int64_t *)data)[i] = (int64_t)value;
    else if (type == 'J')
      ((int32_t *)data)[i] = (int32_t)value;
    else if (type == 'I')
      ((int16_t *)data)[i] = (int16_t)value;
    else
      ((uint8_t *)data)[i] = (uint8_t)value;
  }
cleanup:
  return st;
}

static syz_status add_text(table *t, const char *name, int width, const char *text)
{
  syz_status st = SYZ_OK;
  COLUMN(char, data, t, name, 'A', width, NULL)
  for (int64_t i = 0; i < t->rows; i++)
    for (size_t k = 0; k < (size_t)width && text[k]; k++) data[i * width + (int64_t)k] = text[k];
cleanup:
  return st;
}

static syz_status add_ids(table *t, const brick *b, const char *name)
{
  syz_status st = SYZ_OK;
  COLUMN(int64_t, id, t, name, 'K', 1, NULL)
  for (int64_t i = 0; i < b->n; i++) id[i] = b->object[i].object_id;
cleanup:
  return st;
}

static syz_status add_position(table *t, const brick *b, const char *ra_name, const char *dec_name)
{
  syz_status st = SYZ_OK;
  COLUMN(double, ra, t, ra_name, 'D', 1, "deg")
  COLUMN(double, dec, t, dec_name, 'D', 1, "deg")
  for (int64_t i = 0; i < b->n; i++) ra[i] = b->object[i].ra, dec[i] = b->object[i].dec;
cleanup:
  return st;
}

static syz_status add_label(table *t, const brick *b, const char *name, int label, const char *unit)
{
  syz_status st = SYZ_OK;
  COLUMN(float, x, t, name, 'E', 1, unit)
  for (int64_t i = 0; i < b->n; i++) x[i] = b->object[i].label[label];
cleanup:
  return st;
}

/* Brick, number, fluxes and shape, named as Tractor (lower case) or DESI's fibermap (upper case) do. */
static syz_status add_photometry(table *t, const brick *b, bool is_desi)
{
  static const char *const flux_name[2][3] = {{"flux_g", "flux_r", "flux_z"}, {"FLUX_G", "FLUX_R", "FLUX_Z"}};
  static const char *const ivar_name[2][3] = {{"flux_ivar_g", "flux_ivar_r", "flux_ivar_z"},
                                              {"FLUX_IVAR_G", "FLUX_IVAR_R", "FLUX_IVAR_Z"}};
  syz_status st = SYZ_OK;
  int u = is_desi;
  SYZ_TRY(add_constant(t, u ? "RELEASE" : "release", 'I', 9010, NULL));
  SYZ_TRY(add_constant(t, u ? "BRICKID" : "brickid", 'J', b->object[0].brick_id, NULL));
  SYZ_TRY(add_text(t, u ? "BRICKNAME" : "brickname", 8, b->object[0].brick_name));
  COLUMN(int32_t, number, t, u ? "BRICK_OBJID" : "objid", 'J', 1, NULL)
  for (int64_t i = 0; i < b->n; i++) number[i] = b->object[i].cell + 1;
  SYZ_TRY(add_constant(t, u ? "MASKBITS" : "maskbits", 'I', 0, NULL));
  SYZ_TRY(add_text(t, u ? "MORPHTYPE" : "type", u ? 4 : 3, "SER"));
  SYZ_TRY(add_constant(t, u ? "EBV" : "ebv", 'E', 0.0, "mag"));
  for (int band = 0; band < SYZ_BANDS; band++) {
    COLUMN(float, flux, t, flux_name[u][band], 'E', 1, "nanomaggy")
    COLUMN(float, ivar, t, ivar_name[u][band], 'E', 1, "1/nanomaggy^2")
    for (int64_t i = 0; i < b->n; i++) {
      const float *l = b->object[i].label;
      /* Sky noise under a Gaussian aperture of the seeing and the galaxy: 4 pi sigma^2 pixels. */
      double s2 = (pow(l[SYZ_SIM_psf_fwhm_g + band] / 2.3548, 2.0) + pow(l[SYZ_SIM_half_light_radius] / 1.1774, 2.0)) /
                  (SYZ_PIXEL_ARCSEC * SYZ_PIXEL_ARCSEC);
      double noise = l[SYZ_SIM_noise_g + band];
      flux[i] = (float)b->object[i].flux[band];
      ivar[i] = (float)(1.0 / (4.0 * SYZ_PI * s2 * noise * noise));
    }
  }
  SYZ_TRY(add_label(t, b, u ? "SERSIC" : "sersic", SYZ_SIM_sersic_n, NULL));
  SYZ_TRY(add_label(t, b, u ? "SHAPE_R" : "shape_r", SYZ_SIM_half_light_radius, "arcsec"));
  COLUMN(float, e1, t, u ? "SHAPE_E1" : "shape_e1", 'E', 1, NULL)
  COLUMN(float, e2, t, u ? "SHAPE_E2" : "shape_e2", 'E', 1, NULL)
  for (int64_t i = 0; i < b->n; i++) {
    const float *l = b->object[i].label;
    double c = cos(l[SYZ_SIM_inclination] * SYZ_PI / 180.0), q = sqrt(c * c * 0.96 + 0.04), e = (1.0 - q) / (1.0 + q);
    double angle = 2.0 * l[SYZ_SIM_position_angle] * SYZ_PI / 180.0;
    e1[i] = (float)(e * cos(angle));
    e2[i] = (float)(e * sin(angle));
  }
cleanup:
  return st;
}

static syz_status write_tractor(const brick *b)
{
  syz_status st = SYZ_OK;
  table t = {.rows = b->n};
  syz_fits_out *out = NULL;
  char path[4096], middle[64], name[64];
  const char *brick_name = b->object[0].brick_name;
  SYZ_TRY(add_photometry(&t, b, false));
  SYZ_TRY(add_constant(&t, "brick_primary", 'L', 1, NULL));
  SYZ_TRY(add_position(&t, b, "ra", "dec"));
  COLUMN(float, bx, &t, "bx", 'E', 1, "pix")
  COLUMN(float, by, &t, "by", 'E', 1, "pix")
  for (int64_t i = 0; i < b->n; i++) {
    bx[i] = (float)(b->object[i].brick_x + b->object[i].x);
    by[i] = (float)(b->object[i].brick_y + b->object[i].y);
  }
  static const char *const nobs[3] = {"nobs_g", "nobs_r", "nobs_z"}, *const size[3] = {"psfsize_g", "psfsize_r",
                                                                                       "psfsize_z"};
  static const char *const transmission[3] = {"mw_transmission_g", "mw_transmission_r", "mw_transmission_z"};
  for (int band = 0; band < SYZ_BANDS; band++) {
    SYZ_TRY(add_constant(&t, nobs[band], 'I', 3, NULL));
    SYZ_TRY(add_constant(&t, transmission[band], 'E', 1.0, NULL));
    SYZ_TRY(add_label(&t, b, size[band], SYZ_SIM_psf_fwhm_g + band, "arcsec"));
  }
  snprintf(middle, sizeof middle, "legacy/tractor/%.3s", brick_name);
  snprintf(name, sizeof name, "tractor-%s.fits", brick_name);
  SYZ_TRY(make_path(b, path, sizeof path, middle, name));
  SYZ_TRY(syz_fits_create(path, &out));
  SYZ_TRY(syz_fits_out_table(out, "", t.rows, t.column, t.n, NULL, 0));
  SYZ_TRY(syz_fits_out_finish(&out));
cleanup:
  syz_fits_out_destroy(&out);
  table_free(&t);
  return st;
}

static syz_status write_truth(const brick *b)
{
  syz_status st = SYZ_OK;
  table t = {.rows = b->n};
  syz_fits_out *out = NULL;
  char path[4096], name[64];
  SYZ_TRY(add_ids(&t, b, "TARGETID"));
  SYZ_TRY(add_position(&t, b, "RA", "DEC"));
  for (int l = 0; l < SYZ_SIM_LABEL_COUNT; l++)
    SYZ_TRY(add_label(&t, b, syz_sim_label_name(l), l, *syz_sim_label_unit(l) ? syz_sim_label_unit(l) : NULL));
  snprintf(name, sizeof name, "truth-%s.fits", b->object[0].brick_name);
  SYZ_TRY(make_path(b, path, sizeof path, "truth", name));
  SYZ_TRY(syz_fits_create(path, &out));
  SYZ_TRY(syz_fits_out_table(out, "TRUTH", t.rows, t.column, t.n, NULL, 0));
  SYZ_TRY(syz_fits_out_finish(&out));
cleanup:
  syz_fits_out_destroy(&out);
  table_free(&t);
  return st;
}

/* ------------------------------------------------------------------ DESI */

static syz_status put_fibermap(syz_fits_out *out, const brick *b)
{
  syz_status st = SYZ_OK;
  table t = {.rows = b->n};
  SYZ_TRY(add_ids(&t, b, "TARGETID"));
  SYZ_TRY(add_constant(&t, "COADD_FIBERSTATUS", 'J', 0, NULL));
  SYZ_TRY(add_position(&t, b, "TARGET_RA", "TARGET_DEC"));
  SYZ_TRY(add_text(&t, "OBJTYPE", 3, "TGT"));
  SYZ_TRY(add_photometry(&t, b, true));
  SYZ_TRY(add_text(&t, "PHOTSYS", 1, "S"));
  SYZ_TRY(add_constant(&t, "DESI_TARGET", 'K', 1152921504606846976.0, NULL)); /* bit 60: BGS_ANY */
  SYZ_TRY(add_constant(&t, "BGS_TARGET", 'K', 2.0, NULL));                    /* bit 1: BGS_BRIGHT */
  SYZ_TRY(add_constant(&t, "COADD_NUMEXP", 'I', 1, NULL));
  SYZ_TRY(add_constant(&t, "COADD_EXPTIME", 'E', 600.0, "s"));
  SYZ_TRY(syz_fits_out_table(out, "FIBERMAP", t.rows, t.column, t.n, NULL, 0));
cleanup:
  table_free(&t);
  return st;
}

static syz_status put_exposures(syz_fits_out *out, const brick *b)
{
  syz_status st = SYZ_OK;
  table t = {.rows = b->n};
  SYZ_TRY(add_ids(&t, b, "TARGETID"));
  SYZ_TRY(add_constant(&t, "EXPID", 'J', 1, NULL));
  SYZ_TRY(add_constant(&t, "NIGHT", 'J', NIGHT, NULL));
  SYZ_TRY(add_constant(&t, "TILEID", 'J', b->object[0].brick_id, NULL));
  SYZ_TRY(add_constant(&t, "FIBERSTATUS", 'J', 0, NULL));
  SYZ_TRY(syz_fits_out_table(out, "EXP_FIBERMAP", t.rows, t.column, t.n, NULL, 0));
cleanup:
  table_free(&t);
  return st;
}

/* An arm: wavelengths, flux, ivar, mask, resolution (offsets 5 .. -5 of a Gaussian line spread, integrated over
 * pixels). */
static syz_status put_arm(syz_fits_out *out, const brick *b, int arm)
{
  syz_status st = SYZ_OK;
  const char letter = "BRZ"[arm];
  int64_t n = syz_arm_count[arm], start = arm == 0   ? 0
                                          : arm == 1 ? syz_arm_count[0]
                                                     : syz_arm_count[0] + syz_arm_count[1];
  const int64_t line[1] = {n}, plane[2] = {b->n, n}, cube[3] = {b->n, DIAGONALS, n};
  const syz_fits_card flux_unit = SYZ_CARD_TEXT("BUNIT", "10**-17 erg/(s cm2 Angstrom)", NULL),
                      wave_unit = SYZ_CARD_TEXT("BUNIT", "Angstrom", NULL);
  const syz_fits_card ivar_unit = SYZ_CARD_TEXT("BUNIT", "10**+34 (s2 cm4 Angstrom2) / erg2", NULL);
  double *wave = NULL;
  float *x = NULL, *resolution = NULL;
  int32_t *mask = NULL;
  char name[32];
  SYZ_ALLOC(wave, "arm wavelengths", n);
  SYZ_ALLOC(x, "arm pixels", b->n * n);
  SYZ_ALLOC(mask, "arm mask", b->n * n);
  SYZ_ALLOC(resolution, "arm resolution", b->n * DIAGONALS * n);
  for (int64_t i = 0; i < n; i++) wave[i] = syz_wave_grid(syz_arm_first[arm] + i);
  snprintf(name, sizeof name, "%c_WAVELENGTH", letter);
  SYZ_TRY(syz_fits_out_image(out, name, -64, 1, line, wave, SYZ_FITS_PLAIN, &wave_unit, 1));
  for (int64_t o = 0; o < b->n; o++) memcpy(x + o * n, b->flux + o * SYZ_ARM_PIXELS + start, sizeof(float) * (size_t)n);
  snprintf(name, sizeof name, "%c_FLUX", letter);
  SYZ_TRY(syz_fits_out_image(out, name, -32, 2, plane, x, SYZ_FITS_PLAIN, &flux_unit, 1));
  for (int64_t o = 0; o < b->n; o++)
    for (int64_t i = 0; i < n; i++) {
      x[o * n + i] = b->ivar[o * SYZ_ARM_PIXELS + start + i];
      mask[o * n + i] = x[o * n + i] > 0.0f ? 0 : 4; /* bit 2: COSMIC */
    }
  snprintf(name, sizeof name, "%c_IVAR", letter);
  SYZ_TRY(syz_fits_out_image(out, name, -32, 2, plane, x, SYZ_FITS_PLAIN, &ivar_unit, 1));
  snprintf(name, sizeof name, "%c_MASK", letter);
  SYZ_TRY(syz_fits_out_image(out, name, 32, 2, plane, mask, SYZ_FITS_GZIP, NULL, 0));
  const double sigma = 0.76 / SYZ_WAVE_STEP_A; /* pixels, as in spectrum.c */
  for (int64_t o = 0; o < b->n; o++)
    for (int d = 0; d < DIAGONALS; d++) {
      double offset = DIAGONALS / 2 - d, share = 0.5 * (erf((offset + 0.5) / (sigma * 1.4142135623730951)) -
                                                        erf((offset - 0.5) / (sigma * 1.4142135623730951)));
      float *row = resolution + (o * DIAGONALS + d) * n;
      for (int64_t i = 0; i < n; i++) row[i] = (float)share;
    }
  snprintf(name, sizeof name, "%c_RESOLUTION", letter);
  SYZ_TRY(syz_fits_out_image(out, name, -32, 3, cube, resolution, SYZ_FITS_GZIP, NULL, 0));
cleanup:
  syz_free(&wave);
  syz_free(&x);
  syz_free(&mask);
  syz_free(&resolution);
  return st;
}

static syz_status desi_path(const brick *b, const char *kind, char *path, size_t room)
{
  char middle[96], name[96];
  snprintf(middle, sizeof middle, "desi/tiles/cumulative/%d/%d", (int)b->object[0].brick_id, NIGHT);
  snprintf(name, sizeof name, "%s-0-%d-thru%d.fits", kind, (int)b->object[0].brick_id, NIGHT);
  return make_path(b, path, room, middle, name);
}

static syz_status write_coadd(const brick *b)
{
  syz_status st = SYZ_OK;
  syz_fits_out *out = NULL;
  char path[4096];
  const syz_fits_card cards[] = {SYZ_CARD_TEXT("SPGRP", "cumulative", "spectral grouping"),
                                 SYZ_CARD_INT("SPGRPVAL", NIGHT, "last night"),
                                 SYZ_CARD_INT("TILEID", b->object[0].brick_id, "the brick's number"),
                                 SYZ_CARD_INT("PETAL", 0, "spectrograph"),
                                 SYZ_CARD_TEXT("SURVEY", "main", NULL),
                                 SYZ_CARD_TEXT("PROGRAM", "bright", NULL),
                                 SYZ_CARD_BOOL("SIMULATE", true, "not an observation")};
  SYZ_TRY(desi_path(b, "coadd", path, sizeof path));
  SYZ_TRY(syz_fits_create(path, &out));
  SYZ_TRY(syz_fits_out_primary(out, cards, (int)(sizeof cards / sizeof cards[0])));
  SYZ_TRY(put_fibermap(out, b));
  SYZ_TRY(put_exposures(out, b));
  for (int arm = 0; arm < SYZ_ARMS; arm++) SYZ_TRY(put_arm(out, b, arm));
  SYZ_TRY(syz_fits_out_finish(&out));
cleanup:
  syz_fits_out_destroy(&out);
  return st;
}

static syz_status put_redshifts(syz_fits_out *out, const brick *b)
{
  syz_status st = SYZ_OK;
  table t = {.rows = b->n};
  SYZ_TRY(add_ids(&t, b, "TARGETID"));
  SYZ_TRY(add_constant(&t, "CHI2", 'D', SYZ_ARM_PIXELS, NULL));
  COLUMN(double, coeff, &t, "COEFF", 'D', 10, NULL)
  COLUMN(double, z, &t, "Z", 'D', 1, NULL)
  for (int64_t i = 0; i < b->n; i++) {
    z[i] = b->object[i].label[SYZ_SIM_redshift];
    coeff[10 * i] = 1.0;
  }
  SYZ_TRY(add_constant(&t, "ZERR", 'D', 1.0e-5, NULL));
  SYZ_TRY(add_constant(&t, "ZWARN", 'K', 0, NULL));
  SYZ_TRY(add_constant(&t, "NPIXELS", 'K', SYZ_ARM_PIXELS, NULL));
  SYZ_TRY(add_text(&t, "SPECTYPE", 6, "GALAXY"));
  SYZ_TRY(add_text(&t, "SUBTYPE", TEXT_MAX, ""));
  SYZ_TRY(add_constant(&t, "NCOEFF", 'K', 10, NULL));
  SYZ_TRY(add_constant(&t, "DELTACHI2", 'D', 1000.0, NULL));
  SYZ_TRY(syz_fits_out_table(out, "REDSHIFTS", t.rows, t.column, t.n, NULL, 0));
cleanup:
  table_free(&t);
  return st;
}

static syz_status write_redrock(const brick *b)
{
  syz_status st = SYZ_OK;
  syz_fits_out *out = NULL;
  table depth = {.rows = b->n};
  char path[4096];
  SYZ_TRY(desi_path(b, "redrock", path, sizeof path));
  SYZ_TRY(syz_fits_create(path, &out));
  SYZ_TRY(put_redshifts(out, b));
  SYZ_TRY(put_fibermap(out, b));
  SYZ_TRY(put_exposures(out, b));
  SYZ_TRY(add_ids(&depth, b, "TARGETID"));
  SYZ_TRY(add_constant(&depth, "TSNR2_BGS", 'E', 1000.0, NULL));
  SYZ_TRY(syz_fits_out_table(out, "TSNR2", depth.rows, depth.column, depth.n, NULL, 0));
  SYZ_TRY(syz_fits_out_finish(&out));
cleanup:
  syz_fits_out_destroy(&out);
  table_free(&depth);
  return st;
}

syz_status syz_simulator_write_survey(syz_simulator *s, int64_t first, int64_t n, const char *folder,
                                      syz_survey_files *files)
{
  enum { CELLS = SYZ_BRICK_CELLS * SYZ_BRICK_CELLS };
  syz_status st = SYZ_OK;
  brick b = {0};
  float *pixels = NULL;
  SYZ_REQUIRE(first >= 0 && n > 0 && first / CELLS == (first + n - 1) / CELLS, SYZ_ERR_INPUT,
              "objects %lld to %lld are not in one brick", (long long)first, (long long)(first + n - 1));
  SYZ_TRY(brick_make(s, first, n, folder, &b));
  b.files = files;
  if (files) files->n = 0;
  SYZ_ALLOC(pixels, "brick image", SYZ_BRICK_SIZE * SYZ_BRICK_SIZE);
  for (int band = 0; band < SYZ_BANDS; band++)
    for (int is_invvar = 0; is_invvar < 2; is_invvar++) SYZ_TRY(write_image(&b, band, is_invvar == 1, pixels));
  SYZ_TRY(write_tractor(&b));
  SYZ_TRY(write_truth(&b));
  SYZ_TRY(write_coadd(&b));
  SYZ_TRY(write_redrock(&b));
cleanup:
  brick_free(&b);
  syz_free(&pixels);
  return st;
}
