/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * What is read of a label table: by rank 0 in blocks of rows, so that texts that are numbers, and masks, take no second
 * column; then it goes to all ranks.
 */
#include "table.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { BLOCK = 1 << 14 };

/* -------------------------------------------------------------- rank-local */

static bool is_none(const char *text)
{
  static const char *const none[] = {"", "nan", "null", "none", "--"};
  for (size_t i = 0; i < sizeof none / sizeof *none; i++)
    if (strcasecmp(text, none[i]) == 0) return true;
  return false;
}

/* Rows [first, first + n) that astropy's NAME.mask says have no value. mask [BLOCK]; *has: there is such a column. */
static syz_status read_mask(syz_label_table *t, int column, int64_t item, int64_t first, int64_t n, double *mask,
                            bool *has)
{
  char name[sizeof t->column->name + 8];
  int k = 0;
  snprintf(name, sizeof name, "%s.mask", t->column[column].name);
  while (k < t->columns && strcmp(t->column[k].name, name) != 0) k++;
  *has = k < t->columns && strchr("bi", t->column[k].kind) && t->column[k].items == t->column[column].items;
  return *has ? t->format->numbers(t, k, item, first, n, mask) : SYZ_OK;
}

static syz_status number_of(const syz_label_table *t, int column, int64_t row, const char *text, double *value)
{
  syz_status st = SYZ_OK;
  char *end;
  *value = (double)NAN;
  if (is_none(text)) return SYZ_OK;
  *value = strtod(text, &end);
  SYZ_REQUIRE(!*end, SYZ_ERR_DATA, "%s: column %s, row %lld: '%.80s' is not a number", t->path, t->column[column].name,
              (long long)row, text);
cleanup:
  return st;
}

static syz_status id_of(const syz_label_table *t, int column, int64_t row, const char *text, int64_t *id)
{
  syz_status st = SYZ_OK;
  char *end;
  *id = SYZ_LABEL_NO_ID;
  if (is_none(text)) return SYZ_OK;
  errno = 0;
  *id = strtoll(text, &end, 10);
  SYZ_REQUIRE(!*end && !errno, SYZ_ERR_DATA,
              "%s: column %s, row %lld: '%.80s' is not a whole number of 64 bits, so it is no identifier", t->path,
              t->column[column].name, (long long)row, text);
cleanup:
  return st;
}

static syz_status id_of_float(const syz_label_table *t, int column, int64_t row, double value, int64_t *id)
{
  syz_status st = SYZ_OK;
  const double exact = 9007199254740992; /* 2^53 */
  *id = SYZ_LABEL_NO_ID;
  if (isnan(value)) return SYZ_OK;
  SYZ_REQUIRE(fabs(value) < exact, SYZ_ERR_DATA,
              "%s: column %s holds identifiers as floats, which lose digits beyond 2^53: row %lld has %.17g. Write the "
              "column as 64-bit integers or as text, or join by position",
              t->path, t->column[column].name, (long long)row, value);
  SYZ_REQUIRE(value == floor(value), SYZ_ERR_DATA,
              "%s: column %s, row %lld: %.17g is not a whole number, so it is no identifier", t->path,
              t->column[column].name, (long long)row, value);
  *id = (int64_t)value;
cleanup:
  return st;
}

/* What a column is read into, one of these at a time, with the scratch of a block. */
typedef struct target {
  double *number;
  int64_t *id;
  uint8_t *side;
  double *block, *mask; /**< [BLOCK] */
  char *text;           /**< [BLOCK, LABELS_TEXT] */
} target;

static syz_status side_of(const syz_label_table *t, int column, int64_t row, const char *text, double value,
                          uint8_t *side)
{
  syz_status st = SYZ_OK;
  const bool is_text = t->column[column].kind == 's';
  char shown[40];
  *side = SYZ_SIDE_NONE;
  if (is_text ? is_none(text) : isnan(value)) return SYZ_OK;
  if (is_text ? !strcasecmp(text, "train") || !strcmp(text, "0") : value == 0) *side = SYZ_SIDE_TRAIN;
  if (is_text ? !strcasecmp(text, "test") || !strcmp(text, "1") : value == 1) *side = SYZ_SIDE_TEST;
  snprintf(shown, sizeof shown, "%g", value);
  SYZ_REQUIRE(*side != SYZ_SIDE_NONE, SYZ_ERR_DATA,
              "%s: column %s, row %lld: '%.80s' is no side: 0 or train, 1 or test are wanted", t->path,
              t->column[column].name, (long long)row, is_text ? text : shown);
cleanup:
  return st;
}

