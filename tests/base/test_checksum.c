/* SPDX-License-Identifier: BSD-3-Clause */
/** Row checksums do not depend on how rows are shared out, and notice any changed, swapped or moved row. */
#include "check.h"

int main(void)
{
  enum { ROWS = 23, WIDTH = 12 };
  unsigned char data[ROWS][WIDTH];
  for (int i = 0; i < ROWS; i++)
    for (int j = 0; j < WIDTH; j++) data[i][j] = (unsigned char)(i * 7 + j * 13);
  uint64_t whole = syz_checksum_rows(data, ROWS, WIDTH, 0);
  for (int parts = 1; parts <= ROWS; parts++) {
    uint64_t sum = 0;
    for (int p = 0; p < parts; p++) {
      int first = ROWS * p / parts, last = ROWS * (p + 1) / parts;
      sum += syz_checksum_rows(data[first], last - first, WIDTH, first);
    }
    CHECK(sum == whole);
  }
  for (int i = 0; i < ROWS; i++)
    for (int bit = 0; bit < 8 * WIDTH; bit += 5) {
      data[i][bit / 8] = (unsigned char)(data[i][bit / 8] ^ (1 << bit % 8));
      CHECK(syz_checksum_rows(data, ROWS, WIDTH, 0) != whole);
      data[i][bit / 8] = (unsigned char)(data[i][bit / 8] ^ (1 << bit % 8));
    }
  unsigned char row[WIDTH];
  memcpy(row, data[0], WIDTH);
  memcpy(data[0], data[1], WIDTH);
  memcpy(data[1], row, WIDTH);
  CHECK(syz_checksum_rows(data, ROWS, WIDTH, 0) != whole);
  /* XXH3's published value of the empty input with seed 0. */
  CHECK(syz_checksum("", 0, 0) == UINT64_C(0x2D06800538D394C2));
  return CHECK_RESULT();
}
