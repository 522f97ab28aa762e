/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Reading HDF5 files, also hostile ones. The library itself runs in a process of its own for each open file
 * (serve.c), since it crashes on some damaged files; what it finds out comes over a line. Rows that lie in the file
 * as they are wanted are read here, at the offset that the reader has told. Each rank reads for itself: what fails on
 * one cannot leave the others waiting.
 *
 * The answers are those of a process that may have been overwritten, so they are checked: sizes against the file's,
 * lengths against what was asked for, and what is known of a dataset is asked once and stays.
 */
#include "request.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "mpio.h"

enum { DIRECT_READ = 8 << 20, READ_BYTES = 1 << 30 };

/* ------------------------------------------------------- what is in there */

bool syz_h5_has(syz_h5 *f, const char *name)
{
  h5_ask question = {.wish = H5_WISH_HAS};
  h5_answer a;
  if (f->is_writing || !*name) return false;
  for (int i = 0; i < f->knowns; i++)
    if (strcmp(f->known[i].name, name) == 0) return true;
  /* What cannot be told counts as there: the next call, which reads it, says why not. */
  return h5_request(f, &question, name, &a) != SYZ_OK || a.is_there;
}

/* What the reader says of a dataset, in itself and against the file. */
static bool is_possible(const syz_h5 *f, const h5_facts *facts)
{
  double elements = 1;
  int64_t row = 1;
  if (facts->ndim < 0 || facts->ndim > H5_DIMS || facts->own_type > SYZ_H5_BF16 || !strchr("fiubs?", facts->kind) ||
      !facts->kind)
    return false;
  for (int i = 0; i < facts->ndim; i++) {
    elements *= (double)facts->shape[i];
    if (facts->shape[i] < 0 || facts->shape[i] > INT64_C(1) << 60 || elements > 1e18) return false;
    if (i) row *= facts->shape[i];
  }
  if (facts->rows != (facts->ndim ? facts->shape[0] : 1) || facts->row_elements != row) return false;
  if (facts->offset < 0) return true;
  if (facts->own_type < 0) return false;
  const double bytes = elements * (double)syz_h5_type_size((syz_h5_type)facts->own_type);
  return facts->offset <= f->bytes && bytes <= (double)(f->bytes - facts->offset);
}

static syz_status add_known(syz_h5 *f, const char *name, const h5_facts *facts)
{
  syz_status st = SYZ_OK;
  SYZ_TRY(syz_grow(&f->known, "datasets of a file", f->knowns, 1, &f->known_room));
  f->known[f->knowns].name = h5_copy_text(name);
  SYZ_REQUIRE(f->known[f->knowns].name, SYZ_ERR_MEMORY, "%s: no memory for the name of dataset %s", f->path, name);
  f->known[f->knowns++].facts = *facts;
cleanup:
  return st;
}

/* *facts is valid until the next call. */
static syz_status look_up(syz_h5 *f, const char *name, const h5_facts **facts)
{
  syz_status st = SYZ_OK;
  h5_ask question = {.wish = H5_WISH_FACTS};
  h5_answer a;
  for (int i = 0; i < f->knowns; i++) {
    *facts = &f->known[i].facts;
    if (strcmp(f->known[i].name, name) == 0) return SYZ_OK;
  }
  SYZ_TRY(h5_request(f, &question, name, &a));
  SYZ_REQUIRE(is_possible(f, &a.facts), SYZ_ERR_DATA, "%s: dataset %s is damaged: sizes that cannot be", f->path, name);
  SYZ_TRY(add_known(f, name, &a.facts));
  *facts = &f->known[f->knowns - 1].facts;
cleanup:
  return st;
}

syz_status syz_h5_shape(syz_h5 *f, const char *name, int *ndim, int64_t shape[8])
{
  syz_status st = SYZ_OK;
  const h5_facts *facts;
  SYZ_TRY(look_up(f, name, &facts));
  *ndim = facts->ndim;
  memcpy(shape, facts->shape, sizeof facts->shape);
cleanup:
  return st;
}

