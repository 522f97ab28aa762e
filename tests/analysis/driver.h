/* SPDX-License-Identifier: BSD-3-Clause */
/** What the drivers of room analysis share: arrays in files of one folder, the rows of each rank. */
#pragma once

#include <stdlib.h>

#include "check.h"
#include "syzygy/analysis.h"

static syz_comm *world;
static const char *folder;
static int64_t rows, first, count; /* of all ranks; of this one */

static FILE *file(const char *name, const char *mode)
{
  char path[4096];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  FILE *f = fopen(path, mode);
  if (!f) {
    perror(path);
    exit(1);
  }
  return f;
}

static void *load(const char *name, size_t n, size_t size)
{
  void *data = syz_alloc(name, n, size);
  FILE *f = file(name, "rb");
  if (fread(data, size, n, f) != n) exit(1);
  fclose(f);
  return data;
}

/* By this rank. */
static void save_here(const char *name, const char *mode, const void *data, size_t n, size_t size)
{
  FILE *f = file(name, mode);
  if (fwrite(data, size, n, f) != n) exit(1);
  fclose(f);
}

/* By rank 0. */
static void save(const char *name, const char *mode, const void *data, int64_t n, size_t size)
{
  if (syz_comm_rank(world) == 0) save_here(name, mode, data, (size_t)n, size);
}

/* With three ranks and more, rank 1 has no rows. */
static void share(void)
{
  const int rank = syz_comm_rank(world), size = syz_comm_size(world);
  syz_share(rows, size, rank, &first, &count);
  if (size < 3) return;
  int64_t from, n;
  syz_share(rows, size, 1, &from, &n);
  if (rank == 0) count += n;
  if (rank == 1) count = 0;
}
