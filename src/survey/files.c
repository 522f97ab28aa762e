/* SPDX-License-Identifier: BSD-3-Clause */
/** The files named by the input, and the gathering of the ranks' results from their shares of them. */
#include "ingest.h"
#include "syzygy/files.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

enum { DEPTH = 32 };

static bool ends_with(const char *text, const char *end)
{
  size_t n = strlen(text), m = strlen(end);
  return n > m && !strcasecmp(text + n - m, end);
}

static bool begins_with(const char *text, const char *start) { return !strncasecmp(text, start, strlen(start)); }

static bool begins_with_any(const char *name, const char *const *start)
{
  for (; *start; start++)
    if (begins_with(name, *start)) return true;
  return false;
}

static bool contains(const char *text, const char *word)
{
  for (; *text; text++)
    if (begins_with(text, word)) return true;
  return false;
}

/** The kind of a survey's file by its name. */
typedef enum name_kind {
  NAME_FOREIGN,
  NAME_OTHER,
  NAME_DESI_SPECTRA,
  NAME_REDSHIFTS,
  NAME_CATALOGUE,
  NAME_CSV,
  NAME_SIDE,
  NAME_UNKNOWN
} name_kind;

/* NAME.fits, .fit or .fts, or .csv, packed or not; *is_csv says which. */
static bool is_table_or_image_name(const char *name, bool *is_csv)
{
  static const char *const kind[] = {".fits", ".fit", ".fts", ".csv"}, *const packed[] = {"", ".gz", ".bz2", ".xz",
                                                                                          ".fz"};
  char end[16];
  for (size_t k = 0; k < sizeof kind / sizeof *kind; k++)
    for (size_t p = 0; p < sizeof packed / sizeof *packed; p++) {
      snprintf(end, sizeof end, "%s%s", kind[k], packed[p]);
      *is_csv = k == 3;
      if (ends_with(name, end)) return true;
    }
  return false;
}

/* Names of the surveys' releases: DESI's spectro/redux, SDSS, the Legacy Surveys' coadd, tractor, metrics and sweep
 * folders. */
static name_kind kind_of_name(const char *path)
{
  static const char *const redshifts[] = {"redrock-", "zbest-", "zcatalog", "zall-", "zpix-", "ztile-", NULL};
  static const char *const other[] = {
      /* beside DESI spectra, and the steps before them */
      "emline-", "qso_", "rrdetails", "tile-qa", "zmtl-", "fiberassign-", "fibermap-", "cframe-", "sframe-",
      "stdstars-", "fluxcalib-", "fastspec-", "fastphot-", "exposures-", "tiles-",
      /* SDSS */
      "spZbest", "spZall", "spZline",
      /* Legacy Surveys */
      "survey-bricks", "survey-ccds", "ccds-annotated", "all-models-", "blobs-", "reference-", NULL};
  const char *name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
  bool is_csv;
  if (!is_table_or_image_name(name, &is_csv)) return NAME_FOREIGN;
  if (is_csv) return NAME_CSV;
  if (begins_with(name, "coadd-") || begins_with(name, "spectra-")) return NAME_DESI_SPECTRA;
  if (begins_with_any(name, redshifts)) return NAME_REDSHIFTS;
  if (begins_with(name, "tractor") || begins_with(name, "sweep-")) return NAME_CATALOGUE;
  /* legacysurvey-<brick>-ccds.fits lists exposures; it has RA and Dec, but of CCDs. */
  if (begins_with_any(name, other) || contains(name, "-ccds.fits")) return NAME_OTHER;
  return syz_images_is_side_product(path) ? NAME_SIDE : NAME_UNKNOWN;
}

/* Filters other products out of a folder; a file named by itself is always used. */
static bool is_of_role(name_kind kind, ingest_role role)
{
  switch (role) {
  case ROLE_SPECTRA:
    return kind == NAME_DESI_SPECTRA || kind == NAME_SIDE || kind == NAME_UNKNOWN;
  case ROLE_REDSHIFTS:
    return kind == NAME_REDSHIFTS;
  case ROLE_IMAGES:
    return kind == NAME_UNKNOWN;
  default:
    return kind == NAME_CATALOGUE || kind == NAME_CSV || kind == NAME_SIDE || kind == NAME_UNKNOWN;
  }
}

typedef struct listing {
  ingest_bytes text;          /**< per file: role (a digit: found in a folder; a letter: named), path, NUL */
  int64_t passed_over;        /**< survey files of other kinds, recognised by name */
  int64_t repeated;           /**< files and folders reached again through links */
  syz_met met;                /**< of the role being listed */
  int64_t superseded;         /**< spectra- files with the coadd- file of the same group beside them, or the reverse */
  const char *loser, *winner; /**< which of "spectra-" and "coadd-" is dropped where both exist */
} listing;

