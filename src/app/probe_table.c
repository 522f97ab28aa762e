/* SPDX-License-Identifier: BSD-3-Clause */
/** `probe table`, and what `probe knn`, `probe linear` and others share with it: keys and options. The work is
 * syzygy/probes.h. */
#include "probe_table.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compute.h"
#include "syzygy/probes.h"

#define USED SYZ_USED_BY(probe)

static const syz_key keys[] = {
    {"probe.embeddings", SYZ_KEY_LIST, "", "files", 0, 0, NULL, USED,
     "Embedding files, or run folders with one, of the objects; empty: <output.dir>/embedding.h5."},
    {"probe.sources", SYZ_KEY_LIST, "image,spectrum", "", 0, 0, NULL, USED,
     "What is read of an object, side by side: image, spectrum (the embeddings of the files), both (beside each "
     "other), "
     "photometry, or another embedding file: FILE, FILE:image, FILE:spectrum, joined by object_id. Only objects that "
     "all of them have are used."},
    {"probe.labels", SYZ_KEY_LIST, "redshift", "", 0, 0, NULL, USED,
     "Numbers to predict: labels of the files or columns of probe.table, or formulas of them, such as \"log10(AVG_SFR) "
     "- "
     "LOG_MSTAR\"."},
    {"probe.classes", SYZ_KEY_LIST, "", "", 0, 0, NULL, USED,
     "Classes to predict, the same way: whole numbers 0, 1, .., such as is_merger or \"z > 0.3\"."},
    {"probe.photometry", SYZ_KEY_LIST, "mag_g,mag_r,mag_z", "", 0, 0, NULL, USED,
     "Numbers of the source photometry: the baseline of a few magnitudes."},
    {"probe.cut", SYZ_KEY_TEXT, "", "", 0, 0, NULL, USED,
     "Only objects for which this holds, such as \"mag_z < 19 && redshift > 0\"."},
    {"probe.table", SYZ_KEY_LIST, "", "files", 0, 0, NULL, USED,
     "Tables of labels, FITS, CSV, ECSV or HDF5 (PROVABGS, Galaxy Zoo, SDSS catalogues), joined to the objects; "
     "several "
     "with the same columns, such as one per brick, are one. classify takes the votes of its columns "
     "smooth-or-featured_smooth, .., merging_merger."},
    {"probe.table_part", SYZ_KEY_TEXT, "", "", 0, 0, NULL, USED,
     "HDU, or HDF5 dataset or group, of the table; empty: the first one."},
    {"probe.table_id", SYZ_KEY_TEXT, "", "", 0, 0, NULL, USED,
     "Column of identifiers; empty: TARGETID, OBJECT_ID and the like."},
    {"probe.table_ra", SYZ_KEY_TEXT, "", "", 0, 0, NULL, USED,
     "Column of right ascensions in degrees; empty: the usual names."},
    {"probe.table_dec", SYZ_KEY_TEXT, "", "", 0, 0, NULL, USED, "Column of declinations in degrees."},
    {"probe.radius", SYZ_KEY_REAL, "0", "arcsec", 0, 3600, NULL, USED,
     "Join the table by position within this distance; 0: by identifier."},
    {"probe.split", SYZ_KEY_CHOICE, "sky", "", 0, 0, "sky|rows|file|column", USED,
     "Who is tested: whole cells of 0.1 degrees on the sky, rows, the files of probe.test_embeddings, or those whose "
     "probe.split_column is 1. Copies of an object are on one side."},
    {"probe.test_share", SYZ_KEY_REAL, "0.2", "", 0.001, 0.999, NULL, USED, "Share of the test side of sky and rows."},
    {"probe.border", SYZ_KEY_REAL, "2", "arcsec", 0, 3600, NULL, USED,
     "Test objects within this distance of a training object are left out."},
    {"probe.split_column", SYZ_KEY_TEXT, "", "", 0, 0, NULL, USED, "Label or formula: 0 train, 1 test."},
    {"probe.test_embeddings", SYZ_KEY_LIST, "", "files", 0, 0, NULL, USED,
     "Embedding files of the test side (probe.split: file)."},
    {"probe.protocol", SYZ_KEY_CHOICE, "sound", "", 0, 0, "sound|astroclip", USED,
     "mlp, flow: astroclip: the published recipes with their quirks (last weights; flow: each label on its own, one "
     "scale for all features; mlp: sizes and training as published, no ensemble, softmax twice); figures of the "
     "two protocols cannot be compared."},
    {"probe.members", SYZ_KEY_INT, "10", "networks", 1, 1000, NULL, USED,
     "mlp, flow, outliers: networks whose predictions or densities are averaged; ranks train different ones."},
    {"probe.validation_share", SYZ_KEY_REAL, "0.2", "", 0.01, 0.9, NULL, USED,
     "mlp, flow, outliers: share of the training objects that choose the best epoch and recalibrate."},
    {"probe.folds", SYZ_KEY_INT, "5", "", 2, SYZ_FOLDS, NULL, USED,
     "Folds of the cross-validations inside the training side."},
    {"probe.bootstrap", SYZ_KEY_INT, "1000", "draws", 10, 100000, NULL, USED,
     "Draws of test objects behind every error."},
    {"probe.methods", SYZ_KEY_LIST, "knn,linear,mlp,flow", "", 0, 0, NULL, USED,
     "table: the methods that are run side by side."},
    {NULL, SYZ_KEY_INT, NULL, NULL, 0, 0, NULL, 0, NULL},
};

