/* SPDX-License-Identifier: BSD-3-Clause */
/** Memory is planned before anything large is allocated: a run that does not fit ends at once, with figures, and not after hours by the kernel. */
#include "memory.h"

void plan_add_weights(syz_plan *p, const char *name, int64_t weights) { syz_plan_add_shared(p, name, (size_t)weights * sizeof(float)); }

void plan_add_parameters(syz_plan *p, int64_t weights, int64_t trained, int ranks)
{
  plan_add_weights(p, "weights", weights);
  syz_plan_add(p, "gradients", (size_t)weights * sizeof(float));
  syz_plan_add(p, "moments", 2 * (size_t)(trained / ranks + 1) * sizeof(float));
}

/* Libraries and program text are in the memory of all ranks once, but nearly all of this is each rank's own. */
static size_t process_bytes(void)
{
  const size_t resident = syz_memory_private(), own = syz_memory_get().live_bytes;
  return resident > own ? resident - own : 0;
}

void plan_add_process(syz_plan *p) { syz_plan_add(p, "program and libraries", process_bytes()); }

syz_status memory_check(syz_comm *world, const syz_plan *plan, memory_fit *out)
{
  syz_status st = SYZ_OK;
  syz_comm *node = NULL;
  int64_t sum[2] = {(int64_t)syz_plan_rank_bytes(plan), (int64_t)(syz_memory_get().live_bytes + process_bytes())};
  int64_t most[2] = {(int64_t)syz_plan_shared_bytes(plan), (int64_t)syz_memory_shared()};
  SYZ_TRY(syz_comm_split_node(world, &node));
  const int64_t available = (int64_t)syz_memory_available();
  syz_allreduce_i64(node, sum, 2, SYZ_SUM);
  syz_allreduce_i64(node, most, 2, SYZ_MAX);
  /* Of what the node shares some is there already (weights), and the machine counts it as used. */
  const int64_t held = most[0] < most[1] ? most[0] : most[1];
  *out = (memory_fit){.ranks = syz_comm_size(node), .needed = sum[0] + most[0], .available = available + sum[1] + held};
  out->fits = out->needed <= out->available;
cleanup:
  syz_comm_destroy(&node);
  return st;
}

syz_status memory_refuse(const memory_fit *fit, const char *advice)
{
  syz_status st = SYZ_OK;
  SYZ_REQUIRE(fit->fits, SYZ_ERR_MEMORY,
              "the %d ranks of this node need %.1f GiB for weights and activations, %.1f GiB are there: use fewer ranks a node, more nodes%s",
              fit->ranks, (double)fit->needed / 1073741824.0, (double)fit->available / 1073741824.0, advice);
cleanup:
  return st;
}
