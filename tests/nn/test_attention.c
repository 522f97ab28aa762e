/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Attention against a plain double loop, for every kernel of this processor and every awkward size; its laws; its
 * gradient.
 *
 * Tolerances, as relative L2 error of a whole array. float32: 778 summands of float32 give 7e-7 (measured), the limit
 * is 3e-6. bfloat16: one rounding to 8 bits is 1.7e-3 rms; P or dS and the result are rounded, 2.4e-3 measured, the
 * limit is 6e-3 (and more for tiny heads, see limit_of). A fault of 1 % in the reference must exceed every limit:
 * test_has_teeth.
 */
#include <stdlib.h>

#include "attention.h"
#include "check.h"
#include "syzygy/numbers.h"

#ifdef __x86_64__
/** src/nn/attention_amx.c on tiles in plain C. */
extern const attention_kernel emulated_attention;
#endif

static const double limit_f32 = 3e-6, limit_bf16 = 6e-3;

typedef struct problem {
  int64_t B, T, N, D;
  syz_dtype act;
  size_t size, n; /* bytes of an element; elements of out */
  void *qkv, *out, *dout, *dqkv;
  float *lse;
} problem;

static float value(const problem *p, const void *x, size_t i)
{
  return p->act == SYZ_F32 ? ((const float *)x)[i] : syz_bf16_to_f32(((const syz_bf16 *)x)[i]);
}

static void set_value(const problem *p, void *x, size_t i, float v)
{
  if (p->act == SYZ_F32)
    ((float *)x)[i] = v;
  else
    ((syz_bf16 *)x)[i] = syz_bf16_from_f32(v);
}

static problem make_problem(int64_t B, int64_t T, int64_t N, int64_t D, syz_dtype act, uint64_t seed, double amplitude)
{
  problem p = {.B = B, .T = T, .N = N, .D = D, .act = act, .size = syz_dtype_size(act), .n = (size_t)(B * T * N * D)};
  syz_random r = syz_random_make(seed, SYZ_RANDOM_TEST, 0, 0);
  p.qkv = syz_alloc("test", 3 * p.n, p.size), p.dqkv = syz_alloc("test", 3 * p.n + 64, p.size);
  p.out = syz_alloc("test", p.n + 64, p.size), p.dout = syz_alloc("test", p.n, p.size);
  p.lse = syz_alloc("test", (size_t)(B * N * T), sizeof *p.lse);
  SYZ_ASSERT(p.qkv && p.dqkv && p.out && p.dout && p.lse);
  for (size_t i = 0; i < 3 * p.n; i++) set_value(&p, p.qkv, i, (float)(amplitude * syz_random_normal(&r, (uint32_t)i)));
  for (size_t i = 0; i < p.n; i++) set_value(&p, p.dout, i, (float)syz_random_normal(&r, (uint32_t)(3 * p.n + i)));
  /* Guards: what stands behind the arrays must survive, what is in them must be overwritten. */
  memset(p.out, 0xff, (p.n + 64) * p.size);
  memset(p.dqkv, 0xff, (3 * p.n + 64) * p.size);
  return p;
}

static void free_problem(problem *p)
{
  syz_free(&p->qkv);
  syz_free(&p->dqkv);
  syz_free(&p->out);
  syz_free(&p->dout);
  syz_free(&p->lse);
}

static void run(const problem *p, const attention_kernel *kernel, int threads, bool with_backward)
{
  syz_attention *a = NULL;
  CHECK_OK(syz_attention_create_for(p->act, threads, kernel, p->B, p->T, p->N, p->D, with_backward, &a));
  int64_t before = syz_memory_get().allocations;
  syz_attention_forward(a, p->B, p->qkv, p->out, p->lse);
  if (with_backward) syz_attention_backward(a, p->B, p->dout, p->qkv, p->out, p->lse, p->dqkv);
  CHECK_EQ(syz_memory_get().allocations, before);
  syz_attention_destroy(&a);
  CHECK(a == NULL);
}

