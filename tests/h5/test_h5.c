/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * HDF5 files of syzygy: written by any number of ranks with the same bytes, read back, verified; injected failures
 * reach all ranks and leave nothing behind. What h5py makes of them: tests/app/test_io.py.
 */
#include <time.h>

#include "check.h"
#include "scratch.h"

#include "syzygy/h5.h"
#include "syzygy/numbers.h"
#include "../../src/h5/facts.h"

static syz_comm *world;
static char folder[SCRATCH];
static int rank, size;

/* Row r, item i of a dataset, in every type. */
static double value(int64_t r, int64_t i) { return (double)((r * 37 + i * 11) % 100); }
static void fill(syz_h5_type type, int64_t first, int64_t n, int64_t items, void *data)
{
  for (int64_t k = 0; k < n * items; k++) {
    double v = value(first + k / items, k % items);
    switch (type) {
    case SYZ_H5_F32:
      ((float *)data)[k] = (float)v;
      break;
    case SYZ_H5_F64:
      ((double *)data)[k] = v;
      break;
    case SYZ_H5_I64:
      ((int64_t *)data)[k] = (int64_t)v + INT64_C(39627788403084375);
      break;
    case SYZ_H5_I32:
      ((int32_t *)data)[k] = (int32_t)v - 50;
      break;
    case SYZ_H5_U8:
      ((uint8_t *)data)[k] = (uint8_t)v;
      break;
    case SYZ_H5_BF16:
      ((syz_bf16 *)data)[k] = syz_bf16_from_f32((float)v);
      break;
    }
  }
}

typedef struct sample {
  const char *name;
  syz_h5_type type;
  int64_t rows;
  int ndim;
  int64_t shape[3];
} sample;
static const sample samples[] = {{"f32", SYZ_H5_F32, 10, 2, {3, 5, 0}},
                                 {"group/f64", SYZ_H5_F64, 7, 0, {0, 0, 0}},
                                 {"group/deeper/i64", SYZ_H5_I64, 2, 1, {4, 0, 0}}, /* fewer rows than ranks */
                                 {"i32", SYZ_H5_I32, 33, 0, {0, 0, 0}},
                                 {"u8", SYZ_H5_U8, 5, 2, {7, 3, 0}},
                                 {"bf16", SYZ_H5_BF16, 100, 1, {33, 0, 0}},
                                 {"none", SYZ_H5_F32, 0, 1, {6, 0, 0}},
                                 {"large", SYZ_H5_F32, 64, 2, {40, 30, 0}}};
enum { SAMPLES = sizeof samples / sizeof *samples, ROOM = 640000 };

static int64_t items_of(const sample *s)
{
  int64_t n = 1;
  for (int i = 0; i < s->ndim; i++) n *= s->shape[i];
  return n;
}

/* comm NULL: this process alone. Datasets of odd number are written in pieces from behind. */
static syz_status write_samples(syz_comm *c, const char *path)
{
  syz_status st = SYZ_OK;
  static double data[ROOM / 8];
  syz_h5 *f = NULL;
  int64_t first, n;
  char yaml[300];
  for (size_t i = 0; i < sizeof yaml; i++) yaml[i] = (char)('a' + i % 26);
  yaml[sizeof yaml - 1] = '\0';
  SYZ_TRY(syz_h5_create(c, path, "test", "syzygy 0", yaml, &f));
  for (int k = 0; k < SAMPLES; k++) {
    const sample *s = &samples[k];
    syz_share(s->rows, c ? size : 1, c ? rank : 0, &first, &n);
    if (k % 2 == 0) {
      fill(s->type, first, n, items_of(s), data);
      SYZ_TRY(syz_h5_write(f, s->name, s->type, s->rows, s->ndim, s->shape, first, n, data, "nanomaggy", "a sample"));
      continue;
    }
    SYZ_TRY(syz_h5_dataset(f, s->name, s->type, s->rows, s->ndim, s->shape, "Angstrom", "a sample in pieces"));
    int64_t pieces = (s->rows + 2) / 3; /* the same number of calls on every rank; later ones are empty */
    for (int64_t p = pieces - 1; p >= 0; p--) {
      int64_t from = p * 3 < n ? p * 3 : n, some = n - from < 3 ? n - from : 3;
      fill(s->type, first + from, some, items_of(s), data);
      SYZ_TRY(syz_h5_write_rows(f, s->name, first + from, some, data));
    }
  }
  SYZ_TRY(syz_h5_write_text(f, "model_config", "model:\n  image: {dim: 4}\n"));
  SYZ_TRY(syz_h5_publish(&f));
cleanup:
  syz_h5_close(&f);
  return st;
}

