/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The pre-norm transformer block (Xiong et al. 2020, arXiv:2002.04745; LayerScale: Touvron et al. 2021,
 * arXiv:2103.17239) over sequences of several lengths, with stochastic depth (Huang et al. 2016, arXiv:1603.09382) that
 * computes only what it keeps.
 *
 * The forward pass keeps whatever would cost a product or a statistic to compute again: both residual streams in
 * float32, and the inputs of the four products in the activation type. LayerScale multiplies in the product's epilogue,
 * in float32; its gradient, sum over rows of dx times the unscaled branch, needs that branch's output, which is kept
 * too.
 *
 * A branch sees its kept sequences as one compact array, group after group. There are no separate passes to gather and
 * scatter them: a table gives the row of the stream for each kept row, and the norm reads the stream and the product's
 * epilogue adds to it through that table, in the backward pass likewise. Without a subset there is no table. The factor
 * of stochastic depth is part of the packed LayerScale.
 */
#include "block.h"
#include "attention.h"

#include <string.h>

static syz_status check_sequences(const syz_sequences *most)
{
  syz_status st = SYZ_OK;
  SYZ_REQUIRE(most->groups >= 1 && most->groups <= SYZ_GROUPS_MAX, SYZ_ERR_INTERNAL,
              "block: %d groups of sequences, 1 to %d are possible", most->groups, (int)SYZ_GROUPS_MAX);
  for (int g = 0; g < most->groups; g++)
    SYZ_REQUIRE(most->count[g] >= 0 && most->tokens[g] >= 1, SYZ_ERR_INTERNAL,
                "block: group %d has %lld sequences of %lld tokens", g, (long long)most->count[g],
                (long long)most->tokens[g]);
cleanup:
  return st;
}

/** Activations within the block have the row strides that its products read fastest. */
static void spread_rows(syz_block *b)
{
  b->row_dim = b->row_heads = syz_row_stride(b->compute, b->config.dim);
  b->row_qkv = syz_row_stride(b->compute, 3 * b->width);
  b->row_hidden = syz_row_stride(b->compute, b->hidden);
  syz_linear_set_rows(b->qkv, b->row_dim, b->row_qkv);
  syz_linear_set_rows(b->proj, b->row_dim, b->row_dim);
  syz_linear_set_rows(b->fc1, b->row_dim, b->row_hidden);
  syz_linear_set_rows(b->fc2, b->row_hidden, b->row_dim);
  for (int g = 0; g < b->most.groups; g++)
    if (b->attention[g]) syz_attention_set_rows(b->attention[g], b->row_qkv, b->row_heads);
}

syz_status syz_block_create(const syz_compute *c, const syz_block_config *config, const syz_sequences *most,
                            bool trains, syz_block **out)
{
  syz_status st = SYZ_OK;
  syz_block *b = NULL;
  *out = NULL;
  const int64_t dim = config->dim;
  SYZ_TRY(check_sequences(most));
  const int64_t ranks = config->tensor              ? syz_comm_size(config->tensor)
                        : config->planned_ranks > 1 ? config->planned_ranks
                                                    : 1;
  const int64_t rows = ranks * (syz_sequences_rows(most) > 0 ? syz_sequences_rows(most) : 1);
  SYZ_REQUIRE(dim >= 1 && config->heads >= 1 && dim % config->heads == 0 && config->hidden >= 1, SYZ_ERR_INTERNAL,
              "block: dim %lld, heads %lld, hidden %lld", (long long)dim, (long long)config->heads,
              (long long)config->hidden);
  SYZ_REQUIRE(config->heads % ranks == 0 && config->hidden % ranks == 0, SYZ_ERR_INPUT,
              "parallel.tensor = %lld does not divide the %lld heads and %lld hidden columns of a block",
              (long long)ranks, (long long)config->heads, (long long)config->hidden);
  SYZ_REQUIRE(!trains || c->act == SYZ_F32 || dim <= SYZ_NORM_WIDTH, SYZ_ERR_INPUT,
              "a block of width %lld cannot be trained in bfloat16: at most %d", (long long)dim, (int)SYZ_NORM_WIDTH);
  SYZ_ALLOC(b, "block", 1);
  b->compute = c;
  b->config = *config;
  b->branch_scale = config->branch_scale == 0 ? 1 : config->branch_scale;
  b->most = *most;
  b->trains = trains;
  b->heads = config->heads / ranks;
  b->width = dim / ranks;
  b->hidden = config->hidden / ranks;
  SYZ_TRY(syz_linear_create(c, 3 * b->width, dim, rows, trains, &b->qkv));
  SYZ_TRY(syz_linear_create(c, dim, b->width, rows, trains, &b->proj));
  SYZ_TRY(syz_linear_create(c, b->hidden, dim, rows, trains, &b->fc1));
  SYZ_TRY(syz_linear_create(c, dim, b->hidden, rows, trains, &b->fc2));
  for (int g = 0; g < most->groups; g++)
    if (most->count[g] > 0)
      SYZ_TRY(syz_attention_create(c, most->count[g], most->tokens[g], b->heads, dim / config->heads, trains,
                                   &b->attention[g]));
  SYZ_ALLOC(b->norm1_gain, "block norm", dim);
  SYZ_ALLOC(b->norm1_bias, "block norm", dim);
  SYZ_ALLOC(b->norm2_gain, "block norm", dim);
  SYZ_ALLOC(b->norm2_bias, "block norm", dim);
  SYZ_ALLOC(b->scale, "block scale", dim);
  b->row_dim = dim, b->row_heads = b->width, b->row_qkv = 3 * b->width, b->row_hidden = b->hidden;
  if (ranks > 1) {
    SYZ_TRY(block_tensor_create(b, ranks));
  } else {
    spread_rows(b);
  }
  *out = b;
  b = NULL;
cleanup:
  syz_block_destroy(&b);
  return st;
}

