/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The attention algorithm in terms of a few vector operations; each attention_<instruction set>.c defines these and
 * includes this file once.
 *
 * The includer provides, all with the function attribute KERNEL:
 *   LANES, vec                 float32 lanes of a vector, its type
 *   PAIR, element              elements in a 32-bit unit (bfloat16: 2, float32: 1), their type
 *   ROWS, VECTORS              the register tile: ROWS x VECTORS vectors of sums, ROWS even and a divisor of LANES
 *   v_zero v_set1 v_load v_store v_add v_sub v_mul v_max v_fma(a, b, c) = a b + c
 *   v_exp2(x)                  2^x for x <= 0 or a little above; at least -infinity gives a value that vanishes
 *   unit_vec                   a unit in each lane; u_load, u_store, u_broadcast
 *   u_dot(c, a, b)             adds to lane i of c the products of lane i's units
 *   u_transpose(dst, ld, src, stride)   dst[u * ld + i] = unit u of row i, LANES x LANES; src rows `stride` bytes apart
 *   u_interleave(dst, even, odd)        only PAIR = 2: dst[d] = (even[d], odd[d]), d < LANES
 *   e_row(dst, x)              LANES float32 rounded to elements in a row
 *   e_pair(dst, even, odd)     only PAIR = 2: lane i's unit is (even[i], odd[i])
 *   e_part(dst, x, n)          the first n < LANES lanes of e_row
 *
 * Method. All products are one micro-kernel: a tile of ROWS rows (units broadcast from A) by up to VECTORS vectors of
 * columns (lanes of B), summed over units, in registers. Scores are made transposed, keys down and a panel of queries
 * along the lanes, so that maximum, sum and exponential of a query run lane by lane, with no horizontal step: S^T [key,
 * query] = K Q^T, A = rows of K, B = the queries of one panel, transposed. Forward, for a panel of queries (B stays in
 * L1): for blocks of keys, S^T, softmax with running maximum (Milakov & Gimelshein 2018, arXiv:1805.02867; Dao et al.
 * 2022, arXiv:2205.14135), P in place of S^T in the units that the second product reads: O [query, d] = P V, A = P
 * (rows are neighbours in memory), B = V by pairs of keys. When all keys fit one block nothing is ever rescaled.
 * Backward, for a block of keys, for a block of queries: P = exp(S - lse) again, dP^T = V dO^T by the same tile, dS = P
 * (dP - D) with D = sum_d dO O (the row sum of P dP), and dV [key, d] += P^T dO, dK [key, d] += dS^T Q, dQ [query, d]
 * += dS K. That is 10 T^2 Dh operations. Stated speeds of the backward pass count 8, without the scores that are
 * computed again.
 *
 * Measured on one Zen 5 core in bfloat16, 778 tokens, heads of 128, against the register tile alone on cached data (100
 * %): forward 82 %, backward 82 % (66 % counted). The rest, forward: exponentials 5 %, packing 7 %, sums of O in and
 * out of registers 3 %. 144 tokens, heads of 64: 68 % and 66 % (53 %). Tried without gain: prefetching the rows to be
 * packed or those of the next head, blocks of 96 to 784 keys.
 *
 * The order of additions depends on tokens and dim only.
 */

#include <math.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline)) KERNEL
#define OUTLINED static __attribute__((noinline)) KERNEL

enum {
  PANEL = VECTORS * LANES, /* queries of a panel */
  FORWARD_KEYS = 264,      /* most keys of a block; 144 to 392 are equally fast to 2 % */
  BACKWARD_KEYS =
      144, /* most keys and queries of a block of the backward pass: P and dS of a block are 124 KiB of L2 */
  BACKWARD_PANELS = 3,
  BLOCK_LANES = BACKWARD_PANELS * PANEL,
  BLOCK_UNITS = BLOCK_LANES / PAIR,
};

/* ------------------------------------------------------------- geometry */

static inline int64_t ceil_divide(int64_t n, int64_t d) { return (n + d - 1) / d; }
/** Where part i of `parts` near-equal parts of n begins; the larger parts come first. */
static inline int64_t part_start(int64_t n, int64_t parts, int64_t i)
{
  int64_t larger = n % parts;
  return i * (n / parts) + (i < larger ? i : larger);
}

