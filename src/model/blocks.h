/* SPDX-License-Identifier: BSD-3-Clause */
/** The transformer blocks of a backbone, from the first to the last and back: what towers, crops and masked modelling
 * have in common. See blocks.c.
 */
#pragma once

#include "syzygy/model.h"

struct block_layout;

/** What the blocks are made for. */
typedef struct blocks_shape {
  syz_modality modality;
  syz_sequences most; /**< largest call */
  syz_sequences kept; /**< most sequences that a branch computes: memory is planned for them */
  float branch_scale; /**< as in syz_block_config */
  bool trains;
  syz_comm *tensor; /**< ranks that compute the blocks together (nn.h); NULL: alone. With a group, passes are collective
                       even on a rank without sequences */
  int planned_ranks; /**< as in syz_block_config: only for bytes */
} blocks_shape;

typedef struct blocks {
  const syz_model *m;                /**< borrowed: weights and places of the parameters */
  const struct block_layout *layout; /**< [depth] borrowed */
  blocks_shape shape;
  int64_t depth;
  syz_block **block;    /**< [depth]; only the first ones when measuring */
  size_t packed_bytes;  /**< of all blocks' packed weights, also when only some blocks were made */
  int64_t recomputed;   /**< number of first blocks that run again in the backward pass */
  unsigned char *saved; /**< slices of saved_bytes when it trains */
  size_t saved_bytes;
  float *stream; /**< [recomputed, stream_floats] input of the blocks that run again */
  size_t stream_floats;
  void *workspace;
  size_t workspace_bytes;
} blocks;

/** Create the layers of all blocks; when only measuring, of the first two, which give the size of each. Zero-fill *b
 * before; drop in any case. */
syz_status blocks_make(const syz_model *m, const blocks_shape *shape, bool is_measuring, blocks *b);
void blocks_drop(blocks *b);
/** Memory for the passes. After blocks_make. */
void blocks_lay_out(blocks *b, syz_arena *a);
/** Pack the model's current weights. */
void blocks_pack(blocks *b);
/** x [rows, D] float32 in place. subset: [depth] pairs of subsets, of the attention and of the MLP branch; NULL: all.
 * keeps: keep what the backward pass needs. */
void blocks_forward(const blocks *b, const syz_sequences *s, const syz_subset (*subset)[2], float *x, bool keeps);
/** dx [rows, D] in place; gradients (layout of the model's block) += . ready (may be NULL) is called after each block,
 * also without sequences. */
void blocks_backward(const blocks *b, const syz_sequences *s, const syz_subset (*subset)[2], float *dx,
                     float *gradients, void (*ready)(void *context, int64_t first, int64_t count), void *context);
