/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The body of kernel_f32.c, kernel_bf16.c and kernel_bf16_wide.c, which say what a unit is:
 *
 *   KERNEL_TARGET              function attribute with the instruction sets
 *   KERNEL_TYPE, KERNEL_UNIT   element type and elements per unit
 *   DOT(sum, a, b)             sum + the products of a unit, per lane
 *   STORE_ACT(p, v), LOAD_ACT(p)              16 elements to and from float32, and with a mask:
 *   STORE_ACT_MASK(p, mask, v), LOAD_ACT_MASK(mask, p)
 *   UNITS_OF_WEIGHTS(w)        16 units from 16 KERNEL_UNIT consecutive floats
 *   UNITS_OF_WEIGHT_ROWS(lo, hi, mask)        16 units from 16 columns of one or two rows of floats (hi may be NULL: 0)
 *   UNITS_OF_ROWS(lo, hi, mask)               the same from rows of KERNEL_TYPE
 *   PUT_64_UNITS(at, lo, hi)                  64 of them without a mask, stored; hi is not NULL
 *   PUT_6_UNITS(at, lo, hi)                   the first 6 of 8 readable columns, exactly 6 stored
 *   KERNEL_ONE(x, k)           a unit from up to KERNEL_UNIT elements at x, the first `k` of them: scalar, for edges
 *   KERNEL_ONE_WEIGHT(x, k)    the same from floats
 *   KERNEL_ONE_ACROSS(x, ld, k)               the same from elements ld apart
 *
 * With KERNEL_OWN_BLOCK defined there is no DOT, and no `block`: the file has one of its own.
 */
#ifdef KERNEL_OWN_BLOCK
#include "kernel_lanes.h"
#else
#define SUM_VECTOR __m512
#define SUM_ZERO() _mm512_setzero_ps()
#define SUM_LOAD(p) _mm512_load_ps(p)
#define SUM_STORE(p, v) _mm512_store_ps(p, v)
#include "kernel_sum.h"
#endif

#include "kernel_end.h"

INLINE void finish_tile(const syz_tile_end *e, syz_tile_action action, const float *sum, int m, int n, int64_t row,
                        int64_t column)
{
  for (int i = 0; i < m; i++)
    for (int j = 0; j < n; j += 16) {
      const __m512 v = _mm512_load_ps(sum + i * SYZ_TILE_COLUMNS + j);
      if (n - j >= 16)
        finish(e, action, v, row + i, column + j, true, 0xffff);
      else
        finish(e, action, v, row + i, column + j, false, lanes(n - j));
    }
}

