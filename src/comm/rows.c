/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Rows of an array that a group of ranks holds together: rank r's rows lie behind those of the ranks before it.
 *
 * Both collectives go pairwise: in round d every rank sends to rank + d and receives from rank - d, so every pair exchanges exactly the bytes that it
 * has for one another, any counts of rows will do (also none), and at most two partners are busy with a rank. A rank sends and receives
 * (size - 1) / size of the array (for equal shares), which no method undercuts. MPI's own MPI_Reduce_scatter takes a temporary copy of the whole
 * array in each call; here a stage of fixed size does, and one half of it is added while the other is under way.
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
    COMM(MPI_Sendrecv(send, (int)s, MPI_BYTE, s ? to : MPI_PROC_NULL, TAG, receive, (int)r, MPI_BYTE, r ? from : MPI_PROC_NULL, TAG, c->mpi,
                      MPI_STATUS_IGNORE));
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
    exchange(c, bytes + mine, n_mine, to, bytes + (size_t)rows_before(rows, from) * row_bytes, (size_t)rows[from] * row_bytes, from);
  }
}

static void add(float *restrict to, const float *restrict from, size_t n)
{
  for (size_t i = 0; i < n; i++) to[i] += from[i];
}

static size_t piece_of(size_t n, size_t at) { return n - at < SYZ_ROWS_STAGE / 2 ? n - at : SYZ_ROWS_STAGE / 2; }

/*
 * One round: `send` leaves as a whole, what arrives does so in half stages. Both sides cut at the same places, since the receiver knows how many
 * elements the sender has for it: its own. Elements of a round are added once it is their turn: the order of additions is that of the rounds.
 */
static void add_round(syz_comm *c, const float *send, size_t n_send, int to, float *mine, size_t n_mine, int from, float *stage)
{
  enum { TAG = 75, HALVES = 2 };
  MPI_Request receive[HALVES] = {MPI_REQUEST_NULL, MPI_REQUEST_NULL}, sent[HALVES] = {MPI_REQUEST_NULL, MPI_REQUEST_NULL};
  float *half[HALVES] = {stage, stage + SYZ_ROWS_STAGE / 2};
  const size_t step = SYZ_ROWS_STAGE / 2;
  size_t asked = 0, given = 0;
  int turn = 0;
  for (int h = 0; h < HALVES && asked < n_mine; h++, asked += step)
    COMM(MPI_Irecv(half[h], (int)piece_of(n_mine, asked), MPI_FLOAT, from, TAG, c->mpi, &receive[h]));
  for (int h = 0; h < HALVES && given < n_send; h++, given += step)
    COMM(MPI_Isend(send + given, (int)piece_of(n_send, given), MPI_FLOAT, to, TAG, c->mpi, &sent[h]));
  for (size_t at = 0; at < n_mine || at < n_send; at += step, turn = 1 - turn) {
    COMM(MPI_Wait(&receive[turn], MPI_STATUS_IGNORE));
    if (at < n_mine) add(mine + at, half[turn], piece_of(n_mine, at));
    if (asked < n_mine) {
      COMM(MPI_Irecv(half[turn], (int)piece_of(n_mine, asked), MPI_FLOAT, from, TAG, c->mpi, &receive[turn]));
      asked += step;
    }
    COMM(MPI_Wait(&sent[turn], MPI_STATUS_IGNORE));
    if (given < n_send) {
      COMM(MPI_Isend(send + given, (int)piece_of(n_send, given), MPI_FLOAT, to, TAG, c->mpi, &sent[turn]));
      given += step;
    }
  }
}

void syz_rows_reduce_scatter(syz_comm *c, float *all, const int64_t *rows, int64_t width, float *stage)
{
  float *mine = all + rows_before(rows, c->rank) * width;
  const size_t n_mine = (size_t)(rows[c->rank] * width);
  for (int d = 1; d < c->size; d++) {
    const int to = (c->rank + d) % c->size, from = (c->rank - d + c->size) % c->size;
    add_round(c, all + rows_before(rows, to) * width, (size_t)(rows[to] * width), to, mine, n_mine, from, stage);
  }
}
