/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * How HDF5 files are laid out: rows past the page cache, rows that travel through aggregators and rows that HDF5 writes
 * by MPI-IO give the same bytes as rows that every rank writes; compressed datasets hold what was written, whatever the
 * pieces and the number of ranks, and cost a failure no rank its way out. What h5py says: tests/app/test_io.py.
 */
#include "check.h"
#include "scratch.h"

#include "syzygy/h5.h"
#include "syzygy/numbers.h"
#include "../../src/h5/driver.h"
#include "../../src/h5/facts.h"

#include <limits.h>
#include <unistd.h>

static syz_comm *world;
static char folder[SCRATCH];
static int rank, size;

typedef struct sample {
  const char *name;
  syz_h5_type type;
  int64_t rows, items;
  bool is_noise;
} sample;
static sample samples[] = {
    {"row_a_chunk", SYZ_H5_F32, 37, 5000, false},
    {"group/narrow", SYZ_H5_F32, 50001, 16, false}, /* chunks of 16384 rows cross the ranks' borders */
    {"large", SYZ_H5_F32, 300001, 16, false},       /* see use_small */
    {"odd", SYZ_H5_BF16, 3001, 33, false},
    {"numbers", SYZ_H5_I64, 30000, 1, false},
    {"noise", SYZ_H5_U8, 7, 20000, true}, /* deflate makes it longer */
    {"small", SYZ_H5_F64, 5, 3, false},
    {"none", SYZ_H5_F32, 0, 5000, false}};
enum { SAMPLES = sizeof samples / sizeof *samples, LARGE = 2, ROOM = 19300000 };

/* Many pieces of 4 MiB on the direct lane, borders on no page, matter to rows that are written as they are. All that
 * follows is as well tested by less. */
static void use_small(void) { samples[LARGE].rows = 20001; }

static double plain_bytes(void)
{
  double sum = 0;
  for (int k = 0; k < SAMPLES; k++)
    sum += (double)(samples[k].rows * samples[k].items) * (double)syz_h5_type_size(samples[k].type);
  return sum;
}

static uint64_t mix(uint64_t x)
{
  x = (x ^ (x >> 31)) * UINT64_C(0x7fb5d329728ea185);
  return x ^ (x >> 27);
}

static void fill(const sample *s, int64_t first, int64_t n, void *data)
{
  for (int64_t k = 0; k < n * s->items; k++) {
    const int64_t at = first * s->items + k, v = at / 3 % 1009;
    switch (s->type) {
    case SYZ_H5_F32:
      ((float *)data)[k] = (float)v * 0.25f;
      break;
    case SYZ_H5_F64:
      ((double *)data)[k] = (double)v;
      break;
    case SYZ_H5_I64:
      ((int64_t *)data)[k] = v + INT64_C(39627788403084375);
      break;
    case SYZ_H5_I32:
      ((int32_t *)data)[k] = (int32_t)v;
      break;
    case SYZ_H5_U8:
      ((uint8_t *)data)[k] = (uint8_t)(s->is_noise ? mix((uint64_t)at + 77) >> 20 : (uint64_t)v);
      break;
    case SYZ_H5_BF16:
      ((syz_bf16 *)data)[k] = syz_bf16_from_f32((float)v);
      break;
    }
  }
}

/* Whole shares at once, or in pieces from behind, of other lengths on every rank. */
static syz_status write_samples(syz_comm *c, const char *path, bool in_pieces)
{
  syz_status st = SYZ_OK;
  static double data[ROOM / 8];
  syz_h5 *f = NULL;
  SYZ_TRY(syz_h5_create(c, path, "test", "syzygy 0", "a: 1\n", &f));
  for (int k = 0; k < SAMPLES; k++) {
    const sample *s = &samples[k];
    int64_t first, n;
    syz_share(s->rows, c ? size : 1, c ? rank : 0, &first, &n);
    SYZ_TRY(syz_h5_dataset(f, s->name, s->type, s->rows, s->items > 1, &s->items, "", "a sample"));
    const int64_t pieces = in_pieces ? 5 : 1, each = (n + pieces - 1) / pieces;
    for (int64_t p = pieces - 1; p >= 0; p--) {
      const int64_t from = p * each < n ? p * each : n, some = n - from < each ? n - from : each;
      fill(s, first + from, some, data);
      SYZ_TRY(syz_h5_write_rows(f, s->name, first + from, some, data));
    }
  }
  SYZ_TRY(syz_h5_publish(&f));
cleanup:
  syz_h5_close(&f);
  return st;
}

