/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Memory that the ranks of a node share, as a POSIX shared memory object. The first rank creates it, all map it, and
 * each reserves the blocks of its part: otherwise a /dev/shm that is too small would raise SIGBUS at first touch, and
 * this way the pages are near the rank that uses them most. The name is then removed at once, so that nothing is left
 * over if a rank dies. If any of this fails on any rank, no rank gets the memory.
 *
 * Pages of 4 KiB cost nothing measurable here: sums, and tiled updates like those of weight gradients, ran as fast as
 * on huge pages (1.5 GB). Huge pages are requested all the same; Linux grants them when shmem_enabled is `advise`.
 */
/* madvise is outside POSIX. */
#define _DEFAULT_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "syzygy/comm.h"

enum { NAME = 96, PAGE = 4096 };

static void *map(int fd, size_t bytes)
{
  void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (p == MAP_FAILED) return NULL;
  (void)madvise(p, bytes, MADV_HUGEPAGE);
  return p;
}

/* A limit on file size applies to these objects too, and exceeding it kills the process. */
static bool is_allowed(size_t bytes)
{
  struct rlimit limit;
  return getrlimit(RLIMIT_FSIZE, &limit) == 0 && (limit.rlim_cur == RLIM_INFINITY || bytes <= limit.rlim_cur);
}

/* On the first rank of a node: create the object; returns its descriptor, or -1, and its name. */
static int make(char name[NAME], size_t bytes)
{
  int fd = -1;
  if (syz_fault("shared") || !is_allowed(bytes)) return -1;
  for (int attempt = 0; fd < 0 && attempt < 100; attempt++) {
    snprintf(name, NAME, "/syzygy-%ld-%d-%.0f", (long)getpid(), attempt, syz_clock_s() * 1e6);
    fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
    if (fd < 0 && errno != EEXIST) break;
  }
  if (fd < 0) name[0] = '\0';
  if (fd >= 0 && ftruncate(fd, (off_t)bytes) != 0) {
    close(fd);
    fd = -1;
  }
  return fd;
}

/* Reserve this rank's part, in whole pages. A signal (SIGUSR1 asks the run to stop) makes the kernel give up and undo
 * it. */
static bool reserve(int fd, size_t bytes, int size, int rank)
{
  int64_t first, count;
  syz_share((int64_t)((bytes + PAGE - 1) / PAGE), size, rank, &first, &count);
  const size_t at = (size_t)first * PAGE,
               end = (size_t)(first + count) * PAGE < bytes ? (size_t)(first + count) * PAGE : bytes;
  int code = 0;
  do {
    code = end <= at ? 0 : posix_fallocate(fd, (off_t)at, (off_t)(end - at));
  } while (code == EINTR);
  return code == 0;
}

void syz_shared_map(syz_comm *all, syz_comm *node, size_t bytes, syz_shared *out)
{
  char name[NAME] = "";
  const int rank = syz_comm_rank(node), size = syz_comm_size(node);
  int64_t failures;
  *out = (syz_shared){.node = node, .is_writer = rank == 0};
  int fd = rank == 0 ? make(name, bytes) : -1;
  syz_bcast(node, name, sizeof name, 0);
  if (rank > 0 && *name) fd = shm_open(name, O_RDWR, 0600);
  if (fd >= 0 && is_allowed(bytes) && reserve(fd, bytes, size, rank)) out->bytes = map(fd, bytes);
  if (fd >= 0) close(fd);
  failures = !out->bytes;
  syz_allreduce_i64(all, &failures, 1, SYZ_SUM); /* after this every rank has mapped it, so the name can be removed */
  if (rank == 0 && *name) shm_unlink(name);
  if (out->bytes) out->size = bytes;
  if (failures) syz_shared_destroy(out);
}

syz_status syz_shared_create(syz_comm *c, const char *label, size_t bytes, size_t threshold, syz_shared *out)
{
  syz_status st = SYZ_OK;
  syz_comm *node = NULL;
  int64_t largest = 1;
  *out = (syz_shared){.is_writer = true};
  if (bytes >= threshold && bytes > 0) {
    SYZ_TRY(syz_comm_split_node(c, &node));
    largest = syz_comm_size(node);
    syz_allreduce_i64(c, &largest, 1, SYZ_MAX);
  }
  if (largest > 1) { /* the same decision everywhere */
    syz_shared_map(c, node, bytes, out);
    out->owns_node = true;
    if (out->bytes) return SYZ_OK;
  }
  syz_comm_destroy(&node);
  *out = (syz_shared){.is_writer = true};
  out->bytes = syz_alloc(label, bytes + 1, 1);
  SYZ_TRY_ALL(c, out->bytes ? SYZ_OK : SYZ_ERR_MEMORY);
cleanup:
  if (st != SYZ_OK) syz_shared_destroy(out);
  return st;
}

void syz_shared_settle(syz_shared *s)
{
  if (s->node) syz_barrier(s->node);
}

void syz_shared_destroy(syz_shared *s)
{
  if (s->size) {
    if (s->bytes) munmap(s->bytes, s->size);
    s->bytes = NULL;
  } else {
    syz_free(&s->bytes);
  }
  if (s->owns_node) syz_comm_destroy(&s->node);
  *s = (syz_shared){0};
}
