/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Places that syzygy writes to: files and folders of its own, never reached through a symbolic link.
 *
 * A run folder may be a link, or lie behind one: the user named it. What is below it is syzygy's own, and a link there
 * would make it write, replace or remove something elsewhere, such as another run's checkpoints. So the last name of a
 * file is opened with O_NOFOLLOW, folders below the run folder must be true folders, and a folder is emptied by
 * descriptor, so that nobody can put a link into its path meanwhile. Removing a name (unlink, rename over it) never
 * follows a link by itself.
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
              "remove through links; remove the link, or give the true folder",
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
  /* O_NONBLOCK: a FIFO under that name fails, or is seen below, where it would wait for its other end. */
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
