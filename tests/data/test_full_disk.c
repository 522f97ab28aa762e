/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * A disk that fills up, for real: a tmpfs of 4 MB (needs root; skipped aloud otherwise). At whatever moment the space
 * ends, all ranks return SYZ_ERR_WRITE, nothing is left under the final name, and the program ends as usual. Both
 * drivers; what was published before stays whole.
 */
#include "check.h"
#include "scratch.h"

#include "syzygy/data.h"
#include "syzygy/h5.h"

#include <fcntl.h>
#include <sys/statvfs.h>

enum { ROWS = 48, ITEMS = 8192, PAGE = 4096 };

static syz_comm *world;
static char folder[SCRATCH];
static int rank, size;

/* Take all but `leave` bytes of the disk. */
static void fill_disk(int64_t leave)
{
  char path[SCRATCH + 20];
  static char zeros[PAGE];
  struct statvfs disk;
  syz_barrier(world);
  if (rank == 0) {
    snprintf(path, sizeof path, "%s/filler", folder);
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    while (fd >= 0 && statvfs(folder, &disk) == 0 && (int64_t)(disk.f_bavail * disk.f_frsize) > leave &&
           write(fd, zeros, PAGE) > 0)
      continue;
    if (fd >= 0) close(fd);
  }
  syz_barrier(world);
}

static void empty_disk(void)
{
  char path[SCRATCH + 20];
  syz_barrier(world);
  snprintf(path, sizeof path, "%s/filler", folder);
  if (rank == 0) unlink(path);
  syz_barrier(world);
}

typedef enum moment { BEFORE_ALL, BEFORE_ROWS, BETWEEN_ROWS, BEFORE_PUBLISH } moment;

/* Write half of the disk as a file; the other half is taken at the given moment, except for `leave` bytes. */
static syz_status write_file(const char *path, moment when, int64_t leave)
{
  syz_status st = SYZ_OK;
  static float x[ROWS * ITEMS];
  const int64_t shape[] = {ITEMS};
  int64_t first, n;
  syz_h5 *f = NULL;
  syz_share(ROWS, size, rank, &first, &n);
  for (int64_t i = 0; i < n * ITEMS; i++) x[i] = (float)(first * ITEMS + i);
  if (when == BEFORE_ALL) fill_disk(leave);
  SYZ_TRY(syz_h5_create(world, path, "test", "", "", &f));
  SYZ_TRY(syz_h5_dataset(f, "x", SYZ_H5_F32, ROWS, 1, shape, "", ""));
  if (when == BEFORE_ROWS) fill_disk(leave);
  SYZ_TRY(syz_h5_write_rows(f, "x", first, n / 2, x));
  if (when == BETWEEN_ROWS) fill_disk(leave);
  SYZ_TRY(syz_h5_write_rows(f, "x", first + n / 2, n - n / 2, x + n / 2 * ITEMS));
  if (when == BEFORE_PUBLISH) fill_disk(leave);
  SYZ_TRY(syz_h5_publish(&f));
cleanup:
  syz_h5_close(&f);
  empty_disk();
  return st;
}

static void expect_nothing(void)
{
  CHECK_EQ(scratch_count(folder, ".h5"), 0);
  CHECK_EQ(scratch_count(folder, ".tmp"), 0);
}