/** The definition, in double. dqkv may be NULL. `fault` multiplies the scale of the scores (1: none). */
static void reference(const problem *p, double *out, double *lse, double *dqkv, double fault)
{
  const int64_t T = p->T, N = p->N, D = p->D;
  double *prob = malloc((size_t)T * sizeof *prob), *ds = malloc((size_t)T * sizeof *ds),
         *q = malloc((size_t)(3 * T * D) * sizeof *q);
  const double scale = fault / sqrt((double)D);
  SYZ_ASSERT(prob && ds && q);
  double *k = q + T * D, *v = k + T * D;
  for (int64_t b = 0; b < p->B; b++)
    for (int64_t h = 0; h < N; h++) {
      double *dq = dqkv ? dqkv + (b * T * 3 * N + h) * D : NULL, *dk = dq + N * D, *dv = dk + N * D;
      const int64_t in = 3 * N * D;
      for (int64_t t = 0; t < T; t++)
        for (int64_t d = 0; d < D; d++)
          for (int64_t w = 0; w < 3; w++) {
            size_t at = (size_t)(((b * T + t) * 3 * N + w * N + h) * D + d);
            q[w * T * D + t * D + d] = (double)value(p, p->qkv, at);
            if (dqkv) dqkv[at] = 0.0;
          }
      for (int64_t t = 0; t < T; t++) {
        double max = -INFINITY, sum = 0.0, delta = 0.0, *o = out + ((b * T + t) * N + h) * D;
        for (int64_t j = 0; j < T; j++) {
          double s = 0.0;
          for (int64_t d = 0; d < D; d++) s += q[t * D + d] * k[j * D + d];
          prob[j] = s * scale;
          max = fmax(max, prob[j]);
        }
        for (int64_t j = 0; j < T; j++) sum += prob[j] = exp(prob[j] - max);
        lse[(b * N + h) * T + t] = max + log(sum);
        for (int64_t d = 0; d < D; d++) o[d] = 0.0;
        for (int64_t j = 0; j < T; j++) {
          prob[j] /= sum;
          for (int64_t d = 0; d < D; d++) o[d] += prob[j] * v[j * D + d];
        }
        if (!dqkv) continue;
        for (int64_t j = 0; j < T; j++) {
          ds[j] = 0.0;
          for (int64_t d = 0; d < D; d++) {
            double g = (double)value(p, p->dout, (size_t)(((b * T + t) * N + h) * D + d));
            ds[j] += g * v[j * D + d];
            dv[j * in + d] += prob[j] * g;
          }
          delta += prob[j] * ds[j];
        }
        for (int64_t j = 0; j < T; j++) {
          double g = prob[j] * (ds[j] - delta) * scale;
          for (int64_t d = 0; d < D; d++) {
            dq[t * in + d] += g * k[j * D + d];
            dk[j * in + d] += g * q[t * D + d];
          }
        }
      }
    }
  free(prob);
  free(ds);
  free(q);
}

/** Relative L2 distance of elements i of x with (i / inner) % parts == part. An expected norm that is itself rounding
 * (one token has no gradient by q and k) counts as 1. */
static double distance(const problem *p, const void *x, const double *expected, size_t n, size_t inner, size_t parts,
                       size_t part)
{
  double difference = 0.0, norm = 0.0;
  size_t count = 0;
  for (size_t i = 0; i < n; i++) {
    if (i / inner % parts != part) continue;
    double d = (double)value(p, x, i) - expected[i];
    difference += d * d, norm += expected[i] * expected[i], count++;
  }
  return sqrt(difference) / (norm > 1e-20 * (double)count ? sqrt(norm) : sqrt((double)count));
}

/** Worst distance over out, dq, dk, dv; lse is checked against its own rounding. */
static double compare(const problem *p, double fault)
{
  double *out = malloc(p->n * sizeof *out), *grad = malloc(3 * p->n * sizeof *grad), worst;
  double *lse = malloc((size_t)(p->B * p->N * p->T) * sizeof *lse);
  SYZ_ASSERT(out && grad && lse);
  reference(p, out, lse, grad, fault);
  worst = distance(p, p->out, out, p->n, 1, 1, 0);
  for (size_t w = 0; w < 3; w++) worst = fmax(worst, distance(p, p->dqkv, grad, 3 * p->n, (size_t)(p->N * p->D), 3, w));
  if (fault == 1.0)
    for (int64_t i = 0; i < p->B * p->N * p->T; i++) CHECK_NEAR((double)p->lse[i], lse[i], 2e-6 * (1.0 + fabs(lse[i])));
  for (size_t i = 0; i < 64 * p->size; i++) {
    CHECK(((unsigned char *)p->out)[p->n * p->size + i] == 0xff);
    CHECK(((unsigned char *)p->dqkv)[3 * p->n * p->size + i] == 0xff);
  }
  free(out);
  free(grad);
  free(lse);
  return worst;
}

