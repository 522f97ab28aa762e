/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Model files (src/data/README.md "Models"): `parameter/<published name>` float32 and the root attribute
 * `model_config`.
 *
 * Written collectively: the ranks that hold a tower share the rows of each of its parameters, so any mixture of ranks
 * with one or both towers can write. Read by rank 0 alone and broadcast: the file system serves one reader, and an
 * error is found in one place and reaches all ranks by agreement. A file from outside is hostile: its configuration is
 * parsed strictly, the table of parameters that follows from it is compared with the names and shapes in the file
 * before anything of their size is allocated, and each part (backbone or head of a tower) must be complete.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "syzygy/data.h"

#include "model_impl.h"
#include "positions.h"

/* AstroCLIP stores the logarithm of a learned temperature beside the towers; it belongs to neither. */
static const char *const extra_name = "logit_scale";

/* The part for messages: "image backbone", "spectrum head", "dino head". */
static const char *part_text(int part)
{
  static const char *const text[SYZ_PARTS] = {"image backbone", "image head", "spectrum backbone",
                                              "spectrum head",  "dino head",  "ibot head"};
  return text[part];
}

static const bool every_part[SYZ_PARTS] = {true, true, true, true, true, true};

static bool model_has_part(const syz_model *m, int part) { return m->layout.part[part].count > 0; }

/* All parts that a file with this configuration may have. */
static int file_table(const syz_model_config *config, syz_parameter *out)
{
  bool may_have[SYZ_PARTS];
  memcpy(may_have, every_part, sizeof may_have);
  may_have[SYZ_PART_IBOT_HEAD] = config->dino.has_ibot_head;
  return model_table(config, SYZ_PURPOSE_EMBED, may_have, out, NULL, NULL);
}

/* --------------------------------------------------------------- writing */

syz_status syz_model_file_write(syz_comm *c, const char *path, const syz_model *m, const char *created_by,
                                const char *input_yaml)
{
  syz_status st = SYZ_OK;
  syz_h5 *file = NULL;
  char *config = NULL, dataset[160];
  syz_parameter *table = NULL;
  int64_t holders[SYZ_PARTS], place[SYZ_PARTS];
  bool has[SYZ_PARTS];
  for (int i = 0; i < SYZ_PARTS; i++) {
    holders[i] = model_has_part(m, i) ? 1 : 0;
    place[i] = syz_exscan_i64(c, holders[i]);
  }
  syz_allreduce_i64(c, holders, SYZ_PARTS, SYZ_SUM);
  for (int i = 0; i < SYZ_PARTS; i++) has[i] = holders[i] > 0;

  syz_model_config described = m->config;
  if (!has[SYZ_PART_DINO_HEAD] && !has[SYZ_PART_IBOT_HEAD]) described.dino = (syz_dino_config){.layers = 0};
  const int n = model_table(&m->config, m->purpose, has, NULL, NULL, NULL);
  table = syz_alloc("table of parameters", (size_t)n, sizeof *table);
  config = syz_model_config_yaml(&described);
  SYZ_TRY_ALL(c, table && config ? SYZ_OK : SYZ_ERR_MEMORY);
  model_table(&m->config, m->purpose, has, table, NULL, NULL);

  SYZ_TRY(syz_h5_create(c, path, "model", created_by, input_yaml, &file));
  SYZ_TRY(syz_h5_write_text(file, "model_config", config));
  if (m->compute) SYZ_TRY(syz_h5_write_text(file, "engine", syz_compute_name(m->compute)));
  static const char *const description[SYZ_PARTS] = {
      "backbone", "pooling head", "backbone", "pooling head", "projection head of DINO", "projection head of iBOT"};
  for (int i = 0; i < n; i++) { /* create all before the first row is written, so that the file is allocated at once */
    const syz_parameter *p = &table[i];
    snprintf(dataset, sizeof dataset, "parameter/%s", p->name);
    SYZ_TRY(
        syz_h5_dataset(file, dataset, SYZ_H5_F32, p->shape[0], p->ndim - 1, &p->shape[1], "1", description[p->part]));
  }
  const syz_parameter *own = m->parameter;
  for (int i = 0; i < n; i++) {
    const syz_parameter *p = &table[i];
    const bool is_mine = model_has_part(m, p->part);
    int64_t first = 0, count = 0;
    const float *rows = NULL;
    if (is_mine) {
      SYZ_ASSERT(strcmp(own->name, p->name) == 0);
      syz_share(p->shape[0], (int)holders[p->part], (int)place[p->part], &first, &count);
      rows = m->weights + own->offset + first * (p->size / p->shape[0]);
      own++;
    }
    snprintf(dataset, sizeof dataset, "parameter/%s", p->name);
    SYZ_TRY(syz_h5_write_rows(file, dataset, first, count, rows));
  }
  SYZ_TRY(syz_h5_publish(&file));
cleanup:
  syz_h5_close(&file);
  syz_free(&config);
  syz_free(&table);
  return st;
}

