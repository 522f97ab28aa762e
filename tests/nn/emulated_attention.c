/* SPDX-License-Identifier: BSD-3-Clause */
/** src/nn/attention_amx.c on emulated tiles, its table under another name. */
#define SYZ_TILES_EMULATED
#define syz_kernel_amx_bf16 emulated_kernel_bf16
#define syz_kernel_amx_int8 emulated_kernel_int8
#define syz_attention_amx emulated_attention
#include "attention_amx.c"