typedef struct geometry {
  int64_t tokens, dim;
  int64_t dim_units, dim_vectors, dim_panels, dim_lanes;
  int64_t tiles;                  /* of ROWS keys */
  int64_t vectors, panels, lanes; /* of queries */
} geometry;

static geometry geometry_of(int64_t tokens, int64_t dim)
{
  geometry g = {.tokens = tokens, .dim = dim};
  g.dim_units = ceil_divide(dim, PAIR);
  g.dim_vectors = ceil_divide(dim, LANES);
  g.dim_panels = ceil_divide(g.dim_vectors, VECTORS);
  g.dim_lanes = g.dim_vectors * LANES;
  g.tiles = ceil_divide(tokens, ROWS);
  g.vectors = ceil_divide(tokens, LANES);
  g.panels = ceil_divide(g.vectors, VECTORS);
  g.lanes = g.vectors * LANES;
  return g;
}

/** A run of tokens cut at tile or vector borders. */
typedef struct range {
  int64_t start, count; /* tokens that exist */
  int64_t padded;       /* up to the border */
} range;

static range range_of(int64_t tokens, int64_t border, int64_t items, int64_t parts, int64_t i)
{
  range r = {.start = part_start(items, parts, i) * border};
  int64_t end = part_start(items, parts, i + 1) * border;
  r.padded = end - r.start;
  r.count = (end < tokens ? end : tokens) - r.start;
  return r;
}

/** Columns of d: vectors [first, first + count) of dim_vectors. */
static inline int64_t dim_panel_vectors(const geometry *g, int64_t p, int64_t *first)
{
  *first = part_start(g->dim_vectors, g->dim_panels, p);
  return part_start(g->dim_vectors, g->dim_panels, p + 1) - *first;
}

/* -------------------------------------------------------------- packing */

/** Rows for the broadcast side: copied, dim_units apart. Missing rows of the last tile repeat the last token, so that
 * only values of real tokens enter a maximum. They are copied because rows 3 N Dh apart would fall into few cache sets.
 */
OUTLINED void pack_rows(const geometry *g, uint32_t *dst, const element *x, int64_t stride)
{
  for (int64_t t = 0; t < g->tiles * ROWS; t++, dst += g->dim_units) {
    const element *from = x + (t < g->tokens ? t : g->tokens - 1) * stride;
    int64_t d = 0;
    for (; d + LANES * PAIR <= g->dim; d += LANES * PAIR)
      u_store(dst + d / PAIR, u_load((const uint32_t *)(const void *)(from + d)));
    if (d == g->dim) continue;
    dst[g->dim_units - 1] = 0; /* an odd last bfloat16 is paired with zero */
    memcpy(dst + d / PAIR, from + d, (size_t)(g->dim - d) * sizeof *from);
  }
}

/** LANES tokens by the units of d from `d` on, transposed through a zero-filled square where tokens or units end. */
OUTLINED void pack_corner(const geometry *g, uint32_t *dst, ptrdiff_t ld, const element *x, int64_t stride,
                          int64_t rows, int64_t d)
{
  enum { WIDTH = LANES * PAIR };
  element square[LANES][WIDTH];
  uint32_t transposed[LANES][LANES];
  int64_t width = g->dim - d < WIDTH ? g->dim - d : WIDTH, units = ceil_divide(width, PAIR);
  memset(square, 0, sizeof square);
  for (int64_t i = 0; i < rows; i++) memcpy(square[i], x + i * stride + d, (size_t)width * sizeof *x);
  u_transpose(transposed[0], LANES, square, sizeof square[0]);
  for (int64_t u = 0; u < units; u++) memcpy(dst + (d / PAIR + u) * ld, transposed[u], sizeof transposed[u]);
}

/** A panel of tokens for the lane side: [unit of d][lane]; missing tokens are zero. */
OUTLINED void pack_lanes(const geometry *g, uint32_t *dst, const element *x, int64_t stride, range r)
{
  enum { WIDTH = LANES * PAIR };
  for (int64_t t = 0; t < r.padded; t += LANES) {
    const element *from = x + (r.start + t) * stride;
    int64_t rows = r.count - t < LANES ? r.count - t : LANES;
    for (int64_t d = 0; d < g->dim; d += WIDTH) {
      if (rows == LANES && d + WIDTH <= g->dim)
        u_transpose(dst + d / PAIR * r.padded + t, r.padded, from + d, stride * (ptrdiff_t)sizeof *x);
      else
        pack_corner(g, dst + t, r.padded, from, stride, rows, d);
    }
  }
}

