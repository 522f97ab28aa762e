/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The watchdog: one thread per rank that finds ranks without progress, reports them, and ends the job.
 *
 * Workers give signs of life (syz_pulse in base). The thread reads them several times per limit and writes what it
 * finds into memory shared by the ranks of a node, so that only the main thread calls MPI. A rank is stuck when
 *
 * - it has made no progress for its limit and does not wait for others. That it waits is known from its MPI calls or,
 * inside libraries that call MPI themselves, from its stack. Bytes read or written by any of its threads also count as
 * progress. A rank in an uninterruptible sleep waits for a file system: its limit is PATIENCE times as long;
 * - or its watchdog itself stops for the limit: the process was stopped, or is gone. Each rank watches the next one on
 * its node, and the first rank of each node watches the node before it, by small UDP messages
 * (watch_nodes.c);
 * - or all ranks wait for one another for the limit.
 *
 * A rank that waits is never the cause while another makes progress. The limit grows to twice the longest time that the
 * rank has computed without a sign of life, so that runs with long steps are not ended, and up to STARVED times on
 * cores that other programs use. Time is counted by this thread: where two checks are further apart than planned, this
 * process was stopped or had no processor, and perhaps the others too, so the gap is not counted. So neither a stop of
 * the whole job nor an overloaded machine counts as a hang, and a traced process (a debugger) never does.
 *
 * Ending the job needs no MPI: every watchdog of the node calls _exit(7), and the launcher then ends the other nodes. A
 * process that was stopped is continued for this; like all others it first records its stack for the report.
 */
#include "watch.h"

#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { PATIENCE = 6, STARVED = 3, LOOKS = 20 };
/* Time that launchers need to end a job with a dead rank; that ranks get to record their stacks; that a report takes at
 * most. */
static const double died_s = 3, stack_s = 2, claim_s = 10;

typedef struct watch {
  pthread_t thread;
  pthread_mutex_t lock;
  pthread_cond_t condition; /* of is_over */
  bool is_over, has_thread;
  double limit_s, period_s;
  syz_shared memory;
  watch_board *board;
  watch_record *mine;
  int n, me; /* ranks of this node, and this one's number among them */
  watch_nodes *nodes;
  _Atomic(const char *) log;
  char log_path[4096];
  /* Used by the watchdog thread alone, with times counted by it. */
  double clock_s, time_s;
  syz_pulse_state pulse;
  watch_work work, work_first;
  double work_since;             /* clock of work_first */
  double quiet_since, longest_s; /* longest: computing without a sign of life */
  bool has_work, has_waited;
  double looked_s; /* last time the stack was read */
  int outside;     /* consecutive checks that found it outside MPI */
  int answered;    /* last request for a stack that was answered */
  uint64_t next_ticks;
  int next;
  double next_since, gone_since;
  double all_wait_since;
} watch;

static watch *watchdog;

/* ------------------------------------------------------------------------------- the end */

/* Ends the job. Several watchdogs may call this at once; only one reports. */
static void end_job(watch *w, const char *reason)
{
  watch_board *b = w->board;
  const struct timespec nap = {.tv_nsec = 20000000};
  if (atomic_exchange(&b->is_claimed, 1)) return; /* another one reports, and then sets `ends` */
  const int wish = atomic_fetch_add(&b->stack_wish, 1) + 1;
  for (int i = 0; i < w->n; i++) {
    watch_record *r = &b->record[i];
    const char state = watch_process_look(r->pid, r->born).state;
    if (r == w->mine || state != 'T') continue;
    atomic_store(&r->state, WATCH_STUCK);
    snprintf(r->call, sizeof r->call, "stopped by a signal");
    watch_process_continue(r->pid);
  }
  bool is_in_mpi;
  watch_stack_take(w->mine->stack, &is_in_mpi);
  atomic_store(&w->mine->stack_number, wish);
  for (double waited = 0; waited < stack_s; waited += 0.02) {
    int missing = 0;
    for (int i = 0; i < w->n; i++)
      missing += atomic_load(&b->record[i].state) != WATCH_DONE && atomic_load(&b->record[i].stack_number) != wish;
    if (!missing) break;
    nanosleep(&nap, NULL);
  }
  watch_report(b, w->n, reason, w->limit_s, atomic_load(&w->log));
  if (w->nodes) watch_nodes_say_end(w->nodes);
  atomic_store(&b->ends, 1);
  _exit((int)SYZ_ERR_RANK);
}

/* ------------------------------------------------------------------------------- this rank */

