/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The part `infonce` of `bench`: the contrastive loss of a large batch, forward and backward, against the limit, and
 * the memory of all ranks.
 *
 * It prints two fractions: of all operations done, and of the useful ones alone (2 G^2 E forward, 4 G^2 E backward:
 * recomputing the cosines in the backward pass does not count). Time is the wall time of the slowest rank; on a shared
 * machine processor time is the better measure. Planned memory is that of the objective and the caller's arrays;
 * resident memory is the kernel's peak per process, with everything else in it.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <time.h>

#include "bench.h"
#include "syzygy/loss.h"

enum {
  WIDTH = 1024,
  CHUNK = 256 /* objects per call */,
  LARGE = 32768 /* pairs: one run is enough, and long */,
  RUNS = 3
};
static const double scale = 15.5;

typedef struct infonce_work {
  syz_infonce *loss;
  int64_t first, count;
  bool streams;
  float *embedding[SYZ_MODALITIES], *gradient[SYZ_MODALITIES]; /* [count, E], or of a chunk */
} infonce_work;

/* Embeddings of this rank's pairs at .. at + n - 1: random, with a small common part. */
static void draw(const infonce_work *w, syz_modality m, int64_t at, int64_t n, float *out)
{
  float common[WIDTH];
  for (int64_t i = 0; i < n; i++) {
    float *row = out + i * WIDTH;
    for (int k = 0; k < 2; k++) {
      const syz_random r = syz_random_make(0, SYZ_RANDOM_BENCH, k ? 1 + (uint64_t)m : 0, (uint64_t)(w->first + at + i));
      syz_random_fill_normal(&r, k ? row : common, WIDTH);
    }
    for (int d = 0; d < WIDTH; d++) row[d] += 0.5f * common[d];
  }
}

/* Put or get every chunk of every modality. */
static void stream(infonce_work *w, bool is_put)
{
  for (int m = 0; m < SYZ_MODALITIES; m++)
    for (int64_t at = 0; at < w->count; at += CHUNK) {
      const int64_t n = w->count - at < CHUNK ? w->count - at : CHUNK;
      if (is_put) {
        draw(w, (syz_modality)m, at, n, w->embedding[m]);
        syz_infonce_put(w->loss, (syz_modality)m, at, n, w->embedding[m]);
      } else {
        syz_infonce_get(w->loss, (syz_modality)m, at, n, w->gradient[m]);
      }
    }
}

static syz_status prepare(syz_bench *b, const syz_infonce_config *config, infonce_work *w)
{
  syz_status st = SYZ_OK, local = SYZ_OK;
  syz_comm *c = b->run->world;
  SYZ_TRY(syz_infonce_create(c, b->compute, config, &w->loss));
  syz_infonce_rows(w->loss, SYZ_IMAGE, &w->first, &w->count);
  for (int m = 0; m < SYZ_MODALITIES && local == SYZ_OK; m++) {
    const size_t rows = (size_t)(w->streams ? CHUNK : w->count + 1);
    w->embedding[m] = syz_alloc("bench embeddings", rows * WIDTH, sizeof(float));
    w->gradient[m] = syz_alloc("bench gradients", rows * WIDTH, sizeof(float));
    if (!w->embedding[m] || !w->gradient[m]) local = SYZ_ERR_MEMORY;
  }
  SYZ_TRY_ALL(c, local);
  for (int m = 0; m < SYZ_MODALITIES && !w->streams; m++) draw(w, (syz_modality)m, 0, w->count, w->embedding[m]);
cleanup:
  return st;
}

/* Cost of one pass: operations of this rank, wall time of the slowest rank, and processor time per thread of the
 * busiest rank. */
typedef struct infonce_cost {
  double operations, wall_s, processor_s;
} infonce_cost;

static infonce_cost measure(syz_bench *b, infonce_work *w, bool is_backward, syz_infonce_loss *loss)
{
  const float *const no_rows[SYZ_MODALITIES] = {NULL, NULL};
  float *const no_gradient[SYZ_MODALITIES] = {NULL, NULL};
  double dscale;
  syz_barrier_idle(b->run->world);
  const double start = syz_clock_s();
  const clock_t processor = clock();
  if (is_backward)
    syz_infonce_backward(w->loss, w->streams ? no_gradient : w->gradient, &dscale);
  else
    syz_infonce_forward(w->loss, scale, w->streams ? no_rows : (const float *const *)w->embedding, loss);
  double t[2] = {syz_clock_s() - start,
                 (double)(clock() - processor) / CLOCKS_PER_SEC / syz_compute_threads(b->compute)};
  syz_allreduce_f64(b->run->world, t, 2, SYZ_MAX);
  return (infonce_cost){syz_infonce_operations(w->loss), t[0], t[1]};
}