/** A block of tokens for the lane side of a sum over tokens: [panel of d][unit of tokens][lane]; `dst` is the block's
 * place in an array of lane-wide rows for all tokens. Rows up to r.padded are filled, with zeros beyond the tokens. */
OUTLINED void pack_columns(const geometry *g, uint32_t *dst, const element *x, int64_t stride, range r)
{
  const int64_t units = r.padded / PAIR, filled = ceil_divide(r.count, PAIR);
  for (int64_t p = 0; p < g->dim_panels; p++) {
    int64_t first, ld = LANES * dim_panel_vectors(g, p, &first), d = first * LANES;
    int64_t columns = g->dim - d < ld ? g->dim - d : ld;
    for (int64_t u = 0; u < filled; u++) {
      const element *row = x + (r.start + u * PAIR) * stride + d;
      uint32_t *to = dst + u * ld;
      int64_t c = 0;
#if PAIR == 2
      const element zeros[LANES] = {{0}};
      bool is_pair = 2 * u + 1 < r.count;
      for (; c + LANES <= columns; c += LANES) u_interleave(to + c, row + c, is_pair ? row + stride + c : zeros);
      for (; c < columns; c++) to[c] = (uint32_t)row[c].bits | (is_pair ? (uint32_t)row[stride + c].bits << 16 : 0u);
#else
      for (; c + LANES <= columns; c += LANES) v_store((float *)(void *)(to + c), v_load(row + c));
      for (; c < columns; c++) memcpy(to + c, row + c, sizeof *to);
#endif
      for (; c < ld; c++) to[c] = 0;
    }
    memset(dst + filled * ld, 0, (size_t)((units - filled) * ld) * sizeof *dst);
    dst += units * ld;
  }
}

/* --------------------------------------------------------- micro-kernel */

/** c[i][j] = sum over `steps` units of A[i] B[j]: A at a + i row + k step, B at b + k n LANES + j LANES. n is a
 * constant of the caller. */
INLINE void product(const int n, const uint32_t *a, ptrdiff_t row, ptrdiff_t step, const uint32_t *b, int64_t steps,
                    vec c[ROWS][VECTORS])
{
  for (int i = 0; i < ROWS; i++)
    for (int j = 0; j < n; j++) c[i][j] = v_zero();
#pragma GCC unroll 4
  for (int64_t k = 0; k < steps; k++) {
    unit_vec bk[VECTORS];
    for (int j = 0; j < n; j++) bk[j] = u_load(b + j * LANES);
    for (int i = 0; i < ROWS; i++) {
      unit_vec ai = u_broadcast(a + i * row);
      for (int j = 0; j < n; j++) c[i][j] = u_dot(c[i][j], ai, bk[j]);
    }
    a += step;
    b += n * LANES;
  }
}

/** Calls name(n, ...) with n a constant: the compiler makes a version for each width of a panel. The includer has its
 * own for more than 3. */
#ifndef FOR_WIDTH
#define FOR_WIDTH(n, name, ...)                                                                                        \
  do {                                                                                                                 \
    if ((n) == 1)                                                                                                      \
      name(1, __VA_ARGS__);                                                                                            \
    else if ((n) == 2)                                                                                                 \
      name(2, __VA_ARGS__);                                                                                            \
    else                                                                                                               \
      name(3, __VA_ARGS__);                                                                                            \
  } while (0)
#endif

/* -------------------------------------------------------------- forward */

/** Running softmax of the queries of a panel: base-2 maximum, sum of exponentials relative to it, and the factor by
 * which earlier sums are multiplied before the current block is added. */
typedef struct softmax_state {
  float max[PANEL], sum[PANEL], factor[PANEL];
} softmax_state;

