/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A person's ratings, 0 (dull) to 5 (worth a look), as astronomaly uses them (Lochner & Bassett 2021,
 * arXiv:2010.11202):
 *
 *   score x tanh(exp(d / mean d) - 1 + artanh(0.1 + 0.85 u / 5)),
 *
 * d the distance to the nearest rated object and u the rating that is predicted: far from all that is rated the score
 * stands, near it the rating counts. u is the mean rating of the nearest rated objects, weighted by 1/distance, where
 * astronomaly has a random forest. Rated objects have d = 0 and their own rating.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "id_rows.h"
#include "outliers.h"

enum { RATED_NEIGHBOURS = 5, EXAMPLES = 8 };

/* ------------------------------------------------------------ the table */

static syz_status check(const job *p, int64_t n, const double *value, const int64_t *id)
{
  syz_status st = SYZ_OK;
  for (int64_t i = 0; i < n; i++)
    SYZ_REQUIRE(isnan(value[i]) || (value[i] >= 0 && value[i] <= 5), SYZ_ERR_DATA,
                "%s: row %lld rates object %lld by %g; wanted 0 to 5, or nothing", p->options->outliers.ratings,
                (long long)i + 1, (long long)id[i], value[i]);
cleanup:
  return st;
}

/* Rows with a rating. */
static syz_status read_rows(job *p, syz_label_table *table)
{
  syz_status st = SYZ_OK;
  syz_comm *c = p->run->world;
  ratings *r = &p->outliers->said;
  const int64_t rows = syz_label_table_rows(table);
  int of_id, of_rating;
  r->id = syz_alloc("identifiers", (size_t)rows + 1, sizeof *r->id);
  r->value = syz_alloc("ratings", (size_t)rows + 1, sizeof *r->value);
  SYZ_TRY_ALL(c, r->id && r->value ? SYZ_OK : SYZ_ERR_MEMORY);
  SYZ_TRY_ALL(c, syz_label_table_find(table, "object_id", &of_id));
  SYZ_TRY_ALL(c, syz_label_table_find(table, "rating", &of_rating));
  SYZ_TRY(syz_label_table_ids(table, of_id, r->id));
  SYZ_TRY(syz_label_table_numbers(table, of_rating, 0, r->value));
  SYZ_TRY_ALL(c, check(p, rows, r->value, r->id));
  for (int64_t i = 0; i < rows; i++) {
    if (isnan(r->value[i])) continue;
    r->id[r->n] = r->id[i];
    r->value[r->n++] = r->value[i];
  }
  SYZ_REQUIRE(r->n > 0, SYZ_ERR_DATA, "%s: none of the %lld rows has a rating", p->options->outliers.ratings,
              (long long)rows);
cleanup:
  return st;
}

/* The last of the rows of an object, -1: it has none. */
static int64_t last_of(const id_row *list, int64_t n, int64_t id)
{
  int64_t end = id_rows_find(list, n, id);
  if (end == n || list[end].id != id) return -1;
  while (end < n && list[end].id == id) end++;
  return end - 1;
}

static bool is_scored(const outliers *o, int64_t row)
{
  bool is = false;
  for (int k = 0; k < o->n; k++) is = is || o->of[k].is_usable[row];
  return is;
}

/* Ratings for objects that are not here get a warning, and are passed over. */
static syz_status warn_of_unknown(job *p, const id_row *list, const uint8_t *is_known)
{
  syz_status st = SYZ_OK;
  ratings *r = &p->outliers->said;
  char text[32 * EXAMPLES] = "";
  size_t at = 0;
  int64_t unknown = 0;
  for (int64_t k = 0; k < r->n; k++) {
    if (is_known[k]) continue;
    if (unknown++ < EXAMPLES) at += (size_t)snprintf(text + at, sizeof text - at, " %lld", (long long)list[k].id);
  }
  r->known = r->n - unknown;
  const char *more = unknown > EXAMPLES ? " .." : "";
  SYZ_REQUIRE(r->known > 0, SYZ_ERR_DATA,
              "%s: none of the %lld rated objects is among the objects that are scored:%s%s",
              p->options->outliers.ratings, (long long)r->n, text, more);
  if (unknown)
    syz_warn("probe.ratings: %lld of %lld ratings are for objects that are not scored here:%s%s", (long long)unknown,
             (long long)r->n, text, more);
cleanup:
  return st;
}

