/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Tokens of frozen towers.
 *
 * On disk: one flat file, sparse until written (with io.driver mpio its space is reserved when it is made): a header of
 * 4096 bytes, one 64-bit tag per row, then the rows, beginning at a multiple of 4096. A row's tag is the checksum of
 * its bytes and is written after them; 0 means that the row is missing. A killed run loses at most the rows being
 * written, and a row that is incomplete on disk (power failure, another program) is noticed when it is read. The file
 * is scratch in this machine's byte order, for this program alone. A thread reads and checks rows in advance
 * (token_ahead.c), into memory of the caller.
 *
 * In memory: rank r owns the r-th block of row numbers. A get sends row numbers to the owners and receives the bytes,
 * in rounds whose buffers are allocated when the cache is opened and stay below 64 MiB for any number of ranks. Rows
 * stay in memory for the whole run, so an owner also checks each row that it sends against its tag. That reads the row
 * once more, and brings it into the processor's cache for the copy that follows.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "syzygy/files.h"
#include "syzygy/h5.h"
#include "syzygy/data.h"
#include "token_ahead.h"

enum { PAGE = 4096, TAGS_AT = PAGE, ROWS_A_ROUND = 256 };
static const size_t buffer_limit = (size_t)64 << 20;
static const char magic[8] = {'S', 'Y', 'Z', 'T', 'O', 'K', '0', '1'};

typedef struct header {
  char magic[8];
  uint64_t key;
  int64_t rows;
  uint64_t row_bytes;
  uint64_t check; /* checksum of the fields before it */
} header;

struct syz_token_cache {
  syz_comm *comm;
  char *path;
  int fd;
  int64_t rows, first, count; /* this rank's share */
  size_t row_bytes;
  int64_t data_at;
  bool in_memory;
  int64_t *missing;
  int64_t missings;
  uint8_t *is_there;  /* [count] */
  unsigned char *own; /* [count, row_bytes] in memory */
  uint64_t *own_tag;  /* [count] in memory */
  token_ahead *ahead; /* on disk; made at the first read-ahead */
  /* Buffers of a round; in memory only. */
  int64_t round_rows;
  size_t segment;
  int64_t *asked, *order, *wanted; /* [round_rows], [round_rows], [size * round_rows] */
  unsigned char *reply, *received; /* [size * round_rows * segment], [round_rows * segment] */
  size_t *ask_bytes, *want_bytes, *reply_bytes, *receive_bytes; /* [size] */
};

/* -------------------------------------------------------------------- disk */

static syz_status move_bytes(const syz_token_cache *t, bool is_write, int64_t at, size_t bytes, void *data)
{
  syz_status st = SYZ_OK;
  char *p = data;
  while (bytes) {
    size_t some = bytes < ((size_t)1 << 30) ? bytes : (size_t)1 << 30;
    ssize_t done = is_write ? pwrite(t->fd, p, some, (off_t)at) : pread(t->fd, p, some, (off_t)at);
    if (done < 0 && errno == EINTR) continue;
    SYZ_REQUIRE(done > 0, is_write ? SYZ_ERR_WRITE : SYZ_ERR_DATA, "%s: cannot %s at byte %lld: %s", t->path,
                is_write ? "write" : "read", (long long)at, done < 0 ? strerror(errno) : "the file ends there");
    p += done;
    at += done;
    bytes -= (size_t)done;
  }
cleanup:
  return st;
}

static uint64_t tag_of(const syz_token_cache *t, int64_t row, const void *bytes)
{
  uint64_t tag = syz_checksum(bytes, t->row_bytes, (uint64_t)row + 1);
  return tag ? tag : 1;
}

static header make_header(const syz_token_cache *t, uint64_t key)
{
  header h = {.key = key, .rows = t->rows, .row_bytes = t->row_bytes};
  memcpy(h.magic, magic, sizeof magic);
  h.check = syz_checksum(&h, offsetof(header, check), 0);
  return h;
}

