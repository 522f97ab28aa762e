/* SPDX-License-Identifier: BSD-3-Clause */
/** Every matrix engine against a plain loop in float64: shapes of both towers and odd ones, transposes, strides,
 * epilogues, bits. */
#include <stdlib.h>

#include "check.h"
#include "syzygy/nn.h"
#include "../../src/nn/engine.h"

static const char *const engine_name[] = {"auto", "reference", "BLIS", "oneDNN", "native"};

static void *draw(syz_dtype type, size_t n, uint64_t sample)
{
  float *x = syz_alloc("draw", n, sizeof *x);
  const syz_random r = syz_random_make(7, SYZ_RANDOM_TEST, 1, sample);
  syz_random_fill_normal(&r, x, n);
  if (type == SYZ_F32) return x;
  syz_bf16 *y = syz_alloc("draw", n, sizeof *y);
  for (size_t i = 0; i < n; i++) y[i] = syz_bf16_from_f32(x[i]);
  syz_free(&x);
  return y;
}

static double get(syz_dtype type, const void *x, int64_t i)
{
  return type == SYZ_F32 ? (double)((const float *)x)[i] : (double)syz_bf16_to_f32(((const syz_bf16 *)x)[i]);
}

/** Elements of the arrays of a shape, with a guard of 16 behind C that no engine may touch. */
static int64_t span(int64_t rows, int64_t ld, int64_t width, int64_t batch, int64_t stride)
{
  return (batch - 1) * stride + (rows - 1) * ld + width;
}

/**
 * Worst difference from the float64 loop over its tolerance. A partial sum of k standard normal products is about
 * sqrt(k), each of k additions errs by 3e-8 of that at random: 3e-8 k, and four times as much for the worst element of
 * an array (measured 1e-7 k). A bfloat16 result errs by 2^-9 of itself. One per cent on the largest element is
 * thousands of times the first and 2.5 times the second.
 */
static double worst_error(const syz_gemm_shape *s, const void *a, const void *b, const float *bias,
                          const float *c_before, const void *c, double spoil)
{
  const int64_t lda = s->lda           ? s->lda
                      : s->transpose_a ? s->m
                                       : s->k,
                ldb = s->ldb           ? s->ldb
                      : s->transpose_b ? s->k
                                       : s->n;
  const int64_t ldc = s->ldc ? s->ldc : s->n;
  double worst = 0, largest = 0;
  int64_t z_largest = 0, i_largest = 0, j_largest = 0;
  for (int pass = 0; pass < (spoil > 0 ? 2 : 1); pass++)
    for (int64_t z = 0; z < s->batch; z++)
      for (int64_t i = 0; i < s->m; i++)
        for (int64_t j = 0; j < s->n; j++) {
          if (pass == 1 && (z != z_largest || i != i_largest || j != j_largest)) continue;
          double sum = 0;
          for (int64_t p = 0; p < s->k; p++)
            sum += get(s->type_ab, a, z * s->stride_a + (s->transpose_a ? p * lda + i : i * lda + p)) *
                   get(s->type_ab, b, z * s->stride_b + (s->transpose_b ? j * ldb + p : p * ldb + j));
          const int64_t at = z * s->stride_c + i * ldc + j;
          if (s->accumulate) sum += (double)c_before[at];
          if (s->has_bias) sum += (double)bias[j];
          if (s->has_gelu) sum *= 0.5 * (1 + erf(sum * 0.70710678118654752440));
          if (fabs(sum) > largest) largest = fabs(sum), z_largest = z, i_largest = i, j_largest = j;
          const double value = get(s->type_c, c, at) * (pass == 1 ? 1 + spoil : 1);
          const double tolerance = 2.5e-7 * (double)s->k + 5e-6 + (s->type_c == SYZ_BF16 ? 0.00395 * fabs(sum) : 0);
          const double error = fabs(value - sum) / tolerance;
          if (!(error <= worst)) worst = error;
        }
  return worst;
}

