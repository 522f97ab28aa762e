/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Flows as a probe: the joint posterior of all numbers given an embedding.
 *
 * Members are trained by one rank each, so every rank has the features of all training objects: 4 bytes for each
 * number of each. What is found for the test objects is in flow_judge.c.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "flow_work.h"

#define TOO_FEW                                                                                                        \
  "flow: %lld training, %lld validation and %lld test objects have all %d labels; wanted are at least 20, 2 and 2"

static void work_free(flow_work *w)
{
  syz_flow_destroy(&w->flow);
  syz_free(&w->row);
  syz_free(&w->x);
  syz_free(&w->y);
  syz_free(&w->share);
}

/* ------------------------------------------------------------ who takes part */

static void choose_labels(flow_work *w)
{
  const sample *s = &w->job->sample;
  const syz_flow_probe *o = &w->job->options->flow;
  posterior *q = w->q;
  for (int t = 0; t < s->n_labels; t++) {
    if (s->label[t].classes) continue;
    syz_flow_label *l = &w->label[q->labels];
    snprintf(l->name, sizeof l->name, "%s", s->label[t].name);
    l->transform = syz_texts_have(o->positive, s->label[t].name)    ? SYZ_FLOW_LOG
                   : syz_texts_have(o->fractions, s->label[t].name) ? SYZ_FLOW_LOGIT
                                                                    : SYZ_FLOW_LINEAR;
    l->low = 0;
    l->high = 1;
    q->column[q->labels++] = t;
  }
}

/* 0 training, 1 validation, 2 test, -1 none: objects that have all labels, inside of their domains. A test object
 * outside of one takes part: its draws are judged, but its density is 0. */
static int part_of(const flow_work *w, int64_t row, bool *is_outside)
{
  const sample *s = &w->job->sample;
  *is_outside = false;
  if (s->role[row] == SYZ_ROLE_NONE) return -1;
  for (int k = 0; k < w->q->labels; k++) {
    const double y = s->label[w->q->column[k]].value[row];
    const syz_flow_label *l = &w->label[k];
    if (isnan(y)) {
      *is_outside = false;
      return -1;
    }
    *is_outside = *is_outside || (l->transform != SYZ_FLOW_LINEAR && y <= l->low) ||
                  (l->transform == SYZ_FLOW_LOGIT && y >= l->high);
  }
  if (s->role[row] == SYZ_ROLE_TEST) return 2;
  const syz_probes_options *o = w->job->options;
  return *is_outside ? -1 : sample_is_validation(s, o->seed, o->validation_share, row);
}

/* How many objects each part has, and whether that is enough. */
static bool count_parts(flow_work *w)
{
  const sample *s = &w->job->sample;
  posterior *q = w->q;
  int64_t count[3] = {0};
  bool is_outside;
  for (int64_t i = 0; i < s->rows; i++) {
    const int part = part_of(w, i, &is_outside);
    if (part >= 0) count[part]++;
    if (is_outside) *(part == 2 ? &q->test_outside : &q->outside) += 1;
  }
  q->train = count[0];
  q->validation = count[1];
  q->n = count[2];
  w->n = count[0] + count[1] + count[2];
  return count[0] >= 20 && count[1] >= 2 && count[2] >= 2;
}

static syz_status list_rows(flow_work *w)
{
  syz_status st = SYZ_OK;
  const sample *s = &w->job->sample;
  posterior *q = w->q;
  int64_t at[3] = {0, q->train, q->train + q->validation}, t = 0;
  bool is_outside;
  SYZ_ALLOC(w->row, "objects", w->n);
  SYZ_ALLOC(w->y, "labels", w->n * q->labels);
  SYZ_ALLOC(w->x, "features of all objects", w->n * w->width);
  SYZ_ALLOC(q->place, "test objects", q->n);
  for (int64_t i = 0; i < s->rows; i++) {
    const int part = part_of(w, i, &is_outside);
    t += s->role[i] == SYZ_ROLE_TEST;
    if (part < 0) continue;
    if (part == 2) q->place[at[2] - q->train - q->validation] = t - 1;
    for (int k = 0; k < q->labels; k++) w->y[at[part] * q->labels + k] = s->label[q->column[k]].value[i];
    w->row[at[part]++] = i;
  }
cleanup:
  return st;
}

/* ------------------------------------------------------------ fit */

