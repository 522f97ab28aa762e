/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The process that reads one HDF5 file for a rank.
 *
 * libhdf5 1.10.8 crashes on damaged files: it writes past its buffers, frees memory that it never allocated, and
 * follows uninitialised pointers, so that the same file is read in one process and kills the next. No check of a file
 * beforehand can rule that out. So a rank never calls the library on a file from outside. It sends requests to this
 * process, which has the file, a socket and nothing else (syz_child_confine), and checks every answer, because the
 * memory of that process may have been overwritten.
 *
 * The process reports a signal that kills it to the rank. It also reports an endless loop, by a limit on processor time
 * without progress: time in which no new part of the file is read for the current request. A slow file system or a
 * loaded machine uses no processor time.
 */
#define _GNU_SOURCE /* sigaltstack, setitimer */
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include "file.h"
#include "here.h"
#include "line.h"
#include "syzygy/files.h"

enum {
  TICK_US = 50000,        /* of processor time */
  PATIENCE = 20,          /* ticks without progress: 1 s */
  BYTES_A_TICK = 1 << 20, /* that unpacking manages at the least */
  BLOCKS = 1 << 13,
  LEAST_BLOCK = 1 << 16,
  STACK = 1 << 16,
  NAMES_COPIES = 4,     /* of the names of datasets: one by one with their places in memory, and as a list */
  MORE_MEMORY = 3 << 10 /* MiB: a chunk of 1 GiB packed, unpacked and shuffled */
};

static int line_fd;
static bool is_tight;
static volatile sig_atomic_t is_sending;
static volatile int64_t patience; /* ticks left */
static unsigned char was_read[BLOCKS / 8];
static int64_t block_bytes;
static char last_stack[STACK];

/* -------------------------------------------------------------- last words */

/* From signal handlers, on a stack of their own, which the address sanitizer does not know: nothing but system calls.
 */
#define IN_HANDLER __attribute__((no_sanitize_address))

IN_HANDLER static _Noreturn void leave(int32_t status, int number)
{
  static h5_answer last;
  last.status = status;
  last.number = number;
  if (!is_sending) (void)h5_line_send(line_fd, &last, sizeof last);
  _exit(1);
}

IN_HANDLER static void on_crash(int number) { leave(is_tight ? H5_CRASHED_TIGHT : H5_CRASHED, number); }

IN_HANDLER static void on_tick(int number)
{
  (void)number;
  if (!is_sending && --patience <= 0) leave(H5_STUCK, 0);
}

static void watch(void)
{
  static const int fatal[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGSYS};
  const stack_t stack = {.ss_sp = last_stack, .ss_size = sizeof last_stack};
  struct sigaction crash = {.sa_handler = on_crash, .sa_flags = SA_ONSTACK | (int)SA_RESETHAND},
                   tick = {.sa_handler = on_tick, .sa_flags = SA_ONSTACK | SA_RESTART};
  const struct itimerval often = {{0, TICK_US}, {0, TICK_US}};
  sigaltstack(&stack, NULL);
  for (size_t i = 0; i < sizeof fatal / sizeof *fatal; i++) sigaction(fatal[i], &crash, NULL);
  sigaction(SIGPROF, &tick, NULL);
  patience = PATIENCE;
  setitimer(ITIMER_PROF, &often, NULL);
}

static void begin_ask(void)
{
  memset(was_read, 0, sizeof was_read);
  patience = PATIENCE;
}

/* Part of the file that was not read for this ask before is progress. */
static void on_read(int64_t at, size_t bytes)
{
  const int64_t first = at / block_bytes, last = (at + (int64_t)bytes) / block_bytes;
  bool is_new = false;
  for (int64_t b = first; b <= last && b < first + BLOCKS; b++) {
    unsigned char *byte = &was_read[b % BLOCKS / 8];
    const unsigned char bit = (unsigned char)(1u << b % 8);
    is_new = is_new || !(*byte & bit);
    *byte |= bit;
  }
  if (is_new && patience < PATIENCE) patience = PATIENCE;
}

static void on_work(double bytes) { patience = PATIENCE + (int64_t)(bytes / BYTES_A_TICK); }

/* ----------------------------------------------------------------- answers */

static void answer(h5_answer *a, const void *bytes)
{
  is_sending = 1;
  const bool is_sent =
      h5_line_send(line_fd, a, sizeof *a) && (a->bytes == 0 || h5_line_send(line_fd, bytes, (size_t)a->bytes));
  is_sending = 0;
  if (!is_sent) _exit(0); /* the rank is gone, or has closed the file */
}

/* A failure's message; nothing when all is well. */
static bool is_refused(syz_status st)
{
  if (st == SYZ_OK) return false;
  const char *text = syz_error_text();
  h5_answer a = {.status = st, .bytes = (int64_t)strlen(text)};
  answer(&a, text);
  return true;
}

/* With as much memory as what describes a dataset may take. */
static syz_status facts_of(h5_here *h, const char *name, h5_facts *facts)
{
  h5_here_limit_facts(h);
  const syz_status st = h5_here_facts(h, name, facts);
  h5_here_unlimit(h);
  return st;
}