static void test_shape(const syz_compute *c, syz_engine e, const syz_gemm_shape *s)
{
  const int64_t lda = s->lda           ? s->lda
                      : s->transpose_a ? s->m
                                       : s->k,
                ldb = s->ldb           ? s->ldb
                      : s->transpose_b ? s->k
                                       : s->n;
  const int64_t ldc = s->ldc ? s->ldc : s->n;
  const size_t na =
      (size_t)span(s->transpose_a ? s->k : s->m, lda, s->transpose_a ? s->m : s->k, s->batch, s->stride_a);
  const size_t nb =
      (size_t)span(s->transpose_b ? s->n : s->k, ldb, s->transpose_b ? s->k : s->n, s->batch, s->stride_b);
  const size_t nc = (size_t)span(s->m, ldc, s->n, s->batch, s->stride_c) + 16;
  void *a = draw(s->type_ab, na, 1), *b = draw(s->type_ab, nb, 2), *y = draw(s->type_c, nc, 3),
       *before = draw(s->type_c, nc, 3);
  float *bias = draw(SYZ_F32, (size_t)s->n, 4);
  syz_gemm *g = NULL;
  CHECK_OK(syz_gemm_create(c, s, &g));
  if (g) {
    const int64_t allocations = syz_memory_get().allocations;
    syz_gemm_run(g, a, b, s->has_bias ? bias : NULL, y);
    CHECK_EQ(syz_memory_get().allocations, allocations);
    const double worst = worst_error(s, a, b, bias, before, y, 0), faulty = worst_error(s, a, b, bias, before, y, 0.01);
    check_count += 2;
    if (!(worst < 1) || !(faulty > 1))
      CHECK_FAIL_("%s %s%s m %d n %d k %d%s%s batch %d%s%s%s: error %.3g of the tolerance, with one per cent on one "
                  "element %.3g",
                  engine_name[e], s->type_ab == SYZ_BF16 ? "bf16" : "f32", s->type_c == SYZ_BF16 ? "->bf16" : "",
                  (int)s->m, (int)s->n, (int)s->k, s->transpose_a ? " A^T" : "", s->transpose_b ? " B^T" : "",
                  (int)s->batch, s->accumulate ? " sum" : "", s->has_bias ? " bias" : "", s->has_gelu ? " gelu" : "",
                  worst, faulty);
    /* What lies between the rows of C, and behind it, is not C's. */
    for (size_t i = 0; i < nc; i++) {
      const int64_t in_batch = s->stride_c ? (int64_t)i % s->stride_c : (int64_t)i;
      const bool is_c =
          (s->batch == 1 || (int64_t)i / s->stride_c < s->batch) && in_batch / ldc < s->m && in_batch % ldc < s->n;
      if (!is_c && get(s->type_c, y, (int64_t)i) != get(s->type_c, before, (int64_t)i)) {
        CHECK_FAIL_("%s writes beside C at %zu", engine_name[e], i);
        break;
      }
    }
  }
  syz_gemm_destroy(&g);
  void *all[] = {a, b, y, before, bias};
  for (int i = 0; i < 5; i++) syz_free(&all[i]);
}

