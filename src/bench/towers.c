/* SPDX-License-Identifier: BSD-3-Clause */
/** The part `towers` of `bench`: both towers at the input's sizes: the forward pass, and forward with backward. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "bench.h"
#include "syzygy/data.h"

typedef struct tower_work {
  syz_model *model;
  syz_modality tower;
  int64_t batch;
  float *input, *embedding, *dembedding, *gradients;
  float *moment1, *moment2; /* optimiser moments of a profiled step */
  int threads;
} tower_work;

static void run_forward(void *context)
{
  tower_work *w = context;
  syz_tower_forward(w->model, w->tower, w->batch, w->input, NULL, w->embedding);
}

static void run_forward_backward(void *context)
{
  tower_work *w = context;
  run_forward(context);
  syz_tower_backward(w->model, w->tower, w->batch, w->dembedding, NULL, w->gradients, NULL, NULL);
}

/* The work of a training step on one rank. */
static void run_step(void *context)
{
  tower_work *w = context;
  const syz_adamw rule = {.lr = 1e-9, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8};
  run_forward_backward(context);
  syz_adamw_update(&rule, 1, 1.0, syz_model_weights(w->model), w->moment1, w->moment2, w->gradients,
                   syz_model_size(w->model), w->threads);
  syz_model_pack(w->model, false);
}

static void destroy_tower_work(tower_work *w)
{
  syz_free(&w->moment1);
  syz_free(&w->moment2);
  syz_free(&w->input);
  syz_free(&w->embedding);
  syz_free(&w->dembedding);
  syz_free(&w->gradients);
  syz_model_destroy(&w->model);
}

static syz_status make_tower_work(syz_bench *b, const syz_model_config *config, syz_modality tower, tower_work *w)
{
  syz_status st = SYZ_OK;
  const int64_t pixels = syz_model_input(config, tower), width = config->embedding.dim;
  uint64_t seed = b->options->seed;
  *w = (tower_work){.tower = tower, .batch = b->batch};
  SYZ_TRY(syz_model_create(config, tower == SYZ_IMAGE, tower == SYZ_SPECTRUM, b->compute, &w->model));
  syz_model_initialise(w->model, seed);
  SYZ_ALLOC(w->input, "bench input", b->batch * pixels);
  SYZ_ALLOC(w->embedding, "bench embedding", b->batch * width);
  SYZ_ALLOC(w->dembedding, "bench embedding gradient", b->batch * width);
  SYZ_ALLOC(w->gradients, "bench gradients", syz_model_size(w->model));
  syz_random r = syz_random_make(seed, SYZ_RANDOM_BENCH, (uint64_t)tower, 0);
  syz_random_fill_normal(&r, w->input, (size_t)(b->batch * pixels));
  if (tower == SYZ_IMAGE)
    for (int64_t i = 0; i < b->batch * pixels; i++) w->input[i] = fminf(fmaxf(0.5f + 0.2f * w->input[i], 0), 1);
  r.step = 7;
  syz_random_fill_normal(&r, w->dembedding, (size_t)(b->batch * width));
cleanup:
  return st;
}

static syz_status profile_step(syz_bench *b, const char *name, tower_work *w)
{
  syz_status st = SYZ_OK;
  char what[64];
  SYZ_ALLOC(w->moment1, "bench moments", syz_model_size(w->model));
  SYZ_ALLOC(w->moment2, "bench moments", syz_model_size(w->model));
  w->threads = syz_compute_threads(b->compute);
  snprintf(what, sizeof what, "%s, training step", name);
  syz_bench_profile(b, what, &(syz_bench_work){run_step, w});
cleanup:
  return st;
}

/* All products in int8, with ranges set as after a calibration: the rate, and its ratio to the rate in the activation
 * type, with the two run alternately. */
