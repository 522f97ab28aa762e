/* SPDX-License-Identifier: BSD-3-Clause */
/** Inside of the FITS reader: what its files share. */
#pragma once

#include "syzygy/fits.h"

enum { FITS_BLOCK = 2880 };

/** A file mapped for reading, which other programs may truncate meanwhile. See map.c. */
typedef struct fits_map {
  const unsigned char *base; /**< NULL = none */
  size_t size;
  int fd, slot;
} fits_map;
/** Only regular files. SYZ_ERR_DATA names the file and the reason. */
syz_status fits_map_open(const char *path, fits_map *m);
void fits_map_close(fits_map *m);
/** SYZ_ERR_DATA when the file has become shorter or could not be read: bytes read from it since the last successful
 * call may be zeros. */
syz_status fits_map_check(const fits_map *m, const char *path);

/** The bytes of a file, unpacked: either mapped or owned. */
typedef struct fits_bytes {
  const unsigned char *data;
  size_t size;
  fits_map map;         /**< of `size` bytes, or none */
  unsigned char *owned; /**< unpacked copy, or NULL */
} fits_bytes;

/** Scaling of an image or a column. */
typedef struct fits_scale {
  double scale, zero;
  bool is_scaled, has_null;
  int64_t null;
} fits_scale;

/** Part of an image: pixels [lo, lo + n) along each axis, slowest first as in the shape. */
typedef struct fits_box {
  int64_t lo[SYZ_FITS_AXES], n[SYZ_FITS_AXES];
} fits_box;

/** The unpacked part of a compressed image. */
typedef struct fits_tiles {
  void *pixels;      /**< [box], or NULL */
  fits_box box, bad; /**< `bad`: the part that could not be unpacked, for the reason in `why` */
  char *why;
} fits_tiles;

typedef struct fits_hdu {
  syz_fits_hdu face;
  const char *header; /**< cards, borrowed from the bytes */
  int n_cards;
  size_t header_at, data_at, data_size; /**< bytes; data_size without padding */
  size_t end;                           /**< first byte after the padded data, at most the file's end */
  int64_t row_bytes, heap_at;           /**< of tables; heap offset from data_at */
  syz_fits_field *field;                /**< [columns] */
  fits_scale *scale;                    /**< [1] for images, [columns] for tables */
  bool is_verified;
  struct fits_ascii *ascii;    /**< [columns] of an ASCII table: where its fields are in the text; otherwise NULL */
  unsigned char *made;         /**< rows made of text (ASCII tables, CSV) in the form of a BINTABLE; otherwise NULL */
  int64_t tile[SYZ_FITS_AXES]; /**< shape of the tiles of a compressed image */
  fits_tiles tiles;
} fits_hdu;

struct syz_fits {
  char *path;
  bool verify;
  fits_bytes bytes;
  int n;
  fits_hdu *hdu;
};

syz_status fits_bytes_load(const char *path, fits_bytes *out);
void fits_bytes_free(fits_bytes *b);

/** Ones' complement sum of big-endian 32-bit words, folded below 2^32; `at` is the position of the first byte in its
 * HDU. */
uint64_t fits_sum(const unsigned char *bytes, size_t n, size_t at, uint64_t sum);
/** The 16 characters of CHECKSUM for a sum (complemented), Seaman, Pence & Rots 2012, NOST checksum convention. */
void fits_sum_encode(uint32_t sum, char text[17]);
/** The columns of an ASCII table (XTENSION 'TABLE') by its header; sizes are checked. */
syz_status fits_ascii_index(const syz_fits *f, int number, fits_hdu *h);
/** Convert its text to binary rows in h->made, once. */
syz_status fits_ascii_convert(syz_fits *f, int hdu);
/** A CSV file as HDU 1, a table, after an empty primary HDU. */
syz_status fits_csv_open(syz_fits *f);
bool fits_is_csv_name(const char *path);
static inline void fits_put_be64(unsigned char *p, uint64_t v)
{
  for (int i = 0; i < 8; i++) p[i] = (unsigned char)(v >> (56 - 8 * i));
}
static inline void fits_put_be_f64(unsigned char *p, double v)
{
  union {
    uint64_t u;
    double f;
  } b = {.f = v};
  fits_put_be64(p, b.u);
}

/** Verify CHECKSUM and DATASUM, once, if the file was opened with verification. */
syz_status fits_verify(syz_fits *f, int hdu);

/** Unpack at least `want` of a compressed image, in a child process; it is then in hdu->tiles, until more than
 * TILES_KEPT bytes are held. */
syz_status fits_tile_unpack(syz_fits *f, int hdu, const fits_box *want);
/** Bytes of an unpacked pixel: 4 (float), or 8 (double) for whole numbers of 32 and 64 bits and for doubles. */
int fits_tile_item(const fits_hdu *h);
void fits_tile_forget(fits_hdu *h);
/** Whether the gzip tiles that `box` needs are complete; cfitsio 4.2.0 loops for ever on one that is not. Returns 0, or
 * the number of the first incomplete one. */
int64_t fits_tile_endless(const syz_fits *f, int hdu, const fits_box *box);

/** Keyword values; false when absent, or not of that type. */
bool fits_key_text(const fits_hdu *h, const char *key, char text[72]);
bool fits_key_real(const fits_hdu *h, const char *key, double *value);
bool fits_key_int(const fits_hdu *h, const char *key, int64_t *value);
bool fits_key_bool(const fits_hdu *h, const char *key, bool *value);
/** The card of a keyword, or NULL. */
const char *fits_find_card(const fits_hdu *h, const char *key);
/** a b, both not negative; false when it is too large. */
static inline bool fits_multiply(int64_t a, int64_t b, int64_t *out)
{
  if (a < 0 || b < 0 || (b && a > INT64_MAX / b)) return false;
  *out = a * b;
  return true;
}
/** Bytes of data that a header announces; -1 when it contradicts itself. */
int64_t fits_data_bytes(const fits_hdu *h);
/** A whole number with nothing after it. */
bool fits_parse_int(const char *text, int64_t *value);

static inline uint16_t fits_be16(const unsigned char *p) { return (uint16_t)((unsigned)p[0] << 8 | (unsigned)p[1]); }
static inline uint32_t fits_be32(const unsigned char *p)
{
  return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | (uint32_t)p[3];
}
static inline uint64_t fits_be64(const unsigned char *p) { return (uint64_t)fits_be32(p) << 32 | fits_be32(p + 4); }
static inline float fits_be_f32(const unsigned char *p)
{
  union {
    uint32_t u;
    float f;
  } v = {fits_be32(p)};
  return v.f;
}
static inline double fits_be_f64(const unsigned char *p)
{
  union {
    uint64_t u;
    double f;
  } v = {fits_be64(p)};
  return v.f;
}
