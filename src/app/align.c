/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * `align` trains both towers to embed into one space, with the InfoNCE loss over the global batch. The initial weights
 * come from one model file, from the files of two single towers, or from the seed.
 */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "training.h"
#include "syzygy/objectives.h"

#define ALIGN SYZ_USED_BY(align)

const syz_key syz_align_keys[] = {
    {"model.image_file", SYZ_KEY_TEXT, "", "model file", 0, 0, NULL, ALIGN,
     "Image tower to start from; its model.image section then replaces the input's."},
    {"model.spectrum_file", SYZ_KEY_TEXT, "", "model file", 0, 0, NULL, ALIGN,
     "Spectrum tower to start from; its model.spectrum section then replaces the input's."},
    {"train.freeze_backbones", SYZ_KEY_BOOL, "true", "", 0, 0, NULL, ALIGN,
     "Train only the pooling heads, on tokens computed once."},
    {"train.token_cache", SYZ_KEY_CHOICE, "disk", "", 0, 0, "disk|memory|none", ALIGN,
     "Where the tokens of frozen towers are stored; none: the towers run in every step."},
    {"train.token_cache_dir", SYZ_KEY_TEXT, "", "folder", 0, 0, NULL, ALIGN,
     "Folder of the token cache on disk; empty: <output.dir>/cache."},
    {"train.logit_scale", SYZ_KEY_REAL, "15.5", "", 1e-3, 1e4, NULL, ALIGN,
     "Factor of the cosines (inverse temperature); the initial value when it is learned."},
    {"loss.ring_pairs", SYZ_KEY_INT, "16384", "pairs", 0, 1e12, NULL, ALIGN,
     "Largest global batch whose embeddings every rank holds; those of a larger one travel around the ranks. 0: "
     "always."},
    {"train.learn_logit_scale", SYZ_KEY_BOOL, "false", "", 0, 0, NULL, ALIGN, "Learn the logarithm of logit_scale."},
    {"augment.image_noise", SYZ_KEY_REAL, "0", "nanomaggy", 0, 1e6, NULL, ALIGN,
     "Standard deviation of noise added to image pixels."},
    {"augment.spectrum_noise", SYZ_KEY_REAL, "0", "1/sqrt(ivar)", 0, 1e6, NULL, ALIGN,
     "Noise added to spectra, in units of their own noise (1/sqrt(ivar))."},
    {"augment.mask_runs", SYZ_KEY_INT, "0", "", 0, 1000, NULL, ALIGN,
     "Number of runs of pixels that are set to zero in each spectrum."},
    {"augment.mask_run_pixels", SYZ_KEY_INT, "0", "pixels", 0, 7781, NULL, ALIGN,
     "Length of each of the augment.mask_runs runs."},
    {"parallel.towers", SYZ_KEY_CHOICE, "together", "", 0, 0, "together|apart", ALIGN,
     "together: every rank holds both towers; apart: some ranks hold the image tower, the others the spectrum "
     "tower, in proportion to the cost of each."},
    {NULL, SYZ_KEY_INT, "", "", 0, 0, NULL, 0, NULL}};

/* The keys of this command alone that a checkpoint records. */
static const syz_remembered own_facts[] = {
    {"train.freeze_backbones", SYZ_KEY_BOOL, true},  {"train.learn_logit_scale", SYZ_KEY_BOOL, true},
    {"train.logit_scale", SYZ_KEY_REAL, false},      {"augment.flips", SYZ_KEY_BOOL, false},
    {"augment.quarter_turns", SYZ_KEY_BOOL, false},  {"augment.image_noise", SYZ_KEY_REAL, false},
    {"augment.spectrum_noise", SYZ_KEY_REAL, false}, {"augment.mask_runs", SYZ_KEY_INT, false},
    {"augment.mask_run_pixels", SYZ_KEY_INT, false},
};

typedef struct state {
  syz_align_config align;
  char cache_folder[PATH_MAX];
} state;

/* ------------------------------------------------------------------ model */

