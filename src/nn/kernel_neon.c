/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The own kernels in float32 for every 64-bit Arm processor. A unit is one number. The tile of 6 x 64 is summed in four
 * parts of 6 x 16: of the 32 registers, 24 hold sums, 4 a part of a row of B, 1 a broadcast number of A. The packed
 * layouts are those of kernel.h.
 */
#include <arm_neon.h>
#include <string.h>

#include "kernel.h"

#define KERNEL_TARGET
#define INLINE static inline __attribute__((always_inline))
#define KERNEL_TYPE float
#define KERNEL_UNIT 1
#define WIDEN(x) (x)
#define NARROW(v) (v)
#define ELEMENT(x) bits_of(x)
#define WEIGHT(w) bits_of(w)
#define PLACE(p, i, units, width) ((p) * (width) + (i))

static inline uint32_t bits_of(float x)
{
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}

enum { PART = 16, VECTORS = PART / 4 };

/** The sums of m rows (a constant where this is inlined) and 16 columns. */
INLINE void sum_part(int m, int64_t units, const float *a, int64_t row_stride, int64_t unit_stride, const float *b,
                     float *sum, bool is_continued)
{
  float32x4_t acc[SYZ_TILE_ROWS][VECTORS];
#pragma GCC unroll 8
  for (int i = 0; i < m; i++)
#pragma GCC unroll 8
    for (int j = 0; j < VECTORS; j++)
      acc[i][j] = is_continued ? vld1q_f32(sum + i * SYZ_TILE_COLUMNS + j * 4) : vdupq_n_f32(0);
  for (int64_t k = 0; k < units; k++) {
    float32x4_t bv[VECTORS];
#pragma GCC unroll 8
    for (int j = 0; j < VECTORS; j++) bv[j] = vld1q_f32(b + j * 4);
#pragma GCC unroll 8
    for (int i = 0; i < m; i++) {
      const float32x4_t av = vld1q_dup_f32(a + i * row_stride);
#pragma GCC unroll 8
      for (int j = 0; j < VECTORS; j++) acc[i][j] = vfmaq_f32(acc[i][j], av, bv[j]);
    }
    a += unit_stride;
    b += SYZ_TILE_COLUMNS;
  }
#pragma GCC unroll 8
  for (int i = 0; i < m; i++)
#pragma GCC unroll 8
    for (int j = 0; j < VECTORS; j++) vst1q_f32(sum + i * SYZ_TILE_COLUMNS + j * 4, acc[i][j]);
}

/** One function per row count, as in kernel_sum.h. */
#define SUM_ROWS_OF(M)                                                                                                 \
  __attribute__((noinline)) static void sum_rows_##M(int64_t units, const float *a, int64_t row_stride,                \
                                                     int64_t unit_stride, const float *b, float *sum,                  \
                                                     bool is_continued)                                                \
  {                                                                                                                    \
    for (int j = 0; j < SYZ_TILE_COLUMNS; j += PART)                                                                   \
      sum_part(M, units, a, row_stride, unit_stride, b + j, sum + j, is_continued);                                    \
  }
SUM_ROWS_OF(1)
SUM_ROWS_OF(2)
SUM_ROWS_OF(3)
SUM_ROWS_OF(4)
SUM_ROWS_OF(5)
SUM_ROWS_OF(6)

static void sum_tile(int m, int64_t units, const uint32_t *a, int64_t row_stride, int64_t unit_stride,
                     const uint32_t *b, float *sum, bool is_continued)
{
  static void (*const sum_rows[])(int64_t, const float *, int64_t, int64_t, const float *, float *,
                                  bool) = {sum_rows_1, sum_rows_2, sum_rows_3, sum_rows_4, sum_rows_5, sum_rows_6};
  sum_rows[m - 1](units, (const float *)(const void *)a, row_stride, unit_stride, (const float *)(const void *)b, sum,
                  is_continued);
}

#include "kernel_neon_body.h"

const syz_packing syz_packing_f32 = KERNEL_PACKING;
const syz_kernel syz_kernel_f32 = KERNEL_TABLE("neon", &syz_packing_f32);
