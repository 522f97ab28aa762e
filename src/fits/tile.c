/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Tile-compressed images, unpacked where a crash cannot take the run down.
 *
 * cfitsio 4.2.0 crashes (SIGFPE, SIGSEGV) on some damaged tiles even when all header cards are valid (7 of 9000 files
 * with 1-4 changed bytes, README.md "cfitsio"). So a forked child decodes and sends the pixels back through a pipe; the
 * parent waits with a time limit and turns any abnormal end into SYZ_ERR_DATA. It is a pipe rather than shared memory
 * because /dev/shm has 64 MB in containers and a brick 52 MB. The child calls cfitsio on the bytes already in memory,
 * writes the pixels and calls _exit: no MPI, no stdio, and nothing else open (syz_child_confine).
 *
 * Images up to WHOLE_PIXELS (a brick has 13 million) are unpacked whole; of larger ones only the requested tiles are,
 * because 23 kB of tiles can claim an image of 2 GB.
 */
#include "file.h"
#include "syzygy/files.h"

#include <errno.h>
#include <fitsio.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WHOLE_PIXELS = 16 << 20, BLOCK_PIXELS = 4 << 20, TILES_KEPT = 128 << 20 };

/* A damaged tile can also make the decoder loop for ever. Rice decodes 1.2e8 pixels per second; the limit on processor
 * time is thirty times that plus half a second. The limit on wall time only matters where the child is stopped or
 * starved.
 */
static double cpu_limit_s(int64_t pixels) { return 0.5 + (double)pixels / 4e6; }
static double wall_limit_s(int64_t pixels) { return 15 + 4 * cpu_limit_s(pixels); }

int fits_tile_item(const fits_hdu *h)
{
  return h->face.bitpix == 8 || h->face.bitpix == 16 || h->face.bitpix == -32 ? 4 : 8;
}

void fits_tile_forget(fits_hdu *h)
{
  syz_free(&h->tiles.pixels);
  syz_free(&h->tiles.why);
}

static int64_t box_pixels(const fits_hdu *h, const fits_box *b)
{
  int64_t n = 1;
  for (int i = 0; i < h->face.naxis; i++) n *= b->n[i];
  return n;
}

static bool is_inside(const fits_hdu *h, const fits_box *part, const fits_box *all)
{
  for (int i = 0; i < h->face.naxis; i++)
    if (part->lo[i] < all->lo[i] || part->lo[i] + part->n[i] > all->lo[i] + all->n[i]) return false;
  return true;
}

/* The box to unpack for `want`: a small image whole, otherwise whole tiles, and some more along the slowest axis for
 * readers of rows. */
static fits_box choose_box(const fits_hdu *h, const fits_box *want)
{
  fits_box b = *want;
  const int64_t *shape = h->face.shape;
  if (h->face.pixels <= WHOLE_PIXELS) {
    for (int i = 0; i < h->face.naxis; i++) {
      b.lo[i] = 0;
      b.n[i] = shape[i];
    }
    return b;
  }
  for (int i = 0; i < h->face.naxis; i++) {
    const int64_t first = b.lo[i] / h->tile[i] * h->tile[i],
                  end = (b.lo[i] + b.n[i] + h->tile[i] - 1) / h->tile[i] * h->tile[i];
    b.lo[i] = first;
    b.n[i] = (end < shape[i] ? end : shape[i]) - first;
  }
  const int64_t row = box_pixels(h, &b) / b.n[0], rows = BLOCK_PIXELS / row / h->tile[0] * h->tile[0];
  if (b.n[0] < rows) b.n[0] = rows < shape[0] - b.lo[0] ? rows : shape[0] - b.lo[0];
  return b;
}

/* ------------------------------------------------------------------- child */

