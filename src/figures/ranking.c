/* SPDX-License-Identifier: BSD-3-Clause */
/* Figures of rankings. Objects are sorted once; each figure is then one pass over the cuts, in which an object may
 * count any number of times, as in a bootstrap (bootstrap_sorted.c). */
#include <math.h>

#include "sorted.h"

void figures_ranking_destroy(figures_ranking *r)
{
  syz_free(&r->order);
  syz_free(&r->is_positive);
  syz_free(&r->is_cut);
}

syz_status figures_ranking_create(int64_t n, const double *score, const uint8_t *is_positive, figures_ranking *out)
{
  syz_status st = SYZ_OK;
  *out = (figures_ranking){0};
  if (!figures_are_numbers(n, score)) return SYZ_OK;
  SYZ_ALLOC(out->order, "order of scores", n);
  SYZ_ALLOC(out->is_positive, "ranked objects", n);
  SYZ_ALLOC(out->is_cut, "cuts of a ranking", n);
  SYZ_TRY(syz_order(n, score, out->order));
  for (int64_t i = 0; i < n / 2; i++) { /* descending */
    const int64_t other = out->order[i];
    out->order[i] = out->order[n - 1 - i];
    out->order[n - 1 - i] = other;
  }
  for (int64_t i = 0; i < n; i++) {
    out->is_positive[i] = is_positive[out->order[i]] != 0;
    out->is_cut[i] = i == n - 1 || score[out->order[i]] != score[out->order[i + 1]];
  }
  out->n = n;
cleanup:
  if (st != SYZ_OK) figures_ranking_destroy(out);
  return st;
}

static int64_t times(const int32_t *count, int64_t i) { return count ? count[i] : 1; }

/* What has been selected from above: true and false objects. */
typedef struct selection {
  double right, wrong;
} selection;

static void take_cut(selection before, selection now, selection all, double limit, syz_ranking_figures *f)
{
  const double right = now.right - before.right, wrong = now.wrong - before.wrong, selected = now.right + now.wrong;
  if (right + wrong == 0) return; /* none of these objects are there */
  const double contamination = now.wrong / selected, completeness = now.right / all.right;
  f->auc += wrong * (before.right + right / 2);
  f->average_precision += right / all.right * (now.right / selected);
  if (now.wrong / all.wrong <= limit && completeness > f->completeness) {
    f->completeness = completeness;
    f->its_contamination = contamination;
  }
  if (contamination <= limit && completeness > f->completeness_pure) f->completeness_pure = completeness;
}

void figures_ranking_score(const figures_ranking *r, const int32_t *count, double limit, syz_ranking_figures *out)
{
  selection all = {0}, before = {0}, now = {0};
  for (int64_t i = 0; i < r->n; i++) {
    const double many = (double)times(count, r->order[i]);
    *(r->is_positive[i] ? &all.right : &all.wrong) += many;
  }
  *out = (syz_ranking_figures){.n = (int64_t)(all.right + all.wrong), .positives = (int64_t)all.right};
  for (int64_t i = 0; i < r->n; i++) {
    const double many = (double)times(count, r->order[i]);
    *(r->is_positive[i] ? &now.right : &now.wrong) += many;
    if (!r->is_cut[i]) continue;
    take_cut(before, now, all, limit, out);
    before = now;
  }
  out->auc /= all.right * all.wrong;
  if (!(all.right > 0) || out->n < 2) out->average_precision = NAN;
  if (!(all.right > 0 && all.wrong > 0))
    out->auc = out->completeness = out->its_contamination = out->completeness_pure = NAN;
}

syz_status syz_ranking_score(int64_t n, const double *score, const uint8_t *is_positive, double limit,
                             syz_ranking_figures *out)
{
  figures_ranking r;
  syz_status st = figures_ranking_create(n, score, is_positive, &r);
  if (st == SYZ_OK) figures_ranking_score(&r, NULL, limit, out);
  out->n = n;
  figures_ranking_destroy(&r);
  return st;
}

static double discount(int64_t place, int64_t k) { return place < k ? 1 / log2((double)place + 2) : 0; }

/* Gains in the order of the scores, those of equal scores shared among their places. */
static double gain_of_order(int64_t n, const int64_t *order, const double *score, const double *gain, int64_t k)
{
  double sum = 0;
  for (int64_t first = 0, end; first < n && first < k; first = end) {
    double shared = 0, places = 0;
    for (end = first; end < n && score[order[n - 1 - end]] == score[order[n - 1 - first]]; end++) {
      shared += gain[order[n - 1 - end]];
      places += discount(end, k);
    }
    sum += shared / (double)(end - first) * places;
  }
  return sum;
}

syz_status syz_ndcg(int64_t n, const double *score, const double *gain, int64_t k, double *out)
{
  syz_status st = SYZ_OK;
  int64_t *order = NULL;
  *out = NAN;
  bool is_known = n >= 2 && figures_are_numbers(n, score) && figures_are_finite(n, gain);
  for (int64_t i = 0; is_known && i < n; i++) is_known = gain[i] >= 0;
  if (!is_known) return SYZ_OK;
  SYZ_ALLOC(order, "order of scores", n);
  SYZ_TRY(syz_order(n, gain, order));
  const double best = gain_of_order(n, order, gain, gain, k);
  SYZ_TRY(syz_order(n, score, order));
  if (best > 0) *out = gain_of_order(n, order, score, gain, k) / best;
cleanup:
  syz_free(&order);
  return st;
}
