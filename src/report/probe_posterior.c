/* SPDX-License-Identifier: BSD-3-Clause */
/* Joint posteriors: their likelihood, and whether they are calibrated: PIT, coverage, TARP, and warnings in words. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "probe.h"

enum { LEVELS = 64, BINS = 64 };

/* 0 to 1 both ways: what a calibrated posterior follows. */
static const double diagonal[2] = {0, 1};

static void put_likelihoods(syz_page *p, const cJSON *list)
{
  const cJSON *q;
  char train[32], validation[32], n[32];
  syz_page_put(p, "<div class=\"card scroll\"><table><caption>Mean of \xe2\x88\x92ln of the joint density at the true "
                  "values: lower is better</caption><thead><tr><th scope=\"col\">from</th><th "
                  "scope=\"col\">standardised labels (nats)</th><th scope=\"col\">per label (nats)</th><th "
                  "scope=\"col\">labels in their units (nats)</th><th scope=\"col\">train / validation / test</th><th "
                  "scope=\"col\">flow</th></tr></thead><tbody>\n");
  cJSON_ArrayForEach(q, list)
  {
    syz_page_put(p, "<tr><th scope=\"row\">");
    syz_page_escape(p, probe_source(probe_text(q, "source")));
    syz_page_put(p, "</th><td>");
    probe_cell(p, probe_number(q, "nll_joint"), probe_number(q, "nll_joint_error"), 4);
    syz_page_put(p, "</td><td>");
    probe_cell(p, probe_number(q, "nll_per_label"), NAN, 4);
    syz_page_put(p, "</td><td>");
    probe_cell(p, probe_number(q, "nll_joint_label_units"), NAN, 4);
    syz_page_printf(p, "</td><td>%s / %s / %s</td><td>", syz_page_number(probe_number(q, "train"), train),
                    syz_page_number(probe_number(q, "validation"), validation),
                    syz_page_number(probe_number(q, "n"), n));
    syz_page_escape(p, probe_text(q, "kind"));
    syz_page_printf(p, ", %g member(s)%s</td></tr>\n", probe_number(q, "members"),
                    strcmp(probe_text(q, "protocol"), "astroclip") == 0 ? ", published protocol" : "");
  }
  syz_page_put(p, "</tbody></table></div>\n");
}

/* The curve at a level, NaN when it is not among the levels. */
static double at_level(const cJSON *q, const cJSON *of, const char *name, double wanted)
{
  double level[LEVELS], curve[LEVELS];
  const int n = probe_list(q, "level", LEVELS, level), m = probe_list(of, name, LEVELS, curve);
  for (int l = 0; l < n && l < m; l++)
    if (fabs(level[l] - wanted) < 1e-9) return curve[l];
  return NAN;
}

static void put_percent(syz_page *p, double share)
{
  if (isfinite(share))
    syz_page_printf(p, "<td>%.1f&nbsp;%%</td>", 100 * share);
  else
    syz_page_put(p, "<td>n/a</td>");
}

/* Share of the truths inside conformal intervals of a level. */
static double conformal_at(const cJSON *label, double level)
{
  const cJSON *row;
  cJSON_ArrayForEach(row, cJSON_GetObjectItem(label, "conformal"))
  {
    if (fabs(probe_number(row, "level") - level) < 1e-9) return probe_number(row, "covered");
  }
  return NAN;
}

