/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Compressed datasets, written by all ranks together: HDF5's chunks with its filters shuffle and deflate, which every
 * reader of HDF5 knows.
 *
 * Each chunk has an owner, found by hashing its number. A call sends the rows to the owners, in rounds of bounded size;
 * an owner keeps a chunk until its last row has arrived, then shuffles and deflates it (zlib, on all ranks in
 * parallel). Rank 0 enters the sizes into HDF5's index, which gives the places in the file, and the owners write there
 * with pwrite. So no rank waits inside the library, and a failure is a return code as in write.c. (HDF5 1.10.8 by
 * itself can write filtered datasets only by collective H5Dwrite through MPI-IO, see there why not.)
 *
 * The places depend on the order in which chunks are complete, so files of other numbers of ranks differ in their
 * bytes, never in what they hold.
 */
#include "chunks.h"

#include <string.h>
#include <zlib.h>

enum {
  WHOLE_ROW = 16 << 10, /* a row of this size is a chunk by itself: objects are read one at a time, in random order */
  CHUNK = 1 << 20,      /* otherwise as many rows as fit here: the size of HDF5's own cache of chunks */
  LEAST = 64 << 10,     /* datasets below it are left as they are */
  WINDOW = 16 << 20,    /* bytes of rows that a rank sends in a round */
  NOT_DEFLATED = 1 << 1 /* filter mask: the second filter was skipped */
};
static const double chunk_limit = 4294967295.0; /* of the format */

/* A chunk that is still incomplete. */
typedef struct waiting {
  int64_t number, filled;
  unsigned char *bytes;
} waiting;

/* A chunk that is ready to be written. */
typedef struct packed {
  int64_t number, size, mask, offset;
  unsigned char *bytes;
} packed;

/* What is sent to rank 0 about it. */
typedef struct entry {
  int64_t number, size, mask;
} entry;

struct h5_chunks {
  int64_t rows, chunk_rows, count;
  size_t row_bytes, item, chunk_bytes;
  waiting *wait;
  packed *ready;
  int64_t waits, readies;
  size_t wait_room, ready_room;
  unsigned char *shuffled; /* [chunk_bytes] */
};

int64_t h5_chunk_rows(int64_t rows, size_t row_bytes)
{
  if (h5_settings()->compression_level <= 0 || row_bytes == 0 || (double)rows * (double)row_bytes < LEAST ||
      (double)row_bytes > chunk_limit)
    return 0;
  const int64_t fit = row_bytes >= WHOLE_ROW ? 1 : (int64_t)(CHUNK / row_bytes);
  return fit < rows ? fit : rows;
}

syz_status h5_chunks_declare(hid_t create, int ndim, const hsize_t *dims, int64_t chunk_rows)
{
  syz_status st = SYZ_OK;
  char reason[H5_REASON];
  hsize_t chunk[H5_DIMS];
  memcpy(chunk, dims, (size_t)ndim * sizeof *dims);
  chunk[0] = (hsize_t)chunk_rows;
  SYZ_REQUIRE(H5Pset_chunk(create, ndim, chunk) >= 0 && H5Pset_shuffle(create) >= 0 &&
                  H5Pset_deflate(create, (unsigned)h5_settings()->compression_level) >= 0,
              SYZ_ERR_WRITE, "compression is not possible with this HDF5 library: %s", h5_reason(reason));
cleanup:
  return st;
}

syz_status h5_chunks_create(int64_t rows, size_t row_bytes, size_t item, h5_chunks **out)
{
  syz_status st = SYZ_OK;
  h5_chunks *k = NULL;
  SYZ_ALLOC(k, "chunks of a dataset", 1);
  k->rows = rows;
  k->row_bytes = row_bytes;
  k->item = item;
  k->chunk_rows = h5_chunk_rows(rows, row_bytes);
  k->chunk_bytes = (size_t)k->chunk_rows * row_bytes;
  k->count = (rows + k->chunk_rows - 1) / k->chunk_rows;
  SYZ_ALLOC(k->shuffled, "a chunk", k->chunk_bytes);
  *out = k;
  k = NULL;
cleanup:
  h5_chunks_destroy(&k);
  return st;
}

static void forget_ready(h5_chunks *k)
{
  for (int64_t i = 0; i < k->readies; i++) syz_free(&k->ready[i].bytes);
  k->readies = 0;
}

void h5_chunks_destroy(h5_chunks **chunks)
{
  h5_chunks *k = *chunks;
  if (!k) return;
  forget_ready(k);
  for (int64_t i = 0; i < k->waits; i++) syz_free(&k->wait[i].bytes);
  syz_free(&k->wait);
  syz_free(&k->ready);
  syz_free(&k->shuffled);
  syz_free(chunks);
}

