/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Sum of squares in float64, for gradient norms: blocks of fixed size, summed in block order, so that the value is a
 * function of the array alone. A square of a float32 is exact in float64, so only the additions round.
 */
#include "syzygy/nn.h"

/* BLOCK elements are one unit of work; GROUP partial sums wait on the stack to be added in order. */
enum { BLOCK = 4096, LANES = 16, GROUP = 1024 };

static double sum_block(const float *x, int64_t n)
{
  double sum[LANES] = {0.0};
  int64_t i = 0;
  for (; i + LANES <= n; i += LANES)
    for (int j = 0; j < LANES; j++) sum[j] += (double)x[i + j] * (double)x[i + j];
  for (int j = 0; i < n; i++, j++) sum[j] += (double)x[i] * (double)x[i];
  for (int half = LANES / 2; half > 0; half /= 2)
    for (int j = 0; j < half; j++) sum[j] += sum[j + half];
  return sum[0];
}

double syz_sum_of_squares(const float *x, int64_t n, int threads)
{
  SYZ_ASSERT(threads >= 1);
  double total = 0.0, partial[GROUP];
  int64_t blocks = (n + BLOCK - 1) / BLOCK;
  for (int64_t first = 0; first < blocks; first += GROUP) {
    int64_t count = blocks - first < GROUP ? blocks - first : GROUP;
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1 && count > 1)
    for (int64_t b = 0; b < count; b++) {
      int64_t i = (first + b) * BLOCK;
      partial[b] = sum_block(x + i, n - i < BLOCK ? n - i : BLOCK);
    }
    for (int64_t b = 0; b < count; b++) total += partial[b];
  }
  return total;
}