/** In bfloat16 the rounding of out enters D, and dP - D cancels; a head of few numbers does not average that out. */
static double limit_of(const problem *p)
{
  if (p->act == SYZ_F32) return limit_f32;
  return p->T * p->D < 200 ? 5.0 * limit_bf16 : limit_bf16;
}

typedef struct engine {
  const attention_kernel *kernel;
  syz_dtype act;
} engine;
static engine engines[8];
static int engine_count;

/** Every kernel that this processor runs, on every storage type that it can serve. */
static void find_engines(void)
{
  const attention_kernel *all[8];
  int n = 0;
#ifdef __x86_64__
  all[n++] = &emulated_attention;
#endif
  for (int i = 0; i < syz_attention_kernels; i++) all[n++] = syz_attention_table[i];
  for (int i = 0; i < n; i++) {
    if (!all[i]->is_supported()) {
      fprintf(stderr, "kernel %s: not on this processor\n", all[i]->name);
      continue;
    }
    engines[engine_count++] = (engine){all[i], SYZ_BF16};
    if (all[i]->type == SYZ_F32) engines[engine_count++] = (engine){all[i], SYZ_F32};
  }
}

static void test_sizes(void)
{
  const int64_t tokens[] = {1, 2, 15, 16, 17, 26, 31, 33, 47, 48, 49, 63, 145, 265, 289},
                dims[] = {1, 3, 4, 8, 16, 24, 32, 64, 80, 128};
  for (int e = 0; e < engine_count; e++) {
    double worst = 0.0;
    for (size_t t = 0; t < sizeof tokens / sizeof *tokens; t++)
      for (size_t d = 0; d < sizeof dims / sizeof *dims; d++) {
        if (tokens[t] > 100 && dims[d] != 3 && dims[d] != 24 && dims[d] != 64) continue;
        problem p = make_problem(1, tokens[t], 2, dims[d], engines[e].act, (uint64_t)(tokens[t] * 1000 + dims[d]), 1.0);
        run(&p, engines[e].kernel, 1, true);
        double error = compare(&p, 1.0);
        if (!(error < limit_of(&p)))
          fprintf(stderr, "%s T %lld Dh %lld:\n", engines[e].kernel->name, (long long)p.T, (long long)p.D);
        CHECK_LT(error, limit_of(&p));
        worst = fmax(worst, error);
        free_problem(&p);
      }
    fprintf(stderr, "%s in %s: worst error %.2g\n", engines[e].kernel->name,
            engines[e].act == SYZ_F32 ? "float32" : "bfloat16", worst);
  }
}

/** The same bits from tiles in hardware and in plain C. */
static void test_emulation(void)
{
#ifdef __x86_64__
  const int64_t size[][2] = {{1, 8}, {26, 64}, {49, 24}, {145, 64}, {300, 33}};
  if (!syz_attention_amx.is_supported()) return; /* find_engines has said so */
  for (size_t i = 0; i < sizeof size / sizeof *size; i++) {
    problem p = make_problem(2, size[i][0], 2, size[i][1], SYZ_BF16, 41, 1.0),
            e = make_problem(2, size[i][0], 2, size[i][1], SYZ_BF16, 41, 1.0);
    run(&p, &syz_attention_amx, 1, true);
    run(&e, &emulated_attention, 1, true);
    CHECK(!memcmp(p.out, e.out, p.n * p.size));
    CHECK(!memcmp(p.dqkv, e.dqkv, 3 * p.n * p.size));
    CHECK(!memcmp(p.lse, e.lse, (size_t)(p.B * p.N * p.T) * sizeof *p.lse));
    free_problem(&p);
    free_problem(&e);
  }
#endif
}

