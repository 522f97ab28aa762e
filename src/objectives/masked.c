/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Masked modelling of spectra: runs of tokens are masked, and the network reconstructs them.
 *
 * The loss is a mean over all scored numbers of the global batch, and their number is known before the network runs. So
 * a pass over a part of the batch gets its final gradient at once: each pass runs forward and backward before the next,
 * except the last, whose backward pass runs in the loop's second half, where it overlaps with the sums over ranks. Sums
 * of squares are formed per spectrum in float64 and added in the order of the global batch: the loss does not depend on
 * ranks or passes.
 */
#include "masked.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* ------------------------------------------------------------------ set-up */

syz_status syz_masked_check(const syz_masked_options *o, const syz_model_config *model)
{
  syz_status st = SYZ_OK;
  const int64_t tokens = syz_model_tokens(model, SYZ_SPECTRUM);
  SYZ_REQUIRE(o->runs >= 1 && o->run_tokens >= 1, SYZ_ERR_INPUT,
              "masked.runs = %" PRId64 " and masked.run_tokens = %" PRId64 ": nothing is masked", o->runs,
              o->run_tokens);
  SYZ_REQUIRE(tokens / o->runs > o->run_tokens, SYZ_ERR_INPUT,
              "masked.runs = %" PRId64 " cuts the %" PRId64 " tokens of a spectrum into stretches of %" PRId64
              ", in which a run of masked.run_tokens = %" PRId64 " has no place: at most %" PRId64,
              o->runs, tokens, tokens / o->runs, o->run_tokens, tokens / o->runs - 1);
cleanup:
  return st;
}

/* Objects with a spectrum; at most `most`, spread evenly over the set. */
static syz_status choose_objects(masked_set *set, int64_t most, int64_t *left_out)
{
  syz_status st = SYZ_OK;
  const int64_t all = syz_shardset_size(set->shards);
  const syz_object *table = syz_shardset_objects(set->shards);
  SYZ_ALLOC(set->object, "objects with a spectrum", all + 1);
  for (int64_t i = 0; i < all; i++)
    if (syz_object_has(&table[i], SYZ_SPECTRUM)) set->object[set->n++] = i;
  *left_out = all - set->n;
  if (set->n > most) {
    for (int64_t i = 0; i < most; i++)
      set->object[i] = set->object[(int64_t)((double)i * (double)set->n / (double)most)];
    set->n = most;
  }
cleanup:
  return st;
}

static void destroy(void *self)
{
  masked *k = self;
  if (!k) return;
  syz_loader_destroy(&k->loader);
  syz_masked_destroy(&k->network);
  masked_room_destroy(&k->room);
  masked_room_destroy(&k->test_room);
  void **owned[] = {(void **)&k->train.object,
                    (void **)&k->test.object,
                    (void **)&k->row,
                    (void **)&k->prediction,
                    (void **)&k->numbers,
                    (void **)&k->squares,
                    (void **)&k->flux,
                    (void **)&k->ivar,
                    (void **)&k->value,
                    (void **)&k->hidden,
                    (void **)&k->test_sums,
                    (void **)&k->redshift,
                    (void **)&k->picture.flux,
                    (void **)&k->picture.ivar,
                    (void **)&k->picture.reconstruction,
                    (void **)&k->picture.interpolation};
  for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) syz_free_(owned[i]);
  syz_free(&k);
}

/* ------------------------------------------------------------------- steps */

static syz_status begin(void *self, int64_t first, int64_t last)
{
  syz_status st = SYZ_OK;
  masked *k = self;
  syz_loader_destroy(&k->loader);
  syz_masked_pack(k->network);
  if (first >= last) return st;
  const syz_loader_config config = {.sampler = k->sampler,
                                    .subset = k->train.object,
                                    .first_place = k->first,
                                    .count = k->count,
                                    .first_step = first,
                                    .last_step = last,
                                    .wants_flux = true,
                                    .wants_ivar = k->wants_ivar,
                                    .ahead = k->options.loader_ahead};
  SYZ_TRY_ALL(k->world, syz_loader_create(k->train.shards, &config, &k->loader));
cleanup:
  return st;
}

/* Prepares the step's spectra and sums their weights over all ranks. Collective over the data axis, also after a
 * failure. */
static void prepare(masked *k, int64_t step, bool has_data)
{
  const int threads = syz_compute_threads(k->compute);
  const int64_t count = has_data ? k->count : 0, all = k->options.global_batch;
  memset(k->numbers, 0, 2 * (size_t)all * sizeof(double)); /* k->weight follows it in memory: one reduction for both */
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
  for (int64_t i = 0; i < count; i++) {
    masked_sums sums;
    const float *ivar = k->batch.ivar ? k->batch.ivar + i * SYZ_TOWER_PIXELS : NULL;
    masked_prepare(&k->shape, &k->room, i, k->batch.flux + i * SYZ_TOWER_PIXELS, ivar, k->options.seed, step,
                   k->batch.place[i], &sums);
    k->numbers[k->first + i] = sums.numbers;
    k->weight[k->first + i] = sums.weight;
  }
  syz_allreduce_f64(k->grid->data, k->numbers, 2 * (size_t)all, SYZ_SUM);
  k->total = 0;
  for (int64_t i = 0; i < all; i++) k->total += k->weight[i];
}

