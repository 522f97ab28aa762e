/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Ingest: chooses for each band of an object the plane that holds it best. An object's position is sent to the ranks
 * whose image files may cover it. They offer planes, and the object's rank chooses. The files' ranks then make each
 * cutout once, so that it is known before anything is written which objects have an image.
 */
#include "ingest.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---------------------------------------------------- planes by cell of the sky */

/** The planes that may touch each cell. */
struct ingest_plane_map {
  int64_t *start; /**< [SYZ_CELLS + 1] into plane */
  int64_t *plane; /**< numbers of planes */
  int64_t *wide;  /**< [n_wide] planes too large for cells, which are tried for every object */
  int64_t n_wide;
};

typedef struct filling {
  ingest_plane_map *map;
  int64_t plane; /**< -1: count only */
} filling;

static void fill_cell(void *context, int32_t cell)
{
  filling *f = context;
  if (f->plane < 0)
    f->map->start[cell + 1]++;
  else
    f->map->plane[f->map->start[cell]++] = f->plane;
}

static bool is_wide(const ingest_plane *p)
{
  const double most_deg = 5;
  return !(isfinite(p->ra) && isfinite(p->dec) && p->radius_deg <= most_deg);
}

syz_status ingest_map_planes(ingest *g)
{
  syz_status st = SYZ_OK;
  ingest_plane_map *map = NULL;
  SYZ_ALLOC(map, "planes by cell", 1);
  g->plane_map = map; /* freed with it, also when this function fails */
  SYZ_ALLOC(map->start, "planes by cell", SYZ_CELLS + 2);
  SYZ_ALLOC(map->wide, "planes by cell", g->n_planes + 1);
  filling f = {map, -1};
  for (int64_t i = 0; i < g->n_planes; i++) {
    const ingest_plane *p = &g->plane[i];
    if (is_wide(p))
      map->wide[map->n_wide++] = i;
    else
      syz_cells_around(p->ra, p->dec, p->radius_deg, fill_cell, &f);
  }
  for (int64_t c = 0; c < SYZ_CELLS; c++) map->start[c + 1] += map->start[c];
  SYZ_ALLOC(map->plane, "planes by cell", map->start[SYZ_CELLS] + 1);
  for (int64_t i = 0; i < g->n_planes; i++) {
    const ingest_plane *p = &g->plane[i];
    f.plane = i;
    if (!is_wide(p)) syz_cells_around(p->ra, p->dec, p->radius_deg, fill_cell, &f);
  }
  /* Filling advanced each start to its end, which is the next start. */
  memmove(map->start + 1, map->start, (size_t)SYZ_CELLS * sizeof *map->start);
  map->start[0] = 0;
cleanup:
  return st;
}

void ingest_forget_planes(ingest *g)
{
  if (!g->plane_map) return;
  syz_free(&g->plane_map->start);
  syz_free(&g->plane_map->plane);
  syz_free(&g->plane_map->wide);
  syz_free(&g->plane_map);
}

bool ingest_plane_reaches(const ingest *g, int32_t cell)
{
  const ingest_plane_map *map = g->plane_map;
  return map->n_wide > 0 || map->start[cell + 1] > map->start[cell];
}

/* ------------------------------------------------------------------ offers */

/** An object that needs an image. */
typedef struct wish {
  double ra, dec;
  int64_t object; /**< number on its own rank */
  int32_t home, pad;
} wish;

/** A plane from which an object's band could be cut, and how far the cutout is inside: 1 = wholly. */
typedef struct choice {
  int64_t object;
  int32_t home, band, file, plane;
  float inside, pad;
} choice;

/** A cutout to be tried. */
typedef struct order {
  double ra, dec;
  int64_t object, number; /**< on its own rank, and among all objects */
  int32_t home, band, file, plane;
} order;

/** The result of a cutout. */
typedef struct outcome {
  int64_t object;
  int32_t band;
  float covered;
  int64_t is_empty; /**< all zero: the band has no data there */
} outcome;

