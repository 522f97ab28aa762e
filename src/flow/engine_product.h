/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Products of small weight matrices with tiles of objects. BLIS packs both sides first, which costs more than products
 * of 24 x 24 x 128 themselves; here the weights stay in the first-level cache and are broadcast. Sums run in the order
 * of the inner index, so an object has the same bits in any tile and any lane.
 */
#pragma once

#include "engine_math.h"

/* Accumulators fill the 16 registers of AVX2 but three: 6 x 2 vectors of float, 3 x 4 of double. */
enum { PRODUCT_ROWS = 12 / VECS };

typedef struct product {
  int64_t rows, inner;
  const REAL *a; /* element (r, k) at r a_row + k a_column */
  int64_t a_row, a_column;
  int64_t x_row, y_row; /* distance of rows of tiles; may be negative */
} product;

INLINE void product_some(const int rows, const product *p, const REAL *a, const REAL *x, const REAL *bias, REAL *y)
{
  vec sum[PRODUCT_ROWS][VECS];
  for (int r = 0; r < rows; r++)
    for (int v = 0; v < VECS; v++)
      if (bias)
        sum[r][v] = (vec){0} + bias[r];
      else
        sum[r][v] = *(const vec *)(const void *)(y + r * p->y_row + v * LANES);
  for (int64_t k = 0; k < p->inner; k++) {
    vec in[VECS];
    for (int v = 0; v < VECS; v++) in[v] = *(const vec *)(const void *)(x + k * p->x_row + v * LANES);
    for (int r = 0; r < rows; r++)
      for (int v = 0; v < VECS; v++) sum[r][v] += a[r * p->a_row + k * p->a_column] * in[v];
  }
  for (int r = 0; r < rows; r++)
    for (int v = 0; v < VECS; v++) *(vec *)(void *)(y + r * p->y_row + v * LANES) = sum[r][v];
}

/** y [rows] tiles = bias (NULL: y) + a x [inner] tiles. */
static void product_tile(const product *p, const REAL *x, const REAL *bias, REAL *y)
{
  int64_t r = 0;
  for (; r + PRODUCT_ROWS <= p->rows; r += PRODUCT_ROWS)
    product_some(PRODUCT_ROWS, p, p->a + r * p->a_row, x, bias ? bias + r : NULL, y + r * p->y_row);
  const REAL *a = p->a + r * p->a_row, *b = bias ? bias + r : NULL;
  y += r * p->y_row;
  switch (p->rows - r) {
  case 1:
    product_some(1, p, a, x, b, y);
    break;
  case 2:
    product_some(2, p, a, x, b, y);
    break;
#if !REAL_IS_DOUBLE
  case 3:
    product_some(3, p, a, x, b, y);
    break;
  case 4:
    product_some(4, p, a, x, b, y);
    break;
  case 5:
    product_some(5, p, a, x, b, y);
    break;
#endif
  default:
    break;
  }
}

/* LANES vectors -> one, whose lane i is the sum of vector i. */
INLINE vec sum_lanes(const vec *a)
{
#if REAL_IS_DOUBLE
  const vec b0 = __builtin_shufflevector(a[0], a[1], 0, 4, 2, 6) + __builtin_shufflevector(a[0], a[1], 1, 5, 3, 7);
  const vec b1 = __builtin_shufflevector(a[2], a[3], 0, 4, 2, 6) + __builtin_shufflevector(a[2], a[3], 1, 5, 3, 7);
  return __builtin_shufflevector(b0, b1, 0, 1, 4, 5) + __builtin_shufflevector(b0, b1, 2, 3, 6, 7);
#else
  vec b[4], c[2];
  for (int i = 0; i < 4; i++)
    b[i] = __builtin_shufflevector(a[2 * i], a[2 * i + 1], 0, 8, 2, 10, 4, 12, 6, 14) +
           __builtin_shufflevector(a[2 * i], a[2 * i + 1], 1, 9, 3, 11, 5, 13, 7, 15);
  for (int i = 0; i < 2; i++)
    c[i] = __builtin_shufflevector(b[2 * i], b[2 * i + 1], 0, 1, 8, 9, 4, 5, 12, 13) +
           __builtin_shufflevector(b[2 * i], b[2 * i + 1], 2, 3, 10, 11, 6, 7, 14, 15);
  return __builtin_shufflevector(c[0], c[1], 0, 1, 2, 3, 8, 9, 10, 11) +
         __builtin_shufflevector(c[0], c[1], 4, 5, 6, 7, 12, 13, 14, 15);
#endif
}

/** Weight gradient: g [rows, columns], ld apart, += sum over tiles and objects of dy [rows] x [columns]. */
typedef struct outer {
  int tiles;
  int64_t rows, columns;
  const REAL *dy, *x;
  int64_t dy_tile, x_tile, x_row;
  REAL *g;
  int64_t ld;
} outer;

enum { OUTER_ROWS = 4, OUTER_COLUMNS = 2, OUTER = OUTER_ROWS * OUTER_COLUMNS };

/* Rows and columns beyond the end repeat the last one and are not written. */
INLINE void outer_some(const outer *o, int64_t row, int64_t column)
{
  vec sum[OUTER] = {{0}};
  REAL total[OUTER] __attribute__((aligned(32)));
  const REAL *dy[OUTER_ROWS], *x[OUTER_COLUMNS];
  for (int r = 0; r < OUTER_ROWS; r++) dy[r] = o->dy + (row + r < o->rows ? row + r : o->rows - 1) * FLOW_TILE;
  for (int c = 0; c < OUTER_COLUMNS; c++)
    x[c] = o->x + (column + c < o->columns ? column + c : o->columns - 1) * o->x_row;
  for (int tile = 0; tile < o->tiles; tile++)
    for (int v = 0; v < VECS; v++) {
      vec in[OUTER_COLUMNS];
      for (int c = 0; c < OUTER_COLUMNS; c++) in[c] = *(const vec *)(const void *)(x[c] + tile * o->x_tile + v * LANES);
      for (int r = 0; r < OUTER_ROWS; r++) {
        const vec d = *(const vec *)(const void *)(dy[r] + tile * o->dy_tile + v * LANES);
        for (int c = 0; c < OUTER_COLUMNS; c++) sum[r * OUTER_COLUMNS + c] += d * in[c];
      }
    }
  for (int i = 0; i < OUTER; i += LANES) *(vec *)(void *)(total + i) = sum_lanes(sum + i);
  for (int r = 0; r < OUTER_ROWS && row + r < o->rows; r++)
    for (int c = 0; c < OUTER_COLUMNS && column + c < o->columns; c++)
      o->g[(row + r) * o->ld + column + c] += total[r * OUTER_COLUMNS + c];
}

static void outer_sum(const outer *o)
{
  for (int64_t row = 0; row < o->rows; row += OUTER_ROWS)
    for (int64_t column = 0; column < o->columns; column += OUTER_COLUMNS) outer_some(o, row, column);
}

/** g [rows] += sum over tiles and objects of dy. */
static void outer_bias(int tiles, int64_t rows, const REAL *dy, int64_t dy_tile, REAL *g)
{
  for (int64_t r = 0; r < rows; r++) {
    REAL lane[FLOW_TILE] = {0}, sum = 0;
    for (int tile = 0; tile < tiles; tile++)
      for (int i = 0; i < FLOW_TILE; i++) lane[i] += dy[tile * dy_tile + r * FLOW_TILE + i];
    for (int i = 0; i < FLOW_TILE; i++) sum += lane[i];
    g[r] += sum;
  }
}
