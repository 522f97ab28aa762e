/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Messages that are sent while the caller computes. Open MPI advances them only inside MPI calls, so the compute loop
 * calls syz_request_test now and then: a message within a machine is copied in those calls; one over a network
 * continues by itself once both ends have posted it.
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

void syz_request_send(syz_request *r, const void *bytes, size_t n, int to, int tag)
{
  for (size_t at = 0; at < n; at += COMM_CHUNK) {
    const int part = (int)(n - at < COMM_CHUNK ? n - at : COMM_CHUNK);
    SYZ_ASSERT(r->n < r->room);
    COMM(MPI_Isend((const char *)bytes + at, part, MPI_BYTE, to, tag, r->c->mpi, &r->request[r->n++]));
  }
}

void syz_request_receive(syz_request *r, void *bytes, size_t n, int from, int tag)
{
  for (size_t at = 0; at < n; at += COMM_CHUNK) {
    const int part = (int)(n - at < COMM_CHUNK ? n - at : COMM_CHUNK);
    SYZ_ASSERT(r->n < r->room);
    COMM(MPI_Irecv((char *)bytes + at, part, MPI_BYTE, from, tag, r->c->mpi, &r->request[r->n++]));
  }
}

bool syz_request_test(syz_request *r)
{
  int is_done = 1;
  if (r->n > 0) COMM_LOOK(MPI_Testall(r->n, r->request, &is_done, MPI_STATUSES_IGNORE));
  if (is_done && r->n > 0) syz_pulse();
  if (is_done) r->n = 0;
  return is_done;
}

void syz_request_wait(syz_request *r)
{
  if (r->n > 0) COMM(MPI_Waitall(r->n, r->request, MPI_STATUSES_IGNORE));
  r->n = 0;
}
