/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Small networks as a probe: ensembles by the sound protocol, single networks by the published one (syz_mlp_probe).
 *
 * Members are trained by one rank each, so every rank has the features of all training objects of a network; test
 * objects are predicted where they are.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "method.h"

/* One ensemble: labels column [labels] of the sample. */
typedef struct work {
  job *job;
  int source, labels, classes; /* classes 0: numbers */
  int column[SYZ_PROBE_LABELS];
  int64_t train, validation; /* rows, in this order */
  int64_t *row, *id;         /* [train + validation]: of the sample; what batches and dropout are drawn by */
  float *x;
  double *y; /* [train + validation, labels] */
  syz_perceptron *net;
  int first_best, last_best; /* epochs whose weights the members keep, from 1 */
} work;

static void work_free(work *w)
{
  syz_perceptron_destroy(&w->net);
  syz_free(&w->row);
  syz_free(&w->id);
  syz_free(&w->x);
  syz_free(&w->y);
}

#define TOO_FEW                                                                                                        \
  "mlp: %s has %lld training and %lld validation objects; wanted are at least 2 of each: change "                      \
  "probe.validation_share, or give more objects"

/* ------------------------------------------------------------ rows */

/* 0 training, 1 validation, -1 none: training objects that have one of the labels. */
static int part_of(const work *w, int64_t row)
{
  const sample *s = &w->job->sample;
  const syz_probes_options *o = w->job->options;
  bool has_one = false;
  for (int k = 0; k < w->labels; k++) has_one = has_one || !isnan(s->label[w->column[k]].value[row]);
  if (!has_one || s->role[row] != SYZ_ROLE_TRAIN) return -1;
  return !o->is_published && sample_is_validation(s, o->seed, o->validation_share, row);
}

/* Count the objects. *is_enough false: a label of a few training objects may have none to validate with; it is left out
 * with a warning, and an error only when nothing else is asked for. */
static syz_status count_rows(work *w, bool *is_enough)
{
  syz_status st = SYZ_OK;
  const sample *s = &w->job->sample;
  int64_t count[2] = {0};
  for (int64_t i = 0; i < s->rows; i++) {
    const int part = part_of(w, i);
    if (part >= 0) count[part]++;
  }
  w->train = count[0];
  w->validation = count[1];
  *is_enough = count[0] >= 2 && (w->job->options->is_published || count[1] >= 2);
  if (*is_enough) goto cleanup;
  SYZ_REQUIRE(w->job->n_methods > 1 || s->n_labels > w->labels, SYZ_ERR_DATA, TOO_FEW, s->label[w->column[0]].name,
              (long long)count[0], (long long)count[1]);
  syz_warn(TOO_FEW ": left out", s->label[w->column[0]].name, (long long)count[0], (long long)count[1]);
cleanup:
  return st;
}

static syz_status list_rows(work *w)
{
  syz_status st = SYZ_OK;
  const sample *s = &w->job->sample;
  int64_t at[2] = {0, w->train};
  SYZ_ALLOC(w->row, "objects", w->train + w->validation);
  SYZ_ALLOC(w->id, "identifiers", w->train + w->validation);
  SYZ_ALLOC(w->y, "labels", (w->train + w->validation) * w->labels);
  SYZ_ALLOC(w->x, "features of all training objects", (w->train + w->validation) * s->source[w->source].width);
  for (int64_t i = 0; i < s->rows; i++) {
    const int part = part_of(w, i);
    if (part < 0) continue;
    for (int k = 0; k < w->labels; k++) w->y[at[part] * w->labels + k] = s->label[w->column[k]].value[i];
    w->id[at[part]] = (int64_t)sample_name(s, i);
    w->row[at[part]++] = i;
  }
cleanup:
  return st;
}

/* ------------------------------------------------------------ fit */

static bool is_of_images(const char *source)
{
  static const char end[] = ":image";
  const size_t n = strlen(source);
  return strcmp(source, "image") == 0 || (n >= sizeof end && strcmp(source + n - sizeof end + 1, end) == 0);
}

