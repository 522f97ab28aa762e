/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The own kernel of 8-bit integers; private to this room.
 *
 * An activation is x = row_scale (q - row_zero), q and row_zero 0 to 255; a weight w = column_scale p, p -127 to 127.
 * The sums of q p are exact in 32 bits; row_zero times the sum of a column's p is subtracted before they become
 * float32. A unit is four adjacent elements on the summed axis, which VPDPBUSD multiplies and adds per lane, so the
 * packed layouts are those of kernel.h.
 */
#pragma once

#include "kernel.h"

/** What converts sums to numbers: syz_tile_end.int8. */
typedef struct syz_int8_scales {
  const float *row_scale;    /**< [M] */
  const int32_t *row_zero;   /**< [M] */
  const float *column_scale; /**< [N, up to whole panels] */
  const int32_t *column_sum; /**< [N, up to whole panels] */
} syz_int8_scales;

/** Longest summed axis whose sums fit 32 bits: 2^31 / (255 * 127), rounded down. */
enum { SYZ_INT8_LONGEST = 66000 };

/** Products whose results are of type `act`, or NULL when this processor lacks AVX512_VNNI (on Arm I8MM). Operands are
 * packed by the functions below, and A by the table's pack_left_rows where it packs A. */
const syz_kernel *syz_kernel_int8_of(syz_dtype act);

/** A B panel from W [n <= 64, k] float32, row stride ld, with scale and sum of each of the panel's 64 columns (0 beyond
 * n). factor [k] or NULL multiplies the weights along the summed axis; in_tiles: of the kernel that will read it. */
void syz_int8_pack_weight(uint32_t *panel, float *scale, int32_t *sum, const float *w, int64_t ld, int n, int64_t k,
                          const float *factor, bool in_tiles);
/** A row x [k] of type `act`, times factor [k] unless NULL -> q, whole units, 0 beyond k. A number that is not finite
 * makes *scale NaN, and so everything computed from the row. */
void syz_int8_quantise_row(syz_dtype act, uint8_t *q, float *scale, int32_t *zero, const void *x, const float *factor,
                           int64_t k);
