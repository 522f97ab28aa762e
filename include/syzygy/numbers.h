/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * numbers: counter-based random numbers, the bfloat16 type, a logarithm for loops over pixels. The same bits on every
 * machine.
 *
 * Nothing here is collective.
 */
#pragma once

#include "syzygy/base.h"

/* ---------------------------------------------------------------- random */

/**
 * Counter-based random numbers: Philox4x32-10 (Salmon et al. 2011, doi:10.1145/2063384.2063405).
 *
 * Every number is a pure function of (seed, purpose, step, sample, draw); there is no state, so results do not depend
 * on ranks, threads or restarts. `step` is a step or an epoch, `sample` a global index or object number.
 */
#define SYZ_RANDOM_PURPOSES(X)                                                                                         \
  X(SYZ_RANDOM_TEST, 1)                                                                                                \
  X(SYZ_RANDOM_SHUFFLE, 2)                                                                                             \
  X(SYZ_RANDOM_INIT, 3)                                                                                                \
  X(SYZ_RANDOM_DROPOUT, 4)                                                                                             \
  X(SYZ_RANDOM_FLIP, 5)                                                                                                \
  X(SYZ_RANDOM_IMAGE_NOISE, 6)                                                                                         \
  X(SYZ_RANDOM_SPECTRUM_NOISE, 7)                                                                                      \
  X(SYZ_RANDOM_SPECTRUM_MASK, 8)                                                                                       \
  X(SYZ_RANDOM_SIM_PHYSICS, 9)                                                                                         \
  X(SYZ_RANDOM_SIM_MORPHOLOGY, 10)                                                                                     \
  X(SYZ_RANDOM_SIM_IMAGE_NOISE, 11)                                                                                    \
  X(SYZ_RANDOM_SIM_SPECTRUM_NOISE, 12)                                                                                 \
  X(SYZ_RANDOM_SIM_SKY, 13)                                                                                            \
  X(SYZ_RANDOM_SIM_ARTEFACT, 14)                                                                                       \
  X(SYZ_RANDOM_SIM_NEIGHBOUR, 15)                                                                                      \
  X(SYZ_RANDOM_BENCH, 16)                                                                                              \
  X(SYZ_RANDOM_CROP, 17)                                                                                               \
  X(SYZ_RANDOM_CROP_NOISE, 18)                                                                                         \
  X(SYZ_RANDOM_BLOCK_MASK, 19)                                                                                         \
  X(SYZ_RANDOM_MASK_ORDER, 20)                                                                                         \
  X(SYZ_RANDOM_RUN_MASK, 21)                                                                                           \
  X(SYZ_RANDOM_DROP_PATH, 22)                                                                                          \
  X(SYZ_RANDOM_PROBE, 23)                                                                                              \
  X(SYZ_RANDOM_PARTNERS, 24)                                                                                           \
  X(SYZ_RANDOM_DRAW, 25)                                                                                               \
  X(SYZ_RANDOM_HALF, 26)                                                                                               \
  X(SYZ_RANDOM_BOOTSTRAP, 30)                                                                                          \
  X(SYZ_RANDOM_REFERENCE, 31)                                                                                          \
  X(SYZ_RANDOM_FLOW_SHAPE, 40)                                                                                         \
  X(SYZ_RANDOM_FLOW_WEIGHT, 41)                                                                                        \
  X(SYZ_RANDOM_FLOW_ORDER, 42)                                                                                         \
  X(SYZ_RANDOM_FLOW_DRAW, 43)

typedef enum syz_random_purpose {
#define SYZ_RANDOM_ENUM(name, value) name = value,
  SYZ_RANDOM_PURPOSES(SYZ_RANDOM_ENUM)
#undef SYZ_RANDOM_ENUM
} syz_random_purpose;

typedef struct syz_random {
  uint64_t seed;
  uint64_t sample;
  uint32_t purpose;
  uint32_t step; /**< steps and epochs below 2^32 */
} syz_random;

/** The stream of (seed, purpose, step, sample): a value without state, which can be copied. */
syz_random syz_random_make(uint64_t seed, syz_random_purpose purpose, uint64_t step, uint64_t sample);
/** Four independent words, block `block` of the stream: draws 4 block .. 4 block + 3. syz_random_u32: one draw. */
void syz_random_block(const syz_random *r, uint32_t block, uint32_t word[4]);
uint32_t syz_random_u32(const syz_random *r, uint32_t draw);
/** Uniform in [0, 1), 53 bits, from block `draw`. */
double syz_random_uniform(const syz_random *r, uint32_t draw);
/** Standard normal (Box-Muller), from block `draw`. */
double syz_random_normal(const syz_random *r, uint32_t draw);
/** Uniform integer in [0, n), n >= 1, unbiased to 2^-64 n. */
uint64_t syz_random_below(const syz_random *r, uint32_t draw, uint64_t n);
/** Standard normals 0 .. n - 1 of the stream as float32, for many pixels: two normals from each 64 bits. */
void syz_random_fill_normal(const syz_random *r, float *x, size_t n);
/** x[i] += sigma times normal i of the stream; the normals equal those of syz_random_fill_normal within 2e-6, at more
 * than four times the speed. */
void syz_random_add_normal(const syz_random *r, float sigma, float *x, size_t n);
/** Element `i` of a random permutation of 0 .. n - 1: a keyed bijection (Feistel network with cycle walking) in O(1)
 * without a table. */
uint64_t syz_random_permute(const syz_random *r, uint64_t n, uint64_t i);

/* ---------------------------------------------------------------- bfloat16 */

/** Storage only; a struct, so that two of them cannot be added by accident. */
typedef struct syz_bf16 {
  uint16_t bits;
} syz_bf16;
static inline float syz_bf16_to_f32(syz_bf16 x)
{
  union {
    uint32_t u;
    float f;
  } v = {(uint32_t)x.bits << 16};
  return v.f;
}
/** Round to nearest even; a NaN stays a (quiet) NaN. */
static inline syz_bf16 syz_bf16_from_f32(float x)
{
  union {
    float f;
    uint32_t u;
  } v = {x};
  uint32_t rounded = v.u + 0x7fffu + ((v.u >> 16) & 1u);
  uint32_t is_nan = (v.u & 0x7fffffffu) > 0x7f800000u;
  return (syz_bf16){(uint16_t)(is_nan ? (v.u >> 16) | 0x40u : rounded >> 16)};
}

/* -------------------------------------------------------------- logarithm */

/** log(w) for normal w > 0, relative error below 1e-7; inline and without branches, so that loops over pixels
 * vectorise. Source: Cephes single/logf.c (S. Moshier). */
static inline float syz_log_f32(float w)
{
  union {
    float f;
    uint32_t u;
  } v = {w};
  uint32_t shifted = v.u - 0x3f3504f3u; /* bits of sqrt(1/2) */
  int32_t e = (int32_t)shifted >> 23;
  v.u = (shifted & 0x007fffffu) + 0x3f3504f3u;
  float x = v.f - 1.0f, z = x * x;
  float y = 7.0376836292e-2f;
  y = y * x - 1.1514610310e-1f;
  y = y * x + 1.1676998740e-1f;
  y = y * x - 1.2420140846e-1f;
  y = y * x + 1.4249322787e-1f;
  y = y * x - 1.6668057665e-1f;
  y = y * x + 2.0000714765e-1f;
  y = y * x - 2.4999993993e-1f;
  y = y * x + 3.3333331174e-1f;
  y = y * x * z;
  float fe = (float)e;
  y += -2.12194440e-4f * fe;
  y += -0.5f * z;
  return x + y + 0.693359375f * fe;
}
