/* SPDX-License-Identifier: BSD-3-Clause */
/** Inside of room analysis: tall matrices a block of rows at a time. */
#pragma once

#include "syzygy/analysis.h"

/** Rows of a block: so that a block of them in float32 and float64 stays within some 40 MB, and products have rows to
 * work on. */
int64_t rows_block(int64_t width);
/** Sum of the columns over all ranks [width] and the number of rows of all ranks. Collective; agreed. SYZ_ERR_INPUT
 * with fewer than `least` rows, SYZ_ERR_NUMERIC when they are not finite. */
syz_status rows_means(syz_comm *c, const syz_rows *rows, int64_t least, const char *what, double *mean, int64_t *total);
/** Mean and deviation (divided by n; 1 where it is 0 or rounding) [width] of the columns, float64. Collective; agreed.
 * total: rows on all ranks; may be NULL. SYZ_ERR_INPUT without rows, SYZ_ERR_NUMERIC when they are not finite. */
syz_status syz_column_moments(syz_comm *c, const syz_rows *rows, double *mean, double *deviation, int64_t *total);
/** Rows first .. first + n - 1 as float64 (x - mean) * scale; scale NULL: 1. raw [n, width] is scratch. */
void rows_read_centred(const syz_rows *rows, int64_t first, int64_t n, const double *mean, const double *scale,
                       float *raw, double *x);

/** syz_softmax_fit that begins at the weights of `start` [same classes and columns], such as the head of the next
 * larger penalty; NULL: at zero. The problem is convex, so where it begins decides how long it takes. Collective;
 * agreed. */
syz_status softmax_fit_from(syz_comm *c, const syz_rows *rows, const int8_t *label, const syz_softmax_options *options,
                            const syz_linear_head *start, bool is_correlated, syz_linear_head **out,
                            syz_softmax_result *result);
/** A head of zeros; NULL without memory. */
syz_linear_head *linear_head_make(int64_t outputs, int64_t width);