void syz_block_destroy(syz_block **b)
{
  if (!*b) return;
  syz_linear_destroy(&(*b)->qkv);
  syz_linear_destroy(&(*b)->proj);
  syz_linear_destroy(&(*b)->fc1);
  syz_linear_destroy(&(*b)->fc2);
  for (int g = 0; g < SYZ_GROUPS_MAX; g++) syz_attention_destroy(&(*b)->attention[g]);
  syz_free(&(*b)->norm1_gain);
  syz_free(&(*b)->norm1_bias);
  syz_free(&(*b)->norm2_gain);
  syz_free(&(*b)->norm2_bias);
  syz_free(&(*b)->scale);
  block_tensor_destroy(&(*b)->tensor);
  syz_free(b);
}

void syz_block_pack(syz_block *b, const syz_block_parameters *w)
{
  const size_t bytes = (size_t)b->config.dim * sizeof(float);
  memcpy(b->norm1_gain, w->norm1_gain, bytes);
  memcpy(b->norm1_bias, w->norm1_bias, bytes);
  memcpy(b->norm2_gain, w->norm2_gain, bytes);
  memcpy(b->norm2_bias, w->norm2_bias, bytes);
  if (b->tensor) {
    block_tensor_pack(b, w);
    return;
  }
  syz_linear_pack(b->qkv, w->qkv_weight, w->qkv_bias, NULL);
  syz_linear_pack(b->proj, w->proj_weight, w->proj_bias, block_scale(b, w->ls1));
  syz_linear_pack(b->fc1, w->fc1_weight, w->fc1_bias, NULL);
  syz_linear_pack(b->fc2, w->fc2_weight, w->fc2_bias, block_scale(b, w->ls2));
}

syz_linear *syz_block_linear(syz_block *b, syz_block_product which)
{
  syz_linear *const product[SYZ_BLOCK_PRODUCTS] = {b->qkv, b->proj, b->fc1, b->fc2};
  return product[which];
}

/* ------------------------------------------------- the rows of a branch */

/** Activations kept by the forward pass. In inference some share memory or are absent (NULL). */
typedef struct saved_views {
  float *x0, *x1; /* [R1, D], [R2, D] the rows of the stream that enter each branch */
  float *mean1, *rstd1, *mean2, *rstd2, *lse;
  void *n1, *qkv, *heads, *branch1; /* [R1, D], [R1, 3D], [R1, D], [R1, D] (LayerScale only) act */
  void *n2, *u, *g, *branch2;       /* [R2, D], [R2, hidden] x 2, [R2, D] act */
} saved_views;