/* AstroCLIP's networks. */
static syz_mlp_probe published(const work *w)
{
  const sample *s = &w->job->sample;
  if (w->classes)
    return (syz_mlp_probe){.n_hidden = 3,
                           .hidden = {256, 256, 256},
                           .dropout = 0.2,
                           .rate = 1e-3,
                           .epochs = 25,
                           .batch = 256,
                           .patience = 1};
  const bool is_small = is_redshift(s->label[w->column[0]].name) && is_of_images(s->source[w->source].name);
  return (syz_mlp_probe){.n_hidden = is_small ? 1 : 2,
                         .hidden = {is_small ? 32 : 64, 64},
                         .dropout = 0.1,
                         .rate = 1e-3,
                         .epochs = 10,
                         .batch = 64,
                         .patience = 1};
}

static syz_status make_net(work *w, const syz_mlp_probe *m)
{
  syz_status st = SYZ_OK;
  const syz_probes_options *o = w->job->options;
  const syz_perceptron_rows rows = {w->train, w->x, w->y, w->id};
  syz_perceptron_options n = {.loss = !w->classes       ? SYZ_PERCEPTRON_SQUARES
                                      : o->is_published ? SYZ_PERCEPTRON_CLASSES_TWICE
                                                        : SYZ_PERCEPTRON_CLASSES,
                              .inputs = w->job->sample.source[w->source].width,
                              .outputs = w->classes ? w->classes : w->labels,
                              .n_hidden = m->n_hidden,
                              .dropout = m->dropout,
                              .members = o->is_published ? 1 : o->members,
                              .threads = syz_compute_threads(w->job->compute),
                              .seed = o->seed};
  memcpy(n.hidden, m->hidden, sizeof n.hidden);
  SYZ_TRY(syz_perceptron_create(&n, &w->net));
  if (!o->is_published || !w->classes) syz_perceptron_scale_inputs(w->net, &rows); /* Quirk: classes, as they are */
  syz_perceptron_scale_labels(w->net, &rows);
cleanup:
  return st;
}

/* A member whose loss is not finite ends the run with exit code 6. */
static syz_status train(work *w, const syz_mlp_probe *m)
{
  syz_status st = SYZ_OK;
  const syz_probes_options *o = w->job->options;
  const int64_t at = w->train;
  const syz_perceptron_training_options options = {
      .epochs = m->epochs, .batch = m->batch, .rate = m->rate, .patience = m->patience};
  const syz_perceptron_rows rows = {w->train, w->x, w->y, w->id},
                            valid = {w->validation, w->x + at * w->job->sample.source[w->source].width,
                                     w->y + at * w->labels, w->id + at};
  syz_perceptron_training *t = NULL;
  syz_progress progress;
  bool is_done = false;
  SYZ_TRY(syz_perceptron_training_create(w->job->run->world, w->net, &options, &rows, &valid, &t));
  syz_progress_begin(&progress, "mlp", "epochs", 0, m->epochs);
  for (int epoch = 1; !is_done; epoch++) {
    SYZ_TRY(syz_perceptron_train(t, 1, &is_done));
    syz_progress_tell(&progress, epoch, NULL);
  }
  syz_progress_end(&progress, m->epochs);
  for (int k = 0; k < (o->is_published ? 1 : o->members); k++) {
    const int best = (int)syz_perceptron_progress_of(t, k).best_epoch + 1;
    if (!k || best < w->first_best) w->first_best = best;
    if (!k || best > w->last_best) w->last_best = best;
  }
cleanup:
  syz_perceptron_training_destroy(&t);
  return st;
}

/* ------------------------------------------------------------ test objects */

/* What the networks say of the test objects, out [test, outputs] on every rank, zeros before: each rank those of its
 * share, one after the other in its memory. */
