/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * comm: ranks. Start and end of MPI, process grid, agreement on failure, collectives with 64-bit counts, messages
 * beside computation, rows that a group holds together, nodes and the memory that their ranks share, the table of where
 * the time went, requests to stop.
 *
 * Only the main thread calls this room (MPI_THREAD_FUNNELED). A failed MPI call ends the job (syz_abort): there is
 * nobody left to agree with. Messages are cut below the 2 GiB limit of MPI's int counts inside.
 */
#pragma once

#include "syzygy/base.h"

/** A group of ranks. */
typedef struct syz_comm syz_comm;

/** Before syz_comm_start: SYZ_ERR_MEMORY when this process has no room for MPI, which would end it without a word
 * (src/comm/start_memory.c). */
syz_status syz_comm_check_memory(void);
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
/** Seconds that the calling thread has spent inside MPI calls of this room, and in syz_pause: transfer, and waiting for
 * others. Grows; valid as long as the thread. */
const double *syz_comm_seconds(void);
/** For h5/mpio.c and analysis/scalapack.c only: the address of the MPI_Comm inside. */
void *syz_comm_raw(syz_comm *c);

/** Share of rank `rank` of n items in contiguous blocks: [*first, *first + *count), the first n % size ranks hold one
 * more. */
void syz_share(int64_t n, int size, int rank, int64_t *first, int64_t *count);

/* ------------------------------------------------------------- agreement */

/**
 * Collective. The same result on every rank: SYZ_OK if all passed SYZ_OK, otherwise the worst code (largest value), and
 * the text of the lowest rank that had it becomes everybody's syz_error_text(), with "rank r:" in front.
 */
syz_status syz_agree(syz_comm *c, syz_status local);

/** st = call on each rank; then all agree; if any failed all goto cleanup with the same code. Collective. */
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

void syz_barrier(syz_comm *c);
/** A barrier whose waiting ranks sleep instead of spinning, so that a late one has the machine for itself. */
void syz_barrier_idle(syz_comm *c);
/** One look of a rank that waits until others have written to memory that it shares with them: its own messages go on
 * (they may be what the others wait for), and it spins at first, then lets others run, then sleeps 50 us. *idle: looks
 * so far, 0 to begin with. Counts in syz_comm_seconds. Not collective. */
void syz_pause(syz_comm *c, int *idle);
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

/* Messages that travel while the caller computes: they move only inside calls of this room. */
typedef struct syz_request syz_request;
/** Room for `n` messages under way at once (one of more than 256 MiB counts for each 256 MiB). Not collective. */
syz_status syz_request_create(syz_comm *c, int n, syz_request **out);
/** Waits first; NULL is fine. */
void syz_request_destroy(syz_request **r);
/** Begin to send to, or receive from, another rank; the bytes must not be touched until it is done. Messages of one tag
 * from one rank to another arrive in the order in which they were sent; tags 0 .. 32767 but 71 .. 79, which are this
 * room's; 0 bytes are no message. Having room is the caller's duty: waiting for it could wait for ever. */
void syz_request_send(syz_request *r, const void *bytes, size_t n, int to, int tag);
void syz_request_receive(syz_request *r, void *bytes, size_t n, int from, int tag);
/** Let messages move, now and then from the compute loop; whether all are done. Cheap. */
bool syz_request_test(syz_request *r);
/** Wait for all that was begun. */
void syz_request_wait(syz_request *r);

/*
 * Rows of one array that a group holds together: rank r has rows[r] of them, behind those of lower ranks. rows [size]
 * is the same on all ranks; any may be 0. Collective. A rank sends and receives the bytes of (size - 1) / size of the
 * array when shares are equal.
 */
/** In: this rank's own rows in their place. Out: all rows on every rank. */
void syz_rows_gather(syz_comm *c, void *all, const int64_t *rows, size_t row_bytes);
enum { SYZ_ROWS_STAGE = 1 << 18 /**< floats */, SYZ_ROWS_RANKS = 64 /**< most ranks of a sum */ };
/** all [sum of rows, width] float32 in: this rank's part of every row's sum. Out: its own rows are the sums, added in
 * the order of ranks; the others are as before. stage [SYZ_ROWS_STAGE] scratch. At most SYZ_ROWS_RANKS ranks. */
void syz_rows_reduce_scatter(syz_comm *c, float *all, const int64_t *rows, int64_t width, float *stage);

/** A collective call that a step makes, for plans: `count` times a step, `bytes` that each rank gives to a sum, or that
 * all ranks have after a gather. */
