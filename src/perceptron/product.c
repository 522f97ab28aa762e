/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One product serves the three passes of a layer: a is read through two strides, so it may be transposed. A block of
 * 256 rows of b by 16 columns stays in the first-level cache, while six rows of a are broadcast against it: 12 sums in
 * the 16 registers of AVX2. BLIS packs both sides first, which costs more than products of 64 x 64 x 64 themselves.
 */
#include "internal.h"

typedef float vec __attribute__((vector_size(32), aligned(4), may_alias));
#define INLINE static inline __attribute__((always_inline))

enum { ROWS = 6, VECS = 2, INNER = 256 };

INLINE void tile(const int rows, const int vecs, const product *p, int64_t i, int64_t j, int64_t from, int64_t to)
{
  vec sum[ROWS][VECS];
  float *c = p->c + i * p->c_row + j;
  const float *a = p->a + i * p->a_row;
  for (int r = 0; r < rows; r++)
    for (int v = 0; v < vecs; v++) sum[r][v] = *(const vec *)(const void *)(c + r * p->c_row + v * PERCEPTRON_LANES);
  for (int64_t k = from; k < to; k++) {
    vec b[VECS];
    for (int v = 0; v < vecs; v++) b[v] = *(const vec *)(const void *)(p->b + k * p->b_row + j + v * PERCEPTRON_LANES);
    for (int r = 0; r < rows; r++)
      for (int v = 0; v < vecs; v++) sum[r][v] += a[r * p->a_row + k * p->a_column] * b[v];
  }
  for (int r = 0; r < rows; r++)
    for (int v = 0; v < vecs; v++) *(vec *)(void *)(c + r * p->c_row + v * PERCEPTRON_LANES) = sum[r][v];
}

INLINE void panel(const int vecs, const product *p, int64_t j, int64_t from, int64_t to)
{
  int64_t i = 0;
  for (; i + ROWS <= p->m; i += ROWS) tile(ROWS, vecs, p, i, j, from, to);
  for (; i < p->m; i++) tile(1, vecs, p, i, j, from, to);
}

void product_add(const product *p)
{
  for (int64_t from = 0; from < p->k; from += INNER) {
    const int64_t to = from + INNER < p->k ? from + INNER : p->k;
    int64_t j = 0;
    for (; j + VECS * PERCEPTRON_LANES <= p->n; j += VECS * PERCEPTRON_LANES) panel(VECS, p, j, from, to);
    if (j < p->n) panel(1, p, j, from, to);
  }
}
