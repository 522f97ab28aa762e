/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Confines child processes that decode files from outside, before they read the first byte.
 *
 * A damaged file can make a decoding library write anywhere or run for ever. Decoding in a child process keeps that
 * away from the run, but fork() gives the child more than it needs: memory shared by the ranks of a node, every open
 * file, the signals that stop a run. So a child first drops all of these, and then lets the kernel refuse further
 * files, sockets, processes, and memory beyond a bound. The last step uses seccomp (libseccomp) where the platform has
 * it; the other measures do not depend on it.
 */
#define _DEFAULT_SOURCE /* syscall */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>
#ifdef SYZ_HAS_SECCOMP
#include <seccomp.h>
#endif

#include "syzygy/files.h"

/* ------------------------------------------------------------ what it has */

static void set_signals(void)
{
  /* MPI's handlers would print a stack; SIGURG is our own watch's. */
  static const int own[] = {SIGSEGV, SIGBUS,  SIGFPE,  SIGILL,  SIGABRT, SIGSYS,
                            SIGALRM, SIGPROF, SIGXCPU, SIGCHLD, SIGURG};
  /* These ask the run to stop, and often reach the whole process group; the run then ends its children by closing their
   * sockets. */
  static const int meant_for_the_run[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGPIPE};
  sigset_t none;
  for (size_t i = 0; i < sizeof own / sizeof *own; i++) signal(own[i], SIG_DFL);
  for (size_t i = 0; i < sizeof meant_for_the_run / sizeof *meant_for_the_run; i++)
    signal(meant_for_the_run[i], SIG_IGN);
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
}

static bool is_kept(int fd, const int *keep, int n)
{
  for (int i = 0; i < n; i++)
    if (keep[i] == fd) return true;
  return false;
}

static void close_others(const int *keep, int n)
{
  DIR *list = opendir("/proc/self/fd");
  const long most = sysconf(_SC_OPEN_MAX);
  const int nothing = open("/dev/null", O_RDWR);
  for (int fd = 0; nothing >= 0 && fd <= STDERR_FILENO; fd++)
    if (!is_kept(fd, keep, n)) (void)dup2(nothing, fd); /* otherwise this child would keep the parent's pipes open */
  if (!list) {
    for (int fd = STDERR_FILENO + 1; fd < most && fd < 65536; fd++)
      if (!is_kept(fd, keep, n)) close(fd);
    return;
  }
  for (const struct dirent *entry = readdir(list); entry; entry = readdir(list)) {
    const int fd = (int)strtol(entry->d_name, NULL, 10);
    if (entry->d_name[0] != '.' && fd > STDERR_FILENO && fd != dirfd(list) && !is_kept(fd, keep, n)) close(fd);
  }
  closedir(list);
}

/* Unmap writable memory shared with other processes, by the bare system call, because MPI libraries intercept munmap().
 */
static void drop_shared_memory(void)
{
  enum { SOME = 128 };
  uintptr_t from[SOME], to[SOME];
  char line[512], rights[8];
  int n = SOME;
  for (int pass = 0; pass < 1000 && n == SOME; pass++) {
    FILE *maps = fopen("/proc/self/maps", "r");
    bool is_start = true; /* start of a line: lines longer than the buffer arrive in pieces */
    for (n = 0; maps && n < SOME && fgets(line, sizeof line, maps);) {
      const bool was_start = is_start;
      const size_t length = strlen(line);
      is_start = length > 0 && line[length - 1] == '\n';
      if (was_start && sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %7s", &from[n], &to[n], rights) == 3 &&
          rights[1] == 'w' && rights[3] == 's')
        n++;
    }
    if (maps) fclose(maps);
    for (int i = 0; i < n; i++) (void)syscall(SYS_munmap, from[i], to[i] - from[i]);
  }
}

/* Overwrites the command line in memory, at the address given by the kernel: otherwise tools that count or end ranks
 * would take the child for one. */
void syz_child_name(const char *name)
{
  unsigned long from = 0, to = 0;
  FILE *f = fopen("/proc/self/stat", "r");
  char skipped[64];
  int at = 1, c = 0;
  (void)prctl(PR_SET_NAME, name, 0, 0, 0);
  while (f && (c = fgetc(f)) != EOF && c != ')') continue; /* skip to the end of the second field, the name */
  while (f && ++at < 47 && fscanf(f, "%63s", skipped) == 1) continue;
  if (!f || fscanf(f, "%lu %lu", &from, &to) != 2) from = to = 0;
  if (f) fclose(f);
  if (from == 0 || to <= from) return;
  char *text = (char *)(uintptr_t)from; /* NOLINT: an address from the kernel */
  const size_t room = to - from, length = strlen(name);
  memset(text, 0, room);
  memcpy(text, name, length < room ? length : room - 1);
}

void syz_child_separate(const int *keep, int n)
{
  set_signals();
  (void)unsetenv("SYZ_FAULT"); /* injected failures apply to the parent only */
  close_others(keep, n);
  drop_shared_memory();
}

/* ------------------------------------------------------ what it may do yet */

static int mapped = -1; /* descriptor of the kernel's figure for mapped memory; stays open in a confined child */

/* Address space now, in bytes; 0: unknown. */
static size_t mapped_now(void)
{
  char text[64] = "";
  if (mapped < 0 || pread(mapped, text, sizeof text - 1, 0) <= 0) return 0;
  return strtoul(text, NULL, 10) * (size_t)sysconf(_SC_PAGESIZE);
}

