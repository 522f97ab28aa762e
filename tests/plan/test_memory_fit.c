/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Whether the ranks of a node fit: needs are added up over the node, what its ranks share counts once, and a refusal
 * says both figures. Margins are a quarter of what is available, because that moves while other programs run.
 */
#include "check.h"
#include "syzygy/plan.h"
#include "../../src/plan/items.h"

static syz_status check(syz_comm *world, const syz_nodes *nodes, size_t own, size_t shared, syz_memory_fit *fit)
{
  syz_plan plan = {.n = 0};
  syz_plan_add(&plan, "own", own);
  syz_plan_add_shared(&plan, "shared", shared);
  return syz_memory_check(world, nodes, &plan, fit);
}

int main(int argc, char **argv)
{
  syz_comm *world = NULL;
  syz_nodes *nodes = NULL;
  syz_memory_fit fit;
  if (syz_comm_start(&argc, &argv, &world) != SYZ_OK) return 1;
  const int ranks = syz_comm_size(world);
  int64_t all = (int64_t)syz_memory_available();
  syz_bcast(world, &all, sizeof all, 0);
  const size_t mine = (size_t)(all / ranks);
  CHECK_OK(syz_nodes_create(world, 0, &nodes));

  CHECK_OK(check(world, nodes, mine / 4 * 3, 0, &fit));
  CHECK(fit.fits && fit.ranks == ranks && fit.needed == (int64_t)(mine / 4 * 3) * ranks);
  CHECK_OK(syz_memory_refuse(&fit, ""));
  CHECK_OK(check(world, nodes, mine / 4 * 5, 0, &fit));
  CHECK(!fit.fits);
  CHECK_ERROR(syz_memory_refuse(&fit, ", or a smaller batch"), SYZ_ERR_MEMORY, "or a smaller batch");
  /* What the ranks of a node share counts once. */
  CHECK_OK(check(world, nodes, mine / 4, (size_t)all / 4 * 2, &fit));
  CHECK(fit.fits && fit.needed == (int64_t)(mine / 4) * ranks + all / 4 * 2);
  CHECK_OK(check(world, nodes, mine / 4, (size_t)all, &fit));
  CHECK(!fit.fits);
  /* Unless they have it by twos, or each its own. */
  syz_nodes_destroy(&nodes);
  CHECK_OK(syz_nodes_create(world, 2, &nodes));
  CHECK_OK(check(world, nodes, 1000, 1 << 20, &fit));
  CHECK(fit.needed == ranks * 1000 + (ranks + 1) / 2 * (1 << 20) && fit.sharers == (ranks > 1 ? 2 : 1));
  CHECK_OK(check(world, NULL, 1000, 1 << 20, &fit));
  CHECK(fit.needed == ranks * (1000 + (1 << 20)) && fit.sharers == 1);
  /* One rank alone may need it all. */
  const bool is_last = syz_comm_rank(world) == ranks - 1;
  CHECK_OK(check(world, nodes, is_last ? (size_t)all / 4 * 5 : 0, 0, &fit));
  CHECK(!fit.fits && fit.needed == (int64_t)((size_t)all / 4 * 5));

  syz_nodes_destroy(&nodes);
  int64_t failed = CHECK_RESULT();
  syz_allreduce_i64(world, &failed, 1, SYZ_MAX);
  syz_comm_finish(&world);
  CHECK_EQ(syz_memory_get().live_blocks, 0);
  return failed || check_failures;
}
