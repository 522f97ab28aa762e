/* SPDX-License-Identifier: BSD-3-Clause */
/** The table of where the time went, over all ranks: printed by rank 0 and written as JSON. */
#include <cjson/cJSON.h>
#include <stdio.h>
#include <string.h>

#include "syzygy/comm.h"

enum { NAME = 48 };

static int find(const syz_timing_row *rows, int n, const char *name)
{
  for (int i = 0; i < n; i++)
    if (strncmp(rows[i].name, name, NAME - 1) == 0) return i;
  return -1;
}

/* Phases may differ between ranks (apart): every rank's names travel in rank order until all know the union. */
static int union_of_names(syz_comm *c, const syz_timing *t, syz_timing_row *rows, int room)
{
  int n = 0;
  for (int rank = 0; rank < syz_comm_size(c); rank++) {
    char names[SYZ_TIMING_PHASES][NAME] = {{0}};
    int64_t count = t->n;
    for (int i = 0; i < t->n; i++) snprintf(names[i], NAME, "%s", t->name[i]);
    syz_bcast(c, &count, sizeof count, rank);
    syz_bcast(c, names, sizeof names, rank);
    for (int i = 0; i < count && n < room; i++)
      if (find(rows, n, names[i]) < 0) {
        rows[n] = (syz_timing_row){.count = 0};
        memcpy(rows[n++].name, names[i], NAME);
      }
  }
  return n;
}

void syz_timing_reduce(syz_comm *c, const syz_timing *t, syz_timing_row *rows, int *n)
{
  double total = 0;
  *n = union_of_names(c, t, rows, *n);
  for (int i = 0; i < *n; i++) {
    double mine = 0;
    int64_t count = 0;
    for (int j = 0; j < t->n; j++)
      if (strncmp(rows[i].name, t->name[j], NAME - 1) == 0) {
        mine = t->seconds[j];
        count = t->count[j];
      }
    double least = mine, most = mine, sum = mine;
    syz_allreduce_f64(c, &least, 1, SYZ_MIN);
    syz_allreduce_f64(c, &most, 1, SYZ_MAX);
    syz_allreduce_f64(c, &sum, 1, SYZ_SUM);
    syz_allreduce_i64(c, &count, 1, SYZ_MAX);
    rows[i].min_s = least;
    rows[i].max_s = most;
    rows[i].mean_s = sum / syz_comm_size(c);
    rows[i].count = count;
    total += rows[i].mean_s;
  }
  for (int i = 0; i < *n; i++) rows[i].share = total > 0 ? rows[i].mean_s / total : 0;
}

static syz_status write_json(const syz_timing_row *rows, int n, int ranks, const char *path)
{
  syz_status st = SYZ_OK;
  char *text = NULL;
  cJSON *root = cJSON_CreateObject();
  cJSON *phases = root ? cJSON_AddArrayToObject(root, "phases") : NULL;
  SYZ_REQUIRE(phases && cJSON_AddNumberToObject(root, "ranks", ranks), SYZ_ERR_MEMORY, "%s: no memory", path);
  for (int i = 0; i < n; i++) {
    cJSON *row = cJSON_CreateObject();
    SYZ_REQUIRE(row && cJSON_AddItemToArray(phases, row), SYZ_ERR_MEMORY, "%s: no memory", path);
    cJSON_AddStringToObject(row, "phase", rows[i].name);
    cJSON_AddNumberToObject(row, "count", (double)rows[i].count);
    cJSON_AddNumberToObject(row, "min_s", rows[i].min_s);
    cJSON_AddNumberToObject(row, "mean_s", rows[i].mean_s);
    cJSON_AddNumberToObject(row, "max_s", rows[i].max_s);
    cJSON_AddNumberToObject(row, "share", rows[i].share);
  }
  text = cJSON_Print(root);
  SYZ_REQUIRE(text, SYZ_ERR_MEMORY, "%s: no memory", path);
  SYZ_TRY(syz_file_write(path, text, strlen(text)));
cleanup:
  cJSON_free(text);
  cJSON_Delete(root);
  return st;
}

syz_status syz_timing_report(syz_comm *c, const syz_timing *t, const char *path)
{
  syz_status st = SYZ_OK;
  syz_timing_row rows[2 * SYZ_TIMING_PHASES];
  int n = 2 * SYZ_TIMING_PHASES;
  syz_timing_reduce(c, t, rows, &n);
  syz_info("%-28s %9s %10s %10s %10s %7s", "where the time went", "count", "min s", "mean s", "max s", "share");
  for (int i = 0; i < n; i++)
    syz_info("%-28s %9lld %10.3f %10.3f %10.3f %6.1f%%", rows[i].name, (long long)rows[i].count, rows[i].min_s, rows[i].mean_s, rows[i].max_s,
             100 * rows[i].share);
  SYZ_TRY_ALL(c, path && syz_comm_rank(c) == 0 ? write_json(rows, n, syz_comm_size(c), path) : SYZ_OK);
cleanup:
  return st;
}
