/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Ingest, second pass: spectra and image candidates become objects; each object's bands get the plane that holds it best; each rank makes the
 * cutouts of its share of the files once, to know before anything is written which objects have an image.
 */
#include "ingest.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---------------------------------------------------------------- objects */

typedef struct id_entry {
  int64_t id, number;
} id_entry;

static int compare_ids(const void *a, const void *b) {
  const id_entry *x = a, *y = b;
  if (x->id != y->id) return x->id < y->id ? -1 : 1;
  return (x->number > y->number) - (x->number < y->number);
}

static int64_t find_id(const id_entry *table, int64_t n, int64_t id) {
  int64_t low = 0, high = n;
  while (low < high) {
    int64_t middle = low + (high - low) / 2;
    if (table[middle].id < id)
      low = middle + 1;
    else
      high = middle;
  }
  return low < n && table[low].id == id ? table[low].number : -1;
}

/* Spectra whose identifier an earlier kept one has: the same object in two files, which a split into train and test would tear apart. Exposures of
 * one file that are asked for are none. */
static syz_status find_repeats(ingest *g, bool *is_repeat) {
  syz_status st = SYZ_OK;
  id_entry *ids = NULL;
  int64_t n = 0;
  SYZ_ALLOC(ids, "identifiers", g->n_spectra + 1);
  for (int64_t i = 0; i < g->n_spectra; i++)
    if (g->spectrum[i].cut == SYZ_CUT_NONE) ids[n++] = (id_entry){g->spectrum[i].info.object_id, i};
  qsort(ids, (size_t)n, sizeof *ids, compare_ids);
  for (int64_t i = 1, first = 0; i < n; i++) {
    if (ids[i].id != ids[first].id) {
      first = i;
      continue;
    }
    bool is_exposure = g->spectra_options.keeps_exposures && g->spectrum[ids[i].number].file == g->spectrum[ids[first].number].file;
    if (is_exposure) continue;
    is_repeat[ids[i].number] = true;
    g->count.repeated++;
  }
cleanup:
  syz_free(&ids);
  return st;
}

syz_status ingest_make_objects(ingest *g) {
  syz_status st = SYZ_OK;
  syz_skytree *tree = NULL;
  double *ra = NULL, *dec = NULL;
  id_entry *ids = NULL;
  bool *is_taken = NULL, *is_repeat = NULL;
  const syz_input *in = g->app->input;
  const char *match = syz_input_text(in, "ingest.match");
  double radius_deg = syz_input_real(in, "ingest.match_radius_arcsec") / 3600;
  bool has_catalogue = false, has_planes = g->n_planes > 0;
  SYZ_ALLOC(g->object, "objects", g->n_spectra + g->n_candidates + 1);
  SYZ_ALLOC(ra, "match", g->n_candidates + 1);
  SYZ_ALLOC(dec, "match", g->n_candidates + 1);
  SYZ_ALLOC(ids, "match", g->n_candidates + 1);
  SYZ_ALLOC(is_taken, "match", g->n_candidates + 1);
  SYZ_ALLOC(is_repeat, "match", g->n_spectra + 1);
  SYZ_TRY(find_repeats(g, is_repeat));
  for (int64_t i = 0; i < g->n_candidates; i++) {
    ra[i] = g->candidate[i].ra;
    dec[i] = g->candidate[i].dec;
    ids[i] = (id_entry){g->candidate[i].object_id, i};
    has_catalogue = has_catalogue || !g->candidate[i].is_centre;
  }
  qsort(ids, (size_t)g->n_candidates, sizeof *ids, compare_ids);
  SYZ_TRY(syz_skytree_create(g->n_candidates, ra, dec, &tree));
  for (int64_t i = 0; i < g->n_spectra; i++) {
    const ingest_spectrum *s = &g->spectrum[i];
    if (s->cut != SYZ_CUT_NONE || (is_repeat[i] && !g->keeps_duplicates)) continue;
    ingest_object *o = &g->object[g->n_objects++];
    *o = (ingest_object){.object_id = s->info.object_id, .ra = s->info.ra, .dec = s->info.dec, .image_ra = s->info.ra, .image_dec = s->info.dec,
                         .spectrum = i, .candidate = -1, .image_file = {NO_FILE, NO_FILE, NO_FILE}};
    if (g->file[s->file].role == ROLE_HDF5 && !g->n_candidates && !has_planes) continue;
    int64_t c = -1;
    if (!strcmp(match, "id"))
      c = find_id(ids, g->n_candidates, o->object_id);
    else if (!strcmp(match, "sky"))
      c = syz_skytree_nearest(tree, o->ra, o->dec, radius_deg, NULL);
    if (c >= 0) {
      o->candidate = c;
      is_taken[c] = true;
      o->image_ra = g->candidate[c].ra;
      o->image_dec = g->candidate[c].dec;
      o->wants_image = !g->candidate[c].has_pixels;
      o->has_image = g->candidate[c].has_pixels;
    } else if (has_catalogue) {
      g->count.unmatched++;
    } else {
      o->wants_image = has_planes && isfinite(o->ra) && isfinite(o->dec); /* no catalogue: the image is cut where the fibre was */
    }
  }
  for (int64_t i = 0; i < g->n_candidates; i++) {
    if (is_taken[i]) continue;
    const ingest_candidate *c = &g->candidate[i];
    ingest_object *o = &g->object[g->n_objects++];
    *o = (ingest_object){.object_id = c->object_id, .ra = c->ra, .dec = c->dec, .image_ra = c->ra, .image_dec = c->dec, .spectrum = -1, .candidate = i,
                         .wants_image = !c->has_pixels, .has_image = c->has_pixels, .image_file = {NO_FILE, NO_FILE, NO_FILE}};
  }
  for (int64_t i = 0; i < g->n_objects; i++)
    for (int b = 0; b < SYZ_BANDS; b++) g->object[i].image_file[b] = NO_FILE;
cleanup:
  syz_skytree_destroy(&tree);
  syz_free(&ra);
  syz_free(&dec);
  syz_free(&ids);
  syz_free(&is_taken);
  syz_free(&is_repeat);
  return st;
}

