/* SPDX-License-Identifier: BSD-3-Clause */
/** Collectives with 64-bit counts: messages are cut into chunks that fit MPI's int counts, the same way on every rank.
 */
#include "comm.h"

#include <sched.h>
#include <string.h>
#include <time.h>

void syz_barrier(syz_comm *c) { COMM(MPI_Barrier(c->mpi)); }

void syz_barrier_idle(syz_comm *c)
{
  const struct timespec pause = {.tv_nsec = 2000000};
  MPI_Request request;
  int is_done = 0;
  COMM(MPI_Ibarrier(c->mpi, &request));
  for (;;) {
    COMM_LOOK(MPI_Test(&request, &is_done, MPI_STATUS_IGNORE));
    if (is_done) break;
    nanosleep(&pause, NULL);
  }
  syz_pulse();
}

void syz_pause(syz_comm *c, int *idle)
{
  enum { LOOKS = 200, YIELDS = 400 };
  const struct timespec nap = {.tv_nsec = 50000};
  int unused;
  comm_look("MPI_Iprobe");
  const int code = MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, c->mpi, &unused, MPI_STATUS_IGNORE);
  if (++*idle > YIELDS)
    nanosleep(&nap, NULL);
  else if (*idle > LOOKS)
    sched_yield();
  comm_check(comm_looked(code), "MPI_Iprobe", __FILE__, __LINE__);
}

void syz_bcast(syz_comm *c, void *bytes, size_t n, int root)
{
  for (size_t at = 0; at < n; at += COMM_CHUNK) {
    size_t m = n - at < COMM_CHUNK ? n - at : COMM_CHUNK;
    COMM(MPI_Bcast((char *)bytes + at, (int)m, MPI_BYTE, root, c->mpi));
  }
}

static MPI_Op op_of(syz_op op) { return op == SYZ_SUM ? MPI_SUM : op == SYZ_MAX ? MPI_MAX : MPI_MIN; }

static void allreduce(syz_comm *c, void *x, size_t n, size_t size, MPI_Datatype type, syz_op op)
{
  if (c->size == 1) return;
  for (size_t at = 0; at < n; at += COMM_CHUNK) {
    size_t m = n - at < COMM_CHUNK ? n - at : COMM_CHUNK;
    COMM(MPI_Allreduce(MPI_IN_PLACE, (char *)x + at * size, (int)m, type, op_of(op), c->mpi));
  }
}

void syz_allreduce_f32(syz_comm *c, float *x, size_t n, syz_op op) { allreduce(c, x, n, sizeof *x, MPI_FLOAT, op); }
void syz_allreduce_f64(syz_comm *c, double *x, size_t n, syz_op op) { allreduce(c, x, n, sizeof *x, MPI_DOUBLE, op); }
void syz_allreduce_i64(syz_comm *c, int64_t *x, size_t n, syz_op op) { allreduce(c, x, n, sizeof *x, MPI_INT64_T, op); }
void syz_allreduce_u64(syz_comm *c, uint64_t *x, size_t n, syz_op op)
{
  allreduce(c, x, n, sizeof *x, MPI_UINT64_T, op);
}

void syz_allgather(syz_comm *c, const void *mine, void *all, size_t n)
{
  SYZ_ASSERT(n < COMM_CHUNK);
  COMM(MPI_Allgather(mine, (int)n, MPI_BYTE, all, (int)n, MPI_BYTE, c->mpi));
}

/* One call where the sum fits int counts; otherwise each rank's part travels by a broadcast from its owner. */
void syz_allgatherv(syz_comm *c, const void *mine, void *all, const size_t *bytes)
{
  size_t total = 0, at = 0;
  for (int r = 0; r < c->size; r++) total += bytes[r];
  if (total <= COMM_CHUNK) {
    for (int r = 0, offset = 0; r < c->size; r++) {
      c->count[r] = (int)bytes[r];
      c->place[r] = offset;
      offset += c->count[r];
    }
    COMM(MPI_Allgatherv(mine, c->count[c->rank], MPI_BYTE, all, c->count, c->place, MPI_BYTE, c->mpi));
    return;
  }
  for (int r = 0; r < c->size; r++) {
    if (r == c->rank && bytes[r]) memmove((char *)all + at, mine, bytes[r]);
    syz_bcast(c, (char *)all + at, bytes[r], r);
    at += bytes[r];
  }
}

