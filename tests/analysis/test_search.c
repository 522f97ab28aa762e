/* SPDX-License-Identifier: BSD-3-Clause */
/** Search against a full sort in float64: neighbours with order, ties, missing rows, pair ranks, distances; on any rank
 * count. */
#include <stdlib.h>

#include "check.h"
#include "syzygy/analysis.h"

typedef struct table {
  int64_t n, width;
  float *x;
  int64_t *id;
  uint8_t *valid;
} table;

static syz_random stream;

static table make_table(int64_t n, int64_t width, uint64_t sample)
{
  table t = {n, width, syz_alloc("x", (size_t)(n * width), 4), syz_alloc("id", (size_t)n, 8),
             syz_alloc("valid", (size_t)n, 1)};
  stream = syz_random_make(7, SYZ_RANDOM_TEST, 0, sample);
  syz_random_fill_normal(&stream, t.x, (size_t)(n * width));
  for (int64_t i = 0; i < n; i++) {
    t.id[i] = 39627788403084375 + 3 * ((i * 7919) % n); /* beyond 2^53, and not in order */
    t.valid[i] = 1;
  }
  return t;
}

static void free_table(table *t)
{
  syz_free(&t->x);
  syz_free(&t->id);
  syz_free(&t->valid);
}

static bool is_usable(const float *x, int64_t width, bool is_cosine)
{
  double sum = 0;
  for (int64_t e = 0; e < width; e++) sum += (double)x[e] * (double)x[e];
  return isfinite(sum) && (!is_cosine || sum > 0);
}

static double exact_score(const float *a, const float *b, int64_t width, bool is_cosine)
{
  double ab = 0, aa = 0, bb = 0, dd = 0;
  for (int64_t e = 0; e < width; e++) {
    double p = (double)a[e], q = (double)b[e];
    ab += p * q;
    aa += p * p;
    bb += q * q;
    dd += (p - q) * (p - q);
  }
  return is_cosine ? ab / sqrt(aa * bb) : -sqrt(dd);
}

typedef struct scored {
  double score;
  int64_t row;
} scored;

static int best_first(const void *a, const void *b)
{
  const scored *p = a, *q = b;
  if (p->score != q->score) return p->score > q->score ? -1 : 1;
  return p->row < q->row ? -1 : p->row > q->row;
}

/* One search of all of q in x, compared with the sort. Only what float64 itself cannot tell apart may change places:
 * `close`. */
