/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Ingest: objects at the centres of image files (ingest.centres). Several planes (bands, files) of one position give
 * one centre: a centre within a quarter of its plane's radius of an earlier kept centre is a repeat. Every rank has all
 * planes, so all find the same centres. Kept centres are indexed by cell of the sky, and only those in cells that the
 * quarter radius touches are compared.
 */
#include "ingest.h"

#include <math.h>
#include <string.h>

typedef struct merging {
  const ingest *g;
  int64_t *head; /**< [SYZ_CELLS] the last kept plane of a cell, + 1; 0 = none */
  int64_t *next; /**< [n_planes] the previous kept plane of its cell, + 1 */
  const ingest_plane *mine;
  bool is_known;
} merging;

static void compare_in_cell(void *context, int32_t cell)
{
  merging *m = context;
  double near_deg = m->mine->radius_deg / 4;
  for (int64_t k = m->head[cell]; k && !m->is_known; k = m->next[k - 1]) {
    const ingest_plane *other = &m->g->plane[k - 1];
    m->is_known = fabs(m->mine->dec - other->dec) < near_deg &&
                  syz_separation(m->mine->ra, m->mine->dec, other->ra, other->dec) < near_deg;
  }
}

syz_status ingest_find_centres(ingest *g)
{
  syz_status st = SYZ_OK;
  merging m = {.g = g};
  ingest_candidate c;
  if (!g->options.takes_centres) return st;
  SYZ_ALLOC(m.head, "image centres", SYZ_CELLS);
  SYZ_ALLOC(m.next, "image centres", g->n_planes + 1);
  for (int64_t i = 0; i < g->n_planes; i++) {
    const ingest_plane *p = m.mine = &g->plane[i];
    if (!isfinite(p->ra) || !isfinite(p->dec)) continue;
    m.is_known = false;
    syz_cells_around(p->ra, p->dec, fmin(90, p->radius_deg / 4), compare_in_cell, &m);
    if (m.is_known) continue;
    int32_t cell = syz_cell_of(p->ra, p->dec);
    m.next[i] = m.head[cell];
    m.head[cell] = i + 1;
    if (p->file % g->size != g->rank) continue;
    memset(&c, 0, sizeof c);
    c.object_id = -1;
    c.ra = p->ra;
    c.dec = p->dec;
    c.file = p->file;
    c.row = p->plane;
    c.is_centre = true;
    for (int k = 0; k < INGEST_LABELS; k++) c.label[k] = (double)NAN;
    SYZ_TRY(ingest_add(&g->found_candidates, &c, g->candidate_bytes));
  }
cleanup:
  syz_free(&m.head);
  syz_free(&m.next);
  return st;
}
