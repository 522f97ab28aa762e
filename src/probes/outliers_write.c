/* SPDX-License-Identifier: BSD-3-Clause */
/* What is left of strange objects: the catalogue outliers.h5, strangest first; its first rows as outliers.csv; and
 * ratings_next.csv, to be filled in and given back as probe.ratings. */
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "predictions.h"
#include "outliers.h"
#include "syzygy/files.h"
#include "write.h"
#include "syzygy/json.h"

/* The numbers of a source in the catalogue, in the order of their columns. */
typedef struct column {
  const char *name, *description;
  size_t of; /* in strangeness */
  bool is_of_ratings;
} column;
#define OF(member) offsetof(strangeness, member)
static const column columns[] = {
    {"neg_log_density", "-ln of the density of the standardised principal components", OF(surprise), false},
    {"neg_log_density_rank", "1: the least dense", OF(surprise_rank), false},
    {"neighbour_distance", "mean distance to the nearest other objects, standardised features", OF(distance), false},
    {"neighbour_distance_rank", "1: the farthest", OF(distance_rank), false},
    {"combined_rank", "rank of the sum of both ranks, 1: the strangest", OF(combined_rank), false},
    {"score", "5 (strangest) to 0, linear in combined_rank", OF(score), false},
    {"predicted_rating", "mean rating of the nearest rated objects, or the object's own", OF(rating), true},
    {"rated_distance", "distance to the nearest rated object, standardised features", OF(nearest), true},
    {"rated_score", "score with the ratings", OF(rated_score), true},
};
enum { COLUMNS = sizeof columns / sizeof *columns };

static const double *column_of(const strangeness *t, const column *c)
{
  return *(double *const *)(const void *)((const char *)t + c->of);
}

/* ------------------------------------------------------------ outliers.h5 */

static syz_status put(const job *p, syz_h5 *f, const char *name, syz_h5_type type, const void *data, const char *unit,
                      const char *description)
{
  const int64_t all = p->outliers->listed, n = syz_comm_rank(p->run->world) == 0 ? all : 0;
  return syz_h5_write(f, name, type, all, 0, NULL, 0, n, data, unit, description);
}

/* Numbers of all objects in the order of the ranking. */
static syz_status put_ranked(const job *p, syz_h5 *f, const char *name, const double *value, const char *unit,
                             const char *description, double *scratch)
{
  for (int64_t k = 0; k < p->outliers->listed; k++) scratch[k] = value[p->outliers->order[k]];
  return put(p, f, name, SYZ_H5_F64, scratch, unit, description);
}

static syz_status put_source(const job *p, syz_h5 *f, const strangeness *t, double *scratch)
{
  syz_status st = SYZ_OK;
  char name[256], source[SYZ_DATASET_NAME];
  syz_dataset_name(p->sample.source[t->source].name, source);
  for (int k = 0; k < COLUMNS; k++) {
    if (columns[k].is_of_ratings && !p->outliers->rating) continue;
    snprintf(name, sizeof name, "%s/%s", source, columns[k].name);
    SYZ_TRY(put_ranked(p, f, name, column_of(t, &columns[k]), "", columns[k].description, scratch));
  }
cleanup:
  return st;
}

