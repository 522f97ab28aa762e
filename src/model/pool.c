/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Attention pooling with one learned query, then LayerNorm and MLP, forward and backward (README.md "Pooling heads").
 *
 * PyTorch's multi-head attention forms keys and values of all tokens, 4 T D^2 operations. With one query for all
 * objects they need never exist: for head n, with q = W_q query + b_q, the score of token x is (q_n . W_k,n x + q_n .
 * b_k) / sqrt(Dh). The first term is u_n . x with u_n = W_k,n^T q_n / sqrt(Dh), formed once for all objects; the second
 * is the same for every token and drops out of the softmax, which is why b_k has no gradient. The values' weighted sum
 * is W_v,n xbar_n + b_v,n with xbar_n = sum_t p_n[t] x[t], since the p_n sum to one.
 *
 * Backward, from dxbar_n = W_v,n^T dv_n: dp_n[t] = dxbar_n . x[t], ds = p (dp - sum p dp), du_n = sum_t ds_n[t] x[t],
 * dx[t] = sum_n p_n[t] dxbar_n + ds_n[t] u_n; and from du_n: dW_k,n = q_n du_n^T / sqrt(Dh), dq_n = W_k,n du_n /
 * sqrt(Dh), dW_q = dq query^T, db_q = dq, dquery = W_q^T dq.
 *
 * Scores, softmax, xbar and u are float32 in either precision; xbar enters W_v in the activation type, as everything
 * that enters a product.
 */
#include <math.h>
#include <omp.h>
#include <string.h>

#include "pool.h"
#include "pool_stream.h"

enum { HEADS_MAX = 64 };

struct pool {
  const syz_compute *compute;
  pool_shape shape;
  int64_t max_batch, np, dp; /* padded heads and width */
  bool trains;
  int threads;
  syz_dtype act;
  syz_linear *value[HEADS_MAX], *out, *encoder, *decoder;
  syz_arena arena;

  float *q, *u, *norm_gain, *norm_bias; /* [E], [NP, DP], [E], [E]: from the last packed weights */
  float *rows;                          /* [threads, POOL_ROWS, DP] */
  float *p;                             /* [B, T, NP] softmax over tokens */
  float *xbar;                          /* [B, NP, DP]; in the backward pass dxbar */
  void *xbar_act;                       /* [N, B, D] */
  void *v_head;                         /* [B, Dh] act, of one head */
  void *v;                              /* [B, E] act */
  float *pooled, *mean, *rstd;          /* [B, E] after out_proj and dropout; [B] */
  float *z;                             /* [B, E] */
  void *z_act, *hidden_u, *hidden;      /* [B, E], [B, 4 E], [B, 4 E] act */
  float *y;                             /* [B, E] */

  float *ds, *du, *du_sum;     /* [B, T, NP], [B, NP, DP], [NP, DP]; trains from here on */
  void *dy_act, *dhidden, *dv; /* [B, E], [B, 4 E], [B, E] act */
  float *dq;                   /* [E] */
};

static void lay_out(pool *p, syz_arena *a)
{
  const size_t b = (size_t)p->max_batch, t = (size_t)p->shape.tokens, d = (size_t)p->shape.width,
               e = (size_t)p->shape.dim;
  const size_t heads = (size_t)p->shape.heads, np = (size_t)p->np, dp = (size_t)p->dp, act = syz_dtype_size(p->act),
               f = sizeof(float);
  p->q = syz_arena_take(a, e, f);
  p->u = syz_arena_take(a, np * dp, f);
  p->norm_gain = syz_arena_take(a, e, f);
  p->norm_bias = syz_arena_take(a, e, f);
  p->rows = syz_arena_take(a, (size_t)p->threads * POOL_ROWS * dp, f);
  p->p = syz_arena_take(a, b * t * np, f);
  p->xbar = syz_arena_take(a, b * np * dp, f);
  p->xbar_act = syz_arena_take(a, heads * b * d, act);
  p->v_head = syz_arena_take(a, b * (e / heads), act);
  p->v = syz_arena_take(a, b * e, act);
  p->pooled = syz_arena_take(a, b * e, f);
  p->mean = syz_arena_take(a, b, f);
  p->rstd = syz_arena_take(a, b, f);
  p->z = syz_arena_take(a, b * e, f);
  p->z_act = syz_arena_take(a, b * e, act);
  p->hidden = syz_arena_take(a, b * 4 * e, act);
  p->y = syz_arena_take(a, b * e, f);
  if (!p->trains) return;
  p->hidden_u = syz_arena_take(a, b * 4 * e, act);
  p->ds = syz_arena_take(a, b * t * np, f);
  p->du = syz_arena_take(a, b * np * dp, f);
  p->du_sum = syz_arena_take(a, np * dp, f);
  p->dy_act = syz_arena_take(a, b * e, act);
  p->dhidden = syz_arena_take(a, b * 4 * e, act);
  p->dv = syz_arena_take(a, b * e, act);
  p->dq = syz_arena_take(a, e, f);
}

