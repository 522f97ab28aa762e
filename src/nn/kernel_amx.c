/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The own kernels on tiles (AMX): bfloat16 with float32 sums (TDPBF16PS) and 8-bit integers (TDPBUSD).
 *
 * Four tiles hold 32 x 32 sums, two hold a strip of 32 rows of A, two hold 32 columns of B: four products for four
 * loads. A step is 16 units of the summed axis, one tile's depth. A packed is [strip][step][2 tiles of 16 rows][16][16
 * units]; B is panels of 64 columns whose tiles are contiguous (syz_panel_at): the same loop reaches 94 % of the speed
 * of the products alone, but 82 % with tiles in rows of 64 columns.
 *
 * The caches that hold the operands decide the speed. If both come from L2, the loads take as long as the products. So
 * PASS steps of a strip of A (32 KiB) stay in L1 (48 KiB), while all columns of a block of B stream from L2 with the
 * hint not to displace them; then the next steps of the same strip follow. Between passes sums are kept in memory,
 * exactly. The last pass writes its 32 x 32 sums to one of two small buffers, and the vector units finish them (bias,
 * GELU, residual, rounding) a few rows at a time between the products of the next 32 columns. Each line of memory that
 * is fetched from L3 keeps one of the core's 16 line buffers for as long as ten lines of B from L2 do, so lines must be
 * saved: results are written as whole lines, lines to be written are prefetched, and no line of the next strip is
 * fetched twice.
 *
 * Measured on one core of a Xeon at 3.3 GHz, where products alone reach 3,400 GFLOP/s and oneDNN with packed weights at
 * most 1,080: products with their loads 2,700; a whole product of 1152 x 4096 x 1024 with packing of A and bfloat16
 * results 1,390, and 1,540 with the next strip of A prefetched into L2, a line or two per step. Alternatives measured
 * without that prefetch: no hint 1,290; passes of 8 or 32 steps 1,270 and 1,080; all sums through one buffer of a strip
 * 1,285; B in L1 and A streamed 1,020. Fetching B ahead, or writing results past the caches: no difference.
 */
#include "kernel_bf16.h"
#include "kernel_int8.h"
#include "tiles.h"

#undef KERNEL_TARGET
#ifdef SYZ_TILES_EMULATED
#define KERNEL_TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")))
#else
#define KERNEL_TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16," TILE_TARGET)))
#endif
#define KERNEL_GELU_TABLE
#include "kernel_lanes.h"
#include "kernel_end.h"

enum {
  HALF = 16,                            /* rows and columns of a tile */
  STRIP = 2 * HALF,                     /* of C that are formed at once */
  STEP = 16,                            /* units of a step */
  STEP_WORDS = 2 * TILE_WORDS,          /* of packed A */
  PANEL_STEP = STEP * SYZ_TILE_COLUMNS, /* words of a panel of B */
  SUMS = STRIP * STRIP,
  PASS = 16,           /* most steps of a strip that stay in L1 */
  LONGEST = 44 * STEP, /* units of B that stay in L2 with all columns of a block */
  BLOCK = 1 << 20,     /* bytes of such a block */
  ACROSS = (SYZ_KERNEL_ROOM - PASS * STEP_WORDS) / SUMS -
           2, /* 32 x 32 sums of a strip that fit beside the two small buffers and a packed pass */
};

typedef enum number { BF16, INT8 } number;

/** Sums still to be finished, [2 halves][32 rows][16]: the next of the `rows` rows left, and where it is written. */
typedef struct waiting {
  const float *sum;
  char *y, *u; /* advance with the rows; y does not where row_of_y gives its row */
  const float *bias, *scale;
  int rows, n; /* rows left; columns */
  int64_t row, column;
} waiting;

/** 16 sums of integers as numbers: see kernel_int8.h. */
INLINE __m512 widen(const syz_int8_scales *s, const float *sum, int64_t row, int64_t column)
{
  const __m512i zero =
      _mm512_mullo_epi32(_mm512_set1_epi32(s->row_zero[row]), _mm512_loadu_si512(s->column_sum + column));
  const __m512 v = _mm512_cvtepi32_ps(_mm512_sub_epi32(_mm512_load_si512(sum), zero));
  return _mm512_mul_ps(_mm512_mul_ps(v, _mm512_set1_ps(s->row_scale[row])), _mm512_loadu_ps(s->column_scale + column));
}

INLINE __m512 number_of(const number kind, const syz_tile_end *e, const float *sum, int64_t row, int64_t column)
{
  return kind == INT8 ? widen(e->int8, sum, row, column) : _mm512_load_ps(sum);
}

