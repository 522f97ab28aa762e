/* SPDX-License-Identifier: BSD-3-Clause */
/* Predictions of test objects by the best row of each label: predicted against true, residuals, confusion. Objects are
 * those that every row of the label predicts, as for the figures of the table. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "probe.h"
#include "syzygy/data.h"
#include "syzygy/figures.h"

enum { RUNS = 12, RUN_LEAST = 15 /* objects of a point of the running median */ };

/* One label: its true values and predictions, NaN where an object is not judged. */
typedef struct pairs {
  const cJSON *best;
  const char *label;
  int64_t n;
  double *truth, *predicted, *other; /* [n] */
} pairs;

static void pairs_free(pairs *q)
{
  syz_free(&q->truth);
  syz_free(&q->predicted);
  syz_free(&q->other);
}

/* Column x [n] of predictions.h5; *has: it is there. SYZ_ERR_MEMORY. */
static syz_status read_column(const probe_view *v, const char *name, double *x, bool *has)
{
  int ndim;
  int64_t shape[8];
  *has =
      syz_h5_has(v->file, name) && syz_h5_shape(v->file, name, &ndim, shape) == SYZ_OK && ndim == 1 && shape[0] == v->n;
  if (!*has) return SYZ_OK;
  const syz_status st = syz_h5_read(v->file, name, SYZ_H5_F64, 0, v->n, x);
  *has = st == SYZ_OK;
  return st == SYZ_ERR_MEMORY ? st : SYZ_OK;
}

static syz_status read_truth(const probe_view *v, const char *label, double *x, bool *has)
{
  char name[160], part[SYZ_DATASET_NAME];
  syz_dataset_name(label, part);
  snprintf(name, sizeof name, "label/%s", part);
  return read_column(v, name, x, has);
}

static syz_status read_prediction(const probe_view *v, const cJSON *r, double *x, bool *has)
{
  char name[512], label[SYZ_DATASET_NAME], source[SYZ_DATASET_NAME], method[SYZ_DATASET_NAME];
  syz_dataset_name(probe_text(r, "label"), label);
  syz_dataset_name(probe_text(r, "source"), source);
  syz_dataset_name(probe_text(r, "method"), method);
  snprintf(name, sizeof name, "prediction/%s/%s/%s", source, method, label);
  return read_column(v, name, x, has);
}

/* Leaves out objects that another row of the label does not predict. */
static syz_status keep_judged(const probe_view *v, pairs *q)
{
  syz_status st = SYZ_OK;
  const cJSON *r;
  bool has;
  cJSON_ArrayForEach(r, cJSON_GetObjectItem(v->json, "results"))
  {
    if (strcmp(probe_text(r, "label"), q->label) != 0 || r == q->best) continue;
    SYZ_TRY(read_prediction(v, r, q->other, &has));
    for (int64_t i = 0; has && i < q->n; i++)
      if (isnan(q->other[i])) q->predicted[i] = NAN;
  }
  for (int64_t i = 0; i < q->n; i++)
    if (!isfinite(q->truth[i]) || !isfinite(q->predicted[i])) q->truth[i] = q->predicted[i] = NAN;
cleanup:
  return st;
}

/* The best row of a label, NULL: it has no rows. */
static const cJSON *best_row(const probe_view *v, const cJSON *label)
{
  const cJSON *r;
  cJSON_ArrayForEach(r, cJSON_GetObjectItem(v->json, "results"))
  {
    const bool is_of_label = strcmp(probe_text(r, "label"), probe_text(label, "name")) == 0;
    if (is_of_label && cJSON_IsTrue(cJSON_GetObjectItem(r, "is_best"))) return r;
  }
  return NULL;
}

