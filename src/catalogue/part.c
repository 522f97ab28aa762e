/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Files of the scratch folder: `rows` (rows x row_bytes), `digests` (8 bytes per block, 0: not computed), `key` (text),
 * `facts` (8 bytes of digest, then the bytes given to syz_embed_part_remember). A block's rows are written before its
 * digest. Nothing is flushed to disk: after a crash of the machine, blocks whose digests do not hold are computed
 * again.
 */
#include "part.h"
#include "syzygy/files.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct syz_embed_part {
  syz_comm *comm;
  char folder[PATH_MAX];
  int rows_fd, digests_fd;
  int64_t rows, blocks;
  size_t row_bytes;
  int64_t *missing;
};

static syz_status path_of(const char *folder, const char *name, char path[PATH_MAX])
{
  syz_status st = SYZ_OK;
  SYZ_REQUIRE(snprintf(path, PATH_MAX, "%s/%s", folder, name) < PATH_MAX, SYZ_ERR_WRITE, "%s/%s: name too long", folder,
              name);
cleanup:
  return st;
}

/* Write all bytes, despite interruptions and the 2 GiB limit per call. */
static syz_status write_all(int fd, const void *bytes, size_t n, int64_t at, const char *what)
{
  syz_status st = SYZ_OK;
  const char *p = bytes;
  SYZ_REQUIRE(!syz_fault("embed_part"), SYZ_ERR_WRITE, "%s: injected failure", what);
  while (n) {
    ssize_t done = pwrite(fd, p, n < (size_t)1 << 30 ? n : (size_t)1 << 30, (off_t)at);
    if (done < 0 && errno == EINTR) continue;
    SYZ_REQUIRE(done > 0, SYZ_ERR_WRITE, "%s: cannot write %zu bytes at %lld: %s", what, n, (long long)at,
                done < 0 ? strerror(errno) : "nothing was written");
    p += done;
    at += done;
    n -= (size_t)done;
  }
cleanup:
  return st;
}

/* False at the end of the file, or when it cannot be read. */
static bool read_all(int fd, void *bytes, size_t n, int64_t at)
{
  char *p = bytes;
  while (n) {
    ssize_t done = pread(fd, p, n < (size_t)1 << 30 ? n : (size_t)1 << 30, (off_t)at);
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) return false;
    p += done;
    at += done;
    n -= (size_t)done;
  }
  return true;
}

/* Rank 0: make the folder, with the results of this key or none. Old files are removed before the new key is written.
 */
static syz_status prepare_folder(const char *folder, const char *key_text)
{
  syz_status st = SYZ_OK;
  char path[PATH_MAX], *old = NULL;
  size_t n;
  SYZ_TRY(syz_refuse_link(folder));
  SYZ_TRY(syz_make_folder(folder));
  SYZ_TRY(path_of(folder, "key", path));
  if (access(path, F_OK) == 0 && syz_file_read(path, 4096, &old, &n) == SYZ_OK && strcmp(old, key_text) == 0)
    goto cleanup;
  if (old) syz_info("%s holds results of another model, data set or precision: they are discarded", folder);
  const char *names[] = {"key", "facts", "rows", "digests"};
  for (int i = 0; i < 4; i++) {
    SYZ_TRY(path_of(folder, names[i], path));
    SYZ_REQUIRE(unlink(path) == 0 || errno == ENOENT, SYZ_ERR_WRITE, "%s: cannot remove: %s", path, strerror(errno));
  }
  SYZ_TRY(path_of(folder, "key", path));
  SYZ_TRY(syz_file_write(path, key_text, strlen(key_text)));
cleanup:
  syz_free(&old);
  return st;
}

static syz_status open_files(syz_embed_part *p)
{
  syz_status st = SYZ_OK;
  char path[PATH_MAX];
  SYZ_TRY(path_of(p->folder, "rows", path));
  SYZ_TRY(syz_file_open(path, O_RDWR | O_CREAT, &p->rows_fd));
  SYZ_TRY(path_of(p->folder, "digests", path));
  SYZ_TRY(syz_file_open(path, O_RDWR | O_CREAT, &p->digests_fd));
cleanup:
  return st;
}

