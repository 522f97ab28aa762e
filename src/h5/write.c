/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Writing HDF5 files from many ranks: what both drivers share, and the driver `direct`. The driver `mpio` is in
 * mpio.c.
 *
 * HDF5 describes the file, on rank 0 alone and into memory (image.c); the description and the rows are written with
 * pwrite, the rows by every rank to where the dataset lies. All datasets are contiguous and allocated when they are
 * declared, so their places are known at once. Every failure is then a return code on the rank that met it, and all
 * ranks agree before anybody goes on.
 *
 * On a full disk a collective H5Dwrite of 1.10.8 over ompio never returns (3 ranks, 600 MB into a tmpfs of 64 MB: all
 * ranks still inside after 30 s), and a failed flush inside H5Fclose leaves the library unable to end: `direct` has no
 * such moment, `mpio` reserves the space first. On one machine the speed is the same: both are pwrite calls in the end
 * (MPI-IO: 2.3 to 2.8 GB/s on a quiet machine, src/comm/README.md "Parallel HDF5"). What is asked of the file system is
 * what MPI-IO asks, too: bytes written by one node are seen by another after fsync (Lustre, GPFS, BeeGFS, local disks).
 *
 * The description is written before the first row, checksum attributes included (as zeros, replaced in place at the
 * end), so that publishing needs no new space.
 */
#include "chunks.h"
#include "mpio.h"
#include "seal.h"
#include "syzygy/files.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { ALIGN_ABOVE = 1 << 16, CHECKSUM_CHARS = 16, HASH_BYTES = 1 << 18 };

/* ------------------------------------------------------------------ create */

static syz_status put_text(syz_h5 *f, hid_t object, const char *attribute, const char *text)
{
  syz_status st = SYZ_OK;
  char reason[H5_REASON];
  hid_t type = H5Tcopy(H5T_C_S1), space = H5Screate(H5S_SCALAR), a = -1;
  H5Tset_size(type, H5T_VARIABLE);
  H5Tset_cset(type, H5T_CSET_UTF8);
  if (H5Aexists(object, attribute) > 0) H5Adelete(object, attribute);
  a = H5Acreate2(object, attribute, type, space, H5P_DEFAULT, H5P_DEFAULT);
  SYZ_REQUIRE(a >= 0 && H5Awrite(a, type, &text) >= 0, SYZ_ERR_WRITE, "%s: cannot write attribute %s: %s", f->path,
              attribute, h5_reason(reason));
cleanup:
  if (a >= 0) H5Aclose(a);
  H5Sclose(space);
  H5Tclose(type);
  return st;
}

static syz_status put_checksum(syz_h5 *f, hid_t object, const char *name, uint64_t sum)
{
  syz_status st = SYZ_OK;
  char reason[H5_REASON], text[CHECKSUM_CHARS + 1];
  hid_t type = H5Tcopy(H5T_C_S1), space = H5Screate(H5S_SCALAR), a = -1;
  H5Tset_size(type, CHECKSUM_CHARS);
  H5Tset_strpad(type, H5T_STR_NULLPAD);
  snprintf(text, sizeof text, "%016llx", (unsigned long long)sum);
  a = H5Aexists(object, "checksum") > 0 ? H5Aopen(object, "checksum", H5P_DEFAULT)
                                        : H5Acreate2(object, "checksum", type, space, H5P_DEFAULT, H5P_DEFAULT);
  SYZ_REQUIRE(a >= 0 && H5Awrite(a, type, text) >= 0, SYZ_ERR_WRITE, "%s: cannot write the checksum of %s: %s", f->path,
              name, h5_reason(reason));
cleanup:
  if (a >= 0) H5Aclose(a);
  H5Sclose(space);
  H5Tclose(type);
  return st;
}

