/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Inside of `ingest`: from survey files to shards.
 *
 * Every stage is done in shares by the ranks and gathered in a fixed order, so that each rank then holds the same tables: files (sorted paths),
 * spectra (file, row), image candidates (file, row), planes of mosaics (file, plane), outcomes of cutouts (object, band). Shard k is built and
 * written by rank k mod ranks from these tables alone, so what is in it does not depend on the rank count.
 */
#pragma once

#include "app.h"
#include "syzygy/data.h"
#include "syzygy/sky.h"

/** What a file was given as. */
typedef enum ingest_role { ROLE_SPECTRA, ROLE_REDSHIFTS, ROLE_IMAGES, ROLE_CATALOGUE, ROLE_HDF5, ROLE_COUNT } ingest_role;

typedef struct ingest_file {
  const char *path; /**< into ingest.paths */
  ingest_role role;
  bool is_named;             /**< by itself, not found in a folder */
  int64_t bytes, modified_s; /**< for the digest */
} ingest_file;

enum { REASON_TEXT = 480, INGEST_LABELS = 64, NO_FILE = -1 };

/** Growing bytes: what a rank found, to be gathered. */
typedef struct ingest_bytes {
  unsigned char *data;
  size_t n, room;
} ingest_bytes;

/** A spectrum that a rank found. */
typedef struct ingest_spectrum {
  syz_spectrum_info info;
  int32_t file, cut; /**< syz_cut, SYZ_CUT_NONE = kept so far */
  int64_t row;
  double primary, good_fraction;
  bool has_image; /**< its HDF5 row holds the image too (AstroCLIP) */
  double label[INGEST_LABELS];
} ingest_spectrum;

/** A place that may have an image: a catalogue row, a file's centre, or a row of an HDF5 file that has pixels itself. */
typedef struct ingest_candidate {
  int64_t object_id; /**< -1 = none */
  double ra, dec;
  int32_t file;
  bool has_pixels;
  bool is_centre;
  int64_t row;
  double label[INGEST_LABELS];
} ingest_candidate;

/** A plane of an image file. */
typedef struct ingest_plane {
  int32_t file, plane, band, pad;
  double ra, dec, radius_deg;
} ingest_plane;

/** Which plane an object's band could be cut from, and how well it lies inside: 1 = wholly. */
typedef struct ingest_choice {
  int64_t object;
  int32_t band, file, plane;
  float inside;
} ingest_choice;

/** What a cutout gave. */
typedef struct ingest_outcome {
  int64_t object;
  int32_t band;
  float covered;
  bool is_empty; /**< all zero: the band has no data there */
} ingest_outcome;

/** A column that the input names: in how many files of each role it is, and where the nearest name is. */
typedef struct ingest_column {
  int64_t has[ROLE_COUNT], lacks[ROLE_COUNT];
  int32_t file, distance; /**< NO_FILE = none seen */
  char nearest[72];
} ingest_column;

/** A file or object that cannot be used. row -1: the file. */
typedef struct ingest_reject {
  int32_t file, is_object;
  int64_t row, object_id;
  char reason[REASON_TEXT];
} ingest_reject;

/** An object of the result. */
typedef struct ingest_object {
  int64_t object_id;
  double ra, dec, image_ra, image_dec;
  int64_t spectrum, candidate;  /**< numbers in the tables, -1 = none */
  bool wants_image, has_image, is_dropped;
  int32_t image_file[SYZ_BANDS], image_plane[SYZ_BANDS]; /**< NO_FILE where a band is missing */
} ingest_object;

/** Numbers that surveys write where they have none. */
typedef struct ingest_sentinels {
  int n;
  float value[32];
} ingest_sentinels;

typedef struct ingest_cuts {
  int64_t passed_over_of[ROLE_COUNT]; /**< files that were opened and hold something else */
  int64_t passed_over, read, kept, cut[SYZ_CUT_COUNT], bad, unmatched, outside, edge, missing_band, unpaired, repeated, superseded, no_value,
      rescaled, lacks_camera, linked, narrow;
} ingest_cuts;

