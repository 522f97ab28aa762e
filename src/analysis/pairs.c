/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Figures of random draws of pairs: the InfoNCE bound of mutual information (van den Oord, Li & Vinyals 2018; Poole et
 * al. 2019) and uniformity (Wang & Isola 2020). Draw d takes the objects to which a shuffling by (seed, d) gives the
 * first n places, in the order of rows; its rows are gathered on rank d mod size, which computes all of it, so that
 * nothing depends on the ranks. Products and sums are float64.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lapack.h"
#include "rows.h"
#include "syzygy/numbers.h"

enum { TILE = 512 };

typedef struct draw {
  syz_comm *comm;
  const syz_rows *rows[2];
  int64_t n, first, total;
  int64_t *row;      /* [n] of all draws' rows that are here, ascending; of this rank */
  size_t *bytes;     /* [ranks] */
  float *mine, *all; /* [n, widest] */
  double *x[2];      /* [n, width] of unit length */
  double *tile;      /* [TILE, n] */
  double *column[3]; /* [n] of the loss the other way: largest, sum, partner */
} draw;

static syz_status allocate(draw *d)
{
  syz_status st = SYZ_OK;
  const int64_t width = d->rows[0]->width > d->rows[1]->width ? d->rows[0]->width : d->rows[1]->width;
  SYZ_ALLOC(d->row, "drawn rows", d->n);
  SYZ_ALLOC(d->bytes, "shares", syz_comm_size(d->comm));
  SYZ_ALLOC(d->mine, "drawn rows", d->n * width);
  SYZ_ALLOC(d->all, "drawn rows", d->n * width);
  for (int s = 0; s < 2; s++) SYZ_ALLOC(d->x[s], "drawn rows", d->n * d->rows[s]->width);
  SYZ_ALLOC(d->tile, "cosines", TILE * d->n);
  for (int k = 0; k < 3; k++) SYZ_ALLOC(d->column[k], "InfoNCE", d->n);
cleanup:
  return st;
}

static void release(draw *d)
{
  syz_free(&d->row);
  syz_free(&d->bytes);
  syz_free(&d->mine);
  syz_free(&d->all);
  for (int s = 0; s < 2; s++) syz_free(&d->x[s]);
  syz_free(&d->tile);
  for (int k = 0; k < 3; k++) syz_free(&d->column[k]);
}

static int compare_rows(const void *a, const void *b)
{
  const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
  return x < y ? -1 : x > y;
}

/* This rank's rows of a draw, ascending. */
static int64_t find_mine(draw *d, const syz_random *random)
{
  int64_t count = 0;
  for (int64_t i = 0; i < d->n; i++) {
    const int64_t row = (int64_t)syz_random_permute(random, (uint64_t)d->total, (uint64_t)i) - d->first;
    if (row >= 0 && row < d->rows[0]->n) d->row[count++] = row;
  }
  qsort(d->row, (size_t)count, sizeof *d->row, compare_rows);
  return count;
}

static void normalise(const float *x, int64_t n, int64_t width, double *y)
{
  for (int64_t i = 0; i < n; i++) {
    double sum = 0;
    for (int64_t e = 0; e < width; e++) sum += (double)x[i * width + e] * (double)x[i * width + e];
    const double scale = sum > 0 ? 1 / sqrt(sum) : 0;
    for (int64_t e = 0; e < width; e++) y[i * width + e] = (double)x[i * width + e] * scale;
  }
}

/* The rows of a draw on rank `root`. Collective. */
static void gather(draw *d, const syz_random *random, int root)
{
  const int64_t count = find_mine(d, random);
  for (int s = 0; s < 2; s++) {
    const int64_t width = d->rows[s]->width;
    syz_chosen_rows chosen = {d->rows[s], d->row};
    const size_t bytes = (size_t)(count * width) * sizeof(float);
    syz_chosen_rows_read(&chosen, 0, count, d->mine);
    syz_allgather(d->comm, &bytes, d->bytes, sizeof bytes);
    syz_gatherv(d->comm, d->mine, d->all, d->bytes, root);
    if (syz_comm_rank(d->comm) == root) normalise(d->all, d->n, width, d->x[s]);
  }
}

/* log of a sum of exponentials, a term at a time. */
static void add_term(double *largest, double *sum, double x)
{
  if (x <= *largest) {
    *sum += exp(x - *largest);
  } else {
    *sum = *sum * exp(*largest - x) + 1;
    *largest = x;
  }
}

