/* SPDX-License-Identifier: BSD-3-Clause */
/** Features of frozen image backbones, for probe, maps and judge. */
#pragma once

#include "syzygy/analysis.h"
#include "syzygy/data.h"
#include "syzygy/model.h"

/** Numbers of at most `wanted` objects that have an image, evenly spaced through the set; returns how many. list
 * [wanted]. */
int64_t syz_choose_images(const syz_shardset *data, int64_t wanted, int64_t *list);

/** Called for each batch: objects at .. at + n - 1 of the list; tokens [n, T, D] in the activation type, class token
 * and registers first; planes [n, 3, size, size]. */
typedef void syz_features_use(void *context, int64_t at, int64_t n, const void *tokens, const float *planes);
/** Rank-local: run listed objects of `data` [n] through the image backbone, `batch` at a time (the tower is planned for
 * it); a thread reads pixels ahead. SYZ_ERR_DATA for unusable objects, SYZ_ERR_MEMORY. `what` NULL: no progress line.
 */
syz_status syz_features_run(syz_model *m, const syz_compute *compute, syz_shardset *data, int64_t batch, int64_t n,
                            const int64_t *list, const char *what, syz_features_use *use, void *context);

/** Patch features of some objects: each rank holds those of a contiguous share, in the activation type. */
typedef struct syz_patches {
  int64_t objects, first, n; /**< of all ranks; this rank's */
  int64_t side, width;       /**< patches per side; D */
  int64_t *number;           /**< [objects] in the data set */
  syz_array_rows array;      /**< [n, side^2, D], last norm applied */
  void *token;
  syz_rows rows; /**< the patches as rows of a tall matrix; its context is `array`: do not copy the struct */
} syz_patches;
/** Collective; agreed. At most `wanted` objects of `data`, chosen by syz_choose_images. SYZ_ERR_DATA when none has
 * an image. SYZ_ERR_MEMORY with numbers when the ranks of a node do not fit together. */
syz_status syz_patches_create(syz_comm *c, const syz_compute *compute, syz_model *m, syz_shardset *data, int64_t wanted,
                              int64_t batch, const char *what, syz_patches **out);
void syz_patches_destroy(syz_patches **p);
