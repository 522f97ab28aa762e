/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Data sets of shards on any number of ranks: one numbering, the pixels that were written, splits, labels, damaged and
 * lone objects, wrong files. Also the loader against direct reads.
 */
#include "check.h"
#include "fixture.h"
#include "scratch.h"
#include "syzygy/h5.h"
#include "../../src/data/augment.h"
#include "../../src/data/shardset.h"

enum { N = 23, PER_SHARD = 9, SEED = 5, IMAGE = 3 * 152 * 152, S = SYZ_SPECTRUM_PIXELS };

static syz_comm *world;
static char folder[SCRATCH];
static float image[IMAGE], flux[S], ivar[S], want_image[IMAGE], want_flux[S], want_ivar[S];

static void check_same_everywhere(uint64_t value)
{
  uint64_t all[64];
  syz_allgather(world, &value, all, sizeof value);
  for (int r = 0; r < syz_comm_size(world); r++) CHECK(all[r] == value);
}

/* Object `index` of the set is object `object` of the fixture. */
static void check_object(syz_shardset *s, int64_t index, int64_t object)
{
  syz_object o;
  syz_fixture_object(SEED, object, &o, want_image, want_flux, want_ivar, NULL);
  CHECK_OK(syz_shardset_read(s, 1, &index, image, flux, ivar));
  CHECK(syz_shardset_objects(s)[index].object_id == o.object_id);
  CHECK(syz_shardset_objects(s)[index].ra == o.ra && syz_shardset_objects(s)[index].dec == o.dec);
  CHECK(memcmp(image, want_image, sizeof image) == 0);
  CHECK(memcmp(flux, want_flux, sizeof flux) == 0);
  CHECK(memcmp(ivar, want_ivar, sizeof ivar) == 0);
}

static void test_reading(void)
{
  const char *path = folder;
  char shards[SCRATCH + 40];
  snprintf(shards, sizeof shards, "%s/good", folder);
  path = shards;
  if (syz_comm_rank(world) == 0) CHECK_OK(syz_fixture_shards(shards, SEED, N, PER_SHARD));
  syz_barrier(world);

  syz_shardset *s = NULL;
  CHECK_OK(syz_shardset_open(world, 1, &path, SYZ_SPLIT_ALL, false, &s));
  if (!s) return;
  CHECK_EQ(syz_shardset_size(s), N);
  check_same_everywhere(syz_shardset_digest(s));
  for (int64_t i = syz_comm_rank(world); i < N; i += 3) check_object(s, i, i);

  float label[N], truth[SYZ_FIXTURE_LABELS];
  const char *const *names;
  CHECK_EQ(syz_shardset_labels(s, &names), 2);
  CHECK(strcmp(names[0], "colour") == 0 && strcmp(names[1], "redshift") == 0);
  CHECK_OK(syz_shardset_read_label(s, "redshift", label));
  for (int i = 0; i < N; i++) {
    syz_fixture_object(SEED, i, NULL, NULL, NULL, NULL, truth);
    CHECK_EQ(label[i], truth[0]);
  }
  /* Any rows, others on each rank, none but them. */
  int64_t from = 3 + 2 * syz_comm_rank(world), some = 8 - syz_comm_rank(world);
  for (int i = 0; i < N; i++) label[i] = -7;
  CHECK_OK(syz_shardset_read_label_rows(s, "redshift", from, some, label));
  for (int64_t i = 0; i < some; i++) {
    syz_fixture_object(SEED, from + i, NULL, NULL, NULL, NULL, truth);
    CHECK_EQ(label[i], truth[0]);
  }
  CHECK_EQ(label[some], -7);
  CHECK_ERROR(syz_shardset_read_label(s, "redshfit", label), SYZ_ERR_INPUT, "colour, redshift");
  uint64_t whole = syz_shardset_digest(s);
  syz_shardset_close(&s);

  /* Splits: the first int(0.8 n) of each shard; 9, 9, 5 rows give 7 + 7 + 4 and 2 + 2 + 1. */
  CHECK_OK(syz_shardset_open(world, 1, &path, SYZ_SPLIT_TRAIN, true, &s));
  CHECK_EQ(syz_shardset_size(s), 18);
  check_object(s, 6, 6);
  check_object(s, 7, 9);
  check_object(s, 17, 21);
  CHECK(syz_shardset_digest(s) != whole);
  syz_shardset_close(&s);
  CHECK_OK(syz_shardset_open(world, 1, &path, SYZ_SPLIT_TEST, true, &s));
  CHECK_EQ(syz_shardset_size(s), 5);
  check_object(s, 0, 7);
  check_object(s, 4, 22);
  const syz_rejected *list;
  CHECK_EQ(syz_shardset_rejected(s, &list), 0);
  syz_shardset_close(&s);

  char twice[SCRATCH + 80];
  snprintf(twice, sizeof twice, "%s/shard-0001.h5", shards);
  const char *both[2] = {shards, twice};
  CHECK_ERROR(syz_shardset_open(world, 2, both, SYZ_SPLIT_ALL, false, &s), SYZ_ERR_DATA, "the same file");
  CHECK(s == NULL);
}

