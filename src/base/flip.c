/* SPDX-License-Identifier: BSD-3-Clause */
/** Flips bits on purpose, to test the checks that must notice them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "syzygy/base.h"

#ifdef SYZ_FAULTS
/* A pseudo-random function of x (the last rounds of splitmix64). */
static uint64_t stir(uint64_t x)
{
  x += UINT64_C(0x9e3779b97f4a7c15);
  x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
  return x ^ (x >> 31);
}

/* Whether one request, `point:rank:visit:seed[:always]`, applies to this visit. */
static bool is_wanted(const char *wish, const char *point, long *visits, uint64_t *draw)
{
  const size_t n = strlen(point);
  char *end;
  if (strncmp(wish, point, n) != 0 || wish[n] != ':') return false;
  const long rank = strtol(wish + n + 1, &end, 10);
  if (*end != ':' || rank != syz_log_get_rank()) return false;
  const long visit = strtol(end + 1, &end, 10);
  if (*end != ':') return false;
  const uint64_t seed = strtoull(end + 1, &end, 10);
  ++*visits;
  if (strncmp(end, ":always", 7) == 0 ? *visits < visit : *visits != visit) return false;
  *draw = stir(seed + (uint64_t)(*visits - visit));
  return true;
}

bool syz_flip(const char *point, uint64_t *draw)
{
  enum { WISHES = 64 };
  static long visits[WISHES]; /* visits of each request's point */
  bool is_any = false;
  const char *wish = getenv("SYZ_FLIP");
  for (int i = 0; wish && i < WISHES; i++) {
    if (is_wanted(wish, point, &visits[i], draw)) is_any = true;
    wish = strchr(wish, ',');
    if (wish) wish++;
  }
  return is_any;
}

void syz_flip_bit(const char *point, void *bytes, size_t n, uint64_t draw)
{
  if (n == 0) return;
  fprintf(stderr, "rank %d: flips a bit of %s\n", syz_log_get_rank(), point); /* tests count what was planted */
  const uint64_t bit = stir(draw) % (8 * (uint64_t)n);
  ((unsigned char *)bytes)[bit / 8] ^= (unsigned char)(1u << bit % 8);
}
#else
bool syz_flip(const char *point, uint64_t *draw)
{
  (void)point, (void)draw;
  return false;
}

void syz_flip_bit(const char *point, void *bytes, size_t n, uint64_t draw)
{
  (void)point, (void)bytes, (void)n, (void)draw;
}
#endif
