/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * InfoNCE over the global batch.
 *
 * With x, y the normalised embeddings of images and spectra, c_ij = <x_i, y_j>, A_i = log sum_j exp(s c_ij), B_j = log sum_i exp(s c_ij):
 *
 *   loss = 1/(2G) [ sum_i (A_i - s c_ii) + sum_j (B_j - s c_jj) ]
 *   dloss/dx_i = s/(2G) sum_j W_ij y_j,  W_ij = exp(s c_ij - A_i) + exp(s c_ij - B_j) - 2 [i = j]
 *   dloss/dlog s = sum_i <x_i, dloss/dx_i>
 *
 * and the same for y with rows and columns exchanged. So a rank that holds rows of a modality needs everybody's rows of the other one
 * (gathered, G x E), its own rows' sums of exponentials (formed here, tile by tile with a running maximum) and everybody's of the other
 * direction (gathered, G numbers). The cosines are formed again in the backward pass rather than kept: memory is O(G E + tile). Image
 * rows and spectrum rows are handled alike and independently, which is what lets the towers live on different ranks. Forming the sums of
 * both directions from own rows costs one more product than exchanging column sums would, of 2 G^2 E / ranks operations: small beside a
 * tower, and it keeps every row's arithmetic independent of who else holds what.
 *
 * Products are float32, statistics float64. Source of the loss: van den Oord et al. 2018 (arXiv:1807.03748), symmetric form of Radford
 * et al. 2021 (arXiv:2103.00020).
 */
#include <math.h>
#include <string.h>

#include "similarity.h"
#include "syzygy/train.h"

/* One modality's rows as this rank sees them. */
typedef struct side {
  bool is_here;
  int64_t first, count;
  float *own;         /* [padded count, E] normalised */
  float *norm;        /* [count] */
  float *all;         /* [padded G, E] normalised rows of every rank */
  double *statistics; /* [count, 2]: log-sum-exp of the row, loss of the row */
  double *gathered;   /* [G, 2] */
  float *gradient;    /* [padded count, E] by the normalised rows */
  size_t *row_bytes;  /* [ranks] for the gather of rows */
  size_t *statistics_bytes;
} side;

struct syz_infonce {
  syz_comm *world;
  int64_t global_batch, width;
  double scale;
  similarity tiles;
  side side[SYZ_MODALITIES];
  double *row_max, *row_sum, *row_own; /* [tile rows] running maximum and sum, logit of the pair */
  double *dscale, *dscale_all;         /* [image count], [G] */
  size_t *dscale_bytes;
};

static syz_status side_create(syz_infonce *l, side *s, const int *has)
{
  syz_status st = SYZ_OK;
  const int size = syz_comm_size(l->world), rank = syz_comm_rank(l->world);
  const int64_t G = l->global_batch, E = l->width;
  int holders = 0, seen = 0;
  for (int r = 0; r < size; r++) holders += has[r];
  SYZ_REQUIRE(holders > 0, SYZ_ERR_INTERNAL, "no rank holds one of the two modalities");
  SYZ_ALLOC(s->row_bytes, "infonce", size);
  SYZ_ALLOC(s->statistics_bytes, "infonce", size);
  for (int r = 0; r < size; r++) {
    int64_t first = 0, count = 0;
    if (has[r]) syz_share(G, holders, seen++, &first, &count);
    s->row_bytes[r] = (size_t)(count * E) * sizeof(float);
    s->statistics_bytes[r] = (size_t)count * 2 * sizeof(double);
    if (r == rank) s->first = first, s->count = count;
  }
  s->is_here = has[rank];
  const int64_t padded = similarity_padded_rows(&l->tiles, s->count);
  SYZ_ALLOC(s->own, "infonce rows", padded * E + 1);
  SYZ_ALLOC(s->gradient, "infonce gradient", padded * E + 1);
  SYZ_ALLOC(s->norm, "infonce norms", s->count + 1);
  SYZ_ALLOC(s->statistics, "infonce statistics", 2 * s->count + 1);
  SYZ_ALLOC(s->gathered, "infonce statistics", 2 * G);
  SYZ_ALLOC(s->all, "infonce gathered embeddings", similarity_padded_columns(&l->tiles, G) * E);
cleanup:
  return st;
}

static syz_status create_local(syz_infonce *l, const syz_compute *compute, const int *has)
{
  syz_status st = SYZ_OK;
  const int size = syz_comm_size(l->world);
  SYZ_TRY(similarity_create(compute, l->global_batch, l->width, true, &l->tiles));
  for (int m = 0; m < SYZ_MODALITIES; m++) SYZ_TRY(side_create(l, &l->side[m], has + (ptrdiff_t)m * size));
  SYZ_ALLOC(l->row_max, "infonce", l->tiles.rows);
  SYZ_ALLOC(l->row_sum, "infonce", l->tiles.rows);
  SYZ_ALLOC(l->row_own, "infonce", l->tiles.rows);
  SYZ_ALLOC(l->dscale, "infonce", l->side[SYZ_IMAGE].count + 1);
  SYZ_ALLOC(l->dscale_all, "infonce", l->global_batch);
  SYZ_ALLOC(l->dscale_bytes, "infonce", size);
  for (int r = 0; r < size; r++) l->dscale_bytes[r] = l->side[SYZ_IMAGE].statistics_bytes[r] / 2;
cleanup:
  return st;
}

