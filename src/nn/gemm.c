/* SPDX-License-Identifier: BSD-3-Clause */
/** The matrix product's public face: checks a shape once, hands it to the context's engine, and measures the machine's limit. */
#include <math.h>
#include <time.h>

#include "engine.h"

struct syz_gemm {
  const syz_engine_ops *engine;
  void *plan;
  int64_t m;
  bool keeps_b;
  const void *b; /* what syz_gemm_take was given */
};

syz_status syz_gemm_shape_resolve(const syz_gemm_shape *shape, syz_gemm_shape *out) {
  syz_status st = SYZ_OK;
  syz_gemm_shape s = *shape;
  const int64_t limit = INT64_C(1) << 31; /* BLIS and oneDNN count in 64 bits; products of two stay in range this way */
  SYZ_REQUIRE(s.m >= 1 && s.n >= 1 && s.k >= 1 && s.m < limit && s.n < limit && s.k < limit && s.batch >= 1 && s.batch < limit,
              SYZ_ERR_INTERNAL, "gemm: m %lld, n %lld, k %lld, batch %lld must be 1 to 2^31 - 1", (long long)s.m, (long long)s.n,
              (long long)s.k, (long long)s.batch);
  if (!s.lda) s.lda = s.transpose_a ? s.m : s.k;
  if (!s.ldb) s.ldb = s.transpose_b ? s.k : s.n;
  if (!s.ldc) s.ldc = s.n;
  SYZ_REQUIRE(s.lda >= (s.transpose_a ? s.m : s.k) && s.ldb >= (s.transpose_b ? s.k : s.n) && s.ldc >= s.n, SYZ_ERR_INTERNAL,
              "gemm: row strides %lld, %lld, %lld are shorter than the rows", (long long)s.lda, (long long)s.ldb, (long long)s.ldc);
  SYZ_REQUIRE(s.stride_a >= 0 && s.stride_b >= 0 && (s.batch == 1 || s.stride_c >= s.n), SYZ_ERR_INTERNAL,
              "gemm: batch strides %lld, %lld, %lld", (long long)s.stride_a, (long long)s.stride_b, (long long)s.stride_c);
  SYZ_REQUIRE(s.type_ab == SYZ_BF16 || s.type_c == SYZ_F32, SYZ_ERR_INTERNAL, "gemm: float32 factors give a float32 product");
  SYZ_REQUIRE(!s.accumulate || s.type_c == SYZ_F32, SYZ_ERR_INTERNAL, "gemm: only a float32 product can accumulate");
  SYZ_REQUIRE(!s.keeps_b || s.batch == 1, SYZ_ERR_INTERNAL, "gemm: a batch of %lld cannot keep B", (long long)s.batch);
  *out = s;
cleanup:
  return st;
}

syz_status syz_gemm_create(const syz_compute *c, const syz_gemm_shape *shape, syz_gemm **out) {
  syz_status st = SYZ_OK;
  syz_gemm *g = NULL;
  syz_gemm_shape s;
  *out = NULL;
  SYZ_TRY(syz_gemm_shape_resolve(shape, &s));
  SYZ_REQUIRE(c->engine[s.type_ab], SYZ_ERR_INPUT, "gemm: %s has no bfloat16 products; ask for float32", c->engine[SYZ_F32]->name);
  SYZ_ALLOC(g, "gemm", 1);
  g->engine = c->engine[s.type_ab];
  g->m = s.m, g->keeps_b = s.keeps_b;
  SYZ_TRY(g->engine->create(c, &s, &g->plan));
  *out = g;
  g = NULL;
cleanup:
  syz_gemm_destroy(&g);
  return st;
}

void syz_gemm_destroy(syz_gemm **g) {
  if (!*g) return;
  if ((*g)->plan) (*g)->engine->destroy(&(*g)->plan);
  syz_free(g);
}

void syz_gemm_run(const syz_gemm *g, const void *a, const void *b, const float *bias, void *c) {
  syz_gemm_run_rows(g, g->m, a, b, bias, c);
}

void syz_gemm_take(syz_gemm *g, const void *b) {
  SYZ_ASSERT(g->keeps_b);
  g->b = b;
  if (g->engine->take) g->engine->take(g->plan, b);
}

void syz_gemm_run_rows(const syz_gemm *g, int64_t m, const void *a, const void *b, const float *bias, void *c) {
  SYZ_ASSERT(m <= g->m && !b == (g->b != NULL));
  g->engine->run(g->plan, m, a, b ? b : g->b, bias, c);
}

double syz_thread_seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Shapes of the two towers' largest products: what a limit must cover is what the layers ask for. */
static const int64_t limit_shape[][3] = {{1152, 1024, 1024}, {1152, 4096, 1024}, {1152, 1024, 4096}, {1152, 3072, 768}};

/**
 * Words that are ordinary numbers in both types (0.5 to 1, either sign) and not all alike: a processor may run faster on zeros.
 */
void syz_fill_ordinary(void *bytes, size_t n) {
  uint32_t state = 1;
  for (size_t i = 0; i < n / sizeof(uint32_t); i++) {
    state = state * 1664525u + 1013904223u;
    ((uint32_t *)bytes)[i] = 0x3f003f00u | (state >> 8 & 0x807f807fu);
  }
}

double syz_gemm_limit(const syz_compute *c, double seconds) {
  const syz_dtype type = c->act;
  const int shapes = (int)(sizeof limit_shape / sizeof limit_shape[0]);
  const syz_engine_ops *const engine[] = {&syz_engine_native, &syz_engine_onednn, &syz_engine_blis};
  const double budget = seconds / (shapes * 4);
  double best = 0;
  void *a = NULL, *b = NULL, *y = NULL;
  for (int i = 0; i < shapes; i++) {
    const int64_t m = limit_shape[i][0], n = limit_shape[i][1], k = limit_shape[i][2];
    a = syz_alloc("limit", (size_t)(m * k), syz_dtype_size(type));
    b = syz_alloc("limit", (size_t)(n * k), syz_dtype_size(type));
    y = syz_alloc("limit", (size_t)(m * n), sizeof(float));
    if (a) syz_fill_ordinary(a, (size_t)(m * k) * syz_dtype_size(type));
    if (b) syz_fill_ordinary(b, (size_t)(n * k) * syz_dtype_size(type));
    for (int e = 0; e < 3 && a && b && y; e++) {
      if (!engine[e]->can(type)) continue;
      void *plan = NULL;
      syz_gemm_shape shape = {.m = m, .n = n, .k = k, .transpose_b = true, .batch = 1, .type_ab = type, .type_c = SYZ_F32, .keeps_b = true};
      if (syz_gemm_shape_resolve(&shape, &shape) != SYZ_OK || engine[e]->create(c, &shape, &plan) != SYZ_OK) continue;
      if (engine[e]->take) engine[e]->take(plan, b);
      const double start = syz_thread_seconds();
      for (double t = start; t < start + budget;) {
        engine[e]->run(plan, m, a, b, NULL, y);
        const double end = syz_thread_seconds();
        best = fmax(best, 2.0 * (double)m * (double)n * (double)k / (end - t) / c->threads);
        t = end;
      }
      engine[e]->destroy(&plan);
    }
    syz_free(&a);
    syz_free(&b);
    syz_free(&y);
  }
  return best;
}
