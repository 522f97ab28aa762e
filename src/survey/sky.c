/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Ingest: matches image positions and spectra. The sky is cut into cells that are distributed over the ranks
 * (syz_cell_of). A spectrum that needs an image is sent to every rank with a cell within its radius. Image positions
 * are read in blocks (stream.c); each is sent to the rank of its cell and, to find copies, to those with cells within
 * the radius of copies. Positions that cannot become objects are dropped at once: a rank keeps those in cells that an
 * image may cover, those near a spectrum, and those with their own pixels. With ingest.match: id spectra and positions
 * are instead compared on the rank of their identifier.
 *
 * Every decision depends only on the neighbourhood and on the order of files and rows, so it is the same on any number
 * of ranks.
 */
#include "ingest.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/** A spectrum that needs an image ("seeker"). */
typedef struct seeker {
  double ra, dec;
  int64_t id, spectrum; /**< its number on its own rank */
  int32_t home, pad;
} seeker;

/** A request for an identifier, or the answer. */
typedef struct question {
  int64_t id, place;
  int32_t asker, pad;
} question;

struct ingest_sky {
  ingest *g;
  bool by_place, by_id;
  double match_deg, copy_deg;
  ingest_bytes seekers, kept;
  int64_t n_seekers, n_kept;
  syz_skytree *tree;    /**< of the seekers' positions */
  bool *is_taken;       /**< [n_kept] */
  int64_t *stamp, turn; /**< [ranks] the turn in which a rank last received a record */
};

static seeker *seeker_at(const ingest_sky *s, int64_t i) { return (seeker *)(void *)s->seekers.data + i; }
static ingest_candidate *kept_at(const ingest_sky *s, int64_t i) { return ingest_candidate_in(s->g, &s->kept, i); }

void ingest_sky_close(ingest_sky **sky)
{
  ingest_sky *s = *sky;
  if (!s) return;
  syz_skytree_destroy(&s->tree);
  syz_free(&s->seekers.data);
  syz_free(&s->kept.data);
  syz_free(&s->is_taken);
  syz_free(&s->stamp);
  syz_free(sky);
}

/* ---------------------------------------------------------- destinations */

/** A record to be sent to every rank with a cell within a radius. */
typedef struct spreading {
  ingest_sky *s;
  ingest_mail *m;
  const void *record;
  size_t item;
  syz_status st;
} spreading;

static void post_to_cell(void *context, int32_t cell)
{
  spreading *p = context;
  int32_t rank = ingest_owner(p->s->g, cell);
  if (p->st != SYZ_OK || p->s->stamp[rank] == p->s->turn) return;
  p->s->stamp[rank] = p->s->turn;
  p->st = ingest_post(p->m, p->record, p->item, rank);
}

/* Sends it to every rank with a cell within the radius that has not received it in this turn. */
static syz_status post_around(ingest_sky *s, ingest_mail *m, const void *record, size_t item, double ra, double dec,
                              double radius_deg)
{
  spreading p = {s, m, record, item, SYZ_OK};
  syz_cells_around(ra, dec, radius_deg, post_to_cell, &p);
  return p.st;
}

/* ----------------------------------------------------------------- seekers */

static syz_status post_seekers(ingest_sky *s, const bool *is_out, ingest_mail *m)
{
  syz_status st = SYZ_OK;
  ingest *g = s->g;
  for (int64_t i = 0; i < g->n_spectra; i++) {
    const ingest_spectrum *p = ingest_spectrum_at(g, i);
    if (is_out[i]) continue;
    seeker o = {p->info.ra, p->info.dec, p->info.object_id, i, g->rank, 0};
    s->turn++;
    if (s->by_id) SYZ_TRY(ingest_post(m, &o, sizeof o, ingest_owner(g, o.id)));
    /* The decision about copies needs neighbours up to copy_deg outside of a rank's cells, and these are kept for the
     * spectra near them. */
    if (s->by_place && isfinite(o.ra) && isfinite(o.dec))
      SYZ_TRY(post_around(s, m, &o, sizeof o, o.ra, o.dec, s->match_deg + 2 * s->copy_deg));
  }
cleanup:
  return st;
}

