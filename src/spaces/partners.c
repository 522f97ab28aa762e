/* SPDX-License-Identifier: BSD-3-Clause */
/* Retrieval of partners among some rows of a table: the search of analysis, with blocks of queries that every rank
 * holds a part of. */
#include "partners.h"

#include <math.h>
#include <string.h>

typedef struct search {
  const syz_spaces *s;
  const table *t;
  const uint8_t *is_used;
  const partner_view *view;
  int from;
  int64_t room;
  syz_index *index;
  float *mine, *query;       /* [room, width] */
  int64_t *my_id, *id, *ids; /* [room]; ids [n] of this rank's rows */
  syz_neighbour *best;       /* [room] */
  syz_pair *pair, *all;      /* [room]; [rows] on rank 0 */
  size_t *bytes;
} search;

static syz_status allocate(search *w)
{
  syz_status st = SYZ_OK;
  const int64_t rows = w->t->set->rows, width = w->view->width;
  w->room = syz_index_block(1) < rows ? syz_index_block(1) : rows;
  SYZ_ALLOC(w->mine, "queries", w->room * width);
  SYZ_ALLOC(w->query, "queries", w->room * width);
  SYZ_ALLOC(w->my_id, "queries", w->room);
  SYZ_ALLOC(w->id, "queries", w->room);
  SYZ_ALLOC(w->ids, "identifiers", w->t->n + 1);
  SYZ_ALLOC(w->best, "neighbours", w->room);
  SYZ_ALLOC(w->pair, "pairs", w->room);
  SYZ_ALLOC(w->bytes, "shares", syz_comm_size(w->s->comm));
  if (syz_comm_rank(w->s->comm) == 0) SYZ_ALLOC(w->all, "pairs", rows);
cleanup:
  return st;
}

static void release(search *w)
{
  syz_index_destroy(&w->index);
  syz_free(&w->mine);
  syz_free(&w->query);
  syz_free(&w->my_id);
  syz_free(&w->id);
  syz_free(&w->ids);
  syz_free(&w->best);
  syz_free(&w->pair);
  syz_free(&w->all);
  syz_free(&w->bytes);
}

/* Rows at .. at + n - 1 of this rank; NaN where they do not take part. */
static syz_status read_rows(const search *w, int side, int64_t at, int64_t n, float *out)
{
  syz_status st = SYZ_OK;
  const partner_view *v = w->view;
  const int64_t width = v->width;
  if (!v->x[side])
    SYZ_TRY(syz_embedding_set_read_vectors(w->t->set, w->t->column[side].name, width, w->t->first + at, n, out));
  for (int64_t i = 0; i < n; i++)
    for (int64_t e = 0; e < width; e++) {
      float *y = &out[i * width + e];
      if (v->x[side]) *y = (float)((double)v->x[side][(at + i) * v->ld + e] * v->weight[e]);
      if (!w->is_used[at + i]) *y = NAN;
    }
cleanup:
  return st;
}

static syz_status fill_index(search *w)
{
  syz_status st = SYZ_OK;
  SYZ_TRY(syz_embedding_set_ids(w->t->set, w->t->first, w->t->n, w->ids));
  SYZ_TRY(read_rows(w, 1 - w->from, 0, w->t->n, syz_index_rows(w->index)));
  memcpy(syz_index_ids(w->index), w->ids, (size_t)w->t->n * sizeof *w->ids);
cleanup:
  return st;
}

/* The part of rows [q0, q0 + n) that a rank holds. */
static int64_t part(const search *w, int rank, int64_t q0, int64_t n, int64_t *at)
{
  int64_t first, count;
  syz_index_share(w->t->set->rows, syz_comm_size(w->s->comm), rank, &first, &count);
  const int64_t low = first > q0 ? first : q0, high = first + count < q0 + n ? first + count : q0 + n;
  *at = low - first;
  return high > low ? high - low : 0;
}

static syz_status ask(search *w, int64_t q0, int64_t n)
{
  syz_status st = SYZ_OK;
  syz_comm *c = w->s->comm;
  int64_t at, count;
  const int64_t mine = part(w, syz_comm_rank(c), q0, n, &at);
  SYZ_TRY_ALL(c, mine ? read_rows(w, w->from, at, mine, w->mine) : SYZ_OK);
  for (int r = 0; r < syz_comm_size(c); r++) w->bytes[r] = (size_t)part(w, r, q0, n, &count) * sizeof *w->id;
  syz_allgatherv(c, mine ? w->ids + at : w->my_id, w->id, w->bytes);
  for (int r = 0; r < syz_comm_size(c); r++) w->bytes[r] = w->bytes[r] / sizeof *w->id * (size_t)w->view->width * 4;
  syz_allgatherv(c, w->mine, w->query, w->bytes);
  SYZ_TRY(syz_index_search(w->index, n, w->query, w->id, &(syz_search_options){.k = 1}, w->best, w->pair));
  for (int r = 0; r < syz_comm_size(c); r++) {
    int64_t first;
    syz_share(n, syz_comm_size(c), r, &first, &count);
    w->bytes[r] = (size_t)count * sizeof *w->pair;
  }
  syz_gatherv(c, w->pair, w->all ? w->all + q0 : NULL, w->bytes, 0);
cleanup:
  return st;
}

syz_status partners_find(const syz_spaces *s, const table *t, const uint8_t *is_used, const partner_view *view,
                         int from, syz_pair_figures *out)
{
  syz_status st = SYZ_OK;
  search w = {.s = s, .t = t, .is_used = is_used, .view = view, .from = from};
  const int64_t rows = t->set->rows;
  int64_t candidates = 0;
  SYZ_TRY_ALL(s->comm, allocate(&w));
  SYZ_TRY(syz_index_create(s->comm, s->compute, SYZ_METRIC_COSINE, rows, view->width, &w.index));
  SYZ_TRY_ALL(s->comm, fill_index(&w));
  SYZ_TRY(syz_index_seal(w.index, &candidates));
  for (int64_t q0 = 0; q0 < rows; q0 += w.room) SYZ_TRY(ask(&w, q0, rows - q0 < w.room ? rows - q0 : w.room));
  SYZ_TRY_ALL(s->comm, w.all ? syz_pair_score(w.all, rows, candidates, out) : SYZ_OK);
  syz_bcast(s->comm, out, sizeof *out, 0);
cleanup:
  release(&w);
  return st;
}
