/* SPDX-License-Identifier: BSD-3-Clause */
/** Header cards and big-endian rows for writing. Source: FITS standard 4.0, sections 4.1, 4.2 and 7.3. */
#include "cards.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static syz_status card_room(syz_fits_cards *c, char **card)
{
  syz_status st = SYZ_OK;
  SYZ_TRY(syz_grow(&c->text, "FITS header", (size_t)c->n * SYZ_FITS_CARD, SYZ_FITS_CARD, &c->room));
  *card = c->text + (size_t)c->n++ * SYZ_FITS_CARD;
  memset(*card, ' ', SYZ_FITS_CARD);
cleanup:
  return st;
}

static syz_status put_card(syz_fits_cards *c, const char *key, const char *value, const char *comment)
{
  syz_status st = SYZ_OK;
  char *card = NULL, line[SYZ_FITS_CARD + 80];
  SYZ_TRY(card_room(c, &card));
  int n = snprintf(line, sizeof line, "%-8s= %s", key, value);
  if (comment && n < SYZ_FITS_CARD - 4) n += snprintf(line + n, sizeof line - (size_t)n, " / %.60s", comment);
  memcpy(card, line, (size_t)(n < SYZ_FITS_CARD ? n : SYZ_FITS_CARD));
cleanup:
  return st;
}

bool fits_text_is_long(const char *text)
{
  size_t n = 0;
  for (const char *p = text; *p; p++) n += *p == '\'' ? 2 : 1;
  return n > FITS_TEXT;
}

/* HEASARC's announcement of CONTINUE cards, once a header: readers and fitsverify look for it. */
static syz_status announce_long_text(syz_fits_cards *c)
{
  syz_status st = SYZ_OK;
  char *card = NULL;
  static const char line[] = "LONGSTRN= 'OGIP 1.0'           / The HEASARC Long String Convention may be used.";
  for (int i = 0; i < c->n; i++)
    if (memcmp(c->text + (size_t)i * SYZ_FITS_CARD, line, 9) == 0) goto cleanup;
  SYZ_TRY(card_room(c, &card));
  memcpy(card, line, sizeof line - 1);
cleanup:
  return st;
}

/* Text with quotes doubled, in pieces of at most 66 characters that end in '&' where a CONTINUE card follows. */
static syz_status put_text(syz_fits_cards *c, const char *key, const char *text, const char *comment)
{
  syz_status st = SYZ_OK;
  bool is_first = true;
  const char *p = text;
  if (fits_text_is_long(text)) SYZ_TRY(announce_long_text(c));
  do {
    char piece[72], value[SYZ_FITS_CARD];
    int n = 0;
    for (; *p && n < FITS_TEXT; p++) {
      if (*p == '\'') piece[n++] = '\'';
      piece[n++] = *p >= 32 && *p < 127 ? *p : '?';
    }
    /* 68 characters fit between the quotes; the piece is cut earlier so that '&' fits too. */
    if (*p) piece[n++] = '&';
    piece[n] = '\0';
    if (is_first) {
      char quoted[SYZ_FITS_CARD];
      snprintf(quoted, sizeof quoted, "'%-8s'", piece);
      snprintf(value, sizeof value, "%-20s", quoted);
      SYZ_TRY(put_card(c, key, value, *p ? NULL : comment));
    } else {
      char *card = NULL, line[SYZ_FITS_CARD + 8];
      SYZ_TRY(card_room(c, &card));
      int used = snprintf(line, sizeof line, "CONTINUE  '%s'", piece);
      memcpy(card, line, (size_t)(used < SYZ_FITS_CARD ? used : SYZ_FITS_CARD));
    }
    is_first = false;
  } while (*p);
cleanup:
  return st;
}