static syz_status write_catalogue(const job *p)
{
  syz_status st = SYZ_OK;
  const sample *s = &p->sample;
  const outliers *o = p->outliers;
  char path[PATH_MAX];
  syz_h5 *f = NULL;
  double *scratch = syz_alloc("objects", (size_t)o->listed, sizeof *scratch);
  int64_t *id = syz_alloc("identifiers", (size_t)o->listed, sizeof *id);
  SYZ_TRY_ALL(s->comm, scratch && id ? SYZ_OK : SYZ_ERR_MEMORY);
  for (int64_t k = 0; k < o->listed; k++) id[k] = s->id[o->order[k]];
  SYZ_REQUIRE(snprintf(path, sizeof path, "%s/outliers.h5", p->run->folder) < (int)sizeof path, SYZ_ERR_WRITE,
              "output.dir: name too long");
  SYZ_TRY(syz_h5_create(s->comm, path, "outliers", p->run->created_by, p->run->input_yaml, &f));
  SYZ_TRY(put(p, f, "object_id", SYZ_H5_I64, id, "", "identifier of the object, the strangest first"));
  SYZ_TRY(put_ranked(p, f, "ra", s->ra, "deg", "right ascension, ICRS; NaN when unknown", scratch));
  SYZ_TRY(put_ranked(p, f, "dec", s->dec, "deg", "declination, ICRS; NaN when unknown", scratch));
  SYZ_TRY(put_ranked(p, f, "score", o->score, "", "mean over the sources, after the ratings", scratch));
  if (o->rating) SYZ_TRY(put_ranked(p, f, "rating", o->rating, "", "as given, 0 to 5; NaN without one", scratch));
  for (int k = 0; k < o->n; k++) SYZ_TRY(put_source(p, f, &o->of[k], scratch));
  SYZ_TRY(syz_h5_publish(&f));
cleanup:
  syz_h5_close(&f);
  syz_free(&scratch);
  syz_free(&id);
  return st;
}

/* ------------------------------------------------------------ lists */

/* A text that grows. */
typedef struct lines {
  char *text;
  size_t n, room;
} lines;

static syz_status add(lines *l, const char *text)
{
  syz_status st = SYZ_OK;
  const size_t n = strlen(text);
  SYZ_TRY(syz_grow(&l->text, "list", l->n, n + 1, &l->room));
  memcpy(l->text + l->n, text, n + 1);
  l->n += n;
cleanup:
  return st;
}

/* A cell of CSV; empty for NaN. */
static syz_status add_number(lines *l, int digits, double value)
{
  char text[64] = ",";
  if (!isnan(value)) snprintf(text, sizeof text, ",%.*g", digits, value);
  return add(l, text);
}

static syz_status add_place(lines *l, const sample *s, int64_t row)
{
  syz_status st = SYZ_OK;
  char text[32];
  snprintf(text, sizeof text, "%lld", (long long)s->id[row]);
  SYZ_TRY(add(l, text));
  SYZ_TRY(add_number(l, 12, s->ra[row]));
  SYZ_TRY(add_number(l, 12, s->dec[row]));
cleanup:
  return st;
}

static bool is_listed(const outliers *o, const column *c) { return !c->is_of_ratings || o->rating; }

/* Names of sources are file names, which may hold what separates cells. */
static syz_status add_head(lines *l, const job *p)
{
  syz_status st = SYZ_OK;
  const outliers *o = p->outliers;
  char name[256], source[SYZ_DATASET_NAME];
  SYZ_TRY(add(l, o->rating ? "object_id,ra,dec,score,rating" : "object_id,ra,dec,score"));
  for (int k = 0; k < o->n; k++) {
    syz_dataset_name(p->sample.source[o->of[k].source].name, source);
    for (char *c = source; *c; c++)
      if (strchr(",\" \n\r", *c)) *c = '_';
    for (int j = 0; j < COLUMNS; j++) {
      snprintf(name, sizeof name, ",%s_%s", source, columns[j].name);
      if (is_listed(o, &columns[j])) SYZ_TRY(add(l, name));
    }
  }
  SYZ_TRY(add(l, "\n"));
cleanup:
  return st;
}

static syz_status add_object(lines *l, const job *p, int64_t row)
{
  syz_status st = SYZ_OK;
  const outliers *o = p->outliers;
  SYZ_TRY(add_place(l, &p->sample, row));
  SYZ_TRY(add_number(l, 9, o->score[row]));
  if (o->rating) SYZ_TRY(add_number(l, 9, o->rating[row]));
  for (int k = 0; k < o->n; k++)
    for (int j = 0; j < COLUMNS; j++)
      if (is_listed(o, &columns[j])) SYZ_TRY(add_number(l, 9, column_of(&o->of[k], &columns[j])[row]));
  SYZ_TRY(add(l, "\n"));
cleanup:
  return st;
}

static syz_status write_lines(const job *p, const char *name, const lines *l)
{
  syz_status st = SYZ_OK;
  char path[PATH_MAX];
  SYZ_REQUIRE(snprintf(path, sizeof path, "%s/%s", p->run->folder, name) < (int)sizeof path, SYZ_ERR_WRITE,
              "output.dir: name too long");
  SYZ_TRY(syz_file_write(path, l->text, l->n));
cleanup:
  return st;
}

