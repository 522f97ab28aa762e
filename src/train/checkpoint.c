/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Checkpoints: all ranks write one file together, each its own share of every array, in a folder with a temporary name.
 * It is read back and compared by checksum, the manifest (manifest.c) is written, and then the folder gets its final
 * name. Two checkpoints are kept; one that cannot be used is never removed (recover.c).
 *
 * Frozen parts are not stored, because they do not change. Their digest is, so that a run whose model file was
 * exchanged in between does not continue with other towers.
 */
#include "checkpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "manifest.h"
#include "recover.h"
#include "syzygy/files.h"

static const int64_t row_shape[1] = {PART_ROW};

enum { FACTS_LIMIT = 65536, PROGRESS = 1 };

syz_status checkpoint_open(syz_comm *world, const syz_train_config *config, const syz_objective *objective,
                           checkpoint_store *out)
{
  syz_status st = SYZ_OK;
  *out = (checkpoint_store){.world = world, .config = config, .objective = objective, .last = -1, .before = -1};
  SYZ_REQUIRE((size_t)snprintf(out->folder, sizeof out->folder - 64, "%s/checkpoints", config->folder) <
                  sizeof out->folder - 64,
              SYZ_ERR_WRITE, "%s: the name is too long", config->folder);
  SYZ_TRY_ALL(world, syz_comm_rank(world) == 0 ? syz_make_own_folder(config->folder, "checkpoints") : SYZ_OK);
cleanup:
  return st;
}

/* ------------------------------------------------------------------- facts */

/* Digest of a part's weights, the same on every rank and for any number of them. Collective over world. */
static uint64_t weights_digest(syz_comm *world, const state *s, const part *p)
{
  uint64_t sum = 0;
  if (p->is_here) {
    sum = syz_checksum_rows(s->weights + p->first + p->share_first, p->share_count / PART_ROW, PART_ROW * sizeof(float),
                            p->share_first / PART_ROW);
    syz_allreduce_u64(s->parts->grid->data, &sum, 1, SYZ_SUM);
  }
  syz_allreduce_u64(world, &sum, 1, SYZ_MAX);
  return sum;
}

/* One line per fact: "!" (must agree) or "~" (a difference gives a warning), key, "=", value. Collective. */
static syz_status make_facts(checkpoint_store *store, const state *s, char *text)
{
  syz_status st = SYZ_OK;
  size_t n = 0;
  const syz_train_config *c = store->config;
  n += (size_t)snprintf(text, FACTS_LIMIT, "!objective=%s\n", store->objective->name);
  for (int i = 0; i < c->n_facts; i++) {
    const syz_fact *f = &c->fact[i];
    SYZ_REQUIRE(n + sizeof *f + 8 < FACTS_LIMIT && !strpbrk(f->value, "\n"), SYZ_ERR_INTERNAL,
                "%s: its name or value cannot be stored in a checkpoint", f->key);
    n += (size_t)snprintf(text + n, FACTS_LIMIT - n, "%c%s=%s\n", f->is_fixed ? '!' : '~', f->key, f->value);
  }
  for (int i = 0; i < store->objective->n_arrays; i++) {
    const syz_array *a = &store->objective->array[i];
    n += (size_t)snprintf(text + n, FACTS_LIMIT - n, "!array.%s=%" PRId64 "\n", a->name, a->count);
  }
  for (int i = 0; i < PARTS; i++) {
    const part *p = &s->parts->part[i];
    n += (size_t)snprintf(text + n, FACTS_LIMIT - n, "!layout.%s=%016" PRIx64 "\n", p->name, p->layout);
    if (p->is_trained) continue;
    const uint64_t digest = weights_digest(store->world, s, p);
    n += (size_t)snprintf(text + n, FACTS_LIMIT - n, "!frozen weights of %s=%016" PRIx64 "\n", p->name, digest);
  }
cleanup:
  return st;
}

/* The next line "?key=value" of *at; false at the end. */
static bool next_fact(char **at, char *mark, char **key, char **value)
{
  char *line = *at, *end = strchr(line, '\n');
  if (!end || line + 1 >= end) return false;
  *end = '\0';
  *at = end + 1;
  *mark = line[0];
  *key = line + 1;
  *value = strchr(line, '=');
  if (!*value) return false;
  *(*value)++ = '\0';
  return true;
}

