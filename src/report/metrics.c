/* SPDX-License-Identifier: BSD-3-Clause */
/* metrics.jsonl and validation.jsonl as columns of numbers. Lines that are not JSON are counted and reported. */
#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "report.h"
#include "syzygy/files.h"

enum { FILE_LIMIT = 1 << 30 };

void syz_metrics_free(syz_metrics *t)
{
  for (int c = 0; c < t->columns; c++) syz_free(&t->value[c]);
  *t = (syz_metrics){.n = 0};
}

const double *syz_metrics_column(const syz_metrics *t, const char *name)
{
  for (int c = 0; c < t->columns; c++)
    if (strcmp(t->name[c], name) == 0) return t->value[c];
  return NULL;
}

static syz_status add_line(syz_metrics *t, const cJSON *line, int64_t room)
{
  syz_status st = SYZ_OK;
  const cJSON *item;
  cJSON_ArrayForEach(item, line)
  {
    int c = 0;
    if (!cJSON_IsNumber(item) || !item->string || strlen(item->string) >= SYZ_METRICS_NAME) continue;
    while (c < t->columns && strcmp(t->name[c], item->string) != 0) c++;
    if (c == SYZ_METRICS_COLUMNS) continue;
    if (c == t->columns) {
      SYZ_ALLOC(t->value[c], "metrics", room);
      for (int64_t i = 0; i < room; i++) t->value[c][i] = NAN;
      snprintf(t->name[c], SYZ_METRICS_NAME, "%s", item->string);
      t->columns++;
    }
    t->value[c][t->n] = item->valuedouble;
  }
  t->n++;
cleanup:
  return st;
}

syz_status syz_metrics_read(const char *folder, const char *file, syz_metrics *t)
{
  syz_status st = SYZ_OK;
  char path[PATH_MAX], *text = NULL;
  size_t n;
  int64_t room = 1;
  *t = (syz_metrics){.n = 0};
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
  if (st != SYZ_OK) syz_metrics_free(t);
  return st;
}

/* The weights are renormalised, so the start of the series causes no bias. */
void syz_metrics_smooth(const double *y, int64_t n, double *out)
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
