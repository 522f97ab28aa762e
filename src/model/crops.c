/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The image backbone on crops of several sizes at once (DINOv2, Oquab et al. 2023, arXiv:2304.07193,
 * vision_transformer.py).
 *
 * All patches of all crops go through the patch product together; then each crop's rows of the residual stream are
 * made: class token, registers, and its patches, masked ones replaced by the mask token, with the positions of its grid
 * (positions.c). The stream runs through the blocks in place. Which crops a branch of a block computes (stochastic
 * depth) is known before the pass, for all blocks. The last norm runs only on the rows that the caller asks for (class
 * tokens and masked patches); all other rows have no gradient.
 *
 * These rows are copied, so that the backward pass can store the gradient of the stream in the stream's own memory.
 */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "crops.h"
#include "model_impl.h"
#include "positions.h"

typedef struct crop_group {
  int64_t size, side, patches, tokens, most, most_kept;
  float *position; /* [1 + patches, D] on this grid, from the last packed weights */
} crop_group;

struct syz_crops {
  syz_model *m;
  const tower *tower; /* its description and layout; its plan is unused */
  syz_crops_config config;
  crop_group group[SYZ_GROUPS_MAX];
  syz_linear *embed;
  blocks blocks;
  size_t packed_bytes;

  syz_arena arena;
  void *pieces;   /* [patches of all crops, 3 patch^2] act */
  float *patches; /* [patches of all crops, D] float32 product, or its gradient in act; memory shared with the workspace
                     of the blocks */
  float *x;       /* [rows, D] the stream, in the backward pass its gradient */
  uint8_t *mask;  /* [patches of all crops] of the last forward call */
  int64_t *kept;  /* [depth, 2, crops kept] lists of stochastic depth; none without it */
  syz_subset (*subset)[2]; /* [depth] */
  float *last;        /* [most_rows, D] rows asked for, before the last norm; in the backward pass their gradient */
  float *dlast;       /* [most_rows, D] */
  float *mean, *rstd; /* [most_rows] */
  int64_t *row;       /* [most_rows] */
  float *dgrid;       /* [largest patches, D] gradient of one group's interpolated positions */

  syz_sequences sequences;   /* of the last forward call */
  bool has_mask, has_stream; /* x holds the stream, not its gradient */
  int64_t n_rows;            /* of the last syz_crops_rows */
};

/* ---------------------------------------------------------------- plan */

static int64_t at_least_one(int64_t n) { return n > 0 ? n : 1; }

static int64_t sum_of_patches(const syz_crops *c, const int64_t count[SYZ_GROUPS_MAX])
{
  int64_t patches = 0;
  for (int g = 0; g < c->config.groups; g++) patches += count[g] * c->group[g].patches;
  return patches;
}

static syz_sequences sequences_of(const syz_crops *c, const int64_t count[SYZ_GROUPS_MAX])
{
  syz_sequences s = {.groups = c->config.groups};
  for (int g = 0; g < s.groups; g++) s.count[g] = count[g], s.tokens[g] = c->group[g].tokens;
  return s;
}

static bool drops(const syz_crops *c) { return c->config.drop_rate > 0; }

static syz_status check_config(const syz_model *m, const syz_crops_config *config)
{
  syz_status st = SYZ_OK;
  const syz_image_config *im = &m->config.image;
  SYZ_REQUIRE(m->tower[SYZ_IMAGE].is_there, SYZ_ERR_INPUT, "crops need an image tower, which this model has not");
  SYZ_REQUIRE(im->tokens == SYZ_TOKENS_DINOV2, SYZ_ERR_INPUT,
              "model.image.tokens = patches: crops need class token and positions (dinov2)");
  SYZ_REQUIRE(config->groups >= 1 && config->groups <= SYZ_GROUPS_MAX, SYZ_ERR_INPUT,
              "crops: %d sizes, 1 to %d are possible", config->groups, (int)SYZ_GROUPS_MAX);
  for (int g = 0; g < config->groups; g++) {
    SYZ_REQUIRE(config->size[g] >= im->patch && config->size[g] <= 65536 && config->size[g] % im->patch == 0,
                SYZ_ERR_INPUT,
                "crops of %" PRId64 " pixels: the size must be a multiple of model.image.patch = %" PRId64,
                config->size[g], im->patch);
    SYZ_REQUIRE(config->most[g] >= 0, SYZ_ERR_INPUT, "crops: %" PRId64 " crops of %" PRId64 " pixels", config->most[g],
                config->size[g]);
  }
  SYZ_REQUIRE(config->drop_rate >= 0 && config->drop_rate < 1, SYZ_ERR_INPUT,
              "crops: stochastic depth %g must be at least 0 and less than 1", config->drop_rate);
  SYZ_REQUIRE(config->trains || config->drop_rate == 0, SYZ_ERR_INPUT, "crops: stochastic depth %g without training",
              config->drop_rate);
  SYZ_REQUIRE(config->most_rows >= 0, SYZ_ERR_INPUT, "crops: %" PRId64 " rows", config->most_rows);
cleanup:
  return st;
}

