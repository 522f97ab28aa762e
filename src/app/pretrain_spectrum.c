/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * `pretrain-spectrum`: the spectrum tower alone, by masked modelling. Reads the input, opens the data, makes the
 * backbone (from the seed or from a model file) and hands over to the loop of room train. The run folder also gets
 * reconstruction.h5: held-out spectra and what the network makes of their hidden runs.
 */
#include <string.h>

#include "compute.h"
#include "training.h"

#define SPECTRUM SYZ_USED_BY(pretrain_spectrum)

const syz_key syz_pretrain_spectrum_keys[] = {
    {"masked.runs", SYZ_KEY_INT, "6", "", 1, 4000, NULL, SPECTRUM,
     "Runs of hidden tokens, one in each of so many equal stretches of the spectrum."},
    {"masked.run_tokens", SYZ_KEY_INT, "50", "tokens", 1, 8000, NULL, SPECTRUM,
     "Tokens of a run; it begins at a random place of its stretch."},
    {"masked.ivar_weighted", SYZ_KEY_BOOL, "false", "", 0, 0, NULL, SPECTRUM,
     "Weigh squared errors by inverse variance, relative to its mean over the spectrum's good pixels; false, as "
     "published: all the same."},
    {"masked.bad_pixels", SYZ_KEY_CHOICE, "used", "", 0, 0, "used|hidden", SPECTRUM,
     "Pixels with inverse variance 0: taken as they are (used, as published), or neither seen nor scored (hidden)."},
    {NULL, SYZ_KEY_INT, "", "", 0, 0, NULL, 0, NULL}};

static const syz_remembered own_facts[] = {
    {"masked.runs", SYZ_KEY_INT, true},
    {"masked.run_tokens", SYZ_KEY_INT, true},
    {"masked.ivar_weighted", SYZ_KEY_BOOL, true},
    {"masked.bad_pixels", SYZ_KEY_TEXT, true},
};

typedef struct job {
  syz_training t;
  syz_masked_options masked;
} job;

static void read_masked(job *j)
{
  const syz_input *in = j->t.in;
  j->masked = (syz_masked_options){
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
      .input_yaml = syz_app_input_yaml(j->t.app),
  };
}

/* The configuration: of the input, overruled by the file that the backbone starts from. Collective; agreed. */
static syz_status read_config(job *j)
{
  syz_status st = SYZ_OK;
  syz_comm *world = j->t.app->world;
  const char *file = syz_input_text(j->t.in, "model.file");
  if (*file) {
    syz_model_config config;
    syz_model_parts parts;
    SYZ_TRY(syz_model_file_parts(world, file, &config, &parts));
    SYZ_REQUIRE(parts.has[SYZ_PART_SPECTRUM_BACKBONE], SYZ_ERR_DATA, "%s: has no spectrum tower", file);
    SYZ_TRY_ALL(world, syz_training_take_config(&j->t, file, &config, "model.spectrum."));
  }
  SYZ_TRY_ALL(world, syz_model_config_read(j->t.in, &j->t.config));
cleanup:
  return st;
}

static syz_status make_model(job *j)
{
  syz_status st = SYZ_OK;
  syz_comm *world = j->t.app->world;
  const char *file = syz_input_text(j->t.in, "model.file");
  SYZ_TRY_ALL(world, syz_model_create_for(SYZ_PURPOSE_MASKED, &j->t.config, j->t.compute, &j->t.model));
  syz_model_recompute(j->t.model, syz_input_int(j->t.in, "train.recompute"));
  SYZ_TRY(syz_training_share_blocks(&j->t, j->t.model));
  SYZ_TRY(syz_training_share_weights(&j->t, j->t.model));
  syz_model_initialise(j->t.model, (uint64_t)syz_input_int(j->t.in, "seed"));
  if (*file) {
    SYZ_TRY(syz_model_file_read(world, file, j->t.model, false));
    syz_info("the spectrum tower begins from %s", file);
  }
cleanup:
  return st;
}

static syz_status set_up(job *j)
{
  syz_status st = SYZ_OK;
  syz_comm *world = j->t.app->world;
  SYZ_TRY(syz_training_open_data(&j->t, j->masked.validate_objects > 0));
  if (!j->t.test) syz_info("no validation: data.split or train.validate_objects leaves no objects for it");
  SYZ_TRY(syz_app_start_compute(j->t.app, &j->t.config, true, &j->t.compute));
  SYZ_TRY(syz_grid_create(world, SYZ_TOWERS_TOGETHER, 1, 1, &j->t.grid));
  SYZ_TRY(syz_training_split_tensor(&j->t));
  SYZ_TRY_ALL(world, syz_leaves_check(&j->t.grid, j->masked.global_batch, j->masked.leaves));
  SYZ_TRY(make_model(j));
cleanup:
  return st;
}

static syz_status plan(void *context, int64_t global_batch, int ranks, syz_plan *out)
{
  const job *j = context;
  syz_masked_options options = j->masked;
  options.global_batch = global_batch;
  return syz_masked_plan(&options, ranks, j->t.model, out);
}

syz_status syz_command_pretrain_spectrum(syz_app *app)
{
  syz_status st = SYZ_OK;
  syz_comm *world = app->world;
  job *j = syz_alloc("pretrain-spectrum", 1, sizeof *j);
  syz_objective objective = {0};
  syz_plan planned;
  SYZ_TRY_ALL(world, j ? SYZ_OK : SYZ_ERR_MEMORY);
  syz_training_open(&j->t, app);
  j->t.skips = SYZ_BAD_SPECTRA_SKIPPED;
  SYZ_TRY_ALL(world, syz_training_settle(&j->t, 100, true)); /* src/model/README.md "Masked modelling" */
  SYZ_TRY_ALL(world, syz_training_check_keys(&j->t));
  SYZ_TRY(read_config(j));
  read_masked(j);
  SYZ_TRY_ALL(world, syz_masked_check(&j->masked, &j->t.config));
  syz_timing_begin(&app->timing, "set-up");
  st = set_up(j);
  syz_timing_end(&app->timing);
  SYZ_TRY(st);
  syz_training_read_loop(&j->t);
  syz_training_add_facts(&j->t, own_facts, (int)(sizeof own_facts / sizeof *own_facts));
  SYZ_TRY(syz_training_tell(&j->t, &(syz_planner){j, plan}, &planned));
  if (app->is_dry_run) goto cleanup;
  SYZ_TRY(syz_app_open_run_folder(app));
  SYZ_TRY(syz_masked_train_create(&j->masked, &j->t.grid, j->t.compute, j->t.model, j->t.train, j->t.test, NULL,
                                  &app->timing, &objective));
  SYZ_TRY(syz_train_run(&j->t.loop, &j->t.grid, j->t.model, j->t.compute, &objective, &app->timing));
  SYZ_TRY(syz_training_tell_peak(&j->t, &planned));
cleanup:
  if (objective.destroy) objective.destroy(objective.self);
  if (j) syz_training_close(&j->t);
  syz_free(&j);
  return st;
}
