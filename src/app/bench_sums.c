/* SPDX-License-Identifier: BSD-3-Clause */
/** The part `allreduce` of `bench`: sums over ranks. */
#include <stdio.h>
#include <string.h>

#include "bench.h"

typedef struct allreduce_work {
  syz_comm *c;
  float *x;
  size_t n;
} allreduce_work;

static void run_allreduce(void *context)
{
  allreduce_work *w = context;
  syz_allreduce_f32(w->c, w->x, w->n, SYZ_SUM);
}

syz_status syz_bench_allreduce(syz_bench *b)
{
  enum { LARGEST = 16 << 20 };
  syz_status st = SYZ_OK;
  syz_comm *c = b->app->world;
  float *x = syz_alloc("bench all-reduce", LARGEST, sizeof *x);
  SYZ_TRY_ALL(c, x ? SYZ_OK : SYZ_ERR_MEMORY);
  if (syz_comm_size(c) == 1) syz_info("%-12s one rank: nothing to reduce", "all-reduce");
  for (size_t n = 1024; n <= LARGEST && syz_comm_size(c) > 1; n *= 32) {
    char what[64];
    allreduce_work w = {c, x, n};
    memset(x, 0, n * sizeof *x);
    syz_barrier(c);
    double t = syz_bench_time(b->repeats, &(syz_bench_work){run_allreduce, &w}).best;
    syz_allreduce_f64(c, &t, 1, SYZ_MAX);
    snprintf(what, sizeof what, "%.0f KiB", (double)n * sizeof *x / 1024);
    syz_info("%-12s %-26s %9.3f GB/s, %.3f ms", "all-reduce", what, (double)n * sizeof *x / t / 1e9, 1e3 * t);
    if (syz_comm_rank(c) != 0) continue;
    cJSON *row = syz_bench_add_row(b, "allreduce", what);
    cJSON_AddNumberToObject(row, "bytes", (double)n * sizeof *x);
    cJSON_AddNumberToObject(row, "seconds", t);
  }
cleanup:
  syz_free(&x);
  return st;
}
