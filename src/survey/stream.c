/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Ingest: image positions of this rank's share of the files, block by block: those found by the scans, then the rows of
 * catalogues. A catalogue of 10^9 rows is never in memory as a whole; sky.c decides which rows are kept.
 */
#include "ingest.h"

#include <math.h>
#include <string.h>

enum { BLOCK = 65536, OTHER_COLUMNS = 3 /* RA, Dec, brick_primary */ };

struct ingest_stream {
  int file;     /**< the open catalogue, or the next one */
  size_t found; /**< bytes of found_candidates already returned */
  syz_catalogue *open;
  int64_t next, rows; /**< of the open catalogue */
  int64_t *id;
  double *value; /**< [OTHER_COLUMNS + n_labels, BLOCK] */
};

syz_status ingest_stream_open(ingest *g, ingest_stream **out)
{
  syz_status st = SYZ_OK;
  ingest_stream *s = NULL;
  *out = NULL;
  SYZ_ALLOC(s, "catalogue", 1);
  SYZ_ALLOC(s->id, "catalogue", BLOCK);
  SYZ_ALLOC(s->value, "catalogue", (int64_t)BLOCK * (OTHER_COLUMNS + g->n_labels));
  s->file = g->rank;
  *out = s;
  s = NULL;
cleanup:
  ingest_stream_close(&s);
  return st;
}

void ingest_stream_close(ingest_stream **stream)
{
  if (!*stream) return;
  syz_catalogue_close(&(*stream)->open);
  syz_free(&(*stream)->id);
  syz_free(&(*stream)->value);
  syz_free(stream);
}

/* No row of a refused file may be used, so the identifiers, which can be invalid in any row, are all read before the
 * first row is used. */
static syz_status check_catalogue(ingest_stream *s)
{
  syz_status st = SYZ_OK;
  for (int64_t first = 0; first < s->rows; first += BLOCK) {
    int64_t n = s->rows - first < BLOCK ? s->rows - first : BLOCK;
    SYZ_TRY(syz_catalogue_read(s->open, first, n, NULL, NULL, s->id));
    syz_catalogue_release(s->open);
  }
cleanup:
  return st;
}

static syz_status open_catalogue(ingest *g, ingest_stream *s)
{
  syz_status st = SYZ_OK;
  SYZ_TRY(syz_catalogue_open(g->file[s->file].path, g->options.verifies, g->options.ra, g->options.dec, g->options.id,
                             &s->open));
  s->next = 0;
  s->rows = syz_catalogue_count(s->open);
  SYZ_TRY(check_catalogue(s));
  for (int k = 0; k < g->n_labels; k++) {
    const char *name = ingest_column_name(g, k);
    if (!name[0]) continue;
    syz_column_search search = SYZ_COLUMN_SEARCH;
    syz_catalogue_search(s->open, name, &search);
    ingest_note_column(g, s->file, k, &search);
  }
cleanup:
  return st;
}

static syz_status read_rows(ingest *g, ingest_stream *s, ingest_bytes *block)
{
  syz_status st = SYZ_OK;
  ingest_candidate o;
  bool has;
  int64_t first = s->next, n = s->rows - first < BLOCK ? s->rows - first : BLOCK;
  double *ra = s->value, *dec = ra + BLOCK, *primary = dec + BLOCK, *label = primary + BLOCK;
  SYZ_TRY(syz_catalogue_read(s->open, first, n, ra, dec, s->id));
  SYZ_TRY(syz_catalogue_column(s->open, "brick_primary", first, n, primary, &has));
  for (int k = 0; k < g->n_labels; k++) {
    const char *name = ingest_column_name(g, k);
    SYZ_TRY(syz_catalogue_column(s->open, name[0] ? name : "redshift", first, n, label + (int64_t)k * BLOCK, &has));
  }
  for (int64_t i = 0; i < n; i++) {
    if (primary[i] == 0 && !g->options.keeps_duplicates) {
      g->count.not_primary++;
      continue;
    }
    if (!isfinite(ra[i])) {
      SYZ_TRY(ingest_note(g, s->file, first + i, s->id[i], "RA and Dec are not on the sky"));
      continue;
    }
    memset(&o, 0, g->candidate_bytes);
    o.object_id = s->id[i];
    o.ra = ra[i];
    o.dec = dec[i];
    o.file = s->file;
    o.row = first + i;
    for (int k = 0; k < g->n_labels; k++) o.label[k] = label[(int64_t)k * BLOCK + i];
    ingest_clear_labels(g, o.label, &g->count.no_value);
    SYZ_TRY(ingest_add(block, &o, g->candidate_bytes));
  }
  s->next += n;
  syz_catalogue_release(s->open);
cleanup:
  return st;
}

/* Opens the next catalogue of this rank, if there is one; a damaged one is noted and skipped. */
static syz_status find_catalogue(ingest *g, ingest_stream *s)
{
  syz_status st = SYZ_OK;
  for (; !s->open && s->file < g->n_files; s->file += g->size) {
    if (g->file[s->file].role != ROLE_CATALOGUE) continue;
    syz_status code = open_catalogue(g, s);
    SYZ_REQUIRE(code == SYZ_OK || code == SYZ_ERR_DATA, code, "%s", syz_error_text());
    if (code == SYZ_OK) break;
    syz_catalogue_close(&s->open);
    SYZ_TRY(ingest_note_file(g, s->file));
  }
cleanup:
  return st;
}

syz_status ingest_stream_next(ingest *g, ingest_stream *s, ingest_bytes *block)
{
  syz_status st = SYZ_OK;
  block->n = 0;
  size_t left = g->found_candidates.n - s->found, most = (size_t)BLOCK * g->candidate_bytes;
  if (left) {
    if (left > most) left = most;
    SYZ_TRY(ingest_add(block, g->found_candidates.data + s->found, left));
    s->found += left;
    return SYZ_OK;
  }
  while (!block->n) { /* skip blocks without a usable row */
    SYZ_TRY(find_catalogue(g, s));
    if (!s->open) break;
    const int64_t before = s->next;
    const syz_status code = read_rows(g, s, block);
    /* Text is converted to numbers when the file is first read, because later some of its rows are already candidates.
     */
    SYZ_REQUIRE(code == SYZ_OK || (code == SYZ_ERR_DATA && before == 0), code, "%s", syz_error_text());
    if (code == SYZ_OK && s->next < s->rows) continue;
    syz_catalogue_close(&s->open);
    if (code != SYZ_OK) {
      block->n = 0;
      SYZ_TRY(ingest_note_file(g, s->file));
    }
    s->file += g->size;
  }
cleanup:
  return st;
}
