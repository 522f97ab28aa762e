/* SPDX-License-Identifier: BSD-3-Clause */
/* What a probe leaves: probe.json with every figure, and predictions.h5 with every test object's predictions. */
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "syzygy/files.h"
#include "write.h"

/* ------------------------------------------------------------------ JSON */

cJSON *json_number(double value) { return isfinite(value) ? cJSON_CreateNumber(value) : cJSON_CreateNull(); }

void json_add(cJSON *o, const char *name, double value) { cJSON_AddItemToObject(o, name, json_number(value)); }

static void add_sides(cJSON *root, const job *p)
{
  static const char *const rule[] = {"sky", "rows", "file", "column"};
  const sample *s = &p->sample;
  const syz_probe_data *d = &p->options->data;
  char digest[24];
  cJSON *o = cJSON_AddObjectToObject(root, "split");
  cJSON_AddStringToObject(o, "rule", rule[d->sides.rule]);
  json_add(o, "test_share", d->sides.test_share);
  json_add(o, "border_arcsec", d->sides.border_arcsec);
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
    json_add(f, "value", r->figure[k].of.value);
    json_add(f, "error", r->figure[k].of.deviation);
    json_add(f, "low", r->figure[k].of.low);
    json_add(f, "high", r->figure[k].of.high);
  }
  return o;
}

