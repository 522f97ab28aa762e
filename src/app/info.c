/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * `info`: what a file is, where it came from, what is in it, and whether it is intact. Takes any number of files and
 * folders; all are examined, also after a bad one, and the exit code is that of the first bad one.
 *
 * The ranks verify the datasets of an HDF5 file in turn; rank 0 prints. Survey files have no checksums of ours: FITS
 * files are checked by their own CHECKSUM and DATASUM; in HDF5 files only shapes and types can be checked.
 */
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app.h"
#include "syzygy/data.h"
#include "syzygy/files.h"
#include "syzygy/fits.h"
#include "syzygy/model.h"
#include "syzygy/sky.h"
#include "syzygy/train.h"

enum { NAME = 192, PATH = 4096, VALUES = 4096, DATASETS = 100000 };

const syz_key syz_info_keys[] = {
    {"info.verify", SYZ_KEY_BOOL, "true", "", 0, 0, NULL, SYZ_USED_BY(info),
     "Verify the checksums of all data (reads every byte)."},
    {"info.input", SYZ_KEY_BOOL, "false", "", 0, 0, NULL, SYZ_USED_BY(info),
     "Print the resolved input that the file was made from."},
    {NULL, SYZ_KEY_INT, NULL, NULL, 0, 0, NULL, 0, NULL},
};

typedef struct context {
  syz_comm *world;
  bool is_first, verifies, prints_input;
  int64_t good, bad;
  syz_status worst; /* status of the first bad file */
  char text[SYZ_ERROR_TEXT];
} context;

typedef struct names {
  char (*name)[NAME];
  int n;
  size_t room;
} names;

static const char *bytes_text(double bytes, char text[32])
{
  const char *unit[] = {"B", "kB", "MB", "GB", "TB"};
  int k = 0;
  while (bytes >= 1000 && k < 4) {
    bytes /= 1000;
    k++;
  }
  snprintf(text, 32, k ? "%.1f %s" : "%.0f %s", bytes, unit[k]);
  return text;
}

/* --------------------------------------------------------- HDF5 of syzygy */

static syz_status keep_name(void *list, const char *name)
{
  syz_status st = SYZ_OK;
  names *l = list;
  SYZ_REQUIRE(l->n < DATASETS, SYZ_ERR_DATA, "more than %d datasets", DATASETS);
  SYZ_TRY(syz_grow(&l->name, "dataset names", l->n, 1, &l->room));
  snprintf(l->name[l->n++], NAME, "%s", name);
cleanup:
  return st;
}

static void print_text(syz_h5 *f, const char *attribute, const char *as, bool is_long, bool prints)
{
  char *text = NULL;
  if (syz_h5_read_text(f, "", attribute, &text) != SYZ_OK || !text || !*text) {
    syz_free(&text);
    return;
  }
  int lines = 0;
  for (const char *p = text; *p; p++) lines += *p == '\n' || !p[1];
  if (is_long && !prints) {
    printf("  %-16s %d lines (--set info.input=true prints them)\n", as, lines);
  } else if (lines <= 1) {
    printf("  %-16s %.*s\n", as, (int)strcspn(text, "\n"), text);
  } else {
    printf("  %s\n", as);
    for (const char *p = text; *p; p += strcspn(p, "\n"), p += *p == '\n')
      printf("    %.*s\n", (int)strcspn(p, "\n"), p);
  }
  syz_free(&text);
}

static void print_provenance(context *c, syz_h5 *f)
{
  static const char *const attributes[][2] = {
      {"created_by", "created by"},     {"model_config", "model"},   {"model_file", "model file"},
      {"model_digest", "model digest"}, {"data_path", "data"},       {"data_split", "data split"},
      {"data_digest", "data digest"},   {"precision", "precision"},  {"engine", "engine"},
      {"query_modality", "query"},      {"index_modality", "index"}, {"facts", "facts"}};
  for (size_t i = 0; i < sizeof attributes / sizeof *attributes; i++)
    print_text(f, attributes[i][0], attributes[i][1], !strcmp(attributes[i][0], "facts"), c->prints_input);
  print_text(f, "input", "input", true, c->prints_input);
}

