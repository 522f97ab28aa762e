/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Inside of the spectrum readers. spectra.c has the table of formats, each with a file of its own (desi.c, sdss.c);
 * what these share is in spectra_table.c. A new format is a row of that table, its functions, declared below, and what
 * it has to remember in syz_spectra.
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

/** A kind of files with spectra. */
typedef struct spectra_format {
  const char *name;
  bool (*recognise)(const syz_fits *f); /**< by what is in the file */
  /** Objects, their rows and wavelengths: s->file is open, all else is as after the allocation but `table`, which is
   * -1. */
  syz_status (*open)(syz_spectra *s);
  syz_status (*read)(syz_spectra *s, int64_t i, float *flux, float *ivar); /**< as syz_spectra_read */
} spectra_format;

struct syz_spectra {
  const spectra_format *format;
  const char *kind; /**< the format's name, unless `open` knows better */
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
  bool lacks_camera; /**< the arms leave a part of the grid out */
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

/** One number of a table by column name; NaN when there is no such numeric column. */
double spectra_number(syz_fits *f, int hdu, int64_t row, const char *name);
/** One whole number of a table, exact in 64 bits; false when there is no such column. */
bool spectra_whole(syz_fits *f, int hdu, int64_t row, const char *name, int64_t *value);
/** Text of a table; "" when there is no such column. */
void spectra_text(syz_fits *f, int hdu, int64_t row, const char *name, char *text, size_t room);
/** Refuse a flux unit that is not 1e-17 erg/s/cm2/Angstrom, however that is written; no BUNIT is taken as that. */
syz_status spectra_check_unit(const syz_fits *f, int hdu);
/** Whether `end` is the end of a longer text. */
bool spectra_ends_with(const char *text, const char *end);
