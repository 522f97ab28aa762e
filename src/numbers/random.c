/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Philox4x32-10 (Salmon, Moraes, Dror & Shaw 2011, SC11, doi:10.1145/2063384.2063405): ten rounds of two 32-bit
 * multiplications mix a 128-bit counter under a 64-bit key. Here the key is the seed and the counter is {block, step,
 * sample low 32, sample high 8 | purpose << 24}: samples below 2^40 and purposes below 256 never collide.
 *
 * Random123 gives the same bits, one block at a time. random_normal.c and nn/dropout.c need the rounds on whole
 * vectors, which it does not offer, so the constants are in random.h and all three files use them; test_random compares
 * them with Random123's published answers.
 */
#include <math.h>

#include "random.h"

static const double two_pi = 6.283185307179586;

syz_random syz_random_make(uint64_t seed, syz_random_purpose purpose, uint64_t step, uint64_t sample)
{
  /* The upper bits of larger samples (64-bit identifiers) are folded into the seed instead of being dropped. */
  uint64_t upper = sample >> 40;
  if (upper) seed = syz_checksum(&sample, sizeof sample, seed);
  return (syz_random){
      .seed = seed, .sample = sample & ((UINT64_C(1) << 40) - 1), .purpose = (uint32_t)purpose, .step = (uint32_t)step};
}

static void philox(uint32_t c[4], uint64_t key)
{
  uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
  for (int round = 0; round < PHILOX_ROUNDS; round++) {
    uint64_t p0 = (uint64_t)PHILOX_M0 * c[0], p1 = (uint64_t)PHILOX_M1 * c[2];
    uint32_t n0 = (uint32_t)(p1 >> 32) ^ c[1] ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c[3] ^ k1;
    c[1] = (uint32_t)p1;
    c[3] = (uint32_t)p0;
    c[0] = n0;
    c[2] = n2;
    k0 += PHILOX_W0;
    k1 += PHILOX_W1;
  }
}

void syz_random_block(const syz_random *r, uint32_t block, uint32_t word[4])
{
  word[0] = block;
  word[1] = r->step;
  word[2] = (uint32_t)r->sample;
  word[3] = (uint32_t)(r->sample >> 32) | (r->purpose << 24);
  philox(word, r->seed);
}

uint32_t syz_random_u32(const syz_random *r, uint32_t draw)
{
  uint32_t w[4];
  syz_random_block(r, draw / 4, w);
  return w[draw % 4];
}

static double unit_interval(uint32_t high, uint32_t low)
{
  return (double)((((uint64_t)high << 32) | low) >> 11) * 0x1p-53;
}

double syz_random_uniform(const syz_random *r, uint32_t draw)
{
  uint32_t w[4];
  syz_random_block(r, draw, w);
  return unit_interval(w[0], w[1]);
}

double syz_random_normal(const syz_random *r, uint32_t draw)
{
  uint32_t w[4];
  syz_random_block(r, draw, w);
  return sqrt(-2.0 * log1p(-unit_interval(w[0], w[1]))) * cos(two_pi * unit_interval(w[2], w[3]));
}

uint64_t syz_random_below(const syz_random *r, uint32_t draw, uint64_t n)
{
  uint32_t w[4];
  SYZ_ASSERT(n >= 1);
  syz_random_block(r, draw, w);
  unsigned __int128 product = (unsigned __int128)(((uint64_t)w[0] << 32) | w[1]) * n;
  return (uint64_t)(product >> 64);
}

void syz_random_fill_normal(const syz_random *r, float *x, size_t n)
{
  for (size_t i = 0; i < n; i += 4) {
    uint32_t w[4];
    syz_random_block(r, (uint32_t)(i / 4), w);
    for (size_t j = 0; j < 4; j += 2) {
      float u = ((float)(w[j] >> 8) + 0.5f) * 0x1p-24f, phase = (float)two_pi * ((float)(w[j + 1] >> 8) * 0x1p-24f);
      float radius = sqrtf(-2.0f * logf(u));
      if (i + j < n) x[i + j] = radius * cosf(phase);
      if (i + j + 1 < n) x[i + j + 1] = radius * sinf(phase);
    }
  }
}

/*
 * Four Feistel rounds on 2 x half bits, round function Philox; values outside 0..n-1 are permuted again until they fall
 * inside (fewer than four times on average), which keeps the map a bijection of 0..n-1.
 */
uint64_t syz_random_permute(const syz_random *r, uint64_t n, uint64_t i)
{
  SYZ_ASSERT(i < n);
  int half = 1;
  while (half < 32 && (UINT64_C(1) << (2 * half)) < n) half++;
  uint64_t mask = (UINT64_C(1) << half) - 1, x = i;
  do {
    uint64_t left = x >> half, right = x & mask;
    for (uint32_t round = 0; round < 4; round++) {
      uint32_t w[4];
      syz_random key = *r;
      key.sample ^= right << 2 | round; /* right < 2^32: fits the 40 bits of a sample */
      syz_random_block(&key, 0x5045524du + round, w);
      uint64_t next = left ^ (w[0] & mask);
      left = right;
      right = next;
    }
    x = left << half | right;
  } while (x >= n);
  return x;
}
