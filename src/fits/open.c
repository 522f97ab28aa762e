/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The index of a FITS file, by own code. Every header is read card by card before any pixel is touched, because
 * cfitsio 4.2.0 does not check headers: a ZTILE of 0 is a division by zero at opening, and NAXIS1 = 10^12 opens without
 * an error. Here every size is checked against the file, every table's fields against its row length, every tile's
 * place against the heap. Source of the rules: FITS standard 4.0 (Pence et al. 2010, A&A 524, A42; version of 2016),
 * sections 3, 4, 7 and 10.
 */
#include "cards.h"
#include "file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { TILE_PIXELS = 8 << 20, TILE_RATIO = 400, HDUS_MAX = 131072 };

/* ----------------------------------------------------------------- tables */

static bool key_is_there_but_no_number(const fits_hdu *h, const char *key)
{
  double v;
  return fits_find_card(h, key) && !fits_key_real(h, key, &v);
}

static bool key_n_text(const fits_hdu *h, const char *stem, int i, char text[72])
{
  char key[24];
  snprintf(key, sizeof key, "%s%d", stem, i);
  return fits_key_text(h, key, text);
}

/* Includes types that are read but never written. */
static int64_t item_bytes(char type)
{
  if (type == 'C' || type == 'P') return 8;
  if (type == 'M' || type == 'Q') return 16;
  return fits_item_bytes(type);
}

static syz_status index_fields(const syz_fits *f, int number, fits_hdu *h)
{
  syz_status st = SYZ_OK;
  char where[256], text[72];
  int64_t n_fields = -1, at = 0;
  syz_fits_where(f, number, where);
  SYZ_REQUIRE(fits_key_int(h, "TFIELDS", &n_fields) && n_fields >= 0 && n_fields <= 999, SYZ_ERR_DATA,
              "%s: TFIELDS %lld is not in 0 .. 999", where, (long long)n_fields);
  h->face.columns = (int)n_fields;
  SYZ_ALLOC(h->field, "FITS fields", n_fields + 1);
  SYZ_ALLOC(h->scale, "FITS fields", n_fields + 1);
  for (int i = 0; i < h->face.columns; i++) {
    syz_fits_field *c = &h->field[i];
    fits_scale *s = &h->scale[i];
    if (key_n_text(h, "TTYPE", i + 1, text)) snprintf(c->name, sizeof c->name, "%s", text);
    if (key_n_text(h, "TUNIT", i + 1, text)) snprintf(c->unit, sizeof c->unit, "%s", text);
    SYZ_REQUIRE(key_n_text(h, "TFORM", i + 1, text), SYZ_ERR_DATA, "%s: TFORM%d is missing", where, i + 1);
    char *end = text;
    while (*end == ' ') end++;
    c->repeat = 1;
    if (*end >= '0' && *end <= '9') {
      errno = 0;
      c->repeat = strtoll(end, &end, 10);
      SYZ_REQUIRE(!errno, SYZ_ERR_DATA, "%s: TFORM%d = '%s'", where, i + 1, text);
    }
    c->type = *end;
    int64_t bytes = 0;
    if (c->type == 'X')
      bytes = (c->repeat < INT64_MAX - 7 ? c->repeat + 7 : 0) / 8;
    else
      SYZ_REQUIRE(*end && item_bytes(c->type) && fits_multiply(c->repeat, item_bytes(c->type), &bytes), SYZ_ERR_DATA,
                  "%s: TFORM%d = '%s' is not a format", where, i + 1, text);
    SYZ_REQUIRE(bytes <= h->row_bytes - at, SYZ_ERR_DATA, "%s: column %d (%s, %s) does not fit into rows of %lld bytes",
                where, i + 1, c->name, text, (long long)h->row_bytes);
    c->offset = at;
    at += bytes;
    char key[24];
    s->scale = 1;
    snprintf(key, sizeof key, "TSCAL%d", i + 1);
    SYZ_REQUIRE(!key_is_there_but_no_number(h, key), SYZ_ERR_DATA, "%s: %s is not a number", where, key);
    fits_key_real(h, key, &s->scale);
    snprintf(key, sizeof key, "TZERO%d", i + 1);
    SYZ_REQUIRE(!key_is_there_but_no_number(h, key), SYZ_ERR_DATA, "%s: %s is not a number", where, key);
    fits_key_real(h, key, &s->zero);
    s->is_scaled = s->scale != 1 || s->zero != 0;
    snprintf(key, sizeof key, "TNULL%d", i + 1);
    s->has_null = fits_key_int(h, key, &s->null);
  }
  SYZ_REQUIRE(at == h->row_bytes, SYZ_ERR_DATA, "%s: columns take %lld bytes of a row, NAXIS1 says %lld", where,
              (long long)at, (long long)h->row_bytes);
cleanup:
  return st;
}

