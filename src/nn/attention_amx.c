/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Attention in bfloat16 with float32 sums on tiles (AMX). 32 x 32 sums are formed at once (kernel_amx.c), and the
 * result is again a left operand of tiles.
 *
 * Forward, for a strip of 32 queries: S = Q K^T, 32 keys at a time; P = exp(S - m), rounded, in tiles; O = P V. m is a
 * row's maximum over its first 32 keys, so that no second pass over S is needed; where later scores lie so far above it
 * that the sum of a row exceeds 2^60, P of the row is formed again with the maximum over all keys. The sum of a row is
 * formed from P before rounding, and divides O at the end. Backward, for a strip of 32 keys, so that lse and D of the
 * queries lie along the lanes: S^T = K Q^T, dP^T = V dO^T, P^T = exp(S^T - lse), dS^T = P^T (dP^T - D). P^T and dS^T of
 * a strip are left operands of dV = P^T dO and dK = dS^T Q, complete at once. dS^T of a block of strips, pairs of keys
 * joined, is the right operand of dQ^T += K^T dS^T, whose sums are kept in memory between blocks.
 *
 * The vector units work between the steps of products, a few rows after each. While the tiles form S of the next strip
 * and O of the previous one in turn, the vectors form P of this strip from a small ring of S; likewise gradients during
 * the products of the next 32 queries, and results during the next sums. Rows of the next head are fetched into L2
 * meanwhile. Cache lines from L2 and the vector work limit the speed: with all tiles in L1, 778 tokens ran 1.2 to 1.3
 * times as fast.
 *
 * Measured on one core of a Xeon whose products alone reach 2,340 GFLOP/s, heads from L3, useful GFLOP/s forward and
 * backward, first with the vector work in separate passes, then as it is: 778 tokens, heads of 128: 546, 448 and 689,
 * 540; 144 tokens of 64: 205, 211 and 305, 277. Prefetching the rows of the next head and the lines to be written is a
 * good part of the gain; the rest comes from vector work between steps, and from right tiles that displace nothing in
 * L1. Gradients in a ring across strips, like S, were up to a tenth slower, because of more instructions between steps.
 *
 * The order of additions depends on tokens and dim only.
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
  CHUNK = 4,         /* rows of a strip's P that are formed between two steps */
  RING = 10,         /* blocks of S from which P is not formed yet */
  WRITTEN = 4,       /* rows of O that are written between two steps */
  FETCHED = 1 << 15, /* largest matrix, in numbers, for which the next head is fetched into L2 beside the data of the
                        backward pass */
  PASS = 16,         /* most steps of P^T or dS^T that stay in L1 while all columns of dV or dK are formed */
  BLOCK_STRIPS = 8,  /* most strips of keys between sums of dQ in memory */
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
    syz_kernel_amx_bf16.pack_left_rows(to + t * g->steps * STEP, x + t * ld, ld, (int)smaller(g->tokens - t, STRIP),
                                       g->dim);
}
static void pack_left_across(const geometry *g, uint32_t *to, const syz_bf16 *x, int64_t ld)
{
  syz_kernel_amx_bf16.pack_left_columns(to, x, ld, g->dim, g->tokens);
}

/** The last step of a panel is padded with zeros: it is cleared first. */
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

/** A step of 32 x 32 sums. a, b: its tiles; has_low, has_right: there are more than 16 rows, columns. Streamed operands
 * displace nothing in L1. */
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

/** 32 x 32 sums (see tile_store_sums) over `steps` steps. */
INLINE void multiply(float *sum, const uint32_t *a, const uint32_t *b, int64_t steps, bool has_low, bool has_right)
{
  tile_begin_sums(NULL);
  for (int64_t s = 0; s < steps; s++, a += STEP_WORDS, b += STEP * PANEL) multiply_step(a, b, has_low, has_right);
  tile_store_sums(sum);
}

/** Where 16 sums of row r begin. */
INLINE const float *at_row(const float *sum, int r, int half) { return sum + half * (SUMS / 2) + r * HALF; }
/** The columns that begin with column j of a right operand with `units` units. */
INLINE const uint32_t *columns_at(const uint32_t *b, int64_t units, int64_t j)
{
  return b + j / PANEL * PANEL * units + syz_panel_at(true, 0, j % PANEL);
}