/** s [key][query] for the tiles of a block, and the largest score of each query. */
INLINE void scores_of(const int n, float *s, vec top[VECTORS], const uint32_t *k, const uint32_t *q, int64_t tiles,
                      int64_t dim_units)
{
  for (int64_t t = 0; t < tiles; t++) {
    vec c[ROWS][VECTORS];
    product(n, k + t * ROWS * dim_units, dim_units, 1, q, dim_units, c);
    for (int j = 0; j < n; j++) {
      vec m = c[0][j];
      for (int i = 1; i < ROWS; i++) m = v_max(m, c[i][j]);
      top[j] = v_max(top[j], m);
    }
    for (int i = 0; i < ROWS; i++)
      for (int j = 0; j < n; j++) v_store(s + ((t * ROWS + i) * n + j) * LANES, c[i][j]);
  }
}

/** s becomes P, in units of neighbouring keys, in place: a pair of rows of scores makes one row of units or two, so no
 * row is overwritten before it is read. An odd last key is paired with zero. */
INLINE void softmax_of(const int n, float *s, softmax_state *state, const vec top[VECTORS], float scale, int64_t keys)
{
  vec minus_max[VECTORS], sum[VECTORS];
  const vec c = v_set1(scale);
  for (int j = 0; j < n; j++) {
    vec before = v_load(state->max + j * LANES), max = v_max(before, v_mul(top[j], c)),
        factor = v_exp2(v_sub(before, max));
    v_store(state->max + j * LANES, max);
    v_store(state->factor + j * LANES, factor);
    minus_max[j] = v_sub(v_zero(), max);
    sum[j] = v_mul(v_load(state->sum + j * LANES), factor);
  }
  uint32_t *p = (uint32_t *)(void *)s;
  const float *row = s;
  int64_t i = 0;
  for (; i + 2 <= keys; i += 2, row += 2 * n * LANES) {
    for (int j = 0; j < n; j++) {
      vec even = v_exp2(v_fma(v_load(row + j * LANES), c, minus_max[j]));
      vec odd = v_exp2(v_fma(v_load(row + (n + j) * LANES), c, minus_max[j]));
      sum[j] = v_add(sum[j], v_add(even, odd));
#if PAIR == 2
      e_pair(p + j * LANES, even, odd);
#else
      e_row(p + j * LANES, even);
      e_row(p + (n + j) * LANES, odd);
#endif
    }
    p += 2 / PAIR * n * LANES;
  }
  if (i < keys) {
    for (int j = 0; j < n; j++) {
      vec even = v_exp2(v_fma(v_load(row + j * LANES), c, minus_max[j]));
      sum[j] = v_add(sum[j], even);
#if PAIR == 2
      e_pair(p + j * LANES, even, v_zero());
#else
      e_row(p + j * LANES, even);
#endif
    }
  }
  for (int j = 0; j < n; j++) v_store(state->sum + j * LANES, sum[j]);
}

INLINE void score_block_of(const int n, float *s, softmax_state *state, const uint32_t *k, const uint32_t *q,
                           float scale, int64_t tiles, int64_t keys, int64_t dim_units)
{
  vec top[VECTORS];
  for (int j = 0; j < n; j++) top[j] = v_set1(-INFINITY);
  scores_of(n, s, top, k, q, tiles, dim_units);
  softmax_of(n, s, state, top, scale, keys);
}

OUTLINED void score_block(int64_t n, float *s, softmax_state *state, const uint32_t *k, const uint32_t *q, float scale,
                          int64_t tiles, int64_t keys, int64_t dim_units)
{
  FOR_WIDTH(n, score_block_of, s, state, k, q, scale, tiles, keys, dim_units);
}

