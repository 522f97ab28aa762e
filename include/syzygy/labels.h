/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * labels: what is known of objects. Label tables in FITS, CSV, ECSV and HDF5 files, formulas of their columns, their
 * join to objects by identifier or position, and the split of objects into train and test.
 *
 * Columns, identifiers, positions and sides are whole on every rank, the same on each: 8 bytes for each row of a
 * column, 8 for an identifier, 16 for a position, 1 for a side. Embeddings are not held here and stay where they are.
 * Work is dealt out to the ranks; results are the same bits on any number of them. What is collective says so, and is
 * agreed.
 */
#pragma once

#include "syzygy/base.h"
#include "syzygy/comm.h"

/* ---------------------------------------------------------- label tables */

/**
 * An open table: a table HDU of a FITS file (plain or packed), a CSV or ECSV file, one HDF5 dataset with members
 * (astropy's tables, as PROVABGS), or a group of HDF5 with a dataset for each column. Rank 0 alone reads the file, on
 * its main thread; what is read of it goes to all. Hostile files do no harm.
 */
typedef struct syz_label_table syz_label_table;

/** A column. Items of a row with several axes are counted in C order. */
typedef struct syz_label_column {
  char name[256];
  char unit[72]; /**< "": the file says none */
  char kind;     /**< 'f' float, 'i' whole number, 'b' logical, 's' text, '?' not read */
  int64_t items; /**< in a row */
} syz_label_column;

/**
 * Collective; agreed. `part`: name of the HDU, or of the HDF5 dataset or group; "": the first table of a FITS file, the
 * only dataset with members of an HDF5 file, or else the datasets of its root. With `verify`, checksums of FITS files
 * are compared. SYZ_ERR_DATA names the file and the reason.
 */
syz_status syz_label_table_open(syz_comm *c, const char *path, const char *part, bool verify, syz_label_table **out);
/** NULL is fine. Not collective. */
void syz_label_table_close(syz_label_table **t);
const char *syz_label_table_path(const syz_label_table *t);
int64_t syz_label_table_rows(const syz_label_table *t);
int syz_label_table_columns(const syz_label_table *t);
/** Column `i`, borrowed until closed. */
const syz_label_column *syz_label_table_column(const syz_label_table *t, int i);
/** Whether a column has this name, exactly or else in another case, and its number. Rank-local, as the next. */
bool syz_label_table_has(const syz_label_table *t, const char *name, int *column);
/** The same; SYZ_ERR_DATA names the nearest one when there is none. */
syz_status syz_label_table_find(const syz_label_table *t, const char *name, int *column);

/**
 * Item `item` of a column as numbers, out [rows]. Without a value are, and become NaN: blank cells, TNULL, masked rows
 * (astropy's column NAME.mask beside NAME), the texts nan, null, none and "--". Texts that are numbers are read as
 * such, others are SYZ_ERR_DATA with the row. Whole numbers beyond 2^53 are rounded. Collective; agreed.
 */
syz_status syz_label_table_numbers(syz_label_table *t, int column, int64_t item, double *out);
enum { SYZ_LABEL_NO_ID = -1 /**< a row without an identifier */ };
/**
 * A column as identifiers, exact in 64 bits, id [rows]: whole numbers, their text, or floats that are whole and below
 * 2^53. SYZ_ERR_DATA for a float beyond that, which has lost digits, and for other texts; both name the row.
 * Collective; agreed.
 */
syz_status syz_label_table_ids(syz_label_table *t, int column, int64_t *id);
/** A column of texts, each cut to room - 1 bytes, text [rows, room]; trailing blanks are removed. SYZ_ERR_DATA for
 * columns of numbers. Collective; agreed. */
syz_status syz_label_table_texts(syz_label_table *t, int column, size_t room, char *text);
/** A column that says the side, side [rows] (syz_side): train or 0, test or 1, without a value none; SYZ_ERR_DATA for
 * anything else, with its row. Collective; agreed. */
syz_status syz_label_table_sides(syz_label_table *t, int column, uint8_t *side);
/**
 * The column of identifiers: the stated one, or with "" the first of TARGETID, OBJECT_ID, LS_ID, OBJID that holds whole
 * numbers, text or floats. *column -1: "none" is stated, or there is none. SYZ_ERR_DATA as syz_label_table_find.
 * Rank-local.
 */
