/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Parallel HDF5: rows and checksums of a file that all its ranks have open through the library's MPI-IO driver, by
 * collective transfers.
 *
 * The layout is made before the file is opened. Rank 0 declares all datasets in memory (image.c), with early
 * allocation, so that every byte of the file has its place; it then reserves these bytes on the disk (posix_fallocate)
 * and writes the description. Only when that has succeeded, which all ranks agree on, they open the file together. From
 * there on the library writes nothing but bytes that exist already: rows, and checksums in place of zeros. So a full
 * disk is met outside of the library, where it is a return code. Within a collective transfer it would not be one:
 * HDF5 1.10.8 over Open MPI 4.1.4 leaves the other ranks waiting, and a failed flush in H5Fclose leaves the library
 * unable to end (src/comm/README.md, "Parallel HDF5"). The layout is that of io.driver direct, and so are all bytes of
 * the file.
 *
 * Opening, too, is tried first where a failure is a return code: each rank opens the file alone, and only when all of
 * them could, which they agree on, do they open it together. So a folder that one node does not share, a lacking right
 * or no free descriptor ends all ranks alike. MPI_File_open and H5Fopen could not be asked instead: when they fail on
 * one rank the others wait for it inside, or, if they come back, in the close, which is collective.
 *
 * What remains is a device that fails in the midst of a transfer, or between the two openings: ranks may then wait for
 * each other until the watchdog ends the run with exit code 7. A file system that copies on writing (btrfs, ZFS) may
 * run out of space for bytes that were reserved; it is no place for a run with mpio.
 *
 * Datasets that are declared after the first rows are found by opening the file once more; whoever has many declares
 * them all first.
 *
 * Reading: the library is not called on a file that is read (read.c). Rows whose place the reader process has told, and
 * that read.c has compared with the length of the file, come by collective MPI-IO reads of these bytes.
 */
#include "mpio.h"

#include <errno.h>
#include <fcntl.h>
#include <mpi.h>
#include <string.h>
#include <unistd.h>

#include "syzygy/files.h"

bool h5_mpio_is_wanted(void)
{
  int is_started = 0, is_finished = 0;
  const syz_h5_settings *s = h5_settings();
  if (s->driver != SYZ_H5_MPIO || s->compression_level > 0) return false;
  MPI_Initialized(&is_started);
  MPI_Finalized(&is_finished);
  return is_started && !is_finished; /* not so: a program that only uses this room */
}

static MPI_Comm comm_of(syz_comm *c) { return c ? *(MPI_Comm *)syz_comm_raw(c) : MPI_COMM_SELF; }

/* ----------------------------------------------------------- open and close */

/* Rank 0: all bytes of the file exist from here on. */
static syz_status reserve(syz_h5 *f)
{
  syz_status st = SYZ_OK;
  char reason[H5_REASON];
  SYZ_REQUIRE(H5Fflush(f->file, H5F_SCOPE_LOCAL) >= 0, SYZ_ERR_WRITE, "%s: cannot write: %s", f->path,
              h5_reason(reason));
  const int64_t bytes = h5_image_length(f->image);
  SYZ_TRY(h5_reserve(f->fd, f->path, f->reserved, bytes));
  if (bytes > f->reserved) f->reserved = bytes;
  SYZ_TRY(h5_image_save(f->image, f->fd, f->path));
  SYZ_REQUIRE(fsync(f->fd) == 0, SYZ_ERR_WRITE, "%s: cannot flush to disk: %s", f->path,
              strerror(errno)); /* other nodes open it now */
cleanup:
  return st;
}

