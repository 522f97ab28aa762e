/* SPDX-License-Identifier: BSD-3-Clause */
/** A folder of the test's own, the same on all ranks, removed at the end. */
#pragma once

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "syzygy/comm.h"

enum { SCRATCH = 512 };

static inline void scratch_make(syz_comm *c, char folder[SCRATCH])
{
  memset(folder, 0, SCRATCH);
  if (syz_comm_rank(c) == 0) {
    const char *base = getenv("TMPDIR");
    snprintf(folder, SCRATCH, "%s/syzygy-test-XXXXXX", base ? base : "/tmp");
    if (!mkdtemp(folder)) folder[0] = '\0';
  }
  syz_bcast(c, folder, SCRATCH, 0);
}

static inline void scratch_empty(const char *folder)
{
  char path[SCRATCH + 300];
  struct stat s;
  DIR *d = opendir(folder);
  for (struct dirent *e; d && (e = readdir(d));) {
    if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) continue;
    if (snprintf(path, sizeof path, "%s/%s", folder, e->d_name) >= (int)sizeof path) continue;
    if (lstat(path, &s) == 0 && S_ISDIR(s.st_mode)) scratch_empty(path);
    remove(path);
  }
  if (d) closedir(d);
}

static inline void scratch_remove(syz_comm *c, const char *folder)
{
  syz_barrier(c);
  if (syz_comm_rank(c) == 0) {
    scratch_empty(folder);
    rmdir(folder);
  }
}

/** Names in a folder that end with `end`. */
static inline int scratch_count(const char *folder, const char *end)
{
  int n = 0;
  DIR *d = opendir(folder);
  for (struct dirent *e; d && (e = readdir(d));) {
    size_t a = strlen(e->d_name), b = strlen(end);
    n += a >= b && strcmp(e->d_name + a - b, end) == 0 && e->d_name[0] != '.';
  }
  if (d) closedir(d);
  return n;
}

/** Whole file, malloc'ed. */
static inline unsigned char *scratch_read(const char *path, size_t *n)
{
  FILE *f = fopen(path, "rb");
  unsigned char *bytes = NULL;
  *n = 0;
  if (!f) return NULL;
  fseek(f, 0, SEEK_END);
  long size = ftell(f);
  rewind(f);
  bytes = malloc((size_t)size + 1);
  if (bytes) *n = fread(bytes, 1, (size_t)size, f);
  fclose(f);
  return bytes;
}

static inline void scratch_write(const char *path, const void *bytes, size_t n)
{
  FILE *f = fopen(path, "wb");
  if (f) {
    fwrite(bytes, 1, n, f);
    fclose(f);
  }
}

/** main of a test on several ranks with a scratch folder: `run` between start and end; no memory may be left; all ranks
 * end with 1 when one failed. */
static inline int scratch_main(int argc, char **argv, syz_comm **world, char *folder, void (*run)(void))
{
  if (syz_comm_start(&argc, &argv, world) != SYZ_OK) return 1;
  const int64_t blocks = syz_memory_get().live_blocks;
  scratch_make(*world, folder);
  run();
  scratch_remove(*world, folder);
  CHECK_EQ(syz_memory_get().live_blocks, blocks);
  int64_t failures = check_failures;
  syz_allreduce_i64(*world, &failures, 1, SYZ_SUM);
  const int result = CHECK_RESULT();
  syz_comm_finish(world);
  return failures ? 1 : result;
}
