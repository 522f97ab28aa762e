/* SPDX-License-Identifier: BSD-3-Clause */
/** The linear layer on the own kernels (kernel.h), and what else of the linear layer is private to this room. */
#pragma once

#include "engine.h"

/** The packed scale [out], or NULL; borrowed. */
const float *syz_linear_scale(const syz_linear *l);
/** dx = (dy W) gelu'(u), u [rows, in] act: the gradient of u when the layer's input is gelu(u). dx may not be u or dy. */
void syz_linear_backward_gelu_input(const syz_linear *l, int64_t rows, const void *dy, const void *u, void *dx);

/* Arguments as in nn.h. */
typedef struct syz_linear_native syz_linear_native;
syz_status syz_linear_native_create(const syz_compute *c, int64_t out, int64_t in, int64_t max_rows, bool trains,
                                    syz_linear_native **result);
void syz_linear_native_destroy(syz_linear_native **l);
void syz_linear_native_pack(syz_linear_native *l, const float *weight);
void syz_linear_native_forward(const syz_linear_native *l, int64_t rows, const void *x, syz_epilogue epilogue, const float *bias,
                               const float *scale, void *y, void *u);
/** u NULL: dx = dy W. */
void syz_linear_native_backward_input(const syz_linear_native *l, int64_t rows, const void *dy, const void *u, void *dx);
void syz_linear_native_backward_weight(const syz_linear_native *l, int64_t rows, const void *dy, const void *x, float *dweight,
                                       float *dbias);
