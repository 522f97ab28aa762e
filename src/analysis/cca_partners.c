/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How large the largest canonical correlation is when there is nothing in common: partners are shuffled, Q stays. A
 * permutation costs one product and the largest singular value of it.
 *
 * Rows of Qy lie on their ranks, so a block of partners at a time is exchanged among all. Singular values of as many
 * permutations as there are ranks are then computed side by side, each by one rank.
 */
#include <math.h>
#include <string.h>

#include "cca.h"
#include "lapack.h"

enum { ROWS = 1024 };

typedef struct shuffle {
  syz_comm *comm;
  const cca_side *x, *y;
  int64_t *begin;            /* [ranks + 1] first row of each rank */
  double *product, *kept;    /* [rank x, rank y] */
  double *partner, *ordered; /* [ROWS, rank y] as they come, and in their places */
  double *out;               /* rows for others */
  size_t room;
  size_t *sends, *receives; /* [ranks] bytes */
  double *value;            /* singular values */
} shuffle;

static syz_status allocate(shuffle *s)
{
  syz_status st = SYZ_OK;
  const int size = syz_comm_size(s->comm);
  SYZ_ALLOC(s->begin, "shares of rows", size + 1);
  SYZ_ALLOC(s->product, "product", s->x->rank * s->y->rank);
  SYZ_ALLOC(s->kept, "product", s->x->rank * s->y->rank);
  SYZ_ALLOC(s->partner, "partners", ROWS * s->y->rank);
  SYZ_ALLOC(s->ordered, "partners", ROWS * s->y->rank);
  SYZ_ALLOC(s->sends, "shares of rows", size);
  SYZ_ALLOC(s->receives, "shares of rows", size);
  SYZ_ALLOC(s->value, "singular values", s->x->rank < s->y->rank ? s->x->rank : s->y->rank);
cleanup:
  return st;
}

static void release(shuffle *s)
{
  syz_free(&s->begin);
  syz_free(&s->product);
  syz_free(&s->kept);
  syz_free(&s->partner);
  syz_free(&s->ordered);
  syz_free(&s->out);
  syz_free(&s->sends);
  syz_free(&s->receives);
  syz_free(&s->value);
}

static int owner(const shuffle *s, int64_t row)
{
  int low = 0, high = syz_comm_size(s->comm) - 1; /* the last rank whose first row is not after it, and has rows */
  while (low < high) {
    const int middle = (low + high + 1) / 2;
    if (s->begin[middle] <= row)
      low = middle;
    else
      high = middle - 1;
  }
  return low;
}

/* Rows of rank r in the round that begins `at` rows into each share: from its first to before *end. */
static int64_t round_rows(const shuffle *s, int r, int64_t at, int64_t *end)
{
  const int64_t from = s->begin[r] + at;
  *end = from + ROWS < s->begin[r + 1] ? from + ROWS : s->begin[r + 1];
  return from;
}

/* What others want of this rank's rows in a round, in the order of ranks and of their rows. */
static syz_status pack(shuffle *s, const syz_random *random, int64_t at)
{
  syz_status st = SYZ_OK;
  const int mine = syz_comm_rank(s->comm), size = syz_comm_size(s->comm);
  const int64_t width = s->y->rank, total = s->begin[size];
  int64_t count = 0, end;
  for (int r = 0; r < size; r++) {
    const int64_t before = count;
    for (int64_t i = round_rows(s, r, at, &end); i < end; i++) {
      const int64_t row = (int64_t)syz_random_permute(random, (uint64_t)total, (uint64_t)i) - s->begin[mine];
      if (row < 0 || row >= s->y->n) continue;
      SYZ_TRY(syz_grow(&s->out, "partners", count * width, width, &s->room));
      memcpy(s->out + count++ * width, s->y->q + row * s->y->width, (size_t)width * sizeof *s->out);
    }
    s->sends[r] = (size_t)((count - before) * width) * sizeof *s->out;
  }
cleanup:
  return st;
}

