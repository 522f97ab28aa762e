/* SPDX-License-Identifier: BSD-3-Clause */
/* Posteriors in probe.json and predictions.h5. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "predictions.h"
#include "write.h"
#include "syzygy/json.h"

static void add_curve(cJSON *o, const char *name, const double *x)
{
  cJSON *list = cJSON_AddArrayToObject(o, name);
  for (int l = 0; l < POSTERIOR_LEVELS; l++) cJSON_AddItemToArray(list, syz_json_number(x[l]));
}

/* A mean, what is expected of it if the posteriors are calibrated, and the error of their difference. */
static void add_check(cJSON *o, const char *name, const syz_self_check *c)
{
  char key[48];
  syz_json_add_number(o, name, c->value);
  snprintf(key, sizeof key, "%s_expected", name);
  syz_json_add_number(o, key, c->expected);
  snprintf(key, sizeof key, "%s_error", name);
  syz_json_add_number(o, key, c->error);
}

static void add_grid(cJSON *o, const posterior *q, int k)
{
  const double *edge = q->edge + k * (q->cells + 1);
  cJSON *g = cJSON_AddObjectToObject(o, "grid");
  cJSON_AddNumberToObject(g, "cells", (double)q->cells);
  syz_json_add_number(g, "low", edge[0]);
  syz_json_add_number(g, "high", edge[q->cells]);
  syz_json_add_number(g, "least_probability_inside", q->least_inside[k]);
  cJSON_AddBoolToObject(g, "is_written", q->pdf != NULL);
}

static void add_conformal(cJSON *o, const posterior_conformal *c)
{
  cJSON *list = cJSON_AddArrayToObject(o, "conformal");
  for (int a = 0; a < POSTERIOR_CONFORMAL; a++) {
    cJSON *row = cJSON_CreateObject();
    syz_json_add_number(row, "level", posterior_conformal_level[a]);
    syz_json_add_number(row, "factor", c->factor[a]);
    syz_json_add_number(row, "covered", c->covered[a]);
    syz_json_add_number(row, "error", c->error[a]);
    cJSON_AddItemToArray(list, row);
  }
}

