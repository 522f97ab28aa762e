/* SPDX-License-Identifier: BSD-3-Clause */
/** A block of C by tiles of 6 x 64: the order of the tiles, for the kernels on vectors of either architecture. The
 * includer has INLINE and sum_tile.
 */
#include "kernel.h"

enum {
  PIECE_UNITS = 2048,      /* most units of a panel per pass: 512 KiB */
  BLOCK_BYTES = 512 << 10, /* of packed B that stay in L2 (1 MiB) while rows of A are streamed */
  CHUNK_ROWS = 96,
};

/** The two ways to finish a tile: together with its sums, or from sums kept in memory. */
typedef void tile_function(int m, int n, int64_t units, const uint32_t *a, int64_t row_stride, int64_t unit_stride,
                           const uint32_t *b, const syz_tile_end *end, int64_t row, int64_t column);
typedef void end_function(int m, int n, const float *sum, const syz_tile_end *end, int64_t row, int64_t column);

/** Tiles of rows [row, last) and one panel. */
INLINE void panel_product(tile_function *tile, end_function *end_tile, int64_t row, int64_t last, int n, int64_t units,
                          const uint32_t *a, int64_t row_words, int64_t row_stride, int64_t unit_stride,
                          const uint32_t *panel, const syz_tile_end *end, int64_t first_row, int64_t column,
                          float *room)
{
  if (units <= PIECE_UNITS) {
    for (int64_t i = row; i < last; i += SYZ_TILE_ROWS)
      tile(last - i < SYZ_TILE_ROWS ? (int)(last - i) : SYZ_TILE_ROWS, n, units, a + i * row_words, row_stride,
           unit_stride, panel, end, first_row + i, column);
    return;
  }
  /* The panel is too long for L2, so a piece of it is used for all rows, then the next piece. Sums are kept in memory
   * between pieces, exactly. */
  for (int64_t p = 0; p < units; p += PIECE_UNITS)
    for (int64_t i = row; i < last; i += SYZ_TILE_ROWS) {
      const int m = last - i < SYZ_TILE_ROWS ? (int)(last - i) : SYZ_TILE_ROWS;
      const bool is_last = p + PIECE_UNITS >= units;
      float *at = room + (i - row) * SYZ_TILE_COLUMNS;
      sum_tile(m, is_last ? units - p : PIECE_UNITS, a + i * row_words + p * unit_stride, row_stride, unit_stride,
               panel + p * SYZ_TILE_COLUMNS, at, p > 0);
      if (is_last) end_tile(m, n, at, end, first_row + i, column);
    }
}

/** syz_kernel.block by tiles of 6 x 64. */
INLINE void vector_block(tile_function *tile, end_function *end_tile, int64_t m, int64_t n, int64_t units,
                         const uint32_t *a, int64_t row_stride, const uint32_t *b, const syz_tile_end *end, int64_t row,
                         int64_t column, float *room)
{
  const bool is_packed = row_stride == 0;
  const int64_t row_words = is_packed ? units : row_stride; /* a packed panel of six rows is six times `units` */
  const int64_t step_rows = units <= PIECE_UNITS ? SYZ_TILE_ROWS : CHUNK_ROWS;
  for (int64_t i = 0; i < m; i += step_rows)
    for (int64_t j = 0; j < n; j += SYZ_TILE_COLUMNS)
      panel_product(tile, end_tile, i, m < i + step_rows ? m : i + step_rows,
                    n - j < SYZ_TILE_COLUMNS ? (int)(n - j) : SYZ_TILE_COLUMNS, units, a, row_words,
                    is_packed ? 1 : row_stride, is_packed ? SYZ_TILE_ROWS : 1, b + j * units, end, row, column + j,
                    room);
}
