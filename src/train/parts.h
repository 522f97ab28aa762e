/* SPDX-License-Identifier: BSD-3-Clause */
/** Which parameters train, and which share of them each rank updates. See parts.c. */
#pragma once

#include "syzygy/train.h"

enum {
  PARTS = SYZ_PARTS,
  PART_ROW = 16,   /**< elements: 64 bytes; the unit in which checkpoints store and check them */
  PART_UNIT = 4096 /**< elements that are never divided between ranks, counted from the beginning of a part */
};

/** One contiguous stretch of the model's block: a backbone or a head. */
typedef struct part {
  const char *name; /**< "image_backbone": also the name in checkpoints */
  syz_part part;
  bool is_here, is_trained;
  int64_t first, count; /**< elements of this rank's block; 0 when the tower is on other ranks */
  int64_t total;        /**< elements of the part: the same on every rank */
  uint64_t layout;      /**< digest of names, shapes and places in the part: the same on every rank */
  int64_t own_count;    /**< elements of this rank's slices of all its buckets */
  int64_t share_first,
      share_count; /**< this rank's share in files: contiguous whole rows, relative to the part; unlike its slices */
  float *moment1, *moment2; /**< [own_count] of the slices in ascending order; NULL unless it is trained here */
} part;

/** A stretch of a part that is summed over ranks at once: whole units. Each rank has a slice of it, which it sums,
 * updates and sends. */
typedef struct bucket {
  int part;
  int64_t first, count;         /**< in the block */
  int64_t own_first, own_count; /**< this rank's slice, in the block; count may be 0 */
  int64_t place;                /**< of the slice among the moments of the part */
  int64_t trained;              /**< elements of segments; 0: nothing to sum or update */
} bucket;

/** Contiguous elements trained by one rule, over which the optimiser and the norm run. */
typedef struct segment {
  int64_t first, count; /**< in the block */
  syz_rule rule;
  int64_t first_square; /**< of its sums of squares (one per unit that it touches) among those of all segments */
} segment;

/** A stretch of this rank's slices within one unit and one segment. */
typedef struct stretch {
  int64_t first, square; /**< in the block; place of its sum of squares */
  int32_t count;
} stretch;

/** Parameters outside the block: replicated on all ranks. */
typedef struct scalars {
  int n;
  double value[SYZ_SCALARS_MAX], gradient[SYZ_SCALARS_MAX], moment1[SYZ_SCALARS_MAX], moment2[SYZ_SCALARS_MAX];
} scalars;

enum { PARTS_RING = 8 /**< most buckets in transit between nodes at once */ };

typedef struct parts {
  const syz_grid *grid;
  syz_nodes *nodes; /**< of grid->data: whose ranks share one block of weights. Borrowed from the model, or
                       own_nodes */
  syz_nodes *own_nodes;
  part part[PARTS];
  segment *segment; /**< ascending, neighbours of the same rule merged across padding; within one part each */
  int n_segments;
  bucket *bucket; /**< in the order in which backward passes finish them */
  int n_buckets;
  int64_t n_squares;
  double *square;   /**< [n_squares] scratch of the norm */
  stretch *stretch; /**< [n_stretches] */
  int64_t n_stretches;
  syz_request *travel[PARTS_RING]; /**< weights in transit */
  struct digests
      *digests; /**< with which the optimiser detects changes in memory (digests.h); borrowed; NULL: no detection */
} parts;

/**
 * Collective over grid->world; agreed. Parameters without a gradient (is_used false) are in a part but in no segment.
 * `objective` gives the rules; NULL, or one without: factors 1, never frozen, clip group 0. bucket_elements: 0: 4 Mi,
 * or more if a rank would have less than 4 units.
 */
syz_status parts_create(const syz_grid *grid, const syz_model *model, bool trains_backbones,
                        const syz_objective *objective, int64_t bucket_elements, parts *out);
void parts_destroy(parts *p);
/** The slice of a bucket that data rank `rank` has, in the block; count may be 0. */
void parts_slice(const parts *p, int bucket, int rank, int64_t *first, int64_t *count);
/** Elements of bucket i that are trained and in [first, first + count) of the block. */
int64_t parts_trained(const parts *p, int i, int64_t first, int64_t count);
/** Elements of the largest slice of any bucket and rank. */
int64_t parts_largest_slice(const parts *p);
/** An upper bound of it when `elements` are cut into buckets for `ranks` ranks. */
int64_t parts_planned_slice(int64_t elements, int ranks);
/**
 * Moves data between a rank's slices of a part (own [own_count], ascending) and its share in files (share
 * [share_count]). Collective over grid->data. stage [share_count], counts [2 * data ranks]: scratch.
 */
void parts_to_share(const parts *p, const part *which, const float *own, float *share, float *stage, size_t *counts);
void parts_from_share(const parts *p, const part *which, const float *share, float *own, float *stage, size_t *counts);