static void compare(syz_comm *c, const syz_compute *compute, syz_metric metric, const table *x, const table *q,
                    int64_t k, bool excludes, bool wants_pairs)
{
  bool is_cosine = metric == SYZ_METRIC_COSINE;
  const double close = 5e-15, single = 1e-7; /* of float64 sums; of scores that are reported in float32 */
  syz_index *index = NULL;
  int64_t first, n, share, q0, valid = 0, expected_valid = 0;
  int wrong_order = 0, wrong_score = 0, wrong_padding = 0, wrong_pair = 0;
  CHECK_OK(syz_index_create(c, compute, metric, x->n, x->width, &index));
  syz_index_share(x->n, syz_comm_size(c), syz_comm_rank(c), &first, &n);
  if (n) memcpy(syz_index_rows(index), x->x + first * x->width, (size_t)(n * x->width) * 4);
  if (n) memcpy(syz_index_ids(index), x->id + first, (size_t)n * 8);
  if (n) memcpy(syz_index_valid(index), x->valid + first, (size_t)n);
  CHECK_OK(syz_index_seal(index, &valid));
  for (int64_t i = 0; i < x->n; i++)
    expected_valid += x->valid[i] && is_usable(x->x + i * x->width, x->width, is_cosine);
  CHECK_EQ(valid, expected_valid);
  syz_share(q->n, syz_comm_size(c), syz_comm_rank(c), &q0, &share);
  syz_neighbour *best = syz_alloc("best", (size_t)(share * k), sizeof *best);
  syz_pair *pair = syz_alloc("pair", (size_t)share, sizeof *pair);
  scored *all = syz_alloc("all", (size_t)x->n, sizeof *all);
  CHECK_OK(
      syz_index_search(index, q->n, q->x, q->id, &(syz_search_options){k, excludes}, best, wants_pairs ? pair : NULL));
  for (int64_t i = 0; i < share; i++) {
    const float *query = q->x + (q0 + i) * q->width;
    int64_t m = 0, partner = -1, larger_low = 0, larger_high = 0;
    bool is_query_usable = is_usable(query, q->width, is_cosine);
    for (int64_t j = 0; j < x->n; j++) {
      bool is_in = is_query_usable && x->valid[j] && is_usable(x->x + j * x->width, x->width, is_cosine);
      if (is_in && partner < 0 && x->id[j] == q->id[q0 + i]) partner = j;
      if (is_in && !(excludes && x->id[j] == q->id[q0 + i]))
        all[m++] = (scored){exact_score(query, x->x + j * x->width, x->width, is_cosine), j};
    }
    qsort(all, (size_t)m, sizeof *all, best_first);
    for (int64_t r = 0; r < k; r++) {
      const syz_neighbour *b = &best[i * k + r];
      if (r >= m) {
        wrong_padding += b->row != -1 || b->id != -1 || !isnan(b->score);
        continue;
      }
      double score = is_cosine ? (double)b->score : -(double)b->score;
      double own = b->row >= 0 ? exact_score(query, x->x + b->row * x->width, x->width, is_cosine) : NAN;
      double tolerance = single * (is_cosine ? 1 : fabs(own));
      wrong_score += !(fabs(score - own) <= tolerance) || (b->row >= 0 && b->id != x->id[b->row]);
      wrong_order +=
          b->row != all[r].row && !(fabs(own - all[r].score) <= close * (1 + fabs(own)) && all[r].score != own);
      /* Descending as reported, too. */
      if (r && best[i * k + r - 1].row >= 0) {
        double before = is_cosine ? (double)best[i * k + r - 1].score : -(double)best[i * k + r - 1].score;
        wrong_order += before < score;
      }
    }
    if (!wants_pairs) continue;
    double p = partner >= 0 ? exact_score(query, x->x + partner * x->width, x->width, true) : 0;
    for (int64_t j = 0; j < m && partner >= 0; j++) {
      if (x->id[all[j].row] == q->id[q0 + i]) continue;
      larger_low += all[j].score > p + close;
      larger_high += all[j].score > p - close;
    }
    int64_t not_below = pair[i].larger + pair[i].ties;
    wrong_pair += pair[i].row != partner || (partner >= 0 && (pair[i].larger < larger_low || not_below > larger_high ||
                                                              !(fabs((double)pair[i].score - p) <= single)));
  }
  if (wrong_order || wrong_score || wrong_padding || wrong_pair)
    fprintf(stderr, "N %lld Q %lld E %lld k %lld: order %d score %d padding %d pair %d\n", (long long)x->n,
            (long long)q->n, (long long)x->width, (long long)k, wrong_order, wrong_score, wrong_padding, wrong_pair);
  CHECK_EQ(wrong_order, 0);
  CHECK_EQ(wrong_score, 0);
  CHECK_EQ(wrong_padding, 0);
  CHECK_EQ(wrong_pair, 0);
  syz_free(&best);
  syz_free(&pair);
  syz_free(&all);
  syz_index_destroy(&index);
  CHECK(index == NULL);
}

static void sizes(syz_comm *c, const syz_compute *compute)
{
  const int64_t rows[] = {1, 2, 767, 768, 769, 2500}, queries[] = {1, 7, 48, 49, 1000, 100},
                k[] = {1, 5, 10, 800, 64, 10};
  for (int i = 0; i < 6; i++) {
    table x = make_table(rows[i], 33 + i, (uint64_t)i), q = make_table(queries[i], 33 + i, (uint64_t)(100 + i));
    compare(c, compute, SYZ_METRIC_COSINE, &x, &q, k[i], false, false);
    compare(c, compute, SYZ_METRIC_EUCLIDEAN, &x, &q, k[i], false, false);
    free_table(&x);
    free_table(&q);
  }
}