/* Remove the line of this fact from a text if the other text has none. */
static void drop_lonely(char *text, const char *other, const char *line)
{
  char *at = strstr(text, line);
  if (!at || strstr(other, line)) return;
  const char *next = strchr(at, '\n');
  memmove(at, next ? next + 1 : at + strlen(at), strlen(next ? next + 1 : at + strlen(at)) + 1);
}

/* Compare the facts of the checkpoint with those of this run. Both texts are modified. */
static syz_status compare_facts(const char *path, char *stored, char *now)
{
  syz_status st = SYZ_OK;
  drop_lonely(now, stored, "!" SYZ_FACT_CONTENT "=");
  drop_lonely(stored, now, "!" SYZ_FACT_CONTENT "=");
  char mark, *key, *value, mark_now, *key_now, *value_now;
  while (next_fact(&stored, &mark, &key, &value)) {
    SYZ_REQUIRE(next_fact(&now, &mark_now, &key_now, &value_now) && strcmp(key, key_now) == 0, SYZ_ERR_INPUT,
                "%s was written by a version with other settings (\"%s\"); choose another output.dir to start anew",
                path, key);
    if (strcmp(value, value_now) == 0) continue;
    SYZ_REQUIRE(mark_now != '!', SYZ_ERR_INPUT,
                "%s: %s is %s now and was %s in %s; set it back, or choose another output.dir to start anew", key, key,
                value_now, value, path);
    syz_warn("%s is %s now and was %s when %s was written: the run continues with the new value", key, value_now, value,
             path);
  }
  SYZ_REQUIRE(!next_fact(&now, &mark_now, &key_now, &value_now), SYZ_ERR_INPUT,
              "%s was written by a version with other settings; choose another output.dir to start anew", path);
cleanup:
  return st;
}

/* ----------------------------------------------------------------- writing */

static syz_status declare_part(syz_h5 *file, const char *group, const part *p, const char *what)
{
  char name[96], description[160];
  snprintf(name, sizeof name, "%s/%s", group, p->name);
  snprintf(description, sizeof description, "%s of %s, in the order of the model's block, rows of %d with padding",
           what, p->name, PART_ROW);
  return syz_h5_dataset(file, name, SYZ_H5_F32, p->total / PART_ROW, 1, row_shape, "1", description);
}

static syz_status write_part(syz_h5 *file, const char *group, const part *p, const float *share)
{
  char name[96];
  snprintf(name, sizeof name, "%s/%s", group, p->name);
  return syz_h5_write_rows(file, name, p->is_here ? p->share_first / PART_ROW : 0,
                           p->is_here ? p->share_count / PART_ROW : 0, share);
}

/* Moments are held by slices and written by shares; the gradient block, free between steps, is the buffer. */
static syz_status write_moments(syz_h5 *file, const char *group, const state *s, const part *p, const float *own)
{
  const bool is_divided = syz_comm_size(s->parts->grid->data) > 1;
  if (p->is_here && is_divided) parts_to_share(s->parts, p, own, s->scratch, s->scratch + p->share_count, s->counts);
  return write_part(file, group, p, p->is_here && is_divided ? s->scratch : own);
}

/* Length of an array's rows: the longest that divides its count, because each row has a checksum. */
static int64_t array_row(const syz_array *a)
{
  int64_t row = 1;
  while (row < 1024 && a->count % (2 * row) == 0) row *= 2;
  return row;
}

/* This rank's share of an array that all of them have. */
static void array_share(syz_comm *world, const syz_array *a, int rank, int64_t *first, int64_t *count)
{
  syz_share(a->count / array_row(a), syz_comm_size(world), rank, first, count);
}

static syz_status declare_arrays(const syz_objective *o, syz_h5 *file)
{
  syz_status st = SYZ_OK;
  for (int i = 0; i < o->n_arrays; i++) {
    const syz_array *a = &o->array[i];
    const int64_t shape[1] = {array_row(a)};
    char name[96];
    snprintf(name, sizeof name, "array/%s", a->name);
    SYZ_TRY(syz_h5_dataset(file, name, SYZ_H5_F32, a->count / shape[0], shape[0] > 1, shape, "1",
                           "state of the objective besides the trained weights, cut into rows"));
  }
cleanup:
  return st;
}