/* -------------------------------------------------------- putting together */

static int64_t rows_of(const h5_chunks *k, int64_t number)
{
  const int64_t left = k->rows - number * k->chunk_rows;
  return left < k->chunk_rows ? left : k->chunk_rows;
}

/* Neighbours go to different ranks (Knuth's multiplicative hash), so that a block of rows is compressed by all. */
static int owner_of(int64_t number, int size)
{
  return (int)((((uint64_t)number * 2654435761u & 0xffffffffu) * (uint64_t)size) >> 32);
}

/* HDF5's filter shuffle: first bytes of all elements, then second bytes, ... */
static void shuffle(const unsigned char *restrict from, size_t bytes, size_t item, unsigned char *restrict to)
{
  const size_t n = bytes / item;
  for (size_t b = 0; b < item; b++)
    for (size_t i = 0; i < n; i++) to[b * n + i] = from[i * item + b];
}

static syz_status pack(h5_chunks *k, int64_t number, const unsigned char *bytes)
{
  syz_status st = SYZ_OK;
  packed p = {.number = number};
  SYZ_TRY(syz_grow(&k->ready, "compressed chunks", k->readies, 1, &k->ready_room));
  SYZ_REQUIRE(!syz_fault("h5_chunk"), SYZ_ERR_WRITE, "chunk %lld: injected failure", (long long)number);
  uLongf size = compressBound((uLong)k->chunk_bytes);
  SYZ_ALLOC(p.bytes, "compressed chunk", size);
  shuffle(bytes, k->chunk_bytes, k->item, k->shuffled);
  const int rc = compress2(p.bytes, &size, k->shuffled, (uLong)k->chunk_bytes, h5_settings()->compression_level);
  SYZ_REQUIRE(rc == Z_OK, SYZ_ERR_MEMORY, "zlib cannot compress a chunk of %zu bytes (%d)", k->chunk_bytes, rc);
  p.size = (int64_t)size;
  if (size >= k->chunk_bytes) { /* stored undeflated, as HDF5 does when deflate would enlarge it */
    p.size = (int64_t)k->chunk_bytes;
    p.mask = NOT_DEFLATED;
    memcpy(p.bytes, k->shuffled, k->chunk_bytes);
  }
  k->ready[k->readies++] = p;
  p.bytes = NULL;
cleanup:
  syz_free(&p.bytes);
  return st;
}

static syz_status find_waiting(h5_chunks *k, int64_t number, int64_t *at)
{
  syz_status st = SYZ_OK;
  for (*at = k->waits - 1; *at >= 0; --*at)
    if (k->wait[*at].number == number) return st;
  waiting w = {.number = number};
  SYZ_TRY(syz_grow(&k->wait, "chunks", k->waits, 1, &k->wait_room));
  SYZ_ALLOC(w.bytes, "chunk", k->chunk_bytes); /* zeros fill the chunk after the last row */
  *at = k->waits;
  k->wait[k->waits++] = w;
cleanup:
  return st;
}

/* Copy rows into a chunk that this rank owns. */
static syz_status take_rows(h5_chunks *k, int64_t first, int64_t n, const unsigned char *data)
{
  syz_status st = SYZ_OK;
  const int64_t number = first / k->chunk_rows;
  int64_t at;
  if (n == k->chunk_rows) return pack(k, number, data);
  SYZ_TRY(find_waiting(k, number, &at));
  waiting *w = &k->wait[at];
  memcpy(w->bytes + (size_t)(first - number * k->chunk_rows) * k->row_bytes, data, (size_t)n * k->row_bytes);
  w->filled += n;
  if (w->filled < rows_of(k, number)) return st;
  SYZ_TRY(pack(k, number, w->bytes));
  syz_free(&w->bytes);
  *w = k->wait[--k->waits];
cleanup:
  return st;
}

/* ---------------------------------------------------------------- exchange */

/* A message with rows for the owner of their chunk: this head, then the rows. */
typedef struct run_head {
  int64_t first, n;
} run_head;

typedef struct post {
  unsigned char *send, *receive;
  size_t *send_bytes, *receive_bytes, *one, *at; /* [size] */
} post;

static void post_free(post *p)
{
  syz_free(&p->send);
  syz_free(&p->receive);
  syz_free(&p->send_bytes);
  syz_free(&p->receive_bytes);
  syz_free(&p->one);
  syz_free(&p->at);
}

/* The rows of chunk after chunk in [first, first + n). */
static int64_t run_length(const h5_chunks *k, int64_t row, int64_t end)
{
  const int64_t border = (row / k->chunk_rows + 1) * k->chunk_rows;
  return (border < end ? border : end) - row;
}

