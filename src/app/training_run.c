/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The steps that all training commands share: input, configuration, data, compute engine, ranks, model, plan, run
 * folder, objective, the loop of room train. What differs between the commands is in their rows (training.h).
 */
#include "compute.h"
#include "training.h"

static const syz_training_method *const methods[SYZ_COMMAND_COUNT] = {
#define METHOD_ROW(name, does, summary, with) [SYZ_COMMAND_##name] = &syz_##name##_method,
    SYZ_TRAINING_COMMANDS(METHOD_ROW, )
#undef METHOD_ROW
};

_Static_assert(SYZ_USED_WHERE(SYZ_DOES_TRAIN) == (0u SYZ_TRAINING_COMMANDS(SYZ_USED_IF_IT, ~0)),
               "a command does SYZ_DOES_TRAIN when it is one of SYZ_TRAINING_COMMANDS, and no other does");

const syz_training_method *syz_training_method_of(syz_command_id command) { return methods[command]; }

/* Input, model files and configuration, before anything large is read or made. Collective; agreed. */
static syz_status read_input(syz_training *t)
{
  syz_status st = SYZ_OK;
  syz_comm *world = t->app->world;
  const syz_training_method *m = t->method;
  SYZ_TRY_ALL(world, syz_training_settle(t, m->lr_divisor, m->decay_is_constant));
  SYZ_TRY_ALL(world, m->read(t));
  SYZ_TRY_ALL(world, syz_training_check_keys(t));
  SYZ_TRY(m->take_config(t));
  SYZ_TRY_ALL(world, syz_model_config_read(t->in, &t->config));
  if (m->check) SYZ_TRY_ALL(world, m->check(t));
cleanup:
  return st;
}

/* Collective; agreed. */
static syz_status open_data(syz_training *t)
{
  syz_status st = SYZ_OK;
  const bool is_limited = SYZ_COMMAND_DOES(t->app->command, SYZ_LIMITS_VALIDATION);
  SYZ_TRY(syz_training_open_data(t, !is_limited || syz_input_int(t->in, "train.validate_objects") > 0));
  if (t->method->check_data) SYZ_TRY_ALL(t->app->world, t->method->check_data(t));
  if (is_limited && !t->test) syz_info("no validation: data.split or train.validate_objects leaves no objects for it");
cleanup:
  return st;
}

/* Data, compute context, ranks and model. Collective; agreed. */
static syz_status set_up(syz_training *t)
{
  syz_status st = SYZ_OK;
  syz_comm *world = t->app->world;
  const syz_training_method *m = t->method;
  SYZ_TRY(open_data(t));
  SYZ_TRY(syz_app_start_compute(t->app, &t->config, true, &t->compute));
  SYZ_TRY(m->make_grid ? m->make_grid(t) : syz_grid_create(world, SYZ_TOWERS_TOGETHER, 1, 1, &t->grid));
  SYZ_TRY(syz_training_split_tensor(t));
  SYZ_TRY_ALL(world,
              syz_leaves_check(&t->grid, syz_input_int(t->in, "train.global_batch"), syz_training_leaves(t->in)));
  SYZ_TRY(m->make_model(t));
cleanup:
  return st;
}

/* Collective. Frees what is there. */
static void close_all(syz_training *t)
{
  if (t->own && t->method->destroy) t->method->destroy(t);
  syz_model_destroy(&t->model);
  syz_shardset_close(&t->train);
  syz_shardset_close(&t->test);
  syz_nodes_destroy(&t->nodes);
  syz_grid_destroy(&t->grid);
  syz_compute_destroy(&t->compute);
  syz_free(&t->own);
}

/* All of a command. Collective; agreed. */
static syz_status run(syz_app *app)
{
  syz_status st = SYZ_OK;
  syz_comm *world = app->world;
  const syz_training_method *m = methods[app->command];
  syz_objective objective = {0};
  syz_plan planned;
  syz_training *t = syz_alloc(app->command_name, 1, sizeof *t);
  if (t) *t = (syz_training){.app = app, .in = app->input, .method = m};
  if (t) t->own = syz_alloc(app->command_name, 1, m->state_bytes);
  SYZ_TRY_ALL(world, t && t->own ? SYZ_OK : SYZ_ERR_MEMORY);
  SYZ_TRY(read_input(t));
  syz_timing_begin(&app->timing, "set-up");
  st = set_up(t);
  syz_timing_end(&app->timing);
  SYZ_TRY(st);
  syz_training_read_loop(t);
  syz_training_add_facts(t);
  m->remember(t);
  if (m->check_run) SYZ_TRY_ALL(world, m->check_run(t)); /* before a dry run writes its plan */
  SYZ_TRY(syz_training_tell(t, &(syz_planner){t, m->plan}, &planned));
  if (app->is_dry_run) goto cleanup;
  SYZ_TRY(syz_app_open_run_folder(app));
  SYZ_TRY(m->create(t, &objective));
  SYZ_TRY(syz_train_run(&t->loop, &t->grid, t->model, t->compute, &objective, &app->timing));
  SYZ_TRY(syz_training_tell_peak(t, &planned));
cleanup:
  if (objective.destroy) objective.destroy(objective.self);
  if (t) close_all(t);
  syz_free(&t);
  return st;
}

#define COMMAND(name, does, summary, with)                                                                             \
  syz_status syz_command_##name(syz_app *app) { return run(app); }
SYZ_TRAINING_COMMANDS(COMMAND, )
