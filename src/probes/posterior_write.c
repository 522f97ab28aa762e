/* SPDX-License-Identifier: BSD-3-Clause */
/* Posteriors in probe.json and predictions.h5. */
#include <math.h>
#include <stdio.h>

#include "predictions.h"
#include "write.h"
#include "syzygy/json.h"

static void add_curve(cJSON *o, const char *name, const double *x)
{
  cJSON *list = cJSON_AddArrayToObject(o, name);
  for (int l = 0; l < POSTERIOR_LEVELS; l++) cJSON_AddItemToArray(list, syz_json_number(x[l]));
}

static cJSON *label_json(const job *p, const posterior *q, int k)
{
  const syz_pit_figures *f = &q->pit_figures[k];
  cJSON *o = cJSON_CreateObject(), *pit, *count;
  cJSON_AddStringToObject(o, "label", p->sample.label[q->column[k]].name);
  syz_json_add_number(o, "crps", q->mean_crps[k]);
  add_curve(o, "covered", q->covered[k]);
  pit = cJSON_AddObjectToObject(o, "pit");
  syz_json_add_number(pit, "mean", f->mean);
  syz_json_add_number(pit, "ks", f->ks);
  syz_json_add_number(pit, "ks_p", f->ks_p);
  syz_json_add_number(pit, "cvm", f->cvm);
  syz_json_add_number(pit, "cvm_p", f->cvm_p);
  syz_json_add_number(pit, "outside", f->outside);
  syz_json_add_number(pit, "outside_expected", f->outside_expected);
  count = cJSON_AddArrayToObject(pit, "count");
  for (int b = 0; b < SYZ_PIT_BINS; b++) cJSON_AddItemToArray(count, syz_json_number((double)f->count[b]));
  count = cJSON_AddArrayToObject(pit, "expected");
  for (int b = 0; b < SYZ_PIT_BINS; b++) cJSON_AddItemToArray(count, syz_json_number(f->expected[b]));
  count = cJSON_AddArrayToObject(pit, "error");
  for (int b = 0; b < SYZ_PIT_BINS; b++) cJSON_AddItemToArray(count, syz_json_number(f->error[b]));
  return o;
}

static void add_calibration(cJSON *o, const posterior *q)
{
  static const char *const kind[] = {"none", "temperature", "PIT"};
  cJSON *c = cJSON_AddObjectToObject(o, "recalibration");
  cJSON_AddStringToObject(c, "kind", kind[q->calibration.kind]);
  if (q->calibration.kind != SYZ_FLOW_TEMPERATURE) return;
  cJSON_AddNumberToObject(c, "validation_objects", (double)q->calibration.n);
  syz_json_add_number(c, "temperature", q->calibration.temperature);
  syz_json_add_number(c, "nll_before", q->calibration.nll_before);
  syz_json_add_number(c, "nll_after", q->calibration.nll_after);
}

cJSON *posterior_json(const job *p, const posterior *q)
{
  cJSON *o = cJSON_CreateObject(), *list;
  cJSON_AddStringToObject(o, "source", p->sample.source[q->source].name);
  cJSON_AddStringToObject(o, "kind", syz_flow_kind_name(q->kind));
  cJSON_AddStringToObject(o, "protocol", p->options->is_published ? "astroclip" : "sound");
  cJSON_AddNumberToObject(o, "members", q->members);
  cJSON_AddNumberToObject(o, "train", (double)q->train);
  cJSON_AddNumberToObject(o, "validation", (double)q->validation);
  cJSON_AddNumberToObject(o, "n", (double)q->n);
  cJSON_AddNumberToObject(o, "outside", (double)q->outside);
  cJSON_AddNumberToObject(o, "test_outside", (double)q->test_outside);
  cJSON_AddNumberToObject(o, "draws", (double)q->draws);
  syz_json_add_number(o, "nll_joint", q->nll.standardised);
  syz_json_add_number(o, "nll_joint_error", q->nll_error.deviation);
  syz_json_add_number(o, "nll_per_label", q->nll.per_label);
  syz_json_add_number(o, "nll_joint_label_units", q->nll.label);
  add_curve(o, "level", posterior_level);
  add_curve(o, "density_covered", q->density_covered);
  add_curve(o, "tarp", q->tarp_curve);
  add_curve(o, "tarp_error", q->tarp_error);
  add_calibration(o, q);
  list = cJSON_AddArrayToObject(o, "labels");
  for (int k = 0; k < q->labels; k++) cJSON_AddItemToArray(list, label_json(p, q, k));
  list = cJSON_AddArrayToObject(o, "warnings");
  for (int i = 0; i < q->warnings.n; i++) cJSON_AddItemToArray(list, cJSON_CreateString(q->warnings.text[i]));
  return o;
}

