/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * comm: ranks. Start and end of MPI, process grid, agreement on failure, collectives with 64-bit counts, messages
 * during computation, rows distributed over a group, nodes and the memory that their ranks share, the table of times,
 * watchdog, requests to stop.
 *
 * Only the main thread calls this room (MPI_THREAD_FUNNELED). A failed MPI call ends the job (syz_abort), since ranks
 * cannot agree without MPI. Long messages are cut below the 2 GiB limit of MPI's int counts.
 */
#pragma once

#include "syzygy/base.h"

/** A group of ranks. */
typedef struct syz_comm syz_comm;

/** Call before syz_comm_start. SYZ_ERR_MEMORY when this process has too little memory for MPI, which would end it
 * without a message (src/comm/start_memory.c). */
syz_status syz_comm_check_memory(void);
/** Start MPI, give the log its rank, install the abort hook, make the world. Collective over all processes. */
syz_status syz_comm_start(int *argc, char ***argv, syz_comm **world);
/** End MPI; frees *world. Collective. */
void syz_comm_finish(syz_comm **world);
int syz_comm_rank(const syz_comm *c);
int syz_comm_size(const syz_comm *c);
/** Collective: ranks with the same colour form a group, ordered by their rank here. colour < 0: this rank joins no
 * group, and *out = NULL. */
syz_status syz_comm_split(syz_comm *c, int colour, syz_comm **out);
/** Collective: the ranks that share this node's memory. */
syz_status syz_comm_split_node(syz_comm *c, syz_comm **out);
void syz_comm_destroy(syz_comm **c);
/** Seconds that the calling thread has spent so far inside MPI calls of this room and in syz_pause, for transfer and
 * waiting. The pointer is valid as long as the thread. */
const double *syz_comm_seconds(void);
/** For h5/mpio.c and analysis/scalapack.c only: the address of the MPI_Comm. */
void *syz_comm_raw(syz_comm *c);

/** The contiguous block of n items that rank `rank` of `size` holds: [*first, *first + *count). The first n % size
 * ranks hold one item more. */
void syz_share(int64_t n, int size, int rank, int64_t *first, int64_t *count);

/* ------------------------------------------------------------- agreement */

/**
 * Collective. The same result on every rank: SYZ_OK if `local` is SYZ_OK everywhere, otherwise the worst code (largest
 * value). All ranks then have the error text of the lowest rank with this code, with "rank r:" in front.
 */
syz_status syz_agree(syz_comm *c, syz_status local);

/** st = call on each rank, then all agree; if any rank failed, all goto cleanup with the same code. Collective. */
#define SYZ_TRY_ALL(comm, call)                                                                                        \
  do {                                                                                                                 \
    st = syz_agree((comm), (call));                                                                                    \
    if (st != SYZ_OK) {                                                                                                \
      st = syz_error_pass(st, __FILE__, __LINE__);                                                                     \
      goto cleanup;                                                                                                    \
    }                                                                                                                  \
  } while (0)

/* ----------------------------------------------------------- collectives */

typedef enum syz_op { SYZ_SUM, SYZ_MAX, SYZ_MIN } syz_op;

/* The functions down to syz_exscan_i64 are collective, except syz_pause. They cannot fail. */
void syz_barrier(syz_comm *c);
/** A barrier whose waiting ranks sleep instead of spinning, so that a late rank has the processors to itself. */
void syz_barrier_idle(syz_comm *c);
/** Poll once while waiting for other ranks to write to shared memory: progress MPI (others may wait for this rank's
 * messages), then back off (spin, yield, sleep 50 us). *idle counts the polls; begin with 0. The time counts in
 * syz_comm_seconds. Not collective. */
void syz_pause(syz_comm *c, int *idle);
void syz_bcast(syz_comm *c, void *bytes, size_t n, int root);
/** In place, same n on all ranks. The order of additions depends only on the group size and n. */
void syz_allreduce_f32(syz_comm *c, float *x, size_t n, syz_op op);
void syz_allreduce_f64(syz_comm *c, double *x, size_t n, syz_op op);
void syz_allreduce_i64(syz_comm *c, int64_t *x, size_t n, syz_op op);
void syz_allreduce_u64(syz_comm *c, uint64_t *x, size_t n, syz_op op); /**< sums modulo 2^64 */
/** The bytes of all ranks one after another in rank order; bytes[size], the same on all ranks, says how many each
 * gives. */
