/* SPDX-License-Identifier: BSD-3-Clause */
/** Which rows of a data set's files are its objects: one bit per row, and counts with which the k-th one is found. */
#pragma once

#include "syzygy/base.h"

enum { SET_KEPT_WORD = 64 /**< rows of a word */ };

typedef struct set_kept {
  int64_t rows, kept; /**< number of all rows, and of those in use */
  uint64_t *bits;     /**< [set_kept_bytes] row r: bit r % SET_KEPT_WORD of word r / SET_KEPT_WORD */
  int64_t *before;    /**< rows in use before each block; by set_kept_count */
} set_kept;

/** All rows are out of use at first. Free with set_kept_free, also after a failure. */
syz_status set_kept_create(int64_t rows, set_kept *out);
void set_kept_free(set_kept *k);
/** Bytes of `bits`. */
size_t set_kept_bytes(const set_kept *k);
static inline bool set_kept_has(const set_kept *k, int64_t row)
{
  return k->bits[row / SET_KEPT_WORD] >> (row % SET_KEPT_WORD) & 1;
}
void set_kept_put(set_kept *k, int64_t row, bool is_kept);
/** Count again, after rows were put and before set_kept_row is called. */
void set_kept_count(set_kept *k);
/** The row of object `index`, 0 .. kept - 1. */
int64_t set_kept_row(const set_kept *k, int64_t index);