/** Rows of sums times factor, rounded, to [rows][n <= 32] with row stride ld. */
INLINE void write_rows(syz_bf16 *to, int64_t ld, const float *sum, const float *factor, int rows, int n)
{
  const __mmask32 mask = n >= STRIP ? ~(__mmask32)0 : (__mmask32)((1u << n) - 1u);
  for (int r = 0; r < rows; r++) {
    const __m512 f = _mm512_set1_ps(factor[r]);
    const __m512 low = _mm512_mul_ps(_mm512_load_ps(at_row(sum, r, 0)), f),
                 high = _mm512_mul_ps(_mm512_load_ps(at_row(sum, r, 1)), f);
    _mm512_mask_storeu_epi16(to + r * ld, mask, (__m512i)_mm512_cvtne2ps_pbh(high, low));
  }
}

/* ------------------------------------------------------------- fetching */

/** Prefetches rows of the next head into L2 during this one, piece by piece, from one matrix after the other. */
typedef struct fetching {
  const char *next[5]; /* rows of the matrices */
  int64_t stride[5];   /* bytes */
  int matrices, at;
  int64_t rows, bytes; /* rows left; bytes of a row */
} fetching;

INLINE void fetch_some(fetching *f, int pieces)
{
  for (int i = 0; i < pieces && f->rows; i++) {
    const char *x = f->next[f->at];
    for (int64_t b = 0; b < f->bytes; b += 64) __builtin_prefetch(x + b, 0, 2);
    f->next[f->at] = x + f->stride[f->at];
    if (++f->at == f->matrices) {
      f->at = 0;
      f->rows--;
    }
  }
}

static void fetch_matrix(fetching *f, const void *x, const void *now, const void *next, int64_t ld)
{
  f->next[f->matrices] = (const char *)x + ((const char *)next - (const char *)now);
  f->stride[f->matrices++] = ld * (int64_t)sizeof(syz_bf16);
}

/** Sets up the prefetch; nothing is fetched when no head follows. */
static fetching fetching_of(const attention_head *h, bool is_backward)
{
  fetching f = {.rows = h->next ? h->tokens : 0, .bytes = h->dim * (int64_t)sizeof(syz_bf16)};
  if (!h->next) return f;
  fetch_matrix(&f, h->q, h->q, h->next, h->in);
  fetch_matrix(&f, h->k, h->q, h->next, h->in);
  fetch_matrix(&f, h->v, h->q, h->next, h->in);
  if (!is_backward) return f;
  fetch_matrix(&f, h->dout, h->dout, h->next_dout, h->row);
  fetch_matrix(&f, h->out, h->dout, h->next_dout, h->row);
  return f;
}

/* -------------------------------------------------------------- forward */

typedef struct forward_views {
  uint32_t *q, *k, *v, *p[2];
  float *s, *all_s, *o, *most, *sum;
} forward_views;

static forward_views forward_layout(const geometry *g, syz_arena *a)
{
  forward_views v;
  v.q = syz_arena_take(a, (size_t)(g->strips * g->steps * STEP_WORDS), sizeof *v.q);
  v.k = syz_arena_take(a, (size_t)g->dim_words, sizeof *v.k);
  v.v = syz_arena_take(a, (size_t)g->token_words, sizeof *v.v);
  for (int i = 0; i < 2; i++) v.p[i] = syz_arena_take(a, (size_t)(g->strips * STEP_WORDS), sizeof *v.p[i]);
  v.s = syz_arena_take(a, RING * SUMS, sizeof *v.s);
  v.o = syz_arena_take(a, SUMS, sizeof *v.o);
  v.sum = syz_arena_take(a, STRIP * HALF, sizeof *v.sum);
  v.most = syz_arena_take(a, STRIP * HALF, sizeof *v.most);
  v.all_s = syz_arena_take(a, (size_t)(g->strips * SUMS), sizeof *v.all_s);
  return v;
}

