/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Exact nearest neighbours. The index is cut into tiles of SYZ_TILE_ENTRIES rows, shared out over ranks in whole tiles; queries come in
 * blocks of SYZ_TILE_QUERIES. One matrix product gives one tile of scores, from which each query takes what beats the worst of its k best so
 * far (a heap); then the tile is overwritten. At the end every query's partial lists meet on one rank and are merged.
 *
 * Distances are ranked by q.x - |x|^2/2, which is the same product with a bias; the few that win get their distance computed afresh
 * from the differences in float64, because the product loses half of the digits of a small distance.
 *
 * Rank-count invariance: a score's bits depend on its query, its entry and the tile's shape only, and a tile has the same shape on every
 * rank count (the last one is padded with zeros).
 */
#include "syzygy/analysis.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Multiples of every kernel's register tile (6, 12, 16, 32 and 48 divide them), so that no score sits in a remainder. A tile of scores is 2.4 MB. */
enum { TILE_QUERIES = 768, TILE_ENTRIES = 768, ROW_STEP = 48 };
_Static_assert(TILE_ENTRIES >= TILE_QUERIES, "a block's partners must fit into one tile");

typedef struct id_row {
  int64_t id, row; /* row is local */
} id_row;

/* A query and a local entry with the same id. */
typedef struct same_id {
  int64_t row, query;
} same_id;

struct syz_index {
  syz_comm *comm;
  const syz_compute *compute;
  syz_metric metric;
  int64_t rows, width;
  int64_t first, n, tiles; /* this rank's */
  float *x;                /* [tiles * TILE_ENTRIES, E], padded with zeros */
  float *bias;             /* [tiles * TILE_ENTRIES]: 0 or -|x|^2/2, -infinity for what is left out */
  int64_t *id;             /* [n] */
  uint8_t *valid;          /* [n] */
  id_row *sorted;          /* [n_sorted] valid rows by (id, row) */
  int64_t n_sorted;
  syz_gemm *full, *part; /* products of TILE_QUERIES and of part_rows queries */
  int64_t part_rows;
  float *block;  /* [TILE_QUERIES, E] */
  float *scores; /* [TILE_QUERIES, TILE_ENTRIES] */
};

void syz_index_share(int64_t rows, int size, int rank, int64_t *first, int64_t *n)
{
  int64_t tile, tiles;
  syz_share((rows + TILE_ENTRIES - 1) / TILE_ENTRIES, size, rank, &tile, &tiles);
  int64_t end = (tile + tiles) * TILE_ENTRIES;
  *first = tile * TILE_ENTRIES < rows ? tile * TILE_ENTRIES : rows;
  *n = (end < rows ? end : rows) - *first;
}

int64_t syz_index_block(int64_t k)
{
  const int64_t bytes = 48 << 20, most = 8 * TILE_QUERIES;
  int64_t n = bytes / (int64_t)sizeof(syz_neighbour) / k, step = n < TILE_QUERIES ? ROW_STEP : TILE_QUERIES;
  n = n / step * step;
  return n < ROW_STEP ? ROW_STEP : n > most ? most : n;
}

static syz_status gemm_create(const syz_index *x, int64_t m, syz_gemm **out)
{
  return syz_gemm_create(
      x->compute, &(syz_gemm_shape){.m = m, .n = TILE_ENTRIES, .k = x->width, .transpose_b = true, .batch = 1, .type_ab = SYZ_F32, .type_c = SYZ_F32},
      out);
}

static syz_status index_allocate(syz_index *x)
{
  syz_status st = SYZ_OK;
  int64_t padded = x->tiles * TILE_ENTRIES;
  SYZ_REQUIRE(x->width >= 1 && x->width <= 1 << 20 && x->rows >= 0, SYZ_ERR_INTERNAL, "an index of %lld rows of width %lld", (long long)x->rows,
              (long long)x->width);
  SYZ_ALLOC(x->x, "index rows", padded * x->width);
  SYZ_ALLOC(x->bias, "index bias", padded);
  SYZ_ALLOC(x->id, "index ids", x->n);
  SYZ_ALLOC(x->valid, "index flags", x->n);
  SYZ_ALLOC(x->sorted, "index id order", x->n);
  SYZ_ALLOC(x->block, "query tile", TILE_QUERIES * x->width);
  SYZ_ALLOC(x->scores, "score tile", TILE_QUERIES * TILE_ENTRIES);
  for (int64_t i = 0; i < x->n; i++) {
    x->id[i] = x->first + i;
    x->valid[i] = 1;
  }
cleanup:
  return st;
}

