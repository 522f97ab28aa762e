/* SPDX-License-Identifier: BSD-3-Clause */
/** Driving the own kernels: which processor has them, the order of tiles, packing whole operands. */
#include "kernel.h"

const syz_kernel *syz_kernel_of(syz_dtype type) {
  const syz_isa isa = syz_processor_isa();
  if (type == SYZ_F32) return isa >= SYZ_ISA_AVX512 ? &syz_kernel_f32 : NULL;
  return isa >= SYZ_ISA_AVX512_BF16 ? &syz_kernel_bf16 : NULL;
}

enum {
  BLOCK_BYTES = 512 << 10, /* of packed B that stay in L2 (1 MiB) while rows of A pass by */
  CHUNK_ROWS = 96,         /* rows of one piece of parallel work */
  PIECE_UNITS = 2048,      /* of a panel's length at most in one go: 512 KiB */
  SWEEP_ROWS = 1152,       /* rows of A that one sweep over B takes: they are read again for each block of B, from L3 */
};

/** Tiles of rows [row, last) of a chunk and one panel. */
static void panel_product(const syz_kernel *q, int64_t row, int64_t last, int n, int64_t units, syz_left a, const uint32_t *panel,
                          const syz_tile_end *end, int64_t column) {
  const bool is_packed = a.row_stride == 0;
  const int64_t row_words = is_packed ? units : a.row_stride; /* a packed panel of six rows is six times `units` */
  const int64_t row_stride = is_packed ? 1 : a.row_stride, unit_stride = is_packed ? SYZ_TILE_ROWS : 1;
  if (units <= PIECE_UNITS) {
    for (int64_t i = row; i < last; i += SYZ_TILE_ROWS)
      q->tile(last - i < SYZ_TILE_ROWS ? (int)(last - i) : SYZ_TILE_ROWS, n, units, a.words + i * row_words, row_stride, unit_stride, panel,
              end, i, column);
    return;
  }
  /* The panel is too long for L2: a piece of it for all rows, then the next piece. Sums rest in memory between pieces, exactly. */
  _Alignas(64) float sum[CHUNK_ROWS * SYZ_TILE_COLUMNS];
  for (int64_t p = 0; p < units; p += PIECE_UNITS)
    for (int64_t i = row; i < last; i += SYZ_TILE_ROWS) {
      const int m = last - i < SYZ_TILE_ROWS ? (int)(last - i) : SYZ_TILE_ROWS;
      const bool is_last = p + PIECE_UNITS >= units;
      float *at = sum + (i - row) * SYZ_TILE_COLUMNS;
      q->sum_tile(m, is_last ? units - p : PIECE_UNITS, a.words + i * row_words + p * unit_stride, row_stride, unit_stride,
                  panel + p * SYZ_TILE_COLUMNS, at, p > 0);
      if (is_last) q->end_tile(m, n, at, end, i, column);
    }
}

void syz_kernel_product(const syz_kernel *q, int64_t rows, int64_t n, int64_t units, syz_left a, const uint32_t *b,
                        const syz_tile_end *end) {
  const int64_t panels = syz_ceil_div(n, SYZ_TILE_COLUMNS), panel_words = SYZ_TILE_COLUMNS * units;
  const int64_t fit = BLOCK_BYTES / (panel_words * (int64_t)sizeof(uint32_t));
  const int64_t blocks = syz_ceil_div(panels, fit > 1 ? fit : 1), block = syz_ceil_div(panels, blocks);
#pragma omp parallel
  for (int64_t sweep = 0; sweep < rows; sweep += SWEEP_ROWS) {
    const int64_t end_row = rows < sweep + SWEEP_ROWS ? rows : sweep + SWEEP_ROWS;
#pragma omp for collapse(2) schedule(static) nowait
    for (int64_t first = 0; first < panels; first += block)
      for (int64_t chunk = sweep; chunk < end_row; chunk += CHUNK_ROWS) {
        const int64_t last = end_row < chunk + CHUNK_ROWS ? end_row : chunk + CHUNK_ROWS;
        const int64_t step_rows = units <= PIECE_UNITS ? SYZ_TILE_ROWS : CHUNK_ROWS;
        for (int64_t i = chunk; i < last; i += step_rows)
          for (int64_t p = first; p < panels && p < first + block; p++)
            panel_product(q, i, last < i + step_rows ? last : i + step_rows,
                          n - p * SYZ_TILE_COLUMNS < SYZ_TILE_COLUMNS ? (int)(n - p * SYZ_TILE_COLUMNS) : SYZ_TILE_COLUMNS, units, a,
                          b + p * panel_words, end, p * SYZ_TILE_COLUMNS);
      }
  }
}

static const void *step(const syz_kernel *q, const void *x, int64_t elements) {
  return (const char *)x + elements * (q->unit == 1 ? (int64_t)sizeof(float) : (int64_t)sizeof(syz_bf16));
}

void syz_kernel_pack_rows(const syz_kernel *q, uint32_t *packed, const void *x, int64_t ld, int64_t n, int64_t k) {
#pragma omp parallel for schedule(static)
  for (int64_t j = 0; j < n; j += SYZ_TILE_COLUMNS)
    q->pack_rows(packed + j * syz_units(q, k), step(q, x, j * ld), ld, n - j < SYZ_TILE_COLUMNS ? (int)(n - j) : SYZ_TILE_COLUMNS, k);
}

void syz_kernel_pack_left_rows(const syz_kernel *q, uint32_t *packed, const void *x, int64_t ld, int64_t m, int64_t k) {
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < m; i += SYZ_TILE_ROWS)
    q->pack_left_rows(packed + i * syz_units(q, k), step(q, x, i * ld), ld, m - i < SYZ_TILE_ROWS ? (int)(m - i) : SYZ_TILE_ROWS, k);
}

/* Across the summed axis a panel takes a short piece of every row. Panel by panel that would fetch each line of X again and again,
 * from one set of the cache when rows are 4 KiB apart; so all panels take their pieces of a few rows, then of the next few. */

enum { GROUP = 8 }; /* units: 16 rows of bfloat16 */

int64_t syz_pack_groups(const syz_kernel *q, int64_t k) { return syz_ceil_div(syz_units(q, k), GROUP); }

void syz_kernel_pack_columns_group(const syz_kernel *q, uint32_t *packed, const void *x, int64_t ld, int64_t n, int64_t k,
                                   int64_t group) {
  const int64_t units = syz_units(q, k), p = group * GROUP, first = p * q->unit;
  const int64_t rows = k - first < GROUP * q->unit ? k - first : GROUP * q->unit;
  for (int64_t j = 0; j < n; j += SYZ_TILE_COLUMNS)
    q->pack_columns(packed + j * units + p * SYZ_TILE_COLUMNS, step(q, x, first * ld + j), ld,
                    n - j < SYZ_TILE_COLUMNS ? (int)(n - j) : SYZ_TILE_COLUMNS, rows);
}

void syz_kernel_pack_columns(const syz_kernel *q, uint32_t *packed, const void *x, int64_t ld, int64_t n, int64_t k) {
#pragma omp parallel for schedule(static)
  for (int64_t g = 0; g < syz_pack_groups(q, k); g++) syz_kernel_pack_columns_group(q, packed, x, ld, n, k, g);
}
