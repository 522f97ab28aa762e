/* SPDX-License-Identifier: BSD-3-Clause */
/** Inside of the watchdog: its parts, and the records that the ranks of a node share. See watch.c. */
#pragma once

#include <stdatomic.h>
#include <sys/types.h>

#include "syzygy/comm.h"

enum { WATCH_TEXT = 64, WATCH_STACK = 4096, WATCH_REPORT = 32768 };

/** State of a rank once it has made no progress for its limit (WATCH_WAITS: at any time). */
typedef enum watch_state {
  WATCH_RUNS,
  WATCH_WAITS,  /**< waits for other ranks */
  WATCH_DISK,   /**< waits for the kernel: an uninterruptible sleep, as when a file system does not answer */
  WATCH_TRACED, /**< a debugger holds it */
  WATCH_STUCK,
  WATCH_DONE /**< after the end of MPI */
} watch_state;

/** One rank's record, written by that rank alone and read by the others of its node; texts are always NUL-terminated.
 */
typedef struct watch_record {
  _Atomic uint64_t ticks;   /**< number of checks of its watchdog: stops when the process does */
  _Atomic int state;        /**< watch_state */
  _Atomic int64_t quiet_ms; /**< time without progress */
  _Atomic int64_t since;    /**< unix time of the last progress */
  _Atomic int stack_number; /**< number of the board's request that `stack` answers */
  int32_t rank;
  int64_t pid, born; /**< `born`: start time of the process in the kernel's ticks, to recognise a reused process
                        number; 0: unknown */
  char phase[WATCH_TEXT], call[WATCH_TEXT];
  char stack[WATCH_STACK];
} watch_record;

/** The records of a node. */
typedef struct watch_board {
  _Atomic int is_claimed; /**< a watchdog is reporting */
  _Atomic int stack_wish; /**< counted up: every live rank records its stack */
  _Atomic int ends;       /**< all ranks of the node must end */
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
/** Totals of all threads of this process except the calling one. */
typedef struct watch_work {
  uint64_t io_bytes; /**< read and written */
  double starved_s;  /**< time in which they could have run but had no core; 0 where the kernel does not report it */
} watch_work;
watch_work watch_work_done(void);
/** Prepare to read the stack of the calling thread, the one that works. Once *ends is not 0 that thread is held where
 * it is interrupted. NULL: stop this. */
void watch_stack_prepare(const _Atomic int *ends);
/** Continue a process that a signal stopped; its working thread, the first one, first records its stack. */
void watch_process_continue(int64_t pid);
/** The working thread's stack as text, and whether it is inside MPI; false when it does not answer within a second. */
bool watch_stack_take(char text[WATCH_STACK], bool *is_in_mpi);

/* ------------------------------------------------ watch_nodes.c: signs of life between nodes, over UDP */

typedef struct watch_nodes watch_nodes;
/** Collective over world: the first rank of each node opens its socket. *out is NULL on others, and where there is one
 * node only. Agreed. */
syz_status watch_nodes_create(syz_comm *world, bool is_first_of_node, int ranks_here, watch_nodes **out);
void watch_nodes_destroy(watch_nodes **n);
/** Send to other nodes and receive from them; called at every check of a node's first rank. `now_s`: the caller's own
 * time. all_wait: every rank of this node waits for others. */
void watch_nodes_exchange(watch_nodes *n, double now_s, bool all_wait);
/** Whether another node has asked to end the job. */
bool watch_nodes_end_asked(const watch_nodes *n);
/** On the first node: whether the ranks of all nodes wait, from messages at most `fresh_s` old (-1: no; 1: yes; 0:
 * unknown, because some node sent none). */
int watch_nodes_all_wait(const watch_nodes *n, double now_s, double fresh_s);
/** Seconds since the last message from the node before this one; 0: there was none yet, or it has ended. `text` (may be
 * NULL): its name and ranks. */
double watch_nodes_silence_s(const watch_nodes *n, double now_s, char text[WATCH_TEXT * 2]);
void watch_nodes_say_end(watch_nodes *n);
void watch_nodes_say_done(watch_nodes *n);

/* ------------------------------------------------ watch_report.c */

/** Write a report of at most WATCH_REPORT bytes to standard error and to the file `log` (NULL: none); returns after 5 s
 * even if the text could not be written. */
void watch_report(const watch_board *b, int n, const char *reason, double limit_s, const char *log);
