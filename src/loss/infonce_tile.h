/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * A tile of cosines between its product and the next: statistics of rows and columns, weights. See infonce_tile.c.
 *
 * Logits are to base 2: v = scale c, scale = s log2(e) > 0. A sum of exponentials is kept as (top, sum) = sum * 2^top.
 */
#pragma once

#include "syzygy/nn.h"

/** Columns of a tile at most. */
enum { INFONCE_TILE_COLUMNS = SYZ_PAIRS_COLUMNS };

/** Sums along the rows and the columns of this tile alone. c [rows, n], rows `ld` apart; row_* [rows], column_* [n]
 * written. */
void infonce_tile_sums(const float *c, int64_t ld, int64_t rows, int64_t n, float scale, float *row_top, float *row_sum,
                       float *column_top, float *column_sum);
/** Joins n sums of exponentials with n others, each in the form (top, sum): (top, sum) += (more_top, more_sum). An
 * empty sum has top -infinity. */
void infonce_join(float *top, double *sum, const float *more_top, const float *more_sum, int64_t n);
/** w [rows, n] act, rows `ldw` apart, = row_factor 2^(v - row_top) + column_factor 2^(v - column_top). */
void infonce_tile_weights(syz_dtype type, const float *c, int64_t ld, int64_t rows, int64_t n, float scale,
                          const float *row_top, const float *row_factor, const float *column_top,
                          const float *column_factor, void *w, int64_t ldw);
/** The weight of one pair, float32. */
float infonce_weight(float c, float scale, float row_top, float row_factor, float column_top, float column_factor);
/** y [n] += a x, x act. */
void infonce_add_row(syz_dtype type, float *y, float a, const void *x, int64_t n);