static int compare_seekers(const void *a, const void *b)
{
  const seeker *x = a, *y = b;
  if (x->id != y->id) return x->id < y->id ? -1 : 1;
  if (x->home != y->home) return x->home - y->home;
  return (x->spectrum > y->spectrum) - (x->spectrum < y->spectrum);
}

static bool is_seeker_below(const void *row, const void *id)
{
  return ((const seeker *)row)->id < *(const int64_t *)id;
}

/* The first seeker of an identifier, or n. */
static int64_t find_seeker(const ingest_sky *s, int64_t id)
{
  const int64_t k = syz_lower_bound(&id, s->seekers.data, s->n_seekers, sizeof(seeker), is_seeker_below);
  return k < s->n_seekers && seeker_at(s, k)->id == id ? k : s->n_seekers;
}

static syz_status index_seekers(ingest_sky *s)
{
  syz_status st = SYZ_OK;
  double *ra = NULL, *dec = NULL;
  s->n_seekers = (int64_t)(s->seekers.n / sizeof(seeker));
  if (s->by_id && s->n_seekers) qsort(s->seekers.data, (size_t)s->n_seekers, sizeof(seeker), compare_seekers);
  if (!s->by_place) return SYZ_OK;
  SYZ_ALLOC(ra, "spectra on the sky", s->n_seekers + 1);
  SYZ_ALLOC(dec, "spectra on the sky", s->n_seekers + 1);
  for (int64_t i = 0; i < s->n_seekers; i++) {
    ra[i] = seeker_at(s, i)->ra;
    dec[i] = seeker_at(s, i)->dec;
  }
  SYZ_TRY(syz_skytree_create(s->n_seekers, ra, dec, &s->tree));
cleanup:
  syz_free(&ra);
  syz_free(&dec);
  return st;
}

syz_status ingest_sky_open(ingest *g, const bool *is_out, ingest_sky **out)
{
  syz_status st = SYZ_OK;
  ingest_mail m = {0};
  *out = NULL;
  ingest_sky *s = syz_alloc("sky", 1, sizeof *s);
  if (s) s->stamp = syz_alloc("sky", (size_t)g->size, sizeof *s->stamp);
  SYZ_TRY_ALL(g->world, s && s->stamp ? SYZ_OK : SYZ_ERR_MEMORY);
  s->g = g;
  s->by_place = !strcmp(g->options.match, "sky");
  s->by_id = !strcmp(g->options.match, "id");
  s->match_deg = g->options.match_radius_arcsec / 3600;
  s->copy_deg = g->options.keeps_duplicates ? 0 : g->options.duplicate_radius_arcsec / 3600;
  SYZ_TRY_ALL(g->world, post_seekers(s, is_out, &m));
  SYZ_TRY(ingest_send(g, &m, sizeof(seeker), &s->seekers));
  SYZ_TRY_ALL(g->world, index_seekers(s));
  *out = s;
  s = NULL;
cleanup:
  ingest_mail_free(&m);
  ingest_sky_close(&s);
  return st;
}

/* --------------------------------------------------------- reading positions */

