/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The part `allreduce` of `bench`: the gradient sums of an image tower of the input's size, in one level and in two,
 * against MPI's all-reduce of the same block in the same run. Each is measured alone and overlapped with a backward
 * pass: the time of the pass without sums and with them, the part of the sums hidden in it, and the part exposed after
 * its end. In the second level the ranks of one machine play the part of nodes.
 */
#include <math.h>
#include <stdio.h>

#include "bench.h"
#include "syzygy/data.h"
#include "syzygy/train.h"

typedef struct sums_work {
  syz_bench *b;
  syz_grid grid;
  syz_nodes *nodes;
  syz_model *model;
  syz_sums *sums;
  float *input, *embedding, *dembedding;
} sums_work;

typedef struct sums_seconds {
  double alone, backward, with_sums, beside, exposed;
} sums_seconds;

enum { CHUNK = 4 << 20 /* elements: the size of the buckets */ };

static void destroy(sums_work *w)
{
  syz_free(&w->input);
  syz_free(&w->embedding);
  syz_free(&w->dembedding);
  syz_sums_destroy(&w->sums);
  syz_model_destroy(&w->model);
  syz_nodes_destroy(&w->nodes);
  syz_grid_destroy(&w->grid);
}

static syz_status make_tower(sums_work *w, const syz_model_config *config)
{
  syz_status st = SYZ_OK;
  const syz_bench *b = w->b;
  const uint64_t seed = b->options->seed;
  const int64_t pixels = syz_model_input(config, SYZ_IMAGE);
  SYZ_TRY(syz_tower_plan(w->model, SYZ_IMAGE, b->batch, SYZ_MODE_TRAIN));
  SYZ_ALLOC(w->input, "bench input", b->batch * pixels);
  SYZ_ALLOC(w->embedding, "bench embedding", b->batch * config->embedding.dim);
  SYZ_ALLOC(w->dembedding, "bench embedding gradient", b->batch * config->embedding.dim);
  syz_random r = syz_random_make(seed, SYZ_RANDOM_BENCH, 21, (uint64_t)syz_comm_rank(b->run->world));
  syz_random_fill_normal(&r, w->dembedding, (size_t)(b->batch * config->embedding.dim));
  syz_random_fill_normal(&r, w->input, (size_t)(b->batch * pixels));
  for (int64_t i = 0; i < b->batch * pixels; i++) w->input[i] = fminf(fmaxf(0.5f + 0.2f * w->input[i], 0), 1);
cleanup:
  return st;
}

/* Make everything for one layout of ranks. Collective; agreed. */
static syz_status create(sums_work *w, const syz_model_config *config, int ranks_per_node)
{
  syz_status st = SYZ_OK;
  syz_comm *c = w->b->run->world;
  SYZ_TRY(syz_grid_create(c, SYZ_TOWERS_TOGETHER, 1, 1, &w->grid));
  SYZ_TRY_ALL(c, syz_model_create(config, true, false, w->b->compute, &w->model));
  SYZ_TRY(syz_nodes_create(w->grid.data, ranks_per_node, &w->nodes));
  SYZ_TRY(syz_model_share_weights(w->model, w->nodes));
  syz_model_initialise(w->model, w->b->options->seed);
  SYZ_TRY_ALL(c, make_tower(w, config));
cleanup:
  return st;
}

static double longest(syz_comm *c, double seconds)
{
  syz_allreduce_f64(c, &seconds, 1, SYZ_MAX);
  return seconds;
}

/* One backward pass, with or without sums. Returns its seconds; *exposed: time of the sums after the pass, *beside:
 * time of the sums within it. */
static double backward(sums_work *w, bool sums, double *exposed, double *beside)
{
  syz_gradients *g = syz_sums_gradients(w->sums);
  syz_sums_begin(w->sums);
  syz_tower_forward(w->model, SYZ_IMAGE, w->b->batch, w->input, NULL, w->embedding);
  syz_barrier(w->b->run->world);
  const double start = syz_clock_s();
  syz_tower_backward(w->model, SYZ_IMAGE, w->b->batch, w->dembedding, NULL, syz_gradients_block(g),
                     sums ? syz_gradients_ready : NULL, g);
  const double pass_s = syz_clock_s() - start;
  *exposed = syz_sums_finish(w->sums, beside);
  return sums ? pass_s + *exposed : pass_s;
}

