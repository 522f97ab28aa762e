/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Formulas of labels: their columns are those of a label table, joined to the objects by identifier or position, or
 * label/NAME of the embedding files.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "sample.h"

/* A table and which of its rows belongs to each object. */
typedef struct joined {
  syz_label_table *table;
  syz_join join;
} joined;

struct sample_columns {
  sample *sample;
  syz_embedding_set *set;
  char (*name)[SYZ_LABEL_NAME]; /* labels of the embedding files */
  const char **item;
  int n;
  size_t room;
  int n_tables;
  joined *table; /* [n_tables] */
};

/* ------------------------------------------------------------ labels of the embedding files */

static syz_status add_name(void *context, const char *name)
{
  syz_status st = SYZ_OK;
  sample_columns *c = context;
  for (int i = 0; i < c->n; i++)
    if (strcmp(c->name[i], name) == 0) return SYZ_OK;
  if (strlen(name) >= sizeof c->name[0] || c->n >= SYZ_LABELS_MAX) return SYZ_OK; /* none that a shard could hold */
  SYZ_TRY(syz_grow(&c->name, "label names", c->n, 1, &c->room));
  snprintf(c->name[c->n++], sizeof c->name[0], "%s", name);
cleanup:
  return st;
}

static syz_status list_names(sample_columns *c)
{
  syz_status st = SYZ_OK;
  for (int i = 0; i < c->set->n_files; i++) SYZ_TRY(syz_h5_visit(c->set->file[i], "label", add_name, c));
  SYZ_ALLOC(c->item, "label names", c->n + 1);
  for (int i = 0; i < c->n; i++) c->item[i] = c->name[i];
cleanup:
  return st;
}

/* ------------------------------------------------------------ the table */

static syz_status join_by_place(const sample *s, const syz_probe_data *d, const char *path, joined *j)
{
  syz_status st = SYZ_OK;
  const int64_t rows = syz_label_table_rows(j->table);
  int column[2];
  double *ra = syz_alloc("positions", (size_t)rows + 1, sizeof *ra);
  double *dec = syz_alloc("positions", (size_t)rows + 1, sizeof *dec);
  SYZ_TRY_ALL(s->comm, ra && dec ? SYZ_OK : SYZ_ERR_MEMORY);
  SYZ_TRY_ALL(s->comm, syz_label_table_find_places(j->table, d->table_ra, d->table_dec, &column[0], &column[1]));
  SYZ_REQUIRE(column[0] >= 0, SYZ_ERR_DATA,
              "probe.table: %s has no columns of positions; name them in probe.table_ra and probe.table_dec", path);
  SYZ_TRY(syz_label_table_numbers(j->table, column[0], 0, ra));
  SYZ_TRY(syz_label_table_numbers(j->table, column[1], 0, dec));
  SYZ_TRY(syz_join_places(s->comm, s->rows, s->ra, s->dec, rows, ra, dec, d->radius_arcsec, 0, NULL, &j->join));
cleanup:
  syz_free(&ra);
  syz_free(&dec);
  return st;
}

static syz_status join_by_id(const sample *s, const syz_probe_data *d, const char *path, joined *j)
{
  syz_status st = SYZ_OK;
  const int64_t rows = syz_label_table_rows(j->table);
  int column;
  int64_t *id = syz_alloc("identifiers", (size_t)rows + 1, sizeof *id);
  SYZ_TRY_ALL(s->comm, id ? SYZ_OK : SYZ_ERR_MEMORY);
  SYZ_TRY_ALL(s->comm, syz_label_table_find_ids(j->table, d->table_id, &column));
  SYZ_REQUIRE(column >= 0, SYZ_ERR_DATA,
              "probe.table: %s has no column of identifiers; name it in probe.table_id, or join by position "
              "(probe.radius)",
              path);
  SYZ_TRY(syz_label_table_ids(j->table, column, id));
  SYZ_TRY(syz_join_ids(s->comm, s->rows, s->id, rows, id, 0, NULL, &j->join));
cleanup:
  syz_free(&id);
  return st;
}

/* Of several tables some may have none of the objects: that is an error only when it holds for all. */
static syz_status open_tables(sample_columns *c, const syz_probe_data *d)
{
  syz_status st = SYZ_OK;
  const sample *s = c->sample;
  char text[SYZ_ERROR_TEXT];
  bool is_joined = d->tables.n == 0;
  c->table = syz_alloc("tables", (size_t)d->tables.n + 1, sizeof *c->table);
  SYZ_TRY_ALL(s->comm, c->table ? SYZ_OK : SYZ_ERR_MEMORY);
  for (int i = 0; i < d->tables.n; i++) {
    const char *path = d->tables.item[i];
    joined *j = &c->table[c->n_tables];
    SYZ_TRY(syz_label_table_open(s->comm, path, d->table_part, true, &j->table));
    c->n_tables++;
    st = d->radius_arcsec > 0 ? join_by_place(s, d, path, j) : join_by_id(s, d, path, j);
    if (st == SYZ_OK)
      syz_join_describe(&j->join, s->id, text);
    else if (st == SYZ_ERR_DATA)
      syz_error_keep(text);
    else
      SYZ_TRY(st);
    syz_info("%s: %s", path, text);
    is_joined = is_joined || st == SYZ_OK;
  }
  if (!is_joined) syz_error_restore(text);
  st = is_joined ? SYZ_OK : SYZ_ERR_DATA;
cleanup:
  return st;
}

