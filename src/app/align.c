/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * `align`: the two towers in one space, by InfoNCE over the global batch. Reads the input, opens the data, makes the model (from a file, from
 * two single towers, or from the seed) and hands over to the loop of room train.
 */
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "app.h"
#include "compute.h"
#include "syzygy/train.h"
#include "verify_data.h"

#define ALIGN SYZ_USED_BY(align)

const syz_key syz_align_keys[] = {
    {"model.image_file", SYZ_KEY_TEXT, "", "model file", 0, 0, NULL, ALIGN, "Image tower to start from; its model.image section then rules."},
    {"model.spectrum_file", SYZ_KEY_TEXT, "", "model file", 0, 0, NULL, ALIGN,
     "Spectrum tower to start from; its model.spectrum section then rules."},
    {"train.steps", SYZ_KEY_INT, "10000", "", 1, 4.0e9, NULL, ALIGN, "Optimiser steps; a finished run goes on when this is raised."},
    {"train.global_batch", SYZ_KEY_INT, "256", "objects", 1, 1048576, NULL, ALIGN,
     "Objects a step on all ranks together; each is the negative of all others."},
    {"train.micro_batch", SYZ_KEY_INT, "0", "objects a rank", 0, 65536, NULL, ALIGN,
     "Objects in one pass; a larger share runs in several, and forward twice. 0: 32, or 256 when only heads run."},
    {"train.lr", SYZ_KEY_REAL, "1.0e-4", "", 0, 10, NULL, ALIGN, "Learning rate after the warm-up."},
    {"train.lr_min", SYZ_KEY_REAL, "2.0e-7", "", 0, 10, NULL, ALIGN, "Learning rate at the end of the cosine; not given: train.lr / 500."},
    {"train.warmup_steps", SYZ_KEY_INT, "1000", "steps", 0, 4.0e9, NULL, ALIGN,
     "Linear from 0 to lr over these steps; not given: 1000, or a tenth of train.steps where that is less."},
    {"train.weight_decay", SYZ_KEY_REAL, "0.05", "", 0, 10, NULL, ALIGN, "Decoupled weight decay, on all parameters as published."},
    {"train.beta1", SYZ_KEY_REAL, "0.9", "", 0, 0.999999, NULL, ALIGN, "AdamW: decay of the first moment."},
    {"train.beta2", SYZ_KEY_REAL, "0.999", "", 0, 0.99999999, NULL, ALIGN, "AdamW: decay of the second moment."},
    {"train.eps", SYZ_KEY_REAL, "1.0e-8", "", 1e-30, 1, NULL, ALIGN, "AdamW: added to the root of the second moment."},
    {"train.clip_grad_norm", SYZ_KEY_REAL, "1.0", "", 0, 1e30, NULL, ALIGN, "Largest norm of the global gradient; 0: off."},
    {"train.freeze_backbones", SYZ_KEY_BOOL, "true", "", 0, 0, NULL, ALIGN, "Train only the pooling heads, on tokens computed once."},
    {"train.token_cache", SYZ_KEY_CHOICE, "disk", "", 0, 0, "disk|memory|none", ALIGN,
     "Where the tokens of frozen towers are kept; none: the towers run in every step."},
    {"train.token_cache_dir", SYZ_KEY_TEXT, "", "folder", 0, 0, NULL, ALIGN, "Folder of the token cache on disk; empty: <output.dir>/cache."},
    {"train.logit_scale", SYZ_KEY_REAL, "15.5", "", 1e-3, 1e4, NULL, ALIGN,
     "Factor of the cosines (inverse temperature); the start when it is learned."},
    {"train.learn_logit_scale", SYZ_KEY_BOOL, "false", "", 0, 0, NULL, ALIGN, "Learn the logarithm of logit_scale."},
    {"train.validate_interval", SYZ_KEY_INT, "500", "steps", 0, 4.0e9, NULL, ALIGN,
     "Steps between validations on held-out objects; 0: only at the end."},
    {"train.validate_objects", SYZ_KEY_INT, "1024", "objects", 0, 1048576, NULL, ALIGN,
     "At most so many of the test split are used; 0: no validation."},
    {"train.time_limit_s", SYZ_KEY_REAL, "0", "s", 0, 1e9, NULL, ALIGN,
     "Save and end with code 75 before the program has run this long; 0: no limit."},
    {"train.read_ahead", SYZ_KEY_INT, "2", "batches", 1, 64, NULL, ALIGN, "Batches read ahead of the step."},
    {"augment.flips", SYZ_KEY_BOOL, "false", "", 0, 0, NULL, ALIGN, "Flip images at random in both directions."},
    {"augment.quarter_turns", SYZ_KEY_BOOL, "false", "", 0, 0, NULL, ALIGN, "Turn images by a random multiple of 90 degrees."},
    {"augment.image_noise", SYZ_KEY_REAL, "0", "nanomaggy", 0, 1e6, NULL, ALIGN, "Standard deviation of noise added to image pixels."},
    {"augment.spectrum_noise", SYZ_KEY_REAL, "0", "1/sqrt(ivar)", 0, 1e6, NULL, ALIGN, "Noise added to spectra, in units of their own."},
    {"augment.mask_runs", SYZ_KEY_INT, "0", "", 0, 1000, NULL, ALIGN, "Runs of pixels of a spectrum that are set to zero."},
    {"augment.mask_run_pixels", SYZ_KEY_INT, "0", "pixels", 0, 7781, NULL, ALIGN, "Length of such a run."},
    {"parallel.towers", SYZ_KEY_CHOICE, "together", "", 0, 0, "together|apart", ALIGN,
     "together: every rank holds both towers; apart: some the image tower, the others the spectrum tower, in proportion to cost."},
    {"output.checkpoint_interval_s", SYZ_KEY_REAL, "1800", "s", 0, 1e9, NULL, ALIGN, "Time between checkpoints; 0: none by time."},
    {"output.checkpoint_interval_steps", SYZ_KEY_INT, "0", "steps", 0, 4.0e9, NULL, ALIGN, "Steps between checkpoints; 0: none by steps."},
    {NULL, SYZ_KEY_INT, "", "", 0, 0, NULL, 0, NULL}};

