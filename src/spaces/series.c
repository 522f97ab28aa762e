/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Does alignment act like canonical correlation? What the first r canonical variates know of each label, beside the
 * first r principal components, for r = 1, 2, 4, ...: fitted on one half of the objects, whose labels then predict
 * those of the other half by nearest neighbours. And how often r variates find an object's partner.
 */
#include "series.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "partners.h"

enum { BLOCK = 256 };

typedef struct work {
  const syz_spaces *s;
  table *t;
  const syz_cca_held *held;
  series *out;
  syz_pca *pca[2];
  int64_t ld;
  float *x[SERIES_SPACES];   /* [n, ld] coordinates of this rank's rows of the set; zeros where there are none */
  float *first;              /* [n, r] */
  uint8_t *mine, *role;      /* [n]; [rows] */
  float *value, *prediction; /* [labels, rows] */
  float *known[2];           /* [rows] */
  syz_knn_target *target;
  int64_t *row;
} work;

static void release(work *w)
{
  for (int k = 0; k < 2; k++) {
    syz_pca_destroy(&w->pca[k]);
    syz_free(&w->known[k]);
  }
  for (int k = 0; k < SERIES_SPACES; k++) syz_free(&w->x[k]);
  syz_free(&w->first);
  syz_free(&w->mine);
  syz_free(&w->role);
  syz_free(&w->value);
  syz_free(&w->prediction);
  syz_free(&w->target);
  syz_free(&w->row);
}

static syz_status allocate(work *w)
{
  syz_status st = SYZ_OK;
  const table *t = w->t;
  const int64_t rows = t->set->rows;
  const int asked = w->s->options->labels.n;
  for (int k = 0; k < SERIES_SPACES; k++) SYZ_ALLOC(w->x[k], "variates", t->n * w->ld + 1);
  SYZ_ALLOC(w->first, "variates", t->n * w->ld + 1);
  SYZ_ALLOC(w->mine, "roles", t->n + 1);
  SYZ_ALLOC(w->role, "roles", rows);
  SYZ_ALLOC(w->row, "rows of a half", t->kept + 1);
  SYZ_ALLOC(w->value, "labels", asked * rows + 1);
  SYZ_ALLOC(w->prediction, "predictions", asked * rows + 1);
  for (int k = 0; k < 2; k++) SYZ_ALLOC(w->known[k], "labels", rows);
  SYZ_ALLOC(w->target, "labels", asked + 1);
  SYZ_ALLOC(w->out->label, "labels", asked + 1);
  SYZ_ALLOC(w->out->train, "labels", asked + 1);
  SYZ_ALLOC(w->out->test, "labels", asked + 1);
  SYZ_ALLOC(w->out->r2, "labels", asked * SERIES_SPACES * SERIES_STEPS + 1);
cleanup:
  return st;
}

/* ------------------------------------------------------------- coordinates */

static syz_status fit_components(work *w, int side)
{
  syz_chosen_rows chosen;
  const syz_rows rows = table_half(w->t, side, 0, w->row, &chosen);
  const syz_pca_options options = {w->ld, w->s->options->scalapack_from};
  return syz_pca_fit(w->s->comm, &rows, &options, &w->pca[side]);
}

/* Both kinds of coordinates of one side. */
static syz_status project(work *w, int side)
{
  syz_status st = SYZ_OK;
  const table *t = w->t;
  const syz_rows *rows = &t->rows[side];
  const int64_t count[2] = {w->out->found[side], w->out->found[2 + side]};
  float *raw = NULL, *y = NULL;
  SYZ_ALLOC(raw, "rows", BLOCK * rows->width);
  SYZ_ALLOC(y, "variates", BLOCK * w->ld);
  for (int64_t at = 0; at < t->kept; at += BLOCK) {
    const int64_t n = t->kept - at < BLOCK ? t->kept - at : BLOCK;
    rows->read(rows->context, at, n, raw);
    for (int kind = 0; kind < 2; kind++) {
      if (kind == 0) syz_cca_project(w->held->fit[0], side, count[0], n, raw, y);
      if (kind == 1) syz_pca_project(w->pca[side], n, raw, y);
      for (int64_t i = 0; i < n; i++)
        memcpy(w->x[2 * kind + side] + (t->row[at + i] - t->first) * w->ld, y + i * count[kind],
               (size_t)count[kind] * sizeof *y);
    }
  }
cleanup:
  syz_free(&raw);
  syz_free(&y);
  return st;
}