static syz_status put_row(const syz_label_table *t, int column, int64_t row, bool is_masked, int64_t i, target *to)
{
  const bool is_text = t->column[column].kind == 's';
  const char *text = is_text ? is_masked ? "" : to->text + i * LABELS_TEXT : "";
  const double value = is_masked || is_text ? (double)NAN : to->block[i];
  if (to->side) return side_of(t, column, row, text, value, &to->side[row]);
  if (to->id)
    return is_text ? id_of(t, column, row, text, &to->id[row]) : id_of_float(t, column, row, value, &to->id[row]);
  if (is_text) return number_of(t, column, row, text, &to->number[row]);
  to->number[row] = value;
  return SYZ_OK;
}

static syz_status read_block(syz_label_table *t, int column, int64_t item, int64_t first, int64_t n, target *to)
{
  syz_status st = SYZ_OK;
  bool has_mask;
  const char kind = t->column[column].kind;
  SYZ_TRY(read_mask(t, column, item, first, n, to->mask, &has_mask));
  if (kind == 's')
    SYZ_TRY(t->format->texts(t, column, item, first, n, LABELS_TEXT, to->text));
  else
    SYZ_TRY(t->format->numbers(t, column, item, first, n, to->block));
  if (to->id && kind == 'i') {
    SYZ_TRY(t->format->wholes(t, column, item, first, n, to->id + first));
    for (int64_t i = 0; i < n; i++) /* the numbers know what has no value */
      if (isnan(to->block[i]) || (has_mask && to->mask[i] != 0)) to->id[first + i] = SYZ_LABEL_NO_ID;
    return SYZ_OK;
  }
  for (int64_t i = 0; i < n; i++) SYZ_TRY(put_row(t, column, first + i, has_mask && to->mask[i] != 0, i, to));
cleanup:
  return st;
}

static syz_status read_here(syz_label_table *t, int column, int64_t item, target *to)
{
  syz_status st = SYZ_OK;
  SYZ_ALLOC(to->block, "block of a table", BLOCK);
  SYZ_ALLOC(to->mask, "block of a table", BLOCK);
  SYZ_ALLOC(to->text, "block of a table", BLOCK * LABELS_TEXT);
  for (int64_t first = 0; first < t->rows; first += BLOCK)
    SYZ_TRY(read_block(t, column, item, first, t->rows - first < BLOCK ? t->rows - first : BLOCK, to));
cleanup:
  syz_free(&to->block);
  syz_free(&to->mask);
  syz_free(&to->text);
  return st;
}

static syz_status check_column(const syz_label_table *t, int column, int64_t item)
{
  syz_status st = SYZ_OK;
  SYZ_REQUIRE(column >= 0 && column < t->columns, SYZ_ERR_INTERNAL, "%s: no column %d of %d", t->path, column,
              t->columns);
  const syz_label_column *c = &t->column[column];
  SYZ_REQUIRE(c->kind != '?', SYZ_ERR_DATA, "%s: column %s is of a type that is not read", t->path, c->name);
  SYZ_REQUIRE(item >= 0 && item < c->items, SYZ_ERR_DATA, "%s: column %s has %lld items; number %lld is asked for",
              t->path, c->name, (long long)c->items, (long long)item);
cleanup:
  return st;
}

/* -------------------------------------------------------------- collective */

static syz_status read_all(syz_label_table *t, int column, int64_t item, target to, void *out, size_t row_bytes)
{
  syz_status st = SYZ_OK;
  SYZ_TRY(check_column(t, column, item)); /* all ranks alike */
  SYZ_TRY_ALL(t->comm, syz_comm_rank(t->comm) == 0 ? read_here(t, column, item, &to) : SYZ_OK);
  syz_bcast(t->comm, out, (size_t)t->rows * row_bytes, 0);
cleanup:
  return st;
}

