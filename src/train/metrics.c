/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * metrics.jsonl and validation.jsonl: one JSON object per line, labelled by the number of updates of the weights. Each
 * line is one write to a file opened for appending. A continued run first truncates the file to the step of its
 * checkpoint, so each step is there once.
 */
#include "metrics.h"
#include "syzygy/files.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char opening[] = "{\"step\": ";

/* Bytes of the lines to keep: steps below `end`, in order from the beginning of the file. */
static int64_t whole_lines(FILE *f, int64_t end)
{
  char line[sizeof((metrics_line *)0)->text];
  int64_t keep = 0, last = -1;
  while (fgets(line, sizeof line, f)) {
    const size_t n = strlen(line);
    if (n < 2 || line[n - 1] != '\n' || line[n - 2] != '}' || strncmp(line, opening, sizeof opening - 1) != 0) break;
    const int64_t step = strtoll(line + sizeof opening - 1, NULL, 10);
    if (step >= end || step <= last) break;
    last = step;
    keep += (int64_t)n;
  }
  return keep;
}

syz_status metrics_open(const char *folder, const char *name, int64_t end, metrics *out)
{
  syz_status st = SYZ_OK;
  int64_t keep = 0;
  out->fd = -1;
  SYZ_REQUIRE((size_t)snprintf(out->path, sizeof out->path, "%s/%s", folder, name) < sizeof out->path, SYZ_ERR_WRITE,
              "%s: the name is too long", folder);
  FILE *old = fopen(out->path, "r");
  if (old) {
    keep = whole_lines(old, end);
    fclose(old);
  }
  SYZ_TRY(syz_file_open(out->path, O_WRONLY | O_CREAT | O_APPEND, &out->fd));
  SYZ_REQUIRE(ftruncate(out->fd, (off_t)keep) == 0, SYZ_ERR_WRITE, "%s: %s", out->path, strerror(errno));
cleanup:
  return st;
}

void metrics_close(metrics *m)
{
  if (m->fd >= 0) close(m->fd);
  m->fd = -1;
}

void metrics_begin(metrics_line *l, int64_t step)
{
  l->n = (size_t)snprintf(l->text, sizeof l->text, "%s%" PRId64, opening, step);
}

void metrics_add(metrics_line *l, const char *name, double value)
{
  const size_t room = sizeof l->text - l->n;
  const int n = isfinite(value) ? snprintf(l->text + l->n, room, ", \"%s\": %.17g", name, value)
                                : snprintf(l->text + l->n, room, ", \"%s\": null", name);
  SYZ_ASSERT(n > 0 && (size_t)n + 3 < room);
  l->n += (size_t)n;
}

syz_status metrics_write(metrics *m, metrics_line *l)
{
  syz_status st = SYZ_OK;
  memcpy(l->text + l->n, "}\n", 3);
  l->n += 2;
  for (size_t at = 0; at < l->n;) {
    const ssize_t n = write(m->fd, l->text + at, l->n - at);
    if (n < 0 && errno == EINTR) continue;
    SYZ_REQUIRE(n > 0, SYZ_ERR_WRITE, "%s: %s", m->path, strerror(errno));
    at += (size_t)n;
  }
cleanup:
  return st;
}

syz_status metrics_sync(metrics *m)
{
  syz_status st = SYZ_OK;
  SYZ_REQUIRE(m->fd < 0 || fsync(m->fd) == 0, SYZ_ERR_WRITE, "%s: %s", m->path, strerror(errno));
cleanup:
  return st;
}
