/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Masked spectrum modelling: the spectrum backbone on tokens of which some are set to zero, and its `head` on those.
 *
 * A masked token is the zero vector before data_embed, so that what enters the blocks is that layer's bias and the
 * token's position, as published. Only masked tokens are scored: the last norm and the head run on their rows alone
 * (300 of 778 with the published mask), and the backward pass begins from these rows. The caller passes a zero gradient
 * for numbers that the loss leaves out (already zero, bad pixels).
 */
#include <string.h>

#include "model_impl.h"

struct syz_masked {
  const syz_model *m;
  const backbone_layout *layout;
  int64_t most, most_rows, tokens, width, dim;
  int64_t head_weight, head_bias; /* offsets in the block of parameters */
  float eps;
  bool trains;
  syz_linear *embed, *head;
  size_t ends_bytes; /* of these two layers, measured while they are created (as in blocks.c), because the engine holds
                        the packed weights */
  blocks blocks;
  syz_arena arena;
  int64_t *row;       /* [most_rows] of the last forward call */
  void *pieces;       /* [most, T, width] act, masked tokens zero */
  float *x;           /* [most, T, D] residual stream; its gradient in the backward pass */
  float *last;        /* [most_rows, D] the masked rows of it before the last norm */
  void *normed;       /* [most_rows, D] act, after it */
  float *mean, *rstd; /* [most_rows] */
  void *dprediction;  /* [most_rows, width] act */
  void *dnormed;      /* [most_rows, D] act */
  float *dlast;       /* [most_rows, D] */
  void *dpieces;      /* [most, T, D] act */
  int64_t batch, n;   /* of the last forward call */
};

/* ---------------------------------------------------------------- plan */

static syz_sequences sequences_of(const syz_masked *k, int64_t batch)
{
  return (syz_sequences){.groups = 1, .count = {batch}, .tokens = {k->tokens}};
}

static void drop_layers(syz_masked *k)
{
  syz_linear_destroy(&k->embed);
  syz_linear_destroy(&k->head);
  blocks_drop(&k->blocks);
}

static syz_status find_head(syz_masked *k)
{
  syz_status st = SYZ_OK;
  int n;
  const syz_parameter *table = syz_model_parameters(k->m, &n);
  k->head_weight = k->head_bias = -1;
  for (int i = 0; i < n; i++) {
    if (strcmp(table[i].name, "spectrum_encoder.backbone.head.weight") == 0) k->head_weight = table[i].offset;
    if (strcmp(table[i].name, "spectrum_encoder.backbone.head.bias") == 0) k->head_bias = table[i].offset;
  }
  SYZ_REQUIRE(k->head_weight >= 0 && k->head_bias >= 0, SYZ_ERR_INTERNAL, "this model has no spectrum tower to mask");
cleanup:
  return st;
}

static syz_status describe(const syz_model *m, int64_t most, int64_t most_rows, bool trains, syz_masked *k)
{
  syz_status st = SYZ_OK;
  const syz_spectrum_config *c = &m->config.spectrum;
  k->m = m;
  k->layout = &m->tower[SYZ_SPECTRUM].backbone;
  k->tokens = syz_model_tokens(&m->config, SYZ_SPECTRUM);
  k->width = c->section + 2;
  k->dim = c->dim;
  k->eps = m->tower[SYZ_SPECTRUM].eps;
  k->most = most > 0 ? most : 1; /* a rank without objects */
  k->most_rows = most_rows > 0 ? most_rows : 1;
  k->trains = trains;
  SYZ_REQUIRE(k->most_rows <= k->most * k->tokens, SYZ_ERR_INPUT,
              "masked modelling: %lld masked tokens of %lld spectra with %lld tokens each", (long long)most_rows,
              (long long)most, (long long)k->tokens);
  SYZ_TRY(find_head(k));
cleanup:
  return st;
}

static syz_status make_layers(syz_masked *k, bool is_measuring)
{
  syz_status st = SYZ_OK;
  const syz_sequences most = sequences_of(k, k->most);
  const blocks_shape shape = {.modality = SYZ_SPECTRUM,
                              .most = most,
                              .kept = most,
                              .trains = k->trains,
                              .tensor = k->m->tensor,
                              .planned_ranks = k->m->planned_ranks};
  const size_t before = syz_memory_get().live_bytes;
  SYZ_TRY(syz_linear_create(k->m->compute, k->dim, k->width, k->most * k->tokens, k->trains, &k->embed));
  SYZ_TRY(syz_linear_create(k->m->compute, k->width, k->dim, k->most_rows, k->trains, &k->head));
  k->ends_bytes = syz_memory_get().live_bytes - before;
  SYZ_TRY(blocks_make(k->m, &shape, is_measuring, &k->blocks));
cleanup:
  return st;
}

