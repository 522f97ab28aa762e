/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Joins, splits and votes: what the reference test does not reach. Few objects on many ranks, arrays that differ
 * between ranks, nothing at all; the split is a law of identifiers and places whatever the rule. Against astropy and
 * NumPy: test_labels.py.
 */
#include <stdlib.h>

#include "scratch.h"
#include "syzygy/labels.h"
#include "syzygy/numbers.h"
#include "syzygy/sky.h"

static syz_comm *world;
static char folder[SCRATCH];
static int rank, size;
static const double NONE = (double)NAN;

static void test_few(void)
{
  const int64_t id[3] = {7, 8, 9}, row_id[4] = {9, 7, 7, 7};
  const double a[4] = {1, 2, 2, 2}, b[4] = {1, NONE, NONE, NONE}, *const value[2] = {a, b};
  double out[3];
  char text[512];
  syz_join j;
  CHECK_OK(syz_join_ids(world, 3, id, 4, row_id, 2, value, &j));
  CHECK(j.row && j.row[0] == 1 && j.row[1] == -1 && j.row[2] == 0);
  CHECK(j.matched == 2 && j.unmatched == 1 && j.ambiguous == 0 && j.merged == 2);
  CHECK(j.examples == 1 && j.example[0] == 1);
  syz_join_take(&j, a, out);
  CHECK(out[0] == 2 && isnan(out[1]) && out[2] == 1);
  syz_join_describe(&j, id, text);
  CHECK(strcmp(text, "2 of 3 objects are matched, 0 ambiguous, 1 unmatched (8)") == 0);
  syz_join_describe(&j, NULL, text);
  CHECK(strcmp(text, "2 of 3 objects are matched, 0 ambiguous, 1 unmatched") == 0);
  syz_join_free(&j);
  CHECK_ERROR(syz_join_ids(world, 0, id, 4, row_id, 0, NULL, &j), SYZ_ERR_DATA, "none of 0 objects");
  CHECK_ERROR(syz_join_ids(world, 3, id, 0, row_id, 0, NULL, &j), SYZ_ERR_DATA, "0 rows");
  CHECK(!j.row);
}

/* Positions at the pole, over RA 0, on zeros and off the sphere. */
static void test_places(void)
{
  const double ra[6] = {0.0001, 180, 0, NONE, 50, -359.9999}, dec[6] = {10, 89.99999, 0, 1, 91, 10};
  const double row_ra[4] = {359.99999, 0, 0, 500}, row_dec[4] = {10, 89.99999, 0, 10};
  syz_join j;
  CHECK_OK(syz_join_places(world, 6, ra, dec, 4, row_ra, row_dec, 0.5, 0, NULL, &j));
  CHECK(j.row && j.row[0] == 0 && j.row[1] == 1 && j.row[2] == -1 && j.row[3] == -1 && j.row[4] == -1 && j.row[5] == 0);
  CHECK(j.matched == 3 && j.unmatched == 3);
  syz_join_free(&j);
  CHECK_ERROR(syz_join_places(world, 2, ra + 3, dec + 3, 4, row_ra, row_dec, 0.5, 0, NULL, &j), SYZ_ERR_DATA,
              "one side has no positions at all");
}

/* A caller whose ranks hold different arrays is told so on all of them, instead of results that differ. */
static void test_different(void)
{
  const int64_t id[3] = {7, 8, size > 1 && rank == 1 ? 10 : 9};
  const double ra[3] = {1, 2, 3}, dec[3] = {1, 2, size > 1 && rank == size - 1 ? 4 : 3};
  const syz_sides_options by_rows = {SYZ_SIDES_BY_ROWS, 0.5, 0, 0};
  syz_join j = {0};
  syz_sides s = {0};
  if (size == 1) return;
  CHECK_ERROR(syz_join_ids(world, 3, id, 3, id, 0, NULL, &j), SYZ_ERR_INTERNAL, "not the same on all ranks");
  CHECK_ERROR(syz_sides_make(world, &by_rows, 3, id, ra, dec, NULL, &s), SYZ_ERR_INTERNAL, "not the same");
  CHECK(!j.row && !s.side);
}