static infonce_cost least(infonce_cost a, infonce_cost b)
{
  return (infonce_cost){b.operations, fmin(a.wall_s, b.wall_s), fmin(a.processor_s, b.processor_s)};
}

static void tell_rate(syz_bench *b, const char *what, infonce_cost cost, double useful)
{
  syz_comm *c = b->run->world;
  const syz_bench_rate rate = syz_bench_over_ranks(c, cost.operations / cost.wall_s),
                       share = syz_bench_over_ranks(c, cost.operations / cost.wall_s / b->limit),
                       busy = syz_bench_over_ranks(c, cost.operations / cost.processor_s / b->limit);
  syz_info("%-12s %-26s %9.1f %9s %11.1f%% (%.1f%% useful; %.1f%% by processor time), %.2f s", "infonce", what,
           rate.mean / 1e9, "", 100 * share.mean, 100 * share.mean * useful, 100 * busy.mean, cost.wall_s);
  if (syz_comm_rank(c) != 0) return;
  cJSON *row = syz_bench_add_row(b, "infonce", what);
  cJSON_AddNumberToObject(row, "gflops_per_rank", rate.mean / 1e9);
  cJSON_AddNumberToObject(row, "fraction_of_limit", share.mean);
  cJSON_AddNumberToObject(row, "useful_fraction_of_limit", share.mean * useful);
  cJSON_AddNumberToObject(row, "fraction_of_limit_processor_time", busy.mean);
  cJSON_AddNumberToObject(row, "seconds", cost.wall_s);
}

static void tell_memory(syz_bench *b, const infonce_work *w, const syz_infonce_config *config, double resident,
                        double loss)
{
  syz_comm *c = b->run->world;
  const double arrays = 4.0 * (double)(w->streams ? CHUNK : w->count) * WIDTH * sizeof(float);
  const double objective = (double)syz_infonce_bytes(b->compute, config, syz_comm_size(c), syz_comm_size(c));
  double sum[3] = {objective, arrays, resident};
  syz_allreduce_f64(c, sum, 3, SYZ_SUM);
  const double gib = 1.0 / (1 << 30);
  char result[64] = "first tiles only";
  if (config->most_blocks == 0) snprintf(result, sizeof result, "loss %.9f", loss);
  syz_info("%-12s %" PRId64 " pairs, %s: planned %.2f GiB in all (%.2f objective, %.2f embeddings and gradients), "
           "resident at most %.2f GiB; %s",
           "infonce", config->global_batch, syz_infonce_is_ring(config) ? "ring" : "gathered", (sum[0] + sum[1]) * gib,
           sum[0] * gib, sum[1] * gib, sum[2] * gib, result);
  if (syz_comm_rank(c) != 0) return;
  cJSON *row = syz_bench_add_row(b, "infonce", "memory");
  cJSON_AddNumberToObject(row, "pairs", (double)config->global_batch);
  cJSON_AddNumberToObject(row, "planned_bytes", sum[0] + sum[1]);
  cJSON_AddNumberToObject(row, "resident_bytes", sum[2]);
  if (config->most_blocks == 0) cJSON_AddNumberToObject(row, "loss", loss);
}

syz_status syz_bench_infonce(syz_bench *b)
{
  syz_status st = SYZ_OK;
  syz_infonce_loss loss = {0};
  const syz_infonce_config config = {.global_batch = b->options->pairs,
                                     .width = WIDTH,
                                     .has_image = true,
                                     .has_spectrum = true,
                                     .streams = b->options->streams,
                                     .most_blocks = b->options->blocks};
  infonce_work w = {.streams = config.streams};
  infonce_cost pass[2] = {{0, INFINITY, INFINITY}, {0, INFINITY, INFINITY}};
  syz_bench_measure_limit(b); /* before large arrays are allocated */
  SYZ_TRY(prepare(b, &config, &w));
  const int runs = config.global_batch > LARGE ? 1 : RUNS;
  for (int i = 0; i < runs; i++) {
    if (w.streams) stream(&w, true);
    for (int k = 0; k < 2; k++) pass[k] = least(pass[k], measure(b, &w, k == 1, &loss));
    if (w.streams) stream(&w, false);
  }
  const double resident = (double)syz_memory_resident_peak();
  syz_bench_measure_limit(b);
  const infonce_cost both = {pass[0].operations + pass[1].operations, pass[0].wall_s + pass[1].wall_s,
                             pass[0].processor_s + pass[1].processor_s};
  tell_rate(b, "forward", pass[0], 1);
  tell_rate(b, "backward", pass[1], 2.0 / 3.0);
  tell_rate(b, "forward and backward", both, 0.75);
  tell_memory(b, &w, &config, resident, loss.loss);
cleanup:
  syz_infonce_destroy(&w.loss);
  for (int m = 0; m < SYZ_MODALITIES; m++) {
    syz_free(&w.embedding[m]);
    syz_free(&w.gradient[m]);
  }
  return st;
}