/** Scores of 32 keys into the running maximum of each row and lane. */
INLINE void raise_most(float *most, const float *s)
{
  for (int r = 0; r < STRIP; r++)
    _mm512_store_ps(most + r * HALF,
                    _mm512_max_ps(_mm512_load_ps(most + r * HALF),
                                  _mm512_max_ps(_mm512_load_ps(at_row(s, r, 0)), _mm512_load_ps(at_row(s, r, 1)))));
}

/** Scores of keys beyond `keys` become -infinity, which gives P = 0. */
INLINE void forget_keys(float *s, int64_t keys)
{
  const __m512 never = _mm512_set1_ps(-INFINITY);
  for (int half = 0; half < 2; half++)
    for (int r = 0; r < STRIP; r++)
      _mm512_mask_store_ps((float *)(uintptr_t)at_row(s, r, half), (__mmask16)~lanes(keys - half * HALF), never);
}

/** Rows of O still to be written. */
typedef struct unwritten {
  syz_bf16 *to;
  int64_t ld;
  const float *sum, *factor;
  int rows, n; /* rows left; columns */
} unwritten;

INLINE void write_some(unwritten *u, int rows)
{
  if (!u->rows) return;
  const int some = rows < u->rows ? rows : u->rows;
  write_rows(u->to, u->ld, u->sum, u->factor, some, u->n);
  u->to += some * u->ld;
  u->sum += some * HALF;
  u->factor += some;
  u->rows -= some;
}

/** The forming of P, strip after strip: the next rows. */
typedef struct exponents {
  const float *s, *begin, *end; /* in the ring */
  uint32_t *p;
  float *sum;
  const float *minus_most;
  float scale;
  int row, rows;
  int64_t left;  /* blocks of the strip */
  int64_t ready; /* blocks in the ring, of this strip or the next one */
} exponents;

/** The next 4 rows of 32 keys: P, and its contribution to the sums of each row and lane. */
INLINE void some_exponents(exponents *e)
{
  if (!e->left || !e->ready) return;
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
    e->left--;
    e->ready--;
    e->s += SUMS;
    if (e->s == e->end) e->s = e->begin;
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
  for (int i = 0; i < 8; i++)
    v[i] =
        pair_up(is_sum, _mm512_unpacklo_epi32(v[2 * i], v[2 * i + 1]), _mm512_unpackhi_epi32(v[2 * i], v[2 * i + 1]));
  for (int i = 0; i < 4; i++)
    v[i] =
        pair_up(is_sum, _mm512_unpacklo_epi64(v[2 * i], v[2 * i + 1]), _mm512_unpackhi_epi64(v[2 * i], v[2 * i + 1]));
  for (int n = 2; n > 0; n /= 2)
    for (int i = 0; i < n; i++)
      v[i] = pair_up(is_sum, _mm512_shuffle_i32x4(v[2 * i], v[2 * i + 1], 0x88),
                     _mm512_shuffle_i32x4(v[2 * i], v[2 * i + 1], 0xdd));
  return _mm512_castsi512_ps(v[0]);
}

/** ln x of normal numbers, within 2e-7: x = 2^e m with m in [0.75, 1.5), ln m = 2 artanh(z), z = (m - 1) / (m + 1), z^2
 * < 0.04. */
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

/** Vector work between the steps of products: `chunks` chunks of P, rows of O. */
typedef struct meanwhile {
  exponents e;
  unwritten u;
  fetching f;
  int chunks, pieces;
  int64_t strip; /* of e */
  bool is_open;  /* its P is not complete */
  float factor[2][STRIP], minus_most[STRIP];
} meanwhile;

INLINE void do_some(meanwhile *m)
{
  for (int i = 0; i < m->chunks; i++) some_exponents(&m->e);
  write_some(&m->u, WRITTEN);
  fetch_some(&m->f, m->pieces);
}

