/* SPDX-License-Identifier: BSD-3-Clause */
/** Inside of room spaces: what the first r canonical variates and principal components know. */
#pragma once

#include "spaces.h"

enum {
  SERIES_SPACES = 4, /* canonical variates of both sides, principal components of both */
  SERIES_STEPS = 16  /* r = 1, 2, 4, ... */
};

typedef struct series {
  int64_t r[SERIES_STEPS];
  int steps;
  int64_t found[SERIES_SPACES]; /* variates or components that there are; a figure with more than them is NaN */
  int n_labels;
  const char **label;                        /* [n_labels] borrowed */
  int64_t *train, *test;                     /* [n_labels] objects with it */
  double *r2;                                /* [n_labels, SERIES_SPACES, steps] */
  int64_t neighbours;                        /* 0: no labels */
  syz_pair_figures partner[2][SERIES_STEPS]; /* from side 0 to side 1 and back, by r canonical variates */
  syz_pair_figures raw[2];                   /* by the embeddings themselves */
  bool has_raw;                              /* they are equally wide */
} series;

/**
 * Fitted on half 0, judged on half 1. Labels by nearest neighbours of standardised coordinates; partners by the cosine
 * of variates, each times the root of its held-out correlation. Collective; agreed.
 */
syz_status series_make(const syz_spaces *s, table *t, const syz_cca_held *held, series **out);
void series_destroy(series **x);

/** "canonical image", "principal spectrum", ... */
void series_space_name(const table *t, int space, char *name, size_t room);
void series_print(const table *t, const series *x);
void series_add_json(cJSON *o, const table *t, const series *x);