/* ------------------------------------------------- checking (rank 0 alone) */

/* An open model file whose configuration, names and shapes have been checked. */
typedef struct checked {
  syz_h5 *file;
  syz_model_config config;
  syz_model_parts parts;
  syz_parameter *table; /**< of all parts that it may have */
  int n;
} checked;

static void checked_close(checked *f)
{
  syz_h5_close(&f->file);
  syz_free(&f->table);
}

/* Files made elsewhere may hold the precision of their run beside the configuration. */
static const syz_key other_keys[] = {{"compute.precision", SYZ_KEY_CHOICE, "bfloat16", "", 0, 0, "bfloat16|float32",
                                      UINT32_MAX, "Precision of the run that made the file."},
                                     {.path = NULL}};

static syz_status read_config(const char *path, syz_h5 *file, syz_model_config *config)
{
  syz_status st = SYZ_OK;
  char *text = NULL, *format = NULL;
  syz_input *in = NULL;
  SYZ_TRY(syz_h5_read_text(file, "", "syzygy_format", &format));
  SYZ_REQUIRE(!format || strcmp(format, "model") == 0, SYZ_ERR_DATA, "%s is a file of format \"%s\", not a model", path,
              format);
  SYZ_TRY(syz_h5_read_text(file, "", "model_config", &text));
  SYZ_REQUIRE(text, SYZ_ERR_DATA, "%s is no model file: it has no text attribute model_config at its root", path);
  const char *start = text;
  while (*start == '\n' || *start == ' ') start++;
  SYZ_REQUIRE(strncmp(start, "model:", 6) == 0, SYZ_ERR_DATA,
              "%s: attribute model_config begins with \"%.20s\", it must begin with \"model:\"", path, start);
  const syz_key *const tables[] = {syz_model_keys, other_keys};
  SYZ_TRY(syz_input_create(tables, 2, &in));
  st = syz_input_parse(in, "model_config", text, strlen(text));
  if (st == SYZ_OK) st = syz_model_config_read(in, config);
  if (st == SYZ_ERR_INPUT) {
    char reason[SYZ_ERROR_TEXT];
    snprintf(reason, sizeof reason, "%s", syz_error_text());
    st = syz_error_set(SYZ_ERR_DATA, __FILE__, __LINE__, "%s: attribute model_config: %.3000s", path, reason);
  }
cleanup:
  syz_input_destroy(&in);
  syz_free(&text);
  syz_free(&format);
  return st;
}

enum { NAMED = 6, LIST = 1200 };

/* A list of names for a message: the first few and how many more. */
typedef struct name_list {
  char text[LIST];
  int n;
} name_list;

static void name_list_add(name_list *l, const char *name)
{
  size_t used = strlen(l->text);
  if (l->n < NAMED) snprintf(l->text + used, sizeof l->text - used, "%s%.150s", l->n ? ", " : "", name);
  l->n++;
}

static const char *name_list_end(name_list *l)
{
  size_t used = strlen(l->text);
  if (l->n > NAMED) snprintf(l->text + used, sizeof l->text - used, " and %d more", l->n - NAMED);
  return l->text;
}

typedef struct named_row {
  const char *name;
  int row; /**< of the table */
} named_row;