static void test_shapes(const syz_compute *c, syz_engine e, syz_dtype type, int step)
{
  /* Towers' widths at few rows, then sizes around the kernels' 6 rows, 64 columns, 16-unit packing. */
  static const int64_t size[][3] = {{13, 192, 768}, {7, 64, 4096}, {1, 1, 1},    {1, 64, 2},   {6, 64, 32},
                                    {7, 65, 33},    {5, 63, 31},   {12, 128, 1}, {97, 17, 24}, {3, 130, 97},
                                    {40, 2, 130},   {50, 145, 64}, {22, 96, 26}, {2, 9, 5}};
  const int n = (int)(sizeof size / sizeof size[0]);
  for (int i = 0; i < n; i += step)
    for (int t = 0; t < 4; t++) {
      syz_gemm_shape s = {.m = size[i][0],
                          .n = size[i][1],
                          .k = size[i][2],
                          .transpose_a = t & 1,
                          .transpose_b = t & 2,
                          .batch = 1,
                          .type_ab = type,
                          .type_c = SYZ_F32};
      test_shape(c, e, &s);
      s.accumulate = true;
      test_shape(c, e, &s);
      s.has_bias = true;
      if (t == 0) test_shape(c, e, &s);
      s.accumulate = false;
      if (t == 1) test_shape(c, e, &s);
      s.has_gelu = true;
      test_shape(c, e, &s);
      if (type == SYZ_BF16) {
        s.type_c = SYZ_BF16;
        test_shape(c, e, &s);
        s.has_gelu = false;
        test_shape(c, e, &s);
      }
      /* Wider rows than the matrix, and a batch; B shared by the batch (stride 0). */
      s = (syz_gemm_shape){.m = size[i][0],
                           .n = size[i][1],
                           .k = size[i][2],
                           .transpose_a = t & 1,
                           .transpose_b = t & 2,
                           .batch = 3,
                           .type_ab = type,
                           .type_c = SYZ_F32};
      s.lda = (t & 1 ? s.m : s.k) + 3, s.ldb = (t & 2 ? s.k : s.n) + 5, s.ldc = s.n + 2;
      s.stride_a = (t & 1 ? s.k : s.m) * s.lda + 1, s.stride_b = (t & 2 ? s.n : s.k) * s.ldb + 4,
      s.stride_c = s.m * s.ldc;
      if (s.m * s.n * s.k < 1 << 19) test_shape(c, e, &s);
      s.stride_b = 0;
      if (s.m * s.n * s.k < 1 << 19) test_shape(c, e, &s);
    }
}

/** B kept, and fewer rows than the shape has: the same bits. */
static void test_kept(const syz_compute *c, const syz_gemm_shape *shape, int64_t rows, const void *a, const void *b,
                      const float *wanted)
{
  syz_gemm_shape s = *shape;
  syz_gemm *g = NULL;
  float *y = syz_alloc("c", (size_t)(s.m * s.n), sizeof *y);
  s.keeps_b = true;
  CHECK_OK(syz_gemm_create(c, &s, &g));
  syz_gemm_take(g, b);
  syz_gemm_run_rows(g, rows, a, NULL, NULL, y);
  CHECK(!memcmp(y, wanted, (size_t)(rows * s.n) * sizeof *y));
  CHECK(y[rows * s.n] == 0);
  syz_gemm_destroy(&g);
  syz_free(&y);
}

/** Row i of the product of m rows has the same bits for every m: what makes 1 and 8 ranks agree. */
static void test_rows(const syz_compute *c, syz_engine e, syz_dtype type, int64_t n, int64_t k)
{
  static const int64_t count[] = {290, 145, 64, 17, 6, 5, 3, 1};
  void *a = draw(type, (size_t)(count[0] * k), 5), *b = draw(type, (size_t)(n * k), 6);
  float *all = syz_alloc("c", (size_t)(count[0] * n), sizeof *all),
        *some = syz_alloc("c", (size_t)(count[0] * n), sizeof *some);
  for (int i = 0; i < 8; i++) {
    syz_gemm_shape s = {
        .m = count[i], .n = n, .k = k, .transpose_b = true, .batch = 1, .type_ab = type, .type_c = SYZ_F32};
    syz_gemm *g = NULL;
    CHECK_OK(syz_gemm_create(c, &s, &g));
    if (g) syz_gemm_run(g, a, b, NULL, i ? some : all);
    syz_gemm_destroy(&g);
    if (i == 1) test_kept(c, &s, count[2], a, b, all);
    check_count++;
    if (i && memcmp(all, some, (size_t)(count[i] * n) * sizeof *all))
      CHECK_FAIL_("%s %s: rows of m = %d differ from those of m = %d (n %d, k %d)", engine_name[e],
                  type == SYZ_BF16 ? "bf16" : "f32", (int)count[i], (int)count[0], (int)n, (int)k);
  }
  void *arrays[] = {a, b, all, some};
  for (int i = 0; i < 4; i++) syz_free(&arrays[i]);
}

