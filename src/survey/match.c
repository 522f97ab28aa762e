/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Ingest, second pass: spectra and image positions become objects. An object is on the rank that reads its spectrum's
 * file, or else its position's file; objects with a spectrum come first, then catalogue rows, then centres of images,
 * each by file and row.
 */
#include "ingest.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ----------------------------------------------------------------- repeats */

/** A spectrum on the rank of its identifier. */
typedef struct claim {
  int64_t id, row, spectrum; /**< its number on its own rank */
  int32_t file, home;
} claim;

static int compare_claims(const void *a, const void *b)
{
  const claim *x = a, *y = b;
  if (x->id != y->id) return x->id < y->id ? -1 : 1;
  if (x->file != y->file) return x->file - y->file;
  return (x->row > y->row) - (x->row < y->row);
}

static syz_status list_claims(ingest *g, ingest_mail *claims)
{
  syz_status st = SYZ_OK;
  for (int64_t i = 0; i < g->n_spectra; i++) {
    const ingest_spectrum *p = ingest_spectrum_at(g, i);
    if (p->cut != SYZ_CUT_NONE) continue;
    claim c = {p->info.object_id, p->row, i, p->file, g->rank};
    SYZ_TRY(ingest_post(claims, &c, sizeof c, ingest_owner(g, c.id)));
  }
cleanup:
  return st;
}

/* Repeats are all but the first of the same object in several files, because a split into train and test could separate
 * them. Exposures of one file that the input asks for are no repeats. */
static syz_status list_repeats(const ingest *g, ingest_bytes *claims, ingest_mail *repeats)
{
  syz_status st = SYZ_OK;
  claim *c = (claim *)(void *)claims->data;
  int64_t n = (int64_t)(claims->n / sizeof *c);
  if (n) qsort(c, (size_t)n, sizeof *c, compare_claims);
  for (int64_t i = 1, first = 0; i < n; i++) {
    if (c[i].id != c[first].id) {
      first = i;
      continue;
    }
    if (g->spectra_options.keeps_exposures && c[i].file == c[first].file) continue;
    SYZ_TRY(ingest_post(repeats, &c[i].spectrum, sizeof c[i].spectrum, c[i].home));
  }
cleanup:
  return st;
}

/* is_out [n_spectra]: cut, or a dropped repeat. Collective. */
static syz_status find_repeats(ingest *g, bool *is_out)
{
  syz_status st = SYZ_OK;
  ingest_mail m = {0};
  ingest_bytes claims = {NULL, 0, 0}, found = {NULL, 0, 0};
  for (int64_t i = 0; i < g->n_spectra; i++) is_out[i] = ingest_spectrum_at(g, i)->cut != SYZ_CUT_NONE;
  SYZ_TRY_ALL(g->world, list_claims(g, &m));
  SYZ_TRY(ingest_send(g, &m, sizeof(claim), &claims));
  SYZ_TRY_ALL(g->world, list_repeats(g, &claims, &m));
  SYZ_TRY(ingest_send(g, &m, sizeof(int64_t), &found));
  for (size_t at = 0; at < found.n; at += sizeof(int64_t)) {
    g->count.repeated++;
    if (!g->options.keeps_duplicates) is_out[*(const int64_t *)(const void *)(found.data + at)] = true;
  }
cleanup:
  ingest_mail_free(&m);
  syz_free(&claims.data);
  syz_free(&found.data);
  return st;
}

/* ----------------------------------------------------------------- objects */

/* The nearest first, then by file and row. */
static int compare_offers(const void *a, const void *b)
{
  const ingest_offer *x = a, *y = b;
  if (x->spectrum != y->spectrum) return x->spectrum < y->spectrum ? -1 : 1;
  if (x->chord2 < y->chord2 || x->chord2 > y->chord2) return x->chord2 < y->chord2 ? -1 : 1;
  return ingest_compare_candidates(&x->candidate, &y->candidate);
}

static ingest_object *new_object(ingest *g, ingest_object o)
{
  for (int b = 0; b < SYZ_BANDS; b++) o.image_file[b] = NO_FILE;
  g->object[g->n_objects] = o;
  return &g->object[g->n_objects++];
}

static syz_status take_offer(ingest *g, ingest_object *o, const ingest_offer *offer, ingest_mail *takes)
{
  syz_status st = SYZ_OK;
  const ingest_candidate *c = &offer->candidate;
  o->candidate = g->n_candidates++;
  o->image_ra = c->ra;
  o->image_dec = c->dec;
  o->wants_image = !c->has_pixels;
  o->has_image = c->has_pixels;
  SYZ_TRY(ingest_add(&g->candidates, c, g->candidate_bytes));
  SYZ_TRY(ingest_post(takes, &offer->place, sizeof offer->place, offer->owner));
cleanup:
  return st;
}