static void test_spectrum_size(void)
{
  for (int act = SYZ_F32; act <= SYZ_BF16; act++) {
    problem p = make_problem(1, 778, 1, 128, (syz_dtype)act, 778, 1.0);
    run(&p, syz_attention_kernel((syz_dtype)act), 1, true);
    CHECK_LT(compare(&p, 1.0), limit_of(&p));
    free_problem(&p);
  }
}

static void test_has_teeth(void)
{
  for (int e = 0; e < engine_count; e++) {
    problem p = make_problem(1, 49, 2, 64, engines[e].act, 5, 1.0);
    run(&p, engines[e].kernel, 1, true);
    CHECK_LT(compare(&p, 1.0), limit_of(&p));
    CHECK_GT(compare(&p, 1.01), limit_of(&p));
    free_problem(&p);
  }
}

/** <w, J u> by central differences against <J' w, u>; u moves q, k or v alone, so that each gradient is held to it. */
static void test_gradient(void)
{
  const double step = 2e-2, limit = 2e-5; /* measured 1e-6: float32 sums of 2 x 49 x 48 terms over a step of 2e-2 */
  const int64_t sizes[][2] = {{17, 16}, {5, 4}, {49, 24}};
  double worst = 0.0, least_faulty = INFINITY;
  for (int s = 0; s < 3; s++)
    for (size_t part = 0; part < 3; part++) {
      problem p = make_problem(2, sizes[s][0], 2, sizes[s][1], SYZ_F32, 31, 0.7);
      run(&p, syz_attention_kernel(SYZ_F32), 1, true);
      size_t inner = (size_t)(p.N * p.D), n = p.n;
      float *u = syz_alloc("test", 3 * n, sizeof *u), *x = p.qkv, *base = syz_alloc("test", 3 * n, sizeof *u),
            *grad = p.dqkv;
      syz_random r = syz_random_make(7, SYZ_RANDOM_TEST, 1, part);
      double along = 0.0, size = 0.0, value_at[4];
      /* Along the gradient plus noise: a random direction alone may be nearly orthogonal and lose digits. */
      for (size_t i = 0; i < 3 * n; i++)
        if (i / inner % 3 == part) size += (double)grad[i] * (double)grad[i];
      for (size_t i = 0; i < 3 * n; i++) {
        if (i / inner % 3 == part)
          u[i] = (float)((double)grad[i] * sqrt((double)n / size) + 0.5 * syz_random_normal(&r, (uint32_t)i));
        along += (double)u[i] * (double)grad[i];
      }
      memcpy(base, x, 3 * n * sizeof *x);
      /* Five points: the error is of fourth order in the step. */
      const double at[4] = {-2.0, -1.0, 1.0, 2.0};
      for (int k = 0; k < 4; k++) {
        for (size_t i = 0; i < 3 * n; i++) x[i] = base[i] + (float)(at[k] * step) * u[i];
        run(&p, syz_attention_kernel(SYZ_F32), 1, false);
        value_at[k] = 0.0;
        for (size_t i = 0; i < n; i++) value_at[k] += (double)((float *)p.out)[i] * (double)((float *)p.dout)[i];
      }
      double slope = (8.0 * (value_at[2] - value_at[1]) - (value_at[3] - value_at[0])) / (12.0 * step);
      worst = fmax(worst, fabs(slope - along) / fabs(slope));
      least_faulty = fmin(least_faulty, fabs(slope - 1.01 * along) / fabs(slope));
      CHECK_NEAR(along / slope, 1.0, limit);
      CHECK(fabs(1.01 * along / slope - 1.0) > limit);
      syz_free(&u);
      syz_free(&base);
      free_problem(&p);
    }
  fprintf(stderr, "gradient: worst %.2g, with 1 %% fault at least %.2g, limit %.2g\n", worst, least_faulty, limit);
}

