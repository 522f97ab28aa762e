/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Messages between two ranks that travel while the caller computes. Open MPI moves large ones only inside MPI calls (the receiver copies them
 * through shared memory, or answers that it is ready), so the compute loop calls syz_mail_progress now and then.
 */
#include "comm.h"

struct syz_mail {
  syz_comm *c;
  int room, n;
  MPI_Request request[];
};

enum { TAG = 74 };

syz_status syz_mail_create(syz_comm *c, int n, syz_mail **out)
{
  syz_status st = SYZ_OK;
  *out = syz_alloc("messages", 1, sizeof(syz_mail) + (size_t)n * sizeof(MPI_Request));
  SYZ_REQUIRE(*out, SYZ_ERR_MEMORY, "no memory for %d messages", n);
  (*out)->c = c;
  (*out)->room = n;
cleanup:
  return st;
}

void syz_mail_destroy(syz_mail **m)
{
  if (*m) syz_mail_wait(*m);
  syz_free(m);
}

/* A place for one more. Waiting for room could wait for ever (for a message whose other end waits too), so having room is the caller's duty. */
static MPI_Request *next_request(syz_mail *m)
{
  SYZ_ASSERT(m->n < m->room);
  return &m->request[m->n++];
}

void syz_mail_send(syz_mail *m, int to, const void *bytes, size_t n)
{
  SYZ_ASSERT(to != m->c->rank);
  for (size_t at = 0; at < n; at += COMM_CHUNK) {
    const int part = (int)(n - at < COMM_CHUNK ? n - at : COMM_CHUNK);
    COMM(MPI_Isend((const char *)bytes + at, part, MPI_BYTE, to, TAG, m->c->mpi, next_request(m)));
  }
}

void syz_mail_receive(syz_mail *m, int from, void *bytes, size_t n)
{
  SYZ_ASSERT(from != m->c->rank);
  for (size_t at = 0; at < n; at += COMM_CHUNK) {
    const int part = (int)(n - at < COMM_CHUNK ? n - at : COMM_CHUNK);
    COMM(MPI_Irecv((char *)bytes + at, part, MPI_BYTE, from, TAG, m->c->mpi, next_request(m)));
  }
}

void syz_mail_progress(syz_mail *m)
{
  int is_done;
  if (m->n > 0) COMM(MPI_Testall(m->n, m->request, &is_done, MPI_STATUSES_IGNORE));
}

void syz_mail_wait(syz_mail *m)
{
  if (m->n > 0) COMM(MPI_Waitall(m->n, m->request, MPI_STATUSES_IGNORE));
  m->n = 0;
}
