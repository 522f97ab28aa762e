/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Gradient sums beside the backward pass, the optimiser's slices, and the objective's step: sums are those of float32
 * additions in the order that is promised, bit for bit, when ranks finish parts of the block at different times or have
 * no objects at all, in one level and two, with float32 and bfloat16 between nodes; buckets are summed while others are
 * still being computed; shared AdamW gives the weights of an undivided one bit for bit; the norm does not depend on the
 * number of ranks; moments come back from files' order; and a training step allocates nothing.
 */
#include <stdlib.h>

#include "check.h"
#include "fixture.h"
#include "gradients.h"
#include "optimiser.h"
#include "scratch.h"
#include "syzygy/files.h"
#include "syzygy/numbers.h"
#include "syzygy/objectives.h"

static const syz_model_config small = {
    .image =
        {.dim = 32, .depth = 2, .heads = 2, .patch = 24, .size = 144, .tokens = SYZ_TOKENS_PATCHES, .layerscale = 0.1},
    .spectrum = {.dim = 32, .depth = 2, .heads = 2, .section = 200, .overlap = 100, .max_tokens = 100},
    .embedding = {.dim = 32, .heads = 4, .dropout = 0.1}};

enum { BUCKET = 2 * PART_UNIT };

/* What rank `rank` adds to element i: sums of these round. */
static float gift(int rank, int64_t i) { return (float)((i * 7919 + rank * 104729) % 100003) * 1e-3f - 41.7f; }

/* Written out: what the program asks is tested here too. */
static bool is_trained(const syz_parameter *p, bool backbones)
{
  const bool is_backbone = p->part == SYZ_PART_IMAGE_BACKBONE || p->part == SYZ_PART_SPECTRUM_BACKBONE;
  return p->is_used && (backbones || !is_backbone);
}

/* A layout of the data axis: ranks a node (0: all, -1: weights not shared), and what travels between nodes. */
typedef struct layout {
  syz_towers towers;
  int ranks_per_node;
  syz_reduction reduction;
} layout;

typedef struct setting {
  syz_grid grid;
  syz_nodes *nodes;
  syz_model *model;
  parts parts;
  syz_gradients *gradients;
  const syz_parameter *table;
  int n;
} setting;

static void open_setting(syz_comm *world, const syz_compute *compute, const layout *l, bool backbones, setting *s)
{
  *s = (setting){.n = 0};
  CHECK_OK(syz_grid_create(world, l->towers, 3, 1, &s->grid));
  CHECK_OK(syz_model_create(&small, s->grid.has_image, s->grid.has_spectrum, compute, &s->model));
  if (l->ranks_per_node >= 0) {
    CHECK_OK(syz_nodes_create(s->grid.data, l->ranks_per_node, &s->nodes));
    CHECK_OK(syz_model_share_weights(s->model, s->nodes));
  }
  CHECK_OK(parts_create(&s->grid, s->model, backbones, NULL, BUCKET, &s->parts));
  CHECK_OK(gradients_create(&s->parts, syz_model_size(s->model), l->reduction, 1, &s->gradients));
  s->table = syz_model_parameters(s->model, &s->n);
}

static void close_setting(setting *s)
{
  gradients_destroy(&s->gradients);
  parts_destroy(&s->parts);
  syz_model_destroy(&s->model);
  syz_nodes_destroy(&s->nodes);
  syz_grid_destroy(&s->grid);
}

/* Sum of element i as rank `owner` must find it: within nodes in the order of ranks, then over nodes in their order;
 * foreign ones rounded. */
static float promised(const layout *l, int size, int givers, int owner, int64_t i)
{
  const int per_node = l->ranks_per_node > 0 ? l->ranks_per_node : l->ranks_per_node < 0 ? 1 : size;
  float total = 0;
  for (int first = 0; first < size; first += per_node) {
    float node = 0;
    for (int r = first; r < first + per_node && r < givers; r++) node += gift(r, i);
    if (l->reduction == SYZ_REDUCE_BF16 && owner / per_node != first / per_node)
      node = syz_bf16_to_f32(syz_bf16_from_f32(node));
    total += node;
  }
  return total;
}

/* Every trained part is divided among the ranks of its tower, each element once. */
static void check_slices(const setting *s)
{
  for (int i = 0; i < PARTS; i++) {
    int64_t owned = s->parts.part[i].own_count;
    syz_allreduce_i64(s->grid.data, &owned, 1, SYZ_SUM);
    CHECK_EQ(owned, s->parts.part[i].is_trained ? s->parts.part[i].count : 0);
  }
}

static bool is_own(const parts *p, int64_t i)
{
  for (int b = 0; b < p->n_buckets; b++)
    if (i >= p->bucket[b].own_first && i < p->bucket[b].own_first + p->bucket[b].own_count) return true;
  return false;
}

