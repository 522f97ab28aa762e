/* SPDX-License-Identifier: BSD-3-Clause */
/** Which parameters train, and which share of them each rank updates. See parts.c. */
#pragma once

#include "syzygy/train.h"

enum { PARTS = SYZ_PARTS, PART_ROW = 16 };

/** One contiguous stretch of the model's block: a backbone or a head. */
typedef struct part {
  const char *name; /**< "image_backbone": also the name in checkpoints */
  syz_part part;
  bool is_here, is_trained;
  int64_t first, count;         /**< elements of this rank's block; 0 when the tower is elsewhere */
  int64_t total;                /**< elements of the part: the same on every rank */
  uint64_t layout;              /**< digest of names, shapes and places in the part: the same on every rank */
  int64_t own_first, own_count; /**< this rank's share, relative to the part: whole rows of PART_ROW elements */
  float *moment1, *moment2;     /**< [own_count]; NULL unless it is trained here */
  size_t *bytes;                /**< [data ranks] of the shares, for gathering */
} part;

/** Elements that are trained by one rule, without gaps: what the optimiser and the norm go over. */
typedef struct segment {
  int64_t first, count; /**< in the block */
  syz_rule rule;
} segment;

typedef struct parts {
  const syz_grid *grid;
  part part[PARTS];
  segment *segment; /**< ascending, neighbours of the same rule merged across padding; within one part each */
  int n_segments;
} parts;

/** A backbone, which a run may leave frozen; everything else is trained always. */
bool part_is_backbone(syz_part which);
/** Collective over grid->world; agreed. Parameters without a gradient (is_used false) are in a part but in no segment. `objective` gives the
 * rules; NULL, or one without: factors 1, never frozen, clip group 0. */
syz_status parts_create(const syz_grid *grid, const syz_model *model, bool trains_backbones, const syz_objective *objective, parts *out);
void parts_destroy(parts *p);
/** Elements of segment s that this rank updates: those in its share of the part. count may be 0. `owner`: the part. */
void parts_own(const parts *p, int s, int64_t *first, int64_t *count, const part **owner);
