/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * data: objects on disk, and how they reach a training step. Shards, other people's HDF5, the global sampler,
 * augmentation, read-ahead, token cache.
 */
#pragma once

#include "syzygy/base.h"
#include "syzygy/comm.h"
/* The common grids of stamps and spectra are part of this face: SYZ_IMAGE_SIZE, syz_wave_grid, ... */
#include "syzygy/sky.h"
#include "syzygy/spectra.h"

/* ----------------------------------------------------------------- shards */

enum { SYZ_LABELS_MAX = 256, SYZ_LABEL_NAME = 64 };

/** What is known of one object besides its pixels. */
typedef struct syz_object {
  int64_t object_id;
  double ra, dec; /**< degrees, NaN when unknown */
  uint8_t has_image, has_spectrum;
} syz_object;

/** Writes one shard of known size, by this process alone. */
typedef struct syz_shard_writer syz_shard_writer;
/** n: objects of the shard. `label`: [n_labels] names without "label/". has_segment: also write the optional `segment`
 * (N,152,152) uint8. SYZ_ERR_WRITE, as the two functions below. */
syz_status syz_shard_writer_create(const char *path, int64_t n, int n_labels, const char *const *label,
                                   const char *const *label_units, bool has_segment, const char *created_by,
                                   const char *input_yaml, syz_shard_writer **out);
/** Objects [first, first + n): image [n,3,152,152] (NULL: zeros), flux, ivar [n,7781], labels [n, n_labels] (NULL:
 * NaN), segment [n,152,152]. */
syz_status syz_shard_writer_put(syz_shard_writer *w, int64_t first, int64_t n, const syz_object *object,
                                const float *image, const float *flux, const float *ivar, const float *labels,
                                const uint8_t *segment);
syz_status syz_shard_writer_publish(syz_shard_writer **w);
void syz_shard_writer_discard(syz_shard_writer **w);

typedef enum syz_split { SYZ_SPLIT_ALL, SYZ_SPLIT_TRAIN, SYZ_SPLIT_TEST } syz_split;

/**
 * What to do with an object with unusable pixels: NaN or infinite values, values beyond SYZ_VALUE_MAX, an image or flux
 * that is all zero, an ivar that is all zero or negative somewhere. Refusing checks an image or a spectrum (flux and
 * ivar together) when it is read, skipping when the set is opened. A command that reads only images or only spectra
 * should skip by those alone, so that both check the same pixels.
 */
typedef enum syz_bad_objects {
  SYZ_BAD_REFUSED,
  SYZ_BAD_SKIPPED, /**< when the image or the spectrum is bad */
  SYZ_BAD_IMAGES_SKIPPED,
  SYZ_BAD_SPECTRA_SKIPPED
} syz_bad_objects;

/** An open data set: one global numbering over many files (shards, AstroCLIP HDF5). */
typedef struct syz_shardset syz_shardset;
/**
 * Collective. `path`: files or folders (all *.h5, *.hdf5 in them, sorted). Each rank scans a share of the files and the
 * tables are gathered, so the numbering does not depend on the rank count. split: the first 80 % of each group (a shard
 * is a group; AstroCLIP's groups as published) train and the rest test, but in shards all copies of an object (rows of
 * one positive identifier, or within 1 arcsec) join the first of them. Train and test are disjoint and together have
 * all rows. `bad`: objects that are to be skipped are left out, and listed by syz_shardset_open_named; otherwise
 * SYZ_ERR_DATA names the first one. Opening checks shapes, row counts and types; reading checks pixels.
 */
syz_status syz_shardset_open(syz_comm *c, int n_paths, const char *const *path, syz_split split, syz_bad_objects bad,
                             syz_shardset **out);
void syz_shardset_close(syz_shardset **s);
int64_t syz_shardset_size(const syz_shardset *s);
/** Compare every checksum in the files; a file without checksums passes silently. Collective: each rank checks a share
 * of the files. SYZ_ERR_DATA names file and dataset, and the object when a damaged dataset has one with unusable
 * pixels. If the set skips such objects, there is only a warning. */
