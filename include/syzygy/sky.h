/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * sky: what astronomy knows. FITS in and out, WCS and cutouts, spectra onto the common grid, catalogues, cross-match.
 *
 * Nothing here knows of MPI and nothing is collective. Inside: angles degrees (ICRS), wavelengths Angstrom in vacuum, flux
 * densities 1e-17 erg/s/cm2/Angstrom, image fluxes nanomaggy; files are converted at their border. Every file is hostile until
 * checked: sizes are compared with the file's own before anything is allocated, and messages name file, HDU or object, and reason.
 * Array axes are named slowest first (C order): a FITS image with NAXIS1 = W and NAXIS2 = H is [H, W].
 */
#pragma once

#include "syzygy/base.h"

/* ------------------------------------------------------- the common grid */

enum {
  SYZ_BANDS = 3,             /**< g, r, z, in this order everywhere */
  SYZ_IMAGE_SIZE = 152,      /**< pixels a side of a stored image */
  SYZ_SPECTRUM_PIXELS = 7781 /**< S */
};
#define SYZ_PIXEL_ARCSEC 0.262
#define SYZ_WAVE_FIRST_A 3600.0
#define SYZ_WAVE_STEP_A 0.8

/** Wavelength of spectral pixel i: 3600 + 0.8 i Angstrom, vacuum. Source: data-models.md section 3.2. */
static inline double syz_wave_grid(int64_t i) { return SYZ_WAVE_FIRST_A + SYZ_WAVE_STEP_A * (double)i; }
/** Index in "grz" or -1. */
int syz_band_index(char band);

/**
 * The Legacy Survey viewer's colour mapping: image [3, n] nanomaggy in g, r, z to planes [3, n] in z, r, g, each in [0, 1].
 *
 * Per pixel, with s = (6.0, 3.4, 2.2), m = 0.03, Q = 20: I = mean over bands of max(0, s x + m), f = asinh(Q I) / sqrt(Q), plane =
 * clip((s x + m) f / I, 0, 1), and I = 1e-6 in the division where it is 0. The numerator is not clipped before the division.
 * n = H W of any size; image and planes must not overlap; input must be finite (NaN handled before). float32 throughout,
 * within 1e-6 of float64. Source: recipes.md section 1; AstroCLIP astrodino/data/augmentations.py.
 */
void syz_colour_map(float *restrict planes, const float *restrict image, int64_t n);

/* --------------------------------------------------------------- FITS in */

/** An open FITS file: plain, .gz, .bz2, or with tile-compressed images (.fz). Not shared between threads. */
typedef struct syz_fits syz_fits;

typedef enum syz_fits_kind {
  SYZ_FITS_IMAGE,      /**< primary or IMAGE extension, perhaps empty */
  SYZ_FITS_COMPRESSED, /**< an image inside a binary table; bitpix and shape are the image's */
  SYZ_FITS_TABLE,      /**< BINTABLE */
  SYZ_FITS_OTHER       /**< ASCII tables, foreign extensions: can be listed, not read */
} syz_fits_kind;

enum { SYZ_FITS_AXES = 4 };
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
 * Open and index all HDUs. Headers are parsed by own code: a header that contradicts itself or the file's size is refused here.
 * With `verify`, CHECKSUM and DATASUM are compared where present. Names are taken literally (no extended file name syntax).
 * SYZ_ERR_DATA names the file, the HDU and the reason. A file cut short is refused: nothing behind the cut is usable.
 */