/* Shard with damaged and lone objects: 0 good, 1 NaN image, 2 no image, 3 zero flux, 4 no spectrum, 5 infinite ivar, 6
 * good. */
static syz_status write_damaged(const char *path)
{
  syz_status st = SYZ_OK;
  syz_shard_writer *w = NULL;
  SYZ_TRY(syz_shard_writer_create(path, 7, 0, NULL, NULL, true, "test", "", &w));
  for (int i = 0; i < 7; i++) {
    syz_object o;
    static uint8_t segment[152 * 152];
    memset(segment, i, sizeof segment);
    syz_fixture_object(SEED, 100 + i, &o, image, flux, ivar, NULL);
    if (i == 1) image[40000] = NAN;
    if (i == 2) o.has_image = 0;
    if (i == 3) memset(flux, 0, sizeof flux);
    if (i == 4) o.has_spectrum = 0;
    if (i == 5) ivar[9] = INFINITY;
    SYZ_TRY(syz_shard_writer_put(w, i, 1, &o, i == 2 ? NULL : image, i == 4 ? NULL : flux, i == 4 ? NULL : ivar, NULL,
                                 segment));
  }
  SYZ_TRY(syz_shard_writer_publish(&w));
cleanup:
  syz_shard_writer_discard(&w);
  return st;
}

static void test_damaged(void)
{
  char path[SCRATCH + 40];
  const char *p = path;
  syz_shardset *s = NULL;
  const syz_rejected *list;
  snprintf(path, sizeof path, "%s/damaged.h5", folder);
  if (syz_comm_rank(world) == 0) CHECK_OK(write_damaged(path));
  syz_barrier(world);

  CHECK_OK(syz_shardset_open(world, 1, &p, SYZ_SPLIT_ALL, false, &s));
  CHECK_EQ(syz_shardset_size(s), 7);
  int64_t i = 1;
  CHECK_ERROR(syz_shardset_read(s, 1, &i, image, NULL, NULL), SYZ_ERR_DATA,
              "damaged.h5: object 39000000000000101 (row 1): the image has NaN");
  CHECK_OK(syz_shardset_read(s, 1, &i, NULL, flux, NULL));
  i = 3;
  CHECK_ERROR(syz_shardset_read(s, 1, &i, NULL, flux, NULL), SYZ_ERR_DATA, "all zero");
  i = 5;
  CHECK_ERROR(syz_shardset_read(s, 1, &i, NULL, NULL, ivar), SYZ_ERR_DATA, "infinite");
  i = 2;
  image[5] = 1.0f;
  CHECK_OK(syz_shardset_read(s, 1, &i, image, flux, ivar));
  CHECK_EQ(image[5], 0);
  CHECK(flux[5] != 0);
  uint8_t segment[152 * 152];
  CHECK_OK(syz_shardset_read_segment(s, 1, &i, segment));
  CHECK_EQ(segment[152 * 152 - 1], 2);
  syz_shardset_close(&s);

  CHECK_OK(syz_shardset_open(world, 1, &p, SYZ_SPLIT_ALL, true, &s));
  CHECK_EQ(syz_shardset_size(s), 4);
  CHECK_EQ(syz_shardset_rejected(s, &list), 3);
  CHECK(list[0].row == 1 && list[1].row == 3 && list[2].row == 5 && list[1].object_id == INT64_C(39000000000000103));
  CHECK(strstr(list[0].reason, "image has NaN") && strstr(list[1].reason, "spectrum is all zero") &&
        strstr(list[2].reason, "inverse variance"));
  check_object(s, 0, 100);
  check_object(s, 3, 106);
  int64_t left_out = 0;
  uint64_t before = syz_shardset_digest(s);
  CHECK_OK(syz_shardset_select(s, true, true, &left_out));
  CHECK_EQ(left_out, 2);
  CHECK_EQ(syz_shardset_size(s), 2);
  CHECK(syz_shardset_digest(s) != before);
  check_object(s, 0, 100);
  check_object(s, 1, 106);
  CHECK_EQ(syz_shardset_rejected(s, &list), 3);
  syz_shardset_close(&s);
}

