/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The part `pretrain` of `bench`: whole steps of `pretrain-image` by the published recipe (2 crops of 144 and 8 of 60
 * pixels), without and with stochastic depth: reading, augmentation, teacher, student, losses, gradients, clipping,
 * AdamW and the moving average.
 *
 * It runs the program's own objective in its own training loop, on noise as images, so it measures what a run does. The
 * loop reports the start of each step; there the run is ended before it writes anything. A step lasts from one start to
 * the next. Operations are those of syz_work_useful: products and attention after stochastic depth, nothing for
 * padding, recomputation or element-wise work. The planned operations are printed beside the times.
 */
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"
#include "syzygy/data.h"
#include "syzygy/files.h"
#include "syzygy/objectives.h"
#include "syzygy/train.h"

static const double drop_rates[] = {0, 0.3};

/* The start times of the steps. */
typedef struct rehearsal {
  const syz_timing *timing;
  syz_timing before, after; /* before and after the measured steps */
  int64_t last;             /* the step that is started but not run */
  bool has_ended;
  double start[SYZ_BENCH_REPEATS + 2];
} rehearsal;

static syz_status rehearse(void *watcher, int64_t step)
{
  rehearsal *r = watcher;
  r->start[step] = syz_clock_s();
  if (step == 1) r->before = *r->timing;
  if (step < r->last) return SYZ_OK;
  r->after = *r->timing;
  r->has_ended = true;
  return syz_error_set(SYZ_STOPPED, __FILE__, __LINE__, "enough steps");
}

typedef struct pretrain {
  syz_bench *b;
  syz_model_config config;
  syz_dino_options options;
  syz_grid grid;
  syz_nodes *nodes;
  syz_model *student, *teacher;
  syz_shardset *set;
  char folder[PATH_MAX - 64], shard[PATH_MAX];
  syz_objective objective;
  rehearsal r;
  syz_plan plan;
} pretrain;

static syz_dino_options published(const syz_bench *b, double drop_rate)
{
  return (syz_dino_options){.seed = b->options->seed,
                            .global_batch = b->batch * syz_comm_size(b->run->world),
                            .steps = 250000,
                            .crops = {.size = {144, 60},
                                      .count = {2, 8},
                                      .blur_first = 0,
                                      .blur_global = 0.9,
                                      .blur_local = 0.5,
                                      .noise_first = 0,
                                      .noise_global = 0.9,
                                      .noise_local = 0.5,
                                      .flips = true,
                                      .quarter_turns = true},
                            .mask_probability = 0.5,
                            .mask_ratio_min = 0.1,
                            .mask_ratio_max = 0.5,
                            .mask_aspect_min = 0.3,
                            .drop_rate = drop_rate,
                            .dino_weight = 1,
                            .ibot_weight = 1,
                            .koleo_weight = 0.1,
                            .centring = SYZ_CENTRE_MEAN,
                            .sinkhorn_iterations = 3,
                            .centre_momentum = 0.9,
                            .student_temperature = 0.1,
                            .teacher_temperature_start = 0.04,
                            .teacher_temperature = 0.07,
                            .teacher_warmup_steps = 37500,
                            .momentum = 0.992,
                            .momentum_end = 1,
                            .layer_decay = 0.9,
                            .patch_lr_factor = 0.2,
                            .loader_ahead = 2};
}

/* One shard of noise, as many objects as a global batch. Rank 0. */
static syz_status write_noise(pretrain *p)
{
  enum { PIXELS = SYZ_BANDS * SYZ_IMAGE_SIZE * SYZ_IMAGE_SIZE };
  syz_status st = SYZ_OK;
  syz_shard_writer *w = NULL;
  float *image = NULL;
  SYZ_ALLOC(image, "noise", PIXELS);
  SYZ_TRY(
      syz_shard_writer_create(p->shard, p->options.global_batch, 0, NULL, NULL, false, p->b->run->created_by, "", &w));
  for (int64_t i = 0; i < p->options.global_batch; i++) {
    const syz_random r = syz_random_make(p->b->options->seed, SYZ_RANDOM_BENCH, 11, (uint64_t)i);
    const syz_object object = {.object_id = 1 + i, .has_image = 1};
    syz_random_fill_normal(&r, image, PIXELS);
    for (int64_t k = 0; k < PIXELS; k++) image[k] = 0.02f + 0.02f * image[k];
    SYZ_TRY(syz_shard_writer_put(w, i, 1, &object, image, NULL, NULL, NULL, NULL));
  }
  SYZ_TRY(syz_shard_writer_publish(&w));
cleanup:
  syz_shard_writer_discard(&w);
  syz_free(&image);
  return st;
}

