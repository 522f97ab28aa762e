/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * What `pretrain-image` feeds its networks, for a program that repeats the run: crops, block-wise masks and the crops
 * that stochastic depth keeps.
 *
 *     dino_driver OUT.h5 SHARDS seed=5 steps=3 batch=7 shuffle=0 patch=12 depth=3 global_size=72 global_crops=2
 *         local_size=36 local_crops=4 ...
 *
 * Names not given have the values of the table below. Writes step-<s>/ with global [B, G, 3, s, s], local [B, L, 3, s,
 * s] (planes z, r, g), mask [B G, patches], kept_global [depth, 2, B G], kept_local [depth, 2, B L] (1 = kept) and
 * index [B] (objects of the data set). The batch is taken whole, on one rank: on any other number of ranks the program
 * must feed the same.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "syzygy/data.h"
#include "syzygy/model.h"
#include "../../src/model/crops.h"

/* Names of the command line and what they are when they are not given. */
typedef enum name {
  SEED,
  STEPS,
  BATCH,
  SHUFFLE,
  PATCH,
  DEPTH,
  GLOBAL_SIZE,
  GLOBAL_CROPS,
  LOCAL_SIZE,
  LOCAL_CROPS,
  FLIPS,
  TURNS,
  BLUR_FIRST,
  BLUR_GLOBAL,
  BLUR_LOCAL,
  NOISE_FIRST,
  NOISE_GLOBAL,
  NOISE_LOCAL,
  MASK_PROBABILITY,
  MASK_RATIO_MIN,
  MASK_RATIO_MAX,
  MASK_ASPECT_MIN,
  DROP_RATE,
  NAMES
} name;
static const struct {
  const char *name;
  double value;
} preset[NAMES] = {{"seed", 0},
                   {"steps", 3},
                   {"batch", 7},
                   {"shuffle", 0},
                   {"patch", 12},
                   {"depth", 3},
                   {"global_size", 144},
                   {"global_crops", 2},
                   {"local_size", 60},
                   {"local_crops", 8},
                   {"flips", 1},
                   {"turns", 1},
                   {"blur_first", 0},
                   {"blur_global", 0.9},
                   {"blur_local", 0.5},
                   {"noise_first", 0},
                   {"noise_global", 0.9},
                   {"noise_local", 0.5},
                   {"mask_probability", 0.5},
                   {"mask_ratio_min", 0.1},
                   {"mask_ratio_max", 0.5},
                   {"mask_aspect_min", 0.3},
                   {"drop_rate", 0.3}};

typedef struct job {
  double value[NAMES];
  syz_h5 *out;
} job;

static int64_t whole(const job *j, name n) { return (int64_t)j->value[n]; }

static syz_status read_arguments(int argc, char **argv, job *j)
{
  syz_status st = SYZ_OK;
  for (int i = 0; i < NAMES; i++) j->value[i] = preset[i].value;
  for (int a = 3; a < argc; a++) {
    const char *equals = strchr(argv[a], '=');
    int found = NAMES;
    char *end = NULL;
    for (int i = 0; i < NAMES && equals; i++)
      if (strlen(preset[i].name) == (size_t)(equals - argv[a]) &&
          strncmp(argv[a], preset[i].name, strlen(preset[i].name)) == 0)
        found = i;
    SYZ_REQUIRE(found < NAMES, SYZ_ERR_INPUT, "%s: no such name", argv[a]);
    j->value[found] = strtod(equals + 1, &end);
    SYZ_REQUIRE(end != equals + 1 && !*end, SYZ_ERR_INPUT, "%s: not a number", argv[a]);
  }
cleanup:
  return st;
}

static syz_status write(job *j, int64_t step, const char *what, syz_h5_type type, int64_t rows, int ndim,
                        const int64_t *shape, const void *data)
{
  char path[64];
  snprintf(path, sizeof path, "step-%lld/%s", (long long)step, what);
  return syz_h5_write(j->out, path, type, rows, ndim, shape, 0, rows, data, "1", "input of a pretraining step");
}

static syz_status write_masks(job *j, int64_t step)
{
  syz_status st = SYZ_OK;
  const int64_t side = whole(j, GLOBAL_SIZE) / whole(j, PATCH), patches = side * side,
                crops = whole(j, BATCH) * whole(j, GLOBAL_CROPS);
  const syz_block_masks masks = {.crops = crops,
                                 .side = side,
                                 .probability = j->value[MASK_PROBABILITY],
                                 .ratio_min = j->value[MASK_RATIO_MIN],
                                 .ratio_max = j->value[MASK_RATIO_MAX],
                                 .aspect_min = j->value[MASK_ASPECT_MIN]};
  uint8_t *mask = NULL;
  SYZ_ALLOC(mask, "masks", crops * patches);
  for (int64_t i = 0; i < crops; i++) syz_block_mask(&masks, (uint64_t)whole(j, SEED), step, i, mask + i * patches);
  SYZ_TRY(write(j, step, "mask", SYZ_H5_U8, crops, 1, &patches, mask));
cleanup:
  syz_free(&mask);
  return st;
}

