/* SPDX-License-Identifier: BSD-3-Clause */
/** Opens files from outside: regular files only, without blocking. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "syzygy/files.h"

static const char *type_text(mode_t mode)
{
  if (S_ISDIR(mode)) return "a folder";
  if (S_ISFIFO(mode)) return "a FIFO";
  if (S_ISSOCK(mode)) return "a socket";
  return "a device";
}

syz_status syz_file_open_input(const char *path, int *fd, int64_t *bytes)
{
  syz_status st = SYZ_OK;
  struct stat info;
  *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  SYZ_REQUIRE(*fd >= 0, SYZ_ERR_DATA, "%s: cannot be opened: %s", path,
              errno == ENXIO ? "not a file but a socket or a device" : strerror(errno));
  SYZ_REQUIRE(fstat(*fd, &info) == 0, SYZ_ERR_DATA, "%s: %s", path, strerror(errno));
  SYZ_REQUIRE(S_ISREG(info.st_mode), SYZ_ERR_DATA, "%s: not a file but %s", path, type_text(info.st_mode));
  *bytes = (int64_t)info.st_size;
cleanup:
  if (st != SYZ_OK && *fd >= 0) {
    close(*fd);
    *fd = -1;
  }
  return st;
}
