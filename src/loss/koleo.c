/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * KoLeo, the Kozachenko-Leonenko estimate of entropy (Sablayrolles et al. 2019, arXiv:1806.03198): unit vectors are
 * pushed away from their nearest neighbours.
 *
 *   loss = -1/G sum_i log(d_i + eps), d_i = |x_i - x_n(i)|, n(i) the row of largest cosine with row i
 *   dloss/dx_i = -1/G [ (x_i - x_n(i)) / (d_i (d_i + eps))
 *                       + sum over j with n(j) = i of (x_i - x_j) / (d_j (d_j + eps)) ]
 *
 * and from there through the normalisation. The published code looks for neighbours among the rows of one process; this
 * one looks in the global batch, so that the result does not depend on the number of ranks. The rows of all ranks are
 * gathered (G x width) and normalised by each; each rank finds the neighbours of its rows over tiles of cosines
 * (similarity.c); then neighbours and distances are gathered (G numbers each), so that every rank knows both ends of
 * each pair with one of its rows.
 *
 * Cosines are float32 products of float32 unit vectors. Differences are formed in float64 from the rows as given: for
 * two float32 unit vectors 1e-5 apart the difference has only two digits, and the cosine none. So among rows whose
 * cosine is within rounding of the largest, the distance decides; few rows need that unless all are alike. Of equal
 * distances the lower row wins. Two equal rows have d = 0 and no direction to be pushed in: their gradient is 0
 * (PyTorch's pairwise_distance adds its eps to the difference, which gives an arbitrary direction).
 */
#include <math.h>
#include <string.h>

#include "similarity.h"
#include "syzygy/loss.h"

static const double eps = 1e-8;      /* of the logarithm and of the norm */
static const float rounding = 2e-6f; /* of a float32 cosine of 1000 numbers, and more */

/* A row's nearest neighbour in the global batch. */
typedef struct neighbour {
  int64_t row;
  double distance;
} neighbour;

struct syz_koleo {
  syz_comm *world;
  int64_t rows, width, first, count;
  similarity tiles;
  void *memory;                        /* of all arrays below */
  float *own;                          /* [padded count, width] unit vectors; before that, the rows that are sent */
  float *given;                        /* [rows, width] of every rank */
  float *all;                          /* [padded rows, width] unit vectors of every rank */
  double *inverse;                     /* [rows] 1 / max(length, eps) of the given rows */
  float *best;                         /* [tile rows] largest cosine so far */
  neighbour *near;                     /* [count] */
  neighbour *gathered;                 /* [rows] */
  double *gradient;                    /* [width] of one row by its unit vector; then mean of the unit vectors */
  size_t *row_bytes, *neighbour_bytes; /* [ranks] */
};

static size_t lay_out(syz_koleo *k, int ranks, void *memory, size_t size)
{
  const size_t width = (size_t)k->width, count = (size_t)k->count, rows = (size_t)k->rows;
  syz_arena a = {.base = memory, .size = size};
  k->own = syz_arena_take(&a, (size_t)similarity_padded_rows(&k->tiles, k->count) * width, sizeof(float));
  k->given = syz_arena_take(&a, rows * width, sizeof(float));
  k->all = syz_arena_take(&a, (size_t)similarity_padded_columns(&k->tiles, k->rows) * width, sizeof(float));
  k->inverse = syz_arena_take(&a, rows, sizeof(double));
  k->best = syz_arena_take(&a, (size_t)k->tiles.rows, sizeof(float));
  k->near = syz_arena_take(&a, count, sizeof *k->near);
  k->gathered = syz_arena_take(&a, rows, sizeof *k->gathered);
  k->gradient = syz_arena_take(&a, width, sizeof(double));
  k->row_bytes = syz_arena_take(&a, (size_t)ranks, sizeof(size_t));
  k->neighbour_bytes = syz_arena_take(&a, (size_t)ranks, sizeof(size_t));
  return a.used;
}

syz_status syz_koleo_create(syz_comm *world, const syz_compute *compute, int64_t rows, int64_t width, syz_koleo **out)
{
  syz_status st = SYZ_OK;
  const int ranks = syz_comm_size(world);
  syz_koleo *k = NULL;
  *out = NULL;
  SYZ_REQUIRE(rows >= 1 && width >= 1, SYZ_ERR_INTERNAL, "koleo: %lld rows of %lld", (long long)rows, (long long)width);
  SYZ_ALLOC(k, "koleo", 1);
  k->world = world;
  k->rows = rows, k->width = width;
  syz_share(rows, ranks, syz_comm_rank(world), &k->first, &k->count);
  SYZ_TRY(similarity_create(compute, rows, width, false, &k->tiles));
  const size_t bytes = lay_out(k, ranks, NULL, 0);
  k->memory = syz_alloc("koleo", bytes, 1);
  SYZ_REQUIRE(k->memory, SYZ_ERR_MEMORY, "%s", syz_error_text());
  lay_out(k, ranks, k->memory, bytes);
  for (int r = 0; r < ranks; r++) {
    int64_t first, count;
    syz_share(rows, ranks, r, &first, &count);
    k->row_bytes[r] = (size_t)(count * width) * sizeof(float);
    k->neighbour_bytes[r] = (size_t)count * sizeof(neighbour);
  }
  *out = k;
  k = NULL;
cleanup:
  syz_koleo_destroy(&k);
  return st;
}

void syz_koleo_destroy(syz_koleo **k)
{
  if (!k || !*k) return;
  similarity_destroy(&(*k)->tiles);
  syz_free(&(*k)->memory);
  syz_free(k);
}

/* The upper bound, as if one rank had all rows; the memory of the product's plan is measured. */
size_t syz_koleo_bytes(const syz_compute *compute, int64_t rows, int64_t width)
{
  syz_koleo k = {.rows = rows, .width = width, .count = rows};
  const size_t before = syz_memory_get().live_bytes;
  if (similarity_create(compute, rows, width, false, &k.tiles) != SYZ_OK) return 0;
  const size_t bytes = syz_memory_get().live_bytes - before + lay_out(&k, 1, NULL, 0) + sizeof k;
  similarity_destroy(&k.tiles);
  return bytes;
}

/* Difference of unit vectors i and j in one component. */
static double difference(const syz_koleo *k, int64_t i, int64_t j, int64_t d)
{
  return (double)k->given[i * k->width + d] * k->inverse[i] - (double)k->given[j * k->width + d] * k->inverse[j];
}

static double distance(const syz_koleo *k, int64_t i, int64_t j)
{
  double sum = 0;
  for (int64_t d = 0; d < k->width; d++) {
    const double x = difference(k, i, j, d);
    sum += x * x;
  }
  return sqrt(sum);
}

/* The nearest of a tile's columns to its rows, other than themselves. */
static void add_tile(syz_koleo *k, int64_t row0, int64_t rows, int64_t column0)
{
  const int64_t width = k->tiles.columns, n = k->rows - column0 < width ? k->rows - column0 : width;
#pragma omp parallel for schedule(static) num_threads(k->tiles.threads)
  for (int64_t r = 0; r < rows; r++) {
    const float *cosine = k->tiles.tile + r * width;
    const int64_t row = k->first + row0 + r;
    neighbour *near = &k->near[row0 + r];
    for (int64_t j = 0; j < n; j++) {
      if (near->row >= 0 && cosine[j] < k->best[r] - rounding) continue;
      if (column0 + j == row) continue;
      const double d = distance(k, row, column0 + j);
      if (near->row < 0 || d < near->distance) *near = (neighbour){column0 + j, d};
      k->best[r] = fmaxf(k->best[r], cosine[j]);
    }
  }
}

/* Neighbours of this rank's rows. */
static void find_neighbours(syz_koleo *k)
{
  const int64_t width = k->width, step = k->tiles.rows;
  for (int64_t i = 0; i < k->count; i++) k->near[i].row = -1;
  for (int64_t r0 = 0; r0 < k->count; r0 += step) {
    const int64_t rows = k->count - r0 < step ? k->count - r0 : step;
    for (int64_t r = 0; r < rows; r++) k->best[r] = -INFINITY;
    for (int64_t c0 = 0; c0 < k->rows; c0 += k->tiles.columns) {
      syz_gemm_run(k->tiles.forward, k->own + r0 * width, k->all + c0 * width, NULL, k->tiles.tile);
      add_tile(k, r0, rows, c0);
    }
  }
}

syz_loss_work syz_koleo_work(int64_t rows, int64_t width)
{
  const double n = (double)rows, bytes = n * (double)width * (double)sizeof(float);
  return (syz_loss_work){
      .forward = 2 * n * (double)width,
      .n = 2,
      .call = {{"rows of KoLeo", true, bytes, 1}, {"neighbours of KoLeo", true, n * (double)sizeof(neighbour), 1}}};
}

/* Every rank's rows to all ranks, and their unit vectors. Collective. */
static void gather_rows(syz_koleo *k, const float *x, int64_t stride)
{
  const int64_t width = k->width;
  for (int64_t i = 0; i < k->count; i++) memcpy(k->own + i * width, x + i * stride, (size_t)width * sizeof *x);
  syz_allgatherv(k->world, k->own, k->given, k->row_bytes);
  for (int64_t i = 0; i < k->rows; i++) {
    double square = 0;
    for (int64_t d = 0; d < width; d++) square += (double)k->given[i * width + d] * (double)k->given[i * width + d];
    const double norm = sqrt(square);
    k->inverse[i] = 1 / (norm < eps ? eps : norm); /* a NaN stays a NaN */
    for (int64_t d = 0; d < width; d++)
      k->all[i * width + d] = (float)((double)k->given[i * width + d] * k->inverse[i]);
  }
  memcpy(k->own, k->all + k->first * width, (size_t)(k->count * width) * sizeof *k->own);
}

/* Root mean square distance of the unit vectors from their mean; all rows in row order on every rank. */
static double spread_of(syz_koleo *k)
{
  double *mean = k->gradient, sum = 0;
  memset(mean, 0, (size_t)k->width * sizeof *mean);
  for (int64_t i = 0; i < k->rows; i++)
    for (int64_t d = 0; d < k->width; d++) mean[d] += (double)k->all[i * k->width + d];
  for (int64_t d = 0; d < k->width; d++) mean[d] /= (double)k->rows;
  for (int64_t i = 0; i < k->rows; i++)
    for (int64_t d = 0; d < k->width; d++) {
      const double x = (double)k->all[i * k->width + d] - mean[d];
      sum += x * x;
    }
  return sqrt(sum / (double)k->rows);
}

void syz_koleo_forward(syz_koleo *k, const float *x, int64_t stride, double *loss, double *spread)
{
  gather_rows(k, x, stride);
  *spread = spread_of(k);
  *loss = 0;
  if (k->rows == 1) {
    if (isnan(*spread)) *loss = NAN;
    return;
  }
  find_neighbours(k);
  syz_allgatherv(k->world, k->near, k->gathered, k->neighbour_bytes);
  for (int64_t i = 0; i < k->rows; i++) *loss -= log(k->gathered[i].distance + eps);
  *loss /= (double)k->rows;
}

/* gradient += factor (x_i - x_j) / (d (d + eps)) */
static void add_pair(const syz_koleo *k, int64_t i, int64_t j, double d, double factor)
{
  if (d == 0) return;
  factor /= d * (d + eps);
  for (int64_t n = 0; n < k->width; n++) k->gradient[n] += factor * difference(k, i, j, n);
}

void syz_koleo_backward(syz_koleo *k, double scale, float *dx, int64_t stride)
{
  if (k->rows == 1) return;
  const double factor = -scale / (double)k->rows;
  for (int64_t i = 0; i < k->count; i++) {
    const int64_t own = k->first + i;
    const float *y = k->own + i * k->width;
    memset(k->gradient, 0, (size_t)k->width * sizeof *k->gradient);
    add_pair(k, own, k->gathered[own].row, k->gathered[own].distance, factor);
    for (int64_t j = 0; j < k->rows; j++)
      if (k->gathered[j].row == own) add_pair(k, own, j, k->gathered[j].distance, factor);
    /* Backward through y = x / max(|x|, eps): the part along y drops out, unless the norm was clamped. */
    double along = 0;
    for (int64_t n = 0; n < k->width && k->inverse[own] < 1 / eps; n++) along += (double)y[n] * k->gradient[n];
    for (int64_t n = 0; n < k->width; n++)
      dx[i * stride + n] += (float)((k->gradient[n] - along * (double)y[n]) * k->inverse[own]);
  }
}