static void test_commutes_with_order(void)
{
  for (int e = 0; e < engine_count; e++) {
    problem p = make_problem(1, 63, 2, 32, engines[e].act, 11, 1.0),
            s = make_problem(1, 63, 2, 32, engines[e].act, 11, 1.0);
    const size_t in = (size_t)(3 * p.N * p.D), row = (size_t)(p.N * p.D);
    for (int64_t t = 0; t < p.T; t++) {
      int64_t from = (t * 10 + 3) % p.T; /* 10 and 63 have no common factor */
      memcpy((char *)s.qkv + (size_t)t * in * p.size, (char *)p.qkv + (size_t)from * in * p.size, in * p.size);
      memcpy((char *)s.dout + (size_t)t * row * p.size, (char *)p.dout + (size_t)from * row * p.size, row * p.size);
    }
    run(&p, engines[e].kernel, 1, true);
    run(&s, engines[e].kernel, 1, true);
    double worst = 0.0, scale = 0.0;
    for (int64_t t = 0; t < p.T; t++) {
      size_t from = (size_t)((t * 10 + 3) % p.T), to = (size_t)t;
      for (size_t d = 0; d < row; d++) {
        worst = fmax(worst, fabs((double)value(&s, s.out, to * row + d) - (double)value(&p, p.out, from * row + d)));
        scale = fmax(scale, fabs((double)value(&p, p.out, from * row + d)));
      }
      for (size_t d = 0; d < in; d++)
        worst = fmax(worst, fabs((double)value(&s, s.dqkv, to * in + d) - (double)value(&p, p.dqkv, from * in + d)));
    }
    CHECK_LT(worst, scale * (p.act == SYZ_F32 ? 3e-6 : 2e-2));
    free_problem(&p);
    free_problem(&s);
  }
}

static void test_zero_queries_mean(void)
{
  for (int e = 0; e < engine_count; e++) {
    problem p = make_problem(1, 33, 2, 24, engines[e].act, 12, 1.0);
    const int64_t row = p.N * p.D;
    for (int64_t t = 0; t < p.T; t++)
      for (int64_t d = 0; d < row; d++) set_value(&p, p.qkv, (size_t)(t * 3 * row + d), 0.0f);
    run(&p, engines[e].kernel, 1, false);
    for (int64_t d = 0; d < row; d++) {
      double mean = 0.0;
      for (int64_t t = 0; t < p.T; t++)
        mean += (double)value(&p, p.qkv, (size_t)(t * 3 * row + 2 * row + d)) / (double)p.T;
      for (int64_t t = 0; t < p.T; t++)
        CHECK_NEAR((double)value(&p, p.out, (size_t)(t * row + d)), mean,
                   p.act == SYZ_F32 ? 1e-6 : 4e-3 * fabs(mean) + 1e-5);
    }
    for (int64_t i = 0; i < p.N * p.T; i++) CHECK_NEAR((double)p.lse[i], log((double)p.T), 1e-6);
    free_problem(&p);
  }
}

/** Nothing is read from scratch that the call has not written, and nothing is written beyond it: scratch of NaN changes
 * no bit. */
static void test_scratch(void)
{
  const int64_t sizes[][2] = {{1, 1}, {2, 3}, {15, 7}, {17, 24}, {33, 5}, {49, 80}, {145, 64}, {300, 9}};
  const size_t guard = 4096;
  for (int e = 0; e < engine_count; e++)
    for (size_t i = 0; engines[e].act == engines[e].kernel->type && i < sizeof sizes / sizeof *sizes; i++) {
      problem p = make_problem(1, sizes[i][0], 1, sizes[i][1], engines[e].act, 19, 1.0);
      problem s = make_problem(1, p.T, 1, p.D, p.act, 19, 1.0);
      run(&p, engines[e].kernel, 1, true);
      size_t bytes = engines[e].kernel->scratch_bytes(p.T, p.D, true), third = (size_t)p.D * p.size;
      unsigned char *scratch = syz_alloc("test", bytes + guard, 1);
      SYZ_ASSERT(scratch);
      attention_head h = {.tokens = p.T,
                          .dim = p.D,
                          .q = s.qkv,
                          .k = (char *)s.qkv + third,
                          .v = (char *)s.qkv + 2 * third,
                          .in = 3 * p.D,
                          .out = s.out,
                          .row = p.D,
                          .lse = s.lse,
                          .dout = s.dout,
                          .dq = s.dqkv,
                          .dk = (char *)s.dqkv + third,
                          .dv = (char *)s.dqkv + 2 * third};
      memset(scratch, 0xff, bytes + guard);
      engines[e].kernel->forward(&h, scratch);
      memset(scratch, 0xff, bytes);
      engines[e].kernel->backward(&h, scratch);
      CHECK(!memcmp(s.out, p.out, p.n * p.size));
      CHECK(!memcmp(s.lse, p.lse, (size_t)p.T * sizeof *p.lse));
      CHECK(!memcmp(s.dqkv, p.dqkv, 3 * p.n * p.size));
      for (size_t k = bytes; k < bytes + guard; k++) CHECK(scratch[k] == 0xff);
      syz_free(&scratch);
      free_problem(&p);
      free_problem(&s);
    }
}