static int compare_wishes(const void *a, const void *b)
{
  const wish *x = a, *y = b;
  if (x->dec < y->dec || x->dec > y->dec) return x->dec < y->dec ? -1 : 1;
  if (x->home != y->home) return x->home - y->home;
  return (x->object > y->object) - (x->object < y->object);
}

static int compare_choices(const void *a, const void *b)
{
  const choice *x = a, *y = b;
  if (x->object != y->object) return x->object < y->object ? -1 : 1;
  if (x->band != y->band) return x->band - y->band;
  if (x->inside < y->inside || x->inside > y->inside) return x->inside > y->inside ? -1 : 1; /* the best first */
  if (x->file != y->file) return x->file - y->file;
  return x->plane - y->plane;
}

static int compare_orders(const void *a, const void *b)
{
  const order *x = a, *y = b;
  if (x->file != y->file) return x->file - y->file;
  if (x->number != y->number) return x->number < y->number ? -1 : 1;
  return x->band - y->band;
}

static int compare_outcomes(const void *a, const void *b)
{
  const outcome *x = a, *y = b;
  if (x->object != y->object) return x->object < y->object ? -1 : 1;
  return x->band - y->band;
}

/* Sends the object once to each rank with a file whose plane may hold it. */
static syz_status post_wish(ingest *g, const wish *w, int64_t *stamp, int64_t turn, ingest_mail *m)
{
  syz_status st = SYZ_OK;
  const ingest_plane_map *map = g->plane_map;
  int32_t cell = syz_cell_of(w->ra, w->dec);
  int64_t n = map->start[cell + 1] - map->start[cell];
  for (int64_t k = 0; k < n + map->n_wide; k++) {
    const ingest_plane *p = &g->plane[k < n ? map->plane[map->start[cell] + k] : map->wide[k - n]];
    int32_t rank = p->file % g->size;
    if (stamp[rank] == turn || syz_separation(w->ra, w->dec, p->ra, p->dec) > p->radius_deg) continue;
    stamp[rank] = turn;
    SYZ_TRY(ingest_post(m, w, sizeof *w, rank));
  }
cleanup:
  return st;
}

static syz_status post_wishes(ingest *g, ingest_mail *m)
{
  syz_status st = SYZ_OK;
  int64_t *stamp = NULL;
  SYZ_ALLOC(stamp, "ranks", g->size);
  for (int64_t i = 0; i < g->n_objects; i++) {
    const ingest_object *o = &g->object[i];
    wish w = {o->image_ra, o->image_dec, i, g->rank, 0};
    if (o->wants_image && isfinite(w.ra) && isfinite(w.dec)) SYZ_TRY(post_wish(g, &w, stamp, i + 1, m));
  }
cleanup:
  syz_free(&stamp);
  return st;
}

static bool is_south_of(const void *row, const void *dec) { return ((const wish *)row)->dec < *(const double *)dec; }

/* Offers planes of this rank's files that hold an object, with the distance to the nearest edge in units of the
 * cutout's half width. */
static syz_status offer_planes(ingest *g, ingest_bytes *wishes, ingest_mail *offers)
{
  syz_status st = SYZ_OK;
  syz_images *m = NULL;
  wish *w = (wish *)(void *)wishes->data;
  int64_t n = (int64_t)(wishes->n / sizeof *w);
  if (n) qsort(w, (size_t)n, sizeof *w, compare_wishes);
  for (int f = g->rank; f < g->n_files; f += g->size) {
    if (g->file[f].role != ROLE_IMAGES) continue;
    const syz_status code = ingest_open_images(g, f, &m);
    SYZ_REQUIRE(code == SYZ_OK || code == SYZ_ERR_DATA, code, "%s", syz_error_text());
    if (code != SYZ_OK) continue; /* noted by the scan */
    for (int k = 0; k < syz_images_count(m); k++) {
      const syz_plane *p = syz_images_plane(m, k);
      double half = SYZ_PIXEL_ARCSEC * SYZ_IMAGE_SIZE / 2 / p->pixel_arcsec;
      const double south = p->dec - p->radius_deg, north = p->dec + p->radius_deg;
      for (int64_t i = syz_lower_bound(&south, w, n, sizeof *w, is_south_of); i < n && w[i].dec <= north; i++) {
        if (syz_separation(w[i].ra, w[i].dec, p->ra, p->dec) > p->radius_deg) continue;
        double x, y;
        SYZ_TRY(syz_wcs_to_pixel(syz_images_wcs(m, k), 1, &w[i].ra, &w[i].dec, &x, &y));
        double margin = fmin(fmin(x + 0.5, (double)p->width - 0.5 - x), fmin(y + 0.5, (double)p->height - 0.5 - y));
        if (!(margin >= 0)) continue;
        choice c = {w[i].object, w[i].home, p->band, f, k, (float)fmin(1, margin / half), 0};
        SYZ_TRY(ingest_post(offers, &c, sizeof c, c.home));
      }
    }
    ingest_release_images(g, f, &m);
  }
cleanup:
  syz_images_close(&m);
  return st;
}