/** Bytes of an element of y. */
INLINE int64_t y_size(const syz_tile_action action)
{
  const bool is_act = action == SYZ_TILE_ACT || action == SYZ_TILE_GELU || action == SYZ_TILE_SLOPE;
  return is_act ? (int64_t)sizeof(syz_bf16) : (int64_t)sizeof(float);
}

/** The sums to be finished: m rows by n columns from (row, column) on. */
INLINE waiting wait_for(const syz_tile_action action, const syz_tile_end *e, const float *sum, int m, int n,
                        int64_t row, int64_t column)
{
  return (waiting){.sum = sum,
                   .y = (char *)e->y + (row * e->ldy + column) * y_size(action),
                   .u = e->u ? (char *)e->u + (row * e->ldu + column) * (int64_t)sizeof(syz_bf16) : NULL,
                   .bias = e->bias ? e->bias + column : NULL,
                   .scale = e->scale ? e->scale + column : NULL,
                   .rows = m,
                   .n = n,
                   .row = row,
                   .column = column};
}

/** Finishes the next `rows` rows. It has few instructions, because instructions between two products delay the next
 * loads of tiles. */
INLINE void end_rows(const number kind, const syz_tile_action action, const syz_tile_end *e, waiting *w, int rows)
{
  for (int r = rows < w->rows ? rows : w->rows; r > 0; r--) {
    const __m512 left = number_of(kind, e, w->sum, w->row, w->column);
    if (w->n == STRIP) {
      const bool leads = action == SYZ_TILE_RESIDUAL && e->row_of_y;
      finish_pair(action, e->is_gelu, left, number_of(kind, e, w->sum + SUMS / 2, w->row, w->column + HALF),
                  leads ? (float *)e->y + e->row_of_y[w->row] * e->ldy + w->column : (void *)w->y, w->u, w->bias,
                  w->scale);
    } else {
      finish(e, action, left, w->row, w->column, false, lanes(w->n));
      if (w->n > HALF)
        finish(e, action, number_of(kind, e, w->sum + SUMS / 2, w->row, w->column + HALF), w->row, w->column + HALF,
               false, lanes(w->n - HALF));
    }
    w->sum += HALF;
    w->y += e->ldy * y_size(action);
    if (w->u) w->u += e->ldu * (int64_t)sizeof(syz_bf16);
    w->row++;
    w->rows--;
  }
}

/** Prefetches the lines that will be written or added to, while their sums are formed: `rows` rows from (row, column)
 * on. */
INLINE void fetch_rows(const syz_tile_action action, const syz_tile_end *e, int64_t row, int rows, int64_t column)
{
  const bool reads_u = action == SYZ_TILE_SLOPE, leads = action == SYZ_TILE_RESIDUAL && e->row_of_y;
  const bool writes_u = (action == SYZ_TILE_GELU || action == SYZ_TILE_RESIDUAL) && e->u;
  for (int64_t r = row; r < row + rows; r++) {
    const char *y = (const char *)e->y + ((leads ? e->row_of_y[r] : r) * e->ldy + column) * y_size(action);
    __builtin_prefetch(y, 1, 3);
    if (y_size(action) == sizeof(float)) __builtin_prefetch(y + HALF * sizeof(float), 1, 3);
    if (reads_u) __builtin_prefetch((const syz_bf16 *)e->u + r * e->ldu + column, 0, 3);
    if (writes_u) __builtin_prefetch((const syz_bf16 *)e->u + r * e->ldu + column, 1, 3);
  }
}

#define DOT_OF(kind, c, a, b)                                                                                          \
  do {                                                                                                                 \
    if ((kind) == BF16)                                                                                                \
      tile_dot_bf16(c, a, b);                                                                                          \
    else                                                                                                               \
      tile_dot_int8(c, a, b);                                                                                          \
  } while (0)

/** The layout of a strip of A, in words: from row to row, from step to step, from strip to strip. */
typedef struct left_form {
  int64_t line, step, strip;
  bool is_packed; /* and padded to whole strips */
} left_form;

INLINE left_form packed_form(int64_t units) { return (left_form){STEP, STEP_WORDS, STRIP * units, true}; }

/** What is prefetched into L2 meanwhile: `lines` rows of the next strip, from `left` on. */
typedef struct fetching {
  const uint32_t *left;
  int64_t line, step;
  int lines;
} fetching;

/** Sums of a strip by 32 columns over some steps: from `from` (NULL: from zero) to `to`, while `rows` rows per step of
 * the previous sums are finished and rows of y are prefetched. has_low, has_right: there are more than 16 rows,
 * columns. */
