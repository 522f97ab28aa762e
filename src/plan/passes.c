/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * A rank's share of the global batch in passes of bounded size, which do not cross the border of a leaf
 * (src/comm/leaves.c), and the check of the number of leaves.
 */
#include "syzygy/plan.h"

syz_passes syz_passes_of(int64_t global_batch, int64_t leaf_count, int64_t share, int64_t wanted)
{
  syz_passes p = {.count = share, .leaf = leaf_count > 0 ? global_batch / leaf_count : share};
  if (p.leaf < 1) p.leaf = 1;
  p.chunk = wanted < p.leaf ? wanted : p.leaf;
  if (p.chunk < 1) p.chunk = 1; /* planned with fewer objects than leaves */
  p.per_leaf = (p.leaf + p.chunk - 1) / p.chunk;
  p.n = share > 0 ? share / p.leaf * p.per_leaf : 1;
  return p;
}

void syz_passes_pad(syz_passes *p, int64_t most, int64_t wanted)
{
  const syz_passes largest = syz_passes_of(most, 0, most, wanted);
  if (p->n < largest.n) p->n = p->per_leaf = largest.n;
}

int64_t syz_passes_at(const syz_passes *p, int64_t k, int64_t *at)
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
  SYZ_REQUIRE(!grid || !grid->tensor, SYZ_ERR_INPUT,
              "reproducible: a tensor group sums over several ranks' objects at once, in an order that depends on "
              "their number: parallel.tensor must be 1");
  SYZ_REQUIRE(leaf_count > 0 && (leaf_count & (leaf_count - 1)) == 0, SYZ_ERR_INPUT,
              "reproducible_leaves = %lld is not a power of two", (long long)leaf_count);
  SYZ_REQUIRE(global_batch % leaf_count == 0, SYZ_ERR_INPUT,
              "reproducible: reproducible_leaves = %lld does not divide train.global_batch = %lld: use a batch of "
              "%lld or %lld, or another power of two",
              (long long)leaf_count, (long long)global_batch,
              (long long)(global_batch > leaf_count ? global_batch / leaf_count * leaf_count : leaf_count),
              (long long)((global_batch / leaf_count + 1) * leaf_count));
  SYZ_REQUIRE(leaf_count % ranks == 0, SYZ_ERR_INPUT,
              "reproducible: %lld ranks share the batch, which has reproducible_leaves = %lld: the number of ranks "
              "must divide it (1, 2, 4, ... %lld)",
              (long long)ranks, (long long)leaf_count, (long long)leaf_count);
cleanup:
  return st;
}
