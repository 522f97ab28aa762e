/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The tile instructions in plain C, as Intel's manual defines them (Software Developer's Manual, volume 2, TDPBF16PS
 * and TDPBUSD): the same bits as the hardware's for numbers that are not denormal. For src/nn/tiles.h.
 */
#pragma once

#include <immintrin.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { EMULATED_TILES = 8, EMULATED_ROWS = 16, EMULATED_LINE = 64 };

typedef union emulated_tile {
  uint8_t byte[EMULATED_ROWS][EMULATED_LINE];
  int8_t signed_byte[EMULATED_ROWS][EMULATED_LINE];
  uint16_t half[EMULATED_ROWS][EMULATED_LINE / 2];
  float number[EMULATED_ROWS][EMULATED_LINE / 4];
  int32_t integer[EMULATED_ROWS][EMULATED_LINE / 4];
} emulated_tile;

static _Thread_local emulated_tile emulated[EMULATED_TILES];
static _Thread_local bool emulated_is_configured;

/** A kernel that forgets to begin would be killed by the processor. */
static inline emulated_tile *emulated_at(int t)
{
  if (!emulated_is_configured) abort();
  return emulated + t;
}

static inline void tile_begin(void)
{
  memset(emulated, 0, sizeof emulated);
  emulated_is_configured = true;
}
static inline void tile_end(void) { emulated_is_configured = false; }
static inline void tile_zero(int t) { memset(emulated_at(t), 0, sizeof *emulated); }

static inline void tile_load(int t, const void *from, int64_t stride)
{
  for (int r = 0; r < EMULATED_ROWS; r++)
    memcpy(emulated_at(t)->byte[r], (const char *)from + r * stride, EMULATED_LINE);
}
static inline void tile_load_once(int t, const void *from, int64_t stride) { tile_load(t, from, stride); }

static inline void tile_store(int t, void *to, int64_t stride)
{
  for (int r = 0; r < EMULATED_ROWS; r++) memcpy((char *)to + r * stride, emulated_at(t)->byte[r], EMULATED_LINE);
}

static inline float emulated_bf16(uint16_t bits)
{
  const uint32_t word = (uint32_t)bits << 16;
  float x;
  memcpy(&x, &word, sizeof x);
  return x;
}

/** Even and odd numbers of the summed axis apart, fused, from zero; then their sum on top of C. */
static inline void tile_dot_bf16(int c, int a, int b)
{
  const emulated_tile *x = emulated_at(a), *y = emulated_at(b);
  for (int m = 0; m < EMULATED_ROWS; m++)
    for (int n = 0; n < 16; n++) {
      float even = 0, odd = 0;
      for (int k = 0; k < 16; k++) {
        even = fmaf(emulated_bf16(x->half[m][2 * k]), emulated_bf16(y->half[k][2 * n]), even);
        odd = fmaf(emulated_bf16(x->half[m][2 * k + 1]), emulated_bf16(y->half[k][2 * n + 1]), odd);
      }
      emulated_at(c)->number[m][n] += even + odd;
    }
}

static inline void tile_dot_int8(int c, int a, int b)
{
  const emulated_tile *x = emulated_at(a), *y = emulated_at(b);
  for (int m = 0; m < EMULATED_ROWS; m++)
    for (int n = 0; n < 16; n++) {
      int32_t sum = 0;
      for (int k = 0; k < 16; k++)
        for (int i = 0; i < 4; i++) sum += x->byte[m][4 * k + i] * y->signed_byte[k][4 * n + i];
      emulated_at(c)->integer[m][n] += sum;
    }
}
