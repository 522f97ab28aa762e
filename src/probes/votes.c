/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Linear heads of vote counts. All ten questions are fitted at once by the votes as they were cast, so an object with
 * few votes for a question counts little there. Of several penalties the one is taken that gives the votes of one fold
 * of the training objects the largest probability when that fold is left out. One fit takes long, so a single fold
 * is held out instead of each in turn.
 */
#include "votes.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { HELD_OUT = 0 /* fold */ };

void votes_free(votes_heads *v)
{
  syz_free(&v->share);
  syz_free(&v->relevance);
}

/* Some of this rank's objects, with their votes. */
typedef struct picked {
  const sample_source *source;
  int64_t n, *index;
  float *votes; /* [n, answers] */
} picked;

static void picked_free(picked *w)
{
  syz_free(&w->index);
  syz_free(&w->votes);
}

static void read_picked(void *context, int64_t first, int64_t n, float *out)
{
  const picked *w = context;
  const int64_t width = w->source->width;
  for (int64_t i = 0; i < n; i++)
    memcpy(out + i * width, w->source->x + w->index[first + i] * width, (size_t)width * sizeof *out);
}

static bool has_votes(const float *votes)
{
  bool has = false;
  for (int a = 0; a < ZOO_ANSWERS; a++) has = has || votes[a] > 0;
  return has;
}

/* Training objects with a vote, all of them or without a fold. */
static void pick(const sample *s, const uint8_t *fold, int without, picked *w)
{
  w->n = 0;
  for (int64_t i = 0; i < s->n; i++) {
    const float *votes = s->votes + (s->first + i) * ZOO_ANSWERS;
    if (fold[i] == SYZ_FOLDS || fold[i] == without || !has_votes(votes)) continue;
    memcpy(w->votes + w->n * ZOO_ANSWERS, votes, ZOO_ANSWERS * sizeof *votes);
    w->index[w->n++] = i;
  }
}

static syz_status fit(const job *p, picked *w, double penalty, syz_linear_head **h, syz_dirichlet_result *found)
{
  const syz_dirichlet_options options = {ZOO_QUESTIONS, zoo_begin, penalty, p->options->linear.iterations, 1e-5};
  const syz_rows rows = {w->n, w->source->width, w, read_picked};
  return syz_dirichlet_fit(p->run->world, &rows, w->votes, &options, h, found);
}

/* Sum of -ln P over the objects of the fold, of this rank. */
static double held_out_loss(const sample *s, const picked *w, const uint8_t *fold, const syz_linear_head *h)
{
  double sum = 0;
  for (int64_t i = 0; i < s->n; i++) {
    float said[ZOO_ANSWERS];
    double raw[ZOO_ANSWERS];
    if (fold[i] != HELD_OUT) continue;
    syz_linear_head_apply(h, 1, w->source->x + i * w->source->width, said);
    for (int a = 0; a < ZOO_ANSWERS; a++) raw[a] = (double)said[a];
    sum += syz_dirichlet_loss(ZOO_QUESTIONS, zoo_begin, s->votes + (s->first + i) * ZOO_ANSWERS, raw, NULL, NULL);
  }
  return sum;
}

static syz_status choose_penalty(const job *p, picked *w, const uint8_t *fold, double *penalty)
{
  syz_status st = SYZ_OK;
  const syz_linear_probe *o = &p->options->linear;
  syz_linear_head *h = NULL;
  syz_dirichlet_result found;
  double least = INFINITY;
  *penalty = o->penalty[0];
  if (o->n_penalties < 2) return SYZ_OK;
  pick(&p->sample, fold, HELD_OUT, w);
  for (int k = 0; k < o->n_penalties; k++) {
    SYZ_TRY(fit(p, w, o->penalty[k], &h, &found));
    double loss = held_out_loss(&p->sample, w, fold, h);
    syz_linear_head_destroy(&h);
    syz_allreduce_f64(p->run->world, &loss, 1, SYZ_SUM);
    if (loss < least) *penalty = o->penalty[k];
    least = fmin(loss, least);
  }
cleanup:
  return st;
}

static syz_status fit_heads(const job *p, votes_heads *v, syz_linear_head **h)
{
  syz_status st = SYZ_OK;
  const sample *s = &p->sample;
  syz_dirichlet_result found;
  picked w = {.source = &s->source[v->source]};
  uint8_t *fold = syz_alloc("folds", (size_t)s->n + 1, sizeof *fold);
  w.index = syz_alloc("training objects", (size_t)s->n + 1, sizeof *w.index);
  w.votes = syz_alloc("votes", (size_t)s->n * ZOO_ANSWERS, sizeof *w.votes);
  SYZ_TRY_ALL(s->comm, fold && w.index && w.votes ? SYZ_OK : SYZ_ERR_MEMORY);
  sample_folds(s, p->options->seed, p->options->folds, fold);
  SYZ_TRY(choose_penalty(p, &w, fold, &v->penalty));
  pick(s, fold, -1, &w);
  SYZ_TRY(fit(p, &w, v->penalty, h, &found));
  v->train = found.rows;
  v->iterations = found.iterations;
  v->has_converged = found.has_converged;
  if (!found.has_converged)
    syz_warn("votes from %s: the fit has not converged after %lld iterations (probe.softmax_iterations)",
             w.source->name, (long long)found.iterations);
cleanup:
  picked_free(&w);
  syz_free(&fold);
  return st;
}

syz_status votes_predict(job *p, int source, answer *out)
{
  syz_status st = SYZ_OK;
  const sample *s = &p->sample;
  votes_heads *v = &p->votes[p->n_votes++];
  *v = (votes_heads){.source = source};
  syz_linear_head *h = NULL;
  (void)out;
  double *raw = syz_alloc("votes", (size_t)(s->test * ZOO_ANSWERS), sizeof *raw);
  v->share = syz_alloc("shares", (size_t)(s->test * ZOO_ANSWERS), sizeof *v->share);
  v->relevance = syz_alloc("shares", (size_t)(s->test * ZOO_QUESTIONS), sizeof *v->relevance);
  SYZ_TRY_ALL(s->comm, raw && v->share && v->relevance ? SYZ_OK : SYZ_ERR_MEMORY);
  SYZ_TRY(fit_heads(p, v, &h));
  SYZ_TRY(probe_apply_head(p, source, h, raw));
  SYZ_TRY_ALL(s->comm, votes_judge(p, v, raw));
cleanup:
  syz_linear_head_destroy(&h);
  syz_free(&raw);
  return st;
}
