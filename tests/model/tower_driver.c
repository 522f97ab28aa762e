/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Runs the towers on raw arrays for the Python tests: a model file in, embeddings, tokens or gradients out.
 *
 *   tower_driver MODEL float32|bfloat16 BATCH tokens    N INPUT_PREFIX OUTPUT_PREFIX
 *   tower_driver MODEL float32|bfloat16 BATCH embed     N INPUT_PREFIX OUTPUT_PREFIX
 *   tower_driver MODEL float32|bfloat16 N     gradients N INPUT_PREFIX OUTPUT.h5
 *   tower_driver MODEL float32|bfloat16 N     heads     N INPUT_PREFIX OUTPUT.h5
 *
 * Reads PREFIX-image.bin (planes [N, 3, size, size]), PREFIX-spectrum.bin ([N, 7781]) and for gradients
 * PREFIX-image-d.bin, PREFIX-spectrum-d.bin
 * ([N, E] gradients of the embeddings), all float32; writes the same names below the output prefix, or the gradients as
 * a model file. `heads` takes the gradients of the heads alone, through the calls for cached tokens. Runs on any number
 * of ranks: each takes a share of the objects (gradients: one rank). With a last argument SIZE the image tower is fed
 * SIZE pixels, whatever the file says: positions are interpolated.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "syzygy/model.h"
#include "../../src/model/config.h"

typedef struct job {
  syz_comm *world;
  syz_model *m;
  int64_t n, batch;
  const char *in, *out;
} job;

static syz_status load(const char *prefix, syz_modality tower, const char *suffix, int64_t n, int64_t width,
                       float **out)
{
  syz_status st = SYZ_OK;
  char path[512];
  float *x = NULL;
  snprintf(path, sizeof path, "%s-%s%s.bin", prefix, syz_modality_name(tower), suffix);
  FILE *f = fopen(path, "rb");
  SYZ_REQUIRE(f, SYZ_ERR_DATA, "no %s", path);
  SYZ_ALLOC(x, "input", n * width);
  size_t got = fread(x, (size_t)width * sizeof *x, (size_t)n, f);
  fclose(f);
  SYZ_REQUIRE(got == (size_t)n, SYZ_ERR_DATA, "%s holds %zu of %lld objects", path, got, (long long)n);
  *out = x;
  x = NULL;
cleanup:
  syz_free(&x);
  return st;
}

static syz_status save(const char *prefix, syz_modality tower, int rank, const float *x, int64_t count)
{
  syz_status st = SYZ_OK;
  char path[512];
  snprintf(path, sizeof path, "%s-%s-%d.bin", prefix, syz_modality_name(tower), rank);
  FILE *f = fopen(path, "wb");
  SYZ_REQUIRE(f && fwrite(x, sizeof *x, (size_t)count, f) == (size_t)count && fclose(f) == 0, SYZ_ERR_WRITE,
              "cannot write %s", path);
cleanup:
  return st;
}

static int64_t input_width(const job *j, syz_modality tower)
{
  const int64_t size = syz_model_get_config(j->m)->image.size;
  return tower == SYZ_IMAGE ? 3 * size * size : SYZ_TOWER_PIXELS;
}

static int64_t token_width(const job *j, syz_modality tower)
{
  const syz_model_config *c = syz_model_get_config(j->m);
  return syz_model_tokens(c, tower) * (tower == SYZ_IMAGE ? c->image.dim : c->spectrum.dim);
}

static syz_status run_forward(const job *j, syz_modality tower, const syz_compute *compute, bool wants_tokens)
{
  syz_status st = SYZ_OK;
  float *input = NULL, *result = NULL;
  void *tokens = NULL;
  int64_t first, count;
  const int64_t e = syz_model_get_config(j->m)->embedding.dim, width = wants_tokens ? token_width(j, tower) : e;
  syz_share(j->n, syz_comm_size(j->world), syz_comm_rank(j->world), &first, &count);
  SYZ_TRY(load(j->in, tower, "", j->n, input_width(j, tower), &input));
  SYZ_ALLOC(result, "result", count * width + 1);
  tokens = syz_alloc("tokens", (size_t)(j->batch * token_width(j, tower)), sizeof(float));
  SYZ_REQUIRE(tokens, SYZ_ERR_MEMORY, "tokens");
  SYZ_TRY(syz_tower_plan(j->m, tower, j->batch, SYZ_MODE_EMBED));
  for (int64_t at = 0; at < count; at += j->batch) {
    const int64_t n = count - at < j->batch ? count - at : j->batch;
    const float *x = input + (first + at) * input_width(j, tower);
    if (wants_tokens) {
      syz_tower_backbone(j->m, tower, n, x, tokens);
      syz_convert_to_f32(syz_compute_act(compute), result + at * width, tokens, n * width);
    } else {
      syz_tower_forward(j->m, tower, n, x, NULL, result + at * width);
    }
  }
  SYZ_TRY(save(j->out, tower, syz_comm_rank(j->world), result, count * width));
cleanup:
  syz_free(&input);
  syz_free(&result);
  syz_free(&tokens);
  return st;
}

