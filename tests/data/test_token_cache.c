/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Token cache, on disk and in memory, on any number of ranks: what was put is what is got, in any order and number,
 * read ahead or not; a killed run's rows are kept; another key starts anew; a damaged row is noticed, in memory too.
 */
#include "check.h"
#include "scratch.h"

#include "syzygy/data.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

enum { ROWS = 41, BYTES = 3001 };

static syz_comm *world;
static char folder[SCRATCH];
static int rank, size;

static void fill(int64_t row, size_t bytes, unsigned char *to)
{
  for (size_t i = 0; i < bytes; i++)
    to[i] = (unsigned char)((uint64_t)(row * 1000003 + (int64_t)i) * 2654435761u >> 13);
}

static syz_status put_missing(syz_token_cache *t, size_t bytes, int64_t most)
{
  syz_status st = SYZ_OK;
  unsigned char *row_bytes = malloc(bytes);
  const int64_t *row;
  int64_t n = syz_token_cache_missing(t, &row);
  for (int64_t i = 0; i < n && i < most; i++) {
    fill(row[i], bytes, row_bytes);
    SYZ_TRY(syz_token_cache_put(t, 1, &row[i], row_bytes));
  }
cleanup:
  free(row_bytes);
  return st;
}

/* Every rank asks for other rows, some of them twice, one rank for none; more than a round holds. */
static void check_get(syz_token_cache *t, int64_t rows, size_t bytes, int64_t most)
{
  int64_t n = rank == size - 1 && size > 1 ? 0 : 3 + 7 * rank + most, *row = malloc((size_t)(n + 1) * sizeof *row);
  unsigned char *got = malloc((size_t)n * bytes + 1), *want = malloc(bytes);
  for (int64_t i = 0; i < n; i++) row[i] = (i * 17 + rank * 5) % rows;
  CHECK_OK(syz_token_cache_get(t, n, row, got)); /* may allocate nothing: */
  int64_t allocations = syz_memory_get().allocations;
  CHECK_OK(syz_token_cache_get(t, n, row, got));
  CHECK_EQ(syz_memory_get().allocations, allocations);
  int64_t wrong = 0;
  for (int64_t i = 0; i < n; i++) {
    fill(row[i], bytes, want);
    wrong += memcmp(want, got + (size_t)i * bytes, bytes) != 0;
  }
  CHECK_EQ(wrong, 0);
  free(row);
  free(got);
  free(want);
}

