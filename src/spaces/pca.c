/* SPDX-License-Identifier: BSD-3-Clause */
/* The task pca: principal components of each of the two columns, and those of every object. */
#include <stdio.h>
#include <string.h>

#include "spaces.h"
#include "syzygy/json.h"

enum { SHOWN = 10 };

static const char *side_name(int side) { return side ? "second" : "first"; }

/* Components of this rank's objects [kept, components]. Rank-local. */
static syz_status project(const table *t, int side, const syz_pca *p, float **out)
{
  syz_status st = SYZ_OK;
  enum { BLOCK = 256 };
  const syz_rows *rows = &t->rows[side];
  float *x = NULL;
  SYZ_ALLOC(x, "rows", BLOCK * rows->width);
  SYZ_ALLOC(*out, "components", t->kept * p->components + 1);
  for (int64_t at = 0; at < t->kept; at += BLOCK) {
    const int64_t n = t->kept - at < BLOCK ? t->kept - at : BLOCK;
    rows->read(rows->context, at, n, x);
    syz_pca_project(p, n, x, *out + at * p->components);
  }
cleanup:
  syz_free(&x);
  return st;
}

static syz_status write_side(const syz_spaces *s, syz_h5 *f, int side, const syz_pca *p)
{
  syz_status st = SYZ_OK;
  table *t = s->now;
  float *y = NULL;
  char name[64];
  const int64_t first = syz_exscan_i64(s->comm, t->kept);
  SYZ_TRY_ALL(s->comm, project(t, side, p, &y));
  SYZ_TRY(table_agree_read(t, SYZ_OK));
  snprintf(name, sizeof name, "%s/mean", side_name(side));
  SYZ_TRY(spaces_write_array(s, f, name, p->width, 0, p->mean, "1", "mean of the embeddings"));
  snprintf(name, sizeof name, "%s/variance", side_name(side));
  SYZ_TRY(spaces_write_array(s, f, name, p->components, 0, p->variance, "1", "variance of each principal component"));
  snprintf(name, sizeof name, "%s/direction", side_name(side));
  SYZ_TRY(spaces_write_array(s, f, name, p->components, p->width, p->direction, "1",
                             "principal directions, orthonormal, the component of largest size positive"));
  snprintf(name, sizeof name, "%s/component", side_name(side));
  SYZ_TRY(syz_h5_write(f, name, SYZ_H5_F32, t->total, 1, &p->components, first, t->kept, y, "1",
                       "principal components of each object, in the order of object_id"));
cleanup:
  syz_free(&y);
  return st;
}

static void print(const table *t, int side, const syz_pca *p)
{
  double sum = 0;
  for (int64_t k = 0; k < p->components; k++) sum += p->variance[k];
  syz_info("%s: %lld principal components of %s hold %.2f %% of the variance", t->title, (long long)p->components,
           t->column[side].name, 100 * sum / p->total_variance);
  for (int64_t k = 0; k < p->components && k < SHOWN; k++)
    syz_info("  component %lld: %.2f %%", (long long)k + 1, 100 * p->variance[k] / p->total_variance);
}

static syz_status write_figures(const syz_spaces *s, syz_pca *const p[2])
{
  cJSON *root = json_begin(s, s->now), *list;
  json_add_table(root, s->now);
  list = cJSON_AddArrayToObject(root, "columns");
  for (int k = 0; k < 2; k++) {
    cJSON *o = cJSON_CreateObject();
    cJSON_AddStringToObject(o, "source", s->now->column[k].name);
    syz_json_add_number(o, "total_variance", p[k]->total_variance);
    syz_json_add_numbers(o, "variance", p[k]->components, p[k]->variance);
    cJSON_AddItemToArray(list, o);
  }
  return json_write(s, "pca.json", root);
}

syz_status syz_spaces_write_pca(syz_spaces *s)
{
  syz_status st = SYZ_OK;
  table *t = s->now;
  const syz_pca_options options = {s->options->components, s->options->scalapack_from};
  syz_pca *p[2] = {NULL, NULL};
  syz_h5 *f = NULL;
  for (int k = 0; k < 2; k++) {
    SYZ_TRY(table_agree_read(t, syz_pca_fit(s->comm, &t->rows[k], &options, &p[k])));
    SYZ_REQUIRE(p[k]->components > 0, SYZ_ERR_NUMERIC, "all embeddings of %s are the same", t->column[k].name);
  }
  for (int k = 0; k < 2; k++) print(t, k, p[k]);
  SYZ_TRY(spaces_create_h5(s, "pca.h5", "pca", &f));
  SYZ_TRY(syz_h5_write(f, "object_id", SYZ_H5_I64, t->total, 0, NULL, syz_exscan_i64(s->comm, t->kept), t->kept, t->id,
                       "1", "the objects that have both"));
  for (int k = 0; k < 2; k++) SYZ_TRY(write_side(s, f, k, p[k]));
  SYZ_TRY(syz_h5_publish(&f));
  SYZ_TRY_ALL(s->comm, syz_comm_rank(s->comm) == 0 ? write_figures(s, p) : SYZ_OK);
cleanup:
  syz_h5_close(&f);
  for (int k = 0; k < 2; k++) syz_pca_destroy(&p[k]);
  return st;
}
