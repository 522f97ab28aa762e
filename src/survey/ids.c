/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Ingest: makes identifiers for image positions without one, and checks that no two sources share one. An identifier is
 * a hash of the file's name and the row. If that is not unique (files of one name in several folders), the sky position
 * is hashed too, because unlike the folder it does not change when data are moved. Equal identifiers are compared on
 * one rank.
 */
#include "ingest.h"

#include <stdlib.h>
#include <string.h>

static int64_t made_id(const char *path, int64_t row)
{
  const char *name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
  return (int64_t)(syz_checksum(name, strlen(name), (uint64_t)row) >> 2);
}

static int64_t placed_id(const ingest_candidate *c)
{
  double place[2] = {c->ra, c->dec};
  return (int64_t)(syz_checksum(place, sizeof place, (uint64_t)c->object_id) >> 2);
}

/** An object, or a position that becomes one, on the rank of its identifier. */
typedef struct holder {
  int64_t id, row, place; /**< place: its number on its own rank */
  double ra, dec;
  int32_t file, home;
  bool is_made, has_spectrum;
} holder;

static int compare_holders(const void *a, const void *b)
{
  const holder *x = a, *y = b;
  if (x->id != y->id) return x->id < y->id ? -1 : 1;
  if (x->has_spectrum != y->has_spectrum) return x->has_spectrum ? -1 : 1;
  if (x->file != y->file) return x->file - y->file;
  return (x->row > y->row) - (x->row < y->row);
}

static holder *sorted(ingest_bytes *holders, int64_t *n)
{
  holder *h = (holder *)(void *)holders->data;
  *n = (int64_t)(holders->n / sizeof *h);
  if (*n) qsort(h, (size_t)*n, sizeof *h, compare_holders);
  return h;
}

/* ------------------------------------------------------------------ making */

static syz_status make_plain(ingest *g, ingest_bytes *candidates, ingest_mail *m)
{
  syz_status st = SYZ_OK;
  for (int64_t i = 0, n = (int64_t)(candidates->n / g->candidate_bytes); i < n; i++) {
    ingest_candidate *c = ingest_candidate_in(g, candidates, i);
    if (c->object_id != -1) continue;
    holder h;
    memset(&h, 0, sizeof h);
    c->is_made_id = true;
    c->object_id = h.id = made_id(g->file[c->file].path, c->row);
    h.place = i;
    h.home = g->rank;
    SYZ_TRY(ingest_post(m, &h, sizeof h, ingest_owner(g, h.id)));
  }
cleanup:
  return st;
}

static syz_status find_shared(ingest_bytes *holders, ingest_mail *m)
{
  syz_status st = SYZ_OK;
  int64_t n;
  const holder *h = sorted(holders, &n);
  for (int64_t i = 0; i < n; i++) {
    bool is_shared = (i && h[i - 1].id == h[i].id) || (i + 1 < n && h[i + 1].id == h[i].id);
    if (is_shared) SYZ_TRY(ingest_post(m, &h[i].place, sizeof h[i].place, h[i].home));
  }
cleanup:
  return st;
}

syz_status ingest_make_ids(ingest *g, ingest_bytes *candidates)
{
  syz_status st = SYZ_OK;
  ingest_mail m = {0};
  ingest_bytes holders = {NULL, 0, 0}, shared = {NULL, 0, 0};
  SYZ_TRY_ALL(g->world, make_plain(g, candidates, &m));
  SYZ_TRY(ingest_send(g, &m, sizeof(holder), &holders));
  SYZ_TRY_ALL(g->world, find_shared(&holders, &m));
  SYZ_TRY(ingest_send(g, &m, sizeof(int64_t), &shared));
  for (size_t at = 0; at < shared.n; at += sizeof(int64_t)) {
    ingest_candidate *c = ingest_candidate_in(g, candidates, *(const int64_t *)(const void *)(shared.data + at));
    c->object_id = placed_id(c);
  }
cleanup:
  ingest_mail_free(&m);
  syz_free(&holders.data);
  syz_free(&shared.data);
  return st;
}

/* ------------------------------------------------------------- collisions */

/* A spectrum may share its identifier with other spectra (ingest.exposures, ingest.duplicates) and with the image
 * position of the same target; copies of one position may share theirs. Identifiers made here must be unique. */
static bool clash(const ingest *g, const holder *a, const holder *b)
{
  const double same_place_arcsec = 1;
  if (a->is_made || b->is_made) return true;
  if (a->has_spectrum || b->has_spectrum || g->options.keeps_duplicates) return false;
  double radius_arcsec = g->options.duplicate_radius_arcsec;
  if (radius_arcsec < same_place_arcsec) radius_arcsec = same_place_arcsec;
  return !(syz_separation(a->ra, a->dec, b->ra, b->dec) * 3600 <= radius_arcsec);
}

static syz_status post_holders(ingest *g, ingest_mail *m)
{
  syz_status st = SYZ_OK;
  for (int64_t i = 0; i < g->n_objects; i++) {
    const ingest_object *o = &g->object[i];
    holder h;
    memset(&h, 0, sizeof h);
    h.id = o->object_id;
    h.file = ingest_file_of_object(g, o, &h.row);
    h.ra = o->ra;
    h.dec = o->dec;
    h.has_spectrum = o->spectrum >= 0;
    h.is_made = !h.has_spectrum && ingest_candidate_in(g, &g->candidates, o->candidate)->is_made_id;
    SYZ_TRY(ingest_post(m, &h, sizeof h, ingest_owner(g, h.id)));
  }
cleanup:
  return st;
}

/* The clash with the lowest identifier, so that the same one is reported on any number of ranks; false when there is
 * none. */
static bool find_clash(const ingest *g, ingest_bytes *holders, holder pair[2])
{
  int64_t n;
  const holder *h = sorted(holders, &n);
  for (int64_t i = 1; i < n; i++) {
    if (h[i].id != h[i - 1].id || !clash(g, &h[i - 1], &h[i])) continue;
    pair[0] = h[i - 1];
    pair[1] = h[i];
    return true;
  }
  return false;
}

syz_status ingest_check_ids(ingest *g)
{
  syz_status st = SYZ_OK;
  ingest_mail m = {0};
  ingest_bytes holders = {NULL, 0, 0};
  holder pair[2];
  memset(pair, 0, sizeof pair);
  SYZ_TRY_ALL(g->world, post_holders(g, &m));
  SYZ_TRY(ingest_send(g, &m, sizeof(holder), &holders));
  bool has_clash = find_clash(g, &holders, pair);
  int64_t lowest = has_clash ? pair[0].id : INT64_MAX;
  syz_allreduce_i64(g->world, &lowest, 1, SYZ_MIN);
  syz_status code = SYZ_OK;
  if (has_clash && pair[0].id == lowest)
    code = syz_error_set(
        SYZ_ERR_DATA, __FILE__, __LINE__,
        "object_id %lld belongs to two sources: %s row %lld and %s row %lld (ingest.id names a column that tells them "
        "apart, or none; ingest.duplicates: keep allows repeated identifiers)",
        (long long)pair[0].id, g->file[pair[0].file].path, (long long)pair[0].row, g->file[pair[1].file].path,
        (long long)pair[1].row);
  SYZ_TRY_ALL(g->world, code);
cleanup:
  ingest_mail_free(&m);
  syz_free(&holders.data);
  return st;
}
