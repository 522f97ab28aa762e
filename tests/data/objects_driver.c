/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * For the Python tests: what syz_foreign_* or syz_shardset_* make of a file, as raw arrays in a folder.
 *
 *     objects_driver foreign FILE FOLDER
 *     objects_driver set FILE FOLDER
 *     objects_driver fixture FOLDER SEED N PER_SHARD
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fixture.h"
#include "../../src/data/foreign.h"

enum { IMAGE = 3 * 152 * 152, PLANE = 152 * 152, S = SYZ_SPECTRUM_PIXELS };

static syz_status save(const char *folder, const char *name, const void *data, size_t bytes)
{
  syz_status st = SYZ_OK;
  char path[4096];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  FILE *f = fopen(path, "wb");
  SYZ_REQUIRE(f && fwrite(data, 1, bytes, f) == bytes, SYZ_ERR_WRITE, "%s: cannot write", path);
cleanup:
  if (f) fclose(f);
  return st;
}

typedef struct arrays {
  syz_object *object;
  float *image, *flux, *ivar, *label;
  uint8_t *clean;
} arrays;

static syz_status make_arrays(arrays *a, int64_t n)
{
  syz_status st = SYZ_OK;
  SYZ_ALLOC(a->object, "objects", n + 1);
  SYZ_ALLOC(a->image, "images", n * IMAGE + 1);
  SYZ_ALLOC(a->flux, "flux", n * S + 1);
  SYZ_ALLOC(a->ivar, "ivar", n * S + 1);
  SYZ_ALLOC(a->label, "label", n + 1);
  SYZ_ALLOC(a->clean, "clean", n * PLANE + 1);
cleanup:
  return st;
}

static syz_status save_arrays(const char *folder, int64_t n, const arrays *a)
{
  syz_status st = SYZ_OK;
  SYZ_TRY(save(folder, "object", a->object, (size_t)n * sizeof *a->object));
  SYZ_TRY(save(folder, "image", a->image, (size_t)n * IMAGE * 4));
  SYZ_TRY(save(folder, "flux", a->flux, (size_t)n * S * 4));
  SYZ_TRY(save(folder, "ivar", a->ivar, (size_t)n * S * 4));
  SYZ_TRY(save(folder, "clean", a->clean, (size_t)n * PLANE));
cleanup:
  return st;
}

static syz_status dump_foreign(const char *path, const char *folder)
{
  syz_status st = SYZ_OK;
  syz_foreign *f = NULL;
  arrays a = {0};
  const char *const *name;
  char file[300];
  SYZ_TRY(syz_foreign_open(path, &f));
  int64_t n = syz_foreign_size(f), half = n / 2;
  printf("kind: %s\n", syz_foreign_kind(f));
  SYZ_TRY(make_arrays(&a, n));
  SYZ_TRY(syz_foreign_objects(f, 0, n, a.object));
  SYZ_TRY(syz_foreign_read(f, 0, half, a.image, a.flux, a.ivar)); /* in two unequal parts */
  SYZ_TRY(syz_foreign_read(f, half, n - half, a.image + half * IMAGE, a.flux + half * S, a.ivar + half * S));
  SYZ_TRY(syz_foreign_read_clean(f, 0, n, a.clean));
  SYZ_TRY(save_arrays(folder, n, &a));
  for (int i = 0, labels = syz_foreign_labels(f, &name); i < labels; i++) {
    printf("label: %s\n", name[i]);
    SYZ_TRY(syz_foreign_read_label(f, name[i], 0, n, a.label));
    snprintf(file, sizeof file, "label-%s", name[i]);
    SYZ_TRY(save(folder, file, a.label, (size_t)n * 4));
  }
cleanup:
  syz_foreign_close(&f);
  return st;
}

static syz_status dump_set(syz_comm *world, const char *path, const char *folder)
{
  syz_status st = SYZ_OK;
  syz_shardset *s = NULL;
  arrays a = {0};
  int64_t *index = NULL;
  const char *const *name;
  char file[300];
  SYZ_TRY(syz_shardset_open(world, 1, &path, SYZ_SPLIT_ALL, false, &s));
  int64_t n = syz_shardset_size(s);
  printf("digest: %016llx\n", (unsigned long long)syz_shardset_digest(s));
  SYZ_ALLOC(index, "index", n);
  SYZ_TRY(make_arrays(&a, n));
  for (int64_t i = 0; i < n; i++) index[i] = i;
  memcpy(a.object, syz_shardset_objects(s), (size_t)n * sizeof *a.object);
  SYZ_TRY(syz_shardset_read(s, n, index, a.image, a.flux, a.ivar));
  SYZ_TRY(syz_shardset_read_segment(s, n, index, a.clean));
  if (syz_comm_rank(world) == 0) SYZ_TRY(save_arrays(folder, n, &a));
  for (int i = 0, labels = syz_shardset_labels(s, &name); i < labels; i++) {
    SYZ_TRY(syz_shardset_read_label(s, name[i], a.label));
    snprintf(file, sizeof file, "label-%s", name[i]);
    if (syz_comm_rank(world) == 0) SYZ_TRY(save(folder, file, a.label, (size_t)n * 4));
  }
cleanup:
  syz_shardset_close(&s);
  return st;
}

int main(int argc, char **argv)
{
  syz_comm *world = NULL;
  syz_status st = SYZ_ERR_INPUT;
  bool is_set = argc == 4 && !strcmp(argv[1], "set"); /* starting MPI takes half a second */
  if (is_set && syz_comm_start(&argc, &argv, &world) != SYZ_OK) return 1;
  if (argc == 4 && !strcmp(argv[1], "foreign"))
    st = dump_foreign(argv[2], argv[3]);
  else if (is_set)
    st = dump_set(world, argv[2], argv[3]);
  else if (argc == 6 && !strcmp(argv[1], "fixture"))
    st = syz_fixture_shards(argv[2], strtoull(argv[3], NULL, 10), strtoll(argv[4], NULL, 10),
                            strtoll(argv[5], NULL, 10));
  if (st != SYZ_OK) fprintf(stderr, "%s\n", syz_error_text());
  if (is_set) syz_comm_finish(&world);
  return (int)st;
}
