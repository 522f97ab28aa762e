/* SPDX-License-Identifier: BSD-3-Clause */
/** The run folder: made, locked against other runs, and given the resolved input and the log. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "app.h"

enum { INPUT_LIMIT = 64 << 20 };

const char *syz_app_created_by(void)
{
  static char text[128];
  snprintf(text, sizeof text, "syzygy %s (%s)", syz_version(), syz_commit());
  return text;
}

const char *syz_app_input_yaml(syz_app *app)
{
  if (!app->input_yaml) app->input_yaml = syz_input_yaml(app->input, 1u << app->command, NULL);
  return app->input_yaml ? app->input_yaml : "";
}

/* The lock is the kernel's, so it goes with the process however that ends. */
static syz_status take_folder(syz_app *app)
{
  syz_status st = SYZ_OK;
  const char *folder = syz_input_text(app->input, "output.dir"), *yaml = syz_app_input_yaml(app);
  char path[PATH_MAX], holder[64] = "";
  struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
  SYZ_TRY(syz_make_folder(folder));
  SYZ_REQUIRE(snprintf(path, sizeof path, "%s/.lock", folder) < (int)sizeof path, SYZ_ERR_WRITE, "output.dir: name too long");
  int fd;
  SYZ_TRY(syz_file_open(path, O_RDWR | O_CREAT, &fd));
  if (fcntl(fd, F_SETLK, &lock) != 0) {
    int reason = errno;
    ssize_t n = read(fd, holder, sizeof holder - 1);
    holder[n > 0 ? n : 0] = '\0';
    close(fd);
    SYZ_REQUIRE(reason != EACCES && reason != EAGAIN, SYZ_ERR_WRITE, "%s: the folder is in use by another run (process %s); wait for it or choose another output.dir",
                folder, *holder ? holder : "unknown");
    SYZ_REQUIRE(false, SYZ_ERR_WRITE, "%s: cannot lock: %s", path, strerror(reason));
  }
  int n = snprintf(holder, sizeof holder, "%ld\n", (long)getpid());
  SYZ_REQUIRE(ftruncate(fd, 0) == 0 && write(fd, holder, (size_t)n) == n, SYZ_ERR_WRITE, "%s: cannot write: %s", path, strerror(errno));
  SYZ_REQUIRE(snprintf(path, sizeof path, "%s/input.yaml", folder) < (int)sizeof path, SYZ_ERR_WRITE, "output.dir: name too long");
  size_t before;
  (void)!syz_file_read(path, INPUT_LIMIT, &app->input_before, &before); /* none, or unreadable: there is nothing to put back */
  SYZ_TRY(syz_file_write(path, yaml, strlen(yaml)));
  SYZ_REQUIRE(snprintf(path, sizeof path, "%s/log.txt", folder) < (int)sizeof path, SYZ_ERR_WRITE, "output.dir: name too long");
  SYZ_TRY(syz_log_file(path));
cleanup:
  return st;
}

syz_status syz_app_open_run_folder(syz_app *app)
{
  syz_status st = SYZ_OK;
  if (app->is_dry_run) return st;
  SYZ_TRY_ALL(app->world, syz_comm_rank(app->world) == 0 ? take_folder(app) : SYZ_OK);
  app->has_run_folder = true;
cleanup:
  return st;
}