/* InfoNCE of both directions, their mean. */
static double loss(draw *d, double scale)
{
  const int64_t n = d->n, width = d->rows[0]->width;
  double sum = 0;
  for (int64_t j = 0; j < n; j++) {
    d->column[0][j] = -INFINITY;
    d->column[1][j] = 0;
  }
  for (int64_t at = 0; at < n; at += TILE) {
    const int64_t m = n - at < TILE ? n - at : TILE;
    la_gemm(false, true, m, n, width, d->x[0] + at * width, d->x[1], 0, d->tile);
    for (int64_t i = 0; i < m; i++) {
      double largest = -INFINITY, row = 0;
      for (int64_t j = 0; j < n; j++) {
        const double s = scale * d->tile[i * n + j];
        add_term(&largest, &row, s);
        add_term(&d->column[0][j], &d->column[1][j], s);
      }
      d->column[2][at + i] = scale * d->tile[i * n + at + i];
      sum += largest + log(row) - d->column[2][at + i];
    }
  }
  for (int64_t j = 0; j < n; j++) sum += d->column[0][j] + log(d->column[1][j]) - d->column[2][j];
  return sum / (2 * (double)n);
}

static double uniformity(draw *d, int s)
{
  const int64_t n = d->n, width = d->rows[s]->width;
  double sum = 0;
  for (int64_t at = 0; at < n; at += TILE) {
    const int64_t m = n - at < TILE ? n - at : TILE;
    la_gemm(false, true, m, n, width, d->x[s] + at * width, d->x[s], 0, d->tile);
    for (int64_t i = 0; i < m; i++)
      for (int64_t j = 0; j < n; j++)
        if (j != at + i) sum += exp(-4 * (1 - d->tile[i * n + j])); /* |a - b|^2 = 2 - 2 cos */
  }
  return log(sum / ((double)n * (double)(n - 1)));
}

/* Mean of the draws and its error. */
static void summarise(const double *value, int64_t draws, double out[2])
{
  double sum = 0, square = 0;
  for (int64_t k = 0; k < draws; k++) sum += value[3 * k];
  out[0] = sum / (double)draws;
  for (int64_t k = 0; k < draws; k++) square += (value[3 * k] - out[0]) * (value[3 * k] - out[0]);
  out[1] = draws > 1 ? sqrt(square / (double)(draws - 1) / (double)draws) : NAN;
}

static void compute(draw *d, double scale, double value[3])
{
  const bool has_bound = d->rows[0]->width == d->rows[1]->width;
  value[0] = has_bound ? log((double)d->n) - loss(d, scale) : 0;
  for (int s = 0; s < 2; s++) value[1 + s] = uniformity(d, s);
}

syz_status syz_pairs_draw(syz_comm *c, const syz_rows *x, const syz_rows *y, int64_t n, int64_t draws, double scale,
                          uint64_t seed, syz_pair_means *out)
{
  syz_status st = SYZ_OK;
  draw d = {.comm = c, .rows = {x, y}, .n = n, .first = syz_exscan_i64(c, x->n), .total = x->n};
  const int size = syz_comm_size(c), rank = syz_comm_rank(c);
  double *value = syz_alloc("draws", (size_t)(3 * draws + 1), sizeof *value);
  SYZ_TRY_ALL(c, value ? SYZ_OK : SYZ_ERR_MEMORY);
  syz_allreduce_i64(c, &d.total, 1, SYZ_SUM);
  SYZ_REQUIRE(n >= 2 && n <= d.total, SYZ_ERR_INPUT, "draws of %lld pairs among %lld", (long long)n,
              (long long)d.total);
  SYZ_TRY_ALL(c, allocate(&d));
  for (int64_t first = 0; first < draws; first += size) {
    for (int r = 0; r < size && first + r < draws; r++) {
      const syz_random random = syz_random_make(seed, SYZ_RANDOM_DRAW, (uint64_t)(first + r), (uint64_t)n);
      gather(&d, &random, r);
    }
    if (first + rank < draws) compute(&d, scale, value + 3 * (first + rank));
  }
  syz_allreduce_f64(c, value, (size_t)(3 * draws), SYZ_SUM);
  *out = (syz_pair_means){.n = n, .draws = draws, .bound = {NAN, NAN}};
  if (x->width == y->width) summarise(value, draws, out->bound);
  for (int s = 0; s < 2; s++) summarise(value + 1 + s, draws, out->uniformity[s]);
cleanup:
  release(&d);
  syz_free(&value);
  return st;
}
