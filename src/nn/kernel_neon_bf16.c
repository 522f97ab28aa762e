/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The own kernels in bfloat16, for Arm processors with FEAT_BF16 (Neoverse N2, V1, V2: Graviton 3 and 4, Grace). A unit
 * is two adjacent elements on the summed axis; sums are float32. BFMMLA adds the products of a pair at a time and
 * flushes denormals to zero; conversion rounds to nearest even.
 */
#include <arm_neon.h>

#include "kernel.h"

#define KERNEL_TARGET __attribute__((target("arch=armv8.2-a+bf16")))
#define KERNEL_TYPE syz_bf16
#define KERNEL_UNIT 2
#define WIDEN(x) syz_bf16_to_f32(x)
#define NARROW(v) syz_bf16_from_f32(v)
#define ELEMENT(x) ((uint32_t)(x).bits)
#define WEIGHT(w) ((uint32_t)syz_bf16_from_f32(w).bits)
#define PLACE(p, i, units, width) MMLA_PLACE(p, i, units, width)

#define SUM_VECTOR float32x4_t
#define SUM_ZERO() vdupq_n_f32(0)
#define SUM_LOAD(p) vld1q_f32(p)
#define SUM_STORE(p, v) vst1q_f32(p, v)
#define SUM_LOW(a, b) vcombine_f32(vget_low_f32(a), vget_low_f32(b))
#define SUM_HIGH(a, b) vcombine_f32(vget_high_f32(a), vget_high_f32(b))
#define MMLA(sum, rows, columns) vbfmmlaq_f32(sum, vreinterpretq_bf16_u32(rows), vreinterpretq_bf16_u32(columns))
#include "kernel_mmla_sum.h"

#include "kernel_neon_body.h"

const syz_packing syz_packing_bf16 = KERNEL_PACKING;
const syz_kernel syz_kernel_bf16 = KERNEL_TABLE("neon_bf16", &syz_packing_bf16);
