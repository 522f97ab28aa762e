/* SPDX-License-Identifier: BSD-3-Clause */
/* Votes on the screen, in probe.json and in predictions.h5. */
#include <stdio.h>
#include <string.h>

#include "predictions.h"
#include "votes.h"
#include "write.h"
#include "syzygy/json.h"

void votes_print(const job *p, const votes_heads *v)
{
  syz_info("votes from %s: %lld training and %lld test objects, penalty %.3g", p->sample.source[v->source].name,
           (long long)v->train, (long long)v->test, v->penalty);
  for (int q = 0; q <= ZOO_QUESTIONS; q++) {
    const syz_estimate *e = q < ZOO_QUESTIONS ? v->of[q] : v->all;
    syz_info("  %-20s accuracy %.3f +- %.3f   weighted F1 %.3f +- %.3f   where confident %.3f   shares off by %.3f   "
             "NLL %.3f",
             q < ZOO_QUESTIONS ? zoo[q].name : "mean (NLL: sum)", e[VOTES_ACCURACY].value, e[VOTES_ACCURACY].deviation,
             e[VOTES_WEIGHTED_F1].value, e[VOTES_WEIGHTED_F1].deviation, e[VOTES_CONFIDENT].value,
             e[VOTES_DEVIATION].value, e[VOTES_NLL].value);
  }
  syz_info("accuracy and F1: objects with more than 34 votes for a question");
}

static void add_figures(cJSON *o, const syz_estimate *e, const int64_t *n)
{
  for (int k = 0; k < VOTES_FIGURES; k++) {
    cJSON *f = cJSON_AddObjectToObject(o, votes_figure_name[k]);
    syz_json_add_number(f, "value", e[k].value);
    syz_json_add_number(f, "error", e[k].deviation);
    if (n) cJSON_AddNumberToObject(f, "n", (double)n[k]);
  }
}

static cJSON *question_json(const votes_heads *v, int q)
{
  cJSON *o = cJSON_CreateObject(), *list;
  const int answers = zoo[q].answers;
  cJSON_AddStringToObject(o, "question", zoo[q].name);
  list = cJSON_AddArrayToObject(o, "answers");
  for (int a = 0; a < answers; a++) cJSON_AddItemToArray(list, cJSON_CreateString(zoo[q].answer[a]));
  add_figures(o, v->of[q], v->n[q]);
  list = cJSON_AddArrayToObject(o, "confusion");
  for (int a = 0; a < answers * answers; a++)
    cJSON_AddItemToArray(list, cJSON_CreateNumber((double)v->confusion[q][a]));
  return o;
}

cJSON *votes_json(const job *p, const votes_heads *v)
{
  cJSON *o = cJSON_CreateObject(), *list;
  cJSON_AddStringToObject(o, "source", p->sample.source[v->source].name);
  cJSON_AddNumberToObject(o, "train", (double)v->train);
  cJSON_AddNumberToObject(o, "test", (double)v->test);
  syz_json_add_number(o, "penalty", v->penalty);
  cJSON_AddNumberToObject(o, "iterations", (double)v->iterations);
  cJSON_AddBoolToObject(o, "has_converged", v->has_converged);
  add_figures(o, v->all, NULL);
  list = cJSON_AddArrayToObject(o, "questions");
  for (int q = 0; q < ZOO_QUESTIONS; q++) cJSON_AddItemToArray(list, question_json(v, q));
  return o;
}

/* ------------------------------------------------------------ predictions.h5 */

static syz_status put_real(const job *p, syz_h5 *f, double *scratch)
{
  syz_status st = SYZ_OK;
  const sample *s = &p->sample;
  char name[128];
  for (int q = 0; q < ZOO_QUESTIONS; q++) {
    const int answers = zoo[q].answers;
    for (int64_t t = 0; t < s->test; t++)
      for (int a = 0; a < answers; a++)
        scratch[t * answers + a] = (double)s->votes[s->test_row[t] * ZOO_ANSWERS + zoo_begin[q] + a];
    snprintf(name, sizeof name, "label/votes/%s", zoo[q].name);
    SYZ_TRY(predictions_put(p, f, name, SYZ_H5_F64, answers, scratch, "", "votes for each answer"));
  }
cleanup:
  return st;
}

static syz_status put_expected(const job *p, syz_h5 *f, const votes_heads *v, double *scratch)
{
  syz_status st = SYZ_OK;
  const sample *s = &p->sample;
  char name[256], source[SYZ_DATASET_NAME];
  syz_dataset_name(s->source[v->source].name, source);
  for (int q = 0; q < ZOO_QUESTIONS; q++) {
    const int answers = zoo[q].answers;
    for (int64_t t = 0; t < s->test; t++)
      memcpy(scratch + t * answers, v->share + t * ZOO_ANSWERS + zoo_begin[q], (size_t)answers * sizeof *scratch);
    snprintf(name, sizeof name, "votes/%s/%s/share", source, zoo[q].name);
    SYZ_TRY(predictions_put(p, f, name, SYZ_H5_F64, answers, scratch, "", "expected share of each answer"));
    for (int64_t t = 0; t < s->test; t++) scratch[t] = v->relevance[t * ZOO_QUESTIONS + q];
    snprintf(name, sizeof name, "votes/%s/%s/relevance", source, zoo[q].name);
    SYZ_TRY(predictions_put(p, f, name, SYZ_H5_F64, 0, scratch, "", "expected share of volunteers who are asked"));
  }
cleanup:
  return st;
}

syz_status votes_put(const job *p, syz_h5 *f)
{
  syz_status st = SYZ_OK;
  double *scratch = syz_alloc("votes", (size_t)(p->sample.test * ZOO_OF_ONE), sizeof *scratch);
  SYZ_TRY_ALL(p->run->world, scratch ? SYZ_OK : SYZ_ERR_MEMORY);
  if (p->n_votes) SYZ_TRY(put_real(p, f, scratch));
  for (int k = 0; k < p->n_votes; k++) SYZ_TRY(put_expected(p, f, &p->votes[k], scratch));
cleanup:
  syz_free(&scratch);
  return st;
}
