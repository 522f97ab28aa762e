/* SPDX-License-Identifier: BSD-3-Clause */
/** The growing output of the unpackers. */
#include "unpack.h"

#include <string.h>

/* The size that the headers unpacked so far require: the end of the last HDU with a complete header; 0 while unknown.
 */
static syz_status find_need(fits_grow *g, const char *path, size_t *need)
{
  syz_status st = SYZ_OK;
  *need = 0;
  while (g->used - g->hdu_at >= FITS_BLOCK) {
    fits_hdu h = {.header = (const char *)g->data + g->hdu_at};
    bool has_end = false;
    if (memcmp(h.header, g->hdu_at ? "XTENSION=" : "SIMPLE  =", 9) != 0)
      return SYZ_OK; /* padding, or content that is refused later */
    for (size_t at = g->hdu_at; !has_end && g->used - at >= SYZ_FITS_CARD; at += SYZ_FITS_CARD) {
      has_end = memcmp(g->data + at, "END     ", 8) == 0;
      h.n_cards += !has_end;
    }
    if (!has_end) return SYZ_OK;
    const int64_t bytes = fits_data_bytes(&h);
    SYZ_REQUIRE(bytes >= 0 && bytes < INT64_MAX / 2, SYZ_ERR_DATA,
                "%s: a header whose sizes contradict each other (at byte %zu)", path, g->hdu_at);
    const size_t header = ((size_t)(h.n_cards + 1) * SYZ_FITS_CARD + FITS_BLOCK - 1) / FITS_BLOCK * FITS_BLOCK;
    const size_t end = g->hdu_at + header + ((size_t)bytes + FITS_BLOCK - 1) / FITS_BLOCK * FITS_BLOCK;
    if (end > g->used) {
      *need = end;
      return SYZ_OK;
    }
    g->hdu_at = end;
  }
cleanup:
  return st;
}

syz_status fits_grow_more(fits_grow *g, const char *path)
{
  syz_status st = SYZ_OK;
  size_t need;
  unsigned char *bigger = NULL;
  SYZ_TRY(find_need(g, path, &need));
  size_t room = need ? g->room + g->room / 4
                     : g->room * 2; /* grow by a share, so that a file of many small HDUs is not copied for each */
  if (room < need + FITS_BLOCK) room = need + FITS_BLOCK;
  if (room > g->limit) room = g->limit;
  SYZ_REQUIRE(room > g->room && need <= g->limit, SYZ_ERR_DATA,
              "%s: unpacks to more than %zu bytes, the limit for a packed file of its size and for the memory of this "
              "node; if it is sound, unpack it first (gunzip, bunzip2): plain files are read in parts",
              path, g->limit);
  SYZ_ALLOC(bigger, "unpacked FITS file", room);
  memcpy(bigger, g->data, g->used);
  syz_free(&g->data);
  g->data = bigger;
  g->room = room;
cleanup:
  return st;
}
