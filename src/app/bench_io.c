/* SPDX-License-Identifier: BSD-3-Clause */
/** The part `io` of `bench`: collective files against plain ones on the same device. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"
#include "syzygy/data.h"

/* The raw rate of the device under the run folder: one file a rank, written in blocks and flushed. */
static syz_status raw_write(const char *path, const float *x, size_t bytes, double *t)
{
  syz_status st = SYZ_OK;
  double start = syz_clock_s();
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
  SYZ_REQUIRE(fd >= 0, SYZ_ERR_WRITE, "%s: %s", path, strerror(errno));
  for (size_t at = 0; at < bytes;) {
    ssize_t n = write(fd, (const char *)x + at, bytes - at < (8u << 20) ? bytes - at : (8u << 20));
    SYZ_REQUIRE(n > 0, SYZ_ERR_WRITE, "%s: cannot write: %s", path, strerror(errno));
    at += (size_t)n;
  }
  SYZ_REQUIRE(fsync(fd) == 0, SYZ_ERR_WRITE, "%s: cannot flush: %s", path, strerror(errno));
  *t = syz_clock_s() - start;
cleanup:
  if (fd >= 0) close(fd);
  unlink(path);
  return st;
}

syz_status syz_bench_io(syz_bench *b)
{
  enum { WIDTH = 1024 };
  syz_status st = SYZ_OK;
  syz_app *app = b->app;
  syz_comm *c = app->world;
  syz_h5 *file = NULL;
  char path[PATH_MAX];
  const char *folder = syz_input_text(app->input, "output.dir");
  int64_t rows = syz_input_int(app->input, "bench.io_bytes") / (int64_t)(WIDTH * sizeof(float)), shape[1] = {WIDTH};
  double bytes = (double)rows * WIDTH * sizeof(float) * syz_comm_size(c), raw = 0, written = 0, read = 0;
  int64_t first = rows * syz_comm_rank(c);
  bool has_file = false;
  float *x = syz_alloc("bench io", (size_t)rows * WIDTH, sizeof *x);
  SYZ_TRY_ALL(c, x ? SYZ_OK : SYZ_ERR_MEMORY);
  for (int64_t i = 0; i < rows * WIDTH; i++) x[i] = (float)(i % 8191);
  snprintf(path, sizeof path, "%s/bench-raw-%d.tmp", folder, syz_comm_rank(c));
  SYZ_TRY_ALL(c, raw_write(path, x, (size_t)rows * WIDTH * sizeof *x, &raw));
  snprintf(path, sizeof path, "%s/bench-io.h5", folder);
  syz_barrier(c);
  double start = syz_clock_s();
  SYZ_TRY(syz_h5_create(c, path, "bench", syz_app_created_by(), syz_app_input_yaml(app), &file));
  SYZ_TRY(syz_h5_write(file, "x", SYZ_H5_F32, rows * syz_comm_size(c), 1, shape, first, rows, x, "", "numbers of the i/o benchmark"));
  SYZ_TRY(syz_h5_publish(&file));
  has_file = true;
  written = syz_clock_s() - start;
  start = syz_clock_s();
  SYZ_TRY(syz_h5_open(c, path, &file));
  SYZ_TRY_ALL(c, syz_h5_read(file, "x", SYZ_H5_F32, first, rows, x));
  syz_h5_close(&file);
  syz_barrier(c);
  read = syz_clock_s() - start;
  syz_allreduce_f64(c, &raw, 1, SYZ_MAX);
  syz_allreduce_f64(c, &written, 1, SYZ_MAX);
  syz_info("%-12s %-26s %9.3f GB/s, %.0f%% of one plain file a rank (%.3f GB/s)", "io", "collective write", bytes / written / 1e9,
           100 * raw / written, bytes / raw / 1e9);
  syz_info("%-12s %-26s %9.3f GB/s (from the page cache)", "io", "read", bytes / read / 1e9);
  if (syz_comm_rank(c) == 0) {
    cJSON *row = syz_bench_add_row(b, "io", "collective write");
    cJSON_AddNumberToObject(row, "gbytes_per_s", bytes / written / 1e9);
    cJSON_AddNumberToObject(row, "raw_gbytes_per_s", bytes / raw / 1e9);
    row = syz_bench_add_row(b, "io", "read");
    cJSON_AddNumberToObject(row, "gbytes_per_s", bytes / read / 1e9);
  }
cleanup:
  syz_h5_discard(&file);
  if (has_file && syz_comm_rank(c) == 0) unlink(path);
  syz_free(&x);
  return st;
}
