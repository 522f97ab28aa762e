/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Crops through the loader, on any number of ranks: bit for bit what syz_crop_make gives, whichever rank prepares them;
 * inverse variances; the memory that is planned; objects without an image.
 */
#include "check.h"
#include "fixture.h"
#include "scratch.h"
#include "syzygy/h5.h"
#include "../../src/data/augment.h"
#include "../../src/data/crops.h"

enum { N = 17, WIDE = 9, G = 7, STEPS = 5, S = SYZ_SPECTRUM_PIXELS, PLANE = 152 * 152, IMAGE = 3 * PLANE };

static syz_comm *world;
static char folder[SCRATCH];
static float image[IMAGE], flux[S], ivar[S];

static const syz_crops_augment published = {.size = {144, 60},
                                            .count = {2, 8},
                                            .blur_global = 0.9,
                                            .blur_local = 0.5,
                                            .noise_global = 0.9,
                                            .noise_local = 0.5,
                                            .flips = true,
                                            .quarter_turns = true};

static int64_t floats(const syz_crops_augment *a, int g) { return 3 * a->size[g] * a->size[g]; }

/* Every crop of every object: this rank's share against a loader with the whole batch, and against the function itself
 * on the pixels. */
static void test_ranks(syz_shardset *s, const syz_crops_augment *a)
{
  syz_loader *share = NULL, *whole = NULL;
  syz_loader_config c = {
      .sampler = {syz_shardset_size(s), G, 77, true}, .first_step = 1, .last_step = STEPS, .crops = a, .ahead = 2};
  float *planes = malloc(sizeof(float) * IMAGE), *scratch = malloc(sizeof(float) * syz_crop_scratch(a));
  for (int64_t i = 0; i < c.sampler.n; i++)
    CHECK_OK(syz_shardset_read(s, 1, &i, image, NULL, NULL)); /* files that HDF5 reads are open from here on */
  c.count = G;
  size_t before = syz_memory_get().live_bytes;
  CHECK_OK(syz_loader_create(s, &c, &whole));
  CHECK_EQ(syz_memory_get().live_bytes - before, syz_loader_bytes(&c));
  syz_share(G, syz_comm_size(world), syz_comm_rank(world), &c.first_place, &c.count);
  CHECK_OK(syz_loader_create(s, &c, &share));
  int64_t allocations = syz_memory_get().allocations, different = 0, compared = 0;
  for (int64_t step = 1; step < STEPS; step++) {
    syz_batch b, w;
    CHECK_OK(syz_loader_next(whole, &w, NULL));
    CHECK_OK(syz_loader_next(share, &b, NULL));
    CHECK(b.n == c.count && w.n == G && !b.image && !b.flux && !b.ivar);
    for (int64_t i = 0; i < b.n; i++) {
      int64_t place = b.place[i];
      CHECK_EQ(place, c.first_place + i);
      CHECK_EQ(b.index[i], w.index[place]);
      CHECK_OK(syz_shardset_read(s, 1, &b.index[i], image, NULL, NULL));
      for (int g = 0; g < SYZ_CROP_GROUPS; g++) {
        CHECK((b.crop[g] != NULL) == (a->count[g] > 0));
        for (int64_t k = 0; k < a->count[g]; k++) {
          const size_t bytes = sizeof(float) * (size_t)floats(a, g);
          const float *mine = b.crop[g] + (i * a->count[g] + k) * floats(a, g);
          syz_crop_make(a, 77, step, place, g, k, image, planes, scratch);
          different += memcmp(mine, planes, bytes) != 0;
          different += memcmp(mine, w.crop[g] + (place * a->count[g] + k) * floats(a, g), bytes) != 0;
          compared++;
        }
      }
    }
  }
  CHECK_EQ(different, 0);
  CHECK_EQ(compared, c.count * (STEPS - 1) * (a->count[0] + a->count[1]));
  CHECK_EQ(syz_memory_get().allocations, allocations); /* nothing is allocated inside a step */
  syz_loader_destroy(&share);
  syz_loader_destroy(&whole);
  CHECK_EQ(syz_memory_get().live_bytes, before);
  free(planes);
  free(scratch);
}

