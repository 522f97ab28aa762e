/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Damaged HDF5 files: thousands of copies with a few bytes changed or the end cut off, each opened in a child process. The child must
 * end by itself with SYZ_OK or SYZ_ERR_DATA and a message that names the file: no signal, no other code, no endless loop.
 */
#include "check.h"
#include "fixture.h"
#include "scratch.h"

#include <signal.h>
#include <sys/wait.h>

enum { S = SYZ_SPECTRUM_PIXELS, IMAGE = 3 * 152 * 152, LIMIT_S = 30 };

static int trials = 40; /* each; SYZYGY_FUZZ_TRIALS for more */
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

static int run_child(void)
{
  fflush(NULL);
  pid_t child = fork();
  if (child == 0) {
    alarm(LIMIT_S);
    syz_status st = use_file();
    bool is_named = st == SYZ_OK || strstr(syz_error_text(), path);
    _exit(st != SYZ_OK && st != SYZ_ERR_DATA ? 100 + (int)st : is_named ? (st == SYZ_OK ? 0 : 1) : 99);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return status;
}

/* `described`: how many bytes from the beginning are looked at most often, where the file is described. */
static void fuzz(const char *what, const unsigned char *bytes, size_t n, size_t described, uint64_t seed)
{
  int good = 0, refused = 0, odd = 0;
  unsigned char *copy = malloc(n);
  const int known = 593; /* of the shard: libhdf5 1.10.8 dies of it, which h5_guard.c turns into a refusal */
  for (int k0 = 0; k0 <= trials; k0++) {
    int trial = k0 < trials ? k0 : known;
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
    int status = run_child();
    if (WIFEXITED(status) && WEXITSTATUS(status) <= 1) {
      good += WEXITSTATUS(status) == 0;
      refused += WEXITSTATUS(status) == 1;
      continue;
    }
    odd++;
    if (odd <= 5)
      fprintf(stderr, "%s, trial %d: %s %d\n", what, trial, WIFSIGNALED(status) ? "signal" : "exit", WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
  }
  fprintf(stderr, "%s: %d read, %d refused, %d neither\n", what, good, refused, odd);
  CHECK_EQ(odd, 0);
  CHECK_GT(refused, trials / 20);
  free(copy);
}

int main(int argc, char **argv)
{
  const char *base = getenv("TMPDIR");
  size_t n = 0;
  if (getenv("SYZYGY_FUZZ_TRIALS")) trials = atoi(getenv("SYZYGY_FUZZ_TRIALS"));
  snprintf(folder, sizeof folder, "%s/syzygy-test-XXXXXX", base ? base : "/dev/shm");
  if (!mkdtemp(folder)) return 1;
  snprintf(path, sizeof path, "%s/f.h5", folder);
  CHECK_OK(syz_fixture_shard(path, 1, 0, 2));
  CHECK(use_file() == SYZ_ERR_DATA && strstr(syz_error_text(), "neither AstroCLIP's")); /* good as a shard, foreign to nobody */
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
  return CHECK_RESULT();
}