static syz_status create_file(syz_h5 *f, const char *format, const char *created_by, const char *input_yaml)
{
  syz_status st = SYZ_OK;
  char reason[H5_REASON];
  hid_t access = H5Pcreate(H5P_FILE_ACCESS), root = H5Pcreate(H5P_FILE_CREATE), space = -1, a = -1;
  const int version = 1;
  SYZ_REQUIRE(!syz_fault("h5_create"), SYZ_ERR_WRITE, "%s: injected failure", f->temporary);
  SYZ_TRY(syz_refuse_link(f->path));
  SYZ_TRY(syz_refuse_link(f->temporary));
  SYZ_TRY(h5_create_striped(f->temporary));
  SYZ_TRY(syz_file_open(f->temporary, O_RDWR | O_CREAT | O_TRUNC, &f->fd)); /* first by hand: errno says it shortest */
  /* Format of HDF5 1.8: its object headers carry checksums of their own, so that a damaged description is noticed. */
  H5Pset_libver_bounds(access, H5F_LIBVER_V18, H5F_LIBVER_V18);
  /* Compressed chunks are of any size: room between them would eat up what they save. */
  H5Pset_alignment(access, ALIGN_ABOVE, h5_settings()->compression_level > 0 ? 1 : (hsize_t)h5_settings()->alignment);
  SYZ_TRY(h5_image_create(&f->image));
  SYZ_TRY(h5_image_attach(f->image, access));
  H5Pset_obj_track_times(
      root, 0); /* equal content gives equal files: neither the root, nor groups, nor datasets keep a time */
  f->file = H5Fcreate(f->temporary, H5F_ACC_TRUNC, root, access);
  SYZ_REQUIRE(f->file >= 0, SYZ_ERR_WRITE, "%s: cannot create: %s", f->temporary, h5_reason(reason));
  SYZ_TRY(put_text(f, f->file, "syzygy_format", format));
  space = H5Screate(H5S_SCALAR);
  a = H5Acreate2(f->file, "format_version", H5T_STD_I32LE, space, H5P_DEFAULT, H5P_DEFAULT);
  SYZ_REQUIRE(a >= 0 && H5Awrite(a, H5T_NATIVE_INT, &version) >= 0, SYZ_ERR_WRITE, "%s: cannot write: %s", f->path,
              h5_reason(reason));
  SYZ_TRY(put_text(f, f->file, "created_by", created_by ? created_by : ""));
  SYZ_TRY(put_text(f, f->file, "input", input_yaml ? input_yaml : ""));
  SYZ_TRY(put_checksum(f, f->file, "its attributes", 0));
cleanup:
  if (a >= 0) H5Aclose(a);
  if (space >= 0) H5Sclose(space);
  if (access >= 0) H5Pclose(access);
  if (root >= 0) H5Pclose(root);
  return st;
}

static syz_status attach_file(syz_h5 *f)
{
  return syz_file_open(f->temporary, O_WRONLY, &f->fd); /* rank 0 created it */
}

static syz_status make_handle(syz_comm *c, const char *path, syz_h5 **out)
{
  syz_status st = SYZ_OK;
  syz_h5 *f = NULL;
  size_t n = strlen(path);
  SYZ_REQUIRE(n && n + 5 < PATH_MAX, SYZ_ERR_WRITE, "\"%.40s...\": not a usable file name", path);
  SYZ_ALLOC(f, "hdf5 file", 1);
  f->file = f->shared = -1;
  f->fd = -1;
  f->is_writing = true;
  f->is_mpio = h5_mpio_is_wanted();
  f->is_unflushed = true;
  f->comm = c;
  f->rank = c ? syz_comm_rank(c) : 0;
  f->size = c ? syz_comm_size(c) : 1;
  f->path = h5_copy_text(path);
  SYZ_ALLOC(f->temporary, "file name", n + 5);
  snprintf(f->temporary, n + 5, "%s.tmp", path);
  SYZ_REQUIRE(f->path, SYZ_ERR_MEMORY, "%s: no memory for its name", path);
  *out = f;
  f = NULL;
cleanup:
  if (f) {
    syz_free(&f->path);
    syz_free(&f->temporary);
    syz_free(&f);
  }
  return st;
}