/* Marks the positions of the block whose identifier a spectrum asks for. Collective. */
static syz_status ask_for_ids(ingest_sky *s, ingest_bytes *block)
{
  syz_status st = SYZ_OK;
  ingest *g = s->g;
  ingest_mail m = {0}, back = {0};
  ingest_bytes asked = {NULL, 0, 0}, wanted = {NULL, 0, 0};
  syz_status code = SYZ_OK;
  int64_t n = (int64_t)(block->n / g->candidate_bytes);
  for (int64_t i = 0; i < n && code == SYZ_OK; i++) {
    question q = {ingest_candidate_in(g, block, i)->object_id, i, g->rank, 0};
    code = ingest_post(&m, &q, sizeof q, ingest_owner(g, q.id));
  }
  SYZ_TRY_ALL(g->world, code);
  SYZ_TRY(ingest_send(g, &m, sizeof(question), &asked));
  for (size_t at = 0; at < asked.n && code == SYZ_OK; at += sizeof(question)) {
    const question *q = (const question *)(void *)(asked.data + at);
    if (find_seeker(s, q->id) < s->n_seekers) code = ingest_post(&back, q, sizeof *q, q->asker);
  }
  SYZ_TRY_ALL(g->world, code);
  SYZ_TRY(ingest_send(g, &back, sizeof(question), &wanted));
  for (size_t at = 0; at < wanted.n; at += sizeof(question))
    ingest_candidate_in(g, block, ((const question *)(void *)(wanted.data + at))->place)->is_wanted = true;
cleanup:
  ingest_mail_free(&m);
  ingest_mail_free(&back);
  syz_free(&asked.data);
  syz_free(&wanted.data);
  return st;
}

/* Sends each position to the rank of its cell, its home, and copies of the record to ranks that need it to find theirs.
 */
static syz_status post_block(ingest_sky *s, ingest_bytes *block, ingest_mail *m)
{
  syz_status st = SYZ_OK;
  ingest *g = s->g;
  SYZ_TRY(ingest_note_bricks(g, block));
  int64_t n = (int64_t)(block->n / g->candidate_bytes);
  g->count.positions += n;
  for (int64_t i = 0; i < n; i++) {
    ingest_candidate *c = ingest_candidate_in(g, block, i);
    if (!c->is_centre) g->count.catalogued++;
    if (!isfinite(c->ra) || !isfinite(c->dec)) { /* rows of HDF5 files, which can be matched only by identifier */
      c->is_home = true;
      SYZ_TRY(ingest_post(m, c, g->candidate_bytes, ingest_owner(g, c->object_id)));
      continue;
    }
    int32_t home = ingest_owner(g, syz_cell_of(c->ra, c->dec));
    s->stamp[home] = ++s->turn;
    c->is_home = true;
    SYZ_TRY(ingest_post(m, c, g->candidate_bytes, home));
    if (!(s->copy_deg > 0)) continue;
    c->is_home = false;
    SYZ_TRY(post_around(s, m, c, g->candidate_bytes, c->ra, c->dec, s->copy_deg));
  }
cleanup:
  return st;
}

/* Whether an image could be cut there, by the cells of the planes. */
static bool may_have_image(const ingest_sky *s, const ingest_candidate *c)
{
  return c->has_pixels || (isfinite(c->ra) && ingest_plane_reaches(s->g, syz_cell_of(c->ra, c->dec)));
}

static syz_status sift(ingest_sky *s, const ingest_bytes *arrived)
{
  syz_status st = SYZ_OK;
  ingest *g = s->g;
  for (int64_t i = 0, n = (int64_t)(arrived->n / g->candidate_bytes); i < n; i++) {
    const ingest_candidate *c = ingest_candidate_in(g, arrived, i);
    bool is_near = s->by_place && syz_skytree_nearest(s->tree, c->ra, c->dec, s->match_deg + s->copy_deg, NULL) >= 0;
    if (is_near || c->is_wanted || may_have_image(s, c))
      SYZ_TRY(ingest_add(&s->kept, c, g->candidate_bytes));
    else
      g->count.outside += c->is_home;
  }
cleanup:
  return st;
}

