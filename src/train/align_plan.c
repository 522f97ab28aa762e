/* SPDX-License-Identifier: BSD-3-Clause */
/** What the contrastive objective needs of a rank's memory, planned before anything large is allocated. */
#include <inttypes.h>
#include <stdio.h>

#include "align.h"
#include "memory.h"

enum { HEAD_OBJECTS = 256 /* a pass of heads alone */ };

/* Objects a pass. */
int64_t align_chunk_size(const syz_align_config *c, int64_t most)
{
  const int64_t preset = c->freezes_backbones && c->cache != SYZ_CACHE_NONE ? HEAD_OBJECTS : ALIGN_PASS;
  const int64_t wanted = c->micro_batch > 0 ? c->micro_batch : preset;
  return wanted < most ? wanted : most;
}

syz_tower_mode align_mode_of(const syz_align_config *c)
{
  if (!c->freezes_backbones) return SYZ_MODE_TRAIN;
  return c->cache == SYZ_CACHE_NONE ? SYZ_MODE_TRAIN_HEAD : SYZ_MODE_HEAD;
}

/* Largest share of any rank that holds a tower. */
int64_t align_largest_share(const syz_align_config *c, const syz_grid *grid)
{
  const int64_t size = syz_comm_size(grid->data);
  return (c->global_batch + size - 1) / size;
}

size_t syz_align_bytes(const syz_align_config *config, const syz_grid *grid, const syz_model *model)
{
  const syz_model_config *c = syz_model_get_config(model);
  const int64_t most = align_largest_share(config, grid), chunk = align_chunk_size(config, most);
  const syz_tower_mode mode = align_mode_of(config);
  int64_t trained = 0;
  size_t steps = 0, filling = 0; /* while steps run, and while tokens are computed (one tower at a time) */
  for (int m = 0; m < SYZ_MODALITIES; m++) {
    if (!syz_model_has(model, (syz_modality)m)) continue;
    int64_t first, backbone, head;
    syz_model_range(model, syz_part_of((syz_modality)m, false), &first, &backbone);
    syz_model_range(model, syz_part_of((syz_modality)m, true), &first, &head);
    const int64_t dim = m == SYZ_IMAGE ? c->image.dim : c->spectrum.dim, tokens = most * syz_model_tokens(c, (syz_modality)m) * dim;
    trained += head + (mode == SYZ_MODE_TRAIN ? backbone : 0);
    steps +=
        syz_tower_plan_bytes(model, (syz_modality)m, chunk, mode) + (size_t)(2 * head + (mode == SYZ_MODE_HEAD ? 0 : 2 * backbone)) * sizeof(float);
    if (config->freezes_backbones) steps += (size_t)tokens * sizeof(float);
    steps += (size_t)(6 * most * c->embedding.dim + 2 * config->global_batch * c->embedding.dim) * sizeof(float);
    if (mode != SYZ_MODE_HEAD) continue;
    const size_t fill = syz_tower_plan_bytes(model, (syz_modality)m, CACHE_PASS, SYZ_MODE_EMBED) + (size_t)backbone * sizeof(float);
    filling = fill > filling ? fill : filling;
  }
  /* Weights, gradients, this rank's share of the moments. */
  const size_t fixed = (size_t)syz_model_size(model) * sizeof(float) + (size_t)trained * sizeof(float) +
                       (size_t)trained * 2 * sizeof(float) / (size_t)syz_comm_size(grid->data);
  return fixed + (steps > filling ? steps : filling);
}

/* Whether all ranks of this node fit together; otherwise the batch of a pass that would is named. Collective. */
syz_status align_check_memory(align *a)
{
  syz_status st = SYZ_OK;
  memory_fit fit;
  char advice[64] = "";
  const int64_t mine = (int64_t)syz_align_bytes(&a->config, a->grid, a->model);
  SYZ_TRY(memory_check(a->world, (size_t)mine, (size_t)syz_model_size(a->model) * sizeof(float), &fit));
  if (!fit.fits) {
    int64_t chunk = align_chunk_size(&a->config, align_largest_share(&a->config, a->grid)), less = mine;
    syz_align_config smaller = a->config;
    while (chunk > 1 && less > fit.available / fit.ranks) {
      smaller.micro_batch = chunk /= 2;
      less = (int64_t)syz_align_bytes(&smaller, a->grid, a->model);
    }
    snprintf(advice, sizeof advice, ", or train.micro_batch=%" PRId64, chunk);
  }
  SYZ_TRY_ALL(a->world, memory_refuse(&fit, advice));
cleanup:
  return st;
}