syz_status syz_shardset_verify(syz_shardset *s);
/** Table of all objects, in order; borrowed, the same on every rank. Read only: ranks of a node share its memory. */
const syz_object *syz_shardset_objects(const syz_shardset *s);
/** Names of all labels that any file has; returns their number. Objects of a file without a label have NaN. */
int syz_shardset_labels(const syz_shardset *s, const char *const **name);
bool syz_shardset_has_label(const syz_shardset *s, const char *name);
/** Digest of names, sizes and checksums of the files, the same on every rank: for caches and to check a restart. */
uint64_t syz_shardset_digest(const syz_shardset *s);
/** The same digest with the content of files without checksums, of which every byte is read: for results that are tied
 * to their data. Collective; agreed. SYZ_ERR_DATA. */
syz_status syz_shardset_content(syz_shardset *s, uint64_t *digest);
/** Whether syz_shardset_verify has found all checksums right. */
bool syz_shardset_is_verified(const syz_shardset *s);
/** When to compare the checksums of a data set before use: if its files together have less than 4 GiB, always, or
 * never. */
typedef enum syz_verify { SYZ_VERIFY_AUTO, SYZ_VERIFY_ALWAYS, SYZ_VERIFY_NEVER } syz_verify;
bool syz_shardset_wants_verify(const syz_shardset *s, syz_verify when); /**< whether `when` asks for it with this set */
/** Call syz_shardset_verify, in its own phase, if `when` asks for it; otherwise log why not. Collective; agreed. */
syz_status syz_shardset_verify_when(syz_shardset *s, syz_verify when, syz_timing *timing);
/** The data set of a run. Texts are borrowed. */
typedef struct syz_data_options {
  syz_texts path; /**< files and folders */
  syz_split split;
  syz_bad_objects bad;
  syz_verify verify;
} syz_data_options;
/** Open the data set of a run and warn of the objects that are skipped. `purpose` ends the message when no path is
 * given: "to train on". Collective; agreed. */
syz_status syz_shardset_open_named(syz_comm *c, const syz_data_options *o, const char *purpose, syz_shardset **out);
/** Whether any file holds inverse variances (AstroCLIP's do not: ivar is then read as 1 where the flux is known). */
bool syz_shardset_has_ivar(const syz_shardset *s);
/** Read chosen objects in the order of `index`: image [n,3,152,152] nanomaggy (band, y, x), flux, ivar [n,7781]; any
 * output may be NULL. Missing modalities are zero. Not collective; main thread only, other threads use syz_loader.
 * SYZ_ERR_DATA names file and object for unreadable or unusable pixels. */
syz_status syz_shardset_read(syz_shardset *s, int64_t n, const int64_t *index, float *image, float *flux, float *ivar);
/** Whole label column [size] (float32, NaN where unknown). Collective. SYZ_ERR_INPUT when no file has it; the message
 * lists the labels. */
syz_status syz_shardset_read_label(syz_shardset *s, const char *name, float *value);
/** The same for objects [first, first + n), which may differ between ranks. Takes memory for n values and for one
 * file's column. */
syz_status syz_shardset_read_label_rows(syz_shardset *s, const char *name, int64_t first, int64_t n, float *value);
enum { SYZ_UNIT_TEXT = 72 /**< bytes of a unit; FITS has room for 68 */ };
/** Units of all labels, in the order of syz_shardset_labels, the same on every rank (syz_free): the attribute `units`
 * of their columns; "" where no file has one, or, with a warning, where files differ. Opens each file once. Collective;
 * agreed. */
syz_status syz_shardset_label_units(syz_shardset *s, char (**units)[SYZ_UNIT_TEXT]);
/** Segment maps [n,152,152] uint8 of chosen objects; 0 where a file has none. Not collective. */
syz_status syz_shardset_read_segment(syz_shardset *s, int64_t n, const int64_t *index, uint8_t *segment);

/* ------------------------------------------------------ names of datasets */

enum { SYZ_DATASET_NAME = 128 };
/** A formula or the name of a file as one part of a dataset's name: / and a lone . become _, and a text too long for
 * `out` ends with its checksum (src/data/README.md "Predictions"). */
