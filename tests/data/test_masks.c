/* SPDX-License-Identifier: BSD-3-Clause */
/** Masks at the edges of what may be asked for: exact numbers, bounds that hold, the same mask whoever asks, and shapes
 * in which nothing fits. */
#include "check.h"
#include "syzygy/data.h"

enum { SIDE_MAX = 12 };

static uint8_t mask[SIDE_MAX * SIDE_MAX], again[SIDE_MAX * SIDE_MAX];

static void test_shares_and_bounds(void)
{
  const double shares[] = {0, 0.5, 0.35, 1}, ratios[][2] = {{0.1, 0.5}, {0.3, 0.3}, {0, 1}, {1, 1}},
               aspects[] = {0.3, 1, 0.05};
  const int64_t crops[] = {1, 2, 3, 16, 37}, sides[] = {1, 2, 3, 5, 12};
  int64_t wrong_share = 0, wrong_count = 0, above = 0, tight = 0, cases = 0, changed = 0, empty = 0;
  for (int a = 0; a < 4; a++)
    for (int b = 0; b < 4; b++)
      for (int c = 0; c < 5; c++)
        for (int d = 0; d < 5; d++) {
          syz_block_masks m = {crops[c], sides[d], shares[a], ratios[b][0], ratios[b][1], aspects[(a + b + c + d) % 3]};
          int64_t patches = m.side * m.side, wanted = (int64_t)((double)m.crops * m.probability);
          for (int64_t step = 0; step < 6; step++) {
            int64_t count[37], masked = 0;
            for (int64_t i = 0; i < m.crops; i++) {
              memset(mask, 9, sizeof mask); /* all of it is written, and nothing behind it */
              count[i] = syz_block_mask(&m, 11, step, i, mask);
              int64_t sum = 0;
              for (int64_t k = 0; k < patches; k++) sum += mask[k];
              for (int64_t k = patches; k < SIDE_MAX * SIDE_MAX; k++) wrong_count += mask[k] != 9;
              wrong_count += sum != count[i];
              syz_block_mask(&m, 12, step, i, again); /* another one in between changes nothing */
              wrong_count +=
                  syz_block_mask(&m, 11, step, i, again) != count[i] || memcmp(mask, again, (size_t)patches) != 0;
              syz_block_mask(&m, 11, step + 1, i, again);
              changed += memcmp(mask, again, (size_t)patches) != 0;
              masked += count[i] > 0;
            }
            /* A mask may be empty where hardly a rectangle fits, or where the ratio asks for less than a patch; nowhere
             * else. */
            if (m.side == SIDE_MAX && m.ratio_min >= 0.1) wrong_share += masked != wanted;
            wrong_share += masked > wanted;
            empty += masked < wanted;
            for (int64_t n = 0; n <= m.crops; n++)
              for (int64_t i = 0; i + n <= m.crops; i++) {
                int64_t sum = 0, most = syz_block_mask_most(&m, n);
                for (int64_t k = i; k < i + n; k++) sum += count[k];
                above += sum > most;
                if (m.side == SIDE_MAX && n == m.crops && ratios[b][1] == 0.5 && wanted > 1) {
                  cases++;
                  tight += (double)sum > 0.85 * (double)most;
                }
              }
          }
        }
  CHECK_EQ(wrong_count, 0);
  CHECK_EQ(wrong_share, 0);
  CHECK_EQ(above, 0);
  CHECK_GT((double)changed, 100);
  CHECK_GT((double)empty, 0); /* such cases are among these */
  CHECK_GT((double)cases, 30);
  CHECK_GT((double)tight, 0.3 * (double)cases); /* the bound is one that memory can be planned by */
  const syz_block_masks few = {5, 12, 0.5, 0.1, 0.5, 0.3};
  CHECK_EQ(syz_block_mask_most(&few, 0), 0);
  CHECK_EQ(syz_block_mask_most(&few, 1), 72);      /* floor(144 x 0.5) */
  CHECK_EQ(syz_block_mask_most(&few, 2), 72 + 43); /* and floor(144 x 0.3) */
  CHECK_EQ(syz_block_mask_most(&few, 5), 72 + 43);
}

/* A single block is at most half of the crop's rows times its width, and four patches where there is room. */
static void test_single_blocks(void)
{
  const syz_block_masks m = {1, 12, 1, 0.04, 0.06, 0.3}; /* 5 .. 8 patches asked for: one block or two */
  int64_t smallest = 144, largest = 0;
  for (int64_t step = 0; step < 500; step++) {
    int64_t n = syz_block_mask(&m, 2, step, 0, mask);
    smallest = n < smallest ? n : smallest;
    largest = n > largest ? n : largest;
  }
  CHECK(smallest >= 3 && largest <= 8); /* 4 is the area aimed at: 1 x 3 and 2 x 2 after rounding */
}

static void test_runs(void)
{
  uint8_t run[778], other[778];
  int64_t same = 0;
  CHECK_EQ(syz_run_mask(778, 6, 50, 4, 1, 2, run), 300);
  CHECK_EQ(syz_run_mask(778, 6, 50, 5, 1, 2, other), 300);
  CHECK_EQ(syz_run_mask(778, 6, 50, 4, 1, 2, other), 300);
  CHECK(memcmp(run, other, sizeof run) == 0);
  const uint64_t seeds[] = {5, 4, 4};
  const int64_t steps[] = {1, 2, 1}, places[] = {2, 2, 3};
  for (int k = 0; k < 3; k++) {
    syz_run_mask(778, 6, 50, seeds[k], steps[k], places[k], other);
    same += memcmp(run, other, sizeof run) == 0;
  }
  CHECK_EQ(same, 0);
  CHECK_EQ(syz_run_mask(10, 0, 3, 1, 1, 1, run), 0);
  CHECK_EQ(run[0] + run[9], 0);
  CHECK_EQ(syz_run_mask(12, 3, 4, 1, 1, 1, run), 12); /* as wide as the stretch: all of it */
}

int main(void)
{
  test_shares_and_bounds();
  test_single_blocks();
  test_runs();
  return CHECK_RESULT();
}
