/* SPDX-License-Identifier: BSD-3-Clause */
/** The parts of the dense probe: heads on one set of features (dense.c), files (dense_write.c). */
#pragma once

#include "frozen.h"
#include "truth.h"

/** What frozen features know of the held-out objects. */
typedef struct syz_dense_result {
  const char *weights; /**< "trained" or "untrained" */
  syz_softmax_result fit;
  syz_class_figures patch, pixel; /**< held-out patches; pixels, by logits between patch centres in straight lines */
  double r2[SYZ_TRUTH_TARGETS];
  int64_t train_objects; /**< that the heads were fitted on: fewer than asked for in a small data set */
  int64_t objects, first, n, cells, side; /**< held-out objects: of all ranks, of this rank */
  int targets;
  syz_truth truth;
  int64_t *number;   /**< [n] in the test split */
  float *logit;      /**< [n, cells, SYZ_SEGMENTS] */
  float *prediction; /**< [n, cells, targets] */
} syz_dense_result;

/** Fit on objects of `train`, judge on objects of `test`. Collective; agreed. */
syz_status syz_dense_run(const syz_run *run, const syz_frozen *net, syz_shardset *train, syz_shardset *test,
                         const syz_dense_options *options, const char *weights, syz_dense_result *out);
void syz_dense_free(syz_dense_result *r);
/** The likeliest class of each pixel [size, size] of one object: logits [side, side, SYZ_SEGMENTS] between patch
 * centres in straight lines. */
void syz_dense_pixels(const float *logit, int64_t side, int64_t size, uint8_t *pixel);

/** probe.json of all results, dense.h5 of the first, and pictures of its first `pictures` objects. Collective; agreed.
 */
syz_status syz_dense_write(const syz_run *run, const syz_frozen *net, syz_shardset *test, int64_t pictures, int n,
                           const syz_dense_result *result);