/* A crop changes with each of its numbers, and with nothing else. */
static void test_pure(void)
{
  static float first[3 * 60 * 60], other[3 * 60 * 60], scratch[4 * 144 * 144];
  syz_crops_augment a = published;
  a.blur_local = a.noise_local = 1;
  syz_fixture_object(1, 5, NULL, image, NULL, NULL, NULL);
  syz_crop_make(&a, 1, 2, 3, 1, 4, image, first, scratch);
  syz_crop_make(&a, 9, 9, 9, 1, 0, image, other, scratch); /* another in between changes nothing */
  memset(scratch, 0x7f, sizeof scratch);                   /* nor does what the scratch holds */
  syz_crop_make(&a, 1, 2, 3, 1, 4, image, other, scratch);
  CHECK(memcmp(first, other, sizeof first) == 0);
  const int64_t number[5][4] = {{2, 2, 3, 4}, {1, 3, 3, 4}, {1, 2, 4, 4}, {1, 2, 3, 5}, {1, 2, INT64_C(3) << 20, 4}};
  for (int k = 0; k < 5; k++) {
    int64_t same = 0;
    syz_crop_make(&a, (uint64_t)number[k][0], number[k][1], number[k][2], 1, number[k][3], image, other, scratch);
    for (int i = 0; i < 3 * 60 * 60; i++) same += first[i] == other[i] && first[i] > 0 && first[i] < 1;
    CHECK_LT((double)same, 0.02 * 3 * 60 * 60);
  }
  /* Group 0 and 1 with the same size are different crops. */
  a.size[0] = 60;
  a.blur_global = a.noise_global = 1;
  syz_crop_make(&a, 1, 2, 3, 0, 4, image, other, scratch);
  CHECK(memcmp(first, other, sizeof first) != 0);
}

/* Without blur, noise and symmetries a crop is a piece of the colour-mapped stamp; with symmetries, the same pixels in
 * another order. */
static void test_pixels(void)
{
  static float map[IMAGE], planes[3 * 60 * 60], scratch[4 * 144 * 144];
  syz_crops_augment a = {.size = {0, 60}, .count = {0, 8}};
  for (int i = 0; i < IMAGE; i++)
    image[i] = 0.0005f + 1e-6f * (float)(i % PLANE) + 0.01f * (float)(i / PLANE); /* every pixel another value */
  syz_colour_map(map, image, PLANE);
  for (int trial = 0; trial < 40; trial++) {
    a.flips = trial & 1;
    a.quarter_turns = trial & 2;
    syz_crop_make(&a, 3, trial, 0, 1, trial % 8, image, planes, scratch);
    /* The place is where the crop's smallest value is: the upper left corner of the piece, whatever the symmetry. */
    float smallest = planes[0];
    for (int i = 1; i < 3600; i++) smallest = planes[i] < smallest ? planes[i] : smallest;
    int at = 0;
    while (at < PLANE && map[at] != smallest) at++;
    CHECK(at < PLANE && at / 152 <= 92 && at % 152 <= 92);
    if (at >= PLANE || at / 152 > 92 || at % 152 > 92) continue;
    int fits = 0;
    for (int k = 0; k < 8; k++) {
      int64_t wrong = 0;
      for (int b = 0; b < 3; b++)
        for (int y = 0; y < 60; y++)
          for (int x = 0; x < 60; x++) {
            int u = k & 1 ? 59 - x : x, v = k & 2 ? 59 - y : y;
            int row = k & 4 ? u : v, column = k & 4 ? v : u;
            wrong += planes[b * 3600 + y * 60 + x] != map[b * PLANE + at + row * 152 + column];
          }
      fits += wrong == 0;
      if (k == 0 && !a.flips && !a.quarter_turns) CHECK_EQ(wrong, 0);
    }
    CHECK_EQ(fits, 1);
  }
}

