/* SPDX-License-Identifier: BSD-3-Clause */
/** Memory is planned before anything large is allocated: a run that does not fit ends at once, with figures, instead of
 * being killed by the kernel after hours. */
#include "items.h"

void syz_plan_add_weights(syz_plan *p, const char *name, int64_t weights)
{
  syz_plan_add_shared(p, name, (size_t)weights * sizeof(float));
}

void syz_plan_add_parameters(syz_plan *p, int64_t weights, int64_t trained, int ranks)
{
  syz_plan_add_weights(p, "weights", weights);
  syz_plan_add(p, "gradients", (size_t)weights * sizeof(float));
  syz_plan_add_shared_out(p, "moments", 2 * (size_t)(trained / ranks + 1) * sizeof(float));
}

/* Ranks share libraries and program text in memory, but nearly all of these bytes are private to each rank. */
static size_t process_bytes(void)
{
  const size_t resident = syz_memory_private(), own = syz_memory_get().live_bytes;
  return resident > own ? resident - own : 0;
}

void syz_plan_add_process(syz_plan *p) { syz_plan_add(p, "program and libraries", process_bytes()); }

syz_status syz_memory_check(syz_comm *world, const syz_nodes *nodes, const syz_plan *plan, syz_memory_fit *out)
{
  syz_status st = SYZ_OK;
  syz_comm *node = NULL;
  /* One machine may hold several blocks of ranks, when towers are apart or parallel.ranks_per_node divides it. The
   * first rank of each block counts it. */
  const bool counts = !nodes || syz_comm_rank(nodes->local) == 0;
  enum { OWN, HELD, SHARED, BLOCKS, SUMS };
  int64_t sum[SUMS] = {[OWN] = (int64_t)syz_plan_rank_bytes(plan),
                       [HELD] = (int64_t)(syz_memory_get().live_bytes + process_bytes()),
                       [SHARED] = counts ? (int64_t)syz_plan_shared_bytes(plan) : 0,
                       [BLOCKS] = counts};
  int64_t touched = (int64_t)syz_memory_shared();
  SYZ_TRY(syz_comm_split_node(world, &node));
  const int64_t available = (int64_t)syz_memory_available();
  const int ranks = syz_comm_size(node);
  syz_allreduce_i64(node, sum, SUMS, SYZ_SUM);
  syz_allreduce_i64(node, &touched, 1, SYZ_MAX);
  /* Some of the node's shared memory (weights) is already allocated, and the system counts it as used. */
  const int64_t there = touched * sum[BLOCKS] < sum[SHARED] ? touched * sum[BLOCKS] : sum[SHARED];
  *out = (syz_memory_fit){.ranks = ranks,
                          .sharers = (ranks + (int)sum[BLOCKS] - 1) / (int)sum[BLOCKS],
                          .needed = sum[OWN] + sum[SHARED],
                          .available = available + sum[HELD] + there};
  out->fits = out->needed <= out->available;
cleanup:
  syz_comm_destroy(&node);
  return st;
}

syz_status syz_memory_refuse(const syz_memory_fit *fit, const char *advice)
{
  syz_status st = SYZ_OK;
  SYZ_REQUIRE(fit->fits, SYZ_ERR_MEMORY,
              "the %d ranks of this node need %.1f GiB for weights and activations, %.1f GiB are available: use fewer "
              "ranks per node, more nodes%s",
              fit->ranks, (double)fit->needed / 1073741824.0, (double)fit->available / 1073741824.0, advice);
cleanup:
  return st;
}