static void check_file(const char *path, bool is_compressed)
{
  static double got[ROOM / 8], want[ROOM / 8];
  syz_h5 *f = NULL;
  CHECK_OK(syz_h5_open(world, path, &f));
  if (!f) return;
  for (int k = 0; k < SAMPLES; k++) {
    const sample *s = &samples[k];
    bool has = false;
    CHECK_OK(syz_h5_verify(f, s->name, &has));
    CHECK(has);
    const int64_t first = s->rows > 1 ? 1 : 0, n = s->rows - first; /* not on the border of a chunk */
    if (n == 0) continue;
    CHECK_OK(syz_h5_read(f, s->name, s->type, first, n, got));
    fill(s, first, n, want);
    CHECK(memcmp(got, want, (size_t)(n * s->items) * syz_h5_type_size(s->type)) == 0);
  }
  syz_h5_close(&f);
  struct stat about;
  CHECK(stat(path, &about) == 0);
  if (is_compressed)
    CHECK_LT((double)about.st_size, 0.25 * plain_bytes());
  else
    CHECK_GT((double)about.st_size, plain_bytes());
}

static void test_aggregators(void)
{
  char plain[SCRATCH + 40], path[SCRATCH + 40];
  size_t n = 0, m = 0;
  snprintf(plain, sizeof plain, "%s/plain.h5", folder);
  syz_h5_configure(&(syz_h5_settings){.alignment = 65536, .is_direct = false});
  CHECK_OK(write_samples(world, plain, false));
  check_file(plain, false);
  unsigned char *a = scratch_read(plain, &n);
  for (int some = 0; some <= size + 1 && some <= 4; some++) /* one more than there are ranks */
    for (int in_pieces = 0; in_pieces < 2; in_pieces++) {
      snprintf(path, sizeof path, "%s/through-%d-%d.h5", folder, some, in_pieces);
      syz_h5_configure(&(syz_h5_settings){
          .alignment = 65536, .is_direct = some != 1, .aggregators = some, .stripe_count = 2, .stripe_size = 1 << 20});
      CHECK_OK(write_samples(world, path, in_pieces));
      unsigned char *b = scratch_read(path, &m);
      CHECK(n > 23000000 && n == m && memcmp(a, b, n) == 0);
      free(b);
    }
  free(a);
}

/* The driver mpio: byte for byte the same file, also by one rank alone, and whatever the hints; compressed files are
 * written directly. */
static void test_mpio(void)
{
  char plain[SCRATCH + 40], path[SCRATCH + 40];
  size_t n = 0, m = 0;
  snprintf(plain, sizeof plain, "%s/plain.h5", folder);
  unsigned char *a = scratch_read(plain, &n);
  for (int k = 0; k < 3; k++) {
    const bool is_alone = k == 2;
    snprintf(path, sizeof path, "%s/mpio-%d-%d.h5", folder, k, is_alone ? rank : 0);
    syz_h5_configure(&(syz_h5_settings){.driver = SYZ_H5_MPIO,
                                        .alignment = 65536,
                                        .is_direct = true,
                                        .aggregators = k,
                                        .stripe_size = k ? 1 << 20 : 0,
                                        .hints = k ? "cb_buffer_size=1048576,romio_cb_write=enable" : NULL});
    CHECK_OK(write_samples(is_alone ? NULL : world, path, k > 0));
    unsigned char *b = scratch_read(path, &m);
    CHECK(n > 23000000 && n == m && memcmp(a, b, n) == 0);
    free(b);
  }
  free(a);
  use_small();
  snprintf(path, sizeof path, "%s/mpio-packed.h5", folder);
  syz_h5_configure(&(syz_h5_settings){.driver = SYZ_H5_MPIO, .alignment = 65536, .compression_level = 1});
  CHECK_OK(write_samples(world, path, false));
  check_file(path, true);
}

/* The last rank's folder is another one, as on a node that does not share it: all ranks end alike, at once, and go on
 * with other files. */