/* The configuration in the model files that training starts from. */
static syz_status take_config(syz_training *t)
{
  syz_status st = SYZ_OK;
  syz_comm *world = t->app->world;
  static const char *const section[] = {"model.image.", "model.spectrum.", "model.embedding."};
  const char *whole = syz_input_text(t->in, "model.file");
  const char *one[SYZ_MODALITIES] = {syz_input_text(t->in, "model.image_file"),
                                     syz_input_text(t->in, "model.spectrum_file")};
  syz_model_config config;
  syz_model_parts parts;
  SYZ_REQUIRE(!*whole || (!*one[0] && !*one[1]), SYZ_ERR_INPUT,
              "model.file and model.image_file or model.spectrum_file: give the one or the others");
  if (*whole) {
    SYZ_TRY(syz_model_file_parts(world, whole, &config, &parts));
    SYZ_TRY_ALL(world, syz_training_take_config(t, whole, &config, "model."));
  }
  for (int m = 0; m < SYZ_MODALITIES; m++) {
    if (!*one[m]) continue;
    SYZ_TRY(syz_model_file_parts(world, one[m], &config, &parts));
    SYZ_REQUIRE(parts.has[syz_part_of((syz_modality)m, false)], SYZ_ERR_DATA, "%s: has no %s tower", one[m],
                syz_modality_name((syz_modality)m));
    SYZ_TRY_ALL(world, syz_training_take_config(t, one[m], &config, section[m]));
    if (parts.has[syz_part_of((syz_modality)m, true)])
      SYZ_TRY_ALL(world, syz_training_take_config(t, one[m], &config, section[2]));
  }
cleanup:
  return st;
}

/* Read one tower of a file into the model of both. Collective over world; agreed: ranks without that tower take part.
 */
static syz_status read_tower(syz_training *t, const char *path, syz_modality m)
{
  syz_status st = SYZ_OK;
  syz_model *one = NULL;
  syz_comm *world = t->app->world;
  SYZ_TRY_ALL(world, syz_model_create(&t->config, m == SYZ_IMAGE, m == SYZ_SPECTRUM, t->compute, &one));
  syz_model_initialise(one, (uint64_t)syz_input_int(t->in, "seed"));
  SYZ_TRY(syz_model_file_read(world, path, one, true));
  if (syz_model_has(t->model, m)) {
    for (int head = 0; head < 2; head++) {
      int64_t from, to, count, room;
      syz_model_range(one, syz_part_of(m, head), &from, &count);
      syz_model_range(t->model, syz_part_of(m, head), &to, &room);
      SYZ_ASSERT(count == room);
      syz_model_set_weights(t->model, to, syz_model_weights(one) + from, count);
    }
  }
  syz_info("the %s tower starts from %s", syz_modality_name(m), path);
cleanup:
  syz_model_destroy(&one);
  return st;
}

static syz_status make_model(syz_training *t)
{
  syz_status st = SYZ_OK;
  syz_comm *world = t->app->world;
  const char *whole = syz_input_text(t->in, "model.file");
  const char *one[SYZ_MODALITIES] = {syz_input_text(t->in, "model.image_file"),
                                     syz_input_text(t->in, "model.spectrum_file")};
  SYZ_TRY_ALL(world, syz_model_create(&t->config, t->grid.has_image, t->grid.has_spectrum, t->compute, &t->model));
  syz_model_recompute(t->model, syz_input_int(t->in, "train.recompute"));
  SYZ_TRY(syz_training_share_blocks(t, t->model));
  SYZ_TRY(syz_training_share_weights(t, t->model));
  syz_training_initialise(t, t->model, *whole || *one[SYZ_IMAGE] || *one[SYZ_SPECTRUM]);
  if (*whole) {
    syz_model_config config;
    syz_model_parts parts;
    SYZ_TRY(syz_model_file_parts(world, whole, &config, &parts));
    SYZ_TRY(syz_model_file_read(world, whole, t->model, true));
    syz_info("the model starts from %s", whole);
    for (int m = 0; m < SYZ_MODALITIES; m++) {
      if (!parts.has[syz_part_of((syz_modality)m, false)])
        syz_warn("%s has no %s tower: this tower starts with random weights", whole,
                 syz_modality_name((syz_modality)m));
      if (!parts.has[syz_part_of((syz_modality)m, true)])
        syz_info("%s has no %s head: this head starts with random weights", whole, syz_modality_name((syz_modality)m));
    }
  }
  for (int m = 0; m < SYZ_MODALITIES; m++)
    if (*one[m]) SYZ_TRY(read_tower(t, one[m], (syz_modality)m));
  for (int m = 0; m < SYZ_MODALITIES; m++)
    if (!*whole && !*one[m] && syz_input_bool(t->in, "train.freeze_backbones"))
      syz_warn("the frozen %s tower has random weights (model.file or model.%s_file gives a trained one; "
               "train.freeze_backbones=false trains it)",
               syz_modality_name((syz_modality)m), syz_modality_name((syz_modality)m));
cleanup:
  return st;
}

/* ------------------------------------------------------------------- input */

