/* SPDX-License-Identifier: BSD-3-Clause */
/** What the figures that sort have in common, and figures of numbers that are sorted already. */
#pragma once

#include "syzygy/figures.h"

/** Sort x [n] in place, ascending; NaN last. */
void figures_sort(int64_t n, double *x);
/** Quantile of x [n >= 1], which is sorted. */
double figures_quantile(int64_t n, const double *sorted, double level);
/** Is each of x [n] a number? Infinite ones are. */
bool figures_are_numbers(int64_t n, const double *x);
/** Is each of x [n] finite? */
bool figures_are_finite(int64_t n, const double *x);
/** Are all of x [n] the same? */
bool figures_are_constant(int64_t n, const double *x);

/** The figures of e [n], which is sorted and finite. */
void figures_photoz_of_sorted(int64_t n, const double *e, syz_photoz_figures *out);
/** e = (p - z)/(1 + z). */
void figures_photoz_errors(int64_t n, const double *z, const double *prediction, double *e);

/** Objects by descending score. */
typedef struct figures_ranking {
  int64_t n;
  int64_t *order;       /**< [n] */
  uint8_t *is_positive; /**< [n] in this order */
  uint8_t *is_cut;      /**< [n]: the next one has a lower score */
} figures_ranking;
/** SYZ_ERR_MEMORY. n is 0 when a score is NaN. */
syz_status figures_ranking_create(int64_t n, const double *score, const uint8_t *is_positive, figures_ranking *out);
void figures_ranking_destroy(figures_ranking *r);
/** count [n]: how often each object is there; NULL: once. */
void figures_ranking_score(const figures_ranking *r, const int32_t *count, double limit, syz_ranking_figures *out);
