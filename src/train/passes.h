/* SPDX-License-Identifier: BSD-3-Clause */
/** Passes through the leaves of a rank's share of the global batch. See src/comm/leaves.c. */
#pragma once

#include "syzygy/train.h"

/**
 * A rank's share of the batch in passes: no pass crosses the border of a leaf, so what is in a pass follows from the
 * global batch, the number of leaves and the largest pass, whatever rank it is on. Without leaves (reproducible: false)
 * the whole share is one. A rank without objects makes one empty pass.
 */
typedef struct passes {
  int64_t count;       /**< objects of this rank */
  int64_t leaf, chunk; /**< objects of a leaf, most of a pass */
  int64_t per_leaf, n; /**< passes of a leaf, of this rank */
} passes;
/** leaves: of the global batch; 0: none. wanted: objects of a pass, >= 1. */
passes passes_of(int64_t global_batch, int64_t leaves, int64_t share, int64_t wanted);
/** Without leaves: as many passes as a rank with `most` objects makes, empty ones behind. Ranks of a tensor group go
 * through their passes together; with leaves all ranks have the same number of them. */
void passes_pad(passes *p, int64_t most, int64_t wanted);
/** Objects *at .. *at + return of pass k. */
int64_t passes_at(const passes *p, int64_t k, int64_t *at);
static inline bool passes_begins_leaf(const passes *p, int64_t k) { return k % p->per_leaf == 0; }
static inline bool passes_ends_leaf(const passes *p, int64_t k) { return (k + 1) % p->per_leaf == 0; }
