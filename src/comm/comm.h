/* SPDX-License-Identifier: BSD-3-Clause */
/** Inside of comm: a group of ranks, and the end of the job when MPI itself fails. */
#pragma once

#include <mpi.h>

#include "syzygy/comm.h"

struct syz_comm {
  MPI_Comm mpi;
  int rank, size;
  int *count, *place; /* [size] scratch of the collectives with int counts: nothing is allocated inside a step */
};

/** Elements of one message at most: far below the int limit of MPI 3.1. */
enum { COMM_CHUNK = 1 << 28 };

void comm_check(int code, const char *call, const char *file, int line);
/* Called around every MPI call: its time is added to syz_comm_seconds, and the watchdog sees that the rank waits.
 * comm_leave returns `code`. */
void comm_enter(const char *call);
int comm_leave(int code);
#define COMM(call) (comm_enter(#call), comm_check(comm_leave(call), #call, __FILE__, __LINE__))
/* The same for a call that only tests whether others are ready: it does not count as progress. */
void comm_look(const char *call);
int comm_looked(int code);
#define COMM_LOOK(call) (comm_look(#call), comm_check(comm_looked(call), #call, __FILE__, __LINE__))

/** Send n bytes to rank + 1 and receive n bytes from rank - 1, around the ring of all ranks. Collective. */
void syz_ring_shift(syz_comm *c, const void *send, void *receive, size_t n);
