/* SPDX-License-Identifier: BSD-3-Clause */
/* The task cca: canonical correlations of two columns, now and before, how many are shared, what they know. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "angles.h"
#include "series.h"
#include "syzygy/json.h"

enum { SHOWN = 10 };

typedef struct common { /* of one table */
  syz_cca *all;
  syz_cca_held *held; /* NULL: too few objects */
  series *series;
  int64_t by_permutation; /* leading correlations above the threshold */
} common;

static void release(common *c)
{
  syz_cca_destroy(&c->all);
  syz_cca_held_destroy(&c->held);
  series_destroy(&c->series);
}

static syz_status analyse(const syz_spaces *s, table *t, common *c)
{
  syz_status st = SYZ_OK;
  const syz_cca_options options = spaces_cca_options(s, s->options->permutations);
  syz_timing_begin(s->run->timing, "correlations");
  st = syz_cca_fit(s->comm, &t->rows[0], &t->rows[1], &options, &c->all);
  syz_timing_end(s->run->timing);
  SYZ_TRY(st);
  while (c->by_permutation < c->all->pairs && c->all->correlation[c->by_permutation] > c->all->threshold)
    c->by_permutation++;
  if (!spaces_can_hold_out(t, c->all)) goto cleanup;
  syz_timing_begin(s->run->timing, "held out");
  st = syz_cca_hold_out(s->comm, &t->rows[0], &t->rows[1], t->half, &options, &c->held);
  syz_timing_end(s->run->timing);
  SYZ_TRY(st);
  syz_timing_begin(s->run->timing, "series");
  st = series_make(s, t, c->held, &c->series);
  syz_timing_end(s->run->timing);
  SYZ_TRY(st);
cleanup:
  return st;
}

/* ------------------------------------------------------------------ telling */

static void print(const table *t, const common *c)
{
  const syz_cca *a = c->all;
  syz_info("%s: %lld canonical correlations of %s (rank %lld of %lld) and %s (rank %lld of %lld), %lld objects",
           t->title, (long long)a->pairs, t->column[0].name, (long long)a->rank[0], (long long)a->width[0],
           t->column[1].name, (long long)a->rank[1], (long long)a->width[1], (long long)a->rows);
  syz_info("  %5s %12s %12s", "pair", "correlation", "held out");
  for (int64_t k = 0; k < a->pairs && k < SHOWN; k++)
    syz_info("  %5lld %12.4f %12.4f", (long long)k + 1, a->correlation[k],
             c->held && k < c->held->pairs ? c->held->correlation[k] : NAN);
  if (c->held)
    syz_info("  %lld dimensions are shared: their held-out correlation is above 3 errors (%.4f each)",
             (long long)c->held->shared, c->held->error);
  if (a->permutations)
    syz_info("  %lld correlations are above %.4f, the 99 %% quantile of the largest one of %lld shufflings of partners",
             (long long)c->by_permutation, a->threshold, (long long)a->permutations);
  if (c->series) series_print(t, c->series);
}

static double mean_square(const double *x, int64_t n)
{
  double sum = 0;
  for (int64_t k = 0; k < n; k++) sum += x[k] * x[k];
  return sum / (double)n;
}

static void print_angles(const syz_spaces *s, const angles *a)
{
  for (int side = 0; side < 2; side++) {
    if (!a->pairs[side]) continue;
    const double c = a->cosine[side][0], l = a->cosine[side][a->pairs[side] - 1];
    syz_info("aligned %s against the %lld canonical variates before (%lld objects): cosines %.4f .. %.4f, mean square "
             "%.4f",
             s->now->column[side].name, (long long)a->pairs[side], (long long)a->objects, c, l,
             mean_square(a->cosine[side], a->pairs[side]));
  }
}

static void add_space(cJSON *list, const table *t, const common *c)
{
  cJSON *o = cJSON_CreateObject(), *side, *p;
  const syz_cca *a = c->all;
  cJSON_AddStringToObject(o, "name", t->title);
  json_add_table(o, t);
  side = cJSON_AddArrayToObject(o, "ranks");
  for (int k = 0; k < 2; k++) cJSON_AddItemToArray(side, cJSON_CreateNumber((double)a->rank[k]));
  side = cJSON_AddArrayToObject(o, "widths");
  for (int k = 0; k < 2; k++) cJSON_AddItemToArray(side, cJSON_CreateNumber((double)a->width[k]));
  syz_json_add_numbers(o, "correlation", a->pairs, a->correlation);
  p = cJSON_AddObjectToObject(o, "permutation");
  syz_json_add_number(p, "threshold_99", a->threshold);
  syz_json_add_numbers(p, "largest", a->permutations, a->shuffled);
  if (a->permutations) cJSON_AddNumberToObject(p, "shared", (double)c->by_permutation);
  if (c->held) {
    p = cJSON_AddObjectToObject(o, "held_out");
    syz_json_add_numbers(p, "correlation", c->held->pairs, c->held->correlation);
    syz_json_add_number(p, "error", c->held->error);
    cJSON_AddNumberToObject(p, "shared", (double)c->held->shared);
  } else {
    cJSON_AddNullToObject(o, "held_out");
  }
  if (c->series) series_add_json(o, t, c->series);
  cJSON_AddItemToArray(list, o);
}

