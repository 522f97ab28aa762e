/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Exact nearest neighbours. The index is divided among the ranks; queries come in blocks of a few megabytes. First
 * products, in the type of the compute context (bfloat16 where the processor is fast in it), give every score but for a
 * bound that is proven (search_rows.h). A tile of them is formed at a time, and from each query's part of it the few
 * entries that may be among its k nearest go to a list (search_lists.h); then the tile is overwritten. What is in the
 * lists in the end is scored in float64. At the end every query's partial lists meet on one rank and are merged.
 *
 * Counting what is nearer than a query's own partner goes the same way: most entries are so, or are not, by their
 * bounds; the others are scored.
 *
 * So the result does not depend on the engine or its type, the shape of tiles, or the number of ranks or threads: it is
 * the order of float64 scores, each a function of the two rows alone.
 */
#include "syzygy/analysis.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "search_lists.h"

enum {
  TILE_ENTRIES = 768, /* ranks' shares are multiples of it */
  TILE_QUERIES = 768, /* syz_index_block's, and its step for large k */
  ROW_STEP = 48,
  BLOCK_STEP = 2 * SYZ_PAIRS_ROWS, /* also whole panels of rows of the index: 64 of them */
  BLOCK_MOST = 32 * BLOCK_STEP,
  BLOCK_BYTES = 16 << 20,
  CHUNK = 32 /* scores that are compared at once */
};

typedef struct id_row {
  int64_t id, row; /* row is local */
} id_row;

/* A query and a local entry with the same id. */
typedef struct same_id {
  int64_t row, query;
} same_id;

/* Local rows that are the same number for number score the same: the first of them, and how many there are before this
 * one. */
typedef struct alike {
  int32_t first, before;
} alike;

struct syz_index {
  syz_comm *comm;
  const syz_compute *compute;
  int64_t rows, first, n; /* of all ranks; this rank's */
  search_frame frame;
  float *x;                     /* [n, E] as they came; zeros where not valid */
  double *inverse;              /* [n]: syz_search_inverse */
  int64_t *id;                  /* [n] */
  uint8_t *valid;               /* [n] */
  id_row *sorted;               /* [n_sorted] valid rows by (id, row) */
  int64_t n_sorted, most_of_id; /* most_of_id: valid rows with the commonest id */
  alike *alike;                 /* [n] */
  /* First products. */
  syz_pairs *pairs;
  int64_t block_rows;              /* queries at once, and rows of the index that are rounded at once */
  unsigned char *block;            /* [block_rows, stride] act */
  search_entry *entry, *tile_most; /* [n]; the largest of each tile's */
  float *bias;                     /* [n + CHUNK]: -|y|^2 / 2, -infinity for what is left out */
};

void syz_index_share(int64_t rows, int size, int rank, int64_t *first, int64_t *n)
{
  int64_t tile, tiles;
  syz_share((rows + TILE_ENTRIES - 1) / TILE_ENTRIES, size, rank, &tile, &tiles);
  int64_t end = (tile + tiles) * TILE_ENTRIES;
  *first = tile * TILE_ENTRIES < rows ? tile * TILE_ENTRIES : rows;
  *n = (end < rows ? end : rows) - *first;
}

syz_status syz_index_gather(syz_comm *c, int64_t rows, const uint8_t *mine, uint8_t *all)
{
  syz_status st = SYZ_OK;
  const int size = syz_comm_size(c);
  size_t *bytes = syz_alloc("shares", (size_t)size, sizeof *bytes);
  SYZ_TRY_ALL(c, bytes ? SYZ_OK : SYZ_ERR_MEMORY);
  for (int r = 0; r < size; r++) {
    int64_t first, n;
    syz_index_share(rows, size, r, &first, &n);
    bytes[r] = (size_t)n;
  }
  syz_allgatherv(c, mine, all, bytes);
cleanup:
  syz_free(&bytes);
  return st;
}

