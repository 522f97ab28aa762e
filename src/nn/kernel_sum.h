/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The sums of a tile, the innermost loop of all products. kernel_body.h and kernel_int8.c define:
 *
 *   KERNEL_TARGET              function attribute with the instruction sets
 *   DOT(sum, a, b)             sum + the products of a unit, per lane
 *   SUM_VECTOR                 16 sums; SUM_ZERO() is zero; SUM_LOAD(p), SUM_STORE(p, v) as 64 aligned bytes
 */
#include "kernel_lanes.h"

enum { VECTORS = SYZ_TILE_COLUMNS / 16 };

/**
 * The sums of m rows (a constant where this is inlined). `is_continued`: added to `sum`. The pragma unrolls the loop:
 * without it gcc 12 keeps the array in memory around the loop.
 */
INLINE void sum_rows(int m, int64_t units, const uint32_t *a, int64_t row_stride, int64_t unit_stride,
                     const uint32_t *b, float *sum, bool is_continued)
{
  SUM_VECTOR acc[SYZ_TILE_ROWS][VECTORS];
#pragma GCC unroll 8
  for (int i = 0; i < m; i++)
#pragma GCC unroll 8
    for (int j = 0; j < VECTORS; j++) acc[i][j] = SUM_ZERO();
  if (is_continued)
#pragma GCC unroll 8
    for (int i = 0; i < m; i++)
#pragma GCC unroll 8
      for (int j = 0; j < VECTORS; j++) acc[i][j] = SUM_LOAD(sum + i * SYZ_TILE_COLUMNS + j * 16);
  for (int64_t k = 0; k < units; k++) {
    __m512i bv[VECTORS];
#pragma GCC unroll 8
    for (int j = 0; j < VECTORS; j++) bv[j] = _mm512_loadu_si512(b + j * 16);
#pragma GCC unroll 8
    for (int i = 0; i < m; i++) {
      const __m512i av = _mm512_set1_epi32((int)a[i * row_stride]);
#pragma GCC unroll 8
      for (int j = 0; j < VECTORS; j++) acc[i][j] = DOT(acc[i][j], av, bv[j]);
    }
    a += unit_stride;
    b += SYZ_TILE_COLUMNS;
  }
#pragma GCC unroll 8
  for (int i = 0; i < m; i++)
#pragma GCC unroll 8
    for (int j = 0; j < VECTORS; j++) SUM_STORE(sum + i * SYZ_TILE_COLUMNS + j * 16, acc[i][j]);
}

/** One function per row count: when six are inlined into one, gcc 12 spills registers in the loop. */
#define SUM_ROWS_OF(M)                                                                                                 \
  __attribute__((noinline))                                                                                            \
  KERNEL_TARGET static void sum_rows_##M(int64_t units, const uint32_t *a, int64_t row_stride, int64_t unit_stride,    \
                                         const uint32_t *b, float *sum, bool is_continued)                             \
  {                                                                                                                    \
    sum_rows(M, units, a, row_stride, unit_stride, b, sum, is_continued);                                              \
  }
SUM_ROWS_OF(1)
SUM_ROWS_OF(2)
SUM_ROWS_OF(3)
SUM_ROWS_OF(4)
SUM_ROWS_OF(5)
SUM_ROWS_OF(6)

KERNEL_TARGET static void sum_tile(int m, int64_t units, const uint32_t *a, int64_t row_stride, int64_t unit_stride,
                                   const uint32_t *b, float *sum, bool is_continued)
{
  switch (m) {
  case 1:
    sum_rows_1(units, a, row_stride, unit_stride, b, sum, is_continued);
    break;
  case 2:
    sum_rows_2(units, a, row_stride, unit_stride, b, sum, is_continued);
    break;
  case 3:
    sum_rows_3(units, a, row_stride, unit_stride, b, sum, is_continued);
    break;
  case 4:
    sum_rows_4(units, a, row_stride, unit_stride, b, sum, is_continued);
    break;
  case 5:
    sum_rows_5(units, a, row_stride, unit_stride, b, sum, is_continued);
    break;
  default:
    sum_rows_6(units, a, row_stride, unit_stride, b, sum, is_continued);
    break;
  }
}

#include "kernel_block.h"
