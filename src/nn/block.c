/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The pre-norm transformer block (Xiong et al. 2020, arXiv:2002.04745; LayerScale: Touvron et al. 2021, arXiv:2103.17239).
 *
 * What the forward pass keeps for the backward pass is everything that a product or a statistic would have to be computed again for:
 * both residual streams in float32, and the inputs of the four products in the activation type. LayerScale multiplies in the
 * product's epilogue, in float32; its gradient, sum over rows of dx times the unscaled branch, needs that branch's output, kept too.
 */
#include <string.h>

#include "linear_native.h"
#include "rowwise.h"

struct syz_block {
  const syz_compute *compute;
  syz_block_config config;
  int64_t max_batch, tokens;
  bool trains;
  syz_linear *qkv, *proj, *fc1, *fc2;
  syz_attention *attention;
  float *norm1_gain, *norm1_bias, *norm2_gain, *norm2_bias; /* [D] copies of the packed step */
};

syz_status syz_block_create(const syz_compute *c, const syz_block_config *config, int64_t max_batch, int64_t tokens, bool trains,
                            syz_block **out) {
  syz_status st = SYZ_OK;
  syz_block *b = NULL;
  *out = NULL;
  const int64_t dim = config->dim, rows = max_batch * tokens;
  SYZ_REQUIRE(dim >= 1 && config->heads >= 1 && dim % config->heads == 0 && config->hidden >= 1 && max_batch >= 1 && tokens >= 1,
              SYZ_ERR_INTERNAL, "block: dim %lld, heads %lld, hidden %lld, batch %lld, tokens %lld", (long long)dim,
              (long long)config->heads, (long long)config->hidden, (long long)max_batch, (long long)tokens);
  SYZ_REQUIRE(!trains || c->act == SYZ_F32 || dim <= SYZ_NORM_WIDTH, SYZ_ERR_INPUT,
              "a block of width %lld cannot be trained in bfloat16: at most %d", (long long)dim, (int)SYZ_NORM_WIDTH);
  SYZ_ALLOC(b, "block", 1);
  b->compute = c;
  b->config = *config;
  b->max_batch = max_batch, b->tokens = tokens, b->trains = trains;
  SYZ_TRY(syz_linear_create(c, 3 * dim, dim, rows, trains, &b->qkv));
  SYZ_TRY(syz_linear_create(c, dim, dim, rows, trains, &b->proj));
  SYZ_TRY(syz_linear_create(c, config->hidden, dim, rows, trains, &b->fc1));
  SYZ_TRY(syz_linear_create(c, dim, config->hidden, rows, trains, &b->fc2));
  SYZ_TRY(syz_attention_create(c, max_batch, tokens, config->heads, dim / config->heads, trains, &b->attention));
  SYZ_ALLOC(b->norm1_gain, "block norm", dim);
  SYZ_ALLOC(b->norm1_bias, "block norm", dim);
  SYZ_ALLOC(b->norm2_gain, "block norm", dim);
  SYZ_ALLOC(b->norm2_bias, "block norm", dim);
  *out = b;
  b = NULL;
cleanup:
  syz_block_destroy(&b);
  return st;
}

void syz_block_destroy(syz_block **b) {
  if (!*b) return;
  syz_linear_destroy(&(*b)->qkv);
  syz_linear_destroy(&(*b)->proj);
  syz_linear_destroy(&(*b)->fc1);
  syz_linear_destroy(&(*b)->fc2);
  syz_attention_destroy(&(*b)->attention);
  syz_free(&(*b)->norm1_gain);
  syz_free(&(*b)->norm1_bias);
  syz_free(&(*b)->norm2_gain);
  syz_free(&(*b)->norm2_bias);
  syz_free(b);
}