/* Rows that cannot take part: switched off, NaN, infinite, zero; queries of the same kinds; no row at all; no query at
 * all. */
static void unusable(syz_comm *c, const syz_compute *compute)
{
  table x = make_table(1700, 24, 3), q = make_table(60, 24, 4), none = make_table(0, 24, 5);
  for (int64_t i = 0; i < 1700; i += 11) x.valid[i] = 0;
  x.x[24 * 5 + 3] = NAN;
  x.x[24 * 1600] = INFINITY;
  x.x[24 * 1601] = -INFINITY;
  memset(x.x + 24 * 900, 0, 24 * 4);
  for (int64_t e = 0; e < 24; e++) x.x[24 * 901 + e] = 1e30f; /* whose square is no float32 */
  q.x[24 * 2 + 1] = NAN;
  q.x[24 * 3 + 1] = INFINITY;
  memset(q.x + 24 * 4, 0, 24 * 4);
  for (int64_t i = 0; i < 60; i++) q.id[i] = x.id[i * 20 + 1];
  compare(c, compute, SYZ_METRIC_COSINE, &x, &q, 12, false, true);
  for (int64_t e = 0; e < 24; e++) x.x[24 * 901 + e] = 3; /* a distance to 1e30 has no neighbours to tell apart */
  compare(c, compute, SYZ_METRIC_EUCLIDEAN, &x, &q, 12, false, false);
  compare(c, compute, SYZ_METRIC_COSINE, &none, &q, 3, false, true);
  compare(c, compute, SYZ_METRIC_COSINE, &x, &none, 3, false, true);
  free_table(&x);
  free_table(&q);
  free_table(&none);
}

/* Pairs: ids in another order, ids that are absent, an id that occurs three times, the own id left out. */
static void pairs(syz_comm *c, const syz_compute *compute)
{
  table x = make_table(1900, 16, 6), q = make_table(1900, 16, 7);
  for (int64_t i = 0; i < 1900; i++) {
    q.id[i] = x.id[1899 - i];
    for (int64_t e = 0; e < 16; e++) q.x[16 * i + e] = x.x[16 * (1899 - i) + e] + (float)(i % 5) * q.x[16 * i + e];
  }
  x.id[40] = x.id[1500] = x.id[1501];
  for (int64_t i = 0; i < 30; i++) q.id[i * 50] = -5 - i;
  compare(c, compute, SYZ_METRIC_COSINE, &x, &q, 10, false, true);
  compare(c, compute, SYZ_METRIC_COSINE, &x, &q, 10, true, true);
  free_table(&x);
  free_table(&q);
}

/* Equal rows everywhere: scores must be equal in the last bit wherever they stand in a tile, neighbours in row order,
 * partners tie with all. */
