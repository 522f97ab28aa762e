/* SPDX-License-Identifier: BSD-3-Clause */
/** int8_driver OUT IN ROWS FOLDER: y = x W^T + bias in 8-bit integers, float32 in and out; x, w, bias, y are flat
 * binary files. Driven by test_int8_torch.py. */
#include <stdio.h>
#include <stdlib.h>

#include "syzygy/nn.h"

static FILE *open_in(const char *folder, const char *name, const char *mode)
{
  char path[4096];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  FILE *f = fopen(path, mode);
  if (!f) perror(path), exit(1);
  return f;
}

static float *load(const char *folder, const char *name, int64_t n)
{
  float *x = syz_alloc(name, (size_t)n, sizeof *x);
  FILE *f = open_in(folder, name, "rb");
  if (!x || fread(x, sizeof *x, (size_t)n, f) != (size_t)n) exit(1);
  fclose(f);
  return x;
}

int main(int argc, char **argv)
{
  if (argc != 5) return 2;
  const int64_t out = atoll(argv[1]), in = atoll(argv[2]), rows = atoll(argv[3]);
  syz_compute *c = NULL;
  syz_linear *l = NULL;
  if (syz_compute_create(SYZ_F32, SYZ_ENGINE_AUTO, 1, &c) != SYZ_OK) return 1;
  if (!syz_compute_has_int8(c)) return 77;
  float *x = load(argv[4], "x", rows * in), *w = load(argv[4], "w", out * in), *bias = load(argv[4], "bias", out);
  float *y = syz_alloc("y", (size_t)(rows * out), sizeof *y);
  if (!y || syz_linear_create(c, out, in, rows, false, &l) != SYZ_OK) return 1;
  syz_linear_pack(l, w, bias, NULL);
  if (syz_linear_quantise(l, w, NULL) != SYZ_OK) return 1;
  syz_linear_use_int8(l, true);
  syz_linear_forward(l, rows, x, SYZ_EPILOGUE_F32, y, NULL);
  FILE *f = open_in(argv[4], "y", "wb");
  if (fwrite(y, sizeof *y, (size_t)(rows * out), f) != (size_t)(rows * out) || fclose(f) != 0) return 1;
  return 0;
}
