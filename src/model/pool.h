/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Pooling head of a tower: one learned query attends to the tokens, then LayerNorm and an MLP (README.md "Pooling
 * heads"). See pool.c.
 */
#pragma once

#include "syzygy/model.h"

/** Offsets of a head's parameters in the block of all. */
typedef struct head_layout {
  int64_t first, count;
  int64_t query;                        /**< [E] */
  int64_t q_weight, k_weight, v_weight; /**< [E, E], [E, D], [E, D]: rows of in_proj_weight, or three separate arrays */
  int64_t in_bias;                      /**< [3 E]: q, k, v */
  int64_t out_weight, out_bias;         /**< [E, E], [E] */
  int64_t norm_gain, norm_bias;         /**< [E] */
  int64_t encoder_weight, encoder_bias; /**< [4 E, E], [4 E] */
  int64_t decoder_weight, decoder_bias; /**< [E, 4 E], [E] */
} head_layout;

typedef struct pool_shape {
  int64_t tokens, width, dim, heads; /**< T, D, E, N */
  double dropout;
  bool is_residual;       /**< z + mlp(z) (spectrum) instead of mlp(z) (image) */
  uint32_t dropout_layer; /**< this number and the next one name the two dropouts */
} pool_shape;

typedef struct pool pool;

/** `max_batch` objects per call; trains: backward passes too. Allocates everything. */
syz_status pool_create(const syz_compute *compute, const pool_shape *shape, int64_t max_batch, bool trains, pool **out);
void pool_destroy(pool **p);
/** Bytes of activations and workspace. */
size_t pool_bytes(const pool *p);
/** Pack the weights (the block of all parameters). */
void pool_pack(pool *p, const head_layout *layout, const float *weights);
/** tokens [B, T, D] act -> embedding [B, E] float32. */
void pool_forward(pool *p, int64_t batch, const void *tokens, const syz_dropout_key *dropout, float *embedding);
/** gradients (the block of all) += ; after pool_forward of the same batch. */
void pool_backward(pool *p, int64_t batch, const void *tokens, const float *dembedding, const syz_dropout_key *dropout,
                   const head_layout *layout, const float *weights, float *gradients);
/** dtokens [T, D] float32 (written) of object b, after pool_backward. */
void pool_backward_tokens(const pool *p, int64_t b, float *dtokens);
