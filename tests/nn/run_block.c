/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * One transformer block, forward and backward, on raw float32 arrays: the C side of test_block.py.
 *
 * run_block IN OUT f32|bf16 ENGINE THREADS BATCH TOKENS DIM HEADS HIDDEN LAYERSCALE EPS
 * IN:  parameters in the order of syz_block_parameters (ls1, ls2 only with LAYERSCALE 1), x [B, T, D], dy [B, T, D].
 * OUT: y of training, y of inference, dx, gradients in the same order (two backward passes' sum, halved).
 */
#include <stdio.h>
#include <stdlib.h>

#include "check.h"
#include "syzygy/nn.h"

static int64_t parameter_sizes(const syz_block_config *c, int64_t size[14]) {
  const int64_t d = c->dim, h = c->hidden, ls = c->has_layerscale ? d : 0;
  const int64_t s[14] = {d, d, 3 * d * d, 3 * d, d * d, d, ls, d, d, h * d, h, d * h, d, ls};
  int64_t total = 0;
  for (int i = 0; i < 14; i++) total += size[i] = s[i];
  return total;
}

static syz_block_parameters views(const int64_t size[14], float *p) {
  float *at[14];
  for (int i = 0; i < 14; i++) {
    at[i] = size[i] ? p : NULL;
    p += size[i];
  }
  return (syz_block_parameters){at[0], at[1], at[2], at[3], at[4], at[5], at[6], at[7], at[8], at[9], at[10], at[11], at[12], at[13]};
}

int main(int argc, char **argv) {
  if (argc != 13) {
    fprintf(stderr, "usage: see run_block.c\n");
    return 2;
  }
  const syz_dtype act = strcmp(argv[3], "bf16") ? SYZ_F32 : SYZ_BF16;
  const syz_engine engine = (syz_engine)atoi(argv[4]);
  const int64_t batch = atoll(argv[6]), tokens = atoll(argv[7]);
  const syz_block_config config = {.dim = atoll(argv[8]), .heads = atoll(argv[9]), .hidden = atoll(argv[10]),
                                   .has_layerscale = atoi(argv[11]) != 0, .eps = (float)atof(argv[12])};
  int64_t size[14];
  const int64_t n = parameter_sizes(&config, size), rows = batch * tokens, stream = rows * config.dim;
  float *in = syz_alloc("in", (size_t)(n + 2 * stream), sizeof(float)), *gradient = syz_alloc("gradient", (size_t)n, sizeof(float));
  float *y = syz_alloc("y", (size_t)stream, sizeof(float)), *y2 = syz_alloc("y", (size_t)stream, sizeof(float));
  float *dx = syz_alloc("dx", (size_t)stream, sizeof(float));
  syz_compute *compute = NULL;
  syz_block *block = NULL;
  FILE *f = fopen(argv[1], "rb");
  CHECK(f && fread(in, sizeof(float), (size_t)(n + 2 * stream), f) == (size_t)(n + 2 * stream));
  if (f) fclose(f);
  if (syz_compute_create(act, engine, atoi(argv[5]), &compute) == SYZ_ERR_INPUT) {
    fprintf(stderr, "%s\n", syz_error_text());
    return 77; /* this build or processor lacks the engine */
  }
  CHECK(compute != NULL);
  if (check_failures) return CHECK_RESULT();
  CHECK_EQ(syz_compute_act(compute), act);
  /* One sample more than is used: batch and max_batch must not be mixed up. */
  CHECK_OK(syz_block_create(compute, &config, batch + 1, tokens, true, &block));
  if (check_failures) return CHECK_RESULT();
  void *saved = syz_alloc("saved", syz_block_saved_bytes(block, batch), 1);
  void *workspace = syz_alloc("workspace", syz_block_workspace_bytes(block, batch), 1);
  const syz_block_parameters w = views(size, in), g = views(size, gradient);
  syz_block_pack(block, &w);
  const int64_t before = syz_memory_get().allocations;
  memcpy(y, in + n, (size_t)stream * sizeof(float));
  memcpy(y2, y, (size_t)stream * sizeof(float));
  syz_block_forward(block, batch, y2, NULL, workspace);
  syz_block_forward(block, batch, y, saved, workspace);
  for (int pass = 0; pass < 2; pass++) {
    memcpy(dx, in + n + stream, (size_t)stream * sizeof(float));
    syz_block_backward(block, batch, dx, saved, &w, &g, workspace);
  }
  for (int64_t i = 0; i < n; i++) gradient[i] *= 0.5f;
  CHECK_EQ(syz_memory_get().allocations, before);
  f = fopen(argv[2], "wb");
  CHECK(f && fwrite(y, sizeof(float), (size_t)stream, f) == (size_t)stream);
  CHECK(f && fwrite(y2, sizeof(float), (size_t)stream, f) == (size_t)stream);
  CHECK(f && fwrite(dx, sizeof(float), (size_t)stream, f) == (size_t)stream);
  CHECK(f && fwrite(gradient, sizeof(float), (size_t)n, f) == (size_t)n);
  if (f) fclose(f);
  syz_block_destroy(&block);
  syz_compute_destroy(&compute);
  syz_free(&saved);
  syz_free(&workspace);
  syz_free(&in);
  syz_free(&gradient);
  syz_free(&y);
  syz_free(&y2);
  syz_free(&dx);
  CHECK_EQ(syz_memory_get().live_blocks, 0);
  return CHECK_RESULT();
}