/* Rank 0: reuse the file if it was made under this key, otherwise start a new one. */
static syz_status prepare_file(syz_token_cache *t, uint64_t key)
{
  syz_status st = SYZ_OK;
  header want = make_header(t, key), found;
  struct stat s;
  struct statvfs disk;
  int64_t bytes = t->data_at + t->rows * (int64_t)t->row_bytes;
  SYZ_TRY(syz_file_open(t->path, O_RDWR | O_CREAT, &t->fd));
  SYZ_REQUIRE(fstat(t->fd, &s) == 0, SYZ_ERR_WRITE, "%s: cannot open: %s", t->path, strerror(errno));
  bool is_ours = s.st_size == bytes && pread(t->fd, &found, sizeof found, 0) == (ssize_t)sizeof found &&
                 memcmp(&found, &want, sizeof want) == 0;
  if (!is_ours) {
    close(t->fd);
    t->fd = -1;
    SYZ_TRY(syz_flat_create(t->path)); /* stripes are fixed when a file is made */
    SYZ_TRY(syz_file_open(t->path, O_RDWR | O_CREAT, &t->fd));
    SYZ_REQUIRE(ftruncate(t->fd, 0) == 0 && ftruncate(t->fd, (off_t)bytes) == 0, SYZ_ERR_WRITE,
                "%s: cannot set its size to %.1f GiB: %s", t->path, (double)bytes / 1073741824.0, strerror(errno));
    SYZ_TRY(move_bytes(t, true, 0, sizeof want, &want));
  }
  if (fstat(t->fd, &s) == 0 && fstatvfs(t->fd, &disk) == 0 && disk.f_blocks) {
    double needed = (double)bytes - (double)s.st_blocks * 512.0,
           free_bytes = (double)disk.f_bavail * (double)disk.f_frsize;
    SYZ_REQUIRE(needed <= free_bytes, SYZ_ERR_WRITE, "%s: the token cache needs %.1f GiB more, %.1f GiB are free",
                t->path, needed / 1073741824.0, free_bytes / 1073741824.0);
  }
  if (s.st_blocks * 512 < bytes)
    SYZ_TRY(syz_flat_reserve(t->fd, t->path, bytes)); /* otherwise its space is already allocated */
cleanup:
  return st;
}

static syz_status attach_file(syz_token_cache *t) { return syz_file_open(t->path, O_RDWR, &t->fd); }

static syz_status find_missing(syz_token_cache *t)
{
  syz_status st = SYZ_OK;
  uint64_t tag[512];
  for (int64_t i = 0; !t->in_memory && i < t->count; i += 512) {
    int64_t n = t->count - i < 512 ? t->count - i : 512;
    SYZ_TRY(move_bytes(t, false, TAGS_AT + (t->first + i) * 8, (size_t)n * 8, tag));
    for (int64_t k = 0; k < n; k++) t->is_there[i + k] = tag[k] != 0;
  }
  t->missings = 0;
  for (int64_t i = 0; i < t->count; i++)
    if (!t->is_there[i]) t->missing[t->missings++] = t->first + i;
cleanup:
  return st;
}

/* ------------------------------------------------------------------ memory */

static syz_status check_memory(syz_token_cache *t)
{
  syz_status st = SYZ_OK;
  syz_comm *node = NULL;
  double need = (double)t->count * (double)t->row_bytes, available = (double)syz_memory_available();
  SYZ_TRY(syz_comm_split_node(t->comm, &node));
  syz_allreduce_f64(node, &need, 1, SYZ_SUM);
  syz_allreduce_f64(node, &available, 1, SYZ_MIN);
  if (need > available)
    st = syz_error_set(SYZ_ERR_MEMORY, __FILE__, __LINE__,
                       "the token cache needs %.1f GiB of this node's memory, %.1f GiB are available",
                       need / 1073741824.0, available / 1073741824.0);
cleanup:
  syz_comm_destroy(&node);
  return syz_agree(t->comm, st);
}

static syz_status make_buffers(syz_token_cache *t)
{
  syz_status st = SYZ_OK;
  size_t size = (size_t)syz_comm_size(t->comm),
         rows = t->row_bytes ? buffer_limit / (size * t->row_bytes) : ROWS_A_ROUND;
  rows = rows < 1 ? 1 : rows > ROWS_A_ROUND ? ROWS_A_ROUND : rows;
  t->round_rows = (int64_t)rows;
  t->segment = buffer_limit / (size * rows);
  if (t->segment < 64) t->segment = 64;
  if (t->segment > t->row_bytes) t->segment = t->row_bytes;
  SYZ_ALLOC(t->asked, "token cache rows", rows);
  SYZ_ALLOC(t->order, "token cache rows", rows);
  SYZ_ALLOC(t->wanted, "token cache rows", size * rows);
  SYZ_ALLOC(t->reply, "token cache messages", size * rows * t->segment);
  SYZ_ALLOC(t->received, "token cache messages", rows * t->segment);
  SYZ_ALLOC(t->ask_bytes, "token cache sizes", size);
  SYZ_ALLOC(t->want_bytes, "token cache sizes", size);
  SYZ_ALLOC(t->reply_bytes, "token cache sizes", size);
  SYZ_ALLOC(t->receive_bytes, "token cache sizes", size);
  t->own = syz_alloc("token cache", (size_t)t->count + 1, t->row_bytes);
  SYZ_REQUIRE(t->own, SYZ_ERR_MEMORY, "no memory for the token cache");
  SYZ_ALLOC(t->own_tag, "token cache tags", t->count + 1);
cleanup:
  return st;
}

