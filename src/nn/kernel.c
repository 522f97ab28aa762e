/* SPDX-License-Identifier: BSD-3-Clause */
/** Driving the own kernels: which processor has them, the order of blocks, packing whole operands. */
#include "kernel.h"

#include <omp.h>
#include <string.h>

/** All kernels of this architecture, those of a type in the order of their speed. */
static const struct {
  syz_dtype type;
  syz_isa need;
  const syz_kernel *kernel;
} table[] = {
#ifdef __x86_64__
  {SYZ_F32, SYZ_ISA_AVX512, &syz_kernel_f32},
  {SYZ_BF16, SYZ_ISA_AMX, &syz_kernel_amx_bf16},
  {SYZ_BF16, SYZ_ISA_AVX512_BF16, &syz_kernel_bf16},
  {SYZ_BF16, SYZ_ISA_AVX512, &syz_kernel_bf16_wide},
#else
  {SYZ_F32, SYZ_ISA_NEON, &syz_kernel_f32},
  {SYZ_BF16, SYZ_ISA_NEON_BF16, &syz_kernel_bf16},
#endif
};

int syz_kernel_list(syz_dtype type, const syz_kernel *list[SYZ_KERNELS_MOST]) {
  int n = 0;
  for (size_t i = 0; i < sizeof table / sizeof *table; i++)
    if (table[i].type == type && syz_processor_isa() >= table[i].need) list[n++] = table[i].kernel;
  return n;
}

enum { LINE = 64 /* bytes of a cache line */, SWEEP_ROWS = 1152 }; /* rows of A that one sweep over B takes: they are read again for each block of B, from L3 */

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

/** A unit has four bytes in every type. */
static const void *step(const syz_kernel *q, const void *x, int64_t elements) {
  return (const char *)x + elements * ((int64_t)sizeof(uint32_t) / q->unit);
}

syz_status syz_kernel_reserve(const syz_compute *c, const syz_kernel *q, int64_t rows, int64_t k) {
  const int64_t packed = syz_packs_left(q) ? syz_packed_left_words(q, smaller(rows, SWEEP_ROWS), syz_units(q, k)) : 0;
  return syz_compute_reserve_products(c, ((size_t)c->threads * SYZ_KERNEL_ROOM + (size_t)packed) * sizeof(float));
}

float *syz_kernel_room(const syz_compute *c) { return (float *)c->products->bytes + (size_t)omp_get_thread_num() * SYZ_KERNEL_ROOM; }

/** Rows [first, last) of C: blocks of columns and chunks of rows, shared out among the threads of the caller's parallel region. a: the first row's
 * strip, as in syz_kernel.block. */
static void share_out(const syz_compute *c, const syz_kernel *q, int64_t first, int64_t last, int64_t n, int64_t units, const uint32_t *a,
                      int64_t row_stride, const uint32_t *b, const syz_tile_end *end) {
  const int64_t panels = syz_ceil_div(n, SYZ_TILE_COLUMNS), panel_words = SYZ_TILE_COLUMNS * units;
  const int64_t fit = q->block_bytes / (SYZ_TILE_COLUMNS * smaller(units, q->longest) * (int64_t)sizeof(uint32_t));
  const int64_t blocks = syz_ceil_div(panels, fit > 1 ? fit : 1), block = syz_ceil_div(panels, blocks);
  const int64_t chunk_rows = c->threads > 1 ? q->chunk_rows : q->chunk_rows_alone;
  const int64_t row_words = row_stride ? row_stride : units; /* a packed panel of `rows` rows has so many times `units` */
#pragma omp for collapse(2) schedule(static) nowait
  for (int64_t panel = 0; panel < panels; panel += block)
    for (int64_t chunk = first; chunk < last; chunk += chunk_rows)
      q->block(smaller(last - chunk, chunk_rows), smaller(n - panel * SYZ_TILE_COLUMNS, block * SYZ_TILE_COLUMNS), units,
               a + (chunk - first) * row_words, row_stride, b + panel * panel_words, end, chunk, panel * SYZ_TILE_COLUMNS, syz_kernel_room(c));
}

void syz_kernel_product_inside(const syz_compute *c, const syz_kernel *q, int64_t rows, int64_t n, int64_t units, const uint32_t *a,
                               const uint32_t *b, const syz_tile_end *end) {
  for (int64_t sweep = 0; sweep < rows; sweep += SWEEP_ROWS)
    share_out(c, q, sweep, smaller(rows, sweep + SWEEP_ROWS), n, units, a + sweep * units, 0, b, end);
}

