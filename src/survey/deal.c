/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Ingest: objects are sent to the ranks that write them, in the order of their numbers (objects.c): shard k holds
 * objects [k n, (k + 1) n) and is written whole by rank k mod ranks.
 */
#include "ingest.h"

#include <stdlib.h>
#include <string.h>

/** An object sent to its writer: the records of its spectrum and its candidate follow. */
typedef struct dealt {
  int64_t number;
  ingest_object object;
} dealt;

static int compare_dealt(const void *a, const void *b)
{
  const dealt *x = a, *y = b;
  return (x->number > y->number) - (x->number < y->number);
}

static size_t dealt_bytes(const ingest *g) { return sizeof(dealt) + g->spectrum_bytes + g->candidate_bytes; }

static syz_status post_objects(ingest *g, const int64_t *number, ingest_mail *m)
{
  syz_status st = SYZ_OK;
  int64_t rows = g->options.shard_objects;
  unsigned char *record = NULL;
  SYZ_ALLOC(record, "object", dealt_bytes(g));
  for (int64_t i = 0; i < g->n_objects; i++) {
    dealt d;
    memset(&d, 0, sizeof d);
    memset(record, 0, dealt_bytes(g));
    d.number = number[i];
    d.object = g->object[i];
    memcpy(record, &d, sizeof d);
    if (d.object.spectrum >= 0) memcpy(record + sizeof d, ingest_spectrum_at(g, d.object.spectrum), g->spectrum_bytes);
    if (d.object.candidate >= 0)
      memcpy(record + sizeof d + g->spectrum_bytes, ingest_candidate_in(g, &g->candidates, d.object.candidate),
             g->candidate_bytes);
    SYZ_TRY(ingest_post(m, record, dealt_bytes(g), (int32_t)(d.number / rows % g->size)));
  }
cleanup:
  syz_free(&record);
  return st;
}

static void forget_tables(ingest *g)
{
  syz_free(&g->spectra.data);
  syz_free(&g->candidates.data);
  syz_free(&g->object);
  memset(&g->spectra, 0, sizeof g->spectra);
  memset(&g->candidates, 0, sizeof g->candidates);
  g->n_spectra = g->n_candidates = g->n_objects = 0;
}

/* Rebuilds the tables for the objects that this rank writes. */
static syz_status take_objects(ingest *g, ingest_bytes *mine)
{
  syz_status st = SYZ_OK;
  size_t item = dealt_bytes(g);
  int64_t n = (int64_t)(mine->n / item);
  if (n) qsort(mine->data, (size_t)n, item, compare_dealt);
  SYZ_ALLOC(g->object, "objects", n + 1);
  for (int64_t i = 0; i < n; i++) {
    const unsigned char *record = mine->data + (size_t)i * item;
    ingest_object *o = &g->object[g->n_objects++];
    *o = ((const dealt *)(const void *)record)->object;
    if (o->spectrum >= 0) {
      o->spectrum = g->n_spectra++;
      SYZ_TRY(ingest_add(&g->spectra, record + sizeof(dealt), g->spectrum_bytes));
    }
    if (o->candidate >= 0) {
      o->candidate = g->n_candidates++;
      SYZ_TRY(ingest_add(&g->candidates, record + sizeof(dealt) + g->spectrum_bytes, g->candidate_bytes));
    }
  }
cleanup:
  return st;
}

syz_status ingest_deal_objects(ingest *g)
{
  syz_status st = SYZ_OK;
  int64_t *number = NULL;
  ingest_mail m = {0};
  ingest_bytes mine = {NULL, 0, 0};
  SYZ_TRY(ingest_number_objects(g, &number));
  SYZ_TRY_ALL(g->world, post_objects(g, number, &m));
  forget_tables(g);
  SYZ_TRY(ingest_send(g, &m, dealt_bytes(g), &mine));
  ingest_mail_free(&m);
  SYZ_TRY_ALL(g->world, take_objects(g, &mine));
cleanup:
  syz_free(&number);
  ingest_mail_free(&m);
  syz_free(&mine.data);
  return st;
}