/* Of several ratings of an object the last one counts; copies of an object share it. */
static syz_status join(job *p)
{
  syz_status st = SYZ_OK;
  const sample *s = &p->sample;
  outliers *o = p->outliers;
  id_row *list = NULL;
  uint8_t *is_known = NULL;
  SYZ_ALLOC(o->rating, "ratings", s->rows);
  SYZ_ALLOC(list, "ratings", o->said.n);
  SYZ_ALLOC(is_known, "ratings", o->said.n);
  for (int64_t k = 0; k < o->said.n; k++) list[k] = (id_row){o->said.id[k], k};
  id_rows_sort(list, o->said.n);
  for (int64_t i = 0; i < s->rows; i++) {
    const int64_t last = is_scored(o, i) && s->id[i] > 0 ? last_of(list, o->said.n, s->id[i]) : -1;
    o->rating[i] = last >= 0 ? o->said.value[list[last].row] : (double)NAN;
    o->n_rated += last >= 0;
    for (int64_t k = last; k >= 0 && list[k].id == s->id[i]; k--) is_known[k] = 1;
  }
  SYZ_TRY(warn_of_unknown(p, list, is_known));
cleanup:
  syz_free(&list);
  syz_free(&is_known);
  return st;
}

syz_status ratings_read(job *p)
{
  syz_status st = SYZ_OK;
  syz_label_table *table = NULL;
  SYZ_TRY(syz_label_table_open(p->run->world, p->options->outliers.ratings, "", true, &table));
  st = read_rows(p, table);
  if (st != SYZ_OK) st = syz_error_prefix(st, "probe.ratings");
  SYZ_TRY_ALL(p->run->world, st);
  SYZ_TRY_ALL(p->run->world, join(p));
cleanup:
  syz_label_table_close(&table);
  return st;
}

/* ------------------------------------------------------------ what they say of others */

/* Distance to the nearest one, and the predicted rating: objects that coincide with it count alone. */
static void predict(void *context, int64_t k, const syz_neighbour *best, double *out)
{
  const double *rating = context;
  double sum = 0, weights = 0;
  const bool is_coincident = best[0].score <= 0;
  for (int64_t i = 0; i < k && best[i].row >= 0; i++) {
    const double d = (double)best[i].score, w = is_coincident ? d <= 0 : 1 / d;
    sum += w * rating[best[i].row];
    weights += w;
  }
  out[0] = (double)best[0].score;
  out[1] = sum / weights;
}

double ratings_apply(double score, double rating, double nearest, double mean_nearest)
{
  const double far = mean_nearest > 0 ? nearest / mean_nearest : 0;
  return score * tanh(exp(far) - 1 + atanh(0.1 + 0.85 * rating / 5));
}

/* Rated objects speak for themselves; rank-local. Without any rated object that the source knows the scores stand. */
static void finish(const job *p, strangeness *t, int64_t rated, const double *said)
{
  const double *own = p->outliers->rating;
  double sum = 0;
  for (int64_t i = 0; i < p->sample.rows; i++) {
    t->nearest[i] = !t->is_usable[i] || !rated ? (double)NAN : !isnan(own[i]) ? 0 : said[2 * i];
    t->rating[i] = !t->is_usable[i] || !rated ? (double)NAN : !isnan(own[i]) ? own[i] : said[2 * i + 1];
    if (t->is_usable[i]) sum += t->nearest[i];
  }
  t->mean_nearest = sum / (double)t->n;
  for (int64_t i = 0; i < p->sample.rows; i++)
    t->rated_score[i] = rated ? ratings_apply(t->score[i], t->rating[i], t->nearest[i], t->mean_nearest) : t->score[i];
}

syz_status ratings_weigh(job *p, strangeness *t)
{
  syz_status st = SYZ_OK;
  const int64_t rows = p->sample.rows;
  int64_t rated = 0, others = 0;
  uint8_t *is_rated = syz_alloc("flags", (size_t)rows, 1), *is_other = syz_alloc("flags", (size_t)rows, 1);
  double *said = syz_alloc("ratings", (size_t)(2 * rows), sizeof *said);
  SYZ_TRY_ALL(p->run->world, is_rated && is_other && said ? SYZ_OK : SYZ_ERR_MEMORY);
  for (int64_t i = 0; i < rows; i++) {
    is_rated[i] = t->is_usable[i] && !isnan(p->outliers->rating[i]);
    is_other[i] = t->is_usable[i] && !is_rated[i];
    rated += is_rated[i];
    others += is_other[i];
  }
  const neighbours ask = {t->source, t->mean,  t->deviation,
                          is_other,  is_rated, rated < RATED_NEIGHBOURS ? rated : RATED_NEIGHBOURS,
                          2,         predict,  p->outliers->rating};
  if (rated && others) SYZ_TRY(neighbours_ask(p, &ask, said));
  finish(p, t, rated, said);
cleanup:
  syz_free(&is_rated);
  syz_free(&is_other);
  syz_free(&said);
  return st;
}

