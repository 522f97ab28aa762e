/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The table of parameters and the model object.
 *
 * One pass over the published names (recipes.md sections 2 and 3) fills the table, the offsets that the layers use and the size of the block.
 * It runs twice, first to count. Everything that must know a parameter's name, shape or place reads what this pass wrote.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "model_impl.h"

enum { ALIGN = 16 /**< elements: 64 bytes */ };

typedef struct builder {
  syz_parameter *out; /**< NULL: count only */
  int n;
  int64_t at;
  syz_modality modality;
  bool is_head, is_used;
} builder;

static int64_t add_shaped(builder *b, const int64_t shape[4], int ndim, const char *format, va_list arguments)
{
  int64_t size = 1, offset = b->at;
  for (int i = 0; i < ndim; i++) size *= shape[i];
  if (b->out) {
    syz_parameter *p = &b->out[b->n];
    *p = (syz_parameter){.ndim = ndim, .offset = offset, .size = size, .modality = b->modality, .is_head = b->is_head, .is_used = b->is_used};
    int prefix = snprintf(p->name, sizeof p->name, "%s_encoder.%s", syz_modality_name(b->modality), b->is_head ? "" : "backbone.");
    int rest = vsnprintf(p->name + prefix, sizeof p->name - (size_t)prefix, format, arguments);
    SYZ_ASSERT(rest > 0 && (size_t)(prefix + rest) < sizeof p->name);
    for (int i = 0; i < ndim; i++) p->shape[i] = shape[i];
  }
  b->n++;
  b->at = (offset + size + ALIGN - 1) / ALIGN * ALIGN;
  return offset;
}

/* Each returns the offset of what it added. A leading 1 in the shape is published. */
static int64_t add_vector(builder *b, int64_t n, const char *format, ...)
{
  va_list arguments;
  va_start(arguments, format);
  int64_t offset = add_shaped(b, (const int64_t[4]){n}, 1, format, arguments);
  va_end(arguments);
  return offset;
}

static int64_t add_matrix(builder *b, int64_t rows, int64_t columns, const char *format, ...)
{
  va_list arguments;
  va_start(arguments, format);
  int64_t offset = add_shaped(b, (const int64_t[4]){rows, columns}, 2, format, arguments);
  va_end(arguments);
  return offset;
}

static int64_t add_table(builder *b, int64_t rows, int64_t columns, const char *format, ...)
{
  va_list arguments;
  va_start(arguments, format);
  int64_t offset = add_shaped(b, (const int64_t[4]){1, rows, columns}, 3, format, arguments);
  va_end(arguments);
  return offset;
}

static int64_t add_filter(builder *b, int64_t out, int64_t side, const char *format, ...)
{
  va_list arguments;
  va_start(arguments, format);
  int64_t offset = add_shaped(b, (const int64_t[4]){out, 3, side, side}, 4, format, arguments);
  va_end(arguments);
  return offset;
}

/* Names of the two towers' blocks, in the order of syz_block_parameters; the shapes are the same. */
static const char *const block_names[SYZ_MODALITIES][BLOCK_PARAMETERS] = {
    {"norm1.weight", "norm1.bias", "attn.qkv.weight", "attn.qkv.bias", "attn.proj.weight", "attn.proj.bias", "ls1.gamma", "norm2.weight",
     "norm2.bias", "mlp.fc1.weight", "mlp.fc1.bias", "mlp.fc2.weight", "mlp.fc2.bias", "ls2.gamma"},
    {"layernorm1.weight", "layernorm1.bias", "attention.attention.weight", "attention.attention.bias", "attention.projection.weight",
     "attention.projection.bias", NULL, "layernorm2.weight", "layernorm2.bias", "mlp.encoder.weight", "mlp.encoder.bias", "mlp.decoder.weight",
     "mlp.decoder.bias", NULL}};

static void add_blocks(builder *b, int64_t depth, int64_t d, bool has_layerscale, block_layout *layout)
{
  /* In units of the width: rows and columns of each parameter; 0 columns: a vector. */
  static const struct {
    int rows, columns;
    bool is_scale;
  } shape[BLOCK_PARAMETERS] = {{1, 0, false}, {1, 0, false}, {3, 1, false}, {3, 0, false}, {1, 1, false}, {1, 0, false}, {1, 0, true},
                               {1, 0, false}, {1, 0, false}, {4, 1, false}, {4, 0, false}, {1, 4, false}, {1, 0, false}, {1, 0, true}};
  for (int64_t i = 0; i < depth; i++) {
    int64_t first = b->at;
    for (int k = 0; k < BLOCK_PARAMETERS; k++) {
      const char *name = block_names[b->modality][k];
      int64_t offset = -1;
      if (!shape[k].is_scale || has_layerscale) {
        if (shape[k].columns)
          offset = add_matrix(b, shape[k].rows * d, shape[k].columns * d, "blocks.%" PRId64 ".%s", i, name);
        else
          offset = add_vector(b, shape[k].rows * d, "blocks.%" PRId64 ".%s", i, name);
      }
      if (layout) layout[i].offset[k] = offset;
    }
    if (layout) {
      layout[i].first = first;
      layout[i].count = b->at - first;
    }
  }
}

