/* SPDX-License-Identifier: BSD-3-Clause */
/* Figures of classifications: of a table of counts, and of the probabilities that were said. */
#include <math.h>
#include <string.h>

#include "syzygy/figures.h"

int64_t syz_class_count(int64_t n, const int32_t *truth, const int32_t *prediction, int classes, int64_t *count)
{
  int64_t counted = 0;
  memset(count, 0, (size_t)classes * (size_t)classes * sizeof *count);
  for (int64_t i = 0; i < n; i++) {
    if (truth[i] < 0 || truth[i] >= classes || prediction[i] < 0 || prediction[i] >= classes) continue;
    count[(int64_t)truth[i] * classes + prediction[i]]++;
    counted++;
  }
  return counted;
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

double syz_exact_match(int64_t n, int columns, const int32_t *truth, const int32_t *prediction)
{
  int64_t same = 0;
  for (int64_t i = 0; i < n; i++) {
    same += !memcmp(truth + i * columns, prediction + i * columns, (size_t)columns * sizeof *truth);
  }
  return n >= 1 ? (double)same / (double)n : (double)NAN;
}

/* Means of a bin from its sums. */
static void finish_bin(syz_reliability_bin *b)
{
  const double n = (double)b->n;
  b->probability /= n;
  b->share /= n;
  b->error = sqrt(b->share * (1 - b->share) / n); /* an empty bin has 0 / 0 */
}

double syz_reliability(int64_t n, const double *probability, const uint8_t *is_true, int bins, syz_reliability_bin *bin)
{
  bool is_known = n >= 2;
  double error = 0;
  for (int b = 0; b < bins; b++) bin[b] = (syz_reliability_bin){0};
  for (int64_t i = 0; is_known && i < n; i++) is_known = probability[i] >= 0 && probability[i] <= 1;
  for (int64_t i = 0; is_known && i < n; i++) {
    const int at = (int)(probability[i] * bins);
    syz_reliability_bin *b = bin + (at < bins ? at : bins - 1);
    b->n++;
    b->probability += probability[i];
    b->share += is_true[i] != 0;
  }
  for (int b = 0; b < bins; b++) {
    finish_bin(bin + b);
    if (bin[b].n) error += (double)bin[b].n / (double)n * fabs(bin[b].share - bin[b].probability);
  }
  return is_known ? error : (double)NAN;
}

void syz_top_class(int64_t n, int classes, const double *probability, const int32_t *truth, double *top,
                   uint8_t *is_right)
{
  for (int64_t i = 0; i < n; i++) {
    const double *p = probability + i * classes;
    int best = 0;
    bool is_known = !isnan(p[0]);
    for (int k = 1; k < classes; k++) {
      is_known = is_known && !isnan(p[k]);
      if (p[k] > p[best]) best = k;
    }
    top[i] = is_known ? p[best] : (double)NAN;
    is_right[i] = is_known && truth[i] == best;
  }
}

double syz_brier(int64_t n, const double *probability, const uint8_t *is_true)
{
  double sum = 0;
  for (int64_t i = 0; i < n; i++) {
    const double off = probability[i] - (is_true[i] != 0);
    sum += off * off;
  }
  return n >= 2 ? sum / (double)n : (double)NAN;
}

double syz_brier_classes(int64_t n, int classes, const double *probability, const int32_t *truth)
{
  double sum = 0;
  for (int64_t i = 0; i < n; i++) {
    if (truth[i] < 0 || truth[i] >= classes) return NAN;
    for (int k = 0; k < classes; k++) {
      const double off = probability[i * classes + k] - (truth[i] == k);
      sum += off * off;
    }
  }
  return n >= 2 ? sum / (double)n : (double)NAN;
}
