/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Table, configuration, initial weights and model files, on any number of ranks.
 */
#include <stdlib.h>
#include <unistd.h>

#include "check.h"
#include "syzygy/model.h"
#include "../../src/model/positions.h"
#include "../../src/model/config.h"

static syz_comm *world;
static syz_compute *compute;

static syz_model_config small_config(void)
{
  return (syz_model_config){
      .image =
          {.dim = 16, .depth = 2, .heads = 2, .patch = 8, .size = 24, .tokens = SYZ_TOKENS_DINOV2, .layerscale = 1e-5},
      .spectrum = {.dim = 12, .depth = 3, .heads = 2, .section = 600, .overlap = 100, .max_tokens = 20},
      .embedding = {.dim = 16, .heads = 4, .dropout = 0.1},
      .dino = {.layers = 3, .hidden = 24, .bottleneck = 8, .prototypes = 40, .has_ibot_head = true}};
}

static syz_model_config published(void)
{
  const syz_key *const table[] = {syz_model_keys};
  syz_input *in = NULL;
  syz_model_config config = {.image = {.dim = 0}};
  CHECK_OK(syz_input_create(table, 1, &in));
  CHECK_OK(syz_model_config_read(in, &config));
  syz_input_destroy(&in);
  return config;
}

/* Counts that follow from src/model/README.md: 302 and 43 million backbone parameters, 144 + 1 and 778 tokens. */
static void check_published(void)
{
  syz_model_config c = published();
  CHECK_EQ(syz_model_tokens(&c, SYZ_IMAGE), 144);
  CHECK_EQ(syz_model_tokens(&c, SYZ_SPECTRUM), 778);
  CHECK_EQ(c.image.layerscale, 1e-5);
  c.image.tokens = SYZ_TOKENS_DINOV2;
  CHECK_EQ(syz_model_tokens(&c, SYZ_IMAGE), 145);
  const double t = 145, d = 1024, block = 2 * t * 12 * d * d + 4 * t * t * d;
  CHECK_NEAR(syz_model_flops(&c, SYZ_IMAGE) / (24 * block), 1.0, 2e-3);
  syz_model *m = NULL;
  CHECK_OK(syz_model_create(&c, true, true, compute, &m));
  int n;
  const syz_parameter *p = syz_model_parameters(m, &n);
  int64_t backbone[SYZ_MODALITIES] = {0}, at = 0;
  for (int i = 0; i < n; i++) {
    if (p[i].part == syz_part_of(p[i].modality, false)) backbone[p[i].modality] += p[i].size;
    CHECK(p[i].offset >= at && p[i].offset % 16 == 0 && p[i].offset - at < 16);
    at = p[i].offset + p[i].size;
  }
  CHECK(syz_model_size(m) >= at);
  CHECK_NEAR((double)backbone[SYZ_IMAGE], 302.9e6, 0.6e6);
  CHECK_NEAR((double)backbone[SYZ_SPECTRUM], 43.2e6, 0.1e6);
  int64_t end = 0;
  for (int i = 0; i < 2 * SYZ_MODALITIES; i++) {
    int64_t first, count;
    syz_model_range(m, (syz_part)i, &first, &count);
    CHECK_EQ(first, end);
    end = first + count;
  }
  CHECK_EQ(end, syz_model_size(m));
  syz_model_destroy(&m);
}

