/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The own kernels for bfloat16 storage with products in float32, for processors without VDPBF16PS or with a slow
 * VDPBF16PS (on an Intel Xeon it reaches half of the float32 rate). Packed operands are those of kernel_bf16.c.
 *
 * A strip of six rows of A is widened once for all columns of a block, PIECE units at a time (24 KiB, in L1); a unit
 * row of B is widened when it is loaded: 8 shifts and masks for 48 products. Sums are kept in memory between pieces,
 * exactly. They run through all units in order, the lower number of each first.
 */
#define KERNEL_ROUNDS_ITSELF
#define KERNEL_OWN_BLOCK
#include "kernel_bf16.h"

#include "kernel_body.h"

enum {
  PIECE = 512, /* units */
  VECTORS = SYZ_TILE_COLUMNS / 16,
  BLOCK_BYTES = 512 << 10, /* of packed B that stay in L2 while rows of A are streamed */
  WIDE = 2 * SYZ_TILE_ROWS * PIECE,
  SUMS = SYZ_TILE_ROWS * SYZ_TILE_COLUMNS,
  RESTING = (SYZ_KERNEL_ROOM - WIDE) / SUMS * SYZ_TILE_COLUMNS, /* columns whose sums fit the scratch between pieces */
};

/** The strip: the lower numbers of the units and the upper ones. */
typedef struct wide_rows {
  const float *low, *high;
  int64_t row_stride, unit_stride;
} wide_rows;

INLINE __m512 low_half(__m512i units) { return _mm512_castsi512_ps(_mm512_slli_epi32(units, 16)); }
INLINE __m512 high_half(__m512i units)
{
  return _mm512_castsi512_ps(_mm512_and_si512(units, _mm512_set1_epi32((int)0xffff0000u)));
}

/** Rows of units in place; their order does not change. */
INLINE wide_rows widen_rows(float *wide, int m, int64_t units, const uint32_t *a, int64_t row_stride)
{
  for (int i = 0; i < m; i++) {
    const syz_bf16 *from = (const syz_bf16 *)(const void *)(a + i * row_stride);
    float *to = wide + i * 2 * units;
    int64_t k = 0;
    for (; k + 16 <= 2 * units; k += 16) _mm512_storeu_ps(to + k, LOAD_ACT(from + k));
    for (; k < 2 * units; k++) to[k] = syz_bf16_to_f32(from[k]);
  }
  return (wide_rows){wide, wide + 1, 2 * units, 2};
}

/** A packed panel of six rows: all lower numbers, then all upper ones. */
INLINE wide_rows widen_panel(float *wide, int64_t units, const uint32_t *a)
{
  const int64_t words = units * SYZ_TILE_ROWS;
  float *high = wide + words;
  for (int64_t k = 0; k < words; k += 16) {
    const __mmask16 mask = lanes(words - k);
    const __m512i u = _mm512_maskz_loadu_epi32(mask, a + k);
    _mm512_mask_storeu_ps(wide + k, mask, low_half(u));
    _mm512_mask_storeu_ps(high + k, mask, high_half(u));
  }
  return (wide_rows){wide, high, 1, SYZ_TILE_ROWS};
}

/** The sums of m rows (a constant where this is inlined) over a panel; is_continued: added to `sum`. */
INLINE void sum_rows(int m, int64_t units, wide_rows a, const uint32_t *b, float *sum, bool is_continued)
{
  __m512 acc[SYZ_TILE_ROWS][VECTORS];
#pragma GCC unroll 8
  for (int i = 0; i < m; i++)
#pragma GCC unroll 8
    for (int j = 0; j < VECTORS; j++) acc[i][j] = _mm512_setzero_ps();
  if (is_continued)
#pragma GCC unroll 8
    for (int i = 0; i < m; i++)
#pragma GCC unroll 8
      for (int j = 0; j < VECTORS; j++) acc[i][j] = _mm512_load_ps(sum + i * SYZ_TILE_COLUMNS + j * 16);
  for (int64_t u = 0; u < units; u++) {
    __m512 bv[VECTORS];
#pragma GCC unroll 8
    for (int j = 0; j < VECTORS; j++) bv[j] = low_half(_mm512_loadu_si512(b + j * 16));
#pragma GCC unroll 8
    for (int i = 0; i < m; i++) {
      const __m512 av = _mm512_set1_ps(a.low[i * a.row_stride]);
#pragma GCC unroll 8
      for (int j = 0; j < VECTORS; j++) acc[i][j] = _mm512_fmadd_ps(av, bv[j], acc[i][j]);
    }
#pragma GCC unroll 8
    for (int j = 0; j < VECTORS; j++) bv[j] = high_half(_mm512_loadu_si512(b + j * 16));
#pragma GCC unroll 8
    for (int i = 0; i < m; i++) {
      const __m512 av = _mm512_set1_ps(a.high[i * a.row_stride]);
#pragma GCC unroll 8
      for (int j = 0; j < VECTORS; j++) acc[i][j] = _mm512_fmadd_ps(av, bv[j], acc[i][j]);
    }
    a.low += a.unit_stride;
    a.high += a.unit_stride;
    b += SYZ_TILE_COLUMNS;
  }
#pragma GCC unroll 8
  for (int i = 0; i < m; i++)
#pragma GCC unroll 8
    for (int j = 0; j < VECTORS; j++) _mm512_store_ps(sum + i * SYZ_TILE_COLUMNS + j * 16, acc[i][j]);
}