static syz_status write_arrays(checkpoint_store *store, syz_h5 *file)
{
  syz_status st = SYZ_OK;
  const syz_objective *o = store->objective;
  for (int i = 0; i < o->n_arrays; i++) {
    const syz_array *a = &o->array[i];
    int64_t first, count;
    char name[96];
    snprintf(name, sizeof name, "array/%s", a->name);
    array_share(store->world, a, syz_comm_rank(store->world), &first, &count);
    SYZ_TRY(syz_h5_write_rows(file, name, first, count, a->x + first * array_row(a)));
  }
cleanup:
  return st;
}

static bool is_written(const part *p) { return p->is_trained && p->total > 0; }

/* All datasets are created before the first row, so that the whole file is allocated at once and opened through MPI-IO
 * only once (src/h5/mpio.c). */
static syz_status declare_state(const checkpoint_store *store, const state *s, syz_h5 *file)
{
  syz_status st = SYZ_OK;
  const int64_t three[1] = {3};
  SYZ_TRY(syz_h5_dataset(file, "step", SYZ_H5_I64, 1, 0, NULL, "1", "updates done"));
  SYZ_TRY(syz_h5_dataset(file, "progress", SYZ_H5_F64, PROGRESS, 0, NULL, "1", "best validation figure"));
  if (s->scalars->n)
    SYZ_TRY(syz_h5_dataset(file, "scalar", SYZ_H5_F64, s->scalars->n, 1, three, "1",
                           "value and moments of scalar parameters"));
  for (int i = 0; i < PARTS; i++) {
    const part *p = &s->parts->part[i];
    if (!is_written(p)) continue;
    SYZ_TRY(declare_part(file, "weight", p, "weights"));
    SYZ_TRY(declare_part(file, "moment1", p, "first moments of AdamW"));
    SYZ_TRY(declare_part(file, "moment2", p, "second moments of AdamW"));
  }
  SYZ_TRY(declare_arrays(store->objective, file));
cleanup:
  return st;
}

static syz_status write_state(checkpoint_store *store, const state *s, const char *path, const char *facts)
{
  syz_status st = SYZ_OK;
  syz_h5 *file = NULL;
  const bool is_first = syz_comm_rank(store->world) == 0;
  const double progress[PROGRESS] = {s->best};
  double scalar[SYZ_SCALARS_MAX * 3];
  SYZ_TRY(syz_h5_create(store->world, path, "checkpoint", store->config->created_by, store->config->input_yaml, &file));
  SYZ_TRY(syz_h5_write_text(file, "facts", facts));
  if (store->config->engine) SYZ_TRY(syz_h5_write_text(file, "engine", store->config->engine));
  SYZ_TRY(declare_state(store, s, file));
  SYZ_TRY(syz_h5_write_rows(file, "step", 0, is_first, &s->step));
  SYZ_TRY(syz_h5_write_rows(file, "progress", 0, is_first ? PROGRESS : 0, progress));
  for (int i = 0; i < s->scalars->n; i++) {
    scalar[3 * i] = s->scalars->value[i];
    scalar[3 * i + 1] = s->scalars->moment1[i];
    scalar[3 * i + 2] = s->scalars->moment2[i];
  }
  if (s->scalars->n) SYZ_TRY(syz_h5_write_rows(file, "scalar", 0, is_first ? s->scalars->n : 0, scalar));
  for (int i = 0; i < PARTS; i++) {
    const part *p = &s->parts->part[i];
    if (!is_written(p)) continue;
    SYZ_TRY(write_part(file, "weight", p, p->is_here ? s->weights + p->first + p->share_first : NULL));
    SYZ_TRY(write_moments(file, "moment1", s, p, p->moment1));
    SYZ_TRY(write_moments(file, "moment2", s, p, p->moment2));
  }
  SYZ_TRY(write_arrays(store, file));
  SYZ_TRY(syz_h5_publish(&file));
cleanup:
  syz_h5_close(&file);
  return st;
}

static syz_status sync_folder(const char *path)
{
  syz_status st = SYZ_OK;
  const int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  SYZ_REQUIRE(fd >= 0 && fsync(fd) == 0, SYZ_ERR_WRITE, "%s: %s", path, strerror(errno));
cleanup:
  if (fd >= 0) close(fd);
  return st;
}

