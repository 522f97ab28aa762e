/* SPDX-License-Identifier: BSD-3-Clause */
/** The driver of the own kernels: which of them this processor has, the order of blocks, packing of whole operands. */
#include "kernel.h"

#include <omp.h>
#include <string.h>

/** All kernels of this architecture; those of a type are ordered by speed. */
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

int syz_kernel_list(syz_dtype type, const syz_kernel *list[SYZ_KERNELS_MOST])
{
  int n = 0;
  for (size_t i = 0; i < sizeof table / sizeof *table; i++)
    if (table[i].type == type && syz_processor_isa() >= table[i].need) list[n++] = table[i].kernel;
  return n;
}

enum {
  LINE = 64,         /* bytes of a cache line */
  SWEEP_ROWS = 1152, /* approximate rows of A per sweep over B: the rows are read again from L3 for each block of B, and
                        B for each sweep */
};

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

/** A unit has four bytes in every type. */
static const void *step(const syz_kernel *q, const void *x, int64_t elements)
{
  return (const char *)x + elements * ((int64_t)sizeof(uint32_t) / q->unit);
}

/** Rows of a sweep. For kernels that pack A sweeps are about equal in size and up to 1.5 times as long, so that none is
 * short: reading B for a few rows costs as much as for many. */
static int64_t sweep_rows(const syz_kernel *q, int64_t rows)
{
  if (!syz_packs_left(q)) return SWEEP_ROWS;
  const int64_t sweeps = (rows + SWEEP_ROWS / 2) / SWEEP_ROWS;
  return syz_ceil_div(syz_ceil_div(rows, sweeps > 1 ? sweeps : 1), q->rows) * q->rows;
}

syz_status syz_kernel_reserve(const syz_compute *c, const syz_kernel *q, int64_t rows, int64_t k)
{
  const int64_t most = smaller(rows, SWEEP_ROWS + SWEEP_ROWS / 2 + q->rows); /* for calls with at most so many rows */
  const int64_t packed = syz_packs_left(q) ? syz_packed_left_words(q, most, syz_units(q, k)) : 0;
  return syz_compute_reserve_products(c, ((size_t)c->threads * SYZ_KERNEL_ROOM + (size_t)packed) * sizeof(float));
}

float *syz_kernel_room(const syz_compute *c)
{
  return (float *)c->products->bytes + (size_t)omp_get_thread_num() * SYZ_KERNEL_ROOM;
}

/** The rows of a sweep: the first at a, the others row_stride units apart (0: packed). */
typedef struct sweep_left {
  const uint32_t *a;
  int64_t row_stride, rows;
} sweep_left;

/** A sweep's rows of C, from `first` on: blocks of columns and chunks of rows, shared out among the threads of the
 * caller's parallel region. */
static void share_out(const syz_compute *c, const syz_kernel *q, int64_t first, sweep_left l, int64_t n, int64_t units,
                      const uint32_t *b, const syz_tile_end *end)
{
  const int64_t panels = syz_ceil_div(n, SYZ_TILE_COLUMNS), panel_words = SYZ_TILE_COLUMNS * units;
  const int64_t bytes_fit =
      q->block_bytes / (SYZ_TILE_COLUMNS * smaller(units, q->longest) * (int64_t)sizeof(uint32_t));
  const int64_t fit = q->most_panels ? smaller(bytes_fit, q->most_panels) : bytes_fit;
  const int64_t blocks = syz_ceil_div(panels, fit > 1 ? fit : 1), block = syz_ceil_div(panels, blocks);
  const int64_t chunk_rows = c->threads > 1 ? q->chunk_rows : q->chunk_rows_alone,
                chunks = syz_ceil_div(l.rows, chunk_rows);
  const int64_t row_words =
      l.row_stride ? l.row_stride : units; /* a packed panel of `rows` rows is `rows` times `units` long */
#pragma omp for collapse(2) schedule(static) nowait
  for (int64_t panel = 0; panel < panels; panel += block)
    for (int64_t i = 0; i < chunks; i++) {
      const int64_t columns = smaller(n - panel * SYZ_TILE_COLUMNS, block * SYZ_TILE_COLUMNS), row = i * chunk_rows;
      q->block(smaller(l.rows - row, chunk_rows), columns, units, l.a + row * row_words, l.row_stride,
               b + panel * panel_words, end, first + row, panel * SYZ_TILE_COLUMNS, syz_kernel_room(c));
    }
}

void syz_kernel_product_inside(const syz_compute *c, const syz_kernel *q, int64_t rows, int64_t n, int64_t units,
                               const uint32_t *a, const uint32_t *b, const syz_tile_end *end)
{
  const int64_t sweep = sweep_rows(q, rows);
  for (int64_t i = 0; i < rows; i += sweep)
    share_out(c, q, i, (sweep_left){.a = a + i * units, .rows = smaller(rows - i, sweep)}, n, units, b, end);
}

/** For kernels that read A in place. */
static void product_of_plain_rows(const syz_compute *c, const syz_kernel *q, int64_t rows, int64_t n, int64_t units,
                                  syz_left a, const uint32_t *b, const syz_tile_end *end)
{
  const int64_t sweep = sweep_rows(q, rows);
  for (int64_t i = 0; i < rows; i += sweep)
    share_out(c, q, i,
              (sweep_left){.a = step(q, a.x, i * a.ld), .row_stride = a.ld / q->unit, .rows = smaller(rows - i, sweep)},
              n, units, b, end);
}

