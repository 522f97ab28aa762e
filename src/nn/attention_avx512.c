/* SPDX-License-Identifier: BSD-3-Clause */
/** Attention in float32 for processors with AVX-512. */
#include <immintrin.h>

#include "attention.h"
#include "attention_transpose.h"

#define KERNEL __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq")))

enum { LANES = 16, ROWS = 8, VECTORS = 3 };
#define PAIR 1
typedef float element;
typedef __m512 vec;
typedef __m512 unit_vec;

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

/** 2^x = 2^n 2^r with n = round(x); 2^r by the polynomial of degree 6 with the least relative error on |r| <= 1/2,
 * 2e-9, far below float32 rounding (1e-7). n is added to the exponent. A NaN stays a NaN, because the maximum then
 * returns its second operand. */
OPERATION vec v_exp2(vec x)
{
  const vec shift = _mm512_set1_ps(0x1.8p23f);
  x = _mm512_max_ps(_mm512_set1_ps(-126.0f), x);
  vec t = _mm512_add_ps(x, shift), r = _mm512_sub_ps(x, _mm512_sub_ps(t, shift));
  vec p = _mm512_fmadd_ps(r, _mm512_set1_ps(0x1.41d334p-13f), _mm512_set1_ps(0x1.5f456ap-10f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.3b2dbcp-7f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.c6aed4p-5f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.ebfbdap-3f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.62e430p-1f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
  return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(p), _mm512_slli_epi32(_mm512_castps_si512(t), 23)));
}

OPERATION unit_vec u_load(const uint32_t *x) { return _mm512_castsi512_ps(_mm512_loadu_si512(x)); }
OPERATION void u_store(uint32_t *x, unit_vec u) { _mm512_storeu_si512(x, _mm512_castps_si512(u)); }
OPERATION unit_vec u_broadcast(const uint32_t *x) { return _mm512_castsi512_ps(_mm512_set1_epi32((int)*x)); }
OPERATION vec u_dot(vec c, unit_vec a, unit_vec b) { return _mm512_fmadd_ps(a, b, c); }

OPERATION void u_transpose(uint32_t *dst, ptrdiff_t ld, const void *src, ptrdiff_t stride)
{
  syz_transpose_16x16(dst, ld, src, stride);
}

OPERATION void e_row(void *dst, vec x) { _mm512_storeu_ps(dst, x); }
OPERATION void e_part(void *dst, vec x, int64_t n) { _mm512_mask_storeu_ps(dst, (__mmask16)((1u << n) - 1u), x); }

#include "attention_core.h"

static bool is_supported(void) { return syz_processor_isa() >= SYZ_ISA_AVX512; }

const attention_kernel syz_attention_avx512 = {"avx512", SYZ_F32, is_supported, scratch_bytes, forward, backward};