/* A compressed image: everything cfitsio divides by, shifts by or indexes with is checked here. */
static syz_status index_tiles(const syz_fits *f, int number, fits_hdu *h)
{
  syz_status st = SYZ_OK;
  char where[256], text[72], key[24];
  int64_t v = 0, tiles = 1, tile_pixels = 1;
  syz_fits_where(f, number, where);
  SYZ_REQUIRE(fits_key_int(h, "ZBITPIX", &v) && (v == 8 || v == 16 || v == 32 || v == 64 || v == -32 || v == -64),
              SYZ_ERR_DATA, "%s: ZBITPIX %lld is not allowed", where, (long long)v);
  h->face.bitpix = (int)v;
  SYZ_REQUIRE(fits_key_int(h, "ZNAXIS", &v) && v >= 1 && v <= SYZ_FITS_AXES, SYZ_ERR_DATA,
              "%s: ZNAXIS %lld is not in 1 .. %d", where, (long long)v, SYZ_FITS_AXES);
  h->face.naxis = (int)v;
  h->face.pixels = 1;
  for (int i = 0; i < h->face.naxis; i++) {
    int64_t size = -1, tile = i == 0 ? -1 : 1;
    snprintf(key, sizeof key, "ZNAXIS%d", i + 1);
    SYZ_REQUIRE(fits_key_int(h, key, &size) && size >= 1 && size <= INT32_MAX, SYZ_ERR_DATA, "%s: %s = %lld", where,
                key, (long long)size);
    if (i == 0) tile = size;
    snprintf(key, sizeof key, "ZTILE%d", i + 1);
    SYZ_REQUIRE(!fits_find_card(h, key) || (fits_key_int(h, key, &tile) && tile >= 1 && tile <= INT32_MAX),
                SYZ_ERR_DATA, "%s: %s = %lld", where, key, (long long)tile);
    if (tile > size) tile = size;
    h->face.shape[h->face.naxis - 1 - i] = size;
    h->tile[h->face.naxis - 1 - i] = tile;
    SYZ_REQUIRE(fits_multiply(h->face.pixels, size, &h->face.pixels) &&
                    fits_multiply(tiles, (size + tile - 1) / tile, &tiles) &&
                    fits_multiply(tile_pixels, tile, &tile_pixels),
                SYZ_ERR_DATA, "%s: image size overflows", where);
  }
  SYZ_REQUIRE(tiles == h->face.rows, SYZ_ERR_DATA, "%s: %lld tiles are in the table, the image's shape needs %lld",
              where, (long long)h->face.rows, (long long)tiles);
  /* A tile is the smallest unit of unpacking, so a large one must have enough stored bytes and fit in memory. */
  SYZ_REQUIRE(tile_pixels <= TILE_PIXELS ||
                  (tile_pixels <= INT32_MAX / 8 && tile_pixels / TILE_RATIO <= (int64_t)f->bytes.size &&
                   tile_pixels <= (int64_t)(syz_memory_share() / 64)),
              SYZ_ERR_DATA, "%s: a tile of %lld pixels, more than a file of %zu bytes or this node's memory allows",
              where, (long long)tile_pixels, f->bytes.size);
  SYZ_REQUIRE(fits_key_text(h, "ZCMPTYPE", text), SYZ_ERR_DATA, "%s: ZCMPTYPE is missing", where);
  bool is_rice = !strcmp(text, "RICE_1") || !strcmp(text, "RICE_ONE");
  SYZ_REQUIRE(is_rice || !strcmp(text, "GZIP_1") || !strcmp(text, "GZIP_2") || !strcmp(text, "HCOMPRESS_1") ||
                  !strcmp(text, "PLIO_1") || !strcmp(text, "NOCOMPRESS"),
              SYZ_ERR_DATA, "%s: compression '%s' is not known", where, text);
  SYZ_REQUIRE(strcmp(text, "HCOMPRESS_1") != 0 || h->face.naxis >= 2, SYZ_ERR_DATA, "%s: HCOMPRESS_1 needs two axes",
              where);
  for (int i = 1; i <= 9; i++) {
    snprintf(key, sizeof key, "ZNAME%d", i);
    if (!fits_key_text(h, key, text)) continue;
    int64_t value = -1;
    double real = 0;
    snprintf(key, sizeof key, "ZVAL%d", i);
    if (!strcmp(text, "BLOCKSIZE"))
      SYZ_REQUIRE(fits_key_int(h, key, &value) && (value == 16 || value == 32), SYZ_ERR_DATA,
                  "%s: BLOCKSIZE (%s) is neither 16 nor 32", where, key);
    if (!strcmp(text, "BYTEPIX"))
      SYZ_REQUIRE(fits_key_int(h, key, &value) && (value == 1 || value == 2 || value == 4 || (value == 8 && !is_rice)),
                  SYZ_ERR_DATA, "%s: BYTEPIX (%s) is not 1, 2 or 4", where, key);
    if (!strcmp(text, "SCALE") || !strcmp(text, "SMOOTH"))
      SYZ_REQUIRE(fits_key_real(h, key, &real) && real >= 0 && real < 1e9, SYZ_ERR_DATA, "%s: %s (%s) is out of range",
                  where, text, key);
  }
  /* Places of the tiles in the heap. */
  int found = 0;
  const unsigned char *data = f->bytes.data + h->data_at;
  int64_t heap = (int64_t)h->data_size - h->heap_at;
  for (int c = 0; c < h->face.columns; c++) {
    const syz_fits_field *field = &h->field[c];
    if (!strcasecmp(field->name, "COMPRESSED_DATA") || !strcasecmp(field->name, "GZIP_COMPRESSED_DATA") ||
        !strcasecmp(field->name, "UNCOMPRESSED_DATA"))
      found++;
    else if (!strcasecmp(field->name, "ZSCALE") || !strcasecmp(field->name, "ZZERO")) {
      SYZ_REQUIRE(field->type == 'D' && field->repeat == 1, SYZ_ERR_DATA, "%s: %s is not one double a tile", where,
                  field->name);
      continue;
    } else if (field->type != 'P' && field->type != 'Q')
      continue;
    SYZ_REQUIRE((field->type == 'P' || field->type == 'Q') && field->repeat <= 1, SYZ_ERR_DATA,
                "%s: %s is not a variable-length column", where, field->name);
    if (field->repeat == 0) continue;
    snprintf(key, sizeof key, "TFORM%d", c + 1);
    const char *card = fits_find_card(h, key);
    syz_fits_card_value(card, text);
    const char *letter = strpbrk(text, "PQ");
    int64_t width = letter ? item_bytes(letter[1]) : 0;
    SYZ_REQUIRE(width >= 1 && width <= 8, SYZ_ERR_DATA, "%s: %s = '%s'", where, key, text);
    for (int64_t row = 0; row < h->face.rows; row++) {
      const unsigned char *p = data + row * h->row_bytes + field->offset;
      int64_t count, place;
      if (field->type == 'P') {
        count = (int64_t)(int32_t)fits_be32(p);
        place = (int64_t)(int32_t)fits_be32(p + 4);
      } else {
        count = (int64_t)fits_be64(p);
        place = (int64_t)fits_be64(p + 8);
      }
      SYZ_REQUIRE(count >= 0 && (count == 0 || (place >= 0 && place <= heap && count <= (heap - place) / width)),
                  SYZ_ERR_DATA, "%s: tile %lld points outside the heap (%lld items at %lld of %lld bytes)", where,
                  (long long)row + 1, (long long)count, (long long)place, (long long)heap);
    }
  }
  SYZ_REQUIRE(found >= 1, SYZ_ERR_DATA, "%s: no column COMPRESSED_DATA", where);
  h->face.kind = SYZ_FITS_COMPRESSED;
cleanup:
  return st;
}

