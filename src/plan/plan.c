/* SPDX-License-Identifier: BSD-3-Clause */
/** Plans of memory, item by item: adding items, and their sums for a rank and a node. */
#include "items.h"

void syz_plan_add(syz_plan *p, const char *name, size_t bytes)
{
  if (bytes == 0) return;
  SYZ_ASSERT(p->n < SYZ_PLAN_ITEMS);
  p->item[p->n++] = (syz_plan_item){.name = name, .bytes = bytes};
}

void syz_plan_add_shared_out(syz_plan *p, const char *name, size_t bytes)
{
  if (bytes == 0) return;
  syz_plan_add(p, name, bytes);
  p->item[p->n - 1].is_shared_out = true;
}

void syz_plan_add_shared(syz_plan *p, const char *name, size_t bytes)
{
  if (bytes == 0) return;
  syz_plan_add(p, name, bytes);
  p->item[p->n - 1].is_of_node = true;
}

static size_t sum(const syz_plan *p, bool is_of_node)
{
  size_t bytes = 0;
  for (int i = 0; i < p->n; i++)
    if (p->item[i].is_of_node == is_of_node) bytes += p->item[i].bytes;
  return bytes;
}

size_t syz_plan_rank_bytes(const syz_plan *p) { return sum(p, false); }
size_t syz_plan_shared_bytes(const syz_plan *p) { return sum(p, true); }

size_t syz_plan_node_bytes(const syz_plan *p, int ranks)
{
  const int blocks = p->sharers > 0 ? (ranks + p->sharers - 1) / p->sharers : 1;
  return (size_t)ranks * sum(p, false) + (size_t)blocks * sum(p, true);
}
