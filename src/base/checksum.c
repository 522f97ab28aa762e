/* SPDX-License-Identifier: BSD-3-Clause */
/** Checksums: XXH3 of bytes, and sums of hashes of rows that do not depend on who holds which. */
#include <string.h>
#include <xxhash.h>

#include "syzygy/base.h"

uint64_t syz_checksum(const void *bytes, size_t n, uint64_t seed) { return XXH3_64bits_withSeed(bytes, n, seed); }

uint64_t syz_checksum_rows(const void *rows, int64_t n, size_t row_bytes, int64_t first_row)
{
  uint64_t sum = 0;
  const unsigned char *row = rows;
  for (int64_t i = 0; i < n; i++)
    sum += XXH3_64bits_withSeed(row + (size_t)i * row_bytes, row_bytes, (uint64_t)(first_row + i) + 1);
  return sum;
}

uint64_t syz_sum_of_bits(const float *x, int64_t n)
{
  enum { LANES = 16 };
  uint64_t sum[LANES], word, all = 0;
  int64_t i = 0;
  for (int k = 0; k < LANES; k++) sum[k] = 0;
  for (; i + 2 * LANES <= n; i += 2 * LANES)
    for (int k = 0; k < LANES; k++) {
      memcpy(&word, x + i + 2 * k, sizeof word);
      sum[k] += word;
    }
  for (; i < n; i += 2) {
    word = 0;
    memcpy(&word, x + i, i + 1 < n ? sizeof word : sizeof *x);
    all += word;
  }
  for (int k = 0; k < LANES; k++) all += sum[k];
  return all;
}
