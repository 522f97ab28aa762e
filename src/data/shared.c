/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The table of a data set's objects has 32 bytes a row: 3.2 GB for 10^8 objects, which 64 ranks of a node cannot each afford. The first
 * rank of a node makes a POSIX shared memory object, reserves its blocks (a /dev/shm that is too small would otherwise kill by SIGBUS
 * at first touch), the others map it, and its name is removed at once, so that nothing stays behind whoever dies. Where any of that
 * fails on any rank, all fall back to memory of their own.
 */
#include "shared.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { NAME = 96 };

static void *map(int fd, size_t bytes)
{
  void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  return p == MAP_FAILED ? NULL : p;
}

/* On the first rank of a node. */
static void *make(char name[NAME], size_t bytes)
{
  void *p = NULL;
  int fd = -1;
  for (int attempt = 0; fd < 0 && attempt < 100; attempt++) {
    snprintf(name, NAME, "/syzygy-%ld-%d-%.0f", (long)getpid(), attempt, syz_clock_s() * 1e6);
    fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
    if (fd < 0 && errno != EEXIST) break;
  }
  if (fd < 0) {
    name[0] = '\0';
    return NULL;
  }
  if (ftruncate(fd, (off_t)bytes) == 0 && posix_fallocate(fd, 0, (off_t)bytes) == 0) p = map(fd, bytes);
  close(fd);
  return p;
}

static void *attach(const char *name, size_t bytes)
{
  int fd = *name ? shm_open(name, O_RDWR, 0600) : -1;
  void *p = fd >= 0 ? map(fd, bytes) : NULL;
  if (fd >= 0) close(fd);
  return p;
}

syz_status shared_table_create(syz_comm *c, const char *label, size_t bytes, size_t threshold, shared_table *out)
{
  syz_status st = SYZ_OK;
  char name[NAME] = "";
  int64_t failures = 0, largest = 1;
  *out = (shared_table){.is_writer = true};
  if (bytes >= threshold && bytes > 0) {
    SYZ_TRY(syz_comm_split_node(c, &out->node));
    largest = syz_comm_size(out->node);
    syz_allreduce_i64(c, &largest, 1, SYZ_MAX);
  }
  if (largest > 1) { /* the same decision everywhere */
    out->is_writer = syz_comm_rank(out->node) == 0;
    if (out->is_writer) out->bytes = make(name, bytes);
    syz_bcast(out->node, name, sizeof name, 0);
    if (!out->is_writer) out->bytes = attach(name, bytes);
    failures = !out->bytes;
    syz_allreduce_i64(c, &failures, 1, SYZ_SUM); /* also: everybody has mapped it, so the name may go */
    if (out->is_writer && *name) shm_unlink(name);
    if (out->bytes) out->size = bytes;
    if (!failures) return SYZ_OK;
    shared_table_destroy(out);
  }
  syz_comm_destroy(&out->node);
  *out = (shared_table){.is_writer = true};
  out->bytes = syz_alloc(label, bytes + 1, 1);
  SYZ_TRY_ALL(c, out->bytes ? SYZ_OK : SYZ_ERR_MEMORY);
cleanup:
  if (st != SYZ_OK) shared_table_destroy(out);
  return st;
}

void shared_table_settle(shared_table *t)
{
  if (t->node) syz_barrier(t->node);
}

void shared_table_destroy(shared_table *t)
{
  if (t->size) {
    if (t->bytes) munmap(t->bytes, t->size);
    t->bytes = NULL;
  } else {
    syz_free(&t->bytes);
  }
  syz_comm_destroy(&t->node);
  *t = (shared_table){0};
}
