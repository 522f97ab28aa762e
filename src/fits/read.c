/* SPDX-License-Identifier: BSD-3-Clause */
/** Pixels and columns out of an indexed FITS file: big-endian bytes to numbers, BZERO/BSCALE, BLANK/TNULL. */
#include "file.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* One number of BITPIX `bitpix` or of a column's type, unscaled. */
static double raw_f64(const unsigned char *p, int bitpix)
{
  switch (bitpix) {
  case 8:
    return *p;
  case 16:
    return (int16_t)fits_be16(p);
  case 32:
    return (int32_t)fits_be32(p);
  case 64:
    return (double)(int64_t)fits_be64(p);
  case -32:
    return fits_be_f32(p);
  default:
    return fits_be_f64(p);
  }
}

static int64_t raw_i64(const unsigned char *p, int bitpix)
{
  switch (bitpix) {
  case 8:
    return *p;
  case 16:
    return (int16_t)fits_be16(p);
  case 32:
    return (int32_t)fits_be32(p);
  default:
    return (int64_t)fits_be64(p);
  }
}

/** Pixels of an image as they are held: big-endian as in the file (item 0), or unpacked floats (4) or doubles (8). */
typedef struct held_pixels {
  const unsigned char *at;
  int item;
} held_pixels;

/* The box of a compressed image that holds [first, first + n): whole rows of the slowest axis; *before: its pixels in
 * front of the first. */
static fits_box box_of_span(const fits_hdu *h, int64_t first, int64_t n, int64_t *before)
{
  fits_box b;
  const int64_t row = h->face.pixels / h->face.shape[0];
  for (int i = 0; i < h->face.naxis; i++) {
    b.lo[i] = 0;
    b.n[i] = h->face.shape[i];
  }
  b.lo[0] = first / row;
  b.n[0] = n ? (first + n - 1) / row - b.lo[0] + 1 : 0;
  *before = first - b.lo[0] * row;
  return b;
}

/* Check that pixels [first, first + n) of the image exist and are readable; *p points to them. */
static syz_status image_span(syz_fits *f, int hdu, int64_t first, int64_t n, held_pixels *p)
{
  syz_status st = SYZ_OK;
  char where[256];
  SYZ_REQUIRE(hdu >= 0 && hdu < f->n, SYZ_ERR_DATA, "%s: no HDU %d", f->path, hdu);
  const fits_hdu *h = &f->hdu[hdu];
  SYZ_REQUIRE(h->face.kind == SYZ_FITS_IMAGE || h->face.kind == SYZ_FITS_COMPRESSED, SYZ_ERR_DATA, "%s: not an image",
              syz_fits_where(f, hdu, where));
  SYZ_REQUIRE(first >= 0 && n >= 0 && first <= h->face.pixels && n <= h->face.pixels - first, SYZ_ERR_DATA,
              "%s: pixels %lld to %lld of %lld", syz_fits_where(f, hdu, where), (long long)first,
              (long long)(first + n), (long long)h->face.pixels);
  *p = (held_pixels){f->bytes.data + h->data_at, 0};
  if (n && h->face.kind == SYZ_FITS_COMPRESSED) {
    int64_t before;
    const fits_box want = box_of_span(h, first, n, &before);
    SYZ_TRY(fits_tile_unpack(f, hdu, &want));
    const fits_tiles *t = &h->tiles;
    const int64_t row = h->face.pixels / h->face.shape[0];
    /* Callers read whole rows, so whole rows are kept. */
    p->item = fits_tile_item(h);
    p->at = (const unsigned char *)t->pixels + ((want.lo[0] - t->box.lo[0]) * row + before) * p->item;
  } else if (n) {
    SYZ_TRY(fits_verify(f, hdu));
    p->at += (size_t)first * (size_t)(abs(h->face.bitpix) / 8);
  }
cleanup:
  return st;
}

static double held_f64(const held_pixels *p, int64_t i)
{
  return p->item == 4 ? (double)((const float *)(const void *)p->at)[i] : ((const double *)(const void *)p->at)[i];
}