static syz_status make_models(pretrain *p)
{
  syz_status st = SYZ_OK;
  SYZ_TRY(syz_model_create_for(SYZ_PURPOSE_DINO, &p->config, p->b->compute, &p->student));
  SYZ_TRY(syz_model_create_for(SYZ_PURPOSE_DINO, &p->config, p->b->compute, &p->teacher));
cleanup:
  return st;
}

static void destroy(pretrain *p)
{
  if (p->objective.destroy) p->objective.destroy(p->objective.self);
  syz_model_destroy(&p->student);
  syz_model_destroy(&p->teacher);
  syz_shardset_close(&p->set);
  syz_nodes_destroy(&p->nodes);
  syz_grid_destroy(&p->grid);
  if (!p->shard[0] || syz_comm_rank(p->b->run->world) != 0) return;
  static const char *const left[] = {"metrics.jsonl", "validation.jsonl", "checkpoints", "noise.h5"};
  char path[PATH_MAX];
  for (size_t i = 0; i < sizeof left / sizeof *left; i++) {
    snprintf(path, sizeof path, "%s/%s", p->folder, left[i]);
    if (unlink(path) != 0) rmdir(path);
  }
  rmdir(p->folder);
}

static double planned_bytes(const pretrain *p)
{
  return (double)(syz_plan_rank_bytes(&p->plan) + syz_plan_shared_bytes(&p->plan));
}

/* Everything up to the steps. Collective; agreed. */
static syz_status prepare(pretrain *p)
{
  syz_status st = SYZ_OK;
  const syz_bench *b = p->b;
  syz_comm *world = b->run->world;
  const char *path = p->shard;
  SYZ_TRY(syz_dino_check(&p->options, &p->config));
  SYZ_TRY(syz_grid_create(world, SYZ_TOWERS_TOGETHER, 1, 1, &p->grid));
  SYZ_TRY(syz_nodes_create(p->grid.data, 0, &p->nodes));
  SYZ_TRY_ALL(world, make_models(p));
  SYZ_TRY(syz_model_share_weights(p->student, p->nodes));
  SYZ_TRY(syz_model_share_weights(p->teacher, p->nodes));
  syz_model_initialise(p->student, p->options.seed);
  syz_model_initialise(p->teacher, p->options.seed);
  SYZ_TRY_ALL(world, syz_dino_plan(&p->options, syz_comm_size(p->grid.data), p->student, &p->plan));
  syz_info("%-12s %-26s needs %.2f GiB per rank", "pretrain", "", planned_bytes(p) / 1073741824.0);
  SYZ_TRY_ALL(world, syz_comm_rank(world) == 0 ? syz_make_folder(p->folder) : SYZ_OK);
  SYZ_TRY_ALL(world, syz_comm_rank(world) == 0 ? write_noise(p) : SYZ_OK);
  SYZ_TRY(syz_shardset_open(world, 1, &path, SYZ_SPLIT_ALL, false, &p->set));
  SYZ_TRY(syz_dino_create(&p->options, &p->grid, b->compute, p->student, p->teacher, p->set, NULL, b->run->timing,
                          &p->objective));
cleanup:
  return st;
}

/* Seconds of each phase per step, as in the table at the end of a run, but for the measured steps alone. Collective. */
static void tell_phases(pretrain *p, double step_s, cJSON *row)
{
  syz_timing spent = p->r.after;
  for (int i = 0; i < p->r.before.n; i++) {
    spent.seconds[i] -= p->r.before.seconds[i];
    spent.count[i] -= p->r.before.count[i];
  }
  syz_timing_row rows[2 * SYZ_TIMING_PHASES];
  int n = 2 * SYZ_TIMING_PHASES;
  syz_timing_reduce(p->b->run->world, &spent, rows, &n);
  cJSON *phases = cJSON_AddObjectToObject(row, "seconds_a_step");
  for (int i = 0; i < n; i++) {
    if (rows[i].count <= 0 && !(rows[i].mean_s > 1e-6)) continue;
    syz_info("%-12s   %-24s %9.3f s per step %8.1f%%", "", rows[i].name, rows[i].mean_s / p->b->repeats,
             100 * rows[i].mean_s / p->b->repeats / step_s);
    cJSON_AddNumberToObject(phases, rows[i].name, rows[i].mean_s / p->b->repeats);
  }
}

