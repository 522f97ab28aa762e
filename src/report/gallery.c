/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The gallery: a few objects and their nearest neighbours in each of the four directions, as colour stamps and spectra.
 * The objects are evenly spaced in the order of redshift (without redshifts, of the file), so that the gallery shows
 * the whole range.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report.h"
#include "syzygy/sky.h"

enum { SHOWN_MAX = 64 };

/* One neighbours file. */
typedef struct direction {
  syz_h5 *file;
  syz_modality query, index;
  int64_t rows, k;
  int64_t *query_id; /* [rows] */
} direction;

typedef struct id_index {
  int64_t id, index;
} id_index;

typedef struct gallery {
  syz_page *p;
  direction d[SYZ_MODALITIES][SYZ_MODALITIES]; /* file NULL: not there */
  int n_directions;
  syz_shardset *data; /* NULL: no pixels */
  id_index *by_id;    /* [size of data], sorted */
  float *redshift;    /* [size of data] or NULL */
  float *image, *flux, *ivar;
} gallery;

static int ascending_id(const void *a, const void *b)
{
  const id_index *p = a, *q = b;
  if (p->id != q->id) return p->id < q->id ? -1 : 1;
  return p->index < q->index ? -1 : p->index > q->index;
}

static bool is_below(const void *row, const void *id) { return ((const id_index *)row)->id < *(const int64_t *)id; }

/* Number of an object in the data set, -1 when it is not there. */
static int64_t find_object(const gallery *g, int64_t id)
{
  const int64_t n = g->data ? syz_shardset_size(g->data) : 0,
                k = syz_lower_bound(&id, g->by_id, n, sizeof *g->by_id, is_below);
  return k < n && g->by_id[k].id == id ? g->by_id[k].index : -1;
}

static double redshift_of(const gallery *g, int64_t object)
{
  return g->redshift && object >= 0 ? (double)g->redshift[object] : (double)NAN;
}

/* --------------------------------------------------------------- opening */

static bool modality_of(syz_h5 *f, const char *attribute, syz_modality *m)
{
  char *text = NULL;
  bool is_known = false;
  if (syz_h5_read_text(f, "", attribute, &text) == SYZ_OK && text)
    for (*m = SYZ_IMAGE; *m < SYZ_MODALITIES; (*m)++)
      if (strcmp(text, syz_modality_name(*m)) == 0) {
        is_known = true;
        break;
      }
  syz_free(&text);
  return is_known;
}

static syz_status open_direction(gallery *g, const char *path)
{
  syz_status st = SYZ_OK;
  direction d = {.file = NULL};
  int ndim;
  int64_t shape[8];
  char *format = NULL;
  SYZ_TRY(syz_h5_open(NULL, path, &d.file));
  SYZ_TRY(syz_h5_read_text(d.file, "", "syzygy_format", &format));
  SYZ_REQUIRE(format && strcmp(format, "neighbours") == 0, SYZ_ERR_DATA,
              "%s: this is not a neighbours file (made by `syzygy search`) but %s", path,
              format ? format : "something else");
  SYZ_REQUIRE(modality_of(d.file, "query_modality", &d.query) && modality_of(d.file, "index_modality", &d.index),
              SYZ_ERR_DATA, "%s: its attributes query_modality and index_modality do not give a direction", path);
  SYZ_TRY(syz_h5_shape(d.file, "neighbour_id", &ndim, shape));
  SYZ_REQUIRE(ndim == 2 && shape[1] >= 1 && shape[1] <= 1 << 20, SYZ_ERR_DATA, "%s: neighbour_id has %d axes, wanted 2",
              path, ndim);
  d.rows = shape[0];
  d.k = shape[1];
  SYZ_TRY(syz_h5_shape(d.file, "query_id", &ndim, shape));
  SYZ_REQUIRE(ndim == 1 && shape[0] == d.rows, SYZ_ERR_DATA,
              "%s: query_id has %d axes and %lld rows, wanted 1 and %lld", path, ndim, (long long)shape[0],
              (long long)d.rows);
  SYZ_TRY(syz_h5_shape(d.file, "similarity", &ndim, shape));
  SYZ_REQUIRE(ndim == 2 && shape[0] == d.rows && shape[1] == d.k, SYZ_ERR_DATA,
              "%s: similarity does not have neighbour_id's shape (%lld, %lld)", path, (long long)d.rows,
              (long long)d.k);
  SYZ_ALLOC(d.query_id, "query ids", d.rows);
  SYZ_TRY(syz_h5_read(d.file, "query_id", SYZ_H5_I64, 0, d.rows, d.query_id));
  direction *place = &g->d[d.query][d.index];
  if (place->file)
    goto cleanup; /* of neighbours.h5 and neighbours-image-spectrum.h5 the alphabetically first is used */
  *place = d;
  d = (direction){.file = NULL};
  g->n_directions++;
cleanup:
  syz_free(&format);
  syz_free(&d.query_id);
  if (d.file) syz_h5_close(&d.file);
  return st;
}