static void add_estimate(cJSON *o, const char *name, const syz_estimate *e)
{
  cJSON *f = cJSON_AddObjectToObject(o, name);
  json_add(f, "value", e->value);
  json_add(f, "deviation", e->deviation);
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
  json_add(o, "contamination", options->contamination);
  json_add(o, "penalty", options->penalty);
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

/* On rank 0. cJSON returns NULL without memory, and its adders pass that on: one check at the end. */
static syz_status write_json(const job *p, const char *path)
{
  syz_status st = SYZ_OK;
  char *text = NULL;
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
  text = cJSON_Print(root);
  SYZ_REQUIRE(text, SYZ_ERR_MEMORY, "no memory for probe.json");
  SYZ_TRY(syz_file_write(path, text, strlen(text)));
cleanup:
  cJSON_free(text);
  cJSON_Delete(root);
  return st;
}

/* ------------------------------------------------------------ predictions */

/* Rank 0 writes: it has them all. */
syz_status predictions_put(const job *p, syz_h5 *f, const char *name, syz_h5_type type, int64_t numbers,
                           const void *data, const char *unit, const char *description)
{
  const int64_t n = syz_comm_rank(p->run->world) == 0 ? p->sample.test : 0;
  return syz_h5_write(f, name, type, p->sample.test, numbers ? 1 : 0, &numbers, 0, n, data, unit, description);
}

void predictions_name(const char *text, char out[PREDICTIONS_NAME])
{
  const size_t n = strlen(text);
  if (n < PREDICTIONS_NAME)
    snprintf(out, PREDICTIONS_NAME, "%s", strcmp(text, ".") == 0 ? "_" : text);
  else
    snprintf(out, PREDICTIONS_NAME, "%.*s..%016llx", PREDICTIONS_NAME - 20, text,
             (unsigned long long)syz_checksum(text, n, 0));
  for (char *c = out; *c; c++)
    if (*c == '/') *c = '_';
}

static syz_status put_rows(const job *p, syz_h5 *f, double *scratch)
{
  syz_status st = SYZ_OK;
  const sample *s = &p->sample;
  char name[512], label[PREDICTIONS_NAME], source[PREDICTIONS_NAME];
  for (int t = 0; t < s->n_labels; t++) {
    for (int64_t i = 0; i < s->test; i++) scratch[i] = s->label[t].value[s->test_row[i]];
    predictions_name(s->label[t].name, label);
    snprintf(name, sizeof name, "label/%s", label);
    SYZ_TRY(predictions_put(p, f, name, SYZ_H5_F64, 0, scratch, s->label[t].unit, "true value; NaN where unknown"));
  }
  for (int k = 0; k < p->n_outcomes; k++) {
    const outcome *o = &p->outcome[k];
    predictions_name(s->label[o->label].name, label);
    predictions_name(s->source[o->source].name, source);
    snprintf(name, sizeof name, "prediction/%s/%s/%s", source, p->method[o->method]->name, label);
    SYZ_TRY(predictions_put(p, f, name, SYZ_H5_F64, 0, o->said.prediction, s->label[o->label].unit,
                            s->label[o->label].classes ? "predicted class" : "predicted value"));
  }
cleanup:
  return st;
}

/* All files are complete before one of them takes its name: an earlier result stays whole when a write fails. */
static syz_status write_all(const job *p)
{
  syz_status st = SYZ_OK;
  const sample *s = &p->sample;
  char path[PATH_MAX], json[PATH_MAX], complete[PATH_MAX] = "", fits[PATH_MAX], fits_new[PATH_MAX] = "";
  syz_h5 *f = NULL;
  const bool is_first = syz_comm_rank(s->comm) == 0;
  double *scratch = syz_alloc("test objects", (size_t)(s->test * SYZ_FLOW_LEVELS), sizeof *scratch);
  int64_t *id = syz_alloc("identifiers", (size_t)s->test, sizeof *id);
  SYZ_TRY_ALL(s->comm, scratch && id ? SYZ_OK : SYZ_ERR_MEMORY);
  for (int64_t i = 0; i < s->test; i++) id[i] = s->id[s->test_row[i]];
  SYZ_REQUIRE(snprintf(path, sizeof path, "%s/predictions.h5", p->run->folder) < (int)sizeof path &&
                  snprintf(complete, sizeof complete, "%s/probe.json.new", p->run->folder) < (int)sizeof complete &&
                  snprintf(fits_new, sizeof fits_new, "%s/predictions.fits.new", p->run->folder) < (int)sizeof fits_new,
              SYZ_ERR_WRITE, "output.dir: name too long");
  snprintf(json, sizeof json, "%.*s", (int)(strlen(complete) - strlen(".new")), complete);
  snprintf(fits, sizeof fits, "%.*s", (int)(strlen(fits_new) - strlen(".new")), fits_new);
  SYZ_TRY(syz_h5_create(s->comm, path, "predictions", p->run->created_by, p->run->input_yaml, &f));
  SYZ_TRY(predictions_put(p, f, "object_id", SYZ_H5_I64, 0, id, "", "identifier of the test object"));
  for (int64_t i = 0; i < s->test; i++) scratch[i] = s->ra[s->test_row[i]];
  SYZ_TRY(predictions_put(p, f, "ra", SYZ_H5_F64, 0, scratch, "deg", "right ascension, ICRS; NaN when unknown"));
  for (int64_t i = 0; i < s->test; i++) scratch[i] = s->dec[s->test_row[i]];
  SYZ_TRY(predictions_put(p, f, "dec", SYZ_H5_F64, 0, scratch, "deg", "declination, ICRS; NaN when unknown"));
  SYZ_TRY(put_rows(p, f, scratch));
  for (int k = 0; k < p->n_posteriors; k++) SYZ_TRY(posterior_put(p, f, &p->posterior[k], scratch));
  SYZ_TRY_ALL(s->comm, is_first ? write_json(p, complete) : SYZ_OK);
  SYZ_TRY_ALL(s->comm, is_first ? predictions_write_fits(p, fits_new) : SYZ_OK);
  SYZ_TRY(syz_h5_publish(&f));
  SYZ_TRY_ALL(s->comm, is_first ? syz_file_publish(fits_new, fits) : SYZ_OK);
  SYZ_TRY_ALL(s->comm, is_first ? syz_file_publish(complete, json) : SYZ_OK);
cleanup:
  if (st != SYZ_OK && is_first) unlink(complete);
  if (st != SYZ_OK && is_first) unlink(fits_new);
  syz_h5_close(&f);
  syz_free(&scratch);
  syz_free(&id);
  return st;
}

syz_status outcomes_write(job *p)
{
  syz_status st = SYZ_OK;
  syz_timing_begin(p->run->timing, "write");
  st = write_all(p);
  syz_timing_end(p->run->timing);
  return st;
}
