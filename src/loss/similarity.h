/* SPDX-License-Identifier: BSD-3-Clause */
/** Tiles of cosines: the one product that InfoNCE and retrieval stream over. See similarity.c. */
#pragma once

#include "syzygy/nn.h"

enum { TILE_ROWS = 64, TILE_COLUMNS = 512 };

/** Products of fixed shape: rows x width by columns x width transposed, and back. */
typedef struct similarity {
  int64_t rows, columns, width;
  int threads;
  syz_gemm *forward;  /**< [rows, columns] = a [rows, width] b [columns, width]^T */
  syz_gemm *backward; /**< [rows, width] += w [rows, columns] b [columns, width]; NULL unless it trains */
  float *tile;        /**< [rows, columns] */
} similarity;

/** Its sizes alone, for a plan; and the bytes of its tile. */
similarity similarity_shape(const syz_compute *compute, int64_t n, int64_t width);
size_t similarity_bytes(const similarity *s);
/** n: columns in all; the tile shape depends on it alone, so that it is the same on any number of ranks. */
syz_status similarity_create(const syz_compute *compute, int64_t n, int64_t width, bool trains, similarity *out);
void similarity_destroy(similarity *s);
/** n rounded up to whole tiles: what arrays of rows (columns) must have room for, the rest zero. */
int64_t similarity_padded_rows(const similarity *s, int64_t n);
int64_t similarity_padded_columns(const similarity *s, int64_t n);
