/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * QR decomposition of a tall matrix whose rows lie spread over ranks (TSQR: Demmel, Grigori, Hoemmen & Langou 2012),
 * by Householder reflections throughout, so that Q is orthonormal to rounding however dependent the columns are. The
 * normal equations would lose half of the digits.
 *
 * On a rank the first rows, as many as there are columns, are decomposed by LAPACK. Further rows come a block at a
 * time below the triangle R that is there: of [R; A] each reflector touches one row of R and all rows of A, so with
 * V = [1; v] the product of all of them is 1 - V T V^T with T an upper triangle, and v takes the place of A. The
 * columns are halved until PANEL are left (Elmroth & Gustavson 2000), so that nearly all work is in matrix products.
 * The triangles of the ranks are decomposed in pairs up a binary tree; the first rank decomposes the last one with
 * pivoted columns, which tells the rank of the whole.
 *
 * Q is formed on the way back: with E what a block's R contributes, its rows are -v T E, and E - T E goes on to the
 * block before. Q overwrites v, which overwrote the rows: beside them there is one T for each block, an eighth.
 *
 * Operations for n rows, p columns, rank k: 2 n p^2 for R, n p^2 for T, 2 n p k for Q; with k = p all E are triangles,
 * and Q takes n p^2, so that it is as much as by LAPACK's dgeqrf and dorgqr.
 */
#include "syzygy/analysis.h"

#include <math.h>
#include <string.h>

#include "lapack.h"

enum { PANEL = 16, GROUP = 128, BLOCK_WIDTHS = 8, BLOCK_LEAST = 512, FORM_ROWS = 512, LEVELS_MOST = 31, TAG = 61 };

/* ---------------------------------------------------- a block below a triangle */

/* Scratch of one block: columns of it that lie behind one another, since rows far apart would miss the caches. */
typedef struct panel {
  double *x;     /* [rows, PANEL], columns that are not there are 0 */
  double *group; /* [rows, GROUP] */
} panel;

/* w[c] = sum over rows of x[., j] x[., c]. */
static void dots(const double *x, int64_t n, int j, double w[PANEL])
{
  for (int c = 0; c < PANEL; c++) w[c] = 0;
  for (int64_t i = 0; i < n; i++, x += PANEL)
    for (int c = 0; c < PANEL; c++) w[c] += x[j] * x[c];
}

/* Column j becomes v, and the columns after it lose v w. */
static void reflect(double *x, int64_t n, int j, double scale, const double w[PANEL])
{
  double later[PANEL];
  for (int c = 0; c < PANEL; c++) later[c] = c > j ? w[c] : 0;
  for (int64_t i = 0; i < n; i++, x += PANEL) {
    const double v = x[j] * scale;
    for (int c = 0; c < PANEL; c++) x[c] -= v * later[c];
    x[j] = v;
  }
}

/* Column j of T: what the reflector does together with those before it; w: v of these times its own. */
static void extend_t(double *t, int64_t ld, int j, double tau, const double *w)
{
  for (int c = 0; c < j; c++) {
    double sum = 0;
    for (int d = c; d < j; d++) sum += t[c * ld + d] * w[d];
    t[c * ld + j] = -tau * sum;
  }
  t[j * ld + j] = tau;
}

/* [R; A] of at most PANEL columns. */
static void factor_panel(int64_t n, int columns, double *r, int64_t ldr, double *a, int64_t lda, double *t, int64_t ldt,
                         panel *p)
{
  double w[PANEL];
  for (int64_t i = 0; i < n; i++)
    for (int c = 0; c < PANEL; c++) p->x[i * PANEL + c] = c < columns ? a[i * lda + c] : 0;
  for (int j = 0; j < columns; j++) {
    dots(p->x, n, j, w);
    const double alpha = r[j * ldr + j], norm = sqrt(alpha * alpha + w[j]), beta = alpha > 0 ? -norm : norm;
    const bool is_zero = !(w[j] > 0x1p-900); /* nothing to remove: no reflection */
    const double tau = is_zero ? 0 : (beta - alpha) / beta, scale = is_zero ? 0 : 1 / (alpha - beta);
    for (int c = 0; c < PANEL; c++) w[c] *= scale;
    extend_t(t, ldt, j, tau, w);
    if (!is_zero) r[j * ldr + j] = beta;
    for (int c = j + 1; c < columns; c++) {
      w[c] = tau * (r[j * ldr + c] + w[c]);
      r[j * ldr + c] -= w[c];
    }
    reflect(p->x, n, j, scale, w);
  }
  for (int64_t i = 0; i < n; i++)
    for (int c = 0; c < columns; c++) a[i * lda + c] = p->x[i * PANEL + c];
}