int64_t syz_index_block(int64_t k)
{
  const int64_t bytes = 48 << 20, most = 8 * TILE_QUERIES;
  int64_t n = bytes / (int64_t)sizeof(search_found) / k, step = n < TILE_QUERIES ? ROW_STEP : TILE_QUERIES;
  n = n / step * step;
  return n < ROW_STEP ? ROW_STEP : n > most ? most : n;
}

static int64_t block_rows(const syz_compute *c, int64_t width)
{
  const int64_t row = syz_pairs_stride(c, width) * (int64_t)syz_dtype_size(syz_compute_act(c)),
                n = BLOCK_BYTES / row / BLOCK_STEP * BLOCK_STEP;
  return n < BLOCK_STEP ? BLOCK_STEP : n > BLOCK_MOST ? BLOCK_MOST : n;
}

static int64_t tiles_of(int64_t n) { return (n + SYZ_PAIRS_COLUMNS - 1) / SYZ_PAIRS_COLUMNS; }

static size_t block_bytes(const syz_compute *c, int64_t width)
{
  return (size_t)(block_rows(c, width) * syz_pairs_stride(c, width)) * syz_dtype_size(syz_compute_act(c));
}

size_t syz_index_bytes(const syz_compute *c, int64_t n, int64_t width, int64_t queries, int64_t k)
{
  const int64_t block = block_rows(c, width) < queries ? block_rows(c, width) : queries;
  const size_t entry = (size_t)width * sizeof(float) + sizeof(double) + sizeof(int64_t) + 1 + sizeof(id_row) +
                       sizeof(alike) + sizeof(search_entry) + sizeof(float);
  const size_t query = (size_t)k * sizeof(search_found) + sizeof(int64_t) + sizeof(double) + 1;
  return (size_t)n * entry + syz_pairs_bytes(c, width, block_rows(c, width), n, false) + block_bytes(c, width) +
         (size_t)queries * query + syz_search_lists_bytes(block, k) + (size_t)block * sizeof(search_query);
}

static syz_status index_allocate(syz_index *x)
{
  syz_status st = SYZ_OK;
  const int64_t width = x->frame.width;
  SYZ_REQUIRE(width >= 1 && width <= 1 << 20 && x->rows >= 0, SYZ_ERR_INTERNAL, "an index of %lld rows of width %lld",
              (long long)x->rows, (long long)width);
  SYZ_REQUIRE(x->n <= INT32_MAX, SYZ_ERR_INPUT,
              "an index of %lld rows per rank; at most %d are possible: use more ranks", (long long)x->n, INT32_MAX);
  x->block_rows = block_rows(x->compute, width);
  SYZ_ALLOC(x->x, "index rows", x->n * width);
  SYZ_ALLOC(x->inverse, "index lengths", x->n);
  SYZ_ALLOC(x->id, "index ids", x->n);
  SYZ_ALLOC(x->valid, "index flags", x->n);
  SYZ_ALLOC(x->sorted, "index id order", x->n);
  SYZ_ALLOC(x->alike, "index copies", x->n);
  SYZ_ALLOC(x->frame.middle, "index middle", width);
  SYZ_ALLOC(x->entry, "index bounds", x->n);
  SYZ_ALLOC(x->tile_most, "index bounds", tiles_of(x->n));
  SYZ_ALLOC(x->bias, "index bias", x->n + CHUNK);
  SYZ_ALLOC(x->block, "query block", block_bytes(x->compute, width));
  if (x->n) SYZ_TRY(syz_pairs_create(x->compute, width, x->block_rows, x->n, false, &x->pairs));
  for (int64_t i = 0; i < x->n; i++) {
    x->id[i] = x->first + i;
    x->valid[i] = 1;
  }
cleanup:
  return st;
}

