/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Label tables beside the embedding files, joined to the objects by identifier or position. Several tables with the
 * same columns, such as one per brick, are one: an object's row is in the first that has it.
 *
 * Rows of one object that differ in anything that the probe asks of them contradict each other, so what is asked is
 * evaluated before the join.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "sample.h"

/* A table and which of its rows belongs to each object. */
typedef struct joined {
  syz_label_table *table;
  syz_join join; /* row NULL: it has none of the objects */
} joined;

struct sample_tables {
  const sample *sample;
  int n;
  joined *each;      /* [n] */
  const char **name; /* columns of the first table */
  int names;
};

/* What the probe asks of a table while it is joined. */
typedef struct asked {
  double *value; /* [values][rows] */
  const double **each;
  int values;
} asked;

static void asked_free(asked *a)
{
  syz_free(&a->value);
  syz_free(&a->each);
}

syz_texts sample_tables_names(const sample_tables *t) { return (syz_texts){t->names, t->name}; }

syz_status sample_tables_find(const sample_tables *t, const char *formula, bool *is_there)
{
  char text[SYZ_ERROR_TEXT];
  syz_formula *f = NULL;
  *is_there = false;
  if (!t->n || !formula[0]) return SYZ_OK;
  syz_error_keep(text);
  syz_status st = syz_formula_parse(formula, sample_tables_names(t), &f);
  *is_there = st == SYZ_OK;
  if (st == SYZ_ERR_DATA || st == SYZ_ERR_INPUT) {
    st = SYZ_OK;
    syz_error_restore(text);
  }
  syz_formula_destroy(&f);
  return syz_agree(t->sample->comm, st);
}

syz_status sample_tables_find_all(const sample_tables *t, syz_texts name)
{
  syz_status st = SYZ_OK;
  if (!t->n) return SYZ_OK;
  int *column = syz_alloc("columns", (size_t)name.n + 1, sizeof *column);
  SYZ_TRY_ALL(t->sample->comm, column ? syz_label_table_find_all(t->each[0].table, name, column) : SYZ_ERR_MEMORY);
cleanup:
  syz_free(&column);
  return st;
}

/* ------------------------------------------------------------ join */

static syz_status ask(const sample_tables *t, const joined *j, const char *formula, asked *a)
{
  syz_status st = SYZ_OK;
  const int64_t rows = syz_label_table_rows(j->table);
  bool is_there;
  SYZ_TRY(sample_tables_find(t, formula, &is_there));
  if (!is_there) goto cleanup; /* of the embedding files, or an error that is told where it is used */
  a->each[a->values] = a->value + a->values * rows;
  SYZ_TRY(syz_label_table_evaluate(j->table, formula, a->value + a->values * rows, NULL));
  a->values++;
cleanup:
  return st;
}

static syz_status ask_all(const sample_tables *t, const joined *j, const syz_probe_data *d, asked *a)
{
  syz_status st = SYZ_OK;
  const syz_texts *list[] = {&d->labels, &d->classes, &d->photometry};
  const char *one[] = {d->cut, d->sides.rule == SYZ_SIDES_BY_COLUMN ? d->sides_column : ""};
  const int most = d->labels.n + d->classes.n + d->photometry.n + 2;
  a->value = syz_alloc("columns", (size_t)(most * syz_label_table_rows(j->table)) + 1, sizeof *a->value);
  a->each = syz_alloc("columns", (size_t)most, sizeof *a->each);
  SYZ_TRY_ALL(t->sample->comm, a->value && a->each ? SYZ_OK : SYZ_ERR_MEMORY);
  for (size_t k = 0; k < sizeof list / sizeof *list; k++)
    for (int i = 0; i < list[k]->n; i++) SYZ_TRY(ask(t, j, list[k]->item[i], a));
  for (size_t k = 0; k < sizeof one / sizeof *one; k++) SYZ_TRY(ask(t, j, one[k], a));
cleanup:
  return st;
}

static syz_status join_by_place(const sample *s, const syz_probe_data *d, const char *path, const asked *a, joined *j)
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
  SYZ_TRY(
      syz_join_places(s->comm, s->rows, s->ra, s->dec, rows, ra, dec, d->radius_arcsec, a->values, a->each, &j->join));
cleanup:
  syz_free(&ra);
  syz_free(&dec);
  return st;
}

static syz_status join_by_id(const sample *s, const syz_probe_data *d, const char *path, const asked *a, joined *j)
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
  SYZ_TRY(syz_join_ids(s->comm, s->rows, s->id, rows, id, a->values, a->each, &j->join));