/* ------------------------------------------------------------------- HDUs */

static syz_status index_hdu(const syz_fits *f, int number, size_t at, fits_hdu *h)
{
  syz_status st = SYZ_OK;
  const char *start = (const char *)f->bytes.data;
  size_t size = f->bytes.size, end = at;
  char where[256], text[72], key[24];
  int64_t v = 0, pixels = 1, pcount = 0, gcount = 1, bytes = 0;
  memset(h, 0, sizeof *h);
  snprintf(where, sizeof where, "%.200s[HDU %d]", f->path, number);
  h->header = start + at;
  h->header_at = at;
  for (;; end += SYZ_FITS_CARD) {
    SYZ_REQUIRE(size - end >= SYZ_FITS_CARD, SYZ_ERR_DATA, "%s: the header has no END before the file does", where);
    SYZ_REQUIRE(h->n_cards < 36 * 20000, SYZ_ERR_DATA, "%s: more than %d header cards", where, 36 * 20000);
    if (memcmp(start + end, "END     ", 8) == 0) break;
    h->n_cards++;
  }
  h->data_at = at + (end - at + FITS_BLOCK) / FITS_BLOCK * FITS_BLOCK;
  if (h->data_at > size) h->data_at = size; /* a last block without padding and without data */
  fits_key_text(h, "EXTNAME", h->face.name);

  char kind = 'I';
  if (number == 0) {
    SYZ_REQUIRE(memcmp(h->header, "SIMPLE  =", 9) == 0, SYZ_ERR_DATA, "%s: not a FITS file (no SIMPLE)", f->path);
  } else {
    SYZ_REQUIRE(syz_fits_card_value(h->header, text) == 'T', SYZ_ERR_DATA, "%s: XTENSION without a value", where);
    kind = !strcmp(text, "IMAGE")                                   ? 'I'
           : !strcmp(text, "BINTABLE") || !strcmp(text, "A3DTABLE") ? 'B'
           : !strcmp(text, "TABLE")                                 ? 'T'
                                                                    : 'O';
  }
  SYZ_REQUIRE(fits_key_int(h, "BITPIX", &v) && (v == 8 || v == 16 || v == 32 || v == 64 || v == -32 || v == -64),
              SYZ_ERR_DATA, "%s: BITPIX %lld is not allowed", where, (long long)v);
  h->face.bitpix = (int)v;
  v = -1;
  SYZ_REQUIRE(fits_key_int(h, "NAXIS", &v) && v >= 0 && v <= 999, SYZ_ERR_DATA, "%s: NAXIS %lld is not allowed", where,
              (long long)v);
  int naxis = (int)v;
  if (naxis == 0) pixels = 0;
  for (int i = 0; i < naxis; i++) {
    snprintf(key, sizeof key, "NAXIS%d", i + 1);
    v = -1;
    SYZ_REQUIRE(fits_key_int(h, key, &v) && v >= 0, SYZ_ERR_DATA, "%s: %s = %lld", where, key, (long long)v);
    if (i == 0 && v == 0) {
      bool is_groups = false;
      SYZ_REQUIRE(!fits_key_bool(h, "GROUPS", &is_groups) || !is_groups, SYZ_ERR_DATA, "%s: random groups are not read",
                  where);
    }
    SYZ_REQUIRE(fits_multiply(pixels, v, &pixels), SYZ_ERR_DATA, "%s: the image size overflows", where);
    if (naxis <= SYZ_FITS_AXES) h->face.shape[naxis - 1 - i] = v;
  }
  if (naxis > SYZ_FITS_AXES) kind = 'O';
  h->face.naxis = naxis <= SYZ_FITS_AXES ? naxis : 0;
  SYZ_REQUIRE(!fits_find_card(h, "PCOUNT") || (fits_key_int(h, "PCOUNT", &pcount) && pcount >= 0), SYZ_ERR_DATA,
              "%s: PCOUNT %lld", where, (long long)pcount);
  SYZ_REQUIRE(!fits_find_card(h, "GCOUNT") || (fits_key_int(h, "GCOUNT", &gcount) && gcount >= 0), SYZ_ERR_DATA,
              "%s: GCOUNT %lld", where, (long long)gcount);
  if (number == 0 && naxis == 0) pcount = 0;
  SYZ_REQUIRE(pcount <= INT64_MAX - pixels && fits_multiply(pixels + pcount, gcount, &bytes) &&
                  fits_multiply(bytes, abs(h->face.bitpix) / 8, &bytes),
              SYZ_ERR_DATA, "%s: the data size overflows", where);
  SYZ_REQUIRE((uint64_t)bytes <= size - h->data_at, SYZ_ERR_DATA,
              "%s: the file is cut short: the header asks for %lld bytes of data, %zu are there", where,
              (long long)bytes, size - h->data_at);
  h->data_size = (size_t)bytes;
  h->end = h->data_at + (h->data_size + FITS_BLOCK - 1) / FITS_BLOCK * FITS_BLOCK;
  if (h->end > size) h->end = size;

  if (kind == 'I') {
    h->face.kind = SYZ_FITS_IMAGE;
    h->face.pixels = pixels;
    SYZ_ALLOC(h->scale, "FITS scaling", 1);
    h->scale->scale = 1;
    SYZ_REQUIRE(!key_is_there_but_no_number(h, "BSCALE") && !key_is_there_but_no_number(h, "BZERO"), SYZ_ERR_DATA,
                "%s: BSCALE or BZERO is not a number", where);
    fits_key_real(h, "BSCALE", &h->scale->scale);
    fits_key_real(h, "BZERO", &h->scale->zero);
    h->scale->is_scaled = h->scale->scale != 1 || h->scale->zero != 0;
    h->scale->has_null = h->face.bitpix > 0 && fits_key_int(h, "BLANK", &h->scale->null);
  } else if (kind == 'B') {
    SYZ_REQUIRE(naxis == 2 && h->face.bitpix == 8 && gcount == 1, SYZ_ERR_DATA,
                "%s: a BINTABLE with NAXIS %d and BITPIX %d", where, naxis, h->face.bitpix);
    h->face.kind = SYZ_FITS_TABLE;
    h->row_bytes = h->face.shape[1];
    h->face.rows = h->row_bytes
                       ? h->face.shape[0]
                       : 0; /* rows of zero bytes could be any number, for which memory must not be allocated */
    h->heap_at = pixels;
    SYZ_REQUIRE(!fits_find_card(h, "THEAP") ||
                    (fits_key_int(h, "THEAP", &h->heap_at) && h->heap_at >= pixels && h->heap_at <= bytes),
                SYZ_ERR_DATA, "%s: THEAP %lld lies outside the data", where, (long long)h->heap_at);
    h->face.bitpix = 0;
    h->face.naxis = 0;
    memset(h->face.shape, 0, sizeof h->face.shape);
    SYZ_TRY(index_fields(f, number, h));
    bool is_image = false;
    if (fits_key_bool(h, "ZIMAGE", &is_image) && is_image) SYZ_TRY(index_tiles(f, number, h));
  } else if (kind == 'T') {
    SYZ_REQUIRE(gcount == 1 && pcount == 0, SYZ_ERR_DATA, "%s: an ASCII table with PCOUNT %lld and GCOUNT %lld", where,
                (long long)pcount, (long long)gcount);
    SYZ_TRY(fits_ascii_index(f, number, h));
  } else {
    h->face.kind = SYZ_FITS_OTHER;
  }
cleanup:
  if (st != SYZ_OK) {
    syz_free(&h->ascii);
    syz_free(&h->field);
    syz_free(&h->scale);
  }
  return st;
}

