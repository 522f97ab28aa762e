/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Part of adamw.c: AdamW that also sums the bits of what it reads and writes. The sums are formed while the numbers are
 * in registers, so they cost little compared with the memory traffic. The same operations in the same order as
 * update_block, so the same bits; 8 elements at a time with AVX2.
 */
#pragma once

#include <immintrin.h>
#include <stdint.h>

enum { SUMMED_LANES = 8 };

static inline uint64_t sum_of_words(__m256i x)
{
  uint64_t word[4], all = 0;
  _mm256_storeu_si256((__m256i *)(void *)word, x);
  for (int k = 0; k < 4; k++) all += word[k];
  return all;
}

/** n: a multiple of SUMMED_LANES. Adds to before [w, m, v, g] and after [w, m, v]. */
static void update_summed(const adamw_scalars *s, float *w, float *m, float *v, const float *g, int64_t n,
                          uint64_t before[4], uint64_t after[3])
{
  const __m256 scale = _mm256_set1_ps(s->scale), decay = _mm256_set1_ps(s->decay), beta1 = _mm256_set1_ps(s->beta1),
               rest1 = _mm256_set1_ps(s->one_minus_beta1), beta2 = _mm256_set1_ps(s->beta2),
               rest2 = _mm256_set1_ps(s->one_minus_beta2), size = _mm256_set1_ps(s->step_size),
               root = _mm256_set1_ps(s->inverse_root_correction2), eps = _mm256_set1_ps(s->eps);
  __m256i w0 = _mm256_setzero_si256(), m0 = w0, v0 = w0, g0 = w0, w1 = w0, m1 = w0, v1 = w0;
  for (int64_t i = 0; i < n; i += SUMMED_LANES) {
    __m256 x = _mm256_loadu_ps(w + i), mi = _mm256_loadu_ps(m + i), vi = _mm256_loadu_ps(v + i),
           gi = _mm256_loadu_ps(g + i);
    w0 = _mm256_add_epi64(w0, _mm256_castps_si256(x));
    m0 = _mm256_add_epi64(m0, _mm256_castps_si256(mi));
    v0 = _mm256_add_epi64(v0, _mm256_castps_si256(vi));
    g0 = _mm256_add_epi64(g0, _mm256_castps_si256(gi));
    gi = _mm256_mul_ps(gi, scale);
    mi = _mm256_fmadd_ps(mi, beta1, _mm256_mul_ps(gi, rest1));
    vi = _mm256_fmadd_ps(vi, beta2, _mm256_mul_ps(_mm256_mul_ps(gi, gi), rest2));
    const __m256 way = _mm256_div_ps(mi, _mm256_fmadd_ps(_mm256_sqrt_ps(vi), root, eps));
    x = _mm256_fnmadd_ps(size, way, _mm256_mul_ps(x, decay));
    _mm256_storeu_ps(m + i, mi);
    _mm256_storeu_ps(v + i, vi);
    _mm256_storeu_ps(w + i, x);
    w1 = _mm256_add_epi64(w1, _mm256_castps_si256(x));
    m1 = _mm256_add_epi64(m1, _mm256_castps_si256(mi));
    v1 = _mm256_add_epi64(v1, _mm256_castps_si256(vi));
  }
  const __m256i first[4] = {w0, m0, v0, g0}, last[3] = {w1, m1, v1};
  for (int k = 0; k < 4; k++) before[k] += sum_of_words(first[k]);
  for (int k = 0; k < 3; k++) after[k] += sum_of_words(last[k]);
}