void syz_gatherv(syz_comm *c, const void *mine, void *all, const size_t *bytes, int root)
{
  enum { TAG = 71 };
  if (c->rank != root) {
    for (size_t at = 0; at < bytes[c->rank]; at += COMM_CHUNK) {
      size_t m = bytes[c->rank] - at < COMM_CHUNK ? bytes[c->rank] - at : COMM_CHUNK;
      COMM(MPI_Send((const char *)mine + at, (int)m, MPI_BYTE, root, TAG, c->mpi));
    }
    return;
  }
  char *to = all;
  for (int r = 0; r < c->size; r++) {
    if (r == root && bytes[r]) memmove(to, mine, bytes[r]);
    for (size_t at = 0; r != root && at < bytes[r]; at += COMM_CHUNK) {
      size_t m = bytes[r] - at < COMM_CHUNK ? bytes[r] - at : COMM_CHUNK;
      COMM(MPI_Recv(to + at, (int)m, MPI_BYTE, r, TAG, c->mpi, MPI_STATUS_IGNORE));
    }
    to += bytes[r];
  }
}

/* Pairwise: in round d every rank sends to rank + d and receives from rank - d, so at most two partners are busy with a
 * rank. */
void syz_alltoallv(syz_comm *c, const void *send, const size_t *send_bytes, void *receive, const size_t *receive_bytes)
{
  enum { TAG = 72 };
  for (int d = 0; d < c->size; d++) {
    int to = (c->rank + d) % c->size, from = (c->rank - d + c->size) % c->size;
    size_t s = 0, r = 0;
    for (int i = 0; i < to; i++) s += send_bytes[i];
    for (int i = 0; i < from; i++) r += receive_bytes[i];
    const char *source = (const char *)send + s;
    char *target = (char *)receive + r;
    size_t left_s = send_bytes[to], left_r = receive_bytes[from];
    if (d == 0) {
      if (left_s) memmove(target, source, left_s);
      continue;
    }
    while (left_s || left_r) {
      size_t ms = left_s < COMM_CHUNK ? left_s : COMM_CHUNK, mr = left_r < COMM_CHUNK ? left_r : COMM_CHUNK;
      MPI_Request q[2];
      COMM(MPI_Irecv(target, (int)mr, MPI_BYTE, mr ? from : MPI_PROC_NULL, TAG, c->mpi, &q[0]));
      COMM(MPI_Isend(source, (int)ms, MPI_BYTE, ms ? to : MPI_PROC_NULL, TAG, c->mpi, &q[1]));
      COMM(MPI_Waitall(2, q, MPI_STATUSES_IGNORE));
      source += ms;
      target += mr;
      left_s -= ms;
      left_r -= mr;
    }
  }
}

int64_t syz_exscan_i64(syz_comm *c, int64_t x)
{
  int64_t sum = 0;
  COMM(MPI_Exscan(&x, &sum, 1, MPI_INT64_T, MPI_SUM, c->mpi));
  return c->rank == 0 ? 0 : sum;
}

void syz_ring_shift(syz_comm *c, const void *send, void *receive, size_t n)
{
  enum { TAG = 73 };
  int to = (c->rank + 1) % c->size, from = (c->rank - 1 + c->size) % c->size;
  for (size_t at = 0; at < n; at += COMM_CHUNK) {
    int m = (int)(n - at < COMM_CHUNK ? n - at : COMM_CHUNK);
    COMM(MPI_Sendrecv((const char *)send + at, m, MPI_BYTE, to, TAG, (char *)receive + at, m, MPI_BYTE, from, TAG,
                      c->mpi, MPI_STATUS_IGNORE));
  }
}