typedef struct table_job {
  syz_probes_options options;
  char *beside; /* <output.dir>/embedding.h5 */
  const char *item, *method;
  syz_probes *probes;
} table_job;

/* The numbers of a list key, each in [low, high]. */
static syz_status read_numbers(const syz_input *in, const char *key, double low, double high, int room, double *value,
                               int *n)
{
  syz_status st = SYZ_OK;
  *n = syz_input_list_size(in, key);
  SYZ_REQUIRE(*n >= 1 && *n <= room, SYZ_ERR_INPUT, "%s: %d numbers; wanted 1 to %d", key, *n, room);
  for (int i = 0; i < *n; i++) {
    const char *item = syz_input_list_item(in, key, i);
    char *end;
    errno = 0;
    value[i] = strtod(item, &end);
    SYZ_REQUIRE(end != item && !*end && errno == 0 && value[i] >= low && value[i] <= high, SYZ_ERR_INPUT,
                "%s: \"%s\" is not a number of %g to %g", key, item, low, high);
  }
cleanup:
  return st;
}

static int by_size(const void *a, const void *b)
{
  const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
  return x < y ? -1 : x > y;
}

static syz_status read_knn(const syz_input *in, syz_knn_options *o)
{
  syz_status st = SYZ_OK;
  double k[SYZ_KNN_SIZES];
  const char *metric = syz_input_text(in, "probe.metric");
  SYZ_TRY(read_numbers(in, "probe.k", 1, 1e6, SYZ_KNN_SIZES, k, &o->n_k));
  for (int i = 0; i < o->n_k; i++) {
    SYZ_REQUIRE(k[i] == floor(k[i]), SYZ_ERR_INPUT, "probe.k: %g is not a whole number", k[i]);
    o->k[i] = (int64_t)k[i];
  }
  qsort(o->k, (size_t)o->n_k, sizeof *o->k, by_size);
  o->metric = strcmp(metric, "cosine") == 0 ? SYZ_METRIC_COSINE : SYZ_METRIC_EUCLIDEAN;
  o->is_raw = strcmp(metric, "raw") == 0;
  o->is_uniform = strcmp(syz_input_text(in, "probe.weights"), "uniform") == 0;
cleanup:
  return st;
}

