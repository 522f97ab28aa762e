/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Which rows train and which test, on any number of ranks: the first 80 % of each file, but copies of an object on one
 * side. What is wanted of each row is written as text, a letter a row: r train, e test, - neither.
 */
#include <math.h>

#include "check.h"
#include "scratch.h"
#include "set_kept.h"
#include "../../src/data/shardset.h"
#include "syzygy/data.h"
#include "syzygy/h5.h"

enum { S = SYZ_SPECTRUM_PIXELS, ROWS = 25, IMAGE = 152 * 152 * 3 };

static syz_comm *world;
static char folder[SCRATCH];

/* The rows of a file. Row `i` of file `file` has the label row = 100 file + i, and a flux one larger throughout; those
 * of `is_bad` have a flux of zeros. */
typedef struct rows {
  int n;
  int64_t id[ROWS];
  double ra[ROWS], dec[ROWS];
  bool is_bad[ROWS];
} rows;

/* Rows without a copy. */
static rows make_rows(int file, int n)
{
  rows r = {.n = n};
  for (int i = 0; i < n; i++) {
    r.id[i] = 1000 * (file + 1) + i;
    r.ra[i] = 100 + 10 * file + 0.01 * i;
    r.dec[i] = -20;
  }
  return r;
}

static syz_status write_rows(const char *path, int file, const rows *r, bool has_position)
{
  syz_status st = SYZ_OK;
  syz_h5 *f = NULL;
  static float flux[ROWS * S];
  float label[ROWS];
  const int64_t shape[] = {S};
  for (int i = 0; i < r->n; i++) {
    label[i] = (float)(100 * file + i);
    for (int k = 0; k < S; k++) flux[i * S + k] = r->is_bad[i] ? 0 : label[i] + 1;
  }
  SYZ_TRY(syz_h5_create(NULL, path, "shard", "test", "", &f));
  SYZ_TRY(syz_h5_write(f, "object_id", SYZ_H5_I64, r->n, 0, NULL, 0, r->n, r->id, "", ""));
  if (has_position) SYZ_TRY(syz_h5_write(f, "ra", SYZ_H5_F64, r->n, 0, NULL, 0, r->n, r->ra, "", ""));
  if (has_position) SYZ_TRY(syz_h5_write(f, "dec", SYZ_H5_F64, r->n, 0, NULL, 0, r->n, r->dec, "", ""));
  SYZ_TRY(syz_h5_write(f, "spectrum", SYZ_H5_F32, r->n, 1, shape, 0, r->n, flux, "", ""));
  SYZ_TRY(syz_h5_write(f, "label/row", SYZ_H5_F32, r->n, 0, NULL, 0, r->n, label, "", ""));
  SYZ_TRY(syz_h5_publish(&f));
cleanup:
  syz_h5_close(&f);
  return st;
}

/* AstroCLIP's HDF5 with one group. It has no positions, and redshifts as its only label. */
static syz_status write_astroclip(const char *path, int file, const rows *r)
{
  syz_status st = SYZ_OK;
  syz_h5 *f = NULL;
  static float flux[ROWS * S], image[ROWS * IMAGE], redshift[ROWS];
  const int64_t image_shape[] = {152, 152, 3}, flux_shape[] = {S, 1};
  for (int i = 0; i < r->n; i++) {
    redshift[i] = (float)(100 * file + i);
    for (int k = 0; k < S; k++) flux[i * S + k] = redshift[i] + 1;
    for (int k = 0; k < IMAGE; k++) image[i * IMAGE + k] = 1;
  }
  SYZ_TRY(syz_h5_create(NULL, path, "shard", "test", "", &f));
  SYZ_TRY(syz_h5_write(f, "0/targetids", SYZ_H5_I64, r->n, 0, NULL, 0, r->n, r->id, "", ""));
  SYZ_TRY(syz_h5_write(f, "0/images", SYZ_H5_F32, r->n, 3, image_shape, 0, r->n, image, "", ""));
  SYZ_TRY(syz_h5_write(f, "0/spectra", SYZ_H5_F32, r->n, 2, flux_shape, 0, r->n, flux, "", ""));
  SYZ_TRY(syz_h5_write(f, "0/redshifts", SYZ_H5_F32, r->n, 0, NULL, 0, r->n, redshift, "", ""));
  SYZ_TRY(syz_h5_publish(&f));
cleanup:
  syz_h5_close(&f);
  return st;
}

/* The next row that has this letter, counted over all files; *at: the place after it in the text. */
static int next_row(const char *wanted, char letter, int *at)
{
  int row = 0;
  for (int i = 0; i < *at; i++) row = wanted[i] == ' ' ? (row / 100 + 1) * 100 : row + 1;
  for (; wanted[*at]; (*at)++) {
    if (wanted[*at] == letter) {
      (*at)++;
      return row;
    }
    row = wanted[*at] == ' ' ? (row / 100 + 1) * 100 : row + 1;
  }
  return -1;
}

