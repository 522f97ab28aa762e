/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Attention in bfloat16 with float32 sums on tiles (AMX). The method is that of attention_core.h without its blocks of keys: 32 x 32 sums are formed
 * at once (kernel_amx.c), and what they are made into is again a left operand of tiles.
 *
 * Forward, for a strip of 32 queries: S = Q K^T over all keys, rests in L2 with the running maximum of each row and lane; P = exp(S - max), rounded,
 * in tiles; O = P V. The sum of a row is taken from P before it is rounded, and divides O at the end. Backward, for a strip of 32 keys, so that lse
 * and D of the queries lie along the lanes: S^T = K Q^T, dP^T = V dO^T, P^T = exp(S^T - lse), dS^T = P^T (dP^T - D). P^T and dS^T of a strip are left
 * operands of dV = P^T dO and dK = dS^T Q, complete at once. dS^T of a block of strips, pairs of keys joined, is the right operand of dQ^T += K^T
 * dS^T, whose sums rest in memory between blocks.
 *
 * Order of additions depends on tokens and dim only.
 */
#include <math.h>
#include <string.h>

#include "attention.h"
#include "kernel.h"
#include "tiles.h"

#ifdef SYZ_TILES_EMULATED
#define KERNEL_TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")))
#else
#define KERNEL_TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16," TILE_TARGET)))
#endif
#include "kernel_lanes.h"
#include "attention_exp.h"

enum {
  HALF = 16,
  STRIP = 2 * HALF, /* queries or keys that are formed at once */
  STEP = 16,        /* units of a tile's depth: 32 numbers */
  DEPTH = 2 * STEP,
  STEP_WORDS = 2 * TILE_WORDS,
  SUMS = STRIP * STRIP,
  PANEL = SYZ_TILE_COLUMNS,
  BLOCK_STRIPS = 8, /* of keys, most, between sums of dQ in memory */
};

typedef struct geometry {
  int64_t tokens, dim;
  int64_t strips;      /* of tokens; as many steps when tokens are summed over */
  int64_t steps;       /* of a head's numbers */
  int64_t token_words; /* of tokens x dim packed with tokens on the summed axis from the right: panels of dim */
  int64_t dim_words;   /* with dim on the summed axis: panels of tokens */
} geometry;

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

static geometry geometry_of(int64_t tokens, int64_t dim)
{
  geometry g = {.tokens = tokens, .dim = dim, .strips = syz_ceil_div(tokens, STRIP), .steps = syz_ceil_div(dim, DEPTH)};
  g.token_words = syz_packed_words(dim, g.strips * STEP);
  g.dim_words = syz_packed_words(tokens, g.steps * STEP);
  return g;
}

/* -------------------------------------------------------------- packing */

/** Left operands: [strip of tokens][step of dim], and across, [strip of dim][step of tokens]. */
static void pack_left(const geometry *g, uint32_t *to, const syz_bf16 *x, int64_t ld)
{
  for (int64_t t = 0; t < g->tokens; t += STRIP)
    syz_kernel_amx_bf16.pack_left_rows(to + t * g->steps * STEP, x + t * ld, ld, (int)smaller(g->tokens - t, STRIP), g->dim);
}
static void pack_left_across(const geometry *g, uint32_t *to, const syz_bf16 *x, int64_t ld)
{
  syz_kernel_amx_bf16.pack_left_columns(to, x, ld, g->dim, g->tokens);
}

/** The last step of a panel is filled up with zeros: first all of it. */
static void clear_last(uint32_t *panel, int64_t filled, int64_t units)
{
  if (filled < units) memset(panel + (units - STEP) * PANEL, 0, STEP * PANEL * sizeof *panel);
}

/** Right operands: panels of tokens, summed over dim; panels of dim, summed over tokens. */
static void pack_right(const geometry *g, uint32_t *to, const syz_bf16 *x, int64_t ld)
{
  const int64_t units = g->steps * STEP;
  for (int64_t t = 0; t < g->tokens; t += PANEL) {
    clear_last(to + t * units, syz_ceil_div(g->dim, 2), units);
    syz_packing_tiles.rows(to + t * units, x + t * ld, ld, (int)smaller(g->tokens - t, PANEL), g->dim);
  }
}
static void pack_right_across(const geometry *g, uint32_t *to, const syz_bf16 *x, int64_t ld)
{
  const int64_t units = g->strips * STEP;
  for (int64_t d = 0; d < g->dim; d += PANEL) {
    clear_last(to + d * units, syz_ceil_div(g->tokens, 2), units);
    syz_packing_tiles.columns(to + d * units, x + d, ld, (int)smaller(g->dim - d, PANEL), g->tokens);
  }
}