static void factor(int64_t n, int64_t columns, double *r, int64_t ldr, double *a, int64_t lda, double *t, int64_t ldt,
                   panel *p);

/* The same on a copy without gaps. */
static void factor_group(int64_t n, int64_t columns, double *r, int64_t ldr, double *a, int64_t lda, double *t,
                         int64_t ldt, panel *p)
{
  const size_t bytes = (size_t)columns * sizeof *a;
  for (int64_t i = 0; i < n; i++) memcpy(p->group + i * columns, a + i * lda, bytes);
  factor(n, columns, r, ldr, p->group, columns, t, ldt, p);
  for (int64_t i = 0; i < n; i++) memcpy(a + i * lda, p->group + i * columns, bytes);
}

/* R [columns, columns], A [n, columns] -> the new R, v in A, T. */
static void factor(int64_t n, int64_t columns, double *r, int64_t ldr, double *a, int64_t lda, double *t, int64_t ldt,
                   panel *p)
{
  if (columns <= PANEL) {
    factor_panel(n, (int)columns, r, ldr, a, lda, t, ldt, p);
    return;
  }
  if (columns <= GROUP && lda > GROUP) {
    factor_group(n, columns, r, ldr, a, lda, t, ldt, p);
    return;
  }
  const int64_t left = (columns / PANEL + 1) / 2 * PANEL, right = columns - left;
  double *r12 = r + left, *a2 = a + left, *t12 = t + left, *t22 = t + left * ldt + left;
  factor(n, left, r, ldr, a, lda, t, ldt, p);
  for (int64_t i = 0; i < left; i++) memcpy(t12 + i * ldt, r12 + i * ldr, (size_t)right * sizeof *t);
  la_product(true, false, left, right, n, 1, a, lda, a2, lda, 1, t12, ldt); /* W = T^T (R12 + v^T A2) */
  la_upper_left(true, left, right, 1, t, ldt, t12, ldt);
  for (int64_t i = 0; i < left; i++)
    for (int64_t j = 0; j < right; j++) r12[i * ldr + j] -= t12[i * ldt + j];
  la_product(false, false, n, right, left, -1, a, lda, t12, ldt, 1, a2, lda);
  factor(n, right, r + left * ldr + left, ldr, a2, lda, t22, ldt, p);
  la_product(true, false, left, right, n, 1, a, lda, a2, lda, 0, t12, ldt); /* T12 = -T11 (v1^T v2) T22 */
  la_upper_left(false, left, right, -1, t, ldt, t12, ldt);
  la_upper_right(left, right, 1, t22, ldt, t12, ldt);
}

/* ------------------------------------------------------------- this rank's rows */

typedef struct level { /* two triangles below one another */
  int partner;
  int64_t upper, lower, height; /* rows of each, and of what they become */
  double *q;                    /* [upper + lower, height] */
} level;

typedef struct work {
  syz_comm *comm;
  int64_t n, width;
  double *x;           /* [n, width] */
  int64_t head, block; /* rows by LAPACK; of each block after them */
  int64_t height;      /* rows of R on this rank */
  double *t;           /* [blocks, width, width] */
  double *r;           /* [2 width, width] */
  double *e, *s;       /* [2 width, width] what R contributes to Q; scratch */
  double *rows;        /* [FORM_ROWS, width] */
  panel panel;
  syz_request *travel;
  level level[LEVELS_MOST];
  int levels, parent; /* parent -1: none */
} work;

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t blocks(const work *w) { return (w->n - w->head + w->block - 1) / w->block; }

/* Where this rank stands in the tree, and how high the triangles are. */
static syz_status plan_tree(work *w)
{
  syz_status st = SYZ_OK;
  const int rank = syz_comm_rank(w->comm), size = syz_comm_size(w->comm);
  int64_t *n = NULL;
  n = syz_alloc("shares of rows", (size_t)size, sizeof *n);
  SYZ_TRY_ALL(w->comm, n ? SYZ_OK : SYZ_ERR_MEMORY);
  syz_allgather(w->comm, &w->n, n, sizeof *n);
  w->parent = -1;
  for (int step = 1; step < size && w->parent < 0; step *= 2) {
    if (rank % (2 * step) == step) w->parent = rank - step;
    if (rank % (2 * step) != 0 || rank + step >= size) continue;
    int64_t upper = 0, lower = 0;
    for (int r = rank; r < rank + step; r++) upper += n[r];
    for (int r = rank + step; r < size && r < rank + 2 * step; r++) lower += n[r];
    level *l = &w->level[w->levels++];
    l->partner = rank + step;
    l->upper = least(upper, w->width);
    l->lower = least(lower, w->width);
    l->height = least(l->upper + l->lower, w->width);
  }
cleanup:
  syz_free(&n);
  return st;
}