static syz_status count_names(void *context, const char *name)
{
  char *list = context;
  strcat(list, name);
  strcat(list, " ");
  return SYZ_OK;
}

static void test_round_trip(void)
{
  char path[SCRATCH + 40], alone[SCRATCH + 40];
  static double data[ROOM / 8], want[ROOM / 8];
  snprintf(path, sizeof path, "%s/all.h5", folder);
  snprintf(alone, sizeof alone, "%s/alone.h5", folder);
  CHECK_OK(write_samples(world, path));
  if (rank == 0) {
    const struct timespec pause = {.tv_sec = 1, .tv_nsec = 100000000};
    nanosleep(&pause, NULL); /* in another second: a time kept anywhere in the file would show */
    CHECK_OK(write_samples(NULL, alone));
  }
  syz_barrier(world);
  CHECK_EQ(scratch_count(folder, ".tmp"), 0);

  size_t n = 0, m = 0;
  unsigned char *a = scratch_read(path, &n), *b = scratch_read(alone, &m);
  CHECK(n > 10000 && n == m && memcmp(a, b, n) == 0); /* any number of ranks: the same bytes */
  free(a);
  free(b);

  syz_h5 *f = NULL;
  CHECK_OK(syz_h5_open(world, path, &f));
  if (!f) return;
  for (int k = 0; k < SAMPLES; k++) {
    const sample *s = &samples[k];
    int ndim, bits;
    int64_t shape[8], items = items_of(s);
    char kind, *text = NULL;
    bool has = false;
    CHECK_OK(syz_h5_shape(f, s->name, &ndim, shape));
    CHECK_EQ(ndim, s->ndim + 1);
    CHECK_EQ(shape[0], s->rows);
    for (int i = 0; i < s->ndim; i++) CHECK_EQ(shape[i + 1], s->shape[i]);
    CHECK_OK(syz_h5_class(f, s->name, &kind, &bits));
    CHECK_EQ(bits, 8 * syz_h5_type_size(s->type));
    if (s->rows > 1) {
      CHECK_OK(syz_h5_read(f, s->name, s->type, 1, s->rows - 1, data));
      fill(s->type, 1, s->rows - 1, items, want);
      CHECK(memcmp(data, want, (size_t)((s->rows - 1) * items) * syz_h5_type_size(s->type)) == 0);
    }
    if (s->type == SYZ_H5_F32 || s->type == SYZ_H5_BF16 || s->type == SYZ_H5_I32) { /* conversion on reading */
      CHECK_OK(syz_h5_read(f, s->name, SYZ_H5_F64, 0, s->rows, data));
      for (int64_t i = 0; i < s->rows * items; i++)
        CHECK_EQ(data[i], value(i / items, i % items) - (s->type == SYZ_H5_I32 ? 50 : 0));
    }
    CHECK_OK(syz_h5_verify(f, s->name, &has));
    CHECK(has);
    CHECK_OK(syz_h5_read_text(f, s->name, "units", &text));
    CHECK(text && strcmp(text, k % 2 ? "Angstrom" : "nanomaggy") == 0);
    syz_free(&text);
  }
  char *text = NULL, names[600] = "";
  double version = 0;
  bool found = false;
  CHECK_OK(syz_h5_read_text(f, "", "model_config", &text));
  CHECK(text && strncmp(text, "model:", 6) == 0);
  syz_free(&text);
  CHECK_OK(syz_h5_read_text(f, "", "absent", &text));
  CHECK(text == NULL);
  CHECK_OK(syz_h5_read_number(f, "", "format_version", &version, &found));
  CHECK(found && version == 1);
  CHECK_OK(syz_h5_visit(f, "", count_names, names));
  CHECK(strcmp(names, "bf16 f32 group/deeper/i64 group/f64 i32 large none u8 ") == 0);
  names[0] = '\0';
  CHECK_OK(syz_h5_visit(f, "group", count_names, names));
  CHECK(strcmp(names, "deeper/i64 f64 ") == 0);
  CHECK_OK(syz_h5_visit(f, "absent", count_names, names));
  CHECK(syz_h5_has(f, "group/deeper") && syz_h5_has(f, "group/f64") && !syz_h5_has(f, "group/f32") &&
        !syz_h5_has(f, "f32/x"));
  int64_t id;
  CHECK_ERROR(syz_h5_read(f, "absent", SYZ_H5_F32, 0, 1, data), SYZ_ERR_DATA, "no dataset absent");
  CHECK_ERROR(syz_h5_read(f, "group", SYZ_H5_F32, 0, 1, data), SYZ_ERR_DATA, "group is not a dataset");
  CHECK_ERROR(syz_h5_read(f, "f32", SYZ_H5_F32, 5, 6, data), SYZ_ERR_DATA, "f32 has 10 rows, 5 .. 11");
  CHECK_ERROR(syz_h5_read(f, "group/f64", SYZ_H5_I64, 0, 1, &id), SYZ_ERR_DATA, "whole numbers would lose digits");
  CHECK_ERROR(syz_h5_read(f, "group/deeper/i64", SYZ_H5_I32, 0, 1, data), SYZ_ERR_DATA, "cannot be read as int32");
  syz_h5_close(&f);
  CHECK_ERROR(syz_h5_open(world, "/nowhere/at/all.h5", &f), SYZ_ERR_DATA, "/nowhere/at/all.h5");
}

