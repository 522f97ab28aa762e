/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * DINOv2's objective: its parts on a rank, the rules of its parameters, and its state in checkpoints. A step is in
 * dino_step.c.
 */
#include "dino.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------- plan */

/* Objects with an image; how many were left out. */
static syz_status choose_objects(dino *d, int64_t *left_out)
{
  syz_status st = SYZ_OK;
  const int64_t all = syz_shardset_size(d->shards);
  const syz_object *table = syz_shardset_objects(d->shards);
  SYZ_ALLOC(d->object, "objects with an image", all + 1);
  for (int64_t i = 0; i < all; i++)
    if (syz_object_has(&table[i], SYZ_IMAGE)) d->object[d->n_objects++] = i;
  *left_out = all - d->n_objects;
  SYZ_REQUIRE(d->n_objects > 0, SYZ_ERR_DATA, "none of the %" PRId64 " objects has an image: nothing to learn from",
              all);
cleanup:
  return st;
}

static syz_status check_memory(dino *d)
{
  syz_status st = SYZ_OK;
  syz_memory_fit fit;
  syz_plan plan;
  SYZ_TRY_ALL(d->world, syz_dino_plan(&d->options, syz_comm_size(d->grid->data), d->student, &plan));
  SYZ_TRY(syz_memory_check(d->world, syz_model_nodes(d->student), &plan, &fit));
  SYZ_TRY_ALL(d->world, syz_memory_refuse(&fit, ", or a smaller train.global_batch"));
cleanup:
  return st;
}

static syz_status create_head(dino *d, int h, const syz_compute *compute)
{
  syz_status st = SYZ_OK;
  dino_head *q = &d->head[h];
  const dino_sizes *z = &d->sizes;
  const syz_distillation_config config = dino_distillation_config(&d->options, syz_model_get_config(d->student), z, h);
  q->part = dino_head_part(h);
  SYZ_TRY(syz_projection_create(d->student, q->part, dino_head_rows(z, h, true, z->passes.chunk), true, &q->student));
  SYZ_TRY(syz_projection_create(d->teacher, q->part, dino_head_rows(z, h, false, z->passes.chunk), false, &q->teacher));
  SYZ_TRY(syz_distillation_create(d->world, compute, &config, &q->loss));
  q->batch.weight_student = syz_model_weights(d->student) + syz_projection_prototypes(d->student, q->part);
  SYZ_ALLOC(q->leaf_student, "leaves", z->leaves + 1);
  q->batch.leaf_student = q->leaf_student;
  for (int s = 0; s < SYZ_TARGET_SETS; s++) {
    SYZ_ALLOC(q->leaf_teacher[s], "leaves", z->leaves + 1);
    q->batch.leaf_teacher[s] = q->leaf_teacher[s];
  }
  q->batch.weight_teacher = syz_model_weights(d->teacher) + syz_projection_prototypes(d->teacher, q->part);
cleanup:
  return st;
}

static syz_status create_local(dino *d, const syz_compute *compute)
{
  syz_status st = SYZ_OK;
  const dino_sizes *z = &d->sizes;
  const int64_t bottleneck = syz_model_get_config(d->student)->dino.bottleneck,
                chosen = dino_rows(z, true, z->passes.chunk);
  const dino_sizes *planned = d->grid->tensor ? &d->largest : z; /* all ranks of a tensor group make the same plan */
  const syz_crops_config seen = dino_crops_config(&d->options, planned, true),
                         taught = dino_crops_config(&d->options, planned, false);
  SYZ_TRY(syz_crops_create(d->student, &seen, &d->seen));
  SYZ_TRY(syz_crops_create(d->teacher, &taught, &d->taught));
  for (int h = 0; h < z->heads; h++) SYZ_TRY(create_head(d, h, compute));
  for (int64_t c = 0; c < z->crops; c++)
    SYZ_TRY(syz_koleo_create(d->world, compute, d->options.global_batch, z->width, &d->koleo[c]));
  SYZ_ALLOC(d->mask, "masks", z->count * z->crops * z->patches + 1);
  SYZ_ALLOC(d->pass, "passes", z->passes.n);
  SYZ_ALLOC(d->row, "chosen tokens", chosen + 1);
  SYZ_ALLOC(d->place, "chosen tokens", chosen + 1);
  SYZ_ALLOC(d->chosen, "chosen tokens", chosen * z->width + 1);
  SYZ_ALLOC(d->koleo_rows, "class tokens", z->crops * z->count * z->width + 1);
  SYZ_ALLOC(d->token, "chosen tokens", z->most_student * z->width + 1);
  SYZ_ALLOC(d->z, "projections", z->most_student * bottleneck + 1);
  SYZ_ALLOC(d->dz, "projections", z->most_student * bottleneck + 1);
  SYZ_ALLOC(d->z_teacher, "projections", z->most_teacher * bottleneck + 1);
  SYZ_ALLOC(d->target, "targets", z->most_student * SYZ_TARGETS_PER_ROW + 1);
  SYZ_ALLOC(d->row_weight, "row weights", z->most_student + 1);
  SYZ_ALLOC(d->term, "terms of rows", z->most_student + 1);
cleanup:
  return st;
}

