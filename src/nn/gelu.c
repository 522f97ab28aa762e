/* SPDX-License-Identifier: BSD-3-Clause */
/** GELU (Hendrycks & Gimpel 2016, arXiv:1606.08415), the exact form with the normal distribution function; see
 * rowwise.h. */
#include "rowwise.h"

SYZ_CLONES static void forward_f32(float *y, const float *u, int64_t n)
{
#pragma omp simd
  for (int64_t i = 0; i < n; i++) y[i] = syz_gelu(u[i]);
}

SYZ_CLONES static void forward_bf16(syz_bf16 *y, const syz_bf16 *u, int64_t n)
{
#pragma omp simd
  for (int64_t i = 0; i < n; i++) y[i] = syz_bf16_from_f32(syz_gelu(syz_bf16_to_f32(u[i])));
}

SYZ_CLONES static void backward_f32(float *du, const float *dy, const float *u, int64_t n)
{
#pragma omp simd
  for (int64_t i = 0; i < n; i++) du[i] = dy[i] * syz_gelu_slope(u[i]);
}

SYZ_CLONES static void backward_bf16(syz_bf16 *du, const syz_bf16 *dy, const syz_bf16 *u, int64_t n)
{
#pragma omp simd
  for (int64_t i = 0; i < n; i++)
    du[i] = syz_bf16_from_f32(syz_bf16_to_f32(dy[i]) * syz_gelu_slope(syz_bf16_to_f32(u[i])));
}

enum { PIECE = 16384 }; /* elements a thread takes at a time */

void syz_gelu_forward(syz_dtype type, void *y, const void *u, int64_t n)
{
  const double start = syz_profile_begin();
#pragma omp parallel for schedule(static) if (n > PIECE)
  for (int64_t i = 0; i < n; i += PIECE) {
    const int64_t k = n - i < PIECE ? n - i : PIECE;
    if (type == SYZ_F32)
      forward_f32((float *)y + i, (const float *)u + i, k);
    else
      forward_bf16((syz_bf16 *)y + i, (const syz_bf16 *)u + i, k);
  }
  syz_profile_end(start, SYZ_PROFILE_ELEMENTWISE, "GELU forward", 1, 0, 34.0 * (double)n,
                  2.0 * (double)n * (double)syz_dtype_size(type));
}

void syz_gelu_backward(syz_dtype type, void *du, const void *dy, const void *u, int64_t n)
{
  const double start = syz_profile_begin();
#pragma omp parallel for schedule(static) if (n > PIECE)
  for (int64_t i = 0; i < n; i += PIECE) {
    const int64_t k = n - i < PIECE ? n - i : PIECE;
    if (type == SYZ_F32)
      backward_f32((float *)du + i, (const float *)dy + i, (const float *)u + i, k);
    else
      backward_bf16((syz_bf16 *)du + i, (const syz_bf16 *)dy + i, (const syz_bf16 *)u + i, k);
  }
  syz_profile_end(start, SYZ_PROFILE_ELEMENTWISE, "GELU backward", 1, 0, 36.0 * (double)n,
                  3.0 * (double)n * (double)syz_dtype_size(type));
}