syz_status syz_h5_class(syz_h5 *f, const char *name, char *kind, int *bits)
{
  syz_status st = SYZ_OK;
  const h5_facts *facts;
  SYZ_TRY(look_up(f, name, &facts));
  *kind = facts->kind;
  *bits = facts->bits;
cleanup:
  return st;
}

int64_t syz_h5_offset(syz_h5 *f, const char *name, syz_h5_type type)
{
  const h5_facts *facts;
  return look_up(f, name, &facts) == SYZ_OK && facts->own_type == (int)type ? facts->offset : -1;
}

/* ------------------------------------------------------------------- data */

/* Rows that lie in the file as they are wanted. Many of them that are not in the page cache: past it. */
static syz_status read_plain(syz_h5 *f, const char *name, int64_t at, int64_t bytes, void *data)
{
  syz_status st = SYZ_OK;
  char *to = data;
  if (bytes >= DIRECT_READ && h5_lane(f) &&
      !(syz_direct_is_cached(f->direct, at) && syz_direct_is_cached(f->direct, at + bytes / 2) &&
        syz_direct_is_cached(f->direct, at + bytes - 1)))
    return syz_direct_read(f->direct, at, (size_t)bytes, data);
  while (bytes) {
    const ssize_t got = pread(f->fd, to, bytes < READ_BYTES ? (size_t)bytes : READ_BYTES, (off_t)at);
    if (got < 0 && errno == EINTR) continue;
    SYZ_REQUIRE(got > 0, SYZ_ERR_DATA, "%s: dataset %s cannot be read at byte %lld: %s", f->path, name, (long long)at,
                got < 0 ? strerror(errno) : "the file ends there");
    to += got;
    at += got;
    bytes -= got;
  }
cleanup:
  return st;
}

/* All other rows: unpacked and converted by the reader, piece by piece. */
static syz_status read_asked(syz_h5 *f, const char *name, syz_h5_type type, int64_t first, int64_t n, int64_t bytes,
                             void *data)
{
  syz_status st = SYZ_OK;
  h5_ask question = {.wish = H5_WISH_READ, .type = (int32_t)type, .first = first, .n = n};
  h5_answer a;
  char *to = data;
  SYZ_TRY(h5_request(f, &question, name, &a));
  for (;;) {
    if (a.bytes <= 0 || a.bytes > bytes || !h5_line_receive(f->line, to, (size_t)a.bytes)) {
      st = h5_lose_reader(f, SYZ_ERR_DATA, "damaged: the process that reads it ended in the middle of the rows");
      goto cleanup;
    }
    to += a.bytes;
    bytes -= a.bytes;
    if (bytes == 0) break;
    SYZ_TRY(h5_listen(f, &a));
  }
cleanup:
  return st;
}

/* *facts when these rows may be read: they are there, and are numbers that `type` can hold. */
static syz_status check_read(syz_h5 *f, const char *name, syz_h5_type type, int64_t first, int64_t n,
                             const h5_facts **facts)
{
  syz_status st = SYZ_OK;
  const h5_facts *o;
  SYZ_TRY(look_up(f, name, &o));
  *facts = o;
  SYZ_REQUIRE(first >= 0 && n >= 0 && first <= o->rows && n <= o->rows - first, SYZ_ERR_DATA,
              "%s: dataset %s has %lld rows, %lld .. %lld are wanted", f->path, name, (long long)o->rows,
              (long long)first, (long long)(first + n));
  if (n == 0 || o->row_elements == 0) goto cleanup;
  bool is_float = type == SYZ_H5_F32 || type == SYZ_H5_F64 || type == SYZ_H5_BF16;
  SYZ_REQUIRE(strchr("fiub", o->kind), SYZ_ERR_DATA, "%s: dataset %s does not hold numbers (%s wanted)", f->path, name,
              syz_h5_type_name(type));
  SYZ_REQUIRE(is_float || o->kind != 'f', SYZ_ERR_DATA,
              "%s: dataset %s holds float%d where %s is wanted: whole numbers would lose digits", f->path, name,
              o->bits, syz_h5_type_name(type));
  SYZ_REQUIRE(!syz_fault("h5_read"), SYZ_ERR_DATA, "%s: dataset %s: injected failure", f->path, name);
cleanup:
  return st;
}

