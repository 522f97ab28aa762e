/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Products of 8-bit integers on AVX512_VNNI, and the quantisation of both operands.
 *
 * A row of activations has 256 steps over its own range, which includes 0: after GELU nearly all numbers are on one
 * side of 0, and a symmetric range would waste half of the steps. Weights are symmetric, so that no other correction is
 * needed.
 */
#include "kernel_int8.h"

#include <immintrin.h>

#define KERNEL_TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")))
#define DOT(sum, a, b) _mm512_dpbusd_epi32(sum, a, b)
/* Integer sums stored in memory of floats between pieces. */
#define SUM_VECTOR __m512i
#define SUM_ZERO() _mm512_setzero_si512()
#define SUM_LOAD(p) _mm512_load_si512(p)
#define SUM_STORE(p, v) _mm512_store_si512(p, v)
#include "kernel_sum.h"

enum { UNIT = 4 };

/** A range below this is taken for zero: its inverse would overflow. */
#define TINY 1e-30f

/** The sums [m][64] as float32, in place. */
INLINE void widen(int m, float *sum, const syz_int8_scales *s, int64_t row, int64_t column)
{
  __m512 scale[VECTORS];
  __m512i all[VECTORS];
  for (int j = 0; j < VECTORS; j++) {
    scale[j] = _mm512_loadu_ps(s->column_scale + column + 16 * j);
    all[j] = _mm512_loadu_si512(s->column_sum + column + 16 * j);
  }
  for (int i = 0; i < m; i++) {
    const __m512 row_scale = _mm512_set1_ps(s->row_scale[row + i]);
    const __m512i zero = _mm512_set1_epi32(s->row_zero[row + i]);
    for (int j = 0; j < VECTORS; j++) {
      float *at = sum + i * SYZ_TILE_COLUMNS + 16 * j;
      const __m512i v = _mm512_sub_epi32(_mm512_load_si512(at), _mm512_mullo_epi32(zero, all[j]));
      _mm512_store_ps(at, _mm512_mul_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(v), row_scale), scale[j]));
    }
  }
}

INLINE void end_tile(const syz_kernel *act, int m, int n, const float *sum, const syz_tile_end *end, int64_t row,
                     int64_t column)
{
  /* The sums are in the driver's scratch; the const is only for float kernels. */
  float *v = (float *)(uintptr_t)sum;
  widen(m, v, end->int8, row, column);
  act->end_tile(m, n, v, end, row, column);
}

INLINE void tile(const syz_kernel *act, int m, int n, int64_t units, const uint32_t *a, int64_t row_stride,
                 int64_t unit_stride, const uint32_t *b, const syz_tile_end *end, int64_t row, int64_t column)
{
  _Alignas(64) float sum[SYZ_TILE_ROWS * SYZ_TILE_COLUMNS];
  if (end->action == SYZ_TILE_RESIDUAL)
    for (int i = 0; i < m; i++)
      for (int j = 0; j < n; j += 16)
        __builtin_prefetch(
            (const float *)end->y + (end->row_of_y ? end->row_of_y[row + i] : row + i) * end->ldy + column + j, 1, 3);
  sum_tile(m, units, a, row_stride, unit_stride, b, sum, false);
  end_tile(act, m, n, sum, end, row, column);
}

/** The type of the results decides which function finishes a tile. */
#define KERNEL_FOR(ACT)                                                                                                \
  KERNEL_TARGET static void end_tile_##ACT(int m, int n, const float *sum, const syz_tile_end *end, int64_t row,       \
                                           int64_t column)                                                             \
  {                                                                                                                    \
    end_tile(&syz_kernel_##ACT, m, n, sum, end, row, column);                                                          \
  }                                                                                                                    \
  KERNEL_TARGET static void tile_##ACT(int m, int n, int64_t units, const uint32_t *a, int64_t row_stride,             \
                                       int64_t unit_stride, const uint32_t *b, const syz_tile_end *end, int64_t row,   \
                                       int64_t column)                                                                 \
  {                                                                                                                    \
    tile(&syz_kernel_##ACT, m, n, units, a, row_stride, unit_stride, b, end, row, column);                             \
  }                                                                                                                    \
  KERNEL_TARGET static void block_##ACT(int64_t m, int64_t n, int64_t units, const uint32_t *a, int64_t row_stride,    \
                                        const uint32_t *b, const syz_tile_end *end, int64_t row, int64_t column,       \
                                        float *room)                                                                   \
  {                                                                                                                    \
    vector_block(tile_##ACT, end_tile_##ACT, m, n, units, a, row_stride, b, end, row, column, room);                   \
  }                                                                                                                    \
  static const syz_kernel kernel_int8_##ACT = {.name = "avx512_vnni",                                                  \
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
  __builtin_cpu_init();
  if (act == SYZ_BF16 && syz_processor_isa() >= SYZ_ISA_AMX) return &syz_kernel_amx_int8;
  if (syz_processor_isa() < (act == SYZ_BF16 ? SYZ_ISA_AVX512_BF16 : SYZ_ISA_AVX512) ||
      !__builtin_cpu_supports("avx512vnni"))
    return NULL;
  return act == SYZ_BF16 ? &kernel_int8_bf16 : &kernel_int8_f32;
}

/* ------------------------------------------------------------- weights */