/* Flux with inverse variances for masked modelling; without any in the files they are 1 where the flux is known. */
static void test_ivar(syz_shardset *s, syz_shardset *wide_set)
{
  for (int k = 0; k < 2; k++) {
    syz_shardset *set = k ? wide_set : s;
    syz_loader *l = NULL;
    syz_batch b;
    syz_loader_config c = {.sampler = {syz_shardset_size(set), G, 7, true},
                           .count = G,
                           .last_step = 3,
                           .wants_flux = true,
                           .wants_ivar = true,
                           .ahead = 1};
    if (!k) c.augment.spectrum_noise = 0.5; /* drawn from the same inverse variances, which stay as the file has them */
    size_t before = syz_memory_get().live_bytes;
    CHECK_OK(syz_loader_create(set, &c, &l));
    CHECK_EQ(syz_memory_get().live_bytes - before, syz_loader_bytes(&c));
    CHECK_LT((double)syz_loader_bytes(&c), 2 * (2.0 * G * S * 4) + 60000); /* no image is wanted: no room for one */
    for (int step = 0; step < 3; step++) {
      CHECK_OK(syz_loader_next(l, &b, NULL));
      CHECK(b.ivar && b.flux && !b.image && !b.crop[0] && !b.crop[1]);
      for (int64_t i = 0; i < G; i++) {
        CHECK_OK(syz_shardset_read(set, 1, &b.index[i], NULL, flux, ivar));
        syz_augment_spectrum(&c.augment, 7, step, b.place[i], flux, ivar);
        CHECK(memcmp(flux, b.flux + i * S, sizeof flux) == 0);
        CHECK(memcmp(ivar, b.ivar + i * S, sizeof ivar) == 0);
        if (k) CHECK_EQ(b.ivar[i * S + 4000], 1);
      }
    }
    syz_loader_destroy(&l);
  }
  syz_loader *l = NULL;
  syz_loader_config c = {.sampler = {N, G, 7, true}, .count = G, .last_step = 3, .wants_ivar = true, .ahead = 1};
  CHECK_ERROR(syz_loader_create(s, &c, &l), SYZ_ERR_INTERNAL, "without flux");
  c.wants_ivar = false;
  syz_crops_augment a = published;
  c.crops = &a;
  c.image_size = 144;
  CHECK_ERROR(syz_loader_create(s, &c, &l), SYZ_ERR_INTERNAL, "image size 144");
  c.image_size = 0;
  a.size[1] = 153;
  CHECK_ERROR(syz_loader_create(s, &c, &l), SYZ_ERR_INTERNAL, "144 and 153");
  a.size[1] = 60;
  a.noise_local = 1.5;
  CHECK_ERROR(syz_loader_create(s, &c, &l), SYZ_ERR_INTERNAL, "crops");
  a.noise_local = 0.5;
  c.augment.flips = true;
  CHECK_ERROR(syz_loader_create(s, &c, &l), SYZ_ERR_INTERNAL, "augmentation on");
}

/* An object without an image, or with a damaged one, is an error that names it; nothing is cut from zeros. */
static void test_bad_objects(void)
{
  char path[SCRATCH + 40];
  const char *p = path;
  syz_shardset *s = NULL;
  syz_loader *l = NULL;
  syz_batch b;
  snprintf(path, sizeof path, "%s/bad.h5", folder);
  if (syz_comm_rank(world) == 0) {
    syz_shard_writer *w = NULL;
    CHECK_OK(syz_shard_writer_create(path, 3, 0, NULL, NULL, false, "test", "", &w));
    for (int64_t i = 0; i < 3; i++) {
      syz_object o;
      syz_fixture_object(4, i, &o, image, flux, ivar, NULL);
      if (i == 1) o.has_image = 0;
      if (i == 2) image[9] = NAN;
      CHECK_OK(syz_shard_writer_put(w, i, 1, &o, i == 1 ? NULL : image, flux, ivar, NULL, NULL));
    }
    CHECK_OK(syz_shard_writer_publish(&w));
  }
  syz_barrier(world);
  CHECK_OK(syz_shardset_open(world, 1, &p, SYZ_SPLIT_ALL, false, &s));
  syz_loader_config c = {.sampler = {3, 1, 7, false}, .count = 1, .last_step = 3, .crops = &published, .ahead = 1};
  CHECK_OK(syz_loader_create(s, &c, &l));
  CHECK_OK(syz_loader_next(l, &b, NULL));
  CHECK_ERROR(syz_loader_next(l, &b, NULL), SYZ_ERR_DATA,
              "bad.h5: object 39000000000000001 (row 1): it has no image to cut crops from");
  CHECK_ERROR(syz_loader_next(l, &b, NULL), SYZ_ERR_DATA,
              "bad.h5: object 39000000000000002 (row 2): the image has NaN");
  syz_loader_destroy(&l);
  syz_shardset_close(&s);
}

