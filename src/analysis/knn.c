/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Regression and classification by nearest neighbours. The index holds the rank's share of all rows with only the
 * training ones switched on, so that files are read in contiguous ranges; test rows travel to all ranks block by block
 * as queries.
 */
#include <math.h>

#include "syzygy/analysis.h"

typedef struct knn {
  syz_comm *comm;
  int64_t rows, width, first, n;
  const float *x;
  const uint8_t *role; /* [rows] */
  const syz_knn_options *options;
  int64_t n_train, n_test;
  double *mean, *deviation; /* [E] */
  int64_t *test_row;        /* [n_test] global rows, ascending */
} knn;

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

static bool is_standardised(const syz_knn_options *o) { return o->metric == SYZ_METRIC_EUCLIDEAN && !o->is_raw; }

static syz_status standardisation(const knn *s)
{
  if (is_standardised(s->options))
    return syz_exact_moments(s->comm, s->n, s->width, s->x, s->role + s->first, s->mean, s->deviation);
  for (int64_t e = 0; e < s->width; e++) s->deviation[e] = 1;
  return SYZ_OK;
}

static void standardise(const knn *s, const float *x, float *y)
{
  for (int64_t e = 0; e < s->width; e++) y[e] = (float)(((double)x[e] - s->mean[e]) / s->deviation[e]);
}

static syz_status knn_allocate(knn *s)
{
  syz_status st = SYZ_OK;
  for (int64_t i = 0; i < s->rows; i++) {
    s->n_train += s->role[i] == SYZ_ROLE_TRAIN;
    s->n_test += s->role[i] == SYZ_ROLE_TEST;
  }
  SYZ_REQUIRE(s->n_train > 0 && s->n_test > 0, SYZ_ERR_INPUT,
              "regression by neighbours needs training and test rows: there are %lld and %lld", (long long)s->n_train,
              (long long)s->n_test);
  SYZ_ALLOC(s->mean, "embedding mean", s->width);
  SYZ_ALLOC(s->deviation, "embedding deviation", s->width);
  SYZ_ALLOC(s->test_row, "test rows", s->n_test);
  int64_t t = 0;
  for (int64_t i = 0; i < s->rows; i++)
    if (s->role[i] == SYZ_ROLE_TEST) s->test_row[t++] = i;
cleanup:
  return st;
}

/* Test rows number t .. t + n - 1, standardised, to all ranks: each brings those of its share, and shares are in row
 * order. */
static void gather_queries(const knn *s, int64_t t, int64_t n, float *mine, float *all, size_t *bytes)
{
  int64_t put = 0;
  int size = syz_comm_size(s->comm);
  for (int r = 0; r < size; r++) bytes[r] = 0;
  for (int64_t i = t; i < t + n; i++) {
    int64_t row = s->test_row[i];
    if (row < s->first || row >= s->first + s->n) continue;
    standardise(s, s->x + (row - s->first) * s->width, mine + put++ * s->width);
  }
  size_t my_bytes = (size_t)(put * s->width) * sizeof *mine;
  syz_allgather(s->comm, &my_bytes, bytes, sizeof my_bytes);
  syz_allgatherv(s->comm, mine, all, bytes);
}

/* Distance of a neighbour: 1 - cosine is one too. */
static double distance(const knn *s, const syz_neighbour *b)
{
  return s->options->metric == SYZ_METRIC_COSINE ? 1 - (double)b->score : (double)b->score;
}

/* What k neighbours, best first, say of one target. */
static float decide(const knn *s, const syz_neighbour *b, int64_t k, const syz_knn_target *target)
{
  double sum = 0, weights = 0, votes[SYZ_CLASSES_MAX] = {0};
  const bool is_uniform = s->options->is_uniform, is_coincident = !is_uniform && distance(s, b) <= 0;
  int best = 0;
  for (int64_t i = 0; i < k && b[i].row >= 0; i++) {
    const double d = distance(s, b + i), w = is_uniform ? 1 : is_coincident ? d <= 0 : 1 / d;
    const float value = target->value[b[i].row];
    if (isnan(value)) continue;
    if (target->classes)
      votes[(int)value] += w;
    else
      sum += w * (double)value;
    weights += w;
  }
  for (int c = 1; c < target->classes; c++)
    if (votes[c] > votes[best]) best = c;
  return !(weights > 0) ? NAN : target->classes ? (float)best : (float)(sum / weights);
}

