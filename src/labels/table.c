/* SPDX-License-Identifier: BSD-3-Clause */
/** Label tables: rank 0 opens the file, all ranks have the names of its columns. */
#include "table.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "formula.h"
#include "syzygy/files.h"

/* ----------------------------------------------------------------- opening */

static syz_status is_hdf5(const char *path, bool *is)
{
  syz_status st = SYZ_OK;
  static const char signature[] = "\x89HDF\r\n\x1a\n";
  const char *dot = strrchr(path, '.');
  char begin[8];
  int fd = -1;
  int64_t bytes;
  SYZ_TRY(syz_file_open_input(path, &fd, &bytes));
  *is = (pread(fd, begin, sizeof begin, 0) == sizeof begin && memcmp(begin, signature, sizeof begin) == 0) ||
        (dot && (!strcasecmp(dot, ".h5") || !strcasecmp(dot, ".hdf5") || !strcasecmp(dot, ".hdf")));
cleanup:
  if (fd >= 0) close(fd);
  return st;
}

static syz_status open_here(syz_label_table *t, const char *part, bool verify)
{
  syz_status st = SYZ_OK;
  bool is = false;
  SYZ_TRY(is_hdf5(t->path, &is));
  t->format = is ? &labels_h5 : &labels_fits;
  SYZ_TRY(t->format->open(t, part, verify));
  SYZ_REQUIRE(t->columns > 0, SYZ_ERR_DATA, "%s: the table has no columns", t->path);
cleanup:
  return st;
}

static syz_status make_room(syz_label_table *t)
{
  syz_status st = SYZ_OK;
  if (!t->column) SYZ_ALLOC(t->column, "columns of a table", t->columns);
  SYZ_ALLOC(t->name, "columns of a table", t->columns);
cleanup:
  return st;
}

static syz_status create(syz_comm *c, const char *path, syz_label_table **out)
{
  syz_status st = SYZ_OK;
  syz_label_table *t = NULL;
  SYZ_ALLOC(t, "table", 1);
  t->comm = c;
  SYZ_ALLOC(t->path, "table", strlen(path) + 1);
  strcpy(t->path, path);
  *out = t;
  t = NULL;
cleanup:
  syz_label_table_close(&t);
  return st;
}

syz_status syz_label_table_open(syz_comm *c, const char *path, const char *part, bool verify, syz_label_table **out)
{
  syz_status st = SYZ_OK;
  syz_label_table *t = NULL;
  *out = NULL;
  SYZ_TRY_ALL(c, create(c, path, &t));
  SYZ_TRY_ALL(c, syz_comm_rank(c) == 0 ? open_here(t, part ? part : "", verify) : SYZ_OK);
  syz_bcast(c, &t->rows, sizeof t->rows, 0);
  syz_bcast(c, &t->columns, sizeof t->columns, 0);
  SYZ_TRY_ALL(c, make_room(t));
  syz_bcast(c, t->column, (size_t)t->columns * sizeof *t->column, 0);
  for (int i = 0; i < t->columns; i++) t->name[i] = t->column[i].name;
  *out = t;
  t = NULL;
cleanup:
  syz_label_table_close(&t);
  return st;
}

void syz_label_table_close(syz_label_table **table)
{
  syz_label_table *t = *table;
  if (!t) return;
  if (t->format) t->format->close(t);
  syz_free(&t->column);
  syz_free(&t->name);
  syz_free(&t->path);
  syz_free(table);
}

/* ------------------------------------------------------------------- names */

const char *syz_label_table_path(const syz_label_table *t) { return t->path; }
int64_t syz_label_table_rows(const syz_label_table *t) { return t->rows; }
int syz_label_table_columns(const syz_label_table *t) { return t->columns; }
const syz_label_column *syz_label_table_column(const syz_label_table *t, int i) { return &t->column[i]; }

syz_texts labels_names(const syz_label_table *t) { return (syz_texts){t->columns, t->name}; }

bool syz_label_table_has(const syz_label_table *t, const char *name, int *column)
{
  const char *nearest;
  *column = labels_find_name(labels_names(t), name, &nearest);
  return *column >= 0;
}

syz_status syz_label_table_find(const syz_label_table *t, const char *name, int *column)
{
  syz_status st = SYZ_OK;
  const char *nearest;
  *column = labels_find_name(labels_names(t), name, &nearest);
  SYZ_REQUIRE(*column >= 0, SYZ_ERR_DATA, "%s: no column '%.200s'; the nearest is '%s'", t->path, name, nearest);
cleanup:
  return st;
}

syz_status syz_label_table_find_ids(const syz_label_table *t, const char *stated, int *column)
{
  static const char *const usual[] = {"TARGETID", "OBJECT_ID", "LS_ID", "OBJID"};
  *column = -1;
  if (strcasecmp(stated, "none") == 0) return SYZ_OK;
  if (*stated) return syz_label_table_find(t, stated, column);
  for (size_t i = 0; i < sizeof usual / sizeof *usual; i++)
    if (syz_label_table_has(t, usual[i], column) && t->column[*column].items == 1 &&
        strchr("ifs", t->column[*column].kind))
      return SYZ_OK;
  *column = -1;
  return SYZ_OK;
}

syz_status syz_label_table_find_places(const syz_label_table *t, const char *stated_ra, const char *stated_dec, int *ra,
                                       int *dec)
{
  static const char *const usual[][2] = {{"ra", "dec"},
                                         {"target_ra", "target_dec"},
                                         {"radeg", "dedeg"},
                                         {"raj2000", "dej2000"},
                                         {"ra_j2000", "dec_j2000"},
                                         {"ra_deg", "dec_deg"},
                                         {"alpha_j2000", "delta_j2000"},
                                         {"_raj2000", "_dej2000"},
                                         {"ra_icrs", "de_icrs"},
                                         {"plug_ra", "plug_dec"}};
  syz_status st = SYZ_OK;
  *ra = *dec = -1;
  if (*stated_ra || *stated_dec) {
    SYZ_TRY(syz_label_table_find(t, stated_ra, ra));
    SYZ_TRY(syz_label_table_find(t, stated_dec, dec));
    return SYZ_OK;
  }
  for (size_t i = 0; i < sizeof usual / sizeof *usual; i++)
    if (syz_label_table_has(t, usual[i][0], ra) && syz_label_table_has(t, usual[i][1], dec)) return SYZ_OK;
  *ra = *dec = -1;
cleanup:
  return st;
}
