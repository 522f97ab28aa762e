/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Label tables in HDF5 files: the members of a dataset of records, or the datasets of a group. Of the latter a table
 * has those with as many rows as most of them; a row with several items is read whole.
 */
#include "table.h"

#include <stdio.h>
#include <string.h>

enum { BLOCK_BYTES = 4 << 20, ROW_BYTES = 1 << 30 /* most of a row */ };

/* ---------------------------------------------------------------- choosing */

typedef struct search {
  syz_label_table *t;
  int found;
  char first[512], all[512]; /**< names of datasets of records */
} search;

static syz_status ignore(void *context, const char *name)
{
  (void)context;
  (void)name;
  return SYZ_OK;
}

/* A dataset of records: its members can be visited. */
static bool is_records(syz_label_table *t, const char *name)
{
  int bits;
  char kind;
  return syz_h5_class(t->h5, name, &kind, &bits) == SYZ_OK && kind == '?' &&
         syz_h5_visit(t->h5, name, ignore, NULL) == SYZ_OK;
}

static syz_status look_for_records(void *context, const char *name)
{
  search *s = context;
  if (!is_records(s->t, name)) return SYZ_OK;
  if (s->found++ == 0) snprintf(s->first, sizeof s->first, "%.500s", name);
  const size_t used = strlen(s->all);
  snprintf(s->all + used, sizeof s->all - used, "%s%.200s", used ? ", " : "", name);
  return SYZ_OK;
}

static syz_status choose_part(syz_label_table *t, const char *part)
{
  syz_status st = SYZ_OK;
  search s = {.t = t};
  if (!*part) {
    SYZ_TRY(syz_h5_visit(t->h5, "", look_for_records, &s));
    SYZ_REQUIRE(s.found <= 1, SYZ_ERR_DATA, "%s: %d tables, of which one must be named: %s", t->path, s.found, s.all);
    part = s.first;
  } else {
    SYZ_REQUIRE(syz_h5_has(t->h5, part), SYZ_ERR_DATA, "%s: no dataset or group '%s'", t->path, part);
    SYZ_REQUIRE(strlen(part) < sizeof t->prefix - 1, SYZ_ERR_DATA, "%s: a name of %zu characters", t->path,
                strlen(part));
  }
  snprintf(t->prefix, sizeof t->prefix, "%.500s%s", part, *part ? "/" : "");
cleanup:
  return st;
}

/* ----------------------------------------------------------------- columns */

typedef struct listing {
  syz_label_table *t;
  int64_t rows; /**< that are taken; -1: all, to be counted */
  struct {
    int64_t rows, datasets;
  } length[64];
  int lengths;
} listing;

static void count_length(listing *l, int64_t rows)
{
  int k = 0;
  while (k < l->lengths && l->length[k].rows != rows) k++;
  if (k == (int)(sizeof l->length / sizeof *l->length)) return;
  l->length[k].rows = rows;
  l->length[k].datasets++;
  if (k == l->lengths) l->lengths++;
}

/* A dataset that cannot be read is left out; asking for its name then says that there is no such column. */
static syz_status list_one(void *context, const char *name)
{
  listing *l = context;
  syz_label_table *t = l->t;
  char full[1024], kind = '?', *unit = NULL;
  int ndim, bits;
  int64_t shape[8], items = 1;
  snprintf(full, sizeof full, "%s%s", t->prefix, name);
  if (syz_h5_shape(t->h5, full, &ndim, shape) != SYZ_OK || ndim < 1) return SYZ_OK;
  if (l->rows < 0) {
    count_length(l, shape[0]);
    return SYZ_OK;
  }
  if (shape[0] != l->rows || syz_h5_class(t->h5, full, &kind, &bits) != SYZ_OK) return SYZ_OK;
  for (int i = 1; i < ndim; i++) items *= shape[i];
  if (syz_h5_read_text(t->h5, full, "units", &unit) != SYZ_OK) unit = NULL;
  const syz_status st = labels_add_column(t, name, unit ? unit : "", items < 1 ? '?' : kind == 'u' ? 'i' : kind, items);
  syz_free(&unit);
  return st;
}

