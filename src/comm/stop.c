/* SPDX-License-Identifier: BSD-3-Clause */
/** Requests to stop early: a signal sets a flag; the loop tests it where ranks agree, and saves before it ends. A
 * second signal ends the run at once. */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "syzygy/comm.h"

static volatile sig_atomic_t stop_signal, is_at_once;
static _Atomic int64_t first_ms;
static bool has_stop_file;
static double looked_s = -1e9;

/* Files get their names only when complete, so nothing is damaged. Rank 0 prints, by calls that a handler may use.
 */
static void leave(const char *text)
{
  if (syz_log_get_rank() == 0) (void)!write(STDERR_FILENO, text, strlen(text));
  _exit((int)SYZ_STOPPED);
}

static void remember(int number)
{
  enum { TOGETHER_MS = 2000 };
  const int kept = errno;
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  const int64_t now = (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
  if (is_at_once) leave("stopped by a signal: ended at once, there is nothing to save (exit code 75)\n");
  if (!stop_signal) {
    stop_signal = number;
    atomic_store(&first_ms, now);
  } else if (now - atomic_load(&first_ms) >= TOGETHER_MS) {
    leave("stopped by a second signal: ended at once; what was saved before is kept (exit code 75)\n");
  }
  errno = kept;
}

void syz_stop_at_once(void)
{
  is_at_once = 1;
  if (stop_signal) remember(stop_signal);
}

void syz_stop_install(void)
{
  struct sigaction action = {.sa_handler = remember, .sa_flags = SA_RESTART};
  sigemptyset(&action.sa_mask);
  sigaction(SIGUSR1, &action, NULL);
  sigaction(SIGUSR2, &action, NULL);
  sigaction(SIGTERM, &action, NULL);
  /* The launcher may block these signals until here, so that none is lost (env --block-signal). */
  sigset_t these;
  sigemptyset(&these);
  sigaddset(&these, SIGUSR1);
  sigaddset(&these, SIGUSR2);
  sigaddset(&these, SIGTERM);
  sigprocmask(SIG_UNBLOCK, &these, NULL);
}

bool syz_stop_asked(const syz_comm *c, const char *folder)
{
  double now = syz_clock_s();
  /* The file is removed at once, so that the next run of the same command continues. */
  if (folder && !has_stop_file && syz_comm_rank(c) == 0 && now - looked_s >= 1.0) {
    char path[PATH_MAX];
    looked_s = now;
    if (snprintf(path, sizeof path, "%s/STOP", folder) < (int)sizeof path && unlink(path) == 0) has_stop_file = true;
  }
  return stop_signal != 0 || has_stop_file;
}

const char *syz_stop_reason(void)
{
  if (stop_signal == SIGUSR1) return "SIGUSR1";
  if (stop_signal == SIGUSR2) return "SIGUSR2";
  if (stop_signal == SIGTERM) return "SIGTERM";
  if (has_stop_file) return "STOP file";
  return "asked by another rank";
}