static void read_align(syz_training *t)
{
  const syz_input *in = t->in;
  state *s = t->own;
  const char *cache = syz_input_text(in, "train.token_cache");
  s->align = (syz_align_config){
      .seed = (uint64_t)syz_input_int(in, "seed"),
      .global_batch = syz_input_int(in, "train.global_batch"),
      .micro_batch = syz_input_int(in, "train.micro_batch"),
      .leaves = syz_training_leaves(in),
      .freezes_backbones = syz_input_bool(in, "train.freeze_backbones"),
      .shuffles = syz_input_bool(in, "data.shuffle"),
      .learns_logit_scale = syz_input_bool(in, "train.learn_logit_scale"),
      .logit_scale = syz_input_real(in, "train.logit_scale"),
      .ring_pairs = syz_input_int(in, "loss.ring_pairs"),
      .augment = {.flips = syz_input_bool(in, "augment.flips"),
                  .quarter_turns = syz_input_bool(in, "augment.quarter_turns"),
                  .image_noise = syz_input_real(in, "augment.image_noise"),
                  .spectrum_noise = syz_input_real(in, "augment.spectrum_noise"),
                  .mask_runs = (int)syz_input_int(in, "augment.mask_runs"),
                  .mask_run_pixels = (int)syz_input_int(in, "augment.mask_run_pixels")},
      .cache = strcmp(cache, "disk") == 0     ? SYZ_CACHE_DISK
               : strcmp(cache, "memory") == 0 ? SYZ_CACHE_MEMORY
                                              : SYZ_CACHE_NONE,
      .cache_folder = s->cache_folder,
      .validate_objects = syz_input_int(in, "train.validate_objects"),
      .loader_ahead = (int)syz_input_int(in, "train.read_ahead"),
      .folder = syz_input_text(in, "output.dir"),
      .time_limit_s = syz_input_real(in, "train.time_limit_s"),
  };
}

static syz_status name_cache(const syz_input *in, char folder[PATH_MAX])
{
  syz_status st = SYZ_OK;
  if (*syz_input_text(in, "train.token_cache_dir"))
    snprintf(folder, PATH_MAX, "%s", syz_input_text(in, "train.token_cache_dir"));
  else
    SYZ_REQUIRE(snprintf(folder, PATH_MAX, "%s/cache", syz_input_text(in, "output.dir")) < PATH_MAX, SYZ_ERR_INPUT,
                "output.dir: the name is too long");
cleanup:
  return st;
}

static syz_status read_options(syz_training *t)
{
  syz_status st = SYZ_OK;
  const syz_input *in = t->in;
  state *s = t->own;
  SYZ_TRY(name_cache(in, s->cache_folder));
  read_align(t);
  t->freezes_backbones = s->align.freezes_backbones;
  SYZ_REQUIRE((syz_input_int(in, "augment.mask_runs") > 0) == (syz_input_int(in, "augment.mask_run_pixels") > 0),
              SYZ_ERR_INPUT, "augment.mask_runs and augment.mask_run_pixels: either both or neither must be 0");
  SYZ_TRY(syz_align_check(&s->align));
cleanup:
  return st;
}

/* ---------------------------------------------------------------- plan, run */

static syz_status check_data(const syz_training *t)
{
  syz_status st = SYZ_OK;
  const state *s = t->own;
  SYZ_REQUIRE(s->align.augment.spectrum_noise <= 0 || syz_shardset_has_ivar(t->train), SYZ_ERR_INPUT,
              "augment.spectrum_noise is in units of 1/sqrt(ivar), but data.path holds no inverse variances");
cleanup:
  return st;
}

static syz_status make_grid(syz_training *t)
{
  const bool are_apart = strcmp(syz_input_text(t->in, "parallel.towers"), "apart") == 0;
  return syz_grid_create(t->app->world, are_apart ? SYZ_TOWERS_APART : SYZ_TOWERS_TOGETHER,
                         syz_model_flops(&t->config, SYZ_IMAGE), syz_model_flops(&t->config, SYZ_SPECTRUM), &t->grid);
}

static void remember(syz_training *t)
{
  syz_training_remember(t, own_facts, (int)(sizeof own_facts / sizeof *own_facts));
}

static syz_status plan(void *training, int64_t global_batch, int ranks, syz_plan *out)
{
  const syz_training *t = training;
  const state *s = t->own;
  syz_align_config config = s->align;
  config.global_batch = global_batch;
  return syz_align_plan(&config, ranks, t->model, out);
}

static syz_status create(syz_training *t, syz_objective *out)
{
  const state *s = t->own;
  return syz_align_create(&s->align, &t->grid, t->compute, t->model, t->train, t->test, &t->app->timing, out);
}

const syz_training_method syz_align_method = {
    .skips = SYZ_BAD_SKIPPED,
    .lr_divisor = 500, /* src/model/README.md "Alignment" */
    .decay_is_constant = true,
    .state_bytes = sizeof(state),
    .read = read_options,
    .take_config = take_config,
    .check_data = check_data,
    .make_grid = make_grid,
    .make_model = make_model,
    .remember = remember,
    .plan = plan,
    .create = create,
};