static int owner_of(const syz_token_cache *t, int64_t row)
{
  int64_t size = syz_comm_size(t->comm), each = t->rows / size, more = t->rows % size;
  return (int)(row < (each + 1) * more ? row / (each + 1) : more + (row - (each + 1) * more) / each);
}

static unsigned char *own_row(const syz_token_cache *t, int64_t row)
{
  return t->own + (size_t)(row - t->first) * t->row_bytes;
}

/* Check that the rows to be sent are unchanged. */
static syz_status check_own(const syz_token_cache *t, int64_t n)
{
  syz_status st = SYZ_OK;
  char host[64] = "";
  for (int64_t i = 0; i < n; i++) {
    const int64_t row = t->wanted[i];
    if (t->own_tag[row - t->first] == tag_of(t, row, own_row(t, row))) continue;
    gethostname(host, sizeof host - 1);
    SYZ_REQUIRE(false, SYZ_ERR_NUMERIC,
                "row %lld of the token cache changed in the memory of %s although nothing wrote to it; run the same "
                "command again, which computes the tokens again",
                (long long)row, host);
  }
cleanup:
  return st;
}

/* One round: up to round_rows rows for this rank; all ranks take part. The status concerns the rows that it sends. */
static syz_status get_round(syz_token_cache *t, int64_t n, const int64_t *row, unsigned char *tokens)
{
  int size = syz_comm_size(t->comm);
  int64_t at = 0, wanted = 0;
  for (int r = 0; r < size; r++) { /* requests in the order of their owners */
    int64_t before = at;
    for (int64_t i = 0; i < n; i++)
      if (owner_of(t, row[i]) == r) {
        t->order[at] = i;
        t->asked[at++] = row[i];
      }
    t->ask_bytes[r] = (size_t)(at - before) * sizeof *t->asked;
  }
  for (int r = 0; r < size; r++)
    t->reply_bytes[r] = t->receive_bytes[r] =
        sizeof *t->ask_bytes; /* first exchange how many rows each rank requests from each */
  syz_alltoallv(t->comm, t->ask_bytes, t->reply_bytes, t->want_bytes, t->receive_bytes);
  for (int r = 0; r < size; r++) wanted += (int64_t)(t->want_bytes[r] / sizeof *t->wanted);
  syz_alltoallv(t->comm, t->asked, t->ask_bytes, t->wanted, t->want_bytes);
  const syz_status st = check_own(t, wanted);
  for (size_t from = 0; from < t->row_bytes; from += t->segment) {
    size_t bytes = t->row_bytes - from < t->segment ? t->row_bytes - from : t->segment;
    for (int64_t i = 0; i < wanted; i++) memcpy(t->reply + (size_t)i * bytes, own_row(t, t->wanted[i]) + from, bytes);
    for (int r = 0; r < size; r++) {
      t->reply_bytes[r] = t->want_bytes[r] / sizeof *t->wanted * bytes;
      t->receive_bytes[r] = t->ask_bytes[r] / sizeof *t->asked * bytes;
    }
    syz_alltoallv(t->comm, t->reply, t->reply_bytes, t->received, t->receive_bytes);
    for (int64_t i = 0; i < n; i++)
      memcpy(tokens + (size_t)t->order[i] * t->row_bytes + from, t->received + (size_t)i * bytes, bytes);
  }
  return st;
}

/* ------------------------------------------------------------------ public */

static syz_status make_cache(syz_comm *c, const char *path, int64_t rows, size_t row_bytes, bool in_memory,
                             syz_token_cache **out)
{
  syz_status st = SYZ_OK;
  syz_token_cache *t = NULL;
  SYZ_REQUIRE(rows >= 1 && row_bytes >= 1 && (double)rows * (double)row_bytes < 4e18 && (in_memory || path),
              SYZ_ERR_INTERNAL, "token cache: %lld rows of %zu bytes", (long long)rows, row_bytes);
  SYZ_ALLOC(t, "token cache", 1);
  *out = t;
  t->fd = -1;
  t->comm = c;
  t->rows = rows;
  t->row_bytes = row_bytes;
  t->in_memory = in_memory;
  t->data_at = (TAGS_AT + rows * 8 + PAGE - 1) / PAGE * PAGE;
  syz_share(rows, syz_comm_size(c), syz_comm_rank(c), &t->first, &t->count);
  SYZ_ALLOC(t->path, "path", path ? strlen(path) + 1 : 1);
  if (path) strcpy(t->path, path);
  SYZ_ALLOC(t->missing, "missing rows", t->count + 1);
  SYZ_ALLOC(t->is_there, "rows there", t->count + 1);
  if (in_memory) SYZ_TRY(make_buffers(t));
cleanup:
  return st;
}

