/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Ingest: redshift catalogues joined to spectra by TARGETID. A catalogue has a row for each survey, programme and tile
 * in which an object was observed. The chosen row is the primary one, then one with ZWARN 0, then the one with the
 * larger DELTACHI2, then the first by file and row. It gives redshift, ZWARN, spectral type and the catalogue's labels,
 * and the primary flag and fibre status if the spectrum's own file lacks them. Rows are read in blocks and sent to the
 * ranks of their identifiers, which keep those of spectra.
 */
#include "ingest.h"

#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 16384 };

/** A catalogue's row, as sent. */
typedef struct joined_row {
  int64_t spectrum; /**< its number on its own rank, once that is known */
  int32_t file, pad;
  syz_redshift z;
  double label[INGEST_LABELS]; /**< the first n_labels are sent */
} joined_row;

/** A spectrum on the rank of its identifier. */
typedef struct wanting {
  int64_t id, spectrum,
      best; /**< best: its row among those kept, -1 = none; set only for the first spectrum of an identifier */
  int32_t home, pad;
} wanting;

/** The progress of a rank in its share of the catalogues, and the rows that it keeps. */
typedef struct joining {
  ingest *g;
  int file;
  syz_zcatalogue *open;
  int64_t next, rows;
  syz_redshift *row; /**< [BLOCK] */
  double *label;     /**< [n_labels, BLOCK] */
  ingest_bytes wanted, kept;
} joining;

static size_t row_bytes(const ingest *g) { return offsetof(joined_row, label) + (size_t)g->n_labels * sizeof(double); }

static int compare_wanting(const void *a, const void *b)
{
  const wanting *x = a, *y = b;
  if (x->id != y->id) return x->id < y->id ? -1 : 1;
  if (x->home != y->home) return x->home - y->home;
  return (x->spectrum > y->spectrum) - (x->spectrum < y->spectrum);
}

static bool is_better(const joined_row *a, const joined_row *b)
{
  int better = syz_redshift_compare(&a->z, &b->z);
  if (better) return better < 0;
  return a->file != b->file ? a->file < b->file : a->z.row < b->z.row;
}

static bool is_below(const void *row, const void *id) { return ((const wanting *)row)->id < *(const int64_t *)id; }

static wanting *find_wanting(const joining *j, int64_t id)
{
  wanting *w = (wanting *)(void *)j->wanted.data;
  const int64_t n = (int64_t)(j->wanted.n / sizeof *w), k = syz_lower_bound(&id, w, n, sizeof *w, is_below);
  return k < n && w[k].id == id ? &w[k] : NULL;
}

static void close_catalogue(joining *j)
{
  syz_zcatalogue_close(&j->open);
  j->file += j->g->size;
}

/* No row of a refused file may be used, so the whole file is read once before its first row is used. */
static syz_status check_catalogue(joining *j)
{
  syz_status st = SYZ_OK;
  for (int64_t first = 0; first < j->rows; first += BLOCK) {
    SYZ_TRY(syz_zcatalogue_read(j->open, first, j->rows - first < BLOCK ? j->rows - first : BLOCK, j->row));
    syz_zcatalogue_release(j->open);
  }
cleanup:
  return st;
}

static syz_status open_catalogue(joining *j)
{
  syz_status st = SYZ_OK;
  ingest *g = j->g;
  SYZ_TRY(syz_zcatalogue_open(g->file[j->file].path, g->options.verifies, g->cuts.primary, &j->open));
  j->next = 0;
  j->rows = syz_zcatalogue_count(j->open);
  SYZ_TRY(check_catalogue(j));
  for (int k = 1; k <= g->n_labels; k++) {
    if (!ingest_column_name(g, k)[0]) continue;
    syz_column_search search = SYZ_COLUMN_SEARCH;
    syz_zcatalogue_search(j->open, ingest_column_name(g, k), &search);
    ingest_note_column(g, j->file, k, &search);
  }
cleanup:
  return st;
}