/* Chooses the best offer for each band of an object; its cutout is requested from the file's rank. */
static syz_status choose(ingest *g, ingest_bytes *offers, const int64_t *number, ingest_mail *orders)
{
  syz_status st = SYZ_OK;
  choice *c = (choice *)(void *)offers->data;
  int64_t n = (int64_t)(offers->n / sizeof *c);
  if (n) qsort(c, (size_t)n, sizeof *c, compare_choices);
  for (int64_t i = 0; i < n; i++) {
    if (i && c[i].object == c[i - 1].object && c[i].band == c[i - 1].band) continue;
    ingest_object *o = &g->object[c[i].object];
    o->image_file[c[i].band] = c[i].file;
    o->image_plane[c[i].band] = c[i].plane;
    order wanted = {o->image_ra, o->image_dec, c[i].object, number[c[i].object],
                    g->rank,     c[i].band,    c[i].file,   c[i].plane};
    SYZ_TRY(ingest_post(orders, &wanted, sizeof wanted, wanted.file % g->size));
  }
cleanup:
  return st;
}

/* Makes and checks the cutouts of this rank's files; ordered by file, so that each is decoded once. */
static syz_status try_cutouts(ingest *g, ingest_bytes *orders, ingest_mail *outcomes)
{
  syz_status st = SYZ_OK;
  syz_images *m = NULL;
  float *image = NULL;
  enum { PIXELS = SYZ_IMAGE_SIZE * SYZ_IMAGE_SIZE };
  order *o = (order *)(void *)orders->data;
  int64_t n = (int64_t)(orders->n / sizeof *o), next = 0;
  SYZ_ALLOC(image, "cutout", PIXELS);
  if (n) qsort(o, (size_t)n, sizeof *o, compare_orders);
  for (int64_t first = 0; first < n; first = next) {
    int file = o[first].file;
    for (next = first; next < n && o[next].file == file;) next++;
    const syz_status opened = ingest_open_images(g, file, &m);
    SYZ_REQUIRE(opened == SYZ_OK || opened == SYZ_ERR_DATA, opened, "%s", syz_error_text());
    if (opened != SYZ_OK) { /* it could be opened in the scan */
      SYZ_TRY(ingest_note(g, file, -1, 0, NULL));
      continue;
    }
    const size_t records = outcomes->records.n, to = outcomes->to.n;
    for (int64_t i = first; i < next; i++) {
      double covered = 0;
      syz_status code =
          syz_images_cutout(m, o[i].plane, o[i].ra, o[i].dec, SYZ_IMAGE_SIZE, SYZ_PIXEL_ARCSEC, image, &covered);
      SYZ_REQUIRE(code == SYZ_OK || code == SYZ_ERR_DATA, code, "%s", syz_error_text());
      if (code == SYZ_ERR_DATA) { /* damaged pixels: the file is noted once, and its planes are not used */
        outcomes->records.n = records;
        outcomes->to.n = to;
        SYZ_TRY(ingest_note(g, file, -1, 0, NULL));
        break;
      }
      outcome out = {o[i].object, o[i].band, (float)covered, true};
      for (int p = 0; p < PIXELS && out.is_empty; p++) out.is_empty = image[p] == 0 || isnan(image[p]);
      SYZ_TRY(ingest_post(outcomes, &out, sizeof out, o[i].home));
    }
    ingest_release_images(g, file, &m);
  }
cleanup:
  syz_images_close(&m);
  syz_free(&image);
  return st;
}

