/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The contrastive objective: embeddings of the step's images and spectra, InfoNCE over the global batch, gradients of
 * both towers.
 *
 * The loss needs the embeddings of the whole batch before any backward pass can begin. A rank whose share does not fit
 * into one pass (train.micro_batch) runs the forward pass in chunks without keeping activations, and runs each chunk
 * but the last again before its backward pass: one forward pass more, memory of one chunk (Gao et al. 2021,
 * arXiv:2101.06983). Dropout is a function of (seed, step, place), so the second pass repeats the first one exactly.
 * The backward passes run from the last chunk to the first, so that the last forward pass is used directly; the
 * gradient sums over ranks begin during the final chunk. With reproducible sums (src/comm/leaves.c) no chunk crosses
 * the border of a leaf, and the gradients of both towers are complete for one leaf before the next one begins.
 *
 * With frozen backbones the towers' tokens are computed once for all objects (align_tokens.c), and a step reads them
 * and runs the heads. With augmentation tokens cannot be kept, so the frozen towers run in every step (cache: none).
 */
#include "align.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

/* ------------------------------------------------------------------ set-up */

/* Objects with both modalities; how many were left out. */
static syz_status choose_objects(align_set *set, int64_t *left_out)
{
  syz_status st = SYZ_OK;
  const int64_t all = syz_shardset_size(set->shards);
  const syz_object *table = syz_shardset_objects(set->shards);
  SYZ_ALLOC(set->object, "objects of both modalities", all + 1);
  for (int64_t i = 0; i < all; i++)
    if (syz_object_has(&table[i], SYZ_IMAGE) && syz_object_has(&table[i], SYZ_SPECTRUM)) set->object[set->n++] = i;
  *left_out = all - set->n;
cleanup:
  return st;
}

/* At most `most` objects of a set, spread evenly over it. */
static void thin_out(align_set *set, int64_t most)
{
  if (set->n <= most) return;
  for (int64_t i = 0; i < most; i++) set->object[i] = set->object[(int64_t)((double)i * (double)set->n / (double)most)];
  set->n = most;
}

static syz_status create_tower(align *a, syz_modality m)
{
  syz_status st = SYZ_OK;
  align_tower *t = &a->tower[m];
  const syz_model_config *c = syz_model_get_config(a->model);
  t->is_here = syz_model_has(a->model, m);
  t->input = syz_model_input(c, m);
  if (!t->is_here) return st;
  const int64_t most = align_largest_share(&a->config, syz_comm_size(a->grid->data)), dim = syz_model_width(c, m);
  t->chunk = align_chunk_size(&a->config, most);
  t->row_bytes = (size_t)(syz_model_tokens(c, m) * dim) * syz_dtype_size(syz_compute_act(a->compute));
  syz_share(a->config.global_batch, syz_comm_size(a->grid->data), syz_comm_rank(a->grid->data), &t->first, &t->count);
  t->passes = syz_passes_of(a->config.global_batch, a->config.leaves, t->count, t->chunk);
  if (a->grid->tensor) syz_passes_pad(&t->passes, most, t->chunk);
  SYZ_ALLOC(t->embedding, "embeddings", t->count * a->width + 1);
  SYZ_ALLOC(t->dembedding, "embedding gradients", t->count * a->width + 1);
  SYZ_ALLOC(t->place, "places", t->count + 1);
  SYZ_ALLOC(t->row, "rows", t->count + 1);
  for (int64_t i = 0; i < t->count; i++) t->place[i] = t->first + i;
  if (a->config.freezes_backbones) SYZ_ALLOC(t->tokens, "tokens of a batch", (size_t)(t->count + 1) * t->row_bytes);
  if (align_has_cache(a) && a->config.cache == SYZ_CACHE_DISK)
    SYZ_ALLOC(t->tokens_ahead, "tokens of the next batch", (size_t)(t->count + 1) * t->row_bytes);
cleanup:
  return st;
}

