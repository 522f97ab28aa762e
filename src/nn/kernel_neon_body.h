/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Common to kernel_neon.c and kernel_neon_bf16.c, except for the sums: finishing sums, and packing. These are plain
 * loops that the compiler vectorises, because all of them are limited by memory. The includer defines:
 *
 *   KERNEL_TARGET              function attribute with the instruction sets
 *   KERNEL_TYPE, KERNEL_UNIT   element type and elements per unit
 *   WIDEN(x), NARROW(v)        an element to and from float32
 *   ELEMENT(x)                 its bits
 *   WEIGHT(w)                  the bits that a float32 has as an element
 *   PLACE(p, i, units, width)  index of unit p of row or column i in a packed panel of `width`
 *   INLINE, sum_tile           as for kernel_block.h
 */
#include "kernel.h"
#include "rowwise.h"

#include "kernel_block.h"

/** Writes sums of a row at (row, column); `action` is a constant where this is inlined. */
INLINE void finish(const syz_tile_end *e, syz_tile_action action, const float *sum, int n, int64_t row, int64_t column)
{
  const bool is_residual = action == SYZ_TILE_RESIDUAL;
  float *restrict y32 = (float *)e->y + (is_residual && e->row_of_y ? e->row_of_y[row] : row) * e->ldy + column;
  KERNEL_TYPE *restrict y = (KERNEL_TYPE *)e->y + row * e->ldy + column;
  KERNEL_TYPE *restrict u = e->u ? (KERNEL_TYPE *)e->u + row * e->ldu + column : NULL;
  float v[SYZ_TILE_COLUMNS];
  const bool has_bias = action != SYZ_TILE_SLOPE && action != SYZ_TILE_ADD && e->bias;
  for (int j = 0; j < n; j++) v[j] = has_bias ? sum[j] + e->bias[column + j] : sum[j];
  if ((is_residual || action == SYZ_TILE_GELU) && u)
    for (int j = 0; j < n; j++) u[j] = NARROW(v[j]);
  switch (action) {
  case SYZ_TILE_F32:
    for (int j = 0; j < n; j++) y32[j] = v[j];
    break;
  case SYZ_TILE_ACT:
    for (int j = 0; j < n; j++) y[j] = NARROW(v[j]);
    break;
  case SYZ_TILE_RESIDUAL:
    for (int j = 0; j < n; j++) y32[j] += e->scale ? v[j] * e->scale[column + j] : v[j];
    break;
  case SYZ_TILE_GELU:
    for (int j = 0; j < n; j++) y[j] = NARROW(syz_gelu(v[j]));
    break;
  case SYZ_TILE_GELU_F32:
    for (int j = 0; j < n; j++) y32[j] = syz_gelu(v[j]);
    break;
  case SYZ_TILE_SLOPE:
    for (int j = 0; j < n; j++) y[j] = NARROW(v[j] * syz_gelu_slope(WIDEN(u[j])));
    break;
  case SYZ_TILE_ADD:
    for (int j = 0; j < n; j++) y32[j] += v[j];
    break;
  case SYZ_TILE_ADD_ALL:
    for (int j = 0; j < n; j++) y32[j] = e->is_gelu ? syz_gelu(y32[j] + v[j]) : y32[j] + v[j];
    break;
  }
}

/** Whole panels have a constant width. */
INLINE void finish_tile(const syz_tile_end *e, syz_tile_action action, const float *sum, int m, int n, int64_t row,
                        int64_t column)
{
  for (int i = 0; i < m; i++)
    if (n == SYZ_TILE_COLUMNS)
      finish(e, action, sum + i * SYZ_TILE_COLUMNS, SYZ_TILE_COLUMNS, row + i, column);
    else
      finish(e, action, sum + i * SYZ_TILE_COLUMNS, n, row + i, column);
}

KERNEL_TARGET static void end_tile(int m, int n, const float *sum, const syz_tile_end *e, int64_t row, int64_t column)
{
#define CASE(ACTION)                                                                                                   \
  case ACTION:                                                                                                         \
    finish_tile(e, ACTION, sum, m, n, row, column);                                                                    \
    break
  switch (e->action) {
    CASE(SYZ_TILE_F32);
    CASE(SYZ_TILE_ACT);
    CASE(SYZ_TILE_RESIDUAL);
    CASE(SYZ_TILE_GELU);
    CASE(SYZ_TILE_GELU_F32);
    CASE(SYZ_TILE_SLOPE);
    CASE(SYZ_TILE_ADD);
    CASE(SYZ_TILE_ADD_ALL);
  }
#undef CASE
}

KERNEL_TARGET static void tile(int m, int n, int64_t units, const uint32_t *a, int64_t row_stride, int64_t unit_stride,
                               const uint32_t *b, const syz_tile_end *e, int64_t row, int64_t column)
{
  _Alignas(64) float sum[SYZ_TILE_ROWS * SYZ_TILE_COLUMNS];
  sum_tile(m, units, a, row_stride, unit_stride, b, sum, false);
  end_tile(m, n, sum, e, row, column);
}

/* ------------------------------------------------------------- packing */

/** A unit of the elements x[0], x[step], ... of which `left` are there. */
INLINE uint32_t unit_of(const KERNEL_TYPE *x, int64_t step, int64_t left)
{
  uint32_t unit = ELEMENT(x[0]);
  for (int e = 1; e < KERNEL_UNIT; e++)
    if (e < left) unit |= ELEMENT(x[e * step]) << (32 / KERNEL_UNIT * e);
  return unit;
}