syz_status pool_create(const syz_compute *compute, const pool_shape *shape, int64_t max_batch, bool trains, pool **out)
{
  syz_status st = SYZ_OK;
  pool *p = NULL;
  const int64_t e = shape->dim;
  *out = NULL;
  SYZ_REQUIRE(shape->heads >= 1 && shape->heads <= HEADS_MAX && e % shape->heads == 0, SYZ_ERR_INPUT,
              "model.embedding.heads = %lld must be 1 to %d and divide model.embedding.dim = %lld",
              (long long)shape->heads, (int)HEADS_MAX, (long long)e);
  SYZ_ALLOC(p, "pooling head", 1);
  *p = (pool){.compute = compute, .shape = *shape, .max_batch = max_batch, .trains = trains};
  p->np = pool_pad_heads(shape->heads);
  p->dp = pool_pad_width(shape->width);
  p->threads = syz_compute_threads(compute);
  p->act = syz_compute_act(compute);
  for (int64_t n = 0; n < shape->heads; n++)
    SYZ_TRY(syz_linear_create(compute, e / shape->heads, shape->width, max_batch, trains, &p->value[n]));
  SYZ_TRY(syz_linear_create(compute, e, e, max_batch, trains, &p->out));
  SYZ_TRY(syz_linear_create(compute, 4 * e, e, max_batch, trains, &p->encoder));
  SYZ_TRY(syz_linear_create(compute, e, 4 * e, max_batch, trains, &p->decoder));
  lay_out(p, &p->arena);
  p->arena.size = p->arena.used;
  SYZ_ALLOC(p->arena.base, "pooling head activations", p->arena.size);
  p->arena.used = 0;
  lay_out(p, &p->arena);
  *out = p;
  p = NULL;
cleanup:
  pool_destroy(&p);
  return st;
}

void pool_destroy(pool **address)
{
  pool *p = *address;
  if (!p) return;
  for (int n = 0; n < HEADS_MAX; n++) syz_linear_destroy(&p->value[n]);
  syz_linear_destroy(&p->out);
  syz_linear_destroy(&p->encoder);
  syz_linear_destroy(&p->decoder);
  syz_free(&p->arena.base);
  syz_free(address);
}

size_t pool_bytes(const pool *p) { return p->arena.size; }

