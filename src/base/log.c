/* SPDX-License-Identifier: BSD-3-Clause */
/** The log: only rank 0 writes, to stdout and to log.txt; errors go to stderr from any rank. Progress lines with rate
 * and time left. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "rank.h"

static FILE *log_stream;
static bool has_live_line;
/* Messages from before log.txt could be opened (the banner); they are written to it later. */
static char early[16384];
static size_t early_size;

syz_status syz_log_to(int fd)
{
  syz_status st = SYZ_OK;
  if (log_stream) fclose(log_stream);
  log_stream = NULL;
  if (fd < 0) return st;
  log_stream = fdopen(fd, "a");
  const int reason = errno;
  if (!log_stream) close(fd);
  SYZ_REQUIRE(log_stream, SYZ_ERR_WRITE, "cannot open the log: %s", strerror(reason));
  setvbuf(log_stream, NULL, _IOLBF, BUFSIZ);
  fwrite(early, 1, early_size, log_stream);
  early_size = 0;
cleanup:
  return st;
}

static void put(FILE *stream, syz_log_level level, const char *format, va_list ap)
{
  char text[SYZ_ERROR_TEXT + 256];
  int rank = syz_log_get_rank(), skip = 0;
  if (level != SYZ_LOG_ERROR) {
    if (level == SYZ_LOG_WARN) fputs("warning: ", stream);
    vfprintf(stream, format, ap);
    fputc('\n', stream);
    return;
  }
  vsnprintf(text, sizeof text, format, ap);
  /* An agreed error names the rank that had it; only that rank prints it. */
  if (sscanf(text, "rank %d: %n", &rank, &skip) != 1 || !skip) {
    rank = syz_log_get_rank();
    skip = 0;
  }
  if (rank_count() > 1) fprintf(stream, "rank %d: ", rank);
  fprintf(stream, "error: %s\n", text + skip);
}

void syz_log(syz_log_level level, const char *format, ...)
{
  if (level != SYZ_LOG_ERROR && syz_log_get_rank() != 0) return;
  va_list ap;
  if (has_live_line) fputc('\n', stdout);
  has_live_line = false;
  fflush(stdout);
  va_start(ap, format);
  put(level == SYZ_LOG_ERROR ? stderr : stdout, level, format, ap);
  va_end(ap);
  if (log_stream) {
    va_start(ap, format);
    put(log_stream, level, format, ap);
    va_end(ap);
  } else if (early_size + 2 < sizeof early) {
    va_start(ap, format);
    int n = vsnprintf(early + early_size, sizeof early - early_size - 2, format, ap);
    va_end(ap);
    early_size += strnlen(early + early_size, n > 0 ? (size_t)n : 0);
    early[early_size++] = '\n';
  }
}

/* A terminal's progress line is updated twice per second; a log file gets a line every half minute. */
static const double live_interval_s = 0.5, log_interval_s = 30.0;

/*
 * mpirun gives its ranks a pseudo-terminal as stdout, whatever its own stdout is. So under mpirun this checks whether
 * the parent process (mpirun itself, on rank 0's node) writes to a terminal; where that is unknown, a file is assumed.
 */
static bool is_terminal(void)
{
  static int answer = -1;
  if (answer >= 0) return answer;
  answer = isatty(STDOUT_FILENO) ? 1 : 0;
  if (answer && getenv("OMPI_COMM_WORLD_SIZE")) {
    char link[64], target[64];
    snprintf(link, sizeof link, "/proc/%ld/fd/1", (long)getppid());
    ssize_t n = readlink(link, target, sizeof target - 1);
    target[n > 0 ? n : 0] = '\0';
    answer = strncmp(target, "/dev/pts/", 9) == 0 || strncmp(target, "/dev/tty", 8) == 0;
  }
  return answer;
}

static void time_text(char text[32], double s)
{
  if (s >= 3600)
    snprintf(text, 32, "%d h %02d min", (int)(s / 3600), (int)(s / 60) % 60);
  else if (s >= 60)
    snprintf(text, 32, "%d min %02d s", (int)(s / 60), (int)s % 60);
  else
    snprintf(text, 32, "%.0f s", s);
}

static void progress_print(syz_progress *p, int64_t done, const char *note, bool is_last)
{
  double t = syz_clock_s(), elapsed = t - p->t0;
  char spent[32], left[32], line[512];
  double rate = elapsed > 0 ? (double)(done - p->start) / elapsed : 0;
  time_text(spent, elapsed);
  time_text(left, rate > 0 ? (double)(p->total - done) / rate : 0);
  int n = snprintf(line, sizeof line, "%s %lld / %lld %s, %.3g %s/s, %s%s", p->what, (long long)done,
                   (long long)p->total, p->unit, rate, p->unit, spent, is_last ? "" : ", ");
  if (!is_last && n > 0 && (size_t)n < sizeof line)
    snprintf(line + n, sizeof line - (size_t)n, "%s left", rate > 0 ? left : "unknown time");
  n = (int)strlen(line);
  if (note && *note) snprintf(line + n, sizeof line - (size_t)n, " | %s", note);
  if (is_terminal() && !is_last) {
    fprintf(stdout, "\r\033[K%s", line);
    fflush(stdout);
    has_live_line = true;
  } else {
    if (has_live_line) fputs("\r\033[K", stdout);
    has_live_line = false;
    syz_info("%s", line);
  }
}

void syz_progress_begin(syz_progress *p, const char *what, const char *unit, int64_t start, int64_t total)
{
  double now = syz_clock_s();
  *p = (syz_progress){.what = what, .unit = unit, .total = total, .start = start, .t0 = now, .t_last = now};
}

void syz_progress_tell(syz_progress *p, int64_t done, const char *note)
{
  syz_pulse();
  if (syz_log_get_rank() != 0) return;
  double now = syz_clock_s();
  if (now - p->t_last < (is_terminal() ? live_interval_s : log_interval_s)) return;
  p->t_last = now;
  progress_print(p, done, note, false);
}

void syz_progress_end(syz_progress *p, int64_t done)
{
  if (syz_log_get_rank() == 0) progress_print(p, done, NULL, true);
}
