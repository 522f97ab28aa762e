/* SPDX-License-Identifier: BSD-3-Clause */
/** Sums of gradients over ranks that run beside the backward pass. See gradients.c. */
#pragma once

#include "parts.h"
#include "syzygy/train.h"

/** Collective over the data axis; agreed there. `reduction`: how slices travel between nodes. */
syz_status gradients_create(const parts *p, int64_t block_elements, syz_reduction reduction, int threads,
                            syz_gradients **out);
void gradients_destroy(syz_gradients **g);
/** Reproducible sums from now on: `count` leaves of this rank a step. Once, after create; not collective. */
syz_status gradients_cut(syz_gradients *g, int64_t block_elements, int64_t count, int threads);
/** What is summed while the backward pass runs is counted as a phase of its own. NULL: not. */
void gradients_watch(syz_gradients *g, syz_timing *timing);
/** Zero the trained parts; a new step begins. Waits until the ranks of this node have what they need of the last one.
 */
void gradients_begin(syz_gradients *g);
/** Begin the sums that no call of syz_gradients_ready has begun, and wait for all. Behind it the block has the sum over
 * all ranks in this rank's slices, and nothing of use elsewhere. Collective over the data axis. */
void gradients_finish(syz_gradients *g);
/** How many of the step's buckets this rank has had complete, and how many it has summed, in calls of
 * syz_gradients_ready, beside the backward pass; how many there are. */
void gradients_overlap(const syz_gradients *g, int *begun, int *summed, int *all);