void pool_pack(pool *p, const head_layout *l, const float *weights)
{
  const int64_t e = p->shape.dim, d = p->shape.width, dh = e / p->shape.heads;
  const float *query = weights + l->query, *wq = weights + l->q_weight, *wk = weights + l->k_weight,
              *bias = weights + l->in_bias;
  const float scale = (float)(1.0 / sqrt((double)dh));
#pragma omp parallel for schedule(static) num_threads(p->threads) if (p->threads > 1)
  for (int64_t i = 0; i < e; i++) {
    double sum = bias[i];
    for (int64_t j = 0; j < e; j++) sum += (double)wq[i * e + j] * query[j];
    p->q[i] = (float)sum;
  }
#pragma omp parallel for schedule(static) num_threads(p->threads) if (p->threads > 1)
  for (int64_t n = 0; n < p->shape.heads; n++) {
    float *u = p->u + n * p->dp;
    memset(u, 0, (size_t)p->dp * sizeof *u);
    for (int64_t i = n * dh; i < (n + 1) * dh; i++) {
      const float q = p->q[i] * scale, *row = wk + i * d;
      for (int64_t k = 0; k < d; k++) u[k] += q * row[k];
    }
  }
  memcpy(p->norm_gain, weights + l->norm_gain, (size_t)e * sizeof(float));
  memcpy(p->norm_bias, weights + l->norm_bias, (size_t)e * sizeof(float));
  for (int64_t n = 0; n < p->shape.heads; n++)
    syz_linear_pack(p->value[n], weights + l->v_weight + n * dh * d, weights + l->in_bias + 2 * e + n * dh, NULL);
  syz_linear_pack(p->out, weights + l->out_weight, weights + l->out_bias, NULL);
  syz_linear_pack(p->encoder, weights + l->encoder_weight, weights + l->encoder_bias, NULL);
  syz_linear_pack(p->decoder, weights + l->decoder_weight, weights + l->decoder_bias, NULL);
}

/* Columns [n Dh, (n + 1) Dh) of [B, E] act and one head's dense [B, Dh] act. */
static void copy_head(const pool *p, int64_t batch, int64_t n, void *all, void *head, bool to_head)
{
  const size_t size = syz_dtype_size(p->act), bytes = (size_t)(p->shape.dim / p->shape.heads) * size,
               row = (size_t)p->shape.dim * size;
  for (int64_t b = 0; b < batch; b++) {
    unsigned char *x = (unsigned char *)all + (size_t)b * row + (size_t)n * bytes,
                  *y = (unsigned char *)head + (size_t)b * bytes;
    if (to_head)
      memcpy(y, x, bytes);
    else
      memcpy(x, y, bytes);
  }
}

static void drop(const pool *p, int64_t batch, float *x, const syz_dropout_key *key, uint32_t which)
{
  if (key && p->shape.dropout > 0)
    syz_dropout(x, (float)p->shape.dropout, key->seed, key->step, key->sample, p->shape.dropout_layer + which, batch,
                p->shape.dim);
}

static void *head_rows(const pool *p, int64_t n)
{
  return (unsigned char *)p->xbar_act + (size_t)(n * p->max_batch * p->shape.width) * syz_dtype_size(p->act);
}

static pool_tokens object_tokens(const pool *p, const void *tokens, int64_t b)
{
  const size_t bytes = (size_t)(p->shape.tokens * p->shape.width) * syz_dtype_size(p->act);
  return (pool_tokens){.act = p->act,
                       .tokens = p->shape.tokens,
                       .width = p->shape.width,
                       .heads = p->shape.heads,
                       .x = (const unsigned char *)tokens + (size_t)b * bytes,
                       .rows = p->rows + (int64_t)omp_get_thread_num() * POOL_ROWS * p->dp};
}

/* For the profile: each pass multiplies an object's tokens by a matrix [heads, width]. */
static double pool_flops(const pool *p, int64_t batch, int passes)
{
  return 2.0 * passes * (double)(batch * p->shape.heads) * (double)(p->shape.tokens * p->shape.width);
}
static double pool_bytes_moved(const pool *p, int64_t batch, int passes)
{
  return (double)passes * (double)(batch * p->shape.tokens * p->shape.width) * (double)syz_dtype_size(p->act);
}