syz_status syz_h5_create(syz_comm *c, const char *path, const char *format, const char *created_by,
                         const char *input_yaml, syz_h5 **out)
{
  syz_status st = SYZ_OK;
  syz_h5 *f = NULL;
  *out = NULL;
  h5_begin();
  st = make_handle(c, path, &f);
  if (c) st = syz_agree(c, st);
  if (st != SYZ_OK) goto cleanup;
  st = h5_agree(f, f->rank == 0 ? create_file(f, format, created_by, input_yaml) : SYZ_OK);
  if (st != SYZ_OK) goto cleanup;
  st = h5_agree(f, f->rank == 0 ? SYZ_OK : attach_file(f));
cleanup:
  if (st == SYZ_OK) {
    *out = f;
    return st;
  }
  syz_h5_close(&f);
  return syz_error_pass(st, __FILE__, __LINE__);
}

/* ---------------------------------------------------------------- datasets */

/* An early and clear word when a dataset cannot fit; the true test is the writing, which quotas and other writers may
 * still fail. */
static syz_status check_space(const syz_h5 *f, const char *name, int64_t bytes)
{
  syz_status st = SYZ_OK;
  struct statvfs disk;
  struct stat now;
  double unwritten = (double)bytes;
  if (fstatvfs(f->fd, &disk) != 0 || fstat(f->fd, &now) != 0 || disk.f_blocks == 0) return SYZ_OK;
  for (int i = 0; i < f->columns; i++)
    if (!f->column[i].chunks) unwritten += (double)f->column[i].rows * (double)f->column[i].row_bytes;
  unwritten -= (double)now.st_blocks * 512.0;
  double free_bytes = (double)disk.f_bavail * (double)disk.f_frsize;
  SYZ_REQUIRE(unwritten <= free_bytes, SYZ_ERR_WRITE,
              "%s: no space for dataset %s: %.1f MiB are still to be written, %.1f MiB are free", f->path, name,
              unwritten / 1048576.0, free_bytes / 1048576.0);
cleanup:
  return st;
}

/* The groups in a dataset's name that are not there yet; HDF5's own intermediate groups would keep the time of their
 * creation. */
static syz_status make_groups(syz_h5 *f, const char *name)
{
  syz_status st = SYZ_OK;
  char reason[H5_REASON], group[512];
  hid_t create = H5Pcreate(H5P_GROUP_CREATE);
  H5Pset_obj_track_times(create, 0);
  for (const char *slash = strchr(name, '/'); slash; slash = strchr(slash + 1, '/')) {
    SYZ_REQUIRE(snprintf(group, sizeof group, "%.*s", (int)(slash - name), name) < (int)sizeof group, SYZ_ERR_WRITE,
                "%s: dataset name too long: %s", f->path, name);
    htri_t is_there = H5Lexists(f->file, group, H5P_DEFAULT);
    hid_t g = is_there == 0 ? H5Gcreate2(f->file, group, H5P_DEFAULT, create, H5P_DEFAULT) : -1;
    SYZ_REQUIRE(is_there > 0 || g >= 0, SYZ_ERR_WRITE, "%s: cannot create group %s: %s", f->path, group,
                h5_reason(reason));
    if (g >= 0) H5Gclose(g);
  }
cleanup:
  if (create >= 0) H5Pclose(create);
  return st;
}

