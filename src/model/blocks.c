/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The blocks of a backbone share one workspace; each has its own slice of `saved` for what its backward pass needs. All
 * blocks are alike, so the memory of one block's packed weights is measured on the second block: creating the first may
 * also grow the compute context's scratch memory.
 *
 * For the first `recomputed` blocks only the residual stream at their input is kept (Chen et al. 2016,
 * arXiv:1604.06174): the backward pass runs such a block forward again, from that stream and into one slice of `saved`
 * that these blocks share. It repeats the same operations on the same numbers, so the gradients are the same bits; a
 * step costs up to a third more.
 */
#include "blocks.h"

#include <string.h>

#include "model_impl.h"

/* Number of slices of `saved`: one for each block that keeps its activations, and one shared by all others. */
static int64_t slices(const blocks *b) { return b->depth - b->recomputed + (b->recomputed > 0); }
static unsigned char *slice_of(const blocks *b, int64_t i)
{
  const int64_t slice = b->recomputed == 0 ? i : i < b->recomputed ? 0 : i - b->recomputed + 1;
  return b->saved + (size_t)slice * b->saved_bytes;
}
static float *stream_of(const blocks *b, int64_t i) { return b->stream + (size_t)i * b->stream_floats; }

syz_status blocks_make(const syz_model *m, const blocks_shape *shape, bool is_measuring, blocks *b)
{
  syz_status st = SYZ_OK;
  const tower *t = &m->tower[shape->modality];
  const syz_block_config config = {.dim = t->dim,
                                   .heads = t->heads,
                                   .hidden = 4 * t->dim,
                                   .eps = t->eps,
                                   .has_layerscale = shape->modality == SYZ_IMAGE && m->config.image.layerscale > 0,
                                   .branch_scale = shape->branch_scale,
                                   .tensor = shape->tensor,
                                   .planned_ranks = shape->planned_ranks};
  *b = (blocks){.m = m, .layout = t->backbone.block, .shape = *shape, .depth = t->depth};
  if (shape->trains) b->recomputed = m->recomputed < t->depth ? m->recomputed : t->depth;
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
  b->saved = syz_arena_take(a, (size_t)slices(b) * b->saved_bytes, 1);
  b->stream_floats = (size_t)(syz_sequences_rows(&b->shape.most) * b->m->tower[b->shape.modality].dim);
  b->stream = syz_arena_take(a, (size_t)b->recomputed * b->stream_floats, sizeof(float));
}

void blocks_pack(blocks *b)
{
  for (int64_t i = 0; i < b->depth; i++) {
    const syz_block_parameters weights = block_at(&b->layout[i], b->m->weights);
    syz_block_pack(b->block[i], &weights);
  }
}

/* A rank without sequences skips the pass, but not in a tensor group, where other ranks may have sequences. */
static bool is_idle(const blocks *b, const syz_sequences *s) { return !b->shape.tensor && syz_sequences_rows(s) == 0; }

void blocks_forward(const blocks *b, const syz_sequences *s, const syz_subset (*subset)[2], float *x, bool keeps)
{
  SYZ_ASSERT(!keeps || b->shape.trains);
  if (is_idle(b, s)) return;
  uint64_t draw;
  const size_t bytes = (size_t)(syz_sequences_rows(s) * b->m->tower[b->shape.modality].dim) * sizeof(float);
  for (int64_t i = 0; i < b->depth; i++) {
    const bool is_again = i < b->recomputed;
    if (keeps && is_again) memcpy(stream_of(b, i), x, bytes);
    syz_block_forward(b->block[i], s, subset ? subset[i] : NULL, x, keeps && !is_again ? slice_of(b, i) : NULL,
                      b->workspace);
    if (syz_flip("activation", &draw)) syz_flip_bit("activation", x, bytes, draw);
    if (keeps && !is_again && syz_flip("saved", &draw)) syz_flip_bit("saved", slice_of(b, i), b->saved_bytes, draw);
  }
}

void blocks_backward(const blocks *b, const syz_sequences *s, const syz_subset (*subset)[2], float *dx,
                     float *gradients, void (*ready)(void *context, int64_t first, int64_t count), void *context)
{
  const bool is_empty = is_idle(b, s);
  for (int64_t i = b->depth - 1; i >= 0; i--) {
    const block_layout *l = &b->layout[i];
    if (!is_empty) {
      const syz_block_parameters dweights = block_at(l, gradients);
      unsigned char *saved = slice_of(b, i);
      if (i < b->recomputed)
        syz_block_forward(b->block[i], s, subset ? subset[i] : NULL, stream_of(b, i), saved, b->workspace);
      syz_block_backward(b->block[i], s, subset ? subset[i] : NULL, dx, saved, &dweights, b->workspace);
    }
    if (ready) ready(context, l->first, l->count);
  }
}

syz_block_parameters block_at(const block_layout *layout, float *base)
{
  float *p[BLOCK_PARAMETERS];
  for (int k = 0; k < BLOCK_PARAMETERS; k++) p[k] = layout->offset[k] >= 0 ? base + layout->offset[k] : NULL;
  return (syz_block_parameters){.norm1_gain = p[0],
                                .norm1_bias = p[1],
                                .qkv_weight = p[2],
                                .qkv_bias = p[3],
                                .proj_weight = p[4],
                                .proj_bias = p[5],
                                .ls1 = p[6],
                                .norm2_gain = p[7],
                                .norm2_bias = p[8],
                                .fc1_weight = p[9],
                                .fc1_bias = p[10],
                                .fc2_weight = p[11],
                                .fc2_bias = p[12],
                                .ls2 = p[13]};
}
