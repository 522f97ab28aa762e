/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * InfoNCE for batches too large for one rank: formulas as in infonce.c. Rows of one modality (`still`) stay on their
 * ranks; those of the other (`moving`) travel around the ranks in pieces (infonce_pieces.c). Between a piece and 1152
 * own rows every cosine is formed once, and gives the sums of exponentials of both its row and its column; those of the
 * columns travel with the piece. Backward it is formed again, and
 *
 *   w_ij = s/(2G) (exp(s c_ij - A_i) + exp(s c_ij - B_j)),  dx += w y,  dy += w^T x
 *
 * where dy travels with the piece: 2 G^2 E operations forward and 6 G^2 E backward, divided among the ranks; the
 * gathered method needs 4 and 8. Products are in the type of the compute context with float32 sums, statistics as in
 * infonce_tile.c. The weight of a pair, which is the difference of two numbers near each other, is left out of w and
 * added in float32, because a product would lose its digits. Normalised rows are kept in the type of the products.
 *
 * With towers apart the modality on more ranks stays; those of the other one only send and receive. The loss is less
 * than a hundredth of the towers' work, so it would not help to give them a part of it.
 */
#include "infonce_ring.h"

#include <math.h>
#include <omp.h>
#include <string.h>

#include "infonce_pieces.h"
#include "infonce_tile.h"

static const double ln_2 = 0.693147180559945309417232121458;

enum {
  BLOCK_ROWS = 12 * SYZ_PAIRS_ROWS, /* own rows compared with a piece at a time */
  PIECE_ROWS = 2048,                /* of a piece at most, unless the caller says otherwise */
};

typedef struct ring_side {
  bool is_here;
  int64_t first, count;
  unsigned char *rows; /* [count, stride] act, normalised */
  float *norm;         /* [count] */
  float *top;          /* [count] sum 2^top is the row's sum of exponentials */
  double *sum;
  float *gradient; /* streams: [count, E] by the embedding; NULL: it replaces the rows, in their type */
} ring_side;

struct infonce_ring {
  syz_comm *world;
  const syz_compute *compute;
  syz_dtype act;
  int64_t global_batch, width, stride;
  int64_t still_rows; /* own rows compared with a piece: all, unless this is a measurement */
  size_t row_bytes;
  syz_modality still, moving;
  ring_side side[SYZ_MODALITIES];
  pieces pieces;
  syz_pairs *pairs; /* stations only, as are the fields below */
  /* Of each tile of a block of rows and a piece: by block of columns and row, and by block of rows and column. */
  float *row_top, *row_sum, *column_top, *column_sum;
  float *pair; /* [BLOCK_ROWS] forward: cosine, backward: weight of the pair of each row of the block that is in the
                  piece */
  float *row_factor;    /* [BLOCK_ROWS] */
  float *column_factor; /* [room] */
  float *row;           /* [threads, 2 E] */
  double scale, factor; /* s, s/(2G) */
  double pair_logits;   /* sum over own rows that stay */
  float scale2;         /* s log2(e) */
  int64_t row0;         /* first row of the current block */
  double operations;    /* of products in this pass */
  piece *piece;         /* the current piece */
  float *dstill;        /* [count, E] */
  float *dmoving;       /* [count, E], or NULL: as ring_side.gradient */
};

/* ------------------------------------------------------------------ set-up */

static int64_t piece_rows_of(const syz_infonce_config *c) { return c->piece_rows > 0 ? c->piece_rows : PIECE_ROWS; }

/* Statistics of tiles. */
static int64_t row_parts(int64_t room) { return (room + SYZ_PAIRS_COLUMNS - 1) / SYZ_PAIRS_COLUMNS * BLOCK_ROWS; }
static int64_t column_parts(int64_t room) { return BLOCK_ROWS / SYZ_PAIRS_ROWS * room; }

