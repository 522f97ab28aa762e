/* SPDX-License-Identifier: BSD-3-Clause */
/* The nearest objects of each object. Asked ones travel to all ranks block by block, as zeros elsewhere whose sums over
 * ranks are exact. */
#include "neighbours.h"

#include <math.h>
#include <string.h>

typedef struct work {
  job *job;
  const neighbours *asked;
  syz_index *index;
  int64_t width, block, k;
  int64_t n, *row; /* objects that are asked about, ascending */
  float *query;    /* [block, width] */
  int64_t *id;     /* [block] */
  syz_neighbour *best;
} work;

static void work_free(work *w)
{
  syz_index_destroy(&w->index);
  syz_free(&w->row);
  syz_free(&w->query);
  syz_free(&w->id);
  syz_free(&w->best);
}

static syz_status list_asked(work *w)
{
  syz_status st = SYZ_OK;
  const sample *s = &w->job->sample;
  int64_t n = 0;
  for (int64_t i = 0; i < s->rows; i++) w->n += w->asked->is_asked[i];
  w->block = syz_index_block(w->k);
  if (w->block > w->n) w->block = w->n;
  SYZ_ALLOC(w->row, "objects", w->n);
  SYZ_ALLOC(w->query, "features", w->block * w->width);
  SYZ_ALLOC(w->id, "identifiers", w->block);
  SYZ_ALLOC(w->best, "neighbours", w->block * w->k);
  for (int64_t i = 0; i < s->rows; i++)
    if (w->asked->is_asked[i]) w->row[n++] = i;
cleanup:
  return st;
}

static void standardise(const work *w, int64_t mine, float *out)
{
  const float *x = w->job->sample.source[w->asked->source].x + mine * w->width;
  for (int64_t e = 0; e < w->width; e++) out[e] = (float)(((double)x[e] - w->asked->mean[e]) / w->asked->deviation[e]);
}

static syz_status fill_index(work *w)
{
  const sample *s = &w->job->sample;
  uint8_t *valid = syz_index_valid(w->index);
  int64_t *id = syz_index_ids(w->index);
  for (int64_t i = 0; i < s->n; i++) {
    id[i] = (int64_t)sample_name(s, s->first + i);
    valid[i] = w->asked->is_among[s->first + i];
    if (valid[i]) standardise(w, i, syz_index_rows(w->index) + i * w->width);
  }
  return syz_index_seal(w->index, NULL);
}

/* Objects number at .. at + n - 1 of those asked about, standardised, on every rank. */
static void gather_queries(work *w, int64_t at, int64_t n)
{
  const sample *s = &w->job->sample;
  memset(w->query, 0, (size_t)(n * w->width) * sizeof *w->query);
  for (int64_t i = 0; i < n; i++) {
    const int64_t mine = w->row[at + i] - s->first;
    w->id[i] = (int64_t)sample_name(s, w->row[at + i]);
    if (mine >= 0 && mine < s->n) standardise(w, mine, w->query + i * w->width);
  }
  syz_allreduce_f32(s->comm, w->query, (size_t)(n * w->width), SYZ_SUM);
}

syz_status neighbours_ask(job *p, const neighbours *a, double *out)
{
  syz_status st = SYZ_OK;
  const sample *s = &p->sample;
  const int numbers = a->numbers, size = syz_comm_size(s->comm), rank = syz_comm_rank(s->comm);
  work w = {.job = p, .asked = a, .width = s->source[a->source].width, .k = a->k};
  SYZ_TRY_ALL(s->comm, list_asked(&w));
  SYZ_TRY(syz_index_create(s->comm, p->compute, SYZ_METRIC_EUCLIDEAN, s->rows, w.width, &w.index));
  SYZ_TRY_ALL(s->comm, fill_index(&w));
  memset(out, 0, (size_t)(s->rows * numbers) * sizeof *out);
  for (int64_t at = 0; at < w.n; at += w.block) {
    const int64_t n = w.n - at < w.block ? w.n - at : w.block;
    int64_t first, count;
    gather_queries(&w, at, n);
    SYZ_TRY(syz_index_search(w.index, n, w.query, w.id, &(syz_search_options){.k = w.k, .excludes_same_id = true},
                             w.best, NULL));
    syz_share(n, size, rank, &first, &count);
    for (int64_t i = 0; i < count; i++)
      a->say(a->context, w.k, w.best + i * w.k, out + w.row[at + first + i] * numbers);
  }
  syz_allreduce_f64(s->comm, out, (size_t)(s->rows * numbers), SYZ_SUM);
  for (int64_t i = 0; i < s->rows * numbers; i++)
    if (!a->is_asked[i / numbers]) out[i] = NAN;
cleanup:
  work_free(&w);
  return st;
}