/* Partners of this rank's rows of the round, in the order of the rows; how many. */
static int64_t exchange(shuffle *s, const syz_random *random, int64_t at)
{
  const int size = syz_comm_size(s->comm);
  const int64_t width = s->y->rank, total = s->begin[size];
  int64_t end, from = round_rows(s, syz_comm_rank(s->comm), at, &end);
  const size_t row_bytes = (size_t)width * sizeof(double);
  memset(s->receives, 0, (size_t)size * sizeof *s->receives);
  for (int64_t i = from; i < end; i++)
    s->receives[owner(s, (int64_t)syz_random_permute(random, (uint64_t)total, (uint64_t)i))] += row_bytes;
  syz_alltoallv(s->comm, s->out, s->sends, s->partner, s->receives);
  size_t offset = 0; /* from here on receives[r] is where the next row of rank r is */
  for (int r = 0; r < size; r++) {
    const size_t bytes = s->receives[r];
    s->receives[r] = offset;
    offset += bytes;
  }
  for (int64_t i = from; i < end; i++) {
    const int r = owner(s, (int64_t)syz_random_permute(random, (uint64_t)total, (uint64_t)i));
    memcpy(s->ordered + (i - from) * width, (char *)s->partner + s->receives[r], row_bytes);
    s->receives[r] += row_bytes;
  }
  return end > from ? end - from : 0;
}

/* Qx^T P Qy, summed over ranks. */
static syz_status multiply(shuffle *s, const syz_random *random)
{
  syz_status st = SYZ_OK;
  const int64_t p = s->x->rank, q = s->y->rank;
  int64_t most = 0;
  for (int r = 0; r < syz_comm_size(s->comm); r++)
    if (s->begin[r + 1] - s->begin[r] > most) most = s->begin[r + 1] - s->begin[r];
  memset(s->product, 0, (size_t)(p * q) * sizeof *s->product);
  for (int64_t at = 0; at < most; at += ROWS) {
    SYZ_TRY_ALL(s->comm, pack(s, random, at));
    const int64_t n = exchange(s, random, at);
    if (n > 0)
      la_product(true, false, p, q, n, 1, s->x->q + at * s->x->width, s->x->width, s->ordered, q, 1, s->product, q);
  }
  syz_allreduce_f64(s->comm, s->product, (size_t)(p * q), SYZ_SUM);
cleanup:
  return st;
}

static syz_status shuffle_all(shuffle *s, const syz_cca_options *options, double *largest)
{
  syz_status st = SYZ_OK;
  const int size = syz_comm_size(s->comm), rank = syz_comm_rank(s->comm);
  const int64_t p = s->x->rank, q = s->y->rank;
  memset(largest, 0, (size_t)options->permutations * sizeof *largest);
  for (int64_t first = 0; first < options->permutations; first += size) {
    for (int r = 0; r < size && first + r < options->permutations; r++) {
      const syz_random random = syz_random_make(options->seed, SYZ_RANDOM_PARTNERS, (uint64_t)(first + r), 0);
      SYZ_TRY(multiply(s, &random));
      if (r == rank) memcpy(s->kept, s->product, (size_t)(p * q) * sizeof *s->kept);
    }
    const bool is_busy = first + rank < options->permutations;
    SYZ_TRY_ALL(s->comm, is_busy ? la_svd(p, q, s->kept, s->value, NULL, NULL) : SYZ_OK);
    if (is_busy) largest[first + rank] = fmin(s->value[0], 1);
  }
  syz_allreduce_f64(s->comm, largest, (size_t)options->permutations, SYZ_SUM);
cleanup:
  return st;
}

syz_status cca_shuffle(syz_comm *c, const cca_side side[2], const syz_cca_options *options, double *largest)
{
  syz_status st = SYZ_OK;
  shuffle s = {.comm = c, .x = &side[0], .y = &side[1]};
  SYZ_TRY_ALL(c, allocate(&s));
  syz_allgather(c, &s.x->n, s.begin + 1, sizeof *s.begin);
  for (int r = 0; r < syz_comm_size(c); r++) s.begin[r + 1] += s.begin[r];
  SYZ_TRY(shuffle_all(&s, options, largest));
cleanup:
  release(&s);
  return st;
}
