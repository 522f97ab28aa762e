/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * ASCII tables (XTENSION 'TABLE'): fields of text at fixed columns of each row, as VizieR and old archives write them.
 * They are converted to the rows of a BINTABLE when first read, so that all later code handles one kind of table: whole
 * numbers become 64-bit ones, the others float64, text stays text.
 *
 * Empty fields, and those equal to TNULL, have no value (NaN). The standard would have an empty number be 0, which no
 * catalogue means. Source: FITS standard 4.0, section 7.2.
 */
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "file.h"

enum { NUMBER_TEXT = 72 };

/** A field of the text. */
typedef struct fits_ascii {
  int64_t start, width; /**< characters, start from 0 */
  int decimals;         /**< implied by the format where the text has no point */
  char letter;          /**< A, I, F, E, D */
  char null[72];        /**< TNULL, "" = none */
} fits_ascii;

/* "F12.6": letter, width, decimals. */
static bool parse_format(const char *text, fits_ascii *a)
{
  char *end;
  while (*text == ' ') text++;
  a->letter = (char)toupper((unsigned char)*text);
  if (!*text || !strchr("AIFED", a->letter)) return false;
  if (!isdigit((unsigned char)text[1])) return false;
  errno = 0;
  a->width = strtoll(text + 1, &end, 10);
  if (errno || a->width < 1) return false;
  a->decimals = 0;
  if (*end == '.') {
    if (!isdigit((unsigned char)end[1])) return false;
    long long d = strtoll(end + 1, &end, 10);
    if (errno || d > 40) return false;
    a->decimals = (int)d;
  }
  while (*end == ' ') end++;
  return !*end;
}

syz_status fits_ascii_index(const syz_fits *f, int number, fits_hdu *h)
{
  syz_status st = SYZ_OK;
  char where[256], text[72] = "", key[24];
  int64_t n = -1, at = 0;
  const int64_t text_row = h->face.shape[1];
  syz_fits_where(f, number, where);
  SYZ_REQUIRE(h->face.naxis == 2, SYZ_ERR_DATA, "%s: an ASCII table of %d axes", where, h->face.naxis);
  SYZ_REQUIRE(h->face.bitpix == 8, SYZ_ERR_DATA, "%s: an ASCII table with BITPIX %d", where, h->face.bitpix);
  SYZ_REQUIRE(syz_fits_key_int(f, number, "TFIELDS", &n) && n >= 0 && n <= 999, SYZ_ERR_DATA,
              "%s: TFIELDS %lld is not in 0 .. 999", where, (long long)n);
  h->face.columns = (int)n;
  h->face.rows = text_row ? h->face.shape[0] : 0;
  SYZ_ALLOC(h->field, "FITS fields", n + 1);
  SYZ_ALLOC(h->scale, "FITS fields", n + 1);
  SYZ_ALLOC(h->ascii, "FITS fields", n + 1);
  for (int i = 0; i < h->face.columns; i++) {
    fits_ascii *a = &h->ascii[i];
    syz_fits_field *c = &h->field[i];
    fits_scale *s = &h->scale[i];
    int64_t column = 0;
    snprintf(key, sizeof key, "TTYPE%d", i + 1);
    if (syz_fits_key_text(f, number, key, text, sizeof text)) snprintf(c->name, sizeof c->name, "%s", text);
    snprintf(key, sizeof key, "TUNIT%d", i + 1);
    if (syz_fits_key_text(f, number, key, text, sizeof text)) snprintf(c->unit, sizeof c->unit, "%s", text);
    snprintf(key, sizeof key, "TFORM%d", i + 1);
    SYZ_REQUIRE(syz_fits_key_text(f, number, key, text, sizeof text) && parse_format(text, a), SYZ_ERR_DATA,
                "%s: %s is not a format of ASCII tables", where, key);
    snprintf(key, sizeof key, "TBCOL%d", i + 1);
    SYZ_REQUIRE(syz_fits_key_int(f, number, key, &column) && column >= 1 && column <= text_row &&
                    a->width <= text_row - (column - 1),
                SYZ_ERR_DATA, "%s: column %d (%s): %s %lld and a width of %lld do not fit into rows of %lld characters",
                where, i + 1, c->name, key, (long long)column, (long long)a->width, (long long)text_row);
    a->start = column - 1;
    snprintf(key, sizeof key, "TNULL%d", i + 1);
    if (!syz_fits_key_text(f, number, key, a->null, sizeof a->null)) a->null[0] = '\0';
    s->scale = 1;
    snprintf(key, sizeof key, "TSCAL%d", i + 1);
    (void)syz_fits_key_real(f, number, key, &s->scale);
    snprintf(key, sizeof key, "TZERO%d", i + 1);
    (void)syz_fits_key_real(f, number, key, &s->zero);
    s->is_scaled = s->scale != 1 || s->zero != 0;
    c->type = a->letter == 'A' ? 'A' : a->letter == 'I' ? 'K' : 'D';
    c->repeat = a->letter == 'A' ? a->width : 1;
    c->offset = at;
    s->has_null = c->type == 'K';
    s->null = INT64_MIN;
    at += c->type == 'A' ? a->width : 8;
  }
  h->row_bytes = at;
  h->heap_at = text_row * h->face.rows;
  h->face.kind = SYZ_FITS_TABLE;
  h->face.bitpix = 0;
  h->face.naxis = 0;
  memset(h->face.shape, 0, sizeof h->face.shape);
cleanup:
  if (st != SYZ_OK) syz_free(&h->ascii);
  return st;
}

