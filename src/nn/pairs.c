/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Products between all pairs of rows of two sets.
 *
 * y is used with many x, so it is packed once: along the width for c = x y^T and, in blocks of BLOCK rows, across it
 * for dx += w y. A tile of c is formed from 96 rows of x and 256 rows of y (their packed form, 512 KiB at width 1024,
 * stays in L2) and given to the caller at once, while it is in L2 too. Backward, BLOCK columns at a time, the tiles'
 * weights are collected in w [m, BLOCK], which is the left side of dx += w y in place; for dy += w^T x both w and x are
 * packed across their rows. x is packed once for all columns.
 *
 * With own kernels of this type these are kernel.h's; any other engine runs products of fixed shapes, of MANY rows at a
 * time where there are so many, on copies padded with zeros.
 */
#include <omp.h>
#include <string.h>

#include "kernel.h"

enum { BLOCK = 1024, ROWS = SYZ_PAIRS_ROWS, COLUMNS = SYZ_PAIRS_COLUMNS, MANY = 8 * ROWS };

struct syz_pairs {
  const syz_compute *compute;
  const syz_kernel *kernel; /* NULL: use the engine's products */
  int64_t width, stride, max_m, max_n;
  int64_t n; /* rows of y taken */
  bool trains;
  uint32_t *along, *across; /* y packed along the width, and across it */
  uint32_t *x_left;         /* x packed, for a kernel that does not read it in place */
  uint32_t *x_across, *w_left;
  unsigned char *w;                       /* [max_m, BLOCK] act */
  float *tile;                            /* [threads][ROWS, COLUMNS]; of an engine [MANY or ROWS, COLUMNS] */
  syz_gemm *product, *many, *to_x, *to_y; /* many: NULL for fewer than MANY rows */
  unsigned char *x_whole, *y_whole;       /* copies padded with zeros */
  float *sum;                             /* [max_m or BLOCK, width] */
};

int64_t syz_pairs_stride(const syz_compute *c, int64_t width)
{
  return c->act == SYZ_BF16 ? (width + 1) / 2 * 2 : width;
}

static int64_t tile_floats(const syz_pairs *p)
{
  return COLUMNS * (p->kernel ? (int64_t)p->compute->threads * ROWS : p->max_m < MANY ? ROWS : MANY);
}

static int64_t round_up(int64_t n, int64_t unit) { return syz_ceil_div(n, unit) * unit; }

static const syz_kernel *kernel_for(const syz_compute *c)
{
  return c->engine[c->act] == &syz_engine_native ? c->kernel[c->act] : NULL;
}

/* Words of the packed forms: of max_n rows along the width, of BLOCK rows across it, of max_m rows of x across it, of w
 * as the left and as the right operand. */
static int64_t along_words(const syz_pairs *p) { return syz_packed_words(p->max_n, syz_units(p->kernel, p->stride)); }
static int64_t across_words(const syz_pairs *p, int64_t rows)
{
  return syz_packed_words(p->width, syz_units(p->kernel, rows));
}
static int64_t x_words(const syz_pairs *p)
{
  return syz_packs_left(p->kernel) ? syz_packed_left_words(p->kernel, p->max_m, syz_units(p->kernel, p->stride)) : 0;
}
static int64_t left_words(const syz_pairs *p)
{
  const int64_t across = syz_packed_left_words(p->kernel, BLOCK, syz_units(p->kernel, p->max_m));
  const int64_t along =
      syz_packs_left(p->kernel) ? syz_packed_left_words(p->kernel, p->max_m, syz_units(p->kernel, BLOCK)) : 0;
  return across > along ? across : along;
}

static syz_pairs shape_of(const syz_compute *c, int64_t width, int64_t max_m, int64_t max_n, bool trains)
{
  return (syz_pairs){.compute = c,
                     .kernel = kernel_for(c),
                     .width = width,
                     .stride = syz_pairs_stride(c, width),
                     .max_m = round_up(max_m, ROWS),
                     .max_n = max_n,
                     .trains = trains};
}

static syz_status create_native(syz_pairs *p)
{
  syz_status st = SYZ_OK;
  SYZ_ALLOC(p->along, "pairs packed", along_words(p));
  if (x_words(p)) SYZ_ALLOC(p->x_left, "pairs packed", x_words(p));
  if (p->trains) {
    SYZ_ALLOC(p->across, "pairs packed", syz_ceil_div(p->max_n, BLOCK) * across_words(p, BLOCK));
    SYZ_ALLOC(p->x_across, "pairs packed", across_words(p, p->max_m));
    SYZ_ALLOC(p->w_left, "pairs packed", left_words(p));
  }
cleanup:
  return st;
}

