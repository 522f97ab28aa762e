/* SPDX-License-Identifier: BSD-3-Clause */
/** Rows in order: where a key is among them. */
#include "syzygy/base.h"

int64_t syz_lower_bound(const void *key, const void *rows, int64_t n, size_t size,
                        bool (*is_below)(const void *row, const void *key))
{
  int64_t low = 0, high = n;
  while (low < high) {
    const int64_t middle = low + (high - low) / 2;
    if (is_below((const char *)rows + (size_t)middle * size, key))
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}
