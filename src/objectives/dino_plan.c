/* SPDX-License-Identifier: BSD-3-Clause */
/** The memory of a DINOv2 step, and the check of its options. */
#include <inttypes.h>

#include "dino.h"

syz_loader_config dino_loader_config(const syz_dino_options *o, const dino_sizes *z)
{
  return (syz_loader_config){.first_place = z->first, .count = z->count, .crops = &o->crops, .ahead = o->loader_ahead};
}

/* -------------------------------------------------------------------- cost */

syz_status syz_dino_plan(const syz_dino_options *o, int ranks, const syz_model *student, syz_plan *out)
{
  const syz_model_config *c = syz_model_get_config(student);
  const syz_compute *compute = syz_model_get_compute(student);
  const int64_t size = syz_model_size(student);
  dino_sizes z;
  dino_sizes_of(o, c, ranks, 0, &z); /* the first rank has the largest share */
  const syz_crops_config seen = dino_crops_config(o, &z, true), taught = dino_crops_config(o, &z, false);
  const syz_loader_config loader = dino_loader_config(o, &z);
  size_t heads = 0, losses = (size_t)z.crops * syz_koleo_bytes(compute, o->global_batch, z.width);
  const size_t student_bytes = syz_crops_bytes(student, &seen), teacher_bytes = syz_crops_bytes(student, &taught);
  *out = (syz_plan){.n = 0};
  if (!student_bytes || !teacher_bytes) return SYZ_ERR_MEMORY; /* the error text names the layer */
  syz_plan_add_parameters(out, size, size, ranks);
  syz_plan_add_weights(out, "teacher's weights", size);
  syz_plan_add(out, "student: packed, activations", student_bytes);
  syz_plan_add(out, "teacher: packed, activations", teacher_bytes);
  for (int h = 0; h < z.heads; h++) {
    const syz_distillation_config d = dino_distillation_config(o, c, &z, h);
    heads += syz_projection_bytes(student, dino_head_part(h), dino_head_rows(&z, h, true, z.passes.chunk), true);
    heads += syz_projection_bytes(student, dino_head_part(h), dino_head_rows(&z, h, false, z.passes.chunk), false);
    losses += syz_distillation_bytes(compute, &d);
  }
  /* Chosen tokens and their gradients, projections, targets, masks. */
  const int64_t chosen = dino_rows(&z, true, z.passes.chunk);
  losses += (size_t)((chosen + z.most_student + z.crops * z.count) * z.width +
                     (2 * z.most_student + z.most_teacher) * c->dino.bottleneck) *
            sizeof(float);
  losses += (size_t)(z.most_student * (SYZ_TARGETS_PER_ROW + 1) + 2 * chosen) * sizeof(int64_t) +
            (size_t)(z.count * z.crops * z.patches);
  if (o->leaves > 0) syz_plan_add(out, "gradients of leaves", syz_gradients_leaf_bytes(size, z.leaves, ranks));
  syz_plan_add(out, "projection heads", heads);
  syz_plan_add(out, "losses", losses);
  syz_plan_add(out, "batches read ahead", syz_loader_bytes(&loader));
  syz_plan_add_process(out);
  dino_work(o, &z, student, &out->work);
  return SYZ_OK;
}

/* ------------------------------------------------------------------- check */

static syz_status check_crop(const char *key, int64_t size, int64_t patch)
{
  syz_status st = SYZ_OK;
  SYZ_REQUIRE(size >= patch && size <= SYZ_IMAGE_SIZE, SYZ_ERR_INPUT,
              "%s = %" PRId64 " is outside %" PRId64 " (a patch) .. %d (a stamp)", key, size, patch, SYZ_IMAGE_SIZE);
  SYZ_REQUIRE(size % patch == 0, SYZ_ERR_INPUT, "%s = %" PRId64 " is not a multiple of model.image.patch = %" PRId64,
              key, size, patch);
cleanup:
  return st;
}

