/* SPDX-License-Identifier: BSD-3-Clause */
/** Vector loops over a row or the columns of a tile of prototype logits; private to distillation*.c. See
 * distillation_rows.c. */
#pragma once

#include <stdint.h>

/** x = (x - offset) scale in place; offset NULL: 0. Returns the largest x; NaN is ignored for it. */
float distillation_scale_row(float *x, const float *offset, float scale, int64_t n);
/** Sum of 2^(x - top), float32. x - top <= 0 or a little above; below -126 an element counts as 2^-126. A NaN gives a
 * NaN. */
float distillation_sum_row(const float *x, float top, int64_t n);
/** x = factor 2^(x - top) in place. Returns the sum of x_new (x_old - top). */
float distillation_exp_row(float *x, float top, float factor, int64_t n);
float distillation_dot_row(const float *a, const float *b, int64_t n);
/** y += factor x. */
void distillation_add_row(float *y, float factor, const float *x, int64_t n);

/** top = max(top, scale x + shift), element by element. */
void distillation_top_columns(float *top, const float *x, float scale, float shift, int64_t n);
/** sum += 2^(scale x + shift - top), element by element. */
void distillation_sum_columns(double *sum, const float *x, float scale, float shift, const float *top, int64_t n);
/** sum += x, element by element. */
void distillation_add_columns(double *sum, const float *x, int64_t n);
