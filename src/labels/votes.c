/* SPDX-License-Identifier: BSD-3-Clause */
/** Votes of volunteers, a column for each answer to a question: whether all columns are there, and whether they hold
 * what votes and their shares can be. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "formula.h"
#include "table.h"

syz_status syz_label_table_find_all(const syz_label_table *t, syz_texts name, int *column)
{
  syz_status st = SYZ_OK;
  char missing[1500] = "";
  size_t used = 0;
  int n = 0;
  for (int i = 0; i < name.n; i++) {
    const char *nearest;
    column[i] = labels_find_name(labels_names(t), name.item[i], &nearest);
    if (column[i] >= 0) continue;
    if (used + 2 * sizeof t->column->name < sizeof missing)
      used += (size_t)snprintf(missing + used, sizeof missing - used, "%s%.200s (the nearest is %s)", n ? ", " : "",
                               name.item[i], nearest);
    n++;
  }
  SYZ_REQUIRE(n == 0, SYZ_ERR_DATA, "%s: %d of %d columns are missing: %s", t->path, n, name.n, missing);
cleanup:
  return st;
}

syz_status syz_votes_check(syz_texts name, int64_t n, const double *const *votes)
{
  syz_status st = SYZ_OK;
  const double most = 9007199254740992; /* 2^53 */
  for (int k = 0; k < name.n; k++)
    for (int64_t i = 0; i < n; i++) {
      const double v = votes[k][i];
      SYZ_REQUIRE(isnan(v) || (v >= 0 && v < most && v == floor(v)), SYZ_ERR_DATA,
                  "%s, row %lld: %g is no count of votes: whole numbers from 0 on are wanted", name.item[k],
                  (long long)i, v);
    }
cleanup:
  return st;
}

syz_status syz_shares_check(syz_texts name, int64_t n, const double *const *share, double tolerance)
{
  syz_status st = SYZ_OK;
  for (int64_t i = 0; i < n; i++) {
    double sum = 0;
    for (int k = 0; k < name.n; k++) {
      const double v = share[k][i];
      SYZ_REQUIRE(isnan(v) || (v >= 0 && v <= 1), SYZ_ERR_DATA, "%s, row %lld: %g is no share, which is from 0 to 1",
                  name.item[k], (long long)i, v);
      sum += v;
    }
    SYZ_REQUIRE(isnan(sum) || name.n == 0 || fabs(sum - 1) <= tolerance, SYZ_ERR_DATA,
                "%s and the %d others of its question, row %lld: the shares add up to %.6g instead of 1", name.item[0],
                name.n - 1, (long long)i, sum);
  }
cleanup:
  return st;
}
