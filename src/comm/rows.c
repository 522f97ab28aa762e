/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Rows of an array that a group of ranks holds together: rank r's rows come after those of the ranks before it.
 *
 * Every pair of ranks exchanges only the bytes that it has for one another, so any numbers of rows are allowed (also
 * 0), and with equal shares a rank sends and receives (size - 1) / size of the array, the least possible. Gathering
 * takes one round for each d: send to rank + d, receive from rank - d.
 *
 * Sums are formed in the order of ranks on every rank, so equal rows give equal sums bit for bit. (KoLeo takes the
 * logarithm of the distance of two class tokens, and crops for which stochastic depth skipped attention have equal
 * tokens: sums in the order of arrival turned a distance of 0 into 1e-7 and changed the loss by 4 %.)
 * MPI_Reduce_scatter makes a temporary copy of the whole array in each call; here a buffer of fixed size suffices, of
 * which one half is added while the other is received.
 */
#include "comm.h"

static int64_t rows_before(const int64_t *rows, int rank)
{
  int64_t sum = 0;
  for (int r = 0; r < rank; r++) sum += rows[r];
  return sum;
}

/* Both directions of one round, in pieces that fit MPI's int counts. */
static void exchange(syz_comm *c, const char *send, size_t n_send, int to, char *receive, size_t n_receive, int from)
{
  enum { TAG = 74 };
  while (n_send || n_receive) {
    const size_t s = n_send < COMM_CHUNK ? n_send : COMM_CHUNK, r = n_receive < COMM_CHUNK ? n_receive : COMM_CHUNK;
    COMM(MPI_Sendrecv(send, (int)s, MPI_BYTE, s ? to : MPI_PROC_NULL, TAG, receive, (int)r, MPI_BYTE,
                      r ? from : MPI_PROC_NULL, TAG, c->mpi, MPI_STATUS_IGNORE));
    send += s;
    receive += r;
    n_send -= s;
    n_receive -= r;
  }
}

void syz_rows_gather(syz_comm *c, void *all, const int64_t *rows, size_t row_bytes)
{
  char *bytes = all;
  const size_t mine = (size_t)rows_before(rows, c->rank) * row_bytes, n_mine = (size_t)rows[c->rank] * row_bytes;
  for (int d = 1; d < c->size; d++) {
    const int to = (c->rank + d) % c->size, from = (c->rank - d + c->size) % c->size;
    exchange(c, bytes + mine, n_mine, to, bytes + (size_t)rows_before(rows, from) * row_bytes,
             (size_t)rows[from] * row_bytes, from);
  }
}

static void add(float *restrict to, const float *restrict from, size_t n)
{
  for (size_t i = 0; i < n; i++) to[i] += from[i];
}

/* A sum in pieces: each other rank's part of a piece has a slot in the buffer. Two pieces are in flight, each in its
 * half. */
enum { TAG_SUM = 75, HALVES = 2 };
typedef struct piece_sum {
  syz_comm *c;
  float *all;
  const int64_t *rows;
  int64_t width;
  float *stage;
  size_t slot;                                                               /* floats */
  MPI_Request receive[HALVES][SYZ_ROWS_RANKS], send[HALVES][SYZ_ROWS_RANKS]; /* by partner */
} piece_sum;

static size_t floats_of(const piece_sum *s, int rank) { return (size_t)(s->rows[rank] * s->width); }
static float *part_of(const piece_sum *s, int rank) { return s->all + rows_before(s->rows, rank) * s->width; }

/* Number of elements in piece k of a rank's rows; sender and receiver cut at the same places. */
static size_t piece_of(const piece_sum *s, int rank, size_t k)
{
  const size_t n = floats_of(s, rank), at = k * s->slot;
  return n <= at ? 0 : n - at < s->slot ? n - at : s->slot;
}

static float *slot_of(const piece_sum *s, size_t k, int from)
{
  const int i = from < s->c->rank ? from : from - 1;
  return s->stage + (k % HALVES * (size_t)(s->c->size - 1) + (size_t)i) * s->slot;
}

static void begin_piece(piece_sum *s, size_t k)
{
  syz_comm *c = s->c;
  MPI_Request *receive = s->receive[k % HALVES], *send = s->send[k % HALVES];
  for (int r = 0; r < c->size; r++) receive[r] = send[r] = MPI_REQUEST_NULL;
  const size_t mine = piece_of(s, c->rank, k);
  for (int d = 1; d < c->size; d++) {
    const int to = (c->rank + d) % c->size, from = (c->rank - d + c->size) % c->size;
    const size_t n = piece_of(s, to, k);
    if (mine > 0) COMM(MPI_Irecv(slot_of(s, k, from), (int)mine, MPI_FLOAT, from, TAG_SUM, c->mpi, &receive[from]));
    if (n > 0) COMM(MPI_Isend(part_of(s, to) + k * s->slot, (int)n, MPI_FLOAT, to, TAG_SUM, c->mpi, &send[to]));
  }
}

/* Adds in the order of ranks. */
static void end_piece(piece_sum *s, size_t k)
{
  syz_comm *c = s->c;
  const size_t n = piece_of(s, c->rank, k);
  float *mine = part_of(s, c->rank) + k * s->slot;
  COMM(MPI_Waitall(c->size, s->receive[k % HALVES], MPI_STATUSES_IGNORE));
  for (int r = 1; r < c->rank; r++) add(slot_of(s, k, 0), slot_of(s, k, r), n);
  if (c->rank > 0) add(mine, slot_of(s, k, 0), n);
  for (int r = c->rank + 1; r < c->size; r++) add(mine, slot_of(s, k, r), n);
  COMM(MPI_Waitall(c->size, s->send[k % HALVES], MPI_STATUSES_IGNORE));
}

void syz_rows_reduce_scatter(syz_comm *c, float *all, const int64_t *rows, int64_t width, float *stage)
{
  SYZ_ASSERT(c->size <= SYZ_ROWS_RANKS);
  if (c->size == 1) return;
  piece_sum s = {.c = c,
                 .all = all,
                 .rows = rows,
                 .width = width,
                 .stage = stage,
                 .slot = SYZ_ROWS_STAGE / HALVES / (size_t)(c->size - 1)};
  size_t most = 0;
  for (int r = 0; r < c->size; r++) most = floats_of(&s, r) > most ? floats_of(&s, r) : most;
  const size_t pieces = (most + s.slot - 1) / s.slot;
  for (size_t k = 0; k < HALVES && k < pieces; k++) begin_piece(&s, k);
  for (size_t k = 0; k < pieces; k++) {
    end_piece(&s, k);
    if (k + HALVES < pieces) begin_piece(&s, k + HALVES);
  }
}
