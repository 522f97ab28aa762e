/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Files mapped for reading that another program may truncate meanwhile, or whose disk may fail. The kernel then ends
 * the process with SIGBUS when a page after the new end is touched. Here a handler replaces the missing pages by zeros
 * and records it; readers call fits_map_check before they use the data, so that the file is refused by its name.
 * Reading files into memory instead would cost the size of a sweep catalogue (4 GB) on each rank, where a few columns
 * are needed.
 *
 * The table of mappings is global because a signal handler gets no other arguments. A SIGBUS at another address is
 * passed to the previous handler.
 */
/* Anonymous mappings are outside POSIX. */
#define _DEFAULT_SOURCE

#include "file.h"
#include "syzygy/files.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SLOTS = 4096 };

static struct {
  _Atomic uintptr_t from, to; /* 0 = free; `from` is set last and cleared first */
  atomic_bool is_taken, is_cut;
} slot[SLOTS];
static atomic_bool is_installed;
static struct sigaction before;
static uintptr_t page_bytes;

static void on_bus_error(int number, siginfo_t *info, void *context)
{
  const uintptr_t at = (uintptr_t)info->si_addr;
  for (int i = 0; i < SLOTS; i++) {
    const uintptr_t from = slot[i].from, to = slot[i].to;
    if (!from || at < from || at >= to) continue;
    const uintptr_t page = at / page_bytes * page_bytes;
    if (mmap((void *)page, to - page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED) break;
    slot[i].is_cut = true;
    return;
  }
  if (before.sa_flags & SA_SIGINFO)
    before.sa_sigaction(number, info, context);
  else if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN)
    before.sa_handler(number);
  else
    sigaction(number, &before, NULL); /* the access is tried again and ends the process */
}

static void install(void)
{
  struct sigaction action = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO};
  if (atomic_exchange(&is_installed, true)) return;
  page_bytes = (uintptr_t)sysconf(_SC_PAGESIZE);
  sigemptyset(&action.sa_mask);
  sigaction(SIGBUS, &action, &before);
}

syz_status fits_map_open(const char *path, fits_map *m)
{
  syz_status st = SYZ_OK;
  int fd = -1, taken = -1;
  int64_t bytes = 0;
  *m = (fits_map){0};
  install();
  SYZ_TRY(syz_file_open_input(path, &fd, &bytes));
  SYZ_REQUIRE(bytes > 0, SYZ_ERR_DATA, "%s: the file is empty", path);
  for (int i = 0; i < SLOTS && taken < 0; i++)
    if (!atomic_exchange(&slot[i].is_taken, true)) taken = i;
  SYZ_REQUIRE(taken >= 0, SYZ_ERR_INTERNAL, "%s: more than %d FITS files are open at once", path, (int)SLOTS);
  void *map = mmap(NULL, (size_t)bytes, PROT_READ, MAP_PRIVATE, fd, 0);
  SYZ_REQUIRE(map != MAP_FAILED, errno == ENOMEM ? SYZ_ERR_MEMORY : SYZ_ERR_DATA, "%s: cannot be mapped: %s", path,
              strerror(errno));
  *m = (fits_map){map, (size_t)bytes, fd, taken};
  slot[taken].is_cut = false;
  slot[taken].to = (uintptr_t)map + ((size_t)bytes + page_bytes - 1) / page_bytes * page_bytes;
  slot[taken].from = (uintptr_t)map;
cleanup:
  if (st != SYZ_OK && taken >= 0) slot[taken].is_taken = false;
  if (st != SYZ_OK && fd >= 0) close(fd);
  return st;
}

void fits_map_close(fits_map *m)
{
  if (!m->base) return;
  slot[m->slot].from = 0;
  munmap((void *)(uintptr_t)m->base, m->size);
  close(m->fd);
  slot[m->slot].is_taken = false;
  *m = (fits_map){0};
}

syz_status fits_map_check(const fits_map *m, const char *path)
{
  syz_status st = SYZ_OK;
  struct stat info;
  if (!m->base) return SYZ_OK;
  SYZ_REQUIRE(fstat(m->fd, &info) == 0, SYZ_ERR_DATA, "%s: %s", path, strerror(errno));
  SYZ_REQUIRE((uintmax_t)info.st_size >= m->size, SYZ_ERR_DATA,
              "%s: the file was cut short while it was read: %zu bytes when opened, %lld now", path, m->size,
              (long long)info.st_size);
  SYZ_REQUIRE(!slot[m->slot].is_cut, SYZ_ERR_DATA,
              "%s: cannot be read: its file system or disk failed, or it was cut short for a while", path);
cleanup:
  return st;
}