static syz_status create_engine(syz_pairs *p)
{
  syz_status st = SYZ_OK;
  const size_t size = syz_dtype_size(p->compute->act);
  const syz_gemm_shape product = {.m = ROWS,
                                  .n = COLUMNS,
                                  .k = p->stride,
                                  .transpose_b = true,
                                  .batch = 1,
                                  .type_ab = p->compute->act,
                                  .type_c = SYZ_F32};
  const syz_gemm_shape to_x = {.m = p->max_m,
                               .n = p->width,
                               .k = BLOCK,
                               .ldb = p->stride,
                               .batch = 1,
                               .type_ab = p->compute->act,
                               .type_c = SYZ_F32};
  const syz_gemm_shape to_y = {.m = BLOCK,
                               .n = p->width,
                               .k = p->max_m,
                               .transpose_a = true,
                               .ldb = p->stride,
                               .batch = 1,
                               .type_ab = p->compute->act,
                               .type_c = SYZ_F32};
  syz_gemm_shape many = product;
  many.m = MANY;
  SYZ_TRY(syz_gemm_create(p->compute, &product, &p->product));
  if (p->max_m >= MANY) SYZ_TRY(syz_gemm_create(p->compute, &many, &p->many));
  SYZ_ALLOC(p->x_whole, "pairs rows", (size_t)(p->max_m * p->stride) * size);
  SYZ_ALLOC(p->y_whole, "pairs rows", (size_t)(round_up(p->max_n, BLOCK) * p->stride) * size);
  if (p->trains) {
    SYZ_TRY(syz_gemm_create(p->compute, &to_x, &p->to_x));
    SYZ_TRY(syz_gemm_create(p->compute, &to_y, &p->to_y));
    SYZ_ALLOC(p->sum, "pairs sums", (p->max_m > BLOCK ? p->max_m : BLOCK) * p->width);
  }
cleanup:
  return st;
}

size_t syz_pairs_bytes(const syz_compute *c, int64_t width, int64_t max_m, int64_t max_n, bool trains)
{
  const syz_pairs p = shape_of(c, width, max_m, max_n, trains);
  const size_t size = syz_dtype_size(c->act);
  size_t bytes = (size_t)tile_floats(&p) * sizeof(float) + (trains ? (size_t)(p.max_m * BLOCK) * size : 0);
  if (p.kernel) {
    bytes += (size_t)(along_words(&p) + x_words(&p)) * sizeof(uint32_t);
    if (trains)
      bytes +=
          (size_t)(syz_ceil_div(max_n, BLOCK) * across_words(&p, BLOCK) + across_words(&p, p.max_m) + left_words(&p)) *
          sizeof(uint32_t);
  } else {
    bytes += (size_t)((p.max_m + round_up(max_n, BLOCK)) * p.stride) * size;
    if (trains) bytes += (size_t)((p.max_m > BLOCK ? p.max_m : BLOCK) * width) * sizeof(float);
  }
  return bytes;
}

syz_status syz_pairs_create(const syz_compute *c, int64_t width, int64_t max_m, int64_t max_n, bool trains,
                            syz_pairs **out)
{
  syz_status st = SYZ_OK;
  syz_pairs *p = NULL;
  *out = NULL;
  SYZ_ALLOC(p, "pairs", 1);
  *p = shape_of(c, width, max_m, max_n, trains);
  SYZ_ALLOC(p->tile, "pairs tile", tile_floats(p));
  if (trains) SYZ_ALLOC(p->w, "pairs weights", (size_t)(p->max_m * BLOCK) * syz_dtype_size(c->act));
  SYZ_TRY(p->kernel ? create_native(p) : create_engine(p));
  *out = p;
  p = NULL;
cleanup:
  syz_pairs_destroy(&p);
  return st;
}

void syz_pairs_destroy(syz_pairs **p)
{
  if (!*p) return;
  syz_free(&(*p)->along);
  syz_free(&(*p)->across);
  syz_free(&(*p)->x_left);
  syz_free(&(*p)->x_across);
  syz_free(&(*p)->w_left);
  syz_free(&(*p)->w);
  syz_free(&(*p)->tile);
  syz_gemm_destroy(&(*p)->product);
  syz_gemm_destroy(&(*p)->many);
  syz_gemm_destroy(&(*p)->to_x);
  syz_gemm_destroy(&(*p)->to_y);
  syz_free(&(*p)->x_whole);
  syz_free(&(*p)->y_whole);
  syz_free(&(*p)->sum);
  syz_free(p);
}

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