syz_status ingest_sky_read(ingest_sky *s)
{
  syz_status st = SYZ_OK;
  ingest *g = s->g;
  ingest_stream *stream = NULL;
  ingest_bytes block = {NULL, 0, 0}, arrived = {NULL, 0, 0};
  ingest_mail m = {0};
  SYZ_TRY_ALL(g->world, ingest_stream_open(g, &stream));
  for (int64_t goes_on = 1; goes_on;) {
    SYZ_TRY_ALL(g->world, ingest_stream_next(g, stream, &block));
    goes_on = block.n > 0;
    syz_allreduce_i64(g->world, &goes_on, 1, SYZ_MAX);
    if (!goes_on) break;
    if (s->by_id) SYZ_TRY(ask_for_ids(s, &block));
    arrived.n = 0;
    SYZ_TRY_ALL(g->world, post_block(s, &block, &m));
    SYZ_TRY(ingest_send(g, &m, g->candidate_bytes, &arrived));
    SYZ_TRY_ALL(g->world, sift(s, &arrived));
  }
  s->n_kept = (int64_t)(s->kept.n / g->candidate_bytes);
cleanup:
  ingest_stream_close(&stream);
  ingest_mail_free(&m);
  syz_free(&block.data);
  syz_free(&arrived.data);
  syz_free(&g->found_candidates.data);
  g->found_candidates.n = g->found_candidates.room = 0;
  return st;
}

/* ------------------------------------------------------------------ copies */

static syz_status drop_copies(ingest_sky *s)
{
  syz_status st = SYZ_OK;
  ingest *g = s->g;
  bool *is_copy = NULL;
  int64_t kept = 0;
  SYZ_ALLOC(is_copy, "copies", s->n_kept + 1);
  if (!g->options.keeps_duplicates) SYZ_TRY(ingest_find_copies(g, &s->kept, is_copy));
  for (int64_t i = 0; i < s->n_kept; i++) {
    const ingest_candidate *c = kept_at(s, i);
    if (!c->is_home) continue;
    g->count.copies += is_copy[i];
    if (!is_copy[i]) memmove(kept_at(s, kept++), c, g->candidate_bytes);
  }
  s->n_kept = kept;
  s->kept.n = (size_t)kept * g->candidate_bytes;
  if (kept) qsort(s->kept.data, (size_t)kept, g->candidate_bytes, ingest_compare_candidates);
  SYZ_ALLOC(s->is_taken, "positions taken", kept + 1);
cleanup:
  syz_free(&is_copy);
  return st;
}

syz_status ingest_sky_drop_copies(ingest_sky *s)
{
  syz_status st = SYZ_OK;
  SYZ_TRY(ingest_share_bricks(s->g));
  SYZ_TRY_ALL(s->g->world, drop_copies(s));
cleanup:
  return st;
}

/* ------------------------------------------------------------------- pairs */

static void set_offer(const ingest_sky *s, int64_t place, ingest_offer *o)
{
  o->owner = s->g->rank;
  o->place = place;
  memcpy(&o->candidate, kept_at(s, place), s->g->candidate_bytes);
}

static syz_status offer_by_place(ingest_sky *s, ingest_mail *m)
{
  syz_status st = SYZ_OK;
  double *ra = NULL, *dec = NULL;
  syz_skytree *tree = NULL;
  ingest_offer o;
  memset(&o, 0, sizeof o);
  SYZ_ALLOC(ra, "positions", s->n_kept + 1);
  SYZ_ALLOC(dec, "positions", s->n_kept + 1);
  for (int64_t i = 0; i < s->n_kept; i++) {
    ra[i] = kept_at(s, i)->ra;
    dec[i] = kept_at(s, i)->dec;
  }
  SYZ_TRY(syz_skytree_create(s->n_kept, ra, dec, &tree));
  for (int64_t i = 0; i < s->n_seekers; i++) {
    const seeker *p = seeker_at(s, i);
    int64_t place = syz_skytree_search(tree, p->ra, p->dec, s->match_deg, &o.chord2);
    if (place < 0) continue;
    o.spectrum = p->spectrum;
    set_offer(s, place, &o);
    SYZ_TRY(ingest_post(m, &o, ingest_offer_bytes(s->g), p->home));
  }
cleanup:
  syz_skytree_destroy(&tree);
  syz_free(&ra);
  syz_free(&dec);
  return st;
}