static void test_checksum(void)
{
  char path[SCRATCH + 40], bad[SCRATCH + 40];
  size_t n = 0;
  static float row[40 * 30];
  snprintf(path, sizeof path, "%s/all.h5", folder);
  snprintf(bad, sizeof bad, "%s/flipped-%d.h5", folder, rank);
  unsigned char *bytes = scratch_read(path, &n), *at = NULL;
  fill(SYZ_H5_F32, 17, 1, 40 * 30, row);
  for (size_t i = 0; i + sizeof row <= n; i++)
    if (memcmp(bytes + i, row, sizeof row) == 0) at = bytes + i;
  CHECK(at != NULL);
  if (!at) return;
  at[777] ^= 0x10;
  scratch_write(bad, bytes, n);
  free(bytes);
  syz_h5 *f = NULL;
  bool has = false;
  CHECK_OK(syz_h5_open(NULL, bad, &f));
  CHECK_ERROR(syz_h5_verify(f, "large", &has), SYZ_ERR_DATA, "dataset large is damaged");
  CHECK(has);
  CHECK_OK(syz_h5_verify(f, "f32", &has));
  syz_h5_close(&f);
}

static void test_misuse(void)
{
  char path[SCRATCH + 40];
  syz_h5 *f = NULL;
  int64_t first, n;
  const float x[8] = {1, 2, 3, 4, 5, 6, 7, 8};
  snprintf(path, sizeof path, "%s/misuse.h5", folder);
  syz_share(8, size, rank, &first, &n);
  CHECK_OK(syz_h5_create(world, path, "test", "", "", &f));
  CHECK_OK(syz_h5_write(f, "x", SYZ_H5_F32, 8, 0, NULL, first, n, x + first, "", ""));
  CHECK_ERROR(syz_h5_dataset(f, "x", SYZ_H5_F32, 8, 0, NULL, "", ""), SYZ_ERR_INTERNAL, "declared twice");
  CHECK_ERROR(syz_h5_write_rows(f, "y", 0, 0, x), SYZ_ERR_INTERNAL, "not declared");
  CHECK_ERROR(syz_h5_write_rows(f, "x", 7, rank == size - 1 ? 2 : 0, x), SYZ_ERR_INTERNAL, "has 8 rows");
  CHECK_OK(syz_h5_dataset(f, "half", SYZ_H5_F32, 8, 0, NULL, "", ""));
  CHECK_ERROR(syz_h5_publish(&f), SYZ_ERR_INTERNAL, "dataset half: 0 of 8 rows");
  CHECK(f == NULL);
  syz_barrier(world);
  CHECK_EQ(scratch_count(folder, "misuse.h5"), 0);
  CHECK_EQ(scratch_count(folder, ".tmp"), 0);
  CHECK_ERROR(syz_h5_create(world, "/nowhere/x.h5", "test", "", "", &f), SYZ_ERR_WRITE, "No such file or directory");
  CHECK_ERROR(syz_h5_create(world, "/proc/x.h5", "test", "", "", &f), SYZ_ERR_WRITE, "/proc/x.h5.tmp: cannot create");
  syz_h5_close(&f);
}