/* What a checkpoint remembers of the input, besides the model's own keys. */
typedef struct remembered {
  const char *key;
  syz_key_type type;
  bool is_fixed;
} remembered;

static const remembered facts_of_input[] = {
    {"seed", SYZ_KEY_INT, true},
    {"data.shuffle", SYZ_KEY_BOOL, true},
    {"train.global_batch", SYZ_KEY_INT, true},
    {"train.freeze_backbones", SYZ_KEY_BOOL, true},
    {"train.learn_logit_scale", SYZ_KEY_BOOL, true},
    {"train.steps", SYZ_KEY_INT, false},
    {"train.micro_batch", SYZ_KEY_INT, false},
    {"train.lr", SYZ_KEY_REAL, false},
    {"train.lr_min", SYZ_KEY_REAL, false},
    {"train.warmup_steps", SYZ_KEY_INT, false},
    {"train.weight_decay", SYZ_KEY_REAL, false},
    {"train.beta1", SYZ_KEY_REAL, false},
    {"train.beta2", SYZ_KEY_REAL, false},
    {"train.eps", SYZ_KEY_REAL, false},
    {"train.clip_grad_norm", SYZ_KEY_REAL, false},
    {"train.logit_scale", SYZ_KEY_REAL, false},
    {"augment.flips", SYZ_KEY_BOOL, false},
    {"augment.quarter_turns", SYZ_KEY_BOOL, false},
    {"augment.image_noise", SYZ_KEY_REAL, false},
    {"augment.spectrum_noise", SYZ_KEY_REAL, false},
    {"augment.mask_runs", SYZ_KEY_INT, false},
    {"augment.mask_run_pixels", SYZ_KEY_INT, false},
    {"compute.precision", SYZ_KEY_TEXT, false},
    {"compute.engine", SYZ_KEY_TEXT, false},
};

