/* SPDX-License-Identifier: BSD-3-Clause */
/** Which rows of a data set are of the split that is asked for. */
#pragma once

#include "shardset.h"

/** The table of all rows of a file. Their raw numbers begin with `raw`. */
typedef struct set_table {
  const syz_object *object; /* [n] */
  int64_t n, raw;
} set_table;

/** Fills s->kept, the same on every rank. `table`: [tables] of the files that this rank has scanned. s->part is known.
 * Collective; agreed. */
syz_status set_split_rows(syz_shardset *s, syz_split split, int tables, const set_table *table);