/** Begins P of a strip, whose first block of S is complete: the maximum of each row of that block is subtracted. */
INLINE void begin_exponents(const geometry *g, const forward_views *w, int64_t strip, meanwhile *m)
{
  const float *s = m->e.s;
  for (int r = 0; r < STRIP; r++)
    _mm512_store_ps(w->most + r * HALF,
                    _mm512_max_ps(_mm512_load_ps(at_row(s, r, 0)), _mm512_load_ps(at_row(s, r, 1))));
  for (int i = 0; i < STRIP; i += HALF)
    _mm512_storeu_ps(m->minus_most + i,
                     _mm512_mul_ps(of_each_row(false, w->most + i * HALF), _mm512_set1_ps(-m->e.scale)));
  for (int i = 0; i < STRIP * HALF; i += HALF) _mm512_store_ps(w->sum + i, _mm512_setzero_ps());
  m->strip = strip;
  m->e.p = w->p[strip % 2];
  m->e.row = 0;
  m->e.rows = (int)smaller(g->tokens - strip * STRIP, STRIP);
  m->e.left = g->strips;
}

/** P and its sums again, with the maximum over all keys subtracted in the rows of `far`: the maximum of the first keys
 * is far below it. */
__attribute__((noinline)) KERNEL_TARGET static void exponents_again(const geometry *g, const forward_views *w,
                                                                    meanwhile *m, uint32_t far)
{
  const int64_t strip = m->strip, units = g->steps * STEP;
  exponents e = m->e;
  for (int i = 0; i < STRIP * HALF; i += HALF) _mm512_store_ps(w->most + i, _mm512_set1_ps(-INFINITY));
  for (int64_t j = 0; j < g->strips; j++) {
    float *s = w->all_s + j * SUMS;
    multiply(s, w->q + strip * g->steps * STEP_WORDS, columns_at(w->k, units, j * STRIP), g->steps, e.rows > HALF,
             g->tokens - j * STRIP > HALF);
    if (g->tokens - j * STRIP < STRIP) forget_keys(s, g->tokens - j * STRIP);
    raise_most(w->most, s);
  }
  for (int i = 0; i < STRIP; i += HALF)
    _mm512_mask_storeu_ps(m->minus_most + i, (__mmask16)(far >> i),
                          _mm512_mul_ps(of_each_row(false, w->most + i * HALF), _mm512_set1_ps(-e.scale)));
  for (int i = 0; i < STRIP * HALF; i += HALF) _mm512_store_ps(w->sum + i, _mm512_setzero_ps());
  e.s = w->all_s, e.end = NULL, e.p = w->p[strip % 2], e.row = 0, e.left = e.ready = g->strips;
  while (e.left) some_exponents(&e);
}

/** Once P is complete: the factors of O, and lse [rows] unless NULL. */
INLINE void end_exponents(const geometry *g, const forward_views *w, meanwhile *m, float *lse)
{
  const __m512 large = _mm512_set1_ps(0x1p60f);
  const int rows = m->e.rows;
  float *factor = m->factor[m->strip % 2];
  uint32_t far = 0;
  for (int i = 0; i < rows; i += HALF)
    far |= (uint32_t)_mm512_mask_cmp_ps_mask(lanes(rows - i), of_each_row(true, w->sum + i * HALF), large, _CMP_NLE_UQ)
           << i;
  if (far) exponents_again(g, w, m, far);
  for (int i = 0; i < rows; i += HALF) {
    const __m512 sum = of_each_row(true, w->sum + i * HALF), most = _mm512_loadu_ps(m->minus_most + i);
    _mm512_storeu_ps(factor + i, _mm512_div_ps(_mm512_set1_ps(1.0f), sum));
    const __m512 ln2 = _mm512_set1_ps(0.69314718055994530942f);
    if (lse)
      _mm512_mask_storeu_ps(lse + m->strip * STRIP + i, lanes(rows - i), _mm512_fnmadd_ps(most, ln2, logarithm(sum)));
  }
}

/** The strip's P is complete once all its blocks are formed; the next one begins when its first block of S is there. */
INLINE void next_exponents(const geometry *g, const forward_views *w, meanwhile *m, float *lse)
{
  if (m->e.left) return;
  if (m->is_open) end_exponents(g, w, m, lse);
  m->is_open = m->e.ready > 0;
  if (m->is_open) begin_exponents(g, w, m->strip + 1, m);
}

