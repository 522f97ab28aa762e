/* SPDX-License-Identifier: BSD-3-Clause */
/** The table of where the time went, over all ranks: printed by rank 0 and written as JSON. */
#include <cjson/cJSON.h>
#include <stdio.h>
#include <string.h>

#include "syzygy/comm.h"
#include "syzygy/files.h"

enum { NAME = 48 };

/* This rank's seconds outside MPI in each row's phase. */
static void busy_seconds(const syz_timing *t, const syz_timing_row *rows, int n, double *busy)
{
  for (int i = 0; i < n; i++) {
    busy[i] = 0;
    for (int j = 0; j < t->n; j++)
      if (strncmp(rows[i].name, t->name[j], NAME - 1) == 0) busy[i] = t->seconds[j] - t->within[j];
  }
}

static int find(const syz_timing_row *rows, int n, const char *name)
{
  for (int i = 0; i < n; i++)
    if (strncmp(rows[i].name, name, NAME - 1) == 0) return i;
  return -1;
}

/* Phases may differ between ranks (parallel.towers: apart): the ranks broadcast their names in turn until all know
 * the union. */
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
    double mine = 0, within = 0;
    int64_t count = 0;
    for (int j = 0; j < t->n; j++)
      if (strncmp(rows[i].name, t->name[j], NAME - 1) == 0) {
        mine = t->seconds[j];
        within = t->within[j];
        count = t->count[j];
      }
    double least = mine, most = mine, sum = mine;
    syz_allreduce_f64(c, &least, 1, SYZ_MIN);
    syz_allreduce_f64(c, &most, 1, SYZ_MAX);
    syz_allreduce_f64(c, &sum, 1, SYZ_SUM);
    syz_allreduce_f64(c, &within, 1, SYZ_SUM);
    syz_allreduce_i64(c, &count, 1, SYZ_MAX);
    rows[i].min_s = least;
    rows[i].max_s = most;
    rows[i].mean_s = sum / syz_comm_size(c);
    rows[i].within_s = within / syz_comm_size(c);
    rows[i].count = count;
    total += rows[i].mean_s;
  }
  for (int i = 0; i < *n; i++) rows[i].share = total > 0 ? rows[i].mean_s / total : 0;
}

/* Figures of the whole run. */
typedef struct totals {
  int ranks;
  double seconds, peak_bytes; /* maximum over ranks */
  double within;              /* mean over ranks, also outside of phases */
  const double *busy;         /* [ranks][rows] */
} totals;

static syz_status write_json(const syz_timing_row *rows, int n, const totals *all, const char *path)
{
  syz_status st = SYZ_OK;
  char *text = NULL;
  cJSON *root = cJSON_CreateObject();
  cJSON *phases = root ? cJSON_AddArrayToObject(root, "phases") : NULL;
  SYZ_REQUIRE(phases && cJSON_AddNumberToObject(root, "ranks", all->ranks) &&
                  cJSON_AddNumberToObject(root, "seconds", all->seconds) &&
                  cJSON_AddNumberToObject(root, "mpi_s", all->within) &&
                  cJSON_AddNumberToObject(root, "peak_bytes", all->peak_bytes),
              SYZ_ERR_MEMORY, "%s: no memory", path);
  for (int i = 0; i < n; i++) {
    cJSON *row = cJSON_CreateObject();
    SYZ_REQUIRE(row && cJSON_AddItemToArray(phases, row), SYZ_ERR_MEMORY, "%s: no memory", path);
    cJSON_AddStringToObject(row, "phase", rows[i].name);
    cJSON_AddNumberToObject(row, "count", (double)rows[i].count);
    cJSON_AddNumberToObject(row, "min_s", rows[i].min_s);
    cJSON_AddNumberToObject(row, "mean_s", rows[i].mean_s);
    cJSON_AddNumberToObject(row, "max_s", rows[i].max_s);
    cJSON_AddNumberToObject(row, "share", rows[i].share);
    cJSON_AddNumberToObject(row, "mpi_s", rows[i].within_s);
    cJSON *busy = cJSON_AddArrayToObject(row, "busy_s");
    for (int r = 0; busy && r < all->ranks; r++) {
      char number[32]; /* cJSON writes 17 digits, too many for a row of thousands of ranks */
      snprintf(number, sizeof number, "%.6g", all->busy[(size_t)r * (size_t)n + (size_t)i]);
      cJSON_AddItemToArray(busy, cJSON_CreateRaw(number));
    }
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
  double busy[2 * SYZ_TIMING_PHASES], *all_busy = NULL;
  int n = 2 * SYZ_TIMING_PHASES;
  totals all = {.ranks = syz_comm_size(c),
                .seconds = t->t_first > 0 ? syz_clock_s() - t->t_first : 0,
                .within = t->t_first > 0 && t->within_s ? *t->within_s - t->within_first : 0,
                .peak_bytes = (double)syz_memory_resident_peak()};
  syz_timing_reduce(c, t, rows, &n);
  syz_allreduce_f64(c, &all.seconds, 1, SYZ_MAX);
  syz_allreduce_f64(c, &all.peak_bytes, 1, SYZ_MAX);
  syz_allreduce_f64(c, &all.within, 1, SYZ_SUM);
  all.within /= all.ranks;
  busy_seconds(t, rows, n, busy);
  if (path && n > 0) {
    all_busy = syz_alloc("seconds of all ranks", (size_t)n * (size_t)all.ranks, sizeof *all_busy);
    SYZ_TRY_ALL(c, all_busy ? SYZ_OK : SYZ_ERR_MEMORY);
    syz_allgather(c, busy, all_busy, (size_t)n * sizeof *busy);
  }
  all.busy = all_busy;
  syz_info("%-28s %9s %10s %10s %10s %7s %7s", "where the time went", "count", "min s", "mean s", "max s", "share",
           "in MPI");
  for (int i = 0; i < n; i++)
    syz_info("%-28s %9lld %10.3f %10.3f %10.3f %6.1f%% %6.1f%%", rows[i].name, (long long)rows[i].count, rows[i].min_s,
             rows[i].mean_s, rows[i].max_s, 100 * rows[i].share,
             rows[i].mean_s > 0 ? 100 * rows[i].within_s / rows[i].mean_s : 0);
  SYZ_TRY_ALL(c, path && syz_comm_rank(c) == 0 ? write_json(rows, n, &all, path) : SYZ_OK);
cleanup:
  syz_free(&all_busy);
  return st;
}