/* Rank 0: complete the finished folder, give it its final name, and remove all checkpoints but the last two. */
static syz_status publish(checkpoint_store *store, const char *temporary, int64_t step, int64_t bytes, uint64_t sum)
{
  syz_status st = SYZ_OK;
  char path[PATH_MAX], aside[PATH_MAX];
  manifest_step *kept = NULL;
  int n = 0;
  syz_checkpoint_summary about = {.step = step, .bytes = bytes, .ranks = syz_comm_size(store->world)};
  snprintf(about.objective, sizeof about.objective, "%s", store->objective->name);
  snprintf(about.engine, sizeof about.engine, "%s", store->config->engine ? store->config->engine : "");
  SYZ_TRY(manifest_step_path(store->folder, step, path, sizeof path));
  SYZ_TRY(sync_folder(temporary));
  SYZ_REQUIRE(!syz_fault("checkpoint_manifest"), SYZ_ERR_WRITE, "%s: injected failure before the manifest", path);
  SYZ_TRY(manifest_write(temporary, manifest_state_name, bytes, sum, &about, store->config->created_by));
  if (access(path, F_OK) == 0) { /* unknown to this run; its content may still be needed */
    SYZ_TRY(manifest_set_aside(store->folder, step, aside, sizeof aside));
    syz_warn("%s had the name of this run's checkpoint and is set aside as %s", path, aside);
  }
  SYZ_REQUIRE(!syz_fault("checkpoint_rename"), SYZ_ERR_WRITE, "%s: injected failure before the rename", path);
  SYZ_REQUIRE(rename(temporary, path) == 0, SYZ_ERR_WRITE, "%s: cannot rename to %s: %s", temporary, path,
              strerror(errno));
  SYZ_TRY(sync_folder(store->folder));
  SYZ_REQUIRE(!syz_fault("checkpoint_prune"), SYZ_ERR_WRITE,
              "%s: injected failure before older checkpoints are removed", path);
  SYZ_TRY(manifest_list(store->folder, &kept, &n));
  for (int i = 0; i < n; i++)
    if (kept[i].has_manifest && kept[i].step != step && kept[i].step != store->last)
      SYZ_TRY(manifest_prune(store->folder, kept[i].step));
cleanup:
  syz_free(&kept);
  return st;
}

/* Verifies after writing that the memory written was not damaged. Collective. */
static syz_status check_unchanged(digests *d)
{
  syz_status st = SYZ_OK;
  digests_check_all(d);
  digests_compare(d);
  SYZ_REQUIRE(digests_found(d) == DIGEST_SOUND, SYZ_ERR_NUMERIC, "%s", digests_text(d));
cleanup:
  return st;
}

syz_status checkpoint_write(checkpoint_store *store, const state *s)
{
  syz_status st = SYZ_OK;
  char temporary[PATH_MAX], file[PATH_MAX], *facts = NULL;
  int64_t bytes = 0;
  uint64_t sum = 0;
  const bool is_first = syz_comm_rank(store->world) == 0;
  const double start = syz_clock_s();
  if (store->last == s->step) return SYZ_OK;
  facts = syz_alloc("checkpoint", FACTS_LIMIT, 1);
  SYZ_TRY_ALL(store->world, facts ? SYZ_OK : SYZ_ERR_MEMORY);
  SYZ_TRY(make_facts(store, s, facts));
  SYZ_TRY(manifest_temporary_path(store->folder, s->step, temporary, sizeof temporary));
  SYZ_REQUIRE((size_t)snprintf(file, sizeof file, "%s/%s", temporary, manifest_state_name) < sizeof file, SYZ_ERR_WRITE,
              "%s: the name is too long", temporary);
  if (is_first) {
    st = manifest_remove_folder(temporary);
    if (st == SYZ_OK) st = syz_make_folder(temporary);
  }
  SYZ_TRY_ALL(store->world, st);
  SYZ_TRY(write_state(store, s, file, facts));
  if (s->digests) {
    digests_plant_written(s->digests);
    SYZ_TRY_ALL(store->world, check_unchanged(s->digests));
  }
  if (syz_fault("checkpoint_written"))
    st = syz_error_set(SYZ_ERR_WRITE, __FILE__, __LINE__, "%s: injected failure after writing", file);
  SYZ_TRY_ALL(store->world, st);
  st = manifest_sum_file(store->world, file, &bytes, &sum);
  if (st == SYZ_ERR_CHECKPOINT) st = SYZ_ERR_WRITE; /* the new checkpoint cannot be read back */
  SYZ_TRY(st);
  SYZ_TRY_ALL(store->world, is_first ? publish(store, temporary, s->step, bytes, sum) : SYZ_OK);
  store->before = store->last;
  store->last = s->step;
  store->write_s = syz_clock_s() - start;
  syz_info("checkpoint at step %" PRId64 ": %.1f MiB in %.2f s", s->step, (double)bytes / 1048576.0, store->write_s);
cleanup:
  if (st != SYZ_OK && is_first && facts) {
    char kept[SYZ_ERROR_TEXT]; /* removing may fail too, but the first error is the one to report */
    syz_error_keep(kept);
    manifest_remove_folder(temporary);
    syz_error_restore(kept);
  }
  syz_free(&facts);
  return st;
}

