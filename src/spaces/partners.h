/* SPDX-License-Identifier: BSD-3-Clause */
/** Inside of room spaces: how well an object's vector of one side finds its vector of the other one. */
#pragma once

#include "spaces.h"

/** Coordinates of this rank's rows of the set. */
typedef struct partner_view {
  int64_t width;
  const float *x[2]; /**< [n, ld] of both sides; NULL: the embeddings themselves */
  int64_t ld;
  const double *weight; /**< [width] of the coordinates; used with x */
} partner_view;

/** From side `from` to the other one, by cosine, among the rows where is_used [t->n] of this rank says so. Collective;
 * agreed. */
syz_status partners_find(const syz_spaces *s, const table *t, const uint8_t *is_used, const partner_view *view,
                         int from, syz_pair_figures *out);