/* Sends the next block of this rank's catalogues to the ranks of its identifiers. Rank-local; posts nothing when all
 * are done. */
static syz_status post_block(joining *j, ingest_mail *m)
{
  syz_status st = SYZ_OK;
  ingest *g = j->g;
  joined_row o;
  for (; !j->open && j->file < g->n_files; j->file += g->size) {
    if (g->file[j->file].role != ROLE_REDSHIFTS) continue;
    syz_status code = open_catalogue(j);
    SYZ_REQUIRE(code == SYZ_OK || code == SYZ_ERR_DATA, code, "%s", syz_error_text());
    if (code == SYZ_OK) break;
    syz_zcatalogue_close(&j->open);
    SYZ_TRY(ingest_note(g, j->file, -1, 0, NULL));
  }
  if (!j->open) return SYZ_OK;
  int64_t first = j->next, n = j->rows - first < BLOCK ? j->rows - first : BLOCK;
  SYZ_TRY(syz_zcatalogue_read(j->open, first, n, j->row));
  for (int k = 1; k < g->n_labels; k++)
    SYZ_TRY(syz_zcatalogue_column(j->open, g->label[k], first, n, j->label + (int64_t)k * BLOCK));
  memset(&o, 0, sizeof o);
  o.file = j->file;
  for (int64_t i = 0; i < n; i++) {
    o.z = j->row[i];
    for (int k = 1; k < g->n_labels; k++) o.label[k] = j->label[(int64_t)k * BLOCK + i];
    SYZ_TRY(ingest_post(m, &o, row_bytes(g), ingest_owner(g, o.z.object_id)));
  }
  j->next += n;
  syz_zcatalogue_release(j->open);
  if (j->next == j->rows) close_catalogue(j);
cleanup:
  return st;
}

static syz_status keep_best(joining *j, const ingest_bytes *arrived)
{
  syz_status st = SYZ_OK;
  size_t item = row_bytes(j->g);
  for (size_t at = 0; at < arrived->n; at += item) {
    const joined_row *o = (const joined_row *)(const void *)(arrived->data + at);
    wanting *w = find_wanting(j, o->z.object_id);
    if (!w) continue;
    if (w->best < 0) {
      w->best = (int64_t)(j->kept.n / item);
      SYZ_TRY(ingest_add(&j->kept, o, item));
    } else if (is_better(o, (const joined_row *)(const void *)(j->kept.data + (size_t)w->best * item))) {
      memcpy(j->kept.data + (size_t)w->best * item, o, item);
    }
  }
cleanup:
  return st;
}

static syz_status post_wanting(joining *j, ingest_mail *m)
{
  syz_status st = SYZ_OK;
  ingest *g = j->g;
  for (int64_t i = 0; i < g->n_spectra; i++) {
    wanting w = {ingest_spectrum_at(g, i)->info.object_id, i, -1, g->rank, 0};
    SYZ_TRY(ingest_post(m, &w, sizeof w, ingest_owner(g, w.id)));
  }
cleanup:
  return st;
}

/* Sends the kept rows back to each spectrum of the identifier. */
static syz_status post_kept(joining *j, ingest_mail *m)
{
  syz_status st = SYZ_OK;
  size_t item = row_bytes(j->g);
  const wanting *w = (const wanting *)(const void *)j->wanted.data;
  int64_t n = (int64_t)(j->wanted.n / sizeof *w);
  for (int64_t i = 0, first = 0; i < n; i++) {
    if (w[i].id != w[first].id) first = i;
    if (w[first].best < 0) continue;
    joined_row *o = (joined_row *)(void *)(j->kept.data + (size_t)w[first].best * item);
    o->spectrum = w[i].spectrum;
    SYZ_TRY(ingest_post(m, o, item, w[i].home));
  }
cleanup:
  return st;
}