syz_status syz_h5_read(syz_h5 *f, const char *name, syz_h5_type type, int64_t first, int64_t n, void *data)
{
  syz_status st = SYZ_OK;
  const h5_facts *o = NULL;
  SYZ_TRY(check_read(f, name, type, first, n, &o));
  if (n == 0 || o->row_elements == 0) goto cleanup;
  const int64_t row_bytes = o->row_elements * (int64_t)syz_h5_type_size(type);
  if (o->offset >= 0 && o->own_type == (int)type)
    SYZ_TRY(read_plain(f, name, o->offset + first * row_bytes, n * row_bytes, data));
  else
    SYZ_TRY(read_asked(f, name, type, first, n, n * row_bytes, data));
cleanup:
  return st;
}

/* Whether these rows lie in the file as they are wanted, on this rank: all ranks must find the same before they read
 * together. */
static syz_status find_place(syz_h5 *f, const char *name, syz_h5_type type, int64_t first, int64_t n, int64_t *at,
                             int64_t *row_bytes)
{
  syz_status st = SYZ_OK;
  const h5_facts *o = NULL;
  SYZ_TRY(check_read(f, name, type, first, n, &o));
  *row_bytes = o->row_elements * (int64_t)syz_h5_type_size(type);
  *at = o->offset >= 0 && o->own_type == (int)type ? o->offset + first * *row_bytes : -1;
cleanup:
  return st;
}

syz_status syz_h5_read_all(syz_h5 *f, const char *name, syz_h5_type type, int64_t first, int64_t n, void *data)
{
  syz_status st = SYZ_OK;
  int64_t at = -1, row_bytes = 0;
  if (!f->comm || !f->is_sealed || !h5_mpio_is_wanted()) return h5_agree(f, syz_h5_read(f, name, type, first, n, data));
  SYZ_TRY_ALL(f->comm, find_place(f, name, type, first, n, &at, &row_bytes));
  int64_t are_placed = at >= 0;
  syz_allreduce_i64(f->comm, &are_placed, 1, SYZ_MIN);
  if (!are_placed) return h5_agree(f, syz_h5_read(f, name, type, first, n, data));
  if (!f->reader) SYZ_TRY(h5_mpio_reader_open(f->comm, f->path, &f->reader));
  SYZ_TRY(h5_mpio_reader_read(f->reader, name, at, (size_t)(n * row_bytes), data));
cleanup:
  return st;
}

syz_status syz_h5_read_strings(syz_h5 *f, const char *name, int64_t first, int64_t n, size_t room, char *text)
{
  syz_status st = SYZ_OK;
  const h5_facts *o;
  h5_ask question = {.wish = H5_WISH_STRINGS, .first = first, .n = n, .room = (int64_t)room};
  h5_answer a;
  SYZ_TRY(look_up(f, name, &o));
  SYZ_REQUIRE(o->kind == 's', SYZ_ERR_DATA, "%s: dataset %s does not hold text", f->path, name);
  SYZ_REQUIRE(o->ndim >= 1 && first >= 0 && n >= 0 && first <= o->rows && n <= o->rows - first, SYZ_ERR_DATA,
              "%s: dataset %s has %lld rows; rows %lld .. %lld are wanted", f->path, name, (long long)o->rows,
              (long long)first, (long long)(first + n));
  const int64_t texts = n * o->row_elements;
  if (texts == 0) goto cleanup;
  SYZ_TRY(h5_request(f, &question, name, &a));
  if (a.bytes != texts * (int64_t)room || !h5_line_receive(f->line, text, (size_t)a.bytes)) {
    st = h5_lose_reader(f, SYZ_ERR_DATA, "damaged: the process that reads it ended in the middle of the texts");
    goto cleanup;
  }
  for (int64_t i = 1; i <= texts; i++) text[i * (int64_t)room - 1] = '\0';
cleanup:
  return st;
}