/** For r1 rows in the attention branch and r2 in the MLP. More rows never need less memory. */
static saved_views saved_plan(const syz_block *b, int64_t r1, int64_t r2, bool is_kept, syz_arena *a)
{
  const size_t act = syz_dtype_size(b->compute->act), f32 = sizeof(float);
  const size_t rows1 = (size_t)r1, rows2 = (size_t)r2, dim = (size_t)b->config.dim;
  const size_t row = (size_t)b->row_dim, hidden = (size_t)b->row_hidden;
  saved_views v = {0};
  v.n1 = syz_arena_take(a, (is_kept || r1 > r2 ? rows1 : rows2) * row, act);
  v.qkv = syz_arena_take(a, rows1 * (size_t)b->row_qkv, act);
  v.heads = syz_arena_take(a, rows1 * row, act);
  v.n2 = is_kept ? syz_arena_take(a, rows2 * row, act) : v.n1;
  v.g = syz_arena_take(a, rows2 * hidden, act);
  if (!is_kept) return v;
  v.u = syz_arena_take(a, rows2 * hidden, act);
  v.x0 = syz_arena_take(a, rows1 * dim, f32);
  v.x1 = syz_arena_take(a, rows2 * dim, f32);
  v.mean1 = syz_arena_take(a, rows1, f32);
  v.rstd1 = syz_arena_take(a, rows1, f32);
  v.mean2 = syz_arena_take(a, rows2, f32);
  v.rstd2 = syz_arena_take(a, rows2, f32);
  v.lse = syz_arena_take(a, rows1 * (size_t)b->config.heads, f32);
  if (b->config.has_layerscale) {
    v.branch1 = syz_arena_take(a, rows1 * dim, act);
    v.branch2 = syz_arena_take(a, rows2 * dim, act);
  }
  return v;
}

/** Scratch of the backward pass. */
typedef struct backward_views {
  void *dy, *dn, *wide; /* [R, D], [R, D], [R, max(hidden, 3D)] act */
} backward_views;

static backward_views backward_plan(const syz_block *b, int64_t most_rows, syz_arena *a)
{
  const size_t act = syz_dtype_size(b->compute->act), rows = (size_t)most_rows;
  const int64_t wide = b->row_hidden > b->row_qkv ? b->row_hidden : b->row_qkv;
  backward_views v;
  v.dy = syz_arena_take(a, rows * (size_t)b->row_dim, act);
  v.dn = syz_arena_take(a, rows * (size_t)b->row_dim, act);
  v.wide = syz_arena_take(a, rows * (size_t)wide, act);
  return v;
}

size_t syz_block_saved_bytes(const syz_block *b, const syz_sequences *kept)
{
  syz_arena a = {0};
  const int64_t rows = syz_sequences_rows(kept);
  if (b->tensor) return block_tensor_saved_bytes(b, rows);
  saved_plan(b, rows, rows, true, &a);
  return a.used + 64;
}

size_t syz_block_workspace_bytes(const syz_block *b, const syz_sequences *kept)
{
  syz_arena forward = {0}, backward = {0};
  const int64_t rows = syz_sequences_rows(kept);
  if (b->tensor) return block_tensor_workspace_bytes(b, rows);
  int64_t *table[2];
  block_plan_tables(rows, rows, table, &forward);
  backward.used = forward.used;
  saved_plan(b, rows, rows, false, &forward);
  if (b->trains) backward_plan(b, rows, &backward);
  return (forward.used > backward.used ? forward.used : backward.used) + 64;
}

/* ------------------------------------------------------------ the passes */

void syz_block_forward(const syz_block *b, const syz_sequences *s, const syz_subset *subset, float *x, void *saved,
                       void *workspace)
{
  SYZ_ASSERT(workspace);
  if (b->tensor) {
    block_tensor_forward(b, s, subset, x, saved, workspace);
    return;
  }
  syz_arena scratch = {.base = workspace, .size = SIZE_MAX}, kept = {.base = saved, .size = SIZE_MAX};
  const branches k = block_begin(b, s, subset, &scratch);
  const int64_t r1 = k.attention.rows, r2 = k.mlp.rows, dim = b->config.dim;
  const saved_views v = saved_plan(b, r1, r2, saved != NULL, saved ? &kept : &scratch);
  const syz_dtype act = b->compute->act;
  const float eps = b->config.eps;

  if (r1 > 0) {
    syz_layernorm_forward_at(act, v.n1, v.mean1, v.rstd1, v.x0, x, k.attention.at, b->norm1_gain, b->norm1_bias, eps,
                             r1, dim, b->row_dim);
    syz_linear_forward(b->qkv, r1, v.n1, SYZ_EPILOGUE_NONE, v.qkv, NULL);
    block_attend(b, k.attention.n, 0, v.qkv, v.heads, v.lse, NULL, NULL);
    syz_linear_forward_residual(b->proj, r1, v.heads, k.attention.at, x, v.branch1);
  }
  if (r2 > 0) {
    syz_layernorm_forward_at(act, v.n2, v.mean2, v.rstd2, v.x1, x, k.mlp.at, b->norm2_gain, b->norm2_bias, eps, r2, dim,
                             b->row_dim);
    syz_linear_forward(b->fc1, r2, v.n2, SYZ_EPILOGUE_GELU, v.g, v.u);
    syz_linear_forward_residual(b->fc2, r2, v.g, k.mlp.at, x, v.branch2);
  }
}

