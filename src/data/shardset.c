/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * An open data set: one global numbering over many files.
 *
 * Rank f mod size scans file f as a whole, and the results are sent to all ranks file by file in file order, so that
 * every rank holds the same tables for any number of ranks. All rows of all files have raw numbers; one bit per row
 * says whether it is an object of the set (set_kept.c), and objects are numbered in that order. Rows of the other split
 * (set_split.c), damaged rows, and rows without the required modality are left out.
 *
 * Memory: 32 bytes per object on each node (syz_shared); 1.125 bits per row and about 200 bytes per file on each rank.
 * While the set is opened, also 32 bytes per row on the rank that scans its file, and the memory named in set_split.c.
 * Nothing else grows with the data set.
 */
#include "shardset.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "paths.h"
#include "set_layout.h"
#include "set_split.h"

enum { PIECE = 65536, LOOK_ROWS = 16 };

/* The results of the rank that scanned a file. */
typedef struct bad_row {
  int32_t part, fault;
  int64_t row, object_id;
} bad_row;
typedef struct own_file {
  set_scan scan;
  syz_object *object; /* all rows, part after part */
  int64_t objects;
  bad_row *bad;
  int64_t bads;
  size_t bad_room;
} own_file;

/* ---------------------------------------------------- rank-local: scanning */

static syz_status keep_bad(own_file *o, int part, pixel_fault fault, int64_t row, int64_t object_id)
{
  syz_status st = SYZ_OK;
  SYZ_TRY(syz_grow(&o->bad, "damaged objects", o->bads, 1, &o->bad_room));
  o->bad[o->bads++] = (bad_row){part, (int32_t)fault, row, object_id};
cleanup:
  return st;
}

/* How many of the next rows are objects, up to the first that is not. kept NULL: all rows are. */
static int64_t run_of_objects(const set_kept *kept, int64_t raw, int64_t most)
{
  int64_t n = 0;
  while (n < most && (!kept || set_kept_has(kept, raw + n))) n++;
  return n;
}

/* Check the pixels of rows [row, row + n) of a part, n <= LOOK_ROWS; only images or only spectra if the set skips by
 * these. */
static syz_status look_at_rows(syz_h5 *f, const set_part *p, int64_t row, int64_t n, syz_bad_objects bad,
                               const syz_object *object, float *block, pixel_fault fault[LOOK_ROWS])
{
  syz_status st = SYZ_OK;
  char name[SET_NAME];
  const bool looks_at_images = bad != SYZ_BAD_SPECTRA_SKIPPED, looks_at_spectra = bad != SYZ_BAD_IMAGES_SKIPPED;
  for (int64_t i = 0; i < n; i++) fault[i] = PIXELS_GOOD;
  if (p->has_image && looks_at_images) {
    set_dataset(name, p, set_layout_of(p)->image);
    SYZ_TRY(syz_h5_read(f, name, SYZ_H5_F32, row, n, block));
    for (int64_t i = 0; i < n; i++)
      if (object[i].has_image) fault[i] = syz_check_image(block + i * SET_IMAGE);
  }
  if (p->has_flux && looks_at_spectra) {
    SYZ_TRY(set_read_flux(f, p, row, n, block));
    for (int64_t i = 0; i < n; i++)
      if (object[i].has_spectrum && !fault[i]) fault[i] = syz_check_flux(block + i * SYZ_SPECTRUM_PIXELS);
  }
  if (p->has_ivar && looks_at_spectra) {
    SYZ_TRY(set_read_ivar(f, p, row, n, block));
    for (int64_t i = 0; i < n; i++)
      if (object[i].has_spectrum && !fault[i]) fault[i] = syz_check_ivar(block + i * SYZ_SPECTRUM_PIXELS);
  }
cleanup:
  return st;
}

/* Check every pixel of a part's objects; kept NULL: of all its rows. `part`: its number in the file. */
static syz_status find_bad(syz_h5 *f, own_file *o, const set_part *p, int part, const set_kept *kept,
                           syz_bad_objects bad, const syz_object *object)
{
  syz_status st = SYZ_OK;
  float *block = NULL;
  pixel_fault fault[LOOK_ROWS];
  SYZ_ALLOC(block, "pixels to check", LOOK_ROWS * SET_IMAGE);
  for (int64_t at = 0, n; at < p->rows; at += n ? n : 1) {
    n = run_of_objects(kept, p->raw + at, p->rows - at < LOOK_ROWS ? p->rows - at : LOOK_ROWS);
    if (n) SYZ_TRY(look_at_rows(f, p, at, n, bad, object + at, block, fault));
    for (int64_t i = 0; i < n; i++)
      if (fault[i]) SYZ_TRY(keep_bad(o, part, fault[i], at + i, object[at + i].object_id));
  }
cleanup:
  syz_free(&block);
  return st;
}

