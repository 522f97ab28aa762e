/* SPDX-License-Identifier: BSD-3-Clause */
/** The reference engine: the plain loop that every other engine is tested against. Sums in float64, one thread, any
 * processor. */
#include <math.h>
#include <stdio.h>

#include "engine.h"

static bool reference_can(syz_dtype type_ab)
{
  (void)type_ab;
  return true;
}

static void reference_set_threads(int threads) { (void)threads; }

static syz_status reference_create(const syz_compute *c, const syz_gemm_shape *shape, void **plan)
{
  (void)c;
  syz_status st = SYZ_OK;
  syz_gemm_shape *s;
  SYZ_ALLOC(s, "gemm plan", 1);
  *s = *shape;
  *plan = s;
cleanup:
  return st;
}

static void reference_destroy(void **plan) { syz_free(plan); }

static double element(syz_dtype type, const void *x, int64_t i)
{
  return type == SYZ_F32 ? (double)((const float *)x)[i] : (double)syz_bf16_to_f32(((const syz_bf16 *)x)[i]);
}

static void reference_run(const void *plan, int64_t m, const void *a, const void *b, const float *bias, void *c)
{
  const syz_gemm_shape *s = plan;
  for (int64_t z = 0; z < s->batch; z++)
    for (int64_t i = 0; i < m; i++)
      for (int64_t j = 0; j < s->n; j++) {
        double sum = 0;
        for (int64_t p = 0; p < s->k; p++)
          sum += element(s->type_ab, a, z * s->stride_a + (s->transpose_a ? p * s->lda + i : i * s->lda + p)) *
                 element(s->type_ab, b, z * s->stride_b + (s->transpose_b ? j * s->ldb + p : p * s->ldb + j));
        const int64_t at = z * s->stride_c + i * s->ldc + j;
        if (s->accumulate) sum += (double)((const float *)c)[at];
        if (s->has_bias) sum += (double)bias[j];
        if (s->has_gelu) sum = 0.5 * sum * (1 + erf(sum * 0.70710678118654752440));
        if (s->type_c == SYZ_F32)
          ((float *)c)[at] = (float)sum;
        else
          ((syz_bf16 *)c)[at] = syz_bf16_from_f32((float)sum);
      }
}

static void reference_describe(syz_dtype type_ab, char *text, size_t n)
{
  (void)type_ab;
  snprintf(text, n, "reference loop");
}

const syz_engine_ops syz_engine_reference = {.name = "reference",
                                             .can = reference_can,
                                             .set_threads = reference_set_threads,
                                             .create = reference_create,
                                             .destroy = reference_destroy,
                                             .run = reference_run,
                                             .describe = reference_describe};
