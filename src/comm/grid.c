/* SPDX-License-Identifier: BSD-3-Clause */
/** The process grid: towers x data. Apart, ranks go to the towers in the proportion of their cost that leaves the slower one fastest. */
#include "syzygy/comm.h"

syz_status syz_grid_create(syz_comm *world, syz_towers towers, double cost_image, double cost_spectrum, syz_grid *out)
{
  syz_status st = SYZ_OK;
  int size = syz_comm_size(world), rank = syz_comm_rank(world);
  *out = (syz_grid){.world = world, .towers = towers};
  if (towers == SYZ_TOWERS_TOGETHER) {
    out->has_image = out->has_spectrum = true;
    out->image_ranks = out->spectrum_ranks = size;
  } else {
    SYZ_REQUIRE(size >= 2, SYZ_ERR_MEMORY, "parallel.towers: apart needs at least 2 ranks, there is 1");
    int best = 1;
    double least = 0;
    for (int n = 1; n < size; n++) {
      double a = cost_image / n, b = cost_spectrum / (size - n), slower = a > b ? a : b;
      if (n == 1 || slower < least) {
        best = n;
        least = slower;
      }
    }
    out->image_ranks = best;
    out->spectrum_ranks = size - best;
    out->has_image = rank < best;
    out->has_spectrum = !out->has_image;
  }
  SYZ_TRY(syz_comm_split(world, towers == SYZ_TOWERS_APART && out->has_spectrum ? 1 : 0, &out->data));
cleanup:
  return st;
}

void syz_grid_destroy(syz_grid *g) { syz_comm_destroy(&g->data); }