/* A shard whose images are float64: only the main thread can read them. It holds no inverse variances. */
static syz_status write_wide(const char *path)
{
  syz_status st = SYZ_OK;
  syz_h5 *f = NULL;
  double *wide = NULL;
  float *x = NULL;
  int64_t id[WIDE];
  const int64_t image_shape[] = {3, 152, 152}, spectrum_shape[] = {S};
  SYZ_ALLOC(x, "test spectra", WIDE * S);
  SYZ_ALLOC(wide, "test images", WIDE * IMAGE);
  for (int i = 0; i < WIDE; i++) {
    syz_fixture_object(6, i, NULL, image, x + i * S, NULL, NULL);
    id[i] = 100 + i;
    for (int k = 0; k < IMAGE; k++) wide[i * IMAGE + k] = image[k];
  }
  SYZ_TRY(syz_h5_create(NULL, path, "shard", "test", "", &f));
  SYZ_TRY(syz_h5_write(f, "object_id", SYZ_H5_I64, WIDE, 0, NULL, 0, WIDE, id, "", ""));
  SYZ_TRY(syz_h5_write(f, "image", SYZ_H5_F64, WIDE, 3, image_shape, 0, WIDE, wide, "", ""));
  SYZ_TRY(syz_h5_write(f, "spectrum", SYZ_H5_F32, WIDE, 1, spectrum_shape, 0, WIDE, x, "", ""));
  SYZ_TRY(syz_h5_publish(&f));
cleanup:
  syz_h5_close(&f);
  syz_free(&x);
  syz_free(&wide);
  return st;
}

int main(int argc, char **argv)
{
  if (syz_comm_start(&argc, &argv, &world) != SYZ_OK) return 1;
  int64_t blocks = syz_memory_get().live_blocks;
  char good[SCRATCH + 40], wide[SCRATCH + 40];
  const char *path = good;
  syz_shardset *s = NULL, *wide_set = NULL, *mixed = NULL;
  scratch_make(world, folder);
  snprintf(good, sizeof good, "%s/good", folder);
  snprintf(wide, sizeof wide, "%s/wide.h5", folder);
  if (syz_comm_rank(world) == 0) {
    mkdir(good, 0755);
    CHECK_OK(syz_fixture_shards(good, 2, N, 6));
    CHECK_OK(write_wide(wide));
  }
  syz_barrier(world);
  CHECK_OK(syz_shardset_open(world, 1, &path, SYZ_SPLIT_ALL, false, &s));
  path = wide;
  CHECK_OK(syz_shardset_open(world, 1, &path, SYZ_SPLIT_ALL, false, &wide_set));
  const char *both[] = {good, wide};
  CHECK_OK(syz_shardset_open(world, 2, both, SYZ_SPLIT_ALL, false, &mixed));
  if (check_failures) syz_abort(SYZ_ERR_INTERNAL, __FILE__, __LINE__, "no test data");
  test_ranks(s, &published);
  const syz_crops_augment only_local = {
      .size = {0, 24}, .count = {0, 3}, .blur_local = 1, .noise_local = 1, .flips = true};
  test_ranks(s, &only_local);
  const syz_crops_augment small = {
      .size = {48, 24}, .count = {2, 1}, .blur_first = 0.5, .blur_global = 0.5, .noise_local = 0.5, .flips = true};
  test_ranks(mixed, &small);
  test_pure();
  test_pixels();
  test_ivar(s, wide_set);
  test_bad_objects();
  syz_shardset_close(&mixed);
  syz_shardset_close(&wide_set);
  syz_shardset_close(&s);
  scratch_remove(world, folder);
  CHECK_EQ(syz_memory_get().live_blocks, blocks);
  int64_t failures = check_failures;
  syz_allreduce_i64(world, &failures, 1, SYZ_SUM);
  int result = CHECK_RESULT();
  syz_comm_finish(&world);
  return failures ? 1 : result;
}