static syz_status write_kept(job *j, int64_t step, int group, const char *what)
{
  syz_status st = SYZ_OK;
  const int64_t depth = whole(j, DEPTH), crops = whole(j, BATCH) * whole(j, group == 0 ? GLOBAL_CROPS : LOCAL_CROPS);
  uint8_t *kept = NULL;
  if (crops == 0) goto cleanup;
  SYZ_ALLOC(kept, "kept", depth * 2 * crops);
  for (int64_t b = 0; b < depth; b++)
    for (int branch = 0; branch < 2; branch++)
      for (int64_t i = 0; i < crops; i++)
        kept[(b * 2 + branch) * crops + i] =
            syz_drop_path_keeps((uint64_t)whole(j, SEED), (uint64_t)step, b, branch, group, j->value[DROP_RATE], i) ? 1
                                                                                                                    : 0;
  SYZ_TRY(write(j, step, what, SYZ_H5_U8, depth, 2, (int64_t[]){2, crops}, kept));
cleanup:
  syz_free(&kept);
  return st;
}

static syz_status write_steps(job *j, syz_shardset *set)
{
  syz_status st = SYZ_OK;
  syz_loader *loader = NULL;
  const int64_t batch = whole(j, BATCH), steps = whole(j, STEPS);
  const syz_crops_augment crops = {.size = {whole(j, GLOBAL_SIZE), whole(j, LOCAL_SIZE)},
                                   .count = {whole(j, GLOBAL_CROPS), whole(j, LOCAL_CROPS)},
                                   .blur_first = j->value[BLUR_FIRST],
                                   .blur_global = j->value[BLUR_GLOBAL],
                                   .blur_local = j->value[BLUR_LOCAL],
                                   .noise_first = j->value[NOISE_FIRST],
                                   .noise_global = j->value[NOISE_GLOBAL],
                                   .noise_local = j->value[NOISE_LOCAL],
                                   .flips = whole(j, FLIPS) != 0,
                                   .quarter_turns = whole(j, TURNS) != 0};
  const syz_loader_config config = {.sampler = {.n = syz_shardset_size(set),
                                                .global_batch = batch,
                                                .seed = (uint64_t)whole(j, SEED),
                                                .shuffles = whole(j, SHUFFLE) != 0},
                                    .first_place = 0,
                                    .count = batch,
                                    .last_step = steps,
                                    .crops = &crops,
                                    .ahead = 1};
  static const char *const crop_name[SYZ_CROP_GROUPS] = {"global", "local"}, *const kept_name[SYZ_CROP_GROUPS] = {
                                                                                 "kept_global", "kept_local"};
  SYZ_TRY(syz_loader_create(set, &config, &loader));
  for (int64_t s = 0; s < steps; s++) {
    syz_batch b;
    double wait_s = 0;
    SYZ_TRY(syz_loader_next(loader, &b, &wait_s));
    SYZ_REQUIRE(b.step == s && b.n == batch, SYZ_ERR_INTERNAL, "the loader gave step %lld with %lld objects",
                (long long)b.step, (long long)b.n);
    for (int g = 0; g < SYZ_CROP_GROUPS; g++)
      if (crops.count[g] > 0)
        SYZ_TRY(write(j, s, crop_name[g], SYZ_H5_F32, batch, 4,
                      (int64_t[]){crops.count[g], SYZ_BANDS, crops.size[g], crops.size[g]}, b.crop[g]));
    SYZ_TRY(write(j, s, "index", SYZ_H5_I64, batch, 0, NULL, b.index));
    SYZ_TRY(write_masks(j, s));
    for (int g = 0; g < SYZ_CROP_GROUPS; g++) SYZ_TRY(write_kept(j, s, g, kept_name[g]));
  }
cleanup:
  syz_loader_destroy(&loader);
  return st;
}

int main(int argc, char **argv)
{
  syz_status st = SYZ_OK;
  syz_comm *world = NULL;
  syz_shardset *set = NULL;
  job j = {0};
  if (syz_comm_start(&argc, &argv, &world) != SYZ_OK) return 1;
  SYZ_REQUIRE(argc >= 3, SYZ_ERR_INPUT, "dino_driver OUT.h5 SHARDS [name=value]...");
  SYZ_TRY(read_arguments(argc, argv, &j));
  SYZ_TRY(syz_shardset_open(world, 1, (const char *const *)&argv[2], SYZ_SPLIT_ALL, false, &set));
  SYZ_TRY(syz_h5_create(NULL, argv[1], "test", "dino_driver", "", &j.out));
  SYZ_TRY(write_steps(&j, set));
  SYZ_TRY(syz_h5_publish(&j.out));
cleanup:
  if (st != SYZ_OK) fprintf(stderr, "%s\n", syz_error_text());
  syz_h5_close(&j.out);
  syz_shardset_close(&set);
  syz_comm_finish(&world);
  return (int)st;
}
