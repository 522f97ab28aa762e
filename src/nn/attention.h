/* SPDX-License-Identifier: BSD-3-Clause */
/** The interface between attention.c, which distributes heads over threads, and the kernels; private to this room. */
#pragma once

#include "syzygy/nn.h"

/**
 * Multi-head self-attention without mask: out = softmax(q k^T / sqrt(Dh)) v for each head.
 *
 * qkv [B, T, 3, N, Dh] act (one row of the qkv product), out [B, T, N, Dh] act, lse [B, N, T] float32: log of each
 * row's sum of exponentials, kept for the backward pass (NULL: not kept). The work is done in blocks, so that scores
 * stay in cache and no whole array is transposed.
 */
typedef struct syz_attention syz_attention;
syz_status syz_attention_create(const syz_compute *c, int64_t max_batch, int64_t tokens, int64_t heads,
                                int64_t head_dim, bool trains, syz_attention **out);
void syz_attention_destroy(syz_attention **a);
void syz_attention_forward(const syz_attention *a, int64_t batch, const void *qkv, void *out, float *lse);
/** dqkv [B, T, 3, N, Dh] act, written. */
void syz_attention_backward(const syz_attention *a, int64_t batch, const void *dout, const void *qkv, const void *out,
                            const float *lse, void *dqkv);

/**
 * One head of one sample. Matrices [tokens, dim] of the kernel's element type; `in` is the distance in elements between
 * rows of q, k, v, dq, dk, dv, `row` that between rows of out and dout. The backward fields are NULL in a forward call,
 * lse may be.
 */
typedef struct attention_head {
  int64_t tokens, dim;
  const void *q, *k, *v;
  int64_t in;
  void *out;
  int64_t row;
  float *lse; /**< [tokens]; read by the backward pass */
  const void *dout;
  void *dq, *dk, *dv;
  const void *next, *next_dout; /**< q and dout of the next head, which may be prefetched; NULL: none */
} attention_head;

/** An instruction set's kernels. They work in `scratch` alone (64-byte aligned, contents undefined before and after).
 */
typedef struct attention_kernel {
  const char *name;
  syz_dtype type; /**< element type of the matrices */
  bool (*is_supported)(void);
  size_t (*scratch_bytes)(int64_t tokens, int64_t dim, bool trains);
  void (*forward)(const attention_head *h, void *scratch);
  void (*backward)(const attention_head *h, void *scratch);
} attention_kernel;

extern const attention_kernel syz_attention_amx, syz_attention_avx512_bf16, syz_attention_avx512, syz_attention_avx2;
extern const attention_kernel syz_attention_neon_bf16, syz_attention_neon;
/** All kernels of this architecture. */
extern const attention_kernel *const syz_attention_table[];
extern const int syz_attention_kernels;

/** The fastest kernel of this type that this processor runs, as far as is known without measuring. */
const attention_kernel *syz_attention_kernel(syz_dtype act);

/** syz_attention_create with everything chosen by the caller: tests compare all kernels. The processor must run it. */
syz_status syz_attention_create_for(syz_dtype act, int threads, const attention_kernel *kernel, int64_t max_batch,
                                    int64_t tokens, int64_t heads, int64_t head_dim, bool trains, syz_attention **out);
/** Elements between tokens of qkv and dqkv (in) and of out and dout (row). By default rows are contiguous. */
void syz_attention_set_rows(syz_attention *a, int64_t in, int64_t row);
