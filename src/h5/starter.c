/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Starts the processes that read HDF5 files: one starter process per rank, which does nothing else.
 *
 * Forking them from the rank itself would be wrong twice. A child shares the pages of its parent until one of them
 * writes: while a reader of a long run lives, the rank would copy every page of its weights once, and some network
 * drivers must not be forked at all once they hold memory. The starter is forked before MPI starts (syz_h5_prepare),
 * with a few MB; where nobody calls that, at the first opening. A reader costs a fork of that small process. It ends
 * when the rank closes its line, or is gone.
 */
#define _GNU_SOURCE /* SOCK_CLOEXEC */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "file.h"
#include "line.h"
#include "syzygy/files.h"

/* What the starter is told of a file; its descriptor and the reader's end of the line come with it. */
typedef struct job {
  char path[PATH_MAX], real[PATH_MAX], root[PATH_MAX];
} job;

enum { CARRIED = 2 }; /* descriptors */

typedef union packet {
  struct cmsghdr head;
  char room[CMSG_SPACE(CARRIED * sizeof(int))];
} packet;

static int starter = -1; /* line to it */
static pid_t starter_pid;

/* ------------------------------------------------------------ in the starter */

static bool receive_job(int line, job *j, int fd[CARRIED])
{
  packet p = {{0}};
  struct iovec part = {j, sizeof *j};
  struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = p.room, .msg_controllen = sizeof p.room};
  ssize_t got;
  do got = recvmsg(line, &m, MSG_CMSG_CLOEXEC);
  while (got < 0 && errno == EINTR);
  const struct cmsghdr *c = got == (ssize_t)sizeof *j ? CMSG_FIRSTHDR(&m) : NULL;
  if (!c || c->cmsg_type != SCM_RIGHTS || c->cmsg_len != CMSG_LEN(CARRIED * sizeof(int))) return false;
  memcpy(fd, CMSG_DATA(c), CARRIED * sizeof(int));
  return true;
}

/* Readers that have ended; `patience_ms`: how long to wait for the others. */
static void reap(int patience_ms)
{
  const struct timespec pause = {.tv_nsec = 1000000};
  for (;;) {
    const pid_t pid = waitpid(-1, NULL, WNOHANG);
    if (pid < 0 || (pid == 0 && patience_ms-- <= 0)) return;
    if (pid == 0) nanosleep(&pause, NULL);
  }
}

static _Noreturn void start_readers(int line)
{
  static job j;
  int fd[CARRIED];
  syz_child_separate(&line, 1);
  syz_child_name("HDF5 starter");
  h5_begin(); /* once for all of them */
  while (receive_job(line, &j, fd)) {
    const pid_t child = fork();
    if (child == 0) {
      close(line);
      syz_child_name("HDF5 reader");
      h5_serve(fd[1], fd[0], j.path, j.real, j.root);
    }
    if (child < 0) {
      const h5_answer none = {.status = SYZ_ERR_MEMORY};
      (void)h5_line_send(fd[1], &none, sizeof none);
    }
    for (int i = 0; i < CARRIED; i++) close(fd[i]);
    reap(0);
  }
  reap(200);
  _exit(0);
}

/* ---------------------------------------------------------------- in the rank */

/* Two ends, neither of them one of the standard descriptors, which a child gives up. */
static bool make_line(int type, int end[2])
{
  int made[2];
  if (socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, made) != 0) return false;
  for (int i = 0; i < 2; i++) {
    end[i] = fcntl(made[i], F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    close(made[i]);
  }
  if (end[0] >= 0 && end[1] >= 0) return true;
  for (int i = 0; i < 2; i++)
    if (end[i] >= 0) close(end[i]);
  return false;
}

void syz_h5_finish(void)
{
  if (starter >= 0) close(starter);
  starter = -1;
  if (starter_pid > 0)
    (void)waitpid(starter_pid, NULL,
                  0); /* it ends when its line is closed; a forked copy of this process has no such child */
  starter_pid = 0;
}

void syz_h5_prepare(void)
{
  int end[2];
  if (starter >= 0 || !make_line(SOCK_SEQPACKET, end)) return;
  starter_pid = fork();
  if (starter_pid == 0) start_readers(end[1]);
  close(end[1]);
  starter = end[0];
  if (starter_pid < 0) syz_h5_finish();
}

static bool send_job(const job *j, const int fd[CARRIED])
{
  packet p = {{0}};
  struct iovec part = {(void *)(uintptr_t)j, sizeof *j};
  struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = p.room, .msg_controllen = sizeof p.room};
  struct cmsghdr *c = CMSG_FIRSTHDR(&m);
  c->cmsg_level = SOL_SOCKET;
  c->cmsg_type = SCM_RIGHTS;
  c->cmsg_len = CMSG_LEN(CARRIED * sizeof(int));
  memcpy(CMSG_DATA(c), fd, CARRIED * sizeof(int));
  ssize_t sent;
  do sent = sendmsg(starter, &m, MSG_NOSIGNAL);
  while (sent < 0 && errno == EINTR);
  return sent == (ssize_t)sizeof *j;
}

syz_status h5_reader_start(const char *path, int file, int *line)
{
  syz_status st = SYZ_OK;
  int end[2] = {-1, -1};
  job *j = NULL;
  const char *root = h5_settings()->link_root;
  *line = -1;
  SYZ_ALLOC(j, "file name", 1);
  strncpy(j->path, path, sizeof j->path - 1);
  SYZ_REQUIRE(realpath(path, j->real), SYZ_ERR_DATA, "%s: cannot open: %s", path, strerror(errno));
  SYZ_REQUIRE(!root || !*root || realpath(root, j->root), SYZ_ERR_INPUT, "io.link_root: %s: %s", root, strerror(errno));
  SYZ_REQUIRE(make_line(SOCK_STREAM, end), SYZ_ERR_MEMORY, "%s: no line to a process that reads it: %s", path,
              strerror(errno));
  const int carried[CARRIED] = {file, end[1]};
  bool is_sent = false;
  for (int attempt = 0; attempt < 2 && !is_sent; attempt++) { /* a starter that somebody has killed is replaced */
    syz_h5_prepare();
    is_sent = starter >= 0 && send_job(j, carried);
    if (!is_sent) syz_h5_finish();
  }
  SYZ_REQUIRE(is_sent, SYZ_ERR_MEMORY, "%s: no process to read it: %s", path, strerror(errno));
  *line = end[0];
  end[0] = -1;
cleanup:
  for (int i = 0; i < 2; i++)
    if (end[i] >= 0) close(end[i]);
  syz_free(&j);
  return st;
}