static void slope_of_pass(masked *k, int64_t at, int64_t n)
{
  for (int64_t i = 0; i < n; i++)
    masked_slope(&k->shape, &k->room, at + i, k->total, k->prediction + i * k->shape.rows * k->shape.width);
}

static syz_status forward(void *self, int64_t step, const double *scalar, syz_step_result *out)
{
  masked *k = self;
  const int64_t each = k->shape.rows * k->shape.width;
  double numbers = 0, sum = 0;
  (void)scalar;
  syz_timing_begin(k->timing, "data");
  const syz_status st = syz_loader_next(k->loader, &k->batch, &out->wait_s);
  prepare(k, step, st == SYZ_OK);
  syz_timing_end(k->timing);
  memset(k->squares, 0, (size_t)k->options.global_batch * sizeof(double));
  /* A rank without data still takes part in the sums, which all ranks then discard, and in its tensor group's passes.
   */
  for (int64_t p = 0; (st == SYZ_OK || k->grid->tensor) && p < k->passes.n; p++) {
    int64_t at;
    const int64_t planned = syz_passes_at(&k->passes, p, &at), n = st == SYZ_OK ? planned : 0;
    syz_timing_begin(k->timing, "forward");
    masked_forward_pass(k, &k->room, at, n);
    for (int64_t i = 0; i < n; i++)
      k->squares[k->first + at + i] = masked_squares(&k->shape, &k->room, at + i, k->prediction + i * each);
    syz_timing_end(k->timing);
    if (p == k->passes.n - 1) break;
    syz_timing_begin(k->timing, "backward");
    slope_of_pass(k, at, n);
    syz_masked_backward(k->network, k->prediction, syz_gradients_block(k->gradients), NULL, NULL);
    if (syz_passes_ends_leaf(&k->passes, p)) syz_gradients_leaf(k->gradients);
    syz_timing_end(k->timing);
  }
  out->digest = syz_checksum(k->squares + k->first, (size_t)k->count * sizeof *k->squares, 0);
  syz_timing_begin(k->timing, "loss");
  syz_allreduce_f64(k->grid->data, k->squares, (size_t)k->options.global_batch, SYZ_SUM);
  syz_timing_end(k->timing);
  for (int64_t i = 0; i < k->options.global_batch; i++) {
    sum += k->squares[i];
    numbers += k->numbers[i];
  }
  out->loss = k->total > 0 ? sum / k->total : sum;
  out->term[0] = numbers;
  return st;
}

static syz_status backward(void *self, int64_t step, syz_gradients *g, double *scalar_gradient)
{
  masked *k = self;
  int64_t at;
  const int64_t n = syz_passes_at(&k->passes, k->passes.n - 1, &at);
  (void)step, (void)scalar_gradient;
  syz_timing_begin(k->timing, "backward");
  slope_of_pass(k, at, n);
  syz_masked_backward(k->network, k->prediction, syz_gradients_block(g), syz_gradients_ready, g);
  syz_gradients_leaf(g);
  syz_timing_end(k->timing);
  return SYZ_OK;
}

static void attach(void *self, syz_gradients *g)
{
  masked *k = self;
  k->gradients = g;
}

static void updated(void *self, int64_t step)
{
  masked *k = self;
  (void)step;
  syz_timing_begin(k->timing, "optimiser");
  syz_masked_pack(k->network);
  syz_timing_end(k->timing);
}

/* Objects whose reconstruction is not finite, from the sums per place in the batch, which every rank has. */
static void describe(void *self, int64_t step, char *text, size_t room)
{
  masked *k = self;
  size_t n = 0;
  int64_t bad = 0;
  const syz_object *table = syz_shardset_objects(k->train.shards);
  text[0] = '\0';
  for (int64_t i = 0; i < k->options.global_batch; i++) {
    if (isfinite(k->squares[i]) || ++bad > 4) continue;
    const int64_t object = k->train.object[syz_sampler_index(&k->sampler, step, i)];
    n += (size_t)snprintf(text + n, n < room ? room - n : 0, "%sthe reconstruction of object %" PRId64 " is not finite",
                          bad > 1 ? ", " : "", table[object].object_id);
  }
  if (bad > 4 && n < room) snprintf(text + n, room - n, ", and %" PRId64 " more", bad - 4);
}

/* ------------------------------------------------------------------ create */

