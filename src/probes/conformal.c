/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Split conformal intervals (Lei et al. 2018) beside the posteriors: median +- q x half the distance of the 16 and 84 %
 * quantiles, with q so that they hold the promised share of the validation objects. They hold it of new objects of the
 * same kind, whatever the flow is like: validation objects have chosen its epoch alone (and the factor of
 * probe.recalibrate). Made on labels as the flow sees them, so that no interval leaves a label's domain.
 */
#include <math.h>
#include <string.h>

#include "flow_work.h"

const double posterior_conformal_level[POSTERIOR_CONFORMAL] = {0.50, 0.68, 0.90};

/* Median and scale of an object's label as the flow sees it. */
static void centre(const syz_flow_label *l, const syz_flow_summary *s, double *median, double *scale)
{
  const double y[3] = {s->quantile[1], s->quantile[2], s->quantile[3]}; /* 16, 50, 84 % */
  double x[3];
  uint8_t ok[3];
  syz_flow_labels_apply(l, 1, 3, y, x, NULL, ok, NULL);
  *median = x[1];
  *scale = (x[2] - x[0]) / 2;
}

static double score_of(const syz_flow_label *l, const syz_flow_summary *s, double y)
{
  double median, scale, x;
  uint8_t ok;
  centre(l, s, &median, &scale);
  syz_flow_labels_apply(l, 1, 1, &y, &x, NULL, &ok, NULL);
  if (!ok) return INFINITY; /* outside of the domain */
  return scale > 0 ? fabs(x - median) / scale : x == median ? 0 : INFINITY;
}

/* Scores [validation, labels] of rows first .. first + n - 1 of the validation objects. */
static syz_status score_share(const flow_work *w, int64_t first, int64_t n, double *score)
{
  syz_status st = SYZ_OK;
  const posterior *q = w->q;
  const int64_t block = flow_block(q);
  double *y = NULL;
  syz_flow_summary *summary = NULL;
  SYZ_ALLOC(y, "draws", block * q->draws * q->labels);
  SYZ_ALLOC(summary, "posteriors", block * q->labels);
  for (int64_t at = first; at < first + n; at += block) {
    const int64_t count = first + n - at < block ? first + n - at : block, row = q->train + at;
    syz_pulse();
    SYZ_TRY(flow_draws(w, row, count, q->draws, y, NULL));
    SYZ_TRY(syz_flow_summarise(w->flow, count, q->draws, y, summary));
    for (int64_t i = 0; i < count * q->labels; i++)
      score[at * q->labels + i] =
          score_of(syz_flow_label_of(w->flow, (int)(i % q->labels)), summary + i, w->y[row * q->labels + i]);
  }
cleanup:
  syz_free(&y);
  syz_free(&summary);
  return st;
}

/* Low and high end for each level. */
static void interval_of(const syz_flow_label *l, const syz_flow_summary *s, const double *factor, double *out)
{
  double median, scale, x[2 * POSTERIOR_CONFORMAL];
  centre(l, s, &median, &scale);
  for (int a = 0; a < POSTERIOR_CONFORMAL; a++) {
    x[2 * a] = median - factor[a] * scale;
    x[2 * a + 1] = median + factor[a] * scale;
  }
  syz_flow_labels_undo(l, 1, 2 * POSTERIOR_CONFORMAL, x, out);
}

static syz_status intervals_of_label(const flow_work *w, int k, const double *score, double *one)
{
  syz_status st = SYZ_OK;
  posterior *q = w->q;
  posterior_conformal *c = &q->conformal[k];
  const syz_flow_label *l = syz_flow_label_of(w->flow, k);
  for (int64_t i = 0; i < q->validation; i++) one[i] = score[i * q->labels + k];
  for (int a = 0; a < POSTERIOR_CONFORMAL; a++) {
    const double level = posterior_conformal_level[a], spread = 1 / (double)q->n + 1 / (double)q->validation;
    SYZ_TRY(syz_conformal_quantile(q->validation, one, 1 - level, &c->factor[a]));
    c->error[a] = sqrt(level * (1 - level) * spread);
  }
  for (int64_t i = 0; i < q->n; i++) {
    double *out = q->interval + (i * q->labels + k) * 2 * POSTERIOR_CONFORMAL;
    const double y = q->truth[i * q->labels + k];
    interval_of(l, &q->summary[i * q->labels + k], c->factor, out);
    for (int a = 0; a < POSTERIOR_CONFORMAL; a++)
      c->covered[a] += (out[2 * a] <= y && y <= out[2 * a + 1]) / (double)q->n;
  }
cleanup:
  return st;
}

static syz_status intervals(const flow_work *w, const double *score)
{
  syz_status st = SYZ_OK;
  posterior *q = w->q;
  double *one = NULL;
  SYZ_ALLOC(one, "scores", q->validation);
  SYZ_ALLOC(q->interval, "intervals", q->n * q->labels * 2 * POSTERIOR_CONFORMAL);
  for (int k = 0; k < q->labels; k++) SYZ_TRY(intervals_of_label(w, k, score, one));
cleanup:
  syz_free(&one);
  return st;
}

syz_status flow_conformal(flow_work *w)
{
  syz_status st = SYZ_OK;
  const posterior *q = w->q;
  syz_comm *c = w->job->run->world;
  const int size = syz_comm_size(c);
  int64_t first, n;
  double *score = syz_alloc("scores", (size_t)(q->validation * q->labels), sizeof *score);
  int64_t *share = syz_alloc("shares", (size_t)size, sizeof *share);
  SYZ_TRY_ALL(c, score && share ? SYZ_OK : SYZ_ERR_MEMORY);
  for (int r = 0; r < size; r++) syz_share(q->validation, size, r, &first, &share[r]);
  syz_share(q->validation, size, syz_comm_rank(c), &first, &n);
  SYZ_TRY_ALL(c, score_share(w, first, n, score));
  syz_rows_gather(c, score, share, (size_t)q->labels * sizeof *score);
  SYZ_TRY_ALL(c, intervals(w, score));
cleanup:
  syz_free(&score);
  syz_free(&share);
  return st;
}