typedef struct syz_call {
  const char *name; /**< what is summed or gathered: a literal */
  bool is_gather;
  double bytes, count;
} syz_call;

/* ----------------------------------------------------------------- nodes */

/**
 * A group in two levels: within a node ranks exchange through shared memory, between nodes by messages. Nodes may have
 * different numbers of ranks, in any order. Of what is cut over all ranks and travels between nodes, each rank's
 * stretch has one rank on every other node that handles it there: its stand-in, the rank with the same place on its
 * node (modulo the number of ranks there).
 */
typedef struct syz_nodes {
  syz_comm *all;         /**< borrowed */
  syz_comm *local;       /**< the ranks of this node, in the order of `all` */
  int n, mine;           /**< nodes, in the order of their first ranks; this rank's */
  int *node, *place;     /**< [ranks of all] of each rank: its node, its rank in `local` there */
  int *first, *rank;     /**< the ranks of node k: rank[first[k]] .. rank[first[k + 1] - 1] */
  int *behind, n_behind; /**< the ranks of other nodes that this rank stands in for */
  int n_peers;           /**< messages of one exchange at most: to each other node, and from each rank behind */
  syz_request *travel;
} syz_nodes;
/** Collective over `all`; agreed. ranks_per_node: nodes are split into such of at most so many ranks; 0: the machine's
 * own. */
syz_status syz_nodes_create(syz_comm *all, int ranks_per_node, syz_nodes **out);
void syz_nodes_destroy(syz_nodes **n);
/** The rank that stands for `rank` on `node`. */
int syz_nodes_stand_in(const syz_nodes *n, int node, int rank);
/**
 * A block that each node has once (shared by its ranks) or, on nodes of one rank, each rank: every rank has written its
 * stretch [first[r], first[r] + bytes[r]); after the call all stretches are in place on all nodes. Collective over
 * `all`.
 */
void syz_nodes_spread(syz_nodes *n, void *block, const size_t *first, const size_t *bytes);

/** Memory that the ranks of a node share where it can be had, otherwise each rank's own. Zero-filled. */
typedef struct syz_shared {
  void *bytes;    /**< the same contents on every rank once the writers are done and a barrier has passed */
  size_t size;    /**< of the mapping; 0: this rank's own memory */
  syz_comm *node; /**< who shares it; NULL: own memory */
  bool owns_node;
  bool is_writer; /**< where one rank fills it: the first of its node, or every rank that has its own */
} syz_shared;
/** Collective over c; agreed. Less than `threshold` bytes are not worth sharing. SYZ_ERR_MEMORY. */
syz_status syz_shared_create(syz_comm *c, const char *label, size_t bytes, size_t threshold, syz_shared *out);
/** Shared memory or none: out->bytes is NULL on all ranks of `all` when one of its nodes cannot have it. `node`: this
 * rank's part of `all`; borrowed. `bytes` may differ between nodes, not within one. Collective over `all`. */
void syz_shared_map(syz_comm *all, syz_comm *node, size_t bytes, syz_shared *out);
/** Collective over the node: what the writer wrote is seen by all after it. */
void syz_shared_settle(syz_shared *s);
/** Collective over the node when it was made by syz_shared_create. */
void syz_shared_destroy(syz_shared *s);

/* ------------------------------------------------------------------ grid */

/**
 * world = towers x data x tensor. Together: every rank holds both towers and its share of the batch. Apart: the first
 * ranks hold only the image tower, the others only the spectrum tower, in proportion to cost. Tensor: neighbouring
 * ranks of `data` that compute the transformer blocks of their objects together, each with its share of the heads and
 * columns; outside of blocks each is a data rank as any other.
 */
typedef enum syz_towers { SYZ_TOWERS_TOGETHER, SYZ_TOWERS_APART } syz_towers;
typedef struct syz_grid {
  syz_comm *world;  /**< borrowed */
  syz_comm *data;   /**< ranks that hold the same tower(s) as this one: gradients are summed here */
  syz_comm *tensor; /**< this rank's tensor group, a stretch of `data`; NULL: alone */
  syz_towers towers;
  bool has_image, has_spectrum;
  int image_ranks, spectrum_ranks;  /**< how many hold each tower */
  double cost_image, cost_spectrum; /**< as given */
} syz_grid;
/** Collective. Apart needs >= 2 ranks (SYZ_ERR_MEMORY otherwise). cost_*: any positive measure of work per object. */
syz_status syz_grid_create(syz_comm *world, syz_towers towers, double cost_image, double cost_spectrum, syz_grid *out);
/**
 * Groups of `tensor` neighbouring ranks, 1 (none) to SYZ_ROWS_RANKS; apart, ranks go to the towers anew, in multiples
 * of it. For a grid just created, before anything is made of it. SYZ_ERR_INPUT when tensor does not divide the ranks,
 * or apart leaves a tower without a group. A group that crosses nodes is warned of. Collective over world; agreed.
 */
