/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Which row of a table belongs to which object. Every rank has the table sorted, or as a tree of positions, and looks
 * up its share of the objects; O((rows + objects / ranks) log rows).
 */
#include <stdio.h>
#include <string.h>

#include "places.h"
#include "syzygy/sky.h"

enum { UNMATCHED = -1, AMBIGUOUS = -2, SHOWN = 3 };

typedef struct values {
  int n;
  const double *const *of;
} values;

static bool is_same(double x, double y) { return x == y || (isnan(x) && isnan(y)); }

static bool rows_agree(const values *v, int64_t a, int64_t b)
{
  for (int k = 0; k < v->n; k++)
    if (!is_same(v->of[k][a], v->of[k][b])) return false;
  return true;
}

static syz_status create(int64_t n, syz_join *out)
{
  syz_status st = SYZ_OK;
  *out = (syz_join){.n = n};
  SYZ_ALLOC(out->row, "joined rows", n + 1);
cleanup:
  return st;
}

void syz_join_free(syz_join *j)
{
  syz_free(&j->row);
  *j = (syz_join){0};
}

/* The answers of all ranks, counted. */
static syz_status settle(syz_comm *c, syz_join *j)
{
  syz_status st = SYZ_OK;
  SYZ_TRY(labels_gather_shares(c, j->n, sizeof *j->row, j->row));
  for (int64_t i = 0; i < j->n; i++) {
    j->matched += j->row[i] >= 0;
    j->ambiguous += j->row[i] == AMBIGUOUS;
    j->unmatched += j->row[i] == UNMATCHED;
    if (j->row[i] == UNMATCHED && j->examples < SYZ_JOIN_EXAMPLES) j->example[j->examples++] = i;
    if (j->row[i] < 0) j->row[i] = -1;
  }
cleanup:
  return st;
}

/* ----------------------------------------------------------- by identifier */

/* Sorted, each identifier once: at its row, or AMBIGUOUS. */
typedef struct id_table {
  labels_id *id;
  int64_t n, merged;
} id_table;

static syz_status make_ids(int64_t rows, const int64_t *row_id, const values *v, id_table *t)
{
  syz_status st = SYZ_OK;
  int64_t n = 0;
  SYZ_ALLOC(t->id, "identifiers of a table", rows + 1);
  for (int64_t i = 0; i < rows; i++)
    if (row_id[i] != SYZ_LABEL_NO_ID) t->id[n++] = (labels_id){row_id[i], i};
  labels_sort_ids(t->id, n);
  for (int64_t i = 0, end; i < n; i = end) {
    labels_id one = t->id[i];
    for (end = i + 1; end < n && t->id[end].id == one.id; end++)
      if (!rows_agree(v, t->id[i].at, t->id[end].at)) one.at = AMBIGUOUS;
    if (one.at >= 0) t->merged += end - i - 1;
    t->id[t->n++] = one;
  }
cleanup:
  return st;
}

static bool is_below(const void *row, const void *id) { return ((const labels_id *)row)->id < *(const int64_t *)id; }

static int64_t look_up(const id_table *t, int64_t id)
{
  if (id <= 0) return UNMATCHED; /* it stands for none */
  const int64_t at = syz_lower_bound(&id, t->id, t->n, sizeof *t->id, is_below);
  return at < t->n && t->id[at].id == id ? t->id[at].at : UNMATCHED;
}

static void list_ids(const int64_t *id, int64_t n, char text[96])
{
  size_t used = 0;
  text[0] = '\0';
  for (int64_t i = 0; i < n && i < SHOWN; i++)
    used += (size_t)snprintf(text + used, 96 - used, "%s%lld", i ? ", " : "", (long long)id[i]);
  if (n > SHOWN) snprintf(text + used, 96 - used, ", ...");
}

/* For the caller of a join that fails because no object is matched. */
static void say_none(const syz_join *j, syz_join *out)
{
  if (j->matched == 0) *out = (syz_join){.n = j->n, .ambiguous = j->ambiguous, .unmatched = j->unmatched};
}

/* The same on every rank. */
static syz_status require_ids(const syz_join *j, const int64_t *object_id, int64_t rows, const int64_t *row_id)
{
  syz_status st = SYZ_OK;
  char objects[96], table[96];
  list_ids(object_id, j->n, objects);
  list_ids(row_id, rows, table);
  SYZ_REQUIRE(
      j->matched > 0, SYZ_ERR_DATA,
      "none of %lld objects is joined to the table's %lld rows by identifier, %lld for rows that contradict each "
      "other; objects have %s; the table has %s (is it the right column of identifiers?)",
      (long long)j->n, (long long)rows, (long long)j->ambiguous, j->n ? objects : "none", rows ? table : "none");
cleanup:
  return st;
}

syz_status syz_join_ids(syz_comm *c, int64_t n, const int64_t *object_id, int64_t rows, const int64_t *row_id,
                        int n_values, const double *const *value, syz_join *out)
{
  syz_status st = SYZ_OK;
  id_table t = {0};
  const values v = {n_values, value};
  syz_join j = {0};
  int64_t first, some;
  *out = (syz_join){0};
  SYZ_TRY(labels_same_on_all(c, "join by identifier",
                             syz_checksum(object_id, (size_t)n * sizeof *object_id,
                                          syz_checksum(row_id, (size_t)rows * sizeof *row_id, (uint64_t)n))));
  SYZ_TRY_ALL(c, create(n, &j));
  SYZ_TRY_ALL(c, make_ids(rows, row_id, &v, &t));
  j.merged = t.merged;
  syz_share(n, syz_comm_size(c), syz_comm_rank(c), &first, &some);
  for (int64_t i = first; i < first + some; i++) j.row[i] = look_up(&t, object_id[i]);
  SYZ_TRY(settle(c, &j));
  say_none(&j, out);
  SYZ_TRY(require_ids(&j, object_id, rows, row_id));
  *out = j;
  j = (syz_join){0};
cleanup:
  syz_join_free(&j);
  syz_free(&t.id);
  return st;
}