/** A sample's bits are the same alone, at another place of a larger batch, and on more threads. */
static void test_bits(int64_t B, int64_t T, int64_t N, int64_t D)
{
  for (int e = 0; e < engine_count; e++) {
    problem p = make_problem(B, T, N, D, engines[e].act, 13, 1.0);
    run(&p, engines[e].kernel, 1, true);
    const size_t row = (size_t)(T * N * D) * p.size, lse = (size_t)(N * T);
    for (int threads = 1; threads <= 3; threads++) {
      problem s = make_problem(B, T, N, D, engines[e].act, 14, 1.0);
      for (size_t b = 0; b < (size_t)B; b++) { /* the samples in reverse order */
        memcpy((char *)s.qkv + b * 3 * row, (char *)p.qkv + ((size_t)B - 1 - b) * 3 * row, 3 * row);
        memcpy((char *)s.dout + b * row, (char *)p.dout + ((size_t)B - 1 - b) * row, row);
      }
      run(&s, engines[e].kernel, threads, true);
      for (size_t b = 0; b < (size_t)B; b++) {
        CHECK(!memcmp((char *)s.out + b * row, (char *)p.out + ((size_t)B - 1 - b) * row, row));
        CHECK(!memcmp((char *)s.dqkv + b * 3 * row, (char *)p.dqkv + ((size_t)B - 1 - b) * 3 * row, 3 * row));
        CHECK(!memcmp(s.lse + b * lse, p.lse + ((size_t)B - 1 - b) * lse, lse * sizeof *p.lse));
      }
      free_problem(&s);
    }
    problem one = make_problem(1, T, N, D, engines[e].act, 15, 1.0);
    memcpy(one.qkv, (char *)p.qkv + 2 * 3 * row, 3 * row);
    memcpy(one.dout, (char *)p.dout + 2 * row, row);
    run(&one, engines[e].kernel, 2, true);
    CHECK(!memcmp(one.out, (char *)p.out + 2 * row, row));
    CHECK(!memcmp(one.dqkv, (char *)p.dqkv + 2 * 3 * row, 3 * row));
    free_problem(&one);
    free_problem(&p);
  }
}

/** Scores up to 1e4 and beyond: no NaN, and each output lies between the smallest and largest value of its column. */
static void test_extremes(void)
{
  for (int e = 0; e < engine_count; e++)
    for (int trial = 0; trial < 40; trial++) {
      const int64_t sizes[][2] = {{1, 4}, {17, 16}, {49, 8}, {289, 4}};
      double amplitude = pow(10.0, -4.0 + 6.5 * trial / 39.0); /* scores: its square times sqrt(Dh) */
      problem p = make_problem(1, sizes[trial % 4][0], 2, sizes[trial % 4][1], engines[e].act, (uint64_t)(100 + trial),
                               amplitude);
      if (trial % 3 == 0) /* all scores far below zero: q and k point against each other */
        for (size_t i = 0; i < 3 * p.n; i++) {
          size_t w = i / (size_t)(p.N * p.D) % 3;
          if (w < 2) set_value(&p, p.qkv, i, (float)(w ? -amplitude : amplitude) * (1.0f + 0.01f * (float)(i % 7)));
        }
      run(&p, engines[e].kernel, 1, true);
      const int64_t row = p.N * p.D;
      for (int64_t d = 0; d < row; d++) {
        double low = INFINITY, high = -INFINITY;
        for (int64_t t = 0; t < p.T; t++) {
          double v = (double)value(&p, p.qkv, (size_t)(t * 3 * row + 2 * row + d));
          low = fmin(low, v), high = fmax(high, v);
        }
        double slack = (p.act == SYZ_F32 ? 1e-5 : 1.2e-2) * fmax(fabs(low), fabs(high));
        for (int64_t t = 0; t < p.T; t++) {
          double o = (double)value(&p, p.out, (size_t)(t * row + d));
          CHECK(o >= low - slack && o <= high + slack);
        }
      }
      for (size_t i = 0; i < 3 * p.n; i++) CHECK(isfinite(value(&p, p.dqkv, i)));
      for (int64_t i = 0; i < p.N * p.T; i++) CHECK(isfinite(p.lse[i]));
      free_problem(&p);
    }
}