/* The number of rows whose flag is set; -1 when the file lacks that column. */
static int64_t count_flags(syz_h5 *f, const char *name, int64_t rows)
{
  uint8_t flag[VALUES];
  int64_t set = 0;
  if (!syz_h5_has(f, name)) return -1;
  for (int64_t i = 0; i < rows; i += VALUES) {
    int64_t n = rows - i < VALUES ? rows - i : VALUES;
    if (syz_h5_read(f, name, SYZ_H5_U8, i, n, flag) != SYZ_OK) return -1;
    for (int64_t k = 0; k < n; k++) set += flag[k] != 0;
  }
  return set;
}

static void print_objects(syz_h5 *f)
{
  int ndim;
  int64_t shape[8];
  if (!syz_h5_has(f, "object_id") || syz_h5_shape(f, "object_id", &ndim, shape) != SYZ_OK || ndim != 1) return;
  int64_t image = count_flags(f, "has_image", shape[0]), spectrum = count_flags(f, "has_spectrum", shape[0]);
  printf("  %-16s %lld", "objects", (long long)shape[0]);
  if (image >= 0) printf(", %lld with image", (long long)image);
  if (spectrum >= 0) printf(", %lld with spectrum", (long long)spectrum);
  putchar('\n');
}

/* The parts that a model file has, and their number of parameters. */
static void print_parts(syz_h5 *f, const names *l)
{
  static const char group[] = "parameter/";
  double size[SYZ_PARTS] = {0};
  for (int i = 0; i < l->n; i++) {
    syz_part part;
    int ndim;
    int64_t shape[8];
    double count = 1;
    if (strncmp(l->name[i], group, sizeof group - 1) != 0 || !syz_part_of_name(l->name[i] + sizeof group - 1, &part))
      continue;
    if (syz_h5_shape(f, l->name[i], &ndim, shape) != SYZ_OK) continue;
    for (int k = 0; k < ndim; k++) count *= (double)shape[k];
    size[part] += count;
  }
  for (int i = 0; i < SYZ_PARTS; i++)
    if (size[i] > 0) printf("  %-16s %s, %.4g M parameters\n", "part", syz_part_name((syz_part)i), size[i] / 1e6);
}

/* Text after a label's name: how many of its values are known, and their range. */
static void label_text(syz_h5 *f, const char *name, int64_t rows, char text[96])
{
  float value[VALUES];
  int64_t known = 0;
  double low = INFINITY, high = -INFINITY;
  text[0] = '\0';
  if (strncmp(name, "label/", 6) != 0) return;
  for (int64_t i = 0; i < rows; i += VALUES) {
    int64_t n = rows - i < VALUES ? rows - i : VALUES;
    if (syz_h5_read(f, name, SYZ_H5_F32, i, n, value) != SYZ_OK) return;
    for (int64_t k = 0; k < n; k++) {
      if (isnan(value[k])) continue;
      known++;
      low = fmin(low, value[k]);
      high = fmax(high, value[k]);
    }
  }
  if (known)
    snprintf(text, 96, "  %lld known, %.4g .. %.4g", (long long)known, low, high);
  else
    snprintf(text, 96, "  none known");
}

