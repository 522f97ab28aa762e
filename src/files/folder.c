/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Folders: created with their parents; those of syzygy's own below them are never reached through a link (see place.c).
 * A folder is emptied by descriptor, so that a link put into its path meanwhile has no effect.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "syzygy/files.h"

syz_status syz_make_folder(const char *path)
{
  syz_status st = SYZ_OK;
  char part[PATH_MAX];
  size_t n = strlen(path);
  SYZ_REQUIRE(n > 0 && n < sizeof part, SYZ_ERR_WRITE, "\"%s\": not a usable folder name", path);
  for (size_t i = 1; i <= n; i++) {
    if (path[i] != '/' && path[i] != '\0') continue;
    memcpy(part, path, i);
    part[i] = '\0';
    if (mkdir(part, 0777) == 0) continue;
    int reason = errno;
    struct stat s;
    SYZ_REQUIRE(stat(part, &s) == 0 && S_ISDIR(s.st_mode), SYZ_ERR_WRITE, "%s: cannot make the folder: %s", part,
                strerror(reason == EEXIST ? ENOTDIR : reason));
  }
cleanup:
  return st;
}

syz_status syz_make_own_folder(const char *base, const char *below)
{
  syz_status st = SYZ_OK;
  char path[PATH_MAX];
  struct stat about;
  SYZ_TRY(syz_make_folder(base));
  SYZ_REQUIRE(strlen(base) + strlen(below) + 2 < sizeof path, SYZ_ERR_WRITE, "%s/%s: name too long", base, below);
  for (const char *end = below; *end;) {
    end += strcspn(end + 1, "/") + 1;
    snprintf(path, sizeof path, "%s/%.*s", base, (int)(end - below), below);
    if (mkdir(path, 0777) == 0) continue;
    const int reason = errno;
    SYZ_TRY(syz_refuse_link(path));
    SYZ_REQUIRE(lstat(path, &about) == 0 && S_ISDIR(about.st_mode), SYZ_ERR_WRITE, "%s: cannot make the folder: %s",
                path, strerror(reason == EEXIST ? ENOTDIR : reason));
  }
cleanup:
  return st;
}

/* Remove every file of the open folder `fd`, `first` before the others. */
static syz_status empty_folder(const char *path, int fd, DIR *d, const char *first)
{
  syz_status st = SYZ_OK;
  SYZ_REQUIRE(unlinkat(fd, first, 0) == 0 || errno == ENOENT, SYZ_ERR_WRITE, "%s/%s: cannot remove: %s", path, first,
              strerror(errno));
  for (const struct dirent *e = readdir(d); e; e = readdir(d)) {
    if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
    SYZ_REQUIRE(unlinkat(fd, e->d_name, 0) == 0 || errno == ENOENT, SYZ_ERR_WRITE, "%s/%s: cannot remove: %s", path,
                e->d_name, strerror(errno));
  }
cleanup:
  return st;
}

syz_status syz_remove_folder(const char *path, const char *first)
{
  syz_status st = SYZ_OK;
  DIR *d = NULL;
  SYZ_TRY(syz_refuse_link(path));
  int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0 && errno == ENOENT) goto cleanup;
  SYZ_REQUIRE(fd >= 0, SYZ_ERR_WRITE, "%s: %s", path, strerror(errno));
  d = fdopendir(fd); /* owns fd from here on */
  if (!d) {
    const int reason = errno;
    close(fd);
    SYZ_REQUIRE(false, SYZ_ERR_WRITE, "%s: %s", path, strerror(reason));
  }
  SYZ_TRY(empty_folder(path, fd, d, first));
  SYZ_REQUIRE(rmdir(path) == 0, SYZ_ERR_WRITE, "%s: cannot remove: %s", path, strerror(errno));
cleanup:
  if (d) closedir(d);
  return st;
}