/* Sizes and training of networks. */
static syz_status read_mlp(const syz_input *in, syz_mlp_probe *o)
{
  syz_status st = SYZ_OK;
  double hidden[SYZ_PERCEPTRON_HIDDEN];
  if (syz_input_list_size(in, "probe.mlp_hidden") > 0)
    SYZ_TRY(read_numbers(in, "probe.mlp_hidden", 1, SYZ_PERCEPTRON_WIDTH, SYZ_PERCEPTRON_HIDDEN, hidden, &o->n_hidden));
  for (int i = 0; i < o->n_hidden; i++) {
    SYZ_REQUIRE(hidden[i] == floor(hidden[i]), SYZ_ERR_INPUT, "probe.mlp_hidden: %g is not a whole number", hidden[i]);
    o->hidden[i] = (int64_t)hidden[i];
  }
  o->dropout = syz_input_real(in, "probe.mlp_dropout");
  o->rate = syz_input_real(in, "probe.mlp_rate");
  o->epochs = (int)syz_input_int(in, "probe.mlp_epochs");
  o->batch = (int)syz_input_int(in, "probe.mlp_batch");
  o->patience = (int)syz_input_int(in, "probe.mlp_patience");
cleanup:
  return st;
}

/* The numbers of labelled objects. */
static syz_status read_few(const syz_input *in, syz_few_probe *o)
{
  syz_status st = SYZ_OK;
  double size[SYZ_FEW_SIZES];
  SYZ_TRY(read_numbers(in, "probe.sizes", 1, 1e9, SYZ_FEW_SIZES, size, &o->n_sizes));
  for (int i = 0; i < o->n_sizes; i++) {
    SYZ_REQUIRE(size[i] == floor(size[i]), SYZ_ERR_INPUT, "probe.sizes: %g is not a whole number", size[i]);
    o->size[i] = (int64_t)size[i];
  }
  o->draws = syz_input_int(in, "probe.repeats");
  o->penalty = syz_input_real(in, "probe.few_penalty");
  o->contamination = syz_input_real(in, "probe.contamination");
cleanup:
  return st;
}

static syz_sides_rule read_rule(const syz_input *in)
{
  const char *rule = syz_input_text(in, "probe.split");
  return strcmp(rule, "rows") == 0     ? SYZ_SIDES_BY_ROWS
         : strcmp(rule, "file") == 0   ? SYZ_SIDES_BY_FILE
         : strcmp(rule, "column") == 0 ? SYZ_SIDES_BY_COLUMN
                                       : SYZ_SIDES_BY_SKY;
}

static syz_probe_data read_data(const syz_input *in)
{
  return (syz_probe_data){.embeddings = syz_input_list(in, "probe.embeddings"),
                          .test_embeddings = syz_input_list(in, "probe.test_embeddings"),
                          .sources = syz_input_list(in, "probe.sources"),
                          .labels = syz_input_list(in, "probe.labels"),
                          .classes = syz_input_list(in, "probe.classes"),
                          .photometry = syz_input_list(in, "probe.photometry"),
                          .cut = syz_input_text(in, "probe.cut"),
                          .tables = syz_input_list(in, "probe.table"),
                          .table_part = syz_input_text(in, "probe.table_part"),
                          .table_id = syz_input_text(in, "probe.table_id"),
                          .table_ra = syz_input_text(in, "probe.table_ra"),
                          .table_dec = syz_input_text(in, "probe.table_dec"),
                          .radius_arcsec = syz_input_real(in, "probe.radius"),
                          .sides = {.rule = read_rule(in),
                                    .test_share = syz_input_real(in, "probe.test_share"),
                                    .border_arcsec = syz_input_real(in, "probe.border")},
                          .sides_column = syz_input_text(in, "probe.split_column")};
}