static syz_status write_first(const job *p)
{
  syz_status st = SYZ_OK;
  const outliers *o = p->outliers;
  lines l = {0};
  SYZ_TRY(add_head(&l, p));
  for (int64_t k = 0; k < o->listed && k < p->options->outliers.rows; k++) SYZ_TRY(add_object(&l, p, o->order[k]));
  SYZ_TRY(write_lines(p, "outliers.csv", &l));
cleanup:
  syz_free(&l.text);
  return st;
}

/* The objects to be rated, best first, and below them the ratings that there are. */
static syz_status write_next(const job *p)
{
  syz_status st = SYZ_OK;
  const outliers *o = p->outliers;
  char text[96];
  lines l = {0};
  SYZ_TRY(add(&l, "object_id,ra,dec,score,rating\n"));
  for (int64_t k = 0; k < o->n_next; k++) {
    SYZ_TRY(add_place(&l, &p->sample, o->next[k]));
    SYZ_TRY(add_number(&l, 9, o->score[o->next[k]]));
    SYZ_TRY(add(&l, ",\n"));
  }
  for (int64_t k = 0; k < o->said.n; k++) {
    snprintf(text, sizeof text, "%lld,,,,%.9g\n", (long long)o->said.id[k], o->said.value[k]);
    SYZ_TRY(add(&l, text));
  }
  SYZ_TRY(write_lines(p, "ratings_next.csv", &l));
cleanup:
  syz_free(&l.text);
  return st;
}

static syz_status write_lists(const job *p)
{
  syz_status st = SYZ_OK;
  SYZ_TRY(write_first(p));
  SYZ_TRY(write_next(p));
cleanup:
  return st;
}

syz_status outliers_write(job *p)
{
  syz_status st = SYZ_OK;
  SYZ_TRY(write_catalogue(p));
  SYZ_TRY_ALL(p->run->world, syz_comm_rank(p->run->world) == 0 ? write_lists(p) : SYZ_OK);
  syz_info("%s/ratings_next.csv: %lld objects to rate next; fill in the empty ratings and give the file as "
           "probe.ratings",
           p->run->folder, (long long)p->outliers->n_next);
cleanup:
  return st;
}

/* ------------------------------------------------------------ probe.json */

static cJSON *source_json(const job *p, const strangeness *t)
{
  cJSON *o = cJSON_CreateObject();
  cJSON_AddStringToObject(o, "source", p->sample.source[t->source].name);
  cJSON_AddNumberToObject(o, "n", (double)t->n);
  cJSON_AddNumberToObject(o, "train", (double)t->train);
  cJSON_AddNumberToObject(o, "validation", (double)t->validation);
  cJSON_AddNumberToObject(o, "components", (double)t->components);
  syz_json_add_number(o, "explained_variance", t->explained);
  cJSON_AddNumberToObject(o, "neighbours", (double)t->neighbours);
  syz_json_add_number(o, "rank_correlation", t->agreement);
  if (p->outliers->rating) syz_json_add_number(o, "mean_rated_distance", t->mean_nearest);
  return o;
}

cJSON *outliers_json(const job *p)
{
  const outliers *x = p->outliers;
  cJSON *o = cJSON_CreateObject(), *list, *r;
  cJSON_AddNumberToObject(o, "n", (double)x->listed);
  cJSON_AddNumberToObject(o, "members", p->options->members);
  list = cJSON_AddArrayToObject(o, "sources");
  for (int k = 0; k < x->n; k++) cJSON_AddItemToArray(list, source_json(p, &x->of[k]));
  if (!x->rating) return o;
  r = cJSON_AddObjectToObject(o, "ratings");
  cJSON_AddStringToObject(r, "file", p->options->outliers.ratings);
  cJSON_AddNumberToObject(r, "rows", (double)x->said.n);
  cJSON_AddNumberToObject(r, "unknown", (double)(x->said.n - x->said.known));
  cJSON_AddNumberToObject(r, "objects", (double)x->n_rated);
  return o;
}