enum { FACTS_MAX = 64 };

typedef struct job {
  syz_app *app;
  const syz_input *in;
  syz_model_config config;
  syz_compute *compute;
  syz_grid grid;
  syz_model *model;
  syz_shardset *train, *test;
  syz_align_config align;
  syz_train_config loop;
  syz_fact fact[FACTS_MAX];
  char cache_folder[PATH_MAX];
  syz_split split;
} job;

/* ------------------------------------------------------------------ model */

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

/* A file's configuration takes the place of the input's keys that begin with `section`. What the input says itself must agree, except for
 * what does not change a parameter's shape. Not collective; the same on every rank. */
static syz_status take_config(syz_input *in, const char *path, const syz_model_config *config, const char *section)
{
  syz_status st = SYZ_OK;
  const syz_key *const table[1] = {syz_model_keys};
  syz_input *file = NULL;
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
    const bool may_differ = strcmp(k->path, "model.embedding.dropout") == 0 || strcmp(k->path, "model.image.size") == 0;
    if (syz_input_is_given(in, k->path)) {
      SYZ_REQUIRE(may_differ, SYZ_ERR_INPUT, "%s is %s in the input and %s in %s: leave it out, the file rules", k->path, ours, theirs, path);
      continue;
    }
    SYZ_TRY(syz_input_assign(in, k->path, theirs));
  }
cleanup:
  syz_input_destroy(&file);
  syz_free(&yaml);
  return st;
}

/* The configuration: of the input, overruled by the files that the model starts from. Collective; agreed. */
static syz_status read_config(job *j)
{
  syz_status st = SYZ_OK;
  syz_comm *world = j->app->world;
  static const char *const section[] = {"model.image.", "model.spectrum.", "model.embedding."};
  const char *whole = syz_input_text(j->in, "model.file");
  const char *one[SYZ_MODALITIES] = {syz_input_text(j->in, "model.image_file"), syz_input_text(j->in, "model.spectrum_file")};
  syz_model_config config;
  syz_model_parts parts;
  SYZ_REQUIRE(!*whole || (!*one[0] && !*one[1]), SYZ_ERR_INPUT, "model.file and model.image_file or model.spectrum_file: give the one or the others");
  if (*whole) {
    SYZ_TRY(syz_model_file_parts(world, whole, &config, &parts));
    SYZ_TRY_ALL(world, take_config(j->app->input, whole, &config, "model."));
  }
  for (int m = 0; m < SYZ_MODALITIES; m++) {
    if (!*one[m]) continue;
    SYZ_TRY(syz_model_file_parts(world, one[m], &config, &parts));
    SYZ_REQUIRE(parts.has[syz_part_of((syz_modality)m, false)], SYZ_ERR_DATA, "%s: has no %s tower", one[m], syz_modality_name((syz_modality)m));
    SYZ_TRY_ALL(world, take_config(j->app->input, one[m], &config, section[m]));
    if (parts.has[syz_part_of((syz_modality)m, true)]) SYZ_TRY_ALL(world, take_config(j->app->input, one[m], &config, section[2]));
  }
  SYZ_TRY_ALL(world, syz_model_config_read(j->in, &j->config));
cleanup:
  return st;
}

