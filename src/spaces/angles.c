/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Principal angles between two spaces of functions of the objects: their cosines are the canonical correlations of the
 * two sets of columns. Objects of the two tables are matched by their identifier.
 */
#include "angles.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PROJECT_ROWS = 64 };

/* Canonical variates as rows. */
typedef struct variates {
  syz_rows of;
  const syz_cca *cca;
  int side;
  int64_t count;
  float *raw; /* [PROJECT_ROWS, width] */
} variates;

static void read_variates(void *context, int64_t first, int64_t n, float *out)
{
  variates *v = context;
  for (int64_t i = 0; i < n; i += PROJECT_ROWS) {
    const int64_t m = n - i < PROJECT_ROWS ? n - i : PROJECT_ROWS;
    v->of.read(v->of.context, first + i, m, v->raw);
    syz_cca_project(v->cca, v->side, v->count, m, v->raw, out + i * v->count);
  }
}

typedef struct object {
  int64_t id, row;
} object;

static int compare_objects(const void *a, const void *b)
{
  const object *x = a, *y = b;
  return x->id != y->id ? (x->id > y->id) - (x->id < y->id) : (x->row > y->row) - (x->row < y->row);
}

typedef struct matched {
  const table *now;
  table *before;
  object *mine, *all; /* of `before`: this rank's, everybody's */
  size_t *bytes;
  int64_t n;
  int64_t *here;  /* [n] which of this rank's kept objects */
  int64_t *there; /* [n] row of `before` */
} matched;

static void release(matched *m)
{
  syz_free(&m->mine);
  syz_free(&m->all);
  syz_free(&m->bytes);
  syz_free(&m->here);
  syz_free(&m->there);
}

static syz_status allocate(matched *m)
{
  syz_status st = SYZ_OK;
  SYZ_ALLOC(m->mine, "objects", m->before->kept + 1);
  SYZ_ALLOC(m->all, "objects", m->before->total);
  SYZ_ALLOC(m->bytes, "shares", syz_comm_size(m->now->comm));
  SYZ_ALLOC(m->here, "objects", m->now->kept + 1);
  SYZ_ALLOC(m->there, "objects", m->now->kept + 1);
cleanup:
  return st;
}

static bool is_below(const void *row, const void *id) { return ((const object *)row)->id < *(const int64_t *)id; }

static void match(matched *m)
{
  const size_t bytes = (size_t)m->before->kept * sizeof *m->mine;
  for (int64_t i = 0; i < m->before->kept; i++) m->mine[i] = (object){m->before->id[i], m->before->row[i]};
  syz_allgather(m->now->comm, &bytes, m->bytes, sizeof bytes);
  syz_allgatherv(m->now->comm, m->mine, m->all, m->bytes);
  qsort(m->all, (size_t)m->before->total, sizeof *m->all, compare_objects);
  for (int64_t i = 0; i < m->now->kept; i++) {
    const int64_t id = m->now->id[i];
    if (id <= 0) continue; /* it stands for none */
    const int64_t at = syz_lower_bound(&id, m->all, m->before->total, sizeof *m->all, is_below);
    if (at == m->before->total || m->all[at].id != id) continue;
    m->here[m->n] = i;
    m->there[m->n++] = m->all[at].row;
  }
}

/* The matched objects of one half, of both tables. */
typedef struct half_rows {
  column before;
  int64_t *here, *there;
  syz_chosen_rows chosen;
  variates v;
  syz_rows now, then;
} half_rows;

static syz_status take_half(const matched *m, const syz_cca *cca, int side, int64_t shared, int half, half_rows *h)
{
  syz_status st = SYZ_OK;
  int64_t n = 0;
  SYZ_ALLOC(h->here, "objects", m->n + 1);
  SYZ_ALLOC(h->there, "objects", m->n + 1);
  for (int64_t i = 0; i < m->n; i++) {
    if (m->now->half[m->here[i]] != half) continue;
    h->here[n] = m->here[i];
    h->there[n++] = m->there[i];
  }
  h->before = m->before->column[side];
  h->before.row = h->there;
  h->chosen = (syz_chosen_rows){&m->now->rows[side], h->here};
  h->now = (syz_rows){n, m->now->rows[side].width, &h->chosen, syz_chosen_rows_read};
  h->v = (variates){.of = {n, h->before.width, &h->before, column_read}, .cca = cca, .side = side, .count = shared};
  SYZ_ALLOC(h->v.raw, "rows", PROJECT_ROWS * h->before.width);
  h->then = (syz_rows){n, shared, &h->v, read_variates};
cleanup:
  return st;
}

