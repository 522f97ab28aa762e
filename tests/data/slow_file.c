/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Loaded before the program (LD_PRELOAD): the first SLOW_FILE_READS calls of pread of every process take SLOW_FILE_MS
 * each, as on a loaded file system. For test_h5_hostile.py.
 */
#define _GNU_SOURCE /* RTLD_NEXT, syscall */
#include <dlfcn.h>
#include <linux/futex.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

typedef ssize_t pread_call(int fd, void *to, size_t n, off_t at);
static pread_call *next;
static long wait_ms, reads;

static long number(const char *name) { return getenv(name) ? strtol(getenv(name), NULL, 10) : 0; }

__attribute__((constructor)) static void begin(void)
{
  *(void **)&next = dlsym(RTLD_NEXT, "pread");
  wait_ms = number("SLOW_FILE_MS");
  reads = number("SLOW_FILE_READS");
}

ssize_t pread(int fd, void *to, size_t n, off_t at)
{
  static const uint32_t never = 0;
  const struct timespec pause = {wait_ms / 1000, wait_ms % 1000 * 1000000};
  /* nanosleep is not among the system calls that are left to a reader of HDF5 files; waiting for a word that never
   * changes is. */
  if (reads-- > 0) (void)syscall(SYS_futex, &never, FUTEX_WAIT, never, &pause, NULL, 0);
  return next(fd, to, n, at);
}
