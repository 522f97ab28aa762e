/* SPDX-License-Identifier: BSD-3-Clause */
/* Formulas of labels: of columns of the label tables, or of label/NAME of the embedding files. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "galaxy_zoo.h"
#include "sample.h"

struct sample_columns {
  sample *sample;
  syz_embedding_set *set;
  char (*name)[SYZ_LABEL_NAME]; /* labels of the embedding files */
  const char **item;
  int n;
  size_t room;
  sample_tables *tables;
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

syz_status sample_columns_open(sample *s, syz_embedding_set *set, const syz_probe_data *d, sample_columns **out)
{
  syz_status st = SYZ_OK;
  sample_columns *c = syz_alloc("labels", 1, sizeof *c);
  *out = NULL;
  SYZ_TRY_ALL(s->comm, c ? SYZ_OK : SYZ_ERR_MEMORY);
  *c = (sample_columns){.sample = s, .set = set};
  SYZ_TRY_ALL(s->comm, list_names(c));
  SYZ_TRY(sample_tables_open(s, d, &c->tables));
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
  sample_tables_close(&c->tables);
  syz_free(&c->name);
  syz_free(&c->item);
  syz_free(cp);
}

/* ------------------------------------------------------------ formulas */

/* Rank-local: every rank reads the columns whole. */
static syz_status by_files(sample_columns *c, const char *formula, const syz_formula *f, double *value, char unit[72])
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
    SYZ_TRY(syz_embedding_set_check_label(c->set, name, name));
    SYZ_TRY(syz_embedding_set_label(c->set, name, 0, rows, raw));
    for (int64_t i = 0; i < rows; i++) all[k * rows + i] = (double)raw[i];
    input[k] = all + k * rows;
    if (unit && strcmp(formula, name) == 0) SYZ_TRY(syz_embedding_set_label_unit(c->set, name, unit));
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
  syz_formula *f = NULL;
  bool is_there;
  if (unit) unit[0] = '\0';
  SYZ_TRY(sample_tables_find(c->tables, formula, &is_there));
  if (is_there) {
    st = sample_tables_evaluate(c->tables, formula, value, unit);
  } else {
    st = syz_formula_parse(formula, (syz_texts){c->n, c->item}, &f);
    if (st == SYZ_OK)
      st = by_files(c, formula, f, value, unit);
    else if (st == SYZ_ERR_DATA && sample_tables_names(c->tables).n) /* the tables are what was asked for by name */
      st = syz_formula_parse(formula, sample_tables_names(c->tables), &f);
  }
  if (st != SYZ_OK) st = syz_error_prefix(st, key);
  SYZ_TRY_ALL(c->sample->comm, st);
  if (counts) *counts = syz_label_count(c->sample->rows, value);
cleanup:
  syz_formula_destroy(&f);
  return st;
}

/* ------------------------------------------------------------ votes */

/* All columns that are missing are named at once; a column's text as a whole is its name. */
syz_status sample_columns_votes(sample_columns *c, float *votes)
{
  syz_status st = SYZ_OK;
  const syz_texts name = zoo_columns();
  const int64_t rows = c->sample->rows;
  double *value = syz_alloc("votes", (size_t)rows, sizeof *value);
  SYZ_TRY_ALL(c->sample->comm, value ? SYZ_OK : SYZ_ERR_MEMORY);
  SYZ_TRY(sample_tables_find_all(c->tables, name));
  for (int a = 0; a < name.n; a++) {
    char quoted[80];
    snprintf(quoted, sizeof quoted, "`%s`", name.item[a]);
    SYZ_TRY(sample_columns_evaluate(c, "votes", quoted, value, NULL, NULL));
    SYZ_TRY_ALL(c->sample->comm, syz_votes_check((syz_texts){1, &name.item[a]}, rows, &(const double *const){value}));
    for (int64_t i = 0; i < rows; i++) votes[i * ZOO_ANSWERS + a] = isnan(value[i]) ? 0 : (float)value[i];
  }
cleanup:
  syz_free(&value);
  return st;
}