void syz_block_pack(syz_block *b, const syz_block_parameters *w) {
  const size_t bytes = (size_t)b->config.dim * sizeof(float);
  const bool has_scale = b->config.has_layerscale;
  memcpy(b->norm1_gain, w->norm1_gain, bytes);
  memcpy(b->norm1_bias, w->norm1_bias, bytes);
  memcpy(b->norm2_gain, w->norm2_gain, bytes);
  memcpy(b->norm2_bias, w->norm2_bias, bytes);
  syz_linear_pack(b->qkv, w->qkv_weight, w->qkv_bias, NULL);
  syz_linear_pack(b->proj, w->proj_weight, w->proj_bias, has_scale ? w->ls1 : NULL);
  syz_linear_pack(b->fc1, w->fc1_weight, w->fc1_bias, NULL);
  syz_linear_pack(b->fc2, w->fc2_weight, w->fc2_bias, has_scale ? w->ls2 : NULL);
}

/** Activations kept by the forward pass. In inference some share memory or are absent (NULL). */
typedef struct saved_views {
  float *x0, *x1;             /* [R, D] the stream before each half */
  float *mean1, *rstd1, *mean2, *rstd2, *lse;
  void *n1, *qkv, *heads, *branch1; /* [R, D], [R, 3D], [R, D], [R, D] (LayerScale only) act */
  void *n2, *u, *g, *branch2;       /* [R, D], [R, hidden] x 2, [R, D] act */
} saved_views;

static saved_views saved_plan(const syz_block *b, int64_t batch, bool is_kept, syz_arena *a) {
  const size_t act = syz_dtype_size(b->compute->act), f32 = sizeof(float);
  const size_t rows = (size_t)(batch * b->tokens), dim = (size_t)b->config.dim, hidden = (size_t)b->config.hidden;
  saved_views v = {0};
  v.n1 = syz_arena_take(a, rows * dim, act);
  v.qkv = syz_arena_take(a, rows * 3 * dim, act);
  v.heads = syz_arena_take(a, rows * dim, act);
  v.n2 = is_kept ? syz_arena_take(a, rows * dim, act) : v.n1;
  v.g = syz_arena_take(a, rows * hidden, act);
  if (!is_kept) return v;
  v.u = syz_arena_take(a, rows * hidden, act);
  v.x0 = syz_arena_take(a, rows * dim, f32);
  v.x1 = syz_arena_take(a, rows * dim, f32);
  v.mean1 = syz_arena_take(a, rows, f32);
  v.rstd1 = syz_arena_take(a, rows, f32);
  v.mean2 = syz_arena_take(a, rows, f32);
  v.rstd2 = syz_arena_take(a, rows, f32);
  v.lse = syz_arena_take(a, rows * (size_t)b->config.heads, f32);
  if (b->config.has_layerscale) {
    v.branch1 = syz_arena_take(a, rows * dim, act);
    v.branch2 = syz_arena_take(a, rows * dim, act);
  }
  return v;
}

/** Scratch of the backward pass. */
typedef struct backward_views {
  void *dy, *dn, *wide; /* [R, D], [R, D], [R, max(hidden, 3D)] act */
} backward_views;

static backward_views backward_plan(const syz_block *b, int64_t batch, syz_arena *a) {
  const size_t act = syz_dtype_size(b->compute->act), rows = (size_t)(batch * b->tokens);
  const int64_t dim = b->config.dim, wide = b->config.hidden > 3 * dim ? b->config.hidden : 3 * dim;
  backward_views v;
  v.dy = syz_arena_take(a, rows * (size_t)dim, act);
  v.dn = syz_arena_take(a, rows * (size_t)dim, act);
  v.wide = syz_arena_take(a, rows * (size_t)wide, act);
  return v;
}

size_t syz_block_saved_bytes(const syz_block *b, int64_t batch) {
  syz_arena a = {0};
  saved_plan(b, batch, true, &a);
  return a.used + 64;
}

size_t syz_block_workspace_bytes(const syz_block *b, int64_t batch) {
  syz_arena forward = {0}, backward = {0};
  saved_plan(b, batch, false, &forward);
  if (b->trains) backward_plan(b, batch, &backward);
  return (forward.used > backward.used ? forward.used : backward.used) + 64;
}