static syz_status run_gradients(const job *j, bool only_heads)
{
  syz_status st = SYZ_OK;
  float *input = NULL, *dembedding = NULL, *embedding = NULL, *gradients = NULL;
  void *tokens = NULL;
  const int64_t e = syz_model_get_config(j->m)->embedding.dim;
  SYZ_ALLOC(gradients, "gradients", syz_model_size(j->m));
  SYZ_ALLOC(embedding, "embedding", j->n * e);
  for (int t = 0; t < SYZ_MODALITIES; t++) {
    const syz_modality tower = (syz_modality)t;
    SYZ_TRY(load(j->in, tower, "", j->n, input_width(j, tower), &input));
    SYZ_TRY(load(j->in, tower, "-d", j->n, e, &dembedding));
    tokens = syz_alloc("tokens", (size_t)(j->n * token_width(j, tower)), sizeof(float));
    SYZ_REQUIRE(tokens, SYZ_ERR_MEMORY, "tokens");
    SYZ_TRY(syz_tower_plan(j->m, tower, j->n, only_heads ? SYZ_MODE_TRAIN_HEAD : SYZ_MODE_TRAIN));
    if (only_heads) {
      syz_tower_backbone(j->m, tower, j->n, input, tokens);
      SYZ_TRY(syz_tower_plan(j->m, tower, j->n, SYZ_MODE_HEAD));
      syz_tower_head(j->m, tower, j->n, tokens, NULL, embedding);
      syz_tower_head_backward(j->m, tower, j->n, tokens, dembedding, NULL, gradients);
    } else {
      syz_tower_forward(j->m, tower, j->n, input, NULL, embedding);
      syz_tower_backward(j->m, tower, j->n, dembedding, NULL, gradients, NULL, NULL);
    }
    syz_free(&input);
    syz_free(&dembedding);
    syz_free(&tokens);
  }
  memcpy(syz_model_weights(j->m), gradients, (size_t)syz_model_size(j->m) * sizeof *gradients);
  SYZ_TRY(syz_model_file_write(j->world, j->out, j->m, "tower_driver", ""));
cleanup:
  syz_free(&input);
  syz_free(&dembedding);
  syz_free(&embedding);
  syz_free(&gradients);
  syz_free(&tokens);
  return st;
}

int main(int argc, char **argv)
{
  syz_status st = SYZ_OK;
  job j = {.n = 0};
  syz_compute *compute = NULL;
  syz_model_config config;
  bool has[SYZ_MODALITIES];
  SYZ_TRY(syz_comm_start(&argc, &argv, &j.world));
  SYZ_REQUIRE(argc == 8 || argc == 9, SYZ_ERR_INPUT,
              "usage: tower_driver MODEL PRECISION BATCH tokens|embed|gradients|heads N INPUT OUTPUT [SIZE]");
  const char *path = argv[1], *command = argv[4];
  j.batch = strtoll(argv[3], NULL, 10);
  j.n = strtoll(argv[5], NULL, 10);
  j.in = argv[6];
  j.out = argv[7];
  SYZ_REQUIRE(j.batch >= 1 && j.n >= 1, SYZ_ERR_INPUT, "batch and number of objects must be at least 1");
  SYZ_TRY(syz_compute_create(strcmp(argv[2], "float32") == 0 ? SYZ_F32 : SYZ_BF16, SYZ_ENGINE_AUTO, 1, &compute));
  if (strcmp(argv[2], "bfloat16") == 0 && syz_compute_act(compute) != SYZ_BF16) {
    printf("no bfloat16 on this processor\n");
    st = (syz_status)77;
    goto cleanup;
  }
  SYZ_TRY(syz_model_file_config(j.world, path, &config, has));
  if (argc == 9) config.image.size = strtoll(argv[8], NULL, 10);
  SYZ_TRY(syz_model_create(&config, has[SYZ_IMAGE], has[SYZ_SPECTRUM], compute, &j.m));
  SYZ_TRY(syz_model_file_read(j.world, path, j.m, false));
  if (strcmp(command, "gradients") == 0 || strcmp(command, "heads") == 0) {
    SYZ_TRY(run_gradients(&j, strcmp(command, "heads") == 0));
  } else {
    for (int t = 0; t < SYZ_MODALITIES; t++)
      if (has[t]) SYZ_TRY(run_forward(&j, (syz_modality)t, compute, strcmp(command, "tokens") == 0));
  }
cleanup:
  if (st != SYZ_OK && st != (syz_status)77) fprintf(stderr, "%s\n", syz_error_text());
  syz_model_destroy(&j.m);
  syz_compute_destroy(&compute);
  syz_comm_finish(&j.world);
  return (int)st;
}
