/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The own kernels in bfloat16, for processors with AVX512_BF16. A unit is a pair of neighbours on the summed axis; sums are float32.
 * The hardware rounds to nearest even and flushes denormals to zero, in conversion (below 1e-38) as in VDPBF16PS.
 */
#include <immintrin.h>
#include <stdint.h>

#include "syzygy/base.h"

#define KERNEL_TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")))
#define KERNEL_TYPE syz_bf16
#define KERNEL_UNIT 2
#define DOT(sum, a, b) _mm512_dpbf16_ps(sum, (__m512bh)(a), (__m512bh)(b))
#define STORE_ACT(p, v) _mm256_storeu_si256((__m256i *)(void *)(p), (__m256i)_mm512_cvtneps_pbh(v))
#define STORE_ACT_MASK(p, mask, v) _mm256_mask_storeu_epi16(p, mask, (__m256i)_mm512_cvtneps_pbh(v))
#define WIDEN(x) _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16))
#define LOAD_ACT(p) WIDEN(_mm256_loadu_si256((const __m256i *)(const void *)(p)))
#define LOAD_ACT_MASK(mask, p) WIDEN(_mm256_maskz_loadu_epi16(mask, p))
#define UNITS_OF_WEIGHTS(w) (__m512i)_mm512_cvtne2ps_pbh(_mm512_loadu_ps((w) + 16), _mm512_loadu_ps(w))
#define JOIN(lo, hi) _mm512_or_si512(_mm512_cvtepu16_epi32(lo), _mm512_slli_epi32(_mm512_cvtepu16_epi32(hi), 16))
#define NARROW(mask, w) ((w) ? (__m256i)_mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(mask, w)) : _mm256_setzero_si256())
#define UNITS_OF_WEIGHT_ROWS(lo, hi, mask) JOIN(NARROW(mask, lo), NARROW(mask, hi))
#define ROW16(mask, x) ((x) ? _mm256_maskz_loadu_epi16(mask, x) : _mm256_setzero_si256())
#define UNITS_OF_ROWS(lo, hi, mask) JOIN(ROW16(mask, lo), ROW16(mask, hi))
#define ROW8(mask, x) _mm256_cvtepu16_epi32((x) ? _mm_maskz_loadu_epi16(mask, x) : _mm_setzero_si128())
#define UNITS8_OF_ROWS(lo, hi, mask) _mm256_or_si256(ROW8(mask, lo), _mm256_slli_epi32(ROW8(mask, hi), 16))
#define KERNEL_ONE(x, k) one_unit(x, k)
#define KERNEL_ONE_WEIGHT(x, k) one_weight_unit(x, k)

static inline uint32_t one_unit(const syz_bf16 *x, int64_t k) { return x[0].bits | (k > 1 ? (uint32_t)x[1].bits << 16 : 0); }

static inline uint32_t one_weight_unit(const float *x, int64_t k) {
  return syz_bf16_from_f32(x[0]).bits | (k > 1 ? (uint32_t)syz_bf16_from_f32(x[1]).bits << 16 : 0);
}

#include "kernel_body.h"

const syz_kernel syz_kernel_bf16 = KERNEL_TABLE;