static syz_status plan_towers(align *a)
{
  syz_status st = SYZ_OK;
  for (int m = 0; m < SYZ_MODALITIES; m++)
    if (a->tower[m].is_here)
      SYZ_TRY(syz_tower_plan(a->model, (syz_modality)m, a->tower[m].chunk, align_mode_of(&a->config)));
cleanup:
  return st;
}

static void destroy_set(align_set *set)
{
  for (int m = 0; m < SYZ_MODALITIES; m++)
    if (set->cache[m]) syz_token_cache_close(&set->cache[m]);
  syz_free(&set->object);
}

static void destroy(void *self)
{
  align *a = self;
  if (!a) return;
  syz_loader_destroy(&a->loader);
  destroy_set(&a->train);
  destroy_set(&a->test);
  for (int m = 0; m < SYZ_MODALITIES; m++) {
    align_tower *t = &a->tower[m];
    syz_free(&t->tokens);
    syz_free(&t->tokens_ahead);
    syz_free(&t->embedding);
    syz_free(&t->dembedding);
    syz_free(&t->place);
    syz_free(&t->row);
    syz_free(&a->held_out[m]);
  }
  syz_infonce_destroy(&a->loss);
  syz_infonce_destroy(&a->test_loss);
  syz_free(&a->raw_image);
  syz_free(&a->raw_flux);
  syz_free(&a->planes);
  syz_free(&a);
}

/* ------------------------------------------------------------------- steps */

static syz_status begin(void *self, int64_t first, int64_t last)
{
  syz_status st = SYZ_OK;
  align *a = self;
  syz_loader_destroy(&a->loader);
  a->last = last;
  if (first >= last) return st;
  if (align_has_cache(a)) return a->has_tokens ? st : align_tokens_fill(a);
  SYZ_TRY_ALL(a->world, plan_towers(a));
  const align_tower *image = &a->tower[SYZ_IMAGE], *spectrum = &a->tower[SYZ_SPECTRUM],
                    *here = image->is_here ? image : spectrum;
  const syz_loader_config config = {.sampler = a->sampler,
                                    .subset = a->train.object,
                                    .first_place = here->first,
                                    .count = here->count,
                                    .first_step = first,
                                    .last_step = last,
                                    .image_size = image->is_here ? syz_model_get_config(a->model)->image.size : 0,
                                    .wants_flux = spectrum->is_here,
                                    .augment = a->config.augment,
                                    .ahead = a->config.loader_ahead};
  SYZ_TRY_ALL(a->world, syz_loader_create(a->train.shards, &config, &a->loader));
cleanup:
  return st;
}

static syz_dropout_key dropout_key(const align *a, const align_tower *t, int64_t step, int64_t at)
{
  return (syz_dropout_key){.seed = a->config.seed, .step = (uint64_t)step, .sample = t->place + at};
}

static const float *batch_input(const align *a, syz_modality m, int64_t at)
{
  const float *input = m == SYZ_IMAGE ? a->batch.image : a->batch.flux;
  return input ? input + at * a->tower[m].input : NULL;
}

/* The forward pass of one chunk; from tokens if the backbone is frozen. */
static void forward_chunk(align *a, syz_modality m, int64_t step, int64_t at, int64_t n)
{
  align_tower *t = &a->tower[m];
  const syz_dropout_key dropout = dropout_key(a, t, step, at);
  float *embedding = t->embedding + at * a->width;
  if (a->config.freezes_backbones)
    syz_tower_head(a->model, m, n, t->tokens + (size_t)at * t->row_bytes, &dropout, embedding);
  else
    syz_tower_forward(a->model, m, n, batch_input(a, m, at), &dropout, embedding);
}

/* Inputs of the step: tokens from the cache, or objects from the loader. A failure concerns this rank alone. Collective
 * over the data axis. */
