/* SPDX-License-Identifier: BSD-3-Clause */
/** Counter-based random numbers: published answers, moments, independence of purposes, and a shuffle that is a
 * bijection. */
#include <stdlib.h>

#include "check.h"
#include "syzygy/numbers.h"

/* Known answers of Random123 1.14 (kat_vectors, philox4x32 10 rounds). */
static void known_answers(void)
{
  uint32_t w[4];
  syz_random zero = {0};
  syz_random_block(&zero, 0, w);
  CHECK(w[0] == 0x6627e8d5u && w[1] == 0xe169c58du && w[2] == 0xbc57ac4cu && w[3] == 0x9b00dbd8u);
  syz_random pi = {
      .seed = UINT64_C(0x299f31d0a4093822), .sample = UINT64_C(0x70734413198a2e), .purpose = 0x03, .step = 0x85a308d3u};
  syz_random_block(&pi, 0x243f6a88u, w);
  CHECK(w[0] == 0xd16cfe09u && w[1] == 0x94fdccebu && w[2] == 0x5001e420u && w[3] == 0x24126ea1u);
}

static void moments(void)
{
  enum { N = 200000 };
  double sum = 0, square = 0, cube = 0, fourth = 0, uniform = 0;
  syz_random r = syz_random_make(7, SYZ_RANDOM_TEST, 3, 11);
  for (uint32_t i = 0; i < N; i++) {
    double x = syz_random_normal(&r, i), u = syz_random_uniform(&r, i);
    CHECK(u >= 0 && u < 1);
    uniform += u;
    sum += x;
    square += x * x;
    cube += x * x * x;
    fourth += x * x * x * x;
  }
  /* Five standard errors of each moment. */
  CHECK_NEAR(uniform / N, 0.5, 5 * sqrt(1.0 / 12 / N));
  CHECK_NEAR(sum / N, 0, 5 / sqrt(N));
  CHECK_NEAR(square / N, 1, 5 * sqrt(2.0 / N));
  CHECK_NEAR(cube / N, 0, 5 * sqrt(15.0 / N));
  CHECK_NEAR(fourth / N, 3, 5 * sqrt(96.0 / N));
  float *x = malloc(N * sizeof *x);
  syz_random_fill_normal(&r, x, N);
  sum = square = fourth = 0;
  for (int i = 0; i < N; i++) {
    sum += x[i];
    square += (double)x[i] * x[i];
    fourth += pow(x[i], 4);
  }
  CHECK_NEAR(sum / N, 0, 5 / sqrt(N));
  CHECK_NEAR(square / N, 1, 5 * sqrt(2.0 / N));
  CHECK_NEAR(fourth / N, 3, 5 * sqrt(96.0 / N));
  float part[5];
  syz_random_fill_normal(&r, part, 5);
  CHECK(memcmp(part, x, sizeof part) == 0);

  /* The vectorised path: the same normals, whatever the length (whole groups of blocks, and the rest of one). */
  static const size_t lengths[] = {0, 1, 5, 127, 128, 129, 1000, N};
  float *y = malloc((N + 1) * sizeof *y);
  for (size_t k = 0; k < sizeof lengths / sizeof *lengths; k++) {
    double worst = 0;
    for (size_t i = 0; i <= lengths[k]; i++) y[i] = 1.0f;
    syz_random_add_normal(&r, 4.0f, y, lengths[k]); /* 1 + 4 x: errors of rounding at most 1e-6 beside those of 4 x */
    for (size_t i = 0; i < lengths[k]; i++) worst = fmax(worst, fabs(((double)y[i] - 1) / 4 - x[i]));
    CHECK_LT(worst, 2e-6);
    CHECK_EQ(y[lengths[k]], 1);
  }
  free(y);
  free(x);
}

static void logarithm(void)
{
  double worst = 0;
  for (double x = 1e-37; x < 1e38; x *= 1.0007) {
    float w = (float)x;
    double exact = log((double)w);
    if (fabs(exact) > 1e-3) worst = fmax(worst, fabs((double)syz_log_f32(w) / exact - 1));
  }
  CHECK_LT(worst, 1.2e-7);
  CHECK_EQ(syz_log_f32(1.0f), 0);
}

static void integers(void)
{
  int count[7] = {0};
  syz_random r = syz_random_make(1, SYZ_RANDOM_TEST, 0, 0);
  for (uint32_t i = 0; i < 70000; i++) count[syz_random_below(&r, i, 7)]++;
  for (int k = 0; k < 7; k++) CHECK_NEAR(count[k], 10000, 5 * sqrt(10000.0 * 6 / 7));
}

static void streams_differ(void)
{
  uint32_t seen[64];
  int n = 0;
  const syz_random_purpose purpose[] = {
#define PURPOSE_VALUE(name, value) name,
      SYZ_RANDOM_PURPOSES(PURPOSE_VALUE)
#undef PURPOSE_VALUE
  };
  for (size_t i = 0; i < sizeof purpose / sizeof *purpose; i++) {
    for (size_t j = 0; j < i; j++) CHECK(purpose[i] != purpose[j]);
    CHECK((int)purpose[i] < 256);
    syz_random r = syz_random_make(5, purpose[i], 1, 2);
    seen[n++] = syz_random_u32(&r, 0);
  }
  const uint64_t sample[] = {
      0, 1, UINT64_C(1) << 32, UINT64_C(1) << 40, UINT64_C(39627788403084375), UINT64_C(39627788403084376), UINT64_MAX};
  for (size_t i = 0; i < sizeof sample / sizeof *sample; i++) {
    syz_random r = syz_random_make(5, SYZ_RANDOM_TEST, 9, sample[i]);
    seen[n++] = syz_random_u32(&r, 0);
  }
  for (int i = 0; i < n; i++)
    for (int j = 0; j < i; j++) CHECK(seen[i] != seen[j]);
}

static void permutation(void)
{
  const uint64_t sizes[] = {1, 2, 3, 5, 16, 17, 1000, 65537};
  for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
    uint64_t n = sizes[k], fixed = 0;
    unsigned char *hit = calloc(n, 1);
    syz_random r = syz_random_make(3, SYZ_RANDOM_SHUFFLE, k, 0);
    double correlation = 0;
    for (uint64_t i = 0; i < n; i++) {
      uint64_t j = syz_random_permute(&r, n, i);
      CHECK(j < n && !hit[j]);
      hit[j] = 1;
      fixed += j == i;
      correlation += ((double)i / (double)n - 0.5) * ((double)j / (double)n - 0.5);
    }
    if (n >= 1000) {
      CHECK_LT((double)fixed, 10); /* one is expected, whatever n */
      CHECK_NEAR(12 * correlation / (double)n, 0, 5 / sqrt((double)n));
    }
    free(hit);
  }
}

int main(void)
{
  known_answers();
  moments();
  logarithm();
  integers();
  streams_differ();
  permutation();
  return CHECK_RESULT();
}