/* ------------------------------------------------------------ the next ones */

typedef struct choice {
  double *nearest[SYZ_PROBE_SOURCES]; /* [rows] distance to the nearest object that is rated or chosen */
  double *d;                          /* [rows] */
  float *x;                           /* [width] of the chosen one */
  uint8_t *is_taken;                  /* [rows] */
} choice;

static void choice_free(choice *w)
{
  for (int k = 0; k < SYZ_PROBE_SOURCES; k++) syz_free(&w->nearest[k]);
  syz_free(&w->d);
  syz_free(&w->x);
  syz_free(&w->is_taken);
}

static syz_status choice_make(const job *p, choice *w)
{
  syz_status st = SYZ_OK;
  const outliers *o = p->outliers;
  const int64_t rows = p->sample.rows;
  int64_t width = 0;
  for (int k = 0; k < o->n; k++) {
    const int64_t of_source = p->sample.source[o->of[k].source].width;
    if (of_source > width) width = of_source;
    SYZ_ALLOC(w->nearest[k], "distances", rows);
    if (o->rating) memcpy(w->nearest[k], o->of[k].nearest, (size_t)rows * sizeof(double));
  }
  SYZ_ALLOC(w->d, "distances", rows);
  SYZ_ALLOC(w->x, "features", width);
  SYZ_ALLOC(w->is_taken, "flags", rows);
  for (int64_t i = 0; i < rows; i++) w->is_taken[i] = o->rating && !isnan(o->rating[i]);
cleanup:
  return st;
}

/* Objects near the chosen one are then as near to a rated one. Each rank does its own objects. */
static void draw_near(job *p, const strangeness *t, int64_t chosen, choice *w)
{
  const sample *s = &p->sample;
  const sample_source *f = &s->source[t->source];
  double *nearest = w->nearest[t->source];
  if (!t->is_usable[chosen] || isnan(nearest[chosen])) return;
  memset(w->x, 0, (size_t)f->width * sizeof *w->x);
  memset(w->d, 0, (size_t)s->rows * sizeof *w->d);
  sample_gather(s, t->source, 1, &chosen, w->x);
  for (int64_t i = 0; i < s->n; i++) {
    double square = 0;
    for (int64_t e = 0; t->is_usable[s->first + i] && e < f->width; e++) {
      const double d = ((double)f->x[i * f->width + e] - (double)w->x[e]) / t->deviation[e];
      square += d * d;
    }
    w->d[s->first + i] = sqrt(square);
  }
  syz_allreduce_f64(s->comm, w->d, (size_t)s->rows, SYZ_SUM);
  for (int64_t i = 0; i < s->rows; i++)
    if (w->d[i] < nearest[i]) nearest[i] = w->d[i];
}

static double worth(const outliers *o, const choice *w, int64_t row)
{
  double sum = 0;
  int n = 0;
  for (int k = 0; k < o->n; k++) {
    const strangeness *t = &o->of[k];
    if (!t->is_usable[row]) continue;
    const bool is_weighed = o->rating && !isnan(w->nearest[k][row]);
    sum +=
        is_weighed ? ratings_apply(t->score[row], t->rating[row], w->nearest[k][row], t->mean_nearest) : t->score[row];
    n++;
  }
  return sum / n;
}

/* The strangest object that has no rating, again and again, each counting as rated from then on (with the rating that
 * is predicted), so that the list is not filled by copies of one. Without ratings: the strangest ones. */
syz_status ratings_choose_next(job *p)
{
  syz_status st = SYZ_OK;
  outliers *o = p->outliers;
  const sample *s = &p->sample;
  choice w = {0};
  SYZ_TRY_ALL(p->run->world, choice_make(p, &w));
  while (o->n_next < p->options->outliers.next) {
    int64_t best = -1;
    double most = 0;
    for (int64_t k = 0; k < o->listed; k++) {
      const int64_t i = o->order[k];
      if (w.is_taken[i]) continue;
      const double value = worth(o, &w, i);
      if (best >= 0 && value <= most) continue;
      best = i;
      most = value;
    }
    if (best < 0) break;
    o->next[o->n_next++] = best;
    w.is_taken[best] = 1;
    for (int64_t i = 0; s->id[best] > 0 && i < s->rows; i++)
      if (s->id[i] == s->id[best]) w.is_taken[i] = 1; /* copies of it */
    for (int k = 0; o->rating && k < o->n; k++) draw_near(p, &o->of[k], best, &w);
  }
cleanup:
  choice_free(&w);
  return st;
}
