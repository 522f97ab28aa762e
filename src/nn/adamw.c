/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * AdamW: one pass over weight, both moments and gradient, 28 bytes per element, bound by memory.
 *
 * The scalars (bias corrections, step size) are float64 and rounded once; the element-wise part is float32, as
 * PyTorch's is. Two roundings differ: products and sums are fused, and sqrt(v) is multiplied by the float32 of 1 /
 * sqrt(1 - beta2^t) where PyTorch divides, because a division would make the loop slower than memory. Every fusion of a
 * product and a sum is written out: otherwise the compiler could round the scalar end of a block differently from its
 * vector part, and the result would depend on how the arrays are cut.
 */
#include <math.h>

#include "syzygy/nn.h"

/* 16 Ki elements are 256 KiB in four arrays: long enough for the hardware prefetcher, short enough to share out evenly.
 */
enum { BLOCK = 16384 };

typedef struct adamw_scalars {
  float scale, decay, beta1, one_minus_beta1, beta2, one_minus_beta2, step_size, inverse_root_correction2, eps;
} adamw_scalars;

static void update_block(const adamw_scalars *s, float *restrict w, float *restrict m, float *restrict v,
                         const float *restrict g, int64_t n)
{
  const adamw_scalars k = *s;
  for (int64_t i = 0; i < n; i++) {
    float gi = g[i] * k.scale;
    float mi = fmaf(m[i], k.beta1, gi * k.one_minus_beta1);
    float vi = fmaf(v[i], k.beta2, gi * gi * k.one_minus_beta2);
    m[i] = mi;
    v[i] = vi;
    w[i] = fmaf(-k.step_size, mi / fmaf(sqrtf(vi), k.inverse_root_correction2, k.eps), w[i] * k.decay);
  }
}

#ifdef __AVX2__
#include "kernel_adamw.h"
#endif

static adamw_scalars scalars_of(const syz_adamw *o, int64_t step, double gradient_scale)
{
  double correction1 = 1.0 - pow(o->beta1, (double)step), correction2 = 1.0 - pow(o->beta2, (double)step);
  return (adamw_scalars){
      .scale = (float)gradient_scale,
      .decay = (float)(1.0 - o->lr * o->weight_decay),
      .beta1 = (float)o->beta1,
      .one_minus_beta1 = (float)(1.0 - o->beta1),
      .beta2 = (float)o->beta2,
      .one_minus_beta2 = (float)(1.0 - o->beta2),
      .step_size = (float)(o->lr / correction1),
      .inverse_root_correction2 = (float)(1.0 / sqrt(correction2)),
      .eps = (float)o->eps,
  };
}

void syz_adamw_update(const syz_adamw *o, int64_t step, double gradient_scale, float *w, float *m, float *v,
                      const float *g, int64_t n, int threads)
{
  SYZ_ASSERT(step >= 1 && threads >= 1);
  const double start = syz_profile_begin();
  const adamw_scalars s = scalars_of(o, step, gradient_scale);
  int64_t blocks = (n + BLOCK - 1) / BLOCK;
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1 && blocks > 1)
  for (int64_t b = 0; b < blocks; b++) {
    int64_t i = b * BLOCK, count = n - i < BLOCK ? n - i : BLOCK;
    update_block(&s, w + i, m + i, v + i, g + i, count);
  }
  syz_profile_end(start, SYZ_PROFILE_OPTIMISER, "AdamW", 1, 0, 14.0 * (double)n, 28.0 * (double)n);
}

#ifndef __AVX2__
enum { SUMMED_LANES = 2 };

/* For other processors: in pieces that stay in the first-level cache from one loop to the next. */
static void update_summed(const adamw_scalars *s, float *w, float *m, float *v, const float *g, int64_t n,
                          uint64_t before[4], uint64_t after[3])
{
  enum { PIECE = 1024 };
  for (int64_t i = 0; i < n; i += PIECE) {
    const int64_t count = n - i < PIECE ? n - i : PIECE;
    float *const x[] = {w + i, m + i, v + i};
    for (int k = 0; k < 3; k++) before[k] += syz_sum_of_bits(x[k], count);
    before[3] += syz_sum_of_bits(g + i, count);
    update_block(s, w + i, m + i, v + i, g + i, count);
    for (int k = 0; k < 3; k++) after[k] += syz_sum_of_bits(x[k], count);
  }
}
#endif

void syz_adamw_update_summed(const syz_adamw *o, int64_t step, double gradient_scale, float *w, float *m, float *v,
                             const float *g, int64_t n, uint64_t before[4], uint64_t after[3])
{
  SYZ_ASSERT(step >= 1);
  const adamw_scalars s = scalars_of(o, step, gradient_scale);
  const int64_t whole = n / SUMMED_LANES * SUMMED_LANES, rest = n - whole;
  float *const end[] = {w + whole, m + whole, v + whole};
  for (int k = 0; k < 3; k++) before[k] = syz_sum_of_bits(end[k], rest);
  before[3] = syz_sum_of_bits(g + whole, rest);
  update_block(&s, end[0], end[1], end[2], g + whole, rest);
  for (int k = 0; k < 3; k++) after[k] = syz_sum_of_bits(end[k], rest);
  update_summed(&s, w, m, v, g, whole, before, after);
}
