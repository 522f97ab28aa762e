/* SPDX-License-Identifier: BSD-3-Clause */
/** Row loops of the linear layer's last step. */
#include "rowwise.h"

SYZ_CLONES void syz_row_add(float *y, const float *x, int64_t n)
{
  for (int64_t i = 0; i < n; i++) y[i] += x[i];
}

enum { PIECE = 256 };

SYZ_CLONES static void add_bias(float *restrict v, const float *restrict product, const float *restrict bias, int64_t n)
{
  if (bias)
    for (int64_t i = 0; i < n; i++) v[i] = product[i] + bias[i];
  else
    for (int64_t i = 0; i < n; i++) v[i] = product[i];
}

SYZ_CLONES static void add_residual(float *restrict y, const float *restrict v, const float *restrict scale, int64_t n)
{
  if (scale)
    for (int64_t i = 0; i < n; i++) y[i] += scale[i] * v[i];
  else
    for (int64_t i = 0; i < n; i++) y[i] += v[i];
}

SYZ_CLONES static void gelu_in_place(float *v, int64_t n)
{
  for (int64_t i = 0; i < n; i++) v[i] = syz_gelu(v[i]);
}

void syz_row_epilogue(syz_dtype act, syz_epilogue epilogue, const float *product, const float *bias, const float *scale,
                      void *y, void *u, int64_t n)
{
  const size_t size = syz_dtype_size(act);
  float v[PIECE];
  for (int64_t i = 0; i < n; i += PIECE) {
    const int64_t k = n - i < PIECE ? n - i : PIECE;
    add_bias(v, product + i, bias ? bias + i : NULL, k);
    if (u && (epilogue == SYZ_EPILOGUE_GELU || epilogue == SYZ_EPILOGUE_RESIDUAL))
      syz_convert_to_act(act, (char *)u + (size_t)i * size, v, k);
    switch (epilogue) {
    case SYZ_EPILOGUE_NONE:
      syz_convert_to_act(act, (char *)y + (size_t)i * size, v, k);
      break;
    case SYZ_EPILOGUE_F32:
      syz_convert_to_act(SYZ_F32, (float *)y + i, v, k);
      break;
    case SYZ_EPILOGUE_RESIDUAL:
      add_residual((float *)y + i, v, scale ? scale + i : NULL, k);
      break;
    case SYZ_EPILOGUE_GELU:
      gelu_in_place(v, k);
      syz_convert_to_act(act, (char *)y + (size_t)i * size, v, k);
      break;
    }
  }
}
