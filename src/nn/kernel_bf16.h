/* SPDX-License-Identifier: BSD-3-Clause */
/** The macros of kernel_body.h for bfloat16: with AVX512_BF16 or, KERNEL_ROUNDS_ITSELF defined, with plain AVX-512.
 * NARROW16(v): 16 numbers rounded to nearest even; a NaN stays one. */
#include <immintrin.h>
#include <stdint.h>

#include "kernel.h"
#include "syzygy/base.h"

#define KERNEL_TYPE syz_bf16
#ifndef KERNEL_IN_TILES
#define KERNEL_IN_TILES false /* see kernel_pack.h */
#endif
/* Words from 16 columns of a packed panel to the next 16. */
#define NEXT_16 syz_panel_at(KERNEL_IN_TILES, 0, 16)
#define KERNEL_UNIT 2
#ifdef KERNEL_ROUNDS_ITSELF
#define KERNEL_TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq")))
#define NARROW16(v) narrow16(v)
#define UNITS_OF_WEIGHTS(w)                                                                                            \
  _mm512_inserti64x4(_mm512_castsi256_si512(narrow16(_mm512_loadu_ps(w))), narrow16(_mm512_loadu_ps((w) + 16)), 1)
#else
#define KERNEL_TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")))
#define DOT(sum, a, b) _mm512_dpbf16_ps(sum, (__m512bh)(a), (__m512bh)(b))
#define NARROW16(v) (__m256i) _mm512_cvtneps_pbh(v)
#define UNITS_OF_WEIGHTS(w) (__m512i) _mm512_cvtne2ps_pbh(_mm512_loadu_ps((w) + 16), _mm512_loadu_ps(w))
#endif
#define STORE_ACT(p, v) _mm256_storeu_si256((__m256i *)(void *)(p), NARROW16(v))
#define STORE_ACT_MASK(p, mask, v) _mm256_mask_storeu_epi16(p, mask, NARROW16(v))
#ifndef KERNEL_ROUNDS_ITSELF
#define STORE_ACT_PAIR(p, v, w) _mm512_storeu_si512(p, (__m512i)_mm512_cvtne2ps_pbh(w, v))
#endif
#define WIDEN(x) _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16))
#define LOAD_ACT(p) WIDEN(_mm256_loadu_si256((const __m256i *)(const void *)(p)))
#define LOAD_ACT_MASK(mask, p) WIDEN(_mm256_maskz_loadu_epi16(mask, p))
#define JOIN(lo, hi) _mm512_or_si512(_mm512_cvtepu16_epi32(lo), _mm512_slli_epi32(_mm512_cvtepu16_epi32(hi), 16))
#define NARROW(mask, w) ((w) ? NARROW16(_mm512_maskz_loadu_ps(mask, w)) : _mm256_setzero_si256())
#define UNITS_OF_WEIGHT_ROWS(lo, hi, mask) JOIN(NARROW(mask, lo), NARROW(mask, hi))
#define ROW16(mask, x) ((x) ? _mm256_maskz_loadu_epi16(mask, x) : _mm256_setzero_si256())
#define UNITS_OF_ROWS(lo, hi, mask) JOIN(ROW16(mask, lo), ROW16(mask, hi))
#define PUT_64_UNITS(at, lo, hi) (put_32_units(at, lo, hi), put_32_units((at) + 2 * NEXT_16, (lo) + 32, (hi) + 32))
#define PUT_6_UNITS(at, lo, hi)                                                                                        \
  do {                                                                                                                 \
    const __m128i lo_ = _mm_loadu_si128((const __m128i *)(const void *)(lo));                                          \
    const __m128i hi_ = _mm_loadu_si128((const __m128i *)(const void *)(hi));                                          \
    _mm_storeu_si128((__m128i *)(void *)(at), _mm_unpacklo_epi16(lo_, hi_));                                           \
    _mm_storeu_si64((at) + 4, _mm_unpackhi_epi16(lo_, hi_));                                                           \
  } while (0)
#define KERNEL_ONE(x, k) one_unit(x, k)
#define KERNEL_ONE_WEIGHT(x, k) one_weight_unit(x, k)
#define KERNEL_ONE_ACROSS(x, ld, k) one_unit_across(x, ld, k)

#ifdef KERNEL_ROUNDS_ITSELF
/** syz_bf16_from_f32 of 16 numbers. */
KERNEL_TARGET static inline __attribute__((always_inline)) __m256i narrow16(__m512 v)
{
  const __m512i bits = _mm512_castps_si512(v), high = _mm512_srli_epi32(bits, 16);
  const __m512i odd = _mm512_and_si512(high, _mm512_set1_epi32(1));
  const __m512i rounded =
      _mm512_srli_epi32(_mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff))), 16);
  const __mmask16 is_nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
  return _mm512_cvtepi32_epi16(_mm512_mask_or_epi32(rounded, is_nan, high, _mm512_set1_epi32(0x40)));
}
#endif

static inline uint32_t one_unit(const syz_bf16 *x, int64_t k)
{
  return x[0].bits | (k > 1 ? (uint32_t)x[1].bits << 16 : 0);
}

static inline uint32_t one_unit_across(const syz_bf16 *x, int64_t ld, int64_t k)
{
  return x[0].bits | (k > 1 ? (uint32_t)x[ld].bits << 16 : 0);
}

static inline uint32_t one_weight_unit(const float *x, int64_t k)
{
  return syz_bf16_from_f32(x[0]).bits | (k > 1 ? (uint32_t)syz_bf16_from_f32(x[1]).bits << 16 : 0);
}

/** Pairs of 32 columns: two-source permutations, because the unpack instructions stay within 16 bytes. */
KERNEL_TARGET static inline __attribute__((always_inline)) void put_32_units(uint32_t *at, const syz_bf16 *lo,
                                                                             const syz_bf16 *hi)
{
  const __m512i first = _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40, 8, 39, 7, 38, 6, 37,
                                         5, 36, 4, 35, 3, 34, 2, 33, 1, 32, 0);
  const __m512i second = _mm512_add_epi16(first, _mm512_set1_epi16(16));
  const __m512i a = _mm512_loadu_si512(lo), b = _mm512_loadu_si512(hi);
  _mm512_storeu_si512(at, _mm512_permutex2var_epi16(a, first, b));
  _mm512_storeu_si512(at + NEXT_16, _mm512_permutex2var_epi16(a, second, b));
}
