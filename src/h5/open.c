/* SPDX-License-Identifier: BSD-3-Clause */
/** Opening a file to read: a process of its own for the library, and the checksum of what the file says of itself. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "request.h"
#include "seal.h"

/* FITS by its first bytes, or packed by gzip, bzip2 or xz under such a name. */
static bool is_fits(const char *path, const char *first)
{
  if (memcmp(first, "SIMPLE  =", 9) == 0) return true;
  bool is_packed =
      memcmp(first, "\x1f\x8b", 2) == 0 || memcmp(first, "BZh", 3) == 0 || memcmp(first, "\3757zXZ", 6) == 0;
  return is_packed && (strstr(path, ".fits") || strstr(path, ".fit."));
}

static syz_status open_here(syz_h5 *f)
{
  syz_status st = SYZ_OK;
  struct stat file;
  char first[9] = "";
  h5_answer a;
  f->fd = open(f->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe must not hold up the run */
  SYZ_REQUIRE(f->fd >= 0 && fstat(f->fd, &file) == 0, SYZ_ERR_DATA, "%s: cannot open: %s", f->path, strerror(errno));
  SYZ_REQUIRE(S_ISREG(file.st_mode), SYZ_ERR_DATA, "%s: not a file but a %s", f->path,
              S_ISDIR(file.st_mode) ? "folder" : "pipe or device");
  f->bytes = (int64_t)file.st_size;
  SYZ_REQUIRE(pread(f->fd, first, sizeof first, 0) >= 1, SYZ_ERR_DATA, "%s: not a file with content", f->path);
  SYZ_REQUIRE(!is_fits(f->path, first), SYZ_ERR_DATA,
              "%s: a FITS file where HDF5 is read: `syzygy ingest` makes shards of survey files (ingest.spectra, "
              "ingest.images, ingest.catalogues), which embed and training read",
              f->path);
  SYZ_TRY(h5_reader_start(f->path, f->fd, &f->line));
  SYZ_TRY(h5_listen(f, &a));
cleanup:
  return st;
}

static syz_status open_alone(const char *path, syz_h5 **out)
{
  syz_status st = SYZ_OK;
  syz_h5 *f = NULL;
  SYZ_ALLOC(f, "hdf5 file", 1);
  f->file = -1;
  f->fd = f->line = -1;
  f->size = 1;
  f->path = h5_copy_text(path);
  SYZ_REQUIRE(f->path, SYZ_ERR_MEMORY, "%s: no memory for its name", path);
  SYZ_TRY(open_here(f));
  *out = f;
  f = NULL;
cleanup:
  syz_h5_close(&f);
  return st;
}

syz_status syz_h5_open(syz_comm *c, const char *path, syz_h5 **out)
{
  *out = NULL;
  syz_status st = open_alone(path, out);
  if (st == SYZ_OK && (!c || syz_comm_rank(c) == 0)) st = h5_seal_check(*out);
  if (c) st = syz_agree(c, st);
  if (st != SYZ_OK) {
    syz_h5_close(out);
    return syz_error_pass(st, __FILE__, __LINE__);
  }
  syz_h5 *f = *out;
  f->comm = c;
  f->rank = c ? syz_comm_rank(c) : 0;
  f->size = c ? syz_comm_size(c) : 1;
  if (c) syz_bcast(c, &f->is_own, sizeof f->is_own, 0);
  if (c) syz_bcast(c, &f->is_sealed, sizeof f->is_sealed, 0);
  return SYZ_OK;
}

const char *syz_h5_path(const syz_h5 *f) { return f->path; }
