/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The sums of a tile by Arm's small matrix products, BFMMLA and USMMLA: 2 x 2 sums in a register, to which 64 bits of
 * two rows times 64 bits of two columns are added. 64 bits are two units, which are adjacent in the packed layouts:
 * panels are [units / 2][width][2], and the last of an odd number of units is [width] as in kernel.h. So pieces of an
 * even number of units begin at the same words as there. The tile of 6 x 64 is summed in four parts of 6 x 16: of the
 * 32 registers, 24 hold sums, 3 rows and 1 columns.
 *
 *   KERNEL_TARGET              function attribute with the instruction sets
 *   SUM_VECTOR                 type of 2 x 2 sums
 *   SUM_ZERO()                 zero sums
 *   SUM_LOAD(p), SUM_STORE(p, v)          a row of four sums from and to memory
 *   SUM_LOW(a, b), SUM_HIGH(a, b)         the lower (upper) halves of a and b, joined
 *   MMLA(sum, rows, columns)   sum + products; rows and columns are uint32x4_t
 */
#include <arm_neon.h>

#include "kernel.h"

#define INLINE static inline __attribute__((always_inline)) KERNEL_TARGET

#define MMLA_PLACE(p, i, units, width)                                                                                 \
  ((p) + 1 < (units) || (p) % 2 ? (p) / 2 * 2 * (width) + 2 * (i) + (p) % 2 : (p) * (width) + (i))

enum { PART = 16, COLUMN_PAIRS = PART / 2, ROW_PAIRS = SYZ_TILE_ROWS / 2 };

/** Adds two units of m rows, `distance` words apart, and of 16 columns. is_single: one unit, the other is zero. An odd
 * last row is paired with itself, and the second result is dropped. */
INLINE void add_units(int m, bool is_single, const uint32_t *a, int64_t distance, const uint32_t *b,
                      SUM_VECTOR acc[ROW_PAIRS][COLUMN_PAIRS])
{
  const uint32x4_t zero = vdupq_n_u32(0);
  uint32x4_t rows[ROW_PAIRS];
#pragma GCC unroll 8
  for (int i = 0; 2 * i < m; i++) {
    const uint32_t *even = a + 2 * i * distance, *odd = 2 * i + 1 < m ? even + distance : even;
    rows[i] = is_single ? vzip1q_u32(vcombine_u32(vset_lane_u32(*odd, vdup_n_u32(*even), 1), vdup_n_u32(0)), zero)
                        : vcombine_u32(vld1_u32(even), vld1_u32(odd));
  }
#pragma GCC unroll 8
  for (int j = 0; j < COLUMN_PAIRS; j++) {
    const uint32x4_t columns =
        is_single ? vzip1q_u32(vcombine_u32(vld1_u32(b + 2 * j), vdup_n_u32(0)), zero) : vld1q_u32(b + 4 * j);
#pragma GCC unroll 8
    for (int i = 0; 2 * i < m; i++) acc[i][j] = MMLA(acc[i][j], rows[i], columns);
  }
}

/** The sums of m rows (a constant where this is inlined) and 16 columns, of which `part` is the first. */
INLINE void sum_part(int m, int64_t units, const uint32_t *a, int64_t row_stride, int64_t unit_stride,
                     const uint32_t *b, int part, float *sum, bool is_continued)
{
  const bool is_packed = unit_stride != 1;
  const int64_t distance = is_packed ? 2 : row_stride;
  SUM_VECTOR acc[ROW_PAIRS][COLUMN_PAIRS];
  sum += part;
#pragma GCC unroll 8
  for (int i = 0; 2 * i < m; i++) {
    const float *even = sum + 2 * i * SYZ_TILE_COLUMNS, *odd = 2 * i + 1 < m ? even + SYZ_TILE_COLUMNS : even;
#pragma GCC unroll 8
    for (int j = 0; j < COLUMN_PAIRS; j += 2) {
      const SUM_VECTOR upper = is_continued ? SUM_LOAD(even + 2 * j) : SUM_ZERO(),
                       lower = is_continued ? SUM_LOAD(odd + 2 * j) : SUM_ZERO();
      acc[i][j] = SUM_LOW(upper, lower);
      acc[i][j + 1] = SUM_HIGH(upper, lower);
    }
  }
  const uint32_t *column = b + 2 * part;
  for (int64_t k = 0; k + 2 <= units; k += 2) {
    add_units(m, false, a, distance, column, acc);
    a += 2 * unit_stride;
    column += 2 * SYZ_TILE_COLUMNS;
  }
  if (units % 2) add_units(m, true, a, is_packed ? 1 : row_stride, b + (units - 1) * SYZ_TILE_COLUMNS + part, acc);
#pragma GCC unroll 8
  for (int i = 0; 2 * i < m; i++)
#pragma GCC unroll 8
    for (int j = 0; j < COLUMN_PAIRS; j += 2) {
      SUM_STORE(sum + 2 * i * SYZ_TILE_COLUMNS + 2 * j, SUM_LOW(acc[i][j], acc[i][j + 1]));
      if (2 * i + 1 < m) SUM_STORE(sum + (2 * i + 1) * SYZ_TILE_COLUMNS + 2 * j, SUM_HIGH(acc[i][j], acc[i][j + 1]));
    }
}

/** One function per row count, as in kernel_sum.h. */
#define SUM_ROWS_OF(M)                                                                                                 \
  __attribute__((noinline))                                                                                            \
  KERNEL_TARGET static void sum_rows_##M(int64_t units, const uint32_t *a, int64_t row_stride, int64_t unit_stride,    \
                                         const uint32_t *b, float *sum, bool is_continued)                             \
  {                                                                                                                    \
    for (int j = 0; j < SYZ_TILE_COLUMNS; j += PART)                                                                   \
      sum_part(M, units, a, row_stride, unit_stride, b, j, sum, is_continued);                                         \
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
  static void (*const sum_rows[])(int64_t, const uint32_t *, int64_t, int64_t, const uint32_t *, float *,
                                  bool) = {sum_rows_1, sum_rows_2, sum_rows_3, sum_rows_4, sum_rows_5, sum_rows_6};
  sum_rows[m - 1](units, a, row_stride, unit_stride, b, sum, is_continued);
}
