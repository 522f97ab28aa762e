/* SPDX-License-Identifier: BSD-3-Clause */
/** Gradients that are summed leaf by leaf. See leaf_gradients.c. */
#pragma once

#include "parts.h"

/** Gradients of the leaves of a step. */
typedef struct leaf_gradients leaf_gradients;
/** block: receives the sum, and is the first slot; borrowed. count: of this rank. Not collective. */
syz_status leaf_gradients_create(const parts *p, float *block, int64_t block_elements, int64_t count, int threads,
                                 leaf_gradients **out);
void leaf_gradients_destroy(leaf_gradients **l);
/** A new step; the caller has zeroed `block`. */
void leaf_gradients_begin(leaf_gradients *l);
/** The block for the gradient of the current leaf: zero when it begins. */
float *leaf_gradients_block(leaf_gradients *l);
/** The current leaf is complete. */
void leaf_gradients_end(leaf_gradients *l);
/** After the last one: the sum over all ranks, in this rank's slices (parts.c). Collective over the data axis. */
void leaf_gradients_sum(leaf_gradients *l);
