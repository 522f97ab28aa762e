/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Train and test by place on the sky, by row, by file or by a column (recipes of the evaluation, "Splits and errors").
 *
 * By sky: cell = (floor(10 (RA mod 360)) << 32) xor floor(10 (Dec + 90)); by rows: the number of the object. With a
 * seed other than 0 it is xored with splitmix64 of the seed. The object is in test where the first 53 bits of
 * splitmix64 of that, as a fraction, are below the share. splitmix64 is Vigna's (2015, public domain), after Steele,
 * Lea & Flood 2014, doi:10.1145/2660193.2660195.
 *
 * Then objects of one identifier come to one side: by sky and rows to that of the first; by file and column, where
 * sides are stated, those of test that training has too are dropped. And objects of test near one of training are
 * dropped, with all of their identifier: both lie at a border of cells, or are one source under two identifiers.
 */
#include <string.h>

#include "places.h"
#include "syzygy/sky.h"

typedef struct making {
  syz_comm *comm;
  const syz_sides_options *options;
  int64_t n;
  const int64_t *id;
  const double *ra, *dec;
  labels_id *sorted; /**< objects that have an identifier */
  int64_t n_sorted;
  syz_skytree *tree; /**< of training */
  syz_sides s;
} making;

/* -------------------------------------------------------------------- rules */