/* ----------------------------------------------------------------- planes */

typedef struct by_dec {
  double dec;
  int64_t object;
} by_dec;

static int compare_dec(const void *a, const void *b) {
  const by_dec *x = a, *y = b;
  if (x->dec != y->dec) return x->dec < y->dec ? -1 : 1;
  return (x->object > y->object) - (x->object < y->object);
}

static int compare_choices(const void *a, const void *b) {
  const ingest_choice *x = a, *y = b;
  if (x->object != y->object) return x->object < y->object ? -1 : 1;
  if (x->band != y->band) return x->band - y->band;
  if (x->inside < y->inside || x->inside > y->inside) return x->inside > y->inside ? -1 : 1; /* the best first */
  if (x->file != y->file) return x->file - y->file;
  return x->plane - y->plane;
}

static int compare_outcomes(const void *a, const void *b) {
  const ingest_outcome *x = a, *y = b;
  if (x->object != y->object) return x->object < y->object ? -1 : 1;
  return x->band - y->band;
}

/* Objects that lie in a plane of this rank's files, and how much of the cutout's half width is left to the nearest edge. */
static syz_status offer_planes(ingest *g, const by_dec *sorted, int64_t n, ingest_bytes *offers) {
  syz_status st = SYZ_OK;
  syz_images *m = NULL;
  for (int f = g->rank; f < g->n_files; f += g->size) {
    if (g->file[f].role != ROLE_IMAGES) continue;
    if (ingest_open_images(g, f, &m) != SYZ_OK) continue; /* noted by the scan */
    for (int k = 0; k < syz_images_count(m); k++) {
      const syz_plane *p = syz_images_plane(m, k);
      double half = SYZ_PIXEL_ARCSEC * SYZ_IMAGE_SIZE / 2 / p->pixel_arcsec;
      int64_t low = 0, high = n;
      while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (sorted[middle].dec < p->dec - p->radius_deg)
          low = middle + 1;
        else
          high = middle;
      }
      for (int64_t i = low; i < n && sorted[i].dec <= p->dec + p->radius_deg; i++) {
        const ingest_object *o = &g->object[sorted[i].object];
        if (syz_separation(o->image_ra, o->image_dec, p->ra, p->dec) > p->radius_deg) continue;
        double x, y;
        SYZ_TRY(syz_wcs_to_pixel(syz_images_wcs(m, k), 1, &o->image_ra, &o->image_dec, &x, &y));
        double margin = fmin(fmin(x + 0.5, (double)p->width - 0.5 - x), fmin(y + 0.5, (double)p->height - 0.5 - y));
        if (!(margin >= 0)) continue;
        ingest_choice c = {sorted[i].object, p->band, f, k, (float)fmin(1, margin / half)};
        SYZ_TRY(ingest_add(offers, &c, sizeof c));
      }
    }
    ingest_release_images(g, f, &m);
  }