syz_status syz_fits_cards_add(syz_fits_cards *c, const syz_fits_card *card)
{
  syz_status st = SYZ_OK;
  char value[40], number[32];
  SYZ_REQUIRE(card->key && card->key[0] && strlen(card->key) <= 8 &&
                  strspn(card->key, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") == strlen(card->key),
              SYZ_ERR_INTERNAL, "'%s' is not a FITS keyword", card->key ? card->key : "");
  switch (card->type) {
  case 'T':
    SYZ_TRY(put_text(c, card->key, card->text ? card->text : "", card->comment));
    break;
  case 'I':
    snprintf(value, sizeof value, "%20lld", (long long)card->integer);
    SYZ_TRY(put_card(c, card->key, value, card->comment));
    break;
  case 'L':
    snprintf(value, sizeof value, "%20s", card->integer ? "T" : "F");
    SYZ_TRY(put_card(c, card->key, value, card->comment));
    break;
  case 'F':
    SYZ_REQUIRE(isfinite(card->real), SYZ_ERR_INTERNAL, "FITS keyword %s: %g cannot be written", card->key, card->real);
    for (int digits = 15; digits <= 17; digits++) {
      snprintf(number, sizeof number, "%.*G", digits, card->real);
      if (strtod(number, NULL) == card->real) break;
    }
    if (!strpbrk(number, ".E")) strcat(number, ".0");
    snprintf(value, sizeof value, "%20s", number);
    SYZ_TRY(put_card(c, card->key, value, card->comment));
    break;
  default:
    SYZ_REQUIRE(false, SYZ_ERR_INTERNAL, "FITS keyword %s: type '%c'", card->key, card->type);
  }
cleanup:
  return st;
}

syz_status fits_cards_add_all(syz_fits_cards *c, const syz_fits_card *card, int n)
{
  syz_status st = SYZ_OK;
  for (int i = 0; i < n; i++) SYZ_TRY(syz_fits_cards_add(c, &card[i]));
cleanup:
  return st;
}

static syz_status add_sums(syz_fits_cards *c)
{
  syz_status st = SYZ_OK;
  SYZ_TRY(syz_fits_cards_add(c, &SYZ_CARD_TEXT("CHECKSUM", "0000000000000000", "HDU checksum")));
  SYZ_TRY(syz_fits_cards_add(c, &SYZ_CARD_TEXT("DATASUM", "0         ", "data unit checksum")));
cleanup:
  return st;
}

syz_status fits_cards_end(syz_fits_cards *c, size_t *bytes)
{
  syz_status st = SYZ_OK;
  char *card = NULL;
  SYZ_TRY(add_sums(c));
  SYZ_TRY(card_room(c, &card));
  memcpy(card, "END", 3);
  while (c->n % (FITS_BLOCK / SYZ_FITS_CARD)) SYZ_TRY(card_room(c, &card));
  *bytes = (size_t)c->n * SYZ_FITS_CARD;
cleanup:
  return st;
}

syz_status fits_cards_seal(syz_fits_cards *c, size_t bytes, uint32_t data_sum)
{
  syz_status st = SYZ_OK;
  char *checksum = NULL, *datasum = NULL, text[24], code[17];
  for (int i = 0; i < c->n; i++) {
    char *card = c->text + (size_t)i * SYZ_FITS_CARD;
    if (memcmp(card, "CHECKSUM=", 9) == 0) checksum = card;
    if (memcmp(card, "DATASUM =", 9) == 0) datasum = card;
  }
  SYZ_REQUIRE(checksum && datasum, SYZ_ERR_INTERNAL, "a FITS header without CHECKSUM");
  int n = snprintf(text, sizeof text, "'%-10lu'", (unsigned long)data_sum);
  memcpy(datasum + 10, text, (size_t)n);
  memcpy(checksum + 10, "'0000000000000000'", 18);
  uint64_t sum = fits_sum((const unsigned char *)c->text, bytes, 0, data_sum);
  fits_sum_encode((uint32_t)sum, code);
  memcpy(checksum + 11, code, 16);
cleanup:
  return st;
}

void syz_fits_cards_free(syz_fits_cards *c)
{
  syz_free(&c->text);
  memset(c, 0, sizeof *c);
}

syz_status fits_cards_primary(syz_fits_cards *c, const syz_fits_card *cards, int n_cards)
{
  syz_status st = SYZ_OK;
  SYZ_TRY(syz_fits_cards_add(c, &SYZ_CARD_BOOL("SIMPLE", true, "conforms to FITS standard")));
  SYZ_TRY(syz_fits_cards_add(c, &SYZ_CARD_INT("BITPIX", 8, NULL)));
  SYZ_TRY(syz_fits_cards_add(c, &SYZ_CARD_INT("NAXIS", 0, NULL)));
  SYZ_TRY(syz_fits_cards_add(c, &SYZ_CARD_BOOL("EXTEND", true, NULL)));
  SYZ_TRY(fits_cards_add_all(c, cards, n_cards));
cleanup:
  return st;
}

int fits_item_bytes(char type)
{
  switch (type) {
  case 'L':
  case 'B':
  case 'A':
    return 1;
  case 'I':
    return 2;
  case 'J':
  case 'E':
    return 4;
  case 'K':
  case 'D':
    return 8;
  default:
    return 0;
  }
}

syz_status fits_cards_table(syz_fits_cards *c, const char *extname, int64_t rows, const syz_fits_column *columns,
                            int n_columns, const syz_fits_card *cards, int n_cards, int64_t *row_bytes)
{
  syz_status st = SYZ_OK;
  char key[24], text[48];
  SYZ_REQUIRE(rows >= 0 && n_columns >= 1 && n_columns <= 999, SYZ_ERR_INTERNAL, "a table of %lld rows, %d columns",
              (long long)rows, n_columns);
  *row_bytes = 0;
  for (int i = 0; i < n_columns; i++) {
    SYZ_REQUIRE(fits_item_bytes(columns[i].type) && columns[i].repeat >= 1 && columns[i].repeat < (1 << 28),
                SYZ_ERR_INTERNAL, "column %s: type '%c', repeat %lld", columns[i].name, columns[i].type,
                (long long)columns[i].repeat);
    *row_bytes += fits_item_bytes(columns[i].type) * columns[i].repeat;
  }
  SYZ_TRY(syz_fits_cards_add(c, &SYZ_CARD_TEXT("XTENSION", "BINTABLE", "binary table")));
  SYZ_TRY(syz_fits_cards_add(c, &SYZ_CARD_INT("BITPIX", 8, NULL)));
  SYZ_TRY(syz_fits_cards_add(c, &SYZ_CARD_INT("NAXIS", 2, NULL)));
  SYZ_TRY(syz_fits_cards_add(c, &SYZ_CARD_INT("NAXIS1", *row_bytes, "bytes in a row")));
  SYZ_TRY(syz_fits_cards_add(c, &SYZ_CARD_INT("NAXIS2", rows, "rows")));
  SYZ_TRY(syz_fits_cards_add(c, &SYZ_CARD_INT("PCOUNT", 0, NULL)));
  SYZ_TRY(syz_fits_cards_add(c, &SYZ_CARD_INT("GCOUNT", 1, NULL)));
  SYZ_TRY(syz_fits_cards_add(c, &SYZ_CARD_INT("TFIELDS", n_columns, "columns")));
  SYZ_TRY(syz_fits_cards_add(c, &SYZ_CARD_TEXT("EXTNAME", extname, NULL)));
  for (int i = 0; i < n_columns; i++) {
    snprintf(key, sizeof key, "TTYPE%d", i + 1);
    SYZ_TRY(syz_fits_cards_add(c, &SYZ_CARD_TEXT(key, columns[i].name, NULL)));
    snprintf(key, sizeof key, "TFORM%d", i + 1);
    snprintf(text, sizeof text, "%lld%c", (long long)columns[i].repeat, columns[i].type);
    SYZ_TRY(syz_fits_cards_add(c, &SYZ_CARD_TEXT(key, text, NULL)));
    if (columns[i].repeat > 1 && columns[i].type != 'A') {
      snprintf(key, sizeof key, "TDIM%d", i + 1);
      snprintf(text, sizeof text, "(%lld)", (long long)columns[i].repeat);
      SYZ_TRY(syz_fits_cards_add(c, &SYZ_CARD_TEXT(key, text, NULL)));
    }
    if (columns[i].unit && columns[i].unit[0]) {
      snprintf(key, sizeof key, "TUNIT%d", i + 1);
      SYZ_TRY(syz_fits_cards_add(c, &SYZ_CARD_TEXT(key, columns[i].unit, NULL)));
    }
    if (columns[i].comment && columns[i].comment[0]) {
      snprintf(key, sizeof key, "TCOMM%d", i + 1);
      SYZ_TRY(syz_fits_cards_add(c, &SYZ_CARD_TEXT(key, columns[i].comment, NULL)));
    }
  }
  SYZ_TRY(fits_cards_add_all(c, cards, n_cards));
cleanup:
  return st;
}

/* ------------------------------------------------------------------- rows */

void fits_swap(unsigned char *out, const unsigned char *in, int64_t n, int item)
{
  if (item == 1) {
    memcpy(out, in, (size_t)n);
  } else if (item == 2) {
    for (int64_t i = 0; i < n; i++) {
      out[2 * i] = in[2 * i + 1];
      out[2 * i + 1] = in[2 * i];
    }
  } else if (item == 4) {
    for (int64_t i = 0; i < n; i++) {
      uint32_t u;
      memcpy(&u, in + 4 * i, 4);
      u = u >> 24 | (u >> 8 & 0xff00u) | (u << 8 & 0xff0000u) | u << 24;
      memcpy(out + 4 * i, &u, 4);
    }
  } else {
    for (int64_t i = 0; i < n; i++) {
      uint32_t u[2];
      memcpy(u, in + 8 * i, 8);
      uint32_t low = u[0] >> 24 | (u[0] >> 8 & 0xff00u) | (u[0] << 8 & 0xff0000u) | u[0] << 24;
      uint32_t high = u[1] >> 24 | (u[1] >> 8 & 0xff00u) | (u[1] << 8 & 0xff0000u) | u[1] << 24;
      u[0] = high;
      u[1] = low;
      memcpy(out + 8 * i, u, 8);
    }
  }
}

void fits_pack_rows(unsigned char *out, const syz_fits_column *columns, int n_columns, int64_t row_bytes,
                    const void *const *data, int64_t first, int64_t n)
{
  int64_t at = 0;
  for (int c = 0; c < n_columns; c++) {
    int item = fits_item_bytes(columns[c].type);
    int64_t width = item * columns[c].repeat;
    const unsigned char *in = (const unsigned char *)data[c] + first * width;
    for (int64_t r = 0; r < n; r++) {
      unsigned char *p = out + r * row_bytes + at;
      if (columns[c].type == 'L') {
        for (int64_t k = 0; k < width; k++) p[k] = in[r * width + k] ? 'T' : 'F';
      } else {
        fits_swap(p, in + r * width, columns[c].repeat, item);
      }
    }
    at += width;
  }
}