syz_status syz_fits_open(const char *path, bool verify, syz_fits **out);
void syz_fits_close(syz_fits **f);
const char *syz_fits_path(const syz_fits *f);
int syz_fits_count(const syz_fits *f);
/** HDU 0 is the primary. Borrowed until closed. */
const syz_fits_hdu *syz_fits_get(const syz_fits *f, int hdu);
/** First HDU of that EXTNAME (case ignored, also blanks at the end), or -1. */
int syz_fits_find(const syz_fits *f, const char *name);
/** The 80-character cards of the header without END; *n = number of cards. Borrowed. */
const char *syz_fits_header(const syz_fits *f, int hdu, int *n);
/** Keyword values; false when absent, or not of that type. Text is cut to `room`, trailing blanks removed. */
bool syz_fits_key_text(const syz_fits *f, int hdu, const char *key, char *text, size_t room);
bool syz_fits_key_real(const syz_fits *f, int hdu, const char *key, double *value);
bool syz_fits_key_int(const syz_fits *f, int hdu, const char *key, int64_t *value);
bool syz_fits_key_bool(const syz_fits *f, int hdu, const char *key, bool *value);

/**
 * Pixels [first, first + n) of an image in C order, scaled by BZERO and BSCALE; BLANK becomes NaN. Any BITPIX.
 *
 * A compressed image is decoded whole, in a child process with a time limit (a damaged one crashes cfitsio 4.2.0), and kept until
 * another compressed HDU of this file is read. SYZ_ERR_DATA names file and HDU.
 */
syz_status syz_fits_read_f32(syz_fits *f, int hdu, int64_t first, int64_t n, float *out);
syz_status syz_fits_read_f64(syz_fits *f, int hdu, int64_t first, int64_t n, double *out);
/** Whole-number images (masks, also unsigned by BZERO) as 32 bits; values outside 0 .. 2^32-1 wrap modulo 2^32. */
syz_status syz_fits_read_u32(syz_fits *f, int hdu, int64_t first, int64_t n, uint32_t *out);

/** A column of a BINTABLE. */
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
/** All of the comma-separated names must be there: otherwise SYZ_ERR_DATA with the list of all that are missing. */
syz_status syz_fits_require(const syz_fits *f, int hdu, const char *names);
/** Rows [first, first + n), element `item` of each row, scaled by TZERO/TSCAL; TNULL becomes NaN; logical 1, 0 or NaN. */
syz_status syz_fits_column_f64(syz_fits *f, int hdu, int column, int64_t item, int64_t first, int64_t n, double *out);
/** The same for whole numbers (L B I J K with whole TZERO), exact in 64 bits; SYZ_ERR_DATA for other types. */
syz_status syz_fits_column_i64(syz_fits *f, int hdu, int column, int64_t item, int64_t first, int64_t n, int64_t *out);
/** Vector columns as float32: rows x repeat. */
syz_status syz_fits_column_f32s(syz_fits *f, int hdu, int column, int64_t first, int64_t n, float *out);
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

/** A FITS file being written: `path`.tmp until finished. Headers, plain images and tables by own code, tiles by cfitsio. */
typedef struct syz_fits_out syz_fits_out;

syz_status syz_fits_create(const char *path, syz_fits_out **out);
/** The primary HDU: without pixels, with these keywords. Optional; must come first. Otherwise an empty one is written. */
syz_status syz_fits_out_primary(syz_fits_out *o, const syz_fits_card *cards, int n_cards);

typedef enum syz_fits_packing {
  SYZ_FITS_PLAIN,
  SYZ_FITS_RICE_DITHER, /**< RICE_1, 100 x 100 tiles, SUBTRACTIVE_DITHER_2: how the Legacy Surveys keep images; zeros stay exact */
  SYZ_FITS_RICE,        /**< RICE_1, 100 x 100 tiles, no dither: their invvar; integer images are kept exactly */
  SYZ_FITS_GZIP         /**< GZIP_1, lossless also for floats: what DESI uses for masks */
} syz_fits_packing;

/** An image extension. data: [shape] uint8, int16, int32, int64, float or double by bitpix 8, 16, 32, 64, -32, -64. */
syz_status syz_fits_out_image(syz_fits_out *o, const char *extname, int bitpix, int naxis, const int64_t *shape, const void *data,
                              syz_fits_packing packing, const syz_fits_card *cards, int n_cards);

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
syz_status syz_fits_out_table(syz_fits_out *o, const char *extname, int64_t rows, const syz_fits_column *columns, int n_columns,
                              const syz_fits_card *cards, int n_cards);