static syz_status create_station(infonce_ring *l)
{
  syz_status st = SYZ_OK;
  const int64_t room = l->pieces.room;
  SYZ_TRY(syz_pairs_create(l->compute, l->width, BLOCK_ROWS, room, true, &l->pairs));
  SYZ_ALLOC(l->row_top, "infonce statistics", row_parts(room));
  SYZ_ALLOC(l->row_sum, "infonce statistics", row_parts(room));
  SYZ_ALLOC(l->column_top, "infonce statistics", column_parts(room));
  SYZ_ALLOC(l->column_sum, "infonce statistics", column_parts(room));
  SYZ_ALLOC(l->pair, "infonce", BLOCK_ROWS);
  SYZ_ALLOC(l->row_factor, "infonce", BLOCK_ROWS);
  SYZ_ALLOC(l->column_factor, "infonce", room);
cleanup:
  return st;
}

static syz_status create_side(infonce_ring *l, syz_modality m, const int *has, bool keeps_gradient)
{
  syz_status st = SYZ_OK;
  ring_side *s = &l->side[m];
  const int size = syz_comm_size(l->world), rank = syz_comm_rank(l->world);
  int holders = 0, place = 0;
  for (int r = 0; r < size; r++) {
    if (r < rank) place += has[r];
    holders += has[r];
  }
  s->is_here = has[rank];
  if (!s->is_here) return st;
  syz_share(l->global_batch, holders, place, &s->first, &s->count);
  SYZ_ALLOC(s->rows, "infonce rows", (size_t)(s->count + 1) * l->row_bytes);
  SYZ_ALLOC(s->norm, "infonce norms", s->count + 1);
  SYZ_ALLOC(s->top, "infonce statistics", s->count + 1);
  SYZ_ALLOC(s->sum, "infonce statistics", s->count + 1);
  if (keeps_gradient) SYZ_ALLOC(s->gradient, "infonce gradient", s->count * l->width + 1);
cleanup:
  return st;
}

double infonce_ring_operations(const infonce_ring *l) { return l->operations; }

/* Which modality stays: images, unless spectra are on more ranks. */
static syz_modality still_of(int image_ranks, int spectrum_ranks)
{
  return spectrum_ranks > image_ranks ? SYZ_SPECTRUM : SYZ_IMAGE;
}

static int count_of(const int *has, int size)
{
  int n = 0;
  for (int r = 0; r < size; r++) n += has[r];
  return n;
}

syz_status infonce_ring_create(syz_comm *world, const syz_compute *compute, const syz_infonce_config *config,
                               const int *has, infonce_ring **out)
{
  syz_status st = SYZ_OK;
  const int size = syz_comm_size(world);
  infonce_ring *l = NULL;
  *out = NULL;
  SYZ_ALLOC(l, "infonce", 1);
  l->world = world;
  l->compute = compute;
  l->act = syz_compute_act(compute);
  l->global_batch = config->global_batch;
  l->width = config->width;
  l->stride = syz_pairs_stride(compute, config->width);
  l->row_bytes = (size_t)l->stride * syz_dtype_size(l->act);
  l->still = still_of(count_of(has, size), count_of(has + size, size));
  l->moving = (syz_modality)(1 - l->still);
  const int *has_still = has + (int)l->still * size, *has_moving = has + (int)l->moving * size;
  const bool is_together = memcmp(has_still, has_moving, (size_t)size * sizeof *has) == 0;
  SYZ_TRY(pieces_create(world, l->global_batch, l->width, l->row_bytes, piece_rows_of(config), has_still, has_moving,
                        &l->pieces));
  SYZ_TRY(create_side(l, l->still, has_still, config->streams));
  l->still_rows = l->side[l->still].count;
  if (config->most_blocks > 0) {
    l->pieces.rounds = 1;
    if (l->still_rows > config->most_blocks * BLOCK_ROWS) l->still_rows = config->most_blocks * BLOCK_ROWS;
  }
  SYZ_TRY(create_side(l, l->moving, has_moving, config->streams && !is_together));
  SYZ_ALLOC(l->row, "infonce", 2 * l->width * syz_compute_threads(compute));
  if (l->pieces.station >= 0) SYZ_TRY(create_station(l));
  *out = l;
  l = NULL;
cleanup:
  infonce_ring_destroy(&l);
  return st;
}