static syz_status open_data(gallery *g, syz_comm *self, const syz_report_sources *s)
{
  syz_status st = SYZ_OK;
  const char *const *label;
  SYZ_TRY(syz_shardset_open(self, s->n_data, (const char *const *)s->data, SYZ_SPLIT_ALL, false, &g->data));
  int64_t n = syz_shardset_size(g->data);
  const syz_object *object = syz_shardset_objects(g->data);
  SYZ_ALLOC(g->by_id, "objects by id", n);
  for (int64_t i = 0; i < n; i++) g->by_id[i] = (id_index){object[i].object_id, i};
  qsort(g->by_id, (size_t)n, sizeof *g->by_id, ascending_id);
  int labels = syz_shardset_labels(g->data, &label);
  for (int i = 0; i < labels; i++) {
    if (strcmp(label[i], "redshift") != 0) continue;
    SYZ_ALLOC(g->redshift, "redshifts", n);
    SYZ_TRY(syz_shardset_read_label(g->data, "redshift", g->redshift));
  }
cleanup:
  return st;
}

static void gallery_close(gallery *g)
{
  for (int e = 0; e < 4; e++) {
    direction *d = &g->d[e / 2][e % 2];
    if (d->file) syz_h5_close(&d->file);
    syz_free(&d->query_id);
  }
  if (g->data) syz_shardset_close(&g->data);
  syz_free(&g->by_id);
  syz_free(&g->redshift);
  syz_free(&g->image);
  syz_free(&g->flux);
  syz_free(&g->ivar);
}

/* ------------------------------------------------------------- the objects */

typedef struct candidate {
  double key;
  int64_t id;
} candidate;

static int by_key(const void *a, const void *b)
{
  const candidate *p = a, *q = b;
  if (p->key != q->key) return p->key < q->key ? -1 : 1;
  return p->id < q->id ? -1 : p->id > q->id;
}

/* Up to n ids of queries that have image and spectrum, evenly spaced in the order of redshift. */
static syz_status choose(const gallery *g, int n, int64_t *id, int *chosen)
{
  syz_status st = SYZ_OK;
  const direction *d = NULL;
  candidate *c = NULL;
  int64_t count = 0;
  bool has_redshifts = false;
  for (int e = 0; e < 4 && !d; e++)
    if (g->d[e / 2][e % 2].file) d = &g->d[e / 2][e % 2];
  SYZ_ALLOC(c, "gallery candidates", d->rows);
  for (int64_t i = 0; i < d->rows; i++) {
    int64_t object = find_object(g, d->query_id[i]);
    const syz_object *o = object >= 0 ? &syz_shardset_objects(g->data)[object] : NULL;
    if (!g->data || (o && syz_object_has(o, SYZ_IMAGE) && syz_object_has(o, SYZ_SPECTRUM)))
      c[count++] = (candidate){(double)i, d->query_id[i]};
    has_redshifts = has_redshifts || isfinite(redshift_of(g, object));
  }
  if (has_redshifts) {
    int64_t kept = 0;
    for (int64_t i = 0; i < count; i++) {
      double z = redshift_of(g, find_object(g, c[i].id));
      if (isfinite(z)) c[kept++] = (candidate){z, c[i].id};
    }
    count = kept;
    qsort(c, (size_t)count, sizeof *c, by_key);
  }
  *chosen = (int)(count < n ? count : n);
  for (int i = 0; i < *chosen; i++) id[i] = c[(2 * i + 1) * count / (2 * *chosen)].id;
cleanup:
  syz_free(&c);
  return st;
}

/* --------------------------------------------------------------- drawing */

static void blank(syz_page *p, const char *why)
{
  syz_page_put(p, "<div class=\"blank\">");
  syz_page_escape(p, why);
  syz_page_put(p, "</div>");
}

