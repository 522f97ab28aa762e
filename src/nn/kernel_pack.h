/* SPDX-License-Identifier: BSD-3-Clause */
/** Packing B, and sums of columns: for kernel_body.h and kernel_pack_tiles.c. Macros as in kernel_body.h;
 * KERNEL_IN_TILES: true where panels lie in tiles (syz_panel_at). */
#include <string.h>

#include "kernel_lanes.h"

#ifndef KERNEL_IN_TILES
#define KERNEL_IN_TILES false
#endif
#define PANEL_AT(p, j) syz_panel_at(KERNEL_IN_TILES, p, j)

/** Writes a whole line of a panel, past the caches if it would be evicted before it is read. */
INLINE void put_line(uint32_t *at, __m512i v, bool streams)
{
  if (streams)
    _mm512_stream_si512((__m512i *)(void *)at, v);
  else
    _mm512_storeu_si512(at, v);
}

KERNEL_TARGET static void pack_weight_rows(uint32_t *panel, const float *w, int64_t ld, int n, int64_t k, bool streams)
{
  const int64_t units = (k + KERNEL_UNIT - 1) / KERNEL_UNIT, whole = k / (16 * KERNEL_UNIT) * 16;
  for (int j = 0; j < SYZ_TILE_COLUMNS; j += 16) {
    int64_t p = 0;
    for (; j + 16 <= n && p < whole; p += 16) {
      __m512i r[16];
      for (int i = 0; i < 16; i++) r[i] = UNITS_OF_WEIGHTS(w + (j + i) * ld + p * KERNEL_UNIT);
      transpose16(r);
      for (int i = 0; i < 16; i++) put_line(panel + PANEL_AT(p + i, j), r[i], streams);
    }
    for (; p < units; p++)
      for (int i = j; i < j + 16; i++)
        panel[PANEL_AT(p, i)] = i < n ? KERNEL_ONE_WEIGHT(w + i * ld + p * KERNEL_UNIT, k - p * KERNEL_UNIT) : 0;
  }
  if (streams) _mm_sfence();
}

KERNEL_TARGET static void pack_weight_columns(uint32_t *panel, const float *w, int64_t ld, int n, int64_t k,
                                              bool streams)
{
  for (int64_t p = 0; p * KERNEL_UNIT < k; p++)
    for (int j = 0; j < SYZ_TILE_COLUMNS; j += 16) {
      const __mmask16 mask = lanes(n - j);
      const float *lo = w + p * KERNEL_UNIT * ld + (n > j ? j : 0), *hi = p * KERNEL_UNIT + 1 < k ? lo + ld : NULL;
      put_line(panel + PANEL_AT(p, j), UNITS_OF_WEIGHT_ROWS(lo, hi, mask), streams);
    }
  if (streams) _mm_sfence();
}

/** Units p to p + 15 of 16 rows of X [n, k], transposed; at edges through a zero-filled square. */
INLINE void pack_square(uint32_t *at, const KERNEL_TYPE *x, int64_t ld, int64_t n, int64_t k, int64_t units)
{
  __m512i r[16];
  if (n >= 16 && k >= 16 * KERNEL_UNIT) {
    for (int i = 0; i < 16; i++) r[i] = _mm512_loadu_si512(x + i * ld);
  } else {
    KERNEL_TYPE row[16 * KERNEL_UNIT];
    const size_t bytes = (size_t)(k < 16 * KERNEL_UNIT ? k : 16 * KERNEL_UNIT) * sizeof *x;
    memset(row, 0, sizeof row);
    for (int i = 0; i < 16; i++) {
      if (i < n) memcpy(row, x + i * ld, bytes);
      r[i] = i < n ? _mm512_loadu_si512(row) : _mm512_setzero_si512();
    }
  }
  transpose16(r);
  for (int i = 0; i < 16 && i < units; i++) _mm512_storeu_si512(at + PANEL_AT(i, 0), r[i]);
}

KERNEL_TARGET static void pack_rows(uint32_t *panel, const void *source, int64_t ld, int n, int64_t k)
{
  const KERNEL_TYPE *x = source;
  const int64_t units = (k + KERNEL_UNIT - 1) / KERNEL_UNIT;
  for (int j = 0; j < SYZ_TILE_COLUMNS; j += 16)
    for (int64_t p = 0; p < units; p += 16)
      pack_square(panel + PANEL_AT(p, j), x + (n > j ? j * ld : 0) + p * KERNEL_UNIT, ld, n - j, k - p * KERNEL_UNIT,
                  units - p);
}

KERNEL_TARGET static void pack_columns(uint32_t *panel, const void *source, int64_t ld, int n, int64_t k)
{
  const KERNEL_TYPE *x = source;
  for (int64_t p = 0; p * KERNEL_UNIT < k; p++) {
    const KERNEL_TYPE *lo = x + p * KERNEL_UNIT * ld, *hi = p * KERNEL_UNIT + 1 < k ? lo + ld : NULL;
    uint32_t *at = panel + PANEL_AT(p, 0);
    if (n == SYZ_TILE_COLUMNS && (p + 1) * KERNEL_UNIT <= k) {
      PUT_64_UNITS(at, lo, hi);
      continue;
    }
    for (int j = 0; j < SYZ_TILE_COLUMNS; j += 16) {
      const __mmask16 mask = lanes(n - j);
      const int at_most = n > j ? j : 0; /* so that no address is beyond the row, even where nothing is read */
      _mm512_storeu_si512(at + PANEL_AT(0, j), UNITS_OF_ROWS(lo + at_most, hi ? hi + at_most : NULL, mask));
    }
  }
}

/* Blocks of rows are summed first and then added: more exact than one long sum. */
enum { COLUMN_SUM_ROWS = 64 };

KERNEL_TARGET static void add_column_sums(float *sum, const void *source, int64_t ld, int64_t rows, int64_t n)
{
  const KERNEL_TYPE *x = source;
  for (int64_t r0 = 0; r0 < rows; r0 += COLUMN_SUM_ROWS) {
    const int64_t r1 = rows < r0 + COLUMN_SUM_ROWS ? rows : r0 + COLUMN_SUM_ROWS;
    int64_t j = 0;
    for (; j + 64 <= n; j += 64) {
      __m512 v[4] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps()};
      for (int64_t r = r0; r < r1; r++)
        for (int i = 0; i < 4; i++) v[i] = _mm512_add_ps(v[i], LOAD_ACT(x + r * ld + j + 16 * i));
      for (int i = 0; i < 4; i++)
        _mm512_storeu_ps(sum + j + 16 * i, _mm512_add_ps(_mm512_loadu_ps(sum + j + 16 * i), v[i]));
    }
    for (; j < n; j += 16) {
      const __mmask16 mask = lanes(n - j);
      __m512 v = _mm512_setzero_ps();
      for (int64_t r = r0; r < r1; r++) v = _mm512_add_ps(v, LOAD_ACT_MASK(mask, x + r * ld + j));
      _mm512_mask_storeu_ps(sum + j, mask, _mm512_add_ps(_mm512_maskz_loadu_ps(mask, sum + j), v));
    }
  }
}

#define KERNEL_PACKING                                                                                                 \
  {                                                                                                                    \
    .weight_rows = pack_weight_rows, .weight_columns = pack_weight_columns, .rows = pack_rows,                         \
    .columns = pack_columns, .add_column_sums = add_column_sums                                                        \
  }
