/* SPDX-License-Identifier: BSD-3-Clause */
/** Functions that the training commands share. See training.h. */
#include "training.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compute.h"
#include "keys.h"

static const syz_remembered shared_facts[] = {
    {"seed", SYZ_KEY_INT, true},
    {"data.shuffle", SYZ_KEY_BOOL, true},
    {"train.global_batch", SYZ_KEY_INT, true},
    {"train.steps", SYZ_KEY_INT, false},
    {"train.micro_batch", SYZ_KEY_INT, false},
    {"reproducible", SYZ_KEY_BOOL, false},
    {"reproducible_leaves", SYZ_KEY_INT, false},
    {"train.lr", SYZ_KEY_REAL, false},
    {"train.lr_min", SYZ_KEY_REAL, false},
    {"train.warmup_steps", SYZ_KEY_INT, false},
    {"train.weight_decay", SYZ_KEY_REAL, false},
    {"train.weight_decay_end", SYZ_KEY_REAL, false},
    {"train.beta1", SYZ_KEY_REAL, false},
    {"train.beta2", SYZ_KEY_REAL, false},
    {"train.eps", SYZ_KEY_REAL, false},
    {"train.clip_grad_norm", SYZ_KEY_REAL, false},
    {"compute.precision", SYZ_KEY_TEXT, false},
    {"compute.engine", SYZ_KEY_TEXT, false},
};

/* ------------------------------------------------------------------- input */

/* The fewest digits that give the same number back, because people read the plan. */
syz_status syz_training_settle_real(syz_input *in, const char *key, double value)
{
  char text[64];
  if (syz_input_is_given(in, key)) return SYZ_OK;
  for (int digits = 15; digits <= 17; digits++) {
    snprintf(text, sizeof text, "%.*g", digits, value);
    if (strtod(text, NULL) == value) break;
  }
  return syz_input_assign(in, key, text);
}

syz_status syz_training_settle_steps(syz_input *in, const char *key, int64_t most)
{
  char text[64];
  if (syz_input_is_given(in, key) || syz_input_int(in, key) <= most) return SYZ_OK;
  snprintf(text, sizeof text, "%" PRId64, most);
  return syz_input_assign(in, key, text);
}

syz_status syz_training_settle(syz_training *t, double lr_divisor, bool decay_is_constant)
{
  syz_status st = SYZ_OK;
  syz_input *in = t->app->input;
  const int64_t warmup = syz_input_int(in, "train.warmup_steps");
  SYZ_TRY(syz_training_settle_steps(in, "train.warmup_steps", syz_input_int(in, "train.steps") / 10));
  if (syz_input_int(in, "train.warmup_steps") < warmup)
    syz_info("train.warmup_steps is not given: using %" PRId64 ", a tenth of train.steps",
             syz_input_int(in, "train.warmup_steps"));
  if (lr_divisor > 0)
    SYZ_TRY(syz_training_settle_real(in, "train.lr_min", syz_input_real(in, "train.lr") / lr_divisor));
  if (decay_is_constant)
    SYZ_TRY(syz_training_settle_real(in, "train.weight_decay_end", syz_input_real(in, "train.weight_decay")));
cleanup:
  return st;
}

int64_t syz_training_leaves(const syz_input *in)
{
  return syz_input_bool(in, "reproducible") ? syz_input_int(in, "reproducible_leaves") : 0;
}

syz_status syz_training_check_keys(const syz_training *t)
{
  syz_status st = SYZ_OK;
  const syz_input *in = t->in;
  const int64_t warmup = syz_input_int(in, "train.warmup_steps"), steps = syz_input_int(in, "train.steps");
  SYZ_TRY(syz_leaves_check(NULL, syz_input_int(in, "train.global_batch"), syz_training_leaves(in)));
  SYZ_REQUIRE(syz_input_real(in, "train.lr_min") <= syz_input_real(in, "train.lr") ||
                  !syz_input_is_given(in, "train.lr_min"),
              SYZ_ERR_INPUT, "train.lr_min = %g is larger than train.lr = %g", syz_input_real(in, "train.lr_min"),
              syz_input_real(in, "train.lr"));
  if (warmup >= steps)
    syz_warn("train.warmup_steps = %" PRId64 " and train.steps = %" PRId64 ": the run ends before train.lr is reached",
             warmup, steps);
cleanup:
  return st;
}

