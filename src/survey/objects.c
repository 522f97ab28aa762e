/* SPDX-License-Identifier: BSD-3-Clause */
/** Objects of the result and candidates: their files and rows, their order, their numbers over all ranks. Numbers count
 * objects with a spectrum by file and row, then catalogue rows, then centres of images. */
#include "ingest.h"

enum { KINDS = 3 }; /* with a spectrum, by a catalogue, by an image's centre */

int ingest_file_of_object(const ingest *g, const ingest_object *o, int64_t *row)
{
  if (o->spectrum >= 0) {
    const ingest_spectrum *s = ingest_spectrum_at(g, o->spectrum);
    *row = s->row;
    return s->file;
  }
  const ingest_candidate *c = ingest_candidate_in(g, &g->candidates, o->candidate);
  *row = c->row;
  return c->file;
}

int ingest_compare_candidates(const void *a, const void *b)
{
  const ingest_candidate *x = a, *y = b;
  if (x->is_centre != y->is_centre) return x->is_centre ? 1 : -1;
  if (x->file != y->file) return x->file < y->file ? -1 : 1;
  return (x->row > y->row) - (x->row < y->row);
}

static int64_t group_of(const ingest *g, const ingest_object *o)
{
  int64_t row;
  int file = ingest_file_of_object(g, o, &row), kind = 0;
  if (o->spectrum < 0) kind = ingest_candidate_in(g, &g->candidates, o->candidate)->is_centre ? 2 : 1;
  return (int64_t)kind * g->n_files + file;
}

/* All objects of one kind and file are on one rank, in order, so only the number of objects before them is needed from
 * other ranks. */
syz_status ingest_number_objects(ingest *g, int64_t **number)
{
  syz_status st = SYZ_OK;
  int64_t groups = (int64_t)KINDS * g->n_files, *next = syz_alloc("objects by file", (size_t)groups + 1, sizeof *next);
  *number = syz_alloc("numbers of objects", (size_t)g->n_objects + 1, sizeof **number);
  SYZ_TRY_ALL(g->world, next && *number ? SYZ_OK : SYZ_ERR_MEMORY);
  for (int64_t i = 0; i < g->n_objects; i++) next[group_of(g, &g->object[i]) + 1]++;
  syz_allreduce_i64(g->world, next, (size_t)groups + 1, SYZ_SUM);
  for (int64_t k = 0; k < groups; k++) next[k + 1] += next[k];
  g->n_total = next[groups];
  for (int64_t i = 0; i < g->n_objects; i++) (*number)[i] = next[group_of(g, &g->object[i])]++;
cleanup:
  syz_free(&next);
  if (st != SYZ_OK) syz_free(number);
  return st;
}
