/* SPDX-License-Identifier: BSD-3-Clause */
/* Values, names and cells out of probe.json, which the parts of its section share. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "probe.h"

double probe_number(const cJSON *o, const char *name)
{
  const cJSON *item = cJSON_GetObjectItem(o, name);
  return cJSON_IsNumber(item) ? item->valuedouble : (double)NAN;
}

const char *probe_text(const cJSON *o, const char *name)
{
  const cJSON *item = cJSON_GetObjectItem(o, name);
  return cJSON_IsString(item) ? item->valuestring : "?";
}

int probe_list(const cJSON *o, const char *name, int room, double *out)
{
  const cJSON *item;
  int n = 0;
  cJSON_ArrayForEach(item, cJSON_GetObjectItem(o, name)) if (n < room) out[n++] =
      cJSON_IsNumber(item) ? item->valuedouble : (double)NAN;
  return n;
}

/* ----------------------------------------------------------------- names */

const char *probe_name(const char *const pair[][2], const char *key)
{
  for (int i = 0; pair[i][0]; i++)
    if (strcmp(pair[i][0], key) == 0) return pair[i][1];
  return key;
}

const char *probe_method(const char *key)
{
  static const char *const pair[][2] = {{"knn", "nearest neighbours"},
                                        {"linear", "linear head"},
                                        {"flow", "flow"},
                                        {"mlp", "small network"},
                                        {NULL, NULL}};
  return probe_name(pair, key);
}

const char *probe_source(const char *key)
{
  static const char *const pair[][2] = {
      {"image", "image embedding"}, {"spectrum", "spectrum embedding"}, {"both", "both embeddings"}, {NULL, NULL}};
  return probe_name(pair, key);
}

const char *probe_figure(const char *key)
{
  static const char *const pair[][2] = {{"R2", "R\xc2\xb2"},
                                        {"sigma_NMAD", "\xcf\x83 (NMAD) of \xce\x94z/(1+z)"},
                                        {"mean bias", "mean of \xce\x94z/(1+z)"},
                                        {"outliers (0.15)", "share beyond 0.15"},
                                        {"sigma_IQR, LSST", "\xcf\x83 (quartiles), LSST"},
                                        {"outliers, LSST", "share of outliers, LSST"},
                                        {"macro F1", "F1, mean of classes"},
                                        {"weighted F1", "F1, weighted by class"},
                                        {NULL, NULL}};
  return probe_name(pair, key);
}

const cJSON *probe_label_row(const probe_view *v, const char *label)
{
  const cJSON *row;
  cJSON_ArrayForEach(row, cJSON_GetObjectItem(v->json, "labels")) if (strcmp(probe_text(row, "name"), label) ==
                                                                      0) return row;
  return NULL;
}

const char *probe_label(const probe_view *v, const char *label, char text[PROBE_NAME])
{
  const cJSON *unit = cJSON_GetObjectItem(probe_label_row(v, label), "unit");
  if (cJSON_IsString(unit) && *unit->valuestring)
    snprintf(text, PROBE_NAME, "%.120s (%.60s)", label, unit->valuestring);
  else
    snprintf(text, PROBE_NAME, "%.120s", label);
  return text;
}

void probe_cell(syz_page *p, double value, double error, int digits)
{
  char text[96];
  if (isfinite(value) && fabs(value) < 1e6)
    snprintf(text, sizeof text, "%.*f", digits, value);
  else
    syz_page_number(value, text);
  syz_page_put(p, text);
  if (isfinite(value) && isfinite(error) && fabs(error) < 1e6)
    syz_page_printf(p, "&nbsp;\xc2\xb1&nbsp;%.*f", digits, error);
}

syz_series probe_curve(const char *name, int k, int64_t n, const double *x, const double *y)
{
  return (syz_series){name, k % 4, k < 4 ? SYZ_LINE_SOLID : SYZ_LINE_DASHED, n, x, y};
}
