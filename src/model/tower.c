/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * A tower's plan, forward pass and backward pass.
 *
 * Both towers run the same steps: pieces of the input through one product, a token in front, positions, blocks, a last
 * norm, a pooling head. Names, epsilon and which of these steps exist are in the tower's description. The residual
 * stream x is float32 and is changed in place from the first block to the last (blocks.c).
 */
#include <string.h>

#include "model_impl.h"

/* ---------------------------------------------------------------- plan */

static bool has_backbone_mode(syz_tower_mode mode) { return mode != SYZ_MODE_HEAD; }

/* Every object has the same number of tokens: one group of sequences. */
static syz_sequences sequences_of(const tower *t, int64_t batch)
{
  return (syz_sequences){.groups = 1, .count = {batch}, .tokens = {t->tokens}};
}

static void drop_layers(tower *t)
{
  syz_linear_destroy(&t->embed);
  blocks_drop(&t->blocks);
  pool_destroy(&t->pool);
}

void tower_unplan(tower *t)
{
  drop_layers(t);
  syz_free(&t->arena.base);
  t->arena = (syz_arena){0};
  t->is_planned = false;
}

/* Create the layers for t->mode and t->max_batch; only some blocks when measuring. */
static syz_status make_layers(const syz_model *m, tower *t, bool is_measuring)
{
  syz_status st = SYZ_OK;
  const bool trains = t->mode == SYZ_MODE_TRAIN;
  const int64_t rows =
      t->extra ? t->tokens - t->extra : t->max_batch * t->tokens; /* with a class token: object by object */
  const syz_sequences most = sequences_of(t, t->max_batch);
  const blocks_shape shape = {.modality = t->modality,
                              .most = most,
                              .kept = most,
                              .trains = trains,
                              .tensor = trains ? m->tensor : NULL,
                              .planned_ranks = trains ? m->planned_ranks : 0};
  const pool_shape head = {.tokens = t->tokens,
                           .width = t->dim,
                           .dim = m->config.embedding.dim,
                           .heads = m->config.embedding.heads,
                           .dropout = m->config.embedding.dropout,
                           .is_residual = t->modality == SYZ_SPECTRUM,
                           .dropout_layer = t->modality == SYZ_SPECTRUM ? 2 : 0};
  if (has_backbone_mode(t->mode)) {
    /* The weight gradient runs over all rows at once. */
    SYZ_TRY(syz_linear_create(m->compute, t->dim, t->embed_width, trains ? t->max_batch * (t->tokens - t->extra) : rows,
                              trains, &t->embed));
    SYZ_TRY(blocks_make(m, &shape, is_measuring, &t->blocks));
  }
  if (t->has_head) SYZ_TRY(pool_create(m->compute, &head, t->max_batch, t->mode != SYZ_MODE_EMBED, &t->pool));
cleanup:
  return st;
}

static void lay_out(const syz_model *m, tower *t, syz_arena *a)
{
  if (!has_backbone_mode(t->mode)) return;
  const size_t b = (size_t)t->max_batch, d = (size_t)t->dim, rows = b * (size_t)t->tokens,
               pieces = b * (size_t)(t->tokens - t->extra);
  const size_t act = syz_dtype_size(syz_compute_act(m->compute));
  t->pieces = syz_arena_take(a, pieces * (size_t)t->embed_width, act);
  t->x = syz_arena_take(a, rows * d, sizeof(float));
  t->tokens_act = syz_arena_take(a, rows * d, act);
  blocks_lay_out(&t->blocks, a);
  if (t->mode != SYZ_MODE_TRAIN) return;
  t->mean = syz_arena_take(a, rows, sizeof(float));
  t->rstd = syz_arena_take(a, rows, sizeof(float));
  t->dx = syz_arena_take(a, rows * d, sizeof(float));
  t->dtokens = syz_arena_take(a, (size_t)t->tokens * d, sizeof(float));
  t->dpieces = syz_arena_take(a, pieces * d, act);
}

static void pack_tower(syz_model *m, tower *t, bool only_heads)
{
  if (!t->is_planned) return;
  if (!only_heads && has_backbone_mode(t->mode)) {
    syz_linear_pack(t->embed, m->weights + t->backbone.embed_weight, m->weights + t->backbone.embed_bias, NULL);
    blocks_pack(&t->blocks);
  }
  if (t->pool) pool_pack(t->pool, &t->head, m->weights);
}

void syz_model_pack(syz_model *m, bool only_heads)
{
  for (int i = 0; i < SYZ_MODALITIES; i++) pack_tower(m, &m->tower[i], only_heads);
}

