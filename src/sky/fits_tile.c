/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Tile-compressed images, unpacked where a crash cannot take the run down.
 *
 * cfitsio 4.2.0 dies of SIGFPE or SIGSEGV on some damaged tiles even when all header cards are sound (7 of 9000 files with 1-4
 * changed bytes, README.md "cfitsio"). So a forked child decodes and sends the pixels back through a pipe; the parent waits
 * with a time limit and turns any unnatural end into SYZ_ERR_DATA. A pipe rather than shared memory: /dev/shm is 64 MB in
 * containers, a brick is 52 MB. The child calls cfitsio on the bytes already in memory, writes, and _exits: no MPI, no stdio.
 */
#include "fits_file.h"

#include <errno.h>
#include <fitsio.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* A damaged tile can also keep the decoder going for ever. Rice decodes 1.2e8 pixels a second: thirty times that, and 5 s to spare. The limit of
 * wall time only serves where the child is stopped or starved. */
static int cpu_limit_s(int64_t pixels) { return 5 + (int)(pixels / 4000000); }
static int wall_limit_s(int64_t pixels) { return 15 + 3 * cpu_limit_s(pixels); }

static bool write_all(int fd, const void *bytes, size_t n) {
  const char *p = bytes;
  while (n) {
    ssize_t done = write(fd, p, n < (1u << 30) ? n : (1u << 30));
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) return false;
    p += done;
    n -= (size_t)done;
  }
  return true;
}

/* Runs in the child only. First 64 bytes: cfitsio's status and its text; then the pixels. */
static _Noreturn void child(const syz_fits *f, int hdu, int item, void *pixels, int fd) {
  static const int fatal[] = {SIGSEGV, SIGFPE, SIGBUS, SIGILL, SIGABRT, SIGPIPE, SIGTERM, SIGUSR1, SIGUSR2, SIGXCPU};
  for (size_t i = 0; i < sizeof fatal / sizeof *fatal; i++) signal(fatal[i], SIG_DFL);
  rlim_t limit = (rlim_t)cpu_limit_s(f->hdu[hdu].face.pixels);
  struct rlimit none = {0, 0}, cpu = {limit, limit};
  setrlimit(RLIMIT_CORE, &none);
  setrlimit(RLIMIT_CPU, &cpu);
  fitsfile *file = NULL;
  void *bytes = (void *)(uintptr_t)f->bytes.data; /* READONLY below */
  size_t size = f->bytes.size;
  int status = 0, any_null = 0;
  const syz_fits_hdu *h = &f->hdu[hdu].face;
  fits_open_memfile(&file, "memory", READONLY, &bytes, &size, 0, NULL, &status);
  fits_movabs_hdu(file, hdu + 1, NULL, &status);
  int bitpix = 0, naxis = 0;
  LONGLONG shape[SYZ_FITS_AXES] = {0};
  fits_get_img_paramll(file, SYZ_FITS_AXES, &bitpix, &naxis, shape, &status);
  if (!status) {
    int64_t n = 1;
    for (int i = 0; i < naxis && i < SYZ_FITS_AXES; i++) n *= shape[i];
    if (naxis != h->naxis || n != h->pixels) status = BAD_DIMEN;
  }
  float nan_f = (float)NAN;
  double nan_d = (double)NAN;
  if (item == 4)
    fits_read_img(file, TFLOAT, 1, h->pixels, &nan_f, pixels, &any_null, &status);
  else
    fits_read_img(file, TDOUBLE, 1, h->pixels, &nan_d, pixels, &any_null, &status);
  struct { int32_t status; char text[60]; } head = {status, ""};
  if (status) {
    char text[FLEN_STATUS] = "";
    fits_get_errstatus(status, text);
    strncpy(head.text, text, sizeof head.text - 1);
  }
  bool is_sent = write_all(fd, &head, sizeof head) && (status || write_all(fd, pixels, (size_t)h->pixels * (size_t)item));
  _exit(is_sent ? 0 : 1);
}

