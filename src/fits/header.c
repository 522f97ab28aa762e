/* SPDX-License-Identifier: BSD-3-Clause */
/** Reading headers: strictly parsed values of cards, keywords, the data size that a header announces, and the place
 * that messages name. */
#include "file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *syz_fits_where(const syz_fits *f, int hdu, char text[256])
{
  const char *name = hdu < f->n ? f->hdu[hdu].face.name : "";
  size_t length = strlen(f->path);
  const char *path = length > 160 ? f->path + length - 160 : f->path;
  if (name[0])
    snprintf(text, 256, "%s[%s]", path, name);
  else
    snprintf(text, 256, "%s[HDU %d]", path, hdu);
  return text;
}

/* Text of headers is copied to messages and tables. By the standard it is ASCII; a damaged header must not put control
 * characters there. */
static char printable(char c) { return c >= 32 && c < 127 ? c : '?'; }

char syz_fits_card_value(const char *card, char text[72])
{
  text[0] = '\0';
  if (card[8] != '=' || card[9] != ' ') return 0;
  int i = 10, n = 0;
  while (i < SYZ_FITS_CARD && card[i] == ' ') i++;
  if (i == SYZ_FITS_CARD || card[i] == '/') return 0;
  if (card[i] == '\'') {
    for (i++; i < SYZ_FITS_CARD; i++) {
      if (card[i] == '\'') {
        if (i + 1 < SYZ_FITS_CARD && card[i + 1] == '\'')
          i++;
        else
          break;
      }
      if (n < 71) text[n++] = printable(card[i]);
    }
    while (n && text[n - 1] == ' ') n--;
    text[n] = '\0';
    return 'T';
  }
  for (; i < SYZ_FITS_CARD && card[i] != '/'; i++) text[n++] = printable(card[i]);
  while (n && text[n - 1] == ' ') n--;
  text[n] = '\0';
  if (n == 1 && (text[0] == 'T' || text[0] == 'F')) return 'L';
  return 'N';
}

bool fits_parse_int(const char *text, int64_t *value)
{
  char *end;
  if (!*text || *text == ' ') return false;
  errno = 0;
  long long v = strtoll(text, &end, 10);
  if (errno || *end) return false;
  *value = v;
  return true;
}

bool syz_fits_parse_real(const char *text, double *value)
{
  char copy[72], *end;
  int n = 0;
  /* Only digits, sign, point and exponent: strtod alone would take "nan", "inf" and hexadecimal. FITS allows D for E.
   */
  for (; text[n]; n++) {
    if (n == 71 || !strchr("0123456789+-.EeDd", text[n])) return false;
    copy[n] = text[n] == 'D' || text[n] == 'd' ? 'e' : text[n];
  }
  copy[n] = '\0';
  if (!n) return false;
  errno = 0;
  double v = strtod(copy, &end);
  if (*end || (errno == ERANGE && (v > 1 || v < -1))) return false;
  *value = v;
  return true;
}

const char *fits_find_card(const fits_hdu *h, const char *key)
{
  char want[8];
  size_t length = strlen(key);
  for (size_t i = 0; i < 8; i++) want[i] = i < length ? key[i] : ' ';
  for (int i = 0; i < h->n_cards; i++)
    if (memcmp(h->header + (size_t)i * SYZ_FITS_CARD, want, 8) == 0) return h->header + (size_t)i * SYZ_FITS_CARD;
  return NULL;
}

bool fits_key_text(const fits_hdu *h, const char *key, char text[72])
{
  const char *card = fits_find_card(h, key);
  return card && syz_fits_card_value(card, text) == 'T';
}

bool fits_key_real(const fits_hdu *h, const char *key, double *value)
{
  char text[72];
  const char *card = fits_find_card(h, key);
  return card && syz_fits_card_value(card, text) == 'N' && syz_fits_parse_real(text, value);
}

bool fits_key_int(const fits_hdu *h, const char *key, int64_t *value)
{
  char text[72];
  const char *card = fits_find_card(h, key);
  return card && syz_fits_card_value(card, text) == 'N' && fits_parse_int(text, value);
}

bool fits_key_bool(const fits_hdu *h, const char *key, bool *value)
{
  char text[72];
  const char *card = fits_find_card(h, key);
  if (!card || syz_fits_card_value(card, text) != 'L') return false;
  *value = text[0] == 'T';
  return true;
}

int64_t fits_data_bytes(const fits_hdu *h)
{
  int64_t bitpix = 0, naxis = -1, pixels = 1, pcount = 0, gcount = 1, bytes = 0;
  char key[24];
  if (!fits_key_int(h, "BITPIX", &bitpix) || !fits_key_int(h, "NAXIS", &naxis) || bitpix < -64 || bitpix > 64 ||
      naxis < 0 || naxis > 999)
    return -1;
  if (naxis == 0) return 0;
  for (int i = 0; i < naxis; i++) {
    int64_t size = -1;
    snprintf(key, sizeof key, "NAXIS%d", i + 1);
    if (!fits_key_int(h, key, &size) || !fits_multiply(pixels, size, &pixels)) return -1;
  }
  fits_key_int(h, "PCOUNT", &pcount);
  fits_key_int(h, "GCOUNT", &gcount);
  if (pcount < 0 || pcount > INT64_MAX - pixels || !fits_multiply(pixels + pcount, gcount, &bytes)) return -1;
  return fits_multiply(bytes, llabs(bitpix) / 8, &bytes) ? bytes : -1;
}

const char *syz_fits_header(const syz_fits *f, int hdu, int *n)
{
  *n = f->hdu[hdu].n_cards;
  return f->hdu[hdu].header;
}

bool syz_fits_key_text(const syz_fits *f, int hdu, const char *key, char *text, size_t room)
{
  char value[72];
  if (!fits_key_text(&f->hdu[hdu], key, value)) return false;
  snprintf(text, room, "%s", value);
  return true;
}

bool syz_fits_key_real(const syz_fits *f, int hdu, const char *key, double *value)
{
  return fits_key_real(&f->hdu[hdu], key, value);
}
bool syz_fits_key_int(const syz_fits *f, int hdu, const char *key, int64_t *value)
{
  return fits_key_int(&f->hdu[hdu], key, value);
}
bool syz_fits_key_bool(const syz_fits *f, int hdu, const char *key, bool *value)
{
  return fits_key_bool(&f->hdu[hdu], key, value);
}
