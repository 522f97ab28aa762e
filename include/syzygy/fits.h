/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * fits: FITS files in and out, and CSV files as tables. Headers, plain images and tables are read and written by this
 * room's own code, compressed tiles by cfitsio.
 *
 * Nothing here knows of MPI and nothing is collective. Every file is hostile until checked: sizes in headers are
 * compared with the size of the file before anything is allocated, and messages name file, HDU and reason. Array axes
 * are named slowest first (C order): an image with NAXIS1 = W and NAXIS2 = H is [H, W].
 */
#pragma once

#include "syzygy/base.h"

/* --------------------------------------------------------------- FITS in */

/** An open FITS file: plain, gzip, bzip2, xz, or with tile-compressed images (.fz); or a CSV or ECSV file, as a table
 * in HDU 1. Not shared between threads.
 */
typedef struct syz_fits syz_fits;

typedef enum syz_fits_kind {
  SYZ_FITS_IMAGE,      /**< primary or IMAGE extension, perhaps empty */
  SYZ_FITS_COMPRESSED, /**< an image inside a binary table; bitpix and shape are the image's */
  SYZ_FITS_TABLE,      /**< BINTABLE, ASCII table (whole numbers as K, others as D), CSV */
  SYZ_FITS_OTHER       /**< other extensions: can be listed, not read */
} syz_fits_kind;

enum { SYZ_FITS_AXES = 4, SYZ_FITS_CARD = 80 /**< characters of a card */ };
typedef struct syz_fits_hdu {
  char name[72]; /**< EXTNAME, "" if there is none */
  syz_fits_kind kind;
  int bitpix;                   /**< of the uncompressed image: 8, 16, 32, 64, -32, -64 */
  int naxis;                    /**< 0 .. SYZ_FITS_AXES for images */
  int64_t shape[SYZ_FITS_AXES]; /**< slowest first */
  int64_t pixels;               /**< product of shape, 0 for an image without pixels */
  int64_t rows;                 /**< tables */
  int columns;
} syz_fits_hdu;

/**
 * Open and index all HDUs. A header that contradicts itself or the size of the file is refused here. With `verify`,
 * CHECKSUM and DATASUM of an HDU, where present, are compared when it is first read. The path is used literally,
 * without cfitsio's extended file name syntax. SYZ_ERR_DATA names the file, the HDU and the reason. A truncated file is
 * refused; a file that is truncated while it is open is refused by the next function that reads pixels or columns. The
 * unpacked size of a packed file has a limit (src/fits/load.c).
 */
syz_status syz_fits_open(const char *path, bool verify, syz_fits **out);
/** Compare CHECKSUM and DATASUM of all HDUs of a file opened with `verify`; *summed: how many HDUs have both.
 * SYZ_ERR_DATA as above. */
syz_status syz_fits_check(syz_fits *f, int *summed);
void syz_fits_close(syz_fits **f);
/** Free the memory of data read from a file that is not packed; they are read again when needed. */
void syz_fits_release(syz_fits *f);
/** Free the decoded pixels of a compressed image; they are decoded again when needed. */
void syz_fits_forget(syz_fits *f, int hdu);
const char *syz_fits_path(const syz_fits *f);
/** Place of an HDU for messages: `path[EXTNAME]` or `path[HDU 3]`. Returns text. */
const char *syz_fits_where(const syz_fits *f, int hdu, char text[256]);
int syz_fits_count(const syz_fits *f);
/** HDU 0 is the primary. Borrowed until closed. */
const syz_fits_hdu *syz_fits_get(const syz_fits *f, int hdu);
/** First HDU with this EXTNAME (case and trailing blanks ignored), or -1. */
int syz_fits_find(const syz_fits *f, const char *name);
/** The 80-character cards of the header without END; *n = number of cards. Borrowed. */
const char *syz_fits_header(const syz_fits *f, int hdu, int *n);
/** Value field of such a card: 'T' text, 'N' number, 'L' logical, 0 none. `text` gets the string or the number's
 * characters. */