/* ------------------------------------------------------------- products */

/** 32 x 32 sums (see tile_store_sums) over `steps` steps: from zero, or on top of what is there. a, b: the first step; has_low, has_right: there are
 * more than 16 rows, columns. */
INLINE void multiply(float *sum, const uint32_t *a, const uint32_t *b, int64_t steps, bool is_continued, bool has_low, bool has_right)
{
  tile_begin_sums(is_continued ? sum : NULL);
  for (int64_t s = 0; s < steps; s++, a += STEP_WORDS, b += STEP * PANEL) {
    tile_load(6, b, TILE_LINE);
    tile_load(4, a, TILE_LINE);
    tile_dot_bf16(0, 4, 6);
    if (has_right) {
      tile_load(7, b + TILE_WORDS, TILE_LINE);
      tile_dot_bf16(1, 4, 7);
    }
    if (has_low) {
      tile_load(5, a + TILE_WORDS, TILE_LINE);
      tile_dot_bf16(2, 5, 6);
      if (has_right) tile_dot_bf16(3, 5, 7);
    }
  }
  tile_store_sums(sum);
}

/** Where 16 sums of row r begin. */
INLINE const float *at_row(const float *sum, int r, int half) { return sum + half * (SUMS / 2) + r * HALF; }
/** The columns that begin with column j of a right operand with `units` units. */
INLINE const uint32_t *columns_at(const uint32_t *b, int64_t units, int64_t j) { return b + j / PANEL * PANEL * units + syz_panel_at(true, 0, j % PANEL); }

/** Rows of sums, times factor, rounded: to [rows][n <= 32], ld apart. */
INLINE void write_rows(syz_bf16 *to, int64_t ld, const float *sum, const float *factor, float scale, int rows, int n)
{
  const __mmask32 mask = n >= STRIP ? ~(__mmask32)0 : (__mmask32)((1u << n) - 1u);
  for (int r = 0; r < rows; r++) {
    const __m512 f = _mm512_set1_ps(factor ? factor[r] : scale);
    const __m512 low = _mm512_mul_ps(_mm512_load_ps(at_row(sum, r, 0)), f), high = _mm512_mul_ps(_mm512_load_ps(at_row(sum, r, 1)), f);
    _mm512_mask_storeu_epi16(to + r * ld, mask, (__m512i)_mm512_cvtne2ps_pbh(high, low));
  }
}

/* -------------------------------------------------------------- forward */

typedef struct forward_views {
  uint32_t *q, *k, *v, *p;
  float *s, *o, *most, *sum;
} forward_views;

static forward_views forward_layout(const geometry *g, syz_arena *a)
{
  forward_views v;
  v.q = syz_arena_take(a, (size_t)(g->strips * g->steps * STEP_WORDS), sizeof *v.q);
  v.k = syz_arena_take(a, (size_t)g->dim_words, sizeof *v.k);
  v.v = syz_arena_take(a, (size_t)g->token_words, sizeof *v.v);
  v.p = syz_arena_take(a, (size_t)(g->strips * STEP_WORDS), sizeof *v.p);
  v.s = syz_arena_take(a, (size_t)(g->strips * SUMS), sizeof *v.s);
  v.o = syz_arena_take(a, 2 * SUMS, sizeof *v.o);
  v.most = syz_arena_take(a, STRIP * HALF, sizeof *v.most);
  v.sum = syz_arena_take(a, STRIP * HALF, sizeof *v.sum);
  return v;
}

