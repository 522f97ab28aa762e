/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * fits: FITS files in and out, and CSV files as tables. Headers, plain images and tables are read and written by own
 * code, compressed tiles by cfitsio.
 *
 * Nothing here knows of MPI and nothing is collective. Every file is hostile until checked: sizes are compared with the
 * file's own before anything is allocated, and messages name file, HDU and reason. Array axes are named slowest first
 * (C order): an image with NAXIS1 = W and NAXIS2 = H is [H, W].
 */
#pragma once

#include "syzygy/base.h"

/* --------------------------------------------------------------- FITS in */

/** An open FITS file: plain, gzip, bzip2, xz, or with tile-compressed images (.fz); or a CSV file, as a table in HDU 1.
 * Not shared between threads.
 */
typedef struct syz_fits syz_fits;

typedef enum syz_fits_kind {
  SYZ_FITS_IMAGE,      /**< primary or IMAGE extension, perhaps empty */
  SYZ_FITS_COMPRESSED, /**< an image inside a binary table; bitpix and shape are the image's */
  SYZ_FITS_TABLE,      /**< BINTABLE, ASCII table (whole numbers as K, others as D), CSV */
  SYZ_FITS_OTHER       /**< foreign extensions: can be listed, not read */
} syz_fits_kind;

enum { SYZ_FITS_AXES = 4, SYZ_FITS_CARD = 80 /**< characters of a card */ };
typedef struct syz_fits_hdu {
  char name[72]; /**< EXTNAME, "" without one */
  syz_fits_kind kind;
  int bitpix;                   /**< of the (uncompressed) image: 8, 16, 32, 64, -32, -64 */
  int naxis;                    /**< 0 .. SYZ_FITS_AXES for images */
  int64_t shape[SYZ_FITS_AXES]; /**< slowest first */
  int64_t pixels;               /**< product of shape, 0 for an image without pixels */
  int64_t rows;                 /**< tables */
  int columns;
} syz_fits_hdu;

/**
 * Open and index all HDUs. Headers are parsed by own code: a header that contradicts itself or the file's size is
 * refused here. With `verify`, CHECKSUM and DATASUM of an HDU, where present, are compared when it is first read. Names
 * are taken literally (no extended file name syntax). SYZ_ERR_DATA names the file, the HDU and the reason. A file cut
 * short is refused: nothing behind the cut is usable. One that is cut short while it is open is refused by the next
 * function that reads pixels or columns. What a packed file may unpack to has a limit: see src/fits/load.c.
 */
syz_status syz_fits_open(const char *path, bool verify, syz_fits **out);
/** Compare CHECKSUM and DATASUM of all HDUs of a file opened with `verify`; *summed: how many have both. SYZ_ERR_DATA
 * as above. */
syz_status syz_fits_check(syz_fits *f, int *summed);
void syz_fits_close(syz_fits **f);
/** Give back the memory of what was read of a file that is not packed; it comes back from the file when needed. */
void syz_fits_release(syz_fits *f);
/** Give back what was decoded of a compressed image; it is decoded again when needed. */
void syz_fits_forget(syz_fits *f, int hdu);
const char *syz_fits_path(const syz_fits *f);
/** Where a message points: `path[EXTNAME]` or `path[HDU 3]`. */
const char *syz_fits_where(const syz_fits *f, int hdu, char text[256]);
int syz_fits_count(const syz_fits *f);
/** HDU 0 is the primary. Borrowed until closed. */
const syz_fits_hdu *syz_fits_get(const syz_fits *f, int hdu);
/** First HDU of that EXTNAME (case ignored, also blanks at the end), or -1. */
int syz_fits_find(const syz_fits *f, const char *name);
/** The 80-character cards of the header without END; *n = number of cards. Borrowed. */
const char *syz_fits_header(const syz_fits *f, int hdu, int *n);
/** Value field of such a card: 'T' text, 'N' number, 'L' logical, 0 none. `text` gets the string or the number's
 * characters. */
char syz_fits_card_value(const char *card, char text[72]);
/** A number with nothing after it; D as exponent too. */
bool syz_fits_parse_real(const char *text, double *value);
/** Keyword values; false when absent, or not of that type. Text is cut to `room`, trailing blanks removed. */
bool syz_fits_key_text(const syz_fits *f, int hdu, const char *key, char *text, size_t room);
bool syz_fits_key_real(const syz_fits *f, int hdu, const char *key, double *value);
bool syz_fits_key_int(const syz_fits *f, int hdu, const char *key, int64_t *value);
bool syz_fits_key_bool(const syz_fits *f, int hdu, const char *key, bool *value);

