/* SPDX-License-Identifier: BSD-3-Clause */
/** Inside of the model room: position embeddings of one grid on another. See positions.c. */
#pragma once

#include "syzygy/model.h"

/** As DINOv2 does it (bicubic, scale factor (to + 0.1) / from): in [from, from, D], out [to, to, D]. to == from copies,
 * as the published code does. */
void syz_positions_interpolate(float *out, int64_t to, const float *in, int64_t from, int64_t dim);
/** The transpose: din [from, from, D] += of dout [to, to, D]. */
void syz_positions_interpolate_backward(float *din, int64_t from, const float *dout, int64_t to, int64_t dim);