static void collapsed(syz_comm *c, const syz_compute *compute)
{
  int64_t n = 2000, width = 40, k = 30, share, q0, first, mine;
  table x = make_table(n, width, 8);
  for (int64_t i = 1; i < n; i++) memcpy(x.x + i * width, x.x, (size_t)width * 4);
  syz_index *index = NULL;
  CHECK_OK(syz_index_create(c, compute, SYZ_METRIC_COSINE, n, width, &index));
  syz_index_share(n, syz_comm_size(c), syz_comm_rank(c), &first, &mine);
  if (mine) memcpy(syz_index_rows(index), x.x + first * width, (size_t)(mine * width) * 4);
  if (mine) memcpy(syz_index_ids(index), x.id + first, (size_t)mine * 8);
  CHECK_OK(syz_index_seal(index, NULL));
  syz_share(n, syz_comm_size(c), syz_comm_rank(c), &q0, &share);
  syz_neighbour *best = syz_alloc("best", (size_t)(share * k), sizeof *best);
  syz_pair *pair = syz_alloc("pair", (size_t)share, sizeof *pair);
  CHECK_OK(syz_index_search(index, n, x.x, x.id, &(syz_search_options){.k = k}, best, pair));
  int wrong = 0;
  for (int64_t i = 0; i < share; i++) {
    for (int64_t r = 0; r < k; r++) wrong += best[i * k + r].row != r || best[i * k + r].score != best[0].score;
    wrong += pair[i].larger != 0 || pair[i].ties != n - 1;
  }
  CHECK_EQ(wrong, 0);
  syz_pair_figures score;
  CHECK_OK(syz_pair_score(pair, share, n, &score));
  if (share) CHECK_NEAR(score.recall[2], 10.0 / (double)n, 1e-12);
  if (share) CHECK_NEAR(score.median_rank, (double)(n + 1) / 2, 1e-9);
  syz_free(&best);
  syz_free(&pair);
  syz_index_destroy(&index);
  free_table(&x);
}

/*
 * Neighbours that rounding to bfloat16 puts last. Rows are mirrored about 0, so that nothing is shifted. Half of the
 * numbers of the winner lie just below the middle of two bfloat16 numbers, and lose 2^-9 there; those of the others,
 * farther from the query by little, just above it, and gain as much.
 */
static void against_rounding(syz_comm *c, const syz_compute *compute, syz_metric metric)
{
  enum { WIDTH = 64, LOSERS = 40, PAIRS = 2 + LOSERS };
  const float middle = 0.75f + 0x1p-9f, little = 0x1p-18f;
  table x = make_table(2 * PAIRS, WIDTH, 9), q = make_table(3, WIDTH, 10);
  for (int64_t i = 0; i < PAIRS; i++)
    for (int64_t e = 0; e < WIDTH; e++) {
      const bool is_winner = i == LOSERS, is_upper = e < WIDTH / 2;
      const float near = is_winner ? middle - little : middle + little,
                  far = is_winner ? 0.5f : 0.5f - little * (float)(4 + i);
      const float v = i > LOSERS ? 1.0f : is_upper ? near : far;
      x.x[i * WIDTH + e] = v;
      x.x[(PAIRS + i) * WIDTH + e] = -v;
    }
  for (int64_t e = 0; e < 3 * WIDTH; e++) q.x[e] = (e % WIDTH < WIDTH / 2 ? 0.75f : 0.5f) + 0.125f * (float)(e / WIDTH);
  for (int64_t k = 1; k < 4; k++) compare(c, compute, metric, &x, &q, k, false, false);
  free_table(&x);
  free_table(&q);
}

/* Two heaps of rows that differ by parts in a million, some of them not at all: bounds decide nothing within a heap,
 * and lists overflow. */
static void near_copies(syz_comm *c, const syz_compute *compute)
{
  const int64_t n = 1800, width = 37;
  table x = make_table(n, width, 11), q = make_table(200, width, 12);
  for (int64_t i = 0; i < n; i++)
    for (int64_t e = 0; e < width; e++) {
      const float little = i % 3 ? 3e-6f * x.x[i * width + e] : 0;
      x.x[i * width + e] = (i % 2 ? -1.0f : 1.0f) * (1 + 0.1f * (float)e) + little;
    }
  for (int64_t i = 0; i < 30; i++) x.id[6 * i] = x.id[0]; /* the first copies of one row, which a query leaves out */
  for (int64_t i = 0; i < 200; i++) q.id[i] = x.id[i * 9];
  for (int64_t e = 0; e < 200 * width; e++) q.x[e] = 1 + 0.1f * (float)(e % width) + 0.01f * q.x[e];
  memcpy(q.x, x.x, (size_t)width * sizeof *q.x);
  compare(c, compute, SYZ_METRIC_COSINE, &x, &q, 10, true, true);
  compare(c, compute, SYZ_METRIC_COSINE, &x, &q, 100, false, false);
  compare(c, compute, SYZ_METRIC_EUCLIDEAN, &x, &q, 10, false, false);
  free_table(&x);
  free_table(&q);
}