typedef struct ingest {
  syz_app *app;
  syz_comm *world;
  int rank, size;
  bool refuses; /**< data.bad_objects: refuse */
  char *paths;
  int n_files;
  ingest_file *file;
  int n_labels;                        /**< label 0 is redshift */
  char label[INGEST_LABELS][SYZ_LABEL_NAME];
  ingest_column column[INGEST_LABELS + 1]; /**< of the labels (the first: ingest.redshift_column), then of ingest.primary */
  syz_spectra_options spectra_options;
  syz_spectra_cuts cuts;
  char objtype[256], spectype[256];
  syz_images_options image_options;
  bool verify;
  ingest_sentinels no_value, no_redshift;  /**< of labels, and of the redshift */
  int64_t n_spectra, n_candidates, n_planes, n_objects, n_rejects;
  ingest_spectrum *spectrum;
  ingest_candidate *candidate;
  ingest_plane *plane;
  ingest_object *object;
  ingest_reject *reject;
  ingest_cuts count;
  syz_images **open;                   /**< [n_files] image files of this rank that are kept open: those that cost most to unpack */
  size_t open_bytes;
  ingest_bytes found_rejects;          /**< of this rank, gathered by ingest_share_rejects */
  ingest_bytes found_candidates;       /**< of this rank: image-only rows of HDF5 files, found on the way through the spectra */
} ingest;

/* ingest_files.c */
syz_status ingest_list_files(ingest *g);                        /**< Collective. */
syz_status ingest_add(ingest_bytes *b, const void *item, size_t n);
/** Collective. Everybody's items, sorted by `compare`; *all is the caller's. */
syz_status ingest_gather(ingest *g, const ingest_bytes *mine, size_t item, int (*compare)(const void *, const void *), void **all, int64_t *n);
/** Note an object or (row -1) a file that cannot be used; the text is the last error's when `reason` is NULL. */
syz_status ingest_note(ingest *g, int file, int64_t row, int64_t object_id, const char *reason);
/** Collective. Add what was noted to the table; with data.bad_objects: refuse, SYZ_ERR_DATA names the first. */
syz_status ingest_share_rejects(ingest *g);
/** Identifier for objects that have none: 62 bits of a hash of file name and row. */
int64_t ingest_made_id(const char *path, int64_t row);

/** An image file, perhaps still open from before; give it back by ingest_release_images. Rank-local. */
syz_status ingest_open_images(ingest *g, int file, syz_images **out);
/** Close it, or keep it for the next stage when it had to be unpacked whole (.gz, .bz2) and memory allows. Sets *m to NULL. */
void ingest_release_images(ingest *g, int file, syz_images **m);
void ingest_close_images(ingest *g);

/* ingest_scan.c */
syz_status ingest_scan_spectra(ingest *g);    /**< Collective: spectra of FITS and HDF5 files, pixels checked. */
syz_status ingest_scan_candidates(ingest *g); /**< Collective: catalogues, HDF5 images, centres of image files; also the planes. */
/** The cuts that need nothing from another file. */
syz_cut ingest_early_cut(const ingest *g, const syz_spectrum_info *info, double primary);
/** Note in `o` how much of a spectrum is good, and whether too little; *fault: NULL, or why it cannot be used. */
void ingest_check_pixels(const ingest *g, const float *flux, const float *ivar, ingest_spectrum *o, const char **fault, char reason[160]);

/* ingest_hdf5.c */
/** Rank-local: rows with a spectrum go to `spectra` (with their image, if they have one), rows with only an image to `candidates`. */
syz_status ingest_scan_hdf5(ingest *g, int file, ingest_bytes *spectra, ingest_bytes *candidates);

syz_status ingest_join_redshifts(ingest *g);  /**< Collective: ingest.redshifts by identifier, then the cuts. */

/* ingest_columns.c */
/** Note what a file's tables say of column k: 0 .. n_labels - 1 the labels, n_labels ingest.primary. Rank-local. */
void ingest_note_column(ingest *g, int file, int k, const syz_column_search *search);
/** Collective, after both scans: a column that no file has is SYZ_ERR_DATA with the nearest name. */
syz_status ingest_check_columns(ingest *g);
/** Not collective, the same on every rank, after the redshifts are joined: a word of ingest.objtype or ingest.spectype that means nothing is SYZ_ERR_DATA. */
syz_status ingest_check_types(const ingest *g);
/** Name that the input gives to column k; "" when it names none. */
const char *ingest_column_name(const ingest *g, int k);

/** The labels of one object with NaN where a number stands for none; `n` counts them. */
void ingest_clear_labels(const ingest *g, double *label, int64_t *n);
double ingest_clear_redshift(const ingest *g, double z);

/* ingest_match.c */
syz_status ingest_make_objects(ingest *g);    /**< Not collective: pairs spectra and candidates; the same on every rank. */
syz_status ingest_choose_planes(ingest *g);   /**< Collective: which plane each object's bands come from, and whether the cutouts hold. */
void ingest_drop(ingest *g);                  /**< Not collective: ingest.keep, dropped objects removed. */

/* ingest_shards.c */
syz_status ingest_write_shards(ingest *g);    /**< Collective. */