cleanup:
  syz_free(&id);
  return st;
}

/* Open a table and join it. *is_joined false: it has none of the objects, which the recorded error says. */
static syz_status add_table(sample_tables *t, const syz_probe_data *d, const char *path, bool *is_joined)
{
  syz_status st = SYZ_OK;
  char text[512];
  asked a = {0};
  joined *j = &t->each[t->n];
  SYZ_TRY(syz_label_table_open(t->sample->comm, path, d->table_part, true, &j->table));
  if (!t->n++) {
    const int names = syz_label_table_columns(j->table);
    t->name = syz_alloc("column names", (size_t)names + 1, sizeof *t->name);
    SYZ_TRY_ALL(t->sample->comm, t->name ? SYZ_OK : SYZ_ERR_MEMORY);
    for (int i = 0; i < names; i++) t->name[i] = syz_label_table_column(j->table, i)->name;
    t->names = names;
  }
  SYZ_TRY(ask_all(t, j, d, &a));
  st = d->radius_arcsec > 0 ? join_by_place(t->sample, d, path, &a, j) : join_by_id(t->sample, d, path, &a, j);
  *is_joined = st == SYZ_OK;
  if (st == SYZ_OK) {
    syz_join_describe(&j->join, t->sample->id, text);
    syz_info("%s: %s", path, text);
  } else if (st == SYZ_ERR_DATA && d->tables.n > 1 && j->join.n > 0) { /* it has none of the objects */
    syz_info("%s: %s", path, syz_error_text());
    st = SYZ_OK;
  }
  SYZ_TRY(st);
cleanup:
  asked_free(&a);
  return st;
}

syz_status sample_tables_open(const sample *s, const syz_probe_data *d, sample_tables **out)
{
  syz_status st = SYZ_OK;
  bool is_joined, has_any = d->tables.n == 0;
  sample_tables *t = syz_alloc("tables", 1, sizeof *t);
  *out = NULL;
  SYZ_TRY_ALL(s->comm, t ? SYZ_OK : SYZ_ERR_MEMORY);
  *t = (sample_tables){.sample = s};
  t->each = syz_alloc("tables", (size_t)d->tables.n + 1, sizeof *t->each);
  SYZ_TRY_ALL(s->comm, t->each ? SYZ_OK : SYZ_ERR_MEMORY);
  for (int i = 0; i < d->tables.n; i++) {
    SYZ_TRY(add_table(t, d, d->tables.item[i], &is_joined));
    has_any = has_any || is_joined;
  }
  SYZ_REQUIRE(has_any, SYZ_ERR_DATA, "probe.table: none of the %d tables has any of the objects", d->tables.n);
  *out = t;
  t = NULL;
cleanup:
  sample_tables_close(&t);
  return st;
}

void sample_tables_close(sample_tables **tp)
{
  sample_tables *t = *tp;
  if (!t) return;
  for (int i = 0; i < t->n; i++) {
    syz_label_table_close(&t->each[i].table);
    syz_join_free(&t->each[i].join);
  }
  syz_free(&t->each);
  syz_free(&t->name);
  syz_free(tp);
}

/* ------------------------------------------------------------ values */

syz_status sample_tables_evaluate(const sample_tables *t, const char *formula, double *value, char unit[72])
{
  syz_status st = SYZ_OK;
  const int64_t n = t->sample->rows;
  int column;
  double *of_row = NULL;
  for (int64_t i = 0; i < n; i++) value[i] = NAN;
  for (int k = t->n - 1; k >= 0; k--) { /* the first one is written last */
    const joined *j = &t->each[k];
    if (!j->join.row) continue;
    of_row = syz_alloc("label", (size_t)syz_label_table_rows(j->table) + 1, sizeof *of_row);
    SYZ_TRY_ALL(t->sample->comm, of_row ? SYZ_OK : SYZ_ERR_MEMORY);
    SYZ_TRY(syz_label_table_evaluate(j->table, formula, of_row, NULL));
    for (int64_t i = 0; i < n; i++)
      if (j->join.row[i] >= 0) value[i] = of_row[j->join.row[i]];
    syz_free(&of_row);
  }
  if (unit && syz_label_table_has(t->each[0].table, formula, &column))
    snprintf(unit, 72, "%s", syz_label_table_column(t->each[0].table, column)->unit);
cleanup:
  syz_free(&of_row);
  return st;
}