/** S of a strip of queries for blocks [first, last) of keys, into the ring. */
INLINE void scores(const geometry *g, const forward_views *w, int64_t strip, int64_t first, int64_t last, meanwhile *m,
                   float *lse, int64_t *slot)
{
  const int64_t units = g->steps * STEP;
  const bool has_low = g->tokens - strip * STRIP > HALF;
  for (int64_t j = first; j < last; j++) {
    const uint32_t *a = w->q + strip * g->steps * STEP_WORDS, *b = columns_at(w->k, units, j * STRIP);
    const bool has_right = g->tokens - j * STRIP > HALF;
    float *s = w->s + *slot * SUMS;
    while (m->e.ready == RING) {
      some_exponents(&m->e);
      next_exponents(g, w, m, lse);
    }
    tile_begin_sums(NULL);
    for (int64_t t = 0; t < g->steps; t++, a += STEP_WORDS, b += STEP * PANEL) {
      multiply_step(a, b, has_low, has_right);
      do_some(m);
    }
    tile_store_sums(s);
    next_exponents(g, w, m, lse);
    if (g->tokens - j * STRIP < STRIP) forget_keys(s, g->tokens - j * STRIP);
    m->e.ready++;
    *slot = *slot + 1 == RING ? 0 : *slot + 1;
  }
}

/** 32 columns of O of a strip from its P, to be written later. */
INLINE void weighted_sums(const geometry *g, const attention_head *h, const forward_views *w, int64_t strip, int64_t d,
                          meanwhile *m)
{
  const int rows = (int)smaller(g->tokens - strip * STRIP, STRIP);
  const uint32_t *a = w->p[strip % 2], *b = columns_at(w->v, g->strips * STEP, d);
  float *o = w->o;
  syz_bf16 *out = (syz_bf16 *)h->out + strip * STRIP * h->row + d;
  const int fetched = (int)syz_ceil_div(STRIP, g->strips);
  int row = 0;
  const bool has_right = g->dim - d > HALF;
  tile_begin_sums(NULL);
  for (int64_t t = 0; t < g->strips; t++, a += STEP_WORDS, b += STEP * PANEL) {
    multiply_step(a, b, rows > HALF, has_right);
    for (int r = 0; r < fetched && row < rows; r++, row++) __builtin_prefetch(out + row * h->row, 1, 3);
    do_some(m);
  }
  write_some(&m->u, STRIP);
  tile_store_sums(o);
  m->u = (unwritten){out, h->row, o, m->factor[strip % 2], rows, (int)smaller(g->dim - d, STRIP)};
}

/** P of a strip is formed, a few rows after each step, while the tiles form S of this strip and O of the previous strip
 * in turn. */
KERNEL_TARGET static void forward(const attention_head *h, void *scratch)
{
  const geometry g = geometry_of(h->tokens, h->dim);
  syz_arena arena = {.base = scratch, .size = SIZE_MAX};
  const forward_views w = forward_layout(&g, &arena);
  meanwhile m = {.chunks = (int)syz_ceil_div(STRIP / CHUNK, 2 * g.steps), .strip = -1};
  int64_t slot = 0;
  m.f = fetching_of(h, false);
  m.pieces = (int)syz_ceil_div(3 * g.tokens, (2 * g.strips - 1) * g.strips * g.steps);
  m.e = (exponents){.s = w.s, .begin = w.s, .end = w.s + RING * SUMS, .sum = w.sum, .minus_most = m.minus_most};
  m.e.scale = (float)(1.44269504088896340736 / sqrt((double)g.dim)); /* scores in powers of two */
  pack_left(&g, w.q, h->q, h->in);
  pack_right(&g, w.k, h->k, h->in);
  pack_right_across(&g, w.v, h->v, h->in);
  if (g.strips <= 2) /* rows beyond the last query */
    for (int i = 0; i < 2; i++) memset(w.p[i], 0, (size_t)(g.strips * STEP_WORDS) * sizeof *w.p[i]);
  tile_begin();
  for (int64_t i = 0; i <= g.strips; i++) {
    for (int64_t n = 0; n < g.steps; n++) {
      if (i < g.strips) scores(&g, &w, i, n * g.strips / g.steps, (n + 1) * g.strips / g.steps, &m, h->lse, &slot);
      if (i == 0) continue;
      if (n == 0) {
        while (m.strip < i - 1 || (m.strip == i - 1 && m.is_open)) {
          some_exponents(&m.e);
          next_exponents(&g, &w, &m, h->lse);
        }
        tile_written();
      }
      weighted_sums(&g, h, &w, i - 1, n * STRIP, &m);
    }
  }
  write_some(&m.u, STRIP);
  tile_end();
}