static bool is_share(double x) { return x >= 0 && x <= 1; }

syz_status syz_dino_check(const syz_dino_options *o, const syz_model_config *c)
{
  syz_status st = SYZ_OK;
  const int64_t G = o->crops.count[DINO_GLOBAL], L = o->crops.count[DINO_LOCAL];
  SYZ_REQUIRE(c->image.tokens == SYZ_TOKENS_DINOV2, SYZ_ERR_INPUT,
              "model.image.tokens must be dinov2 for pretraining: the loss needs a class token");
  SYZ_REQUIRE(G >= 1 && G <= SYZ_TARGETS_PER_ROW && L >= 0, SYZ_ERR_INPUT,
              "dino.global_crops = %" PRId64 " is outside 1 .. %d, or dino.local_crops = %" PRId64 " is negative", G,
              SYZ_TARGETS_PER_ROW, L);
  SYZ_REQUIRE(G > 1 || L > 0, SYZ_ERR_INPUT,
              "with one crop per object there is nothing to compare: raise dino.global_crops or dino.local_crops");
  SYZ_TRY(check_crop("dino.global_size", o->crops.size[DINO_GLOBAL], c->image.patch));
  if (L > 0) SYZ_TRY(check_crop("dino.local_size", o->crops.size[DINO_LOCAL], c->image.patch));
  SYZ_REQUIRE(o->global_batch >= 1 && o->steps >= 1, SYZ_ERR_INPUT,
              "train.global_batch and train.steps must be at least 1");
  SYZ_REQUIRE(o->drop_rate >= 0 && o->drop_rate < 1, SYZ_ERR_INPUT,
              "dino.drop_rate = %g is outside 0 .. 1 (1 not included)", o->drop_rate);
  SYZ_REQUIRE(is_share(o->mask_probability) && is_share(o->mask_ratio_min) && is_share(o->mask_ratio_max) &&
                  o->mask_ratio_min <= o->mask_ratio_max,
              SYZ_ERR_INPUT,
              "dino.mask_ratio_min = %g must not be above dino.mask_ratio_max = %g, and both and dino.mask_probability "
              "within 0 .. 1",
              o->mask_ratio_min, o->mask_ratio_max);
  SYZ_REQUIRE(o->mask_aspect_min > 0 && o->mask_aspect_min <= 1, SYZ_ERR_INPUT,
              "dino.mask_aspect_min = %g is outside 0 .. 1 (0 not included)", o->mask_aspect_min);
  SYZ_REQUIRE(
      o->dino_weight >= 0 && o->ibot_weight >= 0 && o->koleo_weight >= 0 &&
          o->dino_weight + o->ibot_weight + o->koleo_weight > 0,
      SYZ_ERR_INPUT,
      "dino.dino_weight, dino.ibot_weight and dino.koleo_weight: none may be negative and one must be positive");
  SYZ_REQUIRE(o->student_temperature > 0 && o->teacher_temperature_start > 0 && o->teacher_temperature > 0,
              SYZ_ERR_INPUT, "dino.*temperature* must be positive");
  SYZ_REQUIRE(is_share(o->momentum) && is_share(o->momentum_end) && is_share(o->centre_momentum), SYZ_ERR_INPUT,
              "dino.*momentum* must be within 0 .. 1");
  SYZ_REQUIRE(o->centring != SYZ_CENTRE_SINKHORN || o->sinkhorn_iterations >= 1, SYZ_ERR_INPUT,
              "dino.sinkhorn_iterations must be at least 1");
  SYZ_REQUIRE(o->layer_decay > 0 && o->patch_lr_factor >= 0 && o->freeze_last_layer_steps >= 0 &&
                  o->teacher_warmup_steps >= 0,
              SYZ_ERR_INPUT,
              "dino.layer_decay must be positive, dino.patch_lr_factor, dino.freeze_last_layer_steps and "
              "dino.teacher_warmup_steps not negative");
cleanup:
  return st;
}