static syz_status bench_int8(syz_bench *b, const char *name, double flops, tower_work *w)
{
  syz_status st = SYZ_OK;
  syz_comm *c = b->run->world;
  const int64_t products = syz_tower_products(w->model, w->tower);
  int64_t inputs = 0;
  uint8_t *choice[2] = {NULL, NULL};
  float *most = NULL;
  double best[2] = {INFINITY, INFINITY};
  for (int64_t p = 0; p < products; p++) inputs += syz_tower_product_inputs(w->model, w->tower, p);
  choice[0] = syz_alloc("bench int8", (size_t)products, 1);
  choice[1] = syz_alloc("bench int8", (size_t)products, 1);
  most = syz_alloc("bench int8", (size_t)inputs, sizeof *most);
  SYZ_TRY_ALL(c, choice[0] && choice[1] && most ? SYZ_OK : SYZ_ERR_MEMORY);
  memset(choice[1], 1, (size_t)products);
  syz_tower_observe(w->model, w->tower, most);
  run_forward(w);
  syz_tower_observe(w->model, w->tower, NULL);
  SYZ_TRY_ALL(c, syz_tower_quantise(w->model, w->tower, most));
  syz_tower_use_int8(w->model, w->tower, choice[1]);
  syz_bench_measure_flops(b, name, "forward int8", flops, &(syz_bench_work){run_forward, w});
  for (int i = 0; i < 2 * b->repeats; i++) {
    syz_tower_use_int8(w->model, w->tower, choice[i % 2]);
    const double start = syz_clock_s();
    run_forward(w);
    best[i % 2] = fmin(best[i % 2], syz_clock_s() - start);
  }
  const syz_bench_rate ratio = syz_bench_over_ranks(c, best[0] / best[1]);
  syz_info("%-12s %-26s %9.2f x", name,
           syz_compute_act(b->compute) == SYZ_BF16 ? "int8 over bfloat16" : "int8 over float32", ratio.mean);
  if (syz_comm_rank(c) == 0) cJSON_AddNumberToObject(syz_bench_add_row(b, name, "int8 ratio"), "ratio", ratio.mean);
cleanup:
  syz_free(&choice[0]);
  syz_free(&choice[1]);
  syz_free(&most);
  return st;
}

static int64_t parameters_of(const syz_model *model)
{
  int n;
  int64_t sum = 0;
  const syz_parameter *p = syz_model_parameters(model, &n);
  for (int i = 0; i < n; i++) sum += p[i].size;
  return sum;
}

static syz_status bench_tower(syz_bench *b, const syz_model_config *config, syz_modality tower)
{
  syz_status st = SYZ_OK;
  tower_work w = {0};
  syz_comm *c = b->run->world;
  const char *name = tower == SYZ_IMAGE ? "image tower" : "spectrum";
  const bool has_profile = b->options->profiles;
  char what[64];
  const syz_operations one = syz_model_operations(config, tower);
  const double flops = (double)b->batch * syz_operations_forward(&one),
               both = flops + (double)b->batch * syz_operations_backward(&one);
  SYZ_TRY_ALL(c, make_tower_work(b, config, tower, &w));
  SYZ_TRY_ALL(c, syz_tower_plan(w.model, tower, b->batch, SYZ_MODE_EMBED));
  syz_bench_measure_flops(b, name, "forward", flops, &(syz_bench_work){run_forward, &w});
  snprintf(what, sizeof what, "%s, forward", name);
  if (has_profile) syz_bench_profile(b, what, &(syz_bench_work){run_forward, &w});
  if (syz_compute_has_int8(b->compute)) SYZ_TRY(bench_int8(b, name, flops, &w));
  SYZ_TRY_ALL(c, syz_tower_plan(w.model, tower, b->batch, SYZ_MODE_TRAIN));
  cJSON *row =
      syz_bench_measure_flops(b, name, "forward + backward", both, &(syz_bench_work){run_forward_backward, &w});
  if (row) cJSON_AddNumberToObject(row, "parameters", (double)parameters_of(w.model));
  if (has_profile) SYZ_TRY_ALL(c, profile_step(b, name, &w));
cleanup:
  destroy_tower_work(&w);
  return st;
}

syz_status syz_bench_towers(syz_bench *b)
{
  syz_status st = SYZ_OK;
  syz_model_config config;
  syz_model_parts parts = {.has = {[SYZ_PART_IMAGE_BACKBONE] = true, [SYZ_PART_SPECTRUM_BACKBONE] = true}};
  const char *file = b->options->model_file;
  if (*file)
    SYZ_TRY(syz_model_file_parts(b->run->world, file, &config, &parts));
  else
    config = b->options->config;
  for (syz_modality m = SYZ_IMAGE; m < SYZ_MODALITIES; m++)
    if (parts.has[syz_part_of(m, false)]) SYZ_TRY(bench_tower(b, &config, m));
cleanup:
  return st;
}
