/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Speed of attention, of its products by the general engine, of AdamW and of sums; not a test.
 *
 * speed_attention [f32|bf16] [SECONDS]: one thread, CPU time. Rates are in GFLOP/s of counted operations (forward 4 B N
 * T^2 Dh, backward 8 B N T^2 Dh although scores are made again) and as a fraction of the limit of one thread measured
 * between the repeats. "batched" is S = Q K^T and O = P V as batched products of the engine on the same arrays, without
 * softmax: what attention would cost at least if it were composed of them.
 */
#include <stdlib.h>
#include <time.h>

#include "check.h"
#include "syzygy/nn.h"
#include "../../src/nn/attention.h"

static double seconds(void)
{
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int ascending(const void *a, const void *b)
{
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

enum { REPEATS = 4000 };

/** First quartile: on a shared machine less noisy than the mean, less lucky than the best. */
static double quartile(double *t, int n)
{
  qsort(t, (size_t)n, sizeof *t, ascending);
  return t[n / 4];
}

static void *numbers(syz_dtype act, size_t n, uint64_t stream)
{
  void *x = syz_alloc("numbers", n, syz_dtype_size(act));
  float *f = syz_alloc("numbers", n, sizeof *f);
  syz_random r = syz_random_make(1, SYZ_RANDOM_TEST, 0, stream);
  SYZ_ASSERT(x && f);
  syz_random_fill_normal(&r, f, n);
  syz_convert_to_act(act, x, f, (int64_t)n);
  syz_free(&f);
  return x;
}

static void measure(const syz_compute *c, int64_t B, int64_t T, int64_t N, int64_t D, double duration)
{
  const syz_dtype act = syz_compute_act(c);
  const size_t n = (size_t)(B * T * N * D), size = syz_dtype_size(act);
  void *qkv = numbers(act, 3 * n, 1), *dout = numbers(act, n, 2), *out = syz_alloc("out", n, size),
       *dqkv = syz_alloc("dqkv", 3 * n, size);
  float *lse = syz_alloc("lse", (size_t)(B * N * T), sizeof *lse);
  void *s = syz_alloc("scores", (size_t)(N * T * T), size);
  static double forward[REPEATS], backward[REPEATS], products[REPEATS];
  syz_attention *a = NULL;
  syz_gemm *qk = NULL, *pv = NULL;
  SYZ_ASSERT(out && dqkv && lse && s);
  CHECK_OK(syz_attention_create(c, B, T, N, D, true, &a));
  const syz_gemm_shape scores = {.m = T,
                                 .n = T,
                                 .k = D,
                                 .transpose_b = true,
                                 .lda = 3 * N * D,
                                 .ldb = 3 * N * D,
                                 .batch = N,
                                 .stride_a = D,
                                 .stride_b = D,
                                 .stride_c = T * T,
                                 .type_ab = act,
                                 .type_c = act};
  const syz_gemm_shape values = {.m = T,
                                 .n = D,
                                 .k = T,
                                 .ldb = 3 * N * D,
                                 .ldc = N * D,
                                 .batch = N,
                                 .stride_a = T * T,
                                 .stride_b = D,
                                 .stride_c = D,
                                 .type_ab = act,
                                 .type_c = act};
  CHECK_OK(syz_gemm_create(c, &scores, &qk));
  CHECK_OK(syz_gemm_create(c, &values, &pv));
  int r = 0;
  double limit = 0.0, slice = 0.1;
  for (double start = seconds(), next = start; r < REPEATS && (seconds() - start < duration || r < 4); r++) {
    if (seconds() >= next) {
      limit = fmax(limit, syz_gemm_limit(c, slice, NULL));
      next = seconds() + 4.0 * slice;
    }
    syz_attention_forward(a, B, qkv, out, lse); /* not timed: each timed call finds the caches as attention left them */
    double t0 = seconds();
    syz_attention_forward(a, B, qkv, out, lse);
    double t1 = seconds();
    syz_attention_backward(a, B, dout, qkv, out, lse, dqkv);
    double t2 = seconds();
    for (int64_t b = 0; b < B; b++) {
      const char *q = (const char *)qkv + (size_t)(b * T * 3 * N * D) * size;
      syz_gemm_run(qk, q, q + (size_t)(N * D) * size, NULL, s);
      syz_gemm_run(pv, s, q + (size_t)(2 * N * D) * size, NULL, (char *)out + (size_t)(b * T * N * D) * size);
    }
    forward[r] = t1 - t0, backward[r] = t2 - t1, products[r] = seconds() - t2;
  }
  double flops = 4.0 * (double)(B * N * T) * (double)(T * D), f = quartile(forward, r), b = quartile(backward, r),
         p = quartile(products, r);
  printf("%4lld tokens, %2lld heads of %3lld: forward %4.0f (%4.1f %%), backward %4.0f (%4.1f %%, done %4.1f %%), "
         "batched products alone %4.0f (%4.1f %%), limit %4.0f\n",
         (long long)T, (long long)N, (long long)D, 1e-9 * flops / f, 100.0 * flops / f / limit, 2e-9 * flops / b,
         200.0 * flops / b / limit, 250.0 * flops / b / limit, 1e-9 * flops / p, 100.0 * flops / p / limit,
         1e-9 * limit);
  syz_gemm_destroy(&qk);
  syz_gemm_destroy(&pv);
  syz_attention_destroy(&a);
  syz_free(&qkv);
  syz_free(&dout);
  syz_free(&out);
  syz_free(&dqkv);
  syz_free(&lse);
  syz_free(&s);
}

/** Bandwidth of one thread: a loop that reads four arrays and writes three as AdamW does, with next to no arithmetic.
 */
static void stream(float *restrict w, float *restrict m, float *restrict v, const float *restrict g, int64_t n)
{
  for (int64_t i = 0; i < n; i++) w[i] += g[i], m[i] += g[i], v[i] += g[i];
}

static void measure_memory(double duration)
{
  const int64_t n = 16 << 20; /* 64 MiB an array: far beyond the caches */
  static double update[REPEATS], copy[REPEATS], squares[REPEATS], drop[REPEATS];
  const syz_adamw o = {.lr = 1e-4, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.05};
  float *w = numbers(SYZ_F32, (size_t)n, 1), *m = syz_alloc("m", (size_t)n, sizeof *m),
        *v = syz_alloc("v", (size_t)n, sizeof *v);
  float *g = numbers(SYZ_F32, (size_t)n, 2);
  int64_t sample[256];
  for (int i = 0; i < 256; i++) sample[i] = i;
  SYZ_ASSERT(m && v);
  int r = 0;
  volatile double sink = 0.0;
  for (double start = seconds(); r < REPEATS && (seconds() - start < duration || r < 4); r++) {
    double t0 = seconds();
    stream(w, m, v, g, n);
    double t1 = seconds();
    syz_adamw_update(&o, r + 1, 1.0, w, m, v, g, n, 1);
    double t2 = seconds();
    sink += syz_sum_of_squares(g, n, 1);
    double t3 = seconds();
    syz_dropout(w, 0.1f, 1, (uint64_t)r, sample, 0, 256, 1024);
    double t4 = seconds();
    copy[r] = t1 - t0, update[r] = t2 - t1, squares[r] = t3 - t2, drop[r] = t4 - t3;
    memset(m, 0, (size_t)n * sizeof *m);
    memset(v, 0, (size_t)n * sizeof *v);
  }
  double bytes = 28.0 * (double)n, u = quartile(update, r), k = quartile(copy, r);
  printf("AdamW %.1f GB/s, %.0f %% of a plain loop over the same arrays (%.1f); sum of squares %.1f GB/s; dropout %.2f "
         "Gelem/s\n",
         1e-9 * bytes / u, 100.0 * k / u, 1e-9 * bytes / k, 4e-9 * (double)n / quartile(squares, r),
         256.0 * 1024.0 * 1e-9 / quartile(drop, r));
  syz_free(&w);
  syz_free(&m);
  syz_free(&v);
  syz_free(&g);
}

int main(int argc, char **argv)
{
  const syz_dtype act = argc > 1 && !strcmp(argv[1], "f32") ? SYZ_F32 : SYZ_BF16;
  const double duration = argc > 2 ? atof(argv[2]) : 2.0;
  const int64_t shapes[][4] = {{4, 778, 6, 128}, {8, 144, 16, 64}, {8, 145, 16, 64}, {32, 26, 16, 64}};
  syz_compute *c = NULL;
  CHECK_OK(syz_compute_create(act, act == SYZ_BF16 ? SYZ_ENGINE_ONEDNN : SYZ_ENGINE_AUTO, 1, &c));
  if (!c) return 1;
  printf("%s, products: %s\n", syz_compute_act(c) == SYZ_F32 ? "float32" : "bfloat16", syz_compute_describe(c));
  for (int i = 0; i < 4; i++) measure(c, shapes[i][0], shapes[i][1], shapes[i][2], shapes[i][3], duration);
  measure_memory(duration);
  syz_compute_destroy(&c);
  return CHECK_RESULT();
}
