/* SPDX-License-Identifier: BSD-3-Clause */
/** The forward product of a linear layer in 8-bit integers; private to this room. */
#pragma once

#include "kernel_int8.h"

typedef struct syz_linear_int8 syz_linear_int8;
/** weight [out, in], most [in] or NULL: see syz_linear_quantise. */
syz_status syz_linear_int8_create(const syz_compute *c, int64_t out, int64_t in, int64_t max_rows, const float *weight,
                                  const float *most, syz_linear_int8 **result);
void syz_linear_int8_destroy(syz_linear_int8 **l);
/** Arguments as in syz_linear_native_forward; stride: see syz_linear_set_rows. */
void syz_linear_int8_forward(const syz_linear_int8 *l, int64_t rows, const void *x, int64_t stride_x,
                             syz_epilogue epilogue, const float *bias, const float *scale, const int64_t *row_of_y,
                             void *y, void *u, int64_t stride_y);
/** most [width] = the larger of most and |x|, over x [rows, width] of type `act`, rows `stride` elements apart. */
void syz_rows_raise(syz_dtype act, float *most, const void *x, int64_t stride, int64_t rows, int64_t width);