static void test_moments(void)
{
  char path[SCRATCH + 20];
  snprintf(path, sizeof path, "%s/x.h5", folder);
  CHECK_ERROR(write_file(path, BEFORE_ALL, 0), SYZ_ERR_WRITE, "x.h5");
  expect_nothing();
  CHECK_ERROR(write_file(path, BEFORE_ALL, 1 << 19), SYZ_ERR_WRITE, "no space for dataset x");
  expect_nothing();
  CHECK_ERROR(write_file(path, BEFORE_ROWS, 1 << 18), SYZ_ERR_WRITE, "No space left");
  expect_nothing();
  CHECK_ERROR(write_file(path, BETWEEN_ROWS, 1 << 18), SYZ_ERR_WRITE, "No space left");
  expect_nothing();
  /* Everything is written: what remains is replaced in place and needs no space. */
  CHECK_OK(write_file(path, BEFORE_PUBLISH, 0));
  CHECK_EQ(scratch_count(folder, ".h5"), 1);
  syz_h5 *f = NULL;
  bool has = false;
  CHECK_OK(syz_h5_open(world, path, &f));
  if (f) CHECK_OK(syz_h5_verify(f, "x", &has));
  CHECK(has);
  syz_h5_close(&f);
  syz_barrier(world);
  if (rank == 0) unlink(path);
  /* The space ends anywhere in the description: page by page. */
  for (int64_t pages = 0; pages < 12; pages++) {
    CHECK_ERROR(write_file(path, BEFORE_ALL, pages * PAGE), SYZ_ERR_WRITE, "x.h5");
    expect_nothing();
    CHECK_ERROR(write_file(path, BEFORE_ROWS, pages * PAGE), SYZ_ERR_WRITE, "x.h5");
    expect_nothing();
  }
  CHECK_OK(write_file(path, BEFORE_ROWS, 2 << 20)); /* and once more with room enough */
}

/* Through MPI-IO the space is reserved with the first rows: behind that nothing can be lacking any more. */
static void test_mpio(void)
{
  char path[SCRATCH + 20];
  syz_h5 *f = NULL;
  bool has = false;
  snprintf(path, sizeof path, "%s/x.h5", folder);
  syz_h5_configure(&(syz_h5_settings){.driver = SYZ_H5_MPIO, .alignment = 4096});
  CHECK_OK(write_file(path, BEFORE_PUBLISH, 0)); /* the old file, which all that follows leaves alone */
  CHECK_OK(write_file(path, BETWEEN_ROWS, 0));
  CHECK_ERROR(write_file(path, BEFORE_ALL, 1 << 19), SYZ_ERR_WRITE, "no space for dataset x");
  CHECK_ERROR(write_file(path, BEFORE_ROWS, 1 << 18), SYZ_ERR_WRITE, "x.h5: cannot reserve its 1.5 MiB: No space left");
  for (int64_t pages = 0; pages < 8; pages++) {
    CHECK_ERROR(write_file(path, BEFORE_ALL, pages * PAGE), SYZ_ERR_WRITE, "x.h5");
    CHECK_ERROR(write_file(path, BEFORE_ROWS, pages * PAGE), SYZ_ERR_WRITE, "x.h5");
    CHECK_EQ(scratch_count(folder, ".tmp"), 0);
  }
  CHECK_OK(syz_h5_open(world, path, &f));
  if (f) CHECK_OK(syz_h5_verify(f, "x", &has));
  CHECK(has);
  syz_h5_close(&f);
  syz_barrier(world);
  if (rank == 0) unlink(path);
  syz_h5_configure(&(syz_h5_settings){.alignment = 4096, .is_direct = true});
}

/* Compressed, the file needs space that nobody knows before: wherever it ends, also for the index of chunks at the end,
 * all is as above. */
static void test_compressed(void)
{
  char path[SCRATCH + 20];
  snprintf(path, sizeof path, "%s/x.h5", folder);
  if (rank == 0) unlink(path);
  syz_h5_configure(&(syz_h5_settings){.alignment = 4096, .is_direct = true, .compression_level = 1});
  for (int64_t pages = 0; pages < 8; pages++) { /* 1.5 MiB become about 40 kB */
    CHECK_ERROR(write_file(path, BEFORE_ALL, pages * PAGE), SYZ_ERR_WRITE, "x.h5");
    expect_nothing();
    CHECK_ERROR(write_file(path, BEFORE_ROWS, pages * PAGE), SYZ_ERR_WRITE, "x.h5");
    expect_nothing();
  }
  CHECK_ERROR(write_file(path, BETWEEN_ROWS, 0), SYZ_ERR_WRITE, "No space left");
  expect_nothing();
  for (int64_t pages = 0; pages < 3; pages++) {
    syz_status st = write_file(path, BEFORE_PUBLISH, pages * PAGE);
    CHECK(st == SYZ_OK || st == SYZ_ERR_WRITE);
    if (st == SYZ_OK) {
      syz_h5 *f = NULL;
      bool has = false;
      CHECK_OK(syz_h5_open(world, path, &f));
      if (f) CHECK_OK(syz_h5_verify(f, "x", &has));
      CHECK(has);
      syz_h5_close(&f);
      syz_barrier(world);
      if (rank == 0) unlink(path);
      syz_barrier(world);
    }
    expect_nothing();
  }
  CHECK_OK(write_file(path, BEFORE_ROWS, 2 << 20));
  syz_h5_configure(&(syz_h5_settings){.alignment = 4096, .is_direct = true});
}