/* One tower of a file, into the model of both. Collective over world; agreed: ranks without that tower read along. */
static syz_status read_tower(job *j, const char *path, syz_modality m)
{
  syz_status st = SYZ_OK;
  syz_model *one = NULL;
  syz_comm *world = j->app->world;
  SYZ_TRY_ALL(world, syz_model_create(&j->config, m == SYZ_IMAGE, m == SYZ_SPECTRUM, j->compute, &one));
  syz_model_initialise(one, (uint64_t)syz_input_int(j->in, "seed"));
  SYZ_TRY(syz_model_file_read(world, path, one, true));
  if (syz_model_has(j->model, m)) {
    for (int head = 0; head < 2; head++) {
      int64_t from, to, count, room;
      syz_model_range(one, syz_part_of(m, head), &from, &count);
      syz_model_range(j->model, syz_part_of(m, head), &to, &room);
      SYZ_ASSERT(count == room);
      memcpy(syz_model_weights(j->model) + to, syz_model_weights(one) + from, (size_t)count * sizeof(float));
    }
  }
  syz_info("the %s tower begins from %s", syz_modality_name(m), path);
cleanup:
  syz_model_destroy(&one);
  return st;
}

static syz_status make_model(job *j)
{
  syz_status st = SYZ_OK;
  syz_comm *world = j->app->world;
  const char *whole = syz_input_text(j->in, "model.file");
  const char *one[SYZ_MODALITIES] = {syz_input_text(j->in, "model.image_file"), syz_input_text(j->in, "model.spectrum_file")};
  SYZ_TRY_ALL(world, syz_model_create(&j->config, j->grid.has_image, j->grid.has_spectrum, j->compute, &j->model));
  syz_model_initialise(j->model, (uint64_t)syz_input_int(j->in, "seed"));
  if (*whole) {
    syz_model_config config;
    syz_model_parts parts;
    SYZ_TRY(syz_model_file_parts(world, whole, &config, &parts));
    SYZ_TRY(syz_model_file_read(world, whole, j->model, true));
    syz_info("the model begins from %s", whole);
    for (int m = 0; m < SYZ_MODALITIES; m++) {
      if (!parts.has[syz_part_of((syz_modality)m, false)]) syz_warn("%s has no %s tower: it begins with random weights", whole, syz_modality_name((syz_modality)m));
      if (!parts.has[syz_part_of((syz_modality)m, true)]) syz_info("%s has no %s head: it begins with random weights", whole, syz_modality_name((syz_modality)m));
    }
  }
  for (int m = 0; m < SYZ_MODALITIES; m++)
    if (*one[m]) SYZ_TRY(read_tower(j, one[m], (syz_modality)m));
  for (int m = 0; m < SYZ_MODALITIES; m++)
    if (!*whole && !*one[m] && syz_input_bool(j->in, "train.freeze_backbones"))
      syz_warn("the frozen %s tower has random weights (model.file or model.%s_file gives a trained one; train.freeze_backbones=false trains it)",
               syz_modality_name((syz_modality)m), syz_modality_name((syz_modality)m));
cleanup:
  return st;
}

/* ------------------------------------------------------------------- data */

static syz_status open_set(job *j, syz_split split, syz_shardset **out)
{
  syz_status st = SYZ_OK;
  const char **path = NULL;
  const syz_rejected *rejected;
  const int n = syz_input_list_size(j->in, "data.path");
  SYZ_REQUIRE(n > 0, SYZ_ERR_INPUT, "data.path: name the files or folders to train on");
  path = syz_alloc("data paths", (size_t)n, sizeof *path);
  SYZ_TRY_ALL(j->app->world, path ? SYZ_OK : SYZ_ERR_MEMORY);
  for (int i = 0; i < n; i++) path[i] = syz_input_list_item(j->in, "data.path", i);
  SYZ_TRY(syz_shardset_open(j->app->world, n, path, split, strcmp(syz_input_text(j->in, "data.bad_objects"), "skip") == 0, out));
  const int64_t bad = syz_shardset_rejected(*out, &rejected);
  for (int64_t i = 0; i < bad && i < 20; i++)
    syz_warn("left out: %s, row %" PRId64 ", object %" PRId64 ": %s", rejected[i].file, rejected[i].row, rejected[i].object_id, rejected[i].reason);
  if (bad > 20) syz_warn("left out: %" PRId64 " more objects", bad - 20);
cleanup:
  syz_free(&path);
  return st;
}