/* Most of n consecutive crops that a branch keeps: n q to within one, and one more for float64 rounding. */
static int64_t most_kept(int64_t n, double rate)
{
  const int64_t kept = (int64_t)ceil((double)n * (1 - rate)) + 1;
  return kept < n ? kept : n;
}

/* Everything but memory for activations. c is zero-filled. */
static syz_status make_layers(syz_model *m, const syz_crops_config *config, bool is_measuring, syz_crops *c)
{
  syz_status st = SYZ_OK;
  SYZ_TRY(check_config(m, config));
  c->m = m;
  c->tower = &m->tower[SYZ_IMAGE];
  c->config = *config;
  c->config.most_rows = at_least_one(config->most_rows);
  int64_t kept[SYZ_GROUPS_MAX], rows = 0;
  for (int g = 0; g < config->groups; g++) {
    crop_group *q = &c->group[g];
    const int64_t side = config->size[g] / m->config.image.patch;
    c->config.most[g] = at_least_one(config->most[g]); /* a rank without objects */
    *q = (crop_group){
        .size = config->size[g], .side = side, .patches = side * side, .tokens = c->tower->extra + side * side};
    q->most = c->config.most[g];
    q->most_kept = kept[g] = most_kept(q->most, config->drop_rate);
    rows += q->most * q->tokens;
  }
  SYZ_REQUIRE(c->config.most_rows <= rows, SYZ_ERR_INPUT, "crops: %" PRId64 " rows of %" PRId64 " tokens are asked for",
              c->config.most_rows, rows);
  const size_t before = syz_memory_get().live_bytes;
  SYZ_TRY(syz_linear_create(m->compute, c->tower->dim, c->tower->embed_width, sum_of_patches(c, c->config.most),
                            config->trains, &c->embed));
  c->packed_bytes = syz_memory_get().live_bytes - before;
  const blocks_shape shape = {.modality = SYZ_IMAGE,
                              .most = sequences_of(c, c->config.most),
                              .kept = sequences_of(c, kept),
                              .branch_scale = (float)(1 / (1 - config->drop_rate)),
                              .trains = config->trains,
                              .tensor = m->tensor,
                              .planned_ranks = m->planned_ranks};
  SYZ_TRY(blocks_make(m, &shape, is_measuring, &c->blocks));
  c->packed_bytes += c->blocks.packed_bytes;
cleanup:
  return st;
}

static void lay_out(syz_crops *c, syz_arena *a)
{
  const size_t act = syz_dtype_size(syz_compute_act(c->m->compute)), f32 = sizeof(float), d = (size_t)c->tower->dim;
  const size_t patches = (size_t)sum_of_patches(c, c->config.most), chosen = (size_t)c->config.most_rows;
  int64_t kept = 0, largest = 0;
  for (int g = 0; g < c->config.groups; g++) {
    crop_group *q = &c->group[g];
    q->position = syz_arena_take(a, (size_t)(1 + q->patches) * d, f32);
    kept += q->most_kept;
    largest = q->patches > largest ? q->patches : largest;
  }
  c->pieces = syz_arena_take(a, patches * (size_t)c->tower->embed_width, act);
  const syz_sequences most = sequences_of(c, c->config.most);
  c->x = syz_arena_take(a, (size_t)syz_sequences_rows(&most) * d, f32);
  c->mask = syz_arena_take(a, patches, 1);
  blocks_lay_out(&c->blocks, a);
  if (c->blocks.workspace_bytes >= patches * d * f32)
    c->patches = c->blocks.workspace; /* before the first block and after the last */
  else
    c->patches = syz_arena_take(a, patches * d, f32);
  c->last = syz_arena_take(a, chosen * d, f32);
  c->row = syz_arena_take(a, chosen, sizeof *c->row);
  c->mean = syz_arena_take(a, chosen, f32);
  c->rstd = syz_arena_take(a, chosen, f32);
  if (!c->config.trains) return;
  c->dlast = syz_arena_take(a, chosen * d, f32);
  c->dgrid = syz_arena_take(a, (size_t)largest * d, f32);
  if (!drops(c)) return;
  c->kept = syz_arena_take(a, (size_t)(c->blocks.depth * 2 * kept), sizeof *c->kept);
  c->subset = syz_arena_take(a, (size_t)c->blocks.depth, sizeof *c->subset);
}