#define SUM_ROWS_OF(M)                                                                                                 \
  __attribute__((noinline))                                                                                            \
  KERNEL_TARGET static void sum_rows_##M(int64_t units, wide_rows a, const uint32_t *b, float *sum, bool is_continued) \
  {                                                                                                                    \
    sum_rows(M, units, a, b, sum, is_continued);                                                                       \
  }
SUM_ROWS_OF(1)
SUM_ROWS_OF(2)
SUM_ROWS_OF(3)
SUM_ROWS_OF(4)
SUM_ROWS_OF(5)
SUM_ROWS_OF(6)

static void sum_strip(int m, int64_t units, wide_rows a, const uint32_t *b, float *sum, bool is_continued)
{
  static void (*const of[])(int64_t, wide_rows, const uint32_t *, float *, bool) = {sum_rows_1, sum_rows_2, sum_rows_3,
                                                                                    sum_rows_4, sum_rows_5, sum_rows_6};
  of[m - 1](units, a, b, sum, is_continued);
}

/** Prefetches the lines that will be added to, while their sums are formed. */
INLINE void fetch_rows(const syz_tile_end *e, int m, int n, int64_t row, int64_t column)
{
  if (e->action != SYZ_TILE_ADD && e->action != SYZ_TILE_RESIDUAL) return;
  for (int i = 0; i < m; i++)
    for (int j = 0; j < n; j += 16) __builtin_prefetch((const float *)e->y + (row + i) * e->ldy + column + j, 1, 3);
}

INLINE void some_columns(int64_t m, int64_t n, int64_t units, const uint32_t *a, int64_t row_stride, const uint32_t *b,
                         const syz_tile_end *e, int64_t row, int64_t column, float *room)
{
  float *sums = room + WIDE;
  for (int64_t i = 0; i < m; i += SYZ_TILE_ROWS) {
    const int rows = m - i < SYZ_TILE_ROWS ? (int)(m - i) : SYZ_TILE_ROWS;
    for (int64_t p = 0; p < units; p += PIECE) {
      const bool is_last = p + PIECE >= units;
      const int64_t piece = is_last ? units - p : PIECE;
      const wide_rows strip = row_stride ? widen_rows(room, rows, piece, a + i * row_stride + p, row_stride)
                                         : widen_panel(room, piece, a + i * units + p * SYZ_TILE_ROWS);
      for (int64_t j = 0; j < n; j += SYZ_TILE_COLUMNS) {
        const int columns = n - j < SYZ_TILE_COLUMNS ? (int)(n - j) : SYZ_TILE_COLUMNS;
        float *sum = sums + (units > PIECE ? j / SYZ_TILE_COLUMNS * SUMS : 0);
        if (is_last) fetch_rows(e, rows, columns, row + i, column + j);
        sum_strip(rows, piece, strip, b + j * units + p * SYZ_TILE_COLUMNS, sum, p > 0);
        if (is_last) end_tile(rows, columns, sum, e, row + i, column + j);
      }
    }
  }
}

KERNEL_TARGET static void block(int64_t m, int64_t n, int64_t units, const uint32_t *a, int64_t row_stride,
                                const uint32_t *b, const syz_tile_end *e, int64_t row, int64_t column, float *room)
{
  const int64_t step = units > PIECE && n > RESTING ? RESTING : n;
  for (int64_t j = 0; j < n; j += step)
    some_columns(m, n - j < step ? n - j : step, units, a, row_stride, b + j * units, e, row, column + j, room);
}

static const syz_packing packing = KERNEL_PACKING;
const syz_kernel syz_kernel_bf16_wide = {.name = "avx512 widened",
                                         .unit = KERNEL_UNIT,
                                         .depth = 1,
                                         .rows = SYZ_TILE_ROWS,
                                         .block_bytes = BLOCK_BYTES,
                                         .longest = INT32_MAX,
                                         .chunk_rows = 96,
                                         .chunk_rows_alone = 96,
                                         .block = block,
                                         .end_tile = end_tile,
                                         .pack = &packing,
                                         .pack_left_rows = pack_left_rows,
                                         .pack_left_columns = pack_left_columns};