/* Each wrong file is refused by all ranks, with its name and the reason. */
static void refuse(const char *name, syz_status code, const char *reason)
{
  char path[SCRATCH + 300];
  const char *p = path;
  syz_shardset *s = NULL;
  snprintf(path, sizeof path, "%s/%s", folder, name);
  CHECK_ERROR(syz_shardset_open(world, 1, &p, SYZ_SPLIT_ALL, false, &s), code, reason);
  CHECK(strstr(syz_error_text(), name));
  CHECK(s == NULL);
}

typedef struct column {
  const char *name;
  syz_h5_type type;
  int64_t rows;
  int ndim;
  int64_t shape[3];
} column;

static void write_odd(const char *name, const char *format, int n, const column *c)
{
  char path[SCRATCH + 300];
  syz_h5 *f = NULL;
  static double zeros[4 * IMAGE];
  if (syz_comm_rank(world)) return;
  snprintf(path, sizeof path, "%s/%s", folder, name);
  CHECK_OK(syz_h5_create(NULL, path, format, "test", "", &f));
  for (int i = 0; i < n; i++)
    CHECK_OK(syz_h5_write(f, c[i].name, c[i].type, c[i].rows, c[i].ndim, c[i].shape, 0, c[i].rows, zeros, "", ""));
  CHECK_OK(syz_h5_publish(&f));
}

static void test_wrong_files(void)
{
  char good[SCRATCH + 80], path[SCRATCH + 80];
  size_t n = 0;
  const column id = {"object_id", SYZ_H5_I64, 3, 0, {0}}, flux3 = {"spectrum", SYZ_H5_F32, 3, 1, {S}};
  write_odd("model.h5", "model", 1, &id);
  write_odd("no-pixels.h5", "shard", 1, &id);
  write_odd("rows-differ.h5", "shard", 2, (column[]){id, {"spectrum", SYZ_H5_F32, 2, 1, {S}}});
  write_odd("shape.h5", "shard", 2, (column[]){id, {"image", SYZ_H5_F32, 3, 3, {3, 152, 151}}});
  write_odd("grid.h5", "shard", 2, (column[]){id, {"spectrum", SYZ_H5_F32, 3, 1, {7780}}});
  write_odd("float-id.h5", "shard", 2, (column[]){{"object_id", SYZ_H5_F64, 3, 0, {0}}, flux3});
  write_odd("label-shape.h5", "shard", 3, (column[]){id, flux3, {"label/z", SYZ_H5_F32, 4, 0, {0}}});
  write_odd("empty-shard.h5", "shard", 2,
            (column[]){{"object_id", SYZ_H5_I64, 0, 0, {0}}, {"spectrum", SYZ_H5_F32, 0, 1, {S}}});
  if (syz_comm_rank(world) == 0) {
    snprintf(good, sizeof good, "%s/good/shard-0000.h5", folder);
    unsigned char *bytes = scratch_read(good, &n);
    snprintf(path, sizeof path, "%s/truncated.h5", folder);
    scratch_write(path, bytes, n / 2);
    snprintf(path, sizeof path, "%s/empty.h5", folder);
    scratch_write(path, "", 0);
    for (size_t i = 0; i < 5000; i++) bytes[i] = (unsigned char)(i * 2654435761u >> 7);
    snprintf(path, sizeof path, "%s/random.h5", folder);
    scratch_write(path, bytes, 5000);
    free(bytes);
    snprintf(path, sizeof path, "%s/nothing", folder);
    mkdir(path, 0777);
  }
  syz_barrier(world);
  refuse("model.h5", SYZ_ERR_DATA, "format \"model\", not a shard");
  refuse("no-pixels.h5", SYZ_ERR_DATA, "neither a shard");
  refuse("rows-differ.h5", SYZ_ERR_DATA, "dataset spectrum has 2 rows, object_id has 3");
  refuse("shape.h5", SYZ_ERR_DATA, "dataset image has shape (3, 3, 152, 151), expected (N, 3, 152, 152)");
  refuse("grid.h5", SYZ_ERR_DATA, "dataset spectrum has shape (3, 7780), expected (N, 7781)");
  refuse("float-id.h5", SYZ_ERR_DATA, "dataset object_id holds floats of 64 bits, expected whole numbers");
  refuse("label-shape.h5", SYZ_ERR_DATA, "dataset label/z has 4 rows");
  refuse("empty-shard.h5", SYZ_ERR_DATA, "no usable object");
  refuse("truncated.h5", SYZ_ERR_DATA, "truncated file");
  refuse("empty.h5", SYZ_ERR_DATA, "not a file with content");
  refuse("random.h5", SYZ_ERR_DATA, "not a readable HDF5 file");
  refuse("absent.h5", SYZ_ERR_DATA, "No such file");
  refuse("nothing", SYZ_ERR_DATA, "no *.h5");
}