/* How all ranks will open it, and whether this one can: what a rank does alone. */
static syz_status make_access(const syz_h5 *f, hid_t *access)
{
  syz_status st = SYZ_OK;
  char reason[H5_REASON];
  int fd = -1;
  SYZ_REQUIRE(!syz_fault("h5_mpio_open"), SYZ_ERR_WRITE, "%s: injected failure", f->temporary);
  SYZ_TRY(syz_file_open(f->temporary, O_RDWR, &fd));
  close(fd);
  *access = H5Pcreate(H5P_FILE_ACCESS);
  SYZ_REQUIRE(*access >= 0 && H5Pset_libver_bounds(*access, H5F_LIBVER_V18, H5F_LIBVER_V18) >= 0 &&
                  H5Pset_all_coll_metadata_ops(*access, true) >= 0 && H5Pset_coll_metadata_write(*access, true) >= 0,
              SYZ_ERR_WRITE, "%s: no access through MPI-IO: %s", f->path, h5_reason(reason));
cleanup:
  return st;
}

/* The access list copies the communicator, which is collective as well. */
static syz_status open_file(syz_h5 *f, hid_t access)
{
  syz_status st = SYZ_OK;
  char reason[H5_REASON];
  MPI_Info info = MPI_INFO_NULL;
  h5_hints_make(&info);
  if (H5Pset_fapl_mpio(access, comm_of(f->comm), info) >= 0) f->shared = H5Fopen(f->temporary, H5F_ACC_RDWR, access);
  SYZ_REQUIRE(f->shared >= 0, SYZ_ERR_WRITE, "%s: cannot open through MPI-IO: %s", f->temporary, h5_reason(reason));
cleanup:
  h5_hints_free(&info);
  return st;
}

static syz_status open_columns(syz_h5 *f)
{
  syz_status st = SYZ_OK;
  char reason[H5_REASON];
  for (int i = 0; i < f->columns; i++) {
    h5_column *c = &f->column[i];
    c->shared = H5Dopen2(f->shared, c->name, H5P_DEFAULT);
    SYZ_REQUIRE(c->shared >= 0, SYZ_ERR_WRITE, "%s: dataset %s: %s", f->path, c->name, h5_reason(reason));
  }
cleanup:
  return st;
}

syz_status h5_mpio_close(syz_h5 *f)
{
  syz_status st = SYZ_OK;
  char reason[H5_REASON];
  for (int i = 0; i < f->columns; i++) {
    if (f->column[i].shared >= 0) H5Dclose(f->column[i].shared);
    f->column[i].shared = -1;
  }
  const herr_t rc = f->shared >= 0 ? H5Fclose(f->shared) : 0;
  f->shared = -1;
  SYZ_REQUIRE(rc >= 0, SYZ_ERR_WRITE, "%s: cannot close: %s", f->path, h5_reason(reason));
cleanup:
  return st;
}

syz_status h5_mpio_open(syz_h5 *f)
{
  syz_status st = SYZ_OK;
  hid_t access = -1;
  if (!f->is_unflushed) return st;
  st = h5_agree(f, h5_mpio_close(f));
  if (st == SYZ_OK) st = h5_agree(f, f->rank == 0 ? reserve(f) : SYZ_OK);
  if (st == SYZ_OK) st = h5_agree(f, make_access(f, &access));
  if (st == SYZ_OK) st = h5_agree(f, open_file(f, access));
  if (access >= 0) H5Pclose(access);
  if (st == SYZ_OK) st = h5_agree(f, open_columns(f));
  if (st != SYZ_OK) return syz_error_pass(st, __FILE__, __LINE__);
  f->is_unflushed = false;
  return st;
}

/* ------------------------------------------------------------------ writing */

enum { PIECE_BYTES = 1 << 30 }; /* of a rank at a time: counts are int */

/* What a transfer needs, made before it begins: within it no rank may be missing. */
typedef struct transfer {
  hid_t type, rows, memory, list;
} transfer;

