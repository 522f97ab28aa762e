/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Sums in an order that the global batch fixes (reproducible: true).
 *
 * The batch is cut into leaves, a power of two of them, and each rank has a whole number. The gradient of a leaf is formed by itself, in passes over
 * its objects alone, from a block of zeros; then leaves are added as a binary tree over their numbers: ((0 + 1) + (2 + 3)) + ((4 + 5) + (6 + 7)).
 * With a power of two of ranks each rank's leaves are a subtree, and the ranks' sums are the leaves of the tree above: the same additions of the
 * same numbers, however many ranks there are. a + b and b + a are the same bits, so neither the order in which a rank goes through its leaves (they
 * may go backwards) nor which of two ranks adds matters.
 *
 * Gradients: leaf_gradients.c. Every other sum that enters the training is of small arrays: leaves_merge_f64 on a rank, leaves_sum_f64 over ranks.
 */
#include "leaves.h"

/* ------------------------------------------------------------------- passes */

passes passes_of(int64_t global_batch, int64_t leaf_count, int64_t share, int64_t wanted)
{
  passes p = {.count = share, .leaf = leaf_count > 0 ? global_batch / leaf_count : share};
  if (p.leaf < 1) p.leaf = 1;
  p.chunk = wanted < p.leaf ? wanted : p.leaf;
  p.per_leaf = (p.leaf + p.chunk - 1) / p.chunk;
  p.n = share > 0 ? share / p.leaf * p.per_leaf : 1;
  return p;
}

void passes_pad(passes *p, int64_t most, int64_t wanted)
{
  const passes largest = passes_of(most, 0, most, wanted);
  if (p->n < largest.n) p->n = p->per_leaf = largest.n;
}

int64_t passes_at(const passes *p, int64_t k, int64_t *at)
{
  const int64_t in_leaf = k % p->per_leaf * p->chunk, left = p->leaf - in_leaf;
  *at = k / p->per_leaf * p->leaf + in_leaf;
  if (p->count > 0 && left > 0) return left < p->chunk ? left : p->chunk;
  *at = p->count; /* an empty pass */
  return 0;
}

syz_status syz_leaves_check(const syz_grid *grid, int64_t global_batch, int64_t leaf_count)
{
  syz_status st = SYZ_OK;
  const int64_t ranks = grid ? syz_comm_size(grid->data) : 1;
  if (leaf_count == 0) return st;
  SYZ_REQUIRE(
      !grid || !grid->tensor, SYZ_ERR_INPUT,
      "reproducible: a tensor group sums over several ranks' objects at once, in an order that depends on their number: parallel.tensor must be 1");
  SYZ_REQUIRE(leaf_count > 0 && (leaf_count & (leaf_count - 1)) == 0, SYZ_ERR_INPUT, "reproducible_leaves = %lld is not a power of two",
              (long long)leaf_count);
  SYZ_REQUIRE(
      global_batch % leaf_count == 0, SYZ_ERR_INPUT,
      "reproducible: reproducible_leaves = %lld does not divide train.global_batch = %lld: take a batch of %lld or %lld, or another power of two",
      (long long)leaf_count, (long long)global_batch, (long long)(global_batch > leaf_count ? global_batch / leaf_count * leaf_count : leaf_count),
      (long long)((global_batch / leaf_count + 1) * leaf_count));
  SYZ_REQUIRE(
      leaf_count % ranks == 0, SYZ_ERR_INPUT,
      "reproducible: %lld ranks share the batch, which has reproducible_leaves = %lld: the number of ranks must divide it (1, 2, 4, ... %lld)",
      (long long)ranks, (long long)leaf_count, (long long)leaf_count);
cleanup:
  return st;
}

/* --------------------------------------------------------------- small sums */

void leaves_add_f64(double *x, const double *y, size_t n)
{
  for (size_t i = 0; i < n; i++) x[i] += y[i];
}

void leaves_merge_f64(double *of_leaf, int64_t n_leaves, size_t n)
{
  for (int64_t distance = 1; distance < n_leaves; distance *= 2)
    for (int64_t i = 0; i + distance < n_leaves; i += 2 * distance) leaves_add_f64(of_leaf + (size_t)i * n, of_leaf + (size_t)(i + distance) * n, n);
}

enum { TAG = 41 };

void leaves_exchange(syz_request *r, int partner, const void *send, size_t send_bytes, void *receive, size_t receive_bytes)
{
  if (receive_bytes) syz_request_receive(r, receive, receive_bytes, partner, TAG);
  if (send_bytes) syz_request_send(r, send, send_bytes, partner, TAG);
  syz_request_wait(r);
}

void leaves_sum_f64(syz_comm *c, syz_request *r, double *x, size_t n, double *received)
{
  const int size = syz_comm_size(c), rank = syz_comm_rank(c);
  for (int distance = 1; distance < size; distance *= 2) {
    leaves_exchange(r, rank ^ distance, x, n * sizeof *x, received, n * sizeof *x);
    leaves_add_f64(x, received, n);
  }
}
