/* SPDX-License-Identifier: BSD-3-Clause */
/** Inside of the watchdog: what the ranks of a node show one another, and its parts. See watch.c. */
#pragma once

#include <stdatomic.h>
#include <sys/types.h>

#include "syzygy/comm.h"

enum { WATCH_TEXT = 64, WATCH_STACK = 4096, WATCH_REPORT = 32768 };

/** What a rank is found to do once nothing has gone on for its limit (WATCH_WAITS: at any time). */
typedef enum watch_state {
  WATCH_RUNS,
  WATCH_WAITS,  /**< for other ranks */
  WATCH_DISK,   /**< for the kernel: an uninterruptible sleep, as of a file system that does not answer */
  WATCH_TRACED, /**< a debugger holds it */
  WATCH_STUCK,
  WATCH_DONE /**< after the end of MPI */
} watch_state;

/** One rank, written by itself alone and read by the others of its node; texts end in 0 whatever happens. */
typedef struct watch_record {
  _Atomic uint64_t ticks;   /**< looks of its watchdog: stand still when the process does */
  _Atomic int state;        /**< watch_state */
  _Atomic int64_t quiet_ms; /**< for so long nothing has gone on */
  _Atomic int64_t since;    /**< unix time of the last that did */
  _Atomic int stack_number; /**< of the board's wish that `stack` answers */
  int32_t rank;
  int64_t pid, born; /**< `born`: start of the process as the kernel counts it, so that a number used anew is not
                        mistaken; 0: unknown */
  char phase[WATCH_TEXT], call[WATCH_TEXT];
  char stack[WATCH_STACK];
} watch_record;

/** Of a node. */
typedef struct watch_board {
  _Atomic int is_claimed; /**< somebody reports */
  _Atomic int stack_wish; /**< raised: every rank that lives writes down where it is */
  _Atomic int ends;       /**< all ranks of the node end */
  watch_record record[];
} watch_board;

/* ------------------------------------------------ watch_process.c: processes as the kernel shows them; nothing here
 * allocates */

typedef struct watch_process {
  char state; /**< R, S, D, T (stopped), t (held by a tracer), Z; 0: not there, or another process by now */
  bool is_traced;
} watch_process;
/** When this process began, in the kernel's ticks; 0: unknown. */
int64_t watch_born(int64_t pid);
watch_process watch_process_look(int64_t pid, int64_t born);
/** Whether a thread of this process sleeps uninterruptibly. */
bool watch_is_in_kernel(void);
/** Of all threads of this process but the calling one. */
typedef struct watch_work {
  uint64_t io_bytes; /**< read and written */
  double starved_s;  /**< for so long they could have run, but had no core; 0 where the kernel does not tell */
} watch_work;
watch_work watch_work_done(void);
/** Prepare to look at the calling thread's stack; it is the one that works. Once *ends is not 0 it stays where it is
 * found. NULL: no longer. */
void watch_stack_prepare(const _Atomic int *ends);
/** Continue a process that a signal stopped; its first thread, the one that works, first writes down where it was. */
void watch_process_continue(int64_t pid);
/** The working thread's stack as text, and whether it is inside MPI; false when it does not answer within a second. */
bool watch_stack_take(char text[WATCH_STACK], bool *is_in_mpi);

/* ------------------------------------------------ watch_nodes.c: signs of life between nodes, over UDP */

typedef struct watch_nodes watch_nodes;
/** Collective over world: the first rank of each node opens its socket. *out is NULL on others, and where there is one
 * node only. Agreed. */
syz_status watch_nodes_create(syz_comm *world, bool is_first_of_node, int ranks_here, watch_nodes **out);
void watch_nodes_destroy(watch_nodes **n);
/** Once a look of the first rank of a node: tell others, hear them. `now_s`: the caller's own time. all_wait: every
 * rank of this node waits for others. */
void watch_nodes_exchange(watch_nodes *n, double now_s, bool all_wait);
/** What was heard. */
bool watch_nodes_end_asked(const watch_nodes *n);
/** On the first node: whether ranks of all nodes wait, told by every node within `fresh_s` (-1: no; 1: yes; 0: by all
 * that are heard at all). */
int watch_nodes_all_wait(const watch_nodes *n, double now_s, double fresh_s);
/** Seconds without a word from the node in front of this one; 0: it has never been heard, or has ended. `text` (may be
 * NULL): its name and ranks. */
double watch_nodes_silence_s(const watch_nodes *n, double now_s, char text[WATCH_TEXT * 2]);
void watch_nodes_say_end(watch_nodes *n);
void watch_nodes_say_done(watch_nodes *n);

/* ------------------------------------------------ watch_report.c */

/** What is wrong, to standard error and to the file `log` (NULL: none), in WATCH_REPORT bytes; comes back after 5 s
 * even if nobody takes the text. */
void watch_report(const watch_board *b, int n, const char *reason, double limit_s, const char *log);
