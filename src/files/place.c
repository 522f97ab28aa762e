/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Files and folders that syzygy writes: below the run folder they are never reached through a symbolic link.
 *
 * The user names the run folder, so its path may contain links. Everything below it is syzygy's own, and a link there
 * would make syzygy write, replace or remove something elsewhere, such as another run's checkpoints. So files are
 * opened with O_NOFOLLOW, folders below the run folder must be real folders, and a folder is emptied by descriptor, so
 * that a link put into its path meanwhile has no effect. Removing a name (unlink, rename over it) never follows a link.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "syzygy/files.h"

syz_status syz_refuse_link(const char *path)
{
  syz_status st = SYZ_OK;
  char target[256];
  const ssize_t n = readlink(path, target, sizeof target - 1);
  target[n > 0 ? n : 0] = '\0';
  SYZ_REQUIRE(n < 0, SYZ_ERR_WRITE,
              "%s is a symbolic link (to %s): below the folder that it is given syzygy does not write, replace or "
              "remove through links; remove the link, or give the real folder",
              path, target);
cleanup:
  return st;
}

syz_status syz_file_open(const char *path, int flags, int *out)
{
  syz_status st = SYZ_OK;
  struct stat about;
  *out = -1;
  SYZ_TRY(syz_refuse_link(path));
  /* O_NONBLOCK: opening a FIFO of this name fails, or is refused below, instead of waiting for its other end. */
  const int fd = open(path, flags | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0666);
  SYZ_REQUIRE(fd >= 0, SYZ_ERR_WRITE, "%s: cannot %s: %s", path, flags & O_CREAT ? "create" : "open for writing",
              errno == ENXIO ? "not a regular file" : strerror(errno));
  *out = fd;
  SYZ_REQUIRE(fstat(fd, &about) == 0 && S_ISREG(about.st_mode), SYZ_ERR_WRITE,
              "%s: cannot open for writing: not a regular file", path);
  (void)fcntl(fd, F_SETFL, flags & O_APPEND);
cleanup:
  if (st != SYZ_OK && *out >= 0) {
    close(*out);
    *out = -1;
  }
  return st;
}
