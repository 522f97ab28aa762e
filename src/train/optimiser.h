/* SPDX-License-Identifier: BSD-3-Clause */
/** Gradient norm, clipping and AdamW, with the optimiser's state divided among ranks. See optimiser.c. */
#pragma once

#include "parts.h"
#include "syzygy/train.h"

/**
 * Norm of the summed gradients (of each rank's slices) over everything that is trained, both towers and the scalars,
 * and of each clip group (scalars are of group 0). `poison` is added to it: with NAN a rank that has failed informs all
 * others. Collective over grid->world; the same on every rank. With the same gradient sums it is the same for any
 * number of ranks, to the last bit.
 */
double optimiser_norm(const parts *p, const float *gradients, const scalars *s, double poison, int threads,
                      double group[SYZ_CLIP_GROUPS]);
/** PyTorch's clip_grad_norm_: min(1, limit / (norm + 1e-6)); 1 when limit is 0. */
double optimiser_clip(double norm, double limit);
/** One AdamW update of the trained segments of `weights`, each by its own rule, with gradients * scale[its clip group];
 * step counts from 1. Afterwards every rank sees all new weights. Collective over grid->data; no rank may still read
 * the old ones (after optimiser_norm none does). */
void optimiser_update(const parts *p, const syz_adamw *rule, int64_t step, const double scale[SYZ_CLIP_GROUPS],
                      float *weights, const float *gradients, scalars *s, int threads);