static void sums(syz_comm *world, const syz_compute *compute, const layout *l, bool backbones)
{
  setting s;
  int begun, summed, all;
  open_setting(world, compute, l, backbones, &s);
  check_slices(&s);
  const int rank = syz_comm_rank(s.grid.data), size = syz_comm_size(s.grid.data);
  float *block = syz_gradients_block(s.gradients);
  for (int round = 0; round < 3; round++) {
    /* From the end to the beginning, as a backward pass; in the first rounds the last rank is idle and tells nothing.
     */
    const bool is_idle = size > 1 && rank == size - 1 && round < 2;
    const int givers = size > 1 && round < 2 ? size - 1 : size;
    gradients_begin(s.gradients);
    for (int i = s.n - 1; i >= 0 && !is_idle; i--) {
      if (is_trained(&s.table[i], backbones))
        for (int64_t k = 0; k < s.table[i].size; k++) block[s.table[i].offset + k] += gift(rank, s.table[i].offset + k);
      if (!round && rank == 0) syz_gradients_ready(s.gradients, 0, 0);
      syz_gradients_ready(s.gradients, s.table[i].offset, s.table[i].size);
    }
    /* As later layers would: all buckets can be summed before the end of the backward pass. */
    const double start = syz_clock_s();
    for (summed = 0, all = 1; round == 2 && summed < all && syz_clock_s() - start < 20;
         gradients_overlap(s.gradients, &begun, &summed, &all))
      syz_gradients_ready(s.gradients, 0, 0);
    gradients_finish(s.gradients);
    gradients_overlap(s.gradients, &begun, &summed, &all);
    CHECK(all >= 2);
    /* The image tower is sent first although the spectrum tower came first here: it waits for its turn, and all are out
     * at the end. */
    CHECK_EQ(begun, is_idle ? 0 : all);
    if (round == 2) CHECK_EQ(summed, all);
    int64_t wrong = 0, owned = 0;
    for (int i = 0; i < s.n; i++)
      for (int64_t k = s.table[i].offset; k < s.table[i].offset + s.table[i].size; k++) {
        if (!is_own(&s.parts, k)) continue;
        const float expected = is_trained(&s.table[i], backbones) ? promised(l, size, givers, rank, k) : 0;
        wrong += memcmp(&block[k], &expected, sizeof expected) != 0;
        owned++;
      }
    CHECK_EQ(wrong, 0);
    syz_allreduce_i64(s.grid.data, &owned, 1, SYZ_SUM);
    CHECK(owned > 0);
  }

  /* Shared AdamW against one that has all moments. */
  const int64_t total = syz_model_size(s.model);
  float *w = syz_model_weights(s.model), *whole = calloc((size_t)total, sizeof *whole),
        *m = calloc((size_t)total, sizeof *m), *v = calloc((size_t)total, sizeof *v);
  syz_model_initialise(s.model, 3);
  memcpy(whole, w, (size_t)total * sizeof *w);
  syz_barrier(world);
  const syz_adamw rule = {.lr = 1e-2, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.1};
  scalars none = {0};
  for (int64_t step = 1; step <= 3; step++) {
    double expected = 0;
    for (int i = 0; i < s.n; i++) {
      if (!is_trained(&s.table[i], backbones)) continue;
      const int64_t at = s.table[i].offset;
      for (int64_t k = at; k < at + s.table[i].size; k++) {
        block[k] = gift(0, k + step);
        expected += (double)block[k] * (double)block[k];
      }
      syz_adamw_update(&rule, step, 0.5, whole + at, m + at, v + at, block + at, s.table[i].size, 1);
    }
    /* Every rank of a tower counts it once. */
    double share = expected / size;
    syz_allreduce_f64(world, &share, 1, SYZ_SUM);
    double group[SYZ_CLIP_GROUPS], poisoned[SYZ_CLIP_GROUPS];
    const double norm = optimiser_norm(&s.parts, block, &none, 0, 1, group);
    CHECK_NEAR(norm, sqrt(share), 1e-9 * norm);
    CHECK_EQ(group[0], norm);
    CHECK(isnan(optimiser_norm(&s.parts, block, &none, syz_comm_rank(world) == 0 ? NAN : 0, 1, poisoned)));
    optimiser_update(&s.parts, &rule, step, (const double[SYZ_CLIP_GROUPS]){0.5}, w, block, &none, 1);
    CHECK_EQ(memcmp(w, whole, (size_t)total * sizeof *w), 0);
    syz_barrier(world);
  }
  CHECK_NEAR(optimiser_clip(4, 1), 1 / (4 + 1e-6), 0);
  CHECK_EQ(optimiser_clip(0.5, 1), 1);
  CHECK_EQ(optimiser_clip(1e9, 0), 1);

  /* Moments in the order of files, which is that of the undivided ones, and back. */
  float *stage = calloc((size_t)total + 2 * PART_ROW, sizeof *stage), *share = calloc((size_t)total, sizeof *share),
        *back = calloc((size_t)total, sizeof *back);
  size_t *counts = calloc(2 * (size_t)size, sizeof *counts);
  for (int i = 0; i < PARTS; i++) {
    const part *q = &s.parts.part[i];
    if (!q->is_here || !q->is_trained) continue;
    parts_to_share(&s.parts, q, q->moment2, share, stage, counts);
    CHECK_EQ(memcmp(share, v + q->first + q->share_first, (size_t)q->share_count * sizeof *share), 0);
    parts_from_share(&s.parts, q, share, back, stage, counts);
    CHECK_EQ(memcmp(back, q->moment2, (size_t)q->own_count * sizeof *back), 0);
  }
  free(counts);
  free(stage);
  free(share);
  free(back);
  free(whole);
  free(m);
  free(v);
  close_setting(&s);
}