static uint64_t splitmix64(uint64_t x)
{
  x += UINT64_C(0x9E3779B97F4A7C15);
  x = (x ^ x >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
  x = (x ^ x >> 27) * UINT64_C(0x94D049BB133111EB);
  return x ^ x >> 31;
}

static bool is_test(const syz_sides_options *o, uint64_t key)
{
  if (o->seed) key ^= splitmix64(o->seed);
  return (double)(splitmix64(key) >> 11) * 0x1p-53 < o->test_share;
}

static uint64_t cell_of(double ra, double dec)
{
  double turn = fmod(ra, 360);
  if (turn < 0) turn += 360;
  if (turn >= 360) turn = 0; /* of a tiny negative one */
  return (uint64_t)floor(10 * turn) << 32 ^ (uint64_t)floor(10 * (dec + 90));
}

static bool has_id(const making *m, int64_t i) { return m->id[i] > 0; }

static uint64_t key_of(const making *m, int64_t i)
{
  if (m->options->rule == SYZ_SIDES_BY_ROWS) return (uint64_t)i;
  if (labels_has_place(m->ra[i], m->dec[i])) return cell_of(m->ra[i], m->dec[i]);
  return (uint64_t)(has_id(m, i) ? m->id[i] : i);
}

static bool is_hashed(const making *m)
{
  return m->options->rule == SYZ_SIDES_BY_SKY || m->options->rule == SYZ_SIDES_BY_ROWS;
}

static syz_status choose(making *m, const uint8_t *given)
{
  syz_status st = SYZ_OK;
  SYZ_ALLOC(m->s.side, "sides of a split", m->n + 1);
  for (int64_t i = 0; i < m->n; i++) {
    m->s.placeless += !labels_has_place(m->ra[i], m->dec[i]);
    if (is_hashed(m))
      m->s.side[i] = is_test(m->options, key_of(m, i)) ? SYZ_SIDE_TEST : SYZ_SIDE_TRAIN;
    else
      m->s.side[i] = given[i] == SYZ_SIDE_TRAIN || given[i] == SYZ_SIDE_TEST ? given[i] : SYZ_SIDE_NONE;
  }
cleanup:
  return st;
}

/* -------------------------------------------------------------- identifiers */

static syz_status sort_ids(making *m)
{
  syz_status st = SYZ_OK;
  SYZ_ALLOC(m->sorted, "identifiers of a split", m->n + 1);
  for (int64_t i = 0; i < m->n; i++)
    if (has_id(m, i)) m->sorted[m->n_sorted++] = (labels_id){m->id[i], i};
  labels_sort_ids(m->sorted, m->n_sorted);
cleanup:
  return st;
}

/* The end of the objects of one identifier that begin with `first`. */
static int64_t end_of(const making *m, int64_t first)
{
  int64_t end = first + 1;
  while (end < m->n_sorted && m->sorted[end].id == m->sorted[first].id) end++;
  return end;
}

static uint8_t *side_at(making *m, int64_t k) { return &m->s.side[m->sorted[k].at]; }

static bool has_side(making *m, int64_t first, int64_t end, uint8_t side)
{
  for (int64_t k = first; k < end; k++)
    if (*side_at(m, k) == side) return true;
  return false;
}

/* Objects of test among them are dropped. */
static void drop(making *m, int64_t first, int64_t end, int64_t *count)
{
  for (int64_t k = first; k < end; k++)
    if (*side_at(m, k) == SYZ_SIDE_TEST) {
      *side_at(m, k) = SYZ_SIDE_DROPPED;
      ++*count;
    }
}

static void join_ids(making *m)
{
  for (int64_t first = 0, end; first < m->n_sorted; first = end) {
    end = end_of(m, first);
    if (is_hashed(m)) {
      for (int64_t k = first + 1; k < end; k++) {
        m->s.moved += *side_at(m, k) != *side_at(m, first);
        *side_at(m, k) = *side_at(m, first);
      }
    } else if (has_side(m, first, end, SYZ_SIDE_TRAIN)) {
      drop(m, first, end, &m->s.dropped_shared);
    }
  }
}

/* ------------------------------------------------------------------ borders */

static syz_status plant(making *m)
{
  syz_status st = SYZ_OK;
  double *place = NULL;
  SYZ_ALLOC(place, "positions of training", 2 * m->n + 1);
  for (int64_t i = 0; i < m->n; i++) {
    const bool has = m->s.side[i] == SYZ_SIDE_TRAIN && labels_has_place(m->ra[i], m->dec[i]);
    place[i] = has ? m->ra[i] : (double)NAN;
    place[m->n + i] = has ? m->dec[i] : (double)NAN;
  }
  SYZ_TRY(syz_skytree_create(m->n, place, place + m->n, &m->tree));
cleanup:
  syz_free(&place);
  return st;
}

static void drop_share(making *m)
{
  int64_t first, some;
  syz_share(m->n, syz_comm_size(m->comm), syz_comm_rank(m->comm), &first, &some);
  for (int64_t i = first; i < first + some; i++)
    if (m->s.side[i] == SYZ_SIDE_TEST && labels_has_place(m->ra[i], m->dec[i]) &&
        syz_skytree_nearest(m->tree, m->ra[i], m->dec[i], m->options->border_arcsec / 3600, NULL) >= 0)
      m->s.side[i] = SYZ_SIDE_DROPPED;
}

/* Objects dropped for their identifier are dropped already, and so is all of that identifier. */
static syz_status drop_borders(making *m)
{
  syz_status st = SYZ_OK;
  int64_t before = 0, others = 0;
  SYZ_TRY_ALL(m->comm, plant(m));
  for (int64_t i = 0; i < m->n; i++) before += m->s.side[i] == SYZ_SIDE_DROPPED;
  drop_share(m);
  SYZ_TRY(labels_gather_shares(m->comm, m->n, 1, m->s.side));
  for (int64_t first = 0, end; first < m->n_sorted; first = end) {
    end = end_of(m, first);
    if (has_side(m, first, end, SYZ_SIDE_DROPPED)) drop(m, first, end, &others);
  }
  for (int64_t i = 0; i < m->n; i++) m->s.dropped_border += m->s.side[i] == SYZ_SIDE_DROPPED;
  m->s.dropped_border -= before;
cleanup:
  return st;
}

/* ------------------------------------------------------------------- whole */

uint64_t syz_sides_digest(int64_t n, const int64_t *object_id, const uint8_t *side)
{
  uint64_t sum = 0;
  for (int64_t i = 0; i < n; i++) {
    const int64_t pair[2] = {object_id[i], side[i]};
    sum += syz_checksum(pair, sizeof pair, 1);
  }
  return sum;
}

static syz_status check_options(const syz_sides_options *o, const uint8_t *given)
{
  syz_status st = SYZ_OK;
  const bool is_stated = o->rule == SYZ_SIDES_BY_FILE || o->rule == SYZ_SIDES_BY_COLUMN;
  SYZ_REQUIRE(!is_stated || given, SYZ_ERR_INTERNAL, "a split by file or column without sides");
  SYZ_REQUIRE(is_stated || (o->test_share > 0 && o->test_share < 1), SYZ_ERR_INPUT,
              "a split with %g of the objects in test: more than 0 and less than 1 is wanted", o->test_share);
  SYZ_REQUIRE(o->border_arcsec >= 0 && o->border_arcsec <= 3600, SYZ_ERR_INPUT,
              "a split with borders of %g arcsec: 0 to 3600 is wanted", o->border_arcsec);
cleanup:
  return st;
}

static syz_status finish(making *m)
{
  syz_status st = SYZ_OK;
  syz_sides *s = &m->s;
  s->n = m->n;
  for (int64_t i = 0; i < m->n; i++) {
    s->train += s->side[i] == SYZ_SIDE_TRAIN;
    s->test += s->side[i] == SYZ_SIDE_TEST;
    s->none += s->side[i] == SYZ_SIDE_NONE;
  }
  s->digest = syz_sides_digest(m->n, m->id, s->side);
  SYZ_REQUIRE(s->train > 0 && s->test > 0, SYZ_ERR_DATA,
              "the split of %lld objects has %lld to train and %lld to test, %lld on neither side; %lld of test are "
              "dropped because training has the same objects, %lld because it has the same places: another share or "
              "another rule is needed",
              (long long)s->n, (long long)s->train, (long long)s->test, (long long)s->none,
              (long long)s->dropped_shared, (long long)s->dropped_border);
cleanup:
  return st;
}

static uint64_t sum_of(const making *m, const uint8_t *given)
{
  uint64_t sum = syz_checksum(m->id, (size_t)m->n * sizeof *m->id, (uint64_t)m->n);
  sum = syz_checksum(m->ra, (size_t)m->n * sizeof *m->ra, sum);
  sum = syz_checksum(m->dec, (size_t)m->n * sizeof *m->dec, sum);
  return given && !is_hashed(m) ? syz_checksum(given, (size_t)m->n, sum) : sum;
}

syz_status syz_sides_make(syz_comm *c, const syz_sides_options *options, int64_t n, const int64_t *object_id,
                          const double *ra, const double *dec, const uint8_t *given, syz_sides *out)
{
  syz_status st = SYZ_OK;
  making m = {.comm = c, .options = options, .n = n, .id = object_id, .ra = ra, .dec = dec};
  *out = (syz_sides){0};
  SYZ_TRY(check_options(options, given));
  SYZ_TRY(labels_same_on_all(c, "split", sum_of(&m, given)));
  SYZ_TRY_ALL(c, choose(&m, given));
  SYZ_TRY_ALL(c, sort_ids(&m));
  join_ids(&m);
  if (options->border_arcsec > 0) SYZ_TRY(drop_borders(&m));
  SYZ_TRY(finish(&m));
  *out = m.s;
  m.s = (syz_sides){0};
cleanup:
  syz_sides_free(&m.s);
  syz_skytree_destroy(&m.tree);
  syz_free(&m.sorted);
  return st;
}

void syz_sides_free(syz_sides *s)
{
  syz_free(&s->side);
  *s = (syz_sides){0};
}

const char *syz_side_name(syz_side side)
{
  static const char *const name[] = {"none", "train", "test", "dropped"};
  return name[side];
}
