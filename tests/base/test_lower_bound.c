/* SPDX-License-Identifier: BSD-3-Clause */
/** A key is found among sorted rows where a look at each of them finds it: before, within, after, among equal ones. */
#include "check.h"

typedef struct row {
  int64_t key;
  char other[5];
} row;

static bool is_below(const void *at, const void *key) { return ((const row *)at)->key < *(const int64_t *)key; }

static bool is_not_above(const void *at, const void *key) { return ((const row *)at)->key <= *(const int64_t *)key; }

int main(void)
{
  enum { MOST = 17 };
  row rows[MOST] = {{0, ""}};
  for (int i = 0; i < MOST; i++) rows[i].key = 2 * (i / 3) - 4; /* threes of -4, -2, 0, ... */
  for (int64_t n = 0; n <= MOST; n++)
    for (int64_t key = -6; key <= 2 * MOST; key++) {
      int64_t below = 0, not_above = 0;
      while (below < n && rows[below].key < key) below++;
      while (not_above < n && rows[not_above].key <= key) not_above++;
      CHECK(syz_lower_bound(&key, rows, n, sizeof *rows, is_below) == below);
      CHECK(syz_lower_bound(&key, rows, n, sizeof *rows, is_not_above) == not_above);
    }
  int64_t key = INT64_MAX;
  CHECK(syz_lower_bound(&key, rows, MOST, sizeof *rows, is_below) == MOST);
  key = INT64_MIN;
  CHECK(syz_lower_bound(&key, rows, MOST, sizeof *rows, is_below) == 0);
  CHECK(syz_lower_bound(&key, NULL, 0, sizeof *rows, is_below) == 0);
  return CHECK_RESULT();
}