INLINE void multiply(const number kind, const syz_tile_action action, int64_t steps, left_form form, const uint32_t *a,
                     const uint32_t *b, const float *from, float *to, bool has_low, bool has_right, fetching f,
                     const syz_tile_end *e, waiting *w, int rows, int m, int64_t row, int64_t column)
{
  const int64_t left_line = form.line * (int64_t)sizeof *a;
  tile_begin_sums(from);
  for (int64_t s = 0; s < steps; s++, a += form.step, b += PANEL_STEP) {
    tile_load_once(6, b, TILE_LINE);
    tile_load(4, a, left_line);
    DOT_OF(kind, 0, 4, 6);
    if (has_right) {
      tile_load_once(7, b + TILE_WORDS, TILE_LINE);
      DOT_OF(kind, 1, 4, 7);
    }
    if (has_low) {
      tile_load(5, a + HALF * form.line, left_line);
      DOT_OF(kind, 2, 5, 6);
      if (has_right) DOT_OF(kind, 3, 5, 7);
    }
    for (int i = 0; i < f.lines; i++) __builtin_prefetch(f.left + s * f.step + i * f.line, 0, 2);
    if (rows > 0) {
      const int first = (int)s * rows, some = m - first < rows ? m - first : rows;
      fetch_rows(action, e, row + first, some, column);
      end_rows(kind, action, e, w, rows);
    }
  }
  tile_store_sums(to);
}

INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

/** `steps` steps of a strip of m rows, packed. */
INLINE void pack_pass(uint32_t *to, const uint32_t *a, int64_t stride, int m, int64_t steps)
{
  for (int r = 0; r < STRIP; r++)
    for (int64_t s = 0; s < steps; s++)
      _mm512_store_si512(to + s * STEP_WORDS + r * STEP,
                         r < m ? _mm512_loadu_si512(a + r * stride + s * STEP) : _mm512_setzero_si512());
  tile_written();
}

/** Steps [first, last) of all tiles of the block; `kept` holds the sums of one strip, or of all when is_long. */
INLINE void pieces(const number kind, const syz_tile_action action, int64_t m, int64_t n, int64_t units, int64_t first,
                   int64_t last, bool is_long, left_form form, const uint32_t *a, const uint32_t *b,
                   const syz_tile_end *e, int64_t row, int64_t column, float *kept, float *fresh, uint32_t *last_strip,
                   bool *turn, waiting *w)
{
  const int64_t steps = units / STEP, passes = syz_ceil_div(last - first, PASS),
                pass = syz_ceil_div(last - first, passes);
  const int64_t across = syz_ceil_div(n, STRIP);
  const int rows = last == steps ? (int)syz_ceil_div(STRIP, steps - (first + (passes - 1) * pass)) : 0;
  for (int64_t i = 0; i < m; i += STRIP) {
    float *sums = kept + (is_long ? i / STRIP * across * SUMS : 0);
    const int strip_rows = (int)smaller(m - i, STRIP);
    const bool packs = !form.is_packed && strip_rows < STRIP; /* rows in place end within a tile */
    for (int64_t s = first; s < last; s += pass) {
      const bool is_last = last == steps && s + pass >= last;
      const int64_t now = smaller(last - s, pass);
      const uint32_t *left = a + i / STRIP * form.strip + s * form.step;
      if (packs) {
        pack_pass(last_strip, left, form.line, strip_rows, now);
        left = last_strip;
      }
      for (int64_t j = 0; j < n; j += STRIP) {
        float *at = sums + j / STRIP * SUMS;
        float *to = is_last ? fresh + *turn * SUMS : at;
        const int64_t part = j / STRIP, from = part * STRIP / across,
                      to_row = (part + 1) * STRIP / across; /* of the next strip's rows */
        const fetching f = {a + (i / STRIP + 1) * form.strip + s * form.step + from * form.line, form.line, form.step,
                            (int)(to_row - from)};
        multiply(kind, action, now, packs ? packed_form(units) : form, left,
                 b + j / SYZ_TILE_COLUMNS * SYZ_TILE_COLUMNS * units + s * PANEL_STEP +
                     syz_panel_at(true, 0, j % SYZ_TILE_COLUMNS),
                 s ? at : NULL, to, strip_rows > HALF, n - j > HALF, f, e, w, is_last ? rows : 0, strip_rows, row + i,
                 column + j);
        if (!is_last) continue;
        end_rows(kind, action, e, w, STRIP);
        *w = wait_for(action, e, to, strip_rows, (int)smaller(n - j, STRIP), row + i, column + j);
        *turn = !*turn;
      }
    }
  }
}