/* Read n bytes before the deadline; the number that came. */
static size_t read_until(int fd, void *bytes, size_t n, double deadline_s, bool *is_late) {
  char *p = bytes;
  size_t got = 0;
  while (got < n) {
    double left = deadline_s - syz_clock_s();
    if (left <= 0) {
      *is_late = true;
      break;
    }
    struct pollfd wait = {fd, POLLIN, 0};
    int ready = poll(&wait, 1, (int)(left * 1000) + 1);
    if (ready < 0 && errno != EINTR) break;
    if (ready <= 0) continue;
    ssize_t done = read(fd, p + got, n - got < (1u << 30) ? n - got : (1u << 30));
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) break;
    got += (size_t)done;
  }
  return got;
}

syz_status fits_tile_unpack(syz_fits *f, int hdu) {
  syz_status st = SYZ_OK;
  fits_hdu *h = &f->hdu[hdu];
  char where[256];
  int fd[2] = {-1, -1}, code = 0;
  pid_t pid = -1;
  bool is_late = false;
  if (f->tile_hdu == hdu) return SYZ_OK;
  SYZ_TRY(fits_verify(f, hdu));
  f->tile_hdu = -1;
  syz_free(&f->tile);
  int bitpix = h->face.bitpix;
  f->tile_item = bitpix == 8 || bitpix == 16 || bitpix == -32 ? 4 : 8;
  size_t bytes = (size_t)h->face.pixels * (size_t)f->tile_item;
  f->tile = syz_alloc("unpacked FITS image", (size_t)h->face.pixels, (size_t)f->tile_item);
  SYZ_REQUIRE(f->tile, SYZ_ERR_MEMORY, "%s: no memory for %lld pixels", fits_where(f, hdu, where), (long long)h->face.pixels);
  SYZ_REQUIRE(pipe(fd) == 0, SYZ_ERR_MEMORY, "%s: no pipe: %s", fits_where(f, hdu, where), strerror(errno));
  pid = fork();
  SYZ_REQUIRE(pid >= 0, SYZ_ERR_MEMORY, "%s: no child process: %s", fits_where(f, hdu, where), strerror(errno));
  if (pid == 0) {
    close(fd[0]);
    child(f, hdu, f->tile_item, f->tile, fd[1]);
  }
  close(fd[1]);
  fd[1] = -1;
  double deadline_s = syz_clock_s() + wall_limit_s(h->face.pixels);
  struct { int32_t status; char text[60]; } head = {-1, ""};
  size_t got_head = read_until(fd[0], &head, sizeof head, deadline_s, &is_late);
  size_t got = 0;
  if (got_head == sizeof head && head.status == 0) got = read_until(fd[0], f->tile, bytes, deadline_s, &is_late);
  if (is_late) kill(pid, SIGKILL);
  while (waitpid(pid, &code, 0) < 0 && errno == EINTR) continue;
  pid = -1;
  head.text[sizeof head.text - 1] = '\0';
  SYZ_REQUIRE(!is_late, SYZ_ERR_DATA, "%s: unpacking took longer than %d s", fits_where(f, hdu, where),
              wall_limit_s(h->face.pixels));
  SYZ_REQUIRE(got_head < sizeof head || head.status == 0, SYZ_ERR_DATA, "%s: tiles cannot be unpacked: cfitsio status %d, %s",
              fits_where(f, hdu, where), head.status, head.text);
  int ended_by = WIFSIGNALED(code) ? WTERMSIG(code) : 0;
  SYZ_REQUIRE(got == bytes, SYZ_ERR_DATA, "%s: tiles are damaged: the decoder was ended by signal %d (%s)", fits_where(f, hdu, where), ended_by,
              ended_by == SIGXCPU || ended_by == SIGKILL ? "it found no end" : ended_by == SIGFPE ? "division by zero" : "it left its memory");
  f->tile_hdu = hdu;
cleanup:
  if (pid > 0) {
    kill(pid, SIGKILL);
    while (waitpid(pid, &code, 0) < 0 && errno == EINTR) continue;
  }
  if (fd[0] >= 0) close(fd[0]);
  if (fd[1] >= 0) close(fd[1]);
  if (st != SYZ_OK) syz_free(&f->tile);
  return st;
}
