/* SPDX-License-Identifier: BSD-3-Clause */
/** `info` of HDF5 files of ours: provenance, objects, datasets and their checksums. The ranks verify the datasets in
 * turn; rank 0 prints. */
#include "info.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "syzygy/data.h"
#include "syzygy/model.h"

enum { VALUES = 4096, DATASETS = 100000 };

const char *info_bytes_text(double bytes, char text[32])
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

syz_status info_keep_name(void *list, const char *name)
{
  syz_status st = SYZ_OK;
  info_names *l = list;
  SYZ_REQUIRE(l->n < DATASETS, SYZ_ERR_DATA, "more than %d datasets", DATASETS);
  SYZ_TRY(syz_grow(&l->name, "dataset names", l->n, 1, &l->room));
  snprintf(l->name[l->n++], INFO_NAME, "%s", name);
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

static void print_provenance(const info_wishes *w, syz_h5 *f)
{
  static const char *const attributes[][2] = {
      {"created_by", "created by"},     {"model_config", "model"},   {"model_file", "model file"},
      {"model_digest", "model digest"}, {"data_path", "data"},       {"data_split", "data split"},
      {"data_digest", "data digest"},   {"precision", "precision"},  {"engine", "engine"},
      {"query_modality", "query"},      {"index_modality", "index"}, {"facts", "facts"}};
  for (size_t i = 0; i < sizeof attributes / sizeof *attributes; i++)
    print_text(f, attributes[i][0], attributes[i][1], !strcmp(attributes[i][0], "facts"), w->prints_input);
  print_text(f, "input", "input", true, w->prints_input);
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
static void print_parts(syz_h5 *f, const info_names *l)
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
static syz_status verify_share(const info_wishes *w, syz_h5 *f, const info_names *l, int64_t *state)
{
  syz_status st = SYZ_OK;
  char text[SYZ_ERROR_TEXT] = "";
  for (int i = syz_comm_rank(w->world); w->verifies && i < l->n; i += syz_comm_size(w->world)) {
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

syz_status info_own_file(const info_wishes *w, const char *path, const char *format)
{
  syz_status st = SYZ_OK, verified = SYZ_OK;
  syz_h5 *f = NULL;
  info_names list = {0};
  int64_t *state = NULL;
  struct stat s = {0};
  char size[32];
  SYZ_TRY(syz_h5_open(w->world, path, &f));
  SYZ_TRY_ALL(w->world, syz_h5_visit(f, "", info_keep_name, &list));
  state = syz_alloc("verification", (size_t)list.n + 1, sizeof *state);
  SYZ_TRY_ALL(w->world, state ? SYZ_OK : SYZ_ERR_MEMORY);
  verified = syz_agree(w->world, verify_share(w, f, &list, state));
  if (verified == SYZ_OK && strcmp(format, "model") == 0)
    verified = syz_agree(w->world, w->is_first ? syz_model_file_agrees(f) : SYZ_OK);
  syz_allreduce_i64(w->world, state, (size_t)list.n + 1, SYZ_MAX);
  if (w->is_first) {
    double version = 0;
    bool has_version = false;
    int64_t none = 0, damaged = 0;
    char text[SYZ_ERROR_TEXT];
    syz_error_keep(text); /* what follows must not overwrite the message */
    stat(path, &s);
    if (syz_h5_read_number(f, "", "format_version", &version, &has_version) != SYZ_OK) has_version = false;
    printf("%s: syzygy %s", path, format);
    if (has_version) printf(", format version %.0f", version);
    printf(", %s\n", info_bytes_text((double)s.st_size, size));
    print_provenance(w, f);
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
                    !w->verifies    ? "not checked"
                    : state[i] == 2 ? "DAMAGED"
                    : state[i] == 1 ? "holds"
                                    : "none");
    }
    if (w->verifies)
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