static void test_disk(void)
{
  char path[SCRATCH + 20];
  const int64_t *row;
  int64_t first, count;
  syz_token_cache *t = NULL;
  snprintf(path, sizeof path, "%s/tokens", folder);
  syz_share(ROWS, size, rank, &first, &count);
  CHECK_OK(syz_token_cache_open(world, path, 17, ROWS, BYTES, false, &t));
  CHECK_EQ(syz_token_cache_missing(t, &row), count);
  CHECK_OK(put_missing(t, BYTES, 5));
  if (count > 5)
    CHECK_ERROR(syz_token_cache_seal(t), SYZ_ERR_INTERNAL, "never put");
  else
    CHECK(syz_token_cache_seal(t) != SYZ_OK || count <= 5);
  int64_t beyond = first + count;
  CHECK_ERROR(syz_token_cache_put(t, 1, &beyond, folder), SYZ_ERR_INTERNAL, "not this rank's");
  syz_token_cache_close(&t);

  /* Going on: five rows a rank are there. */
  CHECK_OK(syz_token_cache_open(world, path, 17, ROWS, BYTES, false, &t));
  CHECK_EQ(syz_token_cache_missing(t, &row), count > 5 ? count - 5 : 0);
  if (count > 5) CHECK_EQ(row[0], first + 5);
  CHECK_OK(put_missing(t, BYTES, ROWS));
  CHECK_OK(syz_token_cache_seal(t));
  check_get(t, ROWS, BYTES, 40);
  syz_token_cache_close(&t);

  /* Complete: nothing is missing. A flipped byte is noticed when the row is read. */
  CHECK_OK(syz_token_cache_open(world, path, 17, ROWS, BYTES, false, &t));
  CHECK_EQ(syz_token_cache_missing(t, &row), 0);
  CHECK_OK(syz_token_cache_seal(t));
  check_get(t, ROWS, BYTES, 2);
  if (rank == 0) {
    int fd = open(path, O_RDWR);
    unsigned char byte = 0;
    off_t at = 8192 + 7 * BYTES + 99; /* header, tags of 41 rows, then the rows */
    fill(7, 100, (unsigned char[100]){0});
    CHECK_EQ(pread(fd, &byte, 1, at), 1);
    byte ^= 4;
    CHECK_EQ(pwrite(fd, &byte, 1, at), 1);
    close(fd);
  }
  syz_barrier(world);
  unsigned char got[2 * BYTES];
  const int64_t some[2] = {3, 7}, good[2] = {8, 3};
  CHECK_OK(syz_token_cache_get(t, 2, good, got));
  CHECK_ERROR(syz_agree(world, syz_token_cache_get(t, rank == 0 ? 2 : 1, some, got)), SYZ_ERR_DATA,
              "row 7 of the token cache is damaged");
  /* The thread's failure is that of the get which wanted the rows, on that rank alone, and of no other get. */
  CHECK_OK(syz_token_cache_ahead(t, rank == 0 ? 2 : 1, some, got));
  CHECK_ERROR(syz_agree(world, syz_token_cache_get(t, rank == 0 ? 2 : 1, some, got)), SYZ_ERR_DATA,
              "row 7 of the token cache is damaged");
  CHECK_OK(syz_token_cache_ahead(t, 2, some, got));
  CHECK_OK(syz_token_cache_get(t, 2, good, got));
  syz_token_cache_close(&t);

  /* Another key, another shape, a file cut short: begun anew. */
  CHECK_OK(syz_token_cache_open(world, path, 18, ROWS, BYTES, false, &t));
  CHECK_EQ(syz_token_cache_missing(t, &row), count);
  CHECK_OK(put_missing(t, BYTES, ROWS));
  syz_token_cache_close(&t);
  CHECK_OK(syz_token_cache_open(world, path, 18, ROWS, BYTES - 1, false, &t));
  CHECK_EQ(syz_token_cache_missing(t, &row), count);
  CHECK_OK(put_missing(t, BYTES - 1, ROWS));
  syz_token_cache_close(&t);
  syz_barrier(world);
  if (rank == 0) CHECK(truncate(path, 5000) == 0);
  syz_barrier(world);
  CHECK_OK(syz_token_cache_open(world, path, 18, ROWS, BYTES - 1, false, &t));
  CHECK_EQ(syz_token_cache_missing(t, &row), count);
  syz_token_cache_close(&t);
  CHECK_ERROR(syz_token_cache_open(world, "/nowhere/tokens", 18, ROWS, BYTES, false, &t), SYZ_ERR_WRITE,
              "/nowhere/tokens");
}

/* Steps as a training run takes them: two buffers in turn, the next step's rows asked for while this one's are looked
 * at. Some steps ask for other rows than were announced (a run that resumes), some for none, and the last announcement
 * is never taken. */
