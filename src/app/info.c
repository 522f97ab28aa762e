/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * `info`: what a file is, where it came from, what is in it, and whether it is intact. Takes any number of files and
 * folders; all are examined, also after a bad one, and the exit code is that of the first bad one.
 * Here it is decided which kind a file is; what is printed of it: info_own.c, info_foreign.c.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "info.h"
#include "syzygy/data.h"
#include "syzygy/files.h"
#include "syzygy/train.h"

enum { PATH = 4096 };

const syz_key syz_info_keys[] = {
    {"info.verify", SYZ_KEY_BOOL, "true", "", 0, 0, NULL, SYZ_USED_BY(info),
     "Verify the checksums of all data (reads every byte)."},
    {"info.input", SYZ_KEY_BOOL, "false", "", 0, 0, NULL, SYZ_USED_BY(info),
     "Print the resolved input that the file was made from."},
    {NULL, SYZ_KEY_INT, NULL, NULL, 0, 0, NULL, 0, NULL},
};

typedef struct context {
  info_wishes wishes;
  syz_comm *world;
  bool is_first;
  int64_t good, bad;
  syz_status worst; /* status of the first bad file */
  char text[SYZ_ERROR_TEXT];
} context;

typedef enum sort { SORT_UNKNOWN, SORT_OWN, SORT_FOREIGN, SORT_FITS, SORT_CACHE, SORT_CHECKPOINT, SORT_FOLDER } sort;

static bool ends_with(const char *text, const char *end)
{
  size_t n = strlen(text), m = strlen(end);
  return n > m && strcasecmp(text + n - m, end) == 0;
}

/* On rank 0: what kind of file this is; for one of ours, `format` gets its format. */
static syz_status recognise(const char *path, sort *what, char format[64])
{
  static const unsigned char hdf5[] = {0x89, 'H', 'D', 'F', '\r', '\n', 0x1a, '\n'};
  syz_status st = SYZ_OK;
  unsigned char head[512] = {0};
  char inside[PATH], *text = NULL;
  struct stat s;
  int fd = -1;
  int64_t bytes = 0;
  syz_h5 *h5 = NULL;
  bool is_cache = false;
  int64_t rows, there, row_bytes;
  *what = SORT_UNKNOWN;
  SYZ_REQUIRE(stat(path, &s) == 0, SYZ_ERR_DATA, "%s: no such file or folder", path);
  if (S_ISDIR(s.st_mode)) {
    snprintf(inside, sizeof inside, "%s/manifest.json", path);
    const char *base = strrchr(path, '/');
    bool is_step = strncmp(base ? base + 1 : path, "step-", 5) == 0;
    *what = is_step || stat(inside, &s) == 0 ? SORT_CHECKPOINT : SORT_FOLDER;
    goto cleanup;
  }
  SYZ_TRY(syz_file_open_input(path, &fd, &bytes));
  ssize_t n = read(fd, head, sizeof head);
  SYZ_REQUIRE(n > 0, SYZ_ERR_DATA, "%s: an empty file", path);
  SYZ_TRY(syz_token_cache_describe(path, &is_cache, &rows, &there, &row_bytes));
  if (is_cache) {
    *what = SORT_CACHE;
  } else if (n >= (ssize_t)sizeof hdf5 && memcmp(head, hdf5, sizeof hdf5) == 0) {
    SYZ_TRY(syz_h5_open(NULL, path, &h5));
    SYZ_TRY(syz_h5_read_text(h5, "", "syzygy_format", &text));
    *what = text ? SORT_OWN : SORT_FOREIGN;
    if (text) snprintf(format, 64, "%s", text);
    if (!text && syz_h5_has(h5, "object_id") && (syz_h5_has(h5, "image") || syz_h5_has(h5, "spectrum"))) {
      *what = SORT_OWN; /* a shard written by another program */
      snprintf(format, 64, "shard (without its format attribute)");
    }
  } else if (memcmp(head, "SIMPLE  =", 9) == 0 || ends_with(path, ".fits.gz") || ends_with(path, ".fits.bz2") ||
             ends_with(path, ".fits") || ends_with(path, ".fz")) {
    *what = SORT_FITS;
  }
  SYZ_REQUIRE(*what != SORT_UNKNOWN, SYZ_ERR_DATA, "%s: neither HDF5 nor FITS", path);
cleanup:
  if (fd >= 0) close(fd);
  syz_free(&text);
  syz_h5_close(&h5);
  return st;
}

static syz_status cache_file(const char *path)
{
  syz_status st = SYZ_OK;
  bool is_cache;
  int64_t rows = 0, there = 0, row_bytes = 0;
  SYZ_TRY(syz_token_cache_describe(path, &is_cache, &rows, &there, &row_bytes));
  printf("%s: syzygy token cache (scratch)\n  %-16s %lld of %lld there, %lld bytes each\n", path, "rows",
         (long long)there, (long long)rows, (long long)row_bytes);
cleanup:
  return st;
}

static syz_status checkpoint_folder(context *c, const char *path)
{
  syz_status st = SYZ_OK;
  syz_checkpoint_summary about;
  char size[32];
  SYZ_TRY(syz_checkpoint_check(c->world, path, &about));
  if (c->is_first)
    printf("%s: syzygy checkpoint of %s after step %lld, %s, written by %d rank(s)%s%s; manifest and checksums hold\n",
           path, about.objective, (long long)about.step, info_bytes_text((double)about.bytes, size), about.ranks,
           *about.engine ? " with " : "", about.engine);
cleanup:
  return st == SYZ_ERR_CHECKPOINT ? SYZ_ERR_DATA : st; /* exit code 5 means that a run cannot be continued */
}

