/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Tokens of frozen towers: the same in every epoch, so they are computed once.
 *
 * Each rank computes its share of the objects and puts the rows into the cache of its tower; rows of an earlier run are
 * kept. All ranks advance pass by pass, because a failure or a request to stop has to reach all of them: this is one
 * small reduction per pass, negligible compared with a pass through a tower. The cache's key is a digest of everything
 * the tokens depend on.
 */
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "align.h"
#include "syzygy/files.h"

syz_status align_raw_create(align *a, int64_t n)
{
  syz_status st = SYZ_OK;
  a->raw_room = n;
  if (a->tower[SYZ_IMAGE].is_here) {
    SYZ_ALLOC(a->raw_image, "raw images", n * 3 * 152 * 152);
    SYZ_ALLOC(a->planes, "image planes", n * a->tower[SYZ_IMAGE].input);
  }
  if (a->tower[SYZ_SPECTRUM].is_here) SYZ_ALLOC(a->raw_flux, "raw spectra", n * SYZ_TOWER_PIXELS);
cleanup:
  return st;
}

syz_status align_raw_read(align *a, const align_set *set, syz_modality m, int64_t n, const int64_t *row,
                          const float **input)
{
  syz_status st = SYZ_OK;
  int64_t object[64];
  SYZ_ASSERT(n <= a->raw_room && n <= 64);
  for (int64_t i = 0; i < n; i++) object[i] = set->object[row[i]];
  SYZ_TRY(syz_shardset_read(set->shards, n, object, m == SYZ_IMAGE ? a->raw_image : NULL,
                            m == SYZ_SPECTRUM ? a->raw_flux : NULL, NULL));
  if (m == SYZ_IMAGE) syz_prepare_images(a->raw_image, n, syz_model_get_config(a->model)->image.size, a->planes);
  *input = m == SYZ_IMAGE ? a->planes : a->raw_flux;
cleanup:
  return st;
}

static uint64_t cache_key(const align *a, const align_set *set, syz_modality m)
{
  int64_t first, count;
  const syz_dtype act = syz_compute_act(a->compute);
  const uint64_t digest = syz_shardset_digest(set->shards);
  const char *engine = syz_compute_describe(a->compute);
  uint64_t key = syz_checksum(&digest, sizeof digest, (uint64_t)m + 1);
  char *config = syz_model_config_yaml(syz_model_get_config(a->model));
  if (config) key = syz_checksum(config, strlen(config), key);
  syz_free(&config);
  syz_model_range(a->model, syz_part_of(m, false), &first, &count);
  key = syz_checksum(syz_model_weights(a->model) + first, (size_t)count * sizeof(float), key);
  key = syz_checksum(set->object, (size_t)set->n * sizeof *set->object, key);
  key = syz_checksum(&act, sizeof act, key);
  if (a->content) key = syz_checksum(&a->content, sizeof a->content, key);
  return syz_checksum(engine, strlen(engine), key);
}

/* One pass: n rows of the cache. Rank-local. */
static syz_status run_pass(align *a, align_set *set, syz_modality m, int64_t n, const int64_t *row)
{
  syz_status st = SYZ_OK;
  const float *input = NULL;
  SYZ_TRY(align_raw_read(a, set, m, n, row, &input));
  syz_tower_backbone(a->model, m, n, input, a->tower[m].tokens);
  SYZ_TRY(syz_token_cache_put(set->cache[m], n, row, a->tower[m].tokens));
cleanup:
  return st;
}

/* Passes until no rank has rows left. Collective over world: with towers apart the ranks compute different towers at
 * the same time. */
static syz_status run_passes(align *a, align_set *set, syz_modality here, int64_t all, const char *name)
{
  syz_status st = SYZ_OK;
  enum { LEFT, STATUS, STOP, FLAGS };
  const int64_t *row = NULL;
  const int64_t missing = a->tower[here].is_here ? syz_token_cache_missing(set->cache[here], &row) : 0;
  /* The buffer of a batch's tokens is reused for a pass; a rank without a share of the batch has room for one object.
   */
  const int64_t room = a->tower[here].count > 0 ? a->tower[here].count : 1,
                pass = room < CACHE_PASS ? room : CACHE_PASS;
  int64_t done = 0, all_done = 0;
  double last_s = syz_clock_s(), longest_s = 0; /* of a pass */
  syz_progress progress;
  char what[64];
  snprintf(what, sizeof what, "%s tokens (%s)",
           a->grid->towers == SYZ_TOWERS_APART ? "both towers'" : syz_modality_name(here), name);
  syz_progress_begin(&progress, what, "objects", 0, all);
  for (;;) {
    double flags[FLAGS] = {(double)(missing - done), (double)st, syz_stop_asked(a->world, a->config.folder)};
    const double now_s = syz_clock_s();
    if (now_s - last_s > longest_s) longest_s = now_s - last_s;
    last_s = now_s;
    if (a->config.time_limit_s > 0 && syz_clock_since_start_s() + 2 * longest_s >= a->config.time_limit_s)
      flags[STOP] = 1;
    syz_allreduce_f64(a->world, flags, FLAGS, SYZ_MAX);
    if (flags[STATUS] > 0) SYZ_TRY(syz_agree(a->world, st));
    if (flags[LEFT] <= 0) break;
    SYZ_REQUIRE(flags[STOP] <= 0, SYZ_STOPPED, "stopped while tokens were computed");
    const int64_t n = missing - done < pass ? missing - done : pass;
    if (n > 0) st = run_pass(a, set, here, n, row + done);
    done += n;
    all_done = missing ? (int64_t)((double)all * (double)done / (double)missing)
                       : all; /* shares are nearly equal, so this estimate is enough for the log */
    syz_progress_tell(&progress, all_done, NULL);
  }
  syz_progress_end(&progress, all);
cleanup:
  if (st == SYZ_STOPPED)
    syz_info("stopped (%s) while tokens were computed, about %" PRId64 " of %" PRId64 " done%s", syz_stop_reason(),
             all_done, all,
             a->config.cache == SYZ_CACHE_DISK ? " and kept; run the same command again to go on"
                                               : "; a cache in memory is not kept");
  return st;
}