syz_status syz_label_table_find_ids(const syz_label_table *t, const char *stated, int *column);
/** The columns of positions in degrees: the stated ones, or with "" the usual names (ra, dec; target_ra, target_dec;
 * radeg, dedeg; raj2000, dej2000; ...). Both -1: there are none. Rank-local. */
syz_status syz_label_table_find_places(const syz_label_table *t, const char *stated_ra, const char *stated_dec, int *ra,
                                       int *dec);

/* --------------------------------------------------------------- formulas */

/**
 * A number made of columns, `log10(AVG_SFR) - LOG_MSTAR`, or a cut, `mag_z < 19 && zwarn == 0`.
 *
 * Operators, weakest first: || && (== !=) (< <= > >=) (+ -) (* /) (! and signs) (** or ^, from the right). Functions:
 * log10, ln = log, exp, sqrt, abs, asinh, isnan, pow(x, y), min and max of two and more. Columns are found by their
 * names exactly or else in another case. A name of other characters than letters, digits and _ stands as it is written
 * in the file (`smooth-or-featured_total-votes >= 3`) or in quotation marks (' or " or `). NAME[k] is item k, from 0
 * on, of a column with several. A text that is as a whole the name of a column is that column.
 *
 * NaN in, NaN out: also a comparison with NaN is NaN, so that a row without the value passes neither a cut nor its
 * opposite; only `false && NaN` is false, `true || NaN` true, and isnan(NaN) 1. Logarithms of numbers that are not
 * positive and roots of negative ones are NaN. Nothing here is collective.
 */
typedef struct syz_formula syz_formula;
/** `name`: of all columns there are, borrowed until the formula is destroyed. SYZ_ERR_INPUT with the place in the text
 * for what cannot be read; SYZ_ERR_DATA for an unknown column, with its place and the nearest name. */
syz_status syz_formula_parse(const char *text, syz_texts name, syz_formula **out);
void syz_formula_destroy(syz_formula **f);
/** How many different columns (and items) it needs, 0 for a constant. */
int syz_formula_inputs(const syz_formula *f);
/** Input `k`: number in `name`, and item, -1 when none is stated. */
int syz_formula_input(const syz_formula *f, int k, int64_t *item);
/** What the values of a formula, or of a label, are. */
typedef struct syz_label_counts {
  int64_t rows;
  int64_t missing;   /**< NaN because an input is */
  int64_t undefined; /**< NaN though no input is: a logarithm of a number that is not positive, and the like */
  int64_t infinite;
  int64_t usable;   /**< finite */
  bool is_constant; /**< all usable values are equal; also without any */
} syz_label_counts;
/** input [inputs][n] -> out [n]. `counts` may be NULL. SYZ_ERR_MEMORY. */
syz_status syz_formula_evaluate(const syz_formula *f, int64_t n, const double *const *input, double *out,
                                syz_label_counts *counts);
/** The same of values [n] as they are. */
syz_label_counts syz_label_count(int64_t n, const double *value);
/** A formula of a table's columns, out [rows]. Errors as parsing and reading. Collective; agreed. */
syz_status syz_label_table_evaluate(syz_label_table *t, const char *formula, double *out, syz_label_counts *counts);

/* ------------------------------------------------------------------- votes */

/** The columns of all names (the answers of a question), column [name.n]; SYZ_ERR_DATA lists all that are missing, each
 * with the nearest there is. Rank-local. */
syz_status syz_label_table_find_all(const syz_label_table *t, syz_texts name, int *column);
/** Whether votes [name.n][n] are counts: whole numbers from 0 on, or NaN where nobody was asked. SYZ_ERR_DATA names the
 * first row and answer that are none. Rank-local. */
syz_status syz_votes_check(syz_texts name, int64_t n, const double *const *votes);
/** Whether shares [name.n][n] are from 0 to 1 and add up to 1 within `tolerance`, in rows in which none is NaN.
 * SYZ_ERR_DATA names the first row that does not. Rank-local. */
syz_status syz_shares_check(syz_texts name, int64_t n, const double *const *share, double tolerance);

/* ------------------------------------------------------------------- join */

