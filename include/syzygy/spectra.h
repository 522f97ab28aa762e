/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * spectra: reads files of spectra and brings spectra to the common grid; reads catalogues of redshifts.
 *
 * Nothing here knows of MPI and nothing is collective. Units are those of sky.h, and files from outside are checked as
 * there.
 */
#pragma once

#include "syzygy/base.h"
#include "syzygy/fits.h"
#include "syzygy/sky.h" /* the common grid */

/* ---------------------------------------------------------------- spectra */

/**
 * Resample a spectrum to the common grid, conserving flux and the variance of integrated flux.
 *
 * Source pixel i reaches half-way (in log wavelength) to its neighbours: width D_i; target pixel j is 0.8 Angstrom
 * wide; o_ij is their common length. With c_j = sum over good i (ivar > 0, finite) of o_ij / 0.8:
 *
 *     flux_j = sum_good o_ij f_i / (0.8 c_j),     var_j = sum_good o_ij D_i var_i / (0.64 c_j^2).
 *
 * If all pixels are good, sum_j 0.8 flux_j = sum_i D_i f_i and sum_j 0.64 var_j = sum_i D_i^2 var_i: the integral over
 * any interval has the right flux and, with target pixels treated as independent, the right variance. (Sum o^2 var, the
 * variance of a single pixel, would make the integral's too small, because neighbours share source pixels.) Where c_j <
 * 1/2, ivar = 0, and flux is the mean of all overlapping source pixels (SDSS interpolates across bad ones), or 0
 * outside. wave_A [n] vacuum, increasing. flux, ivar [S]. SYZ_ERR_DATA with `what` in front of the reason.
 */
syz_status syz_spectrum_resample(int64_t n, const double *wave_A, const double *flux_in, const double *ivar_in,
                                 const char *what, float *flux, float *ivar);

typedef struct syz_spectra_options {
  bool verify;          /**< compare CHECKSUM and DATASUM */
  bool keeps_exposures; /**< DESI per-exposure files: one object per exposure instead of one per TARGETID */
  bool is_air;          /**< SDSS-like files have air wavelengths without saying so */
  uint32_t mask_bits;   /**< pixels with any of these mask bits get ivar 0 (DESI MASK, SDSS and_mask) */
} syz_spectra_options;

/** What a spectrum file says of one object. */
typedef struct syz_spectrum_info {
  int64_t object_id;   /**< TARGETID, syz_sdss_id, or CATALOGID (SDSS-V) */
  double ra, dec;      /**< degrees, NaN when the file has none */
  double redshift;     /**< NaN when unknown */
  int64_t zwarn;       /**< -1 when unknown */
  int64_t fiberstatus; /**< -1 when unknown */
  char objtype[8];     /**< TGT, SKY, ...; from TARGETID or ZWARNING when there is no such column */
  char spectype[16];   /**< GALAXY, QSO, STAR, "" unknown */
  int exposures;       /**< number of rows that were combined */
} syz_spectrum_info;

/** An open file of spectra of any known kind. */
typedef struct syz_spectra syz_spectra;
/** Recognises the kind by the content of the file. SYZ_ERR_DATA names file, HDU and reason. */
syz_status syz_spectra_open(const char *path, const syz_spectra_options *options, syz_spectra **out);
void syz_spectra_close(syz_spectra **s);
int64_t syz_spectra_count(const syz_spectra *s);
/** Whether all spectra of the file lack a part of the grid because a camera's HDUs are missing (DESI). Flux and ivar
 * are 0 there. */
bool syz_spectra_lacks_camera(const syz_spectra *s);
/** Borrowed until closing. It has redshifts for SDSS (HDU 2, spZbest beside an spPlate) and after
 * syz_spectra_join_redshifts. */
const syz_spectrum_info *syz_spectra_info(const syz_spectra *s, int64_t i);
/** Join redshifts by TARGETID from a redrock file or redshift catalogue (columns TARGETID, Z, ZWARN, SPECTYPE).
 * *joined: number of spectra with a redshift found. SYZ_ERR_DATA. */
syz_status syz_spectra_join_redshifts(syz_spectra *s, const char *path, int64_t *joined);
/** Path of the redrock file of a DESI file, by name (coadd-X -> redrock-X, else the older zbest-X, packed or not);
 * false if it does not exist.
 */
