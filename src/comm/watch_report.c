/* SPDX-License-Identifier: BSD-3-Clause */
/** The watchdog's report: which ranks are stuck, where they are, and in which calls the others wait. */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "watch.h"

static char
    text[WATCH_REPORT]; /* static, for the one report of a process, because a stuck thread may hold the heap's lock */
static size_t used;

__attribute__((format(printf, 1, 2))) static void add(const char *format, ...)
{
  va_list ap;
  va_start(ap, format);
  const int n = vsnprintf(text + used, sizeof text - used, format, ap);
  va_end(ap);
  if (n > 0) used += (size_t)n < sizeof text - used ? (size_t)n : sizeof text - used - 1;
}

/* gmtime_r may take a lock of the library's; the calendar is simple (days to civil date: H. Hinnant, chrono-compatible
 * algorithms). */
static void add_utc(int64_t t)
{
  const int64_t days = t / 86400, s = t % 86400, z = days + 719468, era = z / 146097, doe = z - era * 146097;
  const int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365,
                doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;
  const int64_t month = mp < 10 ? mp + 3 : mp - 9, year = yoe + era * 400 + (month <= 2);
  const int64_t day = doy - (153 * mp + 2) / 5 + 1, hour = s / 3600, minute = s / 60 % 60, second = s % 60;
  add("%04lld-%02lld-%02lldT%02lld:%02lld:%02lldZ", (long long)year, (long long)month, (long long)day, (long long)hour,
      (long long)minute, (long long)second);
}

static void add_stuck(const watch_record *r, const char *host)
{
  const int64_t since = atomic_load(&r->since), now = (int64_t)time(NULL);
  add("rank %d on %s (process %lld), phase \"%.60s\": no progress since ", r->rank, host, (long long)r->pid,
      *r->phase ? r->phase : "none");
  add_utc(since);
  add(", %lld s ago%s%.60s\n", (long long)(now - since), *r->call ? "; " : "", r->call);
  if (*r->stack) add("  where it is:\n%.*s", WATCH_STACK, r->stack);
}

/* Ranks that wait, one line per MPI call. */
static void add_waiting(const watch_board *b, int n)
{
  for (int i = 0; i < n; i++) {
    const watch_record *r = &b->record[i];
    bool is_first = atomic_load(&r->state) == WATCH_WAITS;
    for (int j = 0; j < i && is_first; j++)
      is_first = atomic_load(&b->record[j].state) != WATCH_WAITS || strcmp(b->record[j].call, r->call) != 0;
    if (!is_first) continue;
    int count = 0;
    for (int j = i; j < n; j++)
      count += atomic_load(&b->record[j].state) == WATCH_WAITS && strcmp(b->record[j].call, r->call) == 0;
    add("rank %d%s", r->rank, count > 1 ? "" : " waits");
    if (count > 1) add(" and %d others of this node wait", count - 1);
    add(" for others in %.60s, phase \"%.60s\"\n", r->call, *r->phase ? r->phase : "none");
  }
}

static void put(int fd)
{
  for (size_t at = 0; at < used;) {
    const ssize_t n = write(fd, text + at, used - at);
    if (n <= 0) return;
    at += (size_t)n;
  }
}

static _Atomic bool is_said;

static void *say(void *log)
{
  put(STDERR_FILENO);
  const int fd = log ? open(log, O_WRONLY | O_APPEND | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW) : -1;
  if (fd >= 0) {
    put(fd);
    close(fd);
  }
  atomic_store(&is_said, true);
  return NULL;
}

void watch_report(const watch_board *b, int n, const char *reason, double limit_s, const char *log)
{
  enum { SHOWN = 8 };
  const struct timespec nap = {.tv_nsec = 10000000};
  char host[WATCH_TEXT] = "", path[4096];
  pthread_t thread;
  int stuck = 0;
  gethostname(host, sizeof host - 1);
  add("error: hang: %s (run.hang_limit %g s)\n", reason, limit_s);
  for (int i = 0; i < n; i++)
    if (atomic_load(&b->record[i].state) == WATCH_STUCK && ++stuck <= SHOWN) add_stuck(&b->record[i], host);
  if (stuck > SHOWN) add("and %d more ranks\n", stuck - SHOWN);
  add_waiting(b, n);
  for (int i = 0; i < n && i < 2 && !stuck; i++)
    if (*b->record[i].stack) add("where rank %d waits:\n%.*s", b->record[i].rank, WATCH_STACK, b->record[i].stack);
  add("All ranks end with exit code 7; the same command continues from what was saved. If the phase only takes long, "
      "raise run.hang_limit.\n");
  if (log) snprintf(path, sizeof path, "%s", log);
  /* The reader of standard error may be stuck, and so may the log's file system. */
  if (pthread_create(&thread, NULL, say, log ? path : NULL) != 0) put(STDERR_FILENO);
  for (int i = 0; i < 500 && !atomic_load(&is_said); i++) nanosleep(&nap, NULL);
}