static uint64_t digest_of(int64_t block, const void *rows, size_t n)
{
  uint64_t digest = syz_checksum(rows, n, (uint64_t)block + 1);
  return digest ? digest : 1;
}

void syz_embed_part_block(const syz_embed_part *p, int64_t block, int64_t *first, int64_t *n)
{
  *first = block * SYZ_EMBED_BLOCK;
  *n = p->rows - *first < SYZ_EMBED_BLOCK ? p->rows - *first : SYZ_EMBED_BLOCK;
}

/* is_done[b] of this rank's share of the blocks. */
static syz_status verify_share(syz_embed_part *p, int64_t first, int64_t n, uint8_t *is_done)
{
  syz_status st = SYZ_OK;
  char *rows = NULL;
  SYZ_ALLOC(rows, "block", SYZ_EMBED_BLOCK * p->row_bytes);
  for (int64_t b = first; b < first + n; b++) {
    uint64_t digest = 0;
    int64_t row, count;
    syz_embed_part_block(p, b, &row, &count);
    size_t bytes = (size_t)count * p->row_bytes;
    is_done[b - first] = read_all(p->digests_fd, &digest, sizeof digest, b * (int64_t)sizeof digest) && digest != 0 &&
                         read_all(p->rows_fd, rows, bytes, row * (int64_t)p->row_bytes) &&
                         digest_of(b, rows, bytes) == digest;
  }
cleanup:
  syz_free(&rows);
  return st;
}

static syz_status find_missing(syz_embed_part *p, int64_t *n_missing)
{
  syz_status st = SYZ_OK;
  int size = syz_comm_size(p->comm);
  int64_t first, n;
  uint8_t *mine = NULL, *all = NULL;
  size_t *bytes = NULL;
  syz_share(p->blocks, size, syz_comm_rank(p->comm), &first, &n);
  mine = syz_alloc("blocks", (size_t)n, 1);
  all = syz_alloc("blocks", (size_t)p->blocks, 1);
  bytes = syz_alloc("shares", (size_t)size, sizeof *bytes);
  p->missing = syz_alloc("missing blocks", (size_t)p->blocks, sizeof *p->missing);
  SYZ_TRY_ALL(p->comm, mine && all && bytes && p->missing ? verify_share(p, first, n, mine) : SYZ_ERR_MEMORY);
  for (int r = 0; r < size; r++) {
    int64_t f, c;
    syz_share(p->blocks, size, r, &f, &c);
    bytes[r] = (size_t)c;
  }
  syz_allgatherv(p->comm, mine, all, bytes);
  *n_missing = 0;
  for (int64_t b = 0; b < p->blocks; b++)
    if (!all[b]) p->missing[(*n_missing)++] = b;
cleanup:
  syz_free(&mine);
  syz_free(&all);
  syz_free(&bytes);
  return st;
}

syz_status syz_embed_part_open(syz_comm *c, const char *folder, uint64_t key, int64_t rows, size_t row_bytes,
                               syz_embed_part **out, const int64_t **missing, int64_t *n_missing)
{
  syz_status st = SYZ_OK;
  char text[160];
  syz_embed_part *p = syz_alloc("partial results", 1, sizeof *p);
  *out = NULL;
  if (p) *p = (syz_embed_part){.comm = c, .rows_fd = -1, .digests_fd = -1, .rows = rows, .row_bytes = row_bytes};
  SYZ_TRY_ALL(c, p ? SYZ_OK : SYZ_ERR_MEMORY);
  p->blocks = (rows + SYZ_EMBED_BLOCK - 1) / SYZ_EMBED_BLOCK;
  snprintf(p->folder, sizeof p->folder, "%s", folder);
  snprintf(text, sizeof text, "key %016" PRIx64 "\nrows %" PRId64 "\nrow_bytes %zu\nblock %d\n", key, rows, row_bytes,
           SYZ_EMBED_BLOCK);
  SYZ_TRY_ALL(c, syz_comm_rank(c) == 0 ? prepare_folder(folder, text) : SYZ_OK);
  SYZ_TRY_ALL(c, open_files(p));
  SYZ_TRY(find_missing(p, n_missing));
  *missing = p->missing;
  *out = p;
  p = NULL;
cleanup:
  syz_embed_part_close(&p);
  return st;
}

