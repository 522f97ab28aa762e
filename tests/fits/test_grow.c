/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The growing output of the unpackers: as much as the headers ask for, doubled while they are not known, never beyond
 * the limit, and refused before anything is allocated when a header asks for more or contradicts itself.
 */
#include <stdlib.h>

#include "check.h"
#include "unpack.h"

enum { ROOM = 16 * FITS_BLOCK, LIMIT = 256 * FITS_BLOCK };

/* A header of one block at `at`, blanks after its END. naxis1 -1: END is not there yet. */
static void put_header(fits_grow *g, size_t at, const char *first, int64_t naxis1, int64_t naxis2)
{
  char card[4][SYZ_FITS_CARD + 1];
  memset(g->data + at, ' ', FITS_BLOCK);
  memcpy(g->data + at, first, strlen(first));
  snprintf(card[0], sizeof card[0], "BITPIX  = %20d", 8);
  snprintf(card[1], sizeof card[1], "NAXIS   = %20d", 2);
  snprintf(card[2], sizeof card[2], "NAXIS1  = %20lld", (long long)naxis1);
  snprintf(card[3], sizeof card[3], "NAXIS2  = %20lld", (long long)naxis2);
  for (int i = 0; i < 4; i++) memcpy(g->data + at + (size_t)(i + 1) * SYZ_FITS_CARD, card[i], strlen(card[i]));
  if (naxis1 >= 0) memcpy(g->data + at + 5 * SYZ_FITS_CARD, "END", 3);
}

static const char *const primary = "SIMPLE  =                    T", *const extension = "XTENSION= 'IMAGE   '";

static fits_grow begin(size_t used)
{
  fits_grow g = {.data = syz_alloc("test", ROOM, 1), .used = used, .room = ROOM, .limit = LIMIT};
  if (!g.data) exit(1);
  for (size_t i = 0; i < ROOM; i++) g.data[i] = (unsigned char)(i % 251);
  return g;
}

/* Grows to `room`, and what was there stays. */
static void grows(fits_grow g, size_t room)
{
  unsigned char *kept = malloc(g.used);
  memcpy(kept, g.data, g.used);
  CHECK_OK(fits_grow_more(&g, "a.fits.gz"));
  CHECK_EQ(g.room, room);
  CHECK(memcmp(kept, g.data, g.used) == 0);
  memset(g.data, 1, g.room);
  free(kept);
  syz_free(&g.data);
}

/* Refused, with nothing allocated and nothing lost. */
static void refused(fits_grow g, const char *why)
{
  const unsigned char *data = g.data;
  const int64_t allocations = syz_memory_get().allocations;
  CHECK_ERROR(fits_grow_more(&g, "a.fits.gz"), SYZ_ERR_DATA, why);
  CHECK(strstr(syz_error_text(), "a.fits.gz") && g.data == data && g.room == ROOM);
  CHECK_EQ(syz_memory_get().allocations, allocations);
  syz_free(&g.data);
}

int main(void)
{
  fits_grow g;

  /* Nothing known: less than a block, no FITS file, a header whose end has not come. */
  grows(begin(100), 2 * ROOM);
  grows(begin(ROOM), 2 * ROOM);
  g = begin(ROOM);
  put_header(&g, 0, primary, -1, 1);
  memset(g.data + FITS_BLOCK, ' ', ROOM - FITS_BLOCK);
  grows(g, 2 * ROOM);

  /* Known: a quarter more, or what the header asks for and a block to see what follows. */
  g = begin(ROOM);
  put_header(&g, 0, primary, FITS_BLOCK, 15); /* ends where the room does: what comes after is not known */
  grows(g, 2 * ROOM);
  g = begin(ROOM);
  put_header(&g, 0, primary, FITS_BLOCK, 16); /* a block more: a quarter is more than that */
  grows(g, 20 * FITS_BLOCK);
  g = begin(ROOM);
  put_header(&g, 0, primary, FITS_BLOCK, 18); /* as much as a quarter */
  grows(g, 20 * FITS_BLOCK);
  g = begin(ROOM);
  put_header(&g, 0, primary, FITS_BLOCK, 19);
  grows(g, 21 * FITS_BLOCK);
  g = begin(ROOM);
  put_header(&g, 0, primary, FITS_BLOCK * 40 - 7, 1); /* the last block is padded */
  grows(g, 42 * FITS_BLOCK);

  /* The second HDU's header, after a first without data. */
  g = begin(ROOM);
  put_header(&g, 0, primary, 0, 0);
  put_header(&g, FITS_BLOCK, extension, FITS_BLOCK, 30);
  grows(g, 33 * FITS_BLOCK);
  g = begin(ROOM); /* looked at from where the last look ended, not from the beginning */
  put_header(&g, 2 * FITS_BLOCK, extension, FITS_BLOCK, 30);
  g.hdu_at = 2 * FITS_BLOCK;
  grows(g, 34 * FITS_BLOCK);

  /* The limit: just enough, a byte too much, and room that is all used. */
  g = begin(ROOM);
  put_header(&g, 0, primary, LIMIT - FITS_BLOCK, 1);
  grows(g, LIMIT);
  g = begin(ROOM);
  put_header(&g, 0, primary, LIMIT - FITS_BLOCK + 1, 1);
  refused(g, "unpacks to more than");
  g = begin(ROOM);
  g.limit = ROOM + FITS_BLOCK;
  grows(g, ROOM + FITS_BLOCK);
  g = begin(ROOM);
  g.limit = ROOM;
  refused(g, "unpacks to more than");

  /* Sizes that no file has. */
  g = begin(ROOM);
  put_header(&g, 0, primary, INT64_C(4000000000000), INT64_C(4000000000000));
  refused(g, "sizes contradict each other (at byte 0)");
  g = begin(ROOM);
  put_header(&g, 0, primary, 0, 0);
  put_header(&g, FITS_BLOCK, extension, INT64_C(4000000000000), INT64_C(4000000000000));
  refused(g, "sizes contradict each other (at byte 2880)");
  g = begin(ROOM);
  put_header(&g, 0, primary, INT64_MAX / 2, 1);
  refused(g, "sizes contradict each other");

#ifdef SYZ_FAULTS
  g = begin(ROOM);
  const unsigned char *data = g.data;
  setenv("SYZ_FAULT", "alloc:0:1", 1);
  CHECK_ERROR(fits_grow_more(&g, "a.fits.gz"), SYZ_ERR_MEMORY, "unpacked FITS file");
  unsetenv("SYZ_FAULT");
  CHECK(g.data == data && g.room == ROOM);
  syz_free(&g.data);
#endif
  CHECK_EQ(syz_memory_get().live_blocks, 0);
  return CHECK_RESULT();
}