static void backward_mlp(const syz_block *b, const kept_rows *k, float *dx, const saved_views *v,
                         const backward_views *w, const syz_block_parameters *g)
{
  const int64_t rows = k->rows, dim = b->config.dim;
  const syz_dtype act = b->compute->act;
  float *dscale = b->config.has_layerscale ? g->ls2 : NULL;
  syz_layerscale_backward_at(act, w->dy, dscale, b->branch_scale, dx, k->at, v->branch2, syz_linear_scale(b->fc2), rows,
                             dim, b->row_dim);
  syz_linear_backward_weight(b->fc2, rows, w->dy, v->g, g->fc2_weight, g->fc2_bias);
  syz_linear_backward_gelu_input(b->fc2, rows, w->dy, v->u, w->wide);
  syz_linear_backward_weight(b->fc1, rows, w->wide, v->n2, g->fc1_weight, g->fc1_bias);
  syz_linear_backward_input(b->fc1, rows, w->wide, w->dn);
  syz_layernorm_backward_at(dx, k->at, true, g->norm2_gain, g->norm2_bias, act, w->dn, v->x1, v->mean2, v->rstd2,
                            b->norm2_gain, rows, dim, b->row_dim);
}

static void backward_attention(const syz_block *b, const kept_rows *k, float *dx, const saved_views *v,
                               const backward_views *w, const syz_block_parameters *g)
{
  const int64_t rows = k->rows, dim = b->config.dim;
  const syz_dtype act = b->compute->act;
  float *dscale = b->config.has_layerscale ? g->ls1 : NULL;
  syz_layerscale_backward_at(act, w->dy, dscale, b->branch_scale, dx, k->at, v->branch1, syz_linear_scale(b->proj),
                             rows, dim, b->row_dim);
  syz_linear_backward_weight(b->proj, rows, w->dy, v->heads, g->proj_weight, g->proj_bias);
  syz_linear_backward_input(b->proj, rows, w->dy, w->dn);
  block_attend(b, k->n, 0, v->qkv, v->heads, v->lse, w->dn, w->wide);
  syz_linear_backward_weight(b->qkv, rows, w->wide, v->n1, g->qkv_weight, g->qkv_bias);
  syz_linear_backward_input(b->qkv, rows, w->wide, w->dn);
  syz_layernorm_backward_at(dx, k->at, true, g->norm1_gain, g->norm1_bias, act, w->dn, v->x0, v->mean1, v->rstd1,
                            b->norm1_gain, rows, dim, b->row_dim);
}

void syz_block_backward(const syz_block *b, const syz_sequences *s, const syz_subset *subset, float *dx,
                        const void *saved, const syz_block_parameters *gradients, void *workspace)
{
  SYZ_ASSERT(b->trains && saved && workspace);
  if (b->tensor) {
    block_tensor_backward(b, s, subset, dx, saved, gradients, workspace);
    return;
  }
  syz_arena kept = {.base = (unsigned char *)(uintptr_t)saved, .size = SIZE_MAX},
            scratch = {.base = workspace, .size = SIZE_MAX};
  const branches k = block_begin(b, s, subset, &scratch);
  const int64_t r1 = k.attention.rows, r2 = k.mlp.rows;
  const saved_views v = saved_plan(b, r1, r2, true, &kept);
  const backward_views w = backward_plan(b, r1 > r2 ? r1 : r2, &scratch);
  if (r2 > 0) backward_mlp(b, &k.mlp, dx, &v, &w, gradients);
  if (r1 > 0) backward_attention(b, &k.attention, dx, &v, &w, gradients);
}
