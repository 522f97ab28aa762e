/* SPDX-License-Identifier: BSD-3-Clause */
/** The part `optimiser` of `bench`: AdamW against the bandwidth of plain updates in the same run. */
#include "bench.h"

enum { OPTIMISER_N = 64 << 20 };

typedef struct optimiser_work {
  float *w, *m, *v, *g;
  int threads;
} optimiser_work;

static void run_adamw(void *context)
{
  optimiser_work *o = context;
  const syz_adamw options = {.lr = 1e-4, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.05};
  syz_adamw_update(&options, 10, 1.0, o->w, o->m, o->v, o->g, OPTIMISER_N, o->threads);
}

/* Two arrays updated in place from two others: as many streams as AdamW has (reads 4, writes 2 of its 3) and no
 * arithmetic to speak of, so its rate is the bandwidth that AdamW is compared with. In place, because a store to an
 * array that was not read before reads its cache lines too. */
static void update(float *restrict w, float *restrict m, const float *restrict v, const float *restrict g, int64_t n)
{
  for (int64_t i = 0; i < n; i++) {
    w[i] += 0.5f * v[i];
    m[i] += 0.5f * g[i];
  }
}

/* With as many threads as AdamW. */
static void run_update(void *context)
{
  const optimiser_work *o = context;
#pragma omp parallel for schedule(static) num_threads(o->threads)
  for (int i = 0; i < o->threads; i++) {
    int64_t first, n;
    syz_share(OPTIMISER_N, o->threads, i, &first, &n);
    update(o->w + first, o->m + first, o->v + first, o->g + first, n);
  }
}

syz_status syz_bench_optimiser(syz_bench *b)
{
  syz_status st = SYZ_OK;
  syz_comm *c = b->run->world;
  optimiser_work o = {.threads = syz_compute_threads(b->compute)};
  float *block = syz_alloc("bench optimiser", 4 * (size_t)OPTIMISER_N, sizeof *block);
  SYZ_TRY_ALL(c, block ? SYZ_OK : SYZ_ERR_MEMORY);
  o.w = block;
  o.m = block + OPTIMISER_N;
  o.v = block + 2 * (size_t)OPTIMISER_N;
  o.g = block + 3 * (size_t)OPTIMISER_N;
  for (int64_t i = 0; i < 4 * (int64_t)OPTIMISER_N; i++) block[i] = 1e-3f * (float)(i % 1000);
  syz_barrier(c);
  double update =
      6.0 * sizeof(float) * OPTIMISER_N / syz_bench_time(b->repeats, &(syz_bench_work){run_update, &o}).best;
  syz_barrier(c);
  double adamw = 7.0 * sizeof(float) * OPTIMISER_N / syz_bench_time(b->repeats, &(syz_bench_work){run_adamw, &o}).best;
  syz_bench_rate bandwidth = syz_bench_over_ranks(c, update), reached = syz_bench_over_ranks(c, adamw);
  syz_info("%-12s %-26s %9.1f GB/s, %.0f%% of plain updates in place (%.1f GB/s)", "optimiser", "AdamW",
           reached.mean / 1e9, 100 * reached.mean / bandwidth.mean, bandwidth.mean / 1e9);
  if (syz_comm_rank(c) == 0) {
    cJSON *row = syz_bench_add_row(b, "optimiser", "AdamW");
    cJSON_AddNumberToObject(row, "gbytes_per_s", reached.mean / 1e9);
    cJSON_AddNumberToObject(row, "update_gbytes_per_s", bandwidth.mean / 1e9);
    cJSON_AddNumberToObject(row, "fraction_of_update", reached.mean / bandwidth.mean);
  }
cleanup:
  syz_free(&block);
  return st;
}
