/* SPDX-License-Identifier: BSD-3-Clause */
/** Rows in use as bits: 1.125 bits per row, whatever the reason that others are not. */
#include "set_kept.h"

enum { BLOCK_WORDS = 8 }; /* words of a block */

static int64_t words_of(const set_kept *k) { return k->rows / SET_KEPT_WORD + 1; }
static int64_t blocks_of(const set_kept *k) { return words_of(k) / BLOCK_WORDS + 1; }

syz_status set_kept_create(int64_t rows, set_kept *out)
{
  syz_status st = SYZ_OK;
  *out = (set_kept){.rows = rows};
  SYZ_ALLOC(out->bits, "rows in use", words_of(out));
  SYZ_ALLOC(out->before, "rows in use", blocks_of(out));
cleanup:
  return st;
}

void set_kept_free(set_kept *k)
{
  syz_free(&k->bits);
  syz_free(&k->before);
}

size_t set_kept_bytes(const set_kept *k) { return (size_t)words_of(k) * sizeof *k->bits; }

void set_kept_put(set_kept *k, int64_t row, bool is_kept)
{
  const uint64_t bit = UINT64_C(1) << (row % SET_KEPT_WORD);
  if (is_kept)
    k->bits[row / SET_KEPT_WORD] |= bit;
  else
    k->bits[row / SET_KEPT_WORD] &= ~bit;
}

void set_kept_count(set_kept *k)
{
  k->kept = 0;
  for (int64_t w = 0; w < words_of(k); w++) {
    if (w % BLOCK_WORDS == 0) k->before[w / BLOCK_WORDS] = k->kept;
    k->kept += __builtin_popcountll(k->bits[w]);
  }
}

static bool is_at_or_before(const void *before, const void *index)
{
  return *(const int64_t *)before <= *(const int64_t *)index;
}

int64_t set_kept_row(const set_kept *k, int64_t index)
{
  /* The last block that begins at or before the object; the first one always does. */
  const int64_t later = (words_of(k) - 1) / BLOCK_WORDS,
                block = syz_lower_bound(&index, k->before + 1, later, sizeof *k->before, is_at_or_before);
  int64_t left = index - k->before[block], w = block * BLOCK_WORDS;
  for (; left >= __builtin_popcountll(k->bits[w]); w++) left -= __builtin_popcountll(k->bits[w]);
  uint64_t bits = k->bits[w];
  for (; left > 0; left--) bits &= bits - 1;
  return w * SET_KEPT_WORD + __builtin_ctzll(bits);
}