static syz_status transfer_begin(const syz_h5 *f, const h5_column *column, int64_t first, int64_t n, transfer *t)
{
  syz_status st = SYZ_OK;
  char reason[H5_REASON];
  hsize_t start[H5_DIMS] = {(hsize_t)first}, count[H5_DIMS] = {0};
  *t = (transfer){.type = H5Dget_type(column->shared),
                  .rows = H5Dget_space(column->shared),
                  .memory = -1,
                  .list = H5Pcreate(H5P_DATASET_XFER)};
  const int ndim = t->rows >= 0 ? H5Sget_simple_extent_dims(t->rows, count, NULL) : -1;
  SYZ_REQUIRE(t->type >= 0 && t->list >= 0 && ndim >= 1, SYZ_ERR_WRITE, "%s: dataset %s: %s", f->path, column->name,
              h5_reason(reason));
  count[0] = (hsize_t)n;
  t->memory = H5Screate_simple(ndim, count, NULL);
  const bool is_selected =
      t->memory >= 0 && (n ? H5Sselect_hyperslab(t->rows, H5S_SELECT_SET, start, NULL, count, NULL) >= 0
                           : H5Sselect_none(t->rows) >= 0 && H5Sselect_none(t->memory) >= 0);
  SYZ_REQUIRE(is_selected && H5Pset_dxpl_mpio(t->list, H5FD_MPIO_COLLECTIVE) >= 0, SYZ_ERR_WRITE,
              "%s: dataset %s, rows %lld .. %lld: %s", f->path, column->name, (long long)first, (long long)(first + n),
              h5_reason(reason));
cleanup:
  return st;
}

static void transfer_end(transfer *t)
{
  if (t->type >= 0) H5Tclose(t->type);
  if (t->rows >= 0) H5Sclose(t->rows);
  if (t->memory >= 0) H5Sclose(t->memory);
  if (t->list >= 0) H5Pclose(t->list);
}

static syz_status write_piece(syz_h5 *f, h5_column *column, int64_t first, int64_t n, const void *data)
{
  syz_status st = SYZ_OK;
  char reason[H5_REASON];
  transfer t;
  st = h5_agree(f, transfer_begin(f, column, first, n, &t));
  if (st == SYZ_OK) {
    if (H5Dwrite(column->shared, t.type, t.memory, t.rows, t.list, data) < 0)
      st = syz_error_set(SYZ_ERR_WRITE, __FILE__, __LINE__, "%s: cannot write dataset %s, rows %lld .. %lld: %s",
                         f->path, column->name, (long long)first, (long long)first + n, h5_reason(reason));
    st = h5_agree(f, st);
  }
  transfer_end(&t);
  return st == SYZ_OK ? st : syz_error_pass(st, __FILE__, __LINE__);
}

/* In pieces whose bytes fit an int, as often on every rank as the one with most rows needs. */
syz_status h5_mpio_write(syz_h5 *f, h5_column *column, int64_t first, int64_t n, const void *data)
{
  syz_status st = SYZ_OK;
  if (column->offset < 0) return st; /* no bytes on any rank */
  const int64_t fitting = (int64_t)((size_t)PIECE_BYTES / column->row_bytes), most = fitting > 0 ? fitting : 1;
  int64_t rounds = n > 0 ? (n + most - 1) / most : 1;
  if (f->comm) syz_allreduce_i64(f->comm, &rounds, 1, SYZ_MAX);
  for (int64_t k = 0; k < rounds; k++) {
    const int64_t some = n < most ? n : most;
    SYZ_TRY(write_piece(f, column, first, some, data));
    if (some) data = (const char *)data + (size_t)some * column->row_bytes;
    first += some;
    n -= some;
  }
cleanup:
  return st;
}

syz_status h5_mpio_attributes(syz_h5 *f, syz_status (*put)(syz_h5 *f, hid_t object, const h5_column *column))
{
  syz_status st = SYZ_OK;
  for (int i = 0; st == SYZ_OK && i < f->columns; i++) st = h5_agree(f, put(f, f->column[i].shared, &f->column[i]));
  if (st == SYZ_OK) st = h5_agree(f, put(f, f->shared, NULL));
  return st == SYZ_OK ? st : syz_error_pass(st, __FILE__, __LINE__);
}