INLINE void block_of(const number kind, const syz_tile_action action, int64_t m, int64_t n, int64_t units,
                     const uint32_t *a, int64_t row_stride, const uint32_t *b, const syz_tile_end *to, int64_t row,
                     int64_t column, float *room)
{
  /* Local copies, which no store can change, so the compiler keeps them in registers. */
  const syz_int8_scales scales = kind == INT8 ? *to->int8 : (syz_int8_scales){0};
  syz_tile_end copy = *to;
  copy.int8 = &scales;
  const syz_tile_end *e = &copy;
  const int64_t steps = units / STEP, across = syz_ceil_div(n, STRIP), piece = LONGEST / STEP;
  float *fresh = room + PASS * STEP_WORDS, *kept = fresh + 2 * SUMS;
  const left_form form = row_stride ? (left_form){row_stride, STEP, STRIP * row_stride, false} : packed_form(units);
  const bool is_long = steps > piece;
  const int64_t fit = ACROSS / across * STRIP; /* rows whose sums `kept` holds */
  const int64_t group = is_long ? fit : m;
  waiting w = {0};
  bool turn = false; /* which of the two small buffers is next */
  SYZ_ASSERT(fit >= STRIP && units % STEP == 0);
  tile_begin();
  for (int64_t i = 0; i < m; i += group)
    for (int64_t first = 0; first < steps; first += piece)
      pieces(kind, action, smaller(m - i, group), n, units, first, smaller(steps, first + piece), is_long, form,
             a + i / STRIP * form.strip, b, e, row + i, column, kept, fresh, (uint32_t *)(void *)room, &turn, &w);
  end_rows(kind, action, e, &w, STRIP);
  tile_end();
}

