/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Ingest: identifiers of image positions that have none, and no identifier for two sources. One is made of the file's name and the row; where that
 * is not enough (files of one name in several folders), of the place on the sky too, which unlike the folder is the same wherever the data lie.
 */
#include "ingest.h"

#include <stdlib.h>
#include <string.h>

int64_t ingest_made_id(const char *path, int64_t row)
{
  const char *name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
  return (int64_t)(syz_checksum(name, strlen(name), (uint64_t)row) >> 2);
}

static int64_t placed_id(int64_t made, const ingest_candidate *c)
{
  double place[2] = {c->ra, c->dec};
  return (int64_t)(syz_checksum(place, sizeof place, (uint64_t)made) >> 2);
}

typedef struct id_entry {
  int64_t id, number;
} id_entry;

static int compare_ids(const void *a, const void *b)
{
  const id_entry *x = a, *y = b;
  if (x->id != y->id) return x->id < y->id ? -1 : 1;
  return (x->number > y->number) - (x->number < y->number);
}

syz_status ingest_make_ids(ingest *g)
{
  syz_status st = SYZ_OK;
  id_entry *made = NULL;
  int64_t n = 0;
  SYZ_ALLOC(made, "identifiers", g->n_candidates + 1);
  for (int64_t i = 0; i < g->n_candidates; i++) {
    ingest_candidate *c = &g->candidate[i];
    if (c->object_id != -1) continue;
    c->is_made_id = true;
    c->object_id = ingest_made_id(g->file[c->file].path, c->row);
    made[n++] = (id_entry){c->object_id, i};
  }
  qsort(made, (size_t)n, sizeof *made, compare_ids);
  for (int64_t i = 0; i < n; i++) {
    bool is_shared = (i && made[i - 1].id == made[i].id) || (i + 1 < n && made[i + 1].id == made[i].id);
    ingest_candidate *c = &g->candidate[made[i].number];
    if (is_shared) c->object_id = placed_id(made[i].id, c);
  }
cleanup:
  syz_free(&made);
  return st;
}

/* ------------------------------------------------------------- collisions */

/* An object as far as identifiers go. A spectrum may share its identifier with other spectra (ingest.exposures, ingest.duplicates) and with the image
 * position of the same target; made ones are no one else's. */
static bool clash(const ingest *g, const ingest_object *a, const ingest_object *b)
{
  const double same_place_arcsec = 1;
  bool is_made[2] = {false, false};
  const ingest_object *o[2] = {a, b};
  for (int k = 0; k < 2; k++) is_made[k] = o[k]->spectrum < 0 && g->candidate[o[k]->candidate].is_made_id;
  if (is_made[0] || is_made[1]) return true;
  if (a->spectrum >= 0 || b->spectrum >= 0 || g->keeps_duplicates) return false;
  double radius_arcsec = syz_input_real(g->app->input, "ingest.duplicate_radius_arcsec");
  if (radius_arcsec < same_place_arcsec) radius_arcsec = same_place_arcsec;
  return !(syz_separation(a->ra, a->dec, b->ra, b->dec) * 3600 <= radius_arcsec);
}

syz_status ingest_check_ids(const ingest *g)
{
  syz_status st = SYZ_OK;
  id_entry *ids = NULL;
  SYZ_ALLOC(ids, "identifiers", g->n_objects + 1);
  for (int64_t i = 0; i < g->n_objects; i++) ids[i] = (id_entry){g->object[i].object_id, i};
  qsort(ids, (size_t)g->n_objects, sizeof *ids, compare_ids);
  for (int64_t i = 1; i < g->n_objects; i++) {
    if (ids[i].id != ids[i - 1].id) continue;
    const ingest_object *a = &g->object[ids[i - 1].number], *b = &g->object[ids[i].number];
    if (!clash(g, a, b)) continue;
    int64_t row_a, row_b;
    const char *path_a = g->file[ingest_file_of_object(g, a, &row_a)].path, *path_b = g->file[ingest_file_of_object(g, b, &row_b)].path;
    SYZ_REQUIRE(false, SYZ_ERR_DATA,
                "object_id %lld is that of two sources: %s row %lld and %s row %lld (ingest.id names a column that tells them apart, or none; ingest.duplicates: "
                "keep allows identifiers that the files give twice)",
                (long long)ids[i].id, path_a, (long long)row_a, path_b, (long long)row_b);
  }
cleanup:
  syz_free(&ids);
  return st;
}
