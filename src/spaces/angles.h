/* SPDX-License-Identifier: BSD-3-Clause */
/** Inside of room spaces: whether two pairs of spaces of the same objects are the same. */
#pragma once

#include "spaces.h"

typedef struct angles {
  int64_t objects; /* that both tables have */
  int64_t pairs[2];
  double *cosine[2]; /* [pairs] of each side, descending in the half that they are fitted on; of the other half */
} angles;

/** SYZ_ERR_DATA when the two tables have no object in common. Collective; agreed. */
syz_status angles_check(const syz_spaces *s);
/**
 * Principal angles between the columns of the embeddings now and the first `shared` canonical variates of those before,
 * for each side: the directions are found in half 0, their cosines are those in half 1. No pairs, and a warning, where
 * there are too few objects. Collective; agreed.
 */
syz_status angles_find(const syz_spaces *s, const syz_cca_held *before, int64_t shared, angles *out);
void angles_free(angles *a);