/* What the loader gives is what direct reading, augmentation and preparation give, for every place of every step. */
static void test_loader(void)
{
  enum { G = 7, STEPS = 9, SIZE = 144 };
  char shards[SCRATCH + 40];
  const char *path = shards;
  syz_shardset *s = NULL;
  syz_loader *l = NULL;
  snprintf(shards, sizeof shards, "%s/good", folder);
  CHECK_OK(syz_shardset_open(world, 1, &path, SYZ_SPLIT_ALL, false, &s));
  syz_loader_config c = {.sampler = {syz_shardset_size(s), G, 77, true},
                         .first_step = 2,
                         .last_step = STEPS,
                         .image_size = SIZE,
                         .wants_flux = true,
                         .augment = {.flips = true,
                                     .quarter_turns = true,
                                     .image_noise = 0.01,
                                     .spectrum_noise = 0.3,
                                     .mask_runs = 2,
                                     .mask_run_pixels = 50},
                         .ahead = 2};
  syz_share(G, syz_comm_size(world), syz_comm_rank(world), &c.first_place, &c.count);
  static float planes[3 * SIZE * SIZE];
  CHECK_OK(syz_loader_create(s, &c, &l));
  int64_t allocations = syz_memory_get().allocations;
  double wait_s = 0;
  for (int64_t step = 2; step < STEPS; step++) {
    syz_batch b;
    CHECK_OK(syz_loader_next(l, &b, &wait_s));
    CHECK_EQ(b.step, step);
    CHECK_EQ(b.n, c.count);
    for (int64_t i = 0; i < b.n; i++) {
      CHECK_EQ(b.place[i], c.first_place + i);
      CHECK_EQ(b.index[i], syz_sampler_index(&c.sampler, step, b.place[i]));
      CHECK_OK(syz_shardset_read(s, 1, &b.index[i], image, flux, ivar));
      syz_augment_image(&c.augment, 77, step, b.place[i], 152, image);
      syz_augment_spectrum(&c.augment, 77, step, b.place[i], flux, ivar);
      syz_prepare_images(image, 1, SIZE, planes);
      CHECK(memcmp(planes, b.image + i * 3 * SIZE * SIZE, sizeof planes) == 0);
      CHECK(memcmp(flux, b.flux + i * S, sizeof flux) == 0);
    }
  }
  CHECK_EQ(syz_memory_get().allocations, allocations); /* nothing is allocated inside a step */
  CHECK(wait_s >= 0);
  syz_batch b;
  CHECK_ERROR(syz_loader_next(l, &b, &wait_s), SYZ_ERR_INTERNAL, "not announced");
  syz_loader_destroy(&l);

  /* Crop: the middle of a ramp. */
  for (int k = 0; k < IMAGE; k++) image[k] = (float)(k % 152) * 1e-3f + (float)(k / 152 % 152) * 1e-5f;
  float small[3 * 4 * 4], direct[3 * 4 * 4], in[3 * 16];
  for (int b3 = 0; b3 < 3; b3++)
    for (int y = 0; y < 4; y++)
      for (int x = 0; x < 4; x++) in[b3 * 16 + y * 4 + x] = image[b3 * 152 * 152 + (y + 74) * 152 + x + 74];
  syz_prepare_images(image, 1, 4, small);
  syz_colour_map(direct, in, 16);
  CHECK(memcmp(small, direct, sizeof small) == 0);

  /* A subset: the sampler's numbers stand for chosen objects. */
  const int64_t chosen[5] = {22, 3, 3, 17, 0}, outside[5] = {1, 2, 23, 4, 5};
  syz_loader_config few = {
      .sampler = {5, 4, 3, true}, .count = 4, .last_step = 3, .wants_flux = true, .ahead = 1, .subset = chosen};
  CHECK_OK(syz_loader_create(s, &few, &l));
  for (int64_t step = 0; step < 3; step++) {
    CHECK_OK(syz_loader_next(l, &b, &wait_s));
    for (int64_t i = 0; i < 4; i++) {
      CHECK_EQ(b.index[i], chosen[syz_sampler_index(&few.sampler, step, i)]);
      CHECK_OK(syz_shardset_read(s, 1, &b.index[i], NULL, flux, NULL));
      CHECK(memcmp(flux, b.flux + i * S, sizeof flux) == 0);
    }
  }
  syz_loader_destroy(&l);
  few.subset = outside;
  CHECK_ERROR(syz_loader_create(s, &few, &l), SYZ_ERR_INTERNAL, "number 23 of a data set of 23");

  /* A loader that is not drained ends; one object with a damaged image is an error that names it. */
  c.image_size = 0;
  CHECK_OK(syz_loader_create(s, &c, &l));
  syz_loader_destroy(&l);
  syz_shardset_close(&s);
  char damaged[SCRATCH + 40];
  snprintf(damaged, sizeof damaged, "%s/damaged.h5", folder);
  path = damaged;
  CHECK_OK(syz_shardset_open(world, 1, &path, SYZ_SPLIT_ALL, false, &s));
  c = (syz_loader_config){.sampler = {7, 7, 1, false}, .count = 7, .last_step = 1, .image_size = SIZE, .ahead = 1};
  CHECK_OK(syz_loader_create(s, &c, &l));
  CHECK_ERROR(syz_loader_next(l, &b, &wait_s), SYZ_ERR_DATA, "object 39000000000000101");
  syz_loader_destroy(&l);
  syz_shardset_close(&s);
}