typedef struct found_names {
  const checked *f;
  const named_row *by_name; /**< [n] in alphabetical order */
  unsigned char *is_found;
  name_list unknown;
} found_names;

static int compare_names(const void *a, const void *b)
{
  return strcmp(((const named_row *)a)->name, ((const named_row *)b)->name);
}

static syz_status visit_name(void *context, const char *name)
{
  found_names *found = context;
  const named_row key = {.name = name},
                  *at = bsearch(&key, found->by_name, (size_t)found->f->n, sizeof key, compare_names);
  if (at)
    found->is_found[at->row] = 1;
  else if (strcmp(name, extra_name) != 0)
    name_list_add(&found->unknown, name);
  return SYZ_OK;
}

static void shape_text(char text[128], int ndim, const int64_t *shape)
{
  size_t used = 0;
  text[0] = '\0';
  for (int i = 0; i < ndim && used < 120; i++)
    used += (size_t)snprintf(text + used, 128 - used, "%s%" PRId64, i ? ", " : "", shape[i]);
}

static syz_status check_shape(const char *path, syz_h5 *file, const syz_parameter *p)
{
  syz_status st = SYZ_OK;
  char dataset[160], is[128], wanted[128];
  int ndim = 0;
  int64_t shape[8] = {0};
  snprintf(dataset, sizeof dataset, "parameter/%s", p->name);
  SYZ_TRY(syz_h5_shape(file, dataset, &ndim, shape));
  bool is_equal = ndim == p->ndim;
  for (int i = 0; is_equal && i < ndim; i++) is_equal = shape[i] == p->shape[i];
  shape_text(is, ndim, shape);
  shape_text(wanted, p->ndim, p->shape);
  SYZ_REQUIRE(is_equal, SYZ_ERR_DATA, "%s: dataset %s has shape (%s), its model_config asks for (%s)", path, dataset,
              is, wanted);
cleanup:
  return st;
}

/* Each part must be complete or absent. */
static syz_status check_parts(const char *path, checked *f, const unsigned char *is_found)
{
  syz_status st = SYZ_OK;
  for (int i = 0; i < SYZ_PARTS; i++) {
    name_list missing = {.n = 0};
    int present = 0;
    for (int k = 0; k < f->n; k++) {
      if ((int)f->table[k].part != i) continue;
      if (is_found[k])
        present++;
      else
        name_list_add(&missing, f->table[k].name);
    }
    SYZ_REQUIRE(!present || !missing.n, SYZ_ERR_DATA, "%s: the %s is incomplete, these parameters are missing: %s",
                path, part_text(i), name_list_end(&missing));
    f->parts.has[i] = present > 0;
  }
cleanup:
  return st;
}

static syz_status checked_open(const char *path, checked *f)
{
  syz_status st = SYZ_OK;
  named_row *by_name = NULL;
  found_names found = {.f = f};
  *f = (checked){.file = NULL};
  SYZ_TRY(syz_h5_open(NULL, path, &f->file));
  SYZ_TRY(syz_model_file_agrees(f->file));
  SYZ_TRY(read_config(path, f->file, &f->config));
  f->n = file_table(&f->config, NULL);
  SYZ_ALLOC(f->table, "table of parameters", f->n);
  SYZ_ALLOC(by_name, "order of names", f->n);
  SYZ_ALLOC(found.is_found, "names found", f->n);
  file_table(&f->config, f->table);
  for (int i = 0; i < f->n; i++) by_name[i] = (named_row){f->table[i].name, i};
  qsort(by_name, (size_t)f->n, sizeof *by_name, compare_names);
  found.by_name = by_name;
  SYZ_TRY(syz_h5_visit(f->file, "parameter", visit_name, &found));
  SYZ_REQUIRE(found.unknown.n == 0, SYZ_ERR_DATA,
              "%s: unknown parameters (or not of the model that its model_config describes): %s", path,
              name_list_end(&found.unknown));
  SYZ_TRY(check_parts(path, f, found.is_found));
  bool has_any = false;
  for (int i = 0; i < SYZ_PARTS; i++) has_any = has_any || f->parts.has[i];
  SYZ_REQUIRE(has_any, SYZ_ERR_DATA, "%s holds no parameters: nothing below parameter/", path);
  for (int i = 0; i < f->n; i++)
    if (found.is_found[i]) SYZ_TRY(check_shape(path, f->file, &f->table[i]));
cleanup:
  syz_free(&by_name);
  syz_free(&found.is_found);
  if (st != SYZ_OK) checked_close(f);
  return st;
}