syz_status syz_label_table_numbers(syz_label_table *t, int column, int64_t item, double *out)
{
  return read_all(t, column, item, (target){.number = out}, out, sizeof *out);
}

syz_status syz_label_table_ids(syz_label_table *t, int column, int64_t *id)
{
  return read_all(t, column, 0, (target){.id = id}, id, sizeof *id);
}

syz_status syz_label_table_sides(syz_label_table *t, int column, uint8_t *side)
{
  return read_all(t, column, 0, (target){.side = side}, side, sizeof *side);
}

static syz_status read_texts(syz_label_table *t, int column, size_t room, char *text)
{
  syz_status st = SYZ_OK;
  double *mask = NULL;
  bool has_mask;
  SYZ_ALLOC(mask, "block of a table", BLOCK);
  for (int64_t first = 0; first < t->rows; first += BLOCK) {
    const int64_t n = t->rows - first < BLOCK ? t->rows - first : BLOCK;
    SYZ_TRY(read_mask(t, column, 0, first, n, mask, &has_mask));
    SYZ_TRY(t->format->texts(t, column, 0, first, n, room, text + (size_t)first * room));
    for (int64_t i = 0; has_mask && i < n; i++)
      if (mask[i] != 0) text[(size_t)(first + i) * room] = '\0';
  }
cleanup:
  syz_free(&mask);
  return st;
}

syz_status syz_label_table_texts(syz_label_table *t, int column, size_t room, char *text)
{
  syz_status st = SYZ_OK;
  SYZ_TRY(check_column(t, column, 0));
  SYZ_REQUIRE(t->column[column].kind == 's', SYZ_ERR_DATA, "%s: column %s is not text", t->path,
              t->column[column].name);
  SYZ_TRY_ALL(t->comm, syz_comm_rank(t->comm) == 0 ? read_texts(t, column, room, text) : SYZ_OK);
  syz_bcast(t->comm, text, (size_t)t->rows * room, 0);
cleanup:
  return st;
}

/* ---------------------------------------------------------------- formulas */

static syz_status make_inputs(const syz_label_table *t, int n, double ***input)
{
  syz_status st = SYZ_OK;
  SYZ_ALLOC(*input, "columns of a formula", n + 1);
  for (int k = 0; k < n; k++) SYZ_ALLOC((*input)[k], "columns of a formula", t->rows + 1);
cleanup:
  return st;
}

static syz_status read_input(syz_label_table *t, const syz_formula *f, int k, double *out)
{
  syz_status st = SYZ_OK;
  int64_t item;
  const int column = syz_formula_input(f, k, &item);
  SYZ_REQUIRE(item >= 0 || t->column[column].items == 1, SYZ_ERR_DATA,
              "%s: column %s has %lld items in a row: say which, from %s[0] on", t->path, t->column[column].name,
              (long long)t->column[column].items, t->column[column].name);
  SYZ_TRY(syz_label_table_numbers(t, column, item < 0 ? 0 : item, out));
cleanup:
  return st;
}

syz_status syz_label_table_evaluate(syz_label_table *t, const char *formula, double *out, syz_label_counts *counts)
{
  syz_status st = SYZ_OK;
  syz_formula *f = NULL;
  double **input = NULL;
  int n = 0;
  SYZ_TRY_ALL(t->comm, syz_formula_parse(formula, labels_names(t), &f));
  n = syz_formula_inputs(f);
  SYZ_TRY_ALL(t->comm, make_inputs(t, n, &input));
  for (int k = 0; k < n; k++) SYZ_TRY(read_input(t, f, k, input[k]));
  SYZ_TRY_ALL(t->comm, syz_formula_evaluate(f, t->rows, (const double *const *)input, out, counts));
cleanup:
  for (int k = 0; input && k < n; k++) syz_free(&input[k]);
  syz_free(&input);
  syz_formula_destroy(&f);
  return st;
}