/* On rank 0: declare it and learn where its rows will lie. */
static syz_status declare(syz_h5 *f, const char *name, syz_h5_type type, int ndim, const hsize_t *dims,
                          int64_t chunk_rows, int64_t bytes, const char *units, const char *description,
                          int64_t *offset)
{
  syz_status st = SYZ_OK;
  char reason[H5_REASON];
  hid_t create = H5Pcreate(H5P_DATASET_CREATE), space = H5Screate_simple(ndim, dims, NULL);
  hid_t stored = h5_file_type(type), d = -1;
  *offset = -1;
  SYZ_REQUIRE(create >= 0 && space >= 0 && stored >= 0, SYZ_ERR_WRITE, "%s: dataset %s: %s", f->path, name,
              h5_reason(reason));
  SYZ_TRY(make_groups(f, name));
  if (chunk_rows > 0) {
    SYZ_TRY(h5_chunks_declare(create, ndim, dims, chunk_rows));
  } else {
    H5Pset_layout(create, H5D_CONTIGUOUS);
    H5Pset_alloc_time(create, H5D_ALLOC_TIME_EARLY);
  }
  H5Pset_fill_time(create, H5D_FILL_TIME_NEVER);
  H5Pset_obj_track_times(create, 0);
  d = H5Dcreate2(f->file, name, stored, space, H5P_DEFAULT, create, H5P_DEFAULT);
  SYZ_REQUIRE(d >= 0, SYZ_ERR_WRITE, "%s: cannot create dataset %s: %s", f->path, name, h5_reason(reason));
  SYZ_TRY(put_text(f, d, "units", units ? units : ""));
  SYZ_TRY(put_text(f, d, "description", description ? description : ""));
  SYZ_TRY(put_checksum(f, d, name, 0));
  if (bytes > 0 && chunk_rows == 0) {
    haddr_t at = H5Dget_offset(d);
    SYZ_REQUIRE(at != HADDR_UNDEF, SYZ_ERR_WRITE, "%s: dataset %s got no place in the file: %s", f->path, name,
                h5_reason(reason));
    *offset = (int64_t)at;
    SYZ_TRY(check_space(f, name, bytes));
  }
cleanup:
  if (d >= 0) H5Dclose(d);
  h5_type_close(type, stored);
  if (space >= 0) H5Sclose(space);
  if (create >= 0) H5Pclose(create);
  return st;
}

static h5_column *find_column(syz_h5 *f, const char *name)
{
  for (int i = 0; i < f->columns; i++)
    if (strcmp(f->column[i].name, name) == 0) return &f->column[i];
  return NULL;
}

static syz_status add_column(syz_h5 *f, const char *name, int64_t rows, size_t row_bytes, size_t item)
{
  syz_status st = SYZ_OK;
  h5_chunks *chunks = NULL;
  SYZ_REQUIRE(!find_column(f, name), SYZ_ERR_INTERNAL, "%s: dataset %s is declared twice", f->path, name);
  SYZ_TRY(syz_grow(&f->column, "datasets of a file", f->columns, 1, &f->room));
  if (h5_chunk_rows(rows, row_bytes) > 0) SYZ_TRY(h5_chunks_create(rows, row_bytes, item, &chunks));
  char *copy = h5_copy_text(name);
  SYZ_REQUIRE(copy, SYZ_ERR_MEMORY, "%s: no memory for dataset %s", f->path, name);
  f->column[f->columns++] =
      (h5_column){.name = copy, .rows = rows, .row_bytes = row_bytes, .chunks = chunks, .shared = -1, .offset = -1};
  chunks = NULL;
cleanup:
  h5_chunks_destroy(&chunks);
  return st;
}