/** n vectors of c [tiles * ROWS][ld]: c = A B, c += A B, or, with factor [row], c = factor c + A B. */
INLINE void accumulate_of(const int n, float *c, int64_t ld, const uint32_t *a, ptrdiff_t row, ptrdiff_t step,
                          ptrdiff_t tile, const uint32_t *b, int64_t steps, int64_t tiles, bool is_first,
                          const float *factor)
{
  for (int64_t t = 0; t < tiles; t++, a += tile, c += ROWS * ld) {
    vec sum[ROWS][VECTORS];
    product(n, a, row, step, b, steps, sum);
    if (is_first) {
      for (int i = 0; i < ROWS; i++)
        for (int j = 0; j < n; j++) v_store(c + i * ld + j * LANES, sum[i][j]);
    } else if (!factor) {
      for (int i = 0; i < ROWS; i++)
        for (int j = 0; j < n; j++) v_store(c + i * ld + j * LANES, v_add(v_load(c + i * ld + j * LANES), sum[i][j]));
    } else {
      for (int i = 0; i < ROWS; i++) {
        vec f = v_set1(factor[t * ROWS + i]);
        for (int j = 0; j < n; j++)
          v_store(c + i * ld + j * LANES, v_fma(v_load(c + i * ld + j * LANES), f, sum[i][j]));
      }
    }
  }
}

/** A with adjacent rows (row = 1): P [unit of keys][query]. */
OUTLINED void accumulate_columns(int64_t n, float *c, int64_t ld, const uint32_t *a, ptrdiff_t step, const uint32_t *b,
                                 int64_t steps, int64_t tiles, bool is_first, const float *factor)
{
  FOR_WIDTH(n, accumulate_of, c, ld, a, 1, step, ROWS, b, steps, tiles, is_first, factor);
}

/** A with adjacent units: P^T [key][unit of queries], rows BLOCK_UNITS apart. */
OUTLINED void accumulate_rows(int64_t n, float *c, int64_t ld, const uint32_t *a, const uint32_t *b, int64_t steps,
                              int64_t tiles, bool is_first)
{
  FOR_WIDTH(n, accumulate_of, c, ld, a, BLOCK_UNITS, 1, ROWS * BLOCK_UNITS, b, steps, tiles, is_first, NULL);
}

/** dst[r][d] = factor[r] x[r][d], rounded; factor NULL: `scale` for all. */
OUTLINED void write_rows(const geometry *g, element *dst, int64_t stride, const float *x, const float *factor,
                         float scale, int64_t rows)
{
  for (int64_t r = 0; r < rows; r++, x += g->dim_lanes, dst += stride) {
    vec f = v_set1(factor ? factor[r] : scale);
    int64_t d = 0;
    for (; d + LANES <= g->dim; d += LANES) e_row(dst + d, v_mul(v_load(x + d), f));
    if (d < g->dim) e_part(dst + d, v_mul(v_load(x + d), f), g->dim - d);
  }
}

typedef struct forward_scratch {
  uint32_t *k, *v, *q;
  float *s, *o;
  softmax_state *state;
} forward_scratch;

static forward_scratch forward_layout(const geometry *g, syz_arena *arena)
{
  forward_scratch s;
  size_t width = sizeof(float), padded = (size_t)(g->tiles * ROWS);
  s.k = syz_arena_take(arena, padded * (size_t)g->dim_units, width);
  s.v = syz_arena_take(arena, padded / PAIR * (size_t)g->dim_lanes, width);
  s.q = syz_arena_take(arena, PANEL * (size_t)g->dim_units, width);
  s.s = syz_arena_take(arena, FORWARD_KEYS * PANEL, width);
  s.o = syz_arena_take(arena, PANEL * (size_t)g->dim_lanes, width);
  s.state = syz_arena_take(arena, 1, sizeof *s.state);
  return s;
}

