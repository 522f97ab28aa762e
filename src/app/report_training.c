/* SPDX-License-Identifier: BSD-3-Clause */
/* The section on training: metrics.jsonl and validation.jsonl as curves. Lines that are no JSON are counted and said. */
#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "report.h"

enum { COLUMNS_MAX = 40, NAME = 48, FILE_LIMIT = 1 << 30 };

/* Numbers of a .jsonl file by name, one row a line. */
typedef struct table {
  int64_t n;
  int columns;
  char name[COLUMNS_MAX][NAME];
  double *value[COLUMNS_MAX]; /* [n], NaN where a line has none */
  int64_t broken;
} table;

static void table_free(table *t)
{
  for (int c = 0; c < t->columns; c++) syz_free(&t->value[c]);
  *t = (table){.n = 0};
}

static const double *column(const table *t, const char *name)
{
  for (int c = 0; c < t->columns; c++)
    if (strcmp(t->name[c], name) == 0) return t->value[c];
  return NULL;
}

static syz_status add_line(table *t, const cJSON *line, int64_t room)
{
  syz_status st = SYZ_OK;
  const cJSON *item;
  cJSON_ArrayForEach(item, line)
  {
    int c = 0;
    if (!cJSON_IsNumber(item) || !item->string || strlen(item->string) >= NAME) continue;
    while (c < t->columns && strcmp(t->name[c], item->string) != 0) c++;
    if (c == COLUMNS_MAX) continue;
    if (c == t->columns) {
      SYZ_ALLOC(t->value[c], "metrics", room);
      for (int64_t i = 0; i < room; i++) t->value[c][i] = NAN;
      snprintf(t->name[c], NAME, "%s", item->string);
      t->columns++;
    }
    t->value[c][t->n] = item->valuedouble;
  }
  t->n++;
cleanup:
  return st;
}

static syz_status table_read(const char *folder, const char *file, table *t)
{
  syz_status st = SYZ_OK;
  char path[PATH_MAX], *text = NULL;
  size_t n;
  int64_t room = 1;
  *t = (table){.n = 0};
  if (snprintf(path, sizeof path, "%s/%s", folder, file) >= (int)sizeof path || access(path, F_OK) != 0) return SYZ_OK;
  SYZ_TRY(syz_file_read(path, FILE_LIMIT, &text, &n));
  for (size_t i = 0; i < n; i++) room += text[i] == '\n';
  for (char *rest = text, *line; (line = strtok_r(rest, "\n", &rest));) {
    cJSON *json = cJSON_Parse(line);
    if (cJSON_IsObject(json))
      st = add_line(t, json, room);
    else
      t->broken++;
    cJSON_Delete(json);
    SYZ_TRY(st);
  }
cleanup:
  syz_free(&text);
  if (st != SYZ_OK) table_free(t);
  return st;
}

/* Exponential mean with a memory of about 2 % of the run, without the pull towards the start (weights are renormalised). */
static void smooth(const double *y, int64_t n, double *out)
{
  double keep = 1 - 1 / fmax(1, 0.02 * (double)n), sum = 0, weight = 0;
  for (int64_t i = 0; i < n; i++) {
    if (isfinite(y[i])) {
      sum = keep * sum + y[i];
      weight = keep * weight + 1;
    }
    out[i] = weight > 0 ? sum / weight : (double)NAN;
  }
}

static void chart_loss(syz_page *p, const table *m, const table *v, double *smoothed)
{
  const double *step = column(m, "step"), *loss = column(m, "loss");
  syz_series s[3];
  int n = 0;
  if (!step || !loss) {
    syz_page_missing(p, "metrics.jsonl has no loss.");
    return;
  }
  smooth(loss, m->n, smoothed);
  s[n++] = (syz_series){"training", 0, SYZ_LINE_FAINT, m->n, step, loss};
  s[n++] = (syz_series){"training, smoothed", 0, SYZ_LINE_SOLID, m->n, step, smoothed};
  if (v->n && column(v, "step") && column(v, "loss"))
    s[n++] = (syz_series){"validation", 1, SYZ_LINE_DOTS, v->n, column(v, "step"), column(v, "loss")};
  syz_page_chart(p, &(syz_chart){.title = "Loss", .x_label = "step", .y_label = "loss (nats)", .n_series = n, .series = s});
}