static void print_dataset(syz_h5 *f, int width, const char *name, const char *checksum)
{
  int ndim = 0, bits = 0, at = 0;
  int64_t shape[8] = {0};
  char kind = '?', type[16], dims[160] = "scalar", more[96], *units = NULL;
  if (syz_h5_shape(f, name, &ndim, shape) != SYZ_OK || syz_h5_class(f, name, &kind, &bits) != SYZ_OK) return;
  const char *word = "record";
  switch (kind) {
  case 'f':
    word = bits == 16 ? "bfloat" : "float";
    break;
  case 'i':
    word = "int";
    break;
  case 'u':
    word = "uint";
    break;
  case 'b':
    word = "bool";
    break;
  case 's':
    word = "text";
    break;
  default:
    break;
  }
  if (strchr("fiu", kind))
    snprintf(type, sizeof type, "%s%d", word, bits);
  else
    snprintf(type, sizeof type, "%s", word);
  for (int i = 0; i < ndim && at < 140; i++)
    at += snprintf(dims + at, sizeof dims - (size_t)at, i ? " x %lld" : "%lld", (long long)shape[i]);
  if (syz_h5_read_text(f, name, "units", &units) != SYZ_OK) units = NULL;
  label_text(f, name, ndim ? shape[0] : 0, more);
  printf("  %-*s %-9s %-22s %-12s %s%s\n", width, name, type, dims, checksum, units ? units : "", more);
  syz_free(&units);
}

/* Each rank verifies every size-th dataset; state [n]: 0 no checksum, 1 it holds, 2 damaged. All agree on the first
 * failure's message. */
static syz_status verify_share(context *c, syz_h5 *f, const names *l, int64_t *state)
{
  syz_status st = SYZ_OK;
  char text[SYZ_ERROR_TEXT] = "";
  for (int i = syz_comm_rank(c->world); c->verifies && i < l->n; i += syz_comm_size(c->world)) {
    bool has = false;
    syz_status one = syz_h5_verify(f, l->name[i], &has);
    state[i] = one != SYZ_OK ? 2 : has ? 1 : 0;
    if (one == SYZ_OK || st != SYZ_OK) continue;
    st = one;
    syz_error_keep(text); /* this rank's first failure: later ones would overwrite its text */
  }
  if (st != SYZ_OK) syz_error_restore(text);
  return st;
}

static syz_status own_file(context *c, const char *path, const char *format)
{
  syz_status st = SYZ_OK, verified = SYZ_OK;
  syz_h5 *f = NULL;
  names list = {0};
  int64_t *state = NULL;
  struct stat s = {0};
  char size[32];
  SYZ_TRY(syz_h5_open(c->world, path, &f));
  SYZ_TRY_ALL(c->world, syz_h5_visit(f, "", keep_name, &list));
  state = syz_alloc("verification", (size_t)list.n + 1, sizeof *state);
  SYZ_TRY_ALL(c->world, state ? SYZ_OK : SYZ_ERR_MEMORY);
  verified = syz_agree(c->world, verify_share(c, f, &list, state));
  if (verified == SYZ_OK && strcmp(format, "model") == 0)
    verified = syz_agree(c->world, c->is_first ? syz_model_file_agrees(f) : SYZ_OK);
  syz_allreduce_i64(c->world, state, (size_t)list.n + 1, SYZ_MAX);
  if (c->is_first) {
    double version = 0;
    bool has_version = false;
    int64_t none = 0, damaged = 0;
    char text[SYZ_ERROR_TEXT];
    syz_error_keep(text); /* what follows must not overwrite the message */
    stat(path, &s);
    if (syz_h5_read_number(f, "", "format_version", &version, &has_version) != SYZ_OK) has_version = false;
    printf("%s: syzygy %s", path, format);
    if (has_version) printf(", format version %.0f", version);
    printf(", %s\n", bytes_text((double)s.st_size, size));
    print_provenance(c, f);
    printf("  %-16s %s\n", "attributes",
           syz_h5_is_sealed(f) ? "checksum holds" : "no checksum (written by an older version or another program)");
    print_parts(f, &list);
    print_objects(f);
    int width = 20;
    for (int i = 0; i < list.n; i++)
      if ((int)strlen(list.name[i]) > width) width = (int)strlen(list.name[i]);
    printf("  %-*s %-9s %-22s %-12s %s\n", width, "dataset", "type", "shape", "checksum", "units");
    for (int i = 0; i < list.n; i++) {
      none += state[i] == 0;
      damaged += state[i] == 2;
      print_dataset(f, width, list.name[i],
                    !c->verifies    ? "not checked"
                    : state[i] == 2 ? "DAMAGED"
                    : state[i] == 1 ? "holds"
                                    : "none");
    }
    if (c->verifies)
      printf("  %d datasets: %lld checksums hold, %lld damaged, %lld without one\n", list.n,
             (long long)(list.n - none - damaged), (long long)damaged, (long long)none);
    syz_error_restore(text);
  }
  st = verified;
cleanup:
  syz_free(&state);
  syz_free(&list.name);
  syz_h5_close(&f);
  return st;
}