INLINE uint32_t unit_of_weights(const float *x, int64_t step, int64_t left)
{
  uint32_t unit = WEIGHT(x[0]);
  for (int e = 1; e < KERNEL_UNIT; e++)
    if (e < left) unit |= WEIGHT(x[e * step]) << (32 / KERNEL_UNIT * e);
  return unit;
}

/** A panel of `width` from n <= width rows (or columns) `across` elements apart, whose elements on the summed axis are
 * `along` apart. Where those are adjacent, a few units of every row are packed at a time, so that what is written stays
 * in the L1 cache. */
#define PACK(name, type, unit)                                                                                         \
  INLINE void name(uint32_t *panel, const type *x, int64_t across, int64_t along, int n, int64_t k, const int width)   \
  {                                                                                                                    \
    enum { FEW = 16 };                                                                                                 \
    const int64_t units = (k + KERNEL_UNIT - 1) / KERNEL_UNIT;                                                         \
    for (int64_t p0 = 0; p0 < units; p0 += FEW) {                                                                      \
      const int64_t p1 = units < p0 + FEW ? units : p0 + FEW;                                                          \
      for (int i = 0; i < width; i++)                                                                                  \
        for (int64_t p = p0; p < p1; p++)                                                                              \
          panel[PLACE(p, i, units, width)] =                                                                           \
              i < n ? unit(x + i * across + p * KERNEL_UNIT * along, along, k - p * KERNEL_UNIT) : 0;                  \
    }                                                                                                                  \
  }
PACK(pack, KERNEL_TYPE, unit_of)
PACK(pack_weights, float, unit_of_weights)
#undef PACK

KERNEL_TARGET static void pack_weight_rows(uint32_t *panel, const float *w, int64_t ld, int n, int64_t k, bool streams)
{
  (void)streams;
  pack_weights(panel, w, ld, 1, n, k, SYZ_TILE_COLUMNS);
}

KERNEL_TARGET static void pack_weight_columns(uint32_t *panel, const float *w, int64_t ld, int n, int64_t k,
                                              bool streams)
{
  (void)streams;
  pack_weights(panel, w, 1, ld, n, k, SYZ_TILE_COLUMNS);
}

KERNEL_TARGET static void pack_rows(uint32_t *panel, const void *x, int64_t ld, int n, int64_t k)
{
  pack(panel, x, ld, 1, n, k, SYZ_TILE_COLUMNS);
}

KERNEL_TARGET static void pack_columns(uint32_t *panel, const void *x, int64_t ld, int n, int64_t k)
{
  pack(panel, x, 1, ld, n, k, SYZ_TILE_COLUMNS);
}

KERNEL_TARGET static void pack_left_rows(uint32_t *panel, const void *x, int64_t ld, int m, int64_t k)
{
  pack(panel, x, ld, 1, m, k, SYZ_TILE_ROWS);
}

KERNEL_TARGET static void pack_left_columns(uint32_t *packed, const void *x, int64_t ld, int64_t m, int64_t k)
{
  const int64_t units = (k + KERNEL_UNIT - 1) / KERNEL_UNIT;
  for (int64_t i = 0; i < m; i += SYZ_TILE_ROWS)
    pack(packed + i * units, (const KERNEL_TYPE *)x + i, 1, ld, m - i < SYZ_TILE_ROWS ? (int)(m - i) : SYZ_TILE_ROWS, k,
         SYZ_TILE_ROWS);
}

/* Blocks of rows are summed first and then added: more exact than one long sum. */
enum { COLUMN_SUM_ROWS = 64, COLUMN_SUM_WIDTH = 64 };

KERNEL_TARGET static void add_column_sums(float *restrict sum, const void *source, int64_t ld, int64_t rows, int64_t n)
{
  const KERNEL_TYPE *restrict x = source;
  for (int64_t r0 = 0; r0 < rows; r0 += COLUMN_SUM_ROWS) {
    const int64_t r1 = rows < r0 + COLUMN_SUM_ROWS ? rows : r0 + COLUMN_SUM_ROWS;
    for (int64_t j0 = 0; j0 < n; j0 += COLUMN_SUM_WIDTH) {
      const int64_t width = n - j0 < COLUMN_SUM_WIDTH ? n - j0 : COLUMN_SUM_WIDTH;
      float part[COLUMN_SUM_WIDTH] = {0};
      for (int64_t r = r0; r < r1; r++)
        for (int64_t j = 0; j < width; j++) part[j] += WIDEN(x[r * ld + j0 + j]);
      for (int64_t j = 0; j < width; j++) sum[j0 + j] += part[j];
    }
  }
}

KERNEL_TARGET static void block(int64_t m, int64_t n, int64_t units, const uint32_t *a, int64_t row_stride,
                                const uint32_t *b, const syz_tile_end *e, int64_t row, int64_t column, float *room)
{
  vector_block(tile, end_tile, m, n, units, a, row_stride, b, e, row, column, room);
}

#define KERNEL_PACKING                                                                                                 \
  {                                                                                                                    \
    .weight_rows = pack_weight_rows, .weight_columns = pack_weight_columns, .rows = pack_rows,                         \
    .columns = pack_columns, .add_column_sums = add_column_sums                                                        \
  }
#define KERNEL_TABLE(NAME, PACKING)                                                                                    \
  {                                                                                                                    \
    .name = NAME, .unit = KERNEL_UNIT, .depth = 1, .rows = SYZ_TILE_ROWS, .block_bytes = BLOCK_BYTES,                  \
    .longest = INT32_MAX, .chunk_rows = CHUNK_ROWS, .chunk_rows_alone = CHUNK_ROWS, .block = block,                    \
    .end_tile = end_tile, .pack = PACKING, .pack_left_rows = pack_left_rows, .pack_left_columns = pack_left_columns    \
  }
