/* SPDX-License-Identifier: BSD-3-Clause */
/** Which rows of a data set belong to the requested split. */
#pragma once

#include "shardset.h"

/** The table of all rows of a file. Their raw numbers begin at `raw`. */
typedef struct set_table {
  const syz_object *object; /* [n] */
  int64_t n, raw;
} set_table;

/** Fill s->kept, the same on every rank. `table`: [tables], of the files that this rank has scanned. s->part is filled
 * before. Collective; agreed. */
syz_status set_split_rows(syz_shardset *s, syz_split split, int tables, const set_table *table);
