/* SPDX-License-Identifier: BSD-3-Clause */
/** The parts of the dense probe: heads on one set of features (dense.c), files (dense_write.c). */
#pragma once

#include "frozen.h"
#include "syzygy/figures.h"
#include "truth.h"

/** Results of the dense probe on the held-out objects. */
typedef struct syz_dense_result {
  const char *weights; /**< "trained" or "untrained" */
  syz_softmax_result fit;
  syz_class_figures patch,
      pixel; /**< held-out patches; pixels, with logits interpolated linearly between patch centres */
  double r2[SYZ_TRUTH_TARGETS];
  int64_t train_objects; /**< on which the heads were fitted; fewer than requested in a small data set */
  int64_t objects, first, n, cells, side; /**< held-out objects: of all ranks, of this rank */
  int targets;
  syz_truth truth;
  int64_t *number;   /**< [n] in the test split */
  float *logit;      /**< [n, cells, SYZ_SEGMENTS] */
  float *prediction; /**< [n, cells, targets] */
} syz_dense_result;

/** Fit on objects of `train`, evaluate on objects of `test`. Collective; agreed. */
syz_status syz_dense_run(const syz_run *run, const syz_frozen *net, syz_shardset *train, syz_shardset *test,
                         const syz_dense_options *options, const char *weights, syz_dense_result *out);
void syz_dense_free(syz_dense_result *r);
/** The most likely class of each pixel [size, size] of one object, from logits [side, side, SYZ_SEGMENTS] interpolated
 * linearly between patch centres. */
void syz_dense_pixels(const float *logit, int64_t side, int64_t size, uint8_t *pixel);

/** Write probe.json of all results, dense.h5 of the first, and pictures of its first `pictures` objects. Collective;
 * agreed.
 */
syz_status syz_dense_write(const syz_run *run, const syz_frozen *net, syz_shardset *test, int64_t pictures, int n,
                           const syz_dense_result *result);