/* ----------------------------------------------------------------- reading */

static syz_status check_rows(syz_h5 *file, const char *name, int64_t rows, int64_t width)
{
  syz_status st = SYZ_OK;
  int ndim = 0;
  int64_t shape[8];
  SYZ_TRY(syz_h5_shape(file, name, &ndim, shape));
  SYZ_REQUIRE(ndim == (width > 1 ? 2 : 1) && shape[0] == rows && (width == 1 || shape[1] == width), SYZ_ERR_DATA,
              "%s: %s has %d axes and %lld rows, not %lld rows of %lld", syz_h5_path(file), name, ndim,
              (long long)shape[0], (long long)rows, (long long)width);
cleanup:
  return st;
}

/* Reads this rank's share of a part, nothing if the part is on other ranks. Collective; agreed. */
static syz_status read_part(syz_comm *world, syz_h5 *file, const char *group, const part *p, float *share)
{
  syz_status st = SYZ_OK;
  char name[96];
  snprintf(name, sizeof name, "%s/%s", group, p->name);
  SYZ_TRY_ALL(world, check_rows(file, name, p->total / PART_ROW, PART_ROW));
  SYZ_TRY(syz_h5_read_all(file, name, SYZ_H5_F32, p->is_here ? p->share_first / PART_ROW : 0,
                          p->is_here ? p->share_count / PART_ROW : 0, share));
cleanup:
  return st;
}

/* This rank's shares of the objective's arrays, in their places. */
static syz_status read_arrays(checkpoint_store *store, syz_h5 *file)
{
  syz_status st = SYZ_OK;
  const syz_objective *o = store->objective;
  for (int i = 0; i < o->n_arrays; i++) {
    const syz_array *a = &o->array[i];
    const int64_t row = array_row(a);
    int64_t first, count;
    char name[96];
    snprintf(name, sizeof name, "array/%s", a->name);
    array_share(store->world, a, syz_comm_rank(store->world), &first, &count);
    SYZ_TRY_ALL(store->world, check_rows(file, name, a->count / row, row));
    SYZ_TRY(syz_h5_read_all(file, name, SYZ_H5_F32, first, count, a->x + first * row));
  }
cleanup:
  return st;
}

/* Sends all ranks' shares of the arrays to all ranks. Collective; agreed. */
static syz_status gather_arrays(checkpoint_store *store)
{
  syz_status st = SYZ_OK;
  const syz_objective *o = store->objective;
  const int size = syz_comm_size(store->world), rank = syz_comm_rank(store->world);
  size_t *bytes = NULL, *begin;
  float *mine = NULL;
  if (size == 1) return st;
  bytes = syz_alloc("shares", 2 * (size_t)size, sizeof *bytes);
  SYZ_TRY_ALL(store->world, bytes ? SYZ_OK : SYZ_ERR_MEMORY);
  begin = bytes + size;
  for (int i = 0; i < o->n_arrays; i++) {
    const syz_array *a = &o->array[i];
    const int64_t row = array_row(a);
    int64_t first, count;
    for (int r = size - 1; r >= 0; r--) {
      array_share(store->world, a, r, &first, &count);
      bytes[r] = (size_t)(count * row) * sizeof *a->x;
      begin[r] = (size_t)(first * row) * sizeof *a->x;
    }
    if (a->nodes) {
      syz_nodes_spread(a->nodes, a->x, begin, bytes);
      continue;
    }
    array_share(store->world, a, rank, &first, &count);
    /* The gather's source must not overlap its destination. */
    mine = syz_alloc("share of an array", (size_t)(count * row) + 1, sizeof *mine);
    SYZ_TRY_ALL(store->world, mine ? SYZ_OK : SYZ_ERR_MEMORY);
    memcpy(mine, a->x + first * row, bytes[rank]);
    syz_allgatherv(store->world, mine, a->x, bytes);
    syz_free(&mine);
  }
cleanup:
  syz_free(&mine);
  syz_free(&bytes);
  return st;
}

