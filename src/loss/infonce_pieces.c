/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Pieces of rows travelling around a ring of ranks.
 *
 * The travelling rows of the global batch are shared out over the stations, and each station's share is cut into
 * `parts` pieces. A station begins with its own piece (already there if the stations are the owners, otherwise sent by
 * its owners), works on it and sends it to the next station. After a full round the piece is back, and its sums or
 * gradients are sent to the owners. Each station has two pieces in circulation: while it works on one, the other is in
 * transit, with everything added to it so far, into a third buffer. So a message has as long as the work on one piece,
 * and no rank holds more than three pieces.
 *
 * A piece is at station (start + step) mod stations in every step, so messages need no header.
 */
#include "infonce_pieces.h"

#include <math.h>
#include <string.h>

enum { TAG = 512 };

static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

/* Pieces per station: an even number where they travel, so that two are always in circulation. */
static int64_t parts_of(int64_t share, int64_t most_rows, int stations)
{
  const int64_t parts = ceil_div(share, most_rows);
  return stations > 1 ? ceil_div(parts, PIECES_AT_ONCE) * PIECES_AT_ONCE : parts;
}

/* In whole cache lines of every array. */
static int64_t room_of(int64_t share, int64_t parts) { return ceil_div(ceil_div(share, parts), 16) * 16; }

static size_t piece_bytes(int64_t room, int64_t width, size_t row_bytes)
{
  return (size_t)room * ((size_t)width * sizeof(float) + sizeof(double) + sizeof(float) + row_bytes);
}

size_t pieces_bytes(int64_t global_batch, int64_t width, size_t row_bytes, int64_t most_rows, int stations,
                    int64_t *room)
{
  const int64_t share = ceil_div(global_batch, stations);
  *room = room_of(share, parts_of(share, most_rows, stations));
  return (stations > 1 ? PIECES_AT_ONCE + 1 : 1) * piece_bytes(*room, width, row_bytes);
}

static syz_status create_train(const pieces *p, piece *t)
{
  syz_status st = SYZ_OK;
  unsigned char *memory;
  SYZ_ALLOC(memory, "infonce piece", piece_bytes(p->room, p->width, p->row_bytes));
  t->gradient = (float *)(void *)memory;
  memory += (size_t)(p->room * p->width) * sizeof(float);
  t->sum = (double *)(void *)memory;
  memory += (size_t)p->room * sizeof(double);
  t->top = (float *)(void *)memory;
  memory += (size_t)p->room * sizeof(float);
  t->rows = memory;
cleanup:
  return st;
}

syz_status pieces_create(syz_comm *world, int64_t global_batch, int64_t width, size_t row_bytes, int64_t most_rows,
                         const int *has_still, const int *has_moving, pieces *p)
{
  syz_status st = SYZ_OK;
  const int size = syz_comm_size(world), rank = syz_comm_rank(world);
  *p = (pieces){
      .world = world, .global_batch = global_batch, .width = width, .row_bytes = row_bytes, .station = -1, .owner = -1};
  SYZ_ALLOC(p->station_rank, "infonce", size);
  SYZ_ALLOC(p->owner_rank, "infonce", size);
  for (int r = 0; r < size; r++) {
    if (r == rank && has_still[r]) p->station = p->stations;
    if (r == rank && has_moving[r]) p->owner = p->owners;
    if (has_still[r]) p->station_rank[p->stations++] = r;
    if (has_moving[r]) p->owner_rank[p->owners++] = r;
  }
  SYZ_REQUIRE(p->stations > 0 && p->owners > 0, SYZ_ERR_INTERNAL, "no rank holds one of the two modalities");
  const int64_t share = ceil_div(global_batch, p->stations);
  p->at_once = p->stations > 1 ? PIECES_AT_ONCE : 1;
  p->parts = parts_of(share, most_rows, p->stations);
  p->rounds = ceil_div(p->parts, p->at_once);
  p->room = room_of(share, p->parts);
  p->sums_bytes = (size_t)p->room * (sizeof(double) + sizeof(float));
  p->forward_bytes = p->sums_bytes + (size_t)p->room * row_bytes;
  p->backward_bytes = p->forward_bytes + (size_t)(p->room * width) * sizeof(float);
  SYZ_REQUIRE(p->backward_bytes < (size_t)1 << 28, SYZ_ERR_INPUT,
              "pieces of %lld rows of %lld numbers are too large to travel", (long long)p->room, (long long)width);
  /* Sending two pieces from or to their owners: three arrays per other rank, at either end. */
  SYZ_TRY(syz_request_create(world, 12 * (size + 2), &p->mail));
  for (int i = 0; p->station >= 0 && i < (p->stations > 1 ? PIECES_AT_ONCE + 1 : 1); i++)
    SYZ_TRY(create_train(p, &p->train[i]));
cleanup:
  return st;
}