static void put_labels(syz_page *p, const cJSON *list)
{
  const cJSON *q, *label;
  char crps[32], cde[32], ks[32];
  syz_page_put(p,
               "<div class=\"card scroll\"><table><caption>Each label on its own: continuous ranked probability "
               "score in the label's unit, CDE loss in its inverse, share of the truths inside central intervals and "
               "inside conformal ones, Kolmogorov-Smirnov test of the PIT</caption><thead><tr><th scope=\"col\">label, "
               "from</th><th scope=\"col\">CRPS</th><th scope=\"col\">CDE "
               "loss</th><th scope=\"col\">inside 50&nbsp;%</th><th scope=\"col\">inside 90&nbsp;%</th><th "
               "scope=\"col\">inside conformal 90&nbsp;%</th><th "
               "scope=\"col\">PIT uniform: p</th></tr></thead><tbody>\n");
  cJSON_ArrayForEach(q, list) cJSON_ArrayForEach(label, cJSON_GetObjectItem(q, "labels"))
  {
    syz_page_put(p, "<tr><th scope=\"row\">");
    syz_page_escape(p, probe_text(label, "label"));
    syz_page_put(p, ", ");
    syz_page_escape(p, probe_source(probe_text(q, "source")));
    syz_page_printf(p, "</th><td>%s</td><td>%s</td>", syz_page_number(probe_number(label, "crps"), crps),
                    syz_page_number(probe_number(label, "cde_loss"), cde));
    put_percent(p, at_level(q, label, "covered", 0.5));
    put_percent(p, at_level(q, label, "covered", 0.9));
    put_percent(p, conformal_at(label, 0.9));
    syz_page_printf(p, "<td>%s</td></tr>\n",
                    syz_page_number(probe_number(cJSON_GetObjectItem(label, "pit"), "ks_p"), ks));
  }
  syz_page_put(p, "</tbody></table></div>\n");
}

static void chart_pit(syz_page *p, const char *source, const cJSON *label)
{
  const cJSON *pit = cJSON_GetObjectItem(label, "pit");
  double count[BINS], expected[BINS], error[BINS], x[BINS], zero[BINS], low[BINS], high[BINS];
  char title[PROBE_NAME + 64];
  const int n = probe_list(pit, "count", BINS, count);
  if (n < 1 || probe_list(pit, "expected", BINS, expected) != n || probe_list(pit, "error", BINS, error) != n) return;
  for (int b = 0; b < n; b++) {
    x[b] = (b + 0.5) / n;
    zero[b] = 0;
    low[b] = fmax(expected[b] - error[b], 0);
    high[b] = expected[b] + error[b];
  }
  const syz_series s[] = {{"expected when calibrated", 1, SYZ_LINE_DASHED, n, x, expected}};
  const syz_band band[] = {{"test objects", 0, SYZ_BAND_BARS, n, x, zero, count},
                           {"its error", 1, SYZ_BAND_AREA, n, x, low, high}};
  snprintf(title, sizeof title, "PIT of %.120s, %.60s", probe_text(label, "label"), source);
  syz_page_chart(p, &(syz_chart){.title = title,
                                 .x_label = "share of the posterior below the truth",
                                 .y_label = "test objects",
                                 .n_series = 1,
                                 .series = s,
                                 .n_bands = 2,
                                 .band = band});
}

static void chart_coverage(syz_page *p, const char *source, const cJSON *q)
{
  double level[LEVELS], density[LEVELS], covered[PROBE_CURVES][LEVELS];
  syz_series s[PROBE_CURVES + 2];
  char title[PROBE_NAME];
  const cJSON *label;
  int n_series = 0, k = 0;
  const int n = probe_list(q, "level", LEVELS, level);
  s[n_series++] = (syz_series){"as promised", 3, SYZ_LINE_DASHED, 2, diagonal, diagonal};
  if (probe_list(q, "density_covered", LEVELS, density) == n)
    s[n_series++] = (syz_series){"all labels, regions of highest density", 3, SYZ_LINE_SOLID, n, level, density};
  cJSON_ArrayForEach(label, cJSON_GetObjectItem(q, "labels"))
  {
    if (k == PROBE_CURVES || probe_list(label, "covered", LEVELS, covered[k]) != n) continue;
    s[n_series] =
        (syz_series){probe_text(label, "label"), k % 3, k < 3 ? SYZ_LINE_SOLID : SYZ_LINE_DASHED, n, level, covered[k]};
    n_series++;
    k++;
  }
  snprintf(title, sizeof title, "Coverage, %.120s", source);
  syz_page_chart(p, &(syz_chart){.title = title,
                                 .x_label = "probability that the region promises",
                                 .y_label = "share of the truths inside",
                                 .n_series = n_series,
                                 .series = s});
}