static bool write_all(int fd, const void *bytes, size_t n)
{
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

/** The child's first message: cfitsio's status and its text. */
typedef struct child_head {
  int32_t status;
  char text[60];
} child_head;

static void limit_time(int64_t pixels)
{
  const double limit_s = cpu_limit_s(pixels);
  const struct itimerval cpu = {.it_value = {(time_t)limit_s, (suseconds_t)(fmod(limit_s, 1) * 1e6)}};
  setitimer(ITIMER_PROF, &cpu, NULL);
}

/* Runs in the child only: sends the head, then the pixels. */
static _Noreturn void child(const syz_fits *f, int hdu, const fits_box *box, void *pixels, int fd)
{
  const fits_hdu *h = &f->hdu[hdu];
  const int64_t n = box_pixels(h, box);
  const int item = fits_tile_item(h), naxis_wanted = h->face.naxis;
  /* Tiles are unpacked one at a time; cfitsio holds a few of them. */
  const syz_confinement limits = {.memory = (size_t)n * (size_t)item * 2 + ((size_t)256 << 20)};
  syz_child_separate(&fd, 1);
  syz_child_name("FITS decoder");
  limit_time(n);
  (void)syz_child_confine(&limits);
  child_head head = {0, ""};
  const int64_t endless = fits_tile_endless(f, hdu, box);
  if (endless) {
    head.status = DATA_DECOMPRESSION_ERR;
    snprintf(head.text, sizeof head.text, "the gzip data of tile %lld are damaged", (long long)endless);
    _exit(write_all(fd, &head, sizeof head) ? 0 : 1);
  }
  fitsfile *file = NULL;
  void *bytes = (void *)(uintptr_t)f->bytes.data; /* READONLY below */
  size_t size = f->bytes.size;
  int status = 0, any_null = 0;
  fits_open_memfile(&file, "memory", READONLY, &bytes, &size, 0, NULL, &status);
  fits_movabs_hdu(file, hdu + 1, NULL, &status);
  int bitpix = 0, naxis = 0;
  LONGLONG shape[SYZ_FITS_AXES] = {0};
  fits_get_img_paramll(file, SYZ_FITS_AXES, &bitpix, &naxis, shape, &status);
  long first[SYZ_FITS_AXES], last[SYZ_FITS_AXES], step[SYZ_FITS_AXES];
  for (int i = 0; i < naxis_wanted; i++) { /* cfitsio counts from 1, the fastest axis first */
    const int axis = naxis_wanted - 1 - i;
    first[i] = (long)box->lo[axis] + 1;
    last[i] = (long)(box->lo[axis] + box->n[axis]);
    step[i] = 1;
    if (!status && (naxis != naxis_wanted || shape[i] != h->face.shape[axis])) status = BAD_DIMEN;
  }
  float nan_f = (float)NAN;
  double nan_d = (double)NAN;
  fits_read_subset(file, item == 4 ? TFLOAT : TDOUBLE, first, last, step, item == 4 ? (void *)&nan_f : (void *)&nan_d,
                   pixels, &any_null, &status);
  if (status) {
    char text[FLEN_STATUS] = "";
    fits_get_errstatus(status, text);
    strncpy(head.text, text, sizeof head.text - 1);
  }
  head.status = status;
  bool is_sent = write_all(fd, &head, sizeof head) && (status || write_all(fd, pixels, (size_t)n * (size_t)item));
  _exit(is_sent ? 0 : 1);
}

/* ------------------------------------------------------------------ parent */

/* Read n bytes before the deadline; the number that came. */
static size_t read_until(int fd, void *bytes, size_t n, double deadline_s, bool *is_late)
{
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

static const char *end_text(int number)
{
  switch (number) {
  case SIGPROF:
    return "it did not finish";
  case SIGKILL:
    return "it was killed";
  case SIGFPE:
    return "division by zero";
  default:
    return "invalid memory access";
  }
}

/* Unpack the box in a child, into `pixels`. SYZ_ERR_DATA: the tiles are damaged. */
static syz_status unpack_box(const syz_fits *f, int hdu, const fits_box *box, void *pixels)
{
  syz_status st = SYZ_OK;
  const fits_hdu *h = &f->hdu[hdu];
  const int64_t n = box_pixels(h, box);
  const size_t bytes = (size_t)n * (size_t)fits_tile_item(h);
  char where[256];
  int fd[2] = {-1, -1}, code = 0;
  pid_t pid = -1;
  bool is_late = false;
  syz_fits_where(f, hdu, where);
  SYZ_REQUIRE(pipe(fd) == 0, SYZ_ERR_MEMORY, "%s: no pipe: %s", where, strerror(errno));
  pid = fork();
  SYZ_REQUIRE(pid >= 0, SYZ_ERR_MEMORY, "%s: no child process: %s", where, strerror(errno));
  if (pid == 0) {
    close(fd[0]);
    child(f, hdu, box, pixels, fd[1]);
  }
  close(fd[1]);
  fd[1] = -1;
  double deadline_s = syz_clock_s() + wall_limit_s(n);
  child_head head = {-1, ""};
  size_t got_head = read_until(fd[0], &head, sizeof head, deadline_s, &is_late);
  size_t got = 0;
  if (got_head == sizeof head && head.status == 0) got = read_until(fd[0], pixels, bytes, deadline_s, &is_late);
  if (is_late) kill(pid, SIGKILL);
  while (waitpid(pid, &code, 0) < 0 && errno == EINTR) continue;
  pid = -1;
  head.text[sizeof head.text - 1] = '\0';
  SYZ_TRY(fits_map_check(&f->bytes.map, f->path));
  SYZ_REQUIRE(!is_late, SYZ_ERR_DATA, "%s: unpacking took longer than %.0f s", where, wall_limit_s(n));
  SYZ_REQUIRE(got_head < sizeof head || head.status == 0, SYZ_ERR_DATA,
              "%s: tiles cannot be unpacked: cfitsio status %d, %s", where, head.status, head.text);
  const int ended_by = WIFSIGNALED(code) ? WTERMSIG(code) : 0;
  SYZ_REQUIRE(got == bytes, SYZ_ERR_DATA, "%s: tiles are damaged: the decoder was ended by signal %d (%s)", where,
              ended_by, end_text(ended_by));
cleanup:
  if (pid > 0) {
    kill(pid, SIGKILL);
    while (waitpid(pid, &code, 0) < 0 && errno == EINTR) continue;
  }
  if (fd[0] >= 0) close(fd[0]);
  if (fd[1] >= 0) close(fd[1]);
  return st;
}

/* Keep the reason of a damaged HDU, so that only one child is started for it, not one per object in the file. */
static void remember(fits_hdu *h, const fits_box *box)
{
  const char *text = syz_error_text(), *trail = strstr(text, " [src/");
  const size_t n = trail ? (size_t)(trail - text) : strlen(text);
  syz_free(&h->tiles.why);
  h->tiles.why = syz_alloc("reason", n + 1, 1);
  if (!h->tiles.why) return;
  memcpy(h->tiles.why, text, n);
  h->tiles.bad = *box;
}

/* Free other HDUs' pixels when there are too many. */
static void keep_to_limit(syz_fits *f, int hdu)
{
  size_t held = 0;
  for (int i = 0; i < f->n; i++)
    if (f->hdu[i].tiles.pixels)
      held += (size_t)box_pixels(&f->hdu[i], &f->hdu[i].tiles.box) * (size_t)fits_tile_item(&f->hdu[i]);
  if (held <= TILES_KEPT) return;
  for (int i = 0; i < f->n; i++)
    if (i != hdu) syz_free(&f->hdu[i].tiles.pixels);
}

syz_status fits_tile_unpack(syz_fits *f, int hdu, const fits_box *want)
{
  syz_status st = SYZ_OK;
  fits_hdu *h = &f->hdu[hdu];
  char where[256];
  if (h->tiles.pixels && is_inside(h, want, &h->tiles.box)) return SYZ_OK;
  SYZ_REQUIRE(!h->tiles.why || !is_inside(h, want, &h->tiles.bad), SYZ_ERR_DATA, "%s", h->tiles.why);
  SYZ_TRY(fits_verify(f, hdu));
  const fits_box box = choose_box(h, want);
  const size_t pixels = (size_t)box_pixels(h, &box), item = (size_t)fits_tile_item(h);
  syz_free(&h->tiles.pixels);
  SYZ_REQUIRE(pixels <= WHOLE_PIXELS || pixels * item <= syz_memory_share() / 8, SYZ_ERR_DATA,
              "%s: %zu pixels are needed at once, more than this node's memory allows per rank",
              syz_fits_where(f, hdu, where), pixels);
  h->tiles.pixels = syz_alloc("unpacked FITS image", pixels, item);
  SYZ_REQUIRE(h->tiles.pixels, SYZ_ERR_MEMORY, "%s: no memory for %zu pixels", syz_fits_where(f, hdu, where), pixels);
  st = unpack_box(f, hdu, &box, h->tiles.pixels);
  if (st == SYZ_ERR_DATA) remember(h, &box);
  SYZ_TRY(st);
  h->tiles.box = box;
  keep_to_limit(f, hdu);
cleanup:
  if (st != SYZ_OK) syz_free(&h->tiles.pixels);
  return st;
}
