/* SPDX-License-Identifier: BSD-3-Clause */
/** Errors: one message per thread, to which each function that passes it on adds its place in the code; and the hook
 * by which a rank ends the whole job. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "syzygy/base.h"

static _Thread_local char message[SYZ_ERROR_TEXT];
static void (*abort_hook)(int code);

const char *syz_status_text(syz_status status)
{
  switch (status) {
#define SYZ_STATUS_CASE(name, value, text)                                                                             \
  case name:                                                                                                           \
    return text;
    SYZ_STATUS_LIST(SYZ_STATUS_CASE)
#undef SYZ_STATUS_CASE
  }
  return "unknown status";
}

static const char *file_name(const char *path)
{
  const char *src = strstr(path, "src/");
  return src ? src : path;
}

syz_status syz_error_set(syz_status code, const char *file, int line, const char *format, ...)
{
  char text[SYZ_ERROR_TEXT];
  va_list ap;
  va_start(ap, format);
  vsnprintf(text, sizeof text - 128, format, ap); /* arguments may point into the old message: format first */
  va_end(ap);
  snprintf(message, sizeof message, "%.*s [%s:%d", SYZ_ERROR_TEXT - 128, text, file_name(file), line);
  size_t n = strlen(message);
  snprintf(message + n, sizeof message - n, "]");
  return code;
}

syz_status syz_error_pass(syz_status code, const char *file, int line)
{
  size_t n = strlen(message);
  if (n > 0 && message[n - 1] == ']' && n + 96 < sizeof message)
    snprintf(message + n - 1, sizeof message - n + 1, " < %s:%d]", file_name(file), line);
  return code;
}

char *syz_error_text(void) { return message; }
void syz_error_keep(char text[SYZ_ERROR_TEXT]) { memcpy(text, message, sizeof message); }
void syz_error_restore(const char text[SYZ_ERROR_TEXT]) { memcpy(message, text, sizeof message); }

syz_status syz_error_prefix(syz_status code, const char *prefix)
{
  char before[SYZ_ERROR_TEXT];
  int at = 0, rank;
  syz_error_keep(before);
  if (sscanf(before, "rank %d: %n", &rank, &at) != 1) at = 0;
  snprintf(message, sizeof message, "%.*s%.512s: %.*s", at, before, prefix, SYZ_ERROR_TEXT - 544, before + at);
  return code;
}

void syz_abort_hook(void (*hook)(int code)) { abort_hook = hook; }

_Noreturn void syz_abort(syz_status code, const char *file, int line, const char *format, ...)
{
  va_list ap;
  fprintf(stderr, "rank %d: %s: ", syz_log_get_rank(), syz_status_text(code));
  va_start(ap, format);
  vfprintf(stderr, format, ap);
  va_end(ap);
  fprintf(stderr, " [%s:%d]\n", file_name(file), line);
  fflush(stderr);
  if (abort_hook) abort_hook((int)code);
  _exit((int)code);
}

#ifdef SYZ_FAULTS
bool syz_fault(const char *point)
{
  static int visits; /* visits of the one point named in the environment */
  const char *wish = getenv("SYZ_FAULT");
  if (!wish) return false;
  size_t n = strlen(point);
  if (strncmp(wish, point, n) != 0 || wish[n] != ':') return false;
  char *end;
  long rank = strtol(wish + n + 1, &end, 10);
  if (*end != ':' || rank != syz_log_get_rank()) return false;
  long visit = strtol(end + 1, &end, 10);
  if (++visits != visit) return false;
  if (strcmp(end, ":kill") == 0) raise(SIGKILL);
  if (strcmp(end, ":stop") == 0) raise(SIGSTOP);
  for (volatile double x = 1; strcmp(end, ":spin") == 0;) x = x * 0.5 + 1;
  while (strcmp(end, ":sleep") == 0) pause();
  return true;
}
#else
bool syz_fault(const char *point)
{
  (void)point;
  return false;
}
#endif
