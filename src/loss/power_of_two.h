/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * 2^x for loops that the compiler turns into vectors; for files compiled with fused multiply-adds.
 *
 * 2^x = 2^n 2^r, n = round(x), by the polynomial of the attention kernels (least relative error on |r| <= 1/2, 2e-9,
 * far below float32 rounding, 1e-7). Adding 1.5 2^23 + 127 leaves n + 127 in the low bits of a float: shifted by 23
 * they are 2^n. Unlike an addition to the exponent of 2^r, the product with it keeps a NaN a NaN, whatever its payload.
 * x below -126 gives 2^-126; x at most 127. 2^0 is 1 exactly.
 */
#pragma once

#include <stdint.h>

static inline float power_of_two(float x)
{
  const float shift = 0x1.8p23f + 127.0f;
  x = x < -126.0f ? -126.0f : x;
  const float t = x + shift, r = x - (t - shift);
  union {
    float f;
    uint32_t u;
  } scale = {t};
  scale.u <<= 23;
  float p = r * 0x1.41d334p-13f + 0x1.5f456ap-10f;
  p = p * r + 0x1.3b2dbcp-7f;
  p = p * r + 0x1.c6aed4p-5f;
  p = p * r + 0x1.ebfbdap-3f;
  p = p * r + 0x1.62e430p-1f;
  p = p * r + 1.0f;
  return p * scale.f;
}