syz_status syz_token_cache_open(syz_comm *c, const char *path, uint64_t key, int64_t rows, size_t row_bytes,
                                bool in_memory, syz_token_cache **out)
{
  syz_status st = SYZ_OK;
  syz_token_cache *t = NULL;
  *out = NULL;
  SYZ_TRY_ALL(c, make_cache(c, path, rows, row_bytes, in_memory, &t));
  if (in_memory) {
    SYZ_TRY(check_memory(t));
  } else {
    SYZ_TRY_ALL(c, syz_comm_rank(c) == 0 ? prepare_file(t, key) : SYZ_OK);
    SYZ_TRY_ALL(c, syz_comm_rank(c) == 0 ? SYZ_OK : attach_file(t));
  }
  SYZ_TRY_ALL(c, find_missing(t));
  *out = t;
  t = NULL;
cleanup:
  syz_token_cache_close(&t);
  return st;
}

void syz_token_cache_close(syz_token_cache **cache)
{
  syz_token_cache *t = *cache;
  if (!t) return;
  token_ahead_destroy(&t->ahead); /* before closing the file that it reads */
  if (t->fd >= 0) close(t->fd);
  syz_free(&t->path);
  syz_free(&t->missing);
  syz_free(&t->is_there);
  syz_free(&t->own);
  syz_free(&t->own_tag);
  syz_free(&t->asked);
  syz_free(&t->order);
  syz_free(&t->wanted);
  syz_free(&t->reply);
  syz_free(&t->received);
  syz_free(&t->ask_bytes);
  syz_free(&t->want_bytes);
  syz_free(&t->reply_bytes);
  syz_free(&t->receive_bytes);
  syz_free(cache);
}

int64_t syz_token_cache_missing(const syz_token_cache *t, const int64_t **row)
{
  *row = t->missing;
  return t->missings;
}

syz_status syz_token_cache_put(syz_token_cache *t, int64_t n, const int64_t *row, const void *tokens)
{
  syz_status st = SYZ_OK;
  const unsigned char *from = tokens;
  for (int64_t i = 0; i < n; i++, from += t->row_bytes) {
    SYZ_REQUIRE(row[i] >= t->first && row[i] < t->first + t->count, SYZ_ERR_INTERNAL,
                "token cache: row %lld is not this rank's (%lld .. %lld)", (long long)row[i], (long long)t->first,
                (long long)(t->first + t->count - 1));
    SYZ_REQUIRE(!syz_fault("token_cache_put"), SYZ_ERR_WRITE, "%s: injected failure", t->path);
    uint64_t tag = tag_of(t, row[i], from);
    if (t->in_memory) {
      memcpy(own_row(t, row[i]), from, t->row_bytes);
      t->own_tag[row[i] - t->first] = tag;
    } else {
      SYZ_TRY(move_bytes(t, true, t->data_at + row[i] * (int64_t)t->row_bytes, t->row_bytes, (void *)from));
      SYZ_TRY(move_bytes(t, true, TAGS_AT + row[i] * 8, sizeof tag, &tag));
    }
    t->is_there[row[i] - t->first] = 1;
  }
cleanup:
  return st;
}

static syz_status check_complete(const syz_token_cache *t)
{
  syz_status st = SYZ_OK;
  for (int64_t i = 0; i < t->count; i++)
    SYZ_REQUIRE(t->is_there[i], SYZ_ERR_INTERNAL, "token cache: row %lld was never put", (long long)(t->first + i));
cleanup:
  return st;
}

syz_status syz_token_cache_seal(syz_token_cache *t)
{
  syz_status st = SYZ_OK;
  SYZ_TRY_ALL(t->comm, check_complete(t));
  t->missings = 0;
cleanup:
  return st;
}