syz_status syz_fits_open(const char *path, bool verify, syz_fits **out)
{
  syz_status st = SYZ_OK;
  syz_fits *f = NULL;
  size_t room = 0;
  *out = NULL;
  SYZ_ALLOC(f, "FITS file", 1);
  f->verify = verify;
  SYZ_ALLOC(f->path, "FITS path", strlen(path) + 1);
  strcpy(f->path, path);
  SYZ_TRY(fits_bytes_load(path, &f->bytes));
  if (fits_is_csv_name(path) && (f->bytes.size < SYZ_FITS_CARD || memcmp(f->bytes.data, "SIMPLE  =", 9) != 0)) {
    SYZ_TRY(fits_csv_open(f));
    *out = f;
    f = NULL;
    goto cleanup;
  }
  SYZ_REQUIRE(f->bytes.size >= SYZ_FITS_CARD && memcmp(f->bytes.data, "SIMPLE  =", 9) == 0, SYZ_ERR_DATA,
              "%s: not a FITS file (it does not begin with SIMPLE)", path);
  for (size_t at = 0; at < f->bytes.size;) {
    if (f->n) {
      const unsigned char *p = f->bytes.data + at;
      size_t left = f->bytes.size - at;
      if (left < SYZ_FITS_CARD || memcmp(p, "XTENSION=", 9) != 0) {
        bool is_padding = true;
        for (size_t i = 0; i < left && is_padding; i++) is_padding = p[i] == 0 || p[i] == ' ';
        SYZ_REQUIRE(is_padding, SYZ_ERR_DATA,
                    "%s: what follows HDU %d is not an extension (at byte %zu): damaged header or data", path, f->n - 1,
                    at);
        break;
      }
    }
    SYZ_REQUIRE(f->n < HDUS_MAX, SYZ_ERR_DATA, "%s: more than %d HDUs", path, HDUS_MAX);
    SYZ_TRY(syz_grow(&f->hdu, "FITS index", f->n, 1, &room));
    SYZ_TRY(index_hdu(f, f->n, at, &f->hdu[f->n]));
    at = f->hdu[f->n].end;
    f->n++;
  }
  SYZ_TRY(fits_map_check(&f->bytes.map, path));
  *out = f;
  f = NULL;
cleanup:
  syz_fits_close(&f);
  return st;
}