/** Scores of late keys far above those of the first 32, by less and by more than a sum can hold: out and lse of each
 * row against plain float64, and the other rows keep their bits. */
static void test_late_keys(void)
{
  enum { T = 70, D = 16, NEAR = 5, FAR = 41 };
  const int late[] = {50, 60, 66};
  for (int e = 0; e < engine_count; e++) {
    problem p[2];
    double *out = malloc(T * D * sizeof *out), *lse = malloc(T * sizeof *lse);
    SYZ_ASSERT(out && lse);
    for (int far = 0; far < 2; far++) {
      p[far] = make_problem(1, T, 1, D, engines[e].act, 23, 1.0);
      for (int d = 0; d < D; d++) {
        for (int i = 0; i < 3; i++)
          set_value(&p[far], p[far].qkv, (size_t)(late[i] * 3 * D + D + d), d ? 0 : 8.0f - 0.0625f * (float)i);
        set_value(&p[far], p[far].qkv, (size_t)(NEAR * 3 * D + d), d ? 0 : 14);
        set_value(&p[far], p[far].qkv, (size_t)(FAR * 3 * D + d), d ? 0 : far ? 80 : 1);
      }
      run(&p[far], engines[e].kernel, 1, false);
    }
    reference(&p[1], out, lse, NULL, 1.0);
    for (int t = 0; t < T; t++) {
      double error = 0, size = 0, product = 0;
      for (int d = 0; d < D; d++) {
        const double o = (double)value(&p[1], p[1].out, (size_t)(t * D + d)), v = out[t * D + d];
        error += (o - v) * (o - v), product += o * v, size += v * v;
        if (t != FAR) CHECK(value(&p[0], p[0].out, (size_t)(t * D + d)) == value(&p[1], p[1].out, (size_t)(t * D + d)));
      }
      /* In bfloat16 16 numbers, rounded twice, are up to 0.0066 away; a factor of 1.01 shows in the projection, where
       * rounding averages out. */
      CHECK_LT(sqrt(error / size), p[1].act == SYZ_F32 ? limit_f32 : 0.009);
      CHECK_LT(fabs(product / size - 1), p[1].act == SYZ_F32 ? limit_f32 : 0.0045);
      CHECK_NEAR((double)p[1].lse[t], lse[t], 2e-6 * (1.0 + fabs(lse[t])));
    }
    free(out), free(lse);
    free_problem(&p[0]);
    free_problem(&p[1]);
  }
}