static syz_status fetch(align *a, int64_t step, double *wait_s)
{
  syz_status st = SYZ_OK;
  if (!align_has_cache(a)) return syz_loader_next(a->loader, &a->batch, wait_s);
  const double start = syz_clock_s();
  for (int m = 0; m < SYZ_MODALITIES; m++) {
    align_tower *t = &a->tower[m];
    if (!t->is_here) continue;
    if (t->tokens_ahead) {
      unsigned char *ahead = t->tokens_ahead;
      t->tokens_ahead = t->tokens;
      t->tokens = ahead;
    }
    for (int64_t i = 0; i < t->count; i++) t->row[i] = syz_sampler_index(&a->sampler, step, t->place[i]);
    const syz_status got = syz_token_cache_get(a->train.cache[m], t->count, t->row, t->tokens);
    if (st == SYZ_OK) st = got;
  }
  *wait_s += syz_clock_s() - start;
  for (int m = 0; m < SYZ_MODALITIES; m++) { /* read the next step's tokens while this step computes */
    align_tower *t = &a->tower[m];
    if (!t->is_here || !t->tokens_ahead || step + 1 >= a->last) continue;
    for (int64_t i = 0; i < t->count; i++) t->row[i] = syz_sampler_index(&a->sampler, step + 1, t->place[i]);
    const syz_status asked = syz_token_cache_ahead(a->train.cache[m], t->count, t->row, t->tokens_ahead);
    if (st == SYZ_OK) st = asked;
  }
  return st;
}

static syz_status forward(void *self, int64_t step, const double *scalar, syz_step_result *out)
{
  align *a = self;
  syz_infonce_loss loss;
  const float *embedding[SYZ_MODALITIES];
  syz_timing_begin(a->timing, "data");
  syz_status st = fetch(a, step, &out->wait_s);
  syz_timing_end(a->timing);
  syz_timing_begin(a->timing, "forward");
  for (int m = 0; m < SYZ_MODALITIES; m++) {
    align_tower *t = &a->tower[m];
    embedding[m] = t->embedding;
    /* A rank without data still takes part in the loss, which all ranks then discard, and in its tensor group's passes.
     */
    for (int64_t k = 0; (st == SYZ_OK || a->grid->tensor) && k < t->passes.n; k++) {
      int64_t at;
      const int64_t planned = syz_passes_at(&t->passes, k, &at), n = st == SYZ_OK ? planned : 0;
      if (a->config.freezes_backbones && !align_has_cache(a))
        syz_tower_backbone(a->model, (syz_modality)m, n, batch_input(a, (syz_modality)m, at),
                           t->tokens + (size_t)at * t->row_bytes);
      forward_chunk(a, (syz_modality)m, step, at, n);
    }
  }
  for (int m = 0; m < SYZ_MODALITIES; m++)
    if (embedding[m])
      out->digest = syz_checksum(embedding[m], (size_t)(a->tower[m].count * a->width) * sizeof(float), out->digest);
  syz_timing_end(a->timing);
  syz_timing_begin(a->timing, "loss");
  syz_infonce_forward(a->loss, align_scale(a, scalar), embedding, &loss);
  syz_timing_end(a->timing);
  out->loss = loss.loss;
  out->term[0] = loss.image_to_spectrum;
  out->term[1] = loss.spectrum_to_image;
  out->term[2] = log((double)a->config.global_batch) - loss.loss;
  return st;
}

static void backward_chunk(align *a, syz_modality m, int64_t step, int64_t at, int64_t n, bool is_final,
                           syz_gradients *g)
{
  align_tower *t = &a->tower[m];
  const syz_dropout_key dropout = dropout_key(a, t, step, at);
  const float *dembedding = t->dembedding + at * a->width;
  if (!a->config.freezes_backbones) {
    syz_tower_backward(a->model, m, n, dembedding, &dropout, syz_gradients_block(g),
                       is_final ? syz_gradients_ready : NULL, g);
    return;
  }
  if (n > 0)
    syz_tower_head_backward(a->model, m, n, t->tokens + (size_t)at * t->row_bytes, dembedding, &dropout,
                            syz_gradients_block(g));
  if (!is_final) return;
  int64_t first, count;
  syz_model_range(a->model, syz_part_of(m, true), &first, &count);
  syz_gradients_ready(g, first, count);
}

