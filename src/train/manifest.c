/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Checkpoint folders on disk.
 *
 * A checkpoint is made in a temporary folder: first its file, then, once that is on disk, manifest.json; then the
 * folder is renamed. So a run that dies at any moment leaves complete checkpoints and perhaps a temporary folder, which
 * the next run removes. A checkpoint to be removed also gets a temporary name first. So a folder step-N with a state
 * and without a manifest has lost its manifest, and is never removed. The last line of a manifest is its own checksum,
 * so after the check only text written by this program is parsed.
 */
#include "manifest.h"
#include "syzygy/files.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MANIFEST_LIMIT = 1 << 16 };

const char manifest_state_name[] = "state.h5";
static const char manifest_name[] = "manifest.json", temporary_prefix[] = "tmp-step-";

static const char seal_key[] = "  \"manifest_xxh3\": \"";

syz_status manifest_step_path(const char *folder, int64_t step, char *path, size_t room)
{
  syz_status st = SYZ_OK;
  const int n = snprintf(path, room, "%s/step-%08" PRId64, folder, step);
  SYZ_REQUIRE(n > 0 && (size_t)n < room, SYZ_ERR_WRITE, "%s: the name is too long", folder);
cleanup:
  return st;
}

/* Checksum of a file of a checkpoint; if it cannot be read, the checkpoint is unusable. */
static syz_status sum_share(syz_comm *world, const char *path, int64_t *bytes, uint64_t *sum)
{
  const syz_status st = syz_file_sum(path, syz_comm_rank(world), syz_comm_size(world), bytes, sum);
  return st == SYZ_ERR_DATA ? SYZ_ERR_CHECKPOINT : st;
}

syz_status manifest_sum_file(syz_comm *world, const char *path, int64_t *bytes, uint64_t *sum)
{
  syz_status st = SYZ_OK;
  *bytes = 0;
  *sum = 0;
  SYZ_TRY_ALL(world, sum_share(world, path, bytes, sum));
  syz_allreduce_u64(world, sum, 1, SYZ_SUM);
cleanup:
  return st;
}

/* created_by holds no character that JSON would have to escape: "syzygy 0.1.0 (commit)"; such characters become blanks.
 */
static void plain_copy(char *to, size_t room, const char *from)
{
  size_t n = 0;
  for (; from && from[n] && n + 1 < room; n++)
    to[n] = from[n] < ' ' || from[n] == '"' || from[n] == '\\' ? ' ' : from[n];
  to[n] = '\0';
}

syz_status manifest_write(const char *folder, const char *file, int64_t bytes, uint64_t sum,
                          const syz_checkpoint_summary *about, const char *created_by)
{
  syz_status st = SYZ_OK;
  char path[PATH_MAX], text[2048], maker[256], engine[sizeof about->engine], utc[32];
  syz_clock_utc(utc);
  plain_copy(maker, sizeof maker, created_by);
  plain_copy(engine, sizeof engine, about->engine);
  int n = snprintf(text, sizeof text,
                   "{\n  \"syzygy_format\": \"checkpoint\",\n  \"format_version\": 1,\n  \"created_by\": \"%s\",\n  "
                   "\"written\": \"%s\",\n"
                   "  \"objective\": \"%s\",\n  \"step\": %" PRId64 ",\n  \"ranks\": %d,\n  \"engine\": \"%s\",\n"
                   "  \"files\": [{\"name\": \"%s\", \"bytes\": %" PRId64 ", \"xxh3_blocks\": \"%016" PRIx64 "\"}],\n",
                   maker, utc, about->objective, about->step, about->ranks, engine, file, bytes, sum);
  SYZ_REQUIRE(n > 0 && (size_t)n + 64 < sizeof text, SYZ_ERR_INTERNAL, "manifest of %s is too long", folder);
  const uint64_t seal = syz_checksum(text, (size_t)n, 0);
  n += snprintf(text + n, sizeof text - (size_t)n, "%s%016" PRIx64 "\"\n}\n", seal_key, seal);
  SYZ_REQUIRE((size_t)snprintf(path, sizeof path, "%s/manifest.json", folder) < sizeof path, SYZ_ERR_WRITE,
              "%s: the name is too long", folder);
  SYZ_TRY(syz_file_write(path, text, (size_t)n));
cleanup:
  return st;
}

