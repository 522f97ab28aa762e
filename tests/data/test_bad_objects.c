/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Bad objects have one rule: what data.bad_objects: skip leaves out is what reading refuses, for images, for spectra
 * (flux and ivar together, also where the ivar is not asked for) and for both, one by one and many in a row.
 */
#include "check.h"
#include "fixture.h"
#include "scratch.h"
#include "../../src/data/shardset.h"

enum { SEED = 9, IMAGE = 3 * 152 * 152, S = SYZ_SPECTRUM_PIXELS };

/** What is wrong with an object, and with which of its parts. */
static const struct {
  const char *reason; /* of the refusal; NULL: nothing is wrong */
  bool is_image;
} object_is[] = {{NULL, false},
                 {"beyond 1e12 nanomaggy", true},                     /* 1: 1e30 */
                 {"the image has NaN", true},                         /* 2 */
                 {"the image is all zero", true},                     /* 3 */
                 {"spectrum has pixels beyond 1e12", false},          /* 4: -1e30 */
                 {"the spectrum has NaN", false},                     /* 5 */
                 {"inverse variance has pixels beyond 1e12", false},  /* 6: 1e30 */
                 {"every pixel is masked", false},                    /* 7: all zero */
                 {"the inverse variance has negative pixels", false}, /* 8: all negative */
                 {NULL, false}};                                      /* 9: 1e12 itself, everywhere */
enum { N = sizeof object_is / sizeof *object_is };

static syz_comm *world;
static char folder[SCRATCH];
static float image[N * IMAGE], flux[N * S], ivar[N * S];

static void fill(float *x, int n, float value)
{
  for (int i = 0; i < n; i++) x[i] = value;
}

static syz_status write_objects(const char *path)
{
  syz_status st = SYZ_OK;
  syz_shard_writer *w = NULL;
  SYZ_TRY(syz_shard_writer_create(path, N, 0, NULL, NULL, false, "test", "", &w));
  for (int i = 0; i < N; i++) {
    syz_object o;
    syz_fixture_object(SEED, i, &o, image, flux, ivar, NULL);
    if (i == 1) image[7] = 1e30f;
    if (i == 2) image[7] = NAN;
    if (i == 3) fill(image, IMAGE, 0);
    if (i == 4) flux[7] = -1e30f;
    if (i == 5) flux[7] = NAN;
    if (i == 6) ivar[7] = 1e30f;
    if (i == 7) fill(ivar, S, 0);
    if (i == 8) fill(ivar, S, -1);
    if (i == 9) {
      fill(image, IMAGE, 1e12f);
      fill(flux, S, -1e12f);
      fill(ivar, S, 1e12f);
    }
    SYZ_TRY(syz_shard_writer_put(w, i, 1, &o, image, flux, ivar, NULL, NULL));
  }
  SYZ_TRY(syz_shard_writer_publish(&w));
cleanup:
  syz_shard_writer_discard(&w);
  return st;
}

/* Skipping by `bad` leaves out exactly the objects that reading these parts refuses, for the same reason. */
static void compare(const char *path, syz_bad_objects bad, bool wants_image, bool wants_flux, bool wants_ivar)
{
  syz_shardset *refusing = NULL, *skipping = NULL;
  const syz_rejected *list;
  int64_t wrong = 0, all[N], good = 0;
  float *to_image = wants_image ? image : NULL, *to_flux = wants_flux ? flux : NULL,
        *to_ivar = wants_ivar ? ivar : NULL;
  CHECK_OK(syz_shardset_open(world, 1, &path, SYZ_SPLIT_ALL, SYZ_BAD_REFUSED, &refusing));
  CHECK_OK(syz_shardset_open(world, 1, &path, SYZ_SPLIT_ALL, bad, &skipping));
  if (!refusing || !skipping) return;
  int64_t rejects = syz_shardset_rejected(skipping, &list);
  CHECK_EQ(syz_shardset_size(refusing), N);
  for (int64_t i = 0; i < N; i++) {
    bool is_wrong = object_is[i].reason && (object_is[i].is_image ? wants_image : wants_flux || wants_ivar);
    if (is_wrong) {
      CHECK_ERROR(syz_shardset_read(refusing, 1, &i, to_image, to_flux, to_ivar), SYZ_ERR_DATA, object_is[i].reason);
      CHECK(wrong < rejects && list[wrong].row == i && strstr(list[wrong].reason, object_is[i].reason));
    } else {
      CHECK_OK(syz_shardset_read(refusing, 1, &i, to_image, to_flux, to_ivar));
    }
    wrong += is_wrong;
  }
  CHECK_EQ(rejects, wrong);
  CHECK_EQ(syz_shardset_size(skipping), N - wrong);
  /* Many in a row: the first bad one is named; without the bad ones all can be read. */
  for (int64_t i = 0; i < N; i++) all[i] = i;
  CHECK_ERROR(syz_shardset_read(refusing, N, all, to_image, to_flux, to_ivar), SYZ_ERR_DATA, list[0].reason);
  good = syz_shardset_size(skipping);
  CHECK_OK(syz_shardset_read(skipping, good, all, to_image, to_flux, to_ivar));
  syz_shardset_close(&refusing);
  syz_shardset_close(&skipping);
}

static void run(void)
{
  char path[SCRATCH + 40];
  snprintf(path, sizeof path, "%s/objects.h5", folder);
  if (syz_comm_rank(world) == 0) CHECK_OK(write_objects(path));
  syz_barrier(world);
  compare(path, SYZ_BAD_SKIPPED, true, true, true);
  compare(path, SYZ_BAD_SKIPPED, true, true, false);
  compare(path, SYZ_BAD_IMAGES_SKIPPED, true, false, false);
  compare(path, SYZ_BAD_SPECTRA_SKIPPED, false, true, false);
  compare(path, SYZ_BAD_SPECTRA_SKIPPED, false, true, true);
}

int main(int argc, char **argv) { return scratch_main(argc, argv, &world, folder, run); }