syz_status syz_fits_read_f64(syz_fits *f, int hdu, int64_t first, int64_t n, double *out)
{
  syz_status st = SYZ_OK;
  held_pixels p;
  SYZ_TRY(image_span(f, hdu, first, n, &p));
  if (p.item) {
    for (int64_t i = 0; i < n; i++) out[i] = held_f64(&p, i);
    return SYZ_OK;
  }
  const fits_hdu *h = &f->hdu[hdu];
  int bitpix = h->face.bitpix;
  size_t bytes = (size_t)(abs(bitpix) / 8);
  const fits_scale *s = h->scale;
  for (int64_t i = 0; i < n; i++) {
    const unsigned char *q = p.at + (size_t)i * bytes;
    double v = raw_f64(q, bitpix);
    if (s->has_null && raw_i64(q, bitpix) == s->null) v = (double)NAN;
    out[i] = s->is_scaled ? v * s->scale + s->zero : v;
  }
  SYZ_TRY(fits_map_check(&f->bytes.map, f->path));
cleanup:
  return st;
}

/* Convert contiguous pixels. */
static void to_f32(const fits_hdu *h, const held_pixels *p, int64_t n, float *out)
{
  if (p->item == 4) {
    memcpy(out, p->at, (size_t)n * sizeof *out);
    return;
  }
  if (p->item) {
    for (int64_t i = 0; i < n; i++) out[i] = (float)held_f64(p, i);
    return;
  }
  int bitpix = h->face.bitpix;
  const fits_scale *s = h->scale;
  if (bitpix == -32 && !s->is_scaled) {
    for (int64_t i = 0; i < n; i++) out[i] = fits_be_f32(p->at + 4 * (size_t)i);
    return;
  }
  size_t bytes = (size_t)(abs(bitpix) / 8);
  for (int64_t i = 0; i < n; i++) {
    const unsigned char *q = p->at + (size_t)i * bytes;
    double v = raw_f64(q, bitpix);
    if (s->has_null && raw_i64(q, bitpix) == s->null) v = (double)NAN;
    out[i] = (float)(s->is_scaled ? v * s->scale + s->zero : v);
  }
}

syz_status syz_fits_read_f32(syz_fits *f, int hdu, int64_t first, int64_t n, float *out)
{
  syz_status st = SYZ_OK;
  held_pixels p;
  SYZ_TRY(image_span(f, hdu, first, n, &p));
  to_f32(&f->hdu[hdu], &p, n, out);
  SYZ_TRY(fits_map_check(&f->bytes.map, f->path));
cleanup:
  return st;
}

syz_status syz_fits_read_window(syz_fits *f, int hdu, int64_t plane, int64_t x, int64_t y, int64_t width,
                                int64_t height, float *out)
{
  syz_status st = SYZ_OK;
  char where[256];
  held_pixels p;
  SYZ_TRY(image_span(f, hdu, 0, 0, &p));
  const fits_hdu *h = &f->hdu[hdu];
  const int axes = h->face.naxis;
  SYZ_REQUIRE(axes >= 2 && axes <= 3, SYZ_ERR_DATA, "%s: an image of %d axes, 2 or 3 are needed",
              syz_fits_where(f, hdu, where), axes);
  const int64_t wide = h->face.shape[axes - 1], high = h->face.shape[axes - 2],
                planes = axes == 3 ? h->face.shape[0] : 1;
  SYZ_REQUIRE(plane >= 0 && plane < planes && x >= 0 && width >= 1 && x <= wide - width && y >= 0 && height >= 1 &&
                  y <= high - height,
              SYZ_ERR_DATA, "%s: window of %lld x %lld pixels at (%lld, %lld) of plane %lld",
              syz_fits_where(f, hdu, where), (long long)width, (long long)height, (long long)x, (long long)y,
              (long long)plane);
  fits_box want = {{plane, y, x}, {1, height, width}};
  if (axes == 2) want = (fits_box){{y, x}, {height, width}};
  if (h->face.kind == SYZ_FITS_COMPRESSED)
    SYZ_TRY(fits_tile_unpack(f, hdu, &want));
  else
    SYZ_TRY(fits_verify(f, hdu));
  for (int64_t r = 0; r < height; r++) {
    if (h->face.kind == SYZ_FITS_COMPRESSED) {
      const fits_box *b = &h->tiles.box;
      const int64_t row =
          ((axes == 3 ? plane - b->lo[0] : 0) * b->n[axes - 2] + y + r - b->lo[axes - 2]) * b->n[axes - 1];
      p.item = fits_tile_item(h);
      p.at = (const unsigned char *)h->tiles.pixels + (row + x - b->lo[axes - 1]) * p.item;
    } else {
      p.at =
          f->bytes.data + h->data_at + (size_t)((plane * high + y + r) * wide + x) * (size_t)(abs(h->face.bitpix) / 8);
    }
    to_f32(h, &p, width, out + r * width);
  }
  SYZ_TRY(fits_map_check(&f->bytes.map, f->path));
cleanup:
  return st;
}

