/* SPDX-License-Identifier: BSD-3-Clause */
/* Curves over few labels: how well a class is ranked from 10 to some thousand labelled objects. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "probe.h"

enum { SIZES = 32 };

static const struct {
  const char *key, *name;
} kinds[] = {{"balanced", "linear head, as many of the class as of the others"},
             {"natural", "linear head, objects as they come"},
             {"examples", "cosine to the mean of examples of the class"}};
enum { KINDS = sizeof kinds / sizeof *kinds };

/* One source's curve. */
typedef struct few_curve {
  int n;
  double labels[SIZES], auc[SIZES], low[SIZES], high[SIZES];
} few_curve;

static void read_curve(const cJSON *few, const char *kind, few_curve *c)
{
  const cJSON *row;
  c->n = 0;
  cJSON_ArrayForEach(row, cJSON_GetObjectItem(few, "curve"))
  {
    const cJSON *auc = cJSON_GetObjectItem(row, "auc");
    const double value = probe_number(auc, "value"), error = probe_number(auc, "deviation");
    if (strcmp(probe_text(row, "draws_of"), kind) != 0 || !isfinite(value) || c->n == SIZES) continue;
    c->labels[c->n] = probe_number(row, "labels");
    c->auc[c->n] = value;
    c->low[c->n] = value - error;
    c->high[c->n++] = value + error;
  }
}

static void put_curves(syz_page *p, const cJSON *list, const char *label, int kind)
{
  few_curve curve[PROBE_CURVES];
  syz_series series[2 * PROBE_CURVES];
  syz_band band[PROBE_CURVES];
  char title[PROBE_NAME + 96];
  const cJSON *few;
  int n = 0;
  cJSON_ArrayForEach(few, list)
  {
    if (n == PROBE_CURVES || strcmp(probe_text(few, "label"), label) != 0) continue;
    few_curve *c = &curve[n];
    read_curve(few, kinds[kind].key, c);
    if (!c->n) continue;
    for (int i = 0; i < c->n; i++) c->labels[i] *= 1 + 0.04 * n; /* bars beside each other */
    series[2 * n] = probe_curve(probe_source(probe_text(few, "source")), n, c->n, c->labels, c->auc);
    series[2 * n + 1] = (syz_series){NULL, n % 4, SYZ_LINE_DOTS, c->n, c->labels, c->auc};
    band[n] = (syz_band){NULL, n % 4, SYZ_BAND_ERRORS, c->n, c->labels, c->low, c->high};
    n++;
  }
  if (!n) return;
  snprintf(title, sizeof title, "%.120s from few labels: %s", label, kinds[kind].name);
  syz_page_chart(p, &(syz_chart){.title = title,
                                 .x_label = "labelled objects",
                                 .y_label = "area under the ROC curve",
                                 .is_log_x = true,
                                 .has_x_ticks_at_points = true,
                                 .n_series = 2 * n,
                                 .series = series,
                                 .n_bands = n,
                                 .band = band});
}

static void put_figure(syz_page *p, const cJSON *row, const char *name)
{
  const cJSON *f = cJSON_GetObjectItem(row, name);
  syz_page_put(p, "<td>");
  probe_cell(p, probe_number(f, "value"), probe_number(f, "deviation"), 3);
  syz_page_put(p, "</td>");
}

static const char *kind_name(const char *key)
{
  for (int k = 0; k < KINDS; k++)
    if (strcmp(kinds[k].key, key) == 0) return kinds[k].name;
  return key;
}

static void put_row(syz_page *p, const cJSON *few, const cJSON *row)
{
  char labels[32];
  if (!isfinite(probe_number(cJSON_GetObjectItem(row, "auc"), "value"))) return;
  syz_page_put(p, "<tr><th scope=\"row\">");
  syz_page_escape(p, probe_text(few, "label"));
  syz_page_put(p, ", ");
  syz_page_escape(p, probe_source(probe_text(few, "source")));
  syz_page_put(p, "; ");
  syz_page_escape(p, kind_name(probe_text(row, "draws_of")));
  syz_page_printf(p, "</th><td>%s</td>", syz_page_number(probe_number(row, "labels"), labels));
  put_figure(p, row, "auc");
  put_figure(p, row, "average_precision");
  put_figure(p, row, "completeness");
  syz_page_put(p, "</tr>\n");
}

static void put_table(syz_page *p, const cJSON *list)
{
  const cJSON *few, *row;
  syz_page_printf(
      p,
      "<details><summary>Figures of the curves</summary><div class=\"card scroll\"><table><caption>Mean and "
      "deviation over draws of labelled objects</caption><thead><tr><th scope=\"col\">class, from</th><th "
      "scope=\"col\">labels</th><th scope=\"col\">area under the ROC curve</th><th scope=\"col\">average "
      "precision</th><th scope=\"col\">found at %.0f&nbsp;%% false "
      "positives</th></tr></thead><tbody>\n",
      100 * probe_number(list->child, "contamination"));
  cJSON_ArrayForEach(few, list) cJSON_ArrayForEach(row, cJSON_GetObjectItem(few, "curve")) put_row(p, few, row);
  syz_page_put(p, "</tbody></table></div></details>\n");
}

void probe_put_few(syz_page *p, const probe_view *v)
{
  const cJSON *list = cJSON_GetObjectItem(v->json, "few_labels"), *label;
  if (!cJSON_IsArray(list) || !list->child) return;
  syz_page_put(p, "<h3>A class from few labels</h3>\n<p class=\"by\">A dot is the mean over draws of labelled objects, "
                  "its bar their deviation; curves stand a little beside each other. 0.5 is chance.</p>\n<div "
                  "class=\"charts\" style=\"margin-bottom:16px\">\n");
  cJSON_ArrayForEach(label, cJSON_GetObjectItem(v->json, "labels")) for (int k = 0; k < KINDS; k++)
      put_curves(p, list, probe_text(label, "name"), k);
  syz_page_put(p, "</div>\n");
  put_table(p, list);
}
