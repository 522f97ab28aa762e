/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Gradient sums beside the backward pass, the optimiser's shares, and the objective's step: sums are right when ranks finish parts of the
 * block at different times or have no objects at all, all messages of a backward pass are under way before its end, shared AdamW gives the
 * weights of an undivided one bit for bit, and a training step allocates nothing.
 */
#include <stdlib.h>

#include "check.h"
#include "fixture.h"
#include "gradients.h"
#include "optimiser.h"
#include "scratch.h"

static const syz_model_config small = {
    .image = {.dim = 32, .depth = 2, .heads = 2, .patch = 24, .size = 144, .tokens = SYZ_TOKENS_PATCHES, .layerscale = 0.1},
    .spectrum = {.dim = 32, .depth = 2, .heads = 2, .section = 200, .overlap = 100, .max_tokens = 100},
    .embedding = {.dim = 32, .heads = 4, .dropout = 0.1}};

/* What rank `rank` adds to element i. */
static float gift(int rank, int64_t i) { return (float)((i % 97) - 48) * 0.25f + (float)rank; }

static bool is_trained(const syz_parameter *p, bool backbones) { return p->is_used && (!part_is_backbone(p->part) || backbones); }

static void sums(syz_comm *world, const syz_compute *compute, syz_towers towers, bool backbones)
{
  syz_grid grid;
  syz_model *model = NULL;
  parts p;
  syz_gradients *g = NULL;
  int n = 0, begun, all;
  CHECK_OK(syz_grid_create(world, towers, 3, 1, &grid));
  CHECK_OK(syz_model_create(&small, grid.has_image, grid.has_spectrum, compute, &model));
  CHECK_OK(parts_create(&grid, model, backbones, NULL, &p));
  CHECK_OK(gradients_create(&p, syz_model_size(model), 1000, &g));
  const syz_parameter *table = syz_model_parameters(model, &n);
  const int rank = syz_comm_rank(grid.data), size = syz_comm_size(grid.data);
  float *block = syz_gradients_block(g);
  for (int round = 0; round < 2; round++) {
    gradients_begin(g);
    /* From the end to the beginning, as a backward pass; the last rank is idle and tells nothing. */
    const bool is_idle = size > 1 && rank == size - 1;
    for (int i = n - 1; i >= 0 && !is_idle; i--) {
      if (is_trained(&table[i], backbones))
        for (int64_t k = 0; k < table[i].size; k++) block[table[i].offset + k] += gift(rank, table[i].offset + k);
      if (!round && rank == 0) syz_gradients_ready(g, 0, 0);
      syz_gradients_ready(g, table[i].offset, table[i].size);
    }
    gradients_finish(g);
    gradients_overlap(g, &begun, &all);
    CHECK(all > 4);
    /* The image tower is sent first although the spectrum tower came first here: it waits for its turn, and all are out at the end. */
    if (!is_idle) CHECK_EQ(begun, all);
    if (is_idle) CHECK_EQ(begun, 0);
    const int givers = size > 1 ? size - 1 : 1;
    int64_t wrong = 0;
    for (int i = 0; i < n; i++)
      for (int64_t k = 0; k < table[i].size; k++) {
        float sum = 0;
        for (int r = 0; r < givers; r++) sum += gift(r, table[i].offset + k);
        wrong += block[table[i].offset + k] != (is_trained(&table[i], backbones) ? sum : 0);
      }
    CHECK_EQ(wrong, 0);
  }

  /* Shared AdamW against one that has all moments. */
  const int64_t total = syz_model_size(model);
  float *w = syz_model_weights(model), *whole = calloc((size_t)total, sizeof *whole), *m = calloc((size_t)total, sizeof *m),
        *v = calloc((size_t)total, sizeof *v);
  syz_model_initialise(model, 3);
  memcpy(whole, w, (size_t)total * sizeof *w);
  const syz_adamw rule = {.lr = 1e-2, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.1};
  scalars none = {0};
  for (int64_t step = 1; step <= 3; step++) {
    double expected = 0;
    for (int i = 0; i < n; i++) {
      if (!is_trained(&table[i], backbones)) continue;
      for (int64_t k = 0; k < table[i].size; k++) {
        block[table[i].offset + k] = gift(0, table[i].offset + k + step);
        expected += (double)block[table[i].offset + k] * (double)block[table[i].offset + k];
      }
      syz_adamw_update(&rule, step, 0.5, whole + table[i].offset, m + table[i].offset, v + table[i].offset, block + table[i].offset, table[i].size,
                       1);
    }
    /* Every rank of a tower counts it once. */
    double share = expected / size;
    syz_allreduce_f64(world, &share, 1, SYZ_SUM);
    double group[SYZ_CLIP_GROUPS], poisoned[SYZ_CLIP_GROUPS];
    const double norm = optimiser_norm(&p, block, &none, 0, 1, group);
    CHECK_NEAR(norm, sqrt(share), 1e-9 * norm);
    CHECK_EQ(group[0], norm);
    CHECK(isnan(optimiser_norm(&p, block, &none, syz_comm_rank(world) == 0 ? NAN : 0, 1, poisoned)));
    optimiser_update(&p, &rule, step, (const double[SYZ_CLIP_GROUPS]){0.5}, w, block, &none, 1);
    CHECK_EQ(memcmp(w, whole, (size_t)total * sizeof *w), 0);
  }
  CHECK_NEAR(optimiser_clip(4, 1), 1 / (4 + 1e-6), 0);
  CHECK_EQ(optimiser_clip(0.5, 1), 1);
  CHECK_EQ(optimiser_clip(1e9, 0), 1);
  free(whole);
  free(m);
  free(v);
  gradients_destroy(&g);
  parts_destroy(&p);
  syz_model_destroy(&model);
  syz_grid_destroy(&grid);
}