void infonce_ring_destroy(infonce_ring **l)
{
  if (!*l) return;
  for (int m = 0; m < SYZ_MODALITIES; m++) {
    ring_side *s = &(*l)->side[m];
    syz_free(&s->rows);
    syz_free(&s->norm);
    syz_free(&s->top);
    syz_free(&s->sum);
    syz_free(&s->gradient);
  }
  pieces_destroy(&(*l)->pieces);
  syz_pairs_destroy(&(*l)->pairs);
  syz_free(&(*l)->row_top);
  syz_free(&(*l)->row_sum);
  syz_free(&(*l)->column_top);
  syz_free(&(*l)->column_sum);
  syz_free(&(*l)->pair);
  syz_free(&(*l)->row_factor);
  syz_free(&(*l)->column_factor);
  syz_free(&(*l)->row);
  syz_free(l);
}

size_t infonce_ring_bytes(const syz_compute *compute, const syz_infonce_config *c, int image_ranks, int spectrum_ranks)
{
  const bool has[SYZ_MODALITIES] = {c->has_image, c->has_spectrum};
  const int ranks[SYZ_MODALITIES] = {image_ranks, spectrum_ranks};
  const syz_modality still = still_of(image_ranks, spectrum_ranks);
  const size_t row = (size_t)syz_pairs_stride(compute, c->width) * syz_dtype_size(syz_compute_act(compute));
  const bool is_apart = !c->has_image || !c->has_spectrum;
  int64_t room = 0;
  size_t bytes = 0;
  for (int m = 0; m < SYZ_MODALITIES; m++) {
    if (!has[m]) continue;
    const size_t rows = (size_t)((c->global_batch + ranks[m] - 1) / ranks[m]);
    bytes += rows * (row + 2 * sizeof(float) + sizeof(double));
    if (c->streams && (m == (int)still || is_apart)) bytes += rows * (size_t)c->width * sizeof(float);
  }
  if (has[still]) {
    bytes += pieces_bytes(c->global_batch, c->width, row, piece_rows_of(c), ranks[still], &room);
    bytes += syz_pairs_bytes(compute, c->width, BLOCK_ROWS, room, true);
    bytes += (size_t)(2 * row_parts(room) + 2 * column_parts(room) + 2 * BLOCK_ROWS + room) * sizeof(float);
  }
  return bytes;
}

/* A piece passes every rank once, as the parts of a gather around a ring do: forward with its sums, backward with its
 * gradient too. */
syz_loss_work infonce_ring_work(const syz_compute *compute, const syz_infonce_config *config)
{
  const double G = (double)config->global_batch, E = (double)config->width;
  const double row =
                   (double)syz_pairs_stride(compute, config->width) * (double)syz_dtype_size(syz_compute_act(compute)),
               forward = G * (row + (double)(sizeof(double) + sizeof(float)));
  return (syz_loss_work){.forward = 2 * G * E,
                         .backward = 6 * G * E,
                         .n = 2,
                         .call = {{"pieces forward", true, forward, 1},
                                  {"pieces backward", true, forward + G * E * (double)sizeof(float), 1}}};
}

/* -------------------------------------------------------------------- rows */

void infonce_ring_rows(const infonce_ring *l, syz_modality m, int64_t *first, int64_t *count)
{
  *first = l->side[m].first;
  *count = l->side[m].count;
}

float infonce_ring_norm(const infonce_ring *l, syz_modality m, int64_t i) { return l->side[m].norm[i]; }

static float *row_of_thread(const infonce_ring *l) { return l->row + 2 * l->width * omp_get_thread_num(); }