static void check_contradictions(void)
{
  syz_model_config c = published();
  const syz_model_config good = c;
  syz_model *m = NULL;
  c.image.heads = 15;
  CHECK_ERROR(syz_model_config_check(&c), SYZ_ERR_INPUT,
              "model.image.heads = 15 does not divide model.image.dim = 1024");
  CHECK_ERROR(syz_model_create(&c, true, true, compute, &m), SYZ_ERR_INPUT, "model.image.heads");
  CHECK(m == NULL);
  c = good;
  c.image.patch = 13;
  CHECK_ERROR(syz_model_config_check(&c), SYZ_ERR_INPUT, "model.image.patch = 13 does not divide");
  c = good;
  c.spectrum.heads = 5;
  CHECK_ERROR(syz_model_config_check(&c), SYZ_ERR_INPUT, "model.spectrum.heads");
  c = good;
  c.spectrum.overlap = 20;
  CHECK_ERROR(syz_model_config_check(&c), SYZ_ERR_INPUT, "model.spectrum.overlap = 20 must be less");
  c = good;
  c.spectrum.max_tokens = 777;
  CHECK_ERROR(syz_model_config_check(&c), SYZ_ERR_INPUT, "778 tokens");
  c = good;
  c.embedding.heads = 3;
  CHECK_ERROR(syz_model_config_check(&c), SYZ_ERR_INPUT, "model.embedding.heads");
  c = good;
  c.embedding.dropout = NAN;
  CHECK_ERROR(syz_model_config_check(&c), SYZ_ERR_INPUT, "model.embedding.dropout");
}

static const syz_parameter *find(const syz_model *m, const char *name);

static bool is_there(const syz_model *m, const char *name)
{
  int n;
  const syz_parameter *p = syz_model_parameters(m, &n);
  for (int i = 0; i < n; i++)
    if (strcmp(p[i].name, name) == 0) return true;
  return false;
}

/* Which parts and parameters a model has for each purpose, which of them take part, and the published names and shapes
 * of projection heads. */
static void check_purposes(void)
{
  syz_model_config c = small_config();
  syz_model *m[3] = {NULL}, *shared = NULL;
  const bool parts[3][SYZ_PARTS] = {{true, true, true, true, false, false},
                                    {true, false, false, false, true, true},
                                    {false, false, true, false, false, false}};
  c.image.registers = 3;
  for (int purpose = 0; purpose < 3; purpose++) {
    CHECK_OK(syz_model_create_for((syz_purpose)purpose, &c, compute, &m[purpose]));
    CHECK(syz_model_has(m[purpose], SYZ_IMAGE) == (purpose != SYZ_PURPOSE_MASKED) &&
          syz_model_has(m[purpose], SYZ_SPECTRUM) == (purpose != SYZ_PURPOSE_DINO));
    int64_t end = 0;
    int n, at = 0;
    const syz_parameter *p = syz_model_parameters(m[purpose], &n);
    for (int part = 0; part < SYZ_PARTS; part++) {
      int64_t first, count;
      syz_part named;
      syz_model_range(m[purpose], (syz_part)part, &first, &count);
      CHECK((count > 0) == parts[purpose][part]);
      if (count == 0) continue;
      CHECK_EQ(first, end);
      for (; at < n && p[at].offset < first + count; at++)
        CHECK(p[at].part == (syz_part)part && syz_part_of_name(p[at].name, &named) && named == p[at].part);
      end = first + count;
    }
    CHECK_EQ(end, syz_model_size(m[purpose]));
    CHECK_EQ(at, n);
  }
  const syz_model *embed = m[SYZ_PURPOSE_EMBED], *dino = m[SYZ_PURPOSE_DINO], *masked = m[SYZ_PURPOSE_MASKED];
  CHECK(!find(embed, "image_encoder.backbone.mask_token")->is_used &&
        find(dino, "image_encoder.backbone.mask_token")->is_used);
  CHECK(!find(embed, "spectrum_encoder.backbone.head.weight")->is_used &&
        find(masked, "spectrum_encoder.backbone.head.weight")->is_used);
  CHECK(find(masked, "spectrum_encoder.backbone.head.bias")->is_used &&
        find(embed, "image_encoder.backbone.register_tokens")->is_used);
  CHECK(!find(dino, "dino_head.last_layer.weight_g")->is_used && find(dino, "dino_head.last_layer.weight_v")->is_used);
  const struct {
    const char *name;
    int64_t shape[3];
  } expected[] = {{"image_encoder.backbone.register_tokens", {1, 3, 16}},
                  {"dino_head.mlp.0.weight", {24, 16}},
                  {"dino_head.mlp.0.bias", {24}},
                  {"dino_head.mlp.2.weight", {24, 24}},
                  {"ibot_head.mlp.4.weight", {8, 24}},
                  {"ibot_head.mlp.4.bias", {8}},
                  {"ibot_head.last_layer.weight_g", {40, 1}},
                  {"ibot_head.last_layer.weight_v", {40, 8}}};
  for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
    const syz_parameter *p = find(dino, expected[i].name);
    for (int k = 0; k < 3; k++) CHECK_EQ(k < p->ndim ? p->shape[k] : 0, expected[i].shape[k]);
  }
  c.dino.has_ibot_head = false;
  c.image.registers = 0;
  CHECK_OK(syz_model_create_for(SYZ_PURPOSE_DINO, &c, compute, &shared));
  CHECK(!is_there(shared, "ibot_head.mlp.0.weight") && !is_there(shared, "image_encoder.backbone.register_tokens"));
  syz_model_destroy(&shared);
  c.image.tokens = SYZ_TOKENS_PATCHES;
  CHECK_ERROR(syz_model_create_for(SYZ_PURPOSE_DINO, &c, compute, &shared), SYZ_ERR_INPUT,
              "model.image.tokens = patches");
  c = small_config();
  c.dino.layers = 9;
  CHECK_ERROR(syz_model_create_for(SYZ_PURPOSE_DINO, &c, compute, &shared), SYZ_ERR_INPUT, "layers = 9 at most 8");
  c.dino.prototypes = 0;
  CHECK_ERROR(syz_model_create_for(SYZ_PURPOSE_DINO, &c, compute, &shared), SYZ_ERR_INPUT, "model.dino");
  for (int i = 0; i < 3; i++) syz_model_destroy(&m[i]);
}

