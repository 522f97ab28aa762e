/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The part of attention pooling that touches every token: streams over the tokens of one object. See pool_stream.c.
 *
 * Vectors of the query's side are float32 [NP, DP]: NP heads and DP numbers, both padded (pool_pad_*) with zeros, so
 * that loops have no tails.
 */
#pragma once

#include "syzygy/nn.h"

enum { POOL_HEADS = 4, POOL_LANES = 8, POOL_ROWS = 4 };

static inline int64_t pool_pad_heads(int64_t heads) { return (heads + POOL_HEADS - 1) / POOL_HEADS * POOL_HEADS; }
static inline int64_t pool_pad_width(int64_t width) { return (width + POOL_LANES - 1) / POOL_LANES * POOL_LANES; }

/** Tokens [T, D] act of one object, and scratch for POOL_ROWS of them in float32, [POOL_ROWS, DP]. */
typedef struct pool_tokens {
  syz_dtype act;
  int64_t tokens, width, heads; /**< T, D, N */
  const void *x;
  float *rows;
} pool_tokens;

/** score [T, NP]: score[t, n] = u[n] . x[t]. */
void pool_scores(const pool_tokens *in, const float *u, float *score);
/** In place, per head over the tokens: exp(score - max) / sum. */
void pool_softmax(int64_t tokens, int64_t heads, float *score);
/** out [NP, DP] (written) = sum over t of weight[t, n] x[t]. */
void pool_weighted_sum(const pool_tokens *in, const float *weight, float *out);
/** ds [T, NP] from dp (in place, ds may be dp): p (dp - sum over t of p dp) per head. */
void pool_softmax_backward(int64_t tokens, int64_t heads, const float *p, float *ds);
/** dx [T, D] float32 (written): dx[t] = sum over n of p[t, n] g[n] + ds[t, n] u[n]. */
void pool_spread(int64_t tokens, int64_t width, int64_t heads, const float *p, const float *g, const float *ds,
                 const float *u, float *dx);
