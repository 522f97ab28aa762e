/* SPDX-License-Identifier: BSD-3-Clause */
/** The sizes of a DINOv2 step on a rank: objects, crops, masked patches, rows of the heads. */
#include "dino.h"

void dino_sizes_of(const syz_dino_options *o, const syz_model_config *c, int size, int rank, dino_sizes *out)
{
  dino_sizes z = {.crops = o->crops.count[DINO_GLOBAL],
                  .locals = o->crops.count[DINO_LOCAL],
                  .width = c->image.dim,
                  .heads = c->dino.has_ibot_head ? 2 : 1};
  syz_share(o->global_batch, size, rank, &z.first, &z.count);
  z.side = o->crops.size[DINO_GLOBAL] / c->image.patch;
  z.patches = z.side * z.side;
  z.masks = (syz_block_masks){.crops = o->global_batch * z.crops,
                              .side = z.side,
                              .probability = o->mask_probability,
                              .ratio_min = o->mask_ratio_min,
                              .ratio_max = o->mask_ratio_max,
                              .aspect_min = o->mask_aspect_min};
  z.leaves = o->leaves / size;
  z.passes = syz_passes_of(o->global_batch, o->leaves, z.count, o->micro_batch > 0 ? o->micro_batch : o->global_batch);
  z.most_masked = syz_block_mask_most(&z.masks, z.count * z.crops);
  z.most_student = dino_rows(&z, true, z.count);
  z.most_teacher = dino_rows(&z, false, z.count);
  *out = z;
}

syz_crops_config dino_crops_config(const syz_dino_options *o, const dino_sizes *z, bool is_student)
{
  syz_crops_config c = {.groups = 1, .trains = is_student, .drop_rate = is_student ? o->drop_rate : 0};
  c.size[DINO_GLOBAL] = o->crops.size[DINO_GLOBAL];
  c.most[DINO_GLOBAL] = z->passes.chunk * z->crops;
  c.most_rows = dino_rows(z, is_student, z->passes.chunk);
  if (is_student && z->locals > 0) {
    c.groups = 2;
    c.size[DINO_LOCAL] = o->crops.size[DINO_LOCAL];
    c.most[DINO_LOCAL] = z->passes.chunk * z->locals;
  }
  return c;
}

int64_t dino_head_rows(const dino_sizes *z, int head, bool is_student, int64_t objects)
{
  const int64_t tokens = objects * (z->crops + (is_student ? z->locals : 0)),
                masked = syz_block_mask_most(&z->masks, objects * z->crops);
  if (z->heads == 1) return tokens + masked;
  return head == 0 ? tokens : masked;
}

int64_t dino_rows(const dino_sizes *z, bool is_student, int64_t objects)
{
  int64_t rows = 0;
  for (int h = 0; h < z->heads; h++) rows += dino_head_rows(z, h, is_student, objects);
  return rows;
}

syz_distillation_config dino_distillation_config(const syz_dino_options *o, const syz_model_config *c,
                                                 const dino_sizes *z, int head)
{
  return (syz_distillation_config){.prototypes = c->dino.prototypes,
                                   .width = c->dino.bottleneck,
                                   .most_student = dino_head_rows(z, head, true, z->count),
                                   .most_teacher = dino_head_rows(z, head, false, z->count),
                                   .leaves = z->leaves,
                                   .most_leaf = dino_head_rows(z, head, true, z->passes.leaf),
                                   .sets = z->heads == 1 ? 2 : 1,
                                   .centring = o->centring,
                                   .sinkhorn_iterations = o->sinkhorn_iterations,
                                   .centre_momentum = o->centre_momentum,
                                   .student_temperature = o->student_temperature};
}