syz_status syz_h5_dataset(syz_h5 *f, const char *name, syz_h5_type type, int64_t rows, int ndim_row,
                          const int64_t *shape_row, const char *units, const char *description)
{
  syz_status st = SYZ_OK;
  hsize_t dims[H5_DIMS];
  double bytes = (double)syz_h5_type_size(type) * (double)rows;
  size_t row_bytes = syz_h5_type_size(type);
  struct {
    int64_t offset;
  } place = {-1};
  SYZ_REQUIRE(f && f->is_writing && rows >= 0 && ndim_row >= 0 && ndim_row < H5_DIMS, SYZ_ERR_INTERNAL,
              "dataset %s: wrong arguments", name);
  dims[0] = (hsize_t)rows;
  for (int i = 0; i < ndim_row; i++) {
    SYZ_REQUIRE(shape_row[i] >= 1, SYZ_ERR_INTERNAL, "%s: dataset %s: axis %d of %lld", f->path, name, i + 1,
                (long long)shape_row[i]);
    dims[i + 1] = (hsize_t)shape_row[i];
    bytes *= (double)shape_row[i];
    SYZ_REQUIRE(bytes < 4e18, SYZ_ERR_WRITE, "%s: dataset %s of %.3g bytes", f->path, name, bytes);
    row_bytes *= (size_t)shape_row[i];
  }
  st = h5_agree(f, add_column(f, name, rows, row_bytes, syz_h5_type_size(type)));
  if (st != SYZ_OK) goto cleanup;
  h5_column *column = &f->column[f->columns - 1];
  if (f->rank == 0) {
    column->rows = 0; /* check_space counts the datasets before this one and this one's bytes apart */
    st = declare(f, name, type, ndim_row + 1, dims, h5_chunk_rows(rows, row_bytes), rows * (int64_t)row_bytes, units,
                 description, &place.offset);
    column->rows = rows;
  }
  f->is_unflushed = true;
  st = h5_agree(f, st);
  if (st != SYZ_OK) goto cleanup;
  if (f->comm) syz_bcast(f->comm, &place, sizeof place, 0);
  column->offset = place.offset;
cleanup:
  return st;
}

/* Rank 0: the description goes to the disk before the rows do. */
static syz_status flush_description(syz_h5 *f)
{
  syz_status st = SYZ_OK;
  char reason[H5_REASON];
  if (f->rank != 0 || !f->is_unflushed) return SYZ_OK;
  SYZ_REQUIRE(H5Fflush(f->file, H5F_SCOPE_LOCAL) >= 0, SYZ_ERR_WRITE, "%s: cannot write: %s", f->path,
              h5_reason(reason));
  SYZ_TRY(h5_image_save(f->image, f->fd, f->path));
  f->is_unflushed = false;
cleanup:
  return st;
}

/* Before any rank writes. */
static syz_status check_rows(syz_h5 *f, const char *name, int64_t first, int64_t n)
{
  syz_status st = SYZ_OK;
  const h5_column *column = find_column(f, name);
  SYZ_REQUIRE(column, SYZ_ERR_INTERNAL, "%s: dataset %s was not declared", f->path, name);
  SYZ_REQUIRE(first >= 0 && n >= 0 && first <= column->rows && n <= column->rows - first, SYZ_ERR_INTERNAL,
              "%s: dataset %s has %lld rows, not %lld .. %lld", f->path, name, (long long)column->rows,
              (long long)first, (long long)(first + n));
  if (!f->is_mpio) SYZ_TRY(flush_description(f));
  SYZ_REQUIRE(!syz_fault("h5_write"), SYZ_ERR_WRITE, "%s: dataset %s: injected failure", f->path, name);
cleanup:
  return st;
}

/* This rank's rows to their place, hashed block by block: what is copied next is in the processor's cache, and the
 * thread of the direct lane writes meanwhile. */
static syz_status write_own(syz_h5 *f, h5_column *column, int64_t first, int64_t n, const void *data)
{
  syz_status st = SYZ_OK;
  const int64_t width = (int64_t)column->row_bytes;
  const int64_t block = (size_t)n * column->row_bytes < SYZ_DIRECT_WORTH || !h5_lane(f) ? n
                        : HASH_BYTES / width > 1                                        ? HASH_BYTES / width
                                                                                        : 1;
  for (int64_t at = 0; at < n; at += block) {
    const int64_t some = n - at < block ? n - at : block;
    const unsigned char *from = (const unsigned char *)data + at * width;
    column->sum += syz_checksum_rows(from, some, column->row_bytes, first + at);
    if (block < n)
      SYZ_TRY(syz_direct_write(f->direct, column->offset + (first + at) * width, (size_t)(some * width), from));
    else
      SYZ_TRY(h5_write_at(f, column->name, column->offset + (first + at) * width, (size_t)(some * width), from));
  }
cleanup:
  return st;
}

