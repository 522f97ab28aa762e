/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * A driver of HDF5's virtual file layer that reads one descriptor, opened before the library sees the name. External
 * links and virtual datasets make the library open further files through the same driver: it refuses them, or lets
 * those below a folder pass that the user has named. What was refused is kept for the message, since the library itself
 * takes a missing source of a virtual dataset for one that holds fill values. (External storage goes past the drivers:
 * read.c asks h5_only_allows.)
 */
#define _XOPEN_SOURCE 700 /* realpath */
#include "only.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* What HDF5 hands back to us: its own part first. */
typedef struct driven {
  H5FD_t base;
  h5_only *only;
  int file;
  haddr_t end, allocated;
} driven;

bool h5_only_allows(h5_only *only, const char *name, char real[PATH_MAX])
{
  char path[PATH_MAX];
  const size_t root = strlen(only->root);
  const int folder = name[0] == '/' ? 0 : (int)(strrchr(only->path, '/') + 1 - only->path);
  const bool fits = snprintf(path, sizeof path, "%.*s%s", folder, only->path, name) < (int)sizeof path;
  if (fits && strcmp(path, only->path) == 0) {
    memcpy(real, path, strlen(path) + 1);
    return true;
  }
  const bool is_below = root && fits && realpath(path, real) && strncmp(real, only->root, root) == 0 &&
                        (real[root] == '/' || only->root[root - 1] == '/');
  if (!is_below)
    snprintf(only->refused, sizeof only->refused, "%.*s, %s", PATH_MAX, name,
             root ? "which is no file below io.link_root" : "and io.link_root allows none");
  return is_below;
}

static H5FD_t *driver_open(const char *name, unsigned flags, hid_t access, haddr_t most)
{
  h5_only *const *only = H5Pget_driver_info(access);
  driven *d = NULL;
  struct stat file;
  char real[PATH_MAX];
  (void)most;
  if (!only || (flags & (H5F_ACC_RDWR | H5F_ACC_TRUNC | H5F_ACC_CREAT)) || !h5_only_allows(*only, name, real))
    return NULL;
  const bool is_itself = strcmp(real, (*only)->path) == 0;
  const int fd = is_itself ? (*only)->file : open(real, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd >= 0 && fstat(fd, &file) == 0 && S_ISREG(file.st_mode)) d = calloc(1, sizeof *d);
  if (!d) {
    snprintf((*only)->refused, sizeof(*only)->refused, "%.*s, which cannot be opened", PATH_MAX, name);
    if (fd >= 0 && !is_itself) close(fd);
    return NULL;
  }
  (*only)->refused[0] = '\0'; /* the library tries several folders for one link */
  d->only = *only;
  d->file = fd;
  d->end = (haddr_t)file.st_size;
  return &d->base;
}

/* With what the library opens further files; it frees it. */
static void *driver_access(H5FD_t *file)
{
  h5_only **only = malloc(sizeof *only);
  if (only) *only = ((driven *)file)->only;
  return only;
}

static herr_t driver_close(H5FD_t *file)
{
  driven *d = (driven *)file;
  if (d->file != d->only->file) close(d->file);
  free(d);
  return 0;
}

static herr_t driver_query(const H5FD_t *file, unsigned long *flags)
{
  (void)file;
  if (flags) *flags = H5FD_FEAT_ACCUMULATE_METADATA | H5FD_FEAT_DATA_SIEVE;
  return 0;
}

static haddr_t driver_get_eoa(const H5FD_t *file, H5FD_mem_t type)
{
  (void)type;
  return ((const driven *)file)->allocated;
}

static herr_t driver_set_eoa(H5FD_t *file, H5FD_mem_t type, haddr_t address)
{
  (void)type;
  ((driven *)file)->allocated = address;
  return 0;
}

static haddr_t driver_get_eof(const H5FD_t *file, H5FD_mem_t type)
{
  (void)type;
  return ((const driven *)file)->end;
}

static herr_t driver_read(H5FD_t *file, H5FD_mem_t type, hid_t transfer, haddr_t address, size_t bytes, void *buffer)
{
  const driven *d = (const driven *)file;
  char *to = buffer;
  (void)type;
  (void)transfer;
  if (address > (haddr_t)1 << 62 || bytes > (size_t)1 << 40) return -1;
  d->only->seen((int64_t)address, bytes);
  while (bytes) {
    const ssize_t got = pread(d->file, to, bytes, (off_t)address);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return -1;
    if (got == 0) { /* after the end: zeros, like HDF5's own driver */
      memset(to, 0, bytes);
      break;
    }
    to += got;
    address += (haddr_t)got;
    bytes -= (size_t)got;
  }
  return 0;
}

static herr_t driver_write(H5FD_t *file, H5FD_mem_t type, hid_t transfer, haddr_t address, size_t bytes,
                           const void *buffer)
{
  (void)file;
  (void)type;
  (void)transfer;
  (void)address;
  (void)bytes;
  (void)buffer;
  return -1;
}

static const H5FD_class_t driver = {
    .name = "syzygy_only",
    .maxaddr = ((haddr_t)1 << 62) - 1,
    .fc_degree = H5F_CLOSE_WEAK,
    .fapl_size = sizeof(h5_only *),
    .fapl_get = driver_access,
    .open = driver_open,
    .close = driver_close,
    .query = driver_query,
    .get_eoa = driver_get_eoa,
    .set_eoa = driver_set_eoa,
    .get_eof = driver_get_eof,
    .read = driver_read,
    .write = driver_write,
    .fl_map = H5FD_FLMAP_DICHOTOMY,
};

syz_status h5_only_attach(h5_only *only, hid_t access)
{
  syz_status st = SYZ_OK;
  const hid_t id = H5FDregister(&driver);
  only->refused[0] = '\0';
  SYZ_REQUIRE(id >= 0 && H5Pset_driver(access, id, &only) >= 0, SYZ_ERR_INTERNAL, "HDF5 does not take our driver");
cleanup:
  if (id >= 0) H5FDunregister(id); /* the access list holds it */
  return st;
}