void syz_dataset_name(const char *text, char out[SYZ_DATASET_NAME]);

/* --------------------------------------------------- other people's files */

/**
 * An open HDF5 file of AstroCLIP, ssl-legacysurvey or the Multimodal Universe, as rows of objects in syzygy's units and
 * axis order. Its format is recognised by its content, never by its name. Not collective. See src/data/foreign.c.
 *
 * object_id: AstroCLIP and MMU desi TARGETID; images RELEASE << 42 | BRICKID << 22 | OBJID (the TARGETID of an imaging
 * object) if it has these three columns, otherwise the integer in `object_id`, otherwise a 62-bit hash of the text in
 * `object_id`.
 */
typedef struct syz_foreign syz_foreign;
/** SYZ_ERR_DATA names file, dataset, shape found and expected; also for a file of unknown format. */
syz_status syz_foreign_open(const char *path, syz_foreign **out);
void syz_foreign_close(syz_foreign **f);
/** Name of its format: "AstroCLIP pairs". */
const char *syz_foreign_kind(const syz_foreign *f);
/** Whether all its spectra are primary ones although no column says so. */
bool syz_foreign_is_primary(const syz_foreign *f);
int64_t syz_foreign_size(const syz_foreign *f);
/** Rows [first, first + n): identifiers, positions (NaN when the file has none), modalities present. */
syz_status syz_foreign_objects(syz_foreign *f, int64_t first, int64_t n, syz_object *object);
/** Fraction of the stamp's pixels that the file's images cover: less than 1 for hsc, whose images are smaller. The
 * other pixels are 0. */
double syz_foreign_coverage(const syz_foreign *f);
/** Fill the four fields of info [n] that cuts on spectra need: ZWARN (ZWARNING), COADD_FIBERSTATUS, SPECTYPE (CLASS)
 * and OBJTYPE, if the file has them; otherwise -1, -1, "" and TGT, or SKY when info's object_id says so. */
syz_status syz_foreign_info(syz_foreign *f, int64_t first, int64_t n, syz_spectrum_info *info);
/** Pixels of rows [first, first + n); any output may be NULL. image [n,3,152,152] g, r, z nanomaggy (band, y, x): the
 * central 152 pixels of larger images, resampled for hsc. flux, ivar [n,7781]: ivar is 0 where the file masks the pixel
 * or has no positive value, and 1 elsewhere when the file has no ivar, as AstroCLIP's. A modality that the format lacks
 * is zero. Where ivar is 0, a flux that is not finite becomes 0; the caller must check the others. SYZ_ERR_DATA also
 * for wavelengths off the grid.
 */
syz_status syz_foreign_read(syz_foreign *f, int64_t first, int64_t n, float *image, float *flux, float *ivar);
/** Numeric columns of n rows that can be labels: "redshift" first if the file has one, then the file's own names in
 * alphabetical order; a column (n,3) becomes <name>_g, _r, _z. Returns their number. Borrowed. */
int syz_foreign_labels(const syz_foreign *f, const char *const **name);
/** One label of rows [first, first + n) as float32; NaN where unknown (redshift: also where the file has -99).
 * SYZ_ERR_INPUT for an unknown name. */
syz_status syz_foreign_read_label(syz_foreign *f, const char *name, int64_t first, int64_t n, float *value);
/** Unit of a label, the attribute `units` of the column, cut to `room`; "" when the file has none. */
syz_status syz_foreign_label_unit(syz_foreign *f, const char *name, size_t room, char *unit);

/* ---------------------------------------------------------------- sampler */

/** Which object is at place `place` of global batch `step`: a pure function, so the order is the same for every rank
 * count and after a restart. */
typedef struct syz_sampler {
  int64_t n, global_batch;
  uint64_t seed;
  bool shuffles;
} syz_sampler;
/** Global index of the object at `place` (0 .. global_batch - 1) of `step`: without shuffling (step * G + place) mod n,
 * in file order; with it, each epoch of n objects is a keyed permutation. A batch may span the end of an epoch. */
int64_t syz_sampler_index(const syz_sampler *s, int64_t step, int64_t place);

/* ------------------------------------------------------------ augmentation */