/* ------------------------------------------------------------ predictions.h5 */

/* Rows of all test objects from those that have a posterior, NaN elsewhere. */
static void spread(const job *p, const posterior *q, int64_t numbers, const double *of_object, int64_t stride,
                   double *all)
{
  for (int64_t i = 0; i < p->sample.test * numbers; i++) all[i] = NAN;
  for (int64_t i = 0; i < q->n; i++)
    for (int64_t k = 0; k < numbers; k++) all[q->place[i] * numbers + k] = of_object[i * stride + k];
}

static syz_status put_label(const job *p, syz_h5 *f, const posterior *q, int k, const char *folder, double *scratch)
{
  syz_status st = SYZ_OK;
  const sample_label *l = &p->sample.label[q->column[k]];
  const int64_t numbers = sizeof(syz_flow_summary) / sizeof(double), levels = SYZ_FLOW_LEVELS;
  const syz_flow_summary *s = q->summary + k;
  char name[640], label[SYZ_DATASET_NAME];
  syz_dataset_name(l->name, label);
  snprintf(name, sizeof name, "%s/%s/quantiles", folder, label);
  spread(p, q, levels, s->quantile, q->labels * numbers, scratch);
  SYZ_TRY(predictions_put(p, f, name, SYZ_H5_F64, levels, scratch, l->unit, "5, 16, 50, 84, 95 % of the posterior"));
  snprintf(name, sizeof name, "%s/%s/mode", folder, label);
  spread(p, q, 1, &s->mode, q->labels * numbers, scratch);
  SYZ_TRY(predictions_put(p, f, name, SYZ_H5_F64, 0, scratch, l->unit, "mode of the posterior"));
  snprintf(name, sizeof name, "%s/%s/shortest_68", folder, label);
  spread(p, q, 2, &s->low_68, q->labels * numbers, scratch);
  SYZ_TRY(predictions_put(p, f, name, SYZ_H5_F64, 2, scratch, l->unit, "shortest interval with 68.27 %"));
  snprintf(name, sizeof name, "%s/%s/pit", folder, label);
  spread(p, q, 1, q->pit + k, q->labels, scratch);
  SYZ_TRY(predictions_put(p, f, name, SYZ_H5_F64, 0, scratch, "", "share of draws below the true value"));
cleanup:
  return st;
}

syz_status posterior_put(const job *p, syz_h5 *f, const posterior *q, double *scratch)
{
  syz_status st = SYZ_OK;
  char folder[320], source[SYZ_DATASET_NAME];
  syz_dataset_name(p->sample.source[q->source].name, source);
  snprintf(folder, sizeof folder, "posterior/%s", source);
  for (int k = 0; k < q->labels; k++) SYZ_TRY(put_label(p, f, q, k, folder, scratch));
  char name[400];
  snprintf(name, sizeof name, "%s/log_density", folder);
  spread(p, q, 1, q->standard, 1, scratch);
  SYZ_TRY(predictions_put(p, f, name, SYZ_H5_F64, 0, scratch, "",
                          "ln of the joint density at the true values, standardised labels"));
cleanup:
  return st;
}