static void add_image_backbone(builder *b, const syz_image_config *c, backbone_layout *l)
{
  int64_t side = c->size / c->patch;
  l->first = l->embed_first = b->at;
  b->is_used = c->tokens == SYZ_TOKENS_DINOV2;
  l->class_token = add_table(b, 1, c->dim, "cls_token");
  l->position = add_table(b, 1 + side * side, c->dim, "pos_embed");
  b->is_used = false;
  add_matrix(b, 1, c->dim, "mask_token");
  b->is_used = true;
  l->embed_weight = add_filter(b, c->dim, c->patch, "patch_embed.proj.weight");
  l->embed_bias = add_vector(b, c->dim, "patch_embed.proj.bias");
  l->embed_count = b->at - l->embed_first;
  add_blocks(b, c->depth, c->dim, c->layerscale > 0, l->block);
  l->last_first = b->at;
  l->norm_gain = add_vector(b, c->dim, "norm.weight");
  l->norm_bias = add_vector(b, c->dim, "norm.bias");
  l->last_count = b->at - l->last_first;
  l->count = b->at - l->first;
}

static void add_spectrum_backbone(builder *b, const syz_spectrum_config *c, backbone_layout *l)
{
  l->first = l->embed_first = b->at;
  l->class_token = -1;
  b->is_used = true;
  l->embed_weight = add_matrix(b, c->dim, c->section + 2, "data_embed.weight");
  l->embed_bias = add_vector(b, c->dim, "data_embed.bias");
  l->position = add_matrix(b, c->max_tokens, c->dim, "position_embed.weight");
  l->embed_count = b->at - l->embed_first;
  add_blocks(b, c->depth, c->dim, false, l->block);
  l->last_first = b->at;
  l->norm_gain = add_vector(b, c->dim, "final_layernorm.weight");
  l->norm_bias = add_vector(b, c->dim, "final_layernorm.bias");
  b->is_used = false; /* reconstructs masked sections in pretraining; the embedding does not pass through it */
  add_matrix(b, c->section + 2, c->dim, "head.weight");
  add_vector(b, c->section + 2, "head.bias");
  b->is_used = true;
  l->last_count = b->at - l->last_first;
  l->count = b->at - l->first;
}

static void add_head(builder *b, int64_t width, int64_t e, head_layout *l)
{
  l->first = b->at;
  b->is_head = b->is_used = true;
  l->query = add_table(b, 1, e, "cross_attention.query");
  if (width == e) {
    l->q_weight = add_matrix(b, 3 * e, e, "cross_attention.multihead_attn.in_proj_weight");
    l->k_weight = l->q_weight + e * e;
    l->v_weight = l->k_weight + e * e;
  } else {
    l->q_weight = add_matrix(b, e, e, "cross_attention.multihead_attn.q_proj_weight");
    l->k_weight = add_matrix(b, e, width, "cross_attention.multihead_attn.k_proj_weight");
    l->v_weight = add_matrix(b, e, width, "cross_attention.multihead_attn.v_proj_weight");
  }
  l->in_bias = add_vector(b, 3 * e, "cross_attention.multihead_attn.in_proj_bias");
  l->out_weight = add_matrix(b, e, e, "cross_attention.multihead_attn.out_proj.weight");
  l->out_bias = add_vector(b, e, "cross_attention.multihead_attn.out_proj.bias");
  l->norm_gain = add_vector(b, e, "cross_attention.layernorm.weight");
  l->norm_bias = add_vector(b, e, "cross_attention.layernorm.bias");
  l->encoder_weight = add_matrix(b, 4 * e, e, "mlp.encoder.weight");
  l->encoder_bias = add_vector(b, 4 * e, "mlp.encoder.bias");
  l->decoder_weight = add_matrix(b, e, 4 * e, "mlp.decoder.weight");
  l->decoder_bias = add_vector(b, e, "mlp.decoder.bias");
  b->is_head = false;
  l->count = b->at - l->first;
}

int model_table(const syz_model_config *config, bool has_image, bool has_spectrum, syz_parameter *out, backbone_layout *layout, head_layout *head,
                int64_t *size)
{
  builder b = {.out = out};
  backbone_layout no_layout[SYZ_MODALITIES] = {0};
  head_layout no_head[SYZ_MODALITIES];
  if (!layout) layout = no_layout;
  if (!head) head = no_head;
  if (has_image) {
    b.modality = SYZ_IMAGE;
    add_image_backbone(&b, &config->image, &layout[SYZ_IMAGE]);
    add_head(&b, config->image.dim, config->embedding.dim, &head[SYZ_IMAGE]);
  }
  if (has_spectrum) {
    b.modality = SYZ_SPECTRUM;
    add_spectrum_backbone(&b, &config->spectrum, &layout[SYZ_SPECTRUM]);
    add_head(&b, config->spectrum.dim, config->embedding.dim, &head[SYZ_SPECTRUM]);
  }
  if (size) *size = b.at;
  return b.n;
}

