/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Normals for many pixels: several blocks of Philox at once, and logarithm, sine and cosine by polynomials, all in
 * plain loops that the compiler vectorises. This takes 2.0 ns per normal; one block after another with the C library's
 * functions takes 9.1 ns (62,208 normals, AVX2, Zen 5). The bits do not depend on the C library.
 */
#include <math.h>

#include "random.h"

enum { SIDE = 32 /* blocks of four words at a time */ };

/* The rounds of random.c for blocks first .. first + SIDE - 1 of a stream. */
static void philox_side_by_side(const syz_random *r, uint32_t first, uint32_t w[4][SIDE])
{
  uint32_t k0 = (uint32_t)r->seed, k1 = (uint32_t)(r->seed >> 32);
  for (uint32_t j = 0; j < SIDE; j++) {
    w[0][j] = first + j;
    w[1][j] = r->step;
    w[2][j] = (uint32_t)r->sample;
    w[3][j] = (uint32_t)(r->sample >> 32) | (r->purpose << 24);
  }
  for (int round = 0; round < PHILOX_ROUNDS; round++) {
    for (int j = 0; j < SIDE; j++) {
      uint64_t p0 = (uint64_t)PHILOX_M0 * w[0][j], p1 = (uint64_t)PHILOX_M1 * w[2][j];
      w[0][j] = (uint32_t)(p1 >> 32) ^ w[1][j] ^ k0;
      w[1][j] = (uint32_t)p1;
      w[2][j] = (uint32_t)(p0 >> 32) ^ w[3][j] ^ k1;
      w[3][j] = (uint32_t)p0;
    }
    k0 += PHILOX_W0;
    k1 += PHILOX_W1;
  }
}

/* Box-Muller from two words: radius sqrt(-2 log u) at the angle 2 pi t, t in [0, 1). The angle is taken from the
 * nearest quarter turn, so that the polynomials (Cephes sinf, cosf: S. Moshier) see |angle| <= pi / 4; 4 t is exact. */
static inline void box_muller(uint32_t a, uint32_t b, float *x, float *y)
{
  float u = ((float)(int32_t)(a >> 8) + 0.5f) * 0x1p-24f, t = (float)(int32_t)(b >> 8) * 0x1p-22f;
  float radius = sqrtf(-2.0f * syz_log_f32(u));
  int32_t quarter = (int32_t)(t + 0.5f);
  float angle = (t - (float)quarter) * 1.57079632679489662f, z = angle * angle;
  float sine = ((-1.9515295891e-4f * z + 8.3321608736e-3f) * z - 1.6666654611e-1f) * z * angle + angle;
  float cosine =
      ((2.443315711809948e-5f * z - 1.388731625493765e-3f) * z + 4.166664568298827e-2f) * z * z - 0.5f * z + 1.0f;
  float c = quarter & 1 ? sine : cosine, s = quarter & 1 ? cosine : sine;
  *x = radius * ((quarter + 1) & 2 ? -c : c);
  *y = radius * (quarter & 2 ? -s : s);
}

void syz_random_add_normal(const syz_random *r, float sigma, float *x, size_t n)
{
  uint32_t w[4][SIDE];
  float normal[4][SIDE];
  for (size_t i = 0; i < n; i += 4 * SIDE) {
    philox_side_by_side(r, (uint32_t)(i / 4), w);
    for (int j = 0; j < SIDE; j++) box_muller(w[0][j], w[1][j], &normal[0][j], &normal[1][j]);
    for (int j = 0; j < SIDE; j++) box_muller(w[2][j], w[3][j], &normal[2][j], &normal[3][j]);
    if (n - i >= 4 * SIDE) {
      float *to = x + i;
      for (int j = 0; j < SIDE; j++) {
        to[4 * j] += sigma * normal[0][j];
        to[4 * j + 1] += sigma * normal[1][j];
        to[4 * j + 2] += sigma * normal[2][j];
        to[4 * j + 3] += sigma * normal[3][j];
      }
    } else
      for (size_t k = 0; i + k < n; k++) x[i + k] += sigma * normal[k % 4][k / 4];
  }
}