syz_status syz_embed_part_remember(syz_embed_part *p, const void *bytes, size_t n)
{
  syz_status st = SYZ_OK;
  char path[PATH_MAX], *all = NULL;
  const uint64_t digest = syz_checksum(bytes, n, n);
  SYZ_TRY_ALL(p->comm, path_of(p->folder, "facts", path));
  all = syz_alloc("facts", n + sizeof digest, 1);
  SYZ_TRY_ALL(p->comm, all ? SYZ_OK : SYZ_ERR_MEMORY);
  memcpy(all, &digest, sizeof digest);
  memcpy(all + sizeof digest, bytes, n);
  SYZ_TRY_ALL(p->comm, syz_comm_rank(p->comm) == 0 ? syz_file_write(path, all, n + sizeof digest) : SYZ_OK);
cleanup:
  syz_free(&all);
  return st;
}

syz_status syz_embed_part_recall(syz_embed_part *p, void *bytes, size_t n, bool *is_there)
{
  syz_status st = SYZ_OK;
  char path[PATH_MAX];
  uint8_t is_whole = 0;
  SYZ_TRY_ALL(p->comm, path_of(p->folder, "facts", path));
  if (syz_comm_rank(p->comm) == 0) {
    uint64_t digest = 0;
    struct stat s;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    is_whole = fd >= 0 && fstat(fd, &s) == 0 && (size_t)s.st_size == n + sizeof digest &&
               read_all(fd, &digest, sizeof digest, 0) && read_all(fd, bytes, n, sizeof digest) &&
               syz_checksum(bytes, n, n) == digest;
    if (fd >= 0) close(fd);
  }
  syz_bcast(p->comm, &is_whole, 1, 0);
  if (is_whole) syz_bcast(p->comm, bytes, n, 0);
  *is_there = is_whole != 0;
cleanup:
  return st;
}

syz_status syz_embed_part_put(syz_embed_part *p, int64_t block, const void *rows)
{
  syz_status st = SYZ_OK;
  char what[PATH_MAX + 16];
  int64_t first, n;
  syz_embed_part_block(p, block, &first, &n);
  size_t bytes = (size_t)n * p->row_bytes;
  uint64_t digest = digest_of(block, rows, bytes);
  snprintf(what, sizeof what, "%s/rows", p->folder);
  SYZ_TRY(write_all(p->rows_fd, rows, bytes, first * (int64_t)p->row_bytes, what));
  snprintf(what, sizeof what, "%s/digests", p->folder);
  SYZ_TRY(write_all(p->digests_fd, &digest, sizeof digest, block * (int64_t)sizeof digest, what));
cleanup:
  return st;
}

syz_status syz_embed_part_get(syz_embed_part *p, int64_t first, int64_t n, void *rows)
{
  syz_status st = SYZ_OK;
  SYZ_REQUIRE(read_all(p->rows_fd, rows, (size_t)n * p->row_bytes, first * (int64_t)p->row_bytes), SYZ_ERR_DATA,
              "%s/rows: rows %lld to %lld cannot be read", p->folder, (long long)first, (long long)(first + n - 1));
cleanup:
  return st;
}

void syz_embed_part_close(syz_embed_part **pp)
{
  syz_embed_part *p = *pp;
  if (!p) return;
  if (p->rows_fd >= 0) close(p->rows_fd);
  if (p->digests_fd >= 0) close(p->digests_fd);
  syz_free(&p->missing);
  syz_free(pp);
}

void syz_embed_part_remove(syz_embed_part **pp)
{
  const char *names[] = {"digests", "rows", "facts", "key"};
  char folder[PATH_MAX], path[PATH_MAX];
  syz_comm *c = (*pp)->comm;
  snprintf(folder, sizeof folder, "%s", (*pp)->folder);
  syz_embed_part_close(pp);
  syz_barrier(c);
  if (syz_comm_rank(c) != 0) return;
  for (int i = 0; i < 4; i++)
    if (path_of(folder, names[i], path) == SYZ_OK) (void)unlink(path);
  (void)rmdir(folder); /* scratch: whatever is left does no harm */
}
