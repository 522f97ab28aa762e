/* SPDX-License-Identifier: BSD-3-Clause */
/** src/nn/kernel_amx.c on emulated tiles, its tables under other names. */
#define SYZ_TILES_EMULATED
#define syz_kernel_amx_bf16 emulated_kernel_bf16
#define syz_kernel_amx_int8 emulated_kernel_int8
#include "kernel_amx.c"