/* A key's value as text for the checkpoint's facts: numbers with all their digits. */
static void value_text(const syz_input *in, const char *key, syz_key_type type, char *text, size_t room)
{
  if (type == SYZ_KEY_INT)
    snprintf(text, room, "%" PRId64, syz_input_int(in, key));
  else if (type == SYZ_KEY_REAL)
    snprintf(text, room, "%.17g", syz_input_real(in, key));
  else if (type == SYZ_KEY_BOOL)
    snprintf(text, room, "%s", syz_input_bool(in, key) ? "true" : "false");
  else
    snprintf(text, room, "%s", syz_input_text(in, key));
}

static bool begins_with(const char *text, const char *start) { return strncmp(text, start, strlen(start)) == 0; }

/* Whether a key sets how a tower is used rather than its parameters: every tower accepts any value of it. */
static bool is_of_use(const char *key)
{
  return strcmp(key, "model.embedding.dropout") == 0 || strcmp(key, "model.image.size") == 0 ||
         strcmp(key, "model.image.tokens") == 0;
}

syz_status syz_training_take_config(syz_training *t, const char *path, const syz_model_config *config,
                                    const char *section)
{
  syz_status st = SYZ_OK;
  const syz_key *const table[1] = {syz_model_keys};
  syz_input *file = NULL, *in = t->app->input;
  char *yaml = syz_model_config_yaml(config);
  SYZ_REQUIRE(yaml, SYZ_ERR_MEMORY, "no memory for the configuration of %s", path);
  SYZ_TRY(syz_input_create(table, 1, &file));
  SYZ_TRY(syz_input_parse(file, path, yaml, strlen(yaml)));
  for (const syz_key *k = syz_model_keys; k->path; k++) {
    char theirs[128], ours[128];
    if (!begins_with(k->path, section)) continue;
    value_text(file, k->path, k->type, theirs, sizeof theirs);
    value_text(in, k->path, k->type, ours, sizeof ours);
    if (strcmp(theirs, ours) == 0) continue;
    const bool may_differ = is_of_use(k->path);
    if (syz_input_is_given(in, k->path)) {
      SYZ_REQUIRE(may_differ, SYZ_ERR_INPUT,
                  "%s is %s in the input and %s in %s: remove it from the input, because the file's value is used",
                  k->path, ours, theirs, path);
      continue;
    }
    SYZ_TRY(syz_input_assign(in, k->path, theirs));
  }
cleanup:
  syz_input_destroy(&file);
  syz_free(&yaml);
  return st;
}

/* ------------------------------------------------------------------- data */

syz_status syz_training_open_data(syz_training *t, bool wants_test)
{
  syz_status st = SYZ_OK;
  syz_data_options o = syz_app_data_options(t->in, SYZ_SPLIT_TRAIN, t->method->skips);
  syz_comm *world = t->app->world;
  t->split = o.split;
  SYZ_TRY(syz_shardset_open_named(world, &o, "to train on", &t->train));
  SYZ_TRY(syz_shardset_verify_when(t->train, o.verify, &t->app->timing)); /* the test split comes from the same files */
  if (syz_shardset_wants_verify(t->train, o.verify)) SYZ_TRY(syz_shardset_content(t->train, &t->content));
  if (t->content == syz_shardset_digest(t->train)) t->content = 0;
  /* Only a training split leaves objects to hold out. */
  o.split = SYZ_SPLIT_TEST;
  if (t->split == SYZ_SPLIT_TRAIN && wants_test) SYZ_TRY(syz_shardset_open_named(world, &o, "to train on", &t->test));
cleanup:
  return st;
}

/* ---------------------------------------------------------- loop and facts */

/* A dry run may plan for more ranks than are running. */
static bool is_only_planned(const syz_training *t)
{
  return t->app->is_dry_run && syz_comm_size(t->app->world) < syz_input_int(t->in, "parallel.tensor");
}

syz_status syz_training_split_tensor(syz_training *t)
{
  return is_only_planned(t) ? SYZ_OK : syz_grid_split_tensor(&t->grid, (int)syz_input_int(t->in, "parallel.tensor"));
}

syz_status syz_training_share_blocks(const syz_training *t, syz_model *model)
{
  const int ranks = (int)syz_input_int(t->in, "parallel.tensor");
  return syz_agree(t->app->world, is_only_planned(t) ? syz_model_plan_tensor(model, ranks)
                                                     : syz_model_set_tensor(model, t->grid.tensor));
}