/* Spectra stored as float64 cannot be read by the loader's thread: they are left to the main thread, mixed with others
 * in a batch. */
static void test_loader_left_over(void)
{
  enum { WIDE = 5, G = 8 };
  char wide[SCRATCH + 40], shards[SCRATCH + 40];
  const char *path[2] = {wide, shards};
  syz_h5 *f = NULL;
  syz_shardset *s = NULL;
  syz_loader *l = NULL;
  const int64_t shape[] = {S};
  int64_t id[WIDE];
  static double spectrum[WIDE * S];
  snprintf(wide, sizeof wide, "%s/wide.h5", folder);
  snprintf(shards, sizeof shards, "%s/good", folder);
  for (int i = 0; i < WIDE; i++) {
    id[i] = 1000 + i;
    for (int k = 0; k < S; k++) spectrum[i * S + k] = 0.25 * i + 1e-3 * k + 1;
  }
  if (syz_comm_rank(world) == 0) {
    CHECK_OK(syz_h5_create(NULL, wide, "shard", "test", "", &f));
    CHECK_OK(syz_h5_write(f, "object_id", SYZ_H5_I64, WIDE, 0, NULL, 0, WIDE, id, "", ""));
    CHECK_OK(syz_h5_write(f, "spectrum", SYZ_H5_F64, WIDE, 1, shape, 0, WIDE, spectrum, "", ""));
    CHECK_OK(syz_h5_publish(&f));
  }
  syz_barrier(world);
  CHECK_OK(syz_shardset_open(world, 2, path, SYZ_SPLIT_ALL, false, &s));
  if (!s) return;
  CHECK_EQ(syz_shardset_size(s), N + WIDE);
  syz_loader_config c = {
      .sampler = {N + WIDE, G, 4, true}, .count = G, .last_step = 8, .image_size = 8, .wants_flux = true, .ahead = 1};
  int64_t seen_wide = 0;
  CHECK_OK(syz_loader_create(s, &c, &l));
  for (int step = 0; step < 8; step++) {
    syz_batch b;
    CHECK_OK(syz_loader_next(l, &b, NULL));
    for (int64_t i = 0; i < G; i++) {
      CHECK_OK(syz_shardset_read(s, 1, &b.index[i], NULL, flux, ivar));
      CHECK(memcmp(flux, b.flux + i * S, sizeof flux) == 0);
      int64_t row = syz_shardset_objects(s)[b.index[i]].object_id - 1000;
      if (row >= WIDE) continue;
      CHECK_EQ(b.flux[i * S + 777], (float)spectrum[row * S + 777]);
      CHECK_EQ(ivar[3], 1);
      seen_wide++;
    }
  }
  CHECK_GT((double)seen_wide, WIDE - 1.0);
  syz_loader_destroy(&l);
  c.augment.spectrum_noise = 1; /* some files have ivar: allowed */
  CHECK_OK(syz_loader_create(s, &c, &l));
  syz_loader_destroy(&l);
  syz_shardset_close(&s);
  CHECK_OK(syz_shardset_open(world, 1, path, SYZ_SPLIT_ALL, false, &s));
  c.sampler.n = WIDE;
  CHECK_ERROR(syz_loader_create(s, &c, &l), SYZ_ERR_INPUT, "holds no inverse variances");
  syz_shardset_close(&s);
}

