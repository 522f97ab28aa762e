/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * InfoNCE over the global batch: the public functions, and the method for small batches, which gathers all rows.
 * infonce_ring.c has the method for large ones.
 *
 * With x, y the normalised embeddings of images and spectra, c_ij = <x_i, y_j>, A_i = log sum_j exp(s c_ij), B_j = log
 * sum_i exp(s c_ij):
 *
 *   loss = 1/(2G) [ sum_i (A_i - s c_ii) + sum_j (B_j - s c_jj) ]
 *   dloss/dx_i = s/(2G) sum_j W_ij y_j,  W_ij = exp(s c_ij - A_i) + exp(s c_ij - B_j) - 2 [i = j]
 *   dloss/dlog s = sum_i <x_i, dloss/dx_i>
 *
 * and the same for y with rows and columns exchanged. So a rank that holds rows of a modality needs all ranks' rows of
 * the other one (gathered, G x E), its own rows' sums of exponentials (formed here, tile by tile with a running
 * maximum) and all ranks' sums of the other direction (gathered, G numbers). The cosines are formed again in the
 * backward pass rather than kept: memory is O(G E + tile). Image rows and spectrum rows are handled alike and
 * independently, so the towers may be on different ranks. Forming the sums of both directions from own rows costs one
 * more product than exchanging column sums would, of 2 G^2 E / ranks operations: this is small compared with a tower,
 * and the arithmetic of a row does not depend on how rows are distributed.
 *
 * Products are float32, statistics float64. Source of the loss: van den Oord et al. 2018 (arXiv:1807.03748), symmetric
 * form of Radford et al. 2021 (arXiv:2103.00020).
 */
#include <math.h>
#include <string.h>

#include "infonce_ring.h"
#include "similarity.h"

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
  infonce_ring *ring; /* NULL: the gathered method, which uses the fields below */
  int64_t global_batch, width;
  double scale;
  similarity tiles;
  side side[SYZ_MODALITIES];
  double operations;                   /* of products in the last call */
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

bool syz_infonce_is_ring(const syz_infonce_config *c) { return c->global_batch > c->ring_pairs; }

/* Bytes of the gathered method. */
static size_t gathered_bytes(const syz_compute *compute, const syz_infonce_config *c, int image_ranks,
                             int spectrum_ranks)
{
  const bool has[SYZ_MODALITIES] = {c->has_image, c->has_spectrum};
  const int ranks[SYZ_MODALITIES] = {image_ranks, spectrum_ranks};
  const similarity tiles = similarity_shape(compute, c->global_batch, c->width);
  size_t bytes = similarity_bytes(&tiles) + (size_t)c->global_batch * 5 * sizeof(double);
  for (int m = 0; m < SYZ_MODALITIES; m++) {
    const int64_t rows = has[m] ? (c->global_batch + ranks[m] - 1) / ranks[m] : 0;
    bytes += (size_t)((2 * similarity_padded_rows(&tiles, rows) + similarity_padded_columns(&tiles, c->global_batch)) *
                      c->width) *
             sizeof(float);
    bytes += (size_t)rows * (sizeof(float) + 3 * sizeof(double));
  }
  return bytes;
}

size_t syz_infonce_bytes(const syz_compute *compute, const syz_infonce_config *config, int image_ranks,
                         int spectrum_ranks)
{
  return syz_infonce_is_ring(config) ? infonce_ring_bytes(compute, config, image_ranks, spectrum_ranks)
                                     : gathered_bytes(compute, config, image_ranks, spectrum_ranks);
}