char syz_fits_card_value(const char *card, char text[72]);
/** Whether text is a number with nothing after it; the exponent may be D. */
bool syz_fits_parse_real(const char *text, double *value);
/** Value of a keyword; false when it is absent or of another type. Text is cut to `room`, trailing blanks removed. */
bool syz_fits_key_text(const syz_fits *f, int hdu, const char *key, char *text, size_t room);
bool syz_fits_key_real(const syz_fits *f, int hdu, const char *key, double *value);
bool syz_fits_key_int(const syz_fits *f, int hdu, const char *key, int64_t *value);
bool syz_fits_key_bool(const syz_fits *f, int hdu, const char *key, bool *value);

/**
 * Pixels [first, first + n) of an image in C order, scaled by BZERO and BSCALE; BLANK becomes NaN. Any BITPIX.
 *
 * A compressed image is decoded in a child process with a time limit (a damaged one crashes cfitsio 4.2.0): as a whole
 * up to 16 million pixels; of a larger image, the tiles needed and some that follow. Decoded pixels are kept until
 * other compressed HDUs of the file need the memory (128 MiB). SYZ_ERR_DATA names file and HDU.
 */
syz_status syz_fits_read_f32(syz_fits *f, int hdu, int64_t first, int64_t n, float *out);
syz_status syz_fits_read_f64(syz_fits *f, int hdu, int64_t first, int64_t n, double *out);
/** A window [height, width] of a plane of an image of 2 axes (plane 0) or 3, whose first pixel is (x, y), counted from
 * 0; otherwise as above. */
syz_status syz_fits_read_window(syz_fits *f, int hdu, int64_t plane, int64_t x, int64_t y, int64_t width,
                                int64_t height, float *out);
/** Integer images (masks, also unsigned by BZERO) as 32 bits; values outside 0 .. 2^32-1 wrap modulo 2^32. */
syz_status syz_fits_read_u32(syz_fits *f, int hdu, int64_t first, int64_t n, uint32_t *out);

/** A column of a table. */
typedef struct syz_fits_field {
  char name[72];
  char unit[72];
  char type;      /**< FITS letter: L X B I J K A E D C M P Q */
  int64_t repeat; /**< items per row (characters for A) */
  int64_t offset; /**< bytes from the start of the row */
} syz_fits_field;

/** Column `i` of a table, borrowed. */
const syz_fits_field *syz_fits_field_get(const syz_fits *f, int hdu, int i);
/** Column by name, case ignored; -1 when absent. */
int syz_fits_field_find(const syz_fits *f, int hdu, const char *name);
/** Search for a numeric column in one or more tables: whether there is one, or else the nearest name. Begin with
 * SYZ_COLUMN_SEARCH. */
typedef struct syz_column_search {
  bool has;
  int distance;     /**< syz_edit_distance of the nearest name; 1000 when there is no numeric column */
  char nearest[72]; /**< "" = none */
  char unit[72];    /**< TUNIT of the column; "" = the file has none */
} syz_column_search;
#define SYZ_COLUMN_SEARCH ((syz_column_search){false, 1000, "", ""})
/** Search one more table; columns with several items per row count only if `takes_vectors`. */
void syz_fits_search(const syz_fits *f, int hdu, const char *name, bool takes_vectors, syz_column_search *s);
/** SYZ_ERR_DATA unless the table has all of the comma-separated columns; the message lists the missing ones. */
syz_status syz_fits_require(const syz_fits *f, int hdu, const char *names);
/** Rows [first, first + n), element `item` of each row, scaled by TZERO, TSCAL; TNULL is NaN; logical 1, 0 or NaN. */
syz_status syz_fits_column_f64(syz_fits *f, int hdu, int column, int64_t item, int64_t first, int64_t n, double *out);
/** The same for integers (L B I J K with integer TZERO), exact in 64 bits; SYZ_ERR_DATA for other types, and for
 * unsigned values from 2^63 on. Empty cells of ASCII tables and CSV are -1. */
syz_status syz_fits_column_i64(syz_fits *f, int hdu, int column, int64_t item, int64_t first, int64_t n, int64_t *out);
/** Text of one row, trailing blanks removed, cut to `room`. */
syz_status syz_fits_column_text(syz_fits *f, int hdu, int column, int64_t row, char *text, size_t room);

