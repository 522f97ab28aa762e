/* SPDX-License-Identifier: BSD-3-Clause */
/** Vectors, exponential, logarithm and softplus of REAL, without branches so that loops over a tile vectorise. */
#pragma once

#include <math.h>
#include <string.h>

#include "engine.h"
#include "syzygy/numbers.h"

typedef REAL vec __attribute__((vector_size(32), may_alias));
enum { LANES = 32 / sizeof(REAL), VECS = FLOW_TILE / LANES };
#define INLINE static inline __attribute__((always_inline))

#if REAL_IS_DOUBLE
/** exp(x) within 3e-16; x is held between -708 and 709. NaN stays NaN. */
INLINE REAL exp_of(REAL x)
{
  union {
    double f;
    uint64_t u;
  } v;
  x = x < -708.0 ? -708.0 : x;
  x = x > 709.0 ? 709.0 : x;
  v.f = x * 1.4426950408889634 + 0x1.8p52;
  const double n = v.f - 0x1.8p52, r = (x - n * 0x1.62e42feep-1) - n * 0x1.a39ef35793c76p-33;
  double p = 1.0 / 479001600.0; /* Taylor to degree 12: |r| <= ln 2 / 2 leaves 2e-16 */
  p = p * r + 1.0 / 39916800.0;
  p = p * r + 1.0 / 3628800.0;
  p = p * r + 1.0 / 362880.0;
  p = p * r + 1.0 / 40320.0;
  p = p * r + 1.0 / 5040.0;
  p = p * r + 1.0 / 720.0;
  p = p * r + 1.0 / 120.0;
  p = p * r + 1.0 / 24.0;
  p = p * r + 1.0 / 6.0;
  p = p * r + 0.5;
  p = p * r + 1.0;
  p = p * r + 1.0;
  v.u = (v.u << 52) + UINT64_C(0x3ff0000000000000);
  return p * v.f;
}

/** log(w) of normal w > 0 within 3e-16; NaN and infinity give NaN. */
INLINE REAL log_of(REAL w)
{
  union {
    double f;
    uint64_t u;
  } v = {w}, e;
  const uint64_t half = UINT64_C(0x3fe6a09e667f3bcd); /* sqrt(1/2) */
  const uint64_t shifted = v.u - half;
  e.u = ((shifted + UINT64_C(0x3ff0000000000000)) >> 52) | UINT64_C(0x4330000000000000);
  const double n = (e.f - 0x1p52) - 1023.0;
  v.u = (shifted & UINT64_C(0x000fffffffffffff)) + half;
  const double s = (v.f - 1.0) / (v.f + 1.0), z = s * s;
  double p = 1.0 / 21.0; /* 2 atanh(s), |s| <= 0.1716 */
  p = p * z + 1.0 / 19.0;
  p = p * z + 1.0 / 17.0;
  p = p * z + 1.0 / 15.0;
  p = p * z + 1.0 / 13.0;
  p = p * z + 1.0 / 11.0;
  p = p * z + 1.0 / 9.0;
  p = p * z + 1.0 / 7.0;
  p = p * z + 0.2;
  p = p * z + 1.0 / 3.0;
  p = p * z + 1.0;
  return n * 0x1.62e42feep-1 + (2.0 * s * p + n * 0x1.a39ef35793c76p-33) + (w - w);
}
INLINE REAL root_of(REAL x) { return sqrt(x); }
#else
/** exp(x) within 2e-7; x is held between -87 and 88. NaN stays NaN. */
INLINE REAL exp_of(REAL x)
{
  union {
    float f;
    uint32_t u;
  } v;
  x = x < -87.0f ? -87.0f : x;
  x = x > 88.0f ? 88.0f : x;
  v.f = x * 1.44269504f + 0x1.8p23f;
  const float n = v.f - 0x1.8p23f, r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.0f / 5040.0f; /* Taylor to degree 7: |r| <= ln 2 / 2 leaves 5e-9 */
  p = p * r + 1.0f / 720.0f;
  p = p * r + 1.0f / 120.0f;
  p = p * r + 1.0f / 24.0f;
  p = p * r + 1.0f / 6.0f;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  v.u = (v.u << 23) + 0x3f800000u;
  return p * v.f;
}

INLINE REAL log_of(REAL w) { return syz_log_f32(w) + (w - w); }
INLINE REAL root_of(REAL x) { return sqrtf(x); }
#endif

/** Softplus of x, and its derivative, the logistic function. */
INLINE REAL softplus_of(REAL x, REAL *slope)
{
  const REAL e = exp_of(x < 0 ? x : -x), one = 1;
  *slope = (x < 0 ? e : one) / (one + e);
  return (x < 0 ? 0 : x) + log_of(one + e);
}
