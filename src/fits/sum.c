/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * CHECKSUM and DATASUM: the ones' complement sum of an HDU's big-endian 32-bit words. The sum is associative, so that
 * parts of a table that different ranks wrote add up. Source: FITS standard 4.0 section 4.4.2.7 and appendix J (Seaman,
 * Pence & Rots).
 */
#include "file.h"

#include <stdlib.h>
#include <string.h>

static uint64_t fold(uint64_t sum)
{
  while (sum >> 32) sum = (sum & 0xffffffffu) + (sum >> 32);
  return sum;
}

uint64_t fits_sum(const unsigned char *bytes, size_t n, size_t at, uint64_t sum)
{
  sum = fold(sum);
  size_t i = 0;
  for (; i < n && (at + i) % 4; i++) sum += (uint64_t)bytes[i] << (8 * (3 - (at + i) % 4));
  while (n - i >= 4) {
    /* Blocks short enough that 64 bits cannot overflow. */
    size_t words = (n - i) / 4 < (1u << 20) ? (n - i) / 4 : (1u << 20);
    uint64_t part = 0;
    for (size_t w = 0; w < words; w++) part += fits_be32(bytes + i + 4 * w);
    sum = fold(sum + fold(part));
    i += 4 * words;
  }
  for (; i < n; i++) sum += (uint64_t)bytes[i] << (8 * (3 - (at + i) % 4));
  return fold(sum);
}

void fits_sum_encode(uint32_t sum, char text[17])
{
  static const unsigned exclude[13] = {0x3a, 0x3b, 0x3c, 0x3d, 0x3e, 0x3f, 0x40, 0x5b, 0x5c, 0x5d, 0x5e, 0x5f, 0x60};
  uint32_t value = ~sum;
  char ascii[16];
  for (int i = 0; i < 4; i++) {
    unsigned byte = (value >> (24 - 8 * i)) & 0xff, ch[4];
    unsigned quotient = byte / 4 + '0', remainder = byte % 4;
    for (int j = 0; j < 4; j++) ch[j] = quotient;
    ch[0] += remainder;
    for (bool again = true; again;) {
      again = false;
      for (int k = 0; k < 13; k++)
        for (int j = 0; j < 4; j += 2)
          if (ch[j] == exclude[k] || ch[j + 1] == exclude[k]) {
            ch[j]++;
            ch[j + 1]--;
            again = true;
          }
    }
    for (int j = 0; j < 4; j++) ascii[4 * j + i] = (char)ch[j];
  }
  for (int i = 0; i < 16; i++)
    text[i] = ascii[(i + 15) % 16]; /* rotated by one: strings start at column 12 of a card */
  text[16] = '\0';
}

/* astropy keeps the keywords of a table from which rows were taken, unless told checksum=True. */
static const char *const REMEDY =
    "damaged, or changed by a program that kept the old sums (then ingest.verify_checksums: false reads it)";

syz_status fits_verify(syz_fits *f, int hdu)
{
  syz_status st = SYZ_OK;
  fits_hdu *h = &f->hdu[hdu];
  char where[256], text[72];
  if (!f->verify || h->is_verified) return SYZ_OK;
  uint64_t data = fits_sum(f->bytes.data + h->data_at, h->end - h->data_at, 0, 0);
  SYZ_TRY(fits_map_check(&f->bytes.map, f->path)); /* report a truncated file as such */
  if (syz_fits_key_text(f, hdu, "DATASUM", text, sizeof text) && text[0]) {
    char *end;
    unsigned long long want = strtoull(text, &end, 10);
    SYZ_REQUIRE(!*end, SYZ_ERR_DATA, "%s: DATASUM '%s' is not a number", syz_fits_where(f, hdu, where), text);
    /* 0 and 2^32-1 are the same number in ones' complement. */
    SYZ_REQUIRE(want % 0xffffffffu == data % 0xffffffffu, SYZ_ERR_DATA,
                "%s: DATASUM says %llu, the data sum up to %llu: %s", syz_fits_where(f, hdu, where), want,
                (unsigned long long)data, REMEDY);
  }
  if (syz_fits_key_text(f, hdu, "CHECKSUM", text, sizeof text) && text[0] && strcmp(text, "0000000000000000") != 0) {
    uint64_t all = fits_sum(f->bytes.data + h->header_at, h->data_at - h->header_at, 0, data);
    SYZ_REQUIRE(all % 0xffffffffu == 0, SYZ_ERR_DATA, "%s: CHECKSUM does not hold: %s", syz_fits_where(f, hdu, where),
                REMEDY);
  }
  h->is_verified = true;
cleanup:
  return st;
}