static void test_mpio_elsewhere(void)
{
  char here[PATH_MAX];
  double got[3];
  syz_h5 *f = NULL;
  if (size == 1) return;
  CHECK(getcwd(here, sizeof here) && chdir(rank < size - 1 ? folder : "/") == 0);
  syz_h5_configure(&(syz_h5_settings){.driver = SYZ_H5_MPIO, .alignment = 4096});
  CHECK_ERROR(write_samples(world, "elsewhere.h5", false), SYZ_ERR_WRITE, "elsewhere.h5");
  CHECK(strstr(syz_error_text(), "No such file"));
  syz_barrier(world);
  CHECK_EQ(scratch_count(folder, "elsewhere.h5"), 0);
  CHECK(chdir(folder) == 0);
  CHECK_OK(write_samples(world, "together.h5", false));
  CHECK_OK(syz_h5_open(world, "together.h5", &f));
  if (rank == size - 1) CHECK(chdir("/") == 0);
  if (f) CHECK_ERROR(syz_h5_read_all(f, "small", SYZ_H5_F64, rank % 5, 1, got), SYZ_ERR_DATA, "together.h5");
  syz_h5_close(&f);
  CHECK(chdir(here) == 0);
}

static void test_driver(void)
{
  char name[32], path[SCRATCH + 40];
  syz_h5_driver driver = SYZ_H5_MPIO;
  snprintf(path, sizeof path, "%s/not/yet/there", folder);
  CHECK_OK(syz_h5_driver_for(world, path, &driver, name)); /* tests run on a disk of this machine */
  CHECK_EQ(driver, SYZ_H5_DIRECT);
  CHECK_OK(syz_h5_driver_for(world, "/dev/shm", &driver, name));
  CHECK(driver == SYZ_H5_DIRECT && strcmp(name, "tmpfs") == 0);
  CHECK_OK(syz_h5_driver_for(world, "", &driver, name));
  const char *known = NULL;
  const uint32_t parallel[] = {0x0BD00BD0, 0x47504653, 0x19830326}; /* Lustre, GPFS, BeeGFS */
  for (int i = 0; i < 3; i++) CHECK(syz_h5_driver_on(parallel[i], false, &known) == SYZ_H5_MPIO && known != NULL);
  CHECK(syz_h5_driver_on(0x6969, true, &known) == SYZ_H5_MPIO && strcmp(known, "NFS") == 0);
  CHECK(syz_h5_driver_on(0x6969, false, &known) == SYZ_H5_DIRECT);
  CHECK(syz_h5_driver_on(0xEF53, true, &known) == SYZ_H5_DIRECT && strcmp(known, "ext4") == 0);
  CHECK(syz_h5_driver_on(1, true, &known) == SYZ_H5_DIRECT && known == NULL);
  CHECK(syz_h5_hints_are_usable("") && syz_h5_hints_are_usable("cb_nodes=4") &&
        syz_h5_hints_are_usable("a=1,romio_cb_write=enable"));
  const char *const wrong[] = {"cb_nodes", "=4", "a=", "a=1,", ",a=1", "a=1,,b=2", "a=1,b"};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) CHECK(!syz_h5_hints_are_usable(wrong[i]));
}

static void test_compression(void)
{
  char path[SCRATCH + 40];
  for (int level = 1; level <= 9; level += 4)
    for (int in_pieces = 0; in_pieces < 2; in_pieces++) {
      snprintf(path, sizeof path, "%s/packed-%d-%d.h5", folder, level, in_pieces);
      syz_h5_configure(&(syz_h5_settings){
          .alignment = 4096, .is_direct = true, .aggregators = level == 9, .compression_level = level});
      CHECK_OK(write_samples(world, path, in_pieces));
      check_file(path, true);
    }
  snprintf(path, sizeof path, "%s/alone-%d.h5", folder, rank);
  CHECK_OK(write_samples(NULL, path, true));
  check_file(path, true);
}