void pool_forward(pool *p, int64_t batch, const void *tokens, const syz_dropout_key *dropout, float *embedding)
{
  const int64_t e = p->shape.dim, d = p->shape.width;
  const size_t act = syz_dtype_size(p->act);
  if (batch <= 0) return;
  const double start = syz_profile_begin();
#pragma omp parallel for schedule(static) num_threads(p->threads) if (p->threads > 1)
  for (int64_t b = 0; b < batch; b++) {
    const pool_tokens in = object_tokens(p, tokens, b);
    float *weight = p->p + b * p->shape.tokens * p->np, *xbar = p->xbar + b * p->np * p->dp;
    pool_scores(&in, p->u, weight);
    pool_softmax(p->shape.tokens, p->shape.heads, weight);
    pool_weighted_sum(&in, weight, xbar);
    for (int64_t n = 0; n < p->shape.heads; n++)
      syz_convert_to_act(p->act, (unsigned char *)head_rows(p, n) + (size_t)(b * d) * act, xbar + n * p->dp, d);
  }
  syz_profile_end(start, SYZ_PROFILE_POOLING, "pooling forward", p->shape.tokens, d, pool_flops(p, batch, 2),
                  pool_bytes_moved(p, batch, 2));
  for (int64_t n = 0; n < p->shape.heads; n++) {
    syz_linear_forward(p->value[n], batch, head_rows(p, n), SYZ_EPILOGUE_NONE, p->v_head, NULL);
    copy_head(p, batch, n, p->v, p->v_head, false);
  }
  syz_linear_forward(p->out, batch, p->v, SYZ_EPILOGUE_F32, p->pooled, NULL);
  drop(p, batch, p->pooled, dropout, 0);
  syz_layernorm_forward(SYZ_F32, p->z, p->mean, p->rstd, p->pooled, p->norm_gain, p->norm_bias, 1e-5f, batch, e);
  syz_convert_to_act(p->act, p->z_act, p->z, batch * e);
  syz_linear_forward(p->encoder, batch, p->z_act, SYZ_EPILOGUE_GELU, p->hidden, p->hidden_u);
  syz_linear_forward(p->decoder, batch, p->hidden, SYZ_EPILOGUE_F32, p->y, NULL);
  drop(p, batch, p->y, dropout, 1);
  for (int64_t i = 0; i < batch * e; i++) embedding[i] = p->shape.is_residual ? p->z[i] + p->y[i] : p->y[i];
}

/* From du_n of the whole batch to the query's side of the projections. */
static void backward_query(pool *p, const head_layout *l, const float *weights, float *gradients)
{
  const int64_t e = p->shape.dim, d = p->shape.width, dh = e / p->shape.heads;
  const float *query = weights + l->query, *wq = weights + l->q_weight, *wk = weights + l->k_weight;
  float *dquery = gradients + l->query, *dwq = gradients + l->q_weight, *dwk = gradients + l->k_weight,
        *dbias = gradients + l->in_bias;
  const float scale = (float)(1.0 / sqrt((double)dh));
#pragma omp parallel for schedule(static) num_threads(p->threads) if (p->threads > 1)
  for (int64_t i = 0; i < e; i++) {
    const float *du = p->du_sum + i / dh * p->dp, *row = wk + i * d, q = p->q[i] * scale;
    float *drow = dwk + i * d;
    double sum = 0;
    for (int64_t k = 0; k < d; k++) {
      sum += (double)row[k] * du[k];
      drow[k] += q * du[k];
    }
    const float dq = (float)sum * scale;
    p->dq[i] = dq;
    dbias[i] += dq;
    for (int64_t j = 0; j < e; j++) dwq[i * e + j] += dq * query[j];
  }
  for (int64_t i = 0; i < e; i++)
    for (int64_t j = 0; j < e; j++) dquery[j] += p->dq[i] * wq[i * e + j];
}

