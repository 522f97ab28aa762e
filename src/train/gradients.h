/* SPDX-License-Identifier: BSD-3-Clause */
/** Sums of gradients over ranks that run beside the backward pass. See gradients.c. */
#pragma once

#include "parts.h"
#include "syzygy/train.h"

/** Not collective; rank-local failures. bucket_elements: of one message; the same on all ranks. */
syz_status gradients_create(const parts *p, int64_t block_elements, int64_t bucket_elements, syz_gradients **out);
void gradients_destroy(syz_gradients **g);
/** Zero the trained segments; a new step begins. */
void gradients_begin(syz_gradients *g);
/** Begin the sums that no call of syz_gradients_ready has begun, and wait for all. Collective over the data axis. */
void gradients_finish(syz_gradients *g);
/** How many of the step's messages had been begun when gradients_finish was called, and how many there are. */
void gradients_overlap(const syz_gradients *g, int *begun, int *all);
