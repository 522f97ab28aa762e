/* SPDX-License-Identifier: BSD-3-Clause */
/** Dropout: its mask is a function of its key alone, its statistics are those of coin tosses. */
#include "check.h"
#include "syzygy/nn.h"

enum { ROWS = 64, WIDTH = 1021 };

static float mask[ROWS][WIDTH], other[ROWS][WIDTH];
static int64_t sample[ROWS];

static void toss(float x[ROWS][WIDTH], float p, uint64_t seed, uint64_t step, uint32_t layer)
{
  for (int r = 0; r < ROWS; r++)
    for (int d = 0; d < WIDTH; d++) x[r][d] = 1.0f;
  syz_dropout(&x[0][0], p, seed, step, sample, layer, ROWS, WIDTH);
}

static int differing(void)
{
  int n = 0;
  for (int r = 0; r < ROWS; r++)
    for (int d = 0; d < WIDTH; d++) n += mask[r][d] != other[r][d];
  return n;
}

static void test_statistics(float p)
{
  const double n = ROWS * WIDTH, sigma = sqrt((double)p * (1.0 - (double)p));
  double kept = 0.0, pairs = 0.0, below = 0.0, column[4] = {0.0};
  toss(mask, p, 11, 3, 0);
  for (int r = 0; r < ROWS; r++)
    for (int d = 0; d < WIDTH; d++) {
      CHECK(mask[r][d] == 0.0f || mask[r][d] == (float)(1.0 / (1.0 - (double)p)));
      double k = mask[r][d] != 0.0f ? 1.0 : 0.0, centred = k - (1.0 - (double)p);
      kept += k;
      column[d % 4] += centred;
      if (d) pairs += centred * ((mask[r][d - 1] != 0.0f ? 1.0 : 0.0) - (1.0 - (double)p));
      if (r) below += centred * ((mask[r - 1][d] != 0.0f ? 1.0 : 0.0) - (1.0 - (double)p));
    }
  /* Five standard deviations; the numbers are fixed, so this never fails by chance. */
  CHECK_NEAR(kept / n, 1.0 - (double)p, 5.0 * sigma / sqrt(n));
  for (int j = 0; j < 4; j++) CHECK_NEAR(column[j] / n, 0.0, 5.0 * sigma / sqrt(4.0 * n));
  CHECK_NEAR(pairs / n, 0.0, 5.0 * sigma * sigma / sqrt(n)); /* neighbours are independent */
  CHECK_NEAR(below / n, 0.0, 5.0 * sigma * sigma / sqrt(n));
}

int main(void)
{
  for (int r = 0; r < ROWS; r++) sample[r] = 1000 + 7 * r;
  const float p[] = {0.1f, 0.5f, 0.9f, 0.01f};
  for (int k = 0; k < 4; k++) test_statistics(p[k]);

  /* Each part of the key makes another mask: at p = 1/2 half of the elements differ. */
  toss(mask, 0.5f, 11, 3, 0);
  toss(other, 0.5f, 11, 3, 0);
  CHECK_EQ(differing(), 0);
  toss(other, 0.5f, 12, 3, 0);
  CHECK_NEAR(differing(), 0.5 * ROWS * WIDTH, 700.0);
  toss(other, 0.5f, 11, 4, 0);
  CHECK_NEAR(differing(), 0.5 * ROWS * WIDTH, 700.0);
  toss(other, 0.5f, 11, 3, 1);
  CHECK_NEAR(differing(), 0.5 * ROWS * WIDTH, 700.0);

  /* A sample's row does not depend on where it stands or on the width; values are scaled, not replaced. */
  float row[WIDTH];
  int64_t one = sample[5];
  for (int d = 0; d < WIDTH; d++) row[d] = (float)d - 3.5f;
  syz_dropout(row, 0.5f, 11, 3, &one, 0, 1, WIDTH);
  for (int d = 0; d < WIDTH; d++) CHECK(row[d] == mask[5][d] * ((float)d - 3.5f));
  for (int d = 0; d < 10; d++) row[d] = 1.0f;
  syz_dropout(row, 0.5f, 11, 3, &one, 0, 1, 10);
  for (int d = 0; d < 10; d++) CHECK(row[d] == mask[5][d]);

  /* The mask as dropout.c states it. */
  syz_random stream = syz_random_make(11, SYZ_RANDOM_DROPOUT, 3, (uint64_t)one);
  for (uint32_t d = 0; d < WIDTH; d++)
    CHECK((syz_random_u32(&stream, d) >= UINT32_C(0x80000000)) == (mask[5][d] != 0.0f));

  /* p = 0 is the identity. */
  toss(other, 0.0f, 11, 3, 0);
  for (int d = 0; d < WIDTH; d++) CHECK(other[0][d] == 1.0f);
  return CHECK_RESULT();
}