void pool_backward(pool *p, int64_t batch, const void *tokens, const float *dembedding, const syz_dropout_key *dropout,
                   const head_layout *l, const float *weights, float *gradients)
{
  const int64_t e = p->shape.dim, d = p->shape.width, dh = e / p->shape.heads;
  const size_t act = syz_dtype_size(p->act);
  SYZ_ASSERT(p->trains);
  if (batch <= 0) return;

  /* MLP; p->y is no longer needed and now holds float32 gradients [B, E]. */
  float *g = p->y;
  memcpy(g, dembedding, (size_t)(batch * e) * sizeof *g);
  drop(p, batch, g, dropout, 1);
  syz_convert_to_act(p->act, p->dy_act, g, batch * e);
  syz_linear_backward_weight(p->decoder, batch, p->dy_act, p->hidden, gradients + l->decoder_weight,
                             gradients + l->decoder_bias);
  syz_linear_backward_input(p->decoder, batch, p->dy_act, p->dhidden);
  syz_gelu_backward(p->act, p->dhidden, p->dhidden, p->hidden_u, batch * 4 * e);
  syz_linear_backward_weight(p->encoder, batch, p->dhidden, p->z_act, gradients + l->encoder_weight,
                             gradients + l->encoder_bias);
  syz_linear_backward_input(p->encoder, batch, p->dhidden, p->dy_act);
  syz_convert_to_f32(p->act, g, p->dy_act, batch * e);
  if (p->shape.is_residual)
    for (int64_t i = 0; i < batch * e; i++) g[i] += dembedding[i];

  /* LayerNorm, dropout, output projection; z may be overwritten once g has passed the norm. */
  float *dpooled = p->z;
  syz_layernorm_backward(dpooled, false, gradients + l->norm_gain, gradients + l->norm_bias, SYZ_F32, g, p->pooled,
                         p->mean, p->rstd, p->norm_gain, batch, e);
  drop(p, batch, dpooled, dropout, 0);
  syz_convert_to_act(p->act, p->dy_act, dpooled, batch * e);
  syz_linear_backward_weight(p->out, batch, p->dy_act, p->v, gradients + l->out_weight, gradients + l->out_bias);
  syz_linear_backward_input(p->out, batch, p->dy_act, p->dv);

  /* Values: dxbar overwrites xbar. */
  for (int64_t n = 0; n < p->shape.heads; n++) {
    copy_head(p, batch, n, p->dv, p->v_head, true);
    syz_linear_backward_weight(p->value[n], batch, p->v_head, head_rows(p, n), gradients + l->v_weight + n * dh * d,
                               gradients + l->in_bias + 2 * e + n * dh);
    syz_linear_backward_input(p->value[n], batch, p->v_head, head_rows(p, n));
  }

  const double start = syz_profile_begin();
#pragma omp parallel for schedule(static) num_threads(p->threads) if (p->threads > 1)
  for (int64_t b = 0; b < batch; b++) {
    const pool_tokens in = object_tokens(p, tokens, b);
    float *weight = p->p + b * p->shape.tokens * p->np, *ds = p->ds + b * p->shape.tokens * p->np;
    float *dxbar = p->xbar + b * p->np * p->dp;
    for (int64_t n = 0; n < p->shape.heads; n++)
      syz_convert_to_f32(p->act, dxbar + n * p->dp, (const unsigned char *)head_rows(p, n) + (size_t)(b * d) * act, d);
    pool_scores(&in, dxbar, ds);
    pool_softmax_backward(p->shape.tokens, p->shape.heads, weight, ds);
    pool_weighted_sum(&in, ds, p->du + b * p->np * p->dp);
  }
  syz_profile_end(start, SYZ_PROFILE_POOLING, "pooling backward", p->shape.tokens, d, pool_flops(p, batch, 2),
                  pool_bytes_moved(p, batch, 2));
  memset(p->du_sum, 0, (size_t)(p->np * p->dp) * sizeof *p->du_sum);
  for (int64_t b = 0; b < batch; b++)
    for (int64_t i = 0; i < p->np * p->dp; i++) p->du_sum[i] += p->du[b * p->np * p->dp + i];
  backward_query(p, l, weights, gradients);
}

void pool_backward_tokens(const pool *p, int64_t b, float *dtokens)
{
  const int64_t t = b * p->shape.tokens * p->np, n = b * p->np * p->dp;
  const double start = syz_profile_begin();
  pool_spread(p->shape.tokens, p->shape.width, p->shape.heads, p->p + t, p->xbar + n, p->ds + t, p->u, dtokens);
  syz_profile_end(start, SYZ_PROFILE_POOLING, "pooling backward, tokens", p->shape.tokens, p->shape.width,
                  pool_flops(p, 1, 2), (double)(p->shape.tokens * p->shape.width) * (double)sizeof(float));
}
