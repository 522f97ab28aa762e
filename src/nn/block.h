/* SPDX-License-Identifier: BSD-3-Clause */
/** The transformer block on one rank (block.c) and on the ranks of a tensor group (block_tensor.c); private to this
 * room. */
#pragma once

#include "attention.h"
#include "linear_native.h"
#include "rowwise.h"

struct block_tensor;

struct syz_block {
  const syz_compute *compute;
  syz_block_config config;
  float branch_scale;
  syz_sequences most;
  bool trains;
  int64_t heads, width, hidden; /* all, or this rank's share in a tensor group; width: of these heads */
  int64_t row_dim, row_heads, row_qkv,
      row_hidden;                           /* elements between rows of D, width, 3 width and hidden activations */
  syz_linear *qkv, *proj, *fc1, *fc2;       /* [3 width, D], [D, width], [hidden, D], [D, hidden] */
  syz_attention *attention[SYZ_GROUPS_MAX]; /* NULL for a group that never has a sequence */
  float *norm1_gain, *norm1_bias, *norm2_gain, *norm2_bias; /* [D] copies of the packed step */
  float *scale;                                             /* [D] branch_scale times LayerScale, before it is packed */
  struct block_tensor *tensor;                              /* NULL: alone */
};

/** The sequences that a branch computes. */
typedef struct kept_rows {
  int64_t n[SYZ_GROUPS_MAX]; /**< sequences of each group */
  int64_t rows;
  const int64_t *at; /**< [rows] row of the stream; NULL: row r is row r */
} kept_rows;

typedef struct branches {
  kept_rows attention, mlp;
} branches;

/** The two tables of kept rows are first in every workspace. */
void block_plan_tables(int64_t r1, int64_t r2, int64_t *table[2], syz_arena *a);
branches block_begin(const syz_block *b, const syz_sequences *s, const syz_subset *subset, syz_arena *workspace);

/** Element i of an array of the activation type. */
static inline void *block_at(const syz_block *b, const void *x, int64_t i)
{
  return (unsigned char *)(uintptr_t)x + (size_t)i * syz_dtype_size(b->compute->act);
}

/** The factor of a branch in the epilogue: b->scale, the given array, or NULL for 1. */
const float *block_scale(syz_block *b, const float *layerscale);

/** n[g] sequences of each group, beginning at row `row` of the arrays; returns the row after the last. dqkv NULL:
 * forward, heads and lse (unless NULL) are written. Otherwise backward: dheads and heads are read. Arrays have the
 * width of this rank's heads, their rows are row_heads (heads, dheads) and row_qkv apart. */
int64_t block_attend(const syz_block *b, const int64_t *n, int64_t row, const void *qkv, const void *heads,
                     const float *lse, const void *dheads, void *dqkv);

/* A block of a tensor group: as in nn.h. */
syz_status block_tensor_create(syz_block *b, int64_t ranks);
void block_tensor_destroy(struct block_tensor **t);
void block_tensor_pack(syz_block *b, const syz_block_parameters *w);
size_t block_tensor_saved_bytes(const syz_block *b, int64_t rows);
size_t block_tensor_workspace_bytes(const syz_block *b, int64_t rows);
void block_tensor_forward(const syz_block *b, const syz_sequences *s, const syz_subset *subset, float *x, void *saved,
                          void *workspace);
void block_tensor_backward(const syz_block *b, const syz_sequences *s, const syz_subset *subset, float *dx,
                           const void *saved, const syz_block_parameters *gradients, void *workspace);
