/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Validation: the loss over held-out objects in batches of the training's global batch (so that the two losses can be
 * compared: log G bounds both), without dropout and augmentation, and retrieval of each object's partner among all of
 * them.
 */
#include <math.h>
#include <stdio.h>

#include "align.h"

syz_status align_validate_plan(align *a)
{
  syz_status st = SYZ_OK;
  const int64_t G = a->config.global_batch;
  if (a->test.n < 1) return st;
  a->block = a->test.n < G ? a->test.n : G;
  a->blocks = a->test.n / a->block;
  for (int m = 0; m < SYZ_MODALITIES; m++)
    SYZ_ALLOC(a->held_out[m], "held-out embeddings", a->blocks * a->block * a->width);
cleanup:
  return st;
}

/* Embeddings of this rank's share of one batch of held-out objects. A failure concerns this rank alone; collective over
 * the data axis. */
static syz_status embed_block(align *a, syz_modality m, int64_t first, int64_t count)
{
  syz_status st = SYZ_OK, got = SYZ_OK;
  align_tower *t = &a->tower[m];
  const int64_t ranks = syz_comm_size(a->grid->data);
  const float *input = NULL;
  for (int64_t i = 0; i < count; i++) t->row[i] = first + i;
  if (align_has_cache(a)) got = syz_token_cache_get(a->test.cache[m], count, t->row, t->tokens);
  SYZ_TRY(got);
  const int64_t pass = t->chunk < a->raw_room ? t->chunk : a->raw_room;
  /* All ranks of a tensor group make as many passes as the rank with most objects, and continue when one of them fails.
   */
  const int64_t most = a->grid->tensor ? (a->block + ranks - 1) / ranks : count;
  for (int64_t at = 0; at < most; at += pass) {
    const int64_t left = st == SYZ_OK && count > at ? count - at : 0;
    int64_t n = left < pass ? left : pass;
    float *embedding = t->embedding + at * a->width;
    if (align_has_cache(a)) {
      syz_tower_head(a->model, m, n, t->tokens + (size_t)at * t->row_bytes, NULL, embedding);
      continue;
    }
    if (n > 0) got = align_raw_read(a, &a->test, m, n, t->row + at, &input);
    if (got != SYZ_OK) {
      st = got;
      n = 0;
      if (!a->grid->tensor) break;
    }
    if (a->config.freezes_backbones) {
      syz_tower_backbone(a->model, m, n, input, t->tokens);
      syz_tower_head(a->model, m, n, t->tokens, NULL, embedding);
    } else {
      syz_tower_forward(a->model, m, n, input, NULL, embedding);
    }
  }
cleanup:
  return st;
}

static void add(syz_validation *v, const char *name, double value)
{
  if (v->n >= SYZ_FIGURES_MAX) return;
  snprintf(v->name[v->n], sizeof v->name[0], "%s", name);
  v->value[v->n++] = value;
}

static void add_retrieval(syz_validation *out, const syz_retrieval *r)
{
  static const char *const direction[SYZ_MODALITIES] = {"image_to_spectrum", "spectrum_to_image"};
  char name[SYZ_FIGURE_NAME];
  add(out, "objects", (double)r->n);
  for (int m = 0; m < SYZ_MODALITIES; m++) {
    for (int k = 0; k < SYZ_RECALL_CUTS; k++) {
      snprintf(name, sizeof name, "recall_at_%d_%s", syz_recall_cut[k], direction[m]);
      add(out, name, r->recall[m][k]);
    }
    snprintf(name, sizeof name, "median_rank_%s", direction[m]);
    add(out, name, r->median_rank[m]);
  }
}

syz_status align_validate(void *self, int64_t step, const double *scalar, syz_validation *out)
{
  syz_status st = SYZ_OK, local = SYZ_OK;
  align *a = self;
  syz_infonce *loss = a->test_loss ? a->test_loss : a->loss;
  const double scale = align_scale(a, scalar);
  syz_infonce_loss sum = {0}, one;
  syz_retrieval found;
  (void)step;
  out->n = 0;
  if (a->blocks < 1) return SYZ_OK;
  for (int64_t b = 0; b < a->blocks; b++) {
    const float *embedding[SYZ_MODALITIES];
    for (int m = 0; m < SYZ_MODALITIES; m++) {
      int64_t first, count;
      syz_infonce_rows(loss, (syz_modality)m, &first, &count);
      embedding[m] = a->tower[m].embedding;
      if (!a->tower[m].is_here) continue;
      const syz_status got = embed_block(a, (syz_modality)m, b * a->block + first, count);
      if (local == SYZ_OK) local = got;
    }
    syz_infonce_forward(loss, scale, embedding, &one);
    SYZ_TRY_ALL(a->world, local);
    sum.loss += one.loss;
    sum.image_to_spectrum += one.image_to_spectrum;
    sum.spectrum_to_image += one.spectrum_to_image;
    for (int m = 0; m < SYZ_MODALITIES; m++)
      SYZ_TRY(syz_infonce_gather(loss, (syz_modality)m, a->held_out[m] + b * a->block * a->width));
  }
  SYZ_REQUIRE(isfinite(sum.loss), SYZ_ERR_NUMERIC, "validation: the loss is %g", sum.loss);
  SYZ_TRY(syz_retrieval_evaluate(a->world, a->compute, a->blocks * a->block, a->width, a->held_out[SYZ_IMAGE],
                                 a->held_out[SYZ_SPECTRUM], &found));
  add(out, "loss", sum.loss / (double)a->blocks);
  add(out, "image_to_spectrum", sum.image_to_spectrum / (double)a->blocks);
  add(out, "spectrum_to_image", sum.spectrum_to_image / (double)a->blocks);
  add(out, "information_nats", log((double)a->block) - sum.loss / (double)a->blocks);
  add_retrieval(out, &found);
cleanup:
  return st;
}
