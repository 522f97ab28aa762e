/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * One big BINTABLE written by many processes: the layout is a function of the arguments, so every rank knows where each
 * row goes; rows are packed big-endian in blocks and written at their place (3.6 GB/s in blocks of 256 rows against 0.5
 * of fits_write_col, README.md "cfitsio"). The sums of disjoint rows add up in ones' complement.
 */
#include "cards.h"
#include "syzygy/files.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct syz_fits_table {
  int fd, n_columns;
  char *path;
  syz_fits_column *columns; /**< only type and repeat are used after the header is made */
  syz_fits_cards cards;
  size_t primary_bytes, header_bytes;
  int64_t rows, row_bytes, block_rows;
  unsigned char *block;
  uint64_t sum;
};

static syz_status write_at(const syz_fits_table *t, const void *bytes, size_t n, off_t at)
{
  syz_status st = SYZ_OK;
  const char *p = bytes;
  while (n) {
    ssize_t done = pwrite(t->fd, p, n < (1u << 30) ? n : (1u << 30), at);
    if (done < 0 && errno == EINTR) continue;
    SYZ_REQUIRE(done > 0, SYZ_ERR_WRITE, "%s: cannot write %zu bytes at %lld: %s", t->path, n, (long long)at,
                strerror(errno));
    p += done;
    n -= (size_t)done;
    at += done;
  }
cleanup:
  return st;
}

static syz_status read_at(const syz_fits_table *t, void *bytes, size_t n, off_t at)
{
  syz_status st = SYZ_OK;
  char *p = bytes;
  while (n) {
    ssize_t done = pread(t->fd, p, n < (1u << 30) ? n : (1u << 30), at);
    if (done < 0 && errno == EINTR) continue;
    SYZ_REQUIRE(done > 0, SYZ_ERR_WRITE, "%s: cannot read back %zu bytes at %lld: %s", t->path, n, (long long)at,
                done ? strerror(errno) : "end of file");
    p += done;
    n -= (size_t)done;
    at += done;
  }
cleanup:
  return st;
}

static off_t file_bytes(const syz_fits_table *t)
{
  int64_t data = t->rows * t->row_bytes;
  return (off_t)(t->primary_bytes + t->header_bytes) + (off_t)((data + FITS_BLOCK - 1) / FITS_BLOCK * FITS_BLOCK);
}

static syz_status table_open(const char *path, bool is_new, const char *extname, int64_t rows,
                             const syz_fits_column *columns, int n_columns, const syz_fits_card *cards, int n_cards,
                             syz_fits_table **out)
{
  syz_status st = SYZ_OK;
  syz_fits_table *t = NULL;
  syz_fits_cards primary = {NULL, 0, 0};
  char *there = NULL;
  *out = NULL;
  SYZ_ALLOC(t, "FITS table", 1);
  t->fd = -1;
  t->rows = rows;
  t->n_columns = n_columns;
  SYZ_ALLOC(t->path, "FITS path", strlen(path) + 1);
  strcpy(t->path, path);
  SYZ_ALLOC(t->columns, "FITS columns", n_columns);
  memcpy(t->columns, columns, (size_t)n_columns * sizeof *columns);
  SYZ_TRY(fits_cards_primary(&primary, NULL, 0));
  SYZ_TRY(fits_cards_end(&primary, &t->primary_bytes));
  SYZ_TRY(fits_cards_seal(&primary, t->primary_bytes, 0));
  SYZ_TRY(fits_cards_table(&t->cards, extname, rows, columns, n_columns, cards, n_cards, &t->row_bytes));
  SYZ_REQUIRE(rows <= INT64_MAX / 2 / t->row_bytes, SYZ_ERR_INTERNAL, "%s: %lld rows of %lld bytes", path,
              (long long)rows, (long long)t->row_bytes);
  SYZ_TRY(fits_cards_end(&t->cards, &t->header_bytes));
  t->block_rows = (1 << 21) / t->row_bytes + 1;
  SYZ_ALLOC(t->block, "FITS rows", t->block_rows * t->row_bytes);
  SYZ_TRY(syz_file_open(path, is_new ? O_RDWR | O_CREAT | O_TRUNC : O_RDWR, &t->fd));
  if (is_new) {
    SYZ_REQUIRE(ftruncate(t->fd, file_bytes(t)) == 0, SYZ_ERR_WRITE, "%s: cannot be made %lld bytes long: %s", path,
                (long long)file_bytes(t), strerror(errno));
    SYZ_TRY(write_at(t, primary.text, t->primary_bytes, 0));
    SYZ_TRY(write_at(t, t->cards.text, t->header_bytes, (off_t)t->primary_bytes));
  } else {
    struct stat info;
    SYZ_REQUIRE(fstat(t->fd, &info) == 0 && info.st_size == file_bytes(t), SYZ_ERR_WRITE,
                "%s: not the file that was laid out", path);
    SYZ_ALLOC(there, "FITS header", t->header_bytes);
    SYZ_TRY(read_at(t, there, t->header_bytes, (off_t)t->primary_bytes));
    SYZ_REQUIRE(memcmp(there, t->cards.text, t->header_bytes) == 0, SYZ_ERR_WRITE,
                "%s: another table was laid out there", path);
  }
  *out = t;
  t = NULL;
cleanup:
  syz_free(&there);
  syz_fits_cards_free(&primary);
  syz_fits_table_close(&t);
  return st;
}