/* The few numbers that every rank reads. */
static syz_status read_numbers(syz_h5 *file, state *s)
{
  syz_status st = SYZ_OK;
  double progress[PROGRESS], scalar[SYZ_SCALARS_MAX * 3];
  SYZ_TRY(check_rows(file, "step", 1, 1));
  SYZ_TRY(syz_h5_read(file, "step", SYZ_H5_I64, 0, 1, &s->step));
  SYZ_TRY(check_rows(file, "progress", PROGRESS, 1));
  SYZ_TRY(syz_h5_read(file, "progress", SYZ_H5_F64, 0, PROGRESS, progress));
  s->best = progress[0];
  if (s->scalars->n) {
    SYZ_TRY(check_rows(file, "scalar", s->scalars->n, 3));
    SYZ_TRY(syz_h5_read(file, "scalar", SYZ_H5_F64, 0, s->scalars->n, scalar));
  }
  for (int i = 0; i < s->scalars->n; i++) {
    s->scalars->value[i] = scalar[3 * i];
    s->scalars->moment1[i] = scalar[3 * i + 1];
    s->scalars->moment2[i] = scalar[3 * i + 2];
  }
cleanup:
  return st;
}

/* Reads this rank's shares of all but the moments. If another checkpoint has to be used instead, everything is read
 * again. */
static syz_status read_shares(checkpoint_store *store, syz_h5 *file, state *s)
{
  syz_status st = SYZ_OK;
  for (int i = 0; i < PARTS; i++) {
    const part *p = &s->parts->part[i];
    if (is_written(p))
      SYZ_TRY(read_part(store->world, file, "weight", p, p->is_here ? s->weights + p->first + p->share_first : NULL));
  }
  SYZ_TRY(read_arrays(store, file));
cleanup:
  return st;
}

static bool is_trained_here(const part *p) { return p->is_here && p->is_trained; }

/* Moments are read by shares and held by slices. Collective; agreed. */
static syz_status read_moments(checkpoint_store *store, syz_h5 *file, const char *group, state *s, const part *p,
                               float *own)
{
  syz_status st = SYZ_OK;
  const bool is_divided = syz_comm_size(s->parts->grid->data) > 1;
  if (is_written(p)) SYZ_TRY(read_part(store->world, file, group, p, is_divided ? s->scratch : own));
  if (is_trained_here(p) && is_divided)
    parts_from_share(s->parts, p, s->scratch, own, s->scratch + p->share_count, s->counts);
cleanup:
  return st;
}

/* Sends all ranks' shares of a part's weights to all nodes. Collective over the data axis. */
static void spread_weights(const state *s, const part *p)
{
  const int size = syz_comm_size(s->parts->grid->data);
  size_t *first = s->counts, *bytes = s->counts + size;
  for (int r = 0; r < size; r++) {
    int64_t row, rows;
    syz_share(p->count / PART_ROW, size, r, &row, &rows);
    first[r] = (size_t)row * PART_ROW * sizeof(float);
    bytes[r] = (size_t)rows * PART_ROW * sizeof(float);
  }
  syz_nodes_spread(s->parts->nodes, s->weights + p->first, first, bytes);
}

