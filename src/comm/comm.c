/* SPDX-License-Identifier: BSD-3-Clause */
/** Start and end of MPI, groups of ranks, and agreement, by which all ranks reach the same outcome. */
#include "comm.h"

#include <stdio.h>
#include <string.h>

void comm_check(int code, const char *call, const char *file, int line)
{
  if (code == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING];
  int n = 0;
  if (MPI_Error_string(code, text, &n) != MPI_SUCCESS) snprintf(text, sizeof text, "MPI error %d", code);
  syz_abort(SYZ_ERR_RANK, file, line, "%.80s: %s", call, text);
}

static void abort_all(int code) { MPI_Abort(MPI_COMM_WORLD, code); }

static void unwrap(syz_comm **c)
{
  if (!*c) return;
  syz_free(&(*c)->count);
  syz_free(&(*c)->place);
  syz_free(c);
}

static syz_status wrap(MPI_Comm mpi, syz_comm **out)
{
  syz_status st = SYZ_OK;
  syz_comm *c = NULL;
  *out = NULL;
  SYZ_ALLOC(c, "communicator", 1);
  c->mpi = mpi;
  COMM(MPI_Comm_set_errhandler(mpi, MPI_ERRORS_RETURN));
  COMM(MPI_Comm_rank(mpi, &c->rank));
  COMM(MPI_Comm_size(mpi, &c->size));
  SYZ_ALLOC(c->count, "message counts", c->size);
  SYZ_ALLOC(c->place, "message places", c->size);
  *out = c;
  c = NULL;
cleanup:
  unwrap(&c);
  return st;
}

syz_status syz_comm_start(int *argc, char ***argv, syz_comm **world)
{
  syz_status st = SYZ_OK;
  int provided = 0;
  *world = NULL;
  SYZ_REQUIRE(MPI_Init_thread(argc, argv, MPI_THREAD_FUNNELED, &provided) == MPI_SUCCESS, SYZ_ERR_RANK,
              "MPI does not start");
  syz_abort_hook(abort_all);
  SYZ_TRY(wrap(MPI_COMM_WORLD, world));
  syz_log_rank((*world)->rank, (*world)->size);
  setvbuf(stdout, NULL, _IOLBF, BUFSIZ); /* mpirun reads a pipe: each line as it is said */
  SYZ_REQUIRE(provided >= MPI_THREAD_FUNNELED, SYZ_ERR_RANK,
              "this MPI cannot be used in a program with threads (level %d)", provided);
cleanup:
  return st;
}

/* Per thread, because only the thread that calls MPI reads them. Two clock readings cost 50 ns per call. */
static _Thread_local double seconds_in_mpi, entered_s;

void comm_enter(const char *call)
{
  entered_s = syz_clock_s();
  syz_pulse_wait(call);
}

int comm_leave(int code)
{
  seconds_in_mpi += syz_clock_s() - entered_s;
  syz_pulse_wait(NULL);
  return code;
}

void comm_look(const char *call)
{
  entered_s = syz_clock_s();
  syz_pulse_look(call);
}

int comm_looked(int code)
{
  seconds_in_mpi += syz_clock_s() - entered_s;
  return code;
}

const double *syz_comm_seconds(void) { return &seconds_in_mpi; }

void syz_comm_finish(syz_comm **world)
{
  unwrap(world);
  syz_abort_hook(NULL);
  syz_pulse_wait("MPI_Finalize");
  MPI_Finalize();
  syz_pulse_wait(NULL);
}

int syz_comm_rank(const syz_comm *c) { return c->rank; }
int syz_comm_size(const syz_comm *c) { return c->size; }
void *syz_comm_raw(syz_comm *c) { return &c->mpi; }

/* After a failure no rank has the group, so *out tells callers what all ranks of `parent` have. */
static syz_status wrap_agreed(syz_comm *parent, MPI_Comm mpi, syz_comm **out)
{
  syz_status st = SYZ_OK;
  *out = NULL;
  SYZ_TRY_ALL(parent, mpi == MPI_COMM_NULL ? SYZ_OK : wrap(mpi, out));
cleanup:
  if (st != SYZ_OK) {
    unwrap(out);
    if (mpi != MPI_COMM_NULL) COMM(MPI_Comm_free(&mpi));
  }
  return st;
}

syz_status syz_comm_split(syz_comm *c, int colour, syz_comm **out)
{
  MPI_Comm mpi;
  COMM(MPI_Comm_split(c->mpi, colour < 0 ? MPI_UNDEFINED : colour, c->rank, &mpi));
  return wrap_agreed(c, mpi, out);
}

syz_status syz_comm_split_node(syz_comm *c, syz_comm **out)
{
  MPI_Comm mpi;
  COMM(MPI_Comm_split_type(c->mpi, MPI_COMM_TYPE_SHARED, c->rank, MPI_INFO_NULL, &mpi));
  return wrap_agreed(c, mpi, out);
}

void syz_comm_destroy(syz_comm **c)
{
  if (!*c) return;
  COMM(MPI_Comm_free(&(*c)->mpi));
  unwrap(c);
}

void syz_share(int64_t n, int size, int rank, int64_t *first, int64_t *count)
{
  int64_t least = n / size, more = n % size;
  *first = least * rank + (rank < more ? rank : more);
  *count = least + (rank < more ? 1 : 0);
}

syz_status syz_agree(syz_comm *c, syz_status local)
{
  struct {
    int code, rank;
  } mine = {(int)local, c->rank}, worst;
  COMM(MPI_Allreduce(&mine, &worst, 1, MPI_2INT, MPI_MAXLOC, c->mpi)); /* worst code, lowest rank */
  if (worst.code == SYZ_OK) return SYZ_OK;
  char text[SYZ_ERROR_TEXT];
  syz_error_keep(text);
  COMM(MPI_Bcast(text, sizeof text, MPI_CHAR, worst.rank, c->mpi));
  if (c->size > 1 && strncmp(text, "rank ", 5) != 0)
    snprintf(syz_error_text(), SYZ_ERROR_TEXT, "rank %d: %.*s", worst.rank, SYZ_ERROR_TEXT - 32, text);
  else
    syz_error_restore(text);
  return (syz_status)worst.code;
}
