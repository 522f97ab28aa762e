/* SPDX-License-Identifier: BSD-3-Clause */
/** Packing B in bfloat16 for tiles (AMX): see syz_panel_at. */
#define KERNEL_IN_TILES true
#include "kernel_bf16.h"

#include "kernel_pack.h"

const syz_packing syz_packing_tiles = KERNEL_PACKING;