static void destroy(void *self)
{
  dino *d = self;
  if (!d) return;
  syz_loader_destroy(&d->loader);
  syz_crops_destroy(&d->seen);
  syz_crops_destroy(&d->taught);
  for (int h = 0; h < DINO_HEADS; h++) {
    syz_projection_destroy(&d->head[h].student);
    syz_projection_destroy(&d->head[h].teacher);
    syz_distillation_destroy(&d->head[h].loss);
    syz_free(&d->head[h].leaf_student);
    for (int s = 0; s < SYZ_TARGET_SETS; s++) syz_free(&d->head[h].leaf_teacher[s]);
  }
  for (int c = 0; c < SYZ_TARGETS_PER_ROW; c++) syz_koleo_destroy(&d->koleo[c]);
  syz_free(&d->object);
  syz_free(&d->mask);
  syz_free(&d->pass);
  syz_free(&d->koleo_rows);
  syz_free(&d->row);
  syz_free(&d->place);
  syz_free(&d->chosen);
  syz_free(&d->token);
  syz_free(&d->z);
  syz_free(&d->dz);
  syz_free(&d->z_teacher);
  syz_free(&d->target);
  syz_free(&d->row_weight);
  syz_free(&d->term);
  syz_free(&d);
}

static syz_status begin(void *self, int64_t first, int64_t last)
{
  syz_status st = SYZ_OK;
  dino *d = self;
  syz_loader_destroy(&d->loader);
  if (first >= last) return st;
  dino_pack(d);
  syz_loader_config config = dino_loader_config(&d->options, &d->sizes);
  config.sampler = d->sampler;
  config.subset = d->object;
  config.first_step = first;
  config.last_step = last;
  SYZ_TRY_ALL(d->world, syz_loader_create(d->shards, &config, &d->loader));
cleanup:
  return st;
}

static syz_status validate(void *self, int64_t step, const double *scalar, syz_validation *out)
{
  dino *d = self;
  (void)scalar;
  out->n = 0;
  return d->judge.judge ? d->judge.judge(d->judge.context, step, out) : SYZ_OK;
}

/* ------------------------------------------------------------------ create */

/* Published: get_vit_lr_decay_rate and get_params_groups_with_decay of DINOv2's utils/param_groups.py. */
static void rule(void *self, const syz_parameter *p, syz_rule *out)
{
  const dino *d = self;
  const int64_t depth = syz_model_get_config(d->student)->image.depth;
  const char *name = p->name, *block = strstr(name, "blocks.");
  const size_t n = strlen(name);
  int64_t layer = depth + 1;
  if (p->part == SYZ_PART_IMAGE_BACKBONE) {
    if (strstr(name, "pos_embed") || strstr(name, "cls_token") || strstr(name, "mask_token") ||
        strstr(name, "register_tokens") || strstr(name, "patch_embed"))
      layer = 0;
    else if (block)
      layer = strtoll(block + strlen("blocks."), NULL, 10) + 1;
  }
  out->lr_factor = pow(d->options.layer_decay, (double)(depth + 1 - layer));
  if (strstr(name, "patch_embed")) out->lr_factor *= d->options.patch_lr_factor;
  const bool is_bias = n > 5 && strcmp(name + n - 5, ".bias") == 0;
  if (is_bias || strstr(name, "norm") || strstr(name, "gamma")) out->decay_factor = 0;
  if (strstr(name, "last_layer")) out->frozen_steps = d->options.freeze_last_layer_steps;
  out->clip_group = p->part == SYZ_PART_IMAGE_BACKBONE ? 0 : p->part == SYZ_PART_DINO_HEAD ? 1 : 2;
}