/* -------------------------------------------------------- files of others */

static syz_status foreign_file(const char *path)
{
  syz_status st = SYZ_OK;
  syz_foreign *f = NULL;
  const char *const *label;
  syz_object o;
  SYZ_TRY(syz_foreign_open(path, &f));
  int64_t n = syz_foreign_size(f);
  int labels = syz_foreign_labels(f, &label);
  printf("%s: %s\n", path, syz_foreign_kind(f));
  printf("  %-16s %lld\n", "objects", (long long)n);
  if (n) {
    SYZ_TRY(syz_foreign_objects(f, 0, 1, &o));
    printf("  %-16s %lld%s%s\n", "first object", (long long)o.object_id, o.has_image ? ", image" : "",
           o.has_spectrum ? ", spectrum" : "");
    SYZ_TRY(syz_foreign_objects(f, n - 1, 1, &o));
  }
  printf("  %-16s", "labels");
  for (int i = 0; i < labels; i++) printf("%s %s", i ? "," : "", label[i]);
  printf("%s\n  no checksums: only shapes, types and the identifiers of the first and last row were checked\n",
         labels ? "" : " none");
cleanup:
  syz_foreign_close(&f);
  return st;
}

static const char *fits_kind(const syz_fits *f)
{
  static const struct {
    const char *extname, *what;
  } known[] = {{"EMBEDDING", "syzygy embedding catalogue"},
               {"REDSHIFTS", "DESI redshifts (redrock)"},
               {"ZCATALOG", "DESI redshift catalogue"},
               {"EXP_FIBERMAP", "DESI coadded spectra"},
               {"B_FLUX", "DESI spectra"},
               {"R_FLUX", "DESI spectra"},
               {"SPECOBJ", "SDSS spectrum"},
               {"SPALL", "SDSS spectrum"},
               {"PLUGMAP", "SDSS plate spectra"},
               {"CCDS", "Legacy Surveys CCD table"}};
  for (size_t i = 0; i < sizeof known / sizeof *known; i++)
    if (syz_fits_find(f, known[i].extname) >= 0) return known[i].what;
  for (int h = 1; h < syz_fits_count(f); h++)
    if (syz_fits_get(f, h)->kind == SYZ_FITS_TABLE && syz_fits_field_find(f, h, "brickid") >= 0 &&
        syz_fits_field_find(f, h, "objid") >= 0)
      return "Legacy Surveys catalogue (Tractor or sweep)";
  for (int h = 0; h < syz_fits_count(f); h++) {
    const syz_fits_hdu *u = syz_fits_get(f, h);
    if (u->kind != SYZ_FITS_TABLE && u->pixels) return u->naxis == 3 ? "image cube" : "image";
  }
  return syz_fits_count(f) > 1 ? "tables" : "empty";
}

/* The checksums of an HDU are verified at the first read from it, so read one pixel, or one row of one column. */
static syz_status touch_hdu(syz_fits *f, int h)
{
  const syz_fits_hdu *u = syz_fits_get(f, h);
  float pixel;
  char text[8];
  double real;
  if (u->kind != SYZ_FITS_TABLE)
    return u->kind != SYZ_FITS_OTHER && u->pixels ? syz_fits_read_f32(f, h, 0, 1, &pixel) : SYZ_OK;
  for (int i = 0; u->rows && i < u->columns; i++) {
    const syz_fits_field *field = syz_fits_field_get(f, h, i);
    if (field->repeat < 1) continue;
    if (field->type == 'A') return syz_fits_column_text(f, h, i, 0, text, sizeof text);
    if (strchr("LBIJKED", field->type)) return syz_fits_column_f64(f, h, i, 0, 0, 1, &real);
  }
  return SYZ_OK;
}

