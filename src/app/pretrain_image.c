/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * `pretrain-image`: DINOv2 on the image tower. The initial weights of student and teacher come from the seed, from one
 * model file, or from one file each. The result, model.h5, is the teacher; the student is written beside it.
 */
#include <math.h>
#include <string.h>

#include "features_keys.h"
#include "training.h"

#define IMAGE SYZ_USED_BY(pretrain_image)

const syz_key syz_pretrain_image_keys[] = {
    {"model.teacher_file", SYZ_KEY_TEXT, "", "model file", 0, 0, NULL, IMAGE,
     "Model that the teacher starts from; empty: the same as the student."},
    {"augment.preset", SYZ_KEY_CHOICE, "published", "", 0, 0, "published|intended", IMAGE,
     "How often crops are blurred and given noise: as in the published code, which inverts its probabilities, or as "
     "its "
     "authors intended."},
    {"augment.blur_first", SYZ_KEY_REAL, "0", "", 0, 1, NULL, IMAGE,
     "Probability of blur for the first global crop; not given: 0 (published) or 1 (intended)."},
    {"augment.blur_global", SYZ_KEY_REAL, "0.9", "", 0, 1, NULL, IMAGE,
     "For the other global crops; not given: 0.9 (published) or 0.1 (intended)."},
    {"augment.blur_local", SYZ_KEY_REAL, "0.5", "", 0, 1, NULL, IMAGE, "For local crops."},
    {"augment.noise_first", SYZ_KEY_REAL, "0", "", 0, 1, NULL, IMAGE,
     "Probability of noise for the first global crop; not given: 0 (published) or 1 (intended)."},
    {"augment.noise_global", SYZ_KEY_REAL, "0.9", "", 0, 1, NULL, IMAGE,
     "For the other global crops; not given: 0.9 (published) or 0.1 (intended)."},
    {"augment.noise_local", SYZ_KEY_REAL, "0.5", "", 0, 1, NULL, IMAGE, "For local crops."},
    {"dino.global_size", SYZ_KEY_INT, "144", "pixel", 1, 152, NULL, IMAGE,
     "Side of a global crop, a multiple of model.image.patch."},
    {"dino.global_crops", SYZ_KEY_INT, "2", "", 1, SYZ_TARGETS_PER_ROW, NULL, IMAGE,
     "Global crops per object: seen by student and teacher."},
    {"dino.local_size", SYZ_KEY_INT, "60", "pixel", 1, 152, NULL, IMAGE,
     "Side of a local crop, a multiple of model.image.patch."},
    {"dino.local_crops", SYZ_KEY_INT, "8", "", 0, 64, NULL, IMAGE,
     "Local crops per object: seen by the student alone."},
    {"dino.dino_weight", SYZ_KEY_REAL, "1.0", "", 0, 1e6, NULL, IMAGE,
     "Weight of the loss terms of class tokens, dino_global and dino_local."},
    {"dino.ibot_weight", SYZ_KEY_REAL, "1.0", "", 0, 1e6, NULL, IMAGE,
     "Weight of the loss term of masked patches, ibot."},
    {"dino.koleo_weight", SYZ_KEY_REAL, "0.1", "", 0, 1e6, NULL, IMAGE,
     "Weight of KoLeo, which spreads the class tokens of the batch."},
    {"dino.mask_probability", SYZ_KEY_REAL, "0.5", "", 0, 1, NULL, IMAGE, "Share of the global crops that are masked."},
    {"dino.mask_ratio_min", SYZ_KEY_REAL, "0.1", "", 0, 1, NULL, IMAGE,
     "Smallest share of a masked crop's patches that is masked."},
    {"dino.mask_ratio_max", SYZ_KEY_REAL, "0.5", "", 0, 1, NULL, IMAGE,
     "Largest such share; shares are stratified over the masked crops of the global batch."},
    {"dino.mask_aspect_min", SYZ_KEY_REAL, "0.3", "", 1e-3, 1, NULL, IMAGE,
     "Least aspect ratio of a masked block; the largest is its inverse."},
    {"dino.drop_rate", SYZ_KEY_REAL, "0.3", "", 0, 0.95, NULL, IMAGE,
     "Stochastic depth: share of the crops that each branch of each block skips."},
    {"dino.centring", SYZ_KEY_CHOICE, "mean", "", 0, 0, "mean|sinkhorn", IMAGE,
     "How the teacher's logits become targets: by subtracting a moving mean, or by Sinkhorn-Knopp; both over the "
     "global "
     "batch."},
    {"dino.sinkhorn_iterations", SYZ_KEY_INT, "3", "", 1, 100, NULL, IMAGE, "Iterations of Sinkhorn-Knopp."},
    {"dino.centre_momentum", SYZ_KEY_REAL, "0.9", "", 0, 1, NULL, IMAGE, "Momentum of the moving mean."},
    {"dino.student_temperature", SYZ_KEY_REAL, "0.1", "", 1e-4, 100, NULL, IMAGE,
     "Temperature of the student's softmax."},
    {"dino.teacher_temperature_start", SYZ_KEY_REAL, "0.04", "", 1e-4, 100, NULL, IMAGE,
     "Temperature of the teacher's softmax at step 0."},
    {"dino.teacher_temperature", SYZ_KEY_REAL, "0.07", "", 1e-4, 100, NULL, IMAGE,
     "Temperature of the teacher's softmax after its warm-up."},
    {"dino.teacher_warmup_steps", SYZ_KEY_INT, "37500", "steps", 0, 4.0e9, NULL, IMAGE,
     "Steps of the linear change between the two; not given: 37500, or train.steps where that is less."},
    {"dino.momentum", SYZ_KEY_REAL, "0.992", "", 0, 1, NULL, IMAGE,
     "Momentum of the teacher's moving average at step 0."},
    {"dino.momentum_end", SYZ_KEY_REAL, "1.0", "", 0, 1, NULL, IMAGE,
     "Momentum at the end of train.steps; it follows half a cosine between the two."},
    {"dino.layer_decay", SYZ_KEY_REAL, "0.9", "", 1e-3, 1, NULL, IMAGE,
     "Each block's learning rate is this factor times that of the block after it."},
    {"dino.patch_lr_factor", SYZ_KEY_REAL, "0.2", "", 0, 10, NULL, IMAGE,
     "Further factor of the patch embedding's learning rate."},
    {"dino.freeze_last_layer_steps", SYZ_KEY_INT, "1250", "steps", 0, 4.0e9, NULL, IMAGE,
     "Prototypes are frozen for this many first steps; not given: 1250, or train.warmup_steps where that is less."},
    {NULL, SYZ_KEY_INT, "", "", 0, 0, NULL, 0, NULL}};