syz_status syz_index_create(syz_comm *c, const syz_compute *compute, syz_metric metric, int64_t rows, int64_t width,
                            syz_index **out)
{
  syz_status st = SYZ_OK;
  syz_index *x = syz_alloc("index", 1, sizeof *x);
  *out = NULL;
  SYZ_TRY_ALL(c, x ? SYZ_OK : SYZ_ERR_MEMORY);
  *x = (syz_index){.comm = c, .compute = compute, .rows = rows, .frame = {.metric = metric, .width = width}};
  syz_index_share(rows, syz_comm_size(c), syz_comm_rank(c), &x->first, &x->n);
  SYZ_TRY_ALL(c, index_allocate(x));
  *out = x;
  x = NULL;
cleanup:
  syz_index_destroy(&x);
  return st;
}

void syz_index_destroy(syz_index **xp)
{
  syz_index *x = *xp;
  if (!x) return;
  syz_pairs_destroy(&x->pairs);
  syz_free(&x->x);
  syz_free(&x->inverse);
  syz_free(&x->id);
  syz_free(&x->valid);
  syz_free(&x->sorted);
  syz_free(&x->alike);
  syz_free(&x->frame.middle);
  syz_free(&x->entry);
  syz_free(&x->tile_most);
  syz_free(&x->bias);
  syz_free(&x->block);
  syz_free(xp);
}

float *syz_index_rows(syz_index *x) { return x->x; }
int64_t *syz_index_ids(syz_index *x) { return x->id; }
uint8_t *syz_index_valid(syz_index *x) { return x->valid; }

static int by_id(const void *a, const void *b)
{
  const id_row *p = a, *q = b;
  if (p->id != q->id) return p->id < q->id ? -1 : 1;
  return p->row < q->row ? -1 : p->row > q->row;
}

/* x->sorted has the checksums for ids: rows of equal ones stand together in row order, and each that equals the first
 * is its copy. */
static void find_copies(syz_index *x)
{
  const size_t bytes = (size_t)x->frame.width * sizeof *x->x;
  qsort(x->sorted, (size_t)x->n, sizeof *x->sorted, by_id);
  int64_t first = 0;
  int32_t before = 0;
  for (int64_t j = 0; j < x->n; j++) {
    const int64_t row = x->sorted[j].row;
    const bool is_copy = x->sorted[j].id == x->sorted[first].id && x->valid[row] && x->valid[x->sorted[first].row] &&
                         memcmp(x->x + row * x->frame.width, x->x + x->sorted[first].row * x->frame.width, bytes) == 0;
    if (!is_copy) first = j;
    before = first == j ? 0 : before + 1;
    x->alike[row] = (alike){(int32_t)x->sorted[first].row, before};
  }
}

static void sort_ids(syz_index *x)
{
  x->n_sorted = x->most_of_id = 0;
  for (int64_t i = 0; i < x->n; i++)
    if (x->valid[i]) x->sorted[x->n_sorted++] = (id_row){x->id[i], i};
  qsort(x->sorted, (size_t)x->n_sorted, sizeof *x->sorted, by_id);
  for (int64_t i = 0, first = 0; i < x->n_sorted; i++) {
    if (x->sorted[i].id != x->sorted[first].id) first = i;
    if (i - first >= x->most_of_id) x->most_of_id = i - first + 1;
  }
}

static unsigned char *block_row(const syz_index *x, int64_t i)
{
  return x->block +
         (size_t)(i * syz_pairs_stride(x->compute, x->frame.width)) * syz_dtype_size(syz_compute_act(x->compute));
}

static float larger(float a, float b) { return a > b ? a : b; }

/* Rows of the index into the form of first products, with their bounds. */
static void take_rows(syz_index *x)
{
  const int64_t width = x->frame.width;
  const syz_dtype act = syz_compute_act(x->compute);
  for (int64_t first = 0; first < x->n; first += x->block_rows) {
    const int64_t n = x->n - first < x->block_rows ? x->n - first : x->block_rows;
#pragma omp parallel for schedule(static)
    for (int64_t i = first; i < first + n; i++) {
      x->entry[i] =
          syz_search_entry_make(&x->frame, x->x + i * width, x->inverse[i], act, block_row(x, i - first), &x->bias[i]);
      if (!x->valid[i]) x->entry[i] = (search_entry){0};
      if (!x->valid[i]) x->bias[i] = -INFINITY;
    }
    syz_pairs_take_piece(x->pairs, first, n, x->block);
  }
  for (int64_t i = 0; i < x->n; i++) {
    search_entry *most = &x->tile_most[i / SYZ_PAIRS_COLUMNS];
    if (i % SYZ_PAIRS_COLUMNS == 0) *most = (search_entry){0};
    most->length = larger(x->entry[i].length, most->length);
    most->rest = larger(x->entry[i].rest, most->rest);
    most->own = larger(x->entry[i].own, most->own);
  }
}