/* Set the smaller of `bytes` and the user's limit; true when the user's is the smaller. */
static bool limit_memory(size_t bytes)
{
  struct rlimit now, wanted;
  mapped = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
  const size_t has = mapped_now();
  if (getrlimit(RLIMIT_AS, &now) != 0) return false;
  const bool is_users = now.rlim_cur != RLIM_INFINITY && (rlim_t)has + bytes > now.rlim_cur;
  wanted.rlim_cur = wanted.rlim_max = is_users ? now.rlim_cur : (rlim_t)has + bytes;
  if (has && bytes) (void)setrlimit(RLIMIT_AS, &wanted);
  return is_users;
}

#ifdef SYZ_HAS_SECCOMP
/* Allow only the system calls that decoding needs; all others fail with EPERM. */
static void filter_calls(bool may_open)
{
  const int plain[] = {
      SCMP_SYS(read),          SCMP_SYS(pread64),      SCMP_SYS(readv),          SCMP_SYS(write),
      SCMP_SYS(writev),        SCMP_SYS(recvfrom),     SCMP_SYS(recvmsg),        SCMP_SYS(sendto),
      SCMP_SYS(sendmsg),       SCMP_SYS(close),        SCMP_SYS(fstat),          SCMP_SYS(fstat64),
      SCMP_SYS(lseek),         SCMP_SYS(_llseek),      SCMP_SYS(munmap),         SCMP_SYS(mremap),
      SCMP_SYS(brk),           SCMP_SYS(madvise),      SCMP_SYS(futex),          SCMP_SYS(exit),
      SCMP_SYS(exit_group),    SCMP_SYS(rt_sigreturn), SCMP_SYS(rt_sigaction),   SCMP_SYS(rt_sigprocmask),
      SCMP_SYS(sigreturn),     SCMP_SYS(sigaltstack),  SCMP_SYS(setitimer),      SCMP_SYS(gettimeofday),
      SCMP_SYS(clock_gettime), SCMP_SYS(getpid),       SCMP_SYS(gettid),         SCMP_SYS(sched_yield),
      SCMP_SYS(getrandom),     SCMP_SYS(getrlimit),    SCMP_SYS(restart_syscall)};
  const int by_name[] = {SCMP_SYS(readlink), SCMP_SYS(readlinkat), SCMP_SYS(stat),
                         SCMP_SYS(lstat),    SCMP_SYS(newfstatat), SCMP_SYS(statx),
                         SCMP_SYS(access),   SCMP_SYS(getcwd),     SCMP_SYS(fcntl)};
  scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
  if (!filter) return;
  for (size_t i = 0; i < sizeof plain / sizeof *plain; i++) (void)seccomp_rule_add(filter, SCMP_ACT_ALLOW, plain[i], 0);
  /* Memory, but not executable. */
  (void)seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1, SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
  (void)seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1, SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
  /* Its own soft memory limit, for syz_child_limit. The hard limit stays, except that root may raise it. */
  (void)seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(prlimit64), 2, SCMP_A0(SCMP_CMP_EQ, 0),
                         SCMP_A1(SCMP_CMP_EQ, RLIMIT_AS));
  /* abort() sends itself a signal. */
  (void)seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1, SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid()));
  for (size_t i = 0; may_open && i < sizeof by_name / sizeof *by_name; i++)
    (void)seccomp_rule_add(filter, SCMP_ACT_ALLOW, by_name[i], 0);
  if (may_open) {
    (void)seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(open), 1,
                           SCMP_A1(SCMP_CMP_MASKED_EQ, O_ACCMODE | O_CREAT | O_TRUNC, O_RDONLY));
    (void)seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(openat), 1,
                           SCMP_A2(SCMP_CMP_MASKED_EQ, O_ACCMODE | O_CREAT | O_TRUNC, O_RDONLY));
  } else {
    (void)seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(newfstatat), 1,
                           SCMP_A3(SCMP_CMP_MASKED_EQ, 0x1000 /* AT_EMPTY_PATH: fstat */, 0x1000));
  }
  (void)seccomp_load(filter); /* fails on a kernel without seccomp; the other limits still apply */
  seccomp_release(filter);
}
#endif

bool syz_child_confine(const syz_confinement *c)
{
  const struct rlimit none = {0, 0};
  (void)setrlimit(RLIMIT_CORE, &none);
  (void)setrlimit(RLIMIT_FSIZE, &none);
  if (c->cpu_s > 0) {
    const struct rlimit cpu = {(rlim_t)c->cpu_s, (rlim_t)c->cpu_s};
    (void)setrlimit(RLIMIT_CPU, &cpu);
  }
  const bool is_tight = limit_memory(c->memory);
#ifdef SYZ_HAS_SECCOMP
  filter_calls(c->may_open);
#endif
  return is_tight;
}

bool syz_child_limit(size_t bytes)
{
  struct rlimit limit;
  const size_t has = mapped_now();
  if (!has || getrlimit(RLIMIT_AS, &limit) != 0) return false;
  const bool is_tighter = bytes && (rlim_t)has + bytes < limit.rlim_max;
  limit.rlim_cur = is_tighter ? (rlim_t)has + bytes : limit.rlim_max;
  return setrlimit(RLIMIT_AS, &limit) == 0 && is_tighter;
}