static void tell(pretrain *p)
{
  syz_bench *b = p->b;
  syz_comm *c = b->run->world;
  char what[64];
  double t[SYZ_BENCH_REPEATS], best, median, mean = (p->r.start[b->repeats + 1] - p->r.start[1]) / b->repeats;
  for (int i = 0; i < b->repeats; i++) t[i] = p->r.start[i + 2] - p->r.start[i + 1];
  syz_allreduce_f64(c, t, (size_t)b->repeats, SYZ_MAX); /* ranks wait for each other: the same steps on all of them */
  syz_bench_best(t, b->repeats, &best, &median);
  const double flops = syz_work_useful(&p->plan.work);
  const double objects = (double)p->options.global_batch / syz_comm_size(c);
  const syz_bench_rate rate = syz_bench_over_ranks(c, objects * flops / best),
                       middle = syz_bench_over_ranks(c, objects * flops / median);
  const syz_bench_rate share = syz_bench_over_ranks(c, objects * flops / best / b->limit);
  double peak = (double)syz_memory_resident_peak();
  syz_allreduce_f64(c, &peak, 1, SYZ_MAX);
  snprintf(what, sizeof what, "step, drop %g", p->options.drop_rate);
  syz_info("%-12s %-26s %9.1f %9.1f %11.1f%%   %.3f s per image, planned %.2f GiB, peak %.2f GiB", "pretrain", what,
           rate.mean / 1e9, middle.mean / 1e9, 100 * share.mean, best / (double)p->options.global_batch,
           planned_bytes(p) / 1073741824.0, peak / 1073741824.0);
  cJSON *row = syz_comm_rank(c) == 0 ? syz_bench_add_row(b, "pretrain", what) : NULL;
  tell_phases(p, mean, row);
  cJSON_AddNumberToObject(row, "drop_rate", p->options.drop_rate);
  cJSON_AddNumberToObject(row, "global_batch", (double)p->options.global_batch);
  cJSON_AddNumberToObject(row, "gflops_per_rank", rate.mean / 1e9);
  cJSON_AddNumberToObject(row, "gflops_per_rank_median", middle.mean / 1e9);
  cJSON_AddNumberToObject(row, "fraction_of_limit", share.mean);
  cJSON_AddNumberToObject(row, "flops_per_object", flops);
  cJSON_AddNumberToObject(row, "s_per_object", best / (double)p->options.global_batch);
  cJSON_AddNumberToObject(row, "s_per_object_median", median / (double)p->options.global_batch);
  cJSON_AddNumberToObject(row, "planned_bytes", planned_bytes(p));
  cJSON_AddNumberToObject(row, "peak_bytes", peak);
  cJSON_AddItemToObject(row, "plan", row ? syz_plan_json(&p->plan, syz_comm_size(c)) : NULL);
}

static syz_status run(syz_bench *b, double drop_rate)
{
  syz_status st = SYZ_OK;
  pretrain p = {.b = b, .config = b->options->config, .options = published(b, drop_rate)};
  p.config.image.tokens = SYZ_TOKENS_DINOV2;
  snprintf(p.folder, sizeof p.folder, "%s/pretrain", b->run->folder);
  snprintf(p.shard, sizeof p.shard, "%s/noise.h5", p.folder);
  p.r.timing = b->run->timing;
  p.r.last = b->repeats + 1;
  SYZ_TRY(prepare(&p));
  const syz_train_config loop = {.steps = b->repeats + 2,
                                 .global_batch = p.options.global_batch,
                                 .lr = 1e-5,
                                 .lr_min = 1e-6,
                                 .beta1 = 0.9,
                                 .beta2 = 0.999,
                                 .eps = 1e-8,
                                 .weight_decay = 0.001,
                                 .weight_decay_end = 0.01,
                                 .clip_grad_norm = 3,
                                 .trains_backbones = true,
                                 .folder = p.folder,
                                 .created_by = b->run->created_by,
                                 .input_yaml = "",
                                 .at_step = rehearse,
                                 .watcher = &p.r};
  syz_bench_measure_limit(b);
  st = syz_train_run(&loop, &p.grid, p.student, b->compute, &p.objective, b->run->timing);
  if (st == SYZ_STOPPED && p.r.has_ended) st = SYZ_OK;
  if (st != SYZ_OK) goto cleanup;
  syz_bench_measure_limit(b);
  tell(&p);
cleanup:
  destroy(&p);
  return st;
}

syz_status syz_bench_pretrain(syz_bench *b)
{
  syz_status st = SYZ_OK;
  for (size_t i = 0; i < sizeof drop_rates / sizeof *drop_rates; i++) SYZ_TRY(run(b, drop_rates[i]));
cleanup:
  return st;
}