syz_status syz_index_seal(syz_index *x, int64_t *valid)
{
  const int64_t width = x->frame.width;
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < x->n; i++) {
    float *row = x->x + i * width;
    x->inverse[i] = x->valid[i] ? syz_search_inverse(&x->frame, row) : 0;
    x->valid[i] = x->inverse[i] != 0;
    if (!x->valid[i])
      memset(row, 0, (size_t)width * sizeof *row); /* a NaN here would only waste time: its score is not looked at */
    x->sorted[i] = (id_row){(int64_t)syz_checksum(row, (size_t)width * sizeof *row, 0), i};
  }
  find_copies(x);
  sort_ids(x);
  syz_search_frame_set(&x->frame, x->n, x->x, x->inverse);
  if (x->n) take_rows(x);
  int64_t total = x->n_sorted;
  syz_allreduce_i64(x->comm, &total, 1, SYZ_SUM);
  if (valid) *valid = total;
  return SYZ_OK;
}

static bool is_below(const void *row, const void *id) { return ((const id_row *)row)->id < *(const int64_t *)id; }

/* First place in the sorted ids that is not below `id`. */
static int64_t id_lower(const syz_index *x, int64_t id)
{
  return syz_lower_bound(&id, x->sorted, x->n_sorted, sizeof *x->sorted, is_below);
}

/* ------------------------------------------------------------ one search */

typedef struct search {
  syz_index *x;
  int64_t n, k;
  const float *query;
  const int64_t *query_id;
  bool excludes_same_id;
  int64_t copies;     /* of a row that can matter: ties go to lower rows, of which at most most_of_id are left out */
  double *inverse;    /* [n] of the queries; 0: not to be searched with */
  search_found *heap; /* [n, k] */
  int64_t *count;     /* [n] */
  /* The block of queries that is being searched with, from query q0. */
  int64_t q0;
  search_query *bounds; /* [block_rows] */
  search_lists lists;
  omp_lock_t *lock; /* [block_rows / SYZ_PAIRS_ROWS] */
  int64_t locks;
  /* Known pairs; NULL when not wanted. */
  int64_t *partner;   /* [n] global row, INT64_MAX: none */
  double *pair_score; /* [n] */
  int64_t *tally;     /* [2 n]: larger and ties of each query */
  same_id *same;      /* [n_same] */
  int64_t n_same;
} search;

static syz_status pairs_allocate(search *s)
{
  syz_status st = SYZ_OK;
  const syz_index *x = s->x;
  SYZ_ALLOC(s->partner, "pairs", s->n);
  SYZ_ALLOC(s->pair_score, "pair scores", s->n);
  SYZ_ALLOC(s->tally, "pair ranks", 2 * s->n);
  for (int64_t q = 0; q < s->n; q++)
    for (int64_t i = id_lower(x, s->query_id[q]); i < x->n_sorted && x->sorted[i].id == s->query_id[q]; i++)
      s->n_same++;
  SYZ_ALLOC(s->same, "entries with a query's id", s->n_same);
  s->n_same = 0;
  for (int64_t q = 0; q < s->n; q++) {
    int64_t i = id_lower(x, s->query_id[q]);
    s->partner[q] = i < x->n_sorted && x->sorted[i].id == s->query_id[q] ? x->first + x->sorted[i].row : INT64_MAX;
    for (; i < x->n_sorted && x->sorted[i].id == s->query_id[q]; i++)
      s->same[s->n_same++] = (same_id){x->sorted[i].row, q};
  }
cleanup:
  return st;
}

