/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The own kernels in bfloat16, for processors with AVX512_BF16. A unit is two adjacent elements on the summed axis;
 * sums are float32. The hardware rounds to nearest even and flushes denormals to zero, in conversion (below 1e-38) as
 * in VDPBF16PS.
 */
#include "kernel_bf16.h"

#include "kernel_body.h"

const syz_packing syz_packing_bf16 = KERNEL_PACKING;
const syz_kernel syz_kernel_bf16 = KERNEL_TABLE("avx512_bf16", &syz_packing_bf16);
