/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * survey: turns the files of a survey into shards. Spectra (DESI, SDSS), redshifts, images with catalogues of
 * positions, and other people's HDF5 files are scanned, a share by each rank, matched on the sky or by identifier,
 * selected by cuts, and written. The content of a shard does not depend on the number of ranks.
 */
#pragma once

#include "syzygy/comm.h"

/** Which files and objects are used, and how. Texts and lists are borrowed until the survey is closed. */
typedef struct syz_survey_options {
  syz_texts spectra, redshifts, images, catalogues, hdf5; /**< files and folders of each role */
  bool joins_redrock_beside;                              /**< join the redrock file in the folder of a DESI file */
  bool takes_centres;              /**< every position on which an image file is centred is an object */
  const char *ra, *dec, *id;       /**< columns of the catalogues; "": found by their usual names */
  const char *redshift_column;     /**< of the catalogues; "": none */
  syz_texts labels;                /**< columns that become labels, besides the redshift */
  syz_texts no_redshift, no_value; /**< numbers that mean "no value", for redshifts and for labels */
  const char *match;               /**< "sky", "id" or "none" */
  double match_radius_arcsec;
  const char *keep;            /**< "all", "paired", "spectra" or "images" */
  syz_texts objtype, spectype; /**< allowed types; none: any */
  bool needs_fiberstatus;      /**< COADD_FIBERSTATUS must be 0 where it is known */
  int64_t zwarn_bits;          /**< bits of ZWARN that exclude an object */
  bool needs_redshift;
  const char *primary;             /**< a column that must be true; "": none */
  double min_coverage;             /**< least fraction of spectral pixels with ivar > 0 */
  const char *exposures;           /**< "coadd": one object per identifier, or "keep": one per exposure */
  bool is_air;                     /**< SDSS-like files have air wavelengths */
  uint32_t mask_bits;              /**< mask bits whose pixels get ivar 0 */
  const char *masked_flux;         /**< flux where ivar is 0: "keep", "zero" or "interpolate" */
  const char *edge, *missing_band; /**< cutouts over an edge, bands without data: "skip", "zero" or "refuse" */
  const char *resample;            /**< "auto", "lanczos" or "area" */
  double value_per_pixel_arcsec;   /**< size of the pixel that pixel values refer to; 0: by the header */
  const char *unit;                /**< of images: "auto", "nanomaggy" or "magzero" */
  const char *bands;       /**< of the planes of a cube, where the file does not state them: "grz"; "": not given */
  const char *zero_points; /**< survey-ccds table; "": none */
  bool verifies;           /**< compare CHECKSUM and DATASUM of FITS files */
  bool keeps_duplicates;   /**< every copy of a source is an object */
  double duplicate_radius_arcsec; /**< image positions of different files within this distance are copies; 0: not
                                     compared */
  int64_t shard_objects;          /**< objects per shard */
  bool refuses;                   /**< a bad object ends the run; otherwise it is listed in rejected.csv */
  const char *link_root;          /**< HDF5 files may link to files below this folder; "": no links */
} syz_survey_options;

/** The files of a survey, listed. */
typedef struct syz_survey syz_survey;

/** Check the options and list the files. SYZ_ERR_INPUT names the key. `run` is borrowed. Collective; agreed. */
syz_status syz_survey_open(const syz_run *run, const syz_survey_options *options, syz_survey **out);
void syz_survey_close(syz_survey **s);
/** Log the number of files of each role. */
void syz_survey_tell_files(const syz_survey *s);
/**
 * Scan, match, cut, and write <folder>/shards/shard-00000.h5, ... and <folder>/rejected.csv; log how many objects were
 * excluded and why. Existing shards of the same content are kept. Call it once per survey. SYZ_STOPPED after a request
 * to stop; complete shards are kept. Collective; agreed.
 */
syz_status syz_survey_write(syz_survey *s);

/** Cost of a trial of the match. `own` is over all ranks; bytes and seconds are those of the rank that needs most. */
typedef struct syz_match_trial {
  double seconds;
  int64_t own;             /**< spectra that matched the row from which they were made */
  int64_t resident_before; /**< peak resident memory before the match */
  int64_t resident, allocated;
} syz_match_trial;

/**
 * Match `spectra` synthetic spectra to `rows` synthetic rows of catalogues all over the sky, each spectrum 0.3 arcsec
 * north of a row, by the method of syz_survey_write, and check every pair. Writes FITS files of the rows to the run's
 * folder and removes them. SYZ_ERR_INTERNAL when a pair is wrong. Collective; agreed.
 */
syz_status syz_survey_try_match(const syz_run *run, uint64_t seed, int64_t rows, int64_t spectra, syz_match_trial *out);