syz_status syz_index_create(syz_comm *c, const syz_compute *compute, syz_metric metric, int64_t rows, int64_t width, syz_index **out)
{
  syz_status st = SYZ_OK;
  syz_index *x = syz_alloc("index", 1, sizeof *x);
  *out = NULL;
  SYZ_TRY_ALL(c, x ? SYZ_OK : SYZ_ERR_MEMORY);
  *x = (syz_index){.comm = c, .compute = compute, .metric = metric, .rows = rows, .width = width};
  syz_index_share(rows, syz_comm_size(c), syz_comm_rank(c), &x->first, &x->n);
  x->tiles = (x->n + TILE_ENTRIES - 1) / TILE_ENTRIES;
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
  syz_gemm_destroy(&x->full);
  syz_gemm_destroy(&x->part);
  syz_free(&x->x);
  syz_free(&x->bias);
  syz_free(&x->id);
  syz_free(&x->valid);
  syz_free(&x->sorted);
  syz_free(&x->block);
  syz_free(&x->scores);
  syz_free(xp);
}

float *syz_index_rows(syz_index *x) { return x->x; }
int64_t *syz_index_ids(syz_index *x) { return x->id; }
uint8_t *syz_index_valid(syz_index *x) { return x->valid; }

/* Copy a row, normalised for cosines; a row that cannot be compared becomes zeros and false. y may be x. */
static bool prepare_row(syz_metric metric, float *y, const float *x, int64_t width, double *squares)
{
  double sum = 0;
  for (int64_t e = 0; e < width; e++) sum += (double)x[e] * (double)x[e];
  *squares = sum;
  /* A NaN or an infinity anywhere makes the sum one: squares of finite float32 numbers never overflow a float64. */
  bool is_usable = isfinite(sum) && (metric == SYZ_METRIC_EUCLIDEAN || sum > 0);
  double scale = !is_usable ? 0 : metric == SYZ_METRIC_COSINE ? 1 / sqrt(sum) : 1;
  for (int64_t e = 0; e < width; e++) y[e] = is_usable ? (float)((double)x[e] * scale) : 0.0f;
  return is_usable;
}

static int by_id(const void *a, const void *b)
{
  const id_row *p = a, *q = b;
  if (p->id != q->id) return p->id < q->id ? -1 : 1;
  return p->row < q->row ? -1 : p->row > q->row;
}

syz_status syz_index_seal(syz_index *x, int64_t *valid)
{
  x->n_sorted = 0;
  for (int64_t i = 0; i < x->tiles * TILE_ENTRIES; i++) x->bias[i] = -INFINITY;
  for (int64_t i = 0; i < x->n; i++) {
    float *row = x->x + i * x->width;
    double squares;
    if (!x->valid[i]) memset(row, 0, (size_t)x->width * sizeof *row); /* a NaN here would only waste time: its score is not looked at */
    bool is_usable = prepare_row(x->metric, row, row, x->width, &squares);
    x->valid[i] = x->valid[i] && is_usable;
    if (!x->valid[i]) continue;
    x->bias[i] = x->metric == SYZ_METRIC_EUCLIDEAN ? (float)(-squares / 2) : 0.0f;
    x->sorted[x->n_sorted++] = (id_row){x->id[i], i};
  }
  qsort(x->sorted, (size_t)x->n_sorted, sizeof *x->sorted, by_id);
  int64_t total = x->n_sorted;
  syz_allreduce_i64(x->comm, &total, 1, SYZ_SUM);
  if (valid) *valid = total;
  return SYZ_OK;
}

