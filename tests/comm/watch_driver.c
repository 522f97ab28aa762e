/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * What a watchdog may meet, played by real ranks: watch_driver LIMIT_S CASE. Ends with 0 when nothing was found, with 7
 * when the watchdog ended it. The driver, test_watch.py, knows what is right for each case.
 */
#define _GNU_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <mpi.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "syzygy/comm.h"

static syz_comm *world;
static double limit_s;
static int rank;
static syz_timing timing;

/* In place of the C library's, for this program and what it is linked with: WATCH_NO_RANDOM=1 makes it a kernel that
 * has none. */
ssize_t getrandom(void *bytes, size_t n, unsigned flags)
{
  if (!getenv("WATCH_NO_RANDOM")) return syscall(SYS_getrandom, bytes, n, flags);
  errno = ENOSYS;
  return -1;
}

static void nap(double s)
{
  struct timespec t = {.tv_sec = (time_t)s, .tv_nsec = (long)((s - (double)(time_t)s) * 1e9)};
  while (nanosleep(&t, &t) != 0) continue;
}

/* Not static: reports can name it. */
__attribute__((noinline)) void compute(double s);
void compute(double s)
{
  const double end = syz_clock_s() + s;
  for (volatile double x = 1; syz_clock_s() < end;) x = x * 0.5 + 1;
}

/* Work that gives signs of life for some limits; the other ranks wait for it in a barrier. */
static void work_on(double limits)
{
  for (double t = 0; t < limits * limit_s; t += 0.1 * limit_s) {
    compute(0.1 * limit_s);
    syz_pulse();
  }
}

static void spin(void) { compute(1e9); }
static void stop(void) { raise(SIGSTOP); }
static void die(void) { raise(SIGKILL); }
static void slow_work(void) { work_on(4); }

static void wait_for_ever(void)
{
  static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
  pthread_mutex_lock(&lock);
  pthread_mutex_lock(&lock);
}

/* Bytes that come slowly are going on. */
static void slow_read(void)
{
  char byte;
  const int fd = open("/dev/zero", O_RDONLY);
  for (int i = 0; i < 40; i++) {
    nap(0.1 * limit_s);
    (void)!read(fd, &byte, 1);
  }
  close(fd);
}

/* The kernel holds the parent of vfork in an uninterruptible sleep until the child ends: as a file system that does not
 * answer for a while. */
static void in_kernel(void)
{
  struct timespec t = {.tv_sec = (time_t)(4 * limit_s)};
  const pid_t child = vfork();
  if (child == 0) {
    nanosleep(&t, NULL);
    _exit(0);
  }
  waitpid(child, NULL, 0);
}

/* Each step a little longer than the one before: the longest but one is learned. */
static void growing_steps(void)
{
  for (double step = 0.5; step < 2.6; step *= 1.6) {
    compute(step * limit_s);
    syz_pulse();
  }
}

static void long_step(void) { compute(8 * limit_s); }

typedef struct scenario {
  const char *name;
  void (*first)(void); /* what rank 1 does (0 when alone), while the others wait in a barrier */
  bool in_library;     /* the others wait in MPI that a library calls */
} scenario;

static const scenario scenarios[] = {
    {"spin", spin, false},        {"stop", stop, false},          {"wait", wait_for_ever, false},
    {"die", die, false},          {"work", slow_work, false},     {"read", slow_read, false},
    {"kernel", in_kernel, false}, {"grow", growing_steps, false}, {"long", long_step, false},
    {"library", slow_work, true}, {"library-spin", spin, true},   {"library-stop", stop, true}};

/* Two ranks that each wait for what the other never sends. */
static void deadlock(void)
{
  char byte;
  syz_request *r = NULL;
  if (syz_request_create(world, 1, &r) != SYZ_OK) return;
  syz_request_receive(r, &byte, 1, (rank + 1) % syz_comm_size(world), 5);
  syz_request_wait(r);
}

static void play(const char *name)
{
  for (size_t i = 0; i < sizeof scenarios / sizeof *scenarios; i++) {
    if (strcmp(scenarios[i].name, name) != 0) continue;
    syz_timing_begin(&timing, "trial");
    if (rank == 0) printf("begun %.3f\n", (double)time(NULL));
    fflush(stdout);
    if (rank == (syz_comm_size(world) > 1)) scenarios[i].first();
    if (scenarios[i].in_library)
      MPI_Barrier(*(MPI_Comm *)syz_comm_raw(world));
    else
      syz_barrier(world);
    syz_timing_end(&timing);
    return;
  }
  if (strcmp(name, "deadlock") == 0)
    deadlock();
  else if (strcmp(name, "idle") == 0) { /* for a driver that stops and continues processes */
    for (int i = 0; i < 60; i++) {
      work_on(0.1);
      syz_barrier(world);
    }
  } else {
    exit(2);
  }
}

int main(int argc, char **argv)
{
  if (argc != 3 || syz_comm_start(&argc, &argv, &world) != SYZ_OK) return 2;
  rank = syz_comm_rank(world);
  limit_s = atof(argv[1]);
  if (syz_watch_start(world, limit_s) != SYZ_OK) return 2;
  play(argv[2]);
  syz_comm_finish(&world);
  syz_watch_stop();
  return syz_memory_get().live_blocks ? 1 : 0;
}