static syz_status fits_file(context *c, const char *path)
{
  static const char *const kinds[] = {"image", "compressed", "table", "other"};
  syz_status st = SYZ_OK;
  syz_fits *f = NULL;
  int summed = 0;
  SYZ_TRY(syz_fits_open(path, c->verifies, &f));
  printf("%s: FITS, %s\n", path, fits_kind(f));
  printf("  %-4s %-24s %-11s %s\n", "HDU", "name", "kind", "shape");
  for (int h = 0; h < syz_fits_count(f); h++) {
    const syz_fits_hdu *u = syz_fits_get(f, h);
    char text[32];
    bool has =
        syz_fits_key_text(f, h, "CHECKSUM", text, sizeof text) || syz_fits_key_text(f, h, "DATASUM", text, sizeof text);
    summed += has;
    if (c->verifies) SYZ_TRY(touch_hdu(f, h));
    printf("  %-4d %-24s %-11s ", h, u->name, kinds[u->kind]);
    if (u->kind == SYZ_FITS_TABLE) printf("%lld rows, %d columns", (long long)u->rows, u->columns);
    for (int i = 0; u->kind != SYZ_FITS_TABLE && i < u->naxis; i++)
      printf(i ? " x %lld" : "%lld", (long long)u->shape[i]);
    printf("%s\n", !has ? "" : c->verifies ? ", checksum holds" : ", checksum not checked");
  }
  printf("  %d HDUs, %d with checksums%s\n", syz_fits_count(f), summed, c->verifies && summed ? " that hold" : "");
cleanup:
  syz_fits_close(&f);
  return st;
}

/* ---------------------------------------------------------------- dispatch */

typedef enum sort { SORT_UNKNOWN, SORT_OWN, SORT_FOREIGN, SORT_FITS, SORT_CACHE, SORT_CHECKPOINT, SORT_FOLDER } sort;

static bool ends_with(const char *text, const char *end)
{
  size_t n = strlen(text), m = strlen(end);
  return n > m && strcasecmp(text + n - m, end) == 0;
}

/* On rank 0: what kind of file this is; for one of ours, `format` gets its format. */
static syz_status recognise(const char *path, sort *what, char format[64])
{
  static const unsigned char hdf5[] = {0x89, 'H', 'D', 'F', '\r', '\n', 0x1a, '\n'};
  syz_status st = SYZ_OK;
  unsigned char head[512] = {0};
  char inside[PATH], *text = NULL;
  struct stat s;
  int fd = -1;
  int64_t bytes = 0;
  syz_h5 *h5 = NULL;
  bool is_cache = false;
  int64_t rows, there, row_bytes;
  *what = SORT_UNKNOWN;
  SYZ_REQUIRE(stat(path, &s) == 0, SYZ_ERR_DATA, "%s: no such file or folder", path);
  if (S_ISDIR(s.st_mode)) {
    snprintf(inside, sizeof inside, "%s/manifest.json", path);
    const char *base = strrchr(path, '/');
    bool is_step = strncmp(base ? base + 1 : path, "step-", 5) == 0;
    *what = is_step || stat(inside, &s) == 0 ? SORT_CHECKPOINT : SORT_FOLDER;
    goto cleanup;
  }
  SYZ_TRY(syz_file_open_input(path, &fd, &bytes));
  ssize_t n = read(fd, head, sizeof head);
  SYZ_REQUIRE(n > 0, SYZ_ERR_DATA, "%s: an empty file", path);
  SYZ_TRY(syz_token_cache_describe(path, &is_cache, &rows, &there, &row_bytes));
  if (is_cache) {
    *what = SORT_CACHE;
  } else if (n >= (ssize_t)sizeof hdf5 && memcmp(head, hdf5, sizeof hdf5) == 0) {
    SYZ_TRY(syz_h5_open(NULL, path, &h5));
    SYZ_TRY(syz_h5_read_text(h5, "", "syzygy_format", &text));
    *what = text ? SORT_OWN : SORT_FOREIGN;
    if (text) snprintf(format, 64, "%s", text);
    if (!text && syz_h5_has(h5, "object_id") && (syz_h5_has(h5, "image") || syz_h5_has(h5, "spectrum"))) {
      *what = SORT_OWN; /* a shard written by another program */
      snprintf(format, 64, "shard (without its format attribute)");
    }
  } else if (memcmp(head, "SIMPLE  =", 9) == 0 || ends_with(path, ".fits.gz") || ends_with(path, ".fits.bz2") ||
             ends_with(path, ".fits") || ends_with(path, ".fz")) {
    *what = SORT_FITS;
  }
  SYZ_REQUIRE(*what != SORT_UNKNOWN, SYZ_ERR_DATA, "%s: neither HDF5 nor FITS", path);
cleanup:
  if (fd >= 0) close(fd);
  syz_free(&text);
  syz_h5_close(&h5);
  return st;
}