syz_status syz_infonce_create(syz_comm *world, const syz_compute *compute, int64_t global_batch, int64_t width, bool has_image, bool has_spectrum,
                              syz_infonce **out)
{
  syz_status st = SYZ_OK, local = SYZ_OK;
  const int size = syz_comm_size(world);
  int *pair = NULL, *has = NULL;
  *out = NULL;
  syz_infonce *l = syz_alloc("infonce", 1, sizeof *l);
  pair = syz_alloc("infonce", 2 * (size_t)size, sizeof *pair);
  has = syz_alloc("infonce", 2 * (size_t)size, sizeof *has);
  if (!l || !pair || !has) local = SYZ_ERR_MEMORY;
  SYZ_TRY_ALL(world, local);
  const int mine[2] = {has_image, has_spectrum};
  syz_allgather(world, mine, pair, sizeof mine);
  for (int r = 0; r < size; r++) has[r] = pair[2 * r], has[size + r] = pair[2 * r + 1];
  l->world = world;
  l->global_batch = global_batch;
  l->width = width;
  SYZ_TRY_ALL(world, create_local(l, compute, has));
  *out = l;
cleanup:
  syz_free(&pair);
  syz_free(&has);
  if (st != SYZ_OK) syz_infonce_destroy(&l);
  return st;
}

void syz_infonce_destroy(syz_infonce **l)
{
  if (!l || !*l) return;
  for (int m = 0; m < SYZ_MODALITIES; m++) {
    side *s = &(*l)->side[m];
    syz_free(&s->own);
    syz_free(&s->norm);
    syz_free(&s->all);
    syz_free(&s->statistics);
    syz_free(&s->gathered);
    syz_free(&s->gradient);
    syz_free(&s->row_bytes);
    syz_free(&s->statistics_bytes);
  }
  similarity_destroy(&(*l)->tiles);
  syz_free(&(*l)->row_max);
  syz_free(&(*l)->row_sum);
  syz_free(&(*l)->row_own);
  syz_free(&(*l)->dscale);
  syz_free(&(*l)->dscale_all);
  syz_free(&(*l)->dscale_bytes);
  syz_free(l);
}

void syz_infonce_rows(const syz_infonce *l, syz_modality m, int64_t *first, int64_t *count)
{
  *first = l->side[m].first;
  *count = l->side[m].count;
}

const float *syz_infonce_gathered(const syz_infonce *l, syz_modality m) { return l->side[m].all; }

/* Running log-sum-exp of the tile's rows: the maximum so far and the sum of exp(logit - maximum). */
static void add_tile(syz_infonce *l, int64_t row0, int64_t rows, int64_t column0, int64_t first)
{
  const int64_t width = l->tiles.columns, n = l->global_batch - column0 < width ? l->global_batch - column0 : width;
  const double scale = l->scale;
#pragma omp parallel for schedule(static) num_threads(l->tiles.threads)
  for (int64_t r = 0; r < rows; r++) {
    const float *cosine = l->tiles.tile + r * width;
    double max = l->row_max[r], sum = l->row_sum[r];
    float top = cosine[0];
    for (int64_t j = 1; j < n; j++) top = cosine[j] > top ? cosine[j] : top;
    const double here = scale * (double)top;
    if (here > max) {
      sum *= exp(max - here);
      max = here;
    }
    for (int64_t j = 0; j < n; j++) sum += exp(scale * (double)cosine[j] - max);
    l->row_max[r] = max;
    l->row_sum[r] = sum;
    const int64_t pair = first + row0 + r - column0;
    if (pair >= 0 && pair < n) l->row_own[r] = scale * (double)cosine[pair];
  }
}

/* Statistics of this rank's rows of `mine` against all rows of `other`. */
static void sum_rows(syz_infonce *l, side *mine, const side *other)
{
  const int64_t E = l->width, step = l->tiles.rows;
  for (int64_t r0 = 0; r0 < mine->count; r0 += step) {
    const int64_t rows = mine->count - r0 < step ? mine->count - r0 : step;
    for (int64_t r = 0; r < rows; r++) l->row_max[r] = -INFINITY, l->row_sum[r] = 0;
    for (int64_t c0 = 0; c0 < l->global_batch; c0 += l->tiles.columns) {
      syz_gemm_run(l->tiles.forward, mine->own + r0 * E, other->all + c0 * E, NULL, l->tiles.tile);
      add_tile(l, r0, rows, c0, mine->first);
    }
    for (int64_t r = 0; r < rows; r++) {
      double *out = mine->statistics + 2 * (r0 + r);
      out[0] = l->row_max[r] + log(l->row_sum[r]);
      out[1] = out[0] - l->row_own[r];
    }
  }
}

