/* SPDX-License-Identifier: BSD-3-Clause */
/** What joins and splits share: see places.h. */
#include "places.h"

#include <stdlib.h>

void labels_copy_places(int64_t n, const double *ra, const double *dec, double *ra_out, double *dec_out)
{
  for (int64_t i = 0; i < n; i++) {
    const bool has = labels_has_place(ra[i], dec[i]);
    ra_out[i] = has ? ra[i] : (double)NAN;
    dec_out[i] = has ? dec[i] : (double)NAN;
  }
}

syz_status labels_same_on_all(syz_comm *c, const char *what, uint64_t sum)
{
  syz_status st = SYZ_OK;
  uint64_t least = sum, most = sum;
  syz_allreduce_u64(c, &least, 1, SYZ_MIN);
  syz_allreduce_u64(c, &most, 1, SYZ_MAX);
  SYZ_REQUIRE(least == most, SYZ_ERR_INTERNAL, "%s: the arrays are not the same on all ranks", what);
cleanup:
  return st;
}

syz_status labels_gather_shares(syz_comm *c, int64_t n, size_t bytes, void *all)
{
  syz_status st = SYZ_OK;
  const int size = syz_comm_size(c);
  int64_t *rows = syz_alloc("shares", (size_t)size, sizeof *rows), first;
  SYZ_TRY_ALL(c, rows ? SYZ_OK : SYZ_ERR_MEMORY);
  for (int r = 0; r < size; r++) syz_share(n, size, r, &first, &rows[r]);
  syz_rows_gather(c, all, rows, bytes);
cleanup:
  syz_free(&rows);
  return st;
}

static int by_id(const void *x, const void *y)
{
  const labels_id *a = x, *b = y;
  if (a->id != b->id) return a->id < b->id ? -1 : 1;
  return (a->at > b->at) - (a->at < b->at);
}

void labels_sort_ids(labels_id *id, int64_t n) { qsort(id, (size_t)n, sizeof *id, by_id); }