static void test_misuse(void)
{
  syz_compute *c = NULL;
  syz_gemm *g = NULL;
  CHECK_ERROR(syz_compute_create(SYZ_F32, SYZ_ENGINE_AUTO, 0, &c), SYZ_ERR_INPUT, "0 threads");
  CHECK(!c);
  CHECK_ERROR(syz_compute_create(SYZ_F32, (syz_engine)99, 1, &c), SYZ_ERR_INPUT, "99");
  CHECK_OK(syz_compute_create(SYZ_F32, SYZ_ENGINE_BLIS, 1, &c));
  syz_gemm_shape s = {.m = 4, .n = 4, .k = 0, .batch = 1};
  CHECK_ERROR(syz_gemm_create(c, &s, &g), SYZ_ERR_INTERNAL, "k 0");
  s.k = 4, s.lda = 3;
  CHECK_ERROR(syz_gemm_create(c, &s, &g), SYZ_ERR_INTERNAL, "row strides 3");
  s.lda = 0, s.type_c = SYZ_BF16;
  CHECK_ERROR(syz_gemm_create(c, &s, &g), SYZ_ERR_INTERNAL, "float32 factors");
  s.type_ab = SYZ_BF16;
  CHECK_ERROR(syz_gemm_create(c, &s, &g), SYZ_ERR_INPUT, "bfloat16");
  CHECK(!g);
  syz_compute_destroy(&c);
  /* bfloat16 on an engine without it becomes float32. */
  CHECK_OK(syz_compute_create(SYZ_BF16, SYZ_ENGINE_BLIS, 1, &c));
  CHECK_EQ(syz_compute_act(c), SYZ_F32);
  CHECK(strstr(syz_compute_describe(c), "BLIS") != NULL);
  syz_compute_destroy(&c);
  syz_compute_destroy(&c);
}

int main(void)
{
  const bool is_emulated = getenv("SYZYGY_EMULATED") != NULL; /* fewer shapes, and speed says nothing */
  test_misuse();
  for (syz_engine e = SYZ_ENGINE_AUTO; e <= SYZ_ENGINE_NATIVE; e++)
    for (int threads = 1; threads <= 2; threads++) {
      syz_compute *c = NULL;
      if (syz_compute_create(SYZ_F32, e, threads, &c) != SYZ_OK) {
        CHECK(e != SYZ_ENGINE_AUTO && e != SYZ_ENGINE_REFERENCE && e != SYZ_ENGINE_BLIS);
        fprintf(stderr, "%s: not here: %s\n", engine_name[e], syz_error_text());
        continue;
      }
      if (threads == 1) fprintf(stderr, "%s: %s\n", engine_name[e], syz_compute_describe(c));
      for (syz_dtype type = SYZ_F32; type <= SYZ_BF16; type++) {
        syz_gemm *probe = NULL;
        const syz_gemm_shape s = {.m = 1, .n = 1, .k = 1, .batch = 1, .type_ab = type, .type_c = SYZ_F32};
        if (syz_gemm_create(c, &s, &probe) != SYZ_OK) continue;
        syz_gemm_destroy(&probe);
        if (threads == 1 || e != SYZ_ENGINE_REFERENCE) test_shapes(c, e, type, threads == 1 && !is_emulated ? 1 : 4);
        if (e == SYZ_ENGINE_REFERENCE) continue;
        test_rows(c, e, type, 96, 130);
        test_rows(c, e, type, 192, 768);
      }
      if (threads == 1 && e == SYZ_ENGINE_AUTO && !is_emulated) CHECK_GT(syz_gemm_limit(c, 0.2, NULL), 1e9);
      syz_compute_destroy(&c);
    }
  const syz_isa has = syz_processor_isa();
  for (syz_isa isa = SYZ_ISA_AVX512; isa < has && has <= SYZ_ISA_AMX;
       isa++) { /* own kernels that a better one hides here */
    syz_compute *c = NULL;
    syz_processor_limit(isa);
    CHECK_OK(syz_compute_create(SYZ_BF16, SYZ_ENGINE_NATIVE, 1, &c));
    test_shapes(c, SYZ_ENGINE_NATIVE, SYZ_BF16, 1);
    test_rows(c, SYZ_ENGINE_NATIVE, SYZ_BF16, 192, 768);
    syz_compute_destroy(&c);
  }
  CHECK_EQ(syz_memory_get().live_blocks, 0);
  return CHECK_RESULT();
}
