/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The blocks of a backbone share one workspace; each has its own slice of `saved` for what its backward pass needs. All are alike, so what one
 * block's packed weights take is measured on a second one (the first may also make the compute context's scratch memory grow).
 */
#include "blocks.h"

#include "model_impl.h"

syz_status blocks_make(const syz_model *m, const blocks_shape *shape, bool is_measuring, blocks *b)
{
  syz_status st = SYZ_OK;
  const tower *t = &m->tower[shape->modality];
  const syz_block_config config = {.dim = t->dim,
                                   .heads = t->heads,
                                   .hidden = 4 * t->dim,
                                   .eps = t->eps,
                                   .has_layerscale = shape->modality == SYZ_IMAGE && m->config.image.layerscale > 0,
                                   .branch_scale = shape->branch_scale};
  *b = (blocks){.m = m, .layout = t->backbone.block, .shape = *shape, .depth = t->depth};
  const int64_t made = is_measuring && t->depth > 2 ? 2 : t->depth;
  SYZ_ALLOC(b->block, "transformer blocks", t->depth);
  size_t before = 0, each = 0;
  for (int64_t i = 0; i < made; i++) {
    before = syz_memory_get().live_bytes;
    SYZ_TRY(syz_block_create(m->compute, &config, &shape->most, shape->trains, &b->block[i]));
    each = syz_memory_get().live_bytes - before;
  }
  b->packed_bytes = each * (size_t)t->depth;
cleanup:
  return st;
}

void blocks_drop(blocks *b)
{
  if (b->block)
    for (int64_t i = 0; i < b->depth; i++) syz_block_destroy(&b->block[i]);
  syz_free(&b->block);
}

void blocks_lay_out(blocks *b, syz_arena *a)
{
  b->workspace_bytes = syz_block_workspace_bytes(b->block[0], &b->shape.kept);
  b->workspace = syz_arena_take(a, b->workspace_bytes, 1);
  if (!b->shape.trains) return;
  b->saved_bytes = (syz_block_saved_bytes(b->block[0], &b->shape.kept) + 63) / 64 * 64;
  b->saved = syz_arena_take(a, (size_t)b->depth * b->saved_bytes, 1);
}

void blocks_pack(blocks *b)
{
  for (int64_t i = 0; i < b->depth; i++) {
    const syz_block_parameters weights = block_at(&b->layout[i], b->m->weights);
    syz_block_pack(b->block[i], &weights);
  }
}

void blocks_forward(const blocks *b, const syz_sequences *s, const syz_subset (*subset)[2], float *x, bool keeps)
{
  SYZ_ASSERT(!keeps || b->shape.trains);
  if (syz_sequences_rows(s) == 0) return;
  for (int64_t i = 0; i < b->depth; i++)
    syz_block_forward(b->block[i], s, subset ? subset[i] : NULL, x, keeps ? b->saved + (size_t)i * b->saved_bytes : NULL, b->workspace);
}

void blocks_backward(const blocks *b, const syz_sequences *s, const syz_subset (*subset)[2], float *dx, float *gradients,
                     void (*ready)(void *context, int64_t first, int64_t count), void *context)
{
  const bool is_empty = syz_sequences_rows(s) == 0;
  for (int64_t i = b->depth - 1; i >= 0; i--) {
    const block_layout *l = &b->layout[i];
    if (!is_empty) {
      const syz_block_parameters weights = block_at(l, b->m->weights), dweights = block_at(l, gradients);
      syz_block_backward(b->block[i], s, subset ? subset[i] : NULL, dx, b->saved + (size_t)i * b->saved_bytes, &weights, &dweights, b->workspace);
    }
    if (ready) ready(context, l->first, l->count);
  }
}
