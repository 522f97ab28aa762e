/* SPDX-License-Identifier: BSD-3-Clause */
/** The linear layer on the own kernels (kernel.h), and other functions of the linear layer that are private to this
 * room. */
#pragma once

#include "kernel.h"

/** The row stride for activations of `width` elements in arrays that only layers of the own kernels use: width, or a
 * little more where rows of this width share few sets of the L1 cache and would have to be packed. */
int64_t syz_row_stride(const syz_compute *c, int64_t width);
/** Elements between rows of x and dx, and of y, u and dy where they are of type act; the u of a residual and a dx in
 * float32 stay without gaps. The defaults are `in` and `out`. */
void syz_linear_set_rows(syz_linear *l, int64_t x, int64_t y);
/** The packed scale [out], or NULL; borrowed. */
const float *syz_linear_scale(const syz_linear *l);
/** dx = (dy W) gelu'(u), u [rows, in] act: the gradient of u when the layer's input is gelu(u). dx may not be u or dy.
 */
void syz_linear_backward_gelu_input(const syz_linear *l, int64_t rows, const void *dy, const void *u, void *dx);

/** dx [rows, in] float32 = dy W, not rounded to act: a part of a sum over ranks. Engines other than the own kernels
 * round it in bfloat16. */
void syz_linear_backward_input_f32(const syz_linear *l, int64_t rows, const void *dy, float *dx);
/** dW of a layer whose weights are part of a larger matrix: row o begins at (o / block) block_stride + (o % block)
 * row_stride. */
typedef struct syz_stretches {
  int64_t block, block_stride, row_stride;
} syz_stretches;
/** syz_linear_backward_weight into a larger matrix, in place on the own kernels; other engines need room [out, in], see
 * below. dbias [out]. */
void syz_linear_backward_weight_in(const syz_linear *l, int64_t rows, const void *dy, const void *x,
                                   const syz_stretches *at, float *dweight, float *dbias, float *room);
bool syz_linear_needs_room(const syz_compute *c);
/** sum [width] += column sums of x [rows, width] act: blocks of rows first, added in block order, the same for any
 * thread count. */
void syz_add_column_sums(syz_dtype act, float *sum, const void *x, int64_t rows, int64_t width);

/** y[row_of_y[r]] += scale v[r], rows of the stream y: the residual epilogue for the sequences that a branch keeps
 * (NULL: row r). No two rows may have the same target. u [rows, out] act or NULL. */
void syz_linear_forward_residual(const syz_linear *l, int64_t rows, const void *x, const int64_t *row_of_y, float *y,
                                 void *u);

/** How the forward pass finishes its sums. Arguments as in nn.h and above; bias, scale [out] or NULL; stride: of y and
 * u, see syz_linear_set_rows. */
syz_tile_end syz_linear_end(int64_t out, int64_t stride, syz_epilogue epilogue, const float *bias, const float *scale,
                            const int64_t *row_of_y, void *y, void *u);

/* Arguments as in nn.h and above. */
typedef struct syz_linear_native syz_linear_native;
syz_status syz_linear_native_create(const syz_compute *c, int64_t out, int64_t in, int64_t max_rows, bool trains,
                                    syz_linear_native **result);
void syz_linear_native_destroy(syz_linear_native **l);
/** Free the packed weights of the forward pass, which must not be called again. */
void syz_linear_native_settle(syz_linear_native *l);
void syz_linear_native_set_rows(syz_linear_native *l, int64_t x, int64_t y);
void syz_linear_native_pack(syz_linear_native *l, const float *weight);
void syz_linear_native_forward(const syz_linear_native *l, int64_t rows, const void *x, syz_epilogue epilogue,
                               const float *bias, const float *scale, const int64_t *row_of_y, void *y, void *u);
/** u NULL: dx = dy W. */
void syz_linear_native_backward_input(const syz_linear_native *l, int64_t rows, const void *dy, const void *u,
                                      void *dx);
void syz_linear_native_backward_input_f32(const syz_linear_native *l, int64_t rows, const void *dy, float *dx);
void syz_linear_native_backward_weight(const syz_linear_native *l, int64_t rows, const void *dy, const void *x,
                                       const syz_stretches *at, float *dweight, float *dbias);
