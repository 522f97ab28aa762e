/* SPDX-License-Identifier: BSD-3-Clause */
/** The candidates that compute products: the libraries' engines, and each own kernel separately. */
#include <stdio.h>

#include "kernel.h"

const syz_candidate syz_candidate_table[SYZ_CANDIDATES] = {
#ifdef __x86_64__
    {SYZ_BF16, &syz_engine_native, &syz_kernel_amx_bf16},
    {SYZ_BF16, &syz_engine_native, &syz_kernel_bf16},
    {SYZ_BF16, &syz_engine_native, &syz_kernel_bf16_wide},
#else
    {SYZ_BF16, &syz_engine_native, &syz_kernel_bf16},
#endif
    {SYZ_BF16, &syz_engine_onednn, NULL},
    {SYZ_F32, &syz_engine_native, &syz_kernel_f32},
    {SYZ_F32, &syz_engine_blis, NULL},
    {SYZ_F32, &syz_engine_onednn, NULL},
};

bool syz_candidate_can(const syz_candidate *x)
{
  const syz_kernel *list[SYZ_KERNELS_MOST];
  if (!x->kernel) return x->engine->can(x->type);
  const int n = syz_kernel_list(x->type, list);
  for (int i = 0; i < n; i++)
    if (list[i] == x->kernel) return true;
  return false;
}

const char *syz_candidate_name(const syz_candidate *x) { return x->kernel ? x->kernel->name : x->engine->name; }

void syz_candidate_text(const syz_candidate *x, char *text, size_t n)
{
  if (x->kernel)
    snprintf(text, n, "own kernels %s", x->kernel->name);
  else
    x->engine->describe(x->type, text, n);
}