/* Half 0 trains, half 1 tests; the same on all ranks. */
static syz_status share_roles(work *w)
{
  const table *t = w->t;
  for (int64_t i = 0; i < t->kept; i++) w->mine[t->row[i] - t->first] = t->half[i] ? SYZ_ROLE_TEST : SYZ_ROLE_TRAIN;
  return syz_index_gather(t->comm, t->set->rows, w->mine, w->role);
}

/* ------------------------------------------------------------------ labels */

/* Those that some file has, and that both halves know. Rank-local. */
static syz_status load_labels(work *w)
{
  syz_status st = SYZ_OK;
  const int64_t rows = w->t->set->rows;
  series *o = w->out;
  for (int l = 0; l < w->s->options->labels.n; l++) {
    const char *name = w->s->options->labels.item[l];
    float *value = w->value + o->n_labels * rows;
    int64_t known[3] = {0};
    SYZ_REQUIRE(strlen(name) < SYZ_LABEL_NAME, SYZ_ERR_INPUT, "analyse.labels: \"%s\" is longer than %d characters",
                name, SYZ_LABEL_NAME - 1);
    SYZ_TRY(syz_embedding_set_check_label(w->t->set, "analyse.labels", name));
    if (syz_embedding_set_has_label(w->t->set, name)) {
      SYZ_TRY(syz_embedding_set_label(w->t->set, name, 0, rows, value));
      for (int64_t i = 0; i < rows; i++) {
        if (!isfinite(value[i])) value[i] = NAN;
        if (!isnan(value[i])) known[w->role[i]]++;
      }
    }
    if (known[SYZ_ROLE_TRAIN] < 1 || known[SYZ_ROLE_TEST] < 2) {
      syz_info("%s: label %s is known of too few objects and left out", w->t->title, name);
      continue;
    }
    o->train[o->n_labels] = known[SYZ_ROLE_TRAIN];
    o->test[o->n_labels] = known[SYZ_ROLE_TEST];
    w->target[o->n_labels] = (syz_knn_target){0, value, w->prediction + o->n_labels * rows};
    o->label[o->n_labels++] = name;
  }
cleanup:
  return st;
}

static double *r2_of(const series *x, int label, int space, int step)
{
  return &x->r2[(label * SERIES_SPACES + space) * SERIES_STEPS + step];
}

static void score(work *w, int space, int step)
{
  const int64_t rows = w->t->set->rows;
  for (int l = 0; l < w->out->n_labels; l++) {
    int64_t n = 0;
    for (int64_t i = 0; i < rows; i++) {
      const float y = w->value[l * rows + i], p = w->prediction[l * rows + i];
      if (w->role[i] != SYZ_ROLE_TEST || isnan(y) || isnan(p)) continue;
      w->known[0][n] = y;
      w->known[1][n++] = p;
    }
    *r2_of(w->out, l, space, step) = syz_r_squared(w->known[0], w->known[1], n);
  }
}

static syz_status read_labels(work *w)
{
  syz_status st = SYZ_OK;
  const table *t = w->t;
  series *o = w->out;
  o->neighbours = w->s->options->neighbours < t->in_half[0] ? w->s->options->neighbours : t->in_half[0];
  const syz_knn_options how = {.metric = SYZ_METRIC_EUCLIDEAN, .n_k = 1, .k = {o->neighbours}};
  for (int space = 0; space < SERIES_SPACES; space++)
    for (int step = 0; step < o->steps; step++) {
      const int64_t r = o->r[step];
      if (r > o->found[space]) {
        for (int l = 0; l < o->n_labels; l++) *r2_of(o, l, space, step) = NAN;
        continue;
      }
      for (int64_t i = 0; i < t->n; i++)
        memcpy(w->first + i * r, w->x[space] + i * w->ld, (size_t)r * sizeof *w->first);
      SYZ_TRY(
          syz_knn_predict(t->comm, w->s->compute, t->set->rows, r, w->first, w->role, &how, o->n_labels, w->target));
      score(w, space, step);
    }
cleanup:
  return st;
}