/* Stamp and spectrum of one object, or the reason why one cannot be read. */
static syz_status draw_object(gallery *g, int64_t id, bool is_large)
{
  syz_status st = SYZ_OK;
  char alt[256], redshift[48] = "";
  int64_t object = find_object(g, id);
  double z = redshift_of(g, object);
  if (isfinite(z)) snprintf(redshift, sizeof redshift, ", redshift %.4f", z);
  if (object < 0) {
    blank(g->p, "no pixels of this object");
    return SYZ_OK;
  }
  const syz_object *o = &syz_shardset_objects(g->data)[object];
  if (!syz_object_has(o, SYZ_IMAGE))
    blank(g->p, "no image");
  else if (syz_shardset_read(g->data, 1, &object, g->image, NULL, NULL) != SYZ_OK)
    blank(g->p, "image not readable");
  else {
    snprintf(alt, sizeof alt, "Colour image of object %lld%s: %.0f arcsec a side, z, r, g as red, green, blue",
             (long long)id, redshift, SYZ_IMAGE_SIZE * SYZ_PIXEL_ARCSEC);
    SYZ_TRY(syz_page_stamp(g->p, g->image, alt, "stamp"));
  }
  if (is_large) syz_page_put(g->p, "<div>");
  if (!syz_object_has(o, SYZ_SPECTRUM))
    syz_page_put(g->p, "<p class=\"id\">no spectrum</p>");
  else if (syz_shardset_read(g->data, 1, &object, NULL, g->flux, g->ivar) != SYZ_OK)
    syz_page_put(g->p, "<p class=\"id\">spectrum not readable</p>");
  else {
    snprintf(alt, sizeof alt, "Spectrum of object %lld%s, 3600 to 9824 Angstrom, smoothed", (long long)id, redshift);
    syz_page_spectrum(g->p, g->flux, g->ivar, z, is_large, alt);
  }
  if (is_large) syz_page_put(g->p, "</div>");
cleanup:
  return st;
}

static syz_status draw_near(gallery *g, int64_t query, int64_t id, float similarity)
{
  syz_status st = SYZ_OK;
  double z = redshift_of(g, find_object(g, id));
  bool is_own = id == query;
  syz_page_printf(g->p, "<figure class=\"near%s\">", is_own ? " own" : "");
  SYZ_TRY(draw_object(g, id, false));
  syz_page_printf(g->p, "<figcaption><b>cosine %.3f</b>", (double)similarity);
  if (isfinite(z)) syz_page_printf(g->p, "<br>z = %.4f", z);
  if (is_own) syz_page_put(g->p, "<br><span class=\"badge\">\xe2\x9c\x93 the same galaxy</span>");
  syz_page_printf(g->p, "<br><span class=\"id\">%lld</span></figcaption></figure>\n", (long long)id);
cleanup:
  return st;
}

/* One direction of one query: a strip of neighbours. The query itself is not shown where it is trivially the first. */
static syz_status draw_direction(gallery *g, const direction *d, int64_t query, int wanted)
{
  syz_status st = SYZ_OK;
  int64_t row = 0, *id = NULL;
  float *similarity = NULL;
  int shown = 0;
  while (row < d->rows && d->query_id[row] != query) row++;
  syz_page_printf(g->p, "<div class=\"direction\"><div>%s \xe2\x86\x92 %s<small>nearest %s to its %s</small></div>\n",
                  syz_modality_name(d->query), syz_modality_name(d->index),
                  d->index == SYZ_IMAGE ? "images" : "spectra", syz_modality_name(d->query));
  if (row == d->rows) {
    syz_page_missing(g->p, "This object is not among the queries of this direction.");
    goto cleanup;
  }
  SYZ_ALLOC(id, "neighbours", d->k);
  SYZ_ALLOC(similarity, "similarities", d->k);
  SYZ_TRY(syz_h5_read(d->file, "neighbour_id", SYZ_H5_I64, row, 1, id));
  SYZ_TRY(syz_h5_read(d->file, "similarity", SYZ_H5_F32, row, 1, similarity));
  syz_page_put(g->p, "<div class=\"strip\">\n");
  for (int64_t i = 0; i < d->k && shown < wanted; i++) {
    if (!isfinite(similarity[i]) || (d->query == d->index && id[i] == query)) continue;
    SYZ_TRY(draw_near(g, query, id[i], similarity[i]));
    shown++;
  }
  if (!shown) blank(g->p, "no neighbours");
  syz_page_put(g->p, "</div>");
cleanup:
  syz_page_put(g->p, "</div>\n");
  syz_free(&id);
  syz_free(&similarity);
  return st;
}

