/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Checks memory limits before MPI starts. MPI and its network libraries reserve address space at their start and end
 * the process without a message when there is none (Open MPI 4.1 under `ulimit -v 250000`: a segmentation fault), so
 * the space is allocated here first, and freed.
 */
/* anonymous mappings are outside POSIX. */
#define _DEFAULT_SOURCE

#include <sys/mman.h>
#include <sys/resource.h>

#include "syzygy/comm.h"

/* Address space that Open MPI 4.1 reserves up to a running watchdog, plus that of the smallest command. */
enum { NEEDED_MIB = 512 };

syz_status syz_comm_check_memory(void)
{
  syz_status st = SYZ_OK;
  struct rlimit limit;
  const size_t bytes = (size_t)NEEDED_MIB << 20;
  void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p != MAP_FAILED) {
    munmap(p, bytes);
    return st;
  }
  const bool is_limited = getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY;
  SYZ_REQUIRE(!is_limited, SYZ_ERR_MEMORY,
              "not enough memory to start: this process may have %.0f MiB of addresses (ulimit -v), and MPI alone "
              "needs %d MiB more than the program; raise the limit, or remove it (ulimit -v unlimited)",
              (double)limit.rlim_cur / 1048576.0, NEEDED_MIB);
  SYZ_REQUIRE(false, SYZ_ERR_MEMORY, "not enough memory to start: this machine cannot provide %d MiB", NEEDED_MIB);
cleanup:
  return st;
}