/* The text after `key` in a manifest whose checksum holds. */
static const char *value_of(const char *text, const char *key)
{
  const char *at = strstr(text, key);
  return at ? at + strlen(key) : "";
}

static void copy_name(char *to, size_t room, const char *from)
{
  size_t n = 0;
  for (; from[n] && from[n] != '"' && n + 1 < room; n++) to[n] = from[n];
  to[n] = '\0';
}

typedef struct manifest {
  syz_checkpoint_summary about;
  char file[64];
  int64_t bytes;
  uint64_t sum;
} manifest;

static syz_status manifest_read(const char *folder, manifest *out)
{
  syz_status st = SYZ_OK;
  char path[PATH_MAX], *text = NULL;
  size_t n = 0;
  SYZ_REQUIRE((size_t)snprintf(path, sizeof path, "%s/manifest.json", folder) < sizeof path, SYZ_ERR_CHECKPOINT,
              "%s: the name is too long", folder);
  if (syz_file_read(path, MANIFEST_LIMIT, &text, &n) != SYZ_OK) {
    st = syz_error_pass(SYZ_ERR_CHECKPOINT, __FILE__, __LINE__);
    goto cleanup;
  }
  const char *seal = strstr(text, seal_key);
  SYZ_REQUIRE(strlen(text) == n && seal, SYZ_ERR_CHECKPOINT, "%s: not a whole manifest", path);
  const uint64_t stored = strtoull(seal + sizeof seal_key - 1, NULL, 16),
                 found = syz_checksum(text, (size_t)(seal - text), 0);
  SYZ_REQUIRE(stored == found, SYZ_ERR_CHECKPOINT, "%s: its checksum is %016" PRIx64 ", not %016" PRIx64, path, found,
              stored);
  SYZ_REQUIRE(strstr(text, "\"syzygy_format\": \"checkpoint\"") &&
                  strtol(value_of(text, "\"format_version\": "), NULL, 10) == 1,
              SYZ_ERR_CHECKPOINT, "%s: not a checkpoint of format version 1", path);
  out->about.step = strtoll(value_of(text, "\"step\": "), NULL, 10);
  out->about.ranks = (int)strtol(value_of(text, "\"ranks\": "), NULL, 10);
  copy_name(out->about.objective, sizeof out->about.objective, value_of(text, "\"objective\": \""));
  copy_name(out->about.engine, sizeof out->about.engine, value_of(text, "\"engine\": \""));
  copy_name(out->file, sizeof out->file, value_of(text, "\"name\": \""));
  out->bytes = out->about.bytes = strtoll(value_of(text, "\"bytes\": "), NULL, 10);
  out->sum = strtoull(value_of(text, "\"xxh3_blocks\": \""), NULL, 16);
  SYZ_REQUIRE(out->file[0] && !strchr(out->file, '/'), SYZ_ERR_CHECKPOINT, "%s: names no file", path);
cleanup:
  syz_free(&text);
  return st;
}

syz_status syz_checkpoint_check(syz_comm *world, const char *folder, syz_checkpoint_summary *out)
{
  syz_status st = SYZ_OK;
  manifest m = {0};
  char path[PATH_MAX];
  int64_t bytes = 0;
  uint64_t sum = 0;
  SYZ_TRY_ALL(world, syz_comm_rank(world) == 0 ? manifest_read(folder, &m) : SYZ_OK);
  syz_bcast(world, &m, sizeof m, 0);
  if ((size_t)snprintf(path, sizeof path, "%s/%s", folder, m.file) >= sizeof path)
    st = syz_error_set(SYZ_ERR_CHECKPOINT, __FILE__, __LINE__, "%s: the name is too long", folder);
  SYZ_TRY_ALL(world, st);
  SYZ_TRY(manifest_sum_file(world, path, &bytes, &sum));
  SYZ_REQUIRE(bytes == m.bytes, SYZ_ERR_CHECKPOINT, "%s: %" PRId64 " bytes, but its manifest has %" PRId64, path, bytes,
              m.bytes);
  SYZ_REQUIRE(sum == m.sum, SYZ_ERR_CHECKPOINT, "%s: its checksum is %016" PRIx64 ", but its manifest has %016" PRIx64,
              path, sum, m.sum);
  *out = m.about;
cleanup:
  return st;
}