static syz_status read_state(checkpoint_store *store, const char *folder, state *s)
{
  syz_status st = SYZ_OK;
  char path[PATH_MAX], *stored = NULL, *now = NULL;
  syz_h5 *file = NULL;
  SYZ_REQUIRE((size_t)snprintf(path, sizeof path, "%s/%s", folder, manifest_state_name) < sizeof path,
              SYZ_ERR_CHECKPOINT, "%s: the name is too long", folder);
  SYZ_TRY(syz_h5_open(store->world, path, &file));
  SYZ_TRY_ALL(store->world, syz_h5_read_text(file, "", "facts", &stored));
  if (!stored) st = syz_error_set(SYZ_ERR_DATA, __FILE__, __LINE__, "%s: the attribute `facts` is missing", path);
  SYZ_TRY_ALL(store->world, st);
  now = syz_alloc("checkpoint", FACTS_LIMIT, 1);
  SYZ_TRY_ALL(store->world, now ? SYZ_OK : SYZ_ERR_MEMORY);
  SYZ_TRY(make_facts(store, s, now));
  SYZ_TRY_ALL(store->world, compare_facts(folder, stored, now));
  SYZ_TRY_ALL(store->world, read_numbers(file, s));
  SYZ_TRY(read_shares(store, file, s));
  for (int i = 0; i < PARTS; i++)
    if (is_trained_here(&s->parts->part[i])) spread_weights(s, &s->parts->part[i]);
  for (int i = 0; i < PARTS; i++) {
    const part *p = &s->parts->part[i];
    SYZ_TRY(read_moments(store, file, "moment1", s, p, p->moment1));
    SYZ_TRY(read_moments(store, file, "moment2", s, p, p->moment2));
  }
  SYZ_TRY(gather_arrays(store));
cleanup:
  syz_h5_close(&file);
  syz_free(&stored);
  syz_free(&now);
  return st;
}

/* One checkpoint: checked, then read. Collective; agreed. */
static syz_status try_one(checkpoint_store *store, const recover_step *one, state *s)
{
  syz_status st = SYZ_OK;
  char path[PATH_MAX];
  syz_checkpoint_summary about = {0};
  SYZ_TRY(manifest_step_path(store->folder, one->step, path, sizeof path));
  SYZ_TRY(recover_check(store, one, path, &about));
  SYZ_TRY(read_state(store, path, s));
  SYZ_REQUIRE(s->step == one->step, SYZ_ERR_CHECKPOINT, "%s holds step %" PRId64, path, s->step);
  if (about.ranks > 0)
    syz_info("continuing from step %" PRId64 " (%s, written on %d rank%s)", s->step, path, about.ranks,
             about.ranks == 1 ? "" : "s");
  else
    syz_info("continuing from step %" PRId64 " (%s)", s->step, path);
cleanup:
  return st;
}

syz_status checkpoint_resume(checkpoint_store *store, state *s, bool *found)
{
  syz_status st = SYZ_OK;
  char first_reason[512] = "";
  recover_step *list = NULL;
  int n = 0, n_bad = 0;
  *found = false;
  SYZ_TRY(recover_list(store, &list, &n));
  for (int i = 0; i < n; i++) {
    if (*found && !list[i].has_manifest) list[i].is_bad = true; /* older, and perhaps damaged */
    if (*found && !list[i].is_bad && store->before < 0) store->before = list[i].step;
    if (*found) continue;
    st = try_one(store, &list[i], s);
    if (st == SYZ_OK) {
      *found = true;
      store->last = list[i].step;
    } else if (st == SYZ_ERR_CHECKPOINT || st == SYZ_ERR_DATA) {
      syz_warn("skipping a bad checkpoint: %s", syz_error_text());
      list[i].is_bad = true;
      if (!n_bad++) snprintf(first_reason, sizeof first_reason, "%.500s", syz_error_text());
      st = SYZ_OK;
    } else {
      SYZ_TRY(st);
    }
  }
  SYZ_REQUIRE(
      *found || !n_bad, SYZ_ERR_CHECKPOINT,
      "%s: none of %d checkpoints is usable; the newest: %s; nothing was removed. To continue from a state whose "
      "manifest is lost or damaged: --set train.recover=true (it is used if its own checksums hold); to start "
      "anew choose another output.dir",
      store->folder, n_bad, first_reason);
  SYZ_TRY(recover_tidy(store, list, n));
cleanup:
  syz_free(&list);
  return st;
}
