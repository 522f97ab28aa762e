/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * DINOv2's objective from inside: a step allocates nothing, memory is what the plan says, the rates, decays, frozen
 * steps and clip groups of parameters are the published ones, the teacher's moving average is right to the last bit on
 * what is equal, and collapse is told once.
 */
#include "check.h"
#include "dino.h"
#include "fixture.h"
#include "scratch.h"
#include "syzygy/files.h"
#include "syzygy/objectives.h"

enum { STEPS = 5, BATCH = 5, DEPTH = 3 };

static syz_model_config config_of(bool separate)
{
  return (syz_model_config){
      .image = {.dim = 96,
                .depth = DEPTH,
                .heads = 3,
                .patch = 12,
                .size = 72,
                .tokens = SYZ_TOKENS_DINOV2,
                .layerscale = 0.1,
                .registers = separate ? 2 : 0},
      .spectrum = {.dim = 32, .depth = 1, .heads = 2, .section = 200, .overlap = 100, .max_tokens = 100},
      .embedding = {.dim = 32, .heads = 4, .dropout = 0.1},
      .dino = {.layers = 3, .hidden = 128, .bottleneck = 64, .prototypes = 6000, .has_ibot_head = separate}};
}

static syz_dino_options options_of(syz_centring centring)
{
  return (syz_dino_options){.seed = 3,
                            .global_batch = BATCH,
                            .steps = STEPS,
                            .shuffles = true,
                            .crops = {.size = {72, 36},
                                      .count = {2, 4},
                                      .blur_global = 0.9,
                                      .noise_global = 0.9,
                                      .flips = true,
                                      .quarter_turns = true},
                            .mask_probability = 0.5,
                            .mask_ratio_min = 0.1,
                            .mask_ratio_max = 0.5,
                            .mask_aspect_min = 0.3,
                            .drop_rate = 0.3,
                            .dino_weight = 1,
                            .ibot_weight = 1,
                            .koleo_weight = 0.1,
                            .centring = centring,
                            .sinkhorn_iterations = 3,
                            .centre_momentum = 0.9,
                            .student_temperature = 0.1,
                            .teacher_temperature_start = 0.04,
                            .teacher_temperature = 0.07,
                            .teacher_warmup_steps = 3,
                            .momentum = 0.9,
                            .momentum_end = 1,
                            .layer_decay = 0.8,
                            .patch_lr_factor = 0.2,
                            .freeze_last_layer_steps = 7,
                            .loader_ahead = 2};
}

/* At the beginning of each step. */
typedef struct watcher {
  int64_t allocations[STEPS];
  size_t live_bytes;
} watcher;

static syz_status count_allocations(void *context, int64_t step)
{
  watcher *w = context;
  w->allocations[step] = syz_memory_get().allocations;
  w->live_bytes = syz_memory_get().live_bytes;
  return SYZ_OK;
}

static void check_rules(const syz_objective *o, const syz_model *model, bool separate)
{
  int n = 0, seen = 0;
  const syz_parameter *table = syz_model_parameters(model, &n);
  static const struct {
    const char *name;
    int power; /* of the layer decay */
    double lr, decay;
    int64_t frozen;
    int group;
  } expected[] = {
      {"image_encoder.backbone.cls_token", DEPTH + 1, 1, 1, 0, 0},
      {"image_encoder.backbone.pos_embed", DEPTH + 1, 1, 1, 0, 0},
      {"image_encoder.backbone.mask_token", DEPTH + 1, 1, 1, 0, 0},
      {"image_encoder.backbone.register_tokens", DEPTH + 1, 1, 1, 0, 0},
      {"image_encoder.backbone.patch_embed.proj.weight", DEPTH + 1, 0.2, 1, 0, 0},
      {"image_encoder.backbone.patch_embed.proj.bias", DEPTH + 1, 0.2, 0, 0, 0},
      {"image_encoder.backbone.blocks.0.attn.qkv.weight", DEPTH, 1, 1, 0, 0},
      {"image_encoder.backbone.blocks.0.norm1.weight", DEPTH, 1, 0, 0, 0},
      {"image_encoder.backbone.blocks.2.ls2.gamma", DEPTH - 2, 1, 0, 0, 0},
      {"image_encoder.backbone.blocks.2.mlp.fc2.bias", DEPTH - 2, 1, 0, 0, 0},
      {"image_encoder.backbone.norm.weight", 0, 1, 0, 0, 0},
      {"dino_head.mlp.2.weight", 0, 1, 1, 0, 1},
      {"dino_head.mlp.4.bias", 0, 1, 0, 0, 1},
      {"dino_head.last_layer.weight_v", 0, 1, 1, 7, 1},
      {"ibot_head.last_layer.weight_v", 0, 1, 1, 7, 2},
      {"ibot_head.mlp.0.weight", 0, 1, 1, 0, 2},
  };
  for (int i = 0; i < n; i++)
    for (size_t k = 0; k < sizeof expected / sizeof *expected; k++) {
      if (strcmp(table[i].name, expected[k].name) != 0) continue;
      syz_rule rule = {.lr_factor = 1, .decay_factor = 1};
      o->rule(o->self, &table[i], &rule);
      CHECK_NEAR(rule.lr_factor, pow(0.8, expected[k].power) * expected[k].lr, 1e-12);
      CHECK_EQ(rule.decay_factor, expected[k].decay);
      CHECK_EQ(rule.frozen_steps, expected[k].frozen);
      CHECK_EQ(rule.clip_group, expected[k].group);
      seen++;
    }
  CHECK_EQ(seen, (int)(sizeof expected / sizeof *expected) - (separate ? 0 : 3));
  CHECK_EQ(o->n_clip_groups, separate ? 3 : 2);
}