void pieces_destroy(pieces *p)
{
  syz_request_destroy(&p->mail);
  for (int i = 0; i <= PIECES_AT_ONCE; i++) syz_free(&p->train[i].gradient); /* the start of its block */
  syz_free(&p->station_rank);
  syz_free(&p->owner_rank);
}

/* Rows of piece `part` that begins at a station. */
static void range_of(const pieces *p, int station, int64_t part, int64_t *first, int64_t *n)
{
  int64_t begin, share;
  syz_share(p->global_batch, p->stations, station, &begin, &share);
  syz_share(share, (int)p->parts, (int)part, first, n);
  *first += begin;
}

typedef enum journey { LOAD_ROWS, LOAD_ALL, SUMS_HOME, GRADIENT_HOME } journey;

/* n rows between a piece and their owner. Both ranks of a pair start their messages in the same order. */
typedef struct stretch {
  int station, owner; /* ranks in world */
  piece *piece;
  int64_t in_piece, in_own, n;
} stretch;

static void move(const pieces *p, int to, int from, void *target, const void *source, size_t n)
{
  const int rank = syz_comm_rank(p->world);
  if (to == rank && from == rank)
    memcpy(target, source, n);
  else if (from == rank)
    syz_request_send(p->mail, source, n, to, TAG);
  else
    syz_request_receive(p->mail, target, n, from, TAG);
}

/* Nothing where the array is not on this rank. */
static void *place_of(void *array, size_t bytes) { return array ? (char *)array + bytes : NULL; }

static void move_stretch(const pieces *p, journey j, const stretch *s, const piece_source *source, float *target)
{
  const size_t n = (size_t)s->n, at = (size_t)s->in_piece, own = (size_t)s->in_own,
               width = (size_t)p->width * sizeof(float);
  const piece *t = s->piece;
  if (j == LOAD_ROWS || j == LOAD_ALL)
    move(p, s->station, s->owner, place_of(t->rows, at * p->row_bytes), place_of(source->rows, own * p->row_bytes),
         n * p->row_bytes);
  if (j == LOAD_ALL) {
    move(p, s->station, s->owner, place_of(t->sum, at * sizeof(double)), place_of(source->sum, own * sizeof(double)),
         n * sizeof(double));
    move(p, s->station, s->owner, place_of(t->top, at * sizeof(float)), place_of(source->top, own * sizeof(float)),
         n * sizeof(float));
  } else if (j == SUMS_HOME) {
    move(p, s->owner, s->station, place_of(source->sum, own * sizeof(double)), place_of(t->sum, at * sizeof(double)),
         n * sizeof(double));
    move(p, s->owner, s->station, place_of(source->top, own * sizeof(float)), place_of(t->top, at * sizeof(float)),
         n * sizeof(float));
  } else if (j == GRADIENT_HOME && (target || s->owner != s->station)) {
    move(p, s->owner, s->station, place_of(target, own * width), place_of(t->gradient, at * width), n * width);
  }
}

/* The rows of a station's piece that belong to an owner; false: none. */
static bool overlap(const pieces *p, int station, int owner, int64_t part, piece *train, stretch *out)
{
  int64_t first, n, own, count;
  range_of(p, station, part, &first, &n);
  syz_share(p->global_batch, p->owners, owner, &own, &count);
  const int64_t begin = first > own ? first : own, end = first + n < own + count ? first + n : own + count;
  *out = (stretch){p->station_rank[station], p->owner_rank[owner], train, begin - first, begin - own, end - begin};
  return end > begin;
}

