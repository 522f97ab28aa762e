/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The own matrix kernels, one table for each type and instruction set; private to this room.
 *
 * Operands are counted in `units` of 32 bits along the summed axis: one float, a pair of bfloat16 or four 8-bit
 * integers, which is what one lane of a dot-product instruction takes. B is packed in panels of 64 columns: [units][64]
 * for vectors, which read 16 columns of a unit, and for tiles (AMX) [units / 16][4][16][16], 16 units of 16 columns in
 * one piece. A is read in strips of a few rows, in place (rows of units) or packed in the kernel's own layout. Sums run
 * through all units in order, whatever the number of rows: a row's bits do not depend on the others.
 *
 * Vectors (kernel_sum.h): a tile of C is 6 rows x 64 columns, 24 of the 32 registers; 4 hold a unit row of B, 1 a
 * broadcast unit of A. Measured on one Zen 5 core (float32 peak 265, bfloat16 530 GF/s): tiles 6 x 64, 12 x 32 and 14 x
 * 32 reach 97 to 99 % of peak on data in L2; with 14 rows at a stride of 8 KiB, all in one set of the 12-way L1, 10 %
 * is lost; 8 x 48 does not divide the widths. Tiles: see kernel_amx.c. Arm: kernel_neon.c, and kernel_mmla_sum.h, whose
 * panels hold adjacent pairs of units.
 */
#pragma once

#include "engine.h"

enum { SYZ_TILE_ROWS = 6, SYZ_TILE_COLUMNS = 64 };
/** Floats of scratch per thread for sums kept in memory between pieces. */
enum { SYZ_KERNEL_ROOM = 192 << 10 };

/** What is done with the sums v. */
typedef enum syz_tile_action {
  SYZ_TILE_F32,      /**< y = v + bias */
  SYZ_TILE_ACT,      /**< y = act(v + bias) */
  SYZ_TILE_RESIDUAL, /**< y += scale (v + bias); u = act(v + bias) unless NULL */
  SYZ_TILE_GELU,     /**< y = act(gelu(v + bias)); u = act(v + bias) unless NULL */
  SYZ_TILE_GELU_F32, /**< y = gelu(v + bias) */
  SYZ_TILE_SLOPE,    /**< y = act(v gelu'(u)) */
  SYZ_TILE_ADD,      /**< y += v */
  SYZ_TILE_ADD_ALL,  /**< y = y + v + bias, then GELU when is_gelu */
} syz_tile_action;

typedef struct syz_tile_end {
  syz_tile_action action;
  bool is_gelu;
  const float *bias, *scale; /**< [N] or NULL (0, 1) */
  void *y, *u;               /**< [M, N] */
  int64_t ldy, ldu;          /**< elements between rows */
  const int64_t *row_of_y;   /**< SYZ_TILE_RESIDUAL: the row of y that each row of C is added to; NULL: the same */
  const struct syz_int8_scales *int8; /**< for products of integers (kernel_int8.h); otherwise NULL */
} syz_tile_end;

/** Packing of B and column sums for arrays of a type; the same for all its kernels. streams: write past the caches;
 * panels are then 64-byte aligned. */
typedef struct syz_packing {
  /** B panel from rows along the summed axis: W [n <= 64, k] float32 with row stride ld, rounded to the type. */
  void (*weight_rows)(uint32_t *panel, const float *w, int64_t ld, int n, int64_t k, bool streams);
  /** B panel from rows across the summed axis: W [k, n <= 64] float32. */
  void (*weight_columns)(uint32_t *panel, const float *w, int64_t ld, int n, int64_t k, bool streams);
  /** The same two from arrays of the type itself. */
  void (*rows)(uint32_t *panel, const void *x, int64_t ld, int n, int64_t k);
  void (*columns)(uint32_t *panel, const void *x, int64_t ld, int n, int64_t k);
  /** sum [n] += column sums of x [rows, n]. */
  void (*add_column_sums)(float *sum, const void *x, int64_t ld, int64_t rows, int64_t n);
} syz_packing;