/* The token cache's rows arrive after it was opened with room enough. */
static void test_token_cache(void)
{
  enum { CACHE_ROWS = 16, ROW_BYTES = 1 << 17 };
  char path[SCRATCH + 20];
  static unsigned char row_bytes[ROW_BYTES];
  syz_token_cache *t = NULL;
  const int64_t *row;
  syz_status st = SYZ_OK;
  snprintf(path, sizeof path, "%s/x.h5", folder);
  if (rank == 0) unlink(path);
  snprintf(path, sizeof path, "%s/tokens", folder);
  CHECK_ERROR(syz_token_cache_open(world, path, 1, 64, ROW_BYTES, false, &t), SYZ_ERR_WRITE, "the token cache needs");
  CHECK_OK(syz_token_cache_open(world, path, 1, CACHE_ROWS, ROW_BYTES, false, &t));
  fill_disk(4 * PAGE);
  memset(row_bytes, 7, sizeof row_bytes);
  int64_t n = syz_token_cache_missing(t, &row);
  for (int64_t i = 0; st == SYZ_OK && i < n; i++) st = syz_token_cache_put(t, 1, &row[i], row_bytes);
  CHECK_ERROR(syz_agree(world, st), SYZ_ERR_WRITE, "No space left");
  syz_token_cache_close(&t);
  empty_disk();
  /* With mpio the rows have their space from the opening on. */
  syz_h5_configure(&(syz_h5_settings){.driver = SYZ_H5_MPIO, .alignment = 4096, .stripe_size = 1 << 20});
  CHECK_OK(syz_token_cache_open(world, path, 2, CACHE_ROWS, ROW_BYTES, false, &t));
  fill_disk(0);
  n = syz_token_cache_missing(t, &row);
  st = SYZ_OK;
  for (int64_t i = 0; st == SYZ_OK && i < n; i++) st = syz_token_cache_put(t, 1, &row[i], row_bytes);
  CHECK_OK(syz_agree(world, st));
  CHECK_OK(syz_token_cache_seal(t));
  syz_token_cache_close(&t);
  empty_disk();
  CHECK_ERROR(syz_token_cache_open(world, path, 3, 64, ROW_BYTES, false, &t), SYZ_ERR_WRITE, "tokens");
  syz_h5_configure(&(syz_h5_settings){.alignment = 4096, .is_direct = true});
}

int main(int argc, char **argv)
{
  char command[SCRATCH + 100];
  if (syz_comm_start(&argc, &argv, &world) != SYZ_OK) return 1;
  rank = syz_comm_rank(world);
  size = syz_comm_size(world);
  scratch_make(world, folder);
  int is_mounted = 0;
  if (rank == 0) {
    snprintf(command, sizeof command, "mount -t tmpfs -o size=4m syzygy-test %s 2>/dev/null", folder);
    is_mounted = getuid() == 0 && system(command) == 0;
  }
  syz_bcast(world, &is_mounted, sizeof is_mounted, 0);
  if (!is_mounted) {
    if (rank == 0) fprintf(stderr, "SKIP: cannot mount a small tmpfs (not root?)\n");
    scratch_remove(world, folder);
    syz_comm_finish(&world);
    return 77;
  }
  double t0 = syz_clock_s();
  test_moments();
  test_mpio();
  test_compressed();
  test_token_cache();
  CHECK_LT(syz_clock_s() - t0, 30.0);
  syz_barrier(world);
  if (rank == 0) {
    snprintf(command, sizeof command, "umount %s", folder);
    CHECK(system(command) == 0);
  }
  scratch_remove(world, folder);
  int64_t failures = check_failures;
  syz_allreduce_i64(world, &failures, 1, SYZ_SUM);
  int result = CHECK_RESULT();
  syz_comm_finish(&world);
  return failures ? 1 : result;
}