static void add_array(syz_objective *o, const char *name, float *x, int64_t count)
{
  o->array[o->n_arrays++] = (syz_array){.name = name, .x = x, .count = count};
}

static void add_arrays(dino *d, syz_objective *o)
{
  const int64_t prototypes = syz_model_get_config(d->student)->dino.prototypes;
  add_array(o, "teacher", syz_model_weights(d->teacher), syz_model_size(d->teacher));
  o->array[0].nodes = syz_model_nodes(d->teacher);
  if (d->options.centring != SYZ_CENTRE_MEAN) return;
  const int last = d->sizes.heads - 1;
  add_array(o, "centre", syz_distillation_centre(d->head[0].loss, 0), prototypes);
  add_array(o, "centre_patch", syz_distillation_centre(d->head[last].loss, last == 0), prototypes);
}

syz_status syz_dino_create(const syz_dino_options *options, const syz_grid *grid, const syz_compute *compute,
                           syz_model *student, syz_model *teacher, syz_shardset *train, const syz_judge *judge,
                           syz_timing *timing, syz_objective *out)
{
  syz_status st = SYZ_OK;
  int64_t left_out = 0;
  *out = (syz_objective){.name = "pretrain-image",
                         .n_terms = DINO_TERMS,
                         .term_name = {"dino_global", "dino_local", "ibot", "koleo", "target_entropy",
                                       "target_entropy_patch", "mean_target_entropy", "mean_target_entropy_patch",
                                       "embedding_spread", "teacher_temperature", "momentum"},
                         .clip_group_name = {"backbone", "dino_head", "ibot_head"},
                         .result = teacher,
                         .begin = begin,
                         .forward = dino_forward,
                         .backward = dino_backward,
                         .rule = rule,
                         .updated = dino_updated,
                         .describe = dino_describe,
                         .validate = validate,
                         .destroy = destroy};
  dino *d = syz_alloc("dino", 1, sizeof *d);
  SYZ_TRY_ALL(grid->world, d ? SYZ_OK : SYZ_ERR_MEMORY);
  d->options = *options;
  d->grid = grid;
  d->world = grid->world;
  d->student = student;
  d->teacher = teacher;
  d->timing = timing;
  if (judge) d->judge = *judge;
  d->shards = train;
  d->threads = syz_compute_threads(compute);
  SYZ_ASSERT(syz_model_size(student) == syz_model_size(teacher) && grid->towers == SYZ_TOWERS_TOGETHER);
  SYZ_TRY_ALL(d->world, syz_dino_check(options, syz_model_get_config(student)));
  SYZ_TRY_ALL(d->world, choose_objects(d, &left_out));
  dino_sizes_of(options, syz_model_get_config(student), syz_comm_size(d->world), syz_comm_rank(d->world), &d->sizes);
  dino_sizes_of(options, syz_model_get_config(student), syz_comm_size(d->world), 0, &d->largest);
  if (grid->tensor) syz_passes_pad(&d->sizes.passes, d->largest.count, d->largest.passes.chunk);
  d->sampler = (syz_sampler){
      .n = d->n_objects, .global_batch = options->global_batch, .seed = options->seed, .shuffles = options->shuffles};
  if (left_out) syz_warn("%" PRId64 " objects have no image and are left out", left_out);
  if (options->global_batch > d->n_objects)
    syz_warn("train.global_batch %" PRId64 " is more than the %" PRId64
             " objects: some are in a batch twice, and KoLeo pushes their class tokens apart",
             options->global_batch, d->n_objects);
  SYZ_TRY(check_memory(d));
  SYZ_TRY_ALL(d->world, create_local(d, compute));
  out->n_clip_groups = 1 + d->sizes.heads;
  add_arrays(d, out);
  out->self = d;
cleanup:
  if (st != SYZ_OK) {
    destroy(d);
    *out = (syz_objective){0};
  }
  return st;
}