/* ------------------------------------------------------------- attributes */

static void set_attribute(h5_ask *question, const char *attribute)
{
  snprintf(question->attribute, sizeof question->attribute, "%s", attribute);
}

syz_status syz_h5_read_text(syz_h5 *f, const char *object, const char *attribute, char **text)
{
  syz_status st = SYZ_OK;
  h5_ask question = {.wish = H5_WISH_TEXT};
  h5_answer a;
  *text = NULL;
  set_attribute(&question, attribute);
  SYZ_TRY(h5_request(f, &question, object, &a));
  if (a.is_there) SYZ_TRY(h5_take_text(f, &a, H5_TEXT_LIMIT, text));
cleanup:
  return st;
}

syz_status syz_h5_read_number(syz_h5 *f, const char *object, const char *attribute, double *value, bool *found)
{
  syz_status st = SYZ_OK;
  h5_ask question = {.wish = H5_WISH_NUMBER};
  h5_answer a;
  *found = false;
  set_attribute(&question, attribute);
  SYZ_TRY(h5_request(f, &question, object, &a));
  *found = a.is_there;
  if (*found) *value = a.number;
cleanup:
  return st;
}

/* ------------------------------------------------------------------ visit */

syz_status syz_h5_visit(syz_h5 *f, const char *group, syz_status (*visit)(void *context, const char *name),
                        void *context)
{
  syz_status st = SYZ_OK;
  h5_ask question = {.wish = H5_WISH_NAMES};
  h5_answer a;
  char *names = NULL;
  SYZ_TRY(h5_request(f, &question, group, &a));
  SYZ_TRY(h5_take_text(f, &a, H5_NAMES_LIMIT, &names));
  for (const char *name = names; name < names + a.bytes; name += strlen(name) + 1) SYZ_TRY(visit(context, name));
cleanup:
  syz_free(&names);
  return st;
}

/* ----------------------------------------------------------------- verify */

syz_status syz_h5_verify(syz_h5 *f, const char *name, bool *has)
{
  syz_status st = SYZ_OK;
  const h5_facts *o;
  char *stored = NULL, found[17];
  unsigned char *block = NULL;
  uint64_t sum = 0;
  *has = false;
  SYZ_TRY(look_up(f, name, &o));
  const h5_facts facts = *o;
  SYZ_TRY(syz_h5_read_text(f, name, "checksum", &stored));
  if (!stored) goto cleanup;
  *has = true;
  SYZ_REQUIRE(facts.own_type >= 0, SYZ_ERR_DATA, "%s: dataset %s has a checksum but is of none of our types", f->path,
              name);
  const syz_h5_type type = (syz_h5_type)facts.own_type;
  size_t row_bytes = (size_t)facts.row_elements * syz_h5_type_size(type);
  int64_t step = row_bytes ? (int64_t)((16u << 20) / row_bytes) : facts.rows;
  if (step < 1) step = 1;
  if (step > facts.rows) step = facts.rows;
  if (row_bytes) {
    block = syz_alloc("checksum block", (size_t)step, row_bytes);
    SYZ_REQUIRE(block || !step, SYZ_ERR_MEMORY, "%s: dataset %s: no memory to verify it", f->path, name);
  }
  for (int64_t first = 0; row_bytes && first < facts.rows; first += step) {
    int64_t n = facts.rows - first < step ? facts.rows - first : step;
    SYZ_TRY(syz_h5_read(f, name, type, first, n, block));
    sum += syz_checksum_rows(block, n, row_bytes, first);
  }
  snprintf(found, sizeof found, "%016llx", (unsigned long long)sum);
  SYZ_REQUIRE(strcmp(found, stored) == 0, SYZ_ERR_DATA,
              "%s: dataset %s is damaged: its checksum is %s, the file says %s", f->path, name, found, stored);
cleanup:
  syz_free(&block);
  syz_free(&stored);
  return st;
}
