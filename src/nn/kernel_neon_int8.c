/* SPDX-License-Identifier: BSD-3-Clause */
/** Products of 8-bit integers for Arm processors with FEAT_I8MM (USMMLA), and the quantisation of both operands, as in
 * kernel_int8.c. */
#include "kernel_int8.h"

#include <arm_neon.h>
#include <math.h>
#include <string.h>

#define KERNEL_TARGET __attribute__((target("arch=armv8.2-a+i8mm")))
/* Integer sums stored in memory of floats between pieces. */
#define SUM_VECTOR int32x4_t
#define SUM_ZERO() vdupq_n_s32(0)
#define SUM_LOAD(p) vreinterpretq_s32_f32(vld1q_f32(p))
#define SUM_STORE(p, v) vst1q_f32(p, vreinterpretq_f32_s32(v))
#define SUM_LOW(a, b) vcombine_s32(vget_low_s32(a), vget_low_s32(b))
#define SUM_HIGH(a, b) vcombine_s32(vget_high_s32(a), vget_high_s32(b))
#define MMLA(sum, rows, columns) vusmmlaq_s32(sum, vreinterpretq_u8_u32(rows), vreinterpretq_s8_u32(columns))
#include "kernel_mmla_sum.h"

#include "kernel_block.h"

enum { UNIT = 4 };

/** A range below this is taken for zero: its inverse would overflow. */
#define TINY 1e-30f

/** The sums [m][64] as float32, in place. */
static void widen(int m, float *sum, const syz_int8_scales *s, int64_t row, int64_t column)
{
  for (int i = 0; i < m; i++) {
    const float32x4_t row_scale = vdupq_n_f32(s->row_scale[row + i]);
    const int32x4_t zero = vdupq_n_s32(s->row_zero[row + i]);
    for (int j = 0; j < SYZ_TILE_COLUMNS; j += 4) {
      float *at = sum + i * SYZ_TILE_COLUMNS + j;
      const int32x4_t v = vmlsq_s32(SUM_LOAD(at), zero, vld1q_s32(s->column_sum + column + j));
      vst1q_f32(at, vmulq_f32(vmulq_f32(vcvtq_f32_s32(v), row_scale), vld1q_f32(s->column_scale + column + j)));
    }
  }
}

static void end_tile(const syz_kernel *act, int m, int n, const float *sum, const syz_tile_end *end, int64_t row,
                     int64_t column)
{
  /* The sums are in the driver's scratch; the const is only for float kernels. */
  float *v = (float *)(uintptr_t)sum;
  widen(m, v, end->int8, row, column);
  act->end_tile(m, n, v, end, row, column);
}

static void tile(const syz_kernel *act, int m, int n, int64_t units, const uint32_t *a, int64_t row_stride,
                 int64_t unit_stride, const uint32_t *b, const syz_tile_end *end, int64_t row, int64_t column)
{
  _Alignas(64) float sum[SYZ_TILE_ROWS * SYZ_TILE_COLUMNS];
  sum_tile(m, units, a, row_stride, unit_stride, b, sum, false);
  end_tile(act, m, n, sum, end, row, column);
}

