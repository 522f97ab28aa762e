/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The process grid: towers x data x tensor. With towers apart, the ranks are divided so that the slower tower is as
 * fast as possible. Tensor groups are neighbouring ranks, which share a node where ranks are numbered node by node.
 */
#include "syzygy/comm.h"

/* The number of the `size` ranks that get the image tower, a multiple of `unit`; size / unit >= 2. */
static int choose_image_ranks(int size, int unit, double cost_image, double cost_spectrum)
{
  int best = unit;
  double least = 0;
  for (int n = unit; n < size; n += unit) {
    double a = cost_image / n, b = cost_spectrum / (size - n), slower = a > b ? a : b;
    if (n == unit || slower < least) {
      best = n;
      least = slower;
    }
  }
  return best;
}

/* Collective over world; agreed. */
static syz_status split_apart(syz_grid *g, int unit)
{
  const int size = syz_comm_size(g->world);
  g->image_ranks = choose_image_ranks(size, unit, g->cost_image, g->cost_spectrum);
  g->spectrum_ranks = size - g->image_ranks;
  g->has_image = syz_comm_rank(g->world) < g->image_ranks;
  g->has_spectrum = !g->has_image;
  return syz_comm_split(g->world, g->has_spectrum ? 1 : 0, &g->data);
}

syz_status syz_grid_create(syz_comm *world, syz_towers towers, double cost_image, double cost_spectrum, syz_grid *out)
{
  syz_status st = SYZ_OK;
  const int size = syz_comm_size(world);
  *out = (syz_grid){.world = world, .towers = towers, .cost_image = cost_image, .cost_spectrum = cost_spectrum};
  if (towers == SYZ_TOWERS_TOGETHER) {
    out->has_image = out->has_spectrum = true;
    out->image_ranks = out->spectrum_ranks = size;
    SYZ_TRY(syz_comm_split(world, 0, &out->data));
  } else {
    SYZ_REQUIRE(size >= 2, SYZ_ERR_MEMORY, "parallel.towers: apart needs at least 2 ranks, there is 1");
    SYZ_TRY(split_apart(out, 1));
  }
cleanup:
  return st;
}

/* Warn when the ranks of a tensor group do not share a node. Collective over world; agreed. */
static syz_status look_at_nodes(const syz_grid *g)
{
  syz_status st = SYZ_OK;
  syz_comm *node = NULL;
  int64_t divided = 0;
  SYZ_TRY_ALL(g->world, syz_comm_split_node(g->tensor, &node)); /* of this group's ranks, those on this node */
  divided = syz_comm_size(node) < syz_comm_size(g->tensor);
  syz_allreduce_i64(g->world, &divided, 1, SYZ_MAX);
  if (divided)
    syz_warn("parallel.tensor = %d: some groups cross nodes, and exchange activations in every block",
             syz_comm_size(g->tensor));
cleanup:
  syz_comm_destroy(&node);
  return st;
}

syz_status syz_grid_split_tensor(syz_grid *g, int tensor)
{
  syz_status st = SYZ_OK;
  const int size = syz_comm_size(g->world);
  SYZ_ASSERT(!g->tensor && tensor >= 1 && tensor <= SYZ_ROWS_RANKS);
  if (tensor == 1) return st;
  SYZ_REQUIRE(size % tensor == 0, SYZ_ERR_INPUT, "parallel.tensor = %d does not divide the %d ranks of the run", tensor,
              size);
  if (g->towers == SYZ_TOWERS_APART) {
    SYZ_REQUIRE(size >= 2 * tensor, SYZ_ERR_INPUT,
                "parallel.tensor = %d with parallel.towers: apart needs at least %d ranks, there are %d", tensor,
                2 * tensor, size);
    syz_comm_destroy(&g->data);
    SYZ_TRY(split_apart(g, tensor));
  }
  SYZ_TRY_ALL(g->world, syz_comm_split(g->data, syz_comm_rank(g->data) / tensor, &g->tensor));
  SYZ_TRY(look_at_nodes(g));
cleanup:
  return st;
}

void syz_grid_destroy(syz_grid *g)
{
  syz_comm_destroy(&g->tensor);
  syz_comm_destroy(&g->data);
}
