/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The sums of a tile: the loop that everything waits for. For kernel_body.h and kernel_int8.c, which say what is summed:
 *
 *   KERNEL_TARGET              function attribute with the instruction sets
 *   DOT(sum, a, b)             sum + the products of a unit, per lane
 *   SUM_VECTOR                 16 sums; SUM_ZERO() them, SUM_LOAD(p), SUM_STORE(p, v) them as 64 aligned bytes
 */
#include "kernel_lanes.h"


enum { VECTORS = SYZ_TILE_COLUMNS / 16 };

/**
 * The sums of m rows (a constant where this is inlined). `is_continued`: on top of what is in `sum`.
 * Unrolled by hand-set pragma: left to itself gcc 12 keeps the array in memory around the loop.
 */
INLINE void sum_rows(int m, int64_t units, const uint32_t *a, int64_t row_stride, int64_t unit_stride, const uint32_t *b, float *sum,
                     bool is_continued)
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

/** One function a row count: inlining six of them into one gave gcc 12 a frame with spills in the loop. */
#define SUM_ROWS_OF(M)                                                                                                                               \
  __attribute__((noinline)) KERNEL_TARGET static void sum_rows_##M(int64_t units, const uint32_t *a, int64_t row_stride, int64_t unit_stride,        \
                                                                   const uint32_t *b, float *sum, bool is_continued)                                 \
  {                                                                                                                                                  \
    sum_rows(M, units, a, row_stride, unit_stride, b, sum, is_continued);                                                                            \
  }
SUM_ROWS_OF(1)
SUM_ROWS_OF(2)
SUM_ROWS_OF(3)
SUM_ROWS_OF(4)
SUM_ROWS_OF(5)
SUM_ROWS_OF(6)

KERNEL_TARGET static void sum_tile(int m, int64_t units, const uint32_t *a, int64_t row_stride, int64_t unit_stride, const uint32_t *b, float *sum,
                                   bool is_continued)
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

enum {
  PIECE_UNITS = 2048, /* of a panel's length at most in one go: 512 KiB */
  BLOCK_BYTES = 512 << 10, /* of packed B that stay in L2 (1 MiB) while rows of A pass by */
  CHUNK_ROWS = 96,
};

/** The two ways to form a tile: sums and what becomes of them in one go, and what becomes of sums that rest in memory. */
typedef void tile_function(int m, int n, int64_t units, const uint32_t *a, int64_t row_stride, int64_t unit_stride, const uint32_t *b,
                           const syz_tile_end *end, int64_t row, int64_t column);
typedef void end_function(int m, int n, const float *sum, const syz_tile_end *end, int64_t row, int64_t column);

/** Tiles of rows [row, last) and one panel. */
INLINE void panel_product(tile_function *tile, end_function *end_tile, int64_t row, int64_t last, int n, int64_t units, const uint32_t *a,
                          int64_t row_words, int64_t row_stride, int64_t unit_stride, const uint32_t *panel, const syz_tile_end *end,
                          int64_t first_row, int64_t column, float *room)
{
  if (units <= PIECE_UNITS) {
    for (int64_t i = row; i < last; i += SYZ_TILE_ROWS)
      tile(last - i < SYZ_TILE_ROWS ? (int)(last - i) : SYZ_TILE_ROWS, n, units, a + i * row_words, row_stride, unit_stride, panel, end, first_row + i,
           column);
    return;
  }
  /* The panel is too long for L2: a piece of it for all rows, then the next piece. Sums rest in memory between pieces, exactly. */
  for (int64_t p = 0; p < units; p += PIECE_UNITS)
    for (int64_t i = row; i < last; i += SYZ_TILE_ROWS) {
      const int m = last - i < SYZ_TILE_ROWS ? (int)(last - i) : SYZ_TILE_ROWS;
      const bool is_last = p + PIECE_UNITS >= units;
      float *at = room + (i - row) * SYZ_TILE_COLUMNS;
      sum_tile(m, is_last ? units - p : PIECE_UNITS, a + i * row_words + p * unit_stride, row_stride, unit_stride, panel + p * SYZ_TILE_COLUMNS, at,
               p > 0);
      if (is_last) end_tile(m, n, at, end, first_row + i, column);
    }
}

/** syz_kernel.block by tiles of 6 x 64. */
INLINE void vector_block(tile_function *tile, end_function *end_tile, int64_t m, int64_t n, int64_t units, const uint32_t *a, int64_t row_stride,
                         const uint32_t *b, const syz_tile_end *end, int64_t row, int64_t column, float *room)
{
  const bool is_packed = row_stride == 0;
  const int64_t row_words = is_packed ? units : row_stride; /* a packed panel of six rows is six times `units` */
  const int64_t step_rows = units <= PIECE_UNITS ? SYZ_TILE_ROWS : CHUNK_ROWS;
  for (int64_t i = 0; i < m; i += step_rows)
    for (int64_t j = 0; j < n; j += SYZ_TILE_COLUMNS)
      panel_product(tile, end_tile, i, m < i + step_rows ? m : i + step_rows, n - j < SYZ_TILE_COLUMNS ? (int)(n - j) : SYZ_TILE_COLUMNS, units, a,
                    row_words, is_packed ? 1 : row_stride, is_packed ? SYZ_TILE_ROWS : 1, b + j * units, end, row, column + j, room);
}
