/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * How files are laid out: the settings of the run, and the file system's own say at the moment a file comes into being.
 *
 * Also a file whose rows are written with pwrite (write.c) needs one thing of MPI-IO: parallel file systems (Lustre)
 * fix a file's stripes when it is created, and MPI_File_open with the reserved hints striping_factor and striping_unit
 * (MPI 4.0, section 14.2.8) is the portable way to ask. An MPI library without a driver for the file system, and a file
 * system without stripes, pass over them in silence, as the standard wants.
 */
#define _XOPEN_SOURCE 700 /* posix_fallocate */
#include <errno.h>
#include <fcntl.h>
#include <mpi.h>
#include <stdio.h>
#include <string.h>

#include "file.h"
#include "syzygy/h5.h"

static syz_h5_settings settings = {.alignment = 4096, .is_direct = true};

void syz_h5_configure(const syz_h5_settings *s) { settings = *s; }

const syz_h5_settings *h5_settings(void) { return &settings; }

bool syz_direct_is_wanted(void) { return settings.is_direct; }

syz_direct *h5_lane(syz_h5 *f)
{
  if (!f->has_tried_direct && settings.is_direct)
    f->direct = syz_direct_open(f->is_writing ? f->temporary : f->path, f->is_writing);
  f->has_tried_direct = true;
  return f->direct;
}

static void number_hint(MPI_Info info, const char *name, int64_t value)
{
  char text[32];
  if (value <= 0) return;
  snprintf(text, sizeof text, "%lld", (long long)value);
  MPI_Info_set(info, name, text);
}

/* "name=value,name=value"; MPI libraries pass over names that they do not know. */
static void text_hints(MPI_Info info, const char *text)
{
  char one[SYZ_HINT_TEXT];
  for (const char *at = text; at && *at;) {
    const size_t n = strcspn(at, ",");
    snprintf(one, sizeof one, "%.*s", (int)n, at);
    char *value = strchr(one, '=');
    if (value) {
      *value++ = '\0';
      MPI_Info_set(info, one, value);
    }
    at += n + (at[n] == ',');
  }
}

void h5_hints_make(MPI_Info *info)
{
  *info = MPI_INFO_NULL;
  if (settings.stripe_count <= 0 && settings.stripe_size <= 0 && settings.aggregators <= 0 &&
      !(settings.hints && *settings.hints))
    return;
  MPI_Info_create(info);
  number_hint(*info, "striping_factor", settings.stripe_count);
  number_hint(*info, "striping_unit", settings.stripe_size);
  number_hint(*info, "cb_nodes", settings.aggregators);
  text_hints(*info, settings.hints);
}

void h5_hints_free(MPI_Info *info)
{
  if (*info != MPI_INFO_NULL) MPI_Info_free(info);
}

bool syz_h5_hints_are_usable(const char *text)
{
  while (*text) {
    const size_t n = strcspn(text, ","), name = strcspn(text, "=,");
    if (name == 0 || name >= MPI_MAX_INFO_KEY || name >= n || n - name < 2 || n >= SYZ_HINT_TEXT ||
        text[n - 1] == '=' || (text[n] == ',' && !text[n + 1]))
      return false;
    text += n + (text[n] == ',');
  }
  return true;
}

syz_status h5_create_striped(const char *path)
{
  syz_status st = SYZ_OK;
  MPI_Info info;
  MPI_File file = MPI_FILE_NULL;
  char reason[MPI_MAX_ERROR_STRING] = "";
  int n = 0, is_started = 0;
  if (settings.stripe_count <= 0 && settings.stripe_size <= 0) return st;
  MPI_Initialized(&is_started);
  if (!is_started) return st; /* a program that only uses this room */
  h5_hints_make(&info);
  MPI_File_delete(path, MPI_INFO_NULL); /* stripes are fixed when the file is made: it must not be there */
  const int rc = MPI_File_open(MPI_COMM_SELF, path, MPI_MODE_CREATE | MPI_MODE_EXCL | MPI_MODE_RDWR, info,
                               &file); /* files return errors */
  if (rc == MPI_SUCCESS)
    MPI_File_close(&file);
  else
    MPI_Error_string(rc, reason, &n);
  h5_hints_free(&info);
  SYZ_REQUIRE(rc == MPI_SUCCESS, SYZ_ERR_WRITE, "%s: cannot create with %lld stripes of %lld bytes: %s", path,
              (long long)settings.stripe_count, (long long)settings.stripe_size, reason);
cleanup:
  return st;
}

syz_status syz_flat_create(const char *path)
{
  return settings.driver == SYZ_H5_MPIO ? h5_create_striped(path) : SYZ_OK;
}

syz_status syz_flat_reserve(int fd, const char *path, int64_t bytes)
{
  return settings.driver == SYZ_H5_MPIO ? h5_reserve(fd, path, 0, bytes) : SYZ_OK;
}

syz_status h5_reserve(int fd, const char *path, int64_t from, int64_t to)
{
  syz_status st = SYZ_OK;
  int rc = syz_fault("h5_reserve") ? ENOSPC : EINTR;
  while (rc == EINTR) rc = to > from ? posix_fallocate(fd, (off_t)from, (off_t)(to - from)) : 0;
  SYZ_REQUIRE(rc == 0, SYZ_ERR_WRITE, "%s: cannot reserve its %.1f MiB: %s", path, (double)to / 1048576.0,
              strerror(rc));
cleanup:
  return st;
}