static void take_row(ingest *g, const joined_row *o)
{
  ingest_spectrum *s = ingest_spectrum_at(g, o->spectrum);
  s->info.zwarn = o->z.zwarn;
  memcpy(s->info.spectype, o->z.spectype, sizeof s->info.spectype);
  if (s->info.fiberstatus < 0) s->info.fiberstatus = o->z.fiberstatus;
  bool has_own_flag = !isnan(s->primary) && g->file[s->file].role != ROLE_HDF5;
  if (!has_own_flag && !isnan(o->z.primary)) s->primary = o->z.primary;
  s->label[0] = o->z.redshift;
  for (int k = 1; k < g->n_labels; k++)
    if (!isnan(o->label[k])) s->label[k] = o->label[k];
  ingest_clear_labels(g, s->label, &g->count.no_value);
  s->info.redshift = s->label[0];
}

static syz_status join_rows(joining *j)
{
  syz_status st = SYZ_OK;
  ingest *g = j->g;
  ingest_mail m = {0};
  ingest_bytes arrived = {NULL, 0, 0};
  SYZ_TRY_ALL(g->world, post_wanting(j, &m));
  SYZ_TRY(ingest_send(g, &m, sizeof(wanting), &j->wanted));
  if (j->wanted.n) qsort(j->wanted.data, j->wanted.n / sizeof(wanting), sizeof(wanting), compare_wanting);
  for (int64_t goes_on = 1; goes_on;) {
    SYZ_TRY_ALL(g->world, post_block(j, &m));
    goes_on = j->open || j->file < g->n_files;
    syz_allreduce_i64(g->world, &goes_on, 1, SYZ_MAX);
    arrived.n = 0;
    SYZ_TRY(ingest_send(g, &m, row_bytes(g), &arrived));
    SYZ_TRY_ALL(g->world, keep_best(j, &arrived));
  }
  SYZ_TRY_ALL(g->world, post_kept(j, &m));
  arrived.n = 0;
  SYZ_TRY(ingest_send(g, &m, row_bytes(g), &arrived));
  for (size_t at = 0; at < arrived.n; at += row_bytes(g))
    take_row(g, (const joined_row *)(const void *)(arrived.data + at));
cleanup:
  ingest_mail_free(&m);
  syz_free(&arrived.data);
  return st;
}

static syz_status join_all(ingest *g)
{
  syz_status st = SYZ_OK;
  joining j = {.g = g, .file = g->rank};
  j.row = syz_alloc("redshifts", BLOCK, sizeof *j.row);
  j.label = syz_alloc("redshifts", (size_t)BLOCK * (size_t)g->n_labels, sizeof *j.label);
  SYZ_TRY_ALL(g->world, j.row && j.label ? SYZ_OK : SYZ_ERR_MEMORY);
  SYZ_TRY(join_rows(&j));
cleanup:
  syz_zcatalogue_close(&j.open);
  syz_free(&j.row);
  syz_free(&j.label);
  syz_free(&j.wanted.data);
  syz_free(&j.kept.data);
  return st;
}

syz_status ingest_join_redshifts(ingest *g)
{
  syz_status st = SYZ_OK;
  SYZ_TRY(join_all(g));
  SYZ_TRY(ingest_share_rejects(g));
  SYZ_TRY(ingest_check_types(g));
  g->count.read = g->n_spectra;
  for (int64_t i = 0; i < g->n_spectra; i++) {
    ingest_spectrum *s = ingest_spectrum_at(g, i);
    if (s->cut == SYZ_CUT_NONE || s->cut == SYZ_CUT_PIXELS) {
      syz_cut cut = syz_spectra_check(&s->info, &g->cuts, s->primary);
      if (cut != SYZ_CUT_NONE) s->cut = cut;
    }
    if (s->cut < 0)
      g->count.bad++;
    else if (s->cut != SYZ_CUT_NONE)
      g->count.cut[s->cut]++;
  }
cleanup:
  return st;
}
