/* SPDX-License-Identifier: BSD-3-Clause */
/** Sums of gradients over ranks that run beside the backward pass. See gradients.c. */
#pragma once

#include "parts.h"
#include "syzygy/train.h"

/** Collective over the data axis; agreed there. `reduction`: how slices travel between nodes. */
syz_status gradients_create(const parts *p, int64_t block_elements, syz_reduction reduction, int threads,
                            syz_gradients **out);
void gradients_destroy(syz_gradients **g);
/** Reproducible sums from now on: `count` leaves of this rank per step. Call once, after create; not collective. */
syz_status gradients_cut(syz_gradients *g, int64_t block_elements, int64_t count, int threads);
/** Sums during the backward pass are timed as a separate phase. NULL: not timed. */
void gradients_watch(syz_gradients *g, syz_timing *timing);
/** Zero the trained parts; a new step begins. Waits until the ranks of this node have read this block's gradients of
 * the last step. */
void gradients_begin(syz_gradients *g);
/** Begin the sums that no call of syz_gradients_ready has begun, and wait for all. Afterwards the block has the sum
 * over all ranks in this rank's slices; the rest of it is undefined. Collective over the data axis. */
void gradients_finish(syz_gradients *g);
/** Of the step's buckets, how many were complete on this rank, and how many it summed, during the backward pass (in
 * calls of syz_gradients_ready); and their total number. */
void gradients_overlap(const syz_gradients *g, int *begun, int *summed, int *all);