/* Collective: rank 0 opens and checks, all learn configuration and parts. f->file and f->table stay on rank 0. */
static syz_status checked_open_all(syz_comm *c, const char *path, checked *f)
{
  syz_status st = SYZ_OK;
  *f = (checked){.file = NULL};
  SYZ_TRY_ALL(c, syz_comm_rank(c) == 0 ? checked_open(path, f) : SYZ_OK);
  syz_bcast(c, &f->config, sizeof f->config, 0);
  syz_bcast(c, &f->parts, sizeof f->parts, 0);
cleanup:
  if (st != SYZ_OK) checked_close(f);
  return st;
}

syz_status syz_model_file_parts(syz_comm *c, const char *path, syz_model_config *config, syz_model_parts *parts)
{
  syz_status st = SYZ_OK;
  checked f;
  SYZ_TRY(checked_open_all(c, path, &f));
  if (f.file && syz_h5_lacks_seal(f.file))
    syz_warn("%s has no checksum of its attributes (of an older version or another program), so damage there may not "
             "be noticed",
             path);
  *config = f.config;
  *parts = f.parts;
cleanup:
  checked_close(&f);
  return st;
}

syz_status syz_model_file_config(syz_comm *c, const char *path, syz_model_config *config, bool has[SYZ_MODALITIES])
{
  syz_model_parts parts = {{0}};
  syz_status st = syz_model_file_parts(c, path, config, &parts);
  for (int i = 0; i < SYZ_MODALITIES; i++)
    has[i] = st == SYZ_OK &&
             (parts.has[syz_part_of((syz_modality)i, false)] || parts.has[syz_part_of((syz_modality)i, true)]);
  return st;
}

/* ---------------------------------------------------------------- reading */

/* The file's towers are those of the model. Values that concern only its use (tokens, size) or its start (layerscale,
 * dropout) may differ. */