cleanup:
  syz_images_close(&m);
  return st;
}

/* The cutouts of this rank's files, made once and judged. */
static syz_status try_cutouts(ingest *g, const ingest_choice *chosen, int64_t n, ingest_bytes *outcomes) {
  syz_status st = SYZ_OK;
  syz_images *m = NULL;
  float *image = NULL;
  int64_t *start = NULL, *order = NULL;
  enum { PIXELS = SYZ_IMAGE_SIZE * SYZ_IMAGE_SIZE };
  SYZ_ALLOC(image, "cutout", PIXELS);
  /* By file, so that each is decoded once: a counting sort. */
  SYZ_ALLOC(start, "cutout order", g->n_files + 2);
  SYZ_ALLOC(order, "cutout order", n + 1);
  for (int64_t i = 0; i < n; i++) start[chosen[i].file + 2]++;
  for (int f = 0; f < g->n_files; f++) start[f + 2] += start[f + 1];
  for (int64_t i = 0; i < n; i++) order[start[chosen[i].file + 1]++] = i;
  for (int f = g->rank; f < g->n_files; f += g->size) {
    for (int64_t k = start[f]; k < start[f + 1]; k++) {
      int64_t i = order[k];
      if (!m && ingest_open_images(g, f, &m) != SYZ_OK) break;
      const ingest_object *o = &g->object[chosen[i].object];
      double covered = 0;
      syz_status code = syz_images_cutout(m, chosen[i].plane, o->image_ra, o->image_dec, SYZ_IMAGE_SIZE, SYZ_PIXEL_ARCSEC, image, &covered);
      SYZ_REQUIRE(code == SYZ_OK || code == SYZ_ERR_DATA, code, "%s", syz_error_text());
      if (code == SYZ_ERR_DATA) { /* damaged pixels: the file is noted once, its planes give nothing */
        SYZ_TRY(ingest_note(g, f, -1, 0, NULL));
        break;
      }
      bool is_empty = true;
      for (int p = 0; p < PIXELS && is_empty; p++) is_empty = image[p] == 0 || isnan(image[p]);
      ingest_outcome out;
      memset(&out, 0, sizeof out);
      out.object = chosen[i].object;
      out.band = chosen[i].band;
      out.covered = (float)covered;
      out.is_empty = is_empty;
      SYZ_TRY(ingest_add(outcomes, &out, sizeof out));
    }
    ingest_release_images(g, f, &m);
  }
cleanup:
  syz_images_close(&m);
  syz_free(&start);
  syz_free(&order);
  syz_free(&image);
  return st;
}

int ingest_file_of_object(const ingest *g, const ingest_object *o, int64_t *row) {
  if (o->spectrum >= 0) {
    *row = g->spectrum[o->spectrum].row;
    return g->spectrum[o->spectrum].file;
  }
  *row = g->candidate[o->candidate].row;
  return g->candidate[o->candidate].file;
}

