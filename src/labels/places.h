/* SPDX-License-Identifier: BSD-3-Clause */
/** Inside of room labels: positions, shares of arrays that all ranks have, and whether they are the same on all. */
#pragma once

#include <math.h>

#include "syzygy/labels.h"

/** Right ascensions from -180 to 180 are in use too. Zeros are what files without positions hold. */
static inline bool labels_has_place(double ra, double dec)
{
  return fabs(ra) <= 360 && fabs(dec) <= 90 && !(ra == 0 && dec == 0);
}

/** Copies of positions, NaN where they are none. */
void labels_copy_places(int64_t n, const double *ra, const double *dec, double *ra_out, double *dec_out);
/** Collective; agreed: SYZ_ERR_INTERNAL unless `sum`, of arguments, is the same on all ranks. */
syz_status labels_same_on_all(syz_comm *c, const char *what, uint64_t sum);
/** Collective; agreed: of an array of n that each rank has filled in its share (syz_share), the others' shares. */
syz_status labels_gather_shares(syz_comm *c, int64_t n, size_t bytes, void *all);

/** An identifier and where it stands. */
typedef struct labels_id {
  int64_t id, at;
} labels_id;
/** By identifier, then by place. */
void labels_sort_ids(labels_id *id, int64_t n);
