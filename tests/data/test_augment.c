/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Sampler and augmentation. The samplers of all ranks make up each epoch exactly once; what augmentation does can be
 * undone, has the statistics it promises, and depends on (seed, step, place) only.
 */
#include "check.h"
#include "syzygy/data.h"
#include "../../src/data/augment.h"

#include <stdlib.h>

enum { SIZE = 152, PLANE = SIZE * SIZE, IMAGE = 3 * PLANE, S = SYZ_SPECTRUM_PIXELS };

static float image[IMAGE], before[IMAGE], flux[S], ivar[S];

/* Whatever the number of ranks, n consecutive places from an epoch's beginning are a permutation of the n objects. */
static void test_sampler(void)
{
  const int64_t sizes[] = {1, 2, 7, 100, 1000}, batches[] = {1, 3, 64, 256};
  for (int a = 0; a < 5; a++)
    for (int b = 0; b < 4; b++) {
      int64_t n = sizes[a], g = batches[b];
      syz_sampler s = {n, g, 99, true}, plain = {n, g, 99, false};
      int *seen = calloc((size_t)n, sizeof *seen);
      int64_t same_as_plain = 0, wrong = 0, steps = (3 * n + g - 1) / g;
      for (int64_t step = 0, at = 0; step < steps; step++)
        for (int64_t place = 0; place < g; place++, at++) {
          int64_t i = syz_sampler_index(&s, step, place), epoch = at / n;
          if (i < 0 || i >= n) {
            wrong++;
            continue;
          }
          same_as_plain += i == at % n;
          wrong += syz_sampler_index(&plain, step, place) != at % n;
          if (epoch < 3) wrong += seen[i]++ != epoch;
        }
      CHECK_EQ(wrong, 0);
      if (n >= 100) CHECK_LT((double)same_as_plain, 0.05 * (double)(steps * g)); /* it does shuffle */
      free(seen);
    }
  /* Epochs and seeds differ; the same arguments give the same object. */
  syz_sampler s = {1000, 10, 1, true}, other = {1000, 10, 2, true};
  int64_t same_epoch = 0, same_seed = 0;
  for (int64_t i = 0; i < 1000; i++) {
    same_epoch += syz_sampler_index(&s, i / 10, i % 10) == syz_sampler_index(&s, 100 + i / 10, i % 10);
    same_seed += syz_sampler_index(&s, i / 10, i % 10) == syz_sampler_index(&other, i / 10, i % 10);
  }
  CHECK_LT((double)same_epoch, 10.0);
  CHECK_LT((double)same_seed, 10.0);
  CHECK_EQ(syz_sampler_index(&s, INT64_C(4000000), 3), syz_sampler_index(&s, INT64_C(4000000), 3));
}

static double value(int b, int y, int x) { return b * 100000 + y * 200 + x; }

/* Flips and quarter turns are the eight symmetries of the square, each about as often; the right one is found by its
 * corners. */
static void test_symmetries(void)
{
  const syz_augment a = {.flips = true, .quarter_turns = true};
  int counts[8] = {0};
  enum { TRIALS = 800 };
  for (int trial = 0; trial < TRIALS; trial++) {
    for (int i = 0; i < IMAGE; i++) image[i] = (float)value(i / PLANE, i / SIZE % SIZE, i % SIZE);
    syz_augment_image(&a, 3, trial / 16, trial % 16, SIZE, image);
    int which = -1;
    for (int k = 0; k < 8 && which < 0; k++) {
      bool is_it = true;
      for (int y = 0; y < SIZE && is_it; y += 7)
        for (int x = 0; x < SIZE && is_it; x += 5) {
          int u = x, v = y, t;
          if (k & 1) u = SIZE - 1 - u;
          if (k & 2) v = SIZE - 1 - v;
          if (k & 4) t = u, u = v, v = t;
          for (int b = 0; b < 3; b++) is_it = is_it && image[b * PLANE + y * SIZE + x] == (float)value(b, v, u);
        }
      if (is_it) which = k;
    }
    CHECK(which >= 0);
    if (which >= 0) counts[which]++;
  }
  for (int k = 0; k < 8; k++) CHECK_NEAR(counts[k], TRIALS / 8.0, 45); /* five standard deviations */

  /* A quarter turn alone: never a mirror image; four of them are none. */
  const syz_augment turns = {.quarter_turns = true};
  int mirrored = 0, odd[5];
  for (int size = 1; size <= 5; size++) odd[size - 1] = size;
  for (int trial = 0; trial < 60; trial++) {
    int n = odd[trial % 5];
    float small[75];
    for (int i = 0; i < 3 * n * n; i++) small[i] = (float)i;
    syz_augment_image(&turns, 8, trial, 0, n, small);
    double sum = 0, square = 0;
    for (int i = 0; i < n * n; i++) sum += (double)small[i], square += (double)small[i] * small[i];
    CHECK_EQ(sum, n * n * (n * n - 1) / 2);
    CHECK_EQ(square, (n * n - 1) * (n * n) * (2 * n * n - 1) / 6);
    /* Signed area of corners 0, 1 (right of it) and n (below it) keeps its sign under a turn. */
    int at[3] = {0, 1, n}, px[3] = {0}, py[3] = {0};
    for (int k = 0; n > 1 && k < 3; k++)
      for (int i = 0; i < n * n; i++)
        if (small[i] == (float)at[k]) px[k] = i % n, py[k] = i / n;
    int area = (px[1] - px[0]) * (py[2] - py[0]) - (px[2] - px[0]) * (py[1] - py[0]);
    mirrored += n > 1 && area != 1;
  }
  CHECK_EQ(mirrored, 0);
}

