/* SPDX-License-Identifier: BSD-3-Clause */
/* probe.json: who was tested, and every figure. */
#include <stdio.h>

#include "outliers.h"
#include "votes.h"
#include "write.h"
#include "syzygy/json.h"

static void add_sides(cJSON *root, const job *p)
{
  static const char *const rule[] = {"sky", "rows", "file", "column"};
  const sample *s = &p->sample;
  const syz_probe_data *d = &p->options->data;
  char digest[24];
  cJSON *o = cJSON_AddObjectToObject(root, "split");
  cJSON_AddStringToObject(o, "rule", rule[d->sides.rule]);
  syz_json_add_number(o, "test_share", d->sides.test_share);
  syz_json_add_number(o, "border_arcsec", d->sides.border_arcsec);
  cJSON_AddNumberToObject(o, "train", (double)s->train);
  cJSON_AddNumberToObject(o, "test", (double)s->test);
  cJSON_AddNumberToObject(o, "dropped_at_borders", (double)s->sides.dropped_border);
  cJSON_AddNumberToObject(o, "dropped_in_both", (double)s->sides.dropped_shared);
  cJSON_AddNumberToObject(o, "cut", (double)s->cut);
  cJSON_AddNumberToObject(o, "without_features", (double)s->unusable);
  snprintf(digest, sizeof digest, "%016llx", (unsigned long long)s->sides.digest);
  cJSON_AddStringToObject(o, "digest", digest);
}

static void add_embeddings(cJSON *root, const syz_probe_data *d)
{
  cJSON *list = cJSON_AddArrayToObject(root, "embeddings");
  for (int i = 0; i < d->embeddings.n; i++) cJSON_AddItemToArray(list, cJSON_CreateString(d->embeddings.item[i]));
  for (int i = 0; i < d->test_embeddings.n; i++)
    cJSON_AddItemToArray(list, cJSON_CreateString(d->test_embeddings.item[i]));
}

static void add_sources(cJSON *root, const sample *s)
{
  cJSON *list = cJSON_AddArrayToObject(root, "sources");
  for (int i = 0; i < s->n_sources; i++) {
    cJSON *o = cJSON_CreateObject();
    cJSON_AddStringToObject(o, "name", s->source[i].name);
    cJSON_AddNumberToObject(o, "width", (double)s->source[i].width);
    cJSON_AddNumberToObject(o, "missing", (double)s->source[i].missing);
    cJSON_AddStringToObject(o, "model_digest", s->source[i].digest);
    cJSON_AddItemToArray(list, o);
  }
}

static void add_labels(cJSON *root, const sample *s)
{
  cJSON *list = cJSON_AddArrayToObject(root, "labels");
  for (int i = 0; i < s->n_labels; i++) {
    const sample_label *l = &s->label[i];
    cJSON *o = cJSON_CreateObject();
    cJSON_AddStringToObject(o, "name", l->name);
    cJSON_AddStringToObject(o, "unit", l->unit);
    cJSON_AddNumberToObject(o, "classes", l->classes);
    cJSON_AddNumberToObject(o, "train", (double)l->train);
    cJSON_AddNumberToObject(o, "test", (double)l->test);
    cJSON_AddNumberToObject(o, "missing", (double)(l->counts.missing + l->counts.undefined));
    cJSON_AddNumberToObject(o, "infinite", (double)l->counts.infinite);
    cJSON_AddItemToArray(list, o);
  }
}

