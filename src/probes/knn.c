/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Nearest neighbours as a probe. With several k each label takes the one that predicts its training objects best when
 * their fold is left out: the error of numbers, the share of wrong classes. All k and all labels come from one search
 * per fold.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "method.h"

/* Labels as the search wants them, float32, and room for what it predicts, [labels][n_k][rows]. */
typedef struct work {
  syz_knn_target target[SYZ_PROBE_LABELS];
  float *value, *prediction;
  uint8_t *role, *fold, *all_folds;
  double error[SYZ_PROBE_LABELS][SYZ_KNN_SIZES];
} work;

static void work_free(work *w)
{
  syz_free(&w->value);
  syz_free(&w->prediction);
  syz_free(&w->role);
  syz_free(&w->fold);
  syz_free(&w->all_folds);
}

static syz_status work_make(const job *p, int n_k, work *w)
{
  syz_status st = SYZ_OK;
  const sample *s = &p->sample;
  const int64_t rows = s->rows;
  SYZ_ALLOC(w->value, "labels", s->n_labels * rows);
  SYZ_ALLOC(w->prediction, "predictions", s->n_labels * n_k * rows);
  SYZ_ALLOC(w->role, "roles", rows);
  SYZ_ALLOC(w->fold, "folds", s->n + 1);
  SYZ_ALLOC(w->all_folds, "folds", rows);
  for (int t = 0; t < s->n_labels; t++) {
    for (int64_t i = 0; i < rows; i++) w->value[t * rows + i] = (float)s->label[t].value[i];
    w->target[t] = (syz_knn_target){s->label[t].classes, w->value + t * rows, w->prediction + (int64_t)t * n_k * rows};
  }
cleanup:
  return st;
}

/* Folds of all training objects, on every rank. */
static syz_status gather_folds(const job *p, work *w)
{
  const sample *s = &p->sample;
  sample_folds(s, p->options->seed, p->options->folds, w->fold);
  return syz_index_gather(s->comm, s->rows, w->fold, w->all_folds);
}

/* Errors of what was predicted for the objects whose role is test. */
static void add_errors(const sample *s, int n_k, work *w)
{
  for (int t = 0; t < s->n_labels; t++)
    for (int k = 0; k < n_k; k++)
      for (int64_t i = 0; i < s->rows; i++) {
        const double y = s->label[t].value[i], said = (double)w->target[t].prediction[k * s->rows + i];
        if (w->role[i] != SYZ_ROLE_TEST || isnan(y) || isnan(said)) continue;
        w->error[t][k] += s->label[t].classes ? y != said : (y - said) * (y - said);
      }
}

static syz_status cross_validate(job *p, int source, const syz_knn_options *o, work *w)
{
  syz_status st = SYZ_OK;
  const sample *s = &p->sample;
  SYZ_TRY(gather_folds(p, w));
  for (int f = 0; f < p->options->folds; f++) {
    int64_t held_out = 0;
    for (int64_t i = 0; i < s->rows; i++) {
      w->role[i] = (uint8_t)(s->role[i] != SYZ_ROLE_TRAIN ? SYZ_ROLE_NONE
                             : w->all_folds[i] == f       ? SYZ_ROLE_TEST
                                                          : SYZ_ROLE_TRAIN);
      held_out += w->role[i] == SYZ_ROLE_TEST;
    }
    if (!held_out || held_out == s->train) continue; /* few objects may leave a fold empty */
    SYZ_TRY(syz_knn_predict(s->comm, p->compute, s->rows, s->source[source].width, s->source[source].x, w->role, o,
                            s->n_labels, w->target));
    add_errors(s, o->n_k, w);
  }
cleanup:
  return st;
}

syz_status knn_predict(job *p, int source, answer *out)
{
  syz_status st = SYZ_OK;
  const sample *s = &p->sample;
  const syz_knn_options *o = &p->options->knn.how;
  work *w = syz_alloc("neighbours", 1, sizeof *w);
  SYZ_TRY_ALL(s->comm, w ? SYZ_OK : SYZ_ERR_MEMORY);
  SYZ_TRY_ALL(s->comm, work_make(p, o->n_k, w));
  if (o->n_k > 1) SYZ_TRY(cross_validate(p, source, o, w));
  SYZ_TRY(syz_knn_predict(s->comm, p->compute, s->rows, s->source[source].width, s->source[source].x, s->role, o,
                          s->n_labels, w->target));
  for (int t = 0; t < s->n_labels; t++) {
    int best = 0;
    for (int k = 1; k < o->n_k; k++)
      if (w->error[t][k] < w->error[t][best]) best = k;
    SYZ_TRY_ALL(s->comm, answer_make(p, &out[t]));
    for (int64_t i = 0; i < s->test; i++)
      out[t].prediction[i] = (double)w->target[t].prediction[best * s->rows + s->test_row[i]];
    snprintf(out[t].note, sizeof out[t].note, "k %lld", (long long)o->k[best]);
  }
cleanup:
  if (w) work_free(w);
  syz_free(&w);
  return st;
}
