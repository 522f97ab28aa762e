/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Flows as a probe: the joint posterior of all numbers given an embedding.
 *
 * Members are trained by one rank each, so every rank has the features of all training objects: 4 bytes for each
 * number of each. Test objects are dealt to the ranks; draws of an object are a function of seed and object, so they
 * are made twice, once for everything that one object's draws say, and once more for TARP, whose reference points need
 * the predictions of all objects; keeping them would take draws x labels numbers per object.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "posterior.h"

enum {
  BLOCK = 64,              /* most test objects at once */
  BLOCK_NUMBERS = 1 << 22, /* .. and of draws: many draws are made for fewer objects at once */
  REFERENCES = 20,
  DENSITY_DRAWS = 200 /* of an object: a density costs all members, and the credibility needs no more */
};

#define TOO_FEW                                                                                                        \
  "flow: %lld training, %lld validation and %lld test objects have all %d labels; wanted are at least 20, 2 and 2"

typedef struct work {
  job *job;
  posterior *q;
  int64_t width, n, n_train; /* rows: training, validation, test, in this order */
  int64_t *row;              /* [n] of the sample */
  float *x;                  /* [n, width] */
  double *y;                 /* [n, labels] */
  int64_t *share;            /* [ranks] test objects of each */
  syz_flow *flow;
  syz_flow_label label[SYZ_FLOW_LABELS];
} work;

static void work_free(work *w)
{
  syz_flow_destroy(&w->flow);
  syz_free(&w->row);
  syz_free(&w->x);
  syz_free(&w->y);
  syz_free(&w->share);
}

/* ------------------------------------------------------------ who takes part */

static void choose_labels(work *w)
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
static int part_of(const work *w, int64_t row, bool *is_outside)
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
static bool count_parts(work *w)
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

static syz_status list_rows(work *w)
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

static syz_status make_flow(work *w)
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

static syz_status train(work *w)
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

static syz_status recalibrate(work *w)
{
  const posterior *q = w->q;
  if (!w->job->options->flow.recalibrates) return SYZ_OK;
  return syz_flow_calibrate_temperature(w->flow, q->validation, w->x + q->train * w->width,
                                        w->y + q->train * q->labels);
}

/* ------------------------------------------------------------ test objects */

/* Scratch of a block of objects. */
typedef struct drawn {
  double *y, *log_q;
  int64_t *id;
} drawn;

static void drawn_free(drawn *d)
{
  syz_free(&d->y);
  syz_free(&d->log_q);
  syz_free(&d->id);
}

static int64_t block_of(const posterior *q)
{
  const int64_t objects = BLOCK_NUMBERS / (q->draws * q->labels);
  return objects < 1 ? 1 : objects < BLOCK ? objects : BLOCK;
}

static syz_status drawn_make(const posterior *q, drawn *d)
{
  syz_status st = SYZ_OK;
  SYZ_ALLOC(d->y, "draws", block_of(q) * q->draws * q->labels);
  SYZ_ALLOC(d->log_q, "densities of draws", BLOCK * DENSITY_DRAWS);
  SYZ_ALLOC(d->id, "identifiers", BLOCK);
cleanup:
  return st;
}

/* The first draws of objects at .. at + n - 1 of the test objects. */
static syz_status draw(const work *w, int64_t at, int64_t n, int64_t draws, bool wants_density, drawn *d)
{
  const posterior *q = w->q;
  const sample *s = &w->job->sample;
  const int64_t first = q->train + q->validation + at;
  for (int64_t i = 0; i < n; i++) d->id[i] = (int64_t)sample_name(s, w->row[first + i]);
  return syz_flow_draw(w->flow, w->job->options->seed, n, w->x + first * w->width, d->id, draws, d->y,
                       wants_density ? d->log_q : NULL);
}

/* What the draws of each object say of it. */
static syz_status judge_block(work *w, int64_t at, int64_t n, drawn *d)
{
  syz_status st = SYZ_OK;
  posterior *q = w->q;
  const double *truth = q->truth + at * q->labels;
  double y[BLOCK], one[BLOCK];
  const int64_t fewer = q->draws < DENSITY_DRAWS ? q->draws : DENSITY_DRAWS;
  syz_pulse();
  SYZ_TRY(draw(w, at, n, fewer, true, d));
  syz_density_credibility(n, fewer, q->log_q + at, d->log_q, q->credibility + at);
  SYZ_TRY(draw(w, at, n, q->draws, false, d));
  SYZ_TRY(syz_flow_summarise(w->flow, n, q->draws, d->y, q->summary + at * q->labels));
  for (int k = 0; k < q->labels; k++) {
    const syz_draws of_label = {d->y + k, q->draws, q->labels};
    for (int64_t i = 0; i < n; i++) y[i] = truth[i * q->labels + k];
    syz_pit_of_draws(n, y, of_label, one);
    for (int64_t i = 0; i < n; i++) q->pit[(at + i) * q->labels + k] = one[i];
    SYZ_TRY(syz_crps_of_draws(n, y, of_label, one, NULL));
    for (int64_t i = 0; i < n; i++) q->crps[(at + i) * q->labels + k] = one[i];
  }
cleanup:
  return st;
}

