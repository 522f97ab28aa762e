/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Retrieval figures: for each query the rank of its pair among all candidates, here called its place.
 *
 * place = 1 + number of candidates with a larger cosine + half of the others with an equal one, so that identical
 * embeddings give the chance level, not a perfect score. Each rank counts for its share of the queries; twice the place
 * is a whole number and is gathered, so the figures are the same on any number of ranks.
 */
#include <stdlib.h>
#include <string.h>

#include "similarity.h"
#include "syzygy/loss.h"

const int syz_recall_cut[SYZ_RECALL_CUTS] = {1, 5, 10};

static int compare(const void *a, const void *b)
{
  const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
  return (x > y) - (x < y);
}

/* A zero-filled copy of rows [first, first + n) with room for whole tiles. */
static float *padded_copy(const float *rows, int64_t first, int64_t n, int64_t room, int64_t width)
{
  float *copy = syz_alloc("retrieval rows", (size_t)((room > 0 ? room : 1) * width), sizeof *copy);
  if (copy && n > 0) memcpy(copy, rows + first * width, (size_t)(n * width) * sizeof *copy);
  return copy;
}

/* Twice the place of each query's pair: [count] for queries first .. first + count - 1. */
static void count_places(const similarity *s, int64_t n, int64_t first, int64_t count, const float *query,
                         const float *candidate, float *own, int64_t *twice_place)
{
  for (int64_t r0 = 0; r0 < count; r0 += s->rows) {
    const int64_t rows = count - r0 < s->rows ? count - r0 : s->rows;
    /* First pass: the pair's own cosine, from the same product as all others, so that equal rows compare as equal. */
    for (int pass = 0; pass < 2; pass++)
      for (int64_t c0 = 0; c0 < n; c0 += s->columns) {
        const int64_t columns = n - c0 < s->columns ? n - c0 : s->columns;
        const int64_t pair0 = first + r0 - c0; /* column of row 0's pair in this tile */
        if (pass == 0 && (pair0 + rows <= 0 || pair0 >= columns)) continue;
        syz_gemm_run(s->forward, query + r0 * s->width, candidate + c0 * s->width, NULL, s->tile);
        for (int64_t r = 0; r < rows; r++) {
          const float *cosine = s->tile + r * s->columns;
          const int64_t pair = pair0 + r;
          if (pass == 0) {
            if (pair >= 0 && pair < columns) own[r] = cosine[pair];
            continue;
          }
          int64_t larger = 0, equal = 0;
          for (int64_t j = 0; j < columns; j++) larger += cosine[j] > own[r], equal += cosine[j] == own[r];
          if (pair >= 0 && pair < columns) equal -= 1;
          twice_place[r0 + r] += 2 * larger + equal;
        }
      }
    for (int64_t r = 0; r < rows; r++) twice_place[r0 + r] += 2;
  }
}

syz_status syz_retrieval_evaluate(syz_comm *world, const syz_compute *compute, int64_t n, int64_t width,
                                  const float *image, const float *spectrum, syz_retrieval *out)
{
  syz_status st = SYZ_OK, local = SYZ_OK;
  similarity tiles = {0};
  float *own = NULL, *query = NULL, *candidate = NULL;
  int64_t *mine = NULL, *all = NULL;
  size_t *bytes = NULL;
  const float *rows[SYZ_MODALITIES] = {image, spectrum};
  const int size = syz_comm_size(world);
  int64_t first = 0, count = 0;
  *out = (syz_retrieval){.n = n};
  syz_share(n, size, syz_comm_rank(world), &first, &count);
  SYZ_TRY_ALL(world, similarity_create(compute, n, width, false, &tiles));
  own = syz_alloc("retrieval", (size_t)tiles.rows, sizeof *own);
  mine = syz_alloc("retrieval", (size_t)count + 1, sizeof *mine);
  all = syz_alloc("retrieval", (size_t)n + 1, sizeof *all);
  bytes = syz_alloc("retrieval", (size_t)size, sizeof *bytes);
  if (!own || !mine || !all || !bytes) local = SYZ_ERR_MEMORY;
  SYZ_TRY_ALL(world, local);
  for (int r = 0; r < size; r++) {
    int64_t f, c;
    syz_share(n, size, r, &f, &c);
    bytes[r] = (size_t)c * sizeof *mine;
  }
  for (int m = 0; m < SYZ_MODALITIES; m++) {
    query = padded_copy(rows[m], first, count, similarity_padded_rows(&tiles, count), width);
    candidate = padded_copy(rows[1 - m], 0, n, similarity_padded_columns(&tiles, n), width);
    SYZ_TRY_ALL(world, query && candidate ? SYZ_OK : SYZ_ERR_MEMORY);
    memset(mine, 0, (size_t)(count + 1) * sizeof *mine);
    count_places(&tiles, n, first, count, query, candidate, own, mine);
    syz_allgatherv(world, mine, all, bytes);
    qsort(all, (size_t)n, sizeof *all, compare);
    for (int k = 0; k < SYZ_RECALL_CUTS; k++) {
      int64_t found = 0;
      for (int64_t i = 0; i < n; i++) found += all[i] <= 2 * (int64_t)syz_recall_cut[k];
      out->recall[m][k] = n ? (double)found / (double)n : 0;
    }
    out->median_rank[m] = n ? 0.25 * (double)(all[(n - 1) / 2] + all[n / 2]) : 0;
    syz_free(&query);
    syz_free(&candidate);
  }
cleanup:
  similarity_destroy(&tiles);
  syz_free(&query);
  syz_free(&candidate);
  syz_free(&own);
  syz_free(&mine);
  syz_free(&all);
  syz_free(&bytes);
  return st;
}
