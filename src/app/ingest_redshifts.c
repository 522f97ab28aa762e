/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Ingest: redshift catalogues joined to spectra by TARGETID. A catalogue has a row for each survey, programme and tile that an object was observed in;
 * the one that counts is the primary one, then one with ZWARN 0, then the one with the larger DELTACHI2, then the first by file and row.
 * Redshift, ZWARN, spectral type and the labels that the catalogue has come from this row; the primary flag and the fibre status where the
 * spectrum's own file does not say.
 */
#include "ingest.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 16384 };

/** A catalogue's row that belongs to a spectrum. */
typedef struct joined_row {
  int64_t spectrum;
  int32_t file, pad;
  syz_redshift z;
  double label[INGEST_LABELS];
} joined_row;

typedef struct id_entry {
  int64_t id, spectrum;
} id_entry;

static int compare_ids(const void *a, const void *b)
{
  const id_entry *x = a, *y = b;
  if (x->id != y->id) return x->id < y->id ? -1 : 1;
  return (x->spectrum > y->spectrum) - (x->spectrum < y->spectrum);
}

static int compare_rows(const void *a, const void *b)
{
  const joined_row *x = a, *y = b;
  if (x->spectrum != y->spectrum) return x->spectrum < y->spectrum ? -1 : 1;
  int better = syz_redshift_compare(&x->z, &y->z);
  if (better) return better;
  if (x->file != y->file) return x->file - y->file;
  return (x->z.row > y->z.row) - (x->z.row < y->z.row);
}

static int64_t first_of_id(const id_entry *table, int64_t n, int64_t id)
{
  int64_t low = 0, high = n;
  while (low < high) {
    int64_t middle = low + (high - low) / 2;
    if (table[middle].id < id)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

static void note_columns(ingest *g, int file, const syz_zcatalogue *c)
{
  for (int k = 1; k <= g->n_labels; k++) {
    if (!ingest_column_name(g, k)[0]) continue;
    syz_column_search search = SYZ_COLUMN_SEARCH;
    syz_zcatalogue_search(c, ingest_column_name(g, k), &search);
    ingest_note_column(g, file, k, &search);
  }
}

/* Rows of one catalogue, a block at a time. */
static syz_status read_catalogue(ingest *g, int file, const id_entry *ids, int64_t n_ids, ingest_bytes *found)
{
  syz_status st = SYZ_OK;
  syz_zcatalogue *c = NULL;
  syz_redshift *row = NULL;
  double *label = NULL;
  SYZ_TRY(syz_zcatalogue_open(g->file[file].path, g->verify, g->cuts.primary, &c));
  note_columns(g, file, c);
  SYZ_ALLOC(row, "redshifts", BLOCK);
  SYZ_ALLOC(label, "redshifts", (int64_t)BLOCK * g->n_labels);
  for (int64_t first = 0, rows = syz_zcatalogue_count(c); first < rows; first += BLOCK) {
    int64_t n = rows - first < BLOCK ? rows - first : BLOCK;
    SYZ_TRY(syz_zcatalogue_read(c, first, n, row));
    for (int k = 1; k < g->n_labels; k++) SYZ_TRY(syz_zcatalogue_column(c, g->label[k], first, n, label + (int64_t)k * BLOCK));
    for (int64_t i = 0; i < n; i++)
      for (int64_t s = first_of_id(ids, n_ids, row[i].object_id); s < n_ids && ids[s].id == row[i].object_id; s++) {
        joined_row o;
        memset(&o, 0, sizeof o);
        o.spectrum = ids[s].spectrum;
        o.file = file;
        o.z = row[i];
        for (int k = 1; k < g->n_labels; k++) o.label[k] = label[(int64_t)k * BLOCK + i];
        SYZ_TRY(ingest_add(found, &o, sizeof o));
      }
  }
cleanup:
  syz_zcatalogue_close(&c);
  syz_free(&row);
  syz_free(&label);
  return st;
}

static syz_status read_my_catalogues(ingest *g, ingest_bytes *found)
{
  syz_status st = SYZ_OK;
  id_entry *ids = NULL;
  SYZ_ALLOC(ids, "identifiers", g->n_spectra + 1);
  for (int64_t i = 0; i < g->n_spectra; i++) ids[i] = (id_entry){g->spectrum[i].info.object_id, i};
  qsort(ids, (size_t)g->n_spectra, sizeof *ids, compare_ids);
  for (int f = g->rank; f < g->n_files; f += g->size) {
    if (g->file[f].role != ROLE_REDSHIFTS) continue;
    size_t before = found->n;
    syz_status code = read_catalogue(g, f, ids, g->n_spectra, found);
    SYZ_REQUIRE(code == SYZ_OK || code == SYZ_ERR_DATA, code, "%s", syz_error_text());
    if (code == SYZ_ERR_DATA) {
      found->n = before; /* a refused file gives nothing */
      SYZ_TRY(ingest_note(g, f, -1, 0, NULL));
    }
  }
cleanup:
  syz_free(&ids);
  return st;
}

static void take_row(ingest *g, ingest_spectrum *s, const joined_row *o)
{
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

syz_status ingest_join_redshifts(ingest *g)
{
  syz_status st = SYZ_OK;
  ingest_bytes found = {NULL, 0, 0};
  void *all = NULL;
  int64_t n = 0;
  SYZ_TRY_ALL(g->world, read_my_catalogues(g, &found));
  SYZ_TRY(ingest_gather(g, &found, sizeof(joined_row), compare_rows, &all, &n));
  SYZ_TRY(ingest_share_rejects(g));
  SYZ_TRY(ingest_check_columns(g));
  const joined_row *o = all;
  for (int64_t i = 0; i < n; i++)
    if (!i || o[i].spectrum != o[i - 1].spectrum) take_row(g, &g->spectrum[o[i].spectrum], &o[i]);
  SYZ_TRY_ALL(g->world, ingest_check_types(g));
  g->count.read = g->n_spectra;
  for (int64_t i = 0; i < g->n_spectra; i++) {
    ingest_spectrum *s = &g->spectrum[i];
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
  syz_free(&found.data);
  syz_free(&all);
  return st;
}