/* A failure at one point on one rank: all return SYZ_ERR_WRITE with its message, nothing new is left, the old file is
 * intact. */
static void test_faults(void)
{
#ifdef SYZ_FAULTS
  const struct {
    const char *point;
    int visit;
  } cases[] = {{"h5_create", 1}, {"h5_write", 1}, {"h5_write", 5}, {"h5_write", 40}, {"h5_publish", 1}, {"publish", 1}};
  char path[SCRATCH + 40], wish[64], expected[32];
  int visited[64] = {0}; /* syz_fault counts the visits of a process over all points */
  size_t n = 0, m = 0;
  snprintf(path, sizeof path, "%s/old.h5", folder);
  CHECK_OK(write_samples(world, path));
  unsigned char *old = scratch_read(path, &n);
  for (size_t k = 0; k < sizeof cases / sizeof *cases; k++)
    for (int r = 0; r < size; r++) {
      bool is_for_root = !strcmp(cases[k].point, "h5_create") || !strcmp(cases[k].point, "publish");
      if (is_for_root && r) continue;
      snprintf(wish, sizeof wish, "%s:%d:%d", cases[k].point, r, visited[r] + cases[k].visit);
      snprintf(expected, sizeof expected, size > 1 ? "rank %d" : "injected failure", r);
      setenv("SYZ_FAULT", wish, 1);
      CHECK_ERROR(write_samples(world, path), SYZ_ERR_WRITE, "injected failure");
      CHECK(strstr(syz_error_text(), expected));
      unsetenv("SYZ_FAULT");
      visited[r] += cases[k].visit;
      syz_barrier(world); /* rank 0 has removed what it made */
      unsigned char *now = scratch_read(path, &m);
      CHECK(n == m && now && memcmp(old, now, n) == 0);
      free(now);
      CHECK_EQ(scratch_count(folder, ".tmp"), 0);
      syz_barrier(world);
    }
  free(old);
#else
  if (rank == 0) fprintf(stderr, "SKIP: injected failures need -DSYZ_FAULTS=ON\n");
#endif
}

static void run(void)
{
  rank = syz_comm_rank(world);
  size = syz_comm_size(world);
  test_round_trip();
  test_checksum();
  test_misuse();
  test_faults();
}

int main(int argc, char **argv) { return scratch_main(argc, argv, &world, folder, run); }
