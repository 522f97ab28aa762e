/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The line to the process that reads a file (serve.c): questions, answers, and what it means when none comes. The
 * answers are those of a process that may have been overwritten, so lengths are checked against what was asked for.
 */
#include "request.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

syz_status h5_lose_reader(syz_h5 *f, syz_status status, const char *why)
{
  if (f->line >= 0) close(f->line);
  f->line = -1;
  f->lost = status;
  snprintf(f->lost_why, sizeof f->lost_why, "%s", why);
  return syz_error_set(status, __FILE__, __LINE__, "%s: %s", f->path, why);
}

/* The reader's own words, as long as they are words. */
static syz_status refuse(syz_h5 *f, const h5_answer *a)
{
  char text[SYZ_ERROR_TEXT - 256];
  const size_t n = a->bytes > 0 && a->bytes < (int64_t)sizeof text ? (size_t)a->bytes : 0;
  const bool is_known = a->status == SYZ_ERR_DATA || a->status == SYZ_ERR_MEMORY || a->status == SYZ_ERR_INTERNAL;
  if (a->bytes < 0 || (size_t)a->bytes != n || !h5_line_receive(f->line, text, n))
    return h5_lose_reader(f, SYZ_ERR_DATA, "damaged: the process that reads it ended in the middle of a message");
  text[n] = '\0';
  for (size_t i = 0; i < n; i++)
    if ((unsigned char)text[i] < ' ' || text[i] == 127) text[i] = '?';
  return syz_error_set(is_known ? (syz_status)a->status : SYZ_ERR_DATA, __FILE__, __LINE__, "%s%s%s",
                       strstr(text, f->path) ? "" : f->path, strstr(text, f->path) ? "" : ": ",
                       n ? text : "no memory for a process that reads it");
}

syz_status h5_listen(syz_h5 *f, h5_answer *a)
{
  char why[160];
  if (!h5_line_receive(f->line, a, sizeof *a))
    return h5_lose_reader(f, SYZ_ERR_MEMORY,
                          "the process that reads it was ended by the system: out of memory, or killed by hand");
  if (a->status == H5_STUCK) return h5_lose_reader(f, SYZ_ERR_DATA, "damaged: the HDF5 library finds no end in it");
  if (a->status == H5_CRASHED || a->status == H5_CRASHED_TIGHT) {
    const bool is_tight = a->status == H5_CRASHED_TIGHT;
    snprintf(
        why, sizeof why,
        is_tight
            ? "the HDF5 library crashes on it (signal %.0f): damaged, or out of memory, which ulimit -v limits here"
            : "damaged: the HDF5 library crashes on it (signal %.0f)",
        a->number);
    return h5_lose_reader(f, is_tight ? SYZ_ERR_MEMORY : SYZ_ERR_DATA, why);
  }
  return a->status == SYZ_OK ? SYZ_OK : refuse(f, a);
}

syz_status h5_request(syz_h5 *f, h5_ask *question, const char *name, h5_answer *a)
{
  syz_status st = SYZ_OK;
  SYZ_REQUIRE(!f->is_writing, SYZ_ERR_INTERNAL, "%s: is being written, not read", f->path);
  if (f->line < 0) return syz_error_set(f->lost, __FILE__, __LINE__, "%s: %s", f->path, f->lost_why);
  SYZ_REQUIRE(strlen(name) < sizeof question->name, SYZ_ERR_DATA, "%s: %.80s...: a name of more than %d bytes", f->path,
              name, H5_NAME - 1);
  memcpy(question->name, name, strlen(name) + 1);
  (void)h5_line_send(f->line, question, sizeof *question); /* if the reader is gone, its last word is still there */
  SYZ_TRY(h5_listen(f, a));
cleanup:
  return st;
}

syz_status h5_take_text(syz_h5 *f, const h5_answer *a, int64_t limit, char **text)
{
  syz_status st = SYZ_OK;
  char *value = NULL;
  if (a->bytes < 0 || a->bytes > limit)
    return h5_lose_reader(f, SYZ_ERR_DATA, "damaged: the process that reads it sends a text that cannot be");
  value = syz_alloc("text of a file", (size_t)a->bytes + 1, 1);
  if (!value) return h5_lose_reader(f, SYZ_ERR_MEMORY, "no memory for a text in it");
  if (!h5_line_receive(f->line, value, (size_t)a->bytes)) {
    st = h5_lose_reader(f, SYZ_ERR_DATA, "damaged: the process that reads it ended in the middle of a text");
    syz_free(&value);
  }
  *text = value;
  return st;
}