static void add_angles(cJSON *root, const syz_spaces *s, const angles *a)
{
  cJSON *list = cJSON_AddArrayToObject(root, "angles");
  for (int side = 0; side < 2 && s->before; side++) {
    cJSON *o = cJSON_CreateObject();
    cJSON_AddStringToObject(o, "aligned", s->now->column[side].name);
    cJSON_AddStringToObject(o, "with", "shared canonical variates of this source before, on held-out objects");
    cJSON_AddNumberToObject(o, "objects", (double)a->objects);
    syz_json_add_numbers(o, "cosine", a->pairs[side], a->cosine[side]);
    syz_json_add_number(o, "mean_square", a->pairs[side] ? mean_square(a->cosine[side], a->pairs[side]) : NAN);
    cJSON_AddItemToArray(list, o);
  }
}

static syz_status write_figures(const syz_spaces *s, const common c[2], const angles *a)
{
  cJSON *root = json_begin(s, s->now), *list = cJSON_AddArrayToObject(root, "spaces");
  cJSON_AddNumberToObject(root, "rank_tolerance", s->options->rank_tolerance);
  add_space(list, s->now, &c[0]);
  if (s->before) add_space(list, s->before, &c[1]);
  add_angles(root, s, a);
  return json_write(s, "cca.json", root);
}

/* The maps of one table, in a group of their own when it is the one before. */
static syz_status write_maps(const syz_spaces *s, syz_h5 *f, const char *group, const common *c)
{
  syz_status st = SYZ_OK;
  const syz_cca *a = c->all;
  char name[64];
  for (int k = 0; k < 2; k++) {
    snprintf(name, sizeof name, "%s%s/mean", group, k ? "second" : "first");
    SYZ_TRY(spaces_write_array(s, f, name, a->width[k], 0, a->mean[k], "1", "mean of the embeddings"));
    snprintf(name, sizeof name, "%s%s/weight", group, k ? "second" : "first");
    SYZ_TRY(
        spaces_write_array(s, f, name, a->pairs, a->width[k], a->weight[k], "1",
                           "canonical variates are weight (embedding - mean), of unit variance; axes (pair, column)"));
  }
  snprintf(name, sizeof name, "%scorrelation", group);
  SYZ_TRY(spaces_write_array(s, f, name, a->pairs, 0, a->correlation, "1",
                             "canonical correlations of the objects of the fit, descending"));
  snprintf(name, sizeof name, "%sheld_out", group);
  if (c->held)
    SYZ_TRY(spaces_write_array(s, f, name, c->held->pairs, 0, c->held->correlation, "1",
                               "correlations of each half of the objects with the other half's weights, mean of both"));
  snprintf(name, sizeof name, "%sshuffled", group);
  if (a->permutations)
    SYZ_TRY(spaces_write_array(s, f, name, a->permutations, 0, a->shuffled, "1",
                               "the largest correlation for each shuffling of partners"));
cleanup:
  return st;
}

static syz_status write_h5(const syz_spaces *s, const common c[2])
{
  syz_status st = SYZ_OK;
  syz_h5 *f = NULL;
  SYZ_TRY(spaces_create_h5(s, "cca.h5", "cca", &f));
  SYZ_TRY(write_maps(s, f, "", &c[0]));
  if (s->before) SYZ_TRY(write_maps(s, f, "before/", &c[1]));
  SYZ_TRY(syz_h5_publish(&f));
cleanup:
  syz_h5_close(&f);
  return st;
}

syz_status syz_spaces_write_cca(syz_spaces *s)
{
  syz_status st = SYZ_OK;
  common c[2] = {{.all = NULL}, {.all = NULL}};
  angles a = {0};
  if (s->before) SYZ_TRY(angles_check(s));
  SYZ_TRY(table_agree_read(s->now, analyse(s, s->now, &c[0])));
  if (s->before) SYZ_TRY(table_agree_read(s->before, analyse(s, s->before, &c[1])));
  if (c[1].held && c[1].held->shared) SYZ_TRY(angles_find(s, c[1].held, c[1].held->shared, &a));
  print(s->now, &c[0]);
  if (s->before) print(s->before, &c[1]);
  print_angles(s, &a);
  SYZ_TRY(write_h5(s, c));
  SYZ_TRY_ALL(s->comm, syz_comm_rank(s->comm) == 0 ? write_figures(s, c, &a) : SYZ_OK);
cleanup:
  angles_free(&a);
  for (int k = 0; k < 2; k++) release(&c[k]);
  return st;
}