void infonce_ring_put(infonce_ring *l, syz_modality m, int64_t at, int64_t n, const float *embedding)
{
  ring_side *s = &l->side[m];
#pragma omp parallel for schedule(static) num_threads(syz_compute_threads(l->compute))
  for (int64_t r = 0; r < n; r++) {
    float *row = row_of_thread(l);
    syz_l2norm_forward(row, &s->norm[at + r], embedding + r * l->width, SYZ_EMBEDDING_EPS, 1, l->width);
    syz_convert_to_act(l->act, s->rows + (size_t)(at + r) * l->row_bytes, row, l->width);
  }
}

void infonce_ring_normalised(const infonce_ring *l, syz_modality m, int64_t at, int64_t n, float *out)
{
  const ring_side *s = &l->side[m];
  for (int64_t r = 0; r < n; r++)
    syz_convert_to_f32(l->act, out + r * l->width, s->rows + (size_t)(at + r) * l->row_bytes, l->width);
}

void infonce_ring_get(infonce_ring *l, syz_modality m, int64_t at, int64_t n, float *dembedding)
{
  const ring_side *s = &l->side[m];
  if (s->gradient)
    memcpy(dembedding, s->gradient + at * l->width, (size_t)(n * l->width) * sizeof(float));
  else
    infonce_ring_normalised(l, m, at, n, dembedding);
}

/* Turns gradients by the normalised rows [at, at + n) into those by the embeddings, in place or over the rows. */
static void finish_rows(infonce_ring *l, syz_modality m, int64_t at, int64_t n, float *gradient, bool replaces_rows)
{
  const ring_side *s = &l->side[m];
#pragma omp parallel for schedule(static) num_threads(syz_compute_threads(l->compute))
  for (int64_t r = 0; r < n; r++) {
    float *y = row_of_thread(l), *dx = replaces_rows ? y + l->width : gradient + r * l->width;
    unsigned char *row = s->rows + (size_t)(at + r) * l->row_bytes;
    syz_convert_to_f32(l->act, y, row, l->width);
    syz_l2norm_backward(dx, gradient + r * l->width, y, &s->norm[at + r], SYZ_EMBEDDING_EPS, 1, l->width);
    if (replaces_rows) syz_convert_to_act(l->act, row, dx, l->width);
  }
}

/* Pairs within a tile: the pair of row r is at column r + *shift, for rows *begin to *end. */
static void pairs_within(const infonce_ring *l, const syz_pairs_tile *t, int64_t *begin, int64_t *end, int64_t *shift)
{
  *shift = l->side[l->still].first + l->row0 + t->row - l->piece->first - t->column;
  *begin = *shift < 0 ? -*shift : 0;
  *end = t->rows < t->columns - *shift ? t->rows : t->columns - *shift;
}

/* Rows of the block whose pair is in the piece. */
static void pairs_of_block(const infonce_ring *l, int64_t m, int64_t *begin, int64_t *end, int64_t *shift)
{
  const syz_pairs_tile whole = {.rows = m, .columns = l->piece->n};
  pairs_within(l, &whole, begin, end, shift);
}

/* ----------------------------------------------------------------- forward */

static void use_sums(void *context, const syz_pairs_tile *t)
{
  const infonce_ring *l = context;
  const int64_t row = t->column / SYZ_PAIRS_COLUMNS * BLOCK_ROWS + t->row,
                column = t->row / SYZ_PAIRS_ROWS * l->pieces.room + t->column;
  int64_t begin, end, shift;
  infonce_tile_sums(t->c, SYZ_PAIRS_COLUMNS, t->rows, t->columns, l->scale2, l->row_top + row, l->row_sum + row,
                    l->column_top + column, l->column_sum + column);
  pairs_within(l, t, &begin, &end, &shift);
  for (int64_t r = begin; r < end; r++) l->pair[t->row + r] = t->c[r * SYZ_PAIRS_COLUMNS + r + shift];
}