syz_status manifest_remove_folder(const char *path) { return syz_remove_folder(path, "manifest.json"); }

/* The step in "step-00001000"; -1 for any other name. */
static int64_t step_of(const char *name)
{
  if (strncmp(name, "step-", 5) != 0) return -1;
  char *end;
  errno = 0;
  const long long step = strtoll(name + 5, &end, 10);
  return errno || *end || end - name < 13 || step < 0 ? -1 : step;
}

static int newest_first(const void *a, const void *b)
{
  const int64_t x = ((const manifest_step *)a)->step, y = ((const manifest_step *)b)->step;
  return (x < y) - (x > y);
}

static bool is_there(const char *folder, const char *name, const char *file)
{
  char path[PATH_MAX];
  struct stat about;
  return (size_t)snprintf(path, sizeof path, "%s/%s/%s", folder, name, file) < sizeof path && stat(path, &about) == 0;
}

/* Unfinished checkpoints: temporary folders, and folders of older versions with nothing to continue from. */
static bool is_unfinished(const char *folder, const char *name)
{
  if (strncmp(name, temporary_prefix, sizeof temporary_prefix - 1) == 0) return true;
  return step_of(name) >= 0 && !is_there(folder, name, manifest_name) && !is_there(folder, name, manifest_state_name);
}

syz_status manifest_list(const char *folder, manifest_step **list, int *n)
{
  syz_status st = SYZ_OK;
  char path[PATH_MAX];
  int room = 0;
  DIR *d = opendir(folder);
  *list = NULL;
  *n = 0;
  if (!d && errno == ENOENT) goto cleanup;
  SYZ_REQUIRE(d, SYZ_ERR_WRITE, "%s: %s", folder, strerror(errno));
  while (readdir(d)) room++;
  rewinddir(d);
  SYZ_ALLOC(*list, "checkpoint list", room + 1);
  for (const struct dirent *e = readdir(d); e && *n < room; e = readdir(d)) {
    const int64_t step = step_of(e->d_name);
    if (step < 0) continue;
    SYZ_REQUIRE((size_t)snprintf(path, sizeof path, "%s/%s", folder, e->d_name) < sizeof path, SYZ_ERR_WRITE,
                "%s: a name is too long", folder);
    SYZ_TRY(syz_refuse_link(path)); /* refused now rather than when it is removed */
    if (!is_unfinished(folder, e->d_name))
      (*list)[(*n)++] = (manifest_step){step, is_there(folder, e->d_name, manifest_name)};
  }
  qsort(*list, (size_t)*n, sizeof **list, newest_first);
cleanup:
  if (d) closedir(d);
  if (st != SYZ_OK) syz_free(list);
  return st;
}

syz_status manifest_clear(const char *folder, int *n_removed)
{
  syz_status st = SYZ_OK;
  char path[PATH_MAX];
  DIR *d = opendir(folder);
  *n_removed = 0;
  SYZ_REQUIRE(d, SYZ_ERR_WRITE, "%s: %s", folder, strerror(errno));
  for (const struct dirent *e = readdir(d); e; e = readdir(d)) {
    if (!is_unfinished(folder, e->d_name)) continue;
    SYZ_REQUIRE((size_t)snprintf(path, sizeof path, "%s/%s", folder, e->d_name) < sizeof path, SYZ_ERR_WRITE,
                "%s: a name is too long", folder);
    SYZ_TRY(manifest_remove_folder(path));
    (*n_removed)++;
  }
cleanup:
  if (d) closedir(d);
  return st;
}

