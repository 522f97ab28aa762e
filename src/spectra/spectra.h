/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Private to this room. spectra.c has the table of formats, each with a file of its own (desi.c, sdss.c); their common
 * functions are in spectra_table.c. A new format is a row of that table, its functions, declared below, and its fields
 * in syz_spectra.
 */
#pragma once

#include "syzygy/spectra.h"

enum { DESI_ARMS = 4 };

typedef struct desi_arm {
  char letter[8];
  int flux, ivar, mask; /**< HDUs; mask -1 when absent */
  int64_t n;
  double *wave_A;
} desi_arm;

/** A format of files with spectra. */
typedef struct spectra_format {
  const char *name;
  bool (*recognise)(const syz_fits *f); /**< by the file's content */
  /** Reads objects, their rows and wavelengths. On entry s->file is open, `table` is -1, and everything else is zero.
   */
  syz_status (*open)(syz_spectra *s);
  syz_status (*read)(syz_spectra *s, int64_t i, float *flux, float *ivar); /**< as syz_spectra_read */
} spectra_format;

struct syz_spectra {
  const spectra_format *format;
  const char *kind; /**< the format's name, unless `open` sets another */
  syz_spectra_options options;
  syz_fits *file;
  int64_t n;
  syz_spectrum_info *info; /**< [n] */
  /* The object's own table and rows: FIBERMAP, specobj or plugmap. */
  int table;          /**< HDU, -1 = none */
  int64_t *row_start; /**< [n + 1] into row[]: an object's rows, the first one is its own */
  int64_t *row;
  /* A second file with redshifts (redrock, spZbest). */
  syz_fits *redshift_file;
  int redshift_table;
  int64_t *redshift_row; /**< [n], -1 = none */
  /* DESI */
  int n_arms;
  bool lacks_camera; /**< the arms do not cover the whole grid */
  desi_arm arm[DESI_ARMS];
  /* SDSS */
  int64_t pixels;
  double *wave_A;                                   /**< vacuum */
  float *flux_row, *ivar_row, *flux_sum, *ivar_sum; /**< scratch */
};

bool desi_recognise(const syz_fits *f);
syz_status desi_open(syz_spectra *s);
syz_status desi_read(syz_spectra *s, int64_t i, float *flux, float *ivar);
bool sdss_spec_recognise(const syz_fits *f);
syz_status sdss_spec_open(syz_spectra *s);
syz_status sdss_spec_read(syz_spectra *s, int64_t i, float *flux, float *ivar);
bool sdss_plate_recognise(const syz_fits *f);
syz_status sdss_plate_open(syz_spectra *s);
syz_status sdss_plate_read(syz_spectra *s, int64_t i, float *flux, float *ivar);

/** One arm of a spectrograph: n pixels of wave_A (vacuum). */
typedef struct syz_arm {
  int64_t n;
  const double *wave_A;
  const float *flux, *ivar;
} syz_arm;

/**
 * Join arms on the common grid, as desispec.coaddition.coadd_cameras does (src/sky/README.md "Joining the arms").
 *
 * Every pixel of every arm must lie on the common grid within 1e-4 Angstrom. Where no arm reaches (a camera is
 * missing), flux and ivar are 0. A pixel of one arm is copied (also its flux where ivar = 0); a shared one is flux =
 * sum ivar flux / sum ivar (0 where the sum is 0), ivar = sum ivar, summed in float64 in the order of the arms' mean
 * wavelength. flux, ivar [S]. SYZ_ERR_DATA with `what` in front otherwise.
 */
syz_status syz_spectrum_join(int n_arms, const syz_arm *arm, const char *what, float *flux, float *ivar);
/** Air to vacuum wavelength above 2000 Angstrom. Source: Ciddor 1996, Appl. Opt. 35, 1566; inverse by Morton 2000, ApJS
 * 130, 403 (as the VALD form). */
double syz_air_to_vacuum(double air_A);
/** What the file is: "DESI coadd", "DESI spectra" (exposures), "SDSS spec", "SDSS spPlate". */
const char *syz_spectra_kind(const syz_spectra *s);
/** The row that counts of each object, sorted by object_id, of a redshift catalogue that fits into memory; `primary` as
 * in syz_zcatalogue_open. *rows is the caller's (syz_free). */
syz_status syz_redshifts_read(const char *path, bool verify, const char *primary, int64_t *n, syz_redshift **rows);

/** One number of a table by column name; NaN when there is no such numeric column. */
double spectra_number(syz_fits *f, int hdu, int64_t row, const char *name);
/** One whole number of a table, exact in 64 bits; false when there is no such column. */
bool spectra_whole(syz_fits *f, int hdu, int64_t row, const char *name, int64_t *value);
/** Text of a table; "" when there is no such column. */
void spectra_text(syz_fits *f, int hdu, int64_t row, const char *name, char *text, size_t room);
/** Refuse a flux unit other than 1e-17 erg/s/cm2/Angstrom, in any notation; without BUNIT this unit is assumed. */
syz_status spectra_check_unit(const syz_fits *f, int hdu);
/** Whether `end` is the end of a longer text. */
bool spectra_ends_with(const char *text, const char *end);
