/* SPDX-License-Identifier: BSD-3-Clause */
/** One block of weights for the ranks of a node. A function that writes all weights writes this rank's share of them
 * and then waits at a barrier of the node. */
#include <string.h>

#include "model_impl.h"

syz_status syz_model_share_weights(syz_model *m, syz_nodes *nodes)
{
  syz_status st = SYZ_OK;
  int64_t most = syz_comm_size(nodes->local);
  SYZ_ASSERT(!m->nodes);
  syz_allreduce_i64(nodes->all, &most, 1, SYZ_MAX);
  if (most == 1) { /* one rank per node: its own block is the node's */
    m->nodes = nodes;
    return st;
  }
  syz_shared_map(nodes->all, nodes->local, (size_t)m->size * sizeof(float), &m->shared);
  if (m->shared.bytes) {
    syz_free(&m->weights);
    m->weights = m->shared.bytes;
    m->nodes = nodes;
  } else {
    syz_warn(
        "no shared memory for weights on some node (%.2f GiB; is /dev/shm large enough?): every rank keeps its own",
        (double)m->size * sizeof(float) / 1073741824.0);
  }
  return st;
}

syz_nodes *syz_model_nodes(const syz_model *m) { return m->nodes; }

static int sharers(const syz_model *m) { return m->nodes ? syz_comm_size(m->nodes->local) : 1; }
static int place(const syz_model *m) { return m->nodes ? syz_comm_rank(m->nodes->local) : 0; }

bool model_writes(const syz_model *m, int parameter) { return parameter % sharers(m) == place(m); }

void syz_model_settle(const syz_model *m)
{
  if (sharers(m) > 1) syz_barrier(m->nodes->local);
}

void syz_model_own_stretch(const syz_model *m, int64_t *first, int64_t *count)
{
  enum { ROW = 16 };
  syz_share(m->size / ROW, sharers(m), place(m), first, count);
  *first *= ROW;
  *count *= ROW;
}

void syz_model_set_weights(syz_model *m, int64_t first, const float *values, int64_t count)
{
  int64_t own, n;
  syz_model_own_stretch(m, &own, &n);
  const int64_t low = own > first ? own : first, high = own + n < first + count ? own + n : first + count;
  syz_model_settle(m);
  if (high > low) memcpy(m->weights + low, values + (low - first), (size_t)(high - low) * sizeof *values);
  syz_model_settle(m);
}