/* Damaged files: no byte of the rows can change unseen, and nothing crashes. */
static void test_damage(void)
{
  char path[SCRATCH + 40], bad[SCRATCH + 40];
  size_t n = 0;
  syz_barrier(world);
  snprintf(path, sizeof path, "%s/packed-5-0.h5", folder);
  snprintf(bad, sizeof bad, "%s/bad-%d.h5", folder, rank);
  unsigned char *bytes = scratch_read(path, &n);
  int told = 0;
  for (int k = 0; k < 40; k++) {
    const size_t at = n / 3 + (size_t)(mix((uint64_t)(k + 1000 * rank)) % (n / 2)); /* rows of some dataset, mostly */
    bytes[at] ^= 0x20;
    scratch_write(bad, bytes, n);
    syz_h5 *f = NULL;
    syz_status st = syz_h5_open(NULL, bad, &f);
    for (int i = 0; st == SYZ_OK && i < SAMPLES; i++) {
      bool has;
      st = syz_h5_verify(f, samples[i].name, &has);
    }
    CHECK(st == SYZ_OK || st == SYZ_ERR_DATA);
    if (st == SYZ_ERR_DATA) {
      told++;
      CHECK(strstr(syz_error_text(), bad) != NULL);
    }
    syz_h5_close(&f);
    bytes[at] ^= 0x20;
  }
  fprintf(stderr, "%d of 40 damages were told\n", told); /* the others hit what lies between the chunks */
  CHECK_GT(told, 30);
  free(bytes);
}

static void test_faults(void)
{
#ifdef SYZ_FAULTS
  char path[SCRATCH + 40], wish[64];
  static int visits[64];
  snprintf(path, sizeof path, "%s/never.h5", folder);
  const char *const points[] = {"h5_write", "h5_chunk"};
  for (int settings = 0; settings < 2; settings++)
    for (int r = 0; r < size; r++) {
      syz_h5_configure(settings ? &(syz_h5_settings){.alignment = 4096, .is_direct = true, .compression_level = 1}
                                : &(syz_h5_settings){.alignment = 4096, .is_direct = true, .aggregators = 2});
      snprintf(wish, sizeof wish, "%s:%d:%d", points[settings], r, ++visits[r]);
      setenv("SYZ_FAULT", wish, 1);
      CHECK_ERROR(write_samples(world, path, true), SYZ_ERR_WRITE, "injected failure");
      unsetenv("SYZ_FAULT");
      syz_barrier(world);
      CHECK_EQ(scratch_count(folder, "never.h5"), 0);
      CHECK_EQ(scratch_count(folder, ".tmp"), 0);
      syz_barrier(world);
    }
  /* Through MPI-IO: before the space is there, before the file is opened, between rows, before it is published. */
  const char *const mpio_points[] = {"h5_reserve", "h5_mpio_open", "h5_write", "h5_publish"};
  syz_h5_configure(&(syz_h5_settings){.driver = SYZ_H5_MPIO, .alignment = 4096});
  for (int k = 0; k < 4; k++)
    for (int r = 0; r < (k ? size : 1); r++) {
      for (int visit = 1; visit <= (k == 3 ? 1 : 3); visit += 2) { /* of the first dataset, of the second or third */
        visits[r] += visit;
        snprintf(wish, sizeof wish, "%s:%d:%d", mpio_points[k], r, visits[r]);
        setenv("SYZ_FAULT", wish, 1);
        CHECK_ERROR(write_samples(world, path, true), SYZ_ERR_WRITE, k == 0 ? "No space left" : "injected failure");
        unsetenv("SYZ_FAULT");
        syz_barrier(world);
        CHECK_EQ(scratch_count(folder, "never.h5"), 0);
        CHECK_EQ(scratch_count(folder, ".tmp"), 0);
        syz_barrier(world);
      }
    }
  syz_h5_configure(&(syz_h5_settings){.alignment = 4096, .is_direct = true, .compression_level = 1});
  snprintf(wish, sizeof wish, "alloc:%d:%d", size - 1, visits[size - 1] + 60); /* no memory in the midst of it */
  setenv("SYZ_FAULT", wish, 1);
  CHECK_ERROR(write_samples(world, path, true), SYZ_ERR_MEMORY, "");
  unsetenv("SYZ_FAULT");
#else
  if (rank == 0) fprintf(stderr, "SKIP: injected failures need -DSYZ_FAULTS=ON\n");
#endif
}

static void run(void)
{
  rank = syz_comm_rank(world);
  size = syz_comm_size(world);
  test_aggregators();
  test_mpio();
  test_mpio_elsewhere();
  test_driver();
  test_compression();
  test_damage();
  test_faults();
}

int main(int argc, char **argv) { return scratch_main(argc, argv, &world, folder, run); }
