/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Ingest: one object per source (ingest.duplicates: drop). In this order:
 *
 * 1. rows with brick_primary = F are dropped when they are read (scan.c): the brick to which the source belongs has it
 * too; 2. where the northern and the southern imaging of the Legacy Surveys have sources of the same brick, those of
 * the side that the surveys keep there are kept (syz_photsys_kept); 3. of rows of different files within
 * ingest.duplicate_radius_arcsec, one is kept. The order of preference: with its own pixels before without; of the side
 * that the surveys keep, before unknown, before the other side; a catalogue row before the centre of an image; then the
 * first by file and row.
 *
 * Rows of one file are never copies of each other, because its catalogue lists distinct sources. In step 3 a row is
 * dropped for any preferred row that step 2 keeps, even if that row is dropped itself, so each decision needs only the
 * neighbourhood and no sequence of decisions.
 */
#include "ingest.h"

#include <math.h>

static int64_t brick_place(char photsys, int32_t brick) { return (photsys == 'N' ? 0 : SYZ_BRICKS + 1) + brick; }

syz_status ingest_note_bricks(ingest *g, ingest_bytes *candidates)
{
  syz_status st = SYZ_OK;
  for (int64_t i = 0, n = (int64_t)(candidates->n / g->candidate_bytes); i < n; i++) {
    ingest_candidate *c = ingest_candidate_in(g, candidates, i);
    c->photsys = syz_photsys(c->object_id, &c->brick);
    if (!c->photsys) continue;
    if (!g->has_bricks) SYZ_ALLOC(g->has_bricks, "bricks of both imagings", 2 * (SYZ_BRICKS + 1));
    g->has_bricks[brick_place(c->photsys, c->brick)] = 1;
  }
cleanup:
  return st;
}

syz_status ingest_share_bricks(ingest *g)
{
  syz_status st = SYZ_OK;
  int64_t any = g->has_bricks != NULL;
  syz_allreduce_i64(g->world, &any, 1, SYZ_MAX);
  if (!any) return st;
  if (!g->has_bricks) g->has_bricks = syz_alloc("bricks of both imagings", 2 * (SYZ_BRICKS + 1), sizeof *g->has_bricks);
  SYZ_TRY_ALL(g->world, g->has_bricks ? SYZ_OK : SYZ_ERR_MEMORY);
  syz_allreduce_f32(g->world, g->has_bricks, 2 * (SYZ_BRICKS + 1), SYZ_MAX);
cleanup:
  return st;
}

/* Step 2. */
static bool is_other_sides(const ingest *g, const ingest_candidate *c)
{
  if (!c->photsys || !isfinite(c->dec) || c->photsys == syz_photsys_kept(c->ra, c->dec)) return false;
  return g->has_bricks[brick_place(c->photsys == 'N' ? 'S' : 'N', c->brick)] > 0;
}

/* 0: the side that the surveys keep, 1: unknown, 2: the other side. */
static int side(const ingest_candidate *c)
{
  return !c->photsys ? 1 : c->photsys == syz_photsys_kept(c->ra, c->dec) ? 0 : 2;
}

static bool goes_before(const ingest_candidate *a, const ingest_candidate *b)
{
  int side_a = side(a), side_b = side(b);
  if (a->has_pixels != b->has_pixels) return a->has_pixels;
  if (side_a != side_b) return side_a < side_b;
  if (a->is_centre != b->is_centre) return b->is_centre;
  if (a->file != b->file) return a->file < b->file;
  return a->row < b->row;
}

typedef struct neighbourhood {
  const ingest *g;
  const ingest_bytes *all;
  const ingest_candidate *mine;
  bool gives_way;
} neighbourhood;

static bool look_at(void *context, int64_t number)
{
  neighbourhood *n = context;
  const ingest_candidate *other = ingest_candidate_in(n->g, n->all, number);
  bool are_centres = other->is_centre && n->mine->is_centre; /* centres are merged in centres.c */
  if (other->file != n->mine->file && !are_centres && !is_other_sides(n->g, other) && goes_before(other, n->mine))
    n->gives_way = true;
  return !n->gives_way;
}

syz_status ingest_find_copies(const ingest *g, const ingest_bytes *candidates, bool *is_copy)
{
  syz_status st = SYZ_OK;
  int64_t n = (int64_t)(candidates->n / g->candidate_bytes);
  double *ra = NULL, *dec = NULL, radius_deg = g->options.duplicate_radius_arcsec / 3600;
  syz_skytree *tree = NULL;
  SYZ_ALLOC(ra, "copies", n + 1);
  SYZ_ALLOC(dec, "copies", n + 1);
  for (int64_t i = 0; i < n; i++) {
    ra[i] = ingest_candidate_in(g, candidates, i)->ra;
    dec[i] = ingest_candidate_in(g, candidates, i)->dec;
  }
  SYZ_TRY(syz_skytree_create(n, ra, dec, &tree));
  for (int64_t i = 0; i < n; i++) {
    const ingest_candidate *c = ingest_candidate_in(g, candidates, i);
    if (!c->is_home) continue;
    neighbourhood near = {.g = g, .all = candidates, .mine = c, .gives_way = is_other_sides(g, c)};
    if (!near.gives_way && radius_deg > 0) syz_skytree_within(tree, c->ra, c->dec, radius_deg, look_at, &near);
    is_copy[i] = near.gives_way;
  }
cleanup:
  syz_skytree_destroy(&tree);
  syz_free(&ra);
  syz_free(&dec);
  return st;
}
