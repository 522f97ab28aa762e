/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The BLIS engine: float32 on every processor. Uses BLIS's typed interface with row and column strides, so that no
 * operand is ever transposed in memory.
 *
 * BLIS 0.9 reads the kernel set from BLIS_ARCH_TYPE, as a number of its own enum (names came later, flame/blis #870),
 * and knows no AMD processor after family 25: there it would use its generic kernels, 42 GFLOP/s instead of 230 on one
 * Zen 5 core. So the number is chosen by CPUID here, before BLIS's first call, unless the user has set one.
 *
 * BLIS's own path for small matrices is not used: its AVX2 kernels of 0.9 read beyond the end of A and B (flame/blis
 * #635, #821), and it is chosen by size, so that a row's bits would depend on the number of rows.
 */
#include <blis.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine.h"
#include "rowwise.h"

#ifdef __x86_64__
void syz_blis_choose_kernels(void)
{
  __builtin_cpu_init();
  char number[8];
  if (syz_processor_isa() >= SYZ_ISA_AVX512)
    snprintf(number, sizeof number, "%d", (int)BLIS_ARCH_SKX);
  else if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
    snprintf(number, sizeof number, "%d", (int)BLIS_ARCH_HASWELL);
  else
    return;
  setenv("BLIS_ARCH_TYPE", number, 0);
}
#else
void syz_blis_choose_kernels(void) {} /* on Arm BLIS recognises the processor itself */
#endif

static bool blis_can(syz_dtype type_ab) { return type_ab == SYZ_F32; }

static void blis_set_threads(int threads)
{
  syz_blis_choose_kernels();
  bli_thread_set_num_threads(threads);
}

static syz_status blis_create(const syz_compute *c, const syz_gemm_shape *shape, void **plan)
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

static void blis_destroy(void **plan) { syz_free(plan); }

static void blis_run(const void *plan, int64_t m, const void *a, const void *b, const float *bias, void *c)
{
  const syz_gemm_shape *s = plan;
  float one = 1, beta = s->accumulate ? 1.0f : 0.0f;
  rntm_t how;
  bli_rntm_init_from_global(&how);
  bli_rntm_disable_l3_sup(&how);
  for (int64_t z = 0; z < s->batch; z++) {
    /* BLIS's interface lacks const; it does not write A and B. */
    float *az = (float *)(uintptr_t)((const float *)a + z * s->stride_a);
    float *bz = (float *)(uintptr_t)((const float *)b + z * s->stride_b);
    float *cz = (float *)c + z * s->stride_c;
    bli_sgemm_ex(BLIS_NO_TRANSPOSE, BLIS_NO_TRANSPOSE, m, s->n, s->k, &one, az, s->transpose_a ? 1 : s->lda,
                 s->transpose_a ? s->lda : 1, bz, s->transpose_b ? 1 : s->ldb, s->transpose_b ? s->ldb : 1, &beta, cz,
                 s->ldc, 1, NULL, &how);
    if (s->has_bias || s->has_gelu)
      for (int64_t i = 0; i < m; i++) {
        if (s->has_bias) syz_row_add(cz + i * s->ldc, bias, s->n);
        if (s->has_gelu) syz_gelu_forward(SYZ_F32, cz + i * s->ldc, cz + i * s->ldc, s->n);
      }
  }
}

static void blis_describe(syz_dtype type_ab, char *text, size_t n)
{
  (void)type_ab;
  snprintf(text, n, "BLIS %s %s", bli_info_get_version_str(), bli_arch_string(bli_arch_query_id()));
}

const syz_engine_ops syz_engine_blis = {.name = "BLIS",
                                        .can = blis_can,
                                        .set_threads = blis_set_threads,
                                        .create = blis_create,
                                        .destroy = blis_destroy,
                                        .run = blis_run,
                                        .describe = blis_describe};