static syz_status apply_own(const work *w, int outputs, double *out)
{
  syz_status st = SYZ_OK;
  const sample *s = &w->job->sample;
  const sample_source *f = &s->source[w->source];
  int64_t from = 0, n = 0;
  float *x = NULL;
  for (int64_t t = 0; t < s->test; t++) {
    if (s->test_row[t] < s->first) from = t + 1;
    if (s->test_row[t] >= s->first && s->test_row[t] < s->first + s->n) n++;
  }
  SYZ_ALLOC(x, "features of test objects", n * f->width + 1);
  for (int64_t k = 0; k < n; k++)
    memcpy(x + k * f->width, f->x + (s->test_row[from + k] - s->first) * f->width, (size_t)f->width * sizeof *x);
  SYZ_TRY(syz_perceptron_predict(w->net, n, x, out + from * outputs));
cleanup:
  syz_free(&x);
  return st;
}

/* "64-64, 10 member(s), best of epochs 8 to 21" */
static void describe(const work *w, const syz_mlp_probe *m, char note[PROBE_NOTE])
{
  const syz_probes_options *o = w->job->options;
  int n = 0;
  for (int l = 0; l < m->n_hidden; l++)
    n += snprintf(note + n, (size_t)(PROBE_NOTE - n), "%s%lld", l ? "-" : "", (long long)m->hidden[l]);
  if (!n) n = snprintf(note, PROBE_NOTE, "no hidden layer");
  if (o->is_published)
    snprintf(note + n, (size_t)(PROBE_NOTE - n), ", as published");
  else
    snprintf(note + n, (size_t)(PROBE_NOTE - n), ", %d member(s), best of epochs %d to %d", o->members, w->first_best,
             w->last_best);
}

static syz_status give_answers(const work *w, const syz_mlp_probe *m, int outputs, const double *said, answer *out)
{
  syz_status st = SYZ_OK;
  const int64_t test = w->job->sample.test;
  for (int k = 0; k < w->labels; k++) {
    answer *a = &out[w->column[k]];
    SYZ_TRY(answer_make(w->job, a));
    for (int64_t t = 0; t < test; t++) {
      const double *y = said + t * outputs;
      int best = 0;
      for (int c = 1; c < w->classes; c++)
        if (y[c] > y[best]) best = c;
      a->prediction[t] = w->classes ? best : y[k];
    }
    describe(w, m, a->note);
  }
cleanup:
  return st;
}

static syz_status predict_one(job *p, work *w, answer *out)
{
  syz_status st = SYZ_OK;
  const syz_mlp_probe how = p->options->is_published ? published(w) : p->options->mlp;
  const int outputs = w->classes ? w->classes : w->labels;
  double *said = NULL;
  bool is_enough;
  SYZ_TRY(count_rows(w, &is_enough)); /* the same on every rank */
  if (!is_enough) goto cleanup;
  said = syz_alloc("predictions", (size_t)(p->sample.test * outputs), sizeof *said);
  SYZ_TRY_ALL(p->run->world, said ? SYZ_OK : SYZ_ERR_MEMORY);
  SYZ_TRY_ALL(p->run->world, list_rows(w));
  sample_gather(&p->sample, w->source, w->train + w->validation, w->row, w->x);
  SYZ_TRY_ALL(p->run->world, make_net(w, &how));
  SYZ_TRY(train(w, &how));
  SYZ_TRY_ALL(p->run->world, apply_own(w, outputs, said));
  /* one rank's number and zeros: exact */
  syz_allreduce_f64(p->run->world, said, (size_t)(p->sample.test * outputs), SYZ_SUM);
  SYZ_TRY_ALL(p->run->world, give_answers(w, &how, outputs, said, out));
cleanup:
  work_free(w);
  syz_free(&said);
  return st;
}

syz_status mlp_predict(job *p, int source, answer *out)
{
  syz_status st = SYZ_OK;
  const sample *s = &p->sample;
  work numbers = {.job = p, .source = source};
  for (int t = 0; t < s->n_labels; t++) {
    work one = {.job = p, .source = source, .labels = 1, .classes = s->label[t].classes, .column = {t}};
    if (s->label[t].classes || p->options->is_published)
      SYZ_TRY(predict_one(p, &one, out));
    else
      numbers.column[numbers.labels++] = t;
  }
  if (numbers.labels) SYZ_TRY(predict_one(p, &numbers, out));
cleanup:
  return st;
}