static void forward(const attention_head *h, void *scratch)
{
  const geometry g = geometry_of(h->tokens, h->dim);
  syz_arena arena = {.base = scratch, .size = SIZE_MAX};
  forward_scratch w = forward_layout(&g, &arena);
  const double ln2 = 0.69314718055994530942;
  const float scale = (float)(1.0 / (sqrt((double)g.dim) * ln2)); /* scores in powers of two */
  int64_t blocks = ceil_divide(g.tiles * ROWS, FORWARD_KEYS);
  pack_rows(&g, w.k, h->k, h->in);
  for (int64_t b = 0; b < blocks; b++) {
    range keys = range_of(g.tokens, ROWS, g.tiles, blocks, b);
    pack_columns(&g, w.v + keys.start / PAIR * g.dim_lanes, h->v, h->in, keys);
  }
  for (int64_t panel = 0; panel < g.panels; panel++) {
    range queries = range_of(g.tokens, LANES, g.vectors, g.panels, panel);
    pack_lanes(&g, w.q, h->q, h->in, queries);
    for (int64_t i = 0; i < queries.padded; i++) w.state->max[i] = -INFINITY, w.state->sum[i] = 0.0f;
    for (int64_t b = 0; b < blocks; b++) {
      range keys = range_of(g.tokens, ROWS, g.tiles, blocks, b);
      score_block(queries.padded / LANES, w.s, w.state, w.k + keys.start * g.dim_units, w.q, scale, keys.padded / ROWS,
                  keys.count, g.dim_units);
      const uint32_t *v = w.v + keys.start / PAIR * g.dim_lanes;
      for (int64_t p = 0; p < g.dim_panels; p++) {
        int64_t first, n = dim_panel_vectors(&g, p, &first);
        accumulate_columns(n, w.o + first * LANES, g.dim_lanes, (const uint32_t *)(const void *)w.s, queries.padded,
                           v + first * LANES * (keys.padded / PAIR), ceil_divide(keys.count, PAIR),
                           ceil_divide(queries.count, ROWS), b == 0, w.state->factor);
      }
    }
    for (int64_t i = 0; i < queries.count; i++) {
      if (h->lse) h->lse[queries.start + i] = (float)((double)w.state->max[i] * ln2 + (double)logf(w.state->sum[i]));
      w.state->factor[i] = 1.0f / w.state->sum[i];
    }
    write_rows(&g, (element *)h->out + queries.start * h->row, h->row, w.o, w.state->factor, 1.0f, queries.count);
  }
}

/* ------------------------------------------------------------- backward */

/** P^T and dS^T of a panel of queries by a block of keys. p, ds [key][BLOCK_LANES elements]; ds_pairs [unit of
 * keys][BLOCK_LANES units], which is ds itself in float32. lse in base 2. */
INLINE void probabilities_of(const int n, void *p, void *ds, uint32_t *ds_pairs, const uint32_t *k, const uint32_t *v,
                             const uint32_t *q, const uint32_t *dout, const float *lse, const float *delta, float scale,
                             int64_t tiles, int64_t dim_units)
{
  const vec c = v_set1(scale);
  for (int64_t t = 0; t < tiles; t++) {
    vec s[ROWS][VECTORS];
    float kept[ROWS * PANEL] __attribute__((aligned(64)));
    element *p_tile = (element *)p + t * ROWS * BLOCK_LANES, *ds_tile = (element *)ds + t * ROWS * BLOCK_LANES;
    product(n, k + t * ROWS * dim_units, dim_units, 1, q, dim_units, s);
    for (int j = 0; j < n; j++) {
      vec minus_lse = v_sub(v_zero(), v_load(lse + j * LANES));
      for (int i = 0; i < ROWS; i++) {
        vec x = v_exp2(v_fma(s[i][j], c, minus_lse));
        v_store(kept + (i * n + j) * LANES, x);
        e_row(p_tile + i * BLOCK_LANES + j * LANES, x);
      }
    }
    product(n, v + t * ROWS * dim_units, dim_units, 1, dout, dim_units, s);
    for (int j = 0; j < n; j++) {
      vec d = v_load(delta + j * LANES);
      for (int i = 0; i < ROWS; i += 2) {
        vec even = v_mul(v_load(kept + (i * n + j) * LANES), v_sub(s[i][j], d));
        vec odd = v_mul(v_load(kept + ((i + 1) * n + j) * LANES), v_sub(s[i + 1][j], d));
        e_row(ds_tile + i * BLOCK_LANES + j * LANES, even);
        e_row(ds_tile + (i + 1) * BLOCK_LANES + j * LANES, odd);
#if PAIR == 2
        e_pair(ds_pairs + ((t * ROWS + i) / 2) * BLOCK_LANES + j * LANES, even, odd);
#endif
      }
    }
  }
  (void)ds_pairs;
}

OUTLINED void probabilities(int64_t n, void *p, void *ds, uint32_t *ds_pairs, const uint32_t *k, const uint32_t *v,
                            const uint32_t *q, const uint32_t *dout, const float *lse, const float *delta, float scale,
                            int64_t tiles, int64_t dim_units)
{
  FOR_WIDTH(n, probabilities_of, p, ds, ds_pairs, k, v, q, dout, lse, delta, scale, tiles, dim_units);
}

