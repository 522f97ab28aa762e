/* SPDX-License-Identifier: BSD-3-Clause */
/** Expands the files and folders that the user names to one list, the same on all ranks. */
#include "paths.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "syzygy/files.h"

enum { DEPTH = 16, FILES_MAX = 10000000 };

static syz_status add(path_list *list, const char *path)
{
  syz_status st = SYZ_OK;
  char *copy = NULL;
  SYZ_REQUIRE(list->n < FILES_MAX, SYZ_ERR_DATA, "%s: more than %d files", path, FILES_MAX);
  SYZ_TRY(syz_grow(&list->path, "paths", list->n, 1, &list->room));
  SYZ_ALLOC(copy, "path", strlen(path) + 1);
  strcpy(copy, path);
  list->path[list->n++] = copy;
cleanup:
  return st;
}

void syz_paths_free(path_list *list)
{
  for (int i = 0; i < list->n; i++) syz_free(&list->path[i]);
  syz_free(&list->path);
  *list = (path_list){0};
}

static bool ends_with(const char *text, const char *end)
{
  size_t n = strlen(text), m = strlen(end);
  return n > m && strcmp(text + n - m, end) == 0;
}

static bool is_fits(const char *path)
{
  static const char *const end[] = {".fits", ".fit", ".fts", ".fits.gz", ".fits.fz", ".fits.bz2", ".fits.xz"};
  for (size_t i = 0; i < sizeof end / sizeof *end; i++)
    if (ends_with(path, end[i])) return true;
  return false;
}

static int is_listed(const struct dirent *e) { return e->d_name[0] != '.'; }
static int by_name(const struct dirent **a, const struct dirent **b) { return strcmp((*a)->d_name, (*b)->d_name); }

/* In order of names, so that of two paths to a folder every rank uses the same one. */
static syz_status add_folder(path_list *list, const char *folder, int depth, syz_met *met, int *fits)
{
  syz_status st = SYZ_OK;
  char path[PATH_MAX];
  struct stat s;
  struct dirent **entry = NULL;
  bool is_new = false;
  int entries = 0;
  size_t n = strlen(folder);
  while (n > 1 && folder[n - 1] == '/') n--;
  SYZ_TRY(syz_met_add(met, folder, &is_new));
  if (!is_new) return SYZ_OK; /* this folder was visited already, by a link or as a parent */
  entries = scandir(folder, &entry, is_listed, by_name);
  SYZ_REQUIRE(entries >= 0, SYZ_ERR_DATA, "%s: cannot read the folder: %s", folder, strerror(errno));
  SYZ_REQUIRE(depth < DEPTH, SYZ_ERR_DATA, "%s: folders are nested more than %d deep", folder, DEPTH);
  for (int i = 0; i < entries; i++) {
    SYZ_REQUIRE(snprintf(path, sizeof path, "%.*s/%s", (int)n, folder, entry[i]->d_name) < (int)sizeof path,
                SYZ_ERR_DATA, "%s: name too long", folder);
    if (stat(path, &s) != 0) continue; /* a broken link */
    if (S_ISDIR(s.st_mode))
      SYZ_TRY(add_folder(list, path, depth + 1, met, fits));
    else if (S_ISREG(s.st_mode) && (ends_with(path, ".h5") || ends_with(path, ".hdf5")))
      SYZ_TRY(add(list, path));
    else
      *fits += S_ISREG(s.st_mode) && is_fits(path);
  }
cleanup:
  for (int i = 0; i < entries; i++) free(entry[i]);
  free(entry);
  return st;
}

static int by_text(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

typedef struct identity {
  dev_t device;
  ino_t number;
  int at;
} identity;

static int by_identity(const void *a, const void *b)
{
  const identity *x = a, *y = b;
  if (x->device != y->device) return x->device < y->device ? -1 : 1;
  if (x->number != y->number) return x->number < y->number ? -1 : 1;
  return x->at - y->at;
}

/* The same file twice would put the same object into training and test. */
static syz_status refuse_repeats(const path_list *list)
{
  syz_status st = SYZ_OK;
  identity *id = NULL;
  SYZ_ALLOC(id, "file identities", list->n);
  for (int i = 0; i < list->n; i++) {
    struct stat s;
    SYZ_REQUIRE(stat(list->path[i], &s) == 0, SYZ_ERR_DATA, "%s: %s", list->path[i], strerror(errno));
    id[i] = (identity){s.st_dev, s.st_ino, i};
  }
  qsort(id, (size_t)list->n, sizeof *id, by_identity);
  for (int i = 1; i < list->n; i++)
    SYZ_REQUIRE(id[i].device != id[i - 1].device || id[i].number != id[i - 1].number, SYZ_ERR_DATA,
                "%s and %s are the same file", list->path[id[i - 1].at], list->path[id[i].at]);
cleanup:
  syz_free(&id);
  return st;
}

syz_status syz_paths_collect(int n, const char *const *given, path_list *out)
{
  syz_status st = SYZ_OK;
  syz_met met = {NULL, 0, 0};
  *out = (path_list){0};
  SYZ_REQUIRE(n > 0, SYZ_ERR_INPUT, "no data set is named (data.path)");
  for (int i = 0; i < n; i++) {
    struct stat s;
    SYZ_REQUIRE(
        stat(given[i], &s) == 0, SYZ_ERR_DATA, "%s: %s%s", given[i], strerror(errno),
        n > 1 ? " (on the command line a comma separates names: put a name with a comma in quotation marks, [\"a,b\"])"
              : "");
    if (S_ISDIR(s.st_mode)) {
      int before = out->n, fits = 0;
      syz_met_free(&met); /* repeats are found by refuse_repeats */
      SYZ_TRY(add_folder(out, given[i], 0, &met, &fits));
      SYZ_REQUIRE(out->n > before, SYZ_ERR_DATA, "%s: no *.h5 or *.hdf5 file in this folder%s", given[i],
                  fits ? ", but FITS files: `syzygy ingest` makes shards of them (ingest.spectra, ingest.images, "
                         "ingest.catalogues)"
                       : "");
      qsort(out->path + before, (size_t)(out->n - before), sizeof *out->path, by_text);
    } else {
      SYZ_TRY(add(out, given[i]));
    }
  }
  SYZ_TRY(refuse_repeats(out));
cleanup:
  syz_met_free(&met);
  if (st != SYZ_OK) syz_paths_free(out);
  return st;
}

syz_status syz_paths_broadcast(syz_comm *c, path_list *list)
{
  syz_status st = SYZ_OK;
  int64_t size[2] = {list->n, 0}; /* number of paths, bytes of all of them */
  char *text = NULL;
  bool is_root = syz_comm_rank(c) == 0;
  for (int i = 0; is_root && i < list->n; i++) size[1] += (int64_t)strlen(list->path[i]) + 1;
  syz_bcast(c, size, sizeof size, 0);
  text = syz_alloc("paths", (size_t)size[1] + 1, 1);
  SYZ_TRY_ALL(c, text ? SYZ_OK : SYZ_ERR_MEMORY);
  char *at = text;
  for (int i = 0; is_root && i < list->n; i++) {
    strcpy(at, list->path[i]);
    at += strlen(at) + 1;
  }
  syz_bcast(c, text, (size_t)size[1], 0);
  at = text;
  for (int64_t i = 0; !is_root && st == SYZ_OK && i < size[0]; i++) {
    st = add(list, at);
    at += strlen(at) + 1;
  }
  SYZ_TRY_ALL(c, st);
cleanup:
  syz_free(&text);
  return st;
}
