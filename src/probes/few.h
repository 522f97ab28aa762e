/* SPDX-License-Identifier: BSD-3-Clause */
/** Inside of room probes: how well a rare class is found from few labels. */
#pragma once

#include "method.h"

typedef enum few_kind {
  FEW_BALANCED, /**< a linear head on as many objects of the class as of the others */
  FEW_NATURAL,  /**< a linear head on objects as they come */
  FEW_EXAMPLES, /**< cosine to the mean of examples of the class; no others are needed */
  FEW_KINDS
} few_kind;
extern const char *const few_kind_name[FEW_KINDS];

enum { FEW_FIGURES = 3 /* AUC, average precision, completeness */ };

/** Figures of one label from one source, over draws of labelled objects: the same on every rank. */
struct few_curves {
  int source, label;
  int64_t test, positives;
  double *figure; /**< [FEW_KINDS, sizes, draws, FEW_FIGURES]; NaN where there are not so many objects */
};

/** Mean and deviation of a figure over the draws; .draws: those that count. */
syz_estimate few_mean(const job *p, const few_curves *f, few_kind kind, int size, int figure);
void few_print(const job *p, const few_curves *f);
