/* SPDX-License-Identifier: BSD-3-Clause */
/** Small files and folders: read whole, written atomically. */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "syzygy/files.h"

syz_status syz_file_read(const char *path, size_t limit, char **text, size_t *n)
{
  syz_status st = SYZ_OK;
  FILE *f = NULL;
  char *bytes = NULL;
  int fd = -1;
  int64_t size = 0;
  *text = NULL;
  SYZ_TRY(syz_file_open_input(path, &fd, &size));
  SYZ_REQUIRE((uint64_t)size <= limit, SYZ_ERR_DATA, "%s: the file has %lld bytes, at most %zu are read", path,
              (long long)size, limit);
  SYZ_ALLOC(bytes, path, size + 1);
  f = fdopen(fd, "rb");
  SYZ_REQUIRE(f, SYZ_ERR_DATA, "%s: %s", path, strerror(errno));
  fd = -1;
  *n = fread(bytes, 1, (size_t)size, f);
  SYZ_REQUIRE(!ferror(f), SYZ_ERR_DATA, "%s: cannot read: %s", path, strerror(errno));
  bytes[*n] = '\0';
  *text = bytes;
  bytes = NULL;
cleanup:
  if (f) fclose(f);
  if (fd >= 0) close(fd);
  syz_free(&bytes);
  return st;
}

static int sync_path(const char *path, int flags)
{
  int fd = open(path, flags);
  if (fd < 0) return -1;
  int rc = fsync(fd);
  int reason = errno;
  close(fd);
  errno = reason;
  return rc;
}

syz_status syz_file_publish(const char *temporary, const char *final)
{
  syz_status st = SYZ_OK;
  char folder[PATH_MAX];
  SYZ_REQUIRE(!syz_fault("publish"), SYZ_ERR_WRITE, "%s: injected failure", final);
  SYZ_TRY(syz_refuse_link(temporary));
  SYZ_TRY(syz_refuse_link(final));
  SYZ_REQUIRE(sync_path(temporary, O_RDONLY) == 0, SYZ_ERR_WRITE, "%s: cannot flush to disk: %s", temporary,
              strerror(errno));
  SYZ_REQUIRE(rename(temporary, final) == 0, SYZ_ERR_WRITE, "%s: cannot rename %s: %s", final, temporary,
              strerror(errno));
  SYZ_REQUIRE(strlen(final) < sizeof folder, SYZ_ERR_WRITE, "%s: name too long", final);
  strcpy(folder, final);
  (void)sync_path(dirname(folder),
                  O_RDONLY); /* some file systems refuse to flush a folder; the rename is done all the same */
cleanup:
  return st;
}

syz_status syz_file_write(const char *path, const char *text, size_t n)
{
  syz_status st = SYZ_OK;
  char temporary[PATH_MAX];
  FILE *f = NULL;
  int fd;
  bool is_ours = false;
  SYZ_REQUIRE(snprintf(temporary, sizeof temporary, "%s.tmp", path) < (int)sizeof temporary, SYZ_ERR_WRITE,
              "%s: name too long", path);
  SYZ_TRY(syz_refuse_link(path));
  SYZ_TRY(syz_file_open(temporary, O_WRONLY | O_CREAT | O_TRUNC, &fd));
  is_ours = true;
  f = fdopen(fd, "wb");
  if (!f) close(fd);
  SYZ_REQUIRE(f, SYZ_ERR_WRITE, "%s: %s", temporary, strerror(errno));
  SYZ_REQUIRE(fwrite(text, 1, n, f) == n && fflush(f) == 0, SYZ_ERR_WRITE, "%s: cannot write: %s", temporary,
              strerror(errno));
  int rc = fclose(f);
  f = NULL;
  SYZ_REQUIRE(rc == 0, SYZ_ERR_WRITE, "%s: cannot write: %s", temporary, strerror(errno));
  SYZ_TRY(syz_file_publish(temporary, path));
cleanup:
  if (f) fclose(f);
  if (st != SYZ_OK && is_ours) unlink(temporary);
  return st;
}