/* The text is read back to the same configuration, numbers to the last bit. */
static void check_yaml(void)
{
  syz_model_config c = small_config(), back;
  c.image.layerscale = 1.0 / 3;
  c.embedding.dropout = 0.1;
  for (int i = 0; i < 3; i++) {
    const double scales[] = {1.0 / 3, 1e-5, 0};
    c.image.layerscale = scales[i];
    c.image.registers = i == 1 ? 4 : 0;
    c.dino = (syz_dino_config){
        .layers = 2, .hidden = 24, .bottleneck = 8, .prototypes = i == 2 ? 0 : 40, .has_ibot_head = i == 1};
    char *text = syz_model_config_yaml(&c);
    const syz_key *const table[] = {syz_model_keys};
    syz_input *in = NULL;
    CHECK(text && strncmp(text, "model:\n", 7) == 0);
    CHECK_OK(syz_input_create(table, 1, &in));
    CHECK_OK(syz_input_parse(in, "text", text, strlen(text)));
    CHECK_OK(syz_model_config_read(in, &back));
    CHECK(back.image.layerscale == c.image.layerscale && back.embedding.dropout == c.embedding.dropout);
    CHECK(back.image.tokens == c.image.tokens && back.image.depth == c.image.depth &&
          back.spectrum.section == c.spectrum.section && back.embedding.heads == c.embedding.heads &&
          back.spectrum.max_tokens == c.spectrum.max_tokens);
    CHECK(back.image.registers == c.image.registers && (strstr(text, "registers") != NULL) == (i == 1) &&
          (strstr(text, "dino: {") != NULL) == (i != 2));
    if (i == 2)
      CHECK(back.dino.layers == 3 && back.dino.prototypes == 65536 && !back.dino.has_ibot_head); /* published */
    else
      CHECK(back.dino.layers == 2 && back.dino.hidden == 24 && back.dino.bottleneck == 8 &&
            back.dino.prototypes == 40 && back.dino.has_ibot_head == c.dino.has_ibot_head);
    syz_input_destroy(&in);
    syz_free(&text);
  }
}

