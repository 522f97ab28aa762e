/* SPDX-License-Identifier: BSD-3-Clause */
/** Inside of room labels: an open table, and what the two kinds of files behind it do. */
#pragma once

#include "syzygy/fits.h"
#include "syzygy/h5.h"
#include "syzygy/labels.h"

enum { LABELS_TEXT = 96 /**< bytes of a text that is a number, a side or nothing */, LABELS_COLUMNS = 1 << 16 };

struct syz_label_table;

/** Rank-local, on the rank that reads. Rows [first, first + n) of a column, item `item` of each. */
typedef struct labels_format {
  /** Opens t->path and finds rows and columns. */
  syz_status (*open)(struct syz_label_table *t, const char *part, bool verify);
  void (*close)(struct syz_label_table *t);
  /** Columns of numbers and logicals as float64, NaN without a value. */
  syz_status (*numbers)(struct syz_label_table *t, int column, int64_t item, int64_t first, int64_t n, double *out);
  /** Whole numbers; anything without a value. */
  syz_status (*wholes)(struct syz_label_table *t, int column, int64_t item, int64_t first, int64_t n, int64_t *out);
  syz_status (*texts)(struct syz_label_table *t, int column, int64_t item, int64_t first, int64_t n, size_t room,
                      char *out);
} labels_format;
extern const labels_format labels_fits, labels_h5;

struct syz_label_table {
  syz_comm *comm;
  char *path;
  int64_t rows;
  int columns;
  syz_label_column *column;
  const char **name; /**< [columns], in `column` */
  size_t room;       /**< of `column` */
  /* the rank that reads */
  const labels_format *format;
  syz_fits *fits;
  int hdu;
  syz_h5 *h5;
  char prefix[512]; /**< of datasets: "", or a name that ends with '/' */
};

/** Rank-local: one more column. */
syz_status labels_add_column(struct syz_label_table *t, const char *name, const char *unit, char kind, int64_t items);
/** The names of all columns. */
syz_texts labels_names(const struct syz_label_table *t);