/** Tokens that lie apart give the bits of tokens that do not, and nothing between them is touched. */
static void test_rows_apart(void)
{
  enum { T = 70, N = 2, D = 24, WIDTH = N * D, IN = 3 * WIDTH + 32, ROW = WIDTH + 32 };
  for (int e = 0; e < engine_count; e++) {
    problem p = make_problem(2, T, N, D, engines[e].act, 29, 1.0);
    const size_t rows = 2 * T, size = p.size;
    unsigned char *qkv = malloc(rows * IN * size), *out = malloc(rows * ROW * size), *dout = malloc(rows * ROW * size),
                  *dqkv = malloc(rows * IN * size);
    float *lse = malloc(2 * T * N * sizeof *lse);
    syz_attention *a = NULL;
    SYZ_ASSERT(qkv && out && dout && dqkv && lse);
    memset(qkv, 0xff, rows * IN * size), memset(dout, 0xff, rows * ROW * size), memset(out, 0xff, rows * ROW * size),
        memset(dqkv, 0xff, rows * IN * size);
    for (size_t r = 0; r < rows; r++) {
      memcpy(qkv + r * IN * size, (unsigned char *)p.qkv + r * 3 * WIDTH * size, 3 * WIDTH * size);
      memcpy(dout + r * ROW * size, (unsigned char *)p.dout + r * WIDTH * size, WIDTH * size);
    }
    run(&p, engines[e].kernel, 1, true);
    CHECK_OK(syz_attention_create_for(p.act, 1, engines[e].kernel, 2, T, N, D, true, &a));
    syz_attention_set_rows(a, IN, ROW);
    syz_attention_forward(a, 2, qkv, out, lse);
    syz_attention_backward(a, 2, dout, qkv, out, lse, dqkv);
    for (size_t r = 0; r < rows; r++) {
      CHECK(!memcmp(out + r * ROW * size, (unsigned char *)p.out + r * WIDTH * size, WIDTH * size));
      CHECK(!memcmp(dqkv + r * IN * size, (unsigned char *)p.dqkv + r * 3 * WIDTH * size, 3 * WIDTH * size));
      for (size_t i = WIDTH * size; i < ROW * size; i++) CHECK(out[r * ROW * size + i] == 0xff);
      for (size_t i = 3 * WIDTH * size; i < IN * size; i++) CHECK(dqkv[r * IN * size + i] == 0xff);
    }
    syz_attention_destroy(&a);
    free(qkv), free(out), free(dout), free(dqkv), free(lse);
    free_problem(&p);
  }
}

/** A NaN in one query stays in its row; one in a key reaches every row of its head and no other head. */
static void test_nan_is_kept(void)
{
  for (int e = 0; e < engine_count; e++)
    for (int key = 0; key < 2; key++) {
      problem p = make_problem(1, 33, 2, 16, engines[e].act, 17, 1.0);
      const int64_t row = p.N * p.D;
      set_value(&p, p.qkv, (size_t)(20 * 3 * row + key * row + 5), NAN); /* token 20, head 0 */
      run(&p, engines[e].kernel, 1, false);
      for (int64_t t = 0; t < p.T; t++)
        for (int64_t d = 0; d < row; d++)
          CHECK(!isnan(value(&p, p.out, (size_t)(t * row + d))) == !(d < p.D && (key || t == 20)));
      free_problem(&p);
    }
}

static void test_contract(void)
{
  syz_compute *c = NULL;
  syz_attention *a = NULL;
  CHECK_OK(syz_compute_create(SYZ_F32, SYZ_ENGINE_AUTO, 1, &c));
  CHECK_ERROR(syz_attention_create(c, 1, 0, 4, 64, true, &a), SYZ_ERR_INTERNAL, "0 tokens");
  CHECK(a == NULL);
  CHECK_ERROR(syz_attention_create(c, 1, (int64_t)1 << 40, 4, 64, true, &a), SYZ_ERR_MEMORY, "too large");
  syz_attention_destroy(&a);
  problem p = make_problem(2, 17, 2, 8, SYZ_F32, 3, 1.0), s = make_problem(2, 17, 2, 8, SYZ_F32, 3, 1.0);
  run(&p, syz_attention_kernel(SYZ_F32), 1, false);
  /* Without lse, and a smaller batch than was planned for. */
  CHECK_OK(syz_attention_create(c, 3, 17, 2, 8, false, &a));
  syz_attention_forward(a, 2, s.qkv, s.out, NULL);
  CHECK(!memcmp(p.out, s.out, p.n * sizeof(float)));
  syz_attention_destroy(&a);
  free_problem(&p);
  free_problem(&s);
  syz_compute_destroy(&c);
}

int main(void)
{
  find_engines();
  test_contract();
  test_sizes();
  test_emulation();
  test_spectrum_size();
  test_has_teeth();
  test_gradient();
  test_commutes_with_order();
  test_zero_queries_mean();
  test_scratch();
  test_bits(5, 49, 3, 24);
  test_bits(3, 289, 2, 64); /* long enough for threads to meet in a scratch that they should not share */
  test_extremes();
  test_late_keys();
  test_rows_apart();
  test_nan_is_kept();
  CHECK_EQ(syz_memory_get().live_blocks, 0);
  return CHECK_RESULT();
}
