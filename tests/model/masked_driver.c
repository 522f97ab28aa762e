/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Runs masked spectrum modelling on raw arrays for test_masked_torch.py: a model file in, predictions and gradients
 * out.
 *
 *   masked_driver MODEL float32|bfloat16 N ROWS GOOD PREFIX
 *
 * Reads PREFIX-flux.bin ([N, 7781] float32), PREFIX-rows.bin ([ROWS] int64, ascending b * T + t), with GOOD 1
 * PREFIX-good.bin ([N, 7781] uint8), and PREFIX-slope.bin ([ROWS, section + 2] float32, gradients of the predictions).
 * Writes PREFIX-pieces.bin ([N, T, section + 2]), PREFIX-prediction.bin ([ROWS, section + 2]) and PREFIX-gradients.h5,
 * a model file.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "syzygy/model.h"

static syz_status load(const char *prefix, const char *name, size_t bytes, void *out)
{
  syz_status st = SYZ_OK;
  char path[512];
  snprintf(path, sizeof path, "%s-%s.bin", prefix, name);
  FILE *f = fopen(path, "rb");
  SYZ_REQUIRE(f, SYZ_ERR_DATA, "no %s", path);
  const size_t got = fread(out, 1, bytes, f);
  fclose(f);
  SYZ_REQUIRE(got == bytes, SYZ_ERR_DATA, "%s holds %zu of %zu bytes", path, got, bytes);
cleanup:
  return st;
}

static syz_status save(const char *prefix, const char *name, size_t bytes, const void *x)
{
  syz_status st = SYZ_OK;
  char path[512];
  snprintf(path, sizeof path, "%s-%s.bin", prefix, name);
  FILE *f = fopen(path, "wb");
  SYZ_REQUIRE(f && fwrite(x, 1, bytes, f) == bytes && fclose(f) == 0, SYZ_ERR_WRITE, "cannot write %s", path);
cleanup:
  return st;
}

int main(int argc, char **argv)
{
  syz_status st = SYZ_OK;
  syz_comm *world = NULL;
  syz_compute *compute = NULL;
  syz_model *m = NULL;
  syz_masked *k = NULL;
  syz_model_config config;
  syz_model_parts parts;
  float *flux = NULL, *pieces = NULL, *prediction = NULL, *slope = NULL, *gradients = NULL;
  uint8_t *good = NULL;
  int64_t *row = NULL;
  char path[512];
  SYZ_TRY(syz_comm_start(&argc, &argv, &world));
  SYZ_REQUIRE(argc == 7, SYZ_ERR_INPUT, "usage: masked_driver MODEL PRECISION N ROWS GOOD PREFIX");
  const int64_t n = strtoll(argv[3], NULL, 10), rows = strtoll(argv[4], NULL, 10);
  const bool has_good = strcmp(argv[5], "1") == 0;
  const char *prefix = argv[6];
  SYZ_TRY(syz_compute_create(strcmp(argv[2], "float32") == 0 ? SYZ_F32 : SYZ_BF16, SYZ_ENGINE_AUTO, 1, &compute));
  if (strcmp(argv[2], "bfloat16") == 0 && syz_compute_act(compute) != SYZ_BF16) {
    printf("no bfloat16 on this processor\n");
    st = (syz_status)77;
    goto cleanup;
  }
  SYZ_TRY(syz_model_file_parts(world, argv[1], &config, &parts));
  SYZ_TRY(syz_model_create_for(SYZ_PURPOSE_MASKED, &config, compute, &m));
  SYZ_TRY(syz_model_file_read(world, argv[1], m, false));
  const int64_t tokens = syz_model_tokens(&config, SYZ_SPECTRUM), width = config.spectrum.section + 2;
  SYZ_ALLOC(flux, "flux", n * SYZ_TOWER_PIXELS);
  SYZ_ALLOC(good, "good", n * SYZ_TOWER_PIXELS);
  SYZ_ALLOC(pieces, "pieces", n * tokens * width);
  SYZ_ALLOC(row, "rows", rows);
  SYZ_ALLOC(prediction, "prediction", rows * width);
  SYZ_ALLOC(slope, "slope", rows * width);
  SYZ_ALLOC(gradients, "gradients", syz_model_size(m));
  SYZ_TRY(load(prefix, "flux", (size_t)(n * SYZ_TOWER_PIXELS) * sizeof *flux, flux));
  if (has_good) SYZ_TRY(load(prefix, "good", (size_t)(n * SYZ_TOWER_PIXELS), good));
  SYZ_TRY(load(prefix, "rows", (size_t)rows * sizeof *row, row));
  SYZ_TRY(load(prefix, "slope", (size_t)(rows * width) * sizeof *slope, slope));
  SYZ_TRY(syz_masked_create(m, n, rows, true, &k));
  for (int64_t i = 0; i < n; i++)
    syz_masked_pieces(&config, flux + i * SYZ_TOWER_PIXELS, has_good ? good + i * SYZ_TOWER_PIXELS : NULL,
                      pieces + i * tokens * width, NULL);
  syz_masked_forward(k, n, pieces, rows, row, prediction);
  SYZ_TRY(save(prefix, "pieces", (size_t)(n * tokens * width) * sizeof *pieces, pieces));
  SYZ_TRY(save(prefix, "prediction", (size_t)(rows * width) * sizeof *prediction, prediction));
  syz_masked_backward(k, slope, gradients, NULL, NULL);
  memcpy(syz_model_weights(m), gradients, (size_t)syz_model_size(m) * sizeof *gradients);
  snprintf(path, sizeof path, "%s-gradients.h5", prefix);
  SYZ_TRY(syz_model_file_write(world, path, m, "masked_driver", ""));
cleanup:
  if (st != SYZ_OK && st != (syz_status)77) fprintf(stderr, "%s\n", syz_error_text());
  syz_masked_destroy(&k);
  syz_model_destroy(&m);
  syz_compute_destroy(&compute);
  syz_free(&flux);
  syz_free(&good);
  syz_free(&pieces);
  syz_free(&row);
  syz_free(&prediction);
  syz_free(&slope);
  syz_free(&gradients);
  syz_comm_finish(&world);
  return (int)st;
}