void syz_allgatherv(syz_comm *c, const void *mine, void *all, const size_t *bytes);
/** Fixed-size variant: n bytes from each rank. */
void syz_allgather(syz_comm *c, const void *mine, void *all, size_t n);
/** The same, to rank `root` only; `all` may be NULL elsewhere. */
void syz_gatherv(syz_comm *c, const void *mine, void *all, const size_t *bytes, int root);
/** Personalised exchange: send_bytes[size], receive_bytes[size], blocks in rank order without gaps. */
void syz_alltoallv(syz_comm *c, const void *send, const size_t *send_bytes, void *receive, const size_t *receive_bytes);
/** Sum of the values of lower ranks (0 on rank 0). */
int64_t syz_exscan_i64(syz_comm *c, int64_t x);

/* Messages during computation: they progress only inside calls of this room. */
typedef struct syz_request syz_request;
/** Room for `n` messages in flight at once (a message counts once per 256 MiB begun). Not collective. */
syz_status syz_request_create(syz_comm *c, int n, syz_request **out);
/** Waits for all messages first; NULL is allowed. */
void syz_request_destroy(syz_request **r);
/** Begin to send to, or receive from, another rank; the bytes must not be touched until the message is complete.
 * Messages of one tag from one rank to another arrive in the order sent. Tags: 0 .. 32767, except 71 .. 79, which this
 * room uses. 0 bytes are no message. The caller must not exceed the room for messages: the job ends, since waiting
 * could deadlock. */
void syz_request_send(syz_request *r, const void *bytes, size_t n, int to, int tag);
void syz_request_receive(syz_request *r, void *bytes, size_t n, int from, int tag);
/** Progress the messages, and return whether all are complete. Cheap: call it regularly from the compute loop. */
bool syz_request_test(syz_request *r);
/** Wait until all messages are complete. */
void syz_request_wait(syz_request *r);

/*
 * Rows of one array, distributed over a group: rank r holds rows[r] of them, after those of lower ranks. rows [size] is
 * the same on all ranks; entries may be 0. Collective. With equal shares a rank sends and receives (size - 1) / size of
 * the array's bytes.
 */
/** In: this rank's own rows in their place. Out: all rows on every rank. */
void syz_rows_gather(syz_comm *c, void *all, const int64_t *rows, size_t row_bytes);
enum { SYZ_ROWS_STAGE = 1 << 18 /**< floats */, SYZ_ROWS_RANKS = 64 /**< most ranks of a sum */ };
/** all [sum of rows, width] float32. In: this rank's contribution to every row. Out: its own rows are the sums over
 * ranks, added in rank order; the other rows are unchanged. stage [SYZ_ROWS_STAGE] scratch. At most SYZ_ROWS_RANKS
 * ranks. */
void syz_rows_reduce_scatter(syz_comm *c, float *all, const int64_t *rows, int64_t width, float *stage);

/** A collective call of a training step, for plans: `count` calls per step; `bytes` that each rank contributes to a
 * sum, or that all ranks hold after a gather. */
typedef struct syz_call {
  const char *name; /**< what is summed or gathered: a literal */
  bool is_gather;
  double bytes, count;
} syz_call;

/* ----------------------------------------------------------------- nodes */

/**
 * A group in two levels: ranks exchange through shared memory within a node, and by messages between nodes. Nodes may
 * have different numbers of ranks, in any order. Data divided over all ranks may have to reach every node: each rank's
 * stretch is then handled on every other node by a stand-in, the rank with the same place on its node (modulo the
 * number of ranks there).
 */
typedef struct syz_nodes {
  syz_comm *all;         /**< borrowed */
  syz_comm *local;       /**< the ranks of this node, in the order of `all` */
  int n, mine;           /**< number of nodes, ordered by their first ranks; this rank's node */
  int *node, *place;     /**< [ranks of all] the node of each rank, and its rank in `local` there */
  int *first, *rank;     /**< the ranks of node k: rank[first[k]] .. rank[first[k + 1] - 1] */
  int *behind, n_behind; /**< the ranks of other nodes that this rank stands in for */
  int n_peers;           /**< most messages of one exchange: to each other node, and from each rank in `behind` */
  syz_request *travel;
} syz_nodes;
/** Collective over `all`; agreed. ranks_per_node: larger nodes are split into nodes of at most so many ranks; 0: no
 * splitting. */