static syz_status check_data(const masked *k)
{
  syz_status st = SYZ_OK;
  SYZ_TRY(syz_masked_check(&k->options, syz_model_get_config(k->model)));
  SYZ_REQUIRE(k->train.n > 0, SYZ_ERR_DATA, "none of the %" PRId64 " objects has a spectrum: nothing to learn from",
              syz_shardset_size(k->train.shards));
  SYZ_REQUIRE(!k->options.weighs_ivar || syz_shardset_has_ivar(k->train.shards), SYZ_ERR_INPUT,
              "masked.ivar_weighted: data.path holds no inverse variances");
cleanup:
  return st;
}

static syz_status create_local(masked *k)
{
  syz_status st = SYZ_OK;
  const masked_shape *s = &k->shape;
  const int64_t all = k->options.global_batch;
  SYZ_TRY(syz_masked_create(k->model, k->chunk, k->chunk * s->rows, true, &k->network));
  SYZ_TRY(masked_room_create(s, k->count, &k->room));
  SYZ_ALLOC(k->row, "masked rows", k->chunk * s->rows);
  SYZ_ALLOC(k->prediction, "predictions", k->chunk * s->rows * s->width);
  SYZ_ALLOC(k->numbers, "sums of the batch", 2 * all);
  k->weight = k->numbers + all;
  SYZ_ALLOC(k->squares, "sums of the batch", all);
  SYZ_TRY(masked_validate_plan(k));
cleanup:
  return st;
}

static void tell(const masked *k, int64_t left_out)
{
  const masked_shape *s = &k->shape;
  syz_info("%" PRId64 " spectra; %" PRId64 " runs of %" PRId64 " tokens hidden: %.1f %% of %" PRId64 " tokens",
           k->train.n, s->runs, s->run_tokens, 100.0 * (double)s->rows / (double)s->tokens, s->tokens);
  if (left_out) syz_warn("%" PRId64 " objects have no spectrum and are left out", left_out);
  if (k->options.hides_bad && !syz_shardset_has_ivar(k->train.shards))
    syz_warn("masked.bad_pixels: hidden, but data.path holds no inverse variances: no pixel is known to be bad");
}

syz_status syz_masked_train_create(const syz_masked_options *options, const syz_grid *grid, const syz_compute *compute,
                                   syz_model *model, syz_shardset *train, syz_shardset *test, const syz_judge *judge,
                                   syz_timing *timing, syz_objective *out)
{
  syz_status st = SYZ_OK;
  int64_t left_out = 0, left_out_test = 0;
  *out = (syz_objective){.name = "masked",
                         .n_terms = 1,
                         .term_name = {"masked_numbers"},
                         .attach = attach,
                         .begin = begin,
                         .forward = forward,
                         .backward = backward,
                         .updated = updated,
                         .describe = describe,
                         .validate = masked_validate,
                         .destroy = destroy};
  masked *k = syz_alloc("masked modelling", 1, sizeof *k);
  SYZ_TRY_ALL(grid->world, k ? SYZ_OK : SYZ_ERR_MEMORY);
  k->options = *options;
  k->shape = masked_shape_of(options, syz_model_get_config(model));
  k->grid = grid;
  k->world = grid->world;
  k->compute = compute;
  k->model = model;
  k->judge = judge;
  k->timing = timing;
  k->train.shards = train;
  k->test.shards = test;
  k->chunk = masked_chunk_size(options, syz_comm_size(grid->data));
  syz_share(options->global_batch, syz_comm_size(grid->data), syz_comm_rank(grid->data), &k->first, &k->count);
  k->passes = syz_passes_of(options->global_batch, options->leaves, k->count, k->chunk);
  if (grid->tensor)
    syz_passes_pad(&k->passes, (options->global_batch + syz_comm_size(grid->data) - 1) / syz_comm_size(grid->data),
                   k->chunk);
  SYZ_TRY_ALL(k->world, choose_objects(&k->train, INT64_MAX, &left_out));
  if (test) SYZ_TRY_ALL(k->world, choose_objects(&k->test, options->validate_objects, &left_out_test));
  SYZ_TRY_ALL(k->world, check_data(k));
  k->wants_ivar = (options->weighs_ivar || options->hides_bad) && syz_shardset_has_ivar(train);
  k->has_ivar = test && syz_shardset_has_ivar(test);
  k->sampler = (syz_sampler){
      .n = k->train.n, .global_batch = options->global_batch, .seed = options->seed, .shuffles = options->shuffles};
  tell(k, left_out);
  SYZ_TRY(masked_check_memory(k));
  SYZ_TRY_ALL(k->world, create_local(k));
  SYZ_TRY(masked_read_redshift(k));
  out->self = k;
cleanup:
  if (st != SYZ_OK) {
    destroy(k);
    *out = (syz_objective){0};
  }
  return st;
}