static syz_status post_fill(const h5_chunks *k, int size, int64_t first, int64_t n, const unsigned char *data, post *p)
{
  syz_status st = SYZ_OK;
  size_t all = 0;
  SYZ_ALLOC(p->send_bytes, "sizes", size);
  SYZ_ALLOC(p->receive_bytes, "sizes", size);
  SYZ_ALLOC(p->one, "sizes", size);
  SYZ_ALLOC(p->at, "sizes", size);
  for (int64_t row = first, some; row < first + n; row += some) {
    some = run_length(k, row, first + n);
    p->send_bytes[owner_of(row / k->chunk_rows, size)] += sizeof(run_head) + (size_t)some * k->row_bytes;
  }
  for (int r = 0; r < size; r++) {
    p->at[r] = all;
    all += p->send_bytes[r];
    p->one[r] = sizeof *p->send_bytes;
  }
  SYZ_ALLOC(p->send, "rows to send", all + 1);
  for (int64_t row = first, some; row < first + n; row += some) {
    some = run_length(k, row, first + n);
    const run_head head = {row, some};
    unsigned char *to = p->send + p->at[owner_of(row / k->chunk_rows, size)];
    memcpy(to, &head, sizeof head);
    memcpy(to + sizeof head, data + (size_t)(row - first) * k->row_bytes, (size_t)some * k->row_bytes);
    p->at[owner_of(row / k->chunk_rows, size)] += sizeof head + (size_t)some * k->row_bytes;
  }
cleanup:
  return st;
}

static syz_status post_room(int size, post *p, size_t *all)
{
  syz_status st = SYZ_OK;
  *all = 0;
  for (int r = 0; r < size; r++) *all += p->receive_bytes[r];
  SYZ_ALLOC(p->receive, "rows received", *all + 1);
cleanup:
  return st;
}

/* Rank-local: what has arrived. */
static syz_status take_post(h5_chunks *k, const unsigned char *from, size_t bytes)
{
  syz_status st = SYZ_OK;
  for (size_t at = 0; at < bytes;) {
    run_head head;
    memcpy(&head, from + at, sizeof head);
    SYZ_TRY(take_rows(k, head.first, head.n, from + at + sizeof head));
    at += sizeof head + (size_t)head.n * k->row_bytes;
  }
cleanup:
  return st;
}

/* Collective, agreed: rows of one round to the owners of their chunks. */
static syz_status exchange(syz_h5 *f, h5_chunks *k, int64_t first, int64_t n, const unsigned char *data)
{
  syz_status st = SYZ_OK;
  post p = {0};
  size_t all = 0;
  if (f->size == 1) {
    for (int64_t row = first, some; row < first + n; row += some) {
      some = run_length(k, row, first + n);
      st = take_rows(k, row, some, data + (size_t)(row - first) * k->row_bytes);
      if (st != SYZ_OK) break;
    }
    return h5_agree(f, st);
  }
  SYZ_TRY_ALL(f->comm, post_fill(k, f->size, first, n, data, &p));
  syz_alltoallv(f->comm, p.send_bytes, p.one, p.receive_bytes, p.one);
  SYZ_TRY_ALL(f->comm, post_room(f->size, &p, &all));
  syz_alltoallv(f->comm, p.send, p.send_bytes, p.receive, p.receive_bytes);
  SYZ_TRY_ALL(f->comm, take_post(k, p.receive, all));
cleanup:
  post_free(&p);
  return st;
}

/* ----------------------------------------------------------------- writing */

typedef struct table {
  int64_t *counts; /* [size] */
  size_t *bytes;   /* [size] */
  entry *mine, *all;
  int64_t *offset; /* [total], in the order of `all` */
  int64_t total, before;
  unsigned char *nothing; /* rank 0: zeros passed to HDF5 in place of the rows */
} table;

static void table_free(table *t)
{
  syz_free(&t->counts);
  syz_free(&t->bytes);
  syz_free(&t->mine);
  syz_free(&t->all);
  syz_free(&t->offset);
  syz_free(&t->nothing);
}

static syz_status table_begin(const syz_h5 *f, const h5_chunks *k, table *t)
{
  syz_status st = SYZ_OK;
  SYZ_ALLOC(t->counts, "chunk counts", f->size);
  SYZ_ALLOC(t->bytes, "chunk counts", f->size);
  SYZ_ALLOC(t->mine, "chunks", k->readies + 1);
  for (int64_t i = 0; i < k->readies; i++) t->mine[i] = (entry){k->ready[i].number, k->ready[i].size, k->ready[i].mask};
cleanup:
  return st;
}

