/* SPDX-License-Identifier: BSD-3-Clause */
/** The own kernels in float32, for processors with AVX-512. A unit is one number. */
#include <immintrin.h>
#include <string.h>

#define KERNEL_TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq")))
#define KERNEL_TYPE float
#define KERNEL_UNIT 1
#define DOT(sum, a, b) _mm512_fmadd_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b), sum)
#define STORE_ACT(p, v) _mm512_storeu_ps(p, v)
#define STORE_ACT_MASK(p, mask, v) _mm512_mask_storeu_ps(p, mask, v)
#define LOAD_ACT(p) _mm512_loadu_ps(p)
#define LOAD_ACT_MASK(mask, p) _mm512_maskz_loadu_ps(mask, p)
#define UNITS_OF_WEIGHTS(w) _mm512_loadu_si512(w)
#define UNITS_OF_ROWS(lo, hi, mask) ((void)(hi), _mm512_maskz_loadu_epi32(mask, lo))
#define UNITS_OF_WEIGHT_ROWS(lo, hi, mask) UNITS_OF_ROWS(lo, hi, mask)
#define PUT_64_UNITS(at, lo, hi)                                                                                       \
  do {                                                                                                                 \
    (void)(hi);                                                                                                        \
    for (int j_ = 0; j_ < 64; j_ += 16) _mm512_storeu_si512((at) + j_, _mm512_loadu_si512((lo) + j_));                 \
  } while (0)
#define PUT_6_UNITS(at, lo, hi) ((void)(hi), (void)memcpy(at, lo, 6 * sizeof(float)))
#define KERNEL_ONE(x, k) one_unit(x)
#define KERNEL_ONE_WEIGHT(x, k) one_unit(x)
#define KERNEL_ONE_ACROSS(x, ld, k) one_unit(x)

#include <stdint.h>

static inline uint32_t one_unit(const float *x)
{
  uint32_t bits;
  memcpy(&bits, x, sizeof bits);
  return bits;
}

#include "kernel_body.h"

const syz_packing syz_packing_f32 = KERNEL_PACKING;
const syz_kernel syz_kernel_f32 = KERNEL_TABLE("avx512", &syz_packing_f32);