/* Sends positions with a requested identifier to the rank of the identifier. */
static syz_status post_wanted(ingest_sky *s, ingest_mail *m)
{
  syz_status st = SYZ_OK;
  ingest_offer o;
  memset(&o, 0, sizeof o);
  for (int64_t i = 0; i < s->n_kept; i++) {
    if (!kept_at(s, i)->is_wanted) continue;
    set_offer(s, i, &o);
    SYZ_TRY(ingest_post(m, &o, ingest_offer_bytes(s->g), ingest_owner(s->g, o.candidate.object_id)));
  }
cleanup:
  return st;
}

/* Sends each to all spectra that ask for it; their ranks choose the first. */
static syz_status offer_by_id(ingest_sky *s, ingest_bytes *wanted, ingest_mail *m)
{
  syz_status st = SYZ_OK;
  for (size_t at = 0; at < wanted->n; at += ingest_offer_bytes(s->g)) {
    ingest_offer *o = (ingest_offer *)(void *)(wanted->data + at);
    for (int64_t i = find_seeker(s, o->candidate.object_id);
         i < s->n_seekers && seeker_at(s, i)->id == o->candidate.object_id; i++) {
      o->spectrum = seeker_at(s, i)->spectrum;
      SYZ_TRY(ingest_post(m, o, ingest_offer_bytes(s->g), seeker_at(s, i)->home));
    }
  }
cleanup:
  return st;
}

syz_status ingest_sky_offer(ingest_sky *s, ingest_bytes *offers)
{
  syz_status st = SYZ_OK;
  ingest *g = s->g;
  ingest_mail m = {0}, wanted_mail = {0};
  ingest_bytes wanted = {NULL, 0, 0};
  if (s->by_id) {
    SYZ_TRY_ALL(g->world, post_wanted(s, &wanted_mail));
    SYZ_TRY(ingest_send(g, &wanted_mail, ingest_offer_bytes(g), &wanted));
    SYZ_TRY_ALL(g->world, offer_by_id(s, &wanted, &m));
  } else {
    SYZ_TRY_ALL(g->world, s->by_place ? offer_by_place(s, &m) : SYZ_OK);
  }
  SYZ_TRY(ingest_send(g, &m, ingest_offer_bytes(g), offers));
cleanup:
  ingest_mail_free(&m);
  ingest_mail_free(&wanted_mail);
  syz_free(&wanted.data);
  return st;
}

/* -------------------------------------------------------------------- rest */

static syz_status post_rest(ingest_sky *s, const ingest_bytes *taken, ingest_mail *m)
{
  syz_status st = SYZ_OK;
  ingest *g = s->g;
  for (size_t at = 0; at < taken->n; at += sizeof(int64_t))
    s->is_taken[*(const int64_t *)(void *)(taken->data + at)] = true;
  for (int64_t i = 0; i < s->n_kept; i++) {
    const ingest_candidate *c = kept_at(s, i);
    if (s->is_taken[i]) continue;
    if (may_have_image(s, c))
      SYZ_TRY(ingest_post(m, c, g->candidate_bytes, c->file % g->size));
    else
      g->count.outside++;
  }
cleanup:
  return st;
}

syz_status ingest_sky_rest(ingest_sky *s, ingest_mail *takes, ingest_bytes *rest)
{
  syz_status st = SYZ_OK;
  ingest *g = s->g;
  ingest_mail m = {0};
  ingest_bytes taken = {NULL, 0, 0};
  SYZ_TRY(ingest_send(g, takes, sizeof(int64_t), &taken));
  SYZ_TRY_ALL(g->world, post_rest(s, &taken, &m));
  SYZ_TRY(ingest_send(g, &m, g->candidate_bytes, rest));
  if (rest->n) qsort(rest->data, rest->n / g->candidate_bytes, g->candidate_bytes, ingest_compare_candidates);
cleanup:
  ingest_mail_free(&m);
  syz_free(&taken.data);
  return st;
}