static void release_half(half_rows *h)
{
  syz_free(&h->here);
  syz_free(&h->there);
  syz_free(&h->v.raw);
}

/* The outcome of work on both halves, or rather what went wrong in reading them. Collective; agreed. */
static syz_status settle(syz_comm *c, const half_rows h[2], syz_status st)
{
  char why[SYZ_ERROR_TEXT];
  syz_error_keep(why);
  const half_rows *bad = h[0].before.failed != SYZ_OK ? &h[0] : &h[1];
  if (bad->before.failed != SYZ_OK) syz_error_restore(bad->before.why);
  const syz_status read = syz_agree(c, bad->before.failed);
  if (read == SYZ_OK && st != SYZ_OK) syz_error_restore(why);
  return read == SYZ_OK ? st : read;
}

/* Directions of half 0, their cosines in half 1. */
static syz_status find_cosines(const syz_spaces *s, const half_rows h[2], int side, angles *out)
{
  syz_status st = SYZ_OK;
  const syz_cca_options options = spaces_cca_options(s, 0);
  syz_cca *fit = NULL;
  SYZ_TRY(syz_cca_fit(s->comm, &h[0].now, &h[0].then, &options, &fit));
  out->cosine[side] = syz_alloc("principal angles", (size_t)fit->pairs, sizeof(double));
  SYZ_TRY_ALL(s->comm, out->cosine[side] ? SYZ_OK : SYZ_ERR_MEMORY);
  SYZ_TRY(syz_cca_correlate(s->comm, fit, &h[1].now, &h[1].then, out->cosine[side]));
  out->pairs[side] = fit->pairs;
cleanup:
  syz_cca_destroy(&fit);
  return st;
}

static syz_status find_side(const syz_spaces *s, const matched *m, const syz_cca *before, int64_t shared, int side,
                            angles *out)
{
  syz_status st = SYZ_OK;
  half_rows h[2] = {{.here = NULL}, {.here = NULL}};
  for (int k = 0; k < 2; k++) SYZ_TRY_ALL(s->comm, take_half(m, before, side, shared, k, &h[k]));
  int64_t n[2] = {h[0].now.n, h[1].now.n};
  syz_allreduce_i64(s->comm, n, 2, SYZ_SUM);
  if (n[0] <= m->now->column[side].width + shared || n[1] < 3) {
    syz_warn("no principal angles of %s: %lld objects of one half and %lld of the other are in both files, too few for "
             "%lld dimensions",
             m->now->column[side].name, (long long)n[0], (long long)n[1],
             (long long)(m->now->column[side].width + shared));
    goto cleanup;
  }
  SYZ_TRY(settle(s->comm, h, find_cosines(s, h, side, out)));
cleanup:
  for (int k = 0; k < 2; k++) release_half(&h[k]);
  return st;
}

/* Matches the objects; there must be some. */
static syz_status begin(const syz_spaces *s, matched *m, int64_t *objects)
{
  syz_status st = SYZ_OK;
  *m = (matched){.now = s->now, .before = s->before};
  SYZ_TRY_ALL(s->comm, allocate(m));
  match(m);
  *objects = m->n;
  syz_allreduce_i64(s->comm, objects, 1, SYZ_SUM);
  SYZ_REQUIRE(*objects > 0, SYZ_ERR_DATA,
              "analyse.before: %s and the files of analyse.embeddings have no object in common (by object_id)",
              s->before->set->path[0]);
cleanup:
  return st;
}

syz_status angles_check(const syz_spaces *s)
{
  matched m;
  int64_t objects;
  const syz_status st = begin(s, &m, &objects);
  release(&m);
  return st;
}

syz_status angles_find(const syz_spaces *s, const syz_cca_held *before, int64_t shared, angles *out)
{
  syz_status st = SYZ_OK;
  matched m;
  SYZ_TRY(begin(s, &m, &out->objects));
  for (int side = 0; side < 2; side++)
    SYZ_TRY(table_agree_read(s->now, find_side(s, &m, before->fit[0], shared, side, out)));
cleanup:
  release(&m);
  return st;
}

void angles_free(angles *a)
{
  for (int k = 0; k < 2; k++) syz_free(&a->cosine[k]);
}