/* The same gradients have the same norm, bit for bit, on all ranks together and on one alone. */
static void norms(syz_comm *world, const syz_compute *compute)
{
  setting s, alone;
  syz_comm *self = NULL;
  CHECK_OK(syz_comm_split(world, syz_comm_rank(world), &self));
  for (int64_t scale = 1; scale < 4; scale++) {
    double group[SYZ_CLIP_GROUPS];
    scalars none = {0};
    open_setting(world, compute, &(layout){.towers = SYZ_TOWERS_TOGETHER}, true, &s);
    open_setting(self, compute, &(layout){.towers = SYZ_TOWERS_TOGETHER, .ranks_per_node = -1}, true, &alone);
    float *block = syz_gradients_block(s.gradients);
    for (int64_t i = 0; i < syz_model_size(s.model); i++) block[i] = gift(3, i * scale);
    const double together = optimiser_norm(&s.parts, block, &none, 0, 2, group);
    CHECK_EQ(together, optimiser_norm(&alone.parts, block, &none, 0, 1, group));
    close_setting(&alone);
    close_setting(&s);
  }
  syz_comm_destroy(&self);
}

/* Rules as pretraining has them: no decay on biases, slower blocks, a frozen query, heads clipped apart. */
static void uneven_rule(void *self, const syz_parameter *p, syz_rule *out)
{
  (void)self;
  const size_t n = strlen(p->name);
  if (n > 4 && strcmp(p->name + n - 4, "bias") == 0) out->decay_factor = 0;
  if (strstr(p->name, "blocks.0.")) out->lr_factor = 0.25;
  if (strstr(p->name, "query")) out->frozen_steps = 2;
  out->clip_group = syz_part_trains(p->part, false) ? 1 : 0;
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
  CHECK_OK(parts_create(&grid, model, true, &objective, BUCKET, &p));
  const syz_parameter *table = syz_model_parameters(model, &n);
  const int64_t total = syz_model_size(model);
  float *w = syz_model_weights(model), *whole = calloc((size_t)total, sizeof *whole),
        *m = calloc((size_t)total, sizeof *m), *v = calloc((size_t)total, sizeof *v),
        *block = calloc((size_t)total, sizeof *block), *start = calloc((size_t)total, sizeof *start);
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
      if (strstr(table[i].name, "query"))
        query_moved = query_moved || memcmp(whole + at, start + at, (size_t)table[i].size * sizeof *w) != 0;
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

static void steps(syz_comm *world, const syz_compute *compute, const char *folder, bool freezes, syz_cache_place cache,
                  int64_t micro)
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
                                 .verify_every = 2,
                                 .verify_jump = 6,
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
  const int size = syz_comm_size(world);
  for (int apart = 0; apart < (size > 1 ? 2 : 1); apart++)
    for (int per_node = -1; per_node < 4 && per_node < size; per_node++)
      for (int narrow = 0; narrow < 2; narrow++) {
        if (size > 4 && (per_node < 2 || narrow == (per_node == 3)))
          continue; /* 2 and float32, 3 and bfloat16: both uneven with towers apart */
        const layout l = {apart ? SYZ_TOWERS_APART : SYZ_TOWERS_TOGETHER, per_node,
                          narrow ? SYZ_REDUCE_BF16 : SYZ_REDUCE_F32};
        for (int backbones = size > 4; backbones < 2; backbones++) sums(world, compute, &l, backbones);
      }
  norms(world, compute);
  rules(world, compute);
  scratch_make(world, folder);
  if (syz_comm_rank(world) == 0) {
    char path[600];
    snprintf(path, sizeof path, "%s/shards", folder);
    CHECK_OK(syz_make_folder(path));
    CHECK_OK(syz_fixture_shards(path, 5, 20, 10));
  }
  steps(world, compute, folder, false, SYZ_CACHE_NONE, 0);
  if (size <= 4) steps(world, compute, folder, false, SYZ_CACHE_NONE, 2);
  steps(world, compute, folder, true, SYZ_CACHE_DISK, 0);
  if (size <= 4) steps(world, compute, folder, true, SYZ_CACHE_MEMORY, 2);
  if (size <= 4) steps(world, compute, folder, true, SYZ_CACHE_NONE, 0);
  scratch_remove(world, folder);
  syz_compute_destroy(&compute);
  int64_t failed = CHECK_RESULT();
  syz_allreduce_i64(world, &failed, 1, SYZ_MAX);
  syz_comm_finish(&world);
  CHECK_EQ(syz_memory_get().live_blocks, 0);
  return failed || check_failures;
}