static syz_status open_data(job *j)
{
  syz_status st = SYZ_OK;
  const char *split = syz_input_text(j->in, "data.split");
  j->split = strcmp(split, "all") == 0 ? SYZ_SPLIT_ALL : strcmp(split, "test") == 0 ? SYZ_SPLIT_TEST : SYZ_SPLIT_TRAIN;
  SYZ_TRY(open_set(j, j->split, &j->train));
  SYZ_TRY(syz_app_verify_data(j->app, j->train)); /* the test split is of the same files */
  SYZ_REQUIRE(j->align.augment.spectrum_noise <= 0 || syz_shardset_has_ivar(j->train), SYZ_ERR_INPUT,
              "augment.spectrum_noise is in units of 1/sqrt(ivar), but data.path holds no inverse variances");
  /* Only a training split leaves objects to hold out. */
  if (j->split == SYZ_SPLIT_TRAIN && syz_input_int(j->in, "train.validate_objects") > 0)
    SYZ_TRY(open_set(j, SYZ_SPLIT_TEST, &j->test));
  else
    syz_info("no validation: data.split or train.validate_objects leaves no objects for it");
cleanup:
  return st;
}

/* ------------------------------------------------------------------- input */

static void read_align(job *j)
{
  const syz_input *in = j->in;
  const char *cache = syz_input_text(in, "train.token_cache");
  j->align = (syz_align_config){
      .seed = (uint64_t)syz_input_int(in, "seed"),
      .global_batch = syz_input_int(in, "train.global_batch"),
      .micro_batch = syz_input_int(in, "train.micro_batch"),
      .freezes_backbones = syz_input_bool(in, "train.freeze_backbones"),
      .shuffles = syz_input_bool(in, "data.shuffle"),
      .learns_logit_scale = syz_input_bool(in, "train.learn_logit_scale"),
      .logit_scale = syz_input_real(in, "train.logit_scale"),
      .augment = {.flips = syz_input_bool(in, "augment.flips"),
                  .quarter_turns = syz_input_bool(in, "augment.quarter_turns"),
                  .image_noise = syz_input_real(in, "augment.image_noise"),
                  .spectrum_noise = syz_input_real(in, "augment.spectrum_noise"),
                  .mask_runs = (int)syz_input_int(in, "augment.mask_runs"),
                  .mask_run_pixels = (int)syz_input_int(in, "augment.mask_run_pixels")},
      .cache = strcmp(cache, "disk") == 0     ? SYZ_CACHE_DISK
               : strcmp(cache, "memory") == 0 ? SYZ_CACHE_MEMORY
                                              : SYZ_CACHE_NONE,
      .cache_folder = j->cache_folder,
      .validate_objects = syz_input_int(in, "train.validate_objects"),
      .loader_ahead = (int)syz_input_int(in, "train.read_ahead"),
      .folder = syz_input_text(in, "output.dir"),
      .time_limit_s = syz_input_real(in, "train.time_limit_s"),
  };
}

static void read_loop(job *j)
{
  const syz_input *in = j->in;
  j->loop = (syz_train_config){
      .steps = syz_input_int(in, "train.steps"),
      .global_batch = syz_input_int(in, "train.global_batch"),
      .warmup_steps = syz_input_int(in, "train.warmup_steps"),
      .lr = syz_input_real(in, "train.lr"),
      .lr_min = syz_input_real(in, "train.lr_min"),
      .beta1 = syz_input_real(in, "train.beta1"),
      .beta2 = syz_input_real(in, "train.beta2"),
      .eps = syz_input_real(in, "train.eps"),
      .weight_decay = syz_input_real(in, "train.weight_decay"),
      .clip_grad_norm = syz_input_real(in, "train.clip_grad_norm"),
      .trains_backbones = !syz_input_bool(in, "train.freeze_backbones"),
      .validate_interval = syz_input_int(in, "train.validate_interval"),
      .checkpoint_interval_steps = syz_input_int(in, "output.checkpoint_interval_steps"),
      .checkpoint_interval_s = syz_input_real(in, "output.checkpoint_interval_s"),
      .time_limit_s = syz_input_real(in, "train.time_limit_s"),
      .folder = syz_input_text(in, "output.dir"),
      .created_by = syz_app_created_by(),
      .input_yaml = syz_app_input_yaml(j->app),
      .fact = j->fact,
  };
}