static syz_status make_flow(flow_work *w)
{
  syz_status st = SYZ_OK;
  const syz_flow_probe *o = &w->job->options->flow;
  const bool is_published = w->job->options->is_published;
  posterior *q = w->q;
  syz_flow_options f = is_published ? syz_flow_options_astroclip(q->labels, (int)w->width)
                                    : syz_flow_options_default(q->labels, (int)w->width);
  SYZ_TRY(syz_flow_labels_fit(w->label, q->labels, q->train, w->y, is_published ? 1 : 0, NULL, NULL));
  f.seed = w->job->options->seed;
  f.label = w->label;
  f.members = w->job->options->members;
  if (!is_published) f.shape.kind = o->kind;
  f.threads = syz_compute_threads(w->job->compute);
  SYZ_TRY(syz_flow_create(&f, &w->flow));
  SYZ_TRY(syz_flow_scale_context(w->flow, is_published ? SYZ_FLOW_WHOLE : SYZ_FLOW_COLUMNS, q->train, w->x));
cleanup:
  return st;
}

/* A member whose loss is not finite ends the run with exit code 6. */
syz_status probe_flow_train(const job *p, syz_flow *f, const syz_flow_training_options *options,
                            const syz_flow_rows *rows, const syz_flow_rows *valid)
{
  syz_status st = SYZ_OK;
  syz_flow_training *t = NULL;
  syz_progress progress;
  bool is_done = false;
  SYZ_TRY(syz_flow_training_create(p->run->world, f, options, rows, valid, &t));
  syz_progress_begin(&progress, "flow", "epochs", 0, options->epochs);
  for (int epoch = 1; !is_done; epoch++) {
    SYZ_TRY(syz_flow_train(t, 1, &is_done));
    syz_progress_tell(&progress, epoch, NULL);
  }
  syz_progress_end(&progress, options->epochs);
cleanup:
  syz_flow_training_destroy(&t);
  return st;
}

static syz_status train(flow_work *w)
{
  const syz_flow_probe *o = &w->job->options->flow;
  const posterior *q = w->q;
  const int64_t at = q->train;
  syz_flow_training_options options =
      w->job->options->is_published ? syz_flow_training_astroclip() : syz_flow_training_default();
  const syz_flow_rows rows = {q->train, w->x, w->y},
                      valid = {q->validation, w->x + at * w->width, w->y + at * q->labels};
  options.epochs = o->epochs;
  return probe_flow_train(w->job, w->flow, &options, &rows, &valid);
}

static syz_status recalibrate(flow_work *w)
{
  const posterior *q = w->q;
  if (!w->job->options->flow.recalibrates) return SYZ_OK;
  return syz_flow_calibrate_temperature(w->flow, q->validation, w->x + q->train * w->width,
                                        w->y + q->train * q->labels);
}

/* The median is the prediction of each label. */
static syz_status give_answers(const flow_work *w, answer *out)
{
  syz_status st = SYZ_OK;
  const posterior *q = w->q;
  for (int k = 0; k < q->labels; k++) {
    answer *a = &out[q->column[k]];
    SYZ_TRY(answer_make(w->job, a));
    for (int64_t i = 0; i < q->n; i++) a->prediction[q->place[i]] = q->summary[i * q->labels + k].quantile[2];
    snprintf(a->note, sizeof a->note, "median of %d member(s)", q->members);
  }
cleanup:
  return st;
}

syz_status flow_predict(job *p, int source, answer *out)
{
  syz_status st = SYZ_OK;
  posterior *q = &p->posterior[p->n_posteriors++];
  *q = (posterior){.source = source, .draws = p->options->flow.draws, .members = p->options->members};
  flow_work w = {.job = p, .q = q, .width = p->sample.source[source].width};
  choose_labels(&w);
  if (!q->labels) {
    p->n_posteriors--;
    goto cleanup;
  }
  if (!count_parts(&w)) {
    SYZ_REQUIRE(p->n_methods > 1, SYZ_ERR_DATA, TOO_FEW, (long long)q->train, (long long)q->validation, (long long)q->n,
                q->labels);
    syz_warn(TOO_FEW ": left out", (long long)q->train, (long long)q->validation, (long long)q->n, q->labels);
    p->n_posteriors--;
    goto cleanup;
  }
  SYZ_TRY_ALL(p->run->world, list_rows(&w));
  sample_gather(&p->sample, source, w.n, w.row, w.x);
  SYZ_TRY_ALL(p->run->world, make_flow(&w));
  SYZ_TRY(train(&w));
  SYZ_TRY_ALL(p->run->world, recalibrate(&w));
  q->kind = syz_flow_member_shape(w.flow, 0)->kind;
  q->calibration = *syz_flow_calibration_of(w.flow);
  SYZ_TRY(flow_judge(&w));
  SYZ_TRY(flow_conformal(&w));
  SYZ_TRY_ALL(p->run->world, posterior_judge(p, q));
  SYZ_TRY_ALL(p->run->world, give_answers(&w, out));
cleanup:
  work_free(&w);
  return st;
}
