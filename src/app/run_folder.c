/* SPDX-License-Identifier: BSD-3-Clause */
/** The run folder: made, locked against other runs, and given the resolved input and the log. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "app.h"
#include "syzygy/files.h"

enum { INPUT_LIMIT = 64 << 20, HOLDER = 160 };

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

/* Turns the text of a lock, "17 node3", into "process 17 on node3", in place; without a host (older versions), or of
 * any other text, it gives what is known. */
static const char *holder_text(char holder[HOLDER])
{
  long pid = 0;
  char host[HOLDER / 2] = "";
  const int n = sscanf(holder, "%ld %79[A-Za-z0-9._-]", &pid, host);
  if (n < 1 || pid <= 0) return ".lock does not name it";
  snprintf(holder, HOLDER, n == 2 ? "process %ld on %s" : "process %ld; .lock does not say on which host", pid, host);
  return holder;
}

/* The kernel holds the lock, so it is released however the process ends. */
static syz_status take_folder(syz_app *app)
{
  syz_status st = SYZ_OK;
  const char *folder = syz_input_text(app->input, "output.dir"), *yaml = syz_app_input_yaml(app);
  char path[PATH_MAX], holder[HOLDER] = "", host[HOLDER / 2] = "";
  struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
  SYZ_TRY(syz_make_folder(folder));
  SYZ_REQUIRE(snprintf(path, sizeof path, "%s/.lock", folder) < (int)sizeof path, SYZ_ERR_WRITE,
              "output.dir: name too long");
  int fd, log;
  SYZ_TRY(syz_file_open(path, O_RDWR | O_CREAT, &fd));
  if (fcntl(fd, F_SETLK, &lock) != 0) {
    int reason = errno;
    ssize_t n = read(fd, holder, sizeof holder - 1);
    holder[n > 0 ? n : 0] = '\0';
    close(fd);
    SYZ_REQUIRE(reason != EACCES && reason != EAGAIN, SYZ_ERR_WRITE,
                "%s: the folder is in use by another run (%s); wait for it, end it, or choose another output.dir",
                folder, holder_text(holder));
    SYZ_REQUIRE(false, SYZ_ERR_WRITE, "%s: cannot lock: %s; choose an output.dir on a file system that has locks", path,
                strerror(reason));
  }
  gethostname(host, sizeof host - 1);
  int n = snprintf(holder, sizeof holder, "%ld %s\n", (long)getpid(), host);
  SYZ_REQUIRE(ftruncate(fd, 0) == 0 && write(fd, holder, (size_t)n) == n, SYZ_ERR_WRITE, "%s: cannot write: %s", path,
              strerror(errno));
  SYZ_REQUIRE(snprintf(path, sizeof path, "%s/input.yaml", folder) < (int)sizeof path, SYZ_ERR_WRITE,
              "output.dir: name too long");
  size_t before;
  (void)!syz_file_read(path, INPUT_LIMIT, &app->input_before,
                       &before); /* none, or unreadable: there is nothing to restore */
  SYZ_TRY(syz_file_write(path, yaml, strlen(yaml)));
  SYZ_REQUIRE(snprintf(path, sizeof path, "%s/log.txt", folder) < (int)sizeof path, SYZ_ERR_WRITE,
              "output.dir: name too long");
  SYZ_TRY(syz_file_open(path, O_WRONLY | O_CREAT | O_APPEND, &log));
  if ((st = syz_log_to(log)) != SYZ_OK) st = syz_error_prefix(st, path);
cleanup:
  return st;
}

syz_status syz_app_open_run_folder(syz_app *app)
{
  syz_status st = SYZ_OK;
  char log[PATH_MAX];
  if (app->is_dry_run) return st;
  SYZ_TRY_ALL(app->world, syz_comm_rank(app->world) == 0 ? take_folder(app) : SYZ_OK);
  app->has_run_folder = true;
  app->run.input_yaml = syz_app_input_yaml(app);
  if (snprintf(log, sizeof log, "%s/log.txt", syz_input_text(app->input, "output.dir")) < (int)sizeof log)
    syz_watch_log(log);
cleanup:
  return st;
}
