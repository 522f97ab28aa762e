/* SPDX-License-Identifier: BSD-3-Clause */
/** Leaves of the global batch, the passes that go through them, and sums whose order they fix. See leaves.c. */
#pragma once

#include "syzygy/train.h"

/**
 * A rank's share of the batch in passes: no pass crosses the border of a leaf, so what is in a pass follows from the global batch, the number of
 * leaves and the largest pass, whatever rank it is on. Without leaves (reproducible: false) the whole share is one. A rank without objects makes
 * one empty pass.
 */
typedef struct passes {
  int64_t count;       /**< objects of this rank */
  int64_t leaf, chunk; /**< objects of a leaf, most of a pass */
  int64_t per_leaf, n; /**< passes of a leaf, of this rank */
} passes;
/** leaves: of the global batch; 0: none. wanted: objects of a pass, >= 1. */
passes passes_of(int64_t global_batch, int64_t leaves, int64_t share, int64_t wanted);
/** Without leaves: as many passes as a rank with `most` objects makes, empty ones behind. Ranks of a tensor group go through their passes together;
 * with leaves all ranks have the same number of them. */
void passes_pad(passes *p, int64_t most, int64_t wanted);
/** Objects *at .. *at + return of pass k. */
int64_t passes_at(const passes *p, int64_t k, int64_t *at);
static inline bool passes_begins_leaf(const passes *p, int64_t k) { return k % p->per_leaf == 0; }
static inline bool passes_ends_leaf(const passes *p, int64_t k) { return (k + 1) % p->per_leaf == 0; }

/**
 * A binary tree over leaves as a binary counter: leaf i (from 0) is formed in slot leaves_slot(i); then, leaves_merges(i) times, that slot is added
 * to the one before it, which takes its place. After 2^k leaves slot 0 holds the sum; k + 1 slots are used.
 */
static inline int leaves_slot(int64_t i)
{
  int slot = 0;
  for (; i; i &= i - 1) slot++;
  return slot;
}
static inline int leaves_merges(int64_t i)
{
  int merges = 0;
  for (; i & 1; i >>= 1) merges++;
  return merges;
}
/** Slots that n leaves need, n a power of two. */
static inline int leaves_slots(int64_t n)
{
  int slots = 1;
  for (; n > 1; n >>= 1) slots++;
  return slots;
}

/** x[i] += y[i]. */
void leaves_add_f64(double *x, const double *y, size_t n);
/** of_leaf [leaves][n] -> their sum, in the order of the tree, in of_leaf[0]. leaves: a power of two. */
void leaves_merge_f64(double *of_leaf, int64_t leaves, size_t n);
enum { LEAVES_MESSAGES = 2 /**< under way at once */ };
/** To and from one partner, who has the two sizes the other way round; either may be 0. travel: for LEAVES_MESSAGES. */
void leaves_exchange(syz_request *travel, int partner, const void *send, size_t send_bytes, void *receive, size_t receive_bytes);
/** The same over ranks, in place; their number is a power of two. travel: of the same group, for LEAVES_MESSAGES; received [n]: scratch. Collective.
 */
void leaves_sum_f64(syz_comm *c, syz_request *travel, double *x, size_t n, double *received);