/* *has: truth and predictions of the label's best row are there. */
static syz_status read_pairs(const probe_view *v, const cJSON *label, pairs *q, bool *has)
{
  syz_status st = SYZ_OK;
  *has = false;
  *q = (pairs){.best = best_row(v, label), .label = probe_text(label, "name"), .n = v->n};
  if (!q->best || q->n < 1) goto cleanup;
  SYZ_ALLOC(q->truth, "true values", q->n);
  SYZ_ALLOC(q->predicted, "predictions", q->n);
  SYZ_ALLOC(q->other, "predictions", q->n);
  SYZ_TRY(read_truth(v, q->label, q->truth, has));
  if (*has) SYZ_TRY(read_prediction(v, q->best, q->predicted, has));
  if (*has) SYZ_TRY(keep_judged(v, q));
cleanup:
  return st;
}

/* ----------------------------------------------------------- running median */

typedef struct running {
  int n;
  double x[RUNS], median[RUNS], low[RUNS], high[RUNS];
} running;

/* Median and 16 and 84 % of y in runs of x with equally many objects; work [n], order [n]. */
static syz_status run_along(int64_t n, const double *x, const double *y, double *work, int64_t *order, running *r)
{
  syz_status st = SYZ_OK;
  static const double level[3] = {0.16, 0.5, 0.84}, middle = 0.5;
  int64_t known = 0;
  SYZ_TRY(syz_order(n, x, order));
  for (int64_t i = 0; i < n; i++)
    if (isfinite(x[order[i]]) && isfinite(y[order[i]])) order[known++] = order[i];
  r->n = known / RUN_LEAST < RUNS ? (int)(known / RUN_LEAST) : RUNS;
  for (int k = 0; k < r->n; k++) {
    const int64_t first = known * k / r->n, count = known * (k + 1) / r->n - first;
    double q[3];
    for (int64_t i = 0; i < count; i++) work[i] = x[order[first + i]];
    SYZ_TRY(syz_quantiles(count, work, 1, &middle, &r->x[k]));
    for (int64_t i = 0; i < count; i++) work[i] = y[order[first + i]];
    SYZ_TRY(syz_quantiles(count, work, 3, level, q));
    r->low[k] = q[0];
    r->median[k] = q[1];
    r->high[k] = q[2];
  }
cleanup:
  return st;
}

/* Takes far outliers out of y, so that they do not press all others into a line; returns how many. */
static syz_status trim(int64_t n, double *y, double *work, int64_t *trimmed)
{
  syz_status st = SYZ_OK;
  static const double level[2] = {0.01, 0.99};
  double q[2];
  int64_t known = 0;
  *trimmed = 0;
  for (int64_t i = 0; i < n; i++)
    if (isfinite(y[i])) work[known++] = y[i];
  SYZ_TRY(syz_quantiles(known, work, 2, level, q));
  const double margin = q[1] - q[0];
  for (int64_t i = 0; i < n; i++)
    if (isfinite(y[i]) && (y[i] < q[0] - margin || y[i] > q[1] + margin)) {
      y[i] = NAN;
      ++*trimmed;
    }
cleanup:
  return st;
}

/* ------------------------------------------------------------------ charts */

typedef struct scatter {
  const char *title, *x_label, *y_label;
  bool is_pair; /* both axes are the label; otherwise y is a residual */
} scatter;