static void add_fact(job *j, const char *key, const char *value, bool is_fixed)
{
  SYZ_ASSERT(j->loop.n_facts < FACTS_MAX);
  syz_fact *f = &j->fact[j->loop.n_facts++];
  snprintf(f->key, sizeof f->key, "%s", key);
  snprintf(f->value, sizeof f->value, "%s", value);
  f->is_fixed = is_fixed;
}

static void add_facts(job *j)
{
  static const char *const split[] = {"all", "train", "test"};
  char text[128];
  for (const syz_key *k = syz_model_keys; k->path; k++) {
    value_text(j->in, k->path, k->type, text, sizeof text);
    add_fact(j, k->path, text, strcmp(k->path, "model.embedding.dropout") != 0);
  }
  snprintf(text, sizeof text, "%016" PRIx64, syz_shardset_digest(j->train));
  add_fact(j, "digest of data.path", text, true);
  add_fact(j, "data.split", split[j->split], true);
  for (size_t i = 0; i < sizeof facts_of_input / sizeof *facts_of_input; i++) {
    const remembered *r = &facts_of_input[i];
    value_text(j->in, r->key, r->type, text, sizeof text);
    add_fact(j, r->key, text, r->is_fixed);
  }
}

static syz_status check_input(const job *j)
{
  syz_status st = SYZ_OK;
  const syz_input *in = j->in;
  const int64_t warmup = syz_input_int(in, "train.warmup_steps"), steps = syz_input_int(in, "train.steps");
  SYZ_REQUIRE(syz_input_real(in, "train.lr_min") <= syz_input_real(in, "train.lr") || !syz_input_is_given(in, "train.lr_min"), SYZ_ERR_INPUT,
              "train.lr_min = %g is larger than train.lr = %g", syz_input_real(in, "train.lr_min"), syz_input_real(in, "train.lr"));
  SYZ_REQUIRE((syz_input_int(in, "augment.mask_runs") > 0) == (syz_input_int(in, "augment.mask_run_pixels") > 0), SYZ_ERR_INPUT,
              "augment.mask_runs and augment.mask_run_pixels: both or none must be 0");
  SYZ_TRY(syz_align_check(&j->align));
  if (warmup >= steps)
    syz_warn("train.warmup_steps = %" PRId64 " and train.steps = %" PRId64 ": the run ends before train.lr is reached", warmup, steps);
cleanup:
  return st;
}

/* Keys that were left at defaults made for long runs follow the keys that were given: a short run has a short warm-up. */
static syz_status settle_defaults(job *j)
{
  syz_status st = SYZ_OK;
  char text[64];
  syz_input *in = j->app->input;
  const int64_t steps = syz_input_int(in, "train.steps");
  if (!syz_input_is_given(in, "train.warmup_steps") && syz_input_int(in, "train.warmup_steps") > steps / 10) {
    snprintf(text, sizeof text, "%" PRId64, steps / 10);
    SYZ_TRY(syz_input_assign(in, "train.warmup_steps", text));
    syz_info("train.warmup_steps: %s, a tenth of train.steps, as none are given", text);
  }
  if (!syz_input_is_given(in, "train.lr_min")) {
    snprintf(text, sizeof text, "%.17g", syz_input_real(in, "train.lr") / 500); /* recipes.md section 4 */
    SYZ_TRY(syz_input_assign(in, "train.lr_min", text));
  }
  if (*syz_input_text(in, "train.token_cache_dir"))
    snprintf(j->cache_folder, sizeof j->cache_folder, "%s", syz_input_text(in, "train.token_cache_dir"));
  else
    SYZ_REQUIRE((size_t)snprintf(j->cache_folder, sizeof j->cache_folder, "%s/cache", syz_input_text(in, "output.dir")) < sizeof j->cache_folder,
                SYZ_ERR_INPUT, "output.dir: the name is too long");
cleanup:
  return st;
}

