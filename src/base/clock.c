/* SPDX-License-Identifier: BSD-3-Clause */
/** Time: a monotonic clock, and the time that a rank spent in each phase. */
#include <string.h>
#include <time.h>

#include "pulse.h"

static double start_s;

double syz_clock_s(void)
{
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

__attribute__((constructor)) static void remember_start(void) { start_s = syz_clock_s(); }

double syz_clock_since_start_s(void) { return syz_clock_s() - start_s; }

void syz_clock_utc(char text[32])
{
  time_t now = time(NULL);
  struct tm tm;
  gmtime_r(&now, &tm);
  strftime(text, 32, "%Y-%m-%dT%H:%M:%SZ", &tm);
}

static int phase_find(syz_timing *t, const char *phase)
{
  for (int i = 0; i < t->n; i++)
    if (t->name[i] == phase || strcmp(t->name[i], phase) == 0) return i;
  SYZ_ASSERT(t->n < SYZ_TIMING_PHASES);
  t->name[t->n] = phase;
  t->seconds[t->n] = t->within[t->n] = 0;
  t->count[t->n] = 0;
  return t->n++;
}

/* Time since the last change belongs to the innermost open phase. */
static void charge(syz_timing *t)
{
  const double now = syz_clock_s(), within = t->within_s ? *t->within_s : 0;
  if (t->depth > 0) {
    t->seconds[t->stack[t->depth - 1]] += now - t->t_last;
    t->within[t->stack[t->depth - 1]] += within - t->within_last;
  }
  t->t_last = now;
  t->within_last = within;
}

void syz_timing_begin(syz_timing *t, const char *phase)
{
  int i = phase_find(t, phase);
  charge(t);
  if (t->t_first <= 0) {
    t->t_first = t->t_last;
    t->within_first = t->within_last;
  }
  SYZ_ASSERT(t->depth < SYZ_TIMING_DEPTH);
  t->stack[t->depth++] = i;
  t->count[i]++;
  syz_pulse_phase(phase);
}

void syz_timing_end(syz_timing *t)
{
  charge(t);
  if (t->depth > 0) t->depth--;
  syz_pulse_phase(t->depth > 0 ? t->name[t->stack[t->depth - 1]] : NULL);
}

void syz_timing_restart(syz_timing *t)
{
  SYZ_ASSERT(t->depth == 0);
  t->n = 0;
  charge(t);
  t->t_first = t->t_last;
  t->within_first = t->within_last;
}