/* Rules as pretraining has them: no decay on biases, slower blocks, a frozen query, heads clipped apart. */
static void uneven_rule(void *self, const syz_parameter *p, syz_rule *out)
{
  (void)self;
  const size_t n = strlen(p->name);
  if (n > 4 && strcmp(p->name + n - 4, "bias") == 0) out->decay_factor = 0;
  if (strstr(p->name, "blocks.0.")) out->lr_factor = 0.25;
  if (strstr(p->name, "query")) out->frozen_steps = 2;
  out->clip_group = part_is_backbone(p->part) ? 0 : 1;
}

/* Shared AdamW by rules against one that has all moments and goes parameter by parameter. */
static void rules(syz_comm *world, const syz_compute *compute)
{
  syz_grid grid;
  syz_model *model = NULL;
  parts p;
  int n = 0;
  const syz_objective objective = {.rule = uneven_rule, .n_clip_groups = 2};
  CHECK_OK(syz_grid_create(world, SYZ_TOWERS_TOGETHER, 1, 1, &grid));
  CHECK_OK(syz_model_create(&small, true, true, compute, &model));
  CHECK_OK(parts_create(&grid, model, true, &objective, &p));
  const syz_parameter *table = syz_model_parameters(model, &n);
  const int64_t total = syz_model_size(model);
  float *w = syz_model_weights(model), *whole = calloc((size_t)total, sizeof *whole), *m = calloc((size_t)total, sizeof *m),
        *v = calloc((size_t)total, sizeof *v), *block = calloc((size_t)total, sizeof *block), *start = calloc((size_t)total, sizeof *start);
  syz_model_initialise(model, 3);
  memcpy(whole, w, (size_t)total * sizeof *w);
  memcpy(start, w, (size_t)total * sizeof *w);
  const syz_adamw all = {.lr = 1e-2, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.1};
  scalars none = {0};
  for (int64_t step = 1; step <= 4; step++) {
    double expected[2] = {0, 0}, group[SYZ_CLIP_GROUPS], scale[SYZ_CLIP_GROUPS] = {0.5, 0.125, 1, 1};
    bool query_moved = false;
    for (int i = 0; i < n; i++) {
      if (!table[i].is_used) continue;
      syz_rule own = {.lr_factor = 1, .decay_factor = 1};
      uneven_rule(NULL, &table[i], &own);
      const int64_t at = table[i].offset;
      for (int64_t k = 0; k < table[i].size; k++) {
        block[at + k] = gift(0, at + k + step);
        expected[own.clip_group] += (double)block[at + k] * (double)block[at + k];
      }
      syz_adamw o = all;
      o.lr = step <= own.frozen_steps ? 0 : all.lr * own.lr_factor;
      o.weight_decay = all.weight_decay * own.decay_factor;
      syz_adamw_update(&o, step, scale[own.clip_group], whole + at, m + at, v + at, block + at, table[i].size, 1);
      if (strstr(table[i].name, "query")) query_moved = query_moved || memcmp(whole + at, start + at, (size_t)table[i].size * sizeof *w) != 0;
    }
    const double norm = optimiser_norm(&p, block, &none, 0, 1, group);
    CHECK_NEAR(group[0], sqrt(expected[0]), 1e-12 * norm);
    CHECK_NEAR(group[1], sqrt(expected[1]), 1e-12 * norm);
    CHECK_EQ(group[2], 0);
    CHECK_NEAR(norm, sqrt(expected[0] + expected[1]), 1e-12 * norm);
    optimiser_update(&p, &all, step, scale, w, block, &none, 1);
    CHECK_EQ(memcmp(w, whole, (size_t)total * sizeof *w), 0);
    CHECK_EQ(query_moved, step > 2);
  }
  free(whole);
  free(m);
  free(v);
  free(block);
  free(start);
  parts_destroy(&p);
  syz_model_destroy(&model);
  syz_grid_destroy(&grid);
}

