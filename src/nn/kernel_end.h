/* SPDX-License-Identifier: BSD-3-Clause */
/** Finishes 16 sums, for kernel_body.h and kernel_amx.c: bias, GELU, residual, rounding to the type, fused into the
 * product. Macros as in kernel_body.h. */
#include "kernel.h"
#include "rowwise.h"

#ifdef KERNEL_GELU_TABLE
/* The table needs half as many instructions as the polynomial, for kernels whose products are too fast for the
 * polynomial. */
#include "gelu_table.h"

/** The difference from 1 of a function of gelu_table.h at |u|; *t = 6 |u|, within the table. A NaN stays a NaN, because
 * it is the second operand of the minimum. */
INLINE __m512 missing16(const float table[4][32], __m512 u, __m512 *t)
{
  *t = _mm512_min_ps(_mm512_set1_ps(0x1.fffffep4f), _mm512_mul_ps(_mm512_abs_ps(u), _mm512_set1_ps(6.0f)));
  const __m512i interval = _mm512_cvttps_epi32(*t);
  const __m512 r = _mm512_reduce_ps(*t, _MM_FROUND_TO_NEG_INF);
#define TERM(k) _mm512_permutex2var_ps(_mm512_loadu_ps(table[k]), interval, _mm512_loadu_ps(table[k] + 16))
  return _mm512_fmadd_ps(_mm512_fmadd_ps(_mm512_fmadd_ps(TERM(3), r, TERM(2)), r, TERM(1)), r, TERM(0));
#undef TERM
}

INLINE __m512 gelu16(__m512 u)
{
  __m512 t;
  const __m512 missing = missing16(syz_gelu_cdf_missing, u, &t);
  return _mm512_fnmadd_ps(t, missing, _mm512_max_ps(_mm512_setzero_ps(), u));
}

INLINE __m512 slope16(__m512 u)
{
  __m512 t;
  const __m512 missing = missing16(syz_gelu_slope_missing, u, &t);
  return _mm512_mask_sub_ps(missing, _mm512_cmp_ps_mask(u, _mm512_setzero_ps(), _CMP_GT_OQ), _mm512_set1_ps(1.0f),
                            missing);
}
#else
INLINE __m512 half_plus_odd(__m512 u, float cut, float square, const float *term, int terms)
{
  const __m512 c = _mm512_set1_ps(cut);
  /* min and max return their second operand when either is a NaN, so u is the second. */
  const __m512 x = _mm512_max_ps(_mm512_sub_ps(_mm512_setzero_ps(), c), _mm512_min_ps(c, u));
  const __m512 t = _mm512_fmadd_ps(_mm512_mul_ps(x, x), _mm512_set1_ps(square), _mm512_set1_ps(-1.0f));
  __m512 p = _mm512_set1_ps(term[terms - 1]);
#pragma GCC unroll 16
  for (int i = terms - 2; i >= 0; i--) p = _mm512_fmadd_ps(p, t, _mm512_set1_ps(term[i]));
  const __m512 y = _mm512_fmadd_ps(x, p, _mm512_set1_ps(0.5f));
  const __m512 z = _mm512_mask_blend_ps(_mm512_cmp_ps_mask(u, c, _CMP_GT_OQ), y, _mm512_set1_ps(1.0f));
  return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(u, _mm512_sub_ps(_mm512_setzero_ps(), c), _CMP_LT_OQ), z,
                              _mm512_setzero_ps());
}

INLINE __m512 gelu16(__m512 u)
{
  return _mm512_mul_ps(u, half_plus_odd(u, SYZ_CDF_CUT, SYZ_CDF_SQUARE, syz_cdf_term, SYZ_CDF_TERMS));
}

INLINE __m512 slope16(__m512 u)
{
  return half_plus_odd(u, SYZ_SLOPE_CUT, SYZ_SLOPE_SQUARE, syz_slope_term, SYZ_SLOPE_TERMS);
}
#endif