/* One side, by its pixels: where each object is in its file is right, and they come in the order of rows. */
static void check_side(int n, const char *const *path, syz_split split, const char *wanted)
{
  static float flux[S];
  const char letter = split == SYZ_SPLIT_TRAIN ? 'r' : 'e';
  syz_shardset *s = NULL;
  CHECK_OK(syz_shardset_open(world, n, path, split, SYZ_BAD_SKIPPED, &s));
  if (!s) return;
  int at = 0;
  for (int64_t i = 0; i < syz_shardset_size(s); i++) {
    flux[7] = 0;
    CHECK_OK(syz_shardset_read(s, 1, &i, NULL, flux, NULL));
    CHECK_EQ(flux[7], next_row(wanted, letter, &at) + 1);
  }
  CHECK_EQ(next_row(wanted, letter, &at), -1);
  syz_shardset_close(&s);
}

/* Files `part` of shards are written as a folder, and both sides are as wanted; a blank of the text ends a file. */
static void check_split(const char *name, int n, const rows *part, const char *wanted)
{
  char path[SCRATCH + 40], file[SCRATCH + 80];
  const char *paths = path;
  snprintf(path, sizeof path, "%s/%s", folder, name);
  if (syz_comm_rank(world) == 0) {
    mkdir(path, 0777);
    for (int f = 0; f < n; f++) {
      snprintf(file, sizeof file, "%s/shard-%d.h5", path, f);
      CHECK_OK(write_rows(file, f, &part[f], true));
    }
  }
  syz_barrier(world);
  check_side(1, &paths, SYZ_SPLIT_TRAIN, wanted);
  check_side(1, &paths, SYZ_SPLIT_TEST, wanted);
}

/* int(0.8 n) of each file. */
static void test_without_copies(void)
{
  const rows r[4] = {make_rows(0, 10), make_rows(1, 9), make_rows(2, 1), make_rows(3, 25)}; /* 25: 0.8 and not 0.79 */
  check_split("plain", 4, r, "rrrrrrrree rrrrrrree e rrrrrrrrrrrrrrrrrrrreeeee");
}

static void test_identifiers(void)
{
  rows r[2] = {make_rows(0, 10), make_rows(1, 10)};
  r[0].id[8] = r[0].id[2]; /* to the first row's side, within a file ... */
  r[1].id[0] = r[0].id[9]; /* ... and in another, there from train to test ... */
  r[1].id[9] = r[0].id[0]; /* ... and from test to train */
  r[1].id[8] = r[0].id[9]; /* on its side already */
  check_split("identifiers", 2, r, "rrrrrrrrre errrrrrrer");
}

/* Positions decide alone: no two identifiers are equal. */
static void test_places(void)
{
  const double arcsec = 1.0 / 3600;
  rows r[2] = {make_rows(0, 20), make_rows(1, 20)};
  r[0].ra[1] = 0.1 * arcsec; /* across RA 0 */
  r[0].ra[16] = 360 - 0.1 * arcsec;
  r[0].ra[2] = 10; /* across the pole */
  r[0].ra[17] = 190;
  r[0].dec[2] = r[0].dec[17] = 90 - 0.3 * arcsec;
  r[0].ra[18] = r[0].ra[3]; /* too far */
  r[0].dec[18] = r[0].dec[3] + 1.004 * arcsec;
  r[0].ra[19] = r[0].ra[4]; /* near enough, in another cell */
  r[0].dec[4] = -20 - 0.498 * arcsec;
  r[0].dec[19] = -20 + 0.498 * arcsec;
  r[1].ra[0] = r[0].ra[18]; /* the same place, in another file, from train to test */
  r[1].dec[0] = r[0].dec[18];
  r[1].ra[16] = -90; /* right ascension as west of 0 */
  r[1].ra[5] = 270;
  r[1].ra[17] = 40; /* the other pole */
  r[1].ra[6] = 300;
  r[1].dec[17] = r[1].dec[6] = -90;
  const double along = 1 / cos(20 * 3.14159265358979323846 / 180); /* of a second of arc at that declination */
  r[1].ra[18] = r[1].ra[7] + 0.996 * along * arcsec;
  r[1].ra[19] = r[1].ra[8] + 1.004 * along * arcsec;
  check_split("places", 2, r, "rrrrrrrrrrrrrrrrrrer errrrrrrrrrrrrrrrrre");
}

/* Copies of copies: a place, a place near that one and further from the first, the identifier of the latter. A row that
 * is left out for its pixels still says where the others are. */