static void test_ahead(void)
{
  enum { STEPS = 60, BATCH = 5 };
  char path[SCRATCH + 20];
  int64_t row[BATCH + 1] = {0}, wrong = 0, allocations = 0;
  unsigned char *buffer[2] = {malloc(BATCH * BYTES), malloc(BATCH * BYTES)}, want[BYTES];
  syz_token_cache *t = NULL;
  snprintf(path, sizeof path, "%s/ahead", folder);
  CHECK_OK(syz_token_cache_open(world, path, 3, ROWS, BYTES, false, &t));
  if (!t) return;
  CHECK_OK(put_missing(t, BYTES, ROWS));
  CHECK_OK(syz_token_cache_seal(t));
  for (int step = 0; step < STEPS; step++) {
    const int64_t n = (step + rank) % 7 == 6 ? 0 : BATCH;
    const int64_t shift = step % 11 == 10 ? 1 : 0; /* not what was announced */
    unsigned char *now = buffer[step % 2];
    for (int64_t i = 0; i < n; i++) row[i] = (step * 13 + i * 7 + rank * 3 + shift) % ROWS;
    CHECK_OK(syz_token_cache_get(t, n, row, now));
    const int64_t next = (step + 1 + rank) % 7 == 6 ? 0 : BATCH;
    for (int64_t i = 0; i < next; i++) row[i] = ((step + 1) * 13 + i * 7 + rank * 3) % ROWS;
    CHECK_OK(syz_token_cache_ahead(t, next, row, buffer[(step + 1) % 2]));
    for (int64_t i = 0; i <= BATCH; i++) row[i] = -1; /* the list was copied */
    for (int64_t i = 0; i < n; i++) {
      fill((step * 13 + i * 7 + rank * 3 + shift) % ROWS, BYTES, want);
      wrong += memcmp(want, now + i * BYTES, BYTES) != 0;
    }
    if (step == 2) allocations = syz_memory_get().allocations;
  }
  CHECK_EQ(wrong, 0);
  CHECK_EQ(syz_memory_get().allocations, allocations);
#ifdef SYZ_FAULTS
  /* A failure on the thread of the last rank, told by all. */
  char wish[64];
  int64_t three[1] = {3};
  CHECK_OK(syz_token_cache_get(t, 1, three, buffer[0]));
  snprintf(wish, sizeof wish, "token_cache_get:%d:1", size - 1);
  setenv("SYZ_FAULT", wish, 1);
  CHECK_OK(syz_token_cache_ahead(t, 1, three, buffer[1]));
  CHECK_ERROR(syz_agree(world, syz_token_cache_get(t, 1, three, buffer[1])), SYZ_ERR_DATA, "row 3: injected failure");
  unsetenv("SYZ_FAULT");
#endif
  const int64_t beyond[1] = {ROWS};
  CHECK_OK(syz_token_cache_ahead(t, 1, beyond, buffer[1]));
  CHECK_ERROR(syz_token_cache_get(t, 1, beyond, buffer[1]), SYZ_ERR_INTERNAL, "row 41 of 41");
  CHECK_OK(syz_token_cache_ahead(t, BATCH, (int64_t[BATCH]){4, 3, 2, 1, 0}, buffer[0]));
  syz_token_cache_close(&t); /* with a reading under way */
  free(buffer[0]);
  free(buffer[1]);
}

/* A child fills the cache and is killed somewhere in between; what its tags promise is true. Rank 0 only, with a group
 * of its own. */
static void test_kill(void)
{
  enum { MANY = 4000, LONG = 20000, TIMES = 6 };
  char path[SCRATCH + 20];
  syz_comm *alone = NULL;
  CHECK_OK(syz_comm_split(world, rank, &alone));
  snprintf(path, sizeof path, "%s/killed", folder);
  for (int k = 0; rank == 0 && k < TIMES; k++) {
    syz_token_cache *t = NULL;
    const int64_t *row;
    CHECK_OK(syz_token_cache_open(alone, path, 5, MANY, LONG, false, &t));
    if (!t) break;
    int64_t before = syz_token_cache_missing(t, &row);
    pid_t child = fork();
    if (child == 0) {
      (void)!put_missing(t, LONG, MANY);
      _exit(0);
    }
    struct timespec pause = {0, 3000000 * (k + 1)};
    nanosleep(&pause, NULL);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    syz_token_cache_close(&t);
    CHECK_OK(syz_token_cache_open(alone, path, 5, MANY, LONG, false, &t));
    int64_t after = syz_token_cache_missing(t, &row), last = after ? row[0] : MANY; /* rows were put in order */
    CHECK(after <= before);
    unsigned char *got = malloc(LONG), *want = malloc(LONG);
    for (int64_t r = last > 20 ? last - 20 : 0; r < last; r++) {
      fill(r, LONG, want);
      CHECK_OK(syz_token_cache_get(t, 1, &r, got));
      CHECK(memcmp(got, want, LONG) == 0);
    }
    fprintf(stderr, "killed after %lld of %d rows\n", (long long)(MANY - after), MANY);
    free(got);
    free(want);
    syz_token_cache_close(&t);
  }
  syz_comm_destroy(&alone);
}