/* ---------------------------------------------------------------- partners */

static syz_status find_partners(work *w)
{
  syz_status st = SYZ_OK;
  const table *t = w->t;
  series *o = w->out;
  double *weight = syz_alloc("weights", (size_t)w->ld, sizeof *weight);
  uint8_t *is_used = syz_alloc("test objects", (size_t)t->n + 1, 1);
  SYZ_TRY_ALL(t->comm, weight && is_used ? SYZ_OK : SYZ_ERR_MEMORY);
  for (int64_t i = 0; i < t->n; i++) is_used[i] = w->mine[i] == SYZ_ROLE_TEST;
  for (int64_t k = 0; k < w->ld && k < w->held->pairs; k++) weight[k] = sqrt(fmax(w->held->correlation[k], 0));
  for (int from = 0; from < 2; from++) {
    for (int step = 0; step < o->steps && o->r[step] <= o->found[0]; step++) {
      const partner_view view = {.width = o->r[step], .x = {w->x[0], w->x[1]}, .ld = w->ld, .weight = weight};
      SYZ_TRY(partners_find(w->s, t, is_used, &view, from, &o->partner[from][step]));
    }
    const partner_view raw = {.width = t->column[0].width};
    if (o->has_raw) SYZ_TRY(partners_find(w->s, t, is_used, &raw, from, &o->raw[from]));
  }
cleanup:
  syz_free(&weight);
  syz_free(&is_used);
  return st;
}

static syz_status make(work *w)
{
  syz_status st = SYZ_OK;
  table *t = w->t;
  series *o = w->out;
  SYZ_TRY_ALL(t->comm, allocate(w));
  for (int side = 0; side < 2; side++) {
    SYZ_TRY(fit_components(w, side));
    o->found[side] = w->held->pairs < w->ld ? w->held->pairs : w->ld;
    o->found[2 + side] = w->pca[side]->components;
    SYZ_TRY_ALL(t->comm, project(w, side));
  }
  SYZ_TRY(share_roles(w));
  SYZ_TRY_ALL(t->comm, load_labels(w));
  if (w->s->options->neighbours && o->n_labels) SYZ_TRY(read_labels(w));
  SYZ_TRY(find_partners(w));
cleanup:
  return st;
}

syz_status series_make(const syz_spaces *s, table *t, const syz_cca_held *held, series **out)
{
  syz_status st = SYZ_OK;
  work w = {.s = s, .t = t, .held = held};
  const int64_t widest = t->column[0].width > t->column[1].width ? t->column[0].width : t->column[1].width;
  *out = NULL;
  w.ld = s->options->dimensions < widest ? s->options->dimensions : widest;
  w.out = syz_alloc("series", 1, sizeof *w.out);
  SYZ_TRY_ALL(s->comm, w.out ? SYZ_OK : SYZ_ERR_MEMORY);
  for (int64_t r = 1; r <= w.ld && w.out->steps < SERIES_STEPS; r *= 2) w.out->r[w.out->steps++] = r;
  w.out->has_raw = t->column[0].width == t->column[1].width;
  SYZ_TRY(make(&w));
  *out = w.out;
  w.out = NULL;
cleanup:
  release(&w);
  series_destroy(&w.out);
  return st;
}

void series_destroy(series **xp)
{
  series *x = *xp;
  if (!x) return;
  syz_free(&x->label);
  syz_free(&x->train);
  syz_free(&x->test);
  syz_free(&x->r2);
  syz_free(xp);
}

void series_space_name(const table *t, int space, char *name, size_t room)
{
  snprintf(name, room, "%s %s", space < 2 ? "canonical" : "principal", t->column[space % 2].name);
}