static void send_rows(h5_here *h, const h5_ask *ask)
{
  h5_facts facts;
  unsigned char *piece = NULL;
  int64_t room = 0;
  if (is_refused(facts_of(h, ask->name, &facts))) return;
  const size_t row = (size_t)facts.row_elements * syz_h5_type_size((syz_h5_type)ask->type);
  for (int64_t done = 0, some; done < ask->n; done += some) {
    some = h5_here_piece(h, ask->name, ask->first + done, row, H5_PIECE);
    if (some > ask->n - done) some = ask->n - done;
    if (some > room) {
      syz_free(&piece);
      piece = syz_alloc("rows of a file", (size_t)some, row);
      if (!piece) {
        (void)is_refused(syz_error_set(SYZ_ERR_MEMORY, __FILE__, __LINE__,
                                       "%s: dataset %s: no memory for %lld rows of %zu bytes", h->path, ask->name,
                                       (long long)some, row));
        return;
      }
      room = some;
    }
    begin_ask();
    if (is_refused(h5_here_read(h, ask->name, (syz_h5_type)ask->type, ask->first + done, some, piece))) break;
    h5_answer a = {.bytes = some * (int64_t)row};
    answer(&a, piece);
  }
  syz_free(&piece);
}

static void send_strings(h5_here *h, const h5_ask *ask)
{
  h5_facts facts;
  if (is_refused(facts_of(h, ask->name, &facts))) return;
  const size_t texts = (size_t)(ask->n * facts.row_elements);
  char *text = syz_alloc("strings", texts + 1, (size_t)ask->room);
  syz_status st = text ? SYZ_OK : SYZ_ERR_MEMORY;
  if (st == SYZ_OK) st = h5_here_strings(h, ask->name, ask->first, ask->n, (size_t)ask->room, text);
  if (!is_refused(st)) {
    h5_answer a = {.bytes = (int64_t)(texts * (size_t)ask->room)};
    answer(&a, text);
  }
  syz_free(&text);
}

static void serve_one(h5_here *h, const h5_ask *ask)
{
  h5_answer a = {.status = SYZ_OK};
  syz_status st = SYZ_OK;
  char *text = NULL;
  bool is_there = false;
  size_t bytes = 0;
  const double names = h->file_bytes < H5_NAMES_LIMIT ? h->file_bytes : H5_NAMES_LIMIT;
  if (ask->wish == H5_WISH_FACTS)
    h5_here_limit_facts(h);
  else if (ask->wish != H5_WISH_READ && ask->wish != H5_WISH_STRINGS)
    h5_here_limit(h, ask->wish == H5_WISH_NAMES ? NAMES_COPIES * names : 0);
  switch ((h5_wish)ask->wish) {
  case H5_WISH_HAS:
    st = h5_here_has(h, ask->name, &is_there);
    if (st == SYZ_OK && !is_there) is_there = h5_here_record(h, ask->name) > 0;
    break;
  case H5_WISH_FACTS:
    st = h5_here_facts(h, ask->name, &a.facts);
    break;
  case H5_WISH_READ:
    send_rows(h, ask);
    return;
  case H5_WISH_STRINGS:
    send_strings(h, ask);
    return;
  case H5_WISH_TEXT:
    st = h5_here_text(h, ask->name, ask->attribute, &text);
    is_there = text != NULL;
    bytes = text ? strlen(text) : 0;
    break;
  case H5_WISH_NUMBER:
    st = h5_here_number(h, ask->name, ask->attribute, &a.number, &is_there);
    break;
  case H5_WISH_SEAL:
    st = h5_here_seal(h, &is_there, &text);
    bytes = text ? strlen(text) : 0;
    break;
  case H5_WISH_NAMES:
    st = h5_here_names(h, ask->name, &text, &bytes);
    break;
  }
  h5_here_unlimit(h);
  if (!is_refused(st)) {
    a.is_there = is_there;
    a.bytes = (int64_t)bytes;
    answer(&a, text);
  }
  syz_free(&text);
}

_Noreturn void h5_serve(int line, int file, const char *path, const char *real, const char *root)
{
  static h5_here here; /* of this process, which serves one file */
  static h5_ask ask;
  struct stat size = {0};
  const syz_confinement limits = {.memory = (size_t)MORE_MEMORY << 20, .may_open = *root != '\0'};
  line_fd = line;
  is_tight = syz_child_confine(&limits);
  (void)fstat(file, &size);
  block_bytes = size.st_size / BLOCKS < LEAST_BLOCK ? LEAST_BLOCK : (int64_t)size.st_size / BLOCKS + 1;
  watch();
  here = (h5_here){.only = {.file = file, .path = real, .root = root, .seen = on_read},
                   .path = path,
                   .file = -1,
                   .memory = limits.memory,
                   .is_tight = is_tight,
                   .all_memory = limits.memory,
                   .is_all_tight = is_tight,
                   .file_bytes = (double)size.st_size,
                   .work = on_work};
  begin_ask();
  h5_here_limit(&here, 0);
  const syz_status opened = h5_here_open(&here);
  h5_here_unlimit(&here);
  if (is_refused(opened)) _exit(0);
  h5_answer open = {.status = SYZ_OK};
  answer(&open, NULL);
  while (h5_line_receive(line, &ask, sizeof ask)) {
    begin_ask();
    serve_one(&here, &ask);
  }
  _exit(0);
}
