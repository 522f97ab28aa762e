/* SPDX-License-Identifier: BSD-3-Clause */
/* Two columns of the objects that have both. */
#include "table.h"

#include <math.h>
#include <string.h>

#include "syzygy/numbers.h"

enum { BLOCK = 512 };

void column_read(void *context, int64_t first, int64_t n, float *out)
{
  column *c = context;
  for (int64_t i = 0, run; i < n; i += run) {
    const int64_t from = c->row[first + i];
    for (run = 1; i + run < n && c->row[first + i + run] == from + run;) run++;
    const syz_status st = syz_embedding_set_read_vectors(c->set, c->name, c->width, from, run, out + i * c->width);
    if (st == SYZ_OK) continue;
    memset(out + i * c->width, 0, (size_t)(run * c->width) * sizeof *out);
    if (c->failed == SYZ_OK) syz_error_keep(c->why);
    if (c->failed == SYZ_OK) c->failed = st;
  }
}

syz_status table_agree_read(table *t, syz_status st)
{
  syz_status read = SYZ_OK;
  char why[SYZ_ERROR_TEXT];
  syz_error_keep(why);
  for (int s = 0; s < 2 && read == SYZ_OK; s++) {
    read = t->column[s].failed;
    if (read != SYZ_OK) syz_error_restore(t->column[s].why);
  }
  read = syz_agree(t->comm, read);
  if (read == SYZ_OK && st != SYZ_OK) syz_error_restore(why);
  return read == SYZ_OK ? st : read;
}

/* ----------------------------------------------------------- usable objects */

typedef enum state { USABLE, MISSING, ZERO } state;

static state judge(const float *x, int64_t width)
{
  bool is_zero = true;
  for (int64_t e = 0; e < width; e++) {
    if (!isfinite(x[e])) return MISSING;
    is_zero = is_zero && x[e] == 0;
  }
  return is_zero ? ZERO : USABLE;
}

/* Which rows of this rank have a usable vector: flag [n]. */
static syz_status look_at(table *t, int side, uint8_t *flag)
{
  syz_status st = SYZ_OK;
  const column *c = &t->column[side];
  float *x = NULL;
  SYZ_ALLOC(x, "vectors", BLOCK * c->width);
  for (int64_t at = 0; at < t->n; at += BLOCK) {
    const int64_t n = t->n - at < BLOCK ? t->n - at : BLOCK;
    SYZ_TRY(syz_embedding_set_read_vectors(t->set, c->name, c->width, t->first + at, n, x));
    for (int64_t i = 0; i < n; i++) {
      const state s = judge(x + i * c->width, c->width);
      flag[at + i] &= s == USABLE;
      t->left_out[side] += s == MISSING;
      t->zeros[side] += s == ZERO;
    }
  }
cleanup:
  syz_free(&x);
  return st;
}

/* Halves by the identifier alone, so that an object's copies are in the same one. */
static uint8_t half_of(uint64_t seed, int64_t id)
{
  const syz_random random = syz_random_make(seed, SYZ_RANDOM_HALF, 0, (uint64_t)id);
  return (uint8_t)(syz_random_u32(&random, 0) & 1);
}

static syz_status choose(table *t, uint64_t seed)
{
  syz_status st = SYZ_OK;
  uint8_t *flag = NULL;
  int64_t *id = NULL;
  SYZ_ALLOC(flag, "usable objects", t->n + 1);
  SYZ_ALLOC(id, "identifiers", t->n + 1);
  SYZ_ALLOC(t->row, "usable objects", t->n + 1);
  SYZ_ALLOC(t->id, "usable objects", t->n + 1);
  SYZ_ALLOC(t->half, "usable objects", t->n + 1);
  memset(flag, 1, (size_t)t->n);
  for (int s = 0; s < 2; s++) SYZ_TRY(look_at(t, s, flag));
  SYZ_TRY(syz_embedding_set_ids(t->set, t->first, t->n, id));
  for (int64_t i = 0; i < t->n; i++) {
    if (!flag[i]) continue;
    t->row[t->kept] = t->first + i;
    t->id[t->kept] = id[i];
    t->half[t->kept] = half_of(seed, id[i]);
    t->in_half[t->half[t->kept++]]++;
  }
cleanup:
  syz_free(&flag);
  syz_free(&id);
  return st;
}

static syz_status open_columns(table *t, syz_texts sources)
{
  syz_status st = SYZ_OK;
  for (int s = 0; s < 2; s++) {
    t->column[s] = (column){.set = t->set, .name = sources.item[s]};
    SYZ_TRY(syz_embedding_set_vectors(t->set, "analyse.sources", sources.item[s], &t->column[s].width));
  }
cleanup:
  return st;
}

syz_status table_open(syz_comm *c, const char *key, syz_texts paths, syz_texts sources, uint64_t seed,
                      const char *title, table **out)
{
  syz_status st = SYZ_OK;
  *out = NULL;
  table *t = syz_alloc("table of embeddings", 1, sizeof *t);
  SYZ_TRY_ALL(c, t ? SYZ_OK : SYZ_ERR_MEMORY);
  t->comm = c;
  t->title = title;
  SYZ_TRY(syz_embedding_set_open(c, key, paths.n, paths.item, &t->set));
  SYZ_TRY_ALL(c, open_columns(t, sources));
  syz_index_share(t->set->rows, syz_comm_size(c), syz_comm_rank(c), &t->first, &t->n);
  SYZ_TRY_ALL(c, choose(t, seed));
  t->total = t->kept;
  syz_allreduce_i64(c, &t->total, 1, SYZ_SUM);
  syz_allreduce_i64(c, t->in_half, 2, SYZ_SUM);
  syz_allreduce_i64(c, t->left_out, 2, SYZ_SUM);
  syz_allreduce_i64(c, t->zeros, 2, SYZ_SUM);
  for (int s = 0; s < 2; s++) {
    t->column[s].row = t->row;
    t->rows[s] = (syz_rows){t->kept, t->column[s].width, &t->column[s], column_read};
  }
  syz_info(
      "%s: %lld of %lld objects have both %s (%lld wide; %lld without, %lld zero) and %s (%lld wide; %lld without, "
      "%lld zero)",
      title, (long long)t->total, (long long)t->set->rows, t->column[0].name, (long long)t->column[0].width,
      (long long)t->left_out[0], (long long)t->zeros[0], t->column[1].name, (long long)t->column[1].width,
      (long long)t->left_out[1], (long long)t->zeros[1]);
  SYZ_REQUIRE(t->total >= 2, SYZ_ERR_DATA, "%s: %lld objects have both %s and %s; at least 2 are wanted", key,
              (long long)t->total, t->column[0].name, t->column[1].name);
  *out = t;
  t = NULL;
cleanup:
  table_close(&t);
  return st;
}

void table_close(table **tp)
{
  table *t = *tp;
  if (!t) return;
  if (t->set) syz_embedding_set_close(&t->set);
  syz_free(&t->row);
  syz_free(&t->id);
  syz_free(&t->half);
  syz_free(tp);
}

syz_rows table_half(const table *t, int side, int half, int64_t *row, syz_chosen_rows *chosen)
{
  int64_t n = 0;
  for (int64_t i = 0; i < t->kept; i++)
    if (t->half[i] == half) row[n++] = i;
  *chosen = (syz_chosen_rows){&t->rows[side], row};
  return (syz_rows){n, t->rows[side].width, chosen, syz_chosen_rows_read};
}
