/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * A child that decodes: each thing it must not do is tried without and with the confinement. Without, it must work;
 * otherwise the test shows nothing. The same where the kernel has no seccomp: what other limits refuse stays refused.
 */
#define _GNU_SOURCE /* anonymous mappings, O_TMPFILE */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "syzygy/files.h"

static volatile int *shared, *mine; /* memory that the parent sees too, and memory that it does not */
static int kept[2], other[2];       /* pipes */
static bool lacks_seccomp;          /* children are made as on a kernel without it */
static void take_seccomp_away(void);

static bool write_shared(void)
{
  *shared = 7;
  return true;
}
static bool write_own(void)
{
  *mine = 7;
  return true;
}
static bool write_kept(void) { return write(kept[1], "a", 1) == 1; }
static bool write_other(void) { return write(other[1], "a", 1) == 1; }
static bool get_16_mib(void)
{
  char *p = malloc(16 << 20);
  if (p) p[1 << 20] = 1;
  free(p);
  return p != NULL;
}
static bool get_512_mib(void)
{
  char *p = malloc((size_t)512 << 20);
  if (p) p[1 << 20] = 1;
  free(p);
  return p != NULL;
}
static bool open_file(void) { return open("/etc/passwd", O_RDONLY) >= 0; }
static bool make_file(void) { return open("/dev/shm", O_RDWR | O_TMPFILE, 0600) >= 0; }
static bool write_file(void)
{
  const int fd = open("/dev/shm", O_RDWR | O_TMPFILE, 0600);
  return fd >= 0 && write(fd, "a", 1) == 1;
}
static bool make_process(void)
{
  const pid_t child = fork();
  if (child == 0) _exit(0);
  return child > 0 && waitpid(child, NULL, 0) == child;
}
static bool make_socket(void) { return socket(AF_INET, SOCK_STREAM, 0) >= 0; }
static bool kill_parent(void) { return kill(getppid(), 0) == 0; }
static bool map_code(void)
{
  return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED;
}
static bool ask_to_stop(void)
{
  static const int signals[] = {SIGTERM, SIGINT, SIGUSR1, SIGUSR2, SIGHUP};
  for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) raise(signals[i]);
  return true;
}

/* Confined to 1 GiB more, where the user allows `mib` more. */
static bool is_tight(size_t mib)
{
  const syz_confinement limits = {.memory = (size_t)1 << 30};
  size_t pages = 0;
  FILE *f = fopen("/proc/self/statm", "r");
  if (!f || fscanf(f, "%zu", &pages) != 1) _exit(2);
  fclose(f);
  const rlim_t users = pages * (size_t)sysconf(_SC_PAGESIZE) + (mib << 20);
  if (setrlimit(RLIMIT_AS, &(struct rlimit){users, users}) != 0) _exit(2);
  return syz_child_confine(&limits);
}
static bool is_users(void) { return is_tight(512); }
static bool is_ours(void) { return !is_tight(4096); }

/* 0: worked; 1: refused; otherwise a signal ended it. `is_bound`: confined; `may_open` as in syz_confinement. */
static int in_child(bool (*attempt)(void), bool is_bound, bool may_open)
{
  const pid_t child = fork();
  if (child == 0) {
    const syz_confinement limits = {.memory = (size_t)256 << 20, .may_open = may_open};
    if (lacks_seccomp) take_seccomp_away();
    if (is_bound) {
      syz_child_separate(&kept[1], 1);
      (void)syz_child_confine(&limits);
    }
    _exit(attempt() ? 0 : 1);
  }
  int status = -1;
  waitpid(child, &status, 0);
  return WIFSIGNALED(status) ? 1000 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* As a kernel without seccomp: neither the call nor prctl() takes a filter. By a filter of its own, which is the last.
 */
static void take_seccomp_away(void)
{
  struct sock_filter rule[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_seccomp, 1, 0), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_prctl, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
  const struct sock_fprog program = {sizeof rule / sizeof *rule, rule};
  (void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  (void)prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

/* Without seccomp only what the filter refused works; the limits stand. */
static void test_limits_alone(void)
{
  lacks_seccomp = true;
  CHECK_EQ(in_child(open_file, true, false), 0); /* so there is no filter */
  CHECK_EQ(in_child(make_socket, true, false), 0);
  CHECK_EQ(in_child(write_own, true, false), 0);
  CHECK_EQ(in_child(write_kept, true, false), 0);
  CHECK_EQ(in_child(write_other, true, false), 1);
  CHECK_EQ(in_child(write_shared, true, false), 1000 + SIGSEGV);
  CHECK_EQ(in_child(get_16_mib, true, false), 0);
  CHECK_GT(in_child(get_512_mib, true, false), 0);
  CHECK_EQ(in_child(write_file, false, false), 0);
  CHECK_EQ(in_child(write_file, true, false), 1000 + SIGXFSZ);
  lacks_seccomp = false;
}

static bool has_seccomp(void) { return in_child(open_file, true, false) == 1; }

int main(void)
{
  shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  mine = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK((void *)shared != MAP_FAILED && (void *)mine != MAP_FAILED && pipe(kept) == 0 && pipe(other) == 0);

  /* What it needs stays. */
  CHECK_EQ(in_child(write_own, true, false), 0);
  CHECK_EQ(in_child(write_kept, true, false), 0);
  CHECK_EQ(in_child(get_16_mib, true, false), 0);

  /* What it has from its parent goes. */
  CHECK_EQ(in_child(write_shared, false, false), 0);
  CHECK_EQ(*shared, 7);
  *shared = 0;
  CHECK_EQ(in_child(write_shared, true, false), 1000 + SIGSEGV);
  CHECK_EQ(*shared, 0);
  CHECK_EQ(in_child(write_other, false, false), 0);
  CHECK_EQ(in_child(write_other, true, false), 1);

  /* Signals that ask the run to stop are not for it. */
  CHECK_GT(in_child(ask_to_stop, false, false), 1000);
  CHECK_EQ(in_child(ask_to_stop, true, false), 0);

  CHECK_EQ(in_child(get_512_mib, false, false), 0);
  CHECK_GT(in_child(get_512_mib, true, false), 0);

  bool (*const forbidden[])(void) = {open_file, make_file, make_process, make_socket, kill_parent, map_code};
  if (!has_seccomp()) fprintf(stderr, "no seccomp on this platform: the filter of system calls is not tested\n");
  for (size_t i = 0; i < sizeof forbidden / sizeof *forbidden; i++) {
    CHECK_EQ(in_child(forbidden[i], false, false), 0);
    if (has_seccomp()) CHECK_EQ(in_child(forbidden[i], true, false), 1);
  }
  CHECK_EQ(in_child(open_file, true, true), 0); /* reading others, where that is allowed, is all */
  if (has_seccomp()) CHECK_EQ(in_child(make_file, true, true), 1);

  test_limits_alone();

  /* The user's own limit is told apart from ours. */
  CHECK_EQ(in_child(is_ours, false, false), 0);
  CHECK_EQ(in_child(is_users, false, false), 0);
  return CHECK_RESULT();
}
