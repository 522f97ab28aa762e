/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * features: measures what the features of a frozen image backbone know. Linear heads on patches, tested against the
 * simulator's truth; maps of principal components; a judge that evaluates a tower during training.
 *
 * Probe and maps have two steps: opening checks everything before the run folder is created or changed. Options, with
 * their texts and lists, are borrowed until closing.
 */
#pragma once

#include "syzygy/data.h"
#include "syzygy/model.h"
#include "syzygy/objectives.h"
#include "syzygy/simulator.h"
#include "syzygy/train.h"

/** The backbone and the objects to evaluate. */
typedef struct syz_frozen_options {
  syz_data_options data;   /**< a probe uses both splits, whatever `split` says */
  const char *model_file;  /**< any model file with an image backbone; "": none */
  bool is_untrained;       /**< use initial weights, with the architecture of model_file, or of config without a file */
  syz_model_config config; /**< used without model_file */
  uint64_t seed;           /**< of initial weights */
  syz_compute_options compute;
  int64_t batch; /**< images per rank and forward pass; the result does not depend on it */
} syz_frozen_options;

/* ----------------------------------------------------------- dense probe */

enum { SYZ_SEGMENTS = SYZ_SEGMENT_ARTEFACT + 1 };
/** "background", "bulge", ...: names of syz_segment. */
extern const char *const syz_segment_name[SYZ_SEGMENTS];

/** How the heads are fitted and tested. */
typedef struct syz_dense_options {
  int64_t train_objects, test_objects;
  double class_weight[SYZ_SEGMENTS]; /**< factor of the loss of a patch, by class */
  bool is_balanced;                  /**< the factor is patches / (classes x patches of the class) instead */
  double l2, tolerance, ridge;       /**< penalty and tolerance of the segmentation, penalty of the regression */
  int64_t iterations;
  bool compares_untrained; /**< repeat everything with initial weights */
  int64_t pictures;        /**< held-out objects that get a PNG file */
} syz_dense_options;

typedef struct syz_dense_probe syz_dense_probe;

/** Open data and backbone. SYZ_ERR_INPUT, SYZ_ERR_DATA, SYZ_ERR_MEMORY. Collective; agreed. */
syz_status syz_dense_probe_open(const syz_run *run, const syz_frozen_options *net, const syz_dense_options *options,
                                syz_dense_probe **out);
/** Fit on the training split, test on the test split, write <folder>/probe.json, dense.h5 and pictures. Call it once.
 * Collective; agreed. */
syz_status syz_dense_probe_write(syz_dense_probe *p);
void syz_dense_probe_close(syz_dense_probe **p);

/* ------------------------------------------------------- maps of patches */

typedef struct syz_maps_options {
  int64_t objects;        /**< images, evenly spaced in the data set */
  int64_t components;     /**< principal components to keep; the first three become colours */
  int64_t pictures;       /**< objects that get a PNG file */
  double percentile;      /**< a colour runs from this percentile of its component over all images to 100 minus it */
  int64_t scalapack_from; /**< from this size on ScaLAPACK solves eigenproblems on all ranks */
} syz_maps_options;

typedef struct syz_maps syz_maps;

/** Open data and backbone. SYZ_ERR_INPUT, SYZ_ERR_DATA, SYZ_ERR_MEMORY. Collective; agreed. */
syz_status syz_maps_open(const syz_run *run, const syz_frozen_options *net, const syz_maps_options *options,
                         syz_maps **out);
/** Write <folder>/patches.h5 and pictures. SYZ_ERR_NUMERIC when all features are equal. Call it once. Collective;
 * agreed. */
syz_status syz_maps_write(syz_maps *m);
void syz_maps_close(syz_maps **m);

/* ----------------------------------------------------------------- judge */

/**
 * Evaluates an image tower during training, by nearest neighbours of its class token on held-out objects: R^2 of
 * redshift and other numbers, accuracy of morphology and other classes. Every line of validation.jsonl also has the
 * same figures for principal components of the pixels and for the network before training, so that a chart shows the
 * gain.
 */
typedef struct syz_judge_options {
  int64_t train_objects;    /**< objects among which neighbours are searched; 0: no judge */
  int64_t test_objects;     /**< objects whose labels are predicted */
  int64_t neighbours;       /**< neighbours per prediction */
  syz_texts label[2];       /**< numbers to regress, classes to predict */
  bool is_given[2];         /**< whether the user named them: a missing label is then an error */
  int64_t pixel_components; /**< principal components of the pixels for the baseline; 0: no such baseline */
  int64_t batch;            /**< images per rank and forward pass of the teacher */
  int threads;              /**< of the search */
} syz_judge_options;

/**
 * Check that the data have the labels requested and that there is room for their figures: otherwise SYZ_ERR_INPUT,
 * before anything is written, and in a dry run too. `test` may be NULL. Not collective; the same on every rank.
 */
syz_status syz_judge_check(const syz_judge_options *options, const syz_shardset *train, const syz_shardset *test);
/**
 * Make a judge of `teacher` (SYZ_PURPOSE_DINO, with its weights before training; borrowed, and evaluated at each call).
 *
 * Reads labels and pixels and computes the baselines, which takes seconds: call it after the run folder exists. When
 * `test` is NULL, or the data have none of the labels, out->judge is NULL and the log says why. Collective over
 * run->world; agreed. SYZ_ERR_INPUT as in syz_judge_check, and for named labels without any value or that are no
 * classes; SYZ_ERR_MEMORY.
 */
syz_status syz_judge_create(const syz_run *run, const syz_judge_options *options, const syz_compute *compute,
                            syz_model *teacher, syz_shardset *train, syz_shardset *test, syz_judge *out);
/** A NULL context is allowed. */
void syz_judge_destroy(syz_judge *judge);
/** Bytes per rank of a judge during training: layers and activations of the teacher on a batch of images. 0 without a
 * judge. */
size_t syz_judge_bytes(const syz_judge_options *options, const syz_model *teacher);
