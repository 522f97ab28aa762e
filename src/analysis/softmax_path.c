/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Softmax regression with the penalty chosen by cross-validation: a fit per fold and penalty, judged by the mean
 * cross-entropy of the rows held out. A fit sees its training rows alone, so features are standardised inside each
 * fold. Penalties go from the largest to the smallest, and a fold's fit begins where its last one ended: the weights
 * differ little, and those of small penalties, which take longest, are nearly found. The head that is kept is fitted
 * from zero, and does not know which penalties were tried.
 */
#include <math.h>
#include <string.h>

#include "rows.h"

static const double LEAST_PROBABILITY = 1e-15; /* of a class that the training rows of a fold do not have */

typedef struct path {
  syz_comm *comm;
  const syz_softmax_path *options;
  const int8_t *label;
  const uint8_t *fold;
  const syz_rows *rows;
  int64_t *row; /* [n_train] training rows of a fit, ascending */
  int8_t *train_label;
  float *x, *logit; /* [D], [classes] */
} path;

static void path_free(path *p)
{
  syz_free(&p->row);
  syz_free(&p->train_label);
  syz_free(&p->x);
  syz_free(&p->logit);
}

static syz_status path_allocate(path *p)
{
  syz_status st = SYZ_OK;
  const syz_rows *rows = p->rows;
  SYZ_ALLOC(p->row, "training rows", rows->n + 1);
  SYZ_ALLOC(p->train_label, "training labels", rows->n + 1);
  SYZ_ALLOC(p->x, "row", rows->width);
  SYZ_ALLOC(p->logit, "logits", p->options->fit.classes);
cleanup:
  return st;
}

/* Fit on all folds but `without` (-1: on all), beginning at `start`. */
static syz_status fit(path *p, int without, double penalty, const syz_linear_head *start, syz_linear_head **h,
                      syz_softmax_result *result)
{
  syz_softmax_options o = p->options->fit;
  int64_t n = 0;
  o.l2 = penalty;
  for (int64_t i = 0; i < p->rows->n; i++) {
    if (p->label[i] < 0 || p->fold[i] >= p->options->folds || p->fold[i] == without) continue;
    p->train_label[n] = p->label[i];
    p->row[n++] = i;
  }
  syz_chosen_rows chosen = {p->rows, p->row};
  const syz_rows train = {n, p->rows->width, &chosen, syz_chosen_rows_read};
  return softmax_fit_from(p->comm, &train, p->train_label, &o, start, true, h, result);
}

/* Adds -ln p of this rank's rows of fold k, and their number, to sum[2]. */
static void held_out_loss(const path *p, int k, const syz_linear_head *h, double *sum)
{
  const syz_rows *rows = p->rows;
  for (int64_t i = 0; i < rows->n; i++) {
    double most = -INFINITY, total = 0;
    if (p->fold[i] != k || p->label[i] < 0) continue;
    rows->read(rows->context, i, 1, p->x);
    syz_linear_head_apply(h, 1, p->x, p->logit);
    for (int64_t c = 0; c < h->outputs; c++) most = fmax(most, (double)p->logit[c]);
    for (int64_t c = 0; c < h->outputs; c++) total += exp((double)p->logit[c] - most);
    sum[0] -= log(fmax(exp((double)p->logit[p->label[i]] - most) / total, LEAST_PROBABILITY));
    sum[1]++;
  }
}

/* Numbers of the penalties, the largest first. */
static void order_penalties(const syz_softmax_path *o, int order[SYZ_PENALTIES])
{
  for (int a = 0; a < o->n_penalties; a++) {
    int at = a;
    for (; at > 0 && o->penalty[order[at - 1]] < o->penalty[a]; at--) order[at] = order[at - 1];
    order[at] = a;
  }
}

/* Mean cross-entropy of held-out rows for each penalty, and the one with the least. */
static syz_status choose(path *p, double *loss, int *chosen)
{
  syz_status st = SYZ_OK;
  const syz_softmax_path *o = p->options;
  double sum[SYZ_PENALTIES][2] = {{0}};
  int order[SYZ_PENALTIES];
  syz_softmax_result result;
  syz_linear_head *last = NULL, *h = NULL;
  order_penalties(o, order);
  for (int k = 0; k < o->folds; k++) {
    for (int a = 0; a < o->n_penalties; a++) {
      SYZ_TRY(fit(p, k, o->penalty[order[a]], last, &h, &result));
      syz_linear_head_destroy(&last);
      held_out_loss(p, k, h, sum[order[a]]);
      last = h;
      h = NULL;
    }
    syz_linear_head_destroy(&last);
  }
  syz_allreduce_f64(p->comm, &sum[0][0], 2 * SYZ_PENALTIES, SYZ_SUM);
  for (int a = 0; a < o->n_penalties; a++) {
    loss[a] = sum[a][0] / sum[a][1];
    if (loss[a] < loss[*chosen]) *chosen = a;
  }
cleanup:
  syz_linear_head_destroy(&last);
  return st;
}

syz_status syz_softmax_path_fit(syz_comm *c, const syz_rows *rows, const int8_t *label, const uint8_t *fold,
                                const syz_softmax_path *options, syz_linear_head **out, syz_softmax_result *result)
{
  syz_status st = SYZ_OK;
  path p = {.comm = c, .options = options, .label = label, .fold = fold, .rows = rows};
  SYZ_ASSERT(options->n_penalties >= 1 && options->n_penalties <= SYZ_PENALTIES && options->folds >= 2);
  double loss[SYZ_PENALTIES] = {0};
  int chosen = 0;
  *out = NULL;
  SYZ_TRY_ALL(c, path_allocate(&p));
  if (options->n_penalties > 1) SYZ_TRY(choose(&p, loss, &chosen));
  SYZ_TRY(fit(&p, -1, options->penalty[chosen], NULL, out, result));
  result->chosen = chosen;
  memcpy(result->held_out_loss, loss, sizeof loss);
cleanup:
  path_free(&p);
  return st;
}
