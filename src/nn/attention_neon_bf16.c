/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Attention in bfloat16 with float32 sums, for Arm processors with FEAT_BF16: by BFDOT, which multiplies and adds a
 * pair per lane as VDPBF16PS does, so operands have the layout of attention_core.h.
 */
#include <arm_neon.h>
#include <string.h>

#include "attention.h"

#define KERNEL __attribute__((target("arch=armv8.2-a+bf16")))
#define PAIR 2
typedef syz_bf16 element;
typedef bfloat16x8_t unit_vec;
#include "attention_neon.h"

OPERATION unit_vec u_load(const uint32_t *x) { return vreinterpretq_bf16_u32(vld1q_u32(x)); }
OPERATION void u_store(uint32_t *x, unit_vec u) { vst1q_u32(x, vreinterpretq_u32_bf16(u)); }
OPERATION unit_vec u_broadcast(const uint32_t *x) { return vreinterpretq_bf16_u32(vld1q_dup_u32(x)); }
OPERATION vec u_dot(vec c, unit_vec a, unit_vec b) { return vbfdotq_f32(c, a, b); }

OPERATION uint16x4_t narrow(vec x) { return vreinterpret_u16_bf16(vcvt_bf16_f32(x)); }

OPERATION void u_interleave(uint32_t *dst, const element *even, const element *odd)
{
  uint16_t low[LANES], high[LANES];
  memcpy(low, even, sizeof low);
  memcpy(high, odd, sizeof high);
  vst1q_u32(dst, vorrq_u32(vmovl_u16(vld1_u16(low)), vshll_n_u16(vld1_u16(high), 16)));
}

OPERATION void e_row(element *dst, vec x)
{
  uint16_t row[LANES];
  vst1_u16(row, narrow(x));
  memcpy(dst, row, sizeof row);
}
OPERATION void e_part(element *dst, vec x, int64_t n)
{
  uint16_t row[LANES];
  vst1_u16(row, narrow(x));
  memcpy(dst, row, (size_t)n * sizeof *row);
}
OPERATION void e_pair(uint32_t *dst, vec even, vec odd)
{
  vst1q_u32(dst, vorrq_u32(vmovl_u16(narrow(even)), vshll_n_u16(narrow(odd), 16)));
}

#include "attention_core.h"

static bool is_supported(void) { return syz_processor_isa() >= SYZ_ISA_NEON_BF16; }

const attention_kernel syz_attention_neon_bf16 = {"neon_bf16",   SYZ_BF16, is_supported,
                                                  scratch_bytes, forward,  backward};
