/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * comm: ranks. Start and end of MPI, process grid, collectives with 64-bit counts, agreement on failure.
 *
 * Only the main thread calls this room (MPI_THREAD_FUNNELED). A failed MPI call ends the job (syz_abort): there is
 * nobody left to agree with. Messages are cut below the 2 GiB limit of MPI's int counts inside.
 */
#pragma once

#include "syzygy/base.h"

/** A group of ranks. */
typedef struct syz_comm syz_comm;

/** Start MPI, tell log and abort hook, make the world. Collective over all processes. */
syz_status syz_comm_start(int *argc, char ***argv, syz_comm **world);
/** End MPI; frees *world. Collective. */
void syz_comm_finish(syz_comm **world);
int syz_comm_rank(const syz_comm *c);
int syz_comm_size(const syz_comm *c);
/** Collective: ranks with the same colour form a group, ordered by their rank here. colour < 0: none, *out = NULL. */
syz_status syz_comm_split(syz_comm *c, int colour, syz_comm **out);
/** Collective: the ranks that share this node's memory. */
syz_status syz_comm_split_node(syz_comm *c, syz_comm **out);
void syz_comm_destroy(syz_comm **c);
/** Seconds that the calling thread has spent inside MPI calls of this room: transfer, and waiting for others. Grows; valid as long as the thread. */
const double *syz_comm_seconds(void);
/** For data/h5.c and analysis/scalapack.c only: the address of the MPI_Comm inside. */
void *syz_comm_raw(syz_comm *c);

/** Share of rank `rank` of n items in contiguous blocks: [*first, *first + *count), the first n % size ranks hold one more. */
void syz_share(int64_t n, int size, int rank, int64_t *first, int64_t *count);

/* ------------------------------------------------------------- agreement */

/**
 * Collective. The same result on every rank: SYZ_OK if all passed SYZ_OK, otherwise the worst code (largest value), and the
 * text of the lowest rank that had it becomes everybody's syz_error_text(), with "rank r:" in front.
 */
syz_status syz_agree(syz_comm *c, syz_status local);

/** st = call on each rank; then all agree; if any failed all goto cleanup with the same code. Collective. */
#define SYZ_TRY_ALL(comm, call)                        \
  do {                                                 \
    st = syz_agree((comm), (call));                    \
    if (st != SYZ_OK) {                                \
      st = syz_error_pass(st, __FILE__, __LINE__);     \
      goto cleanup;                                    \
    }                                                  \
  } while (0)

/* ----------------------------------------------------------- collectives */

typedef enum syz_op { SYZ_SUM, SYZ_MAX, SYZ_MIN } syz_op;

void syz_barrier(syz_comm *c);
/** A barrier whose waiting ranks sleep instead of spinning, so that a late one has the machine for itself. */
void syz_barrier_idle(syz_comm *c);
void syz_bcast(syz_comm *c, void *bytes, size_t n, int root);
/** In place, same n on all ranks. The order of additions depends only on the group size and n. */
void syz_allreduce_f32(syz_comm *c, float *x, size_t n, syz_op op);
void syz_allreduce_f64(syz_comm *c, double *x, size_t n, syz_op op);
void syz_allreduce_i64(syz_comm *c, int64_t *x, size_t n, syz_op op);
void syz_allreduce_u64(syz_comm *c, uint64_t *x, size_t n, syz_op op); /**< sums modulo 2^64 */
/** Everybody's bytes behind one another in rank order; bytes[size] as given by each rank must be known to all. */
void syz_allgatherv(syz_comm *c, const void *mine, void *all, const size_t *bytes);
/** Fixed-size variant: n bytes from each rank. */
void syz_allgather(syz_comm *c, const void *mine, void *all, size_t n);
/** To rank 0 only; `all` may be NULL elsewhere. */
void syz_gatherv(syz_comm *c, const void *mine, void *all, const size_t *bytes, int root);
/** Personalised exchange: send_bytes[size], receive_bytes[size], blocks in rank order without gaps. */
void syz_alltoallv(syz_comm *c, const void *send, const size_t *send_bytes, void *receive, const size_t *receive_bytes);
/** Sum of the values of lower ranks (0 on rank 0). */
int64_t syz_exscan_i64(syz_comm *c, int64_t x);

/* Reductions that run while the caller computes. */
typedef struct syz_request syz_request;
/** Room for `n` reductions under way at once. Not collective. */
syz_status syz_request_create(syz_comm *c, int n, syz_request **out);
void syz_request_destroy(syz_request **r);
/** Begin the in-place sum of x[n] over the group; x must not be touched until it is done. Collective, same order on all ranks. */
void syz_request_sum_f32(syz_request *r, float *x, size_t n);
/** Let messages move: to be called now and then from the compute loop. Cheap. Not collective. */
void syz_request_progress(syz_request *r);
/** Wait for all that was begun. */
void syz_request_wait(syz_request *r);

/* Neighbour exchange around a ring: send n bytes to rank+1, receive from rank-1. */
void syz_ring_shift(syz_comm *c, const void *send, void *receive, size_t n);

/* ------------------------------------------------------------------ grid */

/**
 * world = towers x data. Together: every rank holds both towers and its share of the batch. Apart: the first ranks hold only
 * the image tower, the others only the spectrum tower, in proportion to cost.
 */
typedef enum syz_towers { SYZ_TOWERS_TOGETHER, SYZ_TOWERS_APART } syz_towers;
typedef struct syz_grid {
  syz_comm *world;          /**< borrowed */
  syz_comm *data;           /**< ranks that hold the same tower(s) as this one: gradients are summed here */
  syz_towers towers;
  bool has_image, has_spectrum;
  int image_ranks, spectrum_ranks; /**< how many hold each tower */
} syz_grid;
/** Collective. Apart needs >= 2 ranks (SYZ_ERR_MEMORY otherwise). cost_*: any positive measure of work per object. */
syz_status syz_grid_create(syz_comm *world, syz_towers towers, double cost_image, double cost_spectrum, syz_grid *out);
void syz_grid_destroy(syz_grid *g);

/* ---------------------------------------------------------------- timing */

/** Rows of the table of where the time went: per phase minimum, mean and maximum over ranks, share of the total, and mean time inside MPI. */
typedef struct syz_timing_row {
  char name[48];
  double min_s, mean_s, max_s, share, within_s;
  int64_t count;
} syz_timing_row;
/** Collective: same rows on all ranks, in order of first appearance on rank 0 and then of higher ranks. *n in: room, out: rows. */
void syz_timing_reduce(syz_comm *c, const syz_timing *t, syz_timing_row *rows, int *n);
/**
 * Print the table (rank 0) and write `path` as JSON (NULL = no file). Collective. The file also has the seconds from the first phase on (largest of
 * a rank), the largest resident memory of a rank, and per phase the seconds outside MPI of every rank, in rank order.
 */
syz_status syz_timing_report(syz_comm *c, const syz_timing *t, const char *path);

/* ------------------------------------------------------------------ stop */

/** Install handlers of SIGUSR1, SIGUSR2 and SIGTERM that only set a flag. */
void syz_stop_install(void);
/** Whether this rank was asked to stop: a signal, or a file STOP in `folder` (looked at by rank 0 only, at most once a second). */
bool syz_stop_asked(const syz_comm *c, const char *folder);
/** What asked, for the last line of the run: "SIGUSR1", "STOP file", ... */
const char *syz_stop_reason(void);