static const syz_parameter *find(const syz_model *m, const char *name)
{
  int n;
  const syz_parameter *p = syz_model_parameters(m, &n);
  for (int i = 0; i < n; i++)
    if (strcmp(p[i].name, name) == 0) return &p[i];
  CHECK(!"parameter is there");
  return p;
}

typedef struct moments {
  double mean, std, largest;
} moments;

static moments moments_of(const syz_model *m, const char *name)
{
  const syz_parameter *p = find(m, name);
  const float *w = syz_model_weights((syz_model *)m) + p->offset;
  moments r = {0, 0, 0};
  for (int64_t i = 0; i < p->size; i++) {
    r.mean += w[i];
    r.std += (double)w[i] * w[i];
    r.largest = fmax(r.largest, fabs((double)w[i]));
  }
  r.mean /= (double)p->size;
  r.std = sqrt(r.std / (double)p->size - r.mean * r.mean);
  return r;
}

/* Distributions of src/model/initialise.c, in parameters of 10^4 to 10^5 elements: std known to 1 %. */
static void check_initial_weights(void)
{
  syz_model_config c = published();
  c.image.dim = 192;
  c.image.depth = 1;
  c.image.heads = 2;
  c.spectrum.dim = 96;
  c.spectrum.depth = 2;
  c.embedding.dim = 128;
  syz_model *both = NULL, *one = NULL;
  CHECK_OK(syz_model_create(&c, true, true, compute, &both));
  CHECK_OK(syz_model_create(&c, false, true, compute, &one));
  syz_model_initialise(both, 7);
  syz_model_initialise(one, 7);

  const struct {
    const char *name;
    double std, largest;
  } expected[] = {
      {"image_encoder.backbone.blocks.0.attn.qkv.weight", 0.02, 0},
      {"image_encoder.backbone.pos_embed", 0.02, 0},
      {"image_encoder.backbone.patch_embed.proj.weight", 1 / sqrt(3 * 432.0), 1 / sqrt(432.0)},
      {"image_encoder.cross_attention.multihead_attn.k_proj_weight", sqrt(2.0 / (128 + 192)), sqrt(6.0 / (128 + 192))},
      {"image_encoder.cross_attention.multihead_attn.out_proj.weight", 1 / sqrt(3 * 128.0), 1 / sqrt(128.0)},
      {"image_encoder.mlp.encoder.weight", 1 / sqrt(3 * 128.0), 1 / sqrt(128.0)},
      {"image_encoder.mlp.decoder.weight", 1 / sqrt(3 * 512.0), 1 / sqrt(512.0)},
      /* Cut at 3 std, which leaves a std of 0.9866. */
      {"spectrum_encoder.backbone.position_embed.weight", 0.9866 / sqrt(96), 3 / sqrt(96)},
      {"spectrum_encoder.backbone.blocks.1.mlp.decoder.weight", 0.9866 / sqrt(2 * 384.0 * 2), 3 / sqrt(2 * 384.0 * 2)},
      {"spectrum_encoder.backbone.blocks.0.attention.attention.weight", 0.9866 / sqrt(2 * 96.0 * 2),
       3 / sqrt(2 * 96.0 * 2)}};
  for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
    const moments r = moments_of(both, expected[i].name);
    const double n = (double)find(both, expected[i].name)->size;
    CHECK_NEAR(r.std / expected[i].std, 1.0, 4 / sqrt(2 * n));
    CHECK_NEAR(r.mean / expected[i].std, 0.0, 4.5 / sqrt(n));
    if (expected[i].largest > 0)
      CHECK(r.largest <= expected[i].largest * 1.000001 && r.largest > 0.98 * expected[i].largest);
  }
  CHECK_EQ(moments_of(both, "image_encoder.backbone.mask_token").largest, 0);
  CHECK_EQ(moments_of(both, "image_encoder.backbone.blocks.0.attn.qkv.bias").largest, 0);
  CHECK_EQ(moments_of(both, "spectrum_encoder.backbone.data_embed.bias").largest, 0);
  CHECK_EQ(moments_of(both, "image_encoder.backbone.blocks.0.norm1.weight").mean, 1);
  CHECK_EQ(moments_of(both, "spectrum_encoder.backbone.final_layernorm.weight").mean, 1);
  CHECK_NEAR(moments_of(both, "image_encoder.backbone.blocks.0.ls2.gamma").mean, 1e-5, 1e-11);
  CHECK_GT(moments_of(both, "spectrum_encoder.mlp.decoder.bias").largest, 0);

  /* Projection heads and registers. */
  syz_model *dino = NULL;
  syz_model_config d = c;
  d.image.tokens = SYZ_TOKENS_DINOV2;
  d.image.registers = 50;
  d.dino = (syz_dino_config){.layers = 3, .hidden = 200, .bottleneck = 64, .prototypes = 900, .has_ibot_head = true};
  CHECK_OK(syz_model_create_for(SYZ_PURPOSE_DINO, &d, compute, &dino));
  syz_model_initialise(dino, 7);
  CHECK_NEAR(moments_of(dino, "dino_head.mlp.0.weight").std / 0.02, 1, 4 / sqrt(2 * 200.0 * 192));
  CHECK_NEAR(moments_of(dino, "ibot_head.mlp.4.weight").std / 0.02, 1, 4 / sqrt(2 * 200.0 * 64));
  CHECK_EQ(moments_of(dino, "dino_head.mlp.2.bias").largest, 0);
  CHECK_NEAR(moments_of(dino, "dino_head.last_layer.weight_v").std * sqrt(3 * 64.0), 1, 4 / sqrt(2 * 900.0 * 64));
  CHECK(moments_of(dino, "dino_head.last_layer.weight_v").largest <= 0.125000001);
  CHECK(moments_of(dino, "ibot_head.last_layer.weight_g").mean == 1 &&
        moments_of(dino, "ibot_head.last_layer.weight_g").std == 0);
  CHECK_NEAR(moments_of(dino, "image_encoder.backbone.register_tokens").std / 1e-6, 1, 4 / sqrt(2 * 50.0 * 192));
  CHECK_EQ(memcmp(syz_model_weights(dino) + find(dino, "image_encoder.backbone.pos_embed")->offset,
                  syz_model_weights(both) + find(both, "image_encoder.backbone.pos_embed")->offset, 1000),
           0); /* the same backbone for every purpose */
  syz_model_destroy(&dino);

  /* The same tower beside another one, or alone: the same weights; another seed: others. */
  int64_t first, count, first_one;
  syz_model_range(both, SYZ_PART_SPECTRUM_BACKBONE, &first, &count);
  syz_model_range(one, SYZ_PART_SPECTRUM_BACKBONE, &first_one, &count);
  CHECK(memcmp(syz_model_weights(both) + first, syz_model_weights(one) + first_one, (size_t)count * sizeof(float)) ==
        0);
  syz_model_initialise(one, 8);
  CHECK(memcmp(syz_model_weights(both) + first, syz_model_weights(one) + first_one, (size_t)count * sizeof(float)) !=
        0);
  syz_model_destroy(&both);
  syz_model_destroy(&one);
}