static void drop_layers(syz_crops *c)
{
  syz_linear_destroy(&c->embed);
  blocks_drop(&c->blocks);
}

syz_status syz_crops_create(syz_model *m, const syz_crops_config *config, syz_crops **out)
{
  syz_status st = SYZ_OK;
  syz_crops *c = NULL;
  *out = NULL;
  SYZ_ALLOC(c, "crops", 1);
  SYZ_TRY(make_layers(m, config, false, c));
  lay_out(c, &c->arena);
  c->arena.size = c->arena.used;
  SYZ_ALLOC(c->arena.base, "crops activations", c->arena.size);
  c->arena.used = 0;
  lay_out(c, &c->arena);
  syz_crops_pack(c);
  *out = c;
  c = NULL;
cleanup:
  syz_crops_destroy(&c);
  return st;
}

void syz_crops_destroy(syz_crops **c)
{
  if (!*c) return;
  drop_layers(*c);
  syz_free(&(*c)->arena.base);
  syz_free(c);
}

size_t syz_crops_bytes(const syz_model *m, const syz_crops_config *config)
{
  syz_crops c = {.m = NULL};
  size_t bytes = 0;
  syz_model borrowed = *m; /* measuring writes nothing to it */
  if (make_layers(&borrowed, config, true, &c) == SYZ_OK) {
    lay_out(&c, &c.arena);
    bytes = c.packed_bytes + c.arena.used;
  }
  drop_layers(&c);
  return bytes;
}

void syz_crops_pack(syz_crops *c)
{
  const float *weights = c->m->weights, *position = weights + c->tower->backbone.position;
  const int64_t d = c->tower->dim, native = c->m->config.image.size / c->m->config.image.patch;
  syz_linear_pack(c->embed, weights + c->tower->backbone.embed_weight, weights + c->tower->backbone.embed_bias, NULL);
  blocks_pack(&c->blocks);
  for (int g = 0; g < c->config.groups; g++) {
    memcpy(c->group[g].position, position, (size_t)d * sizeof *position);
    syz_positions_interpolate(c->group[g].position + d, c->group[g].side, position + d, native, d);
  }
}

/* ----------------------------------------------------- stochastic depth */

/* Number of kept crops before crop i, up to a constant. It is monotone in i, so ranks that share the crops agree on
 * each of them. */
static double kept_before(double q, double u, int64_t i) { return floor((double)i * q + u); }

static double offset_of(uint64_t seed, uint64_t step, int64_t block, int branch, int group)
{
  const syz_random r = syz_random_make(seed, SYZ_RANDOM_DROP_PATH, step, (uint64_t)(block * 2 + branch));
  return syz_random_uniform(&r, (uint32_t)group);
}

bool syz_drop_path_keeps(uint64_t seed, uint64_t step, int64_t block, int branch, int group, double rate, int64_t crop)
{
  const double q = 1 - rate, u = offset_of(seed, step, block, branch, group);
  return kept_before(q, u, crop + 1) > kept_before(q, u, crop);
}

static void choose_kept(syz_crops *c, const syz_crops_input *input)
{
  const double q = 1 - c->config.drop_rate;
  int64_t *list = c->kept;
  for (int64_t b = 0; b < c->blocks.depth; b++)
    for (int branch = 0; branch < 2; branch++)
      for (int g = 0; g < c->config.groups; g++) {
        const double u = offset_of(input->seed, input->step, b, branch, g);
        const int64_t first = input->first_crop[g];
        int64_t n = 0;
        for (int64_t i = 0; i < input->count[g]; i++) {
          if (!(kept_before(q, u, first + i + 1) > kept_before(q, u, first + i))) continue;
          SYZ_ASSERT(n < c->group[g].most_kept);
          list[n++] = i;
        }
        c->subset[b][branch].kept[g] = list;
        c->subset[b][branch].n[g] = n;
        list += c->group[g].most_kept;
      }
}

/* ------------------------------------------------------------- forward */

static const syz_subset (*subsets(const syz_crops *c))[2]
{
  return drops(c) ? (const syz_subset(*)[2])c->subset : NULL;
}