enum { SYZ_JOIN_EXAMPLES = 8 };
/** Which row of a table belongs to each object. */
typedef struct syz_join {
  int64_t n;                             /**< objects */
  int64_t *row;                          /**< [n] or -1; NULL with n > 0: the join has failed as no object is matched */
  int64_t matched, ambiguous, unmatched; /**< objects; they add up to n */
  int64_t merged;                        /**< by identifier: rows of the table that say the same as an earlier row */
  int64_t example[SYZ_JOIN_EXAMPLES];    /**< the first objects that are unmatched, by number */
  int examples;
} syz_join;
/**
 * By identifier: object_id [n] and row_id [rows]; SYZ_LABEL_NO_ID, 0 and negative ones match nothing. Rows of one
 * identifier that agree in all of value [n_values][rows] (NaN agrees with NaN) are one, the first of them; where they
 * differ the object is ambiguous and left out. SYZ_ERR_DATA when no object is matched, with some identifiers of both
 * sides. Collective; agreed. 16 bytes a row beside the arrays.
 */
syz_status syz_join_ids(syz_comm *c, int64_t n, const int64_t *object_id, int64_t rows, const int64_t *row_id,
                        int n_values, const double *const *value, syz_join *out);
/**
 * By position: the nearest row within the radius. Ambiguous where it has two or more, unless they are one, at equal
 * positions and as above. Positions that are not on the sphere match nothing. SYZ_ERR_DATA when no object is matched,
 * with the smallest distance of any. Collective; agreed. 32 bytes a row beside the arrays.
 */
syz_status syz_join_places(syz_comm *c, int64_t n, const double *ra, const double *dec, int64_t rows,
                           const double *row_ra, const double *row_dec, double radius_arcsec, int n_values,
                           const double *const *value, syz_join *out);
void syz_join_free(syz_join *j);
/** out [n] = value[row], NaN without one. */
void syz_join_take(const syz_join *j, const double *value, double *out);
/** The counts in words, and the unmatched ones listed by object_id (may be NULL), in one line. */
void syz_join_describe(const syz_join *j, const int64_t *object_id, char text[512]);

/* ------------------------------------------------------------------ split */

typedef enum syz_side {
  SYZ_SIDE_NONE, /**< in neither: the column says nothing of it */
  SYZ_SIDE_TRAIN,
  SYZ_SIDE_TEST,
  SYZ_SIDE_DROPPED /**< would be in test, but its object or its place is in training too */
} syz_side;

typedef enum syz_sides_rule {
  SYZ_SIDES_BY_SKY,   /**< the cell of a tenth of a degree that it lies in, hashed */
  SYZ_SIDES_BY_ROWS,  /**< its number, hashed */
  SYZ_SIDES_BY_FILE,  /**< as given: files of training, files of test */
  SYZ_SIDES_BY_COLUMN /**< as given by a column */
} syz_sides_rule;

typedef struct syz_sides_options {
  syz_sides_rule rule;
  double test_share;    /**< of sky and rows, in (0, 1) */
  uint64_t seed;        /**< of sky and rows; 0: the plain rule (src/labels/sides.c) */
  double border_arcsec; /**< objects of test within this distance of one of training are dropped; 0: none */
} syz_sides_options;

/** The side of each object. */
typedef struct syz_sides {
  int64_t n;
  uint8_t *side;             /**< [n], syz_side */
  int64_t train, test, none; /**< objects on each */
  int64_t dropped_border;    /**< for their place */
  int64_t dropped_shared;    /**< for their identifier, which training has too; by file and column only */
  int64_t moved;             /**< by sky and rows: objects that follow the first of their identifier */
  int64_t placeless;         /**< without a position: by sky they go by identifier */
  uint64_t digest;           /**< of all (object_id, side), in any order */
} syz_sides;
/**
 * object_id, ra, dec [n] of all objects, in the order of their files and rows; given [n] (syz_side) for the last two
 * rules, otherwise NULL. Objects that share an identifier are on one side (identifiers that are 0 or negative stand for
 * none). SYZ_ERR_INPUT for a share outside (0, 1); SYZ_ERR_DATA when train or test is empty, with the counts.
 * Collective; agreed. 48 bytes an object beside the arrays.
 */
syz_status syz_sides_make(syz_comm *c, const syz_sides_options *options, int64_t n, const int64_t *object_id,
                          const double *ra, const double *dec, const uint8_t *given, syz_sides *out);
void syz_sides_free(syz_sides *s);
/** "train", "test", "dropped", "none". */
const char *syz_side_name(syz_side side);
/** Digest of n pairs as in syz_sides: sums modulo 2^64, so those of parts add up. */
uint64_t syz_sides_digest(int64_t n, const int64_t *object_id, const uint8_t *side);