typedef struct backward_scratch {
  uint32_t *k_rows, *v_rows, *q_lanes, *dout_lanes; /* for S and dP */
  uint32_t *k_columns, *q_columns, *dout_columns;   /* for dQ, dK, dV */
  uint32_t *p, *ds, *ds_pairs;
  float *lse, *delta, *dq, *dk, *dv;
} backward_scratch;

static backward_scratch backward_layout(const geometry *g, syz_arena *arena)
{
  backward_scratch s;
  size_t width = sizeof(float), keys = (size_t)(g->tiles * ROWS), queries = (size_t)g->lanes,
         units = (size_t)g->dim_units, lanes = (size_t)g->dim_lanes;
  s.k_rows = syz_arena_take(arena, keys * units, width);
  s.v_rows = syz_arena_take(arena, keys * units, width);
  s.q_lanes = syz_arena_take(arena, queries * units, width);
  s.dout_lanes = syz_arena_take(arena, queries * units, width);
  s.k_columns = syz_arena_take(arena, keys / PAIR * lanes, width);
  s.q_columns = syz_arena_take(arena, queries / PAIR * lanes, width);
  s.dout_columns = syz_arena_take(arena, queries / PAIR * lanes, width);
  s.p = syz_arena_take(arena, BACKWARD_KEYS * BLOCK_UNITS, width);
  s.ds = syz_arena_take(arena, BACKWARD_KEYS * BLOCK_UNITS, width);
  s.ds_pairs = PAIR == 1 ? s.ds : syz_arena_take(arena, BACKWARD_KEYS / PAIR * BLOCK_LANES, width);
  s.lse = syz_arena_take(arena, queries, width);
  s.delta = syz_arena_take(arena, queries, width);
  s.dq = syz_arena_take(arena, queries * lanes, width);
  s.dk = syz_arena_take(arena, BACKWARD_KEYS * lanes, width);
  s.dv = syz_arena_take(arena, BACKWARD_KEYS * lanes, width);
  return s;
}

/** delta[t] = sum_d dout[t, d] out[t, d], by the products of units that the micro-kernel uses. */
OUTLINED void row_products(const geometry *g, float *delta, const element *x, const element *y, int64_t stride)
{
  enum { STRIDE = LANES * PAIR };
  for (int64_t t = 0; t < g->tokens; t++, x += stride, y += stride) {
    vec sum = v_zero();
    float lane[LANES];
    int64_t d = 0;
    for (; d + STRIDE <= g->dim; d += STRIDE)
      sum =
          u_dot(sum, u_load((const uint32_t *)(const void *)(x + d)), u_load((const uint32_t *)(const void *)(y + d)));
    if (d < g->dim) {
      element end[2][STRIDE] = {{(element){0}}};
      memcpy(end[0], x + d, (size_t)(g->dim - d) * sizeof *x);
      memcpy(end[1], y + d, (size_t)(g->dim - d) * sizeof *y);
      sum = u_dot(sum, u_load((const uint32_t *)(const void *)end[0]), u_load((const uint32_t *)(const void *)end[1]));
    }
    v_store(lane, sum);
    for (int width = LANES / 2; width >= 1; width /= 2)
      for (int j = 0; j < width; j++) lane[j] += lane[j + width];
    delta[t] = lane[0];
  }
}

