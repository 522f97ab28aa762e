/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Runs a list of commands on any number of ranks, one a line with tabs between the words, for test_labels.py. Each
 * prints one line: "ok" and what it found, or the status and its text. Arrays are files of numbers in this machine's
 * own form. That a result is the same on all ranks is checked here.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "scratch.h"
#include "syzygy/h5.h"
#include "syzygy/labels.h"

static syz_comm *world;

static void *load(const char *path, size_t width, int64_t *n)
{
  size_t bytes;
  void *data = scratch_read(path, &bytes);
  if (!data) syz_abort(SYZ_ERR_INTERNAL, __FILE__, __LINE__, "no file %s", path);
  *n = (int64_t)(bytes / width);
  return data;
}

static void save(const char *path, const void *data, size_t bytes)
{
  uint64_t sum = syz_checksum(data, bytes, 0), least = sum, most = sum;
  syz_allreduce_u64(world, &least, 1, SYZ_MIN);
  syz_allreduce_u64(world, &most, 1, SYZ_MAX);
  if (least != most) syz_abort(SYZ_ERR_INTERNAL, __FILE__, __LINE__, "%s: ranks have different results", path);
  if (syz_comm_rank(world) == 0) scratch_write(path, data, bytes);
}

static void say(const char *text)
{
  if (syz_comm_rank(world) == 0) puts(text);
}

static syz_status columns(char **word)
{
  syz_status st = SYZ_OK;
  syz_label_table *t = NULL;
  char text[400];
  SYZ_TRY(syz_label_table_open(world, word[1], word[2], true, &t));
  for (int i = 0; i < syz_label_table_columns(t); i++) {
    const syz_label_column *c = syz_label_table_column(t, i);
    snprintf(text, sizeof text, "column\t%s\t%s\t%c\t%lld", c->name, c->unit, c->kind, (long long)c->items);
    say(text);
  }
  snprintf(text, sizeof text, "ok\t%lld", (long long)syz_label_table_rows(t));
  say(text);
cleanup:
  syz_label_table_close(&t);
  return st;
}

/* numbers | ids | texts | sides  FILE PART COLUMN ITEM OUT */
static syz_status read_column(char **word)
{
  syz_status st = SYZ_OK;
  syz_label_table *t = NULL;
  enum { ROOM = 24 };
  char *out = NULL;
  int column;
  size_t width = !strcmp(word[0], "texts") ? ROOM : !strcmp(word[0], "sides") ? 1 : 8;
  SYZ_TRY(syz_label_table_open(world, word[1], word[2], false, &t));
  const int64_t rows = syz_label_table_rows(t);
  if (!strcmp(word[0], "ids"))
    SYZ_TRY(syz_label_table_find_ids(t, word[3], &column));
  else
    SYZ_TRY(syz_label_table_find(t, word[3], &column));
  out = calloc((size_t)rows + 1, width);
  if (!strcmp(word[0], "numbers"))
    SYZ_TRY(syz_label_table_numbers(t, column, atoll(word[4]), (double *)(void *)out));
  else if (!strcmp(word[0], "ids"))
    SYZ_TRY(syz_label_table_ids(t, column, (int64_t *)(void *)out));
  else if (!strcmp(word[0], "sides"))
    SYZ_TRY(syz_label_table_sides(t, column, (uint8_t *)out));
  else
    SYZ_TRY(syz_label_table_texts(t, column, ROOM, out));
  save(word[5], out, (size_t)rows * width);
  say("ok");
cleanup:
  free(out);
  syz_label_table_close(&t);
  return st;
}

/* evaluate FILE PART FORMULA OUT */
static syz_status evaluate(char **word)
{
  syz_status st = SYZ_OK;
  syz_label_table *t = NULL;
  double *out = NULL;
  syz_label_counts c;
  char text[200];
  SYZ_TRY(syz_label_table_open(world, word[1], word[2], false, &t));
  out = calloc((size_t)syz_label_table_rows(t) + 1, sizeof *out);
  SYZ_TRY(syz_label_table_evaluate(t, word[3], out, &c));
  save(word[4], out, (size_t)syz_label_table_rows(t) * sizeof *out);
  snprintf(text, sizeof text, "ok\t%lld\t%lld\t%lld\t%lld\t%lld\t%d", (long long)c.rows, (long long)c.missing,
           (long long)c.undefined, (long long)c.infinite, (long long)c.usable, c.is_constant);
  say(text);
cleanup:
  free(out);
  syz_label_table_close(&t);
  return st;
}

static syz_status told(const syz_join *j, const int64_t *id, const char *path)
{
  char text[1000], words[512];
  save(path, j->row, (size_t)j->n * sizeof *j->row);
  syz_join_describe(j, id, words);
  snprintf(text, sizeof text, "ok\t%lld\t%lld\t%lld\t%lld\t%s", (long long)j->matched, (long long)j->ambiguous,
           (long long)j->unmatched, (long long)j->merged, words);
  say(text);
  return SYZ_OK;
}