static void lay_out(syz_masked *k, syz_arena *a)
{
  const size_t act = syz_dtype_size(syz_compute_act(k->m->compute)), rows = (size_t)(k->most * k->tokens),
               chosen = (size_t)k->most_rows;
  const size_t d = (size_t)k->dim, width = (size_t)k->width;
  k->row = syz_arena_take(a, chosen, sizeof *k->row);
  k->pieces = syz_arena_take(a, rows * width, act);
  k->x = syz_arena_take(a, rows * d, sizeof(float));
  k->last = syz_arena_take(a, chosen * d, sizeof(float));
  k->normed = syz_arena_take(a, chosen * d, act);
  k->mean = syz_arena_take(a, chosen, sizeof(float));
  k->rstd = syz_arena_take(a, chosen, sizeof(float));
  blocks_lay_out(&k->blocks, a);
  if (!k->trains) return;
  k->dprediction = syz_arena_take(a, chosen * width, act);
  k->dnormed = syz_arena_take(a, chosen * d, act);
  k->dlast = syz_arena_take(a, chosen * d, sizeof(float));
  k->dpieces = syz_arena_take(a, rows * d, act);
}

syz_status syz_masked_create(syz_model *m, int64_t most, int64_t most_rows, bool trains, syz_masked **out)
{
  syz_status st = SYZ_OK;
  syz_masked *k = NULL;
  *out = NULL;
  SYZ_ALLOC(k, "masked modelling", 1);
  SYZ_TRY(describe(m, most, most_rows, trains, k));
  SYZ_TRY(make_layers(k, false));
  lay_out(k, &k->arena);
  k->arena.size = k->arena.used;
  SYZ_ALLOC(k->arena.base, "masked modelling activations", k->arena.size);
  k->arena.used = 0;
  lay_out(k, &k->arena);
  syz_masked_pack(k);
  *out = k;
  k = NULL;
cleanup:
  syz_masked_destroy(&k);
  return st;
}

void syz_masked_destroy(syz_masked **k)
{
  if (!*k) return;
  drop_layers(*k);
  syz_free(&(*k)->arena.base);
  syz_free(k);
}

size_t syz_masked_bytes(const syz_model *m, int64_t most, int64_t most_rows, bool trains)
{
  syz_status st = SYZ_OK;
  syz_masked k = {.m = m};
  size_t bytes = 0;
  SYZ_TRY(describe(m, most, most_rows, trains, &k));
  SYZ_TRY(make_layers(&k, true));
  lay_out(&k, &k.arena);
  bytes = k.arena.used + k.ends_bytes + k.blocks.packed_bytes;
cleanup:
  drop_layers(&k);
  return st == SYZ_OK ? bytes : 0;
}

void syz_masked_pack(syz_masked *k)
{
  const float *weights = k->m->weights;
  syz_linear_pack(k->embed, weights + k->layout->embed_weight, weights + k->layout->embed_bias, NULL);
  syz_linear_pack(k->head, weights + k->head_weight, weights + k->head_bias, NULL);
  blocks_pack(&k->blocks);
}

/* ------------------------------------------------------------- forward */

/* x [B, T, D] before the first block. */
static void embed_tokens(syz_masked *k, const float *pieces)
{
  const syz_dtype act = syz_compute_act(k->m->compute);
  const int threads = syz_compute_threads(k->m->compute);
  const int64_t each = k->tokens * k->dim;
  const size_t row_bytes = (size_t)k->width * syz_dtype_size(act);
  const float *position = k->m->weights + k->layout->position;
  syz_convert_to_act(act, k->pieces, pieces, k->batch * k->tokens * k->width);
  for (int64_t i = 0; i < k->n; i++) memset((unsigned char *)k->pieces + (size_t)k->row[i] * row_bytes, 0, row_bytes);
  syz_linear_forward(k->embed, k->batch * k->tokens, k->pieces, SYZ_EPILOGUE_F32, k->x, NULL);
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
  for (int64_t b = 0; b < k->batch; b++) {
    float *x = k->x + b * each;
    for (int64_t i = 0; i < each; i++) x[i] += position[i];
  }
}

