/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Rows are written by a few ranks (collective buffering in MPI-IO's terms): the ranks form groups of neighbours,
 * and the first of each group, the aggregator, collects the group's rows in the order of its ranks and writes them in
 * large pieces. For file systems that suffer when thousands of ranks write to one file, or when each writes little.
 */
#include <string.h>

#include "file.h"

enum { BUFFER = 16 << 20 };

typedef struct extent {
  int64_t first, n;
} extent;

typedef struct gather {
  int aggregator, last;   /* ranks aggregator .. last form the group of this rank */
  extent *of;             /* [size] */
  size_t *send, *receive; /* [size] bytes */
  unsigned char *buffer;  /* aggregator: [room * row_bytes] */
  int64_t room;           /* rows per round */
} gather;

static void gather_free(gather *g)
{
  syz_free(&g->of);
  syz_free(&g->send);
  syz_free(&g->receive);
  syz_free(&g->buffer);
}

static syz_status gather_begin(const syz_h5 *f, const h5_column *column, gather *g)
{
  syz_status st = SYZ_OK;
  const int groups = h5_settings()->aggregators;
  for (int k = 0; k < groups; k++) { /* shares of the ranks, as shares of rows elsewhere */
    int64_t first, count;
    syz_share(f->size, groups, k, &first, &count);
    if (f->rank < first || f->rank >= first + count) continue;
    g->aggregator = (int)first;
    g->last = (int)(first + count) - 1;
  }
  g->room = (int64_t)(BUFFER / (column->row_bytes ? column->row_bytes : 1));
  if (g->room < 1) g->room = 1;
  SYZ_ALLOC(g->of, "rows of the ranks", f->size);
  SYZ_ALLOC(g->send, "sizes", f->size);
  SYZ_ALLOC(g->receive, "sizes", f->size);
  if (f->rank == g->aggregator) {
    g->buffer = syz_alloc("rows of a group", (size_t)g->room, column->row_bytes);
    SYZ_REQUIRE(g->buffer, SYZ_ERR_MEMORY, "%s: no memory to collect rows of dataset %s", f->path, column->name);
  }
cleanup:
  return st;
}

/* The part of rank r's rows that lies in [from, to) of the group's rows laid end to end. */
static extent part_of(const gather *g, int r, int64_t from, int64_t to)
{
  int64_t before = 0;
  for (int k = g->aggregator; k < r; k++) before += g->of[k].n;
  int64_t low = from - before, high = to - before;
  if (low < 0) low = 0;
  if (high > g->of[r].n) high = g->of[r].n;
  return (extent){g->of[r].first + low, high > low ? high - low : 0};
}

/* Aggregator: write the received rows, adjacent pieces together. */
static syz_status write_group(syz_h5 *f, const h5_column *column, const gather *g, int64_t from, int64_t to)
{
  syz_status st = SYZ_OK;
  extent now = {0, 0};
  const unsigned char *at = g->buffer;
  for (int r = g->aggregator; r <= g->last + 1; r++) {
    const extent e = r <= g->last ? part_of(g, r, from, to) : (extent){-1, 1};
    if (e.n == 0) continue;
    if (now.n > 0 && e.first != now.first + now.n) {
      SYZ_TRY(h5_write_at(f, column->name, column->offset + now.first * (int64_t)column->row_bytes,
                          (size_t)now.n * column->row_bytes, at));
      at += (size_t)now.n * column->row_bytes;
      now.n = 0;
    }
    if (now.n == 0) now.first = e.first;
    now.n += e.n;
  }
cleanup:
  return st;
}

syz_status h5_gather_rows(syz_h5 *f, const h5_column *column, int64_t first, int64_t n, const void *data)
{
  syz_status st = SYZ_OK;
  gather g = {0};
  const extent mine = {first, n};
  int64_t all = 0;
  SYZ_TRY_ALL(f->comm, gather_begin(f, column, &g));
  syz_allgather(f->comm, &mine, g.of, sizeof mine);
  for (int r = g.aggregator; r <= g.last; r++) all += g.of[r].n;
  int64_t rounds = (all + g.room - 1) / g.room;
  syz_allreduce_i64(f->comm, &rounds, 1, SYZ_MAX);
  for (int64_t k = 0; k < rounds; k++) {
    const int64_t from = k * g.room, to = from + g.room;
    const extent e = part_of(&g, f->rank, from, to);
    memset(g.send, 0, (size_t)f->size * sizeof *g.send);
    memset(g.receive, 0, (size_t)f->size * sizeof *g.receive);
    g.send[g.aggregator] = (size_t)e.n * column->row_bytes;
    for (int r = g.aggregator; f->rank == g.aggregator && r <= g.last; r++)
      g.receive[r] = (size_t)part_of(&g, r, from, to).n * column->row_bytes;
    syz_alltoallv(f->comm, (const unsigned char *)data + (size_t)(e.n ? e.first - first : 0) * column->row_bytes,
                  g.send, g.buffer, g.receive);
    SYZ_TRY_ALL(f->comm, f->rank == g.aggregator ? write_group(f, column, &g, from, to) : SYZ_OK);
  }
cleanup:
  gather_free(&g);
  return st;
}