/** One function per action, so that the finishing of sums is compiled into the loop of products. */
#define BLOCK_FOR(KIND, ACTION)                                                                                        \
  __attribute__((noinline)) KERNEL_TARGET static void block_##KIND##_##ACTION(                                         \
      int64_t m, int64_t n, int64_t units, const uint32_t *a, int64_t row_stride, const uint32_t *b,                   \
      const syz_tile_end *e, int64_t row, int64_t column, float *room)                                                 \
  {                                                                                                                    \
    block_of(KIND, SYZ_TILE_##ACTION, m, n, units, a, row_stride, b, e, row, column, room);                            \
  }
#define BLOCKS_FOR(KIND)                                                                                               \
  BLOCK_FOR(KIND, F32)                                                                                                 \
  BLOCK_FOR(KIND, ACT)                                                                                                 \
  BLOCK_FOR(KIND, RESIDUAL)                                                                                            \
  BLOCK_FOR(KIND, GELU)
BLOCKS_FOR(BF16)
BLOCKS_FOR(INT8)
BLOCK_FOR(BF16, GELU_F32)
BLOCK_FOR(BF16, SLOPE)
BLOCK_FOR(BF16, ADD)
BLOCK_FOR(BF16, ADD_ALL)

static void block_bf16(int64_t m, int64_t n, int64_t units, const uint32_t *a, int64_t row_stride, const uint32_t *b,
                       const syz_tile_end *e, int64_t row, int64_t column, float *room)
{
#define CASE(KIND, ACTION)                                                                                             \
  case SYZ_TILE_##ACTION:                                                                                              \
    block_##KIND##_##ACTION(m, n, units, a, row_stride, b, e, row, column, room);                                      \
    break;
  switch (e->action) {
    CASE(BF16, F32)
    CASE(BF16, ACT)
    CASE(BF16, RESIDUAL)
    CASE(BF16, GELU)
    CASE(BF16, GELU_F32)
    CASE(BF16, SLOPE)
    CASE(BF16, ADD)
    CASE(BF16, ADD_ALL)
  }
}

static void block_int8(int64_t m, int64_t n, int64_t units, const uint32_t *a, int64_t row_stride, const uint32_t *b,
                       const syz_tile_end *e, int64_t row, int64_t column, float *room)
{
  switch (e->action) {
    CASE(INT8, F32)
    CASE(INT8, ACT)
    CASE(INT8, RESIDUAL)
    CASE(INT8, GELU)
  default:
    SYZ_ASSERT(!"an action of the forward pass");
  }
}

/* ------------------------------------------------------------- packing A */

/** Rows of whole steps can be read in place, unless the pieces of 32 rows kept in L1 would share few of its sets: that
 * is so when rows are a multiple of 2 KiB apart and only a part of each is read at a time. */
static bool reads_rows(int64_t row_stride, int64_t units)
{
  enum { APART = 512 };
  return units % STEP == 0 && (units <= PASS * STEP || row_stride % APART != 0);
}

/** Rows of k elements of `bytes` bytes each (a step's are 64 bytes), ld elements apart, into a strip: rows beyond m and
 * elements beyond k are zero.
 */
INLINE void pack_strip(uint32_t *panel, const unsigned char *x, int64_t ld, int m, int64_t k, int bytes)
{
  const int64_t row = k * bytes, whole = row / 64 * 64;
  const __mmask64 rest = row > whole ? ~UINT64_C(0) >> (64 - (row - whole)) : 0;
  for (int i = 0; i < STRIP; i++) {
    uint32_t *at = panel + i / HALF * TILE_WORDS + i % HALF * STEP;
    const unsigned char *from = x + i * ld * bytes;
    int64_t s = 0;
    for (; i < m && s < whole; s += 64, at += STEP_WORDS) _mm512_store_si512(at, _mm512_loadu_si512(from + s));
    if (i < m && rest) _mm512_store_si512(at, _mm512_maskz_loadu_epi8(rest, from + s));
    for (; i >= m && s < row; s += 64, at += STEP_WORDS) _mm512_store_si512(at, _mm512_setzero_si512());
  }
}

KERNEL_TARGET static void pack_left_rows_bf16(uint32_t *panel, const void *x, int64_t ld, int m, int64_t k)
{
  pack_strip(panel, x, ld, m, k, (int)sizeof(syz_bf16));
}

KERNEL_TARGET static void pack_left_rows_int8(uint32_t *panel, const void *x, int64_t ld, int m, int64_t k)
{
  pack_strip(panel, x, ld, m, k, 1);
}

/** 16 words of each of 16 rows, transposed into a tile. */
INLINE void put_tile(uint32_t *tile, __m512i r[HALF])
{
  transpose16(r);
  for (int i = 0; i < HALF; i++) _mm512_store_si512(tile + i * STEP, r[i]);
}

/** The lanes of `mask` of rows p, p + 1 of X, joined to units; 0 beyond row k. */
INLINE __m512i units_across(const syz_bf16 *x, int64_t ld, int64_t p, int64_t k, __mmask16 mask)
{
  const syz_bf16 *lo = p < k && mask ? x + p * ld : NULL, *hi = p + 1 < k && mask ? x + (p + 1) * ld : NULL;
  return UNITS_OF_ROWS(lo, hi, mask);
}

KERNEL_TARGET static void pack_left_columns(uint32_t *packed, const void *source, int64_t ld, int64_t m, int64_t k)
{
  enum { ELEMENTS = 2 * STEP };
  const syz_bf16 *x = source;
  const int64_t steps = syz_ceil_div(k, ELEMENTS), units = steps * STEP;
  for (int64_t s = 0; s < steps; s++)
    for (int64_t i = 0; i < m; i += STRIP)
      for (int h = 0; h < STRIP; h += HALF) {
        __m512i r[HALF];
        const __mmask16 mask = lanes(m - i - h);
        const syz_bf16 *from = x + (mask ? i + h : 0);
        for (int u = 0; u < STEP; u++) r[u] = units_across(from, ld, s * ELEMENTS + 2 * u, k, mask);
        put_tile(packed + i * units + s * STEP_WORDS + h / HALF * TILE_WORDS, r);
      }
}

const syz_kernel syz_kernel_amx_bf16 = {.name = "amx",
                                        .unit = 2,
                                        .depth = STEP,
                                        .rows = STRIP,
                                        .in_tiles = true,
                                        .reads_rows = reads_rows,
                                        .block_bytes = BLOCK,
                                        .most_panels = ACROSS * STRIP / SYZ_TILE_COLUMNS,
                                        .longest = LONGEST,
                                        .chunk_rows = 192,
                                        .chunk_rows_alone = 576,
                                        .block = block_bf16,
                                        .pack = &syz_packing_tiles,
                                        .pack_left_rows = pack_left_rows_bf16,
                                        .pack_left_columns = pack_left_columns};
const syz_kernel syz_kernel_amx_int8 = {.name = "amx",
                                        .unit = 4,
                                        .depth = STEP,
                                        .rows = STRIP,
                                        .in_tiles = true,
                                        .reads_rows = reads_rows,
                                        .block_bytes = BLOCK,
                                        .most_panels = ACROSS * STRIP / SYZ_TILE_COLUMNS,
                                        .longest = LONGEST,
                                        .chunk_rows = 192,
                                        .chunk_rows_alone = 576,
                                        .block = block_int8,
                                        .pack_left_rows = pack_left_rows_int8};