/* First place in the sorted ids that is not below `id`. */
static int64_t id_lower(const syz_index *x, int64_t id)
{
  int64_t low = 0, high = x->n_sorted;
  while (low < high) {
    int64_t middle = low + (high - low) / 2;
    if (x->sorted[middle].id < id)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

/* ------------------------------------------------- the k best so far, as a heap with the worst on top */

/* Whether a is a worse neighbour than b: scores inside are "larger is nearer"; of equal ones the higher row is worse. */
static inline bool is_worse(const syz_neighbour *a, const syz_neighbour *b) { return a->score != b->score ? a->score < b->score : a->row > b->row; }

static void heap_sink(syz_neighbour *heap, int64_t count, int64_t i)
{
  syz_neighbour moved = heap[i];
  for (;;) {
    int64_t child = 2 * i + 1;
    if (child >= count) break;
    if (child + 1 < count && is_worse(&heap[child + 1], &heap[child])) child++;
    if (!is_worse(&heap[child], &moved)) break;
    heap[i] = heap[child];
    i = child;
  }
  heap[i] = moved;
}

static void heap_push(syz_neighbour *heap, int64_t *count, int64_t k, syz_neighbour item)
{
  if (*count == k) {
    heap[0] = item;
    heap_sink(heap, k, 0);
    return;
  }
  int64_t i = (*count)++;
  while (i > 0 && is_worse(&item, &heap[(i - 1) / 2])) {
    heap[i] = heap[(i - 1) / 2];
    i = (i - 1) / 2;
  }
  heap[i] = item;
}

static int best_first(const void *a, const void *b)
{
  const syz_neighbour *p = a, *q = b;
  if (p->row < 0 || q->row < 0) return (p->row < 0) - (q->row < 0);
  return is_worse(p, q) ? 1 : is_worse(q, p) ? -1 : 0;
}

/* ------------------------------------------------------------ one search */

typedef struct search {
  syz_index *x;
  int64_t n, k;
  const float *query;
  const int64_t *query_id;
  bool excludes_same_id;
  syz_neighbour *heap; /* [n, k] */
  int64_t *count;      /* [n] */
  uint8_t *usable;     /* [n] */
  /* Known pairs; NULL when not wanted. */
  int64_t *partner;  /* [n] global row, INT64_MAX: none */
  float *pair_score; /* [n] */
  int64_t *tally;    /* [2 n]: larger and ties of each query */
  same_id *same;     /* [n_same] by row */
  int64_t n_same;
} search;

static int by_row(const void *a, const void *b)
{
  const same_id *p = a, *q = b;
  if (p->row != q->row) return p->row < q->row ? -1 : 1;
  return p->query < q->query ? -1 : p->query > q->query;
}

static syz_status search_allocate(search *s, bool wants_pairs)
{
  syz_status st = SYZ_OK;
  syz_index *x = s->x;
  SYZ_ALLOC(s->heap, "neighbours", s->n * s->k);
  SYZ_ALLOC(s->count, "neighbour counts", s->n);
  SYZ_ALLOC(s->usable, "query flags", s->n);
  if (!x->full) SYZ_TRY(gemm_create(x, TILE_QUERIES, &x->full));
  int64_t rest = (s->n % TILE_QUERIES + ROW_STEP - 1) / ROW_STEP * ROW_STEP;
  if (rest && rest != x->part_rows) {
    syz_gemm_destroy(&x->part);
    x->part_rows = 0;
    SYZ_TRY(gemm_create(x, rest, &x->part));
    x->part_rows = rest;
  }
  if (!wants_pairs) goto cleanup;
  SYZ_ALLOC(s->partner, "pairs", s->n);
  SYZ_ALLOC(s->pair_score, "pair scores", s->n);
  SYZ_ALLOC(s->tally, "pair ranks", 2 * s->n);
  for (int64_t q = 0; q < s->n; q++)
    for (int64_t i = id_lower(x, s->query_id[q]); i < x->n_sorted && x->sorted[i].id == s->query_id[q]; i++) s->n_same++;
  SYZ_ALLOC(s->same, "entries with a query's id", s->n_same);
  s->n_same = 0;
  for (int64_t q = 0; q < s->n; q++) {
    int64_t i = id_lower(x, s->query_id[q]);
    s->partner[q] = i < x->n_sorted && x->sorted[i].id == s->query_id[q] ? x->first + x->sorted[i].row : INT64_MAX;
    for (; i < x->n_sorted && x->sorted[i].id == s->query_id[q]; i++) s->same[s->n_same++] = (same_id){x->sorted[i].row, q};
  }
  qsort(s->same, (size_t)s->n_same, sizeof *s->same, by_row);
cleanup:
  return st;
}

/* Queries [q0, q0 + m) into the block, zeros up to the product's rows; the product for them. */
static const syz_gemm *load_block(search *s, int64_t q0, int64_t m)
{
  syz_index *x = s->x;
  double squares;
  for (int64_t q = 0; q < m; q++)
    s->usable[q0 + q] = prepare_row(x->metric, x->block + q * x->width, s->query + (q0 + q) * x->width, x->width, &squares);
  if (m == TILE_QUERIES) return x->full;
  memset(x->block + m * x->width, 0, (size_t)((x->part_rows - m) * x->width) * sizeof *x->block);
  return x->part;
}

/* Scores of the block's queries with their own partners, from a product of the same shape as the search's: the partners' rows make up a tile. */
static void score_pairs(search *s, int64_t q0, int64_t m, const syz_gemm *product, float *tile)
{
  syz_index *x = s->x;
  bool has_any = false;
  memset(tile, 0, (size_t)(TILE_ENTRIES * x->width) * sizeof *tile);
  for (int64_t q = 0; q < m; q++) {
    int64_t row = s->partner[q0 + q] - x->first;
    if (s->partner[q0 + q] == INT64_MAX || row < 0 || row >= x->n) continue;
    memcpy(tile + q * x->width, x->x + row * x->width, (size_t)x->width * sizeof *tile);
    has_any = true;
  }
  if (has_any) syz_gemm_run(product, x->block, tile, NULL, x->scores);
  for (int64_t q = 0; q < m; q++) {
    int64_t row = s->partner[q0 + q] - x->first;
    bool is_mine = s->partner[q0 + q] != INT64_MAX && row >= 0 && row < x->n;
    s->pair_score[q0 + q] = is_mine ? x->scores[q * TILE_ENTRIES + q] + x->bias[row] : -INFINITY;
  }
}

/* One query's row of scores against the tile that begins at local row `row0`. */
static void scan_row(search *s, int64_t q, float *score, int64_t row0)
{
  syz_index *x = s->x;
  const float *bias = x->bias + row0;
  for (int64_t j = 0; j < TILE_ENTRIES; j++) score[j] += bias[j];
  syz_neighbour *heap = s->heap + q * s->k;
  int64_t *count = &s->count[q];
  float worst = *count == s->k ? heap[0].score : -INFINITY; /* rows ascend, so an equal score never displaces an earlier one */
  for (int64_t j = 0; j < TILE_ENTRIES; j++) {
    if (!(score[j] > worst)) continue;
    if (s->excludes_same_id && x->id[row0 + j] == s->query_id[q]) continue;
    heap_push(heap, count, s->k, (syz_neighbour){x->first + row0 + j, x->id[row0 + j], score[j]});
    worst = *count == s->k ? heap[0].score : -INFINITY;
  }
  if (!s->tally || s->partner[q] == INT64_MAX) return;
  float p = s->pair_score[q];
  int64_t larger = 0, ties = 0;
  for (int64_t j = 0; j < TILE_ENTRIES; j++) {
    larger += score[j] > p;
    ties += score[j] == p;
  }
  s->tally[2 * q] += larger;
  s->tally[2 * q + 1] += ties;
}

/* Entries of the query's own id were counted with the others: take the very comparisons that counted them back. */
static void take_back(search *s, int64_t q0, int64_t m, int64_t row0)
{
  const float *scores = s->x->scores;
  int64_t low = 0, high = s->n_same;
  while (low < high) {
    int64_t middle = low + (high - low) / 2;
    if (s->same[middle].row < row0)
      low = middle + 1;
    else
      high = middle;
  }
  for (; low < s->n_same && s->same[low].row < row0 + TILE_ENTRIES; low++) {
    int64_t q = s->same[low].query;
    if (q < q0 || q >= q0 + m || !s->usable[q]) continue;
    float score = scores[(q - q0) * TILE_ENTRIES + s->same[low].row - row0];
    s->tally[2 * q] -= score > s->pair_score[q];
    s->tally[2 * q + 1] -= score == s->pair_score[q];
  }
}

/* The winners' distances from differences, as "larger is nearer". */
static void refine_distances(search *s)
{
  const syz_index *x = s->x;
  for (int64_t q = 0; q < s->n; q++)
    for (int64_t i = 0; i < s->count[q]; i++) {
      syz_neighbour *b = &s->heap[q * s->k + i];
      const float *a = s->query + q * x->width, *row = x->x + (b->row - x->first) * x->width;
      double sum = 0;
      for (int64_t e = 0; e < x->width; e++) {
        double d = (double)a[e] - (double)row[e];
        sum += d * d;
      }
      b->score = (float)-sqrt(sum);
    }
}

static void search_tiles(search *s, float *pair_tile)
{
  syz_index *x = s->x;
  for (int64_t q0 = 0; q0 < s->n; q0 += TILE_QUERIES) {
    int64_t m = s->n - q0 < TILE_QUERIES ? s->n - q0 : TILE_QUERIES;
    const syz_gemm *product = load_block(s, q0, m);
    if (s->tally) {
      score_pairs(s, q0, m, product, pair_tile);
      syz_allreduce_f32(x->comm, s->pair_score + q0, (size_t)m, SYZ_MAX);
    }
    for (int64_t t = 0; t < x->tiles; t++) {
      syz_gemm_run(product, x->block, x->x + t * TILE_ENTRIES * x->width, NULL, x->scores);
#pragma omp parallel for schedule(static)
      for (int64_t q = 0; q < m; q++)
        if (s->usable[q0 + q]) scan_row(s, q0 + q, x->scores + q * TILE_ENTRIES, t * TILE_ENTRIES);
      if (s->tally) take_back(s, q0, m, t * TILE_ENTRIES);
    }
  }
}

/* Every query's partial lists to the rank that keeps it, and the k best of them. */
static syz_status merge(search *s, syz_neighbour *best, bool *has_memory)
{
  syz_status st = SYZ_OK;
  syz_comm *c = s->x->comm;
  int size = syz_comm_size(c);
  int64_t first, mine, k = s->k;
  size_t *send = NULL, *receive = NULL;
  syz_neighbour *all = NULL, *list = NULL;
  syz_share(s->n, size, syz_comm_rank(c), &first, &mine);
  send = syz_alloc("merge", (size_t)size, sizeof *send);
  receive = syz_alloc("merge", (size_t)size, sizeof *receive);
  all = syz_alloc("merge lists", (size_t)(size * mine * k), sizeof *all);
  list = syz_alloc("merge list", (size_t)(size * k), sizeof *list);
  *has_memory = send && receive && all && list;
  SYZ_TRY_ALL(c, *has_memory ? SYZ_OK : SYZ_ERR_MEMORY);
  for (int64_t q = 0; q < s->n; q++) {
    syz_neighbour *h = s->heap + q * k;
    for (int64_t i = s->count[q]; i < k; i++) h[i] = (syz_neighbour){-1, -1, NAN};
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
    qsort(list, (size_t)(size * k), sizeof *list, best_first);
    memcpy(best + q * k, list, (size_t)k * sizeof *list);
    if (s->x->metric == SYZ_METRIC_EUCLIDEAN)
      for (int64_t i = 0; i < k; i++) best[q * k + i].score = -best[q * k + i].score;
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
    bool has_partner = s->usable[q] && s->partner[q] != INT64_MAX;
    pair[i] = has_partner ? (syz_pair){s->partner[q], s->tally[2 * q], s->tally[2 * q + 1], s->pair_score[q]} : (syz_pair){-1, 0, 0, NAN};
  }
}

static syz_status search_check(const syz_index *x, int64_t n, const int64_t *query_id, const syz_search_options *o, bool wants_pairs)
{
  syz_status st = SYZ_OK;
  SYZ_REQUIRE(n >= 0 && o->k >= 1, SYZ_ERR_INTERNAL, "search of %lld queries for %lld neighbours", (long long)n, (long long)o->k);
  SYZ_REQUIRE(query_id || !(wants_pairs || o->excludes_same_id), SYZ_ERR_INTERNAL, "search by id without ids");
  SYZ_REQUIRE(!wants_pairs || x->metric == SYZ_METRIC_COSINE, SYZ_ERR_INTERNAL, "pair ranks are for cosines");
cleanup:
  return st;
}

syz_status syz_index_search(syz_index *x, int64_t n, const float *query, const int64_t *query_id, const syz_search_options *options,
                            syz_neighbour *best, syz_pair *pair)
{
  syz_status st = SYZ_OK;
  search s = {.x = x, .n = n, .k = options->k, .query = query, .query_id = query_id, .excludes_same_id = options->excludes_same_id};
  float *pair_tile = NULL;
  bool has_memory = false;
  SYZ_TRY_ALL(x->comm, search_check(x, n, query_id, options, pair != NULL));
  if (pair) pair_tile = syz_alloc("pair tile", (size_t)(TILE_ENTRIES * x->width), sizeof *pair_tile);
  SYZ_TRY_ALL(x->comm, pair && !pair_tile ? SYZ_ERR_MEMORY : search_allocate(&s, pair != NULL));
  if (pair) syz_allreduce_i64(x->comm, s.partner, (size_t)n, SYZ_MIN);
  search_tiles(&s, pair_tile);
  if (x->metric == SYZ_METRIC_EUCLIDEAN) refine_distances(&s);
  SYZ_TRY(merge(&s, best, &has_memory));
  if (pair) {
    syz_allreduce_i64(x->comm, s.tally, (size_t)(2 * n), SYZ_SUM);
    keep_pairs(&s, pair);
  }
cleanup:
  syz_free(&pair_tile);
  syz_free(&s.heap);
  syz_free(&s.count);
  syz_free(&s.usable);
  syz_free(&s.partner);
  syz_free(&s.pair_score);
  syz_free(&s.tally);
  syz_free(&s.same);
  return st;
}
