/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * survey: the files of a survey become shards. Spectra (DESI, SDSS), redshifts, images with catalogues of positions,
 * and other people's HDF5 files are scanned by all ranks in shares, matched on the sky or by identifier, cut, and
 * written. What is in a shard does not depend on the number of ranks. Needs the readers of sky and the writers of data.
 */
#pragma once

#include "syzygy/comm.h"

/** What is taken, and how. Texts and lists are borrowed for as long as the survey is open. */
typedef struct syz_survey_options {
  syz_texts spectra, redshifts, images, catalogues, hdf5; /**< files and folders of each role */
  bool joins_redrock_beside;       /**< the redrock file that lies beside a DESI file is joined */
  bool takes_centres;              /**< every place that an image file is centred on is an object */
  const char *ra, *dec, *id;       /**< columns of the catalogues; "": found by their usual names */
  const char *redshift_column;     /**< of the catalogues; "": none */
  syz_texts labels;                /**< columns that become labels, beside the redshift */
  syz_texts no_redshift, no_value; /**< numbers that stand for none, of redshifts and of labels */
  const char *match;               /**< "sky", "id" or "none" */
  double match_radius_arcsec;
  const char *keep;            /**< "all", "paired", "spectra" or "images" */
  syz_texts objtype, spectype; /**< allowed types; none: any */
  bool needs_fiberstatus;      /**< COADD_FIBERSTATUS must be 0 where it is known */
  int64_t zwarn_bits;          /**< these bits of ZWARN cut an object */
  bool needs_redshift;
  const char *primary;             /**< a column that must be true; "": none */
  double min_coverage;             /**< least share of spectral pixels with ivar > 0 */
  const char *exposures;           /**< "coadd": one object per identifier, or "keep": one per exposure */
  bool is_air;                     /**< SDSS-like files hold air wavelengths */
  uint32_t mask_bits;              /**< pixels with one of these get ivar 0 */
  const char *masked_flux;         /**< where ivar is 0: "keep", "zero" or "interpolate" */
  const char *edge, *missing_band; /**< cutouts over an edge, bands without data: "skip", "zero" or "refuse" */
  const char *resample;            /**< "auto", "lanczos" or "area" */
  double value_per_pixel_arcsec;   /**< pixel values are per pixel of this size; 0: by the header */
  const char *unit;                /**< of images: "auto", "nanomaggy" or "magzero" */
  const char *bands;               /**< of the planes of a cube, where the file does not say: "grz"; "": none */
  const char *zero_points;         /**< survey-ccds table; "": none */
  bool verifies;                   /**< CHECKSUM and DATASUM of FITS files are compared */
  bool keeps_duplicates;           /**< every copy of a source is an object */
  double duplicate_radius_arcsec;  /**< image positions of different files nearer than this are copies; 0: they are not
                                      compared */
  int64_t shard_objects;           /**< objects per shard */
  bool refuses;                    /**< a bad object ends the run; otherwise it is listed in rejected.csv */
  const char *link_root;           /**< HDF5 files may lead to files below this folder; "": to none */
} syz_survey_options;

/** The files of a survey, listed. */
typedef struct syz_survey syz_survey;

/** Check the options and list the files. SYZ_ERR_INPUT names the key. `run` is borrowed. Collective; agreed. */
syz_status syz_survey_open(const syz_run *run, const syz_survey_options *options, syz_survey **out);
void syz_survey_close(syz_survey **s);
/** How many files there are of each role, in the log. */
void syz_survey_tell_files(const syz_survey *s);
/**
 * Scan, match, cut, and write <folder>/shards/shard-00000.h5, ... and <folder>/rejected.csv; tell what was left out and
 * why. Shards of the same content that are there already stay. Once a survey. SYZ_STOPPED when somebody asked to stop:
 * complete shards stay. Collective; agreed.
 */
syz_status syz_survey_write(syz_survey *s);

/** What a trial of the match took. Numbers of all ranks; bytes and seconds of the rank that needs most. */
typedef struct syz_match_trial {
  double seconds;
  int64_t own;             /**< spectra that have the very row that they were made at */
  int64_t resident_before; /**< resident memory before the match, largest so far */
  int64_t resident, allocated;
} syz_match_trial;

/**
 * Match `spectra` made spectra to `rows` made rows of catalogues all over the sky, each spectrum 0.3 arcsec north of a
 * row, by what syz_survey_write does, and check every pair. FITS files of the rows are written to the run's folder and
 * taken away again. SYZ_ERR_INTERNAL when a pair is wrong. Collective; agreed.
 */
syz_status syz_survey_try_match(const syz_run *run, uint64_t seed, int64_t rows, int64_t spectra, syz_match_trial *out);
