/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Multi-head self-attention, forward and backward, one (sample, head) after another, in float32.
 *
 * Each head's q, k, v are widened into scratch; a row of scores lives in cache; the backward pass recomputes the probabilities from
 * the kept log-sum-exp.
 */
#include <math.h>
#include <omp.h>

#include "syzygy/nn.h"

struct syz_attention {
  syz_dtype act;
  int threads;
  int64_t max_batch, tokens, heads, dim;
  size_t scratch_floats; /**< per thread */
  float *scratch;
};

syz_status syz_attention_create(const syz_compute *c, int64_t max_batch, int64_t tokens, int64_t heads, int64_t head_dim, bool trains,
                                syz_attention **out) {
  syz_status st = SYZ_OK;
  syz_attention *a = NULL;
  (void)trains;
  *out = NULL;
  SYZ_REQUIRE(max_batch >= 1 && tokens >= 1 && heads >= 1 && head_dim >= 1, SYZ_ERR_INTERNAL,
              "attention of batch %lld, %lld tokens, %lld heads of %lld: each must be at least 1", (long long)max_batch,
              (long long)tokens, (long long)heads, (long long)head_dim);
  SYZ_ALLOC(a, "attention", 1);
  a->act = syz_compute_act(c);
  a->threads = syz_compute_threads(c);
  a->max_batch = max_batch, a->tokens = tokens, a->heads = heads, a->dim = head_dim;
  a->scratch_floats = (size_t)tokens * (size_t)(8 * head_dim + 2);
  SYZ_ALLOC(a->scratch, "attention scratch", a->scratch_floats * (size_t)a->threads);
  *out = a;
  a = NULL;
cleanup:
  syz_attention_destroy(&a);
  return st;
}

void syz_attention_destroy(syz_attention **a) {
  if (!*a) return;
  syz_free(&(*a)->scratch);
  syz_free(a);
}

static void load(syz_dtype type, float *y, const void *x, int64_t at, int64_t n) {
  for (int64_t i = 0; i < n; i++) y[i] = type == SYZ_F32 ? ((const float *)x)[at + i] : syz_bf16_to_f32(((const syz_bf16 *)x)[at + i]);
}

static void store(syz_dtype type, void *y, int64_t at, const float *x, float scale, int64_t n) {
  for (int64_t i = 0; i < n; i++) {
    if (type == SYZ_F32) ((float *)y)[at + i] = x[i] * scale;
    else ((syz_bf16 *)y)[at + i] = syz_bf16_from_f32(x[i] * scale);
  }
}

static float dot(const float *x, const float *y, int64_t n) {
  float lane[16] = {0.0f}, sum = 0.0f;
  int64_t i = 0;
  for (; i + 16 <= n; i += 16)
    for (int j = 0; j < 16; j++) lane[j] += x[i + j] * y[i + j];
  for (; i < n; i++) sum += x[i] * y[i];
  for (int j = 0; j < 16; j++) sum += lane[j];
  return sum;
}

static void add(float *y, float a, const float *x, int64_t n) {
  for (int64_t i = 0; i < n; i++) y[i] += a * x[i];
}

static void head_forward(const syz_attention *a, int64_t b, int64_t h, const void *qkv, void *out, float *lse, float *s) {
  const int64_t T = a->tokens, N = a->heads, D = a->dim;
  float *q = s, *k = q + T * D, *v = k + T * D, *p = v + T * D, *o = p + T, scale = 1.0f / sqrtf((float)D);
  for (int64_t t = 0; t < T; t++) {
    int64_t row = (b * T + t) * 3 * N * D + h * D;
    load(a->act, q + t * D, qkv, row, D), load(a->act, k + t * D, qkv, row + N * D, D), load(a->act, v + t * D, qkv, row + 2 * N * D, D);
  }
  for (int64_t t = 0; t < T; t++) {
    float max = -INFINITY, sum = 0.0f;
    for (int64_t j = 0; j < T; j++) max = fmaxf(max, p[j] = scale * dot(q + t * D, k + j * D, D));
    for (int64_t j = 0; j < T; j++) sum += p[j] = expf(p[j] - max);
    for (int64_t d = 0; d < D; d++) o[d] = 0.0f;
    for (int64_t j = 0; j < T; j++) add(o, p[j], v + j * D, D);
    store(a->act, out, ((b * T + t) * N + h) * D, o, 1.0f / sum, D);
    if (lse) lse[(b * N + h) * T + t] = max + logf(sum);
  }
}

static void head_backward(const syz_attention *a, int64_t b, int64_t h, const void *dout, const void *qkv, const void *out,
                          const float *lse, void *dqkv, float *s) {
  const int64_t T = a->tokens, N = a->heads, D = a->dim;
  float *q = s, *k = q + T * D, *v = k + T * D, *dq = v + T * D, *dk = dq + T * D, *dv = dk + T * D, *go = dv + T * D, *o = go + T * D;
  const float scale = 1.0f / sqrtf((float)D);
  for (int64_t t = 0; t < T; t++) {
    int64_t row = (b * T + t) * 3 * N * D + h * D;
    load(a->act, q + t * D, qkv, row, D), load(a->act, k + t * D, qkv, row + N * D, D), load(a->act, v + t * D, qkv, row + 2 * N * D, D);
  }
  for (int64_t i = 0; i < 3 * T * D; i++) dq[i] = 0.0f;
  for (int64_t t = 0; t < T; t++) {
    load(a->act, go, dout, ((b * T + t) * N + h) * D, D);
    load(a->act, o, out, ((b * T + t) * N + h) * D, D);
    float delta = dot(go, o, D), l = lse[(b * N + h) * T + t];
    for (int64_t j = 0; j < T; j++) {
      float p = expf(scale * dot(q + t * D, k + j * D, D) - l), ds = p * (dot(go, v + j * D, D) - delta) * scale;
      add(dv + j * D, p, go, D), add(dk + j * D, ds, q + t * D, D), add(dq + t * D, ds, k + j * D, D);
    }
  }
  for (int64_t t = 0; t < T; t++) {
    int64_t row = (b * T + t) * 3 * N * D + h * D;
    store(a->act, dqkv, row, dq + t * D, 1.0f, D), store(a->act, dqkv, row + N * D, dk + t * D, 1.0f, D);
    store(a->act, dqkv, row + 2 * N * D, dv + t * D, 1.0f, D);
  }
}

void syz_attention_forward(const syz_attention *a, int64_t batch, const void *qkv, void *out, float *lse) {
  SYZ_ASSERT(batch <= a->max_batch);
#pragma omp parallel for schedule(static) num_threads(a->threads) if (a->threads > 1)
  for (int64_t i = 0; i < batch * a->heads; i++)
    head_forward(a, i / a->heads, i % a->heads, qkv, out, lse, a->scratch + a->scratch_floats * (size_t)omp_get_thread_num());
}

void syz_attention_backward(const syz_attention *a, int64_t batch, const void *dout, const void *qkv, const void *out, const float *lse,
                            void *dqkv) {
  SYZ_ASSERT(batch <= a->max_batch);
#pragma omp parallel for schedule(static) num_threads(a->threads) if (a->threads > 1)
  for (int64_t i = 0; i < batch * a->heads; i++)
    head_backward(a, i / a->heads, i % a->heads, dout, qkv, out, lse, dqkv,
                  a->scratch + a->scratch_floats * (size_t)omp_get_thread_num());
}
