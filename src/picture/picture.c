/* SPDX-License-Identifier: BSD-3-Clause */
/* Writing pixels as PNG through libpng, and drawing on a canvas. */
#include "syzygy/files.h"
#include "syzygy/picture.h"

#include <math.h>
#include <png.h>
#include <setjmp.h>
#include <string.h>

typedef struct bytes {
  unsigned char *data;
  size_t n, room;
} bytes;

static void png_out(png_structp png, png_bytep data, png_size_t n)
{
  bytes *b = png_get_io_ptr(png);
  if (n > b->room - b->n)
    png_error(png, "a picture larger than its pixels"); /* cannot happen with the room allocated below */
  memcpy(b->data + b->n, data, n);
  b->n += n;
}

static void png_done(png_structp png) { (void)png; }
static void png_quiet(png_structp png, png_const_charp text) { (void)png, (void)text; }

/* Rows of RGB into b. A separate function because of setjmp: only variables of libpng are live across it. */
static bool encode(const unsigned char *rgb, int width, int height, bytes *b)
{
  png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, png_quiet);
  png_infop info = png ? png_create_info_struct(png) : NULL;
  if (!info) {
    png_destroy_write_struct(&png, NULL);
    return false;
  }
  if (setjmp(png_jmpbuf(png))) {
    png_destroy_write_struct(&png, &info);
    return false;
  }
  png_set_write_fn(png, b, png_out, png_done);
  png_set_IHDR(png, info, (png_uint_32)width, (png_uint_32)height, 8, PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE,
               PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  png_set_compression_level(png, 6); /* 9 takes ten times as long on enlarged noise, for the same size */
  png_write_info(png, info);
  for (int row = 0; row < height; row++) png_write_row(png, rgb + (size_t)3 * (size_t)width * (size_t)row);
  png_write_end(png, info);
  png_destroy_write_struct(&png, &info);
  return true;
}

syz_status syz_png_encode(const unsigned char *rgb, int width, int height, unsigned char **png, size_t *n)
{
  syz_status st = SYZ_OK;
  bytes b = {.room = (size_t)4 * (size_t)width * (size_t)height + 65536};
  *png = NULL;
  SYZ_ALLOC(b.data, "picture file", b.room);
  SYZ_REQUIRE(encode(rgb, width, height, &b), SYZ_ERR_MEMORY, "a picture of %d x %d pixels could not be encoded as PNG",
              width, height);
  *png = b.data;
  *n = b.n;
  b.data = NULL;
cleanup:
  syz_free(&b.data);
  return st;
}

void syz_planes_to_rgb(const float *planes, int side, unsigned char *rgb)
{
  const int pixels = side * side;
  for (int y = 0; y < side; y++) /* row 0 of the sky's image is at the bottom */
    for (int x = 0; x < side; x++)
      for (int plane = 0; plane < 3; plane++)
        rgb[3 * ((side - 1 - y) * side + x) + plane] =
            (unsigned char)lrintf(255 * fminf(fmaxf(planes[plane * pixels + y * side + x], 0), 1));
}

syz_status syz_picture_create(int width, int height, unsigned char grey, syz_picture *out)
{
  syz_status st = SYZ_OK;
  const size_t n = (size_t)3 * (size_t)width * (size_t)height;
  *out = (syz_picture){width, height, NULL};
  SYZ_ALLOC(out->rgb, "picture", n);
  memset(out->rgb, grey, n);
cleanup:
  return st;
}

void syz_picture_free(syz_picture *p) { syz_free(&p->rgb); }

void syz_picture_paint(syz_picture *p, int left, int top, int scale, int side, const unsigned char *rgb)
{
  for (int y = 0; y < side * scale; y++)
    for (int x = 0; x < side * scale; x++) {
      const int row = top + y, column = left + x;
      if (row < 0 || row >= p->height || column < 0 || column >= p->width) continue;
      memcpy(p->rgb + 3 * ((size_t)row * (size_t)p->width + (size_t)column), rgb + 3 * (y / scale * side + x / scale),
             3);
    }
}

syz_status syz_picture_write(const syz_picture *p, const char *path)
{
  syz_status st = SYZ_OK;
  unsigned char *png = NULL;
  size_t n = 0;
  SYZ_TRY(syz_png_encode(p->rgb, p->width, p->height, &png, &n));
  SYZ_TRY(syz_file_write(path, (const char *)png, n));
cleanup:
  syz_free(&png);
  return st;
}

void syz_shade(double value, unsigned char rgb[3])
{
  /* Colours of viridis at steps of 1/8 (matplotlib, van der Walt & Smith 2015, CC0), interpolated linearly in between.
   */
  static const unsigned char step[9][3] = {{68, 1, 84},    {71, 44, 122},  {59, 81, 139},
                                           {44, 113, 142}, {33, 144, 141}, {39, 173, 129},
                                           {92, 200, 99},  {170, 220, 50}, {253, 231, 37}};
  if (!isfinite(value)) {
    memset(rgb, 128, 3);
    return;
  }
  const double at = 8 * fmin(fmax(value, 0), 1);
  const int i = at >= 8 ? 7 : (int)at;
  for (int c = 0; c < 3; c++) rgb[c] = (unsigned char)lrint(step[i][c] + (at - i) * (step[i + 1][c] - step[i][c]));
}