static bool same_weights(const syz_model *a, const syz_model *b)
{
  int n;
  bool is_same = true;
  const syz_parameter *p = syz_model_parameters(b, &n);
  for (int i = 0; i < n; i++) {
    const syz_parameter *q = find(a, p[i].name);
    is_same =
        is_same && memcmp(syz_model_weights((syz_model *)a) + q->offset,
                          syz_model_weights((syz_model *)b) + p[i].offset, (size_t)p[i].size * sizeof(float)) == 0;
  }
  return is_same;
}

/* Written by all ranks (together, then each with one tower), read by all: the same bits and the same bytes in the file.
 */
static void check_files(const char *folder)
{
  const int rank = syz_comm_rank(world), size = syz_comm_size(world);
  const syz_model_config config = small_config();
  syz_model *both = NULL, *mine = NULL, *back = NULL;
  char together[300], apart[300], single[300];
  snprintf(together, sizeof together, "%s/together.h5", folder);
  snprintf(apart, sizeof apart, "%s/apart.h5", folder);
  snprintf(single, sizeof single, "%s/single.h5", folder);
  CHECK_OK(syz_model_create(&config, true, true, compute, &both));
  syz_model_initialise(both, 3);
  CHECK_OK(syz_model_file_write(world, together, both, "test", "seed: 3\n"));

  const bool has_image = size == 1 || rank % 2 == 0, has_spectrum = size == 1 || rank % 2 == 1;
  CHECK_OK(syz_model_create(&config, has_image, has_spectrum, compute, &mine));
  syz_model_initialise(mine, 3);
  CHECK_OK(syz_model_file_write(world, apart, mine, "test", "seed: 3\n"));

  syz_model_config found;
  bool has[SYZ_MODALITIES];
  syz_model_parts parts;
  const char *const paths[] = {together, apart};
  for (int i = 0; i < 2; i++) {
    CHECK_OK(syz_model_file_parts(world, paths[i], &found, &parts));
    for (int k = 0; k < SYZ_PARTS; k++) CHECK(parts.has[k] == (k < 2 * SYZ_MODALITIES));
    CHECK(found.image.dim == 16 && found.image.tokens == SYZ_TOKENS_DINOV2 && found.image.layerscale == 1e-5);
    CHECK_OK(syz_model_create(&found, true, true, compute, &back));
    CHECK_OK(syz_model_file_read(world, paths[i], back, false));
    CHECK(same_weights(back, both));
    syz_model_destroy(&back);
  }
  /* Ranks with one tower take their own. */
  memset(syz_model_weights(mine), 0, (size_t)syz_model_size(mine) * sizeof(float));
  CHECK_OK(syz_model_file_read(world, together, mine, false));
  CHECK(same_weights(both, mine));

  /* One tower only. */
  syz_model_destroy(&mine);
  CHECK_OK(syz_model_create(&config, false, true, compute, &mine));
  syz_model_initialise(mine, 4);
  CHECK_OK(syz_model_file_write(world, single, mine, "test", ""));
  CHECK_OK(syz_model_file_config(world, single, &found, has));
  CHECK(!has[SYZ_IMAGE] && has[SYZ_SPECTRUM]);
  CHECK_OK(syz_model_create(&config, true, true, compute, &back));
  syz_model_initialise(back, 3);
  CHECK_ERROR(syz_model_file_read(world, single, back, false), SYZ_ERR_DATA, "has no image tower");
  CHECK(same_weights(back, both));
  CHECK_OK(syz_model_file_read(world, single, back, true));
  CHECK(same_weights(back, mine) && !same_weights(both, mine));
  syz_model_destroy(&back);

  /* Another model than the file's. */
  syz_model_config other = config;
  other.spectrum.depth = 2;
  CHECK_OK(syz_model_create(&other, true, true, compute, &back));
  CHECK_ERROR(syz_model_file_read(world, together, back, true), SYZ_ERR_INPUT,
              "model.spectrum.depth = 3, this run asks for 2");
  syz_model_destroy(&back);
  other = config;
  other.embedding.heads = 2;
  CHECK_OK(syz_model_create(&other, true, false, compute, &back));
  CHECK_ERROR(syz_model_file_read(world, together, back, true), SYZ_ERR_INPUT, "model.embedding.heads");
  syz_model_destroy(&back);

  CHECK_ERROR(syz_model_file_config(world, "/nowhere/model.h5", &found, has), SYZ_ERR_DATA, "/nowhere/model.h5");
  CHECK_ERROR(syz_model_file_write(world, "/nowhere/model.h5", both, "test", ""), SYZ_ERR_WRITE, "/nowhere/model.h5");
  syz_model_destroy(&both);
  syz_model_destroy(&mine);
  syz_barrier(world);
  if (rank == 0) {
    unlink(together);
    unlink(apart);
    unlink(single);
  }
}