/** For kernels that pack A, all of it or the strip at the end. */
static void product_of_rows(const syz_compute *c, const syz_kernel *q, int64_t rows, int64_t n, int64_t k, syz_left a, const uint32_t *b,
                            const syz_tile_end *end) {
  const int64_t units = syz_units(q, k);
  uint32_t *left = (uint32_t *)c->products->bytes + (size_t)c->threads * SYZ_KERNEL_ROOM;
  const bool lies_well = a.ld % q->unit == 0 && k % (q->unit * q->depth) == 0 && (uintptr_t)a.x % LINE == 0 && a.ld / q->unit % (LINE / 4) == 0;
  const bool reads = lies_well && q->reads_rows(a.ld / q->unit, units);
  for (int64_t sweep = 0; sweep < rows; sweep += SWEEP_ROWS) {
    const int64_t last = smaller(rows, sweep + SWEEP_ROWS), packed = reads ? last / q->rows * q->rows : sweep;
    if (packed > sweep) share_out(c, q, sweep, packed, n, units, step(q, a.x, sweep * a.ld), a.ld / q->unit, b, end);
    if (packed == last) continue;
#pragma omp for schedule(static)
    for (int64_t i = packed; i < last; i += q->rows)
      q->pack_left_rows(left + (i - packed) * units, step(q, a.x, i * a.ld), a.ld, (int)smaller(last - i, q->rows), k);
    share_out(c, q, packed, last, n, units, left, 0, b, end);
#pragma omp barrier
  }
}

void syz_kernel_product(const syz_compute *c, const syz_kernel *q, int64_t rows, int64_t n, int64_t k, syz_left a, const uint32_t *b,
                        const syz_tile_end *end) {
  const int64_t units = syz_units(q, k);
#pragma omp parallel num_threads(c->threads)
  {
    if (!a.ld) {
      syz_kernel_product_inside(c, q, rows, n, units, a.x, b, end);
    } else if (!syz_packs_left(q)) {
      for (int64_t sweep = 0; sweep < rows; sweep += SWEEP_ROWS)
        share_out(c, q, sweep, smaller(rows, sweep + SWEEP_ROWS), n, units, step(q, a.x, sweep * a.ld), a.ld / q->unit, b, end);
    } else {
      product_of_rows(c, q, rows, n, k, a, b, end);
    }
  }
}

void syz_kernel_pack_rows(const syz_kernel *q, uint32_t *packed, const void *x, int64_t ld, int64_t n, int64_t k) {
#pragma omp parallel for schedule(static)
  for (int64_t j = 0; j < n; j += SYZ_TILE_COLUMNS)
    q->pack->rows(packed + j * syz_units(q, k), step(q, x, j * ld), ld, n - j < SYZ_TILE_COLUMNS ? (int)(n - j) : SYZ_TILE_COLUMNS, k);
}

void syz_kernel_pack_left_rows(const syz_kernel *q, uint32_t *packed, const void *x, int64_t ld, int64_t m, int64_t k) {
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < m; i += q->rows)
    q->pack_left_rows(packed + i * syz_units(q, k), step(q, x, i * ld), ld, (int)smaller(m - i, q->rows), k);
}

/* Across the summed axis a panel takes a short piece of every row. Panel by panel that would fetch each line of X again and again,
 * from one set of the cache when rows are 4 KiB apart; so all panels take their pieces of a few rows, then of the next few. */

enum { GROUP = 8 }; /* units: 16 rows of bfloat16 */

int64_t syz_pack_groups(const syz_kernel *q, int64_t k) { return syz_ceil_div(syz_units(q, k), GROUP); }

void syz_kernel_pack_columns_group(const syz_kernel *q, uint32_t *packed, const void *x, int64_t ld, int64_t n, int64_t k,
                                   int64_t group) {
  const int64_t units = syz_units(q, k), p = group * GROUP, first = p * q->unit;
  const int64_t rows = k - first < GROUP * q->unit ? k - first : GROUP * q->unit, filled = rows > 0 ? syz_ceil_div(rows, q->unit) : 0;
  const int64_t last = units - p < GROUP ? units - p : GROUP; /* units of this group, beyond `filled` zero */
  for (int64_t j = 0; j < n; j += SYZ_TILE_COLUMNS) {
    uint32_t *at = packed + j * units + p * SYZ_TILE_COLUMNS;
    if (rows > 0) q->pack->columns(at, step(q, x, first * ld + j), ld, n - j < SYZ_TILE_COLUMNS ? (int)(n - j) : SYZ_TILE_COLUMNS, rows);
    memset(at + filled * SYZ_TILE_COLUMNS, 0, (size_t)((last - filled) * SYZ_TILE_COLUMNS) * sizeof *at);
  }
}

void syz_kernel_pack_columns(const syz_kernel *q, uint32_t *packed, const void *x, int64_t ld, int64_t n, int64_t k) {
#pragma omp parallel for schedule(static)
  for (int64_t g = 0; g < syz_pack_groups(q, k); g++) syz_kernel_pack_columns_group(q, packed, x, ld, n, k, g);
}