/* Applies the policies (ingest.edge and others) to an object's bands. */
static syz_status judge(ingest *g, const outcome *found, int64_t n)
{
  syz_status st = SYZ_OK;
  const char *edge = g->options.edge, *missing = g->options.missing_band;
  char reason[160];
  int64_t at = 0;
  for (int64_t i = 0; i < g->n_objects; i++) {
    ingest_object *o = &g->object[i];
    if (!o->wants_image) continue;
    int bands = 0;
    double covered = 1;
    char lacking[SYZ_BANDS + 1] = "";
    int n_lacking = 0;
    while (at < n && found[at].object < i) at++;
    for (int b = 0; b < SYZ_BANDS; b++) {
      bool has = at < n && found[at].object == i && found[at].band == b;
      if (has && !found[at].is_empty && found[at].covered > 0) {
        bands++;
        covered = fmin(covered, (double)found[at].covered);
      } else {
        o->image_file[b] = NO_FILE;
        lacking[n_lacking++] = "grz"[b];
      }
      if (has) at++;
    }
    if (!bands) {
      g->count.outside++;
      continue;
    }
    int64_t row;
    int file = ingest_file_of_object(g, o, &row);
    if (bands < SYZ_BANDS) {
      g->count.missing_band++;
      snprintf(reason, sizeof reason, "no image in band %s", lacking);
      if (!strcmp(missing, "refuse")) SYZ_TRY(ingest_note(g, file, row, o->object_id, reason));
      if (strcmp(missing, "zero") != 0) continue;
    }
    if (covered < 1) {
      g->count.edge++;
      snprintf(reason, sizeof reason,
               "the cutout extends beyond the image or has pixels without a value: %.1f %% covered", 100 * covered);
      if (!strcmp(edge, "refuse")) SYZ_TRY(ingest_note(g, file, row, o->object_id, reason));
      if (strcmp(edge, "zero") != 0) continue;
    }
    o->has_image = true;
  }
cleanup:
  return st;
}

syz_status ingest_choose_planes(ingest *g)
{
  syz_status st = SYZ_OK;
  ingest_mail m = {0};
  ingest_bytes wishes = {NULL, 0, 0}, offers = {NULL, 0, 0}, orders = {NULL, 0, 0}, outcomes = {NULL, 0, 0};
  int64_t *number = NULL;
  SYZ_TRY(ingest_number_objects(g, &number));
  SYZ_TRY_ALL(g->world, post_wishes(g, &m));
  SYZ_TRY(ingest_send(g, &m, sizeof(wish), &wishes));
  SYZ_TRY_ALL(g->world, offer_planes(g, &wishes, &m));
  syz_free(&wishes.data);
  SYZ_TRY(ingest_send(g, &m, sizeof(choice), &offers));
  SYZ_TRY_ALL(g->world, choose(g, &offers, number, &m));
  syz_free(&offers.data);
  SYZ_TRY(ingest_send(g, &m, sizeof(order), &orders));
  SYZ_TRY_ALL(g->world, try_cutouts(g, &orders, &m));
  SYZ_TRY(ingest_send(g, &m, sizeof(outcome), &outcomes));
  if (outcomes.n) qsort(outcomes.data, outcomes.n / sizeof(outcome), sizeof(outcome), compare_outcomes);
  SYZ_TRY_ALL(g->world, judge(g, (const outcome *)(void *)outcomes.data, (int64_t)(outcomes.n / sizeof(outcome))));
  SYZ_TRY(ingest_share_rejects(g));
cleanup:
  ingest_mail_free(&m);
  syz_free(&wishes.data);
  syz_free(&offers.data);
  syz_free(&orders.data);
  syz_free(&outcomes.data);
  syz_free(&number);
  return st;
}