/** w factor, or w where there is no factor. */
INLINE __m512 weights16(const float *w, const float *factor, __mmask16 mask)
{
  const __m512 v = _mm512_maskz_loadu_ps(mask, w);
  return factor ? _mm512_mul_ps(v, _mm512_maskz_loadu_ps(mask, factor)) : v;
}

KERNEL_TARGET void syz_int8_pack_weight(uint32_t *panel, float *scale, int32_t *sum, const float *w, int64_t ld, int n,
                                        int64_t k, const float *factor, bool in_tiles)
{
  const int64_t units = syz_ceil_div(k, UNIT);
  for (int j = 0; j < SYZ_TILE_COLUMNS; j++) {
    __m512 most = _mm512_setzero_ps();
    __m512i total = _mm512_setzero_si512();
    for (int64_t p = 0; p < k && j < n; p += 16)
      most = _mm512_max_ps(most, _mm512_abs_ps(weights16(w + j * ld + p, factor ? factor + p : NULL, lanes(k - p))));
    const float largest = _mm512_reduce_max_ps(most);
    scale[j] = largest > TINY ? largest / 127 : 0;
    const __m512 inverse = _mm512_set1_ps(largest > TINY ? 127 / largest : 0);
    for (int64_t p = 0; p < k; p += 16) {
      const __mmask16 mask = j < n ? lanes(k - p) : 0;
      const __m512 v =
          _mm512_mul_ps(weights16(w + (j < n ? j : 0) * ld + p, factor ? factor + p : NULL, mask), inverse);
      const __m512i q = _mm512_cvtps_epi32(v);
      _Alignas(16) uint32_t unit[4];
      total = _mm512_add_epi32(total, q);
      _mm_store_si128((__m128i *)unit, _mm512_cvtsepi32_epi8(q));
      for (int64_t i = 0; i < 4 && p / UNIT + i < units; i++) panel[syz_panel_at(in_tiles, p / UNIT + i, j)] = unit[i];
    }
    sum[j] = _mm512_reduce_add_epi32(total);
  }
}

/* --------------------------------------------------------- activations */

INLINE __m512 activations16(syz_dtype act, const void *x, int64_t i, __mmask16 mask, const float *factor)
{
  __m512 v;
  if (act == SYZ_BF16)
    v = _mm512_castsi512_ps(
        _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, (const syz_bf16 *)x + i)), 16));
  else
    v = _mm512_maskz_loadu_ps(mask, (const float *)x + i);
  return factor ? _mm512_mul_ps(v, _mm512_maskz_loadu_ps(mask, factor + i)) : v;
}

/** Quantises numbers i .. i + 15 of the row, those of `mask`, to 0 to 255. */
INLINE __m128i steps16(__m512 x, __m512 by, __m512i zero, __mmask16 mask)
{
  const __m512i v =
      _mm512_max_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(_mm512_mul_ps(x, by)), zero), _mm512_setzero_si512());
  return _mm512_maskz_cvtusepi32_epi8(mask, v);
}

/** act and whether there is a factor are constants where this is inlined. Whole vectors use no masks: with masks the
 * products of both towers, quantisation included, were 2 to 12 % slower. */
INLINE void quantise_row(syz_dtype act, uint8_t *q, float *scale, int32_t *zero, const void *x, const float *factor,
                         int64_t k)
{
  const int64_t whole = k / 16 * 16;
  const __mmask16 rest = lanes(k - whole);
  const __m512 tail = activations16(act, x, whole < k ? whole : 0, rest, factor);
  /* 0, or NaN if the row has a NaN or an infinity, which min and max may drop. */
  __m512 least = _mm512_min_ps(_mm512_setzero_ps(), tail), most = _mm512_max_ps(_mm512_setzero_ps(), tail),
         odd = _mm512_mul_ps(tail, _mm512_setzero_ps());
  for (int64_t i = 0; i < whole; i += 16) {
    const __m512 v = activations16(act, x, i, 0xffff, factor);
    least = _mm512_min_ps(least, v);
    most = _mm512_max_ps(most, v);
    odd = _mm512_fmadd_ps(v, _mm512_setzero_ps(), odd);
  }
  const float low = _mm512_reduce_min_ps(least), range = _mm512_reduce_max_ps(most) - low,
              poison = _mm512_reduce_add_ps(odd);
  const float inverse = range > TINY && poison == 0 ? 255 / range : 0;
  const __m512 by = _mm512_set1_ps(inverse);
  const int32_t z = inverse > 0 ? -_mm_cvtss_si32(_mm_set_ss(low * inverse)) : 0; /* low may be -infinity */
  const __m512i add = _mm512_set1_epi32(z);
  *scale = (range > TINY ? range / 255 : 0) + poison;
  *zero = z;
  for (int64_t i = 0; i < whole; i += 16)
    _mm_storeu_si128((__m128i *)(void *)(q + i), steps16(activations16(act, x, i, 0xffff, factor), by, add, 0xffff));
  if (whole < k)
    _mm_mask_storeu_epi8(q + whole, lanes(syz_ceil_div(k - whole, UNIT) * UNIT), steps16(tail, by, add, rest));
}

KERNEL_TARGET void syz_int8_quantise_row(syz_dtype act, uint8_t *q, float *scale, int32_t *zero, const void *x,
                                         const float *factor, int64_t k)
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