static syz_status search_allocate(search *s, bool wants_pairs)
{
  syz_status st = SYZ_OK;
  const int64_t block = s->n < s->x->block_rows ? s->n : s->x->block_rows,
                strips = (block + SYZ_PAIRS_ROWS - 1) / SYZ_PAIRS_ROWS;
  SYZ_ALLOC(s->inverse, "query lengths", s->n);
  SYZ_ALLOC(s->heap, "neighbours", s->n * s->k);
  SYZ_ALLOC(s->count, "neighbour counts", s->n);
  SYZ_ALLOC(s->bounds, "query bounds", block);
  SYZ_TRY(syz_search_lists_create(block, s->k, &s->lists));
  SYZ_ALLOC(s->lock, "query locks", strips);
  for (; s->locks < strips; s->locks++) omp_init_lock(&s->lock[s->locks]);
  if (wants_pairs) SYZ_TRY(pairs_allocate(s));
cleanup:
  return st;
}

static void search_free(search *s)
{
  for (int64_t i = 0; i < s->locks; i++) omp_destroy_lock(&s->lock[i]);
  syz_free(&s->inverse);
  syz_free(&s->heap);
  syz_free(&s->count);
  syz_free(&s->bounds);
  syz_search_lists_free(&s->lists);
  syz_free(&s->lock);
  syz_free(&s->partner);
  syz_free(&s->pair_score);
  syz_free(&s->tally);
  syz_free(&s->same);
}

static double score_of(const search *s, int64_t q, int64_t row)
{
  const syz_index *x = s->x;
  return syz_search_score(&x->frame, s->query + q * x->frame.width, s->inverse[q], x->x + row * x->frame.width,
                          x->inverse[row]);
}

/* Score one candidate of the block's query q. */
static void settle_one(search *s, int64_t q, const search_candidate *c)
{
  const syz_index *x = s->x;
  const int64_t all = s->q0 + q;
  search_found *heap = s->heap + all * s->k;
  syz_search_heap_offer(heap, &s->count[all], s->k,
                        (search_found){x->first + c->row, x->id[c->row], score_of(s, all, c->row)});
  if (s->count[all] < s->k) return;
  const float level = syz_search_level(&x->frame, &s->bounds[q], heap[0].score, false);
  if (level > s->lists.level[q]) s->lists.level[q] = level;
}

/* Score the whole list, the most certain candidates first, because their scores raise the level for the rest. */
static void settle(search *s, int64_t q)
{
  const int64_t n = s->lists.count[q];
  const float sure = s->lists.level[q];
  const search_candidate *c = s->lists.candidate + q * s->lists.room;
  for (int64_t i = 0; i < n; i++)
    if (c[i].low >= sure) settle_one(s, q, &c[i]);
  for (int64_t i = 0; i < n; i++)
    if (!(c[i].low >= sure) && c[i].high >= s->lists.level[q]) settle_one(s, q, &c[i]);
  s->lists.count[q] = 0;
}

/* An entry with the first product's g joins the list unless its own bound keeps it out. */
static void consider(search *s, int64_t q, int64_t row, float g)
{
  const syz_index *x = s->x;
  if (!x->valid[row] || x->alike[row].before >= s->copies ||
      (s->excludes_same_id && x->id[row] == s->query_id[s->q0 + q]))
    return;
  const float bound = syz_search_bound(&s->bounds[q], &x->entry[row]);
  const float low = g - bound, high = g + bound;
  if (high < s->lists.level[q]) return;
  if (s->lists.count[q] == s->lists.room && !syz_search_list_sift(&s->lists, q)) settle(s, q);
  syz_search_list_add(
      &s->lists, q,
      (search_candidate){low > -INFINITY ? low : -INFINITY, high < INFINITY ? high : INFINITY, (int32_t)row});
}