/** Scores of 32 keys into the running maximum of each row and lane; keys beyond `keys` become -infinity, which gives P = 0. */
INLINE void raise_most(float *most, float *s, int rows, int64_t keys)
{
  const __mmask16 low = lanes(keys), high = lanes(keys - HALF);
  const __m512 never = _mm512_set1_ps(-INFINITY);
  for (int r = 0; r < rows; r++) {
    float *a = (float *)(uintptr_t)at_row(s, r, 0), *b = (float *)(uintptr_t)at_row(s, r, 1);
    const __m512 x = _mm512_mask_blend_ps(low, never, _mm512_load_ps(a)), y = _mm512_mask_blend_ps(high, never, _mm512_load_ps(b));
    if (keys < STRIP) {
      _mm512_store_ps(a, x);
      _mm512_store_ps(b, y);
    }
    _mm512_store_ps(most + r * HALF, _mm512_max_ps(_mm512_load_ps(most + r * HALF), _mm512_max_ps(x, y)));
  }
}

/** P of 32 keys in a step of tiles, and what it adds to the sums of each row and lane. */
INLINE void probabilities_of(uint32_t *p, float *sum, const float *s, const float *minus_most, float scale, int rows)
{
  const __m512 c = _mm512_set1_ps(scale);
  for (int r = 0; r < rows; r++) {
    const __m512 shift = _mm512_set1_ps(minus_most[r]);
    const __m512 x = attention_exp2(_mm512_fmadd_ps(_mm512_load_ps(at_row(s, r, 0)), c, shift));
    const __m512 y = attention_exp2(_mm512_fmadd_ps(_mm512_load_ps(at_row(s, r, 1)), c, shift));
    _mm512_store_ps(sum + r * HALF, _mm512_add_ps(_mm512_load_ps(sum + r * HALF), _mm512_add_ps(x, y)));
    _mm512_store_si512(p + r / HALF * TILE_WORDS + r % HALF * STEP, (__m512i)_mm512_cvtne2ps_pbh(y, x));
  }
}

/** S of a strip of queries over all keys, and the maximum of each row and lane. */
INLINE void scores(const geometry *g, const forward_views *w, int64_t strip, int rows)
{
  const int64_t units = g->steps * STEP, last = g->strips - 1;
  const uint32_t *q = w->q + strip * g->steps * STEP_WORDS;
  for (int i = 0; i < STRIP * HALF; i += HALF) _mm512_store_ps(w->most + i, _mm512_set1_ps(-INFINITY));
  for (int64_t j = 0; j <= last; j++) {
    multiply(w->s + j * SUMS, q, columns_at(w->k, units, j * STRIP), g->steps, false, rows > HALF, g->tokens - j * STRIP > HALF);
    if (j) raise_most(w->most, w->s + (j - 1) * SUMS, rows, STRIP);
  }
  raise_most(w->most, w->s + last * SUMS, rows, g->tokens - last * STRIP);
}

/** P of the strip from its S, what O has to be multiplied by, and lse [rows] unless NULL. */
INLINE void softmax(const geometry *g, const forward_views *w, int rows, float *factor, float *lse)
{
  const double ln2 = 0.69314718055994530942;
  const float scale = (float)(1.0 / (sqrt((double)g->dim) * ln2)); /* scores in powers of two */
  float minus_most[STRIP];
  for (int r = 0; r < rows; r++) minus_most[r] = -_mm512_reduce_max_ps(_mm512_load_ps(w->most + r * HALF)) * scale;
  for (int i = 0; i < STRIP * HALF; i += HALF) _mm512_store_ps(w->sum + i, _mm512_setzero_ps());
  for (int64_t j = 0; j < g->strips; j++) probabilities_of(w->p + j * STEP_WORDS, w->sum, w->s + j * SUMS, minus_most, scale, rows);
  for (int r = 0; r < rows; r++) {
    const float sum = _mm512_reduce_add_ps(_mm512_load_ps(w->sum + r * HALF));
    if (lse) lse[r] = (float)(-(double)minus_most[r] * ln2 + (double)logf(sum));
    factor[r] = 1.0f / sum;
  }
}

/** O of a strip from its P; 32 columns are written while the next ones are formed. */
INLINE void weighted_sums(const geometry *g, const attention_head *h, const forward_views *w, int64_t strip, int rows, const float *factor)
{
  syz_bf16 *out = (syz_bf16 *)h->out + strip * STRIP * h->row;
  for (int64_t d = 0; d < g->dim + STRIP; d += STRIP) {
    if (d < g->dim)
      multiply(w->o + d / STRIP % 2 * SUMS, w->p, columns_at(w->v, g->strips * STEP, d), g->strips, false, rows > HALF, g->dim - d > HALF);
    const int64_t before = d - STRIP;
    if (before >= 0 && before < g->dim)
      write_rows(out + before, h->row, w->o + before / STRIP % 2 * SUMS, factor, 0, rows, (int)smaller(g->dim - before, STRIP));
  }
}