static void backward(const attention_head *h, void *scratch)
{
  const geometry g = geometry_of(h->tokens, h->dim);
  syz_arena arena = {.base = scratch, .size = SIZE_MAX};
  backward_scratch w = backward_layout(&g, &arena);
  const double log2e = 1.44269504088896340736;
  const float root = (float)(1.0 / sqrt((double)g.dim)), scale = (float)(log2e / sqrt((double)g.dim));
  int64_t key_blocks = ceil_divide(g.tiles * ROWS, BACKWARD_KEYS),
          query_blocks = ceil_divide(g.panels, BACKWARD_PANELS);
  pack_rows(&g, w.k_rows, h->k, h->in);
  pack_rows(&g, w.v_rows, h->v, h->in);
  for (int64_t i = 0; i < key_blocks; i++) {
    range keys = range_of(g.tokens, ROWS, g.tiles, key_blocks, i);
    pack_columns(&g, w.k_columns + keys.start / PAIR * g.dim_lanes, h->k, h->in, keys);
  }
  for (int64_t p = 0; p < g.panels; p++) {
    range queries = range_of(g.tokens, LANES, g.vectors, g.panels, p);
    pack_lanes(&g, w.q_lanes + queries.start * g.dim_units, h->q, h->in, queries);
    pack_lanes(&g, w.dout_lanes + queries.start * g.dim_units, h->dout, h->row, queries);
  }
  row_products(&g, w.delta, h->dout, h->out, h->row);
  for (int64_t i = 0; i < g.lanes; i++) {
    w.lse[i] = i < g.tokens ? (float)((double)h->lse[i] * log2e) : 0.0f;
    if (i >= g.tokens) w.delta[i] = 0.0f;
  }
  for (int64_t kb = 0; kb < key_blocks; kb++) {
    range keys = range_of(g.tokens, ROWS, g.tiles, key_blocks, kb);
    for (int64_t qb = 0; qb < query_blocks; qb++) {
      int64_t first_panel = part_start(g.panels, query_blocks, qb),
              end_panel = part_start(g.panels, query_blocks, qb + 1);
      range block = {.start = LANES * part_start(g.vectors, g.panels, first_panel)};
      block.padded = LANES * part_start(g.vectors, g.panels, end_panel) - block.start;
      block.count = (g.tokens < block.start + block.padded ? g.tokens : block.start + block.padded) - block.start;
      uint32_t *q_columns = w.q_columns + block.start / PAIR * g.dim_lanes;
      uint32_t *dout_columns = w.dout_columns + block.start / PAIR * g.dim_lanes;
      if (kb == 0) {
        pack_columns(&g, q_columns, h->q, h->in, block);
        pack_columns(&g, dout_columns, h->dout, h->row, block);
      }
      for (int64_t p = first_panel; p < end_panel; p++) {
        range queries = range_of(g.tokens, LANES, g.vectors, g.panels, p);
        int64_t at = queries.start - block.start;
        probabilities(queries.padded / LANES, (element *)(void *)w.p + at, (element *)(void *)w.ds + at,
                      w.ds_pairs + at, w.k_rows + keys.start * g.dim_units, w.v_rows + keys.start * g.dim_units,
                      w.q_lanes + queries.start * g.dim_units, w.dout_lanes + queries.start * g.dim_units,
                      w.lse + queries.start, w.delta + queries.start, scale, keys.padded / ROWS, g.dim_units);
      }
      for (int64_t p = 0; p < g.dim_panels; p++) {
        int64_t first, n = dim_panel_vectors(&g, p, &first), d = first * LANES;
        int64_t query_units = block.padded / PAIR, key_units = keys.padded / PAIR, tiles = keys.padded / ROWS;
        accumulate_rows(n, w.dv + d, g.dim_lanes, w.p, dout_columns + d * query_units, query_units, tiles, qb == 0);
        accumulate_rows(n, w.dk + d, g.dim_lanes, w.ds, q_columns + d * query_units, query_units, tiles, qb == 0);
        accumulate_columns(n, w.dq + block.start * g.dim_lanes + d, g.dim_lanes, w.ds_pairs, BLOCK_LANES,
                           w.k_columns + keys.start / PAIR * g.dim_lanes + d * key_units, key_units,
                           ceil_divide(block.count, ROWS), kb == 0, NULL);
      }
    }
    write_rows(&g, (element *)h->dk + keys.start * h->in, h->in, w.dk, NULL, root, keys.count);
    write_rows(&g, (element *)h->dv + keys.start * h->in, h->in, w.dv, NULL, 1.0f, keys.count);
  }
  write_rows(&g, (element *)h->dq, h->in, w.dq, NULL, root, g.tokens);
}

static size_t scratch_bytes(int64_t tokens, int64_t dim, bool trains)
{
  const geometry g = geometry_of(tokens, dim);
  syz_arena one = {0}, other = {0};
  forward_layout(&g, &one);
  if (trains) backward_layout(&g, &other);
  return one.used > other.used ? one.used : other.used;
}
