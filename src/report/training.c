/* SPDX-License-Identifier: BSD-3-Clause */
/* The section on training: metrics.jsonl and validation.jsonl as curves; curves of pretraining alone are in
 * pretraining.c. */
#include <math.h>

#include "report.h"

static void chart_loss(syz_page *p, const syz_metrics *m, const syz_metrics *v, const char *unit, double *smoothed)
{
  const double *step = syz_metrics_column(m, "step"), *loss = syz_metrics_column(m, "loss");
  syz_series s[3];
  int n = 0;
  if (!step || !loss) {
    syz_page_missing(p, "metrics.jsonl has no loss.");
    return;
  }
  syz_metrics_smooth(loss, m->n, smoothed);
  s[n++] = (syz_series){"training", 0, SYZ_LINE_FAINT, m->n, step, loss};
  s[n++] = (syz_series){"training, smoothed", 0, SYZ_LINE_SOLID, m->n, step, smoothed};
  if (v->n && syz_metrics_column(v, "step") && syz_metrics_column(v, "loss"))
    s[n++] = (syz_series){
        "validation", 1, SYZ_LINE_DOTS, v->n, syz_metrics_column(v, "step"), syz_metrics_column(v, "loss")};
  syz_page_chart(p, &(syz_chart){.title = "Loss", .x_label = "step", .y_label = unit, .n_series = n, .series = s});
}

static void chart_one(syz_page *p, const syz_metrics *m, const char *name, const char *title, const char *unit,
                      int colour, bool is_log, double *smoothed)
{
  const double *step = syz_metrics_column(m, "step"), *y = syz_metrics_column(m, name);
  if (!step || !y) {
    syz_page_printf(p, "<div class=\"card\"><h3>%s</h3>", title);
    syz_page_missing(p, "metrics.jsonl has no %s.", name);
    syz_page_put(p, "</div>\n");
    return;
  }
  if (smoothed) syz_metrics_smooth(y, m->n, smoothed);
  syz_series s[2] = {{smoothed ? "each step" : NULL, colour, smoothed ? SYZ_LINE_FAINT : SYZ_LINE_SOLID, m->n, step, y},
                     {"smoothed", colour, SYZ_LINE_SOLID, m->n, step, smoothed}};
  syz_page_chart(p, &(syz_chart){.title = title,
                                 .x_label = "step",
                                 .y_label = unit,
                                 .is_log_y = is_log,
                                 .n_series = smoothed ? 2 : 1,
                                 .series = s});
}

static void chart_validation(syz_page *p, const syz_metrics *v)
{
  const double *step = syz_metrics_column(v, "step"), *i = syz_metrics_column(v, "recall_at_10_image_to_spectrum"),
               *s = syz_metrics_column(v, "recall_at_10_spectrum_to_image");
  if (!step || !i || !s) return;
  syz_series series[4] = {{"image to spectrum", 0, SYZ_LINE_SOLID, v->n, step, i},
                          {"spectrum to image", 1, SYZ_LINE_DASHED, v->n, step, s},
                          {NULL, 0, SYZ_LINE_DOTS, v->n, step, i},
                          {NULL, 1, SYZ_LINE_DOTS, v->n, step, s}};
  syz_page_chart(p, &(syz_chart){.title = "Held-out objects: recall@10",
                                 .x_label = "step",
                                 .y_label = "fraction of pairs found",
                                 .n_series = 4,
                                 .series = series});
}

static syz_status write_training(syz_page *p, const syz_report_job *j)
{
  syz_status st = SYZ_OK;
  const syz_report_sources *s = j->sources;
  syz_report_figures *f = j->figures;
  syz_metrics m = {.n = 0}, v = {.n = 0};
  double *loss = NULL, *norm = NULL, *rate = NULL;
  if (!*s->training) {
    syz_page_missing(
        p,
        "No metrics.jsonl in %s or in the folder of the model of its embeddings: this page has no training "
        "curves. align and the pretrain commands write it.",
        s->run);
    goto cleanup;
  }
  SYZ_TRY(syz_metrics_read(s->training, "metrics.jsonl", &m));
  SYZ_TRY(syz_metrics_read(s->training, "validation.jsonl", &v));
  if (!m.n) {
    syz_page_missing(p, "%s/metrics.jsonl has no lines yet.", s->training);
    goto cleanup;
  }
  if (m.broken + v.broken)
    syz_page_missing(p, "%lld line(s) of the metrics are not JSON and were left out.", (long long)m.broken + v.broken);
  SYZ_ALLOC(loss, "curve", m.n);
  SYZ_ALLOC(norm, "curve", m.n);
  SYZ_ALLOC(rate, "curve", m.n);
  syz_page_put(p, "<div class=\"charts\">\n");
  f->is_pretraining = syz_report_is_pretraining(&m);
  chart_loss(p, &m, &v,
             syz_metrics_column(&m, "masked_numbers") ? "mean squared error"
             : f->is_pretraining                      ? "loss"
                                                      : "loss (nats)",
             loss);
  if (v.n) chart_validation(p, &v);
  if (f->is_pretraining) SYZ_TRY(syz_report_pretraining(p, &m, &v, f));
  chart_one(p, &m, "lr", "Learning rate", "learning rate", 2, false, NULL);
  chart_one(p, &m, "grad_norm", "Gradient norm, before clipping", "L2 norm", 3, true, norm);
  if (syz_metrics_column(&m, "samples_per_s"))
    chart_one(p, &m, "samples_per_s", "Speed", "objects per second", 1, false, rate);
  syz_page_put(p, "</div>\n");
  if (!v.n) syz_page_missing(p, "No validation.jsonl: nothing was validated during the training.");
  if (syz_metrics_column(&m, "step"))
    f->steps = syz_metrics_column(&m, "step")[m.n - 1] - syz_metrics_column(&m, "step")[0] + 1;
  if (syz_metrics_column(&m, "loss")) f->loss = loss[m.n - 1];
cleanup:
  syz_metrics_free(&m);
  syz_metrics_free(&v);
  syz_free(&loss);
  syz_free(&norm);
  syz_free(&rate);
  return st;
}

const syz_report_section syz_section_training = {
    .anchor = "training",
    .link = "Training",
    .title = "Training",
    .lead = "Every step of the run, from metrics.jsonl; steps of a continued run are there once.",
    .write = write_training};