syz_status syz_tower_plan(syz_model *m, syz_modality modality, int64_t max_batch, syz_tower_mode mode)
{
  syz_status st = SYZ_OK;
  tower *t = &m->tower[modality];
  SYZ_REQUIRE(t->is_there, SYZ_ERR_INTERNAL, "this model has no %s tower to plan", syz_modality_name(modality));
  SYZ_REQUIRE(t->has_head || mode == SYZ_MODE_EMBED, SYZ_ERR_INTERNAL, "the %s tower has no pooling head to train",
              syz_modality_name(modality));
  tower_unplan(t);
  t->mode = mode;
  t->max_batch = max_batch > 0 ? max_batch : 1;
  SYZ_TRY(make_layers(m, t, false));
  lay_out(m, t, &t->arena);
  t->arena.size = t->arena.used;
  SYZ_ALLOC(t->arena.base, "tower activations", t->arena.size ? t->arena.size : 1);
  t->arena.used = 0;
  lay_out(m, t, &t->arena);
  t->is_planned = true;
  pack_tower(m, t, false);
cleanup:
  if (st != SYZ_OK) tower_unplan(t);
  return st;
}

size_t syz_tower_plan_bytes(const syz_model *m, syz_modality modality, int64_t max_batch, syz_tower_mode mode)
{
  tower t = m->tower[modality];
  size_t bytes = 0;
  t.embed = NULL;
  t.blocks = (blocks){0};
  t.pool = NULL;
  t.arena = (syz_arena){0};
  t.mode = mode;
  t.max_batch = max_batch > 0 ? max_batch : 1;
  if (t.is_there && make_layers(m, &t, true) == SYZ_OK) {
    lay_out(m, &t, &t.arena);
    bytes = t.arena.used + t.blocks.packed_bytes + (t.pool ? pool_bytes(t.pool) : 0);
  }
  drop_layers(&t);
  return bytes;
}

/* ------------------------------------------------------------- forward */

static void check_call(const tower *t, int64_t batch, bool needs_backbone, bool needs_head)
{
  SYZ_ASSERT(t->is_planned && batch >= 0 && batch <= t->max_batch && (!needs_backbone || has_backbone_mode(t->mode)) &&
             (!needs_head || t->pool));
}

/* Row of a token in the table of positions; -1 for registers, which lie between class token and patches and have no
 * position. */
static int64_t position_of(const tower *t, int64_t row)
{
  if (t->extra <= 1 || row == 0) return row;
  return row < t->extra ? -1 : row - t->extra + 1;
}

/* x [B, T, D] before the first block. */
static void embed_pieces(syz_model *m, tower *t, int64_t batch, const float *input)
{
  const int threads = syz_compute_threads(m->compute);
  const syz_dtype act = syz_compute_act(m->compute);
  const int64_t d = t->dim, pieces = t->tokens - t->extra;
  if (t->modality == SYZ_IMAGE)
    image_pieces(m->config.image.size, m->config.image.patch, act, batch, input, t->pieces, threads);
  else
    spectrum_pieces(&m->config, act, batch, input, t->pieces, threads);
  if (t->extra == 0) {
    syz_linear_forward(t->embed, batch * pieces, t->pieces, SYZ_EPILOGUE_F32, t->x, NULL);
  } else {
    const float *class_token = m->weights + t->backbone.class_token, *registers = m->weights + t->backbone.registers;
    for (int64_t b = 0; b < batch; b++) {
      const unsigned char *in =
          (const unsigned char *)t->pieces + (size_t)(b * pieces * t->embed_width) * syz_dtype_size(act);
      float *x = t->x + b * t->tokens * d;
      memcpy(x, class_token, (size_t)d * sizeof *x);
      if (t->extra > 1) memcpy(x + d, registers, (size_t)((t->extra - 1) * d) * sizeof *x);
      syz_linear_forward(t->embed, pieces, in, SYZ_EPILOGUE_F32, x + t->extra * d, NULL);
    }
  }
  if (!t->has_position) return;
  const float *position = m->weights + t->backbone.position;
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
  for (int64_t b = 0; b < batch; b++) {
    float *x = t->x + b * t->tokens * d;
    for (int64_t row = 0; row < t->tokens; row++) {
      const int64_t place = position_of(t, row);
      for (int64_t i = 0; i < d && place >= 0; i++) x[row * d + i] += position[place * d + i];
    }
  }
}

static void run_backbone(syz_model *m, tower *t, int64_t batch, const float *input, void *tokens, bool keeps)
{
  const syz_sequences all = sequences_of(t, batch);
  if (batch > 0) embed_pieces(m, t, batch, input);
  blocks_forward(&t->blocks, &all, NULL, t->x, keeps);
  syz_layernorm_forward(syz_compute_act(m->compute), tokens, keeps ? t->mean : NULL, keeps ? t->rstd : NULL, t->x,
                        m->weights + t->backbone.norm_gain, m->weights + t->backbone.norm_bias, t->eps,
                        batch * t->tokens, t->dim);
}

