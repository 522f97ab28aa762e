/* SPDX-License-Identifier: BSD-3-Clause */
/** Identifiers in order: which rows belong to an object. */
#pragma once

#include <stdint.h>

typedef struct id_row {
  int64_t id, row;
} id_row;

/** By identifier, then by row. */
void id_rows_sort(id_row *list, int64_t n);
/** Place of the first row of an object in the sorted list [n], or of the first identifier after it; n when all are
 * below. */
int64_t id_rows_find(const id_row *list, int64_t n, int64_t id);
