/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The table of parameters and the model object.
 *
 * One pass over the published names (README.md "Names") fills the table, the offsets that the layers use and the size
 * of the block. It runs twice, first to count. All other code gets a parameter's name, shape and place from here.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "config.h"
#include "model_impl.h"

enum { ALIGN = 16 /**< elements: 64 bytes */ };

typedef struct builder {
  syz_parameter *out; /**< NULL: count only */
  int n;
  int64_t at;
  syz_modality modality;
  syz_part part;
  const char *prefix; /**< of the names of this part */
  bool is_used;
} builder;

static int64_t add_shaped(builder *b, const int64_t shape[4], int ndim, const char *format, va_list arguments)
{
  int64_t size = 1, offset = b->at;
  for (int i = 0; i < ndim; i++) size *= shape[i];
  if (b->out) {
    syz_parameter *p = &b->out[b->n];
    *p = (syz_parameter){
        .ndim = ndim, .offset = offset, .size = size, .modality = b->modality, .part = b->part, .is_used = b->is_used};
    int prefix = snprintf(p->name, sizeof p->name, "%s", b->prefix);
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
    {"norm1.weight", "norm1.bias", "attn.qkv.weight", "attn.qkv.bias", "attn.proj.weight", "attn.proj.bias",
     "ls1.gamma", "norm2.weight", "norm2.bias", "mlp.fc1.weight", "mlp.fc1.bias", "mlp.fc2.weight", "mlp.fc2.bias",
     "ls2.gamma"},
    {"layernorm1.weight", "layernorm1.bias", "attention.attention.weight", "attention.attention.bias",
     "attention.projection.weight", "attention.projection.bias", NULL, "layernorm2.weight", "layernorm2.bias",
     "mlp.encoder.weight", "mlp.encoder.bias", "mlp.decoder.weight", "mlp.decoder.bias", NULL}};

static void add_blocks(builder *b, int64_t depth, int64_t d, bool has_layerscale, block_layout *layout)
{
  /* In units of the width: rows and columns of each parameter; 0 columns: a vector. */
  static const struct {
    int rows, columns;
    bool is_scale;
  } shape[BLOCK_PARAMETERS] = {{1, 0, false}, {1, 0, false}, {3, 1, false}, {3, 0, false}, {1, 1, false},
                               {1, 0, false}, {1, 0, true},  {1, 0, false}, {1, 0, false}, {4, 1, false},
                               {4, 0, false}, {1, 4, false}, {1, 0, false}, {1, 0, true}};
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

static void add_image_backbone(builder *b, const syz_image_config *c, syz_purpose purpose, backbone_layout *l)
{
  int64_t side = c->size / c->patch;
  l->first = l->embed_first = b->at;
  b->is_used = c->tokens == SYZ_TOKENS_DINOV2;
  l->class_token = add_table(b, 1, c->dim, "cls_token");
  l->position = add_table(b, 1 + side * side, c->dim, "pos_embed");
  l->registers = c->registers > 0 ? add_table(b, c->registers, c->dim, "register_tokens") : -1;
  b->is_used = purpose == SYZ_PURPOSE_DINO;
  l->mask_token = add_matrix(b, 1, c->dim, "mask_token");
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

static void add_spectrum_backbone(builder *b, const syz_spectrum_config *c, syz_purpose purpose, backbone_layout *l)
{
  l->first = l->embed_first = b->at;
  l->class_token = l->registers = l->mask_token = -1;
  b->is_used = true;
  l->embed_weight = add_matrix(b, c->dim, c->section + 2, "data_embed.weight");
  l->embed_bias = add_vector(b, c->dim, "data_embed.bias");
  l->position = add_matrix(b, c->max_tokens, c->dim, "position_embed.weight");
  l->embed_count = b->at - l->embed_first;
  add_blocks(b, c->depth, c->dim, false, l->block);
  l->last_first = b->at;
  l->norm_gain = add_vector(b, c->dim, "final_layernorm.weight");
  l->norm_bias = add_vector(b, c->dim, "final_layernorm.bias");
  b->is_used =
      purpose ==
      SYZ_PURPOSE_MASKED; /* reconstructs masked sections in pretraining; the embedding does not pass through it */
  l->head_weight = add_matrix(b, c->section + 2, c->dim, "head.weight");
  l->head_bias = add_vector(b, c->section + 2, "head.bias");
  b->is_used = true;
  l->last_count = b->at - l->last_first;
  l->count = b->at - l->first;
}

static void add_head(builder *b, int64_t width, int64_t e, head_layout *l)
{
  l->first = b->at;
  b->is_used = true;
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
  l->count = b->at - l->first;
}

/*
 * DINOv2's DINOHead: an nn.Sequential of linear layers with activations between them (so every second number; a single
 * layer, which is no sequence there, is number 0 here), then the weight-normalised prototypes. Their gain weight_g is
 * fixed at 1 and never learned; it is stored because published files have it.
 */
static void add_projection(builder *b, const syz_dino_config *c, int64_t width, projection_layout *l)
{
  b->is_used = true;
  for (int64_t i = 0; i < c->layers; i++) {
    const int64_t in = i == 0 ? width : c->hidden, out = i == c->layers - 1 ? c->bottleneck : c->hidden;
    l->weight[i] = add_matrix(b, out, in, "mlp.%" PRId64 ".weight", 2 * i);
    l->bias[i] = add_vector(b, out, "mlp.%" PRId64 ".bias", 2 * i);
  }
  b->is_used = false;
  add_matrix(b, c->prototypes, 1, "last_layer.weight_g");
  b->is_used = true;
  l->prototypes = add_matrix(b, c->prototypes, c->bottleneck, "last_layer.weight_v");
}

static const struct {
  const char *name, *prefix;
  syz_modality modality;
} part_table[SYZ_PARTS] = {
    [SYZ_PART_IMAGE_BACKBONE] = {"image_backbone", "image_encoder.backbone.", SYZ_IMAGE},
    [SYZ_PART_IMAGE_HEAD] = {"image_head", "image_encoder.", SYZ_IMAGE},
    [SYZ_PART_SPECTRUM_BACKBONE] = {"spectrum_backbone", "spectrum_encoder.backbone.", SYZ_SPECTRUM},
    [SYZ_PART_SPECTRUM_HEAD] = {"spectrum_head", "spectrum_encoder.", SYZ_SPECTRUM},
    [SYZ_PART_DINO_HEAD] = {"dino_head", "dino_head.", SYZ_IMAGE},
    [SYZ_PART_IBOT_HEAD] = {"ibot_head", "ibot_head.", SYZ_IMAGE}};

const char *syz_part_name(syz_part part) { return part_table[part].name; }

bool syz_part_of_name(const char *name, syz_part *out)
{
  /* A backbone's prefix begins with its tower's, so it comes first in the table. */
  for (int i = 0; i < SYZ_PARTS; i++) {
    if (strncmp(name, part_table[i].prefix, strlen(part_table[i].prefix)) != 0) continue;
    *out = (syz_part)i;
    return true;
  }
  return false;
}

syz_part syz_part_of(syz_modality modality, bool is_head)
{
  if (modality == SYZ_IMAGE) return is_head ? SYZ_PART_IMAGE_HEAD : SYZ_PART_IMAGE_BACKBONE;
  return is_head ? SYZ_PART_SPECTRUM_HEAD : SYZ_PART_SPECTRUM_BACKBONE;
}

bool syz_part_trains(syz_part part, bool trains_backbones)
{
  return trains_backbones || (part != SYZ_PART_IMAGE_BACKBONE && part != SYZ_PART_SPECTRUM_BACKBONE);
}

bool syz_parameter_trains(const syz_parameter *p, bool trains_backbones)
{
  return p->is_used && syz_part_trains(p->part, trains_backbones);
}

int model_table(const syz_model_config *config, syz_purpose purpose, const bool has[SYZ_PARTS], syz_parameter *out,
                model_layout *layout, int64_t *size)
{
  builder b = {.out = out};
  model_layout no_layout = {.backbone = {{0}}};
  model_layout *l = layout ? layout : &no_layout;
  for (int i = 0; i < SYZ_PARTS; i++) {
    if (!has[i]) continue;
    b.part = (syz_part)i;
    b.modality = part_table[i].modality;
    b.prefix = part_table[i].prefix;
    l->part[i].first = b.at;
    switch (b.part) {
    case SYZ_PART_IMAGE_BACKBONE:
      add_image_backbone(&b, &config->image, purpose, &l->backbone[SYZ_IMAGE]);
      break;
    case SYZ_PART_IMAGE_HEAD:
      add_head(&b, config->image.dim, config->embedding.dim, &l->head[SYZ_IMAGE]);
      break;
    case SYZ_PART_SPECTRUM_BACKBONE:
      add_spectrum_backbone(&b, &config->spectrum, purpose, &l->backbone[SYZ_SPECTRUM]);
      break;
    case SYZ_PART_SPECTRUM_HEAD:
      add_head(&b, config->spectrum.dim, config->embedding.dim, &l->head[SYZ_SPECTRUM]);
      break;
    case SYZ_PART_DINO_HEAD:
      add_projection(&b, &config->dino, config->image.dim, &l->projection[0]);
      break;
    case SYZ_PART_IBOT_HEAD:
      add_projection(&b, &config->dino, config->image.dim, &l->projection[1]);
      break;
    case SYZ_PARTS:
      break;
    }
    l->part[i].count = b.at - l->part[i].first;
  }
  if (size) *size = b.at;
  return b.n;
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
    t->extra = t->has_position ? 1 + c->image.registers : 0;
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

static syz_status create(const syz_model_config *config, syz_purpose purpose, const bool has[SYZ_PARTS],
                         const syz_compute *compute, syz_model **out)
{
  syz_status st = SYZ_OK;
  syz_model *m = NULL;
  *out = NULL;
  SYZ_TRY(syz_model_config_check(config));
  SYZ_ALLOC(m, "model", 1);
  m->config = *config;
  m->purpose = purpose;
  m->compute = compute;
  for (int i = 0; i < SYZ_MODALITIES; i++) {
    const syz_modality modality = (syz_modality)i;
    tower *t = &m->tower[i];
    describe_tower(m, modality, has[syz_part_of(modality, false)]);
    t->has_head = has[syz_part_of(modality, true)];
    if (!t->is_there) continue;
    SYZ_ALLOC(t->backbone.block, "layout of blocks", t->depth);
    m->layout.backbone[i].block = t->backbone.block;
  }
  m->n_parameters = model_table(config, purpose, has, NULL, NULL, NULL);
  SYZ_ALLOC(m->parameter, "table of parameters", m->n_parameters);
  model_table(config, purpose, has, m->parameter, &m->layout, &m->size);
  for (int i = 0; i < SYZ_MODALITIES; i++) {
    m->tower[i].backbone = m->layout.backbone[i];
    m->tower[i].head = m->layout.head[i];
  }
  SYZ_ALLOC(m->weights, "parameters", m->size);
  *out = m;
  m = NULL;
cleanup:
  syz_model_destroy(&m);
  return st;
}

syz_status syz_model_create(const syz_model_config *config, bool has_image, bool has_spectrum,
                            const syz_compute *compute, syz_model **out)
{
  syz_status st = SYZ_OK;
  const bool has[SYZ_PARTS] = {has_image, has_image, has_spectrum, has_spectrum};
  *out = NULL;
  SYZ_REQUIRE(has_image || has_spectrum, SYZ_ERR_INTERNAL, "a model needs at least one tower");
  SYZ_TRY(create(config, SYZ_PURPOSE_EMBED, has, compute, out));
cleanup:
  return st;
}

syz_status syz_model_create_for(syz_purpose purpose, const syz_model_config *config, const syz_compute *compute,
                                syz_model **out)
{
  syz_status st = SYZ_OK;
  const bool is_dino = purpose == SYZ_PURPOSE_DINO, is_masked = purpose == SYZ_PURPOSE_MASKED;
  bool has[SYZ_PARTS] = {false};
  if (purpose == SYZ_PURPOSE_EMBED) return syz_model_create(config, true, true, compute, out);
  *out = NULL;
  has[SYZ_PART_IMAGE_BACKBONE] = has[SYZ_PART_DINO_HEAD] = is_dino;
  has[SYZ_PART_IBOT_HEAD] = is_dino && config->dino.has_ibot_head;
  has[SYZ_PART_SPECTRUM_BACKBONE] = is_masked;
  SYZ_REQUIRE(!is_dino || config->image.tokens == SYZ_TOKENS_DINOV2, SYZ_ERR_INPUT,
              "model.image.tokens = patches: pretraining of the image tower needs class token and positions (dinov2)");
  SYZ_REQUIRE(!is_dino || config->dino.prototypes >= 1, SYZ_ERR_INPUT, "model.dino: every size must be at least 1");
  SYZ_TRY(create(config, purpose, has, compute, out));
cleanup:
  return st;
}

void syz_model_drop_weights(syz_model *m)
{
  if (m->shared.bytes)
    syz_shared_destroy(&m->shared);
  else
    syz_free(&m->weights);
  m->weights = NULL;
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
  syz_model_drop_weights(m);
  syz_free(model);
}

const syz_model_config *syz_model_get_config(const syz_model *m) { return &m->config; }
const syz_compute *syz_model_get_compute(const syz_model *m) { return m->compute; }
void syz_model_recompute(syz_model *m, int64_t n) { m->recomputed = n; }
int64_t syz_model_recomputed(const syz_model *m) { return m->recomputed; }

/* Whether `ranks` divides the number of heads of every tower of this model. */
static syz_status check_tensor(const syz_model *m, int ranks)
{
  syz_status st = SYZ_OK;
  for (int i = 0; i < SYZ_MODALITIES; i++)
    SYZ_REQUIRE(!m->tower[i].is_there || m->tower[i].heads % ranks == 0, SYZ_ERR_INPUT,
                "parallel.tensor = %d does not divide model.%s.heads = %lld", ranks, syz_modality_name((syz_modality)i),
                (long long)m->tower[i].heads);
cleanup:
  return st;
}

syz_status syz_model_set_tensor(syz_model *m, syz_comm *tensor)
{
  const int ranks = tensor ? syz_comm_size(tensor) : 1;
  const syz_status st = check_tensor(m, ranks);
  if (st == SYZ_OK) m->tensor = ranks > 1 ? tensor : NULL;
  return st;
}

syz_status syz_model_plan_tensor(syz_model *m, int ranks)
{
  const syz_status st = check_tensor(m, ranks);
  if (st == SYZ_OK) m->planned_ranks = ranks;
  return st;
}

int syz_model_tensor_ranks(const syz_model *m)
{
  if (m->tensor) return syz_comm_size(m->tensor);
  return m->planned_ranks > 1 ? m->planned_ranks : 1;
}

bool syz_model_has(const syz_model *m, syz_modality modality) { return m->tower[modality].is_there; }

const syz_parameter *syz_model_parameters(const syz_model *m, int *n)
{
  *n = m->n_parameters;
  return m->parameter;
}

float *syz_model_weights(const syz_model *m) { return m->weights; }

int64_t syz_model_size(const syz_model *m) { return m->size; }

void syz_model_range(const syz_model *m, syz_part part, int64_t *first, int64_t *count)
{
  *first = m->layout.part[part].first;
  *count = m->layout.part[part].count;
}