syz_status syz_nodes_create(syz_comm *all, int ranks_per_node, syz_nodes **out);
void syz_nodes_destroy(syz_nodes **n);
/** The stand-in of `rank` on `node`. */
int syz_nodes_stand_in(const syz_nodes *n, int node, int rank);
/**
 * Complete a block that exists once per node, shared by its ranks. Every rank r has written its stretch [first[r],
 * first[r] + bytes[r]); after the call all stretches are in the block of every node. Collective over `all`.
 */
void syz_nodes_spread(syz_nodes *n, void *block, const size_t *first, const size_t *bytes);

/** Memory that the ranks of a node share, where the system allows it; otherwise each rank has its own. Zero-filled. */
typedef struct syz_shared {
  void *bytes;    /**< the same contents on every rank after the writers have written and syz_shared_settle */
  size_t size;    /**< of the mapping; 0: this rank's own memory */
  syz_comm *node; /**< the ranks that share it; NULL: own memory */
  bool owns_node;
  bool is_writer; /**< whether this rank fills it: the first of its node, or each rank that has its own */
} syz_shared;
/** Collective over c; agreed. Fewer than `threshold` bytes are not shared. SYZ_ERR_MEMORY. */
syz_status syz_shared_create(syz_comm *c, const char *label, size_t bytes, size_t threshold, syz_shared *out);
/** Shared memory only: out->bytes is NULL on all ranks of `all` when any node cannot share memory. `node`: the ranks of
 * `all` on this node; borrowed. `bytes` may differ between nodes, not within one. Collective over `all`. */
void syz_shared_map(syz_comm *all, syz_comm *node, size_t bytes, syz_shared *out);
/** After this call all ranks of the node see what the writer wrote. Collective over the node. */
void syz_shared_settle(syz_shared *s);
/** Collective over the node when it was made by syz_shared_create. */
void syz_shared_destroy(syz_shared *s);

/* ------------------------------------------------------------------ grid */

/**
 * world = towers x data x tensor. Together: every rank holds both towers and its share of the batch. Apart: the first
 * ranks hold only the image tower, the others only the spectrum tower, in proportion to cost. Tensor: neighbouring
 * ranks of `data` compute the transformer blocks of their objects together, each with a share of the heads and columns;
 * outside the blocks each works as a data rank.
 */
typedef enum syz_towers { SYZ_TOWERS_TOGETHER, SYZ_TOWERS_APART } syz_towers;
typedef struct syz_grid {
  syz_comm *world;  /**< borrowed */
  syz_comm *data;   /**< ranks that hold the same tower(s) as this one: gradients are summed here */
  syz_comm *tensor; /**< this rank's tensor group, neighbours in `data`; NULL: none */
  syz_towers towers;
  bool has_image, has_spectrum;
  int image_ranks, spectrum_ranks;  /**< how many hold each tower */
  double cost_image, cost_spectrum; /**< as given */
} syz_grid;
/** Collective. Apart needs >= 2 ranks (SYZ_ERR_MEMORY otherwise). cost_*: any positive measure of work per object. */
syz_status syz_grid_create(syz_comm *world, syz_towers towers, double cost_image, double cost_spectrum, syz_grid *out);
/**
 * Make tensor groups of `tensor` neighbouring ranks, 1 (none) to SYZ_ROWS_RANKS. With towers apart, ranks are divided
 * again between the towers, in multiples of `tensor`. Call it right after creation. SYZ_ERR_INPUT when tensor does not
 * divide the ranks, or a tower apart would have no group. Warns of a group that spans nodes. Collective over world;
 * agreed.
 */
syz_status syz_grid_split_tensor(syz_grid *g, int tensor);
void syz_grid_destroy(syz_grid *g);

/* ---------------------------------------------------------------- leaves */

/**
 * Sums whose order depends only on the leaves of the global batch (src/comm/leaves.c): a binary tree over the leaves,
 * walked like a binary counter. Leaf i (from 0) is computed in slot syz_leaves_slot(i); then, syz_leaves_merges(i)
 * times, the last slot is added to the one before it and becomes free. After 2^k leaves slot 0 holds the sum; k + 1
 * slots are used.
 */
