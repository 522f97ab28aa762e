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
  CHUNK = 4,        /* rows of a strip's P that are formed between two steps */
  LAG = 1,          /* blocks of 32 keys by which their maximum follows their scores */
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

/** What vectors wrote is read by tiles: the compiler does not know. */
static inline void written(void) { __asm__ volatile("" ::: "memory"); }

/* ------------------------------------------------------------- products */

/** 32 x 32 sums (see tile_store_sums) over `steps` steps: from zero, or on top of what is there. a, b: the first step; has_low, has_right: there are
 * more than 16 rows, columns. */
INLINE void multiply(float *sum, const uint32_t *a, const uint32_t *b, int64_t steps, bool is_continued, bool has_low, bool has_right)
{
  tile_begin_sums(is_continued ? sum : NULL);
  for (int64_t s = 0; s < steps; s++, a += STEP_WORDS, b += STEP * PANEL) {
    tile_load_once(6, b, TILE_LINE);
    tile_load(4, a, TILE_LINE);
    tile_dot_bf16(0, 4, 6);
    if (has_right) {
      tile_load_once(7, b + TILE_WORDS, TILE_LINE);
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
  uint32_t *q, *k, *v, *p[2];
  float *s[2], *o, *most, *sum;
} forward_views;

static forward_views forward_layout(const geometry *g, syz_arena *a)
{
  forward_views v;
  v.q = syz_arena_take(a, (size_t)(g->strips * g->steps * STEP_WORDS), sizeof *v.q);
  v.k = syz_arena_take(a, (size_t)g->dim_words, sizeof *v.k);
  v.v = syz_arena_take(a, (size_t)g->token_words, sizeof *v.v);
  for (int i = 0; i < 2; i++) {
    v.p[i] = syz_arena_take(a, (size_t)(g->strips * STEP_WORDS), sizeof *v.p[i]);
    v.s[i] = syz_arena_take(a, (size_t)(g->strips * SUMS), sizeof *v.s[i]);
  }
  v.o = syz_arena_take(a, 2 * SUMS, sizeof *v.o);
  v.most = syz_arena_take(a, STRIP * HALF, sizeof *v.most);
  v.sum = syz_arena_take(a, STRIP * HALF, sizeof *v.sum);
  return v;
}

/** One step of a product: see multiply. */
INLINE void multiply_step(const uint32_t *a, const uint32_t *b, bool has_low, bool has_right)
{
  tile_load_once(6, b, TILE_LINE);
  tile_load(4, a, TILE_LINE);
  tile_dot_bf16(0, 4, 6);
  if (has_right) {
    tile_load_once(7, b + TILE_WORDS, TILE_LINE);
    tile_dot_bf16(1, 4, 7);
  }
  if (has_low) {
    tile_load(5, a + TILE_WORDS, TILE_LINE);
    tile_dot_bf16(2, 5, 6);
    if (has_right) tile_dot_bf16(3, 5, 7);
  }
}

/** Scores of 32 keys into the running maximum of each row and lane. */
INLINE void raise_most(float *most, const float *s, int first, int rows)
{
  for (int r = first; r < first + rows; r++)
    _mm512_store_ps(most + r * HALF,
                    _mm512_max_ps(_mm512_load_ps(most + r * HALF), _mm512_max_ps(_mm512_load_ps(at_row(s, r, 0)), _mm512_load_ps(at_row(s, r, 1)))));
}

/** Scores of keys beyond `keys` become -infinity, which gives P = 0. */
INLINE void forget_keys(float *s, int64_t keys)
{
  const __m512 never = _mm512_set1_ps(-INFINITY);
  for (int half = 0; half < 2; half++)
    for (int r = 0; r < STRIP; r++) _mm512_mask_store_ps((float *)(uintptr_t)at_row(s, r, half), (__mmask16)~lanes(keys - half * HALF), never);
}

/** P of a strip on its way: what is next. */
typedef struct exponents {
  const float *s;
  uint32_t *p;
  float *sum;
  const float *minus_most;
  float scale;
  int row, rows;
  int64_t blocks; /* left */
} exponents;

/** The next 4 rows of 32 keys: P, and what it adds to the sums of each row and lane. */
INLINE void some_exponents(exponents *e)
{
  if (!e->blocks) return;
  const __m512 c = _mm512_set1_ps(e->scale);
  const float *s = e->s + e->row * HALF, *most = e->minus_most + e->row;
  float *sum = e->sum + e->row * HALF;
  uint32_t *p = e->p + e->row * STEP;
  for (int r = 0; r < CHUNK; r++) {
    const __m512 shift = _mm512_set1_ps(most[r]);
    const __m512 x = attention_exp2(_mm512_fmadd_ps(_mm512_load_ps(s + r * HALF), c, shift));
    const __m512 y = attention_exp2(_mm512_fmadd_ps(_mm512_load_ps(s + r * HALF + SUMS / 2), c, shift));
    _mm512_store_ps(sum + r * HALF, _mm512_add_ps(_mm512_load_ps(sum + r * HALF), _mm512_add_ps(x, y)));
    _mm512_store_si512(p + r * STEP, (__m512i)_mm512_cvtne2ps_pbh(y, x));
  }
  e->row += CHUNK;
  if (e->row >= e->rows) {
    e->row = 0;
    e->blocks--;
    e->s += SUMS;
    e->p += STEP_WORDS;
  }
}

INLINE __m512i pair_up(const bool is_sum, __m512i a, __m512i b)
{
  const __m512 x = _mm512_castsi512_ps(a), y = _mm512_castsi512_ps(b);
  return _mm512_castps_si512(is_sum ? _mm512_add_ps(x, y) : _mm512_max_ps(x, y));
}

/** Sum or maximum of each of 16 rows of 16. */
INLINE __m512 of_each_row(const bool is_sum, const float *rows)
{
  __m512i v[HALF];
  for (int i = 0; i < HALF; i++) v[i] = _mm512_load_si512(rows + i * HALF);
  for (int i = 0; i < 8; i++) v[i] = pair_up(is_sum, _mm512_unpacklo_epi32(v[2 * i], v[2 * i + 1]), _mm512_unpackhi_epi32(v[2 * i], v[2 * i + 1]));
  for (int i = 0; i < 4; i++) v[i] = pair_up(is_sum, _mm512_unpacklo_epi64(v[2 * i], v[2 * i + 1]), _mm512_unpackhi_epi64(v[2 * i], v[2 * i + 1]));
  for (int n = 2; n > 0; n /= 2)
    for (int i = 0; i < n; i++)
      v[i] = pair_up(is_sum, _mm512_shuffle_i32x4(v[2 * i], v[2 * i + 1], 0x88), _mm512_shuffle_i32x4(v[2 * i], v[2 * i + 1], 0xdd));
  return _mm512_castsi512_ps(v[0]);
}

/** ln x of normal numbers, within 2e-7: x = 2^e m with m in [0.75, 1.5), ln m = 2 artanh(z), z = (m - 1) / (m + 1), z^2 < 0.04. */
INLINE __m512 logarithm(__m512 x)
{
  const __m512 one = _mm512_set1_ps(1.0f);
  __m512 m = _mm512_getmant_ps(x, _MM_MANT_NORM_1_2, _MM_MANT_SIGN_src), e = _mm512_getexp_ps(x);
  const __mmask16 big = _mm512_cmp_ps_mask(m, _mm512_set1_ps(1.5f), _CMP_GE_OQ);
  m = _mm512_mask_mul_ps(m, big, m, _mm512_set1_ps(0.5f));
  e = _mm512_mask_add_ps(e, big, e, one);
  const __m512 z = _mm512_div_ps(_mm512_sub_ps(m, one), _mm512_add_ps(m, one)), q = _mm512_mul_ps(z, z);
  __m512 p = _mm512_fmadd_ps(q, _mm512_set1_ps(2.0f / 9), _mm512_set1_ps(2.0f / 7));
  p = _mm512_fmadd_ps(p, q, _mm512_set1_ps(2.0f / 5));
  p = _mm512_fmadd_ps(p, q, _mm512_set1_ps(2.0f / 3));
  p = _mm512_fmadd_ps(_mm512_mul_ps(p, q), z, _mm512_add_ps(z, z));
  return _mm512_fmadd_ps(e, _mm512_set1_ps(0.69314718055994530942f), p);
}

/** S of a strip of queries over all keys, and the maximum of each row and lane, while `chunks` chunks a step of what waits in e are done. */
INLINE void scores(const geometry *g, const forward_views *w, int64_t strip, exponents *e, int chunks)
{
  const int64_t units = g->steps * STEP, last = g->strips - 1;
  const uint32_t *q = w->q + strip * g->steps * STEP_WORDS;
  const bool has_low = g->tokens - strip * STRIP > HALF;
  const int rows = (int)syz_ceil_div(STRIP, g->steps);
  float *s = w->s[strip % 2];
  for (int i = 0; i < STRIP * HALF; i += HALF) _mm512_store_ps(w->most + i, _mm512_set1_ps(-INFINITY));
  for (int64_t j = 0; j <= last; j++) {
    const uint32_t *a = q, *b = columns_at(w->k, units, j * STRIP);
    const bool has_right = g->tokens - j * STRIP > HALF;
    tile_begin_sums(NULL);
    for (int64_t t = 0; t < g->steps; t++, a += STEP_WORDS, b += STEP * PANEL) {
      multiply_step(a, b, has_low, has_right);
      for (int i = 0; i < chunks; i++) some_exponents(e);
      const int first = (int)t * rows;
      if (j >= LAG) raise_most(w->most, s + (j - LAG) * SUMS, first, first + rows < STRIP ? rows : STRIP - first);
    }
    tile_store_sums(s + j * SUMS);
  }
  for (int64_t j = last + 1 > LAG ? last + 1 - LAG : 0; j <= last; j++) {
    if (j == last && g->tokens % STRIP) forget_keys(s + j * SUMS, g->tokens - j * STRIP);
    raise_most(w->most, s + j * SUMS, 0, STRIP);
  }
}

/** P of a strip is to be formed from its S. */
INLINE exponents begin_exponents(const geometry *g, const forward_views *w, int64_t strip, float *minus_most)
{
  const float scale = (float)(1.44269504088896340736 / sqrt((double)g->dim)); /* scores in powers of two */
  for (int i = 0; i < STRIP; i += HALF)
    _mm512_storeu_ps(minus_most + i, _mm512_mul_ps(of_each_row(false, w->most + i * HALF), _mm512_set1_ps(-scale)));
  for (int i = 0; i < STRIP * HALF; i += HALF) _mm512_store_ps(w->sum + i, _mm512_setzero_ps());
  return (exponents){w->s[strip % 2], w->p[strip % 2], w->sum, minus_most, scale, 0, (int)smaller(g->tokens - strip * STRIP, STRIP), g->strips};
}

/** What is left of P; what O has to be multiplied by, and lse [rows] unless NULL. */
INLINE void end_exponents(exponents *e, float *factor, float *lse)
{
  while (e->blocks) some_exponents(e);
  for (int i = 0; i < e->rows; i += HALF) {
    const __m512 sum = of_each_row(true, e->sum + i * HALF), most = _mm512_loadu_ps(e->minus_most + i);
    _mm512_storeu_ps(factor + i, _mm512_div_ps(_mm512_set1_ps(1.0f), sum));
    if (lse) _mm512_mask_storeu_ps(lse + i, lanes(e->rows - i), _mm512_fnmadd_ps(most, _mm512_set1_ps(0.69314718055994530942f), logarithm(sum)));
  }
}

/** O of a strip from its P; 32 columns are written while the next ones are formed, and `chunks` chunks a step of what waits in e are done. */
INLINE void weighted_sums(const geometry *g, const attention_head *h, const forward_views *w, int64_t strip, const float *factor, exponents *e, int chunks)
{
  const int rows = (int)smaller(g->tokens - strip * STRIP, STRIP), some = (int)syz_ceil_div(STRIP, g->strips);
  syz_bf16 *out = (syz_bf16 *)h->out + strip * STRIP * h->row;
  for (int64_t d = 0; d < g->dim; d += STRIP) {
    const uint32_t *a = w->p[strip % 2], *b = columns_at(w->v, g->strips * STEP, d);
    float *o = w->o + d / STRIP % 2 * SUMS, *before = w->o + (d / STRIP + 1) % 2 * SUMS;
    const bool has_right = g->dim - d > HALF;
    tile_begin_sums(NULL);
    for (int64_t t = 0; t < g->strips; t++, a += STEP_WORDS, b += STEP * PANEL) {
      multiply_step(a, b, rows > HALF, has_right);
      for (int i = 0; i < chunks; i++) some_exponents(e);
      const int first = (int)t * some;
      if (d && first < rows)
        write_rows(out + first * h->row + d - STRIP, h->row, before + first * HALF, factor + first, 0, first + some < rows ? some : rows - first, STRIP);
    }
    tile_store_sums(o);
  }
  const int64_t d = (g->steps - 1) * STRIP;
  write_rows(out + d, h->row, w->o + d / STRIP % 2 * SUMS, factor, 0, rows, (int)(g->dim - d));
}

/** P of a strip is formed while the tiles form O of the strip before and S of the next one, a few rows after each step. */
KERNEL_TARGET static void forward(const attention_head *h, void *scratch)
{
  const geometry g = geometry_of(h->tokens, h->dim);
  syz_arena arena = {.base = scratch, .size = SIZE_MAX};
  const forward_views w = forward_layout(&g, &arena);
  const int all = (int)syz_ceil_div(STRIP / CHUNK, g.steps), part = (int)syz_ceil_div(STRIP / CHUNK, 2 * g.steps);
  float factor[2][STRIP], minus_most[STRIP];
  exponents e = {.blocks = 0};
  pack_left(&g, w.q, h->q, h->in);
  pack_right(&g, w.k, h->k, h->in);
  pack_right_across(&g, w.v, h->v, h->in);
  if (g.strips <= 2) /* rows beyond the last query */
    for (int i = 0; i < 2; i++) memset(w.p[i], 0, (size_t)(g.strips * STEP_WORDS) * sizeof *w.p[i]);
  tile_begin();
  scores(&g, &w, 0, &e, 0);
  for (int64_t i = 0; i < g.strips; i++) {
    e = begin_exponents(&g, &w, i, minus_most);
    if (i > 0) weighted_sums(&g, h, &w, i - 1, factor[(i - 1) % 2], &e, i + 1 < g.strips ? part : all);
    if (i + 1 < g.strips) scores(&g, &w, i + 1, &e, i > 0 ? part : all);
    end_exponents(&e, factor[i % 2], h->lse ? h->lse + i * STRIP : NULL);
  }
  written();
  weighted_sums(&g, h, &w, g.strips - 1, factor[(g.strips - 1) % 2], &e, 0);
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