static void embed_pieces(syz_crops *c, const syz_crops_input *input)
{
  const int threads = syz_compute_threads(c->m->compute);
  const syz_dtype act = syz_compute_act(c->m->compute);
  const int64_t width = c->tower->embed_width;
  int64_t at = 0;
  c->has_mask = false;
  for (int g = 0; g < c->config.groups; g++) {
    const crop_group *q = &c->group[g];
    const int64_t n = input->count[g], patches = n * q->patches;
    image_pieces(q->size, c->m->config.image.patch, act, n, input->planes[g],
                 (unsigned char *)c->pieces + (size_t)(at * width) * syz_dtype_size(act), threads);
    if (input->mask[g] && patches > 0) {
      memcpy(c->mask + at, input->mask[g], (size_t)patches);
      c->has_mask = true;
    } else {
      memset(c->mask + at, 0, (size_t)patches);
    }
    at += patches;
  }
  if (at > 0) syz_linear_forward(c->embed, at, c->pieces, SYZ_EPILOGUE_F32, c->patches, NULL);
}

/* One crop's rows of the stream; `from` [patches, D], `mask` [patches]. */
static void embed_crop(const syz_crops *c, const crop_group *q, const float *from, const uint8_t *mask, float *x)
{
  const int64_t d = c->tower->dim, extra = c->tower->extra;
  const float *weights = c->m->weights, *class_token = weights + c->tower->backbone.class_token;
  const float *mask_token = weights + c->tower->backbone.mask_token;
  for (int64_t k = 0; k < d; k++) x[k] = class_token[k] + q->position[k];
  if (extra > 1) memcpy(x + d, weights + c->tower->backbone.registers, (size_t)((extra - 1) * d) * sizeof *x);
  for (int64_t p = 0; p < q->patches; p++) {
    const float *patch = mask[p] ? mask_token : from + p * d, *position = q->position + (1 + p) * d;
    float *out = x + (extra + p) * d;
    for (int64_t k = 0; k < d; k++) out[k] = patch[k] + position[k];
  }
}

void syz_crops_forward(syz_crops *c, const syz_crops_input *input)
{
  const int threads = syz_compute_threads(c->m->compute);
  const int64_t d = c->tower->dim;
  for (int g = 0; g < c->config.groups; g++) SYZ_ASSERT(input->count[g] >= 0 && input->count[g] <= c->config.most[g]);
  c->sequences = sequences_of(c, input->count);
  c->n_rows = 0;
  c->has_stream = true;
  if (drops(c)) choose_kept(c, input);
  embed_pieces(c, input);
  int64_t row = 0, patch = 0;
  for (int g = 0; g < c->config.groups; g++) {
    const crop_group *q = &c->group[g];
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (int64_t i = 0; i < input->count[g]; i++)
      embed_crop(c, q, c->patches + (patch + i * q->patches) * d, c->mask + patch + i * q->patches,
                 c->x + (row + i * q->tokens) * d);
    row += input->count[g] * q->tokens;
    patch += input->count[g] * q->patches;
  }
  blocks_forward(&c->blocks, &c->sequences, subsets(c), c->x, c->config.trains);
}

int64_t syz_crops_row(const syz_crops *c, int group, int64_t crop, int64_t token)
{
  const syz_sequences *s = &c->sequences;
  SYZ_ASSERT(group >= 0 && group < s->groups && crop >= 0 && crop < s->count[group] && token >= 0 &&
             token < s->tokens[group]);
  int64_t row = crop * s->tokens[group] + token;
  for (int g = 0; g < group; g++) row += s->count[g] * s->tokens[g];
  return row;
}

void syz_crops_rows(syz_crops *c, int64_t n, const int64_t *row, float *out)
{
  const int64_t d = c->tower->dim, rows = syz_sequences_rows(&c->sequences);
  SYZ_ASSERT((c->has_stream || n == 0) && n >= 0 && n <= c->config.most_rows);
  for (int64_t i = 0; i < n; i++) {
    SYZ_ASSERT(row[i] >= 0 && row[i] < rows && (i == 0 || row[i] > row[i - 1]));
    c->row[i] = row[i];
    memcpy(c->last + i * d, c->x + row[i] * d, (size_t)d * sizeof(float));
  }
  c->n_rows = n;
  if (n > 0)
    syz_layernorm_forward(SYZ_F32, out, c->mean, c->rstd, c->last, c->m->weights + c->tower->backbone.norm_gain,
                          c->m->weights + c->tower->backbone.norm_bias, c->tower->eps, n, d);
}

/* ------------------------------------------------------------ backward */

