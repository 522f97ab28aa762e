/* SPDX-License-Identifier: BSD-3-Clause */
/** What masked modelling needs of a rank's memory. */
#include <inttypes.h>
#include <stdio.h>

#include "leaf_gradients.h"
#include "masked.h"
#include "memory.h"

enum { PASS_SPECTRA = 16 };

static int64_t largest_share(const syz_masked_options *o, int ranks) { return (o->global_batch + ranks - 1) / ranks; }

int64_t masked_chunk_size(const syz_masked_options *o, int ranks)
{
  const int64_t most = o->leaves > 0 ? o->global_batch / o->leaves : largest_share(o, ranks);
  const int64_t wanted = o->micro_batch > 0 ? o->micro_batch : PASS_SPECTRA;
  return wanted < most ? wanted : most;
}

syz_status syz_masked_plan(const syz_masked_options *options, int ranks, const syz_model *model, syz_plan *out)
{
  syz_status st = SYZ_OK;
  const masked_shape s = masked_shape_of(options, syz_model_get_config(model));
  const int64_t most = largest_share(options, ranks), chunk = masked_chunk_size(options, ranks),
                size = syz_model_size(model);
  const syz_loader_config batches = {.count = most,
                                     .wants_flux = true,
                                     .wants_ivar = options->weighs_ivar || options->hides_bad,
                                     .ahead = options->loader_ahead};
  const size_t network = syz_masked_bytes(model, chunk, chunk * s.rows, true);
  *out = (syz_plan){.n = 0};
  if (!network) return SYZ_ERR_MEMORY; /* the text says which layer */
  plan_add_parameters(out, size, size, ranks);
  if (options->leaves > 0)
    syz_plan_add(out, "gradients of leaves", leaf_gradients_bytes(size, options->leaves / ranks, ranks));
  syz_plan_add(out, "packed weights, activations", network);
  syz_plan_add(out, "masked tokens",
               masked_room_bytes(&s, most) +
                   (size_t)(chunk * s.rows) * ((size_t)s.width * sizeof(float) + sizeof(int64_t)));
  syz_plan_add(out, "batches read ahead", syz_loader_bytes(&batches));
  if (options->validate_objects > 0) syz_plan_add(out, "validation", masked_validate_bytes(&s, chunk));
  plan_add_process(out);
  return st;
}

syz_status masked_check_memory(masked *k)
{
  syz_status st = SYZ_OK;
  memory_fit fit;
  char advice[64];
  syz_plan plan;
  SYZ_TRY_ALL(k->world, syz_masked_plan(&k->options, syz_comm_size(k->grid->data), k->model, &plan));
  SYZ_TRY(memory_check(k->world, syz_model_nodes(k->model), &plan, &fit));
  snprintf(advice, sizeof advice, ", or a train.micro_batch below %" PRId64, k->chunk);
  SYZ_TRY_ALL(k->world, memory_refuse(&fit, k->chunk > 1 ? advice : ""));
cleanup:
  return st;
}
