/* SPDX-License-Identifier: BSD-3-Clause */
/** Measuring, for all parts: times and rates over repetitions and ranks, against the limit; rows of bench.json.
 */
#include <stdlib.h>

#include "bench.h"

static int compare(const void *a, const void *b)
{
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

void syz_bench_best(double *t, int n, double *best, double *median)
{
  qsort(t, (size_t)n, sizeof *t, compare);
  *best = t[0];
  *median = t[n / 2];
}

syz_bench_seconds syz_bench_time(int repeats, const syz_bench_work *w)
{
  double t[SYZ_BENCH_REPEATS];
  w->run(w->context);
  for (int i = 0; i < repeats; i++) {
    double start = syz_clock_s();
    w->run(w->context);
    t[i] = syz_clock_s() - start;
  }
  syz_bench_seconds out;
  syz_bench_best(t, repeats, &out.best, &out.median);
  return out;
}

void syz_bench_measure_limit(syz_bench *b)
{
  const char *by;
  const double rate = syz_gemm_limit(b->compute, b->options->limit_s, &by) * syz_compute_threads(b->compute);
  if (rate <= b->limit) return;
  b->limit = rate;
  b->limit_by = by;
}

cJSON *syz_bench_add_row(syz_bench *b, const char *part, const char *what)
{
  cJSON *row = cJSON_CreateObject();
  if (!row || !cJSON_AddItemToArray(b->json, row)) {
    cJSON_Delete(row);
    return NULL;
  }
  cJSON_AddStringToObject(row, "part", part);
  cJSON_AddStringToObject(row, "what", what);
  return row;
}

syz_bench_rate syz_bench_over_ranks(syz_comm *c, double mine)
{
  double least = mine, sum = mine;
  syz_allreduce_f64(c, &least, 1, SYZ_MIN);
  syz_allreduce_f64(c, &sum, 1, SYZ_SUM);
  return (syz_bench_rate){least, sum / syz_comm_size(c), sum};
}

cJSON *syz_bench_measure_flops(syz_bench *b, const char *part, const char *what, double flops, const syz_bench_work *w)
{
  syz_comm *c = b->run->world;
  int size = syz_comm_size(c);
  double alone = 0;
  if (size > 1) {
    if (syz_comm_rank(c) == 0) {
      syz_bench_measure_limit(b);
      alone = flops / syz_bench_time(b->repeats, w).best;
    }
    syz_barrier_idle(c);
  }
  syz_bench_measure_limit(b);
  syz_barrier(c);
  syz_bench_seconds t = syz_bench_time(b->repeats, w);
  syz_bench_measure_limit(b);
  syz_bench_rate best = syz_bench_over_ranks(c, flops / t.best), median = syz_bench_over_ranks(c, flops / t.median),
                 share = syz_bench_over_ranks(c, flops / t.best / b->limit);
  double speedup = alone > 0 ? best.sum / alone : 0;
  syz_bcast(c, &speedup, sizeof speedup, 0);
  if (size > 1)
    syz_info("%-12s %-26s %9.1f %9.1f %11.1f%% %9.2f x of 1 rank", part, what, best.mean / 1e9, median.mean / 1e9,
             100 * share.mean, speedup);
  else
    syz_info("%-12s %-26s %9.1f %9.1f %11.1f%%", part, what, best.mean / 1e9, median.mean / 1e9, 100 * share.mean);
  if (syz_comm_rank(c) != 0) return NULL;
  cJSON *row = syz_bench_add_row(b, part, what);
  cJSON_AddNumberToObject(row, "gflops_per_rank", best.mean / 1e9);
  cJSON_AddNumberToObject(row, "gflops_per_rank_median", median.mean / 1e9);
  cJSON_AddNumberToObject(row, "fraction_of_limit", share.mean);
  cJSON_AddNumberToObject(row, "fraction_of_limit_least", share.least);
  cJSON_AddNumberToObject(row, "objects_per_rank", (double)b->batch);
  cJSON_AddNumberToObject(row, "flops_per_object", flops / (double)b->batch);
  cJSON_AddNumberToObject(row, "objects_per_s", best.sum / flops * (double)b->batch);
  if (size > 1) cJSON_AddNumberToObject(row, "speedup_over_one_rank", speedup);
  return row;
}
