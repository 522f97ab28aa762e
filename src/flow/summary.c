/* SPDX-License-Identifier: BSD-3-Clause */
/** What draws say about a label: quantiles, mode, shortest intervals. */
#include <math.h>
#include <string.h>

#include "internal.h"

const double syz_flow_levels[SYZ_FLOW_LEVELS] = {0.05, 0.16, 0.5, 0.84, 0.95};

/* NaN is behind everything. */
static bool is_after(double a, double b) { return a > b || (isnan(a) && !isnan(b)); }

/* Insertion within runs, then merges: a thousand draws take 30 us, a third of qsort with a function for each pair. */
void flow_sort(int64_t n, double *x, double *scratch)
{
  enum { RUN = 16 };
  double *from = x, *to = scratch;
  for (int64_t first = 0; first < n; first += RUN)
    for (int64_t i = first + 1; i < n && i < first + RUN; i++) {
      const double value = x[i];
      int64_t j = i;
      for (; j > first && is_after(x[j - 1], value); j--) x[j] = x[j - 1];
      x[j] = value;
    }
  for (int64_t run = RUN; run < n; run *= 2) {
    for (int64_t first = 0; first < n; first += 2 * run) {
      const int64_t middle = first + run < n ? first + run : n, end = first + 2 * run < n ? first + 2 * run : n;
      int64_t a = first, b = middle;
      for (int64_t i = first; i < end; i++)
        to[i] = a < middle && (b >= end || !is_after(from[a], from[b])) ? from[a++] : from[b++];
    }
    double *swap = from;
    from = to;
    to = swap;
  }
  if (from != x) memcpy(x, from, (size_t)n * sizeof *x);
}

/* As numpy.quantile: straight lines between order statistics. */
static double quantile(int64_t n, const double *sorted, double level)
{
  const double at = level * (double)(n - 1);
  const int64_t i = (int64_t)at < n - 1 ? (int64_t)at : n - 2;
  return sorted[i] + (at - (double)i) * (sorted[i + 1] - sorted[i]);
}

/* The shortest interval from one draw to another that holds this share of them. */
static void shortest(int64_t n, const double *sorted, double share, double *low, double *high)
{
  int64_t inside = (int64_t)ceil(share * (double)n), best = 0;
  if (inside < 2) inside = 2;
  if (inside > n) inside = n;
  for (int64_t i = 1; i + inside <= n; i++)
    if (sorted[i + inside - 1] - sorted[i] < sorted[best + inside - 1] - sorted[best]) best = i;
  *low = sorted[best];
  *high = sorted[best + inside - 1];
}

static void moments(int64_t n, const double *x, double *mean, double *deviation)
{
  double sum = 0, square = 0;
  for (int64_t i = 0; i < n; i++) sum += x[i];
  *mean = sum / (double)n;
  for (int64_t i = 0; i < n; i++) square += (x[i] - *mean) * (x[i] - *mean);
  *deviation = sqrt(square / (double)(n - 1));
}

double flow_spread(int64_t n, const double *sorted)
{
  double mean, deviation;
  moments(n, sorted, &mean, &deviation);
  const double quartiles = (quantile(n, sorted, 0.75) - quantile(n, sorted, 0.25)) / 1.349;
  return quartiles > 0 && quartiles < deviation ? quartiles : deviation;
}

/* Where a Gaussian kernel density is largest, on 256 places between the 0.5 and 99.5 % quantiles; bandwidth
 * 0.9 min(deviation, quartiles' distance / 1.349) n^(-1/5) (Silverman 1986). */
static double kernel_mode(int64_t n, const double *sorted)
{
  enum { PLACES = 256 };
  const double low = quantile(n, sorted, 0.005), high = quantile(n, sorted, 0.995), step = (high - low) / (PLACES - 1);
  const double width = 0.9 * flow_spread(n, sorted) * pow((double)n, -0.2);
  double count[PLACES] = {0}, kernel[PLACES], best = -1, mode = quantile(n, sorted, 0.5);
  if (!(step > 0) || !(width > 0)) return mode;
  for (int64_t i = 0; i < n; i++) {
    const double at = (sorted[i] - low) / step;
    if (at >= 0 && at <= PLACES - 1) count[(int)(at + 0.5)] += 1;
  }
  int reach = 0; /* beyond four bandwidths the kernel is below 4e-4 */
  for (; reach < PLACES && reach * step <= 4 * width; reach++)
    kernel[reach] = exp(-0.5 * (reach * step / width) * (reach * step / width));
  for (int i = 0; i < PLACES; i++) {
    double sum = count[i];
    for (int k = 1; k < reach; k++)
      sum += kernel[k] * ((i >= k ? count[i - k] : 0) + (i + k < PLACES ? count[i + k] : 0));
    if (sum <= best) continue;
    best = sum;
    mode = low + i * step;
  }
  return mode;
}