/**
 * Pixels [first, first + n) of an image in C order, scaled by BZERO and BSCALE; BLANK becomes NaN. Any BITPIX.
 *
 * A compressed image is decoded in a child process with a time limit (a damaged one crashes cfitsio 4.2.0): whole up to
 * 16 million pixels, of a larger one the tiles that are needed and some that follow. What is decoded is kept until
 * other compressed HDUs of the file need the memory (128 MiB). SYZ_ERR_DATA names file and HDU.
 */
syz_status syz_fits_read_f32(syz_fits *f, int hdu, int64_t first, int64_t n, float *out);
syz_status syz_fits_read_f64(syz_fits *f, int hdu, int64_t first, int64_t n, double *out);
/** A window [height, width] of a plane of an image of 2 axes (plane 0) or 3, its first pixel at (x, y) counted from 0;
 * otherwise as above. */
syz_status syz_fits_read_window(syz_fits *f, int hdu, int64_t plane, int64_t x, int64_t y, int64_t width,
                                int64_t height, float *out);
/** Whole-number images (masks, also unsigned by BZERO) as 32 bits; values outside 0 .. 2^32-1 wrap modulo 2^32. */
syz_status syz_fits_read_u32(syz_fits *f, int hdu, int64_t first, int64_t n, uint32_t *out);

/** A column of a table. */
typedef struct syz_fits_field {
  char name[72];
  char unit[72];
  char type;      /**< FITS letter: L X B I J K A E D C M P Q */
  int64_t repeat; /**< items in a row (characters for A) */
  int64_t offset; /**< bytes from the start of the row */
} syz_fits_field;

/** Column `i` of a table, borrowed. */
const syz_fits_field *syz_fits_field_get(const syz_fits *f, int hdu, int i);
/** Column by name, case ignored; -1 when absent. */
int syz_fits_field_find(const syz_fits *f, int hdu, const char *name);
/** Search for a numeric column in one or more tables: whether it is there, or else the nearest name. Begin with
 * SYZ_COLUMN_SEARCH. */
typedef struct syz_column_search {
  bool has;
  int distance;     /**< syz_edit_distance of the nearest, larger than any when there is no numeric column */
  char nearest[72]; /**< "" = none */
  char unit[72];    /**< of the column, TUNIT of FITS; "" = the file says none */
} syz_column_search;
#define SYZ_COLUMN_SEARCH ((syz_column_search){false, 1000, "", ""})
/** Look in one more table; columns of several items count only if `takes_vectors`. */
void syz_fits_search(const syz_fits *f, int hdu, const char *name, bool takes_vectors, syz_column_search *s);
/** All of the comma-separated names must be there: otherwise SYZ_ERR_DATA with the list of all that are missing. */
syz_status syz_fits_require(const syz_fits *f, int hdu, const char *names);
/** Rows [first, first + n), element `item` of each row, scaled by TZERO/TSCAL; TNULL becomes NaN; logical 1, 0 or NaN.
 */
syz_status syz_fits_column_f64(syz_fits *f, int hdu, int column, int64_t item, int64_t first, int64_t n, double *out);
/** The same for whole numbers (L B I J K with whole TZERO), exact in 64 bits; SYZ_ERR_DATA for other types, and for
 * unsigned values from 2^63 on. Empty cells of ASCII tables and CSV are -1. */
syz_status syz_fits_column_i64(syz_fits *f, int hdu, int column, int64_t item, int64_t first, int64_t n, int64_t *out);
/** Text of one row, trailing blanks removed, cut to `room`. */
syz_status syz_fits_column_text(syz_fits *f, int hdu, int column, int64_t row, char *text, size_t room);

/* -------------------------------------------------------------- FITS out */

/** A keyword to write. Use SYZ_CARD_TEXT and the like. */
typedef struct syz_fits_card {
  const char *key; /**< at most 8 characters */
  char type;       /**< 'T' text, 'I' integer, 'F' real, 'L' logical */
  const char *text;
  int64_t integer;
  double real;
  const char *comment; /**< may be NULL */
} syz_fits_card;
#define SYZ_CARD_TEXT(key, value, comment) ((syz_fits_card){(key), 'T', (value), 0, 0.0, (comment)})
#define SYZ_CARD_INT(key, value, comment) ((syz_fits_card){(key), 'I', NULL, (value), 0.0, (comment)})
#define SYZ_CARD_REAL(key, value, comment) ((syz_fits_card){(key), 'F', NULL, 0, (value), (comment)})
#define SYZ_CARD_BOOL(key, value, comment) ((syz_fits_card){(key), 'L', NULL, (value), 0.0, (comment)})