static cJSON *outcome_json(const job *p, const outcome *r)
{
  const sample *s = &p->sample;
  cJSON *o = cJSON_CreateObject();
  cJSON_AddStringToObject(o, "label", s->label[r->label].name);
  cJSON_AddStringToObject(o, "source", s->source[r->source].name);
  cJSON_AddStringToObject(o, "method", p->method[r->method]->name);
  cJSON_AddStringToObject(o, "chosen", r->said.note);
  cJSON_AddNumberToObject(o, "n", (double)r->n);
  cJSON_AddBoolToObject(o, "is_best", r->is_best);
  cJSON_AddBoolToObject(o, "is_tied_with_best", r->is_tied);
  cJSON *figures = cJSON_AddObjectToObject(o, "figures");
  for (int k = 0; k < r->figures; k++) {
    cJSON *f = cJSON_AddObjectToObject(figures, r->figure[k].name);
    syz_json_add_number(f, "value", r->figure[k].of.value);
    syz_json_add_number(f, "error", r->figure[k].of.deviation);
    syz_json_add_number(f, "low", r->figure[k].of.low);
    syz_json_add_number(f, "high", r->figure[k].of.high);
  }
  return o;
}

static void add_estimate(cJSON *o, const char *name, const syz_estimate *e)
{
  cJSON *f = cJSON_AddObjectToObject(o, name);
  syz_json_add_number(f, "value", e->value);
  syz_json_add_number(f, "deviation", e->deviation);
}

static cJSON *few_json(const job *p, const few_curves *f)
{
  const syz_few_probe *options = &p->options->few;
  static const char *const name[FEW_FIGURES] = {"auc", "average_precision", "completeness"};
  cJSON *o = cJSON_CreateObject(), *list, *row;
  cJSON_AddStringToObject(o, "label", p->sample.label[f->label].name);
  cJSON_AddStringToObject(o, "source", p->sample.source[f->source].name);
  cJSON_AddNumberToObject(o, "test", (double)f->test);
  cJSON_AddNumberToObject(o, "positives", (double)f->positives);
  syz_json_add_number(o, "contamination", options->contamination);
  syz_json_add_number(o, "penalty", options->penalty);
  list = cJSON_AddArrayToObject(o, "curve");
  for (int kind = 0; kind < FEW_KINDS; kind++)
    for (int size = 0; size < options->n_sizes; size++) {
      row = cJSON_CreateObject();
      cJSON_AddItemToArray(list, row);
      cJSON_AddStringToObject(row, "draws_of", few_kind_name[kind]);
      cJSON_AddNumberToObject(row, "labels", (double)options->size[size]);
      for (int k = 0; k < FEW_FIGURES; k++) {
        const syz_estimate e = few_mean(p, f, (few_kind)kind, size, k);
        if (k == 0) cJSON_AddNumberToObject(row, "draws", (double)e.draws);
        add_estimate(row, name[k], &e);
      }
    }
  return o;
}

cJSON *probe_json(const job *p)
{
  cJSON *root = cJSON_CreateObject(), *list;
  cJSON_AddStringToObject(root, "created_by", p->run->created_by);
  cJSON_AddStringToObject(root, "task", "embeddings");
  cJSON_AddStringToObject(root, "protocol", p->options->is_published ? "astroclip" : "sound");
  cJSON_AddNumberToObject(root, "bootstrap_draws", (double)p->options->draws);
  add_embeddings(root, &p->options->data);
  add_sides(root, p);
  add_sources(root, &p->sample);
  add_labels(root, &p->sample);
  list = cJSON_AddArrayToObject(root, "results");
  for (int k = 0; k < p->n_outcomes; k++) cJSON_AddItemToArray(list, outcome_json(p, &p->outcome[k]));
  list = cJSON_AddArrayToObject(root, "posteriors");
  for (int k = 0; k < p->n_posteriors; k++) cJSON_AddItemToArray(list, posterior_json(p, &p->posterior[k]));
  list = cJSON_AddArrayToObject(root, "few_labels");
  for (int k = 0; k < p->n_few; k++) cJSON_AddItemToArray(list, few_json(p, &p->few[k]));
  list = cJSON_AddArrayToObject(root, "votes");
  for (int k = 0; k < p->n_votes; k++) cJSON_AddItemToArray(list, votes_json(p, &p->votes[k]));
  if (p->outliers) cJSON_AddItemToObject(root, "outliers", outliers_json(p));
  return root;
}
