/* SPDX-License-Identifier: BSD-3-Clause */
/** What the contrastive objective needs of a rank's memory, planned before anything large is allocated. */
#include <inttypes.h>
#include <stdio.h>

#include "align.h"
#include "leaf_gradients.h"
#include "memory.h"

enum { HEAD_OBJECTS = 256 /* a pass of heads alone */ };

/* Objects a pass. */
int64_t align_chunk_size(const syz_align_config *c, int64_t most)
{
  const int64_t preset = c->freezes_backbones && c->cache != SYZ_CACHE_NONE ? HEAD_OBJECTS : ALIGN_PASS;
  const int64_t wanted = c->micro_batch > 0 ? c->micro_batch : preset;
  const int64_t leaf = c->leaves > 0 ? c->global_batch / c->leaves : most, room = leaf < most ? leaf : most;
  return wanted < room ? wanted : room;
}

syz_tower_mode align_mode_of(const syz_align_config *c)
{
  if (!c->freezes_backbones) return SYZ_MODE_TRAIN;
  return c->cache == SYZ_CACHE_NONE ? SYZ_MODE_TRAIN_HEAD : SYZ_MODE_HEAD;
}

int64_t align_largest_share(const syz_align_config *c, int ranks) { return (c->global_batch + ranks - 1) / ranks; }

/* While steps run. */
static void add_steps(const syz_align_config *config, int ranks, const syz_model *model, syz_plan *out)
{
  const syz_model_config *c = syz_model_get_config(model);
  const int64_t most = align_largest_share(config, ranks), E = c->embedding.dim;
  const size_t act = syz_dtype_size(syz_compute_act(syz_model_get_compute(model)));
  static const char *const layers[] = {"image tower: packed, activations", "spectrum tower: packed, activations"};
  syz_loader_config batches = {.count = most, .augment = config->augment, .ahead = config->loader_ahead};
  size_t tokens = 0;
  int here = 0;
  for (int m = 0; m < SYZ_MODALITIES; m++) {
    if (!syz_model_has(model, (syz_modality)m)) continue;
    here++;
    syz_plan_add(out, layers[m],
                 syz_tower_plan_bytes(model, (syz_modality)m, align_chunk_size(config, most), align_mode_of(config)));
    const int64_t dim = m == SYZ_IMAGE ? c->image.dim : c->spectrum.dim;
    /* From a cache on disk the next batch is read while this one is used. */
    const int64_t held = config->cache == SYZ_CACHE_DISK ? 2 : 1;
    if (config->freezes_backbones)
      tokens += (size_t)(held * (most + 1) * syz_model_tokens(c, (syz_modality)m) * dim) * act;
    if (m == SYZ_IMAGE) batches.image_size = c->image.size;
    if (m == SYZ_SPECTRUM) batches.wants_flux = true;
  }
  syz_plan_add(out, "tokens of a batch", tokens);
  if (align_mode_of(config) != SYZ_MODE_HEAD) syz_plan_add(out, "batches read ahead", syz_loader_bytes(&batches));
  syz_plan_add(out, "embeddings and their gradients", (size_t)(2 * here * most * E) * sizeof(float));
  const syz_infonce_config loss = {.global_batch = config->global_batch,
                                   .width = E,
                                   .has_image = syz_model_has(model, SYZ_IMAGE),
                                   .has_spectrum = syz_model_has(model, SYZ_SPECTRUM),
                                   .ring_pairs = config->ring_pairs};
  syz_plan_add(out, "contrastive loss", syz_infonce_bytes(syz_model_get_compute(model), &loss, ranks, ranks));
  const size_t raw = (size_t)ALIGN_PASS * sizeof(float);
  syz_plan_add(out, "raw objects",
               raw * (size_t)((syz_model_has(model, SYZ_IMAGE) ? 3 * (152 * 152 + c->image.size * c->image.size) : 0) +
                              (syz_model_has(model, SYZ_SPECTRUM) ? SYZ_TOWER_PIXELS : 0)));
  syz_plan_add(out, "validation", (size_t)(2 * config->validate_objects * E) * sizeof(float));
}

/* While the tokens of frozen towers are computed, one tower at a time. */
static size_t filling_bytes(const syz_model *model)
{
  size_t most = 0;
  for (int m = 0; m < SYZ_MODALITIES; m++) {
    const size_t bytes = syz_model_has(model, (syz_modality)m)
                             ? syz_tower_plan_bytes(model, (syz_modality)m, CACHE_PASS, SYZ_MODE_EMBED)
                             : 0;
    most = bytes > most ? bytes : most;
  }
  return most;
}

syz_status syz_align_plan(const syz_align_config *config, int ranks, const syz_model *model, syz_plan *out)
{
  const syz_tower_mode mode = align_mode_of(config);
  int64_t trained = 0;
  syz_plan steps = {.n = 0};
  for (int m = 0; m < SYZ_MODALITIES; m++) {
    int64_t first, backbone, head;
    syz_model_range(model, syz_part_of((syz_modality)m, false), &first, &backbone);
    syz_model_range(model, syz_part_of((syz_modality)m, true), &first, &head);
    trained += head + (mode == SYZ_MODE_TRAIN ? backbone : 0);
  }
  *out = (syz_plan){.n = 0};
  plan_add_parameters(out, syz_model_size(model), trained, ranks);
  if (config->leaves > 0)
    syz_plan_add(out, "gradients of leaves",
                 leaf_gradients_bytes(syz_model_size(model), config->leaves / ranks, ranks));
  add_steps(config, ranks, model, &steps);
  const size_t filling = mode == SYZ_MODE_HEAD ? filling_bytes(model) : 0;
  if (filling > syz_plan_rank_bytes(&steps))
    syz_plan_add(out, "towers that compute the tokens", filling);
  else
    for (int i = 0; i < steps.n; i++) syz_plan_add(out, steps.item[i].name, steps.item[i].bytes);
  plan_add_process(out);
  return SYZ_OK;
}

syz_status align_check_memory(align *a)
{
  syz_status st = SYZ_OK;
  memory_fit fit;
  syz_plan plan;
  char advice[64] = "";
  const int ranks = syz_comm_size(a->grid->data);
  SYZ_TRY_ALL(a->world, syz_align_plan(&a->config, ranks, a->model, &plan));
  SYZ_TRY(memory_check(a->world, syz_model_nodes(a->model), &plan, &fit));
  if (!fit.fits) {
    int64_t chunk = align_chunk_size(&a->config, align_largest_share(&a->config, ranks));
    syz_align_config smaller = a->config;
    plan.sharers = fit.sharers;
    while (chunk > 1 && (int64_t)syz_plan_node_bytes(&plan, fit.ranks) > fit.available) {
      smaller.micro_batch = chunk /= 2;
      if (syz_align_plan(&smaller, ranks, a->model, &plan) != SYZ_OK) break;
      plan.sharers = fit.sharers;
    }
    snprintf(advice, sizeof advice, ", or train.micro_batch=%" PRId64, chunk);
  }
  SYZ_TRY_ALL(a->world, memory_refuse(&fit, advice));
cleanup:
  return st;
}