static syz_status check_targets(const knn *s, int n, const syz_knn_target *target)
{
  syz_status st = SYZ_OK;
  for (int t = 0; t < n; t++) {
    SYZ_ASSERT(target[t].classes >= 0 && target[t].classes <= SYZ_CLASSES_MAX);
    for (int64_t i = 0; target[t].classes && i < s->rows; i++) {
      const float v = target[t].value[i];
      SYZ_REQUIRE(s->role[i] == SYZ_ROLE_NONE || isnan(v) || (v >= 0 && v < (float)target[t].classes && v == floorf(v)),
                  SYZ_ERR_DATA, "class %g of row %lld is none of 0 .. %d", (double)v, (long long)i,
                  target[t].classes - 1);
    }
  }
cleanup:
  return st;
}

static syz_status fill_index(const knn *s, syz_index *index)
{
  float *rows = syz_index_rows(index);
  uint8_t *valid = syz_index_valid(index);
  for (int64_t i = 0; i < s->n; i++) {
    valid[i] = s->role[s->first + i] == SYZ_ROLE_TRAIN;
    if (valid[i]) standardise(s, s->x + i * s->width, rows + i * s->width);
  }
  return syz_index_seal(index, NULL);
}

syz_status syz_knn_predict(syz_comm *c, const syz_compute *compute, int64_t rows, int64_t width, const float *x,
                           const uint8_t *role, const syz_knn_options *options, int n_targets,
                           const syz_knn_target *target)
{
  syz_status st = SYZ_OK;
  knn s = {.comm = c, .rows = rows, .width = width, .x = x, .role = role, .options = options};
  syz_index *index = NULL;
  float *mine = NULL, *query = NULL, *part = NULL, *said = NULL;
  syz_neighbour *best = NULL;
  size_t *bytes = NULL;
  int size = syz_comm_size(c), rank = syz_comm_rank(c);
  syz_index_share(rows, size, rank, &s.first, &s.n);
  for (int t = 0; t < n_targets; t++)
    for (int64_t i = 0; i < options->n_k * rows; i++) target[t].prediction[i] = NAN;
  SYZ_TRY_ALL(c, check_targets(&s, n_targets, target));
  SYZ_TRY_ALL(c, knn_allocate(&s));
  const int64_t k = least(options->k[options->n_k - 1], s.n_train);
  SYZ_TRY(standardisation(&s));
  SYZ_TRY(syz_index_create(c, compute, options->metric, rows, width, &index));
  SYZ_TRY_ALL(c, fill_index(&s, index));
  int64_t block = syz_index_block(k);
  mine = syz_alloc("test rows", (size_t)(block * width), sizeof *mine);
  query = syz_alloc("test rows", (size_t)(block * width), sizeof *query);
  part = syz_alloc("predictions", (size_t)block, sizeof *part);
  said = syz_alloc("predictions", (size_t)block, sizeof *said);
  best = syz_alloc("neighbours", (size_t)(block * k), sizeof *best);
  bytes = syz_alloc("shares", (size_t)size, sizeof *bytes);
  SYZ_TRY_ALL(c, mine && query && part && said && best && bytes ? SYZ_OK : SYZ_ERR_MEMORY);
  for (int64_t at = 0; at < s.n_test; at += block) {
    int64_t n = s.n_test - at < block ? s.n_test - at : block, first, count;
    gather_queries(&s, at, n, mine, query, bytes);
    SYZ_TRY(syz_index_search(index, n, query, NULL, &(syz_search_options){.k = k}, best, NULL));
    syz_share(n, size, rank, &first, &count);
    for (int r = 0; r < size; r++) {
      int64_t f, m;
      syz_share(n, size, r, &f, &m);
      bytes[r] = (size_t)m * sizeof *part;
    }
    for (int t = 0; t < n_targets * options->n_k; t++) {
      const syz_knn_target *y = target + t / options->n_k;
      const int size_of_k = t % options->n_k;
      for (int64_t i = 0; i < count; i++) part[i] = decide(&s, best + i * k, least(options->k[size_of_k], k), y);
      syz_allgatherv(c, part, said, bytes);
      for (int64_t i = 0; i < n; i++) y->prediction[size_of_k * rows + s.test_row[at + i]] = said[i];
    }
  }
cleanup:
  syz_index_destroy(&index);
  syz_free(&mine);
  syz_free(&query);
  syz_free(&part);
  syz_free(&said);
  syz_free(&best);
  syz_free(&bytes);
  syz_free(&s.mean);
  syz_free(&s.deviation);
  syz_free(&s.test_row);
  return st;
}

syz_status syz_knn_regress(syz_comm *c, const syz_compute *compute, int64_t rows, int64_t width, const float *x,
                           const float *target, const uint8_t *role, int64_t k, float *prediction)
{
  const syz_knn_target one = {.value = target, .prediction = prediction};
  const syz_knn_options options = {.metric = SYZ_METRIC_EUCLIDEAN, .n_k = 1, .k = {k}};
  return syz_knn_predict(c, compute, rows, width, x, role, &options, 1, &one);
}