static void test_noise(void)
{
  const syz_augment a = {.image_noise = 0.02, .spectrum_noise = 0.5};
  double sum = 0, square = 0, lag = 0;
  for (int i = 0; i < IMAGE; i++) image[i] = before[i] = 0.01f * (float)(i % 91);
  syz_augment_image(&a, 1, 12, 5, SIZE, image);
  for (int i = 0; i < IMAGE; i++) {
    double d = (double)image[i] - before[i];
    sum += d;
    square += d * d;
    if (i) lag += d * ((double)image[i - 1] - before[i - 1]);
  }
  /* 69,312 normals: the mean within 5 sigma/sqrt(n), the deviation within 5/sqrt(2n) = 1.3 % would miss 1 %: checked
   * over 16 images below. */
  CHECK_NEAR(sum / IMAGE, 0, 5 * 0.02 / sqrt(IMAGE));
  CHECK_NEAR(lag / square, 0, 5 / sqrt(IMAGE));
  square = 0;
  for (int k = 0; k < 16; k++) {
    memset(image, 0, sizeof image);
    syz_augment_image(&a, 1, 13, k, SIZE, image);
    for (int i = 0; i < IMAGE; i++) square += (double)image[i] * image[i];
  }
  CHECK_NEAR(sqrt(square / (16.0 * IMAGE)), 0.02, 0.02 * 0.005); /* 1.1 million: 0.07 % is one standard deviation */

  /* Spectra: noise follows 1/sqrt(ivar); masked pixels are left alone. */
  double scaled = 0;
  int64_t n = 0;
  for (int i = 0; i < S; i++) ivar[i] = i % 10 == 0 ? 0.0f : (float)(1 + i % 4);
  for (int k = 0; k < 40; k++) {
    for (int i = 0; i < S; i++) flux[i] = 3.0f;
    syz_augment_spectrum(&a, 1, 2, k, flux, ivar);
    for (int i = 0; i < S; i++) {
      double d = (double)flux[i] - 3.0;
      if (ivar[i] == 0.0f) {
        if (d != 0) CHECK(d == 0);
        continue;
      }
      scaled += d * d * ivar[i];
      n++;
    }
  }
  CHECK_NEAR(sqrt(scaled / (double)n), 0.5, 0.5 * 0.006);
  for (int i = 0; i < S; i++) flux[i] = 3.0f;
  syz_augment_spectrum(&a, 1, 2, 3, flux, NULL);
  for (int i = 0; i < S; i += 100) CHECK_EQ(flux[i], 3);
}

static void test_masks(void)
{
  const syz_augment a = {.mask_runs = 3, .mask_run_pixels = 50}, off = {.mask_runs = 3};
  int64_t masked = 0, lowest = S, highest = -1;
  enum { TRIALS = 400 };
  for (int k = 0; k < TRIALS; k++) {
    for (int i = 0; i < S; i++) flux[i] = 1.0f;
    syz_augment_spectrum(&a, 7, k, 0, flux, NULL);
    int64_t run = 0, here = 0;
    for (int i = 0; i <= S; i++) {
      if (i < S && flux[i] == 0.0f) {
        run++;
        here++;
        if (i < lowest) lowest = i;
        if (i > highest) highest = i;
        continue;
      }
      if (run && run < 50) CHECK(run >= 50); /* overlapping runs are longer, never shorter */
      run = 0;
    }
    CHECK(here >= 50 && here <= 150);
    masked += here;
  }
  CHECK_NEAR((double)masked / TRIALS, 149.05, 1.5); /* 150 less the overlaps: 3 pairs x 50^2 / 7732 = 0.97 */
  CHECK_LT((double)lowest, 60.0);
  CHECK_GT((double)highest, S - 60.0);
  CHECK(syz_augment_is_on(&a) && !syz_augment_is_on(&off) && !syz_augment_is_on(&(syz_augment){0}));
}

static void test_pure(void)
{
  const syz_augment a = {.flips = true,
                         .quarter_turns = true,
                         .image_noise = 0.1,
                         .spectrum_noise = 1,
                         .mask_runs = 1,
                         .mask_run_pixels = 9};
  static float first[IMAGE], other[IMAGE];
  int differ[3] = {0};
  for (int i = 0; i < IMAGE; i++) first[i] = other[i] = image[i] = (float)(i % 977);
  syz_augment_image(&a, 5, 6, 7, SIZE, first);
  syz_augment_image(&a, 5, 600, 7, SIZE, other); /* another call in between changes nothing */
  syz_augment_image(&a, 5, 6, 7, SIZE, image);
  CHECK(memcmp(first, image, sizeof image) == 0);
  const uint64_t seeds[3] = {50, 5, 5};
  const int64_t steps[3] = {6, 66, 6}, places[3] = {7, 7, 8};
  for (int k = 0; k < 3; k++) {
    for (int i = 0; i < IMAGE; i++) other[i] = (float)(i % 977);
    syz_augment_image(&a, seeds[k], steps[k], places[k], SIZE, other);
    for (int i = 0; i < IMAGE; i++) differ[k] += other[i] != first[i];
    CHECK_GT(differ[k], IMAGE * 0.99);
  }
}

int main(void)
{
  test_sampler();
  test_symmetries();
  test_noise();
  test_masks();
  test_pure();
  return CHECK_RESULT();
}
