/* SPDX-License-Identifier: BSD-3-Clause */
/** Requests to stop early: signals only set a flag; the loop asks at its agreement points and saves before it leaves. */
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "syzygy/comm.h"

static volatile sig_atomic_t stop_signal;
static bool has_stop_file;
static double looked_s = -1e9;

static void remember(int signal) { stop_signal = signal; }

void syz_stop_install(void)
{
  struct sigaction action = {.sa_handler = remember, .sa_flags = SA_RESTART};
  sigemptyset(&action.sa_mask);
  sigaction(SIGUSR1, &action, NULL);
  sigaction(SIGUSR2, &action, NULL);
  sigaction(SIGTERM, &action, NULL);
}

bool syz_stop_asked(const syz_comm *c, const char *folder)
{
  double now = syz_clock_s();
  /* The file is taken away as it is obeyed: the next run of the same command goes on. */
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
