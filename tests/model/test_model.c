/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Table, configuration, initial weights and model files, on any number of ranks.
 */
#include <stdlib.h>
#include <unistd.h>

#include "check.h"
#include "syzygy/model.h"

static syz_comm *world;
static syz_compute *compute;

static syz_model_config small_config(void)
{
  return (syz_model_config){.image = {.dim = 16, .depth = 2, .heads = 2, .patch = 8, .size = 24, .tokens = SYZ_TOKENS_DINOV2, .layerscale = 1e-5},
                            .spectrum = {.dim = 12, .depth = 3, .heads = 2, .section = 600, .overlap = 100, .max_tokens = 20},
                            .embedding = {.dim = 16, .heads = 4, .dropout = 0.1}};
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

/* Counts that follow from recipes.md: 302 and 43 million backbone parameters, 144 + 1 and 778 tokens. */
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
  CHECK_ERROR(syz_model_config_check(&c), SYZ_ERR_INPUT, "model.image.heads = 15 does not divide model.image.dim = 1024");
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

/* The text is read back to the same configuration, numbers to the last bit. */
static void check_yaml(void)
{
  syz_model_config c = small_config(), back;
  c.image.layerscale = 1.0 / 3;
  c.embedding.dropout = 0.1;
  for (int i = 0; i < 3; i++) {
    const double scales[] = {1.0 / 3, 1e-5, 0};
    c.image.layerscale = scales[i];
    char *text = syz_model_config_yaml(&c);
    const syz_key *const table[] = {syz_model_keys};
    syz_input *in = NULL;
    CHECK(text && strncmp(text, "model:\n", 7) == 0);
    CHECK_OK(syz_input_create(table, 1, &in));
    CHECK_OK(syz_input_parse(in, "text", text, strlen(text)));
    CHECK_OK(syz_model_config_read(in, &back));
    CHECK(back.image.layerscale == c.image.layerscale && back.embedding.dropout == c.embedding.dropout);
    CHECK(back.image.tokens == c.image.tokens && back.image.depth == c.image.depth && back.spectrum.section == c.spectrum.section &&
          back.embedding.heads == c.embedding.heads && back.spectrum.max_tokens == c.spectrum.max_tokens);
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
  } expected[] = {{"image_encoder.backbone.blocks.0.attn.qkv.weight", 0.02, 0},
                  {"image_encoder.backbone.pos_embed", 0.02, 0},
                  {"image_encoder.backbone.patch_embed.proj.weight", 1 / sqrt(3 * 432.0), 1 / sqrt(432.0)},
                  {"image_encoder.cross_attention.multihead_attn.k_proj_weight", sqrt(2.0 / (128 + 192)), sqrt(6.0 / (128 + 192))},
                  {"image_encoder.cross_attention.multihead_attn.out_proj.weight", 1 / sqrt(3 * 128.0), 1 / sqrt(128.0)},
                  {"image_encoder.mlp.encoder.weight", 1 / sqrt(3 * 128.0), 1 / sqrt(128.0)},
                  {"image_encoder.mlp.decoder.weight", 1 / sqrt(3 * 512.0), 1 / sqrt(512.0)},
                  /* Cut at 3 std, which leaves a std of 0.9866. */
                  {"spectrum_encoder.backbone.position_embed.weight", 0.9866 / sqrt(96), 3 / sqrt(96)},
                  {"spectrum_encoder.backbone.blocks.1.mlp.decoder.weight", 0.9866 / sqrt(2 * 384.0 * 2), 3 / sqrt(2 * 384.0 * 2)},
                  {"spectrum_encoder.backbone.blocks.0.attention.attention.weight", 0.9866 / sqrt(2 * 96.0 * 2), 3 / sqrt(2 * 96.0 * 2)}};
  for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
    const moments r = moments_of(both, expected[i].name);
    const double n = (double)find(both, expected[i].name)->size;
    CHECK_NEAR(r.std / expected[i].std, 1.0, 4 / sqrt(2 * n));
    CHECK_NEAR(r.mean / expected[i].std, 0.0, 4.5 / sqrt(n));
    if (expected[i].largest > 0) CHECK(r.largest <= expected[i].largest * 1.000001 && r.largest > 0.98 * expected[i].largest);
  }
  CHECK_EQ(moments_of(both, "image_encoder.backbone.mask_token").largest, 0);
  CHECK_EQ(moments_of(both, "image_encoder.backbone.blocks.0.attn.qkv.bias").largest, 0);
  CHECK_EQ(moments_of(both, "spectrum_encoder.backbone.data_embed.bias").largest, 0);
  CHECK_EQ(moments_of(both, "image_encoder.backbone.blocks.0.norm1.weight").mean, 1);
  CHECK_EQ(moments_of(both, "spectrum_encoder.backbone.final_layernorm.weight").mean, 1);
  CHECK_NEAR(moments_of(both, "image_encoder.backbone.blocks.0.ls2.gamma").mean, 1e-5, 1e-11);
  CHECK_GT(moments_of(both, "spectrum_encoder.mlp.decoder.bias").largest, 0);

  /* The same tower beside another one, or alone: the same weights; another seed: others. */
  int64_t first, count, first_one;
  syz_model_range(both, SYZ_PART_SPECTRUM_BACKBONE, &first, &count);
  syz_model_range(one, SYZ_PART_SPECTRUM_BACKBONE, &first_one, &count);
  CHECK(memcmp(syz_model_weights(both) + first, syz_model_weights(one) + first_one, (size_t)count * sizeof(float)) == 0);
  syz_model_initialise(one, 8);
  CHECK(memcmp(syz_model_weights(both) + first, syz_model_weights(one) + first_one, (size_t)count * sizeof(float)) != 0);
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
    is_same = is_same && memcmp(syz_model_weights((syz_model *)a) + q->offset, syz_model_weights((syz_model *)b) + p[i].offset,
                                (size_t)p[i].size * sizeof(float)) == 0;
  }
  return is_same;
}

/* Written by all ranks (together, then each with one tower), read by all: the same bits and the same bytes in the file. */
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
  CHECK_ERROR(syz_model_file_read(world, together, back, true), SYZ_ERR_INPUT, "model.spectrum.depth = 3, this run asks for 2");
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
    check_initial_weights();
  }
  check_files(folder);
  CHECK_EQ(syz_memory_get().live_blocks, start.live_blocks);
  if (syz_comm_rank(world) == 0) rmdir(folder);
  int result = CHECK_RESULT();
  syz_compute_destroy(&compute);
  syz_comm_finish(&world);
  return result;
}
