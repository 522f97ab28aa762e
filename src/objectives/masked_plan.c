/* SPDX-License-Identifier: BSD-3-Clause */
/** The memory that masked modelling needs per rank, and the work of its step. */
#include <inttypes.h>
#include <stdio.h>

#include "masked.h"

enum { PASS_SPECTRA = 16 };

static int64_t largest_share(const syz_masked_options *o, int ranks) { return (o->global_batch + ranks - 1) / ranks; }

int64_t masked_chunk_size(const syz_masked_options *o, int ranks)
{
  const int64_t most = o->leaves > 0 ? o->global_batch / o->leaves : largest_share(o, ranks);
  const int64_t wanted = o->micro_batch > 0 ? o->micro_batch : PASS_SPECTRA;
  return wanted < most ? wanted : most;
}

/* Every pass runs forward and backward once; its input has no gradient. */
static void add_work(const syz_masked_options *o, const masked_shape *s, int ranks, const syz_model *model, syz_work *w)
{
  const syz_model_config *c = s->config;
  const int64_t depth = c->spectrum.depth, pixels = SYZ_TOWER_PIXELS;
  const double recomputed = syz_work_recomputed(model, depth), G = (double)o->global_batch;
  const syz_operations one = syz_model_operations(c, SYZ_SPECTRUM);
  const double prediction = 2 * (double)(s->rows * c->spectrum.dim * s->width);
  const syz_passes p = syz_passes_of(o->global_batch, o->leaves, largest_share(o, ranks), masked_chunk_size(o, ranks));
  const syz_loss_work sums = {.n = 2,
                              .call = {{"numbers that are scored", false, 2 * G * (double)sizeof(double), 1},
                                       {"squares", false, G * (double)sizeof(double), 1}}};
  syz_work_begin(w, &p, model, true);
  syz_work_add(w, "sections", SYZ_RATE_SPECTRUM, one.embedding, one.embedding, 0);
  syz_work_add(w, "products of blocks", SYZ_RATE_SPECTRUM, one.products, 2 * one.products, recomputed * one.products);
  syz_work_add(w, "attention", SYZ_RATE_SPECTRUM, one.attention, 2 * one.attention, recomputed * one.attention);
  syz_work_add(w, "masked tokens", SYZ_RATE_SPECTRUM, prediction, 2 * prediction, 0);
  syz_work_add_loss(w, "", SYZ_RATE_SPECTRUM, &sums, 1, false);
  w->beside = (one.embedding + (2 + recomputed) * (one.products + one.attention) + 2 * prediction) / (double)w->passes;
  w->weights[SYZ_RATE_SPECTRUM] = syz_work_elements(model, SYZ_PART_SPECTRUM_BACKBONE);
  w->file_bytes = (double)pixels * (double)sizeof(float) * (o->weighs_ivar || o->hides_bad ? 2 : 1);
  syz_work_add_group(w, model, SYZ_SPECTRUM, (double)s->tokens, 1 + recomputed);
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
  if (!network) return SYZ_ERR_MEMORY; /* the error text names the layer */
  syz_plan_add_parameters(out, size, size, ranks);
  if (options->leaves > 0)
    syz_plan_add(out, "gradients of leaves", syz_gradients_leaf_bytes(size, options->leaves / ranks, ranks));
  syz_plan_add(out, "packed weights, activations", network);
  syz_plan_add(out, "masked tokens",
               masked_room_bytes(&s, most) +
                   (size_t)(chunk * s.rows) * ((size_t)s.width * sizeof(float) + sizeof(int64_t)));
  syz_plan_add(out, "batches read ahead", syz_loader_bytes(&batches));
  if (options->validate_objects > 0) syz_plan_add(out, "validation", masked_validate_bytes(&s, chunk));
  syz_plan_add_process(out);
  add_work(options, &s, ranks, model, &out->work);
  return st;
}

syz_status masked_check_memory(masked *k)
{
  syz_status st = SYZ_OK;
  syz_memory_fit fit;
  char advice[64];
  syz_plan plan;
  SYZ_TRY_ALL(k->world, syz_masked_plan(&k->options, syz_comm_size(k->grid->data), k->model, &plan));
  SYZ_TRY(syz_memory_check(k->world, syz_model_nodes(k->model), &plan, &fit));
  snprintf(advice, sizeof advice, ", or a train.micro_batch below %" PRId64, k->chunk);
  SYZ_TRY_ALL(k->world, syz_memory_refuse(&fit, k->chunk > 1 ? advice : ""));
cleanup:
  return st;
}