/* src/model/README.md "DINOv2 pretraining" */
static const syz_preset presets[] = {{"model.image.tokens", "dinov2"},
                                     {"train.steps", "250000"},
                                     {"train.global_batch", "1440"},
                                     {"train.lr", "2.0e-4"},
                                     {"train.lr_min", "1.0e-6"},
                                     {"train.warmup_steps", "12500"},
                                     {"train.weight_decay", "0.001"},
                                     {"train.weight_decay_end", "0.01"},
                                     {"train.clip_grad_norm", "3.0"},
                                     {"train.validate_interval", "1250"},
                                     {"augment.flips", "true"},
                                     {"augment.quarter_turns", "true"},
                                     {NULL, NULL}};

/* A checkpoint records every key of this command except those read elsewhere; the ones listed here must not change.
 */
static const char *const fixed_facts[] = {"dino.global_size", "dino.global_crops", "dino.local_size",
                                          "dino.local_crops", "dino.centring"};

typedef struct state {
  syz_model *teacher;
  syz_dino_options dino;
  syz_judge_options judged;
  syz_judge judge;
} state;

/* ------------------------------------------------------------------- input */

static syz_status settle_defaults(syz_input *in)
{
  syz_status st = SYZ_OK;
  const double intended[][2] = {{0, 1}, {0.9, 0.1}, {0.5, 0.5}};
  static const char *const often[][2] = {{"augment.blur_first", "augment.noise_first"},
                                         {"augment.blur_global", "augment.noise_global"},
                                         {"augment.blur_local", "augment.noise_local"}};
  const bool is_intended = strcmp(syz_input_text(in, "augment.preset"), "intended") == 0;
  for (int i = 0; i < 3; i++)
    for (int k = 0; k < 2; k++) SYZ_TRY(syz_training_settle_real(in, often[i][k], intended[i][is_intended]));
  /* src/model/README.md "DINOv2 pretraining" */
  SYZ_TRY(
      syz_training_settle_real(in, "train.lr", 2e-4 * sqrt((double)syz_input_int(in, "train.global_batch") / 1024)));
  SYZ_TRY(syz_training_settle_steps(in, "dino.teacher_warmup_steps", syz_input_int(in, "train.steps")));
  SYZ_TRY(syz_training_settle_steps(in, "dino.freeze_last_layer_steps", syz_input_int(in, "train.warmup_steps")));
  if (syz_input_real(in, "train.lr_min") > syz_input_real(in, "train.lr"))
    SYZ_TRY(syz_training_settle_real(in, "train.lr_min", syz_input_real(in, "train.lr")));
cleanup:
  return st;
}