syz_block_parameters block_at(const block_layout *layout, float *base)
{
  float *p[BLOCK_PARAMETERS];
  for (int k = 0; k < BLOCK_PARAMETERS; k++) p[k] = layout->offset[k] >= 0 ? base + layout->offset[k] : NULL;
  return (syz_block_parameters){.norm1_gain = p[0],
                                .norm1_bias = p[1],
                                .qkv_weight = p[2],
                                .qkv_bias = p[3],
                                .proj_weight = p[4],
                                .proj_bias = p[5],
                                .ls1 = p[6],
                                .norm2_gain = p[7],
                                .norm2_bias = p[8],
                                .fc1_weight = p[9],
                                .fc1_bias = p[10],
                                .fc2_weight = p[11],
                                .fc2_bias = p[12],
                                .ls2 = p[13]};
}

/* ------------------------------------------------------------ model object */

static void describe_tower(syz_model *m, syz_modality modality, bool is_there)
{
  const syz_model_config *c = &m->config;
  tower *t = &m->tower[modality];
  t->is_there = is_there;
  t->modality = modality;
  t->tokens = syz_model_tokens(c, modality);
  if (modality == SYZ_IMAGE) {
    t->dim = c->image.dim;
    t->depth = c->image.depth;
    t->heads = c->image.heads;
    t->embed_width = 3 * c->image.patch * c->image.patch;
    t->has_position = c->image.tokens == SYZ_TOKENS_DINOV2;
    t->extra = t->has_position ? 1 : 0;
    t->eps = 1e-6f; /* DINOv2 */
  } else {
    t->dim = c->spectrum.dim;
    t->depth = c->spectrum.depth;
    t->heads = c->spectrum.heads;
    t->embed_width = c->spectrum.section + 2;
    t->has_position = true;
    t->eps = 1e-5f; /* PyTorch's default */
  }
}

syz_status syz_model_create(const syz_model_config *config, bool has_image, bool has_spectrum, const syz_compute *compute, syz_model **out)
{
  syz_status st = SYZ_OK;
  syz_model *m = NULL;
  *out = NULL;
  SYZ_REQUIRE(has_image || has_spectrum, SYZ_ERR_INTERNAL, "a model needs at least one tower");
  SYZ_TRY(syz_model_config_check(config));
  SYZ_ALLOC(m, "model", 1);
  m->config = *config;
  m->compute = compute;
  describe_tower(m, SYZ_IMAGE, has_image);
  describe_tower(m, SYZ_SPECTRUM, has_spectrum);

  backbone_layout layout[SYZ_MODALITIES] = {0};
  head_layout head[SYZ_MODALITIES] = {0};
  for (int i = 0; i < SYZ_MODALITIES; i++) {
    tower *t = &m->tower[i];
    if (!t->is_there) continue;
    SYZ_ALLOC(t->backbone.block, "layout of blocks", t->depth);
    layout[i].block = t->backbone.block;
  }
  m->n_parameters = model_table(config, has_image, has_spectrum, NULL, NULL, NULL, NULL);
  SYZ_ALLOC(m->parameter, "table of parameters", m->n_parameters);
  model_table(config, has_image, has_spectrum, m->parameter, layout, head, &m->size);
  for (int i = 0; i < SYZ_MODALITIES; i++) {
    m->tower[i].backbone = layout[i];
    m->tower[i].head = head[i];
  }
  SYZ_ALLOC(m->weights, "parameters", m->size);
  *out = m;
  m = NULL;
cleanup:
  syz_model_destroy(&m);
  return st;
}

void syz_model_destroy(syz_model **model)
{
  syz_model *m = *model;
  if (!m) return;
  for (int i = 0; i < SYZ_MODALITIES; i++) {
    tower_unplan(&m->tower[i]);
    syz_free(&m->tower[i].backbone.block);
  }
  syz_free(&m->parameter);
  syz_free(&m->weights);
  syz_free(model);
}

const syz_model_config *syz_model_get_config(const syz_model *m) { return &m->config; }

bool syz_model_has(const syz_model *m, syz_modality modality) { return m->tower[modality].is_there; }

const syz_parameter *syz_model_parameters(const syz_model *m, int *n)
{
  *n = m->n_parameters;
  return m->parameter;
}

float *syz_model_weights(const syz_model *m) { return m->weights; }

int64_t syz_model_size(const syz_model *m) { return m->size; }

void syz_model_range(const syz_model *m, syz_modality modality, bool is_head, int64_t *first, int64_t *count)
{
  const tower *t = &m->tower[modality];
  *first = !t->is_there ? 0 : is_head ? t->head.first : t->backbone.first;
  *count = !t->is_there ? 0 : is_head ? t->head.count : t->backbone.count;
}