/* ------------------------------------------------------------- by position */

typedef struct place_table {
  const double *ra, *dec;
  values v;
  syz_skytree *tree;
  int64_t best;
  bool is_ambiguous;
} place_table;

static syz_status make_tree(int64_t rows, const double *ra, const double *dec, syz_skytree **tree)
{
  syz_status st = SYZ_OK;
  double *copy = NULL;
  SYZ_ALLOC(copy, "positions of a table", 2 * rows + 1);
  labels_copy_places(rows, ra, dec, copy, copy + rows);
  SYZ_TRY(syz_skytree_create(rows, copy, copy + rows, tree));
cleanup:
  syz_free(&copy);
  return st;
}

static bool compare_row(void *context, int64_t row)
{
  place_table *t = context;
  const int64_t best = t->best;
  t->is_ambiguous =
      row != best && !(t->ra[row] == t->ra[best] && t->dec[row] == t->dec[best] && rows_agree(&t->v, row, best));
  return !t->is_ambiguous;
}

static int64_t row_near(place_table *t, double ra, double dec, double radius_deg)
{
  if (!labels_has_place(ra, dec)) return UNMATCHED;
  t->best = syz_skytree_nearest(t->tree, ra, dec, radius_deg, NULL);
  t->is_ambiguous = false;
  if (t->best < 0) return UNMATCHED;
  syz_skytree_within(t->tree, ra, dec, radius_deg, compare_row, t);
  return t->is_ambiguous ? AMBIGUOUS : t->best;
}

/* Collective: how near the nearest pair is, 1000 degrees when there are no positions on one side. */
static double nearest_deg(syz_comm *c, const place_table *t, int64_t first, int64_t some, const double *ra,
                          const double *dec)
{
  double least = 1000, separation = 0;
  for (int64_t i = first; i < first + some; i++)
    if (labels_has_place(ra[i], dec[i]) && syz_skytree_nearest(t->tree, ra[i], dec[i], 180, &separation) >= 0 &&
        separation < least)
      least = separation;
  syz_allreduce_f64(c, &least, 1, SYZ_MIN);
  return least;
}

syz_status syz_join_places(syz_comm *c, int64_t n, const double *ra, const double *dec, int64_t rows,
                           const double *row_ra, const double *row_dec, double radius_arcsec, int n_values,
                           const double *const *value, syz_join *out)
{
  syz_status st = SYZ_OK;
  place_table t = {.ra = row_ra, .dec = row_dec, .v = {n_values, value}};
  syz_join j = {0};
  int64_t first, some;
  *out = (syz_join){0};
  SYZ_REQUIRE(radius_arcsec > 0 && radius_arcsec <= 3600, SYZ_ERR_INPUT,
              "a join by position within %g arcsec: more than 0 and at most 3600 is wanted", radius_arcsec);
  SYZ_TRY(labels_same_on_all(
      c, "join by position",
      syz_checksum(ra, (size_t)n * sizeof *ra, syz_checksum(row_ra, (size_t)rows * sizeof *row_ra, (uint64_t)n))));
  SYZ_TRY_ALL(c, create(n, &j));
  SYZ_TRY_ALL(c, make_tree(rows, row_ra, row_dec, &t.tree));
  syz_share(n, syz_comm_size(c), syz_comm_rank(c), &first, &some);
  for (int64_t i = first; i < first + some; i++) j.row[i] = row_near(&t, ra[i], dec[i], radius_arcsec / 3600);
  SYZ_TRY(settle(c, &j));
  say_none(&j, out);
  if (j.matched == 0) {
    const double least = nearest_deg(c, &t, first, some, ra, dec);
    st =
        syz_error_set(SYZ_ERR_DATA, __FILE__, __LINE__,
                      "none of %lld objects is joined to the table's %lld rows within %g arcsec, %lld for several rows "
                      "there; %s %.3g arcsec",
                      (long long)n, (long long)rows, radius_arcsec, (long long)j.ambiguous,
                      least < 1000 ? "the nearest two are apart by" : "one side has no positions at all, not within",
                      least < 1000 ? least * 3600 : radius_arcsec);
    goto cleanup;
  }
  *out = j;
  j = (syz_join){0};
cleanup:
  syz_join_free(&j);
  syz_skytree_destroy(&t.tree);
  return st;
}

/* ------------------------------------------------------------------ results */

void syz_join_take(const syz_join *j, const double *value, double *out)
{
  for (int64_t i = 0; i < j->n; i++) out[i] = j->row[i] >= 0 ? value[j->row[i]] : (double)NAN;
}

void syz_join_describe(const syz_join *j, const int64_t *object_id, char text[512])
{
  size_t used =
      (size_t)snprintf(text, 512, "%lld of %lld objects are matched, %lld ambiguous, %lld unmatched",
                       (long long)j->matched, (long long)j->n, (long long)j->ambiguous, (long long)j->unmatched);
  for (int k = 0; object_id && k < j->examples; k++)
    used += (size_t)snprintf(text + used, 512 - used, "%s%lld", k ? ", " : " (", (long long)object_id[j->example[k]]);
  if (object_id && j->examples) snprintf(text + used, 512 - used, "%s)", j->unmatched > j->examples ? ", ..." : "");
}
