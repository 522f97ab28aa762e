/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Curves of a pretraining run. Known terms have a title and a fixed place; any other number in metrics.jsonl gets a
 * chart under its own name, so that the page shows everything.
 */
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "report.h"

enum { LINES = 4 };

/** One card: up to four columns of metrics.jsonl together. */
typedef struct card {
  const char *title, *unit;
  const char *column[LINES], *name[LINES];
  bool is_smoothed;
} card;

static const card cards[] = {
    {"DINO: class tokens of crops against the teacher&#39;s",
     "cross-entropy (nats)",
     {"dino_local", "dino_global"},
     {"local crops", "global crops"},
     true},
    {"iBOT: masked patches against the teacher&#39;s", "cross-entropy (nats)", {"ibot"}, {"masked patches"}, true},
    {"KoLeo: distance to the nearest neighbour in the batch", "-mean log distance", {"koleo"}, {"class tokens"}, true},
    {"Collapse: entropy of the teacher&#39;s targets",
     "entropy (nats)",
     {"target_entropy", "mean_target_entropy", "target_entropy_patch", "mean_target_entropy_patch"},
     {"a class token", "their mean", "a patch", "their mean (patches)"},
     true},
    {"Collapse: spread of the class tokens",
     "1 fills the sphere, 0 all the same",
     {"embedding_spread"},
     {"student"},
     true},
    {"Masked numbers of the batch", "numbers", {"masked_numbers"}, {"masked"}, false},
    {"Teacher&#39;s temperature", "temperature", {"teacher_temperature"}, {"temperature"}, false},
    {"Teacher&#39;s momentum", "momentum", {"momentum"}, {"momentum"}, false},
    {"Weight decay", "weight decay", {"weight_decay"}, {"weight decay"}, false},
};
enum { CARDS = sizeof cards / sizeof *cards };

/* Columns that training.c draws, and columns without a curve of their own. */
static const char *const elsewhere[] = {"step", "loss", "lr", "grad_norm", "samples_per_s", "wait_s"};

bool syz_report_is_pretraining(const syz_metrics *m)
{
  static const char *const sign[] = {"dino_local", "dino_global", "ibot", "koleo", "masked_numbers"};
  for (size_t i = 0; i < sizeof sign / sizeof *sign; i++)
    if (syz_metrics_column(m, sign[i])) return true;
  return false;
}

static bool has_values(const double *y, int64_t n)
{
  for (int64_t i = 0; i < n; i++)
    if (isfinite(y[i])) return true;
  return false;
}

static syz_status draw_card(syz_page *p, const syz_metrics *m, const card *c)
{
  syz_status st = SYZ_OK;
  syz_series series[2 * LINES];
  double *smooth[LINES] = {NULL};
  int n = 0;
  for (int i = 0; i < LINES && c->column[i]; i++) {
    const double *y = syz_metrics_column(m, c->column[i]);
    if (!y || !has_values(y, m->n)) continue;
    if (c->is_smoothed) {
      SYZ_ALLOC(smooth[i], "curve", m->n);
      syz_metrics_smooth(y, m->n, smooth[i]);
      series[n++] = (syz_series){NULL, i, SYZ_LINE_FAINT, m->n, syz_metrics_column(m, "step"), y};
    }
    series[n++] = (syz_series){
        c->name[i], i, SYZ_LINE_SOLID, m->n, syz_metrics_column(m, "step"), c->is_smoothed ? smooth[i] : y};
  }
  if (n)
    syz_page_chart(
        p, &(syz_chart){.title = c->title, .x_label = "step", .y_label = c->unit, .n_series = n, .series = series});
cleanup:
  for (int i = 0; i < LINES; i++) syz_free(&smooth[i]);
  return st;
}

/* Names come from a file and are written into markup, so only letters, digits and underscores are allowed. */
static bool is_plain(const char *name)
{
  for (const char *c = name; *c; c++)
    if (!isalnum((unsigned char)*c) && *c != '_') return false;
  return *name != '\0';
}

static bool is_known(const char *name)
{
  for (size_t i = 0; i < sizeof elsewhere / sizeof *elsewhere; i++)
    if (strcmp(name, elsewhere[i]) == 0) return true;
  for (int c = 0; c < CARDS; c++)
    for (int i = 0; i < LINES && cards[c].column[i]; i++)
      if (strcmp(name, cards[c].column[i]) == 0) return true;
  return false;
}