syz_status syz_h5_write_rows(syz_h5 *f, const char *name, int64_t first, int64_t n, const void *data)
{
  syz_status st = SYZ_OK;
  const int most = h5_settings()->aggregators;
  const bool gathers = f->comm && most > 0 && most < f->size && !f->is_mpio;
  SYZ_TRY(h5_agree(f, check_rows(f, name, first, n)));
  h5_column *column = find_column(f, name);
  if (f->is_mpio) SYZ_TRY(h5_mpio_open(f));
  if (f->is_mpio)
    SYZ_TRY(h5_mpio_write(f, column, first, n, data));
  else if (column->chunks)
    SYZ_TRY(h5_chunks_put(f, column, first, n, data));
  else if (gathers)
    SYZ_TRY(h5_gather_rows(f, column, first, n, data));
  else
    SYZ_TRY(h5_agree(f, write_own(f, column, first, n, data)));
  if (column->chunks || gathers || f->is_mpio) column->sum += syz_checksum_rows(data, n, column->row_bytes, first);
  column->written += n;
cleanup:
  return st;
}

syz_status syz_h5_write(syz_h5 *f, const char *name, syz_h5_type type, int64_t rows, int ndim_row,
                        const int64_t *shape_row, int64_t first, int64_t n, const void *data, const char *units,
                        const char *description)
{
  syz_status st = SYZ_OK;
  SYZ_TRY(syz_h5_dataset(f, name, type, rows, ndim_row, shape_row, units, description));
  SYZ_TRY(syz_h5_write_rows(f, name, first, n, data));
cleanup:
  return st;
}

syz_status syz_h5_write_text(syz_h5 *f, const char *attribute, const char *text)
{
  syz_status st = SYZ_OK;
  if (f->rank == 0) {
    st = put_text(f, f->file, attribute, text);
  }
  f->is_unflushed = true;
  return h5_agree(f, st);
}

/* ----------------------------------------------------------------- publish */

static syz_status flush_rows(syz_h5 *f)
{
  syz_status st = SYZ_OK;
  SYZ_REQUIRE(!syz_fault("h5_publish"), SYZ_ERR_WRITE, "%s: injected failure", f->path);
  if (f->direct) SYZ_TRY(syz_direct_flush(f->direct));
  SYZ_REQUIRE(fsync(f->fd) == 0, SYZ_ERR_WRITE, "%s: cannot flush to disk: %s", f->path, strerror(errno));
cleanup:
  return st;
}

