/* SPDX-License-Identifier: BSD-3-Clause */
/** Inside of room analysis: the steps of canonical correlation. */
#pragma once

#include "syzygy/analysis.h"
#include "syzygy/numbers.h"

/** One side decomposed: this rank's rows of Q and, on all ranks, R. */
typedef struct cca_side {
  int64_t n, width, rank;
  double *q; /* [n, width], the first `rank` columns */
  double *r; /* [width, width], the first `rank` rows, of standardised columns */
} cca_side;

/**
 * The largest correlation with shuffled partners, for each permutation: Qx^T P Qy and its largest singular value.
 * Permutation k is drawn from (seed, k) alone. Collective; agreed; the same on all ranks.
 */
syz_status cca_shuffle(syz_comm *c, const cca_side side[2], const syz_cca_options *options, double *largest);

/** Variates [n, pairs] in float64 of x [n, width]; centred [n, width] is scratch. */
void cca_variates(const syz_cca *a, int side, int64_t n, const float *x, double *centred, double *y);