/* What the policies make of an object's bands. Rank 0 notes refusals: they are the same everywhere. */
static syz_status judge(ingest *g, const ingest_outcome *outcome, int64_t n) {
  syz_status st = SYZ_OK;
  const char *edge = syz_input_text(g->app->input, "ingest.edge"), *missing = syz_input_text(g->app->input, "ingest.missing_band");
  char reason[160];
  int64_t at = 0;
  for (int64_t i = 0; i < g->n_objects; i++) {
    ingest_object *o = &g->object[i];
    if (!o->wants_image) continue;
    int bands = 0;
    double covered = 1;
    char lacking[SYZ_BANDS + 1] = "";
    int n_lacking = 0;
    while (at < n && outcome[at].object < i) at++;
    for (int b = 0; b < SYZ_BANDS; b++) {
      bool has = at < n && outcome[at].object == i && outcome[at].band == b;
      if (has && !outcome[at].is_empty && outcome[at].covered > 0) {
        bands++;
        covered = fmin(covered, (double)outcome[at].covered);
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
      if (!strcmp(missing, "refuse") && g->rank == 0) SYZ_TRY(ingest_note(g, file, row, o->object_id, reason));
      if (strcmp(missing, "zero") != 0) continue;
    }
    if (covered < 1) {
      g->count.edge++;
      snprintf(reason, sizeof reason, "the cutout reaches over the edge of the image or pixels without a value: %.1f %% covered", 100 * covered);
      if (!strcmp(edge, "refuse") && g->rank == 0) SYZ_TRY(ingest_note(g, file, row, o->object_id, reason));
      if (strcmp(edge, "zero") != 0) continue;
    }
    o->has_image = true;
  }
cleanup:
  return st;
}

syz_status ingest_choose_planes(ingest *g) {
  syz_status st = SYZ_OK;
  ingest_bytes mine = {NULL, 0, 0}, outcomes = {NULL, 0, 0};
  by_dec *sorted = NULL;
  void *all = NULL, *judged = NULL;
  int64_t n = 0, n_wanting = 0;
  sorted = syz_alloc("objects by declination", (size_t)g->n_objects + 1, sizeof *sorted);
  SYZ_TRY_ALL(g->world, sorted ? SYZ_OK : SYZ_ERR_MEMORY);
  for (int64_t i = 0; i < g->n_objects; i++)
    if (g->object[i].wants_image) sorted[n_wanting++] = (by_dec){g->object[i].image_dec, i};
  qsort(sorted, (size_t)n_wanting, sizeof *sorted, compare_dec);
  SYZ_TRY_ALL(g->world, offer_planes(g, sorted, n_wanting, &mine));
  SYZ_TRY(ingest_gather(g, &mine, sizeof(ingest_choice), compare_choices, &all, &n));
  ingest_choice *c = all;
  int64_t kept = 0;
  for (int64_t i = 0; i < n; i++) {
    if (kept && c[i].object == c[kept - 1].object && c[i].band == c[kept - 1].band) continue; /* sorted best first */
    g->object[c[i].object].image_file[c[i].band] = c[i].file;
    g->object[c[i].object].image_plane[c[i].band] = c[i].plane;
    c[kept++] = c[i];
  }
  SYZ_TRY_ALL(g->world, try_cutouts(g, c, kept, &outcomes));
  int64_t n_outcomes = 0;
  SYZ_TRY(ingest_gather(g, &outcomes, sizeof(ingest_outcome), compare_outcomes, &judged, &n_outcomes));
  SYZ_TRY_ALL(g->world, judge(g, judged, n_outcomes));
  SYZ_TRY(ingest_share_rejects(g));
cleanup:
  syz_free(&mine.data);
  syz_free(&outcomes.data);
  syz_free(&sorted);
  syz_free(&all);
  syz_free(&judged);
  return st;
}

void ingest_drop(ingest *g) {
  const char *keep = syz_input_text(g->app->input, "ingest.keep");
  int64_t kept = 0;
  for (int64_t i = 0; i < g->n_objects; i++) {
    ingest_object *o = &g->object[i];
    bool has_spectrum = o->spectrum >= 0;
    /* Both of an AstroCLIP object come from one row. */
    bool has_image = o->has_image;
    if (has_spectrum && g->file[g->spectrum[o->spectrum].file].role == ROLE_HDF5 && o->candidate < 0 && g->spectrum[o->spectrum].has_image) has_image = true;
    bool is_kept = has_image || has_spectrum;
    if (!strcmp(keep, "paired")) is_kept = has_image && has_spectrum;
    if (!strcmp(keep, "spectra")) is_kept = has_spectrum;
    if (!strcmp(keep, "images")) is_kept = has_image;
    if (is_kept) {
      o->has_image = has_image;
      g->object[kept++] = *o;
    } else if (has_image || has_spectrum) {
      g->count.unpaired++;
    }
  }
  g->n_objects = kept;
  g->count.kept = kept;
}
