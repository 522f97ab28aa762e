/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * CSV files as tables: the first line names the columns, commas separate the cells, quotation marks may enclose them
 * (RFC 4180); lines that begin with # are comments. A column of whole numbers becomes one of 64 bits, so that
 * identifiers keep their digits; one of numbers float64; one of true and false logical; any other text, of which 80
 * characters are kept. Empty cells, nan and null have no value.
 *
 * ECSV (astropy's, APE 6) is the same with a header in YAML after #, whose lines are comments here but for two things:
 * the delimiter, which is a blank unless it says a comma, and the units of columns.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "file.h"

enum { CELL = 80, COLUMNS_MAX = 999 };

bool fits_is_csv_name(const char *path)
{
  static const char *const end[] = {".csv",  ".csv.gz",  ".csv.bz2",  ".csv.xz",
                                    ".ecsv", ".ecsv.gz", ".ecsv.bz2", ".ecsv.xz"};
  size_t n = strlen(path);
  for (size_t i = 0; i < sizeof end / sizeof *end; i++)
    if (n > strlen(end[i]) && !strcasecmp(path + n - strlen(end[i]), end[i])) return true;
  return false;
}

/** The kind of a cell; a column has the kind that fits all its cells. */
typedef enum cell_kind { CELL_EMPTY, CELL_LOGICAL, CELL_WHOLE, CELL_REAL, CELL_TEXT } cell_kind;

typedef struct csv {
  const char *path, *p, *end;
  int64_t line;
  char cell[CELL + 1];
  int64_t length; /**< length of the cell, of which not all may be kept */
  bool is_last;   /**< the last cell of its line */
  char delimiter; /**< a comma or, as one or more, a blank */
} csv;

static bool is_blank(const csv *c) { return c->p < c->end && (*c->p == ' ' || *c->p == '\t'); }
static void skip_blanks(csv *c)
{
  while (is_blank(c)) c->p++;
}

/* The next cell, without blanks around it unless they are quoted. */
static syz_status read_cell(csv *c)
{
  syz_status st = SYZ_OK;
  int64_t n = 0, kept = 0;
  skip_blanks(c);
  bool is_quoted = c->p < c->end && *c->p == '"';
  int64_t start = c->line;
  if (is_quoted) {
    for (c->p++;; c->p++) {
      SYZ_REQUIRE(c->p < c->end, SYZ_ERR_DATA, "%s: line %lld: a quotation mark is not closed", c->path,
                  (long long)start);
      if (*c->p == '"') {
        if (c->p + 1 == c->end || c->p[1] != '"') break;
        c->p++;
      }
      c->line += *c->p == '\n';
      if (n < CELL) c->cell[n] = *c->p;
      n++;
    }
    c->p++;
    const bool is_apart = c->delimiter == ' ' && is_blank(c);
    skip_blanks(c);
    SYZ_REQUIRE(is_apart || c->p == c->end || *c->p == c->delimiter || *c->p == '\r' || *c->p == '\n', SYZ_ERR_DATA,
                "%s: line %lld: text after a closing quotation mark", c->path, (long long)c->line);
    kept = n < CELL ? n : CELL;
  } else {
    for (; c->p < c->end && *c->p != c->delimiter && *c->p != '\n' &&
           !(*c->p == '\r' && (c->p + 1 == c->end || c->p[1] == '\n'));
         c->p++) {
      SYZ_REQUIRE(*c->p, SYZ_ERR_DATA, "%s: line %lld: a zero byte, so this is not text", c->path, (long long)c->line);
      if (n < CELL) c->cell[n] = *c->p;
      n++;
    }
    kept = n < CELL ? n : CELL;
    if (n == kept)
      while (kept && (c->cell[kept - 1] == ' ' || c->cell[kept - 1] == '\t')) n = --kept;
  }
  c->cell[kept] = '\0';
  c->length = n;
  if (c->delimiter == ' ') skip_blanks(c);
  c->is_last = c->p == c->end || (c->delimiter == ' ' ? *c->p == '\r' || *c->p == '\n' : *c->p != ',');
  if (c->p < c->end && *c->p == '\r') c->p++;
  if (c->p < c->end && (c->is_last || c->delimiter != ' ')) {
    c->line += *c->p == '\n';
    c->p++;
  }
cleanup:
  return st;
}

/* Skip to the next line with content; false at the end. */
static bool skip_empty(csv *c)
{
  while (c->p < c->end && (*c->p == '\n' || *c->p == '\r' || *c->p == '#')) {
    const char *newline = *c->p == '#' ? memchr(c->p, '\n', (size_t)(c->end - c->p)) : c->p;
    c->p = newline ? newline + 1 : c->end;
    c->line += newline && *newline == '\n';
  }
  return c->p < c->end;
}

static bool is_none(const char *text)
{
  return !text[0] || !strcasecmp(text, "nan") || !strcasecmp(text, "null") || !strcasecmp(text, "none") ||
         !strcmp(text, "--");
}

static cell_kind kind_of(const csv *c)
{
  int64_t whole;
  double real;
  if (is_none(c->cell)) return CELL_EMPTY;
  if (!strcasecmp(c->cell, "true") || !strcasecmp(c->cell, "false")) return CELL_LOGICAL;
  if (fits_parse_int(c->cell, &whole)) return CELL_WHOLE;
  bool has_only_digits =
      strspn(c->cell, "+-0123456789") == strlen(c->cell); /* more than 64 bits: as a real number it would lose digits */
  return !has_only_digits && syz_fits_parse_real(c->cell, &real) ? CELL_REAL : CELL_TEXT;
}

static cell_kind both(cell_kind a, cell_kind b)
{
  if (a == CELL_EMPTY || a == b) return b;
  if (b == CELL_EMPTY) return a;
  return (a == CELL_WHOLE && b == CELL_REAL) || (a == CELL_REAL && b == CELL_WHOLE) ? CELL_REAL : CELL_TEXT;
}

/* ------------------------------------------------------------------- ECSV */

static bool is_ecsv_name(const char *path)
{
  const size_t n = strlen(path);
  for (size_t i = 0; i + 5 <= n; i++)
    if (!strncasecmp(path + i, ".ecsv", 5) && (path[i + 5] == '\0' || path[i + 5] == '.') && !strchr(path + i, '/'))
      return true;
  return false;
}

/* A text of YAML on one line, which ends at a comma or a brace unless it is quoted. Returns what follows it. */
static const char *take_yaml(const char *p, const char *end, char *text, size_t room)
{
  const char quote = p < end && (*p == '\'' || *p == '"') ? *p++ : '\0';
  size_t n = 0;
  for (; p < end && *p != '\n' && (quote ? *p != quote : *p != ',' && *p != '}'); p++)
    if (n + 1 < room) text[n++] = *p;
  text[n] = '\0';
  return p + (quote && p < end && *p == quote);
}

/* The header's lines, once the columns are known: `# - {name: NAME, unit: UNIT, ...`. */
static void take_units(const csv *c, fits_hdu *h)
{
  static const char begin[] = "# - {name: ", unit[] = ", unit: ";
  const size_t n = sizeof begin - 1, m = sizeof unit - 1;
  char name[72];
  for (const char *p = c->p, *line_end; p < c->end && *p == '#'; p = line_end + 1) {
    line_end = memchr(p, '\n', (size_t)(c->end - p));
    if (!line_end) return;
    if ((size_t)(line_end - p) <= n || strncmp(p, begin, n) != 0) continue;
    const char *after = take_yaml(p + n, line_end, name, sizeof name);
    for (int i = 0; i < h->face.columns; i++)
      if (strcmp(h->field[i].name, name) == 0 && (size_t)(line_end - after) > m && strncmp(after, unit, m) == 0)
        (void)take_yaml(after + m, line_end, h->field[i].unit, sizeof h->field->unit);
  }
}

static char delimiter_of(const csv *c)
{
  static const char begin[] = "# delimiter:";
  for (const char *p = c->p, *line_end; p < c->end && *p == '#'; p = line_end + 1) {
    line_end = memchr(p, '\n', (size_t)(c->end - p));
    if (!line_end) break;
    if ((size_t)(line_end - p) > sizeof begin - 1 && strncmp(p, begin, sizeof begin - 1) == 0)
      return memchr(p, ',', (size_t)(line_end - p)) ? ',' : ' ';
  }
  return ' ';
}

/* ----------------------------------------------------------------- columns */

static syz_status read_names(csv *c, fits_hdu *h)
{
  syz_status st = SYZ_OK;
  h->face.columns = 0;
  do {
    SYZ_TRY(read_cell(c));
    SYZ_REQUIRE(h->face.columns < COLUMNS_MAX, SYZ_ERR_DATA, "%s: more than %d columns", c->path, (int)COLUMNS_MAX);
    snprintf(h->field[h->face.columns++].name, sizeof h->field->name, "%.71s", c->cell);
  } while (!c->is_last);
cleanup:
  return st;
}

/* First pass: count rows and find the kind of each column; width [columns]: its longest text. */
static syz_status look(csv *c, fits_hdu *h, cell_kind *kind, int64_t *width)
{
  syz_status st = SYZ_OK;
  for (; skip_empty(c); h->face.rows++) {
    int64_t line = c->line;
    int column = 0;
    do {
      SYZ_TRY(read_cell(c));
      if (column < h->face.columns) {
        kind[column] = both(kind[column], kind_of(c));
        int64_t n = c->length < CELL ? c->length : CELL;
        if (width[column] < n) width[column] = n;
      }
      column++;
    } while (!c->is_last);
    SYZ_REQUIRE(column == h->face.columns, SYZ_ERR_DATA, "%s: line %lld has %d cells, the first line names %d columns",
                c->path, (long long)line, column, h->face.columns);
  }
cleanup:
  return st;
}

static void put_cell(const char *text, const syz_fits_field *f, unsigned char *out)
{
  int64_t whole = INT64_MIN;
  double real = (double)NAN;
  bool has_value = !is_none(text);
  switch (f->type) {
  case 'L':
    *out = has_value ? (unsigned char)(text[0] == 't' || text[0] == 'T' ? 'T' : 'F') : 0;
    break;
  case 'K':
    if (has_value) (void)fits_parse_int(text, &whole);
    fits_put_be64(out, (uint64_t)whole);
    break;
  case 'D':
    if (has_value) (void)syz_fits_parse_real(text, &real);
    fits_put_be_f64(out, real);
    break;
  default:
    memcpy(out, text, strnlen(text, (size_t)f->repeat));
    break; /* the rest is 0 already */
  }
}

static syz_status convert(csv *c, fits_hdu *h)
{
  syz_status st = SYZ_OK;
  for (int64_t row = 0; skip_empty(c); row++)
    for (int column = 0; column < h->face.columns; column++) {
      SYZ_TRY(read_cell(c));
      put_cell(c->cell, &h->field[column], h->made + row * h->row_bytes + h->field[column].offset);
    }
cleanup:
  return st;
}

syz_status fits_csv_open(syz_fits *f)
{
  syz_status st = SYZ_OK;
  cell_kind *kind = NULL;
  int64_t *width = NULL;
  csv c = {.path = f->path,
           .p = (const char *)f->bytes.data,
           .end = (const char *)f->bytes.data + f->bytes.size,
           .line = 1,
           .delimiter = ','};
  SYZ_ALLOC(f->hdu, "FITS index", 2);
  f->n = 2;
  fits_hdu *h = &f->hdu[1];
  h->face.kind = SYZ_FITS_TABLE;
  h->is_verified = true;
  snprintf(h->face.name, sizeof h->face.name, "CSV");
  SYZ_ALLOC(h->field, "columns", COLUMNS_MAX + 1);
  SYZ_ALLOC(h->scale, "columns", COLUMNS_MAX + 1);
  SYZ_ALLOC(kind, "columns", COLUMNS_MAX + 1);
  SYZ_ALLOC(width, "columns", COLUMNS_MAX + 1);
  if (c.end - c.p >= 3 && !memcmp(c.p, "\xEF\xBB\xBF", 3)) c.p += 3; /* byte order mark of UTF-8 */
  const csv header = c;
  const bool is_ecsv = is_ecsv_name(f->path);
  if (is_ecsv) c.delimiter = delimiter_of(&header);
  SYZ_REQUIRE(skip_empty(&c), SYZ_ERR_DATA, "%s: no line that names columns", f->path);
  SYZ_TRY(read_names(&c, h));
  if (is_ecsv) take_units(&header, h);
  csv rows = c;
  SYZ_TRY(look(&c, h, kind, width));
  for (int i = 0; i < h->face.columns; i++) {
    syz_fits_field *field = &h->field[i];
    field->type = kind[i] == CELL_TEXT ? 'A' : kind[i] == CELL_LOGICAL ? 'L' : kind[i] == CELL_WHOLE ? 'K' : 'D';
    field->repeat = field->type == 'A' ? width[i] : 1;
    field->offset = h->row_bytes;
    h->row_bytes += field->type == 'A' ? width[i] : field->type == 'L' ? 1 : 8;
    h->scale[i] = (fits_scale){.scale = 1, .has_null = field->type == 'K', .null = INT64_MIN};
  }
  SYZ_REQUIRE(h->face.rows <= (int64_t)(syz_memory_available() / 2) / h->row_bytes, SYZ_ERR_DATA,
              "%s: %lld rows of %lld bytes are more than this machine can hold", f->path, (long long)h->face.rows,
              (long long)h->row_bytes);
  SYZ_ALLOC(h->made, "CSV table", h->face.rows * h->row_bytes + 1);
  SYZ_TRY(convert(&rows, h));
cleanup:
  syz_free(&kind);
  syz_free(&width);
  return st;
}
