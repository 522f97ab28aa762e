/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Sums that run while the caller computes. Open MPI moves nonblocking collectives only inside MPI calls, so the compute loop calls
 * syz_request_progress between layers; the copying and adding then happens there.
 */
#include "comm.h"

struct syz_request {
  syz_comm *c;
  int room, n;
  MPI_Request request[];
};

syz_status syz_request_create(syz_comm *c, int n, syz_request **out)
{
  syz_status st = SYZ_OK;
  *out = syz_alloc("requests", 1, sizeof(syz_request) + (size_t)n * sizeof(MPI_Request));
  SYZ_REQUIRE(*out, SYZ_ERR_MEMORY, "no memory for %d requests", n);
  (*out)->c = c;
  (*out)->room = n;
cleanup:
  return st;
}

void syz_request_destroy(syz_request **r)
{
  if (*r) syz_request_wait(*r);
  syz_free(r);
}

void syz_request_sum_f32(syz_request *r, float *x, size_t n)
{
  if (r->c->size == 1) return;
  for (size_t at = 0; at < n; at += COMM_CHUNK) {
    size_t m = n - at < COMM_CHUNK ? n - at : COMM_CHUNK;
    if (r->n == r->room) syz_request_wait(r);
    COMM(MPI_Iallreduce(MPI_IN_PLACE, x + at, (int)m, MPI_FLOAT, MPI_SUM, r->c->mpi, &r->request[r->n++]));
  }
}

void syz_request_progress(syz_request *r)
{
  int is_done;
  if (r->n > 0) COMM(MPI_Testall(r->n, r->request, &is_done, MPI_STATUSES_IGNORE));
}

void syz_request_wait(syz_request *r)
{
  if (r->n > 0) COMM(MPI_Waitall(r->n, r->request, MPI_STATUSES_IGNORE));
  r->n = 0;
}