/* The name of the function of "MPI_Allreduce(MPI_IN_PLACE, ...", as long as there is room. */
static void copy_name(char to[WATCH_TEXT], const char *from)
{
  size_t n = from ? strcspn(from, "(") : 0;
  if (n > WATCH_TEXT - 1) n = WATCH_TEXT - 1;
  if (n) memcpy(to, from, n);
  to[n] = '\0';
}

static bool went_on(watch *w, const syz_pulse_state *p, double quiet_s)
{
  bool is_on = p->beats != w->pulse.beats;
  if (!is_on && quiet_s > w->limit_s / 2) { /* checking has a cost, so not earlier than needed */
    const watch_work work = watch_work_done();
    is_on = w->has_work && work.io_bytes != w->work.io_bytes;
    w->work = work;
    if (!w->has_work) {
      w->work_first = work;
      w->work_since = w->clock_s;
    }
    w->has_work = true;
  } else {
    w->has_work = false;
  }
  return is_on;
}

/* How much longer things take because threads of this rank get no core: 1 to STARVED. */
static double slowness(const watch *w)
{
  const double seen_s = w->clock_s - w->work_since;
  const double share = w->has_work && seen_s > 0 ? (w->work.starved_s - w->work_first.starved_s) / seen_s : 0;
  return 1 / (1 - fmin(fmax(share, 0), 1 - 1.0 / STARVED));
}

/* The state of a rank without progress: WATCH_RUNS while that is uncertain. */
static watch_state judge(watch *w, double quiet_s, double limit_s)
{
  bool is_in_mpi = false;
  if (watch_process_look(w->mine->pid, w->mine->born).is_traced) return WATCH_TRACED;
  if (watch_is_in_kernel() && quiet_s < PATIENCE * limit_s) return WATCH_DISK;
  if (w->outside == 0 && w->time_s - w->looked_s < limit_s / 4) return (watch_state)atomic_load(&w->mine->state);
  w->looked_s = w->time_s;
  /* A stack that does not arrive within a second is ignored at first, because a process without a core answers late;
   * later it counts as stuck. */
  if (!watch_stack_take(w->mine->stack, &is_in_mpi) && quiet_s < STARVED * limit_s) return WATCH_RUNS;
  if (is_in_mpi) {
    w->outside = 0;
    snprintf(w->mine->call, WATCH_TEXT, "MPI, called by a library");
    return WATCH_WAITS;
  }
  return ++w->outside > 1 ? WATCH_STUCK : WATCH_RUNS; /* a single check may fall between two MPI calls */
}

static void look_at_self(watch *w)
{
  const syz_pulse_state p = syz_pulse_read();
  watch_record *r = w->mine;
  double quiet_s = w->time_s - w->quiet_since;
  const double limit_s = fmax(w->limit_s, 2 * w->longest_s);
  const bool waits = p.wait || p.looks != w->pulse.looks;
  watch_state state = waits ? WATCH_WAITS : WATCH_RUNS;
  if (went_on(w, &p, quiet_s)) {
    if (!w->has_waited) w->longest_s = fmax(w->longest_s, quiet_s);
    w->quiet_since = w->time_s;
    w->outside = 0;
    w->looked_s = -limit_s;
    w->has_waited = false;
    quiet_s = 0;
    atomic_store(&r->since, (int64_t)time(NULL));
  }
  if (!waits && quiet_s >= limit_s && quiet_s >= limit_s * slowness(w)) state = judge(w, quiet_s, limit_s);
  w->has_waited = w->has_waited || state != WATCH_RUNS;
  if (state == WATCH_TRACED) w->quiet_since = w->time_s;
  if (p.phase) snprintf(r->phase, WATCH_TEXT, "%s", p.phase);
  if (waits) copy_name(r->call, p.wait ? p.wait : p.look);
  w->pulse = p;
  atomic_store(&r->quiet_ms, (int64_t)(quiet_s * 1e3));
  atomic_store(&r->state, (int)state);
  atomic_fetch_add(&r->ticks, 1);
  if (state == WATCH_STUCK) end_job(w, "a rank no longer goes on");
}

/* ------------------------------------------------------------------------------- the others */

