/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Figures of votes. Relevant for a question are objects of which at least half of the volunteers were asked it. Means
 * over questions do not weigh them, as published. All figures are resampled together, by objects.
 */
#include <math.h>
#include <string.h>

#include "votes.h"

const char *const votes_figure_name[VOTES_FIGURES] = {"accuracy", "weighted_f1", "confident_accuracy", "mean_deviation",
                                                      "nll"};

enum { PUBLISHED_CUT = 34, ALL = VOTES_FIGURES * (ZOO_QUESTIONS + 1) };
static const double CONFIDENT = 0.8, RELEVANT = 0.5;

/* What counts of one object for one question. */
typedef struct counted {
  int8_t truth, said; /* commonest answers */
  bool is_published, is_confident, is_relevant, is_asked;
  double deviation, nll;
} counted;

/* A weighted sum over objects that count for a question. */
typedef struct sums {
  int64_t table[ZOO_OF_ONE * ZOO_OF_ONE], n[VOTES_FIGURES];
  double right, deviation, nll;
} sums;

typedef struct judge {
  int64_t n;
  counted *of; /* [n, questions] */
} judge;

static int largest(int n, const double *x)
{
  int best = 0;
  for (int a = 1; a < n; a++)
    if (x[a] > x[best]) best = a;
  return best;
}

/* Real votes of a question beside the expected shares. */
static void count_question(int answers, const float *votes, const double *share, double volunteers, counted *c)
{
  double n = 0, real[ZOO_OF_ONE];
  for (int a = 0; a < answers; a++) n += (double)votes[a];
  *c = (counted){.is_asked = n > 0};
  if (!(n > 0)) return;
  for (int a = 0; a < answers; a++) {
    real[a] = (double)votes[a] / n;
    c->deviation += fabs(real[a] - share[a]) / answers;
  }
  c->truth = (int8_t)largest(answers, real);
  c->said = (int8_t)largest(answers, share);
  c->is_relevant = n >= RELEVANT * volunteers;
  c->is_confident = c->is_relevant && real[c->truth] > CONFIDENT;
  c->is_published = n > PUBLISHED_CUT;
}

/* A test object: what is expected of it, and where it counts. */
static void count_object(const float *votes, const double *raw, double *share, double *relevance, counted *c)
{
  double alpha[ZOO_ANSWERS], nll[ZOO_QUESTIONS], volunteers = 0;
  syz_dirichlet_concentrations(ZOO_ANSWERS, raw, alpha);
  (void)syz_dirichlet_loss(ZOO_QUESTIONS, zoo_begin, votes, raw, nll, NULL);
  for (int a = 0; a < zoo[0].answers; a++) volunteers += (double)votes[a];
  for (int q = 0; q < ZOO_QUESTIONS; q++) {
    double total = 0;
    for (int a = zoo_begin[q]; a < zoo_begin[q + 1]; a++) total += alpha[a];
    for (int a = zoo_begin[q]; a < zoo_begin[q + 1]; a++) share[a] = alpha[a] / total;
    count_question(zoo[q].answers, votes + zoo_begin[q], share + zoo_begin[q], volunteers, &c[q]);
    c[q].nll = nll[q];
  }
  zoo_relevance(share, relevance);
}

static void add(sums *s, const counted *c, int answers, int64_t times)
{
  if (c->is_published) {
    s->table[c->truth * answers + c->said] += times;
    s->n[VOTES_ACCURACY] += times;
  }
  if (c->is_confident) {
    s->n[VOTES_CONFIDENT] += times;
    s->right += (double)(times * (c->truth == c->said));
  }
  if (c->is_relevant) {
    s->n[VOTES_DEVIATION] += times;
    s->deviation += (double)times * c->deviation;
  }
  if (c->is_asked) {
    s->n[VOTES_NLL] += times;
    s->nll += (double)times * c->nll;
  }
}

static void figures_of(const sums *s, int answers, double *figure)
{
  syz_class_figures f;
  syz_class_score(s->table, answers, &f); /* NaN without objects */
  figure[VOTES_ACCURACY] = f.accuracy;
  figure[VOTES_WEIGHTED_F1] = f.weighted_f1;
  figure[VOTES_CONFIDENT] = s->right / (double)s->n[VOTES_CONFIDENT];
  figure[VOTES_DEVIATION] = s->deviation / (double)s->n[VOTES_DEVIATION];
  figure[VOTES_NLL] = s->nll / (double)s->n[VOTES_NLL];
}

