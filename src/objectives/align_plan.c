/* SPDX-License-Identifier: BSD-3-Clause */
/** The memory that the contrastive objective needs per rank, planned before anything large is allocated, and the work
 * of its step. */
#include <inttypes.h>
#include <stdio.h>

#include "align.h"

enum {
  HEAD_OBJECTS = 256, /* per pass, if only heads run */
  STORED_IMAGE = SYZ_BANDS * SYZ_IMAGE_SIZE * SYZ_IMAGE_SIZE
};

/* Objects per pass. */
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

/* Memory during the steps. */
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
    const int64_t dim = syz_model_width(c, (syz_modality)m);
    /* With a cache on disk the next batch is read while this one is used. */
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
               raw * (size_t)((syz_model_has(model, SYZ_IMAGE) ? STORED_IMAGE + syz_model_input(c, SYZ_IMAGE) : 0) +
                              (syz_model_has(model, SYZ_SPECTRUM) ? syz_model_input(c, SYZ_SPECTRUM) : 0)));
  syz_plan_add(out, "validation", (size_t)(2 * config->validate_objects * E) * sizeof(float));
}

/* Memory while the tokens of frozen towers are computed, one tower at a time. */
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

/* The names of a tower's items. */
static const char *const work_name[SYZ_MODALITIES][4] = {
    [SYZ_IMAGE] = {"image: patches", "image: products of blocks", "image: attention", "image: head"},
    [SYZ_SPECTRUM] = {"spectrum: sections", "spectrum: products of blocks", "spectrum: attention", "spectrum: head"}};

/* A tower: the head always trains, in passes whose forward part runs twice; the backbone trains too, or only runs
 * forward, or is not needed because its tokens are in the cache. */
static void add_tower_work(syz_work *w, syz_modality m, const syz_operations *o, const syz_model *model,
                           syz_tower_mode mode)
{
  const syz_model_config *c = syz_model_get_config(model);
  const syz_rate rate = m == SYZ_IMAGE ? SYZ_RATE_IMAGE : SYZ_RATE_SPECTRUM;
  const double repeated = syz_work_repeated(w);
  w->weights[rate] = syz_work_elements(model, syz_part_of(m, true));
  if (mode != SYZ_MODE_HEAD) w->weights[rate] += syz_work_elements(model, syz_part_of(m, false));
  if (mode == SYZ_MODE_TRAIN) {
    const double recomputed = syz_work_recomputed(model, syz_model_depth(c, m));
    syz_work_add(w, work_name[m][0], rate, o->embedding, o->embedding, repeated * o->embedding);
    syz_work_add(w, work_name[m][1], rate, o->products, 2 * o->products, (repeated + recomputed) * o->products);
    syz_work_add(w, work_name[m][2], rate, o->attention, 2 * o->attention, (repeated + recomputed) * o->attention);
    w->beside += (o->embedding + (2 + recomputed) * (o->products + o->attention)) / (double)w->passes;
    syz_work_add_group(w, model, m, (double)syz_model_tokens(c, m), 1 + repeated + recomputed);
  } else if (mode == SYZ_MODE_TRAIN_HEAD) {
    syz_work_add(w, work_name[m][0], rate, o->embedding, 0, 0);
    syz_work_add(w, work_name[m][1], rate, o->products, 0, 0);
    syz_work_add(w, work_name[m][2], rate, o->attention, 0, 0);
  }
  syz_work_add(w, work_name[m][3], rate, o->head, 2 * o->head, repeated * o->head);
  w->beside += 2 * o->head / (double)w->passes;
}

/* Bytes read per object: its pixels, its tokens from a cache on disk, or nothing. */
static double file_bytes(const syz_align_config *config, const syz_model *model, syz_modality m)
{
  const syz_model_config *c = syz_model_get_config(model);
  const int64_t pixels = m == SYZ_IMAGE ? STORED_IMAGE : syz_model_input(c, m),
                numbers = syz_model_tokens(c, m) * syz_model_width(c, m);
  if (align_mode_of(config) != SYZ_MODE_HEAD) return (double)pixels * (double)sizeof(float);
  if (config->cache == SYZ_CACHE_MEMORY) return 0;
  return (double)numbers * (double)syz_dtype_size(syz_compute_act(syz_model_get_compute(model)));
}

static void add_work(const syz_align_config *config, int ranks, const syz_model *model, syz_work *w)
{
  const syz_model_config *c = syz_model_get_config(model);
  const syz_compute *compute = syz_model_get_compute(model);
  const int64_t most = align_largest_share(config, ranks);
  const syz_passes p = syz_passes_of(config->global_batch, config->leaves, most, align_chunk_size(config, most));
  const syz_infonce_config pairs = {
      .global_batch = config->global_batch, .width = c->embedding.dim, .ring_pairs = config->ring_pairs};
  const syz_loss_work loss = syz_infonce_work(compute, &pairs);
  const syz_rate rate = syz_infonce_is_ring(&pairs) ? SYZ_RATE_LOSS : SYZ_RATE_F32;
  syz_work_begin(w, &p, model, !config->freezes_backbones);
  for (int m = 0; m < SYZ_MODALITIES; m++) {
    const syz_operations o = syz_model_operations(c, (syz_modality)m);
    if (!syz_model_has(model, (syz_modality)m)) continue;
    add_tower_work(w, (syz_modality)m, &o, model, align_mode_of(config));
    w->file_bytes += file_bytes(config, model, (syz_modality)m);
  }
  syz_work_add_loss(w, "contrastive loss", rate, &loss, 1, true);
}

syz_status syz_align_plan(const syz_align_config *config, int ranks, const syz_model *model, syz_plan *out)
{
  const syz_tower_mode mode = align_mode_of(config);
  int64_t trained = 0;
  syz_plan steps = {.n = 0};
  for (syz_part part = 0; part < SYZ_PARTS; part++) {
    int64_t first, count;
    syz_model_range(model, part, &first, &count);
    if (syz_part_trains(part, !config->freezes_backbones)) trained += count;
  }
  *out = (syz_plan){.n = 0};
  syz_plan_add_parameters(out, syz_model_size(model), trained, ranks);
  if (config->leaves > 0)
    syz_plan_add(out, "gradients of leaves",
                 syz_gradients_leaf_bytes(syz_model_size(model), config->leaves / ranks, ranks));
  add_steps(config, ranks, model, &steps);
  const size_t filling = mode == SYZ_MODE_HEAD ? filling_bytes(model) : 0;
  if (filling > syz_plan_rank_bytes(&steps))
    syz_plan_add(out, "towers that compute the tokens", filling);
  else
    for (int i = 0; i < steps.n; i++) syz_plan_add(out, steps.item[i].name, steps.item[i].bytes);
  syz_plan_add_process(out);
  add_work(config, ranks, model, &out->work);
  return SYZ_OK;
}

syz_status align_check_memory(align *a)
{
  syz_status st = SYZ_OK;
  syz_memory_fit fit;
  syz_plan plan;
  char advice[64] = "";
  const int ranks = syz_comm_size(a->grid->data);
  SYZ_TRY_ALL(a->world, syz_align_plan(&a->config, ranks, a->model, &plan));
  SYZ_TRY(syz_memory_check(a->world, syz_model_nodes(a->model), &plan, &fit));
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
  SYZ_TRY_ALL(a->world, syz_memory_refuse(&fit, advice));
cleanup:
  return st;
}
