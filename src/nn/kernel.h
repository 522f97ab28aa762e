/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The own matrix kernels, one table for each type; private to this room.
 *
 * Operands are counted in `units` of 32 bits along the summed axis: one float, or a pair of bfloat16 (what VDPBF16PS multiplies and
 * adds per lane). A tile of C is 6 rows x 64 columns: 24 of the 32 vector registers hold it, 4 a unit row of B, 1 a broadcast unit
 * of A. B is packed in panels of 64 columns, [units][64]; A is read as it lies (rows of units), or packed in panels of 6 rows,
 * [units][6]. The tile's sums run through all units in order, whatever the number of rows: a row's bits do not depend on the others.
 *
 * Measured on one Zen 5 core (float32 peak 265, bfloat16 530 GF/s): tiles 6 x 64, 12 x 32 and 14 x 32 reach 97 to 99 % of peak on
 * data in L2; 14 rows of 8 KiB stride fall on one set of the 12-way L1 and lose 10 %; 8 x 48 does not divide the widths.
 */
#pragma once

#include "engine.h"

enum { SYZ_TILE_ROWS = 6, SYZ_TILE_COLUMNS = 64 };

/** What becomes of the sums v. */
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
  const struct syz_int8_scales *int8; /**< of products of integers (kernel_int8.h); NULL elsewhere */
} syz_tile_end;

typedef struct syz_kernel {
  int unit; /**< elements a unit: 1, 2 or 4 */
  /** C rows [row, row + m) x columns [column, column + n), m <= 6, n <= 64. a points at the first row, b at the panel. */
  void (*tile)(int m, int n, int64_t units, const uint32_t *a, int64_t row_stride, int64_t unit_stride, const uint32_t *b,
               const syz_tile_end *end, int64_t row, int64_t column);
  /** The two halves of `tile`: sums [6][64], 64-byte aligned, on top of what is there when continued; and what becomes of them. */
  void (*sum_tile)(int m, int64_t units, const uint32_t *a, int64_t row_stride, int64_t unit_stride, const uint32_t *b, float *sum,
                   bool is_continued);
  void (*end_tile)(int m, int n, const float *sum, const syz_tile_end *end, int64_t row, int64_t column);
  /** B panel from rows that lie along the summed axis: W [n <= 64, k] float32 with row stride ld, rounded to the type. */
  void (*pack_weight_rows)(uint32_t *panel, const float *w, int64_t ld, int n, int64_t k);
  /** B panel from rows that lie across it: W [k, n <= 64] float32. */
  void (*pack_weight_columns)(uint32_t *panel, const float *w, int64_t ld, int n, int64_t k);
  /** The same two from arrays of the type itself. */
  void (*pack_rows)(uint32_t *panel, const void *x, int64_t ld, int n, int64_t k);
  void (*pack_columns)(uint32_t *panel, const void *x, int64_t ld, int n, int64_t k);
  /** A panel of m <= 6 rows from X [m, k]. */
  void (*pack_left_rows)(uint32_t *panel, const void *x, int64_t ld, int m, int64_t k);
  /** All panels of A from X [k, m], across the summed axis. */
  void (*pack_left_columns)(uint32_t *packed, const void *x, int64_t ld, int64_t m, int64_t k);
  /** sum [n] += column sums of x [rows, n]. */
  void (*add_column_sums)(float *sum, const void *x, int64_t ld, int64_t rows, int64_t n);
} syz_kernel;

/** The kernels of a type, or NULL when this processor lacks the instructions. */
const syz_kernel *syz_kernel_of(syz_dtype type);
extern const syz_kernel syz_kernel_f32, syz_kernel_bf16;

static inline int64_t syz_ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
/** Units of k elements, and words of the packed forms of an [n, k] operand. */
static inline int64_t syz_units(const syz_kernel *q, int64_t k) { return syz_ceil_div(k, q->unit); }
static inline int64_t syz_packed_words(int64_t n, int64_t units) {
  return syz_ceil_div(n, SYZ_TILE_COLUMNS) * SYZ_TILE_COLUMNS * units;
}
static inline int64_t syz_packed_left_words(int64_t m, int64_t units) {
  return syz_ceil_div(m, SYZ_TILE_ROWS) * SYZ_TILE_ROWS * units;
}

/** The left operand: rows of units as they lie, or packed panels. */
typedef struct syz_left {
  const uint32_t *words;
  int64_t row_stride; /**< units between rows; 0: packed in panels */
} syz_left;

/** All tiles of one product of `rows` rows and n columns; parallel over blocks of columns that stay in L2, and chunks of rows. */
void syz_kernel_product(const syz_kernel *q, int64_t rows, int64_t n, int64_t units, syz_left a, const uint32_t *b,
                        const syz_tile_end *end);
/** Whole operands packed, in parallel: X [n, k] and X [m, k] along the summed axis, X [k, n] across it. */
void syz_kernel_pack_rows(const syz_kernel *q, uint32_t *packed, const void *x, int64_t ld, int64_t n, int64_t k);
void syz_kernel_pack_left_rows(const syz_kernel *q, uint32_t *packed, const void *x, int64_t ld, int64_t m, int64_t k);
void syz_kernel_pack_columns(const syz_kernel *q, uint32_t *packed, const void *x, int64_t ld, int64_t n, int64_t k);
/** One of syz_pack_groups parts of the last, for the caller's own parallel loop. */
int64_t syz_pack_groups(const syz_kernel *q, int64_t k);
void syz_kernel_pack_columns_group(const syz_kernel *q, uint32_t *packed, const void *x, int64_t ld, int64_t n, int64_t k,
                                   int64_t group);