/* ------------------------------------------------------------- backward */

typedef struct backward_views {
  uint32_t *k, *v, *k_across;                  /* left */
  uint32_t *q, *dout, *q_across, *dout_across; /* right */
  uint32_t *p, *ds, *ds_pairs;                 /* of a strip of keys: left, left; of a block: right */
  float *s, *dp, *sums[2], *dq, *minus_lse, *delta;
} backward_views;

static backward_views backward_layout(const geometry *g, syz_arena *a)
{
  backward_views v;
  const size_t word = sizeof(uint32_t), left = (size_t)(g->strips * g->steps * STEP_WORDS),
               queries = (size_t)(g->strips * STRIP);
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
  for (int i = 0; i < 2; i++) v.sums[i] = syz_arena_take(a, (size_t)(g->steps * SUMS), word);
  v.dq = syz_arena_take(a, (size_t)(g->steps * g->strips * SUMS), word);
  v.minus_lse = syz_arena_take(a, queries, word);
  v.delta = syz_arena_take(a, queries, word);
  return v;
}

/** delta[t] = sum_d dout[t, d] out[t, d]. */
KERNEL_TARGET static void row_products(const geometry *g, float *delta, const syz_bf16 *x, const syz_bf16 *y,
                                       int64_t stride)
{
  for (int64_t t = 0; t < g->tokens; t++) {
    __m512 sum = _mm512_setzero_ps();
    for (int64_t d = 0; d < g->dim; d += HALF) {
      const __mmask16 mask = lanes(g->dim - d);
      const __m256i a = _mm256_maskz_loadu_epi16(mask, x + t * stride + d),
                    b = _mm256_maskz_loadu_epi16(mask, y + t * stride + d);
      sum = _mm512_fmadd_ps(_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(a), 16)),
                            _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(b), 16)), sum);
    }
    delta[t] = _mm512_reduce_add_ps(sum);
  }
}

/** P^T and dS^T of 32 keys by 32 queries while they are formed: steps of tiles, and pairs of keys at `pairs`. The first
 * `keys` keys exist; the others give zero. */
typedef struct gradients {
  uint32_t *p, *ds, *pairs;
  const float *s, *dp, *minus_lse, *delta;
  float scale;
  int row, keys;
} gradients;

/** Two rows of them. In a step of pairs, queries 0 to 3, 8 to 11, 16 to 19, 24 to 27 of 32 are in the first tile, the
 * others in the second. */
INLINE void two_gradients(gradients *g, const bool exist)
{
  const int row = g->row;
  const __m512 c = _mm512_set1_ps(g->scale);
  __m512 x[2][2], y[2][2];
  for (int half = 0; half < 2; half++) {
    const __m512 shift = _mm512_load_ps(g->minus_lse + half * HALF), d = _mm512_load_ps(g->delta + half * HALF);
    for (int i = 0; i < 2; i++) {
      x[i][half] = attention_exp2(_mm512_fmadd_ps(_mm512_load_ps(at_row(g->s, row + i, half)), c, shift));
      if (!exist) x[i][half] = _mm512_maskz_mov_ps(row + i < g->keys ? 0xffff : 0, x[i][half]);
      y[i][half] = _mm512_mul_ps(x[i][half], _mm512_sub_ps(_mm512_load_ps(at_row(g->dp, row + i, half)), d));
    }
  }
  __m512i rounded[2];
  for (int i = 0; i < 2; i++) {
    rounded[i] = (__m512i)_mm512_cvtne2ps_pbh(y[i][1], y[i][0]);
    _mm512_store_si512(g->p + (row + i) * STEP, (__m512i)_mm512_cvtne2ps_pbh(x[i][1], x[i][0]));
    _mm512_store_si512(g->ds + (row + i) * STEP, rounded[i]);
  }
  uint32_t *pairs = g->pairs + row / 2 * STEP;
  _mm512_store_si512(pairs, _mm512_unpacklo_epi16(rounded[0], rounded[1]));
  _mm512_store_si512(pairs + TILE_WORDS, _mm512_unpackhi_epi16(rounded[0], rounded[1]));
}