/* Arrays of all test objects, each rank having filled its stretch. */
static void gather(const work *w, double *x, int64_t numbers)
{
  syz_rows_gather(w->job->run->world, x, w->share, (size_t)numbers * sizeof *x);
}

static syz_status judge_share(work *w, int64_t first, int64_t n, drawn *d)
{
  syz_status st = SYZ_OK;
  posterior *q = w->q;
  const int64_t before = q->train + q->validation + first, block = block_of(q);
  SYZ_TRY(syz_flow_log_density(w->flow, n, w->x + before * w->width, q->truth + first * q->labels, q->log_q + first,
                               q->standard + first, NULL));
  for (int64_t i = first; i < first + n; i++)
    q->standard[i] = isinf(q->log_q[i]) ? q->log_q[i] : q->log_q[i] - q->standard[i];
  for (int64_t at = 0; at < n; at += block) SYZ_TRY(judge_block(w, first + at, n - at < block ? n - at : block, d));
cleanup:
  return st;
}

static syz_status tarp_share(work *w, int64_t first, int64_t n, const double *reference, drawn *d)
{
  syz_status st = SYZ_OK;
  posterior *q = w->q;
  double scale[SYZ_FLOW_LABELS];
  (void)syz_tarp_scales(
      q->n, q->labels, q->truth,
      scale); /* where the true values of a label do not vary its scale is 0, and TARP leaves it out */
  for (int64_t at = first; at < first + n; at += block_of(q)) {
    const int64_t block = first + n - at < block_of(q) ? first + n - at : block_of(q);
    SYZ_TRY(draw(w, at, block, q->draws, false, d));
    syz_tarp_shares(block, q->draws, q->labels, scale, q->truth + at * q->labels, d->y, reference + at * q->labels,
                    q->tarp + at);
  }
cleanup:
  return st;
}

static syz_status allocate(work *w)
{
  syz_status st = SYZ_OK;
  posterior *q = w->q;
  const int size = syz_comm_size(w->job->run->world);
  int64_t first;
  SYZ_ALLOC(w->share, "shares", size);
  for (int r = 0; r < size; r++) syz_share(q->n, size, r, &first, &w->share[r]);
  SYZ_ALLOC(q->truth, "truths", q->n * q->labels);
  SYZ_ALLOC(q->summary, "posteriors", q->n * q->labels);
  SYZ_ALLOC(q->log_q, "densities", q->n);
  SYZ_ALLOC(q->standard, "densities", q->n);
  SYZ_ALLOC(q->pit, "PIT", q->n * q->labels);
  SYZ_ALLOC(q->crps, "CRPS", q->n * q->labels);
  SYZ_ALLOC(q->credibility, "credibilities", q->n);
  SYZ_ALLOC(q->tarp, "TARP", q->n);
cleanup:
  return st;
}

static syz_status judge(work *w)
{
  syz_status st = SYZ_OK;
  posterior *q = w->q;
  syz_comm *c = w->job->run->world;
  drawn d = {0};
  int64_t first, n;
  double *reference = syz_alloc("references", (size_t)(q->n * q->labels), sizeof *reference);
  double *mean = syz_alloc("means", (size_t)(q->n * q->labels), sizeof *mean);
  SYZ_TRY_ALL(c, reference && mean ? allocate(w) : SYZ_ERR_MEMORY);
  SYZ_TRY_ALL(c, drawn_make(q, &d));
  syz_share(q->n, syz_comm_size(c), syz_comm_rank(c), &first, &n);
  memcpy(q->truth, w->y + (q->train + q->validation) * q->labels, (size_t)(q->n * q->labels) * sizeof *q->truth);
  SYZ_TRY_ALL(c, judge_share(w, first, n, &d));
  gather(w, (double *)q->summary, q->labels * (int64_t)(sizeof *q->summary / sizeof(double)));
  gather(w, q->log_q, 1);
  gather(w, q->standard, 1);
  gather(w, q->pit, q->labels);
  gather(w, q->crps, q->labels);
  gather(w, q->credibility, 1);
  for (int64_t i = 0; i < q->n * q->labels; i++) mean[i] = q->summary[i].mean;
  const int64_t references = q->n - 1 < REFERENCES ? q->n - 1 : REFERENCES;
  SYZ_TRY_ALL(c,
              syz_tarp_references(q->n, q->labels, q->truth, mean, references, w->job->options->seed, NULL, reference));
  SYZ_TRY_ALL(c, tarp_share(w, first, n, reference, &d));
  gather(w, q->tarp, 1);
cleanup:
  drawn_free(&d);
  syz_free(&reference);
  syz_free(&mean);
  return st;
}

/* The median is the prediction of each label. */
static syz_status give_answers(const work *w, answer *out)
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
  work w = {.job = p, .q = q, .width = p->sample.source[source].width};
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
  SYZ_TRY(judge(&w));
  SYZ_TRY_ALL(p->run->world, posterior_judge(p, q));
  SYZ_TRY_ALL(p->run->world, give_answers(&w, out));
cleanup:
  work_free(&w);
  return st;
}