/* Gathered: a product of the rows of each side with all of the other forward, two backward. */
syz_loss_work syz_infonce_work(const syz_compute *compute, const syz_infonce_config *config)
{
  if (syz_infonce_is_ring(config)) return infonce_ring_work(compute, config);
  const double G = (double)config->global_batch, E = (double)config->width;
  return (syz_loss_work){.forward = 4 * G * E,
                         .backward = 8 * G * E,
                         .n = 3,
                         .call = {{"embeddings", true, G * E * (double)sizeof(float), SYZ_MODALITIES},
                                  {"statistics of rows", true, G * 2 * (double)sizeof(double), SYZ_MODALITIES},
                                  {"derivative by the scale", true, G * (double)sizeof(double), 1}}};
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

syz_status syz_infonce_create(syz_comm *world, const syz_compute *compute, const syz_infonce_config *config,
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
  const int mine[2] = {config->has_image, config->has_spectrum};
  syz_allgather(world, mine, pair, sizeof mine);
  for (int r = 0; r < size; r++) has[r] = pair[2 * r], has[size + r] = pair[2 * r + 1];
  l->world = world;
  l->global_batch = config->global_batch;
  l->width = config->width;
  SYZ_TRY_ALL(world, syz_infonce_is_ring(config) ? infonce_ring_create(world, compute, config, has, &l->ring)
                                                 : create_local(l, compute, has));
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
  infonce_ring_destroy(&(*l)->ring);
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

double syz_infonce_operations(const syz_infonce *l)
{
  return l->ring ? infonce_ring_operations(l->ring) : l->operations;
}

/* A product of this rank's rows with all rows of the other modality. */
static double operations_of(const syz_infonce *l)
{
  return 2.0 * (double)(l->side[SYZ_IMAGE].count + l->side[SYZ_SPECTRUM].count) * (double)l->global_batch *
         (double)l->width;
}

void syz_infonce_rows(const syz_infonce *l, syz_modality m, int64_t *first, int64_t *count)
{
  if (l->ring) {
    infonce_ring_rows(l->ring, m, first, count);
    return;
  }
  *first = l->side[m].first;
  *count = l->side[m].count;
}

void syz_infonce_put(syz_infonce *l, syz_modality m, int64_t at, int64_t n, const float *embedding)
{
  side *s = &l->side[m];
  if (n <= 0) return;
  if (l->ring)
    infonce_ring_put(l->ring, m, at, n, embedding);
  else
    syz_l2norm_forward(s->own + at * l->width, s->norm + at, embedding, SYZ_EMBEDDING_EPS, n, l->width);
}

void syz_infonce_get(syz_infonce *l, syz_modality m, int64_t at, int64_t n, float *dembedding)
{
  const side *s = &l->side[m];
  if (n <= 0) return;
  if (l->ring)
    infonce_ring_get(l->ring, m, at, n, dembedding);
  else
    syz_l2norm_backward(dembedding, s->gradient + at * l->width, s->own + at * l->width, s->norm + at,
                        SYZ_EMBEDDING_EPS, n, l->width);
}

/* Normalised rows [at, at + n) of this rank. */
static void normalised(const syz_infonce *l, syz_modality m, int64_t at, int64_t n, float *out)
{
  if (l->ring)
    infonce_ring_normalised(l->ring, m, at, n, out);
  else
    memcpy(out, l->side[m].own + at * l->width, (size_t)(n * l->width) * sizeof *out);
}

syz_status syz_infonce_gather(syz_infonce *l, syz_modality m, float *all)
{
  syz_status st = SYZ_OK;
  int64_t first, count;
  float *own = NULL;
  size_t *bytes = NULL;
  const int size = syz_comm_size(l->world);
  if (!l->ring) {
    memcpy(all, l->side[m].all, (size_t)(l->global_batch * l->width) * sizeof *all);
    return st;
  }
  syz_infonce_rows(l, m, &first, &count);
  own = syz_alloc("infonce rows", (size_t)(count * l->width + 1), sizeof *own);
  bytes = syz_alloc("infonce", (size_t)size, sizeof *bytes);
  SYZ_TRY_ALL(l->world, own && bytes ? SYZ_OK : SYZ_ERR_MEMORY);
  normalised(l, m, 0, count, own);
  const size_t mine = (size_t)(count * l->width) * sizeof *own;
  syz_allgather(l->world, &mine, bytes, sizeof mine);
  syz_allgatherv(l->world, own, all, bytes);
cleanup:
  syz_free(&own);
  syz_free(&bytes);
  return st;
}

/* The norm of a row is not finite when one of its numbers is not finite, or when the norm overflows. */
static bool row_is_finite(const syz_infonce *l, syz_modality m, int64_t i)
{
  return isfinite(l->ring ? infonce_ring_norm(l->ring, m, i) : l->side[m].norm[i]);
}

int64_t syz_infonce_not_finite(syz_infonce *l, syz_modality m, int most, int64_t *place)
{
  enum { MOST = 16 };
  int64_t first, count, found[1 + MOST] = {0}, next[1 + MOST], all = 0;
  int known = 0;
  SYZ_ASSERT(most <= MOST);
  syz_infonce_rows(l, m, &first, &count);
  for (int64_t i = 0; i < count; i++)
    if (!row_is_finite(l, m, i) && ++found[0] <= most) found[found[0]] = first + i;
  /* From rank to rank: the rows are in the order of ranks. */
  for (int r = 0; r < syz_comm_size(l->world); r++) {
    memcpy(next, found, sizeof next);
    syz_bcast(l->world, next, sizeof next, r);
    for (int64_t k = 1; k <= next[0] && k <= most && known < most; k++) place[known++] = next[k];
    all += next[0];
  }
  return all;
}

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

void syz_infonce_forward(syz_infonce *l, double scale, const float *const embedding[SYZ_MODALITIES],
                         syz_infonce_loss *out)
{
  for (int m = 0; m < SYZ_MODALITIES; m++) {
    int64_t first, count;
    syz_infonce_rows(l, (syz_modality)m, &first, &count);
    if (embedding[m]) syz_infonce_put(l, (syz_modality)m, 0, count, embedding[m]);
  }
  if (l->ring) {
    infonce_ring_forward(l->ring, scale, out);
    return;
  }
  l->scale = scale;
  l->operations = operations_of(l);
  for (int m = 0; m < SYZ_MODALITIES; m++) {
    side *s = &l->side[m];
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
  if (l->ring) {
    infonce_ring_backward(l->ring, dembedding, dlog_scale);
    return;
  }
  l->operations = 2 * operations_of(l);
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
    if (dembedding[m]) syz_infonce_get(l, (syz_modality)m, 0, s->count, dembedding[m]);
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