/* The passes of one leaf of one tower, from the last to the first. */
static void backward_leaf(align *a, syz_modality m, int64_t step, int64_t leaf, syz_gradients *g)
{
  const syz_passes *p = &a->tower[m].passes;
  for (int64_t k = (leaf + 1) * p->per_leaf - 1; k >= leaf * p->per_leaf; k--) {
    int64_t at;
    const int64_t n = syz_passes_at(p, k, &at);
    if (k < p->n - 1) forward_chunk(a, m, step, at, n);
    backward_chunk(a, m, step, at, n, k == 0, g);
  }
}

static syz_status backward(void *self, int64_t step, syz_gradients *g, double *scalar_gradient)
{
  align *a = self;
  float *dembedding[SYZ_MODALITIES] = {a->tower[SYZ_IMAGE].dembedding, a->tower[SYZ_SPECTRUM].dembedding};
  syz_timing_begin(a->timing, "loss");
  syz_infonce_backward(a->loss, dembedding, a->config.learns_logit_scale ? &scalar_gradient[0] : NULL);
  syz_timing_end(a->timing);
  syz_timing_begin(a->timing, "backward");
  const syz_passes *here = &a->tower[a->tower[SYZ_IMAGE].is_here ? SYZ_IMAGE : SYZ_SPECTRUM].passes;
  for (int64_t leaf = here->n / here->per_leaf - 1; leaf >= 0; leaf--) {
    for (int m = 0; m < SYZ_MODALITIES; m++)
      if (a->tower[m].is_here) backward_leaf(a, (syz_modality)m, step, leaf, g);
    syz_gradients_leaf(g);
  }
  syz_timing_end(a->timing);
  return SYZ_OK;
}

/* Objects whose embedding is not finite. */
static void describe(void *self, int64_t step, char *text, size_t room)
{
  enum { MOST = 4 };
  align *a = self;
  size_t n = 0;
  int64_t bad = 0, place[MOST];
  const syz_object *table = syz_shardset_objects(a->train.shards);
  text[0] = '\0';
  for (int m = 0; m < SYZ_MODALITIES; m++) {
    const int64_t found = syz_infonce_not_finite(a->loss, (syz_modality)m, MOST, place);
    for (int64_t k = 0; k < found && bad + k < MOST; k++) {
      const int64_t object = a->train.object[syz_sampler_index(&a->sampler, step, place[k])];
      n += (size_t)snprintf(text + n, n < room ? room - n : 0, "%sthe %s embedding of object %" PRId64 " is not finite",
                            bad + k > 0 ? ", " : "", syz_modality_name((syz_modality)m), table[object].object_id);
    }
    bad += found;
  }
  if (bad > MOST && n < room) snprintf(text + n, room - n, ", and %" PRId64 " more", bad - MOST);
}

/* ------------------------------------------------------------------ create */

syz_status syz_align_check(const syz_align_config *c)
{
  syz_status st = SYZ_OK;
  SYZ_REQUIRE(c->leaves == 0 || c->global_batch <= c->ring_pairs, SYZ_ERR_INPUT,
              "reproducible: the sums of a loss that goes around the ring of ranks depend on the number of ranks: "
              "loss.ring_pairs = %" PRId64 " must be at least train.global_batch = %" PRId64,
              c->ring_pairs, c->global_batch);
  SYZ_REQUIRE(!c->freezes_backbones || c->cache == SYZ_CACHE_NONE || !syz_augment_is_on(&c->augment), SYZ_ERR_INPUT,
              "augmentation changes the objects in every step, so the tokens of frozen towers cannot be kept: switch "
              "augmentation off, or set train.token_cache=none (the towers then run in every step), or "
              "train.freeze_backbones=false");
cleanup:
  return st;
}

