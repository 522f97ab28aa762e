/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * features: what the features of a frozen image backbone know. Linear heads on patches against the truth of the
 * simulator, maps of principal components, and a judge that looks at a tower while it trains.
 *
 * Probe and maps have two steps, so that the first can check everything before the run folder is taken. Options are
 * borrowed until the work is closed, and so are the texts and lists in them.
 */
#pragma once

#include "syzygy/data.h"
#include "syzygy/model.h"
#include "syzygy/objectives.h"
#include "syzygy/simulator.h"
#include "syzygy/train.h"

/** The backbone and the objects that are looked at. */
typedef struct syz_frozen_options {
  syz_data_options data;   /**< a probe takes both splits, whatever it says */
  const char *model_file;  /**< any model file with an image backbone; "": none */
  bool is_untrained;       /**< initial weights of the architecture of model_file, or of config without one */
  syz_model_config config; /**< used without model_file */
  uint64_t seed;           /**< of initial weights */
  syz_compute_options compute;
  int64_t batch; /**< images per rank that go through the tower at once; the result does not depend on it */
} syz_frozen_options;

/* ----------------------------------------------------------- dense probe */

enum { SYZ_SEGMENTS = SYZ_SEGMENT_ARTEFACT + 1 };
/** "background", "bulge", ...: syz_segment by name. */
extern const char *const syz_segment_name[SYZ_SEGMENTS];

/** How the heads are fitted and judged. */
typedef struct syz_dense_options {
  int64_t train_objects, test_objects;
  double class_weight[SYZ_SEGMENTS]; /**< factor of the loss of a patch of each class */
  bool is_balanced;                  /**< instead: patches / (classes x patches of the class) */
  double l2, tolerance, ridge;       /**< penalty and end of the segmentation, penalty of the regression */
  int64_t iterations;
  bool compares_untrained; /**< do it with initial weights as well */
  int64_t pictures;        /**< held-out objects that get a PNG file */
} syz_dense_options;

typedef struct syz_dense_probe syz_dense_probe;

/** Open data and backbone. SYZ_ERR_INPUT, SYZ_ERR_DATA, SYZ_ERR_MEMORY. Collective; agreed. */
syz_status syz_dense_probe_open(const syz_run *run, const syz_frozen_options *net, const syz_dense_options *options,
                                syz_dense_probe **out);
/** Fit on the training split, judge on the test split, write <folder>/probe.json, dense.h5 and pictures. Once.
 * Collective; agreed. */
syz_status syz_dense_probe_write(syz_dense_probe *p);
void syz_dense_probe_close(syz_dense_probe **p);

/* ------------------------------------------------------- maps of patches */

typedef struct syz_maps_options {
  int64_t objects;    /**< images of the batch, at even steps through the data set */
  int64_t components; /**< principal components that are kept; the first three make the colours */
  int64_t pictures;   /**< objects that get a PNG file */
  double
      percentile; /**< a colour runs from this percentile of its component over the batch to the same one from above */
  int64_t scalapack_from; /**< eigenproblems of this size and more are solved by ScaLAPACK on all ranks */
} syz_maps_options;

typedef struct syz_maps syz_maps;

/** Open data and backbone. SYZ_ERR_INPUT, SYZ_ERR_DATA, SYZ_ERR_MEMORY. Collective; agreed. */
syz_status syz_maps_open(const syz_run *run, const syz_frozen_options *net, const syz_maps_options *options,
                         syz_maps **out);
/** Write <folder>/patches.h5 and pictures. SYZ_ERR_NUMERIC when all features are the same. Once. Collective; agreed. */
syz_status syz_maps_write(syz_maps *m);
void syz_maps_close(syz_maps **m);

/* ----------------------------------------------------------------- judge */

/**
 * What an image tower knows while it trains: nearest neighbours by its frozen class token, on held-out objects.
 * Redshift and other numbers by R^2, morphology and other classes by accuracy. The same figures for principal
 * components of the pixels and for the net before training stand beside them in every line of validation.jsonl, so that
 * a chart shows what training brought.
 */
typedef struct syz_judge_options {
  int64_t train_objects;    /**< among which neighbours are looked for; 0: no judge */
  int64_t test_objects;     /**< whose labels are predicted */
  int64_t neighbours;       /**< of a prediction */
  syz_texts label[2];       /**< numbers to regress, classes to predict */
  bool is_given[2];         /**< they were asked for by name: one that is not there is an error */
  int64_t pixel_components; /**< principal components of the pixels whose neighbours are the baseline; 0: no such
                               baseline */
  int64_t batch;            /**< images per rank that go through the teacher at once */
  int threads;              /**< of the search */
} syz_judge_options;

/**
 * Whether the labels asked for are in the data and their figures find room: SYZ_ERR_INPUT otherwise, before anything is
 * written and in a dry run too. `test` may be NULL. Not collective; the same on every rank.
 */
syz_status syz_judge_check(const syz_judge_options *options, const syz_shardset *train, const syz_shardset *test);
/**
 * Make a judge of `teacher` (SYZ_PURPOSE_DINO, with its weights before training; borrowed, looked at again at each
 * call).
 *
 * Reads labels and pixels and computes the baselines, so it takes seconds: call it once the run folder is taken. `test`
 * NULL, or a data set without any of the labels asked for: out->judge is NULL, and why is said. Collective over
 * run->world; agreed. SYZ_ERR_INPUT as syz_judge_check, and for labels that were asked for but are known nowhere or are
 * no classes; SYZ_ERR_MEMORY.
 */
syz_status syz_judge_create(const syz_run *run, const syz_judge_options *options, const syz_compute *compute,
                            syz_model *teacher, syz_shardset *train, syz_shardset *test, syz_judge *out);
/** NULL context is fine. */
void syz_judge_destroy(syz_judge *judge);
/** What a rank needs for it while training goes on: layers and activations of the teacher on a batch of images. 0
 * without a judge. */
size_t syz_judge_bytes(const syz_judge_options *options, const syz_model *teacher);
