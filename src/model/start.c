/* SPDX-License-Identifier: BSD-3-Clause */
/** Chooses the compute context of a model. */
#include "syzygy/model.h"

enum { MICRO_ROWS = 1152 /* rows of a usual micro-batch: eight images */ };

/** The two layers that are two thirds of a block's products. */
static void layers_of(const syz_model_config *config, syz_layer_size size[2])
{
  const int64_t dim = config->image.dim > config->spectrum.dim ? config->image.dim : config->spectrum.dim;
  size[0] = (syz_layer_size){MICRO_ROWS, 4 * dim, dim};
  size[1] = (syz_layer_size){MICRO_ROWS, dim, 4 * dim};
}

/* The type of activations when products are 8-bit integers. Processors with AVX512_VNNI but without AVX512_BF16
 * (Cascade Lake, Ice Lake) have kernels of 8-bit integers for float32 alone, and these are faster there. Collective. */
static syz_dtype type_beside_int8(syz_comm *world, syz_dtype act)
{
  int64_t can[2] = {syz_has_int8(act), syz_has_int8(SYZ_F32)};
  syz_allreduce_i64(world, can, 2, SYZ_MIN);
  if (can[0] || !can[1]) return act;
  syz_info("this processor combines 8-bit integer products only with float32: everything else is computed in float32");
  return SYZ_F32;
}

syz_status syz_model_start_compute(syz_comm *world, const syz_compute_options *options, const syz_model_config *config,
                                   bool trains, const char *earlier, syz_compute **out)
{
  syz_status st = SYZ_OK;
  syz_layer_size size[2];
  const syz_dtype act = options->wants_int8 ? type_beside_int8(world, options->act) : options->act;
  layers_of(config, size);
  SYZ_TRY_ALL(world, syz_compute_create(act, options->engine, options->threads, out));
  SYZ_TRY(syz_compute_choose(world, *out, size, 2, trains, earlier));
cleanup:
  return st;
}
