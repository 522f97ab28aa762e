/* SPDX-License-Identifier: BSD-3-Clause */
/* The bootstrap of figures that are not sums: redshifts, rankings, classes, TARP's curve. Whatever has to be sorted is
 * sorted once; a draw only repeats or leaves out its objects. */
#include <math.h>
#include <string.h>

#include "sorted.h"

typedef struct sorted_errors {
  int64_t *order;        /* of the objects by their errors */
  double *error, *drawn; /* in the order of the objects; of a draw, sorted */
  bool is_finite;
} sorted_errors;

static syz_status photoz_figures(void *context, const syz_redraw *r, double *figure)
{
  sorted_errors *s = context;
  syz_photoz_figures f = {0, NAN, NAN, NAN, NAN, NAN, NAN};
  int64_t n = 0;
  for (int64_t i = 0; i < r->n; i++) {
    for (int32_t k = 0; k < r->count[s->order[i]]; k++) s->drawn[n++] = s->error[s->order[i]];
  }
  if (n >= 2 && s->is_finite) figures_photoz_of_sorted(n, s->drawn, &f);
  const double all[SYZ_PHOTOZ_FIGURES] = {f.sigma_nmad, f.bias_mean,   f.eta,
                                          f.sigma_iqr,  f.bias_median, f.lsst_outliers};
  memcpy(figure, all, sizeof all);
  return SYZ_OK;
}

syz_status syz_bootstrap_photoz(const syz_bootstrap *b, int64_t n, const double *z, const double *prediction,
                                double *value, double *drawn)
{
  syz_status st = SYZ_OK;
  sorted_errors s = {0};
  SYZ_ALLOC(s.order, "order of redshift errors", n);
  SYZ_ALLOC(s.error, "errors of redshifts", n);
  SYZ_ALLOC(s.drawn, "errors of a draw", n);
  figures_photoz_errors(n, z, prediction, s.error);
  s.is_finite = figures_are_finite(n, s.error);
  SYZ_TRY(syz_order(n, s.error, s.order));
  SYZ_TRY(syz_bootstrap_run(b, n, SYZ_PHOTOZ_FIGURES, photoz_figures, &s, value, drawn));
cleanup:
  syz_free(&s.order);
  syz_free(&s.error);
  syz_free(&s.drawn);
  return st;
}

typedef struct ranked {
  figures_ranking ranking;
  double limit;
} ranked;

static syz_status ranking_figures(void *context, const syz_redraw *r, double *figure)
{
  const ranked *s = context;
  syz_ranking_figures f;
  figures_ranking_score(&s->ranking, r->count, s->limit, &f);
  const double all[SYZ_RANKING_FIGURES] = {f.auc, f.average_precision, f.completeness, f.its_contamination,
                                           f.completeness_pure};
  memcpy(figure, all, sizeof all);
  return SYZ_OK;
}

syz_status syz_bootstrap_ranking(const syz_bootstrap *b, int64_t n, const double *score, const uint8_t *is_positive,
                                 double limit, double *value, double *drawn)
{
  syz_status st = SYZ_OK;
  ranked s = {.limit = limit};
  SYZ_TRY(figures_ranking_create(n, score, is_positive, &s.ranking));
  SYZ_TRY(syz_bootstrap_run(b, n, SYZ_RANKING_FIGURES, ranking_figures, &s, value, drawn));
cleanup:
  figures_ranking_destroy(&s.ranking);
  return st;
}

typedef struct classified {
  const int32_t *truth, *prediction;
  int classes;
  int64_t *count; /* [classes, classes] */
} classified;

static syz_status class_figures(void *context, const syz_redraw *r, double *figure)
{
  classified *s = context;
  syz_class_figures f;
  memset(s->count, 0, (size_t)s->classes * (size_t)s->classes * sizeof *s->count);
  for (int64_t i = 0; i < r->n; i++) {
    const int32_t t = s->truth[i], p = s->prediction[i];
    if (t >= 0 && t < s->classes && p >= 0 && p < s->classes) s->count[(int64_t)t * s->classes + p] += r->count[i];
  }
  syz_class_score(s->count, s->classes, &f);
  const double all[SYZ_CLASS_FIGURES] = {f.accuracy, f.balanced_accuracy, f.macro_f1, f.weighted_f1};
  memcpy(figure, all, sizeof all);
  return SYZ_OK;
}

syz_status syz_bootstrap_classes(const syz_bootstrap *b, int64_t n, const int32_t *truth, const int32_t *prediction,
                                 int classes, double *value, double *drawn)
{
  syz_status st = SYZ_OK;
  classified s = {truth, prediction, classes, NULL};
  SYZ_ALLOC(s.count, "confusion of a draw", (int64_t)classes * classes);
  SYZ_TRY(syz_bootstrap_run(b, n, SYZ_CLASS_FIGURES, class_figures, &s, value, drawn));
cleanup:
  syz_free(&s.count);
  return st;
}

enum { LEVELS_MAX = 64 };

typedef struct covered {
  int levels;
  int8_t *above; /* [n]: the first level that is larger than f */
  bool is_known;
} covered;

static syz_status curve_figures(void *context, const syz_redraw *r, double *figure)
{
  const covered *s = context;
  int64_t first[LEVELS_MAX + 1] = {0}, below = 0;
  for (int64_t i = 0; i < r->n; i++) first[s->above[i]] += r->count[i];
  for (int l = 0; l < s->levels; l++) {
    below += first[l];
    figure[l] = s->is_known ? (double)below / (double)r->n : (double)NAN;
  }
  return SYZ_OK;
}

syz_status syz_bootstrap_tarp(const syz_bootstrap *b, int64_t n, const double *f, int levels, const double *level,
                              double *value, double *drawn)
{
  syz_status st = SYZ_OK;
  covered s = {.levels = levels, .is_known = n >= 2 && figures_are_numbers(n, f)};
  SYZ_ASSERT(levels <= LEVELS_MAX);
  SYZ_ALLOC(s.above, "levels of credibilities", n);
  for (int64_t i = 0; i < n; i++) {
    int l = 0;
    while (l < levels && !(f[i] < level[l])) l++;
    s.above[i] = (int8_t)l;
  }
  SYZ_TRY(syz_bootstrap_run(b, n, levels, curve_figures, &s, value, drawn));
cleanup:
  syz_free(&s.above);
  return st;
}