static void look_at(context *c, const char *path, int depth);

static int by_text(const void *a, const void *b) { return strcmp(a, b); }

/* On rank 0: the subfolders of a folder and its files with known extensions, sorted. */
static syz_status list_folder(const char *path, info_names *list)
{
  syz_status st = SYZ_OK;
  struct stat s;
  DIR *d = opendir(path);
  char inside[PATH];
  SYZ_REQUIRE(d, SYZ_ERR_DATA, "%s: cannot read the folder", path);
  for (struct dirent *e; (e = readdir(d));) {
    if (e->d_name[0] == '.' || strlen(e->d_name) >= INFO_NAME) continue;
    snprintf(inside, sizeof inside, "%s/%s", path, e->d_name);
    static const char *const endings[] = {".h5", ".hdf5", ".fits", ".fz", ".fits.gz", ".fits.bz2"};
    bool is_wanted = stat(inside, &s) == 0 && S_ISDIR(s.st_mode);
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++)
      is_wanted = is_wanted || ends_with(e->d_name, endings[i]);
    if (is_wanted) SYZ_TRY(info_keep_name(list, e->d_name));
  }
  if (list->n) qsort(list->name, (size_t)list->n, sizeof *list->name, by_text);
cleanup:
  if (d) closedir(d);
  return st;
}

static syz_status folder(context *c, const char *path, int depth)
{
  syz_status st = SYZ_OK;
  info_names list = {0};
  char inside[PATH], name[INFO_NAME];
  int64_t n = 0;
  SYZ_TRY_ALL(c->world, c->is_first ? list_folder(path, &list) : SYZ_OK);
  n = list.n;
  syz_bcast(c->world, &n, sizeof n, 0);
  SYZ_REQUIRE(depth < 8, SYZ_ERR_DATA, "%s: folders are nested too deeply", path);
  for (int64_t i = 0; i < n; i++) {
    if (c->is_first) memcpy(name, list.name[i], INFO_NAME);
    syz_bcast(c->world, name, INFO_NAME, 0);
    snprintf(inside, sizeof inside, "%s/%s", path, name);
    look_at(c, inside, depth + 1);
  }
  SYZ_REQUIRE(n > 0 || depth > 0, SYZ_ERR_DATA, "%s: this folder holds no file that info can read", path);
cleanup:
  syz_free(&list.name);
  return st;
}

static syz_status dispatch(context *c, const char *path, int depth, bool *is_folder)
{
  syz_status st = SYZ_OK;
  struct {
    int32_t what;
    char format[64];
  } found = {SORT_UNKNOWN, ""};
  sort what = SORT_UNKNOWN;
  SYZ_TRY_ALL(c->world, c->is_first ? recognise(path, &what, found.format) : SYZ_OK);
  found.what = (int32_t)what;
  syz_bcast(c->world, &found, sizeof found, 0);
  *is_folder = found.what == SORT_FOLDER;
  switch ((sort)found.what) {
  case SORT_OWN:
    SYZ_TRY(info_own_file(&c->wishes, path, found.format));
    break;
  case SORT_FOREIGN:
    SYZ_TRY_ALL(c->world, c->is_first ? info_foreign_file(path) : SYZ_OK);
    break;
  case SORT_FITS:
    SYZ_TRY_ALL(c->world, c->is_first ? info_fits_file(c->wishes.verifies, path) : SYZ_OK);
    break;
  case SORT_CACHE:
    SYZ_TRY_ALL(c->world, c->is_first ? cache_file(path) : SYZ_OK);
    break;
  case SORT_CHECKPOINT:
    SYZ_TRY(checkpoint_folder(c, path));
    break;
  case SORT_FOLDER:
    SYZ_TRY(folder(c, path, depth));
    break;
  case SORT_UNKNOWN:
    break;
  }
cleanup:
  return st;
}

/* A bad file is reported and counted; the others are examined all the same. */
static void look_at(context *c, const char *path, int depth)
{
  bool is_folder = false;
  syz_status st = dispatch(c, path, depth, &is_folder);
  if (st == SYZ_OK) {
    c->good += !is_folder;
    return;
  }
  c->bad++;
  if (c->is_first) printf("%s: NOT USABLE: %s\n", path, syz_error_text());
  fflush(stdout);
  if (c->worst != SYZ_OK) return;
  c->worst = st;
  syz_error_keep(c->text);
}

syz_status syz_command_info(syz_app *app)
{
  syz_status st = SYZ_OK;
  context *c = NULL;
  c = syz_alloc("info", 1, sizeof *c);
  SYZ_TRY_ALL(app->world, c ? SYZ_OK : SYZ_ERR_MEMORY);
  c->world = app->world;
  c->is_first = syz_comm_rank(app->world) == 0;
  c->wishes = (info_wishes){.world = c->world,
                            .is_first = c->is_first,
                            .verifies = syz_input_bool(app->input, "info.verify") && !app->is_dry_run,
                            .prints_input = syz_input_bool(app->input, "info.input")};
  SYZ_REQUIRE(app->n_arguments > 0, SYZ_ERR_INPUT, "info: name at least one file or folder: syzygy info FILE...");
  for (int i = 0; i < app->n_arguments; i++) look_at(c, app->arguments[i], 0);
  if (c->is_first && c->good + c->bad > 1) printf("%lld good, %lld not\n", (long long)c->good, (long long)c->bad);
  fflush(stdout);
  if (c->worst != SYZ_OK) {
    syz_error_restore(c->text);
    st = syz_error_pass(c->worst, __FILE__, __LINE__);
  }
cleanup:
  syz_free(&c);
  return st;
}