static void summarise(int64_t n, double *x, double *scratch, syz_flow_summary *out)
{
  flow_sort(n, x, scratch);
  moments(n, x, &out->mean, &out->deviation);
  for (int k = 0; k < SYZ_FLOW_LEVELS; k++) out->quantile[k] = quantile(n, x, syz_flow_levels[k]);
  shortest(n, x, 0.6827, &out->low_68, &out->high_68);
  shortest(n, x, 0.9545, &out->low_95, &out->high_95);
  out->mode = kernel_mode(n, x);
}

syz_status syz_flow_summarise(const syz_flow *f, int64_t n, int64_t draws, const double *y, syz_flow_summary *summary)
{
  syz_status st = SYZ_OK;
  double *room = NULL;
  const int64_t labels = f->labels;
  SYZ_REQUIRE(draws >= 2, SYZ_ERR_INPUT, "quantiles need at least 2 draws of each object, not %lld", (long long)draws);
  SYZ_ALLOC(room, "draws", 2 * draws * f->threads);
#pragma omp parallel for schedule(static) num_threads(f->threads) if (f->threads > 1)
  for (int64_t i = 0; i < n; i++) {
    double *x = room + 2 * draws * flow_thread();
    for (int64_t d = 0; d < labels; d++) {
      for (int64_t j = 0; j < draws; j++) x[j] = y[(i * draws + j) * labels + d];
      summarise(draws, x, x + draws, &summary[i * labels + d]);
    }
  }
cleanup:
  syz_free(&room);
  return st;
}

/* Distance from `place` to the k-th nearest of sorted x [n]. */
static double neighbour_distance(int64_t n, const double *x, double place, int64_t k)
{
  int64_t low = 0, high = n; /* the first one at or above the place */
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (x[middle] < place)
      low = middle + 1;
    else
      high = middle;
  }
  int64_t below = low - 1, above = low;
  double distance = 0;
  for (int64_t i = 0; i < k && (below >= 0 || above < n); i++) {
    const bool takes_below = above >= n || (below >= 0 && place - x[below] < x[above] - place);
    distance = takes_below ? place - x[below--] : x[above++] - place;
  }
  return distance;
}

/* Log of the Gaussian kernel density of sorted draws x [n] at `place`, by the largest term and the others against it.
 * The bandwidth is 0.56 of Silverman's, for what smoothing a narrow feature costs in nats is worse than the scatter;
 * but it reaches the 10th nearest draw, or the tails would be all noise. */
static double log_kernel_density(int64_t n, const double *x, double place)
{
  double nearest = INFINITY, terms = 0;
  const double width = fmax(0.5 * flow_spread(n, x) * pow((double)n, -0.2), neighbour_distance(n, x, place, 10));
  for (int64_t i = 0; i < n; i++) nearest = fmin(nearest, fabs(place - x[i]) / width);
  for (int64_t i = 0; i < n; i++) {
    const double z = (place - x[i]) / width;
    terms += exp(0.5 * (nearest * nearest - z * z));
  }
  return log(terms / (double)n) - 0.5 * nearest * nearest - log(width) - 0.91893853320467274178;
}

syz_status syz_flow_marginals_of_draws(const syz_flow *f, int64_t n, int64_t draws, const double *draw, const double *y,
                                       double *each)
{
  syz_status st = SYZ_OK;
  const int64_t labels = f->labels, threads = f->threads;
  double *room = NULL, *s = NULL;
  uint8_t *ok = NULL;
  SYZ_REQUIRE(draws >= 2, SYZ_ERR_INPUT, "densities need at least 2 draws of each object, not %lld", (long long)draws);
  SYZ_ALLOC(s, "labels", n * labels + 1);
  SYZ_ALLOC(ok, "labels", n + 1);
  SYZ_ALLOC(room, "draws", threads * draws * (labels + 2));
  SYZ_TRY(syz_flow_labels_apply(f->label, f->labels, n, y, s, NULL, ok, NULL));
#pragma omp parallel for schedule(static) num_threads(f->threads) if (f->threads > 1)
  for (int64_t i = 0; i < n; i++) {
    double *all = room + flow_thread() * draws * (labels + 2), *x = all + draws * labels;
    for (int64_t j = 0; j < draws * labels; j++) {
      const int64_t at = i * draws * labels + j;
      syz_flow_labels_apply(&f->label[j % labels], 1, 1, draw + at, all + j, NULL, &(uint8_t){0}, NULL);
    }
    for (int64_t d = 0; d < labels; d++) {
      for (int64_t j = 0; j < draws; j++) x[j] = all[j * labels + d];
      flow_sort(draws, x, x + draws);
      each[i * labels + d] = ok[i] ? log_kernel_density(draws, x, s[i * labels + d]) : -INFINITY;
    }
  }
cleanup:
  syz_free(&room);
  syz_free(&s);
  syz_free(&ok);
  return st;
}

int64_t syz_flow_joint_mode(int64_t draws, const double *log_q)
{
  int64_t best = 0;
  for (int64_t j = 1; j < draws; j++)
    if (log_q[j] > log_q[best]) best = j;
  return best;
}