/** The scores of a strip are formed before the weighted sums of the one before: tiles that were written by vectors, and vectors by tiles, are not
 * read at once, which would wait until they have left the store buffer. */
KERNEL_TARGET static void forward(const attention_head *h, void *scratch)
{
  const geometry g = geometry_of(h->tokens, h->dim);
  syz_arena arena = {.base = scratch, .size = SIZE_MAX};
  const forward_views w = forward_layout(&g, &arena);
  float factor[STRIP];
  pack_left(&g, w.q, h->q, h->in);
  pack_right(&g, w.k, h->k, h->in);
  pack_right_across(&g, w.v, h->v, h->in);
  memset(w.p, 0, (size_t)(g.strips * STEP_WORDS) * sizeof *w.p); /* rows beyond the last query */
  tile_begin();
  for (int64_t strip = 0; strip <= g.strips; strip++) {
    const int rows = (int)smaller(g.tokens - strip * STRIP, STRIP);
    if (strip < g.strips) scores(&g, &w, strip, rows);
    if (strip > 0) weighted_sums(&g, h, &w, strip - 1, (int)smaller(g.tokens - (strip - 1) * STRIP, STRIP), factor);
    if (strip < g.strips) softmax(&g, &w, rows, factor, h->lse ? h->lse + strip * STRIP : NULL);
  }
  tile_end();
}

/* ------------------------------------------------------------- backward */

typedef struct backward_views {
  uint32_t *k, *v, *k_across;                  /* left */
  uint32_t *q, *dout, *q_across, *dout_across; /* right */
  uint32_t *p, *ds, *ds_pairs;                 /* of a strip of keys: left, left; of a block: right */
  float *s, *dp, *dq, *minus_lse, *delta;
} backward_views;

static backward_views backward_layout(const geometry *g, syz_arena *a)
{
  backward_views v;
  const size_t word = sizeof(uint32_t), left = (size_t)(g->strips * g->steps * STEP_WORDS), queries = (size_t)(g->strips * STRIP);
  v.k = syz_arena_take(a, left, word);
  v.v = syz_arena_take(a, left, word);
  v.k_across = syz_arena_take(a, left, word);
  v.q = syz_arena_take(a, (size_t)g->dim_words, word);
  v.dout = syz_arena_take(a, (size_t)g->dim_words, word);
  v.q_across = syz_arena_take(a, (size_t)g->token_words, word);
  v.dout_across = syz_arena_take(a, (size_t)g->token_words, word);
  v.p = syz_arena_take(a, (size_t)(g->strips * STEP_WORDS), word);
  v.ds = syz_arena_take(a, (size_t)(g->strips * STEP_WORDS), word);
  v.ds_pairs = syz_arena_take(a, (size_t)syz_packed_words(g->tokens, BLOCK_STRIPS * STEP), word);
  v.s = syz_arena_take(a, 2 * SUMS, word);
  v.dp = syz_arena_take(a, 2 * SUMS, word);
  v.dq = syz_arena_take(a, (size_t)(g->steps * g->strips * SUMS), word);
  v.minus_lse = syz_arena_take(a, queries, word);
  v.delta = syz_arena_take(a, queries, word);
  return v;
}

/** delta[t] = sum_d dout[t, d] out[t, d]. */
KERNEL_TARGET static void row_products(const geometry *g, float *delta, const syz_bf16 *x, const syz_bf16 *y, int64_t stride)
{
  for (int64_t t = 0; t < g->tokens; t++) {
    __m512 sum = _mm512_setzero_ps();
    for (int64_t d = 0; d < g->dim; d += HALF) {
      const __mmask16 mask = lanes(g->dim - d);
      const __m256i a = _mm256_maskz_loadu_epi16(mask, x + t * stride + d), b = _mm256_maskz_loadu_epi16(mask, y + t * stride + d);
      sum = _mm512_fmadd_ps(_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(a), 16)),
                            _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(b), 16)), sum);
    }
    delta[t] = _mm512_reduce_add_ps(sum);
  }
}