static void look_at_next(watch *w)
{
  watch_record *r = &w->board->record[w->next];
  if (r == w->mine) return;
  const uint64_t ticks = atomic_load(&r->ticks);
  if (atomic_load(&r->state) == WATCH_DONE) { /* it has finished: watch the next one */
    w->next = (w->next + 1) % w->n;
    w->next_since = w->time_s;
    w->gone_since = -1;
    return;
  }
  if (ticks != w->next_ticks) {
    w->next_ticks = ticks;
    w->next_since = w->time_s;
    w->gone_since = -1;
    return;
  }
  const watch_process p = watch_process_look(r->pid, r->born);
  const bool is_gone = r->born && (p.state == 0 || p.state == 'Z');
  if (p.is_traced) w->next_since = w->time_s;
  if (!is_gone) w->gone_since = -1;
  if (is_gone && w->gone_since < 0) w->gone_since = w->time_s;
  if (is_gone && w->time_s - w->gone_since >= died_s && atomic_load(&r->state) != WATCH_DONE) {
    snprintf(r->call, sizeof r->call, "its process is gone");
    atomic_store(&r->state, WATCH_STUCK);
    end_job(w, "a rank died");
  } else if (!is_gone && w->time_s - w->next_since >= (p.state == 'T' ? 1 : STARVED) * w->limit_s) {
    if (p.state != 'T')
      snprintf(r->call, sizeof r->call, "its watchdog gives no sign (process state %c)", p.state ? p.state : '?');
    atomic_store(&r->state, WATCH_STUCK);
    end_job(w, "a rank no longer goes on");
  }
}

/* Called on the first rank of a node: ends the job when all ranks wait for one another or the previous node is silent,
 * and the node's ranks when another node has ended the job. */
static void look_at_all(watch *w)
{
  bool all_wait = true, any_waits = false;
  for (int i = 0; i < w->n; i++) {
    const watch_record *r = &w->board->record[i];
    const int state = atomic_load(&r->state);
    any_waits = any_waits || state == WATCH_WAITS;
    all_wait = all_wait &&
               (state == WATCH_DONE || (state == WATCH_WAITS && (double)atomic_load(&r->quiet_ms) >= 1e3 * w->limit_s));
  }
  all_wait = all_wait && any_waits;
  if (!w->nodes) {
    if (all_wait) end_job(w, "all ranks wait for one another");
    return;
  }
  char text[2 * WATCH_TEXT], reason[3 * WATCH_TEXT];
  watch_nodes_exchange(w->nodes, w->time_s, all_wait);
  const int all_nodes = watch_nodes_all_wait(w->nodes, w->time_s, w->limit_s);
  if (!all_wait || all_nodes < 0) w->all_wait_since = w->time_s;
  if (watch_nodes_end_asked(w->nodes)) {
    atomic_store(&w->board->ends, 1);
  } else if (all_wait && all_nodes > 0) {
    end_job(w, "all ranks wait for one another");
  } else if (all_wait && w->time_s - w->all_wait_since >= (PATIENCE - 1) * w->limit_s) {
    end_job(w, "all ranks of this node wait for others, and not all nodes can be heard");
  } else if (watch_nodes_silence_s(w->nodes, w->time_s, text) >= w->limit_s + 2 * w->period_s) {
    snprintf(reason, sizeof reason, "no sign of life from %s", text);
    end_job(w, reason);
  }
}

static bool sleep_a_period(watch *w)
{
  struct timespec until;
  clock_gettime(CLOCK_MONOTONIC, &until);
  const double at = (double)until.tv_nsec * 1e-9 + w->period_s;
  until.tv_sec += (time_t)at;
  until.tv_nsec = (long)((at - floor(at)) * 1e9);
  pthread_mutex_lock(&w->lock);
  while (!w->is_over && pthread_cond_timedwait(&w->condition, &w->lock, &until) == 0) continue;
  const bool goes_on = !w->is_over;
  pthread_mutex_unlock(&w->lock);
  return goes_on;
}

static void *run(void *context)
{
  watch *w = context;
  bool is_in_mpi;
  double claimed_s = 0;
  while (sleep_a_period(w)) {
    const double now = syz_clock_s();
    w->time_s += fmin(now - w->clock_s, 2 * w->period_s);
    w->clock_s = now;
    if (atomic_load(&w->board->ends)) _exit((int)SYZ_ERR_RANK);
    const int wish = atomic_load(&w->board->stack_wish);
    if (wish != w->answered) {
      watch_stack_take(w->mine->stack, &is_in_mpi);
      atomic_store(&w->mine->stack_number, wish);
      w->answered = wish;
    }
    if (atomic_load(&w->board->is_claimed)) { /* the job is about to end, unless the reporting rank is held up */
      claimed_s += w->period_s;
      if (claimed_s > claim_s) _exit((int)SYZ_ERR_RANK);
      continue;
    }
    look_at_self(w);
    look_at_next(w);
    if (w->me == 0) look_at_all(w);
  }
  return NULL;
}

/* ------------------------------------------------------------------------------- start and stop */