/* Copies rows to the start of an array of whole blocks and fills the rest with zeros. */
static void copy_filled(const syz_pairs *p, unsigned char *to, const void *from, int64_t rows, int64_t whole)
{
  const size_t row = (size_t)p->stride * syz_dtype_size(p->compute->act);
  memcpy(to, from, (size_t)rows * row);
  memset(to + (size_t)rows * row, 0, (size_t)(whole - rows) * row);
}

void syz_pairs_take(syz_pairs *p, int64_t n, const void *y)
{
  SYZ_ASSERT(n <= p->max_n);
  p->n = n;
  if (!p->kernel) {
    copy_filled(p, p->y_whole, y, n, round_up(n, BLOCK));
    return;
  }
  syz_kernel_pack_rows(p->kernel, p->along, y, p->stride, n, p->stride);
  for (int64_t first = 0; p->trains && first < n; first += BLOCK)
    syz_kernel_pack_columns(p->kernel, p->across + first / BLOCK * across_words(p, BLOCK),
                            (const char *)y + (size_t)(first * p->stride) * syz_dtype_size(p->compute->act), p->stride,
                            p->width, smaller(n - first, BLOCK));
}

/* One tile on the own kernels: a strip of x stays in L1 while the panels of y stream from L2. */
static void native_tile(const syz_pairs *p, const syz_pairs_tile *t, const void *x, float *c)
{
  const syz_kernel *q = p->kernel;
  const int64_t units = syz_units(q, p->stride), row = p->stride / q->unit; /* of packed rows, of rows as they lie */
  const syz_tile_end end = {.action = SYZ_TILE_F32, .y = c, .ldy = COLUMNS};
  const uint32_t *right = p->along + t->column * units;
  if (p->x_left)
    q->block(t->rows, t->columns, units, p->x_left + t->row * units, 0, right, &end, 0, 0, syz_kernel_room(p->compute));
  else
    q->block(t->rows, t->columns, units, (const uint32_t *)x + t->row * row, row, right, &end, 0, 0,
             syz_kernel_room(p->compute));
}

/* Packs x once for all tiles of a call. */
static void take_left(const syz_pairs *p, int64_t m, const void *x)
{
  if (!p->kernel)
    copy_filled(p, p->x_whole, x, m, p->max_m);
  else if (p->x_left)
    syz_kernel_pack_left_rows(p->kernel, p->x_left, x, p->stride, m, p->stride);
}

/* The arguments of one product: columns [first, last) of c = x y^T; weights, if any, are written to the columns of w
 * from 0 on. */
typedef struct request {
  int64_t m, first, last;
  bool has_weights;
  syz_pairs_use use;
  void *context;
} request;

static syz_pairs_tile tile_at(const syz_pairs *p, const request *q, int64_t row, int64_t column, const float *c)
{
  const int64_t size = (int64_t)syz_dtype_size(p->compute->act);
  return (syz_pairs_tile){.row = row,
                          .rows = smaller(q->m - row, ROWS),
                          .column = column,
                          .columns = smaller(q->last - column, COLUMNS),
                          .c = c,
                          .w = q->has_weights ? p->w + (row * BLOCK + column - q->first) * size : NULL,
                          .ldw = BLOCK};
}

static void native_product(const syz_pairs *p, const request *q, const void *x)
{
#pragma omp parallel for collapse(2) schedule(static) num_threads(p->compute->threads)
  for (int64_t column = q->first; column < q->last; column += COLUMNS)
    for (int64_t row = 0; row < q->m; row += ROWS) {
      float *c = p->tile + omp_get_thread_num() * ROWS * COLUMNS;
      const syz_pairs_tile t = tile_at(p, q, row, column, c);
      native_tile(p, &t, x, c);
      q->use(q->context, &t);
    }
}

/* The engine computes the product with its own threads; then our threads process the tiles. */
static void engine_product(const syz_pairs *p, const request *q)
{
  const int64_t row_bytes = p->stride * (int64_t)syz_dtype_size(p->compute->act);
  for (int64_t column = q->first; column < q->last; column += COLUMNS)
    for (int64_t row = 0, rows; row < q->m; row += rows) {
      const bool is_many = q->m - row >= MANY;
      rows = is_many ? MANY : ROWS;
      syz_gemm_run(is_many ? p->many : p->product, p->x_whole + row * row_bytes, p->y_whole + column * row_bytes, NULL,
                   p->tile);
#pragma omp parallel for schedule(static) num_threads(p->compute->threads)
      for (int64_t r = row; r < smaller(q->m, row + rows); r += ROWS) {
        const syz_pairs_tile t = tile_at(p, q, r, column, p->tile + (r - row) * COLUMNS);
        q->use(q->context, &t);
      }
    }
}