syz_status syz_fits_table_create(const char *path, const char *extname, int64_t rows, const syz_fits_column *columns,
                                 int n_columns, const syz_fits_card *cards, int n_cards, syz_fits_table **out)
{
  return table_open(path, true, extname, rows, columns, n_columns, cards, n_cards, out);
}

syz_status syz_fits_table_attach(const char *path, const char *extname, int64_t rows, const syz_fits_column *columns,
                                 int n_columns, const syz_fits_card *cards, int n_cards, syz_fits_table **out)
{
  return table_open(path, false, extname, rows, columns, n_columns, cards, n_cards, out);
}

static syz_status check_rows(const syz_fits_table *t, int64_t first, int64_t n)
{
  syz_status st = SYZ_OK;
  SYZ_REQUIRE(first >= 0 && n >= 0 && first <= t->rows && n <= t->rows - first, SYZ_ERR_INTERNAL,
              "%s: rows %lld + %lld of %lld", t->path, (long long)first, (long long)n, (long long)t->rows);
cleanup:
  return st;
}

syz_status syz_fits_table_put(syz_fits_table *t, int64_t first, int64_t n, const void *const *data)
{
  syz_status st = SYZ_OK;
  SYZ_TRY(check_rows(t, first, n));
  off_t start = (off_t)(t->primary_bytes + t->header_bytes);
  for (int64_t r = 0; r < n; r += t->block_rows) {
    int64_t m = n - r < t->block_rows ? n - r : t->block_rows;
    int64_t at = (first + r) * t->row_bytes;
    fits_pack_rows(t->block, t->columns, t->n_columns, t->row_bytes, data, r, m);
    t->sum = fits_sum(t->block, (size_t)(m * t->row_bytes), (size_t)at, t->sum);
    SYZ_TRY(write_at(t, t->block, (size_t)(m * t->row_bytes), start + at));
  }
cleanup:
  return st;
}

uint64_t syz_fits_table_sum(const syz_fits_table *t) { return t->sum; }

void syz_fits_table_close(syz_fits_table **table)
{
  syz_fits_table *t = *table;
  if (!t) return;
  if (t->fd >= 0) close(t->fd);
  syz_fits_cards_free(&t->cards);
  syz_free(&t->columns);
  syz_free(&t->block);
  syz_free(&t->path);
  syz_free(table);
}

syz_status syz_fits_table_finish(syz_fits_table **table, uint64_t sum)
{
  syz_status st = SYZ_OK;
  syz_fits_table *t = *table;
  while (sum >> 32) sum = (sum & 0xffffffffu) + (sum >> 32);
  SYZ_TRY(fits_cards_seal(&t->cards, t->header_bytes, (uint32_t)sum));
  SYZ_TRY(write_at(t, t->cards.text, t->header_bytes, (off_t)t->primary_bytes));
  SYZ_REQUIRE(fsync(t->fd) == 0, SYZ_ERR_WRITE, "%s: %s", t->path, strerror(errno));
cleanup:
  syz_fits_table_close(table);
  return st;
}
