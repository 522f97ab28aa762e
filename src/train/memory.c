/* SPDX-License-Identifier: BSD-3-Clause */
/** Memory is planned before anything large is allocated: a run that does not fit ends at once, with figures, and not after hours by the kernel. */
#include "memory.h"

syz_status memory_check(syz_comm *world, size_t bytes, size_t held, memory_fit *out)
{
  syz_status st = SYZ_OK;
  syz_comm *node = NULL;
  int64_t sum[2] = {(int64_t)bytes, (int64_t)held};
  SYZ_TRY(syz_comm_split_node(world, &node));
  const int64_t available = (int64_t)syz_memory_available();
  syz_allreduce_i64(node, sum, 2, SYZ_SUM);
  *out = (memory_fit){.ranks = syz_comm_size(node), .needed = sum[0], .available = available + sum[1]};
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
