/* SPDX-License-Identifier: BSD-3-Clause */
/** How the objectives fill in what a step does (syz_work). See work.c. */
#pragma once

#include "passes.h"

/** Objects of the largest share and their passes; what every step sends; trained elements of the model, the backbones
 * among them when they train. */
void work_begin(syz_work *w, const passes *p, const syz_model *model, bool trains_backbones);
/** Nothing is added for an item without operations. */
void work_add(syz_work *w, const char *name, syz_rate rate, double forward, double backward, double again);
/** An item for a loss, and its calls `times` over. */
void work_add_loss(syz_work *w, const char *name, syz_rate rate, const syz_loss_work *l, double times,
                   bool is_of_batch);
/** Elements of a part of the model; 0 when it is not there. */
double work_elements(const syz_model *model, syz_part part);
/** Blocks of a backbone that run forward again in the backward pass, of all of them. */
double work_recomputed(const syz_model *model, int64_t depth);
/** Passes that run forward again before their backward pass, of all of them: all but the last. */
static inline double work_repeated(const syz_work *w) { return 1 - 1 / (double)w->passes; }
/** What a backbone that trains sends to its tensor group: rows of an object, `forwards` passes forward. */
void work_add_group(syz_work *w, const syz_model *model, syz_modality tower, double rows, double forwards);