static syz_status allocate(work *w)
{
  syz_status st = SYZ_OK;
  const int64_t width = w->width;
  SYZ_ALLOC(w->t, "reflectors", blocks(w) * width * width + 1);
  SYZ_ALLOC(w->r, "triangles", 2 * width * width);
  SYZ_ALLOC(w->e, "triangles", 2 * width * width);
  SYZ_ALLOC(w->s, "triangles", 2 * width * width);
  SYZ_ALLOC(w->rows, "rows", FORM_ROWS * width);
  SYZ_ALLOC(w->panel.x, "panel", w->block * PANEL);
  SYZ_ALLOC(w->panel.group, "panel", w->block * GROUP);
  for (int l = 0; l < w->levels; l++)
    SYZ_ALLOC(w->level[l].q, "triangles", (w->level[l].upper + w->level[l].lower) * w->level[l].height + 1);
  SYZ_TRY(syz_request_create(w->comm, 64, &w->travel));
cleanup:
  return st;
}

static void release(work *w)
{
  syz_free(&w->t);
  syz_free(&w->r);
  syz_free(&w->e);
  syz_free(&w->s);
  syz_free(&w->rows);
  syz_free(&w->panel.x);
  syz_free(&w->panel.group);
  for (int l = 0; l < w->levels; l++) syz_free(&w->level[l].q);
  syz_request_destroy(&w->travel);
}

static syz_status factor_here(work *w)
{
  syz_status st = SYZ_OK;
  const int64_t width = w->width;
  SYZ_TRY(la_qr(w->head, width, w->x, width, w->x, width, w->r));
  for (int64_t b = 0, at = w->head; at < w->n; b++, at += w->block)
    factor(least(w->block, w->n - at), width, w->r, width, w->x + at * width, width, w->t + b * width * width, width,
           &w->panel);
cleanup:
  return st;
}

/* Rows of Q from those of v, in place: -v S, S [width, k]. */
static void form_rows(work *w, double *x, int64_t n, int64_t k, bool is_triangle)
{
  const int64_t width = w->width;
  if (is_triangle) {
    la_upper_right(n, width, -1, w->s, width, x, width);
    return;
  }
  for (int64_t i = 0; i < n; i += FORM_ROWS, x += FORM_ROWS * width) {
    const int64_t m = least(FORM_ROWS, n - i);
    memcpy(w->rows, x, (size_t)(m * width) * sizeof *x);
    la_product(false, false, m, k, width, -1, w->rows, width, w->s, k, 0, x, width);
  }
}

/* Whether E [width, width] is an upper triangle, as it is when all columns are independent: half of the work then. */
static bool is_upper(const work *w, int64_t k)
{
  if (k != w->width || w->head < w->width) return false;
  for (int64_t i = 1; i < k; i++)
    for (int64_t j = 0; j < i; j++)
      if (w->e[i * k + j] != 0) return false;
  return true;
}

/* Rows of Q from E [height, k], the last block first. */
static void form_here(work *w, int64_t k)
{
  const int64_t width = w->width;
  const bool is_triangle = is_upper(w, k);
  for (int64_t b = blocks(w) - 1; b >= 0; b--) {
    const int64_t at = w->head + b * w->block, n = least(w->block, w->n - at);
    memcpy(w->s, w->e, (size_t)(width * k) * sizeof *w->s);
    la_upper_left(false, width, k, 1, w->t + b * width * width, width, w->s, k);
    form_rows(w, w->x + at * width, n, k, is_triangle);
    for (int64_t i = 0; i < width * k; i++) w->e[i] -= w->s[i];
  }
  for (int64_t i = 0; i < w->head; i++) memcpy(w->s + i * w->head, w->x + i * width, (size_t)w->head * sizeof *w->s);
  la_product(false, false, w->head, k, w->head, 1, w->s, w->head, w->e, k, 0, w->x, width);
}

/* ------------------------------------------------------------- over the ranks */

static void send(work *w, const double *x, int64_t n, int to)
{
  if (n > 0) syz_request_send(w->travel, x, (size_t)n * sizeof *x, to, TAG);
  syz_request_wait(w->travel);
}

static void receive(work *w, double *x, int64_t n, int from)
{
  if (n > 0) syz_request_receive(w->travel, x, (size_t)n * sizeof *x, from, TAG);
  syz_request_wait(w->travel);
}