/* Lengths from 1e-30 to 1e30, far from zero, of one number and of two: what float32 cannot hold is found all the same.
 */
static void extremes(syz_comm *c, const syz_compute *compute)
{
  for (int64_t width = 1; width <= 3; width++) {
    table x = make_table(900, width, 13), q = make_table(97, width, 14);
    for (int64_t i = 0; i < 900; i++)
      for (int64_t e = 0; e < width; e++) x.x[i * width + e] *= powf(10, (float)(i % 61) - 30);
    for (int64_t i = 0; i < 97; i++)
      for (int64_t e = 0; e < width; e++) q.x[i * width + e] *= powf(10, (float)(i % 75) - 37);
    if (width > 1)
      compare(c, compute, SYZ_METRIC_COSINE, &x, &q, 7, false, false); /* cosines of one number are all 1 or -1 */
    compare(c, compute, SYZ_METRIC_EUCLIDEAN, &x, &q, 7, false, false);
    for (int64_t e = 0; e < 900 * width; e++) x.x[e] = 1000 + 0.01f * (float)(e * 7919 % 900);
    for (int64_t e = 0; e < 97 * width; e++) q.x[e] = 1001 + 0.05f * (float)e;
    compare(c, compute, SYZ_METRIC_EUCLIDEAN, &x, &q, 7, false, false);
    free_table(&x);
    free_table(&q);
  }
}

static void shares(void)
{
  const int64_t rows[] = {0, 1, 768, 769, 5000, 100000};
  for (int i = 0; i < 6; i++)
    for (int size = 1; size <= 9; size++) {
      int64_t next = 0, first, n;
      for (int r = 0; r < size; r++) {
        syz_index_share(rows[i], size, r, &first, &n);
        CHECK(n >= 0 && (n == 0 || first == next));
        next += n;
      }
      CHECK_EQ(next, rows[i]);
    }
  CHECK(syz_index_block(1) == 8 * 768 && syz_index_block(1000) % 768 == 0 && syz_index_block(100000) == 48);
}

static void all_cases(syz_comm *c, const syz_compute *compute)
{
  sizes(c, compute);
  unusable(c, compute);
  pairs(c, compute);
  collapsed(c, compute);
  against_rounding(c, compute, SYZ_METRIC_COSINE);
  against_rounding(c, compute, SYZ_METRIC_EUCLIDEAN);
  near_copies(c, compute);
  extremes(c, compute);
}

int main(int argc, char **argv)
{
  syz_comm *world = NULL;
  syz_compute *compute = NULL;
  CHECK_OK(syz_comm_start(&argc, &argv, &world));
  int64_t blocks = syz_memory_get().live_blocks;
  shares();
  /* First products of either type, and by two threads: the result is the same. */
  CHECK_OK(syz_compute_create(SYZ_F32, SYZ_ENGINE_BLIS, 1, &compute));
  all_cases(world, compute);
  syz_compute_destroy(&compute);
  CHECK_OK(syz_compute_create(SYZ_BF16, SYZ_ENGINE_AUTO, 1, &compute));
  all_cases(world, compute);
  syz_compute_destroy(&compute);
  CHECK_OK(syz_compute_create(SYZ_BF16, SYZ_ENGINE_AUTO, 2, &compute));
  near_copies(world, compute);
  syz_compute_destroy(&compute);
  CHECK_EQ(syz_memory_get().live_blocks, blocks);
  int64_t failed = CHECK_RESULT();
  syz_allreduce_i64(world, &failed, 1, SYZ_MAX);
  syz_comm_finish(&world);
  return failed != 0;
}