/* join FILE PART FORMULA OUT IDS [RA DEC RADIUS] */
static syz_status join(char **word, int words)
{
  syz_status st = SYZ_OK;
  syz_label_table *t = NULL;
  syz_join j = {0};
  int64_t n, *id = load(word[5], 8, &n), *row_id = NULL;
  double *value = NULL, *ra = NULL, *dec = NULL, *row_ra = NULL, *row_dec = NULL;
  int column, column_dec;
  SYZ_TRY(syz_label_table_open(world, word[1], word[2], false, &t));
  const int64_t rows = syz_label_table_rows(t);
  value = calloc((size_t)rows + 1, sizeof *value);
  SYZ_TRY(syz_label_table_evaluate(t, word[3], value, NULL));
  const double *const values[] = {value};
  if (words < 8) {
    SYZ_TRY(syz_label_table_find_ids(t, "", &column));
    row_id = calloc((size_t)rows + 1, sizeof *row_id);
    SYZ_TRY(syz_label_table_ids(t, column, row_id));
    SYZ_TRY(syz_join_ids(world, n, id, rows, row_id, 1, values, &j));
  } else {
    ra = load(word[6], 8, &n);
    dec = load(word[7], 8, &n);
    SYZ_TRY(syz_label_table_find_places(t, "", "", &column, &column_dec));
    SYZ_REQUIRE(column >= 0, SYZ_ERR_DATA, "no positions");
    row_ra = calloc((size_t)rows + 1, sizeof *row_ra);
    row_dec = calloc((size_t)rows + 1, sizeof *row_dec);
    SYZ_TRY(syz_label_table_numbers(t, column, 0, row_ra));
    SYZ_TRY(syz_label_table_numbers(t, column_dec, 0, row_dec));
    SYZ_TRY(syz_join_places(world, n, ra, dec, rows, row_ra, row_dec, atof(word[8]), 1, values, &j));
  }
  SYZ_TRY(told(&j, id, word[4]));
cleanup:
  free(id);
  free(row_id);
  free(value);
  free(ra);
  free(dec);
  free(row_ra);
  free(row_dec);
  syz_join_free(&j);
  syz_label_table_close(&t);
  return st;
}

/* split RULE SHARE SEED BORDER IDS RA DEC GIVEN OUT */
static syz_status split(char **word)
{
  syz_status st = SYZ_OK;
  syz_sides s = {0};
  char text[400];
  int64_t n;
  int64_t *id = load(word[5], 8, &n);
  double *ra = load(word[6], 8, &n), *dec = load(word[7], 8, &n);
  uint8_t *given = load(word[8], 1, &n);
  const syz_sides_options o = {(syz_sides_rule)atoi(word[1]), atof(word[2]), strtoull(word[3], NULL, 10),
                               atof(word[4])};
  SYZ_TRY(syz_sides_make(world, &o, n, id, ra, dec, given, &s));
  save(word[9], s.side, (size_t)n);
  snprintf(text, sizeof text, "ok\t%lld\t%lld\t%lld\t%lld\t%lld\t%lld\t%lld\t%llu", (long long)s.train,
           (long long)s.test, (long long)s.none, (long long)s.dropped_border, (long long)s.dropped_shared,
           (long long)s.moved, (long long)s.placeless, (unsigned long long)s.digest);
  say(text);
cleanup:
  free(id);
  free(ra);
  free(dec);
  free(given);
  syz_sides_free(&s);
  return st;
}

static syz_status run(char **word, int words)
{
  if (!strcmp(word[0], "columns")) return columns(word);
  if (!strcmp(word[0], "evaluate")) return evaluate(word);
  if (!strcmp(word[0], "join")) return join(word, words);
  if (!strcmp(word[0], "split")) return split(word);
  return read_column(word);
}

int main(int argc, char **argv)
{
  size_t n;
  syz_h5_prepare();
  if (syz_comm_start(&argc, &argv, &world) != SYZ_OK) return 1;
  const int64_t blocks = syz_memory_get().live_blocks;
  char *script = (char *)scratch_read(argv[1], &n);
  script[n] = '\0';
  for (char *line = script, *next; *line; line = next) {
    char *word[10] = {line};
    int words = 1;
    next = line + strcspn(line, "\n");
    if (*next) *next++ = '\0';
    for (char *p = line; *p; p++)
      if (*p == '\t' && words < 10) {
        *p = '\0';
        word[words++] = p + 1;
      }
    const syz_status st = run(word, words);
    int64_t worst = st, least = st;
    syz_allreduce_i64(world, &worst, 1, SYZ_MAX);
    syz_allreduce_i64(world, &least, 1, SYZ_MIN);
    if (worst != least) syz_abort(SYZ_ERR_INTERNAL, __FILE__, __LINE__, "%s: not agreed", line);
    if (st != SYZ_OK && syz_comm_rank(world) == 0) printf("%d\t%s\n", (int)st, syz_error_text());
    if (syz_memory_get().live_blocks != blocks)
      syz_abort(SYZ_ERR_INTERNAL, __FILE__, __LINE__, "%s: memory is left", line);
    fflush(stdout);
  }
  free(script);
  syz_h5_finish();
  syz_comm_finish(&world);
  return 0;
}
