/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Runs the image tower on crops and a projection head for the Python tests: a model file and arrays in, rows,
 * bottlenecks and gradients out.
 *
 *   crops_driver MODEL float32|bfloat16 PREFIX
 *
 * PREFIX-job.txt: numbers: projection head (0 dino, 1 ibot), 1 when it trains, seed, step, drop rate, sizes; for each
 * size: pixels, crops, number of the first crop, 1 when there is a mask; rows wanted, and for each group, crop, token.
 * PREFIX-planes-<g>.bin [crops, 3, size, size] float32, PREFIX-mask-<g>.bin [crops, patches] uint8, PREFIX-drows.bin
 * [rows, D] and PREFIX-dz.bin [rows, bottleneck]: gradients of what comes out. Writes PREFIX-rows.bin, PREFIX-z.bin,
 * PREFIX-kept-<g>.bin [depth, 2, crops] uint8 and PREFIX-gradients.h5, a model file.
 */
#include <string.h>

#include <stdio.h>

#include "syzygy/model.h"
#include "../../src/model/crops.h"

typedef struct job {
  syz_comm *world;
  syz_compute *compute;
  syz_model *m;
  const char *prefix;
  syz_part part;
  syz_crops_config config;
  syz_crops_input input;
  int64_t n, *group, *crop, *token, *row;
  float *planes[SYZ_GROUPS_MAX];
  uint8_t *mask[SYZ_GROUPS_MAX];
} job;

static syz_status load(const job *j, const char *name, size_t bytes, void *out)
{
  syz_status st = SYZ_OK;
  char path[512];
  snprintf(path, sizeof path, "%s-%s.bin", j->prefix, name);
  FILE *f = fopen(path, "rb");
  SYZ_REQUIRE(f, SYZ_ERR_DATA, "no %s", path);
  const size_t got = fread(out, 1, bytes, f);
  fclose(f);
  SYZ_REQUIRE(got == bytes, SYZ_ERR_DATA, "%s holds %zu of %zu bytes", path, got, bytes);
cleanup:
  return st;
}

static syz_status save(const job *j, const char *name, const void *x, size_t bytes)
{
  syz_status st = SYZ_OK;
  char path[512];
  snprintf(path, sizeof path, "%s-%s.bin", j->prefix, name);
  FILE *f = fopen(path, "wb");
  SYZ_REQUIRE(f && fwrite(x, 1, bytes, f) == bytes && fclose(f) == 0, SYZ_ERR_WRITE, "cannot write %s", path);
cleanup:
  return st;
}

static syz_status read_job(job *j)
{
  syz_status st = SYZ_OK;
  char path[512], name[32];
  int part, trains, has_mask;
  const int64_t patch = syz_model_get_config(j->m)->image.patch;
  snprintf(path, sizeof path, "%s-job.txt", j->prefix);
  FILE *f = fopen(path, "r");
  SYZ_REQUIRE(f, SYZ_ERR_DATA, "no %s", path);
  long long seed, step, a, b, c;
  SYZ_REQUIRE(
      fscanf(f, "%d %d %lld %lld %lf %d", &part, &trains, &seed, &step, &j->config.drop_rate, &j->config.groups) == 6,
      SYZ_ERR_DATA, "%s", path);
  j->part = part ? SYZ_PART_IBOT_HEAD : SYZ_PART_DINO_HEAD;
  j->config.trains = trains != 0;
  j->input.seed = (uint64_t)seed;
  j->input.step = (uint64_t)step;
  for (int g = 0; g < j->config.groups; g++) {
    SYZ_REQUIRE(fscanf(f, "%lld %lld %lld %d", &a, &b, &c, &has_mask) == 4, SYZ_ERR_DATA, "%s: group %d", path, g);
    j->config.size[g] = a;
    j->config.most[g] = j->input.count[g] = b;
    j->input.first_crop[g] = c;
    SYZ_ALLOC(j->planes[g], "planes", b * 3 * a * a);
    snprintf(name, sizeof name, "planes-%d", g);
    SYZ_TRY(load(j, name, (size_t)(b * 3 * a * a) * sizeof(float), j->planes[g]));
    j->input.planes[g] = j->planes[g];
    if (!has_mask) continue;
    SYZ_ALLOC(j->mask[g], "mask", b * (a / patch) * (a / patch));
    snprintf(name, sizeof name, "mask-%d", g);
    SYZ_TRY(load(j, name, (size_t)(b * (a / patch) * (a / patch)), j->mask[g]));
    j->input.mask[g] = j->mask[g];
  }
  SYZ_REQUIRE(fscanf(f, "%lld", &a) == 1, SYZ_ERR_DATA, "%s: rows", path);
  j->n = j->config.most_rows = a;
  SYZ_ALLOC(j->group, "rows", a);
  SYZ_ALLOC(j->crop, "rows", a);
  SYZ_ALLOC(j->token, "rows", a);
  SYZ_ALLOC(j->row, "rows", a);
  for (int64_t i = 0; i < j->n; i++) {
    SYZ_REQUIRE(fscanf(f, "%lld %lld %lld", &a, &b, &c) == 3, SYZ_ERR_DATA, "%s: row %lld", path, (long long)i);
    j->group[i] = a, j->crop[i] = b, j->token[i] = c;
  }
cleanup:
  if (f) fclose(f);
  return st;
}

