/* SPDX-License-Identifier: BSD-3-Clause */
/** Inside of the spectrum readers: what desi.c and sdss.c give to spectra.c. */
#pragma once

#include "syzygy/sky.h"

enum { DESI_ARMS = 4 };

typedef struct desi_arm {
  char letter[8];
  int flux, ivar, mask; /**< HDUs; mask -1 when absent */
  int64_t n;
  double *wave_A;
} desi_arm;

struct syz_spectra {
  syz_spectra_kind kind;
  syz_spectra_options options;
  syz_fits *file;
  int64_t n;
  syz_spectrum_info *info; /**< [n] */
  /* The object's own table and rows: FIBERMAP, specobj or plugmap. */
  int table;               /**< HDU, -1 = none */
  int64_t *row_start;      /**< [n + 1] into row[]: an object's rows, the first one is its own */
  int64_t *row;
  /* A second file with redshifts (redrock, spZbest). */
  syz_fits *redshift_file;
  int redshift_table;
  int64_t *redshift_row;   /**< [n], -1 = none */
  /* DESI */
  int n_arms;
  bool lacks_camera; /**< the arms leave a part of the grid out */
  desi_arm arm[DESI_ARMS];
  /* SDSS */
  int64_t pixels;
  double *wave_A;          /**< vacuum */
  float *flux_row, *ivar_row, *flux_sum, *ivar_sum; /**< scratch */
};

syz_status desi_open(syz_spectra *s);
syz_status desi_read(syz_spectra *s, int64_t i, float *flux, float *ivar);
syz_status sdss_spec_open(syz_spectra *s);
syz_status sdss_plate_open(syz_spectra *s);
syz_status sdss_read(syz_spectra *s, int64_t i, float *flux, float *ivar);

/** One number of a table by column name; NaN when there is no such numeric column. */
double spectra_number(syz_fits *f, int hdu, int64_t row, const char *name);
/** One whole number of a table, exact in 64 bits; false when there is no such column. */
bool spectra_whole(syz_fits *f, int hdu, int64_t row, const char *name, int64_t *value);
/** Text of a table; "" when there is no such column. */
void spectra_text(syz_fits *f, int hdu, int64_t row, const char *name, char *text, size_t room);
/** Refuse a flux unit that is not 1e-17 erg/s/cm2/Angstrom, however that is written; no BUNIT is taken as that. */
syz_status spectra_check_unit(const syz_fits *f, int hdu);