/** Neighbouring rows joined to units: lane i becomes (even[i], odd[i]). */
INLINE __m512i join_rows(__m512 even, __m512 odd)
{
  const __m512i order =
      _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  return _mm512_permutexvar_epi16(order, (__m512i)_mm512_cvtne2ps_pbh(odd, even));
}

/** P^T and dS^T of 32 keys by 32 queries: steps of tiles, and pairs of keys at `pairs`. `keys` exist; those beyond give zero. */
INLINE void gradients_of(uint32_t *p, uint32_t *ds, uint32_t *pairs, const float *s, const float *dp, const float *minus_lse, const float *delta,
                         float scale, int keys)
{
  const __m512 c = _mm512_set1_ps(scale);
  for (int r = 0; r < STRIP; r += 2) {
    __m512 x[2][2], y[2][2];
    for (int i = 0; i < 2; i++)
      for (int half = 0; half < 2; half++) {
        const __m512 shift = _mm512_load_ps(minus_lse + half * HALF), d = _mm512_load_ps(delta + half * HALF);
        const __mmask16 exists = r + i < keys ? 0xffff : 0;
        x[i][half] = _mm512_maskz_mov_ps(exists, attention_exp2(_mm512_fmadd_ps(_mm512_load_ps(at_row(s, r + i, half)), c, shift)));
        y[i][half] = _mm512_maskz_mul_ps(exists, x[i][half], _mm512_sub_ps(_mm512_load_ps(at_row(dp, r + i, half)), d));
      }
    for (int i = 0; i < 2; i++) {
      const int64_t at = (r + i) / HALF * TILE_WORDS + (r + i) % HALF * STEP;
      _mm512_store_si512(p + at, (__m512i)_mm512_cvtne2ps_pbh(x[i][1], x[i][0]));
      _mm512_store_si512(ds + at, (__m512i)_mm512_cvtne2ps_pbh(y[i][1], y[i][0]));
    }
    for (int half = 0; half < 2; half++) _mm512_store_si512(pairs + r / 2 * STEP + half * TILE_WORDS, join_rows(y[0][half], y[1][half]));
  }
}

/** dV and dK of a strip of keys, and its rows of dS^T at `pairs` (step s of the block). */
KERNEL_TARGET static void backward_strip(const geometry *g, const attention_head *h, const backward_views *w, int64_t strip, int64_t in_block,
                                         int64_t block_units)
{
  const float root = (float)(1.0 / sqrt((double)g->dim)), scale = (float)(1.44269504088896340736 / sqrt((double)g->dim));
  const int keys = (int)smaller(g->tokens - strip * STRIP, STRIP);
  const int64_t units = g->steps * STEP, left = strip * g->steps * STEP_WORDS;
  for (int64_t j = 0; j <= g->strips; j++) { /* products one strip of queries ahead of what they are made into */
    float *s = w->s + j % 2 * SUMS, *dp = w->dp + j % 2 * SUMS;
    if (j < g->strips) {
      const bool has_right = g->tokens - j * STRIP > HALF;
      multiply(s, w->k + left, columns_at(w->q, units, j * STRIP), g->steps, false, keys > HALF, has_right);
      multiply(dp, w->v + left, columns_at(w->dout, units, j * STRIP), g->steps, false, keys > HALF, has_right);
    }
    if (j > 0) {
      const int64_t i = j - 1, at = i * STRIP;
      uint32_t *pairs = w->ds_pairs + at / PANEL * PANEL * block_units + syz_panel_at(true, in_block * STEP, at % PANEL);
      gradients_of(w->p + i * STEP_WORDS, w->ds + i * STEP_WORDS, pairs, w->s + i % 2 * SUMS, w->dp + i % 2 * SUMS, w->minus_lse + at, w->delta + at,
                   scale, keys);
    }
  }
  for (int64_t d = 0; d < g->dim; d += STRIP) {
    const int n = (int)smaller(g->dim - d, STRIP);
    multiply(w->s, w->p, columns_at(w->dout_across, g->strips * STEP, d), g->strips, false, keys > HALF, n > HALF);
    multiply(w->dp, w->ds, columns_at(w->q_across, g->strips * STEP, d), g->strips, false, keys > HALF, n > HALF);
    write_rows((syz_bf16 *)h->dv + strip * STRIP * h->in + d, h->in, w->s, NULL, 1, keys, n);
    write_rows((syz_bf16 *)h->dk + strip * STRIP * h->in + d, h->in, w->dp, NULL, root, keys, n);
  }
}

