/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * libhdf5 1.10.8 crashes on some damaged files (SIGSEGV in about one of 3000 copies with one to four bytes of the description changed,
 * test_fuzz). So a file that comes from outside is first gone through in a child process: every object, attribute and chunk index is
 * opened, the first and the last row of every dataset read. When the child dies, the file is refused; otherwise it is opened as usual, and errors
 * are reported from there. The child calls nothing of MPI and leaves by _exit.
 */
#include "h5_file.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LIMIT_S = 20, ROW_LIMIT = 64 << 20, CHUNK_LIMIT = 64, TEXT_LIMIT = 1 << 20 };

static herr_t read_attribute(hid_t object, const char *name, const H5A_info_t *info, void *context)
{
  hid_t a = H5Aopen(object, name, H5P_DEFAULT), type = a >= 0 ? H5Aget_type(a) : -1, space = a >= 0 ? H5Aget_space(a) : -1;
  (void)info;
  (void)context;
  if (type >= 0 && space >= 0 && H5Sget_simple_extent_npoints(space) == 1 && H5Tget_size(type) < TEXT_LIMIT) {
    unsigned char *value = calloc(1, H5Tget_size(type) + 16);
    if (value && H5Aread(a, type, value) >= 0 && H5Tis_variable_str(type) > 0) {
      char *text;
      memcpy(&text, value, sizeof text);
      if (text) (void)!strlen(text);
    }
    free(value);
  }
  if (space >= 0) H5Sclose(space);
  if (type >= 0) H5Tclose(type);
  if (a >= 0) H5Aclose(a);
  return 0;
}

static syz_status read_dataset(void *context, const char *name)
{
  syz_h5 *f = context;
  int ndim, bits;
  int64_t shape[8];
  char kind;
  hid_t d = H5Dopen2(f->file, name, H5P_DEFAULT);
  if (d < 0) return SYZ_OK;
  H5Aiterate2(d, H5_INDEX_NAME, H5_ITER_INC, NULL, read_attribute, NULL);
  hid_t space = H5Dget_space(d), create = H5Dget_create_plist(d);
  hsize_t chunks = 0, offset[H5S_MAX_RANK], bytes;
  if (space >= 0 && create >= 0 && H5Pget_layout(create) == H5D_CHUNKED && H5Dget_num_chunks(d, space, &chunks) >= 0)
    /* The library walks through the index up to the chunk asked for: the last one asks for all of it, and each one would cost its square. */
    for (hsize_t i = 0; i < chunks; i = i < CHUNK_LIMIT && i + 1 < chunks - 1 ? i + 1 : i + 1 < chunks ? chunks - 1 : chunks) {
      unsigned filters;
      haddr_t at;
      if (H5Dget_chunk_info(d, space, i, offset, &filters, &at, &bytes) < 0) break;
    }
  if (create >= 0) H5Pclose(create);
  if (space >= 0) H5Sclose(space);
  H5Dclose(d);
  if (syz_h5_shape(f, name, &ndim, shape) != SYZ_OK || syz_h5_class(f, name, &kind, &bits) != SYZ_OK) return SYZ_OK;
  double row = bits / 8.0;
  int64_t rows = ndim ? shape[0] : 1;
  for (int i = 1; i < ndim; i++) row *= (double)shape[i];
  if (row > ROW_LIMIT || rows == 0) return SYZ_OK;
  void *data = malloc((size_t)row * 8 + 64); /* room for any type it is converted to */
  for (int k = 0; data && k < 2; k++) {
    int64_t at = k ? rows - 1 : 0;
    if (kind == 's') {
      char text[64];
      if (row <= bits / 8.0) (void)!syz_h5_read_strings(f, name, at, 1, sizeof text, text);
    } else if (kind != '?') {
      (void)!syz_h5_read(f, name, kind == 'f' ? SYZ_H5_F64 : SYZ_H5_I64, at, 1, data);
    }
  }
  free(data);
  return SYZ_OK;
}

static void go_through(const char *path)
{
  syz_h5 *f = NULL;
  if (h5_open_known(path, &f) != SYZ_OK) return;
  H5Aiterate2(f->file, H5_INDEX_NAME, H5_ITER_INC, NULL, read_attribute, NULL);
  (void)!syz_h5_visit(f, "", read_dataset, f);
  syz_h5_close(&f);
}

syz_status h5_guard(const char *path)
{
  syz_status st = SYZ_OK;
  pid_t child = fork();
  if (child == 0) {
    const int deadly[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGALRM, SIGTERM, SIGINT}; /* MPI's handlers would print a stack */
    const struct rlimit none = {0, 0};
    sigset_t all;
    for (size_t i = 0; i < sizeof deadly / sizeof *deadly; i++) signal(deadly[i], SIG_DFL);
    sigemptyset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    setrlimit(RLIMIT_CORE, &none);
    alarm(LIMIT_S);
    go_through(path);
    _exit(0);
  }
  if (child < 0) return SYZ_OK; /* no process to spare: the file is opened unguarded */
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
  SYZ_REQUIRE(!WIFSIGNALED(status) || WTERMSIG(status) != SIGALRM, SYZ_ERR_DATA, "%s: damaged: going through it took more than %d s", path, LIMIT_S);
  SYZ_REQUIRE(!WIFSIGNALED(status), SYZ_ERR_DATA, "%s: damaged: the HDF5 library crashes on it (signal %d)", path, WTERMSIG(status));
cleanup:
  return st;
}