static syz_status cache_file(const char *path)
{
  syz_status st = SYZ_OK;
  bool is_cache;
  int64_t rows = 0, there = 0, row_bytes = 0;
  SYZ_TRY(syz_token_cache_describe(path, &is_cache, &rows, &there, &row_bytes));
  printf("%s: syzygy token cache (scratch)\n  %-16s %lld of %lld there, %lld bytes each\n", path, "rows",
         (long long)there, (long long)rows, (long long)row_bytes);
cleanup:
  return st;
}

static syz_status checkpoint_folder(context *c, const char *path)
{
  syz_status st = SYZ_OK;
  syz_checkpoint_summary about;
  char size[32];
  SYZ_TRY(syz_checkpoint_check(c->world, path, &about));
  if (c->is_first)
    printf("%s: syzygy checkpoint of %s after step %lld, %s, written by %d rank(s)%s%s; manifest and checksums hold\n",
           path, about.objective, (long long)about.step, bytes_text((double)about.bytes, size), about.ranks,
           *about.engine ? " with " : "", about.engine);
cleanup:
  return st == SYZ_ERR_CHECKPOINT ? SYZ_ERR_DATA : st; /* exit code 5 means that a run cannot be continued */
}

static void look_at(context *c, const char *path, int depth);

static int by_text(const void *a, const void *b) { return strcmp(a, b); }

/* On rank 0: the subfolders of a folder and its files with known extensions, sorted. */
static syz_status list_folder(const char *path, names *list)
{
  syz_status st = SYZ_OK;
  struct stat s;
  DIR *d = opendir(path);
  char inside[PATH];
  SYZ_REQUIRE(d, SYZ_ERR_DATA, "%s: cannot read the folder", path);
  for (struct dirent *e; (e = readdir(d));) {
    if (e->d_name[0] == '.' || strlen(e->d_name) >= NAME) continue;
    snprintf(inside, sizeof inside, "%s/%s", path, e->d_name);
    static const char *const endings[] = {".h5", ".hdf5", ".fits", ".fz", ".fits.gz", ".fits.bz2"};
    bool is_wanted = stat(inside, &s) == 0 && S_ISDIR(s.st_mode);
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++)
      is_wanted = is_wanted || ends_with(e->d_name, endings[i]);
    if (is_wanted) SYZ_TRY(keep_name(list, e->d_name));
  }
  if (list->n) qsort(list->name, (size_t)list->n, sizeof *list->name, by_text);
cleanup:
  if (d) closedir(d);
  return st;
}