static void product_of(const syz_pairs *p, const request *q, const void *x)
{
  if (p->kernel)
    native_product(p, q, x);
  else
    engine_product(p, q);
}

void syz_pairs_take_piece(syz_pairs *p, int64_t first, int64_t n, const void *y)
{
  SYZ_ASSERT(!p->trains && first + n <= p->max_n && first % SYZ_TILE_COLUMNS == 0);
  p->n = first + n;
  if (p->kernel)
    syz_kernel_pack_rows(p->kernel, p->along + first * syz_units(p->kernel, p->stride), y, p->stride, n, p->stride);
  else
    copy_filled(p, p->y_whole + (size_t)(first * p->stride) * syz_dtype_size(p->compute->act), y, n,
                round_up(first + n, BLOCK) - first);
}

void syz_pairs_product(syz_pairs *p, int64_t m, const void *x, syz_pairs_use use, void *context)
{
  SYZ_ASSERT(m <= p->max_m);
  syz_pulse();
  take_left(p, m, x);
  product_of(p, &(request){.m = m, .last = p->n, .use = use, .context = context}, x);
}

/* dx += w y and dy += w^T x for one block of columns, on the own kernels. */
static void native_backward(const syz_pairs *p, int64_t m, int64_t first, int64_t n, float *dx, float *dy)
{
  const syz_kernel *q = p->kernel;
  const int64_t part = 16 * q->rows; /* columns of w per thread and packing step */
  const int64_t size = (int64_t)syz_dtype_size(p->compute->act), units_m = syz_units(q, m);
  const syz_tile_end end_x = {.action = SYZ_TILE_ADD, .y = dx, .ldy = p->width};
  const syz_tile_end end_y = {.action = SYZ_TILE_ADD, .y = dy + first * p->width, .ldy = p->width};
  /* After an odd number of columns the last unit still needs a partner. */
  for (int64_t r = 0; n % q->unit && r < m; r++) memset(p->w + (r * BLOCK + n) * size, 0, (size_t)size);
  syz_left left = {p->w, BLOCK};
  if (syz_packs_left(q)) {
    syz_kernel_pack_left_rows(q, p->w_left, p->w, BLOCK, m, n);
    left = (syz_left){p->w_left, 0};
  }
  syz_kernel_product(p->compute, q, m, p->width, n, left, p->across + first / BLOCK * across_words(p, BLOCK), &end_x);
#pragma omp parallel for schedule(static) num_threads(p->compute->threads)
  for (int64_t j = 0; j < n; j += part)
    q->pack_left_columns(p->w_left + j * units_m, p->w + j * size, BLOCK, smaller(n - j, part), m);
  syz_kernel_product(p->compute, q, n, p->width, m, (syz_left){p->w_left, 0}, p->x_across, &end_y);
}

static void add(float *y, const float *x, int64_t n)
{
  for (int64_t i = 0; i < n; i++) y[i] += x[i];
}

/* The same on another engine: w and x are padded with zeros. */
static void engine_backward(const syz_pairs *p, int64_t m, int64_t first, int64_t n, float *dx, float *dy)
{
  const size_t size = syz_dtype_size(p->compute->act);
  for (int64_t r = 0; r < m; r++) memset(p->w + (size_t)(r * BLOCK + n) * size, 0, (size_t)(BLOCK - n) * size);
  memset(p->w + (size_t)(m * BLOCK) * size, 0, (size_t)((p->max_m - m) * BLOCK) * size);
  syz_gemm_run(p->to_x, p->w, p->y_whole + (size_t)(first * p->stride) * size, NULL, p->sum);
  add(dx, p->sum, m * p->width);
  syz_gemm_run(p->to_y, p->w, p->x_whole, NULL, p->sum);
  add(dy + first * p->width, p->sum, n * p->width);
}

void syz_pairs_backward(syz_pairs *p, int64_t m, const void *x, syz_pairs_use use, void *context, float *dx, float *dy)
{
  SYZ_ASSERT(m <= p->max_m && p->trains);
  take_left(p, m, x);
  if (p->kernel) syz_kernel_pack_columns(p->kernel, p->x_across, x, p->stride, p->width, m);
  for (int64_t first = 0; first < p->n; first += BLOCK) {
    const int64_t n = smaller(p->n - first, BLOCK);
    syz_pulse();
    product_of(p, &(request){m, first, first + n, true, use, context}, x);
    if (p->kernel)
      native_backward(p, m, first, n, dx, dy);
    else
      engine_backward(p, m, first, n, dx, dy);
  }
}