/* Between pieces [part, part + 2) and their owners, as far as this rank is one or the other. */
static void exchange(pieces *p, int64_t part, journey j, const piece_source *source, float *target, piece_home home,
                     void *context)
{
  stretch s;
  for (int after = 0; after < (home ? 2 : 1); after++) { /* in the second iteration everything has arrived */
    for (int w = 0; w < p->at_once && part + w < p->parts; w++)
      for (int i = 0; i < p->stations; i++)
        for (int o = i == p->station || p->owner < 0 ? 0 : p->owner; o < (i == p->station ? p->owners : p->owner + 1);
             o++) {
          if (!overlap(p, i, o, part + w, &p->train[w], &s)) continue;
          if (!after)
            move_stretch(p, j, &s, source, target);
          else if (o == p->owner)
            home(context, s.in_own, s.n,
                 target ? target + s.in_own * p->width : s.piece->gradient + s.in_piece * p->width);
        }
    syz_request_wait(p->mail);
  }
}

/* The piece in transit, `flying`, has arrived: its old buffer becomes the free one. */
static void land(pieces *p, int *flying)
{
  if (*flying < 0) return;
  syz_request_wait(p->mail);
  const piece here = p->train[*flying];
  p->train[*flying] = p->train[PIECES_AT_ONCE];
  p->train[PIECES_AT_ONCE] = here;
  *flying = -1;
}

/* A round of two pieces, from where they begin to where they began. The last message returns the sums or gradients
 * without the rows. */
static void travel(pieces *p, int64_t part, bool is_backward, piece_visit visit, void *context)
{
  int flying = -1;
  if (p->station < 0) return;
  const int to = p->station_rank[(p->station + 1) % p->stations],
            from = p->station_rank[(p->station + p->stations - 1) % p->stations];
  for (int step = 0; step < p->stations; step++)
    for (int w = 0; w < p->at_once && part + w < p->parts; w++) {
      piece *here = &p->train[w], *there = &p->train[PIECES_AT_ONCE];
      range_of(p, (p->station - step + p->stations) % p->stations, part + w, &here->first, &here->n);
      if (here->n > 0) visit(context, here);
      if (p->stations == 1) continue;
      land(p, &flying);
      const bool is_last = step == p->stations - 1;
      const size_t gradient = p->backward_bytes - p->forward_bytes;
      const size_t n =
          is_backward ? (is_last ? gradient : p->backward_bytes) : (is_last ? p->sums_bytes : p->forward_bytes);
      syz_request_receive(p->mail, is_backward ? (void *)there->gradient : (void *)there->sum, n, from, TAG);
      syz_request_send(p->mail, is_backward ? (void *)here->gradient : (void *)here->sum, n, to, TAG);
      flying = w;
    }
  land(p, &flying);
}

void pieces_forward(pieces *p, piece_source *source, piece_visit visit, void *context)
{
  for (int64_t part = 0; part < p->rounds * p->at_once; part += p->at_once) {
    for (int w = 0; p->station >= 0 && w < p->at_once && part + w < p->parts; w++)
      for (int64_t i = 0; i < p->room; i++) p->train[w].top[i] = -INFINITY, p->train[w].sum[i] = 0;
    exchange(p, part, LOAD_ROWS, source, NULL, NULL, NULL);
    travel(p, part, false, visit, context);
    exchange(p, part, SUMS_HOME, source, NULL, NULL, NULL);
  }
}

void pieces_backward(pieces *p, const piece_source *source, float *target, piece_visit visit, piece_home home,
                     void *context)
{
  for (int64_t part = 0; part < p->rounds * p->at_once; part += p->at_once) {
    for (int w = 0; p->station >= 0 && w < p->at_once && part + w < p->parts; w++)
      memset(p->train[w].gradient, 0, (size_t)(p->room * p->width) * sizeof(float));
    exchange(p, part, LOAD_ALL, source, NULL, NULL, NULL);
    travel(p, part, true, visit, context);
    exchange(p, part, GRADIENT_HOME, source, target, home, context);
  }
}