static syz_status folder(context *c, const char *path, int depth)
{
  syz_status st = SYZ_OK;
  names list = {0};
  char inside[PATH], name[NAME];
  int64_t n = 0;
  SYZ_TRY_ALL(c->world, c->is_first ? list_folder(path, &list) : SYZ_OK);
  n = list.n;
  syz_bcast(c->world, &n, sizeof n, 0);
  SYZ_REQUIRE(depth < 8, SYZ_ERR_DATA, "%s: folders are nested too deeply", path);
  for (int64_t i = 0; i < n; i++) {
    if (c->is_first) memcpy(name, list.name[i], NAME);
    syz_bcast(c->world, name, NAME, 0);
    snprintf(inside, sizeof inside, "%s/%s", path, name);
    look_at(c, inside, depth + 1);
  }
  SYZ_REQUIRE(n > 0 || depth > 0, SYZ_ERR_DATA, "%s: this folder holds no file that info can read", path);
cleanup:
  syz_free(&list.name);
  return st;
}

static syz_status dispatch(context *c, const char *path, int depth, bool *is_folder)
{
  syz_status st = SYZ_OK;
  struct {
    int32_t what;
    char format[64];
  } found = {SORT_UNKNOWN, ""};
  sort what = SORT_UNKNOWN;
  SYZ_TRY_ALL(c->world, c->is_first ? recognise(path, &what, found.format) : SYZ_OK);
  found.what = (int32_t)what;
  syz_bcast(c->world, &found, sizeof found, 0);
  *is_folder = found.what == SORT_FOLDER;
  switch ((sort)found.what) {
  case SORT_OWN:
    SYZ_TRY(own_file(c, path, found.format));
    break;
  case SORT_FOREIGN:
    SYZ_TRY_ALL(c->world, c->is_first ? foreign_file(path) : SYZ_OK);
    break;
  case SORT_FITS:
    SYZ_TRY_ALL(c->world, c->is_first ? fits_file(c, path) : SYZ_OK);
    break;
  case SORT_CACHE:
    SYZ_TRY_ALL(c->world, c->is_first ? cache_file(path) : SYZ_OK);
    break;
  case SORT_CHECKPOINT:
    SYZ_TRY(checkpoint_folder(c, path));
    break;
  case SORT_FOLDER:
    SYZ_TRY(folder(c, path, depth));
    break;
  case SORT_UNKNOWN:
    break;
  }
cleanup:
  return st;
}

/* A bad file is reported and counted; the others are examined all the same. */
static void look_at(context *c, const char *path, int depth)
{
  bool is_folder = false;
  syz_status st = dispatch(c, path, depth, &is_folder);
  if (st == SYZ_OK) {
    c->good += !is_folder;
    return;
  }
  c->bad++;
  if (c->is_first) printf("%s: NOT USABLE: %s\n", path, syz_error_text());
  fflush(stdout);
  if (c->worst != SYZ_OK) return;
  c->worst = st;
  syz_error_keep(c->text);
}

syz_status syz_command_info(syz_app *app)
{
  syz_status st = SYZ_OK;
  context *c = NULL;
  c = syz_alloc("info", 1, sizeof *c);
  SYZ_TRY_ALL(app->world, c ? SYZ_OK : SYZ_ERR_MEMORY);
  c->world = app->world;
  c->is_first = syz_comm_rank(app->world) == 0;
  c->verifies = syz_input_bool(app->input, "info.verify") && !app->is_dry_run;
  c->prints_input = syz_input_bool(app->input, "info.input");
  SYZ_REQUIRE(app->n_arguments > 0, SYZ_ERR_INPUT, "info: name at least one file or folder: syzygy info FILE...");
  for (int i = 0; i < app->n_arguments; i++) look_at(c, app->arguments[i], 0);
  if (c->is_first && c->good + c->bad > 1) printf("%lld good, %lld not\n", (long long)c->good, (long long)c->bad);
  fflush(stdout);
  if (c->worst != SYZ_OK) {
    syz_error_restore(c->text);
    st = syz_error_pass(c->worst, __FILE__, __LINE__);
  }
cleanup:
  syz_free(&c);
  return st;
}