/** Complete the file (fsync, rename); frees *o also on error. CHECKSUM and DATASUM are in every HDU. */
syz_status syz_fits_out_finish(syz_fits_out **o);
/** Give up: the temporary file is removed. */
void syz_fits_out_destroy(syz_fits_out **o);

/**
 * One big BINTABLE written by many: rank 0 creates (headers laid out, file at full size), everybody attaches and puts disjoint row
 * ranges in any order, the sums are added up, rank 0 finishes. Nothing here communicates:
 *
 *     if (rank == 0) syz_fits_table_create(tmp, ..., &t);      barrier; (agree)
 *     if (rank != 0) syz_fits_table_attach(tmp, ..., &t);      same columns and rows
 *     syz_fits_table_put(t, first, n, data);                   as often as needed
 *     sum = syz_fits_table_sum(t);  allreduce (u64, sum)       each is below 2^32
 *     syz_fits_table_close(&t) on the others; barrier; if (rank == 0) syz_fits_table_finish(&t, sum);  then publish the file
 */
typedef struct syz_fits_table syz_fits_table;
/** Create `path` (give a temporary name) with an empty primary HDU and this table's header. `columns` are copied. */
syz_status syz_fits_table_create(const char *path, const char *extname, int64_t rows, const syz_fits_column *columns, int n_columns,
                                 const syz_fits_card *cards, int n_cards, syz_fits_table **out);
/** Open what create made; the same arguments. */
syz_status syz_fits_table_attach(const char *path, const char *extname, int64_t rows, const syz_fits_column *columns, int n_columns,
                                 const syz_fits_card *cards, int n_cards, syz_fits_table **out);
/** Rows [first, first + n): data[c] is [n, repeat] of column c. Swapped and written in blocks. Each row exactly once in all. */
syz_status syz_fits_table_put(syz_fits_table *t, int64_t first, int64_t n, const void *const *data);
/** Ones' complement sum of the rows that this handle put, folded below 2^32. Of a row range written by an earlier run: see _resum. */
uint64_t syz_fits_table_sum(const syz_fits_table *t);
/** Add rows that are already in the file (restart): they are read back and summed. */
syz_status syz_fits_table_resum(syz_fits_table *t, int64_t first, int64_t n);
void syz_fits_table_close(syz_fits_table **t);
/** Write DATASUM and CHECKSUM from the sum over all handles, fsync, free. */
syz_status syz_fits_table_finish(syz_fits_table **t, uint64_t sum);

/* -------------------------------------------------------------------- WCS */

/** A celestial world coordinate system of axes 1 and 2: TAN, TPV, SIP, ZEA, anything wcslib reads. */
typedef struct syz_wcs syz_wcs;
/** From header cards. SYZ_ERR_DATA with a clear reason when there is no celestial WCS; `what` names file and HDU in messages. */
syz_status syz_wcs_create(const char *cards, int n_cards, const char *what, syz_wcs **out);
/** North up, East left, TAN: pixel (x, y) (0-based) is at (ra, dec). */
syz_status syz_wcs_create_tan(double ra, double dec, double x, double y, double pixel_arcsec, syz_wcs **out);
void syz_wcs_destroy(syz_wcs **w);
/** Degrees to pixel centres counted from 0; a position that cannot be projected becomes NaN. */
syz_status syz_wcs_to_pixel(syz_wcs *w, int64_t n, const double *ra, const double *dec, double *x, double *y);
syz_status syz_wcs_to_sky(syz_wcs *w, int64_t n, const double *x, const double *y, double *ra, double *dec);
/** The keywords of that TAN (CTYPE, CRVAL, CRPIX, CD, CUNIT, EQUINOX, RADESYS) for writing; returns their number, <= 16. */
int syz_wcs_tan_cards(double ra, double dec, double x, double y, double pixel_arcsec, syz_fits_card cards[16]);

/* ---------------------------------------------------------- (more below) */