/* ------------------------------------------------ figures on held-out objects */

/* "knn_redshift_r2" -> "redshift_r2"; NULL for another column. */
static const char *knn_figure(const char *name)
{
  return strncmp(name, "knn_", 4) == 0 && strcmp(name, "knn_error") != 0 && is_plain(name) ? name + 4 : NULL;
}

static const double *baseline(const syz_metrics *v, const char *who, const char *figure)
{
  char name[2 * SYZ_METRICS_NAME];
  snprintf(name, sizeof name, "%s_%s", who, figure);
  return syz_metrics_column(v, name);
}

/* One label: the tower's figure during training, and its baselines. */
static void draw_figure(syz_page *p, const syz_metrics *v, const char *figure, const double *y)
{
  char title[160], label[SYZ_METRICS_NAME];
  const double *step = syz_metrics_column(v, "step"), *start = baseline(v, "start", figure),
               *pixels = baseline(v, "pixels", figure);
  snprintf(label, sizeof label, "%s", figure);
  char *what = strstr(label, "_r2");
  const char *unit = what && !what[3]            ? "R\xc2\xb2"
                     : strstr(label, "balanced") ? "mean recall of the classes"
                                                 : "fraction correct";
  for (char *c = label; *c; c++)
    if (*c == '_') *c = ' ';
  snprintf(title, sizeof title, "Held-out objects by nearest neighbours: %s", label);
  syz_series s[4] = {{"class token", 0, SYZ_LINE_SOLID, v->n, step, y}, {NULL, 0, SYZ_LINE_DOTS, v->n, step, y}};
  int n = 2;
  if (pixels) s[n++] = (syz_series){"principal components of the pixels", 1, SYZ_LINE_DASHED, v->n, step, pixels};
  if (start) s[n++] = (syz_series){"class token before training", 2, SYZ_LINE_DASHED, v->n, step, start};
  syz_page_chart(p, &(syz_chart){.title = title, .x_label = "step", .y_label = unit, .n_series = n, .series = s});
}

static void draw_validation(syz_page *p, const syz_metrics *v, syz_report_figures *f)
{
  const double *step = syz_metrics_column(v, "step");
  if (!step || !v->n) return;
  for (int c = 0; c < v->columns; c++) {
    const char *figure = knn_figure(v->name[c]);
    if (!figure) continue;
    draw_figure(p, v, figure, v->value[c]);
    if (isfinite(f->knn)) continue;
    f->knn = v->value[c][v->n - 1];
    const double *start = baseline(v, "start", figure), *pixels = baseline(v, "pixels", figure);
    if (start) f->start = start[v->n - 1];
    if (pixels) f->pixels = pixels[v->n - 1];
    snprintf(f->knn_label, sizeof f->knn_label, "%s", figure);
  }
  const double *line = syz_metrics_column(v, "interpolation_loss"), *pixel = syz_metrics_column(v, "pixel_loss"),
               *noise = syz_metrics_column(v, "noise_loss");
  if (!line || !pixel) return;
  syz_series s[4] = {{"reconstruction", 0, SYZ_LINE_SOLID, v->n, step, pixel},
                     {NULL, 0, SYZ_LINE_DOTS, v->n, step, pixel},
                     {"linear interpolation", 1, SYZ_LINE_DASHED, v->n, step, line}};
  int n = 3;
  if (noise) s[n++] = (syz_series){"noise of the pixels", 2, SYZ_LINE_DASHED, v->n, step, noise};
  syz_page_chart(p, &(syz_chart){.title = "Held-out spectra: hidden pixels",
                                 .x_label = "step",
                                 .y_label = "mean squared error",
                                 .n_series = n,
                                 .series = s});
}

syz_status syz_report_pretraining(syz_page *p, const syz_metrics *m, const syz_metrics *v, syz_report_figures *f)
{
  syz_status st = SYZ_OK;
  if (!syz_metrics_column(m, "step")) return st;
  draw_validation(p, v, f);
  for (int c = 0; c < CARDS; c++) SYZ_TRY(draw_card(p, m, &cards[c]));
  for (int c = 0; c < m->columns; c++) {
    if (is_known(m->name[c]) || !is_plain(m->name[c])) continue;
    const card own = {
        .title = m->name[c], .unit = m->name[c], .column = {m->name[c]}, .name = {m->name[c]}, .is_smoothed = true};
    SYZ_TRY(draw_card(p, m, &own));
  }
cleanup:
  return st;
}