static syz_status list_columns(syz_label_table *t)
{
  syz_status st = SYZ_OK;
  listing l = {.t = t, .rows = -1};
  char group[512];
  snprintf(group, sizeof group, "%.*s", (int)(strlen(t->prefix) - (*t->prefix != '\0')), t->prefix);
  SYZ_TRY(syz_h5_visit(t->h5, group, list_one, &l));
  int64_t most = 0;
  for (int k = 0; k < l.lengths; k++)
    if (l.length[k].datasets > most) {
      most = l.length[k].datasets;
      l.rows = l.length[k].rows;
    }
  SYZ_REQUIRE(l.rows >= 0, SYZ_ERR_DATA, "%s: no columns in %s", t->path, *group ? group : "it");
  t->rows = l.rows;
  SYZ_TRY(syz_h5_visit(t->h5, group, list_one, &l));
cleanup:
  return st;
}

static syz_status h5_open(syz_label_table *t, const char *part, bool verify)
{
  syz_status st = SYZ_OK;
  (void)verify;
  SYZ_TRY(syz_h5_open(NULL, t->path, &t->h5));
  SYZ_TRY(choose_part(t, part));
  SYZ_TRY(list_columns(t));
cleanup:
  return st;
}

static void h5_close(syz_label_table *t) { syz_h5_close(&t->h5); }

/* ----------------------------------------------------------------- reading */

/* Item `item` of each row, `bytes` long; rows come whole, as many at a time as a block takes. */
static syz_status read_items(syz_label_table *t, int column, int64_t item, int64_t first, int64_t n, size_t bytes,
                             syz_status (*read)(syz_label_table *t, const char *name, int64_t first, int64_t n,
                                                size_t bytes, void *to),
                             char *out)
{
  syz_status st = SYZ_OK;
  char name[1024], *block = NULL;
  const int64_t items = t->column[column].items;
  int64_t step;
  SYZ_REQUIRE(items <= ROW_BYTES / (int64_t)bytes, SYZ_ERR_DATA,
              "%s: column %s has %lld items per row; at most %lld can be read", t->path, t->column[column].name,
              (long long)items, (long long)(ROW_BYTES / (int64_t)bytes));
  step = BLOCK_BYTES / (items * (int64_t)bytes) + 1;
  if (step > n) step = n;
  snprintf(name, sizeof name, "%s%s", t->prefix, t->column[column].name);
  if (items == 1) return read(t, name, first, n, bytes, out);
  block = syz_alloc("rows of a table", (size_t)(step * items), bytes);
  SYZ_REQUIRE(block || !step, SYZ_ERR_MEMORY, "%s: column %s: no memory for its rows", t->path, t->column[column].name);
  for (int64_t done = 0; done < n; done += step) {
    const int64_t some = n - done < step ? n - done : step;
    SYZ_TRY(read(t, name, first + done, some, bytes, block));
    for (int64_t i = 0; i < some; i++)
      memcpy(out + (size_t)(done + i) * bytes, block + (size_t)(i * items + item) * bytes, bytes);
  }
cleanup:
  syz_free(&block);
  return st;
}

static syz_status read_f64(syz_label_table *t, const char *name, int64_t first, int64_t n, size_t bytes, void *to)
{
  (void)bytes;
  return syz_h5_read(t->h5, name, SYZ_H5_F64, first, n, to);
}

static syz_status read_i64(syz_label_table *t, const char *name, int64_t first, int64_t n, size_t bytes, void *to)
{
  (void)bytes;
  return syz_h5_read(t->h5, name, SYZ_H5_I64, first, n, to);
}

static syz_status read_text(syz_label_table *t, const char *name, int64_t first, int64_t n, size_t bytes, void *to)
{
  return syz_h5_read_strings(t->h5, name, first, n, bytes, to);
}

static syz_status h5_numbers(syz_label_table *t, int column, int64_t item, int64_t first, int64_t n, double *out)
{
  return read_items(t, column, item, first, n, sizeof *out, read_f64, (char *)out);
}

static syz_status h5_wholes(syz_label_table *t, int column, int64_t item, int64_t first, int64_t n, int64_t *out)
{
  return read_items(t, column, item, first, n, sizeof *out, read_i64, (char *)out);
}

static syz_status h5_texts(syz_label_table *t, int column, int64_t item, int64_t first, int64_t n, size_t room,
                           char *out)
{
  return read_items(t, column, item, first, n, room, read_text, out);
}

const labels_format labels_h5 = {h5_open, h5_close, h5_numbers, h5_wholes, h5_texts};