void syz_block_forward(const syz_block *b, int64_t batch, float *x, void *saved, void *workspace) {
  SYZ_ASSERT(batch >= 0 && batch <= b->max_batch);
  if (batch == 0) return;
  syz_arena a = {.base = saved ? saved : workspace, .size = SIZE_MAX};
  const saved_views v = saved_plan(b, batch, saved != NULL, &a);
  const int64_t rows = batch * b->tokens, dim = b->config.dim;
  const syz_dtype act = b->compute->act;
  const float eps = b->config.eps;
  const size_t stream = (size_t)(rows * dim) * sizeof(float);

  if (v.x0) memcpy(v.x0, x, stream);
  syz_layernorm_forward(act, v.n1, v.mean1, v.rstd1, x, b->norm1_gain, b->norm1_bias, eps, rows, dim);
  syz_linear_forward(b->qkv, rows, v.n1, SYZ_EPILOGUE_NONE, v.qkv, NULL);
  syz_attention_forward(b->attention, batch, v.qkv, v.heads, v.lse);
  syz_linear_forward(b->proj, rows, v.heads, SYZ_EPILOGUE_RESIDUAL, x, v.branch1);

  if (v.x1) memcpy(v.x1, x, stream);
  syz_layernorm_forward(act, v.n2, v.mean2, v.rstd2, x, b->norm2_gain, b->norm2_bias, eps, rows, dim);
  syz_linear_forward(b->fc1, rows, v.n2, SYZ_EPILOGUE_GELU, v.g, v.u);
  syz_linear_forward(b->fc2, rows, v.g, SYZ_EPILOGUE_RESIDUAL, x, v.branch2);
}

void syz_block_backward(const syz_block *b, int64_t batch, float *dx, const void *saved, const syz_block_parameters *weights,
                        const syz_block_parameters *gradients, void *workspace) {
  SYZ_ASSERT(b->trains && batch >= 0 && batch <= b->max_batch);
  (void)weights;
  if (batch == 0) return;
  syz_arena a = {.base = (unsigned char *)(uintptr_t)saved, .size = SIZE_MAX}, scratch = {.base = workspace, .size = SIZE_MAX};
  const saved_views v = saved_plan(b, batch, true, &a);
  const backward_views w = backward_plan(b, batch, &scratch);
  const int64_t rows = batch * b->tokens, dim = b->config.dim;
  const syz_dtype act = b->compute->act;
  const syz_block_parameters *g = gradients;
  const float *ls1 = b->config.has_layerscale ? syz_linear_scale(b->proj) : NULL;
  const float *ls2 = b->config.has_layerscale ? syz_linear_scale(b->fc2) : NULL;

  syz_layerscale_backward(act, w.dy, ls2 ? g->ls2 : NULL, dx, v.branch2, ls2, rows, dim);
  syz_linear_backward_weight(b->fc2, rows, w.dy, v.g, g->fc2_weight, g->fc2_bias);
  syz_linear_backward_gelu_input(b->fc2, rows, w.dy, v.u, w.wide);
  syz_linear_backward_weight(b->fc1, rows, w.wide, v.n2, g->fc1_weight, g->fc1_bias);
  syz_linear_backward_input(b->fc1, rows, w.wide, w.dn);
  syz_layernorm_backward(dx, true, g->norm2_gain, g->norm2_bias, act, w.dn, v.x1, v.mean2, v.rstd2, b->norm2_gain, rows, dim);

  syz_layerscale_backward(act, w.dy, ls1 ? g->ls1 : NULL, dx, v.branch1, ls1, rows, dim);
  syz_linear_backward_weight(b->proj, rows, w.dy, v.heads, g->proj_weight, g->proj_bias);
  syz_linear_backward_input(b->proj, rows, w.dy, w.dn);
  syz_attention_backward(b->attention, batch, w.dn, v.qkv, v.heads, v.lse, w.wide);
  syz_linear_backward_weight(b->qkv, rows, w.wide, v.n1, g->qkv_weight, g->qkv_bias);
  syz_linear_backward_input(b->qkv, rows, w.wide, w.dn);
  syz_layernorm_backward(dx, true, g->norm1_gain, g->norm1_bias, act, w.dn, v.x0, v.mean1, v.rstd1, b->norm1_gain, rows, dim);
}
