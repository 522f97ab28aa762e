/* SPDX-License-Identifier: BSD-3-Clause */
/** Transposes of 32-bit units in registers: dst[u * ld + i] = unit u of row i, rows `stride` bytes apart. */
#pragma once

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

static inline void syz_transpose_8x8(uint32_t *dst, ptrdiff_t ld, const void *src, ptrdiff_t stride)
{
  const char *x = src;
  __m256i r[8], s[8], t[8];
  for (int i = 0; i < 8; i++) r[i] = _mm256_loadu_si256((const __m256i *)(const void *)(x + i * stride));
  for (int i = 0; i < 8; i += 2) {
    s[i] = _mm256_unpacklo_epi32(r[i], r[i + 1]);
    s[i + 1] = _mm256_unpackhi_epi32(r[i], r[i + 1]);
  }
  for (int i = 0; i < 8; i += 4) {
    t[i] = _mm256_unpacklo_epi64(s[i], s[i + 2]);
    t[i + 1] = _mm256_unpackhi_epi64(s[i], s[i + 2]);
    t[i + 2] = _mm256_unpacklo_epi64(s[i + 1], s[i + 3]);
    t[i + 3] = _mm256_unpackhi_epi64(s[i + 1], s[i + 3]);
  }
  for (int i = 0; i < 4; i++) {
    _mm256_storeu_si256((__m256i *)(void *)(dst + i * ld), _mm256_permute2x128_si256(t[i], t[i + 4], 0x20));
    _mm256_storeu_si256((__m256i *)(void *)(dst + (i + 4) * ld), _mm256_permute2x128_si256(t[i], t[i + 4], 0x31));
  }
}

/** 64 shuffles for 256 units. */
__attribute__((target("avx512f"))) static inline void syz_transpose_16x16(uint32_t *dst, ptrdiff_t ld, const void *src,
                                                                          ptrdiff_t stride)
{
  const char *x = src;
  __m512i r[16], s[16], t[16];
  for (int i = 0; i < 16; i++) r[i] = _mm512_loadu_si512(x + i * stride);
  for (int i = 0; i < 16; i += 2) {
    s[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    s[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
  /* t[4 q + c]: rows 4 q .. 4 q + 3 of units c, c + 4, c + 8, c + 12, one 128-bit part each. */
  for (int i = 0; i < 16; i += 4) {
    t[i] = _mm512_unpacklo_epi64(s[i], s[i + 2]);
    t[i + 1] = _mm512_unpackhi_epi64(s[i], s[i + 2]);
    t[i + 2] = _mm512_unpacklo_epi64(s[i + 1], s[i + 3]);
    t[i + 3] = _mm512_unpackhi_epi64(s[i + 1], s[i + 3]);
  }
  for (int c = 0; c < 4; c++) {
    __m512i a = _mm512_shuffle_i32x4(t[c], t[4 + c], 0x88), b = _mm512_shuffle_i32x4(t[8 + c], t[12 + c], 0x88);
    __m512i d = _mm512_shuffle_i32x4(t[c], t[4 + c], 0xdd), e = _mm512_shuffle_i32x4(t[8 + c], t[12 + c], 0xdd);
    _mm512_storeu_si512(dst + c * ld, _mm512_shuffle_i32x4(a, b, 0x88));
    _mm512_storeu_si512(dst + (c + 8) * ld, _mm512_shuffle_i32x4(a, b, 0xdd));
    _mm512_storeu_si512(dst + (c + 4) * ld, _mm512_shuffle_i32x4(d, e, 0x88));
    _mm512_storeu_si512(dst + (c + 12) * ld, _mm512_shuffle_i32x4(d, e, 0xdd));
  }
}
