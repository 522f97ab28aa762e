/* SPDX-License-Identifier: BSD-3-Clause */
/* Figures of retrieval. Sums over pairs are float64 in the order of the pairs. */
#include <math.h>
#include <stdlib.h>

#include "syzygy/figures.h"

const int syz_recall_at[SYZ_RECALLS] = {1, 5, 10, 50};

static int ascending(const void *a, const void *b)
{
  double x = *(const double *)a, y = *(const double *)b;
  return x < y ? -1 : x > y;
}

syz_status syz_pair_score(const syz_pair *pair, int64_t n, int64_t candidates, syz_pair_figures *out)
{
  syz_status st = SYZ_OK;
  double *rank = NULL;
  *out = (syz_pair_figures){
      .candidates = candidates, .median_rank = NAN, .mean_reciprocal_rank = NAN, .chance_median_rank = NAN};
  for (int r = 0; r < SYZ_RECALLS; r++) out->recall[r] = out->chance[r] = NAN;
  SYZ_ALLOC(rank, "ranks of pairs", n);
  double found[SYZ_RECALLS] = {0}, reciprocal = 0;
  for (int64_t i = 0; i < n; i++) {
    if (pair[i].row < 0) continue;
    double larger = (double)pair[i].larger,
           places = (double)pair[i].ties + 1; /* the partner is at larger + 1 .. larger + places, each as likely */
    for (int r = 0; r < SYZ_RECALLS; r++) found[r] += fmin(fmax((syz_recall_at[r] - larger) / places, 0), 1);
    rank[out->pairs] = larger + (places + 1) / 2;
    reciprocal += 1 / rank[out->pairs++];
  }
  if (!out->pairs) goto cleanup;
  qsort(rank, (size_t)out->pairs, sizeof *rank, ascending);
  out->median_rank = (rank[(out->pairs - 1) / 2] + rank[out->pairs / 2]) / 2;
  out->mean_reciprocal_rank = reciprocal / (double)out->pairs;
  out->chance_median_rank = ((double)candidates + 1) / 2;
  for (int r = 0; r < SYZ_RECALLS; r++) {
    out->recall[r] = found[r] / (double)out->pairs;
    out->chance[r] = fmin((double)syz_recall_at[r] / (double)candidates, 1);
  }
cleanup:
  syz_free(&rank);
  return st;
}