/* Two whole triangles keep their zeros as a block below a triangle does; anything else is decomposed as it stands. */
static bool are_triangles(const work *w, const level *v) { return v->upper == w->width && v->lower == w->width; }

static void merge_triangles(work *w, level *v)
{
  const int64_t width = w->width, square = width * width;
  memcpy(v->q, w->r + square, (size_t)square * sizeof *w->r);
  factor(width, width, w->r, width, v->q, width, v->q + square, width, &w->panel);
}

static syz_status merge_rows(work *w, level *v)
{
  const syz_status st = la_qr(v->upper + v->lower, w->width, w->r, w->width, v->q, v->height, w->s);
  if (st == SYZ_OK) memcpy(w->r, w->s, (size_t)(v->height * w->width) * sizeof *w->r);
  return st;
}

/* Up: a rank that failed still sends, so that nobody waits for it; the caller agrees. */
static syz_status climb(work *w, syz_status before)
{
  syz_status st = before;
  const int64_t width = w->width;
  for (int l = 0; l < w->levels; l++) {
    level *v = &w->level[l];
    receive(w, w->r + v->upper * width, v->lower * width, v->partner);
    if (are_triangles(w, v))
      merge_triangles(w, v);
    else if (st == SYZ_OK)
      st = merge_rows(w, v);
    w->height = v->height;
  }
  if (w->parent >= 0) send(w, w->r, w->height * width, w->parent);
  return st;
}

/* E [height, k] of two triangles -> those of the upper and of the lower one, below one another. */
static void part_triangles(work *w, const level *v, int64_t k)
{
  const int64_t width = w->width;
  memcpy(w->s, w->e, (size_t)(width * k) * sizeof *w->s);
  la_upper_left(false, width, k, 1, v->q + width * width, width, w->s, k);
  for (int64_t i = 0; i < width * k; i++) w->e[i] -= w->s[i];
  la_upper_left(false, width, k, -1, v->q, width, w->s, k); /* v is a triangle too */
  memcpy(w->e + width * k, w->s, (size_t)(width * k) * sizeof *w->s);
}

static void part_rows(work *w, const level *v, int64_t k)
{
  const int64_t both = v->upper + v->lower;
  la_product(false, false, both, k, v->height, 1, v->q, v->height, w->e, k, 0, w->s, k);
  memcpy(w->e, w->s, (size_t)(both * k) * sizeof *w->e);
}

/* Down: E of this rank's rows [height, k]. */
static void descend(work *w, int64_t k)
{
  if (w->parent >= 0) receive(w, w->e, w->height * k, w->parent);
  for (int l = w->levels - 1; l >= 0; l--) {
    level *v = &w->level[l];
    if (are_triangles(w, v))
      part_triangles(w, v, k);
    else
      part_rows(w, v, k);
    send(w, w->e + v->upper * k, v->lower * k, v->partner);
  }
}

/* On the first rank: R and E of the whole. Independent columns need no pivots, and E is 1. */
static syz_status find_rank(work *w, double tolerance, int64_t *rank, double *r)
{
  const int64_t width = w->width;
  const syz_status st = la_qr_pivoted(w->height, width, w->r, tolerance, rank, w->e, r);
  if (st != SYZ_OK || *rank < width) return st;
  memcpy(r, w->r, (size_t)(width * width) * sizeof *r);
  memset(w->e, 0, (size_t)(width * width) * sizeof *w->e);
  for (int64_t i = 0; i < width; i++) w->e[i * width + i] = 1;
  return st;
}

syz_status syz_tall_qr(syz_comm *c, int64_t n, int64_t width, double *x, double tolerance, bool wants_q, int64_t *rank,
                       double *r)
{
  syz_status st = SYZ_OK;
  work w = {.comm = c, .n = n, .width = width, .x = x, .head = least(n, width)};
  w.block = BLOCK_WIDTHS * width > BLOCK_LEAST ? BLOCK_WIDTHS * width : BLOCK_LEAST;
  w.height = w.head;
  *rank = 0;
  syz_blis_choose_kernels();
  SYZ_TRY(plan_tree(&w));
  SYZ_TRY_ALL(c, allocate(&w));
  st = factor_here(&w);
  st = climb(&w, st);
  if (st == SYZ_OK && syz_comm_rank(c) == 0) st = find_rank(&w, tolerance, rank, r);
  SYZ_TRY_ALL(c, st);
  syz_bcast(c, rank, sizeof *rank, 0);
  syz_bcast(c, r, (size_t)(*rank * width) * sizeof *r, 0);
  if (!wants_q) goto cleanup;
  descend(&w, *rank);
  form_here(&w, *rank);
cleanup:
  release(&w);
  return st;
}