static void visit_forward(void *context, piece *p)
{
  infonce_ring *l = context;
  ring_side *still = &l->side[l->still];
  int64_t begin, end, shift;
  l->piece = p;
  syz_pairs_take(l->pairs, p->n, p->rows);
  for (l->row0 = 0; l->row0 < l->still_rows; l->row0 += BLOCK_ROWS) {
    const int64_t m = l->still_rows - l->row0 < BLOCK_ROWS ? l->still_rows - l->row0 : BLOCK_ROWS;
    l->operations += 2.0 * (double)m * (double)p->n * (double)l->width;
    syz_pairs_product(l->pairs, m, still->rows + (size_t)l->row0 * l->row_bytes, use_sums, l);
    for (int64_t j = 0; j < p->n; j += SYZ_PAIRS_COLUMNS)
      infonce_join(still->top + l->row0, still->sum + l->row0, l->row_top + j / SYZ_PAIRS_COLUMNS * BLOCK_ROWS,
                   l->row_sum + j / SYZ_PAIRS_COLUMNS * BLOCK_ROWS, m);
    for (int64_t i = 0; i < m; i += SYZ_PAIRS_ROWS)
      infonce_join(p->top, p->sum, l->column_top + i / SYZ_PAIRS_ROWS * l->pieces.room,
                   l->column_sum + i / SYZ_PAIRS_ROWS * l->pieces.room, p->n);
    pairs_of_block(l, m, &begin, &end, &shift);
    for (int64_t r = begin; r < end; r++) l->pair_logits += ln_2 * (double)l->scale2 * (double)l->pair[r];
    syz_request_test(l->pieces.mail);
  }
}

static piece_source source_of(const ring_side *s)
{
  return (piece_source){.first = s->first, .count = s->count, .rows = s->rows, .sum = s->sum, .top = s->top};
}

/* Sum over this rank's rows of the logarithm of their sums of exponentials. */
static double sum_of_logarithms(const ring_side *s)
{
  double sum = 0;
  for (int64_t i = 0; i < s->count; i++) sum += ln_2 * (double)s->top[i] + log(s->sum[i]);
  return sum;
}

void infonce_ring_forward(infonce_ring *l, double scale, syz_infonce_loss *out)
{
  ring_side *still = &l->side[l->still];
  piece_source source = source_of(&l->side[l->moving]);
  l->scale = scale;
  l->scale2 = (float)(scale / ln_2);
  l->pair_logits = 0;
  l->operations = 0;
  for (int64_t i = 0; i < still->count; i++) still->top[i] = -INFINITY, still->sum[i] = 0;
  pieces_forward(&l->pieces, &source, visit_forward, l);
  double sum[3] = {0};
  for (int m = 0; m < SYZ_MODALITIES; m++) sum[m] = sum_of_logarithms(&l->side[m]);
  sum[2] = l->pair_logits;
  syz_allreduce_f64(l->world, sum, 3, SYZ_SUM);
  out->image_to_spectrum = (sum[SYZ_IMAGE] - sum[2]) / (double)l->global_batch;
  out->spectrum_to_image = (sum[SYZ_SPECTRUM] - sum[2]) / (double)l->global_batch;
  out->loss = 0.5 * (out->image_to_spectrum + out->spectrum_to_image);
}

/* ---------------------------------------------------------------- backward */

/* s/(2G) over the sums of exponentials. */
static void set_factors(double factor, const double *sum, float *out, int64_t n)
{
  for (int64_t i = 0; i < n; i++) out[i] = (float)(factor / sum[i]);
}