static syz_status open_cache(align *a, align_set *set, syz_modality m, const char *name)
{
  syz_status st = SYZ_OK;
  char path[PATH_MAX];
  const uint64_t key = cache_key(a, set, m);
  SYZ_REQUIRE((size_t)snprintf(path, sizeof path, "%s/%s-%s.tokens", a->config.cache_folder, syz_modality_name(m),
                               name) < sizeof path,
              SYZ_ERR_WRITE, "%s: the name is too long", a->config.cache_folder);
  SYZ_TRY(syz_token_cache_open(a->grid->data, path, key, set->n, a->tower[m].row_bytes,
                               a->config.cache == SYZ_CACHE_MEMORY, &set->cache[m]));
cleanup:
  return st;
}

/* The caches of a set's objects; *all: rows that no rank has yet. Collective; agreed. */
static syz_status open_set(align *a, align_set *set, syz_modality m, const char *name, int64_t *all)
{
  syz_status st = SYZ_OK;
  const bool is_here = a->tower[m].is_here;
  const int64_t *row = NULL;
  SYZ_TRY_ALL(a->world, is_here ? open_cache(a, set, m, name) : SYZ_OK);
  *all = is_here ? syz_token_cache_missing(set->cache[m], &row) : 0;
  syz_allreduce_i64(a->world, all, 1, SYZ_SUM);
cleanup:
  return st;
}

/* One tower of each rank, for all objects; the backbone is planned only while it runs. Collective; agreed. */
static syz_status fill_tower(align *a, syz_modality m)
{
  syz_status st = SYZ_OK;
  const bool is_here = a->tower[m].is_here;
  align_set *const set[] = {&a->train, &a->test};
  static const char *const name[] = {"train", "test"};
  const int sets = a->blocks > 0 ? 2 : 1;
  bool is_planned = false;
  for (int i = 0; i < sets; i++) {
    int64_t all = 0;
    SYZ_TRY(open_set(a, set[i], m, name[i], &all));
    if (all > 0 && !is_planned)
      SYZ_TRY_ALL(a->world, is_here ? syz_tower_plan(a->model, m, CACHE_PASS, SYZ_MODE_EMBED) : SYZ_OK);
    is_planned = is_planned || all > 0;
    if (all > 0) SYZ_TRY(run_passes(a, set[i], m, all, name[i]));
    SYZ_TRY_ALL(a->world, is_here ? syz_token_cache_seal(set[i]->cache[m]) : SYZ_OK);
  }
  SYZ_TRY_ALL(a->world, is_here ? syz_tower_plan(a->model, m, a->tower[m].chunk, SYZ_MODE_HEAD) : SYZ_OK);
cleanup:
  return st;
}

/* A folder inside the run folder must not be a link; one that the user names may be. */
static syz_status make_cache_folder(const align *a)
{
  const char *run = a->config.folder, *cache = a->config.cache_folder;
  const size_t n = strlen(run);
  return strncmp(cache, run, n) == 0 && cache[n] == '/' ? syz_make_own_folder(run, cache + n + 1)
                                                        : syz_make_folder(cache);
}

syz_status align_tokens_fill(align *a)
{
  syz_status st = SYZ_OK;
  syz_timing_begin(a->timing, "tokens of frozen towers");
  if (a->config.cache == SYZ_CACHE_DISK)
    SYZ_TRY_ALL(a->world, syz_comm_rank(a->world) == 0 ? make_cache_folder(a) : SYZ_OK);
  if (a->config.cache == SYZ_CACHE_DISK) { /* both sets are of the same files */
    SYZ_TRY(syz_shardset_content(a->train.shards, &a->content));
    if (a->content == syz_shardset_digest(a->train.shards)) a->content = 0;
  }
  if (a->grid->towers == SYZ_TOWERS_APART)
    SYZ_TRY(fill_tower(a, a->tower[SYZ_IMAGE].is_here ? SYZ_IMAGE
                                                      : SYZ_SPECTRUM)); /* both kinds of ranks at the same time */
  else
    for (int m = 0; m < SYZ_MODALITIES; m++) SYZ_TRY(fill_tower(a, (syz_modality)m));
  a->has_tokens = true;
cleanup:
  syz_timing_end(a->timing);
  return st;
}