/* Objects of this rank's spectra, each with the best position offered to it. */
static syz_status make_spectra_objects(ingest *g, const bool *is_out, bool has_catalogue, bool has_positions,
                                       ingest_bytes *offers, ingest_mail *takes)
{
  syz_status st = SYZ_OK;
  size_t item = ingest_offer_bytes(g), at = 0;
  bool has_planes = g->n_planes > 0;
  if (offers->n) qsort(offers->data, offers->n / item, item, compare_offers);
  SYZ_ALLOC(g->object, "objects", g->n_spectra + 1);
  for (int64_t i = 0; i < g->n_spectra; i++) {
    const ingest_spectrum *s = ingest_spectrum_at(g, i);
    if (is_out[i]) continue;
    ingest_object *o = new_object(g, (ingest_object){.object_id = s->info.object_id,
                                                     .ra = s->info.ra,
                                                     .dec = s->info.dec,
                                                     .image_ra = s->info.ra,
                                                     .image_dec = s->info.dec,
                                                     .spectrum = i,
                                                     .candidate = -1});
    if (g->file[s->file].role == ROLE_HDF5 && !has_positions && !has_planes) continue;
    const ingest_offer *best = NULL;
    for (; at < offers->n; at += item) {
      const ingest_offer *offer = (const ingest_offer *)(void *)(offers->data + at);
      if (offer->spectrum > i) break;
      if (offer->spectrum == i && !best) best = offer;
    }
    if (best)
      SYZ_TRY(take_offer(g, o, best, takes));
    else if (has_catalogue)
      g->count.unmatched++;
    else
      o->wants_image =
          has_planes && isfinite(o->ra) && isfinite(o->dec); /* no catalogue: the image is cut where the fibre was */
  }
cleanup:
  return st;
}

/* Image positions without a spectrum. */
static syz_status make_position_objects(ingest *g, const ingest_bytes *rest)
{
  syz_status st = SYZ_OK;
  ingest_object *more = NULL;
  int64_t n = (int64_t)(rest->n / g->candidate_bytes), first = g->n_candidates;
  if (n) SYZ_TRY(ingest_add(&g->candidates, rest->data, rest->n));
  g->n_candidates += n;
  SYZ_ALLOC(more, "objects", g->n_objects + n + 1);
  memcpy(more, g->object, (size_t)g->n_objects * sizeof *more);
  syz_free(&g->object);
  g->object = more;
  more = NULL;
  for (int64_t i = first; i < g->n_candidates; i++) {
    const ingest_candidate *c = ingest_candidate_in(g, &g->candidates, i);
    new_object(g, (ingest_object){.object_id = c->object_id,
                                  .ra = c->ra,
                                  .dec = c->dec,
                                  .image_ra = c->ra,
                                  .image_dec = c->dec,
                                  .spectrum = -1,
                                  .candidate = i,
                                  .wants_image = !c->has_pixels,
                                  .has_image = c->has_pixels});
  }
cleanup:
  syz_free(&more);
  return st;
}

syz_status ingest_make_objects(ingest *g)
{
  syz_status st = SYZ_OK;
  ingest_sky *sky = NULL;
  ingest_mail takes = {0};
  ingest_bytes offers = {NULL, 0, 0}, rest = {NULL, 0, 0};
  bool *is_out = syz_alloc("spectra that are out", (size_t)g->n_spectra + 1, sizeof *is_out);
  SYZ_TRY_ALL(g->world, is_out ? SYZ_OK : SYZ_ERR_MEMORY);
  SYZ_TRY(find_repeats(g, is_out));
  SYZ_TRY(ingest_sky_open(g, is_out, &sky));
  SYZ_TRY(ingest_sky_read(sky));
  SYZ_TRY(ingest_share_rejects(g));
  SYZ_TRY(ingest_check_roles(g));
  SYZ_TRY(ingest_check_columns(g));
  SYZ_TRY(ingest_sky_drop_copies(sky));
  SYZ_TRY(ingest_sky_offer(sky, &offers));
  int64_t seen[2] = {g->count.catalogued, g->count.positions};
  syz_allreduce_i64(g->world, seen, 2, SYZ_SUM);
  SYZ_TRY_ALL(g->world, make_spectra_objects(g, is_out, seen[0] > 0, seen[1] > 0, &offers, &takes));
  SYZ_TRY(ingest_sky_rest(sky, &takes, &rest));
  ingest_sky_close(&sky);
  SYZ_TRY(ingest_make_ids(g, &rest));
  SYZ_TRY_ALL(g->world, make_position_objects(g, &rest));
cleanup:
  ingest_sky_close(&sky);
  syz_free(&is_out);
  ingest_mail_free(&takes);
  syz_free(&offers.data);
  syz_free(&rest.data);
  return st;
}

void ingest_drop(ingest *g)
{
  const char *keep = g->options.keep;
  int64_t kept = 0;
  for (int64_t i = 0; i < g->n_objects; i++) {
    ingest_object *o = &g->object[i];
    const ingest_spectrum *s = o->spectrum >= 0 ? ingest_spectrum_at(g, o->spectrum) : NULL;
    /* Image and spectrum of an AstroCLIP object come from one row. */
    bool has_image = o->has_image || (s && g->file[s->file].role == ROLE_HDF5 && o->candidate < 0 && s->has_image);
    bool is_kept = has_image || s;
    if (!strcmp(keep, "paired")) is_kept = has_image && s;
    if (!strcmp(keep, "spectra")) is_kept = s;
    if (!strcmp(keep, "images")) is_kept = has_image;
    if (is_kept) {
      o->has_image = has_image;
      g->object[kept++] = *o;
    } else if (has_image || s) {
      g->count.unpaired++;
    }
  }
  g->n_objects = kept;
}
