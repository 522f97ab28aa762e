/* SPDX-License-Identifier: BSD-3-Clause */
/** Identifiers in order: see id_rows.h. */
#include "id_rows.h"

#include <stdlib.h>

#include "syzygy/base.h"

static int compare(const void *a, const void *b)
{
  const id_row *x = a, *y = b;
  if (x->id != y->id) return x->id < y->id ? -1 : 1;
  return x->row < y->row ? -1 : x->row > y->row;
}

void id_rows_sort(id_row *list, int64_t n) { qsort(list, (size_t)n, sizeof *list, compare); }

static bool is_below(const void *row, const void *id) { return ((const id_row *)row)->id < *(const int64_t *)id; }

int64_t id_rows_find(const id_row *list, int64_t n, int64_t id)
{
  return syz_lower_bound(&id, list, n, sizeof *list, is_below);
}