/* On either thread. In memory only the row numbers are checked. */
static syz_status read_rows(const void *cache, int64_t n, const int64_t *row, unsigned char *tokens)
{
  syz_status st = SYZ_OK;
  const syz_token_cache *t = cache;
  for (int64_t i = 0; i < n; i++, tokens += t->row_bytes) {
    uint64_t tag;
    SYZ_REQUIRE(row[i] >= 0 && row[i] < t->rows, SYZ_ERR_INTERNAL, "token cache: row %lld of %lld", (long long)row[i],
                (long long)t->rows);
    if (t->in_memory) continue;
    SYZ_REQUIRE(!syz_fault("token_cache_get"), SYZ_ERR_DATA, "%s: row %lld: injected failure", t->path,
                (long long)row[i]);
    SYZ_TRY(move_bytes(t, false, TAGS_AT + row[i] * 8, sizeof tag, &tag));
    SYZ_TRY(move_bytes(t, false, t->data_at + row[i] * (int64_t)t->row_bytes, t->row_bytes, tokens));
    SYZ_REQUIRE(tag == tag_of(t, row[i], tokens), SYZ_ERR_DATA,
                "%s: row %lld of the token cache is damaged; remove the file and run again", t->path,
                (long long)row[i]);
  }
cleanup:
  return st;
}

syz_status syz_token_cache_ahead(syz_token_cache *t, int64_t n, const int64_t *row, void *tokens)
{
  syz_status st = SYZ_OK;
  if (t->in_memory) return st;
  if (!t->ahead) SYZ_TRY(token_ahead_create(read_rows, t, &t->ahead));
  SYZ_TRY(token_ahead_begin(t->ahead, n, row, tokens));
cleanup:
  return st;
}

/* The rest of a get from memory. Every rank takes part in all rounds: one that needs no rows still answers others. */
static syz_status get_from_memory(syz_token_cache *t, int64_t n, const int64_t *row, unsigned char *tokens)
{
  syz_status st = SYZ_OK;
  uint64_t draw;
  if (syz_flip("token", &draw)) syz_flip_bit("token", t->own, (size_t)t->count * t->row_bytes, draw);
  int64_t rounds = (n + t->round_rows - 1) / t->round_rows;
  syz_allreduce_i64(t->comm, &rounds, 1, SYZ_MAX);
  for (int64_t k = 0, at = 0; k < rounds; k++) {
    const int64_t some = n - at < t->round_rows ? n - at : t->round_rows;
    const syz_status sent = get_round(t, some, row + at, tokens + (size_t)at * t->row_bytes);
    if (st == SYZ_OK) st = sent;
    at += some;
  }
  return st;
}

syz_status syz_token_cache_get(syz_token_cache *t, int64_t n, const int64_t *row, void *tokens)
{
  syz_status st = SYZ_OK;
  if (!t->in_memory)
    return t->ahead && token_ahead_wait(t->ahead, n, row, tokens, &st) ? st : read_rows(t, n, row, tokens);
  st = read_rows(t, n, row, tokens);
  const syz_status got = get_from_memory(t, st == SYZ_OK ? n : 0, row, tokens);
  return st == SYZ_OK ? got : st;
}

syz_status syz_token_cache_describe(const char *path, bool *is_cache, int64_t *rows, int64_t *there, int64_t *row_bytes)
{
  syz_status st = SYZ_OK;
  header h;
  int fd = -1;
  int64_t bytes = 0;
  *is_cache = false;
  SYZ_TRY(syz_file_open_input(path, &fd, &bytes));
  if (pread(fd, &h, sizeof h, 0) != (ssize_t)sizeof h || memcmp(h.magic, magic, sizeof magic) != 0) goto cleanup;
  *is_cache = true;
  SYZ_REQUIRE(h.check == syz_checksum(&h, offsetof(header, check), 0) && h.rows >= 1 &&
                  TAGS_AT + (double)h.rows * 8 < (double)bytes,
              SYZ_ERR_DATA, "%s: a token cache whose header is damaged", path);
  *rows = h.rows;
  *row_bytes = (int64_t)h.row_bytes;
  *there = 0;
  for (int64_t i = 0; i < h.rows; i += 512) {
    uint64_t tag[512];
    int64_t n = h.rows - i < 512 ? h.rows - i : 512;
    SYZ_REQUIRE(pread(fd, tag, (size_t)n * 8, (off_t)(TAGS_AT + i * 8)) == (ssize_t)(n * 8), SYZ_ERR_DATA,
                "%s: cannot read", path);
    for (int64_t k = 0; k < n; k++) *there += tag[k] != 0;
  }
cleanup:
  if (fd >= 0) close(fd);
  return st;
}
