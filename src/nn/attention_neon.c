/* SPDX-License-Identifier: BSD-3-Clause */
/** Attention in float32 for every 64-bit Arm processor. */
#include <arm_neon.h>
#include <string.h>

#include "attention.h"

#define KERNEL
#define PAIR 1
typedef float element;
typedef float32x4_t unit_vec;
#include "attention_neon.h"

OPERATION unit_vec u_load(const uint32_t *x) { return vreinterpretq_f32_u32(vld1q_u32(x)); }
OPERATION void u_store(uint32_t *x, unit_vec u) { vst1q_u32(x, vreinterpretq_u32_f32(u)); }
OPERATION unit_vec u_broadcast(const uint32_t *x) { return vreinterpretq_f32_u32(vld1q_dup_u32(x)); }
OPERATION vec u_dot(vec c, unit_vec a, unit_vec b) { return vfmaq_f32(c, a, b); }

OPERATION void e_row(void *dst, vec x) { vst1q_f32(dst, x); }
OPERATION void e_part(void *dst, vec x, int64_t n)
{
  float row[LANES];
  vst1q_f32(row, x);
  memcpy(dst, row, (size_t)n * sizeof *row);
}

#include "attention_core.h"

static bool is_supported(void) { return true; }

const attention_kernel syz_attention_neon = {"neon", SYZ_F32, is_supported, scratch_bytes, forward, backward};