static void read_dino(const syz_input *in, syz_dino_options *out)
{
  *out = (syz_dino_options){
      .seed = (uint64_t)syz_input_int(in, "seed"),
      .global_batch = syz_input_int(in, "train.global_batch"),
      .steps = syz_input_int(in, "train.steps"),
      .micro_batch = syz_input_int(in, "train.micro_batch"),
      .leaves = syz_training_leaves(in),
      .shuffles = syz_input_bool(in, "data.shuffle"),
      .crops = {.size = {syz_input_int(in, "dino.global_size"), syz_input_int(in, "dino.local_size")},
                .count = {syz_input_int(in, "dino.global_crops"), syz_input_int(in, "dino.local_crops")},
                .blur_first = syz_input_real(in, "augment.blur_first"),
                .blur_global = syz_input_real(in, "augment.blur_global"),
                .blur_local = syz_input_real(in, "augment.blur_local"),
                .noise_first = syz_input_real(in, "augment.noise_first"),
                .noise_global = syz_input_real(in, "augment.noise_global"),
                .noise_local = syz_input_real(in, "augment.noise_local"),
                .flips = syz_input_bool(in, "augment.flips"),
                .quarter_turns = syz_input_bool(in, "augment.quarter_turns")},
      .mask_probability = syz_input_real(in, "dino.mask_probability"),
      .mask_ratio_min = syz_input_real(in, "dino.mask_ratio_min"),
      .mask_ratio_max = syz_input_real(in, "dino.mask_ratio_max"),
      .mask_aspect_min = syz_input_real(in, "dino.mask_aspect_min"),
      .drop_rate = syz_input_real(in, "dino.drop_rate"),
      .dino_weight = syz_input_real(in, "dino.dino_weight"),
      .ibot_weight = syz_input_real(in, "dino.ibot_weight"),
      .koleo_weight = syz_input_real(in, "dino.koleo_weight"),
      .centring = strcmp(syz_input_text(in, "dino.centring"), "sinkhorn") == 0 ? SYZ_CENTRE_SINKHORN : SYZ_CENTRE_MEAN,
      .sinkhorn_iterations = (int)syz_input_int(in, "dino.sinkhorn_iterations"),
      .centre_momentum = syz_input_real(in, "dino.centre_momentum"),
      .student_temperature = syz_input_real(in, "dino.student_temperature"),
      .teacher_temperature_start = syz_input_real(in, "dino.teacher_temperature_start"),
      .teacher_temperature = syz_input_real(in, "dino.teacher_temperature"),
      .teacher_warmup_steps = syz_input_int(in, "dino.teacher_warmup_steps"),
      .momentum = syz_input_real(in, "dino.momentum"),
      .momentum_end = syz_input_real(in, "dino.momentum_end"),
      .layer_decay = syz_input_real(in, "dino.layer_decay"),
      .patch_lr_factor = syz_input_real(in, "dino.patch_lr_factor"),
      .freeze_last_layer_steps = syz_input_int(in, "dino.freeze_last_layer_steps"),
      .loader_ahead = (int)syz_input_int(in, "train.read_ahead"),
  };
}

static syz_status read_options(syz_training *t)
{
  syz_status st = SYZ_OK;
  state *s = t->own;
  SYZ_TRY(settle_defaults(t->app->input));
  read_dino(t->in, &s->dino);
  s->judged = syz_app_judge_options(t->in);
cleanup:
  return st;
}

static void remember(syz_training *t)
{
  syz_remembered own[sizeof syz_pretrain_image_keys / sizeof *syz_pretrain_image_keys + 2];
  int n = 0;
  for (const syz_key *k = syz_pretrain_image_keys; k->path; k++) {
    if (strcmp(k->path, "model.teacher_file") == 0 || strcmp(k->path, "augment.preset") == 0)
      continue; /* the recorded probabilities already say it */
    bool is_fixed = false;
    for (size_t i = 0; i < sizeof fixed_facts / sizeof *fixed_facts; i++)
      is_fixed = is_fixed || strcmp(k->path, fixed_facts[i]) == 0;
    own[n++] = (syz_remembered){k->path, k->type, is_fixed};
  }
  own[n++] = (syz_remembered){"augment.flips", SYZ_KEY_BOOL, false};
  own[n++] = (syz_remembered){"augment.quarter_turns", SYZ_KEY_BOOL, false};
  syz_training_remember(t, own, n);
}

/* ------------------------------------------------------------------- model */

