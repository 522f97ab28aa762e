/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Agreement: whichever ranks fail, all leave with the worst code and the message of the lowest rank that had it. A rank
 * without memory in the middle of a set-up of several groups leaves nobody waiting and no block behind.
 */
#include <stdlib.h>

#include "check.h"
#include "syzygy/comm.h"

#ifdef SYZ_FAULTS
enum { HAS_FAULTS = 1 };
#else
enum { HAS_FAULTS = 0 };
#endif

static syz_status fail(syz_status code, int rank)
{
  return syz_error_set(code, __FILE__, __LINE__, "shard %d: bad row", rank);
}

static syz_status collective(syz_comm *c, int failing, syz_status code)
{
  syz_status st = SYZ_OK;
  int rank = syz_comm_rank(c);
  SYZ_TRY_ALL(c, rank >= failing ? fail(code, rank) : SYZ_OK);
  syz_barrier(c); /* nobody may get here alone */
cleanup:
  return st;
}

/* The last rank has no memory for its first block, its second, ... until there are no more. Without injected faults the
 * first try succeeds. */
static void starve(syz_comm *c)
{
  const int64_t before = (int64_t)syz_memory_get().live_blocks;
  syz_status st = SYZ_ERR_MEMORY;
  int tries = 0, visits = 0;
  for (; st != SYZ_OK && tries < 100; visits += tries) {
    char wish[64];
    syz_nodes *nodes = NULL;
    snprintf(wish, sizeof wish, "alloc:%d:%d", syz_comm_size(c) - 1, visits + ++tries);
    setenv("SYZ_FAULT", wish, 1);
    st = syz_nodes_create(c, 2, &nodes);
    unsetenv("SYZ_FAULT");
    CHECK((st == SYZ_OK && nodes) || (st == SYZ_ERR_MEMORY && !nodes));
    syz_nodes_destroy(&nodes);
    syz_barrier(c);
    CHECK_EQ((int64_t)syz_memory_get().live_blocks, before);
  }
  CHECK(st == SYZ_OK && (!HAS_FAULTS || tries > 10));
}

int main(int argc, char **argv)
{
  syz_comm *c = NULL;
  CHECK_OK(syz_comm_start(&argc, &argv, &c));
  int rank = syz_comm_rank(c), size = syz_comm_size(c);
  for (int failing = 0; failing < size; failing++) {
    char text[64];
    snprintf(text, sizeof text, "shard %d: bad row", failing);
    CHECK_ERROR(collective(c, failing, SYZ_ERR_DATA), SYZ_ERR_DATA, text);
    if (size > 1) {
      snprintf(text, sizeof text, "rank %d: ", failing);
      CHECK(strncmp(syz_error_text(), text, strlen(text)) == 0);
    }
  }
  CHECK_OK(collective(c, size, SYZ_ERR_DATA));
  /* The worst code wins over the lower rank. */
  syz_status st = syz_agree(c, rank == size - 1 ? fail(SYZ_ERR_WRITE, rank) : fail(SYZ_ERR_DATA, rank));
  CHECK(st == (size > 0 ? SYZ_ERR_WRITE : SYZ_ERR_DATA));
  char text[64];
  snprintf(text, sizeof text, "shard %d", size - 1);
  CHECK(strstr(syz_error_text(), text));
  starve(c);
  int64_t failures = check_failures;
  syz_allreduce_i64(c, &failures, 1, SYZ_SUM);
  syz_comm_finish(&c);
  return failures ? 1 : CHECK_RESULT();
}
