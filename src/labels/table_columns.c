/* SPDX-License-Identifier: BSD-3-Clause */
/** The columns of a table, as the two kinds of files list them. */
#include <stdio.h>
#include <string.h>

#include "table.h"

syz_status labels_add_column(syz_label_table *t, const char *name, const char *unit, char kind, int64_t items)
{
  syz_status st = SYZ_OK;
  syz_label_column c = {.kind = kind, .items = items};
  SYZ_REQUIRE(t->columns < LABELS_COLUMNS, SYZ_ERR_DATA, "%s: more than %d columns", t->path, (int)LABELS_COLUMNS);
  if (strlen(name) >= sizeof c.name) return SYZ_OK; /* nobody could name it */
  snprintf(c.name, sizeof c.name, "%s", name);
  snprintf(c.unit, sizeof c.unit, "%.71s", unit);
  SYZ_TRY(syz_grow(&t->column, "columns of a table", t->columns, 1, &t->room));
  t->column[t->columns++] = c;
cleanup:
  return st;
}
