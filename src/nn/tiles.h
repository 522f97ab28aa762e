/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The tile instructions (AMX) under short names; private to the files kernel_amx.c and attention_amx.c. With
 * SYZ_TILES_EMULATED they are the plain C of tests/nn/tile_emulation.h, so that the logic of these files is tested on
 * every processor.
 *
 * A thread has eight tiles of 16 rows of 64 bytes. They are configured when a kernel begins and released when it ends.
 * So no other code ever finds them in use, neither a forked child nor a signal handler, and threads that OpenMP starts
 * later need no set-up.
 *
 * The compiler's own intrinsics do not say that a load reads memory: tile_begin is a barrier between what was written
 * before and the loads of a kernel.
 */
#pragma once

#include <stdint.h>

#ifdef SYZ_TILES_EMULATED
#include "tile_emulation.h"
#define TILE_FUNCTION static inline
#else
#include <immintrin.h>

#define TILE_FUNCTION static inline __attribute__((always_inline, target("amx-tile")))

#define TILE_TARGET "amx-tile,amx-bf16,amx-int8"
#define tile_zero(t) _tile_zero(t)
/** Load from and store to rows `stride` bytes apart. */
#define tile_load(t, from, stride) _tile_loadd(t, from, stride)
/** A load of data not read again soon: it displaces nothing in the L1 cache. */
#define tile_load_once(t, from, stride) _tile_stream_loadd(t, from, stride)
#define tile_store(t, to, stride) _tile_stored(t, to, stride)
/** C [16][16 float] += A [16][32 bfloat16] B [16 pairs][16][2 bfloat16]; the same in int32 from A [16][64 unsigned
 * bytes], B [16][16][4 signed bytes]. */
#define tile_dot_bf16(c, a, b) _tile_dpbf16ps(c, a, b)
#define tile_dot_int8(c, a, b) _tile_dpbusd(c, a, b)

typedef struct tile_configuration {
  uint8_t palette, start_row, reserved[14];
  uint16_t row_bytes[16];
  uint8_t rows[16];
} tile_configuration;
_Static_assert(sizeof(tile_configuration) == 64, "the layout that LDTILECFG reads");

/** All eight tiles whole. */
TILE_FUNCTION void tile_begin(void)
{
  static const tile_configuration whole = {
      .palette = 1, .row_bytes = {64, 64, 64, 64, 64, 64, 64, 64}, .rows = {16, 16, 16, 16, 16, 16, 16, 16}};
  _tile_loadconfig(&whole);
  __asm__ volatile("" ::: "memory");
}

TILE_FUNCTION void tile_end(void) { _tile_release(); }
#endif

/** Earlier vector stores become visible to the following tile loads, which the compiler does not know to read memory.
 */
TILE_FUNCTION void tile_written(void) { __asm__ volatile("" ::: "memory"); }

/* Tiles 0 to 3 hold 32 x 32 sums, tile 2 below tile 0; in memory [2 halves of columns][32 rows][16]. */
enum { TILE_LINE = 64, TILE_WORDS = 256 };

/** Initialises the sums: zeros (NULL), or from memory. */
TILE_FUNCTION void tile_begin_sums(const float *from)
{
  if (from) {
    tile_load(0, from, TILE_LINE);
    tile_load(1, from + 2 * TILE_WORDS, TILE_LINE);
    tile_load(2, from + TILE_WORDS, TILE_LINE);
    tile_load(3, from + 3 * TILE_WORDS, TILE_LINE);
  } else {
    tile_zero(0);
    tile_zero(1);
    tile_zero(2);
    tile_zero(3);
  }
}

TILE_FUNCTION void tile_store_sums(float *to)
{
  tile_store(0, to, TILE_LINE);
  tile_store(1, to + 2 * TILE_WORDS, TILE_LINE);
  tile_store(2, to + TILE_WORDS, TILE_LINE);
  tile_store(3, to + 3 * TILE_WORDS, TILE_LINE);
}