enum { OBJECTS = 400 };
static int64_t id_of[OBJECTS];
static double ra_of[OBJECTS], dec_of[OBJECTS];
static uint8_t given_of[OBJECTS];

static void make_objects(uint64_t seed)
{
  for (int64_t i = 0; i < OBJECTS; i++) {
    const syz_random r = syz_random_make(seed, SYZ_RANDOM_TEST, 0, (uint64_t)i);
    id_of[i] = (int64_t)syz_random_below(&r, 0, OBJECTS);
    ra_of[i] = 359.7 + 0.6 * syz_random_uniform(&r, 1);
    ra_of[i] -= ra_of[i] >= 360 ? 360 : 0;
    dec_of[i] = 0.4 * syz_random_uniform(&r, 2);
    given_of[i] = (uint8_t)syz_random_below(&r, 3, 3);
  }
}

/* No object and no place on two sides, everything counted. */
static void check_split(const syz_sides *s, const syz_sides_options *o)
{
  int64_t count[4] = {0}, shared = 0, near = 0;
  for (int i = 0; i < OBJECTS; i++) {
    count[s->side[i]]++;
    for (int k = 0; s->side[i] == SYZ_SIDE_TEST && k < OBJECTS; k++) {
      if (s->side[k] != SYZ_SIDE_TRAIN) continue;
      shared += id_of[i] > 0 && id_of[i] == id_of[k];
      near += syz_separation(ra_of[i], dec_of[i], ra_of[k], dec_of[k]) * 3600 <= o->border_arcsec;
    }
  }
  CHECK_EQ(shared, 0);
  CHECK_EQ(near, 0);
  CHECK(count[SYZ_SIDE_TRAIN] == s->train && count[SYZ_SIDE_TEST] == s->test && count[SYZ_SIDE_NONE] == s->none);
  CHECK_EQ(count[SYZ_SIDE_DROPPED], s->dropped_border + s->dropped_shared);
  CHECK(s->digest == syz_sides_digest(OBJECTS, id_of, s->side));
  CHECK(s->digest ==
        syz_sides_digest(100, id_of, s->side) + syz_sides_digest(OBJECTS - 100, id_of + 100, s->side + 100));
}

static void test_law(void)
{
  int64_t dropped = 0;
  for (uint64_t seed = 1; seed < 9; seed++) {
    make_objects(seed);
    for (int rule = SYZ_SIDES_BY_SKY; rule <= SYZ_SIDES_BY_COLUMN; rule++) {
      const syz_sides_options o = {(syz_sides_rule)rule, 0.5, seed, 20};
      syz_sides s;
      CHECK_OK(syz_sides_make(world, &o, OBJECTS, id_of, ra_of, dec_of, given_of, &s));
      if (!s.side) continue;
      dropped += s.dropped_border;
      check_split(&s, &o);
      const uint64_t digest = s.digest;
      s.side[17] = s.side[17] == SYZ_SIDE_TEST ? SYZ_SIDE_TRAIN : SYZ_SIDE_TEST;
      CHECK(digest != syz_sides_digest(OBJECTS, id_of, s.side));
      syz_sides_free(&s);
    }
  }
  CHECK(dropped > 20);
  const syz_sides_options d = {SYZ_SIDES_BY_SKY, 0.2, 0, 2.0};
  CHECK(d.rule == SYZ_SIDES_BY_SKY && d.test_share == 0.2 && d.seed == 0 && d.border_arcsec == 2);
  CHECK(strcmp(syz_side_name(SYZ_SIDE_DROPPED), "dropped") == 0);
}