static bool same_part(const syz_model *a, const syz_model *b, syz_part part)
{
  int64_t first_a, first_b, n_a, n_b;
  syz_model_range(a, part, &first_a, &n_a);
  syz_model_range(b, part, &first_b, &n_b);
  return n_a == n_b &&
         memcmp(syz_model_weights(a) + first_a, syz_model_weights(b) + first_b, (size_t)n_a * sizeof(float)) == 0;
}

/* Files of pretraining: what they hold, and who takes what from them. */
static void check_pretraining_files(const char *folder)
{
  const syz_model_config config = small_config();
  syz_model_config found;
  syz_model_parts parts;
  syz_model *dino = NULL, *masked = NULL, *embed = NULL, *back = NULL;
  char dino_path[300], masked_path[300], embed_path[300];
  snprintf(dino_path, sizeof dino_path, "%s/dino.h5", folder);
  snprintf(masked_path, sizeof masked_path, "%s/masked.h5", folder);
  snprintf(embed_path, sizeof embed_path, "%s/embed.h5", folder);
  CHECK_OK(syz_model_create_for(SYZ_PURPOSE_DINO, &config, compute, &dino));
  CHECK_OK(syz_model_create_for(SYZ_PURPOSE_MASKED, &config, compute, &masked));
  CHECK_OK(syz_model_create(&config, true, true, compute, &embed));
  syz_model_initialise(dino, 1);
  syz_model_initialise(masked, 2);
  syz_model_initialise(embed, 3);
  CHECK_OK(syz_model_file_write(world, dino_path, dino, "test", ""));
  CHECK_OK(syz_model_file_write(world, masked_path, masked, "test", ""));
  CHECK_OK(syz_model_file_write(world, embed_path, embed, "test", ""));

  CHECK_OK(syz_model_file_parts(world, dino_path, &found, &parts));
  CHECK(parts.has[SYZ_PART_IMAGE_BACKBONE] && parts.has[SYZ_PART_DINO_HEAD] && parts.has[SYZ_PART_IBOT_HEAD] &&
        !parts.has[SYZ_PART_IMAGE_HEAD] && !parts.has[SYZ_PART_SPECTRUM_BACKBONE]);
  CHECK(found.dino.prototypes == 40 && found.dino.has_ibot_head);
  CHECK_OK(syz_model_create_for(SYZ_PURPOSE_DINO, &found, compute, &back));
  CHECK_OK(syz_model_file_read(world, dino_path, back, false));
  CHECK(same_weights(back, dino));
  CHECK_OK(syz_model_file_parts(world, masked_path, &found, &parts));
  for (int i = 0; i < SYZ_PARTS; i++) CHECK(parts.has[i] == (i == SYZ_PART_SPECTRUM_BACKBONE));

  /* Alignment takes the backbones and leaves its own heads; pretraining takes the backbone of an aligned model and
   * leaves its projections. */
  CHECK_ERROR(syz_model_file_read(world, dino_path, embed, false), SYZ_ERR_DATA, "has no spectrum tower");
  CHECK_OK(syz_model_file_read(world, dino_path, embed, true));
  CHECK_OK(syz_model_file_read(world, masked_path, embed, true));
  CHECK(same_part(embed, dino, SYZ_PART_IMAGE_BACKBONE) && same_part(embed, masked, SYZ_PART_SPECTRUM_BACKBONE));
  syz_model_initialise(back, 5);
  CHECK_ERROR(syz_model_file_read(world, embed_path, back, false), SYZ_ERR_DATA, "has no dino head");
  CHECK_OK(syz_model_file_read(world, embed_path, back, true));
  CHECK(!same_part(back, dino, SYZ_PART_IMAGE_BACKBONE) && !same_part(back, dino, SYZ_PART_DINO_HEAD));
  CHECK_OK(syz_model_file_read(world, embed_path, masked, false));
  CHECK(!same_part(masked, embed, SYZ_PART_SPECTRUM_BACKBONE)); /* embed has taken the other one meanwhile */
  syz_model_destroy(&back);

  /* Another grid of patches; projections of another size. */
  syz_model_config other = config;
  other.image.size = 40;
  CHECK_OK(syz_model_create_for(SYZ_PURPOSE_DINO, &other, compute, &back));
  CHECK_OK(syz_model_file_read(world, dino_path, back, false));
  const syz_parameter *from = find(dino, "image_encoder.backbone.pos_embed"),
                      *to = find(back, "image_encoder.backbone.pos_embed");
  float grid[25 * 16];
  syz_positions_interpolate(grid, 5, syz_model_weights(dino) + from->offset + 16, 3, 16);
  CHECK(memcmp(grid, syz_model_weights(back) + to->offset + 16, sizeof grid) == 0);
  syz_model_destroy(&back);
  other = config;
  other.dino.prototypes = 41;
  CHECK_OK(syz_model_create_for(SYZ_PURPOSE_DINO, &other, compute, &back));
  CHECK_ERROR(syz_model_file_read(world, dino_path, back, true), SYZ_ERR_INPUT,
              "model.dino.prototypes = 40, this run asks for 41");
  syz_model_destroy(&back);
  other = config;
  other.dino.has_ibot_head = false; /* the file's own head for patches is left out */
  CHECK_OK(syz_model_create_for(SYZ_PURPOSE_DINO, &other, compute, &back));
  CHECK_OK(syz_model_file_read(world, dino_path, back, false));
  CHECK(same_part(back, dino, SYZ_PART_DINO_HEAD));
  syz_model_destroy(&back);

  /* Gains of prototypes are fixed at 1: others are refused by who would use the head, and by nobody else. */
  const syz_parameter *gain = find(dino, "ibot_head.last_layer.weight_g");
  syz_model_weights(dino)[gain->offset + 39] = 1.01f;
  CHECK_OK(syz_model_file_write(world, dino_path, dino, "test", ""));
  CHECK_OK(syz_model_create_for(SYZ_PURPOSE_DINO, &config, compute, &back));
  CHECK_ERROR(syz_model_file_read(world, dino_path, back, true), SYZ_ERR_DATA,
              "ibot_head.last_layer.weight_g: element 39 is 1.01");
  CHECK_OK(syz_model_file_read(world, dino_path, embed, true));
  syz_model_destroy(&back);
  syz_model_destroy(&dino);
  syz_model_destroy(&masked);
  syz_model_destroy(&embed);
  syz_barrier(world);
  if (syz_comm_rank(world) == 0) {
    unlink(dino_path);
    unlink(masked_path);
    unlink(embed_path);
  }
}

int main(int argc, char **argv)
{
  char folder[256] = "/tmp/syzygy-model-XXXXXX";
  CHECK_OK(syz_comm_start(&argc, &argv, &world));
  CHECK_OK(syz_compute_create(SYZ_F32, SYZ_ENGINE_AUTO, 1, &compute));
  if (syz_comm_rank(world) == 0) CHECK(mkdtemp(folder) != NULL);
  syz_bcast(world, folder, sizeof folder, 0);
  const syz_memory_stats start = syz_memory_get();
  if (syz_comm_size(world) == 1) {
    check_published();
    check_contradictions();
    check_yaml();
    check_purposes();
    check_initial_weights();
  }
  check_files(folder);
  check_pretraining_files(folder);
  CHECK_EQ(syz_memory_get().live_blocks, start.live_blocks);
  if (syz_comm_rank(world) == 0) rmdir(folder);
  int result = CHECK_RESULT();
  syz_compute_destroy(&compute);
  syz_comm_finish(&world);
  return result;
}