/* ------------------------------------------------------------------ reading */

struct h5_mpio_reader {
  syz_comm *comm;
  char *path;
  MPI_File file;
};

/* What a rank does alone: the reader, and whether it can open the file. */
static syz_status make_reader(syz_comm *c, const char *path, h5_mpio_reader **out)
{
  syz_status st = SYZ_OK;
  int fd = -1;
  int64_t bytes;
  SYZ_ALLOC(*out, "file read by all ranks", 1);
  (*out)->comm = c;
  (*out)->file = MPI_FILE_NULL;
  (*out)->path = h5_copy_text(path);
  SYZ_REQUIRE((*out)->path, SYZ_ERR_MEMORY, "%s: no memory for its name", path);
  SYZ_TRY(syz_file_open_input(path, &fd, &bytes));
  close(fd);
cleanup:
  return st;
}

static syz_status mpi_status(int rc, const char *path, const char *what)
{
  syz_status st = SYZ_OK;
  char reason[MPI_MAX_ERROR_STRING] = "";
  int n = 0;
  if (rc != MPI_SUCCESS) MPI_Error_string(rc, reason, &n);
  SYZ_REQUIRE(rc == MPI_SUCCESS, SYZ_ERR_DATA, "%s: cannot %s through MPI-IO: %s", path, what, reason);
cleanup:
  return st;
}

syz_status h5_mpio_reader_open(syz_comm *c, const char *path, h5_mpio_reader **out)
{
  syz_status st = SYZ_OK;
  h5_mpio_reader *r = NULL;
  MPI_Info info = MPI_INFO_NULL;
  *out = NULL;
  SYZ_TRY_ALL(c, make_reader(c, path, &r));
  h5_hints_make(&info);
  st = syz_agree(c, mpi_status(MPI_File_open(comm_of(c), path, MPI_MODE_RDONLY, info, &r->file), path, "open"));
  if (st != SYZ_OK) r->file = MPI_FILE_NULL; /* stays open where it is: a rank that has none cannot help to close it */
  SYZ_TRY(st);
  *out = r;
  r = NULL;
cleanup:
  h5_hints_free(&info);
  h5_mpio_reader_close(&r);
  return st;
}

syz_status h5_mpio_reader_read(h5_mpio_reader *r, const char *name, int64_t at, size_t bytes, void *data)
{
  syz_status st = SYZ_OK;
  int64_t rounds = (int64_t)((bytes + PIECE_BYTES - 1) / PIECE_BYTES); /* counts are int */
  char *to = data;
  syz_allreduce_i64(r->comm, &rounds, 1, SYZ_MAX);
  for (int64_t k = 0; k < rounds; k++) {
    const int some = bytes < PIECE_BYTES ? (int)bytes : PIECE_BYTES;
    MPI_Status about;
    int got = 0;
    syz_status mine =
        mpi_status(MPI_File_read_at_all(r->file, (MPI_Offset)at, to, some, MPI_BYTE, &about), r->path, "read");
    if (mine == SYZ_OK && some) MPI_Get_count(&about, MPI_BYTE, &got);
    if (mine == SYZ_OK && got != some)
      mine = syz_error_set(SYZ_ERR_DATA, __FILE__, __LINE__, "%s: dataset %s: %d of %d bytes at byte %lld can be read",
                           r->path, name, got, some, (long long)at);
    SYZ_TRY_ALL(r->comm, mine);
    to += some;
    at += some;
    bytes -= (size_t)some;
  }
cleanup:
  return st;
}

void h5_mpio_reader_close(h5_mpio_reader **reader)
{
  h5_mpio_reader *r = *reader;
  if (!r) return;
  if (r->file != MPI_FILE_NULL) MPI_File_close(&r->file);
  syz_free(&r->path);
  syz_free(reader);
}
