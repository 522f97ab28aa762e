/* SPDX-License-Identifier: BSD-3-Clause */
/** The public functions of the matrix product: they check a shape once and call the context's engine. */
#include "engine.h"

struct syz_gemm {
  const syz_engine_ops *engine;
  void *plan;
  int64_t m;
  bool keeps_b;
  const void *b; /* argument of syz_gemm_take */
};

syz_status syz_gemm_shape_resolve(const syz_gemm_shape *shape, syz_gemm_shape *out)
{
  syz_status st = SYZ_OK;
  syz_gemm_shape s = *shape;
  const int64_t limit = INT64_C(1) << 31; /* so that products of two sizes stay within the 64 bits of BLIS and oneDNN */
  SYZ_REQUIRE(s.m >= 1 && s.n >= 1 && s.k >= 1 && s.m < limit && s.n < limit && s.k < limit && s.batch >= 1 &&
                  s.batch < limit,
              SYZ_ERR_INTERNAL, "gemm: m %lld, n %lld, k %lld, batch %lld must be 1 to 2^31 - 1", (long long)s.m,
              (long long)s.n, (long long)s.k, (long long)s.batch);
  if (!s.lda) s.lda = s.transpose_a ? s.m : s.k;
  if (!s.ldb) s.ldb = s.transpose_b ? s.k : s.n;
  if (!s.ldc) s.ldc = s.n;
  SYZ_REQUIRE(s.lda >= (s.transpose_a ? s.m : s.k) && s.ldb >= (s.transpose_b ? s.k : s.n) && s.ldc >= s.n,
              SYZ_ERR_INTERNAL, "gemm: row strides %lld, %lld, %lld are shorter than the rows", (long long)s.lda,
              (long long)s.ldb, (long long)s.ldc);
  SYZ_REQUIRE(s.stride_a >= 0 && s.stride_b >= 0 && (s.batch == 1 || s.stride_c >= s.n), SYZ_ERR_INTERNAL,
              "gemm: batch strides %lld, %lld, %lld", (long long)s.stride_a, (long long)s.stride_b,
              (long long)s.stride_c);
  SYZ_REQUIRE(s.type_ab == SYZ_BF16 || s.type_c == SYZ_F32, SYZ_ERR_INTERNAL,
              "gemm: float32 factors give a float32 product");
  SYZ_REQUIRE(!s.accumulate || s.type_c == SYZ_F32, SYZ_ERR_INTERNAL, "gemm: only a float32 product can accumulate");
  SYZ_REQUIRE(!s.keeps_b || s.batch == 1, SYZ_ERR_INTERNAL, "gemm: a batch of %lld cannot keep B", (long long)s.batch);
  *out = s;
cleanup:
  return st;
}

syz_status syz_gemm_create(const syz_compute *c, const syz_gemm_shape *shape, syz_gemm **out)
{
  syz_status st = SYZ_OK;
  syz_gemm *g = NULL;
  syz_gemm_shape s;
  *out = NULL;
  SYZ_TRY(syz_gemm_shape_resolve(shape, &s));
  SYZ_REQUIRE(c->engine[s.type_ab], SYZ_ERR_INPUT, "gemm: %s has no bfloat16 products; ask for float32",
              c->engine[SYZ_F32]->name);
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

void syz_gemm_destroy(syz_gemm **g)
{
  if (!*g) return;
  if ((*g)->plan) (*g)->engine->destroy(&(*g)->plan);
  syz_free(g);
}

void syz_gemm_run(const syz_gemm *g, const void *a, const void *b, const float *bias, void *c)
{
  syz_gemm_run_rows(g, g->m, a, b, bias, c);
}

void syz_gemm_take(syz_gemm *g, const void *b)
{
  SYZ_ASSERT(g->keeps_b);
  g->b = b;
  if (g->engine->take) g->engine->take(g->plan, b);
}

void syz_gemm_run_rows(const syz_gemm *g, int64_t m, const void *a, const void *b, const float *bias, void *c)
{
  SYZ_ASSERT(m <= g->m && !b == (g->b != NULL));
  g->engine->run(g->plan, m, a, b ? b : g->b, bias, c);
  syz_pulse();
}
