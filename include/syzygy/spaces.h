/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * spaces: what two embeddings of the same objects have in common, and in which health a space of embeddings is. Works
 * on embedding files: canonical correlation, mutual information, principal components, figures of health.
 *
 * The work has two steps, so that the first can check everything before the run folder is taken. Options are borrowed
 * until the work is closed, and so are the texts and lists in them.
 */
#pragma once

#include "syzygy/comm.h"
#include "syzygy/model.h"

typedef struct syz_spaces_options {
  syz_texts embeddings;  /**< files, or folders with an embedding.h5; none: that of the run's folder */
  syz_texts before;      /**< the same objects before alignment; none: no comparison */
  syz_texts sources;     /**< two: "image", "spectrum", or datasets (N, E) by name */
  double rank_tolerance; /**< of canonical correlation: see syz_cca_options */
  int64_t scalapack_from;
  int64_t permutations; /**< of partners */
  syz_texts labels;     /**< read from the first variates by nearest neighbours; one that no file has is left out */
  int64_t neighbours;   /**< of that reading; 0: none */
  int64_t dimensions;   /**< most variates and components that labels and partners are looked for in */
  int64_t draw_objects; /**< pairs of the largest draw of InfoNCE and uniformity */
  int64_t draws;        /**< of each size */
  double logit_scale;   /**< factor of cosines in InfoNCE */
  int64_t components;   /**< principal components written */
  uint64_t seed;
  syz_compute_options compute; /**< of searches */
} syz_spaces_options;

typedef struct syz_spaces syz_spaces;

/** Open the files and tell how many objects have both embeddings; the others (flagged, not finite, all zero) take part
 * in nothing. SYZ_ERR_INPUT, SYZ_ERR_DATA, SYZ_ERR_MEMORY. Collective; agreed. */
syz_status syz_spaces_open(const syz_run *run, const syz_spaces_options *options, syz_spaces **out);
void syz_spaces_close(syz_spaces **s);

/*
 * What is written into the run's folder, each with a table in the log. Collective; agreed. SYZ_ERR_INPUT when there are
 * too few objects, SYZ_ERR_DATA, SYZ_ERR_NUMERIC, SYZ_ERR_WRITE, SYZ_ERR_MEMORY.
 */

/** cca.json and cca.h5: correlations, held-out ones, permutations; labels and partners from the first variates and
 * principal components; with `before` the same there, and principal angles between the two. */
syz_status syz_spaces_write_cca(syz_spaces *s);
/** information.json: of Gaussians over the shared dimensions; InfoNCE's bound as a curve over the size of a draw. */
syz_status syz_spaces_write_information(syz_spaces *s);
/** health.json: effective rank, alignment, uniformity, modality gap, duplicates. */
syz_status syz_spaces_write_health(syz_spaces *s);
/** pca.json and pca.h5: directions, variances, the components of each object. */
syz_status syz_spaces_write_pca(syz_spaces *s);