/* y is changed: outliers become NaN. */
static syz_status put_scatter(syz_page *p, const scatter *c, int64_t n, const double *x, double *y)
{
  syz_status st = SYZ_OK;
  running r = {0};
  double *work = NULL, end[2] = {INFINITY, -INFINITY};
  int64_t *order = NULL, trimmed, shown = 0;
  SYZ_ALLOC(work, "quantiles", n);
  SYZ_ALLOC(order, "order", n);
  SYZ_TRY(run_along(n, x, y, work, order, &r));
  SYZ_TRY(trim(n, y, work, &trimmed));
  for (int64_t i = 0; i < n; i++) {
    if (!isfinite(x[i]) || !isfinite(y[i])) continue;
    end[0] = fmin(end[0], x[i]);
    end[1] = fmax(end[1], x[i]);
    shown++;
  }
  if (!shown) end[0] = end[1] = NAN;
  const double zero[2] = {0, 0};
  const syz_series s[] = {
      {"test objects", 0, SYZ_LINE_POINTS, n, x, y},
      {c->is_pair ? "predicted as true" : NULL, 3, SYZ_LINE_DASHED, 2, end, c->is_pair ? end : zero},
      {"running median", 1, SYZ_LINE_SOLID, r.n, r.x, r.median}};
  const syz_band band = {"16 to 84 %", 1, SYZ_BAND_AREA, r.n, r.x, r.low, r.high};
  syz_page_put(p, "<div>");
  syz_page_chart(p, &(syz_chart){.title = c->title,
                                 .x_label = c->x_label,
                                 .y_label = c->y_label,
                                 .n_series = r.n ? 3 : 2,
                                 .series = s,
                                 .n_bands = r.n ? 1 : 0,
                                 .band = &band});
  const int64_t all = shown + trimmed;
  syz_page_printf(p, "<p class=\"by\">%lld objects", (long long)all);
  if (trimmed)
    syz_page_printf(p, "; %lld far outliers are not drawn, but count in the running median", (long long)trimmed);
  syz_page_put(p, ".</p></div>\n");
cleanup:
  syz_free(&work);
  syz_free(&order);
  return st;
}

static syz_status put_predicted(syz_page *p, const probe_view *v, const pairs *q)
{
  char label[PROBE_NAME], title[2 * PROBE_NAME], x[PROBE_NAME + 16], y[PROBE_NAME + 16];
  probe_label(v, q->label, label);
  snprintf(title, sizeof title, "%.120s: %.100s, %.60s", q->label, probe_source(probe_text(q->best, "source")),
           probe_method(probe_text(q->best, "method")));
  snprintf(x, sizeof x, "true %s", label);
  snprintf(y, sizeof y, "predicted %s", label);
  memcpy(q->other, q->predicted, (size_t)q->n * sizeof *q->other);
  return put_scatter(p, &(scatter){title, x, y, true}, q->n, q->truth, q->other);
}

/* Predicted less true along another label, `along` [n]. */
static syz_status put_residuals(syz_page *p, const probe_view *v, const pairs *q, const char *name, const double *along)
{
  char label[PROBE_NAME], title[2 * PROBE_NAME], x[PROBE_NAME + 16], y[PROBE_NAME + 24];
  snprintf(title, sizeof title, "Residuals of %.120s by %.60s", q->label, name);
  snprintf(x, sizeof x, "true %s", probe_label(v, name, label));
  snprintf(y, sizeof y, "predicted less true %s", probe_label(v, q->label, label));
  for (int64_t i = 0; i < q->n; i++) q->other[i] = q->predicted[i] - q->truth[i];
  return put_scatter(p, &(scatter){title, x, y, false}, q->n, along, q->other);
}

/* The label that is the redshift, NULL: none. */
static const char *redshift_label(const probe_view *v)
{
  static const char *const name[] = {"redshift", "z", "Z", "Z_HP"};
  for (size_t k = 0; k < sizeof name / sizeof *name; k++)
    if (probe_label_row(v, name[k])) return name[k];
  return NULL;
}

static syz_status put_number(syz_page *p, const probe_view *v, const cJSON *label)
{
  syz_status st = SYZ_OK;
  const char *const by[2] = {redshift_label(v), probe_label_row(v, "mag_r") ? "mag_r" : NULL};
  pairs q;
  bool has;
  double *along = NULL;
  SYZ_TRY(read_pairs(v, label, &q, &has));
  if (!has) {
    syz_page_missing(p, "predictions.h5 has no predictions of %s by its best row.", q.label);
    goto cleanup;
  }
  SYZ_TRY(put_predicted(p, v, &q));
  SYZ_ALLOC(along, "true values", q.n);
  for (int k = 0; k < 2; k++) {
    if (!by[k]) continue;
    SYZ_TRY(read_truth(v, by[k], along, &has));
    if (has) SYZ_TRY(put_residuals(p, v, &q, by[k], along));
  }
cleanup:
  syz_free(&along);
  pairs_free(&q);
  return st;
}

/* --------------------------------------------------------------- confusion */