KERNEL_TARGET static void end_tile(int m, int n, const float *sum, const syz_tile_end *e, int64_t row, int64_t column)
{
#define CASE(ACTION)                                                                                                   \
  case SYZ_TILE_##ACTION:                                                                                              \
    finish_tile(e, SYZ_TILE_##ACTION, sum, m, n, row, column);                                                         \
    break;
  switch (e->action) {
    CASE(F32)
    CASE(ACT)
    CASE(RESIDUAL)
    CASE(GELU)
    CASE(GELU_F32)
    CASE(SLOPE)
    CASE(ADD)
    CASE(ADD_ALL)
  }
#undef CASE
}

#ifndef KERNEL_OWN_BLOCK
KERNEL_TARGET static void tile(int m, int n, int64_t units, const uint32_t *a, int64_t row_stride, int64_t unit_stride,
                               const uint32_t *b, const syz_tile_end *e, int64_t row, int64_t column)
{
  _Alignas(64) float sum[SYZ_TILE_ROWS * SYZ_TILE_COLUMNS];
  if (e->action == SYZ_TILE_ADD || e->action == SYZ_TILE_RESIDUAL)
    /* Prefetch the lines to be added to while the sums are formed: without this, 24 loads stall at the end of each
     * tile. */
    for (int i = 0; i < m; i++)
      for (int j = 0; j < n; j += 16) __builtin_prefetch((const float *)e->y + (row + i) * e->ldy + column + j, 1, 3);
  sum_tile(m, units, a, row_stride, unit_stride, b, sum, false);
  end_tile(m, n, sum, e, row, column);
}
#endif

#include "kernel_pack.h"

KERNEL_TARGET static void pack_left_rows(uint32_t *panel, const void *source, int64_t ld, int m, int64_t k)
{
  const KERNEL_TYPE *x = source;
  for (int64_t p = 0; p * KERNEL_UNIT < k; p++)
    for (int i = 0; i < SYZ_TILE_ROWS; i++)
      panel[p * SYZ_TILE_ROWS + i] = i < m ? KERNEL_ONE(x + i * ld + p * KERNEL_UNIT, k - p * KERNEL_UNIT) : 0;
}

/* A panel has six columns, less than a cache line, so a few rows are packed for all panels before the next few rows. */
enum { LEFT_UNITS = 4, LEFT_AHEAD = 8 };

KERNEL_TARGET static void pack_left_columns(uint32_t *packed, const void *source, int64_t ld, int64_t m, int64_t k)
{
  const KERNEL_TYPE *x = source;
  const int64_t units = (k + KERNEL_UNIT - 1) / KERNEL_UNIT, whole_units = k / KERNEL_UNIT;
  for (int64_t p0 = 0; p0 < units; p0 += LEFT_UNITS) {
    const int64_t p1 = units < p0 + LEFT_UNITS ? units : p0 + LEFT_UNITS;
    /* Short pieces of rows far apart, which the hardware does not prefetch. */
    for (int64_t r = (p0 + LEFT_AHEAD) * KERNEL_UNIT; r < k && r < (p0 + LEFT_AHEAD + LEFT_UNITS) * KERNEL_UNIT; r++)
      for (int64_t i = 0; i < m; i += 64 / (int64_t)sizeof *x) __builtin_prefetch(x + r * ld + i, 0, 3);
    for (int64_t i = 0; i < m; i += SYZ_TILE_ROWS) {
      const KERNEL_TYPE *from = x + p0 * KERNEL_UNIT * ld + i;
      uint32_t *at = packed + i * units + p0 * SYZ_TILE_ROWS;
      if (i + 8 <= m && p1 <= whole_units) {
        for (int64_t p = p0; p < p1; p++, at += SYZ_TILE_ROWS, from += KERNEL_UNIT * ld)
          PUT_6_UNITS(at, from, from + ld);
        continue;
      }
      for (int64_t p = p0; p < p1; p++, at += SYZ_TILE_ROWS, from += KERNEL_UNIT * ld)
        for (int j = 0; j < SYZ_TILE_ROWS; j++)
          at[j] = i + j < m ? KERNEL_ONE_ACROSS(from + j, ld, k - p * KERNEL_UNIT) : 0;
    }
  }
}

#ifndef KERNEL_OWN_BLOCK
KERNEL_TARGET static void block(int64_t m, int64_t n, int64_t units, const uint32_t *a, int64_t row_stride,
                                const uint32_t *b, const syz_tile_end *e, int64_t row, int64_t column, float *room)
{
  vector_block(tile, end_tile, m, n, units, a, row_stride, b, e, row, column, room);
}
#endif

#define KERNEL_TABLE(NAME, PACKING)                                                                                    \
  {                                                                                                                    \
    .name = NAME, .unit = KERNEL_UNIT, .depth = 1, .rows = SYZ_TILE_ROWS, .block_bytes = BLOCK_BYTES,                  \
    .longest = INT32_MAX, .chunk_rows = CHUNK_ROWS, .chunk_rows_alone = CHUNK_ROWS, .block = block,                    \
    .end_tile = end_tile, .pack = PACKING, .pack_left_rows = pack_left_rows, .pack_left_columns = pack_left_columns    \
  }