static int by_name(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

/* The checksum of what the file says of itself, once all the rest is in it. */
static syz_status seal_file(syz_h5 *f)
{
  syz_status st = SYZ_OK;
  const char **name = NULL;
  SYZ_ALLOC(name, "names of datasets", f->columns + 1);
  for (int i = 0; i < f->columns; i++) name[i] = f->column[i].name + (f->column[i].name[0] == '/');
  qsort(name, (size_t)f->columns, sizeof *name, by_name);
  SYZ_TRY(h5_seal_sum(f->file, f->path, name, f->columns, &f->seal));
  SYZ_TRY(put_checksum(f, f->file, "its attributes", f->seal));
cleanup:
  syz_free(&name);
  return st;
}

static syz_status add_sums(syz_h5 *f)
{
  syz_status st = SYZ_OK;
  uint64_t *sum = NULL;
  size_t n = (size_t)f->columns;
  SYZ_ALLOC(sum, "checksums", 2 * n + 1);
  for (size_t i = 0; i < n; i++) {
    sum[2 * i] = f->column[i].sum;
    sum[2 * i + 1] = (uint64_t)f->column[i].written;
  }
cleanup:
  st = h5_agree(f, st);
  if (st == SYZ_OK && f->comm && n) syz_allreduce_u64(f->comm, sum, 2 * n, SYZ_SUM);
  for (size_t i = 0; st == SYZ_OK && i < n; i++) {
    f->column[i].sum = sum[2 * i];
    f->column[i].written = (int64_t)sum[2 * i + 1];
  }
  syz_free(&sum);
  return st;
}

/* Rank 0: all checksums into the description in memory, which is then closed. */
static syz_status finish_description(syz_h5 *f)
{
  syz_status st = SYZ_OK;
  char reason[H5_REASON];
  hid_t d = -1;
  for (int i = 0; i < f->columns; i++) {
    h5_column *c = &f->column[i];
    SYZ_REQUIRE(c->written == c->rows, SYZ_ERR_INTERNAL, "%s: dataset %s: %lld of %lld rows were written", f->path,
                c->name, (long long)c->written, (long long)c->rows);
    d = H5Dopen2(f->file, c->name, H5P_DEFAULT);
    SYZ_REQUIRE(d >= 0, SYZ_ERR_WRITE, "%s: dataset %s: %s", f->path, c->name, h5_reason(reason));
    SYZ_TRY(put_checksum(f, d, c->name, c->sum));
    H5Dclose(d);
    d = -1;
  }
  SYZ_TRY(seal_file(f));
  herr_t rc = H5Fclose(f->file);
  f->file = -1;
  SYZ_REQUIRE(rc >= 0, SYZ_ERR_WRITE, "%s: cannot close: %s", f->path, h5_reason(reason));
cleanup:
  if (d >= 0) H5Dclose(d);
  return st;
}

static syz_status close_description(syz_h5 *f)
{
  syz_status st = SYZ_OK;
  SYZ_TRY(finish_description(f));
  SYZ_TRY(h5_image_save(f->image, f->fd, f->path));
  SYZ_TRY(syz_file_publish(f->temporary, f->path));
cleanup:
  return st;
}

/* The checksum of a dataset, or of the root. */
static syz_status put_sum(syz_h5 *f, hid_t object, const h5_column *column)
{
  return put_checksum(f, object, column ? column->name : "its attributes", column ? column->sum : f->seal);
}

/* Collective, agreed: rank 0 learns from its description what the seal of the file is, all ranks write the checksums
 * together. */
static syz_status publish_mpio(syz_h5 *f)
{
  syz_status st = SYZ_OK;
  SYZ_TRY(h5_mpio_open(f)); /* attributes that were set after the last rows */
  SYZ_TRY(add_sums(f));
  SYZ_TRY(h5_agree(f, f->rank == 0 ? finish_description(f) : SYZ_OK));
  if (f->comm) syz_bcast(f->comm, &f->seal, sizeof f->seal, 0);
  SYZ_TRY(h5_mpio_attributes(f, put_sum));
  SYZ_TRY(h5_agree(f, h5_mpio_close(f)));
  SYZ_TRY(h5_agree(f, flush_rows(f)));
  SYZ_TRY(h5_agree(f, f->rank == 0 ? syz_file_publish(f->temporary, f->path) : SYZ_OK));
cleanup:
  return st;
}

/* The same for `direct`. */
static syz_status publish_direct(syz_h5 *f)
{
  syz_status st = SYZ_OK;
  SYZ_TRY(h5_agree(f, flush_rows(f)));
  SYZ_TRY(add_sums(f));
  SYZ_TRY(h5_agree(f, f->rank == 0 ? close_description(f) : SYZ_OK));
cleanup:
  return st;
}

syz_status syz_h5_publish(syz_h5 **file)
{
  syz_status st = SYZ_OK;
  syz_h5 *f = *file;
  st = f->is_mpio ? publish_mpio(f) : publish_direct(f);
  if (st != SYZ_OK) {
    syz_h5_close(file);
    return syz_error_pass(st, __FILE__, __LINE__);
  }
  close(f->fd);
  h5_free_written(file);
  return SYZ_OK;
}