/* Which of CHUNK sums are not below the cut, a bit each: one that is no number is not. */
static uint32_t reaching(const float *c, const float *bias, float cut)
{
  uint32_t which = 0;
  for (int j = 0; j < CHUNK; j++) which |= !(c[j] + bias[j] < cut) ? UINT32_C(1) << j : 0;
  return which;
}

/* And which are neither below the one nor above the other. */
static uint32_t left_open(const float *c, const float *bias, float below, float above)
{
  uint32_t which = 0;
  for (int j = 0; j < CHUNK; j++)
    which |= (!(c[j] + bias[j] < below) & !(c[j] + bias[j] > above)) ? UINT32_C(1) << j : 0;
  return which;
}

/* The level less the tile's largest bound, and less what this subtraction loses: what is below cannot reach the level.
 */
static float cut_of(float level, float bound) { return level - fabsf(level) * 0x1p-22f - bound; }

/* One query's row of products with entries [column, column + n). */
static void scan(search *s, int64_t q, const float *c, int64_t column, int64_t n, float bound)
{
  const float *bias = s->x->bias + column;
  float cut = cut_of(s->lists.level[q], bound);
  for (int64_t j = 0; j < n; j += CHUNK) {
    uint32_t which = reaching(c + j, bias + j, cut);
    if (!which) continue;
    if (n - j < CHUNK) which &= (UINT32_C(1) << (n - j)) - 1; /* the tile and the bias have room for whole chunks */
    for (; which; which &= which - 1) {
      const int64_t i = j + __builtin_ctz(which);
      if (!(c[i] + bias[i] < cut)) consider(s, q, column + i, c[i] + bias[i]);
      cut = cut_of(s->lists.level[q], bound);
    }
  }
}

/* The score of an entry, or an estimate that lies on the same side of the partner's. */
static double score_beside_partner(const search *s, int64_t all, int64_t row)
{
  const syz_index *x = s->x;
  const int64_t width = x->frame.width;
  const search_estimate is =
      syz_search_cosine_estimate(s->query + all * width, s->inverse[all], x->x + row * width, x->inverse[row], width);
  return fabs(is.score - s->pair_score[all]) > is.error ? is.score : score_of(s, all, row);
}

/* Entries nearer than the query's partner and as near: those that their bounds leave open are scored. */
static void tally(search *s, int64_t q, const float *c, int64_t column, int64_t n, float bound)
{
  const syz_index *x = s->x;
  const int64_t all = s->q0 + q;
  const float *bias = x->bias + column;
  const double p = s->pair_score[all];
  const float most = syz_search_level(&x->frame, &s->bounds[q], p, true),
              least = syz_search_level(&x->frame, &s->bounds[q], p, false);
  const float above = most + fabsf(most) * 0x1p-22f + bound, below = cut_of(least, bound);
  int32_t first = -1; /* the row that `score` is of, and of its copies */
  double score = 0;
  int larger = 0;
  for (int64_t j = 0; j < n; j++) larger += c[j] + bias[j] > above;
  s->tally[2 * all] += larger;
  for (int64_t j = 0; j < n; j += CHUNK) {
    uint32_t open = left_open(c + j, bias + j, below, above);
    if (n - j < CHUNK) open &= (UINT32_C(1) << (n - j)) - 1;
    for (; open; open &= open - 1) {
      const int64_t row = column + j + __builtin_ctz(open);
      if (!x->valid[row]) continue;
      if (x->alike[row].first != first) score = score_beside_partner(s, all, row);
      first = x->alike[row].first;
      s->tally[2 * all] += score > p;
      s->tally[2 * all + 1] += score == p;
    }
  }
}