static syz_status check_config(const char *path, const checked *f, const syz_model *m, bool allow_missing)
{
  syz_status st = SYZ_OK;
  const syz_model_config *a = &f->config, *b = &m->config;
  const struct {
    const char *key;
    int64_t in_file, in_model;
    syz_part part;
  } same[] = {
      {"model.image.dim", a->image.dim, b->image.dim, SYZ_PART_IMAGE_BACKBONE},
      {"model.image.depth", a->image.depth, b->image.depth, SYZ_PART_IMAGE_BACKBONE},
      {"model.image.heads", a->image.heads, b->image.heads, SYZ_PART_IMAGE_BACKBONE},
      {"model.image.patch", a->image.patch, b->image.patch, SYZ_PART_IMAGE_BACKBONE},
      {"model.image.registers", a->image.registers, b->image.registers, SYZ_PART_IMAGE_BACKBONE},
      {"model.image.layerscale (0 or not)", a->image.layerscale > 0, b->image.layerscale > 0, SYZ_PART_IMAGE_BACKBONE},
      {"model.spectrum.dim", a->spectrum.dim, b->spectrum.dim, SYZ_PART_SPECTRUM_BACKBONE},
      {"model.spectrum.depth", a->spectrum.depth, b->spectrum.depth, SYZ_PART_SPECTRUM_BACKBONE},
      {"model.spectrum.heads", a->spectrum.heads, b->spectrum.heads, SYZ_PART_SPECTRUM_BACKBONE},
      {"model.spectrum.section", a->spectrum.section, b->spectrum.section, SYZ_PART_SPECTRUM_BACKBONE},
      {"model.spectrum.overlap", a->spectrum.overlap, b->spectrum.overlap, SYZ_PART_SPECTRUM_BACKBONE},
      {"model.spectrum.max_tokens", a->spectrum.max_tokens, b->spectrum.max_tokens, SYZ_PART_SPECTRUM_BACKBONE},
      {"model.image.dim", a->image.dim, b->image.dim, SYZ_PART_IMAGE_HEAD},
      {"model.embedding.dim", a->embedding.dim, b->embedding.dim, SYZ_PART_IMAGE_HEAD},
      {"model.embedding.heads", a->embedding.heads, b->embedding.heads, SYZ_PART_IMAGE_HEAD},
      {"model.spectrum.dim", a->spectrum.dim, b->spectrum.dim, SYZ_PART_SPECTRUM_HEAD},
      {"model.embedding.dim", a->embedding.dim, b->embedding.dim, SYZ_PART_SPECTRUM_HEAD},
      {"model.embedding.heads", a->embedding.heads, b->embedding.heads, SYZ_PART_SPECTRUM_HEAD},
      {"model.image.dim", a->image.dim, b->image.dim, SYZ_PART_DINO_HEAD},
      {"model.dino.layers", a->dino.layers, b->dino.layers, SYZ_PART_DINO_HEAD},
      {"model.dino.hidden", a->dino.hidden, b->dino.hidden, SYZ_PART_DINO_HEAD},
      {"model.dino.bottleneck", a->dino.bottleneck, b->dino.bottleneck, SYZ_PART_DINO_HEAD},
      {"model.dino.prototypes", a->dino.prototypes, b->dino.prototypes, SYZ_PART_DINO_HEAD},
      {"model.image.dim", a->image.dim, b->image.dim, SYZ_PART_IBOT_HEAD},
      {"model.dino.layers", a->dino.layers, b->dino.layers, SYZ_PART_IBOT_HEAD},
      {"model.dino.hidden", a->dino.hidden, b->dino.hidden, SYZ_PART_IBOT_HEAD},
      {"model.dino.bottleneck", a->dino.bottleneck, b->dino.bottleneck, SYZ_PART_IBOT_HEAD},
      {"model.dino.prototypes", a->dino.prototypes, b->dino.prototypes, SYZ_PART_IBOT_HEAD}};
  for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
    if (!model_has_part(m, same[i].part) || !f->parts.has[same[i].part]) continue;
    SYZ_REQUIRE(same[i].in_file == same[i].in_model, SYZ_ERR_INPUT,
                "%s was made with %s = %" PRId64 ", this run asks for %" PRId64, path, same[i].key, same[i].in_file,
                same[i].in_model);
  }
  for (int i = 0; i < SYZ_MODALITIES && !allow_missing; i++) {
    const int backbone = syz_part_of((syz_modality)i, false), head = syz_part_of((syz_modality)i, true);
    SYZ_REQUIRE(!model_has_part(m, backbone) || f->parts.has[backbone] || f->parts.has[head], SYZ_ERR_DATA,
                "%s has no %s tower", path, syz_modality_name((syz_modality)i));
  }
  for (int i = 0; i < SYZ_PARTS && !allow_missing; i++)
    SYZ_REQUIRE(!model_has_part(m, i) || f->parts.has[i], SYZ_ERR_DATA, "%s has no %s", path, part_text(i));
cleanup:
  return st;
}

/* Pretraining does not read the gains of prototypes (README.md "Projection heads": fixed at 1). Other gains would be
 * ignored, and written back as if they had been used. */
static bool is_gain(const syz_parameter *p)
{
  const char *last = strrchr(p->name, '.');
  return last && strcmp(last, ".weight_g") == 0;
}

