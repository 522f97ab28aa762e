/* SPDX-License-Identifier: BSD-3-Clause */
/** Attention in bfloat16 with float32 sums, for processors with AVX512_BF16. */
#include <immintrin.h>

#include "attention.h"
#include "attention_transpose.h"

#define KERNEL_TARGET KERNEL
#define KERNEL __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")))

#include "attention_exp.h"

/* 24 of 32 registers hold sums: 8 x 3 runs at the same speed as 6 x 4 (511 GFLOP/s on a Zen 5 core) and divides 64, 128
 * and 144. */
enum { LANES = 16, ROWS = 8, VECTORS = 3 };
#define PAIR 2
typedef syz_bf16 element;
typedef __m512 vec;
typedef __m512bh unit_vec;

#define OPERATION static inline __attribute__((always_inline)) KERNEL
OPERATION vec v_zero(void) { return _mm512_setzero_ps(); }
OPERATION vec v_set1(float x) { return _mm512_set1_ps(x); }
OPERATION vec v_load(const float *x) { return _mm512_loadu_ps(x); }
OPERATION void v_store(float *x, vec v) { _mm512_storeu_ps(x, v); }
OPERATION vec v_add(vec a, vec b) { return _mm512_add_ps(a, b); }
OPERATION vec v_sub(vec a, vec b) { return _mm512_sub_ps(a, b); }
OPERATION vec v_mul(vec a, vec b) { return _mm512_mul_ps(a, b); }
OPERATION vec v_max(vec a, vec b) { return _mm512_max_ps(a, b); }
OPERATION vec v_fma(vec a, vec b, vec c) { return _mm512_fmadd_ps(a, b, c); }

OPERATION vec v_exp2(vec x) { return attention_exp2(x); }

OPERATION unit_vec u_load(const uint32_t *x) { return (unit_vec)_mm512_loadu_si512(x); }
OPERATION void u_store(uint32_t *x, unit_vec u) { _mm512_storeu_si512(x, (__m512i)u); }
OPERATION unit_vec u_broadcast(const uint32_t *x) { return (unit_vec)_mm512_set1_epi32((int)*x); }
OPERATION vec u_dot(vec c, unit_vec a, unit_vec b) { return _mm512_dpbf16_ps(c, a, b); }

OPERATION void u_transpose(uint32_t *dst, ptrdiff_t ld, const void *src, ptrdiff_t stride)
{
  syz_transpose_16x16(dst, ld, src, stride);
}

OPERATION void u_interleave(uint32_t *dst, const element *even, const element *odd)
{
  __m512i low = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(const void *)even));
  __m512i high = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(const void *)odd));
  _mm512_storeu_si512(dst, _mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
}

OPERATION void e_row(element *dst, vec x)
{
  _mm256_storeu_si256((__m256i *)(void *)dst, (__m256i)_mm512_cvtneps_pbh(x));
}
OPERATION void e_part(element *dst, vec x, int64_t n)
{
  _mm256_mask_storeu_epi16(dst, (__mmask16)((1u << n) - 1u), (__m256i)_mm512_cvtneps_pbh(x));
}
OPERATION void e_pair(uint32_t *dst, vec even, vec odd)
{
  const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21,
                                         5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  _mm512_storeu_si512(dst, _mm512_permutexvar_epi16(order, (__m512i)_mm512_cvtne2ps_pbh(odd, even)));
}

#include "attention_core.h"

static bool is_supported(void) { return syz_processor_isa() >= SYZ_ISA_AVX512_BF16; }

const attention_kernel syz_attention_avx512_bf16 = {"avx512_bf16", SYZ_BF16, is_supported,
                                                    scratch_bytes, forward,  backward};