static syz_status scan_file(const char *path, int number, own_file *o)
{
  syz_status st = SYZ_OK;
  syz_h5 *f = NULL;
  char(*label)[SYZ_LABEL_NAME] = NULL;
  SYZ_ALLOC(label, "label names", SYZ_LABELS_MAX);
  o->scan.label = label;
  SYZ_TRY(syz_shardset_scan(path, number, &o->scan));
  o->scan.label = NULL;
  if (o->scan.labels) {
    SYZ_ALLOC(o->scan.label, "label names", o->scan.labels);
    memcpy(o->scan.label, label, (size_t)o->scan.labels * sizeof *label);
  }
  o->objects = 0;
  for (int i = 0; i < o->scan.parts; i++) o->objects += o->scan.part[i].rows;
  SYZ_ALLOC(o->object, "object table", o->objects + 1);
  SYZ_TRY(syz_h5_open(NULL, path, &f));
  syz_object *at = o->object;
  for (int i = 0; i < o->scan.parts; i++) {
    const set_part *p = &o->scan.part[i];
    SYZ_TRY(syz_shardset_read_table(f, p, 0, p->rows, at));
    at += p->rows;
  }
cleanup:
  if (o->scan.label == label) o->scan.label = NULL;
  syz_free(&label);
  syz_h5_close(&f);
  return st;
}

static bool is_of_file_before(const void *part, const void *file)
{
  return ((const set_part *)part)->file < *(const int *)file;
}

/* The first part of a file, whose parts are consecutive; for a file without parts, the first one after it. */
static int first_part(const syz_shardset *s, int file)
{
  return (int)syz_lower_bound(&file, s->part, s->parts, sizeof *s->part, is_of_file_before);
}

static syz_status look_at_file(const syz_shardset *s, int file, own_file *o)
{
  syz_status st = SYZ_OK;
  syz_h5 *f = NULL;
  const syz_object *at = o->object;
  const int first = first_part(s, file);
  SYZ_TRY(syz_h5_open(NULL, s->file[file].path, &f));
  for (int i = 0; i < o->scan.parts; i++) {
    const set_part *p = &s->part[first + i];
    SYZ_TRY(find_bad(f, o, p, i, &s->kept, s->bad, at));
    at += p->rows;
  }
cleanup:
  syz_h5_close(&f);
  return st;
}

/* ---------------------------------------------------- collective: exchange */

typedef struct file_header {
  int64_t bytes;
  uint64_t digest;
  int32_t parts, labels;
  bool lacks_sums, lacks_seal;
} file_header;

static int find_label(const syz_shardset *s, const char *name)
{
  for (int i = 0; i < s->labels; i++)
    if (strcmp(s->label[i], name) == 0) return i;
  return -1;
}

static syz_status add_labels(syz_shardset *s, int file, int n, char (*label)[SYZ_LABEL_NAME])
{
  syz_status st = SYZ_OK;
  for (int i = 0; i < n; i++) {
    int at = find_label(s, label[i]);
    if (at < 0) {
      SYZ_REQUIRE(s->labels < SYZ_LABELS_MAX, SYZ_ERR_DATA, "%s: more than %d labels in the data set",
                  s->file[file].path, SYZ_LABELS_MAX);
      at = s->labels++;
      memcpy(s->label[at], label[i], SYZ_LABEL_NAME);
    }
    s->file[file].labels[at / 64] |= UINT64_C(1) << (at % 64);
  }
cleanup:
  return st;
}