syz_status ingest_reserve(ingest_bytes *b, size_t n) { return syz_grow(&b->data, "ingest table", b->n, n, &b->room); }

syz_status ingest_add(ingest_bytes *b, const void *item, size_t n)
{
  syz_status st = SYZ_OK;
  SYZ_TRY(ingest_reserve(b, n));
  memcpy(b->data + b->n, item, n);
  b->n += n;
cleanup:
  return st;
}

static int compare_texts(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* Whether the file is replaced by another one of the same objects in its folder, such as spectra-<group>.fits.gz by
 * coadd-<group>.fits. */
static bool is_superseded(const listing *l, const char *path)
{
  static const char *const end[] = {".fits", ".fits.gz", ".fits.fz", ".fits.bz2", ".fits.xz"};
  const char *name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
  const char *dot = strstr(name, ".fits");
  char other[PATH_MAX];
  struct stat info;
  if (!dot || !begins_with(name, l->loser)) return false;
  const char *group = name + strlen(l->loser);
  for (size_t k = 0; k < sizeof end / sizeof *end; k++) {
    int n = snprintf(other, sizeof other, "%.*s%s%.*s%s", (int)(name - path), path, l->winner, (int)(dot - group),
                     group, end[k]);
    if (n > 0 && n < (int)sizeof other && stat(other, &info) == 0) return true;
  }
  return false;
}

/* A file found in a folder: listed when its name allows the role, counted when it is a survey file of another kind. */
static syz_status list_file(listing *l, const char *path, ingest_role role)
{
  syz_status st = SYZ_OK;
  char digit = (char)('0' + role);
  name_kind kind = kind_of_name(path);
  bool is_taken = role == ROLE_HDF5 ? ends_with(path, ".h5") || ends_with(path, ".hdf5") : is_of_role(kind, role);
  if (!is_taken) {
    l->passed_over += kind != NAME_FOREIGN && kind != NAME_CSV;
    return SYZ_OK;
  }
  if (role == ROLE_SPECTRA && is_superseded(l, path)) {
    l->superseded++;
    return SYZ_OK;
  }
  bool is_new;
  SYZ_TRY(syz_met_add(&l->met, path, &is_new));
  l->repeated += !is_new;
  if (!is_new) return SYZ_OK;
  SYZ_TRY(ingest_add(&l->text, &digit, 1));
  SYZ_TRY(ingest_add(&l->text, path, strlen(path) + 1));
cleanup:
  return st;
}

static syz_status list_folder(listing *l, const char *folder, ingest_role role, int depth)
{
  syz_status st = SYZ_OK;
  char **entry = NULL, path[PATH_MAX];
  int n = 0;
  struct stat info;
  size_t room = 0, length = strlen(folder);
  while (length > 1 && folder[length - 1] == '/') length--;
  bool is_new;
  DIR *d = NULL;
  SYZ_TRY(syz_met_add(&l->met, folder, &is_new));
  l->repeated += !is_new;
  if (!is_new) return SYZ_OK; /* already visited through a link, or the link leads to a folder above */
  d = opendir(folder);
  SYZ_REQUIRE(d, SYZ_ERR_DATA, "%s: cannot read the folder: %s", folder, strerror(errno));
  SYZ_REQUIRE(depth < DEPTH, SYZ_ERR_DATA, "%s: folders are nested more than %d deep", folder, (int)DEPTH);
  for (struct dirent *e; (e = readdir(d));) {
    if (e->d_name[0] == '.') continue;
    SYZ_TRY(syz_grow(&entry, "names in a folder", n, 1, &room));
    SYZ_REQUIRE(snprintf(path, sizeof path, "%.*s/%s", (int)length, folder, e->d_name) < (int)sizeof path, SYZ_ERR_DATA,
                "%s: name too long", folder);
    entry[n] = strdup(path);
    SYZ_REQUIRE(entry[n], SYZ_ERR_MEMORY, "%s: no memory for its names", folder);
    n++;
  }
  if (n) qsort(entry, (size_t)n, sizeof *entry, compare_texts);
  for (int i = 0; i < n; i++) {
    if (stat(entry[i], &info) != 0) continue; /* a broken link */
    if (S_ISDIR(info.st_mode)) {
      SYZ_TRY(list_folder(l, entry[i], role, depth + 1));
    } else if (S_ISREG(info.st_mode)) {
      SYZ_TRY(list_file(l, entry[i], role));
    }
  }
cleanup:
  if (d) closedir(d);
  for (int i = 0; i < n; i++) free(entry[i]);
  syz_free(&entry);
  return st;
}

static syz_status list_role(listing *l, const char *key, syz_texts given, ingest_role role)
{
  syz_status st = SYZ_OK;
  struct stat info;
  syz_met_free(&l->met);
  for (int i = 0; i < given.n; i++) {
    const char *path = given.item[i];
    SYZ_REQUIRE(
        stat(path, &info) == 0, SYZ_ERR_DATA, "%s: %s: %s%s", key, path, strerror(errno),
        given.n > 1
            ? " (on the command line a comma separates names: put a name with a comma in quotation marks, [\"a,b\"])"
            : "");
    size_t before = l->text.n;
    int64_t before_repeated = l->repeated;
    if (S_ISDIR(info.st_mode)) {
      SYZ_TRY(list_folder(l, path, role, 0));
      SYZ_REQUIRE(l->text.n > before || l->repeated > before_repeated, SYZ_ERR_DATA,
                  "%s: %s: no such file in the folder", key, path);
    } else {
      bool is_new;
      SYZ_TRY(syz_met_add(&l->met, path,
                          &is_new)); /* a named file is always used, but must not be found again in a folder */
      char letter = (char)('A' + role);
      SYZ_TRY(ingest_add(&l->text, &letter, 1));
      SYZ_TRY(ingest_add(&l->text, path, strlen(path) + 1));
    }
  }
cleanup:
  return st;
}

static syz_status list_all(const syz_survey_options *o, listing *l)
{
  syz_status st = SYZ_OK;
  SYZ_TRY(list_role(l, "ingest.spectra", o->spectra, ROLE_SPECTRA));
  SYZ_TRY(list_role(l, "ingest.redshifts", o->redshifts, ROLE_REDSHIFTS));
  SYZ_TRY(list_role(l, "ingest.images", o->images, ROLE_IMAGES));
  SYZ_TRY(list_role(l, "ingest.catalogues", o->catalogues, ROLE_CATALOGUE));
  SYZ_TRY(list_role(l, "ingest.hdf5", o->hdf5, ROLE_HDF5));
cleanup:
  return st;
}

static syz_status index_files(ingest *g, int64_t n)
{
  syz_status st = SYZ_OK;
  struct stat info;
  for (int64_t at = 0; at < n; at += (int64_t)strlen(g->paths + at) + 1) g->n_files++;
  SYZ_ALLOC(g->file, "file table", g->n_files + 1);
  SYZ_ALLOC(g->open, "open files", g->n_files + 1);
  int i = 0;
  for (int64_t at = 0; at < n; at += (int64_t)strlen(g->paths + at) + 1, i++) {
    g->file[i].is_named = g->paths[at] >= 'A';
    g->file[i].role = (ingest_role)(g->paths[at] - (g->file[i].is_named ? 'A' : '0'));
    g->file[i].path = g->paths + at + 1;
    for (int k = 0; k < i && g->n_files < 2000;
         k++) /* longer lists come from folders, which have no accidental repeats */
      SYZ_REQUIRE(g->file[k].role != g->file[i].role || strcmp(g->file[k].path, g->file[i].path) != 0, SYZ_ERR_INPUT,
                  "%s is given twice", g->file[i].path);
    if (stat(g->file[i].path, &info) == 0) g->file[i].bytes = (int64_t)info.st_size;
  }
cleanup:
  return st;
}

syz_status ingest_list_files(ingest *g)
{
  syz_status st = SYZ_OK;
  listing l = {.loser = "spectra-", .winner = "coadd-"};
  if (g->spectra_options.keeps_exposures) l = (listing){.loser = "coadd-", .winner = "spectra-"};
  SYZ_TRY_ALL(g->world, g->rank == 0 ? list_all(&g->options, &l) : SYZ_OK);
  g->count.superseded = l.superseded;
  g->count.linked = l.repeated;
  g->count.passed_over = l.passed_over; /* counted on rank 0; summed over ranks after the scan */
  int64_t n = (int64_t)l.text.n;
  syz_bcast(g->world, &n, sizeof n, 0);
  g->paths = syz_alloc("file names", (size_t)n + 1, 1);
  SYZ_TRY_ALL(g->world, g->paths ? SYZ_OK : SYZ_ERR_MEMORY);
  if (g->rank == 0 && n) memcpy(g->paths, l.text.data, (size_t)n);
  if (n) syz_bcast(g->world, g->paths, (size_t)n, 0);
  SYZ_TRY_ALL(g->world, index_files(g, n));
cleanup:
  syz_met_free(&l.met);
  syz_free(&l.text.data);
  return st;
}

syz_status ingest_gather(ingest *g, const ingest_bytes *mine, size_t item, int (*compare)(const void *, const void *),
                         void **all, int64_t *n)
{
  syz_status st = SYZ_OK;
  size_t *bytes = NULL, total = 0;
  *all = NULL;
  *n = 0;
  bytes = syz_alloc("ingest table", (size_t)g->size, sizeof *bytes);
  SYZ_TRY_ALL(g->world, bytes ? SYZ_OK : SYZ_ERR_MEMORY);
  syz_allgather(g->world, &mine->n, bytes, sizeof mine->n);
  for (int r = 0; r < g->size; r++) total += bytes[r];
  *all = syz_alloc("ingest table", total + item, 1);
  SYZ_TRY_ALL(g->world, *all ? SYZ_OK : SYZ_ERR_MEMORY);
  syz_allgatherv(g->world, mine->data ? mine->data : (unsigned char *)bytes, *all, bytes);
  *n = (int64_t)(total / item);
  if (*n) qsort(*all, (size_t)*n, item, compare);
cleanup:
  syz_free(&bytes);
  return st;
}

syz_status ingest_note(ingest *g, int file, int64_t row, int64_t object_id, const char *reason)
{
  ingest_reject r;
  memset(&r, 0, sizeof r);
  r.file = file;
  r.row = row;
  r.is_object = row >= 0;
  r.object_id = object_id;
  snprintf(r.reason, sizeof r.reason, "%.*s", REASON_TEXT - 1, reason ? reason : syz_error_text());
  /* The trail of source lines in an error is for developers and differs between builds, so it is cut off. */
  char *trail = strstr(r.reason, " [src/");
  if (trail) *trail = '\0';
  return ingest_add(&g->found_rejects, &r, sizeof r);
}

static int compare_rejects(const void *a, const void *b)
{
  const ingest_reject *x = a, *y = b;
  if (x->file != y->file) return x->file < y->file ? -1 : 1;
  if (x->row != y->row) return x->row < y->row ? -1 : 1;
  return strcmp(x->reason, y->reason);
}

syz_status ingest_share_rejects(ingest *g)
{
  syz_status st = SYZ_OK;
  void *all = NULL, *grown = NULL;
  int64_t n = 0;
  SYZ_TRY(ingest_gather(g, &g->found_rejects, sizeof(ingest_reject), compare_rejects, &all, &n));
  g->found_rejects.n = 0;
  if (!n) goto cleanup;
  grown = syz_alloc("rejects", (size_t)(g->n_rejects + n), sizeof(ingest_reject));
  SYZ_TRY_ALL(g->world, grown ? SYZ_OK : SYZ_ERR_MEMORY);
  if (g->n_rejects) memcpy(grown, g->reject, (size_t)g->n_rejects * sizeof(ingest_reject));
  memcpy((ingest_reject *)grown + g->n_rejects, all, (size_t)n * sizeof(ingest_reject));
  syz_free(&g->reject);
  g->reject = grown;
  g->n_rejects += n;
  grown = NULL;
  const ingest_reject *r = all;
  if (g->options.refuses) {
    if (r->is_object)
      st = syz_error_set(SYZ_ERR_DATA, __FILE__, __LINE__,
                         "%s: object %lld (row %lld): %s (%lld bad; data.bad_objects: skip lists them and continues)",
                         g->file[r->file].path, (long long)r->object_id, (long long)r->row, r->reason, (long long)n);
    else
      st = syz_error_set(SYZ_ERR_DATA, __FILE__, __LINE__,
                         "%s (%lld bad; data.bad_objects: skip lists them and continues)", r->reason, (long long)n);
  }
cleanup:
  syz_free(&all);
  syz_free(&grown);
  return st;
}

/* Memory of a packed file while it is open: FITS images unpack to about four times their size in bzip2 and gzip. */
static size_t unpacked_bytes(const ingest *g, int file)
{
  enum { UNPACKING = 4 };
  return (size_t)g->file[file].bytes * UNPACKING;
}

syz_status ingest_open_images(ingest *g, int file, syz_images **out)
{
  *out = NULL;
  if (syz_fault("image_open"))
    return syz_error_set(SYZ_ERR_MEMORY, __FILE__, __LINE__, "%s: injected failure", g->file[file].path);
  *out = g->open[file];
  g->open[file] = NULL;
  if (*out) {
    g->open_bytes -= unpacked_bytes(g, file);
    return SYZ_OK;
  }
  return syz_images_open(g->file[file].path, &g->image_options, out);
}

void ingest_release_images(ingest *g, int file, syz_images **m)
{
  const char *path = g->file[file].path;
  if (*m && (ends_with(path, ".bz2") || ends_with(path, ".gz") || ends_with(path, ".xz"))) {
    const size_t bytes = unpacked_bytes(g, file);
    if (g->open_bytes + bytes < syz_memory_available() / 4 / (size_t)g->size) {
      syz_images_unload(*m);
      g->open[file] = *m;
      g->open_bytes += bytes;
      *m = NULL;
    }
  }
  syz_images_close(m);
}

void ingest_close_images(ingest *g)
{
  for (int i = 0; g->open && i < g->n_files; i++) syz_images_close(&g->open[i]);
  g->open_bytes = 0;
}
