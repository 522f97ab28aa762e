/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Every text that a file says of itself is under its checksum: one bit of any of them, and the file is refused when it
 * is opened; a file without that checksum is read as before. That the bytes do not depend on the number of ranks:
 * test_h5.
 */
#include "check.h"
#include "scratch.h"

#include "syzygy/h5.h"

enum { STEP = 5 }; /* every so many characters: opening a file costs a process */
static syz_comm *world;
static char folder[SCRATCH];
static int rank, size;

static const char input[] = "seed: 20240601\nmodel:\n  spectrum: {heads: 6, overlap: 100}\n",
                  config[] = "model:\n  spectrum: {heads: 6, overlap: 100}\n";

static syz_status write_file(const char *path, const char *texts)
{
  syz_status st = SYZ_OK;
  syz_h5 *f = NULL;
  const int64_t shape[1] = {5};
  float x[40];
  int64_t first, n;
  for (int i = 0; i < 40; i++) x[i] = (float)i;
  syz_share(8, size, rank, &first, &n);
  SYZ_TRY(syz_h5_create(world, path, "model", "syzygy 0.0.0 (test)", input, &f));
  SYZ_TRY(syz_h5_write_text(f, "model_config", texts));
  for (int i = 0; i < 12; i++) { /* more attributes than HDF5 keeps in a header of its own */
    char name[24];
    snprintf(name, sizeof name, "note_%d", i);
    SYZ_TRY(syz_h5_write_text(f, name, "a word of its own"));
  }
  SYZ_TRY(syz_h5_write(f, "parameter/deep/weight", SYZ_H5_F32, 8, 1, shape, first, n, x + 5 * first, "nanomaggy",
                       "weights of a layer"));
  SYZ_TRY(syz_h5_write(f, "parameter/bias", SYZ_H5_F32, 8, 0, NULL, first, n, x + first, "deg", "another one"));
  SYZ_TRY(syz_h5_publish(&f));
cleanup:
  syz_h5_close(&f);
  return st;
}

static void test_whole(const char *path)
{
  syz_h5 *f = NULL;
  bool is_whole = false;
  CHECK_OK(syz_h5_open(world, path, &f));
  if (!f) return;
  CHECK(syz_h5_is_sealed(f) && !syz_h5_lacks_seal(f));
  CHECK_OK(syz_h5_verify_all(f, &is_whole));
  CHECK(is_whole);
  syz_h5_close(&f);
}

static bool says(syz_h5 *f, const char *object, const char *attribute, const char *wanted)
{
  char *text = NULL;
  const bool is_same = syz_h5_read_text(f, object, attribute, &text) == SYZ_OK && text && strcmp(text, wanted) == 0;
  syz_free(&text);
  return is_same;
}

static bool says_all(syz_h5 *f)
{
  bool is_same = says(f, "", "syzygy_format", "model") && says(f, "", "created_by", "syzygy 0.0.0 (test)") &&
                 says(f, "", "input", input) && says(f, "", "model_config", config) &&
                 says(f, "parameter/deep/weight", "units", "nanomaggy") &&
                 says(f, "parameter/deep/weight", "description", "weights of a layer") &&
                 says(f, "parameter/bias", "description", "another one");
  for (int i = 0; i < 12; i++) {
    char name[24];
    snprintf(name, sizeof name, "note_%d", i);
    is_same = is_same && says(f, "", name, "a word of its own");
  }
  return is_same;
}

/*
 * A bit of every fifth character through every copy of a text in the file: this rank's share of the places. The library
 * leaves copies behind where it has moved something to a larger place, which nobody reads: with such a bit the file
 * opens, and says what it said. Returns how often it was refused.
 */
static int64_t flip_all(const unsigned char *bytes, size_t n, const char *text)
{
  char bad[SCRATCH + 40];
  unsigned char *copy = malloc(n);
  int64_t places = 0, missed = 0, refused = 0;
  const size_t length = strlen(text);
  snprintf(bad, sizeof bad, "%s/bad-%d.h5", folder, rank);
  for (size_t i = 0; i + length <= n; i++) {
    if (memcmp(bytes + i, text, length) != 0) continue;
    for (size_t k = (size_t)places % STEP; k < length; k += STEP, places++) {
      if (places % size != rank) continue;
      syz_h5 *f = NULL;
      memcpy(copy, bytes, n);
      copy[i + k] ^= (unsigned char)(1u << (k % 7));
      scratch_write(bad, copy, n);
      syz_status st = syz_h5_open(NULL, bad, &f);
      if (st == SYZ_ERR_DATA && strstr(syz_error_text(), bad))
        refused++;
      else if (st != SYZ_OK || !says_all(f))
        missed++;
      if (f) syz_h5_close(&f);
    }
  }
  free(copy);
  CHECK_EQ(missed, 0);
  syz_allreduce_i64(world, &refused, 1, SYZ_SUM);
  return refused;
}

static void test_flips(const char *path)
{
  static const char *const text[] = {config,
                                     "a word of its own",
                                     "syzygy 0.0.0 (test)",
                                     "nanomaggy",
                                     "weights of a layer",
                                     "another one",
                                     "note_3",
                                     "weight",
                                     "bias"};
  size_t n = 0;
  unsigned char *bytes = scratch_read(path, &n);
  CHECK(bytes != NULL);
  for (size_t i = 0; bytes && i < sizeof text / sizeof *text; i++)
    CHECK(flip_all(bytes, n, text[i]) >= (int64_t)strlen(text[i]) / STEP);
  free(bytes);
}

/* A dataset's checksum attribute and its rows changed so that they agree: only the checksum of the file tells. */
static void test_forged(const char *path)
{
  char other[SCRATCH + 40], bad[SCRATCH + 40];
  size_t n = 0, m = 0;
  snprintf(other, sizeof other, "%s/other.h5", folder);
  snprintf(bad, sizeof bad, "%s/mixed-%d.h5", folder, rank);
  CHECK_OK(write_file(other, "model:\n  spectrum: {heads: 4, overlap: 100}\n"));
  unsigned char *a = scratch_read(path, &n), *b = scratch_read(other, &m);
  CHECK(n == m && a && b);
  int64_t differs = 0;
  for (size_t i = 0; a && b && n == m && i < n; i++) differs += a[i] != b[i];
  CHECK(differs > 1); /* the text, and the checksum with it */
  for (size_t i = 0; a && b && n == m && i < n; i++)
    if (a[i] == '6' && b[i] == '4' && i > 8 && memcmp(a + i - 8, "{heads: ", 8) == 0) a[i] = b[i];
  scratch_write(bad, a, n);
  syz_h5 *f = NULL;
  CHECK_ERROR(syz_h5_open(NULL, bad, &f), SYZ_ERR_DATA, "is damaged: the checksum of its attributes");
  free(a);
  free(b);
}

static void run(void)
{
  char path[SCRATCH + 40];
  rank = syz_comm_rank(world);
  size = syz_comm_size(world);
  snprintf(path, sizeof path, "%s/whole.h5", folder);
  CHECK_OK(write_file(path, config));
  test_whole(path);
  test_flips(path);
  test_forged(path);
}

int main(int argc, char **argv) { return scratch_main(argc, argv, &world, folder, run); }