bool syz_spectra_redrock_path(const char *path, char *redrock, size_t room);
/** Spectrum i on the common grid: flux, ivar [S]. ivar is 0 where the file's is negative or not finite. Flux is as in
 * the file, also NaN. SYZ_ERR_DATA. */
syz_status syz_spectra_read(syz_spectra *s, int64_t i, float *flux, float *ivar);
/** Value of a numeric column (case ignored) of the object's own tables: FIBERMAP, joined redshifts, SDSS specobj; NaN
 * when there is none. */
double syz_spectra_column(syz_spectra *s, int64_t i, const char *name);

/** Search for such a column in these tables. */
void syz_spectra_search(const syz_spectra *s, const char *name, syz_column_search *search);

/** Cuts on spectra. Each can be switched off. */
typedef struct syz_spectra_cuts {
  const char *objtype;  /**< allowed types, comma-separated; "" = any */
  bool fiberstatus;     /**< COADD_FIBERSTATUS (FIBERSTATUS) must be 0 where known */
  int64_t zwarn_bits;   /**< ZWARN bits that cut an object */
  const char *spectype; /**< allowed types, comma-separated; "" = any */
  bool needs_redshift;
  double min_coverage; /**< least fraction of the grid's pixels with ivar > 0 */
  const char *primary; /**< column that must be true, "" = none */
} syz_spectra_cuts;
typedef enum syz_cut {
  SYZ_CUT_NONE,
  SYZ_CUT_OBJTYPE,
  SYZ_CUT_FIBERSTATUS,
  SYZ_CUT_ZWARN,
  SYZ_CUT_SPECTYPE,
  SYZ_CUT_REDSHIFT,
  SYZ_CUT_PRIMARY,
  SYZ_CUT_PIXELS,
  SYZ_CUT_COUNT
} syz_cut;
const char *syz_cut_text(syz_cut cut);
/** The first cut that the object fails, except SYZ_CUT_PIXELS. `primary`: value of the column cuts->primary (NaN: there
 * is none, which fails the cut). */
syz_cut syz_spectra_check(const syz_spectrum_info *info, const syz_spectra_cuts *cuts, double primary);
/** NULL, or why these pixels cannot be used: flux not finite or beyond SYZ_VALUE_MAX where ivar > 0, such an ivar, or
 * flux all zero. *good_fraction: fraction of pixels with ivar > 0. */
const char *syz_spectrum_fault(const float *flux, const float *ivar, double *good_fraction, char reason[160]);

/* ------------------------------------------------------- redshift catalogues */

/** A row of a redshift catalogue. */
typedef struct syz_redshift {
  int64_t object_id;
  double redshift;
  int64_t zwarn;       /**< -1 when unknown */
  int64_t fiberstatus; /**< COADD_FIBERSTATUS, -1 when unknown */
  double primary;      /**< 1, 0; NaN when no column says */
  double deltachi2;    /**< NaN when unknown */
  int64_t row;         /**< in its file, from 0 */
  char spectype[16];   /**< "" unknown */
} syz_redshift;
/** Which of two rows of one object counts: negative for the first, positive for the second. The primary row wins, then
 * ZWARN 0, then the larger DELTACHI2; 0 when all are equal. */
int syz_redshift_compare(const syz_redshift *a, const syz_redshift *b);

/** A redrock file or redshift catalogue: the first table with TARGETID and Z (HDU REDSHIFTS, ZCATALOG, ZALL_PIX). */
typedef struct syz_zcatalogue syz_zcatalogue;
/** `primary`: column of the flag; "": ZCAT_PRIMARY, else MAIN_PRIMARY or SV_PRIMARY. SYZ_ERR_DATA names the file. */
syz_status syz_zcatalogue_open(const char *path, bool verify, const char *primary, syz_zcatalogue **out);
void syz_zcatalogue_close(syz_zcatalogue **c);
/** As syz_catalogue_release. */
void syz_zcatalogue_release(syz_zcatalogue *c);
int64_t syz_zcatalogue_count(const syz_zcatalogue *c);
/** Rows [first, first + n) as in the file. SYZ_ERR_DATA. */
syz_status syz_zcatalogue_read(syz_zcatalogue *c, int64_t first, int64_t n, syz_redshift *row);
/** A numeric column by name (case ignored) as float64; all NaN when there is none. */
syz_status syz_zcatalogue_column(syz_zcatalogue *c, const char *name, int64_t first, int64_t n, double *value);
/** Search for such a column. */
void syz_zcatalogue_search(const syz_zcatalogue *c, const char *name, syz_column_search *search);