/** For kernels that pack A where they cannot read it fast in place. */
static void product_of_rows(const syz_compute *c, const syz_kernel *q, int64_t rows, int64_t n, int64_t k, syz_left a,
                            const uint32_t *b, const syz_tile_end *end)
{
  const int64_t units = syz_units(q, k), sweep = sweep_rows(q, rows);
  uint32_t *packed = (uint32_t *)c->products->bytes + (size_t)c->threads * SYZ_KERNEL_ROOM;
  const bool is_whole = a.ld % q->unit == 0 && k % (q->unit * q->depth) == 0 && (uintptr_t)a.x % LINE == 0 &&
                        a.ld / q->unit % (LINE / 4) == 0;
  if (is_whole && q->reads_rows(a.ld / q->unit, units)) {
    product_of_plain_rows(c, q, rows, n, units, a, b, end);
    return;
  }
  for (int64_t first = 0; first < rows; first += sweep) {
    const int64_t n_rows = smaller(rows - first, sweep);
#pragma omp for schedule(static)
    for (int64_t i = 0; i < n_rows; i += q->rows)
      q->pack_left_rows(packed + i * units, step(q, a.x, (first + i) * a.ld), a.ld, (int)smaller(n_rows - i, q->rows),
                        k);
    share_out(c, q, first, (sweep_left){.a = packed, .rows = n_rows}, n, units, b, end);
#pragma omp barrier
  }
}

void syz_kernel_product(const syz_compute *c, const syz_kernel *q, int64_t rows, int64_t n, int64_t k, syz_left a,
                        const uint32_t *b, const syz_tile_end *end)
{
  const int64_t units = syz_units(q, k);
#pragma omp parallel num_threads(c->threads)
  {
    if (!a.ld)
      syz_kernel_product_inside(c, q, rows, n, units, a.x, b, end);
    else if (!syz_packs_left(q))
      product_of_plain_rows(c, q, rows, n, units, a, b, end);
    else
      product_of_rows(c, q, rows, n, k, a, b, end);
  }
}

void syz_kernel_pack_rows(const syz_kernel *q, uint32_t *packed, const void *x, int64_t ld, int64_t n, int64_t k)
{
#pragma omp parallel for schedule(static)
  for (int64_t j = 0; j < n; j += SYZ_TILE_COLUMNS)
    q->pack->rows(packed + j * syz_units(q, k), step(q, x, j * ld), ld,
                  n - j < SYZ_TILE_COLUMNS ? (int)(n - j) : SYZ_TILE_COLUMNS, k);
}

void syz_kernel_pack_left_rows(const syz_kernel *q, uint32_t *packed, const void *x, int64_t ld, int64_t m, int64_t k)
{
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < m; i += q->rows)
    q->pack_left_rows(packed + i * syz_units(q, k), step(q, x, i * ld), ld, (int)smaller(m - i, q->rows), k);
}

/* Across the summed axis a panel takes a short piece of every row. Packing panel by panel would fetch each line of X
 * many times, and into one cache set when rows are 4 KiB apart. So a few rows are packed for all panels, then the next
 * few. */

enum { GROUP = 8 }; /* units, at least: 16 rows of bfloat16 */

/** At least one whole tile for kernels with tiles. */
static int64_t group_units(const syz_kernel *q) { return q->depth > GROUP ? q->depth : GROUP; }

int64_t syz_pack_groups(const syz_kernel *q, int64_t k) { return syz_ceil_div(syz_units(q, k), group_units(q)); }

void syz_kernel_pack_columns_group(const syz_kernel *q, uint32_t *packed, const void *x, int64_t ld, int64_t n,
                                   int64_t k, int64_t group)
{
  const int64_t units = syz_units(q, k), most = group_units(q), p = group * most, first = p * q->unit;
  const int64_t rows = k - first < most * q->unit ? k - first : most * q->unit,
                filled = rows > 0 ? syz_ceil_div(rows, q->unit) : 0;
  const int64_t last = units - p < most ? units - p : most; /* units of this group, beyond `filled` zero */
  for (int64_t j = 0; j < n; j += SYZ_TILE_COLUMNS) {
    uint32_t *at = packed + j * units + p * SYZ_TILE_COLUMNS;
    if (filled < last) memset(at, 0, (size_t)(last * SYZ_TILE_COLUMNS) * sizeof *at);
    if (rows > 0)
      q->pack->columns(at, step(q, x, first * ld + j), ld, n - j < SYZ_TILE_COLUMNS ? (int)(n - j) : SYZ_TILE_COLUMNS,
                       rows);
  }
}

void syz_kernel_pack_columns(const syz_kernel *q, uint32_t *packed, const void *x, int64_t ld, int64_t n, int64_t k)
{
#pragma omp parallel for schedule(static)
  for (int64_t g = 0; g < syz_pack_groups(q, k); g++) syz_kernel_pack_columns_group(q, packed, x, ld, n, k, g);
}