static void test_votes(void)
{
  static const char *const names[] = {"bar_yes", "bar_no"};
  const syz_texts name = {2, names};
  double yes[3] = {3, NONE, 0}, no[3] = {1, NONE, 7}, share[3] = {0.75, NONE, 0.1}, other[3] = {0.25, 1, 0.9};
  const double *const votes[2] = {yes, no}, *const shares[2] = {share, other};
  CHECK_OK(syz_votes_check(name, 3, votes));
  no[2] = -1;
  CHECK_ERROR(syz_votes_check(name, 3, votes), SYZ_ERR_DATA, "bar_no, row 2: -1 is no count of votes");
  no[2] = 0.5;
  CHECK_ERROR(syz_votes_check(name, 3, votes), SYZ_ERR_DATA, "bar_no, row 2: 0.5 is no count of votes");
  no[2] = (double)INFINITY;
  CHECK_ERROR(syz_votes_check(name, 3, votes), SYZ_ERR_DATA, "row 2: inf");
  CHECK_OK(syz_shares_check(name, 3, shares, 1e-6));
  other[2] = 0.92;
  CHECK_OK(syz_shares_check(name, 3, shares, 0.03));
  CHECK_ERROR(syz_shares_check(name, 3, shares, 0.01), SYZ_ERR_DATA, "row 2: the shares add up to 1.02 instead of 1");
  other[0] = 1.25;
  CHECK_ERROR(syz_shares_check(name, 3, shares, 0.01), SYZ_ERR_DATA, "bar_no, row 0: 1.25 is no share");
}

/* What is wrong with a file is seen by the rank that reads it, and said on all; columns that are missing are told all.
 */
static void test_table(void)
{
  char path[SCRATCH + 32];
  syz_label_table *t = NULL;
  static const char *const wanted[] = {"bar_yes", "bar_non", "arms_two"}, *const there[] = {"bar_no", "bar_yes"};
  int column[3];
  double value[3];
  int64_t id[3];
  snprintf(path, sizeof path, "%s/t.csv", folder);
  static const char text[] = "id,bar_yes,bar_no,arms_2\n1,3,1,0\n2,,,\n9.1e18,1,,x\n";
  if (rank == 0) scratch_write(path, text, sizeof text - 1);
  CHECK_OK(syz_label_table_open(world, path, "", true, &t));
  if (!t) return;
  CHECK(syz_label_table_rows(t) == 3 && syz_label_table_columns(t) == 4 && !strcmp(syz_label_table_path(t), path));
  CHECK_OK(syz_label_table_find_all(t, (syz_texts){2, there}, column));
  CHECK(column[0] == 2 && column[1] == 1);
  CHECK_ERROR(syz_label_table_find_all(t, (syz_texts){3, wanted}, column), SYZ_ERR_DATA,
              "2 of 3 columns are missing: bar_non (the nearest is bar_no), arms_two (the nearest is arms_2)");
  CHECK_OK(syz_label_table_numbers(t, 2, 0, value));
  CHECK(value[0] == 1 && isnan(value[1]) && isnan(value[2]));
  CHECK_ERROR(syz_label_table_numbers(t, 3, 0, value), SYZ_ERR_DATA, "column arms_2, row 2: 'x' is not a number");
  CHECK_ERROR(syz_label_table_ids(t, 0, id), SYZ_ERR_DATA, "row 2 has 9.1");
  CHECK_ERROR(syz_label_table_numbers(t, 4, 0, value), SYZ_ERR_INTERNAL, "no column 4");
  CHECK_OK(syz_label_table_find_ids(t, "none", column));
  CHECK_EQ(column[0], -1);
  CHECK_OK(syz_label_table_find_places(t, "", "", column, column + 1));
  CHECK(column[0] == -1 && column[1] == -1);
  CHECK_ERROR(syz_label_table_find_places(t, "RA", "DEC", column, column + 1), SYZ_ERR_DATA, "no column 'RA'");
  syz_label_table_close(&t);
  CHECK_ERROR(syz_label_table_open(world, folder, "", true, &t), SYZ_ERR_DATA, folder);
  CHECK(!t);
}

static void run(void)
{
  rank = syz_comm_rank(world);
  size = syz_comm_size(world);
  test_few();
  test_places();
  test_different();
  test_law();
  test_votes();
  test_table();
}

int main(int argc, char **argv) { return scratch_main(argc, argv, &world, folder, run); }