INLINE void some_gradients(gradients *g, int rows)
{
  for (const int end = (int)smaller(g->row + rows, STRIP); g->row < end; g->row += 2) {
    if (g->row + 2 <= g->keys)
      two_gradients(g, true);
    else
      two_gradients(g, false);
  }
}

/** dV and dK of a strip of keys, and its rows of dS^T at `pairs` (step s of the block). */
KERNEL_TARGET static void backward_strip(const geometry *g, const attention_head *h, const backward_views *w,
                                         int64_t strip, int64_t in_block, int64_t block_units, fetching *f, int pieces)
{
  const float root = (float)(1.0 / sqrt((double)g->dim)),
              scale = (float)(1.44269504088896340736 / sqrt((double)g->dim));
  const int keys = (int)smaller(g->tokens - strip * STRIP, STRIP),
            rows = (int)syz_ceil_div(STRIP / 2, 2 * g->steps) * 2;
  const int64_t units = g->steps * STEP, left = strip * g->steps * STEP_WORDS;
  const int64_t pass = syz_ceil_div(g->strips, syz_ceil_div(g->strips, PASS));
  const int fetched = (int)syz_ceil_div(STRIP, pass);
  float factor_k[STRIP], factor_v[STRIP];
  for (int r = 0; r < STRIP; r++) factor_k[r] = root, factor_v[r] = 1;
  gradients e = {.row = STRIP, .keys = keys, .scale = scale};
  for (int64_t j = 0; j < g->strips; j++) { /* products run one strip of queries ahead of the vector work */
    const int64_t at = j * STRIP;
    const bool has_right = g->tokens - at > HALF;
    for (int second = 0; second < 2; second++) {
      const uint32_t *a = (second ? w->v : w->k) + left, *b = columns_at(second ? w->dout : w->q, units, at);
      tile_begin_sums(NULL);
      for (int64_t t = 0; t < g->steps; t++, a += STEP_WORDS, b += STEP * PANEL) {
        multiply_step(a, b, keys > HALF, has_right);
        some_gradients(&e, rows);
        fetch_some(f, pieces);
      }
      tile_store_sums((second ? w->dp : w->s) + j % 2 * SUMS);
    }
    some_gradients(&e, STRIP);
    e.p = w->p + j * STEP_WORDS;
    e.ds = w->ds + j * STEP_WORDS;
    e.pairs = w->ds_pairs + at / PANEL * PANEL * block_units + syz_panel_at(true, in_block * STEP, at % PANEL);
    e.s = w->s + j % 2 * SUMS;
    e.dp = w->dp + j % 2 * SUMS;
    e.minus_lse = w->minus_lse + at;
    e.delta = w->delta + at;
    e.row = 0;
  }
  some_gradients(&e, STRIP);
  tile_written();
  unwritten u = {.rows = 0};
  for (int second = 0; second < 2; second++)
    for (int64_t first_step = 0; first_step < g->strips; first_step += pass)
      for (int64_t d = 0; d < g->dim; d += STRIP) {
        const int64_t steps = smaller(g->strips - first_step, pass);
        const bool is_last = first_step + steps == g->strips, has_right = g->dim - d > HALF;
        const uint32_t *a = (second ? w->ds : w->p) + first_step * STEP_WORDS;
        const uint32_t *b =
            columns_at(second ? w->q_across : w->dout_across, g->strips * STEP, d) + first_step * STEP * PANEL;
        float *sum = w->sums[second] + d / STRIP * SUMS;
        syz_bf16 *to = (syz_bf16 *)(second ? h->dk : h->dv) + strip * STRIP * h->in + d;
        int row = is_last ? 0 : keys;
        tile_begin_sums(first_step ? sum : NULL);
        for (int64_t t = 0; t < steps; t++, a += STEP_WORDS, b += STEP * PANEL) {
          multiply_step(a, b, keys > HALF, has_right);
          for (int r = 0; r < fetched && row < keys; r++, row++) __builtin_prefetch(to + row * h->in, 1, 3);
          write_some(&u, fetched);
          fetch_some(f, pieces);
        }
        tile_store_sums(sum);
        if (!is_last) continue;
        write_some(&u, STRIP);
        u = (unwritten){to, h->in, sum, second ? factor_k : factor_v, keys, (int)smaller(g->dim - d, STRIP)};
      }
  write_some(&u, STRIP);
}