/** dQ from its transposed sums. */
KERNEL_TARGET static void write_dq(const geometry *g, const attention_head *h, const backward_views *w)
{
  const __m512 root = _mm512_set1_ps((float)(1.0 / sqrt((double)g->dim)));
  for (int64_t j = 0; j < g->strips; j++)
    for (int64_t d = 0; d < g->dim; d += HALF)
      for (int half = 0; half < 2; half++) {
        const float *sum = w->dq + (d / STRIP * g->strips + j) * SUMS + half * (SUMS / 2) + d / HALF % 2 * TILE_WORDS;
        const int64_t first = j * STRIP + half * HALF;
        __m512i r[HALF];
        for (int i = 0; i < HALF; i++) r[i] = _mm512_load_si512(sum + i * HALF);
        transpose16(r);
        for (int i = 0; i < HALF && first + i < g->tokens; i++)
          _mm256_mask_storeu_epi16((syz_bf16 *)h->dq + (first + i) * h->in + d, lanes(g->dim - d),
                                   (__m256i)_mm512_cvtneps_pbh(_mm512_mul_ps(_mm512_castsi512_ps(r[i]), root)));
      }
}

KERNEL_TARGET static void backward(const attention_head *h, void *scratch)
{
  const geometry g = geometry_of(h->tokens, h->dim);
  syz_arena arena = {.base = scratch, .size = SIZE_MAX};
  const backward_views w = backward_layout(&g, &arena);
  pack_left(&g, w.k, h->k, h->in);
  pack_left(&g, w.v, h->v, h->in);
  pack_left_across(&g, w.k_across, h->k, h->in);
  pack_right(&g, w.q, h->q, h->in);
  pack_right(&g, w.dout, h->dout, h->row);
  pack_right_across(&g, w.q_across, h->q, h->in);
  pack_right_across(&g, w.dout_across, h->dout, h->row);
  row_products(&g, w.delta, h->dout, h->out, h->row);
  for (int64_t t = 0; t < g.strips * STRIP; t++) { /* P = 0 for queries that do not exist */
    w.minus_lse[t] = t < g.tokens ? (float)(-(double)h->lse[t] * 1.44269504088896340736) : -INFINITY;
    if (t >= g.tokens) w.delta[t] = 0;
  }
  tile_begin();
  for (int64_t first = 0; first < g.strips; first += BLOCK_STRIPS) {
    const int64_t strips = smaller(g.strips - first, BLOCK_STRIPS), units = strips * STEP;
    for (int64_t i = 0; i < strips; i++) backward_strip(&g, h, &w, first + i, i, units);
    for (int64_t d = 0; d < g.steps; d++)
      for (int64_t j = 0; j < g.strips; j++)
        multiply(w.dq + (d * g.strips + j) * SUMS, w.k_across + (d * g.strips + first) * STEP_WORDS, columns_at(w.ds_pairs, units, j * STRIP), strips,
                 first > 0, g.dim - d * STRIP > HALF, g.tokens - j * STRIP > HALF);
  }
  write_dq(&g, h, &w);
  tile_end();
}

static size_t scratch_bytes(int64_t tokens, int64_t dim, bool trains)
{
  const geometry g = geometry_of(tokens, dim);
  syz_arena one = {0}, other = {0};
  forward_layout(&g, &one);
  if (trains) backward_layout(&g, &other);
  return one.used > other.used ? one.used : other.used;
}

#ifdef SYZ_TILES_EMULATED
static bool is_supported(void) { return syz_processor_isa() >= SYZ_ISA_AVX512_BF16; }
#else
static bool is_supported(void) { return syz_processor_isa() >= SYZ_ISA_AMX; }
#endif

const attention_kernel syz_attention_amx = {"amx", SYZ_BF16, is_supported, scratch_bytes, forward, backward};