/* Counts allocations at the beginning of each step. */
static syz_status count_allocations(void *watcher, int64_t step)
{
  ((int64_t *)watcher)[step] = syz_memory_get().allocations;
  return SYZ_OK;
}

static void steps(syz_comm *world, const syz_compute *compute, const char *folder, bool freezes, syz_cache_place cache, int64_t micro)
{
  enum { STEPS = 6, BATCH = 7 };
  syz_grid grid;
  syz_model *model = NULL;
  syz_shardset *set = NULL;
  syz_timing timing = {0};
  syz_objective objective;
  int64_t allocations[STEPS] = {0};
  char path[600], run[600], tokens[700];
  snprintf(path, sizeof path, "%s/shards", folder);
  snprintf(run, sizeof run, "%s/run-%d-%d-%d", folder, freezes, (int)cache, (int)micro);
  snprintf(tokens, sizeof tokens, "%s/cache", run);
  if (syz_comm_rank(world) == 0) CHECK_OK(syz_make_folder(run));
  syz_barrier(world);
  const char *paths[1] = {path};
  CHECK_OK(syz_shardset_open(world, 1, paths, SYZ_SPLIT_ALL, false, &set));
  CHECK_OK(syz_grid_create(world, SYZ_TOWERS_TOGETHER, 1, 1, &grid));
  CHECK_OK(syz_model_create(&small, true, true, compute, &model));
  syz_model_initialise(model, 3);
  const syz_align_config config = {.seed = 1,
                                   .global_batch = BATCH,
                                   .micro_batch = micro,
                                   .freezes_backbones = freezes,
                                   .shuffles = true,
                                   .learns_logit_scale = true,
                                   .logit_scale = 15.5,
                                   .cache = cache,
                                   .cache_folder = tokens,
                                   .loader_ahead = 2,
                                   .folder = run};
  const syz_train_config loop = {.steps = STEPS,
                                 .global_batch = BATCH,
                                 .lr = 1e-3,
                                 .lr_min = 1e-5,
                                 .beta1 = 0.9,
                                 .beta2 = 0.999,
                                 .eps = 1e-8,
                                 .weight_decay = 0.05,
                                 .weight_decay_end = 0.05,
                                 .clip_grad_norm = 1,
                                 .trains_backbones = !freezes,
                                 .folder = run,
                                 .created_by = "test",
                                 .input_yaml = "test: true\n",
                                 .at_step = count_allocations,
                                 .watcher = allocations};
  CHECK_OK(syz_align_create(&config, &grid, compute, model, set, NULL, &timing, &objective));
  CHECK_OK(syz_train_run(&loop, &grid, model, compute, &objective, &timing));
  CHECK(allocations[STEPS - 1] > 0);
  CHECK_EQ(allocations[STEPS - 1] - allocations[1], 0); /* four whole steps */
  objective.destroy(objective.self);
  syz_model_destroy(&model);
  syz_shardset_close(&set);
  syz_grid_destroy(&grid);
}

int main(int argc, char **argv)
{
  syz_comm *world = NULL;
  syz_compute *compute = NULL;
  char folder[SCRATCH];
  if (syz_comm_start(&argc, &argv, &world) != SYZ_OK) return 1;
  CHECK_OK(syz_compute_create(SYZ_F32, SYZ_ENGINE_AUTO, 1, &compute));
  for (int apart = 0; apart < (syz_comm_size(world) > 1 ? 2 : 1); apart++)
    for (int backbones = 0; backbones < 2; backbones++) sums(world, compute, apart ? SYZ_TOWERS_APART : SYZ_TOWERS_TOGETHER, backbones);
  rules(world, compute);
  scratch_make(world, folder);
  if (syz_comm_rank(world) == 0) {
    char path[600];
    snprintf(path, sizeof path, "%s/shards", folder);
    CHECK_OK(syz_make_folder(path));
    CHECK_OK(syz_fixture_shards(path, 5, 20, 10));
  }
  steps(world, compute, folder, false, SYZ_CACHE_NONE, 0);
  steps(world, compute, folder, false, SYZ_CACHE_NONE, 2);
  steps(world, compute, folder, true, SYZ_CACHE_DISK, 0);
  steps(world, compute, folder, true, SYZ_CACHE_MEMORY, 2);
  steps(world, compute, folder, true, SYZ_CACHE_NONE, 0);
  scratch_remove(world, folder);
  syz_compute_destroy(&compute);
  int64_t failed = CHECK_RESULT();
  syz_allreduce_i64(world, &failed, 1, SYZ_MAX);
  syz_comm_finish(&world);
  CHECK_EQ(syz_memory_get().live_blocks, 0);
  return failed || check_failures;
}