/* -------------------------------------------------------------- FITS out */

/** A keyword to write, made by SYZ_CARD_TEXT, _INT, _REAL, _BOOL. */
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
/** Append a card (long text continues in CONTINUE cards). SYZ_ERR_INTERNAL for a key or value that FITS cannot hold. */
syz_status syz_fits_cards_add(syz_fits_cards *c, const syz_fits_card *card);
void syz_fits_cards_free(syz_fits_cards *c);

/** A FITS file being written, as `path`.tmp until it is finished. Functions that write return SYZ_ERR_WRITE. */
typedef struct syz_fits_out syz_fits_out;

syz_status syz_fits_create(const char *path, syz_fits_out **out);
/** Write the primary HDU, with these keywords and without pixels. It must come first; without this call it has no
 * keywords.
 */
syz_status syz_fits_out_primary(syz_fits_out *o, const syz_fits_card *cards, int n_cards);

typedef enum syz_fits_packing {
  SYZ_FITS_PLAIN,
  SYZ_FITS_RICE_DITHER, /**< RICE_1, 100 x 100 tiles, SUBTRACTIVE_DITHER_2, as images of the Legacy Surveys; zeros stay
                           exact */
  SYZ_FITS_RICE,        /**< RICE_1, 100 x 100 tiles, no dither, as their invvar; integer images stay exact */
  SYZ_FITS_GZIP         /**< GZIP_1, lossless also for floats, as masks of DESI */
} syz_fits_packing;

/** An image extension. data: [shape] uint8, int16, int32, int64, float or double by bitpix 8, 16, 32, 64, -32, -64. */
syz_status syz_fits_out_image(syz_fits_out *o, const char *extname, int bitpix, int naxis, const int64_t *shape,
                              const void *data, syz_fits_packing packing, const syz_fits_card *cards, int n_cards);

/** A column to write. */
typedef struct syz_fits_column {
  const char *name;
  char type;           /**< L (uint8 0 or 1), B, I, J, K, E, D; A (char[repeat], NUL or blank padded) */
  int64_t repeat;      /**< items per row */
  const char *unit;    /**< TUNIT, NULL = none */
  const char *comment; /**< TCOMM, NULL = none */
  const void *data;    /**< [rows, repeat] in this machine's byte order; syz_fits_table_create ignores it */
} syz_fits_column;

/** A BINTABLE extension, written in whole columns. Vector columns (repeat > 1, not A) get TDIM. */
syz_status syz_fits_out_table(syz_fits_out *o, const char *extname, int64_t rows, const syz_fits_column *columns,
                              int n_columns, const syz_fits_card *cards, int n_cards);
/** Complete the file (fsync, rename); frees *o also on error. Every HDU gets CHECKSUM and DATASUM. */
syz_status syz_fits_out_finish(syz_fits_out **o);
/** Remove the temporary file and free *o. */
void syz_fits_out_destroy(syz_fits_out **o);

/**
 * One large BINTABLE that many ranks write: rank 0 creates the file at its full size, the others attach, each puts
 * disjoint row ranges in any order, the sums are added, and rank 0 finishes. Nothing here communicates:
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
/** Open the file that create has made; the same arguments. */
syz_status syz_fits_table_attach(const char *path, const char *extname, int64_t rows, const syz_fits_column *columns,
                                 int n_columns, const syz_fits_card *cards, int n_cards, syz_fits_table **out);
/** Rows [first, first + n): data[c] is [n, repeat] of column c. Over all ranks each row must be put exactly once. */
syz_status syz_fits_table_put(syz_fits_table *t, int64_t first, int64_t n, const void *const *data);
/** Ones' complement sum of the rows that this handle has put, folded below 2^32. */
uint64_t syz_fits_table_sum(const syz_fits_table *t);
void syz_fits_table_close(syz_fits_table **t);
/** Write DATASUM and CHECKSUM from the sum over all handles, fsync, free. */
syz_status syz_fits_table_finish(syz_fits_table **t, uint64_t sum);