/* Rank 0: one parameter into `values`, checksum, finiteness and gains checked. */
static syz_status read_parameter(const char *path, syz_h5 *file, const syz_parameter *p, float *values)
{
  syz_status st = SYZ_OK;
  char dataset[160];
  bool has_checksum = false;
  snprintf(dataset, sizeof dataset, "parameter/%s", p->name);
  SYZ_TRY(syz_h5_verify(file, dataset, &has_checksum));
  SYZ_TRY(syz_h5_read(file, dataset, SYZ_H5_F32, 0, p->shape[0], values));
  for (int64_t i = 0; i < p->size; i++)
    SYZ_REQUIRE(isfinite(values[i]), SYZ_ERR_DATA, "%s: dataset %s: element %" PRId64 " is %g, weights must be finite",
                path, dataset, i, (double)values[i]);
  for (int64_t i = 0; i < p->size && is_gain(p); i++)
    SYZ_REQUIRE(values[i] == 1, SYZ_ERR_DATA,
                "%s: dataset %s: element %" PRId64 " is %g; gains of prototypes other than 1 are not supported", path,
                dataset, i, (double)values[i]);
cleanup:
  return st;
}

/* Copy into the model; positions of another grid of patches are interpolated. */
static void take_parameter(syz_model *m, const syz_parameter *in_file, const float *values)
{
  const syz_parameter *p = NULL;
  for (int i = 0; i < m->n_parameters && !p; i++)
    if (strcmp(m->parameter[i].name, in_file->name) == 0) p = &m->parameter[i];
  SYZ_ASSERT(p);
  if (!model_writes(m, (int)(p - m->parameter))) return;
  float *to = m->weights + p->offset;
  if (p->size == in_file->size) {
    memcpy(to, values, (size_t)p->size * sizeof *to);
    return;
  }
  SYZ_ASSERT(p->ndim == 3 && in_file->ndim == 3 &&
             p->shape[2] == in_file->shape[2]); /* pos_embed: check_config leaves nothing else to differ */
  const int64_t dim = p->shape[2], from = llround(sqrt((double)(in_file->shape[1] - 1))),
                side = llround(sqrt((double)(p->shape[1] - 1)));
  memcpy(to, values, (size_t)dim * sizeof *to);
  syz_positions_interpolate(to + dim, side, values + dim, from, dim);
}

static void tell_missing(const char *path, const checked *f, const syz_model *m)
{
  for (int i = 0; i < SYZ_PARTS; i++)
    if (model_has_part(m, i) && !f->parts.has[i])
      syz_info("%s has no %s: the present weights stay", path, part_text(i));
}

syz_status syz_model_file_read(syz_comm *c, const char *path, syz_model *m, bool allow_missing)
{
  syz_status st = SYZ_OK;
  checked f = {.file = NULL};
  syz_parameter *table = NULL;
  float *values = NULL;
  const bool is_root = syz_comm_rank(c) == 0;
  SYZ_TRY(checked_open_all(c, path, &f));
  SYZ_TRY_ALL(c, check_config(path, &f, m, allow_missing));
  tell_missing(path, &f, m);

  /* The table follows from the configuration, so every rank makes its own. */
  const int n = file_table(&f.config, NULL);
  int64_t largest = 1, is_used[SYZ_PARTS];
  for (int i = 0; i < SYZ_PARTS; i++) is_used[i] = model_has_part(m, i);
  syz_allreduce_i64(c, is_used, SYZ_PARTS, SYZ_MAX);
  table = syz_alloc("table of parameters", (size_t)n, sizeof *table);
  SYZ_TRY_ALL(c, table ? SYZ_OK : SYZ_ERR_MEMORY);
  file_table(&f.config, table);
  for (int i = 0; i < n; i++)
    if (is_used[table[i].part] && f.parts.has[table[i].part] && table[i].size > largest) largest = table[i].size;
  values = syz_alloc("parameter on its way", (size_t)largest, sizeof *values);
  SYZ_TRY_ALL(c, values ? SYZ_OK : SYZ_ERR_MEMORY);

  for (int i = 0; i < n; i++) {
    const syz_parameter *p = &table[i];
    if (!is_used[p->part] || !f.parts.has[p->part]) continue;
    SYZ_TRY_ALL(c, is_root ? read_parameter(path, f.file, p, values) : SYZ_OK);
    syz_bcast(c, values, (size_t)p->size * sizeof *values, 0);
    if (model_has_part(m, p->part)) take_parameter(m, p, values);
  }
  syz_model_settle(m);
  syz_model_pack(m, false);
cleanup:
  checked_close(&f);
  syz_free(&table);
  syz_free(&values);
  return st;
}