static sums_seconds measure(sums_work *w)
{
  syz_comm *c = w->b->run->world;
  sums_seconds best = {INFINITY, INFINITY, INFINITY, 0, INFINITY};
  for (int i = -1; i < w->b->repeats; i++) { /* the first one is not counted */
    double exposed, beside, unused;
    syz_sums_begin(w->sums);
    syz_barrier(c);
    const double alone = longest(c, syz_sums_finish(w->sums, &unused));
    const double plain = longest(c, backward(w, false, &exposed, &unused));
    const double summed = longest(c, backward(w, true, &exposed, &beside));
    exposed = longest(c, exposed), beside = longest(c, beside);
    if (i < 0) continue;
    best.alone = fmin(best.alone, alone);
    best.backward = fmin(best.backward, plain);
    if (summed < best.with_sums) best.with_sums = summed, best.beside = beside, best.exposed = exposed;
  }
  return best;
}

static void tell(sums_work *w, const char *what, const sums_seconds *t)
{
  syz_bench *b = w->b;
  const double bytes = (double)syz_model_size(w->model) * sizeof(float);
  syz_info("%-12s %-26s %9.2f GB/s alone (%.3f s); backward %.3f s, with sums %.3f s: %.3f s beside it, %.3f s exposed",
           "gradients", what, bytes / t->alone / 1e9, t->alone, t->backward, t->with_sums, t->beside, t->exposed);
  if (syz_comm_rank(b->run->world) != 0) return;
  cJSON *row = syz_bench_add_row(b, "allreduce", what);
  cJSON_AddNumberToObject(row, "bytes", bytes);
  cJSON_AddNumberToObject(row, "seconds", t->alone);
  cJSON_AddNumberToObject(row, "backward_seconds", t->backward);
  cJSON_AddNumberToObject(row, "backward_with_sums_seconds", t->with_sums);
  cJSON_AddNumberToObject(row, "beside_seconds", t->beside);
  cJSON_AddNumberToObject(row, "exposed_seconds", t->exposed);
}

/* MPI's all-reduce, bucket by bucket, of a block of the same size. */
static void measure_mpi(sums_work *w)
{
  syz_bench *b = w->b;
  syz_comm *c = b->run->world;
  float *block = syz_gradients_block(syz_sums_gradients(w->sums));
  const int64_t n = syz_model_size(w->model);
  double best = INFINITY;
  for (int i = -1; i < b->repeats; i++) {
    syz_sums_begin(w->sums);
    syz_barrier(c);
    const double start = syz_clock_s();
    for (int64_t at = 0; at < n; at += CHUNK)
      syz_allreduce_f32(c, block + at, (size_t)(n - at < CHUNK ? n - at : CHUNK), SYZ_SUM);
    const double seconds = longest(c, syz_clock_s() - start);
    double unused;
    syz_sums_finish(w->sums, &unused);
    if (i >= 0) best = fmin(best, seconds);
  }
  syz_info("%-12s %-26s %9.2f GB/s alone (%.3f s)", "gradients", "MPI_Allreduce",
           (double)n * sizeof *block / best / 1e9, best);
  if (syz_comm_rank(c) != 0) return;
  cJSON *row = syz_bench_add_row(b, "allreduce", "MPI_Allreduce");
  cJSON_AddNumberToObject(row, "bytes", (double)n * sizeof *block);
  cJSON_AddNumberToObject(row, "seconds", best);
}

static syz_status bench_layout(syz_bench *b, const syz_model_config *config, int ranks_per_node, bool has_mpi)
{
  syz_status st = SYZ_OK;
  sums_work w = {.b = b};
  SYZ_TRY(create(&w, config, ranks_per_node));
  for (int narrow = 0; narrow < (w.nodes->n > 1 ? 2 : 1); narrow++) {
    char what[64];
    SYZ_TRY(syz_sums_create(&w.grid, w.model, narrow ? SYZ_REDUCE_BF16 : SYZ_REDUCE_F32,
                            syz_compute_threads(b->compute), &w.sums));
    if (has_mpi && !narrow) measure_mpi(&w);
    const sums_seconds t = measure(&w);
    snprintf(what, sizeof what, "%s, %d node%s", narrow ? "bfloat16" : "float32", w.nodes->n,
             w.nodes->n > 1 ? "s" : "");
    tell(&w, what, &t);
    syz_sums_destroy(&w.sums);
  }
cleanup:
  destroy(&w);
  return st;
}

syz_status syz_bench_allreduce(syz_bench *b)
{
  syz_status st = SYZ_OK;
  const syz_model_config *config = &b->options->config;
  const int size = syz_comm_size(b->run->world);
  if (size == 1) syz_info("%-12s one rank: nothing to add", "gradients");
  if (size > 1) SYZ_TRY(bench_layout(b, config, 0, true));
  if (size > 1) SYZ_TRY(bench_layout(b, config, (size + 1) / 2, false));
cleanup:
  return st;
}
