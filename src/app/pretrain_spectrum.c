/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * `pretrain-spectrum`: the spectrum tower alone, by masked modelling. The backbone starts from the seed or from a model
 * file. It also writes reconstruction.h5: held-out spectra and the network's reconstruction of their hidden runs.
 */
#include <string.h>

#include "training.h"
#include "syzygy/objectives.h"

#define SPECTRUM SYZ_USED_BY(pretrain_spectrum)

const syz_key syz_pretrain_spectrum_keys[] = {
    {"masked.runs", SYZ_KEY_INT, "6", "", 1, 4000, NULL, SPECTRUM,
     "Number of runs of hidden tokens: one in each of this many equal parts of the spectrum."},
    {"masked.run_tokens", SYZ_KEY_INT, "50", "tokens", 1, 8000, NULL, SPECTRUM,
     "Tokens per run; each run begins at a random place in its part."},
    {"masked.ivar_weighted", SYZ_KEY_BOOL, "false", "", 0, 0, NULL, SPECTRUM,
     "Weight squared errors by inverse variance, relative to its mean over the spectrum's good pixels; false, as "
     "published: equal weights."},
    {"masked.bad_pixels", SYZ_KEY_CHOICE, "used", "", 0, 0, "used|hidden", SPECTRUM,
     "Pixels with inverse variance 0: used like any other (used, as published), or neither an input nor in the loss "
     "(hidden)."},
    {NULL, SYZ_KEY_INT, "", "", 0, 0, NULL, 0, NULL}};

/* src/model/README.md "Masked modelling" */
static const syz_preset presets[] = {
    {"train.steps", "500000"},         {"train.global_batch", "64"},   {"train.lr", "1.0e-5"},
    {"train.lr_min", "1.0e-7"},        {"train.warmup_steps", "2000"}, {"train.weight_decay", "0.1"},
    {"train.weight_decay_end", "0.1"}, {"train.beta2", "0.95"},        {NULL, NULL}};

static const syz_remembered own_facts[] = {
    {"masked.runs", SYZ_KEY_INT, true},
    {"masked.run_tokens", SYZ_KEY_INT, true},
    {"masked.ivar_weighted", SYZ_KEY_BOOL, true},
    {"masked.bad_pixels", SYZ_KEY_TEXT, true},
};

/* The state of the method is its options. */
static syz_status read_options(syz_training *t)
{
  const syz_input *in = t->in;
  syz_masked_options *o = t->own;
  *o = (syz_masked_options){
      .seed = (uint64_t)syz_input_int(in, "seed"),
      .global_batch = syz_input_int(in, "train.global_batch"),
      .micro_batch = syz_input_int(in, "train.micro_batch"),
      .leaves = syz_training_leaves(in),
      .shuffles = syz_input_bool(in, "data.shuffle"),
      .runs = syz_input_int(in, "masked.runs"),
      .run_tokens = syz_input_int(in, "masked.run_tokens"),
      .weighs_ivar = syz_input_bool(in, "masked.ivar_weighted"),
      .hides_bad = strcmp(syz_input_text(in, "masked.bad_pixels"), "hidden") == 0,
      .validate_objects = syz_input_int(in, "train.validate_objects"),
      .loader_ahead = (int)syz_input_int(in, "train.read_ahead"),
      .folder = syz_input_text(in, "output.dir"),
      .created_by = syz_app_created_by(),
  };
  return SYZ_OK;
}

static syz_status take_config(syz_training *t)
{
  syz_status st = SYZ_OK;
  syz_comm *world = t->app->world;
  const char *file = syz_input_text(t->in, "model.file");
  if (*file) {
    syz_model_config config;
    syz_model_parts parts;
    SYZ_TRY(syz_model_file_parts(world, file, &config, &parts));
    SYZ_REQUIRE(parts.has[SYZ_PART_SPECTRUM_BACKBONE], SYZ_ERR_DATA, "%s: has no spectrum tower", file);
    SYZ_TRY_ALL(world, syz_training_take_config(t, file, &config, "model.spectrum."));
  }
cleanup:
  return st;
}

static syz_status check(const syz_training *t) { return syz_masked_check(t->own, &t->config); }

static syz_status make_model(syz_training *t)
{
  syz_status st = SYZ_OK;
  syz_comm *world = t->app->world;
  const char *file = syz_input_text(t->in, "model.file");
  SYZ_TRY_ALL(world, syz_model_create_for(SYZ_PURPOSE_MASKED, &t->config, t->compute, &t->model));
  syz_model_recompute(t->model, syz_input_int(t->in, "train.recompute"));
  SYZ_TRY(syz_training_share_blocks(t, t->model));
  SYZ_TRY(syz_training_share_weights(t, t->model));
  syz_training_initialise(t, t->model, *file);
  if (*file) {
    SYZ_TRY(syz_model_file_read(world, file, t->model, false));
    syz_info("the spectrum tower begins from %s", file);
  }
cleanup:
  return st;
}

static void remember(syz_training *t)
{
  syz_training_remember(t, own_facts, (int)(sizeof own_facts / sizeof *own_facts));
}

static syz_status plan(void *training, int64_t global_batch, int ranks, syz_plan *out)
{
  const syz_training *t = training;
  syz_masked_options options = *(const syz_masked_options *)t->own;
  options.global_batch = global_batch;
  return syz_masked_plan(&options, ranks, t->model, out);
}

static syz_status create(syz_training *t, syz_objective *out)
{
  syz_masked_options *o = t->own;
  o->input_yaml = syz_app_input_yaml(t->app); /* only after all defaults are filled in */
  return syz_masked_train_create(o, &t->grid, t->compute, t->model, t->train, t->test, NULL, &t->app->timing, out);
}

const syz_training_method syz_pretrain_spectrum_method = {
    .presets = presets,
    .skips = SYZ_BAD_SPECTRA_SKIPPED,
    .lr_divisor = 100, /* src/model/README.md "Masked modelling" */
    .decay_is_constant = true,
    .state_bytes = sizeof(syz_masked_options),
    .read = read_options,
    .take_config = take_config,
    .check = check,
    .make_model = make_model,
    .remember = remember,
    .plan = plan,
    .create = create,
};
