/* SPDX-License-Identifier: BSD-3-Clause */
/** The start of what a model computes with. */
#include "syzygy/model.h"

enum { MICRO_ROWS = 1152 /* of a usual micro-batch: eight images */ };

/** The two layers that are two thirds of a block's products. */
static void layers_of(const syz_model_config *config, syz_layer_size size[2])
{
  const int64_t dim = config->image.dim > config->spectrum.dim ? config->image.dim : config->spectrum.dim;
  size[0] = (syz_layer_size){MICRO_ROWS, 4 * dim, dim};
  size[1] = (syz_layer_size){MICRO_ROWS, dim, 4 * dim};
}

syz_status syz_model_start_compute(syz_comm *world, const syz_compute_options *options, const syz_model_config *config,
                                   bool trains, const char *earlier, syz_compute **out)
{
  syz_status st = SYZ_OK;
  syz_layer_size size[2];
  layers_of(config, size);
  SYZ_TRY_ALL(world, syz_compute_create(options->act, options->engine, options->threads, out));
  SYZ_TRY(syz_compute_choose(world, *out, size, 2, trains, earlier));
cleanup:
  return st;
}