/* Mean over the global batch in row order: the same bits on every rank and for any number of them. */
static double mean_row_loss(const syz_infonce *l, const side *s)
{
  double sum = 0;
  for (int64_t i = 0; i < l->global_batch; i++) sum += s->gathered[2 * i + 1];
  return sum / (double)l->global_batch;
}

void syz_infonce_forward(syz_infonce *l, double scale, const float *const embedding[SYZ_MODALITIES], syz_infonce_loss *out)
{
  l->scale = scale;
  for (int m = 0; m < SYZ_MODALITIES; m++) {
    side *s = &l->side[m];
    if (s->count) syz_l2norm_forward(s->own, s->norm, embedding[m], SYZ_EMBEDDING_EPS, s->count, l->width);
    syz_allgatherv(l->world, s->own, s->all, s->row_bytes);
  }
  for (int m = 0; m < SYZ_MODALITIES; m++) {
    side *s = &l->side[m];
    sum_rows(l, s, &l->side[1 - m]);
    syz_allgatherv(l->world, s->statistics, s->gathered, s->statistics_bytes);
  }
  out->image_to_spectrum = mean_row_loss(l, &l->side[SYZ_IMAGE]);
  out->spectrum_to_image = mean_row_loss(l, &l->side[SYZ_SPECTRUM]);
  out->loss = 0.5 * (out->image_to_spectrum + out->spectrum_to_image);
}

/* Turns the tile of cosines into s/(2G) W; columns past the batch become zero. */
static void weigh_tile(syz_infonce *l, int64_t row0, int64_t rows, int64_t column0, const side *mine, const side *other)
{
  const int64_t width = l->tiles.columns, n = l->global_batch - column0 < width ? l->global_batch - column0 : width;
  const double scale = l->scale, factor = scale / (2.0 * (double)l->global_batch);
#pragma omp parallel for schedule(static) num_threads(l->tiles.threads)
  for (int64_t r = 0; r < l->tiles.rows; r++) {
    float *w = l->tiles.tile + r * width;
    if (r >= rows) {
      memset(w, 0, (size_t)width * sizeof *w);
      continue;
    }
    const double lse = mine->statistics[2 * (row0 + r)];
    const double *lse_other = other->gathered + 2 * column0;
    for (int64_t j = 0; j < n; j++) {
      const double logit = scale * (double)w[j];
      w[j] = (float)(factor * (exp(logit - lse) + exp(logit - lse_other[2 * j])));
    }
    const int64_t pair = mine->first + row0 + r - column0;
    if (pair >= 0 && pair < n) w[pair] -= (float)(2.0 * factor);
    for (int64_t j = n; j < width; j++) w[j] = 0;
  }
}

void syz_infonce_backward(syz_infonce *l, float *const dembedding[SYZ_MODALITIES], double *dlog_scale)
{
  const int64_t E = l->width, step = l->tiles.rows;
  for (int m = 0; m < SYZ_MODALITIES; m++) {
    side *s = &l->side[m];
    const side *other = &l->side[1 - m];
    for (int64_t r0 = 0; r0 < s->count; r0 += step) {
      const int64_t rows = s->count - r0 < step ? s->count - r0 : step;
      float *gradient = s->gradient + r0 * E;
      memset(gradient, 0, (size_t)(step * E) * sizeof *gradient);
      for (int64_t c0 = 0; c0 < l->global_batch; c0 += l->tiles.columns) {
        syz_gemm_run(l->tiles.forward, s->own + r0 * E, other->all + c0 * E, NULL, l->tiles.tile);
        weigh_tile(l, r0, rows, c0, s, other);
        syz_gemm_run(l->tiles.backward, l->tiles.tile, other->all + c0 * E, NULL, gradient);
      }
    }
    if (s->count) syz_l2norm_backward(dembedding[m], s->gradient, s->own, s->norm, SYZ_EMBEDDING_EPS, s->count, E);
  }
  if (!dlog_scale) return;
  const side *image = &l->side[SYZ_IMAGE];
  for (int64_t i = 0; i < image->count; i++) {
    double dot = 0;
    for (int64_t d = 0; d < E; d++) dot += (double)image->own[i * E + d] * (double)image->gradient[i * E + d];
    l->dscale[i] = dot;
  }
  syz_allgatherv(l->world, l->dscale, l->dscale_all, l->dscale_bytes);
  *dlog_scale = 0;
  for (int64_t i = 0; i < l->global_batch; i++) *dlog_scale += l->dscale_all[i];
}