/* micro_batch: objects of a pass, 0: all; leaves: for reproducible sums. */
static void steps(syz_comm *world, const syz_compute *compute, const char *folder, bool separate, syz_centring centring,
                  int64_t micro_batch, int64_t leaves)
{
  syz_grid grid;
  syz_model *student = NULL, *teacher = NULL;
  syz_shardset *set = NULL;
  syz_timing timing = {0};
  syz_nodes *nodes = NULL;
  syz_objective objective;
  watcher watch = {.live_bytes = 0};
  char path[600], run[600];
  const syz_model_config config = config_of(separate);
  syz_dino_options options = options_of(centring);
  options.micro_batch = micro_batch;
  options.leaves = leaves;
  if (leaves > 0) options.global_batch = 4 * leaves;
  snprintf(path, sizeof path, "%s/shards", folder);
  snprintf(run, sizeof run, "%s/run-%d-%d", folder, separate, (int)(micro_batch + 10 * leaves));
  if (syz_comm_rank(world) == 0) CHECK_OK(syz_make_folder(run));
  syz_barrier(world);
  const char *paths[1] = {path};
  CHECK_OK(syz_shardset_open(world, 1, paths, SYZ_SPLIT_ALL, false, &set));
  CHECK_OK(syz_grid_create(world, SYZ_TOWERS_TOGETHER, 1, 1, &grid));
  const size_t before = syz_memory_get().live_bytes;
  CHECK_OK(syz_model_create_for(SYZ_PURPOSE_DINO, &config, compute, &student));
  CHECK_OK(syz_model_create_for(SYZ_PURPOSE_DINO, &config, compute, &teacher));
  CHECK_OK(syz_nodes_create(grid.data, 0, &nodes));
  CHECK_OK(syz_model_share_weights(student, nodes));
  CHECK_OK(syz_model_share_weights(teacher, nodes));
  syz_model_initialise(student, 3);
  syz_model_initialise(teacher, 3);
  const syz_train_config loop = {.steps = STEPS,
                                 .global_batch = options.global_batch,
                                 .leaves = leaves,
                                 .lr = 1e-3,
                                 .lr_min = 1e-5,
                                 .beta1 = 0.9,
                                 .beta2 = 0.999,
                                 .eps = 1e-8,
                                 .weight_decay = 0.05,
                                 .weight_decay_end = 0.1,
                                 .clip_grad_norm = 3,
                                 .trains_backbones = true,
                                 .folder = run,
                                 .created_by = "test",
                                 .input_yaml = "test: true\n",
                                 .verify_every = 2,
                                 .verify_jump = 6,
                                 .at_step = count_allocations,
                                 .watcher = &watch};
  CHECK_OK(syz_dino_create(&options, &grid, compute, student, teacher, set, NULL, &timing, &objective));
  check_rules(&objective, student, separate);
  CHECK_OK(syz_train_run(&loop, &grid, student, compute, &objective, &timing));
  CHECK(watch.allocations[STEPS - 1] > 0);
  CHECK_EQ(watch.allocations[STEPS - 1] - watch.allocations[1], 0);
  /* All that was allocated, against the plan without MPI's memory and the process itself. */
  syz_plan plan;
  const int ranks = syz_comm_size(world);
  CHECK_OK(syz_dino_plan(&options, ranks, student, &plan));
  double planned = 0;
  /* What the ranks of a node share is in nobody's books, and gradients lie there too. */
  for (int i = 0; i < plan.n; i++) {
    const bool is_shared = ranks > 1 && (plan.item[i].is_of_node || strcmp(plan.item[i].name, "gradients") == 0);
    if (!is_shared && strcmp(plan.item[i].name, "program and libraries") != 0) planned += (double)plan.item[i].bytes;
  }
  const double used = (double)watch.live_bytes - (double)before;
  if (syz_comm_rank(world) == 0) printf("planned %.2f MiB, allocated %.2f MiB\n", planned / 1048576, used / 1048576);
  if (syz_comm_rank(world) == 0) CHECK_NEAR(planned, used, 0.1 * used);
  objective.destroy(objective.self);
  syz_model_destroy(&student);
  syz_model_destroy(&teacher);
  syz_nodes_destroy(&nodes);
  syz_shardset_close(&set);
  syz_grid_destroy(&grid);
}