static syz_status save_kept(const job *j)
{
  syz_status st = SYZ_OK;
  uint8_t *kept = NULL;
  const int64_t depth = syz_model_get_config(j->m)->image.depth;
  for (int g = 0; g < j->config.groups; g++) {
    char name[32];
    const int64_t n = j->input.count[g];
    SYZ_ALLOC(kept, "kept", depth * 2 * n);
    for (int64_t b = 0; b < depth; b++)
      for (int branch = 0; branch < 2; branch++)
        for (int64_t i = 0; i < n; i++)
          kept[(b * 2 + branch) * n + i] = syz_drop_path_keeps(j->input.seed, j->input.step, b, branch, g,
                                                               j->config.drop_rate, j->input.first_crop[g] + i);
    snprintf(name, sizeof name, "kept-%d", g);
    SYZ_TRY(save(j, name, kept, (size_t)(depth * 2 * n)));
    syz_free(&kept);
  }
cleanup:
  syz_free(&kept);
  return st;
}

static syz_status run(job *j)
{
  syz_status st = SYZ_OK;
  syz_crops *crops = NULL;
  syz_projection *projection = NULL;
  float *rows = NULL, *z = NULL, *drows = NULL, *dz = NULL, *dx = NULL, *gradients = NULL;
  char path[512];
  const syz_model_config *c = syz_model_get_config(j->m);
  const int64_t d = c->image.dim, k = c->dino.bottleneck;
  SYZ_TRY(syz_crops_create(j->m, &j->config, &crops));
  SYZ_TRY(syz_projection_create(j->m, j->part, j->n, j->config.trains, &projection));
  SYZ_ALLOC(rows, "rows", j->n * d);
  SYZ_ALLOC(z, "z", j->n * k);
  syz_crops_forward(crops, &j->input);
  for (int64_t i = 0; i < j->n; i++) j->row[i] = syz_crops_row(crops, (int)j->group[i], j->crop[i], j->token[i]);
  syz_crops_rows(crops, j->n, j->row, rows);
  syz_projection_forward(projection, j->n, rows, z);
  SYZ_TRY(save(j, "rows", rows, (size_t)(j->n * d) * sizeof *rows));
  SYZ_TRY(save(j, "z", z, (size_t)(j->n * k) * sizeof *z));
  SYZ_TRY(save_kept(j));
  if (!j->config.trains) goto cleanup;
  SYZ_ALLOC(drows, "drows", j->n * d);
  SYZ_ALLOC(dx, "dx", j->n * d);
  SYZ_ALLOC(dz, "dz", j->n * k);
  SYZ_ALLOC(gradients, "gradients", syz_model_size(j->m));
  SYZ_TRY(load(j, "drows", (size_t)(j->n * d) * sizeof *drows, drows));
  SYZ_TRY(load(j, "dz", (size_t)(j->n * k) * sizeof *dz, dz));
  syz_projection_backward(projection, j->n, dz, gradients, dx);
  for (int64_t i = 0; i < j->n * d; i++) drows[i] += dx[i];
  syz_crops_backward(crops, drows, gradients, NULL, NULL);
  memcpy(syz_model_weights(j->m), gradients, (size_t)syz_model_size(j->m) * sizeof *gradients);
  snprintf(path, sizeof path, "%s-gradients.h5", j->prefix);
  SYZ_TRY(syz_model_file_write(j->world, path, j->m, "crops_driver", ""));
cleanup:
  syz_crops_destroy(&crops);
  syz_projection_destroy(&projection);
  syz_free(&rows);
  syz_free(&z);
  syz_free(&drows);
  syz_free(&dz);
  syz_free(&dx);
  syz_free(&gradients);
  return st;
}

int main(int argc, char **argv)
{
  syz_status st = SYZ_OK;
  job j = {.n = 0};
  syz_model_config config;
  syz_model_parts parts;
  SYZ_TRY(syz_comm_start(&argc, &argv, &j.world));
  SYZ_REQUIRE(argc == 4, SYZ_ERR_INPUT, "usage: crops_driver MODEL PRECISION PREFIX");
  j.prefix = argv[3];
  SYZ_TRY(syz_compute_create(strcmp(argv[2], "float32") == 0 ? SYZ_F32 : SYZ_BF16, SYZ_ENGINE_AUTO, 1, &j.compute));
  if (strcmp(argv[2], "bfloat16") == 0 && syz_compute_act(j.compute) != SYZ_BF16) {
    printf("no bfloat16 on this processor\n");
    st = (syz_status)77;
    goto cleanup;
  }
  SYZ_TRY(syz_model_file_parts(j.world, argv[1], &config, &parts));
  SYZ_TRY(syz_model_create_for(SYZ_PURPOSE_DINO, &config, j.compute, &j.m));
  SYZ_TRY(syz_model_file_read(j.world, argv[1], j.m, false));
  SYZ_TRY(read_job(&j));
  SYZ_TRY(run(&j));
cleanup:
  if (st != SYZ_OK && st != (syz_status)77) fprintf(stderr, "%s\n", syz_error_text());
  for (int g = 0; g < SYZ_GROUPS_MAX; g++) {
    syz_free(&j.planes[g]);
    syz_free(&j.mask[g]);
  }
  syz_free(&j.group);
  syz_free(&j.crop);
  syz_free(&j.token);
  syz_free(&j.row);
  syz_model_destroy(&j.m);
  syz_compute_destroy(&j.compute);
  syz_comm_finish(&j.world);
  return (int)st;
}
