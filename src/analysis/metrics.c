/* SPDX-License-Identifier: BSD-3-Clause */
/* Figures of merit. Sums over objects are float64 in the order of the objects. */
#include <math.h>
#include <stdlib.h>

#include "syzygy/analysis.h"

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

double syz_r_squared(const float *y, const float *prediction, int64_t n)
{
  double mean = 0, residual = 0, total = 0;
  for (int64_t i = 0; i < n; i++) mean += (double)y[i];
  mean /= (double)n;
  for (int64_t i = 0; i < n; i++) {
    residual += ((double)y[i] - (double)prediction[i]) * ((double)y[i] - (double)prediction[i]);
    total += ((double)y[i] - mean) * ((double)y[i] - mean);
  }
  return n >= 2 && total > 0 ? 1 - residual / total : (double)NAN;
}

void syz_class_score(const int64_t *count, int classes, syz_class_figures *out)
{
  double right = 0, n = 0, occurring = 0, present = 0, commonest = 0;
  SYZ_ASSERT(classes >= 1 && classes <= SYZ_CLASSES_MAX);
  *out = (syz_class_figures){.classes = classes};
  for (int k = 0; k < classes; k++) {
    double truth = 0, said = 0, both = (double)count[k * classes + k];
    for (int j = 0; j < classes; j++) {
      truth += (double)count[k * classes + j];
      said += (double)count[j * classes + k];
    }
    const double either = truth + said - both;
    out->recall[k] = truth > 0 ? both / truth : (double)NAN;
    out->f1[k] = either > 0 ? 2 * both / (truth + said) : (double)NAN;
    out->iou[k] = either > 0 ? both / either : (double)NAN;
    right += both;
    n += truth;
    commonest = fmax(commonest, truth);
    if (truth > 0) {
      occurring++;
      out->balanced_accuracy += out->recall[k];
      out->weighted_f1 += truth * out->f1[k];
    }
    if (either > 0) {
      present++;
      out->macro_f1 += out->f1[k];
      out->mean_iou += out->iou[k];
    }
  }
  out->n = (int64_t)n;
  out->accuracy = right / n; /* without objects all of these are 0 / 0 */
  out->majority = commonest / n;
  out->balanced_accuracy /= occurring;
  out->weighted_f1 /= n;
  out->macro_f1 /= present;
  out->mean_iou /= present;
}