void syz_fits_close(syz_fits **file)
{
  syz_fits *f = *file;
  if (!f) return;
  for (int i = 0; i < f->n; i++) {
    syz_free(&f->hdu[i].field);
    syz_free(&f->hdu[i].scale);
    syz_free(&f->hdu[i].ascii);
    syz_free(&f->hdu[i].made);
    fits_tile_forget(&f->hdu[i]);
  }
  syz_free(&f->hdu);
  syz_free(&f->path);
  fits_bytes_free(&f->bytes);
  syz_free(file);
}

/* ---------------------------------------------------------------- getters */

const char *syz_fits_path(const syz_fits *f) { return f->path; }
int syz_fits_count(const syz_fits *f) { return f->n; }
const syz_fits_hdu *syz_fits_get(const syz_fits *f, int hdu) { return &f->hdu[hdu].face; }

int syz_fits_find(const syz_fits *f, const char *name)
{
  for (int i = 0; i < f->n; i++)
    if (!strcasecmp(f->hdu[i].face.name, name)) return i;
  return -1;
}

const syz_fits_field *syz_fits_field_get(const syz_fits *f, int hdu, int i) { return &f->hdu[hdu].field[i]; }

int syz_fits_field_find(const syz_fits *f, int hdu, const char *name)
{
  const fits_hdu *h = &f->hdu[hdu];
  for (int i = 0; i < h->face.columns; i++)
    if (!strcasecmp(h->field[i].name, name)) return i;
  return -1;
}

