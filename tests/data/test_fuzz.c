/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Damaged HDF5 files: thousands of copies with a few bytes changed or the end cut off, all of them opened by this one
 * process, which must outlive every one. What comes back must be SYZ_OK or SYZ_ERR_DATA with a message that names the
 * file, within LIMIT_S. How much memory this process and the readers take is said at the end.
 */
#include "check.h"
#include "fixture.h"
#include "scratch.h"
#include "syzygy/h5.h"
#include "syzygy/numbers.h"

#include <sys/resource.h>

enum { S = SYZ_SPECTRUM_PIXELS, IMAGE = 3 * 152 * 152, LIMIT_S = 30 /* of wall time, on a loaded machine */ };

static int trials = 40, first_trial; /* of each file: SYZYGY_FUZZ_TRIALS for more, SYZYGY_FUZZ_FIRST for others */
static char folder[SCRATCH], path[SCRATCH + 20];

static syz_status verify_one(void *context, const char *name)
{
  bool has;
  return syz_h5_verify(context, name, &has);
}

/* All that a user's command does to a file. */
static syz_status use_file(void)
{
  syz_status st = SYZ_OK;
  syz_h5 *f = NULL;
  char *text = NULL;
  static float image[IMAGE], flux[S];
  SYZ_TRY(syz_h5_open(NULL, path, &f));
  SYZ_TRY(syz_h5_read_text(f, "", "syzygy_format", &text));
  syz_free(&text);
  SYZ_TRY(syz_h5_read_text(f, "", "input", &text));
  if (syz_h5_has(f, "image")) SYZ_TRY(syz_h5_read(f, "image", SYZ_H5_F32, 0, 1, image));
  if (syz_h5_has(f, "spectrum")) SYZ_TRY(syz_h5_read(f, "spectrum", SYZ_H5_F32, 1, 1, flux));
  SYZ_TRY(syz_h5_visit(f, "", verify_one, f));
cleanup:
  syz_free(&text);
  syz_h5_close(&f);
  if (st != SYZ_OK) return st;
  syz_foreign *o = NULL;
  syz_object object[2];
  st = syz_foreign_open(path, &o);
  if (st == SYZ_OK && syz_foreign_size(o) >= 2) st = syz_foreign_objects(o, 0, 2, object);
  if (st == SYZ_OK && syz_foreign_size(o) >= 2) st = syz_foreign_read(o, 0, 1, image, flux, NULL);
  syz_foreign_close(&o);
  return st;
}

/* 0: read; 1: refused, and named; otherwise wrong. */
static int judge(double *worst_s)
{
  const double start_s = syz_clock_s();
  const syz_status st = use_file();
  const double took_s = syz_clock_s() - start_s;
  if (took_s > *worst_s) *worst_s = took_s;
  if (took_s > LIMIT_S) return 98;
  if (st == SYZ_OK) return 0;
  return st != SYZ_ERR_DATA ? 100 + (int)st : strstr(syz_error_text(), path) ? 1 : 99;
}

/* `described`: how many bytes from the beginning are looked at most often, where the file is described. */
static void fuzz(const char *what, const unsigned char *bytes, size_t n, size_t described, uint64_t seed)
{
  int good = 0, refused = 0, odd = 0;
  double worst_s = 0;
  unsigned char *copy = malloc(n);
  const int known = 593; /* of the shard: libhdf5 1.10.8 dies of it, which the reader process turns into a refusal */
  for (int k0 = 0; k0 <= trials; k0++) {
    int trial = k0 < trials ? first_trial + k0 : known;
    syz_random r = syz_random_make(seed, SYZ_RANDOM_TEST, 9, (uint64_t)trial);
    memcpy(copy, bytes, n);
    size_t length = trial % 10 == 0 ? (size_t)syz_random_below(&r, 0, n) : n;
    int changes = trial % 10 == 0 ? 0 : 1 + trial % 4;
    for (int k = 0; k < changes; k++) {
      size_t at = (size_t)syz_random_below(&r, (uint32_t)(10 + k), trial % 5 == 1 ? n : described);
      uint32_t how = syz_random_u32(&r, (uint32_t)(200 + k));
      copy[at] = (unsigned char)(how % 3 == 0 ? 0xffu : how % 3 == 1 ? how >> 8 : copy[at] ^ 1u << (how >> 8) % 8);
    }
    scratch_write(path, copy, length);
    const int verdict = judge(&worst_s);
    good += verdict == 0;
    refused += verdict == 1;
    if (verdict <= 1) continue;
    odd++;
    if (odd <= 5) fprintf(stderr, "%s, trial %d: verdict %d, %s\n", what, trial, verdict, syz_error_text());
  }
  fprintf(stderr, "%s: %d read, %d refused, %d neither; at most %.2f s each\n", what, good, refused, odd, worst_s);
  CHECK_EQ(odd, 0);
  CHECK_GT(refused, trials / 20);
  free(copy);
}

int main(int argc, char **argv)
{
  const char *base = getenv("TMPDIR");
  size_t n = 0;
  if (getenv("SYZYGY_FUZZ_TRIALS")) trials = atoi(getenv("SYZYGY_FUZZ_TRIALS"));
  if (getenv("SYZYGY_FUZZ_FIRST")) first_trial = atoi(getenv("SYZYGY_FUZZ_FIRST"));
  snprintf(folder, sizeof folder, "%s/syzygy-test-XXXXXX", base ? base : "/dev/shm");
  if (!mkdtemp(folder)) return 1;
  snprintf(path, sizeof path, "%s/f.h5", folder);
  CHECK_OK(syz_fixture_shard(path, 1, 0, 2));
  CHECK(use_file() == SYZ_ERR_DATA &&
        strstr(syz_error_text(), "neither AstroCLIP's")); /* good as a shard, foreign to nobody */
  unsigned char *bytes = scratch_read(path, &n);
  fuzz("shard", bytes, n, 9000, 1);
  free(bytes);
  for (int i = 1; i < argc; i++) { /* files made by h5py: test_fuzz.py */
    bytes = scratch_read(argv[i], &n);
    CHECK(bytes && n > 1000);
    if (bytes) fuzz(argv[i], bytes, n, n < 12000 ? n : 12000, 2);
    free(bytes);
  }
  scratch_empty(folder);
  rmdir(folder);
  syz_h5_finish(); /* after this the readers' memory is known, too */
  struct rusage own, readers;
  getrusage(RUSAGE_SELF, &own);
  getrusage(RUSAGE_CHILDREN, &readers);
  fprintf(stderr, "peak memory: %ld MB, of a reader %ld MB\n", own.ru_maxrss >> 10, readers.ru_maxrss >> 10);
  CHECK_LT((double)(own.ru_maxrss >> 10), 256);
  CHECK_LT((double)(readers.ru_maxrss >> 10), 256);
  CHECK_EQ(syz_memory_get().live_blocks, 0);
  return CHECK_RESULT();
}