typedef struct syz_kernel {
  const char *name; /**< of its instructions, for the banner */
  int unit;         /**< elements per unit: 1, 2 or 4 */
  int depth;        /**< packed operands are padded with zeros to a multiple of this many units */
  int rows;         /**< rows of a strip, and of a packed panel of A */
  bool in_tiles;    /**< panels of B consist of tiles of 16 units x 16 columns; false: of rows of 64 columns */
  bool (*reads_rows)(int64_t row_stride,
                     int64_t units); /**< whether A is read faster in place than packed; NULL: always */
  int block_bytes;                   /**< of packed B that stay in L2 while rows of A are streamed */
  int most_panels;                   /**< most panels of a block whose sums fit the scratch; 0: any number */
  int longest; /**< most units of a panel per pass, counted in block_bytes; longer panels keep their sums in memory
                  between passes */
  int chunk_rows, chunk_rows_alone; /**< rows of one piece of parallel work, and of a single thread's */
  /** C rows [row, row + m) x columns [column, column + n): all tiles of some strips and panels. a: the first row's
   * strip, packed, or (row_stride in units, not 0) rows in place; b: the first panel; room [SYZ_KERNEL_ROOM] of this
   * thread, 64-byte aligned. */
  void (*block)(int64_t m, int64_t n, int64_t units, const uint32_t *a, int64_t row_stride, const uint32_t *b,
                const syz_tile_end *end, int64_t row, int64_t column, float *room);
  /** Finishes sums [m <= 6][64], 64-byte aligned, n columns of them. NULL where only `block` can do it. */
  void (*end_tile)(int m, int n, const float *sum, const syz_tile_end *end, int64_t row, int64_t column);
  const syz_packing *pack;
  /** A panel of m <= rows rows from X [m, k]. */
  void (*pack_left_rows)(uint32_t *panel, const void *x, int64_t ld, int m, int64_t k);
  /** All panels of A from X [k, m], across the summed axis. */
  void (*pack_left_columns)(uint32_t *packed, const void *x, int64_t ld, int64_t m, int64_t k);
} syz_kernel;

/** The kernels of products of this type that this processor can run, into list [SYZ_KERNELS_MOST], the fastest first as
 * far as is known without measuring. Returns their number. */
enum { SYZ_KERNELS_MOST = 4 };
int syz_kernel_list(syz_dtype type, const syz_kernel *list[SYZ_KERNELS_MOST]);
extern const syz_packing syz_packing_f32, syz_packing_bf16, syz_packing_tiles;
extern const syz_kernel syz_kernel_f32, syz_kernel_bf16, syz_kernel_bf16_wide, syz_kernel_amx_bf16, syz_kernel_amx_int8;

/** Index of the word of a panel that holds unit p of column j < 64. in_tiles: as in syz_kernel. */
static inline int64_t syz_panel_at(bool in_tiles, int64_t p, int64_t j)
{
  return in_tiles ? p / 16 * 16 * SYZ_TILE_COLUMNS + j / 16 * 256 + p % 16 * 16 + j % 16 : p * SYZ_TILE_COLUMNS + j;
}
static inline int64_t syz_ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
/** Units of k elements, and words of the packed forms of an [n, k] operand. */
static inline int64_t syz_units(const syz_kernel *q, int64_t k)
{
  return syz_ceil_div(syz_ceil_div(k, q->unit), q->depth) * q->depth;
}
static inline int64_t syz_packed_words(int64_t n, int64_t units)
{
  return syz_ceil_div(n, SYZ_TILE_COLUMNS) * SYZ_TILE_COLUMNS * units;
}
/** Whether A is packed at least in part. */
static inline bool syz_packs_left(const syz_kernel *q) { return q->reads_rows != NULL; }
static inline int64_t syz_packed_left_words(const syz_kernel *q, int64_t m, int64_t units)
{
  return syz_ceil_div(m, q->rows) * q->rows * units;
}

/** The left operand: rows in place, or all of it in packed panels. */
typedef struct syz_left {
  const void *x;
  int64_t ld; /**< elements between rows, a whole number of units unless the kernel packs them itself; 0: packed */
} syz_left;

/** Reserves scratch for products of this size, for all threads of the context; called when layers are created. */
syz_status syz_kernel_reserve(const syz_compute *c, const syz_kernel *q, int64_t rows, int64_t k);
/** SYZ_KERNEL_ROOM floats of the calling thread. */
float *syz_kernel_room(const syz_compute *c);
/** All tiles of one product of `rows` rows, n columns and k numbers on the summed axis; parallel over blocks of columns
 * that stay in L2, and chunks of rows. */
void syz_kernel_product(const syz_compute *c, const syz_kernel *q, int64_t rows, int64_t n, int64_t k, syz_left a,
                        const uint32_t *b, const syz_tile_end *end);
/** The same for packed A inside the caller's parallel region: all its threads call it; no barrier at its end. */
void syz_kernel_product_inside(const syz_compute *c, const syz_kernel *q, int64_t rows, int64_t n, int64_t units,
                               const uint32_t *a, const uint32_t *b, const syz_tile_end *end);
/** Whole operands packed, in parallel: X [n, k] and X [m, k] along the summed axis, X [k, n] across it. */
void syz_kernel_pack_rows(const syz_kernel *q, uint32_t *packed, const void *x, int64_t ld, int64_t n, int64_t k);
void syz_kernel_pack_left_rows(const syz_kernel *q, uint32_t *packed, const void *x, int64_t ld, int64_t m, int64_t k);
void syz_kernel_pack_columns(const syz_kernel *q, uint32_t *packed, const void *x, int64_t ld, int64_t n, int64_t k);
/** One of syz_pack_groups parts of syz_kernel_pack_columns, for the caller's own parallel loop. */
int64_t syz_pack_groups(const syz_kernel *q, int64_t k);
void syz_kernel_pack_columns_group(const syz_kernel *q, uint32_t *packed, const void *x, int64_t ld, int64_t n,
                                   int64_t k, int64_t group);