void syz_fits_search(const syz_fits *f, int hdu, const char *name, bool takes_vectors, syz_column_search *s)
{
  const fits_hdu *h = &f->hdu[hdu];
  for (int i = 0; i < h->face.columns; i++) {
    const syz_fits_field *c = &h->field[i];
    if (!strchr("LBIJKED", c->type) || c->repeat < 1 || (c->repeat > 1 && !takes_vectors)) continue;
    int distance = syz_edit_distance(name, c->name);
    const bool is_it = !strcasecmp(name, c->name);
    if (is_it && !s->unit[0]) snprintf(s->unit, sizeof s->unit, "%s", c->unit);
    s->has = s->has || is_it;
    if (distance >= s->distance) continue;
    s->distance = distance;
    snprintf(s->nearest, sizeof s->nearest, "%s", c->name);
  }
}

syz_status syz_fits_require(const syz_fits *f, int hdu, const char *names)
{
  syz_status st = SYZ_OK;
  char where[256], missing[512] = "";
  size_t used = 0;
  for (const char *p = names; *p;) {
    char name[72];
    size_t n = strcspn(p, ",");
    snprintf(name, sizeof name, "%.*s", (int)(n < 71 ? n : 71), p);
    p += n + (p[n] == ',');
    if (syz_fits_field_find(f, hdu, name) < 0 && used < sizeof missing - 80)
      used += (size_t)snprintf(missing + used, sizeof missing - used, "%s%s", used ? ", " : "", name);
  }
  SYZ_REQUIRE(!used, SYZ_ERR_DATA, "%s: missing column%s %s", syz_fits_where(f, hdu, where),
              strchr(missing, ',') ? "s" : "", missing);
cleanup:
  return st;
}