void syz_tower_backbone(syz_model *m, syz_modality modality, int64_t batch, const float *input, void *tokens)
{
  tower *t = &m->tower[modality];
  check_call(t, batch, true, false);
  run_backbone(m, t, batch, input, tokens, false);
}

void syz_tower_head(syz_model *m, syz_modality modality, int64_t batch, const void *tokens,
                    const syz_dropout_key *dropout, float *embedding)
{
  tower *t = &m->tower[modality];
  check_call(t, batch, false, true);
  pool_forward(t->pool, batch, tokens, dropout, embedding);
}

void syz_tower_forward(syz_model *m, syz_modality modality, int64_t batch, const float *input,
                       const syz_dropout_key *dropout, float *embedding)
{
  tower *t = &m->tower[modality];
  check_call(t, batch, true, true);
  run_backbone(m, t, batch, input, t->tokens_act, t->mode == SYZ_MODE_TRAIN);
  if (batch > 0) pool_forward(t->pool, batch, t->tokens_act, dropout, embedding);
}

/* ------------------------------------------------------------ backward */

void syz_tower_head_backward(syz_model *m, syz_modality modality, int64_t batch, const void *tokens,
                             const float *dembedding, const syz_dropout_key *dropout, float *gradients)
{
  tower *t = &m->tower[modality];
  check_call(t, batch, false, true);
  SYZ_ASSERT(t->mode != SYZ_MODE_EMBED);
  pool_backward(t->pool, batch, tokens, dembedding, dropout, &t->head, m->weights, gradients);
}

/* The head's gradient by the tokens, object by object through the last norm, so that the gradient of all tokens is
 * never stored at once. */
static void backward_norm(syz_model *m, tower *t, int64_t batch, float *gradients)
{
  for (int64_t b = 0; b < batch; b++) {
    const int64_t row = b * t->tokens;
    pool_backward_tokens(t->pool, b, t->dtokens);
    syz_layernorm_backward(t->dx + row * t->dim, false, gradients + t->backbone.norm_gain,
                           gradients + t->backbone.norm_bias, SYZ_F32, t->dtokens, t->x + row * t->dim, t->mean + row,
                           t->rstd + row, m->weights + t->backbone.norm_gain, t->tokens, t->dim);
  }
}

static void backward_pieces(syz_model *m, tower *t, int64_t batch, float *gradients)
{
  const int threads = syz_compute_threads(m->compute);
  const syz_dtype act = syz_compute_act(m->compute);
  const int64_t d = t->dim, pieces = t->tokens - t->extra;
  if (t->has_position) {
    float *dposition = gradients + t->backbone.position;
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (int64_t row = 0; row < t->tokens; row++) {
      const int64_t place = position_of(t, row);
      for (int64_t b = 0; b < batch && place >= 0; b++) {
        const float *dx = t->dx + (b * t->tokens + row) * d;
        for (int64_t k = 0; k < d; k++) dposition[place * d + k] += dx[k];
      }
    }
  }
  for (int64_t row = 0; row < t->extra; row++) {
    float *dtoken = gradients + (row == 0 ? t->backbone.class_token : t->backbone.registers + (row - 1) * d);
    for (int64_t b = 0; b < batch; b++)
      for (int64_t k = 0; k < d; k++) dtoken[k] += t->dx[(b * t->tokens + row) * d + k];
  }
  for (int64_t b = 0; b < batch; b++)
    syz_convert_to_act(act, (unsigned char *)t->dpieces + (size_t)(b * pieces * d) * syz_dtype_size(act),
                       t->dx + (b * t->tokens + t->extra) * d, pieces * d);
  syz_linear_backward_weight(t->embed, batch * pieces, t->dpieces, t->pieces, gradients + t->backbone.embed_weight,
                             gradients + t->backbone.embed_bias);
}

void syz_tower_backward(syz_model *m, syz_modality modality, int64_t batch, const float *dembedding,
                        const syz_dropout_key *dropout, float *gradients,
                        void (*ready)(void *context, int64_t first, int64_t count), void *context)
{
  tower *t = &m->tower[modality];
  const syz_sequences all = sequences_of(t, batch);
  check_call(t, batch, true, true);
  SYZ_ASSERT(t->mode == SYZ_MODE_TRAIN);
  pool_backward(t->pool, batch, t->tokens_act, dembedding, dropout, &t->head, m->weights, gradients);
  if (ready) ready(context, t->head.first, t->head.count);
  backward_norm(m, t, batch, gradients);
  if (ready) ready(context, t->backbone.last_first, t->backbone.last_count);
  blocks_backward(&t->blocks, &all, NULL, t->dx, gradients, ready, context);
  if (batch > 0) backward_pieces(m, t, batch, gradients);
  if (ready) ready(context, t->backbone.embed_first, t->backbone.embed_count);
}