syz_status sample_columns_open(sample *s, syz_embedding_set *set, const syz_probe_data *d, sample_columns **out)
{
  syz_status st = SYZ_OK;
  sample_columns *c = syz_alloc("labels", 1, sizeof *c);
  *out = NULL;
  SYZ_TRY_ALL(s->comm, c ? SYZ_OK : SYZ_ERR_MEMORY);
  *c = (sample_columns){.sample = s, .set = set};
  SYZ_TRY_ALL(s->comm, list_names(c));
  SYZ_TRY(open_tables(c, d));
  *out = c;
  c = NULL;
cleanup:
  sample_columns_close(&c);
  return st;
}

void sample_columns_close(sample_columns **cp)
{
  sample_columns *c = *cp;
  if (!c) return;
  for (int i = 0; i < c->n_tables; i++) {
    syz_label_table_close(&c->table[i].table);
    syz_join_free(&c->table[i].join);
  }
  syz_free(&c->table);
  syz_free(&c->name);
  syz_free(&c->item);
  syz_free(cp);
}

/* ------------------------------------------------------------ formulas */

/* From the first table that has the object. */
static syz_status by_tables(sample_columns *c, const char *formula, double *value)
{
  syz_status st = SYZ_OK;
  const int64_t n = c->sample->rows;
  double *of_row = NULL;
  for (int64_t i = 0; i < n; i++) value[i] = NAN;
  for (int t = c->n_tables - 1; t >= 0; t--) { /* the first one is written last */
    const joined *j = &c->table[t];
    if (!j->join.row) continue;
    of_row = syz_alloc("label", (size_t)syz_label_table_rows(j->table) + 1, sizeof *of_row);
    SYZ_TRY_ALL(c->sample->comm, of_row ? SYZ_OK : SYZ_ERR_MEMORY);
    SYZ_TRY(syz_label_table_evaluate(j->table, formula, of_row, NULL));
    for (int64_t i = 0; i < n; i++)
      if (j->join.row[i] >= 0) value[i] = of_row[j->join.row[i]];
    syz_free(&of_row);
  }
cleanup:
  syz_free(&of_row);
  return st;
}

/* Rank-local: every rank reads the columns whole. */
static syz_status by_files(sample_columns *c, const char *key, const syz_formula *f, double *value, char unit[72])
{
  syz_status st = SYZ_OK;
  const int64_t rows = c->sample->rows;
  const int n = syz_formula_inputs(f);
  float *raw = NULL;
  double *all = NULL;
  const double **input = NULL;
  SYZ_ALLOC(raw, "label", rows);
  SYZ_ALLOC(all, "labels", rows * n + 1);
  SYZ_ALLOC(input, "labels", n + 1);
  for (int k = 0; k < n; k++) {
    int64_t item;
    const char *name = c->item[syz_formula_input(f, k, &item)];
    SYZ_REQUIRE(item <= 0, SYZ_ERR_INPUT, "label/%s holds one number per object, and no item %lld", name,
                (long long)item);
    SYZ_TRY(syz_embedding_set_check_label(c->set, key, name));
    SYZ_TRY(syz_embedding_set_label(c->set, name, 0, rows, raw));
    for (int64_t i = 0; i < rows; i++) all[k * rows + i] = (double)raw[i];
    input[k] = all + k * rows;
    if (unit && n == 1) SYZ_TRY(syz_embedding_set_label_unit(c->set, name, unit));
  }
  SYZ_TRY(syz_formula_evaluate(f, rows, input, value, NULL));
cleanup:
  syz_free(&raw);
  syz_free(&all);
  syz_free(&input);
  return st;
}

syz_status sample_columns_evaluate(sample_columns *c, const char *key, const char *formula, double *value,
                                   syz_label_counts *counts, char unit[72])
{
  syz_status st = SYZ_OK;
  char text[SYZ_ERROR_TEXT];
  syz_formula *f = NULL;
  bool is_done = false;
  if (unit) unit[0] = '\0';
  if (c->n_tables) {
    st = by_tables(c, formula, value);
    is_done = st == SYZ_OK;
    if (!is_done) syz_error_keep(text);
  }
  if (!is_done) {
    const syz_status of_table = st;
    st = syz_formula_parse(formula, (syz_texts){c->n, c->item}, &f);
    if (st != SYZ_OK && of_table != SYZ_OK) syz_error_restore(text); /* the table is what was asked for by name */
    if (st == SYZ_OK) st = by_files(c, key, f, value, unit);
    if (st != SYZ_OK) st = syz_error_prefix(st, key);
  }
  SYZ_TRY_ALL(c->sample->comm, st);
  if (counts) *counts = syz_label_count(c->sample->rows, value);
cleanup:
  syz_formula_destroy(&f);
  return st;
}