syz_status syz_fits_read_u32(syz_fits *f, int hdu, int64_t first, int64_t n, uint32_t *out)
{
  syz_status st = SYZ_OK;
  char where[256];
  held_pixels p;
  SYZ_TRY(image_span(f, hdu, first, n, &p));
  const fits_hdu *h = &f->hdu[hdu];
  SYZ_REQUIRE(h->face.bitpix > 0, SYZ_ERR_DATA, "%s: BITPIX %d, whole numbers are needed",
              syz_fits_where(f, hdu, where), h->face.bitpix);
  if (p.item) {
    for (int64_t i = 0; i < n; i++) {
      double v = held_f64(&p, i);
      SYZ_REQUIRE(v >= -9.2e18 && v <= 9.2e18, SYZ_ERR_DATA, "%s: pixel %lld has no value",
                  syz_fits_where(f, hdu, where), (long long)(first + i));
      out[i] = (uint32_t)(uint64_t)(int64_t)v;
    }
    return SYZ_OK;
  }
  const fits_scale *s = h->scale;
  SYZ_REQUIRE(s->scale == 1 && s->zero == floor(s->zero) && fabs(s->zero) <= 9.2e18, SYZ_ERR_DATA,
              "%s: BSCALE %g, BZERO %g do not give whole numbers", syz_fits_where(f, hdu, where), s->scale, s->zero);
  int bitpix = h->face.bitpix;
  size_t bytes = (size_t)(bitpix / 8);
  uint64_t zero = (uint64_t)(int64_t)s->zero;
  for (int64_t i = 0; i < n; i++) out[i] = (uint32_t)((uint64_t)raw_i64(p.at + (size_t)i * bytes, bitpix) + zero);
  SYZ_TRY(fits_map_check(&f->bytes.map, f->path));
cleanup:
  return st;
}

/* ---------------------------------------------------------------- columns */

static int type_bitpix(char type)
{
  switch (type) {
  case 'L':
  case 'B':
  case 'A':
    return 8;
  case 'I':
    return 16;
  case 'J':
    return 32;
  case 'K':
    return 64;
  case 'E':
    return -32;
  case 'D':
    return -64;
  default:
    return 0;
  }
}

static syz_status column_span(syz_fits *f, int hdu, int column, int64_t item, int64_t first, int64_t n,
                              const unsigned char **data)
{
  syz_status st = SYZ_OK;
  char where[256];
  SYZ_REQUIRE(hdu >= 0 && hdu < f->n, SYZ_ERR_DATA, "%s: no HDU %d", f->path, hdu);
  const fits_hdu *h = &f->hdu[hdu];
  SYZ_REQUIRE(h->face.kind == SYZ_FITS_TABLE, SYZ_ERR_DATA, "%s: not a table", syz_fits_where(f, hdu, where));
  SYZ_REQUIRE(column >= 0 && column < h->face.columns, SYZ_ERR_DATA, "%s: no column %d of %d",
              syz_fits_where(f, hdu, where), column, h->face.columns);
  const syz_fits_field *c = &h->field[column];
  SYZ_REQUIRE(type_bitpix(c->type) != 0, SYZ_ERR_DATA, "%s: column %s of type %c is not read",
              syz_fits_where(f, hdu, where), c->name, c->type);
  SYZ_REQUIRE(item >= 0 && item < c->repeat, SYZ_ERR_DATA, "%s: column %s has %lld items, number %lld is asked for",
              syz_fits_where(f, hdu, where), c->name, (long long)c->repeat, (long long)item);
  SYZ_REQUIRE(first >= 0 && n >= 0 && first <= h->face.rows && n <= h->face.rows - first, SYZ_ERR_DATA,
              "%s: rows %lld to %lld of %lld", syz_fits_where(f, hdu, where), (long long)first, (long long)(first + n),
              (long long)h->face.rows);
  SYZ_TRY(fits_verify(f, hdu));
  SYZ_TRY(fits_ascii_convert(f, hdu));
  *data = (h->made ? h->made : f->bytes.data + h->data_at) + first * h->row_bytes + c->offset +
          item * (abs(type_bitpix(c->type)) / 8);
cleanup:
  return st;
}