void syz_masked_forward(syz_masked *k, int64_t batch, const float *pieces, int64_t n, const int64_t *row,
                        float *prediction)
{
  SYZ_ASSERT(batch >= 0 && batch <= k->most && n >= 0 && n <= k->most_rows);
  const size_t row_bytes = (size_t)k->dim * sizeof(float);
  const syz_sequences s = sequences_of(k, batch);
  k->batch = batch;
  k->n = n;
  if (batch == 0) {
    blocks_forward(&k->blocks, &s, NULL, k->x, k->trains); /* a tensor group's other ranks may have spectra */
    return;
  }
  for (int64_t i = 0; i < n; i++) {
    SYZ_ASSERT(row[i] < batch * k->tokens && row[i] > (i ? row[i - 1] : -1));
    k->row[i] = row[i];
  }
  embed_tokens(k, pieces);
  blocks_forward(&k->blocks, &s, NULL, k->x, k->trains);
  for (int64_t i = 0; i < n; i++) memcpy(k->last + i * k->dim, k->x + row[i] * k->dim, row_bytes);
  syz_layernorm_forward(syz_compute_act(k->m->compute), k->normed, k->mean, k->rstd, k->last,
                        k->m->weights + k->layout->norm_gain, k->m->weights + k->layout->norm_bias, k->eps, n, k->dim);
  syz_linear_forward(k->head, n, k->normed, SYZ_EPILOGUE_F32, prediction, NULL);
}

/* ------------------------------------------------------------ backward */

/* From the predictions to dx of all tokens, which overwrites x. */
static void backward_head(syz_masked *k, const float *dprediction, float *gradients)
{
  const size_t row_bytes = (size_t)k->dim * sizeof(float);
  const syz_dtype act = syz_compute_act(k->m->compute);
  float *dx = k->x;
  syz_convert_to_act(act, k->dprediction, dprediction, k->n * k->width);
  syz_linear_backward_weight(k->head, k->n, k->dprediction, k->normed, gradients + k->head_weight,
                             gradients + k->head_bias);
  syz_linear_backward_input(k->head, k->n, k->dprediction, k->dnormed);
  syz_layernorm_backward(k->dlast, false, gradients + k->layout->norm_gain, gradients + k->layout->norm_bias, act,
                         k->dnormed, k->last, k->mean, k->rstd, k->m->weights + k->layout->norm_gain, k->n, k->dim);
  memset(dx, 0, (size_t)(k->batch * k->tokens) * row_bytes);
  for (int64_t i = 0; i < k->n; i++) memcpy(dx + k->row[i] * k->dim, k->dlast + i * k->dim, row_bytes);
}

static void backward_embedding(syz_masked *k, float *gradients)
{
  const int threads = syz_compute_threads(k->m->compute);
  const int64_t d = k->dim, rows = k->batch * k->tokens;
  const float *dx = k->x;
  float *dposition = gradients + k->layout->position;
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
  for (int64_t t = 0; t < k->tokens; t++)
    for (int64_t b = 0; b < k->batch; b++) {
      const float *in = dx + (b * k->tokens + t) * d;
      for (int64_t i = 0; i < d; i++) dposition[t * d + i] += in[i];
    }
  syz_convert_to_act(syz_compute_act(k->m->compute), k->dpieces, dx, rows * d);
  syz_linear_backward_weight(k->embed, rows, k->dpieces, k->pieces, gradients + k->layout->embed_weight,
                             gradients + k->layout->embed_bias);
}

void syz_masked_backward(syz_masked *k, const float *dprediction, float *gradients,
                         void (*ready)(void *context, int64_t first, int64_t count), void *context)
{
  SYZ_ASSERT(k->trains);
  const syz_sequences s = sequences_of(k, k->batch);
  if (k->batch > 0) backward_head(k, dprediction, gradients);
  if (ready) ready(context, k->layout->last_first, k->layout->last_count);
  blocks_backward(&k->blocks, &s, NULL, k->x, gradients, ready, context);
  if (k->batch > 0) backward_embedding(k, gradients);
  if (ready) ready(context, k->layout->embed_first, k->layout->embed_count);
}
