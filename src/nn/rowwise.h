/* SPDX-License-Identifier: BSD-3-Clause */
/** Vector loops over one row, and the scalar forms they are made of; private to this room. */
#pragma once

#include "syzygy/nn.h"

/** Two versions of a function, chosen when the program starts: AVX2 (the build's base) and AVX-512. */
#define SYZ_CLONES __attribute__((target_clones("default", "arch=x86-64-v4")))

enum { SYZ_GELU_TERMS = 15, SYZ_DGELU_TERMS = 16 };

/**
 * Phi(u) = (1 + erf(u / sqrt 2)) / 2 as 1/2 + u P(t), t = 2 u^2 / 5.3^2 - 1, P the least-maximum polynomial of degree 14 on
 * |u| <= 5.3 (Lawson's iteration, tools/fit_gelu.py); 0 and 1 beyond. Absolute error below 1.2e-7 in float32 (one unit in the last place of 1),
 * of u Phi(u) below 6.2e-7. Fused multiply-adds only, no division or exponential: 16 elements take about 10 cycles.
 */
static inline float syz_normal_cdf(float u) {
  const float c = 5.3f;
  const float x = u > c ? c : (u < -c ? -c : u);
  const float t = x * x * 0.071199715f - 1.0f;
  float p = 0.000283629925f;
  p = p * t - 0.00076456595f;
  p = p * t + 0.000732079614f;
  p = p * t - 0.00109594734f;
  p = p * t + 0.00313492934f;
  p = p * t - 0.00584955094f;
  p = p * t + 0.00882816967f;
  p = p * t - 0.0131854741f;
  p = p * t + 0.0189258363f;
  p = p * t - 0.0252983011f;
  p = p * t + 0.0320795216f;
  p = p * t - 0.0395889319f;
  p = p * t + 0.0492641628f;
  p = p * t - 0.0665185079f;
  p = p * t + 0.133392558f;
  const float phi = x * p + 0.5f;
  return u > c ? 1.0f : (u < -c ? 0.0f : phi);
}

static inline float syz_gelu(float u) { return u * syz_normal_cdf(u); }

/** gelu'(u) = Phi(u) + u phi(u), in the same form on |u| <= 5.6: absolute error below 4.8e-7. */
static inline float syz_gelu_slope(float u) {
  const float c = 5.6f;
  const float x = u > c ? c : (u < -c ? -c : u);
  const float t = x * x * 0.06377551f - 1.0f;
  float p = -0.00676905783f;
  p = p * t + 0.0162352659f;
  p = p * t - 0.00690463977f;
  p = p * t + 0.00184467493f;
  p = p * t - 0.0321614109f;
  p = p * t + 0.0575312562f;
  p = p * t - 0.0558827147f;
  p = p * t + 0.0600380227f;
  p = p * t - 0.0721658245f;
  p = p * t + 0.073201336f;
  p = p * t - 0.0651848018f;
  p = p * t + 0.0565010682f;
  p = p * t - 0.050947234f;
  p = p * t + 0.0518161096f;
  p = p * t - 0.0642829016f;
  p = p * t + 0.126416579f;
  const float slope = x * p + 0.5f;
  return u > c ? 1.0f : (u < -c ? 0.0f : slope);
}

/** y[i] += x[i]. */
void syz_row_add(float *y, const float *x, int64_t n);

/**
 * One row of a linear layer after its product: v = product (+ bias), then by `epilogue` (nn.h); scale multiplies v in the residual
 * form only. bias, scale, u may be NULL.
 */
void syz_row_epilogue(syz_dtype act, syz_epilogue epilogue, const float *product, const float *bias, const float *scale, void *y,
                      void *u, int64_t n);