/** Writes 16 sums at (row, column); full vectors or the lanes of `mask`. */
INLINE void finish(const syz_tile_end *e, syz_tile_action action, __m512 v, int64_t row, int64_t column, bool is_full,
                   __mmask16 mask)
{
  float *y32 = (float *)e->y + row * e->ldy + column;
  KERNEL_TYPE *y = (KERNEL_TYPE *)e->y + row * e->ldy + column, *u = (KERNEL_TYPE *)e->u + row * e->ldu + column;
  if (action != SYZ_TILE_SLOPE && action != SYZ_TILE_ADD && e->bias)
    v = _mm512_add_ps(v, is_full ? _mm512_loadu_ps(e->bias + column) : _mm512_maskz_loadu_ps(mask, e->bias + column));
#define PUT_F32(p, x) (is_full ? _mm512_storeu_ps(p, x) : _mm512_mask_storeu_ps(p, mask, x))
#define GET_F32(p) (is_full ? _mm512_loadu_ps(p) : _mm512_maskz_loadu_ps(mask, p))
#define PUT_ACT(p, x)                                                                                                  \
  do {                                                                                                                 \
    if (is_full)                                                                                                       \
      STORE_ACT(p, x);                                                                                                 \
    else                                                                                                               \
      STORE_ACT_MASK(p, mask, x);                                                                                      \
  } while (0)
  switch (action) {
  case SYZ_TILE_F32:
    PUT_F32(y32, v);
    break;
  case SYZ_TILE_ACT:
    PUT_ACT(y, v);
    break;
  case SYZ_TILE_RESIDUAL:
    if (e->row_of_y) y32 = (float *)e->y + e->row_of_y[row] * e->ldy + column;
    if (e->u) PUT_ACT(u, v);
    if (e->scale)
      PUT_F32(y32, _mm512_fmadd_ps(v, GET_F32(e->scale + column), GET_F32(y32)));
    else
      PUT_F32(y32, _mm512_add_ps(GET_F32(y32), v));
    break;
  case SYZ_TILE_GELU:
    if (e->u) PUT_ACT(u, v);
    PUT_ACT(y, gelu16(v));
    break;
  case SYZ_TILE_GELU_F32:
    PUT_F32(y32, gelu16(v));
    break;
  case SYZ_TILE_SLOPE:
    PUT_ACT(y, _mm512_mul_ps(v, slope16(is_full ? LOAD_ACT(u) : LOAD_ACT_MASK(mask, u))));
    break;
  case SYZ_TILE_ADD:
    PUT_F32(y32, _mm512_add_ps(GET_F32(y32), v));
    break;
  case SYZ_TILE_ADD_ALL:
    v = _mm512_add_ps(v, GET_F32(y32));
    PUT_F32(y32, e->is_gelu ? gelu16(v) : v);
    break;
  }
#undef PUT_F32
#undef GET_F32
#undef PUT_ACT
}

#ifdef STORE_ACT_PAIR
/** Writes 32 sums, full vectors, to y (and u), with bias and scale of their columns (NULL: none). In the type they are
 * one cache line. */
INLINE void finish_pair(syz_tile_action action, bool is_gelu, __m512 v, __m512 w, void *to_y, void *to_u,
                        const float *bias, const float *scale)
{
  KERNEL_TYPE *y = to_y, *u = to_u;
  float *y32 = to_y;
  if (action != SYZ_TILE_SLOPE && action != SYZ_TILE_ADD && bias)
    v = _mm512_add_ps(v, _mm512_loadu_ps(bias)), w = _mm512_add_ps(w, _mm512_loadu_ps(bias + 16));
  switch (action) {
  case SYZ_TILE_GELU:
    if (u) STORE_ACT_PAIR(u, v, w);
    STORE_ACT_PAIR(y, gelu16(v), gelu16(w));
    return;
  case SYZ_TILE_ACT:
    STORE_ACT_PAIR(y, v, w);
    return;
  case SYZ_TILE_SLOPE:
    STORE_ACT_PAIR(y, _mm512_mul_ps(v, slope16(LOAD_ACT(u))), _mm512_mul_ps(w, slope16(LOAD_ACT(u + 16))));
    return;
  case SYZ_TILE_RESIDUAL:
    if (u) STORE_ACT_PAIR(u, v, w);
    v = scale ? _mm512_fmadd_ps(v, _mm512_loadu_ps(scale), _mm512_loadu_ps(y32))
              : _mm512_add_ps(_mm512_loadu_ps(y32), v);
    w = scale ? _mm512_fmadd_ps(w, _mm512_loadu_ps(scale + 16), _mm512_loadu_ps(y32 + 16))
              : _mm512_add_ps(_mm512_loadu_ps(y32 + 16), w);
    break;
  case SYZ_TILE_ADD:
  case SYZ_TILE_ADD_ALL:
    v = _mm512_add_ps(v, _mm512_loadu_ps(y32)), w = _mm512_add_ps(w, _mm512_loadu_ps(y32 + 16));
    if (action == SYZ_TILE_ADD_ALL && is_gelu) v = gelu16(v), w = gelu16(w);
    break;
  case SYZ_TILE_GELU_F32:
    v = gelu16(v), w = gelu16(w);
    break;
  case SYZ_TILE_F32:
    break;
  }
  _mm512_storeu_ps(y32, v);
  _mm512_storeu_ps(y32 + 16, w);
}
#endif