static syz_status read_options(const syz_app *app, table_job *j)
{
  syz_status st = SYZ_OK;
  const syz_input *in = app->input;
  syz_probes_options *o = &j->options;
  *o = (syz_probes_options){.data = read_data(in),
                            .methods = syz_input_list(in, "probe.methods"),
                            .linear = {.iterations = syz_input_int(in, "probe.softmax_iterations")},
                            .is_published = strcmp(syz_input_text(in, "probe.protocol"), "astroclip") == 0,
                            .members = (int)syz_input_int(in, "probe.members"),
                            .validation_share = syz_input_real(in, "probe.validation_share"),
                            .flow = {.epochs = (int)syz_input_int(in, "probe.epochs"),
                                     .draws = syz_input_int(in, "probe.draws"),
                                     .positive = syz_input_list(in, "probe.positive"),
                                     .fractions = syz_input_list(in, "probe.fractions"),
                                     .cells = syz_input_int(in, "probe.grid"),
                                     .samples = syz_input_int(in, "probe.samples"),
                                     .recalibrates = syz_input_bool(in, "probe.recalibrate")},
                            .outliers = {.components = syz_input_int(in, "probe.outlier_components"),
                                         .neighbours = syz_input_int(in, "probe.outlier_neighbours"),
                                         .rows = syz_input_int(in, "probe.outlier_rows"),
                                         .next = syz_input_int(in, "probe.outlier_next"),
                                         .ratings = syz_input_text(in, "probe.ratings")},
                            .folds = (int)syz_input_int(in, "probe.folds"),
                            .draws = syz_input_int(in, "probe.bootstrap"),
                            .seed = (uint64_t)syz_input_int(in, "seed"),
                            .compute = syz_app_compute_options(in)};
  j->method = syz_input_text(in, "probe.task");
  if (strcmp(j->method, "classify") == 0) j->method = "votes";
  if (strcmp(j->method, "table") != 0) o->methods = (syz_texts){1, &j->method};
  const size_t room = strlen(app->run.folder) + sizeof "/embedding.h5";
  SYZ_ALLOC(j->beside, "path", room);
  snprintf(j->beside, room, "%s/embedding.h5", app->run.folder);
  j->item = j->beside;
  if (!o->data.embeddings.n) o->data.embeddings = (syz_texts){1, &j->item};
  SYZ_REQUIRE(o->data.sides.rule != SYZ_SIDES_BY_COLUMN || o->data.sides_column[0], SYZ_ERR_INPUT,
              "probe.split: column, but probe.split_column names none");
  SYZ_TRY(read_knn(in, &o->knn.how));
  SYZ_TRY(read_mlp(in, &o->mlp));
  SYZ_TRY(read_few(in, &o->few));
  SYZ_TRY(read_numbers(in, "probe.penalty", 0, 1e12, SYZ_PENALTIES, o->linear.penalty, &o->linear.n_penalties));
  for (o->flow.kind = SYZ_FLOW_ELEMENTWISE;
       strcmp(syz_input_text(in, "probe.flow"), syz_flow_kind_name(o->flow.kind)) != 0;)
    o->flow.kind++; /* one of the choices */
cleanup:
  return st;
}

syz_status syz_probe_table_open(syz_app *app, void **out)
{
  syz_status st = SYZ_OK;
  table_job *j = *out = syz_alloc("probe", 1, sizeof *j);
  SYZ_TRY_ALL(app->world, j ? SYZ_OK : SYZ_ERR_MEMORY);
  SYZ_TRY_ALL(app->world, read_options(app, j));
  SYZ_TRY(syz_probes_open(&app->run, &j->options, &j->probes));
cleanup:
  return st;
}

syz_status syz_probe_table_write(void *job) { return syz_probes_write(((table_job *)job)->probes); }

void syz_probe_table_close(void **job)
{
  if (*job) {
    syz_probes_close(&((table_job *)*job)->probes);
    syz_free(&((table_job *)*job)->beside);
  }
  syz_free(job);
}

const syz_task syz_probe_table = {
    .keys = keys, .open = syz_probe_table_open, .write = syz_probe_table_write, .close = syz_probe_table_close};