static void test_chains(void)
{
  const double arcsec = 1.0 / 3600;
  rows r[2] = {make_rows(0, 20), make_rows(1, 20)};
  r[0].is_bad[0] = true;
  for (int k = 1; k < 4; k++) {
    r[0].ra[15 + k] = r[0].ra[0];
    r[0].dec[15 + k] = r[0].dec[0] + 0.8 * k * arcsec;
  }
  r[1].id[18] = r[0].id[18];
  r[1].ra[18] = r[1].dec[18] = NAN;
  r[1].id[19] = r[1].id[18];
  r[1].is_bad[19] = true;
  r[1].id[3] = r[0].id[19]; /* rows 19 of file 0 and 3, 4 of file 1 test */
  r[1].ra[4] = r[1].ra[3];
  r[1].dec[4] = r[1].dec[3];
  check_split("chains", 2, r, "-rrrrrrrrrrrrrrrrrre rrreerrrrrrrrrrreer-");
}

/* What stands for no identifier and no position joins nothing. */
static void test_unknown(void)
{
  rows r[2] = {make_rows(0, 10), make_rows(1, 10)};
  for (int i = 0; i < 10; i++) {
    r[0].id[i] = -1;
    r[1].id[i] = 0;
    r[0].ra[i] = r[0].dec[i] = NAN;
    r[1].ra[i] = i < 5 ? INFINITY : 999;
    r[1].dec[i] = i == 7 || i == 8 ? -99 : -20;
  }
  check_split("unknown", 2, r, "rrrrrrrree rrrrrrrree");
  for (int i = 0; i < 10; i++) r[1].ra[i] = r[1].dec[i] = 0;
  check_split("zeros", 2, r, "rrrrrrrree rrrrrrrree");
}

/* A published split stays as it is, and decides for copies in other files, also in those before it. */
static void test_published(void)
{
  char path[2][SCRATCH + 40];
  const char *both[2] = {path[0], path[1]};
  rows r[2] = {make_rows(0, 10), make_rows(1, 10)};
  snprintf(path[0], sizeof path[0], "%s/before.h5", folder);
  snprintf(path[1], sizeof path[1], "%s/published.h5", folder);
  r[1].id[8] = r[1].id[0];
  r[0].id[1] = r[1].id[9]; /* train to test */
  r[0].id[9] = r[1].id[8]; /* test to train, as the first published one */
  if (syz_comm_rank(world) == 0) {
    CHECK_OK(write_rows(path[0], 0, &r[0], false));
    CHECK_OK(write_astroclip(path[1], 1, &r[1]));
  }
  syz_barrier(world);
  check_side(2, both, SYZ_SPLIT_TRAIN, "rerrrrrrer rrrrrrrree");
  check_side(2, both, SYZ_SPLIT_TEST, "rerrrrrrer rrrrrrrree");
  check_side(1, &both[1], SYZ_SPLIT_TEST, "---------- rrrrrrrree");
}

/* Labels and the choice of objects count rows as pixels do: here in a set with rows from both ends of its files. */
static void test_labels(void)
{
  char path[SCRATCH + 40];
  const char *paths = path;
  float row[2 * ROWS];
  const float wanted[] = {9, 100, 108};
  syz_shardset *s = NULL;
  int64_t left_out = -1;
  snprintf(path, sizeof path, "%s/identifiers", folder);
  CHECK_OK(syz_shardset_open(world, 1, &paths, SYZ_SPLIT_TEST, SYZ_BAD_REFUSED, &s));
  if (!s) return;
  CHECK_EQ(syz_shardset_size(s), 3);
  CHECK_OK(syz_shardset_read_label(s, "row", row));
  for (int i = 0; i < 3; i++) CHECK_EQ(row[i], wanted[i]);
  CHECK_OK(syz_shardset_select(s, false, true, &left_out));
  CHECK_EQ(left_out, 0);
  CHECK_ERROR(syz_shardset_select(s, true, false, &left_out), SYZ_ERR_DATA, "none of the 3 objects has an image");
  syz_shardset_close(&s);
}

/* The k-th row in use, over many blocks, some of them empty. */
static void test_kept(void)
{
  enum { MANY = 5000 };
  set_kept k;
  int64_t n = 0;
  CHECK_OK(set_kept_create(MANY, &k));
  for (int64_t row = 0; row < MANY; row++) set_kept_put(&k, row, row * row % 7 == 2 && (row < 900 || row > 2600));
  set_kept_put(&k, 9, false);
  set_kept_put(&k, MANY - 1, true);
  set_kept_count(&k);
  for (int64_t row = 0; row < MANY; row++)
    if (set_kept_has(&k, row)) CHECK_EQ(set_kept_row(&k, n++), row);
  CHECK_EQ(k.kept, n);
  CHECK(!set_kept_has(&k, 9) && set_kept_has(&k, MANY - 1) && !set_kept_has(&k, 1000));
  set_kept_free(&k);
}

static void run(void)
{
  test_without_copies();
  test_identifiers();
  test_places();
  test_chains();
  test_unknown();
  test_published();
  test_labels();
  test_kept();
}

int main(int argc, char **argv) { return scratch_main(argc, argv, &world, folder, run); }