static void chart_tarp(syz_page *p, const char *source, const cJSON *q)
{
  double level[LEVELS], curve[LEVELS], error[LEVELS], low[LEVELS], high[LEVELS];
  char title[PROBE_NAME];
  const int n = probe_list(q, "level", LEVELS, level);
  if (probe_list(q, "tarp", LEVELS, curve) != n || probe_list(q, "tarp_error", LEVELS, error) != n) return;
  for (int l = 0; l < n; l++) {
    low[l] = fmax(curve[l] - 1.96 * error[l], 0);
    high[l] = fmin(curve[l] + 1.96 * error[l], 1);
  }
  const syz_series s[] = {{"as promised", 3, SYZ_LINE_DASHED, 2, diagonal, diagonal},
                          {"measured", 0, SYZ_LINE_SOLID, n, level, curve}};
  const syz_band band[] = {{"95 % of bootstrap draws", 0, SYZ_BAND_AREA, n, level, low, high}};
  snprintf(title, sizeof title, "TARP, all labels together, %.120s", source);
  syz_page_chart(p, &(syz_chart){.title = title,
                                 .x_label = "credibility",
                                 .y_label = "expected coverage",
                                 .n_series = 2,
                                 .series = s,
                                 .n_bands = 1,
                                 .band = band});
}

static void put_calibration(syz_page *p, const cJSON *q)
{
  const cJSON *c = cJSON_GetObjectItem(q, "recalibration");
  char text[32], before[32], after[32];
  if (strcmp(probe_text(c, "kind"), "temperature") != 0) return;
  syz_page_printf(p,
                  "<p>Recalibrated on validation objects: temperature %s, \xe2\x88\x92ln density %s before and %s "
                  "after.</p>\n",
                  syz_page_number(probe_number(c, "temperature"), text),
                  syz_page_number(probe_number(c, "nll_before"), before),
                  syz_page_number(probe_number(c, "nll_after"), after));
}

static void put_warnings(syz_page *p, const cJSON *q)
{
  const cJSON *list = cJSON_GetObjectItem(q, "warnings"), *w;
  if (!cJSON_IsArray(list)) return;
  if (!list->child) {
    syz_page_put(p, "<p class=\"badge\">No deviation from calibration beyond three of its errors.</p>\n");
    return;
  }
  syz_page_put(p, "<div class=\"missing\">These posteriors are not calibrated:<ul style=\"margin:6px 0 0;"
                  "padding-left:20px;overflow-wrap:anywhere\">\n");
  cJSON_ArrayForEach(w, list)
  {
    if (!cJSON_IsString(w)) continue;
    syz_page_put(p, "<li>");
    syz_page_escape(p, w->valuestring);
    syz_page_put(p, "</li>\n");
  }
  syz_page_put(p, "</ul></div>\n");
}

void probe_put_posteriors(syz_page *p, const probe_view *v)
{
  const cJSON *list = cJSON_GetObjectItem(v->json, "posteriors"), *q, *label;
  if (!cJSON_IsArray(list) || !list->child) return;
  syz_page_put(p, "<h3>Joint posteriors</h3>\n");
  put_likelihoods(p, list);
  put_labels(p, list);
  cJSON_ArrayForEach(q, list)
  {
    const char *source = probe_source(probe_text(q, "source"));
    syz_page_put(p, "<h3>Calibration of the posteriors: ");
    syz_page_escape(p, source);
    syz_page_put(p, "</h3>\n");
    put_warnings(p, q);
    put_calibration(p, q);
    syz_page_put(p, "<div class=\"charts\" style=\"margin-bottom:16px\">\n");
    cJSON_ArrayForEach(label, cJSON_GetObjectItem(q, "labels")) chart_pit(p, source, label);
    chart_coverage(p, source, q);
    chart_tarp(p, source, q);
    syz_page_put(p, "</div>\n");
  }
}