static double column_value(const unsigned char *p, char type, const fits_scale *s)
{
  if (type == 'L') return *p == 'T' || *p == 1 ? 1.0 : *p == 'F' ? 0.0 : (double)NAN;
  int bitpix = type_bitpix(type);
  if (s->has_null && bitpix > 0 && raw_i64(p, bitpix) == s->null) return (double)NAN;
  double v = raw_f64(p, bitpix);
  return s->is_scaled ? v * s->scale + s->zero : v;
}

syz_status syz_fits_column_f64(syz_fits *f, int hdu, int column, int64_t item, int64_t first, int64_t n, double *out)
{
  syz_status st = SYZ_OK;
  char where[256];
  const unsigned char *p = NULL;
  SYZ_TRY(column_span(f, hdu, column, item, first, n, &p));
  const fits_hdu *h = &f->hdu[hdu];
  char type = h->field[column].type;
  SYZ_REQUIRE(type != 'A', SYZ_ERR_DATA, "%s: column %s is text, a number is needed", syz_fits_where(f, hdu, where),
              h->field[column].name);
  for (int64_t i = 0; i < n; i++) out[i] = column_value(p + i * h->row_bytes, type, &h->scale[column]);
  SYZ_TRY(fits_map_check(&f->bytes.map, f->path));
cleanup:
  return st;
}

syz_status syz_fits_column_i64(syz_fits *f, int hdu, int column, int64_t item, int64_t first, int64_t n, int64_t *out)
{
  syz_status st = SYZ_OK;
  char where[256];
  const unsigned char *p = NULL;
  SYZ_TRY(column_span(f, hdu, column, item, first, n, &p));
  const fits_hdu *h = &f->hdu[hdu];
  const fits_scale *s = &h->scale[column];
  char type = h->field[column].type;
  SYZ_REQUIRE(type != 'A' && type != 'E' && type != 'D', SYZ_ERR_DATA,
              "%s: column %s is of type %c, a whole number is needed", syz_fits_where(f, hdu, where),
              h->field[column].name, type);
  SYZ_REQUIRE(s->scale == 1 && s->zero == floor(s->zero) && fabs(s->zero) <= 9.3e18, SYZ_ERR_DATA,
              "%s: column %s is scaled to fractions, a whole number is needed", syz_fits_where(f, hdu, where),
              h->field[column].name);
  /* TZERO = 2^63 marks unsigned 64-bit numbers: modulo 2^64 it is the sign bit. */
  uint64_t zero = s->zero >= 9223372036854775808.0 ? (uint64_t)1 << 63 : (uint64_t)(int64_t)s->zero;
  for (int64_t i = 0; i < n; i++) {
    const unsigned char *q = p + i * h->row_bytes;
    if (type == 'L')
      out[i] = *q == 'T' || *q == 1;
    else
      out[i] = (int64_t)((uint64_t)raw_i64(q, type_bitpix(type)) + zero);
    if (h->made && s->has_null && raw_i64(q, type_bitpix(type)) == s->null) out[i] = -1; /* an empty cell */
    SYZ_REQUIRE(zero != (uint64_t)1 << 63 || out[i] >= 0, SYZ_ERR_DATA,
                "%s: column %s, row %lld: %llu is more than 64 bits with a sign can hold",
                syz_fits_where(f, hdu, where), h->field[column].name, (long long)(first + i),
                (unsigned long long)out[i]);
  }
  SYZ_TRY(fits_map_check(&f->bytes.map, f->path));
cleanup:
  return st;
}

syz_status syz_fits_column_text(syz_fits *f, int hdu, int column, int64_t row, char *text, size_t room)
{
  syz_status st = SYZ_OK;
  char where[256];
  const unsigned char *p = NULL;
  SYZ_REQUIRE(room >= 1, SYZ_ERR_INTERNAL, "no room for text");
  text[0] = '\0';
  SYZ_TRY(column_span(f, hdu, column, 0, row, 1, &p));
  const syz_fits_field *c = &f->hdu[hdu].field[column];
  SYZ_REQUIRE(c->type == 'A', SYZ_ERR_DATA, "%s: column %s is not text", syz_fits_where(f, hdu, where), c->name);
  size_t n = 0;
  for (; n < (size_t)c->repeat && n < room - 1 && p[n]; n++) text[n] = p[n] >= 32 && p[n] < 127 ? (char)p[n] : '?';
  while (n && text[n - 1] == ' ') n--;
  text[n] = '\0';
  SYZ_TRY(fits_map_check(&f->bytes.map, f->path));
cleanup:
  return st;
}