/* The configuration in the file that the student starts from. */
static syz_status take_config(syz_training *t)
{
  syz_status st = SYZ_OK;
  syz_comm *world = t->app->world;
  const char *path = syz_input_text(t->in, "model.file");
  if (*path) {
    syz_model_config config;
    syz_model_parts parts;
    SYZ_TRY(syz_model_file_parts(world, path, &config, &parts));
    SYZ_REQUIRE(parts.has[SYZ_PART_IMAGE_BACKBONE], SYZ_ERR_DATA, "%s: has no image tower", path);
    if (!syz_input_is_given(t->in, "model.image.tokens"))
      config.image.tokens = SYZ_TOKENS_DINOV2; /* depends on the use of a tower, not on its weights */
    SYZ_TRY_ALL(world, syz_training_take_config(t, path, &config, "model.image."));
    if (parts.has[SYZ_PART_DINO_HEAD]) SYZ_TRY_ALL(world, syz_training_take_config(t, path, &config, "model.dino."));
  }
cleanup:
  return st;
}

static syz_status check(const syz_training *t)
{
  const state *s = t->own;
  return syz_dino_check(&s->dino, &t->config);
}

/* Student and teacher; the teacher starts as a copy of the student unless it has its own file. */
static syz_status make_models(syz_training *t)
{
  syz_status st = SYZ_OK;
  state *s = t->own;
  syz_comm *world = t->app->world;
  const char *path = syz_input_text(t->in, "model.file"), *taught = syz_input_text(t->in, "model.teacher_file");
  syz_model_config config;
  syz_model_parts parts;
  SYZ_TRY_ALL(world, syz_model_create_for(SYZ_PURPOSE_DINO, &t->config, t->compute, &t->model));
  syz_model_recompute(t->model, syz_input_int(t->in, "train.recompute"));
  SYZ_TRY_ALL(world, syz_model_create_for(SYZ_PURPOSE_DINO, &t->config, t->compute, &s->teacher));
  SYZ_TRY(syz_training_share_blocks(t, t->model));
  SYZ_TRY(syz_training_share_blocks(t, s->teacher));
  SYZ_TRY(syz_training_share_weights(t, t->model));
  SYZ_TRY(syz_training_share_weights(t, s->teacher));
  syz_training_initialise(t, t->model, *path);
  if (*path) {
    SYZ_TRY(syz_model_file_parts(world, path, &config, &parts));
    SYZ_TRY(syz_model_file_read(world, path, t->model, true));
    syz_info("the student starts from %s%s", path,
             parts.has[SYZ_PART_DINO_HEAD] ? ""
                                           : ", which has no projection head: the head starts with random weights");
  }
  if (t->app->is_dry_run)
    syz_training_initialise(t, s->teacher, *taught);
  else
    syz_model_set_weights(s->teacher, 0, syz_model_weights(t->model), syz_model_size(s->teacher));
  if (*taught) {
    SYZ_TRY(syz_model_file_read(world, taught, s->teacher, true));
    syz_info("the teacher starts from %s", taught);
  }
cleanup:
  return st;
}

/* ---------------------------------------------------------------- plan, run */

static syz_status plan(void *training, int64_t global_batch, int ranks, syz_plan *out)
{
  const syz_training *t = training;
  const state *s = t->own;
  syz_dino_options options = s->dino;
  options.global_batch = global_batch;
  const syz_status st = syz_dino_plan(&options, ranks, t->model, out);
  if (st == SYZ_OK && t->test) syz_plan_add(out, "validation", syz_judge_bytes(&s->judged, s->teacher));
  return st;
}

static syz_status check_run(const syz_training *t)
{
  const state *s = t->own;
  return syz_judge_check(&s->judged, t->train, t->test);
}

static syz_status create(syz_training *t, syz_objective *out)
{
  syz_status st = SYZ_OK;
  state *s = t->own;
  SYZ_TRY(syz_judge_create(&t->app->run, &s->judged, t->compute, s->teacher, t->train, t->test, &s->judge));
  SYZ_TRY(
      syz_dino_create(&s->dino, &t->grid, t->compute, t->model, s->teacher, t->train, &s->judge, &t->app->timing, out));
cleanup:
  return st;
}

static void destroy(syz_training *t)
{
  state *s = t->own;
  syz_judge_destroy(&s->judge);
  syz_model_destroy(&s->teacher);
}

const syz_training_method syz_pretrain_image_method = {
    .presets = presets,
    .skips = SYZ_BAD_IMAGES_SKIPPED,
    .state_bytes = sizeof(state),
    .read = read_options,
    .take_config = take_config,
    .check = check,
    .make_model = make_models,
    .remember = remember,
    .plan = plan,
    .check_run = check_run,
    .create = create,
    .destroy = destroy,
};