/** The type of the results decides which function finishes a tile. */
#define KERNEL_FOR(ACT)                                                                                                \
  static void end_tile_##ACT(int m, int n, const float *sum, const syz_tile_end *end, int64_t row, int64_t column)     \
  {                                                                                                                    \
    end_tile(&syz_kernel_##ACT, m, n, sum, end, row, column);                                                          \
  }                                                                                                                    \
  static void tile_##ACT(int m, int n, int64_t units, const uint32_t *a, int64_t row_stride, int64_t unit_stride,      \
                         const uint32_t *b, const syz_tile_end *end, int64_t row, int64_t column)                      \
  {                                                                                                                    \
    tile(&syz_kernel_##ACT, m, n, units, a, row_stride, unit_stride, b, end, row, column);                             \
  }                                                                                                                    \
  KERNEL_TARGET static void block_##ACT(int64_t m, int64_t n, int64_t units, const uint32_t *a, int64_t row_stride,    \
                                        const uint32_t *b, const syz_tile_end *end, int64_t row, int64_t column,       \
                                        float *room)                                                                   \
  {                                                                                                                    \
    vector_block(tile_##ACT, end_tile_##ACT, m, n, units, a, row_stride, b, end, row, column, room);                   \
  }                                                                                                                    \
  static const syz_kernel kernel_int8_##ACT = {.name = "neon_i8mm",                                                    \
                                               .unit = UNIT,                                                           \
                                               .depth = 1,                                                             \
                                               .rows = SYZ_TILE_ROWS,                                                  \
                                               .block_bytes = BLOCK_BYTES,                                             \
                                               .longest = INT32_MAX,                                                   \
                                               .chunk_rows = CHUNK_ROWS,                                               \
                                               .chunk_rows_alone = CHUNK_ROWS,                                         \
                                               .block = block_##ACT};
KERNEL_FOR(f32)
KERNEL_FOR(bf16)

const syz_kernel *syz_kernel_int8_of(syz_dtype act)
{
  if (syz_processor_isa() < SYZ_ISA_NEON_BF16) return NULL;
  return act == SYZ_BF16 ? &kernel_int8_bf16 : &kernel_int8_f32;
}

/* ------------------------------------------------------------- weights */

/** w factor, or w where there is no factor. */
static inline float weight_of(const float *w, const float *factor, int64_t i)
{
  return factor ? w[i] * factor[i] : w[i];
}

void syz_int8_pack_weight(uint32_t *panel, float *scale, int32_t *sum, const float *w, int64_t ld, int n, int64_t k,
                          const float *factor, bool in_tiles)
{
  (void)in_tiles; /* panels are those of SMMLA */
  const int64_t units = syz_ceil_div(k, UNIT);
  for (int j = 0; j < SYZ_TILE_COLUMNS; j++) {
    const float *row = w + (j < n ? j : 0) * ld;
    const int64_t there = j < n ? k : 0;
    float largest = 0;
    int32_t total = 0;
    for (int64_t p = 0; p < there; p++) largest = fmaxf(largest, fabsf(weight_of(row, factor, p)));
    scale[j] = largest > TINY ? largest / 127 : 0;
    const float inverse = largest > TINY ? 127 / largest : 0;
    for (int64_t p = 0; p < units; p++) {
      int8_t q[UNIT] = {0};
      for (int e = 0; e < UNIT && p * UNIT + e < there; e++) {
        q[e] = (int8_t)rintf(weight_of(row, factor, p * UNIT + e) * inverse);
        total += q[e];
      }
      memcpy(panel + MMLA_PLACE(p, j, units, SYZ_TILE_COLUMNS), q, sizeof q);
    }
    sum[j] = total;
  }
}

/* --------------------------------------------------------- activations */

static inline __attribute__((always_inline)) float activation_of(syz_dtype act, const void *x, const float *factor,
                                                                 int64_t i)
{
  const float v = act == SYZ_BF16 ? syz_bf16_to_f32(((const syz_bf16 *)x)[i]) : ((const float *)x)[i];
  return factor ? v * factor[i] : v;
}

/** Four numbers of the row from i on, 0 from k on. */
static inline __attribute__((always_inline)) float32x4_t activations4(syz_dtype act, const void *x, const float *factor,
                                                                      int64_t i, int64_t k)
{
  float v[4] = {0};
  if (i + 4 <= k)
    for (int e = 0; e < 4; e++) v[e] = activation_of(act, x, factor, i + e);
  else
    for (int e = 0; e < 4 && i + e < k; e++) v[e] = activation_of(act, x, factor, i + e);
  return vld1q_f32(v);
}

/** act and whether there is a factor are constants where this is inlined. */
static inline __attribute__((always_inline)) void quantise_row(syz_dtype act, uint8_t *q, float *scale, int32_t *zero,
                                                               const void *x, const float *factor, int64_t k)
{
  /* 0, or NaN if the row has a NaN or an infinity. */
  float32x4_t least = vdupq_n_f32(0), most = least, odd = least;
  for (int64_t i = 0; i < k; i += 4) {
    const float32x4_t v = activations4(act, x, factor, i, k);
    least = vminq_f32(least, v);
    most = vmaxq_f32(most, v);
    odd = vfmaq_f32(odd, v, vdupq_n_f32(0));
  }
  const float low = vminvq_f32(least), range = vmaxvq_f32(most) - low, poison = vaddvq_f32(odd);
  const float inverse = range > TINY && poison == 0 ? 255 / range : 0;
  const int32_t z = inverse > 0 ? -(int32_t)rintf(low * inverse) : 0; /* low may be -infinity */
  *scale = (range > TINY ? range / 255 : 0) + poison;
  *zero = z;
  for (int64_t i = 0; i < k; i += 4) {
    const int32x4_t v =
        vaddq_s32(vcvtnq_s32_f32(vmulq_n_f32(activations4(act, x, factor, i, k), inverse)), vdupq_n_s32(z));
    const uint16x4_t narrow = vqmovun_s32(v); /* saturates at 0 */
    const uint8x8_t bytes = vqmovn_u16(vcombine_u16(narrow, vdup_n_u16(0)));
    const uint32_t unit = vget_lane_u32(vreinterpret_u32_u8(bytes), 0),
                   there = k - i >= 4 ? ~0u : (1u << 8 * (k - i)) - 1u;
    const uint32_t kept = unit & there;
    memcpy(q + i, &kept, sizeof kept);
  }
}

void syz_int8_quantise_row(syz_dtype act, uint8_t *q, float *scale, int32_t *zero, const void *x, const float *factor,
                           int64_t k)
{
  if (act == SYZ_BF16 && factor)
    quantise_row(SYZ_BF16, q, scale, zero, x, factor, k);
  else if (act == SYZ_BF16)
    quantise_row(SYZ_BF16, q, scale, zero, x, NULL, k);
  else if (factor)
    quantise_row(SYZ_F32, q, scale, zero, x, factor, k);
  else
    quantise_row(SYZ_F32, q, scale, zero, x, NULL, k);
}
