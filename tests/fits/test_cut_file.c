/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * A FITS file that somebody cuts short while it is open: the next reader of pixels or columns refuses it by its name,
 * whatever part is still there, and other files stay readable. A SIGBUS that is none of the reader's goes to the
 * handler that was there before.
 */
#define _DEFAULT_SOURCE

#include "check.h"
#include "syzygy/fits.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { H = 200, W = 300, ROWS = 2000 };
static char folder[] = "/tmp/syzygy-test-XXXXXX";
static sigjmp_buf outside;

static void earlier_handler(int number)
{
  (void)number;
  siglongjmp(outside, 1);
}

static const char *file_path(const char *name)
{
  static char path[256];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  return path;
}

/* A plain image, one in tiles, and a table. */
static void write_file(const char *path)
{
  syz_fits_out *o = NULL;
  static float image[H * W];
  static double number[ROWS];
  static char text[ROWS * 8];
  const int64_t shape[2] = {H, W};
  for (int i = 0; i < H * W; i++) image[i] = (float)(i % 1013);
  for (int i = 0; i < ROWS; i++) {
    number[i] = i;
    memcpy(text + 8 * i, "galaxy  ", 8);
  }
  const syz_fits_column columns[] = {{"RA", 'D', 1, NULL, NULL, number}, {"NAME", 'A', 8, NULL, NULL, text}};
  CHECK_OK(syz_fits_create(path, &o));
  CHECK_OK(syz_fits_out_primary(o, NULL, 0));
  CHECK_OK(syz_fits_out_image(o, "PLAIN", -32, 2, shape, image, SYZ_FITS_PLAIN, NULL, 0));
  CHECK_OK(syz_fits_out_image(o, "TILES", -32, 2, shape, image, SYZ_FITS_GZIP, NULL, 0));
  CHECK_OK(syz_fits_out_table(o, "TABLE", ROWS, columns, 2, NULL, 0));
  CHECK_OK(syz_fits_out_finish(&o));
}

/* The same file, opened when whole and cut to a share of its bytes: every way of reading must notice. */
static void cut_while_open(bool verify, double share)
{
  static float pixels[H * W];
  static double number[ROWS];
  char name[16];
  const char *path = file_path("cut.fits");
  write_file(path);
  const int fd = open(path, O_RDONLY);
  const off_t bytes = lseek(fd, 0, SEEK_END);
  close(fd);
  syz_fits *f = NULL;
  CHECK_OK(syz_fits_open(path, verify, &f));
  CHECK(truncate(path, (off_t)(share * (double)bytes)) == 0);
  CHECK_ERROR(syz_fits_read_f32(f, 1, 0, H * W, pixels), SYZ_ERR_DATA, "cut short while it was read");
  CHECK(strstr(syz_error_text(), "cut.fits"));
  CHECK_ERROR(syz_fits_read_window(f, 1, 0, 5, 5, 10, 10, pixels), SYZ_ERR_DATA, "cut short while it was read");
  CHECK_ERROR(syz_fits_read_f32(f, 2, 0, H * W, pixels), SYZ_ERR_DATA, "cut short while it was read");
  CHECK_ERROR(syz_fits_column_f64(f, 3, 0, 0, 0, ROWS, number), SYZ_ERR_DATA, "cut short while it was read");
  CHECK_ERROR(syz_fits_column_text(f, 3, 1, 0, name, sizeof name), SYZ_ERR_DATA, "cut short while it was read");
  syz_fits_close(&f);
}

int main(void)
{
  static float pixels[H * W];
  struct sigaction before = {.sa_handler = earlier_handler};
  CHECK(mkdtemp(folder));
  sigaction(SIGBUS, &before, NULL);
  char whole[256];
  snprintf(whole, sizeof whole, "%s", file_path("whole.fits"));
  write_file(whole);
  syz_fits *f = NULL;
  CHECK_OK(syz_fits_open(whole, true, &f));
  for (int k = 0; k < 8; k++) cut_while_open(k % 2, (const double[]){0.9, 0.5, 0.1, 0.0}[k / 2]);
  CHECK_OK(syz_fits_read_f32(f, 1, 0, H * W, pixels));
  CHECK(pixels[1012] == 1012 && pixels[H * W - 1] == (H * W - 1) % 1013);
  CHECK_OK(syz_fits_read_f32(f, 2, 0, H * W, pixels));
  CHECK(pixels[1012] == 1012);

  /* A mapping of somebody else's. */
  const int fd = open(file_path("other"), O_RDWR | O_CREAT, 0600);
  CHECK(fd >= 0 && ftruncate(fd, 1 << 20) == 0);
  volatile const char *other = mmap(NULL, 1 << 20, PROT_READ, MAP_PRIVATE, fd, 0);
  CHECK(other != MAP_FAILED && ftruncate(fd, 0) == 0);
  volatile bool is_passed_on = true;
  if (sigsetjmp(outside, 1) == 0) {
    (void)other[1 << 19];
    is_passed_on = false;
  }
  CHECK(is_passed_on);
  close(fd);
  syz_fits_close(&f);
  CHECK_EQ(syz_memory_get().live_blocks, 0);
  CHECK(unlink(whole) == 0 && unlink(file_path("cut.fits")) == 0 && unlink(file_path("other")) == 0 &&
        rmdir(folder) == 0);
  return CHECK_RESULT();
}