/* A bit that flips in a row in memory stays there: every get of that row tells it, on its owner alone, and the other
 * ranks get theirs. */
static void check_flip(syz_token_cache *t, int64_t first, int64_t count)
{
#ifdef SYZ_FAULTS
  char wish[64];
  int64_t row[ROWS], wrong = 0;
  unsigned char *got = malloc((size_t)ROWS * BYTES), want[BYTES];
  for (int64_t i = 0; i < ROWS; i++) row[i] = (i + rank) % ROWS;
  snprintf(wish, sizeof wish, "token:%d:1:5", size - 1);
  setenv("SYZ_FLIP", wish, 1);
  for (int k = 0; k < 2; k++) {
    const syz_status mine = syz_token_cache_get(t, ROWS, row, got);
    CHECK_EQ(mine, rank == size - 1 ? SYZ_ERR_NUMERIC : SYZ_OK);
    CHECK_ERROR(syz_agree(world, mine), SYZ_ERR_NUMERIC, "of the token cache changed in the memory of ");
  }
  unsetenv("SYZ_FLIP");
  for (int64_t i = 0; i < ROWS; i++) {
    fill(row[i], BYTES, want);
    wrong += memcmp(want, got + i * BYTES, BYTES) != 0;
  }
  CHECK_EQ(wrong, 1);
  for (int64_t i = first; i < first + count; i++) { /* put again, it is whole again */
    fill(i, BYTES, want);
    CHECK_OK(syz_token_cache_put(t, 1, &i, want));
  }
  CHECK_OK(syz_agree(world, syz_token_cache_get(t, ROWS, row, got)));
  free(got);
#else
  (void)t, (void)first, (void)count;
#endif
}

static void test_memory(void)
{
  const int64_t *row;
  int64_t first, count;
  syz_token_cache *t = NULL;
  syz_share(ROWS, size, rank, &first, &count);
  CHECK_OK(syz_token_cache_open(world, NULL, 17, ROWS, BYTES, true, &t));
  CHECK_EQ(syz_token_cache_missing(t, &row), count);
  CHECK_OK(put_missing(t, BYTES, ROWS));
  CHECK_OK(syz_token_cache_seal(t));
  check_get(t, ROWS, BYTES, 600); /* more than the 256 rows of a round */
  const int64_t wrong = ROWS;
  unsigned char got[BYTES];
  CHECK_ERROR(syz_agree(world, syz_token_cache_get(t, rank == 0, &wrong, got)), SYZ_ERR_INTERNAL, "row 41 of 41");
  check_flip(t, first, count);
  syz_token_cache_close(&t);

  /* Fewer rows than ranks, and rows so long that a message carries a piece of one. */
  enum { LONG = 40 << 20 };
  CHECK_OK(syz_token_cache_open(world, NULL, 17, 2, LONG, true, &t));
  CHECK_OK(put_missing(t, LONG, 2));
  CHECK_OK(syz_token_cache_seal(t));
  unsigned char *both = malloc(2 * (size_t)LONG), *want = malloc(LONG);
  const int64_t rows[2] = {1, 0};
  CHECK_OK(syz_token_cache_get(t, rank < 2 ? 2 : 0, rows, both));
  for (int64_t r = 0; rank < 2 && r < 2; r++) {
    fill(rows[r], LONG, want);
    CHECK(memcmp(both + (size_t)r * LONG, want, LONG) == 0);
  }
  free(both);
  free(want);
  syz_token_cache_close(&t);
  CHECK_ERROR(syz_token_cache_open(world, NULL, 17, 1000, (size_t)1 << 40, true, &t), SYZ_ERR_MEMORY, "token cache");
}

static void run(void)
{
  rank = syz_comm_rank(world);
  size = syz_comm_size(world);
  test_disk();
  test_ahead();
  test_kill();
  test_memory();
}

int main(int argc, char **argv) { return scratch_main(argc, argv, &world, folder, run); }
