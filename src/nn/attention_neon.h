/* SPDX-License-Identifier: BSD-3-Clause */
/** The operations of attention_core.h that attention_neon.c and attention_neon_bf16.c share. */

/* Of 32 registers, 24 hold sums, 6 a row of B, 1 a unit of A. */
enum { LANES = 4, ROWS = 4, VECTORS = 6 };
typedef float32x4_t vec;

#define FOR_WIDTH(n, name, ...)                                                                                        \
  do {                                                                                                                 \
    if ((n) == 1)                                                                                                      \
      name(1, __VA_ARGS__);                                                                                            \
    else if ((n) == 2)                                                                                                 \
      name(2, __VA_ARGS__);                                                                                            \
    else if ((n) == 3)                                                                                                 \
      name(3, __VA_ARGS__);                                                                                            \
    else if ((n) == 4)                                                                                                 \
      name(4, __VA_ARGS__);                                                                                            \
    else if ((n) == 5)                                                                                                 \
      name(5, __VA_ARGS__);                                                                                            \
    else                                                                                                               \
      name(6, __VA_ARGS__);                                                                                            \
  } while (0)

#define OPERATION static inline __attribute__((always_inline)) KERNEL
OPERATION vec v_zero(void) { return vdupq_n_f32(0); }
OPERATION vec v_set1(float x) { return vdupq_n_f32(x); }
OPERATION vec v_load(const float *x) { return vld1q_f32(x); }
OPERATION void v_store(float *x, vec v) { vst1q_f32(x, v); }
OPERATION vec v_add(vec a, vec b) { return vaddq_f32(a, b); }
OPERATION vec v_sub(vec a, vec b) { return vsubq_f32(a, b); }
OPERATION vec v_mul(vec a, vec b) { return vmulq_f32(a, b); }
OPERATION vec v_max(vec a, vec b) { return vmaxq_f32(a, b); }
OPERATION vec v_fma(vec a, vec b, vec c) { return vfmaq_f32(c, a, b); }

/** As in attention_avx512.c. */
OPERATION vec v_exp2(vec x)
{
  const vec shift = vdupq_n_f32(0x1.8p23f);
  x = vmaxq_f32(vdupq_n_f32(-126.0f), x);
  vec t = vaddq_f32(x, shift), r = vsubq_f32(x, vsubq_f32(t, shift));
  vec p = vfmaq_f32(vdupq_n_f32(0x1.5f456ap-10f), r, vdupq_n_f32(0x1.41d334p-13f));
  p = vfmaq_f32(vdupq_n_f32(0x1.3b2dbcp-7f), p, r);
  p = vfmaq_f32(vdupq_n_f32(0x1.c6aed4p-5f), p, r);
  p = vfmaq_f32(vdupq_n_f32(0x1.ebfbdap-3f), p, r);
  p = vfmaq_f32(vdupq_n_f32(0x1.62e430p-1f), p, r);
  p = vfmaq_f32(vdupq_n_f32(1.0f), p, r);
  return vreinterpretq_f32_s32(vaddq_s32(vreinterpretq_s32_f32(p), vshlq_n_s32(vreinterpretq_s32_f32(t), 23)));
}

OPERATION void u_transpose(uint32_t *dst, ptrdiff_t ld, const void *src, ptrdiff_t stride)
{
  const char *x = src;
  uint32x4_t r[4];
  for (int i = 0; i < 4; i++) r[i] = vld1q_u32((const uint32_t *)(const void *)(x + i * stride));
  const uint32x4_t a = vtrn1q_u32(r[0], r[1]), b = vtrn2q_u32(r[0], r[1]), c = vtrn1q_u32(r[2], r[3]),
                   d = vtrn2q_u32(r[2], r[3]);
  vst1q_u32(dst, vcombine_u32(vget_low_u32(a), vget_low_u32(c)));
  vst1q_u32(dst + ld, vcombine_u32(vget_low_u32(b), vget_low_u32(d)));
  vst1q_u32(dst + 2 * ld, vcombine_u32(vget_high_u32(a), vget_high_u32(c)));
  vst1q_u32(dst + 3 * ld, vcombine_u32(vget_high_u32(b), vget_high_u32(d)));
}