static void use_tile(void *context, const syz_pairs_tile *t)
{
  enum { AHEAD = 8 }; /* lists being prefetched from L3 */
  search *s = context;
  const search_entry *most = &s->x->tile_most[t->column / SYZ_PAIRS_COLUMNS];
  omp_lock_t *lock = &s->lock[t->row / SYZ_PAIRS_ROWS];
  omp_set_lock(lock);
  for (int64_t r = 0; r < t->rows; r++) {
    const int64_t q = t->row + r, all = s->q0 + q;
    if (r + AHEAD < t->rows) syz_search_list_fetch(&s->lists, q + AHEAD);
    const float *c = t->c + r * SYZ_PAIRS_COLUMNS;
    const float bound = syz_search_bound(&s->bounds[q], most);
    if (s->inverse[all] == 0) continue;
    scan(s, q, c, t->column, t->columns, bound);
    if (s->tally && s->partner[all] != INT64_MAX) tally(s, q, c, t->column, t->columns, bound);
  }
  omp_unset_lock(lock);
}

/* Queries [q0, q0 + m) against all entries of this rank. */
static void search_queries(search *s, int64_t q0, int64_t m)
{
  syz_index *x = s->x;
  s->q0 = q0;
#pragma omp parallel for schedule(static)
  for (int64_t q = 0; q < m; q++) {
    const float *row = s->query + (q0 + q) * x->frame.width;
    s->bounds[q] =
        syz_search_query_make(&x->frame, row, s->inverse[q0 + q], syz_compute_act(x->compute), block_row(x, q));
    syz_search_list_clear(&s->lists, q);
  }
  syz_pairs_product(x->pairs, m, x->block, use_tile, s);
#pragma omp parallel for schedule(static)
  for (int64_t q = 0; q < m; q++) {
    syz_search_list_sift(&s->lists, q);
    settle(s, q);
  }
}

/* Scores of the queries with their own partners, on all ranks. */
static void score_pairs(search *s)
{
  const syz_index *x = s->x;
  for (int64_t q = 0; q < s->n; q++) {
    const int64_t row = s->partner[q] - x->first;
    const bool is_mine = s->inverse[q] != 0 && s->partner[q] != INT64_MAX && row >= 0 && row < x->n;
    s->pair_score[q] = is_mine ? score_of(s, q, row) : -INFINITY;
  }
  syz_allreduce_f64(x->comm, s->pair_score, (size_t)s->n, SYZ_MAX);
}

/* Entries of the query's own id were counted with the others, the partner among them. */
static void take_back(search *s)
{
  for (int64_t i = 0; i < s->n_same; i++) {
    const int64_t q = s->same[i].query;
    if (s->inverse[q] == 0) continue;
    const double score = score_of(s, q, s->same[i].row);
    s->tally[2 * q] -= score > s->pair_score[q];
    s->tally[2 * q + 1] -= score == s->pair_score[q];
  }
}

static void search_entries(search *s)
{
  const syz_index *x = s->x;
#pragma omp parallel for schedule(static)
  for (int64_t q = 0; q < s->n; q++) s->inverse[q] = syz_search_inverse(&x->frame, s->query + q * x->frame.width);
  if (s->tally) score_pairs(s);
  for (int64_t q0 = 0; x->n && q0 < s->n; q0 += x->block_rows)
    search_queries(s, q0, s->n - q0 < x->block_rows ? s->n - q0 : x->block_rows);
  if (s->tally) take_back(s);
}

static syz_neighbour neighbour_of(syz_metric metric, const search_found *f)
{
  return (syz_neighbour){f->row, f->id,
                         f->row < 0                    ? NAN
                         : metric == SYZ_METRIC_COSINE ? (float)f->score
                                                       : (float)sqrt(-f->score)};
}