static void put_matrix(syz_page *p, const pairs *q, int classes, int64_t count[PROBE_CLASSES][PROBE_CLASSES])
{
  syz_page_put(p, "<div class=\"card scroll\"><table><caption><b>");
  syz_page_escape(p, q->label);
  syz_page_put(p, "</b>: true classes down, predicted ones across; ");
  syz_page_escape(p, probe_source(probe_text(q->best, "source")));
  syz_page_put(p, ", ");
  syz_page_escape(p, probe_method(probe_text(q->best, "method")));
  syz_page_put(p, "</caption><thead><tr><th scope=\"col\">true</th>");
  for (int k = 0; k < classes; k++) syz_page_printf(p, "<th scope=\"col\">predicted %d</th>", k);
  syz_page_put(p, "</tr></thead><tbody>\n");
  for (int t = 0; t < classes; t++) {
    int64_t all = 0;
    for (int k = 0; k < classes; k++) all += count[t][k];
    syz_page_printf(p, "<tr><th scope=\"row\">%d</th>", t);
    for (int k = 0; k < classes; k++) {
      const double share = all ? (double)count[t][k] / (double)all : 0;
      syz_page_printf(
          p, "<td style=\"background:rgba(0,103,176,%.2f)\">%lld<br><span class=\"by\">%.1f&nbsp;%%</span></td>",
          0.35 * share, (long long)count[t][k], 100 * share);
    }
    syz_page_put(p, "</tr>\n");
  }
  syz_page_put(p, "</tbody></table></div>\n");
}

static syz_status put_class(syz_page *p, const probe_view *v, const cJSON *label, int classes)
{
  syz_status st = SYZ_OK;
  int64_t count[PROBE_CLASSES][PROBE_CLASSES] = {{0}};
  pairs q;
  bool has;
  SYZ_TRY(read_pairs(v, label, &q, &has));
  if (!has) {
    syz_page_missing(p, "predictions.h5 has no predictions of %s by its best row.", q.label);
    goto cleanup;
  }
  for (int64_t i = 0; i < q.n; i++) {
    const double t = q.truth[i], k = q.predicted[i];
    if (t >= 0 && t < classes && k >= 0 && k < classes) count[(int)t][(int)k]++;
  }
  put_matrix(p, &q, classes, count);
cleanup:
  pairs_free(&q);
  return st;
}

/* ------------------------------------------------------------------- all */

static int classes_of(const cJSON *label)
{
  const double classes = probe_number(label, "classes");
  return classes >= 2 && classes < 1e6 ? (int)classes : 0;
}

static syz_status put_numbers(syz_page *p, const probe_view *v)
{
  syz_status st = SYZ_OK;
  const cJSON *label;
  bool is_open = false;
  cJSON_ArrayForEach(label, cJSON_GetObjectItem(v->json, "labels"))
  {
    if (classes_of(label) || !best_row(v, label)) continue;
    if (!is_open)
      syz_page_put(p, "<h3>Predicted against true, by the best row of each label</h3>\n<div class=\"charts\" "
                      "style=\"margin-bottom:16px\">\n");
    is_open = true;
    SYZ_TRY(put_number(p, v, label));
  }
cleanup:
  if (is_open) syz_page_put(p, "</div>\n");
  return st;
}

syz_status probe_put_pairs(syz_page *p, const probe_view *v)
{
  syz_status st = SYZ_OK;
  const cJSON *label;
  bool has_title = false;
  SYZ_TRY(put_numbers(p, v));
  cJSON_ArrayForEach(label, cJSON_GetObjectItem(v->json, "labels"))
  {
    const int classes = classes_of(label);
    if (!classes || !best_row(v, label)) continue;
    if (!has_title) syz_page_put(p, "<h3>Classes, by the best row of each</h3>\n");
    has_title = true;
    if (classes > PROBE_CLASSES)
      syz_page_missing(p, "%s has %d classes: too many for a table.", probe_text(label, "name"), classes);
    else
      SYZ_TRY(put_class(p, v, label, classes));
  }
cleanup:
  return st;
}