/* figure [questions + 1, VOTES_FIGURES]: the last row is of all questions. */
static syz_status figures(void *context, const syz_redraw *r, double *figure)
{
  const judge *j = context;
  double mean[VOTES_FIGURES] = {0}, nll = 0;
  int n[VOTES_FIGURES] = {0};
  for (int q = 0; q < ZOO_QUESTIONS; q++) {
    sums s = {{0}, {0}, 0, 0, 0};
    double *of = figure + q * VOTES_FIGURES;
    for (int64_t i = 0; i < r->n; i++)
      if (r->count[i]) add(&s, &j->of[i * ZOO_QUESTIONS + q], zoo[q].answers, r->count[i]);
    figures_of(&s, zoo[q].answers, of);
    nll += s.nll;
    for (int k = 0; k < VOTES_FIGURES; k++) {
      if (isnan(of[k])) continue;
      mean[k] += of[k];
      n[k]++;
    }
  }
  for (int k = 0; k < VOTES_FIGURES; k++) figure[ZOO_QUESTIONS * VOTES_FIGURES + k] = n[k] ? mean[k] / n[k] : NAN;
  figure[ZOO_QUESTIONS * VOTES_FIGURES + VOTES_NLL] = nll / (double)r->n;
  return SYZ_OK;
}

/* Test objects with a vote, one after another; shares of all test objects. raw [answers, test]. */
static void count_all(const job *p, votes_heads *v, const double *raw, judge *j)
{
  const sample *s = &p->sample;
  for (int64_t t = 0; t < s->test; t++) {
    const float *votes = s->votes + s->test_row[t] * ZOO_ANSWERS;
    double of[ZOO_ANSWERS];
    counted *c = j->of + j->n * ZOO_QUESTIONS;
    bool has_vote = false;
    for (int a = 0; a < ZOO_ANSWERS; a++) of[a] = raw[a * s->test + t];
    count_object(votes, of, v->share + t * ZOO_ANSWERS, v->relevance + t * ZOO_QUESTIONS, c);
    for (int q = 0; q < ZOO_QUESTIONS; q++) has_vote = has_vote || c[q].is_asked;
    j->n += has_vote;
  }
  v->test = j->n;
}

static void keep_counts(votes_heads *v, const judge *j)
{
  for (int q = 0; q < ZOO_QUESTIONS; q++) {
    sums s = {{0}, {0}, 0, 0, 0};
    for (int64_t i = 0; i < j->n; i++) add(&s, &j->of[i * ZOO_QUESTIONS + q], zoo[q].answers, 1);
    memcpy(v->n[q], s.n, sizeof s.n);
    v->n[q][VOTES_WEIGHTED_F1] = s.n[VOTES_ACCURACY];
    memcpy(v->confusion[q], s.table, sizeof s.table);
  }
}

syz_status votes_judge(const job *p, votes_heads *v, const double *raw)
{
  syz_status st = SYZ_OK;
  const syz_bootstrap b = {p->options->seed, 0, p->options->draws};
  judge j = {0};
  double *drawn = NULL, value[ALL];
  SYZ_ALLOC(j.of, "votes", (p->sample.test + 1) * ZOO_QUESTIONS);
  SYZ_ALLOC(drawn, "bootstrap", ALL * b.draws);
  count_all(p, v, raw, &j);
  keep_counts(v, &j);
  SYZ_TRY(syz_bootstrap_run(&b, j.n, ALL, figures, &j, value, drawn));
  for (int k = 0; k < ALL; k++) {
    const int q = k / VOTES_FIGURES, of = k % VOTES_FIGURES;
    SYZ_TRY(syz_bootstrap_estimate(value[k], b.draws, drawn + k * b.draws,
                                   q < ZOO_QUESTIONS ? &v->of[q][of] : &v->all[of]));
  }
cleanup:
  syz_free(&j.of);
  syz_free(&drawn);
  return st;
}