static syz_status check(const align *a)
{
  syz_status st = SYZ_OK;
  SYZ_REQUIRE(a->train.n > 0, SYZ_ERR_DATA,
              "none of the %" PRId64 " objects has both an image and a spectrum: nothing to align",
              syz_shardset_size(a->train.shards));
  SYZ_TRY(syz_align_check(&a->config));
cleanup:
  return st;
}

static syz_status create_local(align *a)
{
  syz_status st = SYZ_OK;
  for (int m = 0; m < SYZ_MODALITIES; m++) SYZ_TRY(create_tower(a, (syz_modality)m));
  SYZ_TRY(align_validate_plan(a));
  SYZ_TRY(align_raw_create(a, ALIGN_PASS));
cleanup:
  return st;
}

static syz_status create_losses(align *a)
{
  syz_status st = SYZ_OK;
  const bool has_image = a->tower[SYZ_IMAGE].is_here, has_spectrum = a->tower[SYZ_SPECTRUM].is_here;
  syz_infonce_config c = {.global_batch = a->config.global_batch,
                          .width = a->width,
                          .has_image = has_image,
                          .has_spectrum = has_spectrum,
                          .ring_pairs = a->config.ring_pairs};
  SYZ_TRY(syz_infonce_create(a->world, a->compute, &c, &a->loss));
  c.global_batch = a->block;
  if (a->blocks > 0 && a->block != a->config.global_batch)
    SYZ_TRY(syz_infonce_create(a->world, a->compute, &c, &a->test_loss));
cleanup:
  return st;
}

syz_status syz_align_create(const syz_align_config *config, const syz_grid *grid, const syz_compute *compute,
                            syz_model *model, syz_shardset *train, syz_shardset *test, syz_timing *timing,
                            syz_objective *out)
{
  syz_status st = SYZ_OK;
  int64_t left_out = 0, left_out_test = 0;
  *out = (syz_objective){.name = "align",
                         .n_terms = 3,
                         .term_name = {"image_to_spectrum", "spectrum_to_image", "information_nats"},
                         .n_scalars = config->learns_logit_scale,
                         .scalar_name = {"log_logit_scale"},
                         .scalar_start = {log(config->logit_scale)},
                         .begin = begin,
                         .forward = forward,
                         .backward = backward,
                         .describe = describe,
                         .validate = align_validate,
                         .destroy = destroy};
  align *a = syz_alloc("align", 1, sizeof *a);
  SYZ_TRY_ALL(grid->world, a ? SYZ_OK : SYZ_ERR_MEMORY);
  a->config = *config;
  a->grid = grid;
  a->world = grid->world;
  a->compute = compute;
  a->model = model;
  a->timing = timing;
  a->width = syz_model_get_config(model)->embedding.dim;
  a->train.shards = train;
  a->test.shards = test;
  SYZ_TRY_ALL(a->world, choose_objects(&a->train, &left_out));
  if (test) SYZ_TRY_ALL(a->world, choose_objects(&a->test, &left_out_test));
  thin_out(&a->test, config->validate_objects);
  SYZ_TRY_ALL(a->world, check(a));
  a->sampler = (syz_sampler){
      .n = a->train.n, .global_batch = config->global_batch, .seed = config->seed, .shuffles = config->shuffles};
  syz_info("%" PRId64 " objects with image and spectrum%s", a->train.n, left_out ? "" : ", none left out");
  if (left_out) syz_warn("%" PRId64 " objects have only one modality and are left out", left_out);
  if (config->global_batch > a->train.n)
    syz_warn("train.global_batch %" PRId64 " is more than the %" PRId64
             " objects: some are in a batch twice and count as each other's negatives",
             config->global_batch, a->train.n);
  SYZ_TRY(align_check_memory(a));
  SYZ_TRY_ALL(a->world, create_local(a));
  SYZ_TRY(create_losses(a));
  out->self = a;
cleanup:
  if (st != SYZ_OK) {
    destroy(a);
    *out = (syz_objective){0};
  }
  return st;
}