/* The thread's failure and a failure on one rank only come out where they are asked for, and agreement spreads them. */
static void test_faults(void)
{
#ifdef SYZ_FAULTS
  char shards[SCRATCH + 40], wish[64];
  const char *path = shards;
  syz_shardset *s = NULL;
  syz_loader *l = NULL;
  syz_batch b;
  const int64_t index[3] = {0, 1, 2};
  snprintf(shards, sizeof shards, "%s/good", folder);
  CHECK_OK(syz_shardset_open(world, 1, &path, SYZ_SPLIT_ALL, false, &s));
  int last = syz_comm_size(world) - 1;
  snprintf(wish, sizeof wish, "shard_read:%d:2", last);
  setenv("SYZ_FAULT", wish, 1);
  CHECK_ERROR(syz_agree(world, syz_shardset_read(s, 3, index, NULL, image, NULL) == SYZ_OK ? SYZ_OK : SYZ_ERR_DATA),
              SYZ_ERR_DATA, "injected");
  snprintf(wish, sizeof wish, "loader_read:%d:5",
           last); /* visits are counted over all points: the third object of the thread */
  setenv("SYZ_FAULT", wish, 1);
  syz_loader_config c = {.sampler = {N, 6, 4, true}, .count = 6, .last_step = 2, .wants_flux = true, .ahead = 1};
  CHECK_OK(syz_loader_create(s, &c, &l));
  CHECK_ERROR(syz_agree(world, syz_loader_next(l, &b, NULL)), SYZ_ERR_DATA, "injected failure");
  syz_loader_destroy(&l);
  unsetenv("SYZ_FAULT");
  syz_shardset_close(&s);
#endif
}

static void run(void)
{
  test_reading();
  test_damaged();
  test_wrong_files();
  test_loader();
  test_loader_left_over();
  test_faults();
}

int main(int argc, char **argv) { return scratch_main(argc, argv, &world, folder, run); }