static void use_weights(void *context, const syz_pairs_tile *t)
{
  const infonce_ring *l = context;
  const float *row_top = l->side[l->still].top + l->row0 + t->row, *row_factor = l->row_factor + t->row;
  const float *column_top = l->piece->top + t->column, *column_factor = l->column_factor + t->column;
  const size_t size = syz_dtype_size(l->act);
  int64_t begin, end, shift;
  infonce_tile_weights(l->act, t->c, SYZ_PAIRS_COLUMNS, t->rows, t->columns, l->scale2, row_top, row_factor, column_top,
                       column_factor, t->w, t->ldw);
  pairs_within(l, t, &begin, &end, &shift);
  for (int64_t r = begin; r < end; r++) {
    const int64_t j = r + shift;
    const float w = infonce_weight(t->c[r * SYZ_PAIRS_COLUMNS + j], l->scale2, row_top[r], row_factor[r], column_top[j],
                                   column_factor[j]);
    l->pair[t->row + r] = w - (float)(2 * l->factor);
    memset((char *)t->w + (size_t)(r * t->ldw + j) * size, 0, size);
  }
}

static void visit_backward(void *context, piece *p)
{
  infonce_ring *l = context;
  const ring_side *still = &l->side[l->still];
  int64_t begin, end, shift;
  l->piece = p;
  syz_pairs_take(l->pairs, p->n, p->rows);
  set_factors(l->factor, p->sum, l->column_factor, p->n);
  for (l->row0 = 0; l->row0 < l->still_rows; l->row0 += BLOCK_ROWS) {
    const int64_t m = l->still_rows - l->row0 < BLOCK_ROWS ? l->still_rows - l->row0 : BLOCK_ROWS;
    const unsigned char *rows = still->rows + (size_t)l->row0 * l->row_bytes;
    float *dx = l->dstill + l->row0 * l->width;
    set_factors(l->factor, still->sum + l->row0, l->row_factor, m);
    l->operations += 6.0 * (double)m * (double)p->n * (double)l->width;
    syz_pairs_backward(l->pairs, m, rows, use_weights, l, dx, p->gradient);
    pairs_of_block(l, m, &begin, &end, &shift);
#pragma omp parallel for schedule(static) num_threads(syz_compute_threads(l->compute))
    for (int64_t r = begin; r < end; r++) {
      infonce_add_row(l->act, dx + r * l->width, l->pair[r], p->rows + (size_t)(r + shift) * l->row_bytes, l->width);
      infonce_add_row(l->act, p->gradient + (r + shift) * l->width, l->pair[r], rows + (size_t)r * l->row_bytes,
                      l->width);
    }
    syz_request_test(l->pieces.mail);
  }
}

static void gradient_home(void *context, int64_t at, int64_t n, float *gradient)
{
  infonce_ring *l = context;
  finish_rows(l, l->moving, at, n, gradient, !l->dmoving);
}

/* sum_i <x_i, dx_i> over own rows. */
static double along_rows(const infonce_ring *l, const ring_side *s, const float *gradient)
{
  double sum = 0;
  for (int64_t i = 0; i < l->still_rows; i++) {
    syz_convert_to_f32(l->act, l->row, s->rows + (size_t)i * l->row_bytes, l->width);
    for (int64_t d = 0; d < l->width; d++) sum += (double)l->row[d] * (double)gradient[i * l->width + d];
  }
  return sum;
}

void infonce_ring_backward(infonce_ring *l, float *const dembedding[SYZ_MODALITIES], double *dlog_scale)
{
  ring_side *still = &l->side[l->still];
  const piece_source source = source_of(&l->side[l->moving]);
  l->dstill = dembedding[l->still] ? dembedding[l->still] : still->gradient;
  l->dmoving = dembedding[l->moving] ? dembedding[l->moving] : l->side[l->moving].gradient;
  l->factor = l->scale / (2.0 * (double)l->global_batch);
  l->operations = 0;
  if (l->still_rows) memset(l->dstill, 0, (size_t)(l->still_rows * l->width) * sizeof(float));
  pieces_backward(&l->pieces, &source, l->dmoving, visit_backward, gradient_home, l);
  if (dlog_scale) {
    *dlog_scale = along_rows(l, still, l->dstill);
    syz_allreduce_f64(l->world, dlog_scale, 1, SYZ_SUM);
  }
  finish_rows(l, l->still, 0, l->still_rows, l->dstill, false);
}