/* dx of all rows after the last block; it replaces x. */
static void backward_norm(syz_crops *c, const float *drows, float *gradients)
{
  const int64_t d = c->tower->dim;
  const backbone_layout *l = &c->tower->backbone;
  syz_layernorm_backward(c->dlast, false, gradients + l->norm_gain, gradients + l->norm_bias, SYZ_F32, drows, c->last,
                         c->mean, c->rstd, c->m->weights + l->norm_gain, c->n_rows, d);
  memset(c->x, 0, (size_t)(syz_sequences_rows(&c->sequences) * d) * sizeof(float));
  for (int64_t i = 0; i < c->n_rows; i++) memcpy(c->x + c->row[i] * d, c->dlast + i * d, (size_t)d * sizeof(float));
}

static void add(float *to, const float *from, int64_t n)
{
  for (int64_t k = 0; k < n; k++) to[k] += from[k];
}

/* One group: tokens in front, positions of its grid, mask token, and its rows of the patch product's gradient, dpatches
 * [count, patches, D] act. */
static void backward_group(syz_crops *c, int g, const float *dx, const uint8_t *mask, unsigned char *dpatches,
                           float *gradients)
{
  const crop_group *q = &c->group[g];
  const backbone_layout *l = &c->tower->backbone;
  const int threads = syz_compute_threads(c->m->compute);
  const syz_dtype act = syz_compute_act(c->m->compute);
  const int64_t d = c->tower->dim, extra = c->tower->extra, count = c->sequences.count[g];
  const int64_t native = c->m->config.image.size / c->m->config.image.patch;
  for (int64_t i = 0; i < count; i++) {
    const float *row = dx + i * q->tokens * d;
    add(gradients + l->class_token, row, d);
    add(gradients + l->position, row, d);
    if (extra > 1) add(gradients + l->registers, row + d, (extra - 1) * d);
  }
  /* Each thread sums its own places of the grid, so the order of additions does not depend on the thread count. */
  memset(c->dgrid, 0, (size_t)(q->patches * d) * sizeof(float));
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
  for (int64_t p = 0; p < q->patches; p++)
    for (int64_t i = 0; i < count; i++) {
      const float *row = dx + (i * q->tokens + extra + p) * d;
      unsigned char *out = dpatches + (size_t)((i * q->patches + p) * d) * syz_dtype_size(act);
      add(c->dgrid + p * d, row, d);
      if (mask[i * q->patches + p])
        memset(out, 0, (size_t)d * syz_dtype_size(act));
      else
        syz_convert_to_act(act, out, row, d);
    }
  syz_positions_interpolate_backward(gradients + l->position + d, native, c->dgrid, q->side, d);
  for (int64_t i = 0; i < count && c->has_mask; i++)
    for (int64_t p = 0; p < q->patches; p++)
      if (mask[i * q->patches + p]) add(gradients + l->mask_token, dx + (i * q->tokens + extra + p) * d, d);
}

static void backward_embedding(syz_crops *c, float *gradients)
{
  const size_t act = syz_dtype_size(syz_compute_act(c->m->compute));
  const int64_t d = c->tower->dim;
  unsigned char *dpatches = (unsigned char *)c->patches;
  int64_t row = 0, patch = 0;
  for (int g = 0; g < c->config.groups; g++) {
    backward_group(c, g, c->x + row * d, c->mask + patch, dpatches + (size_t)(patch * d) * act, gradients);
    row += c->sequences.count[g] * c->group[g].tokens;
    patch += c->sequences.count[g] * c->group[g].patches;
  }
  syz_linear_backward_weight(c->embed, patch, dpatches, c->pieces, gradients + c->tower->backbone.embed_weight,
                             gradients + c->tower->backbone.embed_bias);
}

void syz_crops_backward(syz_crops *c, const float *drows, float *gradients,
                        void (*ready)(void *context, int64_t first, int64_t count), void *context)
{
  SYZ_ASSERT(c->config.trains && (c->has_stream || c->n_rows == 0));
  c->has_stream = false;
  const backbone_layout *l = &c->tower->backbone;
  /* Without crops, or without rows that were asked for, all gradients are zero. In a tensor group other ranks may have
   * some. */
  const bool is_empty = c->n_rows == 0 && !c->blocks.shape.tensor;
  const syz_sequences none = {.groups = 0}, *s = is_empty ? &none : &c->sequences;
  if (!is_empty) backward_norm(c, drows, gradients);
  if (ready) ready(context, l->last_first, l->last_count);
  blocks_backward(&c->blocks, s, subsets(c), c->x, gradients, ready, context);
  if (!is_empty) backward_embedding(c, gradients);
  if (ready) ready(context, l->embed_first, l->embed_count);
}