/** Transposed sums of dQ still to be written: 32 columns, 32 tokens. */
typedef struct transposed {
  const float *sum;
  syz_bf16 *to;
  int64_t ld;
  int columns, tokens, quarters; /* quarters left */
  float factor;
} transposed;

/** Writes the next quarter of them. */
INLINE void write_quarter(transposed *w)
{
  if (!w->quarters) return;
  const int quarter = 4 - w->quarters--, down = quarter % 2 * HALF, half = quarter / 2; /* of columns, of tokens */
  const __mmask16 mask = lanes(w->columns - down);
  const float *sum = at_row(w->sum, down, half);
  syz_bf16 *to = w->to + down;
  __m512i r[HALF];
  for (int i = 0; i < HALF; i++) r[i] = _mm512_load_si512(sum + i * HALF);
  transpose16(r);
  for (int i = 0; i < HALF; i++) {
    const int token = i / 4 * 8 + half * 4 + i % 4; /* see two_gradients */
    const __m512 x = _mm512_mul_ps(_mm512_castsi512_ps(r[i]), _mm512_set1_ps(w->factor));
    if (token < w->tokens) _mm256_mask_storeu_epi16(to + token * w->ld, mask, (__m256i)_mm512_cvtneps_pbh(x));
  }
}

/** Adds the contribution of a block of strips of keys to dQ^T; the last one's sums are written while the next ones are
 * formed. */
KERNEL_TARGET static void add_dq(const geometry *g, const attention_head *h, const backward_views *w, int64_t first,
                                 int64_t strips)
{
  const bool is_last = first + strips == g->strips;
  transposed u = {.quarters = 0};
  for (int64_t d = 0; d < g->steps; d++)
    for (int64_t j = 0; j < g->strips; j++) {
      const uint32_t *a = w->k_across + (d * g->strips + first) * STEP_WORDS,
                     *b = columns_at(w->ds_pairs, strips * STEP, j * STRIP);
      const int columns = (int)smaller(g->dim - d * STRIP, STRIP), tokens = (int)smaller(g->tokens - j * STRIP, STRIP);
      float *sum = w->dq + (d * g->strips + j) * SUMS;
      syz_bf16 *to = (syz_bf16 *)h->dq + j * STRIP * h->in + d * STRIP;
      const int fetched = (int)syz_ceil_div(STRIP, strips);
      int row = is_last ? 0 : tokens;
      tile_begin_sums(first ? sum : NULL);
      for (int64_t t = 0; t < strips; t++, a += STEP_WORDS, b += STEP * PANEL) {
        multiply_step(a, b, columns > HALF, true);
        for (int r = 0; r < fetched && row < tokens; r++, row++) __builtin_prefetch(to + row * h->in, 1, 3);
        write_quarter(&u);
      }
      tile_store_sums(sum);
      if (!is_last) continue;
      while (u.quarters) write_quarter(&u);
      u = (transposed){sum, to, h->in, columns, tokens, 4, (float)(1.0 / sqrt((double)g->dim))};
    }
  while (u.quarters) write_quarter(&u);
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
  fetching f = fetching_of(h, true);
  const int pieces = (int)syz_ceil_div(5 * g.tokens, 4 * g.strips * g.strips * g.steps);
  if (g.tokens * g.dim > FETCHED) f.rows = 0;
  for (int64_t first = 0; first < g.strips; first += BLOCK_STRIPS) {
    const int64_t strips = smaller(g.strips - first, BLOCK_STRIPS), units = strips * STEP;
    for (int64_t i = 0; i < strips; i++) backward_strip(&g, h, &w, first + i, i, units, &f, pieces);
    tile_written();
    add_dq(&g, h, &w, first, strips);
  }
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
