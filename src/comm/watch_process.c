/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The state of processes from /proc, and the stack of the working thread. The watchdog's thread reads both, and must
 * not wait for a lock that a stuck thread may hold: no heap, no stdio.
 */
/* backtrace and dladdr are outside POSIX. */
#define _GNU_SOURCE

#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "watch.h"

/* Read the beginning of a file of /proc; false when it cannot be read. */
static bool read_text(const char *path, char *text, size_t room)
{
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  const ssize_t n = read(fd, text, room - 1);
  close(fd);
  text[n > 0 ? n : 0] = '\0';
  return n > 0;
}

/* Field `number` (state: 3) of a stat file: the second, the program's name, may contain blanks and brackets. */
static const char *stat_field(const char *text, int number)
{
  const char *at = strrchr(text, ')');
  for (int i = 2; at && i < number; i++) at = strchr(at + 1, ' ');
  return at ? at + 1 : NULL;
}

int64_t watch_born(int64_t pid)
{
  char path[64], text[1024];
  snprintf(path, sizeof path, "/proc/%lld/stat", (long long)pid);
  const char *field = read_text(path, text, sizeof text) ? stat_field(text, 22) : NULL;
  return field ? strtoll(field, NULL, 10) : 0;
}

watch_process watch_process_look(int64_t pid, int64_t born)
{
  watch_process p = {0};
  char path[64], text[2048];
  snprintf(path, sizeof path, "/proc/%lld/stat", (long long)pid);
  const char *field = read_text(path, text, sizeof text) ? stat_field(text, 22) : NULL;
  if (!field || strtoll(field, NULL, 10) != born) return p;
  p.state = *stat_field(text, 3);
  snprintf(path, sizeof path, "/proc/%lld/status", (long long)pid);
  const char *tracer = read_text(path, text, sizeof text) ? strstr(text, "TracerPid:") : NULL;
  p.is_traced = tracer && strtol(tracer + 10, NULL, 10) != 0;
  return p;
}

/* Entries of a folder as getdents64 gives them; opendir would allocate. */
typedef struct entry {
  uint64_t inode;
  int64_t offset;
  uint16_t length;
  uint8_t type;
  char name[];
} entry;

/* visit(name, context) for each thread of this process. */
static void each_thread(void (*visit)(const char *name, void *context), void *context)
{
  _Alignas(entry) char room[4096];
  const int fd = open("/proc/self/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  for (;;) {
    const long n = syscall(SYS_getdents64, fd, room, sizeof room);
    if (n <= 0) break;
    for (long at = 0; at < n;) {
      const entry *e = (const entry *)(const void *)(room + at);
      if (e->name[0] != '.') visit(e->name, context);
      at += e->length;
    }
  }
  close(fd);
}

static void look_for_sleep(const char *name, void *context)
{
  char path[64], text[1024];
  snprintf(path, sizeof path, "/proc/self/task/%.20s/stat", name);
  const char *field = read_text(path, text, sizeof text) ? stat_field(text, 3) : NULL;
  if (field && *field == 'D') *(bool *)context = true;
}

bool watch_is_in_kernel(void)
{
  bool is_found = false;
  each_thread(look_for_sleep, &is_found);
  return is_found;
}

typedef struct sums {
  watch_work work;
  char self[24];
} sums;

static void add_work(const char *name, void *context)
{
  static const char *const fields[] = {"rchar:", "wchar:", "\nread_bytes:", "\nwrite_bytes:"};
  sums *sum = context;
  char path[64], text[512];
  if (strcmp(name, sum->self) == 0) return;
  snprintf(path, sizeof path, "/proc/self/task/%.20s/schedstat",
           name); /* nanoseconds on a core, and of waiting for one */
  const char *waited = read_text(path, text, sizeof text) ? strchr(text, ' ') : NULL;
  if (waited) sum->work.starved_s += 1e-9 * (double)strtoull(waited, NULL, 10);
  snprintf(path, sizeof path, "/proc/self/task/%.20s/io", name);
  if (!read_text(path, text, sizeof text)) return;
  for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
    const char *at = strstr(text, fields[i]);
    if (at) sum->work.io_bytes += strtoull(at + strlen(fields[i]), NULL, 10);
  }
}

watch_work watch_work_done(void)
{
  sums sum = {0};
  snprintf(sum.self, sizeof sum.self, "%ld", (long)syscall(SYS_gettid));
  each_thread(add_work, &sum);
  return sum.work;
}

/* ------------------------------------------------------------------ the stack */

enum { FRAMES = 48 };
static pthread_t worker;
static void *frame[FRAMES];
static _Atomic int n_frames; /* 0: none, -1: wanted */
static const _Atomic int *end_near;

static void write_down(int unused)
{
  (void)unused;
  const struct timespec nap = {.tv_nsec = 10000000};
  const int kept = errno;
  if (atomic_load(&n_frames) <= 0) atomic_store(&n_frames, backtrace(frame, FRAMES));
  /* A process that was stopped and is continued only to be ended must not run on: the watchdog ends it. */
  while (end_near && atomic_load(end_near)) nanosleep(&nap, NULL);
  errno = kept;
}

void watch_stack_prepare(const _Atomic int *ends)
{
  end_near = ends;
  if (!ends) return;
  struct sigaction action = {.sa_handler = write_down, .sa_flags = SA_RESTART};
  (void)backtrace(frame, FRAMES); /* the first call loads a library, which a handler must not */
  sigemptyset(&action.sa_mask);
  sigaction(SIGURG, &action, NULL); /* a signal without other use, ignored by default */
  worker = pthread_self();
}

void watch_process_continue(int64_t pid)
{
  (void)syscall(SYS_tgkill, (pid_t)pid, (pid_t)pid,
                SIGURG); /* stays pending until the process is continued, and is then handled first */
  kill((pid_t)pid, SIGCONT);
}

static const char *base_name(const char *path)
{
  const char *slash = strrchr(path, '/');
  return slash ? slash + 1 : path;
}

bool watch_stack_take(char text[WATCH_STACK], bool *is_in_mpi)
{
  const struct timespec nap = {.tv_nsec = 5000000};
  size_t used = 0;
  *is_in_mpi = false;
  text[0] = '\0';
  if (atomic_load(&n_frames) <= 0) { /* otherwise it was recorded when another rank continued this process */
    atomic_store(&n_frames, -1);
    if (pthread_kill(worker, SIGURG) != 0) return false;
  }
  for (int i = 0; i < 200 && atomic_load(&n_frames) < 0; i++) nanosleep(&nap, NULL);
  const int n = atomic_exchange(&n_frames, 0);
  for (int i = 2; i < n && used + 1 < WATCH_STACK;
       i++) { /* the first two are the handler and the kernel's way into it */
    Dl_info d = {0};
    const char *file = dladdr(frame[i], &d) && d.dli_fname ? base_name(d.dli_fname) : "?";
    if (strncmp(file, "libmpi", 6) == 0) *is_in_mpi = true;
    const char *at = frame[i];
    const size_t in_file = (size_t)(at - (char *)d.dli_fbase),
                 in_name = d.dli_saddr ? (size_t)(at - (char *)d.dli_saddr) : 0;
    const int m = d.dli_sname ? snprintf(text + used, WATCH_STACK - used, "    %s+0x%zx (%s+0x%zx)\n", d.dli_sname,
                                         in_name, file, in_file)
                              : snprintf(text + used, WATCH_STACK - used, "    (%s+0x%zx)\n", file, in_file);
    used += m > 0 ? (size_t)m : 0;
  }
  text[WATCH_STACK - 1] = '\0';
  return n > 0;
}
