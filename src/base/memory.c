/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Aligned, counted memory. A 64-byte header before each block holds its size, so that freeing needs no size and the
 * count stays right. Blocks above 2 MiB ask for huge pages: first touch is then about ten times faster on machines
 * whose policy is `madvise`.
 */
/* madvise and anonymous mappings are outside POSIX. */
#define _DEFAULT_SOURCE

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "syzygy/base.h"

enum { ALIGNMENT = 64, SMALL_PAGE = 4096, HUGE_PAGE = 2 << 20 };
enum { FEW_BYTES = 1024, FEW_ITEMS = 16 }; /* a growing list begins with the larger of the two */

typedef struct header {
  size_t bytes;  /* size that the caller asked for */
  size_t mapped; /* bytes of the mapping, 0 when from the heap */
  unsigned char pad[ALIGNMENT - 2 * sizeof(size_t)];
} header;

static _Atomic int64_t allocations, live_blocks;
static _Atomic size_t live_bytes, peak_bytes;

/* Bytes to map for a block: whole huge pages where rounding up costs at most an eighth of the block, because a tail in
 * small pages costs one page fault each, and TLB misses at every later access; otherwise whole small
 * pages. */
static size_t whole_pages(size_t bytes)
{
  const size_t huge = (bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
  return huge - bytes <= bytes / 8 ? huge : (bytes + SMALL_PAGE - 1) / SMALL_PAGE * SMALL_PAGE;
}

/* Map a block that begins with a huge page; its header is in a small page before it, because a header inside the first
 * huge page would cost one more (10 MiB for a block of 8 MiB). *mapped: bytes from the small page on. NULL without
 * memory. */
static header *map_aligned(size_t bytes, size_t *mapped)
{
  const size_t span = SMALL_PAGE + whole_pages(bytes), room = span + HUGE_PAGE;
  unsigned char *p = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) return NULL;
  const size_t before = (HUGE_PAGE - ((uintptr_t)p + SMALL_PAGE) % HUGE_PAGE) % HUGE_PAGE, after = room - span - before;
  if (before) munmap(p, before);
  if (after) munmap(p + before + span, after);
  (void)madvise(p + before + SMALL_PAGE, span - SMALL_PAGE, MADV_HUGEPAGE);
  *mapped = span;
  return (header *)(void *)(p + before + SMALL_PAGE) - 1;
}

void *syz_alloc(const char *label, size_t count, size_t size)
{
  header *h = NULL;
  if (size && count > (SIZE_MAX - 2 * HUGE_PAGE) / size) {
    syz_error_set(SYZ_ERR_MEMORY, __FILE__, __LINE__, "%s: %zu x %zu bytes do not fit an address", label, count, size);
    return NULL;
  }
  size_t bytes = count * size, total = bytes + sizeof(header), mapped = 0;
  bool is_injected = syz_fault("alloc");
  if (!is_injected && total >= HUGE_PAGE) {
    h = map_aligned(bytes, &mapped);
  } else if (!is_injected) {
    void *p = NULL;
    if (posix_memalign(&p, ALIGNMENT, total) == 0) {
      memset(p, 0, total);
      h = p;
    }
  }
  if (!h) {
    syz_error_set(SYZ_ERR_MEMORY, __FILE__, __LINE__, "%s: no memory for %.1f MiB (%.1f MiB in use)", label,
                  (double)bytes / 1048576.0, (double)live_bytes / 1048576.0);
    return NULL;
  }
  h->bytes = bytes;
  h->mapped = mapped;
  allocations++;
  live_blocks++;
  size_t now = atomic_fetch_add(&live_bytes, bytes) + bytes, peak = atomic_load(&peak_bytes);
  while (now > peak && !atomic_compare_exchange_weak(&peak_bytes, &peak, now)) {
  }
  return h + 1;
}

void syz_free_(void **p)
{
  if (!p || !*p) return;
  header *h = (header *)*p - 1;
  live_blocks--;
  live_bytes -= h->bytes;
  if (h->mapped)
    munmap((unsigned char *)(h + 1) - SMALL_PAGE, h->mapped);
  else
    free(h);
  *p = NULL;
}

syz_status syz_grow_(void **list, const char *label, size_t n, size_t more, size_t *room, size_t size)
{
  syz_status st = SYZ_OK;
  void *larger = NULL;
  SYZ_REQUIRE(more <= SIZE_MAX - n, SYZ_ERR_MEMORY, "%s: %zu and %zu more are too many to count", label, n, more);
  if (n + more <= *room) goto cleanup;
  size_t wanted = FEW_BYTES / size > FEW_ITEMS ? FEW_BYTES / size : FEW_ITEMS;
  if (*room <= SIZE_MAX / 2 && 2 * *room > wanted) wanted = 2 * *room;
  if (n + more > wanted) wanted = n + more;
  larger = syz_alloc(label, wanted, size);
  if (!larger) return syz_error_pass(SYZ_ERR_MEMORY, __FILE__, __LINE__);
  if (n) memcpy(larger, *list, n * size);
  syz_free(list);
  *list = larger;
  *room = wanted;
cleanup:
  return st;
}

syz_memory_stats syz_memory_get(void)
{
  return (syz_memory_stats){
      .allocations = allocations, .live_blocks = live_blocks, .live_bytes = live_bytes, .peak_bytes = peak_bytes};
}

size_t syz_memory_resident_peak(void)
{
  struct rusage u;
  return getrusage(RUSAGE_SELF, &u) == 0 ? (size_t)u.ru_maxrss * 1024 : 0;
}

static size_t number_in_file(const char *path, const char *key)
{
  char line[256];
  size_t value = 0;
  FILE *f = fopen(path, "r");
  if (!f) return 0;
  while (fgets(line, sizeof line, f)) {
    const char *at = key ? strstr(line, key) : line;
    if (at) {
      value = (size_t)strtoull(at + (key ? strlen(key) : 0), NULL, 10);
      break;
    }
  }
  fclose(f);
  return value;
}

size_t syz_memory_private(void)
{
  return (number_in_file("/proc/self/status", "RssAnon:") + number_in_file("/proc/self/status", "RssFile:")) * 1024;
}

size_t syz_memory_shared(void) { return number_in_file("/proc/self/status", "RssShmem:") * 1024; }

/** Resident set of this process now, in which a page that n processes share counts 1/n (the kernel's Pss), in bytes; 0
 * when the kernel does not report it. */
static size_t memory_proportional(void) { return number_in_file("/proc/self/smaps_rollup", "Pss:") * 1024; }

static size_t noted;

void syz_memory_note(void)
{
  const size_t now = memory_proportional();
  if (now > noted) noted = now;
}

size_t syz_memory_noted(void) { return noted; }

size_t syz_memory_available(void)
{
  size_t available = number_in_file("/proc/meminfo", "MemAvailable:") * 1024;
  size_t limit = number_in_file("/sys/fs/cgroup/memory.max", NULL),
         used = number_in_file("/sys/fs/cgroup/memory.current", NULL);
  if (limit > used && used > 0 && limit - used < available) available = limit - used;
  return available;
}

static int ranks_of_node = 1;

void syz_memory_set_ranks(int ranks) { ranks_of_node = ranks > 1 ? ranks : 1; }

size_t syz_memory_share(void) { return syz_memory_available() / (size_t)ranks_of_node; }

void *syz_arena_take(syz_arena *a, size_t count, size_t size)
{
  size_t at = (a->used + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
  a->used = at + count * size;
  if (!a->base) return NULL;
  SYZ_ASSERT(a->used <= a->size);
  return a->base + at;
}