/* A field without the blanks around it; false when it is too long for a number. */
static bool trim(const unsigned char *p, int64_t n, char text[NUMBER_TEXT])
{
  while (n && *p == ' ') p++, n--;
  while (n && (p[n - 1] == ' ' || p[n - 1] == '\0')) n--;
  if (n >= NUMBER_TEXT) return false;
  memcpy(text, p, (size_t)n);
  text[n] = '\0';
  return true;
}

static bool convert_field(const unsigned char *p, const fits_ascii *a, unsigned char *out)
{
  char text[NUMBER_TEXT];
  int64_t whole = INT64_MIN;
  double real = (double)NAN;
  if (!trim(p, a->width, text)) return false;
  bool is_null = !text[0] || (a->null[0] && !strcmp(text, a->null));
  if (a->letter == 'I') {
    if (!is_null && !fits_parse_int(text, &whole)) return false;
    fits_put_be64(out, (uint64_t)whole);
    return true;
  }
  if (!is_null) {
    if (!syz_fits_parse_real(text, &real)) return false;
    if (!strchr(text, '.') && a->decimals) real *= pow(10, -a->decimals);
  }
  fits_put_be_f64(out, real);
  return true;
}

syz_status fits_ascii_convert(syz_fits *f, int hdu)
{
  syz_status st = SYZ_OK;
  fits_hdu *h = &f->hdu[hdu];
  unsigned char *made = NULL;
  char where[256];
  if (!h->ascii || h->made) return SYZ_OK;
  const int64_t rows = h->face.rows, text_row = rows ? h->heap_at / rows : 0;
  SYZ_REQUIRE(h->row_bytes == 0 || rows <= (int64_t)(syz_memory_available() / 2) / h->row_bytes, SYZ_ERR_DATA,
              "%s: %lld rows of %lld bytes are more than this machine can hold", syz_fits_where(f, hdu, where),
              (long long)rows, (long long)h->row_bytes);
  SYZ_ALLOC(made, "ASCII table", rows * h->row_bytes + 1);
  for (int64_t r = 0; r < rows; r++)
    for (int c = 0; c < h->face.columns; c++) {
      const fits_ascii *a = &h->ascii[c];
      const unsigned char *p = f->bytes.data + h->data_at + r * text_row + a->start;
      unsigned char *out = made + r * h->row_bytes + h->field[c].offset;
      if (a->letter == 'A')
        memcpy(out, p, (size_t)a->width);
      else
        SYZ_REQUIRE(convert_field(p, a, out), SYZ_ERR_DATA, "%s: column %s, row %lld: '%.*s' is not a number",
                    syz_fits_where(f, hdu, where), h->field[c].name, (long long)r, (int)(a->width < 40 ? a->width : 40),
                    (const char *)p);
    }
  h->made = made;
  made = NULL;
cleanup:
  syz_free(&made);
  return st;
}