static syz_status table_room(const syz_h5 *f, const h5_chunks *k, table *t)
{
  syz_status st = SYZ_OK;
  for (int r = 0; r < f->size; r++) {
    if (r == f->rank) t->before = t->total;
    t->total += t->counts[r];
    t->bytes[r] = (size_t)t->counts[r] * sizeof *t->all;
  }
  SYZ_ALLOC(t->all, "chunks of all ranks", t->total + 1);
  SYZ_ALLOC(t->offset, "places of chunks", t->total + 1);
  if (f->rank == 0) SYZ_ALLOC(t->nothing, "a chunk", k->chunk_bytes);
cleanup:
  return st;
}

/* Rank 0: enter the chunks into the index. The driver below HDF5 records the place of each write and drops the data. */
static syz_status enter(syz_h5 *f, const h5_column *column, table *t)
{
  syz_status st = SYZ_OK;
  char reason[H5_REASON];
  hid_t d = H5Dopen2(f->file, column->name, H5P_DEFAULT);
  SYZ_REQUIRE(d >= 0, SYZ_ERR_WRITE, "%s: dataset %s: %s", f->path, column->name, h5_reason(reason));
  for (int64_t i = 0; i < t->total; i++) {
    const hsize_t place[H5_DIMS] = {(hsize_t)(t->all[i].number * column->chunks->chunk_rows)};
    h5_image_drop(f->image, true);
    const herr_t rc =
        H5Dwrite_chunk(d, H5P_DEFAULT, (uint32_t)t->all[i].mask, place, (size_t)t->all[i].size, t->nothing);
    h5_image_drop(f->image, false);
    SYZ_REQUIRE(rc >= 0, SYZ_ERR_WRITE, "%s: dataset %s, chunk %lld: %s", f->path, column->name,
                (long long)t->all[i].number, h5_reason(reason));
    t->offset[i] = h5_image_dropped(f->image);
    SYZ_REQUIRE(t->offset[i] >= 0, SYZ_ERR_INTERNAL, "%s: dataset %s, chunk %lld got no place", f->path, column->name,
                (long long)t->all[i].number);
  }
cleanup:
  if (d >= 0) H5Dclose(d);
  return st;
}

static syz_status write_ready(syz_h5 *f, const h5_column *column, const table *t)
{
  syz_status st = SYZ_OK;
  const h5_chunks *k = column->chunks;
  for (int64_t i = 0; i < k->readies; i++)
    SYZ_TRY(h5_write_at(f, column->name, t->offset[t->before + i], (size_t)k->ready[i].size, k->ready[i].bytes));
cleanup:
  return st;
}

/* Collective, agreed: the chunks that are ready on any rank to the file. */
static syz_status flush_ready(syz_h5 *f, h5_column *column)
{
  syz_status st = SYZ_OK;
  h5_chunks *k = column->chunks;
  table t = {0};
  st = h5_agree(f, table_begin(f, k, &t));
  if (st != SYZ_OK) goto cleanup;
  t.counts[f->rank] = k->readies;
  if (f->comm) syz_allgather(f->comm, &k->readies, t.counts, sizeof k->readies);
  st = h5_agree(f, table_room(f, k, &t));
  if (st != SYZ_OK || t.total == 0) goto cleanup;
  if (f->comm)
    syz_gatherv(f->comm, t.mine, t.all, t.bytes, 0);
  else
    memcpy(t.all, t.mine, t.bytes[0]);
  st = h5_agree(f, f->rank == 0 ? enter(f, column, &t) : SYZ_OK);
  if (st != SYZ_OK) goto cleanup;
  if (f->comm) syz_bcast(f->comm, t.offset, (size_t)t.total * sizeof *t.offset, 0);
  st = h5_agree(f, write_ready(f, column, &t));
cleanup:
  forget_ready(k);
  table_free(&t);
  return st;
}

syz_status h5_chunks_put(syz_h5 *f, h5_column *column, int64_t first, int64_t n, const void *data)
{
  syz_status st = SYZ_OK;
  h5_chunks *k = column->chunks;
  int64_t window = (int64_t)(WINDOW / k->row_bytes);
  if (window < 1) window = 1;
  int64_t rounds = (n + window - 1) / window;
  if (f->comm) syz_allreduce_i64(f->comm, &rounds, 1, SYZ_MAX);
  for (int64_t r = 0, at = 0; r < rounds; r++) {
    const int64_t some = n - at < window ? n - at : window;
    SYZ_TRY(exchange(f, k, first + at, some, (const unsigned char *)data + (size_t)at * k->row_bytes));
    SYZ_TRY(flush_ready(f, column));
    at += some;
  }
cleanup:
  return st;
}
