/* SPDX-License-Identifier: BSD-3-Clause */
/* Linear heads as a probe: ridge regression of all numbers at once, softmax regression of each set of classes. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "method.h"

/* Each rank computes those of its share. */
syz_status probe_apply_head(const job *p, int source, const syz_linear_head *h, double *out)
{
  syz_status st = SYZ_OK;
  const sample *s = &p->sample;
  const sample_source *f = &s->source[source];
  float *y = syz_alloc("predictions", (size_t)h->outputs, sizeof *y);
  SYZ_TRY_ALL(s->comm, y ? SYZ_OK : SYZ_ERR_MEMORY);
  memset(out, 0, (size_t)(h->outputs * s->test) * sizeof *out);
  for (int64_t t = 0; t < s->test; t++) {
    const int64_t i = s->test_row[t] - s->first;
    if (i < 0 || i >= s->n) continue;
    syz_linear_head_apply(h, 1, f->x + i * f->width, y);
    for (int64_t k = 0; k < h->outputs; k++) out[k * s->test + t] = (double)y[k];
  }
  syz_allreduce_f64(s->comm, out, (size_t)(h->outputs * s->test), SYZ_SUM); /* one rank's number and zeros: exact */
cleanup:
  syz_free(&y);
  return st;
}

/* Numbers: the labels that are none of the classes, as columns of one fit. */
static syz_status predict_numbers(job *p, int source, const uint8_t *fold, answer *out)
{
  syz_status st = SYZ_OK;
  const sample *s = &p->sample;
  const syz_linear_probe *o = &p->options->linear;
  const syz_ridge_options options = {p->options->folds, o->n_penalties, o->penalty};
  syz_array_rows array;
  const syz_rows rows = sample_rows(s, source, &array);
  syz_linear_head *h = NULL;
  int column[SYZ_PROBE_LABELS], n = 0;
  for (int t = 0; t < s->n_labels; t++)
    if (!s->label[t].classes) column[n++] = t;
  if (!n) return SYZ_OK;
  float *target = syz_alloc("labels", (size_t)(s->n * n) + 1, sizeof *target);
  double *said = syz_alloc("predictions", (size_t)(s->test * n), sizeof *said);
  syz_ridge_result *found = syz_alloc("penalties", 1, sizeof *found);
  SYZ_TRY_ALL(s->comm, target && said && found ? SYZ_OK : SYZ_ERR_MEMORY);
  for (int64_t i = 0; i < s->n; i++)
    for (int k = 0; k < n; k++) target[i * n + k] = (float)s->label[column[k]].value[s->first + i];
  SYZ_TRY(syz_ridge_path_fit(s->comm, &rows, fold, n, target, &options, &h, found));
  SYZ_TRY(probe_apply_head(p, source, h, said));
  for (int k = 0; k < n; k++) {
    answer *a = &out[column[k]];
    SYZ_TRY_ALL(s->comm, answer_make(p, a));
    memcpy(a->prediction, said + k * s->test, (size_t)s->test * sizeof *said);
    snprintf(a->note, sizeof a->note, "penalty %.3g", o->penalty[found->chosen[k]]);
  }
cleanup:
  syz_linear_head_destroy(&h);
  syz_free(&target);
  syz_free(&said);
  syz_free(&found);
  return st;
}

static syz_status predict_classes(job *p, int source, int t, const uint8_t *fold, answer *out)
{
  syz_status st = SYZ_OK;
  const sample *s = &p->sample;
  const sample_label *l = &s->label[t];
  const syz_linear_probe *o = &p->options->linear;
  const syz_softmax_path path = {.fit = {.classes = l->classes, .iterations = o->iterations, .tolerance = 1e-6},
                                 .folds = p->options->folds,
                                 .n_penalties = o->n_penalties,
                                 .penalty = o->penalty};
  syz_array_rows array;
  const syz_rows rows = sample_rows(s, source, &array);
  syz_softmax_result found;
  syz_linear_head *h = NULL;
  int8_t *label = syz_alloc("classes", (size_t)s->n + 1, sizeof *label);
  double *said = syz_alloc("scores", (size_t)(s->test * l->classes), sizeof *said);
  SYZ_TRY_ALL(s->comm, label && said ? SYZ_OK : SYZ_ERR_MEMORY);
  for (int64_t i = 0; i < s->n; i++) {
    const double v = l->value[s->first + i];
    label[i] = (int8_t)(isnan(v) ? -1 : (int)v);
  }
  SYZ_TRY(syz_softmax_path_fit(s->comm, &rows, label, fold, &path, &h, &found));
  SYZ_TRY(probe_apply_head(p, source, h, said));
  SYZ_TRY_ALL(s->comm, answer_make(p, out));
  for (int64_t i = 0; i < s->test; i++) {
    int best = 0;
    for (int c = 1; c < l->classes; c++)
      if (said[c * s->test + i] > said[best * s->test + i]) best = c;
    out->prediction[i] = best;
  }
  snprintf(out->note, sizeof out->note, "penalty %.3g", o->penalty[found.chosen]);
  if (!found.has_converged)
    syz_warn("%s from %s: softmax regression has not converged after %lld iterations (probe.softmax_iterations)",
             l->name, s->source[source].name, (long long)found.iterations);
cleanup:
  syz_linear_head_destroy(&h);
  syz_free(&label);
  syz_free(&said);
  return st;
}

syz_status linear_predict(job *p, int source, answer *out)
{
  syz_status st = SYZ_OK;
  const sample *s = &p->sample;
  uint8_t *fold = syz_alloc("folds", (size_t)s->n + 1, sizeof *fold);
  SYZ_TRY_ALL(s->comm, fold ? SYZ_OK : SYZ_ERR_MEMORY);
  sample_folds(s, p->options->seed, p->options->folds, fold);
  SYZ_TRY(predict_numbers(p, source, fold, out));
  for (int t = 0; t < s->n_labels; t++)
    if (s->label[t].classes) SYZ_TRY(predict_classes(p, source, t, fold, &out[t]));
cleanup:
  syz_free(&fold);
  return st;
}