static int by_label(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

/* Sort the names for the caller; the files' bits keep the order of first appearance. */
static syz_status sort_labels(syz_shardset *s)
{
  syz_status st = SYZ_OK;
  SYZ_ALLOC(s->label_name, "label names", s->labels + 1);
  for (int i = 0; i < s->labels; i++) s->label_name[i] = s->label[i];
  if (s->labels) qsort(s->label_name, (size_t)s->labels, sizeof *s->label_name, by_label);
cleanup:
  return st;
}

static syz_status receive_file(syz_shardset *s, int file, const file_header *h, const set_part *part,
                               char (*label)[SYZ_LABEL_NAME])
{
  syz_status st = SYZ_OK;
  s->file[file].bytes = h->bytes;
  s->file[file].digest = h->digest;
  s->file[file].lacks_sums = h->lacks_sums;
  s->file[file].lacks_seal = h->lacks_seal;
  SYZ_TRY(add_labels(s, file, h->labels, label));
  for (int i = 0; i < h->parts; i++) {
    set_part *p = &s->part[s->parts++];
    *p = part[i];
    p->raw = s->raw_size;
    s->raw_size += p->rows;
    s->has_ivar |= p->has_ivar;
  }
cleanup:
  return st;
}

/* Damaged objects of a file, in the order of parts and rows. */
static syz_status receive_bad(syz_shardset *s, int file, int64_t n, const bad_row *bad)
{
  syz_status st = SYZ_OK;
  const int first = first_part(s, file);
  SYZ_TRY(syz_grow(&s->rejected, "objects left out", s->rejects, n, &s->reject_room));
  for (int64_t k = 0; k < n; k++) {
    const int number = first + bad[k].part;
    const set_part *p = &s->part[number];
    char **reason = &s->reason[(size_t)number * PIXEL_FAULTS + (size_t)bad[k].fault];
    if (!*reason) {
      SYZ_ALLOC(*reason, "reason", 128);
      if (*p->group)
        snprintf(*reason, 128, "group %c: %s", p->group[0], syz_pixel_fault_text((pixel_fault)bad[k].fault));
      else
        snprintf(*reason, 128, "%s", syz_pixel_fault_text((pixel_fault)bad[k].fault));
    }
    set_kept_put(&s->kept, p->raw + bad[k].row, false);
    s->rejected[s->rejects++] = (syz_rejected){s->file[file].path, bad[k].row, bad[k].object_id, *reason};
  }
cleanup:
  return st;
}

/* Count the parts, then allocate the arrays for parts and reasons. */
static syz_status count_parts(syz_shardset *s, const own_file *own)
{
  syz_status st = SYZ_OK;
  int size = syz_comm_size(s->comm), rank = syz_comm_rank(s->comm);
  int64_t parts = 0;
  for (int f = rank; f < s->files; f += size) parts += own[f / size].scan.parts;
  syz_allreduce_i64(s->comm, &parts, 1, SYZ_SUM);
  SYZ_REQUIRE(parts < INT32_MAX / PIXEL_FAULTS, SYZ_ERR_DATA, "data set: %lld groups", (long long)parts);
  SYZ_ALLOC(s->part, "groups of the data set", parts + 1);
  SYZ_ALLOC(s->reason, "reasons", (parts + 1) * PIXEL_FAULTS);
  SYZ_ALLOC(s->label, "label names", SYZ_LABELS_MAX);
cleanup:
  return st;
}

static syz_status exchange_files(syz_shardset *s, const own_file *own)
{
  syz_status st = SYZ_OK, mine = SYZ_OK;
  int size = syz_comm_size(s->comm), rank = syz_comm_rank(s->comm);
  set_part part[16];
  char(*label)[SYZ_LABEL_NAME] = NULL;
  SYZ_TRY_ALL(s->comm, count_parts(s, own));
  label = syz_alloc("label names", SYZ_LABELS_MAX, sizeof *label);
  SYZ_TRY_ALL(s->comm, label ? SYZ_OK : SYZ_ERR_MEMORY);
  for (int f = 0; f < s->files; f++) {
    const own_file *o = f % size == rank ? &own[f / size] : NULL;
    file_header h = {0};
    if (o)
      h = (file_header){o->scan.bytes,  o->scan.digest,     o->scan.parts,
                        o->scan.labels, o->scan.lacks_sums, o->scan.lacks_seal};
    syz_bcast(s->comm, &h, sizeof h, f % size);
    if (o) {
      memcpy(part, o->scan.part, sizeof part);
      if (h.labels) memcpy(label, o->scan.label, (size_t)h.labels * sizeof *label);
    }
    if (h.parts) syz_bcast(s->comm, part, (size_t)h.parts * sizeof *part, f % size);
    if (h.labels) syz_bcast(s->comm, label, (size_t)h.labels * sizeof *label, f % size);
    if (mine == SYZ_OK) mine = receive_file(s, f, &h, part, label);
  }
  SYZ_TRY_ALL(s->comm, mine);
  SYZ_TRY_ALL(s->comm, sort_labels(s));
cleanup:
  syz_free(&label);
  return st;
}

/* Choose the rows of the split. */
static syz_status choose_rows(syz_shardset *s, syz_split split, const own_file *own)
{
  syz_status st = SYZ_OK;
  int size = syz_comm_size(s->comm), rank = syz_comm_rank(s->comm), tables = 0;
  set_table *table = syz_alloc("tables of files", (size_t)(s->files / size) + 1, sizeof *table);
  SYZ_TRY_ALL(s->comm, table ? SYZ_OK : SYZ_ERR_MEMORY);
  for (int f = rank; f < s->files; f += size) {
    const own_file *o = &own[f / size];
    if (o->objects) table[tables++] = (set_table){o->object, o->objects, s->part[first_part(s, f)].raw};
  }
  SYZ_TRY(set_split_rows(s, split, tables, table));
cleanup:
  syz_free(&table);
  return st;
}

/* Remove objects with unusable pixels from the set. */
static syz_status skip_bad(syz_shardset *s, own_file *own)
{
  syz_status st = SYZ_OK, mine = SYZ_OK;
  int size = syz_comm_size(s->comm), rank = syz_comm_rank(s->comm);
  bad_row *bad = NULL;
  for (int f = rank; mine == SYZ_OK && f < s->files; f += size) mine = look_at_file(s, f, &own[f / size]);
  SYZ_TRY_ALL(s->comm, mine);
  for (int f = 0; f < s->files; f++) {
    const own_file *o = f % size == rank ? &own[f / size] : NULL;
    int64_t n = o ? o->bads : 0;
    syz_bcast(s->comm, &n, sizeof n, f % size);
    if (!n) continue;
    syz_free(&bad);
    bad = syz_alloc("damaged objects", (size_t)n, sizeof *bad);
    SYZ_TRY_ALL(s->comm, bad ? SYZ_OK : SYZ_ERR_MEMORY);
    if (o) memcpy(bad, o->bad, (size_t)n * sizeof *bad);
    syz_bcast(s->comm, bad, (size_t)n * sizeof *bad, f % size);
    SYZ_TRY_ALL(s->comm, receive_bad(s, f, n, bad));
  }
  set_kept_count(&s->kept);
cleanup:
  syz_free(&bad);
  return st;
}

static syz_status exchange_objects(syz_shardset *s, const own_file *own)
{
  syz_status st = SYZ_OK;
  int size = syz_comm_size(s->comm), rank = syz_comm_rank(s->comm);
  syz_object *piece = NULL;
  s->size = s->kept.kept;
  SYZ_TRY(syz_shared_create(s->comm, "object table", (size_t)s->size * sizeof *s->object, SET_SHARED, &s->table));
  s->object = s->table.bytes;
  piece = syz_alloc("piece of the object table", PIECE, sizeof *piece);
  SYZ_TRY_ALL(s->comm, piece ? SYZ_OK : SYZ_ERR_MEMORY);
  int64_t raw = 0, at = 0;
  int p = 0;
  for (int f = 0; f < s->files; f++) {
    int64_t objects = 0;
    for (; p < s->parts && s->part[p].file == f; p++) objects += s->part[p].rows;
    for (int64_t first = 0; first < objects; first += PIECE) {
      int64_t n = objects - first < PIECE ? objects - first : PIECE;
      if (f % size == rank) memcpy(piece, own[f / size].object + first, (size_t)n * sizeof *piece);
      syz_bcast(s->comm, piece, (size_t)n * sizeof *piece, f % size);
      for (int64_t i = 0; i < n; i++, raw++) {
        if (!set_kept_has(&s->kept, raw)) continue;
        if (s->table.is_writer) s->object[at] = piece[i];
        at++;
      }
    }
  }
  syz_shared_settle(&s->table);
cleanup:
  syz_free(&piece);
  return st;
}

static uint64_t digest_of(const syz_shardset *s)
{
  uint64_t digest = 1;
  for (int f = 0; f < s->files; f++) {
    const char *name = strrchr(s->file[f].path, '/'); /* a data set may be moved as a whole */
    name = name ? name + 1 : s->file[f].path;
    const uint64_t about[2] = {(uint64_t)s->file[f].bytes, s->file[f].digest};
    digest = syz_checksum(name, strlen(name), digest);
    digest = syz_checksum(about, sizeof about, digest);
  }
  for (int64_t i = 0; i < s->size; i += 512) {
    int64_t id[512], n = s->size - i < 512 ? s->size - i : 512;
    for (int64_t k = 0; k < n; k++) id[k] = s->object[i + k].object_id;
    digest = syz_checksum(id, (size_t)n * sizeof *id, digest);
  }
  return digest;
}

/* ------------------------------------------------------------------ public */

static syz_status scan_share(syz_shardset *s, own_file *own)
{
  syz_status st = SYZ_OK;
  int size = syz_comm_size(s->comm), rank = syz_comm_rank(s->comm);
  for (int f = rank; f < s->files; f += size) SYZ_TRY(scan_file(s->file[f].path, f, &own[f / size]));
cleanup:
  return st;
}

static syz_status take_paths(syz_shardset *s, path_list *list)
{
  syz_status st = SYZ_OK;
  SYZ_ALLOC(s->file, "files of the data set", list->n + 1);
  s->files = list->n;
  for (int i = 0; i < list->n; i++) {
    s->file[i].path = list->path[i];
    list->path[i] = NULL;
  }
cleanup:
  return st;
}

/* Warn of files without a checksum of their attributes: those of older versions or other programs. */
static void warn_of_seals(const syz_shardset *s)
{
  int n = 0, first = -1;
  for (int f = s->files - 1; f >= 0; f--)
    if (s->file[f].lacks_seal) {
      first = f;
      n++;
    }
  if (n)
    syz_warn(
        "%d of %d data files have no checksum of their attributes (written by an older version or another program), so "
        "damage there is not noticed; the first: %s",
        n, s->files, s->file[first].path);
}

syz_status syz_shardset_open(syz_comm *c, int n_paths, const char *const *path, syz_split split, syz_bad_objects bad,
                             syz_shardset **out)
{
  syz_status st = SYZ_OK;
  syz_shardset *s = syz_alloc("data set", 1, sizeof *s);
  own_file *own = NULL;
  path_list list = {0};
  int size = syz_comm_size(c), owns = 0;
  *out = NULL;
  SYZ_TRY_ALL(c, s ? SYZ_OK : SYZ_ERR_MEMORY);
  s->comm = c;
  s->bad = bad;
  syz_set_reader_begin(&s->reader);
  SYZ_TRY_ALL(c, syz_comm_rank(c) == 0 ? syz_paths_collect(n_paths, path, &list) : SYZ_OK);
  SYZ_TRY(syz_paths_broadcast(c, &list));
  SYZ_TRY_ALL(c, take_paths(s, &list));
  owns = s->files / size + 1;
  own = syz_alloc("scanned files", (size_t)owns, sizeof *own);
  SYZ_TRY_ALL(c, own ? SYZ_OK : SYZ_ERR_MEMORY);
  SYZ_TRY_ALL(c, scan_share(s, own));
  SYZ_TRY(exchange_files(s, own));
  SYZ_TRY(choose_rows(s, split, own));
  if (bad != SYZ_BAD_REFUSED) SYZ_TRY(skip_bad(s, own));
  SYZ_TRY(exchange_objects(s, own));
  SYZ_REQUIRE(s->size > 0, SYZ_ERR_DATA, "%s: no usable object in %d file(s) (%lld in this split, %lld left out)",
              s->file[0].path, s->files, (long long)(s->size + s->rejects), (long long)s->rejects);
  s->digest = digest_of(s);
  warn_of_seals(s);
  *out = s;
  s = NULL;
cleanup:
  for (int i = 0; own && i < owns; i++) {
    syz_free(&own[i].scan.label);
    syz_free(&own[i].object);
    syz_free(&own[i].bad);
  }
  syz_free(&own);
  syz_paths_free(&list);
  syz_shardset_close(&s);
  return st;
}

void syz_shardset_close(syz_shardset **set)
{
  syz_shardset *s = *set;
  if (!s) return;
  for (int i = 0; i < SYZ_KEPT_OPEN_MOST; i++) syz_h5_close(&s->h5[i]);
  syz_set_reader_end(&s->reader);
  for (int i = 0; i < s->files; i++) syz_free(&s->file[i].path);
  for (int i = 0; s->reason && i < s->parts * PIXEL_FAULTS; i++) syz_free(&s->reason[i]);
  syz_free(&s->file);
  syz_free(&s->part);
  syz_shared_destroy(&s->table);
  set_kept_free(&s->kept);
  syz_free(&s->rejected);
  syz_free(&s->reason);
  syz_free(&s->label);
  syz_free(&s->label_name);
  syz_free(set);
}

int64_t syz_shardset_size(const syz_shardset *s) { return s->size; }

int64_t syz_shardset_bytes(const syz_shardset *s)
{
  int64_t bytes = 0;
  for (int f = 0; f < s->files; f++) bytes += s->file[f].bytes;
  return bytes;
}

const syz_object *syz_shardset_objects(const syz_shardset *s) { return s->object; }
uint64_t syz_shardset_digest(const syz_shardset *s) { return s->digest; }
bool syz_shardset_is_verified(const syz_shardset *s) { return s->is_verified; }
bool syz_shardset_has_ivar(const syz_shardset *s) { return s->has_ivar; }

int syz_shardset_labels(const syz_shardset *s, const char *const **name)
{
  *name = s->label_name;
  return s->labels;
}

bool syz_shardset_has_label(const syz_shardset *s, const char *name)
{
  for (int i = 0; i < s->labels; i++)
    if (strcmp(s->label_name[i], name) == 0) return true;
  return false;
}

int64_t syz_shardset_rejected(const syz_shardset *s, const syz_rejected **list)
{
  *list = s->rejected;
  return s->rejects;
}

static bool lacks(const syz_object *o, bool needs_image, bool needs_spectrum)
{
  return (needs_image && !o->has_image) || (needs_spectrum && !o->has_spectrum);
}

syz_status syz_shardset_select(syz_shardset *s, bool needs_image, bool needs_spectrum, int64_t *left_out)
{
  syz_status st = SYZ_OK;
  int64_t lacking = 0;
  for (int64_t i = 0; i < s->size; i++) lacking += lacks(&s->object[i], needs_image, needs_spectrum);
  *left_out = lacking;
  if (!lacking) return SYZ_OK;
  SYZ_REQUIRE(lacking < s->size, SYZ_ERR_DATA, "%s: none of the %lld objects has %s", s->file[0].path,
              (long long)s->size,
              needs_image && needs_spectrum ? "both image and spectrum"
              : needs_image                 ? "an image"
                                            : "a spectrum");
  for (int64_t raw = 0, index = 0; raw < s->raw_size; raw++)
    if (set_kept_has(&s->kept, raw) && lacks(&s->object[index++], needs_image, needs_spectrum))
      set_kept_put(&s->kept, raw, false);
  set_kept_count(&s->kept);
  syz_shared_settle(&s->table); /* all ranks have read the table; now it may change */
  for (int64_t i = 0, to = 0; s->table.is_writer && i < s->size; i++) {
    const syz_object o = s->object[i];
    if (!lacks(&o, needs_image, needs_spectrum)) s->object[to++] = o;
  }
  syz_shared_settle(&s->table);
  s->size = s->kept.kept;
  s->digest = digest_of(s);
cleanup:
  return st;
}

/* --------------------------------------------------------------- checksums */

typedef struct verify_pass {
  syz_h5 *f;
  char damage[SYZ_ERROR_TEXT]; /* the first dataset of pixels that differs from its checksum; empty: none */
} verify_pass;

/* Damage in pixels is reported later, when its object is found; any other failure ends the check. */
static syz_status verify_dataset(void *context, const char *name)
{
  verify_pass *v = context;
  bool has;
  syz_status st = syz_h5_verify(v->f, name, &has);
  bool is_pixels = strcmp(name, "image") == 0 || strcmp(name, "spectrum") == 0 || strcmp(name, "spectrum_ivar") == 0;
  if (st != SYZ_ERR_DATA || !is_pixels) return st;
  if (*v->damage) return SYZ_OK;
  snprintf(v->damage, sizeof v->damage, "%s", syz_error_text());
  char *place = strrchr(v->damage, '['); /* cut the final " [file:line]", because text is appended */
  if (place && place > v->damage) place[-1] = '\0';
  return SYZ_OK;
}

/* Find the first object of a file, of any split, with unusable pixels; bad->bads is 0 when there is none. */
static syz_status find_first_bad(const syz_shardset *s, syz_h5 *f, int file, own_file *bad)
{
  syz_status st = SYZ_OK;
  syz_object *object = NULL;
  for (int p = 0; p < s->parts && !bad->bads; p++) {
    const set_part *part = &s->part[p];
    if (part->file != file) continue;
    syz_free(&object);
    SYZ_ALLOC(object, "object table", part->rows + 1);
    SYZ_TRY(syz_shardset_read_table(f, part, 0, part->rows, object));
    SYZ_TRY(find_bad(f, bad, part, 0, NULL, SYZ_BAD_SKIPPED, object));
  }
cleanup:
  syz_free(&object);
  return st;
}

/* Rank-local. *is_doubtful: the damage found is in objects that are left out. */
static syz_status verify_file(const syz_shardset *s, int file, int32_t *is_doubtful)
{
  syz_status st = SYZ_OK;
  const char *path = s->file[file].path;
  own_file bad = {.bads = 0};
  verify_pass *v = NULL;
  SYZ_ALLOC(v, "checksums", 1);
  SYZ_TRY(syz_h5_open(NULL, path, &v->f));
  SYZ_TRY(syz_h5_visit(v->f, "", verify_dataset, v));
  if (!*v->damage) goto cleanup;
  SYZ_TRY(find_first_bad(s, v->f, file, &bad));
  SYZ_REQUIRE(bad.bads, SYZ_ERR_DATA, "%s; data.verify: never reads the file regardless", v->damage);
  SYZ_REQUIRE(s->bad != SYZ_BAD_REFUSED, SYZ_ERR_DATA,
              "%s; object %lld (row %lld): %s; leave such objects out with data.bad_objects: skip", v->damage,
              (long long)bad.bad[0].object_id, (long long)bad.bad[0].row,
              syz_pixel_fault_text((pixel_fault)bad.bad[0].fault));
  *is_doubtful = 1;
cleanup:
  if (v) syz_h5_close(&v->f);
  syz_free(&v);
  syz_free(&bad.bad);
  return st;
}

syz_status syz_shardset_verify(syz_shardset *s)
{
  syz_status st = SYZ_OK;
  const int size = syz_comm_size(s->comm), rank = syz_comm_rank(s->comm);
  const double start_s = syz_clock_s(), long_s = 5;
  int64_t done = 0;
  syz_progress progress;
  int32_t *is_doubtful = syz_alloc("checksums", (size_t)size, sizeof *is_doubtful);
  SYZ_TRY_ALL(s->comm, is_doubtful ? SYZ_OK : SYZ_ERR_MEMORY);
  syz_progress_begin(&progress, "verify", "MB", 0, syz_shardset_bytes(s) / 1000000);
  for (int first = 0; first < s->files;
       first += size) { /* in rounds, so that the first bad file is the same on any number of ranks */
    int32_t mine = 0;
    SYZ_TRY_ALL(s->comm, first + rank < s->files ? verify_file(s, first + rank, &mine) : SYZ_OK);
    syz_allgather(s->comm, &mine, is_doubtful, sizeof mine);
    for (int f = first; f < s->files && f < first + size; f++) {
      done += s->file[f].bytes;
      if (is_doubtful[f - first])
        syz_warn("%s: differs from its checksums and holds damaged objects, which are left out; others may be damaged "
                 "as well",
                 s->file[f].path);
    }
    syz_progress_tell(&progress, done / 1000000, NULL);
  }
  if (syz_clock_s() - start_s > long_s) syz_progress_end(&progress, done / 1000000);
  s->is_verified = true;
cleanup:
  syz_free(&is_doubtful);
  return st;
}

/* ------------------------------------------------------------------ labels */

static syz_status read_labels_of_file(const syz_shardset *s, int file, int first, const char *name, float *value)
{
  syz_status st = SYZ_OK;
  syz_h5 *f = NULL;
  char dataset[SET_NAME];
  SYZ_TRY(syz_h5_open(NULL, s->file[file].path, &f));
  for (int p = first; p < s->parts && s->part[p].file == file; p++) {
    const set_part *part = &s->part[p];
    set_label_dataset(dataset, part, name);
    if (set_layout_of(part)->only_label && !syz_h5_has(f, dataset)) {
      for (int64_t i = 0; i < part->rows; i++) memset(value + i, 0xff, sizeof *value); /* a NaN */
    } else {
      SYZ_TRY(syz_h5_read(f, dataset, SYZ_H5_F32, 0, part->rows, value));
    }
    value += part->rows;
  }
cleanup:
  syz_h5_close(&f);
  return st;
}

static void list_labels(const syz_shardset *s, char *text, size_t room)
{
  size_t at = 0;
  text[0] = '\0';
  for (int i = 0; i < s->labels && at + 1 < room; i++)
    at += (size_t)snprintf(text + at, room - at, "%s%s", i ? ", " : "", s->label_name[i]);
}

syz_status syz_shardset_read_label(syz_shardset *s, const char *name, float *value)
{
  return syz_shardset_read_label_rows(s, name, 0, syz_shardset_size(s), value);
}

static syz_status require_label(const syz_shardset *s, const char *name, int *which)
{
  syz_status st = SYZ_OK;
  char there[1024];
  *which = find_label(s, name);
  if (*which >= 0) return SYZ_OK;
  list_labels(s, there, sizeof there);
  SYZ_REQUIRE(false, SYZ_ERR_INPUT, "%s: no label \"%s\" in this data set; there are: %s", s->file[0].path, name,
              *there ? there : "none");
cleanup:
  return st;
}

static bool has_label(const syz_shardset *s, int file, int which)
{
  return (s->file[file].labels[which / 64] >> (which % 64)) & 1;
}

typedef char unit_text[SYZ_UNIT_TEXT];

/* Rank-local: the unit of each label of a file. AstroCLIP's files give no unit for redshifts, which have none.
 */
static syz_status read_units_of_file(const syz_shardset *s, int file, unit_text *unit)
{
  syz_status st = SYZ_OK;
  syz_h5 *f = NULL;
  char dataset[SYZ_LABEL_NAME + 32], *text = NULL;
  SYZ_TRY(syz_h5_open(NULL, s->file[file].path, &f));
  for (int k = 0; k < s->labels; k++) {
    snprintf(dataset, sizeof dataset, "label/%s", s->label_name[k]);
    if (!has_label(s, file, find_label(s, s->label_name[k])) || !syz_h5_has(f, dataset)) continue;
    SYZ_TRY(syz_h5_read_text(f, dataset, "units", &text));
    if (text) snprintf(unit[k], sizeof unit[k], "%s", text);
    syz_free(&text);
  }
cleanup:
  syz_free(&text);
  syz_h5_close(&f);
  return st;
}

/* Compare the next file's units with those of the files before it; by[k]: the file that gave label k's unit, -1: none.
 */
static void compare_units(const syz_shardset *s, int file, const unit_text *one, unit_text *unit, int *by,
                          bool *is_mixed)
{
  for (int k = 0; k < s->labels; k++) {
    if (!one[k][0] || is_mixed[k]) continue;
    if (by[k] < 0) {
      by[k] = file;
      memcpy(unit[k], one[k], sizeof unit[k]);
    } else if (strcmp(unit[k], one[k]) != 0) {
      is_mixed[k] = true;
      syz_warn("label %s: in %s its unit is '%s', in %s '%s'; no unit is carried over", s->label_name[k],
               s->file[by[k]].path, unit[k], s->file[file].path, one[k]);
      memset(unit[k], 0, sizeof unit[k]);
    }
  }
}

syz_status syz_shardset_label_units(syz_shardset *s, char (**out)[SYZ_UNIT_TEXT])
{
  syz_status st = SYZ_OK;
  const int size = syz_comm_size(s->comm), rank = syz_comm_rank(s->comm);
  const size_t n = (size_t)s->labels + 1;
  unit_text *unit = syz_alloc("units", n, sizeof *unit), *one = syz_alloc("units", n, sizeof *one);
  int *by = syz_alloc("units", n, sizeof *by);
  bool *is_mixed = syz_alloc("units", n, sizeof *is_mixed);
  *out = NULL;
  SYZ_TRY_ALL(s->comm, unit && one && by && is_mixed ? SYZ_OK : SYZ_ERR_MEMORY);
  for (int k = 0; k < s->labels; k++) by[k] = -1;
  for (int f = 0; f < s->files; f++) {
    memset(one, 0, n * sizeof *one);
    SYZ_TRY_ALL(s->comm, f % size == rank ? read_units_of_file(s, f, one) : SYZ_OK);
    syz_bcast(s->comm, one, n * sizeof *one, f % size);
    compare_units(s, f, one, unit, by, is_mixed);
  }
  *out = unit;
  unit = NULL;
cleanup:
  syz_free(&unit);
  syz_free(&one);
  syz_free(&by);
  syz_free(&is_mixed);
  return st;
}

syz_status syz_shardset_read_label_rows(syz_shardset *s, const char *name, int64_t first_row, int64_t n_rows,
                                        float *value)
{
  syz_status st = SYZ_OK;
  int size = syz_comm_size(s->comm), rank = syz_comm_rank(s->comm), which;
  float *column = NULL;
  int64_t longest = 0, raw = 0, at = 0;
  SYZ_TRY(require_label(s, name, &which));
  for (int p = 0; p < s->parts;) {
    int64_t n = 0;
    for (int f = s->part[p].file; p < s->parts && s->part[p].file == f; p++) n += s->part[p].rows;
    if (n > longest) longest = n;
  }
  column = syz_alloc("label column", (size_t)longest + 1, sizeof *column);
  SYZ_TRY_ALL(s->comm, column ? SYZ_OK : SYZ_ERR_MEMORY);
  for (int p = 0; p < s->parts;) {
    int f = s->part[p].file, first = p;
    int64_t n = 0;
    for (; p < s->parts && s->part[p].file == f; p++) n += s->part[p].rows;
    if (has_label(s, f, which)) {
      SYZ_TRY_ALL(s->comm, f % size == rank ? read_labels_of_file(s, f, first, name, column) : SYZ_OK);
      syz_bcast(s->comm, column, (size_t)n * sizeof *column, f % size);
    } else {
      memset(column, 0xff, (size_t)n * sizeof *column);
    }
    for (int64_t i = 0; i < n; i++, raw++) {
      if (!set_kept_has(&s->kept, raw)) continue;
      if (at >= first_row && at - first_row < n_rows) value[at - first_row] = column[i];
      at++;
    }
  }
cleanup:
  syz_free(&column);
  return st;
}