/* The board: shared by the ranks of a node, or each rank's own where memory cannot be shared; each is then a node of
 * its own. */
static syz_status make_board(watch *w, syz_comm *world)
{
  syz_status st = SYZ_OK;
  syz_comm *node = NULL;
  SYZ_TRY(syz_comm_split_node(world, &node));
  w->n = syz_comm_size(node);
  w->me = syz_comm_rank(node);
  syz_shared_map(world, node, sizeof(watch_board) + (size_t)w->n * sizeof(watch_record), &w->memory);
  w->memory.node = NULL; /* only its bytes are needed */
  w->board = w->memory.bytes;
  if (!w->board) {
    w->n = 1;
    w->me = 0;
    w->board = syz_alloc("watchdog", 1, sizeof(watch_board) + sizeof(watch_record));
  }
  SYZ_TRY_ALL(world, w->board ? SYZ_OK : SYZ_ERR_MEMORY);
cleanup:
  syz_comm_destroy(&node);
  return st;
}

static void fill_record(watch *w, const syz_comm *world)
{
  w->mine = &w->board->record[w->me];
  w->mine->rank = syz_comm_rank(world);
  w->mine->pid = (int64_t)getpid();
  w->mine->born = watch_born(w->mine->pid);
  atomic_store(&w->mine->since, (int64_t)time(NULL));
}

static void start_thread(watch *w)
{
  pthread_attr_t attributes;
  pthread_condattr_t by_clock;
  sigset_t all, before;
  pthread_condattr_init(&by_clock);
  pthread_condattr_setclock(&by_clock, CLOCK_MONOTONIC);
  pthread_mutex_init(&w->lock, NULL);
  pthread_cond_init(&w->condition, &by_clock);
  pthread_condattr_destroy(&by_clock);
  pthread_attr_init(&attributes);
  (void)pthread_attr_setstacksize(&attributes, 1 << 18);
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before); /* only the main thread handles signals */
  w->has_thread = pthread_create(&w->thread, &attributes, run, w) == 0;
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  pthread_attr_destroy(&attributes);
}

syz_status syz_watch_start(syz_comm *world, double limit_s)
{
  syz_status st = SYZ_OK;
  watch *w = NULL;
  if (limit_s <= 0 || watchdog) return st;
  w = syz_alloc("watchdog", 1, sizeof *w);
  SYZ_TRY_ALL(world, w ? SYZ_OK : SYZ_ERR_MEMORY);
  w->limit_s = limit_s;
  w->period_s = fmin(fmax(limit_s / LOOKS, 0.02), 1);
  SYZ_TRY(make_board(w, world));
  fill_record(w, world);
  SYZ_TRY(watch_nodes_create(world, w->me == 0, w->n, &w->nodes));
  watch_stack_prepare(&w->board->is_claimed);
  w->clock_s = syz_clock_s();
  w->pulse = syz_pulse_read();
  w->looked_s = -limit_s;
  w->next = (w->me + 1) % w->n;
  w->gone_since = -1;
  syz_barrier(world); /* all records are complete */
  start_thread(w);
  SYZ_TRY_ALL(world, w->has_thread
                         ? SYZ_OK
                         : syz_error_set(SYZ_ERR_MEMORY, __FILE__, __LINE__, "the watchdog's thread does not start"));
  watchdog = w;
  w = NULL;
cleanup:
  if (w) {
    watchdog = w;
    syz_watch_stop();
  }
  return st;
}

void syz_watch_log(const char *path)
{
  watch *w = watchdog;
  if (!w || strlen(path) >= sizeof w->log_path) return;
  snprintf(w->log_path, sizeof w->log_path, "%s", path);
  atomic_store(&w->log, w->log_path);
}

void syz_watch_stop(void)
{
  watch *w = watchdog;
  if (!w) return;
  watchdog = NULL;
  if (w->mine) atomic_store(&w->mine->state, WATCH_DONE);
  if (w->has_thread) {
    pthread_mutex_lock(&w->lock);
    w->is_over = true;
    pthread_cond_signal(&w->condition);
    pthread_mutex_unlock(&w->lock);
    pthread_join(w->thread, NULL);
    pthread_cond_destroy(&w->condition);
    pthread_mutex_destroy(&w->lock);
    atomic_store(&w->mine->state, WATCH_DONE); /* a concurrent check may have written another state */
  }
  watch_stack_prepare(NULL);
  if (w->nodes) watch_nodes_say_done(w->nodes);
  watch_nodes_destroy(&w->nodes);
  if (w->memory.bytes)
    syz_shared_destroy(&w->memory);
  else
    syz_free(&w->board);
  syz_free(&w);
}