/* What is equal stays equal; what is not moves by its share, and to the student itself at momentum 0. */
static void following(void)
{
  enum { N = 1000 };
  float student[N], teacher[N], start[N];
  for (int i = 0; i < N; i++) {
    student[i] = (float)sin(i * 0.7);
    start[i] = teacher[i] = i % 10 ? (float)cos(i * 0.3) : student[i];
  }
  dino_follow(teacher, student, 0.992, N, 1);
  for (int i = 0; i < N; i++) {
    if (i % 10 == 0) CHECK_EQ(teacher[i], student[i]);
    CHECK_NEAR(teacher[i], 0.992 * (double)start[i] + 0.008 * (double)student[i], 1e-7);
  }
  dino_follow(teacher, student, 1, N, 1);
  CHECK_NEAR(teacher[1], 0.992 * (double)start[1] + 0.008 * (double)student[1], 1e-7);
  dino_follow(teacher, student, 0, N, 1);
  for (int i = 0; i < N; i++) CHECK_NEAR(teacher[i], student[i], 1e-7);
}

static void watching(void)
{
  const syz_dino_options options = {.steps = 10000};
  dino_watch w = {0};
  const double alive[SYZ_TERMS_MAX] = {[TERM_SPREAD] = 0.5, [TERM_MEAN_ENTROPY] = 8, [TERM_ENTROPY] = 2};
  double flat[SYZ_TERMS_MAX], single[SYZ_TERMS_MAX], uniform[SYZ_TERMS_MAX];
  memcpy(flat, alive, sizeof flat);
  memcpy(single, alive, sizeof flat);
  memcpy(uniform, alive, sizeof flat);
  flat[TERM_SPREAD] = 0.005;
  single[TERM_MEAN_ENTROPY] = 0.01;
  uniform[TERM_ENTROPY] = log(6000.0);
  dino_watch_step(&w, &options, 6000, 0, flat); /* a net at its initial weights */
  CHECK(!w.is_flat);
  dino_watch_step(&w, &options, 6000, 1000, flat); /* still so after a tenth of the run */
  CHECK(w.is_flat);
  w = (dino_watch){0};
  dino_watch_step(&w, &options, 6000, 1, alive);
  CHECK(!w.is_flat && !w.is_single && !w.is_uniform);
  dino_watch_step(&w, &options, 6000, 2, flat);
  CHECK(w.is_flat && !w.is_single && !w.is_uniform);
  dino_watch_step(&w, &options, 6000, 3, single);
  CHECK(!w.is_flat && w.is_single && !w.is_uniform);
  dino_watch_step(&w, &options, 6000, 4, uniform);
  CHECK(!w.is_flat && !w.is_single && w.is_uniform);
  dino_watch_step(&w, &options, 6000, 5, alive);
  CHECK(!w.is_uniform);
}

static double useful(const syz_model_config *config, const syz_compute *compute, double drop_rate)
{
  syz_model *student = NULL;
  syz_plan plan = {.n = 0};
  syz_dino_options options = options_of(SYZ_CENTRE_MEAN);
  options.drop_rate = drop_rate;
  CHECK_OK(syz_model_create_for(SYZ_PURPOSE_DINO, config, compute, &student));
  CHECK_OK(syz_dino_plan(&options, 1, student, &plan));
  syz_model_destroy(&student);
  return syz_work_useful(&plan.work);
}

/* Operations: what stochastic depth drops is its share of the student's blocks, forward and backward; patches are
 * embedded all the same. */
static void operations(const syz_compute *compute)
{
  const syz_model_config config = config_of(false);
  const syz_operations global = syz_crops_operations(&config, 72), local = syz_crops_operations(&config, 36);
  const double blocks = 2 * (global.products + global.attention) + 4 * (local.products + local.attention);
  CHECK_NEAR(useful(&config, compute, 0) - useful(&config, compute, 0.5), 0.5 * 3 * blocks, 1);
}

int main(int argc, char **argv)
{
  syz_comm *world = NULL;
  syz_compute *compute = NULL;
  char folder[SCRATCH];
  if (syz_comm_start(&argc, &argv, &world) != SYZ_OK) return 1;
  CHECK_OK(syz_compute_create(SYZ_F32, SYZ_ENGINE_AUTO, 1, &compute));
  scratch_make(world, folder);
  if (syz_comm_rank(world) == 0) {
    char path[600];
    snprintf(path, sizeof path, "%s/shards", folder);
    CHECK_OK(syz_make_folder(path));
    CHECK_OK(syz_fixture_shards(path, 5, 20, 10));
  }
  following();
  watching();
  operations(compute);
  steps(world, compute, folder, true, SYZ_CENTRE_MEAN, 0, 0);
  steps(world, compute, folder, false, SYZ_CENTRE_SINKHORN, 0, 0);
  steps(world, compute, folder, true, SYZ_CENTRE_SINKHORN, 2, 0);
  if (syz_comm_size(world) == 1) steps(world, compute, folder, false, SYZ_CENTRE_MEAN, 3, 4);
  scratch_remove(world, folder);
  syz_compute_destroy(&compute);
  int64_t failed = CHECK_RESULT();
  syz_allreduce_i64(world, &failed, 1, SYZ_MAX);
  syz_comm_finish(&world);
  CHECK_EQ(syz_memory_get().live_blocks, 0);
  return failed || check_failures;
}
