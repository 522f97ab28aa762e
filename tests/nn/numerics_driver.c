/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Small pieces of nn on raw little-endian arrays in a folder: the C side of test_numerics.py.
 *
 * numerics_driver FOLDER attention f32|bf16 B T N Dh    qkv, dout -> out, lse, dqkv
 * numerics_driver FOLDER adamw N STEPS LR WD SCALE      w, g [STEPS, N] -> w_out, m_out, v_out
 * numerics_driver FOLDER l2norm ROWS WIDTH EPS          x, dy -> y, dx
 */
#include <stdlib.h>

#include "check.h"
#include "syzygy/nn.h"
#include "../../src/nn/attention.h"

static const char *folder;

static void *transfer(const char *name, void *x, size_t count, size_t size, bool is_read)
{
  char path[4096];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  if (is_read) x = syz_alloc(name, count, size);
  FILE *f = fopen(path, is_read ? "rb" : "wb");
  CHECK(f && x && (is_read ? fread(x, size, count, f) : fwrite(x, size, count, f)) == count);
  CHECK(f && !fclose(f));
  return x;
}

static void run_attention(char **arg)
{
  const syz_dtype act = strcmp(arg[0], "bf16") ? SYZ_F32 : SYZ_BF16;
  const int64_t B = atoll(arg[1]), T = atoll(arg[2]), N = atoll(arg[3]), D = atoll(arg[4]);
  const size_t n = (size_t)(B * T * N * D), size = syz_dtype_size(act), rows = (size_t)(B * N * T);
  void *qkv = transfer("qkv", NULL, 3 * n, size, true), *dout = transfer("dout", NULL, n, size, true);
  void *out = syz_alloc("out", n, size), *dqkv = syz_alloc("dqkv", 3 * n, size);
  float *lse = syz_alloc("lse", rows, sizeof *lse);
  syz_compute *c = NULL;
  syz_attention *a = NULL;
  CHECK_OK(syz_compute_create(act, SYZ_ENGINE_AUTO, 1, &c));
  if (syz_compute_act(c) != act) exit(77); /* no bfloat16 here */
  CHECK_OK(syz_attention_create(c, B, T, N, D, true, &a));
  syz_attention_forward(a, B, qkv, out, lse);
  syz_attention_backward(a, B, dout, qkv, out, lse, dqkv);
  transfer("out", out, n, size, false);
  transfer("lse", lse, rows, sizeof *lse, false);
  transfer("dqkv", dqkv, 3 * n, size, false);
  syz_attention_destroy(&a);
  syz_compute_destroy(&c);
}

static void run_adamw(char **arg)
{
  const int64_t n = atoll(arg[0]), steps = atoll(arg[1]);
  const syz_adamw o = {.lr = atof(arg[2]), .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = atof(arg[3])};
  float *w = transfer("w", NULL, (size_t)n, sizeof *w, true),
        *g = transfer("g", NULL, (size_t)(n * steps), sizeof *g, true);
  float *m = syz_alloc("m", (size_t)n, sizeof *m), *v = syz_alloc("v", (size_t)n, sizeof *v);
  for (int64_t s = 0; s < steps; s++) syz_adamw_update(&o, s + 1, atof(arg[4]), w, m, v, g + s * n, n, 2);
  transfer("w_out", w, (size_t)n, sizeof *w, false);
  transfer("m_out", m, (size_t)n, sizeof *m, false);
  transfer("v_out", v, (size_t)n, sizeof *v, false);
}

static void run_l2norm(char **arg)
{
  const int64_t rows = atoll(arg[0]), width = atoll(arg[1]);
  const float eps = (float)atof(arg[2]);
  const size_t n = (size_t)(rows * width);
  float *x = transfer("x", NULL, n, sizeof *x, true), *dy = transfer("dy", NULL, n, sizeof *dy, true);
  float *y = syz_alloc("y", n, sizeof *y), *dx = syz_alloc("dx", n, sizeof *dx),
        *norm = syz_alloc("norm", (size_t)rows, sizeof *norm);
  syz_l2norm_forward(y, norm, x, eps, rows, width);
  syz_l2norm_backward(dx, dy, y, norm, eps, rows, width);
  transfer("y", y, n, sizeof *y, false);
  transfer("dx", dx, n, sizeof *dx, false);
}

int main(int argc, char **argv)
{
  const struct {
    const char *name;
    int arguments;
    void (*run)(char **);
  } modes[] = {{"attention", 5, run_attention}, {"adamw", 5, run_adamw}, {"l2norm", 3, run_l2norm}};
  for (int i = 0; argc > 2 && i < 3; i++) {
    if (strcmp(argv[2], modes[i].name) || argc != 3 + modes[i].arguments) continue;
    folder = argv[1];
    modes[i].run(argv + 3);
    return CHECK_RESULT();
  }
  fprintf(stderr, "usage: see numerics_driver.c\n");
  return 2;
}