/** A header under construction; begin with zeros. */
typedef struct syz_fits_cards {
  char *text; /**< [n, SYZ_FITS_CARD], no NUL */
  int n;
  size_t room; /**< bytes */
} syz_fits_cards;
/** Append a card (long text goes on in CONTINUE cards). SYZ_ERR_INTERNAL for a key or value that FITS cannot hold. */
syz_status syz_fits_cards_add(syz_fits_cards *c, const syz_fits_card *card);
void syz_fits_cards_free(syz_fits_cards *c);

/** A FITS file being written: `path`.tmp until finished. Headers, plain images and tables by own code, tiles by
 * cfitsio. */
typedef struct syz_fits_out syz_fits_out;

syz_status syz_fits_create(const char *path, syz_fits_out **out);
/** The primary HDU: without pixels, with these keywords. Optional; must come first. Otherwise an empty one is written.
 */
syz_status syz_fits_out_primary(syz_fits_out *o, const syz_fits_card *cards, int n_cards);

typedef enum syz_fits_packing {
  SYZ_FITS_PLAIN,
  SYZ_FITS_RICE_DITHER, /**< RICE_1, 100 x 100 tiles, SUBTRACTIVE_DITHER_2: how the Legacy Surveys keep images; zeros
                           stay exact */
  SYZ_FITS_RICE,        /**< RICE_1, 100 x 100 tiles, no dither: their invvar; integer images are kept exactly */
  SYZ_FITS_GZIP         /**< GZIP_1, lossless also for floats: what DESI uses for masks */
} syz_fits_packing;

/** An image extension. data: [shape] uint8, int16, int32, int64, float or double by bitpix 8, 16, 32, 64, -32, -64. */
syz_status syz_fits_out_image(syz_fits_out *o, const char *extname, int bitpix, int naxis, const int64_t *shape,
                              const void *data, syz_fits_packing packing, const syz_fits_card *cards, int n_cards);

/** A column to write. */
typedef struct syz_fits_column {
  const char *name;
  char type;           /**< L (uint8 0 or 1), B, I, J, K, E, D; A (char[repeat], NUL or blank padded) */
  int64_t repeat;      /**< items in a row */
  const char *unit;    /**< TUNIT, NULL = none */
  const char *comment; /**< TCOMM, NULL = none */
  const void *data;    /**< [rows, repeat] in this machine's byte order; not used by syz_fits_table_create */
} syz_fits_column;

/** A BINTABLE extension, whole columns at once. Vector columns (repeat > 1, not A) get TDIM. */
syz_status syz_fits_out_table(syz_fits_out *o, const char *extname, int64_t rows, const syz_fits_column *columns,
                              int n_columns, const syz_fits_card *cards, int n_cards);
/** Complete the file (fsync, rename); frees *o also on error. CHECKSUM and DATASUM are in every HDU. */
syz_status syz_fits_out_finish(syz_fits_out **o);
/** Give up: the temporary file is removed. */
void syz_fits_out_destroy(syz_fits_out **o);

/**
 * One big BINTABLE written by many: rank 0 creates (headers laid out, file at full size), everybody attaches and puts
 * disjoint row ranges in any order, the sums are added up, rank 0 finishes. Nothing here communicates:
 *
 *     if (rank == 0) syz_fits_table_create(tmp, ..., &t);      barrier; (agree)
 *     if (rank != 0) syz_fits_table_attach(tmp, ..., &t);      same columns and rows
 *     syz_fits_table_put(t, first, n, data);                   as often as needed
 *     sum = syz_fits_table_sum(t);  allreduce (u64, sum)       each is below 2^32
 *     syz_fits_table_close(&t) on the others; barrier; if (rank == 0) syz_fits_table_finish(&t, sum);  then publish the
 * file
 */
typedef struct syz_fits_table syz_fits_table;
/** Create `path` (give a temporary name) with an empty primary HDU and this table's header. `columns` are copied. */
syz_status syz_fits_table_create(const char *path, const char *extname, int64_t rows, const syz_fits_column *columns,
                                 int n_columns, const syz_fits_card *cards, int n_cards, syz_fits_table **out);
/** Open what create made; the same arguments. */
syz_status syz_fits_table_attach(const char *path, const char *extname, int64_t rows, const syz_fits_column *columns,
                                 int n_columns, const syz_fits_card *cards, int n_cards, syz_fits_table **out);
/** Rows [first, first + n): data[c] is [n, repeat] of column c. Swapped and written in blocks. Each row exactly once in
 * all. */
syz_status syz_fits_table_put(syz_fits_table *t, int64_t first, int64_t n, const void *const *data);
/** Ones' complement sum of the rows that this handle put, folded below 2^32. */
uint64_t syz_fits_table_sum(const syz_fits_table *t);
void syz_fits_table_close(syz_fits_table **t);
/** Write DATASUM and CHECKSUM from the sum over all handles, fsync, free. */
syz_status syz_fits_table_finish(syz_fits_table **t, uint64_t sum);
