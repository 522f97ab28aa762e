/* SPDX-License-Identifier: BSD-3-Clause */
/** Vector loops over one row, and their scalar forms; private to this room. */
#pragma once

#include "syzygy/nn.h"

/** Two versions of a function, chosen when the program starts: AVX2 (the build's base) and AVX-512. On Arm there is
 * one, NEON. */
#ifdef __x86_64__
#define SYZ_CLONES __attribute__((target_clones("default", "arch=x86-64-v4")))
#else
#define SYZ_CLONES
#endif

/**
 * Phi(u) = (1 + erf(u / sqrt 2)) / 2 as 1/2 + u P(t), t = 2 u^2 / 5.3^2 - 1, P the least-maximum polynomial of degree
 * 14 on |u| <= 5.3 (Lawson's iteration, tools/fit_gelu.py); 0 and 1 beyond. Absolute error below 1.2e-7 in float32 (one
 * unit in the last place of 1), of u Phi(u) below 6.2e-7. Fused multiply-adds only, no division or exponential: 16
 * elements take about 10 cycles.
 */
#define SYZ_CDF_CUT 5.3f
#define SYZ_CDF_SQUARE 0.071199715f /* 2 / 5.3^2 */
enum { SYZ_CDF_TERMS = 15 };
static const float syz_cdf_term[SYZ_CDF_TERMS] = {0.133392558f,    -0.0665185079f,  0.0492641628f,  -0.0395889319f,
                                                  0.0320795216f,   -0.0252983011f,  0.0189258363f,  -0.0131854741f,
                                                  0.00882816967f,  -0.00584955094f, 0.00313492934f, -0.00109594734f,
                                                  0.000732079614f, -0.00076456595f, 0.000283629925f};

/** gelu'(u) = Phi(u) + u phi(u) in the same form on |u| <= 5.6: absolute error below 4.8e-7. */
#define SYZ_SLOPE_CUT 5.6f
#define SYZ_SLOPE_SQUARE 0.06377551f /* 2 / 5.6^2 */
enum { SYZ_SLOPE_TERMS = 16 };
static const float syz_slope_term[SYZ_SLOPE_TERMS] = {0.126416579f,   -0.0642829016f,  0.0518161096f, -0.050947234f,
                                                      0.0565010682f,  -0.0651848018f,  0.073201336f,  -0.0721658245f,
                                                      0.0600380227f,  -0.0558827147f,  0.0575312562f, -0.0321614109f,
                                                      0.00184467493f, -0.00690463977f, 0.0162352659f, -0.00676905783f};

static inline float syz_half_plus_odd(float u, float cut, float square, const float *term, int terms)
{
  const float x = u > cut ? cut : (u < -cut ? -cut : u);
  const float t = x * x * square - 1.0f;
  float p = term[terms - 1];
#pragma GCC unroll 16
  for (int i = terms - 2; i >= 0; i--) p = p * t + term[i];
  const float y = x * p + 0.5f;
  return u > cut ? 1.0f : (u < -cut ? 0.0f : y);
}

static inline float syz_gelu(float u)
{
  return u * syz_half_plus_odd(u, SYZ_CDF_CUT, SYZ_CDF_SQUARE, syz_cdf_term, SYZ_CDF_TERMS);
}

static inline float syz_gelu_slope(float u)
{
  return syz_half_plus_odd(u, SYZ_SLOPE_CUT, SYZ_SLOPE_SQUARE, syz_slope_term, SYZ_SLOPE_TERMS);
}

/** Widest row of bfloat16 gradients that syz_layernorm_backward takes: it widens a row on the stack. */
enum { SYZ_NORM_WIDTH = 8192 };

/** y[i] += x[i]. */
void syz_row_add(float *y, const float *x, int64_t n);

/** Backward pass of the residual y += scale v: dy [rows, width] of `type` = scale dx (scale NULL: dx); dscale [width]
 * += column sums of dx v unless NULL. v [rows, width] of `type`, as the residual epilogue stored it (NULL when dscale
 * is). */
void syz_layerscale_backward(syz_dtype type, void *dy, float *dscale, const float *dx, const void *v,
                             const float *scale, int64_t rows, int64_t width);

/*
 * The operations of a branch on the rows of the residual stream that it keeps (stochastic depth). Arrays hold the kept
 * rows only, except the stream and its gradient: kept row r is their row `at[r]`, or r where `at` is NULL. Rows of y
 * and dy are `stride` elements apart. Otherwise as in nn.h.
 */

/** copy [rows, width]: the kept rows of x, for the backward pass; NULL: not. */
void syz_layernorm_forward_at(syz_dtype type_y, void *y, float *mean, float *rstd, float *copy, const float *x,
                              const int64_t *at, const float *gain, const float *bias, float eps, int64_t rows,
                              int64_t width, int64_t stride);
/** x [rows, width] is the copy of the kept rows. */
void syz_layernorm_backward_at(float *dx, const int64_t *at, bool is_added, float *dgain, float *dbias,
                               syz_dtype type_dy, const void *dy, const float *x, const float *mean, const float *rstd,
                               const float *gain, int64_t rows, int64_t width, int64_t stride);
/** dscale += factor times the column sums of dx v: the derivative by a gain, where scale = factor times gain. */
void syz_layerscale_backward_at(syz_dtype type, void *dy, float *dscale, float factor, const float *dx,
                                const int64_t *at, const void *v, const float *scale, int64_t rows, int64_t width,
                                int64_t stride);

/**
 * One row of a linear layer after its product: v = product (+ bias), then by `epilogue` (nn.h); scale multiplies v in
 * the residual form only. bias, scale, u may be NULL.
 */
void syz_row_epilogue(syz_dtype act, syz_epilogue epilogue, const float *product, const float *bias, const float *scale,
                      void *y, void *u, int64_t n);