static cJSON *label_json(const job *p, const posterior *q, int k)
{
  const syz_pit_figures *f = &q->pit_figures[k];
  cJSON *o = cJSON_CreateObject(), *pit, *count;
  cJSON_AddStringToObject(o, "label", p->sample.label[q->column[k]].name);
  syz_json_add_number(o, "nll", q->nll_each[k]);
  add_check(o, "crps", &q->mean_crps[k]);
  add_check(o, "cde_loss", &q->mean_cde[k]);
  add_grid(o, q, k);
  add_conformal(o, &q->conformal[k]);
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
  syz_json_add_number(o, "nll_joint_label_units_expected", q->nll_check.expected);
  syz_json_add_number(o, "nll_joint_label_units_error", q->nll_check.error);
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

/* Rows of all test objects from those that have a posterior, NaN elsewhere: numbers of each at q->n objects, `stride`
 * apart. */
static void spread(const job *p, const posterior *q, int64_t numbers, const double *of_object, int64_t stride,
                   double *all)
{
  for (int64_t i = 0; i < p->sample.test * numbers; i++) all[i] = NAN;
  for (int64_t i = 0; i < q->n; i++)
    for (int64_t k = 0; k < numbers; k++) all[q->place[i] * numbers + k] = of_object[i * stride + k];
}

float *posterior_rows(const job *p, const posterior *q, int64_t numbers, const float *of_object, int64_t stride)
{
  float *all = syz_alloc("test objects", (size_t)(p->sample.test * numbers), sizeof *all);
  for (int64_t i = 0; all && i < p->sample.test * numbers; i++) all[i] = NAN;
  for (int64_t i = 0; all && i < q->n; i++)
    memcpy(all + q->place[i] * numbers, of_object + i * stride, (size_t)numbers * sizeof *all);
  return all;
}

/* What of each label is a column of numbers. */
typedef struct column {
  const char *name, *unit, *description;
  int64_t numbers;
  const double *of_object;
  int64_t stride;
} column;

static syz_status put_columns(const job *p, syz_h5 *f, const posterior *q, const char *folder, int n, const column *c,
                              double *scratch)
{
  syz_status st = SYZ_OK;
  char name[640];
  for (int i = 0; i < n; i++) {
    snprintf(name, sizeof name, "%s/%s", folder, c[i].name);
    spread(p, q, c[i].numbers, c[i].of_object, c[i].stride, scratch);
    SYZ_TRY(predictions_put(p, f, name, SYZ_H5_F64, c[i].numbers > 1 ? c[i].numbers : 0, scratch, c[i].unit,
                            c[i].description));
  }
cleanup:
  return st;
}

static syz_status put_floats(const job *p, syz_h5 *f, const posterior *q, const char *name, const int64_t *shape,
                             int ndim, const float *of_object, int64_t stride, const char *unit, const char *what)
{
  syz_status st = SYZ_OK;
  const int64_t numbers = shape[0] * (ndim == 2 ? shape[1] : 1);
  const bool is_first = syz_comm_rank(p->run->world) == 0; /* it writes */
  float *all = is_first ? posterior_rows(p, q, numbers, of_object, stride) : NULL;
  SYZ_TRY_ALL(p->run->world, is_first && !all ? SYZ_ERR_MEMORY : SYZ_OK);
  SYZ_TRY(syz_h5_write(f, name, SYZ_H5_F32, p->sample.test, ndim, shape, 0, is_first ? p->sample.test : 0, all, unit,
                       what));
cleanup:
  syz_free(&all);
  return st;
}

void posterior_density_unit(const char *unit, size_t room, char *out)
{
  snprintf(out, room, unit[0] ? "1/(%s)" : "%s", unit);
}

/* Densities on the grid, and the grid. */
static syz_status put_pdf(const job *p, syz_h5 *f, const posterior *q, int k, const char *folder, double *scratch)
{
  syz_status st = SYZ_OK;
  const sample_label *l = &p->sample.label[q->column[k]];
  char name[640], unit[POSTERIOR_UNIT];
  posterior_density_unit(l->unit, sizeof unit, unit);
  snprintf(name, sizeof name, "%s/pdf", folder);
  SYZ_TRY(put_floats(
      p, f, q, name, &q->cells, 1, q->pdf + k * q->cells, q->labels * q->cells, unit,
      "probability density of this label alone: mean in each cell of `edge`, whose middles are `grid`; integral 1"));
  const column inside = {"inside",      "",       "probability inside of the grid, which pdf is divided by", 1,
                         q->inside + k, q->labels};
  SYZ_TRY(put_columns(p, f, q, folder, 1, &inside, scratch));
  const struct {
    const char *name, *what;
    const double *data;
    int64_t n;
  } axis[] = {{"grid", "middles of the cells of pdf", q->grid + k * q->cells, q->cells},
              {"edge", "edges of the cells of pdf", q->edge + k * (q->cells + 1), q->cells + 1}};
  for (int i = 0; i < 2; i++) {
    snprintf(name, sizeof name, "%s/%s", folder, axis[i].name);
    SYZ_TRY(syz_h5_write(f, name, SYZ_H5_F64, axis[i].n, 0, NULL, 0, syz_comm_rank(p->run->world) == 0 ? axis[i].n : 0,
                         axis[i].data, l->unit, axis[i].what));
  }
cleanup:
  return st;
}

static syz_status put_label(const job *p, syz_h5 *f, const posterior *q, int k, const char *source, double *scratch)
{
  syz_status st = SYZ_OK;
  const char *unit = p->sample.label[q->column[k]].unit;
  const int64_t numbers = q->labels * (int64_t)(sizeof(syz_flow_summary) / sizeof(double));
  const int64_t ends = 2 * POSTERIOR_CONFORMAL;
  const syz_flow_summary *s = q->summary + k;
  char folder[500], label[SYZ_DATASET_NAME], density_unit[POSTERIOR_UNIT];
  syz_dataset_name(p->sample.label[q->column[k]].name, label);
  snprintf(folder, sizeof folder, "%s/%s", source, label);
  posterior_density_unit(unit, sizeof density_unit, density_unit);
  const column all[] = {
      {"quantiles", unit, "5, 16, 50, 84, 95 % of the posterior", SYZ_FLOW_LEVELS, s->quantile, numbers},
      {"mean", unit, "mean of the posterior", 1, &s->mean, numbers},
      {"deviation", unit, "standard deviation of the posterior", 1, &s->deviation, numbers},
      {"mode", unit, "mode of the posterior of this label alone", 1, &s->mode, numbers},
      {"joint_mode", unit, "this label where the joint density is largest", 1, q->mode + k, q->labels},
      {"shortest_68", unit, "shortest interval with 68.27 %", 2, &s->low_68, numbers},
      {"shortest_95", unit, "shortest interval with 95.45 %", 2, &s->low_95, numbers},
      {"conformal", unit, "ends of the conformal intervals of 50, 68 and 90 %", ends, q->interval + k * ends,
       q->labels * ends},
      {"pit", "", "share of draws below the true value", 1, q->pit + k, q->labels},
      {"crps", unit, "continuous ranked probability score", 1, q->crps + k, q->labels},
      {"cde_loss", density_unit, "integral of the density's square - twice the density at the true value", 1,
       q->cde + k, q->labels},
      {"log_density", "", "ln of this label's own density at the true value, standardised", 1, q->each + k, q->labels},
  };
  SYZ_TRY(put_columns(p, f, q, folder, (int)(sizeof all / sizeof *all), all, scratch));
  if (q->pdf) SYZ_TRY(put_pdf(p, f, q, k, folder, scratch));
cleanup:
  return st;
}

syz_status posterior_put(const job *p, syz_h5 *f, const posterior *q, double *scratch)
{
  syz_status st = SYZ_OK;
  char folder[320], source[SYZ_DATASET_NAME], name[400];
  syz_dataset_name(p->sample.source[q->source].name, source);
  snprintf(folder, sizeof folder, "posterior/%s", source);
  for (int k = 0; k < q->labels; k++) SYZ_TRY(put_label(p, f, q, k, folder, scratch));
  const column joint[] = {
      {"log_density", "", "ln of the joint density at the true values, standardised labels", 1, q->standard, 1},
      {"credibility", "", "of the region of highest joint density that ends at the true values", 1, q->credibility, 1},
      {"tarp", "", "share of draws nearer to a reference point than the true values", 1, q->tarp, 1}};
  SYZ_TRY(put_columns(p, f, q, folder, (int)(sizeof joint / sizeof *joint), joint, scratch));
  if (q->samples) {
    const int64_t shape[2] = {q->samples, q->labels};
    snprintf(name, sizeof name, "%s/samples", folder);
    SYZ_TRY(put_floats(p, f, q, name, shape, 2, q->sample, q->samples * q->labels, "",
                       "draws from the joint posterior; labels in the order of probe.json, in their units"));
  }
cleanup:
  return st;
}