/* Send every query's partial lists to the rank that keeps the query, and select the k best there. */
static syz_status merge(search *s, syz_neighbour *best, bool *has_memory)
{
  syz_status st = SYZ_OK;
  syz_comm *c = s->x->comm;
  int size = syz_comm_size(c);
  int64_t first, mine, k = s->k;
  size_t *send = NULL, *receive = NULL;
  search_found *all = NULL, *list = NULL;
  syz_share(s->n, size, syz_comm_rank(c), &first, &mine);
  send = syz_alloc("merge", (size_t)size, sizeof *send);
  receive = syz_alloc("merge", (size_t)size, sizeof *receive);
  all = syz_alloc("merge lists", (size_t)(size * mine * k), sizeof *all);
  list = syz_alloc("merge list", (size_t)(size * k), sizeof *list);
  *has_memory = send && receive && all && list;
  SYZ_TRY_ALL(c, *has_memory ? SYZ_OK : SYZ_ERR_MEMORY);
  for (int64_t q = 0; q < s->n; q++) {
    search_found *h = s->heap + q * k;
    for (int64_t i = s->count[q]; i < k; i++) h[i] = (search_found){-1, -1, NAN};
  }
  for (int r = 0; r < size; r++) {
    int64_t f, n;
    syz_share(s->n, size, r, &f, &n);
    send[r] = (size_t)(n * k) * sizeof *all;
    receive[r] = (size_t)(mine * k) * sizeof *all;
  }
  syz_alltoallv(c, s->heap, send, all, receive);
  for (int64_t q = 0; q < mine; q++) {
    for (int r = 0; r < size; r++) memcpy(list + r * k, all + (r * mine + q) * k, (size_t)k * sizeof *list);
    qsort(list, (size_t)(size * k), sizeof *list, syz_search_best_first);
    for (int64_t i = 0; i < k; i++) best[q * k + i] = neighbour_of(s->x->frame.metric, &list[i]);
  }
cleanup:
  syz_free(&send);
  syz_free(&receive);
  syz_free(&all);
  syz_free(&list);
  return st;
}

static void keep_pairs(const search *s, syz_pair *pair)
{
  const syz_comm *c = s->x->comm;
  int64_t first, mine;
  syz_share(s->n, syz_comm_size(c), syz_comm_rank(c), &first, &mine);
  for (int64_t i = 0; i < mine; i++) {
    int64_t q = first + i;
    bool has_partner = s->inverse[q] != 0 && s->partner[q] != INT64_MAX;
    pair[i] = has_partner ? (syz_pair){s->partner[q], s->tally[2 * q], s->tally[2 * q + 1], (float)s->pair_score[q]}
                          : (syz_pair){-1, 0, 0, NAN};
  }
}

static syz_status search_check(const syz_index *x, int64_t n, const int64_t *query_id, const syz_search_options *o,
                               bool wants_pairs)
{
  syz_status st = SYZ_OK;
  SYZ_REQUIRE(n >= 0 && o->k >= 1, SYZ_ERR_INTERNAL, "search of %lld queries for %lld neighbours", (long long)n,
              (long long)o->k);
  SYZ_REQUIRE(query_id || !(wants_pairs || o->excludes_same_id), SYZ_ERR_INTERNAL, "search by id without ids");
  SYZ_REQUIRE(!wants_pairs || x->frame.metric == SYZ_METRIC_COSINE, SYZ_ERR_INTERNAL, "pair ranks are for cosines");
cleanup:
  return st;
}

syz_status syz_index_search(syz_index *x, int64_t n, const float *query, const int64_t *query_id,
                            const syz_search_options *options, syz_neighbour *best, syz_pair *pair)
{
  syz_status st = SYZ_OK;
  search s = {.x = x,
              .n = n,
              .k = options->k,
              .query = query,
              .query_id = query_id,
              .excludes_same_id = options->excludes_same_id};
  s.copies = s.k + (s.excludes_same_id ? x->most_of_id : 0);
  bool has_memory = false;
  SYZ_TRY_ALL(x->comm, search_check(x, n, query_id, options, pair != NULL));
  SYZ_TRY_ALL(x->comm, search_allocate(&s, pair != NULL));
  if (pair) syz_allreduce_i64(x->comm, s.partner, (size_t)n, SYZ_MIN);
  search_entries(&s);
  SYZ_TRY(merge(&s, best, &has_memory));
  if (pair) {
    syz_allreduce_i64(x->comm, s.tally, (size_t)(2 * n), SYZ_SUM);
    keep_pairs(&s, pair);
  }
cleanup:
  search_free(&s);
  return st;
}
