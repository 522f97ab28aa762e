/* SPDX-License-Identifier: BSD-3-Clause */
/** Ingest: sends records to the ranks that own them, in pieces, so that sending needs little extra memory. */
#include "ingest.h"

#include <string.h>

enum { PIECE_BYTES = 8 << 20 };

int32_t ingest_owner(const ingest *g, int64_t key)
{
  return (int32_t)(syz_checksum(&key, sizeof key, 0) % (uint64_t)g->size);
}

syz_status ingest_post(ingest_mail *m, const void *record, size_t item, int32_t rank)
{
  syz_status st = SYZ_OK;
  SYZ_TRY(ingest_add(&m->records, record, item));
  SYZ_TRY(ingest_add(&m->to, &rank, sizeof rank));
cleanup:
  return st;
}

void ingest_mail_free(ingest_mail *m)
{
  syz_free(&m->records.data);
  syz_free(&m->to.data);
  memset(m, 0, sizeof *m);
}

typedef struct piece {
  unsigned char *sorted;             /**< records by rank */
  size_t *send, *receive, *one, *at; /**< [ranks] bytes */
} piece;

static void destroy(piece *p)
{
  syz_free(&p->sorted);
  syz_free(&p->send);
  syz_free(&p->receive);
  syz_free(&p->one);
  syz_free(&p->at);
}

static syz_status create(const ingest *g, size_t bytes, piece *p)
{
  syz_status st = SYZ_OK;
  SYZ_ALLOC(p->sorted, "records on their way", bytes);
  SYZ_ALLOC(p->send, "records on their way", g->size);
  SYZ_ALLOC(p->receive, "records on their way", g->size);
  SYZ_ALLOC(p->one, "records on their way", g->size);
  SYZ_ALLOC(p->at, "records on their way", g->size);
  for (int r = 0; r < g->size; r++) p->one[r] = sizeof(size_t);
cleanup:
  return st;
}

/* Sorts records by rank; the order within a rank does not change. */
static void sort_piece(const ingest *g, const unsigned char *records, int64_t n, size_t item, const int32_t *to,
                       piece *p)
{
  memset(p->send, 0, (size_t)g->size * sizeof *p->send);
  for (int64_t i = 0; i < n; i++) p->send[to[i]] += item;
  size_t sum = 0;
  for (int r = 0; r < g->size; r++) {
    p->at[r] = sum;
    sum += p->send[r];
  }
  for (int64_t i = 0; i < n; i++) {
    memcpy(p->sorted + p->at[to[i]], records + (size_t)i * item, item);
    p->at[to[i]] += item;
  }
}

syz_status ingest_send(ingest *g, ingest_mail *m, size_t item, ingest_bytes *out)
{
  syz_status st = SYZ_OK;
  piece p = {0};
  int64_t n = (int64_t)(m->records.n / item), most = PIECE_BYTES / (int64_t)item + 1, pieces = (n + most - 1) / most;
  const int32_t *to = (const int32_t *)(const void *)m->to.data;
  SYZ_TRY_ALL(g->world, create(g, (size_t)(n < most ? n + 1 : most) * item, &p));
  syz_allreduce_i64(g->world, &pieces, 1, SYZ_MAX);
  for (int64_t k = 0; k < pieces; k++) {
    int64_t first = k * most < n ? k * most : n, count = n - first < most ? n - first : most;
    size_t total = 0;
    if (count)
      sort_piece(g, m->records.data + (size_t)first * item, count, item, to + first, &p);
    else
      memset(p.send, 0, (size_t)g->size * sizeof *p.send);
    syz_alltoallv(g->world, p.send, p.one, p.receive, p.one);
    for (int r = 0; r < g->size; r++) total += p.receive[r];
    SYZ_TRY_ALL(g->world, ingest_reserve(out, total));
    syz_alltoallv(g->world, p.sorted, p.send, out->data ? out->data + out->n : p.sorted, p.receive);
    out->n += total;
  }
  m->records.n = m->to.n = 0;
cleanup:
  destroy(&p);
  return st;
}