syz_status manifest_temporary_path(const char *folder, int64_t step, char *path, size_t room)
{
  syz_status st = SYZ_OK;
  const int n = snprintf(path, room, "%s/%s%08" PRId64, folder, temporary_prefix, step);
  SYZ_REQUIRE(n > 0 && (size_t)n < room, SYZ_ERR_WRITE, "%s: the name is too long", folder);
cleanup:
  return st;
}

syz_status manifest_prune(const char *folder, int64_t step)
{
  syz_status st = SYZ_OK;
  char path[PATH_MAX], temporary[PATH_MAX];
  SYZ_TRY(manifest_step_path(folder, step, path, sizeof path));
  SYZ_TRY(manifest_temporary_path(folder, step, temporary, sizeof temporary));
  SYZ_TRY(syz_refuse_link(path));
  SYZ_TRY(manifest_remove_folder(temporary));
  SYZ_REQUIRE(rename(path, temporary) == 0, SYZ_ERR_WRITE, "%s: cannot rename to %s: %s", path, temporary,
              strerror(errno));
  SYZ_TRY(manifest_remove_folder(temporary));
cleanup:
  return st;
}

syz_status manifest_set_aside(const char *folder, int64_t step, char *aside, size_t room)
{
  enum { TRIES = 1000 };
  syz_status st = SYZ_OK;
  char path[PATH_MAX];
  struct stat about;
  SYZ_TRY(manifest_step_path(folder, step, path, sizeof path));
  for (int i = 0; i < TRIES; i++) {
    const int n = i ? snprintf(aside, room, "%s/aside-step-%08" PRId64 "-%d", folder, step, i)
                    : snprintf(aside, room, "%s/aside-step-%08" PRId64, folder, step);
    SYZ_REQUIRE(n > 0 && (size_t)n < room, SYZ_ERR_WRITE, "%s: the name is too long", folder);
    if (lstat(aside, &about) == 0) continue;
    SYZ_REQUIRE(rename(path, aside) == 0, SYZ_ERR_WRITE, "%s: cannot rename to %s: %s", path, aside, strerror(errno));
    goto cleanup;
  }
  SYZ_REQUIRE(false, SYZ_ERR_WRITE, "%s: %d copies of step %" PRId64 " are set aside; remove some", folder, (int)TRIES,
              step);
cleanup:
  return st;
}

/** The summary of the newest manifest that can be read. Rank 0. */
static syz_status engine_of_newest(const char *run_folder, char engine[96])
{
  syz_status st = SYZ_OK;
  char folder[PATH_MAX], path[PATH_MAX];
  manifest_step *list = NULL;
  int n = 0;
  manifest m = {0};
  SYZ_REQUIRE((size_t)snprintf(folder, sizeof folder, "%s/checkpoints", run_folder) < sizeof folder, SYZ_ERR_WRITE,
              "%s: the name is too long", run_folder);
  SYZ_TRY(manifest_list(folder, &list, &n));
  for (int i = 0; i < n; i++) {
    SYZ_TRY(manifest_step_path(folder, list[i].step, path, sizeof path));
    if (manifest_read(path, &m) != SYZ_OK) continue; /* a bad one is reported when the run would continue from it */
    snprintf(engine, sizeof m.about.engine, "%s", m.about.engine);
    break;
  }
cleanup:
  syz_free(&list);
  return st;
}

syz_status syz_checkpoint_engine(syz_comm *world, const char *run_folder, char engine[96])
{
  syz_status st = SYZ_OK;
  memset(engine, 0, sizeof((syz_checkpoint_summary *)0)->engine);
  SYZ_TRY_ALL(world, syz_comm_rank(world) == 0 ? engine_of_newest(run_folder, engine) : SYZ_OK);
  syz_bcast(world, engine, sizeof((syz_checkpoint_summary *)0)->engine, 0);
cleanup:
  return st;
}