static inline int syz_leaves_slot(int64_t i)
{
  int slot = 0;
  for (; i; i &= i - 1) slot++;
  return slot;
}
static inline int syz_leaves_merges(int64_t i)
{
  int merges = 0;
  for (; i & 1; i >>= 1) merges++;
  return merges;
}
/** Slots that n leaves need, n a power of two. */
static inline int syz_leaves_slots(int64_t n)
{
  int slots = 1;
  for (; n > 1; n >>= 1) slots++;
  return slots;
}

/** of_leaf [leaves][n] -> their sum, in the order of the tree, in of_leaf[0]. leaves: a power of two. */
void syz_leaves_merge_f64(double *of_leaf, int64_t leaves, size_t n);
enum { SYZ_LEAVES_MESSAGES = 2 /**< in flight at once */ };
/** Exchange with one partner, whose sizes are the reverse; either may be 0. travel: room for SYZ_LEAVES_MESSAGES. */
void syz_leaves_exchange(syz_request *travel, int partner, const void *send, size_t send_bytes, void *receive,
                         size_t receive_bytes);
/** Sum x [n] over ranks, in place, in the order of the tree; their number is a power of two. travel: of the same group,
 * with room for SYZ_LEAVES_MESSAGES; received [n]: scratch. Collective. */
void syz_leaves_sum_f64(syz_comm *c, syz_request *travel, double *x, size_t n, double *received);

/* ---------------------------------------------------------------- timing */

/** A row of the table of times: one phase, with minimum, mean and maximum over ranks, share of the total, and mean time
 * inside MPI. */
typedef struct syz_timing_row {
  char name[48];
  double min_s, mean_s, max_s, share, within_s;
  int64_t count;
} syz_timing_row;
/** Collective: the same rows on all ranks, in order of first appearance on rank 0, then on higher ranks. *n: in the
 * room for rows, out their number. */
void syz_timing_reduce(syz_comm *c, const syz_timing *t, syz_timing_row *rows, int *n);
/**
 * Print the table (rank 0) and write `path` as JSON (NULL = no file). Collective. The file also has the seconds since
 * the first phase and the resident memory (both the largest of any rank), the mean time inside MPI (also between
 * phases), and for each phase the seconds outside MPI of every rank, in rank order.
 */
syz_status syz_timing_report(syz_comm *c, const syz_timing *t, const char *path);

/* ------------------------------------------------------------------- run */

/** What a command lends to the room that does its work: the same on all ranks, borrowed until the work ends. */
typedef struct syz_run {
  syz_comm *world;
  syz_timing *timing;     /**< collects the phases of the work */
  const char *folder;     /**< run folder: output.dir */
  const char *created_by; /**< provenance for files: the program */
  const char *input_yaml; /**< provenance for files: the resolved input; "" until the run folder exists */
} syz_run;

/* -------------------------------------------------------------- watchdog */

/**
 * Start this rank's watchdog: a thread that ends all ranks with exit code 7 (SYZ_ERR_RANK) when a rank makes no
 * progress for limit_s, and reports which rank, where and since when. src/comm/watch.c says what counts as progress.
 * limit_s <= 0: no watchdog. Only the first call has an effect. Collective; agreed.
 */
syz_status syz_watch_start(syz_comm *world, double limit_s);
/** Also write the report to this file. Not collective. */
void syz_watch_log(const char *path);
/** Stop watching this rank. Call it after syz_comm_finish, so that the end of MPI is watched too. Not collective. */
void syz_watch_stop(void);

/* ------------------------------------------------------------------ stop */

/**
 * Install handlers of SIGUSR1, SIGUSR2 and SIGTERM that set a flag. A second signal, two seconds or more after the
 * first, ends this process at once with exit code 75; files saved before remain complete. (Signals closer together
 * count as one: launchers and batch systems may send a signal twice.)
 */
void syz_stop_install(void);
/** From now on the first signal, even one already received, ends the process at once: for work that saves nothing
 * before its end. */
void syz_stop_at_once(void);
/** Whether this rank was asked to stop: a signal, or a file STOP in `folder` (rank 0 only, checked at most once per
 * second). */
bool syz_stop_asked(const syz_comm *c, const char *folder);
/** What asked to stop, for the last line of the run: "SIGUSR1", "STOP file", ... */
const char *syz_stop_reason(void);