/** Augmentation in physical units, before the colour mapping; all zero: off. Every draw is a function of (seed, step,
 * place, purpose). */
typedef struct syz_augment {
  bool flips, quarter_turns;
  double image_noise;             /**< sigma, nanomaggy; 0 = off */
  double spectrum_noise;          /**< added noise in units of 1/sqrt(ivar); 0 = off */
  int mask_runs, mask_run_pixels; /**< runs of pixels set to zero; 0 = off */
} syz_augment;
/** Whether anything is on. */
bool syz_augment_is_on(const syz_augment *a);

/* ----------------------------------------------------- crops and masks (DINOv2) */

enum { SYZ_CROP_GROUPS = 2 /**< global, local */ };
/**
 * Crops of an object: cut at random positions of the stamp, flipped, turned, blurred and given noise in nanomaggies,
 * then colour-mapped.
 *
 * For blur and noise, a true and a wanted level are drawn per band from fits to the survey; if the wanted level is
 * larger, sqrt(wanted^2 - true^2) is added. Every draw is a function of (seed, purpose, step, place, group, crop).
 */
typedef struct syz_crops_augment {
  int64_t size[SYZ_CROP_GROUPS],
      count[SYZ_CROP_GROUPS]; /**< pixels per side, crops per object; count 0: no crops of that group */
  double blur_first, blur_global,
      blur_local; /**< probability for the first global crop, the other global crops, local crops */
  double noise_first, noise_global, noise_local;
  bool flips, quarter_turns;
} syz_crops_augment;

/** Block-wise masks of iBOT (BEiT, Bao et al. 2021, arXiv:2106.08254; DINOv2's masking.py and collate.py). */
typedef struct syz_block_masks {
  int64_t crops, side;         /**< global crops of the global batch; patches per side */
  double probability;          /**< fraction of the crops with a mask: 0.5 */
  double ratio_min, ratio_max; /**< 0.1, 0.5: stratified over the masked crops of the global batch */
  double aspect_min;           /**< 0.3; the largest is its inverse */
} syz_block_masks;
/** mask [side * side] of crop `crop` (0 .. crops - 1) at `step`: 1 = masked. A keyed permutation of the global batch
 * decides which crops have a mask and with which ratio, independent of the rank count. Returns the number of masked
 * patches. */
int64_t syz_block_mask(const syz_block_masks *m, uint64_t seed, int64_t step, int64_t crop, uint8_t *mask);
/** Upper bound of masked patches in any `n` consecutive crops, for planning memory. */
int64_t syz_block_mask_most(const syz_block_masks *m, int64_t n);

/** Masked runs of spectrum tokens (src/model/README.md "Masked modelling"): in each of `runs` stretches (tokens / runs
 * tokens, rounded down, from token i * tokens / runs) one run of `width` tokens is masked, with a start uniform in [0,
 * stretch - width). mask [tokens] is written, 1 = masked; returns runs * width. width <= stretch (the published code
 * requires (2 runs - 1) width <= tokens). */
int64_t syz_run_mask(int64_t tokens, int64_t runs, int64_t width, uint64_t seed, int64_t step, int64_t place,
                     uint8_t *mask);

/* ---------------------------------------------------------------- loader */

/** Network input of this rank's share of one step, which a thread has read, augmented, colour-mapped and cropped before
 * the step. */
typedef struct syz_batch {
  int64_t step, n;      /**< n objects of this rank */
  const int64_t *index; /**< [n] global object numbers */
  const int64_t *place; /**< [n] place in the global batch */
  const float *image;   /**< [n,3,size,size] planes z, r, g; NULL when not wanted */
  const float *flux;    /**< [n,7781]; NULL when not wanted */
  const float
      *ivar; /**< [n,7781] as in the file (1 where the file has none and the flux is known); NULL when not wanted */
  const float *crop[SYZ_CROP_GROUPS]; /**< [n, count, 3, size, size] planes z, r, g; NULL when not wanted */
} syz_batch;