syz_status syz_grid_split_tensor(syz_grid *g, int tensor);
void syz_grid_destroy(syz_grid *g);

/* ---------------------------------------------------------------- leaves */

/**
 * Sums in an order that the leaves of the global batch fix (src/comm/leaves.c): a binary tree over leaves as a binary
 * counter. Leaf i (from 0) is formed in slot syz_leaves_slot(i); then, syz_leaves_merges(i) times, that slot is added
 * to the one before it, which takes its place. After 2^k leaves slot 0 holds the sum; k + 1 slots are used.
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
enum { SYZ_LEAVES_MESSAGES = 2 /**< under way at once */ };
/** To and from one partner, who has the two sizes the other way round; either may be 0. travel: for
 * SYZ_LEAVES_MESSAGES. */
void syz_leaves_exchange(syz_request *travel, int partner, const void *send, size_t send_bytes, void *receive,
                         size_t receive_bytes);
/** The same over ranks, in place; their number is a power of two. travel: of the same group, for SYZ_LEAVES_MESSAGES;
 * received [n]: scratch. Collective. */
void syz_leaves_sum_f64(syz_comm *c, syz_request *travel, double *x, size_t n, double *received);

/* ---------------------------------------------------------------- timing */

/** Rows of the table of where the time went: per phase minimum, mean and maximum over ranks, share of the total, and
 * mean time inside MPI. */
typedef struct syz_timing_row {
  char name[48];
  double min_s, mean_s, max_s, share, within_s;
  int64_t count;
} syz_timing_row;
/** Collective: same rows on all ranks, in order of first appearance on rank 0 and then of higher ranks. *n in: room,
 * out: rows. */
void syz_timing_reduce(syz_comm *c, const syz_timing *t, syz_timing_row *rows, int *n);
/**
 * Print the table (rank 0) and write `path` as JSON (NULL = no file). Collective. The file also has the seconds from
 * the first phase on (largest of a rank), the largest resident memory of a rank, the mean time inside MPI (also between
 * phases), and per phase the seconds outside MPI of every rank, in rank order.
 */
syz_status syz_timing_report(syz_comm *c, const syz_timing *t, const char *path);

/* ------------------------------------------------------------------- run */

/** What a command lends to the room that does its work: the same on all ranks, borrowed for as long as that works. */
typedef struct syz_run {
  syz_comm *world;
  syz_timing *timing;     /**< takes the phases of the work */
  const char *folder;     /**< of the run: output.dir */
  const char *created_by; /**< provenance for the files that are written: the program, */
  const char *input_yaml; /**< and the resolved input; "" until the run folder is taken */
} syz_run;

/* -------------------------------------------------------------- watchdog */

/**
 * Start this rank's watchdog: a thread that ends all ranks with exit code 7 (SYZ_ERR_RANK) when a rank no longer goes
 * on for limit_s, with a report of which rank, where and since when. See watch.c for what counts. limit_s <= 0: none.
 * The first call counts. Collective; agreed.
 */
syz_status syz_watch_start(syz_comm *world, double limit_s);
/** The report goes to this file too. Not collective. */
void syz_watch_log(const char *path);
/** This rank has come through. Behind syz_comm_finish, whose end of MPI is watched. Not collective. */
void syz_watch_stop(void);

/* ------------------------------------------------------------------ stop */

/**
 * Install handlers of SIGUSR1, SIGUSR2 and SIGTERM that set a flag. A second signal, two seconds or more after the
 * first, ends this process at once with exit code 75: what was saved before stands, whole. (Signals closer together are
 * one: launchers and batch systems send some twice.)
 */
void syz_stop_install(void);
/** From here on the first signal, also one that has come already, ends the process at once: for what saves nothing on
 * the way. */
void syz_stop_at_once(void);
/** Whether this rank was asked to stop: a signal, or a file STOP in `folder` (looked at by rank 0 only, at most once a
 * second). */
bool syz_stop_asked(const syz_comm *c, const char *folder);
/** What asked, for the last line of the run: "SIGUSR1", "STOP file", ... */
const char *syz_stop_reason(void);
