/* SPDX-License-Identifier: BSD-3-Clause */
/** Attention in float32 for every processor that syzygy runs on (AVX2 and FMA: x86-64-v3). */
#include <immintrin.h>
#include <string.h>

#include "attention.h"
#include "attention_transpose.h"

#define KERNEL

/* 12 of 16 registers hold sums. */
enum { LANES = 8, ROWS = 4, VECTORS = 3 };
#define PAIR 1
typedef float element;
typedef __m256 vec;
typedef __m256 unit_vec;

#define OPERATION static inline __attribute__((always_inline))
OPERATION vec v_zero(void) { return _mm256_setzero_ps(); }
OPERATION vec v_set1(float x) { return _mm256_set1_ps(x); }
OPERATION vec v_load(const float *x) { return _mm256_loadu_ps(x); }
OPERATION void v_store(float *x, vec v) { _mm256_storeu_ps(x, v); }
OPERATION vec v_add(vec a, vec b) { return _mm256_add_ps(a, b); }
OPERATION vec v_sub(vec a, vec b) { return _mm256_sub_ps(a, b); }
OPERATION vec v_mul(vec a, vec b) { return _mm256_mul_ps(a, b); }
OPERATION vec v_max(vec a, vec b) { return _mm256_max_ps(a, b); }
OPERATION vec v_fma(vec a, vec b, vec c) { return _mm256_fmadd_ps(a, b, c); }

/** As in attention_avx512.c. */
OPERATION vec v_exp2(vec x)
{
  const vec shift = _mm256_set1_ps(0x1.8p23f);
  x = _mm256_max_ps(_mm256_set1_ps(-126.0f), x);
  vec t = _mm256_add_ps(x, shift), r = _mm256_sub_ps(x, _mm256_sub_ps(t, shift));
  vec p = _mm256_fmadd_ps(r, _mm256_set1_ps(0x1.41d334p-13f), _mm256_set1_ps(0x1.5f456ap-10f));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0x1.3b2dbcp-7f));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0x1.c6aed4p-5f));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0x1.ebfbdap-3f));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0x1.62e430p-1f));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f));
  return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(p), _mm256_slli_epi32(_mm256_castps_si256(t), 23)));
}

OPERATION unit_vec u_load(const uint32_t *x)
{
  return _mm256_castsi256_ps(_mm256_loadu_si256((const __m256i *)(const void *)x));
}
OPERATION void u_store(uint32_t *x, unit_vec u) { _mm256_storeu_si256((__m256i *)(void *)x, _mm256_castps_si256(u)); }
OPERATION unit_vec u_broadcast(const uint32_t *x) { return _mm256_castsi256_ps(_mm256_set1_epi32((int)*x)); }
OPERATION vec u_dot(vec c, unit_vec a, unit_vec b) { return _mm256_fmadd_ps(a, b, c); }

OPERATION void u_transpose(uint32_t *dst, ptrdiff_t ld, const void *src, ptrdiff_t stride)
{
  syz_transpose_8x8(dst, ld, src, stride);
}

OPERATION void e_row(void *dst, vec x) { _mm256_storeu_si256((__m256i *)dst, _mm256_castps_si256(x)); }
OPERATION void e_part(void *dst, vec x, int64_t n)
{
  float row[8];
  _mm256_storeu_ps(row, x);
  memcpy(dst, row, (size_t)n * sizeof *row);
}

#include "attention_core.h"

static bool is_supported(void) { return true; }

const attention_kernel syz_attention_avx2 = {"avx2", SYZ_F32, is_supported, scratch_bytes, forward, backward};