static syz_status draw_query(gallery *g, int64_t id, int wanted)
{
  syz_status st = SYZ_OK;
  int64_t object = find_object(g, id);
  double z = redshift_of(g, object);
  syz_page_printf(g->p, "<article class=\"card\"><h3>Object <span class=\"id\">%lld</span>", (long long)id);
  if (isfinite(z)) syz_page_printf(g->p, " at redshift %.4f", z);
  if (object >= 0 && isfinite(syz_shardset_objects(g->data)[object].ra))
    syz_page_printf(g->p, " <span class=\"id\">RA %.5f\xc2\xb0, Dec %+.5f\xc2\xb0</span>",
                    syz_shardset_objects(g->data)[object].ra, syz_shardset_objects(g->data)[object].dec);
  syz_page_put(g->p, "</h3>\n<div class=\"query\">");
  SYZ_TRY(draw_object(g, id, true));
  syz_page_put(g->p, "</div>\n");
  for (int e = 0; e < 4; e++)
    if (g->d[e / 2][e % 2].file) SYZ_TRY(draw_direction(g, &g->d[e / 2][e % 2], id, wanted));
  syz_page_put(g->p, "</article>\n");
cleanup:
  return st;
}

static void say_missing_directions(const gallery *g)
{
  for (int e = 0; e < 4; e++)
    if (!g->d[e / 2][e % 2].file)
      syz_page_missing(g->p, "No neighbours file for the direction %s to %s: it is not shown.",
                       syz_modality_name((syz_modality)(e / 2)), syz_modality_name((syz_modality)(e % 2)));
}

static syz_status write_gallery(syz_page *p, const syz_report_job *j)
{
  syz_status st = SYZ_OK;
  const syz_report_options *o = j->options;
  const syz_report_sources *s = j->sources;
  gallery g = {.p = p};
  int64_t id[SHOWN_MAX];
  int n = 0;
  for (int i = 0; i < s->n_neighbours; i++)
    if (open_direction(&g, s->neighbours[i]) != SYZ_OK) syz_page_missing(p, "Left out: %s", syz_error_text());
  if (!g.n_directions) {
    syz_page_missing(p,
                     "No neighbours file in %s or a folder beside it that belongs to it: there is no gallery. syzygy "
                     "search writes them.",
                     s->run);
    goto cleanup;
  }
  if (!s->n_data)
    syz_page_missing(p,
                     "The data set is not known or not there (give data.path): neighbours are listed without pixels.");
  else if (open_data(&g, j->self, s) != SYZ_OK) {
    syz_page_missing(p, "The data set cannot be read, so neighbours are listed without pixels: %s", syz_error_text());
    if (g.data) syz_shardset_close(&g.data);
  }
  say_missing_directions(&g);
  SYZ_ALLOC(g.image, "stamp", 3 * SYZ_IMAGE_SIZE * SYZ_IMAGE_SIZE);
  SYZ_ALLOC(g.flux, "spectrum", SYZ_SPECTRUM_PIXELS);
  SYZ_ALLOC(g.ivar, "spectrum", SYZ_SPECTRUM_PIXELS);
  SYZ_TRY(choose(&g, o->objects, id, &n));
  if (!n && o->objects > 0) syz_page_missing(p, "None of the queries has both image and spectrum in the data set.");
  for (int i = 0; i < n; i++) SYZ_TRY(draw_query(&g, id[i], o->neighbours));
cleanup:
  gallery_close(&g);
  return st;
}

const syz_report_section syz_section_gallery = {
    .anchor = "gallery",
    .link = "Gallery",
    .title = "Gallery",
    .lead = "Objects and their nearest neighbours by cosine, best first. Stamps: g, r, z in the colours of the Legacy "
            "Survey viewer, 40 arcsec a side, north up, east left. Spectra: flux against observed wavelength, 3600 to "
            "9824 \xc3\x85, averaged over 10 \xc3\x85 (29 \xc3\x85 in small ones); dashes mark lines at the known "
            "redshift.",
    .has = syz_report_has_pairs,
    .write = write_gallery};