static void chart_one(syz_page *p, const table *m, const char *name, const char *title, const char *unit, int colour, bool is_log, double *smoothed)
{
  const double *step = column(m, "step"), *y = column(m, name);
  if (!step || !y) {
    syz_page_printf(p, "<div class=\"card\"><h3>%s</h3>", title);
    syz_page_missing(p, "metrics.jsonl has no %s.", name);
    syz_page_put(p, "</div>\n");
    return;
  }
  if (smoothed) smooth(y, m->n, smoothed);
  syz_series s[2] = {{smoothed ? "each step" : NULL, colour, smoothed ? SYZ_LINE_FAINT : SYZ_LINE_SOLID, m->n, step, y},
                     {"smoothed", colour, SYZ_LINE_SOLID, m->n, step, smoothed}};
  syz_page_chart(p, &(syz_chart){.title = title, .x_label = "step", .y_label = unit, .is_log_y = is_log, .n_series = smoothed ? 2 : 1, .series = s});
}

static void chart_validation(syz_page *p, const table *v)
{
  const double *step = column(v, "step"), *i = column(v, "recall_at_10_image_to_spectrum"), *s = column(v, "recall_at_10_spectrum_to_image");
  if (!step || !i || !s) return;
  syz_series series[4] = {{"image to spectrum", 0, SYZ_LINE_SOLID, v->n, step, i},
                          {"spectrum to image", 1, SYZ_LINE_DASHED, v->n, step, s},
                          {NULL, 0, SYZ_LINE_DOTS, v->n, step, i},
                          {NULL, 1, SYZ_LINE_DOTS, v->n, step, s}};
  syz_page_chart(
      p,
      &(syz_chart){.title = "Held-out objects: recall@10", .x_label = "step", .y_label = "fraction of pairs found", .n_series = 4, .series = series});
}

syz_status syz_report_training(syz_page *p, const syz_report_sources *s, syz_report_figures *f)
{
  syz_status st = SYZ_OK;
  table m = {.n = 0}, v = {.n = 0};
  double *loss = NULL, *norm = NULL, *rate = NULL;
  syz_page_section(p, "training", "Training", "Every step of the run, from metrics.jsonl; steps of a continued run are there once.");
  if (!*s->training) {
    syz_page_missing(p, "No metrics.jsonl in %s, nor beside the model of its embeddings: this page has no training curves. syzygy align writes it.",
                     s->run);
    goto cleanup;
  }
  SYZ_TRY(table_read(s->training, "metrics.jsonl", &m));
  SYZ_TRY(table_read(s->training, "validation.jsonl", &v));
  if (!m.n) {
    syz_page_missing(p, "%s/metrics.jsonl has no lines yet.", s->training);
    goto cleanup;
  }
  if (m.broken + v.broken) syz_page_missing(p, "%lld line(s) of the metrics are not JSON and were left out.", (long long)(m.broken + v.broken));
  SYZ_ALLOC(loss, "curve", m.n);
  SYZ_ALLOC(norm, "curve", m.n);
  SYZ_ALLOC(rate, "curve", m.n);
  syz_page_put(p, "<div class=\"charts\">\n");
  chart_loss(p, &m, &v, loss);
  if (v.n) chart_validation(p, &v);
  chart_one(p, &m, "lr", "Learning rate", "learning rate", 2, false, NULL);
  chart_one(p, &m, "grad_norm", "Gradient norm, before clipping", "L2 norm", 3, true, norm);
  if (column(&m, "samples_per_s")) chart_one(p, &m, "samples_per_s", "Speed", "objects per second", 1, false, rate);
  syz_page_put(p, "</div>\n");
  if (!v.n) syz_page_missing(p, "No validation.jsonl: nothing was validated during the training.");
  if (column(&m, "step")) f->steps = column(&m, "step")[m.n - 1] - column(&m, "step")[0] + 1;
  if (column(&m, "loss")) f->loss = loss[m.n - 1];
cleanup:
  table_free(&m);
  table_free(&v);
  syz_free(&loss);
  syz_free(&norm);
  syz_free(&rate);
  return st;
}