/* ----------------------------------------------------------------- command */

static double cost(const job *j, syz_modality m) { return syz_model_flops(&j->config, m); }

static void tell_plan(const job *j)
{
  const syz_grid *g = &j->grid;
  const int64_t n = syz_shardset_size(j->train), G = j->align.global_batch;
  int64_t parameters = 0, trained = 0;
  int count = 0;
  const syz_parameter *table = syz_model_parameters(j->model, &count);
  for (int i = 0; i < count; i++) {
    parameters += table[i].size;
    if (table[i].is_used && (table[i].part == syz_part_of(table[i].modality, true) || !j->align.freezes_backbones)) trained += table[i].size;
  }
  syz_info("%s", syz_compute_describe(j->compute));
  if (g->towers == SYZ_TOWERS_APART)
    syz_info("towers apart: %d ranks with the image tower, %d with the spectrum tower; rank 0 holds %.1f M parameters, trains %.1f M", g->image_ranks,
             g->spectrum_ranks, (double)parameters / 1e6, (double)trained / 1e6);
  else
    syz_info("%.1f M parameters, %.1f M of them trained", (double)parameters / 1e6, (double)trained / 1e6);
  syz_info("%" PRId64 " objects, global batch %" PRId64 ": %.1f steps an epoch, %" PRId64 " steps are %.1f epochs", n, G, (double)n / (double)G,
           j->loop.steps, (double)j->loop.steps * (double)G / (double)(n > 0 ? n : 1));
  syz_info("about %.2f GiB a rank for weights and activations", (double)syz_align_bytes(&j->align, g, j->model) / 1073741824.0);
}

syz_status syz_command_align(syz_app *app)
{
  syz_status st = SYZ_OK;
  syz_comm *world = app->world;
  job *j = syz_alloc("align", 1, sizeof *j);
  syz_objective objective = {0};
  SYZ_TRY_ALL(world, j ? SYZ_OK : SYZ_ERR_MEMORY);
  j->app = app;
  j->in = app->input;
  SYZ_TRY_ALL(world, settle_defaults(j));
  read_align(j);
  SYZ_TRY_ALL(world, check_input(j));
  SYZ_TRY(read_config(j));
  syz_timing_begin(&app->timing, "set-up");
  st = open_data(j);
  if (st == SYZ_OK) st = syz_agree(world, syz_app_make_compute(j->in, &j->compute));
  if (st == SYZ_OK)
    st = syz_grid_create(world, strcmp(syz_input_text(j->in, "parallel.towers"), "apart") == 0 ? SYZ_TOWERS_APART : SYZ_TOWERS_TOGETHER,
                         cost(j, SYZ_IMAGE), cost(j, SYZ_SPECTRUM), &j->grid);
  if (st == SYZ_OK) st = make_model(j);
  syz_timing_end(&app->timing);
  SYZ_TRY(st);
  read_loop(j);
  add_facts(j);
  tell_plan(j);
  if (app->is_dry_run) goto cleanup;
  SYZ_TRY(syz_app_open_run_folder(app));
  SYZ_TRY(syz_align_create(&j->align, &j->grid, j->compute, j->model, j->train, j->test, &app->timing, &objective));
  SYZ_TRY(syz_train_run(&j->loop, &j->grid, j->model, j->compute, &objective, &app->timing));
cleanup:
  if (objective.destroy) objective.destroy(objective.self);
  if (j) {
    syz_model_destroy(&j->model);
    syz_shardset_close(&j->train);
    syz_shardset_close(&j->test);
    syz_grid_destroy(&j->grid);
    syz_compute_destroy(&j->compute);
  }
  syz_free(&j);
  return st;
}