syz_status syz_training_share_weights(syz_training *t, syz_model *model)
{
  syz_status st = SYZ_OK;
  if (!t->nodes) st = syz_nodes_create(t->grid.data, (int)syz_input_int(t->in, "parallel.ranks_per_node"), &t->nodes);
  SYZ_TRY_ALL(t->app->world, st);
  SYZ_TRY_ALL(t->app->world, syz_model_share_weights(model, t->nodes));
cleanup:
  return st;
}

void syz_training_initialise(const syz_training *t, syz_model *model, bool is_read)
{
  if (t->app->is_dry_run && !is_read)
    syz_model_drop_weights(model);
  else
    syz_model_initialise(model, (uint64_t)syz_input_int(t->in, "seed"));
}

void syz_training_read_loop(syz_training *t)
{
  const syz_input *in = t->in;
  t->loop = (syz_train_config){
      .steps = syz_input_int(in, "train.steps"),
      .global_batch = syz_input_int(in, "train.global_batch"),
      .warmup_steps = syz_input_int(in, "train.warmup_steps"),
      .lr = syz_input_real(in, "train.lr"),
      .lr_min = syz_input_real(in, "train.lr_min"),
      .beta1 = syz_input_real(in, "train.beta1"),
      .beta2 = syz_input_real(in, "train.beta2"),
      .eps = syz_input_real(in, "train.eps"),
      .weight_decay = syz_input_real(in, "train.weight_decay"),
      .weight_decay_end = syz_input_real(in, "train.weight_decay_end"),
      .clip_grad_norm = syz_input_real(in, "train.clip_grad_norm"),
      .reduction = strcmp(syz_input_text(in, "parallel.reduction"), "bfloat16") == 0 ? SYZ_REDUCE_BF16 : SYZ_REDUCE_F32,
      .trains_backbones = !t->freezes_backbones,
      .leaves = syz_training_leaves(in),
      .validate_interval = syz_input_int(in, "train.validate_interval"),
      .checkpoint_interval_steps = syz_input_int(in, "output.checkpoint_interval_steps"),
      .checkpoint_interval_s = syz_input_real(in, "output.checkpoint_interval_s"),
      .recovers = syz_input_bool(in, "train.recover"),
      .time_limit_s = syz_input_real(in, "train.time_limit_s"),
      .verify_every = syz_input_int(in, "run.verify_every"),
      .verify_jump = syz_input_real(in, "run.verify_jump"),
      .timing_from_step = syz_input_int(in, "output.timing_from_step"),
      .folder = syz_input_text(in, "output.dir"),
      .created_by = syz_app_created_by(),
      .engine = syz_compute_name(t->compute),
      .input_yaml = syz_app_input_yaml(t->app),
      .fact = t->fact,
  };
}

static void add_fact(syz_training *t, const char *key, const char *value, bool is_fixed)
{
  SYZ_ASSERT(t->loop.n_facts < SYZ_FACTS_MAX);
  syz_fact *f = &t->fact[t->loop.n_facts++];
  snprintf(f->key, sizeof f->key, "%s", key);
  snprintf(f->value, sizeof f->value, "%s", value);
  f->is_fixed = is_fixed;
}

void syz_training_remember(syz_training *t, const syz_remembered *key, int n)
{
  char text[128];
  for (int i = 0; i < n; i++) {
    value_text(t->in, key[i].key, key[i].type, text, sizeof text);
    add_fact(t, key[i].key, text, key[i].is_fixed);
  }
}

void syz_training_add_facts(syz_training *t)
{
  static const char *const split[] = {"all", "train", "test"};
  char text[128];
  for (const syz_key *k = syz_model_keys; k->path; k++) {
    if (!syz_app_uses_model_key(t->app->command, k->path)) continue;
    value_text(t->in, k->path, k->type, text, sizeof text);
    add_fact(t, k->path, text, strcmp(k->path, "model.embedding.dropout") != 0);
  }
  snprintf(text, sizeof text, "%016" PRIx64, syz_shardset_digest(t->train));
  add_fact(t, "digest of data.path", text, true);
  snprintf(text, sizeof text, "%016" PRIx64, t->content);
  if (t->content) add_fact(t, SYZ_FACT_CONTENT, text, true);
  add_fact(t, "data.split", split[t->split], true);
  syz_training_remember(t, shared_facts, (int)(sizeof shared_facts / sizeof *shared_facts));
}
