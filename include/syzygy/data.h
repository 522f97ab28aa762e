/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * data: objects on disk and on their way to a training step. Shards, other people's HDF5, the global sampler,
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

/** What one object carries besides pixels. */
typedef struct syz_object {
  int64_t object_id;
  double ra, dec; /**< degrees, NaN when unknown */
  uint8_t has_image, has_spectrum;
} syz_object;

/** Write one shard of known size on this process alone (shards are written whole by one rank). */
typedef struct syz_shard_writer syz_shard_writer;
/** `label`: [n_labels] names without "label/". has_segment: also the optional `segment` (N,152,152) uint8. */
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
 * What becomes of an object with pixels that cannot be used: NaN or infinite ones, values beyond SYZ_VALUE_MAX, an
 * image or flux that is all zero, an ivar that is all zero or negative somewhere. Refusing finds it when its image or
 * spectrum (flux and ivar together) is read, skipping when the set is opened: a command that reads only images or only
 * spectra skips by those alone, so that both judge alike.
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
 * Collective. `path`: files or folders (all *.h5, *.hdf5 below, sorted). The files are scanned by the ranks in shares
 * and the tables gathered, so the numbering does not depend on the rank count. split: the first 80 % of each group (a
 * shard is a group; AstroCLIP's groups as published) train, the rest test, except that in shards copies of an object
 * (rows of one positive identifier, or within 1 arcsec) are on the side of the first of them. Train and test have no
 * row in common and are all rows together. `bad`: objects that are to be skipped are left out, and listed by
 * syz_shardset_open_named; otherwise SYZ_ERR_DATA names the first one. Checked at open: shapes, row counts that differ,
 * types; pixels are checked when read.
 */
syz_status syz_shardset_open(syz_comm *c, int n_paths, const char *const *path, syz_split split, syz_bad_objects bad,
                             syz_shardset **out);
void syz_shardset_close(syz_shardset **s);
int64_t syz_shardset_size(const syz_shardset *s);
/** Compare every checksum that the files hold; files without any pass in silence. Collective: the files are shared over
 * the ranks. SYZ_ERR_DATA names file and dataset, and the object where a damaged dataset holds one with pixels that
 * cannot be used; a set that skips has left such objects out, so they are warned of and the file is accepted. */
syz_status syz_shardset_verify(syz_shardset *s);
/** Table of all objects, in order; borrowed, the same on every rank (the ranks of a node share its memory: read only).
 */
const syz_object *syz_shardset_objects(const syz_shardset *s);
/** Labels that any file has; a file without one gives NaN. */
int syz_shardset_labels(const syz_shardset *s, const char *const **name);
bool syz_shardset_has_label(const syz_shardset *s, const char *name);
/** Digest of the data set (names, sizes, checksums of its files): the same on every rank; for caches and restart
 * checks. */
uint64_t syz_shardset_digest(const syz_shardset *s);
/** That digest, and the content of files that have no checksums: every byte of them is read. Collective; agreed. For
 * results that are kept under the data they were made from. SYZ_ERR_DATA. */
syz_status syz_shardset_content(syz_shardset *s, uint64_t *digest);
/** Whether syz_shardset_verify has found that its checksums hold. */
bool syz_shardset_is_verified(const syz_shardset *s);
/** When the checksums of a data set are compared before it is used: if its files are together smaller than 4 GiB,
 * always, or never. */
typedef enum syz_verify { SYZ_VERIFY_AUTO, SYZ_VERIFY_ALWAYS, SYZ_VERIFY_NEVER } syz_verify;
bool syz_shardset_wants_verify(const syz_shardset *s, syz_verify when); /**< Whether they are, for this set. */
/** Compare them then, as a phase of its own, or tell why not. Collective; agreed. See syz_shardset_verify. */
syz_status syz_shardset_verify_when(syz_shardset *s, syz_verify when, syz_timing *timing);
/** The data set of a run. Texts are borrowed. */
typedef struct syz_data_options {
  syz_texts path; /**< files and folders */
  syz_split split;
  syz_bad_objects bad;
  syz_verify verify;
} syz_data_options;
/** Open it and warn of the objects that were left out. `purpose` ends the message when no path is given: "to train on".
 * Collective; agreed. */
syz_status syz_shardset_open_named(syz_comm *c, const syz_data_options *o, const char *purpose, syz_shardset **out);
/** Whether any file holds inverse variances (AstroCLIP's do not: ivar is then read as 1 where the flux is known). */
bool syz_shardset_has_ivar(const syz_shardset *s);
/** Read chosen objects in the order asked for (independent, any thread-safe only through the loader): any output may be
 * NULL. image [n,3,152,152] nanomaggy (band, y, x), flux, ivar [n,7781]. Missing modalities are zero-filled.
 * SYZ_ERR_DATA names file and object for unreadable or non-finite pixels. */
syz_status syz_shardset_read(syz_shardset *s, int64_t n, const int64_t *index, float *image, float *flux, float *ivar);
/** Whole label column [size] (float32, NaN where unknown). Collective. SYZ_ERR_INPUT when no file has it (names the
 * labels there are). */
syz_status syz_shardset_read_label(syz_shardset *s, const char *name, float *value);
/** The same of objects [first, first + n), which may differ between ranks: memory for n and for one file's column. */
syz_status syz_shardset_read_label_rows(syz_shardset *s, const char *name, int64_t first, int64_t n, float *value);
enum { SYZ_UNIT_TEXT = 72 /**< bytes of a unit; FITS has room for 68 */ };
/** Units of all labels, in the order of syz_shardset_labels, the same on every rank, for the caller to free: the
 * attribute `units` of their columns; "" where no file states one, or (with a warning) two state different ones. Opens
 * each file once. Collective; agreed. */
syz_status syz_shardset_label_units(syz_shardset *s, char (**units)[SYZ_UNIT_TEXT]);
/** Segment maps [n,152,152] uint8 of chosen objects; 0 where a file has none. Independent. */
syz_status syz_shardset_read_segment(syz_shardset *s, int64_t n, const int64_t *index, uint8_t *segment);

/* --------------------------------------------------- other people's files */

/**
 * An open HDF5 file of AstroCLIP, ssl-legacysurvey or the Multimodal Universe, known by what is in it (never by its
 * name), as rows of objects in syzygy's units and axis order. Not collective; rank-local. See src/data/foreign.c.
 *
 * object_id: AstroCLIP and MMU desi TARGETID; images RELEASE << 42 | BRICKID << 22 | OBJID (the TARGETID of an imaging
 * object) when the three columns are there, otherwise a whole number in `object_id`, otherwise a 62-bit hash of the
 * text in `object_id`.
 */
typedef struct syz_foreign syz_foreign;
/** SYZ_ERR_DATA names file, dataset, shape found and wanted; also for a file of no known format. */
syz_status syz_foreign_open(const char *path, syz_foreign **out);
void syz_foreign_close(syz_foreign **f);
/** Its format for people: "AstroCLIP pairs". */
const char *syz_foreign_kind(const syz_foreign *f);
/** Whether all its spectra are primary ones, though no column says so. */
bool syz_foreign_is_primary(const syz_foreign *f);
int64_t syz_foreign_size(const syz_foreign *f);
/** Rows [first, first + n): identifiers, positions (NaN when the file has none), which modalities. */
syz_status syz_foreign_objects(syz_foreign *f, int64_t first, int64_t n, syz_object *object);
/** Share of the stamp's pixels that the file's images reach, 0 .. 1: less than 1 for hsc, whose images are smaller.
 * What they do not reach is 0. */
double syz_foreign_coverage(const syz_foreign *f);
/** What cuts on spectra look at, of rows with spectra: ZWARN (ZWARNING), COADD_FIBERSTATUS, SPECTYPE (CLASS) and
 * OBJTYPE where the file has them; otherwise -1, "" and TGT, or SKY by the identifier. Fills these four fields of info
 * [n], whose object_id is read. */
syz_status syz_foreign_info(syz_foreign *f, int64_t first, int64_t n, syz_spectrum_info *info);
/** Pixels of these rows; any output may be NULL. image [n,3,152,152] g, r, z nanomaggy (band, y, x), the central 152 of
 * larger ones, of hsc resampled; flux, ivar [n,7781] (ivar 0 where the file's mask says bad or it is not a positive
 * number, and 1 elsewhere when the file holds none, as AstroCLIP's); zeros for the modality the format lacks. NaN is
 * the caller's to refuse, except that a masked pixel's flux becomes 0. SYZ_ERR_DATA also for wavelengths off the grid.
 */
syz_status syz_foreign_read(syz_foreign *f, int64_t first, int64_t n, float *image, float *flux, float *ivar);
/** Numeric columns usable as labels, in alphabetical order: "redshift" first when the file has one, then the file's own
 * names; (n,3) columns are given as <name>_g, _r, _z. Columns whose length is not n are left out. Borrowed. */
int syz_foreign_labels(const syz_foreign *f, const char *const **name);
/** One label of these rows as float32; NaN where unknown (redshift: also where the file says -99). SYZ_ERR_INPUT for an
 * unknown name. */
syz_status syz_foreign_read_label(syz_foreign *f, const char *name, int64_t first, int64_t n, float *value);
/** Its unit, the attribute `units` of the column, cut to `room`; "" when the file says none. */
syz_status syz_foreign_label_unit(syz_foreign *f, const char *name, size_t room, char *unit);

/* ---------------------------------------------------------------- sampler */

/** Which object is at place `place` of global batch `step`: a pure function, so every rank count and every restart sees
 * the same order. */
typedef struct syz_sampler {
  int64_t n, global_batch;
  uint64_t seed;
  bool shuffles;
} syz_sampler;
/** Global index of object `place` (0 .. global_batch-1) of step `step`: without shuffle (step * G + place) mod n in
 * file order; with it, epoch e of n objects is a keyed permutation; a batch that crosses an epoch's end goes on in the
 * next one. */
int64_t syz_sampler_index(const syz_sampler *s, int64_t step, int64_t place);

/* ------------------------------------------------------------ augmentation */

/** Applied in physical units before the colour mapping; all off by default. Every draw is a function of (seed, step,
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
/** A level of blur or noise in the survey: exp(log(scale) + shape n) + loc with n standard normal. */
typedef struct syz_lognormal {
  double shape, loc, scale;
} syz_lognormal;
/** The survey's fits of PSF (sigma, pixels) and noise (sigma, nanomaggy) in g, r, z: src/model/README.md "DINOv2
 * pretraining". */
extern const syz_lognormal syz_survey_psf[SYZ_BANDS], syz_survey_noise[SYZ_BANDS];

/**
 * Crops of an object: cut at random places of the stamp, flipped, turned, blurred and given noise in nanomaggies,
 * colour-mapped.
 *
 * For blur and noise a true and a wanted level are drawn per band from the survey's fits; where the wanted one is
 * larger, sqrt(wanted^2 - true^2) is applied. Every draw is a function of (seed, purpose, step, place, group, crop).
 */
typedef struct syz_crops_augment {
  int64_t size[SYZ_CROP_GROUPS],
      count[SYZ_CROP_GROUPS]; /**< pixels a side, crops an object; count 0: none of that group */
  double blur_first, blur_global,
      blur_local; /**< probability for the first global crop, the other global crops, local crops */
  double noise_first, noise_global, noise_local;
  bool flips, quarter_turns;
} syz_crops_augment;

/** Block-wise masks of iBOT (BEiT, Bao et al. 2021, arXiv:2106.08254; DINOv2's masking.py and collate.py). */
typedef struct syz_block_masks {
  int64_t crops, side;         /**< global crops of the global batch; patches a side */
  double probability;          /**< share of the crops with a mask: 0.5 */
  double ratio_min, ratio_max; /**< 0.1, 0.5: stratified over the masked crops of the global batch */
  double aspect_min;           /**< 0.3; the largest is its inverse */
} syz_block_masks;
/** mask [side * side] of crop `crop` (0 .. crops-1) at `step`: 1 = masked. Which crops have one, and with which ratio,
 * is a keyed permutation of the global batch: no rank count in it. Returns the number of masked patches. */
int64_t syz_block_mask(const syz_block_masks *m, uint64_t seed, int64_t step, int64_t crop, uint8_t *mask);
/** Upper bound of the sum of that number over any `n` crops in a row, for planning memory. */
int64_t syz_block_mask_most(const syz_block_masks *m, int64_t n);

/** Masked runs of spectrum tokens (src/model/README.md "Masked modelling"): in each of `runs` stretches (tokens / runs
 * of them, rounded down, from token i * tokens / runs on) one run of `width` tokens, start uniform in [0, stretch -
 * width). mask [tokens] is written, 1 = masked; returns runs * width. width <= stretch (the published code asks for (2
 * runs - 1) width <= tokens). */
int64_t syz_run_mask(int64_t tokens, int64_t runs, int64_t width, uint64_t seed, int64_t step, int64_t place,
                     uint8_t *mask);

/* ---------------------------------------------------------------- loader */

/** What the network is fed for one step's share of this rank: read, augmented, colour-mapped and cropped ahead of the
 * step by a thread. */
typedef struct syz_batch {
  int64_t step, n;      /**< n objects of this rank */
  const int64_t *index; /**< [n] global object numbers */
  const int64_t *place; /**< [n] place in the global batch */
  const float *image;   /**< [n,3,size,size] planes z, r, g; NULL when not wanted */
  const float *flux;    /**< [n,7781]; NULL when not wanted */
  const float
      *ivar; /**< [n,7781] as the file has it (1 where it has none and the flux is known); NULL when not wanted */
  const float *crop[SYZ_CROP_GROUPS]; /**< [n, count, 3, size, size] planes z, r, g; NULL when not wanted */
} syz_batch;

typedef struct syz_loader_config {
  syz_sampler sampler;
  const int64_t *subset; /**< [sampler.n] object numbers that the sampler's numbers stand for (borrowed, outlives the
                            loader); NULL: themselves */
  int64_t first_place, count;    /**< this rank's places of each global batch */
  int64_t first_step, last_step; /**< steps first .. last-1 will be asked for in order */
  int64_t image_size;            /**< centre crop fed to the network; 0: no images wanted */
  bool wants_flux, wants_ivar;   /**< ivar only with flux */
  const syz_crops_augment
      *crops; /**< borrowed for the create call; NULL: no crops. With crops image_size is 0 and `augment` is off, and an
               * object without an image is SYZ_ERR_DATA (syz_shardset_select leaves such out) */
  syz_augment augment; /**< drawn with sampler.seed */
  int ahead;           /**< batches read ahead (>= 1) */
} syz_loader_config;

typedef struct syz_loader syz_loader;
/** Not collective. Starts the read-ahead thread; the thread calls neither MPI nor HDF5 (contiguous datasets are read by
 * pread at their file offset; others are read by syz_loader_next on the main thread). */
syz_status syz_loader_create(syz_shardset *s, const syz_loader_config *config, syz_loader **out);
void syz_loader_destroy(syz_loader **l);
/** The next step's batch, borrowed until the next call. A bad object is an error here (rank-local: agree on it).
 * wait_s: += seconds waited. */
syz_status syz_loader_next(syz_loader *l, syz_batch *out, double *wait_s);
/** Bytes that a loader of this configuration takes, for plans of memory; needs no loader and reads no pointer but
 * `crops`. */
size_t syz_loader_bytes(const syz_loader_config *config);
/** Prepare network input from raw arrays on the calling thread: crop + colour map (image may be NULL). Used by embed.
 */
void syz_prepare_images(const float *image, int64_t n, int64_t size, float *planes);

/* ------------------------------------------------------------ token cache */

/** Tokens of frozen towers for every object: a flat scratch file per tower, rows of T x D in the activation type,
 * written and read by pwrite/pread. */
typedef struct syz_token_cache syz_token_cache;
/**
 * Collective. `key`: digest of weights, data set and precision: a cache with another key is discarded. Rows already
 * there are kept (restart). `row_bytes` = T * D * sizeof(act). in_memory: rows live in the memory of the rank that owns
 * the block of row numbers and travel by messages.
 */
syz_status syz_token_cache_open(syz_comm *c, const char *path, uint64_t key, int64_t rows, size_t row_bytes,
                                bool in_memory, syz_token_cache **out);
void syz_token_cache_close(syz_token_cache **t);
/** Rows this rank has to compute: contiguous share, those already there left out. Borrowed list. */
int64_t syz_token_cache_missing(const syz_token_cache *t, const int64_t **row);
syz_status syz_token_cache_put(syz_token_cache *t, int64_t n, const int64_t *row, const void *tokens);
/** Collective: all rows are there from now on. */
syz_status syz_token_cache_seal(syz_token_cache *t);
/** What a file is, for `info`: *is_cache = false for any other file; otherwise its rows, how many are there, bytes a
 * row. Rank-local. */
syz_status syz_token_cache_describe(const char *path, bool *is_cache, int64_t *rows, int64_t *there,
                                    int64_t *row_bytes);
/** Say which rows a later get will want: on disk a thread reads them into `tokens` meanwhile (no MPI there), which are
 * its own until the get with the same rows and the same `tokens`, or until the cache is closed; `row` is copied. One
 * reading at a time: a second call, or a get of other rows, waits for the first. In memory nothing is done. Not
 * collective; what goes wrong on the thread is that get's error. */
syz_status syz_token_cache_ahead(syz_token_cache *t, int64_t n, const int64_t *row, void *tokens);
/** Rows in the order asked for. In memory: collective (n may be 0); on disk: not. A failure is this rank's alone, so
 * that no rank waits for another's disk here: SYZ_ERR_DATA for a damaged row of the file, SYZ_ERR_NUMERIC for one of
 * this rank's that changed in memory, whoever asked for it: that rank then has the damaged row and SYZ_OK, so nothing
 * is to be used before all ranks have agreed. */
syz_status syz_token_cache_get(syz_token_cache *t, int64_t n, const int64_t *row, void *tokens);
