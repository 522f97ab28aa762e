/* SPDX-License-Identifier: BSD-3-Clause */
/** Used by every layout and every format of others: the name of a part's dataset, and the check of a dataset's shape,
 * type and number of rows. */
#include <stdio.h>
#include <string.h>

#include "set_layout.h"

static void shape_text(char text[160], int64_t rows, int n, const int64_t *shape)
{
  int at = rows < 0 ? snprintf(text, 160, "(N") : snprintf(text, 160, "(%lld", (long long)rows);
  for (int i = 0; i < n && at < 140; i++) at += snprintf(text + at, (size_t)(160 - at), ", %lld", (long long)shape[i]);
  snprintf(text + at, (size_t)(160 - at), ")");
}

syz_status set_expect(syz_h5 *f, const char *name, const char *kinds, int64_t *rows, const char *rows_of, int n_shape,
                      const int64_t *shape)
{
  syz_status st = SYZ_OK;
  int ndim, bits;
  int64_t found[8];
  char kind, found_text[160], want_text[160];
  SYZ_TRY(syz_h5_shape(f, name, &ndim, found));
  bool is_right = ndim == n_shape + 1;
  for (int i = 0; is_right && i < n_shape; i++) is_right = found[i + 1] == shape[i];
  if (!is_right) {
    shape_text(found_text, ndim ? found[0] : 0, ndim ? ndim - 1 : 0, found + 1);
    shape_text(want_text, -1, n_shape, shape);
    SYZ_REQUIRE(false, SYZ_ERR_DATA, "%s: dataset %s has shape %s, expected %s", syz_h5_path(f), name, found_text,
                want_text);
  }
  if (kinds) SYZ_TRY(syz_h5_class(f, name, &kind, &bits));
  SYZ_REQUIRE(!kinds || strchr(kinds, kind), SYZ_ERR_DATA, "%s: dataset %s holds %s of %d bits, expected %s",
              syz_h5_path(f), name,
              kind == 'f'   ? "floats"
              : kind == 's' ? "text"
              : kind == '?' ? "records"
                            : "whole numbers",
              bits, strchr(kinds, 'f') ? "numbers" : "whole numbers");
  if (*rows < 0) *rows = found[0];
  SYZ_REQUIRE(found[0] == *rows, SYZ_ERR_DATA, "%s: dataset %s has %lld rows, %s has %lld", syz_h5_path(f), name,
              (long long)found[0], rows_of, (long long)*rows);
cleanup:
  return st;
}

void set_dataset(char text[SET_NAME], const set_part *p, const char *dataset)
{
  snprintf(text, SET_NAME, "%s%s", p->group, dataset);
}