typedef struct syz_loader_config {
  syz_sampler sampler;
  const int64_t *subset; /**< [sampler.n] object number of each sampler index (borrowed; must outlive the loader); NULL:
                            the index itself */
  int64_t first_place, count;     /**< this rank's places of each global batch */
  int64_t first_step, last_step;  /**< steps first .. last - 1 are requested in order */
  int64_t image_size;             /**< centre crop fed to the network; 0: no images wanted */
  bool wants_flux, wants_ivar;    /**< ivar only with flux */
  const syz_crops_augment *crops; /**< borrowed during creation; NULL: no crops. With crops, image_size must be 0 and
                                     `augment` off, and an object without an image is SYZ_ERR_DATA */
  syz_augment augment;            /**< drawn with sampler.seed */
  int ahead;                      /**< batches read ahead (>= 1) */
} syz_loader_config;

typedef struct syz_loader syz_loader;
/** Not collective. Starts the read-ahead thread, which calls neither MPI nor HDF5: it reads contiguous datasets by
 * pread at their file offset; syz_loader_next reads others on the main thread. */
syz_status syz_loader_create(syz_shardset *s, const syz_loader_config *config, syz_loader **out);
void syz_loader_destroy(syz_loader **l);
/** The next step's batch, borrowed until the next call. A bad object is an error here, rank-local: the caller must
 * agree on it. wait_s: += seconds waited. */
syz_status syz_loader_next(syz_loader *l, syz_batch *out, double *wait_s);
/** Bytes of a loader of this configuration, for plans of memory; reads no pointer except `crops`. */
size_t syz_loader_bytes(const syz_loader_config *config);
/** Network input from raw images on the calling thread: centre crop and colour map, image [n,3,152,152] -> planes
 * [n,3,size,size]. image may be NULL.
 */
void syz_prepare_images(const float *image, int64_t n, int64_t size, float *planes);

/* ------------------------------------------------------------ token cache */

/** Tokens of a frozen tower for every object: rows of T x D in the activation type, in a flat scratch file or in
 * memory. */
typedef struct syz_token_cache syz_token_cache;
/**
 * Collective. `key`: digest of weights, data set and precision; a cache with another key is discarded. Rows of an
 * earlier run are kept. `row_bytes` = T * D * sizeof(act). in_memory: each rank keeps a block of rows in memory, and
 * rows travel by messages.
 */
syz_status syz_token_cache_open(syz_comm *c, const char *path, uint64_t key, int64_t rows, size_t row_bytes,
                                bool in_memory, syz_token_cache **out);
void syz_token_cache_close(syz_token_cache **t);
/** Numbers of the rows that this rank must compute: its contiguous share without rows already in the cache. Returns how
 * many; borrowed list. */
int64_t syz_token_cache_missing(const syz_token_cache *t, const int64_t **row);
syz_status syz_token_cache_put(syz_token_cache *t, int64_t n, const int64_t *row, const void *tokens);
/** Collective. Declares that all rows have been put. */
syz_status syz_token_cache_seal(syz_token_cache *t);
/** What a file is, for `info`: *is_cache = false for any other file; otherwise its rows, how many are written, bytes
 * per row. Rank-local. */
syz_status syz_token_cache_describe(const char *path, bool *is_cache, int64_t *rows, int64_t *there,
                                    int64_t *row_bytes);
/** Announce the rows of a later get. On disk, a thread reads them into `tokens` meanwhile (without MPI); the caller
 * must not touch `tokens` until the get with the same rows and `tokens`, or until the cache is closed. `row` is copied.
 * A second call, or a get of other rows, waits for the first reading. In memory this does nothing. Not collective; that
 * get returns the thread's error. */
syz_status syz_token_cache_ahead(syz_token_cache *t, int64_t n, const int64_t *row, void *tokens);
/** Rows in the order of `row`. Collective in memory (n may be 0), not collective on disk. The status is rank-local, so
 * that no rank waits for another's disk: SYZ_ERR_DATA for a damaged row of the file; SYZ_ERR_NUMERIC when a row that
 * this rank keeps in memory has changed. Then the rank that requested the row gets it damaged with SYZ_OK: use no rows
 * before all ranks have agreed. */
syz_status syz_token_cache_get(syz_token_cache *t, int64_t n, const int64_t *row, void *tokens);
